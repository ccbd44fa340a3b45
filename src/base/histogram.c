/* SPDX-License-Identifier: BSD-2-Clause */
/* The cold half of the histogram: summing and reading. Recording is inline in the header. */
#include "everwarm/base/histogram.h"

void histogram_add(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum_us += from->sum_us;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        into->buckets[i] += from->buckets[i];
    }
}

uint64_t histogram_quantile_us(const struct histogram *h, uint32_t per_mille)
{
    uint64_t target = (h->count * per_mille + 999) / 1000;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen >= target && seen > 0) {
            return histogram_edge_us(i);
        }
    }
    return 0;
}
