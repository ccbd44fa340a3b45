/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client's flush_all (replication.md section 4, Flush): a view that names us as its flusher; when
 * it is in effect everyone holds, and we flush all nodes, write back what the flush erased, read
 * who they are now, and propose the next view with that. Clients are answered when that one is in
 * effect.
 *
 * Of several flushes asked for meanwhile, one without delay and the last with one are done
 * together.
 *
 * A delayed one is not left to the nodes: each would forget at a moment of its own clock, and what
 * it is given in the second before; one that is restarted or flushed meanwhile would not at all.
 * Every proxy that joins the view of such a flush remembers when it is to be done, and the first of
 * those that live then asks for it. It is forgotten with the last of these proxies.
 */
#include "control_private.h"

enum { FLUSH_DELAY_MAX_S = 30 * 24 * 3600 }; /* what is above is a time of day, as for items */

void control_flush_report(struct control *control, const struct control_report *report)
{
    control->flush_asked[report->worker] = report->ticket;
    if (report->delay_s <= 0) {
        control->is_flush_asked_now = true;
        control->is_flush_due = false; /* it counts more than one that is to come */
    } else {
        control->is_flush_asked_later = true;
        control->flush_asked_delay_s =
            report->delay_s < UINT32_MAX ? (uint32_t)report->delay_s : UINT32_MAX;
    }
}

bool control_flush_is_asked(const struct control *control)
{
    return control->is_flush_asked_now || control->is_flush_asked_later;
}

uint32_t control_flush_delay_s(const struct control *control)
{
    if (control->is_flush_asked_later) {
        return control->flush_asked_delay_s;
    }
    /* One that is due does not call off one that was asked for since. */
    bool is_later = control->is_flush_due && control->flush_later_us > control->now_us;
    uint64_t left_s = is_later ? (control->flush_later_us - control->now_us + 999999) / 1000000 : 0;
    return (uint32_t)(left_s < FLUSH_DELAY_MAX_S ? left_s : FLUSH_DELAY_MAX_S);
}

static void take_asked(struct control *control)
{
    for (uint32_t worker = 0; worker < control->options.worker_count; worker++) {
        if (control->flush_asked[worker] != 0) {
            control->flush_doing[worker] = control->flush_asked[worker];
            control->flush_asked[worker] = 0;
        }
    }
    control->is_flush_doing_now = control->is_flush_asked_now;
    control->is_flush_doing_later = control->is_flush_asked_later;
    control->flush_doing_delay_s = control->flush_asked_delay_s;
    control->is_flush_asked_now = false;
    control->is_flush_asked_later = false;
    control->is_flush_due = false;
}

static void begin(struct control *control)
{
    control->flush = FLUSH_SENDING;
    control->flush_us = control->now_us;
    control->flush_sent = 0;
    control->flush_ok = 0;
}

static void over(struct control *control)
{
    struct trace_event event = control_event(control, TRACE_FLUSHED);
    event.a = control->is_flush_doing_later ? control->flush_doing_delay_s : 0;
    control_trace(control, &event);
    for (uint32_t worker = 0; worker < control->options.worker_count; worker++) {
        if (control->flush_doing[worker] != 0) {
            control->flush_done[worker] = control->flush_doing[worker];
            control->flush_doing[worker] = 0;
        }
    }
    control->is_flush_doing_now = false;
    control->is_flush_doing_later = false;
    control->flush = FLUSH_IDLE;
}

static uint64_t time_of_nodes(const struct control *control)
{
    node_set heard = control_probe_heard(control);
    int64_t clock_s = heard == 0 ? 0 : control->probes[node_set_first(heard)].clock_s;
    return (uint64_t)((int64_t)(control->now_us / 1000000) + clock_s);
}

/* The last flush counts, as for memcached. */
static void remember(struct control *control, uint32_t delay_s)
{
    uint64_t left_s = delay_s;
    if (delay_s > FLUSH_DELAY_MAX_S) {
        uint64_t time_s = time_of_nodes(control);
        left_s = delay_s > time_s ? delay_s - time_s : 0;
    }
    control->flush_later_us = delay_s == 0 ? 0 : control->now_us + UINT64_C(1000000) * left_s;
}

/* It is the first's to ask; the others wait whether it does. */
static void ask_when_due(struct control *control)
{
    uint64_t at_us = control->flush_later_us;
    uint64_t wait_us =
        control_peers_is_first(control) ? 0 : 2 * (uint64_t)control->options.lease_us;
    if (at_us != 0 && control->now_us >= at_us + wait_us) {
        control->flush_later_us = 0;
        control->is_flush_due = !control->is_flush_asked_now;
        control->is_flush_asked_now = true;
    }
}

/* Is what is asked what VIEW, of our flush, has told all proxies? More may have been asked since it
 * was proposed. */
static bool is_told(const struct control *control, const struct view *view)
{
    return control_flush_is_asked(control) &&
           (!control->is_flush_asked_later || control->flush_asked_delay_s == view->flush_delay_s);
}

/* Every live proxy joins that view, but the next may come before it acts on it. */
void control_flush_on_hold(struct control *control)
{
    if (control->target.flush_by != VIEW_NO_PROXY) {
        remember(control, control->target.flush_delay_s);
    }
}

void control_flush_on_effective(struct control *control)
{
    const struct view *view = &control->effective;
    bool is_doing = control->is_flush_doing_now || control->is_flush_doing_later;
    if (view->flush_by == VIEW_NO_PROXY) {
        if (is_doing) {
            over(control);
        }
        control->flush = FLUSH_IDLE;
    } else if (view->flush_by == control->id) {
        if (!is_doing && is_told(control, view)) {
            take_asked(control);
        } else if (!is_doing) {
            /* Another began it, and died; or what is asked comes after it. */
            control->is_flush_doing_later = view->flush_delay_s > 0;
            control->is_flush_doing_now = !control->is_flush_doing_later;
            control->flush_doing_delay_s = view->flush_delay_s;
            /* What is asked without delay is done by it; only a later one comes after it. */
            if (control->is_flush_doing_now) {
                control->is_flush_asked_now = false;
                control->is_flush_due = false;
            }
        }
        begin(control);
    } else {
        control->flush = FLUSH_IDLE;
    }
}

static void send(struct control *control, struct probe *probe)
{
    char text[64];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    control->flush_sent |= node_set_of(probe->node);
    control->flush_sent_us[probe->node] = control->now_us;
    bool is_later = control->is_flush_doing_later && control->is_lone;
    if (is_later) {
        mc_write(&w, SLICE("flush_all "));
        mc_write_u64(&w, control->flush_doing_delay_s);
        mc_write(&w, SLICE("\r\n"));
    }
    if (control->is_flush_doing_now) {
        bool is_last = !is_later;
        (void)control_probe_send(control, probe, PROBE_FORM_FLUSH, SLICE("flush_all\r\n"), is_last);
    }
    if (is_later) {
        (void)control_probe_send(control, probe, PROBE_FORM_FLUSH, slice_of(text, w.len), 1);
    }
}

/* What the flush erased is written back at once; the identity is read after it. */
void control_flush_on_ok(struct control *control, struct probe *probe)
{
    if ((control->flush_sent & node_set_of(probe->node)) == 0) {
        return; /* of a flush that another view has overtaken */
    }
    control->flush_ok |= node_set_of(probe->node);
    control_probe_ask_stats(control, probe);
    if (!control->is_lone) {
        control_peers_claim(control, probe);
        control_peers_beat_on(control, probe);
        probe->is_looked = false;
        control_probe_ask_view(control, probe);
    }
}

static bool is_through(const struct control *control, uint32_t node)
{
    return (control->flush_ok & node_set_of(node)) != 0 &&
           control->probes[node].identity_us > control->flush_sent_us[node];
}

static bool is_done(const struct control *control)
{
    node_set complete = control->is_lone
                            ? node_set_of(0)
                            : control_join_nodes(&control->effective, NODE_DATA_COMPLETE);
    bool is_late = control->now_us - control->flush_us >= 2 * control->options.timeout_us;
    bool is_any = complete == 0;
    bool are_all = true;
    for (node_set left = complete; left != 0; left &= left - 1) {
        bool is_node = is_through(control, node_set_first(left));
        is_any = is_any || is_node;
        are_all = are_all && is_node;
    }
    node_set warming =
        control->is_lone ? 0 : control_join_nodes(&control->effective, NODE_DATA_WARMING);
    for (; warming != 0; warming &= warming - 1) {
        are_all = are_all && is_through(control, node_set_first(warming));
    }
    return are_all || (is_any && is_late);
}

void control_flush_step(struct control *control)
{
    ask_when_due(control);
    if (control->is_lone && control->flush == FLUSH_IDLE && control_flush_is_asked(control)) {
        take_asked(control);
        begin(control);
    }
    if (control->flush != FLUSH_SENDING || control->state != CONTROL_SERVING) {
        return;
    }
    if (!control->is_lone && !control->is_flush_doing_now) {
        control->flush = FLUSH_READY;
        return;
    }
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct probe *probe = &control->probes[node];
        bool is_ok = (control->flush_ok & node_set_of(node)) != 0;
        if (control->places[node].state != PLACE_IN) {
            continue;
        }
        if (!probe->is_greeted && !is_ok) {
            control->flush_sent &= ~node_set_of(node); /* again, on its next connection */
        } else if (probe->is_greeted && (control->flush_sent & node_set_of(node)) == 0) {
            send(control, probe);
        }
    }
    if (!is_done(control)) {
        return;
    }
    if (control->is_lone) {
        over(control);
        return;
    }
    for (uint32_t node = 0; node < control->node_count; node++) {
        control->flush_ok &= is_through(control, node) ? ~(node_set)0 : ~node_set_of(node);
    }
    control->flush = FLUSH_READY;
}

bool control_flush_next_action(struct control *control, struct control_action *out)
{
    for (uint32_t worker = 0; worker < control->options.worker_count; worker++) {
        if (control->flush_done[worker] != 0) {
            out->type = CONTROL_ACTION_FLUSHED;
            out->worker = worker;
            out->ticket = control->flush_done[worker];
            control->flush_done[worker] = 0;
            return true;
        }
    }
    return false;
}
