/* SPDX-License-Identifier: BSD-2-Clause */
/* Growing bytes. Running out of memory ends the simulator: it proves nothing then. */
#include "sim/bytes.h"

#include "everwarm/base/invariant.h"
#include "everwarm/mc/encode.h"

#include <stdio.h>
#include <stdlib.h>

/* The bytes are at the beginning of their allocation again. */
static void bytes_rewind(struct bytes *bytes)
{
    if (bytes->taken > 0) {
        bytes->ptr -= bytes->taken;
        bytes->capacity += bytes->taken;
        memmove(bytes->ptr, bytes->ptr + bytes->taken, bytes->len);
        bytes->taken = 0;
    }
}

static void bytes_reserve(struct bytes *bytes, size_t more)
{
    if (bytes->len + more <= bytes->capacity) {
        return;
    }
    bytes_rewind(bytes);
    if (bytes->len + more <= bytes->capacity) {
        return;
    }
    size_t capacity = bytes->capacity == 0 ? 256 : bytes->capacity;
    while (capacity < bytes->len + more) {
        capacity *= 2;
    }
    char *ptr = realloc(bytes->ptr, capacity);
    REQUIRE(ptr != NULL);
    bytes->ptr = ptr;
    bytes->capacity = capacity;
}

void bytes_put(struct bytes *bytes, struct slice more)
{
    if (more.len == 0) {
        return;
    }
    bytes_reserve(bytes, more.len);
    memcpy(bytes->ptr + bytes->len, more.ptr, more.len);
    bytes->len += more.len;
}

void bytes_put_number(struct bytes *bytes, uint64_t number)
{
    char digits[20];
    struct mc_writer w = mc_writer_of(digits, sizeof(digits));
    mc_write_u64(&w, number);
    bytes_put(bytes, slice_of(digits, w.len));
}

void bytes_print(struct bytes *bytes, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    REQUIRE(len >= 0 && (size_t)len < sizeof(text));
    bytes_put(bytes, slice_of(text, (size_t)len));
}

void bytes_take(struct bytes *bytes, size_t count)
{
    REQUIRE(count <= bytes->len);
    if (count == bytes->len) {
        bytes_clear(bytes);
        return;
    }
    bytes->ptr += count;
    bytes->len -= count;
    bytes->capacity -= count;
    bytes->taken += count;
}

void bytes_clear(struct bytes *bytes)
{
    bytes->len = 0;
    bytes_rewind(bytes);
}

void bytes_free(struct bytes *bytes)
{
    bytes_clear(bytes);
    free(bytes->ptr);
    *bytes = (struct bytes){0};
}
