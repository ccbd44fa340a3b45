/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who reads a key (replication.md section 8): its leader, unless the pool is configured otherwise.
 *
 * `nearest` reads from the node that answers quickest, `spread` from each in turn. Both may read
 * what a write under way has not reached yet; all else is the same: only complete nodes that are
 * not drained are asked, and a read that one of them leaves behind goes to another. A read that
 * shows a CAS goes to the leader all the same, for the CAS is good there alone.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

enum {
    /* A node must be so much quicker, in percent, for all reads to move there. */
    READER_NEARER_PERCENT = 25,
};

static node_set usable_of(const struct dataplane *dp, node_set nodes)
{
    node_set usable = 0;
    for (; nodes != 0; nodes &= nodes - 1) {
        uint32_t node = node_set_first(nodes);
        usable |= link_is_usable(dp, node) ? node_set_of(node) : 0;
    }
    return usable;
}

static bool is_any_coming(const struct dataplane *dp, node_set nodes)
{
    for (; nodes != 0; nodes &= nodes - 1) {
        if (link_is_coming(dp, node_set_first(nodes))) {
            return true;
        }
    }
    return false;
}

static node_set readable_of(const struct topology *t)
{
    return t->complete | (RULE(READ_COMPLETE) ? 0 : t->chained);
}

/*
 * While a change is under way a key is read where both views agree, or from its new leader once the
 * old one can't be reached: it is complete in both, and holds what was acknowledged. It need not
 * hold yet what somebody has read from the old one, of a write that is under way: so a leader that
 * was only left, as this view has been joined, is waited for until the next view takes effect.
 */
static int choose_leader(const struct dataplane *dp, uint64_t key_hash, node_set usable)
{
    const struct topology *t = dp->topology;
    uint32_t leader = RULE(READ_COMPLETE) ? topology_leader(t, key_hash)
                                          : topology_first(t, key_hash, readable_of(t));
    bool is_leader_here = (usable & node_set_of(leader)) != 0;
    if (dp->next != NULL) {
        if (dp->next->leaders == 0 || dp->next->is_holding) {
            return READER_HOLD;
        }
        uint32_t later = topology_leader(dp->next, key_hash);
        if (later != leader) {
            bool is_here = (usable & node_set_of(later)) != 0;
            bool is_left = (dp->left & node_set_of(leader)) != 0;
            return is_here && !is_leader_here && !is_left ? (int)later : READER_HOLD;
        }
    }
    return (int)(is_leader_here ? leader : topology_first(t, key_hash, usable));
}

/* Of NODES, which are usable and not none. */
static uint32_t choose_any(struct dataplane *dp, node_set nodes)
{
    if (dp->options.read == DATAPLANE_READ_SPREAD) {
        node_set later = nodes & ~node_set_all(dp->reader_last + 1);
        dp->reader_last = node_set_first(later != 0 ? later : nodes);
        return dp->reader_last;
    }
    uint32_t best =
        (nodes & node_set_of(dp->reader_last)) != 0 ? dp->reader_last : node_set_first(nodes);
    for (; nodes != 0; nodes &= nodes - 1) {
        uint32_t node = node_set_first(nodes);
        if (link_main(dp, node)->latency_us * (100 + READER_NEARER_PERCENT) <
            link_main(dp, best)->latency_us * 100) {
            best = node;
        }
    }
    dp->reader_last = best;
    return best;
}

/* Complete and not drained, now and after the change under way. */
static node_set shared_leaders(const struct dataplane *dp)
{
    if (dp->next == NULL) {
        return dp->topology->leaders;
    }
    return dp->next->is_holding ? 0 : dp->topology->leaders & dp->next->leaders;
}

int reader_choose(struct dataplane *dp, const struct txn *txn, uint64_t key_hash, node_set tried)
{
    const struct topology *t = dp->topology;
    if (t == NULL || t->is_holding || dp->is_lapsed) {
        return READER_HOLD;
    }
    node_set usable = usable_of(dp, readable_of(t) & ~tried);
    if (usable == 0) {
        bool is_coming = is_any_coming(dp, readable_of(t) & ~tried);
        return is_coming || (dp->next != NULL && t->complete != 0) ? READER_HOLD : READER_NONE;
    }
    if (reader_is_free(dp, txn) && (usable & shared_leaders(dp)) != 0) {
        return (int)choose_any(dp, usable & shared_leaders(dp));
    }
    return choose_leader(dp, key_hash, usable);
}

void reader_learn(struct link *link, uint64_t latency_us)
{
    /* Times 8, so that small ones don't vanish; 1 at least, for 0 means that nothing is known. */
    uint64_t now = latency_us * 8 + 1;
    link->latency_us =
        link->latency_us == 0 ? now : link->latency_us - link->latency_us / 8 + now / 8;
}

void reader_bump(struct dataplane *dp, struct slice key, uint32_t node)
{
    uint32_t every = dp->options.bump_every;
    if (every == 0 || ++dp->reader_hits % every != 0 || dp->is_lapsed || dp->next != NULL) {
        return;
    }
    node_set others = usable_of(dp, dp->topology->complete & ~node_set_of(node));
    if (others == 0 || !link_has_room(dp, NODES_MAX)) {
        return;
    }
    struct chain request = compose_bump(dp, key);
    for (; request.head != NULL && others != 0; others &= others - 1) {
        link_send(dp, node_set_first(others), NULL, FORM_BUMP, request);
    }
    chain_drop(&dp->chunks, &request);
}
