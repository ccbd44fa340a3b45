/* SPDX-License-Identifier: BSD-2-Clause */
/* The rig: see fill_rig.h. Its nodes read commands as trustingly as the fill must not read replies.
 */
#include "fill_rig.h"

#include "everwarm/base/limits.h"
#include "everwarm/mc/request.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/* ck_assert leaves a mark of each call in a file: too slow for every command. */
#define HOLDS(condition) ((condition) ? (void)0 : ck_abort_msg("%s", #condition))

enum { RELATIVE_MAX_S = 2592000, SLICES = 2, WORDS_MAX = 16 };

/* --- Bytes --- */

static void bytes_add(struct rig_bytes *b, const char *ptr, size_t len)
{
    size_t taken = (size_t)(b->ptr - b->start);
    if (b->capacity - taken - b->len < len) {
        char *start = malloc((b->len + len) * 2);
        HOLDS(start != NULL);
        if (b->len > 0) {
            memcpy(start, b->ptr, b->len);
        }
        free(b->start);
        b->start = b->ptr = start;
        b->capacity = (b->len + len) * 2;
    }
    if (len > 0) {
        memcpy(b->ptr + b->len, ptr, len);
    }
    b->len += len;
}

static void bytes_text(struct rig_bytes *b, const char *text)
{
    bytes_add(b, text, strlen(text));
}

static void bytes_take(struct rig_bytes *b, size_t count)
{
    b->len -= count;
    b->ptr = b->len > 0 ? b->ptr + count : b->start;
}

static struct slice copy_of(struct slice s)
{
    char *ptr = malloc(s.len + 1);
    HOLDS(ptr != NULL);
    if (s.len > 0) {
        memcpy(ptr, s.ptr, s.len);
    }
    return slice_of(ptr, s.len);
}

static void drop(struct slice s)
{
    free((void *)(uintptr_t)s.ptr); /* from copy_of */
}

/* --- Items --- */

int64_t rig_time_s(const struct rig *rig, uint32_t node)
{
    return rig->nodes[node].clock_s + (int64_t)(rig->now_us / 1000000);
}

static struct rig_item **place_of(struct rig *rig, uint32_t node, struct slice key)
{
    struct rig_item **at = &rig->nodes[node].buckets[topology_hash(key) % RIG_BUCKETS];
    while (*at != NULL && !slice_is_equal((*at)->key, key)) {
        at = &(*at)->next;
    }
    return at;
}

static bool is_alive(const struct rig *rig, uint32_t node, const struct rig_item *item)
{
    return item->stored_s > rig->nodes[node].flushed_s &&
           (item->expires_s == 0 || item->expires_s > rig_time_s(rig, node));
}

struct rig_item *rig_find(struct rig *rig, uint32_t node, struct slice key)
{
    struct rig_item *item = *place_of(rig, node, key);
    return item != NULL && is_alive(rig, node, item) ? item : NULL;
}

void rig_delete(struct rig *rig, uint32_t node, struct slice key)
{
    struct rig_item **at = place_of(rig, node, key);
    struct rig_item *item = *at;
    if (item != NULL) {
        *at = item->next;
        drop(item->key);
        drop(item->value);
        free(item);
    }
}

static void new_cas(struct rig *rig, uint32_t node, struct rig_item *item)
{
    item->cas = rig->nodes[node].has_no_cas ? 0 : ++rig->nodes[node].cas_last;
}

struct rig_item *rig_store(struct rig *rig, uint32_t node, struct slice key, struct slice value)
{
    rig_delete(rig, node, key);
    struct rig_item *item = malloc(sizeof *item);
    HOLDS(item != NULL);
    struct rig_item **at = &rig->nodes[node].buckets[topology_hash(key) % RIG_BUCKETS];
    *item = (struct rig_item){
        .next = *at,
        .key = copy_of(key),
        .value = copy_of(value),
        .stored_s = rig_time_s(rig, node),
    };
    new_cas(rig, node, item);
    *at = item;
    return item;
}

void rig_expire(struct rig *rig, uint32_t node, struct slice key, int64_t ttl_s)
{
    struct rig_item *item = rig_find(rig, node, key);
    if (item != NULL) {
        item->expires_s = ttl_s == 0 ? 0 : rig_time_s(rig, node) + ttl_s;
    }
}

static void clear_node(struct rig *rig, uint32_t node)
{
    for (uint32_t i = 0; i < RIG_BUCKETS; i++) {
        while (rig->nodes[node].buckets[i] != NULL) {
            rig_delete(rig, node, rig->nodes[node].buckets[i]->key);
        }
    }
}

uint64_t rig_count(struct rig *rig, uint32_t node)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < RIG_BUCKETS; i++) {
        for (struct rig_item *item = rig->nodes[node].buckets[i]; item != NULL; item = item->next) {
            count += is_alive(rig, node, item);
        }
    }
    return count;
}

static int64_t ttl_of(const struct rig *rig, uint32_t node, const struct rig_item *item)
{
    return item->expires_s == 0 ? -1 : item->expires_s - rig_time_s(rig, node);
}

const char *rig_difference(struct rig *rig, uint32_t a, uint32_t b, struct slice key)
{
    const struct rig_item *x = rig_find(rig, a, key);
    const struct rig_item *y = rig_find(rig, b, key);
    if (x == NULL || y == NULL) {
        return x == y ? NULL : x == NULL ? "the first has it not" : "the second has it not";
    }
    int64_t apart = ttl_of(rig, a, x) - ttl_of(rig, b, y);
    if ((x->expires_s == 0) != (y->expires_s == 0) || apart > 2 || apart < -2) {
        return "expiry";
    }
    return !slice_is_equal(x->value, y->value) ? "value" : x->flags != y->flags ? "flags" : NULL;
}

void rig_assert_copied(struct rig *rig)
{
    uint64_t expected = 0;
    for (uint32_t node = RIG_DONOR; node < RIG_NODES; node++) {
        for (uint32_t i = 0; i < RIG_BUCKETS; i++) {
            for (struct rig_item *item = rig->nodes[node].buckets[i]; item != NULL;
                 item = item->next) {
                bool leads = (rig->topology.leaders & node_set_of(node)) != 0 &&
                             topology_leader(&rig->topology, topology_hash(item->key)) == node;
                if (leads && is_alive(rig, node, item)) {
                    const char *difference = rig_difference(rig, node, RIG_TARGET, item->key);
                    if (difference != NULL) {
                        ck_abort_msg("%.*s: %s", (int)item->key.len, item->key.ptr, difference);
                    }
                    expected++;
                }
            }
        }
    }
    ck_assert_uint_eq(rig_count(rig, RIG_TARGET), expected);
}

/* --- Commands --- */

struct command {
    struct slice words[WORDS_MAX];
    uint32_t count;
    struct slice data;
    char key[MC_KEY_BYTES_MAX]; /* words[1], where it came in base64 */
};

/* The value of a meta flag; ptr is NULL when it was not given. */
static struct slice flag_of(const struct command *c, uint32_t from, char letter)
{
    for (uint32_t i = from; i < c->count; i++) {
        if (c->words[i].ptr[0] == letter) {
            return slice_skip(c->words[i], 1);
        }
    }
    return slice_of(NULL, 0);
}

static uint64_t number(struct slice s)
{
    char text[32] = {0};
    HOLDS(s.len < sizeof text);
    memcpy(text, s.ptr, s.len);
    return strtoull(text, NULL, 10);
}

/* BEFORE, the number, AFTER. */
static void print(struct rig_bytes *out, const char *before, uint64_t value, const char *after)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, value);
    bytes_text(out, before);
    bytes_text(out, text);
    bytes_text(out, after);
}

static void meta_get(struct rig *rig, uint32_t node, const struct command *c, struct rig_bytes *out)
{
    struct rig_item *item = rig_find(rig, node, c->words[1]);
    bool wants_value = flag_of(c, 2, 'v').ptr != NULL;
    rig->nodes[node].reads += wants_value;
    if (item == NULL) {
        bytes_text(out, "EN\r\n");
        return;
    }
    bytes_text(out, wants_value ? "VA" : "HD");
    if (wants_value) {
        print(out, " ", item->value.len, "");
    }
    for (uint32_t i = 2; i < c->count; i++) {
        if (c->words[i].ptr[0] == 'f') {
            print(out, " f", item->flags, "");
        } else if (c->words[i].ptr[0] == 'c') {
            print(out, " c", item->cas, "");
        } else if (c->words[i].ptr[0] == 't') {
            int64_t ttl = ttl_of(rig, node, item);
            print(out, ttl < 0 ? " t-" : " t", (uint64_t)(ttl < 0 ? -ttl : ttl), "");
        }
    }
    if (item->is_stale) {
        bytes_text(out, item->is_won ? " Z X" : " X W");
        item->is_won = true;
    }
    bytes_text(out, "\r\n");
    if (wants_value) {
        bytes_add(out, item->value.ptr, item->value.len);
        bytes_text(out, "\r\n");
    }
}

static void meta_set(struct rig *rig, uint32_t node, const struct command *c, struct rig_bytes *out)
{
    struct rig_item *item = rig_find(rig, node, c->words[1]);
    struct slice cas = flag_of(c, 3, 'C');
    uint64_t most = rig->nodes[node].store_bytes_max;
    if (most > 0 && c->data.len > most) {
        rig_delete(rig, node, c->words[1]);
        bytes_text(out, "SERVER_ERROR object too large for cache\r\n");
        return;
    }
    if (cas.ptr != NULL && (item == NULL || item->cas != number(cas))) {
        bytes_text(out, item == NULL ? "NF c0\r\n" : "EX c0\r\n");
        return;
    }
    if (flag_of(c, 3, 'M').ptr != NULL && item != NULL) {
        bytes_text(out, "NS c0\r\n");
        return;
    }
    item = rig_store(rig, node, c->words[1], c->data);
    struct slice token = flag_of(c, 3, 'E');
    item->cas = token.ptr != NULL ? number(token) : item->cas;
    item->flags = (uint32_t)number(flag_of(c, 3, 'F'));
    int64_t exptime = (int64_t)number(flag_of(c, 3, 'T'));
    item->expires_s = exptime == 0                ? 0
                      : exptime <= RELATIVE_MAX_S ? rig_time_s(rig, node) + exptime
                                                  : exptime;
    print(out, "HD c", item->cas, "\r\n");
}

static void meta_delete(struct rig *rig, uint32_t node, const struct command *c,
                        struct rig_bytes *out)
{
    struct rig_item *item = rig_find(rig, node, c->words[1]);
    struct slice cas = flag_of(c, 2, 'C');
    if (item == NULL) {
        bytes_text(out, "NF\r\n");
    } else if (cas.ptr != NULL && item->cas != number(cas)) {
        bytes_text(out, "EX\r\n");
    } else if (flag_of(c, 2, 'I').ptr != NULL) {
        struct slice token = flag_of(c, 2, 'E');
        new_cas(rig, node, item);
        item->cas = token.ptr != NULL ? number(token) : item->cas;
        item->is_stale = true;
        item->is_won = false;
        bytes_text(out, "HD\r\n");
    } else {
        rig_delete(rig, node, c->words[1]);
        bytes_text(out, "HD\r\n");
    }
}

static void dump_key(struct rig_bytes *out, struct slice key)
{
    for (size_t i = 0; i < key.len; i++) {
        unsigned char byte = (unsigned char)key.ptr[i];
        if (byte <= ' ' || byte >= 0x7f || byte == '%' || byte == '=') {
            char text[8];
            (void)snprintf(text, sizeof text, "%%%02X", byte);
            bytes_text(out, text);
        } else {
            bytes_add(out, &key.ptr[i], 1);
        }
    }
}

static void metadump(struct rig *rig, uint32_t node, struct rig_bytes *out)
{
    struct rig_node *n = &rig->nodes[node];
    n->dumps++;
    if (n->dump_instead_count > 0) {
        n->dump_instead_count--;
        bytes_add(out, n->dump_instead.ptr, n->dump_instead.len);
        return;
    }
    bytes_add(out, n->dump_first.ptr, n->dump_first.len);
    for (uint32_t i = 0; i < RIG_BUCKETS; i++) {
        for (struct rig_item *item = n->buckets[i]; item != NULL; item = item->next) {
            if (!is_alive(rig, node, item)) {
                continue;
            }
            bytes_text(out, "key=");
            dump_key(out, item->key);
            bytes_text(out, " exp=");
            print(out, item->expires_s == 0 ? "-" : "",
                  item->expires_s == 0 ? 1 : (uint64_t)item->expires_s, "");
            print(out, " la=1 cas=", item->cas, " fetch=no cls=1");
            print(out, " size=",
                  n->dump_size_bytes > 0 ? n->dump_size_bytes
                                         : item->value.len + item->key.len + 50,
                  "\n");
        }
    }
    bytes_text(out, "END\r\n");
}

static void stats(struct rig *rig, uint32_t node, struct rig_bytes *out)
{
    const struct rig_node *n = &rig->nodes[node];
    print(out, "STAT pid ", n->pid, "\r\n");
    print(out, "STAT uptime ", rig->now_us / 1000000, "\r\n");
    print(out, "STAT time ", (uint64_t)rig_time_s(rig, node), "\r\n");
    bytes_text(out, "STAT version 1.6.18\r\nSTAT libevent 2.1.12-stable\r\n");
    print(out, "STAT cmd_flush ", n->flushes, "\r\n");
    bytes_text(out, "END\r\n");
}

static void execute(struct rig *rig, uint32_t node, const struct command *c, struct rig_bytes *out)
{
    struct slice verb = c->words[0];
    if (slice_is_equal(verb, SLICE("mg"))) {
        meta_get(rig, node, c, out);
    } else if (slice_is_equal(verb, SLICE("ms"))) {
        meta_set(rig, node, c, out);
    } else if (slice_is_equal(verb, SLICE("md"))) {
        meta_delete(rig, node, c, out);
    } else if (slice_is_equal(verb, SLICE("stats"))) {
        stats(rig, node, out);
    } else if (slice_is_equal(verb, SLICE("flush_all"))) {
        rig->nodes[node].flushed_s = rig_time_s(rig, node);
        rig->nodes[node].flushes++;
        bytes_text(out, "OK\r\n");
    } else {
        HOLDS(slice_is_equal(verb, SLICE("lru_crawler")));
        metadump(rig, node, out);
    }
}

/* A whole command at the start of IN: its bytes, or 0. */
static size_t parse(struct slice in, struct command *c)
{
    const char *lf = in.len > 0 ? memchr(in.ptr, '\n', in.len) : NULL;
    if (lf == NULL) {
        return 0;
    }
    size_t line = (size_t)(lf - in.ptr) + 1;
    HOLDS(line >= 2);
    HOLDS(lf[-1] == '\r');
    *c = (struct command){.count = 0};
    for (size_t at = 0; at < line - 2;) {
        HOLDS(c->count < WORDS_MAX);
        const char *space = memchr(in.ptr + at, ' ', line - 2 - at);
        size_t end = space != NULL ? (size_t)(space - in.ptr) : line - 2;
        c->words[c->count++] = slice_of(in.ptr + at, end - at);
        at = end + 1;
    }
    bool is_meta = c->words[0].len == 2 && c->words[0].ptr[0] == 'm';
    if (is_meta && flag_of(c, 2, 'b').ptr != NULL) {
        c->words[1] = slice_of(c->key, mc_key_decode(c->words[1], c->key));
        HOLDS(c->words[1].len > 0);
    }
    if (!slice_is_equal(c->words[0], SLICE("ms"))) {
        return line;
    }
    size_t len = number(c->words[2]);
    if (in.len < line + len + 2) {
        return 0;
    }
    c->data = slice_of(in.ptr + line, len);
    HOLDS(memcmp(in.ptr + line + len, "\r\n", 2) == 0);
    return line + len + 2;
}

/* --- Turns --- */

static void step(struct rig *rig, const struct wire_event *event)
{
    rig->engine->step(rig, event);
    rig_act(rig);
}

/* All that came before the half-close has been executed. */
static bool end_finished(struct rig *rig, uint32_t wire)
{
    struct rig_conn *conn = &rig->conns[wire];
    if (!conn->is_open || !conn->is_finishing || rig->is_mute) {
        return false;
    }
    conn->is_open = false;
    conn->is_finishing = false;
    step(rig, &(struct wire_event){.type = WIRE_CLOSED, .wire = wire, .end = WIRE_END_EOF});
    return true;
}

static bool execute_one(struct rig *rig, uint32_t wire)
{
    struct rig_conn *conn = &rig->conns[wire];
    struct command c;
    size_t bytes =
        conn->is_open && !rig->is_mute ? parse(slice_of(conn->in.ptr, conn->in.len), &c) : 0;
    if (bytes == 0) {
        return end_finished(rig, wire);
    }
    if (wire != rig->engine->dump_wire && rig->engine->is_copying(rig)) {
        rig->line = slice_of(conn->in.ptr,
                             (size_t)((char *)memchr(conn->in.ptr, '\r', bytes) - conn->in.ptr));
        if (rig->before != NULL) {
            rig->before(rig, rig->argument);
        }
        rig->copied++;
    }
    if (rig->is_tampering && rig->executed == rig->tamper_at) {
        bytes_add(&conn->out, rig->tamper_with.ptr, rig->tamper_with.len);
    } else {
        execute(rig, conn->node, &c, &conn->out);
    }
    rig->executed++;
    rig->now_us += rig->answer_us;
    bytes_take(&conn->in, bytes);
    return true;
}

static bool deliver(struct rig *rig, uint32_t wire)
{
    struct rig_conn *conn = &rig->conns[wire];
    if (conn->is_wanted) {
        conn->is_wanted = false;
        conn->is_open = true;
        step(rig, &(struct wire_event){.type = WIRE_OPEN, .wire = wire});
        return true;
    }
    if (!conn->is_open || conn->out.len == 0) {
        return false;
    }
    size_t chunk = rig->chunk > 0 ? rig->chunk : 1 + prng_below(&rig->prng, 300);
    chunk = chunk < conn->out.len ? chunk : conn->out.len;
    /* A copy that ends where it ends, so that reading on is seen. */
    struct slice piece = copy_of(slice_of(conn->out.ptr, chunk));
    bytes_take(&conn->out, chunk);
    step(rig, &(struct wire_event){.type = WIRE_BYTES, .wire = wire, .bytes = piece});
    drop(piece);
    return true;
}

static bool write_some(struct rig *rig, uint32_t wire)
{
    struct rig_conn *conn = &rig->conns[wire];
    struct slice slices[SLICES];
    if (!conn->is_open || !conn->is_writing) {
        return false;
    }
    size_t count = rig->engine->gather(rig, wire, slices, SLICES);
    size_t total = 0;
    for (size_t i = 0; i < count && total < rig->write_max; i++) {
        size_t room = rig->write_max - total;
        size_t taken = slices[i].len < room ? slices[i].len : room;
        bytes_add(&conn->in, slices[i].ptr, taken);
        total += taken;
    }
    HOLDS(total > 0 || conn->is_finishing); /* what was queued may have been taken back */
    conn->is_writing = false;               /* until the fill says so again */
    step(rig, &(struct wire_event){.type = WIRE_WROTE, .wire = wire, .wrote = (uint32_t)total});
    return true;
}

void rig_act(struct rig *rig)
{
    struct wire_action action;
    while (rig->engine->next_action(rig, &action)) {
        struct rig_conn *conn = &rig->conns[action.wire];
        switch (action.type) {
        case WIRE_CONNECT:
            HOLDS(!conn->is_wanted && !conn->is_open);
            conn->is_wanted = true;
            conn->is_writing = false;
            conn->node = action.node;
            conn->in.len = 0;
            conn->out.len = 0;
            break;
        case WIRE_CLOSE:
            HOLDS(conn->is_wanted || conn->is_open);
            conn->is_wanted = false;
            conn->is_open = false;
            conn->is_finishing = false;
            break;
        case WIRE_FINISH:
            HOLDS(conn->is_open);
            conn->is_finishing = true;
            break;
        case WIRE_WRITE:
            HOLDS(conn->is_open);
            conn->is_writing = true;
            break;
        }
    }
}

static bool try_thing(struct rig *rig, uint32_t thing)
{
    uint32_t wire = thing / 3;
    switch (thing % 3) {
    case 0:
        return deliver(rig, wire);
    case 1:
        return write_some(rig, wire);
    default:
        return execute_one(rig, wire);
    }
}

void rig_turn(struct rig *rig)
{
    const uint32_t things = 3 * rig->engine->wires;
    uint32_t first = rig->is_shuffled ? (uint32_t)prng_below(&rig->prng, things) : 0;
    for (uint32_t i = 0; i < things; i++) {
        if (try_thing(rig, (first + i) % things)) {
            return;
        }
    }
    rig->now_us += rig->tick_us;
    rig->engine->tick(rig);
    rig_act(rig);
}

bool rig_is_over(const struct rig *rig)
{
    return rig->engine->is_over(rig);
}

void rig_run(struct rig *rig)
{
    for (uint32_t turns = 0; !rig_is_over(rig); turns++) {
        HOLDS(turns < RIG_TURNS_MAX);
        rig_turn(rig);
    }
    for (uint32_t wire = 0; wire < rig->engine->wires; wire++) {
        const struct rig_conn *conn = &rig->conns[wire];
        while (conn->is_finishing && conn->is_open && !rig->is_mute) {
            rig_turn(rig);
        }
        HOLDS(!conn->is_wanted && (!conn->is_open || conn->is_finishing));
    }
}

void rig_end(struct rig *rig, uint32_t wire, enum wire_end end)
{
    struct rig_conn *conn = &rig->conns[wire];
    if (conn->is_open || conn->is_wanted) {
        conn->is_open = false;
        conn->is_wanted = false;
        conn->is_finishing = false;
        step(rig, &(struct wire_event){.type = WIRE_CLOSED, .wire = wire, .end = end});
    }
}

void rig_cut(struct rig *rig, uint32_t wire)
{
    rig_end(rig, wire, WIRE_END_RESET);
}

void rig_do_late(struct rig *rig, uint32_t wire)
{
    struct rig_conn *conn = &rig->conns[wire];
    struct command c;
    HOLDS(!conn->is_open);
    for (size_t bytes; (bytes = parse(slice_of(conn->in.ptr, conn->in.len), &c)) > 0;) {
        execute(rig, conn->node, &c, &conn->out);
        bytes_take(&conn->in, bytes);
    }
}

void rig_say(struct rig *rig, uint32_t wire, struct slice bytes)
{
    bytes_add(&rig->conns[wire].out, bytes.ptr, bytes.len);
}

/* --- Life --- */

struct fill_options rig_options(void)
{
    return (struct fill_options){
        .item_bytes_max = 1 << 20,
        .window = 64,
        .list_bytes = 1 << 20,
        .table_bytes = 1 << 20,
        .timeout_us = 3000000,
    };
}

static void step_fill(struct rig *rig, const struct wire_event *event)
{
    fill_step(rig->fill, event, rig->now_us);
}

static void tick_fill(struct rig *rig)
{
    fill_tick(rig->fill, rig->now_us);
}

static bool next_of_fill(struct rig *rig, struct wire_action *out)
{
    return fill_next_action(rig->fill, out);
}

static size_t gather_fill(struct rig *rig, uint32_t wire, struct slice *out, size_t capacity)
{
    return fill_gather(rig->fill, wire, out, capacity);
}

static bool is_fill_copying(const struct rig *rig)
{
    return fill_state(rig->fill) == FILL_COPYING;
}

static bool is_fill_over(const struct rig *rig)
{
    return fill_state(rig->fill) == FILL_DONE || fill_state(rig->fill) == FILL_FAILED;
}

static const struct rig_engine fill_engine = {
    .wires = FILL_WIRE_COUNT,
    .dump_wire = FILL_WIRE_DUMP,
    .step = step_fill,
    .tick = tick_fill,
    .next_action = next_of_fill,
    .gather = gather_fill,
    .is_copying = is_fill_copying,
    .is_over = is_fill_over,
};

static void step_verify(struct rig *rig, const struct wire_event *event)
{
    verify_step(rig->verify, event, rig->now_us);
}

static void tick_verify(struct rig *rig)
{
    verify_tick(rig->verify, rig->now_us);
}

static bool next_of_verify(struct rig *rig, struct wire_action *out)
{
    return verify_next_action(rig->verify, out);
}

static size_t gather_verify(struct rig *rig, uint32_t wire, struct slice *out, size_t capacity)
{
    return verify_gather(rig->verify, wire, out, capacity);
}

static bool is_verify_comparing(const struct rig *rig)
{
    return verify_state(rig->verify) == VERIFY_COMPARING;
}

static bool is_verify_over(const struct rig *rig)
{
    return (verify_state(rig->verify) == VERIFY_DONE ||
            verify_state(rig->verify) == VERIFY_FAILED) &&
           verify_given_up(rig->verify) == 0;
}

static const struct rig_engine verify_engine = {
    .wires = VERIFY_WIRE_COUNT(RIG_NODES),
    .dump_wire = VERIFY_WIRE_DUMP(RIG_NODES),
    .step = step_verify,
    .tick = tick_verify,
    .next_action = next_of_verify,
    .gather = gather_verify,
    .is_copying = is_verify_comparing,
    .is_over = is_verify_over,
};

static struct rig *create(const struct rig_engine *engine)
{
    struct rig *rig = calloc(1, sizeof *rig);
    HOLDS(rig != NULL);
    rig->engine = engine;
    rig->chunk = 1 << 16;
    rig->now_us = 1000000;
    rig->prng.state = 1;
    rig->tick_us = RIG_TICK_US;
    rig->write_max = SIZE_MAX;
    rig->topology.node_count = RIG_NODES;
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        rig->topology.node_seed[node] = prng_mix(node + 1);
        rig->nodes[node].pid = 100 + node;
        rig->nodes[node].clock_s = 1700000000;
        rig->nodes[node].flushed_s = INT64_MIN;
    }
    return rig;
}

struct rig *rig_create(const struct fill_options *options)
{
    struct rig *rig = create(&fill_engine);
    rig->options = *options;
    rig->memory = malloc(fill_bytes(options));
    HOLDS(rig->memory != NULL);
    rig->fill = fill_init(rig->memory, options);
    rig->topology.complete = node_set_of(RIG_DONOR);
    rig->topology.leaders = node_set_of(RIG_DONOR);
    rig->topology.chained = node_set_of(RIG_TARGET);
    return rig;
}

struct verify_options rig_verify_options(void)
{
    return (struct verify_options){
        .node_count = RIG_NODES,
        .item_bytes_max = 1 << 20,
        .window = 64,
        .table_bytes = 1 << 17,
        .timeout_us = 6000000,
        .settle_us = 1500000,
    };
}

struct rig *rig_create_verify(const struct verify_options *options)
{
    struct rig *rig = create(&verify_engine);
    rig->memory = malloc(verify_bytes(options));
    HOLDS(rig->memory != NULL);
    rig->verify = verify_init(rig->memory, options);
    rig->topology.complete = node_set_all(RIG_NODES);
    rig->topology.leaders = node_set_all(RIG_NODES);
    return rig;
}

void rig_destroy(struct rig *rig)
{
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        clear_node(rig, node);
    }
    for (uint32_t wire = 0; wire < RIG_WIRES_MAX; wire++) {
        free(rig->conns[wire].in.start);
        free(rig->conns[wire].out.start);
    }
    free(rig->memory);
    free(rig);
}

void rig_start(struct rig *rig)
{
    struct fill_plan plan = {
        .target = RIG_TARGET,
        .topology = &rig->topology,
        .is_diff = rig->is_diff,
        .proof_us = rig->proof_us,
    };
    if (rig->is_split) {
        const struct rig_node *target = &rig->nodes[RIG_TARGET];
        plan.split_of = (struct identity){
            .pid = target->pid, .started_s = (uint64_t)target->clock_s, .flushes = target->flushes};
    }
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        plan.clock_s[node] = rig_time_s(rig, node) - (int64_t)(rig->now_us / 1000000);
    }
    fill_start(rig->fill, &plan, rig->now_us);
    rig_act(rig);
}
