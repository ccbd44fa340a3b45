/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where bytes live: reference-counted chunks of CHUNK_BYTES from a pool reserved at start, and
 * chains, which are byte ranges over them. One thread owns a pool and all that is cut from it, so
 * counts are not atomic. An empty pool is an answer (NULL, false), never an error of ours.
 */
#ifndef EVERWARM_BASE_CHUNK_H
#define EVERWARM_BASE_CHUNK_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"

#include <stdint.h>

struct chunk {
    uint32_t refs;
    uint32_t used;      /* bytes of data taken */
    struct chunk *next; /* the rest of a chain that is longer than one chunk, owned; or free list */
    char data[];
};

enum { CHUNK_DATA_BYTES = CHUNK_BYTES - (int)sizeof(struct chunk) };

struct chunk_pool {
    char *memory;
    size_t count;       /* chunks in all */
    size_t fresh;       /* chunks never used yet; they lie at the end, so memory is touched late */
    size_t free_count;  /* in the free list and fresh */
    struct chunk *free; /* used before */
};

/* Lay the pool over BYTES of MEMORY, which stays the caller's and is aligned to 16. */
void chunk_pool_init(struct chunk_pool *pool, void *memory, size_t bytes);

/* Take a chunk with one reference; NULL when the pool is empty. */
struct chunk *chunk_take(struct chunk_pool *pool);

/* Give up one reference; the last one frees the chunk and drops its next. */
void chunk_drop(struct chunk_pool *pool, struct chunk *chunk);

/* Bytes at head->data[off], going on in head->next->data[0]. Holds one reference to head. */
struct chain {
    struct chunk *head; /* NULL when empty */
    uint32_t off;
    uint32_t len; /* bytes in all */
};

/* Drop the chain's reference and make it empty. */
void chain_drop(struct chunk_pool *pool, struct chain *chain);

/*
 * Fill OUT with the pieces of CHAIN from its byte FROM on.
 *
 * Returns  number of slices, at most CAPACITY.
 */
size_t chain_slices(const struct chain *chain, uint32_t from, struct slice *out, size_t capacity);

/* Drop the first COUNT bytes of CHAIN, and chunks with nothing else in them. */
void chain_skip(struct chunk_pool *pool, struct chain *chain, uint32_t count);

/* The same of a view: a copy of a chain that holds no reference of its own. */
void chain_view_skip(struct chain *view, uint32_t count);

/* Copy the whole chain to TO, which has room for chain->len bytes. */
void chain_copy(const struct chain *chain, char *to);

/*
 * A chain that grows at its end. Its chunks but the first belong to it alone.
 */
struct chain_builder {
    struct chain chain;
    struct chunk *tail;
};

/* Append BYTES; false, with what fitted appended, when the pool is empty or the chain would be
 * longer than 32 bits can tell. */
bool chain_append(struct chunk_pool *pool, struct chain_builder *builder, struct slice bytes);

/*
 * The journal: small byte ranges of many owners packed one after the other into shared chunks, so
 * that neighbours go out in one piece. Each range holds a reference to its chunk.
 */
struct journal {
    struct chunk *open; /* has one reference of the journal's */
};

/* Room for BYTES (at most CHUNK_DATA_BYTES) in one piece; NULL when the pool is empty. */
char *journal_reserve(struct journal *journal, struct chunk_pool *pool, size_t bytes);

/* Make the first BYTES of the reserved room a chain. */
struct chain journal_commit(struct journal *journal, size_t bytes);

#endif
