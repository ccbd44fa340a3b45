/* SPDX-License-Identifier: BSD-2-Clause */
/* A growing run of bytes on the heap, for the simulator and its models. All zero: empty. */
#ifndef SIM_BYTES_H
#define SIM_BYTES_H

#include "everwarm/base/slice.h"

#include <stdarg.h>
#include <stdint.h>

struct bytes {
    char *ptr; /* NULL while nothing was ever put */
    size_t len;
    size_t capacity; /* from PTR on */
    size_t taken;    /* bytes of the allocation before PTR */
};

void bytes_put(struct bytes *bytes, struct slice more);
/* The decimal form of a number. */
void bytes_put_number(struct bytes *bytes, uint64_t number);
__attribute__((format(printf, 2, 3))) void bytes_print(struct bytes *bytes, const char *format,
                                                       ...);
/* Forget the first COUNT bytes. */
void bytes_take(struct bytes *bytes, size_t count);
void bytes_clear(struct bytes *bytes);
void bytes_free(struct bytes *bytes);

static inline struct slice bytes_slice(const struct bytes *bytes)
{
    return slice_of(bytes->ptr == NULL ? "" : bytes->ptr, bytes->len);
}

#endif
