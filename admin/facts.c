/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The one place that decides what a snapshot means, so that /stats, /metrics, /readyz and a refusal
 * never tell different stories.
 */
#include "facts.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool is_acting(const struct proxy_pool *pool)
{
    switch (pool->control.state) {
    case CONTROL_SERVING:
    case CONTROL_CHANGING:
        return true;
    case CONTROL_STARTING:
    case CONTROL_LAPSED:
    case CONTROL_LEAVING:
        return false;
    }
    UNREACHABLE();
}

static node_set nodes_up(const struct proxy_pool *pool)
{
    node_set up = 0;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        if (facts_is_member(pool, i) && pool->control.nodes[i].oper == NODE_OPER_UP) {
            up |= node_set_of(i);
        }
    }
    return up;
}

node_set facts_complete(const struct proxy_pool *pool)
{
    node_set complete = 0;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        if (facts_is_member(pool, i) && pool->control.nodes[i].data == NODE_DATA_COMPLETE) {
            complete |= node_set_of(i);
        }
    }
    return complete;
}

/* As in a topology: drained nodes lead only when there are no others. */
node_set facts_readers(const struct proxy_pool *pool)
{
    const node_set complete = facts_complete(pool);
    node_set leaders = 0;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        if (facts_is_member(pool, i) && pool->control.nodes[i].admin == NODE_ADMIN_READY) {
            leaders |= node_set_of(i);
        }
    }
    leaders &= complete;
    return is_acting(pool) ? (leaders == 0 ? complete : leaders) & nodes_up(pool) : 0;
}

node_set facts_writers(const struct proxy_pool *pool)
{
    node_set writers = 0;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        if (facts_is_member(pool, i) && pool->control.nodes[i].data != NODE_DATA_OUT) {
            writers |= node_set_of(i);
        }
    }
    return is_acting(pool) ? writers & nodes_up(pool) : 0;
}

static void describe_filling(const struct control_node_snapshot *node, char *out, size_t bytes)
{
    if (node->is_filled_by_us && node->fill.items_total > 0) {
        uint64_t percent = node->fill.items_done * 100 / node->fill.items_total;
        (void)snprintf(out, bytes, "filling (%u%%)", percent > 100 ? 100 : (unsigned)percent);
    } else {
        (void)snprintf(out, bytes, "filling");
    }
}

static void describe_warming(const struct control_node_snapshot *node, char *out, size_t bytes)
{
    if (node->warm_asked > 0) {
        (void)snprintf(out, bytes, "warming (%u%%)",
                       (unsigned)(node->warm_hits * 100 / node->warm_asked));
    } else {
        (void)snprintf(out, bytes, "warming");
    }
}

void facts_describe(const struct proxy_pool *pool, uint32_t index, char out[FACTS_STATE_BYTES_MAX])
{
    const struct control_node_snapshot *node = &pool->control.nodes[index];
    char state[32];
    if (node->oper == NODE_OPER_DOWN) {
        (void)snprintf(state, sizeof(state), "down");
    } else if (node->admin != NODE_ADMIN_READY) {
        (void)snprintf(state, sizeof(state), "in %s", node_admin_word(node->admin));
    } else if (node->data == NODE_DATA_FILLING) {
        describe_filling(node, state, sizeof(state));
    } else if (node->data == NODE_DATA_WARMING) {
        describe_warming(node, state, sizeof(state));
    } else if (node->data == NODE_DATA_OUT) {
        (void)snprintf(state, sizeof(state), "%s",
                       pool->control.state == CONTROL_STARTING ? "up" : "waiting to be filled");
    } else {
        (void)snprintf(state, sizeof(state), "%s", node_data_word(node->data));
    }
    (void)snprintf(out, FACTS_STATE_BYTES_MAX, "%s is %s", pool->nodes[index].name, state);
}

void facts_describe_all(const struct proxy_pool *pool, node_set nodes,
                        char out[FACTS_LIST_BYTES_MAX])
{
    static const char CUT[] = ", ...";
    size_t used = 0;
    (void)snprintf(out, FACTS_LIST_BYTES_MAX, "There is no other node");
    for (node_set left = nodes; left != 0; left &= left - 1) {
        char one[FACTS_STATE_BYTES_MAX];
        facts_describe(pool, node_set_first(left), one);
        const char *joint = left == nodes ? "" : (left & (left - 1)) == 0 ? " and " : ", ";
        if (used + strlen(joint) + strlen(one) + sizeof(CUT) > FACTS_LIST_BYTES_MAX) {
            memcpy(out + used, CUT, sizeof(CUT));
            return;
        }
        used += (size_t)snprintf(out + used, FACTS_LIST_BYTES_MAX - used, "%s%s", joint, one);
    }
}

const char *facts_outcome_word(size_t outcome)
{
    static const char *const WORDS[DATAPLANE_OUTCOME_COUNT] = {
#define X(name, word) [DATAPLANE_OUTCOME_##name] = (word),
        DATAPLANE_OUTCOME_TABLE(X)
#undef X
    };
    REQUIRE(outcome < DATAPLANE_OUTCOME_COUNT);
    return WORDS[outcome];
}

/* That verifies found; what was evicted is nobody's fault. */
static uint64_t divergences(const struct control_snapshot *control)
{
    uint64_t sum = 0;
    for (uint32_t kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        sum += kind == VERIFY_KIND_EVICTED ? 0 : control->divergences[kind];
    }
    return sum;
}

static void add_traffic(struct dataplane_stats *sum, const struct dataplane_stats *from)
{
    for (size_t c = 0; c < MC_COMMAND_COUNT; c++) {
        for (size_t o = 0; o < DATAPLANE_OUTCOME_COUNT; o++) {
            sum->commands[c][o] += from->commands[c][o];
        }
        histogram_add(&sum->latency[c], &from->latency[c]);
    }
    sum->keys_hit += from->keys_hit;
    sum->keys_missed += from->keys_missed;
    sum->bytes_in += from->bytes_in;
    sum->bytes_out += from->bytes_out;
    sum->protocol_errors_clients += from->protocol_errors_clients;
    sum->protocol_errors_nodes += from->protocol_errors_nodes;
    sum->foreign_protocols += from->foreign_protocols;
    sum->read_failovers += from->read_failovers;
    sum->writes_brought_home += from->writes_brought_home;
    sum->writes_rerun += from->writes_rerun;
    sum->writes_chained += from->writes_chained;
    sum->writes_failed += from->writes_failed;
    sum->writes_ok += from->writes_ok;
    sum->keys_invalidated += from->keys_invalidated;
    sum->settle_checks += from->settle_checks;
    sum->divergences += from->divergences;
    sum->repairs += from->repairs;
    sum->settle_queue += from->settle_queue;
    sum->held += from->held;
    sum->shed += from->shed;
    sum->memory_bytes += from->memory_bytes;
    sum->memory_limit_bytes += from->memory_limit_bytes;
}

struct dataplane_stats *facts_traffic_sum(const struct proxy_snapshot *snapshot)
{
    struct dataplane_stats *sum = calloc(1, sizeof(*sum));
    if (sum == NULL) {
        return NULL;
    }
    add_traffic(sum, &snapshot->gone);
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        add_traffic(sum, &snapshot->pools[p].traffic);
        sum->divergences += divergences(&snapshot->pools[p].control);
        sum->repairs += snapshot->pools[p].control.repairs;
    }
    return sum;
}

json_t *facts_count(uint64_t value)
{
    return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

json_t *facts_seconds(uint64_t us)
{
    return json_real((double)us / 1e6);
}

json_t *facts_wall_time(uint64_t wall_us)
{
    const time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    char text[32];
    if (gmtime_r(&seconds, &parts) == NULL ||
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &parts) == 0) {
        return json_null();
    }
    return json_string(text);
}

json_t *facts_wall_time_ms(uint64_t wall_us)
{
    const time_t seconds = (time_t)(wall_us / 1000000);
    struct tm parts;
    char text[40];
    if (gmtime_r(&seconds, &parts) == NULL) {
        return json_null();
    }
    const size_t used = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(text + used, sizeof(text) - used, ".%03uZ", (unsigned)(wall_us / 1000 % 1000));
    return json_string(text);
}

json_t *facts_time(const struct proxy_snapshot *snapshot, uint64_t mono_us)
{
    if (mono_us == 0) {
        return json_null();
    }
    return facts_wall_time(snapshot->now_wall_us - (snapshot->now_mono_us - mono_us));
}

json_t *facts_time_ms(const struct proxy_snapshot *snapshot, uint64_t mono_us)
{
    return facts_wall_time_ms(snapshot->now_wall_us - (snapshot->now_mono_us - mono_us));
}

json_t *facts_text(const char *text)
{
    char clean[TRACE_DETAIL_BYTES];
    size_t used = 0;
    for (const char *c = text; *c != '\0' && used + 1 < sizeof(clean); c++) {
        clean[used++] = (char)(*c >= ' ' && *c <= '~' ? *c : '?');
    }
    clean[used] = '\0';
    return json_string(clean);
}
