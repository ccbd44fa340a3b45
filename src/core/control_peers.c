/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Our id and heartbeat, the others' heartbeats, and the lease (replication.md section 4).
 *
 * Another proxy is live until its sequence has not grown for `lease` on our clock. We read only now
 * and then, so not growing means: every node that we hear was asked `lease` after we last saw
 * growth, or later, and shows none. That is later than the end of the other's own lease, which
 * counts from when it *sent* what we saw. Where the heartbeat is missing, a flush may have erased
 * what grew: it must then be missing for `lease` on end. Only a scan that shows our own heartbeat
 * tells anything: at the end of a delayed flush a node forgets whatever it is given, for up to a
 * second.
 *
 * A farewell is a last heartbeat that says so, and expires by itself. Absence alone would not do: a
 * flush makes heartbeats of proxies absent that are only slow.
 *
 * Our lease counts from the sending of the last heartbeat that all nodes have acknowledged which we
 * hear and which are complete in the view in effect; if there are none of those, any node. Others
 * take the highest sequence that they find on any node they reach, and who shares no node with us
 * is on the other side of a split. So what lies on every node that matters, they see; a node that
 * we do not hear can't hold the lease up.
 */
#include "control_private.h"

#include "everwarm/core/rule.h"

void control_peers_init(struct control *control)
{
    control->id = (uint32_t)(control->options.nonce % PROXIES_MAX);
    control->beat = (struct heartbeat){.id = control->id,
                                       .nonce = control->options.nonce,
                                       .config_hash = control->options.config_hash};
    uint64_t wall_ms = control->options.wall_ms;
    control->token_base_ms =
        (wall_ms > TOKEN_EPOCH_MS ? wall_ms - TOKEN_EPOCH_MS : 0) - control->now_us / 1000;
}

uint64_t control_peers_token_ms(const struct control *control)
{
    return control->token_base_ms + control->now_us / 1000;
}

/*
 * What another run of a proxy had our id and promised: we begin above it, whatever our wall clock
 * says. Not above what no clock can have said.
 */
static void follow_ceiling(struct control *control, const struct heartbeat *beat)
{
    uint64_t ceiling_ms = beat->clock_ceiling >> TOKEN_SHIFT_MS;
    uint64_t now_ms = control_peers_token_ms(control);
    if (ceiling_ms > now_ms + CONTROL_TOKENS_AHEAD_MAX_MS) {
        control->counts.clocks_refused++;
    } else if (ceiling_ms >= now_ms) {
        control->token_base_ms += ceiling_ms + 1 - now_ms;
    }
}

/* --- The id --- */

static void send_id(struct control *control, struct probe *probe, enum probe_form form)
{
    char body[VIEW_ID_BYTES_MAX];
    struct mc_writer b = mc_writer_of(body, sizeof body);
    view_id_emit(control->options.nonce, &b);
    char text[VIEW_ID_BYTES_MAX + MC_KEY_BYTES_MAX + 64];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    mc_write(&w, form == PROBE_FORM_ID_LOOK ? SLICE("mg ") : SLICE("ms "));
    view_key_id(&control->options.names, control->id, &w);
    if (form == PROBE_FORM_ID_LOOK) {
        mc_write(&w, SLICE(" v\r\n"));
    } else {
        mc_write(&w, SLICE(" "));
        mc_write_u64(&w, b.len);
        mc_write(&w, form == PROBE_FORM_ID_ADD ? SLICE(" ME T") : SLICE(" T"));
        mc_write_u64(&w, CONTROL_ID_TTL_S);
        mc_write(&w, SLICE("\r\n"));
        mc_write(&w, slice_of(body, b.len));
        mc_write(&w, SLICE("\r\n"));
    }
    INVARIANT(!b.is_full && !w.is_full);
    (void)control_probe_send(control, probe, form, slice_of(text, w.len), control->id);
}

void control_peers_claim(struct control *control, struct probe *probe)
{
    if (control->id_state != ID_NONE && !control->is_lone &&
        control->places[probe->node].state == PLACE_IN) {
        send_id(control, probe, PROBE_FORM_ID_ADD);
    }
}

void control_peers_on_id(struct control *control, struct probe *probe,
                         const struct probe_want *want, const struct mc_reply *reply,
                         struct slice value)
{
    if (want->tag != control->id) {
        return; /* of an id that we have given up */
    }
    uint64_t nonce = 0;
    if (reply->kind == MC_REPLY_NS || (reply->kind == MC_REPLY_EN && control->id_tries < 8)) {
        control->id_tries += reply->kind == MC_REPLY_EN;
        send_id(control, probe,
                reply->kind == MC_REPLY_NS ? PROBE_FORM_ID_LOOK : PROBE_FORM_ID_ADD);
    } else if (want->form == PROBE_FORM_ID_LOOK) {
        if (view_id_parse(value, &nonce) && nonce != control->options.nonce) {
            control->is_id_taken = true;
        } else {
            send_id(control, probe, PROBE_FORM_ID_PUT); /* ours, or rubbish */
        }
    } else {
        control->id_ours |= node_set_of(probe->node);
    }
}

static void claim_all(struct control *control)
{
    control->id_asked = 0;
    control->id_ours = 0;
    control->id_tries = 0;
    control->is_id_taken = false;
    for (node_set left = control_probe_heard(control); left != 0; left &= left - 1) {
        control->id_asked |= node_set_of(node_set_first(left));
        send_id(control, &control->probes[node_set_first(left)], PROBE_FORM_ID_ADD);
    }
    control->id_renew_us = control->now_us + CONTROL_ID_RENEW_US;
}

/* Every node has answered, or failed once. */
static bool is_every_node_tried(const struct control *control)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        const struct probe *probe = &control->probes[node];
        if (control->places[node].state == PLACE_IN && !probe->is_greeted &&
            probe->checks_failed == 0) {
            return false;
        }
    }
    return true;
}

static void peer_move(struct control *control, uint32_t id, enum peer_state to)
{
    struct peer *peer = &control->peers[id];
    static const bool moves[3][3] = {
        [PEER_UNKNOWN] = {[PEER_LIVE] = true},
        [PEER_LIVE] = {[PEER_GONE] = true},
        [PEER_GONE] = {[PEER_LIVE] = true},
    };
    INVARIANT(moves[peer->state][to]);
    peer->state = to;
    if (to == PEER_GONE) {
        /* Another run may live under its id, and what was read of those that nobody had was without
         * it: before a view is acted on all is read again. */
        control->joined_us = control->now_us;
        for (uint32_t node = 0; node < control->node_count; node++) {
            control->probes[node].is_scan_full = false; /* asked a moment ago, without that id */
        }
    }
    uint64_t bit = UINT64_C(1) << (id % 64);
    control->live.bits[id / 64] =
        to == PEER_LIVE ? control->live.bits[id / 64] | bit : control->live.bits[id / 64] & ~bit;
}

static void take_next_id(struct control *control)
{
    control->id = (control->id + 1) % PROXIES_MAX;
    control->id_state = ID_CLAIMING;
    control->beat.id = control->id;
    if (control_peers_is_live(control, control->id)) {
        peer_move(control, control->id, PEER_GONE);
    }
    control->peers[control->id] = (struct peer){0};
    claim_all(control);
}

void control_peers_tick_id(struct control *control)
{
    node_set heard = control_probe_heard(control);
    if (control->id_state == ID_NONE) {
        if (heard != 0 && is_every_node_tried(control)) {
            control->id_state = ID_CLAIMING;
            claim_all(control);
        }
        return;
    }
    if (control->is_id_taken) {
        take_next_id(control);
    } else if (control->id_state == ID_CLAIMING) {
        node_set asked = control->id_asked & heard;
        if (asked == 0) {
            control->id_state = ID_NONE; /* all of them went; again with those that are there */
        } else if ((asked & ~control->id_ours) == 0) {
            control->id_state = ID_OURS;
            struct trace_event event = control_event(control, TRACE_PROXY_ID);
            event.proxy = control->id;
            control_trace(control, &event);
        }
    } else if (control->now_us >= control->id_renew_us) {
        claim_all(control);
    }
}

/* --- Our heartbeat --- */

node_set control_peers_own_given_up(const struct control *control)
{
    node_set set = verify_given_up(control->verify) |
                   verify_unproven(control->verify, control->now_us) |
                   fill_given_up(control->fill) | fill_unproven(control->fill, control->now_us);
    for (uint32_t worker = 0; worker < control->options.worker_count; worker++) {
        for (uint32_t node = 0; node < control->node_count; node++) {
            set |= control->given_up[worker][node] > 0 ? node_set_of(node) : 0;
        }
    }
    return set;
}

static void send_beat(struct control *control, struct probe *probe, uint64_t ttl_s)
{
    char body[HEARTBEAT_BYTES_MAX];
    struct mc_writer b = mc_writer_of(body, sizeof body);
    heartbeat_emit(&control->beat, &control->options.names, &b);
    INVARIANT(!b.is_full);
    char text[HEARTBEAT_BYTES_MAX + MC_KEY_BYTES_MAX + 64];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    mc_write(&w, SLICE("ms "));
    view_key_heartbeat(&control->options.names, control->id, &w);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, b.len);
    mc_write(&w, SLICE(" T"));
    mc_write_u64(&w, ttl_s);
    mc_write(&w, SLICE("\r\n"));
    mc_write(&w, slice_of(body, b.len));
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    (void)control_probe_send(control, probe, PROBE_FORM_HEARTBEAT, slice_of(text, w.len),
                             control->beat.sequence);
}

static uint64_t ttl_s(const struct control *control)
{
    uint64_t seconds = (10 * control->options.lease_us + 999999) / 1000000;
    return seconds > CONTROL_FAREWELL_TTL_S ? seconds : CONTROL_FAREWELL_TTL_S;
}

/* All tokens stay below it that can be given out under the lease that this heartbeat brings. */
static uint64_t ceiling(const struct control *control)
{
    uint64_t lease_ms = control->options.lease_us / 1000;
    return (control_peers_token_ms(control) + lease_ms + TOKEN_AHEAD_MS_MAX + 1) << TOKEN_SHIFT_MS;
}

bool control_peers_is_blind(const struct control *control)
{
    return control->effective.epoch == 0 && !RULE(BEAT_FIRST);
}

void control_peers_beat(struct control *control)
{
    if (control->id_state != ID_OURS || control->state == CONTROL_LEAVING || control->is_silent ||
        control_peers_is_blind(control)) {
        return;
    }
    control->beat.sequence++;
    control->beat.epoch = control->joined.epoch;
    control->beat.view_hash = control->joined.hash;
    control->beat.effective_hash = control->effective.hash;
    /* Who has not yet regained its lease tells others, which are silent, that it does not act. */
    node_set away = control->state == CONTROL_LAPSED
                        ? control_join_nodes(&control->effective, NODE_DATA_COMPLETE)
                        : 0;
    control->beat.given_up = control_peers_own_given_up(control) | away;
    control->beat.clock_ceiling = ceiling(control);
    control->sent_us[control->beat.sequence % CONTROL_SENT_MAX] = control->now_us;
    for (uint32_t node = 0; node < control->node_count; node++) {
        control_peers_beat_on(control, &control->probes[node]);
    }
}

void control_peers_beat_on(struct control *control, struct probe *probe)
{
    if (control->beat.sequence > 0 && control->state != CONTROL_LEAVING && !control->is_silent &&
        probe->is_greeted && control->places[probe->node].state == PLACE_IN) {
        send_beat(control, probe, ttl_s(control));
    }
}

void control_peers_on_ack(struct control *control, struct probe *probe, uint64_t sequence)
{
    probe->acked_sequence = sequence;
    if (control->state == CONTROL_LEAVING) {
        if (sequence == control->beat.sequence) {
            control->farewells &= ~node_set_of(probe->node);
        }
        return;
    }
    node_set heard = control_probe_heard(control) | node_set_of(probe->node);
    node_set needed = heard & control_join_nodes(&control->effective, NODE_DATA_COMPLETE);
    uint64_t least = UINT64_MAX;
    for (node_set left = needed; left != 0; left &= left - 1) {
        uint64_t acked = control->probes[node_set_first(left)].acked_sequence;
        least = acked < least ? acked : least;
    }
    if (needed == 0) {
        least = sequence;
    }
    if (least == 0 || control->beat.sequence - least >= CONTROL_SENT_MAX) {
        return;
    }
    uint64_t sent_us =
        RULE(LEASE_FROM_SENDING) ? control->sent_us[least % CONTROL_SENT_MAX] : control->now_us;
    if (sent_us > control->lease_from_us) {
        control->lease_from_us = sent_us;
    }
}

void control_peers_farewell(struct control *control, bool is_due)
{
    control->beat.sequence++;
    control->beat.epoch = 0;
    control->beat.view_hash = is_due ? HEARTBEAT_FAREWELL_DUE : HEARTBEAT_FAREWELL;
    control->beat.effective_hash = control->effective.hash;
    control->beat.given_up = 0;
    for (uint32_t node = 0; node < control->node_count; node++) {
        if (control->probes[node].is_greeted && control->places[node].state == PLACE_IN) {
            control->farewells |= node_set_of(node);
            send_beat(control, &control->probes[node], CONTROL_FAREWELL_TTL_S);
        }
    }
}

/* --- The others' --- */

static bool has_id(const struct probe_id_set *set, uint32_t id)
{
    return (set->bits[id / 64] >> (id % 64) & 1) != 0;
}

bool control_peers_is_live(const struct control *control, uint32_t id)
{
    return id < PROXIES_MAX && control->peers[id].state == PEER_LIVE;
}

/* The first live one from FROM on; PROXIES_MAX: none. */
static uint32_t next_live(const struct control *control, uint32_t from)
{
    for (uint32_t word = from / 64; word < PROXIES_MAX / 64; word++) {
        uint64_t bits = control->live.bits[word];
        bits = word == from / 64 ? bits >> (from % 64) << (from % 64) : bits;
        if (bits != 0) {
            return word * 64 + (uint32_t)__builtin_ctzll(bits);
        }
    }
    return PROXIES_MAX;
}

uint32_t control_peers_live(const struct control *control)
{
    uint32_t count = 0;
    for (uint32_t word = 0; word < PROXIES_MAX / 64; word++) {
        count += (uint32_t)__builtin_popcountll(control->live.bits[word]);
    }
    return count;
}

void control_peers_scan(struct control *control, struct probe *probe, enum control_scan scan)
{
    /* The longest key, its flags, all ids: below the ring's size, with room for a view beside it.
     */
    static const struct slice tail = SLICE_INIT(" q k v\r\n");
    if (probe->state != PROBE_OPEN || probe->is_scan_owed) {
        return;
    }
    char text[PROXIES_MAX * (POOL_NAME_BYTES_MAX + 48)];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    probe->scan_ids = (struct probe_id_set){0};
    probe->is_own_seen = false;
    uint32_t count = 0;
    for (uint32_t id = 0; id < PROXIES_MAX; id++) {
        bool is_wanted = scan == CONTROL_SCAN_ALL || id == control->id ||
                         (scan == CONTROL_SCAN_UNKNOWN ? !control_peers_is_live(control, id)
                                                       : has_id(&control->asked, id));
        if (!is_wanted) {
            continue;
        }
        mc_write(&w, SLICE("mg "));
        view_key_heartbeat(&control->options.names, id, &w);
        mc_write(&w, tail);
        probe->scan_ids.bits[id / 64] |= UINT64_C(1) << (id % 64);
        count++;
    }
    mc_write(&w, SLICE("mn\r\n"));
    INVARIANT(!w.is_full);
    if (control_probe_send(control, probe, PROBE_FORM_SCAN, slice_of(text, w.len), 0)) {
        probe->is_scan_owed = true;
        probe->requests += count;
        probe->is_scan_full = scan != CONTROL_SCAN_LIVE;
        if (probe->is_scan_full) {
            control_probe_ask_stats(control, probe);
        }
    }
}

uint32_t control_peers_id_of(const struct control *control, struct slice key)
{
    char text[MC_KEY_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    view_key_heartbeat(&control->options.names, 0, &w);
    struct slice prefix = slice_of(text, w.len - 1);
    uint64_t id = PROXIES_MAX;
    if (w.is_full || !slice_has_prefix(key, prefix) ||
        !mc_read_u64(slice_skip(key, prefix.len), &id) || id >= PROXIES_MAX) {
        return PROXIES_MAX;
    }
    return (uint32_t)id;
}

static void tell_peer(struct control *control, enum trace_type type, uint32_t id,
                      const char *detail)
{
    struct trace_event event = control_event(control, type);
    event.proxy = id;
    control_copy_text(event.detail, sizeof event.detail, slice_of_string(detail));
    control_trace(control, &event);
}

/* Without a farewell; one that had joined no view had nothing to leave unfinished. */
static void died(struct control *control, const struct peer *peer)
{
    if (peer->epoch > 0) {
        control_verify_on_death(control);
        control_warm_on_death(control);
    }
}

/* A node that stood still may show how a run went, after the next one was seen to live. */
static bool is_other_alive(const struct control *control, const struct peer *peer)
{
    return peer->state == PEER_LIVE && peer->growth_before_us != 0 &&
           control->now_us < peer->growth_before_us + control->options.lease_us &&
           RULE(FAREWELL_RUN);
}

/* To the run that was seen before this one, which took its leave: its view isn't known. */
static void go_back(struct peer *peer)
{
    *peer = (struct peer){.nonce_before = peer->nonce,
                          .sequence_before = UINT64_MAX, /* it is over */
                          .state = PEER_LIVE,
                          .nonce = peer->nonce_before,
                          .sequence = peer->sequence_before,
                          .epoch = peer->epoch,
                          .config_hash = peer->config_hash,
                          .given_up = peer->given_up_before,
                          .growth_us = peer->growth_before_us};
}

static void grow(struct control *control, uint32_t id, const struct heartbeat *beat)
{
    struct peer *peer = &control->peers[id];
    node_set given_up_before = 0;
    if (peer->nonce != beat->nonce) {
        uint64_t growth_before_us = 0;
        if (peer->state == PEER_LIVE) {
            growth_before_us = peer->growth_us;
            given_up_before = peer->given_up | peer->given_up_before;
            peer_move(control, id, PEER_GONE);
            died(control, peer); /* another run in its place, without a farewell */
        }
        *peer = (struct peer){.nonce_before = peer->nonce,
                              .sequence_before = peer->sequence,
                              .growth_before_us = growth_before_us,
                              .state = PEER_UNKNOWN};
    }
    if (heartbeat_is_farewell(beat)) {
        if (is_other_alive(control, peer)) {
            go_back(peer);
            return;
        }
        /* Also of one that we never saw alive: who restarts at once finds what that run left. */
        peer->nonce = beat->nonce;
        peer->sequence = beat->sequence;
        peer->effective_hash = beat->effective_hash;
        peer->growth_us = control->now_us;
        peer->has_left = true;
        if (peer->state == PEER_LIVE) {
            peer_move(control, id, PEER_GONE);
            tell_peer(control, TRACE_PROXY_GONE, id, "farewell");
            if (beat->view_hash == HEARTBEAT_FAREWELL_DUE) {
                died(control, peer);
            }
        }
        return;
    }
    bool was_mismatched = peer->nonce != 0 && peer->config_hash != control->options.config_hash;
    peer->nonce = beat->nonce;
    peer->sequence = beat->sequence;
    peer->epoch = beat->epoch;
    peer->view_hash = beat->view_hash;
    peer->effective_hash = beat->effective_hash;
    peer->config_hash = beat->config_hash;
    peer->given_up = beat->given_up;
    peer->given_up_before = given_up_before;
    peer->growth_us = control->now_us;
    peer->quiet_on = 0;
    peer->stale_on = 0;
    peer->missing_us = 0;
    if (peer->state != PEER_LIVE) {
        peer_move(control, id, PEER_LIVE);
        tell_peer(control, TRACE_PROXY_SEEN, id, "");
    }
    if (!was_mismatched && peer->config_hash != control->options.config_hash) {
        tell_peer(control, TRACE_POOL_MISMATCH, id, "the pool is configured otherwise there");
    }
}

/*
 * Asked at ASKED_US, the node showed nothing new of the peer. It counts if the peer had `lease` to
 * store something there since SINCE_US, and since we came to hear the node: it may have to connect
 * anew as we had. And if that is so twice, with time for a heartbeat between: what the peer had
 * stored lately may be covered by an old one of its own that a connection kept back until now.
 */
static void no_growth(const struct control *control, struct peer *peer, const struct probe *probe,
                      uint64_t since_us, uint64_t asked_us)
{
    uint64_t lease_us = RULE(OTHERS_LEASE) ? control->options.lease_us : 0;
    uint64_t between_us = RULE(OTHERS_LEASE) ? control->options.interval_us * 3 / 2 : 0;
    uint64_t from_us = since_us > probe->greeted_us ? since_us : probe->greeted_us;
    node_set node = node_set_of(probe->node);
    if (peer->state != PEER_LIVE || asked_us < from_us + lease_us / 2) {
        return;
    }
    if ((peer->quiet_on & node) == 0) {
        peer->quiet_on |= node;
        peer->quiet_us = control->now_us;
    }
    if (asked_us >= from_us + lease_us && asked_us >= peer->quiet_us + between_us) {
        peer->stale_on |= node;
    }
}

void control_peers_on_heartbeat(struct control *control, struct probe *probe, uint32_t id,
                                struct slice text, uint64_t asked_us)
{
    struct heartbeat beat;
    if (!has_id(&probe->scan_ids, id) || !heartbeat_parse(text, &control->options.names, &beat) ||
        beat.id != id || beat.nonce == 0) {
        return; /* rubbish counts as absent */
    }
    if (beat.nonce == control->options.nonce) {
        probe->is_own_seen = true;
        return; /* a run that had our id before is missing, as any other would be */
    }
    probe->scan_ids.bits[id / 64] &= ~(UINT64_C(1) << (id % 64));
    if (id == control->id) {
        follow_ceiling(control, &beat);
    }
    if (beat.epoch > control->top.epoch &&
        !control_probe_is_asked(probe, PROBE_FORM_LOOK, asked_us)) {
        control_probe_look(control, probe); /* it has joined a view that we have not seen yet */
    }
    struct peer *peer = &control->peers[id];
    /* What another run took its leave with says nothing of the one that lives, before or after; nor
     * does what lay in a node that stood still: who grows is alive, whichever was seen last. */
    bool is_old = beat.nonce == peer->nonce_before &&
                  (beat.sequence <= peer->sequence_before || !RULE(LEFT_OVER));
    bool is_others_farewell =
        heartbeat_is_farewell(&beat) && peer->state == PEER_LIVE && RULE(FAREWELL_RUN);
    bool is_leftover = beat.nonce != peer->nonce && (is_old || is_others_farewell);
    if (!is_leftover && (beat.nonce != peer->nonce || beat.sequence > peer->sequence)) {
        bool is_clash = id == control->id && control->id_state != ID_NONE && peer->nonce != 0 &&
                        !heartbeat_is_farewell(&beat);
        grow(control, id, &beat);
        /* A left-over under our id grows no more; one that does belongs to a live proxy. */
        control->is_id_taken = control->is_id_taken || is_clash;
    } else {
        no_growth(control, peer, probe, peer->growth_us, asked_us);
    }
}

void control_peers_on_scanned(struct control *control, struct probe *probe, uint64_t asked_us)
{
    probe->is_scan_owed = false;
    if (!probe->is_own_seen && !control_peers_is_blind(control)) {
        return;
    }
    if (probe->is_scan_full) {
        probe->scan_full_us = asked_us;
    }
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        struct peer *peer = &control->peers[id];
        if (!has_id(&probe->scan_ids, id)) {
            continue;
        }
        /* On end means: read again and again, with no gap that hides a heartbeat. */
        bool is_gap = asked_us > peer->missing_asked_us + 2 * control->options.interval_us;
        if (peer->missing_us == 0 || is_gap) {
            peer->missing_us = control->now_us;
        }
        peer->missing_asked_us = asked_us;
        no_growth(control, peer, probe, peer->missing_us, asked_us);
    }
}

node_set control_peers_given_up(const struct control *control)
{
    node_set set = control_peers_own_given_up(control);
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        set |= control->peers[id].given_up | control->peers[id].given_up_before;
    }
    return set;
}

bool control_peers_is_first(const struct control *control)
{
    return next_live(control, 0) >= control->id;
}

bool control_peers_is_mismatched(const struct control *control)
{
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        if (control->peers[id].config_hash != control->options.config_hash) {
            return true;
        }
    }
    return false;
}

bool control_peers_is_any_known(const struct control *control)
{
    for (uint32_t id = 0; id < PROXIES_MAX; id++) {
        if (control->peers[id].state != PEER_UNKNOWN) {
            return true;
        }
    }
    return false;
}

static bool shows(const struct peer *peer, const struct view *view)
{
    return peer->epoch == view->epoch && peer->view_hash == view->hash;
}

bool control_peers_is_shown(const struct control *control, const struct view *view,
                            uint64_t since_us)
{
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        const struct peer *peer = &control->peers[id];
        if (peer->growth_us >= since_us && shows(peer, view)) {
            return true;
        }
    }
    return false;
}

bool control_peers_all_show(const struct control *control, const struct view *view,
                            uint64_t since_us)
{
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        const struct peer *peer = &control->peers[id];
        if (peer->growth_us < since_us || !shows(peer, view)) {
            return false;
        }
    }
    return true;
}

bool control_peers_is_any_acting(const struct control *control, node_set nodes, uint64_t since_us)
{
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        const struct peer *peer = &control->peers[id];
        if (peer->growth_us >= since_us && (nodes & ~peer->given_up) != 0) {
            return true;
        }
    }
    return false;
}

bool control_peers_is_effective(const struct control *control, const struct view *view,
                                uint64_t since_us)
{
    for (uint32_t id = 0; id < PROXIES_MAX; id++) {
        const struct peer *peer = &control->peers[id];
        if ((peer->state == PEER_LIVE || peer->has_left) && peer->growth_us >= since_us &&
            peer->effective_hash == view->hash) {
            return true;
        }
    }
    return false;
}

static void ask_about(struct control *control, uint32_t id)
{
    control->asked.bits[id / 64] |= UINT64_C(1) << (id % 64);
}

/* Of those that show the view already, a few in turn: one may have begun to act on it. */
static void ask_about_few(struct control *control)
{
    for (uint32_t i = 0; i < CONTROL_POLL_SHOWING; i++) {
        uint32_t id = next_live(control, control->poll_peer + 1);
        id = id < PROXIES_MAX ? id : next_live(control, 0);
        control->poll_peer = id;
        ask_about(control, id);
    }
}

void control_peers_poll(struct control *control, const struct view *view, uint64_t since_us)
{
    uint32_t lagging = 0;
    control->asked = (struct probe_id_set){0};
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        const struct peer *peer = &control->peers[id];
        if (peer->growth_us < since_us || !shows(peer, view)) {
            ask_about(control, id);
            lagging++;
        }
    }
    uint64_t pause_us = (uint64_t)CONTROL_POLL_A_PROXY_US * lagging;
    control->poll_us =
        control->now_us + (pause_us > CONTROL_POLL_US ? pause_us : (uint64_t)CONTROL_POLL_US);
    node_set heard = control_probe_heard(control);
    node_set after = heard & ~node_set_all(control->poll_node + 1);
    if (lagging > 0 && heard != 0) {
        ask_about_few(control);
        control->poll_node = node_set_first(after != 0 ? after : heard);
        control_peers_scan(control, &control->probes[control->poll_node], CONTROL_SCAN_LIVE);
    }
}

/* Between two looks at all heartbeats; more proxies look more seldom, so that a node has no more of
 * them. */
static uint64_t scan_pause_us(const struct control *control)
{
    uint64_t pause_us = (uint64_t)CONTROL_SCAN_IDLE_A_PROXY_US * control_peers_live(control);
    return pause_us > CONTROL_SCAN_IDLE_US ? pause_us : CONTROL_SCAN_IDLE_US;
}

/* It may be dead: it was not seen to grow for as long as it lives, nor for longer than between two
 * looks while nobody waits for it. */
static bool is_doubtful(const struct control *control, const struct peer *peer)
{
    /* Without the lease: does it act? */
    uint64_t patience_us =
        control->is_silent ? control->options.interval_us : control->options.lease_us;
    bool is_waited_for = control->join != JOIN_IDLE || control->state != CONTROL_SERVING ||
                         control_join_nodes(&control->effective, NODE_DATA_FILLING) != 0;
    if (!is_waited_for) {
        uint64_t pause_us = scan_pause_us(control) * 3 / 2;
        patience_us = pause_us > patience_us ? pause_us : patience_us;
    }
    return peer->quiet_on != 0 || peer->missing_us != 0 ||
           control->now_us >= peer->growth_us + patience_us;
}

/* Returns whether there are doubtful ones, which are to be asked about. */
static bool bury(struct control *control)
{
    bool is_any = false;
    node_set heard = control_probe_heard(control);
    control->asked = (struct probe_id_set){0};
    for (uint32_t id = next_live(control, 0); id < PROXIES_MAX; id = next_live(control, id + 1)) {
        struct peer *peer = &control->peers[id];
        if (heard != 0 && (heard & ~peer->stale_on) == 0) {
            peer_move(control, id, PEER_GONE);
            control->buried_us = control->now_us;
            tell_peer(control, TRACE_PROXY_GONE, id,
                      peer->epoch > 0 ? "lease" : "it had not joined yet");
            died(control, peer);
        } else if (is_doubtful(control, peer)) {
            ask_about(control, id);
            is_any = true;
        }
    }
    return is_any;
}

/* One node, in turn, is asked who is there. */
static void scan_in_turn(struct control *control)
{
    node_set heard = control_probe_heard(control);
    if (control->now_us < control->scan_next_us || heard == 0) {
        return;
    }
    node_set after = heard & ~node_set_all(control->scan_node + 1);
    uint32_t node = node_set_first(after != 0 ? after : heard);
    if (control->probes[node].is_scan_owed) {
        return; /* a smaller one is under way; as soon as it is answered */
    }
    control->scan_node = node;
    control->scan_next_us = control->now_us + prng_jitter(&control->prng, scan_pause_us(control),
                                                          CONTROL_JITTER_PERCENT);
    control_peers_scan(control, &control->probes[node], CONTROL_SCAN_ALL);
}

void control_peers_tick(struct control *control)
{
    bool is_any_doubtful = bury(control);
    if (is_any_doubtful && control->now_us >= control->scan_urgent_us) {
        control->scan_urgent_us = control->now_us + control->options.interval_us / 4;
        for (node_set left = control_probe_heard(control); left != 0; left &= left - 1) {
            control_peers_scan(control, &control->probes[node_set_first(left)], CONTROL_SCAN_LIVE);
        }
    }
    if (control_peers_live(control) > 0) {
        control->last_peer_us = control->now_us;
    }
    scan_in_turn(control);
}
