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
#include "pool_limits.h"
#include "watch.h"
#include "worker_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    /* Deadlines are a request's and a connection's: a hundredth of the shortest is fine enough. */
    TICK_US = 20 * CLOCK_US_PER_MS,
    PUBLISH_US = 100 * CLOCK_US_PER_MS,
    /* One read hit in so many tells the other replicas that its key is in use. memcached itself
     * moves an item once a minute at most, so what is read often is moved all the same. */
    BUMP_EVERY = 64,
    /* Control posts two or three messages a change of view, of which there are a few a second; a
     * worker that lets so many gather has hung for minutes, which is a bug of ours. */
    MESSAGES_MAX = 4096,
    /* Places in the mailbox that dealt clients and questions leave to control. */
    MESSAGES_KEEP_FREE = 2048,
    /* Items that a dataplane can hold at the least, however the memory is split. */
    ITEMS_MIN = 4,
    THREAD_NAME_BYTES = 16, /* of the kernel */
};

/* --- Turns --- */

static uint64_t lease_of(const struct worker_pool *pool)
{
    return atomic_load_explicit(&pool->shared->lease_until_us, memory_order_relaxed);
}

static void begin_turn(struct worker *worker)
{
    if (!worker->is_turning) {
        worker->is_turning = true;
        worker->now_us = clock_mono_us();
    }
}

void worker_begin(struct worker_pool *pool)
{
    struct worker *worker = pool->worker;
    begin_turn(worker);
    if (!pool->is_touched) {
        pool->is_touched = true;
        pool->is_dirty = true;
        dataplane_turn(pool->dataplane, worker->now_us, lease_of(pool));
    }
}

/* --- What the dataplane wants done --- */

/* False: control's mailbox is full; the report is kept and everything else waits for it. */
static bool report(struct worker_pool *pool, const struct control_report *what)
{
    struct inbox_message message = {
        .type = INBOX_REPORT, .pool = pool->shared->place, .report = *what};
    if (mailbox_post(pool->worker->options.inbox, &message, INBOX_KEEP_FREE) != STATUS_OK) {
        pool->is_stalled = true;
        pool->stalled_report = *what;
        return false;
    }
    return true;
}

/* Why the dataplane ends a client: all is answered, or it can't be. */
static enum worker_close reason_of(const struct client_conn *client, bool is_cut)
{
    if (is_cut && client->is_blocked) {
        return WORKER_CLOSE_SLOW; /* memory is out, and it holds most of it */
    }
    return client->is_eof ? WORKER_CLOSE_CLIENT : WORKER_CLOSE_PROXY;
}

static void act(struct worker_pool *pool, const struct dataplane_action *action)
{
    switch (action->type) {
    case DATAPLANE_CLIENT_WRITE:
        worker_client_write(&pool->clients[action->client]);
        break;
    case DATAPLANE_CLIENT_CLOSE:
        worker_client_close(&pool->clients[action->client],
                            reason_of(&pool->clients[action->client], action->is_cut));
        break;
    case DATAPLANE_CLIENT_PAUSE:
        pool->clients[action->client].is_paused = true;
        worker_client_watch(&pool->clients[action->client]);
        break;
    case DATAPLANE_CLIENT_RESUME:
        pool->clients[action->client].is_paused = false;
        worker_client_watch(&pool->clients[action->client]);
        break;
    case DATAPLANE_NODE_CONNECT:
        worker_node_connect(&pool->links[action->link]);
        break;
    case DATAPLANE_NODE_WRITE:
        worker_node_write(&pool->links[action->link]);
        break;
    case DATAPLANE_NODE_GIVE_UP:
        worker_node_give_up(&pool->links[action->link]);
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
            worker_node_tell_failed(pool);
        }
        while (!pool->is_stalled && dataplane_next_action(pool->dataplane, &action)) {
            act(pool, &action);
        }
    } while (pool->has_failed_nodes && !pool->is_stalled);
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
    worker_client_feed(pool);
    if (pool->is_dirty && pool->worker->now_us - pool->published_at_us >= PUBLISH_US) {
        worker_stats_publish(pool);
    }
    pool->is_touched = false;
}

static bool is_tick_wanted(const struct worker_pool *pool)
{
    if (pool->is_stalled || pool->is_dirty || pool->starved_count > 0 ||
        (pool->is_leaving && !pool->is_quiet_told) || pool->worker->asked_count > 0 ||
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
    bool is_wanted = worker->gone_untold != 0;
    for (const struct worker_pool *pool = worker_next_pool(worker, NULL);
         pool != NULL && !is_wanted; pool = worker_next_pool(worker, pool)) {
        is_wanted = is_tick_wanted(pool);
    }
    if (is_wanted) {
        struct timeval after = {.tv_usec = TICK_US};
        INVARIANT(event_add(&worker->tick, &after) == 0);
        worker->is_tick_armed = true;
        worker->tick_due_us = worker->now_us + TICK_US;
    }
}

/* Nothing of its clients' is under way. */
static bool is_quiet(const struct worker_pool *pool)
{
    return pool->blocked_count == 0 && !pool->is_stalled &&
           dataplane_next_deadline_us(pool->dataplane) == UINT64_MAX;
}

/* After WORKER_LEAVE: the same of one pool, or its time is over. */
static void tell_pool_quiet(struct worker_pool *pool)
{
    struct inbox_message message = {.type = INBOX_POOL_QUIET, .pool = pool->shared->place};
    if (!is_quiet(pool)) {
        message.is_late = pool->worker->now_us >= pool->leave_until_us;
        if (!message.is_late) {
            return;
        }
    }
    pool->is_quiet_told = mailbox_post(pool->worker->options.inbox, &message, 0) == STATUS_OK;
}

static void tell_gone(struct worker *worker)
{
    for (uint32_t place = 0; place < POOLS_MAX && worker->gone_untold != 0; place++) {
        const uint32_t bit = 1u << place;
        const struct inbox_message message = {.type = INBOX_POOL_GONE, .pool = place};
        if ((worker->gone_untold & bit) != 0 &&
            mailbox_post(worker->options.inbox, &message, 0) == STATUS_OK) {
            worker->gone_untold &= ~bit;
        }
    }
}

/* After WORKER_DRAIN: once nothing is under way, control is told. */
static void tell_quiet(struct worker *worker)
{
    for (const struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        if (!is_quiet(pool)) {
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
    for (struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        if (pool->is_touched) {
            flush_pool(pool);
        }
        if (pool->is_leaving && !pool->is_quiet_told) {
            tell_pool_quiet(pool);
        }
    }
    tell_gone(worker);
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
    begin_turn(worker);
    for (struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        worker_begin(pool);
        struct dataplane_event event = {.type = DATAPLANE_TICK};
        dataplane_step(pool->dataplane, &event);
        for (uint32_t j = 0; j < pool->listener_count; j++) {
            if (pool->listeners[j].is_resting) {
                pool->listeners[j].is_resting = false;
                worker_client_listen(&pool->listeners[j]);
            }
        }
    }
    worker_ask_again(worker);
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

/* Let go of the socket, which stays open; false: it has none such. */
static bool release_listener(struct worker_pool *pool, int fd)
{
    for (uint32_t i = 0; i < pool->listener_count; i++) {
        struct listener *listener = &pool->listeners[i];
        struct listener *last = &pool->listeners[pool->listener_count - 1];
        if (listener->fd != fd) {
            continue;
        }
        watch_clear(&listener->watch);
        pool->listener_count--;
        if (listener != last) {
            watch_clear(&last->watch);
            *listener = *last;
            worker_client_listen(listener);
        }
        return true;
    }
    return false;
}

static void listen_on(struct worker_pool *pool, int fd, enum worker_accept accept)
{
    struct worker *worker = pool->worker;
    for (struct worker_pool *other = worker_next_pool(worker, NULL); other != NULL;
         other = worker_next_pool(worker, other)) {
        (void)release_listener(other, fd);
    }
    if (worker->is_draining) {
        (void)close(fd);
        return;
    }
    INVARIANT(pool->listener_count < sizeof(pool->listeners) / sizeof(pool->listeners[0]));
    struct listener *listener = &pool->listeners[pool->listener_count];
    pool->listener_count++;
    *listener = (struct listener){.pool = pool, .fd = fd, .accept = accept};
    worker_client_listen(listener);
}

static void watch_clients(struct worker_pool *pool)
{
    for (uint32_t i = 0; i < pool->fresh_client; i++) {
        if (pool->clients[i].fd >= 0) {
            worker_client_watch(&pool->clients[i]);
        }
    }
}

static void drain(struct worker *worker)
{
    worker->is_draining = true;
    for (struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        worker_begin(pool);
        close_listeners(pool);
        watch_clients(pool);
    }
}

static size_t clients_bytes(const struct worker *worker)
{
    return (size_t)worker->client_slots * sizeof(struct client_conn);
}

/* Close all, and leave the place as it was before anything stood there. */
static void fini_pool(struct worker_pool *pool)
{
    struct worker *worker = pool->worker;
    close_listeners(pool);
    for (uint32_t i = 0; i < pool->fresh_client; i++) {
        if (pool->clients[i].fd >= 0) {
            worker_client_close(&pool->clients[i], WORKER_CLOSE_PROXY);
        }
    }
    worker_node_fini(pool);
    const size_t dataplane_bytes = pool->dataplane_bytes;
    void *dataplane = pool->dataplane;
    void *clients = pool->clients;
    worker_stats_let_go(pool);
    (void)munmap(dataplane, dataplane_bytes);
    (void)munmap(clients, clients_bytes(worker));
}

static void leave(struct worker_pool *pool)
{
    pool->is_leaving = true;
    pool->leave_until_us = pool->worker->now_us + (uint64_t)POOL_LEAVE_MS_MAX * CLOCK_US_PER_MS;
    close_listeners(pool);
    watch_clients(pool);
}

static void go(struct worker_pool *pool)
{
    struct worker *worker = pool->worker;
    worker->gone_untold |= 1u << pool->shared->place;
    fini_pool(pool);
}

/* It came in too late. */
static void turn_away(struct worker *worker, int fd)
{
    (void)close(fd);
    atomic_fetch_sub_explicit(&worker->options.clients->open, 1, memory_order_relaxed);
}

static void on_pool_message(struct worker_pool *pool, const struct worker_message *message)
{
    struct worker *worker = pool->worker;
    worker_begin(pool);
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
        worker_client_open(pool, message->fd, &message->peer);
        break;
    case WORKER_LIMITS:
        dataplane_set_limits(pool->dataplane, &message->limits);
        pool->output_bytes_max = message->limits.client_output_bytes_max;
        worker_slow_set(worker, message->client_stall_us);
        break;
    case WORKER_LISTEN:
        listen_on(pool, message->fd, message->accept);
        break;
    case WORKER_DEAFEN:
        if (release_listener(pool, message->fd)) {
            (void)close(message->fd);
        }
        break;
    case WORKER_LEAVE:
        leave(pool);
        break;
    case WORKER_GO:
        go(pool);
        break;
    case WORKER_COME:
    case WORKER_ASK:
    case WORKER_PING:
    case WORKER_DRAIN:
    case WORKER_STOP:
        UNREACHABLE(); /* on_message's own */
    }
}

static void on_message(struct worker *worker, const struct worker_message *message)
{
    struct worker_pool *pool = &worker->pools[message->pool];
    begin_turn(worker);
    switch (message->type) {
    case WORKER_COME:
        pool->is_active = true;
        break;
    case WORKER_ASK:
        worker_ask(worker, message->ticket);
        break;
    case WORKER_PING:
        atomic_store(&worker->answered, message->ticket);
        break;
    case WORKER_DRAIN:
        drain(worker);
        break;
    case WORKER_STOP:
        worker->is_stopping = true;
        break;
    case WORKER_HOLD:
    case WORKER_ADOPT:
    case WORKER_FLUSHED:
    case WORKER_CLIENT:
    case WORKER_LIMITS:
    case WORKER_LISTEN:
    case WORKER_DEAFEN:
    case WORKER_LEAVE:
    case WORKER_GO:
        if (pool->is_active) {
            on_pool_message(pool, message);
        } else if (message->type == WORKER_CLIENT) {
            turn_away(worker, message->fd); /* what else was on its way to it is void */
        }
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
    bool may_fail = message->type == WORKER_CLIENT || message->type == WORKER_ASK ||
                    message->type == WORKER_PING;
    enum status status = mailbox_post(&worker->mailbox, message, may_fail ? MESSAGES_KEEP_FREE : 0);
    INVARIANT(status == STATUS_OK || may_fail);
    return status;
}

uint64_t worker_answered(const struct worker *worker)
{
    return atomic_load(&worker->answered);
}

/* --- Life --- */

static void *reserve(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* An equal share of the memory for each dataplane, but never less than a few items. */
static size_t share_bytes(const struct config *config, uint32_t pool_count)
{
    uint64_t share = config->memory_bytes / config->threads_count / pool_count;
    uint64_t least = ITEMS_MIN * (config->item_bytes + CHUNK_BYTES);
    uint64_t bytes = share > least ? share : least;
    return (size_t)(bytes / CHUNK_BYTES * CHUNK_BYTES);
}

static enum status init_dataplane(struct worker_pool *pool)
{
    const struct worker_options *options = &pool->worker->options;
    const struct config *config = options->config;
    const struct dataplane_limits limits = pool_limits_dataplane(config, &pool->shared->config);
    struct dataplane_options dataplane = {
        .names = pool->shared->names,
        .worker = options->index,
        .clients_max = pool->worker->client_slots,
        .memory_bytes = share_bytes(config, pool->shared->share),
        .item_bytes_max = config->item_bytes,
        .side_bytes = MC_VALUE_LARGE_BYTES,
        .pipeline_max = limits.pipeline_max,
        .client_output_bytes_max = limits.client_output_bytes_max,
        .request_timeout_us = limits.request_timeout_us,
        .connect_timeout_us = limits.connect_timeout_us,
        .settle_delay_us = limits.settle_delay_us,
        .on_no_replica = limits.on_no_replica,
        .read = limits.read,
        .miss_fallback = limits.miss_fallback,
        .ack = limits.ack,
        .bump_every = BUMP_EVERY,
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

enum status worker_pool_init(struct worker *worker, uint32_t place)
{
    struct worker_pool *pool = &worker->pools[place];
    pool->worker = worker;
    pool->shared = &worker->options.pools[place];
    pool->output_bytes_max = worker->options.config->client_output_bytes;
    LIST_INIT(&pool->zombies);
    for (uint32_t i = 0; i < DATAPLANE_LINKS_MAX; i++) {
        pool->links[i] = (struct node_conn){.pool = pool, .number = i, .fd = -1};
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

void worker_pool_drop(struct worker *worker, uint32_t place)
{
    struct worker_pool *pool = &worker->pools[place];
    if (pool->clients != NULL) {
        (void)munmap(pool->dataplane, pool->dataplane_bytes);
        (void)munmap(pool->clients, clients_bytes(worker));
        pool->clients = NULL;
    }
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
    struct worker *worker = calloc(1, sizeof(*worker));
    if (worker == NULL) {
        return STATUS_NO_MEMORY;
    }
    worker->options = *options;
    worker->client_slots = config_client_slots(options->config);
    worker->started_us = clock_mono_us();
    worker->next_peer = 0;
    enum status status = STATUS_NO_MEMORY;
    worker->scratch = malloc(WORKER_READ_BYTES);
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
    worker->stall_us = options->config->client_stall_us;
    worker_slow_init(worker);
    struct watch_target target = {worker->base, worker->mailbox.wake_fd, on_mailbox, worker};
    watch_set(&worker->mailbox_watch, &target, EV_READ);
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

static void *run(void *arg)
{
    struct worker *worker = arg;
    char name[THREAD_NAME_BYTES];
    (void)snprintf(name, sizeof(name), "worker %u", (unsigned)worker->options.index);
    (void)pthread_setname_np(pthread_self(), name);
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
        if (left.type == WORKER_CLIENT || left.type == WORKER_LISTEN) {
            (void)close(left.fd);
        } else if (left.type == WORKER_COME) {
            worker->pools[left.pool].is_active = true;
        }
    }
    for (struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        fini_pool(pool);
    }
    watch_clear(&worker->mailbox_watch);
    (void)event_del(&worker->tick);
    worker_slow_fini(worker);
    mailbox_fini(&worker->mailbox);
    event_base_free(worker->base);
    if (worker->reserve_fd >= 0) {
        (void)close(worker->reserve_fd);
    }
    (void)pthread_mutex_destroy(&worker->publish);
    free(worker->scratch);
    free(worker);
}
