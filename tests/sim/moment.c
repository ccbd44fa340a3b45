/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes wrong at a moment of the protocol. Between two steps of it often lies no more than a
 * packet's way, in which by chance nothing else happens; so who sees the first step on the wire
 * lets the wrong thing come before the second.
 */
#include "sim/moment.h"

#include "sim/fault.h"
#include "sim/world.h"

enum {
    MOMENT_DRAINED_US = 800 * 1000, /* a donor is drained for so long */
    MOMENT_FROZEN_US = 1200 * 1000, /* longer than half of a request's time */
    MOMENT_COUNTS = 6,
    MOMENT_COUNT_US = 200 * 1000,
};

static bool moment_may(const struct world *world, enum moment moment)
{
    return (world->profile->moments >> moment & 1) != 0 && !world->is_resting && world->is_started;
}

static bool moment_is(struct world *world, enum moment moment)
{
    return moment_may(world, moment) && world_chance(world, world->profile->aim_percent);
}

static void moment_post(struct world *world, uint64_t within_us, uint32_t phase, uint32_t number)
{
    world_post(world, world->now_us + 1 + world_below(world, within_us), WORLD_FAULT, phase, number,
               0);
}

static bool moment_has(struct slice bytes, const char *word)
{
    return memmem(bytes.ptr, bytes.len, word, strlen(word)) != NULL;
}

static bool moment_is_complete(const struct world *world, uint32_t proxy, uint32_t node)
{
    const struct topology *topology = world->proxies[proxy].topology[0];
    return topology != NULL && (topology->complete & node_set_of(node)) != 0;
}

static bool moment_is_filling(const struct world *world, uint32_t proxy)
{
    const struct topology *topology = world->proxies[proxy].topology[0];
    return topology != NULL && topology->chained != 0;
}

static bool moment_is_drained(const struct world *world, uint32_t proxy, uint32_t node)
{
    const struct topology *topology = world->proxies[proxy].topology[0];
    return topology != NULL && (topology->complete & ~topology->leaders & node_set_of(node)) != 0;
}

/* A way to a node and back, at most. */
static uint64_t moment_trip_us(const struct world *world)
{
    return 20 + 4 * world->delay_us + 2 * world->wire_us;
}

static void moment_drain(struct world *world, uint32_t node)
{
    moment_post(world, 1, FAULT_DRAIN, node);
    world_post(world, world->now_us + MOMENT_DRAINED_US, WORLD_FAULT, FAULT_READY, node, 0);
}

/* Donors are read one after the other: while one is, the next is drained. */
void moment_on_copy(struct world *world, const struct conn *conn, struct slice bytes)
{
    bool is_complete = moment_is_complete(world, conn->proxy, conn->node);
    leave_at_moment(world, conn->proxy);
    if (slice_has_prefix(bytes, SLICE("stats")) && conn->last_key != WORLD_KEYS_MAX &&
        !is_complete && moment_is(world, MOMENT_FILLED)) {
        moment_post(world, moment_trip_us(world), FAULT_EMPTY, conn->node);
    }
    if (slice_has_prefix(bytes, SLICE("lru_crawler metadump")) && is_complete &&
        moment_is_filling(world, conn->proxy) && moment_is(world, MOMENT_DONOR)) {
        moment_drain(world, conn->node + 1 < world->options.nodes ? conn->node + 1 : conn->node);
    }
    if (slice_has_prefix(bytes, SLICE("mg ")) &&
        moment_is_drained(world, conn->proxy, conn->node) && moment_is(world, MOMENT_DONOR)) {
        aim_past(world, aim_key_of(world, bytes), conn->node, 1 + 2 * world->delay_us);
    }
}

void moment_on_probe(struct world *world, const struct conn *conn, struct slice bytes)
{
    struct control_snapshot snapshot;
    if (moment_may(world, MOMENT_START) && moment_has(bytes, ":hb:0 q") &&
        proxy_snapshot(world, conn->proxy, &snapshot) && snapshot.epoch == 0 &&
        moment_is(world, MOMENT_START)) {
        moment_post(world, moment_trip_us(world), FAULT_TOGGLE,
                    (uint32_t)world_below(world, world->options.nodes));
    }
}

/* What goes by the worker's other link to the same node comes late. */
static void moment_delay_other(struct world *world, const struct conn *conn)
{
    uint32_t other = (conn->wire + WORLD_NODES_MAX) % WORLD_LINKS_MAX;
    struct conn *late = world->proxies[conn->proxy].links[conn->worker][other];
    if (late != NULL) {
        uint64_t for_us = 10 * world->delay_us;
        net_stall(world, late, for_us + world_below(world, for_us));
    }
}

static bool moment_leads(const struct world *world, const struct conn *conn, uint32_t key)
{
    const struct topology *topology = world->proxies[conn->proxy].topology[conn->worker];
    return topology == NULL || topology->leaders == 0 ||
           topology_leader(topology, topology_hash(slice_of_string(world_key(key)))) == conn->node;
}

/* Has some filling node got what a fill copied there? */
static bool moment_is_copied(struct world *world, uint32_t proxy, uint32_t key)
{
    const struct topology *topology = world->proxies[proxy].topology[0];
    bool is = false;
    for (node_set left = topology == NULL ? 0 : topology->chained; left != 0; left &= left - 1) {
        struct node *node = &world->nodes[node_set_first(left)];
        is = is || (node->is_up &&
                    store_find(&node->model.store, slice_of_string(world_key(key))) != NULL);
    }
    return is;
}

void moment_on_link(struct world *world, struct conn *conn, uint32_t key, struct slice bytes)
{
    if (key == WORLD_KEYS_MAX) {
        return;
    }
    if (moment_may(world, MOMENT_CONTEND) && moment_has(bytes, "ms ") &&
        moment_is(world, MOMENT_CONTEND)) {
        struct aim aim = {.by = AIM_BY_OTHERS, .kind = HISTORY_DELETE, .key = key};
        aim_by(world, conn, &aim, 1 + 2 * world->delay_us);
    }
    if (moment_may(world, MOMENT_MEND) && slice_has_prefix(bytes, SLICE("mg ")) &&
        moment_has(bytes, " v f t c u\r\n") && moment_is(world, MOMENT_MEND)) {
        moment_delay_other(world, conn);
        struct aim aim = {.by = AIM_BY_WORKER, .kind = HISTORY_DELETE, .key = key};
        aim_by(world, conn, &aim, 1);
    }
    if (moment_may(world, MOMENT_DELETE) && moment_has(bytes, "md ") &&
        !moment_leads(world, conn, key) && moment_is(world, MOMENT_DELETE)) {
        struct aim aim = {.by = AIM_BY_OTHERS, .kind = HISTORY_GET, .key = key};
        net_stall(world, conn, 10 * world->delay_us);
        aim_by(world, conn, &aim, 1 + 4 * world->delay_us);
    }
    if (moment_has(bytes, "ms ") && moment_is_complete(world, conn->proxy, conn->node) &&
        moment_is_copied(world, conn->proxy, key) && moment_is(world, MOMENT_CHAIN)) {
        moment_post(world, moment_trip_us(world), FAULT_DIES, conn->proxy);
    }
    bool is_decided = slice_has_prefix(bytes, SLICE("ma ")) && conn->node == world->mute_node;
    if (is_decided && (world->mute_key == WORLD_KEYS_MAX || world->mute_key == key) &&
        fault_is_tame(world, conn->node)) {
        conn->is_mute = true;
    }
}

/*
 * First the connection ends, as it should, but for the answer; what is run again over the next one
 * is not answered either: the node says no more for a while, and no more over that one.
 */
bool moment_is_silenced(struct world *world, struct conn *conn)
{
    bool is_first = world->mute_key == WORLD_KEYS_MAX;
    if (world->mute_node != conn->node) {
        return true; /* the node goes on */
    }
    world_trace(world, "FAULT node %u did what connection %u asked, its answer is lost", conn->node,
                conn->number);
    world_note_fault(world);
    if (is_first) {
        world->mute_key = conn->last_key;
        return true;
    }
    world->keys[world->mute_key].was_muted = true;
    world->mute_key = WORLD_KEYS_MAX;
    world->mute_node = WORLD_NODES_MAX;
    world->nodes[conn->node].harmed_us = world->now_us;
    fault_stop(world, conn->node, MOMENT_FROZEN_US + world_below(world, MOMENT_FROZEN_US));
    return false;
}

void moment_mute(struct world *world, uint32_t node)
{
    world->mute_node = node;
    world->mute_key = WORLD_KEYS_MAX;
    for (uint32_t i = 0; i < MOMENT_COUNTS; i++) {
        const struct client *c = &world->clients[world_below(world, world->client_count)];
        aim_to_count(world, c->key_first + c->key_count - 1, MOMENT_COUNT_US);
    }
}

static void moment_empty(struct world *world, uint32_t number)
{
    struct node *node = &world->nodes[number];
    if (!node->is_up || node->is_frozen || moment_is_complete(world, 0, number)) {
        return;
    }
    node->harmed_us = world->now_us;
    world->emptied_us = world->now_us;
    world_note_fault(world);
    world_trace(world, "FAULT node %u dies when it has been filled, and is back", number);
    node->is_warm = false;
    net_crash(world, number);
    world_post(world, world->now_us + 1 + world_below(world, 1000), WORLD_NODE_START, number, 0,
               node->generation);
}

static void moment_toggle(struct world *world, uint32_t node)
{
    struct control_snapshot snapshot;
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        if (proxy_snapshot(world, i, &snapshot) && snapshot.state == CONTROL_SERVING) {
            bool is_ready = snapshot.nodes[node].admin == NODE_ADMIN_READY;
            fault_say(world, node, is_ready ? CONTROL_COMMAND_DRAIN : CONTROL_COMMAND_READY);
            return;
        }
    }
}

void moment_strike(struct world *world, uint32_t phase, uint32_t number)
{
    if (phase == FAULT_EMPTY) {
        moment_empty(world, number);
    } else {
        moment_toggle(world, number);
    }
}
