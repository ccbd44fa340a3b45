/* SPDX-License-Identifier: BSD-2-Clause */
/* Percent-encoding, as paths and queries have it. */
#ifndef EVERWARM_ADMIN_URI_H
#define EVERWARM_ADMIN_URI_H

#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stddef.h>

enum uri_bytes {
    URI_GRAPHIC, /* no byte below 0x20, no 0x7f or above: no name of ours has them */
    URI_ANY,     /* all but zero: keys have them */
};

/*
 * Decode TEXT into OUT, with a final zero.
 *
 * Returns  false: a '%' without two hex digits after it, a byte that is not to be there, or more
 *          than CAPACITY - 1 bytes; OUT is undefined then.
 */
bool uri_decode(struct slice text, enum uri_bytes bytes, char *out, size_t capacity);

/* Write KEY so that it is graphic and can be decoded again, with a final zero; cut at CAPACITY. */
void uri_show(struct slice key, char *out, size_t capacity);

/* Encode TEXT into OUT, cut at CAPACITY, with a final zero. */
void uri_encode(const char *text, char *out, size_t capacity);

#endif
