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
    pthread_condattr_t monotonic;
    INVARIANT(pthread_condattr_init(&monotonic) == 0);
    INVARIANT(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    INVARIANT(pthread_cond_init(&asks->is_answered, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    INVARIANT(pthread_mutex_init(&asks->mutex, NULL) == 0);
    asks->last_ticket = 0;
    for (size_t i = 0; i < ASKS_MAX; i++) {
        asks->places[i].ticket = 0;
    }
}

void asks_fini(struct asks *asks)
{
    (void)pthread_mutex_destroy(&asks->mutex);
    (void)pthread_cond_destroy(&asks->is_answered);
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
    const struct timespec until =
        clock_timespec(clock_mono_us() + (uint64_t)ASKS_TIMEOUT_MS * CLOCK_US_PER_MS);
    int waited = 0;
    while (place->waiting > 0 && waited == 0) {
        waited = pthread_cond_timedwait(&asks->is_answered, &asks->mutex, &until);
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
        const struct worker_message message = {.type = WORKER_ASK, .ticket = ask->ticket};
        for (uint32_t i = 0; i < count; i++) {
            const enum status posted = worker_post(workers[i], &message);
            (void)posted; /* one whose mailbox is full answers nothing, and the time runs out */
        }
        await(asks, place);
        *ask = *place;
        place->ticket = 0;
        status = ask->waiting == 0 ? STATUS_OK : STATUS_FULL;
    }
    (void)pthread_mutex_unlock(&asks->mutex);
    return status;
}

struct ask *asks_begin(struct asks *asks, uint64_t ticket)
{
    (void)pthread_mutex_lock(&asks->mutex);
    struct ask *ask = find(asks, ticket);
    if (ask == NULL) {
        (void)pthread_mutex_unlock(&asks->mutex);
    }
    return ask;
}

void asks_end(struct asks *asks, struct ask *ask)
{
    ask->waiting--;
    if (ask->waiting == 0) {
        (void)pthread_cond_broadcast(&asks->is_answered);
    }
    (void)pthread_mutex_unlock(&asks->mutex);
}
