/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An asker takes a place, posts its ticket to every worker and waits. Each worker writes its part
 * straight into the asker's memory, under the mutex: a place that was given up (its asker did not
 * wait longer) is found empty by its ticket, so a late worker writes nowhere.
 */
#include "asks.h"

#include "clock.h"
#include "everwarm/base/invariant.h"
#include "pool.h"
#include "worker.h"

void asks_init(struct asks *asks)
{
    INVARIANT(pthread_mutex_init(&asks->mutex, NULL) == 0);
    asks->is_answered = (struct bell){0};
    asks->last_ticket = 0;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        asks->places[i].ticket = 0;
    }
}

void asks_fini(struct asks *asks)
{
    (void)pthread_mutex_destroy(&asks->mutex);
}

/* Under the mutex; NULL: none for this ticket (0: that is free). */
static struct ask *find(struct asks *asks, uint64_t ticket)
{
    for (size_t i = 0; i < ASKS_MAX; i++) {
        if (asks->places[i].ticket == ticket) {
            return &asks->places[i];
        }
    }
    return NULL;
}

/* Under the mutex, which is given up meanwhile. */
static void await(struct asks *asks, const struct ask *place)
{
    const uint64_t until_us = clock_mono_us() + (uint64_t)ASKS_TIMEOUT_MS * CLOCK_US_PER_MS;
    bool is_in_time = true;
    while (place->waiting > 0 && is_in_time) {
        const uint32_t seen = bell_look(&asks->is_answered);
        (void)pthread_mutex_unlock(&asks->mutex);
        is_in_time = bell_await(&asks->is_answered, seen, until_us);
        (void)pthread_mutex_lock(&asks->mutex);
    }
}

enum status asks_put(struct asks *asks, struct worker *const *workers, uint32_t count,
                     struct ask *ask)
{
    enum status status = STATUS_FULL;
    (void)pthread_mutex_lock(&asks->mutex);
    struct ask *place = find(asks, 0);
    if (place != NULL) {
        ask->ticket = ++asks->last_ticket;
        ask->waiting = count;
        ask->count = 0;
        ask->total = 0;
        *place = *ask;
        /* A worker that is woken must not find the mutex held by us. */
        (void)pthread_mutex_unlock(&asks->mutex);
        const struct worker_message message = {.type = WORKER_ASK, .ticket = ask->ticket};
        for (uint32_t i = 0; i < count; i++) {
            const enum status posted = worker_post(workers[i], &message);
            (void)posted; /* one whose mailbox is full answers nothing, and the time runs out */
        }
        (void)pthread_mutex_lock(&asks->mutex);
        await(asks, place);
        *ask = *place;
        place->ticket = 0;
        status = ask->waiting == 0 ? STATUS_OK : STATUS_FULL;
    }
    (void)pthread_mutex_unlock(&asks->mutex);
    return status;
}

enum asks_turn asks_begin(struct asks *asks, uint64_t ticket, struct ask **out)
{
    if (pthread_mutex_trylock(&asks->mutex) != 0) {
        return ASKS_BUSY;
    }
    *out = find(asks, ticket);
    if (*out == NULL) {
        (void)pthread_mutex_unlock(&asks->mutex);
        return ASKS_OVER;
    }
    return ASKS_MINE;
}

void asks_end(struct asks *asks, struct ask *ask)
{
    ask->waiting--;
    const bool is_last = ask->waiting == 0;
    (void)pthread_mutex_unlock(&asks->mutex);
    if (is_last) {
        bell_ring(&asks->is_answered);
    }
}
