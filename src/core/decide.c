/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that the leader alone decides (replication.md section 5): what its answer means for the
 * client and for the other replicas. Those get the result as a plain store, a delete or an expiry;
 * a command is never run again on a replica. An item that carries a mark (stale, or won by a client
 * that is to fill it) lives on the leader alone: a copy without the mark would be taken for fresh.
 */
#include "dataplane_private.h"

/* What the other replicas are to have, when the leader has done it. */
static struct chain result_of(struct dataplane *dp, struct txn *txn, struct leg *leg,
                              const struct mc_reply *reply)
{
    enum leg_form form = (enum leg_form)leg->form;
    if (form == FORM_LINE_ITEM || form == FORM_NUMBER_ITEM) {
        if (!leg->has_item || leg->is_out_of_memory || reply->kind != MC_REPLY_VA) {
            return compose_delete(dp, txn);
        }
        struct chain item = leg->reply.chain;
        leg->reply = (struct chain_builder){0};
        return item;
    }
    if (txn->is_mark) {
        return compose_delete(dp, txn); /* marks live on the leader alone */
    }
    if (txn->command_type == MC_DELETE) {
        return txn->is_emptied ? compose_empty_store(dp, txn) : compose_delete(dp, txn);
    }
    return compose_plain_store(dp, txn);
}

/* Our look at a stale item took the win that the next client is to have. */
static void give_back(struct dataplane *dp, struct txn *txn, const struct leg *leg)
{
    if (!leg->is_won || !leg->is_stale || leg->item_cas == 0 || !txn_may_send(dp, leg->node)) {
        return;
    }
    bool can_keep_cas = link_main(dp, leg->node)->version >= LINK_VERSION_E;
    struct chain mark =
        compose_give_back(dp, txn, leg->item_cas, can_keep_cas ? SLICE(" E") : SLICE(""));
    if (mark.head != NULL) {
        txn->legs++;
        txn->waiting |= node_set_of(leg->node);
        link_send(dp, leg->node, txn, FORM_LINE, mark)->is_cleanup = true;
        chain_drop(&dp->chunks, &mark);
    }
}

static bool is_number(const struct txn *txn)
{
    return txn->command_type == MC_INCR || txn->command_type == MC_DECR;
}

/* The leader changed nothing; but our look behind it may have. */
static void end_undone(struct dataplane *dp, struct txn *txn, struct leg *leg)
{
    if (leg->is_won) {
        txn->result = compose_delete(dp, txn); /* for filling replicas: none of a marked item */
    }
    if (txn->result.head != NULL) {
        give_back(dp, txn, leg);
    }
    leg_drop(dp, leg);
    if (txn->legs > 0) {
        txn_spread(dp, txn, 0);
    } else {
        txn_finish(dp, txn);
    }
}

/* The leader's error is the client's answer. */
static void on_decided_error(struct dataplane *dp, struct txn *txn, struct leg *leg)
{
    enum mc_reply_kind kind = (enum mc_reply_kind)leg->kind;
    txn_set_text(txn, txn->reply.head == NULL ? SLICE("SERVER_ERROR out of memory\r\n") : SLICE(""),
                 kind == MC_REPLY_CLIENT_ERROR ? DATAPLANE_OUTCOME_CLIENT_ERROR
                                               : DATAPLANE_OUTCOME_SERVER_ERROR);
    if (kind == MC_REPLY_SERVER_ERROR && !is_number(txn)) {
        leg_drop(dp, leg);
        txn_spread_delete(dp, txn);
    } else {
        end_undone(dp, txn, leg);
    }
}

/* What the leader's answer means for the other replicas; the result is put together here. */
static void on_decided(struct dataplane *dp, struct txn *txn, struct leg *leg,
                       const struct mc_reply *reply)
{
    enum mc_reply_kind kind = (enum mc_reply_kind)leg->kind;
    if (reply_is_error(kind)) {
        on_decided_error(dp, txn, leg);
        return;
    }
    bool is_refused = reply_is_refusal(kind);
    if (!is_number(txn) || is_refused) { /* a number was the answer when it came */
        txn_answer_leg(dp, txn, leg);
    }
    if (is_refused) {
        /* Refused perhaps because of its own first run, which then only this leader has. */
        txn->is_doubtful = txn->is_doubtful || (txn->maybe_done & node_set_of(leg->node)) != 0;
        end_undone(dp, txn, leg);
        return;
    }
    txn->result = result_of(dp, txn, leg, reply);
    if (txn->result.head == NULL || txn->outcome == DATAPLANE_OUTCOME_SERVER_ERROR) {
        txn_set_text(txn, SLICE("SERVER_ERROR out of memory\r\n"), DATAPLANE_OUTCOME_SERVER_ERROR);
        txn_set_reply(dp, txn, (struct chain){0});
        txn->is_doubtful = true;
        leg_drop(dp, leg);
        txn_finish(dp, txn);
        return;
    }
    give_back(dp, txn, leg);
    leg_drop(dp, leg);
    txn_answer_early(dp, txn);
    txn_spread(dp, txn, dp->topology->complete & ~txn->acked);
}

/* mg with T, N or R: the answer is there; the others take the expiry, or give up what is marked. */
static void on_meta_get(struct dataplane *dp, struct txn *txn, struct leg *leg)
{
    bool is_hit = leg->hits > 0 && !leg->is_out_of_memory;
    bool is_marked = leg->is_won || (leg->is_sent && txn->maybe_done != 0);
    if (leg->is_out_of_memory) {
        txn_set_text(txn, SLICE("SERVER_ERROR out of memory reading the value\r\n"),
                     DATAPLANE_OUTCOME_SERVER_ERROR);
        txn->is_doubtful = true;
    } else {
        txn_set_reply(dp, txn, leg->reply.chain);
        leg->reply = (struct chain_builder){0};
        txn_set_text(txn, SLICE(""), is_hit ? DATAPLANE_OUTCOME_HIT : DATAPLANE_OUTCOME_MISS);
    }
    /* A win that its first run took, and nobody heard of, must not be waited for. */
    txn->is_doubtful = txn->is_doubtful || (leg->is_sent && txn->maybe_done != 0);
    bool is_touch = is_hit && txn->has_exptime; /* as memcached counts it */
    dp->stats.touches_hit += is_touch;
    dp->stats.keys_hit += is_hit && !is_touch;
    dp->stats.keys_missed += !is_hit;
    leg_drop(dp, leg);
    if (!is_hit || txn->is_doubtful || !(is_marked || txn->has_exptime)) {
        txn_finish(dp, txn);
        return;
    }
    txn->result = is_marked ? compose_delete(dp, txn) : compose_touch(dp, txn);
    if (txn->result.head == NULL) {
        txn->is_doubtful = true;
        txn_finish(dp, txn);
        return;
    }
    txn_answer_early(dp, txn);
    txn_spread(dp, txn, dp->topology->complete & ~txn->acked);
}

/* gat and gats: the leader's item is the answer; the others take the expiry. */
static void on_gat(struct dataplane *dp, struct txn *txn, struct leg *leg,
                   const struct mc_reply *reply)
{
    bool is_bad = reply->kind != MC_REPLY_END || leg->is_out_of_memory;
    bool is_hit = leg->hits > 0 && !is_bad;
    if (is_bad && !txn->is_part) {
        txn_set_text(txn, SLICE("SERVER_ERROR out of memory reading the value\r\n"),
                     DATAPLANE_OUTCOME_SERVER_ERROR);
    } else {
        leg->reply.chain.len -= leg->has_end && txn->is_part ? 5 : 0;
        txn_set_reply(dp, txn, leg->reply.chain);
        bool has_end = leg->has_end || txn->is_part;
        leg->reply = (struct chain_builder){0};
        txn_set_text(txn, has_end ? SLICE("") : answer_end(dp, txn, is_hit),
                     is_hit ? DATAPLANE_OUTCOME_HIT : DATAPLANE_OUTCOME_MISS);
    }
    dp->stats.touches_hit += is_hit;
    dp->stats.touches_missed += !is_hit;
    leg_drop(dp, leg);
    if (!is_hit) {
        txn_finish(dp, txn);
        return;
    }
    txn->result = compose_touch(dp, txn);
    if (txn->result.head == NULL) {
        txn->is_doubtful = true;
        txn_finish(dp, txn);
        return;
    }
    txn_answer_early(dp, txn);
    txn_spread(dp, txn, dp->topology->complete & ~txn->acked);
}

void decide_on_leg(struct dataplane *dp, struct txn *txn, struct leg *leg,
                   const struct mc_reply *reply)
{
    if (leg->form == FORM_GET || leg->form == FORM_GETS) {
        on_gat(dp, txn, leg, reply);
    } else if (leg->form == FORM_META_GET) {
        on_meta_get(dp, txn, leg);
    } else {
        on_decided(dp, txn, leg, reply);
    }
}
