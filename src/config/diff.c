/* SPDX-License-Identifier: BSD-2-Clause */
/* Two walks side by side, as long as both have the same pools and nodes at the same places. */
#include "everwarm/config/diff.h"

#include "everwarm/base/invariant.h"
#include "walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct changes {
    struct diff_change *out;
    size_t capacity;
    size_t count;
};

static struct diff_change *add(struct changes *changes)
{
    static struct diff_change spare; /* past the capacity they are only counted */
    struct diff_change *change =
        changes->count < changes->capacity ? &changes->out[changes->count] : &spare;
    changes->count++;
    return change;
}

/* VALUE as JSON, cut; it is taken. */
static void print(json_t *value, char out[DIFF_VALUE_BYTES_MAX])
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)snprintf(out, DIFF_VALUE_BYTES_MAX, "%s", text == NULL ? "?" : text);
    free(text);
    json_decref(value);
}

static size_t bytes_of(const struct key *key)
{
    switch (key->type) {
    case KEY_TYPE_DURATION:
    case KEY_TYPE_SIZE:
        return sizeof(uint64_t);
    case KEY_TYPE_COUNT:
    case KEY_TYPE_CHOICE:
        return sizeof(uint32_t);
    case KEY_TYPE_FLAG:
        return sizeof(bool);
    case KEY_TYPE_LISTENERS:
        return sizeof(struct address_list);
    case KEY_TYPE_TEXT:
    case KEY_TYPE_ADDRESS:
    case KEY_TYPE_ARRAY:
        break;
    }
    UNREACHABLE(); /* live keys, and those that they are tied to, are none of these */
}

static bool is_same(const struct key *key, const void *a, const void *b)
{
    return memcmp((const char *)a + key->offset, (const char *)b + key->offset, bytes_of(key)) == 0;
}

static uint64_t number_at(const struct key *key, const void *base)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (bytes_of(key) == sizeof(wide)) {
        memcpy(&wide, (const char *)base + key->offset, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, (const char *)base + key->offset, sizeof(narrow));
    return narrow;
}

/* Whether KEY can go from what it is in FROM, its scope's struct, to what it is in TO. What a check
 * of the whole configuration holds together is changed together, or not at all. */
static bool may_go_live(const struct key *key, const void *from, const void *to)
{
    if (!key->is_live) {
        return false;
    }
    for (size_t i = 0; i < KEY_TIED_MAX && key->tied[i] != NULL; i++) {
        if (!is_same(key_at(key->scope, key->tied[i]), from, to)) {
            return false;
        }
    }
    const uint64_t value = key->live_max == 0 ? 0 : number_at(key, to);
    return value <= key->live_max || value <= number_at(key, from);
}

static void compare(const struct walk *from, const struct walk *to, struct changes *changes)
{
    json_t *old = walk_value(from);
    json_t *value = walk_value(to);
    if (json_equal(old, value)) {
        json_decref(old);
        json_decref(value);
        return;
    }
    struct diff_change change = {.is_live = may_go_live(to->key, from->base, to->base)};
    (void)snprintf(change.path, sizeof(change.path), "%s", to->path);
    print(old, change.from);
    print(value, change.to);
    *add(changes) = change;
}

static void add_array(struct changes *changes, const char *path, size_t from, size_t to)
{
    struct diff_change change = {.is_live = false};
    (void)snprintf(change.path, sizeof(change.path), "%s", path);
    (void)snprintf(change.from, sizeof(change.from), "%zu", from);
    (void)snprintf(change.to, sizeof(change.to), "%zu", to);
    *add(changes) = change;
}

/* Whether both have as many pools, and these as many nodes; what has not is one change. */
static bool compare_shape(const struct config *from, const struct config *to,
                          struct changes *changes)
{
    const size_t before = changes->count;
    if (from->pool_count != to->pool_count) {
        add_array(changes, "pools", from->pool_count, to->pool_count);
        return false;
    }
    for (size_t i = 0; i < to->pool_count; i++) {
        if (from->pools[i].node_count != to->pools[i].node_count) {
            char path[DIFF_PATH_BYTES_MAX];
            (void)snprintf(path, sizeof(path), "pools[%zu].nodes", i);
            add_array(changes, path, from->pools[i].node_count, to->pools[i].node_count);
        }
    }
    return changes->count == before;
}

size_t diff_configs(const struct config *from, const struct config *to, struct diff_change *out,
                    size_t capacity)
{
    struct changes changes = {.out = out, .capacity = capacity};
    if (!compare_shape(from, to, &changes)) {
        return changes.count;
    }
    struct walk old = walk_begin(from);
    struct walk fresh = walk_begin(to);
    old.is_flat = fresh.is_flat = old.is_flat && fresh.is_flat;
    while (walk_next(&fresh)) {
        const bool is_there = walk_next(&old);
        INVARIANT(is_there && old.key == fresh.key);
        compare(&old, &fresh, &changes);
    }
    return changes.count;
}

static const struct config_pool *find_pool(const struct config *config, const char *name)
{
    for (size_t i = 0; i < config->pool_count; i++) {
        if (strcmp(config->pools[i].name, name) == 0) {
            return &config->pools[i];
        }
    }
    return NULL;
}

void diff_align_pools(const struct config *config, const struct config *to, struct config *out)
{
    *out = *config;
    out->pool_count = to->pool_count;
    for (size_t i = 0; i < to->pool_count; i++) {
        const struct config_pool *own = find_pool(config, to->pools[i].name);
        out->pools[i] = own != NULL ? *own : to->pools[i];
    }
}

/* "pools[NAME]", and how many nodes it has on the side on which it is. */
static void add_pool(struct changes *changes, const struct config_pool *pool, bool comes)
{
    struct diff_change change = {.is_live = true};
    (void)snprintf(change.path, sizeof(change.path), "pools[%.50s]", pool->name);
    char *own = comes ? change.to : change.from;
    (void)snprintf(comes ? change.from : change.to, DIFF_VALUE_BYTES_MAX, "null");
    (void)snprintf(own, DIFF_VALUE_BYTES_MAX, "\"%zu node%s\"", pool->node_count,
                   pool->node_count == 1 ? "" : "s");
    *add(changes) = change;
}

size_t diff_pools(const struct config *from, const struct config *to, struct diff_change *out,
                  size_t capacity)
{
    struct changes changes = {.out = out, .capacity = capacity};
    for (size_t i = 0; i < to->pool_count; i++) {
        if (find_pool(from, to->pools[i].name) == NULL) {
            add_pool(&changes, &to->pools[i], true);
        }
    }
    for (size_t i = 0; i < from->pool_count; i++) {
        if (find_pool(to, from->pools[i].name) == NULL) {
            add_pool(&changes, &from->pools[i], false);
        }
    }
    return changes.count;
}

const struct config_node *diff_find_node(const struct config_pool *pool, const char *name)
{
    for (size_t i = 0; i < pool->node_count; i++) {
        if (strcmp(pool->nodes[i].name, name) == 0) {
            return &pool->nodes[i];
        }
    }
    return NULL;
}

bool diff_has_same_nodes(const struct config_pool *a, const struct config_pool *b)
{
    bool is_same = a->node_count == b->node_count;
    for (size_t i = 0; is_same && i < a->node_count; i++) {
        const struct config_node *other = diff_find_node(b, a->nodes[i].name);
        is_same = other != NULL && address_is_equal(&other->address, &a->nodes[i].address);
    }
    return is_same;
}

static void take_scope(enum key_scope scope, void *into, const void *from,
                       const struct config_given *from_given)
{
    size_t count = 0;
    const struct key *keys = key_table(&count);
    struct config_given *given = key_given(scope, into);
    for (size_t i = 0; i < count; i++) {
        const struct key *key = &keys[i];
        if (key->scope != scope || !may_go_live(key, into, from)) {
            continue;
        }
        memcpy((char *)into + key->offset, (const char *)from + key->offset, bytes_of(key));
        const uint64_t bit = key_bit(key);
        given->file = (given->file & ~bit) | (from_given->file & bit);
        given->flag = (given->flag & ~bit) | (from_given->flag & bit);
        given->patch = (given->patch & ~bit) | (from_given->patch & bit);
    }
}

void diff_take_live(struct config *into, const struct config *from)
{
    take_scope(KEY_SCOPE_ROOT, into, from, &from->given);
    for (size_t i = 0; i < into->pool_count; i++) {
        for (size_t j = 0; j < from->pool_count; j++) {
            if (strcmp(into->pools[i].name, from->pools[j].name) == 0) {
                take_scope(KEY_SCOPE_POOL, &into->pools[i], &from->pools[j], &from->pools[j].given);
            }
        }
    }
}
