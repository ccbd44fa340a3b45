/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * memcached's binary protocol: what a client asks, and how it is answered. A request is a header of
 * 24 bytes, then extras, key and value, whose lengths stand in the header; the whole body's length
 * stands there too, and nothing is believed before they agree. Source: what memcached 1.6.18 and
 * 1.6.38 do (tests/conformance/binary.txt); the names are those of its protocol_binary.h.
 */
#ifndef EVERWARM_MC_BINARY_H
#define EVERWARM_MC_BINARY_H

#include "everwarm/base/slice.h"
#include "everwarm/mc/encode.h"
#include "everwarm/mc/request.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    MC_BINARY_REQUEST_MAGIC = 0x80,
    MC_BINARY_REPLY_MAGIC = 0x81,
    MC_BINARY_HEADER_BYTES = 24,
    /* Of increment: delta, initial value, expiry. */
    MC_BINARY_EXTRAS_BYTES_MAX = 20,
    /* A request up to its value. */
    MC_BINARY_HEAD_BYTES_MAX = MC_BINARY_HEADER_BYTES + MC_BINARY_EXTRAS_BYTES_MAX + 250,
};

enum mc_binary_opcode {
    MC_BINARY_GET = 0x00,
    MC_BINARY_SET = 0x01,
    MC_BINARY_ADD = 0x02,
    MC_BINARY_REPLACE = 0x03,
    MC_BINARY_DELETE = 0x04,
    MC_BINARY_INCREMENT = 0x05,
    MC_BINARY_DECREMENT = 0x06,
    MC_BINARY_QUIT = 0x07,
    MC_BINARY_FLUSH = 0x08,
    MC_BINARY_GETQ = 0x09,
    MC_BINARY_NOOP = 0x0a,
    MC_BINARY_VERSION = 0x0b,
    MC_BINARY_GETK = 0x0c,
    MC_BINARY_GETKQ = 0x0d,
    MC_BINARY_APPEND = 0x0e,
    MC_BINARY_PREPEND = 0x0f,
    MC_BINARY_STAT = 0x10,
    MC_BINARY_SETQ = 0x11,
    MC_BINARY_ADDQ = 0x12,
    MC_BINARY_REPLACEQ = 0x13,
    MC_BINARY_DELETEQ = 0x14,
    MC_BINARY_INCREMENTQ = 0x15,
    MC_BINARY_DECREMENTQ = 0x16,
    MC_BINARY_QUITQ = 0x17,
    MC_BINARY_FLUSHQ = 0x18,
    MC_BINARY_APPENDQ = 0x19,
    MC_BINARY_PREPENDQ = 0x1a,
    MC_BINARY_TOUCH = 0x1c,
    MC_BINARY_GAT = 0x1d,
    MC_BINARY_GATQ = 0x1e,
    MC_BINARY_SASL_LIST_MECHS = 0x20,
    MC_BINARY_SASL_AUTH = 0x21,
    MC_BINARY_SASL_STEP = 0x22,
    MC_BINARY_GATK = 0x23,
    MC_BINARY_GATKQ = 0x24,
};

/* Status and the words that memcached sends with it when it is not success. */
#define MC_BINARY_STATUS_TABLE(X)                                                                  \
    X(OK, 0x0000, "")                                                                              \
    X(NOT_FOUND, 0x0001, "Not found")                                                              \
    X(EXISTS, 0x0002, "Data exists for key.")                                                      \
    X(TOO_LARGE, 0x0003, "Too large.")                                                             \
    X(INVALID, 0x0004, "Invalid arguments")                                                        \
    X(NOT_STORED, 0x0005, "Not stored.")                                                           \
    X(NON_NUMERIC, 0x0006, "Non-numeric server-side value for incr or decr")                       \
    X(UNKNOWN_COMMAND, 0x0081, "Unknown command")                                                  \
    X(OUT_OF_MEMORY, 0x0082, "Out of memory")                                                      \
    X(TEMPORARY_FAILURE, 0x0086, "Temporary failure") /* ours: no node can answer now */

enum mc_binary_status {
#define X(name, code, text) MC_BINARY_##name = (code),
    MC_BINARY_STATUS_TABLE(X)
#undef X
};

/* One request. Slices point into the input and die when it is consumed. */
struct mc_binary_request {
    uint8_t opcode; /* as it was sent, and as it is answered */
    uint8_t plain;  /* the same without its Q; MC_BINARY_GET for the four gets, _GAT for the gats */
    bool is_quiet;  /* success (of gets: a miss) is not answered */
    bool wants_key; /* GETK and its kin: the key is in the answer */
    bool must_close;        /* BAD only: answer, then close */
    bool is_silent;         /* BAD only: no answer, it was not this protocol */
    bool has_initial;       /* INCREMENT, DECREMENT: a miss stores the initial value */
    uint32_t opaque;        /* comes back in the answer */
    uint32_t flags;         /* of what is stored */
    int64_t exptime_s;      /* 0 never, > 30 days absolute; never negative; FLUSH: the delay */
    uint64_t cas;           /* 0: none asked for */
    uint64_t delta;         /* INCREMENT, DECREMENT */
    uint64_t initial;       /* the same */
    struct slice key;       /* STAT: what is asked for. BAD: empty, but of a SET whose value is too
                             large: memcached drops the old item then, so must we */
    uint64_t value_bytes;   /* behind the head; no CRLF follows them */
    uint64_t swallow_bytes; /* BAD only: bytes behind the head that belong to the request */
    enum mc_binary_status status; /* BAD only */
    size_t head_bytes; /* DONE and BAD: header, extras and key; BAD may end with the header */
};

/*
 * Parse the request at the start of INPUT, as far as its value.
 *
 * A header whose lengths don't agree, or don't fit its command, is BAD with must_close as soon as
 * it is there, and no byte behind it is looked at: where the next request begins can't be known. An
 * unknown command is BAD and swallowed. So are SASL's, with the same status as memcached's without
 * SASL.
 *
 * Beyond memcached these are BAD: keys that the nodes' text protocol can't carry, with a space, LF
 * or NUL, and reserved ones, INVALID, with the value swallowed; a body behind TOUCH, GAT and STAT
 * that memcached would take for the next request, INVALID, with must_close.
 *
 *   input           borrowed; whole of what is unconsumed
 *   item_bytes_max  the largest value accepted
 *
 * Returns  DONE, MORE (nothing is filled) or BAD.   Thread  any; pure.
 */
enum mc_parse mc_binary_parse(struct slice input, uint64_t item_bytes_max,
                              struct mc_binary_request *out);

/* Whether an opcode, any byte, is a known one with a Q, or one whose answer holds the key. */
bool mc_binary_is_quiet(uint8_t opcode);
bool mc_binary_wants_key(uint8_t opcode);

/* What an answer's header tells. */
struct mc_binary_reply {
    uint8_t opcode;
    enum mc_binary_status status;
    uint32_t opaque;
    uint64_t cas;
    uint32_t extras_bytes;
    uint32_t key_bytes;
    uint64_t value_bytes; /* below 2^32 less the other two */
};

/* Write the header; extras, key and value are the caller's. */
void mc_binary_write_header(struct mc_writer *w, const struct mc_binary_reply *reply);

/* Write a whole answer that has no more than a status and, unless it is OK, its words. */
void mc_binary_write_status(struct mc_writer *w, struct mc_binary_reply reply);

/* What mc_binary_write_status writes at most. */
enum { MC_BINARY_STATUS_BYTES_MAX = MC_BINARY_HEADER_BYTES + 64 };

void mc_binary_write_u32(struct mc_writer *w, uint32_t value);
void mc_binary_write_u64(struct mc_writer *w, uint64_t value);

/* "Not found", and so on; empty for OK. */
struct slice mc_binary_status_text(enum mc_binary_status status);

#endif
