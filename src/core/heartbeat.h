/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a proxy says of itself on every node (replication.md section 4, Heartbeat), and its text
 * (docs/wire.md).
 */
#ifndef EVERWARM_CORE_HEARTBEAT_H
#define EVERWARM_CORE_HEARTBEAT_H

#include "everwarm/core/view.h"

/* What a farewell has for a view: one that has joined none yet, and is to be waited for, has 0. */
enum {
    HEARTBEAT_FAREWELL = 1,
    HEARTBEAT_FAREWELL_DUE = 2, /* copies may differ by what it did: as after a death */
};

struct heartbeat {
    uint32_t id;             /* 0..PROXIES_MAX-1 */
    uint64_t nonce;          /* of this run of the proxy */
    uint64_t sequence;       /* grows with each one stored */
    uint64_t epoch;          /* of the view it has joined; 0: none yet, or none any more */
    uint64_t view_hash;      /* of that view; with epoch 0, HEARTBEAT_FAREWELL*: it has left */
    uint64_t effective_hash; /* of the view that is in effect for it; 0: none yet */
    uint64_t config_hash;    /* of the pool's configuration */
    uint64_t clock_ceiling;  /* tokens stay below it; 0 in this release */
    node_set given_up; /* nodes with connections given up, not yet at EOF; in the text by name */
};

/* Its proxy does nothing any more, and has nothing under way. */
static inline bool heartbeat_is_farewell(const struct heartbeat *heartbeat)
{
    return heartbeat->epoch == 0 && (heartbeat->view_hash == HEARTBEAT_FAREWELL ||
                                     heartbeat->view_hash == HEARTBEAT_FAREWELL_DUE);
}

/* Write the text; w->is_full: no room. */
void heartbeat_emit(const struct heartbeat *heartbeat, const struct view_names *names,
                    struct mc_writer *w);

/* Read the text; false when it is not exactly what heartbeat_emit writes. Unknown node names are
 * passed over: the other proxy's pool has one more, and its config_hash says so. */
bool heartbeat_parse(struct slice text, const struct view_names *names, struct heartbeat *out);

#endif
