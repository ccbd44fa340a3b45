/* SPDX-License-Identifier: BSD-2-Clause */
/* What every fuzz target shares: its entry point, and the way it says that a promise was broken. */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#include "everwarm/base/slice.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* libFuzzer calls it with each input; it returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* libFuzzer keeps the input that led here. */
#define BROKEN(what)                                                                               \
    do {                                                                                           \
        (void)fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, (what));          \
        abort();                                                                                   \
    } while (0)

/* A promise, checked with every input. */
#define PROMISE(condition)                                                                         \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            BROKEN(#condition);                                                                    \
        }                                                                                          \
    } while (0)

/* A copy in memory of just its size, so that the sanitizer sees a look past its end. */
static inline char *fuzz_copy(struct slice s)
{
    char *copy = malloc(s.len > 0 ? s.len : 1);
    PROMISE(copy != NULL);
    if (s.len > 0) {
        memcpy(copy, s.ptr, s.len);
    }
    return copy;
}

#endif
