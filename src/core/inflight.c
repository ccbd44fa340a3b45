/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes that have begun, and held ones that are to go aside, by their key: a hash table with
 * linear probing, from which entries are erased by moving back those behind. Keys are told apart by
 * their hash alone; that two share one only makes a write wait for no need.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

static uint32_t slot_of(uint64_t key_hash)
{
    return (uint32_t)(key_hash & (INFLIGHT_SLOTS - 1));
}

const struct txn *inflight_oldest(const struct dataplane *dp, uint64_t key_hash)
{
    const struct txn *oldest = NULL;
    if (dp->inflight_count == 0) {
        return NULL;
    }
    for (uint32_t slot = slot_of(key_hash); dp->inflight[slot] != NULL;
         slot = (slot + 1) & (INFLIGHT_SLOTS - 1)) {
        const struct txn *txn = dp->inflight[slot];
        bool is_other = txn->key_hash != key_hash || txn->state == TXN_HELD;
        if (!is_other && (oldest == NULL || txn->serial < oldest->serial)) {
            oldest = txn;
        }
    }
    return oldest;
}

static bool is_by_two_links(const struct txn *other, const struct txn *txn)
{
    return (other->is_aside || txn->is_aside) && RULE(SIDE_ALONE);
}

/* A key in doubt is to be deleted; what has not begun comes behind it, whichever is older. */
static bool is_deletion(const struct txn *txn)
{
    return txn->is_internal && txn->check == NULL;
}

/* Is OTHER one that TXN must not pass, if it is slow, or TXN must be alone? By two links nothing
 * keeps their order, so there what has begun comes first, whichever came first. */
static bool is_before(const struct txn *other, const struct txn *txn)
{
    bool is_later = other->state == TXN_HELD && (txn->is_internal || txn->is_begun);
    if (other->key_hash != txn->key_hash || other == txn || is_later) {
        return false;
    }
    if (is_deletion(other) && !txn->is_internal && !txn->is_begun) {
        return true;
    }
    if (is_by_two_links(other, txn) && other->is_begun != txn->is_begun) {
        return other->is_begun;
    }
    return other->serial < txn->serial;
}

/* Which older ones count. */
typedef bool counts_fn(const struct txn *other, const struct txn *txn);

static bool is_any(const struct txn *other, const struct txn *txn)
{
    (void)other;
    (void)txn;
    return true;
}

static bool is_slow(const struct txn *other, const struct txn *txn)
{
    (void)txn;
    return other->state != TXN_WRITING || other->missed != 0 ||
           (other->is_aside && RULE(SIDE_ALONE)) || is_deletion(other);
}

static inline bool has_before(const struct dataplane *dp, const struct txn *txn, counts_fn *counts)
{
    if (dp->inflight_count == 0) {
        return false;
    }
    for (uint32_t slot = slot_of(txn->key_hash); dp->inflight[slot] != NULL;
         slot = (slot + 1) & (INFLIGHT_SLOTS - 1)) {
        const struct txn *other = dp->inflight[slot];
        if (is_before(other, txn) && counts(other, txn)) {
            return true;
        }
    }
    return false;
}

bool inflight_has_older(const struct dataplane *dp, const struct txn *txn)
{
    return has_before(dp, txn, is_any);
}

bool inflight_has_slow_older(const struct dataplane *dp, const struct txn *txn)
{
    return has_before(dp, txn, is_slow);
}

bool inflight_has_older_elsewhere(const struct dataplane *dp, const struct txn *txn)
{
    return has_before(dp, txn, is_by_two_links);
}

/* A key may be written in two ways, and is one. */
static struct slice plain_key(const struct txn *txn, char *to)
{
    struct slice key = txn_key(txn);
    return txn->is_base64 ? slice_of(to, mc_key_decode(key, to)) : key;
}

static bool is_same_key(const struct txn *other, const struct txn *txn)
{
    char others[MC_KEY_BYTES_MAX];
    char own[MC_KEY_BYTES_MAX];
    return slice_is_equal(plain_key(other, others), plain_key(txn, own));
}

/* Does OTHER leave nothing of what TXN may have done, wherever both went? */
static bool is_overwriting(const struct txn *other, const struct txn *txn)
{
    bool is_whole = other->command_type == MC_SET || other->command_type == MC_DELETE;
    return is_whole && !other->is_decided && !other->is_internal && other->is_begun &&
           other->serial > txn->serial && is_same_key(other, txn);
}

bool inflight_is_overwritten(const struct dataplane *dp, const struct txn *txn)
{
    if (dp->inflight_count == 0) {
        return false;
    }
    for (uint32_t slot = slot_of(txn->key_hash); dp->inflight[slot] != NULL;
         slot = (slot + 1) & (INFLIGHT_SLOTS - 1)) {
        const struct txn *other = dp->inflight[slot];
        if (other->key_hash == txn->key_hash && is_overwriting(other, txn)) {
            return true;
        }
    }
    return false;
}

bool inflight_is_full(const struct dataplane *dp)
{
    return dp->inflight_count >= INFLIGHT_SLOTS / 4 * 3;
}

void inflight_put(struct dataplane *dp, struct txn *txn)
{
    uint32_t slot = slot_of(txn->key_hash);
    while (dp->inflight[slot] != NULL) {
        slot = (slot + 1) & (INFLIGHT_SLOTS - 1);
    }
    dp->inflight[slot] = txn;
    dp->inflight_count++;
    txn->is_inflight = true;
}

void inflight_take(struct dataplane *dp, struct txn *txn)
{
    uint32_t slot = slot_of(txn->key_hash);
    while (dp->inflight[slot] != txn) {
        slot = (slot + 1) & (INFLIGHT_SLOTS - 1);
    }
    uint32_t hole = slot;
    for (;;) {
        slot = (slot + 1) & (INFLIGHT_SLOTS - 1);
        struct txn *other = dp->inflight[slot];
        if (other == NULL) {
            break;
        }
        uint32_t from_home = (slot - slot_of(other->key_hash)) & (INFLIGHT_SLOTS - 1);
        uint32_t from_hole = (slot - hole) & (INFLIGHT_SLOTS - 1);
        if (from_home >= from_hole) {
            dp->inflight[hole] = other;
            hole = slot;
        }
    }
    dp->inflight[hole] = NULL;
    dp->inflight_count--;
    txn->is_inflight = false;
    dp->is_recheck_due = true;
}
