/* SPDX-License-Identifier: BSD-2-Clause */
/* The inner side of the control port: what the shell's own threads tell it. */
#ifndef EVERWARM_SHELL_PORT_H
#define EVERWARM_SHELL_PORT_H

#include "everwarm/shell/control_port.h"
#include "mailbox.h"
#include "pool.h"
#include "pools.h"
#include "worker.h"

struct control_port_parts {
    const struct config *config; /* as all pointers here: borrowed until control_port_destroy */
    struct pools *pools;
    struct worker *const *workers;
    struct client_count *clients;
    struct asks *asks;
    struct mailbox *inbox; /* the control thread's */
};

MUST_CHECK enum status control_port_create(const struct control_port_parts *parts,
                                           struct control_port **out);
void control_port_destroy(struct control_port **port);

/* The control thread publishes how a pool is; POOL is its place, here and below. False: not now,
 * somebody looks at what was published before. */
MUST_CHECK bool control_port_publish(struct control_port *port, uint32_t pool,
                                     const struct control *control, uint64_t now_us);
/* The control thread saw something happen; it counts when the pool is published next. */
void control_port_trace(struct control_port *port, uint32_t pool, const struct trace_event *event);
/* A command that was asked for has been answered. */
void control_port_done(struct control_port *port, uint64_t ticket, enum control_result result);
/* The process is told to end. */
void control_port_drain(struct control_port *port);

#endif
