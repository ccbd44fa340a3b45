/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stand-in for the fill in control's tests: it has no wires. Who includes it, in place of
 * core/fill.c, adds fill_start and fill_tick, and so says what it does to its target.
 */
#ifndef TESTS_UNIT_FILL_STAND_IN_H
#define TESTS_UNIT_FILL_STAND_IN_H

#include "everwarm/core/fill.h"

struct fill {
    enum fill_state state;
    struct fill_plan plan;
    uint64_t done_us;
    struct identity identity;
    struct fill_limits limits;
    bool is_refused;
};

size_t fill_bytes(const struct fill_options *options)
{
    (void)options;
    return sizeof(struct fill);
}

struct fill *fill_init(void *memory, const struct fill_options *options)
{
    (void)options;
    return memory;
}

void fill_stop(struct fill *fill, uint64_t now_us)
{
    (void)now_us;
    fill->state = FILL_IDLE;
}

void fill_step(struct fill *fill, const struct wire_event *event, uint64_t now_us)
{
    (void)fill;
    (void)event;
    (void)now_us;
}

bool fill_next_action(struct fill *fill, struct wire_action *out)
{
    (void)fill;
    (void)out;
    return false;
}

size_t fill_gather(const struct fill *fill, uint32_t wire, struct slice *out, size_t capacity)
{
    (void)fill;
    (void)wire;
    (void)out;
    (void)capacity;
    return 0;
}

enum fill_state fill_state(const struct fill *fill)
{
    return fill->state;
}

const char *fill_failure(const struct fill *fill)
{
    (void)fill;
    return "target: made to fail";
}

bool fill_wants_flush(const struct fill *fill)
{
    (void)fill;
    return false;
}

bool fill_is_refused(const struct fill *fill)
{
    return fill->state == FILL_FAILED && fill->is_refused;
}

bool fill_is_from_empty(const struct fill *fill)
{
    return fill->state == FILL_DUMPING || fill->state == FILL_COPYING ||
           fill->state == FILL_CHECKING || fill->state == FILL_DONE;
}

bool fill_is_diff(const struct fill *fill)
{
    return fill->plan.is_diff && fill->state != FILL_CONNECTING;
}

node_set fill_given_up(const struct fill *fill)
{
    (void)fill;
    return 0;
}

node_set fill_unproven(const struct fill *fill, uint64_t now_us)
{
    (void)fill;
    (void)now_us;
    return 0;
}

struct identity fill_identity(const struct fill *fill)
{
    return fill->identity;
}

struct fill_progress fill_progress(const struct fill *fill, uint64_t now_us)
{
    (void)fill;
    (void)now_us;
    return (struct fill_progress){.items_done = 10, .items_copied = 10};
}

void fill_set_limits(struct fill *fill, const struct fill_limits *limits)
{
    fill->limits = *limits;
}

#endif
