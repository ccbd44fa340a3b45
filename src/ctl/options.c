/* SPDX-License-Identifier: BSD-2-Clause */
/* Flags, and what they may be. Which command takes how many words is in the table of commands. */
#include "options.h"

#include "text.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

enum {
    LONG_SOCKET = 256, /* above every letter */
    LONG_TOKEN_FILE,
    LONG_WAIT,
    LONG_FORCE,
    LONG_PERSIST,
    LONG_REPAIR,
    LONG_REASON,
    LONG_FOR,
    LONG_SINCE,
    LONG_WEIGHT,
    LONG_ZONE,
    LONG_POOL,
};

static const char PORT[] = "11280";

static const struct option LONG_OPTIONS[] = {
    {"host", required_argument, NULL, 'H'},
    {"socket", required_argument, NULL, LONG_SOCKET},
    {"output", required_argument, NULL, 'o'},
    {"token-file", required_argument, NULL, LONG_TOKEN_FILE},
    {"wait", required_argument, NULL, LONG_WAIT},
    {"force", no_argument, NULL, LONG_FORCE},
    {"persist", no_argument, NULL, LONG_PERSIST},
    {"repair", no_argument, NULL, LONG_REPAIR},
    {"reason", required_argument, NULL, LONG_REASON},
    {"for", required_argument, NULL, LONG_FOR},
    {"since", required_argument, NULL, LONG_SINCE},
    {"weight", required_argument, NULL, LONG_WEIGHT},
    {"zone", required_argument, NULL, LONG_ZONE},
    {"pool", required_argument, NULL, LONG_POOL},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

static bool complain(FILE *error, const char *what, const char *value)
{
    (void)fprintf(error, "everwarmctl: %s: %s\n", value, what);
    return false;
}

/* "host", "host:port", "[v6]" and "[v6]:port"; the port is filled in. */
static bool add_target(struct options *out, const char *text, size_t len, FILE *error)
{
    if (out->target_count == OPTIONS_TARGETS_MAX) {
        return complain(error, "too many proxies for one call", text);
    }
    char *target = out->targets[out->target_count];
    if (len == 0 || len + sizeof(":65535") > OPTIONS_TARGET_BYTES_MAX) {
        return complain(error, "not HOST:PORT", text);
    }
    memcpy(target, text, len);
    target[len] = '\0';
    const char *host_end = target[0] == '[' ? strchr(target, ']') : target + strcspn(target, ":");
    if (host_end == NULL || strpbrk(target, "/@?# \t") != NULL) {
        return complain(error, "not HOST:PORT", target);
    }
    const char *port = target[0] == '[' ? host_end + 1 : host_end;
    if (*port == '\0') {
        (void)snprintf(target + len, OPTIONS_TARGET_BYTES_MAX - len, ":%s", PORT);
    } else {
        const size_t digits = strspn(port + 1, "0123456789");
        const bool is_port = *port == ':' && digits > 0 && digits < 6 && port[1 + digits] == '\0' &&
                             strtoul(port + 1, NULL, 10) <= 65535;
        if (!is_port || host_end == target) {
            return complain(error, "not HOST:PORT; an IPv6 address is written [::1]:11280", target);
        }
    }
    out->target_count++;
    return true;
}

static bool add_targets(struct options *out, const char *list, FILE *error)
{
    for (;;) {
        const size_t len = strcspn(list, ",");
        if (!add_target(out, list, len, error)) {
            return false;
        }
        if (list[len] == '\0') {
            return true;
        }
        list += len + 1;
    }
}

static bool take_output(struct options *out, const char *word, FILE *error)
{
    if (strcmp(word, "table") != 0 && strcmp(word, "json") != 0) {
        return complain(error, "-o takes table or json", word);
    }
    out->output = word[0] == 'j' ? CTL_OUTPUT_JSON : CTL_OUTPUT_TABLE;
    return true;
}

static bool take_wait(struct options *out, const char *word, FILE *error)
{
    if (!text_parse_duration(word, &out->wait_ms) || out->wait_ms == 0) {
        return complain(error, "--wait takes a time like 30s, 5m or 1h", word);
    }
    return true;
}

static bool take_period(struct options *out, const char *word, FILE *error)
{
    uint64_t ms = 0;
    out->period = word;
    return (text_parse_duration(word, &ms) && ms > 0) ||
           complain(error, "--for takes a time like 30m or 2h", word);
}

static bool take(struct options *out, int flag, FILE *error)
{
    switch (flag) {
    case 'H':
        return add_targets(out, optarg, error);
    case 'o':
        return take_output(out, optarg, error);
    case 'h':
        out->is_help = true;
        return true;
    case 'V':
        out->is_version = true;
        return true;
    case LONG_SOCKET:
        out->socket = optarg;
        return true;
    case LONG_TOKEN_FILE:
        out->token_file = optarg;
        return true;
    case LONG_WAIT:
        return take_wait(out, optarg, error);
    case LONG_FORCE:
        out->is_forced = true;
        return true;
    case LONG_PERSIST:
        out->is_persistent = true;
        return true;
    case LONG_REPAIR:
        out->is_repair = true;
        return true;
    case LONG_REASON:
        out->reason = optarg;
        return true;
    case LONG_FOR:
        return take_period(out, optarg, error);
    case LONG_SINCE:
        out->since = optarg;
        return true;
    case LONG_WEIGHT:
        out->weight = optarg;
        return true;
    case LONG_ZONE:
        out->zone = optarg;
        return true;
    case LONG_POOL:
        out->pool = optarg;
        return true;
    default:
        return false; /* getopt has said why */
    }
}

bool options_parse(int argc, char **argv, struct options *out, FILE *error)
{
    *out = (struct options){.output = CTL_OUTPUT_TABLE};
    optind = 0; /* glibc: begin anew, so that tests can call this often */
    for (;;) {
        /* NOLINTNEXTLINE(concurrency-mt-unsafe): the contract says main only */
        const int flag = getopt_long(argc, argv, "H:o:hV", LONG_OPTIONS, NULL);
        if (flag == -1) {
            break;
        }
        if (!take(out, flag, error)) {
            return false;
        }
    }
    if (out->socket != NULL && out->target_count > 0) {
        return complain(error, "give either --socket or -H", out->socket);
    }
    if (out->socket == NULL && out->target_count == 0) {
        (void)snprintf(out->targets[0], sizeof(out->targets[0]), "127.0.0.1:%s", PORT);
        out->target_count = 1;
    }
    out->words = argv + optind;
    out->word_count = argc - optind;
    return true;
}
