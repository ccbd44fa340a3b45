/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes wrong. A tame seed harms a node only while another one holds everything and has been
 * left in peace for a while: then C3 promises that no client notices. A wild seed does not care,
 * and its losses and errors are excused from the moment the last whole copy was harmed.
 */
#include "sim/world.h"

enum {
    FAULT_PEACE_US = 2000 * 1000,
    FAULT_AFTER_US = 4000 * 1000, /* requests go on so long after the last: a fill */
};

void fault_plan(struct world *world)
{
    if (world->faults_left > 0) {
        world_post(world, world->now_us + world_below(world, 2 * world->fault_pause_us),
                   WORLD_FAULT, 0, 0, 0);
    }
}

/* NODE is well, and every proxy acts on a view that says so of this very run. */
static bool fault_is_whole_node(const struct world *world, uint32_t number)
{
    const struct node *node = &world->nodes[number];
    if (!node->is_up || node->is_frozen || node->is_host_down) {
        return false;
    }
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        for (uint32_t w = 0; w < world->options.workers; w++) {
            const struct topology *topology = world->proxies[i].topology[w];
            bool is_right =
                topology != NULL && (topology->complete & node_set_of(number)) != 0 &&
                (topology->is_lone || topology->identity[number].pid == node->model.pid);
            if (!is_right) {
                return false;
            }
        }
        struct control_snapshot snapshot;
        if (!proxy_snapshot(world, i, &snapshot) ||
            snapshot.nodes[number].data != NODE_DATA_COMPLETE ||
            snapshot.nodes[number].oper != NODE_OPER_UP ||
            snapshot.nodes[number].admin != NODE_ADMIN_READY) {
            return false;
        }
    }
    return true;
}

bool fault_is_whole(struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (!fault_is_whole_node(world, i)) {
            return false;
        }
    }
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        if (!proxy_snapshot(world, i, &snapshot) || snapshot.state != CONTROL_SERVING) {
            return false;
        }
    }
    return true;
}

/* Another node holds everything, none was harmed lately, and every proxy is well. */
static bool fault_is_tame(const struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        if (world->now_us < world->proxies[i].troubled_us || !proxy_snapshot(world, i, &snapshot) ||
            snapshot.state == CONTROL_LAPSED || snapshot.state == CONTROL_STARTING) {
            return false;
        }
    }
    bool is_other_whole = false;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (i != node && world->nodes[i].harmed_us + FAULT_PEACE_US >= world->now_us) {
            return false; /* one at a time, says C3 */
        }
        is_other_whole = is_other_whole || (i != node && fault_is_whole_node(world, i));
    }
    return is_other_whole;
}

static void fault_crash(struct world *world, uint32_t number)
{
    static const uint64_t PAUSE_US[] = {0, 10000, 50000, 400000, 3000000};
    struct node *node = &world->nodes[number];
    if (!node->is_up) {
        return;
    }
    node->is_host_down = world_chance(world, 15);
    node->is_warm = !node->is_host_down && world_chance(world, 30);
    net_crash(world, number);
    uint64_t pause_us = 1 + world_below(world, 1 + 2 * PAUSE_US[world_below(world, 5)]);
    world_trace(world, "FAULT node %u dies%s, back%s in %llu us", number,
                node->is_host_down ? " with its host" : "", node->is_warm ? " as it was" : "",
                (unsigned long long)pause_us);
    world_post(world, world->now_us + pause_us, WORLD_NODE_START, number, 0, node->generation);
}

static void fault_freeze(struct world *world, uint32_t number)
{
    struct node *node = &world->nodes[number];
    if (!node->is_up || node->is_frozen) {
        return;
    }
    node->is_frozen = true;
    node->generation++;
    uint64_t pause_us = 1000 + world_below(world, world_chance(world, 50) ? 600000 : 5000000);
    world_trace(world, "FAULT node %u freezes for %llu us", number, (unsigned long long)pause_us);
    world_post(world, world->now_us + pause_us, WORLD_NODE_THAW, number, 0, node->generation);
}

static void fault_cut(struct world *world, uint32_t number)
{
    bool is_all = world_chance(world, 30);
    world_trace(world, "FAULT %s of node %u cut", is_all ? "all connections" : "a connection",
                number);
    uint32_t count = world->conn_count;
    uint32_t first = count == 0 ? 0 : (uint32_t)world_below(world, count);
    for (uint32_t i = 0; i < count; i++) {
        struct conn *conn = world->conns[(first + i) % count];
        if (conn->node == number && conn->is_node_open && conn->side != CONN_DEAD) {
            net_cut(world, conn);
            if (!is_all) {
                return;
            }
        }
    }
}

static void fault_stall(struct world *world, uint32_t number)
{
    uint64_t pause_us = world_chance(world, 50) ? 50000 : 1400000;
    world_trace(world, "FAULT connections of node %u stall for up to %llu us", number,
                (unsigned long long)pause_us);
    for (uint32_t i = 0; i < world->conn_count; i++) {
        struct conn *conn = world->conns[i];
        if (conn->node == number && conn->is_node_open && world_chance(world, 60)) {
            net_stall(world, conn, world_below(world, pause_us));
        }
    }
}

static void fault_command(struct world *world, uint32_t node)
{
    enum control_command_type type = (enum control_command_type)world_below(world, 4);
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    struct proxy *p = &world->proxies[number];
    struct control_command command = {.type = type, .node = node, .ticket = ++p->ticket};
    if (p->is_up && p->paused_us <= world->now_us) {
        world_trace(world, "FAULT p%u command %d for node %u", number, (int)type, node);
        proxy_command(world, number, &command);
    }
}

/* Packets between a proxy and a node are lost, one way or both. */
static void fault_partition(struct world *world, uint32_t node)
{
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    struct proxy *p = &world->proxies[number];
    uint32_t way = (uint32_t)world_below(world, 3);
    uint64_t for_us = 1000 + world_below(world, world_chance(world, 50) ? 800000 : 4000000);
    world_trace(world, "FAULT p%u and node %u are cut off%s for %llu us", number, node,
                way == 0   ? ""
                : way == 1 ? ", requests"
                           : ", replies",
                (unsigned long long)for_us);
    if (way != 2) {
        p->cut_to_node_us[node] = world->now_us + for_us;
    }
    if (way != 1) {
        p->cut_to_proxy_us[node] = world->now_us + for_us;
    }
}

static void fault_flush(struct world *world, uint32_t number)
{
    struct node *node = &world->nodes[number];
    if (!node->is_up || world->flush_count == 8) {
        return;
    }
    world_trace(world, "FAULT somebody flushes node %u", number);
    net_node_time(world, number);
    store_flush(&node->model.store, 0);
    world->flushes_us[world->flush_count++] = world->now_us;
}

/* A node forgets some of what proxies keep there. */
static void fault_evict(struct world *world, uint32_t number)
{
    struct store *store = &world->nodes[number].model.store;
    world_trace(world, "FAULT node %u evicts reserved keys", number);
    for (uint32_t i = 0; i < STORE_BUCKETS; i++) {
        struct store_item *next;
        for (struct store_item *item = store->buckets[i]; item != NULL; item = next) {
            next = item->next;
            bool is_reserved =
                slice_has_prefix(slice_of(item->key, item->key_len), SLICE(VIEW_RESERVED_PREFIX));
            if (is_reserved && world_chance(world, 60)) {
                store_drop(store, item);
            }
        }
    }
}

/* --- Proxies --- */

/* A proxy that dies with a node may cost the others' clients errors (docs/limits.md): so it does
 * not, in a tame seed. */
static bool fault_may_harm_proxy(struct world *world, const struct proxy *p)
{
    bool is_calm = fault_is_whole(world) && world->calm_us < world->now_us;
    return p->is_up && p->paused_us <= world->now_us && (is_calm || world->loss_us > 0);
}

static void fault_trouble(struct proxy *p, uint64_t until_us)
{
    p->troubled_us = until_us + 2 * WORLD_REQUEST_US;
}

/* An operator's word while a proxy is silent: the others go on without it. */
static void fault_command_later(struct world *world)
{
    if (world_chance(world, 60)) {
        uint64_t at_us = world->now_us + WORLD_LEASE_US + 100000 + world_below(world, 800000);
        world_post(world, at_us, WORLD_FAULT, 2, 0, 0);
    }
}

static void fault_pause_proxy(struct world *world, uint32_t node)
{
    (void)node;
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    struct proxy *p = &world->proxies[number];
    if (fault_may_harm_proxy(world, p)) {
        uint64_t for_us = 1000 + world_below(world, world_chance(world, 50) ? 1000000 : 4000000);
        world_trace(world, "FAULT p%u stops for %llu us", number, (unsigned long long)for_us);
        p->paused_us = world->now_us + for_us;
        fault_trouble(p, p->paused_us);
        fault_command_later(world);
    }
}

void fault_start_proxy(struct world *world, uint32_t number)
{
    struct proxy *p = &world->proxies[number];
    if (p->is_up) {
        return;
    }
    world_trace(world, "p%u starts", number);
    proxy_init(world, number);
    fault_trouble(p, world->now_us);
    for (uint32_t i = 0; i < world->client_count; i++) {
        if (world->clients[i].proxy == number && world->clients[i].state != CLIENT_HERE) {
            world_post(world, world->now_us + world_below(world, 100000), WORLD_CLIENT_OPEN, i, 0,
                       0);
        }
    }
}

static void fault_crash_proxy(struct world *world, uint32_t node)
{
    (void)node;
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    struct proxy *p = &world->proxies[number];
    if (fault_may_harm_proxy(world, p)) {
        uint64_t for_us = 1 + world_below(world, world_chance(world, 50) ? 20000 : 3000000);
        world_trace(world, "FAULT p%u dies, back in %llu us", number, (unsigned long long)for_us);
        p->paused_us = 0;
        proxy_crash(world, number);
        fault_trouble(p, world->now_us + for_us);
        fault_command_later(world);
        world_post(world, world->now_us + for_us, WORLD_PROXY_START, number, 0, 0);
    }
}

/* --- Choosing --- */

static const struct {
    void (*strike)(struct world *world, uint32_t node);
    uint32_t weight;
} FAULT_KINDS[] = {
    {fault_crash, 30},      {fault_freeze, 22},     {fault_cut, 12},  {fault_stall, 8},
    {fault_command, 20},    {fault_flush, 5},       {fault_evict, 8}, {fault_partition, 18},
    {fault_pause_proxy, 8}, {fault_crash_proxy, 8},
};

enum { FAULT_KIND_COUNT = sizeof(FAULT_KINDS) / sizeof(FAULT_KINDS[0]) };

uint32_t fault_choose(struct world *world)
{
    if (world_chance(world, 20)) {
        return (1u << FAULT_KIND_COUNT) - 1;
    }
    uint32_t kinds = 1u << world_below(world, FAULT_KIND_COUNT);
    for (uint32_t i = 0; i < FAULT_KIND_COUNT; i++) {
        kinds |= world_chance(world, 30) ? 1u << i : 0;
    }
    return kinds;
}

static void fault_one(struct world *world, uint32_t node)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < FAULT_KIND_COUNT; i++) {
        sum += (world->fault_kinds >> i & 1) * FAULT_KINDS[i].weight;
    }
    uint32_t dice = (uint32_t)world_below(world, sum);
    for (uint32_t i = 0;; i++) {
        uint32_t weight = (world->fault_kinds >> i & 1) * FAULT_KINDS[i].weight;
        if (dice < weight) {
            FAULT_KINDS[i].strike(world, node);
            return;
        }
        dice -= weight;
    }
}

void fault_strike(struct world *world, uint32_t phase)
{
    if (world->is_resting) {
        return;
    }
    if (phase == 0) {
        /* It meets clients at work. */
        world_hurry(world, 6000);
        world_post(world, world->now_us + world_below(world, 8000), WORLD_FAULT, 1, 0, 0);
        return;
    }
    uint32_t node = (uint32_t)world_below(world, world->options.nodes);
    if (phase == 2) {
        fault_command(world, node);
        return;
    }
    bool is_tame = fault_is_tame(world, node);
    if (!is_tame && !world->is_wild) {
        /* Later; if the pool does not become whole in time, the run ends without this one. */
        world_post(world, world->now_us + 300000, WORLD_FAULT, 0, 0, 0);
        return;
    }
    world->faults_left--;
    world->nodes[node].harmed_us = world->now_us;
    if (!is_tame && world->loss_us == 0) {
        world_trace(world, "from here on losses are excused");
        world->loss_us = world->now_us;
    }
    fault_one(world, node);
    world->calm_us = world->now_us + 2 * FAULT_PEACE_US;
    world_note_fault(world);
    fault_plan(world);
    if (world->faults_left == 0) {
        world->end_us = world->now_us + FAULT_AFTER_US;
    }
}

void fault_end(struct world *world)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct proxy *p = &world->proxies[i];
        p->paused_us = p->paused_us > world->now_us ? world->now_us : p->paused_us;
        memset(p->cut_to_node_us, 0, sizeof(p->cut_to_node_us));
        memset(p->cut_to_proxy_us, 0, sizeof(p->cut_to_proxy_us));
        fault_start_proxy(world, i);
    }
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct node *node = &world->nodes[i];
        if (!node->is_up) {
            net_start(world, i);
        }
        if (node->is_frozen) {
            net_thaw(world, i);
        }
    }
    world_note_fault(world);
}

void fault_ready(struct world *world)
{
    for (uint32_t p = 0; world->is_started && p < world->options.proxies; p++) {
        struct control_snapshot snapshot;
        for (uint32_t i = 0; proxy_snapshot(world, p, &snapshot) && i < world->options.nodes; i++) {
            struct control_command command = {
                .type = CONTROL_COMMAND_READY, .node = i, .ticket = ++world->proxies[p].ticket};
            if (snapshot.nodes[i].admin != NODE_ADMIN_READY) {
                proxy_command(world, p, &command);
            }
        }
    }
}
