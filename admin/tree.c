/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Walking a tree without recursion: a stack of open objects, as deep as our own figures are.
 * Anything that is no object, a list too, is a leaf.
 */
#include "tree.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/limits.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* nodes.NAME.data.fill.items_done is 5 deep. */
    DEPTH_MAX = 8,
    PATH_BYTES_MAX = 2 * NODE_NAME_BYTES_MAX + DEPTH_MAX * 32,
};

struct level {
    json_t *object;
    void *iterator;    /* NULL: at its end */
    const char *key;   /* of the member that we are in */
    size_t path_bytes; /* of the path up to that key */
};

struct walk {
    size_t depth; /* open objects */
    struct level levels[DEPTH_MAX];
    char path[PATH_BYTES_MAX];
};

static void open_object(struct walk *walk, json_t *object)
{
    INVARIANT(walk->depth < DEPTH_MAX);
    walk->levels[walk->depth++] =
        (struct level){.object = object, .iterator = json_object_iter(object)};
}

static void append_key(struct walk *walk, const char *key)
{
    struct level *level = &walk->levels[walk->depth - 1];
    const size_t before = walk->depth > 1 ? walk->levels[walk->depth - 2].path_bytes : 0;
    const int len = snprintf(walk->path + before, sizeof(walk->path) - before, "%s%s",
                             before > 0 ? "." : "", key);
    INVARIANT(len > 0 && (size_t)len < sizeof(walk->path) - before);
    level->key = key;
    level->path_bytes = before + (size_t)len;
}

/* The next leaf, with walk->path and the levels' keys about it; NULL: no more. */
static json_t *next_leaf(struct walk *walk)
{
    while (walk->depth > 0) {
        struct level *level = &walk->levels[walk->depth - 1];
        if (level->iterator == NULL) {
            walk->depth--;
            continue;
        }
        json_t *value = json_object_iter_value(level->iterator);
        append_key(walk, json_object_iter_key(level->iterator));
        level->iterator = json_object_iter_next(level->object, level->iterator);
        if (!json_is_object(value)) {
            return value;
        }
        open_object(walk, value);
    }
    return NULL;
}

bool tree_glob(const char *glob, const char *text, size_t len)
{
    const char *star = NULL; /* the last '*' seen; everything before it has matched */
    size_t star_at = 0;      /* where in TEXT what follows it was tried last */
    size_t at = 0;
    while (at < len) {
        if (*glob == '*') {
            star = glob++;
            star_at = at;
        } else if (*glob != '\0' && *glob == text[at]) {
            glob++;
            at++;
        } else if (star != NULL) {
            glob = star + 1;
            at = ++star_at;
        } else {
            return false;
        }
    }
    return glob[strspn(glob, "*")] == '\0';
}

static bool is_wanted(const struct walk *walk, const char *glob)
{
    for (size_t i = 0; i < walk->depth; i++) {
        if (tree_glob(glob, walk->path, walk->levels[i].path_bytes)) {
            return true;
        }
    }
    return false;
}

/* Put LEAF into INTO at the place that it has in the walked tree. */
static int put_leaf(json_t *into, const struct walk *walk, json_t *leaf)
{
    for (size_t i = 0; i + 1 < walk->depth; i++) {
        json_t *inner = json_object_get(into, walk->levels[i].key);
        if (inner == NULL) {
            inner = json_object();
            if (json_object_set_new(into, walk->levels[i].key, inner) < 0) {
                return -1;
            }
        }
        into = inner;
    }
    return json_object_set(into, walk->levels[walk->depth - 1].key, leaf);
}

json_t *tree_filter(json_t *tree, const char *glob)
{
    json_t *found = json_object();
    struct walk walk = {.depth = 0};
    open_object(&walk, tree);
    for (json_t *leaf = next_leaf(&walk); leaf != NULL; leaf = next_leaf(&walk)) {
        if (is_wanted(&walk, glob) && put_leaf(found, &walk, leaf) < 0) {
            json_decref(found);
            return NULL;
        }
    }
    return found;
}

static int print_leaf(FILE *out, const char *path, const json_t *leaf)
{
    if (json_is_string(leaf)) {
        return fprintf(out, "%s: %s\n", path, json_string_value(leaf));
    }
    char *text = json_dumps(leaf, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(9));
    const int printed = text == NULL ? -1 : fprintf(out, "%s: %s\n", path, text);
    free(text);
    return printed;
}

char *tree_text(json_t *tree, size_t *bytes)
{
    char *text = NULL;
    FILE *out = open_memstream(&text, bytes);
    if (out == NULL) {
        return NULL;
    }
    struct walk walk = {.depth = 0};
    open_object(&walk, tree);
    int printed = 0;
    for (json_t *leaf = next_leaf(&walk); leaf != NULL && printed >= 0; leaf = next_leaf(&walk)) {
        printed = print_leaf(out, walk.path, leaf);
    }
    if (fclose(out) != 0 || printed < 0) {
        free(text);
        return NULL;
    }
    return text;
}
