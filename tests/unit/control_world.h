/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The world of control's tests: model nodes, up to eight proxies and simulated time; only the fill
 * and the verify are stand-ins. Definitions, for exactly one file of a program.
 */
#ifndef TESTS_UNIT_CONTROL_WORLD_H
#define TESTS_UNIT_CONTROL_WORLD_H

#include "everwarm/base/prng.h"
#include "everwarm/core/control.h"

#include "fill_stand_in.h"
#include "sim/bytes.c"
#include "sim/model.c"
#include "sim/model_meta.c"
#include "sim/queue.c"
#include "sim/store.c"
#include "verify_stand_in.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    PROXIES = 8,
    NODES = 4,
    PLACES = 6, /* of nodes, in a world that has spare ones */
    WORKERS = 2,
    WIRES = CONTROL_WIRE_COUNT(PLACES),
    HOP_US = 100, /* one way between a proxy and a node */
    WORKER_US = 30,
    WALL_S = 1700000000,
    CHAOS_SEEDS = 30,
    STEPS_MAX = 20000000, /* of one story; more is a loop without time */
};

enum event_type {
    EVENT_OPEN,
    EVENT_TO_NODE,
    EVENT_TO_PROXY,
    EVENT_CLOSED,
    EVENT_DRAINED,
    EVENT_ADOPTED
};

struct conn {
    bool is_used;
    uint64_t number;
    uint64_t open_us; /* 0: not yet */
    uint32_t node;
    struct model_conn peer;
    struct bytes out; /* on its way to the node */
};

struct proxy {
    struct control *control;
    char *memory;
    size_t memory_bytes;
    bool is_alive;
    bool is_paused;
    struct conn conns[WIRES];
    uint32_t node_at[PLACES]; /* which node stands where */
    struct bytes backlog;     /* struct queue_event: what came while it was paused */
    struct topology adopted;  /* the latest */
    bool has_adopted;
    uint64_t deadline_us;
    bool is_draining_slowly; /* DRAINED is not reported */
    bool is_adopting_slowly; /* nor is ADOPTED */
    uint64_t held_serial;
    uint32_t flushed;
    uint32_t done;
    enum control_result result;
    uint32_t traced[TRACE_TYPE_COUNT];
};

static struct world {
    uint64_t now_us;
    uint32_t proxies;
    uint32_t nodes;   /* of the configuration */
    uint32_t spare;   /* nodes beside them, and there are PLACES places */
    uint32_t workers; /* of each proxy */
    struct proxy proxy[PROXIES];
    struct model model[NODES];
    bool is_node_alive[NODES];
    bool is_node_frozen[NODES];
    uint64_t node_since_us[NODES]; /* when it was started or thawed */
    bool is_cut[PROXIES][NODES];   /* the proxy does not reach the node */
    uint64_t node_commands[NODES];
    struct queue queue;
    uint64_t conns;
    uint64_t pids;
    uint64_t steps;
    uint64_t fill_us;
    bool is_fill_failing;
    bool is_dump_refused;
    uint64_t warm_for_us; /* of proxies started from now on */
    uint32_t split_fills; /* that forget what two sides did */
    bool knows_tokens;    /* nodes started from now on */
    uint64_t healing_us;  /* a lease; more where writes are given up when a split heals */
} world;

static const struct slice node_names[PLACES] = {SLICE_INIT("a"), SLICE_INIT("b"), SLICE_INIT("c"),
                                                SLICE_INIT("d"), SLICE_INIT(""),  SLICE_INIT("")};
/* The number of the node. */
static const struct slice node_addresses[PLACES] = {SLICE_INIT("0"), SLICE_INIT("1"),
                                                    SLICE_INIT("2"), SLICE_INIT("3")};
static struct slice names_of_pool[PLACES];

static inline uint32_t places(void)
{
    return world.spare > 0 ? (uint32_t)PLACES : world.nodes;
}

/* The fill lies in the memory of its proxy, and so tells which it is. */
static inline uint32_t node_of(const struct fill *fill, uint32_t place)
{
    for (uint32_t p = 0; p < PROXIES; p++) {
        const struct proxy *proxy = &world.proxy[p];
        const char *at = (const char *)fill;
        if (proxy->is_alive && at >= proxy->memory && at < proxy->memory + proxy->memory_bytes) {
            return proxy->node_at[place];
        }
    }
    ck_abort_msg("a fill without a proxy");
}

void fill_start(struct fill *fill, const struct fill_plan *plan, uint64_t now_us)
{
    ck_assert(fill->state == FILL_IDLE || fill->state == FILL_DONE || fill->state == FILL_FAILED);
    ck_assert_uint_eq(plan->topology->leaders & node_set_of(plan->target), 0);
    ck_assert_uint_ne(plan->topology->chained & node_set_of(plan->target), 0);
    *fill = (struct fill){.state = FILL_COPYING, .plan = *plan, .done_us = now_us + world.fill_us};
    world.split_fills += plan->split_of.pid == world.model[node_of(fill, plan->target)].pid;
    struct store *store = &world.model[node_of(fill, plan->target)].store;
    store_flush(store, 0);
    fill->identity =
        (struct identity){.pid = world.model[node_of(fill, plan->target)].pid,
                          .started_s = (uint64_t)(store->wall_s - (store_now(store) - 60)),
                          .flushes = store->flushes};
}

void fill_tick(struct fill *fill, uint64_t now_us)
{
    if (fill->state != FILL_COPYING) {
        return;
    }
    if (!world.is_node_alive[node_of(fill, fill->plan.target)] || world.is_fill_failing) {
        fill->state = FILL_FAILED;
    } else if (now_us >= fill->done_us) {
        fill->state = world.is_dump_refused ? FILL_FAILED : FILL_DONE;
        fill->is_refused = world.is_dump_refused;
    }
}

/* --- The world --- */

static inline void put(enum event_type type, uint32_t proxy, uint32_t wire, uint64_t number,
                       uint64_t us)
{
    struct queue_event event = {
        .at_us = world.now_us + us, .type = type, .a = proxy, .b = wire, .c = number};
    queue_put(&world.queue, &event);
}

static inline void take_actions(uint32_t p);

static inline void node_run(uint32_t node, struct conn *conn)
{
    struct model *model = &world.model[node];
    model->store.wall_s = WALL_S + (int64_t)(world.now_us / 1000000);
    while (model_run(model, &conn->peer)) {
        world.node_commands[node]++;
    }
}

static inline void node_start(uint32_t node)
{
    world.model[node].store.knows_tokens = world.knows_tokens;
    model_start(&world.model[node], ++world.pids, WALL_S + (int64_t)(world.now_us / 1000000) - 100);
    world.is_node_alive[node] = true;
    world.node_since_us[node] = world.now_us;
}

static inline void conn_drop(struct conn *conn)
{
    model_conn_fini(&world.model[conn->node], &conn->peer);
    bytes_free(&conn->peer.in);
    bytes_free(&conn->peer.out);
    bytes_free(&conn->out);
    *conn = (struct conn){0};
}

static inline void node_kill(uint32_t node)
{
    world.is_node_alive[node] = false;
    for (uint32_t p = 0; p < PROXIES; p++) {
        for (uint32_t wire = 0; wire < WIRES; wire++) {
            struct conn *conn = &world.proxy[p].conns[wire];
            if (conn->is_used && conn->node == node) {
                put(EVENT_CLOSED, p, wire, conn->number, HOP_US);
            }
        }
    }
    model_free(&world.model[node]);
}

/* From now on proxy P and NODE reach each other no more; or again. */
static inline void cut(uint32_t p, uint32_t node)
{
    world.is_cut[p][node] = true;
    for (uint32_t wire = 0; wire < WIRES; wire++) {
        struct conn *conn = &world.proxy[p].conns[wire];
        if (conn->is_used && conn->node == node) {
            put(EVENT_CLOSED, p, wire, conn->number, HOP_US);
        }
    }
}

static inline void heal(uint32_t p, uint32_t node)
{
    world.is_cut[p][node] = false;
}

static inline void node_freeze(uint32_t node)
{
    world.is_node_frozen[node] = true;
}

static inline void node_thaw(uint32_t node)
{
    if (!world.is_node_frozen[node]) {
        return;
    }
    world.is_node_frozen[node] = false;
    world.node_since_us[node] = world.now_us;
    for (uint32_t p = 0; p < PROXIES; p++) {
        for (uint32_t wire = 0; wire < WIRES; wire++) {
            struct conn *conn = &world.proxy[p].conns[wire];
            if (conn->is_used && conn->node == node) {
                put(EVENT_TO_NODE, p, wire, conn->number, 1);
            }
        }
    }
}

static inline struct control_options options_of(uint32_t p)
{
    for (uint32_t node = 0; node < PLACES; node++) {
        names_of_pool[node] = node < world.nodes ? node_names[node] : SLICE("");
    }
    return (struct control_options){
        .names = {.pool = SLICE("pool"), .node_count = places(), .nodes = names_of_pool},
        .addresses = node_addresses,
        .worker_count = world.workers,
        .nonce = 1000 + p,
        .wall_ms = WALL_S * UINT64_C(1000),
        .config_hash = 77,
        .interval_us = 200000,
        .timeout_us = 100000,
        .lease_us = 1000000,
        .request_timeout_us = 2500000,
        .hold_down_max_us = 60000000,
        .fall = 3,
        .rise = 2,
        .verify = {.node_count = places()},
        .warm_for_us = world.warm_for_us,
    };
}

static inline void proxy_start_with(uint32_t p, const struct control_options *options)
{
    struct proxy *proxy = &world.proxy[p];
    *proxy = (struct proxy){.is_alive = true};
    for (uint32_t node = 0; node < PLACES; node++) {
        proxy->node_at[node] = node;
    }
    size_t bytes = control_bytes(options);
    proxy->memory_bytes = bytes;
    proxy->memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(proxy->memory, 0, bytes);
    proxy->control = control_init(proxy->memory, options, world.now_us);
    world.proxies = p + 1 > world.proxies ? p + 1 : world.proxies;
    take_actions(p);
}

static inline void proxy_start(uint32_t p)
{
    struct control_options options = options_of(p);
    proxy_start_with(p, &options);
}

static inline void proxy_kill(uint32_t p)
{
    struct proxy *proxy = &world.proxy[p];
    for (uint32_t wire = 0; wire < WIRES; wire++) {
        if (proxy->conns[wire].is_used) {
            conn_drop(&proxy->conns[wire]);
        }
    }
    bytes_free(&proxy->backlog);
    free(proxy->memory);
    *proxy = (struct proxy){0};
}

static inline void world_start(uint32_t nodes)
{
    world = (struct world){.nodes = nodes,
                           .workers = WORKERS,
                           .now_us = 5000000,
                           .pids = 100,
                           .fill_us = 300000,
                           .healing_us = 1000000};
    stand_in = (struct stand_in){.verify_us = UINT64_MAX / 2};
    for (uint32_t node = 0; node < nodes; node++) {
        node_start(node);
    }
}

static inline void world_end(void)
{
    for (uint32_t p = 0; p < PROXIES; p++) {
        if (world.proxy[p].is_alive) {
            proxy_kill(p);
        }
    }
    for (uint32_t node = 0; node < NODES; node++) {
        if (world.is_node_alive[node]) {
            ck_assert_msg(world.model[node].is_understanding, "%s", world.model[node].puzzle);
            model_free(&world.model[node]);
        }
    }
    queue_free(&world.queue);
}

static inline void take_wire(uint32_t p, const struct wire_action *action)
{
    struct proxy *proxy = &world.proxy[p];
    struct conn *conn = &proxy->conns[action->wire];
    struct slice pieces[2];
    switch (action->type) {
    case WIRE_CONNECT:
        ck_assert(!conn->is_used);
        *conn = (struct conn){
            .is_used = true, .number = ++world.conns, .node = proxy->node_at[action->node]};
        put(EVENT_OPEN, p, action->wire, conn->number, 2 * HOP_US);
        break;
    case WIRE_WRITE: {
        size_t count = control_gather(proxy->control, action->wire, pieces, 2);
        size_t len = 0;
        for (size_t i = 0; i < count; i++) {
            bytes_put(&conn->out, pieces[i]);
            len += pieces[i].len;
        }
        put(EVENT_TO_NODE, p, action->wire, conn->number, HOP_US);
        struct wire_event wrote = {
            .type = WIRE_WROTE, .wire = action->wire, .wrote = (uint32_t)len};
        control_wire(proxy->control, &wrote, world.now_us);
        break;
    }
    case WIRE_CLOSE:
        if (conn->is_used) {
            conn_drop(conn);
        }
        break;
    case WIRE_FINISH:
        ck_abort_msg("the verify here has no wires");
    }
}

static inline void take_action(uint32_t p, const struct control_action *action)
{
    struct proxy *proxy = &world.proxy[p];
    switch (action->type) {
    case CONTROL_ACTION_PLACE:
        ck_assert_uint_ge(action->address.len, 1);
        proxy->node_at[action->node] = (uint32_t)(action->address.ptr[0] - '0') % NODES;
        break;
    case CONTROL_ACTION_WIRE:
        take_wire(p, &action->wire);
        break;
    case CONTROL_ACTION_HOLD:
        ck_assert_uint_gt(action->topology->serial, proxy->held_serial);
        proxy->held_serial = action->topology->serial;
        for (uint32_t w = 0; w < world.workers && !proxy->is_draining_slowly; w++) {
            put(EVENT_DRAINED, p, w, action->topology->serial, WORKER_US);
        }
        break;
    case CONTROL_ACTION_ADOPT:
        proxy->adopted = *action->topology;
        proxy->has_adopted = true;
        for (uint32_t w = 0; w < world.workers && !proxy->is_adopting_slowly; w++) {
            put(EVENT_ADOPTED, p, w, action->topology->serial, WORKER_US);
        }
        break;
    case CONTROL_ACTION_FLUSHED:
        proxy->flushed++;
        break;
    case CONTROL_ACTION_DONE:
        proxy->done++;
        proxy->result = action->result;
        break;
    case CONTROL_ACTION_TRACE:
        proxy->traced[action->trace.type]++;
        if (getenv("VERBOSE") != NULL) {
            (void)printf("%9.3f p%u %s node %d proxy %d a %llu b %llu %s\n",
                         (double)action->trace.at_us / 1e3, p, trace_word(action->trace.type),
                         (int)action->trace.node, (int)action->trace.proxy,
                         (unsigned long long)action->trace.a, (unsigned long long)action->trace.b,
                         action->trace.detail);
        }
        break;
    }
}

static inline void take_actions(uint32_t p)
{
    struct control_action action;
    while (control_next_action(world.proxy[p].control, &action)) {
        ck_assert_uint_lt(++world.steps, STEPS_MAX);
        take_action(p, &action);
    }
    world.proxy[p].deadline_us = control_next_deadline_us(world.proxy[p].control);
}

static inline void report(uint32_t p, enum control_report_type type, uint32_t worker,
                          uint64_t serial)
{
    struct control_report r = {.type = type, .worker = worker, .serial = serial};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

static inline void run_wire_event(const struct queue_event *event)
{
    struct proxy *proxy = &world.proxy[event->a];
    struct conn *conn = &proxy->conns[event->b];
    if (!conn->is_used || conn->number != event->c) {
        return;
    }
    uint32_t node = conn->node;
    struct wire_event out = {.wire = event->b, .end = WIRE_END_RESET};
    switch ((enum event_type)event->type) {
    case EVENT_OPEN:
        out.type =
            world.is_node_alive[node] && !world.is_cut[event->a][node] ? WIRE_OPEN : WIRE_CLOSED;
        conn->open_us = world.now_us;
        out.end = WIRE_END_REFUSED;
        break;
    case EVENT_TO_NODE:
        if (world.is_node_alive[node] && !world.is_node_frozen[node] &&
            !world.is_cut[event->a][node]) {
            bytes_put(&conn->peer.in, bytes_slice(&conn->out));
            bytes_clear(&conn->out);
            node_run(node, conn);
            put(EVENT_TO_PROXY, event->a, event->b, event->c, HOP_US);
        }
        return;
    case EVENT_TO_PROXY: {
        struct bytes text = conn->peer.out;
        conn->peer.out = (struct bytes){0};
        if (text.len > 0) {
            out.type = WIRE_BYTES;
            out.bytes = bytes_slice(&text);
            control_wire(proxy->control, &out, world.now_us);
            take_actions(event->a);
        }
        bytes_free(&text);
        return;
    }
    case EVENT_CLOSED:
        out.type = WIRE_CLOSED;
        break;
    case EVENT_DRAINED:
    case EVENT_ADOPTED:
        return;
    }
    if (out.type == WIRE_CLOSED) {
        conn_drop(conn);
    }
    control_wire(proxy->control, &out, world.now_us);
    take_actions(event->a);
}

static inline void run_event(const struct queue_event *event)
{
    struct proxy *proxy = &world.proxy[event->a];
    if (!proxy->is_alive) {
        return;
    }
    if (proxy->is_paused && event->type != EVENT_TO_NODE) {
        bytes_put(&proxy->backlog, slice_of((const char *)event, sizeof *event));
        return;
    }
    if (event->type == EVENT_DRAINED) {
        report(event->a, CONTROL_REPORT_DRAINED, event->b, event->c);
    } else if (event->type == EVENT_ADOPTED) {
        report(event->a, CONTROL_REPORT_ADOPTED, event->b, event->c);
    } else {
        run_wire_event(event);
    }
}

static inline void proxy_pause(uint32_t p)
{
    world.proxy[p].is_paused = true;
}

static inline void proxy_resume(uint32_t p)
{
    struct proxy *proxy = &world.proxy[p];
    proxy->is_paused = false;
    struct bytes backlog = proxy->backlog;
    proxy->backlog = (struct bytes){0};
    for (size_t at = 0; at + sizeof(struct queue_event) <= backlog.len;
         at += sizeof(struct queue_event)) {
        struct queue_event event;
        memcpy(&event, backlog.ptr + at, sizeof event);
        run_event(&event);
    }
    bytes_free(&backlog);
}

static inline bool is_common(const struct conn *conn, uint64_t since_us)
{
    uint64_t old_us = world.now_us - world.healing_us;
    return conn->open_us != 0 && conn->open_us <= old_us && since_us <= old_us;
}

/* Proxies that have reached no node in common for so long are on two sides of a split: nothing is
 * promised. */
static inline bool is_split(const struct proxy *a, const struct proxy *b)
{
    for (uint32_t i = 0; i < places(); i++) {
        for (uint32_t j = 0; j < places(); j++) {
            uint32_t node = a->conns[i].node;
            if (node == b->conns[j].node && world.is_node_alive[node] &&
                !world.is_node_frozen[node] && is_common(&a->conns[i], world.node_since_us[node]) &&
                is_common(&b->conns[j], world.node_since_us[node])) {
                return false;
            }
        }
    }
    return true;
}

/* Who need not settle writes alone. */
static void check_alone(const struct proxy *a, const struct proxy *b)
{
    bool may_both = !a->adopted.is_read_only && !b->adopted.is_read_only;
    ck_assert(!may_both || (a->adopted.is_settling && b->adopted.is_settling));
}

/* What must hold at every moment: whoever may act acts on the same view, or others hold. */
static inline void check_always(void)
{
    for (uint32_t p = 0; p < world.proxies; p++) {
        const struct proxy *a = &world.proxy[p];
        if (!a->is_alive || control_lease_until_us(a->control) <= world.now_us) {
            continue;
        }
        for (uint32_t q = 0; q < p; q++) {
            const struct proxy *b = &world.proxy[q];
            if (!b->is_alive || control_lease_until_us(b->control) <= world.now_us ||
                is_split(a, b)) {
                continue;
            }
            if (a->adopted.epoch == b->adopted.epoch) {
                check_alone(a, b);
                continue;
            }
            const struct proxy *older = a->adopted.epoch < b->adopted.epoch ? a : b;
            /* The one behind must be holding for the other's view or a later one, or a flush. */
            ck_assert(older->held_serial > older->adopted.serial || older->adopted.is_holding);
        }
    }
}

static inline bool world_step(uint64_t until_us)
{
    ck_assert_uint_lt(++world.steps, STEPS_MAX);
    uint64_t next_us = world.queue.count > 0 ? world.queue.heap[0].at_us : UINT64_MAX;
    uint32_t ticking = PROXIES;
    for (uint32_t p = 0; p < world.proxies; p++) {
        const struct proxy *proxy = &world.proxy[p];
        if (proxy->is_alive && !proxy->is_paused && proxy->deadline_us < next_us) {
            next_us = proxy->deadline_us;
            ticking = p;
        }
    }
    if (next_us > until_us) {
        world.now_us = until_us;
        return false;
    }
    world.now_us = next_us > world.now_us ? next_us : world.now_us;
    if (ticking < PROXIES) {
        control_tick(world.proxy[ticking].control, world.now_us);
        take_actions(ticking);
    } else {
        struct queue_event event;
        ck_assert(queue_take(&world.queue, &event));
        run_event(&event);
    }
    check_always();
    return true;
}

static inline void pass(uint64_t us)
{
    uint64_t until_us = world.now_us + us;
    while (world_step(until_us)) {
    }
}

static struct control_snapshot snap;

static inline const struct control_snapshot *see(uint32_t p)
{
    control_snapshot(world.proxy[p].control, &snap, world.now_us);
    return &snap;
}

#define WAIT(condition, us)                                                                        \
    do {                                                                                           \
        uint64_t wait_until_us = world.now_us + (us);                                              \
        while (!(condition)) {                                                                     \
            ck_assert_msg(world_step(wait_until_us), "%s did not come", #condition);               \
        }                                                                                          \
    } while (0)

static inline bool is_serving(uint32_t p)
{
    return see(p)->state == CONTROL_SERVING;
}

static inline bool is_data(uint32_t p, uint32_t node, enum node_data data)
{
    return is_serving(p) && see(p)->nodes[node].data == data;
}

static inline uint32_t splits_healed(void)
{
    return world.proxy[0].traced[TRACE_SPLIT_HEALED] + world.proxy[1].traced[TRACE_SPLIT_HEALED];
}

static inline bool is_one_view(uint32_t proxies, uint32_t complete)
{
    for (uint32_t p = 0; p < proxies; p++) {
        if (!is_serving(p) || world.proxy[p].adopted.complete != complete ||
            world.proxy[p].adopted.view_hash != world.proxy[0].adopted.view_hash) {
            return false;
        }
    }
    return true;
}

#define SECOND UINT64_C(1000000)

static inline void start_serving(uint32_t nodes, uint32_t proxies)
{
    world_start(nodes);
    for (uint32_t p = 0; p < proxies; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
}

static inline enum control_result command(uint32_t p, enum control_command_type type, uint32_t node,
                                          bool is_forced)
{
    struct control_command c = {.type = type, .ticket = 9, .node = node, .is_forced = is_forced};
    uint32_t before = world.proxy[p].done;
    control_command(world.proxy[p].control, &c, world.now_us);
    take_actions(p);
    WAIT(world.proxy[p].done > before, 4 * SECOND);
    return world.proxy[p].result;
}

#endif
