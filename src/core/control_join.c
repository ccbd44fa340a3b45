/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a view seen to a view in effect (replication.md section 4).
 *
 *   propose: PUT on the anchor ─► it is `top` ─► PUT on all other nodes
 *   see:     higher than `top` ─► it is `top`
 *   join:    IDLE ─ top above target ─► HOLD ─ all drained ─► POLL ─ all show it ─► ADOPT ─► IDLE
 *            HOLD and POLL begin anew when something higher is seen; ADOPT ends first.
 *
 * The order of views is by epoch, then proposer, then hash. The last matters where two proxies had
 * the same id for a moment, and where one proposed twice: a proposal that a lost connection left in
 * a node may be stored when another one of its epoch is in effect.
 */
#include "control_private.h"

#include "everwarm/core/rule.h"

node_set control_join_nodes(const struct view *view, enum node_data data)
{
    node_set set = 0;
    for (node_set left = view->epoch > 0 ? view->members : 0; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        set |= view->nodes[node].data == data ? node_set_of(node) : 0;
    }
    return set;
}

/* --- Storing --- */

static void put(struct control *control, struct probe *probe, const struct view *view)
{
    char body[VIEW_BYTES_MAX];
    struct mc_writer b = mc_writer_of(body, sizeof body);
    view_emit(view, &b);
    INVARIANT(!b.is_full);
    char text[VIEW_BYTES_MAX + MC_KEY_BYTES_MAX + 64];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    mc_write(&w, SLICE("ms "));
    view_key_view(&control->options.names, &w);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, b.len);
    if (!probe->has_view_item) {
        mc_write(&w, SLICE(" ME"));
    } else if (probe->view_cas != 0) {
        mc_write(&w, SLICE(" C"));
        mc_write_u64(&w, probe->view_cas);
    }
    mc_write(&w, SLICE(" T0 c\r\n"));
    mc_write(&w, slice_of(body, b.len));
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    probe->puts++;
    probe->put_epoch = view->epoch;
    probe->put_hash = view->hash;
    if (control_probe_send(control, probe, PROBE_FORM_PUT, slice_of(text, w.len), 0)) {
        probe->is_put_owed = true;
    }
}

static bool choose_anchor(struct control *control)
{
    node_set heard = control_probe_heard(control) & ~control->anchors_tried;
    node_set complete = heard & control_join_nodes(&control->top, NODE_DATA_COMPLETE);
    if (heard == 0) {
        return false;
    }
    control->anchor = node_set_first(complete != 0 ? complete : heard);
    return true;
}

bool control_join_propose(struct control *control, const struct view *view, struct slice reason)
{
    REQUIRE(view->epoch == control->top.epoch + 1);
    control->anchors_tried = 0;
    if (!choose_anchor(control)) {
        return false;
    }
    control->proposal = *view;
    control->is_proposing = true;
    control->is_withdrawn = false;
    control_copy_text(control->reason, sizeof control->reason, reason);
    return true;
}

/* Is our proposal in a store that the anchor has not answered yet? */
static bool is_in_store(const struct control *control)
{
    const struct probe *anchor = &control->probes[control->anchor];
    return control->is_proposing && anchor->is_put_owed &&
           anchor->put_hash == control->proposal.hash;
}

/*
 * A proposal that is under way has another parent: it is withdrawn, also if it is above VIEW. To
 * store it after all would undo what VIEW says, which may be in effect by then. If it is being
 * stored just now and above VIEW, nobody knows which it will be: VIEW is not joined, and so can't
 * take effect, before the anchor has answered.
 */
static void rise(struct control *control, const struct view *view)
{
    control->top = *view;
    bool is_above = control->is_proposing && view_compare(&control->top, &control->proposal) < 0;
    control->is_withdrawn = is_above && is_in_store(control) && RULE(WITHDRAW);
    control->is_proposing = is_above && (control->is_withdrawn || !RULE(WITHDRAW));
}

static void accepted(struct control *control)
{
    struct trace_event event = control_event(control, TRACE_VIEW_PROPOSED);
    event.a = control->proposal.epoch;
    control_copy_text(event.detail, sizeof event.detail, slice_of_string(control->reason));
    control_trace(control, &event);
    rise(control, &control->proposal);
}

bool control_join_see(struct control *control, struct view *view, uint32_t from)
{
    if (view_compare(view, &control->top) > 0) {
        if (!control_place_view(control, view, from)) {
            return false;
        }
        control->told_us = view->proposer == control->id ? control->told_us : control->now_us;
        rise(control, view);
    }
    return true;
}

void control_join_on_put(struct control *control, struct probe *probe,
                         const struct probe_want *want, const struct mc_reply *reply)
{
    probe->is_put_owed = false;
    bool is_proposal = control->is_proposing && probe->node == control->anchor &&
                       probe->put_epoch == control->proposal.epoch &&
                       probe->put_hash == control->proposal.hash;
    if (reply->kind == MC_REPLY_HD) {
        probe->has_view_item = true;
        probe->view_cas = reply->cas;
        probe->held_epoch = probe->put_epoch;
        probe->held_hash = probe->put_hash;
        probe->looked_us = want->sent_us;
        if (is_proposal) {
            accepted(control);
        }
        return;
    }
    if (is_proposal && control->is_withdrawn) {
        control->is_proposing = false;
    } else if (is_proposal &&
               (reply->kind == MC_REPLY_SERVER_ERROR || probe->puts >= CONTROL_PUTS_MAX)) {
        control->anchors_tried |= node_set_of(probe->node);
    }
    probe->is_looked = false;
    control_probe_ask_view(control, probe);
}

void control_join_offer(struct control *control)
{
    if (control->is_proposing && (!control_probe_is_heard(control, control->anchor) ||
                                  (control->anchors_tried & node_set_of(control->anchor)) != 0)) {
        control->is_proposing = !control->is_withdrawn && choose_anchor(control);
    }
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct probe *probe = &control->probes[node];
        bool is_anchor = control->is_proposing && !control->is_withdrawn && node == control->anchor;
        const struct view *view = is_anchor ? &control->proposal : &control->top;
        if (control_place_takes_views(control, node) && probe->is_greeted && probe->is_looked &&
            !probe->is_put_owed && probe->puts < CONTROL_PUTS_MAX && view->epoch > 0 &&
            (probe->held_epoch != view->epoch || probe->held_hash != view->hash)) {
            put(control, probe, view);
        }
    }
}

/* --- Asking everyone --- */

/* Have all nodes that we hear told their view, asked at SINCE_US or later? Asks those that were
 * not. */
static bool have_views(struct control *control, uint64_t since_us)
{
    bool are_all = true;
    for (node_set left = control_probe_heard(control); left != 0; left &= left - 1) {
        struct probe *probe = &control->probes[node_set_first(left)];
        if (probe->is_looked && probe->looked_us >= since_us) {
            continue;
        }
        are_all = false;
        if (!control_probe_is_asked(probe, PROBE_FORM_VIEW, since_us)) {
            control_probe_ask_view(control, probe);
        }
    }
    return are_all;
}

/* The node's answer to a scan at SINCE_US or later tells: it was not emptied just before, as it
 * said behind it. */
static bool is_scanned(const struct probe *probe, uint64_t since_us)
{
    return probe->scan_full_us >= since_us && probe->identity_us >= probe->scan_full_us;
}

bool control_join_have_scans(struct control *control, uint64_t since_us, enum control_scan scan)
{
    bool are_all = true;
    for (node_set left = control_probe_heard(control); left != 0; left &= left - 1) {
        struct probe *probe = &control->probes[node_set_first(left)];
        if (!is_scanned(probe, since_us)) {
            are_all = false;
        }
        if (probe->scan_full_us < since_us) {
            control_peers_scan(control, probe, scan);
        }
    }
    return are_all;
}

/* Have all nodes that we hear stored our heartbeat SEQUENCE? */
static bool have_beats(const struct control *control, uint64_t sequence)
{
    node_set heard = control_probe_heard(control);
    for (node_set left = heard; left != 0; left &= left - 1) {
        if (control->probes[node_set_first(left)].acked_sequence < sequence) {
            return false;
        }
    }
    return heard != 0;
}

/* Has what we have joined been shown on all nodes that we hear? */
static bool is_shown(const struct control *control)
{
    return have_beats(control, control->joined_sequence) || control_peers_is_blind(control);
}

/* --- Start --- */

static void start_move(struct control *control, enum start_step step)
{
    control->start = step;
    control->start_us = control->now_us;
}

static void propose_first(struct control *control)
{
    struct view view = {.epoch = 1,
                        .proposer = (uint16_t)control->id,
                        .origin = control->options.nonce,
                        .is_young = true,
                        .alone = control_plan_may_be_alone(control) ? (uint16_t)control->id
                                                                    : (uint16_t)VIEW_NO_PROXY,
                        .flush_by = VIEW_NO_PROXY,
                        .due_by = (uint16_t)control->id,
                        .members = control_place_in(control)};
    node_set heard = control_probe_heard(control);
    for (node_set left = view.members; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        bool is_there = (heard & node_set_of(node)) != 0;
        view.nodes[node] = (struct view_node){.data = is_there ? NODE_DATA_COMPLETE : NODE_DATA_OUT,
                                              .admin = NODE_ADMIN_READY,
                                              .identity = control->probes[node].identity,
                                              .filler = VIEW_NO_PROXY};
        control_place_name(control, &view, node);
    }
    view_clear_others(&view);
    view.has_tokens = control_plan_has_tokens(control, &view);
    view_seal(&view);
    if (control_join_propose(control, &view, SLICE("first start"))) {
        struct trace_event event = control_event(control, TRACE_FIRST_START);
        event.a = node_set_count(heard);
        control_trace(control, &event);
    }
}

/* Some other proxy is there that has a view, or is nearer to proposing the first. */
static bool is_other_first(const struct control *control)
{
    for (uint32_t id = 0; id < PROXIES_MAX; id++) {
        if (control_peers_is_live(control, id) &&
            (control->peers[id].epoch > 0 || id < control->id)) {
            return true;
        }
    }
    return false;
}

/* A node that tells nothing may be standing still, and be the only one that knows the last view. */
static bool is_patience_over(const struct control *control)
{
    return control->now_us - control->heard_us >= CONTROL_START_LEASES * control->options.lease_us;
}

/*
 * All nodes have been read, after our heartbeat was stored. A view that some live proxy shows is
 * joined at once. One that nobody shows may be what an emptied node was given by somebody whose
 * newer words were just erased there: it is looked at twice, as is emptiness.
 */
static void start_on_read(struct control *control)
{
    bool is_second = control->is_found_before;
    bool have_all =
        control_probe_heard(control) == control_place_in(control) || is_patience_over(control);
    start_move(control, START_PAUSE);
    control->is_found_before = true;
    if (control->top.epoch > 0) {
        if (is_second || control_peers_is_shown(control, &control->top, 0)) {
            start_move(control, START_DONE);
        }
    } else if (is_other_first(control)) {
        control->is_found_before = false;
    } else if (is_second && have_all && !control->is_proposing) {
        propose_first(control);
    }
}

/* What a node shows that was not heard before may be a left-over, however new it is to us. */
static bool is_any_heard_since(const struct control *control, uint64_t since_us)
{
    for (node_set left = control_probe_heard(control); left != 0; left &= left - 1) {
        if (control->probes[node_set_first(left)].greeted_us >= since_us) {
            return true;
        }
    }
    return false;
}

/*
 * Does what was read tell of all who live? What lies in one node may be of a time when it stood
 * still, and another was complete beside it: all that are complete in the view that was found are
 * to answer. And all nodes that do are to be the runs that the view names, or a lease be over: one
 * that was emptied shows no view and no heartbeat before the next round. Or somebody is seen to
 * live who shows that view: he may wait for us to join.
 */
static bool is_all_told(const struct control *control)
{
    node_set complete = control_join_nodes(&control->top, NODE_DATA_COMPLETE);
    node_set heard = control_probe_heard(control);
    node_set same = 0;
    node_set others = 0;
    for (node_set left = heard & control->top.members; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        const struct identity *known = &control->top.nodes[node].identity;
        bool is_same = identity_is_equal(&control->probes[node].identity, known);
        same |= is_same ? node_set_of(node) : 0;
        others |= !is_same && known->pid != 0 ? node_set_of(node) : 0;
    }
    bool is_any_emptied = control->top.epoch > 0 && ((complete & same) == 0 || others != 0);
    /* Where all was erased, who shows the view may himself wait for others, unseen by us. */
    bool is_seen = same != 0
                       ? control_peers_is_shown(control, &control->top, control->read_again_us)
                       : control_peers_is_effective(control, &control->top, control->read_again_us);
    if (control->read_again_us != 0 && !is_any_heard_since(control, control->read_again_us) &&
        is_seen) {
        return true;
    }
    bool are_heard = (complete & ~heard) == 0;
    bool is_lease_over = control->now_us - control->heard_us >= control->options.lease_us;
    return (are_heard && (!is_any_emptied || is_lease_over)) || is_patience_over(control);
}

/* He holds his writes until we have joined it, too. */
static void ask_who_shows(struct control *control, uint64_t since_us)
{
    if (control->top.epoch > 0 && control->now_us >= control->poll_us) {
        control_peers_poll(control, &control->top, since_us);
    }
}

static void start_step(struct control *control)
{
    if (control_probe_heard(control) == 0) {
        control->heard_us = control->now_us;
    }
    switch (control->start) {
    case START_ID:
        if (control->id_state == ID_OURS) {
            control_peers_beat(control);
            start_move(control, START_BEAT);
        }
        break;
    case START_BEAT:
        if (have_beats(control, 1) || control_peers_is_blind(control)) {
            start_move(control, START_READ);
            (void)control_join_have_scans(control, control->now_us, CONTROL_SCAN_ALL);
        }
        break;
    case START_READ: {
        bool have = have_views(control, control->start_us);
        have = control_join_have_scans(control, control->start_us, CONTROL_SCAN_ALL) && have &&
               control_probe_heard(control) != 0;
        if (have && is_all_told(control)) {
            start_on_read(control);
        } else if (have && control->now_us - control->start_us >= control->options.interval_us) {
            start_move(control, START_READ);
            control->read_again_us = control->now_us + 1;
        } else if (have && control->read_again_us == 0) {
            control->read_again_us = control->now_us + 1; /* what grows from now on is alive */
        }
        if (control->start == START_READ && control->read_again_us != 0) {
            ask_who_shows(control, control->read_again_us);
        }
        break;
    }
    case START_PAUSE: {
        bool is_shown = control_peers_is_shown(control, &control->top, control->start_us) &&
                        !is_any_heard_since(control, control->start_us);
        if (control->top.epoch > 0 && (control->top.proposer == control->id || is_shown)) {
            start_move(control, START_DONE); /* our own proposal, or somebody waits for us */
        } else if (control->now_us - control->start_us >= 2 * control->options.interval_us) {
            start_move(control, START_READ);
        } else {
            ask_who_shows(control, control->start_us);
        }
        break;
    }
    case START_DONE:
        break;
    }
}

/* --- Join --- */

static uint64_t least_of(const struct control *control, const uint64_t *serials)
{
    uint64_t least = UINT64_MAX;
    for (uint32_t worker = 0; worker < control->options.worker_count; worker++) {
        least = serials[worker] < least ? serials[worker] : least;
    }
    return least;
}

struct topology *control_join_topology(struct control *control, const struct view *view)
{
    uint64_t adopted = least_of(control, control->adopted);
    uint64_t drained = least_of(control, control->drained);
    uint64_t serial = control->serial + 1;
    if (control->topologies[serial % CONTROL_TOPOLOGIES_MAX].serial == control->effective_serial &&
        control->effective_serial != 0) {
        serial++; /* the one that is acted on keeps its place, however many come and go */
    }
    struct topology *topology = &control->topologies[serial % CONTROL_TOPOLOGIES_MAX];
    if (topology->serial != 0 && topology->serial >= adopted && topology->serial >= drained) {
        return NULL;
    }
    view_topology(view, topology);
    control->serial = serial;
    topology->serial = serial;
    bool is_alone = view->alone == control->id && control->options.worker_count == 1;
    topology->is_settling = !is_alone;
    topology->is_read_only = view->alone != VIEW_NO_PROXY && !is_alone;
    topology->is_stopped = control_merge_stops(control, view);
    topology->proxy_id = (uint16_t)control->id;
    topology->token_base_ms = control->token_base_ms;
    return topology;
}

static void join_move(struct control *control, enum join_step to)
{
    static const bool moves[4][4] = {
        [JOIN_IDLE] = {[JOIN_HOLD] = true},
        [JOIN_HOLD] = {[JOIN_HOLD] = true, [JOIN_POLL] = true},
        [JOIN_POLL] = {[JOIN_HOLD] = true, [JOIN_ADOPT] = true},
        [JOIN_ADOPT] = {[JOIN_IDLE] = true},
    };
    INVARIANT(moves[control->join][to]);
    control->join = to;
}

static void begin(struct control *control)
{
    if (control_join_topology(control, &control->top) == NULL) {
        return;
    }
    control->target = control->top;
    control->wants_hold = true;
    control->hold_us = control->now_us;
    if (control->join == JOIN_IDLE) {
        control->change_us = control->now_us;
    }
    join_move(control, JOIN_HOLD);
    if (control->state == CONTROL_SERVING || control->state == CONTROL_STARTING) {
        control_move(control, CONTROL_CHANGING);
    }
    control_flush_on_hold(control);
    control_fill_on_hold(control);
    control_verify_on_hold(control);
}

static bool is_drained(struct control *control)
{
    node_set in = control->target.members & ~control_join_nodes(&control->target, NODE_DATA_OUT);
    node_set ending = control_peers_own_given_up(control) & in;
    if (ending != 0 && control->state != CONTROL_LAPSED &&
        control->now_us - control->hold_us >= control->options.request_timeout_us / 4) {
        /* No end of that connection comes: as good as a write that is missed. */
        for (; ending != 0; ending &= ending - 1) {
            control->nodes[node_set_first(ending)].missed_us = control->now_us;
        }
        return false;
    }
    return ending == 0 && verify_is_at_rest(control->verify) &&
           least_of(control, control->drained) >= control->serial;
}

static void show(struct control *control)
{
    control->joined = control->target;
    control->joined_us = control->now_us;
    control_peers_beat(control);
    control->joined_sequence = control->beat.sequence;
    control->poll_us = control->now_us + CONTROL_POLL_US;
    /* Our first view was one in which a flush was due: it took our heartbeats, and who acted on
     * that view before us may not have seen them. By then all who go on see this one. */
    if (control->is_new && control->effective.flush_by != VIEW_NO_PROXY) {
        control->unseen_until_us = control->now_us + control->options.lease_us;
    }
    control->is_new = control->effective.epoch == 0;
    join_move(control, JOIN_POLL);
    (void)control_join_have_scans(control, control->joined_us, CONTROL_SCAN_UNKNOWN);
}

static void tell_stopped(struct control *control)
{
    const struct topology *topology =
        &control->topologies[control->serial % CONTROL_TOPOLOGIES_MAX];
    if (topology->is_stopped == control->is_stopped) {
        return;
    }
    control->is_stopped = topology->is_stopped;
    struct trace_event event =
        control_event(control, control->is_stopped ? TRACE_WRITES_STOPPED : TRACE_WRITES_ALLOWED);
    event.a = node_set_count(control_probe_up(control) & control->effective.members);
    event.b = node_set_count(control->effective.members);
    control_trace(control, &event);
}

static void adopt(struct control *control)
{
    struct view before = control->effective;
    control->effective = control->target;
    control->effective_us = control->now_us;
    control->effective_serial = control->serial;
    tell_stopped(control);
    control->wants_hold = false;
    control->wants_adopt = true;
    join_move(control, JOIN_ADOPT);
    uint64_t took_us = control->now_us - control->change_us;
    struct control_snapshot *counts = &control->counts;
    counts->view_changes++;
    counts->change_last_us = took_us;
    counts->change_max_us = took_us > counts->change_max_us ? took_us : counts->change_max_us;
    counts->change_sum_us += took_us;
    struct trace_event event = control_event(control, TRACE_VIEW_EFFECTIVE);
    event.a = control->effective.epoch;
    event.b = took_us;
    control_trace(control, &event);
    control_plan_on_effective(control, &before);
}

/*
 * From when on the nodes that we hear show the heartbeats of all live proxies: a node that was
 * emptied does so when each had the time to write again, and one such node is enough. While a flush
 * is due nobody acts, whoever shows; and before our first view there is nothing to lose.
 */
static uint64_t remembered_us(const struct control *control)
{
    uint64_t earliest = UINT64_MAX;
    for (node_set left = control_probe_heard(control); left != 0; left &= left - 1) {
        uint64_t at_us = control->probes[node_set_first(left)].emptied_us;
        earliest = at_us < earliest ? at_us : earliest;
    }
    bool is_exempt = control->effective.epoch == 0 || control->effective.flush_by != VIEW_NO_PROXY;
    return earliest == UINT64_MAX || is_exempt || earliest == 0
               ? 0
               : earliest + control->options.lease_us;
}

/*
 * What another acts on has been joined by all that live, and whoever came or came back since looks
 * for it before acting: that it is so need not be found out twice. It matters where one of two
 * proxies has known for long that a third is dead, and the other can't know yet; that one may have
 * taken its leave since, and the other be its successor.
 */
static bool is_acted_on(const struct control *control)
{
    return control->state == CONTROL_CHANGING && is_shown(control) &&
           control_peers_is_effective(control, &control->target, control->fresh_us);
}

static void poll(struct control *control)
{
    node_set heard = control_probe_heard(control);
    node_set complete = control_join_nodes(&control->target, NODE_DATA_COMPLETE);
    /* Without any of these nothing could be served, and those who reach them may go on there. */
    bool is_in_reach = complete == 0 || (complete & heard) != 0;
    bool may_act = is_in_reach && control->now_us >= control->unseen_until_us;
    if (may_act && is_acted_on(control)) {
        adopt(control);
        return;
    }
    uint64_t told_us = remembered_us(control);
    if (control->joined_us < told_us) {
        if (control->now_us >= told_us) {
            control->joined_us = control->now_us; /* all scans again */
        }
        control->poll_us = control->now_us + CONTROL_POLL_US;
        return;
    }
    if (control->now_us >= control->poll_us) {
        (void)control_join_have_scans(control, control->joined_us, CONTROL_SCAN_UNKNOWN);
        control_peers_poll(control, &control->target, control->fresh_us);
    }
    for (node_set left = heard; left != 0; left &= left - 1) {
        if (!is_scanned(&control->probes[node_set_first(left)], control->joined_us)) {
            return;
        }
    }
    if (may_act && control->state == CONTROL_CHANGING && is_shown(control) &&
        (control_peers_all_show(control, &control->target, control->fresh_us) || !RULE(ALL_JOIN))) {
        adopt(control);
    }
}

/* Would the topology of the view in effect be another now? Tokens are told apart by ids. */
static bool is_outdated(const struct control *control)
{
    const struct topology *topology =
        &control->topologies[control->effective_serial % CONTROL_TOPOLOGIES_MAX];
    return control->is_stopped != control_merge_stops(control, &control->effective) ||
           (control->id_state == ID_OURS && topology->proxy_id != control->id);
}

static void join_step(struct control *control)
{
    bool is_other =
        control->join == JOIN_IDLE && control->state == CONTROL_SERVING && is_outdated(control);
    if (is_other && view_compare(&control->top, &control->target) == 0) {
        begin(control); /* the same view, and another topology */
    } else if (view_compare(&control->top, &control->target) > 0 && control->join != JOIN_ADOPT) {
        if (control_merge_is_due(control)) {
            if (!control->is_proposing) {
                control_merge_propose(control);
            }
        } else {
            control->merge_us = 0;
            begin(control);
        }
    }
    switch (control->join) {
    case JOIN_IDLE:
        break;
    case JOIN_HOLD:
        if (is_drained(control) && !(control->is_proposing && control->is_withdrawn)) {
            show(control);
        }
        break;
    case JOIN_POLL:
        poll(control);
        break;
    case JOIN_ADOPT:
        if (least_of(control, control->adopted) >= control->effective_serial) {
            join_move(control, JOIN_IDLE);
            if (control->state == CONTROL_CHANGING) {
                control->is_behind = false;
                control_move(control, CONTROL_SERVING);
            }
            control_flush_on_effective(control);
        }
        break;
    }
}

bool control_join_is_idle(const struct control *control)
{
    return control->join == JOIN_IDLE && !control->is_proposing &&
           view_compare(&control->top, &control->target) == 0;
}

/* --- Lease --- */

/*
 * Without the lease we are dead to the others, or soon will be, and they wait for us no longer; the
 * next heartbeat changes that. So it comes when we could join any view of theirs at once: all nodes
 * that matter are found again, nothing that was given up there is still to be proven, and what was
 * under way is over. Who sees nobody else holds up nobody; but who came while we were cut off is
 * seen a moment after the first node is. Nor does he hold up anybody who sees others only that were
 * cut off as well: their heartbeats don't grow, or tell of connections given up everywhere.
 */
static bool may_return(struct control *control)
{
    const struct control_options *o = &control->options;
    node_set heard = control_probe_heard(control);
    if (heard == 0) {
        /* A node that answers late once does not make us wait all over again. */
        bool is_cut = control->now_us - control->heard_us >= o->lease_us;
        control->found_us = is_cut ? 0 : control->found_us;
        control->listening_us = 0;
        return false;
    }
    control->heard_us = control->now_us;
    control->found_us = control->found_us == 0 ? control->now_us : control->found_us;
    control->listening_us = control->listening_us == 0 ? control->now_us : control->listening_us;
    uint64_t found_for_us = control->now_us - control->found_us;
    /* A connection is proven a request timeout after there is a new one (docs/decisions.md 4). */
    bool is_over = found_for_us >= o->request_timeout_us + 2 * o->lease_us;
    bool is_alone = control_peers_live(control) == 0 && found_for_us >= o->interval_us;
    if (is_over || is_alone || !RULE(SILENCE)) {
        return true;
    }
    node_set in = control->top.members & ~control_join_nodes(&control->top, NODE_DATA_OUT);
    node_set complete = control_join_nodes(&control->top, NODE_DATA_COMPLETE);
    bool is_drained = (control->join == JOIN_IDLE || control->join == JOIN_POLL) &&
                      view_compare(&control->top, &control->target) == 0;
    /* Whoever acts stores a heartbeat in each interval. */
    uint64_t quiet_us = 2 * o->interval_us;
    bool is_quiet = control->now_us - control->listening_us >= quiet_us &&
                    !control_peers_is_any_acting(control, complete, control->now_us - quiet_us);
    return is_drained && (complete & ~heard) == 0 &&
           (is_quiet || (control_peers_own_given_up(control) & in) == 0);
}

/*
 * No node answers, and what was given up at each that matters is still to be proven: a lease that
 * is not over yet would only make others wait for us when we are back.
 */
static bool is_cut_off(const struct control *control)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        if (control->probes[node].is_greeted) {
            return false;
        }
    }
    node_set complete = control_join_nodes(&control->effective, NODE_DATA_COMPLETE);
    return complete != 0 && (complete & ~control_peers_own_given_up(control)) == 0 &&
           control_peers_live(control) > 0 && RULE(SILENCE);
}

static void lapse(struct control *control)
{
    struct trace_event event = control_event(control, TRACE_LEASE_LAPSED);
    event.b = control->now_us - control->lease_from_us;
    control_trace(control, &event);
    control->counts.leases_lapsed++;
    control->lapsed_us = control->now_us;
    control->regained_us = 0;
    control->is_silent = true;
    control->found_us = 0;
    control->listening_us = 0;
    control_move(control, CONTROL_LAPSED);
    control_fill_stop(control);
    control_verify_stop(control);
}

/* Back after a lapse, and not yet acting: is the network gone once more? Then what was given up
 * meanwhile is in doubt, too. */
static bool is_lost_again(const struct control *control, bool is_held)
{
    bool is_late = control->now_us - control->returned_us >= control->options.lease_us;
    return is_cut_off(control) || (!is_held && (control->regained_us != 0 || is_late));
}

static void lapse_step(struct control *control)
{
    uint64_t over_us = control->lease_from_us + control->options.lease_us;
    bool is_held = control->now_us + control->options.interval_us < over_us || !RULE(LEASE) ||
                   control_peers_is_blind(control);
    if (control->state == CONTROL_SERVING || control->state == CONTROL_CHANGING) {
        if (!is_held || is_cut_off(control)) {
            lapse(control);
        }
        return;
    }
    if (control->is_silent && may_return(control)) {
        control->is_silent = false;
        control->returned_us = control->now_us;
        control_peers_beat(control);
        control->joined_sequence = control->beat.sequence; /* it shows what was joined meanwhile */
    }
    if (control->is_silent) {
        return;
    }
    control->heard_us = control_probe_heard(control) != 0 ? control->now_us : control->heard_us;
    if (is_lost_again(control, is_held)) {
        control->is_silent = true;
        control->listening_us = 0;
    }
    if (!is_held || control->is_silent) {
        control->regained_us = 0;
        return;
    }
    if (control->regained_us == 0) {
        control->regained_us = control->now_us;
    }
    /* Others may have gone on under a view that has since been erased: their heartbeats tell. These
     * may have been erased too, so where there have been others and none is seen with us, look
     * again when they had time to write. */
    uint64_t since_us = control->regained_us;
    if (control_peers_is_any_known(control) &&
        !control_peers_is_shown(control, &control->effective, control->regained_us)) {
        since_us += 2 * control->options.interval_us;
    }
    uint64_t told_us = remembered_us(control);
    since_us = since_us > told_us ? since_us : told_us;
    if (control->now_us < since_us) {
        return;
    }
    bool have = have_views(control, since_us);
    if (!control_join_have_scans(control, since_us, CONTROL_SCAN_ALL) || !have ||
        control_probe_heard(control) == 0 || control->join == JOIN_ADOPT) {
        return; /* what is still being adopted took effect before the lapse: it is history too */
    }
    bool is_current =
        control->join == JOIN_IDLE && view_compare(&control->top, &control->target) == 0;
    if (is_current && !control_peers_all_show(control, &control->effective, control->regained_us)) {
        if (control->now_us >= control->poll_us) {
            control_peers_poll(control, &control->effective, control->regained_us);
        }
        return;
    }
    /* What was seen before the lapse is history. */
    control->fresh_us = control->regained_us;
    control->back_us = control->now_us;
    control->joined_us = control->joined_us > since_us ? control->joined_us : since_us;
    control->is_behind = !is_current;
    control_tell(control, TRACE_LEASE_REGAINED, TRACE_NO_NODE, "");
    control_move(control, is_current ? CONTROL_SERVING : CONTROL_CHANGING);
}

static void glance(struct control *control)
{
    if (control->join != JOIN_IDLE || control->now_us < control->glance_us) {
        return;
    }
    control->glance_us = control->now_us + control->options.interval_us / CONTROL_GLANCES;
    node_set heard = control_probe_heard(control);
    node_set complete = heard & control_join_nodes(&control->top, NODE_DATA_COMPLETE);
    if (heard != 0) {
        uint32_t node = node_set_first(complete != 0 ? complete : heard);
        control_probe_look(control, &control->probes[node]);
    }
}

void control_join_step(struct control *control)
{
    if (control->start != START_DONE) {
        start_step(control);
    }
    control_join_offer(control);
    if (control->start != START_DONE) {
        return;
    }
    if (control->state != CONTROL_STARTING) {
        lapse_step(control);
    }
    join_step(control);
    glance(control);
}
