/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a line of a node's dump says to those who copy or compare. A dump is believed as a whole or
 * not at all: nothing is concluded before its END has come, and one that is refused, broken off or
 * not understood is asked for again on a new connection.
 */
#ifndef EVERWARM_CORE_DUMP_LINE_H
#define EVERWARM_CORE_DUMP_LINE_H

#include "everwarm/base/slice.h"
#include "everwarm/mc/dump.h"

#define DUMP_LINE_COMMAND "lru_crawler metadump hash\r\n"

/* Of a node that refuses. */
#define DUMP_LINE_REFUSAL "refused (memcached's option -X, or no_lru_crawler)"

enum {
    /* memcached crawls by itself too, for up to half a minute on a full cache; BUSY until then. */
    DUMP_LINE_TRIES_MAX = 240,
    DUMP_LINE_PAUSE_US = 250000,
};

enum dump_line {
    DUMP_LINE_ITEM, /* of a client's key; *out is filled */
    /* Of a key that neither a word nor base64 can name (mc_key_can_be_written). It was stored with
     * the binary protocol, and not by us. */
    DUMP_LINE_HIDDEN,
    DUMP_LINE_PASS,    /* nothing to look at */
    DUMP_LINE_END,     /* the dump was whole */
    DUMP_LINE_AGAIN,   /* it comes to nothing: BUSY, ERROR locked, nonsense */
    DUMP_LINE_REFUSED, /* likewise, and asking again is of no use */
};

enum dump_line dump_line_read(struct slice line, struct mc_dump_item *out);

#endif
