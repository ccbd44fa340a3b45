/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Health as pure arithmetic. The thresholds go by a count of their own, as they may be larger than
 * the 64 rounds that are remembered for people to look at.
 */
#include "health.h"

#include "everwarm/base/invariant.h"

void health_init(struct health *health, uint32_t fall, uint32_t rise)
{
    REQUIRE(fall > 0 && rise > 0);
    *health = (struct health){.fall = fall, .rise = rise, .oper = NODE_OPER_DOWN};
}

bool health_poke(struct health *health, bool is_good)
{
    bool was_good = (health->history & 1) != 0;
    if (is_good != was_good) {
        health->streak = 0;
    }
    health->streak += health->streak < UINT32_MAX;
    health->history = health->history << 1 | (is_good ? 1 : 0);

    enum node_oper before = health->oper;
    switch (before) {
    case NODE_OPER_DOWN:
        if (is_good && (health->streak >= health->rise || !health->was_up)) {
            health->oper = NODE_OPER_UP;
            health->was_up = true;
        }
        break;
    case NODE_OPER_UP:
        if (!is_good && health->streak >= health->fall) {
            health->oper = NODE_OPER_DOWN;
        }
        break;
    }
    return health->oper != before;
}
