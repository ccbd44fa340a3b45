/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What nodes are sent beyond the client's own command: deletes, and the leader's result as a plain
 * store. All of it lies in the journal or in chunks of its own; without memory it is empty.
 */
#include "dataplane_private.h"

enum { SHORT_BYTES_MAX = MC_KEY_BYTES_MAX + 96 };

struct chain compose_copy(struct dataplane *dp, struct slice bytes)
{
    char *to = journal_reserve(&dp->requests, &dp->chunks, bytes.len);
    if (to == NULL) {
        return (struct chain){0};
    }
    memcpy(to, bytes.ptr, bytes.len);
    return journal_commit(&dp->requests, bytes.len);
}

/* "WORD KEY" and whether it is written in base64. */
static struct mc_writer begin_short(char *to, struct slice word, const struct txn *txn)
{
    struct mc_writer w = mc_writer_of(to, SHORT_BYTES_MAX);
    mc_write(&w, word);
    mc_write(&w, txn_key(txn));
    mc_write(&w, txn->is_base64 ? SLICE(" b") : SLICE(""));
    return w;
}

static struct chain end_short(struct dataplane *dp, struct mc_writer *w)
{
    mc_write(w, SLICE("\r\n"));
    INVARIANT(!w->is_full);
    return compose_copy(dp, slice_of(w->ptr, w->len));
}

struct chain compose_bump(struct dataplane *dp, struct slice key)
{
    char text[SHORT_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_write(&w, SLICE("mg "));
    mc_write(&w, key);
    return end_short(dp, &w);
}

struct chain compose_delete_key(struct dataplane *dp, struct slice key, bool is_base64)
{
    char text[SHORT_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_write(&w, SLICE("md "));
    mc_write(&w, key);
    mc_write(&w, is_base64 ? SLICE(" b") : SLICE(""));
    return end_short(dp, &w);
}

struct chain compose_delete(struct dataplane *dp, const struct txn *txn)
{
    return compose_delete_key(dp, txn_key(txn), txn->is_base64);
}

struct chain compose_give_back(struct dataplane *dp, const struct txn *txn, uint64_t cas,
                               struct slice keep)
{
    char text[SHORT_BYTES_MAX];
    struct mc_writer w = begin_short(text, SLICE("md "), txn);
    mc_write(&w, SLICE(" I C"));
    mc_write_u64(&w, cas);
    if (keep.len > 0) {
        mc_write(&w, keep);
        mc_write_u64(&w, cas);
    }
    return end_short(dp, &w);
}

struct chain compose_touch(struct dataplane *dp, const struct txn *txn)
{
    char text[SHORT_BYTES_MAX];
    struct mc_writer w = begin_short(text, txn->is_base64 ? SLICE("mg ") : SLICE("touch "), txn);
    mc_write(&w, txn->is_base64 ? SLICE(" T") : SLICE(" "));
    mc_write_i64(&w, txn->exptime_s);
    return end_short(dp, &w);
}

struct chain compose_empty_store(struct dataplane *dp, const struct txn *txn)
{
    char text[SHORT_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_write(&w, SLICE("ms "));
    mc_write(&w, txn_key(txn));
    mc_write(&w, txn->is_base64 ? SLICE(" 0 b F") : SLICE(" 0 F"));
    mc_write_u64(&w, txn->item_flags);
    if (dp->topology->has_tokens) {
        mc_write(&w, SLICE(" E"));
        mc_write(&w, slice_of(txn->command.head->data + txn->command.off + txn->places.token_off,
                              TOKEN_DIGITS));
    }
    if (txn->has_exptime) {
        mc_write(&w, SLICE(" T"));
        mc_write_i64(&w, txn->exptime_s);
    }
    mc_write(&w, SLICE("\r\n"));
    return end_short(dp, &w);
}

/* The leader's item as a plain store: the command's own data under a plain head. */
struct chain compose_plain_store(struct dataplane *dp, const struct txn *txn)
{
    struct chain_builder store = {0};
    char *head = dp->scratch + SCRATCH_INPUT_BYTES; /* a client's input may lie before it */
    struct chain first = txn->command;
    first.len = first.len < COMMAND_HEAD_BYTES_MAX ? first.len : COMMAND_HEAD_BYTES_MAX;
    chain_copy(&first, head);
    const char *end = memchr(head + txn->places.key_off + txn->key_bytes, '\n',
                             first.len - txn->places.key_off - txn->key_bytes);
    INVARIANT(end != NULL);
    size_t head_bytes = (size_t)(end - head) + 1;
    struct slice words = slice_of(head, head_bytes - 2);
    bool is_fine = true;
    for (struct slice word = mc_next_word(&words); word.len > 0; word = mc_next_word(&words)) {
        bool is_condition = word.ptr > head + txn->places.key_off + txn->key_bytes &&
                            (word.ptr[0] == 'M' || word.ptr[0] == 'C');
        if (!is_condition) {
            is_fine =
                is_fine && (word.ptr == head || chain_append(&dp->chunks, &store, SLICE(" ")));
            is_fine = is_fine && chain_append(&dp->chunks, &store, word);
        }
    }
    is_fine = is_fine && chain_append(&dp->chunks, &store, SLICE("\r\n"));
    struct slice pieces[16];
    uint32_t from = (uint32_t)head_bytes;
    while (is_fine && from < txn->command.len) {
        size_t count = chain_slices(&txn->command, from, pieces, 16);
        for (size_t i = 0; i < count && is_fine; i++) {
            is_fine = chain_append(&dp->chunks, &store, pieces[i]);
            from += (uint32_t)pieces[i].len;
        }
    }
    if (!is_fine) {
        chain_drop(&dp->chunks, &store.chain);
    }
    return store.chain;
}
