/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The state file: what operators said of nodes, for the day when the view is gone with all of them.
 * The view is always preferred; see words.c.
 */
#ifndef EVERWARM_ADMIN_STATE_H
#define EVERWARM_ADMIN_STATE_H

#include "words.h"

enum {
    /* WORDS_MAX words with the longest names and reasons, each byte of them escaped. */
    STATE_BYTES_MAX = 1 << 20,
};

/* Write COUNT words to PATH: whole or not at all. False: ERROR says why; the old file stays. */
bool state_write(const char *path, const struct word *words, size_t count, char *error,
                 size_t error_bytes);

/*
 * Read them back.
 *
 * Returns  the number of words in OUT. 0 with an empty ERROR: there is no file; 0 with an ERROR: it
 *          is damaged, or was not written by us, and nothing of it counts.
 */
size_t state_read(const char *path, struct word out[WORDS_MAX], char *error, size_t error_bytes);

#endif
