/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A condition variable whose ringer never waits. pthread_cond_broadcast may: for those who were
 * woken the time before, if they have not come to run yet, and the admin's threads run last (see
 * NICENESS in admin/admin.c). What is waited for lies under the waiters' mutex, as with that.
 *
 *   under the mutex, while it is not so:  seen = bell_look; unlock; bell_await(seen); lock
 *   under the mutex, or after it:         bell_ring
 */
#ifndef EVERWARM_SRC_SHELL_BELL_H
#define EVERWARM_SRC_SHELL_BELL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct bell {
    _Atomic uint32_t rings; /* wraps; the futex that is slept on */
};

static inline uint32_t bell_look(const struct bell *bell)
{
    return atomic_load(&bell->rings);
}

/* Wake all who wait. Thread: any. */
void bell_ring(struct bell *bell);

/*
 * Sleep unless it was rung since SEEN, and until it is; sometimes for less.
 *
 *   until_us  monotonic
 *
 * Returns  false: the time is over.
 */
bool bell_await(struct bell *bell, uint32_t seen, uint64_t until_us);

#endif
