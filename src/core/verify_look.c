/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One key's copies, compared with its leader's.
 *
 *   LOOK ── all equal ──► done
 *    ▲ └─── some differ ──► DUE ──► LOOK ── the same pair again: a difference ──► MEND
 *    │                       ▲        └──── another pair: a write was under way ──► DUE
 *    └───── settle_us ───────┴──────────────────────────────────────────────────────┘
 *   at the end, if a look of ours took a stale item's recache win: GIVE_BACK (as in fill_copy.c)
 *
 * I1. A difference is what was seen twice, settle_us apart: no write takes longer than that, but
 *     one that was given up, and looks begun before the end of those do not count (cloud_us).
 * I2. What was mended is looked at again, settle_us later, as anything that differed: a write that
 *     was under way while the copy was made shows by then. A copy put where there was nothing goes
 *     if the leader has another item by then: a delete may have come there before the copy, and
 *     finds nothing to delete any more.
 * I3. A copy's item is read only as far as it is compared: with tokens without its value.
 */
#include "verify_private.h"

#include "everwarm/base/invariant.h"
#include "everwarm/mc/encode.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

enum { VERIFY_EQUAL = VERIFY_KIND_COUNT };

/* --- Queues and slots --- */

void verify_queue_put(struct verify_queue *queue, uint16_t slot)
{
    INVARIANT(queue->count < VERIFY_SLOTS_MAX);
    queue->slots[(queue->head + queue->count) % VERIFY_SLOTS_MAX] = slot;
    queue->count++;
}

uint16_t verify_queue_take(struct verify_queue *queue)
{
    INVARIANT(queue->count > 0);
    uint16_t slot = queue->slots[queue->head];
    queue->head = (queue->head + 1) % VERIFY_SLOTS_MAX;
    queue->count--;
    return slot;
}

static size_t slot_bytes(const struct verify_options *options)
{
    return sizeof(struct verify_slot) +
           options->node_count * (2 * sizeof(struct item) + sizeof(uint64_t));
}

size_t verify_look_bytes(const struct verify_options *options)
{
    return VERIFY_SLOTS_MAX * slot_bytes(options) + options->node_count * sizeof(XXH64_state_t);
}

void verify_look_init(struct verify *verify, char *memory)
{
    uint32_t nodes = verify->options.node_count;
    verify->slot_count = VERIFY_SLOTS_MAX;
    verify->slots = (struct verify_slot *)(void *)memory;
    struct item *items = (struct item *)(void *)(verify->slots + verify->slot_count);
    uint64_t *numbers = (uint64_t *)(void *)(items + 2 * (size_t)nodes * verify->slot_count);
    for (uint32_t i = 0; i < verify->slot_count; i++) {
        verify->slots[i].now = items + 2 * (size_t)nodes * i;
        verify->slots[i].before = verify->slots[i].now + nodes;
        verify->slots[i].our_cas = numbers + (size_t)nodes * i;
    }
    XXH64_state_t *hashes = (void *)(numbers + (size_t)nodes * verify->slot_count);
    for (uint32_t node = 0; node < nodes; node++) {
        verify->hashes[node] = hashes + node;
    }
}

void verify_look_reset(struct verify *verify)
{
    verify->free = (struct verify_queue){0};
    verify->due = (struct verify_queue){0};
    memset(verify->asked, 0, sizeof verify->asked);
    verify->looking = 0;
    verify->busy = 0;
    for (uint32_t i = 0; i < verify->slot_count; i++) {
        struct verify_slot *slot = &verify->slots[i];
        *slot = (struct verify_slot){
            .now = slot->now, .before = slot->before, .our_cas = slot->our_cas};
        verify_queue_put(&verify->free, (uint16_t)i);
    }
}

static uint16_t index_of(const struct verify *verify, const struct verify_slot *slot)
{
    return (uint16_t)(slot - verify->slots);
}

static void slot_move(struct verify *verify, struct verify_slot *slot, enum verify_slot_state to)
{
    static const uint8_t moves[] = {
        [VERIFY_SLOT_FREE] = 1u << VERIFY_SLOT_LOOK,
        [VERIFY_SLOT_LOOK] = 1u << VERIFY_SLOT_DUE | 1u << VERIFY_SLOT_MEND |
                             1u << VERIFY_SLOT_GIVE_BACK | 1u << VERIFY_SLOT_FREE,
        [VERIFY_SLOT_DUE] = 1u << VERIFY_SLOT_LOOK,
        [VERIFY_SLOT_MEND] =
            1u << VERIFY_SLOT_DUE | 1u << VERIFY_SLOT_GIVE_BACK | 1u << VERIFY_SLOT_FREE,
        [VERIFY_SLOT_GIVE_BACK] = 1u << VERIFY_SLOT_FREE,
    };
    INVARIANT((moves[slot->state] & 1u << to) != 0);
    verify->looking += to == VERIFY_SLOT_LOOK;
    verify->looking -= slot->state == VERIFY_SLOT_LOOK;
    slot->state = to;
}

static void give_back(struct verify *verify, struct verify_slot *slot)
{
    char line[VERIFY_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    item_write_give_back(&w, verify_key(slot), slot->won_cas, verify->plan.has_tokens);
    slot_move(verify, slot, VERIFY_SLOT_GIVE_BACK);
    if (verify_send(verify, slot->leader, slice_of(line, w.len))) {
        verify_queue_put(&verify->asked[slot->leader], index_of(verify, slot));
    }
}

static void finish(struct verify *verify, struct verify_slot *slot)
{
    if (slot->won_cas != 0 && slot->state != VERIFY_SLOT_GIVE_BACK) {
        give_back(verify, slot);
        return;
    }
    slot_move(verify, slot, VERIFY_SLOT_FREE);
    verify->progress.keys_done++;
    verify->busy--;
    verify_queue_put(&verify->free, index_of(verify, slot));
}

static void look_later(struct verify *verify, struct verify_slot *slot)
{
    slot->due_us = verify->now_us + verify->options.settle_us;
    slot_move(verify, slot, VERIFY_SLOT_DUE);
    verify_queue_put(&verify->due, index_of(verify, slot));
}

struct slice verify_key(const struct verify_slot *slot)
{
    return slice_of(slot->entry->key, slot->entry->key_bytes);
}

/* --- Asking --- */

static node_set nodes_of(const struct verify *verify, uint32_t leader)
{
    uint32_t only = verify->plan.node;
    return only == VERIFY_ALL_NODES || only == leader ? verify->nodes
                                                      : node_set_of(only) | node_set_of(leader);
}

static void ask(struct verify *verify, struct verify_slot *slot)
{
    char line[VERIFY_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    mc_write(&w, SLICE("mg "));
    mc_write_key(&w, verify_key(slot));
    mc_write_key_flag(&w, verify_key(slot));
    mc_write(&w, verify->plan.has_tokens ? SLICE(" f t c u\r\n") : SLICE(" v f t c u\r\n"));
    slot_move(verify, slot, VERIFY_SLOT_LOOK);
    slot->sent_us = verify->now_us;
    slot->present_before = slot->present;
    slot->present = 0;
    slot->is_void = false;
    struct item *before = slot->before;
    slot->before = slot->now;
    slot->now = before;
    slot->asked = nodes_of(verify, slot->leader);
    slot->charged = slot->entry->key_bytes;
    if (!verify->plan.has_tokens) {
        slot->charged += (uint64_t)slot->entry->size_bytes * node_set_count(slot->asked);
    }
    pace_charge(&verify->pace, slot->charged);
    for (node_set left = slot->asked; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (!verify_send(verify, node, slice_of(line, w.len))) {
            return;
        }
        verify_queue_put(&verify->asked[node], index_of(verify, slot));
    }
}

static bool take_entry(struct verify *verify)
{
    struct dump_entry *entry;
    do {
        entry = dump_table_next(&verify->table);
        if (entry == NULL) {
            return false;
        }
        bool is_equal = entry->seen == verify->nodes && entry->differs == 0;
        if (!verify->plan.has_tokens || !is_equal) {
            break;
        }
        verify->progress.keys_done++; /* the dumps have told */
    } while (true);
    uint16_t index = verify_queue_take(&verify->free);
    struct verify_slot *slot = &verify->slots[index];
    *slot = (struct verify_slot){
        .entry = entry,
        .leader = topology_leader(&verify->topology, entry->hash),
        .now = slot->now,
        .before = slot->before,
        .our_cas = slot->our_cas,
    };
    verify->busy++;
    ask(verify, slot);
    return true;
}

static bool take_due(struct verify *verify)
{
    if (verify->due.count == 0) {
        return false;
    }
    struct verify_slot *slot = &verify->slots[verify->due.slots[verify->due.head]];
    if (verify->now_us < slot->due_us) {
        return false;
    }
    (void)verify_queue_take(&verify->due);
    ask(verify, slot);
    return true;
}

static bool are_open(const struct verify *verify)
{
    for (node_set left = verify->nodes; left != 0; left &= left - 1) {
        if (verify->streams[node_set_first(left)].link != STREAM_OPEN) {
            return false;
        }
    }
    return true;
}

bool verify_look_pump(struct verify *verify)
{
    pace_refill(&verify->pace, verify->now_us);
    if (verify->is_held || verify->now_us <= verify->cloud_us || !are_open(verify)) {
        return true;
    }
    bool is_going = true;
    while (is_going && verify->state == VERIFY_COMPARING && !pace_is_used_up(&verify->pace) &&
           verify->looking < verify->pace.window) {
        is_going = take_due(verify) || (verify->free.count > 0 && take_entry(verify));
    }
    return verify->busy > 0 || verify->table.next < verify->table.used;
}

/* --- Judging --- */

static bool is_copied_item(const struct verify_slot *slot, uint32_t node)
{
    return (slot->present & node_set_of(node)) != 0 && !slot->now[node].is_marked;
}

/* How NODE's copy differs from the leader's item, without regard to evictions. */
static uint32_t difference(const struct verify *verify, const struct verify_slot *slot,
                           uint32_t node)
{
    bool is_there = (slot->present & node_set_of(node)) != 0;
    const struct item *leader = &slot->now[slot->leader];
    const struct item *copy = &slot->now[node];
    if (!is_copied_item(slot, slot->leader)) {
        return is_there ? VERIFY_KIND_EXTRA : VERIFY_EQUAL;
    }
    if (!is_there) {
        return VERIFY_KIND_MISSING;
    }
    bool is_version = verify->plan.has_tokens
                          ? leader->cas == copy->cas
                          : leader->hash == copy->hash && leader->value_bytes == copy->value_bytes;
    if (!is_version || leader->flags != copy->flags || copy->is_marked) {
        return VERIFY_KIND_VERSION;
    }
    return item_is_expiry_equal(leader, copy) ? VERIFY_EQUAL : VERIFY_KIND_EXPIRY;
}

static bool is_evicted(const struct verify *verify, const struct verify_slot *slot, uint32_t node,
                       uint32_t kind)
{
    uint32_t by = kind == VERIFY_KIND_MISSING ? node : slot->leader;
    return (kind == VERIFY_KIND_MISSING || kind == VERIFY_KIND_EXTRA) &&
           (verify->plan.evicting & node_set_of(by)) != 0;
}

/* NODE shows what it showed at the look before. */
static bool is_as_before(const struct verify_slot *slot, uint32_t node)
{
    node_set bit = node_set_of(node);
    if ((slot->present & bit) != (slot->present_before & bit)) {
        return false;
    }
    return (slot->present & bit) == 0 ||
           (item_is_unchanged(&slot->before[node], &slot->now[node]) &&
            slot->before[node].hash == slot->now[node].hash);
}

static void tell(struct verify *verify, struct verify_slot *slot, uint32_t node, uint32_t kind)
{
    struct verify_progress *progress = &verify->progress;
    if ((slot->counted & node_set_of(node)) != 0) {
        return;
    }
    slot->counted |= node_set_of(node);
    enum verify_kind shown =
        is_evicted(verify, slot, node, kind) ? VERIFY_KIND_EVICTED : (enum verify_kind)kind;
    progress->found[shown]++;
    if (shown == VERIFY_KIND_EVICTED || progress->example_count == VERIFY_EXAMPLES_MAX) {
        return;
    }
    struct verify_example *example = &progress->examples[progress->example_count++];
    *example = (struct verify_example){
        .kind = shown, .node = node, .leader = slot->leader, .key_bytes = slot->entry->key_bytes};
    memcpy(example->key, slot->entry->key, slot->entry->key_bytes);
}

/* What a difference that was seen twice asks for. */
static void plan_mend(struct verify *verify, struct verify_slot *slot, uint32_t node, uint32_t kind)
{
    node_set bit = node_set_of(node);
    bool is_missing_by_eviction =
        kind == VERIFY_KIND_MISSING && is_evicted(verify, slot, node, kind);
    /* Without a CAS nothing can be done on a condition. */
    bool has_cas = (kind == VERIFY_KIND_MISSING || slot->now[node].cas != 0) &&
                   (kind == VERIFY_KIND_EXTRA || slot->now[slot->leader].cas != 0);
    if (!verify->plan.is_mending || is_missing_by_eviction || (slot->hopeless & bit) != 0) {
        return;
    }
    if (!has_cas) {
        slot->hopeless |= bit;
        verify->progress.unmended++;
    } else if (kind == VERIFY_KIND_EXTRA) {
        slot->to_delete |= bit;
    } else {
        slot->to_copy |= bit;
    }
}

/* Copies of ours where there was nothing: the leader's item must still be what was copied. */
static void confirm(struct verify_slot *slot)
{
    bool is_same = is_copied_item(slot, slot->leader) &&
                   item_is_unchanged(&slot->copied, &slot->now[slot->leader]);
    slot->to_take_back = is_same ? 0 : slot->ours;
    slot->ours = slot->to_take_back;
}

static void go_to_mender(struct verify *verify, struct verify_slot *slot)
{
    slot->mends++;
    if (slot->mends > VERIFY_MENDS_MAX) {
        slot->to_copy = 0;
        slot->to_delete = 0;
        slot->to_clear = verify->nodes;
    }
    slot_move(verify, slot, VERIFY_SLOT_MEND);
    verify_queue_put(&verify->mend.queue, index_of(verify, slot));
    verify_mend_pump(verify);
}

/* All nodes have answered. */
static void judge(struct verify *verify, struct verify_slot *slot)
{
    pace_learn(&verify->pace, verify->now_us - slot->sent_us);
    bool is_clear = !verify->is_held && slot->sent_us > verify->cloud_us;
    bool counts = is_clear && !slot->is_void;
    slot->looks += is_clear;
    bool is_second = counts && slot->before_us > verify->cloud_us;
    slot->before_us = counts ? slot->sent_us : 0;
    if (counts) {
        confirm(slot);
    }
    node_set open = 0; /* nodes that differ, and nothing has been concluded */
    node_set nodes = nodes_of(verify, slot->leader) & ~node_set_of(slot->leader);
    for (; nodes != 0; nodes &= nodes - 1) {
        uint32_t node = node_set_first(nodes);
        uint32_t kind = difference(verify, slot, node);
        if (kind == VERIFY_EQUAL) {
            continue;
        }
        if (is_second && is_as_before(slot, node) && is_as_before(slot, slot->leader)) {
            tell(verify, slot, node, kind);
            plan_mend(verify, slot, node, kind);
        } else if (((slot->counted | slot->hopeless) & node_set_of(node)) == 0 ||
                   verify->plan.is_mending) {
            open |= (slot->hopeless & node_set_of(node)) == 0 ? node_set_of(node) : 0;
        }
    }
    if ((slot->to_copy | slot->to_delete | slot->to_take_back) != 0) {
        go_to_mender(verify, slot);
    } else if (slot->ours == 0 && counts && open == 0) {
        finish(verify, slot);
    } else if (slot->looks >= VERIFY_LOOKS_MAX && slot->ours == 0) {
        verify->progress.unsettled++;
        finish(verify, slot);
    } else {
        look_later(verify, slot);
    }
}

void verify_look_mended(struct verify *verify, struct verify_slot *slot)
{
    slot->before_us = 0;
    slot->looks = 0;
    if (slot->mends > VERIFY_MENDS_MAX) {
        verify->progress.forgotten++;
        finish(verify, slot);
    } else {
        look_later(verify, slot);
    }
}

/* --- Answers --- */

static void answered(struct verify *verify, uint32_t node)
{
    struct verify_slot *slot = &verify->slots[verify_queue_take(&verify->asked[node])];
    slot->asked &= ~node_set_of(node);
    if (slot->asked != 0) {
        return;
    }
    uint64_t bytes = slot->entry->key_bytes;
    for (node_set left = slot->present; left != 0; left &= left - 1) {
        bytes += slot->now[node_set_first(left)].value_bytes;
    }
    pace_recharge(&verify->pace, slot->charged, bytes);
    verify->progress.bytes_done += bytes - slot->entry->key_bytes;
    judge(verify, slot);
}

static void gave_back(struct verify *verify, struct verify_slot *slot, const struct mc_reply *reply)
{
    if (reply->kind == MC_REPLY_HD || reply->kind == MC_REPLY_NF || reply->kind == MC_REPLY_EX) {
        (void)verify_queue_take(&verify->asked[slot->leader]);
        finish(verify, slot);
    } else {
        verify_fail_end(verify, slot->leader, WIRE_END_PROTOCOL);
    }
}

void verify_look_note_win(struct verify_slot *slot, const struct mc_reply *reply)
{
    if (reply->is_won) {
        slot->won_cas = reply->cas;
    }
}

void verify_look_reply(struct verify *verify, uint32_t node, const struct mc_reply *reply)
{
    struct verify_queue *asked = &verify->asked[node];
    struct verify_slot *slot = &verify->slots[asked->slots[asked->head]];
    bool is_hit = reply->kind == MC_REPLY_VA || reply->kind == MC_REPLY_HD;
    if (slot->state == VERIFY_SLOT_GIVE_BACK) {
        gave_back(verify, slot, reply);
        return;
    }
    if (is_hit && reply->has_cas && reply->has_ttl) {
        if (node == slot->leader) {
            verify_look_note_win(slot, reply);
        }
        slot->now[node] = item_of(reply, verify->now_us);
        if (!item_is_expired(&slot->now[node])) {
            slot->present |= node_set_of(node);
        }
        if (reply->kind == MC_REPLY_VA) {
            (void)XXH64_reset(verify->hashes[node], 0);
            return;
        }
    } else if (reply->kind == MC_REPLY_SERVER_ERROR) {
        slot->is_void = true;
    } else if (reply->kind != MC_REPLY_EN) {
        verify_fail_end(verify, node, WIRE_END_PROTOCOL);
        return;
    }
    answered(verify, node);
}

void verify_look_value(struct verify *verify, uint32_t node, struct slice piece)
{
    (void)XXH64_update(verify->hashes[node], piece.ptr, piece.len);
}

void verify_look_value_end(struct verify *verify, uint32_t node)
{
    struct verify_queue *asked = &verify->asked[node];
    verify->slots[asked->slots[asked->head]].now[node].hash = XXH64_digest(verify->hashes[node]);
    answered(verify, node);
}
