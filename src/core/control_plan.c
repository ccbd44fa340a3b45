/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the next view should be, and why (replication.md sections 4, 6 and 7); and operators'
 * wishes.
 *
 * The plan looks at the highest view seen and at what is known now, and writes the view that it
 * would rather have. Nothing is remembered from one plan to the next: when another's proposal wins,
 * the same look at the new view tells what is still to be wished for. While a change is under way
 * only nodes that hold it up are taken out.
 */
#include "control_private.h"

#include "everwarm/core/rule.h"

struct plan {
    struct view next;
    bool is_changed;
    bool is_urgent; /* a change is under way */
    struct mc_writer reason;
    char text[TRACE_DETAIL_BYTES];
};

/* The first reason is the reason; the others are still there after the change. */
static void because(const struct control *control, struct plan *plan, uint32_t node,
                    struct slice reason)
{
    if (!plan->is_changed) {
        if (node < control->node_count) {
            mc_write(&plan->reason, control->options.names.nodes[node]);
            mc_write(&plan->reason, SLICE(": "));
        }
        mc_write(&plan->reason, reason);
    }
    plan->is_changed = true;
}

/*
 * Back after a lapse, and what was given up is still to be proven: a change of view would wait for
 * that, and nodes would be taken out for it. So what can wait waits.
 */
static bool is_recovering(const struct control *control)
{
    const struct control_options *o = &control->options;
    node_set in = control->top.members & ~control_join_nodes(&control->top, NODE_DATA_OUT);
    return control->fresh_us != 0 &&
           control->now_us - control->fresh_us < o->request_timeout_us + o->lease_us &&
           (control_peers_own_given_up(control) & in) != 0;
}

/*
 * Back after a lapse, dataplanes find the nodes again one by one, and writes that are older than it
 * wait there for the end of connections: that says nothing of a node that answers here. If no
 * change waits for them, they may wait.
 */
static bool is_excused(const struct control *control, uint32_t node)
{
    const struct probe *probe = &control->probes[node];
    bool is_there = probe->is_greeted && probe->health.oper == NODE_OPER_UP;
    bool is_just_back =
        control->back_us != 0 && control->now_us - control->back_us < control->options.lease_us;
    bool is_unproven =
        is_recovering(control) && (control_peers_own_given_up(control) & node_set_of(node)) != 0;
    return is_there && control->join == JOIN_IDLE && (is_just_back || is_unproven) && RULE(SILENCE);
}

bool control_plan_is_missed(const struct control *control, uint32_t node)
{
    uint64_t at = control->nodes[node].missed_us;
    return at != 0 && control->now_us - at < CONTROL_MISSED_VALID_US && !is_excused(control, node);
}

static void set_out(const struct control *control, struct plan *plan, uint32_t node,
                    struct slice reason)
{
    struct view_node *wanted = &plan->next.nodes[node];
    if (wanted->data != NODE_DATA_OUT) {
        because(control, plan, node, reason);
        wanted->data = NODE_DATA_OUT;
        wanted->filler = VIEW_NO_PROXY;
        wanted->is_split = false;
    }
}

static void set_filling(const struct control *control, struct plan *plan, uint32_t node,
                        struct slice reason)
{
    because(control, plan, node, reason);
    struct view_node *wanted = &plan->next.nodes[node];
    const struct identity *identity = &control->probes[node].identity;
    wanted->data = NODE_DATA_FILLING;
    wanted->filler = (uint16_t)control->id;
    wanted->is_split = wanted->is_split && identity_is_equal(&wanted->identity, identity);
    wanted->identity = *identity;
}

/* --- Nodes that fail --- */

/*
 * Another run than the view's. Only what was asked since the view came into effect is held against
 * a node: older answers may be older than the view.
 */
static bool has_changed(const struct control *control, const struct plan *plan, uint32_t node)
{
    const struct probe *probe = &control->probes[node];
    return !plan->is_urgent && control->effective.flush_by == VIEW_NO_PROXY &&
           probe->identity_us > control->effective_us &&
           !identity_is_equal(&probe->identity, &control->effective.nodes[node].identity);
}

/* Does it fail its health checks, and answers no requests either? A machine that is too busy for
 * the checks in time is not helped by losing a node. */
static bool is_down(const struct control *control, uint32_t node)
{
    const struct control_options *o = &control->options;
    uint64_t answered_us = control->nodes[node].answered_us;
    bool answers = answered_us != 0 && control->now_us - answered_us < o->fall * o->interval_us;
    return control->probes[node].health.oper == NODE_OPER_DOWN && !answers;
}

/*
 * Is it down as what VIEW has it as? Who proposed that found it up just now; where it is down here
 * since before, we may only be later. So we may when we were cut off, and have just found the first
 * of the nodes again. If we are not, and write, then writes are missed.
 */
static bool has_failed(const struct control *control, const struct view *view, uint32_t node)
{
    uint64_t since_us = control->nodes[node].data_since_us;
    node_set complete = control_join_nodes(view, NODE_DATA_COMPLETE);
    if (control->fresh_us > since_us && (control_probe_heard(control) & complete) != 0) {
        since_us = control->fresh_us;
    }
    bool is_effective = control->effective.nodes[node].data == view->nodes[node].data;
    bool is_early = !is_effective || control->probes[node].oper_since_us <= since_us;
    uint64_t grace_us = 2 * control->options.lease_us;
    return is_down(control, node) &&
           (!is_early || (is_effective && control->now_us - since_us >= grace_us));
}

static bool is_long_down(const struct control *control, uint32_t node)
{
    return is_down(control, node) &&
           control->now_us - control->probes[node].oper_since_us >= control->options.lease_us;
}

static struct slice failure_of(const struct control *control, const struct plan *plan,
                               uint32_t node)
{
    static const struct slice words[] = {SLICE_INIT("another run of the node"), SLICE_INIT("down"),
                                         SLICE_INIT("misses writes")};
    return words[has_changed(control, plan, node) ? 0 : is_down(control, node) ? 1 : 2];
}

static bool is_bad(const struct control *control, const struct plan *plan, uint32_t node)
{
    return control_plan_is_missed(control, node) || has_failed(control, &plan->next, node) ||
           has_changed(control, plan, node);
}

/*
 * May others still reach NODE, though it is long down here? Who named it complete just now, and
 * others not, did: after a split we come to that view before we have found the node again.
 */
static bool is_vouched_for(const struct control *control, uint32_t node)
{
    return control->told_us != 0 && control->probes[node].oper_since_us <= control->told_us &&
           control->now_us - control->told_us < 2 * control->options.lease_us;
}

/* All complete nodes fail: the one that is kept, for it may still be what it was. */
static node_set survivor_of(const struct control *control, const struct plan *plan,
                            node_set complete)
{
    node_set best = 0;
    for (node_set left = complete; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        bool is_gone = is_long_down(control, node) && !is_vouched_for(control, node);
        if (has_changed(control, plan, node) || is_gone) {
            continue;
        }
        if (!is_down(control, node)) {
            return node_set_of(node);
        }
        best = best != 0 ? best : node_set_of(node);
    }
    return best;
}

/*
 * No complete node is left: which node begins anew? Not before all others have answered, or were
 * given time to: one of them may yet be the better.
 */
static bool find_rescue(const struct control *control, const struct plan *plan, uint32_t *out)
{
    bool is_found = false;
    for (uint32_t node = 0; node < control->node_count; node++) {
        /* That writes are missed there is no wonder: it is not what the view says. One that answers
         * again is waited for until it is up: before that it would be taken out at once. */
        const struct probe *probe = &control->probes[node];
        bool is_open =
            probe->state == PROBE_OPEN && probe->is_greeted && identity_is_known(&probe->identity);
        bool is_there = is_open && !is_down(control, node);
        if ((plan->next.members & node_set_of(node)) == 0 ||
            plan->next.nodes[node].admin == NODE_ADMIN_MAINT) {
            continue;
        }
        if (!is_there && (is_open || !is_long_down(control, node))) {
            return false;
        }
        /* Of those that begin anew one is as good as another; of old data the most is the best. */
        if (is_there && (!is_found || (control->options.keeps_last_copy &&
                                       probe->curr_items > control->probes[*out].curr_items))) {
            is_found = true;
            *out = node;
        }
    }
    return is_found;
}

/* Its fill began from nothing and is under way here, or is through: all that it holds is right. A
 * diff with old data is not before its end: what is to be deleted may still be there. */
static bool is_sound(const struct control *control, uint32_t node)
{
    bool is_over = control->drive == FILL_DRIVE_CHECKING || control->drive == FILL_DRIVE_READY;
    bool is_through = is_over && fill_state(control->fill) == FILL_DONE;
    bool is_running = control->drive == FILL_DRIVE_RUNNING && fill_is_from_empty(control->fill);
    return (is_through || is_running) && control->fill_node == node;
}

/* It is being filled here, and nothing of what it held was flushed. */
static bool is_diff_under_way(const struct control *control, uint32_t node)
{
    return control->drive == FILL_DRIVE_RUNNING && control->fill_node == node &&
           fill_is_diff(control->fill);
}

/* A node of FILLING that goes on without its donor. Its filler alone knows what is on it, so as
 * long as that lives it is the filler's to say. */
static bool has_successor(const struct control *control, const struct plan *plan, node_set filling)
{
    for (; filling != 0; filling &= filling - 1) {
        uint16_t filler = plan->next.nodes[node_set_first(filling)].filler;
        if (filler == control->id || !control_peers_is_live(control, filler)) {
            return true;
        }
    }
    return false;
}

/* What we gave up there does not come to its end, so that we can't join a view which has it filled:
 * who proposed that did not know yet. */
static bool is_fill_early(const struct control *control, const struct plan *plan, uint32_t node)
{
    return plan->is_urgent && control->join == JOIN_HOLD &&
           (control_peers_own_given_up(control) & node_set_of(node)) != 0 &&
           control->now_us - control->hold_us >= control->options.request_timeout_us / 4;
}

static void fail_fills(const struct control *control, struct plan *plan, node_set filling)
{
    for (; filling != 0; filling &= filling - 1) {
        uint32_t node = node_set_first(filling);
        /* Writes that it missed when the view in effect had it complete tell nothing of a fill. */
        bool is_missed = control_plan_is_missed(control, node) &&
                         control->effective.nodes[node].data == NODE_DATA_FILLING;
        bool is_lost = has_failed(control, &plan->next, node);
        if (is_missed || is_lost || is_fill_early(control, plan, node)) {
            set_out(control, plan, node,
                    is_lost     ? SLICE("down while it was filled")
                    : is_missed ? SLICE("misses writes")
                                : SLICE("an old connection is not at its end"));
        }
    }
}

static void fail_warming(const struct control *control, struct plan *plan, node_set warming)
{
    for (; warming != 0; warming &= warming - 1) {
        uint32_t node = node_set_first(warming);
        /* The view that is in effect may still have it filling: chained it was then, too. */
        enum node_data data = control->effective.nodes[node].data;
        bool is_missed = control_plan_is_missed(control, node) && data != NODE_DATA_COMPLETE;
        bool is_lost = has_failed(control, &plan->next, node) ||
                       (data == NODE_DATA_WARMING && has_changed(control, plan, node));
        if (is_missed || is_lost) {
            set_out(control, plan, node, failure_of(control, plan, node));
        }
    }
}

static void plan_failures(struct control *control, struct plan *plan)
{
    node_set complete = control_join_nodes(&plan->next, NODE_DATA_COMPLETE);
    node_set filling = control_join_nodes(&plan->next, NODE_DATA_FILLING);
    node_set warming = control_join_nodes(&plan->next, NODE_DATA_WARMING);
    node_set bad = 0;
    for (uint32_t node = 0; node < control->node_count; node++) {
        bad |= is_bad(control, plan, node) ? node_set_of(node) : 0;
    }
    node_set out = complete & bad;
    if (out == complete && complete != 0) {
        node_set kept = survivor_of(control, plan, complete);
        bool is_kept_up = kept != 0 && !is_down(control, node_set_first(kept));
        uint32_t node;
        bool is_lost =
            kept == 0 && ((warming & ~bad) != 0 ||
                          ((filling & ~bad) != 0 ? has_successor(control, plan, filling & ~bad)
                                                 : find_rescue(control, plan, &node)));
        out = is_lost || is_kept_up ? complete & ~kept : 0;
    }
    for (; out != 0; out &= out - 1) {
        uint32_t node = node_set_first(out);
        if (has_changed(control, plan, node) &&
            control->nodes[node].identity_told_us < control->effective_us) {
            control->nodes[node].identity_told_us = control->now_us;
            control_tell(control, TRACE_NODE_IDENTITY, node, "restarted, replaced or flushed");
        }
        set_out(control, plan, node, failure_of(control, plan, node));
    }
    fail_fills(control, plan, filling);
    fail_warming(control, plan, warming);
}

static void complete_as_it_is(struct control *control, struct plan *plan, uint32_t node,
                              struct identity identity, const char *told)
{
    because(control, plan, node, SLICE("last copy lost: complete as it is"));
    plan->next.nodes[node].data = NODE_DATA_COMPLETE;
    plan->next.nodes[node].identity = identity;
    plan->next.nodes[node].filler = VIEW_NO_PROXY;
    plan->next.nodes[node].is_split = false;
    plan->next.is_young = true;
    control_tell(control, TRACE_LAST_COPY_LOST, node, told);
}

/* Nothing is left to serve from: what was being filled becomes complete as it is, or the node that
 * was found begins anew; with last_copy: keep, with the data that it has. */
static void plan_rescue(struct control *control, struct plan *plan)
{
    bool is_kept = control->options.keeps_last_copy;
    node_set filling = control_join_nodes(&plan->next, NODE_DATA_FILLING);
    node_set warming = control_join_nodes(&plan->next, NODE_DATA_WARMING);
    if (control_join_nodes(&plan->next, NODE_DATA_COMPLETE) != 0) {
        return;
    }
    uint32_t node;
    if (warming != 0) {
        node = node_set_first(warming);
        if (control_warm_is_doubted(control, node) && !is_kept) {
            set_out(control, plan, node, SLICE("a proxy died while it was warming"));
        } else {
            complete_as_it_is(control, plan, node, plan->next.nodes[node].identity,
                              "was warming: complete as it is");
        }
    } else if (filling != 0) {
        node = node_set_first(filling);
        if (is_sound(control, node) || (is_kept && is_diff_under_way(control, node))) {
            complete_as_it_is(control, plan, node, fill_identity(control->fill),
                              "was being filled: complete as it is");
        }
    } else if (find_rescue(control, plan, &node)) {
        if (!is_kept) {
            set_filling(control, plan, node, SLICE("last copy lost: begins anew, empty"));
            control->nodes[node].fill_trigger = CONTROL_FILL_LAST_COPY;
            plan->next.is_young = true;
            control_tell(control, TRACE_LAST_COPY_LOST, node, "begins anew, empty");
        } else if ((control_peers_given_up(control) & node_set_of(node)) == 0) {
            complete_as_it_is(control, plan, node, control->probes[node].identity,
                              "keeps the data that it has");
        }
    }
}

/* --- Nodes that come back --- */

static bool is_filled_by(const struct plan *plan, uint32_t id)
{
    for (uint32_t node = 0; node < NODES_MAX; node++) {
        if (plan->next.nodes[node].data == NODE_DATA_FILLING &&
            plan->next.nodes[node].filler == id) {
            return true;
        }
    }
    return false;
}

static bool may_fill(const struct control *control, const struct plan *plan, uint32_t node)
{
    const struct view_node *wanted = &plan->next.nodes[node];
    if ((plan->next.members & node_set_of(node)) == 0 || !control_probe_is_heard(control, node) ||
        wanted->admin == NODE_ADMIN_MAINT || !identity_is_known(&control->probes[node].identity)) {
        return false;
    }
    if (wanted->data == NODE_DATA_FILLING) {
        return wanted->filler != control->id && !control_peers_is_live(control, wanted->filler);
    }
    return wanted->data == NODE_DATA_OUT && control->top.nodes[node].data == NODE_DATA_OUT &&
           control->now_us >= control->nodes[node].hold_down_until_us &&
           ((control_peers_given_up(control) & node_set_of(node)) == 0 ||
            !RULE(ENTRY_BEHIND_EOF)) &&
           control_join_nodes(&plan->next, NODE_DATA_COMPLETE) != 0;
}

static void plan_fills(struct control *control, struct plan *plan)
{
    if (control_peers_is_mismatched(control)) {
        return; /* nothing enters while proxies don't mean the same pool */
    }
    bool is_busy = is_filled_by(plan, control->id);
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct node_record *record = &control->nodes[node];
        if (is_busy || !may_fill(control, plan, node)) {
            record->fill_after_us = 0;
            continue;
        }
        if (record->fill_after_us == 0) {
            /* All proxies see it at once; one should be first. */
            uint64_t spread = control->options.interval_us / 2 + 1;
            bool is_alone = control_peers_live(control) == 0;
            record->fill_after_us =
                control->now_us + (is_alone ? 0 : prng_below(&control->prng, spread));
        }
        if (control->now_us >= record->fill_after_us) {
            bool is_orphan = plan->next.nodes[node].data == NODE_DATA_FILLING;
            if (is_orphan) {
                record->fill_trigger = CONTROL_FILL_ORPHANED;
            }
            set_filling(control, plan, node,
                        is_orphan ? SLICE("its filler died") : SLICE("to be filled"));
            is_busy = true;
        }
    }
}

static void plan_entry(struct control *control, struct plan *plan)
{
    uint32_t node = control->fill_node;
    struct view_node *wanted = &plan->next.nodes[node];
    if (control->drive != FILL_DRIVE_READY || wanted->data != NODE_DATA_FILLING ||
        wanted->filler != control->id || control_peers_is_mismatched(control)) {
        return;
    }
    if (control->is_fill_refused) {
        because(control, plan, node, SLICE("no dump is to be had: warmed by what is read"));
        wanted->data = NODE_DATA_WARMING;
        wanted->identity = fill_identity(control->fill);
        wanted->filler = VIEW_NO_PROXY;
        wanted->is_split = false;
        return;
    }
    because(control, plan, node, SLICE("filled"));
    if (node_set_count(control_join_nodes(&plan->next, NODE_DATA_COMPLETE)) == 1) {
        plan->next.is_young = false; /* all that is on the new one came from the other */
    }
    wanted->data = NODE_DATA_COMPLETE;
    wanted->identity =
        RULE(FILL_IDENTITY) ? fill_identity(control->fill) : control->probes[node].identity;
    wanted->filler = VIEW_NO_PROXY;
    wanted->is_split = false;
    /* Where a proxy died meanwhile, what it had under way may have come to the donor alone, and who
     * compared copies after that saw only those that were complete. */
    if (control->due_after_us > control->fill_started_us && RULE(DUE_AT_ENTRY)) {
        plan->next.due_by = (uint16_t)control->id;
    }
}

/* --- Nodes that are warmed by what is read --- */

/* Complete, though what was never read is missing: reads look further on a miss, until all copies
 * have been compared, if they can be. */
static void enter_warmed(const struct control *control, struct plan *plan, uint32_t node,
                         struct slice reason)
{
    because(control, plan, node, reason);
    plan->next.nodes[node].data = NODE_DATA_COMPLETE;
    plan->next.is_young = true;
    if (plan->next.due_by == VIEW_NO_PROXY) {
        plan->next.due_by = (uint16_t)control->id;
    }
}

/* Not in the view that says that an earlier comparison is over. */
static bool may_enter_warmed(const struct control *control)
{
    return !control_peers_is_mismatched(control) && !control_verify_is_due_over(control);
}

static bool is_spare(const struct control *control, const struct view *view, uint32_t node,
                     enum control_command_type type);

static void plan_warming(const struct control *control, struct plan *plan)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        bool is_warming = plan->next.nodes[node].data == NODE_DATA_WARMING;
        bool is_kept = control->options.keeps_last_copy && !is_warming &&
                       !is_spare(control, &plan->next, node, CONTROL_COMMAND_MAINT);
        if (control_warm_is_doubted(control, node) && !is_kept) {
            set_out(control, plan, node, SLICE("a proxy died while it was warming"));
        } else if (is_warming && control_warm_is_due(control, node) && may_enter_warmed(control)) {
            enter_warmed(control, plan, node, SLICE("warm: it has what is read"));
        }
    }
}

/* --- What is due --- */

static void plan_due(struct control *control, struct plan *plan)
{
    struct view *next = &plan->next;
    if (next->due_by == VIEW_NO_PROXY) {
        if (control->is_due_wanted || control->is_due_owed) {
            because(control, plan, TRACE_NO_NODE,
                    control->is_due_wanted ? SLICE("a proxy died: copies are compared")
                                           : SLICE("a verify was cut short: copies are compared"));
            next->due_by = (uint16_t)control->id;
        }
    } else if (next->due_by == control->id) {
        if (control_verify_is_due_over(control)) {
            because(control, plan, TRACE_NO_NODE, SLICE("copies were compared"));
            next->due_by = VIEW_NO_PROXY;
            next->is_young = false;
        }
    } else if (!control_peers_is_live(control, next->due_by)) {
        because(control, plan, TRACE_NO_NODE, SLICE("who compared copies died"));
        next->due_by = (uint16_t)control->id;
    }
}

/* --- Alone --- */

bool control_plan_may_be_alone(const struct control *control)
{
    return control->options.worker_count == 1 && control_peers_live(control) == 0;
}

/*
 * Where one worker of one proxy writes, every node sees its writes in the same order, and copies
 * need not be compared. The view says whose privilege that is: whoever comes finds it there, writes
 * nothing, and ends it first.
 */
static void plan_alone(const struct control *control, struct plan *plan)
{
    struct view *next = &plan->next;
    bool is_ours = next->alone == control->id;
    if (next->alone != VIEW_NO_PROXY && (!is_ours || !control_plan_may_be_alone(control))) {
        because(control, plan, TRACE_NO_NODE, SLICE("no longer alone"));
        next->alone = VIEW_NO_PROXY;
    } else if (next->alone == VIEW_NO_PROXY && control_plan_may_be_alone(control) &&
               control->now_us - control->last_peer_us >= 2 * control->options.lease_us) {
        because(control, plan, TRACE_NO_NODE, SLICE("alone"));
        next->alone = (uint16_t)control->id;
    }
}

/* --- Flush --- */

static void plan_flush(struct control *control, struct plan *plan)
{
    struct view *next = &plan->next;
    if (next->flush_by == VIEW_NO_PROXY) {
        if (control_flush_is_asked(control)) {
            because(control, plan, TRACE_NO_NODE, SLICE("flush_all"));
            next->flush_by = (uint16_t)control->id;
            next->flush_delay_s = control_flush_delay_s(control);
        }
        return;
    }
    if (next->flush_by != control->id) {
        if (!control_peers_is_live(control, next->flush_by)) {
            because(control, plan, TRACE_NO_NODE, SLICE("its flusher died"));
            next->flush_by = (uint16_t)control->id;
        }
        return;
    }
    if (control->flush != FLUSH_READY) {
        return;
    }
    because(control, plan, TRACE_NO_NODE, SLICE("flushed"));
    for (uint32_t node = 0; node < control->node_count && control->is_flush_doing_now; node++) {
        struct view_node *wanted = &next->nodes[node];
        bool is_kept = wanted->data == NODE_DATA_COMPLETE || wanted->data == NODE_DATA_WARMING;
        if (is_kept && (control->flush_ok & node_set_of(node)) != 0) {
            wanted->identity = control->probes[node].identity;
        } else {
            /* Not flushed; or its fill has lost what it was built on. */
            set_out(control, plan, node, SLICE("not flushed"));
        }
    }
    next->is_young = next->is_young && !control->is_flush_doing_now;
    next->flush_by = VIEW_NO_PROXY;
    next->flush_delay_s = 0;
}

/* --- Wishes --- */

/* Would reads have another copy without NODE? */
static bool is_spare(const struct control *control, const struct view *view, uint32_t node,
                     enum control_command_type type)
{
    for (uint32_t other = 0; other < NODES_MAX; other++) {
        const struct view_node *at = &view->nodes[other];
        bool is_ready = type == CONTROL_COMMAND_DRAIN ? at->admin == NODE_ADMIN_READY
                                                      : at->admin != NODE_ADMIN_MAINT;
        if (other != node && at->data == NODE_DATA_COMPLETE && is_ready &&
            !is_down(control, other)) {
            return true;
        }
    }
    return false;
}

static bool is_refused(const struct control *control, const struct view *view,
                       const struct control_command *command)
{
    uint32_t loser = command->type == CONTROL_COMMAND_ADD
                         ? control_member_moving(control, view, command->node)
                         : command->node;
    return command->type != CONTROL_COMMAND_READY && !command->is_forced && loser < NODES_MAX &&
           view->nodes[loser].data == NODE_DATA_COMPLETE &&
           !is_spare(control, view, loser, command->type);
}

static bool is_fulfilled(const struct view *view, const struct control_command *command)
{
    const struct view_node *node = &view->nodes[command->node];
    switch (command->type) {
    case CONTROL_COMMAND_READY:
        return node->admin == NODE_ADMIN_READY &&
               !(command->is_forced && node->data == NODE_DATA_WARMING);
    case CONTROL_COMMAND_DRAIN:
        return node->admin == NODE_ADMIN_DRAIN;
    case CONTROL_COMMAND_MAINT:
        return node->admin == NODE_ADMIN_MAINT && node->data == NODE_DATA_OUT;
    case CONTROL_COMMAND_RESYNC:
        return node->data == NODE_DATA_OUT;
    case CONTROL_COMMAND_ADD:
        return (view->members & node_set_of(command->node)) != 0;
    case CONTROL_COMMAND_REMOVE:
        return (view->members & node_set_of(command->node)) == 0;
    case CONTROL_COMMAND_VERIFY:
    case CONTROL_COMMAND_VERIFY_STOP:
        break; /* control_verify.c */
    }
    UNREACHABLE();
}

static void answer(struct wish *wish, enum control_result result)
{
    wish->is_over = true;
    wish->result = result;
}

static void apply(const struct control *control, struct plan *plan,
                  const struct control_command *command)
{
    static const enum node_admin admins[] = {
        [CONTROL_COMMAND_READY] = NODE_ADMIN_READY,
        [CONTROL_COMMAND_DRAIN] = NODE_ADMIN_DRAIN,
        [CONTROL_COMMAND_MAINT] = NODE_ADMIN_MAINT,
    };
    if (is_fulfilled(&plan->next, command)) {
        return;
    }
    if (command->type == CONTROL_COMMAND_ADD) {
        because(control, plan, command->node, SLICE("added"));
        control_member_add(control, &plan->next, command->node);
        return;
    }
    if (command->type == CONTROL_COMMAND_REMOVE) {
        because(control, plan, command->node, SLICE("removed"));
        control_member_remove(&plan->next, command->node);
        return;
    }
    if (command->type != CONTROL_COMMAND_RESYNC) {
        because(control, plan, command->node,
                slice_of_string(node_admin_word(admins[command->type])));
        plan->next.nodes[command->node].admin = admins[command->type];
    }
    if (command->type == CONTROL_COMMAND_READY && command->is_forced &&
        plan->next.nodes[command->node].data == NODE_DATA_WARMING && may_enter_warmed(control)) {
        enter_warmed(control, plan, command->node, SLICE("ready, as warm as it is"));
    }
    if (command->type == CONTROL_COMMAND_RESYNC || command->type == CONTROL_COMMAND_MAINT) {
        set_out(control, plan, command->node, SLICE("resync"));
    }
}

static void plan_wishes(struct control *control, struct plan *plan)
{
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        struct wish *wish = &control->wishes[i];
        if (!wish->is_used || wish->is_over) {
            continue;
        }
        enum control_result result = CONTROL_RESULT_OK;
        if (is_refused(control, &plan->next, &wish->command)) {
            answer(wish, CONTROL_RESULT_LAST_COPY);
        } else if (control_member_is_refused(control, &plan->next, &wish->command, &result)) {
            answer(wish, result);
        } else if (control_member_is_seen(control, &wish->command)) {
            apply(control, plan, &wish->command);
            if (wish->command.type == CONTROL_COMMAND_RESYNC) {
                control->nodes[wish->command.node].fill_trigger = CONTROL_FILL_RESYNC;
            }
        }
    }
}

static struct wish *free_wish(struct control *control)
{
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        if (!control->wishes[i].is_used) {
            return &control->wishes[i];
        }
    }
    return NULL;
}

/* The last word on a node counts: what was asked before it and has not come into effect is over. */
static void supersede(struct control *control, const struct control_command *command)
{
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        struct wish *wish = &control->wishes[i];
        if (wish->is_used && !wish->is_over && wish->command.node == command->node) {
            answer(wish, CONTROL_RESULT_TIMEOUT);
        }
    }
}

static struct wish *take_wish(struct control *control, const struct control_command *command)
{
    struct wish *wish = free_wish(control);
    /* The asker waits for each answer; so many at once is a bug of its. */
    REQUIRE(wish != NULL);
    *wish = (struct wish){.is_used = true,
                          .command = *command,
                          .deadline_us = control->now_us + control->options.request_timeout_us};
    return wish;
}

void control_plan_answer(struct control *control, const struct control_command *command,
                         enum control_result result)
{
    answer(take_wish(control, command), result);
}

static enum control_result refusal_of_lone(const struct control_command *command)
{
    switch (command->type) {
    case CONTROL_COMMAND_READY:
        return CONTROL_RESULT_UNCHANGED;
    case CONTROL_COMMAND_ADD:
    case CONTROL_COMMAND_REMOVE:
        return CONTROL_RESULT_LONE;
    case CONTROL_COMMAND_DRAIN:
    case CONTROL_COMMAND_MAINT:
    case CONTROL_COMMAND_RESYNC:
    case CONTROL_COMMAND_VERIFY:
    case CONTROL_COMMAND_VERIFY_STOP:
        break;
    }
    return CONTROL_RESULT_LAST_COPY;
}

void control_plan_command(struct control *control, const struct control_command *asked)
{
    struct control_command placed = *asked;
    const struct control_command *command = &placed;
    bool is_add = asked->type == CONTROL_COMMAND_ADD;
    if (control->is_lone || control->effective.epoch == 0) {
        control_plan_answer(control, command,
                            control->is_lone ? refusal_of_lone(command) : CONTROL_RESULT_STARTING);
        return;
    }
    placed.node = is_add ? control_place_candidate(control, command) : asked->node;
    if (is_add && placed.node == NODES_MAX) {
        control_plan_answer(control, command, CONTROL_RESULT_FULL);
        return;
    }
    REQUIRE(command->node < control->node_count);
    supersede(control, command);
    struct wish *wish = take_wish(control, command);
    if (is_fulfilled(&control->effective, command) && is_fulfilled(&control->top, command)) {
        answer(wish, CONTROL_RESULT_UNCHANGED);
    } else if (is_refused(control, &control->effective, command)) {
        answer(wish, CONTROL_RESULT_LAST_COPY);
    }
}

bool control_plan_next_done(struct control *control, struct control_action *out)
{
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        struct wish *wish = &control->wishes[i];
        if (wish->is_used && wish->is_over) {
            out->type = CONTROL_ACTION_DONE;
            out->ticket = wish->command.ticket;
            out->result = wish->result;
            wish->is_used = false;
            return true;
        }
    }
    return false;
}

/* --- The plan --- */

/* Also of a parent that has not taken effect, and may never: it still can while this is being
 * stored, and what it says is in here. */
static void name_ancestors(const struct control *control, struct view *next)
{
    const struct view *parent = &control->top;
    uint32_t kept = parent->ancestor_count < VIEW_ANCESTORS_MAX ? parent->ancestor_count
                                                                : VIEW_ANCESTORS_MAX - 1;
    next->ancestors[0] = parent->hash;
    memcpy(next->ancestors + 1, parent->ancestors, kept * sizeof parent->ancestors[0]);
    next->ancestor_count = kept + 1;
}

/* A node that was not asked yet is not what this proposal takes in: it stays what it was. */
bool control_plan_has_tokens(const struct control *control, const struct view *view)
{
    bool is_known = true;
    for (uint32_t node = 0; node < control->node_count; node++) {
        enum probe_tokens tokens = control->probes[node].tokens;
        if (view->nodes[node].data == NODE_DATA_OUT) {
            continue;
        }
        if (tokens == PROBE_TOKENS_NO) {
            return false;
        }
        is_known = is_known && tokens == PROBE_TOKENS_YES;
    }
    return is_known || view->has_tokens;
}

void control_plan_step(struct control *control)
{
    bool is_quiet = control->state == CONTROL_SERVING && control_join_is_idle(control);
    bool is_urgent = control->state == CONTROL_CHANGING && !control->is_proposing &&
                     (control->join == JOIN_HOLD || control->join == JOIN_POLL) &&
                     control->top.hash == control->target.hash;
    if (!is_quiet && !is_urgent) {
        return;
    }
    struct plan plan; /* not cleared first: it is large, and this runs after each event */
    plan.next = control->top;
    plan.is_changed = false;
    plan.is_urgent = is_urgent;
    plan.reason = mc_writer_of(plan.text, sizeof plan.text);
    bool is_flushing = plan.next.flush_by != VIEW_NO_PROXY;
    plan_failures(control, &plan);
    if (is_quiet && !is_flushing) {
        plan_wishes(control, &plan);
    }
    if (is_quiet && !is_flushing && !is_recovering(control)) {
        plan_due(control, &plan); /* before who enters: that may be due again with it */
        plan_warming(control, &plan);
        plan_entry(control, &plan);
        plan_fills(control, &plan);
        plan_alone(control, &plan);
    }
    if (is_quiet) {
        plan_flush(control, &plan);
    }
    plan_rescue(control, &plan);
    if (!plan.is_changed) {
        return;
    }
    plan.next.epoch++;
    plan.next.proposer = (uint16_t)control->id;
    plan.next.has_tokens = control_plan_has_tokens(control, &plan.next);
    name_ancestors(control, &plan.next);
    view_seal(&plan.next);
    (void)control_join_propose(control, &plan.next, slice_of(plan.text, plan.reason.len));
}

/* A node left: each time again it waits longer before it is filled. */
static void count_leaving(struct control *control, uint32_t node)
{
    struct node_record *record = &control->nodes[node];
    record->leavings++;
    if (record->leavings < 2) {
        return;
    }
    uint64_t pause =
        record->hold_down_us == 0 ? CONTROL_HOLD_DOWN_FIRST_US : record->hold_down_us * 3 / 2;
    uint64_t most = control->options.hold_down_max_us;
    record->hold_down_us = pause < most ? pause : most;
    record->hold_down_until_us = control->now_us + record->hold_down_us;
}

static void on_node_effective(struct control *control, uint32_t node, const struct view *before)
{
    struct node_record *record = &control->nodes[node];
    const struct view_node *now = &control->effective.nodes[node];
    bool is_first = before->epoch == 0;
    enum node_data data_before = is_first ? NODE_DATA_OUT : before->nodes[node].data;
    enum node_admin admin_before = is_first ? NODE_ADMIN_READY : before->nodes[node].admin;
    record->fill_after_us = 0;
    if (!control_member_on_effective(control, node, before)) {
        return;
    }
    if (now->data == NODE_DATA_OUT || now->data != data_before) {
        record->missed_us = 0; /* it was missed as what it was before */
    }
    if (now->data != data_before || is_first) {
        record->data_since_us = control->now_us;
        record->evictions_before = control->probes[node].evictions;
        struct trace_event event = control_event(control, TRACE_NODE_DATA);
        event.node = node;
        event.a = data_before;
        event.b = now->data;
        if (now->data == NODE_DATA_WARMING) {
            control_copy_text(event.detail, sizeof event.detail,
                              SLICE("no dump is to be had: it gets what is read"));
        }
        control_trace(control, &event);
    }
    if (now->admin != admin_before || is_first) {
        record->admin_since_us = control->now_us;
    }
    if (now->admin != admin_before) {
        struct trace_event event = control_event(control, TRACE_NODE_ADMIN);
        event.node = node;
        event.a = admin_before;
        event.b = now->admin;
        control_trace(control, &event);
    }
    if (data_before != NODE_DATA_OUT && now->data == NODE_DATA_OUT &&
        now->admin != NODE_ADMIN_MAINT && before->flush_by == VIEW_NO_PROXY) {
        count_leaving(control, node);
    }
}

void control_plan_on_effective(struct control *control, const struct view *before)
{
    control_verify_on_effective(control, before);
    control_warm_on_effective(control, before);
    for (uint32_t node = 0; node < control->node_count; node++) {
        on_node_effective(control, node, before);
    }
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        struct wish *wish = &control->wishes[i];
        if (wish->is_used && !wish->is_over && is_fulfilled(&control->effective, &wish->command)) {
            answer(wish, CONTROL_RESULT_OK);
        }
    }
}

void control_plan_tick(struct control *control)
{
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        struct wish *wish = &control->wishes[i];
        if (wish->is_used && !wish->is_over && control->now_us >= wish->deadline_us) {
            answer(wish, CONTROL_RESULT_TIMEOUT);
        }
    }
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct node_record *record = &control->nodes[node];
        uint64_t forget_us = 10 * record->hold_down_us;
        forget_us =
            forget_us > CONTROL_HOLD_DOWN_FORGET_US ? forget_us : CONTROL_HOLD_DOWN_FORGET_US;
        if (record->leavings > 0 && control->effective.epoch > 0 &&
            control->effective.nodes[node].data == NODE_DATA_COMPLETE &&
            control->now_us - record->data_since_us >= forget_us) {
            record->leavings = 0;
            record->hold_down_us = 0;
        }
    }
}

uint64_t control_plan_deadline_us(const struct control *control)
{
    uint64_t earliest = UINT64_MAX;
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        const struct wish *wish = &control->wishes[i];
        if (wish->is_used && !wish->is_over && wish->deadline_us < earliest) {
            earliest = wish->deadline_us;
        }
    }
    for (uint32_t node = 0; node < control->node_count; node++) {
        const struct node_record *record = &control->nodes[node];
        if (record->fill_after_us > control->now_us && record->fill_after_us < earliest) {
            earliest = record->fill_after_us;
        }
        if (record->hold_down_until_us > control->now_us && record->hold_down_until_us < earliest) {
            earliest = record->hold_down_until_us;
        }
    }
    return earliest;
}
