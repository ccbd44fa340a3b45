/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fill's three wires: who owes an answer, and whose a reply is. What it means is decided
 * elsewhere: fill.c (the target's stats), fill_copy.c, fill_dump.c.
 */
#include "fill_private.h"

#include "everwarm/base/invariant.h"

void fill_wire_fail(struct fill *fill, enum fill_wire wire, enum wire_end end)
{
    static const struct slice texts[] = {
#define X(name, text) [WIRE_END_##name] = SLICE_INIT(text),
        WIRE_END_TABLE(X)
#undef X
    };
    fill_fail(fill, wire, texts[end]);
}

void fill_wire_connect(struct fill *fill, enum fill_wire wire, uint32_t node)
{
    stream_connect(&fill->streams[wire], node);
}

void fill_wire_close(struct fill *fill, enum fill_wire wire)
{
    stream_close(&fill->streams[wire]);
}

void fill_wire_give_up(struct fill *fill)
{
    struct stream *s = &fill->streams[FILL_WIRE_TARGET];
    if (s->link == STREAM_ENDING) {
        return;
    }
    if (s->link != STREAM_OPEN ||
        !(fill->is_flush_owed || fill_copy_is_owed(fill, FILL_WIRE_TARGET))) {
        stream_close(s);
        return;
    }
    s->hidden = 0;
    byte_ring_clear(&s->out); /* half a command is none */
    stream_finish(s);
}

bool fill_wire_send(struct fill *fill, enum fill_wire wire, struct slice bytes)
{
    if (!stream_send(&fill->streams[wire], bytes)) {
        fill_wire_fail(fill, wire, WIRE_END_PROTOCOL);
        return false;
    }
    return true;
}

static bool is_owed(const struct fill *fill, enum fill_wire wire)
{
    const struct stream *s = &fill->streams[wire];
    if (s->link == STREAM_CLOSED || s->link == STREAM_ENDING) {
        return false;
    }
    return s->link != STREAM_OPEN || wire == FILL_WIRE_DUMP ||
           (wire == FILL_WIRE_TARGET && (fill->stats.is_owed || fill->is_flush_owed)) ||
           fill_copy_is_owed(fill, wire);
}

void fill_wire_watch(struct fill *fill)
{
    for (uint32_t wire = 0; wire < FILL_WIRE_COUNT; wire++) {
        stream_watch(&fill->streams[wire], is_owed(fill, wire), fill->now_us);
    }
}

void fill_wire_expire(struct fill *fill)
{
    for (uint32_t wire = 0; wire < FILL_WIRE_COUNT; wire++) {
        if (stream_is_silent(&fill->streams[wire], fill->now_us, fill->options.timeout_us)) {
            fill_wire_fail(fill, wire, WIRE_END_TIMEOUT);
        }
    }
}

static void take_token(struct fill *fill, enum fill_wire wire, const struct stream_token *token)
{
    switch (token->type) {
    case STREAM_TOKEN_REPLY:
        if (fill->state == FILL_COPYING) {
            fill_copy_reply(fill, wire, &token->reply);
        } else {
            fill_target_reply(fill, &token->reply);
        }
        break;
    case STREAM_TOKEN_LINE:
        fill_dump_line(fill, token->bytes);
        break;
    case STREAM_TOKEN_PIECE:
        fill_copy_value(fill, wire, token->bytes);
        break;
    case STREAM_TOKEN_VALUE_END:
        fill_copy_value_end(fill, wire);
        break;
    case STREAM_TOKEN_BAD:
        if (wire == FILL_WIRE_DUMP) {
            fill_dump_retry(fill);
        } else {
            fill_wire_fail(fill, wire, WIRE_END_PROTOCOL);
        }
        break;
    }
}

static void feed(struct fill *fill, enum fill_wire wire, struct slice bytes)
{
    struct stream *s = &fill->streams[wire];
    enum stream_form form = wire == FILL_WIRE_DUMP ? STREAM_DUMP : STREAM_REPLIES;
    struct stream_token token;
    while (s->link == STREAM_OPEN && stream_take(s, form, &bytes, &token)) {
        take_token(fill, wire, &token);
    }
}

void fill_wire_take(struct fill *fill, const struct wire_event *event)
{
    struct stream *s = &fill->streams[event->wire];
    if (s->link == STREAM_ENDING) {
        if (event->type == WIRE_CLOSED) {
            s->link = STREAM_CLOSED;
            s->wants_finish = false;
            fill_target_lost(fill, event->end);
        }
        return;
    }
    if (s->link != STREAM_CONNECTING && s->link != STREAM_OPEN) {
        return; /* of a connection that was closed */
    }
    s->heard_us = fill->now_us;
    switch (event->type) {
    case WIRE_OPEN:
        s->link = STREAM_OPEN;
        break;
    case WIRE_BYTES:
        feed(fill, event->wire, event->bytes);
        break;
    case WIRE_WROTE:
        stream_wrote(s, event->wrote);
        break;
    case WIRE_CLOSED:
        if (event->wire == FILL_WIRE_TARGET && s->link == STREAM_OPEN) {
            fill_target_lost(fill, event->end);
        }
        s->link = STREAM_CLOSED;
        if (event->wire == FILL_WIRE_DUMP) {
            fill_dump_retry(fill);
        } else {
            fill_wire_fail(fill, event->wire, event->end);
        }
        break;
    }
}

bool fill_wire_next_action(struct fill *fill, struct wire_action *out)
{
    for (uint32_t wire = 0; wire < FILL_WIRE_COUNT; wire++) {
        if (stream_next_action(&fill->streams[wire], wire, out)) {
            return true;
        }
    }
    return false;
}

size_t fill_wire_gather(const struct fill *fill, uint32_t wire, struct slice *out, size_t capacity)
{
    return stream_gather(&fill->streams[wire], out, capacity);
}
