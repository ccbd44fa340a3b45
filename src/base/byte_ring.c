/* SPDX-License-Identifier: BSD-2-Clause */
/* The counters run freely and wrap; their difference is what is used, their low bits the place. */
#include "everwarm/base/byte_ring.h"

#include "everwarm/base/invariant.h"

void byte_ring_init(struct byte_ring *ring, void *memory, uint32_t capacity)
{
    REQUIRE(capacity > 0 && (capacity & (capacity - 1)) == 0);
    *ring = (struct byte_ring){.memory = memory, .capacity = capacity};
}

bool byte_ring_put(struct byte_ring *ring, struct slice bytes)
{
    if (bytes.len > byte_ring_room(ring)) {
        return false;
    }
    uint32_t at = ring->tail & (ring->capacity - 1);
    size_t first = ring->capacity - at;
    first = first < bytes.len ? first : bytes.len;
    if (bytes.len > 0) {
        memcpy(ring->memory + at, bytes.ptr, first);
        memcpy(ring->memory, bytes.ptr + first, bytes.len - first);
    }
    ring->tail += (uint32_t)bytes.len;
    return true;
}

size_t byte_ring_slices(const struct byte_ring *ring, struct slice out[2])
{
    uint32_t used = byte_ring_used(ring);
    if (used == 0) {
        return 0;
    }
    uint32_t at = ring->head & (ring->capacity - 1);
    uint32_t first = ring->capacity - at;
    first = first < used ? first : used;
    out[0] = slice_of(ring->memory + at, first);
    out[1] = slice_of(ring->memory, used - first);
    return used > first ? 2 : 1;
}

void byte_ring_take(struct byte_ring *ring, uint32_t count)
{
    REQUIRE(count <= byte_ring_used(ring));
    ring->head += count;
}

void byte_ring_clear(struct byte_ring *ring)
{
    ring->head = ring->tail;
}
