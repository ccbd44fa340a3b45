/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes whose end touches a page that can't be read: a parser that looks one byte past its input
 * dies there, with or without a sanitizer.
 */
#ifndef TESTS_UNIT_GUARDED_H
#define TESTS_UNIT_GUARDED_H

#include "everwarm/base/slice.h"

#include <check.h>
#include <sys/mman.h>
#include <unistd.h>

struct guarded {
    char *map;
    char *end; /* the first byte that can't be read */
    size_t map_bytes;
};

static inline struct guarded guarded_create(size_t bytes_max)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t usable = (bytes_max + page - 1) / page * page;
    char *map =
        mmap(NULL, usable + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne(map, MAP_FAILED);
    ck_assert_int_eq(mprotect(map + usable, page, PROT_NONE), 0);
    return (struct guarded){.map = map, .end = map + usable, .map_bytes = usable + page};
}

/* Copy S so that its last byte is the last readable one; good until the next call. */
static inline struct slice guarded_place(const struct guarded *g, struct slice s)
{
    ck_assert_uint_le(s.len, (size_t)(g->end - g->map));
    char *at = g->end - s.len;
    if (s.len > 0) {
        memcpy(at, s.ptr, s.len);
    }
    return slice_of(at, s.len);
}

static inline void guarded_destroy(struct guarded *g)
{
    ck_assert_int_eq(munmap(g->map, g->map_bytes), 0);
    g->map = NULL;
}

#endif
