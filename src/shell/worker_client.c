/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker's clients: taken, read, written, closed; and those that are turned away. Invariants I3,
 * I4 and I5 of worker.c.
 */
#include "everwarm/base/invariant.h"
#include "socket.h"
#include "worker_private.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum {
    /* New clients must not starve those that are being served. */
    ACCEPTS_PER_TURN = 64,
};

static const char refusal[] = "ERROR Too many open connections\r\n";

static uint32_t slot_of(const struct client_conn *client)
{
    return (uint32_t)(client - client->pool->clients);
}

static void on_client(evutil_socket_t fd, short what, void *arg);

void worker_client_watch(struct client_conn *client)
{
    struct worker *worker = client->pool->worker;
    short wanted = client->is_blocked ? EV_WRITE : 0;
    if (!client->is_paused && !client->is_starved && !client->is_eof && !worker->is_draining &&
        !client->pool->is_leaving) {
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

void worker_client_close(struct client_conn *client, enum worker_close reason)
{
    struct worker_pool *pool = client->pool;
    INVARIANT(client->fd >= 0);
    watch_clear(&client->watch);
    set_starved(client, false);
    set_blocked(client, false);
    if (reason == WORKER_CLOSE_SLOW) {
        socket_drop_unsent(client->fd);
    }
    (void)close(client->fd);
    client->fd = -1;
    client->next_free = pool->free_clients;
    pool->free_clients = client;
    pool->open_count--;
    pool->worker->closes[reason]++;
    atomic_fetch_sub_explicit(&pool->worker->options.clients->open, 1, memory_order_relaxed);
}

void worker_client_lose(struct client_conn *client, enum worker_close reason)
{
    struct dataplane_event event = {.type = DATAPLANE_CLIENT_LOST, .client = slot_of(client)};
    dataplane_step(client->pool->dataplane, &event);
    worker_client_close(client, reason);
}

static void read_client(struct client_conn *client)
{
    struct worker_pool *pool = client->pool;
    struct worker *worker = pool->worker;
    size_t room = dataplane_client_room(pool->dataplane);
    if (room == 0) {
        set_starved(client, true);
        worker_client_watch(client);
        return;
    }
    ssize_t got =
        read(client->fd, worker->scratch, room < WORKER_READ_BYTES ? room : WORKER_READ_BYTES);
    struct dataplane_event event = {.client = slot_of(client)};
    if (got > 0) {
        event.type = DATAPLANE_CLIENT_BYTES;
        event.bytes = slice_of(worker->scratch, (size_t)got);
        client->heard_us = worker->now_us;
        client->received_bytes += (size_t)got;
        dataplane_step(pool->dataplane, &event);
    } else if (got == 0) {
        client->is_eof = true;
        event.type = DATAPLANE_CLIENT_EOF;
        dataplane_step(pool->dataplane, &event);
        worker_client_watch(client);
    } else if (errno != EAGAIN && errno != EINTR) {
        worker_client_lose(client, WORKER_CLOSE_RESET);
    }
}

static void on_client(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct client_conn *client = arg;
    worker_begin(client->pool);
    if (client->is_broken) {
        worker_client_lose(client, WORKER_CLOSE_RESET);
        return;
    }
    if (what & EV_WRITE) {
        set_blocked(client, false);
        worker_client_watch(client);
        dataplane_client_writable(client->pool->dataplane, slot_of(client));
    }
    if (what & EV_READ) {
        read_client(client);
    }
}

void worker_client_write(struct client_conn *client)
{
    struct slice slices[SOCKET_SLICES_MAX];
    struct dataplane *dataplane = client->pool->dataplane;
    uint32_t slot = slot_of(client);
    size_t written = 0;
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
            worker_client_watch(client);
            return;
        }
        if (taken > 0) {
            client->sent_bytes += (size_t)taken;
            dataplane_client_wrote(dataplane, slot, (size_t)taken);
            written += (size_t)taken;
        }
        if ((size_t)taken < total || written >= WORKER_WRITE_BYTES) {
            set_blocked(client, true);
            worker_client_watch(client);
        } else if (count < SOCKET_SLICES_MAX) {
            return; /* that was all */
        }
    }
}

void worker_client_feed(struct worker_pool *pool)
{
    if (pool->starved_count == 0 || dataplane_client_room(pool->dataplane) == 0) {
        return;
    }
    for (uint32_t i = 0; i < pool->fresh_client && pool->starved_count > 0; i++) {
        struct client_conn *client = &pool->clients[i];
        if (client->fd >= 0 && client->is_starved) {
            set_starved(client, false);
            worker_client_watch(client);
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
    const uint32_t max = atomic_load_explicit(&count->max, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&count->open, 1, memory_order_relaxed) < max) {
        atomic_fetch_add_explicit(&count->accepted, 1, memory_order_relaxed);
        return true;
    }
    atomic_fetch_sub_explicit(&count->open, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&count->rejected_limit, 1, memory_order_relaxed);
    return false;
}

void worker_client_open(struct worker_pool *pool, int fd, const struct socket_peer *peer)
{
    struct worker *worker = pool->worker;
    struct client_conn *client = pool->free_clients;
    if (client != NULL) {
        pool->free_clients = client->next_free;
    } else {
        INVARIANT(pool->fresh_client < worker->client_slots);
        client = &pool->clients[pool->fresh_client];
        pool->fresh_client++;
    }
    worker_begin(pool);
    worker->clients_seen++;
    pool->open_count++;
    *client = (struct client_conn){
        .pool = pool,
        .id = worker->clients_seen * WORKERS_MAX + worker->options.index,
        .opened_us = worker->now_us,
        .peer = *peer,
        .fd = fd,
    };
    struct dataplane_event event = {.type = DATAPLANE_CLIENT_OPEN, .client = slot_of(client)};
    dataplane_step(pool->dataplane, &event);
    worker_client_watch(client);
}

static void deal_client(struct worker_pool *pool, int fd, const struct socket_peer *from)
{
    struct worker *worker = pool->worker;
    struct worker *peer = worker->options.peers[worker->next_peer];
    worker->next_peer = (worker->next_peer + 1) % worker->options.config->threads_count;
    struct worker_message message = {
        .type = WORKER_CLIENT, .pool = pool->shared->place, .fd = fd, .peer = *from};
    if (peer == worker || worker_post(peer, &message) != STATUS_OK) {
        worker_client_open(pool, fd, from);
    }
}

static void on_listener(evutil_socket_t fd, short what, void *arg);

void worker_client_listen(struct listener *listener)
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
    worker_client_listen(listener);
}

static void on_listener(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct listener *listener = arg;
    struct worker_pool *pool = listener->pool;
    worker_begin(pool);
    for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
        struct socket_peer peer;
        int client = socket_accept(listener->fd, &peer);
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
            worker_client_open(pool, client, &peer);
            break;
        case WORKER_ACCEPT_DEAL:
            deal_client(pool, client, &peer);
            break;
        }
    }
}
