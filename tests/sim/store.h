/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The items of one model memcached, and its clock: what memcached 1.6.18 keeps, with its rules of
 * expiry, CAS and flush (replication.md section 2). Times are whole seconds, as memcached's are.
 */
#ifndef SIM_STORE_H
#define SIM_STORE_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum { STORE_BUCKETS = 256 };

struct store_item {
    struct store_item *next; /* in its bucket */
    char *data;
    uint32_t len;
    uint32_t flags;
    uint32_t expires; /* on the store's own clock; 0: never */
    uint32_t used;    /* last access, on the store's own clock */
    uint64_t cas;
    bool is_fetched;
    uint8_t key_len;
    char key[MC_KEY_BYTES_MAX];
};

struct store {
    struct store_item *buckets[STORE_BUCKETS];
    uint64_t count; /* dead items included, as memcached counts them */
    uint64_t cas_last;
    uint32_t oldest_live;
    uint64_t oldest_cas;
    uint64_t flushes;
    int64_t epoch_s;    /* wall clock second that the store's own clock counts from */
    int64_t wall_s;     /* set by the owner */
    bool refuses_dumps; /* set by the owner: memcached's -X */
    bool knows_tokens;  /* set by the owner: the flag E of memcached 1.6.27 and later */
};

enum store_mode { STORE_SET, STORE_ADD, STORE_REPLACE, STORE_APPEND, STORE_PREPEND, STORE_CAS };
enum store_result { STORE_STORED, STORE_NOT_STORED, STORE_EXISTS, STORE_NOT_FOUND };

enum store_delta_result {
    STORE_DELTA_OK,
    STORE_DELTA_NOT_FOUND,
    STORE_DELTA_EXISTS,
    STORE_DELTA_NON_NUMERIC
};

struct store_write {
    enum store_mode mode;
    struct slice key;
    struct slice data;
    uint32_t flags;
    uint32_t expires; /* from store_expiry */
    uint64_t cas;     /* 0: none asked for */
    uint64_t token;   /* CAS that the item is to have; 0: the store's choice */
};

/* A process that starts at WALL_S, empty. */
void store_init(struct store *store, int64_t wall_s);
void store_free(struct store *store);

/* Seconds on the store's own clock. */
static inline uint32_t store_now(const struct store *store)
{
    return (uint32_t)(store->wall_s - store->epoch_s);
}

/* What memcached makes of an exptime that a client sent. */
uint32_t store_expiry(const struct store *store, int64_t exptime);

/* A live item, or NULL. Dead ones are dropped on the way. */
struct store_item *store_find(struct store *store, struct slice key);
/* Whether a dump leaves the item out; it shows some that a get no longer finds, as memcached does.
 */
bool store_is_undumped(const struct store *store, const struct store_item *item);

enum store_result store_put(struct store *store, const struct store_write *write, uint64_t *cas);
void store_drop(struct store *store, struct store_item *item);
struct store_delta {
    struct slice key;
    int64_t sign;
    uint64_t delta;
    uint64_t cas;   /* 0: none asked for */
    uint64_t token; /* 0: the store's choice */
};

enum store_delta_result store_add_delta(struct store *store, const struct store_delta *change,
                                        uint64_t *out);
/* flush_all with a delay; 0: now. */
void store_flush(struct store *store, int64_t delay);

#endif
