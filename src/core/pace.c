/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Two token buckets, where a rate was set, and a window that yields to the nodes' clients. The
 * window grows by a few keys for each window's worth of answers and shrinks by a quarter when reads
 * take more than twice as long as the quickest did: then the node is busy, with us or with others,
 * and others come first.
 */
#include "pace.h"

enum {
    PACE_MILLION = 1000000,
    /* Tokens are saved up for so long: long enough for a tick that comes late. */
    PACE_BURST_US = 20000,
    /* The window never shrinks below this: it goes on, however slow the node. */
    PACE_WINDOW_MIN = 2,
    PACE_WINDOW_START = 16,
    PACE_WINDOW_GROWTH = 4,
    /* Below this a node's latency is no sign of load: it is our own pipeline. */
    PACE_LATENCY_FLOOR_US = 200,
};

/* More is no limit; the arithmetic stays within 63 bits. */
static const uint64_t rate_max = UINT64_C(1) << 40;

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

void pace_init(struct pace *pace, const struct pace_options *options, uint64_t now_us)
{
    *pace = (struct pace){
        .options = *options,
        .window = (uint32_t)least(options->window, PACE_WINDOW_START),
        .latency_min_us = UINT64_MAX,
        .at_us = now_us,
    };
    pace->options.rate_bytes = least(options->rate_bytes, rate_max);
    pace->options.rate_keys = least(options->rate_keys, rate_max);
}

void pace_set_rate(struct pace *pace, uint64_t rate_bytes, uint64_t rate_keys)
{
    pace->options.rate_bytes = least(rate_bytes, rate_max);
    pace->options.rate_keys = least(rate_keys, rate_max);
    pace->bytes = 0; /* nothing is saved up, or owed, at another rate */
    pace->keys = 0;
}

void pace_set_window(struct pace *pace, uint32_t window)
{
    pace->options.window = window;
    pace->window = (uint32_t)least(pace->window, window);
}

static int64_t refilled(int64_t tokens, uint64_t rate, uint64_t passed_us)
{
    int64_t most = (int64_t)(rate * PACE_BURST_US);
    tokens += (int64_t)(rate * passed_us);
    return tokens < most ? tokens : most;
}

void pace_refill(struct pace *pace, uint64_t now_us)
{
    uint64_t passed_us = least(now_us - pace->at_us, PACE_MILLION);
    pace->at_us = now_us;
    pace->bytes = refilled(pace->bytes, pace->options.rate_bytes, passed_us);
    pace->keys = refilled(pace->keys, pace->options.rate_keys, passed_us);
}

void pace_charge(struct pace *pace, uint64_t bytes)
{
    pace_recharge(pace, 0, bytes);
    pace->keys -= pace->options.rate_keys > 0 ? PACE_MILLION : 0;
}

void pace_recharge(struct pace *pace, uint64_t then, uint64_t now)
{
    if (pace->options.rate_bytes > 0) {
        pace->bytes -= ((int64_t)now - (int64_t)then) * PACE_MILLION;
    }
}

bool pace_is_used_up(const struct pace *pace)
{
    return (pace->options.rate_bytes > 0 && pace->bytes <= 0) ||
           (pace->options.rate_keys > 0 && pace->keys <= 0);
}

void pace_learn(struct pace *pace, uint64_t latency_us)
{
    pace->latency_min_us = least(pace->latency_min_us, latency_us);
    pace->latency_us = pace->latency_us == 0 ? latency_us * 8
                                             : pace->latency_us - pace->latency_us / 8 + latency_us;
    pace->answers++;
    if (pace->answers < pace->window) {
        return;
    }
    pace->answers = 0;
    uint64_t limit_us = 2 * pace->latency_min_us;
    limit_us = limit_us > PACE_LATENCY_FLOOR_US ? limit_us : PACE_LATENCY_FLOOR_US;
    uint32_t fewest = (uint32_t)least(pace->options.window, PACE_WINDOW_MIN);
    if (pace->latency_us / 8 > limit_us) {
        uint32_t fewer = pace->window * 3 / 4;
        pace->window = fewer > fewest ? fewer : fewest;
    } else {
        pace->window = (uint32_t)least(pace->window + PACE_WINDOW_GROWTH, pace->options.window);
    }
}
