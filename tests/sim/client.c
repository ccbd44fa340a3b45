/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients: each has one connection, asks at random, some several requests ahead, and reads replies
 * as strictly as a library would (C1): what does not fit the oldest request is a broken promise.
 * What they ask is ask.c's.
 */
#include "sim/client_private.h"

#include "everwarm/base/invariant.h"
#include "everwarm/mc/encode.h"

#include <stdlib.h>

enum {
    CLIENT_PIECE_BYTES = 700, /* bytes of one read of the proxy: requests are cut */
};

struct client *client_at(struct world *world, uint32_t proxy, uint32_t worker, uint32_t slot)
{
    struct client *client = &world->clients[slot];
    REQUIRE(slot < world->client_count && client->proxy == proxy && client->worker == worker);
    return client;
}

void client_init(struct world *world, uint32_t number)
{
    struct client *c = &world->clients[number];
    *c = (struct client){.number = number,
                         .slot = number,
                         .proxy = number % world->options.proxies,
                         .worker = number / world->options.proxies % world->options.workers,
                         .depth = 1};
    if (world_chance(world, 40)) {
        c->depth = 2 + (uint32_t)world_below(world, 5);
    }
    uint32_t groups = world->is_shared ? 1 : world->options.proxies * world->options.workers;
    uint32_t group = world->is_shared ? 0 : c->proxy * world->options.workers + c->worker;
    c->key_count = world->key_count / groups;
    c->key_first = group * c->key_count;
    REQUIRE(c->key_count > 0);
    world_post(world, world->now_us + world_below(world, 100000), WORLD_CLIENT_OPEN, number, 0, 0);
}

void client_fini(struct world *world, uint32_t number)
{
    bytes_free(&world->clients[number].waiting);
    bytes_free(&world->clients[number].in);
}

/* --- Deadlines (C6) --- */

/*
 * A request's deadline counts from when the proxy has read all of it; what waits in the socket
 * while the proxy does not read (docs/limits.md) is bounded by the deadlines of the requests before
 * it. So one that waits there with none before it has as long as any.
 */
static void client_read_until(struct world *world, struct client *c)
{
    for (uint32_t i = 0; i < c->pending_count; i++) {
        struct client_pending *pending = &c->pending[i];
        if (!pending->is_read && pending->end <= c->read_bytes) {
            pending->is_read = true;
            pending->since_us = world->now_us;
        }
    }
}

/* The oldest request is another now. */
static void client_begin_head(const struct world *world, struct client *c)
{
    if (c->pending_count > 0 && !c->pending[0].is_read) {
        c->pending[0].since_us = world->now_us;
    }
}

/* A proxy that was stopped answers nothing meanwhile. */
static bool client_is_late(const struct world *world, const struct client *c,
                           const struct client_pending *pending)
{
    const struct proxy *p = &world->proxies[c->proxy];
    uint64_t since_us = pending->since_us < p->paused_us ? p->paused_us : pending->since_us;
    bool is_ended = !c->is_server_open && world->now_us < p->troubled_us;
    if ((p->is_leaving || is_ended) && !pending->is_read) {
        return false; /* it reads no more: its end will tell */
    }
    return world->now_us > since_us + WORLD_REQUEST_US + WORLD_SLACK_US;
}

static void client_late(struct world *world, const struct client *c,
                        const struct client_pending *pending)
{
    const struct history_op *op = &world->history.ops[pending->first_op];
    world_broken(world, "C6", "client %u waits for %s %s, asked at %llu, %s for %llu us", c->number,
                 history_kind_word(op->kind), world_key(op->key), (unsigned long long)op->asked_us,
                 pending->is_read ? "read" : "next to be read",
                 (unsigned long long)(world->now_us - pending->since_us));
}

/* --- Connection --- */

void client_put(struct world *world, struct client *c, enum segment_type type, struct slice bytes)
{
    uint64_t at_us = world->now_us + world_delay(world);
    c->to_server_us = at_us < c->to_server_us ? c->to_server_us : at_us;
    world_post(world, c->to_server_us, WORLD_TO_SERVER, c->number, c->generation,
               (uint64_t)(uintptr_t)world_segment(type, bytes));
    c->sent_bytes += bytes.len;
}

void client_hang_up(struct world *world, struct client *c)
{
    uint64_t at_us = world->now_us + world_delay(world);
    c->to_client_us = at_us < c->to_client_us ? c->to_client_us : at_us;
    world_post(world, c->to_client_us, WORLD_TO_CLIENT, c->number, c->server_generation,
               (uint64_t)(uintptr_t)world_segment(SEGMENT_FIN, SLICE("")));
}

void client_open(struct world *world, uint32_t number)
{
    struct client *c = &world->clients[number];
    if (c->state == CLIENT_HERE) {
        return;
    }
    const struct proxy *p = &world->proxies[c->proxy];
    if (!p->is_up || p->is_leaving || p->paused_us > world->now_us || c->is_server_open ||
        c->to_server_us > world->now_us) {
        /* The old connection's slot is not free yet; a proxy that is stopped frees none. */
        world_post(world, world->now_us + 10000, WORLD_CLIENT_OPEN, number, 0, 0);
        return;
    }
    c->generation++;
    c->state = CLIENT_HERE;
    c->is_paused = false;
    c->next_send_us = 0;
    bytes_clear(&c->in);
    bytes_clear(&c->waiting);
    c->sent_bytes = 0;
    c->read_bytes = 0;
    client_put(world, c, SEGMENT_SYN, SLICE(""));
    world_post(world, world->now_us + 1, WORLD_CLIENT_SEND, number, c->generation, 0);
}

void client_pump(struct world *world, uint32_t number)
{
    struct client *c = &world->clients[number];
    struct dataplane *dp = world->proxies[c->proxy].dp[c->worker];
    bool is_draining = world->proxies[c->proxy].is_draining[c->worker];
    while (c->is_server_open && !c->is_paused && c->waiting.len > 0 && !is_draining) {
        size_t room = dataplane_client_room(dp);
        if (room == 0) {
            struct segment *again = world_segment(SEGMENT_DATA, SLICE(""));
            world_post(world, world->now_us + 1000, WORLD_TO_SERVER, number, c->server_generation,
                       (uint64_t)(uintptr_t)again);
            return;
        }
        size_t piece = 1 + (size_t)world_below(world, CLIENT_PIECE_BYTES);
        piece = piece < room ? piece : room;
        piece = piece < c->waiting.len ? piece : c->waiting.len;
        char bytes[CLIENT_PIECE_BYTES];
        memcpy(bytes, c->waiting.ptr, piece);
        bytes_take(&c->waiting, piece);
        if (c->server_generation == c->generation) {
            c->read_bytes += piece;
            client_read_until(world, c);
        }
        struct dataplane_event event = {
            .type = DATAPLANE_CLIENT_BYTES, .client = c->slot, .bytes = slice_of(bytes, piece)};
        proxy_dp_event(world, c->proxy, c->worker, &event);
    }
}

void client_lose_server(struct world *world, uint32_t number)
{
    struct client *c = &world->clients[number];
    for (uint32_t i = 0; i < c->pending_count; i++) {
        for (uint32_t k = 0; k < c->pending[i].key_count; k++) {
            struct key *key = &world->keys[world->history.ops[c->pending[i].first_op + k].key];
            key->is_split = true;
            key->was_split = true;
        }
    }
    if (c->is_server_open) {
        c->is_server_open = false;
        bytes_clear(&c->waiting);
        client_hang_up(world, c);
    }
}

void client_let_go(struct world *world, uint32_t number)
{
    struct client *c = &world->clients[number];
    if (c->is_server_open) {
        c->is_server_open = false;
        c->left_generation = c->server_generation;
        bytes_clear(&c->waiting);
        client_hang_up(world, c);
    }
}

void client_to_server(struct world *world, uint32_t number, uint32_t generation,
                      const struct segment *segment)
{
    struct client *c = &world->clients[number];
    const struct proxy *p = &world->proxies[c->proxy];
    if (!p->is_up || (p->is_draining[c->worker] && segment->type == SEGMENT_SYN)) {
        if (segment->type == SEGMENT_SYN) {
            c->server_generation = generation;
            c->left_generation = p->is_up ? generation : c->left_generation;
            client_hang_up(world, c);
        }
        return;
    }
    if (segment->type != SEGMENT_SYN && c->server_generation != generation) {
        return;
    }
    struct dataplane_event event = {.client = c->slot};
    switch (segment->type) {
    case SEGMENT_SYN:
        c->is_server_open = true;
        c->server_generation = generation;
        event.type = DATAPLANE_CLIENT_OPEN;
        proxy_dp_event(world, c->proxy, c->worker, &event);
        return;
    case SEGMENT_DATA:
        bytes_put(&c->waiting, slice_of(segment->bytes, segment->len));
        client_pump(world, number);
        return;
    case SEGMENT_RST:
        if (c->is_server_open) {
            c->is_server_open = false;
            bytes_clear(&c->waiting);
            event.type = DATAPLANE_CLIENT_LOST;
            proxy_dp_event(world, c->proxy, c->worker, &event);
        }
        return;
    case SEGMENT_FIN:
    case SEGMENT_ACCEPT:
    case SEGMENT_REFUSE:
        return;
    }
    UNREACHABLE();
}

/* --- What was asked is over --- */

/* Something failed while OP was under way, or just before: it shows itself for as long as a request
 * may last. */
static void client_note_faults(const struct world *world, struct history_op *op)
{
    for (uint64_t i = 0; i < world->fault_count && i < 64; i++) {
        uint64_t at_us = world->fault_us[i];
        op->is_near_fault = op->is_near_fault ||
                            (at_us <= op->told_us && at_us + 2 * WORLD_REQUEST_US >= op->asked_us);
    }
}

/* So long may take effect what C asked and will not be told of: not before its proxy goes on. */
static uint64_t client_doubt_until(const struct world *world, const struct client *c)
{
    uint64_t resumed_us = world->proxies[c->proxy].paused_us;
    uint64_t from_us = resumed_us > world->now_us ? resumed_us : world->now_us;
    return from_us + 2 * WORLD_REQUEST_US;
}

/* A noreply that is the last of the queue has nothing behind it that proves it was done. What still
 * waits behind a request that was not answered may be done as late as that one. */
static void client_settle_noreply(struct world *world, struct client *c)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < c->pending_count; i++) {
        if (!c->pending[i].is_noreply || kept > 0) {
            c->pending[kept++] = c->pending[i];
            continue;
        }
        struct history_op *op = &world->history.ops[c->pending[i].first_op];
        client_told(world, op, HISTORY_UNKNOWN, client_doubt_until(world, c));
        op->is_optional = true;
        client_note_faults(world, op);
    }
    if (kept < c->pending_count) {
        c->pending_count = kept;
        client_begin_head(world, c);
    }
}

/* The connection is over: what was not answered may have happened, or may yet. */
static void client_abandon(struct world *world, struct client *c)
{
    client_settle_noreply(world, c);
    for (uint32_t i = 0; i < c->pending_count; i++) {
        for (uint32_t k = c->pending[i].keys_done; k < c->pending[i].key_count; k++) {
            struct history_op *op = &world->history.ops[c->pending[i].first_op + k];
            client_told(world, op, HISTORY_UNKNOWN, client_doubt_until(world, c));
            op->is_optional = true;
        }
    }
    c->pending_count = 0;
}

static void client_leave(struct world *world, struct client *c)
{
    client_abandon(world, c);
    client_put(world, c, SEGMENT_RST, SLICE(""));
    c->state = CLIENT_COMING;
    c->generation++;
    world_post(world, world->now_us + 10000, WORLD_CLIENT_OPEN, c->number, 0, 0);
}

/* Requests come in bursts; between them it is as quiet as the pace wants. */
static uint64_t client_pause(struct world *world)
{
    if (world->now_us < world->busy_us) {
        return 1 + world_below(world, 2500);
    }
    return 1 +
           world_below(world, world_chance(world, 60) ? world->think_us / 20 : 5 * world->think_us);
}

void client_send(struct world *world, uint32_t number)
{
    struct client *c = &world->clients[number];
    if (c->state != CLIENT_HERE || world->is_resting) {
        return;
    }
    if (!world->is_started) {
        world_post(world, world->now_us + 50000, WORLD_CLIENT_SEND, number, c->generation, 0);
        return;
    }
    if (world_chance(world, 1) && world_chance(world, 30)) {
        client_leave(world, c);
        return;
    }
    struct bytes out = {0};
    client_settle_noreply(world, c);
    while (c->pending_count < c->depth && world->history.count < CLIENT_OPS_MAX) {
        client_ask(world, c, &out);
        c->pending[c->pending_count - 1].end = c->sent_bytes + out.len;
        if (world_chance(world, 40)) {
            break;
        }
    }
    if (out.len > 0) {
        client_put(world, c, SEGMENT_DATA, bytes_slice(&out));
    }
    bytes_free(&out);
    if (c->next_send_us > world->now_us) {
        return; /* it was hurried, and its own turn still comes */
    }
    c->next_send_us = world->now_us + client_pause(world);
    world_post(world, c->next_send_us, WORLD_CLIENT_SEND, number, c->generation, 0);
}

void client_read_all(struct world *world)
{
    for (uint32_t i = 0; i < world->client_count; i++) {
        struct client *c = &world->clients[i];
        client_settle_noreply(world, c);
        if (c->state != CLIENT_HERE) {
            continue;
        }
        for (uint32_t k = 0; k < c->key_count; k++) {
            struct bytes out = {0};
            struct history_op op = client_op(world, c, c->key_first + k, HISTORY_GET);
            uint32_t number = client_record(world, &op);
            bytes_print(&out, "get %s\r\n", world_key(op.key));
            client_push(world, c, number, 1)->end = c->sent_bytes + out.len;
            client_put(world, c, SEGMENT_DATA, bytes_slice(&out));
            bytes_free(&out);
        }
    }
}

/* --- Reading --- */

static void client_close_op(struct world *world, uint32_t number, enum history_result result)
{
    struct history_op *op = &world->history.ops[number];
    client_told(world, op, result, world->now_us);
    op->is_cas_loose = op->is_cas_loose || op->cas_epoch == CLIENT_NO_EPOCH ||
                       op->cas_epoch != client_epoch(world, &world->clients[op->client]);
    op->is_young =
        op->is_young || client_epoch(world, &world->clients[op->client]) == CLIENT_NO_EPOCH;
    client_note_faults(world, op);
}

static void client_pop(struct world *world, struct client *c)
{
    if (client_is_late(world, c, &c->pending[0])) {
        client_late(world, c, &c->pending[0]);
    }
    c->pending_count--;
    memmove(c->pending, c->pending + 1, c->pending_count * sizeof(c->pending[0]));
    client_begin_head(world, c);
}

static void client_odd(struct world *world, const struct client *c, struct slice line)
{
    world_broken(world, "C1", "client %u got an odd line: %.*s", c->number,
                 (int)(line.len < 200 ? line.len : 200), line.ptr);
}

/* Returns bytes taken, 0: more must come, SIZE_MAX: odd. */
static size_t client_read_value(struct world *world, struct client *c, struct slice in,
                                struct slice line)
{
    struct client_pending *pending = &c->pending[0];
    struct slice words = line;
    uint64_t flags;
    uint64_t len;
    uint64_t cas = 0;
    mc_next_word(&words);
    struct slice key = mc_next_word(&words);
    if (!mc_read_u64(mc_next_word(&words), &flags) || !mc_read_u64(mc_next_word(&words), &len) ||
        flags > UINT32_MAX || len > 100000) {
        return SIZE_MAX;
    }
    if (pending->has_cas != (words.len > 0) ||
        (pending->has_cas && !mc_read_u64(mc_next_word(&words), &cas))) {
        return SIZE_MAX;
    }
    size_t taken = line.len + 2 + (size_t)len + 2;
    if (in.len < taken) {
        return 0;
    }
    while (pending->keys_done < pending->key_count) {
        struct history_op *op = &world->history.ops[pending->first_op + pending->keys_done];
        if (slice_is_equal(key, slice_of_string(world_key(op->key)))) {
            break;
        }
        client_close_op(world, pending->first_op + pending->keys_done++, HISTORY_NO);
    }
    if (pending->keys_done == pending->key_count || memcmp(in.ptr + taken - 2, "\r\n", 2) != 0) {
        return SIZE_MAX;
    }
    struct slice value = slice_of(in.ptr + line.len + 2, (size_t)len);
    uint32_t number = pending->first_op + pending->keys_done++;
    uint32_t known = world->history.value_count;
    int32_t seen = history_value(&world->history, value, (uint32_t)flags);
    struct history_op *op = &world->history.ops[number];
    op->seen = seen;
    if (world->history.value_count > known && memchr(value.ptr, '+', len) == NULL &&
        !client_is_number_key(c, op->key)) {
        world_broken(world, "C2", "client %u read from %s what nobody wrote: %.*s flags %llu",
                     c->number, world_key(op->key), (int)len, value.ptr, (unsigned long long)flags);
    }
    client_close_op(world, number, HISTORY_OK);
    if (pending->has_cas) {
        struct client_cas *last = &c->cas[op->key];
        uint32_t at = last->seen++ % CLIENT_CAS_COUNT;
        last->cas[at] = cas;
        last->value[at] = seen;
        last->epoch[at] = client_cas_epoch(world, c, op);
    }
    return taken;
}

static bool client_read_get(struct world *world, struct client *c, struct slice line)
{
    struct client_pending *pending = &c->pending[0];
    if (!slice_is_equal(line, SLICE("END"))) {
        return false;
    }
    for (; pending->keys_done < pending->key_count; pending->keys_done++) {
        client_close_op(world, pending->first_op + pending->keys_done, HISTORY_NO);
    }
    return true;
}

/* The reply to anything but a read. */
static bool client_read_line(struct world *world, struct client *c, struct slice line)
{
    static const struct {
        struct slice line;
        enum history_result result;
        uint32_t kinds; /* that may get it */
    } TABLE[] = {
        {SLICE_INIT("STORED"), HISTORY_OK,
         1u << HISTORY_SET | 1u << HISTORY_ADD | 1u << HISTORY_REPLACE | 1u << HISTORY_APPEND |
             1u << HISTORY_PREPEND | 1u << HISTORY_CAS},
        {SLICE_INIT("NOT_STORED"), HISTORY_NO,
         1u << HISTORY_ADD | 1u << HISTORY_REPLACE | 1u << HISTORY_APPEND | 1u << HISTORY_PREPEND},
        {SLICE_INIT("EXISTS"), HISTORY_EXISTS, 1u << HISTORY_CAS},
        {SLICE_INIT("NOT_FOUND"), HISTORY_NO,
         1u << HISTORY_CAS | 1u << HISTORY_DELETE | 1u << HISTORY_DELTA | 1u << HISTORY_TOUCH},
        {SLICE_INIT("DELETED"), HISTORY_OK, 1u << HISTORY_DELETE},
        {SLICE_INIT("TOUCHED"), HISTORY_OK, 1u << HISTORY_TOUCH},
        {SLICE_INIT("CLIENT_ERROR cannot increment or decrement non-numeric value"),
         HISTORY_NON_NUMERIC, 1u << HISTORY_DELTA},
    };
    uint32_t number = c->pending[0].first_op;
    struct history_op *op = &world->history.ops[number];
    if (op->kind == HISTORY_FORGET && slice_is_equal(line, SLICE("OK"))) {
        for (uint32_t k = 0; k < c->pending[0].key_count; k++) {
            client_close_op(world, number + k, HISTORY_OK);
        }
        return true;
    }
    for (size_t i = 0; i < sizeof(TABLE) / sizeof(TABLE[0]); i++) {
        if (slice_is_equal(line, TABLE[i].line) && (TABLE[i].kinds >> op->kind & 1) != 0) {
            client_close_op(world, number, TABLE[i].result);
            return true;
        }
    }
    if (op->kind == HISTORY_DELTA && mc_read_u64(line, &op->number)) {
        client_close_op(world, number, HISTORY_OK);
        return true;
    }
    return false;
}

/* A proxy that starts gives nodes that don't answer three leases, and serves nothing meanwhile. */
static bool client_is_too_early(const struct world *world, const struct client *c)
{
    const struct proxy *p = &world->proxies[c->proxy];
    if (p->serving_us == 0) {
        return world->now_us < p->started_us + 3 * WORLD_LEASE_US + WORLD_REQUEST_US;
    }
    return c->pending_count > 0 && c->pending[0].since_us < p->serving_us;
}

/* C3 says nothing of losses of the last copy, of proxies that die, stop or start, and of splits. */
static bool client_is_excused(const struct world *world, const struct client *c)
{
    return world->loss_us > 0 || world->now_us < world->proxies[c->proxy].troubled_us ||
           client_is_too_early(world, c) || split_excuses(world);
}

/* SERVER_ERROR: nothing is known of the rest of the request. */
static void client_read_error(struct world *world, struct client *c, struct slice line)
{
    struct client_pending *pending = &c->pending[0];
    for (uint32_t k = pending->keys_done; k < pending->key_count; k++) {
        uint32_t number = pending->first_op + k;
        client_close_op(world, number, HISTORY_UNKNOWN);
        struct history_op *op = &world->history.ops[number];
        op->is_optional = true;
        op->told_us = world->now_us + 2 * WORLD_REQUEST_US;
    }
    if (!client_is_excused(world, c)) {
        const struct history_op *op = &world->history.ops[pending->first_op];
        world_broken(world, "C3", "client %u got for %s %s, asked at %llu: %.*s", c->number,
                     history_kind_word(op->kind), world_key(op->key),
                     (unsigned long long)op->asked_us, (int)line.len, line.ptr);
    }
}

/* C3: who ends has answered what it has read, and nothing else was done. */
static void client_check_farewell(struct world *world, const struct client *c)
{
    for (uint32_t i = 0; i < c->pending_count; i++) {
        if (c->pending[i].is_read && !c->pending[i].is_noreply) {
            const struct history_op *op = &world->history.ops[c->pending[i].first_op];
            world_broken(world, "C3",
                         "client %u got no answer to %s %s, asked at %llu, from a proxy that ended",
                         c->number, history_kind_word(op->kind), world_key(op->key),
                         (unsigned long long)op->asked_us);
        }
    }
}

void client_to_client(struct world *world, uint32_t number, const struct segment *segment)
{
    struct client *c = &world->clients[number];
    if (segment->type != SEGMENT_DATA) {
        if (c->left_generation == c->generation) {
            client_check_farewell(world, c);
        } else if (c->pending_count > 0 && !client_is_excused(world, c)) {
            world_broken(world, "C3", "client %u was hung up on with %u requests open", number,
                         c->pending_count);
        }
        client_abandon(world, c);
        c->state = CLIENT_COMING;
        world_post(world, world->now_us + 10000, WORLD_CLIENT_OPEN, number, 0, 0);
        return;
    }
    bytes_put(&c->in, slice_of(segment->bytes, segment->len));
    while (c->in.len > 0) {
        struct slice in = bytes_slice(&c->in);
        const char *end = memchr(in.ptr, '\n', in.len);
        if (end == NULL) {
            return;
        }
        struct slice line = slice_of(in.ptr, (size_t)(end - in.ptr));
        if (line.len == 0 || line.ptr[--line.len] != '\r') {
            client_odd(world, c, line);
            return;
        }
        client_settle_noreply(world, c);
        if (c->pending_count == 0) {
            client_odd(world, c, line);
            return;
        }
        bool is_get = world->history.ops[c->pending[0].first_op].kind == HISTORY_GET;
        size_t taken = line.len + 2;
        if (slice_has_prefix(line, SLICE("SERVER_ERROR"))) {
            client_read_error(world, c, line);
            client_pop(world, c);
        } else if (is_get && slice_has_prefix(line, SLICE("VALUE "))) {
            taken = client_read_value(world, c, in, line);
            if (taken == 0) {
                return;
            }
        } else if (is_get ? client_read_get(world, c, line) : client_read_line(world, c, line)) {
            client_pop(world, c);
        } else {
            taken = SIZE_MAX;
        }
        if (taken == SIZE_MAX) {
            client_odd(world, c, line);
            return;
        }
        bytes_take(&c->in, taken);
    }
}

void client_watch(struct world *world)
{
    for (uint32_t i = 0; i < world->client_count; i++) {
        struct client *c = &world->clients[i];
        for (uint32_t k = 0; c->state == CLIENT_HERE && k < c->pending_count; k++) {
            const struct client_pending *pending = &c->pending[k];
            if (!pending->is_noreply && (k == 0 || pending->is_read) &&
                client_is_late(world, c, pending)) {
                client_late(world, c, pending);
            }
        }
    }
}
