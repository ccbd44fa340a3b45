/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A split (replication.md section 7): the world is cut in two, each side with proxies and nodes of
 * its own, and both go on. So there are two lines of views, of leaders, and of what clients are
 * told, until a view takes effect that both sides act on. It has the nodes of one side, whose line
 * goes on in it; what the other side's clients were told since the cut has come to nothing.
 *
 * Where both sides act on different views when they meet, and copies carry tokens, what differs
 * then is owed to be forgotten on all nodes: nobody may see it once the nodes of the other side are
 * complete again and what is due is done. It is no longer owed if such a node is not filled at once
 * (docs/limits.md): then it is filled with what the winning side has.
 */
#include "sim/world.h"

#include "everwarm/base/invariant.h"

enum {
    SPLIT_TOKEN_MIN = 1 << 30, /* what is below, memcached has numbered by itself */
    SPLIT_ERRORS_US = 2 * WORLD_REQUEST_US,
};

bool split_is_open(const struct world *world)
{
    return world->split_count > 0 && world->splits[world->split_count - 1].to_us == 0;
}

uint32_t split_side(const struct world *world, uint32_t proxy)
{
    return split_is_open(world) ? world->splits[world->split_count - 1].now_at[proxy] : 0;
}

bool split_is_apart(const struct world *world, uint32_t a, uint32_t b)
{
    return split_side(world, a) != split_side(world, b);
}

bool split_is_over(const struct world *world)
{
    return !split_is_open(world) && world->owed_count == 0;
}

bool split_excuses(const struct world *world)
{
    return split_is_open(world) ||
           (world->split_count > 0 &&
            world->now_us < world->splits[world->split_count - 1].to_us + SPLIT_ERRORS_US);
}

bool split_begin(struct world *world, const uint32_t *sides, node_set first, uint64_t for_us)
{
    if (world->split_count == WORLD_SPLITS_MAX || split_is_open(world)) {
        return false;
    }
    struct split *split = &world->splits[world->split_count++];
    *split = (struct split){.from_us = world->now_us,
                            .heal_us = world->now_us + for_us,
                            .first = first,
                            .loser = SPLIT_NO_LOSER};
    memcpy(split->sides, sides, sizeof(split->sides));
    memcpy(split->now_at, sides, sizeof(split->now_at));
    world->lines[1] = world->lines[0];
    world->owed_count = 0;
    for (uint32_t key = 0; key < world->key_count; key++) {
        /* To the side without its proxy it is as if that had died. */
        world->keys[key].is_split = world->keys[key].is_split || world->keys[key].writes > 0;
    }
    return true;
}

/* --- What is owed --- */

static void split_owe(struct world *world, uint32_t node, uint32_t key,
                      const struct store_item *item)
{
    if (item != NULL && item->cas >= SPLIT_TOKEN_MIN && world->owed_count < WORLD_OWED_MAX) {
        world->owed[world->owed_count++] =
            (struct owed){.node = node, .key = key, .token = item->cas};
    }
}

static void split_owe_all(struct world *world, const struct topology *topology, node_set forgetting)
{
    for (; forgetting != 0; forgetting &= forgetting - 1) {
        uint32_t node = node_set_first(forgetting);
        for (uint32_t key = 0; key < world->key_count; key++) {
            struct slice name = slice_of_string(world_key(key));
            uint32_t leader = topology_leader(topology, topology_hash(name));
            net_node_time(world, node);
            net_node_time(world, leader);
            const struct store_item *theirs = store_find(&world->nodes[node].model.store, name);
            const struct store_item *ours = store_find(&world->nodes[leader].model.store, name);
            if (theirs == NULL || ours == NULL || theirs->cas != ours->cas) {
                split_owe(world, node, key, theirs);
                split_owe(world, node, key, ours);
            }
        }
    }
}

/* NODE is not filled at once after all, or not from then on. */
static void split_cancel(struct world *world, uint32_t node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < world->owed_count; i++) {
        if (world->owed[i].node != node) {
            world->owed[kept++] = world->owed[i];
        }
    }
    world->owed_count = kept;
}

static bool split_is_entered(const struct world *world, uint32_t node)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        if (!proxy_snapshot(world, i, &snapshot) || snapshot.state != CONTROL_SERVING ||
            snapshot.nodes[node].data != NODE_DATA_COMPLETE ||
            snapshot.verify_due_by != VIEW_NO_PROXY) {
            return false;
        }
    }
    return true;
}

void split_check(struct world *world)
{
    for (uint32_t i = 0; i < world->owed_count; i++) {
        const struct owed *owed = &world->owed[i];
        struct slice name = slice_of_string(world_key(owed->key));
        if (!split_is_entered(world, owed->node)) {
            return;
        }
        for (uint32_t n = 0; n < world->options.nodes; n++) {
            struct node *node = &world->nodes[n];
            net_node_time(world, n);
            const struct store_item *item =
                split_is_entered(world, n) ? store_find(&node->model.store, name) : NULL;
            if (item != NULL && item->cas == owed->token) {
                world_broken(world, "C5",
                             "node %u has %s of %s, which differed when a split "
                             "healed",
                             n, item->data, world_key(owed->key));
                return;
            }
        }
    }
    if (world->owed_count > 0) {
        world->splits[world->split_count - 1].forgot_us = world->now_us;
    }
    world->owed_count = 0;
}

/* --- Views --- */

static void split_close(struct world *world, struct split *split, uint32_t winner)
{
    bool is_real = split->has_gone_on[0] || split->has_gone_on[1];
    split->to_us = world->now_us;
    split->loser = is_real ? 1 - winner : SPLIT_NO_LOSER;
    for (uint32_t i = 0; i < WORLD_PROXIES_MAX; i++) {
        split->left_us[i] = split->left_us[i] == 0 ? world->now_us : split->left_us[i];
    }
    world->lines[0] = world->lines[winner];
    world_trace(world, "one view again; side %u has lost what it was told", split->loser);
}

static bool split_is_left(const struct world *world, const struct split *split, uint32_t side)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        if (split->now_at[i] == side) {
            return false;
        }
    }
    return true;
}

/* Does the view of TOPOLOGY come of the last one of side SIDE? */
static bool split_comes_of(const struct world *world, const struct topology *topology,
                           uint32_t side)
{
    uint64_t last = world->lines[side].acted_hash;
    return last == 0 || last == topology->view_hash ||
           lineage_comes_of(world, topology->view_hash, last);
}

/* Have all proxies of side SIDE that are there joined the view of TOPOLOGY? */
static bool split_is_joined(const struct world *world, const struct split *split,
                            const struct topology *topology, uint32_t side)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        const struct proxy *p = &world->proxies[i];
        for (uint32_t w = 0; p->is_up && split->now_at[i] == side && w < world->options.workers;
             w++) {
            const struct topology *t = p->topology[w];
            if ((t == NULL || t->view_hash != topology->view_hash) &&
                p->drained_hash[w] != topology->view_hash) {
                return false;
            }
        }
    }
    return true;
}

/* A view that both sides come to, by a proxy of SIDE. */
static void split_meet(struct world *world, struct split *split, uint32_t proxy,
                       const struct topology *topology)
{
    uint32_t side = split->now_at[proxy];
    if (split_comes_of(world, topology, side)) {
        bool is_new = world->lines[1 - side].acted_hash != topology->view_hash;
        split_close(world, split, (topology->complete & split->first) != 0 ? 0 : 1);
        if (is_new) {
            split_owe_all(world, topology, lineage_forgetting(world, topology->view_hash));
        }
        return;
    }
    world_trace(world, "p%u goes over to the other side", proxy);
    split->now_at[proxy] = 1 - side;
    split->left_us[proxy] = world->now_us;
    split->has_gone_on[1 - side] = true;
    if (split_is_left(world, split, side)) {
        split_close(world, split, 1 - side);
    }
}

void split_on_view(struct world *world, uint32_t proxy, const struct topology *topology)
{
    bool is_open = split_is_open(world);
    uint32_t side = split_side(world, proxy);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        node_set node = node_set_of(i);
        bool is_kept = (topology->complete & node) != 0 ||
                       (lineage_forgetting(world, topology->view_hash) & node) != 0;
        if (!is_open && !is_kept) {
            split_cancel(world, i);
        }
    }
    if (is_open && topology->view_hash != world->lines[side].acted_hash) {
        struct split *split = &world->splits[world->split_count - 1];
        if (world->now_us >= split->heal_us && split_comes_of(world, topology, 1 - side) &&
            split_is_joined(world, split, topology, 1 - side)) {
            split_meet(world, split, proxy, topology);
        } else {
            split->has_gone_on[side] = true;
        }
    }
    lineage_check(world, proxy, topology);
}

/* --- Histories --- */

enum split_place split_place(const struct world *world, const struct history_op *op, uint32_t line)
{
    enum split_place place = SPLIT_IN;
    uint32_t proxy = world->clients[op->client].proxy;
    for (uint32_t i = 0; i < world->split_count; i++) {
        const struct split *split = &world->splits[i];
        bool is_loser_line = i == line;
        bool is_loser = split->sides[proxy] == split->loser;
        uint64_t to_us = split->left_us[proxy] == 0 ? UINT64_MAX : split->left_us[proxy];
        if (op->told_us < split->from_us || split->loser == SPLIT_NO_LOSER) {
            continue;
        }
        if (is_loser_line && op->asked_us >= split->to_us) {
            return SPLIT_OUT;
        }
        bool is_after = op->asked_us >= to_us;
        if (is_loser && op->kind == HISTORY_GET && op->told_us >= split->heal_us &&
            op->asked_us < to_us && !split->has_gone_on[split->loser]) {
            return SPLIT_MAYBE; /* of the other side's view, from a leader that it shares */
        }
        if (is_loser ? is_loser_line && !is_after : !is_loser_line) {
            place = op->told_us > to_us && is_loser ? SPLIT_MAYBE : place;
        } else if (is_loser && is_after && !is_loser_line) {
            continue;
        } else if (op->asked_us < split->from_us || (is_loser && op->told_us > to_us)) {
            place = SPLIT_MAYBE;
        } else {
            return SPLIT_OUT;
        }
        if (is_loser_line) {
            return place; /* what came after it is of no matter */
        }
    }
    return place;
}

/* Was KEY written, or may it have been, while SPLIT lasted? */
static bool split_has_writes(const struct world *world, const struct split *split, uint32_t key)
{
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct history_op *op = &world->history.ops[i];
        if (op->key == key && (op->kind != HISTORY_GET || op->is_touching) &&
            op->told_us >= split->from_us && op->asked_us <= split->to_us) {
            return true;
        }
    }
    return false;
}

bool split_forgets(const struct world *world, uint32_t number, uint32_t key, struct history_op *out)
{
    const struct split *split = &world->splits[number];
    *out = (struct history_op){.kind = HISTORY_FORGET,
                               .key = key,
                               .asked_us = split->to_us,
                               .told_us = split->forgot_us == 0 ? UINT64_MAX : split->forgot_us};
    return world->has_tokens && split->to_us > 0 && split->loser != SPLIT_NO_LOSER &&
           split_has_writes(world, split, key);
}
