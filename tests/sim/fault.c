/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What goes wrong. A tame seed harms a node only while another one holds everything and has been
 * left in peace for a while: then C3 promises that no client notices. A wild seed does not care,
 * and its losses and errors are excused from the moment the last whole copy was harmed.
 */
#include "sim/fault.h"

#include "sim/world.h"

enum {
    FAULT_PEACE_US = 2000 * 1000,
    FAULT_HANG_US = 6000 * 1000,
    FAULT_DRAINS_US = 100 * 1000, /* by then another leads */
    FAULT_WAKE_US = 80 * 1000,
    /* A start waits for three leases for a node that stands still, and nobody else may know what
     * lies there (docs/limits.md). */
    FAULT_START_FREEZE_US = 2 * WORLD_LEASE_US,
    FAULT_AFTER_US = 4000 * 1000, /* requests go on so long after the last: a fill */
};

void fault_plan(struct world *world)
{
    if (world->faults_left > 0) {
        world_post(world, world->now_us + world_below(world, 2 * world->fault_pause_us),
                   WORLD_FAULT, FAULT_COMES, 0, 0);
    }
}

/* NODE is well, and every worker acts on a view that says so of this very run. */
static bool fault_is_well(const struct world *world, uint32_t number)
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
    }
    return true;
}

static bool fault_is_shown_well(const struct control_snapshot *snapshot, uint32_t number)
{
    const struct control_node_snapshot *node = &snapshot->nodes[number];
    return node->data == NODE_DATA_COMPLETE && node->oper == NODE_OPER_UP &&
           node->admin == NODE_ADMIN_READY;
}

static bool fault_is_whole_node(const struct world *world, uint32_t number)
{
    struct control_snapshot snapshot;
    bool is_whole = fault_is_well(world, number);
    for (uint32_t i = 0; i < world->options.proxies && is_whole; i++) {
        is_whole = proxy_snapshot(world, i, &snapshot) && fault_is_shown_well(&snapshot, number);
    }
    return is_whole;
}

bool fault_are_nodes_well(const struct world *world)
{
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (!fault_is_well(world, i)) {
            return false;
        }
    }
    return true;
}

bool fault_is_whole(struct world *world)
{
    if (!fault_are_nodes_well(world)) {
        return false;
    }
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        if (!proxy_snapshot(world, i, &snapshot) || snapshot.state != CONTROL_SERVING) {
            return false;
        }
        for (uint32_t n = 0; n < world->options.nodes; n++) {
            if (!fault_is_shown_well(&snapshot, n)) {
                return false;
            }
        }
    }
    return true;
}

/* Another node holds everything, none was harmed lately, and every proxy is well. */
bool fault_is_tame(const struct world *world, uint32_t node)
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

/* Does any proxy know a view that it acts on? */
static bool fault_is_any_serving(const struct world *world)
{
    bool is_any = false;
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        is_any = is_any || (world->proxies[i].is_up && world->proxies[i].serving_us != 0);
    }
    return is_any;
}

void fault_crash(struct world *world, uint32_t number)
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

void fault_stop(struct world *world, uint32_t number, uint64_t pause_us)
{
    struct node *node = &world->nodes[number];
    if (!fault_is_any_serving(world) && pause_us > FAULT_START_FREEZE_US) {
        pause_us = FAULT_START_FREEZE_US;
    }
    node->is_frozen = true;
    node->generation++;
    world_trace(world, "FAULT node %u freezes for %llu us", number, (unsigned long long)pause_us);
    world_post(world, world->now_us + pause_us, WORLD_NODE_THAW, number, 0, node->generation);
}

void fault_freeze(struct world *world, uint32_t number)
{
    const struct node *node = &world->nodes[number];
    if (node->is_up && !node->is_frozen) {
        fault_stop(world, number,
                   1000 + world_below(world, world_chance(world, 50) ? 600000 : 5000000));
    }
}

static void fault_cut(struct world *world, uint32_t number)
{
    if (world_chance(world, 50)) {
        world->link_cut_node = number; /* when it carries a write */
        return;
    }
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

/* A thread of the node hangs, with one connection; the others notice nothing. */
static void fault_stall_one(struct world *world, uint32_t number)
{
    const struct proxy *p = &world->proxies[world_below(world, world->options.proxies)];
    uint32_t second = world_chance(world, 50) ? WORLD_NODES_MAX : 0;
    struct conn *conn = p->links[world_below(world, world->options.workers)][number + second];
    if (conn != NULL && conn->is_node_open) {
        uint64_t for_us = world_below(world, FAULT_HANG_US);
        world_trace(world, "FAULT connection %u of node %u hangs for %llu us", conn->number, number,
                    (unsigned long long)for_us);
        net_stall(world, conn, for_us);
        /* While it lasts, a connection that was given up there may have no end. */
        world->nodes[number].harmed_us = world->now_us + for_us;
        aim_at(world, conn->last_key, 2000);
    }
}

static void fault_stall(struct world *world, uint32_t number)
{
    if (world_chance(world, 50)) {
        fault_stall_one(world, number);
        return;
    }
    uint64_t pause_us = world_chance(world, 50) ? 50000 : 1400000;
    world_trace(world, "FAULT connections of node %u stall for up to %llu us", number,
                (unsigned long long)pause_us);
    for (uint32_t i = 0; i < world->conn_count; i++) {
        struct conn *conn = world->conns[i];
        if (conn->node == number && conn->is_node_open && world_chance(world, 60)) {
            net_stall(world, conn, world_below(world, pause_us));
            aim_at(world, conn->last_key, 2000);
        }
    }
}

void fault_say(struct world *world, uint32_t node, enum control_command_type type)
{
    uint32_t first = (uint32_t)world_below(world, world->options.proxies);
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        uint32_t number = (first + i) % world->options.proxies;
        struct proxy *p = &world->proxies[number];
        if (p->is_up && !p->is_leaving && p->paused_us <= world->now_us) {
            struct control_command command = {.type = type, .node = node, .ticket = ++p->ticket};
            world_trace(world, "FAULT p%u command %d for node %u", number, (int)type, node);
            proxy_command(world, number, &command);
            if (world_chance(world, world->profile->command_pairs_percent)) {
                world_post(world, world->now_us + world_below(world, 20000), WORLD_FAULT,
                           FAULT_WORD, 0, 0);
            }
            return;
        }
    }
}

static struct control_command fault_add(const struct world *world, uint32_t node)
{
    struct control_command command = {.type = CONTROL_COMMAND_ADD, .node = node};
    struct slice name = world->node_names[node];
    command.name_bytes = command.address_bytes = (uint8_t)name.len;
    memcpy(command.name, name.ptr, name.len);
    memcpy(command.address, name.ptr, name.len);
    return command;
}

/* A node that is in the pool goes, one that is not comes back, at one proxy's word. */
static void fault_member(struct world *world, uint32_t node)
{
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    struct proxy *p = &world->proxies[number];
    struct control_snapshot snapshot;
    if (p->paused_us > world->now_us || p->is_leaving ||
        !proxy_snapshot(world, number, &snapshot)) {
        return;
    }
    struct control_command command = {.type = CONTROL_COMMAND_REMOVE, .node = node};
    if (!snapshot.nodes[node].is_member) {
        command = fault_add(world, node);
    }
    command.ticket = ++p->ticket;
    command.is_forced = world->is_wild && world_chance(world, 20);
    world_trace(world, "FAULT p%u is told that node %u %s", number, node,
                command.type == CONTROL_COMMAND_ADD ? "comes" : "goes");
    proxy_command(world, number, &command);
}

/* An operator takes it as warm as it is. */
static bool fault_take_warm(struct world *world, uint32_t proxy, uint32_t node)
{
    struct control_snapshot snapshot;
    if (!proxy_snapshot(world, proxy, &snapshot) ||
        snapshot.nodes[node].data != NODE_DATA_WARMING) {
        return false;
    }
    struct control_command command = {.type = CONTROL_COMMAND_READY,
                                      .node = node,
                                      .is_forced = true,
                                      .ticket = ++world->proxies[proxy].ticket};
    world_trace(world, "p%u is told that node %u is warm enough", proxy, node);
    proxy_command(world, proxy, &command);
    return true;
}

static void fault_command(struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->options.nodes && world->profile->refuses_dumps; i++) {
        if (fault_take_warm(world, (uint32_t)world_below(world, world->options.proxies), i)) {
            return;
        }
    }
    fault_say(world, node, (enum control_command_type)world_below(world, 4));
}

static bool fault_is_cut(const struct world *world, uint32_t number, uint32_t node)
{
    const struct proxy *p = &world->proxies[number];
    return p->cut_to_node_us[node] > world->now_us || p->cut_to_proxy_us[node] > world->now_us;
}

/* If those that are frozen go on, too: IS_LATER. */
bool fault_is_cut_anywhere(const struct world *world)
{
    bool is = false;
    for (uint32_t i = 0; i < world->options.proxies * world->options.nodes; i++) {
        is = is || fault_is_cut(world, i / world->options.nodes, i % world->options.nodes);
    }
    return is;
}

/* If those that are frozen go on, too: IS_LATER. */
static node_set fault_reached(const struct world *world, uint32_t number, bool is_later)
{
    node_set reached = 0;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct node *node = &world->nodes[i];
        bool is_still = node->is_frozen && !is_later;
        bool is_there = node->is_up && !is_still && !fault_is_cut(world, number, i);
        reached |= is_there ? node_set_of(i) : 0;
    }
    return reached;
}

/* Would proxy NUMBER share no node with another one if it lost NODE? That is a split, which is made
 * and judged by split.c. */
static bool fault_is_split_by(const struct world *world, uint32_t number, uint32_t node)
{
    for (uint32_t i = 0; i < 2 * world->options.proxies; i++) {
        uint32_t other = i / 2;
        bool is_later = i % 2 == 1;
        node_set ours = fault_reached(world, number, is_later) & ~node_set_of(node);
        node_set theirs = fault_reached(world, other, is_later);
        if (other != number && theirs != 0 && (ours & theirs) == 0) {
            return true;
        }
    }
    return false;
}

bool fault_is_split_without(const struct world *world, uint32_t node)
{
    for (uint32_t number = 0; number < world->options.proxies; number++) {
        bool is_cut = false;
        for (uint32_t i = 0; i < world->options.nodes; i++) {
            is_cut = is_cut || fault_is_cut(world, number, i);
        }
        if (is_cut && fault_reached(world, number, false) != 0 &&
            fault_is_split_by(world, number, node)) {
            return true;
        }
    }
    return false;
}

/* What a cut keeps back comes at its end as foreseen; what is sent later must not pass it. */
static void fault_cut_until(uint64_t *cut_us, uint64_t until_us)
{
    *cut_us = *cut_us > until_us ? *cut_us : until_us;
}

/* Packets between a proxy and a node are lost, one way or both. */
void fault_cut_one(struct world *world, uint32_t number, uint32_t node)
{
    struct proxy *p = &world->proxies[number];
    uint32_t way = (uint32_t)world_below(world, 3);
    uint64_t for_us = 1000 + world_below(world, world_chance(world, 50) ? 800000 : 4000000);
    if (world->options.nodes > 1 && fault_is_split_by(world, number, node)) {
        return;
    }
    world_trace(world, "FAULT p%u and node %u are cut off%s for %llu us", number, node,
                way == 0   ? ""
                : way == 1 ? ", requests"
                           : ", replies",
                (unsigned long long)for_us);
    if (way != 2) {
        fault_cut_until(&p->cut_to_node_us[node], world->now_us + for_us);
    }
    if (way != 1) {
        fault_cut_until(&p->cut_to_proxy_us[node], world->now_us + for_us);
    }
}

static void fault_partition(struct world *world, uint32_t node)
{
    fault_cut_one(world, (uint32_t)world_below(world, world->options.proxies), node);
}

/*
 * No packets between a proxy and any node, one way or both; too short for its lease to lapse, and
 * soon again: for the whole deadline of a request no node is well enough to go on with alone.
 */
static void fault_cut_all(struct world *world, uint32_t number)
{
    struct proxy *p = &world->proxies[number];
    uint64_t for_us = 450000 + world_below(world, 300000);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        if (p->cut_to_node_us[i] > world->now_us || p->cut_to_proxy_us[i] > world->now_us) {
            return;
        }
    }
    world_trace(world, "FAULT p%u is cut off from all nodes for %llu us", number,
                (unsigned long long)for_us);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        uint64_t from_us = world->now_us + world_below(world, 2000);
        uint32_t way = (uint32_t)world_below(world, 3);
        if (way != 2) {
            fault_cut_until(&p->cut_to_node_us[i], from_us + for_us);
        }
        if (way != 1) {
            fault_cut_until(&p->cut_to_proxy_us[i], from_us + for_us);
        }
    }
    world_note_fault(world);
    if (world_chance(world, 60)) {
        uint64_t gap_us = 100000 + world_below(world, 300000);
        world_post(world, world->now_us + for_us + gap_us, WORLD_FAULT, FAULT_AGAIN, number, 0);
    }
}

static void fault_flicker(struct world *world, uint32_t node)
{
    (void)node;
    world_hurry(world, 2000000);
    world->loss_us = world->loss_us == 0 ? world->now_us : world->loss_us;
    fault_cut_all(world, (uint32_t)world_below(world, world->options.proxies));
}

/* Some on each side. */
static node_set fault_halve(struct world *world, uint32_t count)
{
    node_set all = node_set_all(count);
    return 1 + (node_set)world_below(world, all - 1);
}

/* A miss asks the next replica then, which may still have what a split makes the leader forget. */
static bool fault_is_any_young(const struct world *world)
{
    bool is = false;
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        const struct topology *t = world->proxies[i].topology[0];
        is = is || t == NULL || t->is_young;
    }
    return is;
}

/* A line through the world, for longer than a lease: proxies see no node beyond it. It heals at
 * once, or link by link. */
static void fault_split(struct world *world, uint32_t node)
{
    (void)node;
    uint32_t sides[WORLD_PROXIES_MAX] = {0};
    uint64_t for_us = 1200000 + world_below(world, world_chance(world, 50) ? 800000 : 2700000);
    uint64_t slow_us = world_chance(world, 50) ? 1 : world_below(world, 400000);
    if (world->options.proxies < 2 || world->options.nodes < 2 || fault_is_any_young(world)) {
        return;
    }
    node_set proxies = fault_halve(world, world->options.proxies);
    node_set nodes = fault_halve(world, world->options.nodes);
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        sides[i] = (proxies & node_set_of(i)) != 0 ? 0 : 1;
    }
    if (!split_begin(world, sides, nodes, for_us)) {
        return;
    }
    world_trace(world, "FAULT a split for %llu us: proxies %x and nodes %x on one side",
                (unsigned long long)for_us, proxies, nodes);
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        for (uint32_t n = 0; n < world->options.nodes; n++) {
            if (sides[i] == ((nodes & node_set_of(n)) != 0 ? 0u : 1u)) {
                continue;
            }
            uint64_t until_us = world->now_us + for_us + world_below(world, slow_us + 1);
            fault_cut_until(&world->proxies[i].cut_to_node_us[n], until_us);
            fault_cut_until(&world->proxies[i].cut_to_proxy_us[n], until_us);
        }
    }
    world_post(world, world->now_us + for_us, WORLD_FAULT, FAULT_HEAL, 0, 0);
}

/* Clients see how both sides come together. */
static void fault_heal(struct world *world)
{
    world_note_fault(world);
    world_hurry(world, 300000);
    if (world->end_us != 0 && world->end_us < world->now_us + FAULT_AFTER_US) {
        world->end_us = world->now_us + FAULT_AFTER_US;
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
    world->flushes[world->flush_count++] = (struct flush){.node = number, .at_us = world->now_us};
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

void fault_trouble(struct proxy *p, uint64_t until_us)
{
    p->troubled_us = until_us + 2 * WORLD_REQUEST_US;
}

/* An operator's word while a proxy is silent: the others go on without it. */
static void fault_command_later(struct world *world)
{
    if (world_chance(world, 60)) {
        uint64_t at_us = world->now_us + WORLD_LEASE_US + 100000 + world_below(world, 800000);
        world_post(world, at_us, WORLD_FAULT, FAULT_WORD, 0, 0);
    }
}

static void fault_stop_proxy(struct world *world, uint32_t number, uint64_t for_us)
{
    struct proxy *p = &world->proxies[number];
    world_trace(world, "FAULT p%u stops for %llu us", number, (unsigned long long)for_us);
    p->paused_us = world->now_us + for_us;
    fault_trouble(p, p->paused_us);
    if (world->end_us != 0 && world->end_us < p->paused_us + WORLD_REQUEST_US) {
        world->end_us = p->paused_us + WORLD_REQUEST_US; /* clients see it come back */
    }
    fault_command_later(world);
    uint64_t before_us = for_us < FAULT_WAKE_US ? for_us : FAULT_WAKE_US;
    world_post(world, p->paused_us - before_us, WORLD_FAULT, FAULT_WAKE, number, 0);
}

static void fault_pause_proxy(struct world *world, uint32_t node)
{
    (void)node;
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    struct proxy *p = &world->proxies[number];
    if (fault_may_harm_proxy(world, p)) {
        uint64_t for_us = 1000 + world_below(world, world_chance(world, 50) ? 1000000 : 4000000);
        if (world_chance(world, 40)) {
            fault_stop_proxy(world, number, for_us);
        } else {
            p->pause_us = for_us; /* while the answers to its next heartbeat are on their way */
        }
    }
}

void fault_on_beat(struct world *world, uint32_t number, struct slice bytes)
{
    struct proxy *p = &world->proxies[number];
    static const char BEAT[] = ":hb:";
    if (p->pause_us > 0 && memmem(bytes.ptr, bytes.len, BEAT, sizeof(BEAT) - 1) != NULL) {
        world_post(world, world->now_us + world_below(world, 2 * world->delay_us + world->wire_us),
                   WORLD_FAULT, FAULT_STOP, number, 0);
    }
}

void fault_on_foreign_cas(struct world *world, uint32_t client, uint32_t key, uint32_t node)
{
    const struct client *c = &world->clients[client];
    const struct topology *topology = world->proxies[c->proxy].topology[c->worker];
    if (world->is_resting || topology == NULL || topology->leaders == 0 ||
        (topology->leaders & node_set_of(node)) == 0 || !world_chance(world, 30)) {
        return;
    }
    uint32_t leader = topology_leader(topology, topology_hash(slice_of_string(world_key(key))));
    if (leader != node) {
        world_post(world, world->now_us + 1, WORLD_FAULT, FAULT_DRAIN, leader, 0);
        aim_cas(world, client, key, FAULT_DRAINS_US);
    }
}

void fault_on_hold(struct world *world, uint32_t proxy)
{
    leave_at_moment(world, proxy);
    uint64_t at_us = world->now_us + world_below(world, 40000);
    if (world->is_resting || !world_chance(world, world->profile->aim_percent / 2)) {
        return;
    }
    if (world_chance(world, 20)) {
        world_post(world, at_us, WORLD_FAULT, FAULT_WORD, 0, 0);
    }
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct node *node = &world->nodes[i];
        if (node->is_frozen) {
            world_post(world, at_us, WORLD_NODE_THAW, i, 0, node->generation);
        }
    }
}

static void fault_thaw_soon(struct world *world)
{
    for (uint32_t i = 0; !fault_is_any_serving(world) && i < world->options.nodes; i++) {
        world_post(world, world->now_us + FAULT_START_FREEZE_US, WORLD_NODE_THAW, i, 0,
                   world->nodes[i].generation);
    }
}

void fault_start_proxy(struct world *world, uint32_t number)
{
    struct proxy *p = &world->proxies[number];
    if (p->is_up) {
        return;
    }
    fault_thaw_soon(world);
    world_trace(world, "p%u starts", number);
    leave_forget_id(world, number);
    proxy_init(world, number);
    fault_trouble(p, world->now_us);
    for (uint32_t i = 0; i < world->client_count; i++) {
        if (world->clients[i].proxy == number && world->clients[i].state != CLIENT_HERE) {
            world_post(world, world->now_us + world_below(world, 100000), WORLD_CLIENT_OPEN, i, 0,
                       0);
        }
    }
}

static void fault_proxy_dies(struct world *world, uint32_t number)
{
    struct proxy *p = &world->proxies[number];
    uint64_t for_us = 1 + world_below(world, world_chance(world, 50) ? 20000 : 3000000);
    world_trace(world, "FAULT p%u dies, back in %llu us", number, (unsigned long long)for_us);
    p->paused_us = 0;
    proxy_crash(world, number);
    fault_trouble(p, world->now_us + for_us);
    fault_command_later(world);
    world_post(world, world->now_us + for_us, WORLD_PROXY_START, number, 0, 0);
}

void fault_kill_proxy(struct world *world, uint32_t number)
{
    if (fault_may_harm_proxy(world, &world->proxies[number])) {
        fault_proxy_dies(world, number);
    }
}

static void fault_crash_proxy(struct world *world, uint32_t node)
{
    (void)node;
    fault_kill_proxy(world, (uint32_t)world_below(world, world->options.proxies));
}

/*
 * A proxy reaches no node for about its lease or longer, one way or both. The others' clients may
 * not notice, neither when it goes nor when it comes back, whatever they change then.
 */
static void fault_cut_off(struct world *world, uint32_t node)
{
    (void)node;
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    struct proxy *p = &world->proxies[number];
    if (!fault_may_harm_proxy(world, p)) {
        return;
    }
    uint64_t for_us = 700000 + world_below(world, world_chance(world, 50) ? 800000 : 3000000);
    uint64_t slow_us = world_chance(world, 50) ? 1 : 400000; /* node by node */
    uint32_t way = (uint32_t)world_below(world, 3);
    world_trace(world, "FAULT p%u is cut off from all nodes%s for %llu us", number,
                way == 0   ? ""
                : way == 1 ? ", requests"
                           : ", replies",
                (unsigned long long)for_us);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        uint64_t until_us = world->now_us + for_us + world_below(world, slow_us);
        fault_cut_until(&p->cut_to_node_us[i], way != 2 ? until_us : 0);
        fault_cut_until(&p->cut_to_proxy_us[i], way != 1 ? until_us : 0);
    }
    fault_trouble(p, world->now_us + for_us + WORLD_LEASE_US);
    fault_command_later(world);
    if (world_chance(world, 60)) {
        uint64_t at_us = world->now_us + for_us + world_below(world, 1500000);
        world_post(world, at_us, WORLD_FAULT, FAULT_WORD, 0, 0);
    }
    world_post(world, world->now_us + for_us, WORLD_FAULT, FAULT_HEAL, 0, 0);
}

/* --- What is rarer --- */

/* The next connection that carries a copy is cut while it does. */
static void fault_cut_fill(struct world *world, uint32_t number)
{
    (void)number;
    world->is_copy_cut_due = true;
}

void fault_on_link(struct world *world, struct conn *conn, struct slice bytes)
{
    bool is_write = slice_has_prefix(bytes, SLICE("ms ")) ||
                    slice_has_prefix(bytes, SLICE("md ")) || slice_has_prefix(bytes, SLICE("ma "));
    if (world->link_cut_node == conn->node && is_write && !world->is_resting) {
        world->link_cut_node = WORLD_NODES_MAX;
        world_post(world, world->now_us + 1, WORLD_FAULT, FAULT_COPY_CUT, conn->number, 0);
    }
}

void fault_on_copy(struct world *world, struct conn *conn, struct slice bytes)
{
    if (world->is_copy_cut_due && slice_has_prefix(bytes, SLICE("ms "))) {
        world->is_copy_cut_due = false;
        world_post(world, world->now_us + 1, WORLD_FAULT, FAULT_COPY_CUT, conn->number, 0);
    }
}

/* What it carries comes late: perhaps when the next fill is under way and its key has gone. */
static void fault_cut_copy(struct world *world, struct conn *conn)
{
    if (conn->side == CONN_OPEN && conn->is_node_open) {
        world_trace(world, "FAULT connection %u is cut while it carries a write", conn->number);
        aim_to_delete(world, conn->last_key, WORLD_LATE_US / 3);
        aim_to_delete(world, conn->last_key, WORLD_LATE_US / 30);
        world->nodes[conn->node].harmed_us = world->now_us;
        net_cut_late(world, conn, WORLD_LATE_US);
        world_note_fault(world);
    }
}

/* A node has no room for all: some of clients' items are forgotten. */
static void fault_evict_keys(struct world *world, uint32_t number)
{
    struct store *store = &world->nodes[number].model.store;
    net_node_time(world, number);
    for (uint32_t key = 0; world->nodes[number].is_up && key < world->key_count; key++) {
        struct store_item *item = store_find(store, slice_of_string(world_key(key)));
        if (item != NULL && world_chance(world, 30)) {
            world_trace(world, "FAULT node %u evicts %s", number, world_key(key));
            store_drop(store, item);
            world->keys[key].is_evicted = true;
            world->keys[key].evicted_last_us = world->now_us;
            if (world->keys[key].evicted_us == 0) {
                world->keys[key].evicted_us = world->now_us;
            }
        }
    }
}

static void fault_crash_proxy(struct world *world, uint32_t node);

/* The next process there finds another wall clock. */
static void fault_clock(struct world *world, uint32_t number)
{
    int64_t by_ms = (int64_t)world_below(world, 3 * 3600 * 1000) - 2 * 3600 * 1000;
    if (world_chance(world, 50)) {
        struct node *node = &world->nodes[number];
        if (node->is_up) {
            world_trace(world, "FAULT the clock of node %u jumps by %lld ms", number,
                        (long long)by_ms);
            fault_crash(world, number);
            node->is_warm = false;
            model_free(&node->model);
            node->clock_offset_us = by_ms * 1000;
        }
        return;
    }
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        world->proxies[i].clock_ms = world_chance(world, 50) ? by_ms : world->proxies[i].clock_ms;
    }
    fault_crash_proxy(world, number);
}

static void fault_flush_all(struct world *world, uint32_t node)
{
    (void)node;
    uint32_t client = (uint32_t)world_below(world, world->client_count);
    world_trace(world, "FAULT client %u empties all nodes", client);
    (void)client_flush_all(world, client, 0);
}

static void fault_flush_later(struct world *world, uint32_t node)
{
    (void)node;
    uint32_t client = (uint32_t)world_below(world, world->client_count);
    uint32_t delay_s = 1 + (uint32_t)world_below(world, 4);
    if (!client_flush_all(world, client, delay_s)) {
        return;
    }
    world_trace(world, "FAULT client %u empties all nodes in %u s", client, delay_s);
    uint64_t at_us = world->now_us + delay_s * UINT64_C(1000000);
    for (uint32_t i = 0; i < 3; i++) {
        world_post(world, at_us + world_below(world, 400000), WORLD_FAULT, FAULT_LATER, 0, 0);
    }
    world_post(world, at_us - world_below(world, 200000), WORLD_FAULT, FAULT_LATER, 0, 0);
    if (world_chance(world, 60)) {
        world_post(world, world->now_us + world_below(world, delay_s * 1000000), WORLD_FAULT,
                   FAULT_WORD, 0, 0);
    }
}

/* Clients write at the moment when all is forgotten. */
static void fault_later(struct world *world)
{
    world_hurry(world, 50000);
    if (world->end_us != 0 && world->end_us < world->now_us + FAULT_AFTER_US) {
        world->end_us = world->now_us + FAULT_AFTER_US;
    }
}

/* --- Choosing --- */

static const struct {
    void (*strike)(struct world *world, uint32_t node);
    uint32_t weight;
} FAULT_KINDS[FAULT_ALL_COUNT] = {
    [FAULT_CRASH] = {fault_crash, 30},
    [FAULT_FREEZE] = {fault_freeze, 22},
    [FAULT_CUT] = {fault_cut, 12},
    [FAULT_STALL] = {fault_stall, 8},
    [FAULT_COMMAND] = {fault_command, 20},
    [FAULT_FLUSH] = {fault_flush, 5},
    [FAULT_EVICT] = {fault_evict, 8},
    [FAULT_PARTITION] = {fault_partition, 18},
    [FAULT_PAUSE_PROXY] = {fault_pause_proxy, 8},
    [FAULT_CRASH_PROXY] = {fault_crash_proxy, 8},
    [FAULT_CUT_FILL] = {fault_cut_fill, 10},
    [FAULT_EVICT_KEYS] = {fault_evict_keys, 6},
    [FAULT_CLOCK] = {fault_clock, 6},
    [FAULT_FLUSH_ALL] = {fault_flush_all, 6},
    [FAULT_MEMBER] = {fault_member, 40},
    [FAULT_FLICKER] = {fault_flicker, 40},
    [FAULT_SPLIT] = {fault_split, 40},
    [FAULT_FLUSH_LATER] = {fault_flush_later, 40},
    [FAULT_MUTE] = {moment_mute, 40},
    [FAULT_CUT_OFF] = {fault_cut_off, 40},
    [FAULT_LEAVE] = {leave_strike, 60},
};

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
    for (uint32_t i = 0; i < FAULT_ALL_COUNT; i++) {
        sum += (world->fault_kinds >> i & 1) * FAULT_KINDS[i].weight;
    }
    uint32_t dice = (uint32_t)world_below(world, sum);
    for (uint32_t i = 0;; i++) {
        uint32_t weight = (world->fault_kinds >> i & 1) * FAULT_KINDS[i].weight;
        if (dice < weight) {
            if (!fault_is_split_without(world, node)) {
                FAULT_KINDS[i].strike(world, node);
            }
            return;
        }
        dice -= weight;
    }
}

/* An operator who takes out a node just after another died, before anybody noticed, has done two
 * things at once. */
static void fault_word(struct world *world)
{
    uint32_t node = (uint32_t)world_below(world, world->options.nodes);
    if ((world->emptied_us > 0 && world->emptied_us + FAULT_PEACE_US > world->now_us) ||
        (fault_is_cut_anywhere(world) && !world->is_wild) || fault_is_split_without(world, node)) {
        return;
    }
    for (uint32_t i = 0; i < world->options.nodes && !world->is_wild; i++) {
        const struct node *other = &world->nodes[i];
        if (i != node && (!other->is_up || other->is_frozen || other->is_host_down)) {
            return;
        }
    }
    world->nodes[node].harmed_us = world->now_us;
    world_note_fault(world);
    fault_command(world, node);
}

/* A fill need not be over before a proxy dies; but of two deaths, or beside a node that comes back,
 * clients may see errors (docs/limits.md). */
static bool fault_is_for_one_death(const struct world *world, uint32_t number)
{
    const struct topology *t = world->proxies[number].topology[0];
    bool is = t != NULL;
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        is = is && world->proxies[i].is_up && world->proxies[i].troubled_us < world->now_us;
    }
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        is = is && world->nodes[i].is_up && !world->nodes[i].is_frozen &&
             ((t->complete | t->chained) & node_set_of(i)) != 0;
    }
    return is;
}

/* What follows from a fault that came before. */
static void fault_follow(struct world *world, enum fault_phase phase, uint32_t number)
{
    if (phase == FAULT_DRAIN || phase == FAULT_READY) {
        fault_say(world, number,
                  phase == FAULT_DRAIN ? CONTROL_COMMAND_DRAIN : CONTROL_COMMAND_READY);
        return;
    }
    if (phase == FAULT_EMPTY || phase == FAULT_TOGGLE) {
        moment_strike(world, phase, number);
        return;
    }
    if (phase == FAULT_COPY_CUT) {
        fault_cut_copy(world, world->conns[number]);
        return;
    }
    if (phase == FAULT_AGAIN) {
        fault_cut_all(world, number);
        return;
    }
    if (phase == FAULT_LATER) {
        fault_later(world);
        return;
    }
    if (phase == FAULT_HEAL) {
        fault_heal(world);
        return;
    }
    if (phase == FAULT_LEAVES) {
        leave_begin(world, number);
        return;
    }
    if (phase == FAULT_DIES) {
        if (fault_is_for_one_death(world, number)) {
            fault_proxy_dies(world, number);
            world_note_fault(world);
        }
        return;
    }
    if (phase == FAULT_HAUNT) {
        leave_go_on(world, number);
        return;
    }
    struct proxy *p = &world->proxies[number];
    if (phase == FAULT_WORD) {
        fault_word(world);
    } else if (phase == FAULT_STOP && p->pause_us > 0 && p->is_up &&
               p->paused_us <= world->now_us && fault_is_whole(world)) {
        fault_stop_proxy(world, number, p->pause_us);
        p->pause_us = 0;
        world_note_fault(world);
        world->calm_us = world->now_us + 2 * FAULT_PEACE_US;
    } else if (phase == FAULT_WAKE && p->is_up && p->paused_us > world->now_us) {
        aim_at_wake(world, number, p->paused_us);
    }
}

void fault_strike(struct world *world, uint32_t phase, uint32_t number)
{
    if (world->is_resting) {
        return;
    }
    if (phase == FAULT_COMES) {
        /* It meets clients at work. */
        world_hurry(world, 6000);
        world_post(world, world->now_us + world_below(world, 8000), WORLD_FAULT, FAULT_IS_HERE, 0,
                   0);
        return;
    }
    if (phase != FAULT_IS_HERE) {
        fault_follow(world, (enum fault_phase)phase, number);
        return;
    }
    uint32_t node = (uint32_t)world_below(world, world->options.nodes);
    bool is_tame = fault_is_tame(world, node);
    bool is_early = world->profile->is_hot && !fault_is_whole(world) && world_chance(world, 90);
    is_early = is_early ||
               (world->profile->is_patient && (!fault_is_whole(world) || !split_is_over(world) ||
                                               world->calm_us >= world->now_us));
    if ((!is_tame && !world->is_wild) || is_early) {
        /* Later; if the pool does not become whole in time, the run ends without this one. */
        world_post(world, world->now_us + 300000, WORLD_FAULT, FAULT_COMES, 0, 0);
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
        bool is_there = proxy_snapshot(world, p, &snapshot) && !world->proxies[p].is_leaving;
        for (uint32_t i = 0; is_there && i < world->options.nodes; i++) {
            (void)proxy_snapshot(world, p, &snapshot);
            struct control_command command = {
                .type = CONTROL_COMMAND_READY, .node = i, .ticket = ++world->proxies[p].ticket};
            if (snapshot.epoch > 0 && !snapshot.nodes[i].is_member) {
                command = fault_add(world, i);
                command.ticket = world->proxies[p].ticket;
                proxy_command(world, p, &command);
            } else if (snapshot.nodes[i].admin != NODE_ADMIN_READY) {
                proxy_command(world, p, &command);
            } else {
                (void)fault_take_warm(world, p, i);
            }
        }
    }
}
