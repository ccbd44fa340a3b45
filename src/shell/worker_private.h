/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of a worker share: worker.c turns and lives, worker_client.c and worker_node.c
 * have the sockets, worker_stats.c the figures. The invariants are in worker.c.
 */
#ifndef EVERWARM_SHELL_WORKER_PRIVATE_H
#define EVERWARM_SHELL_WORKER_PRIVATE_H

#include "asks.h"
#include "clock.h"
#include "mailbox.h"
#include "pool.h"
#include "slow.h"
#include "socket.h"
#include "watch.h"
#include "worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

enum {
    /* One read takes a whole burst of replies; beyond this the copy leaves the cache. */
    WORKER_READ_BYTES = 256 * 1024,
    /* Written to one socket in a turn, about: a large value, whose reader keeps up with us, must
     * not keep the loop from everybody else. */
    WORKER_WRITE_BYTES = 1024 * 1024,
};

struct worker_pool;

struct client_conn {
    struct watch watch;
    struct worker_pool *pool;
    struct client_conn *next_free;
    uint64_t id; /* unique in this run of the proxy */
    uint64_t opened_us;
    uint64_t heard_us; /* when bytes last came; 0: never */
    uint64_t received_bytes;
    uint64_t sent_bytes;
    struct slow_watch slow;
    struct socket_peer peer;
    int fd; /* -1: the slot is free */
    bool is_paused;
    bool is_starved; /* no memory for what it sends */
    bool is_eof;
    /* Took less than it was given, or has had its share of this turn: perhaps of nothing more. */
    bool is_blocked;
    bool is_broken; /* a write failed; the next turn tells the dataplane */
};

enum node_state { NODE_CLOSED, NODE_CONNECTING, NODE_OPEN };

struct node_conn {
    struct watch watch;
    struct worker_pool *pool;
    uint32_t number; /* of the dataplane's link */
    int fd;
    enum node_state state;
    bool is_blocked;
    bool is_broken; /* a write failed; its read will say why */
    /* What is to be told at the next chance, since an action can't be answered inside itself. */
    bool has_failed;
    enum wire_end last_end; /* of the last connection that was closed */
    enum wire_end end;
    uint32_t ended_count; /* given up, and at their end at once */
    enum wire_end ended_end;
    uint32_t zombie_count;
};

/* A connection that was given up; read to its end and thrown away. */
struct zombie {
    LIST_ENTRY(zombie) link;
    struct watch watch;
    struct node_conn *conn;
    int fd;
};

struct listener {
    struct watch watch;
    struct worker_pool *pool;
    int fd;
    enum worker_accept accept;
    bool is_resting; /* no descriptor was left; until the next tick */
};

struct worker_pool {
    bool is_active; /* if not, whatever is here is being made ready, or nothing is */
    bool is_leaving;
    bool is_quiet_told;
    uint64_t leave_until_us; /* is_leaving: later it waits for nothing */
    struct worker *worker;
    struct pool *shared;
    struct dataplane *dataplane;
    size_t dataplane_bytes;
    bool is_touched;
    bool is_dirty; /* figures changed since they were published */
    bool has_failed_nodes;
    bool has_written_nodes;
    bool is_stalled; /* the report below does not fit into control's mailbox: actions wait */
    struct control_report stalled_report;
    uint64_t output_bytes_max; /* limits.client_output */
    uint64_t slow_seen;        /* clients closed as slow, and those of them that the log knows */
    uint64_t slow_told;
    uint64_t slow_told_at_us;
    uint64_t published_at_us;
    uint64_t foreign_told; /* clients that spoke HTTP or TLS, as of the last log line of them */
    uint64_t foreign_told_at_us;
    struct client_conn *clients; /* worker->client_slots of them, touched on demand */
    struct client_conn *free_clients;
    uint32_t fresh_client; /* slots from here on were never used */
    uint32_t open_count;
    uint32_t starved_count;
    uint32_t blocked_count;
    uint32_t listener_count;
    /* While some come in place of others there are more. */
    struct listener listeners[2 * LISTENERS_MAX];
    struct node_conn links[DATAPLANE_LINKS_MAX];
    LIST_HEAD(zombie_list, zombie) zombies;
    struct dataplane_stats published; /* these two under worker.publish */
    uint64_t published_zombies[NODES_MAX];
};

struct worker {
    struct worker_options options;
    uint32_t client_slots; /* max_clients may be raised to so many */
    struct event_base *base;
    struct mailbox mailbox;
    struct watch mailbox_watch;
    struct event tick;
    struct event slow_timer;
    uint64_t stall_us;  /* limits.client_stall */
    uint32_t slow_part; /* of the clients, is looked at next */
    bool is_tick_armed;
    uint64_t tick_due_us;
    uint64_t lag_us;
    uint64_t started_us; /* by clock_mono_us */
    uint64_t clients_seen;
    uint64_t closes[WORKER_CLOSE_COUNT];
    bool is_turning;
    uint64_t now_us; /* of this turn */
    bool is_draining;
    bool is_quiet_told;
    bool is_stopping;
    uint32_t gone_untold;      /* a bit for each place: INBOX_POOL_GONE did not fit yet */
    _Atomic uint64_t answered; /* ticket of the last ping */
    uint64_t asked[ASKS_MAX];  /* tickets of questions that wait for their turn */
    uint32_t asked_count;
    int reserve_fd; /* given back when no descriptor is left, to take a client and turn it away */
    uint32_t next_peer;
    char *scratch; /* WORKER_READ_BYTES */
    pthread_t thread;
    bool is_started;
    pthread_mutex_t publish;
    struct worker_figures published; /* under publish */
    uint32_t published_places;       /* likewise: a bit for each pool that has published */
    struct dataplane_stats gone;     /* likewise: what pools that are gone have counted */
    struct worker_pool pools[POOLS_MAX];
};

/* The pool after AFTER (NULL: the first), by its place; NULL: there is none. Another may be closed
 * meanwhile. */
static inline struct worker_pool *worker_next_pool(struct worker *worker,
                                                   const struct worker_pool *after)
{
    for (size_t i = after == NULL ? 0 : (size_t)(after - worker->pools) + 1; i < POOLS_MAX; i++) {
        if (worker->pools[i].is_active) {
            return &worker->pools[i];
        }
    }
    return NULL;
}

/*
 * First thing of each callback that has something for the dataplane: the time of the turn is taken,
 * and the dataplane told.
 */
void worker_begin(struct worker_pool *pool);

/* --- worker_client.c --- */

/* Serve an admitted client on FD, which is the pool's from now on. */
void worker_client_open(struct worker_pool *pool, int fd, const struct socket_peer *peer);
/* Close it; the slot is free. The dataplane knows already. */
void worker_client_close(struct client_conn *client, enum worker_close reason);
/* The same, and the dataplane is told. In a callback, after worker_begin. */
void worker_client_lose(struct client_conn *client, enum worker_close reason);
/* Wait for what it is to be waited for, after one of its booleans or is_draining changed. */
void worker_client_watch(struct client_conn *client);
/* Give it what it is owed. */
void worker_client_write(struct client_conn *client);
/* Read those again that were not read for want of memory, if there is some. */
void worker_client_feed(struct worker_pool *pool);
/* Wait for new clients, unless the listener rests. */
void worker_client_listen(struct listener *listener);

/* --- worker_node.c --- */

void worker_node_connect(struct node_conn *conn);
void worker_node_write(struct node_conn *conn);
void worker_node_give_up(struct node_conn *conn);
/* Tell the dataplane what could not be told inside its own action. */
void worker_node_tell_failed(struct worker_pool *pool);
/* Close all connections, zombies too, without a word. */
void worker_node_fini(struct worker_pool *pool);

/* --- worker_ask.c --- */

/* Answer the question with this ticket, now or at a later tick. In a callback. */
void worker_ask(struct worker *worker, uint64_t ticket);
/* Answer those that could not be answered at once. In a tick. */
void worker_ask_again(struct worker *worker);

/* --- worker_slow.c --- */

/* Begin to look for slow clients; once the base is there and stall_us is set. */
void worker_slow_init(struct worker *worker);
void worker_slow_set(struct worker *worker, uint64_t stall_us);
void worker_slow_fini(struct worker *worker);

/* --- worker_stats.c --- */

/* Copy the dataplane's figures to where others may read them. */
void worker_stats_publish(struct worker_pool *pool);
/* Keep what it has counted, and leave the place as it was before the pool came. */
void worker_stats_let_go(struct worker_pool *pool);

#endif
