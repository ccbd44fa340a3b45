/* SPDX-License-Identifier: BSD-2-Clause */
/* One table, and what is printed from it. */
#include "command.h"

#include "everwarm/base/suggest.h"

#include <string.h>

static const struct command COMMANDS[] = {
    {"status", "", "is it fine? the proxy, its copies and its nodes", 0, 0, COMMAND_WAIT,
     show_status},
    {"nodes", "", "all nodes, a line each", 0, 0, 0, show_nodes},
    {"node", "NODE", "all of one node", 1, 1, COMMAND_WAIT, show_node},
    {"drain", "NODE", "no reads from it; it stays up to date", 1, 1,
     COMMAND_WAIT | COMMAND_FORCE | COMMAND_REASON, act_node},
    {"maint", "NODE", "leave it alone; it is refilled when it leaves this", 1, 1,
     COMMAND_WAIT | COMMAND_FORCE | COMMAND_REASON, act_node},
    {"ready", "NODE", "take it back", 1, 1, COMMAND_WAIT | COMMAND_FORCE, act_node},
    {"resync", "NODE", "fill it again from the others", 1, 1, COMMAND_WAIT | COMMAND_FORCE,
     act_resync},
    {"verify", "[NODE]", "compare the copies; --repair mends what differs", 0, 1,
     COMMAND_WAIT | COMMAND_REPAIR | COMMAND_POOL, act_verify},
    {"check", "NODE", "one health check now", 1, 1, COMMAND_WAIT, act_check},
    {"add", "NODE ADDRESS", "add a node, or move it there; it is filled before it serves", 2, 2,
     COMMAND_WAIT | COMMAND_FORCE | COMMAND_PERSIST | COMMAND_NODE | COMMAND_POOL, act_add},
    {"remove", "NODE", "remove a node from the pool", 1, 1,
     COMMAND_WAIT | COMMAND_FORCE | COMMAND_PERSIST, act_remove},
    {"tasks", "[ID | cancel ID]", "fills, verifications and their progress", 0, 2, COMMAND_WAIT,
     show_tasks},
    {"route", "KEY", "where a key lives, and who is skipped and why", 1, 1, COMMAND_POOL,
     show_route},
    {"clients", "[kill ID]", "who is connected", 0, 2, 0, show_clients},
    {"slowlog", "", "the slowest requests, with node and phase", 0, 0, 0, show_slowlog},
    {"hotkeys", "", "the keys that are asked for most", 0, 0, 0, show_hotkeys},
    {"events", "", "what happens, as it happens", 0, 0, COMMAND_SINCE, events_follow},
    {"config", "[set KEY=VALUE...]", "the configuration in effect, and where each value is from", 0,
     32, 0, show_config},
    {"reload", "", "read the configuration file again", 0, 0, 0, act_reload},
    {"proxy-drain", "", "the proxy itself: not ready, so that no new clients come", 0, 0,
     COMMAND_WAIT, act_proxy_drain},
    {"proxy-undrain", "", "the proxy itself: ready again", 0, 0, COMMAND_WAIT, act_proxy_undrain},
    {"top", "", "all of it, live", 0, 0, 0, top_run},
    {"doctor", "", "what is wrong, worst first, and what mends it", 0, 0, 0, show_doctor},
    {"completion", "bash", "print the completion of a shell", 1, 1, 0, NULL},
};

enum { COMMAND_COUNT = sizeof(COMMANDS) / sizeof(COMMANDS[0]) };

const struct command *command_table(size_t *count)
{
    *count = COMMAND_COUNT;
    return COMMANDS;
}

const struct command *command_find(const char *name)
{
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(COMMANDS[i].name, name) == 0) {
            return &COMMANDS[i];
        }
    }
    return NULL;
}

const char *command_suggest(const char *name)
{
    struct suggest suggest = suggest_begin(name);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        suggest_offer(&suggest, COMMANDS[i].name);
    }
    return suggest.best;
}

const char *command_misfit(const struct command *command, const struct options *options)
{
    const struct {
        unsigned int option;
        bool is_given;
        const char *flag;
    } GIVEN[] = {
        {COMMAND_WAIT, options->wait_ms > 0, "--wait"},
        {COMMAND_FORCE, options->is_forced, "--force"},
        {COMMAND_PERSIST, options->is_persistent, "--persist"},
        {COMMAND_REPAIR, options->is_repair, "--repair"},
        {COMMAND_REASON, options->reason != NULL, "--reason"},
        {COMMAND_REASON, options->period != NULL, "--for"},
        {COMMAND_SINCE, options->since != NULL, "--since"},
        {COMMAND_NODE, options->weight != NULL, "--weight"},
        {COMMAND_NODE, options->zone != NULL, "--zone"},
        {COMMAND_POOL, options->pool != NULL, "--pool"},
    };
    for (size_t i = 0; i < sizeof(GIVEN) / sizeof(GIVEN[0]); i++) {
        if (GIVEN[i].is_given && (command->options & GIVEN[i].option) == 0) {
            return GIVEN[i].flag;
        }
    }
    return NULL;
}

void command_print_help(FILE *out)
{
    (void)fputs("usage: everwarmctl [OPTION]... COMMAND\n\n", out);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        char call[64];
        (void)snprintf(call, sizeof(call), "%s %s", COMMANDS[i].name, COMMANDS[i].words);
        (void)fprintf(out, "  %-26s %s\n", call, COMMANDS[i].summary);
    }
    (void)fputs(
        "\n"
        "  -H HOST:PORT[,...]  the proxies' admin ports (127.0.0.1:11280); several: all\n"
        "  --socket PATH       its unix socket instead\n"
        "  -o table|json       how to print\n"
        "  --token-file FILE   the token for it, in a file that nobody else can read\n"
        "  --wait TIME         until it is in effect, filled, over: 30s, 10m, 1h\n"
        "  --force             also if no readable copy is left; of add: whatever is there;\n"
        "                      of ready: a warming node is complete as it is\n"
        "  --persist           of add and remove: into the configuration file too\n"
        "  --repair            of verify: mend what differs\n"
        "  --reason TEXT, --for TIME   of drain and maint: kept with it; and until when\n"
        "  --since ID          of events: what came after this one\n"
        "  --weight N, --zone ZONE     of add\n"
        "  --pool NAME         of add, verify and route, where there are several\n"
        "  -h, -V              this help; the version\n"
        "\n",
        out);
    static const struct {
        int code;
        const char *text;
    } CODES[] = {
#define X(name, code, text) {code, text},
        EXIT_TABLE(X)
#undef X
    };
    (void)fputs("Exit codes:\n", out);
    for (size_t i = 0; i < sizeof(CODES) / sizeof(CODES[0]); i++) {
        (void)fprintf(out, "  %d  %s\n", CODES[i].code, CODES[i].text);
    }
}
