/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a node answers: classic and meta replies, one line at a time. A node is as little trusted as
 * a client: what is not exactly of a known form is MC_PARSE_BAD, and its connection is given up.
 */
#ifndef EVERWARM_MC_REPLY_H
#define EVERWARM_MC_REPLY_H

#include "everwarm/base/slice.h"
#include "everwarm/mc/request.h"

#include <stdbool.h>
#include <stdint.h>

enum mc_reply_kind {
    MC_REPLY_VALUE, /* VALUE key flags bytes [cas]; value_bytes and CRLF follow the line */
    MC_REPLY_END,   /* END */
    MC_REPLY_HD,    /* meta: stored, deleted, hit without value */
    MC_REPLY_VA,    /* meta: value_bytes and CRLF follow the line */
    MC_REPLY_EN,    /* meta: miss */
    MC_REPLY_NS,    /* meta: not stored */
    MC_REPLY_EX,    /* meta: CAS differs */
    MC_REPLY_NF,    /* meta: not found */
    MC_REPLY_ME,    /* meta: what me tells; the line behind "ME " in text */
    MC_REPLY_MN,    /* meta: no-op */
    MC_REPLY_STAT,  /* STAT name value: name in key, value in text */
    MC_REPLY_OK,
    MC_REPLY_STORED,
    MC_REPLY_NOT_STORED,
    MC_REPLY_EXISTS,
    MC_REPLY_NOT_FOUND,
    MC_REPLY_DELETED,
    MC_REPLY_TOUCHED,
    MC_REPLY_NUMBER, /* incr and decr: the number in number */
    MC_REPLY_VERSION,
    MC_REPLY_ERROR,        /* ERROR..., text holds the line */
    MC_REPLY_CLIENT_ERROR, /* text holds the whole line without CRLF */
    MC_REPLY_SERVER_ERROR,
    MC_REPLY_BUSY, /* lru_crawler: BUSY ... */
    MC_REPLY_DUMP, /* a metadump line "key=..."; text holds it; see mc/dump.h */
};

/* One reply line. Slices point into the input and die when it is consumed. */
struct mc_reply {
    enum mc_reply_kind kind;
    struct slice key;  /* VALUE and STAT; meta: flag k */
    struct slice text; /* errors: the line without CRLF; STAT, VERSION: the value; DUMP: the line */
    uint64_t value_bytes; /* VALUE, VA */
    uint32_t flags;       /* VALUE; meta: flag f */
    uint64_t cas;         /* VALUE of gets; meta: flag c */
    int64_t ttl_s;        /* meta: flag t; -1 never */
    uint64_t number;      /* NUMBER */
    uint64_t item_bytes;  /* meta: flag s */
    uint64_t idle_s;      /* meta: flag l */
    bool was_fetched;     /* meta: flag h */
    bool is_key_base64;   /* meta: flag b */
    bool has_flags;       /* meta: flag f was there */
    bool has_cas;
    bool has_ttl;
    bool is_won;          /* meta: flag W */
    bool is_stale;        /* meta: flag X */
    bool is_sent;         /* meta: flag Z */
    size_t line_bytes;    /* with CRLF */
    size_t scanned_bytes; /* MORE: give it back as SCANNED */
};

/*
 * Parse the reply line at the start of INPUT. Data blocks are the caller's: value_bytes, then CRLF.
 *
 * Lines over MC_REPLY_LINE_BYTES_MAX, bare LF, numbers that overflow, negative lengths, those above
 * ITEM_BYTES_MAX, keys over MC_KEY_BYTES_MAX, unknown words, doubled spaces, trailing rubbish are
 * BAD. Unknown one-letter meta flags are passed over. Lines of a dump alone may end with a bare LF:
 * memcached writes them so. value_bytes <= item_bytes_max holds when DONE.
 *
 * Returns  DONE, MORE or BAD.   Thread  any; pure.
 */
enum mc_parse mc_reply_parse(struct slice input, size_t scanned, uint64_t item_bytes_max,
                             struct mc_reply *out);

#endif
