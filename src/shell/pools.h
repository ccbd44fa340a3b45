/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pools that a proxy has and the sockets they listen on, and how these come and go, at the
 * start and while it runs alike: what may fail is prepared first and undone if it does; then
 * messages tell the threads. Thread: one at a time.
 */
#ifndef EVERWARM_SHELL_POOLS_H
#define EVERWARM_SHELL_POOLS_H

#include "control_thread.h"
#include "everwarm/config/config.h"
#include "everwarm/shell/inherit.h"
#include "mailbox.h"
#include "pool.h"
#include "socket.h"
#include "worker.h"

struct listening {
    uint32_t place;    /* of its pool */
    bool is_used;      /* while a change is planned */
    bool is_new;       /* likewise: its pool has it not yet */
    bool is_opened;    /* likewise: it was opened for this change */
    bool is_inherited; /* the service manager holds it too */
    enum worker_accept accept;
    uint32_t fd_count;
    int fds[WORKERS_MAX];  /* the workers' */
    struct address wanted; /* as configured */
    char text[ADDRESS_TEXT_BYTES_MAX];
};

enum { LISTENING_MAX = POOLS_MAX * LISTENERS_MAX };

struct pools {
    uint32_t threads_count;
    struct worker *const *workers;
    struct control_thread *control; /* set once it is there */
    struct mailbox *inbox;
    struct inherit *inherit;         /* NULL: none */
    uint32_t generations[POOLS_MAX]; /* how many pools have stood there */
    struct pool places[POOLS_MAX];
    size_t listening_count;
    struct listening listening[LISTENING_MAX];
};

/* A change from the pools that there are to those of a configuration. */
struct pools_plan {
    const struct config *config;
    uint32_t places[POOLS_MAX]; /* of its pools, in its order */
    bool is_new[POOLS_MAX];
    size_t listening_count;
    struct listening listening[LISTENING_MAX];
};

/* Give a pool a place, and resolve its nodes. Errors  STATUS_NOT_FOUND, STATUS_FULL: ERROR says it.
 */
MUST_CHECK enum status pools_take(struct pools *pools, const struct config_pool *config,
                                  uint32_t share, uint32_t *place, struct socket_error *error);

/*
 * Take the memory for the new pools of PLAN, whose places are there, and open the sockets that are
 * not open yet.
 *
 * Errors  ERROR says what; pools_undo is to be called.
 */
MUST_CHECK enum status pools_prepare(struct pools *pools, struct pools_plan *plan,
                                     struct socket_error *error);
/* Give back what was taken and opened for PLAN. */
void pools_undo(struct pools *pools, struct pools_plan *plan);
/* Tell the threads. The pools at the places whose bits are in LEAVERS go. */
void pools_commit(struct pools *pools, struct pools_plan *plan, uint32_t leavers);

/* Where clients of the pool at PLACE are awaited; NULL when INDEX is past the last. */
const char *pools_address(const struct pools *pools, uint32_t place, size_t index);

/* Remove the files of the unix sockets. */
void pools_fini(struct pools *pools);

#endif
