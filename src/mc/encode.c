/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Numbers and words of the protocols. libc's readers take white space, signs, other bases and a
 * locale, and its writers cost more than the request they serve: none of that is wanted here.
 */
#include "everwarm/mc/encode.h"

enum {
    DECIMAL_BYTES_MAX = 20, /* of 2^64 - 1 */
    HEX_BYTES = 16,
};

void mc_write_u64(struct mc_writer *w, uint64_t value)
{
    char digits[DECIMAL_BYTES_MAX];
    size_t first = sizeof digits;
    do {
        first--;
        digits[first] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    mc_write(w, slice_of(digits + first, sizeof digits - first));
}

void mc_write_i64(struct mc_writer *w, int64_t value)
{
    if (value >= 0) {
        mc_write_u64(w, (uint64_t)value);
        return;
    }
    mc_write(w, SLICE("-"));
    /* The negation is made unsigned: INT64_MIN has none. */
    mc_write_u64(w, 0 - (uint64_t)value);
}

void mc_write_hex64(struct mc_writer *w, uint64_t value)
{
    static const char hex[16] = {'0', '1', '2', '3', '4', '5', '6', '7',
                                 '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'};
    char digits[HEX_BYTES];
    for (uint32_t i = 0; i < HEX_BYTES; i++) {
        digits[i] = hex[(value >> (60 - 4 * i)) & 15];
    }
    mc_write(w, slice_of(digits, sizeof digits));
}

bool mc_read_u64(struct slice s, uint64_t *out)
{
    if (s.len == 0 || s.len > DECIMAL_BYTES_MAX) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint32_t digit = (uint32_t)(unsigned char)s.ptr[i] - '0';
        if (digit > 9) {
            return false;
        }
        /* Only the twentieth digit can overflow. */
        if (i == DECIMAL_BYTES_MAX - 1 && value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool mc_read_i64(struct slice s, int64_t *out)
{
    bool is_negative = s.len > 0 && s.ptr[0] == '-';
    uint64_t magnitude;
    if (!mc_read_u64(is_negative ? slice_skip(s, 1) : s, &magnitude)) {
        return false;
    }
    if (magnitude > (uint64_t)INT64_MAX + (is_negative ? 1 : 0)) {
        return false;
    }
    *out = (int64_t)(is_negative ? 0 - magnitude : magnitude);
    return true;
}

bool mc_read_hex64(struct slice s, uint64_t *out)
{
    if (s.len != HEX_BYTES) {
        return false;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < HEX_BYTES; i++) {
        char c = s.ptr[i];
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if (c >= 'a' && c <= 'f') {
            digit = (uint32_t)(c - 'a') + 10;
        } else if (c >= 'A' && c <= 'F') {
            digit = (uint32_t)(c - 'A') + 10;
        } else {
            return false;
        }
        value = value << 4 | digit;
    }
    *out = value;
    return true;
}

struct slice mc_next_word(struct slice *line)
{
    if (line->len == 0) {
        return SLICE("");
    }
    size_t start = 0;
    while (start < line->len && line->ptr[start] == ' ') {
        start++;
    }
    const char *space = memchr(line->ptr + start, ' ', line->len - start);
    size_t end = space != NULL ? (size_t)(space - line->ptr) : line->len;
    struct slice word = slice_of(line->ptr + start, end - start);
    *line = slice_skip(*line, end);
    return word;
}
