/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a client asks, in any of memcached's dialects: each has a parser, and all fill the same
 * request. Here: the classic text protocol and the meta commands. Source: memcached's
 * doc/protocol.txt, and what memcached 1.6.18 and 1.6.38 answer (tests/conformance).
 */
#ifndef EVERWARM_MC_REQUEST_H
#define EVERWARM_MC_REQUEST_H

#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Every operation that clients know: enum suffix, its classic word. What meta commands have no
 * words of their own for (ms, md, ma are set, delete, incr and their kin) stands at the end. */
#define MC_COMMAND_TABLE(X)                                                                        \
    X(GET, "get")                                                                                  \
    X(GETS, "gets")                                                                                \
    X(GAT, "gat")                                                                                  \
    X(GATS, "gats")                                                                                \
    X(SET, "set")                                                                                  \
    X(ADD, "add")                                                                                  \
    X(REPLACE, "replace")                                                                          \
    X(APPEND, "append")                                                                            \
    X(PREPEND, "prepend")                                                                          \
    X(CAS, "cas")                                                                                  \
    X(DELETE, "delete")                                                                            \
    X(INCR, "incr")                                                                                \
    X(DECR, "decr")                                                                                \
    X(TOUCH, "touch")                                                                              \
    X(FLUSH_ALL, "flush_all")                                                                      \
    X(VERSION, "version")                                                                          \
    X(VERBOSITY, "verbosity")                                                                      \
    X(STATS, "stats")                                                                              \
    X(QUIT, "quit")                                                                                \
    X(META_GET, "mg")                                                                              \
    X(META_DEBUG, "me")                                                                            \
    X(NOOP, "mn")

enum mc_command {
#define X(name, word) MC_##name,
    MC_COMMAND_TABLE(X)
#undef X
        MC_COMMAND_COUNT
};

enum mc_parse {
    MC_PARSE_DONE, /* out is filled */
    MC_PARSE_MORE, /* the line is not complete; nothing but out->scanned_bytes is filled */
    MC_PARSE_BAD,  /* not to be forwarded: out->error, line_bytes, swallow_bytes, must_close say
                      what to do */
};

/* In which words the answer is given. */
enum mc_dialect { MC_DIALECT_CLASSIC, MC_DIALECT_META, MC_DIALECT_BINARY };

/* One command line. Slices point into the input and die when it is consumed. */
struct mc_request {
    enum mc_command command;
    enum mc_dialect dialect;
    bool is_noreply;   /* nothing is answered, not even an error */
    bool is_quiet;     /* meta q: the usual answer is not given (mg: a miss; others: done) */
    bool is_base64;    /* the key is written in base64, and goes to the nodes so */
    bool has_cas;      /* only if the item's CAS is `cas`, where there is an item */
    bool has_exptime;  /* meta T: mg, md and ma change the expiry only then */
    bool is_vivify;    /* meta N: what is missing is created, with vivify_exptime_s */
    bool has_recache;  /* mg R */
    bool is_mark;      /* md and ms I: may leave a stale item behind, marked as such */
    bool is_emptied;   /* md x: the value goes, the item stays */
    bool wants_value;  /* meta v */
    bool wants_cas;    /* meta c */
    bool is_foreign;   /* BAD only: HTTP, TLS */
    bool must_close;   /* BAD only: answer, then close; what follows in the input is dropped */
    uint32_t flags;    /* set and its kin */
    int64_t exptime_s; /* 0 never, negative at once, > 30 days absolute; as memcached does, cut
                               to 32 bits; gat, gats, touch too; flush_all: the delay, <= 0: now */
    uint64_t cas;      /* cas */
    uint64_t delta;    /* incr, decr */
    uint64_t initial;  /* incr, decr: the number that is created */
    int64_t vivify_exptime_s;
    int64_t recache_s;
    uint64_t value_bytes;    /* set and its kin: length of the data block without its CRLF */
    uint64_t swallow_bytes;  /* BAD only: bytes after the line that belong to it (data and CRLF), to
                               be read and dropped before the error is sent */
    uint32_t key_count;      /* get, gets, gat, gats; otherwise 1, or 0 */
    struct slice key;        /* the first key. BAD: empty, but of a "set" or "ms" whose value is too
                               large: memcached drops the old item then, so must we */
    struct slice keys;       /* get and its kin: all keys with the spaces between; no NUL in it */
    struct slice argument;   /* stats: what follows the word, trimmed, possibly empty */
    struct slice flags_text; /* meta: its flags as the client wrote them, valid, each once: their
                               order is that of the answer, and of what T, N and t do */
    struct slice error;   /* BAD only: the reply with CRLF, a constant; empty: say nothing, either
                               because the client wrote noreply or before closing */
    size_t line_bytes;    /* DONE and BAD: bytes of the line with its end */
    size_t scanned_bytes; /* MORE: give it back as SCANNED when more bytes have come */
};

/*
 * Parse the command line at the start of INPUT, classic or meta.
 *
 * A line ends with LF, one CR before it is dropped, and a NUL ends what is looked at of it, as in
 * memcached. A line of more than MC_LINE_BYTES_MAX bytes before its LF is BAD with must_close, but
 * get, gets, gat and gats, whose bound is MC_GET_LINE_BYTES_MAX; the answer does not depend on how
 * the bytes are cut. Keys of more than MC_KEY_BYTES_MAX bytes, numbers that don't parse and value
 * lengths that are negative or above ITEM_BYTES_MAX get memcached's own error words and, where
 * memcached swallows the data block, swallow_bytes.
 *
 * Beyond memcached these are BAD: keys that begin with the reserved prefix "_everwarm:"
 * (replication.md section 4), also when written in base64; base64 that is not as its encoder writes
 * it; meta's E, since we choose the CAS; commands that a proxy can't pass on (slabs, watch, ...),
 * with a CLIENT_ERROR that names them; value lengths of 2^32 and more, which memcached cuts to 32
 * bits; a first byte of TLS or of the binary protocol, and lines that look like HTTP, with
 * must_close and no word.
 *
 * Numbers may be written with a sign, leading white space and trailing rubbish after white space,
 * which memcached accepts: what goes to a node is written anew from the fields, never the client's
 * own digits. Keys hold no space and no NUL, and may hold any other byte.
 *
 *   input           borrowed; whole of what is unconsumed
 *   scanned         bytes at its start already known to hold no LF; 0 at first
 *   item_bytes_max  the largest value accepted
 *   out             caller's
 *
 * Thread  any; pure.
 */
enum mc_parse mc_request_parse(struct slice input, size_t scanned, uint64_t item_bytes_max,
                               struct mc_request *out);

/*
 * Take the next key off the front of KEYS (a mc_request's keys).
 *
 * Returns  the key; of length 0 when there is none left.
 */
struct slice mc_request_next_key(struct slice *keys);

/*
 * The bytes of a key that is written in base64.
 *
 *   to       MC_KEY_BYTES_MAX bytes
 *
 * Returns  its length; 0 when WRITTEN is not base64 as an encoder writes it, or is empty or longer
 *          than MC_KEY_BYTES_MAX.
 */
size_t mc_key_decode(struct slice written, char *to);

/* The command's word, "get". */
const char *mc_command_word(enum mc_command command);

#endif
