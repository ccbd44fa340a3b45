/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the shell does for a proxy: it feeds events, carries out actions, and carries messages
 * between control's thread and the workers', in order but late.
 */
#include "sim/world.h"

#include "everwarm/base/invariant.h"

#include <stdlib.h>
#include <sys/mman.h>

enum {
    PROXY_MEMORY_BYTES = 96 * CHUNK_BYTES,
    PROXY_TICK_US = 20 * 1000,
    PROXY_ITEM_BYTES_MAX = 64 * 1024,
    PROXY_SLICES = 16,
    PROXY_ACTIONS_MAX = 100000, /* of one turn: more is a loop without an end */
};

/* Each proxy's monotonic clock began at another time. */
uint64_t proxy_now(const struct world *world, uint32_t proxy)
{
    return world->now_us + 1000000 + UINT64_C(7777777) * proxy;
}

static void *proxy_map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(memory != MAP_FAILED);
    return memory;
}

static void proxy_run_control(struct world *world, uint32_t proxy);
static void proxy_run_dp(struct world *world, uint32_t proxy, uint32_t worker);

bool proxy_snapshot(const struct world *world, uint32_t proxy, struct control_snapshot *out)
{
    const struct proxy *p = &world->proxies[proxy];
    if (p->is_up) {
        control_snapshot(p->control, out, proxy_now(world, proxy));
    }
    return p->is_up;
}

void proxy_init(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    p->is_up = true;
    p->run++;
    p->started_us = world->now_us;
    p->serving_us = 0;
    uint64_t nonce = 1 + prng_next(&world->prng) / 2;
    if (p->id_next < PROXIES_MAX) {
        nonce = nonce - nonce % PROXIES_MAX + PROXIES_MAX + p->id_next;
    }
    struct control_options control = {
        .names = world->names,
        .addresses = world->node_names,
        .worker_count = world->options.workers,
        .nonce = nonce,
        .config_hash = 42,
        .wall_ms = UINT64_C(1700000000000) + world->now_us / 1000 + (uint64_t)p->clock_ms,
        .interval_us = WORLD_INTERVAL_US,
        .timeout_us = WORLD_INTERVAL_US / 2,
        .lease_us = WORLD_LEASE_US,
        .request_timeout_us = WORLD_REQUEST_US,
        .hold_down_max_us = WORLD_HOLD_DOWN_MAX_US,
        .fall = 3,
        .rise = 2,
        .fill = {.item_bytes_max = PROXY_ITEM_BYTES_MAX,
                 .rate_bytes = world->profile->fill_rate_bytes,
                 .window = 1 + (uint32_t)world_below(world, 8),
                 .list_bytes = 32768,
                 .table_bytes = 32768,
                 .timeout_us = 1000000},
        .verify = {.node_count = world->names.node_count,
                   .item_bytes_max = PROXY_ITEM_BYTES_MAX,
                   .window = 1 + (uint32_t)world_below(world, 8),
                   .table_bytes = 65536,
                   .timeout_us = 1000000,
                   .settle_us = WORLD_REQUEST_US},
    };
    p->control_bytes = control_bytes(&control);
    p->control = control_init(proxy_map(p->control_bytes), &control, proxy_now(world, proxy));
    for (uint32_t w = 0; w < world->options.workers; w++) {
        struct dataplane_options dp = {
            .names = world->names,
            .worker = w,
            .clients_max = WORLD_CLIENTS_MAX,
            .memory_bytes = PROXY_MEMORY_BYTES,
            .item_bytes_max = PROXY_ITEM_BYTES_MAX,
            .side_bytes = world->side_bytes,
            .pipeline_max = 32,
            .client_output_bytes_max = 256 * 1024,
            .request_timeout_us = WORLD_REQUEST_US,
            .connect_timeout_us = 200 * 1000,
            .settle_delay_us = 20 * 1000,
            .seed = prng_next(&world->prng),
            .on_no_replica = DATAPLANE_ANSWER_ERROR,
            .miss_fallback =
                world->profile->falls_back ? DATAPLANE_FALLBACK_ALWAYS : DATAPLANE_FALLBACK_AUTO,
            .version = SLICE_INIT("1.6.18"),
        };
        p->dp_bytes = dataplane_bytes(&dp);
        p->dp[w] = dataplane_init(proxy_map(p->dp_bytes), &dp);
        world_post(world, world->now_us + world_below(world, PROXY_TICK_US), WORLD_DP_TICK, proxy,
                   w, p->run);
    }
    proxy_run_control(world, proxy);
}

void proxy_fini(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    if (!p->is_up) {
        return;
    }
    munmap(p->control, p->control_bytes);
    for (uint32_t w = 0; w < world->options.workers; w++) {
        munmap(p->dp[w], p->dp_bytes);
    }
}

void proxy_crash(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    copies_on_crash(world, proxy);
    for (uint32_t i = 0; i < world->conn_count; i++) {
        struct conn *conn = world->conns[i];
        if (conn->proxy != proxy) {
            continue;
        }
        /* A thread of a node that hangs for longer than the lease of a proxy that has died: see
         * docs/limits.md. */
        if (conn->is_node_open && conn->stalled_us > world->now_us + WORLD_LEASE_US / 2) {
            net_stall(world, conn, world_below(world, WORLD_LEASE_US / 2));
        }
        if (conn->side != CONN_DEAD) {
            net_close(world, conn);
        }
    }
    for (uint32_t i = 0; i < world->client_count; i++) {
        if (world->clients[i].proxy != proxy) {
            continue;
        }
        if (p->has_said) {
            client_let_go(world, i);
        } else {
            client_lose_server(world, i);
        }
    }
    struct control_snapshot snapshot;
    if (proxy_snapshot(world, proxy, &snapshot)) {
        leave_choose_id(world, proxy, snapshot.proxy_id);
    }
    proxy_fini(world, proxy);
    p->is_up = false;
    p->control = NULL;
    memset(p->dp, 0, sizeof(p->dp));
    memset(p->invalidations, 0, sizeof(p->invalidations));
    memset(p->mends, 0, sizeof(p->mends));
    memset(p->mending, 0, sizeof(p->mending));
    memset(p->topology, 0, sizeof(p->topology));
    memset(p->hold_epoch, 0, sizeof(p->hold_epoch));
    memset(p->drained_epoch, 0, sizeof(p->drained_epoch));
    memset(p->links, 0, sizeof(p->links));
    memset(p->wires, 0, sizeof(p->wires));
    p->control_tick_us = 0;
    p->is_leaving = false;
    p->is_left = false;
    p->has_said = false;
    p->looks = 0;
    p->quiet_count = 0;
    memset(p->is_draining, 0, sizeof(p->is_draining));
    memset(p->is_quiet, 0, sizeof(p->is_quiet));
    lineage_lose(world);
}

/* --- Messages --- */

void proxy_post(struct world *world, uint32_t proxy, uint32_t worker, const struct message *message)
{
    struct proxy *p = &world->proxies[proxy];
    uint64_t *last_us = message->is_report ? &p->to_control_us[worker] : &p->to_worker_us[worker];
    uint64_t delay_us =
        5 + world_below(world, world_chance(world, world->profile->slow_percent) ? 60000 : 300);
    uint64_t at_us = world->now_us + delay_us;
    at_us = at_us < *last_us ? *last_us : at_us;
    *last_us = at_us;
    struct message *copy = malloc(sizeof(*copy));
    REQUIRE(copy != NULL);
    *copy = *message;
    copy->run = p->run;
    world_post(world, at_us, WORLD_MESSAGE, proxy, worker, (uint64_t)(uintptr_t)copy);
}

/* May worker W of PROXY still begin something under a view older than EPOCH? */
static bool proxy_is_behind(const struct world *world, uint32_t proxy, uint32_t w, uint64_t epoch)
{
    const struct proxy *p = &world->proxies[proxy];
    const struct topology *t = p->topology[w];
    return t != NULL && t->epoch < epoch && p->drained_epoch[w] < epoch;
}

/* C4, C10: whoever acts on a view acts with all others: they have joined it, or hold still because
 * they are stopped or their lease is over. */
static void proxy_check_others(struct world *world, uint32_t proxy, uint64_t epoch)
{
    for (uint32_t i = 0; i < world->options.proxies && world->options.nodes > 1; i++) {
        const struct proxy *p = &world->proxies[i];
        bool is_acting = p->is_up && p->paused_us <= world->now_us &&
                         proxy_now(world, i) <= control_lease_until_us(p->control);
        is_acting = is_acting && i != proxy && !split_is_apart(world, proxy, i);
        for (uint32_t w = 0; is_acting && w < world->options.workers; w++) {
            /* Where a flush is due nothing begins; should something, proxy_check_sending tells. */
            if (proxy_is_behind(world, i, w, epoch) && !p->topology[w]->is_holding) {
                world_broken(world, "C10", "p%u acts on epoch %llu, p%u.w%u still on %llu", proxy,
                             (unsigned long long)epoch, i, w,
                             (unsigned long long)p->topology[w]->epoch);
            }
        }
    }
}

/* C10: who was left behind, because it was stopped or cut off, sends nothing. */
void proxy_check_sending(struct world *world, uint32_t proxy, uint32_t worker)
{
    uint64_t epoch = world->lines[split_side(world, proxy)].leaders_epoch;
    if (world->options.nodes > 1 && proxy_is_behind(world, proxy, worker, epoch)) {
        world_broken(world, "C10", "p%u.w%u goes on under epoch %llu, others act on %llu", proxy,
                     worker, (unsigned long long)world->proxies[proxy].topology[worker]->epoch,
                     (unsigned long long)epoch);
    }
}

/* A worker acts on TOPOLOGY from now on. */
static void proxy_note_view(struct world *world, uint32_t proxy, const struct topology *topology)
{
    struct line *line = &world->lines[split_side(world, proxy)];
    proxy_check_others(world, proxy, topology->epoch);
    if (topology->epoch > line->leaders_epoch) {
        line->leaders_epoch = topology->epoch;
        if (topology->leaders != line->leaders) {
            copies_on_leaders(world, topology, line);
            world->leaders_us[world->leaders_count++ % 64] = world->now_us;
            line->leaders = topology->leaders;
        }
        for (uint32_t i = 0; i < world->options.nodes; i++) {
            line->pids[i] = topology->identity[i].pid;
            line->seeds[i] = topology->node_seed[i];
        }
        copies_check(world);
    }
    copies_on_view(world);
    aim_at_view(world);
}

void proxy_on_message(struct world *world, uint32_t proxy, uint32_t worker, struct message *message)
{
    struct proxy *p = &world->proxies[proxy];
    if (message->run != p->run || !p->is_up) {
        return;
    }
    if (message->is_report) {
        if (message->is_quiet) {
            leave_on_quiet(world, proxy, worker);
        } else {
            control_report(p->control, &message->report, proxy_now(world, proxy));
        }
        proxy_run_control(world, proxy);
        return;
    }
    if (message->is_drain) {
        p->is_draining[worker] = true;
        leave_look(world, proxy, worker);
        return;
    }
    struct dataplane_event event = {
        .type = message->type, .topology = message->topology, .ticket = message->ticket};
    if (message->type == DATAPLANE_ADOPT) {
        p->topology[worker] = message->topology;
        p->serving_us = p->serving_us == 0 ? world->now_us : p->serving_us;
    } else if (message->type == DATAPLANE_HOLD) {
        p->hold_epoch[worker] = message->topology->epoch;
        p->hold_hash[worker] = message->topology->view_hash;
    }
    proxy_dp_event(world, proxy, worker, &event);
    if (message->type == DATAPLANE_ADOPT) {
        proxy_note_view(world, proxy, message->topology);
        aim_at_join(world, proxy, worker);
    }
}

/* --- Control --- */

static void proxy_wire_action(struct world *world, uint32_t proxy, const struct wire_action *action)
{
    struct proxy *p = &world->proxies[proxy];
    REQUIRE(action->wire < WORLD_WIRES_MAX);
    struct conn *conn = p->wires[action->wire];
    switch (action->type) {
    case WIRE_CONNECT: {
        REQUIRE(conn == NULL && action->node < world->options.nodes);
        struct conn like = {.proxy = proxy, .wire = action->wire, .node = action->node};
        p->wires[action->wire] = net_connect(world, &like);
        return;
    }
    case WIRE_WRITE: {
        REQUIRE(conn != NULL);
        struct slice slices[PROXY_SLICES];
        size_t count = control_gather(p->control, action->wire, slices, PROXY_SLICES);
        size_t wrote = 0;
        for (size_t i = 0; i < count; i++) {
            net_send(world, conn, slices[i]);
            wrote += slices[i].len;
        }
        if (p->is_left) {
            struct bytes all = {0};
            for (size_t i = 0; i < count; i++) {
                bytes_put(&all, slices[i]);
            }
            leave_on_probe(world, proxy, bytes_slice(&all));
            bytes_free(&all);
        }
        if (wrote > 0) {
            struct wire_event event = {
                .type = WIRE_WROTE, .wire = action->wire, .wrote = (uint32_t)wrote};
            control_wire(p->control, &event, proxy_now(world, proxy));
        }
        return;
    }
    case WIRE_FINISH:
        REQUIRE(conn != NULL);
        net_give_up(world, conn);
        return;
    case WIRE_CLOSE:
        REQUIRE(conn != NULL);
        p->wires[action->wire] = NULL;
        net_close(world, conn);
        return;
    }
    UNREACHABLE();
}

static void proxy_tell_workers(struct world *world, uint32_t proxy, const struct message *message)
{
    for (uint32_t w = 0; w < world->options.workers; w++) {
        proxy_post(world, proxy, w, message);
    }
}

static void proxy_control_action(struct world *world, uint32_t proxy,
                                 const struct control_action *action)
{
    switch (action->type) {
    case CONTROL_ACTION_WIRE:
        proxy_wire_action(world, proxy, &action->wire);
        return;
    case CONTROL_ACTION_HOLD:
        world_hurry(world, world->profile->is_storm ? 60000 : 2000);
        fault_on_hold(world, proxy);
        aim_at_hold(world, proxy, action->topology);
        world_trace(world, "p%u hold for epoch %llu, serial %llu", proxy,
                    (unsigned long long)action->topology->epoch,
                    (unsigned long long)action->topology->serial);
        proxy_tell_workers(world, proxy,
                           &(struct message){.type = DATAPLANE_HOLD, .topology = action->topology});
        return;
    case CONTROL_ACTION_ADOPT:
        world_trace(world, "p%u adopt epoch %llu, serial %llu: complete %x leaders %x chained %x",
                    proxy, (unsigned long long)action->topology->epoch,
                    (unsigned long long)action->topology->serial, action->topology->complete,
                    action->topology->leaders, action->topology->chained);
        split_on_view(world, proxy, action->topology);
        proxy_tell_workers(
            world, proxy, &(struct message){.type = DATAPLANE_ADOPT, .topology = action->topology});
        return;
    case CONTROL_ACTION_PLACE:
        /* Of three nodes at most one is away: it comes back to where it was. */
        REQUIRE(slice_is_equal(action->address, world->node_names[action->node]));
        return;
    case CONTROL_ACTION_FLUSHED:
        proxy_post(world, proxy, action->worker,
                   &(struct message){.type = DATAPLANE_FLUSHED, .ticket = action->ticket});
        return;
    case CONTROL_ACTION_DONE:
        world_trace(world, "p%u command %llu: result %d", proxy, (unsigned long long)action->ticket,
                    (int)action->result);
        return;
    case CONTROL_ACTION_TRACE:
        world_trace(world, "p%u %s node %d proxy %d a %llu b %llu %s", proxy,
                    trace_word(action->trace.type), (int)action->trace.node,
                    (int)action->trace.proxy, (unsigned long long)action->trace.a,
                    (unsigned long long)action->trace.b, action->trace.detail);
        return;
    }
    UNREACHABLE();
}

static void proxy_run_control(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    struct control_action action;
    uint32_t count = 0;
    while (control_next_action(p->control, &action)) {
        proxy_control_action(world, proxy, &action);
        REQUIRE(++count < PROXY_ACTIONS_MAX);
    }
    uint64_t deadline_us = control_next_deadline_us(p->control);
    if (deadline_us == UINT64_MAX) {
        return;
    }
    uint64_t now_us = proxy_now(world, proxy);
    uint64_t at_us = world->now_us + (deadline_us > now_us ? deadline_us - now_us : 1);
    if (p->control_tick_us == 0 || at_us < p->control_tick_us) {
        p->control_tick_us = at_us;
        world_post(world, at_us, WORLD_CONTROL_TICK, proxy, 0, 0);
    }
}

void proxy_control_tick(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    if (!p->is_up || p->control_tick_us == 0 || p->control_tick_us > world->now_us) {
        return; /* a later one was put off by an earlier */
    }
    p->control_tick_us = 0;
    control_tick(p->control, proxy_now(world, proxy));
    proxy_run_control(world, proxy);
}

void proxy_command(struct world *world, uint32_t proxy, const struct control_command *command)
{
    struct proxy *p = &world->proxies[proxy];
    control_command(p->control, command, proxy_now(world, proxy));
    proxy_run_control(world, proxy);
}

/* --- Dataplanes --- */

/* Sockets take all that is gathered, or sometimes less; then they are writable again later. */
static size_t proxy_take(struct world *world, const struct slice *slices, size_t count,
                         size_t total, struct bytes *out)
{
    size_t take = total > 1 && world_chance(world, 3) ? (size_t)world_below(world, total) : total;
    size_t left = take;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t piece = slices[i].len < left ? slices[i].len : left;
        bytes_put(out, slice_of(slices[i].ptr, piece));
        left -= piece;
    }
    return take;
}

static size_t proxy_total(const struct slice *slices, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += slices[i].len;
    }
    return total;
}

/* Where the dataplane's link NUMBER is in `links`. */
static uint32_t proxy_link_place(uint32_t number)
{
    return number < NODES_MAX ? number : number - NODES_MAX + WORLD_NODES_MAX;
}

static void proxy_write_node(struct world *world, uint32_t proxy, uint32_t worker, uint32_t number)
{
    struct proxy *p = &world->proxies[proxy];
    struct conn *conn = p->links[worker][proxy_link_place(number)];
    REQUIRE(conn != NULL);
    struct slice slices[PROXY_SLICES];
    size_t count = dataplane_node_gather(p->dp[worker], number, slices, PROXY_SLICES);
    size_t total = proxy_total(slices, count);
    struct bytes out = {0};
    size_t took = proxy_take(world, slices, count, total, &out);
    net_send(world, conn, bytes_slice(&out));
    bytes_free(&out);
    dataplane_node_wrote(p->dp[worker], number, took);
    if (took < total) {
        dataplane_node_writable(p->dp[worker], number);
    }
}

static void proxy_write_client(struct world *world, uint32_t proxy, uint32_t worker, uint32_t slot)
{
    struct proxy *p = &world->proxies[proxy];
    struct client *client = client_at(world, proxy, worker, slot);
    struct slice slices[PROXY_SLICES];
    size_t count = dataplane_client_gather(p->dp[worker], slot, slices, PROXY_SLICES);
    size_t total = proxy_total(slices, count);
    struct bytes out = {0};
    size_t took = proxy_take(world, slices, count, total, &out);
    uint64_t at_us = world->now_us + world_delay(world);
    client->to_client_us = at_us < client->to_client_us ? client->to_client_us : at_us;
    struct segment *segment = world_segment(SEGMENT_DATA, bytes_slice(&out));
    world_post(world, client->to_client_us, WORLD_TO_CLIENT, client->number,
               client->server_generation, (uint64_t)(uintptr_t)segment);
    bytes_free(&out);
    dataplane_client_wrote(p->dp[worker], slot, took);
    if (took < total) {
        dataplane_client_writable(p->dp[worker], slot);
    }
}

static void proxy_close_client(struct world *world, uint32_t proxy, uint32_t worker, uint32_t slot)
{
    struct client *client = client_at(world, proxy, worker, slot);
    client->is_server_open = false;
    bytes_clear(&client->waiting);
    client_hang_up(world, client);
}

static void proxy_dp_action(struct world *world, uint32_t proxy, uint32_t worker,
                            const struct dataplane_action *action)
{
    struct proxy *p = &world->proxies[proxy];
    switch (action->type) {
    case DATAPLANE_CLIENT_WRITE:
        proxy_write_client(world, proxy, worker, action->client);
        return;
    case DATAPLANE_CLIENT_CLOSE:
        proxy_close_client(world, proxy, worker, action->client);
        return;
    case DATAPLANE_CLIENT_PAUSE:
        client_at(world, proxy, worker, action->client)->is_paused = true;
        return;
    case DATAPLANE_CLIENT_RESUME: {
        struct client *client = client_at(world, proxy, worker, action->client);
        client->is_paused = false;
        world_post(world, world->now_us, WORLD_TO_SERVER, client->number, client->server_generation,
                   (uint64_t)(uintptr_t)world_segment(SEGMENT_DATA, SLICE("")));
        return;
    }
    case DATAPLANE_NODE_CONNECT: {
        struct conn **link = &p->links[worker][proxy_link_place(action->link)];
        REQUIRE(*link == NULL);
        struct conn like = {.proxy = proxy,
                            .is_link = true,
                            .worker = worker,
                            .wire = proxy_link_place(action->link),
                            .node = action->link % NODES_MAX};
        *link = net_connect(world, &like);
        return;
    }
    case DATAPLANE_NODE_WRITE:
        proxy_write_node(world, proxy, worker, action->link);
        return;
    case DATAPLANE_NODE_GIVE_UP: {
        struct conn **link = &p->links[worker][proxy_link_place(action->link)];
        world_trace(world, "p%u.w%u gives up link %u", proxy, worker, action->link);
        if (*link == NULL) { /* it ended in this very turn */
            struct dataplane_event event = {.type = DATAPLANE_NODE_ENDED,
                                            .link = action->link,
                                            .end = p->link_ends[worker][link - p->links[worker]]};
            dataplane_step(p->dp[worker], &event);
            return;
        }
        net_give_up(world, *link);
        *link = NULL;
        return;
    }
    case DATAPLANE_REPORT:
        if (action->report.type == CONTROL_REPORT_DRAINED) {
            p->drained_epoch[worker] = p->hold_epoch[worker];
            p->drained_hash[worker] = p->hold_hash[worker];
        }
        world_trace(world, "p%u.w%u reports %d node %u count %u serial %llu end %d", proxy, worker,
                    (int)action->report.type, action->report.node, action->report.count,
                    (unsigned long long)action->report.serial, (int)action->report.end);
        proxy_post(world, proxy, worker,
                   &(struct message){.is_report = true, .report = action->report});
        return;
    }
    UNREACHABLE();
}

static void proxy_run_dp(struct world *world, uint32_t proxy, uint32_t worker)
{
    struct dataplane *dp = world->proxies[proxy].dp[worker];
    struct dataplane_action action;
    uint32_t count = 0;
    while (dataplane_next_action(dp, &action)) {
        proxy_dp_action(world, proxy, worker, &action);
        REQUIRE(++count < PROXY_ACTIONS_MAX);
    }
    uint64_t *known = &world->proxies[proxy].invalidations[worker];
    for (; *known < dataplane_stats(dp)->keys_invalidated; ++*known) {
        world->forget_us[world->forget_count++ % 64] = world->now_us;
    }
    struct proxy *p = &world->proxies[proxy];
    if (dataplane_stats(dp)->divergences > p->mends[worker] || p->mending[worker] > 0) {
        p->mends[worker] = dataplane_stats(dp)->divergences;
        copies_on_mend(world, proxy, worker);
    }
}

void proxy_dp_event(struct world *world, uint32_t proxy, uint32_t worker,
                    const struct dataplane_event *event)
{
    struct proxy *p = &world->proxies[proxy];
    dataplane_turn(p->dp[worker], proxy_now(world, proxy), control_lease_until_us(p->control));
    dataplane_step(p->dp[worker], event);
    proxy_run_dp(world, proxy, worker);
    leave_look(world, proxy, worker);
    if (event->type == DATAPLANE_TICK) {
        world_post(world, world->now_us + PROXY_TICK_US, WORLD_DP_TICK, proxy, worker, p->run);
    }
}

/* --- Connections --- */

static void proxy_on_link(struct world *world, struct conn *conn, enum wire_event_type type,
                          struct slice bytes, enum wire_end end)
{
    struct conn **link = &world->proxies[conn->proxy].links[conn->worker][conn->wire];
    uint32_t second = conn->wire >= WORLD_NODES_MAX ? NODES_MAX : 0;
    struct dataplane_event event = {.link = conn->node + second, .end = end, .bytes = bytes};
    switch (type) {
    case WIRE_OPEN:
        event.type = DATAPLANE_NODE_OPEN;
        break;
    case WIRE_BYTES:
        event.type = DATAPLANE_NODE_BYTES;
        break;
    case WIRE_CLOSED:
        event.type = conn->side == CONN_ENDING ? DATAPLANE_NODE_ENDED : DATAPLANE_NODE_CLOSED;
        conn->side = CONN_DEAD;
        if (*link == conn) {
            *link = NULL;
            world->proxies[conn->proxy].link_ends[conn->worker][conn->wire] = end;
        }
        world_trace(world, "p%u.w%u node %u %s: %s", conn->proxy, conn->worker, conn->node,
                    event.type == DATAPLANE_NODE_ENDED ? "ended" : "closed", wire_end_text(end));
        break;
    case WIRE_WROTE:
        return;
    }
    proxy_dp_event(world, conn->proxy, conn->worker, &event);
}

void proxy_on_conn(struct world *world, struct conn *conn, enum wire_event_type type,
                   struct slice bytes, enum wire_end end)
{
    if (conn->is_link) {
        proxy_on_link(world, conn, type, bytes, end);
        return;
    }
    struct proxy *p = &world->proxies[conn->proxy];
    if (type == WIRE_CLOSED) {
        conn->side = CONN_DEAD;
        p->wires[conn->wire] = NULL;
    }
    struct wire_event event = {.type = type, .wire = conn->wire, .bytes = bytes, .end = end};
    control_wire(p->control, &event, proxy_now(world, conn->proxy));
    proxy_run_control(world, conn->proxy);
}
