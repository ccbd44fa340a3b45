/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One turn of a worker:
 *
 *   epoll_wait ─► callbacks: one read per readable socket ─► dataplane_step   (nothing is written)
 *   then flush: dataplane_next_action until none ─► one gathered write per dirty socket
 *
 * so that the requests of many clients share one write to a node, and its replies share one read.
 *
 * I1  Everything here is touched by the worker's own thread alone, but the mailbox, the published
 *     figures (under their mutex) and the counters of clients (atomic).
 * I2  The dataplane hears dataplane_turn once in each turn in which it is touched, before anything
 *     else; all that happens in a turn happens at one time.
 * I3  A callback never writes, and flush never reads. A socket is closed in either, but its slot is
 *     used again only by a later callback.
 * I4  Nothing is waited for that is not wanted: a socket is watched for writing only after it took
 *     less than it was given, a client for reading unless paused, starved, or at its end.
 * I5  No memory is taken per client or request; only a connection that is given up takes some.
 */
#include "worker.h"

#include "clock.h"
#include "everwarm/base/invariant.h"
#include "everwarm/base/version.h"
#include "socket.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/queue.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    /* One read takes a whole burst of replies; beyond this the copy leaves the cache. */
    READ_BYTES = 256 * 1024,
    /* Deadlines are a request's and a connection's: a hundredth of the shortest is fine enough. */
    TICK_US = 20 * CLOCK_US_PER_MS,
    PUBLISH_US = 100 * CLOCK_US_PER_MS,
    /* New clients must not starve those that are being served. */
    ACCEPTS_PER_TURN = 64,
    /* Connections to one node that are given up and not at their end. A frozen node takes one for
     * each attempt to reach it; at the limit it is not connected to until one of them ends. */
    ZOMBIES_PER_NODE_MAX = 64,
    /* Control posts two or three messages a change of view, of which there are a few a second; a
     * worker that lets so many gather has hung for minutes, which is a bug of ours. */
    MESSAGES_MAX = 4096,
    /* Places in the mailbox that dealt clients leave to control. */
    MESSAGES_KEEP_FREE = 2048,
    /* Items that a dataplane can hold at the least, however the memory is split. */
    ITEMS_MIN = 4,
};

static const char refusal[] = "ERROR Too many open connections\r\n";

struct worker_pool;

struct client_conn {
    struct watch watch;
    struct worker_pool *pool;
    struct client_conn *next_free;
    int fd; /* -1: the slot is free */
    bool is_paused;
    bool is_starved; /* no memory for what it sends */
    bool is_eof;
    bool is_blocked; /* took less than it was given */
    bool is_broken;  /* a write failed; the next turn tells the dataplane */
};

enum node_state { NODE_CLOSED, NODE_CONNECTING, NODE_OPEN };

struct node_conn {
    struct watch watch;
    struct worker_pool *pool;
    uint32_t node;
    int fd;
    enum node_state state;
    bool is_blocked;
    bool is_broken; /* a write failed; its read will say why */
    /* What is to be told at the next chance, since an action can't be answered inside itself. */
    bool has_failed;
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
    uint64_t published_at_us;
    struct client_conn *clients; /* clients_max of them, touched on demand */
    struct client_conn *free_clients;
    uint32_t fresh_client; /* slots from here on were never used */
    uint32_t starved_count;
    uint32_t blocked_count;
    uint32_t listener_count;
    struct listener listeners[LISTENERS_MAX];
    struct node_conn nodes[NODES_MAX];
    LIST_HEAD(, zombie) zombies;
    struct dataplane_stats published; /* these two under worker.publish */
    uint64_t published_zombies[NODES_MAX];
};

struct worker {
    struct worker_options options;
    uint32_t clients_max;
    uint32_t pool_count;
    struct event_base *base;
    struct mailbox mailbox;
    struct watch mailbox_watch;
    struct event tick;
    bool is_tick_armed;
    uint64_t tick_due_us;
    uint64_t lag_us;
    bool is_turning;
    uint64_t now_us; /* of this turn */
    bool is_draining;
    bool is_quiet_told;
    bool is_stopping;
    int reserve_fd; /* given back when no descriptor is left, to take a client and turn it away */
    uint32_t next_peer;
    char *scratch; /* READ_BYTES */
    pthread_t thread;
    bool is_started;
    pthread_mutex_t publish;
    uint64_t published_lag_us; /* under publish */
    struct worker_pool pools[];
};

/* --- Turns --- */

static uint64_t lease_of(const struct worker_pool *pool)
{
    return atomic_load_explicit(&pool->shared->lease_until_us, memory_order_relaxed);
}

/* First thing of each callback that has something for the dataplane. */
static void begin(struct worker_pool *pool)
{
    struct worker *worker = pool->worker;
    if (!worker->is_turning) {
        worker->is_turning = true;
        worker->now_us = clock_mono_us();
    }
    if (!pool->is_touched) {
        pool->is_touched = true;
        pool->is_dirty = true;
        dataplane_turn(pool->dataplane, worker->now_us, lease_of(pool));
    }
}

/* --- Clients --- */

static uint32_t slot_of(const struct client_conn *client)
{
    return (uint32_t)(client - client->pool->clients);
}

static void on_client(evutil_socket_t fd, short what, void *arg);

static void watch_client(struct client_conn *client)
{
    struct worker *worker = client->pool->worker;
    short wanted = client->is_blocked ? EV_WRITE : 0;
    if (!client->is_paused && !client->is_starved && !client->is_eof && !worker->is_draining) {
        wanted |= EV_READ;
    }
    if (client->is_broken) {
        wanted = EV_READ; /* shut down on both sides: readable at once */
    }
    struct watch_target target = {worker->base, client->fd, on_client, client};
    watch_set(&client->watch, &target, wanted);
}

static void set_starved(struct client_conn *client, bool is_starved)
{
    if (client->is_starved != is_starved) {
        client->is_starved = is_starved;
        client->pool->starved_count += is_starved ? 1u : -1u;
    }
}

static void set_blocked(struct client_conn *client, bool is_blocked)
{
    if (client->is_blocked != is_blocked) {
        client->is_blocked = is_blocked;
        client->pool->blocked_count += is_blocked ? 1u : -1u;
    }
}

static void close_client(struct client_conn *client)
{
    struct worker_pool *pool = client->pool;
    INVARIANT(client->fd >= 0);
    watch_clear(&client->watch);
    set_starved(client, false);
    set_blocked(client, false);
    (void)close(client->fd);
    client->fd = -1;
    client->next_free = pool->free_clients;
    pool->free_clients = client;
    atomic_fetch_sub_explicit(&pool->worker->options.clients->open, 1, memory_order_relaxed);
}

static void lose_client(struct client_conn *client)
{
    struct dataplane_event event = {.type = DATAPLANE_CLIENT_LOST, .client = slot_of(client)};
    dataplane_step(client->pool->dataplane, &event);
    close_client(client);
}

static void read_client(struct client_conn *client)
{
    struct worker_pool *pool = client->pool;
    struct worker *worker = pool->worker;
    size_t room = dataplane_client_room(pool->dataplane);
    if (room == 0) {
        set_starved(client, true);
        watch_client(client);
        return;
    }
    ssize_t got = read(client->fd, worker->scratch, room < READ_BYTES ? room : READ_BYTES);
    struct dataplane_event event = {.client = slot_of(client)};
    if (got > 0) {
        event.type = DATAPLANE_CLIENT_BYTES;
        event.bytes = slice_of(worker->scratch, (size_t)got);
        dataplane_step(pool->dataplane, &event);
    } else if (got == 0) {
        client->is_eof = true;
        event.type = DATAPLANE_CLIENT_EOF;
        dataplane_step(pool->dataplane, &event);
        watch_client(client);
    } else if (errno != EAGAIN && errno != EINTR) {
        lose_client(client);
    }
}

static void on_client(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct client_conn *client = arg;
    begin(client->pool);
    if (client->is_broken) {
        lose_client(client);
        return;
    }
    if (what & EV_WRITE) {
        set_blocked(client, false);
        watch_client(client);
        dataplane_client_writable(client->pool->dataplane, slot_of(client));
    }
    if (what & EV_READ) {
        read_client(client);
    }
}

/* Give what the client is owed. */
static void write_client(struct client_conn *client)
{
    struct slice slices[SOCKET_SLICES_MAX];
    struct dataplane *dataplane = client->pool->dataplane;
    uint32_t slot = slot_of(client);
    while (client->fd >= 0 && !client->is_blocked && !client->is_broken) {
        size_t count = dataplane_client_gather(dataplane, slot, slices, SOCKET_SLICES_MAX);
        if (count == 0) {
            return;
        }
        size_t total;
        int64_t taken = socket_write(client->fd, slices, count, &total);
        if (taken < 0) {
            client->is_broken = true;
            (void)shutdown(client->fd, SHUT_RDWR);
            watch_client(client);
            return;
        }
        if (taken > 0) {
            dataplane_client_wrote(dataplane, slot, (size_t)taken);
        }
        if ((size_t)taken < total) {
            set_blocked(client, true);
            watch_client(client);
        } else if (count < SOCKET_SLICES_MAX) {
            return; /* that was all */
        }
    }
}

/* --- New clients --- */

/* Turn a client away as memcached does. */
static void refuse(int fd)
{
    ssize_t told = send(fd, refusal, sizeof(refusal) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    (void)told; /* it learns by the close */
    (void)close(fd);
}

/* Count one more client; false: there are max_clients already. */
static bool admit(struct worker *worker)
{
    struct client_count *count = worker->options.clients;
    if (atomic_fetch_add_explicit(&count->open, 1, memory_order_relaxed) < worker->clients_max) {
        atomic_fetch_add_explicit(&count->accepted, 1, memory_order_relaxed);
        return true;
    }
    atomic_fetch_sub_explicit(&count->open, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&count->rejected_limit, 1, memory_order_relaxed);
    return false;
}

/* Begin to serve an admitted client. */
static void open_client(struct worker_pool *pool, int fd)
{
    struct client_conn *client = pool->free_clients;
    if (client != NULL) {
        pool->free_clients = client->next_free;
    } else {
        INVARIANT(pool->fresh_client < pool->worker->clients_max);
        client = &pool->clients[pool->fresh_client];
        pool->fresh_client++;
    }
    *client = (struct client_conn){.pool = pool, .fd = fd};
    begin(pool);
    struct dataplane_event event = {.type = DATAPLANE_CLIENT_OPEN, .client = slot_of(client)};
    dataplane_step(pool->dataplane, &event);
    watch_client(client);
}

static void deal_client(struct worker_pool *pool, int fd)
{
    struct worker *worker = pool->worker;
    struct worker *peer = worker->options.peers[worker->next_peer];
    worker->next_peer = (worker->next_peer + 1) % worker->options.config->threads_count;
    struct worker_message message = {.type = WORKER_CLIENT, .pool = pool->shared->index, .fd = fd};
    if (peer == worker || worker_post(peer, &message) != STATUS_OK) {
        open_client(pool, fd);
    }
}

static void on_listener(evutil_socket_t fd, short what, void *arg);

static void watch_listener(struct listener *listener)
{
    struct worker *worker = listener->pool->worker;
    struct watch_target target = {worker->base, listener->fd, on_listener, listener};
    watch_set(&listener->watch, &target, listener->is_resting ? 0 : EV_READ);
}

/*
 * No descriptor is left: use the one in reserve to take the client and turn it away, so that it
 * does not wait and the loop does not spin on it. Whoever accepts next may take the reserve from
 * us, so the listener also rests until the next tick.
 */
static void refuse_for_want_of_fds(struct listener *listener)
{
    struct worker *worker = listener->pool->worker;
    if (worker->reserve_fd >= 0) {
        (void)close(worker->reserve_fd);
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            atomic_fetch_add_explicit(&worker->options.clients->rejected_fds, 1,
                                      memory_order_relaxed);
            refuse(fd);
        }
    }
    worker->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    listener->is_resting = true;
    watch_listener(listener);
}

static void on_listener(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct listener *listener = arg;
    struct worker_pool *pool = listener->pool;
    begin(pool);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        int client = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (client < 0) {
            if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                refuse_for_want_of_fds(listener);
            }
            return; /* EAGAIN, or a client that has gone again */
        }
        if (!admit(pool->worker)) {
            refuse(client);
            continue;
        }
        socket_tune_client(client);
        switch (listener->accept) {
        case WORKER_ACCEPT_OWN:
            open_client(pool, client);
            break;
        case WORKER_ACCEPT_DEAL:
            deal_client(pool, client);
            break;
        }
    }
}

/* --- Nodes --- */

static void on_node(evutil_socket_t fd, short what, void *arg);

static void watch_node(struct node_conn *conn)
{
    short wanted = 0;
    switch (conn->state) {
    case NODE_CLOSED:
        break;
    case NODE_CONNECTING:
        wanted = EV_WRITE;
        break;
    case NODE_OPEN:
        wanted = conn->is_blocked ? EV_READ | EV_WRITE : EV_READ;
        break;
    }
    struct watch_target target = {conn->pool->worker->base, conn->fd, on_node, conn};
    watch_set(&conn->watch, &target, wanted);
}

/* The socket belongs to nobody any more: closed, or a zombie's. */
static void release_node(struct node_conn *conn)
{
    watch_clear(&conn->watch);
    conn->fd = -1;
    conn->state = NODE_CLOSED;
    conn->is_blocked = false;
    conn->is_broken = false;
}

static void close_node(struct node_conn *conn, enum wire_end end)
{
    int fd = conn->fd;
    release_node(conn);
    (void)close(fd);
    struct dataplane_event event = {.type = DATAPLANE_NODE_CLOSED, .node = conn->node, .end = end};
    dataplane_step(conn->pool->dataplane, &event);
}

static void finish_connect(struct node_conn *conn)
{
    enum wire_end end;
    if (socket_finish(conn->fd, &end) != 0) {
        close_node(conn, end);
        return;
    }
    conn->state = NODE_OPEN;
    watch_node(conn);
    struct dataplane_event event = {.type = DATAPLANE_NODE_OPEN, .node = conn->node};
    dataplane_step(conn->pool->dataplane, &event);
}

static void read_node(struct node_conn *conn)
{
    struct worker *worker = conn->pool->worker;
    ssize_t got = read(conn->fd, worker->scratch, READ_BYTES);
    if (got > 0) {
        struct dataplane_event event = {
            .type = DATAPLANE_NODE_BYTES,
            .node = conn->node,
            .bytes = slice_of(worker->scratch, (size_t)got),
        };
        dataplane_step(conn->pool->dataplane, &event);
    } else if (got == 0) {
        close_node(conn, WIRE_END_EOF);
    } else if (errno != EAGAIN && errno != EINTR) {
        close_node(conn, socket_end_of(errno));
    }
}

static void on_node(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct node_conn *conn = arg;
    begin(conn->pool);
    if (conn->state == NODE_CONNECTING) {
        finish_connect(conn);
        return;
    }
    if (what & EV_WRITE) {
        conn->is_blocked = false;
        watch_node(conn);
        dataplane_node_writable(conn->pool->dataplane, conn->node);
    }
    if (what & EV_READ) {
        read_node(conn);
    }
}

static void fail_node(struct node_conn *conn, enum wire_end end)
{
    conn->has_failed = true;
    conn->end = end;
    conn->pool->has_failed_nodes = true;
}

static void connect_node(struct node_conn *conn)
{
    INVARIANT(conn->state == NODE_CLOSED);
    if (conn->zombie_count >= ZOMBIES_PER_NODE_MAX) {
        fail_node(conn, WIRE_END_TIMEOUT);
        return;
    }
    const struct pool *shared = conn->pool->shared;
    enum wire_end end;
    conn->fd = socket_connect(&shared->nodes[conn->node], shared->config->lease_us, &end);
    if (conn->fd < 0) {
        fail_node(conn, end);
        return;
    }
    conn->state = NODE_CONNECTING;
    watch_node(conn);
}

static void write_node(struct node_conn *conn)
{
    struct slice slices[SOCKET_SLICES_MAX];
    struct dataplane *dataplane = conn->pool->dataplane;
    while (conn->state == NODE_OPEN && !conn->is_blocked && !conn->is_broken) {
        size_t count = dataplane_node_gather(dataplane, conn->node, slices, SOCKET_SLICES_MAX);
        if (count == 0) {
            return;
        }
        size_t total;
        int64_t taken = socket_write(conn->fd, slices, count, &total);
        if (taken < 0) {
            conn->is_broken = true;
            return;
        }
        if (taken > 0) {
            conn->pool->has_written_nodes = true;
            dataplane_node_wrote(dataplane, conn->node, (size_t)taken);
        }
        if ((size_t)taken < total) {
            conn->is_blocked = true;
            watch_node(conn);
        } else if (count < SOCKET_SLICES_MAX) {
            return;
        }
    }
}

/* --- Zombies --- */

static void tell_ended(struct node_conn *conn, enum wire_end end)
{
    struct dataplane_event event = {.type = DATAPLANE_NODE_ENDED, .node = conn->node, .end = end};
    dataplane_step(conn->pool->dataplane, &event);
}

static void end_zombie(struct zombie *zombie, enum wire_end end)
{
    struct node_conn *conn = zombie->conn;
    LIST_REMOVE(zombie, link);
    watch_clear(&zombie->watch);
    (void)close(zombie->fd);
    free(zombie);
    conn->zombie_count--;
    tell_ended(conn, end);
}

static void on_zombie(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    struct zombie *zombie = arg;
    struct worker_pool *pool = zombie->conn->pool;
    begin(pool);
    ssize_t got = read(fd, pool->worker->scratch, READ_BYTES);
    if (got == 0) {
        end_zombie(zombie, WIRE_END_EOF);
    } else if (got < 0 && errno != EAGAIN && errno != EINTR) {
        end_zombie(zombie, socket_end_of(errno));
    }
}

static void end_at_once(struct node_conn *conn, enum wire_end end)
{
    conn->ended_count++;
    conn->ended_end = end;
    conn->pool->has_failed_nodes = true;
}

static void give_up_node(struct node_conn *conn)
{
    if (conn->state != NODE_OPEN) {
        /* It never carried a byte: the node will execute nothing of it. */
        int fd = conn->fd;
        bool is_connecting = conn->state == NODE_CONNECTING;
        release_node(conn);
        if (is_connecting) {
            (void)close(fd);
        }
        conn->has_failed = false;
        end_at_once(conn, WIRE_END_EOF);
        return;
    }
    struct zombie *zombie = calloc(1, sizeof(*zombie));
    int fd = conn->fd;
    release_node(conn);
    if (zombie == NULL) {
        (void)close(fd); /* by SO_LINGER a reset: what the node made of it is not known */
        end_at_once(conn, WIRE_END_RESET);
        return;
    }
    *zombie = (struct zombie){.conn = conn, .fd = fd};
    (void)shutdown(fd, SHUT_WR); /* on an error its read says the same */
    LIST_INSERT_HEAD(&conn->pool->zombies, zombie, link);
    conn->zombie_count++;
    struct watch_target target = {conn->pool->worker->base, fd, on_zombie, zombie};
    watch_set(&zombie->watch, &target, EV_READ);
}

static void tell_failed_nodes(struct worker_pool *pool)
{
    pool->has_failed_nodes = false;
    for (uint32_t i = 0; i < pool->shared->node_count; i++) {
        struct node_conn *conn = &pool->nodes[i];
        while (conn->ended_count > 0) {
            conn->ended_count--;
            tell_ended(conn, conn->ended_end);
        }
        if (conn->has_failed) {
            conn->has_failed = false;
            struct dataplane_event event = {
                .type = DATAPLANE_NODE_CLOSED, .node = i, .end = conn->end};
            dataplane_step(pool->dataplane, &event);
        }
    }
}

/* --- What the dataplane wants done --- */

/* False: control's mailbox is full; the report is kept and everything else waits for it. */
static bool report(struct worker_pool *pool, const struct control_report *what)
{
    struct inbox_message message = {
        .type = INBOX_REPORT, .pool = pool->shared->index, .report = *what};
    if (mailbox_post(pool->worker->options.inbox, &message, INBOX_KEEP_FREE) != STATUS_OK) {
        pool->is_stalled = true;
        pool->stalled_report = *what;
        return false;
    }
    return true;
}

static void act(struct worker_pool *pool, const struct dataplane_action *action)
{
    switch (action->type) {
    case DATAPLANE_CLIENT_WRITE:
        write_client(&pool->clients[action->client]);
        break;
    case DATAPLANE_CLIENT_CLOSE:
        close_client(&pool->clients[action->client]);
        break;
    case DATAPLANE_CLIENT_PAUSE:
        pool->clients[action->client].is_paused = true;
        watch_client(&pool->clients[action->client]);
        break;
    case DATAPLANE_CLIENT_RESUME:
        pool->clients[action->client].is_paused = false;
        watch_client(&pool->clients[action->client]);
        break;
    case DATAPLANE_NODE_CONNECT:
        connect_node(&pool->nodes[action->node]);
        break;
    case DATAPLANE_NODE_WRITE:
        write_node(&pool->nodes[action->node]);
        break;
    case DATAPLANE_NODE_GIVE_UP:
        give_up_node(&pool->nodes[action->node]);
        break;
    case DATAPLANE_REPORT:
        (void)report(pool, &action->report); /* is_stalled says it too */
        break;
    }
}

static void act_all(struct worker_pool *pool)
{
    if (pool->is_stalled) {
        struct control_report again = pool->stalled_report;
        pool->is_stalled = false;
        if (!report(pool, &again)) {
            return;
        }
    }
    struct dataplane_action action;
    do {
        if (pool->has_failed_nodes) {
            tell_failed_nodes(pool);
        }
        while (!pool->is_stalled && dataplane_next_action(pool->dataplane, &action)) {
            act(pool, &action);
        }
    } while (pool->has_failed_nodes && !pool->is_stalled);
}

/* Clients that were not read for want of memory are read again. */
static void feed_starved(struct worker_pool *pool)
{
    if (pool->starved_count == 0 || dataplane_client_room(pool->dataplane) == 0) {
        return;
    }
    for (uint32_t i = 0; i < pool->fresh_client && pool->starved_count > 0; i++) {
        struct client_conn *client = &pool->clients[i];
        if (client->fd >= 0 && client->is_starved) {
            set_starved(client, false);
            watch_client(client);
        }
    }
}

static void publish(struct worker_pool *pool)
{
    struct worker *worker = pool->worker;
    const struct dataplane_stats *stats = dataplane_stats(pool->dataplane);
    uint32_t nodes = pool->shared->node_count;
    (void)pthread_mutex_lock(&worker->publish);
    memcpy(&pool->published, stats,
           offsetof(struct dataplane_stats, nodes) + nodes * sizeof(stats->nodes[0]));
    for (uint32_t i = 0; i < nodes; i++) {
        pool->published_zombies[i] = pool->nodes[i].zombie_count;
    }
    worker->published_lag_us = worker->lag_us;
    (void)pthread_mutex_unlock(&worker->publish);
    pool->is_dirty = false;
    pool->published_at_us = worker->now_us;
}

static void flush_pool(struct worker_pool *pool)
{
    pool->has_written_nodes = false;
    act_all(pool);
    if (pool->has_written_nodes) {
        /* Were we stopped between looking at the lease and writing? Then the dataplane must know
         * (replication.md section 4, Lease). */
        uint64_t now_us = clock_mono_us();
        uint64_t lease_us = lease_of(pool);
        if (lease_us <= now_us) {
            dataplane_turn(pool->dataplane, now_us, lease_us);
            act_all(pool);
        }
    }
    feed_starved(pool);
    if (pool->is_dirty && pool->worker->now_us - pool->published_at_us >= PUBLISH_US) {
        publish(pool);
    }
    pool->is_touched = false;
}

static bool is_tick_wanted(const struct worker_pool *pool)
{
    if (pool->is_stalled || pool->is_dirty || pool->starved_count > 0 ||
        pool->worker->is_draining || dataplane_next_deadline_us(pool->dataplane) != UINT64_MAX) {
        return true;
    }
    for (uint32_t i = 0; i < pool->listener_count; i++) {
        if (pool->listeners[i].is_resting) {
            return true;
        }
    }
    return false;
}

static void arm_tick(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->pool_count && !worker->is_tick_armed; i++) {
        if (is_tick_wanted(&worker->pools[i])) {
            struct timeval after = {.tv_usec = TICK_US};
            INVARIANT(event_add(&worker->tick, &after) == 0);
            worker->is_tick_armed = true;
            worker->tick_due_us = worker->now_us + TICK_US;
        }
    }
}

/* After WORKER_DRAIN: once nothing is under way, control is told. */
static void tell_quiet(struct worker *worker)
{
    for (uint32_t i = 0; i < worker->pool_count; i++) {
        const struct worker_pool *pool = &worker->pools[i];
        if (pool->blocked_count > 0 || pool->is_stalled ||
            dataplane_next_deadline_us(pool->dataplane) != UINT64_MAX) {
            return;
        }
    }
    struct inbox_message message = {.type = INBOX_QUIET};
    worker->is_quiet_told = mailbox_post(worker->options.inbox, &message, 0) == STATUS_OK;
}

static void flush(struct worker *worker)
{
    if (!worker->is_turning) {
        return;
    }
    for (uint32_t i = 0; i < worker->pool_count; i++) {
        if (worker->pools[i].is_touched) {
            flush_pool(&worker->pools[i]);
        }
    }
    worker->is_turning = false;
    if (!worker->is_tick_armed) {
        arm_tick(worker);
    }
    if (worker->is_draining && !worker->is_quiet_told) {
        tell_quiet(worker);
    }
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker *worker = arg;
    worker->is_tick_armed = false;
    for (uint32_t i = 0; i < worker->pool_count; i++) {
        struct worker_pool *pool = &worker->pools[i];
        begin(pool);
        struct dataplane_event event = {.type = DATAPLANE_TICK};
        dataplane_step(pool->dataplane, &event);
        for (uint32_t j = 0; j < pool->listener_count; j++) {
            if (pool->listeners[j].is_resting) {
                pool->listeners[j].is_resting = false;
                watch_listener(&pool->listeners[j]);
            }
        }
    }
    /* The worst of late, forgotten slowly: a sixteenth a tick. */
    uint64_t late_us =
        worker->now_us > worker->tick_due_us ? worker->now_us - worker->tick_due_us : 0;
    uint64_t faded_us = worker->lag_us - worker->lag_us / 16;
    worker->lag_us = late_us > faded_us ? late_us : faded_us;
}

/* --- Messages --- */

static void close_listeners(struct worker_pool *pool)
{
    for (uint32_t i = 0; i < pool->listener_count; i++) {
        watch_clear(&pool->listeners[i].watch);
        (void)close(pool->listeners[i].fd);
    }
    pool->listener_count = 0;
}

static void drain(struct worker *worker)
{
    worker->is_draining = true;
    for (uint32_t i = 0; i < worker->pool_count; i++) {
        struct worker_pool *pool = &worker->pools[i];
        begin(pool);
        close_listeners(pool);
        for (uint32_t j = 0; j < pool->fresh_client; j++) {
            if (pool->clients[j].fd >= 0) {
                watch_client(&pool->clients[j]);
            }
        }
    }
}

static void on_message(struct worker *worker, const struct worker_message *message)
{
    struct worker_pool *pool = &worker->pools[message->pool];
    begin(pool);
    struct dataplane_event event = {.topology = message->topology, .ticket = message->ticket};
    switch (message->type) {
    case WORKER_HOLD:
        event.type = DATAPLANE_HOLD;
        dataplane_step(pool->dataplane, &event);
        break;
    case WORKER_ADOPT:
        event.type = DATAPLANE_ADOPT;
        dataplane_step(pool->dataplane, &event);
        break;
    case WORKER_FLUSHED:
        event.type = DATAPLANE_FLUSHED;
        dataplane_step(pool->dataplane, &event);
        break;
    case WORKER_CLIENT:
        open_client(pool, message->fd);
        break;
    case WORKER_DRAIN:
        drain(worker);
        break;
    case WORKER_STOP:
        worker->is_stopping = true;
        break;
    }
}

static void on_mailbox(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker *worker = arg;
    struct worker_message message;
    mailbox_quiet(&worker->mailbox);
    while (mailbox_take(&worker->mailbox, &message)) {
        on_message(worker, &message);
    }
}

enum status worker_post(struct worker *worker, const struct worker_message *message)
{
    bool is_client = message->type == WORKER_CLIENT;
    enum status status =
        mailbox_post(&worker->mailbox, message, is_client ? MESSAGES_KEEP_FREE : 0);
    INVARIANT(status == STATUS_OK || is_client);
    return status;
}

/* --- Figures --- */

void worker_figures(struct worker *worker, struct worker_figures *out)
{
    (void)pthread_mutex_lock(&worker->publish);
    out->loop_lag_us = worker->published_lag_us;
    (void)pthread_mutex_unlock(&worker->publish);
}

static void add_node(struct dataplane_node_stats *sum, const struct dataplane_node_stats *one)
{
    sum->requests += one->requests;
    for (size_t i = 0; i < sizeof(sum->errors) / sizeof(sum->errors[0]); i++) {
        sum->errors[i] += one->errors[i];
    }
    sum->connects += one->connects;
    sum->connect_failures += one->connect_failures;
    sum->item_errors += one->item_errors;
    sum->in_flight += one->in_flight;
    sum->given_up += one->given_up;
    sum->is_open = sum->is_open || one->is_open;
    histogram_add(&sum->latency, &one->latency);
}

static void add_stats(struct dataplane_stats *sum, const struct dataplane_stats *one)
{
    for (size_t i = 0; i < MC_COMMAND_COUNT; i++) {
        for (size_t j = 0; j < DATAPLANE_OUTCOME_COUNT; j++) {
            sum->commands[i][j] += one->commands[i][j];
        }
    }
    sum->keys_hit += one->keys_hit;
    sum->keys_missed += one->keys_missed;
    sum->bytes_in += one->bytes_in;
    sum->bytes_out += one->bytes_out;
    sum->clients += one->clients;
    sum->clients_total += one->clients_total;
    sum->protocol_errors_clients += one->protocol_errors_clients;
    sum->protocol_errors_nodes += one->protocol_errors_nodes;
    sum->read_failovers += one->read_failovers;
    sum->writes_brought_home += one->writes_brought_home;
    sum->writes_rerun += one->writes_rerun;
    sum->writes_chained += one->writes_chained;
    sum->writes_failed += one->writes_failed;
    sum->writes_ok += one->writes_ok;
    sum->keys_invalidated += one->keys_invalidated;
    sum->settle_checks += one->settle_checks;
    sum->divergences += one->divergences;
    sum->repairs += one->repairs;
    sum->settle_queue += one->settle_queue;
    sum->held += one->held;
    sum->shed += one->shed;
    sum->memory_bytes += one->memory_bytes;
    sum->memory_limit_bytes += one->memory_limit_bytes;
    histogram_add(&sum->latency_reads, &one->latency_reads);
    histogram_add(&sum->latency_writes, &one->latency_writes);
}

void worker_add_stats(struct worker *worker, uint32_t pool, struct dataplane_stats *sum,
                      uint64_t zombies[NODES_MAX])
{
    const struct worker_pool *from = &worker->pools[pool];
    (void)pthread_mutex_lock(&worker->publish);
    add_stats(sum, &from->published);
    for (uint32_t i = 0; i < from->shared->node_count; i++) {
        add_node(&sum->nodes[i], &from->published.nodes[i]);
        zombies[i] += from->published_zombies[i];
    }
    (void)pthread_mutex_unlock(&worker->publish);
}

/* --- Life --- */

static void *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* An equal share of the memory for each dataplane, but never less than a few items. */
static size_t share_bytes(const struct config *config)
{
    uint64_t share = config->memory_bytes / config->threads_count / config->pool_count;
    uint64_t least = ITEMS_MIN * (config->item_bytes + CHUNK_BYTES);
    uint64_t bytes = share > least ? share : least;
    return (size_t)(bytes / CHUNK_BYTES * CHUNK_BYTES);
}

static enum status init_dataplane(struct worker_pool *pool)
{
    const struct worker_options *options = &pool->worker->options;
    const struct config *config = options->config;
    const struct config_pool *own = pool->shared->config;
    struct dataplane_options dataplane = {
        .names = pool->shared->names,
        .worker = options->index,
        .clients_max = pool->worker->clients_max,
        .memory_bytes = share_bytes(config),
        .item_bytes_max = config->item_bytes,
        .pipeline_max = config->client_pipeline_count,
        .client_output_bytes_max = config->client_output_bytes,
        .request_timeout_us = own->request_timeout_us,
        .connect_timeout_us = own->connect_timeout_us,
        .on_no_replica = own->on_no_replica == CONFIG_NO_REPLICA_MISS ? DATAPLANE_ANSWER_MISS
                                                                      : DATAPLANE_ANSWER_ERROR,
        .version = SLICE(EVERWARM_VERSION_MEMCACHED),
    };
    if (getrandom(&dataplane.seed, sizeof(dataplane.seed), 0) != sizeof(dataplane.seed)) {
        return STATUS_SYSTEM;
    }
    pool->dataplane_bytes = dataplane_bytes(&dataplane);
    void *memory = reserve(pool->dataplane_bytes);
    if (memory == NULL) {
        return STATUS_NO_MEMORY;
    }
    pool->dataplane = dataplane_init(memory, &dataplane);
    return STATUS_OK;
}

static size_t clients_bytes(const struct worker *worker)
{
    return (size_t)worker->clients_max * sizeof(struct client_conn);
}

static enum status init_pool(struct worker *worker, uint32_t index)
{
    struct worker_pool *pool = &worker->pools[index];
    pool->worker = worker;
    pool->shared = &worker->options.pools[index];
    LIST_INIT(&pool->zombies);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        pool->nodes[i] = (struct node_conn){.pool = pool, .node = i, .fd = -1};
    }
    pool->clients = reserve(clients_bytes(worker));
    if (pool->clients == NULL) {
        return STATUS_NO_MEMORY;
    }
    enum status status = init_dataplane(pool);
    if (status != STATUS_OK) {
        (void)munmap(pool->clients, clients_bytes(worker));
        pool->clients = NULL;
    }
    return status;
}

static void fini_pool(struct worker_pool *pool)
{
    if (pool->clients == NULL) {
        return;
    }
    close_listeners(pool);
    for (uint32_t i = 0; i < pool->fresh_client; i++) {
        if (pool->clients[i].fd >= 0) {
            close_client(&pool->clients[i]);
        }
    }
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        if (pool->nodes[i].fd >= 0) {
            int fd = pool->nodes[i].fd;
            release_node(&pool->nodes[i]);
            (void)close(fd);
        }
    }
    while (!LIST_EMPTY(&pool->zombies)) {
        struct zombie *zombie = LIST_FIRST(&pool->zombies);
        LIST_REMOVE(zombie, link);
        watch_clear(&zombie->watch);
        (void)close(zombie->fd);
        free(zombie);
    }
    (void)munmap(pool->dataplane, pool->dataplane_bytes);
    (void)munmap(pool->clients, (size_t)pool->worker->clients_max * sizeof(struct client_conn));
}

static struct event_base *create_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL) {
        return NULL;
    }
    /* One thread uses it: no locks. */
    int is_set = event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = is_set == 0 ? event_base_new_with_config(config) : NULL;
    event_config_free(config);
    return base;
}

enum status worker_create(const struct worker_options *options, struct worker **out)
{
    *out = NULL;
    size_t pool_count = options->config->pool_count;
    struct worker *worker = calloc(1, sizeof(*worker) + pool_count * sizeof(worker->pools[0]));
    if (worker == NULL) {
        return STATUS_NO_MEMORY;
    }
    worker->options = *options;
    worker->clients_max = options->config->max_clients_count;
    worker->next_peer = 0;
    enum status status = STATUS_NO_MEMORY;
    worker->scratch = malloc(READ_BYTES);
    if (worker->scratch == NULL) {
        goto free_worker;
    }
    worker->base = create_base();
    if (worker->base == NULL) {
        goto free_scratch;
    }
    status = mailbox_init(&worker->mailbox, sizeof(struct worker_message), MESSAGES_MAX);
    if (status != STATUS_OK) {
        goto free_base;
    }
    INVARIANT(pthread_mutex_init(&worker->publish, NULL) == 0);
    worker->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    INVARIANT(event_assign(&worker->tick, worker->base, -1, 0, on_tick, worker) == 0);
    struct watch_target target = {worker->base, worker->mailbox.wake_fd, on_mailbox, worker};
    watch_set(&worker->mailbox_watch, &target, EV_READ);
    while (worker->pool_count < pool_count) {
        status = init_pool(worker, worker->pool_count);
        if (status != STATUS_OK) {
            worker_destroy(&worker);
            return status;
        }
        worker->pool_count++;
    }
    *out = worker;
    return STATUS_OK;

free_base:
    event_base_free(worker->base);
free_scratch:
    free(worker->scratch);
free_worker:
    free(worker);
    return status;
}

void worker_listen(struct worker *worker, uint32_t pool, int fd, enum worker_accept accept)
{
    struct worker_pool *own = &worker->pools[pool];
    REQUIRE(own->listener_count < LISTENERS_MAX && !worker->is_started);
    struct listener *listener = &own->listeners[own->listener_count];
    own->listener_count++;
    *listener = (struct listener){.pool = own, .fd = fd, .accept = accept};
    watch_listener(listener);
}

static void *run(void *arg)
{
    struct worker *worker = arg;
    while (!worker->is_stopping) {
        int result = event_base_loop(worker->base, EVLOOP_ONCE);
        INVARIANT(result == 0); /* epoll itself failed, or nothing is watched: both are bugs */
        flush(worker);
    }
    return NULL;
}

enum status worker_start(struct worker *worker)
{
    if (pthread_create(&worker->thread, NULL, run, worker) != 0) {
        return STATUS_SYSTEM;
    }
    worker->is_started = true;
    return STATUS_OK;
}

void worker_stop(struct worker *worker)
{
    if (worker->is_started) {
        struct worker_message message = {.type = WORKER_STOP};
        enum status status = worker_post(worker, &message);
        INVARIANT(status == STATUS_OK);
        (void)pthread_join(worker->thread, NULL);
        worker->is_started = false;
    }
}

void worker_destroy(struct worker **handle)
{
    struct worker *worker = *handle;
    *handle = NULL;
    if (worker == NULL) {
        return;
    }
    REQUIRE(!worker->is_started);
    /* Clients that were dealt to us and not looked at any more. */
    struct worker_message left;
    while (mailbox_take(&worker->mailbox, &left)) {
        if (left.type == WORKER_CLIENT) {
            (void)close(left.fd);
        }
    }
    for (uint32_t i = 0; i < worker->pool_count; i++) {
        fini_pool(&worker->pools[i]);
    }
    watch_clear(&worker->mailbox_watch);
    (void)event_del(&worker->tick);
    mailbox_fini(&worker->mailbox);
    event_base_free(worker->base);
    if (worker->reserve_fd >= 0) {
        (void)close(worker->reserve_fd);
    }
    (void)pthread_mutex_destroy(&worker->publish);
    free(worker->scratch);
    free(worker);
}
