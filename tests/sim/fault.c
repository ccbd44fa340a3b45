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

static void fault_snapshot(const struct world *world, uint32_t proxy, struct control_snapshot *out)
{
    control_snapshot(world->proxies[proxy].control, out,
                     world->now_us + 1000000 + UINT64_C(7777777) * proxy);
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
        fault_snapshot(world, i, &snapshot);
        if (snapshot.nodes[number].data != NODE_DATA_COMPLETE ||
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
        fault_snapshot(world, i, &snapshot);
        if (snapshot.state != CONTROL_SERVING) {
            return false;
        }
    }
    return true;
}

/* Another node holds everything and was not harmed lately. */
static bool fault_is_tame(const struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (i != node && world->nodes[i].harmed_us + FAULT_PEACE_US < world->now_us &&
            fault_is_whole_node(world, i)) {
            return true;
        }
    }
    return false;
}

static void fault_crash(struct world *world, uint32_t number)
{
    static const uint64_t PAUSE_US[] = {0, 10000, 50000, 400000, 3000000};
    struct node *node = &world->nodes[number];
    if (!node->is_up) {
        return;
    }
    node->is_host_down = world_chance(world, 15);
    net_crash(world, number);
    uint64_t pause_us = 1 + world_below(world, 1 + 2 * PAUSE_US[world_below(world, 5)]);
    world_trace(world, "FAULT node %u dies%s, back in %llu us", number,
                node->is_host_down ? " with its host" : "", (unsigned long long)pause_us);
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
    uint32_t proxy = (uint32_t)world_below(world, world->options.proxies);
    struct control_command command = {
        .type = type, .node = node, .ticket = ++world->proxies[proxy].ticket};
    world_trace(world, "FAULT p%u command %d for node %u", proxy, (int)type, node);
    proxy_command(world, proxy, &command);
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
    uint32_t dice = (uint32_t)world_below(world, 100);
    if (dice < 35) {
        fault_crash(world, node);
    } else if (dice < 60) {
        fault_freeze(world, node);
    } else if (dice < 72) {
        fault_cut(world, node);
    } else if (dice < 80) {
        fault_stall(world, node);
    } else {
        fault_command(world, node);
    }
    world_note_fault(world);
    fault_plan(world);
    if (world->faults_left == 0) {
        world->end_us = world->now_us + FAULT_AFTER_US;
    }
}

void fault_end(struct world *world)
{
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
        fault_snapshot(world, p, &snapshot);
        for (uint32_t i = 0; i < world->options.nodes; i++) {
            struct control_command command = {
                .type = CONTROL_COMMAND_READY, .node = i, .ticket = ++world->proxies[p].ticket};
            if (snapshot.nodes[i].admin != NODE_ADMIN_READY) {
                proxy_command(world, p, &command);
            }
        }
    }
}
