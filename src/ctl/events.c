/* SPDX-License-Identifier: BSD-2-Clause */
/* The stream of events, a line each: time, level, type, and what else is known of it. */
#include "command.h"
#include "stream.h"
#include "table.h"
#include "text.h"

#include <stdlib.h>
#include <string.h>

struct watched {
    const struct session *session;
    struct stream streams[OPTIONS_TARGETS_MAX];
    size_t current; /* the proxy whose bytes are being fed */
};

static const char *proxy_name(const struct watched *watched)
{
    const struct options *options = watched->session->options;
    return options->socket != NULL ? options->socket : options->targets[watched->current];
}

static char colour_of(const char *level)
{
    return strcmp(level, "error") == 0 ? 'r' : strcmp(level, "warning") == 0 ? 'y' : 0;
}

static void print_event(void *closure, const char *data)
{
    static const char *const KNOWN[] = {"id", "time", "level", "type"};
    const struct watched *watched = closure;
    const struct session *session = watched->session;
    json_t *event = json_loads(data, 0, NULL);
    if (!json_is_object(event)) {
        json_decref(event);
        return;
    }
    if (session->options->output == CTL_OUTPUT_JSON) {
        (void)json_object_set_new(event, "proxy", json_string(proxy_name(watched)));
        (void)json_dumpf(event, stdout, JSON_COMPACT);
    } else {
        char cells[4][TEXT_BYTES_MAX] = {"", "", "", ""};
        for (size_t i = 0; i < 4; i++) {
            table_cell_text(json_object_get(event, KNOWN[i]), event, cells[i]);
        }
        (void)printf("%s%s%s  %s%-7s  %-14s%s",
                     session->options->target_count > 1 ? proxy_name(watched) : "",
                     session->options->target_count > 1 ? "  " : "", cells[1],
                     session_colour(session, colour_of(cells[2])), cells[2], cells[3],
                     session_colour(session, 0));
        const char *key = NULL;
        const json_t *value = NULL;
        json_object_foreach(event, key, value)
        {
            char cell[TEXT_BYTES_MAX] = "";
            const bool is_known = strcmp(key, "id") == 0 || strcmp(key, "time") == 0 ||
                                  strcmp(key, "level") == 0 || strcmp(key, "type") == 0;
            table_cell_text(value, event, cell);
            if (!is_known) {
                (void)printf(strchr(cell, ' ') == NULL ? "  %s=%s" : "  %s=\"%s\"", key, cell);
            }
        }
    }
    (void)putchar('\n');
    (void)fflush(stdout);
    json_decref(event);
}

static bool take(void *closure, size_t proxy, const char *bytes, size_t len)
{
    struct watched *watched = closure;
    watched->current = proxy;
    stream_feed(&watched->streams[proxy], bytes, len, print_event, watched);
    return ferror(stdout) == 0;
}

/* Ends with its proxies, or by a signal. */
enum ctl_exit events_follow(const struct session *session)
{
    struct answers answers;
    char path[TEXT_BYTES_MAX] = "/v1/events";
    struct watched *watched = calloc(1, sizeof(*watched));
    if (watched == NULL) {
        (void)fputs("everwarmctl: out of memory\n", stderr);
        return CTL_EXIT_REFUSED;
    }
    watched->session = session;
    if (session->options->since != NULL) {
        session_path("/v1/events?since=", session->options->since, "", path, sizeof(path));
    }
    client_stream(session->client, path, take, watched, &answers);
    for (size_t i = 0; i < answers.count; i++) {
        struct answer *answer = &answers.items[i];
        if (answer_is_good(answer)) {
            answer->status = 0;
            if (answer->error[0] == '\0') {
                (void)snprintf(answer->error, sizeof(answer->error), "its events have ended");
            }
        }
    }
    session_report(session, &answers);
    const enum ctl_exit code = answers_exit(&answers);
    answers_fini(&answers);
    free(watched);
    return code;
}
