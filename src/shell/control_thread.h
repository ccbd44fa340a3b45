/* SPDX-License-Identifier: BSD-2-Clause */
/* The control thread: one event loop, one control for each pool, its probes and its fills. */
#ifndef EVERWARM_SHELL_CONTROL_THREAD_H
#define EVERWARM_SHELL_CONTROL_THREAD_H

#include "everwarm/base/status.h"
#include "everwarm/config/config.h"
#include "everwarm/shell/control_port.h"
#include "mailbox.h"
#include "pool.h"
#include "worker.h"

#include <stdbool.h>

struct control_thread;

struct control_thread_options {
    const struct config *config;   /* as all pointers here: borrowed until control_thread_destroy */
    struct pool *pools;            /* POOLS_MAX places */
    struct worker *const *workers; /* config->threads_count of them */
    struct mailbox *inbox;         /* its own */
    struct control_port *port;     /* where it publishes */
};

/* With no pool. */
MUST_CHECK enum status control_thread_create(const struct control_thread_options *options,
                                             struct control_thread **out);
/*
 * Take the memory for the pool at PLACE, where none stands; INBOX_COME begins it.
 *
 * Errors  STATUS_NO_MEMORY, STATUS_SYSTEM: nothing is left behind.
 * Thread  any, one at a time.
 */
MUST_CHECK enum status control_thread_pool_init(struct control_thread *thread, uint32_t place);
/* Undo that, if INBOX_COME was not posted. */
void control_thread_pool_drop(struct control_thread *thread, uint32_t place);
MUST_CHECK enum status control_thread_start(struct control_thread *thread);

/* Whether all workers were quiet and the farewell is written. Thread: any. */
bool control_thread_is_gone(const struct control_thread *thread);

/* The serial of the last INBOX_PING that it has taken; 0: none. Thread: any. */
uint64_t control_thread_answered(const struct control_thread *thread);

/* Stop the thread if it runs. */
void control_thread_stop(struct control_thread *thread);
/* Close everything, free *THREAD, which may be NULL and is stopped, and null it. */
void control_thread_destroy(struct control_thread **thread);

#endif
