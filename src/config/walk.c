/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order is that of a file: the top's keys, then pool by pool its own and those of its nodes.
 * A pool's addresses that are the top level's too belong to the top level.
 */
#include "walk.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <string.h>

/* Pools with addresses of their own can't be written flat: there "listen" is the top level's. */
static bool is_flat(const struct config *config)
{
    return config->pool_count == 1 && config->pools[0].listen.count == config->listen.count;
}

struct walk walk_begin(const struct config *config)
{
    return (struct walk){.config = config, .is_flat = is_flat(config), .scope = KEY_SCOPE_ROOT};
}

/* The scope that comes after the one whose keys are through; false: none does. */
static bool enter_next_scope(struct walk *walk)
{
    const struct config *config = walk->config;
    walk->next_key = 0;
    switch (walk->scope) {
    case KEY_SCOPE_ROOT:
        walk->scope = KEY_SCOPE_POOL;
        walk->pool = 0;
        return config->pool_count > 0;
    case KEY_SCOPE_POOL:
        walk->scope = KEY_SCOPE_NODE;
        walk->node = 0;
        return true; /* a pool has a node */
    case KEY_SCOPE_NODE:
        walk->node++;
        if (walk->node < config->pools[walk->pool].node_count) {
            return true;
        }
        walk->scope = KEY_SCOPE_POOL;
        walk->pool++;
        return walk->pool < config->pool_count;
    case KEY_SCOPE_COUNT:
        break;
    }
    UNREACHABLE();
}

static const void *base_of(const struct walk *walk)
{
    switch (walk->scope) {
    case KEY_SCOPE_ROOT:
        return walk->config;
    case KEY_SCOPE_POOL:
        return &walk->config->pools[walk->pool];
    case KEY_SCOPE_NODE:
        return &walk->config->pools[walk->pool].nodes[walk->node];
    case KEY_SCOPE_COUNT:
        break;
    }
    UNREACHABLE();
}

static void name(struct walk *walk)
{
    char pool[16] = "";
    char node[16] = "";
    if (!walk->is_flat && walk->scope != KEY_SCOPE_ROOT) {
        (void)snprintf(pool, sizeof(pool), "pools[%u].", (unsigned)walk->pool);
    }
    if (walk->scope == KEY_SCOPE_NODE) {
        (void)snprintf(node, sizeof(node), "nodes[%u].", (unsigned)walk->node);
    }
    (void)snprintf(walk->path, sizeof(walk->path), "%s%s%s", pool, node, walk->key->path);
}

static bool is_shown(const struct walk *walk, const struct key *key)
{
    const bool is_hidden =
        walk->is_flat && walk->scope == KEY_SCOPE_POOL && key->type == KEY_TYPE_LISTENERS;
    return key->scope == walk->scope && key->type != KEY_TYPE_ARRAY && !is_hidden;
}

bool walk_next(struct walk *walk)
{
    size_t count = 0;
    const struct key *keys = key_table(&count);
    for (;;) {
        for (; walk->next_key < count; walk->next_key++) {
            if (is_shown(walk, &keys[walk->next_key])) {
                walk->key = &keys[walk->next_key++];
                walk->base = base_of(walk);
                name(walk);
                return true;
            }
        }
        if (!enter_next_scope(walk)) {
            return false;
        }
    }
}

/* --- values --- */

static json_t *address_json(const struct address *address)
{
    char text[ADDRESS_TEXT_BYTES_MAX];
    if (address->kind == ADDRESS_NONE) {
        return json_null();
    }
    address_format(address, text);
    return json_string(text);
}

static json_t *listeners_json(const struct walk *walk, const struct address_list *list)
{
    const size_t shared =
        walk->scope == KEY_SCOPE_POOL && walk->pool == 0 ? walk->config->listen.count : 0;
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++) {
        bool is_shared = false;
        for (size_t j = 0; j < shared; j++) {
            is_shared =
                is_shared || address_is_equal(&walk->config->listen.items[j], &list->items[i]);
        }
        if (!is_shared) {
            (void)json_array_append_new(array, address_json(&list->items[i]));
        }
    }
    return array;
}

static json_t *number_json(const struct key *key, const void *field)
{
    uint64_t value = 0;
    char text[VALUE_TEXT_BYTES_MAX];
    memcpy(&value, field, sizeof(value));
    value_format(value, key_unit(key), text);
    return json_string(text);
}

/* What is stored nowhere has the one value that this release takes. */
static json_t *fixed_json(const struct key *key)
{
    if (key->fallback == NULL) {
        return json_null();
    }
    return key->type == KEY_TYPE_FLAG ? json_boolean(strcmp(key->fallback, "true") == 0)
                                      : json_string(key->fallback);
}

json_t *walk_value(const struct walk *walk)
{
    const struct key *key = walk->key;
    if (key->offset == KEY_NOT_STORED) {
        return fixed_json(key);
    }
    const char *field = (const char *)walk->base + key->offset;
    uint32_t count = 0;
    switch (key->type) {
    case KEY_TYPE_DURATION:
    case KEY_TYPE_SIZE:
        return number_json(key, field);
    case KEY_TYPE_COUNT:
        memcpy(&count, field, sizeof(count));
        return json_integer(count);
    case KEY_TYPE_CHOICE:
        memcpy(&count, field, sizeof(count));
        INVARIANT(count < KEY_CHOICES_MAX && key->choices[count] != NULL);
        return json_string(key->choices[count]);
    case KEY_TYPE_TEXT:
        return field[0] == '\0' ? json_null() : json_string(field);
    case KEY_TYPE_FLAG:
        return json_boolean(field[0] != 0);
    case KEY_TYPE_ADDRESS:
        return address_json((const struct address *)(const void *)field);
    case KEY_TYPE_LISTENERS:
        return listeners_json(walk, (const struct address_list *)(const void *)field);
    case KEY_TYPE_ARRAY:
        break;
    }
    UNREACHABLE();
}
