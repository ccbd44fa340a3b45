/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Edit distance in one row, for short words only: nobody misspells forty letters by accident. A
 * third of a word may be wrong, and two neighbours exchanged count as two.
 */
#include "everwarm/base/suggest.h"

#include <stdbool.h>
#include <string.h>

enum {
    WORD_BYTES_MAX = 40,
};

static size_t min_of(size_t a, size_t b)
{
    return a < b ? a : b;
}

static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t row[WORD_BYTES_MAX + 1];
    for (size_t j = 0; j <= b_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= a_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            const size_t above = row[j];
            const size_t replaced = diagonal + (a[i - 1] != b[j - 1]);
            row[j] = min_of(replaced, min_of(above, row[j - 1]) + 1);
            diagonal = above;
        }
    }
    return row[b_len];
}

struct suggest suggest_begin(const char *wanted)
{
    /* Worse than this is no suggestion. */
    return (struct suggest){.wanted = wanted, .distance = strlen(wanted) / 3 + 2};
}

void suggest_offer(struct suggest *s, const char *candidate)
{
    const size_t wanted_len = strlen(s->wanted);
    const size_t len = candidate != NULL ? strlen(candidate) : 0;
    if (len == 0 || len > WORD_BYTES_MAX || wanted_len > WORD_BYTES_MAX) {
        return;
    }
    /* An abbreviation is as good as one slip. */
    const bool is_prefix =
        wanted_len >= 2 && len >= wanted_len && memcmp(s->wanted, candidate, wanted_len) == 0;
    const size_t distance = is_prefix ? 1 : edit_distance(s->wanted, wanted_len, candidate, len);
    /* A word of which nothing is left is no suggestion either. */
    if (distance < s->distance && distance < len) {
        s->distance = distance;
        s->best = candidate;
    }
}
