/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interest in one socket: a libevent event embedded in its owner, changed only when what is wanted
 * changes, so that an epoll_ctl is made for a reason and nothing is allocated.
 */
#ifndef EVERWARM_SHELL_WATCH_H
#define EVERWARM_SHELL_WATCH_H

#include <event2/event.h>
#include <event2/event_struct.h>

struct watch {
    struct event event;
    short armed; /* EV_READ and EV_WRITE as they are waited for now; 0: neither */
};

struct watch_target {
    struct event_base *base;
    int fd;
    event_callback_fn callback;
    void *arg;
};

/* Wait for what WANTED says (EV_READ, EV_WRITE, both or 0) on TARGET, and for nothing else. */
void watch_set(struct watch *watch, const struct watch_target *target, short wanted);
/* Wait for nothing; before the socket is closed. */
void watch_clear(struct watch *watch);

#endif
