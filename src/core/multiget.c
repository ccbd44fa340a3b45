/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reads. Each key is read from where reader.c says; a read of many keys is one request to each of
 * these nodes, and the answers are put together in the order of the keys.
 *
 * A read that a lost link leaves behind goes to another complete replica at once, without waiting
 * for a change of view (replication.md section 6), with one exception: behind an unfinished write
 * of the same client it waits, so that a client's pipeline sees its own writes.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

struct slice multiget_keys(const struct txn *txn)
{
    const char *text = txn->command.head->data + txn->command.off;
    return slice_of(text + txn->places.key_off, txn->command.len - txn->places.key_off - 2);
}

static void answer_unreadable(struct dataplane *dp, struct txn *txn)
{
    bool is_miss = dp->options.on_no_replica == DATAPLANE_ANSWER_MISS || txn->is_part;
    txn_answer(dp, txn,
               is_miss ? answer_nothing(dp, txn) : SLICE("SERVER_ERROR no readable replica\r\n"),
               is_miss ? DATAPLANE_OUTCOME_MISS : DATAPLANE_OUTCOME_SERVER_ERROR);
}

static void begin_one(struct dataplane *dp, struct txn *txn, uint32_t node)
{
    txn->legs = 1;
    txn->waiting = node_set_of(node);
    txn_move(dp, txn, TXN_READING);
    link_send(dp, node, txn, command_form((enum mc_command)txn->command_type), txn->command);
}

/* What goes to one node: its share of the keys. */
static struct chain share_of(struct dataplane *dp, const struct txn *txn, const uint8_t *nodes,
                             uint8_t node)
{
    char *to = journal_reserve(&dp->requests, &dp->chunks, txn->command.len);
    if (to == NULL) {
        return (struct chain){0};
    }
    struct mc_writer w = mc_writer_of(to, txn->command.len);
    mc_write(&w, slice_of(txn->command.head->data + txn->command.off, txn->places.key_off - 1u));
    struct slice keys = multiget_keys(txn);
    for (uint32_t i = 0; i < txn->key_count; i++) {
        struct slice key = mc_next_word(&keys);
        if (nodes[i] == node) {
            mc_write(&w, SLICE(" "));
            mc_write(&w, key);
        }
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    return journal_commit(&dp->requests, w.len);
}

/* Any complete node is good for all keys. */
static bool begin_whole(struct dataplane *dp, struct txn *txn)
{
    int node = reader_choose(dp, txn, 0, 0);
    if (node == READER_NONE) {
        answer_unreadable(dp, txn);
    } else if (node != READER_HOLD) {
        begin_one(dp, txn, (uint32_t)node);
    }
    return node != READER_HOLD;
}

static bool begin_many(struct dataplane *dp, struct txn *txn)
{
    uint8_t nodes[MULTIGET_KEYS_MAX];
    node_set used = 0;
    struct slice keys = multiget_keys(txn);
    if (reader_is_free(dp, txn)) {
        return begin_whole(dp, txn);
    }
    for (uint32_t i = 0; i < txn->key_count; i++) {
        int node = reader_choose(dp, txn, topology_hash(mc_next_word(&keys)), 0);
        if (node == READER_HOLD) {
            return false;
        }
        if (node == READER_NONE) {
            answer_unreadable(dp, txn);
            return true;
        }
        nodes[i] = (uint8_t)node;
        used |= node_set_of((uint32_t)node);
    }
    if (node_set_count(used) == 1) {
        begin_one(dp, txn, node_set_first(used));
        return true;
    }
    struct chain shares[NODES_MAX];
    uint32_t count = 0;
    for (node_set left = used; left != 0; left &= left - 1) {
        shares[count] = share_of(dp, txn, nodes, (uint8_t)node_set_first(left));
        if (shares[count].head == NULL) {
            while (count > 0) {
                chain_drop(&dp->chunks, &shares[--count]);
            }
            return false; /* no memory now; tried again */
        }
        count++;
    }
    txn->legs = count;
    txn->waiting = used;
    txn_move(dp, txn, TXN_READING);
    enum leg_form form = command_form((enum mc_command)txn->command_type);
    uint32_t i = 0;
    for (node_set left = used; left != 0; left &= left - 1, i++) {
        link_send(dp, node_set_first(left), txn, form, shares[i]);
        chain_drop(&dp->chunks, &shares[i]);
    }
    return true;
}

static bool has_unfinished_write_before(const struct txn *txn)
{
    if (txn->session == NULL) {
        return false;
    }
    for (const struct txn *t = txn->session->head; t != NULL && t != txn; t = t->next) {
        if (!t->is_answered && !txn_is_read(t)) {
            return true;
        }
    }
    return false;
}

bool multiget_begin(struct dataplane *dp, struct txn *txn)
{
    if (!link_has_room(dp, NODES_MAX) || (txn->tries > 0 && has_unfinished_write_before(txn))) {
        return false;
    }
    if (txn->tries >= TXN_TRIES_MAX) {
        answer_unreadable(dp, txn);
        return true;
    }
    if (txn->key_count > 1) {
        if (!begin_many(dp, txn)) {
            return false;
        }
        txn->tries++;
        return true;
    }
    int node = reader_choose(dp, txn, txn->key_hash, 0);
    if (node == READER_HOLD) {
        return false;
    }
    txn->tries++;
    if (node == READER_NONE) {
        answer_unreadable(dp, txn);
    } else {
        begin_one(dp, txn, (uint32_t)node);
    }
    return true;
}

/*
 * Bytes of the VALUE block at the start of REPLY, whose blocks were checked as they came; 0: it is
 * not KEY's.
 */
static uint32_t block_of(const struct chain *reply, struct slice key)
{
    /* Flags, length and CAS, each as long as mc_reply_parse takes it, and CRLF. */
    enum { WORD_BYTES = sizeof("VALUE ") - 1, NUMBERS_BYTES_MAX = 3 * (1 + 20) + 2 };
    char text[WORD_BYTES + MC_KEY_BYTES_MAX + NUMBERS_BYTES_MAX];
    struct chain head = *reply;
    const size_t head_bytes = WORD_BYTES + key.len + NUMBERS_BYTES_MAX;
    head.len = head.len < head_bytes ? head.len : (uint32_t)head_bytes;
    if (head.len <= WORD_BYTES + key.len) {
        return 0;
    }
    chain_copy(&head, text);
    if (text[WORD_BYTES + key.len] != ' ' || memcmp(text + WORD_BYTES, key.ptr, key.len) != 0) {
        return 0;
    }
    struct mc_reply block;
    enum mc_parse parse = mc_reply_parse(slice_of(text, head.len), 0, MC_VALUE_BYTES_MAX, &block);
    INVARIANT(parse == MC_PARSE_DONE && block.kind == MC_REPLY_VALUE);
    return (uint32_t)(block.line_bytes + block.value_bytes + 2);
}

/* Move COUNT bytes from the front of FROM to the end of TO. */
static bool move_bytes(struct dataplane *dp, struct leg *from, uint32_t count,
                       struct chain_builder *to)
{
    struct chain *chain = &from->reply.chain;
    while (count > 0) {
        struct chunk *chunk = chain->head;
        uint32_t here = chunk->used - chain->off;
        here = here < count ? here : count;
        if (!chain_append(&dp->chunks, to, slice_of(chunk->data + chain->off, here))) {
            return false;
        }
        chain_skip(&dp->chunks, chain, here);
        count -= here;
    }
    return true;
}

/* Move the block of KEY, if some part has it at its front. */
static bool merge_key(struct dataplane *dp, struct txn *txn, struct slice key,
                      struct chain_builder *to)
{
    for (struct leg *leg = txn->parts; leg != NULL; leg = leg->next) {
        uint32_t block = block_of(&leg->reply.chain, key);
        if (block > 0) {
            return move_bytes(dp, leg, block, to);
        }
    }
    return true;
}

static void drop_parts(struct dataplane *dp, struct txn *txn)
{
    while (txn->parts != NULL) {
        struct leg *leg = txn->parts;
        txn->parts = leg->next;
        leg_drop(dp, leg);
    }
}

static void merge(struct dataplane *dp, struct txn *txn)
{
    uint64_t hits = 0;
    bool is_out_of_memory = false;
    for (const struct leg *leg = txn->parts; leg != NULL; leg = leg->next) {
        hits += leg->hits;
        is_out_of_memory = is_out_of_memory || leg->is_out_of_memory;
    }
    struct chain_builder merged = {0};
    if (txn->parts->next == NULL) {
        merged = txn->parts->reply;
        txn->parts->reply = (struct chain_builder){0};
        merged.chain.len -= txn->parts->has_end ? 5 : 0; /* the answer brings its own END */
    } else {
        struct slice keys = multiget_keys(txn);
        for (struct slice key = mc_next_word(&keys); key.len > 0 && !is_out_of_memory;
             key = mc_next_word(&keys)) {
            is_out_of_memory = !merge_key(dp, txn, key, &merged); /* cuts a block in two */
        }
    }
    if (hits > 0 && txn->parts->next == NULL) {
        struct slice keys = multiget_keys(txn);
        reader_bump(dp, mc_next_word(&keys), txn->parts->node);
    }
    drop_parts(dp, txn);
    if (dp->topology->warming != 0 && hits > 0) {
        warm_read(dp, txn, merged.chain.len / hits);
    }
    dp->stats.keys_hit += hits;
    dp->stats.keys_missed += txn->key_count - hits;
    if (is_out_of_memory) {
        chain_drop(&dp->chunks, &merged.chain);
        dp->stats.shed++;
    }
    txn_set_reply(dp, txn, merged.chain);
    if (is_out_of_memory && !txn->is_part) {
        txn_answer(dp, txn, SLICE("SERVER_ERROR out of memory reading the value\r\n"),
                   DATAPLANE_OUTCOME_SERVER_ERROR);
        return;
    }
    txn_answer(dp, txn, txn->is_part ? SLICE("") : SLICE("END\r\n"),
               hits > 0 ? DATAPLANE_OUTCOME_HIT : DATAPLANE_OUTCOME_MISS);
}

/* All legs are in, with an answer or for another try. */
static void finish(struct dataplane *dp, struct txn *txn)
{
    if (txn->is_answered) {
        drop_parts(dp, txn); /* its deadline was over before */
        txn_move(dp, txn, TXN_OVER);
        txn_release(dp, txn);
        return;
    }
    if (txn->is_restart) {
        drop_parts(dp, txn);
        txn->is_restart = false;
        txn_move(dp, txn, TXN_NEW);
        txn_begin(dp, txn);
        return;
    }
    merge(dp, txn);
}

/* The mutant of FALLBACK_STORES_NOT: the leader gets what LEG has found on another node. */
static void store_found(struct dataplane *dp, const struct txn *txn, const struct leg *leg)
{
    enum { FOUND_BYTES_MAX = 1024, REQUEST_BYTES_MAX = 2 * FOUND_BYTES_MAX };
    bool is_found = leg->hits > 0 && leg->tried != 0 && leg->reply.chain.len <= FOUND_BYTES_MAX;
    if (RULE(FALLBACK_STORES_NOT) || !is_found) {
        return;
    }
    uint32_t leader = topology_leader(dp->topology, txn->key_hash);
    if (!link_is_usable(dp, leader) || !link_has_room(dp, 1) || dp->next != NULL) {
        return;
    }
    char text[FOUND_BYTES_MAX];
    struct mc_reply reply;
    chain_copy(&leg->reply.chain, text);
    enum mc_parse parse =
        mc_reply_parse(slice_of(text, leg->reply.chain.len), 0, MC_VALUE_BYTES_MAX, &reply);
    const char *data = memchr(text, '\n', leg->reply.chain.len);
    char *to = journal_reserve(&dp->requests, &dp->chunks, REQUEST_BYTES_MAX);
    if (parse != MC_PARSE_DONE || reply.kind != MC_REPLY_VALUE || data == NULL || to == NULL) {
        return;
    }
    struct mc_writer w = mc_writer_of(to, REQUEST_BYTES_MAX);
    mc_write(&w, SLICE("ms "));
    mc_write(&w, reply.key);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply.value_bytes);
    mc_write(&w, SLICE(" ME F"));
    mc_write_u64(&w, reply.flags);
    mc_write(&w, SLICE("\r\n"));
    mc_write(&w, slice_of(data + 1, (size_t)reply.value_bytes + 2));
    struct chain request = journal_commit(&dp->requests, w.len);
    link_send(dp, leader, NULL, FORM_BUMP, request);
    chain_drop(&dp->chunks, &request);
}

/* The usual case, one key and one answer: nothing to merge. */
static void answer_one(struct dataplane *dp, struct txn *txn, struct leg *leg)
{
    bool is_hit = leg->hits > 0;
    bool has_end = leg->has_end;
    bool is_read = txn->command_type != MC_META_DEBUG;
    dp->stats.keys_hit += is_read && is_hit;
    dp->stats.keys_missed += is_read && !is_hit;
    if (is_read && is_hit && !txn->is_base64) {
        reader_bump(dp, txn_key(txn), leg->node);
    }
    if (dp->topology->warming != 0 && is_read && is_hit) {
        warm_read(dp, txn, leg->reply.chain.len);
    }
    store_found(dp, txn, leg);
    txn->reply = leg->reply.chain;
    if (has_end && txn->is_part) {
        txn->reply.len -= 5;
    }
    if (txn->is_aside && !is_hit) {
        side_forget(dp, txn->key_hash);
    }
    leg->reply = (struct chain_builder){0};
    leg_drop(dp, leg);
    txn_answer(dp, txn, has_end ? SLICE("") : answer_end(dp, txn, is_hit),
               is_hit ? DATAPLANE_OUTCOME_HIT : DATAPLANE_OUTCOME_MISS);
}

/* --- A miss that may be a hit elsewhere (replication.md section 8, `miss_fallback`) --- */

/* What is found so is answered and stored nowhere: it might undo a delete. */
static bool is_falling_back(const struct dataplane *dp)
{
    switch (dp->options.miss_fallback) {
    case DATAPLANE_FALLBACK_AUTO: /* after a first start's trust, or a lost last copy */
        return dp->topology != NULL && dp->topology->is_young;
    case DATAPLANE_FALLBACK_ALWAYS:
        return true;
    case DATAPLANE_FALLBACK_NEVER:
        return false;
    }
    UNREACHABLE();
}

/* Does the client write a key of this read behind it? Another replica may show that already. */
static bool has_write_behind(const struct txn *txn)
{
    for (const struct txn *t = txn->next; t != NULL; t = t->next) {
        bool is_key = txn->key_count > 1 || t->key_hash == txn->key_hash;
        if (is_key && !txn_is_read(t)) {
            return true;
        }
    }
    return false;
}

/* The keys that LEG asked for and its answer has not, as a request; empty: no memory. */
static struct chain missing_of(struct dataplane *dp, const struct txn *txn, const struct leg *leg)
{
    struct slice asked =
        slice_of(leg->request.head->data + leg->request.off, leg->request.len - 2u);
    char *to = journal_reserve(&dp->requests, &dp->chunks, leg->request.len);
    if (to == NULL) {
        return (struct chain){0};
    }
    struct mc_writer w = mc_writer_of(to, leg->request.len);
    mc_write(&w, slice_of(asked.ptr, txn->places.key_off - 1u));
    struct slice keys = slice_skip(asked, txn->places.key_off);
    struct chain left = leg->reply.chain;
    left.len -= leg->has_end ? 5 : 0;
    for (struct slice key = mc_next_word(&keys); key.len > 0; key = mc_next_word(&keys)) {
        uint32_t block = block_of(&left, key);
        if (block > 0) {
            chain_view_skip(&left, block);
            continue;
        }
        mc_write(&w, SLICE(" "));
        mc_write(&w, key);
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    return journal_commit(&dp->requests, w.len);
}

static uint32_t keys_in(const struct txn *txn, const struct leg *leg)
{
    struct slice keys = slice_of(leg->request.head->data + leg->request.off + txn->places.key_off,
                                 leg->request.len - txn->places.key_off - 2u);
    uint32_t count = 0;
    while (mc_next_word(&keys).len > 0) {
        count++;
    }
    return count;
}

/* Ask the next node for what LEG, of many keys, has not found; LEG becomes a part. */
static void ask_missing(struct dataplane *dp, struct txn *txn, const struct leg *leg)
{
    node_set tried = leg->tried | node_set_of(leg->node);
    if (leg->hits >= keys_in(txn, leg) || !link_has_room(dp, 1)) {
        return;
    }
    struct chain missing = missing_of(dp, txn, leg);
    if (missing.head == NULL) {
        return;
    }
    struct slice keys = slice_of(missing.head->data + missing.off + txn->places.key_off,
                                 missing.len - txn->places.key_off - 2u);
    int node = reader_choose(dp, txn, topology_hash(mc_next_word(&keys)), tried);
    if (node >= 0) {
        enum leg_form form = command_form((enum mc_command)txn->command_type);
        struct leg *next = link_send(dp, (uint32_t)node, txn, form, missing);
        next->tried = tried;
        txn->legs++;
        txn->waiting |= node_set_of((uint32_t)node);
    }
    chain_drop(&dp->chunks, &missing);
}

static bool ask_another(struct dataplane *dp, struct txn *txn, struct leg *leg)
{
    if (leg->hits > 0 || txn->key_count > 1 || !is_falling_back(dp) || has_write_behind(txn)) {
        return false;
    }
    leg->tried |= node_set_of(leg->node);
    int node = reader_choose(dp, txn, txn->key_hash, leg->tried);
    if (node < 0) {
        return false;
    }
    txn->waiting = node_set_of((uint32_t)node);
    link_resend(dp, (uint32_t)node, leg);
    return true;
}

void multiget_on_leg(struct dataplane *dp, struct txn *txn, struct leg *leg,
                     const struct mc_reply *reply)
{
    bool is_error = reply->kind != MC_REPLY_END || leg->is_out_of_memory;
    if (txn->key_count > 1 && !is_error && !txn->is_answered && !txn->is_restart &&
        is_falling_back(dp) && !has_write_behind(txn)) {
        ask_missing(dp, txn, leg);
    }
    if (txn->legs == 1 && txn->parts == NULL && !txn->is_answered && !txn->is_restart &&
        !is_error) {
        if (!ask_another(dp, txn, leg)) {
            txn->legs = 0;
            txn->waiting = 0;
            if (txn->key_count == 1) {
                answer_one(dp, txn, leg);
            } else {
                leg->next = NULL;
                txn->parts = leg;
                merge(dp, txn);
            }
        }
        return;
    }
    leg->is_out_of_memory = is_error;
    bool has_word = leg->has_end && leg->form != FORM_META_GET;
    leg->reply.chain.len -= has_word ? 5 : 0; /* blocks only, for the merge */
    leg->has_end = false;
    txn->legs--;
    leg->next = txn->parts;
    txn->parts = leg;
    if (txn->legs == 0) {
        txn->waiting = 0;
        finish(dp, txn);
    }
}

/* Only one of the node's two links has ended, and not for want of answers: it is still the first to
 * ask, for others may lack what it has shown. */
static bool is_node_well(const struct dataplane *dp, uint32_t node)
{
    enum wire_end end = link_main(dp, node)->last_end;
    return link_is_usable(dp, node) && (end == WIRE_END_EOF || end == WIRE_END_RESET);
}

void multiget_on_leg_lost(struct dataplane *dp, struct txn *txn, struct leg *leg)
{
    leg->tried |= is_node_well(dp, leg->node) ? 0 : node_set_of(leg->node);
    dp->stats.read_failovers++;
    struct slice keys = slice_of(leg->request.head->data + leg->request.off + txn->places.key_off,
                                 leg->request.len - txn->places.key_off - 2);
    int node = READER_HOLD;
    if (!txn->is_answered && !has_unfinished_write_before(txn) && txn->tries < TXN_TRIES_MAX) {
        txn->tries++;
        uint64_t key_hash =
            txn->key_count == 1 ? txn->key_hash : topology_hash(mc_next_word(&keys));
        node = reader_choose(dp, txn, key_hash, leg->tried);
    }
    if (node >= 0) {
        txn->waiting |= node_set_of((uint32_t)node);
        link_resend(dp, (uint32_t)node, leg);
        return;
    }
    leg_drop(dp, leg);
    txn->is_restart = true;
    if (--txn->legs == 0) {
        finish(dp, txn);
    }
}
