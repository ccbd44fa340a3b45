/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One mutex over what the control thread publishes (states, events, answers); workers' figures lie
 * under their own, and nobody holds two of these. Nobody waits while holding one but for
 * the answer to a command, which gives it up meanwhile.
 */
#include "everwarm/shell/control_port.h"

#include "asks.h"
#include "clock.h"
#include "control_port_private.h"
#include "everwarm/base/invariant.h"
#include "everwarm/base/version.h"
#include "everwarm/shell/log.h"

#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *proxy_state_word(enum proxy_state state)
{
    switch (state) {
    case PROXY_STARTING:
        return "starting";
    case PROXY_RUNNING:
        return "running";
    case PROXY_DRAINED:
        return "drained";
    case PROXY_DRAINING:
        return "draining";
    }
    UNREACHABLE();
}

_Static_assert((int)PORT_CLOSES_MAX == (int)WORKER_CLOSE_COUNT,
               "each reason has its place in a snapshot");

const char *control_port_close_word(size_t reason)
{
    static const char *const words[WORKER_CLOSE_COUNT] = {
#define X(name, word) [WORKER_CLOSE_##name] = (word),
        WORKER_CLOSE_TABLE(X)
#undef X
    };
    REQUIRE(reason < WORKER_CLOSE_COUNT);
    return words[reason];
}

void control_port_begin_pool(struct control_port *port, uint32_t place)
{
    const struct pool *pool = &port->parts.pools->places[place];
    struct port_pool *own = &port->pools[place];
    *own = (struct port_pool){.was_readable = !port->is_started};
    port->counting[place] = (struct port_counts){0};
    own->control.proxy_id = VIEW_NO_PROXY;
    own->control.node_count = pool->node_count;
    for (uint32_t i = 0; i < pool->config.node_count; i++) { /* until control says who is there */
        struct control_node_snapshot *node = &own->control.nodes[i];
        *node = (struct control_node_snapshot){
            .is_member = true, .data = NODE_DATA_OUT, .filler = VIEW_NO_PROXY};
        (void)snprintf(node->name, sizeof(node->name), "%s", pool->config.nodes[i].name);
        (void)snprintf(node->address, sizeof(node->address), "%s", pool->addresses[i]);
        own->control.members |= node_set_of(i);
    }
}

enum status control_port_create(const struct control_port_parts *parts, struct control_port **out)
{
    struct control_port *port = calloc(1, sizeof(*port));
    *out = port;
    if (port == NULL) {
        return STATUS_NO_MEMORY;
    }
    port->parts = *parts;
    port->started_wall_us = clock_wall_us();
    port->started_mono_us = clock_mono_us();
    port->config = malloc(sizeof(*port->config));
    if (port->config == NULL) {
        free(port);
        *out = NULL;
        return STATUS_NO_MEMORY;
    }
    *port->config = *parts->config;
    port->config_epoch = 1;
    atomic_store(&parts->clients->max, parts->config->max_clients_count);
    INVARIANT(pthread_mutex_init(&port->reload_mutex, NULL) == 0);
    event_ring_init(&port->events);
    task_table_init(&port->tasks);
    for (uint32_t i = 0; i < parts->config->pool_count; i++) {
        control_port_begin_pool(port, i);
        port->places[i] = i;
    }
    port->pool_count = (uint32_t)parts->config->pool_count;
    port->is_started = true;
    INVARIANT(pthread_mutex_init(&port->mutex, NULL) == 0);
    return STATUS_OK;
}

void control_port_destroy(struct control_port **handle)
{
    struct control_port *port = *handle;
    *handle = NULL;
    if (port != NULL) {
        (void)pthread_mutex_destroy(&port->mutex);
        event_ring_fini(&port->events);
        task_table_fini(&port->tasks);
        (void)pthread_mutex_destroy(&port->reload_mutex);
        config_destroy(&port->config);
        free(port);
    }
}

/* --- Told by the shell --- */

static bool is_serving(const struct control_snapshot *control)
{
    return control->state == CONTROL_SERVING || control->state == CONTROL_CHANGING;
}

static bool is_readable(const struct control_snapshot *control)
{
    if (!is_serving(control)) {
        return false;
    }
    for (uint32_t i = 0; i < control->node_count; i++) {
        const struct control_node_snapshot *node = &control->nodes[i];
        if (node->is_member && node->data == NODE_DATA_COMPLETE && node->oper == NODE_OPER_UP) {
            return true;
        }
    }
    return false;
}

bool control_port_publish(struct control_port *port, uint32_t pool, const struct control *control,
                          uint64_t now_us)
{
    /* Who holds it may have the lowest priority of all, and be stopped for as long as others want
     * the processor; and the lease does not wait. */
    if (pthread_mutex_trylock(&port->mutex) != 0) {
        return false;
    }
    struct control_snapshot *own = &port->pools[pool].control;
    control_snapshot(control, own, now_us);
    port->pools[pool].counts = port->counting[pool];
    port->pools[pool].was_readable = port->pools[pool].was_readable || is_readable(own);
    bool has_served = true;
    for (uint32_t i = 0; i < port->pool_count; i++) {
        has_served = has_served && is_serving(&port->pools[port->places[i]].control);
    }
    port->has_served = port->has_served || has_served;
    (void)pthread_mutex_unlock(&port->mutex);
    /* Nobody else writes it. */
    task_table_follow(&port->tasks, port->parts.pools->places[pool].id, own, now_us);
    return true;
}

void control_port_trace(struct control_port *port, uint32_t pool, const struct trace_event *event)
{
    struct port_event kept = {.wall_us = clock_wall_us(), .pool = pool, .trace = *event};
    if (pool != PORT_NO_POOL) {
        const struct pool *shared = &port->parts.pools->places[pool];
        kept.pool = shared->id;
        (void)snprintf(kept.pool_name, sizeof(kept.pool_name), "%s", shared->config.name);
        struct port_counts *own = &port->counting[pool];
        own->traces[event->type]++;
        if (event->node < NODES_MAX) {
            own->went_up[event->node] += event->type == TRACE_NODE_UP;
            own->went_down[event->node] += event->type == TRACE_NODE_DOWN;
            if (event->type == TRACE_NODE_REMOVED) { /* its place may become another's */
                own->went_up[event->node] = 0;
                own->went_down[event->node] = 0;
            }
        }
    }
    event_ring_put(&port->events, &kept);
    if (event->type == TRACE_FILL_FAILED) {
        task_table_note(&port->tasks, kept.pool, event->node, event->detail);
    }
}

void control_port_done(struct control_port *port, uint64_t ticket, enum control_result result)
{
    (void)pthread_mutex_lock(&port->mutex);
    for (size_t i = 0; i < PORT_WAITS_MAX; i++) {
        if (port->waits[i].ticket == ticket) {
            port->waits[i].is_done = true;
            port->waits[i].result = result;
        }
    }
    (void)pthread_mutex_unlock(&port->mutex);
    bell_ring(&port->is_answered);
}

void control_port_drain(struct control_port *port)
{
    (void)pthread_mutex_lock(&port->mutex);
    port->is_draining = true;
    (void)pthread_mutex_unlock(&port->mutex);
    bell_ring(&port->is_answered); /* nobody waits any more: the pool may not answer */
}

/* --- Asked by admin --- */

static enum proxy_state state_of(const struct control_port *port)
{
    if (port->is_draining) {
        return PROXY_DRAINING;
    }
    if (port->is_drained) {
        return PROXY_DRAINED;
    }
    return port->has_served ? PROXY_RUNNING : PROXY_STARTING;
}

bool control_port_is_ready(struct control_port *port)
{
    (void)pthread_mutex_lock(&port->mutex);
    bool is_ready = state_of(port) == PROXY_RUNNING;
    for (uint32_t i = 0; i < port->pool_count; i++) {
        const struct port_pool *pool = &port->pools[port->places[i]];
        is_ready = is_ready && (is_readable(&pool->control) || !pool->was_readable);
    }
    (void)pthread_mutex_unlock(&port->mutex);
    return is_ready;
}

/* Names and addresses are control's; what it does not know the configuration does. */
static void describe_node(const struct config_pool *config,
                          const struct control_node_snapshot *from, struct proxy_node *out)
{
    const struct config_node *configured = diff_find_node(config, from->name);
    out->name = from->name;
    out->zone = "";
    out->weight = 1;
    _Static_assert(sizeof(out->address) >= sizeof(from->address), "it is copied whole");
    memcpy(out->address, from->address, sizeof(from->address));
    if (configured != NULL) {
        out->zone = configured->zone;
        out->weight = configured->weight;
        if (!from->is_told) {
            address_format(&configured->address, out->address);
        }
    }
}

/* From what was copied: the place may be another's by now, and nobody waits for this. */
static void describe_pool(struct proxy_pool *out)
{
    out->name = out->own.name;
    out->config = &out->own;
    for (uint32_t i = 0; i < out->node_count; i++) {
        describe_node(out->config, &out->control.nodes[i], &out->nodes[i]);
    }
}

static void add_workers(const struct control_port_parts *parts, struct proxy_snapshot *out)
{
    uint32_t places = 0;
    for (uint32_t i = 0; i < out->pool_count; i++) {
        places |= 1u << out->pools[i].id % POOLS_MAX;
    }
    for (uint32_t i = 0; i < parts->config->threads_count; i++) {
        struct worker_figures figures;
        worker_stats_figures(parts->workers[i], &figures);
        if (figures.loop_lag_us > out->loop_lag_us) {
            out->loop_lag_us = figures.loop_lag_us;
        }
        for (size_t j = 0; j < PORT_CLOSES_MAX; j++) {
            out->clients_closed[j] += figures.closes[j];
        }
        for (uint32_t j = 0; j < out->pool_count; j++) {
            uint64_t zombies[NODES_MAX] = {0};
            worker_stats_add(parts->workers[i], out->pools[j].id % POOLS_MAX,
                             &out->pools[j].traffic, zombies);
            for (uint32_t k = 0; k < out->pools[j].node_count; k++) {
                out->pools[j].nodes[k].zombies += zombies[k];
            }
        }
        worker_stats_add_others(parts->workers[i], places, &out->gone);
    }
}

static uint32_t count_pools(struct control_port *port)
{
    (void)pthread_mutex_lock(&port->mutex);
    const uint32_t count = port->pool_count;
    (void)pthread_mutex_unlock(&port->mutex);
    return count;
}

/* ROOM is for as many pools as there were just now. */
static void copy_published(struct control_port *port, struct proxy_snapshot *out, uint32_t room)
{
    /* The control thread waits while we hold the mutex, and we have the lowest priority: the kernel
     * is to give the pages before. */
    for (uint32_t i = 0; i < room; i++) {
        memset(&out->pools[i], 0, offsetof(struct proxy_pool, traffic));
        memset(out->pools[i].traces, 0, sizeof(out->pools[i].traces));
    }
    (void)pthread_mutex_lock(&port->mutex);
    out->state = state_of(port);
    out->config_epoch = port->config_epoch;
    out->reloads_ok = port->reloads_ok;
    out->reloads_failed = port->reloads_failed;
    out->pool_count = port->pool_count < room ? port->pool_count : room;
    out->gone.divergences = port->gone_divergences;
    out->gone.repairs = port->gone_repairs;
    for (uint32_t i = 0; i < out->pool_count; i++) {
        const struct port_pool *from = &port->pools[port->places[i]];
        struct proxy_pool *pool = &out->pools[i];
        pool->control = from->control;
        pool->is_readable = is_readable(&from->control);
        pool->is_coming = !from->was_readable;
        memcpy(pool->traces, from->counts.traces, sizeof(pool->traces));
        for (uint32_t j = 0; j < NODES_MAX; j++) {
            pool->nodes[j].went_up = from->counts.went_up[j];
            pool->nodes[j].went_down = from->counts.went_down[j];
        }
        struct pool *shared = &port->parts.pools->places[port->places[i]];
        pool->id = shared->id;
        pool->own = shared->config;
        pool->node_count = shared->node_count;
        pool->request_timeout_us = atomic_load(&shared->request_timeout_us);
    }
    (void)pthread_mutex_unlock(&port->mutex);
    for (uint32_t i = 0; i < out->pool_count; i++) {
        describe_pool(&out->pools[i]);
    }
}

enum status control_port_snapshot(struct control_port *port, struct proxy_snapshot **out)
{
    const struct control_port_parts *parts = &port->parts;
    const uint32_t room = count_pools(port);
    struct proxy_snapshot *snapshot =
        calloc(1, sizeof(*snapshot) + room * sizeof(snapshot->pools[0]));
    *out = snapshot;
    if (snapshot == NULL) {
        return STATUS_NO_MEMORY;
    }
    *snapshot = (struct proxy_snapshot){
        .version = EVERWARM_VERSION,
        .config = parts->config,
        .pid = (int32_t)getpid(),
        .started_wall_us = port->started_wall_us,
        .clients_max = atomic_load(&parts->clients->max),
        .clients_open = atomic_load(&parts->clients->open),
        .clients_accepted = atomic_load(&parts->clients->accepted),
        .clients_rejected_limit = atomic_load(&parts->clients->rejected_limit),
        .clients_rejected_fds = atomic_load(&parts->clients->rejected_fds),
        .log_dropped = log_dropped(),
    };
    copy_published(port, snapshot, room);
    add_workers(parts, snapshot);
    control_port_look_at_process(&snapshot->process);
    snapshot->now_wall_us = clock_wall_us();
    snapshot->now_mono_us = clock_mono_us();
    snapshot->uptime_us = snapshot->now_mono_us - port->started_mono_us;
    return STATUS_OK;
}

void proxy_snapshot_destroy(struct proxy_snapshot **snapshot)
{
    free(*snapshot);
    *snapshot = NULL;
}

const struct proxy_pool *proxy_snapshot_pool(const struct proxy_snapshot *snapshot, uint32_t id)
{
    for (uint32_t i = 0; i < snapshot->pool_count; i++) {
        if (snapshot->pools[i].id == id) {
            return &snapshot->pools[i];
        }
    }
    return NULL;
}

bool control_port_find_node(struct control_port *port, const char *name, uint32_t *pool,
                            uint32_t *node)
{
    bool is_found = false;
    (void)pthread_mutex_lock(&port->mutex);
    for (uint32_t i = 0; i < port->pool_count; i++) {
        const uint32_t place = port->places[i];
        const struct control_snapshot *control = &port->pools[place].control;
        for (node_set left = control->members; left != 0 && !is_found; left &= left - 1) {
            const uint32_t j = node_set_first(left);
            if (strcmp(control->nodes[j].name, name) == 0) {
                *pool = port->parts.pools->places[place].id;
                *node = j;
                is_found = true;
            }
        }
    }
    (void)pthread_mutex_unlock(&port->mutex);
    return is_found;
}

enum status control_port_resolve(const struct address *address,
                                 char out[VIEW_ADDRESS_BYTES_MAX + 1], char *wrong,
                                 size_t wrong_bytes)
{
    struct socket_address resolved;
    struct socket_error error;
    const enum status status = socket_resolve(address, &resolved, &error);
    if (status == STATUS_OK) {
        socket_address_format(&resolved, out);
    } else {
        (void)snprintf(wrong, wrong_bytes, "%s", error.text);
    }
    return status;
}

/* The place of the pool with this id; false: it has gone. Under the mutex. */
static bool find_place(const struct control_port *port, uint32_t id, uint32_t *place)
{
    for (uint32_t i = 0; i < port->pool_count; i++) {
        *place = port->places[i];
        if (port->parts.pools->places[*place].id == id) {
            return true;
        }
    }
    return false;
}

static struct wait *take_wait(struct control_port *port)
{
    for (size_t i = 0; i < PORT_WAITS_MAX; i++) {
        if (port->waits[i].ticket == 0) {
            port->last_ticket++;
            port->waits[i] = (struct wait){.ticket = port->last_ticket};
            return &port->waits[i];
        }
    }
    return NULL;
}

/* Under the mutex, which is given up meanwhile. */
static enum control_result await(struct control_port *port, const struct wait *wait,
                                 uint32_t timeout_ms)
{
    const uint64_t until_us = clock_mono_us() + (uint64_t)timeout_ms * CLOCK_US_PER_MS;
    bool is_in_time = true;
    while (!wait->is_done && is_in_time && !port->is_draining) {
        const uint32_t seen = bell_look(&port->is_answered);
        (void)pthread_mutex_unlock(&port->mutex);
        is_in_time = bell_await(&port->is_answered, seen, until_us);
        (void)pthread_mutex_lock(&port->mutex);
    }
    return wait->is_done ? wait->result : CONTROL_RESULT_TIMEOUT;
}

enum status control_port_command(struct control_port *port,
                                 const struct control_port_request *request,
                                 enum control_result *result)
{
    const bool is_verify =
        request->type == CONTROL_COMMAND_VERIFY || request->type == CONTROL_COMMAND_VERIFY_STOP;
    const bool is_all =
        (is_verify && request->node == VERIFY_ALL_NODES) || request->type == CONTROL_COMMAND_ADD;
    enum status status = STATUS_FULL;
    uint32_t place = 0;
    (void)pthread_mutex_lock(&port->mutex);
    if (!find_place(port, request->pool, &place) || (!is_all && request->node >= NODES_MAX)) {
        (void)pthread_mutex_unlock(&port->mutex);
        return STATUS_NOT_FOUND;
    }
    struct wait *wait = take_wait(port);
    if (wait != NULL) {
        struct inbox_message message = {
            .type = INBOX_COMMAND,
            .pool = place,
            .command =
                {
                    .type = request->type,
                    .ticket = wait->ticket,
                    .node = request->node,
                    .is_forced = request->is_forced,
                    .is_mending = request->is_mending,
                    .tag = request->tag,
                    .name_bytes = (uint8_t)strlen(request->name),
                    .address_bytes = (uint8_t)strlen(request->address),
                },
        };
        memcpy(message.command.name, request->name, message.command.name_bytes);
        memcpy(message.command.address, request->address, message.command.address_bytes);
        status = mailbox_post(port->parts.inbox, &message, 0);
        if (status == STATUS_OK) {
            *result = await(port, wait, request->timeout_ms);
        }
        wait->ticket = 0;
    }
    (void)pthread_mutex_unlock(&port->mutex);
    return status;
}

bool control_port_set_drained(struct control_port *port, bool is_drained)
{
    (void)pthread_mutex_lock(&port->mutex);
    const bool is_changed = port->is_drained != is_drained;
    port->is_drained = is_drained;
    (void)pthread_mutex_unlock(&port->mutex);
    if (is_changed) {
        control_port_tell(port, is_drained ? TRACE_PROXY_DRAINED : TRACE_PROXY_UNDRAINED, 0, "");
    }
    return is_changed;
}

/* --- What workers are asked --- */

static enum status put_ask(struct control_port *port, struct ask *ask, size_t *count,
                           uint64_t *total)
{
    const enum status status =
        asks_put(port->parts.asks, port->parts.workers, port->parts.config->threads_count, ask);
    *count = ask->count;
    *total = ask->total;
    return status;
}

enum status control_port_clients(struct control_port *port, struct proxy_client *out,
                                 size_t capacity, size_t *count, uint64_t *total)
{
    struct ask ask = {.type = ASK_CLIENTS, .out = out, .capacity = capacity};
    return put_ask(port, &ask, count, total);
}

enum status control_port_slow(struct control_port *port, struct proxy_slow *out, size_t capacity,
                              size_t *count, uint64_t *total)
{
    struct ask ask = {.type = ASK_SLOW, .out = out, .capacity = capacity};
    return put_ask(port, &ask, count, total);
}

enum status control_port_hot(struct control_port *port, struct proxy_hot *out, size_t capacity,
                             size_t *count, uint64_t *total)
{
    struct ask ask = {.type = ASK_HOT, .out = out, .capacity = capacity};
    return put_ask(port, &ask, count, total);
}

enum status control_port_kill_client(struct control_port *port, uint64_t id)
{
    struct ask ask = {.type = ASK_KILL, .id = id};
    size_t count = 0;
    uint64_t total = 0;
    const enum status status = put_ask(port, &ask, &count, &total);
    if (count > 0) {
        return STATUS_OK; /* whatever the others say */
    }
    return status == STATUS_OK ? STATUS_NOT_FOUND : status;
}

/* --- Events and tasks --- */

size_t control_port_events(struct control_port *port, uint64_t from, struct port_event *out,
                           size_t capacity)
{
    return event_ring_read(&port->events, from, out, capacity);
}

uint64_t control_port_events_next(struct control_port *port)
{
    return event_ring_next(&port->events);
}

enum port_await control_port_await_event(struct control_port *port, uint64_t number,
                                         uint32_t timeout_ms)
{
    return event_ring_await(&port->events, number, timeout_ms);
}

void control_port_close_events(struct control_port *port)
{
    event_ring_close(&port->events);
}

enum status control_port_task_add(struct control_port *port, struct task *task)
{
    return task_table_add(&port->tasks, task);
}

bool control_port_task_find(struct control_port *port, uint64_t id, struct task *out)
{
    return task_table_find(&port->tasks, id, out);
}

size_t control_port_task_list(struct control_port *port, struct task *out, size_t capacity)
{
    return task_table_list(&port->tasks, out, capacity);
}

void control_port_task_update(struct control_port *port, const struct task *task)
{
    task_table_update(&port->tasks, task);
}

bool control_port_task_cancel(struct control_port *port, uint64_t id, struct task *out)
{
    return task_table_cancel(&port->tasks, id, clock_mono_us(), out);
}
