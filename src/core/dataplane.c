/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dataplane's public face: memory, the step, and the order in which its wishes come out. What a
 * request does is told in dataplane_private.h.
 *
 * Wishes are not queued: a session or link that may want something is in a list of touched ones,
 * and is asked what it wants now. So nothing here can overflow.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

/* --- Memory --- */

struct layout {
    size_t sessions;
    size_t links;
    size_t txns;
    size_t legs;
    size_t inflight;
    size_t settle;
    size_t scratch;
    size_t chunks;
    size_t end;
};

enum {
    /* The longest line, and behind it room for a multiget's part (session.c, deal_keys). */
    SCRATCH_BYTES = SCRATCH_INPUT_BYTES + (1 << 20),
    LAYOUT_ALIGN = 4096,
    TICK_US = 20000, /* while something is under way */
};

static size_t aligned(size_t bytes)
{
    return (bytes + LAYOUT_ALIGN - 1) & ~(size_t)(LAYOUT_ALIGN - 1);
}

static size_t object_bytes(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static struct layout layout_of(const struct dataplane_options *options)
{
    struct layout at;
    at.sessions = aligned(sizeof(struct dataplane));
    at.links = at.sessions + aligned(options->clients_max * sizeof(struct session));
    at.txns = at.links + aligned(DATAPLANE_LINKS_MAX * sizeof(struct link));
    at.legs = at.txns + aligned(TXNS_MAX * object_bytes(sizeof(struct txn)));
    at.inflight = at.legs + aligned(LEGS_MAX * object_bytes(sizeof(struct leg)));
    at.settle = at.inflight + aligned(INFLIGHT_SLOTS * sizeof(struct txn *));
    at.scratch = at.settle + aligned(settle_bytes(options));
    at.chunks = at.scratch + aligned(SCRATCH_BYTES);
    at.end = at.chunks + options->memory_bytes;
    return at;
}

size_t dataplane_bytes(const struct dataplane_options *options)
{
    return layout_of(options).end;
}

struct dataplane *dataplane_init(void *memory, const struct dataplane_options *options)
{
    REQUIRE(options->names.node_count >= 1 && options->names.node_count <= NODES_MAX);
    char *base = memory;
    struct layout at = layout_of(options);
    struct dataplane *dp = memory;
    dp->options = *options;
    dp->sessions = (struct session *)(void *)(base + at.sessions);
    dp->links = (struct link *)(void *)(base + at.links);
    dp->inflight = (struct txn **)(void *)(base + at.inflight);
    dp->scratch = base + at.scratch;
    slab_init(&dp->txns, base + at.txns, object_bytes(sizeof(struct txn)), TXNS_MAX);
    slab_init(&dp->legs, base + at.legs, object_bytes(sizeof(struct leg)), LEGS_MAX);
    settle_init(dp, base + at.settle);
    chunk_pool_init(&dp->chunks, base + at.chunks, options->memory_bytes);
    for (uint32_t i = 0; i < DEADLINE_SLOTS; i++) {
        list_init(&dp->deadlines[i]);
    }
    deadline_rescale(dp);
    list_init(&dp->held);
    list_init(&dp->writes);
    list_init(&dp->waiting);
    list_init(&dp->asked);
    dp->prng.state = options->seed;
    for (uint32_t i = 0; i < link_count(dp); i++) {
        struct link *link = link_nth(dp, i);
        link->number = (uint32_t)(link - dp->links);
        link->node = link->number % NODES_MAX;
    }
    struct mc_writer w = mc_writer_of(dp->view_key, sizeof(dp->view_key));
    view_key_view(&options->names, &w);
    INVARIANT(!w.is_full);
    dp->view_key_bytes = w.len;
    dp->stats.memory_limit_bytes = options->memory_bytes;
    return dp;
}

/* --- Time --- */

/* The lease is over: nothing leaves, what was not sent yet never will, and what was sent a moment
 * ago may have been too late (replication.md section 4, Lease). */
static void lapse(struct dataplane *dp)
{
    dp->is_lapsed = true;
    txn_doubt_all(dp);
    for (uint32_t i = 0; i < link_count(dp); i++) {
        if (link_nth(dp, i)->unsent != NULL) {
            link_give_up(dp, link_nth(dp, i), WIRE_END_TIMEOUT);
        }
    }
}

static void regain(struct dataplane *dp)
{
    dp->is_lapsed = false;
    dp->opened_us = dp->now_us;
    dp->is_recheck_due = true;
    for (uint32_t slot = 0; slot < dp->slots_used; slot++) {
        session_touch(dp, &dp->sessions[slot]);
    }
    for (uint32_t i = 0; i < link_count(dp); i++) {
        link_touch(dp, link_nth(dp, i));
    }
}

void dataplane_turn(struct dataplane *dp, uint64_t now_us, uint64_t lease_until_us)
{
    dp->now_us = now_us;
    if (dp->deadline_at == 0) {
        dp->deadline_at = now_us / dp->deadline_slot_us; /* the first turn */
    }
    bool is_over = now_us > lease_until_us && RULE(LEASE);
    if (is_over && !dp->is_lapsed) {
        lapse(dp);
    } else if (!is_over && dp->is_lapsed) {
        regain(dp);
    }
}

/* While the lease is over nothing leaves, so what is answered but unsent becomes overdue too. */
static void close_overdue(struct dataplane *dp)
{
    for (uint32_t slot = 0; slot < dp->slots_used; slot++) {
        struct session *session = &dp->sessions[slot];
        if (session->state != SESSION_FREE && session->head != NULL &&
            deadline_is_over(dp, session->head)) {
            session->is_overdue = true;
            session_touch(dp, session);
        }
    }
}

/* What a session keeps for itself: input, and answers that its client does not take. */
static uint64_t held_bytes(const struct session *session)
{
    return session->input.chain.len + session->store.chain.len + session->output_bytes;
}

/*
 * No client is read for want of memory, and all that was in flight has had its time: what is left
 * belongs to clients that stopped in the middle. The one that holds most is closed, one a tick.
 */
static void shed(struct dataplane *dp)
{
    if (dataplane_client_room(dp) > 0) {
        dp->starved_us = 0;
        return;
    }
    dp->starved_us = dp->starved_us == 0 ? dp->now_us : dp->starved_us;
    if (dp->now_us - dp->starved_us < dp->options.request_timeout_us) {
        return;
    }
    struct session *most = NULL;
    for (uint32_t slot = 0; slot < dp->slots_used; slot++) {
        struct session *session = &dp->sessions[slot];
        if (session->state != SESSION_FREE &&
            held_bytes(session) > (most == NULL ? 0 : held_bytes(most))) {
            most = session;
        }
    }
    if (most != NULL) {
        dp->stats.shed++;
        most->is_overdue = true;
        session_touch(dp, most);
    }
}

static void tick(struct dataplane *dp)
{
    shed(dp);
    if (dp->is_lapsed) {
        close_overdue(dp);
    }
    link_tick(dp);
    deadline_pass(dp);
    settle_tick(dp);
    warm_tick(dp);
    dp->is_recheck_due = dp->is_recheck_due || !list_is_empty(&dp->held);
    session_resume_waiting(dp);
}

uint64_t dataplane_next_deadline_us(const struct dataplane *dp)
{
    uint64_t deadline_us = UINT64_MAX;
    bool is_cut_off = dp->is_lapsed && dp->stats.clients > 0;
    bool is_starved = dataplane_client_room(dp) == 0;
    if (warm_is_untold(dp) || is_cut_off || is_starved || !settle_is_idle(dp) || dp->pending > 0 ||
        !list_is_empty(&dp->held) || !list_is_empty(&dp->waiting)) {
        deadline_us = dp->now_us + TICK_US;
    }
    for (uint32_t i = 0; i < link_count(dp); i++) {
        const struct link *link = link_nth(dp, i);
        bool is_busy = link->head != NULL || link->state == LINK_CONNECTING ||
                       (link->state == LINK_CLOSED && link->is_wanted) || link->is_unproven;
        if (is_busy) {
            deadline_us = dp->now_us + TICK_US;
        }
    }
    return deadline_us;
}

/* --- Events --- */

static void hold(struct dataplane *dp, const struct topology *next)
{
    dp->next = next;
    dp->drain_serial = next->serial;
    dp->is_drain_due = true;
    dp->is_recheck_due = true;
}

static void adopt(struct dataplane *dp, const struct topology *topology)
{
    dp->topology = topology;
    if (dp->next != NULL && dp->next->serial <= topology->serial) {
        dp->next = NULL;
        dp->is_drain_due = false;
        dp->is_sealed = false;
        dp->left = 0;
    }
    dp->adopt_serial = topology->serial;
    dp->opened_us = dp->now_us;
    dp->is_adopt_due = true;
    dp->is_recheck_due = true;
    link_adopt(dp);
    settle_on_adopt(dp);
    warm_on_adopt(dp);
}

void dataplane_step(struct dataplane *dp, const struct dataplane_event *event)
{
    switch (event->type) {
    case DATAPLANE_CLIENT_OPEN:
        session_open(dp, event->client);
        return;
    case DATAPLANE_CLIENT_BYTES:
        session_on_bytes(dp, event->client, event->bytes);
        return;
    case DATAPLANE_CLIENT_EOF:
        session_on_eof(dp, event->client);
        return;
    case DATAPLANE_CLIENT_LOST:
        session_on_lost(dp, event->client);
        return;
    case DATAPLANE_NODE_OPEN:
        link_on_open(dp, &dp->links[event->link]);
        return;
    case DATAPLANE_NODE_BYTES:
        link_on_bytes(dp, &dp->links[event->link], event->bytes);
        return;
    case DATAPLANE_NODE_CLOSED:
        link_on_closed(dp, &dp->links[event->link], event->end);
        return;
    case DATAPLANE_NODE_ENDED:
        link_on_ended(dp, &dp->links[event->link], event->end);
        return;
    case DATAPLANE_HOLD:
        hold(dp, event->topology);
        return;
    case DATAPLANE_ADOPT:
        adopt(dp, event->topology);
        return;
    case DATAPLANE_FLUSHED:
        txn_asked_done(dp, event->ticket);
        return;
    case DATAPLANE_TICK:
        tick(dp);
        return;
    }
    UNREACHABLE();
}

/* --- Actions --- */

static bool report(struct dataplane *dp, struct dataplane_action *out,
                   enum control_report_type type)
{
    out->type = DATAPLANE_REPORT;
    out->report = (struct control_report){.type = type, .worker = dp->options.worker};
    return true;
}

static bool take_due(node_set *due, uint32_t *node)
{
    if (*due == 0) {
        return false;
    }
    *node = node_set_first(*due);
    *due &= *due - 1;
    return true;
}

/* Is all answered that its client asked before it? It goes by another connection, so it would
 * overtake what is under way. */
static bool is_next_of_client(const struct txn *txn)
{
    return txn->session == NULL || session_unanswered(txn->session) == txn;
}

static bool next_flush(struct dataplane *dp, struct dataplane_action *out)
{
    for (struct list *at = dp->asked.next; at != &dp->asked; at = at->next) {
        struct txn *txn = LIST_OWNER(at, struct txn, writes);
        if (txn->ticket == 0 && is_next_of_client(txn)) {
            txn->ticket = ++dp->ticket;
            report(dp, out, CONTROL_REPORT_FLUSH);
            out->report.ticket = txn->ticket;
            out->report.delay_s = txn->exptime_s;
            return true;
        }
    }
    return false;
}

/*
 * From here on others may act under the next view: what a node that leaves would still answer must
 * lead to no write under the old one. What it missed no longer counts, also if it is back in a view
 * that overtakes this one.
 */
static void seal(struct dataplane *dp)
{
    node_set stay = dp->next->complete | dp->next->chained;
    dp->sealed_serial = dp->drain_serial;
    if (!RULE(SEAL)) {
        return;
    }
    dp->is_sealed = true;
    for (uint32_t node = 0; node < dp->options.names.node_count; node++) {
        if ((stay & node_set_of(node)) == 0) {
            dp->left |= link_main(dp, node)->state == LINK_OPEN ? node_set_of(node) : 0;
            link_give_up(dp, link_main(dp, node), WIRE_END_OUT);
            link_give_up(dp, link_side(dp, node), WIRE_END_OUT);
        }
    }
    txn_forget_leavers(dp, stay);
}

static bool next_report(struct dataplane *dp, struct dataplane_action *out)
{
    uint32_t node;
    bool is_drained = dp->next != NULL && dp->is_drain_due && txn_is_drained(dp);
    if (is_drained && dp->sealed_serial != dp->drain_serial) {
        seal(dp);
    }
    if (dp->is_adopt_due) {
        dp->is_adopt_due = false;
        report(dp, out, CONTROL_REPORT_ADOPTED);
        out->report.serial = dp->adopt_serial;
        return true;
    }
    if (take_due(&dp->given_up_due, &node)) {
        report(dp, out, CONTROL_REPORT_GIVEN_UP);
        out->report.node = node;
        out->report.count = dp->stats.nodes[node].given_up;
        return true;
    }
    if (dp->is_parked_due) {
        dp->is_parked_due = false;
        report(dp, out, CONTROL_REPORT_PARKED);
        out->report.count = settle_parked(dp);
        return true;
    }
    if (is_drained) {
        dp->is_drain_due = false;
        report(dp, out, CONTROL_REPORT_DRAINED);
        out->report.serial = dp->drain_serial;
        return true;
    }
    if (take_due(&dp->missed_due, &node)) {
        report(dp, out, CONTROL_REPORT_MISSED);
        out->report.node = node;
        out->report.end = dp->missed_end[node];
        return true;
    }
    if (take_due(&dp->answered_due, &node)) {
        report(dp, out, CONTROL_REPORT_ANSWERED);
        out->report.node = node;
        return true;
    }
    if (take_due(&dp->identity_due, &node)) {
        report(dp, out, CONTROL_REPORT_IDENTITY);
        out->report.node = node;
        return true;
    }
    if (take_due(&dp->newer_due, &node)) {
        report(dp, out, CONTROL_REPORT_NEWER);
        out->report.node = node;
        return true;
    }
    struct control_report warmed = {.type = CONTROL_REPORT_WARMED, .worker = dp->options.worker};
    if (dp->warm_due != 0 && warm_next_report(dp, &warmed)) {
        out->type = DATAPLANE_REPORT;
        out->report = warmed;
        return true;
    }
    return next_flush(dp, out);
}

static bool next_session_action(struct dataplane *dp, struct dataplane_action *out)
{
    while (dp->touched_sessions != NULL) {
        struct session *session = dp->touched_sessions;
        dp->touched_sessions = session->touched_next;
        session->is_touched = false;
        if (session_next_action(dp, session, out)) {
            session_touch(dp, session); /* it may want more */
            return true;
        }
    }
    return false;
}

static bool next_link_action(struct dataplane *dp, struct dataplane_action *out)
{
    while (dp->touched_links != NULL) {
        struct link *link = dp->touched_links;
        dp->touched_links = link->touched_next;
        link->is_touched = false;
        if (link_next_action(dp, link, out)) {
            link_touch(dp, link);
            return true;
        }
    }
    return false;
}

bool dataplane_next_action(struct dataplane *dp, struct dataplane_action *out)
{
    /* Requests first: the nodes work while the clients' replies are written. A step of any of these
     * may give work to the others, so it is asked in this order again each time. */
    txn_recheck(dp);
    return next_link_action(dp, out) || next_session_action(dp, out) || next_link_action(dp, out) ||
           next_report(dp, out);
}

void dataplane_set_limits(struct dataplane *dp, const struct dataplane_limits *limits)
{
    REQUIRE(limits->pipeline_max > 0 && limits->request_timeout_us > 0);
    dp->options.pipeline_max = limits->pipeline_max;
    dp->options.client_output_bytes_max = limits->client_output_bytes_max;
    dp->options.connect_timeout_us = limits->connect_timeout_us;
    dp->options.settle_delay_us = limits->settle_delay_us;
    dp->options.on_no_replica = limits->on_no_replica;
    dp->options.read = limits->read;
    dp->options.miss_fallback = limits->miss_fallback;
    dp->options.ack = limits->ack;
    if (dp->options.request_timeout_us != limits->request_timeout_us) {
        dp->options.request_timeout_us = limits->request_timeout_us;
        deadline_rescale(dp);
    }
}

/* --- What is seen from outside --- */

const struct dataplane_stats *dataplane_stats(struct dataplane *dp)
{
    struct dataplane_stats *stats = &dp->stats;
    stats->memory_bytes = (dp->chunks.count - dp->chunks.free_count) * CHUNK_BYTES;
    return stats;
}
