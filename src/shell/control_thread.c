/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control thread: what happens on probes' and fills' sockets, what workers report and what
 * operators ask goes to the pool's control; what control wants done is done after the callbacks of
 * the turn, as in a worker.
 *
 * I1  All of it is this thread's alone; others see the lease (atomic), the port (its mutex) and the
 *     workers' mailboxes.
 * I2  The lease is published after each turn in which control was touched, before anything blocks.
 */
#include "control_thread.h"

#include "clock.h"
#include "everwarm/base/invariant.h"
#include "everwarm/shell/log.h"
#include "pool_limits.h"
#include "port.h"
#include "trace_log.h"
#include "watch.h"
#include "wire_conn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>

enum {
    /* What admin sees is never older. */
    PUBLISH_US = 100 * CLOCK_US_PER_MS,
    WIRES_MAX = CONTROL_WIRE_COUNT(NODES_MAX),
    /* Keys of one pass of a fill: half a million of usual length; reserved, touched on demand. */
    FILL_LIST_BYTES = 32 << 20,
    /* What dumps say of the keys of one pass, of a verify or a diff: of some 300,000 keys. */
    DUMP_TABLE_BYTES = 32 << 20,
};

/* How far a pool is on its way out. */
enum leaving {
    LEAVING_NOT,
    LEAVING_QUIET, /* some workers still have to answer what is under way */
    LEAVING_SAID,  /* the farewell is on its way to the nodes */
    LEAVING_GO,    /* the workers close and forget it: until then they may look at its topologies */
};

struct control_pool {
    bool is_active; /* if not, whatever is here is being made ready, or nothing is */
    enum leaving leaving;
    uint32_t told_count; /* workers that are quiet, or gone */
    bool is_left;        /* control_leave was called */
    bool is_late;        /* not all was answered: there is no farewell, others look after it */
    uint64_t leave_until_us;
    struct control_thread *thread;
    struct pool *shared;
    struct control *control;
    size_t control_bytes;
    bool is_touched;
    bool is_changed; /* something worth publishing at once */
    bool is_current; /* what is published is what control says */
    bool has_failed_wires;
    uint64_t published_at_us;
    uint32_t wire_count;
    struct wire_conn wires[WIRES_MAX];
};

struct control_thread {
    struct control_thread_options options;
    struct event_base *base;
    struct watch inbox_watch;
    struct event timer;
    bool is_turning;
    uint64_t now_us; /* of this turn */
    uint32_t quiet_count;
    bool is_leaving;
    bool is_stopping;
    _Atomic bool is_gone;
    _Atomic uint64_t answered; /* serial of the last ping */
    char *scratch;             /* WIRE_CONN_READ_BYTES */
    pthread_t thread;
    bool is_started;
    struct control_pool pools[POOLS_MAX];
};

static struct control_pool *next_pool(struct control_thread *thread,
                                      const struct control_pool *after)
{
    for (size_t i = after == NULL ? 0 : (size_t)(after - thread->pools) + 1; i < POOLS_MAX; i++) {
        if (thread->pools[i].is_active) {
            return &thread->pools[i];
        }
    }
    return NULL;
}

static void begin(struct control_pool *pool)
{
    struct control_thread *thread = pool->thread;
    if (!thread->is_turning) {
        thread->is_turning = true;
        thread->now_us = clock_mono_us();
    }
    pool->is_touched = true;
    pool->is_current = false;
}

/* --- Wires --- */

static void on_wire_event(void *arg, struct wire_event *event)
{
    struct control_pool *pool = arg;
    begin(pool);
    control_wire(pool->control, event, pool->thread->now_us);
}

static size_t gather_wire(void *arg, uint32_t wire, struct slice *out, size_t capacity)
{
    const struct control_pool *pool = arg;
    return control_gather(pool->control, wire, out, capacity);
}

static void tell_failed_wires(struct control_pool *pool)
{
    pool->has_failed_wires = false;
    pool->is_current = false;
    for (uint32_t i = 0; i < pool->wire_count; i++) {
        wire_conn_tell_failed(&pool->wires[i]);
    }
}

/* --- What control wants done --- */

static void post_to_workers(struct control_pool *pool, const struct worker_message *message)
{
    const struct control_thread_options *options = &pool->thread->options;
    for (uint32_t i = 0; i < options->config->threads_count; i++) {
        enum status status = worker_post(options->workers[i], message);
        INVARIANT(status == STATUS_OK);
    }
}

static void act_on_wire(struct control_pool *pool, const struct wire_action *action)
{
    INVARIANT(action->wire < pool->wire_count);
    struct wire_conn *conn = &pool->wires[action->wire];
    switch (action->type) {
    case WIRE_CONNECT:
        if (!wire_conn_connect(conn, &pool->shared->nodes[action->node],
                               pool->shared->config.lease_us)) {
            pool->has_failed_wires = true;
        }
        break;
    case WIRE_WRITE:
        wire_conn_write(conn);
        break;
    case WIRE_CLOSE:
        wire_conn_close(conn);
        break;
    case WIRE_FINISH:
        wire_conn_finish(conn);
        break;
    }
}

static void publish(struct control_pool *pool)
{
    struct control_thread *thread = pool->thread;
    if (control_port_publish(thread->options.port, pool->shared->place, pool->control,
                             thread->now_us)) {
        pool->is_changed = false;
        pool->is_current = true;
        pool->published_at_us = thread->now_us;
    }
}

/* Who hears of something looks at once whether it is so. */
static void publish_before_telling(struct control_pool *pool)
{
    if (!pool->is_current) {
        publish(pool);
    }
}

static void act(struct control_pool *pool, const struct control_action *action)
{
    struct control_thread *thread = pool->thread;
    struct worker_message message = {
        .pool = pool->shared->place,
        .topology = action->topology,
        .ticket = action->ticket,
    };
    pool->is_changed = pool->is_changed || action->type != CONTROL_ACTION_WIRE;
    switch (action->type) {
    case CONTROL_ACTION_WIRE:
        act_on_wire(pool, &action->wire);
        break;
    case CONTROL_ACTION_PLACE:
        if (!socket_address_parse(action->address, &pool->shared->nodes[action->node])) {
            log_line(LOG_LEVEL_ERROR, "node-address", LOG_TEXT("pool", pool->shared->config.name),
                     LOG_TEXT("note", "a view names an address that is none"));
        }
        break;
    case CONTROL_ACTION_HOLD:
        message.type = WORKER_HOLD;
        post_to_workers(pool, &message);
        break;
    case CONTROL_ACTION_ADOPT:
        message.type = WORKER_ADOPT;
        post_to_workers(pool, &message);
        break;
    case CONTROL_ACTION_FLUSHED: {
        message.type = WORKER_FLUSHED;
        enum status status = worker_post(thread->options.workers[action->worker], &message);
        INVARIANT(status == STATUS_OK);
        break;
    }
    case CONTROL_ACTION_DONE:
        publish_before_telling(pool);
        control_port_done(thread->options.port, action->ticket, action->result);
        break;
    case CONTROL_ACTION_TRACE:
        publish_before_telling(pool);
        trace_log_write(pool->shared->config.name, &action->trace);
        control_port_trace(thread->options.port, pool->shared->place, &action->trace);
        break;
    }
}

static void publish_lease(struct control_pool *pool)
{
    atomic_store_explicit(&pool->shared->lease_until_us, control_lease_until_us(pool->control),
                          memory_order_relaxed);
}

static void flush_pool(struct control_pool *pool)
{
    struct control_action action;
    /* A lease that ended or was renewed must not wait for what follows. */
    publish_lease(pool);
    do {
        if (pool->has_failed_wires) {
            tell_failed_wires(pool);
        }
        while (control_next_action(pool->control, &action)) {
            act(pool, &action);
        }
    } while (pool->has_failed_wires);
    publish_lease(pool);
    struct control_thread *thread = pool->thread;
    if (pool->is_changed || thread->now_us - pool->published_at_us >= PUBLISH_US) {
        publish(pool);
    }
    pool->is_touched = false;
}

/* --- Time --- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct control_thread *thread = arg;
    for (struct control_pool *pool = next_pool(thread, NULL); pool != NULL;
         pool = next_pool(thread, pool)) {
        begin(pool);
        control_tick(pool->control, thread->now_us);
    }
}

static void arm_timer(struct control_thread *thread)
{
    uint64_t now_us = clock_mono_us();
    uint64_t due_us = now_us + PUBLISH_US;
    for (const struct control_pool *pool = next_pool(thread, NULL); pool != NULL;
         pool = next_pool(thread, pool)) {
        uint64_t deadline_us = control_next_deadline_us(pool->control);
        if (deadline_us < due_us) {
            due_us = deadline_us;
        }
    }
    uint64_t wait_us = due_us > now_us ? due_us - now_us : 0;
    struct timeval after = {.tv_usec = (suseconds_t)wait_us};
    INVARIANT(event_add(&thread->timer, &after) == 0);
}

static void leave(struct control_pool *pool)
{
    if (!pool->is_left) {
        pool->is_left = true;
        begin(pool);
        control_leave(pool->control, pool->thread->now_us);
    }
}

/* The farewell is on the nodes, or its time is over: the workers are let go. */
static void go_if_said(struct control_pool *pool)
{
    const bool is_over = clock_mono_us() >= pool->leave_until_us;
    if (pool->is_late || is_over || control_is_gone(pool->control)) {
        const struct worker_message message = {.type = WORKER_GO, .pool = pool->shared->place};
        pool->leaving = LEAVING_GO;
        pool->told_count = 0;
        post_to_workers(pool, &message);
    }
}

static void look_if_gone(struct control_thread *thread)
{
    for (const struct control_pool *pool = next_pool(thread, NULL); pool != NULL;
         pool = next_pool(thread, pool)) {
        if (!control_is_gone(pool->control)) {
            return;
        }
    }
    atomic_store(&thread->is_gone, true);
}

static void flush(struct control_thread *thread)
{
    for (struct control_pool *pool = next_pool(thread, NULL); pool != NULL;
         pool = next_pool(thread, pool)) {
        if (pool->is_touched) {
            flush_pool(pool);
        }
        if (pool->leaving == LEAVING_SAID) {
            go_if_said(pool);
        }
    }
    thread->is_turning = false;
    if (thread->is_leaving) {
        look_if_gone(thread);
    }
    arm_timer(thread);
}

/* --- Messages --- */

static void leave_if_quiet(struct control_thread *thread)
{
    thread->quiet_count++;
    if (thread->quiet_count < thread->options.config->threads_count) {
        return;
    }
    thread->is_leaving = true;
    for (struct control_pool *pool = next_pool(thread, NULL); pool != NULL;
         pool = next_pool(thread, pool)) {
        leave(pool);
    }
}

/* Close all, and leave the place as it was before anything stood there. */
static void fini_pool(struct control_pool *pool)
{
    for (uint32_t i = 0; i < pool->wire_count; i++) {
        wire_conn_close(&pool->wires[i]);
    }
    (void)munmap(pool->control, pool->control_bytes);
    memset(pool, 0, sizeof(*pool));
}

/* One of the workers is quiet, or waits no longer. */
static void on_pool_quiet(struct control_pool *pool, const struct inbox_message *message)
{
    pool->leaving = LEAVING_QUIET;
    pool->is_late = pool->is_late || message->is_late;
    pool->told_count++;
    if (pool->told_count < pool->thread->options.config->threads_count) {
        return;
    }
    pool->leaving = LEAVING_SAID;
    pool->leave_until_us = pool->thread->now_us + (uint64_t)POOL_LEAVE_MS_MAX * CLOCK_US_PER_MS;
    if (!pool->is_late) {
        leave(pool);
    }
}

static void on_pool_gone(struct control_pool *pool)
{
    struct control_thread *thread = pool->thread;
    struct pool *shared = pool->shared;
    pool->told_count++;
    if (pool->told_count == thread->options.config->threads_count) {
        fini_pool(pool);
        atomic_store(&shared->is_taken, false);
    }
}

static void on_pool_message(struct control_pool *pool, const struct inbox_message *message)
{
    struct control_thread *thread = pool->thread;
    begin(pool);
    switch (message->type) {
    case INBOX_REPORT:
        control_report(pool->control, &message->report, thread->now_us);
        break;
    case INBOX_COMMAND:
        control_command(pool->control, &message->command, thread->now_us);
        /* Its answers are fetched before the next one: control has room for one wish a node. */
        flush_pool(pool);
        break;
    case INBOX_LIMITS:
        control_set_limits(pool->control, &message->limits);
        break;
    case INBOX_POOL_QUIET:
        on_pool_quiet(pool, message);
        break;
    case INBOX_POOL_GONE:
        on_pool_gone(pool);
        break;
    case INBOX_COME:
    case INBOX_QUIET:
    case INBOX_PING:
    case INBOX_STOP:
        UNREACHABLE(); /* on_message's own */
    }
}

static void on_message(struct control_thread *thread, const struct inbox_message *message)
{
    struct control_pool *pool = &thread->pools[message->pool];
    switch (message->type) {
    case INBOX_COME:
        pool->is_active = true;
        begin(pool);
        control_tick(pool->control, thread->now_us);
        break;
    case INBOX_REPORT:
    case INBOX_COMMAND:
    case INBOX_LIMITS:
    case INBOX_POOL_QUIET:
    case INBOX_POOL_GONE:
        if (pool->is_active) {
            on_pool_message(pool, message);
        } else if (message->type == INBOX_COMMAND) {
            control_port_done(thread->options.port, message->command.ticket,
                              CONTROL_RESULT_TIMEOUT);
        }
        break;
    case INBOX_QUIET:
        leave_if_quiet(thread);
        break;
    case INBOX_PING:
        atomic_store(&thread->answered, message->serial);
        break;
    case INBOX_STOP:
        thread->is_stopping = true;
        break;
    }
}

static void on_inbox(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct control_thread *thread = arg;
    struct inbox_message message;
    mailbox_quiet(thread->options.inbox);
    while (mailbox_take(thread->options.inbox, &message)) {
        on_message(thread, &message);
    }
}

/* --- Life --- */

/* What all proxies of a pool must have alike and no view says (replication.md section 4,
 * Heartbeat): nothing that can be configured in this release. */
static uint64_t hash_config(void)
{
    return topology_hash(SLICE("replicas all, distribution rendezvous, hash xxh3\n"));
}

static enum status init_control(struct control_pool *pool)
{
    const struct config *config = pool->thread->options.config;
    const struct config_pool *own = &pool->shared->config;
    uint64_t nonce = 0;
    while (nonce == 0) {
        if (getrandom(&nonce, sizeof(nonce), 0) != sizeof(nonce)) {
            return STATUS_SYSTEM;
        }
    }
    const struct control_limits limits = pool_limits_control(own);
    struct control_options options = {
        .names = pool->shared->names,
        .addresses = pool->shared->node_addresses,
        .worker_count = config->threads_count,
        .nonce = nonce,
        .wall_ms = clock_wall_us() / CLOCK_US_PER_MS,
        .config_hash = hash_config(),
        .interval_us = own->health_interval_us,
        .timeout_us = limits.timeout_us,
        .lease_us = own->lease_us,
        .request_timeout_us = limits.request_timeout_us,
        .hold_down_max_us = limits.hold_down_max_us,
        .fall = limits.fall,
        .rise = limits.rise,
        .fill =
            {
                .item_bytes_max = config->item_bytes,
                .rate_bytes = limits.fill.rate_bytes,
                .window = limits.fill.window,
                .list_bytes = FILL_LIST_BYTES,
                .table_bytes = DUMP_TABLE_BYTES,
                .timeout_us = limits.fill.timeout_us,
            },
        .verify =
            {
                .node_count = pool->shared->node_count,
                .item_bytes_max = config->item_bytes,
                .window = limits.verify.window,
                .table_bytes = DUMP_TABLE_BYTES,
                .timeout_us = limits.verify.timeout_us,
                .settle_us = limits.verify.settle_us,
            },
        .stops_in_split = limits.stops_in_split,
        .keeps_last_copy = limits.keeps_last_copy,
        .is_verify_background = limits.is_verify_background,
        .verify_rate_bytes = limits.verify_rate_bytes,
        .warm_for_us = limits.warm_for_us,
    };
    pool->control_bytes = control_bytes(&options);
    void *memory = mmap(NULL, pool->control_bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) {
        return STATUS_NO_MEMORY;
    }
    pool->control = control_init(memory, &options, clock_mono_us());
    return STATUS_OK;
}

enum status control_thread_pool_init(struct control_thread *thread, uint32_t place)
{
    struct control_pool *pool = &thread->pools[place];
    pool->thread = thread;
    pool->shared = &thread->options.pools[place];
    pool->wire_count = CONTROL_WIRE_COUNT(pool->shared->node_count);
    for (uint32_t i = 0; i < WIRES_MAX; i++) {
        struct wire_conn_options options = {
            .base = thread->base,
            .scratch = thread->scratch,
            .wire = i,
            .on_event = on_wire_event,
            .gather = gather_wire,
            .arg = pool,
        };
        wire_conn_init(&pool->wires[i], &options);
    }
    return init_control(pool);
}

void control_thread_pool_drop(struct control_thread *thread, uint32_t place)
{
    struct control_pool *pool = &thread->pools[place];
    if (pool->control != NULL) {
        (void)munmap(pool->control, pool->control_bytes);
        pool->control = NULL;
    }
}

/* Polls of a few milliseconds want a clock that is finer than the kernel's coarse one. */
static struct event_base *create_base(void)
{
    struct event_config *config = event_config_new();
    if (config == NULL) {
        return NULL;
    }
    int is_set =
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
    struct event_base *base = is_set == 0 ? event_base_new_with_config(config) : NULL;
    event_config_free(config);
    return base;
}

enum status control_thread_create(const struct control_thread_options *options,
                                  struct control_thread **out)
{
    *out = NULL;
    struct control_thread *thread = calloc(1, sizeof(*thread));
    if (thread == NULL) {
        return STATUS_NO_MEMORY;
    }
    thread->options = *options;
    thread->scratch = malloc(WIRE_CONN_READ_BYTES);
    if (thread->scratch == NULL) {
        goto free_thread;
    }
    thread->base = create_base();
    if (thread->base == NULL) {
        goto free_scratch;
    }
    INVARIANT(event_assign(&thread->timer, thread->base, -1, 0, on_timer, thread) == 0);
    struct watch_target target = {thread->base, options->inbox->wake_fd, on_inbox, thread};
    watch_set(&thread->inbox_watch, &target, EV_READ);
    *out = thread;
    return STATUS_OK;

free_scratch:
    free(thread->scratch);
free_thread:
    free(thread);
    return STATUS_NO_MEMORY;
}

static void *run(void *arg)
{
    struct control_thread *thread = arg;
    (void)pthread_setname_np(pthread_self(), "control");
    on_timer(-1, EV_TIMEOUT, thread);
    flush(thread);
    while (!thread->is_stopping) {
        int result = event_base_loop(thread->base, EVLOOP_ONCE);
        INVARIANT(result == 0);
        flush(thread);
    }
    return NULL;
}

enum status control_thread_start(struct control_thread *thread)
{
    if (pthread_create(&thread->thread, NULL, run, thread) != 0) {
        return STATUS_SYSTEM;
    }
    thread->is_started = true;
    return STATUS_OK;
}

uint64_t control_thread_answered(const struct control_thread *thread)
{
    return atomic_load(&thread->answered);
}

bool control_thread_is_gone(const struct control_thread *thread)
{
    return atomic_load(&thread->is_gone);
}

void control_thread_stop(struct control_thread *thread)
{
    if (thread->is_started) {
        struct inbox_message message = {.type = INBOX_STOP};
        enum status status = mailbox_post(thread->options.inbox, &message, 0);
        INVARIANT(status == STATUS_OK);
        (void)pthread_join(thread->thread, NULL);
        thread->is_started = false;
    }
}

void control_thread_destroy(struct control_thread **handle)
{
    struct control_thread *thread = *handle;
    *handle = NULL;
    if (thread == NULL) {
        return;
    }
    REQUIRE(!thread->is_started);
    struct inbox_message left;
    while (mailbox_take(thread->options.inbox, &left)) {
        if (left.type == INBOX_COME) {
            thread->pools[left.pool].is_active = true;
        }
    }
    for (struct control_pool *pool = next_pool(thread, NULL); pool != NULL;
         pool = next_pool(thread, pool)) {
        fini_pool(pool);
    }
    watch_clear(&thread->inbox_watch);
    (void)event_del(&thread->timer);
    event_base_free(thread->base);
    free(thread->scratch);
    free(thread);
}
