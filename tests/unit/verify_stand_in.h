/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stand-in for the verify in control's tests: it has no wires, takes the time it is told to, and
 * finds three differences. To be included by one file of a program, in place of core/verify.c.
 */
#ifndef TESTS_UNIT_VERIFY_STAND_IN_H
#define TESTS_UNIT_VERIFY_STAND_IN_H

#include "everwarm/core/verify.h"

#include <check.h>

struct verify {
    enum verify_state state;
    struct verify_plan plan;
    struct verify_progress progress;
    uint64_t done_us;
    bool is_held;
    node_set owed;
};

static struct stand_in {
    uint64_t verify_us; /* how long one takes */
    bool is_failing;
    bool is_unruly; /* never at rest */
    uint32_t begun; /* verifies */
    uint64_t begun_us;
    struct verify_plan plan; /* of the last one */
    struct verify *last;
    node_set given_up;
    node_set unproven;
    node_set on_trial; /* where copies are when it is stopped */
    uint32_t clouds;
    struct verify_limits limits;
} stand_in;

size_t verify_bytes(const struct verify_options *options)
{
    (void)options;
    return sizeof(struct verify);
}

struct verify *verify_init(void *memory, const struct verify_options *options)
{
    (void)options;
    return memory;
}

void verify_start(struct verify *verify, const struct verify_plan *plan, uint64_t now_us)
{
    ck_assert(verify->state == VERIFY_IDLE);
    *verify = (struct verify){.state = VERIFY_COMPARING,
                              .plan = *plan,
                              .done_us = now_us + stand_in.verify_us,
                              .owed = verify->owed};
    stand_in.begun++;
    stand_in.begun_us = now_us;
    stand_in.plan = *plan;
    stand_in.last = verify;
}

void verify_set_limits(struct verify *verify, const struct verify_limits *limits)
{
    (void)verify;
    stand_in.limits = *limits;
}

void verify_set_rate(struct verify *verify, uint64_t rate_bytes, uint64_t rate_keys)
{
    (void)verify;
    stand_in.plan.rate_bytes = rate_bytes;
    stand_in.plan.rate_keys = rate_keys;
}

void verify_stop(struct verify *verify, uint64_t now_us)
{
    (void)now_us;
    verify->owed |= verify->state == VERIFY_COMPARING ? stand_in.on_trial : 0;
    verify->state = VERIFY_IDLE;
    verify->is_held = false;
}

void verify_hold(struct verify *verify, uint64_t now_us)
{
    (void)now_us;
    verify->is_held = verify->state == VERIFY_COMPARING;
}

void verify_go_on(struct verify *verify, uint64_t now_us)
{
    (void)now_us;
    verify->is_held = false;
}

bool verify_is_at_rest(const struct verify *verify)
{
    return verify->state != VERIFY_COMPARING || (verify->is_held && !stand_in.is_unruly);
}

node_set verify_given_up(const struct verify *verify)
{
    (void)verify;
    return stand_in.given_up;
}

node_set verify_unproven(const struct verify *verify, uint64_t now_us)
{
    (void)verify;
    (void)now_us;
    return stand_in.unproven;
}

node_set verify_owed(const struct verify *verify)
{
    return verify->owed;
}

void verify_take_owed(struct verify *verify)
{
    verify->owed = 0;
}

void verify_cloud(struct verify *verify, uint64_t now_us)
{
    (void)verify;
    (void)now_us;
    stand_in.clouds++;
}

void verify_step(struct verify *verify, const struct wire_event *event, uint64_t now_us)
{
    (void)verify;
    (void)event;
    (void)now_us;
}

void verify_tick(struct verify *verify, uint64_t now_us)
{
    if (verify->state != VERIFY_COMPARING || verify->is_held) {
        return;
    }
    if (stand_in.is_failing) {
        verify->state = VERIFY_FAILED;
    } else if (now_us >= verify->done_us) {
        verify->state = VERIFY_DONE;
        verify->progress.keys_done = 10;
        verify->progress.found[VERIFY_KIND_EXTRA] = 3;
        verify->progress.mended = verify->plan.is_mending ? 3 : 0;
    }
}

bool verify_next_action(struct verify *verify, struct wire_action *out)
{
    (void)verify;
    (void)out;
    return false;
}

size_t verify_gather(const struct verify *verify, uint32_t wire, struct slice *out, size_t capacity)
{
    (void)verify;
    (void)wire;
    (void)out;
    (void)capacity;
    return 0;
}

enum verify_state verify_state(const struct verify *verify)
{
    return verify->state;
}

const char *verify_failure(const struct verify *verify)
{
    return verify->state == VERIFY_FAILED ? "node 1: made to fail" : "";
}

const struct verify_progress *verify_progress(const struct verify *verify)
{
    return &verify->progress;
}

#endif
