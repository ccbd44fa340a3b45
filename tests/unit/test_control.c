/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control against model nodes in simulated time: up to three proxies, three nodes. Only the
 * fill and the verify are stand-ins: they are done after a while. Each test is a story told in
 * waits.
 */
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
    NODES = 3,
    WORKERS = 2,
    WIRES = CONTROL_WIRE_COUNT(NODES),
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
    void *memory;
    bool is_alive;
    bool is_paused;
    struct conn conns[WIRES];
    struct bytes backlog;    /* struct queue_event: what came while it was paused */
    struct topology adopted; /* the latest */
    bool has_adopted;
    uint64_t deadline_us;
    bool is_draining_slowly; /* DRAINED is not reported */
    uint64_t held_serial;
    uint32_t flushed;
    uint32_t done;
    enum control_result result;
    uint32_t traced[TRACE_TYPE_COUNT];
};

static struct world {
    uint64_t now_us;
    uint32_t proxies;
    uint32_t nodes;
    struct proxy proxy[PROXIES];
    struct model model[NODES];
    bool is_node_alive[NODES];
    bool is_node_frozen[NODES];
    uint64_t node_since_us[NODES]; /* when it was started or thawed */
    uint64_t node_commands[NODES];
    struct queue queue;
    uint64_t conns;
    uint64_t pids;
    uint64_t steps;
    uint64_t fill_us;
    bool is_fill_failing;
    bool knows_tokens; /* nodes started from now on */
} world;

static const struct slice node_names[] = {SLICE_INIT("a"), SLICE_INIT("b"), SLICE_INIT("c")};

void fill_start(struct fill *fill, const struct fill_plan *plan, uint64_t now_us)
{
    ck_assert(fill->state == FILL_IDLE || fill->state == FILL_DONE || fill->state == FILL_FAILED);
    ck_assert_uint_eq(plan->topology->leaders & node_set_of(plan->target), 0);
    ck_assert_uint_ne(plan->topology->chained & node_set_of(plan->target), 0);
    *fill = (struct fill){.state = FILL_COPYING, .plan = *plan, .done_us = now_us + world.fill_us};
    struct store *store = &world.model[plan->target].store;
    store_flush(store, 0);
    fill->identity =
        (struct identity){.pid = world.model[plan->target].pid,
                          .started_s = (uint64_t)(store->wall_s - (store_now(store) - 60)),
                          .flushes = store->flushes};
}

void fill_tick(struct fill *fill, uint64_t now_us)
{
    if (fill->state != FILL_COPYING) {
        return;
    }
    if (!world.is_node_alive[fill->plan.target] || world.is_fill_failing) {
        fill->state = FILL_FAILED;
    } else if (now_us >= fill->done_us) {
        fill->state = FILL_DONE;
    }
}

/* --- The world --- */

static void put(enum event_type type, uint32_t proxy, uint32_t wire, uint64_t number, uint64_t us)
{
    struct queue_event event = {
        .at_us = world.now_us + us, .type = type, .a = proxy, .b = wire, .c = number};
    queue_put(&world.queue, &event);
}

static void take_actions(uint32_t p);

static void node_run(uint32_t node, struct conn *conn)
{
    struct model *model = &world.model[node];
    model->store.wall_s = WALL_S + (int64_t)(world.now_us / 1000000);
    while (model_run(model, &conn->peer)) {
        world.node_commands[node]++;
    }
}

static void node_start(uint32_t node)
{
    world.model[node].store.knows_tokens = world.knows_tokens;
    model_start(&world.model[node], ++world.pids, WALL_S + (int64_t)(world.now_us / 1000000) - 100);
    world.is_node_alive[node] = true;
    world.node_since_us[node] = world.now_us;
}

static void conn_drop(struct conn *conn)
{
    model_conn_fini(&world.model[conn->node], &conn->peer);
    bytes_free(&conn->peer.in);
    bytes_free(&conn->peer.out);
    bytes_free(&conn->out);
    *conn = (struct conn){0};
}

static void node_kill(uint32_t node)
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

static void node_freeze(uint32_t node)
{
    world.is_node_frozen[node] = true;
}

static void node_thaw(uint32_t node)
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

static struct control_options options_of(uint32_t p)
{
    return (struct control_options){
        .names = {.pool = SLICE("pool"), .node_count = world.nodes, .nodes = node_names},
        .worker_count = WORKERS,
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
        .verify = {.node_count = world.nodes},
    };
}

static void proxy_start_with(uint32_t p, const struct control_options *options)
{
    struct proxy *proxy = &world.proxy[p];
    *proxy = (struct proxy){.is_alive = true};
    size_t bytes = control_bytes(options);
    proxy->memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    memset(proxy->memory, 0, bytes);
    proxy->control = control_init(proxy->memory, options, world.now_us);
    world.proxies = p + 1 > world.proxies ? p + 1 : world.proxies;
    take_actions(p);
}

static void proxy_start(uint32_t p)
{
    struct control_options options = options_of(p);
    proxy_start_with(p, &options);
}

static void proxy_kill(uint32_t p)
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

static void world_start(uint32_t nodes)
{
    world = (struct world){.nodes = nodes, .now_us = 5000000, .pids = 100, .fill_us = 300000};
    stand_in = (struct stand_in){.verify_us = UINT64_MAX / 2};
    for (uint32_t node = 0; node < nodes; node++) {
        node_start(node);
    }
}

static void world_end(void)
{
    for (uint32_t p = 0; p < PROXIES; p++) {
        if (world.proxy[p].is_alive) {
            proxy_kill(p);
        }
    }
    for (uint32_t node = 0; node < world.nodes; node++) {
        if (world.is_node_alive[node]) {
            ck_assert_msg(world.model[node].is_understanding, "%s", world.model[node].puzzle);
            model_free(&world.model[node]);
        }
    }
    queue_free(&world.queue);
}

static void take_wire(uint32_t p, const struct wire_action *action)
{
    struct proxy *proxy = &world.proxy[p];
    struct conn *conn = &proxy->conns[action->wire];
    struct slice pieces[2];
    switch (action->type) {
    case WIRE_CONNECT:
        ck_assert(!conn->is_used);
        *conn = (struct conn){.is_used = true, .number = ++world.conns, .node = action->node};
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

static void take_action(uint32_t p, const struct control_action *action)
{
    struct proxy *proxy = &world.proxy[p];
    switch (action->type) {
    case CONTROL_ACTION_WIRE:
        take_wire(p, &action->wire);
        break;
    case CONTROL_ACTION_HOLD:
        ck_assert_uint_gt(action->topology->serial, proxy->held_serial);
        proxy->held_serial = action->topology->serial;
        for (uint32_t w = 0; w < WORKERS && !proxy->is_draining_slowly; w++) {
            put(EVENT_DRAINED, p, w, action->topology->serial, WORKER_US);
        }
        break;
    case CONTROL_ACTION_ADOPT:
        proxy->adopted = *action->topology;
        proxy->has_adopted = true;
        for (uint32_t w = 0; w < WORKERS; w++) {
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

static void take_actions(uint32_t p)
{
    struct control_action action;
    while (control_next_action(world.proxy[p].control, &action)) {
        ck_assert_uint_lt(++world.steps, STEPS_MAX);
        take_action(p, &action);
    }
    world.proxy[p].deadline_us = control_next_deadline_us(world.proxy[p].control);
}

static void report(uint32_t p, enum control_report_type type, uint32_t worker, uint64_t serial)
{
    struct control_report r = {.type = type, .worker = worker, .serial = serial};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

static void run_wire_event(const struct queue_event *event)
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
        out.type = world.is_node_alive[node] ? WIRE_OPEN : WIRE_CLOSED;
        conn->open_us = world.now_us;
        out.end = WIRE_END_REFUSED;
        break;
    case EVENT_TO_NODE:
        if (world.is_node_alive[node] && !world.is_node_frozen[node]) {
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

static void run_event(const struct queue_event *event)
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

static void proxy_pause(uint32_t p)
{
    world.proxy[p].is_paused = true;
}

static void proxy_resume(uint32_t p)
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

static bool is_common(const struct conn *conn, uint64_t since_us)
{
    uint64_t old_us = world.now_us - 1000000; /* a lease ago */
    return conn->open_us != 0 && conn->open_us <= old_us && since_us <= old_us;
}

/* Proxies that have reached no node in common for a lease are on two sides of a split: nothing is
 * promised. */
static bool is_split(const struct proxy *a, const struct proxy *b)
{
    for (uint32_t node = 0; node < world.nodes; node++) {
        if (world.is_node_alive[node] && !world.is_node_frozen[node] &&
            is_common(&a->conns[node], world.node_since_us[node]) &&
            is_common(&b->conns[node], world.node_since_us[node])) {
            return false;
        }
    }
    return true;
}

/* What must hold at every moment: whoever may act acts on the same view, or others hold. */
static void check_always(void)
{
    for (uint32_t p = 0; p < world.proxies; p++) {
        const struct proxy *a = &world.proxy[p];
        if (!a->is_alive || control_lease_until_us(a->control) <= world.now_us) {
            continue;
        }
        for (uint32_t q = 0; q < p; q++) {
            const struct proxy *b = &world.proxy[q];
            if (!b->is_alive || control_lease_until_us(b->control) <= world.now_us ||
                a->adopted.epoch == b->adopted.epoch || is_split(a, b)) {
                continue;
            }
            const struct proxy *older = a->adopted.epoch < b->adopted.epoch ? a : b;
            /* The one behind must be holding for the other's view or a later one. */
            ck_assert_uint_gt(older->held_serial, older->adopted.serial);
        }
    }
}

static bool world_step(uint64_t until_us)
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

static void pass(uint64_t us)
{
    uint64_t until_us = world.now_us + us;
    while (world_step(until_us)) {
    }
}

static struct control_snapshot snap;

static const struct control_snapshot *see(uint32_t p)
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

static bool is_serving(uint32_t p)
{
    return see(p)->state == CONTROL_SERVING;
}

static bool is_data(uint32_t p, uint32_t node, enum node_data data)
{
    return is_serving(p) && see(p)->nodes[node].data == data;
}

#define SECOND UINT64_C(1000000)

static void start_serving(uint32_t nodes, uint32_t proxies)
{
    world_start(nodes);
    for (uint32_t p = 0; p < proxies; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
}

static enum control_result command(uint32_t p, enum control_command_type type, uint32_t node,
                                   bool is_forced)
{
    struct control_command c = {.type = type, .ticket = 9, .node = node, .is_forced = is_forced};
    uint32_t before = world.proxy[p].done;
    control_command(world.proxy[p].control, &c, world.now_us);
    take_actions(p);
    WAIT(world.proxy[p].done > before, 4 * SECOND);
    return world.proxy[p].result;
}

/* --- Stories --- */

START_TEST(first_start_kill_and_fill)
{
    world_start(2);
    proxy_start(0);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), 0);
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_ge(world.now_us - 5000000, 400000);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 3);
    ck_assert(world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(see(0)->epoch, 1);
    pass(SECOND);
    ck_assert_uint_eq(see(0)->view_changes, 1);

    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 1);
    pass(SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING), 3 * SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.chained, 2);
    WAIT(is_data(0, 1, NODE_DATA_COMPLETE), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 3);
    ck_assert(!world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(see(0)->fills_done, 1);
    pass(5 * SECOND);
    ck_assert_uint_eq(see(0)->epoch, 4);
    ck_assert_uint_eq(see(0)->leases_lapsed, 0);
    world_end();
}
END_TEST

static bool is_one_view(uint32_t proxies, uint32_t complete)
{
    for (uint32_t p = 0; p < proxies; p++) {
        if (!is_serving(p) || world.proxy[p].adopted.complete != complete ||
            world.proxy[p].adopted.view_hash != world.proxy[0].adopted.view_hash) {
            return false;
        }
    }
    return true;
}

START_TEST(first_start_with_one_node_dead)
{
    world_start(2);
    node_kill(0);
    proxy_start(0);
    pass(900000);
    ck_assert(!is_serving(0));
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 2);
    node_start(0);
    WAIT(is_one_view(1, 3), 5 * SECOND);
    world_end();
}
END_TEST

START_TEST(second_proxy_joins)
{
    start_serving(2, 2);
    ck_assert_uint_eq(see(1)->epoch, 1);
    ck_assert_uint_eq(see(1)->proxies, 2);
    WAIT(see(0)->proxies == 2, 3 * SECOND);
    ck_assert_uint_ne(see(0)->proxy_id, see(1)->proxy_id);
    pass(10 * SECOND);
    ck_assert_uint_eq(see(0)->epoch, 1);
    ck_assert_uint_eq(see(0)->proxies, 2);
    ck_assert_uint_eq(see(1)->proxies, 2);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_PROXY_GONE], 0);
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_PROXY_GONE], 0);
    world_end();
}
END_TEST

START_TEST(two_proxies_start_at_once)
{
    world_start(2);
    proxy_start(0);
    proxy_start(1);
    WAIT(is_one_view(2, 3), 4 * SECOND);
    pass(3 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_le(see(0)->epoch, 2);
    world_end();
}
END_TEST

START_TEST(same_id_is_taken_by_one)
{
    world_start(2);
    struct control_options options = options_of(0);
    proxy_start(0);
    options.nonce += PROXIES_MAX;
    proxy_start_with(1, &options);
    WAIT(is_one_view(2, 3), 4 * SECOND);
    ck_assert_uint_ne(see(0)->proxy_id, see(1)->proxy_id);
    pass(200 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_eq(see(0)->proxies, 2);
    world_end();
}
END_TEST

START_TEST(node_dies_and_exactly_one_fills)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    pass(SECOND); /* it is down for both */
    node_start(1);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    uint32_t started =
        world.proxy[0].traced[TRACE_FILL_STARTED] + world.proxy[1].traced[TRACE_FILL_STARTED];
    ck_assert_uint_eq(started, 1);
    ck_assert_uint_eq(see(0)->fills_done + see(1)->fills_done, 1);
    world_end();
}
END_TEST

START_TEST(filler_dies_and_the_other_takes_over)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    world.fill_us = 5 * SECOND;
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING) && is_data(1, 1, NODE_DATA_FILLING), 5 * SECOND);
    uint32_t filler = see(0)->nodes[1].is_filled_by_us ? 0 : 1;
    pass(SECOND);
    proxy_kill(filler);
    uint64_t died_us = world.now_us;
    WAIT(see(1 - filler)->nodes[1].is_filled_by_us, 3 * SECOND);
    ck_assert_uint_ge(world.now_us - died_us, 700000);
    WAIT(is_data(1 - filler, 1, NODE_DATA_COMPLETE), 6 * SECOND);
    ck_assert_uint_eq(see(1 - filler)->proxies, 1);
    world_end();
}
END_TEST

START_TEST(fast_restart_is_noticed)
{
    start_serving(2, 2);
    pass(SECOND);
    node_kill(0);
    node_start(0);
    WAIT(is_one_view(2, 2), SECOND);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    ck_assert_uint_ge(
        world.proxy[0].traced[TRACE_NODE_IDENTITY] + world.proxy[1].traced[TRACE_NODE_IDENTITY], 1);
    world_end();
}
END_TEST

START_TEST(third_party_flush_is_noticed)
{
    start_serving(2, 1);
    pass(SECOND);
    store_flush(&world.model[1].store, 0);
    WAIT(is_one_view(1, 1), SECOND);
    WAIT(is_one_view(1, 3), 6 * SECOND);
    world_end();
}
END_TEST

START_TEST(missed_write_is_not_waited_for)
{
    start_serving(2, 2);
    pass(SECOND);
    node_freeze(1);
    uint64_t frozen_us = world.now_us;
    struct control_report missed = {
        .type = CONTROL_REPORT_MISSED, .node = 1, .end = WIRE_END_TIMEOUT};
    control_report(world.proxy[0].control, &missed, world.now_us);
    take_actions(0);
    WAIT(world.proxy[0].adopted.complete == 1 && is_serving(0), SECOND);
    ck_assert_uint_le(world.now_us - frozen_us, 300000);
    node_thaw(1);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    world_end();
}
END_TEST

START_TEST(operator_commands)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 0, false), CONTROL_RESULT_UNCHANGED);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 0, false), CONTROL_RESULT_OK);
    ck_assert_uint_eq(world.proxy[0].adopted.leaders, 2);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 3);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_DRAIN, 1, false), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 0, false), CONTROL_RESULT_OK);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 0, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(2, 2), SECOND);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_MAINT, 1, false), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_RESYNC, 1, false), CONTROL_RESULT_LAST_COPY);
    pass(3 * SECOND);
    ck_assert(is_one_view(2, 2));
    ck_assert_int_eq(command(1, CONTROL_COMMAND_READY, 0, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(2, 3), 5 * SECOND);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_RESYNC, 0, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(2, 3), 5 * SECOND);
    ck_assert_uint_eq(
        world.proxy[0].traced[TRACE_FILL_DONE] + world.proxy[1].traced[TRACE_FILL_DONE], 2);
    world_end();
}
END_TEST

START_TEST(two_operators_never_take_both_copies)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    for (uint32_t p = 0; p < 2; p++) {
        struct control_command c = {.type = CONTROL_COMMAND_MAINT, .ticket = 1, .node = p};
        control_command(world.proxy[p].control, &c, world.now_us);
    }
    take_actions(0);
    take_actions(1);
    WAIT(world.proxy[0].done == 1 && world.proxy[1].done == 1, 4 * SECOND);
    ck_assert_int_eq((world.proxy[0].result == CONTROL_RESULT_OK) +
                         (world.proxy[1].result == CONTROL_RESULT_OK),
                     1);
    ck_assert_int_eq((world.proxy[0].result == CONTROL_RESULT_LAST_COPY) +
                         (world.proxy[1].result == CONTROL_RESULT_LAST_COPY),
                     1);
    world_end();
}
END_TEST

START_TEST(forced_maintenance_of_the_last_copy)
{
    start_serving(2, 1);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 0, false), CONTROL_RESULT_OK);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 1, true), CONTROL_RESULT_OK);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 0);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 1, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(1, 2), 5 * SECOND);
    world_end();
}
END_TEST

START_TEST(lease_lapses_and_is_regained)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    proxy_pause(0);
    uint64_t until_us = control_lease_until_us(world.proxy[0].control);
    ck_assert_uint_le(until_us - world.now_us, 800000);
    pass(1500000);
    node_kill(1);
    /* The other goes on without it once it is dead. */
    WAIT(is_one_view(1, 1) || world.proxy[1].adopted.complete == 1, 4 * SECOND);
    ck_assert_uint_eq(see(1)->proxies, 1);
    proxy_resume(0);
    ck_assert_uint_le(control_lease_until_us(world.proxy[0].control), world.now_us);
    WAIT(is_one_view(2, 1), SECOND);
    ck_assert_uint_ge(see(0)->leases_lapsed, 1);
    ck_assert_uint_ge(world.proxy[0].traced[TRACE_LEASE_REGAINED], 1);
    WAIT(see(1)->proxies == 2, 3 * SECOND);
    world_end();
}
END_TEST

START_TEST(all_nodes_gone_and_back)
{
    start_serving(2, 1);
    node_freeze(0);
    node_freeze(1);
    WAIT(see(0)->state == CONTROL_LAPSED, 2 * SECOND);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), 0);
    pass(5 * SECOND);
    node_thaw(0);
    node_thaw(1);
    WAIT(is_one_view(1, 3), 5 * SECOND);
    ck_assert_uint_eq(see(0)->fills_done, 0);
    world_end();
}
END_TEST

START_TEST(last_copy_is_lost)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    node_kill(0);
    WAIT(is_one_view(2, 2), 2 * SECOND);
    node_kill(1);
    node_start(1);
    WAIT(is_one_view(2, 2) && see(0)->epoch > 3, 6 * SECOND);
    ck_assert(world.proxy[0].adopted.is_young);
    ck_assert_uint_ge(world.proxy[0].traced[TRACE_LAST_COPY_LOST] +
                          world.proxy[1].traced[TRACE_LAST_COPY_LOST],
                      1);
    node_start(0);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    ck_assert(!world.proxy[0].adopted.is_young);
    world_end();
}
END_TEST

START_TEST(frozen_last_copy_is_waited_for)
{
    start_serving(2, 1);
    pass(SECOND);
    node_kill(0);
    WAIT(is_one_view(1, 2), 2 * SECOND);
    node_freeze(1);
    pass(10 * SECOND);
    node_thaw(1);
    WAIT(is_one_view(1, 2), 5 * SECOND);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_LAST_COPY_LOST], 0);
    world_end();
}
END_TEST

static void flush(uint32_t p, uint64_t ticket, int64_t delay_s)
{
    struct control_report r = {
        .type = CONTROL_REPORT_FLUSH, .worker = 1, .ticket = ticket, .delay_s = delay_s};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

START_TEST(flush_with_two_proxies)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    flush(0, 1, 0);
    WAIT(world.proxy[0].flushed == 1, 3 * SECOND);
    ck_assert_uint_eq(world.model[0].store.flushes, 1);
    ck_assert_uint_eq(world.model[1].store.flushes, 1);
    WAIT(is_one_view(2, 3), SECOND);
    ck_assert(!world.proxy[1].adopted.is_holding);
    pass(5 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_eq(see(0)->epoch, 3);
    ck_assert_uint_eq(see(0)->proxies, 2);
    flush(0, 2, 0);
    flush(1, 1, 0);
    WAIT(world.proxy[0].flushed == 2 && world.proxy[1].flushed == 1, 4 * SECOND);
    WAIT(is_one_view(2, 3), SECOND);
    world_end();
}
END_TEST

START_TEST(flusher_dies)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    flush(0, 1, 0);
    WAIT(world.proxy[1].adopted.is_holding, SECOND);
    proxy_kill(0);
    WAIT(!world.proxy[1].adopted.is_holding && is_serving(1), 5 * SECOND);
    ck_assert_uint_ge(world.model[0].store.flushes, 1);
    ck_assert_uint_ge(world.model[1].store.flushes, 1);
    ck_assert_uint_eq(world.proxy[1].adopted.complete, 3);
    world_end();
}
END_TEST

START_TEST(node_that_is_not_flushed_leaves)
{
    start_serving(2, 1);
    pass(SECOND);
    world.proxy[0].is_draining_slowly = true;
    flush(0, 1, 0);
    pass(10000);
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    world.proxy[0].is_draining_slowly = false;
    node_freeze(1);
    report(0, CONTROL_REPORT_DRAINED, 0, world.proxy[0].held_serial);
    report(0, CONTROL_REPORT_DRAINED, 1, world.proxy[0].held_serial);
    WAIT(world.proxy[0].flushed == 1, 3 * SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 1);
    node_thaw(1);
    WAIT(is_one_view(1, 3), 8 * SECOND);
    world_end();
}
END_TEST

START_TEST(proxy_dies_during_a_change)
{
    start_serving(3, 3);
    pass(2 * SECOND);
    world.proxy[2].is_draining_slowly = true;
    node_kill(2);
    WAIT(see(0)->state == CONTROL_CHANGING && see(2)->state == CONTROL_CHANGING, 2 * SECOND);
    pass(300000);
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    proxy_kill(2);
    WAIT(is_one_view(2, 3), 3 * SECOND);
    world_end();
}
END_TEST

/*
 * Proxy 1 dies, and a third comes that can't know it: nodes showed it the dead one's heartbeat.
 * What 0 knows for long enough must do for both, also when a node is emptied meanwhile, which makes
 * the newcomer's own finding worthless.
 */
START_TEST(newcomer_acts_on_what_others_act_on)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 1, false), CONTROL_RESULT_OK);
    proxy_kill(1);
    pass(400000);
    proxy_start(2);
    WAIT(is_serving(2), 2 * SECOND);
    uint64_t begin_us = world.now_us;
    struct control_command ready = {.type = CONTROL_COMMAND_READY, .ticket = 9, .node = 1};
    control_command(world.proxy[0].control, &ready, world.now_us);
    take_actions(0);
    WAIT(is_data(0, 1, NODE_DATA_FILLING), 2 * SECOND);
    WAIT(is_data(2, 1, NODE_DATA_FILLING), 100000);
    ck_assert_uint_lt(world.now_us - begin_us, 1200000);
    world_end();
}
END_TEST

START_TEST(node_dies_during_a_change)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    world.proxy[0].is_draining_slowly = true;
    node_kill(2);
    WAIT(see(0)->state == CONTROL_CHANGING, 2 * SECOND);
    node_kill(1);
    WAIT(see(0)->state == CONTROL_CHANGING && world.proxy[0].held_serial >= 3, 2 * SECOND);
    world.proxy[0].is_draining_slowly = false;
    report(0, CONTROL_REPORT_DRAINED, 0, world.proxy[0].held_serial);
    report(0, CONTROL_REPORT_DRAINED, 1, world.proxy[0].held_serial);
    WAIT(is_one_view(2, 1), SECOND);
    world_end();
}
END_TEST

START_TEST(given_up_connection_holds_up_joining)
{
    start_serving(2, 1);
    pass(SECOND);
    struct control_report r = {.type = CONTROL_REPORT_GIVEN_UP, .worker = 1, .node = 0, .count = 1};
    control_report(world.proxy[0].control, &r, world.now_us);
    take_actions(0);
    struct control_command c = {.type = CONTROL_COMMAND_DRAIN, .node = 0};
    control_command(world.proxy[0].control, &c, world.now_us);
    take_actions(0);
    pass(100000);
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    ck_assert_uint_eq(see(0)->epoch, 1);
    r.count = 0;
    control_report(world.proxy[0].control, &r, world.now_us);
    take_actions(0);
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.leaders, 2);
    world_end();
}
END_TEST

START_TEST(failing_fill_is_tried_again)
{
    start_serving(2, 1);
    pass(SECOND);
    world.is_fill_failing = true;
    node_kill(1);
    node_start(1);
    WAIT(see(0)->fills_failed >= 3, 10 * SECOND);
    ck_assert(is_one_view(1, 1));
    world.is_fill_failing = false;
    WAIT(is_one_view(1, 3), 10 * SECOND);
    world_end();
}
END_TEST

static void hostile(uint32_t node, struct slice key, struct slice text)
{
    uint64_t cas;
    struct store_write write = {.mode = STORE_SET, .key = key, .data = text};
    ck_assert_int_eq(store_put(&world.model[node].store, &write, &cas), STORE_STORED);
}

START_TEST(hostile_views)
{
    static char large[100000];
    memset(large, 'x', sizeof large);
    static const struct slice key = SLICE_INIT("_everwarm:1:pool:view");
    start_serving(2, 1);
    pass(SECOND);
    hostile(0, key, SLICE("nonsense"));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 1);
    hostile(1, key, slice_of(large, sizeof large));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 2);
    hostile(1, key, slice_of("", 0));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 3);

    struct control_options options = options_of(0);
    struct view view = {.epoch = UINT64_C(1) << 40,
                        .proposer = 3,
                        .alone = VIEW_NO_PROXY,
                        .flush_by = VIEW_NO_PROXY,
                        .node_count = 2,
                        .nodes = {{NODE_DATA_OUT, NODE_ADMIN_READY, {0}, VIEW_NO_PROXY},
                                  {NODE_DATA_OUT, NODE_ADMIN_READY, {0}, VIEW_NO_PROXY}}};
    view_seal(&view, &options.names);
    struct mc_writer w = mc_writer_of(large, sizeof large);
    view_emit(&view, &options.names, &w);
    hostile(0, key, slice_of(large, w.len));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 4);
    ck_assert_uint_eq(see(0)->epoch, 1);
    ck_assert(is_one_view(1, 3));
    /* Every node shows our view again. */
    for (uint32_t node = 0; node < 2; node++) {
        struct store_item *item = store_find(&world.model[node].store, key);
        ck_assert_ptr_nonnull(item);
        ck_assert(view_parse(slice_of(item->data, item->len), &options.names, &view));
        ck_assert_uint_eq(view.epoch, 1);
    }
    /* A well-formed one is believed; all out: nothing is left, the pool begins anew. */
    view.epoch = 9;
    view.nodes[0].data = NODE_DATA_OUT;
    view.nodes[1].data = NODE_DATA_OUT;
    view_seal(&view, &options.names);
    w = mc_writer_of(large, sizeof large);
    view_emit(&view, &options.names, &w);
    hostile(0, key, slice_of(large, w.len));
    WAIT(see(0)->epoch >= 9 && is_one_view(1, 3), 10 * SECOND);
    hostile(0, SLICE("_everwarm:1:pool:hb:7"), SLICE("nonsense"));
    hostile(1, SLICE("_everwarm:1:pool:hb:8"), slice_of(large, sizeof large));
    pass(3 * SECOND);
    ck_assert(is_one_view(1, 3));
    ck_assert_uint_eq(see(0)->proxies, 1);
    world_end();
}
END_TEST

/* The view on NODE, with the next epoch. */
static void raise_epoch(uint32_t node)
{
    static const struct slice key = SLICE_INIT("_everwarm:1:pool:view");
    char text[VIEW_BYTES_MAX];
    struct control_options options = options_of(0);
    struct store_item *item = store_find(&world.model[node].store, key);
    ck_assert_ptr_nonnull(item);
    struct view view;
    ck_assert(view_parse(slice_of(item->data, item->len), &options.names, &view));
    view.epoch++;
    view_seal(&view, &options.names);
    struct mc_writer w = mc_writer_of(text, sizeof text);
    view_emit(&view, &options.names, &w);
    hostile(node, key, slice_of(text, w.len));
}

/* Views that come one after the other and never take effect, since one proxy can't drain: more of
 * them than topologies are kept. */
START_TEST(many_views_are_overtaken)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    world.proxy[1].is_draining_slowly = true;
    for (uint32_t i = 0; i < 20; i++) {
        raise_epoch(0);
        pass(250000);
    }
    ck_assert_uint_eq(see(0)->epoch, 1);
    world.proxy[1].is_draining_slowly = false;
    for (uint32_t w = 0; w < WORKERS; w++) {
        report(1, CONTROL_REPORT_DRAINED, w, world.proxy[1].held_serial);
    }
    WAIT(is_one_view(2, 3) && see(0)->epoch > 1, 3 * SECOND);
    world_end();
}
END_TEST

/* The last copy is lost in the moment in which another node answers again and does not count as up:
 * it is not taken and thrown out, again and again. */
START_TEST(rescue_waits_until_the_node_is_up)
{
    start_serving(2, 1);
    pass(SECOND);
    node_kill(0);
    WAIT(is_data(0, 0, NODE_DATA_OUT), SECOND);
    pass(3 * SECOND);
    node_start(0);
    WAIT(see(0)->nodes[0].is_check_ok, 3 * SECOND);
    ck_assert_int_eq(see(0)->nodes[0].oper, NODE_OPER_DOWN);
    uint32_t before = world.proxy[0].traced[TRACE_VIEW_PROPOSED];
    node_kill(1);
    node_start(1);
    pass(2 * HOP_US);
    struct control_report found = {.type = CONTROL_REPORT_IDENTITY, .node = 1};
    control_report(world.proxy[0].control, &found, world.now_us);
    take_actions(0);
    WAIT(is_one_view(1, 3), 10 * SECOND);
    ck_assert_uint_le(world.proxy[0].traced[TRACE_VIEW_PROPOSED] - before, 4);
    world_end();
}
END_TEST

START_TEST(third_party_deletes_everything)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    for (uint32_t node = 0; node < 2; node++) {
        struct store *store = &world.model[node].store;
        for (uint32_t i = 0; i < STORE_BUCKETS; i++) {
            while (store->buckets[i] != NULL) {
                store_drop(store, store->buckets[i]);
            }
        }
    }
    pass(5 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_eq(see(0)->epoch, 1);
    ck_assert_uint_eq(see(0)->proxies, 2);
    world_end();
}
END_TEST

START_TEST(farewell_is_faster_than_the_lease)
{
    start_serving(2, 2);
    pass(3 * SECOND);
    control_leave(world.proxy[1].control, world.now_us);
    take_actions(1);
    WAIT(control_is_gone(world.proxy[1].control), SECOND);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[1].control), 0);
    proxy_kill(1);
    WAIT(see(0)->proxies == 1, 2 * SECOND);
    world_end();
}
END_TEST

START_TEST(other_configuration_keeps_nodes_out)
{
    world_start(2);
    struct control_options options = options_of(1);
    options.config_hash = 78;
    proxy_start(0);
    WAIT(is_serving(0), SECOND);
    proxy_start_with(1, &options);
    WAIT(is_serving(1), 2 * SECOND);
    WAIT(see(0)->proxies == 2, 2 * SECOND);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_POOL_MISMATCH], 1);
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    node_start(1);
    pass(5 * SECOND);
    ck_assert(is_one_view(2, 1));
    proxy_kill(1);
    WAIT(is_one_view(1, 3), 6 * SECOND);
    world_end();
}
END_TEST

START_TEST(flapping_node_is_held_down)
{
    start_serving(2, 1);
    uint64_t waited_us[4];
    for (uint32_t i = 0; i < 4; i++) {
        pass(SECOND);
        node_kill(1);
        node_start(1);
        WAIT(is_data(0, 1, NODE_DATA_OUT), 2 * SECOND);
        uint64_t out_us = world.now_us;
        WAIT(is_data(0, 1, NODE_DATA_FILLING), 10 * SECOND);
        waited_us[i] = world.now_us - out_us;
        WAIT(is_one_view(1, 3), 2 * SECOND);
    }
    ck_assert_uint_lt(waited_us[0], 500000);
    ck_assert_uint_ge(waited_us[1], 1000000);
    ck_assert_uint_ge(waited_us[2], 1500000);
    ck_assert_uint_ge(waited_us[3], 2250000);
    world_end();
}
END_TEST

/* --- Verifies --- */

/* The data that nodes are trusted to have at a first start is compared once, and mended. */
START_TEST(first_start_is_verified)
{
    world_start(2);
    stand_in.verify_us = 400000;
    proxy_start(0);
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, see(0)->proxy_id);
    WAIT(see(0)->verify.is_running, SECOND);
    ck_assert_int_eq(snap.verify.why, CONTROL_VERIFY_DUE);
    ck_assert(stand_in.plan.is_mending && world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(stand_in.plan.node, VERIFY_ALL_NODES);
    ck_assert_int_eq(stand_in.plan.clock_s[1], WALL_S);
    WAIT(!world.proxy[0].adopted.is_young, SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, VIEW_NO_PROXY);
    ck_assert_uint_eq(snap.divergences[VERIFY_KIND_EXTRA], 3);
    ck_assert_uint_eq(snap.repairs, 3);
    pass(10 * SECOND);
    ck_assert_uint_eq(stand_in.begun, 1);
    ck_assert_uint_eq(see(0)->epoch, 2);
    world_end();
}
END_TEST

static void serve_verified(uint32_t proxies)
{
    world_start(2);
    stand_in.verify_us = 100000;
    for (uint32_t p = 0; p < proxies; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY && is_serving(0), 3 * SECOND);
    pass(2 * SECOND); /* all know of each other */
    stand_in.begun = 0;
}

/* Two runs, not before a lease after the death was seen; a farewell is no death. */
START_TEST(death_of_a_proxy_is_followed_by_verifies)
{
    serve_verified(3);
    control_leave(world.proxy[2].control, world.now_us);
    take_actions(2);
    WAIT(see(0)->proxies == 2, 3 * SECOND);
    pass(3 * SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, VIEW_NO_PROXY);
    proxy_kill(1);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
    uint64_t death_us = world.now_us;
    WAIT(stand_in.begun == 1, 3 * SECOND);
    ck_assert_uint_ge(stand_in.begun_us, death_us + SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, see(0)->proxy_id);
    WAIT(stand_in.begun == 2, 2 * SECOND);
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY, SECOND);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun, 2);
    world_end();
}
END_TEST

START_TEST(verify_outlives_who_did_it)
{
    serve_verified(3);
    stand_in.verify_us = UINT64_MAX / 2;
    proxy_kill(2);
    WAIT(stand_in.begun == 1, 5 * SECOND);
    uint32_t doer = see(0)->verify_due_by == snap.proxy_id ? 0 : 1;
    stand_in.verify_us = 100000;
    proxy_kill(doer);
    WAIT(see(1 - doer)->verify_due_by == snap.proxy_id, 5 * SECOND);
    WAIT(stand_in.begun == 3, 5 * SECOND);
    WAIT(see(1 - doer)->verify_due_by == VIEW_NO_PROXY, SECOND);
    world_end();
}
END_TEST

static enum control_result ask_verify(uint32_t node, uint64_t ticket, bool is_mending)
{
    struct control_command c = {
        .type = CONTROL_COMMAND_VERIFY, .ticket = ticket, .node = node, .is_mending = is_mending};
    control_command(world.proxy[0].control, &c, world.now_us);
    take_actions(0);
    return world.proxy[0].result;
}

/* A change of view waits until it rests, and one that leaves other nodes begins it anew. */
START_TEST(verify_rests_while_views_change)
{
    serve_verified(1);
    stand_in.verify_us = UINT64_MAX / 2;
    ck_assert_int_eq(ask_verify(VERIFY_ALL_NODES, 1, true), CONTROL_RESULT_OK);
    WAIT(see(0)->verify.is_running, SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 1, true), CONTROL_RESULT_OK);
    WAIT(stand_in.begun == 2, SECOND); /* other leaders */
    ck_assert(see(0)->verify.is_running && !stand_in.last->is_held);
    stand_in.is_unruly = true;
    struct control_command ready = {.type = CONTROL_COMMAND_READY, .node = 1, .ticket = 5};
    control_command(world.proxy[0].control, &ready, world.now_us);
    take_actions(0);
    pass(SECOND);
    ck_assert(stand_in.last->is_held);
    ck_assert_int_eq(see(0)->nodes[1].admin, NODE_ADMIN_DRAIN);
    stand_in.is_unruly = false;
    WAIT(see(0)->nodes[1].admin == NODE_ADMIN_READY, SECOND);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 3 * SECOND);
    WAIT(stand_in.begun == 4, SECOND);
    ck_assert_uint_eq(stand_in.plan.topology->complete, 1);
    world_end();
}
END_TEST

START_TEST(verify_on_command)
{
    serve_verified(1);
    stand_in.verify_us = 300000;
    ck_assert_int_eq(ask_verify(1, 70, true), CONTROL_RESULT_OK);
    WAIT(see(0)->verify.is_running, SECOND);
    ck_assert_uint_eq(stand_in.plan.node, 1);
    ck_assert_int_eq(ask_verify(1, 71, true), CONTROL_RESULT_UNCHANGED);
    ck_assert_int_eq(ask_verify(1, 72, false), CONTROL_RESULT_BUSY);
    WAIT(see(0)->verify_asked.ticket == 70, SECOND);
    ck_assert_int_eq(snap.verify_asked.phase, VERIFY_DONE);
    ck_assert_uint_eq(snap.verify_asked.progress.mended, 3);
    stand_in.is_failing = true;
    ck_assert_int_eq(ask_verify(0, 73, false), CONTROL_RESULT_OK);
    WAIT(see(0)->verify_asked.ticket == 73, SECOND);
    ck_assert_int_eq(snap.verify_asked.phase, VERIFY_FAILED);
    ck_assert_str_eq(snap.verify_asked.failure, "node 1: made to fail");
    stand_in.is_failing = false;
    ck_assert_int_eq(ask_verify(1, 74, false), CONTROL_RESULT_OK);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_VERIFY_STOP, 0, false), CONTROL_RESULT_OK);
    WAIT(see(0)->verify_asked.ticket == 74, SECOND);
    ck_assert_str_eq(snap.verify_asked.failure, "stopped");
    ck_assert_int_eq(command(0, CONTROL_COMMAND_VERIFY_STOP, 0, false), CONTROL_RESULT_UNCHANGED);
    world_end();
}
END_TEST

/* What it has given up counts as what workers have: nothing is concluded until its end. */
START_TEST(verify_gives_up_connections)
{
    serve_verified(2);
    stand_in.given_up = node_set_of(1);
    stand_in.clouds = 0;
    stand_in.verify_us = UINT64_MAX / 2;
    ck_assert_int_eq(ask_verify(1, 1, false), CONTROL_RESULT_OK);
    pass(SECOND);
    ck_assert_uint_gt(stand_in.clouds, 10);
    stand_in.given_up = 0;
    pass(SECOND);
    uint32_t clouds = stand_in.clouds;
    pass(SECOND);
    ck_assert_uint_eq(stand_in.clouds, clouds);
    world_end();
}
END_TEST

/* One proxy alone, at its rate, again and again; whatever else is asked for goes first. */
START_TEST(verifies_in_the_background)
{
    world_start(2);
    stand_in.verify_us = 20 * SECOND;
    for (uint32_t p = 0; p < 2; p++) {
        struct control_options options = options_of(p);
        options.is_verify_background = true;
        options.verify_rate_bytes = 2 << 20;
        proxy_start_with(p, &options);
        WAIT(is_serving(p), 3 * SECOND);
    }
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY, 30 * SECOND);
    uint32_t begun = stand_in.begun;
    WAIT(stand_in.begun == begun + 1, 90 * SECOND);
    ck_assert_int_eq(see(0)->verify.why, CONTROL_VERIFY_BACKGROUND);
    ck_assert_uint_eq(stand_in.plan.rate_bytes, 2 << 20);
    ck_assert_uint_eq(stand_in.plan.rate_keys, 8192);
    ck_assert_int_eq(see(1)->verify.why, CONTROL_VERIFY_NONE);
    ck_assert_int_eq(ask_verify(1, 1, false), CONTROL_RESULT_OK);
    WAIT(see(0)->verify.why == CONTROL_VERIFY_ASKED && snap.verify.is_running, SECOND);
    ck_assert_uint_eq(stand_in.plan.rate_bytes, 0);
    WAIT(see(0)->verify.why == CONTROL_VERIFY_BACKGROUND, 90 * SECOND);
    WAIT(!see(0)->verify.is_running, 30 * SECOND);
    uint64_t ended_us = world.now_us;
    WAIT(see(0)->verify.is_running, 90 * SECOND);
    ck_assert_uint_ge(world.now_us - ended_us, 50 * SECOND);
    world_end();
}
END_TEST

START_TEST(lone_node)
{
    world_start(1);
    proxy_start(0);
    ck_assert(world.proxy[0].has_adopted);
    ck_assert(world.proxy[0].adopted.is_lone);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 1);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), UINT64_MAX);
    WAIT(see(0)->nodes[0].oper == NODE_OPER_UP, SECOND);
    flush(0, 5, 0);
    WAIT(world.proxy[0].flushed == 1, SECOND);
    ck_assert_uint_eq(world.model[0].store.flushes, 1);
    node_kill(0);
    WAIT(see(0)->nodes[0].oper == NODE_OPER_DOWN, 2 * SECOND);
    flush(0, 6, 3);
    node_start(0);
    WAIT(world.proxy[0].flushed == 2, 3 * SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 0, true), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 0, true), CONTROL_RESULT_UNCHANGED);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), UINT64_MAX);
    ck_assert_uint_eq(world.model[0].store.count, 0);
    world_end();
}
END_TEST

/* --- Chaos: anything at any time; then it ends, and all must be well --- */

static void chaos_step(struct prng *prng, uint64_t *nonce)
{
    uint32_t node = (uint32_t)prng_below(prng, world.nodes);
    uint32_t p = (uint32_t)prng_below(prng, 3);
    struct proxy *proxy = &world.proxy[p];
    struct control_command c = {.type = (enum control_command_type)prng_below(prng, 4),
                                .node = node,
                                .is_forced = prng_below(prng, 8) == 0};
    switch (prng_below(prng, 9)) {
    case 0:
        if (world.is_node_alive[node]) {
            world.is_node_frozen[node] = false;
            node_kill(node);
        }
        break;
    case 1:
    case 2:
        if (!world.is_node_alive[node]) {
            node_start(node);
        }
        break;
    case 3:
        if (world.is_node_alive[node]) {
            node_freeze(node);
        }
        break;
    case 4:
        node_thaw(node);
        break;
    case 5:
        if (proxy->is_alive && !proxy->is_paused) {
            proxy_pause(p);
        } else if (proxy->is_alive) {
            proxy_resume(p);
        }
        break;
    case 6:
        if (prng_below(prng, 3) > 0) {
            break;
        } else if (proxy->is_alive) {
            proxy_kill(p);
        } else {
            struct control_options options = options_of(p);
            options.nonce = ++*nonce;
            options.hold_down_max_us = 3 * SECOND;
            proxy_start_with(p, &options);
        }
        break;
    case 7:
        if (proxy->is_alive && !proxy->is_paused) {
            control_command(proxy->control, &c, world.now_us);
            take_actions(p);
        }
        break;
    default:
        if (proxy->is_alive && !proxy->is_paused && prng_below(prng, 4) == 0) {
            flush(p, ++*nonce, (int64_t)prng_below(prng, 2));
        } else if (world.is_node_alive[node] && prng_below(prng, 4) == 0) {
            store_flush(&world.model[node].store, 0);
        }
        break;
    }
}

START_TEST(chaos)
{
    struct prng prng = {.state = (uint64_t)_i};
    uint64_t nonce = 5000;
    start_serving(3, 3);
    for (uint32_t i = 0; i < 150; i++) {
        pass(prng_below(&prng, 400000));
        chaos_step(&prng, &nonce);
    }
    for (uint32_t node = 0; node < world.nodes; node++) {
        if (!world.is_node_alive[node]) {
            world.is_node_frozen[node] = false;
            node_start(node);
        }
        node_thaw(node);
    }
    for (uint32_t p = 0; p < 3; p++) {
        if (!world.proxy[p].is_alive) {
            struct control_options options = options_of(p);
            options.nonce = ++nonce;
            proxy_start_with(p, &options);
        } else if (world.proxy[p].is_paused) {
            proxy_resume(p);
        }
    }
    WAIT(is_serving(0) && is_serving(1) && is_serving(2), 20 * SECOND);
    pass(3 * SECOND); /* no command is under way any more */
    for (uint32_t node = 0; node < world.nodes; node++) {
        uint64_t until_us = world.now_us + 60 * SECOND;
        while (see(0)->nodes[node].admin != NODE_ADMIN_READY) {
            ck_assert_uint_lt(world.now_us, until_us);
            (void)command(0, CONTROL_COMMAND_READY, node, false);
        }
    }
    WAIT(is_one_view(3, 7), 240 * SECOND);
    ck_assert_uint_eq(see(0)->proxies, 3);
    world_end();
}
END_TEST

/* What idle proxies cost, and how long a change takes; shown, and held to a bound. */
START_TEST(costs)
{
    static const uint32_t counts[] = {1, 2, 8};
    uint32_t proxies = counts[_i];
    start_serving(2, proxies);
    pass(5 * SECOND);
    uint64_t requests = see(0)->nodes[0].round_requests;
    uint64_t bytes = see(0)->nodes[0].round_bytes;
    pass(20 * SECOND);
    requests = (see(0)->nodes[0].round_requests - requests) / 20;
    bytes = (see(0)->nodes[0].round_bytes - bytes) / 20;
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 0, false), CONTROL_RESULT_OK);
    uint64_t most = 0;
    for (uint32_t p = 0; p < proxies; p++) {
        uint64_t took = see(p)->change_last_us;
        most = took > most ? took : most;
    }
    (void)printf("proxies %u: idle %llu commands/s, %llu bytes/s a node and proxy; "
                 "change held writes %llu us at most (hop %u us)\n",
                 proxies, (unsigned long long)requests, (unsigned long long)bytes,
                 (unsigned long long)most, HOP_US);
    ck_assert_uint_le(requests, 350);
    ck_assert_uint_le(bytes, 40000);
    ck_assert_uint_le(most, 40000);
    world_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control");
    TCase *stories = tcase_create("stories");
    tcase_set_timeout(stories, 60);
    tcase_add_test(stories, first_start_kill_and_fill);
    tcase_add_test(stories, first_start_with_one_node_dead);
    tcase_add_test(stories, second_proxy_joins);
    tcase_add_test(stories, two_proxies_start_at_once);
    tcase_add_test(stories, same_id_is_taken_by_one);
    tcase_add_test(stories, node_dies_and_exactly_one_fills);
    tcase_add_test(stories, filler_dies_and_the_other_takes_over);
    tcase_add_test(stories, fast_restart_is_noticed);
    tcase_add_test(stories, third_party_flush_is_noticed);
    tcase_add_test(stories, missed_write_is_not_waited_for);
    tcase_add_test(stories, operator_commands);
    tcase_add_test(stories, two_operators_never_take_both_copies);
    tcase_add_test(stories, forced_maintenance_of_the_last_copy);
    tcase_add_test(stories, lease_lapses_and_is_regained);
    tcase_add_test(stories, all_nodes_gone_and_back);
    tcase_add_test(stories, last_copy_is_lost);
    tcase_add_test(stories, frozen_last_copy_is_waited_for);
    tcase_add_test(stories, flush_with_two_proxies);
    tcase_add_test(stories, flusher_dies);
    tcase_add_test(stories, node_that_is_not_flushed_leaves);
    tcase_add_test(stories, proxy_dies_during_a_change);
    tcase_add_test(stories, newcomer_acts_on_what_others_act_on);
    tcase_add_test(stories, node_dies_during_a_change);
    tcase_add_test(stories, given_up_connection_holds_up_joining);
    tcase_add_test(stories, failing_fill_is_tried_again);
    tcase_add_test(stories, hostile_views);
    tcase_add_test(stories, many_views_are_overtaken);
    tcase_add_test(stories, rescue_waits_until_the_node_is_up);
    tcase_add_test(stories, third_party_deletes_everything);
    tcase_add_test(stories, farewell_is_faster_than_the_lease);
    tcase_add_test(stories, other_configuration_keeps_nodes_out);
    tcase_add_test(stories, flapping_node_is_held_down);
    tcase_add_test(stories, first_start_is_verified);
    tcase_add_test(stories, death_of_a_proxy_is_followed_by_verifies);
    tcase_add_test(stories, verify_outlives_who_did_it);
    tcase_add_test(stories, verify_rests_while_views_change);
    tcase_add_test(stories, verify_on_command);
    tcase_add_test(stories, verify_gives_up_connections);
    tcase_add_test(stories, verifies_in_the_background);
    tcase_add_test(stories, lone_node);
    tcase_add_loop_test(stories, costs, 0, 3);
    tcase_add_loop_test(stories, chaos, 1, CHAOS_SEEDS + 1);
    suite_add_tcase(suite, stories);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
