/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A node has three facts that never mix: what the operator said (admin), whether it answers (oper),
 * and what is known of its data. Each is shown with its word and since when; `serving` says what
 * follows from them.
 */
#include "nodes.h"

#include "context.h"
#include "facts.h"

#include "everwarm/base/invariant.h"

static json_t *names_json(const struct proxy_pool *pool, node_set nodes)
{
    json_t *names = json_array();
    for (node_set left = nodes; left != 0; left &= left - 1) {
        (void)json_array_append_new(names, facts_text(pool->nodes[node_set_first(left)].name));
    }
    return names;
}

/* Progress is known to the proxy that fills only; what it does not know is null. */
static json_t *fill_json(const struct proxy_pool *pool, uint32_t index)
{
    const struct control_node_snapshot *node = &pool->control.nodes[index];
    if (node->data != NODE_DATA_FILLING) {
        return json_null();
    }
    const node_set donors = facts_readers(pool) & ~node_set_of(index);
    if (!node->is_filled_by_us) {
        return json_pack("{s:o, s:n, s:n, s:n, s:n}", "from", names_json(pool, donors),
                         "items_done", "items_total", "bytes_done", "eta_s");
    }
    const struct fill_progress *fill = &node->fill;
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "from", names_json(pool, donors), "items_done",
                     facts_count(fill->items_done), "items_total",
                     fill->items_total == 0 ? json_null() : facts_count(fill->items_total),
                     "bytes_done", facts_count(fill->bytes_done), "eta_s",
                     fill->eta_us == UINT64_MAX ? json_null()
                                                : facts_count((fill->eta_us + 999999) / 1000000));
}

/* How much of what is read a warming node has, as seen by this proxy. */
static json_t *warm_json(const struct proxy_snapshot *snapshot,
                         const struct control_node_snapshot *node)
{
    if (node->data != NODE_DATA_WARMING) {
        return json_null();
    }
    return json_pack("{s:o, s:o, s:o}", "asked", facts_count(node->warm_asked), "hits",
                     facts_count(node->warm_hits), "good_since",
                     node->is_warm ? facts_time(snapshot, node->warm_since_us) : json_null());
}

static json_t *check_json(const struct proxy_snapshot *snapshot,
                          const struct control_node_snapshot *node)
{
    if (node->check_at_us == 0) {
        return json_pack("{s:n, s:n, s:n, s:n}", "result", "ms", "at", "text");
    }
    return json_pack("{s:s, s:f, s:o, s:o}", "result", node->is_check_ok ? "ok" : "failed", "ms",
                     (double)node->check_us / 1e3, "at", facts_time(snapshot, node->check_at_us),
                     "text", facts_text(node->check_text));
}

static json_t *quantile_json(const struct histogram *latency, uint32_t per_mille)
{
    return latency->count == 0 ? json_null()
                               : facts_seconds(histogram_quantile_us(latency, per_mille));
}

static json_t *traffic_json(const struct dataplane_node_stats *traffic)
{
    return json_pack(
        "{s:o, s:{s:o, s:o, s:o}, s:o, s:o, s:o}", "requests", facts_count(traffic->requests),
        "errors", "timeout", facts_count(traffic->errors[WIRE_END_TIMEOUT]), "connect",
        facts_count(traffic->connect_failures), "protocol",
        facts_count(traffic->errors[WIRE_END_PROTOCOL]), "in_flight",
        facts_count(traffic->in_flight), "p50_s", quantile_json(&traffic->latency, 500), "p99_s",
        quantile_json(&traffic->latency, 990));
}

/* What the view says, and what the operator said beside it to this proxy. */
static json_t *admin_json(struct context *context, const struct proxy_snapshot *snapshot,
                          const struct proxy_pool *pool, uint32_t index)
{
    const struct control_node_snapshot *node = &pool->control.nodes[index];
    struct word word = {.until_wall_us = 0};
    (void)words_find(&context->words, pool->nodes[index].name, node->admin, &word);
    return json_pack("{s:s, s:o, s:o, s:o}", "state", node_admin_word(node->admin), "reason",
                     word.reason[0] == '\0' ? json_null() : json_string(word.reason), "since",
                     facts_time(snapshot, node->admin_since_us), "until",
                     word.until_wall_us == 0 ? json_null() : facts_wall_time(word.until_wall_us));
}

static json_t *oper_json(const struct proxy_snapshot *snapshot,
                         const struct control_node_snapshot *node)
{
    const uint64_t held_us = node->hold_down_until_us > snapshot->now_mono_us
                                 ? node->hold_down_until_us - snapshot->now_mono_us
                                 : 0;
    return json_pack("{s:s, s:o, s:o, s:o}", "state", node_oper_word(node->oper), "since",
                     facts_time(snapshot, node->oper_since_us), "transitions_1h",
                     facts_count(node->transitions_1h), "hold_down_s",
                     facts_count((held_us + 999999) / 1000000));
}

static json_t *data_json(const struct proxy_snapshot *snapshot, const struct proxy_pool *pool,
                         uint32_t index)
{
    const struct control_node_snapshot *node = &pool->control.nodes[index];
    return json_pack("{s:s, s:o, s:o, s:o}", "state", node_data_word(node->data), "since",
                     facts_time(snapshot, node->data_since_us), "fill", fill_json(pool, index),
                     "warm", warm_json(snapshot, node));
}

json_t *nodes_json(struct context *context, const struct proxy_snapshot *snapshot,
                   const struct proxy_pool *pool, uint32_t index)
{
    const struct proxy_node *node = &pool->nodes[index];
    const struct control_node_snapshot *state = &pool->control.nodes[index];
    const struct dataplane_node_stats *traffic = &pool->traffic.nodes[index];
    const node_set self = node_set_of(index);
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:{s:b, s:b}, s:o, s:o, s:{s:o, s:o, s:o}}",
        "name", facts_text(node->name), "pool", facts_text(pool->name), "address",
        facts_text(node->address), "zone",
        node->zone[0] == '\0' ? json_null() : facts_text(node->zone), "weight",
        facts_count(node->weight), "admin", admin_json(context, snapshot, pool, index), "oper",
        oper_json(snapshot, state), "data", data_json(snapshot, pool, index), "serving", "reads",
        (facts_readers(pool) & self) != 0, "writes", (facts_writers(pool) & self) != 0, "check",
        check_json(snapshot, state), "traffic", traffic_json(traffic), "connections", "open",
        facts_count(traffic->is_open), "connects", facts_count(traffic->connects), "failures",
        facts_count(traffic->connect_failures));
}

static uint64_t epoch_max(const struct proxy_snapshot *snapshot)
{
    uint64_t epoch = 0;
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        const uint64_t other = snapshot->pools[p].control.epoch;
        epoch = other > epoch ? other : epoch;
    }
    return epoch;
}

void nodes_list(const struct request *request, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    json_t *nodes = json_array();
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        const struct proxy_pool *pool = &snapshot->pools[p];
        for (uint32_t i = 0; i < pool->node_count; i++) {
            if (facts_is_member(pool, i)) {
                (void)json_array_append_new(nodes, nodes_json(request->context, snapshot, pool, i));
            }
        }
    }
    reply_json(reply, 200,
               json_pack("{s:o, s:o}", "epoch", facts_count(epoch_max(snapshot)), "nodes", nodes));
    proxy_snapshot_destroy(&snapshot);
}

static void refuse_unknown(const struct request *request, struct reply *reply)
{
    reply_problem_about(reply, PROBLEM_NO_NODE, "GET /v1/nodes lists the names",
                        "There is no node \"%s\".", request->name);
}

bool nodes_find(const struct request *request, struct reply *reply, uint32_t *pool, uint32_t *node)
{
    if (control_port_find_node(request->port, request->name, pool, node)) {
        return true;
    }
    refuse_unknown(request, reply);
    return false;
}

void nodes_show(const struct request *request, struct reply *reply)
{
    uint32_t pool = 0;
    uint32_t node = 0;
    if (!nodes_find(request, reply, &pool, &node)) {
        return;
    }
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    const struct proxy_pool *own = proxy_snapshot_pool(snapshot, pool);
    if (own != NULL && facts_is_member(own, node)) {
        reply_json(reply, 200, nodes_json(request->context, snapshot, own, node));
    } else {
        refuse_unknown(request, reply); /* removed just now */
    }
    proxy_snapshot_destroy(&snapshot);
}
