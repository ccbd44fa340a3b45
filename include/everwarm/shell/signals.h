/* SPDX-License-Identifier: BSD-2-Clause */
/* Signals, waited for by the main thread; blocked in every other. */
#ifndef EVERWARM_SHELL_SIGNALS_H
#define EVERWARM_SHELL_SIGNALS_H

#include <stdint.h>

enum signals_word {
    SIGNALS_NONE,   /* the time is over */
    SIGNALS_DRAIN,  /* TERM */
    SIGNALS_NOW,    /* INT */
    SIGNALS_RELOAD, /* HUP */
    SIGNALS_REOPEN, /* USR1 */
    SIGNALS_CHILD,  /* a child ended */
};

/* Block what is waited for and ignore SIGPIPE; before the first thread is made. */
void signals_block(void);
/* Undo it, in a child that is about to become another program. */
void signals_unblock(void);
/* Wait for the next one, at most TIMEOUT_MS. */
enum signals_word signals_wait(uint32_t timeout_ms);

#endif
