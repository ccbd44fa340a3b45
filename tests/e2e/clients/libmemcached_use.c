/* SPDX-License-Identifier: BSD-2-Clause */
/* libmemcached as C programs use it. Arguments: port, text or binary. */
#include <libmemcached/memcached.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MANY = 300, LARGE_BYTES = 900000 };

static memcached_st *cache;

static void check(bool is_good, const char *what)
{
    if (!is_good) {
        (void)fprintf(stderr, "libmemcached: %s: %s\n", what, memcached_last_error_message(cache));
        exit(1);
    }
}

static memcached_return_t set(const char *key, const char *value, size_t bytes)
{
    return memcached_set(cache, key, strlen(key), value, bytes, 300, 7);
}

/* Is KEY's value these bytes, and are the flags those of set()? */
static bool is_value(const char *key, const char *value, size_t bytes)
{
    size_t got_bytes = 0;
    uint32_t flags = 0;
    memcached_return_t result;
    char *got = memcached_get(cache, key, strlen(key), &got_bytes, &flags, &result);
    bool is_same = result == MEMCACHED_SUCCESS && got_bytes == bytes && flags == 7 &&
                   (bytes == 0 || memcmp(got, value, bytes) == 0);
    free(got);
    return is_same;
}

static void many(void)
{
    char keys[MANY][32];
    const char *pointers[MANY];
    size_t lengths[MANY];
    for (int i = 0; i < MANY; i++) {
        char value[64];
        (void)snprintf(keys[i], sizeof(keys[i]), "c:m%d", i);
        (void)snprintf(value, sizeof(value), "value of %d, grüße", i);
        pointers[i] = keys[i];
        lengths[i] = strlen(keys[i]);
        check(i % 10 == 3 || set(keys[i], value, strlen(value)) == MEMCACHED_SUCCESS,
              "set of many");
    }
    check(memcached_mget(cache, pointers, lengths, MANY) == MEMCACHED_SUCCESS, "mget");
    int found = 0;
    memcached_return_t result;
    memcached_result_st *one;
    while ((one = memcached_fetch_result(cache, NULL, &result)) != NULL) {
        char value[64];
        int number = (int)strtol(memcached_result_key_value(one) + 3, NULL, 10);
        (void)snprintf(value, sizeof(value), "value of %d, grüße", number);
        check(memcached_result_length(one) == strlen(value) &&
                  memcmp(memcached_result_value(one), value, strlen(value)) == 0,
              "a value of many");
        memcached_result_free(one);
        found++;
    }
    check(found == MANY - MANY / 10, "as many as there are");
}

static uint64_t cas_of(const char *key)
{
    size_t length = strlen(key);
    check(memcached_mget(cache, &key, &length, 1) == MEMCACHED_SUCCESS, "gets");
    memcached_return_t result;
    memcached_result_st *one = memcached_fetch_result(cache, NULL, &result);
    check(one != NULL, "gets, its answer");
    uint64_t cas = memcached_result_cas(one);
    memcached_result_free(one);
    while ((one = memcached_fetch_result(cache, NULL, &result)) != NULL) {
        memcached_result_free(one);
    }
    return cas;
}

static void conditions(void)
{
    uint64_t cas = cas_of("c:m5");
    check(memcached_cas(cache, "c:m5", 4, "new", 3, 300, 7, cas) == MEMCACHED_SUCCESS, "cas");
    check(memcached_cas(cache, "c:m5", 4, "newer", 5, 300, 7, cas) == MEMCACHED_DATA_EXISTS,
          "cas, twice");
    check(is_value("c:m5", "new", 3), "get after cas");
    check(memcached_add(cache, "c:m5", 4, "x", 1, 300, 7) != MEMCACHED_SUCCESS, "add on a hit");
    check(memcached_replace(cache, "c:none", 6, "x", 1, 300, 7) != MEMCACHED_SUCCESS,
          "replace on a miss");
}

static void numbers(bool is_binary)
{
    uint64_t number = 0;
    check(memcached_increment(cache, "c:n", 3, 1, &number) == MEMCACHED_NOTFOUND,
          "increment on a miss");
    check(set("c:n", "10", 2) == MEMCACHED_SUCCESS, "set a number");
    check(memcached_increment(cache, "c:n", 3, 5, &number) == MEMCACHED_SUCCESS && number == 15,
          "increment");
    check(memcached_decrement(cache, "c:n", 3, 20, &number) == MEMCACHED_SUCCESS && number == 0,
          "decrement");
    if (is_binary) {
        check(memcached_increment_with_initial(cache, "c:i", 3, 1, 40, 300, &number) ==
                      MEMCACHED_SUCCESS &&
                  number == 40,
              "increment with an initial value");
    }
}

static void values(void)
{
    char *large = malloc(LARGE_BYTES);
    check(large != NULL, "memory");
    for (int i = 0; i < LARGE_BYTES; i++) {
        large[i] = (char)(i * 7 + i / 251);
    }
    check(set("c:large", large, LARGE_BYTES) == MEMCACHED_SUCCESS &&
              is_value("c:large", large, LARGE_BYTES),
          "large");
    free(large);
    check(set("c:grüße", "ß", 2) == MEMCACHED_SUCCESS && is_value("c:grüße", "ß", 2),
          "a key that is not ASCII");
    check(set("c:empty", "", 0) == MEMCACHED_SUCCESS && is_value("c:empty", "", 0), "empty");
    check(set("c:t", "mid", 3) == MEMCACHED_SUCCESS &&
              memcached_append(cache, "c:t", 3, ">", 1, 0, 0) == MEMCACHED_SUCCESS &&
              memcached_prepend(cache, "c:t", 3, "<", 1, 0, 0) == MEMCACHED_SUCCESS &&
              is_value("c:t", "<mid>", 5),
          "append and prepend");
    check(memcached_touch(cache, "c:t", 3, 500) == MEMCACHED_SUCCESS, "touch");
    check(memcached_touch(cache, "c:none", 6, 500) == MEMCACHED_NOTFOUND, "touch on a miss");
    check(memcached_exist(cache, "c:t", 3) == MEMCACHED_SUCCESS, "exist");
}

/* Writes that are sent later, and without waiting for their answers. */
static void buffered(void)
{
    memcached_behavior_set(cache, MEMCACHED_BEHAVIOR_BUFFER_REQUESTS, 1);
    for (int i = 0; i < 100; i++) {
        char key[32];
        (void)snprintf(key, sizeof(key), "c:b%d", i);
        memcached_return_t result = set(key, "b", 1);
        check(result == MEMCACHED_BUFFERED || result == MEMCACHED_SUCCESS, "set, buffered");
    }
    check(memcached_flush_buffers(cache) == MEMCACHED_SUCCESS, "flush_buffers");
    /* On the same connection: a change of behaviour is a new one. */
    check(is_value("c:b99", "b", 1), "get after buffered writes");
    memcached_behavior_set(cache, MEMCACHED_BEHAVIOR_BUFFER_REQUESTS, 0);
    memcached_behavior_set(cache, MEMCACHED_BEHAVIOR_NOREPLY, 1);
    check(set("c:q", "q", 1) == MEMCACHED_SUCCESS, "set, noreply");
    check(is_value("c:q", "q", 1), "get after noreply");
    memcached_behavior_set(cache, MEMCACHED_BEHAVIOR_NOREPLY, 0);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        return 2;
    }
    bool is_binary = strcmp(argv[2], "binary") == 0;
    cache = memcached_create(NULL);
    memcached_behavior_set(cache, MEMCACHED_BEHAVIOR_BINARY_PROTOCOL, is_binary);
    memcached_behavior_set(cache, MEMCACHED_BEHAVIOR_SUPPORT_CAS, 1);
    memcached_behavior_set(cache, MEMCACHED_BEHAVIOR_TCP_NODELAY, 1);
    check(memcached_server_add(cache, "127.0.0.1", (in_port_t)strtol(argv[1], NULL, 10)) ==
              MEMCACHED_SUCCESS,
          "server_add");
    check(memcached_callback_set(cache, MEMCACHED_CALLBACK_PREFIX_KEY,
                                 is_binary ? "libmemcached-b:" : "libmemcached-t:") ==
              MEMCACHED_SUCCESS,
          "prefix");
    memcached_return_t result;
    char *none = memcached_get(cache, "c:none", 6, &(size_t){0}, &(uint32_t){0}, &result);
    check(none == NULL && result == MEMCACHED_NOTFOUND, "miss");
    many();
    conditions();
    numbers(is_binary);
    values();
    buffered();
    memcached_stat_st *stats = memcached_stat(cache, NULL, &result);
    check(stats != NULL && result == MEMCACHED_SUCCESS, "stats");
    memcached_stat_free(cache, stats);
    check(memcached_version(cache) == MEMCACHED_SUCCESS &&
              memcached_server_major_version(memcached_server_instance_by_position(cache, 0)) == 1,
          "version");
    check(memcached_delete(cache, "c:t", 3, 0) == MEMCACHED_SUCCESS, "delete");
    check(memcached_delete(cache, "c:t", 3, 0) == MEMCACHED_NOTFOUND, "delete, twice");
    memcached_free(cache);
    return 0;
}
