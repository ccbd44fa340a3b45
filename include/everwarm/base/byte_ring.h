/* SPDX-License-Identifier: BSD-2-Clause */
/* A bounded queue of bytes over the caller's memory; its capacity is a power of two. */
#ifndef EVERWARM_BASE_BYTE_RING_H
#define EVERWARM_BASE_BYTE_RING_H

#include "everwarm/base/slice.h"

#include <stdint.h>

struct byte_ring {
    char *memory;
    uint32_t capacity; /* bytes, a power of two */
    uint32_t head;     /* bytes ever taken, wraps */
    uint32_t tail;     /* bytes ever put, wraps */
};

/* MEMORY stays the caller's; CAPACITY is a power of two below 2^31. */
void byte_ring_init(struct byte_ring *ring, void *memory, uint32_t capacity);

static inline uint32_t byte_ring_used(const struct byte_ring *ring)
{
    return ring->tail - ring->head;
}

static inline uint32_t byte_ring_room(const struct byte_ring *ring)
{
    return ring->capacity - byte_ring_used(ring);
}

/* Append all of BYTES; false and unchanged when there is no room. */
bool byte_ring_put(struct byte_ring *ring, struct slice bytes);

/* The bytes in order, in at most two pieces. Returns their number. */
size_t byte_ring_slices(const struct byte_ring *ring, struct slice out[2]);

/* Forget the first COUNT bytes; COUNT is at most what is used. */
void byte_ring_take(struct byte_ring *ring, uint32_t count);

/* Forget all bytes. */
void byte_ring_clear(struct byte_ring *ring);

#endif
