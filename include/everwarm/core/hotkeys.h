/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which keys are asked for most: one request in about HOTKEYS_INTERVAL is looked at, and what it
 * asked for is counted in a table of a fixed size (Metwally's space-saving: a key that is asked for
 * by more than 1/HOTKEYS_MAX of the requests is in it).
 */
#ifndef EVERWARM_CORE_HOTKEYS_H
#define EVERWARM_CORE_HOTKEYS_H

#include "everwarm/base/limits.h"
#include "everwarm/base/prng.h"
#include "everwarm/base/slice.h"

#include <stddef.h>
#include <stdint.h>

enum {
    /* What is above 1/64 of a worker's requests is found; nobody reads a longer list. */
    HOTKEYS_MAX = 64,
    /* Requests from one sample to the next, on the average: the table's lookup is a thousandth of
     * what these cost. A power of two. */
    HOTKEYS_INTERVAL = 64,
    /* All counts are halved when so many samples are in, so that the table tells of the last
     * moments: a quarter of a million requests. */
    HOTKEYS_SAMPLES_MAX = 4096,
};

struct hot_key {
    uint64_t hash;
    uint32_t count; /* samples; at most `error` of them may be other keys' */
    uint32_t error;
    uint8_t key_bytes;
    char key[MC_KEY_BYTES_MAX];
};

struct hotkeys {
    uint32_t left;    /* requests until the next sample */
    uint32_t samples; /* in the table, halved with it */
    uint32_t count;
    struct hot_key keys[HOTKEYS_MAX];
};

/* Count KEYS more requested keys; true: one of them, any, is to be told with hotkeys_sample. */
static inline bool hotkeys_is_due(struct hotkeys *hot, uint32_t keys)
{
    if (hot->left > keys) {
        hot->left -= keys;
        return false;
    }
    return true;
}

/* Count one sample of KEY and draw when the next one is due: not at fixed distances, or a client
 * that asks in a rhythm would show one of its keys alone. */
void hotkeys_sample(struct hotkeys *hot, struct slice key, uint64_t hash, struct prng *prng);

#endif
