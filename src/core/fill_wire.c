/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fill's three wires: bytes in, lines and values out of them, bytes to be written, and who owes
 * an answer. What a line means is decided elsewhere: fill.c (the target's stats), fill_copy.c,
 * fill_dump.c.
 *
 * Input is consumed whole, always: of a line that is not complete its beginning is kept, of a value
 * nothing. Output lies in one ring a wire; its last `hidden` bytes are not shown to the outside.
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
    struct fill_stream *s = &fill->streams[wire];
    INVARIANT(s->link == FILL_LINK_CLOSED);
    s->link = FILL_LINK_WANTED;
    s->node = node;
    s->was_owed = false;
    s->line_bytes = 0;
    s->value_left = 0;
    s->crlf_left = 0;
    s->hidden = 0;
    s->wants_write = false;
    byte_ring_init(&s->out, s->out.memory, s->out.capacity);
}

void fill_wire_close(struct fill *fill, enum fill_wire wire)
{
    struct fill_stream *s = &fill->streams[wire];
    if (s->link == FILL_LINK_CONNECTING || s->link == FILL_LINK_OPEN) {
        s->wants_close = true;
    }
    s->link = FILL_LINK_CLOSED;
}

bool fill_wire_send(struct fill *fill, enum fill_wire wire, struct slice bytes)
{
    struct fill_stream *s = &fill->streams[wire];
    if (!byte_ring_put(&s->out, bytes)) {
        fill_wire_fail(fill, wire, WIRE_END_PROTOCOL);
        return false;
    }
    s->wants_write = true;
    return true;
}

static bool is_owed(const struct fill *fill, enum fill_wire wire)
{
    const struct fill_stream *s = &fill->streams[wire];
    if (s->link == FILL_LINK_CLOSED) {
        return false;
    }
    return s->link != FILL_LINK_OPEN || wire == FILL_WIRE_DUMP ||
           (wire == FILL_WIRE_TARGET && (fill->stats.is_owed || fill->is_flush_owed)) ||
           fill_copy_is_owed(fill, wire);
}

void fill_wire_watch(struct fill *fill)
{
    for (uint32_t wire = 0; wire < FILL_WIRE_COUNT; wire++) {
        struct fill_stream *s = &fill->streams[wire];
        bool owed = is_owed(fill, wire);
        if (owed && !s->was_owed) {
            s->heard_us = fill->now_us;
        }
        s->was_owed = owed;
    }
}

void fill_wire_expire(struct fill *fill)
{
    for (uint32_t wire = 0; wire < FILL_WIRE_COUNT; wire++) {
        const struct fill_stream *s = &fill->streams[wire];
        if (s->was_owed && fill->now_us - s->heard_us >= fill->options.timeout_us) {
            fill_wire_fail(fill, wire, WIRE_END_TIMEOUT);
        }
    }
}

/* The end of a dump's line is LF alone. */
static bool take_dump_line(struct fill *fill, struct slice input, size_t *taken)
{
    const char *lf = memchr(input.ptr, '\n', input.len);
    if (lf == NULL) {
        if (input.len >= MC_REPLY_LINE_BYTES_MAX) {
            fill_dump_retry(fill);
        }
        return false;
    }
    size_t len = (size_t)(lf - input.ptr);
    *taken = len + 1;
    fill_dump_line(fill, slice_of(input.ptr, len > 0 && lf[-1] == '\r' ? len - 1 : len));
    return true;
}

static bool take_reply_line(struct fill *fill, enum fill_wire wire, struct slice input,
                            size_t *taken)
{
    struct fill_stream *s = &fill->streams[wire];
    struct mc_reply reply;
    switch (mc_reply_parse(input, 0, FILL_VALUE_BYTES_MAX, &reply)) {
    case MC_PARSE_MORE:
        return false;
    case MC_PARSE_BAD:
        fill_wire_fail(fill, wire, WIRE_END_PROTOCOL);
        return false;
    case MC_PARSE_DONE:
        break;
    }
    *taken = reply.line_bytes;
    if (fill->state == FILL_COPYING) {
        if (reply.kind == MC_REPLY_VA) {
            s->value_left = reply.value_bytes;
            s->crlf_left = 2;
        }
        fill_copy_reply(fill, wire, &reply);
    } else {
        fill_target_reply(fill, &reply);
    }
    return true;
}

static bool take_line(struct fill *fill, enum fill_wire wire, struct slice input, size_t *taken)
{
    return wire == FILL_WIRE_DUMP ? take_dump_line(fill, input, taken)
                                  : take_reply_line(fill, wire, input, taken);
}

/* Take one line; the beginning of one is kept. Returns bytes consumed. */
static size_t feed_line(struct fill *fill, enum fill_wire wire, struct slice bytes)
{
    struct fill_stream *s = &fill->streams[wire];
    size_t taken = 0;
    if (s->line_bytes == 0) {
        if (take_line(fill, wire, bytes, &taken)) {
            return taken;
        }
        /* Not over the bound, or the stream has just been given up. */
        taken = bytes.len < sizeof s->line ? bytes.len : sizeof s->line;
        memcpy(s->line, bytes.ptr, taken);
        s->line_bytes = (uint32_t)taken;
        return taken;
    }
    const char *lf = memchr(bytes.ptr, '\n', bytes.len);
    size_t piece = lf != NULL ? (size_t)(lf - bytes.ptr) + 1 : bytes.len;
    size_t room = sizeof s->line - s->line_bytes;
    piece = piece < room ? piece : room;
    memcpy(s->line + s->line_bytes, bytes.ptr, piece);
    s->line_bytes += (uint32_t)piece;
    if (take_line(fill, wire, slice_of(s->line, s->line_bytes), &taken)) {
        s->line_bytes = 0;
    }
    return piece;
}

static size_t feed_crlf(struct fill *fill, enum fill_wire wire, struct slice bytes)
{
    struct fill_stream *s = &fill->streams[wire];
    if (bytes.ptr[0] != (s->crlf_left == 2 ? '\r' : '\n')) {
        fill_wire_fail(fill, wire, WIRE_END_PROTOCOL);
        return bytes.len;
    }
    s->crlf_left--;
    if (s->crlf_left == 0) {
        fill_copy_value_end(fill, wire);
    }
    return 1;
}

static size_t feed_value(struct fill *fill, enum fill_wire wire, struct slice bytes)
{
    struct fill_stream *s = &fill->streams[wire];
    size_t piece = bytes.len < s->value_left ? bytes.len : (size_t)s->value_left;
    s->value_left -= piece;
    fill_copy_value(fill, wire, slice_of(bytes.ptr, piece));
    return piece;
}

static void feed(struct fill *fill, enum fill_wire wire, struct slice bytes)
{
    struct fill_stream *s = &fill->streams[wire];
    while (bytes.len > 0 && s->link == FILL_LINK_OPEN) {
        size_t taken = s->value_left > 0  ? feed_value(fill, wire, bytes)
                       : s->crlf_left > 0 ? feed_crlf(fill, wire, bytes)
                                          : feed_line(fill, wire, bytes);
        bytes = slice_skip(bytes, taken);
    }
}

void fill_wire_take(struct fill *fill, const struct wire_event *event)
{
    struct fill_stream *s = &fill->streams[event->wire];
    if (s->link != FILL_LINK_CONNECTING && s->link != FILL_LINK_OPEN) {
        return; /* of a connection that we have given up */
    }
    s->heard_us = fill->now_us;
    switch (event->type) {
    case WIRE_OPEN:
        s->link = FILL_LINK_OPEN;
        break;
    case WIRE_BYTES:
        feed(fill, event->wire, event->bytes);
        break;
    case WIRE_WROTE:
        byte_ring_take(&s->out, event->wrote);
        if (byte_ring_used(&s->out) == 0) {
            byte_ring_init(&s->out, s->out.memory, s->out.capacity);
        }
        s->wants_write = s->wants_write || event->wrote > 0;
        break;
    case WIRE_CLOSED:
        s->link = FILL_LINK_CLOSED;
        if (event->wire == FILL_WIRE_DUMP) {
            fill_dump_retry(fill);
        } else {
            fill_wire_fail(fill, event->wire, event->end);
        }
        break;
    }
}

static uint32_t sendable(const struct fill_stream *s)
{
    return s->link == FILL_LINK_OPEN ? byte_ring_used(&s->out) - s->hidden : 0;
}

bool fill_wire_next_action(struct fill *fill, struct wire_action *out)
{
    for (uint32_t wire = 0; wire < FILL_WIRE_COUNT; wire++) {
        struct fill_stream *s = &fill->streams[wire];
        *out = (struct wire_action){.wire = wire, .node = s->node};
        if (s->wants_close) {
            s->wants_close = false;
            out->type = WIRE_CLOSE;
            return true;
        }
        if (s->link == FILL_LINK_WANTED) {
            s->link = FILL_LINK_CONNECTING;
            out->type = WIRE_CONNECT;
            return true;
        }
        if (s->wants_write && sendable(s) > 0) {
            s->wants_write = false;
            out->type = WIRE_WRITE;
            return true;
        }
    }
    return false;
}

size_t fill_wire_gather(const struct fill *fill, uint32_t wire, struct slice *out, size_t capacity)
{
    const struct fill_stream *s = &fill->streams[wire];
    size_t left = sendable(s);
    struct slice pieces[2];
    size_t count = left > 0 ? byte_ring_slices(&s->out, pieces) : 0;
    size_t given = 0;
    for (; given < count && given < capacity && left > 0; given++) {
        out[given] =
            slice_of(pieces[given].ptr, pieces[given].len < left ? pieces[given].len : left);
        left -= out[given].len;
    }
    return given;
}
