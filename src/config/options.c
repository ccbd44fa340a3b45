/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which flags there are. Values are taken as they are: ranges and addresses are in the key table,
 * and config answers for them; only what can't go together is refused here.
 *
 * magent's letters keep their meaning, so that a start script for it works as it is.
 */
#include "everwarm/config/options.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/suggest.h"
#include "everwarm/config/config.h"
#include "everwarm/config/value.h"
#include "source.h"

#include <getopt.h>
#include <stdarg.h>
#include <string.h>

enum {
    LONG_TEST_CONFIG = 256, /* above every letter */
    LONG_HELP_CONFIG,
    LONG_LOCAL,
    LONG_DAEMON,
    LONG_LOG_FORMAT,
};

static const char SHORT_FLAGS[] = ":s:b:l:p:f:n:t:A:u:g:c:i:kDvVh";

static const struct option LONG_FLAGS[] = {
    {"admin", required_argument, NULL, 'A'},
    {"daemon", no_argument, NULL, LONG_DAEMON},
    {"help", no_argument, NULL, 'h'},
    {"help-config", no_argument, NULL, LONG_HELP_CONFIG},
    {"local", required_argument, NULL, LONG_LOCAL},
    {"log-format", required_argument, NULL, LONG_LOG_FORMAT},
    {"test-config", no_argument, NULL, LONG_TEST_CONFIG},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static const char TRY_HELP[] = "try everwarm --help";

void options_help(FILE *out)
{
    (void)fputs("everwarm: every key on every memcached, so that none has to start cold\n"
                "\n"
                "usage: everwarm -c FILE                        what the file says\n"
                "       everwarm -s HOST:PORT -s HOST:PORT ...  a mirror of these nodes\n"
                "       everwarm --local N                      N memcacheds of our own, mirrored\n"
                "       everwarm --test-config -c FILE          check it: exit 0, or 2 and why\n"
                "\n"
                "nodes\n"
                "  -s ADDRESS        a node: HOST[:PORT], [V6]:PORT or unix:/path; repeatable\n"
                "                    (port 11211)\n"
                "  -b ADDRESS        a backup node; it holds everything too; repeatable\n"
                "  -k                magent's ketama order of replicas: accepted, not built yet\n"
                "  --local N         start 1 to 16 memcacheds on free loopback ports\n"
                "\n"
                "clients\n"
                "  -l HOST           address to listen on, also HOST:PORT; repeatable (127.0.0.1)\n"
                "  -p PORT           port to listen on; 0: no TCP (11210)\n"
                "  -f PATH           unix socket to listen on as well (none)\n"
                "  -n NUMBER         client connections at most (10000)\n"
                "\n"
                "operation\n"
                "  -c FILE           configuration; beaten by -l -p -f -n -t -A -v --log-format\n"
                "  -t NUMBER         worker threads (number of cores)\n"
                "  -A, --admin ADDRESS\n"
                "                    HTTP for operators, or off (127.0.0.1:11280)\n"
                "  -u USER           become this user, name or number (stay)\n"
                "  -g GROUP          become this group, name or number (stay)\n"
                "  -D                stay in the foreground (so by default)\n"
                "  --daemon          go into the background\n"
                "  --log-format text|json\n"
                "                    of the log on stderr (text)\n"
                "  -v                log more\n"
                "  -i NUMBER         accepted for magent's sake, unused\n"
                "\n"
                "and end\n"
                "  --test-config     check the configuration, or the flags\n"
                "  --help-config     every key of the configuration file\n"
                "  -V, --version     version\n"
                "  -h, --help        this\n",
                out);
}

__attribute__((format(printf, 2, 3))) static enum status fail(struct config_error *error,
                                                              const char *format, ...)
{
    char text[CONFIG_TEXT_BYTES_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    source_set_error(error, "", "%s; %s", text, TRY_HELP);
    return STATUS_BAD_ARGUMENT;
}

static enum status fail_unknown(struct config_error *error, const char *word)
{
    char name[64];
    (void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "=") % 63, word + 2);
    struct suggest s = suggest_begin(name);
    for (size_t i = 0; LONG_FLAGS[i].name != NULL; i++) {
        suggest_offer(&s, LONG_FLAGS[i].name);
    }
    if (s.best != NULL) {
        return fail(error, "--%s is no flag of everwarm, did you mean --%s?", name, s.best);
    }
    return fail(error, "--%s is no flag of everwarm", name);
}

static enum status append_node(struct options *out, const char *address, int flag,
                               struct config_error *error)
{
    if (out->node_count == NODES_MAX) {
        return fail(error, "more than %d nodes (-s, -b)", NODES_MAX);
    }
    out->is_backup[out->node_count] = flag == 'b';
    out->nodes[out->node_count++] = address;
    return STATUS_OK;
}

static enum status append_listen(struct options *out, const char *address,
                                 struct config_error *error)
{
    if (out->listen_count == LISTENERS_MAX) {
        return fail(error, "more than %d addresses to listen on (-l)", LISTENERS_MAX);
    }
    out->listen[out->listen_count++] = address;
    return STATUS_OK;
}

static enum status set_local(struct options *out, const char *text, struct config_error *error)
{
    uint64_t count = 0;
    if (!value_parse(text, VALUE_UNIT_NONE, &count) || count < 1 || count > LOCAL_NODES_MAX) {
        return fail(error, "--local \"%.40s\" must be 1 to %d memcacheds", text, LOCAL_NODES_MAX);
    }
    out->local_count = (uint32_t)count;
    return STATUS_OK;
}

/* Take one flag; WORD is the argument it stood in. */
static enum status take_flag(struct options *out, int flag, const char *word,
                             struct config_error *error)
{
    switch (flag) {
    case 's':
    case 'b':
        return append_node(out, optarg, flag, error);
    case 'l':
        return append_listen(out, optarg, error);
    case 'p':
        out->port = optarg;
        break;
    case 'f':
        out->unix_path = optarg;
        break;
    case 'n':
        out->max_clients = optarg;
        break;
    case 't':
        out->threads = optarg;
        break;
    case 'A':
        out->admin = optarg;
        break;
    case 'u':
        out->user = optarg;
        break;
    case 'g':
        out->group = optarg;
        break;
    case 'c':
        out->config_path = optarg;
        break;
    case 'i':
        out->is_idle_given = true;
        break;
    case 'k':
        out->is_ketama = true;
        break;
    case 'D':
        out->is_foreground = true;
        break;
    case 'v':
        out->verbose_count++;
        break;
    case 'V':
        out->action = OPTIONS_VERSION;
        break;
    case 'h':
        out->action = OPTIONS_HELP;
        break;
    case LONG_HELP_CONFIG:
        out->action = OPTIONS_HELP_CONFIG;
        break;
    case LONG_TEST_CONFIG:
        out->action = OPTIONS_TEST_CONFIG;
        break;
    case LONG_LOCAL:
        return set_local(out, optarg, error);
    case LONG_DAEMON:
        out->is_daemon = true;
        break;
    case LONG_LOG_FORMAT:
        out->log_format = optarg;
        break;
    case ':':
        return fail(error, "%.40s needs a value", word);
    default:
        if (strncmp(word, "--", 2) == 0) {
            return fail_unknown(error, word);
        }
        return fail(error, "-%c is no flag of everwarm", optopt);
    }
    return STATUS_OK;
}

/* What can't go together. */
static enum status check(const struct options *options, struct config_error *error)
{
    const bool has_nodes = options->node_count > 0;
    const bool has_local = options->local_count > 0;
    const bool has_file = options->config_path != NULL;
    if (has_file && (has_nodes || has_local)) {
        return fail(error, "the nodes come from -c FILE or from %s, not from both",
                    has_nodes ? "-s" : "--local");
    }
    if (has_nodes && has_local) {
        return fail(error, "the nodes come from -s or from --local, not from both");
    }
    if (!has_file && !has_nodes && !has_local) {
        return fail(error, "no nodes: give -s HOST:PORT for each, -c FILE, or --local N");
    }
    bool has_master = !has_nodes;
    for (size_t i = 0; i < options->node_count; i++) {
        has_master = has_master || !options->is_backup[i];
    }
    if (!has_master) {
        return fail(error, "-b needs a -s beside it");
    }
    if (has_local && options->action == OPTIONS_TEST_CONFIG) {
        return fail(error, "--test-config checks -c FILE or -s, --local has nothing to check");
    }
    if (options->is_foreground && options->is_daemon) {
        return fail(error, "-D (foreground) and --daemon contradict each other");
    }
    return STATUS_OK;
}

/* Whether what is left does not matter any more. */
static bool is_final(const struct options *options)
{
    return options->action == OPTIONS_HELP || options->action == OPTIONS_VERSION ||
           options->action == OPTIONS_HELP_CONFIG;
}

enum status options_parse(int argc, char *argv[], struct options *out, struct config_error *error)
{
    REQUIRE(argc > 0);
    *out = (struct options){.action = OPTIONS_RUN};
    optind = 0; /* glibc: begin anew, also within a test's second call */
    for (;;) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): the contract says main only */
        const int flag = getopt_long(argc, argv, SHORT_FLAGS, LONG_FLAGS, NULL);
        if (flag == -1) {
            break;
        }
        const enum status status = take_flag(out, flag, argv[optind - 1], error);
        if (status != STATUS_OK) {
            return status;
        }
        if (is_final(out)) {
            return STATUS_OK;
        }
    }
    if (optind < argc) {
        return fail(error, "\"%.40s\" belongs to no flag", argv[optind]);
    }
    return check(out, error);
}
