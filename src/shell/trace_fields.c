/* SPDX-License-Identifier: BSD-2-Clause */
/* Gives the numbers of an event their names and words. */
#include "everwarm/shell/trace_fields.h"

#include "everwarm/core/topology.h"

#include <stddef.h>

/* The levels of TRACE_TABLE. */
enum {
    LEVEL_ERR = LOG_LEVEL_ERROR,
    LEVEL_WARNING = LOG_LEVEL_WARNING,
    LEVEL_NOTICE = LOG_LEVEL_NOTICE,
    LEVEL_INFO = LOG_LEVEL_INFO
};

static const enum log_level trace_levels[TRACE_TYPE_COUNT] = {
#define X(name, word, level) [TRACE_##name] = (enum log_level)LEVEL_##level,
    TRACE_TABLE(X)
#undef X
};

/* What a and b of an event are called; NULL: not used. Words where they are states. */
struct trace_names {
    const char *a;
    const char *b;
    const char *(*word)(uint64_t value);
};

static const char *data_word(uint64_t value)
{
    return node_data_word((enum node_data)value);
}

static const char *admin_word(uint64_t value)
{
    return node_admin_word((enum node_admin)value);
}

static const struct trace_names trace_names[TRACE_TYPE_COUNT] = {
    [TRACE_NODE_DATA] = {"from", "to", data_word},
    [TRACE_NODE_ADMIN] = {"from", "to", admin_word},
    [TRACE_VIEW_PROPOSED] = {"epoch", NULL, NULL},
    [TRACE_VIEW_EFFECTIVE] = {"epoch", "took_us", NULL},
    [TRACE_LEASE_LAPSED] = {NULL, "since_us", NULL},
    [TRACE_SERVING] = {"epoch", NULL, NULL},
    [TRACE_FIRST_START] = {"nodes", NULL, NULL},
    [TRACE_WRITES_STOPPED] = {"up", "nodes", NULL},
    [TRACE_WRITES_ALLOWED] = {"up", "nodes", NULL},
    [TRACE_FILL_DONE] = {"items", "took_us", NULL},
    [TRACE_CONFIG_RELOADED] = {"changes", NULL, NULL},
    [TRACE_VERIFY_DONE] = {"differed", "mended", NULL},
    [TRACE_FLUSHED] = {"delay_s", NULL, NULL},
};

static void set_value(struct log_field *field, const char *key, uint64_t value,
                      const char *(*word)(uint64_t value))
{
    *field =
        (struct log_field){.key = key, .text = word == NULL ? NULL : word(value), .number = value};
}

size_t trace_fields(const char *pool, const struct trace_event *event,
                    struct log_field out[TRACE_FIELDS_MAX])
{
    size_t count = 0;
    if (pool != NULL) {
        out[count++] = (struct log_field)LOG_TEXT("pool", pool);
        if (event->name[0] != '\0') {
            out[count++] = (struct log_field)LOG_TEXT("node", event->name);
        }
    }
    if (event->proxy != TRACE_NO_PROXY) {
        out[count++] = (struct log_field)LOG_NUMBER("proxy", event->proxy);
    }
    const struct trace_names *names = &trace_names[event->type];
    if (names->a != NULL) {
        set_value(&out[count++], names->a, event->a, names->word);
    }
    if (names->b != NULL) {
        set_value(&out[count++], names->b, event->b, names->word);
    }
    if (event->detail[0] != '\0') {
        out[count++] = (struct log_field)LOG_TEXT("why", event->detail);
    }
    return count;
}

enum log_level trace_level(enum trace_type type)
{
    return trace_levels[type];
}
