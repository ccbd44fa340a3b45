/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checks at rest: every key's history in some order (C2, C3, C4, C5), all copies equal (C9),
 * nothing left in memory (C7).
 *
 * A history that is wrong is judged once more with the excuses of replication.md section 1: a write
 * whose reply may have been lost near a fault may have happened once more before its answer; a read
 * near a fault may have been newer than the next one; a key that was deleted in doubt is gone.
 */
#include "sim/linear.h"
#include "sim/world.h"

#include <stdlib.h>

enum {
    /* A key in doubt is deleted at once, or when the last connection that may write it is over. */
    VERDICT_FORGET_BEFORE_US = 2 * WORLD_REQUEST_US,
    VERDICT_FORGET_AFTER_US = 8 * 1000 * 1000,
    VERDICT_EXPIRY_SLACK_S = 2,
};

static int verdict_order(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;
    if (x->asked_us != y->asked_us) {
        return x->asked_us < y->asked_us ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

struct verdict_case {
    struct history_op extra[HISTORY_OPS_MAX]; /* excuses */
    uint32_t extra_count;
    struct history_op altered[CLIENT_OPS_MAX];
    uint32_t altered_count;
    const struct history_op *ops[HISTORY_OPS_MAX];
    uint32_t count;
    bool is_full;
};

static void verdict_add(struct verdict_case *c, const struct history_op *op)
{
    if (c->count == HISTORY_OPS_MAX) {
        c->is_full = true;
        return;
    }
    c->ops[c->count++] = op;
}

static void verdict_excuse(struct verdict_case *c, const struct history_op *op)
{
    if (c->extra_count == HISTORY_OPS_MAX) {
        c->is_full = true;
        return;
    }
    c->extra[c->extra_count] = *op;
    c->extra[c->extra_count].is_optional = true;
    verdict_add(c, &c->extra[c->extra_count++]);
}

static bool verdict_is_expiring(const struct world *world, uint32_t key)
{
    uint32_t size = world->clients[0].key_count;
    return size > 2 && key % size == size - 2;
}

/*
 * Somebody else's flush of a node is noticed in the next round. Until then its keys are missing
 * there, though not elsewhere.
 */
static bool verdict_is_near_flush(const struct world *world, const struct history_op *op)
{
    for (uint32_t i = 0; i < world->flush_count; i++) {
        if (op->asked_us < world->flushes_us[i] + 2 * WORLD_REQUEST_US &&
            op->told_us >= world->flushes_us[i]) {
            return true;
        }
    }
    return false;
}

/* What OP says when it may have missed a key that was there: returns false: nothing. */
static bool verdict_forgive_miss(struct history_op *op)
{
    if (op->kind == HISTORY_ADD && op->result == HISTORY_OK) {
        op->kind = HISTORY_SET;
    } else if (op->kind == HISTORY_DELETE && op->result == HISTORY_NO) {
        op->result = HISTORY_UNKNOWN;
    } else if (op->result == HISTORY_NO) {
        return op->kind == HISTORY_ADD;
    }
    return true;
}

/* Losses that are known to have happened, or that C3 does not speak of. */
static void verdict_add_losses(const struct world *world, struct verdict_case *c, uint32_t key)
{
    struct history_op forget = {.kind = HISTORY_FORGET, .key = key};
    uint32_t count = world->forget_count < 64 ? world->forget_count : 64;
    for (uint32_t i = 0; i < count; i++) {
        uint64_t at_us = world->forget_us[i];
        forget.asked_us = at_us > VERDICT_FORGET_BEFORE_US ? at_us - VERDICT_FORGET_BEFORE_US : 0;
        forget.told_us = at_us + VERDICT_FORGET_AFTER_US;
        verdict_excuse(c, &forget);
    }
    if (world->loss_us > 0) {
        forget.asked_us = world->loss_us > WORLD_LEASE_US ? world->loss_us - WORLD_LEASE_US : 0;
        forget.told_us = UINT64_MAX;
        for (int i = 0; i < 4; i++) {
            verdict_excuse(c, &forget);
        }
    }
}

static bool verdict_is_write(const struct history_op *op)
{
    return op->kind != HISTORY_GET && op->kind != HISTORY_TOUCH;
}

/*
 * A read that was sent on to another replica may have seen a write that the leader has not done
 * yet, and be newer than the next read: it says nothing while that write was under way.
 */
static bool verdict_is_early_read(const struct world *world, const struct history_op *read)
{
    if (read->kind != HISTORY_GET || !read->is_near_fault) {
        return false;
    }
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct history_op *op = &world->history.ops[i];
        if (op->key == read->key && verdict_is_write(op) && op->asked_us < read->told_us &&
            op->told_us > read->told_us && op->result != HISTORY_NO) {
            return true;
        }
    }
    return false;
}

static void verdict_collect(const struct world *world, struct verdict_case *c, uint32_t key,
                            bool is_excused)
{
    c->count = 0;
    c->extra_count = 0;
    c->altered_count = 0;
    c->is_full = false;
    bool is_expiring = verdict_is_expiring(world, key);
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct history_op *op = &world->history.ops[i];
        if (op->key != key || op->result == HISTORY_PENDING ||
            (op->kind == HISTORY_GET && op->result == HISTORY_UNKNOWN)) {
            continue;
        }
        if (is_expiring && op->result == HISTORY_NO) {
            continue; /* copies may expire two seconds apart, so a miss says nothing */
        }
        if (is_excused && verdict_is_early_read(world, op)) {
            continue;
        }
        if (verdict_is_near_flush(world, op)) {
            c->altered[c->altered_count] = *op;
            op = &c->altered[c->altered_count++];
            if (!verdict_forgive_miss(&c->altered[c->altered_count - 1])) {
                continue;
            }
        }
        verdict_add(c, op);
        if (is_excused && verdict_is_write(op) && op->is_near_fault) {
            struct history_op again = *op;
            again.result = HISTORY_UNKNOWN;
            /* Where there is no other node to go on with, what a reset connection still carries
             * may come after the answer. */
            again.told_us += world->options.nodes == 1 ? WORLD_REQUEST_US : 0;
            verdict_excuse(c, &again);
        } else if (op->is_optional && verdict_is_write(op) && !op->is_noreply) {
            verdict_excuse(c, op); /* its reply is lost: it may take effect twice */
        }
        if (is_expiring && op->kind == HISTORY_ADD) {
            /* The item may have expired by then. */
            struct history_op forget = {
                .kind = HISTORY_FORGET, .key = key, .asked_us = 0, .told_us = op->told_us};
            verdict_excuse(c, &forget);
        }
    }
    verdict_add_losses(world, c, key);
    qsort(c->ops, c->count, sizeof(c->ops[0]), verdict_order);
}

static void verdict_judge(struct world *world, uint32_t key, struct world_result *result)
{
    static struct verdict_case c;
    verdict_collect(world, &c, key, false);
    enum linear_verdict verdict =
        c.is_full ? LINEAR_TOO_HARD : linear_judge(&world->history, c.ops, c.count);
    if (verdict == LINEAR_NO) {
        verdict_collect(world, &c, key, true);
        verdict = c.is_full ? LINEAR_TOO_HARD : linear_judge(&world->history, c.ops, c.count);
        result->excused += verdict == LINEAR_YES ? 1 : 0;
    }
    result->too_hard += verdict == LINEAR_TOO_HARD ? 1 : 0;
    if (verdict == LINEAR_NO) {
        world_broken(world, "C4", "the history of %s has no order", world_key(key));
        if (world->options.is_verbose) {
            history_print(&world->history, key);
        }
    }
}

static int64_t verdict_expiry(const struct node *node, const struct store_item *item)
{
    return item->expires == 0 ? -1
                              : (int64_t)item->expires - (int64_t)store_now(&node->model.store);
}

static bool verdict_is_equal(const struct node *x, const struct store_item *a, const struct node *y,
                             const struct store_item *b)
{
    if (a == NULL || b == NULL) {
        const struct store_item *item = a == NULL ? b : a;
        const struct node *node = a == NULL ? y : x;
        int64_t left = item == NULL ? 0 : verdict_expiry(node, item);
        return item == NULL || (left >= 0 && left <= VERDICT_EXPIRY_SLACK_S);
    }
    int64_t left_a = verdict_expiry(x, a);
    int64_t left_b = verdict_expiry(y, b);
    bool is_expiry_equal = (left_a < 0) == (left_b < 0) &&
                           left_a - left_b <= VERDICT_EXPIRY_SLACK_S &&
                           left_b - left_a <= VERDICT_EXPIRY_SLACK_S;
    return is_expiry_equal && a->flags == b->flags && a->len == b->len &&
           memcmp(a->data, b->data, a->len) == 0;
}

static void verdict_compare(struct world *world, uint32_t key)
{
    struct slice name = slice_of_string(world_key(key));
    struct node *first = &world->nodes[0];
    net_node_time(world, 0);
    const struct store_item *a = store_find(&first->model.store, name);
    for (uint32_t i = 1; i < world->options.nodes; i++) {
        struct node *other = &world->nodes[i];
        net_node_time(world, i);
        const struct store_item *b = store_find(&other->model.store, name);
        if (!verdict_is_equal(first, a, other, b)) {
            world_broken(
                world, "C9",
                "%s differs: node 0 has %s flags %u for %lld s, node %u %s flags %u for %lld s",
                world_key(key), a == NULL ? "nothing" : a->data, a == NULL ? 0 : a->flags,
                a == NULL ? 0LL : (long long)verdict_expiry(first, a), i,
                b == NULL ? "nothing" : b->data, b == NULL ? 0 : b->flags,
                b == NULL ? 0LL : (long long)verdict_expiry(other, b));
            if (world->options.is_verbose) {
                history_print(&world->history, key);
            }
            return;
        }
    }
}

static void verdict_memory(struct world *world, struct world_result *result)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        if (!proxy_snapshot(world, i, &snapshot)) {
            continue;
        }
        result->view_changes += snapshot.view_changes;
        result->fills += snapshot.fills_done;
        for (uint32_t w = 0; w < world->options.workers; w++) {
            const struct dataplane_stats *stats = dataplane_stats(world->proxies[i].dp[w]);
            /* Two journals may each keep a chunk open. */
            if (stats->memory_bytes > 2 * CHUNK_BYTES || stats->held > 0) {
                world_broken(world, "C7", "p%u.w%u keeps %llu bytes and %llu requests at rest", i,
                             w, (unsigned long long)stats->memory_bytes,
                             (unsigned long long)stats->held);
            }
        }
    }
}

void verdict_give(struct world *world, struct world_result *result)
{
    for (uint32_t key = 0; key < world->key_count; key++) {
        if (!world->is_split[key]) {
            verdict_judge(world, key, result);
            verdict_compare(world, key);
        }
    }
    verdict_memory(world, result);
}
