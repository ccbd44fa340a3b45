/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The verify: what happens in which order. How one key is compared is told in verify_look.c, how
 * one copy is mended in verify_mend.c.
 *
 *   DUMPING    each node: metadump, its keys of one class into the table  <--+
 *   COMPARING  each key of the table, at all nodes                           | further classes
 *   DONE
 *
 * I1. A key is compared if any node has it. One that is written after the dumps is its writers' to
 *     look after, and the next verify's.
 * I2. A doubtful reply, a lost connection or silence on any wire ends it: nothing is concluded, and
 *     control begins another. Only a dump is tried again.
 * I3. Replies are matched to commands by their order alone.
 * I4. Dumps are taken as fast as they come; rates limit the looks (replication.md section 2).
 *
 * One thread. It knows nothing of views, leases or health: control starts, holds and stops it.
 */
#include "verify_private.h"

#include "everwarm/base/invariant.h"
#include "everwarm/mc/encode.h"

#include "dump_line.h"

enum {
    VERIFY_ALIGN = 16,
    VERIFY_DUMP_RING_BYTES = 64, /* one command */
    /* The mender's two reads, beside a window of looks. */
    VERIFY_LINES_SPARE = 2,
};

/* --- Memory --- */

static size_t aligned(size_t bytes)
{
    return (bytes + VERIFY_ALIGN - 1) & ~(size_t)(VERIFY_ALIGN - 1);
}

static uint32_t ring_bytes(uint64_t least)
{
    uint32_t bytes = 1;
    while (bytes < least) {
        bytes *= 2;
    }
    return bytes;
}

static uint32_t node_ring_bytes(void)
{
    return ring_bytes((uint64_t)(VERIFY_WINDOW_MAX + VERIFY_LINES_SPARE) * VERIFY_LINE_BYTES);
}

static uint32_t mend_ring_bytes(const struct verify_options *options)
{
    return ring_bytes(options->item_bytes_max + (uint64_t)2 * VERIFY_LINE_BYTES);
}

static void check_options(const struct verify_options *options)
{
    REQUIRE(options->node_count >= 1 && options->node_count <= NODES_MAX);
    REQUIRE(options->window >= 1 && options->window <= VERIFY_WINDOW_MAX);
    REQUIRE(options->table_bytes >= DUMP_TABLE_BYTES_MIN);
    REQUIRE(options->item_bytes_max <= STREAM_VALUE_BYTES_MAX / 2);
    REQUIRE(options->timeout_us > 0 && options->settle_us > 0);
}

size_t verify_bytes(const struct verify_options *options)
{
    check_options(options);
    return aligned(sizeof(struct verify)) + aligned(verify_look_bytes(options)) +
           (size_t)options->node_count * node_ring_bytes() + VERIFY_DUMP_RING_BYTES +
           mend_ring_bytes(options) + aligned(options->table_bytes);
}

struct verify *verify_init(void *memory, const struct verify_options *options)
{
    check_options(options);
    REQUIRE((uintptr_t)memory % VERIFY_ALIGN == 0);
    struct verify *verify = memory;
    *verify = (struct verify){.options = *options, .state = VERIFY_IDLE};
    uint32_t nodes = options->node_count;
    char *rest = (char *)memory + aligned(sizeof *verify);
    verify_look_init(verify, rest);
    rest += aligned(verify_look_bytes(options));
    for (uint32_t wire = 0; wire < VERIFY_WIRE_COUNT(nodes); wire++) {
        uint32_t bytes = wire < nodes                      ? node_ring_bytes()
                         : wire == VERIFY_WIRE_DUMP(nodes) ? VERIFY_DUMP_RING_BYTES
                                                           : mend_ring_bytes(options);
        stream_init(&verify->streams[wire], rest, bytes);
        rest += bytes;
    }
    dump_table_init(&verify->table, rest, options->table_bytes & ~(uint32_t)(VERIFY_ALIGN - 1));
    return verify;
}

/* --- States --- */

static void verify_move(struct verify *verify, enum verify_state state)
{
#define TO(name) (1u << VERIFY_##name)
    static const uint32_t moves[] = {
        [VERIFY_IDLE] = TO(DUMPING),
        [VERIFY_DUMPING] = TO(COMPARING) | TO(IDLE) | TO(FAILED),
        [VERIFY_COMPARING] = TO(DUMPING) | TO(DONE) | TO(IDLE) | TO(FAILED),
        [VERIFY_DONE] = TO(DUMPING) | TO(IDLE),
        [VERIFY_FAILED] = TO(DUMPING) | TO(IDLE),
    };
#undef TO
    INVARIANT((moves[verify->state] >> state & 1u) != 0);
    verify->state = state;
}

static bool is_running(const struct verify *verify)
{
    return verify->state == VERIFY_DUMPING || verify->state == VERIFY_COMPARING;
}

static struct stream *dump_stream(struct verify *verify)
{
    return &verify->streams[VERIFY_WIRE_DUMP(verify->options.node_count)];
}

static void close_all(struct verify *verify)
{
    for (uint32_t wire = 0; wire <= VERIFY_WIRE_DUMP(verify->options.node_count); wire++) {
        stream_close(&verify->streams[wire]);
    }
    if (verify->streams[VERIFY_WIRE_MEND(verify->options.node_count)].link != STREAM_ENDING) {
        verify_mend_give_up(verify);
    }
    for (uint32_t i = 0; i < verify->slot_count; i++) {
        /* Each was looked at after it was made, but that look may have been too early. */
        verify->owed |= verify->slots[i].ours;
        verify->slots[i].ours = 0;
    }
}

static struct slice wire_name(const struct verify *verify, uint32_t wire)
{
    return wire == VERIFY_WIRE_DUMP(verify->options.node_count)   ? SLICE("dump: ")
           : wire == VERIFY_WIRE_MEND(verify->options.node_count) ? SLICE("mend: ")
                                                                  : SLICE("node ");
}

void verify_fail(struct verify *verify, uint32_t wire, struct slice text)
{
    if (!is_running(verify)) {
        return; /* the first reason is the reason */
    }
    struct mc_writer w = mc_writer_of(verify->failure, sizeof verify->failure - 1);
    mc_write(&w, wire_name(verify, wire));
    if (wire < verify->options.node_count) {
        mc_write_u64(&w, wire + 1);
        mc_write(&w, SLICE(": "));
    }
    mc_write(&w, text);
    verify->failure[w.len] = '\0';
    verify_move(verify, VERIFY_FAILED);
    close_all(verify);
}

void verify_fail_end(struct verify *verify, uint32_t wire, enum wire_end end)
{
    static const struct slice texts[] = {
#define X(name, text) [WIRE_END_##name] = SLICE_INIT(text),
        WIRE_END_TABLE(X)
#undef X
    };
    verify_fail(verify, wire, texts[end]);
}

bool verify_send(struct verify *verify, uint32_t wire, struct slice bytes)
{
    if (!stream_send(&verify->streams[wire], bytes)) {
        verify_fail_end(verify, wire, WIRE_END_PROTOCOL);
        return false;
    }
    return true;
}

/* --- Dumps --- */

static void begin_dump(struct verify *verify)
{
    verify->dump_retry_us = 0;
    verify->dump_keys = 0;
    stream_connect(dump_stream(verify), verify->dump_node);
    (void)verify_send(verify, VERIFY_WIRE_DUMP(verify->options.node_count),
                      SLICE(DUMP_LINE_COMMAND));
}

static void begin_pass(struct verify *verify)
{
    dump_table_clear(&verify->table);
    verify->dumps_left = verify->nodes;
    verify->dump_node = node_set_first(verify->nodes);
    verify->dump_tries = 0;
    begin_dump(verify);
}

static void retry_dump(struct verify *verify)
{
    stream_close(dump_stream(verify));
    verify->dump_tries++;
    if (verify->dump_tries == DUMP_LINE_TRIES_MAX) {
        verify_fail(verify, VERIFY_WIRE_DUMP(verify->options.node_count),
                    SLICE("no complete dump after many tries"));
        return;
    }
    verify->dump_retry_us = verify->now_us + DUMP_LINE_PAUSE_US;
}

static void connect_all(struct verify *verify)
{
    for (node_set left = verify->nodes; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (verify->streams[node].link == STREAM_CLOSED) {
            stream_connect(&verify->streams[node], node);
        }
    }
}

static void dump_is_whole(struct verify *verify)
{
    uint64_t *total = &verify->progress.keys_total;
    *total = *total > verify->dump_keys ? *total : verify->dump_keys;
    stream_close(dump_stream(verify));
    verify->dumps_left &= ~node_set_of(verify->dump_node);
    if (verify->dumps_left != 0) {
        verify->dump_node = node_set_first(verify->dumps_left);
        verify->dump_tries = 0;
        begin_dump(verify);
    } else {
        verify_move(verify, VERIFY_COMPARING);
        connect_all(verify);
    }
}

static void take_dump_line(struct verify *verify, struct slice line)
{
    struct mc_dump_item dumped;
    switch (dump_line_read(line, &dumped)) {
    case DUMP_LINE_ITEM: {
        struct item item = dump_table_item(&dumped, verify->plan.clock_s[verify->dump_node]);
        verify->dump_keys++;
        if (!dump_table_add(&verify->table, slice_of(dumped.key, dumped.key_bytes),
                            verify->dump_node, &item, dumped.size_bytes)) {
            verify_fail(verify, VERIFY_WIRE_DUMP(verify->options.node_count),
                        SLICE("too many keys for the table"));
        }
        break;
    }
    case DUMP_LINE_HIDDEN:
    case DUMP_LINE_PASS:
        break;
    case DUMP_LINE_END:
        dump_is_whole(verify);
        break;
    case DUMP_LINE_AGAIN:
        retry_dump(verify);
        break;
    case DUMP_LINE_REFUSED:
        verify_fail(verify, VERIFY_WIRE_DUMP(verify->options.node_count), SLICE(DUMP_LINE_REFUSAL));
        break;
    }
}

static void pump(struct verify *verify)
{
    verify_mend_pump(verify);
    if (verify->state != VERIFY_COMPARING || verify_look_pump(verify) ||
        verify->state != VERIFY_COMPARING) {
        return;
    }
    if (key_class_next(&verify->table.of)) {
        verify_move(verify, VERIFY_DUMPING);
        begin_pass(verify);
    } else {
        verify_move(verify, VERIFY_DONE);
        close_all(verify);
    }
}

/* --- Wires --- */

static bool is_owed(const struct verify *verify, uint32_t wire)
{
    const struct stream *s = &verify->streams[wire];
    if (s->link == STREAM_CLOSED || s->link == STREAM_ENDING) {
        return false;
    }
    if (s->link != STREAM_OPEN || wire == VERIFY_WIRE_DUMP(verify->options.node_count)) {
        return true;
    }
    return wire < verify->options.node_count ? verify->asked[wire].count > 0
                                             : verify_mend_is_owed(verify);
}

static void watch(struct verify *verify)
{
    for (uint32_t wire = 0; wire < VERIFY_WIRE_COUNT(verify->options.node_count); wire++) {
        stream_watch(&verify->streams[wire], is_owed(verify, wire), verify->now_us);
    }
}

static bool is_menders(const struct verify *verify, uint32_t node)
{
    const struct verify_queue *asked = &verify->asked[node];
    return asked->slots[asked->head] == VERIFY_MENDER;
}

static void take_node_token(struct verify *verify, uint32_t node, const struct stream_token *token)
{
    struct verify_queue *asked = &verify->asked[node];
    if (asked->count == 0 || token->type == STREAM_TOKEN_BAD) {
        verify_fail_end(verify, node, WIRE_END_PROTOCOL);
        return;
    }
    bool is_mender = is_menders(verify, node);
    bool is_answered = token->type == STREAM_TOKEN_VALUE_END ||
                       (token->type == STREAM_TOKEN_REPLY && token->reply.kind != MC_REPLY_VA);
    if (is_mender && is_answered) {
        (void)verify_queue_take(asked);
    }
    if (token->type == STREAM_TOKEN_REPLY) {
        (is_mender ? verify_mend_leader_reply(verify, &token->reply)
                   : verify_look_reply(verify, node, &token->reply));
    } else if (token->type == STREAM_TOKEN_PIECE) {
        (is_mender ? verify_mend_leader_value(verify, token->bytes)
                   : verify_look_value(verify, node, token->bytes));
    } else {
        (is_mender ? verify_mend_leader_value_end(verify) : verify_look_value_end(verify, node));
    }
}

static void take_token(struct verify *verify, uint32_t wire, const struct stream_token *token)
{
    uint32_t nodes = verify->options.node_count;
    if (wire < nodes) {
        take_node_token(verify, wire, token);
    } else if (wire == VERIFY_WIRE_DUMP(nodes)) {
        if (token->type == STREAM_TOKEN_LINE) {
            take_dump_line(verify, token->bytes);
        } else {
            retry_dump(verify);
        }
    } else if (token->type == STREAM_TOKEN_REPLY && token->reply.kind != MC_REPLY_VA) {
        verify_mend_reply(verify, &token->reply);
    } else {
        verify_fail_end(verify, wire, WIRE_END_PROTOCOL);
    }
}

static void feed(struct verify *verify, uint32_t wire, struct slice bytes)
{
    struct stream *s = &verify->streams[wire];
    bool is_dump = wire == VERIFY_WIRE_DUMP(verify->options.node_count);
    struct stream_token token;
    while (s->link == STREAM_OPEN &&
           stream_take(s, is_dump ? STREAM_DUMP : STREAM_REPLIES, &bytes, &token)) {
        take_token(verify, wire, &token);
    }
}

/* The mender's wire, with a write on it. Only an EOF says that the node has done all that it ever
 * will of it, and only behind our last word there is nothing left to look after. */
static void lost_in_doubt(struct verify *verify, const struct stream *s, enum wire_end end)
{
    bool has_said_all =
        s->link == STREAM_ENDING && byte_ring_used(&s->out) == 0 && !s->wants_finish;
    if (end != WIRE_END_EOF || !has_said_all) {
        verify->owed |= node_set_of(s->node);
    }
    if (end != WIRE_END_EOF) {
        verify->unproven_until_us[s->node] = verify->now_us + verify->plan.proof_us;
    }
}

static void lost(struct verify *verify, uint32_t wire, enum wire_end end)
{
    uint32_t nodes = verify->options.node_count;
    struct stream *s = &verify->streams[wire];
    bool was_ending = s->link == STREAM_ENDING;
    if (was_ending || (wire == VERIFY_WIRE_MEND(nodes) && s->link == STREAM_OPEN &&
                       verify_mend_is_under_way(verify))) {
        lost_in_doubt(verify, s, end);
    }
    s->link = STREAM_CLOSED;
    s->wants_finish = false;
    if (wire == VERIFY_WIRE_DUMP(nodes)) {
        retry_dump(verify);
    } else if (was_ending) {
        verify->cloud_us = verify->now_us; /* what it still did is done now, or is unproven */
    } else if (wire < nodes || verify->mend.step != VERIFY_MEND_REST) {
        verify_fail_end(verify, wire, end); /* the mender's may end while it rests */
    }
}

void verify_step(struct verify *verify, const struct wire_event *event, uint64_t now_us)
{
    REQUIRE(event->wire < VERIFY_WIRE_COUNT(verify->options.node_count));
    verify->now_us = now_us;
    struct stream *s = &verify->streams[event->wire];
    if (s->link == STREAM_CLOSED || s->link == STREAM_WANTED) {
        return; /* of a connection that we have given up */
    }
    s->heard_us = now_us;
    switch (event->type) {
    case WIRE_OPEN:
        s->link = STREAM_OPEN;
        break;
    case WIRE_BYTES:
        feed(verify, event->wire, event->bytes);
        break;
    case WIRE_WROTE:
        stream_wrote(s, event->wrote);
        break;
    case WIRE_CLOSED:
        lost(verify, event->wire, event->end);
        break;
    }
    if (is_running(verify)) {
        pump(verify);
        watch(verify);
    }
}

/* --- The interface --- */

void verify_start(struct verify *verify, const struct verify_plan *plan, uint64_t now_us)
{
    REQUIRE(!is_running(verify) && verify_is_at_rest(verify));
    verify->topology = *plan->topology;
    verify->plan = *plan;
    verify->plan.topology = &verify->topology;
    verify->now_us = now_us;
    verify->is_held = false;
    verify->cloud_us = now_us;
    verify->failure[0] = '\0';
    verify->nodes = plan->topology->complete;
    verify->progress = (struct verify_progress){.started_us = now_us};
    struct pace_options pace = {
        .rate_bytes = plan->rate_bytes,
        .rate_keys = plan->rate_keys,
        .window = verify->options.window,
    };
    pace_init(&verify->pace, &pace, now_us);
    verify_look_reset(verify);
    verify_mend_reset(verify);
    verify->table.of = key_class_all();
    verify_move(verify, VERIFY_DUMPING);
    if (node_set_count(verify->nodes) < 2) {
        verify_move(verify, VERIFY_COMPARING);
        verify_move(verify, VERIFY_DONE); /* nothing to differ from */
        return;
    }
    begin_pass(verify);
    watch(verify);
}

void verify_set_limits(struct verify *verify, const struct verify_limits *limits)
{
    REQUIRE(limits->window >= 1 && limits->window <= VERIFY_WINDOW_MAX);
    REQUIRE(limits->timeout_us > 0 && limits->settle_us > 0);
    pace_set_window(&verify->pace, limits->window);
    verify->options.window = limits->window;
    verify->options.timeout_us = limits->timeout_us;
    verify->options.settle_us = limits->settle_us;
}

void verify_set_rate(struct verify *verify, uint64_t rate_bytes, uint64_t rate_keys)
{
    pace_set_rate(&verify->pace, rate_bytes, rate_keys);
}

void verify_stop(struct verify *verify, uint64_t now_us)
{
    verify->now_us = now_us;
    if (is_running(verify)) {
        close_all(verify);
    }
    if (verify->state != VERIFY_IDLE) {
        verify_move(verify, VERIFY_IDLE);
    }
    verify->is_held = false;
}

void verify_hold(struct verify *verify, uint64_t now_us)
{
    verify->now_us = now_us;
    if (verify->is_held || !is_running(verify)) {
        return;
    }
    verify->is_held = true;
    verify->held_us = now_us;
    for (uint32_t i = 0; i < verify->slot_count; i++) {
        struct verify_slot *slot = &verify->slots[i];
        slot->to_copy = 0;
        slot->to_delete = 0;
        slot->to_take_back = 0;
        slot->to_clear = 0;
    }
    pump(verify);
    watch(verify);
}

void verify_go_on(struct verify *verify, uint64_t now_us)
{
    verify->now_us = now_us;
    if (!verify->is_held) {
        return;
    }
    verify->is_held = false;
    verify->cloud_us = now_us;
    if (is_running(verify)) {
        pump(verify);
        watch(verify);
    }
}

bool verify_is_at_rest(const struct verify *verify)
{
    if (!is_running(verify)) {
        return true;
    }
    if (!verify->is_held || verify->mend.step != VERIFY_MEND_REST) {
        return false;
    }
    for (uint32_t i = 0; i < verify->slot_count; i++) {
        if (verify->slots[i].ours != 0) {
            return false;
        }
    }
    return true;
}

node_set verify_given_up(const struct verify *verify)
{
    const struct stream *s = &verify->streams[VERIFY_WIRE_MEND(verify->options.node_count)];
    return s->link == STREAM_ENDING ? node_set_of(s->node) : 0;
}

node_set verify_unproven(const struct verify *verify, uint64_t now_us)
{
    node_set set = 0;
    for (uint32_t node = 0; node < verify->options.node_count; node++) {
        set |= now_us < verify->unproven_until_us[node] ? node_set_of(node) : 0;
    }
    return set;
}

node_set verify_owed(const struct verify *verify)
{
    return verify->owed;
}

void verify_take_owed(struct verify *verify)
{
    verify->owed = 0;
}

void verify_cloud(struct verify *verify, uint64_t now_us)
{
    verify->now_us = now_us;
    verify->cloud_us = now_us;
}

void verify_tick(struct verify *verify, uint64_t now_us)
{
    verify->now_us = now_us;
    if (!is_running(verify)) {
        return;
    }
    for (uint32_t wire = 0; wire < VERIFY_WIRE_COUNT(verify->options.node_count); wire++) {
        if (stream_is_silent(&verify->streams[wire], now_us, verify->options.timeout_us)) {
            verify_fail_end(verify, wire, WIRE_END_TIMEOUT);
        }
    }
    if (verify->is_held && !verify_is_at_rest(verify) &&
        now_us - verify->held_us >= verify->options.settle_us / 4) {
        /* Others wait for it. */
        verify_fail_end(verify, VERIFY_WIRE_MEND(verify->options.node_count), WIRE_END_TIMEOUT);
    }
    if (verify->state == VERIFY_DUMPING && verify->dump_retry_us != 0 &&
        now_us >= verify->dump_retry_us) {
        begin_dump(verify);
    }
    if (is_running(verify)) {
        pump(verify);
        watch(verify);
    }
}

bool verify_next_action(struct verify *verify, struct wire_action *out)
{
    for (uint32_t wire = 0; wire < VERIFY_WIRE_COUNT(verify->options.node_count); wire++) {
        if (stream_next_action(&verify->streams[wire], wire, out)) {
            return true;
        }
    }
    return false;
}

size_t verify_gather(const struct verify *verify, uint32_t wire, struct slice *out, size_t capacity)
{
    REQUIRE(wire < VERIFY_WIRE_COUNT(verify->options.node_count));
    return stream_gather(&verify->streams[wire], out, capacity);
}

enum verify_state verify_state(const struct verify *verify)
{
    return verify->state;
}

const char *verify_state_word(enum verify_state state)
{
    switch (state) {
    case VERIFY_IDLE:
        return "idle";
    case VERIFY_DUMPING:
        return "dumping";
    case VERIFY_COMPARING:
        return "comparing";
    case VERIFY_DONE:
        return "done";
    case VERIFY_FAILED:
        return "failed";
    }
    UNREACHABLE();
}

const char *verify_kind_word(enum verify_kind kind)
{
    static const char *const words[] = {
#define X(name, word) [VERIFY_KIND_##name] = (word),
        VERIFY_KIND_TABLE(X)
#undef X
    };
    return words[kind];
}

const char *verify_failure(const struct verify *verify)
{
    return verify->failure;
}

const struct verify_progress *verify_progress(const struct verify *verify)
{
    return &verify->progress;
}
