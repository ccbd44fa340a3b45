/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Warming (replication.md section 7): a node for which no dump is to be had gets what is read.
 *
 * It answers no reads itself. A read that found its key on the leader is answered, and then the
 * warming node is asked for that key; what it lacks is stored there by settle_check.c. How often it
 * has what the leader has is its hit rate beside its twins', which control hears of.
 *
 * What finds no room is left: hot keys are read again.
 */
#include "dataplane_private.h"

enum {
    /* Each worker's figures reach control so often. */
    WARM_TELL_US = 100 * 1000,
};

static uint32_t next_target(struct dataplane *dp)
{
    node_set warming = dp->topology->warming;
    node_set later = warming & ~node_set_all(dp->warm_last + 1);
    dp->warm_last = node_set_first(later != 0 ? later : warming);
    return dp->warm_last;
}

static bool is_open(const struct dataplane *dp, uint32_t node)
{
    return link_is_usable(dp, node) && link_is_proven(dp, node);
}

/* May one more be begun now? */
static bool has_room(const struct dataplane *dp, bool is_large)
{
    return dp->next == NULL && !dp->topology->is_holding && !dp->is_lapsed &&
           dp->warms < WARMS_MAX && !(is_large && dp->is_large_warm) &&
           link_has_room(dp, 4 * NODES_MAX) && dataplane_client_room(dp) > 0;
}

void warm_read(struct dataplane *dp, const struct txn *txn, uint64_t value_bytes)
{
    struct settle_read read = {.is_base64 = txn->is_base64,
                               .is_large = value_bytes >= MC_VALUE_LARGE_BYTES,
                               .target = next_target(dp)};
    if (!is_open(dp, read.target)) {
        return;
    }
    struct slice keys = txn->key_count > 1 ? multiget_keys(txn) : txn_key(txn);
    for (uint32_t i = 0; i < txn->key_count && has_room(dp, read.is_large); i++) {
        read.key = txn->key_count > 1 ? mc_next_word(&keys) : keys;
        read.key_hash = txn->key_count > 1 ? topology_hash(read.key) : txn->key_hash;
        if (is_open(dp, topology_leader(dp->topology, read.key_hash))) {
            settle_warm(dp, &read);
        }
    }
}

void warm_note(struct dataplane *dp, uint32_t node, enum warm_outcome outcome)
{
    bool is_hit = outcome == WARM_HIT;
    dp->stats.nodes[node].warm_asked++;
    dp->stats.nodes[node].warm_hits += is_hit;
    dp->warm_untold[node].asked++;
    dp->warm_untold[node].hits += is_hit;
}

bool warm_is_untold(const struct dataplane *dp)
{
    node_set left = dp->topology == NULL ? 0 : dp->topology->warming;
    for (; left != 0; left &= left - 1) {
        if (dp->warm_untold[node_set_first(left)].asked > 0) {
            return true;
        }
    }
    return false;
}

void warm_tick(struct dataplane *dp)
{
    if (!warm_is_untold(dp) || dp->now_us - dp->warm_told_us < WARM_TELL_US) {
        return;
    }
    dp->warm_told_us = dp->now_us;
    dp->warm_due = dp->topology->warming;
}

void warm_on_adopt(struct dataplane *dp)
{
    dp->warm_due &= dp->topology->warming;
    for (uint32_t node = 0; node < dp->options.names.node_count; node++) {
        if ((dp->topology->warming & node_set_of(node)) == 0) {
            dp->warm_untold[node].asked = 0;
            dp->warm_untold[node].hits = 0;
        }
    }
}

bool warm_next_report(struct dataplane *dp, struct control_report *out)
{
    while (dp->warm_due != 0) {
        uint32_t node = node_set_first(dp->warm_due);
        dp->warm_due &= dp->warm_due - 1;
        if (dp->warm_untold[node].asked > 0) {
            out->node = node;
            out->count = dp->warm_untold[node].asked;
            out->hits = dp->warm_untold[node].hits;
            dp->warm_untold[node].asked = 0;
            dp->warm_untold[node].hits = 0;
            return true;
        }
    }
    return false;
}
