/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a node answers on its link: lines and data blocks, each belonging to the leg at the head of
 * the queue. A reply that does not fit its request in any way - another word, another key, bytes
 * nobody asked for - is nonsense, and the link is given up.
 */
#include "dataplane_private.h"

/* "1.6.38" as 10638; 0 when it is of another form. */
static uint32_t read_version(struct slice text)
{
    uint64_t version = 0;
    for (uint32_t part = 0; part < 3; part++) {
        size_t len = 0;
        while (len < text.len && text.ptr[len] >= '0' && text.ptr[len] <= '9') {
            len++;
        }
        uint64_t number;
        if (len > 2 || !mc_read_u64(slice_of(text.ptr, len), &number)) {
            return 0;
        }
        version = version * 100 + number;
        bool is_more = part < 2;
        if (is_more && (len == text.len || text.ptr[len] != '.')) {
            return 0;
        }
        text = slice_skip(text, len + (is_more ? 1 : 0));
    }
    return (uint32_t)version;
}

static void take_stat(struct link *link, const struct mc_reply *reply)
{
    static const struct slice names[] = {SLICE_INIT("pid"), SLICE_INIT("time"),
                                         SLICE_INIT("uptime"), SLICE_INIT("cmd_flush")};
    uint64_t *const values[] = {&link->greeting.pid, &link->greeting_time_s,
                                &link->greeting_uptime_s, &link->greeting.flushes};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_is_equal(reply->key, names[i])) {
            (void)mc_read_u64(reply->text, values[i]); /* unreadable stays 0: unknown */
        }
    }
    if (slice_is_equal(reply->key, SLICE("version"))) {
        link->version = read_version(reply->text);
    }
}

/* --- Replies --- */

/* The head leg has all it waited for. */
static void complete(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    struct leg *leg = link->head;
    struct dataplane_node_stats *stats = &dp->stats.nodes[link->node];
    link->head = leg->next;
    if (link->head == NULL) {
        link->tail = NULL;
    }
    leg->next = NULL;
    stats->in_flight--;
    if (link->state == LINK_OPEN) {
        link->failures = 0;
        link->has_answered = true;
    }
    histogram_record(&stats->latency, dp->now_us - leg->since_us);
    if (dp->options.read == DATAPLANE_READ_NEAREST && link == link_main(dp, link->node)) {
        reader_learn(link, dp->now_us - leg->since_us);
    }
    if (leg->txn != NULL) {
        dp->last_leg.serial = leg->txn->serial;
        dp->last_leg.since_us = leg->since_us;
        dp->last_leg.at_us = dp->now_us;
        dp->last_leg.tried = leg->tried;
        dp->last_leg.node = link->node;
        dp->last_leg.state = leg->txn->state;
        txn_on_leg(dp, leg, reply);
    } else {
        leg_drop(dp, leg);
    }
}

/* The rest of the head leg's reply is read on and thrown away. */
static void run_out(struct dataplane *dp, struct leg *leg)
{
    leg->is_out_of_memory = true;
    chain_drop(&dp->chunks, &leg->reply.chain);
    leg->reply.tail = NULL;
}

static void keep(struct dataplane *dp, struct leg *leg, struct slice bytes)
{
    if (!leg->is_out_of_memory && !chain_append(&dp->chunks, &leg->reply, bytes)) {
        run_out(dp, leg);
    }
}

/* The next key that the leg asked for and that KEY may be; false: it asked for no such key. */
static bool match_key(struct leg *leg, struct slice key)
{
    const char *request = leg->request.head->data + leg->request.off;
    if (leg->key_cursor == 0) {
        leg->key_cursor = leg->txn->places.key_off;
    }
    struct slice rest = slice_of(request + leg->key_cursor, leg->request.len - 2 - leg->key_cursor);
    if (slice_is_equal(rest, key)) {
        leg->key_cursor = leg->request.len - 2; /* the usual case: one key */
        return true;
    }
    for (;;) {
        struct slice next = mc_next_word(&rest);
        if (next.len == 0) {
            return false;
        }
        if (slice_is_equal(next, key)) {
            leg->key_cursor = leg->request.len - 2 - (uint32_t)rest.len;
            return true;
        }
    }
}

/* What a value's size says of the link that its key is asked by from now on (side.c). */
static void learn_size(struct dataplane *dp, const struct link *link, const struct mc_reply *reply)
{
    const struct txn *txn = link->head->txn;
    const bool is_large = side_is_large(dp, reply->value_bytes);
    if (!is_large && !txn->is_aside) {
        return; /* the usual case */
    }
    uint64_t hash = txn->key_count == 1 ? txn->key_hash : topology_hash(reply->key);
    if (is_large) {
        side_on_value(dp, link, hash);
    } else {
        side_forget(dp, hash);
    }
}

/* REPLY's value is next. */
static void expect_body(struct dataplane *dp, struct link *link, const struct mc_reply *reply,
                        bool is_kept)
{
    uint64_t value_bytes = reply->value_bytes;
    link->body_left = value_bytes + 2;
    link->is_body_kept = is_kept;
    link->is_body_large = value_bytes >= MC_VALUE_LARGE_BYTES;
    struct leg *leg = link->head;
    if (leg->txn == NULL) {
        return;
    }
    deadline_put_off(dp, leg->txn, value_bytes);
    learn_size(dp, link, reply);
    /* Larger than what our clients may store, by far: nobody else is to starve for it. */
    if (is_kept && value_bytes / CHUNK_DATA_BYTES > dp->chunks.count / 2) {
        run_out(dp, leg);
    }
}

static void keep_binary_head(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply)
{
    char head[ANSWER_LINE_BYTES_MAX];
    keep(dp, leg, slice_of(head, answer_binary_value(dp, leg->txn, leg->node, reply, head)));
}

static void keep_gets_line(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply)
{
    char line[MC_KEY_BYTES_MAX + 80];
    struct mc_writer w = mc_writer_of(line, sizeof(line));
    mc_write(&w, SLICE("VALUE "));
    mc_write(&w, reply->key);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->flags);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->value_bytes);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->cas | txn_cas_tag(dp, leg->node));
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    keep(dp, leg, slice_of(line, w.len));
}

/*
 * VALUE blocks and END. A small value that lies in the input whole is copied into the journal in
 * one piece: the usual case.
 *
 * Returns  bytes of INPUT used; 0: nonsense.
 */
static size_t take_get(struct dataplane *dp, struct link *link, const struct mc_reply *reply,
                       struct slice input)
{
    struct leg *leg = link->head;
    if (reply->kind == MC_REPLY_END) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (reply->kind == MC_REPLY_SERVER_ERROR && leg->hits == 0) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_VALUE || reply->has_cas != (leg->form == FORM_GETS) ||
        !match_key(leg, reply->key)) {
        return 0;
    }
    leg->hits++;
    size_t block = reply->line_bytes + (size_t)reply->value_bytes + 2;
    bool is_simple = leg->form == FORM_GET && leg->hits == 1 && block <= JOURNAL_REPLY_BYTES_MAX &&
                     block + 5 <= input.len && memcmp(input.ptr + block - 2, "\r\nEND\r\n", 7) == 0;
    if (is_simple) {
        char *to = journal_reserve(&dp->replies, &dp->chunks, block + 5);
        if (to != NULL) {
            learn_size(dp, link, reply);
            memcpy(to, input.ptr, block + 5);
            leg->reply.chain = journal_commit(&dp->replies, block + 5);
            leg->has_end = true;
            complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_END});
            return block + 5;
        }
    }
    bool is_kept = true;
    if (leg->txn->dialect == MC_DIALECT_BINARY) {
        keep_binary_head(dp, leg, reply);
        is_kept = answer_binary_has_value(leg->txn);
    } else if (leg->form == FORM_GETS) {
        keep_gets_line(dp, leg, reply);
    } else {
        keep(dp, leg, slice_of(input.ptr, reply->line_bytes));
    }
    expect_body(dp, link, reply, is_kept);
    return reply->line_bytes;
}

/* Begin the store that gives other replicas the item of a read-back (replication.md section 2: t).
 */
static void keep_item_head(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply)
{
    enum { RELATIVE_S_MAX = 60 * 60 * 24 * 30 };
    struct txn *txn = leg->txn;
    char head[COMMAND_HEAD_BYTES_MAX];
    struct mc_writer w = mc_writer_of(head, sizeof(head));
    mc_write(&w, SLICE("ms "));
    mc_write(&w, txn->check != NULL ? settle_key(txn) : txn_key(txn));
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->value_bytes);
    mc_write(&w, txn->is_base64 ? SLICE(" b") : SLICE(""));
    if (txn->check != NULL) {
        settle_write_condition(txn, &w);
    } else {
        settle_note(txn, leg->node, reply->cas);
        mc_write(&w, txn_wants_cas(dp) ? SLICE(" c") : SLICE(""));
    }
    if (reply->flags != 0) {
        mc_write(&w, SLICE(" F"));
        mc_write_u64(&w, reply->flags);
    }
    if (dp->topology->has_tokens && token_is(reply->cas)) {
        mc_write(&w, SLICE(" E"));
        mc_write_u64(&w, reply->cas);
    }
    if (reply->ttl_s >= 0) {
        uint64_t ttl_s = (uint64_t)reply->ttl_s;
        mc_write(&w, SLICE(" T"));
        /* Longer ones are taken as absolute times, by the clock of who stores it: nodes of one pool
         * are expected to agree on it within the promise's two seconds. */
        mc_write_u64(&w, ttl_s > RELATIVE_S_MAX ? ttl_s + link_node_time_s(dp, leg->node) : ttl_s);
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    keep(dp, leg, slice_of(head, w.len));
}

/* The item behind a decided command. It may be gone, expired or marked by now: then has_item stays
 * false, and the other replicas get a delete. */
static size_t take_item(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    struct leg *leg = link->head;
    if (reply->kind == MC_REPLY_EN || reply->kind == MC_REPLY_SERVER_ERROR) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_VA || !reply->has_ttl || !reply->has_cas) {
        return 0;
    }
    if (leg->txn->check != NULL) {
        settle_note_item(leg->txn, leg->node, reply);
    }
    leg->has_item = reply->ttl_s != 0 && reply->ttl_s >= -1 && reply->ttl_s <= INT32_MAX &&
                    !reply->is_won && !reply->is_stale && !reply->is_sent;
    leg->item_bytes = reply->value_bytes;
    leg->is_won = reply->is_won;
    leg->is_stale = reply->is_stale;
    leg->item_cas = reply->cas;
    if (leg->has_item) {
        keep_item_head(dp, leg, reply);
    }
    expect_body(dp, link, reply, leg->has_item);
    return reply->line_bytes;
}

/* The item is not wanted, only what it is. */
static size_t take_digest(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_EN || reply->kind == MC_REPLY_SERVER_ERROR) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_VA || !reply->has_ttl || !reply->has_cas) {
        return 0;
    }
    settle_note_item(link->head->txn, link->node, reply);
    (void)XXH64_reset(&link->digest, 0);
    expect_body(dp, link, reply, true);
    return reply->line_bytes;
}

static void keep_error(struct dataplane *dp, struct txn *txn, struct slice text)
{
    char *to = journal_reserve(&dp->replies, &dp->chunks, text.len + 2);
    if (to == NULL) {
        return; /* txn_on_leg answers with words of its own */
    }
    memcpy(to, text.ptr, text.len);
    memcpy(to + text.len, "\r\n", 2);
    txn_set_reply(dp, txn, journal_commit(&dp->replies, text.len + 2));
}

/* May a request of VERB be answered so? */
static bool is_answer_to(char verb, enum mc_reply_kind kind)
{
    bool is_refusal = kind == MC_REPLY_EX || kind == MC_REPLY_NF;
    switch (verb) {
    case 's':
        return kind == MC_REPLY_HD || kind == MC_REPLY_NS || is_refusal;
    case 'd':
        return kind == MC_REPLY_HD || is_refusal;
    case 'g':
        return kind == MC_REPLY_HD || kind == MC_REPLY_EN;
    case 'o':
        return kind == MC_REPLY_TOUCHED || kind == MC_REPLY_NOT_FOUND;
    case 'a':
        return kind == MC_REPLY_NS || is_refusal;
    default:
        UNREACHABLE();
    }
}

enum { NUMBER_BYTES_MAX = 22 };

/* Digits of a number of 64 bits, and the spaces that memcached leaves behind one that became
 * shorter, and CRLF: copied to TO. Returns the number of digits; 0: it is not so. */
static size_t number_digits(const struct chain *chain, char *to)
{
    INVARIANT(chain->len <= NUMBER_BYTES_MAX && chain->len >= 2);
    chain_copy(chain, to);
    size_t digits = 0;
    size_t end = chain->len - 2;
    while (digits < end && to[digits] >= '0' && to[digits] <= '9') {
        digits++;
    }
    size_t spaces = digits;
    while (spaces < end && to[spaces] == ' ') {
        spaces++;
    }
    uint64_t number;
    return spaces == end && mc_read_u64(slice_of(to, digits), &number) ? digits : 0;
}

/* The meta word for what the classic touch says. */
static enum mc_reply_kind meta_kind(enum mc_reply_kind kind)
{
    if (kind == MC_REPLY_TOUCHED) {
        return MC_REPLY_HD;
    }
    return kind == MC_REPLY_NOT_FOUND ? MC_REPLY_NF : kind;
}

/* A quiet ma that may create says nothing when it did not have to: the read-back comes first. */
static bool is_unsaid(const struct leg *leg, const struct mc_reply *reply)
{
    bool may_be = leg->form == FORM_NUMBER_ITEM && leg->txn->is_quiet && leg->txn->is_vivify;
    return may_be &&
           (reply->kind == MC_REPLY_EN || (reply->kind == MC_REPLY_VA && reply->has_flags));
}

/* The first of two replies, or the only one. */
static size_t take_line(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    struct leg *leg = link->head;
    if (is_unsaid(leg, reply)) {
        leg->kind = MC_REPLY_HD;
        leg->replies = 1;
        answer_write(dp, leg->txn, &(struct answer){.kind = MC_REPLY_HD, .node = leg->node});
        return take_item(dp, link, reply);
    }
    bool is_number =
        leg->form == FORM_NUMBER_ITEM && reply->kind == MC_REPLY_VA && reply->value_bytes <= 20;
    if (!is_number && !is_answer_to(leg_verb(leg), reply->kind) && !reply_is_error(reply->kind)) {
        return 0;
    }
    leg->kind = (uint8_t)meta_kind(reply->kind);
    leg->cas = reply->cas;
    leg->ttl_s = reply->ttl_s;
    if (reply_is_error(reply->kind) && leg->txn->leader == leg->node && !leg->is_cleanup) {
        keep_error(dp, leg->txn, reply->text);
    }
    if (leg->form == FORM_LINE) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (is_number) {
        expect_body(dp, link, reply, true);
    } else {
        leg->replies = 1;
    }
    return reply->line_bytes;
}

/*
 * Was the number created? Of a quiet command the node says it. Otherwise the number is the initial
 * one then, and nearly never so when it was counted: only `stats` depends on it.
 */
static bool is_created(const struct txn *txn, struct slice digits)
{
    if (!txn->is_vivify || txn->is_quiet) {
        return txn->is_vivify;
    }
    const struct chain *command = &txn->command;
    size_t at = txn->places.initial_off;
    struct slice rest = slice_of(command->head->data + command->off + at, command->len - at);
    return slice_is_equal(mc_next_word(&rest), digits);
}

/* The digits of a number have come in whole: they are the answer. False: they are none. */
static bool take_number(struct dataplane *dp, struct leg *leg)
{
    leg->replies = 1;
    if (leg->is_out_of_memory) {
        leg->is_out_of_memory = false;
        txn_set_text(leg->txn, SLICE(""), DATAPLANE_OUTCOME_SERVER_ERROR);
        return true;
    }
    char text[NUMBER_BYTES_MAX];
    size_t digits = number_digits(&leg->reply.chain, text);
    chain_drop(&dp->chunks, &leg->reply.chain);
    leg->reply.tail = NULL;
    if (digits == 0) {
        return false;
    }
    answer_write(dp, leg->txn,
                 &(struct answer){.kind = MC_REPLY_VA,
                                  .node = leg->node,
                                  .cas = leg->cas,
                                  .ttl_s = leg->ttl_s,
                                  .is_created = is_created(leg->txn, slice_of(text, digits)),
                                  .number = slice_of(text, digits)});
    return true;
}

/* --- mg and me, whose answer is put together at once --- */

/* Add BYTES to the leg's reply; small ones share a piece of the journal. */
static void keep_small(struct dataplane *dp, struct leg *leg, struct slice head, struct slice body)
{
    size_t len = head.len + body.len;
    if (len == 0) {
        return;
    }
    char *to = journal_reserve(&dp->replies, &dp->chunks, len);
    if (to == NULL) {
        leg->is_out_of_memory = true;
        return;
    }
    memcpy(to, head.ptr, head.len);
    if (body.len > 0) {
        memcpy(to + head.len, body.ptr, body.len);
    }
    leg->reply.chain = journal_commit(&dp->replies, len);
}

static void complete_get(struct dataplane *dp, struct link *link)
{
    link->head->has_end = !link->head->is_out_of_memory;
    complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_END});
}

/* A node's error is passed on: it speaks of this request. */
static size_t take_get_error(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    struct leg *leg = link->head;
    leg->kind = (uint8_t)reply->kind;
    keep_small(dp, leg, reply->text, SLICE("\r\n"));
    complete_get(dp, link);
    return reply->line_bytes;
}

/* An item that was stored under a key in base64 shows it so. The key of a request in base64 is not
 * asked back. */
static bool is_key_of(const struct txn *txn, const struct mc_reply *reply)
{
    char bytes[MC_KEY_BYTES_MAX];
    struct slice key = reply->key;
    if (reply->is_key_base64) {
        key = slice_of(bytes, mc_key_decode(reply->key, bytes));
    }
    return slice_is_equal(key, txn_key(txn));
}

static bool is_got(const struct txn *txn, const struct mc_reply *reply)
{
    if (reply->key.len > 0 && !is_key_of(txn, reply)) {
        return false; /* another's answer */
    }
    if (reply->kind == MC_REPLY_EN) {
        return true;
    }
    if (txn->command_type == MC_META_DEBUG) {
        return reply->kind == MC_REPLY_ME &&
               reply->text.len + COMMAND_CAS_DIGITS + 2 < ANSWER_LINE_BYTES_MAX;
    }
    return reply->kind == (txn->wants_value ? MC_REPLY_VA : MC_REPLY_HD);
}

/* Returns  bytes of INPUT used; 0: nonsense. */
static size_t take_meta_get(struct dataplane *dp, struct link *link, const struct mc_reply *reply,
                            struct slice input)
{
    struct leg *leg = link->head;
    if (reply_is_error(reply->kind)) {
        return take_get_error(dp, link, reply);
    }
    if (!is_got(leg->txn, reply)) {
        return 0;
    }
    char text[ANSWER_LINE_BYTES_MAX];
    struct slice line = slice_of(text, answer_meta_get(dp, leg->txn, leg->node, reply, text));
    leg->kind = (uint8_t)reply->kind;
    leg->hits = reply->kind != MC_REPLY_EN;
    leg->is_won = reply->is_won;
    leg->is_sent = reply->is_sent;
    if (reply->kind != MC_REPLY_VA) {
        keep_small(dp, leg, line, SLICE(""));
        complete_get(dp, link);
        return reply->line_bytes;
    }
    size_t block = (size_t)reply->value_bytes + 2;
    struct slice body = slice_skip(input, reply->line_bytes);
    bool is_small = block <= JOURNAL_REPLY_BYTES_MAX && block <= body.len &&
                    memcmp(body.ptr + block - 2, "\r\n", 2) == 0;
    if (is_small) {
        learn_size(dp, link, reply);
        keep_small(dp, leg, line, slice_of(body.ptr, block));
        complete_get(dp, link);
        return reply->line_bytes + block;
    }
    keep(dp, leg, line);
    expect_body(dp, link, reply, true);
    return reply->line_bytes;
}

static size_t take_stats(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_STAT) {
        take_stat(link, reply);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_END || link->greeting.pid == 0) {
        return 0;
    }
    link->greeting.started_s = link->greeting_time_s - link->greeting_uptime_s;
    link->clock_offset_s = link->greeting_time_s - dp->now_us / 1000000;
    complete(dp, link, reply);
    return reply->line_bytes;
}

static size_t take_view(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_VA) {
        expect_body(dp, link, reply, true);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_EN) {
        return 0;
    }
    complete(dp, link, reply);
    link_greeted(dp, link);
    return reply->line_bytes;
}

static size_t take_reply(struct dataplane *dp, struct link *link, const struct mc_reply *reply,
                         struct slice input)
{
    struct leg *leg = link->head;
    switch ((enum leg_form)leg->form) {
    case FORM_GET:
    case FORM_GETS:
        return take_get(dp, link, reply, input);
    case FORM_LINE:
        return take_line(dp, link, reply);
    case FORM_LINE_ITEM:
    case FORM_NUMBER_ITEM:
        return leg->replies == 0 ? take_line(dp, link, reply) : take_item(dp, link, reply);
    case FORM_META_GET:
        return take_meta_get(dp, link, reply, input);
    case FORM_BUMP:
        if (reply->kind != MC_REPLY_HD && reply->kind != MC_REPLY_EN &&
            !reply_is_error(reply->kind)) {
            return 0;
        }
        complete(dp, link, reply);
        return reply->line_bytes;
    case FORM_ITEM:
        return take_item(dp, link, reply);
    case FORM_DIGEST:
        return take_digest(dp, link, reply);
    case FORM_STATS:
        return take_stats(dp, link, reply);
    case FORM_VIEW:
        return take_view(dp, link, reply);
    }
    UNREACHABLE();
}

/* A data block has come in whole. Returns false: nonsense. */
static bool body_done(struct dataplane *dp, struct link *link)
{
    struct leg *leg = link->head;
    switch ((enum leg_form)leg->form) {
    case FORM_GET:
    case FORM_GETS:
        return true; /* END, or another block, follows */
    case FORM_NUMBER_ITEM:
        if (leg->replies == 0) {
            return take_number(dp, leg);
        }
        complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_VA});
        return true;
    case FORM_DIGEST:
        settle_note_digest(leg->txn, link->node, XXH64_digest(&link->digest));
        complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_VA});
        return true;
    case FORM_ITEM:
    case FORM_LINE_ITEM:
        complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_VA});
        return true;
    case FORM_META_GET:
        complete_get(dp, link);
        return true;
    case FORM_VIEW:
        complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_VA});
        link_greeted(dp, link);
        return true;
    case FORM_LINE:
    case FORM_STATS:
    case FORM_BUMP:
        break;
    }
    UNREACHABLE();
}

static void keep_body(struct dataplane *dp, struct link *link, struct slice bytes)
{
    struct leg *leg = link->head;
    if (leg->form == FORM_DIGEST) {
        (void)XXH64_update(&link->digest, bytes.ptr, bytes.len);
        return;
    }
    if (leg->form != FORM_VIEW) {
        keep(dp, leg, bytes);
        return;
    }
    /* A view that is too large is not one. */
    if (bytes.len > sizeof(link->greeting_view) - link->greeting_bytes) {
        link->is_body_kept = false;
        link->greeting_bytes = 0;
        return;
    }
    memcpy(link->greeting_view + link->greeting_bytes, bytes.ptr, bytes.len);
    link->greeting_bytes += (uint32_t)bytes.len;
}

/* Is the data block kept without its CRLF? */
static bool is_bare(const struct leg *leg)
{
    return leg->form == FORM_VIEW ||
           (leg->form == FORM_GETS && leg->txn->dialect == MC_DIALECT_BINARY);
}

/* Take what INPUT has of the data block; false: it is not what it should be, or has no CRLF. */
static bool take_body(struct dataplane *dp, struct link *link, struct slice *input)
{
    uint64_t take = input->len < link->body_left ? input->len : link->body_left;
    struct slice body = slice_of(input->ptr, (size_t)take);
    for (uint64_t end = 0; end < 2 && end < link->body_left; end++) {
        uint64_t at = link->body_left - 1 - end;
        if (at < take && input->ptr[at] != "\n\r"[end]) {
            return false;
        }
    }
    link->body_left -= take;
    if (link->is_body_large) {
        link_moved(link, take);
    }
    if (link->is_body_kept) {
        struct slice kept = body;
        if (is_bare(link->head) && link->body_left < 2) {
            size_t ends = 2 - (size_t)link->body_left; /* CRLF bytes so far, some seen earlier */
            kept.len = kept.len > ends ? kept.len - ends : 0;
        }
        keep_body(dp, link, kept);
    }
    *input = slice_skip(*input, (size_t)take);
    return link->body_left > 0 || body_done(dp, link);
}

static bool head_was_sent(const struct link *link)
{
    return link->head != NULL && link->head != link->unsent;
}

/*
 * Take one reply line off INPUT; part of one is kept for later.
 *
 * Returns  false: nonsense.
 */
static bool take_one(struct dataplane *dp, struct link *link, struct slice *input)
{
    if (!head_was_sent(link)) {
        return false;
    }
    struct mc_reply reply;
    if (link->partial_bytes == 0) {
        enum mc_parse parse = mc_reply_parse(*input, 0, MC_VALUE_BYTES_MAX, &reply);
        if (parse == MC_PARSE_DONE) {
            size_t used = take_reply(dp, link, &reply, *input);
            *input = slice_skip(*input, used);
            return used > 0;
        }
        if (parse == MC_PARSE_BAD || input->len > sizeof(link->partial)) {
            return false;
        }
        memcpy(link->partial, input->ptr, input->len);
        link->partial_bytes = (uint32_t)input->len;
        *input = slice_skip(*input, input->len);
        return true;
    }
    /* Add what completes the line, and no more. */
    const char *end = memchr(input->ptr, '\n', input->len);
    size_t add = end != NULL ? (size_t)(end - input->ptr) + 1 : input->len;
    if (add > sizeof(link->partial) - link->partial_bytes) {
        return false;
    }
    memcpy(link->partial + link->partial_bytes, input->ptr, add);
    link->partial_bytes += (uint32_t)add;
    *input = slice_skip(*input, add);
    if (end == NULL) {
        return true;
    }
    struct slice line = slice_of(link->partial, link->partial_bytes);
    link->partial_bytes = 0;
    return mc_reply_parse(line, 0, MC_VALUE_BYTES_MAX, &reply) == MC_PARSE_DONE &&
           take_reply(dp, link, &reply, line) == line.len;
}

void link_on_bytes(struct dataplane *dp, struct link *link, struct slice bytes)
{
    while (bytes.len > 0 && link->state >= LINK_GREETING) {
        bool is_fine =
            link->body_left > 0 ? take_body(dp, link, &bytes) : take_one(dp, link, &bytes);
        if (!is_fine) {
            link_give_up(dp, link, WIRE_END_PROTOCOL);
            return;
        }
    }
}
