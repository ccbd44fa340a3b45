/* SPDX-License-Identifier: BSD-2-Clause */
/* A binary heap. The order of putting breaks ties, so that a run depends on its seed alone. */
#include "sim/queue.h"

#include "everwarm/base/invariant.h"

#include <stdlib.h>

static bool queue_is_before(const struct queue_event *a, const struct queue_event *b)
{
    return a->at_us != b->at_us ? a->at_us < b->at_us : a->order < b->order;
}

static void queue_insert(struct queue *queue, const struct queue_event *event)
{
    struct queue_event put = *event;
    if (queue->count == queue->capacity) {
        queue->capacity = queue->capacity == 0 ? 256 : 2 * queue->capacity;
        queue->heap = realloc(queue->heap, queue->capacity * sizeof(*queue->heap));
        REQUIRE(queue->heap != NULL);
    }
    size_t at = queue->count++;
    for (; at > 0 && queue_is_before(&put, &queue->heap[(at - 1) / 2]); at = (at - 1) / 2) {
        queue->heap[at] = queue->heap[(at - 1) / 2];
    }
    queue->heap[at] = put;
}

void queue_put(struct queue *queue, const struct queue_event *event)
{
    struct queue_event put = *event;
    put.order = queue->order++;
    queue_insert(queue, &put);
}

void queue_put_off(struct queue *queue, const struct queue_event *event, uint64_t at_us)
{
    struct queue_event put = *event;
    put.at_us = at_us;
    queue_insert(queue, &put);
}

bool queue_take(struct queue *queue, struct queue_event *out)
{
    if (queue->count == 0) {
        return false;
    }
    *out = queue->heap[0];
    struct queue_event last = queue->heap[--queue->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= queue->count) {
            break;
        }
        if (child + 1 < queue->count &&
            queue_is_before(&queue->heap[child + 1], &queue->heap[child])) {
            child++;
        }
        if (!queue_is_before(&queue->heap[child], &last)) {
            break;
        }
        queue->heap[at] = queue->heap[child];
        at = child;
    }
    queue->heap[at] = last;
    return true;
}

void queue_free(struct queue *queue)
{
    free(queue->heap);
    *queue = (struct queue){0};
}
