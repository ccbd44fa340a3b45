/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's flush_all with a delay. By the end of it all that was there before it began is gone,
 * on all nodes at once as far as clients can tell. A later flush_all takes its place.
 */
#include "sim/world.h"

enum { LATER_LATE_US = 2000 * 1000 }; /* a change of the view, and another before it */

static uint64_t later_to(const struct history_op *op)
{
    return op->told_us + UINT64_C(1000000) * op->later_s + LATER_LATE_US;
}

void later_on_told(struct world *world, const struct history_op *op)
{
    uint64_t to_us = later_to(op);
    world->later_us = to_us > world->later_us ? to_us : world->later_us;
}

/* Has another flush_all, or may it have, taken the place of OP? */
static bool later_is_replaced(const struct world *world, const struct history_op *op)
{
    for (uint32_t i = 0; i < world->history.count; i++) {
        const struct history_op *other = &world->history.ops[i];
        if (other->kind == HISTORY_FORGET && other->key == op->key && other != op &&
            other->told_us >= op->asked_us && other->asked_us <= later_to(op)) {
            return true;
        }
    }
    return false;
}

struct history_op later_moment(const struct world *world, const struct history_op *op)
{
    struct history_op moment = *op;
    moment.asked_us = op->asked_us + UINT64_C(1000000) * op->later_s;
    moment.told_us = later_to(op);
    moment.is_optional = op->is_optional || later_is_replaced(world, op);
    return moment;
}
