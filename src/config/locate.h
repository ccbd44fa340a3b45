/* SPDX-License-Identifier: BSD-2-Clause */
/* Comments out of JSON, and places in it. */
#ifndef EVERWARM_SRC_CONFIG_LOCATE_H
#define EVERWARM_SRC_CONFIG_LOCATE_H

#include <stdbool.h>
#include <stddef.h>

enum {
    /* pools, its index, nodes, its index, section, key. */
    LOCATE_STEPS_MAX = 6,
};

struct locate_step {
    const char *key; /* borrowed; NULL: the element INDEX of an array */
    size_t index;
};

/* The way from the top of the text to a value. */
struct locate_path {
    size_t count;
    struct locate_step steps[LOCATE_STEPS_MAX];
};

enum locate_part {
    LOCATE_KEY, /* where the key stands; elements of arrays have none: their value */
    LOCATE_VALUE,
};

struct locate_place {
    size_t depth;  /* how many steps of the path exist */
    size_t line;   /* from 1 */
    size_t column; /* from 1, in characters of UTF-8 */
};

/* PATH and one more step, a key; a NULL key leaves it as it is. */
struct locate_path locate_with_key(struct locate_path path, const char *key);

/* PATH and one more step, an element. */
struct locate_path locate_with_index(struct locate_path path, size_t index);

/* Write PATH as people do, "pools[0].health.interval", cut to SIZE bytes with the final zero. */
void locate_format(const struct locate_path *path, char *out, size_t size);

/* Overwrite comments, from // or # outside of a string to the end of the line, with spaces. */
void locate_blank_comments(char *text, size_t len);

/*
 * Find PATH, or as much of it as exists, in TEXT.
 *
 *   text  borrowed; jansson has accepted these bytes
 *   part  of the last step that exists
 *
 * Cost  O(len).
 */
struct locate_place locate_find(const char *text, size_t len, const struct locate_path *path,
                                enum locate_part part);

/*
 * Where the value at PATH stands in TEXT, as locate_find has both.
 *
 *   end  behind its last byte
 *
 * Returns  false: there is none.
 */
bool locate_value(const char *text, size_t len, const struct locate_path *path, size_t *begin,
                  size_t *end);

#endif
