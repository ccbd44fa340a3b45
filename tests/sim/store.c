/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The model's items. The own clock starts at 62, so that an expiry is never 0 by accident, as in
 * memcached, whose uptime also begins at 2.
 */
#include "sim/store.h"

#include "everwarm/base/invariant.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    STORE_CLOCK_START = 62,
    STORE_RELATIVE_MAX_S = 60 * 60 * 24 * 30, /* what is above is an absolute time */
};

void store_init(struct store *store, int64_t wall_s)
{
    *store = (struct store){.epoch_s = wall_s - STORE_CLOCK_START,
                            .wall_s = wall_s,
                            .refuses_dumps = store->refuses_dumps,
                            .knows_tokens = store->knows_tokens};
}

static void store_free_item(struct store_item *item)
{
    free(item->data);
    free(item);
}

void store_free(struct store *store)
{
    for (size_t i = 0; i < STORE_BUCKETS; i++) {
        while (store->buckets[i] != NULL) {
            struct store_item *item = store->buckets[i];
            store->buckets[i] = item->next;
            store_free_item(item);
        }
    }
    store->count = 0;
}

uint32_t store_expiry(const struct store *store, int64_t exptime)
{
    if (exptime == 0) {
        return 0;
    }
    if (exptime < 0) {
        exptime = STORE_RELATIVE_MAX_S + 1;
    }
    if (exptime > STORE_RELATIVE_MAX_S) {
        return exptime <= store->epoch_s ? 1 : (uint32_t)(exptime - store->epoch_s);
    }
    return (uint32_t)exptime + store_now(store);
}

static bool store_is_flushed(const struct store *store, const struct store_item *item)
{
    if (store->oldest_live == 0 || store->oldest_live > store_now(store)) {
        return false;
    }
    return item->used <= store->oldest_live ||
           (store->oldest_cas != 0 && item->cas != 0 && item->cas < store->oldest_cas);
}

static struct store_item **store_place(struct store *store, struct slice key)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < key.len; i++) {
        hash = (hash ^ (unsigned char)key.ptr[i]) * 16777619u;
    }
    struct store_item **place = &store->buckets[hash % STORE_BUCKETS];
    while (*place != NULL && !slice_is_equal(slice_of((*place)->key, (*place)->key_len), key)) {
        place = &(*place)->next;
    }
    return place;
}

void store_drop(struct store *store, struct store_item *item)
{
    struct store_item **place = store_place(store, slice_of(item->key, item->key_len));
    INVARIANT(*place == item);
    *place = item->next;
    store->count--;
    store_free_item(item);
}

struct store_item *store_find(struct store *store, struct slice key)
{
    struct store_item *item = *store_place(store, key);
    if (item == NULL) {
        return NULL;
    }
    bool is_expired = item->expires != 0 && item->expires <= store_now(store);
    if (is_expired || store_is_flushed(store, item)) {
        store_drop(store, item);
        return NULL;
    }
    return item;
}

bool store_is_undumped(const struct store *store, const struct store_item *item)
{
    return store_is_flushed(store, item) ||
           (item->expires != 0 && item->expires < store_now(store));
}

static void store_set_data(struct store_item *item, struct slice first, struct slice second)
{
    char *data = malloc(first.len + second.len + 1);
    REQUIRE(data != NULL);
    if (first.len > 0) {
        memcpy(data, first.ptr, first.len);
    }
    if (second.len > 0) {
        memcpy(data + first.len, second.ptr, second.len);
    }
    data[first.len + second.len] = '\0';
    free(item->data);
    item->data = data;
    item->len = (uint32_t)(first.len + second.len);
}

static struct store_item *store_link(struct store *store, struct slice key)
{
    struct store_item **place = store_place(store, key);
    INVARIANT(*place == NULL && key.len <= MC_KEY_BYTES_MAX);
    struct store_item *item = calloc(1, sizeof(*item));
    REQUIRE(item != NULL);
    item->key_len = (uint8_t)key.len;
    memcpy(item->key, key.ptr, key.len);
    *place = item;
    store->count++;
    return item;
}

static enum store_result store_verdict(const struct store_write *write,
                                       const struct store_item *old)
{
    switch (write->mode) {
    case STORE_SET:
        return STORE_STORED;
    case STORE_ADD:
        return old == NULL ? STORE_STORED : STORE_NOT_STORED;
    case STORE_REPLACE:
        return old != NULL ? STORE_STORED : STORE_NOT_STORED;
    case STORE_APPEND:
    case STORE_PREPEND:
        if (old == NULL) {
            return STORE_NOT_STORED;
        }
        return write->cas == 0 || write->cas == old->cas ? STORE_STORED : STORE_EXISTS;
    case STORE_CAS:
        if (old == NULL) {
            return STORE_NOT_FOUND;
        }
        return write->cas != 0 && write->cas == old->cas ? STORE_STORED : STORE_EXISTS;
    }
    UNREACHABLE();
}

enum store_result store_put(struct store *store, const struct store_write *write, uint64_t *cas)
{
    struct store_item *item = store_find(store, write->key);
    enum store_result result = store_verdict(write, item);
    if (result != STORE_STORED) {
        *cas = 0;
        return result;
    }
    if (item == NULL) {
        item = store_link(store, write->key);
    }
    struct slice old = slice_of(item->data, item->len);
    if (write->mode == STORE_APPEND) {
        store_set_data(item, old, write->data);
    } else if (write->mode == STORE_PREPEND) {
        store_set_data(item, write->data, old);
    } else {
        store_set_data(item, write->data, SLICE(""));
        item->flags = write->flags;
        item->expires = write->expires;
    }
    item->used = store_now(store);
    item->is_fetched = false;
    item->cas = write->token != 0 ? write->token : ++store->cas_last;
    *cas = item->cas;
    return STORE_STORED;
}

/* As memcached reads it: blanks may lead and anything may follow a blank. */
static bool store_parse_number(const struct store_item *item, uint64_t *out)
{
    char *end;
    errno = 0;
    unsigned long long number = strtoull(item->data, &end, 10);
    if (errno == ERANGE || end == item->data || (*end != '\0' && !isspace((unsigned char)*end))) {
        return false;
    }
    if ((long long)number < 0 && memchr(item->data, '-', (size_t)(end - item->data)) != NULL) {
        return false;
    }
    *out = number;
    return true;
}

enum store_delta_result store_add_delta(struct store *store, const struct store_delta *change,
                                        uint64_t *out)
{
    struct store_item *item = store_find(store, change->key);
    if (item == NULL) {
        return STORE_DELTA_NOT_FOUND;
    }
    if (item->len == 0) {
        return STORE_DELTA_NON_NUMERIC;
    }
    uint64_t value;
    if (change->cas != 0 && change->cas != item->cas) {
        return STORE_DELTA_EXISTS;
    }
    if (!store_parse_number(item, &value)) {
        return STORE_DELTA_NON_NUMERIC;
    }
    uint64_t delta = change->delta;
    value = change->sign > 0 ? value + delta : (delta > value ? 0 : value - delta);
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)value);
    bool is_grown = (uint32_t)len > item->len;
    if (is_grown) {
        store_set_data(item, slice_of(digits, (size_t)len), SLICE(""));
        item->used = store_now(store);
        item->is_fetched = false;
    } else {
        memset(item->data, ' ', item->len);
        memcpy(item->data, digits, (size_t)len);
    }
    /* Where the number grows memcached makes a new item, and the token is lost. */
    bool has_token = change->token != 0 && !is_grown;
    item->cas = has_token ? change->token : ++store->cas_last;
    *out = value;
    return STORE_DELTA_OK;
}

/* What was used in this very second: a token says nothing of when it was stored. */
static void store_drop_young(struct store *store)
{
    for (uint32_t i = 0; i < STORE_BUCKETS; i++) {
        struct store_item *next;
        for (struct store_item *item = store->buckets[i]; item != NULL; item = next) {
            next = item->next;
            if (item->used > store->oldest_live) {
                store_drop(store, item);
            }
        }
    }
}

void store_flush(struct store *store, int64_t delay)
{
    store->flushes++;
    store->oldest_live = (delay > 0 ? store_expiry(store, delay) : store_now(store)) - 1;
    if (store->oldest_live <= store_now(store)) {
        store->oldest_cas = ++store->cas_last;
        store_drop_young(store);
    }
}
