/* SPDX-License-Identifier: BSD-2-Clause */
/* "Did you mean": the known word closest to a misspelt one. */
#ifndef EVERWARM_BASE_SUGGEST_H
#define EVERWARM_BASE_SUGGEST_H

#include <stddef.h>

struct suggest {
    const char *wanted; /* borrowed */
    const char *best;   /* borrowed from what was offered; NULL: nothing comes close */
    size_t distance;    /* edits between the two */
};

/* Begin to look for WANTED. */
struct suggest suggest_begin(const char *wanted);

/* Look at CANDIDATE, which must outlive the use of S; NULL is passed over. */
void suggest_offer(struct suggest *s, const char *candidate);

#endif
