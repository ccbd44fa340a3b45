/* SPDX-License-Identifier: BSD-2-Clause */
/* Growing bytes. Running out of memory ends the simulator: it proves nothing then. */
#include "sim/bytes.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <stdlib.h>

static void bytes_reserve(struct bytes *bytes, size_t more)
{
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
    bytes->len -= count;
    if (count > 0 && bytes->len > 0) {
        memmove(bytes->ptr, bytes->ptr + count, bytes->len);
    }
}

void bytes_clear(struct bytes *bytes)
{
    bytes->len = 0;
}

void bytes_free(struct bytes *bytes)
{
    free(bytes->ptr);
    *bytes = (struct bytes){0};
}
