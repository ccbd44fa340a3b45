/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The probe wires: one connection to each node, kept open, over which rounds, views, heartbeats and
 * flushes go. Commands are pipelined; answers belong to them in order.
 *
 *   CLOSED ─► WANTED ─► CONNECTING ─► OPEN ─► (greeted) rounds ... ─► CLOSED
 *
 * A wire whose oldest answer is later than the timeout, or that talks nonsense, is closed: the
 * round has failed, and the next begins on a new connection. So nothing old can be taken for an
 * answer. What a node still executes of a closed wire is harmless: views are stored conditionally,
 * and a heartbeat is put right by the next.
 */
#include "control_private.h"

enum { PROBE_SEEN_ALL = 0xf }; /* pid, time, uptime, cmd_flush */

static void probe_move(struct probe *probe, enum probe_state to)
{
    static const bool moves[4][4] = {
        [PROBE_CLOSED] = {[PROBE_WANTED] = true},
        [PROBE_WANTED] = {[PROBE_CONNECTING] = true, [PROBE_CLOSED] = true},
        [PROBE_CONNECTING] = {[PROBE_OPEN] = true, [PROBE_CLOSED] = true},
        [PROBE_OPEN] = {[PROBE_CLOSED] = true},
    };
    INVARIANT(moves[probe->state][to]);
    probe->state = to;
}

void control_probe_init(struct control *control, uint32_t node, char *ring)
{
    struct probe *probe = &control->probes[node];
    probe->node = node;
    byte_ring_init(&probe->out, ring, CONTROL_RING_BYTES);
    health_init(&probe->health, control->options.fall, control->options.rise);
    probe->oper_since_us = control->now_us;
}

/* --- Rounds --- */

static void set_oper(struct control *control, struct probe *probe, const char *why)
{
    probe->oper_since_us = control->now_us;
    probe->transitions_us[probe->transitions++ % CONTROL_TRANSITIONS_MAX] = control->now_us;
    bool is_up = probe->health.oper == NODE_OPER_UP;
    control_tell(control, is_up ? TRACE_NODE_UP : TRACE_NODE_DOWN, probe->node, why);
}

static void round_over(struct control *control, struct probe *probe, const char *failure)
{
    if (!probe->is_round_open) {
        return;
    }
    probe->is_round_open = false;
    probe->round_left = 0;
    probe->is_check_ok = failure == NULL;
    probe->check_us = control->now_us - probe->round_us;
    probe->check_at_us = control->now_us;
    if (failure == NULL) {
        probe->checks_ok++;
        probe->failures = 0;
        probe->failures = 0;
    } else {
        probe->checks_failed++;
        control_copy_text(probe->check_text, sizeof probe->check_text, slice_of_string(failure));
    }
    if (health_poke(&probe->health, failure == NULL)) {
        set_oper(control, probe, failure == NULL ? "" : failure);
    }
}

static void plan_retry(struct control *control, struct probe *probe)
{
    uint64_t pause = 0; /* the next round */
    if (probe->failures > 0) {
        uint32_t doublings = probe->failures < 8 ? probe->failures - 1 : 7;
        pause = control->options.interval_us / 2 << doublings;
        /* Proxies that come back to a node should do so within one lease of each other. */
        uint64_t half_us = control->options.lease_us / 2;
        uint64_t most = half_us < CONTROL_RECONNECT_LAST_US ? half_us : CONTROL_RECONNECT_LAST_US;
        pause = pause < most ? pause : most;
        pause = prng_jitter(&control->prng, pause, CONTROL_JITTER_PERCENT);
    }
    probe->failures += probe->failures < 100;
    probe->retry_us = control->now_us + pause;
}

/* The connection is no more; what was owed on it never comes. */
static void reset_wire(struct probe *probe)
{
    probe_move(probe, PROBE_CLOSED);
    probe->wants_write = false;
    probe->is_greeted = false;
    probe->is_looked = false;
    probe->is_put_owed = false;
    probe->is_scan_owed = false;
    probe->wants_count = 0;
    probe->line_bytes = 0;
    probe->value_left = 0;
    probe->acked_sequence = 0;
    byte_ring_clear(&probe->out);
}

static void lost(struct control *control, struct probe *probe, enum wire_end end)
{
    reset_wire(probe);
    round_over(control, probe, wire_end_text(end));
    plan_retry(control, probe);
}

void control_probe_fail(struct control *control, struct probe *probe, enum wire_end end)
{
    if (probe->state == PROBE_CLOSED) {
        return;
    }
    probe->wants_close = probe->state != PROBE_WANTED;
    lost(control, probe, end);
}

void control_probe_close(struct control *control, struct probe *probe)
{
    if (probe->state == PROBE_CLOSED) {
        probe->is_round_open = false;
        return;
    }
    probe->wants_close = probe->wants_close || probe->state != PROBE_WANTED;
    reset_wire(probe);
    probe->is_round_open = false;
    probe->round_left = 0;
    probe->retry_us = control->now_us;
}

bool control_probe_send(struct control *control, struct probe *probe, enum probe_form form,
                        struct slice text, uint64_t tag)
{
    if (probe->state != PROBE_OPEN) {
        return false;
    }
    if (probe->wants_count == CONTROL_WANTS_MAX || !byte_ring_put(&probe->out, text)) {
        control_probe_fail(control, probe, WIRE_END_TIMEOUT);
        return false;
    }
    probe->wants_write = true;
    uint32_t at = (probe->wants_head + probe->wants_count++) % CONTROL_WANTS_MAX;
    probe->wants[at] = (struct probe_want){.form = form, .sent_us = control->now_us, .tag = tag};
    probe->requests++;
    probe->bytes += text.len;
    return true;
}

/* The command sent last belongs to the round. */
static void count_in(struct probe *probe)
{
    uint32_t at = (probe->wants_head + probe->wants_count - 1) % CONTROL_WANTS_MAX;
    probe->wants[at].is_round = true;
    probe->round_left++;
}

void control_probe_ask_stats(struct control *control, struct probe *probe)
{
    (void)control_probe_send(control, probe, PROBE_FORM_STATS, SLICE("stats\r\n"), 0);
}

static void ask_view(struct control *control, struct probe *probe, enum probe_form form)
{
    char text[MC_KEY_BYTES_MAX + 16];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    mc_write(&w, SLICE("mg "));
    view_key_view(&control->options.names, &w);
    mc_write(&w, form == PROBE_FORM_VIEW ? SLICE(" c v\r\n") : SLICE(" c\r\n"));
    INVARIANT(!w.is_full);
    (void)control_probe_send(control, probe, form, slice_of(text, w.len), 0);
}

/* A read changes nothing; nodes that don't know the flag refuse it. */
static void ask_tokens(struct control *control, struct probe *probe)
{
    char text[MC_KEY_BYTES_MAX + 16];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    mc_write(&w, SLICE("mg "));
    view_key_view(&control->options.names, &w);
    mc_write(&w, SLICE(" E1\r\n"));
    INVARIANT(!w.is_full);
    (void)control_probe_send(control, probe, PROBE_FORM_TOKENS, slice_of(text, w.len), 0);
}

void control_probe_ask_view(struct control *control, struct probe *probe)
{
    ask_view(control, probe, PROBE_FORM_VIEW);
}

void control_probe_look(struct control *control, struct probe *probe)
{
    ask_view(control, probe, PROBE_FORM_LOOK);
}

static void begin_round(struct control *control, struct probe *probe)
{
    probe->is_round_open = true;
    probe->round_us = control->now_us;
    probe->round_left = 0;
    probe->puts = 0;
}

static void greet(struct control *control, struct probe *probe)
{
    begin_round(control, probe);
    control_probe_ask_stats(control, probe);
    count_in(probe);
    if (!control->is_lone) {
        ask_tokens(control, probe);
        count_in(probe);
        ask_view(control, probe, PROBE_FORM_VIEW);
        count_in(probe);
    }
}

void control_probe_round(struct control *control)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct probe *probe = &control->probes[node];
        enum place_state place = control->places[node].state;
        if (probe->is_round_open || place == PLACE_FREE || place == PLACE_LEAVING) {
            continue; /* its time is not over yet, or there is nobody to ask */
        }
        begin_round(control, probe);
        if (probe->state == PROBE_CLOSED) {
            if (control->now_us >= probe->retry_us) {
                probe_move(probe, PROBE_WANTED);
                probe->connect_us = control->now_us;
            } else {
                /* Between two tries there is nothing to ask; the node is no better for it. */
                char text[sizeof probe->check_text];
                memcpy(text, probe->check_text, sizeof text);
                round_over(control, probe, text);
            }
        } else if (probe->state == PROBE_OPEN) {
            control_probe_ask_stats(control, probe);
            count_in(probe);
            if (!control->is_lone && probe->state == PROBE_OPEN) {
                ask_view(control, probe, PROBE_FORM_LOOK);
                count_in(probe);
            }
        }
    }
    if (!control->is_lone) {
        control_peers_beat(control);
    }
}

void control_probe_hurry(struct control *control, struct probe *probe)
{
    if (probe->state == PROBE_CLOSED && !probe->is_round_open) {
        begin_round(control, probe);
        probe_move(probe, PROBE_WANTED);
        probe->connect_us = control->now_us;
    }
}

static uint64_t due_us(const struct control *control, const struct probe *probe)
{
    switch (probe->state) {
    case PROBE_CLOSED:
        return UINT64_MAX;
    case PROBE_WANTED:
    case PROBE_CONNECTING:
        return probe->connect_us + control->options.timeout_us;
    case PROBE_OPEN:
        return probe->wants_count > 0
                   ? probe->wants[probe->wants_head].sent_us + control->options.timeout_us
                   : UINT64_MAX;
    }
    UNREACHABLE();
}

void control_probe_tick(struct control *control)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        if (control->now_us >= due_us(control, &control->probes[node])) {
            control_probe_fail(control, &control->probes[node], WIRE_END_TIMEOUT);
        }
    }
}

uint64_t control_probe_deadline_us(const struct control *control)
{
    uint64_t earliest = UINT64_MAX;
    for (uint32_t node = 0; node < control->node_count; node++) {
        uint64_t due = due_us(control, &control->probes[node]);
        earliest = due < earliest ? due : earliest;
    }
    return earliest;
}

bool control_probe_is_asked(const struct probe *probe, enum probe_form form, uint64_t since_us)
{
    for (uint32_t i = 0; i < probe->wants_count; i++) {
        const struct probe_want *want = &probe->wants[(probe->wants_head + i) % CONTROL_WANTS_MAX];
        if (want->form == form && want->sent_us >= since_us) {
            return true;
        }
    }
    return false;
}

/* Not the process that the view in effect means, or flushed since: no write goes there. */
static bool is_other_run(const struct control *control, uint32_t node)
{
    const struct view_node *meant = &control->effective.nodes[node];
    const struct identity *read = &control->probes[node].identity;
    return control->effective.epoch > 0 && meant->data == NODE_DATA_COMPLETE &&
           identity_is_known(read) && !identity_is_equal(read, &meant->identity);
}

bool control_probe_is_heard(const struct control *control, uint32_t node)
{
    /* That another run misses writes says nothing of what it answers here; and if it is all that is
     * left, the view that begins anew has to be stored on it. */
    const struct probe *probe = &control->probes[node];
    return control->places[node].state == PLACE_IN && probe->state == PROBE_OPEN &&
           probe->is_greeted && probe->health.oper == NODE_OPER_UP &&
           (!control_plan_is_missed(control, node) || is_other_run(control, node));
}

node_set control_probe_heard(const struct control *control)
{
    node_set set = 0;
    for (uint32_t node = 0; node < control->node_count; node++) {
        set |= control_probe_is_heard(control, node) ? node_set_of(node) : 0;
    }
    return set;
}

node_set control_probe_up(const struct control *control)
{
    node_set set = 0;
    for (uint32_t node = 0; node < control->node_count; node++) {
        set |= control->probes[node].health.oper == NODE_OPER_UP ? node_set_of(node) : 0;
    }
    return set;
}

/* --- Answers --- */

static bool is_refusal(const struct mc_reply *reply)
{
    return reply->kind == MC_REPLY_SERVER_ERROR;
}

static void done(struct control *control, struct probe *probe)
{
    const struct probe_want want = probe->wants[probe->wants_head];
    probe->wants_head = (probe->wants_head + 1) % CONTROL_WANTS_MAX;
    probe->wants_count--;
    if (want.is_round && probe->is_round_open && --probe->round_left == 0) {
        round_over(control, probe, NULL);
        if (!probe->is_greeted) {
            probe->is_greeted = true;
            probe->greeted_us = control->now_us;
            control_peers_claim(control, probe);
            control_peers_beat_on(control, probe);
        }
    }
}

static void take_stat(struct probe *probe, const struct mc_reply *reply)
{
    const struct {
        struct slice name;
        uint64_t *value;
    } wanted[] = {
        {SLICE("pid"), &probe->reading.pid},         {SLICE("time"), &probe->reading_time_s},
        {SLICE("uptime"), &probe->reading_uptime_s}, {SLICE("cmd_flush"), &probe->reading.flushes},
        {SLICE("curr_items"), &probe->curr_items},   {SLICE("evictions"), &probe->evictions},
    };
    for (uint32_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (slice_is_equal(reply->key, wanted[i].name) &&
            mc_read_u64(reply->text, wanted[i].value)) {
            probe->reading_seen |= 1u << i;
        }
    }
    if (slice_is_equal(reply->key, SLICE("version"))) {
        struct mc_writer w = mc_writer_of(probe->check_text, sizeof probe->check_text - 1);
        mc_write(&w, SLICE("VERSION "));
        mc_write(&w, reply->text);
        probe->check_text[w.len] = '\0';
    }
}

static bool take_stats(const struct control *control, struct probe *probe, uint64_t asked_us)
{
    bool is_whole = (probe->reading_seen & PROBE_SEEN_ALL) == PROBE_SEEN_ALL &&
                    probe->reading.pid != 0 && probe->reading_time_s >= probe->reading_uptime_s;
    if (!is_whole) {
        return false;
    }
    probe->reading.started_s = probe->reading_time_s - probe->reading_uptime_s;
    if (!identity_is_equal(&probe->reading, &probe->identity)) {
        uint64_t age_us = probe->reading_uptime_s * 1000000;
        bool is_first = !identity_is_known(&probe->identity);
        /* A flush that all proxies joined took no heartbeat that was not seen before. */
        const struct view *view = &control->effective;
        bool is_agreed = view->epoch > 0 &&
                         (view->flush_by != VIEW_NO_PROXY ||
                          identity_is_equal(&probe->reading, &view->nodes[probe->node].identity)) &&
                         identity_is_same_process(&probe->reading, &probe->identity);
        if (!is_agreed) {
            probe->emptied_us = !is_first                  ? control->now_us
                                : age_us < control->now_us ? control->now_us - age_us
                                                           : 0;
        }
    }
    probe->identity = probe->reading;
    probe->identity_us = asked_us;
    probe->clock_s = (int64_t)probe->reading_time_s - (int64_t)(control->now_us / 1000000);
    probe->reading = (struct identity){0};
    probe->reading_seen = 0;
    return true;
}

static void looked(struct probe *probe, uint64_t asked_us)
{
    probe->is_looked = true;
    probe->looked_us = asked_us;
}

static void no_view(struct probe *probe, uint64_t asked_us)
{
    probe->has_view_item = false;
    probe->view_cas = 0;
    probe->held_epoch = 0;
    probe->held_hash = 0;
    looked(probe, asked_us);
}

static void damaged(struct control *control, struct probe *probe)
{
    probe->held_epoch = 0;
    probe->held_hash = 0;
    control->counts.views_damaged++;
    control_tell(control, TRACE_VIEW_DAMAGED, probe->node, "");
}

/*
 * The view of another pool, which served from this node before or does so now. Only before our
 * first view it can't be told from ours. Two first views of one pool, made on the two sides of a
 * split, name the same nodes.
 */
static bool is_foreign(const struct control *control, const struct view *view)
{
    const struct view *ours = &control->effective;
    return ours->epoch > 0 && view->origin != ours->origin && !view_has_same_names(view, ours);
}

static void foreign(struct control *control, struct probe *probe)
{
    probe->held_epoch = 0;
    probe->held_hash = 0;
    probe->is_foreign = true;
    if (control->places[probe->node].state == PLACE_IN) {
        control->counts.views_foreign++;
        control_tell(control, TRACE_VIEW_FOREIGN, probe->node, "");
    }
}

static void take_view(struct control *control, struct probe *probe, const struct probe_want *want)
{
    probe->has_view_item = true;
    probe->view_cas = probe->value_reply.cas;
    looked(probe, want->sent_us);
    static const uint64_t leap = CONTROL_EPOCH_LEAP_MAX;
    struct view view;
    if (probe->is_value_dropped || !view_parse(slice_of(probe->value, probe->value_bytes), &view) ||
        view.epoch > control->top.epoch + leap) {
        damaged(control, probe);
        return;
    }
    if (is_foreign(control, &view)) {
        foreign(control, probe);
        return;
    }
    probe->held_epoch = view.epoch;
    probe->held_hash = view.hash;
    if (control->places[probe->node].state == PLACE_IN &&
        !control_join_see(control, &view, probe->node)) {
        probe->is_looked = false; /* there is no room for its nodes yet: again in the next round */
    }
}

/* A value has come whole. */
static void take_value(struct control *control, struct probe *probe)
{
    const struct probe_want want = probe->wants[probe->wants_head];
    struct slice value = slice_of(probe->value, probe->value_bytes);
    if (probe->value[probe->value_bytes] != '\r' || probe->value[probe->value_bytes + 1] != '\n') {
        control_probe_fail(control, probe, WIRE_END_PROTOCOL);
    } else if (want.form == PROBE_FORM_SCAN) {
        if (probe->value_id < PROXIES_MAX && !probe->is_value_dropped) {
            control_peers_on_heartbeat(control, probe, probe->value_id, value, want.sent_us);
        }
    } else if (want.form == PROBE_FORM_VIEW) {
        take_view(control, probe, &want);
        done(control, probe);
    } else {
        control_peers_on_id(control, probe, &want, &probe->value_reply, value);
        done(control, probe);
    }
}

static bool begins_value(struct control *control, struct probe *probe, const struct mc_reply *reply)
{
    enum probe_form form = probe->wants[probe->wants_head].form;
    if (reply->kind != MC_REPLY_VA ||
        (form != PROBE_FORM_SCAN && form != PROBE_FORM_VIEW && form != PROBE_FORM_ID_LOOK)) {
        return false;
    }
    probe->value_reply = *reply;
    probe->value_id =
        form == PROBE_FORM_SCAN ? control_peers_id_of(control, reply->key) : PROXIES_MAX;
    probe->is_value_dropped = reply->value_bytes > VIEW_BYTES_MAX;
    probe->value_left = reply->value_bytes + 2;
    probe->value_bytes = 0;
    return true;
}

/* An answer of one line. False: it does not fit the command. */
static bool take_line(struct control *control, struct probe *probe, const struct mc_reply *reply)
{
    const struct probe_want want = probe->wants[probe->wants_head];
    enum mc_reply_kind kind = reply->kind;
    switch (want.form) {
    case PROBE_FORM_STATS:
        if (kind == MC_REPLY_STAT) {
            take_stat(probe, reply);
            return true;
        }
        if (kind != MC_REPLY_END || !take_stats(control, probe, want.sent_us)) {
            return false;
        }
        break;
    case PROBE_FORM_TOKENS:
        if (kind != MC_REPLY_HD && kind != MC_REPLY_EN && kind != MC_REPLY_CLIENT_ERROR) {
            return false;
        }
        probe->tokens = kind == MC_REPLY_CLIENT_ERROR ? PROBE_TOKENS_NO : PROBE_TOKENS_YES;
        break;
    case PROBE_FORM_LOOK:
    case PROBE_FORM_VIEW:
        if (kind == MC_REPLY_EN) {
            no_view(probe, want.sent_us);
        } else if (kind != MC_REPLY_HD || want.form == PROBE_FORM_VIEW) {
            return false;
        } else if (probe->is_looked && probe->has_view_item && reply->cas != 0 &&
                   reply->cas == probe->view_cas) {
            looked(probe, want.sent_us);
        } else {
            control_probe_ask_view(control, probe);
        }
        break;
    case PROBE_FORM_PUT:
        if (kind != MC_REPLY_HD && kind != MC_REPLY_EX && kind != MC_REPLY_NS &&
            kind != MC_REPLY_NF && !is_refusal(reply)) {
            return false;
        }
        control_join_on_put(control, probe, &want, reply);
        break;
    case PROBE_FORM_HEARTBEAT:
        /* A node that has no memory for this has none for anything. */
        if (kind != MC_REPLY_HD) {
            return false;
        }
        control_peers_on_ack(control, probe, want.tag);
        break;
    case PROBE_FORM_SCAN:
        if (kind != MC_REPLY_MN) {
            return false;
        }
        control_peers_on_scanned(control, probe, want.sent_us);
        break;
    case PROBE_FORM_ID_ADD:
    case PROBE_FORM_ID_LOOK:
    case PROBE_FORM_ID_PUT:
        if (kind != MC_REPLY_HD && kind != MC_REPLY_NS && kind != MC_REPLY_EN &&
            !is_refusal(reply)) {
            return false;
        }
        control_peers_on_id(control, probe, &want, reply, slice_of("", 0));
        break;
    case PROBE_FORM_FLUSH:
        if (kind != MC_REPLY_OK) {
            return false;
        }
        if (want.tag == 1) {
            control_flush_on_ok(control, probe);
        }
        break;
    }
    if (probe->state == PROBE_OPEN) {
        done(control, probe);
    }
    return true;
}

static bool take_reply(struct control *control, struct probe *probe, struct slice input,
                       size_t *taken)
{
    struct mc_reply reply;
    switch (mc_reply_parse(input, 0, MC_VALUE_BYTES_MAX, &reply)) {
    case MC_PARSE_MORE:
        return false;
    case MC_PARSE_BAD:
        control_probe_fail(control, probe, WIRE_END_PROTOCOL);
        return false;
    case MC_PARSE_DONE:
        break;
    }
    *taken = reply.line_bytes;
    if (probe->wants_count == 0 ||
        (!begins_value(control, probe, &reply) && !take_line(control, probe, &reply))) {
        control_probe_fail(control, probe, WIRE_END_PROTOCOL);
    }
    return true;
}

/* Take one line; the beginning of one is kept. Returns bytes consumed. */
static size_t feed_line(struct control *control, struct probe *probe, struct slice bytes)
{
    const char *lf = memchr(bytes.ptr, '\n', bytes.len);
    size_t piece = lf != NULL ? (size_t)(lf - bytes.ptr) + 1 : bytes.len;
    size_t taken = 0;
    if (probe->line_bytes == 0 && lf != NULL) {
        (void)take_reply(control, probe, slice_of(bytes.ptr, piece), &taken);
        return piece;
    }
    if (piece > sizeof probe->line - probe->line_bytes) {
        control_probe_fail(control, probe, WIRE_END_PROTOCOL);
        return bytes.len;
    }
    memcpy(probe->line + probe->line_bytes, bytes.ptr, piece);
    probe->line_bytes += (uint32_t)piece;
    if (lf != NULL) {
        struct slice line = slice_of(probe->line, probe->line_bytes);
        probe->line_bytes = 0;
        (void)take_reply(control, probe, line, &taken);
    }
    return piece;
}

static size_t feed_value(struct control *control, struct probe *probe, struct slice bytes)
{
    size_t piece = bytes.len < probe->value_left ? bytes.len : (size_t)probe->value_left;
    if (!probe->is_value_dropped) {
        memcpy(probe->value + probe->value_bytes, bytes.ptr, piece);
    } else {
        /* Only the last two bytes matter. */
        for (size_t i = 0; i < piece; i++) {
            probe->value[0] = probe->value[1];
            probe->value[1] = bytes.ptr[i];
        }
    }
    probe->value_bytes += probe->is_value_dropped ? 0 : (uint32_t)piece;
    probe->value_left -= piece;
    if (probe->value_left == 0) {
        probe->value_bytes -= probe->is_value_dropped ? 0 : 2;
        take_value(control, probe);
    }
    return piece;
}

static void feed(struct control *control, struct probe *probe, struct slice bytes)
{
    while (bytes.len > 0 && probe->state == PROBE_OPEN) {
        size_t taken = probe->value_left > 0 ? feed_value(control, probe, bytes)
                                             : feed_line(control, probe, bytes);
        bytes = slice_skip(bytes, taken);
    }
}

void control_probe_event(struct control *control, const struct wire_event *event)
{
    struct probe *probe = &control->probes[event->wire];
    if (probe->state != PROBE_CONNECTING && probe->state != PROBE_OPEN) {
        return; /* of a connection that we have closed */
    }
    switch (event->type) {
    case WIRE_OPEN:
        probe_move(probe, PROBE_OPEN);
        probe->reading_seen = 0;
        greet(control, probe);
        break;
    case WIRE_BYTES:
        if (probe->state != PROBE_OPEN) {
            break;
        }
        probe->bytes += event->bytes.len;
        feed(control, probe, event->bytes);
        break;
    case WIRE_WROTE:
        byte_ring_take(&probe->out, event->wrote);
        probe->wants_write = probe->wants_write || event->wrote > 0;
        break;
    case WIRE_CLOSED:
        lost(control, probe, event->end);
        break;
    }
}

bool control_probe_next_action(struct control *control, struct wire_action *out)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct probe *probe = &control->probes[node];
        *out = (struct wire_action){.wire = node, .node = node};
        if (probe->wants_close) {
            probe->wants_close = false;
            out->type = WIRE_CLOSE;
            return true;
        }
        if (probe->state == PROBE_WANTED) {
            probe_move(probe, PROBE_CONNECTING);
            out->type = WIRE_CONNECT;
            return true;
        }
        if (probe->wants_write && probe->state == PROBE_OPEN && byte_ring_used(&probe->out) > 0) {
            probe->wants_write = false;
            out->type = WIRE_WRITE;
            return true;
        }
    }
    return false;
}
