/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copying one key, a window of them at a time.
 *
 *            donor                         target                      donor
 *   READ     mg k v f t c u -----> STORE   ms k ME ... -----> LOOK     mg k c t u
 *     ^        |        |                    | NS              |  same: done
 *     |        |        +-> miss: gone       v                 |  changed
 *     |        |                           PEEK  mg k v ...    v
 *     |        |                             |               UNDO      md k C<our copy>  (target)
 *     |        |                             v                 |
 *     |        |                          COMPARE (donor, as READ)
 *     |        |                             | equal: LOOK;  different: STORE with C<what PEEK saw>
 *     |        +-> marked: CLEAR  md k, LOOK |                 |
 *     +--------------- start again ----------+-----------------+
 *
 * Why a copy never undoes a delete and never covers a newer value. Let a client's write W change
 * the key. W reaches the target only after it has reached the donor (writes to the target are
 * chained).
 *  - W reached the donor before LOOK was answered. Then either READ saw W's result already, and our
 *    copy is it; or LOOK sees another CAS or another expiry than READ did, and the copy goes.
 *  - W reached the donor after LOOK. Then it reaches the target later still, when our copy is in
 *    place (LOOK is not sent before STORE was answered), and lands on top of it.
 * The undo names the CAS of our own copy, so if W is on the target by then, W stays. "Stored
 * already" proves nothing about what is stored: it may be W's predecessor, whose successor is on
 * its way, or an item that the donor has lost; so it is compared, and what replaces it names the
 * CAS of what was compared. What the donor has not, and the target's dump had not, is left alone on
 * the target: I1 of fill.c says that a chained write put it there, and a chained delete will take
 * it away. What the target's dump had is replaced or deleted (DROP, md k C<seen>) on the condition
 * that it is still that: a chained write since then has another token, and stays.
 *
 * A store that the target refuses for size or memory has removed what was there, possibly a newer
 * and smaller value; so that, too, ends with CLEAR and LOOK, and starts again if the donor changed.
 *
 * After FILL_TRIES_MAX starts the key stays as the undo left it: absent, or as chained writes made
 * it.
 *
 * READ and LOOK take the one recache win of an item that a client has marked stale, if no client
 * has had it yet. At its end such a slot gives it back (GIVE_BACK, md k I C<cas> E<cas>), unless
 * the item changed; otherwise nobody would ever be asked to refresh it. Without `E` the item has
 * another CAS then, and a client that knows the old one has to ask again.
 *
 * Room: a slot reserves a line, and room for its value before the value is asked for. The dump told
 * the size; a value that has grown since beyond what is free is read to its end, dropped and asked
 * for again with its new size. Commands to the target wait while a value is coming in.
 */
#include "fill_private.h"

#include "token.h"

#include "everwarm/base/invariant.h"
#include "everwarm/core/rule.h"
#include "everwarm/mc/encode.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

enum { FILL_MILLION = 1000000 };

/* --- Queues --- */

static void queue_put(struct fill_queue *q, uint16_t slot)
{
    INVARIANT(q->count < FILL_WINDOW_MAX);
    q->slots[(q->head + q->count) % FILL_WINDOW_MAX] = slot;
    q->count++;
}

static uint16_t queue_head(const struct fill_queue *q)
{
    INVARIANT(q->count > 0);
    return q->slots[q->head];
}

static uint16_t queue_take(struct fill_queue *q)
{
    uint16_t slot = queue_head(q);
    q->head = (q->head + 1) % FILL_WINDOW_MAX;
    q->count--;
    return slot;
}

/* --- Life of the whole --- */

size_t fill_copy_bytes(const struct fill_options *options)
{
    (void)options;
    return FILL_WINDOW_MAX * sizeof(struct fill_slot) + sizeof(XXH64_state_t);
}

void fill_copy_init(struct fill *fill, void *memory)
{
    fill->copy.slots = memory;
    fill->copy.peek_hash = fill->copy.slots + FILL_WINDOW_MAX;
    fill_copy_reset(fill);
}

void fill_set_limits(struct fill *fill, const struct fill_limits *limits)
{
    REQUIRE(limits->window >= 1 && limits->window <= FILL_WINDOW_MAX && limits->timeout_us > 0);
    if (fill->options.rate_bytes != limits->rate_bytes) {
        pace_set_rate(&fill->copy.pace, limits->rate_bytes, fill->options.rate_keys);
    }
    pace_set_window(&fill->copy.pace, limits->window);
    fill->options.rate_bytes = limits->rate_bytes;
    fill->options.window = limits->window;
    fill->options.timeout_us = limits->timeout_us;
}

void fill_copy_reset(struct fill *fill)
{
    fill->copy = (struct fill_copy){
        .slots = fill->copy.slots,
        .peek_hash = fill->copy.peek_hash,
    };
    struct pace_options pace = {
        .rate_bytes = fill->options.rate_bytes,
        .rate_keys = fill->options.rate_keys,
        .window = fill->options.window,
    };
    pace_init(&fill->copy.pace, &pace, fill->now_us);
    for (uint32_t i = 0; i < FILL_WINDOW_MAX; i++) {
        fill->copy.slots[i] = (struct fill_slot){.state = FILL_SLOT_FREE};
        queue_put(&fill->copy.free, (uint16_t)i);
    }
}

bool fill_copy_is_owed(const struct fill *fill, enum fill_wire wire)
{
    return wire == FILL_WIRE_TARGET ? fill->copy.at_target.count > 0
                                    : wire == FILL_WIRE_DONOR && fill->copy.at_donor.count > 0;
}

static void reserve(struct fill *fill, struct fill_slot *slot, uint64_t bytes)
{
    fill->copy.reserved += bytes - slot->reserved;
    slot->reserved = (uint32_t)bytes;
}

/* --- Commands --- */

static uint16_t slot_index(const struct fill *fill, const struct fill_slot *slot)
{
    return (uint16_t)(slot - fill->copy.slots);
}

/* What each state may turn to. Whatever ends a slot may first give a win back. */
enum { SLOT_ENDS = 1u << FILL_SLOT_FREE | 1u << FILL_SLOT_GIVE_BACK };

static const uint32_t slot_moves[] = {
    [FILL_SLOT_FREE] = 1u << FILL_SLOT_READ | 1u << FILL_SLOT_WAIT | 1u << FILL_SLOT_SPLIT_LOOK,
    [FILL_SLOT_WAIT] = 1u << FILL_SLOT_READ | 1u << FILL_SLOT_COMPARE,
    [FILL_SLOT_READ] = 1u << FILL_SLOT_STORE | 1u << FILL_SLOT_CLEAR | 1u << FILL_SLOT_WAIT |
                       1u << FILL_SLOT_DROP | SLOT_ENDS,
    [FILL_SLOT_STORE] = 1u << FILL_SLOT_LOOK | 1u << FILL_SLOT_PEEK | 1u << FILL_SLOT_WAIT |
                        1u << FILL_SLOT_CLEAR | 1u << FILL_SLOT_DROP | SLOT_ENDS,
    [FILL_SLOT_PEEK] =
        1u << FILL_SLOT_WAIT | 1u << FILL_SLOT_CLEAR | 1u << FILL_SLOT_DROP | SLOT_ENDS,
    [FILL_SLOT_COMPARE] = 1u << FILL_SLOT_STORE | 1u << FILL_SLOT_LOOK | 1u << FILL_SLOT_CLEAR |
                          1u << FILL_SLOT_WAIT | 1u << FILL_SLOT_DROP | SLOT_ENDS,
    [FILL_SLOT_LOOK] = 1u << FILL_SLOT_UNDO | 1u << FILL_SLOT_WAIT | 1u << FILL_SLOT_CLEAR |
                       1u << FILL_SLOT_DROP | SLOT_ENDS,
    [FILL_SLOT_UNDO] =
        1u << FILL_SLOT_WAIT | 1u << FILL_SLOT_CLEAR | 1u << FILL_SLOT_DROP | SLOT_ENDS,
    [FILL_SLOT_CLEAR] = 1u << FILL_SLOT_LOOK | 1u << FILL_SLOT_WAIT | SLOT_ENDS,
    [FILL_SLOT_DROP] = SLOT_ENDS,
    [FILL_SLOT_GIVE_BACK] = 1u << FILL_SLOT_FREE,
    [FILL_SLOT_SPLIT_LOOK] = 1u << FILL_SLOT_SPLIT_PEEK | SLOT_ENDS,
    [FILL_SLOT_SPLIT_PEEK] = 1u << FILL_SLOT_SPLIT_DROP | 1u << FILL_SLOT_SPLIT_FORGET | SLOT_ENDS,
    [FILL_SLOT_SPLIT_DROP] = 1u << FILL_SLOT_SPLIT_FORGET | SLOT_ENDS,
    [FILL_SLOT_SPLIT_FORGET] = SLOT_ENDS,
};

static void slot_move(struct fill_slot *slot, enum fill_slot_state to)
{
    INVARIANT((slot_moves[slot->state] & 1u << to) != 0);
    slot->state = to;
}

void fill_copy_send(struct fill *fill, enum fill_wire wire, struct fill_slot *slot,
                    enum fill_slot_state state, struct slice line)
{
    struct fill_queue *owed =
        wire == FILL_WIRE_DONOR ? &fill->copy.at_donor : &fill->copy.at_target;
    slot_move(slot, state);
    if (fill_wire_send(fill, wire, line)) {
        queue_put(owed, slot_index(fill, slot));
    }
}

static void send_donor(struct fill *fill, struct fill_slot *slot, enum fill_slot_state state)
{
    char line[FILL_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    if (state == FILL_SLOT_GIVE_BACK) {
        item_write_give_back(&w, slot->key, slot->won_cas, fill->plan.topology->has_tokens);
    } else {
        mc_write(&w, SLICE("mg "));
        mc_write_key(&w, slot->key);
        mc_write_key_flag(&w, slot->key);
        mc_write(&w, state == FILL_SLOT_LOOK ? SLICE(" c t u\r\n") : SLICE(" v f t c u\r\n"));
    }
    fill_copy_send(fill, FILL_WIRE_DONOR, slot, state, slice_of(line, w.len));
}

/* PEEK, UNDO, CLEAR or DROP, as the slot's state says. */
static void send_target_now(struct fill *fill, uint16_t index)
{
    struct fill_slot *slot = &fill->copy.slots[index];
    char line[FILL_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    mc_write(&w, slot->state == FILL_SLOT_PEEK ? SLICE("mg ") : SLICE("md "));
    mc_write_key(&w, slot->key);
    mc_write_key_flag(&w, slot->key);
    if (slot->state == FILL_SLOT_PEEK) {
        mc_write(&w, SLICE(" v f t c u"));
    } else if (slot->state == FILL_SLOT_UNDO && RULE(UNDO_IF_OURS)) {
        mc_write(&w, SLICE(" C"));
        mc_write_u64(&w, slot->our_cas);
    } else if (slot->state == FILL_SLOT_DROP && RULE(UNDO_IF_OURS)) {
        mc_write(&w, SLICE(" C"));
        mc_write_u64(&w, slot->seen_cas);
    }
    mc_write(&w, SLICE("\r\n"));
    if (fill_wire_send(fill, FILL_WIRE_TARGET, slice_of(line, w.len))) {
        queue_put(&fill->copy.at_target, index);
    }
}

static void send_target(struct fill *fill, struct fill_slot *slot, enum fill_slot_state state)
{
    slot_move(slot, state);
    if (fill->copy.value == FILL_VALUE_PLACED) {
        queue_put(&fill->copy.held, slot_index(fill, slot));
    } else {
        send_target_now(fill, slot_index(fill, slot));
    }
}

static void send_held(struct fill *fill)
{
    while (fill->copy.held.count > 0) {
        send_target_now(fill, queue_take(&fill->copy.held));
    }
}

/* --- Ends of a try --- */

void fill_copy_finish(struct fill *fill, struct fill_slot *slot, enum fill_outcome outcome)
{
    struct fill_progress *progress = &fill->progress;
    if (slot->won_cas != 0 && slot->state != FILL_SLOT_GIVE_BACK) {
        slot->outcome = outcome;
        send_donor(fill, slot, FILL_SLOT_GIVE_BACK);
        return;
    }
    progress->items_done++;
    switch (outcome) {
    case FILL_OUTCOME_COPIED:
        progress->items_copied++;
        progress->bytes_done += slot->donor.value_bytes;
        break;
    case FILL_OUTCOME_EQUAL:
        progress->items_equal++;
        break;
    case FILL_OUTCOME_GONE:
        progress->items_gone++;
        break;
    case FILL_OUTCOME_SKIPPED:
        progress->items_skipped++;
        break;
    case FILL_OUTCOME_FORGOTTEN:
        progress->items_forgotten++;
        break;
    case FILL_OUTCOME_PASSED:
        break;
    }
    reserve(fill, slot, 0);
    slot_move(slot, FILL_SLOT_FREE);
    fill->copy.busy--;
    queue_put(&fill->copy.free, slot_index(fill, slot));
}

/* Nothing is to be on the target but what chained writes store; what its dump showed may be. */
static void leave(struct fill *fill, struct fill_slot *slot, enum fill_outcome outcome)
{
    if (slot->seen_cas == 0) {
        fill_copy_finish(fill, slot, outcome);
        return;
    }
    slot->outcome = outcome;
    send_target(fill, slot, FILL_SLOT_DROP);
}

static void wait(struct fill *fill, struct fill_slot *slot, enum fill_slot_state reread)
{
    reserve(fill, slot, FILL_LINE_BYTES);
    slot_move(slot, FILL_SLOT_WAIT);
    slot->reread = reread;
    queue_put(&fill->copy.waiting, slot_index(fill, slot));
}

/* From the start. Nothing of ours is on the target. */
static void restart(struct fill *fill, struct fill_slot *slot)
{
    slot->our_cas = 0;
    slot->tries++;
    if (slot->tries == FILL_TRIES_MAX) {
        leave(fill, slot, FILL_OUTCOME_SKIPPED);
        return;
    }
    wait(fill, slot, FILL_SLOT_READ);
}

static void clear(struct fill *fill, struct fill_slot *slot, enum fill_outcome outcome)
{
    slot->our_cas = 0;
    slot->outcome = outcome;
    send_target(fill, slot, FILL_SLOT_CLEAR);
}

/* --- Reads --- */

static uint64_t room_for(const struct fill_slot *slot)
{
    return FILL_LINE_BYTES + slot->size_bytes + 2;
}

/* Send the read that the slot waits for, if memory allows. */
static bool read_slot(struct fill *fill, struct fill_slot *slot, enum fill_slot_state state)
{
    uint64_t most = fill->streams[FILL_WIRE_TARGET].out.capacity;
    if (fill->copy.reserved - slot->reserved + room_for(slot) > most) {
        return false;
    }
    reserve(fill, slot, room_for(slot));
    slot->charged = slot->key.len + slot->size_bytes;
    pace_charge(&fill->copy.pace, slot->charged);
    slot->sent_us = fill->now_us;
    send_donor(fill, slot, state);
    return true;
}

static bool pump_waiting(struct fill *fill)
{
    struct fill_slot *slot = &fill->copy.slots[queue_head(&fill->copy.waiting)];
    if (!read_slot(fill, slot, slot->reread)) {
        return false;
    }
    (void)queue_take(&fill->copy.waiting);
    return true;
}

static bool pump_list(struct fill *fill)
{
    struct fill_copy *copy = &fill->copy;
    struct fill_key next;
    bool is_early = fill->is_forgetting && fill->now_us < fill->forget_us;
    if (is_early || copy->busy >= copy->pace.window || !fill_list_peek(&fill->list, &next)) {
        return false;
    }
    struct fill_slot *slot = &copy->slots[queue_head(&copy->free)];
    uint64_t most = fill->options.item_bytes_max;
    const struct dump_entry *seen = fill_dump_seen(fill, next.key);
    *slot = (struct fill_slot){
        .key = next.key,
        .seen_cas = seen != NULL ? seen->first.cas : 0,
        .dumped_cas = next.cas,
        .size_bytes = next.size_bytes < most ? next.size_bytes : most,
    };
    if (fill->is_forgetting) {
        fill_split_begin(fill, slot);
    } else if (!read_slot(fill, slot, FILL_SLOT_READ)) {
        return false;
    }
    (void)queue_take(&copy->free);
    copy->busy++;
    fill_list_skip(&fill->list);
    return true;
}

bool fill_copy_pump(struct fill *fill)
{
    pace_refill(&fill->copy.pace, fill->now_us);
    bool is_going = fill->streams[FILL_WIRE_DONOR].link == STREAM_OPEN;
    while (is_going && fill->state == FILL_COPYING && !pace_is_used_up(&fill->copy.pace)) {
        is_going = fill->copy.waiting.count > 0 ? pump_waiting(fill) : pump_list(fill);
    }
    struct fill_key next;
    return fill->copy.busy > 0 || fill_list_peek(&fill->list, &next);
}

/* --- Values from the donor --- */

static int64_t target_time_s(const struct fill *fill)
{
    uint64_t passed_s = (fill->now_us - fill->target_time_us) / FILL_MILLION;
    return (int64_t)(fill->target_time_s + passed_s);
}

/* The read under way costs so much, not what was thought before. */
static void recharge(struct fill *fill, struct fill_slot *slot, uint64_t bytes)
{
    pace_recharge(&fill->copy.pace, slot->charged, bytes);
    slot->charged = bytes;
}

/* Bytes behind what is sent to the target; sent or taken back when the value is complete. */
static void place(struct fill *fill, struct slice bytes)
{
    struct stream *target = &fill->streams[FILL_WIRE_TARGET];
    if (fill_wire_send(fill, FILL_WIRE_TARGET, bytes)) {
        target->hidden += (uint32_t)bytes.len;
    }
}

static void take_back(struct fill *fill)
{
    struct stream *target = &fill->streams[FILL_WIRE_TARGET];
    target->out.tail -= target->hidden;
    target->hidden = 0;
}

static void place_head(struct fill *fill, const struct fill_slot *slot, int64_t ttl_s)
{
    char line[FILL_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    mc_write(&w, SLICE("ms "));
    mc_write_key(&w, slot->key);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, slot->donor.value_bytes);
    mc_write_key_flag(&w, slot->key);
    if (slot->state == FILL_SLOT_COMPARE) {
        mc_write(&w, SLICE(" C"));
        mc_write_u64(&w, slot->target.cas);
    } else if (slot->seen_cas != 0 && slot->tries == 0) {
        mc_write(&w, SLICE(" C"));
        mc_write_u64(&w, slot->seen_cas);
    } else {
        mc_write(&w, SLICE(" ME"));
    }
    if (fill->plan.topology->has_tokens && token_is(slot->donor.cas)) {
        mc_write(&w, SLICE(" E"));
        mc_write_u64(&w, slot->donor.cas);
    }
    mc_write(&w, SLICE(" F"));
    mc_write_u64(&w, slot->donor.flags);
    mc_write(&w, SLICE(" T"));
    mc_write_i64(&w, item_exptime(ttl_s, target_time_s(fill)));
    mc_write(&w, SLICE(" c\r\n"));
    place(fill, slice_of(line, w.len));
}

/* Is there room for the value that was announced? */
static bool has_room(struct fill *fill, struct fill_slot *slot)
{
    uint64_t bytes = slot->donor.value_bytes;
    if (bytes > fill->options.item_bytes_max) {
        return false;
    }
    if (bytes <= slot->size_bytes) {
        return true;
    }
    slot->size_bytes = bytes;
    uint64_t most = fill->streams[FILL_WIRE_TARGET].out.capacity;
    if (fill->copy.reserved - slot->reserved + room_for(slot) > most) {
        return false;
    }
    reserve(fill, slot, room_for(slot));
    return true;
}

static void note_win(struct fill_slot *slot, const struct mc_reply *reply)
{
    if (reply->is_won) {
        slot->won_cas = reply->cas;
    }
}

/* The head of a value is in: decide what becomes of it. The slot stays first in the queue. */
static void begin_value(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    if (!reply->has_cas || !reply->has_ttl) {
        fill_wire_fail(fill, FILL_WIRE_DONOR, WIRE_END_PROTOCOL);
        return;
    }
    if (reply->cas == 0) {
        fill_fail(fill, FILL_WIRE_DONOR, SLICE("has no CAS (option -C): changes can't be seen"));
        return;
    }
    note_win(slot, reply);
    slot->donor = item_of(reply, fill->now_us);
    recharge(fill, slot, slot->key.len + reply->value_bytes);
    if (slot->donor.is_marked || item_is_expired(&slot->donor) || !has_room(fill, slot)) {
        fill->copy.value = FILL_VALUE_DROPPED;
        return;
    }
    fill->copy.value = FILL_VALUE_PLACED;
    place_head(fill, slot, reply->ttl_s);
}

/* XXH64 of the value that ends just before the CRLF that is last in the target's ring. */
static uint64_t hash_placed(const struct fill *fill, uint64_t value_bytes)
{
    struct byte_ring value = fill->streams[FILL_WIRE_TARGET].out;
    value.tail -= 2;
    value.head = value.tail - (uint32_t)value_bytes;
    struct slice pieces[2];
    size_t count = byte_ring_slices(&value, pieces);
    XXH64_state_t state;
    (void)XXH64_reset(&state, 0);
    for (size_t i = 0; i < count; i++) {
        (void)XXH64_update(&state, pieces[i].ptr, pieces[i].len);
    }
    return XXH64_digest(&state);
}

static void drop_value(struct fill *fill, struct fill_slot *slot)
{
    if (slot->donor.is_marked) {
        clear(fill, slot, FILL_OUTCOME_GONE);
    } else if (item_is_expired(&slot->donor)) {
        leave(fill, slot, FILL_OUTCOME_GONE);
    } else if (slot->donor.value_bytes > fill->options.item_bytes_max) {
        clear(fill, slot, FILL_OUTCOME_SKIPPED);
    } else {
        restart(fill, slot); /* it has grown, and the slot knows its new size */
    }
}

/* A copy carries the token of what it is a copy of, if that has one. */
static bool is_version_equal(const struct fill *fill, const struct fill_slot *slot)
{
    return !fill->plan.topology->has_tokens || !token_is(slot->donor.cas) ||
           slot->donor.cas == slot->target.cas;
}

static void end_placed(struct fill *fill, struct fill_slot *slot)
{
    place(fill, SLICE("\r\n"));
    if (fill->state != FILL_COPYING) {
        return;
    }
    if (slot->state == FILL_SLOT_COMPARE) {
        slot->donor.hash = hash_placed(fill, slot->donor.value_bytes);
        if (item_is_copy_equal(&slot->donor, &slot->target) && is_version_equal(fill, slot)) {
            take_back(fill);
            slot->outcome = FILL_OUTCOME_EQUAL;
            send_donor(fill, slot, FILL_SLOT_LOOK);
            return;
        }
    }
    fill->streams[FILL_WIRE_TARGET].hidden = 0;
    slot->outcome = FILL_OUTCOME_COPIED;
    slot_move(slot, FILL_SLOT_STORE);
    queue_put(&fill->copy.at_target, slot_index(fill, slot));
}

static void end_donor_value(struct fill *fill)
{
    struct fill_slot *slot = &fill->copy.slots[queue_take(&fill->copy.at_donor)];
    bool was_placed = fill->copy.value == FILL_VALUE_PLACED;
    fill->copy.value = FILL_VALUE_NONE;
    if (was_placed) {
        end_placed(fill, slot);
    } else {
        drop_value(fill, slot);
    }
    if (fill->state == FILL_COPYING) {
        send_held(fill);
    }
}

void fill_copy_value(struct fill *fill, enum fill_wire wire, struct slice piece)
{
    if (wire == FILL_WIRE_TARGET) {
        (void)XXH64_update(fill->copy.peek_hash, piece.ptr, piece.len);
    } else if (fill->copy.value == FILL_VALUE_PLACED) {
        place(fill, piece);
    }
}

void fill_copy_value_end(struct fill *fill, enum fill_wire wire)
{
    if (wire == FILL_WIRE_DONOR) {
        end_donor_value(fill);
        return;
    }
    struct fill_slot *slot = &fill->copy.slots[queue_take(&fill->copy.at_target)];
    slot->target.hash = XXH64_digest(fill->copy.peek_hash);
    wait(fill, slot, FILL_SLOT_COMPARE);
}

/* --- Replies --- */

static void looked(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    note_win(slot, reply);
    if (!RULE(LOOK_AGAIN)) {
        fill_copy_finish(fill, slot, slot->outcome);
        return;
    }
    if (reply->kind == MC_REPLY_HD) {
        if (!reply->has_cas || !reply->has_ttl) {
            fill_wire_fail(fill, FILL_WIRE_DONOR, WIRE_END_PROTOCOL);
            return;
        }
        struct item now = item_of(reply, fill->now_us);
        if (item_is_unchanged(&slot->donor, &now)) {
            fill_copy_finish(fill, slot, slot->outcome);
            return;
        }
    } else if (reply->kind != MC_REPLY_EN && reply->kind != MC_REPLY_SERVER_ERROR) {
        fill_wire_fail(fill, FILL_WIRE_DONOR, WIRE_END_PROTOCOL);
        return;
    }
    if (slot->our_cas != 0) {
        fill->progress.items_undone++;
        send_target(fill, slot, FILL_SLOT_UNDO);
    } else {
        restart(fill, slot);
    }
}

static void read_answered(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    pace_learn(&fill->copy.pace, fill->now_us - slot->sent_us);
    if (reply->kind == MC_REPLY_VA) {
        begin_value(fill, slot, reply);
        return;
    }
    (void)queue_take(&fill->copy.at_donor);
    recharge(fill, slot, slot->key.len);
    if (reply->kind == MC_REPLY_EN) {
        leave(fill, slot, FILL_OUTCOME_GONE);
    } else if (reply->kind == MC_REPLY_SERVER_ERROR) {
        restart(fill, slot);
    } else {
        fill_wire_fail(fill, FILL_WIRE_DONOR, WIRE_END_PROTOCOL);
    }
}

static void stored(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    reserve(fill, slot, FILL_LINE_BYTES);
    if (reply->kind == MC_REPLY_HD && reply->has_cas && reply->cas != 0) {
        slot->our_cas = reply->cas;
        send_donor(fill, slot, FILL_SLOT_LOOK);
    } else if (reply->kind == MC_REPLY_NS && !RULE(EXISTS_IS_NOT_DONE)) {
        fill_copy_finish(fill, slot, FILL_OUTCOME_EQUAL);
    } else if (reply->kind == MC_REPLY_NS) {
        send_target(fill, slot, FILL_SLOT_PEEK);
    } else if (reply->kind == MC_REPLY_EX || reply->kind == MC_REPLY_NF) {
        restart(fill, slot);
    } else if (reply->kind == MC_REPLY_SERVER_ERROR) {
        clear(fill, slot, FILL_OUTCOME_SKIPPED);
    } else {
        fill_wire_fail(fill, FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
    }
}

/* The value that VA announces is hashed as it comes; the slot stays first in the queue. */
static void begin_peek(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    if (!reply->has_cas || !reply->has_ttl) {
        fill_wire_fail(fill, FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
        return;
    }
    slot->target = item_of(reply, fill->now_us);
    (void)XXH64_reset(fill->copy.peek_hash, 0);
}

static void peeked(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_VA) {
        begin_peek(fill, slot, reply);
        return;
    }
    (void)queue_take(&fill->copy.at_target);
    if (reply->kind == MC_REPLY_EN || reply->kind == MC_REPLY_SERVER_ERROR) {
        restart(fill, slot);
    } else {
        fill_wire_fail(fill, FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
    }
}

static void deleted(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    bool is_over = reply->kind == MC_REPLY_HD || reply->kind == MC_REPLY_NF ||
                   (reply->kind == MC_REPLY_EX && slot->state != FILL_SLOT_CLEAR);
    if (!is_over) {
        fill_wire_fail(fill, FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
    } else if (slot->state == FILL_SLOT_DROP) {
        fill_copy_finish(fill, slot, slot->outcome);
    } else if (slot->state == FILL_SLOT_CLEAR) {
        send_donor(fill, slot, FILL_SLOT_LOOK);
    } else {
        restart(fill, slot);
    }
}

static void gave_back(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_HD || reply->kind == MC_REPLY_NF || reply->kind == MC_REPLY_EX) {
        fill_copy_finish(fill, slot, slot->outcome);
    } else {
        fill_wire_fail(fill, FILL_WIRE_DONOR, WIRE_END_PROTOCOL);
    }
}

static void take_donor_reply(struct fill *fill, const struct mc_reply *reply)
{
    struct fill_slot *slot = &fill->copy.slots[queue_head(&fill->copy.at_donor)];
    if (slot->state == FILL_SLOT_READ || slot->state == FILL_SLOT_COMPARE) {
        read_answered(fill, slot, reply);
        return;
    }
    (void)queue_take(&fill->copy.at_donor);
    if (slot->state == FILL_SLOT_LOOK) {
        looked(fill, slot, reply);
    } else if (slot->state == FILL_SLOT_GIVE_BACK) {
        gave_back(fill, slot, reply);
    } else {
        fill_split_reply(fill, slot, reply);
    }
}

static void take_target_reply(struct fill *fill, const struct mc_reply *reply)
{
    struct fill_slot *slot = &fill->copy.slots[queue_head(&fill->copy.at_target)];
    if (slot->state == FILL_SLOT_PEEK) {
        peeked(fill, slot, reply);
        return;
    }
    (void)queue_take(&fill->copy.at_target);
    if (slot->state == FILL_SLOT_STORE) {
        stored(fill, slot, reply);
    } else if (fill->is_forgetting) {
        fill_split_reply(fill, slot, reply);
    } else {
        deleted(fill, slot, reply);
    }
}

void fill_copy_reply(struct fill *fill, enum fill_wire wire, const struct mc_reply *reply)
{
    if (!fill_copy_is_owed(fill, wire)) {
        fill_wire_fail(fill, wire, WIRE_END_PROTOCOL);
    } else if (wire == FILL_WIRE_DONOR) {
        take_donor_reply(fill, reply);
    } else {
        take_target_reply(fill, reply);
    }
}
