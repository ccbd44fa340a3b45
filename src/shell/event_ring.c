/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One writer's cost is a copy under a mutex that readers hold for a copy of a few events at most:
 * however many watch, and however slowly, what happens is never held up by it. A reader that falls
 * behind by a whole ring sees a gap in the numbers.
 */
#include "event_ring.h"

#include "clock.h"
#include "everwarm/base/invariant.h"

void event_ring_init(struct event_ring *ring)
{
    INVARIANT(pthread_mutex_init(&ring->mutex, NULL) == 0);
    ring->is_changed = (struct bell){0};
    ring->is_closed = false;
    ring->next = 1;
}

void event_ring_fini(struct event_ring *ring)
{
    (void)pthread_mutex_destroy(&ring->mutex);
}

void event_ring_put(struct event_ring *ring, const struct port_event *event)
{
    (void)pthread_mutex_lock(&ring->mutex);
    struct port_event *kept = &ring->events[ring->next % PORT_EVENTS_MAX];
    *kept = *event;
    kept->sequence = ring->next;
    ring->next++;
    (void)pthread_mutex_unlock(&ring->mutex);
    bell_ring(&ring->is_changed);
}

uint64_t event_ring_next(struct event_ring *ring)
{
    (void)pthread_mutex_lock(&ring->mutex);
    const uint64_t next = ring->next;
    (void)pthread_mutex_unlock(&ring->mutex);
    return next;
}

size_t event_ring_read(struct event_ring *ring, uint64_t from, struct port_event *out,
                       size_t capacity)
{
    size_t count = 0;
    (void)pthread_mutex_lock(&ring->mutex);
    const uint64_t oldest = ring->next > PORT_EVENTS_MAX ? ring->next - PORT_EVENTS_MAX : 1;
    for (uint64_t n = from > oldest ? from : oldest; n < ring->next && count < capacity; n++) {
        out[count] = ring->events[n % PORT_EVENTS_MAX];
        count++;
    }
    (void)pthread_mutex_unlock(&ring->mutex);
    return count;
}

enum port_await event_ring_await(struct event_ring *ring, uint64_t number, uint32_t timeout_ms)
{
    const uint64_t until_us = clock_mono_us() + (uint64_t)timeout_ms * CLOCK_US_PER_MS;
    bool is_in_time = true;
    (void)pthread_mutex_lock(&ring->mutex);
    while (!ring->is_closed && number >= ring->next && is_in_time) {
        const uint32_t seen = bell_look(&ring->is_changed);
        (void)pthread_mutex_unlock(&ring->mutex);
        is_in_time = bell_await(&ring->is_changed, seen, until_us);
        (void)pthread_mutex_lock(&ring->mutex);
    }
    const enum port_await outcome = ring->is_closed       ? PORT_AWAIT_CLOSED
                                    : number < ring->next ? PORT_AWAIT_THERE
                                                          : PORT_AWAIT_TIMEOUT;
    (void)pthread_mutex_unlock(&ring->mutex);
    return outcome;
}

void event_ring_close(struct event_ring *ring)
{
    (void)pthread_mutex_lock(&ring->mutex);
    ring->is_closed = true;
    (void)pthread_mutex_unlock(&ring->mutex);
    bell_ring(&ring->is_changed);
}
