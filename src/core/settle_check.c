/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One comparison of the copies of a key, and what follows from it.
 *
 *   COMPARE  mg k c t u on all nodes ── equal, or without tokens as our write left them: done
 *      └─ where a CAS is no token: DIGEST  mg k v f t c u on all nodes ── equal: done
 *   The same difference a second time, a request timeout after the first:
 *   READ  the leader's item ─► COPY  ms k C<seen> to what differs ─► LOOK at the leader
 *                │ none                                                 │ changed
 *                └─► DELETE  md k C<seen> ─► LOOK                       └─► UNDO  md k C<ours>
 *
 * A copy names what it replaces, so a write that reached the node since the comparison stays; and
 * the leader is looked at again, so a write that reached it before the copy is seen, and one that
 * comes later reaches the node later than the copy, or its own writer compares after it. With
 * look-again and undo it is one write: it is in dp->writes, and a view is not joined before it is
 * over. Where its connection is lost in between, the key is deleted everywhere.
 *
 * A warming node (warm.c) need not have a key: that it lacks one is no difference, and what may be
 * wrong on it alone is deleted on it alone. So it gets what was read:
 *
 *   ASK   mg k on the warming node ── there: done
 *     └─► READ ─► COPY  ms k ME ─► LOOK at the leader ── the same: done
 *                                    └─► UNDO; and CLEAN  md k  where the end of one is not known
 *
 * It answers no reads meanwhile, for between COPY and LOOK it may show what was deleted.
 */
#include "settle.h"

#include "everwarm/core/rule.h"

enum {
    /* Comparisons that find a difference, until the key is deleted: each is a request timeout after
     * the one before, so this is far beyond what a write under way explains. */
    SETTLE_TRIES_MAX = 8,
    EXPIRY_SLACK_S = 2, /* replication.md section 1: expiry is exact to this */
};

static struct slice key_of(const struct settle_check *check)
{
    return slice_of(check->entry->key, check->entry->key_bytes);
}

/* --- Sending --- */

static struct chain compose(struct dataplane *dp, const struct settle_check *check,
                            struct slice verb, struct slice flags, const uint64_t *cas)
{
    char *to = journal_reserve(&dp->requests, &dp->chunks, COMMAND_HEAD_BYTES_MAX);
    if (to == NULL) {
        return (struct chain){0};
    }
    struct mc_writer w = mc_writer_of(to, COMMAND_HEAD_BYTES_MAX);
    mc_write(&w, verb);
    mc_write(&w, key_of(check));
    mc_write(&w, check->entry->is_base64 ? SLICE(" b") : SLICE(""));
    mc_write(&w, flags);
    if (cas != NULL) {
        mc_write_u64(&w, *cas);
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    return journal_commit(&dp->requests, w.len);
}

static void send_to(struct dataplane *dp, struct settle_check *check, uint32_t node,
                    enum leg_form form, struct chain request)
{
    check->txn->legs++;
    check->txn->waiting |= node_set_of(node);
    link_send(dp, node, check->txn, form, request);
}

static void finish_txn(struct dataplane *dp, struct settle_check *check)
{
    struct txn *txn = check->txn;
    if (txn->is_inflight) {
        inflight_take(dp, txn);
    }
    txn_move(dp, txn, TXN_OVER);
    txn_release(dp, txn);
}

static void end_equal(struct dataplane *dp, struct settle_check *check)
{
    struct settle_entry *entry = check->entry;
    finish_txn(dp, check);
    settle_check_end(dp, check);
    if (entry->writes == 0) {
        settle_forget(dp, entry);
    }
}

/* The check is over; its entry waits for WHEN. A key that was read has had its turn; if it was
 * written meanwhile, its copies are compared. */
static void end(struct dataplane *dp, struct settle_check *check, enum settle_when when)
{
    struct settle_entry *entry = check->entry;
    bool is_warm = check->is_warm;
    if (is_warm && !check->is_failed) {
        end_equal(dp, check);
        return;
    }
    finish_txn(dp, check);
    settle_check_end(dp, check);
    settle_put_back(dp, entry, is_warm ? SETTLE_FRESH : when);
}

static bool is_target_warming(const struct dataplane *dp, const struct settle_check *check)
{
    return check->step >= SETTLE_COPY && (dp->topology->warming & node_set_of(check->target)) != 0;
}

/* What is on a warming node must be right before a view has it complete, also if the leader leaves
 * by that view. */
static void await_target(const struct dataplane *dp, const struct settle_check *check)
{
    check->txn->missed = dp->topology->warming & node_set_of(check->target);
}

/* Nobody knows what the copy on TARGET is, or whether it is there. */
static void end_in_doubt(struct dataplane *dp, struct settle_check *check)
{
    if (is_target_warming(dp, check)) {
        check->step = SETTLE_CLEAN;
        await_target(dp, check);
        settle_await_clean(dp, check);
        return;
    }
    struct settle_entry *entry = check->entry;
    finish_txn(dp, check);
    settle_check_end(dp, check);
    settle_give_up(dp, entry);
}

/* A step with one leg; without memory the key is left for later, or deleted once it was touched. */
static void step_to(struct dataplane *dp, struct settle_check *check, enum settle_step step,
                    uint32_t node, struct chain request)
{
    bool was_writing = check->step >= SETTLE_COPY;
    if (request.head == NULL || !link_is_usable(dp, node)) {
        chain_drop(&dp->chunks, &request);
        if (was_writing) {
            end_in_doubt(dp, check);
        } else {
            end(dp, check, SETTLE_AGAIN);
        }
        return;
    }
    check->step = step;
    bool is_item = step == SETTLE_READ;
    send_to(dp, check, node, is_item ? FORM_ITEM : FORM_LINE, request);
    chain_drop(&dp->chunks, &request);
}

static bool are_usable(const struct dataplane *dp, node_set nodes)
{
    for (; nodes != 0; nodes &= nodes - 1) {
        if (!link_is_usable(dp, node_set_first(nodes))) {
            return false;
        }
    }
    return true;
}

static void ask_all(struct dataplane *dp, struct settle_check *check, enum settle_step step)
{
    const struct topology *t = dp->topology;
    bool is_digest = step == SETTLE_DIGEST;
    struct chain ask =
        compose(dp, check, SLICE("mg "), is_digest ? SLICE(" v f t c u") : SLICE(" c t u"), NULL);
    check->step = step;
    if (ask.head == NULL || !are_usable(dp, t->complete | t->chained)) {
        chain_drop(&dp->chunks, &ask);
        end(dp, check, SETTLE_AGAIN);
        return;
    }
    for (node_set left = t->complete | t->chained; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        check->copies[node] = (struct settle_copy){0};
        send_to(dp, check, node, is_digest ? FORM_DIGEST : FORM_LINE, ask);
    }
    chain_drop(&dp->chunks, &ask);
}

static bool begin(struct dataplane *dp, struct settle_check *check)
{
    const struct settle_entry *entry = check->entry;
    struct txn *txn = txn_create(dp, NULL, MC_VERSION);
    if (txn == NULL) {
        return false;
    }
    check->txn = txn;
    txn->check = check;
    txn->key_hash = entry->key_hash;
    txn->is_base64 = entry->is_base64;
    txn->leader = (uint8_t)topology_leader(dp->topology, entry->key_hash);
    txn->is_aside = side_knows(dp, entry->key_hash);
    txn_move(dp, txn, TXN_SETTLING);
    return true;
}

bool settle_check_begin(struct dataplane *dp, struct settle_check *check)
{
    if (!begin(dp, check)) {
        return false;
    }
    dp->stats.settle_checks++;
    ask_all(dp, check, SETTLE_COMPARE);
    return true;
}

void settle_check_warm(struct dataplane *dp, struct settle_check *check)
{
    struct settle_entry *entry = check->entry;
    if (begin(dp, check)) {
        /* It is in use, which its LRU is to know. */
        step_to(dp, check, SETTLE_ASK, check->target,
                compose(dp, check, SLICE("mg "), SLICE(" t"), NULL));
    } else {
        settle_check_end(dp, check);
        settle_forget(dp, entry);
    }
}

/* --- What was found --- */

static bool is_expiry_equal(const struct settle_copy *a, const struct settle_copy *b)
{
    if (a->ttl_s == -1 || b->ttl_s == -1) {
        return a->ttl_s == b->ttl_s;
    }
    int64_t apart = a->ttl_s - b->ttl_s;
    return apart <= EXPIRY_SLACK_S && apart >= -EXPIRY_SLACK_S;
}

static bool is_equal(const struct dataplane *dp, const struct settle_copy *a,
                     const struct settle_copy *b)
{
    if (a->is_there != b->is_there || !a->is_there) {
        return a->is_there == b->is_there;
    }
    if (!is_expiry_equal(a, b)) {
        return false;
    }
    if (dp->topology->has_tokens && token_is(a->cas) && token_is(b->cas)) {
        return a->cas == b->cas;
    }
    return a->digest == b->digest && a->flags == b->flags && a->value_bytes == b->value_bytes;
}

/* Does each copy say by its CAS which version it is? Not what memcached numbered by itself. */
static bool have_tokens(const struct dataplane *dp, const struct settle_check *check)
{
    for (uint32_t node = 0; node < dp->options.names.node_count; node++) {
        if (check->copies[node].is_there && !token_is(check->copies[node].cas)) {
            return false;
        }
    }
    return dp->topology->has_tokens;
}

/* Nodes whose copy is not the leader's. */
static node_set differing(const struct dataplane *dp, const struct settle_check *check)
{
    const struct topology *t = dp->topology;
    node_set set = 0;
    for (node_set left = t->complete | t->chained; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        const struct settle_copy *copy = &check->copies[node];
        bool is_same = is_equal(dp, &check->copies[check->txn->leader], copy) ||
                       (!copy->is_there && (t->warming & node_set_of(node)) != 0);
        set |= is_same ? 0 : node_set_of(node);
    }
    return set;
}

/* Without tokens: is each copy what our own write left there? Then nobody wrote since. */
static bool is_as_left(const struct dataplane *dp, const struct settle_check *check)
{
    const struct topology *t = dp->topology;
    for (node_set left = t->complete | t->chained; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        const struct settle_copy *copy = &check->copies[node];
        if (check->entry->own_cas[node] != (copy->is_there ? copy->cas : 0) ||
            !is_expiry_equal(copy, &check->copies[check->txn->leader])) {
            return false;
        }
    }
    return true;
}

/* All copies in one number, by which the same difference is known again; never 0. */
static uint64_t pair_of(const struct dataplane *dp, const struct settle_check *check)
{
    const struct topology *t = dp->topology;
    uint64_t mix = check->txn->leader;
    for (node_set left = t->complete | t->chained; left != 0; left &= left - 1) {
        const struct settle_copy *copy = &check->copies[node_set_first(left)];
        mix = prng_mix(mix ^ (copy->is_there ? copy->cas : 1)) + copy->is_there;
    }
    return mix | 1;
}

static bool is_any_marked(const struct dataplane *dp, const struct settle_check *check)
{
    for (uint32_t node = 0; node < dp->options.names.node_count; node++) {
        if (check->copies[node].is_marked) {
            return true;
        }
    }
    return false;
}

/* --- What follows --- */

static void repair(struct dataplane *dp, struct settle_check *check, node_set wrong)
{
    check->target = node_set_first(wrong);
    if (RULE(SETTLE_ALONE)) {
        inflight_put(dp, check->txn); /* our own writes to the key wait until it is over */
    }
    step_to(dp, check, SETTLE_READ, check->txn->leader,
            compose(dp, check, SLICE("mg "), SLICE(" v f t c u"), NULL));
}

static void differ(struct dataplane *dp, struct settle_check *check, node_set wrong)
{
    struct settle_entry *entry = check->entry;
    uint64_t pair = pair_of(dp, check);
    bool is_second = entry->seen == pair || !RULE(SETTLE_TWICE);
    entry->seen = pair;
    entry->tries++;
    node_set mendable = wrong & (dp->topology->complete | dp->topology->warming);
    bool is_mendable = mendable != 0;
    bool is_busy = dp->next != NULL || dp->is_lapsed || (entry->writes > 0 && RULE(SETTLE_ALONE)) ||
                   inflight_is_full(dp);
    if (entry->tries > SETTLE_TRIES_MAX) {
        end_in_doubt(dp, check);
    } else if (!is_second || (is_mendable && is_busy)) {
        end(dp, check, SETTLE_AGAIN);
    } else if (!is_mendable) {
        end(dp, check, SETTLE_PARKED); /* only the filler copies to a node that is being filled */
    } else {
        dp->stats.divergences++;
        repair(dp, check, mendable);
    }
}

/* A stale item shows its one win to whoever reads it first, and that was us. */
static void give_back(struct dataplane *dp, struct settle_check *check)
{
    const struct settle_copy *copy = &check->copies[check->txn->leader];
    if (!copy->is_won || copy->cas == 0) {
        end_equal(dp, check);
        return;
    }
    char flags[64];
    struct mc_writer w = mc_writer_of(flags, sizeof(flags));
    mc_write(&w, SLICE(" I"));
    if (dp->topology->has_tokens) {
        mc_write(&w, SLICE(" E"));
        mc_write_u64(&w, copy->cas);
    }
    mc_write(&w, SLICE(" C"));
    step_to(dp, check, SETTLE_UNMARK, check->txn->leader,
            compose(dp, check, SLICE("md "), slice_of(flags, w.len), &copy->cas));
}

static void compared(struct dataplane *dp, struct settle_check *check)
{
    if (check->is_failed || check->entry->writes > 0 || dp->next != NULL || dp->is_lapsed) {
        end(dp, check, SETTLE_AGAIN);
        return;
    }
    if (is_any_marked(dp, check)) {
        /* A mark lives on the leader alone; what was marked has no copies. */
        give_back(dp, check);
        return;
    }
    if (check->step == SETTLE_COMPARE && !have_tokens(dp, check)) {
        if (!dp->topology->has_tokens && is_as_left(dp, check)) {
            end_equal(dp, check);
        } else {
            ask_all(dp, check, SETTLE_DIGEST);
        }
        return;
    }
    node_set wrong = differing(dp, check);
    if (wrong == 0) {
        end_equal(dp, check);
    } else {
        differ(dp, check, wrong);
    }
}

static struct settle_copy copy_of(const struct mc_reply *reply)
{
    return (struct settle_copy){
        .is_there = reply->kind == MC_REPLY_HD || reply->kind == MC_REPLY_VA,
        .is_won = reply->is_won,
        .is_marked = reply->is_won || reply->is_stale || reply->is_sent,
        .cas = reply->cas,
        .ttl_s = reply->ttl_s,
        .flags = reply->flags,
        .value_bytes = reply->value_bytes,
    };
}

struct slice settle_key(const struct txn *txn)
{
    return key_of(txn->check);
}

void settle_note_item(struct txn *txn, uint32_t node, const struct mc_reply *reply)
{
    struct settle_check *check = txn->check;
    if (check->step == SETTLE_READ) {
        check->item = copy_of(reply);
    } else {
        check->copies[node] = copy_of(reply);
    }
}

void settle_note_digest(struct txn *txn, uint32_t node, uint64_t digest)
{
    txn->check->copies[node].digest = digest;
}

/* The store that is being put together is a copy: under what condition? */
void settle_write_condition(const struct txn *txn, struct mc_writer *w)
{
    const struct settle_check *check = txn->check;
    const struct settle_copy *there = &check->copies[check->target];
    if (there->is_there) {
        mc_write(w, SLICE(" C"));
        mc_write_u64(w, there->cas);
    } else {
        mc_write(w, SLICE(" ME"));
    }
    mc_write(w, SLICE(" c"));
}

static void look(struct dataplane *dp, struct settle_check *check)
{
    step_to(dp, check, SETTLE_LOOK, check->txn->leader,
            compose(dp, check, SLICE("mg "), SLICE(" c t u"), NULL));
}

/* From here on it is a write, to the end of its look-again or undo. */
static void begin_writing(struct dataplane *dp, struct settle_check *check, enum settle_step step,
                          struct chain request)
{
    list_append(&dp->writes, &check->txn->writes);
    check->txn->is_begun = true;
    await_target(dp, check);
    step_to(dp, check, step, check->target, request);
}

static void was_asked(struct dataplane *dp, struct settle_check *check, enum mc_reply_kind kind)
{
    if (kind == MC_REPLY_HD) {
        warm_note(dp, check->target, WARM_HIT);
    }
    if (kind == MC_REPLY_EN && !check->is_failed && dp->next == NULL && !dp->is_lapsed) {
        step_to(dp, check, SETTLE_READ, check->txn->leader,
                compose(dp, check, SLICE("mg "), SLICE(" v f t c u"), NULL));
    } else {
        end(dp, check, SETTLE_AGAIN);
    }
}

/* Of a key that the warming node has not. A node that gives its items no CAS can't be looked at
 * again. */
static void was_read_to_warm(struct dataplane *dp, struct settle_check *check, struct leg *leg)
{
    bool is_open = dp->next == NULL && !dp->is_lapsed && !check->is_failed;
    struct chain item = leg->reply.chain;
    leg->reply = (struct chain_builder){0};
    if (leg->has_item && check->item.is_there) {
        warm_note(dp, check->target, WARM_MISS);
    }
    if (is_open && leg->has_item && check->item.cas != 0 && !leg->is_out_of_memory) {
        begin_writing(dp, check, SETTLE_COPY, item);
        return;
    }
    chain_drop(&dp->chunks, &item);
    if (check->item.is_there && check->item.is_won) {
        check->copies[check->txn->leader] = check->item;
        give_back(dp, check);
    } else {
        end(dp, check, SETTLE_AGAIN);
    }
}

static void was_read(struct dataplane *dp, struct settle_check *check, struct leg *leg)
{
    if (check->is_warm) {
        was_read_to_warm(dp, check, leg);
        return;
    }
    const struct settle_copy *there = &check->copies[check->target];
    const struct settle_copy *seen = &check->copies[check->txn->leader];
    bool is_open = dp->next == NULL && !dp->is_lapsed && check->item.is_there == seen->is_there;
    bool is_item = check->item.is_there && check->item.cas == seen->cas && leg->has_item &&
                   !leg->is_out_of_memory;
    struct chain item = leg->reply.chain;
    leg->reply = (struct chain_builder){0};
    if (is_open && is_item) {
        begin_writing(dp, check, SETTLE_COPY, item);
        return;
    }
    chain_drop(&dp->chunks, &item);
    if (is_open && !check->item.is_there && there->is_there) {
        begin_writing(dp, check, SETTLE_DELETE,
                      compose(dp, check, SLICE("md "), SLICE(" C"), &there->cas));
    } else {
        end(dp, check, SETTLE_AGAIN);
    }
}

static void was_written(struct dataplane *dp, struct settle_check *check,
                        const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_HD) {
        check->our_cas = check->step == SETTLE_COPY ? reply->cas : 0;
        look(dp, check);
    } else if (reply->kind == MC_REPLY_NS || reply->kind == MC_REPLY_EX ||
               reply->kind == MC_REPLY_NF || is_target_warming(dp, check)) {
        end(dp, check, SETTLE_AGAIN); /* somebody wrote there meanwhile */
    } else {
        end_in_doubt(dp, check); /* no room for it: the old one is gone too */
    }
}

static void was_looked_at(struct dataplane *dp, struct settle_check *check,
                          const struct mc_reply *reply)
{
    struct settle_copy now = copy_of(reply);
    bool is_same =
        now.is_there == check->item.is_there && !now.is_marked &&
        (!now.is_there || (now.cas == check->item.cas && is_expiry_equal(&now, &check->item)));
    if (is_same && check->is_warm) {
        dp->stats.nodes[check->target].warm_stored++;
        end(dp, check, SETTLE_AGAIN);
    } else if (is_same) {
        dp->stats.repairs++;
        /* Other nodes may differ too: if nothing else has changed, that has been seen twice. */
        check->copies[check->target] = check->item;
        check->copies[check->target].cas = check->our_cas;
        check->entry->seen = pair_of(dp, check);
        end(dp, check, SETTLE_NOW);
    } else if (check->our_cas != 0) {
        step_to(dp, check, SETTLE_UNDO, check->target,
                compose(dp, check, SLICE("md "), SLICE(" C"), &check->our_cas));
    } else if (check->is_warm) {
        end_in_doubt(dp, check); /* it gives its items no CAS */
    } else {
        end(dp, check, SETTLE_AGAIN);
    }
}

void settle_on_leg(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply)
{
    struct settle_check *check = leg->txn->check;
    struct txn *txn = leg->txn;
    bool is_odd =
        reply->kind != MC_REPLY_HD && reply->kind != MC_REPLY_EN && reply->kind != MC_REPLY_VA;
    txn->legs--;
    txn->waiting &= ~node_set_of(leg->node);
    switch (check->step) {
    case SETTLE_COMPARE:
        check->copies[leg->node] = copy_of(reply);
        check->is_failed =
            check->is_failed || is_odd || (reply->kind == MC_REPLY_HD && !reply->has_cas);
        break;
    case SETTLE_DIGEST:
        check->is_failed = check->is_failed || is_odd;
        break;
    case SETTLE_ASK:
        leg_drop(dp, leg);
        was_asked(dp, check, reply->kind);
        return;
    case SETTLE_READ:
        was_read(dp, check, leg);
        leg_drop(dp, leg);
        return;
    case SETTLE_COPY:
    case SETTLE_DELETE:
        leg_drop(dp, leg);
        was_written(dp, check, reply);
        return;
    case SETTLE_LOOK:
        leg_drop(dp, leg);
        if (is_odd) {
            end_in_doubt(dp, check);
        } else {
            was_looked_at(dp, check, reply);
        }
        return;
    case SETTLE_UNMARK:
        leg_drop(dp, leg);
        end_equal(dp, check);
        return;
    case SETTLE_UNDO:
    case SETTLE_CLEAN:
        leg_drop(dp, leg);
        if (is_odd && reply->kind != MC_REPLY_NF && reply->kind != MC_REPLY_EX &&
            is_target_warming(dp, check)) {
            end_in_doubt(dp, check);
        } else {
            end(dp, check, SETTLE_AGAIN);
        }
        return;
    }
    leg_drop(dp, leg);
    if (txn->legs == 0) {
        compared(dp, check);
    }
}

void settle_on_leg_lost(struct dataplane *dp, struct leg *leg)
{
    struct settle_check *check = leg->txn->check;
    struct txn *txn = leg->txn;
    txn->legs--;
    txn->waiting &= ~node_set_of(leg->node);
    leg_drop(dp, leg);
    check->is_failed = check->is_failed || !check->is_warm;
    if (txn->legs > 0) {
        return;
    }
    if (check->step >= SETTLE_COPY) {
        end_in_doubt(dp, check);
    } else {
        end(dp, check, SETTLE_AGAIN);
    }
}

void settle_check_clean(struct dataplane *dp, struct settle_check *check)
{
    struct txn *txn = check->txn;
    uint32_t node = check->target;
    if (txn->missed == 0 || (dp->topology->warming & node_set_of(node)) == 0) {
        list_remove(&txn->held);
        end(dp, check, SETTLE_AGAIN); /* it left the view, and comes back empty */
        return;
    }
    bool is_open = !dp->is_lapsed && !dp->is_sealed && link_has_room(dp, 1) &&
                   link_is_usable(dp, node) && link_is_proven(dp, node);
    struct chain delete =
        is_open ? compose(dp, check, SLICE("md "), SLICE(""), NULL) : (struct chain){0};
    if (delete.head != NULL) {
        list_remove(&txn->held);
        send_to(dp, check, node, FORM_LINE, delete);
        chain_drop(&dp->chunks, &delete);
    } else if (dp->is_lapsed && dp->next != NULL) {
        /* It keeps the next view from being joined, and that comes before the lease. */
        link_report_stuck(dp, node, link_main(dp, node)->last_end);
    } else if (link_main(dp, node)->has_failed ||
               dp->now_us - txn->started_us >= dp->options.request_timeout_us / 2) {
        link_report_missed(dp, node, link_main(dp, node)->last_end);
    }
}
