/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a hostile client sends: streams of requests that are nearly right, made from a seed. A
 * stream is classic text and meta commands, or binary requests; its lengths, line ends, words and
 * keys are right, or wrong in one of the ways that once broke memcached or its proxies.
 */
#ifndef TESTS_HOSTILE_STREAM_H
#define TESTS_HOSTILE_STREAM_H

#include "everwarm/base/prng.h"
#include "everwarm/base/slice.h"

#include <stdbool.h>

struct stream_maker {
    struct prng prng;
    struct slice smuggled; /* key of the commands that stand in values */
    /* All lengths and line ends are right and no byte is changed afterwards, so that no command
     * that stands in a value may ever be run. */
    bool is_sound;
    char *ptr;
    size_t len;
    size_t capacity;
};

enum {
    /* Of one stream: a value above the item limit, and then some. */
    STREAM_BYTES_MAX = 64 * 1024,
};

/* A stream of one seed into MAKER's memory. */
void stream_make(struct stream_maker *maker, uint64_t seed);

#endif
