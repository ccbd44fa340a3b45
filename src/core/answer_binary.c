/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What binary clients are told. What a node said of an item or a write becomes a frame at once. All
 * else - errors, and what everwarm answers itself - comes in the classic protocol's words, and is
 * said again as a frame when it is released: a frame begins with 0x81, and no words do.
 *
 * A quiet command is not answered when it did what it was asked to (a quiet get: when it missed).
 * Since answers leave in the order of the requests, the answer to the noop behind them tells that
 * all of them are over.
 */
#include "dataplane_private.h"

static struct mc_binary_reply reply_to(const struct txn *txn)
{
    return (struct mc_binary_reply){.opcode = txn->opcode, .opaque = txn->opaque};
}

/* TXN's answer is FRAME; without memory for it its client can't be answered at all. */
static void set_frame(struct dataplane *dp, struct txn *txn, struct slice frame)
{
    struct chain reply = {0};
    if (frame.len > 0) {
        reply = compose_copy(dp, frame);
        if (reply.head == NULL && txn->session != NULL) {
            dp->stats.shed++;
            txn->session->is_overdue = true;
        }
    }
    txn_set_reply(dp, txn, reply);
    txn_set_text(txn, SLICE(""), (enum dataplane_outcome)txn->outcome);
}

/* --- Writes --- */

static enum mc_binary_status status_of(const struct txn *txn, enum mc_reply_kind kind)
{
    if (kind == MC_REPLY_HD || kind == MC_REPLY_VA) {
        return MC_BINARY_OK;
    }
    if (kind == MC_REPLY_EX) {
        return MC_BINARY_EXISTS;
    }
    if (kind == MC_REPLY_NS && txn->command_type == MC_ADD) {
        return MC_BINARY_EXISTS;
    }
    if (kind == MC_REPLY_NS && txn->command_type != MC_REPLACE) {
        return MC_BINARY_NOT_STORED;
    }
    return MC_BINARY_NOT_FOUND;
}

void answer_binary_write(struct dataplane *dp, struct txn *txn, const struct answer *answer,
                         enum dataplane_outcome outcome)
{
    char frame[MC_BINARY_STATUS_BYTES_MAX];
    struct mc_writer w = mc_writer_of(frame, sizeof(frame));
    struct mc_binary_reply reply = reply_to(txn);
    reply.status = status_of(txn, answer->kind);
    bool is_done = reply.status == MC_BINARY_OK;
    if (is_done && txn->command_type != MC_DELETE && answer->cas != 0) {
        reply.cas = answer->cas | txn_cas_tag(dp, answer->node);
    }
    if (is_done && mc_binary_is_quiet(txn->opcode)) {
        w.len = 0;
    } else if (answer->kind == MC_REPLY_VA) {
        uint64_t number = 0;
        INVARIANT(mc_read_u64(answer->number, &number));
        reply.value_bytes = sizeof(number);
        mc_binary_write_header(&w, &reply);
        mc_binary_write_u64(&w, number);
    } else {
        mc_binary_write_status(&w, reply);
    }
    INVARIANT(!w.is_full);
    txn->outcome = (uint8_t)outcome;
    set_frame(dp, txn, slice_of(frame, w.len));
}

/* --- Reads --- */

size_t answer_binary_value(const struct dataplane *dp, const struct txn *txn, uint32_t node,
                           const struct mc_reply *item, char *to)
{
    struct mc_writer w = mc_writer_of(to, ANSWER_LINE_BYTES_MAX);
    struct mc_binary_reply reply = reply_to(txn);
    bool wants_key = mc_binary_wants_key(txn->opcode);
    reply.cas = item->cas == 0 ? 0 : item->cas | txn_cas_tag(dp, node);
    reply.extras_bytes = sizeof(item->flags);
    reply.key_bytes = wants_key ? txn->key_bytes : 0;
    reply.value_bytes = answer_binary_has_value(txn) ? item->value_bytes : 0;
    mc_binary_write_header(&w, &reply);
    mc_binary_write_u32(&w, item->flags);
    mc_write(&w, wants_key ? txn_key(txn) : SLICE(""));
    INVARIANT(!w.is_full);
    return w.len;
}

bool answer_binary_has_value(const struct txn *txn)
{
    return txn->opcode != MC_BINARY_TOUCH;
}

void answer_binary_nothing(struct dataplane *dp, struct txn *txn)
{
    char frame[ANSWER_LINE_BYTES_MAX];
    struct mc_writer w = mc_writer_of(frame, sizeof(frame));
    struct mc_binary_reply reply = reply_to(txn);
    reply.status = MC_BINARY_NOT_FOUND;
    if (mc_binary_is_quiet(txn->opcode)) {
        w.len = 0;
    } else if (mc_binary_wants_key(txn->opcode)) {
        reply.key_bytes = txn->key_bytes; /* in place of the words */
        mc_binary_write_header(&w, &reply);
        mc_write(&w, txn_key(txn));
    } else {
        mc_binary_write_status(&w, reply);
    }
    INVARIANT(!w.is_full);
    set_frame(dp, txn, slice_of(frame, w.len));
}

/* --- Words --- */

static enum mc_binary_status status_of_words(struct slice words)
{
    static const struct {
        struct slice start;
        enum mc_binary_status status;
    } table[] = {
        {SLICE_INIT("OK"), MC_BINARY_OK},
        {SLICE_INIT("MN"), MC_BINARY_OK},
        {SLICE_INIT("VERSION "), MC_BINARY_OK},
        {SLICE_INIT("SERVER_ERROR object too large"), MC_BINARY_TOO_LARGE},
        {SLICE_INIT("SERVER_ERROR out of memory"), MC_BINARY_OUT_OF_MEMORY},
        {SLICE_INIT("SERVER_ERROR "), MC_BINARY_TEMPORARY_FAILURE},
        {SLICE_INIT("CLIENT_ERROR cannot increment"), MC_BINARY_NON_NUMERIC},
        {SLICE_INIT("CLIENT_ERROR "), MC_BINARY_INVALID},
    };
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        if (slice_has_prefix(words, table[i].start)) {
            return table[i].status;
        }
    }
    return MC_BINARY_UNKNOWN_COMMAND;
}

/* One line, as an answer of its own. Returns bytes of the frame at TO. */
static size_t say_line(const struct txn *txn, struct slice words, char *to, size_t capacity)
{
    struct mc_writer w = mc_writer_of(to, capacity);
    struct mc_binary_reply reply = reply_to(txn);
    reply.status = status_of_words(words);
    bool is_refused =
        reply.status == MC_BINARY_UNKNOWN_COMMAND || reply.status == MC_BINARY_INVALID;
    if (txn->command_type == MC_STATS && is_refused) {
        reply.status = MC_BINARY_NOT_FOUND; /* there are no such statistics */
    }
    if (reply.status == MC_BINARY_OK && mc_binary_is_quiet(txn->opcode)) {
        return 0;
    }
    if (txn->command_type == MC_VERSION && reply.status == MC_BINARY_OK) {
        struct slice version = slice_skip(words, sizeof("VERSION ") - 1);
        version.len -= 2;
        reply.value_bytes = version.len;
        mc_binary_write_header(&w, &reply);
        mc_write(&w, version);
    } else {
        mc_binary_write_status(&w, reply);
    }
    INVARIANT(!w.is_full);
    return w.len;
}

/* "STAT name value" of each line as a frame with a key, and an empty one at the end. */
static void say_stats(struct dataplane *dp, struct txn *txn, struct slice lines)
{
    struct chain_builder all = {0};
    bool is_fine = true;
    while (is_fine) {
        const char *end = lines.len > 0 ? memchr(lines.ptr, '\r', lines.len) : NULL;
        struct slice line =
            end != NULL ? slice_of(lines.ptr, (size_t)(end - lines.ptr)) : SLICE("");
        bool is_stat = slice_has_prefix(line, SLICE("STAT "));
        struct slice value = is_stat ? slice_skip(line, sizeof("STAT ") - 1) : SLICE("");
        struct slice name = mc_next_word(&value);
        value = slice_skip(value, value.len > 0 ? 1 : 0);
        char frame[ANSWER_LINE_BYTES_MAX];
        struct mc_writer w = mc_writer_of(frame, sizeof(frame));
        struct mc_binary_reply reply = reply_to(txn);
        reply.key_bytes = (uint32_t)name.len;
        reply.value_bytes = value.len;
        mc_binary_write_header(&w, &reply);
        mc_write(&w, name);
        mc_write(&w, value);
        INVARIANT(!w.is_full);
        is_fine = chain_append(&dp->chunks, &all, slice_of(frame, w.len));
        if (!is_stat) {
            break;
        }
        lines = slice_skip(lines, line.len + 2);
    }
    if (!is_fine) {
        chain_drop(&dp->chunks, &all.chain);
        txn->session->is_overdue = true;
        dp->stats.shed++;
    }
    txn_set_reply(dp, txn, all.chain);
    txn_set_text(txn, SLICE(""), (enum dataplane_outcome)txn->outcome);
}

void answer_binary_seal(struct dataplane *dp, struct txn *txn)
{
    char text[STATS_TEXT_BYTES_MAX];
    struct slice words = slice_of(txn->reply_text, txn->reply_text_bytes);
    struct slice first;
    if (txn->session == NULL) {
        return;
    }
    if (chain_slices(&txn->reply, 0, &first, 1) == 1) {
        if ((unsigned char)first.ptr[0] == MC_BINARY_REPLY_MAGIC) {
            return;
        }
        INVARIANT(txn->reply.len <= sizeof(text));
        chain_copy(&txn->reply, text);
        words = slice_of(text, txn->reply.len);
    }
    bool is_stats = txn->command_type == MC_STATS && txn->outcome == DATAPLANE_OUTCOME_STORED;
    if (is_stats) {
        say_stats(dp, txn, words);
    } else if (words.len > 0) {
        char frame[ANSWER_LINE_BYTES_MAX];
        set_frame(dp, txn, slice_of(frame, say_line(txn, words, frame, sizeof(frame))));
    }
}
