/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Side links: a worker's second connection to a node, made when it meets the first large value, so
 * that others don't wait for what one client reads or stores (architecture.md "Memory" 5).
 *
 * A store tells its size; a read does not, so the keys of large values are remembered. One that
 * comes unforeseen has the main link for itself: the two links change places, and only what was
 * asked behind it waits.
 *
 * Replies of one link come in its order, and nothing orders two links of one node. Hence:
 *
 * S1. A txn begins to go aside when all is answered that its client asked before it, and nothing of
 *     its client begins before it is answered itself.
 * S2. A write that goes aside passes no older write to its key, and none passes it (txn.c I3).
 * S3. What stands behind a large value when links change places is as if it went aside.
 * S4. A side link is a help: where it can't be used, the main link does.
 */
#include "dataplane_private.h"

bool side_is_large(const struct dataplane *dp, uint64_t bytes)
{
    return dp->options.side_bytes > 0 && bytes >= dp->options.side_bytes;
}

/* --- Keys of large values --- */

static uint32_t *slot_of(struct dataplane *dp, uint64_t key_hash)
{
    return &dp->large_keys[key_hash & (LARGE_KEYS - 1)];
}

/* What tells keys of one slot apart; two that can't be told only go aside together. */
static uint32_t mark_of(uint64_t key_hash)
{
    return (uint32_t)(key_hash >> 32) | 1;
}

bool side_knows(struct dataplane *dp, uint64_t key_hash)
{
    return dp->is_side_wanted && *slot_of(dp, key_hash) == mark_of(key_hash);
}

void side_remember(struct dataplane *dp, uint64_t key_hash)
{
    *slot_of(dp, key_hash) = mark_of(key_hash);
}

void side_forget(struct dataplane *dp, uint64_t key_hash)
{
    if (side_knows(dp, key_hash)) {
        *slot_of(dp, key_hash) = 0;
    }
}

/* --- Links --- */

struct link *link_side(const struct dataplane *dp, uint32_t node)
{
    bool is_first = (dp->second & node_set_of(node)) != 0;
    return &dp->links[is_first ? node : node + NODES_MAX];
}

struct link *side_choose(const struct dataplane *dp, uint32_t node)
{
    struct link *main = link_main(dp, node);
    struct link *side = link_side(dp, node);
    bool is_fit =
        link_can_carry(dp, side) && identity_is_same_process(&side->identity, &main->identity);
    return is_fit ? side : main;
}

void side_want(struct dataplane *dp)
{
    if (!dp->is_side_wanted) {
        dp->is_side_wanted = true;
        link_want_all(dp);
    }
}

static void change_places(struct dataplane *dp, const struct link *main)
{
    link_side(dp, main->node)->latency_us = main->latency_us; /* it is as near (reader.c) */
    for (const struct leg *leg = main->head; leg != NULL; leg = leg->next) {
        if (leg->txn != NULL) {
            txn_put_aside(dp, leg->txn);
        }
    }
    /* The same process; where no view says who a node is, CAS numbers are told apart by this. */
    link_side(dp, main->node)->identity = main->identity;
    dp->second ^= node_set_of(main->node);
}

void side_on_value(struct dataplane *dp, const struct link *link, uint64_t key_hash)
{
    side_want(dp);
    side_remember(dp, key_hash);
    const struct link *side = link_side(dp, link->node);
    if (link != side && side_choose(dp, link->node) == side && side->head == NULL) {
        change_places(dp, link);
    }
}
