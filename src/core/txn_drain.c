/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * May this dataplane say that it is drained: that every write begun under the view in effect is
 * over, as far as the nodes of the next view are concerned (replication.md section 4, Join)?
 *
 * Views may overtake each other. When one was joined (the dataplane is sealed) and another comes
 * before it took effect, nothing more can be done under the old one: what is left over is carried
 * into whichever takes effect.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

node_set txn_staying(const struct dataplane *dp)
{
    return dp->next == NULL ? ~(node_set)0 : dp->next->complete | dp->next->chained;
}

/* To be run again, and on some of the nodes that stay only: the next leader may be one without it,
 * after this one has shown it. What all of them have, or none, is run again under the next view; it
 * must not hold up the very change that it may be waiting for. */
static bool is_half_done(const struct dataplane *dp, const struct txn *txn)
{
    node_set done = (txn->acked | txn->was_done) & dp->next->complete;
    return txn->state == TXN_STRANDED && txn->missed == 0 && done != 0 &&
           done != dp->next->complete;
}

static bool can_be_written(const struct dataplane *dp, node_set nodes)
{
    for (; nodes != 0; nodes &= nodes - 1) {
        uint32_t node = node_set_first(nodes);
        if (!link_is_usable(dp, node) || !link_is_proven(dp, node)) {
            return false;
        }
    }
    return true;
}

/* Does a stranded write wait for nothing but a node that leaves? */
static bool waits_for_leaver(const struct dataplane *dp, const struct txn *txn)
{
    node_set stay = txn_staying(dp);
    return txn->state == TXN_STRANDED && (((txn->waiting | txn->missed) & stay) == 0 ||
                                          !can_be_written(dp, dp->topology->complete & ~stay));
}

/* A stranded write whose other nodes are home, but which can't be run again before a node has left,
 * or before an older write to its key that can't: it is run again under the next view. So is one
 * that nothing can become of under this one. */
static bool is_carried_over(const struct dataplane *dp, const struct txn *txn)
{
    node_set stay = txn_staying(dp);
    /* Sealed: a view was joined that another has overtaken since. */
    bool is_hopeless = dp->is_sealed || dp->topology->complete == 0;
    if (txn->is_internal) {
        return txn->state == TXN_STRANDED; /* a deletion in doubt may as well come later */
    }
    bool is_rerun = txn->state == TXN_STRANDED && (txn->cut & stay) == 0 &&
                    (txn->step == STEP_DECIDE || txn->step == STEP_WRITE);
    if (!is_rerun || !can_be_written(dp, txn->missed & stay)) {
        return false;
    }
    if (is_hopeless) {
        return true;
    }
    const struct txn *oldest = inflight_oldest(dp, txn->key_hash);
    bool is_behind = oldest != NULL && oldest->serial < txn->serial;
    return waits_for_leaver(dp, is_behind ? oldest : txn);
}

bool txn_is_drained(const struct dataplane *dp)
{
    if (!RULE(DRAIN)) {
        return true;
    }
    node_set stay = txn_staying(dp);
    for (uint32_t node = 0; node < dp->options.names.node_count; node++) {
        if ((stay & node_set_of(node)) != 0 && !link_is_proven(dp, node)) {
            return false;
        }
    }
    for (struct list *at = dp->writes.next; at != &dp->writes; at = at->next) {
        const struct txn *txn = LIST_OWNER(at, struct txn, writes);
        /* Sealed: nothing more can be done for it under the old view. */
        bool is_over =
            ((txn->waiting | txn->missed) & stay) == 0 && (dp->is_sealed || !is_half_done(dp, txn));
        if (!is_over && !is_carried_over(dp, txn)) {
            return false;
        }
    }
    return true;
}

void txn_forget_leavers(struct dataplane *dp, node_set stay)
{
    for (struct list *at = dp->writes.next; at != &dp->writes; at = at->next) {
        struct txn *txn = LIST_OWNER(at, struct txn, writes);
        txn->missed &= stay;
        txn->cut &= stay;
        txn->acked &= stay;
    }
}

/* A split has healed if what is complete is another side's. What was decided on the items of ours
 * must not replace newer ones there, nor come back where they were deleted: it is run again. A node
 * that is filled from ours is one of them. */
void txn_cross_split(const struct dataplane *dp, struct txn *txn)
{
    node_set complete = dp->topology->complete;
    if ((complete & txn->replicas) != 0) {
        txn->replicas = complete | dp->topology->chained;
    } else if (complete != 0) {
        txn->step = txn->is_decided ? STEP_DECIDE : STEP_WRITE;
    }
}
