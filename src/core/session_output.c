/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client is owed leaves in the order of its requests: the answers at the front of its queue,
 * as many as are there, in one write. What was taken of an answer is dropped at once, so that a
 * large one gives its memory back as it goes, and the next write need not look for its place.
 */
#include "dataplane_private.h"

size_t dataplane_client_gather(struct dataplane *dp, uint32_t slot, struct slice *out,
                               size_t capacity)
{
    struct session *session = &dp->sessions[slot];
    size_t count = 0;
    for (const struct txn *txn = session->head; txn != NULL && txn->is_answered; txn = txn->next) {
        if (txn->reply.len > 0 && count < capacity) {
            const char *end = count > 0 ? out[count - 1].ptr + out[count - 1].len : NULL;
            size_t got = chain_slices(&txn->reply, 0, out + count, capacity - count);
            if (got > 0 && out[count].ptr == end) {
                out[count - 1].len += out[count].len;
                memmove(out + count, out + count + 1, (got - 1) * sizeof(*out));
                got--;
            }
            count += got;
        }
        if (count == capacity) {
            break;
        }
        uint32_t sent = txn->text_sent;
        if (sent < txn->reply_text_bytes) {
            out[count++] = slice_of(txn->reply_text + sent, txn->reply_text_bytes - sent);
        }
    }
    session->offered = 0;
    for (size_t i = 0; i < count; i++) {
        session->offered += out[i].len;
    }
    return count;
}

static size_t unsent_bytes(const struct txn *txn)
{
    return (size_t)txn->reply.len + txn->reply_text_bytes - txn->text_sent;
}

void session_pop_written(struct dataplane *dp, struct session *session)
{
    while (session->head != NULL && session->head->is_answered &&
           unsent_bytes(session->head) == 0) {
        struct txn *txn = session->head;
        session->head = txn->next;
        if (session->head == NULL) {
            session->tail = NULL;
        }
        session->in_flight--;
        txn->session = NULL;
        txn->next = NULL;
        txn_release(dp, txn);
    }
}

/* The client took the first COUNT bytes of what is unsent of TXN's answer. */
static void take_answer(struct dataplane *dp, struct txn *txn, size_t count)
{
    uint32_t of_chain = count < txn->reply.len ? (uint32_t)count : txn->reply.len;
    chain_skip(&dp->chunks, &txn->reply, of_chain);
    txn->text_sent += (uint32_t)(count - of_chain);
}

void dataplane_client_wrote(struct dataplane *dp, uint32_t slot, size_t count)
{
    struct session *session = &dp->sessions[slot];
    REQUIRE(count <= session->offered);
    session->is_blocked = count < session->offered;
    session->offered = 0;
    dp->stats.bytes_out += count;
    session->output_bytes -= count;
    for (struct txn *txn = session->head; txn != NULL && count > 0; txn = txn->next) {
        size_t left = unsent_bytes(txn);
        size_t take = count < left ? count : left;
        take_answer(dp, txn, take);
        count -= take;
    }
    session_pop_written(dp, session);
    session_touch(dp, session);
}
