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
#include <stdbool.h>
#include <stdint.h>

/*
 * A pool stands at a place, 0..POOLS_MAX-1, by which the shell's own threads name it; who asks from
 * outside names it by its id, which no other pool ever has. Unchanged while it stands there, but
 * for the nodes and what is atomic.
 */
struct pool {
    _Atomic bool
        is_taken; /* cleared by the control thread, when all threads have let the pool go */
    uint32_t place;
    uint32_t id;                        /* its place modulo POOLS_MAX */
    struct config_pool config;          /* as it was when it came */
    uint32_t share;                     /* the memory is shared by so many pools */
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
    WORKER_CLIENT,  /* pool, fd, peer: a client accepted by another worker; the fd is ours now */
    WORKER_LIMITS,  /* pool, limits, client_stall_us */
    WORKER_COME,    /* pool: which worker_pool_init has made ready, begins */
    WORKER_LISTEN,  /* pool, fd, accept: it has this socket from now on, another may have had it */
    WORKER_DEAFEN,  /* pool, fd: close that socket */
    WORKER_LEAVE,   /* pool: take no clients and requests, say INBOX_POOL_QUIET when all is over */
    WORKER_GO,      /* pool: close all and forget it, say INBOX_POOL_GONE */
    WORKER_ASK,     /* ticket: of a question, see asks.h */
    WORKER_PING,    /* ticket: to be answered by worker_answered */
    WORKER_DRAIN,   /* take no new clients and requests, say INBOX_QUIET when all is answered */
    WORKER_STOP,    /* end the thread */
};

enum worker_accept {
    WORKER_ACCEPT_OWN,  /* keep the clients that come: the other workers have sockets too */
    WORKER_ACCEPT_DEAL, /* give them to all workers in turn */
};

struct worker_message {
    enum worker_message_type type;
    uint32_t pool; /* its place */
    int fd;
    enum worker_accept accept;
    struct socket_peer peer; /* WORKER_CLIENT: where it came from */
    const struct topology *topology;
    uint64_t ticket;
    struct dataplane_limits limits;
    uint64_t client_stall_us; /* WORKER_LIMITS, beside limits */
};

enum inbox_type {
    INBOX_REPORT,     /* pool, report */
    INBOX_COMMAND,    /* pool, command */
    INBOX_LIMITS,     /* pool, limits */
    INBOX_QUIET,      /* a worker has answered everything, after WORKER_DRAIN */
    INBOX_COME,       /* pool: which control_thread_pool_init has made ready, begins */
    INBOX_POOL_QUIET, /* pool, is_late: a worker has answered all, or waits no longer for it */
    INBOX_POOL_GONE,  /* pool: a worker looks at nothing of it any more */
    INBOX_PING,       /* serial: to be answered by control_thread_answered */
    INBOX_STOP,       /* end the control thread */
};

enum {
    /* How long the end of a pool, or of all, waits for what is under way, and for the farewell. */
    POOL_LEAVE_MS_MAX = 5000,
};

/* To the control thread. */
struct inbox_message {
    enum inbox_type type;
    uint32_t pool; /* its place */
    bool is_late;
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
