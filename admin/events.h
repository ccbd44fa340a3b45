/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/events: what happens, as it happens. */
#ifndef EVERWARM_ADMIN_EVENTS_H
#define EVERWARM_ADMIN_EVENTS_H

#include "route.h"

enum {
    /* Pages and tools that watch at a time. Each holds a connection and its thread, of which there
     * are many more, so that the rest of the API stays there for the others. */
    EVENTS_WATCHERS_MAX = 16,
};

void events_watch(const struct request *request, struct reply *reply);

#endif
