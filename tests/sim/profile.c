/* SPDX-License-Identifier: BSD-2-Clause */
#include "sim/profile.h"

#include "everwarm/base/invariant.h"
#include "sim/fault.h"

#include <stddef.h>
#include <string.h>

enum { PROFILE_SHARES = 32 };

static const struct profile PROFILES[] = {
    {.name = "any",
     .slow_percent = 3,
     .share = 8,
     .proxies = {1, 1, 2, 3},
     .workers = {1, 1, 2, 3},
     .nodes = {1, 2, 3, 4},
     .keys_min = 3,
     .keys_max = 14,
     .shared_percent = 40,
     .wild_percent = 25,
     .tokens_percent = 50,
     .faults_min = 0,
     .faults_max = 6,
     .aim_percent = 10},
    /* Nodes leave while answers of theirs are still on the way. */
    {.name = "leave",
     .slow_percent = 25,
     .share = 1,
     .proxies = {2, 2, 2, 3},
     .workers = {1, 1, 1, 2},
     .nodes = {3, 3, 3, 4},
     .keys_min = 6,
     .keys_max = 10,
     .shared_percent = 100,
     .wild_percent = 0,
     .tokens_percent = 50,
     .faults_min = 6,
     .faults_max = 12,
     .fault_pause_us = 400000,
     .fault_kinds = 1u << FAULT_COMMAND,
     .aim_percent = 90,
     .is_patient = true},
    /* Nodes come and go, and what is copied to them is written at that very moment. */
    {.name = "fill",
     .slow_percent = 3,
     .share = 6,
     .proxies = {1, 1, 2, 2},
     .workers = {1, 1, 2, 2},
     .nodes = {2, 2, 3, 3},
     .keys_min = 12,
     .keys_max = 24,
     .shared_percent = 20,
     .wild_percent = 0,
     .tokens_percent = 50,
     .faults_min = 3,
     .faults_max = 5,
     .fault_pause_us = 400000,
     .fault_kinds = 1u << FAULT_CRASH | 1u << FAULT_COMMAND | 1u << FAULT_CUT_FILL,
     .wire_us = 12000,
     .aim_percent = 70,
     .is_hot = true},
    /* Proxies stop for longer than their lease while nodes leave. */
    {.name = "lease",
     .slow_percent = 10,
     .share = 4,
     .proxies = {2, 2, 3, 3},
     .workers = {1, 1, 1, 2},
     .nodes = {2, 2, 3, 3},
     .keys_min = 2,
     .keys_max = 5,
     .shared_percent = 70,
     .wild_percent = 0,
     .tokens_percent = 50,
     .faults_min = 2,
     .faults_max = 5,
     .fault_pause_us = 800000,
     .fault_kinds = 1u << FAULT_PAUSE_PROXY | 1u << FAULT_CRASH_PROXY,
     .wire_us = 1,
     .aim_percent = 60,
     .is_patient = true},
    /* Writes arrive after their connection was given up. */
    {.name = "late",
     .slow_percent = 3,
     .share = 4,
     .proxies = {1, 1, 2, 2},
     .workers = {1, 1, 1, 2},
     .nodes = {2, 2, 3, 3},
     .keys_min = 2,
     .keys_max = 5,
     .shared_percent = 20,
     .wild_percent = 10,
     .tokens_percent = 50,
     .faults_min = 3,
     .faults_max = 8,
     .fault_pause_us = 500000,
     .fault_kinds = 1u << FAULT_CUT | 1u << FAULT_STALL | 1u << FAULT_FREEZE,
     .aim_percent = 60},
    /* Several proxies change the view at once, and write the same keys. */
    {.name = "race",
     .slow_percent = 25,
     .share = 4,
     .proxies = {2, 2, 3, 4},
     .workers = {1, 1, 1, 2},
     .nodes = {2, 3, 3, 4},
     .keys_min = 2,
     .keys_max = 6,
     .shared_percent = 100,
     .wild_percent = 10,
     .tokens_percent = 50,
     .faults_min = 3,
     .faults_max = 8,
     .fault_pause_us = 500000,
     .fault_kinds =
         1u << FAULT_COMMAND | 1u << FAULT_FREEZE | 1u << FAULT_CRASH_PROXY | 1u << FAULT_CRASH,
     .aim_percent = 60,
     .is_storm = true,
     .command_pairs_percent = 50},
    /* Numbers of one node are shown to another. */
    {.name = "cas",
     .slow_percent = 3,
     .share = 1,
     .proxies = {1, 1, 1, 2},
     .workers = {1, 1, 1, 1},
     .nodes = {2, 2, 2, 3},
     .keys_min = 2,
     .keys_max = 3,
     .shared_percent = 50,
     .wild_percent = 0,
     .tokens_percent = 0,
     .faults_min = 3,
     .faults_max = 6,
     .fault_pause_us = 800000,
     .fault_kinds = 1u << FAULT_CRASH | 1u << FAULT_COMMAND,
     .wire_us = 1,
     .aim_percent = 10,
     .cas_percent = 70},
    /* The view changes while nobody pauses. */
    {.name = "storm",
     .slow_percent = 3,
     .share = 1,
     .proxies = {1, 1, 1, 2},
     .workers = {1, 1, 1, 1},
     .nodes = {2, 2, 3, 3},
     .keys_min = 8,
     .keys_max = 16,
     .shared_percent = 30,
     .wild_percent = 0,
     .tokens_percent = 50,
     .faults_min = 2,
     .faults_max = 4,
     .fault_pause_us = 800000,
     .fault_kinds = 1u << FAULT_CRASH,
     .aim_percent = 10,
     .is_storm = true,
     .clients = 14,
     .delay_us = 4000},
    /* Two sides, each with proxies and nodes, go on without each other. */
    {.name = "split",
     .slow_percent = 3,
     .share = 2,
     .proxies = {2, 2, 3, 3},
     .workers = {1, 1, 1, 2},
     .nodes = {2, 2, 3, 4},
     .keys_min = 4,
     .keys_max = 10,
     .shared_percent = 60,
     .wild_percent = 0,
     .tokens_percent = 70,
     .faults_min = 1,
     .faults_max = 3,
     .fault_pause_us = 800000,
     .fault_kinds = 1u << FAULT_SPLIT,
     .aim_percent = 20,
     .is_patient = true},
    /* All is forgotten at an appointed time. */
    {.name = "later",
     .slow_percent = 3,
     .share = 1,
     .proxies = {1, 1, 2, 3},
     .workers = {1, 1, 2, 2},
     .nodes = {2, 2, 3, 3},
     .keys_min = 4,
     .keys_max = 10,
     .shared_percent = 50,
     .wild_percent = 0,
     .tokens_percent = 50,
     .faults_min = 2,
     .faults_max = 5,
     .fault_pause_us = 900000,
     .fault_kinds = 1u << FAULT_FLUSH_LATER | 1u << FAULT_CRASH | 1u << FAULT_COMMAND |
                    1u << FAULT_FREEZE | 1u << FAULT_FLUSH_ALL,
     .aim_percent = 20},
    /* Nobody compares copies after a write, and all nodes fail at once; only when it is asked for.
     */
    {.name = "doubt",
     .slow_percent = 3,
     .share = 0,
     .proxies = {1, 1, 1, 1},
     .workers = {1, 1, 1, 1},
     .nodes = {2, 2, 2, 3},
     .keys_min = 8,
     .keys_max = 16,
     .shared_percent = 0,
     .wild_percent = 100,
     .tokens_percent = 50,
     .faults_min = 3,
     .faults_max = 6,
     .fault_pause_us = 1500000,
     .fault_kinds = 1u << FAULT_FLICKER,
     .wire_us = 1,
     .aim_percent = 10},
    /* Nodes give no dumps, and what comes back is warmed by what is read; only when it is asked for
     * by name. A proxy that dies leaves copies that differ here for good, so none does. */
    {.name = "warm",
     .share = 0,
     .proxies = {1, 2, 2, 3},
     .workers = {1, 1, 2, 2},
     .nodes = {2, 2, 3, 3},
     .keys_min = 12,
     .keys_max = 24,
     .shared_percent = 60,
     .wild_percent = 0,
     .tokens_percent = 50,
     .faults_min = 4,
     .faults_max = 8,
     .fault_pause_us = 1800000,
     .fault_kinds = 1u << FAULT_CRASH | 1u << FAULT_COMMAND | 1u << FAULT_CUT,
     .aim_percent = 60,
     .refuses_dumps = true},
    /* The set of nodes changes; only when it is asked for by name. */
    {.name = "members",
     .share = 0,
     .proxies = {1, 2, 2, 3},
     .workers = {1, 1, 1, 2},
     .nodes = {3, 3, 3, 3},
     .keys_min = 2,
     .keys_max = 8,
     .shared_percent = 40,
     .wild_percent = 10,
     .tokens_percent = 50,
     .faults_min = 3,
     .faults_max = 8,
     .fault_pause_us = 800000,
     .fault_kinds = 1u << FAULT_MEMBER | 1u << FAULT_CRASH | 1u << FAULT_FREEZE |
                    1u << FAULT_CRASH_PROXY | 1u << FAULT_CUT,
     .aim_percent = 30},
};

enum { PROFILE_COUNT = sizeof(PROFILES) / sizeof(PROFILES[0]) };

const struct profile *profile_of(uint64_t bits)
{
    uint64_t dice = bits % PROFILE_SHARES;
    for (uint32_t i = 0; i < PROFILE_COUNT; i++) {
        if (dice < PROFILES[i].share) {
            return &PROFILES[i];
        }
        dice -= PROFILES[i].share;
    }
    UNREACHABLE();
}

const struct profile *profile_find(const char *name)
{
    for (uint32_t i = 0; i < PROFILE_COUNT; i++) {
        if (strcmp(PROFILES[i].name, name) == 0) {
            return &PROFILES[i];
        }
    }
    return NULL;
}

uint32_t profile_choose(const uint8_t *choices, uint64_t bits)
{
    return choices[bits % PROFILE_CHOICES];
}
