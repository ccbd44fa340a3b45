/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What clients are told. A node's reply is read into fields (mc/reply.h), and here they become
 * words again: of the classic protocol, whose answers to writes are constants, or of the meta
 * commands, whose answers show what the client's flags ask for, in the order in which it wrote
 * them. The CAS of an item is shown with the tag of the node it comes from (replication.md
 * section 3).
 */
#include "dataplane_private.h"

/* --- Classic --- */

static struct slice classic_done(enum mc_command command)
{
    if (command == MC_DELETE) {
        return SLICE("DELETED\r\n");
    }
    return command == MC_TOUCH ? SLICE("TOUCHED\r\n") : SLICE("STORED\r\n");
}

static struct slice classic_word(enum mc_command command, enum mc_reply_kind kind)
{
    if (kind == MC_REPLY_HD) {
        return classic_done(command);
    }
    if (kind == MC_REPLY_EX) {
        return SLICE("EXISTS\r\n");
    }
    return kind == MC_REPLY_NS ? SLICE("NOT_STORED\r\n") : SLICE("NOT_FOUND\r\n");
}

/* --- Meta --- */

static struct slice code_of(enum mc_reply_kind kind)
{
    static const struct slice codes[] = {
        [MC_REPLY_HD] = SLICE_INIT("HD"), [MC_REPLY_VA] = SLICE_INIT("VA"),
        [MC_REPLY_EN] = SLICE_INIT("EN"), [MC_REPLY_NS] = SLICE_INIT("NS"),
        [MC_REPLY_EX] = SLICE_INIT("EX"), [MC_REPLY_NF] = SLICE_INIT("NF"),
    };
    INVARIANT((size_t)kind < sizeof(codes) / sizeof(codes[0]) && codes[kind].len > 0);
    return codes[kind];
}

static uint64_t shown_cas(const struct dataplane *dp, uint32_t node, uint64_t cas)
{
    return cas == 0 ? 0 : cas | txn_cas_tag(dp, node);
}

static void write_letter(struct mc_writer *w, char letter)
{
    mc_write(w, SLICE(" "));
    mc_write(w, slice_of(&letter, 1));
}

static void write_number(struct mc_writer *w, char letter, uint64_t number)
{
    write_letter(w, letter);
    mc_write_u64(w, number);
}

static void write_ttl(struct mc_writer *w, int64_t ttl_s)
{
    write_letter(w, 't');
    mc_write_i64(w, ttl_s);
}

static void write_key(struct mc_writer *w, struct slice key, bool is_base64)
{
    write_letter(w, 'k');
    mc_write(w, key);
    mc_write(w, is_base64 ? SLICE(" b") : SLICE(""));
}

static struct slice flags_of(const struct txn *txn)
{
    const struct chain *flags = &txn->flags_text;
    return flags->head == NULL ? SLICE("") : slice_of(flags->head->data + flags->off, flags->len);
}

static void write_opaque(struct mc_writer *w, struct slice flag)
{
    mc_write(w, SLICE(" "));
    mc_write(w, flag);
}

/* --- Writes --- */

static enum dataplane_outcome outcome_of(enum mc_reply_kind kind)
{
    if (kind == MC_REPLY_HD || kind == MC_REPLY_VA) {
        return DATAPLANE_OUTCOME_STORED;
    }
    bool is_refused = kind == MC_REPLY_EX || kind == MC_REPLY_NS;
    return is_refused ? DATAPLANE_OUTCOME_REFUSED : DATAPLANE_OUTCOME_MISS;
}

/* One flag of the answer to ms, md or ma. */
static void write_flag(const struct dataplane *dp, const struct txn *txn,
                       const struct answer *answer, struct slice flag, struct mc_writer *w)
{
    bool is_done = answer->kind == MC_REPLY_HD || answer->kind == MC_REPLY_VA;
    bool is_delete = txn->command_type == MC_DELETE;
    bool is_number = txn->command_type == MC_INCR || txn->command_type == MC_DECR;
    char letter = flag.ptr[0];
    if (letter == 'O') {
        write_opaque(w, flag);
    } else if (letter == 'k') {
        write_key(w, txn_key(txn), txn->is_base64);
    } else if (letter == 'c' && !is_delete && (is_done || !is_number)) {
        write_number(w, 'c', is_done ? shown_cas(dp, answer->node, answer->cas) : 0);
    } else if (letter == 's' && !is_delete && !is_number) {
        write_number(w, 's', is_done ? answer->item_bytes : txn->value_bytes);
    } else if (letter == 't' && is_number && is_done) {
        write_ttl(w, answer->ttl_s);
    }
}

static void write_meta(const struct dataplane *dp, const struct txn *txn,
                       const struct answer *answer, struct mc_writer *w)
{
    bool has_value = answer->kind == MC_REPLY_VA && txn->wants_value;
    bool is_plain = answer->kind == MC_REPLY_VA && !txn->wants_value;
    mc_write(w, code_of(is_plain ? MC_REPLY_HD : answer->kind));
    if (has_value) {
        mc_write(w, SLICE(" "));
        mc_write_u64(w, answer->number.len);
    }
    struct slice flags = flags_of(txn);
    for (struct slice flag = mc_next_word(&flags); flag.len > 0; flag = mc_next_word(&flags)) {
        write_flag(dp, txn, answer, flag, w);
    }
    mc_write(w, SLICE("\r\n"));
    if (has_value) {
        mc_write(w, answer->number);
        mc_write(w, SLICE("\r\n"));
    }
}

/* As memcached: it counts neither a number that is created nor a mark, and of deletes with another
 * CAS only those by text. */
static bool is_passed_over(const struct txn *txn, const struct answer *answer,
                           enum dataplane_outcome outcome)
{
    bool is_delete = txn->command_type == MC_DELETE;
    bool is_marked = is_delete && txn->is_mark && outcome == DATAPLANE_OUTCOME_STORED;
    bool is_refused =
        is_delete && txn->dialect == MC_DIALECT_BINARY && outcome == DATAPLANE_OUTCOME_REFUSED;
    return answer->is_created || is_marked || is_refused;
}

void answer_write(struct dataplane *dp, struct txn *txn, const struct answer *answer)
{
    enum dataplane_outcome outcome = outcome_of(answer->kind);
    txn->is_passed_over = is_passed_over(txn, answer, outcome);
    bool is_meta = txn->dialect == MC_DIALECT_META;
    bool is_silent = txn->is_quiet && outcome == DATAPLANE_OUTCOME_STORED && !answer->is_created;
    bool is_number = answer->kind == MC_REPLY_VA;
    if (txn->dialect == MC_DIALECT_BINARY) {
        answer_binary_write(dp, txn, answer, outcome);
        return;
    }
    txn_set_reply(dp, txn, (struct chain){0});
    if (is_silent || (!is_meta && !is_number)) {
        txn_set_text(txn,
                     is_silent ? SLICE("")
                               : classic_word((enum mc_command)txn->command_type, answer->kind),
                     outcome);
        return;
    }
    char text[ANSWER_LINE_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    if (is_meta) {
        write_meta(dp, txn, answer, &w);
    } else {
        mc_write(&w, answer->number);
        mc_write(&w, SLICE("\r\n"));
    }
    INVARIANT(!w.is_full);
    struct chain reply = compose_copy(dp, slice_of(text, w.len));
    if (reply.head == NULL) {
        txn_set_text(txn, SLICE("SERVER_ERROR out of memory\r\n"), DATAPLANE_OUTCOME_SERVER_ERROR);
        return;
    }
    txn_set_reply(dp, txn, reply);
    txn_set_text(txn, SLICE(""), outcome);
}

/* --- Reads --- */

static void write_got(const struct dataplane *dp, const struct txn *txn, uint32_t node,
                      const struct mc_reply *reply, struct slice flag, struct mc_writer *w)
{
    bool is_hit = reply->kind != MC_REPLY_EN;
    char letter = flag.ptr[0];
    if (letter == 'O') {
        write_opaque(w, flag);
    } else if (letter == 'k' && reply->key.len > 0) {
        write_key(w, reply->key, reply->is_key_base64);
    } else if (letter == 'k') {
        write_key(w, txn_key(txn), txn->is_base64);
    } else if (!is_hit) {
        return;
    } else if (letter == 'c') {
        write_number(w, 'c', shown_cas(dp, node, reply->cas));
    } else if (letter == 'f') {
        write_number(w, 'f', reply->flags);
    } else if (letter == 's') {
        write_number(w, 's', reply->item_bytes);
    } else if (letter == 'l') {
        write_number(w, 'l', reply->idle_s);
    } else if (letter == 'h') {
        write_number(w, 'h', reply->was_fetched ? 1 : 0);
    } else if (letter == 't') {
        write_ttl(w, reply->ttl_s);
    }
}

/* memcached's line, the CAS in it replaced. */
static void write_debug(const struct dataplane *dp, uint32_t node, struct slice line,
                        struct mc_writer *w)
{
    bool has_cas = false;
    mc_write(w, SLICE("ME"));
    for (struct slice word = mc_next_word(&line); word.len > 0; word = mc_next_word(&line)) {
        uint64_t cas;
        /* The first one alone: there is room for no more. */
        bool is_cas = !has_cas && slice_has_prefix(word, SLICE("cas=")) && w->len > 2 &&
                      mc_read_u64(slice_skip(word, 4), &cas);
        has_cas = has_cas || is_cas;
        mc_write(w, SLICE(" "));
        mc_write(w, is_cas ? SLICE("cas=") : word);
        if (is_cas) {
            mc_write_u64(w, shown_cas(dp, node, cas));
        }
    }
    mc_write(w, SLICE("\r\n"));
}

size_t answer_meta_get(const struct dataplane *dp, const struct txn *txn, uint32_t node,
                       const struct mc_reply *reply, char *to)
{
    struct mc_writer w = mc_writer_of(to, ANSWER_LINE_BYTES_MAX);
    if (reply->kind == MC_REPLY_ME) {
        write_debug(dp, node, reply->text, &w);
        INVARIANT(!w.is_full);
        return w.len;
    }
    if (reply->kind == MC_REPLY_EN && txn->is_quiet) {
        return 0;
    }
    mc_write(&w, code_of(reply->kind));
    if (reply->kind == MC_REPLY_VA) {
        mc_write(&w, SLICE(" "));
        mc_write_u64(&w, reply->value_bytes);
    }
    struct slice flags = flags_of(txn);
    for (struct slice flag = mc_next_word(&flags); flag.len > 0; flag = mc_next_word(&flags)) {
        write_got(dp, txn, node, reply, flag, &w);
    }
    mc_write(&w, reply->is_sent ? SLICE(" Z") : SLICE(""));
    mc_write(&w, reply->is_stale ? SLICE(" X") : SLICE(""));
    mc_write(&w, reply->is_won ? SLICE(" W") : SLICE(""));
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    return w.len;
}

struct slice answer_end(struct dataplane *dp, struct txn *txn, bool is_hit)
{
    if (txn->dialect != MC_DIALECT_BINARY) {
        return txn->is_part ? SLICE("") : SLICE("END\r\n");
    }
    return is_hit ? SLICE("") : answer_nothing(dp, txn);
}

struct slice answer_nothing(struct dataplane *dp, struct txn *txn)
{
    if (txn->dialect == MC_DIALECT_BINARY) {
        answer_binary_nothing(dp, txn);
        return SLICE("");
    }
    if (txn->dialect == MC_DIALECT_CLASSIC) {
        return txn->is_part ? SLICE("") : SLICE("END\r\n");
    }
    char text[ANSWER_LINE_BYTES_MAX];
    const struct mc_reply miss = {.kind = MC_REPLY_EN};
    size_t len = answer_meta_get(dp, txn, 0, &miss, text);
    if (len == 0) {
        return SLICE("");
    }
    struct chain reply = compose_copy(dp, slice_of(text, len));
    txn_set_reply(dp, txn, reply);
    return reply.head == NULL ? SLICE("SERVER_ERROR out of memory\r\n") : SLICE("");
}
