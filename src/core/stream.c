/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Input is consumed whole, always: of a line that is not complete its beginning is kept, of a value
 * nothing. Output lies in one ring; its last `hidden` bytes are not shown to the outside. When the
 * ring has run empty it begins at its start again, so that only what is needed is ever touched.
 */
#include "stream.h"

#include "everwarm/base/invariant.h"

void stream_init(struct stream *s, void *memory, uint32_t capacity)
{
    *s = (struct stream){.link = STREAM_CLOSED};
    byte_ring_init(&s->out, memory, capacity);
}

void stream_connect(struct stream *s, uint32_t node)
{
    INVARIANT(s->link == STREAM_CLOSED);
    s->link = STREAM_WANTED;
    s->node = node;
    s->was_owed = false;
    s->line_bytes = 0;
    s->value_left = 0;
    s->crlf_left = 0;
    s->hidden = 0;
    s->wants_write = false;
    s->wants_finish = false;
    byte_ring_init(&s->out, s->out.memory, s->out.capacity);
}

void stream_close(struct stream *s)
{
    if (s->link == STREAM_CONNECTING || s->link == STREAM_OPEN || s->link == STREAM_ENDING) {
        s->wants_close = true;
    }
    s->wants_finish = false;
    s->link = STREAM_CLOSED;
}

void stream_finish(struct stream *s)
{
    INVARIANT(s->link == STREAM_OPEN);
    s->link = STREAM_ENDING;
    s->wants_finish = true;
}

bool stream_send(struct stream *s, struct slice bytes)
{
    if (!byte_ring_put(&s->out, bytes)) {
        return false;
    }
    s->wants_write = true;
    return true;
}

/* --- Input --- */

/* The end of a dump's line is LF alone. */
static bool take_dump_line(struct slice input, size_t *taken, struct stream_token *out)
{
    const char *lf = memchr(input.ptr, '\n', input.len);
    if (lf == NULL) {
        out->type = STREAM_TOKEN_BAD;
        return input.len >= MC_REPLY_LINE_BYTES_MAX;
    }
    size_t len = (size_t)(lf - input.ptr);
    *taken = len + 1;
    out->type = STREAM_TOKEN_LINE;
    out->bytes = slice_of(input.ptr, len > 0 && lf[-1] == '\r' ? len - 1 : len);
    return true;
}

static bool take_reply(struct stream *s, struct slice input, size_t *taken,
                       struct stream_token *out)
{
    switch (mc_reply_parse(input, 0, STREAM_VALUE_BYTES_MAX, &out->reply)) {
    case MC_PARSE_MORE:
        return false;
    case MC_PARSE_BAD:
        out->type = STREAM_TOKEN_BAD;
        return true;
    case MC_PARSE_DONE:
        break;
    }
    *taken = out->reply.line_bytes;
    out->type = STREAM_TOKEN_REPLY;
    if (out->reply.kind == MC_REPLY_VA) {
        s->value_left = out->reply.value_bytes;
        s->crlf_left = 2;
    }
    return true;
}

static bool take_whole(struct stream *s, enum stream_form form, struct slice input, size_t *taken,
                       struct stream_token *out)
{
    return form == STREAM_DUMP ? take_dump_line(input, taken, out)
                               : take_reply(s, input, taken, out);
}

static bool take_line(struct stream *s, enum stream_form form, struct slice *input,
                      struct stream_token *out)
{
    size_t taken = input->len;
    if (s->line_bytes == 0) {
        if (take_whole(s, form, *input, &taken, out)) {
            *input = slice_skip(*input, taken);
            return true;
        }
        INVARIANT(input->len < sizeof s->line);
        memcpy(s->line, input->ptr, input->len);
        s->line_bytes = (uint32_t)input->len;
        *input = slice_skip(*input, input->len);
        return false;
    }
    const char *lf = memchr(input->ptr, '\n', input->len);
    size_t piece = lf != NULL ? (size_t)(lf - input->ptr) + 1 : input->len;
    size_t room = sizeof s->line - s->line_bytes;
    piece = piece < room ? piece : room;
    memcpy(s->line + s->line_bytes, input->ptr, piece);
    s->line_bytes += (uint32_t)piece;
    *input = slice_skip(*input, piece);
    if (!take_whole(s, form, slice_of(s->line, s->line_bytes), &taken, out)) {
        INVARIANT(s->line_bytes < sizeof s->line);
        return false;
    }
    s->line_bytes = 0; /* the token still looks at them */
    return true;
}

static bool take_value(struct stream *s, struct slice *input, struct stream_token *out)
{
    size_t piece = input->len < s->value_left ? input->len : (size_t)s->value_left;
    s->value_left -= piece;
    out->type = STREAM_TOKEN_PIECE;
    out->bytes = slice_of(input->ptr, piece);
    *input = slice_skip(*input, piece);
    return true;
}

static bool take_crlf(struct stream *s, struct slice *input, struct stream_token *out)
{
    if (input->ptr[0] != (s->crlf_left == 2 ? '\r' : '\n')) {
        out->type = STREAM_TOKEN_BAD;
        return true;
    }
    *input = slice_skip(*input, 1);
    s->crlf_left--;
    out->type = STREAM_TOKEN_VALUE_END;
    return s->crlf_left == 0;
}

bool stream_take(struct stream *s, enum stream_form form, struct slice *input,
                 struct stream_token *out)
{
    bool is_token = false;
    while (!is_token && input->len > 0) {
        is_token = s->value_left > 0  ? take_value(s, input, out)
                   : s->crlf_left > 0 ? take_crlf(s, input, out)
                                      : take_line(s, form, input, out);
    }
    return is_token;
}

/* --- Output --- */

void stream_wrote(struct stream *s, uint32_t count)
{
    byte_ring_take(&s->out, count);
    if (byte_ring_used(&s->out) == 0) {
        byte_ring_init(&s->out, s->out.memory, s->out.capacity);
    }
    s->wants_write = s->wants_write || count > 0;
}

static uint32_t sendable(const struct stream *s)
{
    bool is_open = s->link == STREAM_OPEN || s->link == STREAM_ENDING;
    return is_open ? byte_ring_used(&s->out) - s->hidden : 0;
}

bool stream_next_action(struct stream *s, uint32_t wire, struct wire_action *out)
{
    *out = (struct wire_action){.wire = wire, .node = s->node};
    if (s->wants_close) {
        s->wants_close = false;
        out->type = WIRE_CLOSE;
        return true;
    }
    if (s->link == STREAM_WANTED) {
        s->link = STREAM_CONNECTING;
        out->type = WIRE_CONNECT;
        return true;
    }
    if (s->wants_write && sendable(s) > 0) {
        s->wants_write = false;
        out->type = WIRE_WRITE;
        return true;
    }
    if (s->wants_finish && sendable(s) == 0) {
        s->wants_finish = false;
        out->type = WIRE_FINISH;
        return true;
    }
    return false;
}

size_t stream_gather(const struct stream *s, struct slice *out, size_t capacity)
{
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

/* --- Time --- */

void stream_watch(struct stream *s, bool is_owed, uint64_t now_us)
{
    if (is_owed && !s->was_owed) {
        s->heard_us = now_us;
    }
    s->was_owed = is_owed;
}

bool stream_is_silent(const struct stream *s, uint64_t now_us, uint64_t timeout_us)
{
    return s->was_owed && now_us - s->heard_us >= timeout_us;
}
