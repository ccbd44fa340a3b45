/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way of a key, worked out as a dataplane does it (core/topology.h): the order of its replicas
 * by the key's hash and the nodes' names, and who of them may be asked now.
 */
#include "keyroute.h"

#include "facts.h"
#include "uri.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { WHY_BYTES_MAX = FACTS_STATE_BYTES_MAX };

static const struct proxy_pool *find_pool(const struct request *request,
                                          const struct proxy_snapshot *snapshot)
{
    const char *wanted = route_query(request, "pool");
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        if (wanted == NULL || strcmp(snapshot->pools[p].name, wanted) == 0) {
            return &snapshot->pools[p];
        }
    }
    return NULL;
}

static node_set nodes_ready(const struct proxy_pool *pool)
{
    node_set ready = 0;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        if (facts_is_member(pool, i) && pool->control.nodes[i].admin == NODE_ADMIN_READY) {
            ready |= node_set_of(i);
        }
    }
    return ready;
}

/* By the view alone, as all proxies see it: nobody's health checks take part. */
static node_set nodes_leading(const struct proxy_pool *pool)
{
    const node_set complete = facts_complete(pool);
    const node_set undrained = complete & nodes_ready(pool);
    return undrained == 0 ? complete : undrained;
}

static json_t *replica_json(const struct proxy_pool *pool, uint32_t index, node_set leading)
{
    const node_set self = node_set_of(index);
    const bool is_read = (facts_readers(pool) & self) != 0;
    char why[WHY_BYTES_MAX];
    facts_describe(pool, index, why);
    return json_pack("{s:o, s:b, s:b, s:b, s:o}", "node", facts_text(pool->nodes[index].name),
                     "may_lead", (leading & self) != 0, "reads", is_read, "writes",
                     (facts_writers(pool) & self) != 0, "skipped",
                     is_read ? json_null() : facts_text(why));
}

/* The replicas in the key's order; *LEADER becomes the first that may lead, or stays. */
static json_t *replicas_json(const struct proxy_pool *pool, uint64_t hash, const char **leader,
                             const char **reader)
{
    struct topology order = {.node_count = pool->node_count};
    for (uint32_t i = 0; i < pool->node_count; i++) {
        order.node_seed[i] = topology_hash(slice_of_string(pool->nodes[i].name));
    }
    const node_set leading = nodes_leading(pool);
    json_t *list = json_array();
    for (node_set left = pool->control.members; left != 0;) {
        const uint32_t node = topology_first(&order, hash, left);
        left &= ~node_set_of(node);
        if (*leader == NULL && (leading & node_set_of(node)) != 0) {
            *leader = pool->nodes[node].name;
        }
        if (*reader == NULL && (facts_readers(pool) & node_set_of(node)) != 0) {
            *reader = pool->nodes[node].name;
        }
        (void)json_array_append_new(list, replica_json(pool, node, leading));
    }
    return list;
}

static json_t *route_json(const struct proxy_pool *pool, struct slice key)
{
    const char *leader = NULL;
    const char *reader = NULL;
    const uint64_t hash = topology_hash(key);
    char shown[3 * MC_KEY_BYTES_MAX + 1];
    char digits[20];
    uri_show(key, shown, sizeof(shown));
    (void)snprintf(digits, sizeof(digits), "%016" PRIx64, hash);
    json_t *replicas = replicas_json(pool, hash, &leader, &reader);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "key", shown, "hash", digits, "pool",
                     facts_text(pool->name), "epoch", facts_count(pool->control.epoch), "leader",
                     leader == NULL ? json_null() : facts_text(leader), "read_from",
                     reader == NULL ? json_null() : facts_text(reader), "replicas", replicas);
}

void keyroute_show(const struct request *request, struct reply *reply)
{
    const char *key = route_query(request, "key");
    const size_t len = key == NULL ? 0 : strlen(key);
    if (len == 0 || len > MC_KEY_BYTES_MAX) {
        reply_problem(reply, PROBLEM_BAD_REQUEST, "A key of 1 to 250 bytes is wanted.",
                      "write ?key=KEY, percent-encoded");
        return;
    }
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    const struct proxy_pool *pool = find_pool(request, snapshot);
    if (pool == NULL) {
        reply_problem(reply, PROBLEM_NO_POOL, "There is no such pool.",
                      "GET /stats?filter=replication.pools lists them; leave ?pool= out for the "
                      "first");
    } else {
        reply_json(reply, 200, route_json(pool, slice_of(key, len)));
    }
    proxy_snapshot_destroy(&snapshot);
}
