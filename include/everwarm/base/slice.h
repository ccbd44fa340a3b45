/* SPDX-License-Identifier: BSD-2-Clause */
/* A slice: borrowed bytes. It never owns; it dies with what it points into. */
#ifndef EVERWARM_BASE_SLICE_H
#define EVERWARM_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
    const char *ptr;
    size_t len; /* bytes */
};

/* The slice of a string literal, without its final zero; also valid as a static initialiser. */
#define SLICE_INIT(literal)                                                                        \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }
#define SLICE(literal) ((struct slice)SLICE_INIT(literal))

static inline struct slice slice_of(const char *ptr, size_t len)
{
    return (struct slice){.ptr = ptr, .len = len};
}

static inline struct slice slice_of_string(const char *string)
{
    return slice_of(string, strlen(string));
}

/* What is left of S after its first COUNT bytes; COUNT is at most S.len. */
static inline struct slice slice_skip(struct slice s, size_t count)
{
    return slice_of(s.ptr + count, s.len - count);
}

static inline bool slice_is_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool slice_has_prefix(struct slice s, struct slice prefix)
{
    return s.len >= prefix.len && memcmp(s.ptr, prefix.ptr, prefix.len) == 0;
}

#endif
