/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Driving the verify: who asked for it, when it may run, and what its end means.
 *
 *   asked by an operator, or due in the view (replication.md sections 4 and 5), or in the
 *   background; the first of these goes first, and one of a later sort makes room for it
 *
 *   IDLE ─► RUNNING ─► (done, failed, stopped) ─► IDLE
 *              └─► LEAVING ─► IDLE          it is to make room, and comes to rest first
 *
 * It runs while the lease holds and a view is in effect in which the same nodes are complete, as
 * the same runs, with the same leaders. Before a change of view is joined it comes to rest; after a
 * change that leaves these as they were it goes on.
 *
 * What is due: one run after a first start; two after a proxy died without farewell, the first not
 * before `lease` after that and an answer of each node since: what that proxy had sent has happened
 * by then. The view says who does it; if that one dies it is two runs of the next one's. One run
 * also after a verify that left something behind, once that is surely done.
 */
#include "control_private.h"

static void drive_move(struct control *control, enum verify_drive to)
{
    static const bool moves[3][3] = {
        [VERIFY_DRIVE_IDLE] = {[VERIFY_DRIVE_RUNNING] = true},
        [VERIFY_DRIVE_RUNNING] = {[VERIFY_DRIVE_LEAVING] = true, [VERIFY_DRIVE_IDLE] = true},
        [VERIFY_DRIVE_LEAVING] = {[VERIFY_DRIVE_IDLE] = true},
    };
    INVARIANT(moves[control->verify_drive][to]);
    control->verify_drive = to;
}

static void pause(struct control *control)
{
    uint64_t before = control->verify_pause_us;
    uint64_t longer = before == 0 ? CONTROL_VERIFY_RETRY_FIRST_US : before * 2;
    control->verify_pause_us =
        longer < CONTROL_VERIFY_RETRY_LAST_US ? longer : CONTROL_VERIFY_RETRY_LAST_US;
    control->verify_retry_us = control->now_us + control->verify_pause_us;
}

/* What it found goes into the totals, and into what is shown. */
static void take_result(struct control *control)
{
    struct control_verify_snapshot *run = &control->verify_run;
    struct verify_progress now = *verify_progress(control->verify);
    for (uint32_t kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        control->counts.divergences[kind] += now.found[kind] - run->progress.found[kind];
    }
    control->counts.repairs += now.mended - run->progress.mended;
    run->progress = now;
    run->phase = verify_state(control->verify);
}

static void end_run(struct control *control)
{
    struct control_verify_snapshot *run = &control->verify_run;
    bool is_done = verify_state(control->verify) == VERIFY_DONE;
    take_result(control);
    control_copy_text(run->failure, sizeof run->failure,
                      slice_of_string(verify_failure(control->verify)));
    run->is_running = false;
    run->ended_us = control->now_us;
    verify_stop(control->verify, control->now_us);
    drive_move(control, VERIFY_DRIVE_IDLE);
    struct trace_event event =
        control_event(control, is_done ? TRACE_VERIFY_DONE : TRACE_VERIFY_FAILED);
    for (uint32_t kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        event.a += run->progress.found[kind];
    }
    event.b = run->progress.mended;
    control_copy_text(event.detail, sizeof event.detail, slice_of_string(run->failure));
    if (run->why != CONTROL_VERIFY_BACKGROUND || event.a > 0) {
        control_trace(control, &event);
    }
    if (run->why == CONTROL_VERIFY_ASKED) {
        control->verify_asked = *run;
        control->is_verify_asked = false;
        return;
    }
    if (!is_done) {
        pause(control);
        return;
    }
    control->verify_pause_us = 0;
    control->counts.verifies_done++;
    if (run->why == CONTROL_VERIFY_DUE && control->due_runs > 0) {
        control->due_runs--;
    }
    control->background_us =
        control->now_us +
        prng_jitter(&control->prng, CONTROL_VERIFY_BACKGROUND_PAUSE_US, CONTROL_JITTER_PERCENT);
}

/* By the operator who asked for it. */
static void stopped(struct control *control, const struct control_verify_snapshot *run)
{
    control->verify_asked = *run;
    control->verify_asked.is_running = false;
    control->verify_asked.phase = VERIFY_FAILED;
    control->verify_asked.ended_us = control->now_us;
    control_copy_text(control->verify_asked.failure, sizeof control->verify_asked.failure,
                      SLICE("stopped"));
}

/* It ends as it is: nobody's fault. */
static void abandon(struct control *control)
{
    struct control_verify_snapshot *run = &control->verify_run;
    take_result(control);
    run->is_running = false;
    run->ended_us = control->now_us;
    verify_stop(control->verify, control->now_us);
    drive_move(control, VERIFY_DRIVE_IDLE);
    if (run->why == CONTROL_VERIFY_ASKED && !control->is_verify_asked) {
        stopped(control, run);
    }
}

void control_verify_stop(struct control *control)
{
    if (control->verify_drive != VERIFY_DRIVE_IDLE) {
        abandon(control);
    }
}

/* --- When --- */

static bool is_same_pool(const struct control *control)
{
    const struct topology *now =
        &control->topologies[control->effective_serial % CONTROL_TOPOLOGIES_MAX];
    const struct topology *then = &control->verify_topology;
    bool is_same = now->complete == then->complete && now->leaders == then->leaders &&
                   now->has_tokens == then->has_tokens;
    for (node_set left = now->complete; left != 0 && is_same; left &= left - 1) {
        uint32_t node = node_set_first(left);
        is_same = identity_is_equal(&now->identity[node], &then->identity[node]);
    }
    return is_same;
}

static bool is_due(const struct control *control)
{
    return control->effective.due_by == control->id && control->due_runs > 0;
}

/* All that a dead proxy sent has happened: time has passed, and each node has answered since. */
static bool is_due_now(const struct control *control)
{
    if (!is_due(control) || control_merge_is_forgetting(&control->effective) ||
        control->now_us < control->due_after_us || control->now_us < control->verify_retry_us) {
        return false;
    }
    node_set complete = control_join_nodes(&control->effective, NODE_DATA_COMPLETE);
    for (; complete != 0; complete &= complete - 1) {
        if (control->probes[node_set_first(complete)].identity_us < control->due_after_us) {
            return false;
        }
    }
    return true;
}

/* Which sort is to run now; NONE: nothing. */
static enum control_verify_why wanted(const struct control *control)
{
    if (control->is_verify_asked) {
        return CONTROL_VERIFY_ASKED;
    }
    if (is_due_now(control)) {
        return CONTROL_VERIFY_DUE;
    }
    bool is_background = control->options.is_verify_background && !is_due(control) &&
                         control->now_us >= control->background_us &&
                         control->now_us >= control->verify_retry_us &&
                         control_peers_is_first(control);
    return is_background ? CONTROL_VERIFY_BACKGROUND : CONTROL_VERIFY_NONE;
}

static node_set evicting(const struct control *control)
{
    node_set set = 0;
    for (uint32_t node = 0; node < control->node_count; node++) {
        if (control->probes[node].evictions != control->nodes[node].evictions_before) {
            set |= node_set_of(node);
        }
    }
    return set;
}

static uint64_t background_rate_keys(const struct control *control)
{
    return control->options.verify_rate_bytes / CONTROL_VERIFY_KEY_BYTES;
}

static bool is_in_background(const struct control *control)
{
    return control->verify_drive != VERIFY_DRIVE_IDLE &&
           control->verify_run.why == CONTROL_VERIFY_BACKGROUND;
}

void control_verify_set_background(struct control *control, const struct control_limits *limits)
{
    const bool is_other_rate = control->options.verify_rate_bytes != limits->verify_rate_bytes;
    control->options.is_verify_background = limits->is_verify_background;
    control->options.verify_rate_bytes = limits->verify_rate_bytes;
    if (is_other_rate && is_in_background(control)) {
        verify_set_rate(control->verify, limits->verify_rate_bytes, background_rate_keys(control));
    }
}

static void start(struct control *control, enum control_verify_why why)
{
    bool is_asked = why == CONTROL_VERIFY_ASKED;
    bool is_background = why == CONTROL_VERIFY_BACKGROUND;
    control->verify_topology =
        control->topologies[control->effective_serial % CONTROL_TOPOLOGIES_MAX];
    struct verify_plan plan = {
        .topology = &control->verify_topology,
        .node = is_asked ? control->verify_command.node : VERIFY_ALL_NODES,
        .has_tokens = control->verify_topology.has_tokens,
        .is_mending = !is_asked || control->verify_command.is_mending,
        .proof_us = control->options.request_timeout_us,
        .rate_bytes = is_background ? control->options.verify_rate_bytes : 0,
        .rate_keys = is_background ? background_rate_keys(control) : 0,
        .evicting = evicting(control),
    };
    for (uint32_t node = 0; node < control->node_count; node++) {
        plan.clock_s[node] = control->probes[node].clock_s;
    }
    control->verify_run = (struct control_verify_snapshot){
        .is_running = true,
        .why = why,
        .tag = is_asked ? control->verify_command.tag : 0,
        .node = plan.node,
        .is_mending = plan.is_mending,
        .started_us = control->now_us,
    };
    control->verify_tick_us = control->now_us + CONTROL_FILL_TICK_US;
    drive_move(control, VERIFY_DRIVE_RUNNING);
    verify_start(control->verify, &plan, control->now_us);
    if (!is_background) {
        control_tell(control, TRACE_VERIFY_STARTED,
                     plan.node == VERIFY_ALL_NODES ? TRACE_NO_NODE : plan.node,
                     plan.is_mending ? "mends" : "looks only");
    }
}

/* --- What happens --- */

void control_verify_on_hold(struct control *control)
{
    if (control->verify_drive != VERIFY_DRIVE_IDLE) {
        verify_hold(control->verify, control->now_us);
    }
}

/* What was dumped so far does not count. */
static void begin_anew(struct control *control)
{
    if (control->verify_drive == VERIFY_DRIVE_RUNNING &&
        control->verify_run.why != CONTROL_VERIFY_ASKED) {
        drive_move(control, VERIFY_DRIVE_LEAVING); /* what it has seen may be too early */
        verify_hold(control->verify, control->now_us);
    }
}

void control_verify_on_death(struct control *control)
{
    control->due_after_us = control->now_us + control->options.lease_us;
    control->due_runs = 2;
    control->is_due_wanted = true;
    begin_anew(control);
}

/* What a verify of ours left behind is compared once it is surely done, as what a dead proxy did.
 * Others that compare do not know of it. On a node that is not complete its fill finds it. */
static void owe_when_proven(struct control *control)
{
    node_set in_doubt =
        verify_given_up(control->verify) | verify_unproven(control->verify, control->now_us);
    node_set owed =
        verify_owed(control->verify) & control_join_nodes(&control->effective, NODE_DATA_COMPLETE);
    if ((owed & in_doubt) != 0) {
        return;
    }
    verify_take_owed(control->verify);
    if (owed == 0) {
        return;
    }
    if (control->due_after_us < control->now_us) {
        control->due_after_us = control->now_us;
    }
    bool is_ours = control->effective.due_by == control->id;
    bool are_known = (is_ours || control->is_due_wanted) && control->due_runs > 0;
    control->due_runs = are_known ? control->due_runs : 1;
    control->is_due_owed = !is_ours;
    begin_anew(control);
}

void control_verify_on_effective(struct control *control, const struct view *before)
{
    const struct view *now = &control->effective;
    if (now->due_by == VIEW_NO_PROXY) {
        bool is_kept = control->is_due_wanted || control->is_due_owed;
        control->due_runs = is_kept ? control->due_runs : 0;
        return;
    }
    control->is_due_wanted = false;
    control->is_due_owed = control->is_due_owed && now->due_by != control->id;
    node_set complete = control_join_nodes(now, NODE_DATA_COMPLETE);
    /* A comparison that may be over was without who has entered. */
    bool is_new = before->epoch == 0 || before->due_by != now->due_by ||
                  control_merge_is_forgetting(before) ||
                  (complete & ~control_join_nodes(before, NODE_DATA_COMPLETE)) != 0;
    if (now->due_by == control->id && is_new && control->due_runs == 0) {
        control->due_runs = 1;
    }
}

bool control_verify_is_due_over(const struct control *control)
{
    return control->effective.due_by == control->id && control->due_runs == 0 &&
           !control_merge_is_forgetting(&control->effective);
}

static void on_progress(struct control *control)
{
    enum verify_state state = verify_state(control->verify);
    take_result(control);
    if (state == VERIFY_DONE || state == VERIFY_FAILED) {
        end_run(control);
    }
}

static void cloud(struct control *control)
{
    node_set complete = control_join_nodes(&control->effective, NODE_DATA_COMPLETE);
    if ((control_peers_own_given_up(control) & complete) != 0) {
        verify_cloud(control->verify, control->now_us);
    }
}

void control_verify_event(struct control *control, const struct wire_event *event)
{
    if (control->verify_drive != VERIFY_DRIVE_IDLE) {
        cloud(control);
    }
    verify_step(control->verify, event, control->now_us);
    if (control->verify_drive != VERIFY_DRIVE_IDLE) {
        on_progress(control);
    }
}

static void step_running(struct control *control, bool is_serving)
{
    if (control->now_us >= control->verify_tick_us) {
        control->verify_tick_us = control->now_us + CONTROL_FILL_TICK_US;
        cloud(control);
        verify_tick(control->verify, control->now_us);
        on_progress(control);
    }
    if (control->verify_drive == VERIFY_DRIVE_RUNNING && is_serving) {
        enum control_verify_why first = wanted(control);
        if (!is_same_pool(control)) {
            abandon(control); /* and begins anew */
        } else if ((first != CONTROL_VERIFY_NONE && first < control->verify_run.why) ||
                   (is_in_background(control) && !control->options.is_verify_background)) {
            drive_move(control, VERIFY_DRIVE_LEAVING);
            verify_hold(control->verify, control->now_us);
        } else {
            verify_go_on(control->verify, control->now_us);
        }
    }
    if (control->verify_drive == VERIFY_DRIVE_LEAVING && verify_is_at_rest(control->verify)) {
        abandon(control);
    }
}

void control_verify_step(struct control *control)
{
    bool is_serving = control->state == CONTROL_SERVING && control->join == JOIN_IDLE &&
                      control->effective.flush_by == VIEW_NO_PROXY;
    if (is_serving) {
        owe_when_proven(control);
    }
    if (control->verify_drive != VERIFY_DRIVE_IDLE) {
        step_running(control, is_serving);
    } else if (is_serving) {
        enum control_verify_why why = wanted(control);
        if (why != CONTROL_VERIFY_NONE) {
            start(control, why);
            on_progress(control);
        }
    }
}

/* --- Commands --- */

static struct control_verify_snapshot run_of(const struct control *control,
                                             const struct control_command *command)
{
    return (struct control_verify_snapshot){
        .why = CONTROL_VERIFY_ASKED,
        .tag = command->tag,
        .node = command->node,
        .is_mending = command->is_mending,
        .started_us = control->now_us,
        .ended_us = control->now_us,
        .phase = VERIFY_DONE,
    };
}

static enum control_result stop_asked(struct control *control)
{
    if (!control->is_verify_asked) {
        return CONTROL_RESULT_UNCHANGED;
    }
    control->is_verify_asked = false;
    if (control->verify_drive == VERIFY_DRIVE_IDLE ||
        control->verify_run.why != CONTROL_VERIFY_ASKED) {
        struct control_verify_snapshot run = run_of(control, &control->verify_command);
        stopped(control, &run);
    } else if (control->verify_drive == VERIFY_DRIVE_RUNNING) {
        drive_move(control, VERIFY_DRIVE_LEAVING);
        verify_hold(control->verify, control->now_us);
    }
    return CONTROL_RESULT_OK;
}

enum control_result control_verify_command(struct control *control,
                                           const struct control_command *command)
{
    const struct control_command *running = &control->verify_command;
    if (command->type == CONTROL_COMMAND_VERIFY_STOP) {
        return stop_asked(control);
    }
    if (control->is_lone) {
        control->verify_asked = run_of(control, command); /* nothing to differ from */
        return CONTROL_RESULT_OK;
    }
    if (control->effective.epoch == 0) {
        return CONTROL_RESULT_STARTING;
    }
    if (control->is_verify_asked) {
        bool is_same = running->node == command->node && running->is_mending == command->is_mending;
        return is_same ? CONTROL_RESULT_UNCHANGED : CONTROL_RESULT_BUSY;
    }
    control->is_verify_asked = true;
    control->verify_command = *command;
    return CONTROL_RESULT_OK;
}

const char *control_verify_why_word(enum control_verify_why why)
{
    switch (why) {
    case CONTROL_VERIFY_NONE:
        return "none";
    case CONTROL_VERIFY_ASKED:
        return "asked";
    case CONTROL_VERIFY_DUE:
        return "due";
    case CONTROL_VERIFY_BACKGROUND:
        return "background";
    }
    UNREACHABLE();
}

uint64_t control_verify_deadline_us(const struct control *control)
{
    if (control->verify_drive != VERIFY_DRIVE_IDLE) {
        return control->verify_tick_us;
    }
    return UINT64_MAX; /* the next round is soon enough to begin */
}
