/* SPDX-License-Identifier: BSD-2-Clause */
/* The two clocks of the shell. The core is told the time; it never asks. */
#ifndef EVERWARM_SHELL_CLOCK_H
#define EVERWARM_SHELL_CLOCK_H

#include <stdint.h>
#include <sys/time.h>
#include <time.h>

enum { CLOCK_US_PER_MS = 1000, CLOCK_US_PER_S = 1000000 };

static inline uint64_t clock_read_us(clockid_t id)
{
    struct timespec t;
    (void)clock_gettime(id, &t); /* can't fail for the two clocks below */
    return (uint64_t)t.tv_sec * CLOCK_US_PER_S + (uint64_t)t.tv_nsec / 1000;
}

/* Never goes back; what all deadlines are in. */
static inline uint64_t clock_mono_us(void)
{
    return clock_read_us(CLOCK_MONOTONIC);
}

/* Since 1970; may be stepped. For people only. */
static inline uint64_t clock_wall_us(void)
{
    return clock_read_us(CLOCK_REALTIME);
}

/* For functions that wait until a time. */
static inline struct timespec clock_timespec(uint64_t us)
{
    return (struct timespec){
        .tv_sec = (time_t)(us / CLOCK_US_PER_S),
        .tv_nsec = (long)(us % CLOCK_US_PER_S) * 1000,
    };
}

/* A time to wait. */
static inline struct timeval clock_timeval(uint64_t us)
{
    return (struct timeval){
        .tv_sec = (time_t)(us / CLOCK_US_PER_S),
        .tv_usec = (suseconds_t)(us % CLOCK_US_PER_S),
    };
}

#endif
