/* SPDX-License-Identifier: BSD-2-Clause */
/* What people read: numbers and times in short words, and text that can't harm a terminal. */
#ifndef EVERWARM_SRC_CTL_TEXT_H
#define EVERWARM_SRC_CTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* One cell of a table, or one sentence. */
    TEXT_BYTES_MAX = 512,
};

/*
 * Copy TEXT, which came from outside, into OUT without what a terminal would obey: each control
 * character and each byte that is no UTF-8 becomes '?'. Cut at the end of a character if it is
 * longer than OUT_BYTES - 1.
 */
void text_clean(const char *text, char *out, size_t out_bytes);

/* Columns that TEXT, clean UTF-8, takes on a terminal. */
size_t text_width(const char *text);

/* "0.28ms", "1.2s": a latency. */
void text_latency(double seconds, char *out, size_t out_bytes);

/* "41s", "3m12s", "2h5m", "3d4h": without spaces, so that a column stays one word. */
void text_duration(uint64_t seconds, char *out, size_t out_bytes);

/* "512B", "1.2MiB". */
void text_bytes(uint64_t bytes, char *out, size_t out_bytes);

/* "[#######-------------]", for 0 .. 1000; WIDTH is the part inside. */
void text_bar(uint64_t per_mille, size_t width, char *out, size_t out_bytes);

/* "30s", "250ms", "5m", "1h", "90" (seconds); false: none of these, or more than a year. */
bool text_parse_duration(const char *text, uint64_t *out_ms);

/* The seconds since 1970 of "2026-01-01T00:00:00Z"; false: not such a time. */
bool text_parse_time(const char *text, int64_t *out_s);

#endif
