/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A key that two sides of a split may have written: nobody knows which is the later, and a value
 * that is wrong costs more than a miss, so it is forgotten on both (replication.md section 7).
 *
 *            donor                  target                             donor
 *   LOOK  mg k c t u ─► PEEK  mg k c t u ─► DROP  md k C<seen> ─► FORGET  md k C<seen>
 *           │ another than its dump │ equal by now
 *           └───────────────────────┴──► passed: the diff that follows looks at it
 *
 * What is to be forgotten differed in the dumps and differs still, and the donor has the very item
 * that its dump showed, proof_us later. Let W be a write since the split was healed: it reached the
 * donor first, the target behind it.
 *  - W reached the donor before its dump's line was written. Then it has reached the target by now,
 *    for no write takes longer than proof_us; both show its token, and the key is passed.
 *  - W reached the donor after that. Then LOOK, or the condition of FORGET, sees another token than
 *    the dump's; and what DROP deleted on the target W stores there anew, or the diff copies it.
 * What the target alone has is left to the diff, which deletes it too.
 *
 * A reply that is lost ends the fill, and a deletion that comes late after all finds the item that
 * it names, which should go, or none: a token is never given twice.
 *
 * The donor's is one complete copy of several, where more than one node stayed complete. Its
 * fellows lose theirs by the verify that the healing view makes due.
 */
#include "fill_private.h"

#include "everwarm/mc/encode.h"

static void send(struct fill *fill, enum fill_wire wire, struct fill_slot *slot,
                 enum fill_slot_state state, uint64_t cas)
{
    char line[FILL_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    mc_write(&w, cas == 0 ? SLICE("mg ") : SLICE("md "));
    mc_write_key(&w, slot->key);
    mc_write_key_flag(&w, slot->key);
    mc_write(&w, cas == 0 ? SLICE(" c t u") : SLICE(" C"));
    if (cas != 0) {
        mc_write_u64(&w, cas);
    }
    mc_write(&w, SLICE("\r\n"));
    fill_copy_send(fill, wire, slot, state, slice_of(line, w.len));
}

static void pass(struct fill *fill, struct fill_slot *slot)
{
    fill_copy_finish(fill, slot, FILL_OUTCOME_PASSED);
}

void fill_split_begin(struct fill *fill, struct fill_slot *slot)
{
    pace_charge(&fill->copy.pace, slot->key.len);
    send(fill, FILL_WIRE_DONOR, slot, FILL_SLOT_SPLIT_LOOK, 0);
}

static void looked(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    slot->donor = item_of(reply, fill->now_us);
    slot->won_cas = reply->is_won ? reply->cas : 0;
    if (slot->donor.cas == slot->dumped_cas && slot->donor.cas != 0) {
        send(fill, FILL_WIRE_TARGET, slot, FILL_SLOT_SPLIT_PEEK, 0);
    } else {
        pass(fill, slot);
    }
}

static void peeked(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    slot->target = item_of(reply, fill->now_us);
    if (item_is_unchanged(&slot->donor, &slot->target) || slot->target.cas == 0) {
        pass(fill, slot);
    } else {
        send(fill, FILL_WIRE_TARGET, slot, FILL_SLOT_SPLIT_DROP, slot->target.cas);
    }
}

static void forget(struct fill *fill, struct fill_slot *slot)
{
    send(fill, FILL_WIRE_DONOR, slot, FILL_SLOT_SPLIT_FORGET, slot->donor.cas);
}

/* Is REPLY, to a deletion on a condition, one that says whether the item is gone? */
static bool is_told(const struct mc_reply *reply)
{
    return reply->kind == MC_REPLY_HD || reply->kind == MC_REPLY_NF || reply->kind == MC_REPLY_EX;
}

void fill_split_reply(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    bool is_of_donor = slot->state == FILL_SLOT_SPLIT_LOOK || slot->state == FILL_SLOT_SPLIT_FORGET;
    bool is_look = slot->state == FILL_SLOT_SPLIT_LOOK || slot->state == FILL_SLOT_SPLIT_PEEK;
    bool is_item = reply->kind == MC_REPLY_HD && reply->has_cas && reply->has_ttl;
    if (is_look ? !is_item && reply->kind != MC_REPLY_EN : !is_told(reply)) {
        fill_wire_fail(fill, is_of_donor ? FILL_WIRE_DONOR : FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
    } else if (slot->state == FILL_SLOT_SPLIT_LOOK && is_item) {
        looked(fill, slot, reply);
    } else if (slot->state == FILL_SLOT_SPLIT_LOOK) {
        pass(fill, slot);
    } else if (slot->state == FILL_SLOT_SPLIT_PEEK && is_item) {
        peeked(fill, slot, reply);
    } else if (slot->state == FILL_SLOT_SPLIT_PEEK) {
        forget(fill, slot);
    } else if (slot->state == FILL_SLOT_SPLIT_DROP && reply->kind == MC_REPLY_EX) {
        pass(fill, slot); /* somebody writes it */
    } else if (slot->state == FILL_SLOT_SPLIT_DROP) {
        forget(fill, slot);
    } else {
        fill_copy_finish(fill, slot,
                         reply->kind == MC_REPLY_EX ? FILL_OUTCOME_PASSED : FILL_OUTCOME_FORGOTTEN);
    }
}
