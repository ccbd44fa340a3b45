/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Log-linear histogram of durations: 32 buckets for each power of two, so a figure read from it is
 * off by at most 1/32. Recording is a few instructions; no allocation.
 */
#ifndef EVERWARM_BASE_HISTOGRAM_H
#define EVERWARM_BASE_HISTOGRAM_H

#include <stdint.h>

enum {
    HISTOGRAM_SUB = 32,
    /* Up to 2^27 us, about two minutes; longer ones are counted in the last bucket. */
    HISTOGRAM_BUCKETS = HISTOGRAM_SUB * 24,
};

struct histogram {
    uint64_t count;
    uint64_t sum_us;
    uint32_t buckets[HISTOGRAM_BUCKETS];
};

static inline uint32_t histogram_bucket(uint64_t us)
{
    if (us < HISTOGRAM_SUB) {
        return (uint32_t)us;
    }
    uint32_t octave = 63u - (uint32_t)__builtin_clzll(us) - 5u;
    uint32_t bucket = (octave + 1) * HISTOGRAM_SUB + (uint32_t)((us >> octave) - HISTOGRAM_SUB);
    return bucket < HISTOGRAM_BUCKETS ? bucket : HISTOGRAM_BUCKETS - 1;
}

static inline void histogram_record(struct histogram *h, uint64_t us)
{
    h->count++;
    h->sum_us += us;
    h->buckets[histogram_bucket(us)]++;
}

/* The lower edge of a bucket, in microseconds. */
static inline uint64_t histogram_edge_us(uint32_t bucket)
{
    if (bucket < HISTOGRAM_SUB) {
        return bucket;
    }
    uint32_t octave = bucket / HISTOGRAM_SUB - 1;
    return (uint64_t)(HISTOGRAM_SUB + bucket % HISTOGRAM_SUB) << octave;
}

/* Add FROM to INTO. */
void histogram_add(struct histogram *into, const struct histogram *from);

/* The duration below which PER_MILLE thousandths of what was recorded lie; 0 when empty. */
uint64_t histogram_quantile_us(const struct histogram *h, uint32_t per_mille);

#endif
