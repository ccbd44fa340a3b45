/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A link: this worker's connection to one node. Requests of all clients are written to it one after
 * the other, and replies belong to them in that order. A second one is for large values (side.c);
 * what is said of a node's links here is true of each.
 *
 * A new connection first asks who the node is and which view lies there; nothing else is sent
 * before both are known (replication.md section 4, Identity). Any doubt about a reply
 * (link_reply.c) ends in link_give_up: all legs fail, the shell half-closes the connection and
 * reads it to its end, and no byte of it is looked at again (C1).
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

enum {
    /* First pause after a failed attempt, doubled up to the last; one attempt follows a loss at
     * once, since a node that closed one connection is mostly there. */
    RECONNECT_FIRST_US = 20 * 1000,
    RECONNECT_LAST_US = 1000 * 1000,
    RECONNECT_JITTER_PERCENT = 25,
    /* control needs to hear of a node that misses writes once; this bounds the repeats. */
    MISSED_REPEAT_US = 50 * 1000,
    /* A node that answers requests is not taken out for a slow health check. */
    ANSWERED_REPEAT_US = 100 * 1000,
};

static const bool link_moves[4][4] = {
    [LINK_CLOSED] = {[LINK_CONNECTING] = true},
    [LINK_CONNECTING] = {[LINK_CLOSED] = true, [LINK_GREETING] = true},
    [LINK_GREETING] = {[LINK_CLOSED] = true, [LINK_OPEN] = true},
    [LINK_OPEN] = {[LINK_CLOSED] = true},
};

static void link_move(struct dataplane *dp, struct link *link, enum link_state to)
{
    INVARIANT(link_moves[link->state][to]);
    link->state = (uint8_t)to;
    dp->stats.nodes[link->node].is_open = dp->links[link->node].state == LINK_OPEN ||
                                          dp->links[link->node + NODES_MAX].state == LINK_OPEN;
    dp->is_recheck_due = true;
}

void link_touch(struct dataplane *dp, struct link *link)
{
    if (!link->is_touched) {
        link->is_touched = true;
        link->touched_next = dp->touched_links;
        dp->touched_links = link;
    }
}

/* --- Sending --- */

bool link_has_room(const struct dataplane *dp, uint32_t legs)
{
    return dp->legs.free_count >= legs;
}

/* LEG, which may be NULL, is the next to be written. */
static void begin_unsent(struct link *link, struct leg *leg)
{
    link->unsent = leg;
    link->unsent_off = 0;
    link->unsent_rest = leg != NULL ? leg->request : (struct chain){0};
}

static void enqueue(struct dataplane *dp, struct link *link, struct leg *leg)
{
    leg->node = (uint8_t)link->node;
    leg->since_us = dp->now_us;
    leg->earned_us = link->earned_us;
    leg->next = NULL;
    if (link->tail == NULL) {
        link->head = leg;
    } else {
        link->tail->next = leg;
    }
    link->tail = leg;
    if (link->unsent == NULL) {
        begin_unsent(link, leg);
        if (!link->is_blocked) {
            link_touch(dp, link);
        }
    }
    dp->stats.nodes[link->node].requests++;
    dp->stats.nodes[link->node].in_flight++;
}

static struct link *choose(const struct dataplane *dp, uint32_t node, const struct leg *leg)
{
    bool is_aside = leg->txn != NULL && leg->txn->is_aside;
    return is_aside ? side_choose(dp, node) : link_main(dp, node);
}

static struct leg *new_leg(struct dataplane *dp, struct txn *txn, enum leg_form form,
                           struct chain request)
{
    struct leg *leg = slab_take(&dp->legs);
    INVARIANT(leg != NULL); /* link_has_room was asked */
    leg->txn = txn;
    leg->form = (uint8_t)form;
    leg->request = request;
    request.head->refs++;
    return leg;
}

struct leg *link_send(struct dataplane *dp, uint32_t node, struct txn *txn, enum leg_form form,
                      struct chain request)
{
    struct leg *leg = new_leg(dp, txn, form, request);
    enqueue(dp, choose(dp, node, leg), leg);
    return leg;
}

void link_resend(struct dataplane *dp, uint32_t node, struct leg *leg)
{
    leg->key_cursor = 0;
    leg->hits = 0;
    leg->replies = 0;
    leg->is_out_of_memory = false;
    chain_drop(&dp->chunks, &leg->reply.chain);
    leg->reply.tail = NULL;
    enqueue(dp, choose(dp, node, leg), leg);
}

void leg_drop(struct dataplane *dp, struct leg *leg)
{
    chain_drop(&dp->chunks, &leg->request);
    chain_drop(&dp->chunks, &leg->reply.chain);
    slab_drop(&dp->legs, leg);
}

size_t dataplane_node_gather(struct dataplane *dp, uint32_t number, struct slice *out,
                             size_t capacity)
{
    struct link *link = &dp->links[number];
    size_t count = 0;
    for (const struct leg *leg = link->unsent; leg != NULL && count < capacity; leg = leg->next) {
        const char *end = count > 0 ? out[count - 1].ptr + out[count - 1].len : NULL;
        const struct chain *rest = leg == link->unsent ? &link->unsent_rest : &leg->request;
        size_t got = chain_slices(rest, 0, out + count, capacity - count);
        if (got > 0 && out[count].ptr == end) {
            /* Neighbours in the journal: one piece. */
            out[count - 1].len += out[count].len;
            got--;
            if (got > 0) {
                memmove(out + count, out + count + 1, got * sizeof(*out));
            }
        }
        count += got;
    }
    link->offered = 0;
    for (size_t i = 0; i < count; i++) {
        link->offered += out[i].len;
    }
    return count;
}

void link_moved(struct link *link, uint64_t count)
{
    link->earned_us += deadline_way_us(count);
    /* Its kernel takes some of it without it, but not for long. */
    link->has_answered = link->has_answered || (count > 0 && link->state == LINK_OPEN);
}

void dataplane_node_wrote(struct dataplane *dp, uint32_t number, size_t count)
{
    struct link *link = &dp->links[number];
    REQUIRE(count <= link->offered);
    link->is_blocked = count < link->offered;
    link->offered = 0;
    while (link->unsent != NULL) {
        size_t left = link->unsent_rest.len;
        size_t take = count < left ? count : left;
        if (link->unsent->request.len >= MC_VALUE_LARGE_BYTES) {
            link_moved(link, take);
        }
        if (take < left) {
            link->unsent_off += (uint32_t)take;
            chain_view_skip(&link->unsent_rest, (uint32_t)take);
            return;
        }
        count -= left;
        begin_unsent(link, link->unsent->next);
    }
    INVARIANT(count == 0);
}

void dataplane_node_writable(struct dataplane *dp, uint32_t number)
{
    struct link *link = &dp->links[number];
    link->is_blocked = false;
    if (link->unsent != NULL) {
        link_touch(dp, link);
    }
}

/* --- Being of use --- */

/* The view that is being joined may lie there already; what has begun goes on under the old. */
static bool is_ahead(const struct dataplane *dp, const struct link *link)
{
    const struct topology *t = dp->next != NULL ? dp->next : dp->topology;
    return link->state == LINK_OPEN && t != NULL && !t->is_lone && link->seen_epoch > t->epoch;
}

bool link_can_carry(const struct dataplane *dp, const struct link *link)
{
    const struct topology *t = dp->topology;
    if (link->state != LINK_OPEN || t == NULL || is_ahead(dp, link)) {
        return false;
    }
    node_set known = t->complete | t->warming;
    if (t->is_lone || (known & node_set_of(link->node)) == 0 || !RULE(IDENTITY)) {
        return true;
    }
    const struct identity *wanted = &t->identity[link->node];
    return identity_is_same_process(&link->identity, wanted) &&
           link->identity.flushes <= wanted->flushes;
}

bool link_is_usable(const struct dataplane *dp, uint32_t node)
{
    return link_can_carry(dp, link_main(dp, node));
}

bool link_is_coming(const struct dataplane *dp, uint32_t node)
{
    const struct link *link = link_main(dp, node);
    return link->state == LINK_GREETING || (link->state == LINK_CONNECTING && !link->has_failed) ||
           (link->state == LINK_CLOSED && link->is_wanted && !link->has_failed) ||
           is_ahead(dp, link); /* control has been told of that view */
}

bool link_is_late(const struct dataplane *dp, const struct txn *txn, uint32_t node)
{
    uint64_t limit_us = dp->options.request_timeout_us / 4;
    if (limit_us > dp->options.connect_timeout_us) {
        limit_us = dp->options.connect_timeout_us;
    }
    bool is_new = link_is_coming(dp, node) && dp->now_us - dp->opened_us < limit_us;
    return deadline_is_half_over(dp, txn) && !is_new;
}

static uint32_t given_up_count(const struct dataplane *dp, uint32_t node)
{
    const struct link *first = &dp->links[node];
    const struct link *second = &dp->links[node + NODES_MAX];
    return RULE(EOF) ? first->ending + first->is_unproven + second->ending + second->is_unproven
                     : 0;
}

bool link_is_proven(const struct dataplane *dp, uint32_t node)
{
    return given_up_count(dp, node) == 0;
}

uint64_t link_node_time_s(const struct dataplane *dp, uint32_t node)
{
    return link_main(dp, node)->clock_offset_s + dp->now_us / 1000000;
}

void link_report_missed(struct dataplane *dp, uint32_t node, enum wire_end end)
{
    if (!dp->is_lapsed) {
        link_report_stuck(dp, node, end);
    } /* else not the node's fault: nothing is sent; and the lease is regained through nodes */
}

void link_report_stuck(struct dataplane *dp, uint32_t node, enum wire_end end)
{
    if (dp->missed_at_us[node] == 0 || dp->now_us - dp->missed_at_us[node] >= MISSED_REPEAT_US) {
        dp->missed_at_us[node] = dp->now_us;
        dp->missed_due |= node_set_of(node);
        dp->missed_end[node] = end;
    }
}

/* --- The end of a connection --- */

static void plan_reconnect(struct dataplane *dp, struct link *link)
{
    uint64_t pause = 0;
    if (link->failures > 0) {
        uint32_t doublings = link->failures < 8 ? link->failures - 1 : 7;
        pause = (uint64_t)RECONNECT_FIRST_US << doublings;
        pause = pause < RECONNECT_LAST_US ? pause : RECONNECT_LAST_US;
        pause = prng_jitter(&dp->prng, pause, RECONNECT_JITTER_PERCENT);
    }
    link->connect_at_us = dp->now_us + pause;
    link_touch(dp, link);
}

/* All legs fail. They are taken off first: what they lead to may queue new ones. */
static void fail_legs(struct dataplane *dp, struct link *link)
{
    struct leg *leg = link->head;
    const struct leg *unsent = link->unsent;
    uint32_t unsent_off = link->unsent_off;
    bool was_sent = true;
    link->head = NULL;
    link->tail = NULL;
    begin_unsent(link, NULL);
    while (leg != NULL) {
        struct leg *next = leg->next;
        dp->stats.nodes[link->node].in_flight--;
        bool is_first_unsent = leg == unsent;
        if (is_first_unsent) {
            was_sent = unsent_off > 0;
        }
        if (leg->txn == NULL) {
            leg_drop(dp, leg);
        } else {
            txn_on_leg_lost(dp, leg, was_sent);
        }
        if (is_first_unsent) {
            was_sent = false;
        }
        leg = next;
    }
}

static void lose(struct dataplane *dp, struct link *link, enum wire_end end)
{
    if (link->state == LINK_OPEN && end != WIRE_END_PROTOCOL) {
        link->failures = 0;
        link->has_failed = false;
    } else {
        link->failures++;
        link->has_failed = true;
        dp->stats.nodes[link->node].connect_failures++;
    }
    dp->stats.nodes[link->node].errors[end]++;
    dp->links[link->node].last_end = end;
    dp->links[link->node + NODES_MAX].last_end = end;
    link->since_us = dp->now_us;
    link->body_left = 0;
    link->partial_bytes = 0;
    link->is_blocked = false;
    link->wants_connect = false;
    link_move(dp, link, LINK_CLOSED);
    plan_reconnect(dp, link);
    fail_legs(dp, link);
}

static void tell_given_up(struct dataplane *dp, struct link *link)
{
    dp->given_up_due |= node_set_of(link->node);
    dp->stats.nodes[link->node].given_up = given_up_count(dp, link->node);
    dp->is_recheck_due = true;
}

void link_give_up(struct dataplane *dp, struct link *link, enum wire_end end)
{
    if (link->state == LINK_CLOSED) {
        return;
    }
    if (end == WIRE_END_PROTOCOL) {
        dp->stats.protocol_errors_nodes++;
    }
    link->wants_give_up = true;
    link->ending++;
    tell_given_up(dp, link);
    lose(dp, link, end);
}

static void unproven(struct dataplane *dp, struct link *link, bool is_later_open)
{
    link->is_unproven = true;
    link->unproven_identity = link->identity;
    /* Until the node has answered a later connection for a while. */
    link->unproven_until_us =
        is_later_open ? dp->now_us + dp->options.request_timeout_us : UINT64_MAX;
    tell_given_up(dp, link);
}

static bool carries_write(const struct link *link)
{
    for (const struct leg *leg = link->head; leg != NULL && leg != link->unsent; leg = leg->next) {
        char verb = leg_verb(leg);
        if (leg->txn != NULL && (verb == 's' || verb == 'd' || verb == 'a' || verb == 'o')) {
            return true;
        }
    }
    return false;
}

/* Does END, of a connection that was open, leave in the dark what is still executed of its writes?
 * All ends but EOF do. A timeout of the kernel's has other names where something on the way said
 * that there is no way. After a reset, too, writes may lie in the node's socket, and its thread may
 * be slow; where a pool has one node nothing hangs on it. */
static bool is_dark(const struct dataplane *dp, enum wire_end end)
{
    bool is_lone = dp->topology != NULL && dp->topology->is_lone;
    return end != WIRE_END_EOF && (end != WIRE_END_RESET || (!is_lone && RULE(RESET_IS_NO_EOF)));
}

void link_on_closed(struct dataplane *dp, struct link *link, enum wire_end end)
{
    if (link->state == LINK_CLOSED) {
        return; /* given up in this very turn; its end is told by NODE_ENDED */
    }
    if (link->state == LINK_OPEN && is_dark(dp, end) &&
        (end != WIRE_END_RESET || carries_write(link))) {
        unproven(dp, link, false);
    }
    lose(dp, link, end);
}

void link_on_ended(struct dataplane *dp, struct link *link, enum wire_end end)
{
    INVARIANT(link->ending > 0);
    link->ending--;
    if (is_dark(dp, end)) {
        unproven(dp, link, link->state == LINK_OPEN);
    }
    tell_given_up(dp, link);
}

/* --- Greeting --- */

static void send_text(struct dataplane *dp, struct link *link, enum leg_form form,
                      struct slice text)
{
    char *to = journal_reserve(&dp->requests, &dp->chunks, text.len);
    if (to == NULL || !link_has_room(dp, 1)) {
        link_give_up(dp, link, WIRE_END_TIMEOUT);
        return;
    }
    memcpy(to, text.ptr, text.len);
    struct chain chain = journal_commit(&dp->requests, text.len);
    enqueue(dp, link, new_leg(dp, NULL, form, chain));
    chain_drop(&dp->chunks, &chain);
}

void link_on_open(struct dataplane *dp, struct link *link)
{
    if (link->state != LINK_CONNECTING) {
        return;
    }
    dp->stats.nodes[link->node].connects++;
    link->greeting = (struct identity){0};
    link->greeting_bytes = 0;
    link->seen_epoch = 0;
    link_move(dp, link, LINK_GREETING);
    send_text(dp, link, FORM_STATS, SLICE("stats\r\n"));
    if (link->state != LINK_GREETING) {
        return;
    }
    char text[sizeof(dp->view_key) + 16];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_write(&w, SLICE("mg "));
    mc_write(&w, slice_of(dp->view_key, dp->view_key_bytes));
    mc_write(&w, SLICE(" v\r\n"));
    send_text(dp, link, FORM_VIEW, slice_of(text, w.len));
}

static void check_identity(struct dataplane *dp, const struct link *link)
{
    const struct topology *t = dp->topology;
    if (link->state != LINK_OPEN || t == NULL || t->is_lone) {
        return;
    }
    if (link->seen_epoch > t->epoch) {
        dp->newer_due |= node_set_of(link->node);
    } else if (!link_can_carry(dp, link)) {
        dp->identity_due |= node_set_of(link->node);
    }
}

void link_greeted(struct dataplane *dp, struct link *link)
{
    struct view view;
    link->identity = link->greeting;
    if (link->greeting_bytes > 0 &&
        view_parse(slice_of(link->greeting_view, link->greeting_bytes), &view)) {
        link->seen_epoch = view.epoch;
    }
    link->has_failed = false;
    if (link->is_unproven) {
        /* Another process never saw the old connection; the same one has by then read what was on
         * its way, as it answers a connection that was made later. */
        bool is_other = !identity_is_same_process(&link->identity, &link->unproven_identity);
        link->unproven_until_us = dp->now_us + (is_other ? 0 : dp->options.request_timeout_us);
    }
    link_move(dp, link, LINK_OPEN);
    check_identity(dp, link);
}

/* --- Time and topology --- */

static void want(struct dataplane *dp, struct link *link)
{
    const struct topology *t = dp->topology;
    bool was_wanted = link->is_wanted;
    bool is_there = ((t->complete | t->chained) & node_set_of(link->node)) != 0;
    link->is_wanted = is_there && (dp->is_side_wanted || link == link_main(dp, link->node));
    if (link->is_wanted && !was_wanted) {
        /* What failed before it left the view says nothing: control has reached it since. */
        link->has_failed = false;
        link->failures = 0;
    }
    if (!link->is_wanted) {
        link_give_up(dp, link, WIRE_END_OUT);
    } else if (link->state == LINK_CLOSED) {
        link->connect_at_us = link->has_failed ? link->connect_at_us : dp->now_us;
        link_touch(dp, link);
    } else {
        check_identity(dp, link);
    }
}

void link_want_all(struct dataplane *dp)
{
    for (uint32_t i = 0; dp->topology != NULL && i < link_count(dp); i++) {
        want(dp, link_nth(dp, i));
    }
}

void link_adopt(struct dataplane *dp)
{
    const struct topology *t = dp->topology;
    for (uint32_t node = 0; node < dp->options.names.node_count; node++) {
        struct link *link = &dp->links[node];
        if (t->name_bytes[node] > 0 && link->name_seed != t->node_seed[node]) {
            if (link->name_seed != 0) { /* another node, in a place that was free */
                dp->stats.nodes[node] = (struct dataplane_node_stats){.requests = 0};
            }
            link->name_seed = t->node_seed[node];
        }
    }
    link_want_all(dp);
}

/* Begin to connect where it is time. */
static void connect_if_due(struct dataplane *dp, struct link *link)
{
    bool is_needed = link->is_wanted || link->is_unproven; /* to be proven it must be asked */
    bool is_due = link->state == LINK_CLOSED && is_needed && !link->wants_give_up &&
                  link->connect_at_us <= dp->now_us;
    if (is_due) {
        link->since_us = dp->now_us;
        link->wants_connect = true;
        link_move(dp, link, LINK_CONNECTING);
        link_touch(dp, link); /* when a tick found it */
    }
}

/* The answer that is due next is late. Time in which large values were on their way, and fast
 * enough, does not count: it is not the node's fault. */
static bool is_late(const struct dataplane *dp, const struct link *link)
{
    if (link->head == NULL) {
        return false;
    }
    uint64_t waited_us = dp->now_us - link->head->since_us;
    uint64_t earned_us = link->earned_us - link->head->earned_us;
    return waited_us >= dp->options.request_timeout_us / 2 + earned_us;
}

static void tick_one(struct dataplane *dp, struct link *link)
{
    connect_if_due(dp, link);
    if (link->state == LINK_CONNECTING &&
        dp->now_us - link->since_us >= dp->options.connect_timeout_us) {
        link_give_up(dp, link, WIRE_END_TIMEOUT);
    }
    if (is_late(dp, link)) {
        if (RULE(GIVE_UP) || link->unsent != NULL) {
            link_give_up(dp, link, WIRE_END_TIMEOUT);
        } else {
            fail_legs(dp, link);
        }
    }
    if (link->has_answered && dp->now_us - link->told_answered_us >= ANSWERED_REPEAT_US) {
        link->has_answered = false;
        link->told_answered_us = dp->now_us;
        dp->answered_due |= node_set_of(link->node);
    }
    if (link->is_unproven && link->unproven_until_us <= dp->now_us) {
        link->is_unproven = false;
        tell_given_up(dp, link);
        if (!link->is_wanted) {
            link_give_up(dp, link, WIRE_END_OUT);
        }
    }
}

void link_tick(struct dataplane *dp)
{
    for (uint32_t i = 0; i < link_count(dp); i++) {
        tick_one(dp, link_nth(dp, i));
    }
}

bool link_next_action(struct dataplane *dp, struct link *link, struct dataplane_action *out)
{
    out->link = link->number;
    if (link->wants_give_up) {
        link->wants_give_up = false;
        out->type = DATAPLANE_NODE_GIVE_UP;
        return true;
    }
    connect_if_due(dp, link);
    if (link->wants_connect) {
        link->wants_connect = false;
        out->type = DATAPLANE_NODE_CONNECT;
        return true;
    }
    /* A greeting only reads: without the lease it may go, so that all is open when it is back. */
    bool may_write = !dp->is_lapsed || link->state == LINK_GREETING;
    if (link->unsent != NULL && !link->is_blocked && may_write) {
        link->is_blocked = true; /* until the shell says what was taken */
        out->type = DATAPLANE_NODE_WRITE;
        return true;
    }
    return false;
}
