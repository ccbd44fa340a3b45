/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The copies while it runs: "complete" means complete. A key that nobody writes, that no error left
 * in doubt and that no two workers wrote at once is the same on all nodes that count as complete,
 * at any moment (C5, C8, C9). What a rule's absence leaves on a node is seen here before settling
 * mends it and whether or not somebody reads it.
 *
 * What mends a key's copies is a write that no client asked for: they may differ until its
 * look-again or undo is over. Another worker's write that comes to the leader behind that look, and
 * came to the other node before the copy, is missed: then who wrote it finds it, as who writes last
 * compares (replication.md section 5).
 */
#include "sim/world.h"

/* Copies expire within two seconds of each other (C9), and each node's clock shows whole ones: two
 * that do are seen three apart at most. */
enum { COPIES_EXPIRY_SLACK_S = 3 };

enum {
    /* What mends a key's copies has ended by then, or will never. */
    COPIES_MEND_US = WORLD_REQUEST_US + WORLD_SLACK_US,
    /* And who wrote meanwhile has compared twice, and mended what was missed. */
    COPIES_MISSED_US = 2 * COPIES_MEND_US,
};

static enum dataplane_mend copies_mend_of(const struct world *world, uint32_t key, uint32_t proxy,
                                          uint32_t worker)
{
    const struct dataplane *dp = world->proxies[proxy].dp[worker];
    struct slice name = slice_of_string(world_key(key));
    return dp == NULL ? DATAPLANE_MEND_NONE : dataplane_mend_of(dp, name);
}

void copies_on_mend(struct world *world, uint32_t proxy, uint32_t worker)
{
    uint32_t group = proxy * world->options.workers + worker;
    uint32_t *count = &world->proxies[proxy].mending[worker];
    *count = 0;
    for (uint32_t key = 0; key < world->key_count; key++) {
        struct key *k = &world->keys[key];
        uint64_t *since_us = &k->mend_us[proxy][worker];
        enum dataplane_mend mend = copies_mend_of(world, key, proxy, worker);
        if (mend == DATAPLANE_MEND_NONE) {
            *since_us = 0;
            continue;
        }
        ++*count;
        *since_us = *since_us == 0 ? world->now_us : *since_us;
        if (mend == DATAPLANE_MEND_LOOK && k->writes > 0 && k->writer != group) {
            k->missed_us = world->now_us;
        }
    }
}

void copies_on_crash(struct world *world, uint32_t proxy)
{
    for (uint32_t key = 0; key < world->key_count; key++) {
        struct key *k = &world->keys[key];
        for (uint32_t w = 0; w < world->options.workers; w++) {
            k->is_split = k->is_split || k->mend_us[proxy][w] > 0;
            k->mend_us[proxy][w] = 0;
        }
    }
}

static bool copies_are_mended(const struct world *world, const struct key *k)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        uint64_t paused_us = world->proxies[i].paused_us;
        for (uint32_t w = 0; w < world->options.workers; w++) {
            uint64_t since_us = k->mend_us[i][w] > paused_us ? k->mend_us[i][w] : paused_us;
            if (k->mend_us[i][w] > 0 && since_us + COPIES_MEND_US > world->now_us) {
                return true;
            }
        }
    }
    return k->missed_us > 0 && k->missed_us + COPIES_MISSED_US > world->now_us;
}

void copies_on_ask(struct world *world, struct history_op *op, uint32_t group)
{
    struct key *k = &world->keys[op->key];
    bool is_open = k->writes > 0 || k->open_us > world->now_us;
    if (is_open && k->writer != group) {
        k->contentions++;
        k->is_contended = true;
    }
    k->writer = group;
    op->contentions = k->contentions;
    op->is_contended = is_open && k->is_contended;
}

/* Does OP leave the same everywhere, if nothing else happens? */
static bool copies_are_made_equal(const struct history_op *op)
{
    if (op->kind == HISTORY_FORGET || op->kind == HISTORY_DELETE) {
        return op->later_s == 0;
    }
    return op->result == HISTORY_OK && op->kind != HISTORY_GET && op->kind != HISTORY_TOUCH;
}

void copies_on_told(struct world *world, struct history_op *op)
{
    struct key *k = &world->keys[op->key];
    op->is_contended = op->is_contended || op->contentions != k->contentions;
    bool is_missed = k->missed_us >= op->asked_us;
    k->missed_us = is_missed ? world->now_us : k->missed_us;
    bool is_for_all = !split_is_open(world); /* what one side did tells nothing of the other */
    if (op->result != HISTORY_UNKNOWN && k->writes == 0 && !op->is_contended && is_for_all &&
        copies_are_made_equal(op)) {
        k->is_contended = false;
        k->missed_us = is_missed ? k->missed_us : 0;
        k->is_evicted = k->is_evicted && k->evicted_last_us >= op->asked_us;
        k->is_split = false;
    }
}

static int64_t copies_expiry(const struct node *node, const struct store_item *item)
{
    return item->expires == 0 ? -1
                              : (int64_t)item->expires - (int64_t)store_now(&node->model.store);
}

bool copies_are_equal(const struct node *x, const struct store_item *a, const struct node *y,
                      const struct store_item *b)
{
    if (a == NULL || b == NULL) {
        const struct store_item *item = a == NULL ? b : a;
        const struct node *node = a == NULL ? y : x;
        int64_t left = item == NULL ? 0 : copies_expiry(node, item);
        return item == NULL || (left >= 0 && left <= COPIES_EXPIRY_SLACK_S);
    }
    int64_t left_a = copies_expiry(x, a);
    int64_t left_b = copies_expiry(y, b);
    bool is_expiry_equal = (left_a < 0) == (left_b < 0) &&
                           left_a - left_b <= COPIES_EXPIRY_SLACK_S &&
                           left_b - left_a <= COPIES_EXPIRY_SLACK_S;
    return is_expiry_equal && a->flags == b->flags && a->len == b->len &&
           memcmp(a->data, b->data, a->len) == 0;
}

/*
 * Of two writes at once the earlier may survive if the leader changes before they have settled
 * (replication.md section 1). Which one the new leader has is seen at the moment when somebody acts
 * on the view and nobody has written under it.
 */
void copies_on_leaders(struct world *world, const struct topology *topology,
                       const struct line *former)
{
    bool are_known = former->leaders != 0 && topology->leaders != 0;
    struct topology then = *topology;
    memcpy(then.node_seed, former->seeds, sizeof(former->seeds));
    for (uint32_t key = 0; key < world->key_count && are_known; key++) {
        const struct key *k = &world->keys[key];
        struct slice name = slice_of_string(world_key(key));
        uint32_t before = topology_first(&then, topology_hash(name), former->leaders);
        uint32_t after = topology_leader(topology, topology_hash(name));
        struct node *from = &world->nodes[before];
        struct node *to = &world->nodes[after];
        if (before == after || !(k->is_contended || k->writes > 0) ||
            world->survivor_count == WORLD_SURVIVORS_MAX) {
            continue;
        }
        net_node_time(world, before);
        net_node_time(world, after);
        /* What it had is gone with its process, and another one may be up by now. */
        bool is_here = from->is_up && from->model.pid == former->pids[before];
        const struct store_item *old = is_here ? store_find(&from->model.store, name) : NULL;
        const struct store_item *new = to->is_up ? store_find(&to->model.store, name) : NULL;
        bool is_one = (old == NULL) != (new == NULL); /* also if it expires soon */
        if (!is_here || is_one || !copies_are_equal(from, old, to, new)) {
            int32_t value = new == NULL ? HISTORY_ABSENT
                                        : history_value(&world->history,
                                                        slice_of(new->data, new->len), new->flags);
            world->survivors[world->survivor_count++] =
                (struct survivor){.key = key, .at_us = world->now_us, .value = value};
        }
    }
}

/* Does nobody take what NODE was before it was emptied for complete any more? */
static bool copies_is_noticed(const struct world *world, uint32_t node)
{
    uint64_t flushes = world->nodes[node].model.store.flushes;
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        for (uint32_t w = 0; w < world->options.workers; w++) {
            const struct topology *t = world->proxies[i].topology[w];
            if (t != NULL && (t->complete & node_set_of(node)) != 0 &&
                t->identity[node].pid == world->nodes[node].model.pid &&
                t->identity[node].flushes < flushes) {
                return false;
            }
        }
    }
    return world->options.nodes > 1;
}

void copies_on_view(struct world *world)
{
    for (uint32_t i = 0; i < world->flush_count; i++) {
        struct flush *flush = &world->flushes[i];
        if (flush->noticed_us == 0 && copies_is_noticed(world, flush->node)) {
            flush->noticed_us = world->now_us;
        }
    }
}

/* The newest view that some worker acts on; NULL: none, or not all is as usual: a proxy is in
 * trouble, deletes in doubt are on their way, a verify puts its copies on trial. */
static const struct topology *copies_topology(const struct world *world)
{
    const struct topology *newest = NULL;
    uint32_t count = world->forget_count < 64 ? world->forget_count : 64;
    for (uint32_t i = 0; i < count; i++) {
        if (world->forget_us[i] + WORLD_DOUBT_US > world->now_us) {
            return NULL;
        }
    }
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        const struct proxy *p = &world->proxies[i];
        struct control_snapshot snapshot;
        if (!proxy_snapshot(world, i, &snapshot)) {
            continue;
        }
        if (snapshot.state == CONTROL_LAPSED || snapshot.verify_due_by != VIEW_NO_PROXY) {
            return NULL;
        }
        for (uint32_t w = 0; w < world->options.workers; w++) {
            const struct topology *t = p->topology[w];
            newest = t != NULL && (newest == NULL || t->epoch > newest->epoch) ? t : newest;
        }
    }
    return newest;
}

/* Nodes that are what the view says of them. */
static node_set copies_nodes(struct world *world, const struct topology *topology)
{
    node_set nodes = topology->complete;
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        const struct node *node = &world->nodes[i];
        bool is_same = node->is_up && topology->identity[i].pid == node->model.pid &&
                       topology->identity[i].flushes == node->model.store.flushes;
        nodes &= is_same ? ~(node_set)0 : ~node_set_of(i);
        net_node_time(world, i);
    }
    return nodes;
}

static bool copies_are_owed(const struct world *world, const struct key *k)
{
    return k->writes == 0 && k->quiet_us < world->now_us && !k->is_contended && !k->is_split &&
           !copies_are_mended(world, k);
}

void copies_check(struct world *world)
{
    for (uint32_t g = 0; g < world->options.proxies * world->options.workers; g++) {
        copies_on_mend(world, g / world->options.workers, g % world->options.workers);
    }
    const struct topology *topology = copies_topology(world);
    if (topology == NULL || topology->is_lone || topology->is_holding) {
        return;
    }
    node_set nodes = copies_nodes(world, topology);
    if (node_set_count(nodes) < 2) {
        return;
    }
    uint32_t first = node_set_first(nodes);
    for (uint32_t key = 0; key < world->key_count; key++) {
        struct slice name = slice_of_string(world_key(key));
        struct node *x = &world->nodes[first];
        const struct store_item *a = store_find(&x->model.store, name);
        for (node_set left = nodes & (nodes - 1);
             left != 0 && copies_are_owed(world, &world->keys[key]); left &= left - 1) {
            struct node *y = &world->nodes[node_set_first(left)];
            const struct store_item *b = store_find(&y->model.store, name);
            /* What is touched when it expires may have expired on one node only. */
            bool may_miss =
                world->keys[key].is_evicted || client_is_expiring_key(&world->clients[0], key);
            if (!(may_miss && (a == NULL || b == NULL)) && !copies_are_equal(x, a, y, b)) {
                world_broken(world, "C8",
                             "%s is not the same on complete nodes: %u has %s for %lld s, %u %s "
                             "for %lld s, in epoch %llu",
                             world_key(key), first, a == NULL ? "nothing" : a->data,
                             a == NULL ? 0LL : (long long)copies_expiry(x, a), node_set_first(left),
                             b == NULL ? "nothing" : b->data,
                             b == NULL ? 0LL : (long long)copies_expiry(y, b),
                             (unsigned long long)topology->epoch);
                return;
            }
        }
    }
}
