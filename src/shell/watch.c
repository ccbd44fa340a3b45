/* SPDX-License-Identifier: BSD-2-Clause */
/* One event for both directions: half the memory of two, and a change of interest is rare. */
#include "watch.h"

#include "everwarm/base/invariant.h"

#include <stddef.h>

void watch_set(struct watch *watch, const struct watch_target *target, short wanted)
{
    if (watch->armed == wanted) {
        return;
    }
    watch_clear(watch);
    if (wanted == 0) {
        return;
    }
    int assigned = event_assign(&watch->event, target->base, target->fd,
                                (short)(wanted | EV_PERSIST), target->callback, target->arg);
    INVARIANT(assigned == 0);
    /* libevent allocates a slot for the descriptor here, at most once for each number. Without it
     * the socket would hang for ever; there is no sensible way on. */
    INVARIANT(event_add(&watch->event, NULL) == 0);
    watch->armed = wanted;
}

void watch_clear(struct watch *watch)
{
    if (watch->armed != 0) {
        (void)event_del(&watch->event);
        watch->armed = 0;
    }
}
