/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Warming (replication.md section 7): a node for which no dump is to be had was emptied by a fill
 * that then found so. Since then all writes to it are chained, and dataplanes store on it what is
 * read (warm.c). All that it holds is right, and the rest are misses.
 *
 * How it ends: by an operator's word; by its hit rate, when for a configured time it had what its
 * twins had of the keys that were read here; or it leaves the view as a filling node does.
 *
 *   asked, hit ─► window of CONTROL_WARM_WINDOW keys ─► good: at least CONTROL_WARM_HIT_PERCENT
 *                                                  └─► not: the time counts from now on
 *
 * I1. A proxy that dies may leave a copy on a warming node that it has not looked at again, and
 *     nobody else knows of. So the node begins anew then; also if it has entered meanwhile by a
 *     view that waited for that proxy.
 */
#include "control_private.h"

void control_warm_report(struct control *control, const struct control_report *report)
{
    struct warm *warm = &control->nodes[report->node].warm;
    if (control->effective.nodes[report->node].data != NODE_DATA_WARMING) {
        return; /* it was told before the view changed */
    }
    warm->asked += report->count;
    warm->hits += report->hits;
    if (warm->asked < CONTROL_WARM_WINDOW) {
        return;
    }
    warm->is_good = warm->hits * 100 >= warm->asked * CONTROL_WARM_HIT_PERCENT;
    warm->good_since_us = warm->is_good ? warm->good_since_us : control->now_us;
    warm->last_asked = warm->asked;
    warm->last_hits = warm->hits;
    warm->asked = 0;
    warm->hits = 0;
}

bool control_warm_is_due(const struct control *control, uint32_t node)
{
    const struct warm *warm = &control->nodes[node].warm;
    return control->options.warm_for_us > 0 && warm->is_good &&
           control->effective.nodes[node].data == NODE_DATA_WARMING &&
           control->now_us - warm->good_since_us >= control->options.warm_for_us;
}

void control_warm_on_death(struct control *control)
{
    control->warm_doubt_us = control->now_us;
}

bool control_warm_is_doubted(const struct control *control, uint32_t node)
{
    const struct node_record *record = &control->nodes[node];
    bool is_warming = control->effective.nodes[node].data == NODE_DATA_WARMING &&
                      control->warm_doubt_us != 0 &&
                      control->warm_doubt_us >= record->warm.began_us;
    return is_warming || record->warm.is_doubted;
}

void control_warm_on_effective(struct control *control, const struct view *before)
{
    /* Nobody may be left who would know of a death before our start. */
    if (before->epoch == 0 && (control->warm_doubt_us != 0 || control_peers_live(control) == 0)) {
        control->warm_doubt_us = control->now_us;
    }
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct warm *warm = &control->nodes[node].warm;
        enum node_data data = control->effective.nodes[node].data;
        bool was_warming = before->epoch > 0 && before->nodes[node].data == NODE_DATA_WARMING;
        if (data == NODE_DATA_COMPLETE) {
            warm->is_doubted = warm->is_doubted || (was_warming && control->warm_doubt_us != 0 &&
                                                    control->warm_doubt_us >= warm->began_us);
        } else {
            warm->is_doubted = false;
        }
        if (data == NODE_DATA_WARMING && !was_warming) {
            *warm = (struct warm){.began_us = control->now_us, .good_since_us = control->now_us};
        }
    }
}
