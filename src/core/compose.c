/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What nodes are sent beyond the client's own command: deletes, questions, and the leader's result
 * as a plain store. All of it lies in the journal or in chunks of its own; without memory it is
 * empty.
 */
#include "dataplane_private.h"

/* "WORD KEY END" for the nodes; empty without memory. */
static struct chain short_of(struct dataplane *dp, struct slice word, struct slice key,
                             struct slice end)
{
    size_t len = word.len + key.len + end.len;
    char *to = journal_reserve(&dp->requests, &dp->chunks, len);
    if (to == NULL) {
        return (struct chain){0};
    }
    struct mc_writer w = mc_writer_of(to, len);
    mc_write(&w, word);
    mc_write(&w, key);
    mc_write(&w, end);
    return journal_commit(&dp->requests, len);
}

struct chain compose_delete(struct dataplane *dp, struct slice key)
{
    return short_of(dp, SLICE("md "), key, SLICE("\r\n"));
}

/* Asks for no more than whether the key is there. */
struct chain compose_exists(struct dataplane *dp, struct slice key)
{
    return short_of(dp, SLICE("mg "), key, SLICE(" u\r\n"));
}

/* The leader's item as a plain store: the command's own data under a plain head. */
struct chain compose_plain_store(struct dataplane *dp, const struct txn *txn)
{
    struct chain_builder store = {0};
    char *head = dp->scratch + SCRATCH_INPUT_BYTES; /* a client's input may lie before it */
    struct chain first = txn->command;
    first.len = first.len < COMMAND_HEAD_BYTES_MAX ? first.len : COMMAND_HEAD_BYTES_MAX;
    chain_copy(&first, head);
    const char *end = memchr(head, '\n', first.len);
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

struct chain compose_touch(struct dataplane *dp, const struct txn *txn)
{
    struct mc_request request = {.command = MC_TOUCH, .exptime_s = txn->exptime_s};
    struct command_places places;
    char *to = journal_reserve(&dp->requests, &dp->chunks,
                               COMMAND_HEAD_BYTES_MAX + COMMAND_TAIL_BYTES_MAX);
    if (to == NULL) {
        return (struct chain){0};
    }
    return journal_commit(&dp->requests, command_single(dp, &request, txn_key(txn), to, &places));
}
