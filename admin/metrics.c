/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metrics of the whole proxy and of its pools. Counters of traffic are sums over the pools;
 * what only makes sense for one pool has a label "pool".
 */
#include "metrics.h"

#include "context.h"
#include "exposition.h"
#include "facts.h"
#include "metrics_nodes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    LABELS_BYTES_MAX = 2 * POOL_NAME_BYTES_MAX + 64,
};

enum unit { UNIT_COUNT, UNIT_US };

struct single {
    const char *name;
    const char *type;
    const char *help;
    enum unit unit;
    uint64_t value;
};

static void write_singles(FILE *out, const struct single *singles, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct single *single = &singles[i];
        exposition_family(out, single->name, single->type, single->help);
        if (single->unit == UNIT_US) {
            exposition_seconds(out, single->name, "", single->value);
        } else {
            exposition_count(out, single->name, "", single->value);
        }
    }
}

#define WRITE_SINGLES(out, singles)                                                                \
    write_singles(out, singles, sizeof(singles) / sizeof(*(singles)))

static bool is_ready(const struct proxy_snapshot *snapshot)
{
    bool is_readable = true;
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        is_readable =
            is_readable && (snapshot->pools[p].is_readable || snapshot->pools[p].is_coming);
    }
    return is_readable && snapshot->state == PROXY_RUNNING;
}

static void write_proxy(FILE *out, const struct proxy_snapshot *s)
{
    char labels[LABELS_BYTES_MAX];
    (void)exposition_label(labels, sizeof(labels), "version", s->version);
    exposition_family(out, "everwarm_build_info", "gauge", "1; the version that runs.");
    exposition_count(out, "everwarm_build_info", labels, 1);
    const struct single singles[] = {
        {"everwarm_up", "gauge", "1.", UNIT_COUNT, 1},
        {"everwarm_ready", "gauge", "Whether it runs and every pool has a readable node.",
         UNIT_COUNT, is_ready(s)},
        {"everwarm_start_time_seconds", "gauge", "When it started, since 1970.", UNIT_US,
         s->started_wall_us},
        {"everwarm_client_connections", "gauge", "Clients connected.", UNIT_COUNT, s->clients_open},
        {"everwarm_client_connections_total", "counter", "Clients accepted.", UNIT_COUNT,
         s->clients_accepted},
        {"everwarm_client_connections_limit", "gauge", "Clients at most.", UNIT_COUNT,
         s->clients_max},
        {"everwarm_log_messages_dropped_total", "counter", "Log lines that stderr did not take.",
         UNIT_COUNT, s->log_dropped},
        {"everwarm_event_loop_lag_seconds", "gauge", "How late the latest loop was lately.",
         UNIT_US, s->loop_lag_us},
    };
    WRITE_SINGLES(out, singles);
    static const char RELOADS[] = "everwarm_config_reloads_total";
    exposition_family(out, RELOADS, "counter", "Configurations put in effect, and refused.");
    exposition_count(out, RELOADS, "result=\"ok\"", s->reloads_ok);
    exposition_count(out, RELOADS, "result=\"failed\"", s->reloads_failed);
    static const char CLOSES[] = "everwarm_client_closes_total";
    exposition_family(out, CLOSES, "counter", "Clients' connections ended, by who ended them.");
    for (size_t i = 0; i < PORT_CLOSES_MAX; i++) {
        char reason[LABELS_BYTES_MAX];
        (void)exposition_label(reason, sizeof(reason), "reason", control_port_close_word(i));
        exposition_count(out, CLOSES, reason, s->clients_closed[i]);
    }
    static const char REJECTED[] = "everwarm_client_connections_rejected_total";
    exposition_family(out, REJECTED, "counter", "Clients turned away.");
    exposition_count(out, REJECTED, "reason=\"max_clients\"", s->clients_rejected_limit);
    exposition_count(out, REJECTED, "reason=\"no_fd\"", s->clients_rejected_fds);
}

static void write_commands(FILE *out, const struct dataplane_stats *traffic)
{
    static const char NAME[] = "everwarm_commands_total";
    exposition_family(out, NAME, "counter", "Clients' commands by how they ended.");
    for (size_t c = 0; c < MC_COMMAND_COUNT; c++) {
        for (size_t o = 0; o < DATAPLANE_OUTCOME_COUNT; o++) {
            char labels[LABELS_BYTES_MAX];
            (void)snprintf(labels, sizeof(labels), "command=\"%s\",status=\"%s\"",
                           mc_command_word((enum mc_command)c), facts_outcome_word(o));
            exposition_count(out, NAME, labels, traffic->commands[c][o]);
        }
    }
    static const char LATENCY[] = "everwarm_request_duration_seconds";
    exposition_family(out, LATENCY, "histogram", "From a command's last byte to its answer.");
    for (size_t c = 0; c < MC_COMMAND_COUNT; c++) {
        char labels[LABELS_BYTES_MAX];
        (void)exposition_label(labels, sizeof(labels), "command",
                               mc_command_word((enum mc_command)c));
        exposition_histogram(out, LATENCY, labels, &traffic->latency[c]);
    }
}

static void write_traffic(FILE *out, const struct dataplane_stats *t)
{
    const struct single singles[] = {
        {"everwarm_keys_hit_total", "counter", "Keys that reads found.", UNIT_COUNT, t->keys_hit},
        {"everwarm_keys_missed_total", "counter", "Keys that reads did not find.", UNIT_COUNT,
         t->keys_missed},
        {"everwarm_client_received_bytes_total", "counter", "Bytes from clients.", UNIT_COUNT,
         t->bytes_in},
        {"everwarm_client_sent_bytes_total", "counter", "Bytes to clients.", UNIT_COUNT,
         t->bytes_out},
        {"everwarm_foreign_protocols_total", "counter",
         "Clients that spoke HTTP or TLS to the data port.", UNIT_COUNT, t->foreign_protocols},
        {"everwarm_read_failovers_total", "counter", "Reads moved to another replica.", UNIT_COUNT,
         t->read_failovers},
        {"everwarm_writes_brought_home_total", "counter",
         "Writes sent again after a connection was lost.", UNIT_COUNT, t->writes_brought_home},
        {"everwarm_writes_rerun_total", "counter", "Writes run again after their leader left.",
         UNIT_COUNT, t->writes_rerun},
        {"everwarm_writes_chained_total", "counter", "Writes that went on to a filling node.",
         UNIT_COUNT, t->writes_chained},
        {"everwarm_keys_invalidated_total", "counter", "Keys deleted everywhere, in doubt.",
         UNIT_COUNT, t->keys_invalidated},
        {"everwarm_settle_checks_total", "counter", "Comparisons of replicas after writes.",
         UNIT_COUNT, t->settle_checks},
        {"everwarm_divergences_total", "counter",
         "Copies that settling or verifies saw differ twice.", UNIT_COUNT, t->divergences},
        {"everwarm_repairs_total", "counter", "Of them mended.", UNIT_COUNT, t->repairs},
        {"everwarm_settle_queue_keys", "gauge", "Written keys that wait to be compared.",
         UNIT_COUNT, t->settle_queue},
        {"everwarm_held_requests", "gauge", "Requests that wait for a view, a connection or a key.",
         UNIT_COUNT, t->held},
        {"everwarm_memory_bytes", "gauge", "Buffers in use.", UNIT_COUNT, t->memory_bytes},
        {"everwarm_memory_limit_bytes", "gauge", "Buffers at most.", UNIT_COUNT,
         t->memory_limit_bytes},
    };
    WRITE_SINGLES(out, singles);
    static const char ERRORS[] = "everwarm_protocol_errors_total";
    exposition_family(out, ERRORS, "counter", "Nonsense that came from a side.");
    exposition_count(out, ERRORS, "side=\"client\"", t->protocol_errors_clients);
    exposition_count(out, ERRORS, "side=\"node\"", t->protocol_errors_nodes);
    static const char WRITES[] = "everwarm_replicated_writes_total";
    exposition_family(out, WRITES, "counter", "Writes answered, by their result.");
    exposition_count(out, WRITES, "result=\"ok\"", t->writes_ok);
    exposition_count(out, WRITES, "result=\"failed\"", t->writes_failed);
    static const char SHED[] = "everwarm_shed_requests_total";
    exposition_family(out, SHED, "counter", "Requests refused to stay alive.");
    exposition_count(out, SHED, "reason=\"memory\"", t->shed);
}

/* --- one sample a pool --- */

typedef uint64_t pool_figure(const struct proxy_pool *pool);

static uint64_t factor(const struct proxy_pool *pool)
{
    return node_set_count(facts_complete(pool));
}

static uint64_t factor_wanted(const struct proxy_pool *pool)
{
    return facts_node_count(pool);
}

static uint64_t epoch(const struct proxy_pool *pool)
{
    return pool->control.epoch;
}

static uint64_t proxies(const struct proxy_pool *pool)
{
    return pool->control.proxies;
}

static uint64_t view_changes(const struct proxy_pool *pool)
{
    return pool->control.view_changes;
}

static uint64_t change_last_us(const struct proxy_pool *pool)
{
    return pool->control.change_last_us;
}

static uint64_t change_max_us(const struct proxy_pool *pool)
{
    return pool->control.change_max_us;
}

static uint64_t change_sum_us(const struct proxy_pool *pool)
{
    return pool->control.change_sum_us;
}

static uint64_t views_damaged(const struct proxy_pool *pool)
{
    return pool->control.views_damaged;
}

static uint64_t views_foreign(const struct proxy_pool *pool)
{
    return pool->control.views_foreign;
}

static uint64_t leases_lapsed(const struct proxy_pool *pool)
{
    return pool->control.leases_lapsed;
}

static uint64_t fill_active(const struct proxy_pool *pool)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        count += pool->control.nodes[i].is_filled_by_us ? 1 : 0;
    }
    return count;
}

static uint64_t fill_bytes_copied(const struct proxy_pool *pool)
{
    return pool->control.fill_bytes_copied;
}

static uint64_t fill_last_us(const struct proxy_pool *pool)
{
    return pool->control.fill_last_us;
}

static uint64_t fill_last_items(const struct proxy_pool *pool)
{
    return pool->control.fill_last_items;
}

static const struct {
    const char *name;
    const char *type;
    const char *help;
    pool_figure *value;
    enum unit unit;
} POOL_FAMILIES[] = {
    {"everwarm_replication_factor", "gauge", "Nodes that hold everything.", factor, UNIT_COUNT},
    {"everwarm_replication_factor_wanted", "gauge", "Nodes that should.", factor_wanted,
     UNIT_COUNT},
    {"everwarm_view_epoch", "gauge", "Number of the view in effect.", epoch, UNIT_COUNT},
    {"everwarm_proxies", "gauge", "Live proxies of the pool, this one too.", proxies, UNIT_COUNT},
    {"everwarm_view_changes_total", "counter", "Views that took effect.", view_changes, UNIT_COUNT},
    {"everwarm_view_change_last_seconds", "gauge", "How long the last change held writes here.",
     change_last_us, UNIT_US},
    {"everwarm_view_change_max_seconds", "gauge", "The longest of those.", change_max_us, UNIT_US},
    {"everwarm_view_change_seconds_total", "counter", "All of those.", change_sum_us, UNIT_US},
    {"everwarm_views_foreign_total", "counter", "Views of other pools found on our nodes.",
     views_foreign, UNIT_COUNT},
    {"everwarm_views_damaged_total", "counter", "Views found that nobody wrote so.", views_damaged,
     UNIT_COUNT},
    {"everwarm_leases_lapsed_total", "counter", "Times that it had to stop answering.",
     leases_lapsed, UNIT_COUNT},
    {"everwarm_fill_active", "gauge", "Fills that run in this proxy.", fill_active, UNIT_COUNT},
    {"everwarm_fill_bytes_total", "counter", "Bytes of values copied by fills.", fill_bytes_copied,
     UNIT_COUNT},
    {"everwarm_fill_duration_seconds", "gauge", "How long the last finished fill took.",
     fill_last_us, UNIT_US},
    {"everwarm_fill_last_items", "gauge", "Items of the last finished fill.", fill_last_items,
     UNIT_COUNT},
};

static void write_pools(FILE *out, const struct proxy_snapshot *snapshot)
{
    for (size_t f = 0; f < sizeof(POOL_FAMILIES) / sizeof(POOL_FAMILIES[0]); f++) {
        exposition_family(out, POOL_FAMILIES[f].name, POOL_FAMILIES[f].type, POOL_FAMILIES[f].help);
        for (uint32_t p = 0; p < snapshot->pool_count; p++) {
            const struct proxy_pool *pool = &snapshot->pools[p];
            char labels[LABELS_BYTES_MAX];
            (void)exposition_label(labels, sizeof(labels), "pool", pool->name);
            if (POOL_FAMILIES[f].unit == UNIT_US) {
                exposition_seconds(out, POOL_FAMILIES[f].name, labels,
                                   POOL_FAMILIES[f].value(pool));
            } else {
                exposition_count(out, POOL_FAMILIES[f].name, labels, POOL_FAMILIES[f].value(pool));
            }
        }
    }
}

/* pool="NAME",LABEL="WORD" */
static void put_pool_sample(FILE *out, const char *name, const struct proxy_pool *pool,
                            const char *const label[2], uint64_t value)
{
    char labels[LABELS_BYTES_MAX];
    size_t used = exposition_label(labels, sizeof(labels) / 2, "pool", pool->name);
    labels[used++] = ',';
    (void)exposition_label(labels + used, sizeof(labels) - used, label[0], label[1]);
    exposition_count(out, name, labels, value);
}

static const char FILL_ITEMS[] = "everwarm_fill_items_total";

static void put_fill_items(FILE *out, const struct proxy_pool *pool)
{
    const struct control_fill_items *items = &pool->control.fill_items;
    const struct {
        const char *word;
        uint64_t value;
    } outcomes[] = {
        {"copied", items->copied},   {"equal", items->equal},         {"gone", items->gone},
        {"skipped", items->skipped}, {"forgotten", items->forgotten},
    };
    for (size_t i = 0; i < sizeof(outcomes) / sizeof(outcomes[0]); i++) {
        put_pool_sample(out, FILL_ITEMS, pool, (const char *const[]){"outcome", outcomes[i].word},
                        outcomes[i].value);
    }
}

static void write_pool_words(FILE *out, const struct proxy_snapshot *snapshot)
{
    exposition_family(out, FILL_ITEMS, "counter",
                      "Items that fills looked at, by what came of it.");
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        put_fill_items(out, &snapshot->pools[p]);
    }
    static const char BEGUN[] = "everwarm_fills_total";
    exposition_family(out, BEGUN, "counter", "Fills begun by this proxy, by why.");
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        for (size_t t = 0; t < CONTROL_FILL_TRIGGER_COUNT; t++) {
            const char *word = control_fill_trigger_word((enum control_fill_trigger)t);
            put_pool_sample(out, BEGUN, &snapshot->pools[p], (const char *const[]){"trigger", word},
                            snapshot->pools[p].control.fills_begun[t]);
        }
    }
    static const char ENDED[] = "everwarm_fills_ended_total";
    exposition_family(out, ENDED, "counter", "Fills ended in this proxy, by their result.");
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        put_pool_sample(out, ENDED, &snapshot->pools[p], (const char *const[]){"result", "done"},
                        snapshot->pools[p].control.fills_done);
        put_pool_sample(out, ENDED, &snapshot->pools[p], (const char *const[]){"result", "failed"},
                        snapshot->pools[p].control.fills_failed);
    }
    static const char EVENTS[] = "everwarm_events_total";
    exposition_family(out, EVENTS, "counter", "Events of each type, as in the log.");
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        for (size_t t = 0; t < TRACE_TYPE_COUNT; t++) {
            put_pool_sample(out, EVENTS, &snapshot->pools[p],
                            (const char *const[]){"type", trace_word((enum trace_type)t)},
                            snapshot->pools[p].traces[t]);
        }
    }
}

static void write_admin(FILE *out, struct counts *counts)
{
    static const char NAME[] = "everwarm_admin_requests_total";
    exposition_family(out, NAME, "counter", "Requests to this API by the class of their answer.");
    for (size_t r = 0; r <= ROUTE_COUNT; r++) {
        const struct route *route = r == ROUTE_COUNT ? NULL : route_at(r);
        for (size_t c = 0; c < COUNTS_CLASSES; c++) {
            char labels[LABELS_BYTES_MAX];
            (void)snprintf(labels, sizeof(labels), "route=\"%s%s%s\",code=\"%s\"",
                           route == NULL ? "none" : route->method, route == NULL ? "" : " ",
                           route == NULL ? "" : route->path, COUNTS_CLASS_WORDS[c]);
            exposition_count(out, NAME, labels,
                             atomic_load_explicit(&counts->requests[r][c], memory_order_relaxed));
        }
    }
}

static void write_process(FILE *out, const struct proxy_snapshot *s)
{
    const struct single singles[] = {
        {"process_cpu_seconds_total", "counter", "User and system time of all threads.", UNIT_US,
         s->process.cpu_user_us + s->process.cpu_system_us},
        {"process_open_fds", "gauge", "File descriptors open.", UNIT_COUNT, s->process.fds_open},
        {"process_max_fds", "gauge", "File descriptors at most.", UNIT_COUNT, s->process.fds_max},
        {"process_resident_memory_bytes", "gauge", "Memory that is resident.", UNIT_COUNT,
         s->process.resident_bytes},
        {"process_virtual_memory_bytes", "gauge", "Memory that is mapped.", UNIT_COUNT,
         s->process.virtual_bytes},
        {"process_threads", "gauge", "Threads.", UNIT_COUNT, s->process.threads},
        {"process_start_time_seconds", "gauge", "When the process started, since 1970.", UNIT_US,
         s->started_wall_us},
    };
    WRITE_SINGLES(out, singles);
}

void metrics_show(const struct request *request, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    struct dataplane_stats *traffic = NULL;
    char *text = NULL;
    size_t bytes = 0;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    traffic = facts_traffic_sum(snapshot);
    FILE *out = traffic == NULL ? NULL : open_memstream(&text, &bytes);
    if (out == NULL) {
        reply_json(reply, 200, NULL);
        goto free_traffic;
    }
    write_proxy(out, snapshot);
    write_commands(out, traffic);
    write_traffic(out, traffic);
    write_pools(out, snapshot);
    write_pool_words(out, snapshot);
    metrics_nodes_write(out, snapshot);
    write_admin(out, &request->context->counts);
    write_process(out, snapshot);
    const bool is_whole = ferror(out) == 0;
    if (fclose(out) != 0 || !is_whole) {
        free(text);
        text = NULL;
    }
    reply_text(reply, "text/plain; version=0.0.4; charset=utf-8", text, bytes);
free_traffic:
    free(traffic);
    proxy_snapshot_destroy(&snapshot);
}
