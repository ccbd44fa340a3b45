/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I1  A key's count is at most too high by its error, never too low by more than halving rounds.
 * I2  The sum of the counts is at most `samples`.
 */
#include "everwarm/core/hotkeys.h"

#include "everwarm/base/invariant.h"

#include <string.h>

static struct hot_key *find(struct hotkeys *hot, struct slice key, uint64_t hash)
{
    for (uint32_t i = 0; i < hot->count; i++) {
        struct hot_key *kept = &hot->keys[i];
        if (kept->hash == hash && kept->key_bytes == key.len &&
            memcmp(kept->key, key.ptr, key.len) == 0) {
            return kept;
        }
    }
    return NULL;
}

/* A place for a key that has none: a new one, or that of the one counted least, whose count it
 * takes over as its error. */
static struct hot_key *take_place(struct hotkeys *hot)
{
    if (hot->count < HOTKEYS_MAX) {
        struct hot_key *fresh = &hot->keys[hot->count++];
        fresh->count = 0;
        fresh->error = 0;
        return fresh;
    }
    struct hot_key *least = &hot->keys[0];
    for (uint32_t i = 1; i < HOTKEYS_MAX; i++) {
        least = hot->keys[i].count < least->count ? &hot->keys[i] : least;
    }
    least->error = least->count;
    return least;
}

static void halve(struct hotkeys *hot)
{
    uint32_t kept = 0;
    hot->samples /= 2;
    for (uint32_t i = 0; i < hot->count; i++) {
        hot->keys[i].count /= 2;
        hot->keys[i].error /= 2;
        if (hot->keys[i].count > 0) {
            hot->keys[kept++] = hot->keys[i];
        }
    }
    hot->count = kept;
}

void hotkeys_sample(struct hotkeys *hot, struct slice key, uint64_t hash, struct prng *prng)
{
    REQUIRE(key.len > 0 && key.len <= MC_KEY_BYTES_MAX);
    hot->left = 1 + (uint32_t)prng_next(prng) % (2 * HOTKEYS_INTERVAL - 1);
    struct hot_key *kept = find(hot, key, hash);
    if (kept == NULL) {
        kept = take_place(hot);
        kept->hash = hash;
        kept->key_bytes = (uint8_t)key.len;
        memcpy(kept->key, key.ptr, key.len);
    }
    kept->count++;
    hot->samples++;
    if (hot->samples >= HOTKEYS_SAMPLES_MAX) {
        halve(hot);
    }
}
