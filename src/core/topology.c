/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who is the leader of a key. A mirror's replicas are all its nodes; rendezvous hashing gives every
 * key its own order of them, so that leaders are spread evenly, and a node that leaves hands its
 * keys to all others alike while nobody else's leader moves.
 */
#include "everwarm/core/topology.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/prng.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

const char *node_data_word(enum node_data data)
{
    switch (data) {
    case NODE_DATA_COMPLETE:
        return "complete";
    case NODE_DATA_FILLING:
        return "filling";
    case NODE_DATA_WARMING:
        return "warming";
    case NODE_DATA_OUT:
        return "out";
    }
    UNREACHABLE();
}

const char *node_admin_word(enum node_admin admin)
{
    switch (admin) {
    case NODE_ADMIN_READY:
        return "ready";
    case NODE_ADMIN_DRAIN:
        return "drain";
    case NODE_ADMIN_MAINT:
        return "maint";
    }
    UNREACHABLE();
}

const char *node_oper_word(enum node_oper oper)
{
    switch (oper) {
    case NODE_OPER_DOWN:
        return "down";
    case NODE_OPER_UP:
        return "up";
    }
    UNREACHABLE();
}

uint64_t topology_hash(struct slice key)
{
    return XXH3_64bits(key.ptr, key.len);
}

uint32_t topology_first(const struct topology *topology, uint64_t key_hash, node_set nodes)
{
    REQUIRE(nodes != 0);
    uint32_t best = node_set_first(nodes);
    nodes &= nodes - 1;
    if (nodes == 0) {
        return best;
    }
    uint64_t best_score = prng_mix(key_hash ^ topology->node_seed[best]);
    for (; nodes != 0; nodes &= nodes - 1) {
        uint32_t node = node_set_first(nodes);
        uint64_t score = prng_mix(key_hash ^ topology->node_seed[node]);
        if (score > best_score) {
            best = node;
            best_score = score;
        }
    }
    return best;
}
