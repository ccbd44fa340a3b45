/* SPDX-License-Identifier: BSD-2-Clause */
/* Tell systemd how we are: one datagram to $NOTIFY_SOCKET, nothing where it is not set. */
#ifndef EVERWARM_SHELL_NOTIFY_H
#define EVERWARM_SHELL_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

/* STATE: "READY=1", "STOPPING=1"; several lines are one message. Thread: main. */
void notify_send(const char *state);
/* "RELOADING=1" with the time that systemd wants beside it. Thread: main. */
void notify_reloading(void);
/* Whether anybody listens. */
bool notify_is_wanted(void);
/* In what time the service manager wants to hear WATCHDOG=1 from this process; 0: it does not. */
uint64_t notify_watchdog_us(void);

#endif
