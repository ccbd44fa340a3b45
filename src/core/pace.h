/* SPDX-License-Identifier: BSD-2-Clause */
/* How fast a fill or a verify may go. */
#ifndef EVERWARM_CORE_PACE_H
#define EVERWARM_CORE_PACE_H

#include <stdbool.h>
#include <stdint.h>

struct pace_options {
    uint64_t rate_bytes; /* a second; 0: no fixed limit */
    uint64_t rate_keys;  /* likewise */
    uint32_t window;     /* keys in flight at most */
};

struct pace {
    struct pace_options options;
    uint32_t window; /* keys in flight that may be now */

    uint32_t answers;        /* reads answered since the window was last changed */
    uint64_t latency_us;     /* smoothed, times 8 */
    uint64_t latency_min_us; /* UINT64_MAX before the first */

    /* What may still go, times 10^6; below 0 after a large item. */
    int64_t bytes;
    int64_t keys;
    uint64_t at_us;
};

void pace_init(struct pace *pace, const struct pace_options *options, uint64_t now_us);
/* Go on at another rate; 0: no fixed limit. */
void pace_set_rate(struct pace *pace, uint64_t rate_bytes, uint64_t rate_keys);
/* Go on with at most so many keys in flight; those that are stay. */
void pace_set_window(struct pace *pace, uint32_t window);
/* Time has passed. */
void pace_refill(struct pace *pace, uint64_t now_us);
/* A key is read that costs so many bytes, as far as is known. */
void pace_charge(struct pace *pace, uint64_t bytes);
/* It costs NOW, not THEN. */
void pace_recharge(struct pace *pace, uint64_t then, uint64_t now);
/* No read may be sent now. */
bool pace_is_used_up(const struct pace *pace);
/* A read was answered. Once in a window's worth of answers the window is set anew. */
void pace_learn(struct pace *pace, uint64_t latency_us);

#endif
