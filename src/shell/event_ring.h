/* SPDX-License-Identifier: BSD-2-Clause */
/* The events of late, numbered, for any number of readers that each keep their own place. */
#ifndef EVERWARM_SRC_SHELL_EVENT_RING_H
#define EVERWARM_SRC_SHELL_EVENT_RING_H

#include "everwarm/shell/control_port.h"

#include "bell.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_ring {
    pthread_mutex_t mutex;
    struct bell is_changed;
    bool is_closed;
    uint64_t next;                             /* sequence number */
    struct port_event events[PORT_EVENTS_MAX]; /* number n lies at n % PORT_EVENTS_MAX */
};

void event_ring_init(struct event_ring *ring);
void event_ring_fini(struct event_ring *ring);

/* Number EVENT and keep it in place of the oldest. Never waits for a reader. Thread: any. */
void event_ring_put(struct event_ring *ring, const struct port_event *event);
/* The next event's number. */
uint64_t event_ring_next(struct event_ring *ring);
/* As control_port_events, control_port_await_event and control_port_close_events. */
size_t event_ring_read(struct event_ring *ring, uint64_t from, struct port_event *out,
                       size_t capacity);
enum port_await event_ring_await(struct event_ring *ring, uint64_t number, uint32_t timeout_ms);
void event_ring_close(struct event_ring *ring);

#endif
