/* SPDX-License-Identifier: BSD-2-Clause */
/* What follows from a snapshot, and its values as JSON: shared by all routes that show figures. */
#ifndef EVERWARM_ADMIN_FACTS_H
#define EVERWARM_ADMIN_FACTS_H

#include "everwarm/shell/control_port.h"

#include <jansson.h>

enum {
    /* A node's name and what is the matter with it. */
    FACTS_STATE_BYTES_MAX = NODE_NAME_BYTES_MAX + 64,
    /* Of a few nodes; a longer list is cut, with "..." at its end. */
    FACTS_LIST_BYTES_MAX = 512,
};

/* Does a node stand at that place? */
static inline bool facts_is_member(const struct proxy_pool *pool, uint32_t node)
{
    return node < NODES_MAX && (pool->control.members & node_set_of(node)) != 0;
}

static inline uint32_t facts_node_count(const struct proxy_pool *pool)
{
    return node_set_count(pool->control.members);
}

/* Nodes of POOL that are asked for reads, by the view and by their health. */
node_set facts_readers(const struct proxy_pool *pool);
/* Nodes of POOL that writes reach. */
node_set facts_writers(const struct proxy_pool *pool);
/* Nodes of POOL that hold all data. */
node_set facts_complete(const struct proxy_pool *pool);

/* "b is down", "c is filling (29%)", "a serves". */
void facts_describe(const struct proxy_pool *pool, uint32_t node, char out[FACTS_STATE_BYTES_MAX]);

/* The same of all NODES, "b is down and c is filling (29%)"; "There is no other node" if empty. */
void facts_describe_all(const struct proxy_pool *pool, node_set nodes,
                        char out[FACTS_LIST_BYTES_MAX]);

/* "hit": the word of enum dataplane_outcome, for loops over all of them. */
const char *facts_outcome_word(size_t outcome);

/* The traffic of all pools, but that of single nodes, with what verifies found; malloc'd, NULL: out
 * of memory. */
struct dataplane_stats *facts_traffic_sum(const struct proxy_snapshot *snapshot);

/* A number; beyond what JSON's integers hold here it stays at the largest. */
json_t *facts_count(uint64_t value);
/* Microseconds as seconds. */
json_t *facts_seconds(uint64_t us);
/* "2026-01-01T00:00:00Z" of microseconds since 1970. */
json_t *facts_wall_time(uint64_t wall_us);
/* "2026-01-01T00:00:00.042Z" */
json_t *facts_wall_time_ms(uint64_t wall_us);
/* A monotonic time of SNAPSHOT, in whole seconds; null for 0. */
json_t *facts_time(const struct proxy_snapshot *snapshot, uint64_t mono_us);
/* The same in milliseconds; of a time that was. */
json_t *facts_time_ms(const struct proxy_snapshot *snapshot, uint64_t mono_us);
/* Text of a peer: bytes that are no graphic ASCII become '?'. */
json_t *facts_text(const char *text);

#endif
