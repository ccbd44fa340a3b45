/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of "lru_crawler metadump hash" (replication.md section 2). */
#ifndef EVERWARM_MC_DUMP_H
#define EVERWARM_MC_DUMP_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

struct mc_dump_item {
    char key[MC_KEY_BYTES_MAX]; /* percent-decoded */
    uint32_t key_bytes;
    int64_t exptime_s; /* absolute, by the node's clock; -1 never */
    uint64_t cas;
    uint64_t size_bytes; /* of the whole item, as memcached counts it */
};

/*
 * Read a line "key=... exp=... la=... cas=... fetch=... cls=... size=...", CRLF or LF already cut
 * off. Later fields are ignored.
 *
 * Returns  false when the line is not of this form; the dump that holds it concludes nothing.
 */
bool mc_dump_parse(struct slice line, struct mc_dump_item *out);

#endif
