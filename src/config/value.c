/* SPDX-License-Identifier: BSD-2-Clause */
/* One table of units for both directions, so that what is printed can be read again. */
#include "everwarm/config/value.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

struct word {
    enum value_unit unit;
    const char *text;
    uint64_t factor;
};

/* Ascending within each unit. */
static const struct word WORDS[] = {
    {VALUE_UNIT_DURATION, "us", 1},
    {VALUE_UNIT_DURATION, "ms", 1000},
    {VALUE_UNIT_DURATION, "s", 1000000},
    {VALUE_UNIT_DURATION, "m", 60000000},
    {VALUE_UNIT_DURATION, "h", 3600000000},
    {VALUE_UNIT_SIZE, "b", 1},
    {VALUE_UNIT_SIZE, "kb", UINT64_C(1) << 10},
    {VALUE_UNIT_SIZE, "mb", UINT64_C(1) << 20},
    {VALUE_UNIT_SIZE, "gb", UINT64_C(1) << 30},
    {VALUE_UNIT_SIZE, "tb", UINT64_C(1) << 40},
    {VALUE_UNIT_NONE, "", 1},
};

static const size_t WORD_COUNT = sizeof(WORDS) / sizeof(WORDS[0]);

bool value_parse(const char *text, enum value_unit unit, uint64_t *out)
{
    uint64_t number = 0;
    const char *rest = text;
    for (; *rest >= '0' && *rest <= '9'; rest++) {
        if (number > (UINT64_MAX - 9) / 10) {
            return false;
        }
        number = number * 10 + (uint64_t)(*rest - '0');
    }
    if (rest == text) {
        return false;
    }
    if (*rest == '\0' && number == 0) {
        *out = 0;
        return true;
    }
    for (size_t i = 0; i < WORD_COUNT; i++) {
        const struct word *word = &WORDS[i];
        if (word->unit == unit && strcmp(word->text, rest) == 0) {
            if (number > UINT64_MAX / word->factor) {
                return false;
            }
            *out = number * word->factor;
            return true;
        }
    }
    return false;
}

void value_format(uint64_t value, enum value_unit unit, char out[VALUE_TEXT_BYTES_MAX])
{
    const struct word *best = NULL;
    for (size_t i = 0; value != 0 && i < WORD_COUNT; i++) {
        if (WORDS[i].unit == unit && value % WORDS[i].factor == 0) {
            best = &WORDS[i];
        }
    }
    (void)snprintf(out, VALUE_TEXT_BYTES_MAX, "%" PRIu64 "%s",
                   best != NULL ? value / best->factor : value, best != NULL ? best->text : "");
}
