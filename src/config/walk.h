/* SPDX-License-Identifier: BSD-2-Clause */
/* Every key of a configuration, one after the other: the top's, each pool's, each node's. */
#ifndef EVERWARM_SRC_CONFIG_WALK_H
#define EVERWARM_SRC_CONFIG_WALK_H

#include "everwarm/config/diff.h"
#include "key.h"

struct walk {
    const struct config *config;
    bool is_flat; /* the one pool is written at the top level */
    size_t next_key;
    size_t pool; /* index; pool_count: past the last */
    size_t node; /* of that pool, in the scope of nodes */
    enum key_scope scope;
    /* Of the key found: */
    const struct key *key;
    const void *base; /* its scope's struct */
    char path[DIFF_PATH_BYTES_MAX];
};

struct walk walk_begin(const struct config *config);
/* Go on to the next key; false: there is none. Arrays of pools and nodes are no keys here. */
bool walk_next(struct walk *walk);

/* The value of the key found, as a file would have it. A new reference. */
json_t *walk_value(const struct walk *walk);

#endif
