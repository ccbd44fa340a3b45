/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A node has three facts that never mix: what the operator said (admin), whether it answers (oper),
 * and what is known of its data. Each is shown with its word and since when; `serving` says what
 * follows from them.
 */
#include "nodes.h"

#include "facts.h"
#include "uri.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <string.h>

enum {
    /* Beyond what control itself waits for: its mailbox, its turn, and ours. */
    COMMAND_GRACE_MS = 1000,
    COMMAND_TIMEOUT_MS_MAX = 60000,
    /* A name whose every byte is encoded. */
    ENCODED_NAME_BYTES_MAX = 3 * NODE_NAME_BYTES_MAX + 1,
};

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

static json_t *facts_three_json(const struct proxy_snapshot *snapshot,
                                const struct proxy_pool *pool, uint32_t index)
{
    const struct control_node_snapshot *node = &pool->control.nodes[index];
    const uint64_t held_us = node->hold_down_until_us > snapshot->now_mono_us
                                 ? node->hold_down_until_us - snapshot->now_mono_us
                                 : 0;
    return json_pack("{s:{s:s, s:n, s:o, s:n}, s:{s:s, s:o, s:o, s:o}, s:{s:s, s:o, s:o}}", "admin",
                     "state", node_admin_word(node->admin), "reason", "since",
                     facts_time(snapshot, node->admin_since_us), "until", "oper", "state",
                     node_oper_word(node->oper), "since", facts_time(snapshot, node->oper_since_us),
                     "transitions_1h", facts_count(node->transitions_1h), "hold_down_s",
                     facts_count((held_us + 999999) / 1000000), "data", "state",
                     node_data_word(node->data), "since", facts_time(snapshot, node->data_since_us),
                     "fill", fill_json(pool, index));
}

json_t *nodes_json(const struct proxy_snapshot *snapshot, const struct proxy_pool *pool,
                   uint32_t index)
{
    const struct proxy_node *node = &pool->nodes[index];
    const struct dataplane_node_stats *traffic = &pool->traffic.nodes[index];
    const node_set self = node_set_of(index);
    json_t *json = json_pack("{s:o, s:o, s:o, s:o}", "name", facts_text(node->name), "address",
                             facts_text(node->address), "zone",
                             node->zone[0] == '\0' ? json_null() : facts_text(node->zone), "weight",
                             facts_count(node->weight));
    json_t *three = facts_three_json(snapshot, pool, index);
    json_t *rest = json_pack(
        "{s:{s:b, s:b}, s:o, s:o, s:{s:o, s:o, s:o}}", "serving", "reads",
        (facts_readers(pool) & self) != 0, "writes", (facts_writers(pool) & self) != 0, "check",
        check_json(snapshot, &pool->control.nodes[index]), "traffic", traffic_json(traffic),
        "connections", "open", facts_count(traffic->is_open), "connects",
        facts_count(traffic->connects), "failures", facts_count(traffic->connect_failures));
    if (json_object_update(json, three) < 0 || json_object_update(json, rest) < 0) {
        json_decref(json);
        json = NULL;
    }
    json_decref(three);
    json_decref(rest);
    return json;
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
            (void)json_array_append_new(nodes, nodes_json(snapshot, pool, i));
        }
    }
    reply_json(reply, 200,
               json_pack("{s:o, s:o}", "epoch", facts_count(epoch_max(snapshot)), "nodes", nodes));
    proxy_snapshot_destroy(&snapshot);
}

static bool find_node(const struct request *request, struct reply *reply, uint32_t *pool,
                      uint32_t *node)
{
    if (control_port_find_node(request->port, request->name, pool, node)) {
        return true;
    }
    reply_problem_about(reply, PROBLEM_NO_NODE, "GET /v1/nodes lists the names",
                        "There is no node \"%s\".", request->name);
    return false;
}

void nodes_show(const struct request *request, struct reply *reply)
{
    uint32_t pool = 0;
    uint32_t node = 0;
    if (!find_node(request, reply, &pool, &node)) {
        return;
    }
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    REQUIRE(pool < snapshot->pool_count && node < snapshot->pools[pool].node_count);
    reply_json(reply, 200, nodes_json(snapshot, &snapshot->pools[pool], node));
    proxy_snapshot_destroy(&snapshot);
}

/* Whether the body, if any, asks for nothing; otherwise the reply says why not. */
static bool is_body_good(const struct request *request, struct reply *reply)
{
    if (request->body.len == 0) {
        return true;
    }
    json_error_t error;
    json_t *body = json_loadb(request->body.ptr, request->body.len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(body)) {
        json_decref(body);
        reply_problem_about(reply, PROBLEM_BAD_JSON, "send a JSON object, or no body",
                            "Line %d, column %d: %s.", body == NULL ? error.line : 1,
                            body == NULL ? error.column : 1,
                            body == NULL ? error.text : "not an object");
        return false;
    }
    const char *member = json_object_iter_key(json_object_iter(body));
    if (member != NULL) {
        const bool is_coming = strcmp(member, "reason") == 0 || strcmp(member, "for") == 0;
        reply_problem_about(reply, PROBLEM_UNSUPPORTED, "repeat the call without a body",
                            is_coming ? "\"%.64s\" is not kept by this release yet."
                                      : "A command has no member \"%.64s\".",
                            member);
    }
    json_decref(body);
    return member == NULL;
}

static bool read_force(const struct request *request, struct reply *reply, bool *out)
{
    const char *force = route_query(request, "force");
    *out = force != NULL && strcmp(force, "false") != 0;
    if (force == NULL || strcmp(force, "true") == 0 || strcmp(force, "false") == 0) {
        return true;
    }
    reply_problem(reply, PROBLEM_BAD_REQUEST, "\"force\" is true or false.", "write ?force=true");
    return false;
}

static const char *gerund(enum control_command_type command)
{
    switch (command) {
    case CONTROL_COMMAND_READY:
        return "Taking back";
    case CONTROL_COMMAND_DRAIN:
        return "Draining";
    case CONTROL_COMMAND_MAINT:
        return "Shutting out";
    case CONTROL_COMMAND_RESYNC:
        return "Emptying";
    case CONTROL_COMMAND_VERIFY:
    case CONTROL_COMMAND_VERIFY_STOP:
        break; /* never refused for want of a copy */
    }
    UNREACHABLE();
}

/* How a second copy could come about, the quickest last. */
enum way { WAY_NONE, WAY_START, WAY_READY, WAY_WAIT };

static enum way way_of(const struct control_node_snapshot *node)
{
    if (node->oper == NODE_OPER_DOWN) {
        return WAY_START;
    }
    if (node->data == NODE_DATA_FILLING) {
        return WAY_WAIT;
    }
    return node->admin == NODE_ADMIN_READY ? WAY_NONE : WAY_READY;
}

static void suggest_copy(const struct proxy_pool *pool, uint32_t node, char *fix, size_t bytes)
{
    enum way best = WAY_NONE;
    const char *other = "";
    for (uint32_t i = 0; i < pool->node_count; i++) {
        const enum way way = way_of(&pool->control.nodes[i]);
        if (i != node && way > best) {
            best = way;
            other = pool->nodes[i].name;
        }
    }
    char path[ENCODED_NAME_BYTES_MAX];
    uri_encode(other, path, sizeof(path));
    switch (best) {
    case WAY_NONE:
        (void)snprintf(fix, bytes, "%s, or repeat with ?force=true",
                       pool->node_count == 1 ? "add a second node"
                                             : "wait until GET /v1/nodes shows a second copy");
        break;
    case WAY_START:
        (void)snprintf(fix, bytes, "start %s again and let it fill, or repeat with ?force=true",
                       other);
        break;
    case WAY_READY:
        (void)snprintf(fix, bytes,
                       "POST /v1/nodes/%s/ready and let it fill, or repeat with ?force=true", path);
        break;
    case WAY_WAIT:
        (void)snprintf(fix, bytes,
                       "wait until GET /v1/nodes/%s says complete, or repeat with ?force=true",
                       path);
        break;
    }
}

static const char *consequence(enum control_command_type command, const struct proxy_pool *pool,
                               uint32_t node)
{
    if (command == CONTROL_COMMAND_RESYNC) {
        return "loses what no other node holds";
    }
    const node_set others = facts_complete(pool) & ~node_set_of(node);
    return others == 0 ? "makes every read a miss" : "leaves no node for reads";
}

static void refuse_last_copy(const struct request *request, const struct proxy_pool *pool,
                             uint32_t node, struct reply *reply)
{
    const enum control_command_type command = request->route->command;
    char others[FACTS_LIST_BYTES_MAX];
    char fix[FACTS_LIST_BYTES_MAX];
    facts_describe_all(pool, node_set_all(pool->node_count) & ~node_set_of(node), others);
    suggest_copy(pool, node, fix, sizeof(fix));
    reply_problem_about(reply, PROBLEM_LAST_COPY, fix, "%s. %s %s %s.", others, gerund(command),
                        request->name, consequence(command, pool, node));
}

static void reply_last_copy(const struct request *request, const struct control_port_request *asked,
                            struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    refuse_last_copy(request, &snapshot->pools[asked->pool], asked->node, reply);
    proxy_snapshot_destroy(&snapshot);
}

/* A resync has only begun when it is in effect: 202, and where to watch it. */
static void reply_done(const struct request *request, enum control_result result,
                       struct reply *reply)
{
    char name[ENCODED_NAME_BYTES_MAX];
    char path[ENCODED_NAME_BYTES_MAX + sizeof("/v1/nodes/")];
    uri_encode(request->name, name, sizeof(name));
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s", name);
    const bool is_begun = request->route->command == CONTROL_COMMAND_RESYNC;
    reply_json(reply, is_begun ? 202 : 200,
               json_pack("{s:s, s:s, s:b, s:s}", "name", request->name, "command",
                         strrchr(request->route->path, '/') + 1, "changed",
                         result == CONTROL_RESULT_OK, "see", path));
}

static void reply_result(const struct request *request, const struct control_port_request *asked,
                         enum control_result result, struct reply *reply)
{
    switch (result) {
    case CONTROL_RESULT_OK:
    case CONTROL_RESULT_UNCHANGED:
        reply_done(request, result, reply);
        break;
    case CONTROL_RESULT_LAST_COPY:
        reply_last_copy(request, asked, reply);
        break;
    case CONTROL_RESULT_TIMEOUT:
        reply_problem_about(reply, PROBLEM_TIMEOUT,
                            "look at GET /v1/nodes, and repeat the call: repeating is harmless",
                            "The view that says so is proposed, but not all proxies and nodes have "
                            "taken it within %u ms. It may still come into effect.",
                            asked->timeout_ms);
        break;
    case CONTROL_RESULT_STARTING:
        reply_problem(reply, PROBLEM_STARTING, "It has not joined a view of the pool yet.",
                      "repeat the call when GET /readyz answers 200");
        break;
    case CONTROL_RESULT_BUSY:
        reply_problem(reply, PROBLEM_BUSY, "Another verify is under way.",
                      "repeat the call when it is over");
        break;
    }
}

static uint32_t command_timeout_ms(const struct request *request, uint32_t pool)
{
    struct proxy_snapshot *snapshot = NULL;
    uint64_t timeout_ms = COMMAND_TIMEOUT_MS_MAX;
    if (control_port_snapshot(request->port, &snapshot) == STATUS_OK) {
        timeout_ms = snapshot->pools[pool].config->request_timeout_us / 1000 + COMMAND_GRACE_MS;
        proxy_snapshot_destroy(&snapshot);
    }
    return (uint32_t)(timeout_ms < COMMAND_TIMEOUT_MS_MAX ? timeout_ms : COMMAND_TIMEOUT_MS_MAX);
}

void nodes_command(const struct request *request, struct reply *reply)
{
    struct control_port_request asked = {.type = request->route->command};
    if (!find_node(request, reply, &asked.pool, &asked.node) ||
        !read_force(request, reply, &asked.is_forced) || !is_body_good(request, reply)) {
        return;
    }
    asked.timeout_ms = command_timeout_ms(request, asked.pool);
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    if (control_port_command(request->port, &asked, &result) != STATUS_OK) {
        reply_problem(reply, PROBLEM_BUSY, "The proxy takes no more commands at the moment.",
                      "repeat the call in a second");
        return;
    }
    reply_result(request, &asked, result, reply);
}
