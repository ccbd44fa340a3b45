/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What "stats" answers. The totals have memcached's own names and count what memcached counts, so
 * that its exporters and dashboards show a proxy as they show a server; "stats nodes" and "stats
 * proxy" are ours. What speaks of one server's storage is empty.
 */
#include "dataplane_private.h"

/* --- Totals --- */

static uint64_t asked(const struct dataplane_stats *stats, enum mc_command command)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < DATAPLANE_OUTCOME_COUNT; i++) {
        sum += stats->commands[command][i];
    }
    return sum;
}

static uint64_t ended(const struct dataplane_stats *stats, enum mc_command command,
                      enum dataplane_outcome outcome)
{
    return stats->commands[command][outcome] - stats->passed_over[command][outcome];
}

static void add_conditions(struct dataplane_totals *totals, const struct dataplane_stats *stats)
{
    totals->cas_hits += ended(stats, MC_CAS, DATAPLANE_OUTCOME_STORED);
    totals->cas_misses += ended(stats, MC_CAS, DATAPLANE_OUTCOME_MISS);
    totals->cas_differed += ended(stats, MC_CAS, DATAPLANE_OUTCOME_REFUSED);
    totals->deletes_hit += ended(stats, MC_DELETE, DATAPLANE_OUTCOME_STORED);
    totals->deletes_missed += ended(stats, MC_DELETE, DATAPLANE_OUTCOME_MISS) +
                              ended(stats, MC_DELETE, DATAPLANE_OUTCOME_REFUSED);
    totals->incrs_hit += ended(stats, MC_INCR, DATAPLANE_OUTCOME_STORED);
    totals->incrs_missed += ended(stats, MC_INCR, DATAPLANE_OUTCOME_MISS);
    totals->decrs_hit += ended(stats, MC_DECR, DATAPLANE_OUTCOME_STORED);
    totals->decrs_missed += ended(stats, MC_DECR, DATAPLANE_OUTCOME_MISS);
    totals->touches_hit += stats->touches_hit + ended(stats, MC_TOUCH, DATAPLANE_OUTCOME_STORED);
    totals->touches_missed +=
        stats->touches_missed + ended(stats, MC_TOUCH, DATAPLANE_OUTCOME_MISS);
}

void dataplane_add_totals(struct dataplane_totals *totals, const struct dataplane_stats *stats)
{
    totals->clients += stats->clients;
    totals->clients_total += stats->clients_total;
    totals->hits += stats->keys_hit;
    totals->misses += stats->keys_missed;
    for (uint32_t command = MC_SET; command <= MC_CAS; command++) {
        totals->writes += asked(stats, (enum mc_command)command);
    }
    totals->writes += stats->bad_blocks;
    totals->flushes += asked(stats, MC_FLUSH_ALL);
    totals->debugs += asked(stats, MC_META_DEBUG);
    add_conditions(totals, stats);
    totals->bytes_in += stats->bytes_in;
    totals->bytes_out += stats->bytes_out;
    totals->read_failovers += stats->read_failovers;
    totals->writes_brought_home += stats->writes_brought_home;
    totals->writes_rerun += stats->writes_rerun;
    totals->writes_chained += stats->writes_chained;
    totals->writes_failed += stats->writes_failed;
    totals->keys_invalidated += stats->keys_invalidated;
    totals->held += stats->held;
    totals->shed += stats->shed;
    totals->memory_bytes += stats->memory_bytes;
    totals->memory_limit_bytes += stats->memory_limit_bytes;
    totals->errors_clients += stats->protocol_errors_clients;
    totals->errors_nodes += stats->protocol_errors_nodes;
    totals->foreign_protocols += stats->foreign_protocols;
    for (uint32_t node = 0; node < NODES_MAX; node++) {
        totals->node_requests[node] += stats->nodes[node].requests;
        totals->node_connects[node] += stats->nodes[node].connects;
        totals->node_connections[node] += stats->nodes[node].is_open;
    }
}

void dataplane_set_others(struct dataplane *dp, const struct dataplane_totals *others)
{
    dp->others = *others;
}

static struct dataplane_totals totals_of(const struct dataplane *dp)
{
    struct dataplane_totals totals = dp->others;
    dataplane_add_totals(&totals, &dp->stats);
    totals.memory_bytes += (dp->chunks.count - dp->chunks.free_count) * CHUNK_BYTES -
                           dp->stats.memory_bytes; /* as it is now */
    return totals;
}

/* --- Text --- */

static void write_text(struct mc_writer *w, struct slice name, struct slice value)
{
    mc_write(w, SLICE("STAT "));
    mc_write(w, name);
    mc_write(w, SLICE(" "));
    mc_write(w, value);
    mc_write(w, SLICE("\r\n"));
}

struct number_row {
    struct slice name;
    uint64_t value;
};

static void write_numbers(struct mc_writer *w, const struct number_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mc_write(w, SLICE("STAT "));
        mc_write(w, rows[i].name);
        mc_write(w, SLICE(" "));
        mc_write_u64(w, rows[i].value);
        mc_write(w, SLICE("\r\n"));
    }
}

static void write_general(const struct dataplane *dp, struct mc_writer *w)
{
    const struct dataplane_totals t = totals_of(dp);
    const struct number_row rows[] = {
        {SLICE_INIT("pid"), t.pid},
        {SLICE_INIT("uptime"), t.uptime_s},
        {SLICE_INIT("time"), t.time_s},
        {SLICE_INIT("pointer_size"), 8 * sizeof(void *)},
        {SLICE_INIT("max_connections"), t.clients_max},
        {SLICE_INIT("curr_connections"), t.clients},
        {SLICE_INIT("total_connections"), t.clients_total},
        {SLICE_INIT("cmd_get"), t.hits + t.misses},
        {SLICE_INIT("cmd_set"), t.writes},
        {SLICE_INIT("cmd_flush"), t.flushes},
        {SLICE_INIT("cmd_touch"), t.touches_hit + t.touches_missed},
        {SLICE_INIT("cmd_meta"), t.debugs},
        {SLICE_INIT("get_hits"), t.hits},
        {SLICE_INIT("get_misses"), t.misses},
        {SLICE_INIT("delete_misses"), t.deletes_missed},
        {SLICE_INIT("delete_hits"), t.deletes_hit},
        {SLICE_INIT("incr_misses"), t.incrs_missed},
        {SLICE_INIT("incr_hits"), t.incrs_hit},
        {SLICE_INIT("decr_misses"), t.decrs_missed},
        {SLICE_INIT("decr_hits"), t.decrs_hit},
        {SLICE_INIT("cas_misses"), t.cas_misses},
        {SLICE_INIT("cas_hits"), t.cas_hits},
        {SLICE_INIT("cas_badval"), t.cas_differed},
        {SLICE_INIT("touch_hits"), t.touches_hit},
        {SLICE_INIT("touch_misses"), t.touches_missed},
        {SLICE_INIT("bytes_read"), t.bytes_in},
        {SLICE_INIT("bytes_written"), t.bytes_out},
        {SLICE_INIT("threads"), t.threads},
    };
    write_text(w, SLICE("version"), dp->options.version);
    write_numbers(w, rows, sizeof(rows) / sizeof(rows[0]));
}

static void write_settings(const struct dataplane *dp, struct mc_writer *w)
{
    const struct number_row rows[] = {
        {SLICE_INIT("maxconns"), dp->others.clients_max},
        {SLICE_INIT("udpport"), 0},
        {SLICE_INIT("verbosity"), 0},
        {SLICE_INIT("num_threads"), dp->others.threads},
        {SLICE_INIT("item_size_max"), dp->options.item_bytes_max},
        {SLICE_INIT("client_flags_size"), sizeof(uint32_t)},
    };
    write_numbers(w, rows, sizeof(rows) / sizeof(rows[0]));
    write_text(w, SLICE("cas_enabled"), SLICE("yes"));
    write_text(w, SLICE("flush_enabled"), SLICE("yes"));
    write_text(w, SLICE("dump_enabled"), SLICE("no"));
}

static void write_proxy(const struct dataplane *dp, struct mc_writer *w)
{
    const struct dataplane_totals t = totals_of(dp);
    const struct number_row rows[] = {
        {SLICE_INIT("view_epoch"), dp->topology == NULL ? 0 : dp->topology->epoch},
        {SLICE_INIT("requests_held"), t.held},
        {SLICE_INIT("read_failovers"), t.read_failovers},
        {SLICE_INIT("writes_brought_home"), t.writes_brought_home},
        {SLICE_INIT("writes_rerun"), t.writes_rerun},
        {SLICE_INIT("writes_chained"), t.writes_chained},
        {SLICE_INIT("writes_failed"), t.writes_failed},
        {SLICE_INIT("keys_invalidated"), t.keys_invalidated},
        {SLICE_INIT("shed"), t.shed},
        {SLICE_INIT("memory_bytes"), t.memory_bytes},
        {SLICE_INIT("memory_limit_bytes"), t.memory_limit_bytes},
        {SLICE_INIT("protocol_errors_clients"), t.errors_clients},
        {SLICE_INIT("protocol_errors_nodes"), t.errors_nodes},
        {SLICE_INIT("foreign_protocols"), t.foreign_protocols},
    };
    write_numbers(w, rows, sizeof(rows) / sizeof(rows[0]));
}

/* --- Nodes: "STAT NAME:what value", as "stats items" has its classes --- */

static void begin_node(const struct dataplane *dp, uint32_t node, struct slice what,
                       struct mc_writer *w)
{
    mc_write(w, SLICE("STAT "));
    mc_write(w, slice_of(dp->topology->name[node], dp->topology->name_bytes[node]));
    mc_write(w, SLICE(":"));
    mc_write(w, what);
    mc_write(w, SLICE(" "));
}

static struct slice node_state(const struct topology *t, uint32_t node)
{
    node_set it = node_set_of(node);
    if (t != NULL && (t->complete & it) != 0) {
        return (t->leaders & it) != 0 ? SLICE("complete") : SLICE("complete,drain");
    }
    if (t != NULL && (t->warming & it) != 0) {
        return SLICE("warming");
    }
    return t != NULL && (t->chained & it) != 0 ? SLICE("filling") : SLICE("out");
}

static void write_nodes(const struct dataplane *dp, struct mc_writer *w)
{
    const struct dataplane_totals t = totals_of(dp);
    uint32_t count = dp->topology == NULL ? 0 : dp->topology->node_count;
    for (uint32_t node = 0; node < count; node++) {
        if (dp->topology->name_bytes[node] == 0) {
            continue;
        }
        begin_node(dp, node, SLICE("state"), w);
        mc_write(w, node_state(dp->topology, node));
        mc_write(w, SLICE("\r\n"));
        const struct number_row rows[] = {
            {SLICE_INIT("connections"), t.node_connections[node]},
            {SLICE_INIT("connects"), t.node_connects[node]},
            {SLICE_INIT("requests"), t.node_requests[node]},
        };
        for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
            begin_node(dp, node, rows[i].name, w);
            mc_write_u64(w, rows[i].value);
            mc_write(w, SLICE("\r\n"));
        }
    }
}

/* --- Which --- */

#define NOT_HERE(name) SLICE_INIT("CLIENT_ERROR stats " name " is not supported by everwarm\r\n")

/* What is answered by a constant; the words behind the first one are passed over. */
static const struct {
    struct slice word;
    struct slice answer;
} fixed[] = {
    {SLICE_INIT("reset"), SLICE_INIT("RESET\r\n")},
    {SLICE_INIT("items"), SLICE_INIT("END\r\n")},
    {SLICE_INIT("conns"), SLICE_INIT("END\r\n")},
    {SLICE_INIT("slabs"), SLICE_INIT("STAT active_slabs 0\r\nSTAT total_malloced 0\r\nEND\r\n")},
    {SLICE_INIT("sizes"), SLICE_INIT("STAT sizes_status disabled\r\nEND\r\n")},
    {SLICE_INIT("sizes_enable"), NOT_HERE("sizes_enable")},
    {SLICE_INIT("sizes_disable"), NOT_HERE("sizes_disable")},
    {SLICE_INIT("cachedump"), NOT_HERE("cachedump")},
    {SLICE_INIT("extstore"), NOT_HERE("extstore")},
};

static const struct {
    struct slice word;
    void (*write)(const struct dataplane *dp, struct mc_writer *w);
} written[] = {
    {SLICE_INIT(""), write_general},
    {SLICE_INIT("settings"), write_settings},
    {SLICE_INIT("nodes"), write_nodes},
    {SLICE_INIT("proxy"), write_proxy},
};

/* "detail": counts by the keys' prefixes, which we don't keep, so that there is nothing to dump. */
static struct slice answer_detail(struct slice word)
{
    if (slice_is_equal(word, SLICE("dump"))) {
        return SLICE("END\r\n");
    }
    bool is_switch = slice_is_equal(word, SLICE("on")) || slice_is_equal(word, SLICE("off"));
    return is_switch ? SLICE("OK\r\n") : SLICE("CLIENT_ERROR usage: stats detail on|off|dump\r\n");
}

struct slice stats_text(const struct dataplane *dp, struct slice what, struct mc_writer *w)
{
    struct slice word = mc_next_word(&what);
    for (size_t i = 0; i < sizeof(written) / sizeof(written[0]); i++) {
        if (slice_is_equal(word, written[i].word)) {
            written[i].write(dp, w);
            INVARIANT(!w->is_full);
            return SLICE("END\r\n");
        }
    }
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        if (slice_is_equal(word, fixed[i].word)) {
            return fixed[i].answer;
        }
    }
    bool is_detail = slice_is_equal(word, SLICE("detail"));
    return is_detail ? answer_detail(mc_next_word(&what)) : SLICE("ERROR\r\n");
}
