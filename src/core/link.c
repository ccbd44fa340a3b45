/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A link: this worker's connection to one node. Requests of all clients are written to it one after
 * the other, and replies belong to them in that order.
 *
 * A new connection first asks who the node is and which view lies there; nothing else is sent
 * before both are known (replication.md section 4, Identity). Any doubt about a reply - a word that
 * does not fit the request, another key, bytes nobody asked for - ends in link_give_up: all legs
 * fail, the shell half-closes the connection and reads it to its end, and no byte of it is looked
 * at again (C1).
 */
#include "dataplane_private.h"

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
    dp->stats.nodes[link->node].is_open = to == LINK_OPEN;
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

static void enqueue(struct dataplane *dp, struct link *link, struct leg *leg)
{
    leg->node = (uint8_t)link->node;
    leg->since_us = dp->now_us;
    leg->next = NULL;
    if (link->tail == NULL) {
        link->head = leg;
    } else {
        link->tail->next = leg;
    }
    link->tail = leg;
    if (link->unsent == NULL) {
        link->unsent = leg;
        link->unsent_off = 0;
        if (!link->is_blocked) {
            link_touch(dp, link);
        }
    }
    dp->stats.nodes[link->node].requests++;
    dp->stats.nodes[link->node].in_flight++;
}

struct leg *link_send(struct dataplane *dp, uint32_t node, struct txn *txn, enum leg_form form,
                      struct chain request)
{
    struct leg *leg = slab_take(&dp->legs);
    INVARIANT(leg != NULL); /* link_has_room was asked */
    leg->txn = txn;
    leg->form = (uint8_t)form;
    leg->request = request;
    request.head->refs++;
    enqueue(dp, &dp->links[node], leg);
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
    enqueue(dp, &dp->links[node], leg);
}

void leg_drop(struct dataplane *dp, struct leg *leg)
{
    chain_drop(&dp->chunks, &leg->request);
    chain_drop(&dp->chunks, &leg->reply.chain);
    slab_drop(&dp->legs, leg);
}

size_t dataplane_node_gather(struct dataplane *dp, uint32_t node, struct slice *out,
                             size_t capacity)
{
    struct link *link = &dp->links[node];
    size_t count = 0;
    uint32_t off = link->unsent_off;
    for (const struct leg *leg = link->unsent; leg != NULL && count < capacity; leg = leg->next) {
        const char *end = count > 0 ? out[count - 1].ptr + out[count - 1].len : NULL;
        size_t got = chain_slices(&leg->request, off, out + count, capacity - count);
        if (got > 0 && out[count].ptr == end) {
            /* Neighbours in the journal: one piece. */
            out[count - 1].len += out[count].len;
            memmove(out + count, out + count + 1, (got - 1) * sizeof(*out));
            got--;
        }
        count += got;
        off = 0;
    }
    link->offered = 0;
    for (size_t i = 0; i < count; i++) {
        link->offered += out[i].len;
    }
    return count;
}

void dataplane_node_wrote(struct dataplane *dp, uint32_t node, size_t count)
{
    struct link *link = &dp->links[node];
    REQUIRE(count <= link->offered);
    link->is_blocked = count < link->offered;
    link->offered = 0;
    while (link->unsent != NULL) {
        size_t left = link->unsent->request.len - link->unsent_off;
        if (count < left) {
            link->unsent_off += (uint32_t)count;
            return;
        }
        count -= left;
        link->unsent = link->unsent->next;
        link->unsent_off = 0;
    }
    INVARIANT(count == 0);
}

void dataplane_node_writable(struct dataplane *dp, uint32_t node)
{
    struct link *link = &dp->links[node];
    link->is_blocked = false;
    if (link->unsent != NULL) {
        link_touch(dp, link);
    }
}

/* --- Being of use --- */

bool link_is_usable(const struct dataplane *dp, uint32_t node)
{
    const struct link *link = &dp->links[node];
    const struct topology *t = dp->topology;
    if (link->state != LINK_OPEN || t == NULL) {
        return false;
    }
    /* The view that is being joined may lie there already; what has begun goes on under the old. */
    if (link->seen_epoch > (dp->next != NULL ? dp->next->epoch : t->epoch)) {
        return false;
    }
    if (t->is_lone || (t->complete & node_set_of(node)) == 0) {
        return true;
    }
    const struct identity *wanted = &t->identity[node];
    return identity_is_same_process(&link->identity, wanted) &&
           link->identity.flushes <= wanted->flushes;
}

bool link_is_coming(const struct dataplane *dp, uint32_t node)
{
    const struct link *link = &dp->links[node];
    return link->state == LINK_GREETING || (link->state == LINK_CONNECTING && !link->has_failed) ||
           (link->state == LINK_CLOSED && link->is_wanted && !link->has_failed);
}

bool link_is_proven(const struct dataplane *dp, uint32_t node)
{
    return dp->links[node].ending == 0 && !dp->links[node].is_unproven;
}

uint64_t link_node_time_s(const struct dataplane *dp, uint32_t node)
{
    return dp->links[node].clock_offset_s + dp->now_us / 1000000;
}

void link_report_missed(struct dataplane *dp, uint32_t node, enum wire_end end)
{
    if (dp->is_lapsed) {
        return; /* not the node's fault: nothing is sent; and the lease is regained through nodes */
    }
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
    link->unsent = NULL;
    link->unsent_off = 0;
    dp->stats.nodes[link->node].in_flight = 0;
    while (leg != NULL) {
        struct leg *next = leg->next;
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
    link->last_end = end;
    link->since_us = dp->now_us;
    link->body_left = 0;
    link->partial_bytes = 0;
    link->is_blocked = false;
    link->wants_connect = false;
    link_move(dp, link, LINK_CLOSED);
    plan_reconnect(dp, link);
    fail_legs(dp, link);
}

static uint32_t given_up_count(const struct link *link)
{
    return link->ending + (link->is_unproven ? 1 : 0);
}

static void tell_given_up(struct dataplane *dp, struct link *link)
{
    dp->given_up_due |= node_set_of(link->node);
    dp->stats.nodes[link->node].given_up = given_up_count(link);
    dp->is_recheck_due = true;
}

void link_give_up(struct dataplane *dp, uint32_t node, enum wire_end end)
{
    struct link *link = &dp->links[node];
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

void link_on_closed(struct dataplane *dp, uint32_t node, enum wire_end end)
{
    struct link *link = &dp->links[node];
    if (link->state == LINK_CLOSED) {
        return; /* given up in this very turn; its end is told by NODE_ENDED */
    }
    if (link->state == LINK_OPEN && end == WIRE_END_TIMEOUT) {
        unproven(dp, link, false);
    }
    lose(dp, link, end);
}

void link_on_ended(struct dataplane *dp, uint32_t node, enum wire_end end)
{
    struct link *link = &dp->links[node];
    INVARIANT(link->ending > 0);
    link->ending--;
    if (end == WIRE_END_TIMEOUT) {
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
        link_give_up(dp, link->node, WIRE_END_TIMEOUT);
        return;
    }
    memcpy(to, text.ptr, text.len);
    struct chain chain = journal_commit(&dp->requests, text.len);
    link_send(dp, link->node, NULL, form, chain);
    chain_drop(&dp->chunks, &chain);
}

void link_on_open(struct dataplane *dp, uint32_t node)
{
    struct link *link = &dp->links[node];
    if (link->state != LINK_CONNECTING) {
        return;
    }
    dp->stats.nodes[node].connects++;
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
    } else if (!link_is_usable(dp, link->node)) {
        dp->identity_due |= node_set_of(link->node);
    }
}

static void greeted(struct dataplane *dp, struct link *link)
{
    struct view view;
    link->identity = link->greeting;
    if (link->greeting_bytes > 0 && view_parse(slice_of(link->greeting_view, link->greeting_bytes),
                                               &dp->options.names, &view)) {
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

static void take_stat(struct link *link, const struct mc_reply *reply)
{
    static const struct slice names[] = {SLICE_INIT("pid"), SLICE_INIT("time"),
                                         SLICE_INIT("uptime"), SLICE_INIT("cmd_flush")};
    uint64_t *const values[] = {&link->greeting.pid, &link->greeting_time_s,
                                &link->greeting_uptime_s, &link->greeting.flushes};
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (slice_is_equal(reply->key, names[i])) {
            (void)mc_read_u64(reply->text, values[i]); /* unreadable stays 0: unknown */
        }
    }
}

/* --- Replies --- */

static bool is_error(enum mc_reply_kind kind)
{
    return kind == MC_REPLY_ERROR || kind == MC_REPLY_CLIENT_ERROR || kind == MC_REPLY_SERVER_ERROR;
}

/* The head leg has all it waited for. */
static void complete(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    struct leg *leg = link->head;
    struct dataplane_node_stats *stats = &dp->stats.nodes[link->node];
    link->head = leg->next;
    if (link->head == NULL) {
        link->tail = NULL;
    }
    leg->next = NULL;
    stats->in_flight--;
    if (link->state == LINK_OPEN) {
        link->failures = 0;
        link->has_answered = true;
    }
    histogram_record(&stats->latency, dp->now_us - leg->since_us);
    if (leg->txn != NULL) {
        txn_on_leg(dp, leg, reply);
    } else {
        leg_drop(dp, leg);
    }
}

/* Keep BYTES of the head leg's reply; without memory the reply is read on and thrown away. */
static void keep(struct dataplane *dp, struct leg *leg, struct slice bytes)
{
    if (!leg->is_out_of_memory && !chain_append(&dp->chunks, &leg->reply, bytes)) {
        leg->is_out_of_memory = true;
        chain_drop(&dp->chunks, &leg->reply.chain);
        leg->reply.tail = NULL;
    }
}

/* The next key that the leg asked for and that KEY may be; false: it asked for no such key. */
static bool match_key(struct leg *leg, struct slice key)
{
    const char *request = leg->request.head->data + leg->request.off;
    if (leg->key_cursor == 0) {
        leg->key_cursor = leg->txn->key_off;
    }
    struct slice rest = slice_of(request + leg->key_cursor, leg->request.len - 2 - leg->key_cursor);
    if (slice_is_equal(rest, key)) {
        leg->key_cursor = leg->request.len - 2; /* the usual case: one key */
        return true;
    }
    for (;;) {
        struct slice next = mc_next_word(&rest);
        if (next.len == 0) {
            return false;
        }
        if (slice_is_equal(next, key)) {
            leg->key_cursor = leg->request.len - 2 - (uint32_t)rest.len;
            return true;
        }
    }
}

static void expect_body(struct link *link, uint64_t value_bytes, bool is_kept)
{
    link->body_left = value_bytes + 2;
    link->is_body_kept = is_kept;
}

static void keep_gets_line(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply)
{
    char line[MC_KEY_BYTES_MAX + 80];
    struct mc_writer w = mc_writer_of(line, sizeof(line));
    mc_write(&w, SLICE("VALUE "));
    mc_write(&w, reply->key);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->flags);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->value_bytes);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->cas | txn_cas_tag(dp, leg->node));
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    keep(dp, leg, slice_of(line, w.len));
}

/*
 * VALUE blocks and END. A small value that lies in the input whole is copied into the journal in
 * one piece: the usual case.
 *
 * Returns  bytes of INPUT used; 0: nonsense.
 */
static size_t take_get(struct dataplane *dp, struct link *link, const struct mc_reply *reply,
                       struct slice input)
{
    struct leg *leg = link->head;
    if (reply->kind == MC_REPLY_END) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (reply->kind == MC_REPLY_SERVER_ERROR && leg->hits == 0) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_VALUE || reply->has_cas != (leg->form == FORM_GETS) ||
        !match_key(leg, reply->key)) {
        return 0;
    }
    leg->hits++;
    size_t block = reply->line_bytes + (size_t)reply->value_bytes + 2;
    bool is_simple = leg->form == FORM_GET && leg->hits == 1 && block <= JOURNAL_REPLY_BYTES_MAX &&
                     block + 5 <= input.len && memcmp(input.ptr + block - 2, "\r\nEND\r\n", 7) == 0;
    if (is_simple) {
        char *to = journal_reserve(&dp->replies, &dp->chunks, block + 5);
        if (to != NULL) {
            memcpy(to, input.ptr, block + 5);
            leg->reply.chain = journal_commit(&dp->replies, block + 5);
            leg->has_end = true;
            complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_END});
            return block + 5;
        }
    }
    if (leg->form == FORM_GETS) {
        keep_gets_line(dp, leg, reply);
    } else {
        keep(dp, leg, slice_of(input.ptr, reply->line_bytes));
    }
    expect_body(link, reply->value_bytes, true);
    return reply->line_bytes;
}

/* Begin the store that gives other replicas the item of a read-back (replication.md section 2: t).
 */
static void keep_item_head(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply)
{
    enum { RELATIVE_S_MAX = 60 * 60 * 24 * 30 };
    char head[COMMAND_HEAD_BYTES_MAX];
    struct mc_writer w = mc_writer_of(head, sizeof(head));
    mc_write(&w, SLICE("ms "));
    mc_write(&w, txn_key(leg->txn));
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->value_bytes);
    if (reply->flags != 0) {
        mc_write(&w, SLICE(" F"));
        mc_write_u64(&w, reply->flags);
    }
    if (reply->ttl_s >= 0) {
        uint64_t ttl_s = (uint64_t)reply->ttl_s;
        mc_write(&w, SLICE(" T"));
        /* Longer ones are taken as absolute times, by the clock of who stores it: nodes of one pool
         * are expected to agree on it within the promise's two seconds. */
        mc_write_u64(&w, ttl_s > RELATIVE_S_MAX ? ttl_s + link_node_time_s(dp, leg->node) : ttl_s);
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    keep(dp, leg, slice_of(head, w.len));
}

/* The item behind a decided command. It may be gone, expired or marked by now: then has_item stays
 * false, and the other replicas get a delete. */
static size_t take_item(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    struct leg *leg = link->head;
    if (reply->kind == MC_REPLY_EN || reply->kind == MC_REPLY_SERVER_ERROR) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_VA || !reply->has_ttl) {
        return 0;
    }
    leg->has_item = reply->ttl_s != 0 && reply->ttl_s >= -1 && reply->ttl_s <= INT32_MAX &&
                    !reply->is_won && !reply->is_stale && !reply->is_sent;
    if (leg->has_item) {
        keep_item_head(dp, leg, reply);
    }
    expect_body(link, reply->value_bytes, leg->has_item);
    return reply->line_bytes;
}

static void keep_error(struct dataplane *dp, struct txn *txn, struct slice text)
{
    char *to = journal_reserve(&dp->replies, &dp->chunks, text.len + 2);
    if (to == NULL) {
        return; /* txn_on_leg answers with words of its own */
    }
    memcpy(to, text.ptr, text.len);
    memcpy(to + text.len, "\r\n", 2);
    txn_set_reply(dp, txn, journal_commit(&dp->replies, text.len + 2));
}

/* May a request of VERB be answered so? */
static bool is_answer_to(char verb, enum mc_reply_kind kind)
{
    bool is_refusal = kind == MC_REPLY_EX || kind == MC_REPLY_NF;
    switch (verb) {
    case 's':
        return kind == MC_REPLY_HD || kind == MC_REPLY_NS || is_refusal;
    case 'd':
        return kind == MC_REPLY_HD || is_refusal;
    case 'g':
        return kind == MC_REPLY_HD || kind == MC_REPLY_EN;
    case 'a':
        return kind == MC_REPLY_NS || is_refusal;
    default:
        UNREACHABLE();
    }
}

/* Digits, and the spaces that memcached leaves behind a number that became shorter. */
static bool is_number_text(const struct chain *chain)
{
    enum { NUMBER_BYTES_MAX = 22 };
    char text[NUMBER_BYTES_MAX];
    INVARIANT(chain->len <= NUMBER_BYTES_MAX && chain->len >= 2);
    chain_copy(chain, text);
    size_t digits = 0;
    size_t end = chain->len - 2;
    while (digits < end && text[digits] >= '0' && text[digits] <= '9') {
        digits++;
    }
    bool has_digits = digits > 0;
    while (digits < end && text[digits] == ' ') {
        digits++;
    }
    return has_digits && digits == end;
}

/* The first of two replies, or the only one. */
static size_t take_line(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    struct leg *leg = link->head;
    bool is_number =
        leg->form == FORM_NUMBER_ITEM && reply->kind == MC_REPLY_VA && reply->value_bytes <= 20;
    if (!is_number && !is_answer_to(leg_verb(leg), reply->kind) && !is_error(reply->kind)) {
        return 0;
    }
    leg->kind = (uint8_t)reply->kind;
    if (is_error(reply->kind) && leg->txn->leader == leg->node && !leg->is_cleanup) {
        keep_error(dp, leg->txn, reply->text);
    }
    if (leg->form == FORM_LINE) {
        complete(dp, link, reply);
        return reply->line_bytes;
    }
    if (is_number) {
        expect_body(link, reply->value_bytes, true);
    } else {
        leg->replies = 1;
    }
    return reply->line_bytes;
}

static size_t take_stats(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_STAT) {
        take_stat(link, reply);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_END || link->greeting.pid == 0) {
        return 0;
    }
    link->greeting.started_s = link->greeting_time_s - link->greeting_uptime_s;
    link->clock_offset_s = link->greeting_time_s - dp->now_us / 1000000;
    complete(dp, link, reply);
    return reply->line_bytes;
}

static size_t take_view(struct dataplane *dp, struct link *link, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_VA) {
        expect_body(link, reply->value_bytes, true);
        return reply->line_bytes;
    }
    if (reply->kind != MC_REPLY_EN) {
        return 0;
    }
    complete(dp, link, reply);
    greeted(dp, link);
    return reply->line_bytes;
}

static size_t take_reply(struct dataplane *dp, struct link *link, const struct mc_reply *reply,
                         struct slice input)
{
    struct leg *leg = link->head;
    switch ((enum leg_form)leg->form) {
    case FORM_GET:
    case FORM_GETS:
        return take_get(dp, link, reply, input);
    case FORM_LINE:
        return take_line(dp, link, reply);
    case FORM_LINE_ITEM:
    case FORM_NUMBER_ITEM:
        return leg->replies == 0 ? take_line(dp, link, reply) : take_item(dp, link, reply);
    case FORM_STATS:
        return take_stats(dp, link, reply);
    case FORM_VIEW:
        return take_view(dp, link, reply);
    }
    UNREACHABLE();
}

/* A data block has come in whole. Returns false: nonsense. */
static bool body_done(struct dataplane *dp, struct link *link)
{
    struct leg *leg = link->head;
    switch ((enum leg_form)leg->form) {
    case FORM_GET:
    case FORM_GETS:
        return true; /* END, or another block, follows */
    case FORM_NUMBER_ITEM:
        if (leg->replies == 0) {
            if (!leg->is_out_of_memory && !is_number_text(&leg->reply.chain)) {
                return false;
            }
            /* The number with its CRLF is the client's answer. */
            txn_set_reply(dp, leg->txn, leg->reply.chain);
            leg->reply = (struct chain_builder){0};
            leg->is_out_of_memory = false;
            leg->replies = 1;
            return true;
        }
        complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_VA});
        return true;
    case FORM_LINE_ITEM:
        complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_VA});
        return true;
    case FORM_VIEW:
        complete(dp, link, &(struct mc_reply){.kind = MC_REPLY_VA});
        greeted(dp, link);
        return true;
    case FORM_LINE:
    case FORM_STATS:
        break;
    }
    UNREACHABLE();
}

static void keep_body(struct dataplane *dp, struct link *link, struct slice bytes)
{
    struct leg *leg = link->head;
    if (leg->form != FORM_VIEW) {
        keep(dp, leg, bytes);
        return;
    }
    /* A view that is too large is not one. */
    if (bytes.len > sizeof(link->greeting_view) - link->greeting_bytes) {
        link->is_body_kept = false;
        link->greeting_bytes = 0;
        return;
    }
    memcpy(link->greeting_view + link->greeting_bytes, bytes.ptr, bytes.len);
    link->greeting_bytes += (uint32_t)bytes.len;
}

/* Take what INPUT has of the data block; false: it is not what it should be, or has no CRLF. */
static bool take_body(struct dataplane *dp, struct link *link, struct slice *input)
{
    uint64_t take = input->len < link->body_left ? input->len : link->body_left;
    struct slice body = slice_of(input->ptr, (size_t)take);
    for (uint64_t end = 0; end < 2 && end < link->body_left; end++) {
        uint64_t at = link->body_left - 1 - end;
        if (at < take && input->ptr[at] != "\n\r"[end]) {
            return false;
        }
    }
    link->body_left -= take;
    if (link->is_body_kept) {
        struct slice kept = body;
        if (link->head->form == FORM_VIEW && link->body_left < 2) {
            size_t ends = 2 - (size_t)link->body_left; /* CRLF bytes so far, some seen earlier */
            kept.len = kept.len > ends ? kept.len - ends : 0;
        }
        keep_body(dp, link, kept);
    }
    *input = slice_skip(*input, (size_t)take);
    return link->body_left > 0 || body_done(dp, link);
}

static bool head_was_sent(const struct link *link)
{
    return link->head != NULL && link->head != link->unsent;
}

/*
 * Take one reply line off INPUT; part of one is kept for later.
 *
 * Returns  false: nonsense.
 */
static bool take_one(struct dataplane *dp, struct link *link, struct slice *input)
{
    if (!head_was_sent(link)) {
        return false;
    }
    struct mc_reply reply;
    if (link->partial_bytes == 0) {
        enum mc_parse parse = mc_reply_parse(*input, 0, MC_VALUE_BYTES_MAX, &reply);
        if (parse == MC_PARSE_DONE) {
            size_t used = take_reply(dp, link, &reply, *input);
            *input = slice_skip(*input, used);
            return used > 0;
        }
        if (parse == MC_PARSE_BAD || input->len > sizeof(link->partial)) {
            return false;
        }
        memcpy(link->partial, input->ptr, input->len);
        link->partial_bytes = (uint32_t)input->len;
        *input = slice_skip(*input, input->len);
        return true;
    }
    /* Add what completes the line, and no more. */
    const char *end = memchr(input->ptr, '\n', input->len);
    size_t add = end != NULL ? (size_t)(end - input->ptr) + 1 : input->len;
    if (add > sizeof(link->partial) - link->partial_bytes) {
        return false;
    }
    memcpy(link->partial + link->partial_bytes, input->ptr, add);
    link->partial_bytes += (uint32_t)add;
    *input = slice_skip(*input, add);
    if (end == NULL) {
        return true;
    }
    struct slice line = slice_of(link->partial, link->partial_bytes);
    link->partial_bytes = 0;
    return mc_reply_parse(line, 0, MC_VALUE_BYTES_MAX, &reply) == MC_PARSE_DONE &&
           take_reply(dp, link, &reply, line) == line.len;
}

void link_on_bytes(struct dataplane *dp, uint32_t node, struct slice bytes)
{
    struct link *link = &dp->links[node];
    while (bytes.len > 0 && link->state >= LINK_GREETING) {
        bool is_fine =
            link->body_left > 0 ? take_body(dp, link, &bytes) : take_one(dp, link, &bytes);
        if (!is_fine) {
            link_give_up(dp, node, WIRE_END_PROTOCOL);
            return;
        }
    }
}

/* --- Time and topology --- */

void link_adopt(struct dataplane *dp)
{
    const struct topology *t = dp->topology;
    for (uint32_t node = 0; node < t->node_count; node++) {
        struct link *link = &dp->links[node];
        bool was_wanted = link->is_wanted;
        link->is_wanted = ((t->complete | t->chained) & node_set_of(node)) != 0;
        if (link->is_wanted && !was_wanted) {
            /* What failed before it left the view says nothing: control has reached it since. */
            link->has_failed = false;
            link->failures = 0;
        }
        if (!link->is_wanted) {
            link_give_up(dp, node, WIRE_END_OUT);
        } else if (link->state == LINK_CLOSED) {
            link->connect_at_us = link->has_failed ? link->connect_at_us : dp->now_us;
            link_touch(dp, link);
        } else {
            check_identity(dp, link);
        }
    }
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

void link_tick(struct dataplane *dp)
{
    for (uint32_t node = 0; node < dp->options.names.node_count; node++) {
        struct link *link = &dp->links[node];
        connect_if_due(dp, link);
        if (link->state == LINK_CONNECTING &&
            dp->now_us - link->since_us >= dp->options.connect_timeout_us) {
            link_give_up(dp, node, WIRE_END_TIMEOUT);
        }
        if (link->head != NULL &&
            dp->now_us - link->head->since_us >= dp->options.request_timeout_us / 2) {
            link_give_up(dp, node, WIRE_END_TIMEOUT);
        }
        if (link->has_answered && dp->now_us - link->told_answered_us >= ANSWERED_REPEAT_US) {
            link->has_answered = false;
            link->told_answered_us = dp->now_us;
            dp->answered_due |= node_set_of(node);
        }
        if (link->is_unproven && link->unproven_until_us <= dp->now_us) {
            link->is_unproven = false;
            tell_given_up(dp, link);
            if (!link->is_wanted) {
                link_give_up(dp, node, WIRE_END_OUT);
            }
        }
    }
}

bool link_next_action(struct dataplane *dp, struct link *link, struct dataplane_action *out)
{
    out->node = link->node;
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
