/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What happened, typed: the one source of the log, the event stream, the metrics of transitions and
 * the tests' expectations. Each move of a state in control emits exactly one.
 */
#ifndef EVERWARM_CORE_TRACE_H
#define EVERWARM_CORE_TRACE_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"

#include <stdint.h>

/* X(name, word, level): level is a syslog priority word. */
#define TRACE_TABLE(X)                                                                             \
    X(NODE_UP, "node-up", INFO)                /* node */                                          \
    X(NODE_DOWN, "node-down", WARNING)         /* node, detail: why */                             \
    X(NODE_DATA, "node-data", NOTICE)          /* node, a: from, b: to (enum node_data) */         \
    X(NODE_ADMIN, "node-admin", NOTICE)        /* node, a: from, b: to (enum node_admin) */        \
    X(NODE_IDENTITY, "node-identity", WARNING) /* node: another run, or flushed; detail */         \
    X(VIEW_PROPOSED, "view-proposed", INFO)    /* a: epoch, detail: why */                         \
    X(VIEW_EFFECTIVE, "view-effective", INFO)  /* a: epoch, b: microseconds it took */             \
    X(VIEW_DAMAGED, "view-damaged", WARNING)   /* node that held it */                             \
    X(VIEW_FOREIGN, "view-foreign", ERR)       /* node that held the view of another pool */       \
    X(NODE_ADDED, "node-added", NOTICE)        /* node, detail: its address */                     \
    X(NODE_REMOVED, "node-removed", NOTICE)    /* node, detail: its address */                     \
    X(NODE_UNKNOWN, "node-unknown", WARNING)   /* node of the configuration that is in no view */  \
    X(PROXY_ID, "proxy-id", INFO)              /* proxy: the id that is ours now */                \
    X(PROXY_SEEN, "proxy-seen", INFO)          /* proxy */                                         \
    X(PROXY_GONE, "proxy-gone", WARNING)       /* proxy, detail: lease or farewell */              \
    X(LEASE_LAPSED, "lease-lapsed", WARNING)   /* b: microseconds since the last heartbeat */      \
    X(LEASE_REGAINED, "lease-regained", INFO)                                                      \
    X(SERVING, "serving", NOTICE)               /* a: epoch; the proxy has joined first */         \
    X(FIRST_START, "first-start", NOTICE)       /* a: nodes taken on trust */                      \
    X(LAST_COPY_LOST, "last-copy-lost", ERR)    /* node, detail: what was made of it */            \
    X(WRITES_STOPPED, "writes-stopped", ERR)    /* a: nodes up, b: nodes (split: stop) */          \
    X(WRITES_ALLOWED, "writes-allowed", NOTICE) /* likewise */                                     \
    X(SPLIT_HEALED, "split-healed", ERR)        /* node, detail: what becomes of its data */       \
    X(FILL_STARTED, "fill-started", NOTICE)     /* node */                                         \
    X(FILL_DONE, "fill-done", NOTICE)           /* node, a: items, b: microseconds */              \
    X(FILL_FAILED, "fill-failed", WARNING)      /* node, detail: why */                            \
    X(VERIFY_STARTED, "verify-started", NOTICE) /* node or none, detail: mends or looks only */    \
    X(VERIFY_DONE, "verify-done", NOTICE)       /* a: copies that differed, b: mended */           \
    X(VERIFY_FAILED, "verify-failed", WARNING)  /* detail: why */                                  \
    X(FLUSHED, "flushed", NOTICE)               /* a: delay in seconds */                          \
    X(POOL_MISMATCH, "pool-mismatch", ERR)      /* proxy whose pool is configured otherwise */     \
    /* Of the whole process: */                                                                    \
    X(POOL_ADDED, "pool-added", NOTICE)           /* detail: its name */                           \
    X(POOL_REMOVED, "pool-removed", NOTICE)       /* detail: its name */                           \
    X(CONFIG_RELOADED, "config-reloaded", NOTICE) /* a: changes in effect now, detail */           \
    X(CONFIG_REFUSED, "config-refused", ERR)      /* detail: why */                                \
    X(PROXY_DRAINED, "proxy-drained", NOTICE)     /* it is not ready by an operator's wish */      \
    X(PROXY_UNDRAINED, "proxy-undrained", NOTICE)

enum trace_type {
#define X(name, word, level) TRACE_##name,
    TRACE_TABLE(X)
#undef X
        TRACE_TYPE_COUNT
};

enum { TRACE_NO_NODE = 0xffffffff, TRACE_NO_PROXY = 0xffffffff, TRACE_DETAIL_BYTES = 120 };

struct trace_event {
    enum trace_type type;
    uint32_t node;  /* where it stands, or TRACE_NO_NODE */
    uint32_t proxy; /* id, or TRACE_NO_PROXY */
    uint64_t at_us; /* monotonic */
    uint64_t a;
    uint64_t b;
    char detail[TRACE_DETAIL_BYTES];    /* text, ends with a zero */
    char name[NODE_NAME_BYTES_MAX + 1]; /* of the node; "" if there is none */
};

/* "node-up" */
const char *trace_word(enum trace_type type);

#endif
