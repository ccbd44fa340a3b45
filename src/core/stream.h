/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One of the connections that fills and verifies run over: what comes is cut into replies, pieces
 * of values and lines of dumps; what is to be written lies in a ring. What it means is the owner's.
 */
#ifndef EVERWARM_CORE_STREAM_H
#define EVERWARM_CORE_STREAM_H

#include "everwarm/base/byte_ring.h"
#include "everwarm/base/limits.h"
#include "everwarm/core/wire.h"
#include "everwarm/mc/reply.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* memcached's -I goes up to 1 GiB; a value announced larger is nonsense. */
    STREAM_VALUE_BYTES_MAX = 1 << 30,
};

enum stream_link {
    STREAM_CLOSED,
    STREAM_WANTED, /* the action CONNECT is to be taken */
    STREAM_CONNECTING,
    STREAM_OPEN,
    STREAM_ENDING, /* given up: what comes is passed over until its end */
};

enum stream_form {
    STREAM_REPLIES,
    STREAM_DUMP, /* lines that end with LF alone */
};

struct stream {
    enum stream_link link;
    bool wants_close;  /* the action CLOSE is to be taken, before CONNECT */
    bool wants_finish; /* the action FINISH is to be taken, after the last WRITE */
    bool wants_write;
    uint32_t node;
    struct byte_ring out;
    uint32_t hidden; /* bytes at the end of `out` that are not to be sent yet */
    bool was_owed;
    uint64_t heard_us; /* last progress, or when an answer became owed */
    uint32_t line_bytes;
    char line[MC_REPLY_LINE_BYTES_MAX]; /* the beginning of a line that is not complete */
    uint64_t value_left;                /* bytes of a value still to come */
    uint32_t crlf_left;                 /* and of the CRLF behind it */
};

enum stream_token_type {
    STREAM_TOKEN_REPLY,     /* reply */
    STREAM_TOKEN_LINE,      /* bytes: a line of a dump, without its end */
    STREAM_TOKEN_PIECE,     /* bytes: of the value that the last reply announced */
    STREAM_TOKEN_VALUE_END, /* it was whole, CRLF included */
    STREAM_TOKEN_BAD,       /* nonsense: the stream is to be given up */
};

struct stream_token {
    enum stream_token_type type;
    struct mc_reply reply;
    struct slice bytes;
};

/* MEMORY of CAPACITY bytes, a power of two, is the ring's. */
void stream_init(struct stream *s, void *memory, uint32_t capacity);

/* The stream is CLOSED. */
void stream_connect(struct stream *s, uint32_t node);
void stream_close(struct stream *s);
/*
 * Give up an OPEN stream on which a write may be under way: what is queued is still sent, then it
 * is half-closed; CLOSED, when the node has executed all it ever will, comes by itself.
 */
void stream_finish(struct stream *s);
/* Queue bytes; false: no room. */
bool stream_send(struct stream *s, struct slice bytes);

/*
 * Take the next token off the front of INPUT, which came on this stream; what is not complete is
 * kept inside.
 *
 * Returns  false when INPUT is used up. The token's slices die with the next call, or with INPUT.
 */
bool stream_take(struct stream *s, enum stream_form form, struct slice *input,
                 struct stream_token *out);

/* The socket took COUNT bytes. */
void stream_wrote(struct stream *s, uint32_t count);
bool stream_next_action(struct stream *s, uint32_t wire, struct wire_action *out);
size_t stream_gather(const struct stream *s, struct slice *out, size_t capacity);

/* IS_OWED: it owes an answer, or a connection. The clock begins when it comes to, and again with
 * each sign of life. */
void stream_watch(struct stream *s, bool is_owed, uint64_t now_us);
bool stream_is_silent(const struct stream *s, uint64_t now_us, uint64_t timeout_us);

#endif
