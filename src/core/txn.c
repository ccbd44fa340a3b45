/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A txn: one command over the replicas of its key (replication.md sections 5 and 6).
 *
 *   plain     NEW ─► WRITING (all complete replicas at once) ─► CHAINING (filling ones) ─► OVER
 *   decided   NEW ─► DECIDING (leader) ─► SPREADING (its result) ─► CHAINING ─► OVER
 *   read      NEW ─► READING ─► OVER                                     (multiget.c)
 *
 * HELD is before the first byte: for a view, a connection, another write to the same key, memory.
 * STRANDED is after it: some replica did not answer. It ends in one of two ways, and no third: the
 * node is home (a new connection to the same run, the old one read to its end) and gets the write
 * again, or a view without the node is in effect and the write goes on without it.
 *
 * I1. A txn in dp->writes keeps this dataplane from being drained as long as a node of the next
 *     view may still see bytes of it, or owes it an answer (txn_is_drained).
 * I2. Stranded and held txns are tried in the order of their creation, so that two writes of one
 *     client are not turned round. No client's write begins while a recheck of them is due.
 * I3. Every write that has begun is in dp->inflight, by its key. None passes an older one to its
 *     key that takes several steps, goes aside (side.c), or was missed and will be sent again; one
 *     that takes several steps or goes aside itself passes no older one at all. Where either goes
 *     aside, one that has begun counts as older than one that has not. The deletion of a key in
 *     doubt is in the table from its creation, and nothing begins while it is there; of what has
 *     begun before, a later whole value or deletion makes it needless.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

enum {
    /* Passes over what waits, in one turn; a pass may free what an earlier txn waits for. What is
     * left then is tried in the next turn, so that nothing here can keep a worker. */
    RECHECK_PASSES_MAX = 16,
};

/* --- States --- */

static const uint16_t txn_moves[] = {
    [TXN_NEW] = 1u << TXN_HELD | 1u << TXN_READING | 1u << TXN_WRITING | 1u << TXN_DECIDING |
                1u << TXN_ASKED | 1u << TXN_SETTLING | 1u << TXN_OVER,
    [TXN_HELD] = 1u << TXN_READING | 1u << TXN_WRITING | 1u << TXN_DECIDING | 1u << TXN_OVER,
    [TXN_READING] = 1u << TXN_NEW | 1u << TXN_OVER,
    [TXN_WRITING] = 1u << TXN_SPREADING | 1u << TXN_CHAINING | 1u << TXN_STRANDED | 1u << TXN_OVER,
    [TXN_DECIDING] = 1u << TXN_SPREADING | 1u << TXN_CHAINING | 1u << TXN_STRANDED | 1u << TXN_OVER,
    [TXN_SPREADING] = 1u << TXN_CHAINING | 1u << TXN_STRANDED | 1u << TXN_OVER,
    [TXN_CHAINING] = 1u << TXN_STRANDED | 1u << TXN_OVER,
    [TXN_STRANDED] = 1u << TXN_WRITING | 1u << TXN_DECIDING | 1u << TXN_SPREADING |
                     1u << TXN_CHAINING | 1u << TXN_OVER,
    [TXN_SETTLING] = 1u << TXN_OVER,
    [TXN_ASKED] = 1u << TXN_OVER,
    [TXN_OVER] = 0,
};

static bool is_waiting(uint8_t state)
{
    return state == TXN_HELD || state == TXN_STRANDED || state == TXN_ASKED;
}

/* A write that some replica missed will be sent again, so it stalls before it is STRANDED, while
 * other replicas still owe their answers: a later write of its client would be overtaken. */
static void note_stalling(struct dataplane *dp, struct txn *txn)
{
    bool is_aside = txn->is_aside && RULE(SIDE_NEXT);
    bool is_stalling =
        !txn->is_answered && (is_waiting(txn->state) || txn->missed != 0 || is_aside);
    if (txn->session != NULL && is_stalling != txn->is_stalling) {
        txn->is_stalling = is_stalling;
        txn->session->stalled += is_stalling ? 1 : -1u;
        session_touch(dp, txn->session);
    }
}

void txn_put_aside(struct dataplane *dp, struct txn *txn)
{
    txn->is_aside = true;
    note_stalling(dp, txn);
}

void txn_move(struct dataplane *dp, struct txn *txn, enum txn_state to)
{
    INVARIANT((txn_moves[txn->state] & 1u << to) != 0);
    int stalled = (int)is_waiting((uint8_t)to) - (int)is_waiting(txn->state);
    if (stalled != 0) {
        dp->stats.held = (uint64_t)((int64_t)dp->stats.held + stalled);
        if (stalled < 0) {
            list_remove(&txn->held);
        }
        if (txn->state == TXN_ASKED) {
            list_remove(&txn->writes);
        }
    }
    txn->state = (uint8_t)to;
    note_stalling(dp, txn);
    if (to == TXN_OVER) {
        if (txn->is_inflight) {
            inflight_take(dp, txn);
        }
        settle_leave(dp, txn);
    }
}

/* In the order of creation (I2); what waits is nearly always the youngest. */
static void wait_in_order(struct dataplane *dp, struct txn *txn)
{
    struct list *after = dp->held.prev;
    while (after != &dp->held && LIST_OWNER(after, struct txn, held)->serial > txn->serial) {
        after = after->prev;
    }
    list_append(after->next, &txn->held);
}

static void hold(struct dataplane *dp, struct txn *txn)
{
    if (txn->state == TXN_NEW) {
        txn_move(dp, txn, TXN_HELD);
        wait_in_order(dp, txn);
    }
}

struct txn *txn_create(struct dataplane *dp, struct session *session, enum mc_command command)
{
    struct txn *txn = slab_take(&dp->txns);
    if (txn == NULL) {
        return NULL;
    }
    txn->session = session;
    txn->command_type = (uint8_t)command;
    txn->started_us = dp->now_us;
    txn->serial = ++dp->serial;
    txn->key_count = 1;
    txn->is_internal = session == NULL;
    if (session != NULL) {
        deadline_set(dp, txn, dp->now_us);
        if (session->tail == NULL) {
            session->head = txn;
        } else {
            session->tail->next = txn;
        }
        session->tail = txn;
        session->in_flight++;
    }
    return txn;
}

struct slice txn_key(const struct txn *txn)
{
    const struct chain *command = &txn->command;
    return slice_of(command->head->data + command->off + txn->places.key_off, txn->key_bytes);
}

uint64_t txn_cas_tag(const struct dataplane *dp, uint32_t node)
{
    if (dp->topology->has_tokens) {
        return 0;
    }
    const struct identity *id =
        dp->topology->is_lone ? &link_main(dp, node)->identity : &dp->topology->identity[node];
    uint64_t mix = prng_mix(dp->topology->node_seed[node] ^ id->pid);
    mix = prng_mix(mix ^ id->started_s) ^ id->flushes;
    return (prng_mix(mix) & 0x7fff) << 48;
}

/* --- Answers --- */

/* Its client may have got a part of the answer already: whatever comes later changes nothing. */
static bool is_answer_fixed(const struct txn *txn)
{
    return txn->is_answered && txn->session != NULL;
}

void txn_set_reply(struct dataplane *dp, struct txn *txn, struct chain reply)
{
    if (is_answer_fixed(txn)) {
        chain_drop(&dp->chunks, &reply);
        return;
    }
    chain_drop(&dp->chunks, &txn->reply);
    txn->reply = reply;
}

static void count_answer(struct dataplane *dp, struct txn *txn)
{
    if (txn->is_uncounted) {
        return;
    }
    dp->stats.commands[txn->command_type][txn->outcome]++;
    dp->stats.passed_over[txn->command_type][txn->outcome] += txn->is_passed_over;
    uint64_t took_us = dp->now_us - txn->started_us;
    histogram_record(&dp->stats.latency[txn->command_type], took_us);
    observe_answer(dp, txn, took_us);
    bool is_write = txn->command_type >= MC_SET && txn->command_type <= MC_TOUCH;
    if (is_write || txn->is_decided) {
        bool is_failed = txn->outcome == DATAPLANE_OUTCOME_SERVER_ERROR;
        dp->stats.writes_failed += is_failed;
        dp->stats.writes_ok += !is_failed;
    }
}

/* The reply may be written now; a client that asked for none gets none. */
static void release_answer(struct dataplane *dp, struct txn *txn)
{
    if (txn->is_answered || txn->is_internal) {
        return;
    }
    count_answer(dp, txn);
    deadline_forget(dp, txn);
    if (txn->dialect == MC_DIALECT_BINARY) {
        answer_binary_seal(dp, txn);
    }
    if (txn->is_noreply) {
        txn_set_reply(dp, txn, (struct chain){0});
        txn->reply_text_bytes = 0;
    }
    txn->is_answered = true;
    note_stalling(dp, txn);
    if (txn->session != NULL) {
        txn->session->output_bytes += txn->reply.len + txn->reply_text_bytes;
        session_on_answer(dp, txn->session);
    }
}

/* `ack: leader`: the answer is known, the rest goes on as ever, with the deadline that it has. */
void txn_answer_early(struct dataplane *dp, struct txn *txn)
{
    if (dp->options.ack != DATAPLANE_ACK_LEADER || txn->is_answered || txn->is_internal ||
        txn->is_doubtful) {
        return;
    }
    uint64_t since_us = txn->started_us;
    release_answer(dp, txn);
    deadline_set(dp, txn, since_us);
}

void txn_set_text(struct txn *txn, struct slice text, enum dataplane_outcome outcome)
{
    if (is_answer_fixed(txn)) {
        return;
    }
    txn->reply_text = text.ptr;
    txn->reply_text_bytes = (uint32_t)text.len;
    txn->outcome = (uint8_t)outcome;
}

void txn_answer(struct dataplane *dp, struct txn *txn, struct slice text,
                enum dataplane_outcome outcome)
{
    txn_set_text(txn, text, outcome);
    txn_move(dp, txn, TXN_OVER);
    release_answer(dp, txn);
    txn_release(dp, txn);
}

void txn_release(struct dataplane *dp, struct txn *txn)
{
    if (txn->state != TXN_OVER || txn->session != NULL) {
        return;
    }
    INVARIANT(txn->legs == 0 && txn->parts == NULL && !txn->is_inflight);
    deadline_forget(dp, txn);
    list_remove(&txn->held);
    list_remove(&txn->writes);
    chain_drop(&dp->chunks, &txn->flags_text);
    chain_drop(&dp->chunks, &txn->command);
    chain_drop(&dp->chunks, &txn->result);
    chain_drop(&dp->chunks, &txn->reply);
    dp->invalidations -= txn->is_internal && txn->check == NULL;
    slab_drop(&dp->txns, txn);
}

void txn_orphan(struct dataplane *dp, struct txn *txn)
{
    txn->session = NULL;
    if (txn->state == TXN_HELD || txn->state == TXN_ASKED) {
        txn_move(dp, txn, TXN_OVER); /* nothing was sent, nobody waits */
    }
    txn->is_answered = true;
    deadline_forget(dp, txn);
    if (txn->is_begun && txn->state != TXN_OVER) {
        /* It keeps its deadline: a stranded write must not stand in the way of a view for ever. */
        deadline_set(dp, txn, txn->started_us);
    }
    txn_release(dp, txn);
}

/* --- Invalidation: when in doubt, a miss --- */

bool txn_invalidate(struct dataplane *dp, struct slice key, bool is_base64, uint64_t key_hash)
{
    struct txn *delete = NULL;
    if (dp->invalidations < INVALIDATIONS_MAX) {
        delete = txn_create(dp, NULL, MC_DELETE);
    }
    if (delete == NULL) {
        dp->stats.shed++;
        return false;
    }
    dp->invalidations++;
    delete->command = compose_delete_key(dp, key, is_base64);
    if (delete->command.head == NULL) {
        dp->stats.shed++;
        txn_move(dp, delete, TXN_OVER);
        txn_release(dp, delete);
        return false;
    }
    delete->places.key_off = 3;
    delete->key_bytes = (uint8_t)key.len;
    delete->key_hash = key_hash;
    delete->is_base64 = is_base64;
    dp->stats.keys_invalidated++;
    inflight_put(dp, delete); /* also while it is held: what begins from now on waits for it */
    txn_begin(dp, delete);
    return true;
}

/* --- Writes --- */

/* An item that expires in these seconds was touched on some nodes, and had gone on others: what is
 * left of it is compared, also where nothing else is. */
static void settle_touch(struct dataplane *dp, struct txn *txn)
{
    bool is_uneven = txn->is_untouched && (txn->is_decided || txn->was_done != 0);
    if (is_uneven && txn->settle == NULL && !settle_enter(dp, txn)) {
        txn->is_doubtful = true;
    }
}

/* The work is over: nothing more goes to any node. */
void txn_finish(struct dataplane *dp, struct txn *txn)
{
    list_remove(&txn->writes);
    settle_touch(dp, txn);
    if (txn->is_inflight) {
        inflight_take(dp, txn); /* the deletion below does not wait for it */
    }
    bool is_overwritten = txn->is_doubtful && inflight_is_overwritten(dp, txn);
    if (txn->is_doubtful && !txn->is_internal && !is_overwritten) {
        (void)txn_invalidate(dp, txn_key(txn), txn->is_base64, txn->key_hash);
    }
    txn_move(dp, txn, TXN_OVER);
    release_answer(dp, txn);
    txn_release(dp, txn);
}

/* Some replica did not answer: wait until it is home or out of the view. */
static void strand(struct dataplane *dp, struct txn *txn)
{
    if (txn->is_answered && txn->is_doubtful) {
        txn_finish(dp, txn); /* its time was over before */
        return;
    }
    txn->late = txn->missed != 0 ? (uint8_t)(1 + node_set_first(txn->missed)) : txn->late;
    txn_move(dp, txn, TXN_STRANDED);
    wait_in_order(dp, txn);
    dp->is_recheck_due = true;
}

static void send_to(struct dataplane *dp, struct txn *txn, uint32_t node, enum leg_form form,
                    struct chain request)
{
    txn->legs++;
    txn->waiting |= node_set_of(node);
    link_send(dp, node, txn, form, request);
}

/* Can every node of SET be written to? If not, and TXN has waited long enough or there is no hope,
 * control hears of the node: it decides whether the node leaves the view. */
static bool all_usable(struct dataplane *dp, const struct txn *txn, node_set set)
{
    bool is_usable = true;
    for (node_set left = set; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (link_is_usable(dp, node) && (!txn->is_internal || link_is_proven(dp, node))) {
            continue;
        }
        is_usable = false;
        const struct link *link = link_main(dp, node);
        bool is_late = link_is_late(dp, txn, node);
        if (link->has_failed || is_late) {
            link_report_missed(dp, node, link->has_failed ? link->last_end : WIRE_END_TIMEOUT);
        }
    }
    return is_usable;
}

/* May a write touch nodes at all now? One that has begun may go on while a change of view waits. */
static bool is_open_for_writes(const struct dataplane *dp, const struct txn *txn)
{
    return !dp->topology->is_holding && !dp->topology->is_read_only && !dp->is_lapsed &&
           !dp->is_sealed && (dp->next == NULL || txn->is_begun || !RULE(HOLD));
}

/* What waits is not in dp->inflight yet. So TXN, which is new, could begin to go by one link, and
 * then an older write to its key, that nothing holds back any more, by the other (side.c). */
static bool is_after_held(const struct dataplane *dp, const struct txn *txn)
{
    return txn->state == TXN_NEW && !txn->is_internal && dp->is_recheck_due &&
           !list_is_empty(&dp->held);
}

static bool is_last_copy_gone(struct dataplane *dp, const struct txn *txn)
{
    node_set complete = dp->topology->complete;
    bool is_late = deadline_is_half_over(dp, txn);
    if (complete == 0) {
        return is_late;
    }
    uint32_t node = node_set_first(complete);
    return node_set_count(complete) == 1 && link_main(dp, node)->has_failed &&
           (is_late || dp->topology->is_lone);
}

static void answer_error(struct dataplane *dp, struct txn *txn, struct slice text)
{
    txn_set_reply(dp, txn, (struct chain){0});
    txn_answer(dp, txn, txn->is_part ? SLICE("") : text, DATAPLANE_OUTCOME_SERVER_ERROR);
}

/* The mutants of CHAIN and CHAIN_BEHIND_ALL: to filling nodes while complete ones may lack it. */
static void chain_early(struct dataplane *dp, struct txn *txn, bool is_rule_in_force)
{
    node_set early = is_rule_in_force ? 0 : dp->topology->chained & ~txn->acked;
    for (node_set left = early; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (link_is_usable(dp, node) && link_has_room(dp, 1)) {
            send_to(dp, txn, node, FORM_LINE, txn->command);
        }
    }
}

static bool enter_settle(struct dataplane *dp, struct txn *txn)
{
    return !dp->topology->is_settling || txn->settle != NULL || settle_enter(dp, txn);
}

/* Put a new token into the command, also when it is run again: what an earlier run left on some
 * node must not be taken for this one's. False: none is to be had this millisecond. */
static bool stamp(struct dataplane *dp, struct txn *txn)
{
    if (txn->places.token_off == 0) {
        return true;
    }
    const struct topology *t = dp->topology;
    char *digits = txn->command.head->data + txn->command.off + txn->places.token_off;
    if (!t->has_tokens) {
        memset(digits - 2, ' ', 2 + TOKEN_DIGITS);
        return true;
    }
    if (txn->is_begun && digits[-1] == 'E' && !RULE(NEW_TOKEN)) {
        return true;
    }
    uint64_t now_ms = t->token_base_ms + dp->now_us / 1000;
    uint64_t token = token_next(&dp->token_clock, now_ms, t->proxy_id, dp->options.worker);
    if (token == 0) {
        return false;
    }
    memcpy(digits - 2, " E", 2);
    token_write(token, digits);
    return true;
}

/*
 * Put the condition into the command, now that its leader is known. A CAS of another node or run
 * becomes one that no item has, so that memcached answers what it always does when it differs:
 * above all others, but for ms I, which stores a stale item when the CAS is older.
 */
static void set_condition(const struct dataplane *dp, struct txn *txn)
{
    if (txn->places.cas_off == 0) {
        return;
    }
    uint64_t cas = txn->cas;
    if (!dp->topology->has_tokens && cas != 0) {
        const uint64_t tag_mask = ~(UINT64_MAX >> 16);
        bool is_own = (cas & tag_mask) == txn_cas_tag(dp, txn->leader) || !RULE(CAS_TAG);
        bool is_older = txn->is_mark && txn->command_type == MC_CAS;
        uint64_t foreign = is_older ? 1 : UINT64_MAX;
        cas = is_own ? cas & ~tag_mask : foreign;
    }
    command_write_cas(txn->command.head->data + txn->command.off + txn->places.cas_off, cas);
}

/* A flag that this node does not know yet, and would pass over instead of refusing it. */
static bool is_too_old(const struct dataplane *dp, const struct txn *txn, uint32_t node)
{
    bool is_appending = txn->command_type == MC_APPEND || txn->command_type == MC_PREPEND;
    return is_appending && txn->is_vivify && link_main(dp, node)->version < LINK_VERSION_APPEND_N;
}

/*
 * Send the first step of a write, or of one that is run again.
 *
 * Returns  false: it must wait, nothing was sent.
 */
static bool write_begin(struct dataplane *dp, struct txn *txn)
{
    bool is_client_s = !txn->is_internal && !txn->is_begun;
    const struct topology *t = dp->topology;
    if (is_client_s && t != NULL && t->is_stopped) {
        answer_error(dp, txn, SLICE("SERVER_ERROR no majority of the nodes is reachable\r\n"));
        return true;
    }
    if (t == NULL || !is_open_for_writes(dp, txn) || is_after_held(dp, txn)) {
        return false;
    }
    if (is_client_s && is_last_copy_gone(dp, txn)) {
        answer_error(dp, txn, SLICE("SERVER_ERROR no complete replica is reachable\r\n"));
        return true;
    }
    /* Plain writes go out one behind the other. What decides, or reaches its replicas one after the
     * other, must not be passed by an older write that is sent again. */
    bool is_alone = txn->is_decided || t->chained != 0 || (txn->is_aside && RULE(SIDE_ALONE));
    bool is_behind_slow = RULE(IN_ORDER) && inflight_has_slow_older(dp, txn);
    bool is_behind = is_behind_slow || (RULE(IN_ORDER) && is_alone && inflight_has_older(dp, txn));
    bool is_full = inflight_is_full(dp) && !txn->is_inflight;
    /* Younger ones would pass a decided one that waits for plain ones only, and its result them. */
    bool is_passed = txn->is_decided && is_behind && !is_behind_slow;
    if ((txn->is_aside || is_passed) && !txn->is_inflight && !is_full) {
        inflight_put(dp, txn); /* while it waits for older ones, younger ones wait for it */
    }
    if (t->complete == 0 || is_behind || is_full || !link_has_room(dp, 2 * NODES_MAX) ||
        !all_usable(dp, txn, t->complete) || !enter_settle(dp, txn) || !stamp(dp, txn)) {
        return false;
    }
    uint32_t leader = topology_leader(t, txn->key_hash);
    if (is_too_old(dp, txn, leader) && !txn->is_begun) {
        txn_answer(dp, txn,
                   SLICE("CLIENT_ERROR N with this mode needs memcached 1.6.20 on the nodes\r\n"),
                   DATAPLANE_OUTCOME_CLIENT_ERROR);
        return true;
    }
    txn->leader = (uint8_t)leader;
    set_condition(dp, txn);
    txn->replicas = t->complete | t->chained;
    txn->acked = 0;
    txn->missed = 0;
    txn->cut = 0;
    txn->is_leader_in = false;
    txn->is_leader_error = false;
    txn_set_reply(dp, txn, (struct chain){0});
    chain_drop(&dp->chunks, &txn->result);
    dp->stats.writes_rerun += txn->is_begun;
    if (!txn->is_begun) {
        txn->is_begun = true;
        list_append(&dp->writes, &txn->writes);
    }
    if (!txn->is_inflight) {
        inflight_put(dp, txn);
    }
    txn_move(dp, txn, txn->is_decided ? TXN_DECIDING : TXN_WRITING);
    txn->step = txn->is_decided ? STEP_DECIDE : STEP_WRITE;
    if (txn->is_decided) {
        send_to(dp, txn, leader, command_form((enum mc_command)txn->command_type), txn->command);
        return true;
    }
    for (node_set left = t->complete; left != 0; left &= left - 1) {
        send_to(dp, txn, node_set_first(left), FORM_LINE, txn->command);
    }
    chain_early(dp, txn, RULE(CHAIN));
    return true;
}

/* How a txn is answered whose deadline is over: as a read of what nobody tells, or by an error. */
static void late_answer(struct dataplane *dp, struct txn *txn, struct slice *text,
                        enum dataplane_outcome *outcome)
{
    bool is_read = txn_is_read(txn);
    bool is_unreadable = dp->topology != NULL && dp->next == NULL; /* not: the view was changing */
    bool is_miss =
        is_read &&
        (txn->is_part || (is_unreadable && dp->options.on_no_replica == DATAPLANE_ANSWER_MISS));
    *outcome = is_miss ? DATAPLANE_OUTCOME_MISS : DATAPLANE_OUTCOME_SERVER_ERROR;
    if (is_miss) {
        *text = answer_nothing(dp, txn);
    } else {
        *text = txn->is_part ? SLICE("") : SLICE("SERVER_ERROR timed out\r\n");
    }
}

void txn_begin(struct dataplane *dp, struct txn *txn)
{
    bool is_read = txn_is_read(txn);
    if (is_read ? multiget_begin(dp, txn) : write_begin(dp, txn)) {
        return;
    }
    hold(dp, txn);
    bool is_late = deadline_is_over(dp, txn);
    if (is_late && !txn->is_internal && !dp->is_lapsed) {
        /* One of many keys' parts, whose others have waited so long. */
        struct slice text;
        enum dataplane_outcome outcome;
        late_answer(dp, txn, &text, &outcome);
        txn_answer(dp, txn, text, outcome);
    }
}

/* What the other replicas are sent in place of the command: the result, or the command itself. */
static struct chain spread_request(const struct txn *txn)
{
    return txn->result.head != NULL ? txn->result : txn->command;
}

static node_set chain_targets(const struct dataplane *dp, const struct txn *txn)
{
    node_set targets = dp->topology->chained & ~txn->acked;
    if (dp->next != NULL) {
        targets &= dp->next->chained | dp->next->complete; /* one that leaves needs nothing more */
    }
    return targets;
}

/* What a lease that is over keeps from being sent must not be sent when there is a new one. */
bool txn_may_send(const struct dataplane *dp, uint32_t node)
{
    return !dp->is_lapsed && link_is_usable(dp, node) && link_has_room(dp, 1);
}

/* All complete replicas have it; now, and not before, the filling ones get it. */
static void chain_or_finish(struct dataplane *dp, struct txn *txn)
{
    node_set targets = chain_targets(dp, txn);
    if (targets == 0) {
        txn_finish(dp, txn);
        return;
    }
    txn_move(dp, txn, TXN_CHAINING);
    txn->step = STEP_CHAIN;
    dp->stats.writes_chained++;
    for (node_set left = targets; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (txn_may_send(dp, node)) {
            send_to(dp, txn, node, FORM_LINE, spread_request(txn));
        } else {
            txn->missed |= node_set_of(node);
        }
    }
    note_stalling(dp, txn);
    if (txn->legs == 0) {
        strand(dp, txn);
    }
}

void txn_spread(struct dataplane *dp, struct txn *txn, node_set targets)
{
    if (targets == 0 && txn->legs == 0) {
        chain_or_finish(dp, txn);
        return;
    }
    txn->is_aside = txn->is_aside || side_is_large(dp, txn->result.len);
    txn_move(dp, txn, TXN_SPREADING);
    txn->step = STEP_SPREAD;
    for (node_set left = targets; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (txn_may_send(dp, node)) {
            send_to(dp, txn, node, FORM_LINE, spread_request(txn));
        } else {
            txn->missed |= node_set_of(node);
        }
    }
    note_stalling(dp, txn);
    if (txn->legs == 0) {
        strand(dp, txn);
    }
}

/* The leader had no room for the item, and dropped the old one: so do all (section 5). */
void txn_spread_delete(struct dataplane *dp, struct txn *txn)
{
    chain_drop(&dp->chunks, &txn->result);
    txn->result = compose_delete(dp, txn);
    txn->acked = 0;
    if (txn->result.head == NULL) {
        txn->is_doubtful = true;
        txn_finish(dp, txn);
        return;
    }
    txn_spread(dp, txn, dp->topology->complete);
}

/* A replica had no room for the item: it speaks of the key, not of the node. */
static void clean_up(struct dataplane *dp, struct txn *txn, uint32_t node)
{
    dp->stats.nodes[node].item_errors++;
    if (inflight_is_overwritten(dp, txn)) {
        return; /* the deletion would go behind what did that, and take it along */
    }
    struct chain delete = compose_delete(dp, txn);
    if (delete.head == NULL || !txn_may_send(dp, node)) {
        txn->is_doubtful = true;
    } else {
        txn->legs++;
        txn->waiting |= node_set_of(node);
        link_send(dp, node, txn, FORM_LINE, delete)->is_cleanup = true;
    }
    chain_drop(&dp->chunks, &delete);
}

void txn_answer_leg(struct dataplane *dp, struct txn *txn, const struct leg *leg)
{
    bool has_item = leg->form == FORM_LINE_ITEM && leg->item_bytes > 0;
    answer_write(dp, txn,
                 &(struct answer){.kind = (enum mc_reply_kind)leg->kind,
                                  .node = leg->node,
                                  .cas = leg->cas,
                                  .ttl_s = leg->ttl_s,
                                  .item_bytes = has_item ? leg->item_bytes : txn->value_bytes});
}

static void on_plain_leader(struct dataplane *dp, struct txn *txn, struct leg *leg)
{
    enum mc_reply_kind kind = (enum mc_reply_kind)leg->kind;
    enum dataplane_outcome outcome = DATAPLANE_OUTCOME_STORED;
    txn->is_leader_in = true;
    if (txn->is_too_large) {
        bool is_ours = txn->is_out_of_room;
        txn_set_text(txn,
                     is_ours ? SLICE("SERVER_ERROR out of memory storing object\r\n")
                             : SLICE("SERVER_ERROR object too large for cache\r\n"),
                     is_ours ? DATAPLANE_OUTCOME_SERVER_ERROR : DATAPLANE_OUTCOME_CLIENT_ERROR);
        return;
    }
    if (reply_is_refusal(kind) && (txn->was_done & node_set_of(txn->leader)) != 0) {
        kind = MC_REPLY_HD; /* an earlier run did it, under a leader that left before it told */
    }
    if (!reply_is_error(kind)) {
        leg->kind = (uint8_t)kind;
        txn_answer_leg(dp, txn, leg);
        return;
    }
    txn->is_leader_error = !txn->is_internal;
    outcome = kind == MC_REPLY_CLIENT_ERROR ? DATAPLANE_OUTCOME_CLIENT_ERROR
                                            : DATAPLANE_OUTCOME_SERVER_ERROR;
    txn_set_text(txn, txn->reply.head == NULL ? SLICE("SERVER_ERROR out of memory\r\n") : SLICE(""),
                 outcome);
}

/* All complete replicas have answered. */
static void all_have_it(struct dataplane *dp, struct txn *txn)
{
    if (txn->step != STEP_WRITE || !txn->is_leader_error) {
        chain_or_finish(dp, txn);
    } else if (inflight_is_overwritten(dp, txn)) {
        txn_finish(dp, txn); /* as in clean_up */
    } else {
        txn_spread_delete(dp, txn);
    }
}

/* All legs of a step are in or lost. */
static void step_done(struct dataplane *dp, struct txn *txn)
{
    txn->missed &= RULE(MISSED_WRITE) ? ~(node_set)0 : ~dp->topology->chained;
    if (txn->missed != 0) {
        strand(dp, txn);
        return;
    }
    all_have_it(dp, txn);
}

bool txn_wants_cas(const struct dataplane *dp)
{
    return dp->topology != NULL && dp->topology->is_settling && !dp->topology->has_tokens;
}

/* What the node has of the key now, as far as this reply tells. */
static void note_cas(struct txn *txn, const struct leg *leg, const struct mc_reply *reply)
{
    if (txn->settle == NULL || leg->form != FORM_LINE) {
        return; /* what has a read-back is noted there */
    }
    bool is_delete = leg_verb(leg) == 'd';
    bool is_done = reply->kind == MC_REPLY_HD || (is_delete && reply->kind == MC_REPLY_NF);
    uint64_t cas = is_delete ? 0 : reply->has_cas ? reply->cas : SETTLE_CAS_UNKNOWN;
    settle_note(txn, leg->node, is_done ? cas : SETTLE_CAS_UNKNOWN);
}

void txn_on_leg(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply)
{
    struct txn *txn = leg->txn;
    if (txn->state == TXN_READING) {
        multiget_on_leg(dp, txn, leg, reply);
        return;
    }
    if (txn->state == TXN_SETTLING) {
        settle_on_leg(dp, leg, reply);
        return;
    }
    uint32_t node = leg->node;
    enum mc_reply_kind kind = (enum mc_reply_kind)leg->kind;
    note_cas(txn, leg, reply);
    txn->legs--;
    txn->waiting &= ~node_set_of(node);
    txn->acked |= node_set_of(node);
    if (txn->state == TXN_DECIDING) {
        INVARIANT(txn->legs == 0);
        txn->is_leader_in = true;
        decide_on_leg(dp, txn, leg, reply);
        return;
    }
    bool is_leader = txn->state == TXN_WRITING && node == txn->leader;
    if (is_leader) {
        on_plain_leader(dp, txn, leg);
        if (!txn->is_leader_error && !txn->is_too_large) {
            txn_answer_early(dp, txn);
        }
        txn->was_done |= kind == MC_REPLY_HD ? node_set_of(node) : 0;
        chain_early(dp, txn, RULE(CHAIN_BEHIND_ALL));
    } else if (!leg->is_cleanup &&
               (reply_is_error(kind) || (leg_verb(leg) == 's' && kind != MC_REPLY_HD))) {
        clean_up(dp, txn, node); /* if it can't, the key is in doubt, and noted so */
    } else if (kind == MC_REPLY_HD) {
        txn->was_done |= node_set_of(node);
    }
    bool is_touch = leg_verb(leg) == 'o' && (dp->topology->complete & node_set_of(node)) != 0;
    txn->is_untouched = txn->is_untouched || (is_touch && kind == MC_REPLY_NF);
    leg_drop(dp, leg);
    if (txn->legs == 0) {
        step_done(dp, txn);
    }
}

void txn_on_leg_lost(struct dataplane *dp, struct leg *leg, bool was_sent)
{
    struct txn *txn = leg->txn;
    if (txn->state == TXN_READING) {
        multiget_on_leg_lost(dp, txn, leg);
        return;
    }
    if (txn->state == TXN_SETTLING) {
        settle_on_leg_lost(dp, leg);
        return;
    }
    uint32_t node = leg->node;
    txn->legs--;
    txn->waiting &= ~node_set_of(node);
    txn->missed |= node_set_of(node);
    txn->acked &= ~node_set_of(node); /* it was to clean up what it had not taken */
    note_stalling(dp, txn);
    if (was_sent && txn->state == TXN_DECIDING) {
        txn->maybe_done |= node_set_of(node);
    }
    if (was_sent && link_main(dp, node)->last_end == WIRE_END_RESET) {
        txn->cut |= node_set_of(node);
    }
    leg_drop(dp, leg);
    if (txn->legs == 0) {
        step_done(dp, txn);
    }
}

/* --- Stranded writes --- */

/* Is the node back, so that what it missed can be sent again? A cut connection may still be
 * executed on the other side, so only a pool of one node, which has no other copy to differ from,
 * tries. */
static bool is_home(struct dataplane *dp, const struct txn *txn, uint32_t node)
{
    /* Nor does it matter for a delete in doubt, which may happen twice. */
    bool is_cut = (txn->cut & node_set_of(node)) != 0 && !dp->topology->is_lone &&
                  !txn->is_internal && RULE(RESET_IS_NO_EOF);
    if (!is_cut && link_is_usable(dp, node) && link_is_proven(dp, node)) {
        return true;
    }
    const struct link *link = link_main(dp, node);
    bool is_late = link_is_late(dp, txn, node);
    if (is_cut || link->has_failed || is_late ||
        (link->state == LINK_OPEN && !link_is_usable(dp, node))) {
        link_report_missed(dp, node, is_cut ? WIRE_END_RESET : link->last_end);
    }
    return false;
}

/* Everything that was missed is home or no longer counts: take up the step where it stopped. */
static void unstrand(struct dataplane *dp, struct txn *txn, node_set home)
{
    const struct topology *t = dp->topology;
    txn->missed = 0;
    txn->cut = 0;
    dp->stats.writes_brought_home += home != 0;
    txn_cross_split(dp, txn);
    /* A deletion in doubt is begun anew: the replicas may be others by now. */
    bool is_answer_known = txn->is_leader_in && txn->step != STEP_DECIDE && !txn->is_internal;
    if (txn->is_doubtful) {
        if (!txn->is_answered) {
            txn_set_reply(dp, txn, (struct chain){0});
            txn_set_text(txn,
                         txn->is_part ? SLICE("") : SLICE("SERVER_ERROR the write is in doubt\r\n"),
                         DATAPLANE_OUTCOME_SERVER_ERROR);
        }
        txn_finish(dp, txn);
    } else if (is_answer_known && (t->complete & ~txn->acked) == 0) {
        all_have_it(dp, txn);
    } else if (is_answer_known && (txn->step == STEP_SPREAD || txn->step == STEP_CHAIN)) {
        txn_spread(dp, txn, t->complete & ~txn->acked);
    } else if (!settle_instead(dp, txn) && !write_begin(dp, txn)) {
        /* It waits on as stranded, any change takes it up again; nodes that are back may or may not
         * have done it, so they have still missed it. */
        INVARIANT(txn->state == TXN_STRANDED);
        txn->missed = home;
        dp->stats.writes_brought_home -= home != 0;
    }
}

static void recheck_stranded(struct dataplane *dp, struct txn *txn)
{
    const struct topology *t = dp->topology;
    node_set home = 0;
    node_set away = 0;
    node_set needed = txn->missed & (t->complete | t->chained);
    if ((needed & txn_staying(dp)) != 0) {
        needed &= txn_staying(dp); /* those that leave are not waited for */
    }
    for (node_set left = needed; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (is_home(dp, txn, node)) {
            home |= node_set_of(node);
        } else {
            away |= node_set_of(node);
        }
    }
    /* What is in doubt is sent to nobody again, so it needs no lease. */
    bool may_go_on = dp->is_lapsed ? txn->is_doubtful : !inflight_has_older_elsewhere(dp, txn);
    if (away == 0 && may_go_on && !dp->is_sealed) {
        unstrand(dp, txn, home);
    }
}

/* Try every waiting txn once, in order. False: the list changed under us, there may be more. */
static bool recheck_all(struct dataplane *dp)
{
    struct list *next;
    for (struct list *at = dp->held.next; at != &dp->held; at = next) {
        next = at->next;
        struct txn *txn = LIST_OWNER(at, struct txn, held);
        if (txn->state == TXN_STRANDED) {
            recheck_stranded(dp, txn);
        } else {
            bool is_read = txn_is_read(txn);
            (void)(is_read ? multiget_begin(dp, txn)
                           : write_begin(dp, txn)); /* false: it waits on */
        }
        if (next != &dp->held && !list_is_linked(next)) {
            return false;
        }
    }
    return true;
}

void txn_recheck(struct dataplane *dp)
{
    for (uint32_t pass = 0; pass < RECHECK_PASSES_MAX && dp->is_recheck_due; pass++) {
        if (dp->topology == NULL) {
            return;
        }
        dp->is_recheck_due = false;
        bool is_whole = recheck_all(dp);
        dp->is_recheck_due = dp->is_recheck_due || !is_whole;
    }
}

/* --- Time --- */

void txn_expire(struct dataplane *dp, struct txn *txn)
{
    struct slice text;
    enum dataplane_outcome outcome;
    txn_set_reply(dp, txn, (struct chain){0});
    late_answer(dp, txn, &text, &outcome);
    if (txn->state == TXN_HELD || txn->state == TXN_ASKED) {
        txn_answer(dp, txn, text, outcome);
        return;
    }
    deadline_forget(dp, txn);
    txn_set_text(txn, text, outcome);
    txn->is_doubtful = !txn_is_read(txn) && RULE(DOUBT);
    release_answer(dp, txn);
    if (txn->state == TXN_STRANDED) {
        txn_finish(dp, txn);
    }
}

void txn_doubt_all(struct dataplane *dp)
{
    for (struct list *at = dp->writes.next; at != &dp->writes; at = at->next) {
        struct txn *txn = LIST_OWNER(at, struct txn, writes);
        txn->is_doubtful = !txn->is_internal; /* those are sent again until all have them */
    }
}

void txn_asked_done(struct dataplane *dp, uint64_t ticket)
{
    struct list *next;
    for (struct list *at = dp->asked.next; at != &dp->asked; at = next) {
        struct txn *txn = LIST_OWNER(at, struct txn, writes);
        next = at->next;
        if (txn->ticket != 0 && txn->ticket <= ticket) {
            txn_answer(dp, txn, SLICE("OK\r\n"), DATAPLANE_OUTCOME_STORED);
        }
    }
}
