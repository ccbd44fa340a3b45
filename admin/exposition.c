/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Prometheus's text format. The histogram's buckets are far finer than what is shown; the bounds
 * shown are powers of two, which are edges of its buckets, so the counts are exact.
 */
#include "exposition.h"

#include <inttypes.h>
#include <stdbool.h>

enum {
    BOUND_US_MIN = 32,
    BOUND_US_MAX = 1 << 23,
};

void exposition_family(FILE *out, const char *name, const char *type, const char *help)
{
    (void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* "name{labels} ", or "name " without. */
static void put_name(FILE *out, const char *name, const char *labels)
{
    const bool has_labels = labels[0] != '\0';
    (void)fprintf(out, "%s%s%s%s ", name, has_labels ? "{" : "", labels, has_labels ? "}" : "");
}

static void put_seconds(FILE *out, uint64_t us)
{
    (void)fprintf(out, "%" PRIu64 ".%06" PRIu64, us / 1000000, us % 1000000);
}

void exposition_count(FILE *out, const char *name, const char *labels, uint64_t value)
{
    put_name(out, name, labels);
    (void)fprintf(out, "%" PRIu64 "\n", value);
}

void exposition_seconds(FILE *out, const char *name, const char *labels, uint64_t us)
{
    put_name(out, name, labels);
    put_seconds(out, us);
    (void)fputc('\n', out);
}

/* The part of a bucket line before its bound's value. */
static void put_bucket(FILE *out, const char *name, const char *labels)
{
    (void)fprintf(out, "%s_bucket{%s%sle=\"", name, labels, labels[0] == '\0' ? "" : ",");
}

void exposition_histogram(FILE *out, const char *name, const char *labels,
                          const struct histogram *histogram)
{
    uint64_t count = 0;
    uint32_t bucket = 0;
    for (uint64_t bound_us = BOUND_US_MIN; bound_us <= BOUND_US_MAX; bound_us *= 2) {
        const uint32_t end = histogram_bucket(bound_us);
        for (; bucket < end; bucket++) {
            count += histogram->buckets[bucket];
        }
        put_bucket(out, name, labels);
        put_seconds(out, bound_us);
        (void)fprintf(out, "\"} %" PRIu64 "\n", count);
    }
    put_bucket(out, name, labels);
    (void)fprintf(out, "+Inf\"} %" PRIu64 "\n%s_sum", histogram->count, name);
    put_name(out, "", labels);
    put_seconds(out, histogram->sum_us);
    (void)fprintf(out, "\n%s_count", name);
    put_name(out, "", labels);
    (void)fprintf(out, "%" PRIu64 "\n", histogram->count);
}

size_t exposition_label(char *out, size_t capacity, const char *name, const char *value)
{
    size_t used = (size_t)snprintf(out, capacity, "%s=\"", name);
    for (const char *c = value; *c != '\0' && used + 4 < capacity; c++) {
        if (*c == '"' || *c == '\\' || *c == '\n') {
            out[used++] = '\\';
        }
        out[used++] = (char)(*c == '\n' ? 'n' : *c);
    }
    out[used++] = '"';
    out[used] = '\0';
    return used;
}
