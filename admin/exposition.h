/* SPDX-License-Identifier: BSD-2-Clause */
/* Prometheus's text format, line by line. Errors stay with the FILE. */
#ifndef EVERWARM_ADMIN_EXPOSITION_H
#define EVERWARM_ADMIN_EXPOSITION_H

#include "everwarm/base/histogram.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Begin a family: its HELP and TYPE. All its samples follow before the next family begins. */
void exposition_family(FILE *out, const char *name, const char *type, const char *help);

/* One sample. LABELS is what stands in the braces, without them; "": none. */
void exposition_count(FILE *out, const char *name, const char *labels, uint64_t value);
/* The same in seconds, exact to the microsecond. */
void exposition_seconds(FILE *out, const char *name, const char *labels, uint64_t us);

/* All samples of a histogram in seconds, its buckets from 32 us to 8.4 s, each twice the last. */
void exposition_histogram(FILE *out, const char *name, const char *labels,
                          const struct histogram *histogram);

/* Write NAME="VALUE", escaped and cut at CAPACITY, to OUT. Returns bytes written. */
size_t exposition_label(char *out, size_t capacity, const char *name, const char *value);

#endif
