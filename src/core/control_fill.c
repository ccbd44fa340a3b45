/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Driving the fill: it runs while the view in effect names us as a node's filler, the lease holds,
 * and all of its donors are complete. It goes on through a change of view that leaves this so,
 * since writes reach every donor before the target under both views; any other change ends it
 * before it is joined.
 *
 *   IDLE ─► RUNNING ─► CHECKING ─► READY ─► (a view with the node complete) ─► IDLE
 *              └─────────┴─► PAUSED ─► RUNNING
 *
 * Where the donor gives no dump the emptied target goes the same way, to a view in which it is
 * warming.
 */
#include "control_private.h"

#include "everwarm/core/rule.h"

static void drive_move(struct control *control, enum fill_drive to)
{
#define TO(name) (1u << FILL_DRIVE_##name)
    static const uint32_t moves[] = {
        [FILL_DRIVE_IDLE] = TO(RUNNING),
        [FILL_DRIVE_RUNNING] = TO(CHECKING) | TO(PAUSED) | TO(IDLE),
        [FILL_DRIVE_CHECKING] = TO(READY) | TO(PAUSED) | TO(IDLE),
        [FILL_DRIVE_READY] = TO(IDLE) | TO(PAUSED),
        [FILL_DRIVE_PAUSED] = TO(RUNNING) | TO(IDLE),
    };
#undef TO
    INVARIANT((moves[control->drive] >> to & 1u) != 0);
    control->drive = to;
}

static bool is_named(const struct control *control, const struct view *view, uint32_t node)
{
    return view->epoch > 0 && view->nodes[node].data == NODE_DATA_FILLING &&
           (view->nodes[node].filler == control->id || !RULE(ONE_FILLER));
}

const char *control_fill_trigger_word(enum control_fill_trigger trigger)
{
    static const char *const words[CONTROL_FILL_TRIGGER_COUNT] = {
#define X(name, word) [CONTROL_FILL_##name] = (word),
        CONTROL_FILL_TRIGGER_TABLE(X)
#undef X
    };
    REQUIRE(trigger < CONTROL_FILL_TRIGGER_COUNT);
    return words[trigger];
}

/* What a fill that ended, or is under way, has done. */
static void add_work(const struct control *control, struct control_snapshot *counts)
{
    const struct fill_progress progress = fill_progress(control->fill, control->now_us);
    counts->fill_items.copied += progress.items_copied;
    counts->fill_items.gone += progress.items_gone;
    counts->fill_items.skipped += progress.items_skipped;
    counts->fill_items.equal += progress.items_equal;
    counts->fill_items.forgotten += progress.items_forgotten;
    counts->fill_bytes_copied += progress.bytes_done;
}

void control_fill_add_work(const struct control *control, struct control_snapshot *counts)
{
    if (control->drive != FILL_DRIVE_IDLE && control->drive != FILL_DRIVE_PAUSED) {
        add_work(control, counts);
    }
}

void control_fill_stop(struct control *control)
{
    if (control->drive == FILL_DRIVE_IDLE) {
        return;
    }
    control_fill_add_work(control, &control->counts);
    fill_stop(control->fill, control->now_us);
    drive_move(control, FILL_DRIVE_IDLE);
}

/* What the target is to be at its end. */
static enum node_data outcome_of(const struct control *control)
{
    return control->is_fill_refused ? NODE_DATA_WARMING : NODE_DATA_COMPLETE;
}

/* The view does not allow what the fill does. */
static bool is_forbidden(const struct control *control, const struct view *view)
{
    bool is_entering = control->drive == FILL_DRIVE_READY &&
                       view->nodes[control->fill_node].data == outcome_of(control);
    node_set complete = control_join_nodes(view, NODE_DATA_COMPLETE);
    bool have_donors = (control->fill_topology.leaders & ~complete) == 0 || !RULE(DONORS_STAY);
    return !is_entering && (!is_named(control, view, control->fill_node) || !have_donors);
}

void control_fill_on_hold(struct control *control)
{
    if (control->drive != FILL_DRIVE_IDLE && is_forbidden(control, &control->target)) {
        control_fill_stop(control);
    }
}

static void failed(struct control *control, const char *why)
{
    add_work(control, &control->counts);
    drive_move(control, FILL_DRIVE_PAUSED);
    control->counts.fills_failed++;
    control_tell(control, TRACE_FILL_FAILED, control->fill_node, why);
    uint64_t pause =
        control->fill_pause_us == 0 ? CONTROL_FILL_RETRY_FIRST_US : control->fill_pause_us * 2;
    control->fill_pause_us =
        pause < CONTROL_FILL_RETRY_LAST_US ? pause : CONTROL_FILL_RETRY_LAST_US;
    control->fill_retry_us = control->now_us + control->fill_pause_us;
}

static bool is_diff(const struct control *control, uint32_t node)
{
    const struct topology *topology =
        &control->topologies[control->effective_serial % CONTROL_TOPOLOGIES_MAX];
    return topology->has_tokens && topology->leaders != 0 &&
           (control->fill_by_flush & node_set_of(node)) == 0;
}

/*
 * A fill that is no diff begins by emptying its target, heartbeats too. While others may still be
 * waiting for a dead proxy's lease to end, that would make them wait for one more: a heartbeat that
 * vanished must stay away as long as one that stands still.
 */
static bool may_start(const struct control *control, uint32_t node)
{
    bool is_mourning =
        control->buried_us != 0 && control->now_us < control->buried_us + control->options.lease_us;
    bool is_waiting = control_merge_is_forgetting(&control->effective) &&
                      !control->effective.nodes[node].is_split;
    return (!is_mourning || is_diff(control, node)) && !is_waiting &&
           fill_given_up(control->fill) == 0 && control_probe_is_heard(control, node);
}

static void start(struct control *control, uint32_t node)
{
    const bool is_retry = control->drive == FILL_DRIVE_PAUSED;
    if (node != control->fill_node) {
        control->fill_pause_us = 0;
    }
    control->counts
        .fills_begun[is_retry ? CONTROL_FILL_RETRY : control->nodes[node].fill_trigger]++;
    control->nodes[node].fill_trigger = CONTROL_FILL_RETURNED;
    control->fill_node = node;
    control->is_fill_refused = false;
    control->fill_topology =
        control->topologies[control->effective_serial % CONTROL_TOPOLOGIES_MAX];
    control->fill_started_us = control->now_us;
    control->fill_tick_us = control->now_us + CONTROL_FILL_TICK_US;
    drive_move(control, FILL_DRIVE_RUNNING);
    struct fill_plan plan = {
        .target = node,
        .topology = &control->fill_topology,
        .is_diff = is_diff(control, node),
        .proof_us = control->options.request_timeout_us,
    };
    if (plan.is_diff && control->effective.nodes[node].is_split) {
        plan.split_of = control->effective.nodes[node].identity;
    }
    for (uint32_t i = 0; i < control->node_count; i++) {
        plan.clock_s[i] = control->probes[i].clock_s;
    }
    fill_start(control->fill, &plan, control->now_us);
    control_tell(control, TRACE_FILL_STARTED, node,
                 identity_is_known(&plan.split_of) ? "forgets what two sides did"
                 : plan.is_diff                    ? "compares"
                                                   : "from empty");
}

static void start_one(struct control *control)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        if (is_named(control, &control->effective, node) && may_start(control, node)) {
            start(control, node);
            return;
        }
    }
}

static void check_identity(struct control *control)
{
    drive_move(control, FILL_DRIVE_CHECKING);
    control->fill_checked_us = control->now_us;
    node_set asked = control->fill_topology.leaders | node_set_of(control->fill_node);
    for (; asked != 0; asked &= asked - 1) {
        control_probe_ask_stats(control, &control->probes[node_set_first(asked)]);
    }
}

static void on_progress(struct control *control)
{
    if (fill_is_refused(control->fill)) {
        control_tell(control, TRACE_FILL_FAILED, control->fill_node, fill_failure(control->fill));
        control->is_fill_refused = true;
        check_identity(control);
    } else if (fill_state(control->fill) == FILL_FAILED) {
        if (fill_wants_flush(control->fill)) {
            control->fill_by_flush |= node_set_of(control->fill_node);
        }
        failed(control, fill_failure(control->fill));
    } else if (fill_state(control->fill) == FILL_DONE) {
        check_identity(control);
    }
}

/* A donor that was started anew during the fill told that keys are gone which are not. One that
 * tells nothing leaves the view, and that ends the fill. */
static bool are_donors_known(const struct control *control, bool *are_same)
{
    bool are_known = true;
    *are_same = true;
    for (node_set left = control->fill_topology.leaders; left != 0; left &= left - 1) {
        uint32_t donor = node_set_first(left);
        const struct probe *probe = &control->probes[donor];
        if (probe->state != PROBE_OPEN || probe->identity_us < control->fill_checked_us) {
            are_known = false;
        } else if (!identity_is_equal(&probe->identity, &control->fill_topology.identity[donor])) {
            *are_same = false;
        }
    }
    return are_known;
}

static void check(struct control *control)
{
    const struct probe *probe = &control->probes[control->fill_node];
    if (probe->state != PROBE_OPEN || probe->identity_us < control->fill_checked_us) {
        return;
    }
    bool are_same;
    bool are_known = are_donors_known(control, &are_same);
    node_set others = control_join_nodes(&control->effective, NODE_DATA_COMPLETE) &
                      ~control->fill_topology.leaders;
    if (!are_same && others != 0) {
        failed(control, "a donor was flushed or restarted during the fill");
        return;
    }
    if (!are_known || !are_same) {
        return; /* the last copy is gone with its donors: what was filled is what is left of it */
    }
    struct identity filled = fill_identity(control->fill);
    if (identity_is_equal(&probe->identity, &filled) || !RULE(FILL_IDENTITY)) {
        drive_move(control, FILL_DRIVE_READY);
    } else {
        failed(control, "flushed or restarted after the fill");
    }
}

static void entered(struct control *control)
{
    struct fill_progress progress = fill_progress(control->fill, control->now_us);
    struct control_snapshot *counts = &control->counts;
    if (control->is_fill_refused) {
        counts->fills_failed++;
        control->fill_pause_us = 0;
        control->fill_by_flush &= ~node_set_of(control->fill_node);
        control_fill_stop(control);
        return;
    }
    counts->fills_done++;
    counts->fill_last_items = progress.items_done;
    counts->fill_last_us = control->now_us - control->fill_started_us;
    control->fill_pause_us = 0;
    control->fill_by_flush &= ~node_set_of(control->fill_node);
    struct trace_event event = control_event(control, TRACE_FILL_DONE);
    event.node = control->fill_node;
    event.a = progress.items_done;
    event.b = counts->fill_last_us;
    control_trace(control, &event);
    control_fill_stop(control);
}

void control_fill_event(struct control *control, const struct wire_event *event)
{
    fill_step(control->fill, event, control->now_us);
    if (control->drive == FILL_DRIVE_RUNNING) {
        on_progress(control);
    }
}

void control_fill_step(struct control *control)
{
    if (control->drive == FILL_DRIVE_RUNNING && control->now_us >= control->fill_tick_us) {
        control->fill_tick_us = control->now_us + CONTROL_FILL_TICK_US;
        fill_tick(control->fill, control->now_us);
        on_progress(control);
    }
    bool is_serving = control->state == CONTROL_SERVING && control->join == JOIN_IDLE;
    if (!is_serving || control->effective.flush_by != VIEW_NO_PROXY) {
        return;
    }
    if (control->drive == FILL_DRIVE_READY &&
        control->effective.nodes[control->fill_node].data == outcome_of(control)) {
        entered(control);
    } else if (control->drive != FILL_DRIVE_IDLE && is_forbidden(control, &control->effective)) {
        control_fill_stop(control);
    }
    switch (control->drive) {
    case FILL_DRIVE_IDLE:
        start_one(control);
        break;
    case FILL_DRIVE_PAUSED:
        if (control->now_us >= control->fill_retry_us && may_start(control, control->fill_node)) {
            start(control, control->fill_node);
        }
        break;
    case FILL_DRIVE_CHECKING:
        check(control);
        break;
    case FILL_DRIVE_RUNNING:
    case FILL_DRIVE_READY:
        break;
    }
}
