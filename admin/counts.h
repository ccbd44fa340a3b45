/* SPDX-License-Identifier: BSD-2-Clause */
/* How many requests of each route ended how; any thread adds, any thread reads. */
#ifndef EVERWARM_ADMIN_COUNTS_H
#define EVERWARM_ADMIN_COUNTS_H

#include "route.h"

#include <stdatomic.h>

/* Classes of status codes: exact codes would be mostly series of zeros. */
enum { COUNTS_CLASSES = 3 };
extern const char *const COUNTS_CLASS_WORDS[COUNTS_CLASSES]; /* "2xx" */

struct counts {
    /* The last row: refused before a route was found. */
    atomic_ullong requests[ROUTE_COUNT + 1][COUNTS_CLASSES];
};

/* Count an answer; ROUTE may be NULL. */
void counts_add(struct counts *counts, const struct route *route, unsigned int status);

#endif
