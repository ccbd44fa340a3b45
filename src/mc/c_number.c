/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What strtol and strtoull do, on a slice and without a locale or errno. Nearly every number that
 * clients send is plain digits and is read by mc_read_u64; the rest of this file serves odd ones.
 */
#include "c_number.h"

#include "everwarm/mc/encode.h"

struct c_number {
    uint64_t magnitude;
    bool is_negative;
};

static bool is_white(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool read_odd(struct slice word, struct c_number *out)
{
    size_t at = 0;
    while (at < word.len && is_white(word.ptr[at])) {
        at++;
    }
    out->is_negative = at < word.len && word.ptr[at] == '-';
    if (at < word.len && (word.ptr[at] == '-' || word.ptr[at] == '+')) {
        at++;
    }
    size_t first = at;
    uint64_t value = 0;
    for (; at < word.len && word.ptr[at] >= '0' && word.ptr[at] <= '9'; at++) {
        uint64_t digit = (uint64_t)(word.ptr[at] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    if (at == first || (at < word.len && !is_white(word.ptr[at]))) {
        return false;
    }
    out->magnitude = value;
    return true;
}

bool c_number_read_i64(struct slice word, int64_t *out)
{
    uint64_t plain;
    if (mc_read_u64(word, &plain) && plain <= INT64_MAX) {
        *out = (int64_t)plain;
        return true;
    }
    struct c_number number;
    if (!read_odd(word, &number) ||
        number.magnitude > (uint64_t)INT64_MAX + (number.is_negative ? 1 : 0)) {
        return false;
    }
    *out = (int64_t)(number.is_negative ? 0 - number.magnitude : number.magnitude);
    return true;
}

bool c_number_read_u64(struct slice word, uint64_t *out)
{
    if (mc_read_u64(word, out)) {
        return true;
    }
    struct c_number number;
    if (!read_odd(word, &number)) {
        return false;
    }
    uint64_t value = number.is_negative ? 0 - number.magnitude : number.magnitude;
    if (value > INT64_MAX && memchr(word.ptr, '-', word.len) != NULL) {
        return false;
    }
    *out = value;
    return true;
}
