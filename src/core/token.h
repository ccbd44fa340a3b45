/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tokens: the CAS that a writer gives to all copies of what it writes (replication.md section 3).
 *
 *   41 bits: milliseconds since 2020 | 8: proxy id | 6: worker | 8: counter
 *
 * Two tokens are only ever compared for being the same, so what matters is that none is given out
 * twice: the clock of a process runs on its monotonic time, begins above all that was promised
 * under its id before, and is never set back (control_peers.c).
 */
#ifndef EVERWARM_CORE_TOKEN_H
#define EVERWARM_CORE_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

enum {
    TOKEN_SHIFT_MS = 22,
    TOKEN_BITS_MIN = 52, /* 2020 and 13 days; and no node makes so many changes */
    TOKEN_SHIFT_PROXY = 14,
    TOKEN_SHIFT_WORKER = 8,
    TOKEN_COUNTER_MAX = 255,
    /* A burst of more writes in a millisecond than the counter tells apart borrows from those to
     * come; so many of them, and no more, or a published ceiling could be passed. */
    TOKEN_AHEAD_MS_MAX = 200,
    /* In a command: zeros in front, so that a token can be put in place of another. */
    TOKEN_DIGITS = 19,
};

/* 2020-01-01, in milliseconds since 1970. */
#define TOKEN_EPOCH_MS UINT64_C(1577836800000)

/* Of one worker. */
struct token_clock {
    uint64_t ms;
    uint32_t counter;
};

/*
 * Give out the next token.
 *
 *   now_ms   since 2020, never less than at the last call
 *   proxy    0..PROXIES_MAX-1
 *   worker   0..WORKERS_MAX-1
 *
 * Returns  the token; 0: too many at once, ask again a millisecond later.
 */
uint64_t token_next(struct token_clock *clock, uint64_t now_ms, uint32_t proxy, uint32_t worker);

/*
 * Can CAS be a token? What memcached counts up to by itself stays below. Such a number must not be
 * given to the copy on another node: after a flush memcached takes items whose CAS is below its own
 * count of that time for flushed, and the copy would be gone as soon as it is stored.
 */
static inline bool token_is(uint64_t cas)
{
    return cas >> TOKEN_BITS_MIN != 0;
}

/* Write TOKEN as TOKEN_DIGITS decimal digits. */
void token_write(uint64_t token, char *to);

#endif
