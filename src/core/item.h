/* SPDX-License-Identifier: BSD-2-Clause */
/* An item as far as equality of copies goes; made of the replies to "mg" with c, t and f. */
#ifndef EVERWARM_CORE_ITEM_H
#define EVERWARM_CORE_ITEM_H

#include "everwarm/mc/encode.h"
#include "everwarm/mc/reply.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* Expiry is exact to this (replication.md section 1). */
    ITEM_EXPIRY_SLACK_MS = 2000,
};

struct item {
    uint64_t cas;
    uint64_t value_bytes;
    uint64_t hash;     /* of the value, where it was compared */
    int64_t expiry_ms; /* on our clock; INT64_MAX never; INT64_MIN: it has expired */
    uint32_t flags;
    bool is_marked; /* W, X or Z was shown */
};

/* REPLY shows CAS and expiry. */
struct item item_of(const struct mc_reply *reply, uint64_t now_us);
bool item_is_expired(const struct item *item);
bool item_is_expiry_equal(const struct item *a, const struct item *b);
/* The same item of the same node, seen twice. */
bool item_is_unchanged(const struct item *then, const struct item *now);
/* COPY, of another node, is what it should be; the hashes of both are known. */
bool item_is_copy_equal(const struct item *leader, const struct item *copy);

/* What T is to be given on a node whose time is NODE_TIME_S, for an item with so long to live. */
int64_t item_exptime(int64_t ttl_s, int64_t node_time_s);

/*
 * The command that gives back an item's recache win, which a read of ours took: its next reader has
 * it, if the item still has CAS.
 *
 *   keeps_cas  the node knows `E`; otherwise the item has another CAS then
 */
void item_write_give_back(struct mc_writer *w, struct slice key, uint64_t cas, bool keeps_cas);

#endif
