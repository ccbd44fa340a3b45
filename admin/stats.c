/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * /stats. Figures of the whole proxy stand at the top of each section, what belongs to one pool
 * below "pools". Every member is there from the first second, as 0 or null.
 */
#include "stats.h"

#include "facts.h"
#include "nodes.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

static json_t *clients_json(const struct proxy_snapshot *snapshot,
                            const struct dataplane_stats *traffic)
{
    return json_pack(
        "{s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:o}", "open", facts_count(snapshot->clients_open),
        "total", facts_count(snapshot->clients_accepted), "max", facts_count(snapshot->clients_max),
        "rejected", "max_clients", facts_count(snapshot->clients_rejected_limit), "no_fd",
        facts_count(snapshot->clients_rejected_fds), "received_bytes",
        facts_count(traffic->bytes_in), "sent_bytes", facts_count(traffic->bytes_out),
        "protocol_errors", facts_count(traffic->protocol_errors_clients));
}

static json_t *commands_json(const struct dataplane_stats *traffic)
{
    uint64_t total = 0;
    json_t *json = json_object();
    for (size_t c = 0; c < MC_COMMAND_COUNT; c++) {
        json_t *command = json_object();
        for (size_t o = 0; o < DATAPLANE_OUTCOME_COUNT; o++) {
            total += traffic->commands[c][o];
            (void)json_object_set_new(command, facts_outcome_word(o),
                                      facts_count(traffic->commands[c][o]));
        }
        (void)json_object_set_new(json, mc_command_word((enum mc_command)c), command);
    }
    (void)json_object_set_new(json, "total", facts_count(total));
    (void)json_object_set_new(json, "keys_hit", facts_count(traffic->keys_hit));
    (void)json_object_set_new(json, "keys_missed", facts_count(traffic->keys_missed));
    return json;
}

static json_t *latency_json(const struct histogram *latency)
{
    if (latency->count == 0) {
        return json_pack("{s:i, s:n, s:n, s:n, s:n, s:n}", "count", 0, "mean_s", "p50_s", "p90_s",
                         "p99_s", "p999_s");
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "count", facts_count(latency->count),
                     "mean_s", facts_seconds(latency->sum_us / latency->count), "p50_s",
                     facts_seconds(histogram_quantile_us(latency, 500)), "p90_s",
                     facts_seconds(histogram_quantile_us(latency, 900)), "p99_s",
                     facts_seconds(histogram_quantile_us(latency, 990)), "p999_s",
                     facts_seconds(histogram_quantile_us(latency, 999)));
}

/* All that only looks, all else, and each command by its name. */
static json_t *latencies_json(const struct dataplane_stats *traffic)
{
    json_t *json = json_object();
    struct histogram *sums = calloc(2, sizeof(*sums));
    if (sums == NULL) {
        json_decref(json);
        return NULL;
    }
    for (size_t c = 0; c < MC_COMMAND_COUNT; c++) {
        const enum mc_command command = (enum mc_command)c;
        histogram_add(&sums[dataplane_is_read(command) ? 0 : 1], &traffic->latency[c]);
        (void)json_object_set_new(json, mc_command_word(command),
                                  latency_json(&traffic->latency[c]));
    }
    (void)json_object_set_new(json, "reads", latency_json(&sums[0]));
    (void)json_object_set_new(json, "writes", latency_json(&sums[1]));
    free(sums);
    return json;
}

static json_t *nodes_section(struct context *context, const struct proxy_snapshot *snapshot)
{
    json_t *json = json_object();
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        const struct proxy_pool *pool = &snapshot->pools[p];
        for (uint32_t i = 0; i < pool->node_count; i++) {
            if (facts_is_member(pool, i)) {
                (void)json_object_set_new(json, pool->nodes[i].name,
                                          nodes_json(context, snapshot, pool, i));
            }
        }
    }
    return json;
}

static json_t *pool_replication_json(const struct proxy_pool *pool)
{
    const struct control_snapshot *control = &pool->control;
    json_t *json = json_pack(
        "{s:s, s:b, s:o, s:i, s:i, s:b, s:b, s:o, s:o}", "state",
        control_state_word(control->state), "readable", pool->is_readable, "epoch",
        facts_count(control->epoch), "factor", (int)node_set_count(facts_complete(pool)),
        "factor_wanted", (int)facts_node_count(pool), "young", control->is_young, "writes_stopped",
        control->is_stopped, "proxies", facts_count(control->proxies), "proxy_id",
        control->proxy_id == VIEW_NO_PROXY ? json_null() : facts_count(control->proxy_id));
    json_t *changes = json_pack(
        "{s:{s:o, s:o, s:o, s:o}, s:o, s:o}", "view_changes", "count",
        facts_count(control->view_changes), "last_s", facts_seconds(control->change_last_us),
        "max_s", facts_seconds(control->change_max_us), "sum_s",
        facts_seconds(control->change_sum_us), "views_damaged", facts_count(control->views_damaged),
        "leases_lapsed", facts_count(control->leases_lapsed));
    if (json_object_update(json, changes) < 0) {
        json_decref(json);
        json = NULL;
    }
    json_decref(changes);
    return json;
}

static json_t *replication_json(const struct proxy_snapshot *snapshot,
                                const struct dataplane_stats *traffic)
{
    json_t *pools = json_object();
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        (void)json_object_set_new(pools, snapshot->pools[p].name,
                                  pool_replication_json(&snapshot->pools[p]));
    }
    return json_pack(
        "{s:{s:o, s:o, s:o, s:o, s:o}, s:{s:o, s:o, s:o, s:o}, s:o, s:o, s:o}", "writes", "ok",
        facts_count(traffic->writes_ok), "failed", facts_count(traffic->writes_failed),
        "brought_home", facts_count(traffic->writes_brought_home), "rerun",
        facts_count(traffic->writes_rerun), "chained", facts_count(traffic->writes_chained),
        "settle", "queue", facts_count(traffic->settle_queue), "checks",
        facts_count(traffic->settle_checks), "divergences", facts_count(traffic->divergences),
        "repairs", facts_count(traffic->repairs), "read_failovers",
        facts_count(traffic->read_failovers), "keys_invalidated",
        facts_count(traffic->keys_invalidated), "pools", pools);
}

static json_t *fills_begun_json(const struct control_snapshot *control)
{
    json_t *json = json_object();
    for (size_t t = 0; t < CONTROL_FILL_TRIGGER_COUNT; t++) {
        (void)json_object_set_new(json, control_fill_trigger_word((enum control_fill_trigger)t),
                                  facts_count(control->fills_begun[t]));
    }
    return json;
}

static json_t *fill_items_json(const struct control_snapshot *control)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o}", "copied", facts_count(control->fill_items.copied),
                     "equal", facts_count(control->fill_items.equal), "gone",
                     facts_count(control->fill_items.gone), "skipped",
                     facts_count(control->fill_items.skipped), "forgotten",
                     facts_count(control->fill_items.forgotten));
}

static json_t *pool_fill_json(const struct proxy_pool *pool)
{
    const struct control_snapshot *control = &pool->control;
    uint64_t active = 0;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        active += control->nodes[i].is_filled_by_us ? 1 : 0;
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "active",
                     facts_count(active), "begun", fills_begun_json(control), "items",
                     fill_items_json(control), "done", facts_count(control->fills_done), "failed",
                     facts_count(control->fills_failed), "items_copied",
                     facts_count(control->fill_items.copied), "bytes_copied",
                     facts_count(control->fill_bytes_copied), "last_items",
                     facts_count(control->fill_last_items), "last_s",
                     facts_seconds(control->fill_last_us), "last_items_per_s",
                     control->fill_last_us == 0
                         ? json_null()
                         : facts_count(control->fill_last_items * 1000000 / control->fill_last_us));
}

static json_t *fill_json(const struct proxy_snapshot *snapshot)
{
    json_t *pools = json_object();
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        (void)json_object_set_new(pools, snapshot->pools[p].name,
                                  pool_fill_json(&snapshot->pools[p]));
    }
    return json_pack("{s:o}", "pools", pools);
}

static json_t *memory_json(const struct proxy_snapshot *snapshot,
                           const struct dataplane_stats *traffic)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "used_bytes", facts_count(traffic->memory_bytes),
                     "limit_bytes", facts_count(traffic->memory_limit_bytes), "resident_bytes",
                     facts_count(snapshot->process.resident_bytes), "virtual_bytes",
                     facts_count(snapshot->process.virtual_bytes));
}

static json_t *overload_json(const struct proxy_snapshot *snapshot,
                             const struct dataplane_stats *traffic)
{
    return json_pack("{s:o, s:o, s:o, s:o}", "shed", facts_count(traffic->shed), "held",
                     facts_count(traffic->held), "loop_lag_s", facts_seconds(snapshot->loop_lag_us),
                     "log_dropped", facts_count(snapshot->log_dropped));
}

static json_t *process_json(const struct proxy_process *process)
{
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o}", "fds_open", facts_count(process->fds_open), "fds_max",
        facts_count(process->fds_max), "threads", facts_count(process->threads), "cpu_user_s",
        facts_seconds(process->cpu_user_us), "cpu_system_s", facts_seconds(process->cpu_system_us));
}

static json_t *stats_json(struct context *context, const struct proxy_snapshot *snapshot,
                          const struct dataplane_stats *traffic)
{
    return json_pack(
        "{s:s, s:o, s:i, s:o, s:o, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
        "everwarm", "version", facts_text(snapshot->version), "pid", (int)snapshot->pid, "uptime_s",
        facts_count(snapshot->uptime_us / 1000000), "time", facts_wall_time(snapshot->now_wall_us),
        "state", proxy_state_word(snapshot->state), "config_epoch",
        facts_count(snapshot->config_epoch), "clients", clients_json(snapshot, traffic), "commands",
        commands_json(traffic), "latency", latencies_json(traffic), "nodes",
        nodes_section(context, snapshot), "replication", replication_json(snapshot, traffic),
        "fill", fill_json(snapshot), "memory", memory_json(snapshot, traffic), "overload",
        overload_json(snapshot, traffic), "process", process_json(&snapshot->process));
}

static json_t *take_stats(const struct request *request)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        return NULL;
    }
    struct dataplane_stats *traffic = facts_traffic_sum(snapshot);
    json_t *json = traffic == NULL ? NULL : stats_json(request->context, snapshot, traffic);
    const char *glob = route_query(request, "filter");
    if (json != NULL && glob != NULL) {
        json_t *found = tree_filter(json, glob);
        json_decref(json);
        json = found;
    }
    free(traffic);
    proxy_snapshot_destroy(&snapshot);
    return json;
}

void stats_show(const struct request *request, struct reply *reply)
{
    const char *format = route_query(request, "format");
    const bool is_text = format != NULL && strcmp(format, "text") == 0;
    if (format != NULL && !is_text && strcmp(format, "json") != 0) {
        reply_problem(reply, PROBLEM_BAD_REQUEST, "\"format\" is text or json.",
                      "write ?format=text, or leave it out");
        return;
    }
    json_t *json = take_stats(request);
    if (json == NULL || !is_text) {
        reply_json(reply, 200, json);
        return;
    }
    size_t bytes = 0;
    char *text = tree_text(json, &bytes);
    json_decref(json);
    reply_text(reply, "text/plain; charset=utf-8", text, bytes);
}
