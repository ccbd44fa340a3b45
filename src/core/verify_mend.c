/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mending one copy at a time. All that a verify writes goes over one wire of its own, one command
 * at a time, each on a condition, so that what may still happen is known when that wire is lost.
 *
 *            leader                     the node                       leader
 *   copy     READ  mg k v f t c u ────► STORE  ms k C<seen> | ME ────► LOOK  mg k c t u
 *            another item than seen:      │ refused: look at            │ same: mended
 *            look at the key again        ▼ the key again               ▼ changed, or gone
 *                                                                     UNDO  md k C<our copy>
 *   extra    DELETE  md k C<seen>
 *   hopeless CLEAR   md k, on all nodes, the leader last
 *
 * Why a copy never covers a newer value and never stays where a delete came. Both were seen twice,
 * settle_us apart, so no write that began before is under way. Let W be one that began since.
 *  - W reached the node before STORE: what was seen there is gone, and STORE is refused; but a
 *    delete where there was nothing leaves no trace, so such a copy is one of `ours` until a look
 *    at the key, settle_us later, shows the leader unchanged (verify_look.c I2).
 *  - W reached the node after STORE: it lands on top of the copy. If it reached the leader before
 *    LOOK, the copy goes, unless W is there already; if after, nothing is left to do.
 *
 * When it can't be brought to its end (its wire or the leader's is lost, the lease is over), the
 * node is told to delete our copy behind the command that is under way, and the wire is half-closed
 * and read to its end: until then the node counts as one with a connection given up. If no EOF is
 * that end, the node counts as such until the write is surely done, and another verify is owed. So
 * it is where our copy can't be named, since its CAS comes with the answer to STORE only (pools
 * without tokens): then whatever is there is deleted.
 */
#include "verify_private.h"

#include "everwarm/base/invariant.h"
#include "everwarm/mc/encode.h"

static struct stream *own_stream(struct verify *verify)
{
    return &verify->streams[VERIFY_WIRE_MEND(verify->options.node_count)];
}

void verify_mend_reset(struct verify *verify)
{
    verify->mend = (struct verify_mend){.step = VERIFY_MEND_REST};
}

bool verify_mend_is_owed(const struct verify *verify)
{
    enum verify_mend_step step = verify->mend.step;
    return step == VERIFY_MEND_STORE || step == VERIFY_MEND_UNDO || step == VERIFY_MEND_DELETE ||
           step == VERIFY_MEND_CLEAR;
}

bool verify_mend_is_under_way(const struct verify *verify)
{
    return verify_mend_is_owed(verify) || verify->mend.step == VERIFY_MEND_LOOK;
}

/* --- Commands --- */

static void ask_leader(struct verify *verify, enum verify_mend_step step)
{
    struct verify_mend *mend = &verify->mend;
    uint32_t leader = mend->slot->leader;
    char line[VERIFY_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    mc_write(&w, SLICE("mg "));
    mc_write_key(&w, verify_key(mend->slot));
    mc_write_key_flag(&w, verify_key(mend->slot));
    mc_write(&w, step == VERIFY_MEND_READ ? SLICE(" v f t c u\r\n") : SLICE(" f t c u\r\n"));
    mend->step = step;
    if (verify_send(verify, leader, slice_of(line, w.len))) {
        verify_queue_put(&verify->asked[leader], VERIFY_MENDER);
    }
}

/* CAS 0: whatever is there. */
static void write_delete(const struct verify *verify, uint64_t cas, struct mc_writer *w)
{
    mc_write(w, SLICE("md "));
    mc_write_key(w, verify_key(verify->mend.slot));
    mc_write_key_flag(w, verify_key(verify->mend.slot));
    if (cas != 0) {
        mc_write(w, SLICE(" C"));
        mc_write_u64(w, cas);
    }
    mc_write(w, SLICE("\r\n"));
}

static void send_delete(struct verify *verify, enum verify_mend_step step, uint64_t cas)
{
    char line[VERIFY_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    write_delete(verify, cas, &w);
    verify->mend.step = step;
    (void)verify_send(verify, VERIFY_WIRE_MEND(verify->options.node_count), slice_of(line, w.len));
}

/* Bytes behind what is sent; sent or taken back when the value is complete. */
static void place(struct verify *verify, struct slice bytes)
{
    if (verify_send(verify, VERIFY_WIRE_MEND(verify->options.node_count), bytes)) {
        own_stream(verify)->hidden += (uint32_t)bytes.len;
    }
}

static void take_back_placed(struct verify *verify)
{
    struct stream *s = own_stream(verify);
    s->out.tail -= s->hidden;
    s->hidden = 0;
}

static void place_head(struct verify *verify, const struct mc_reply *reply)
{
    const struct verify_mend *mend = &verify->mend;
    const struct verify_slot *slot = mend->slot;
    char line[VERIFY_LINE_BYTES];
    struct mc_writer w = mc_writer_of(line, sizeof line);
    mc_write(&w, SLICE("ms "));
    mc_write_key(&w, verify_key(slot));
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, reply->value_bytes);
    mc_write_key_flag(&w, verify_key(slot));
    if ((slot->present & node_set_of(mend->node)) != 0) {
        mc_write(&w, SLICE(" C"));
        mc_write_u64(&w, slot->now[mend->node].cas);
    } else {
        mc_write(&w, SLICE(" ME"));
    }
    if (verify->plan.has_tokens) {
        mc_write(&w, SLICE(" E"));
        mc_write_u64(&w, reply->cas);
    }
    mc_write(&w, SLICE(" F"));
    mc_write_u64(&w, reply->flags);
    mc_write(&w, SLICE(" T"));
    int64_t time_s = (int64_t)(verify->now_us / 1000000) + verify->plan.clock_s[mend->node];
    mc_write_i64(&w, item_exptime(reply->ttl_s, time_s));
    mc_write(&w, SLICE(" c\r\n"));
    place(verify, slice_of(line, w.len));
}

/* --- One job after the other --- */

/* This node is through; on with the slot's next. */
static void job_done(struct verify *verify)
{
    struct verify_mend *mend = &verify->mend;
    node_set others = ~node_set_of(mend->node);
    struct verify_slot *slot = mend->slot;
    slot->to_copy &= others;
    slot->to_delete &= others;
    slot->to_take_back &= others;
    slot->to_clear &= others;
    mend->step = VERIFY_MEND_REST;
    verify_mend_pump(verify);
}

static struct verify_slot *find_unconfirmed(struct verify *verify)
{
    for (uint32_t i = 0; i < verify->slot_count; i++) {
        if (verify->slots[i].ours != 0) {
            return &verify->slots[i];
        }
    }
    return NULL;
}

/* Which slot is next, and where. False: none. */
static bool choose(struct verify *verify)
{
    struct verify_mend *mend = &verify->mend;
    if (verify->is_held) {
        mend->slot = find_unconfirmed(verify);
        if (mend->slot == NULL) {
            return false;
        }
        mend->node = node_set_first(mend->slot->ours);
        return true;
    }
    while (mend->queue.count > 0) {
        struct verify_slot *slot = &verify->slots[mend->queue.slots[mend->queue.head]];
        node_set others = ~node_set_of(slot->leader);
        node_set jobs = slot->to_copy | slot->to_delete | slot->to_take_back;
        jobs = jobs != 0                        ? jobs
               : (slot->to_clear & others) != 0 ? slot->to_clear & others
                                                : slot->to_clear;
        if (jobs != 0) {
            mend->slot = slot;
            mend->node = node_set_first(jobs);
            return true;
        }
        (void)verify_queue_take(&mend->queue);
        verify_look_mended(verify, slot);
    }
    return false;
}

static void begin_job(struct verify *verify)
{
    struct verify_mend *mend = &verify->mend;
    struct verify_slot *slot = mend->slot;
    node_set bit = node_set_of(mend->node);
    if (verify->is_held || (slot->to_take_back & bit) != 0) {
        mend->our_cas = slot->our_cas[mend->node];
        send_delete(verify, VERIFY_MEND_UNDO, mend->our_cas);
    } else if ((slot->to_delete & bit) != 0) {
        send_delete(verify, VERIFY_MEND_DELETE, slot->now[mend->node].cas);
    } else if ((slot->to_copy & bit) != 0) {
        ask_leader(verify, VERIFY_MEND_READ);
    } else {
        send_delete(verify, VERIFY_MEND_CLEAR, 0);
    }
}

void verify_mend_pump(struct verify *verify)
{
    struct verify_mend *mend = &verify->mend;
    struct stream *s = own_stream(verify);
    if (mend->step == VERIFY_MEND_CONNECT && verify->is_held) {
        mend->step = VERIFY_MEND_REST; /* for what was to be done before the hold */
    }
    if (verify->state != VERIFY_COMPARING || s->link == STREAM_ENDING ||
        (mend->step != VERIFY_MEND_REST && mend->step != VERIFY_MEND_CONNECT)) {
        return;
    }
    if (!choose(verify)) {
        mend->step = VERIFY_MEND_REST;
        return;
    }
    if (s->link != STREAM_CLOSED && s->node != mend->node) {
        stream_close(s);
    }
    if (s->link == STREAM_CLOSED) {
        stream_connect(s, mend->node);
    }
    mend->step = VERIFY_MEND_CONNECT;
    if (s->link == STREAM_OPEN) {
        begin_job(verify);
    }
}

/* --- The leader's answers --- */

static bool is_as_seen(struct verify *verify, const struct mc_reply *reply)
{
    const struct verify_slot *slot = verify->mend.slot;
    struct item now = item_of(reply, verify->now_us);
    return reply->has_cas && reply->has_ttl && !item_is_expired(&now) &&
           item_is_unchanged(&slot->now[slot->leader], &now);
}

static void read_answered(struct verify *verify, const struct mc_reply *reply)
{
    struct verify_mend *mend = &verify->mend;
    struct verify_slot *slot = mend->slot;
    if (reply->kind != MC_REPLY_VA) {
        job_done(verify);
        return;
    }
    mend->is_placing = is_as_seen(verify, reply);
    if (mend->is_placing && reply->value_bytes > verify->options.item_bytes_max) {
        mend->is_placing = false;
        slot->hopeless |= node_set_of(mend->node);
        verify->progress.unmended++;
    }
    if (mend->is_placing) {
        place_head(verify, reply);
    }
}

void verify_mend_leader_value(struct verify *verify, struct slice piece)
{
    if (verify->mend.is_placing) {
        place(verify, piece);
    }
}

void verify_mend_leader_value_end(struct verify *verify)
{
    struct verify_mend *mend = &verify->mend;
    struct verify_slot *slot = mend->slot;
    if (mend->is_placing && verify->is_held) {
        take_back_placed(verify); /* nothing new begins */
    } else if (mend->is_placing) {
        place(verify, SLICE("\r\n"));
        own_stream(verify)->hidden = 0;
        own_stream(verify)->wants_write = true;
        mend->step = VERIFY_MEND_STORE;
        mend->is_placing = false;
        slot->copied = slot->now[slot->leader];
        mend->our_cas = verify->plan.has_tokens ? slot->copied.cas : 0;
        return;
    } else if ((slot->hopeless & node_set_of(mend->node)) != 0 && !verify->is_held &&
               (slot->present & node_set_of(mend->node)) != 0) {
        /* What is too large to be copied can still be made a miss. */
        send_delete(verify, VERIFY_MEND_DELETE, slot->now[mend->node].cas);
        return;
    }
    mend->is_placing = false;
    job_done(verify);
}

void verify_mend_leader_reply(struct verify *verify, const struct mc_reply *reply)
{
    struct verify_mend *mend = &verify->mend;
    enum mc_reply_kind hit = mend->step == VERIFY_MEND_READ ? MC_REPLY_VA : MC_REPLY_HD;
    bool is_known =
        reply->kind == hit || reply->kind == MC_REPLY_EN || reply->kind == MC_REPLY_SERVER_ERROR;
    verify_look_note_win(mend->slot, reply);
    if (!is_known) {
        verify_fail_end(verify, mend->slot->leader, WIRE_END_PROTOCOL);
    } else if (mend->step == VERIFY_MEND_READ) {
        read_answered(verify, reply);
    } else if (reply->kind == MC_REPLY_HD && is_as_seen(verify, reply)) {
        verify->progress.mended++;
        job_done(verify);
    } else {
        send_delete(verify, VERIFY_MEND_UNDO, mend->our_cas);
    }
}

/* --- The node's answers --- */

static void stored(struct verify *verify, const struct mc_reply *reply)
{
    struct verify_mend *mend = &verify->mend;
    struct verify_slot *slot = mend->slot;
    node_set bit = node_set_of(mend->node);
    if (reply->kind == MC_REPLY_HD && reply->has_cas && reply->cas != 0) {
        mend->our_cas = reply->cas;
        if ((slot->present & bit) == 0) {
            slot->ours |= bit;
            slot->our_cas[mend->node] = reply->cas;
        }
        ask_leader(verify, VERIFY_MEND_LOOK);
    } else if (reply->kind == MC_REPLY_NS || reply->kind == MC_REPLY_EX ||
               reply->kind == MC_REPLY_NF) {
        job_done(verify);
    } else if (reply->kind == MC_REPLY_SERVER_ERROR) {
        /* Too large for this node, or no memory: the item that was there is gone. */
        slot->hopeless |= bit;
        verify->progress.unmended++;
        job_done(verify);
    } else {
        verify_fail_end(verify, VERIFY_WIRE_MEND(verify->options.node_count), WIRE_END_PROTOCOL);
    }
}

void verify_mend_reply(struct verify *verify, const struct mc_reply *reply)
{
    struct verify_mend *mend = &verify->mend;
    if (mend->step == VERIFY_MEND_STORE) {
        stored(verify, reply);
        return;
    }
    bool is_over =
        reply->kind == MC_REPLY_HD || reply->kind == MC_REPLY_NF || reply->kind == MC_REPLY_EX;
    if (!verify_mend_is_owed(verify) || !is_over) {
        verify_fail_end(verify, VERIFY_WIRE_MEND(verify->options.node_count), WIRE_END_PROTOCOL);
        return;
    }
    if (mend->step == VERIFY_MEND_UNDO) {
        mend->slot->ours &= ~node_set_of(mend->node);
    } else if (mend->step == VERIFY_MEND_DELETE && reply->kind == MC_REPLY_HD &&
               (mend->slot->hopeless & node_set_of(mend->node)) == 0) {
        verify->progress.mended++;
    }
    job_done(verify);
}

/* --- The end of its wire --- */

void verify_mend_give_up(struct verify *verify)
{
    struct verify_mend *mend = &verify->mend;
    struct stream *s = own_stream(verify);
    enum verify_mend_step step = mend->step;
    bool is_under_way = verify_mend_is_under_way(verify);
    mend->step = VERIFY_MEND_REST;
    take_back_placed(verify);
    bool has_written = step == VERIFY_MEND_STORE || step == VERIFY_MEND_LOOK;
    if (s->link != STREAM_OPEN || !is_under_way) {
        stream_close(s);
        return;
    }
    bool is_cut_short = byte_ring_used(&s->out) > 0;
    if (is_cut_short) {
        byte_ring_clear(&s->out); /* half a command is none */
        verify->owed |= step == VERIFY_MEND_UNDO ? node_set_of(s->node) : 0;
    } else {
        mend->slot->ours &= ~node_set_of(mend->node); /* what is said here takes it back */
    }
    if (has_written && !is_cut_short) {
        char line[VERIFY_LINE_BYTES];
        struct mc_writer w = mc_writer_of(line, sizeof line);
        /* If STORE was refused, or is covered by now, a client's write is there, and stays. Without
         * tokens nobody can tell before STORE is answered: what went along is compared again. */
        write_delete(verify, mend->our_cas, &w);
        verify->owed |= mend->our_cas == 0 ? node_set_of(s->node) : 0;
        bool has_room = stream_send(s, slice_of(line, w.len));
        INVARIANT(has_room);
    }
    stream_finish(s);
}
