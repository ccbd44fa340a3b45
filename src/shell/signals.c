/* SPDX-License-Identifier: BSD-2-Clause */
/* No handler ever runs: signals stay pending until the main thread asks for them. */
#include "everwarm/shell/signals.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>

static sigset_t waited_for(void)
{
    sigset_t set;
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGTERM);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGHUP);
    (void)sigaddset(&set, SIGUSR1);
    (void)sigaddset(&set, SIGCHLD);
    return set;
}

void signals_block(void)
{
    sigset_t set = waited_for();
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigaction(SIGPIPE, &ignore, NULL);
}

void signals_unblock(void)
{
    sigset_t none;
    (void)sigemptyset(&none);
    struct sigaction normal = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGPIPE, &normal, NULL);
    (void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

enum signals_word signals_wait(uint32_t timeout_ms)
{
    sigset_t set = waited_for();
    struct timespec timeout = {
        .tv_sec = timeout_ms / 1000,
        .tv_nsec = (long)(timeout_ms % 1000) * 1000000L,
    };
    switch (sigtimedwait(&set, NULL, &timeout)) {
    case SIGTERM:
        return SIGNALS_DRAIN;
    case SIGINT:
        return SIGNALS_NOW;
    case SIGHUP:
        return SIGNALS_RELOAD;
    case SIGUSR1:
        return SIGNALS_REOPEN;
    case SIGCHLD:
        return SIGNALS_CHILD;
    default: /* no enum: EAGAIN when the time is over, EINTR by a signal not waited for */
        return SIGNALS_NONE;
    }
}
