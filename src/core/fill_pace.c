/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast the fill may go: a token bucket, where the operator set a rate, and a window that yields
 * to the donor's clients. The window grows by a few keys for each window's worth of answers and
 * shrinks by a quarter when reads take more than twice as long as the quickest did: then the donor
 * is busy, with us or with others, and others come first.
 */
#include "fill_private.h"

enum { FILL_MILLION = 1000000 };

void fill_pace_refill(struct fill *fill)
{
    struct fill_copy *copy = &fill->copy;
    uint64_t passed_us = fill->now_us - copy->tokens_at_us;
    copy->tokens_at_us = fill->now_us;
    passed_us = passed_us < FILL_MILLION ? passed_us : FILL_MILLION;
    int64_t most = (int64_t)(fill->options.rate_bytes * FILL_BURST_US);
    copy->tokens += (int64_t)(fill->options.rate_bytes * passed_us);
    copy->tokens = copy->tokens < most ? copy->tokens : most;
}

void fill_pace_charge(struct fill *fill, struct fill_slot *slot, uint64_t bytes)
{
    if (fill->options.rate_bytes > 0) {
        fill->copy.tokens -= ((int64_t)bytes - (int64_t)slot->charged) * FILL_MILLION;
        slot->charged = bytes;
    }
}

bool fill_pace_is_used_up(const struct fill *fill)
{
    return fill->options.rate_bytes > 0 && fill->copy.tokens <= 0;
}

void fill_pace_learn(struct fill *fill, uint64_t latency_us)
{
    struct fill_copy *copy = &fill->copy;
    if (latency_us < copy->latency_min_us) {
        copy->latency_min_us = latency_us;
    }
    copy->latency_us = copy->latency_us == 0 ? latency_us * 8
                                             : copy->latency_us - copy->latency_us / 8 + latency_us;
    copy->answers++;
    if (copy->answers < copy->window) {
        return;
    }
    copy->answers = 0;
    uint64_t limit_us = 2 * copy->latency_min_us;
    limit_us = limit_us > FILL_LATENCY_FLOOR_US ? limit_us : FILL_LATENCY_FLOOR_US;
    uint32_t least =
        fill->options.window < FILL_WINDOW_MIN ? fill->options.window : FILL_WINDOW_MIN;
    if (copy->latency_us / 8 > limit_us) {
        copy->window = copy->window * 3 / 4 > least ? copy->window * 3 / 4 : least;
    } else {
        copy->window += FILL_WINDOW_GROWTH;
        copy->window = copy->window < fill->options.window ? copy->window : fill->options.window;
    }
}
