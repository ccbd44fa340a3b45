/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control's face: calls come in, leave their facts with the parts, and end in control_advance,
 * which lets each part decide. What is to be done is not queued but asked of the parts, so that it
 * is never stale; only traces wait in a ring.
 */
#include "control_private.h"

#include "everwarm/core/rule.h"

static size_t aligned(size_t bytes)
{
    return (bytes + CONTROL_ALIGN - 1) & ~(size_t)(CONTROL_ALIGN - 1);
}

static void check_options(const struct control_options *options)
{
    REQUIRE(options->names.node_count >= 1 && options->names.node_count <= NODES_MAX);
    REQUIRE(options->names.nodes[0].len > 0);
    REQUIRE(options->worker_count >= 1 && options->worker_count <= WORKERS_MAX);
    REQUIRE(options->nonce != 0);
    REQUIRE(options->timeout_us > 0 && options->timeout_us <= options->interval_us / 2);
    REQUIRE(options->lease_us > 2 * options->interval_us);
    REQUIRE(options->request_timeout_us > 0);
    REQUIRE(options->verify.node_count == options->names.node_count);
}

size_t control_bytes(const struct control_options *options)
{
    check_options(options);
    size_t nodes = options->names.node_count;
    return aligned(sizeof(struct control)) + aligned(nodes * sizeof(struct probe)) +
           nodes * CONTROL_RING_BYTES + aligned(fill_bytes(&options->fill)) +
           aligned(verify_bytes(&options->verify));
}

/* A pool of one node: all that it needs to be served is there at once. */
static void init_lone(struct control *control)
{
    control->serial = 1;
    control->effective_serial = 1;
    struct view view = {.members = 1, .nodes = {{.data = NODE_DATA_COMPLETE}}};
    view.flush_by = VIEW_NO_PROXY;
    control_place_name(control, &view, 0);
    view_topology(&view, &control->topologies[1]);
    control->topologies[1].serial = 1;
    control->wants_adopt = true;
    control_move(control, CONTROL_SERVING);
}

struct control *control_init(void *memory, const struct control_options *options, uint64_t now_us)
{
    check_options(options);
    REQUIRE((uintptr_t)memory % CONTROL_ALIGN == 0);
    struct control *control = memory;
    control->options = *options;
    control->node_count = options->names.node_count;
    control->now_us = now_us;
    control->start_us = now_us;
    control->round_next_us = now_us;
    control_place_init(control);
    control->is_lone = control->configured_count == 1;
    control->is_new = true;
    control->prng.state = options->nonce;
    control->effective.flush_by = VIEW_NO_PROXY;
    control->effective.due_by = VIEW_NO_PROXY;
    control->effective.alone = VIEW_NO_PROXY;
    control->last_peer_us = now_us;
    control->scan_next_us = now_us;
    char *rest = (char *)memory + aligned(sizeof *control);
    control->probes = (struct probe *)(void *)rest;
    rest += aligned(control->node_count * sizeof(struct probe));
    for (uint32_t node = 0; node < control->node_count; node++) {
        control_probe_init(control, node, rest);
        rest += CONTROL_RING_BYTES;
        control->nodes[node].admin_since_us = now_us;
        control->nodes[node].data_since_us = now_us;
    }
    control->fill = fill_init(rest, &options->fill);
    rest += aligned(fill_bytes(&options->fill));
    control->verify = verify_init(rest, &options->verify);
    control_peers_init(control);
    if (control->is_lone) {
        init_lone(control);
    }
    return control;
}

/* --- States and traces --- */

void control_move(struct control *control, enum control_state state)
{
#define TO(name) (1u << CONTROL_##name)
    static const uint32_t moves[] = {
        [CONTROL_STARTING] = TO(CHANGING) | TO(SERVING) | TO(LEAVING),
        [CONTROL_SERVING] = TO(CHANGING) | TO(LAPSED) | TO(LEAVING),
        [CONTROL_CHANGING] = TO(SERVING) | TO(LAPSED) | TO(LEAVING),
        [CONTROL_LAPSED] = TO(SERVING) | TO(CHANGING) | TO(LEAVING),
        [CONTROL_LEAVING] = 0,
    };
#undef TO
    INVARIANT((moves[control->state] >> state & 1u) != 0);
    bool is_first =
        state == CONTROL_SERVING && control->counts.view_changes <= 1 && control->lapsed_us == 0;
    control->state = state;
    if (is_first) {
        struct trace_event event = control_event(control, TRACE_SERVING);
        event.a = control->effective.epoch;
        control_trace(control, &event);
    }
}

const char *control_state_word(enum control_state state)
{
    switch (state) {
    case CONTROL_STARTING:
        return "starting";
    case CONTROL_SERVING:
        return "serving";
    case CONTROL_CHANGING:
        return "changing";
    case CONTROL_LAPSED:
        return "lapsed";
    case CONTROL_LEAVING:
        return "leaving";
    }
    UNREACHABLE();
}

void control_copy_text(char *out, size_t bytes, struct slice text)
{
    size_t len = text.len < bytes ? text.len : bytes - 1;
    if (len > 0) {
        memcpy(out, text.ptr, len);
    }
    out[len] = '\0';
}

struct trace_event control_event(const struct control *control, enum trace_type type)
{
    return (struct trace_event){
        .type = type, .node = TRACE_NO_NODE, .proxy = TRACE_NO_PROXY, .at_us = control->now_us};
}

void control_trace(struct control *control, const struct trace_event *event)
{
    if (control->traces_count < CONTROL_TRACES_MAX) {
        uint32_t at = (control->traces_head + control->traces_count++) % CONTROL_TRACES_MAX;
        struct trace_event *kept = &control->traces[at];
        *kept = *event;
        /* Somebody else may stand there when it is read. */
        if (event->node < control->node_count) {
            control_copy_text(kept->name, sizeof kept->name, control->place_names[event->node]);
        }
    }
}

void control_tell(struct control *control, enum trace_type type, uint32_t node, const char *detail)
{
    struct trace_event event = control_event(control, type);
    event.node = node;
    control_copy_text(event.detail, sizeof event.detail, slice_of_string(detail));
    control_trace(control, &event);
}

/* --- Leaving --- */

/* Time first: no fact is looked at with an old clock. */
static void now_is(struct control *control, uint64_t now_us)
{
    if (now_us > control->now_us) {
        control->now_us = now_us;
    }
}

static bool has_parked(const struct control *control)
{
    bool has = false;
    for (uint32_t worker = 0; worker < control->options.worker_count; worker++) {
        has = has || control->parked[worker] > 0;
    }
    return has;
}

/* Nobody hears from us any more, and all who saw us take us for dead by then. */
static uint64_t buried_us(const struct control *control)
{
    return control->lease_from_us + control->options.lease_us;
}

/*
 * A farewell says that nothing of ours is under way: nobody compares copies after it, nor counts a
 * connection that we gave up. So it waits for the end of these and for what a verify has not looked
 * at again; if that does not come within the lease, or a verify left something behind, we leave as
 * one that died. Keys that differ on a node that is being filled would take too long: meanwhile a
 * change of view waits for us. The farewell tells of them, and copies are compared.
 */
static void leave_step(struct control *control)
{
    if (!control->is_farewell_owed) {
        return;
    }
    control_verify_step(control);
    if (verify_is_at_rest(control->verify)) {
        control_verify_stop(control);
    }
    bool is_over = control->verify_drive == VERIFY_DRIVE_IDLE &&
                   verify_owed(control->verify) == 0 && control_peers_own_given_up(control) == 0;
    is_over = is_over || !RULE(FAREWELL_LAST);
    if (is_over) {
        control_peers_farewell(control, has_parked(control));
    }
    control->is_farewell_owed = !is_over && control->now_us < buried_us(control);
}

void control_leave(struct control *control, uint64_t now_us)
{
    now_is(control, now_us);
    if (control->state == CONTROL_LEAVING) {
        return;
    }
    control_fill_stop(control);
    control_verify_on_hold(control);
    /* Others look after what a lapse may have left undone. */
    control->is_farewell_owed =
        !control->is_lone && control->id_state == ID_OURS && control->state != CONTROL_LAPSED;
    control_move(control, CONTROL_LEAVING);
    leave_step(control);
}

bool control_is_gone(const struct control *control)
{
    if (control->state != CONTROL_LEAVING || control->is_farewell_owed) {
        return false;
    }
    for (node_set left = control->farewells; left != 0; left &= left - 1) {
        if (control->probes[node_set_first(left)].state == PROBE_OPEN) {
            return false;
        }
    }
    return true;
}

/* --- The calls --- */

static void control_advance(struct control *control)
{
    if (control->state == CONTROL_LEAVING) {
        leave_step(control);
        return;
    }
    if (!control->is_lone) {
        control_peers_tick_id(control);
        control_peers_tick(control);
        control_join_step(control);
        control_plan_step(control);
        control_fill_step(control);
        control_verify_step(control);
        control_place_step(control);
        control_join_offer(control);
    }
    control_flush_step(control);
}

void control_wire(struct control *control, const struct wire_event *event, uint64_t now_us)
{
    now_is(control, now_us);
    uint32_t nodes = control->node_count;
    REQUIRE(event->wire < CONTROL_WIRE_COUNT(nodes));
    struct wire_event shifted = *event;
    if (event->wire >= CONTROL_WIRE_VERIFY(nodes, 0)) {
        shifted.wire -= CONTROL_WIRE_VERIFY(nodes, 0);
        control_verify_event(control, &shifted);
        if (control->verify_drive == VERIFY_DRIVE_RUNNING && control->join == JOIN_IDLE) {
            return; /* nothing but keys compared */
        }
    } else if (event->wire >= nodes) {
        shifted.wire -= nodes;
        control_fill_event(control, &shifted);
        if (control->drive == FILL_DRIVE_RUNNING) {
            return; /* nothing but bytes copied */
        }
    } else {
        control_probe_event(control, event);
    }
    control_advance(control);
}

void control_report(struct control *control, const struct control_report *report, uint64_t now_us)
{
    now_is(control, now_us);
    REQUIRE(report->worker < control->options.worker_count && report->node < control->node_count);
    struct probe *probe = &control->probes[report->node];
    switch (report->type) {
    case CONTROL_REPORT_DRAINED:
        control->drained[report->worker] = report->serial;
        break;
    case CONTROL_REPORT_ADOPTED:
        control->adopted[report->worker] = report->serial;
        break;
    case CONTROL_REPORT_MISSED:
        control->nodes[report->node].missed_us = control->now_us;
        control->nodes[report->node].missed_end = report->end;
        break;
    case CONTROL_REPORT_IDENTITY:
        control_probe_hurry(control, probe);
        control_probe_ask_stats(control, probe);
        break;
    case CONTROL_REPORT_NEWER:
        control_probe_hurry(control, probe);
        control_probe_ask_view(control, probe);
        break;
    case CONTROL_REPORT_ANSWERED:
        control->nodes[report->node].answered_us = control->now_us;
        break;
    case CONTROL_REPORT_GIVEN_UP:
        control->given_up[report->worker][report->node] = report->count;
        break;
    case CONTROL_REPORT_PARKED:
        control->parked[report->worker] = report->count;
        break;
    case CONTROL_REPORT_FLUSH:
        control_flush_report(control, report);
        break;
    case CONTROL_REPORT_WARMED:
        control_warm_report(control, report);
        break;
    }
    control_advance(control);
}

void control_command(struct control *control, const struct control_command *command,
                     uint64_t now_us)
{
    now_is(control, now_us);
    bool is_verify =
        command->type == CONTROL_COMMAND_VERIFY || command->type == CONTROL_COMMAND_VERIFY_STOP;
    if (is_verify) {
        control_plan_answer(control, command, control_verify_command(control, command));
    } else {
        control_plan_command(control, command);
    }
    control_advance(control);
}

void control_tick(struct control *control, uint64_t now_us)
{
    now_is(control, now_us);
    control_probe_tick(control);
    if (control->now_us >= control->round_next_us && control->state != CONTROL_LEAVING) {
        control->round_next_us =
            control->now_us +
            prng_jitter(&control->prng, control->options.interval_us, CONTROL_JITTER_PERCENT);
        control_probe_round(control);
    }
    control_plan_tick(control);
    control_advance(control);
}

static void sooner(uint64_t *deadline, uint64_t at_us)
{
    *deadline = at_us < *deadline ? at_us : *deadline;
}

uint64_t control_next_deadline_us(const struct control *control)
{
    uint64_t deadline = control_probe_deadline_us(control);
    if (control->state == CONTROL_LEAVING) {
        if (control->is_farewell_owed) {
            sooner(&deadline, buried_us(control));
            sooner(&deadline, control_verify_deadline_us(control));
        }
        return deadline;
    }
    sooner(&deadline, control->round_next_us);
    sooner(&deadline, control_plan_deadline_us(control));
    if (control->is_lone) {
        return deadline;
    }
    if (control->start == START_DONE && control->join == JOIN_IDLE) {
        sooner(&deadline, control->glance_us);
    }
    if (control->start == START_PAUSE) {
        sooner(&deadline, control->start_us + 2 * control->options.interval_us);
    }
    bool is_asking = control->start == START_PAUSE ||
                     (control->start == START_READ && control->read_again_us != 0);
    if (is_asking && control->top.epoch > 0) {
        sooner(&deadline, control->poll_us);
    }
    if (control->flush == FLUSH_SENDING) {
        uint64_t late_us = control->flush_us + 2 * control->options.timeout_us;
        sooner(&deadline, late_us > control->now_us ? late_us : UINT64_MAX);
    }
    if (control->join == JOIN_POLL) {
        sooner(&deadline, control->poll_us);
    }
    if (control->drive == FILL_DRIVE_RUNNING) {
        sooner(&deadline, control->fill_tick_us);
    } else if (control->drive == FILL_DRIVE_PAUSED) {
        sooner(&deadline,
               control->fill_retry_us > control->now_us ? control->fill_retry_us : UINT64_MAX);
    }
    sooner(&deadline, control_verify_deadline_us(control));
    if (control->state == CONTROL_SERVING || control->state == CONTROL_CHANGING) {
        sooner(&deadline,
               control->lease_from_us + control->options.lease_us - control->options.interval_us);
    }
    return deadline;
}

/* --- Actions --- */

static bool next_topology(struct control *control, struct control_action *out)
{
    if (!control->wants_hold && !control->wants_adopt) {
        return false;
    }
    out->type = control->wants_hold ? CONTROL_ACTION_HOLD : CONTROL_ACTION_ADOPT;
    out->topology = &control->topologies[control->serial % CONTROL_TOPOLOGIES_MAX];
    control->wants_hold = false;
    control->wants_adopt = false;
    return true;
}

bool control_next_action(struct control *control, struct control_action *out)
{
    *out = (struct control_action){0};
    if (control->traces_count > 0) {
        out->type = CONTROL_ACTION_TRACE;
        out->trace = control->traces[control->traces_head];
        control->traces_head = (control->traces_head + 1) % CONTROL_TRACES_MAX;
        control->traces_count--;
        return true;
    }
    if (control_place_next_action(control, out)) {
        return true;
    }
    if (control_probe_next_action(control, &out->wire)) {
        out->type = CONTROL_ACTION_WIRE;
        return true;
    }
    if (fill_next_action(control->fill, &out->wire)) {
        out->type = CONTROL_ACTION_WIRE;
        out->wire.wire = CONTROL_WIRE_FILL(control->node_count, out->wire.wire);
        return true;
    }
    if (verify_next_action(control->verify, &out->wire)) {
        out->type = CONTROL_ACTION_WIRE;
        out->wire.wire = CONTROL_WIRE_VERIFY(control->node_count, out->wire.wire);
        return true;
    }
    return next_topology(control, out) || control_flush_next_action(control, out) ||
           control_plan_next_done(control, out);
}

size_t control_gather(const struct control *control, uint32_t wire, struct slice *out,
                      size_t capacity)
{
    uint32_t nodes = control->node_count;
    REQUIRE(wire < CONTROL_WIRE_COUNT(nodes));
    if (wire >= CONTROL_WIRE_VERIFY(nodes, 0)) {
        return verify_gather(control->verify, wire - CONTROL_WIRE_VERIFY(nodes, 0), out, capacity);
    }
    if (wire >= nodes) {
        return fill_gather(control->fill, wire - nodes, out, capacity);
    }
    struct slice pieces[2];
    size_t count = byte_ring_slices(&control->probes[wire].out, pieces);
    count = count < capacity ? count : capacity;
    memcpy(out, pieces, count * sizeof pieces[0]);
    return count;
}

uint64_t control_lease_until_us(const struct control *control)
{
    switch (control->state) {
    case CONTROL_STARTING:
    case CONTROL_LAPSED:
    case CONTROL_LEAVING:
        return 0;
    case CONTROL_SERVING:
    case CONTROL_CHANGING:
        break;
    }
    if (control->is_lone) {
        return UINT64_MAX;
    }
    return control->effective.epoch == 0 || control->is_behind
               ? 0
               : control->lease_from_us + control->options.lease_us - control->options.interval_us;
}

void control_set_limits(struct control *control, const struct control_limits *limits)
{
    REQUIRE(limits->fall > 0 && limits->rise > 0 && limits->request_timeout_us > 0);
    REQUIRE(limits->timeout_us > 0 && limits->timeout_us <= control->options.interval_us / 2);
    control->options.fall = limits->fall;
    control->options.rise = limits->rise;
    control->options.timeout_us = limits->timeout_us;
    control->options.hold_down_max_us = limits->hold_down_max_us;
    control->options.request_timeout_us = limits->request_timeout_us;
    control->options.stops_in_split = limits->stops_in_split;
    control->options.keeps_last_copy = limits->keeps_last_copy;
    control->options.warm_for_us = limits->warm_for_us;
    for (uint32_t node = 0; node < control->node_count; node++) {
        control->probes[node].health.fall = limits->fall;
        control->probes[node].health.rise = limits->rise;
    }
    fill_set_limits(control->fill, &limits->fill);
    verify_set_limits(control->verify, &limits->verify);
    control_verify_set_background(control, limits);
}

/* --- Snapshot --- */

static uint32_t transitions_1h(const struct control *control, const struct probe *probe)
{
    uint32_t known =
        probe->transitions < CONTROL_TRANSITIONS_MAX ? probe->transitions : CONTROL_TRANSITIONS_MAX;
    uint32_t count = 0;
    for (uint32_t i = 0; i < known; i++) {
        count += control->now_us - probe->transitions_us[i] < CONTROL_HOUR_US;
    }
    return count;
}

static void snapshot_node(const struct control *control, uint32_t node,
                          struct control_node_snapshot *out)
{
    const struct probe *probe = &control->probes[node];
    const struct node_record *record = &control->nodes[node];
    const struct view_node *at = &control->effective.nodes[node];
    bool has_view = control->effective.epoch > 0;
    *out = (struct control_node_snapshot){
        .is_member = true,
        .is_told = has_view && at->is_told,
        .admin = has_view ? at->admin : NODE_ADMIN_READY,
        .oper = probe->health.oper,
        .data = has_view           ? at->data
                : control->is_lone ? NODE_DATA_COMPLETE
                                   : NODE_DATA_OUT,
        .admin_since_us = record->admin_since_us,
        .oper_since_us = probe->oper_since_us,
        .data_since_us = record->data_since_us,
        .transitions_1h = transitions_1h(control, probe),
        .hold_down_until_us =
            record->hold_down_until_us > control->now_us ? record->hold_down_until_us : 0,
        .is_filled_by_us = control->drive != FILL_DRIVE_IDLE && control->fill_node == node,
        .filler = has_view ? at->filler : VIEW_NO_PROXY,
        .is_check_ok = probe->is_check_ok,
        .check_us = probe->check_us,
        .check_at_us = probe->check_at_us,
        .checks_ok = probe->checks_ok,
        .checks_failed = probe->checks_failed,
        .curr_items = probe->curr_items,
        .round_requests = probe->requests,
        .round_bytes = probe->bytes,
    };
    memcpy(out->check_text, probe->check_text, sizeof out->check_text);
    const struct place *place = &control->places[node];
    control_copy_text(out->name, sizeof out->name, control->place_names[node]);
    control_copy_text(out->address, sizeof out->address,
                      slice_of(place->address, place->address_bytes));
    if (out->data == NODE_DATA_WARMING) {
        const struct warm *warm = &record->warm;
        out->warm_asked = warm->last_asked != 0 ? warm->last_asked : warm->asked;
        out->warm_hits = warm->last_asked != 0 ? warm->last_hits : warm->hits;
        out->is_warm = warm->is_good;
        out->warm_since_us = warm->good_since_us;
    }
    if (out->is_filled_by_us) {
        out->fill_state = fill_state(control->fill);
        out->fill = fill_progress(control->fill, control->now_us);
    }
}

void control_snapshot(const struct control *control, struct control_snapshot *out, uint64_t now_us)
{
    (void)now_us; /* what is shown was true when control was last called */
    *out = control->counts;
    control_fill_add_work(control, out);
    out->state = control->state;
    out->proxy_id = control->id_state == ID_OURS ? (uint16_t)control->id : VIEW_NO_PROXY;
    out->proxies = control_peers_live(control) + 1;
    out->epoch = control->effective.epoch;
    out->view_hash = control->effective.hash;
    out->is_young = control->effective.is_young;
    out->is_stopped = control->is_stopped;
    out->verify_due_by = control->effective.due_by;
    out->verify = control->verify_run;
    out->verify_asked = control->verify_asked;
    out->node_count = control->node_count;
    out->members =
        control->effective.epoch > 0 ? control->effective.members : control_place_in(control);
    for (uint32_t node = 0; node < control->node_count; node++) {
        if ((out->members & node_set_of(node)) != 0) {
            snapshot_node(control, node, &out->nodes[node]);
        } else {
            out->nodes[node] =
                (struct control_node_snapshot){.data = NODE_DATA_OUT, .filler = VIEW_NO_PROXY};
        }
    }
}
