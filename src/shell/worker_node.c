/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's connections to nodes, one a link, and the zombies: connections that are given up,
 * half-closed and read to their end, which proves that the node will execute nothing more of them
 * (replication.md section 6). Invariants I3 and I4 of worker.c.
 */
#include "everwarm/base/invariant.h"
#include "socket.h"
#include "worker_private.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

enum {
    /* Connections of one link that are given up and not at their end. A frozen node takes one for
     * each attempt to reach it; at the limit it is not connected to until one of them ends. */
    ZOMBIES_PER_LINK_MAX = 64,
};

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

static void node_move(struct node_conn *conn, enum node_state state)
{
    INVARIANT(state == NODE_CLOSED || (int)state == (int)conn->state + 1);
    conn->state = state;
    watch_node(conn);
}

/* The socket belongs to nobody any more: closed, or a zombie's. */
static void release_node(struct node_conn *conn)
{
    node_move(conn, NODE_CLOSED);
    conn->fd = -1;
    conn->is_blocked = false;
    conn->is_broken = false;
}

static void close_node(struct node_conn *conn, enum wire_end end)
{
    int fd = conn->fd;
    release_node(conn);
    (void)close(fd);
    conn->last_end = end;
    struct dataplane_event event = {
        .type = DATAPLANE_NODE_CLOSED, .link = conn->number, .end = end};
    dataplane_step(conn->pool->dataplane, &event);
}

static void finish_connect(struct node_conn *conn)
{
    enum wire_end end;
    if (socket_finish(conn->fd, &end) != 0) {
        close_node(conn, end);
        return;
    }
    node_move(conn, NODE_OPEN);
    struct dataplane_event event = {.type = DATAPLANE_NODE_OPEN, .link = conn->number};
    dataplane_step(conn->pool->dataplane, &event);
}

static void read_node(struct node_conn *conn)
{
    struct worker *worker = conn->pool->worker;
    ssize_t got = read(conn->fd, worker->scratch, WORKER_READ_BYTES);
    if (got > 0) {
        struct dataplane_event event = {
            .type = DATAPLANE_NODE_BYTES,
            .link = conn->number,
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
    worker_begin(conn->pool);
    if (conn->state == NODE_CONNECTING) {
        finish_connect(conn);
        return;
    }
    if (what & EV_WRITE) {
        conn->is_blocked = false;
        watch_node(conn);
        dataplane_node_writable(conn->pool->dataplane, conn->number);
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

void worker_node_connect(struct node_conn *conn)
{
    INVARIANT(conn->state == NODE_CLOSED);
    if (conn->zombie_count >= ZOMBIES_PER_LINK_MAX) {
        fail_node(conn, WIRE_END_TIMEOUT);
        return;
    }
    const struct pool *shared = conn->pool->shared;
    enum wire_end end;
    conn->fd =
        socket_connect(&shared->nodes[conn->number % NODES_MAX], shared->config.lease_us, &end);
    if (conn->fd < 0) {
        fail_node(conn, end);
        return;
    }
    node_move(conn, NODE_CONNECTING);
}

void worker_node_write(struct node_conn *conn)
{
    struct slice slices[SOCKET_SLICES_MAX];
    struct dataplane *dataplane = conn->pool->dataplane;
    size_t written = 0;
    while (conn->state == NODE_OPEN && !conn->is_blocked && !conn->is_broken) {
        size_t count = dataplane_node_gather(dataplane, conn->number, slices, SOCKET_SLICES_MAX);
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
            dataplane_node_wrote(dataplane, conn->number, (size_t)taken);
            written += (size_t)taken;
        }
        if ((size_t)taken < total || written >= WORKER_WRITE_BYTES) {
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
    struct dataplane_event event = {.type = DATAPLANE_NODE_ENDED, .link = conn->number, .end = end};
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
    worker_begin(pool);
    ssize_t got = read(fd, pool->worker->scratch, WORKER_READ_BYTES);
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

void worker_node_give_up(struct node_conn *conn)
{
    if (conn->state != NODE_OPEN) {
        /* One that was connecting never carried a byte: the node will execute nothing of it. One
         * that is closed was given up in the very turn in which it ended. */
        int fd = conn->fd;
        bool is_connecting = conn->state == NODE_CONNECTING;
        release_node(conn);
        if (is_connecting) {
            (void)close(fd);
        }
        conn->has_failed = false;
        end_at_once(conn, is_connecting ? WIRE_END_EOF : conn->last_end);
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

void worker_node_tell_failed(struct worker_pool *pool)
{
    pool->has_failed_nodes = false;
    for (uint32_t i = 0; i < DATAPLANE_LINKS_MAX; i++) {
        struct node_conn *conn = &pool->links[i];
        while (conn->ended_count > 0) {
            conn->ended_count--;
            tell_ended(conn, conn->ended_end);
        }
        if (conn->has_failed) {
            conn->has_failed = false;
            struct dataplane_event event = {
                .type = DATAPLANE_NODE_CLOSED, .link = i, .end = conn->end};
            dataplane_step(pool->dataplane, &event);
        }
    }
}

void worker_node_fini(struct worker_pool *pool)
{
    for (uint32_t i = 0; i < DATAPLANE_LINKS_MAX; i++) {
        if (pool->links[i].fd >= 0) {
            int fd = pool->links[i].fd;
            release_node(&pool->links[i]);
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
}
