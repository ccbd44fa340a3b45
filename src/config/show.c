/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is shown can be read again: a patch is merged into what show_config gives, and the result
 * goes the way of a file, so that it is checked by the same code.
 */
#include "everwarm/config/show.h"

#include "everwarm/base/invariant.h"
#include "source.h"
#include "walk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The object that the key found stands in, made if it is not there yet. */
static json_t *place_of(json_t *document, const struct walk *walk)
{
    json_t *pool = document;
    if (!walk->is_flat && walk->scope != KEY_SCOPE_ROOT) {
        pool = json_array_get(json_object_get(document, "pools"), walk->pool);
    }
    if (walk->scope == KEY_SCOPE_NODE) {
        pool = json_array_get(json_object_get(pool, "nodes"), walk->node);
    }
    const char *dot = strchr(walk->key->path, '.');
    if (dot == NULL) {
        return pool;
    }
    char section[32];
    (void)snprintf(section, sizeof(section), "%.*s", (int)(dot - walk->key->path), walk->key->path);
    json_t *found = json_object_get(pool, section);
    if (found == NULL) {
        found = json_object();
        (void)json_object_set_new(pool, section, found);
    }
    return found;
}

static json_t *nodes_frame(const struct config_pool *pool)
{
    json_t *nodes = json_array();
    for (size_t i = 0; i < pool->node_count; i++) {
        (void)json_array_append_new(nodes, json_object());
    }
    return nodes;
}

/* The arrays, with empty objects in them. */
static json_t *frame(const struct walk *walk)
{
    const struct config *config = walk->config;
    if (walk->is_flat) {
        return json_pack("{s:o}", "nodes", nodes_frame(&config->pools[0]));
    }
    json_t *pools = json_array();
    for (size_t i = 0; i < config->pool_count; i++) {
        (void)json_array_append_new(pools,
                                    json_pack("{s:o}", "nodes", nodes_frame(&config->pools[i])));
    }
    return json_pack("{s:o}", "pools", pools);
}

json_t *show_config(const struct config *config)
{
    struct walk walk = walk_begin(config);
    json_t *document = frame(&walk);
    while (walk_next(&walk)) {
        const char *dot = strchr(walk.key->path, '.');
        (void)json_object_set_new(place_of(document, &walk), dot == NULL ? walk.key->path : dot + 1,
                                  walk_value(&walk));
    }
    return document;
}

static const struct config_given *given_of(const struct walk *walk)
{
    switch (walk->scope) {
    case KEY_SCOPE_ROOT:
        return &((const struct config *)walk->base)->given;
    case KEY_SCOPE_POOL:
        return &((const struct config_pool *)walk->base)->given;
    case KEY_SCOPE_NODE:
        return &((const struct config_node *)walk->base)->given;
    case KEY_SCOPE_COUNT:
        break;
    }
    UNREACHABLE();
}

static const char *source_word(const struct walk *walk)
{
    const struct config_given *given = given_of(walk);
    const uint64_t bit = key_bit(walk->key);
    if ((given->patch & bit) != 0) {
        return "patch";
    }
    if ((given->flag & bit) != 0) {
        return "flag";
    }
    return (given->file & bit) != 0 ? "file" : "default";
}

/* Names and addresses of nodes are said to the pool when they change. */
static bool is_live(const struct key *key)
{
    return key->is_live || (key->scope == KEY_SCOPE_NODE &&
                            (strcmp(key->path, "name") == 0 || strcmp(key->path, "address") == 0));
}

json_t *show_sources(const struct config *config)
{
    struct walk walk = walk_begin(config);
    json_t *sources = json_object();
    while (walk_next(&walk)) {
        (void)json_object_set_new(
            sources, walk.path,
            json_pack("{s:s, s:b}", "source", source_word(&walk), "live", is_live(walk.key)));
    }
    return sources;
}

/* --- patches --- */

/* A member of the patch into INTO: null takes it away, which means its default. */
static void merge_member(json_t *into, const char *name, json_t *value)
{
    if (json_is_null(value)) {
        (void)json_object_del(into, name);
    } else {
        (void)json_object_set(into, name, value);
    }
}

/* Objects are merged, and those in them; deeper ones there are none. */
static void merge(json_t *document, json_t *patch)
{
    const char *name;
    json_t *value;
    json_object_foreach(patch, name, value)
    {
        json_t *section = json_object_get(document, name);
        if (!json_is_object(section) || !json_is_object(value)) {
            merge_member(document, name, value);
            continue;
        }
        const char *inner_name;
        json_t *inner;
        json_object_foreach(value, inner_name, inner)
        {
            merge_member(section, inner_name, inner);
        }
    }
}

/* Where a value comes from: where it came from before, or from the patch that changed it. */
static void mark_sources(struct config *fresh, const struct config *before)
{
    struct walk now = walk_begin(fresh);
    struct walk then = walk_begin(before);
    while (walk_next(&now) && walk_next(&then) && strcmp(now.path, then.path) == 0) {
        json_t *value = walk_value(&now);
        json_t *old = walk_value(&then);
        const uint64_t bit = key_bit(now.key);
        /* FRESH is ours to change; a walk only looks. */
        struct config_given *given =
            key_given(now.scope, (char *)fresh + ((const char *)now.base - (const char *)fresh));
        const struct config_given *was = given_of(&then);
        const bool is_changed = !json_equal(value, old);
        given->file = (given->file & ~bit) | (was->file & bit);
        given->flag |= was->flag & bit;
        given->patch |= is_changed ? bit : was->patch & bit;
        json_decref(value);
        json_decref(old);
    }
}

enum status show_patch(const struct config *config, json_t *patch, struct config **out,
                       struct config_error *error)
{
    *out = NULL;
    json_t *document = show_config(config);
    if (document != NULL) {
        merge(document, patch);
    }
    char *text = document == NULL ? NULL : json_dumps(document, JSON_COMPACT);
    json_decref(document);
    if (text == NULL) {
        source_set_error(error, "", "out of memory");
        return STATUS_NO_MEMORY;
    }
    const enum status status = config_load_text("patch", text, strlen(text), out, error);
    free(text);
    if (status == STATUS_OK) {
        mark_sources(*out, config);
    }
    return status;
}
