/* SPDX-License-Identifier: BSD-2-Clause */
/* What all threads know of a pool, and the messages that travel between them. */
#ifndef EVERWARM_SHELL_POOL_H
#define EVERWARM_SHELL_POOL_H

#include "everwarm/config/config.h"
#include "everwarm/core/control.h"
#include "everwarm/core/dataplane.h"
#include "everwarm/core/view.h"
#include "socket.h"

#include <stdatomic.h>
#include <stdint.h>

/* Unchanged once the threads run, but for the nodes and what is atomic. */
struct pool {
    const struct config_pool *config;
    uint32_t index;
    uint32_t node_count;                /* places: NODES_MAX */
    struct slice node_names[NODES_MAX]; /* at the start, as are these: */
    struct slice node_addresses[NODES_MAX];
    char addresses[NODES_MAX][VIEW_ADDRESS_BYTES_MAX + 1];
    struct view_names names;
    /* Who stands at each place. The configuration's are resolved at the start. The control thread
     * alone writes one, while nobody has a link there; workers connect to it only once a topology
     * names it, which comes behind it through their mailboxes. */
    struct socket_address nodes[NODES_MAX];
    /* control_lease_until_us(); written by the control thread, read by workers once a turn. */
    _Atomic uint64_t lease_until_us;
    _Atomic uint64_t request_timeout_us; /* in effect; for who waits for an answer */
};

/* Of the whole process; touched when a client comes or goes. */
struct client_count {
    _Atomic uint32_t max; /* max_clients */
    _Atomic uint32_t open;
    _Atomic uint64_t accepted;
    _Atomic uint64_t rejected_limit;
    _Atomic uint64_t rejected_fds;
};

enum worker_message_type {
    WORKER_HOLD,    /* pool, topology */
    WORKER_ADOPT,   /* pool, topology */
    WORKER_FLUSHED, /* pool, ticket */
    WORKER_CLIENT,  /* pool, fd: a client accepted by another worker; the fd is the worker's now */
    WORKER_LIMITS,  /* pool, limits, client_stall_us */
    WORKER_ASK,     /* ticket: of a question, see asks.h */
    WORKER_PING,    /* ticket: to be answered by worker_answered */
    WORKER_DRAIN,   /* take no new clients and requests, say INBOX_QUIET when all is answered */
    WORKER_STOP,    /* end the thread */
};

struct worker_message {
    enum worker_message_type type;
    uint32_t pool;
    int fd;
    const struct topology *topology;
    uint64_t ticket;
    struct dataplane_limits limits;
    uint64_t client_stall_us; /* WORKER_LIMITS, beside limits */
};

enum inbox_type {
    INBOX_REPORT,  /* pool, report */
    INBOX_COMMAND, /* pool, command */
    INBOX_LIMITS,  /* pool, limits */
    INBOX_QUIET,   /* a worker has answered everything, after WORKER_DRAIN */
    INBOX_PING,    /* serial: to be answered by control_thread_answered */
    INBOX_STOP,    /* end the control thread */
};

/* To the control thread. */
struct inbox_message {
    enum inbox_type type;
    uint32_t pool;
    struct control_report report;
    struct control_command command;
    struct control_limits limits;
    uint64_t serial;
};

enum {
    /* Reports are few (a handful a change of view); a flush_all of each of many clients is the
     * worst. Workers that find the box full wait with what they want done. */
    INBOX_MESSAGES_MAX = 4096,
    /* Places in it that reports leave to commands, INBOX_QUIET and INBOX_STOP. */
    INBOX_KEEP_FREE = 256,
};

#endif
