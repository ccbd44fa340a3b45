/* SPDX-License-Identifier: BSD-2-Clause */
/* A small seeded generator (splitmix64) for jitter; never for secrets. Same seed, same numbers. */
#ifndef EVERWARM_BASE_PRNG_H
#define EVERWARM_BASE_PRNG_H

#include <stdint.h>

struct prng {
    uint64_t state;
};

static inline uint64_t prng_mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static inline uint64_t prng_next(struct prng *prng)
{
    prng->state += UINT64_C(0x9e3779b97f4a7c15);
    return prng_mix(prng->state);
}

/* A number in 0 .. bound-1; bound is not 0. */
static inline uint64_t prng_below(struct prng *prng, uint64_t bound)
{
    return prng_next(prng) % bound;
}

/* VALUE changed by up to PERCENT per cent up or down. */
static inline uint64_t prng_jitter(struct prng *prng, uint64_t value, uint32_t percent)
{
    uint64_t spread = value * percent / 100;
    return value - spread + prng_below(prng, 2 * spread + 1);
}

#endif
