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

/* The answer to a look. */
static void seen(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    bool is_item = reply->kind == MC_REPLY_HD && reply->has_cas && reply->has_ttl;
    bool is_of_donor = slot->state == FILL_SLOT_SPLIT_LOOK;
    if (!is_item && reply->kind != MC_REPLY_EN) {
        fill_wire_fail(fill, is_of_donor ? FILL_WIRE_DONOR : FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
    } else if (is_item && is_of_donor) {
        looked(fill, slot, reply);
    } else if (is_item) {
        peeked(fill, slot, reply);
    } else if (is_of_donor) {
        pass(fill, slot);
    } else {
        forget(fill, slot);
    }
}

/* The answer to a deletion; another item than the one that was seen: somebody writes it. */
static void dropped(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    bool is_gone = reply->kind == MC_REPLY_HD || reply->kind == MC_REPLY_NF;
    bool is_of_donor = slot->state == FILL_SLOT_SPLIT_FORGET;
    if (!is_gone && reply->kind != MC_REPLY_EX) {
        fill_wire_fail(fill, is_of_donor ? FILL_WIRE_DONOR : FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
    } else if (!is_gone) {
        pass(fill, slot);
    } else if (is_of_donor) {
        fill_copy_finish(fill, slot, FILL_OUTCOME_FORGOTTEN);
    } else {
        forget(fill, slot);
    }
}

void fill_split_reply(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply)
{
    if (slot->state == FILL_SLOT_SPLIT_LOOK || slot->state == FILL_SLOT_SPLIT_PEEK) {
        seen(fill, slot, reply);
    } else {
        dropped(fill, slot, reply);
    }
}
