/* SPDX-License-Identifier: BSD-2-Clause */
/* Relaxed order is enough: each number stands for itself. */
#include "counts.h"

const char *const COUNTS_CLASS_WORDS[COUNTS_CLASSES] = {"2xx", "4xx", "5xx"};

void counts_add(struct counts *counts, const struct route *route, unsigned int status)
{
    const size_t row = route == NULL ? ROUTE_COUNT : route_index(route);
    const size_t class = status < 400 ? 0 : status < 500 ? 1 : 2;
    atomic_fetch_add_explicit(&counts->requests[row][class], 1, memory_order_relaxed);
}
