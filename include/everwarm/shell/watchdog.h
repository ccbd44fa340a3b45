/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What main tells the service manager while the proxy runs: that every loop turns (WATCHDOG=1), and
 * how the pools stand (STATUS=). Nothing, and at no cost, where nobody listens.
 */
#ifndef EVERWARM_SHELL_WATCHDOG_H
#define EVERWARM_SHELL_WATCHDOG_H

#include "everwarm/shell/proxy.h"

#include <stdbool.h>
#include <stdint.h>

struct watchdog {
    uint64_t period_us; /* between two turns; 0: nobody listens */
    uint64_t due_us;
    uint64_t serial; /* of the latest ping; 0: none yet */
    bool is_fed;     /* WATCHDOG=1 is wanted */
    bool is_stuck;   /* the log knows that a loop does not turn */
    char status[256];
};

void watchdog_init(struct watchdog *watchdog);

/*
 * Do what is due: if all loops have answered the ping of the last turn, say so; ask again.
 *
 * Returns  milliseconds until this is to be called again; UINT32_MAX: never.
 */
uint32_t watchdog_turn(struct watchdog *watchdog, struct proxy *proxy);

#endif
