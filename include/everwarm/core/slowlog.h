/* SPDX-License-Identifier: BSD-2-Clause */
/* The slow requests of late: a ring that costs a comparison for those that are not slow. */
#ifndef EVERWARM_CORE_SLOWLOG_H
#define EVERWARM_CORE_SLOWLOG_H

#include "everwarm/base/slice.h"

#include <stddef.h>
#include <stdint.h>

enum {
    /* A cache that takes so long is no cache; well above a loop turn of a busy machine. */
    SLOWLOG_US = 10000,
    /* Of each dataplane: a bad minute, or one bad second's first ones. */
    SLOWLOG_ENTRIES_MAX = 128,
    /* Enough of a key to know it by; whole ones belong to the application. */
    SLOWLOG_KEY_BYTES_MAX = 48,
    SLOWLOG_NO_NODE = 0xff,
};

/* X(name, word): where the time went, or what it was at when it was over. */
#define SLOWLOG_PHASE_TABLE(X)                                                                     \
    X(HELD, "held") /* nothing was sent: a view, a connection or an earlier write */               \
    X(READ, "read")                                                                                \
    X(WRITE, "write")                                                                              \
    X(DECIDE, "decide")     /* by the leader */                                                    \
    X(SPREAD, "spread")     /* the leader's result to the others */                                \
    X(CHAIN, "chain")       /* to a node that is filled, after all others */                       \
    X(STRANDED, "stranded") /* a node did not answer: until it is home or out of the view */       \
    X(ASKED, "asked")       /* the whole pool: a flush */

enum slowlog_phase {
#define X(name, word) SLOWLOG_PHASE_##name,
    SLOWLOG_PHASE_TABLE(X)
#undef X
        SLOWLOG_PHASE_COUNT
};

struct slow_request {
    uint64_t serial;    /* of its dataplane, from 1 */
    uint64_t at_us;     /* when it was answered, monotonic */
    uint64_t took_us;   /* from when it had come */
    uint64_t waited_us; /* of that, until the last request to a node of it was queued */
    uint8_t command;    /* enum mc_command */
    uint8_t outcome;    /* enum dataplane_outcome */
    uint8_t phase;      /* enum slowlog_phase */
    uint8_t node;       /* that it waited for last, or SLOWLOG_NO_NODE */
    uint32_t key_count;
    uint8_t key_bytes; /* of key; the whole one may be longer */
    char key[SLOWLOG_KEY_BYTES_MAX];
};

struct slowlog {
    uint64_t next; /* serial of the next one, less 1 */
    struct slow_request entries[SLOWLOG_ENTRIES_MAX];
};

/* Keep REQUEST, whose serial is set here, in place of the oldest; KEY is cut. */
void slowlog_add(struct slowlog *log, const struct slow_request *request, struct slice key);

/* Copy the latest ones, the latest first. Returns their number, at most CAPACITY. */
size_t slowlog_copy(const struct slowlog *log, struct slow_request *out, size_t capacity);

/* "held" */
const char *slowlog_phase_word(enum slowlog_phase phase);

#endif
