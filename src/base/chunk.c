/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Chunks, chains and the journal.
 *
 * I1. A chunk is free, or has refs > 0; its data below `used` never changes while refs > 0.
 * I2. A chunk with a next is the sole owner of it: only the head of a chain is ever shared.
 * I3. The journal's open chunk has no next.
 */
#include "everwarm/base/chunk.h"

#include "everwarm/base/invariant.h"

void chunk_pool_init(struct chunk_pool *pool, void *memory, size_t bytes)
{
    *pool = (struct chunk_pool){
        .memory = memory,
        .count = bytes / CHUNK_BYTES,
        .fresh = bytes / CHUNK_BYTES,
        .free_count = bytes / CHUNK_BYTES,
    };
}

struct chunk *chunk_take(struct chunk_pool *pool)
{
    struct chunk *chunk = pool->free;
    if (chunk != NULL) {
        pool->free = chunk->next;
    } else if (pool->fresh > 0) {
        chunk = (struct chunk *)(void *)(pool->memory + (pool->count - pool->fresh) * CHUNK_BYTES);
        pool->fresh--;
    } else {
        return NULL;
    }
    pool->free_count--;
    chunk->refs = 1;
    chunk->used = 0;
    chunk->next = NULL;
    return chunk;
}

void chunk_drop(struct chunk_pool *pool, struct chunk *chunk)
{
    while (chunk != NULL) {
        INVARIANT(chunk->refs > 0);
        if (--chunk->refs > 0) {
            return;
        }
        struct chunk *rest = chunk->next;
        chunk->next = pool->free;
        pool->free = chunk;
        pool->free_count++;
        chunk = rest;
    }
}

void chain_drop(struct chunk_pool *pool, struct chain *chain)
{
    chunk_drop(pool, chain->head);
    *chain = (struct chain){0};
}

size_t chain_slices(const struct chain *chain, uint32_t from, struct slice *out, size_t capacity)
{
    const struct chunk *chunk = chain->head;
    uint32_t start = chain->off;
    uint32_t left = chain->len;
    size_t count = 0;
    while (left > 0 && count < capacity) {
        uint32_t here = chunk->used - start;
        here = here < left ? here : left;
        if (from < here) {
            out[count++] = slice_of(chunk->data + start + from, here - from);
            from = 0;
        } else {
            from -= here;
        }
        left -= here;
        chunk = chunk->next;
        start = 0;
    }
    return count;
}

void chain_skip(struct chunk_pool *pool, struct chain *chain, uint32_t count)
{
    REQUIRE(count <= chain->len);
    if (count == chain->len) {
        chain_drop(pool, chain);
        return;
    }
    while (count > 0) {
        struct chunk *chunk = chain->head;
        uint32_t here = chunk->used - chain->off;
        here = here < count ? here : count;
        chain->off += here;
        chain->len -= here;
        count -= here;
        if (chain->off == chunk->used) {
            chain->head = chunk->next;
            chain->head->refs++; /* before its owner goes */
            chain->off = 0;
            chunk_drop(pool, chunk);
        }
    }
}

void chain_view_skip(struct chain *view, uint32_t count)
{
    REQUIRE(count <= view->len);
    while (count > 0) {
        uint32_t here = view->head->used - view->off;
        here = here < count ? here : count;
        view->off += here;
        view->len -= here;
        count -= here;
        if (view->off == view->head->used && view->len > 0) {
            view->head = view->head->next;
            view->off = 0;
        }
    }
}

void chain_copy(const struct chain *chain, char *to)
{
    const struct chunk *chunk = chain->head;
    uint32_t start = chain->off;
    uint32_t left = chain->len;
    while (left > 0) {
        uint32_t here = chunk->used - start;
        here = here < left ? here : left;
        memcpy(to, chunk->data + start, here);
        to += here;
        left -= here;
        chunk = chunk->next;
        start = 0;
    }
}

bool chain_append(struct chunk_pool *pool, struct chain_builder *builder, struct slice bytes)
{
    if (bytes.len > UINT32_MAX - builder->chain.len) {
        return false; /* a multiget of the largest values, where the pool could hold it */
    }
    while (bytes.len > 0) {
        struct chunk *tail = builder->tail;
        if (tail == NULL || tail->used == CHUNK_DATA_BYTES) {
            struct chunk *fresh = chunk_take(pool);
            if (fresh == NULL) {
                return false;
            }
            if (tail == NULL) {
                builder->chain = (struct chain){.head = fresh};
            } else {
                tail->next = fresh;
            }
            builder->tail = tail = fresh;
        }
        size_t room = CHUNK_DATA_BYTES - tail->used;
        size_t take = bytes.len < room ? bytes.len : room;
        memcpy(tail->data + tail->used, bytes.ptr, take);
        tail->used += (uint32_t)take;
        builder->chain.len += (uint32_t)take;
        bytes = slice_skip(bytes, take);
    }
    return true;
}

char *journal_reserve(struct journal *journal, struct chunk_pool *pool, size_t bytes)
{
    REQUIRE(bytes <= CHUNK_DATA_BYTES);
    struct chunk *open = journal->open;
    if (open != NULL && open->refs == 1) {
        open->used = 0; /* nobody else looks at it any more */
    }
    if (open == NULL || CHUNK_DATA_BYTES - open->used < bytes) {
        struct chunk *fresh = chunk_take(pool);
        if (fresh == NULL) {
            return NULL;
        }
        chunk_drop(pool, open);
        journal->open = open = fresh;
    }
    return open->data + open->used;
}

struct chain journal_commit(struct journal *journal, size_t bytes)
{
    struct chunk *open = journal->open;
    struct chain chain = {.head = open, .off = open->used, .len = (uint32_t)bytes};
    open->used += (uint32_t)bytes;
    open->refs++;
    INVARIANT(open->used <= CHUNK_DATA_BYTES);
    return chain;
}
