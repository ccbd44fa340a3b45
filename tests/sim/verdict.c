/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The checks at rest: every key's history in some order (C2, C3, C4, C5), all copies equal (C9),
 * nothing left in memory (C7).
 *
 * A history that is wrong is judged once more with the excuses of replication.md section 1: a write
 * whose reply may have been lost near a fault may have happened once more before its answer; a read
 * near a fault may have been newer than the next one; a key that was deleted in doubt is gone.
 */
#include "sim/world.h"

#include <stdlib.h>

enum {
    VERDICT_SETTLED_US = 5 * 1000 * 1000, /* copies written at once have been compared by then */
    VERDICT_SURVIVES_US = 1000 * 1000,    /* the new leader shows itself within this */
    /* A key in doubt is deleted at once, or when the last connection that may write it is over. */
    VERDICT_FORGET_BEFORE_US = 2 * WORLD_REQUEST_US,
    VERDICT_FORGET_AFTER_US = 8 * 1000 * 1000,
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
    struct history_op altered[3 * CLIENT_OPS_MAX];
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

/*
 * Somebody else's flush of a node is noticed in the next round. Until then its keys are missing
 * there, though not elsewhere.
 */
static bool verdict_is_near_flush(const struct world *world, const struct history_op *op)
{
    uint64_t evicted_us = world->keys[op->key].evicted_us;
    if (evicted_us > 0 && op->told_us >= evicted_us) {
        return true; /* some node has it, some not, until it is written again */
    }
    for (uint32_t i = 0; i < world->flush_count; i++) {
        const struct flush *flush = &world->flushes[i];
        bool is_before = flush->noticed_us == 0 || op->asked_us <= flush->noticed_us;
        if (is_before && op->told_us >= flush->at_us) {
            return true;
        }
    }
    return false;
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

enum verdict_writes { VERDICT_ALL, VERDICT_CONTENDED };

static bool verdict_is_overlapped(const struct world *world, const struct history_op *read,
                                  uint64_t before_us, enum verdict_writes writes)
{
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct history_op *op = &world->history.ops[i];
        if (op->key == read->key && verdict_is_write(op) && op->asked_us < read->told_us &&
            op->told_us + before_us > read->asked_us && op->result != HISTORY_NO &&
            (writes == VERDICT_ALL || op->is_contended)) {
            return true;
        }
    }
    return false;
}

/*
 * A read that was sent on to another replica may have seen a write that the leader has not done
 * yet, and be newer than the next read: it says nothing while that write was under way, nor, near a
 * fault, of what two wrote at once, before that is settled. Where a
 * miss asks other replicas, nor does it while copies may still differ that were written at once.
 */
static bool verdict_is_early_read(const struct world *world, const struct history_op *read)
{
    if (read->kind != HISTORY_GET) {
        return false;
    }
    return (read->is_near_fault && verdict_is_overlapped(world, read, 0, VERDICT_ALL)) ||
           (read->is_near_fault &&
            verdict_is_overlapped(world, read, VERDICT_SETTLED_US, VERDICT_CONTENDED)) ||
           (read->is_young && verdict_is_overlapped(world, read, VERDICT_SETTLED_US, VERDICT_ALL));
}

/* What a new leader had of a key that two had written at once is there from then on. */
static void verdict_add_survivors(const struct world *world, struct verdict_case *c, uint32_t key)
{
    for (uint32_t i = 0; i < world->survivor_count; i++) {
        const struct survivor *survivor = &world->survivors[i];
        bool is_there = survivor->value != HISTORY_ABSENT;
        struct history_op again = {.kind = is_there ? HISTORY_SET : HISTORY_FORGET,
                                   .key = key,
                                   .value = survivor->value,
                                   .result = HISTORY_UNKNOWN,
                                   .asked_us = survivor->at_us,
                                   .told_us = survivor->at_us + VERDICT_SURVIVES_US};
        if (survivor->key == key) {
            verdict_excuse(c, &again);
        }
    }
}

/* The leader that it was asked of has left before it answered: OP is run again by the next. */
static bool verdict_is_run_again(const struct world *world, const struct history_op *op)
{
    uint32_t count = world->leaders_count < 64 ? world->leaders_count : 64;
    for (uint32_t i = 0; i < count; i++) {
        if (world->leaders_us[i] >= op->asked_us && world->leaders_us[i] <= op->told_us) {
            return true;
        }
    }
    return op->is_near_fault;
}

/*
 * A delete that is run again answers what its first run found on the new leader (docs/decisions.md
 * 14). Of two writes at once that may be the one that survived there, which is gone by now: so the
 * answer says nothing.
 */
static const struct history_op *verdict_rerun(const struct world *world, struct verdict_case *c,
                                              const struct history_op *op)
{
    if (op->kind != HISTORY_DELETE || !verdict_is_run_again(world, op) ||
        !verdict_is_overlapped(world, op, VERDICT_SETTLED_US, VERDICT_CONTENDED)) {
        return op;
    }
    struct history_op *again = &c->altered[c->altered_count++];
    *again = *op;
    again->result = HISTORY_UNKNOWN;
    return again;
}

/* OP as LINE has it; it was answered on the other side of a split, or not at all. */
static const struct history_op *verdict_place(const struct world *world, struct verdict_case *c,
                                              const struct history_op *op, uint32_t line)
{
    enum split_place place = split_place(world, op, line);
    if (place != SPLIT_MAYBE) {
        return place == SPLIT_IN ? op : NULL;
    }
    struct history_op *maybe = &c->altered[c->altered_count++];
    *maybe = *op;
    maybe->result = HISTORY_UNKNOWN;
    maybe->is_optional = true;
    maybe->told_us += WORLD_REQUEST_US;
    return op->kind == HISTORY_GET || op->kind == HISTORY_TOUCH ? NULL : maybe;
}

/* What was written while SPLIT lasted may be forgotten when it heals, on the line that goes on. */
static void verdict_add_splits(const struct world *world, struct verdict_case *c, uint32_t key,
                               uint32_t line)
{
    struct history_op forget;
    for (uint32_t i = 0; i < world->split_count && i != line; i++) {
        if (split_forgets(world, i, key, &forget)) {
            verdict_excuse(c, &forget);
        }
    }
}

/*
 * What OP may have done beside what it was answered: it was run again, and nobody heard what its
 * first run did. So it may have, also where the answer itself says nothing.
 */
static void verdict_add_again(const struct world *world, struct verdict_case *c,
                              const struct history_op *op, bool is_excused)
{
    if (is_excused && verdict_is_write(op) && verdict_is_run_again(world, op)) {
        struct history_op again = *op;
        again.result = HISTORY_UNKNOWN;
        /* Where there is no other node to go on with, what a reset connection still carries may
         * come after the answer. */
        again.told_us += world->options.nodes == 1 ? WORLD_REQUEST_US : 0;
        verdict_excuse(c, &again);
        if (world->keys[op->key].was_muted) {
            verdict_excuse(c, &again); /* an answer to it may have been lost twice */
        }
    } else if (op->is_optional && verdict_is_write(op) && !op->is_noreply) {
        verdict_excuse(c, op); /* its reply is lost: it may take effect twice */
    }
}

static void verdict_collect(struct world *world, struct verdict_case *c, uint32_t key,
                            uint32_t line, bool is_excused)
{
    c->count = 0;
    c->extra_count = 0;
    c->altered_count = 0;
    c->is_full = false;
    bool is_expiring = client_is_expiring_key(&world->clients[0], key);
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct history_op *op = &world->history.ops[i];
        if (op->key != key || op->result == HISTORY_PENDING ||
            (op->kind == HISTORY_GET && op->result == HISTORY_UNKNOWN)) {
            continue;
        }
        if (is_excused && verdict_is_early_read(world, op)) {
            continue;
        }
        op = verdict_place(world, c, op, line);
        if (op == NULL) {
            continue;
        }
        if (is_expiring && op->result == HISTORY_NO && op->kind != HISTORY_ADD) {
            /* Copies may expire two seconds apart, so a miss says nothing. */
            verdict_add_again(world, c, op, is_excused);
            continue;
        }
        op = is_excused ? verdict_rerun(world, c, op) : op;
        if (op->kind == HISTORY_FORGET && op->later_s > 0) {
            c->altered[c->altered_count] = later_moment(world, op);
            op = &c->altered[c->altered_count++];
            if (op->is_optional) {
                verdict_excuse(c, op);
                continue;
            }
        }
        if (verdict_is_near_flush(world, op)) {
            c->altered[c->altered_count] = *op;
            op = &c->altered[c->altered_count++];
            if (!history_forgive_miss(&c->altered[c->altered_count - 1])) {
                verdict_add_again(world, c, op, is_excused);
                continue;
            }
        }
        verdict_add(c, op);
        verdict_add_again(world, c, op, is_excused);
        if (is_expiring && op->kind == HISTORY_ADD) {
            /* The item may have expired by then. */
            struct history_op forget = {
                .kind = HISTORY_FORGET, .key = key, .asked_us = 0, .told_us = op->told_us};
            verdict_excuse(c, &forget);
        }
    }
    verdict_add_losses(world, c, key);
    verdict_add_splits(world, c, key, line);
    if (is_excused) {
        verdict_add_survivors(world, c, key);
    }
    qsort(c->ops, c->count, sizeof(c->ops[0]), verdict_order);
}

/* Had C an order with only what was known at AT_US? */
static bool verdict_was_right(struct world *world, const struct verdict_case *c, uint64_t at_us)
{
    static struct history_op open[HISTORY_OPS_MAX];
    static const struct history_op *ops[HISTORY_OPS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < c->count && c->ops[i]->asked_us <= at_us; i++) {
        const struct history_op *op = c->ops[i];
        if (op->told_us <= at_us || op->is_optional) {
            ops[count++] = op;
        } else if (op->kind != HISTORY_GET) {
            open[count] = *op;
            open[count].result = HISTORY_UNKNOWN;
            open[count].is_optional = true;
            ops[count] = &open[count];
            count++;
        }
    }
    return linear_judge(&world->history, ops, count) != LINEAR_NO;
}

/* The reply at which the history first had no order. */
static void verdict_locate(struct world *world, const struct verdict_case *c)
{
    uint64_t first_us = UINT64_MAX;
    for (uint32_t i = 0; i < c->count; i++) {
        uint64_t at_us = c->ops[i]->told_us;
        if (at_us < first_us && !c->ops[i]->is_optional && !verdict_was_right(world, c, at_us)) {
            first_us = at_us;
        }
    }
    printf("no order from %llu us on\n", (unsigned long long)first_us);
}

static struct verdict_case verdict_last;

enum linear_verdict verdict_of(struct world *world, uint32_t key, uint32_t line, bool *is_excused)
{
    struct verdict_case *c = &verdict_last;
    verdict_collect(world, c, key, line, false);
    enum linear_verdict verdict =
        c->is_full ? LINEAR_TOO_HARD : linear_judge(&world->history, c->ops, c->count);
    *is_excused = false;
    if (verdict == LINEAR_NO) {
        verdict_collect(world, c, key, line, true);
        verdict = c->is_full ? LINEAR_TOO_HARD : linear_judge(&world->history, c->ops, c->count);
        *is_excused = verdict == LINEAR_YES;
    }
    return verdict;
}

static void verdict_judge(struct world *world, uint32_t key, uint32_t line,
                          struct world_result *result)
{
    bool is_excused;
    enum linear_verdict verdict = verdict_of(world, key, line, &is_excused);
    result->excused += is_excused ? 1 : 0;
    if (verdict == LINEAR_NO && world->keys[key].was_split) {
        verdict = LINEAR_TOO_HARD; /* its copies differ until the verifies are through */
    }
    result->too_hard += verdict == LINEAR_TOO_HARD ? 1 : 0;
    if (verdict == LINEAR_NO) {
        world_broken(world, "C4", "the history of %s has no order%s", world_key(key),
                     line == SPLIT_MAIN_LINE ? "" : " on the side that lost a split");
        if (world->options.is_verbose) {
            history_print(&world->history, key);
            verdict_locate(world, &verdict_last);
        }
    }
}

static long long verdict_expiry(const struct node *node, const struct store_item *item)
{
    return item->expires == 0 ? -1
                              : (long long)item->expires - (long long)store_now(&node->model.store);
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
        bool is_evicted = world->keys[key].evicted_us > 0 && (a == NULL || b == NULL);
        if (!is_evicted && !copies_are_equal(first, a, other, b)) {
            world_broken(
                world, "C9",
                "%s differs: node 0 has %s flags %u for %lld s, node %u %s flags %u for %lld s",
                world_key(key), a == NULL ? "nothing" : a->data, a == NULL ? 0 : a->flags,
                a == NULL ? 0LL : verdict_expiry(first, a), i, b == NULL ? "nothing" : b->data,
                b == NULL ? 0 : b->flags, b == NULL ? 0LL : verdict_expiry(other, b));
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
        verdict_judge(world, key, SPLIT_MAIN_LINE, result);
        for (uint32_t split = 0; split < world->split_count; split++) {
            if (world->splits[split].loser != SPLIT_NO_LOSER) {
                verdict_judge(world, key, split, result);
            }
        }
        verdict_compare(world, key);
    }
    verdict_memory(world, result);
}
