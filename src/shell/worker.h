/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker: one thread, one event loop, one dataplane for each pool, and the sockets they speak of.
 */
#ifndef EVERWARM_SHELL_WORKER_H
#define EVERWARM_SHELL_WORKER_H

#include "everwarm/base/status.h"
#include "everwarm/core/dataplane.h"
#include "mailbox.h"
#include "pool.h"

struct asks;
struct worker;

struct worker_options {
    uint32_t index;
    const struct config *config; /* as all pointers here: borrowed until worker_destroy */
    struct pool *pools;          /* POOLS_MAX places */
    struct client_count *clients;
    struct asks *asks;
    struct mailbox *inbox;       /* the control thread's */
    struct worker *const *peers; /* config->threads_count of them, this one too; set before start */
};

/* With no pool. Errors  STATUS_NO_MEMORY, STATUS_SYSTEM: nothing is left behind. */
MUST_CHECK enum status worker_create(const struct worker_options *options, struct worker **out);

/*
 * Take the memory for the pool at PLACE, where none stands; WORKER_COME begins it.
 *
 * Errors  STATUS_NO_MEMORY, STATUS_SYSTEM: nothing is left behind.
 * Thread  any, one at a time.
 */
MUST_CHECK enum status worker_pool_init(struct worker *worker, uint32_t place);
/* Undo that, if WORKER_COME was not posted. */
void worker_pool_drop(struct worker *worker, uint32_t place);

/* Start the thread. */
MUST_CHECK enum status worker_start(struct worker *worker);

/*
 * Post a message; what control posts always fits (see WORKER_MESSAGES_MAX).
 *
 * Errors  STATUS_FULL: for WORKER_CLIENT, whose fd stays the caller's, WORKER_ASK and WORKER_PING
 *         alone.
 * Thread  any.
 */
MUST_CHECK enum status worker_post(struct worker *worker, const struct worker_message *message);

/* The ticket of the last WORKER_PING that it has taken; 0: none. Thread: any. */
uint64_t worker_answered(const struct worker *worker);

/* X(name, word): why a client's connection ended, for client_closes_total{reason}. */
#define WORKER_CLOSE_TABLE(X)                                                                      \
    X(CLIENT, "client") /* it sent its last, and was answered */                                   \
    X(PROXY, "proxy")   /* it was ended here: quit, nonsense, or what it asked took too long */    \
    X(RESET, "reset")   /* it broke */                                                             \
    X(KILLED, "killed") /* by an operator */                                                       \
    X(SLOW, "slow")     /* it took no answers, or did not end its request */

enum worker_close {
#define X(name, word) WORKER_CLOSE_##name,
    WORKER_CLOSE_TABLE(X)
#undef X
        WORKER_CLOSE_COUNT
};

/* What a worker last published. Thread: any. */
struct worker_figures {
    uint64_t loop_lag_us;
    uint64_t closes[WORKER_CLOSE_COUNT];
};
void worker_stats_figures(struct worker *worker, struct worker_figures *out);
/* Add the dataplane's published figures to SUM and the nodes' zombies to ZOMBIES. Thread: any. */
void worker_stats_add(struct worker *worker, uint32_t pool, struct dataplane_stats *sum,
                      uint64_t zombies[NODES_MAX]);
/* Add what was counted by pools that are gone, or stand at none of the PLACES (a bit for each), so
 * that no sum ever falls; nodes' figures are not among it. Thread: any. */
void worker_stats_add_others(struct worker *worker, uint32_t places, struct dataplane_stats *sum);

/* Stop the thread if it runs. */
void worker_stop(struct worker *worker);
/* Close everything, free *WORKER, which may be NULL and is stopped, and null it. */
void worker_destroy(struct worker **worker);

#endif
