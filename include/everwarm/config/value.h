/* SPDX-License-Identifier: BSD-2-Clause */
/* Durations ("250ms") and sizes ("64mb") as text. */
#ifndef EVERWARM_CONFIG_VALUE_H
#define EVERWARM_CONFIG_VALUE_H

#include <stdbool.h>
#include <stdint.h>

enum value_unit {
    VALUE_UNIT_DURATION, /* us ms s m h, in microseconds */
    VALUE_UNIT_SIZE,     /* b kb mb gb tb, in bytes */
    VALUE_UNIT_NONE,     /* a bare number */
};

enum {
    VALUE_TEXT_BYTES_MAX = 32,
};

/* Read TEXT, a whole number and one of UNIT's words ("0" needs none); false when it is not that or
 * above UINT64_MAX, and OUT is then unchanged. */
bool value_parse(const char *text, enum value_unit unit, uint64_t *out);

/* Write VALUE in the largest of UNIT's words that gives a whole number. */
void value_format(uint64_t value, enum value_unit unit, char out[VALUE_TEXT_BYTES_MAX]);

#endif
