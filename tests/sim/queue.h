/* SPDX-License-Identifier: BSD-2-Clause */
/* The one queue of all that will happen: earliest first, and of equals the one put first. */
#ifndef SIM_QUEUE_H
#define SIM_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue_event {
    uint64_t at_us;
    uint64_t order; /* set by queue_put */
    uint32_t type;  /* the owner's */
    uint32_t a;
    uint32_t b;
    uint64_t c;
};

struct queue {
    struct queue_event *heap;
    size_t count;
    size_t capacity;
    uint64_t order;
};

void queue_put(struct queue *queue, const struct queue_event *event);
/* EVENT was taken and is put off to a later time; of equals it keeps its place. */
void queue_put_off(struct queue *queue, const struct queue_event *event, uint64_t at_us);
/* false: nothing is left */
bool queue_take(struct queue *queue, struct queue_event *out);
void queue_free(struct queue *queue);

#endif
