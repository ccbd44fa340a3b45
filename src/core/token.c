/* SPDX-License-Identifier: BSD-2-Clause */
/* Tokens: a clock, two names and a counter in 63 bits. */
#include "token.h"

uint64_t token_next(struct token_clock *clock, uint64_t now_ms, uint32_t proxy, uint32_t worker)
{
    if (now_ms > clock->ms) {
        clock->ms = now_ms;
        clock->counter = 0;
    } else if (clock->counter < TOKEN_COUNTER_MAX) {
        clock->counter++;
    } else if (clock->ms < now_ms + TOKEN_AHEAD_MS_MAX) {
        clock->ms++;
        clock->counter = 0;
    } else {
        return 0;
    }
    return clock->ms << TOKEN_SHIFT_MS | (uint64_t)proxy << TOKEN_SHIFT_PROXY |
           (uint64_t)worker << TOKEN_SHIFT_WORKER | clock->counter;
}

void token_write(uint64_t token, char *to)
{
    for (uint32_t i = TOKEN_DIGITS; i > 0; i--) {
        to[i - 1] = (char)('0' + token % 10);
        token /= 10;
    }
}
