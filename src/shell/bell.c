/* SPDX-License-Identifier: BSD-2-Clause */
/* The kernel's futex, which the C library has no other plain way to. */
#include "bell.h"

#include "clock.h"

#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

void bell_ring(struct bell *bell)
{
    atomic_fetch_add(&bell->rings, 1);
    (void)syscall(SYS_futex, &bell->rings, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

bool bell_await(struct bell *bell, uint32_t seen, uint64_t until_us)
{
    const uint64_t now_us = clock_mono_us();
    if (now_us >= until_us) {
        return false;
    }
    const struct timespec left = clock_timespec(until_us - now_us);
    (void)syscall(SYS_futex, &bell->rings, FUTEX_WAIT_PRIVATE, seen, &left, NULL, 0);
    return true; /* rung, interrupted or too late: whoever waits looks, and comes again */
}
