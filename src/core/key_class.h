/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Classes of keys: where a list of keys does not fit into memory, keys whose hash mod 2^k is a
 * given number are taken at a time. When the list overflows its class is halved, and the half that
 * leaves is a later pass; so the first dump also finds the number of passes, and none is wasted.
 *
 * Classes are walked as the leaves of a binary tree: class i of m has the halves i and i + m of 2m.
 * The walk goes down to the lower half when a class overflows, and from a finished class to its
 * sibling, or, when that was the upper half, up to the parent, which is then finished too.
 */
#ifndef EVERWARM_CORE_KEY_CLASS_H
#define EVERWARM_CORE_KEY_CLASS_H

#include <stdbool.h>
#include <stdint.h>

enum {
    /* The smallest list holds some 16 of the longest keys: no node has this many times that. */
    KEY_CLASSES_MAX = 1 << 24,
};

struct key_class {
    uint64_t count; /* a power of two */
    uint64_t id;    /* below count */
};

static inline struct key_class key_class_all(void)
{
    return (struct key_class){.count = 1, .id = 0};
}

static inline bool key_class_has(const struct key_class *c, uint64_t hash)
{
    return (hash & (c->count - 1)) == c->id;
}

/* Go down to the lower half; false when KEY_CLASSES_MAX classes are not enough. */
static inline bool key_class_halve(struct key_class *c)
{
    if (c->count >= KEY_CLASSES_MAX) {
        return false;
    }
    c->count *= 2;
    return true;
}

/* Go on to the class that comes next; false when all have been. */
static inline bool key_class_next(struct key_class *c)
{
    while (c->count > 1 && c->id >= c->count / 2) {
        c->count /= 2;
        c->id -= c->count;
    }
    if (c->count == 1) {
        return false;
    }
    c->id += c->count / 2;
    return true;
}

#endif
