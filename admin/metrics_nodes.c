/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The metrics that have a label "node". Families with one sample a node are a table; states are
 * one-hot, so that a graph of any of them is a line of 0 and 1.
 */
#include "metrics_nodes.h"

#include "exposition.h"
#include "facts.h"

#include <stdlib.h>
#include <string.h>

enum {
    /* A name whose every byte is escaped, and one more label with a short word. */
    LABELS_BYTES_MAX = 2 * NODE_NAME_BYTES_MAX + 64,
    INFO_BYTES_MAX = LABELS_BYTES_MAX + 2 * POOL_NAME_BYTES_MAX + 2 * 64 + 32,
};

struct node_ref {
    const struct proxy_pool *pool;
    uint32_t index;
};

struct scrape {
    FILE *out;
    const struct proxy_snapshot *snapshot;
    size_t count;
    struct node_ref nodes[POOLS_MAX * NODES_MAX];
};

static const struct control_node_snapshot *control_of(const struct node_ref *node)
{
    return &node->pool->control.nodes[node->index];
}

static const struct dataplane_node_stats *traffic_of(const struct node_ref *node)
{
    return &node->pool->traffic.nodes[node->index];
}

static const struct proxy_node *proxy_of(const struct node_ref *node)
{
    return &node->pool->nodes[node->index];
}

/* --- one sample a node --- */

enum unit { UNIT_COUNT, UNIT_US };

typedef uint64_t figure(const struct node_ref *node);

static uint64_t check_us(const struct node_ref *node)
{
    return control_of(node)->check_us;
}

static uint64_t requests(const struct node_ref *node)
{
    return traffic_of(node)->requests;
}

static uint64_t in_flight(const struct node_ref *node)
{
    return traffic_of(node)->in_flight;
}

static uint64_t is_open(const struct node_ref *node)
{
    return traffic_of(node)->is_open ? 1 : 0;
}

static uint64_t given_up(const struct node_ref *node)
{
    return proxy_of(node)->zombies;
}

static uint64_t connects(const struct node_ref *node)
{
    return traffic_of(node)->connects;
}

static uint64_t connect_failures(const struct node_ref *node)
{
    return traffic_of(node)->connect_failures;
}

static uint64_t items(const struct node_ref *node)
{
    return control_of(node)->curr_items;
}

static uint64_t round_requests(const struct node_ref *node)
{
    return control_of(node)->round_requests;
}

static uint64_t round_bytes(const struct node_ref *node)
{
    return control_of(node)->round_bytes;
}

static uint64_t fill_items_done(const struct node_ref *node)
{
    return control_of(node)->is_filled_by_us ? control_of(node)->fill.items_done : 0;
}

static uint64_t fill_items_expected(const struct node_ref *node)
{
    return control_of(node)->is_filled_by_us ? control_of(node)->fill.items_total : 0;
}

static uint64_t warm_asked(const struct node_ref *node)
{
    return traffic_of(node)->warm_asked;
}

static uint64_t warm_hits(const struct node_ref *node)
{
    return traffic_of(node)->warm_hits;
}

static uint64_t warm_stored(const struct node_ref *node)
{
    return traffic_of(node)->warm_stored;
}

static const struct family {
    const char *name;
    const char *type;
    const char *help;
    figure *value;
    enum unit unit;
} FAMILIES[] = {
    {"everwarm_node_check_duration_seconds", "gauge", "How long the last check took.", check_us,
     UNIT_US},
    {"everwarm_node_check_requests_total", "counter",
     "Commands that checks and heartbeats sent to the node.", round_requests, UNIT_COUNT},
    {"everwarm_node_check_bytes_total", "counter", "Bytes of those.", round_bytes, UNIT_COUNT},
    {"everwarm_node_requests_total", "counter", "Commands sent to the node for clients.", requests,
     UNIT_COUNT},
    {"everwarm_node_pending_requests", "gauge", "Commands that the node has not answered yet.",
     in_flight, UNIT_COUNT},
    {"everwarm_node_connections", "gauge", "Whether a connection for clients' commands is open.",
     is_open, UNIT_COUNT},
    {"everwarm_node_connections_given_up", "gauge",
     "Connections given up and not yet read to their end.", given_up, UNIT_COUNT},
    {"everwarm_node_connects_total", "counter", "Connections opened.", connects, UNIT_COUNT},
    {"everwarm_node_connect_failures_total", "counter", "Connections that could not be opened.",
     connect_failures, UNIT_COUNT},
    {"everwarm_node_items", "gauge", "Items the node says it holds.", items, UNIT_COUNT},
    {"everwarm_node_fill_items_done", "gauge", "Items looked at by the fill that runs here, or 0.",
     fill_items_done, UNIT_COUNT},
    {"everwarm_node_fill_items_expected", "gauge", "Items that fill knows of so far, or 0.",
     fill_items_expected, UNIT_COUNT},
    {"everwarm_node_warm_keys_total", "counter",
     "Keys that were read and that the node was asked for while it was warming.", warm_asked,
     UNIT_COUNT},
    {"everwarm_node_warm_hits_total", "counter", "Of them, those that it had.", warm_hits,
     UNIT_COUNT},
    {"everwarm_node_warm_stored_total", "counter", "Of them, those that it was given.", warm_stored,
     UNIT_COUNT},
};

static void write_families(const struct scrape *scrape)
{
    for (size_t f = 0; f < sizeof(FAMILIES) / sizeof(FAMILIES[0]); f++) {
        const struct family *family = &FAMILIES[f];
        exposition_family(scrape->out, family->name, family->type, family->help);
        for (size_t n = 0; n < scrape->count; n++) {
            const struct node_ref *node = &scrape->nodes[n];
            char labels[LABELS_BYTES_MAX];
            (void)exposition_label(labels, sizeof(labels), "node", proxy_of(node)->name);
            if (family->unit == UNIT_US) {
                exposition_seconds(scrape->out, family->name, labels, family->value(node));
            } else {
                exposition_count(scrape->out, family->name, labels, family->value(node));
            }
        }
    }
}

/* --- several samples a node --- */

/* node="NAME",LABEL="WORD" */
static void put_sample(const struct scrape *scrape, const char *name, const struct node_ref *node,
                       const char *const label[2], uint64_t value)
{
    char labels[LABELS_BYTES_MAX];
    size_t used = exposition_label(labels, sizeof(labels), "node", proxy_of(node)->name);
    labels[used++] = ',';
    (void)exposition_label(labels + used, sizeof(labels) - used, label[0], label[1]);
    exposition_count(scrape->out, name, labels, value);
}

static void write_info(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_info";
    exposition_family(scrape->out, NAME, "gauge", "1; the node's pool and zone.");
    for (size_t n = 0; n < scrape->count; n++) {
        const struct node_ref *node = &scrape->nodes[n];
        char labels[INFO_BYTES_MAX];
        size_t used = exposition_label(labels, LABELS_BYTES_MAX, "node", proxy_of(node)->name);
        labels[used++] = ',';
        used += exposition_label(labels + used, sizeof(labels) - used, "pool", node->pool->name);
        labels[used++] = ',';
        (void)exposition_label(labels + used, sizeof(labels) - used, "zone", proxy_of(node)->zone);
        exposition_count(scrape->out, NAME, labels, 1);
    }
}

static void write_admin_states(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_admin_state";
    static const enum node_admin STATES[] = {NODE_ADMIN_READY, NODE_ADMIN_DRAIN, NODE_ADMIN_MAINT};
    exposition_family(scrape->out, NAME, "gauge", "What the operator said, one-hot.");
    for (size_t n = 0; n < scrape->count; n++) {
        for (size_t s = 0; s < sizeof(STATES) / sizeof(STATES[0]); s++) {
            put_sample(scrape, NAME, &scrape->nodes[n],
                       (const char *const[]){"state", node_admin_word(STATES[s])},
                       control_of(&scrape->nodes[n])->admin == STATES[s]);
        }
    }
}

static void write_oper_states(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_oper_state";
    static const enum node_oper STATES[] = {NODE_OPER_DOWN, NODE_OPER_UP};
    exposition_family(scrape->out, NAME, "gauge", "Whether it answers checks, one-hot.");
    for (size_t n = 0; n < scrape->count; n++) {
        for (size_t s = 0; s < sizeof(STATES) / sizeof(STATES[0]); s++) {
            put_sample(scrape, NAME, &scrape->nodes[n],
                       (const char *const[]){"state", node_oper_word(STATES[s])},
                       control_of(&scrape->nodes[n])->oper == STATES[s]);
        }
    }
}

static void write_data_states(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_data_state";
    static const enum node_data STATES[] = {NODE_DATA_COMPLETE, NODE_DATA_FILLING,
                                            NODE_DATA_WARMING, NODE_DATA_OUT};
    exposition_family(scrape->out, NAME, "gauge", "What is known of its data, one-hot.");
    for (size_t n = 0; n < scrape->count; n++) {
        for (size_t s = 0; s < sizeof(STATES) / sizeof(STATES[0]); s++) {
            put_sample(scrape, NAME, &scrape->nodes[n],
                       (const char *const[]){"state", node_data_word(STATES[s])},
                       control_of(&scrape->nodes[n])->data == STATES[s]);
        }
    }
}

static void write_serving(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_serving";
    exposition_family(scrape->out, NAME, "gauge", "Whether it gets reads, and writes.");
    for (size_t n = 0; n < scrape->count; n++) {
        const struct node_ref *node = &scrape->nodes[n];
        const node_set self = node_set_of(node->index);
        put_sample(scrape, NAME, node, (const char *const[]){"kind", "reads"},
                   (facts_readers(node->pool) & self) != 0);
        put_sample(scrape, NAME, node, (const char *const[]){"kind", "writes"},
                   (facts_writers(node->pool) & self) != 0);
    }
}

static void write_transitions(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_transitions_total";
    exposition_family(scrape->out, NAME, "counter", "How often it went up and down.");
    for (size_t n = 0; n < scrape->count; n++) {
        const struct node_ref *node = &scrape->nodes[n];
        put_sample(scrape, NAME, node, (const char *const[]){"to", "up"}, proxy_of(node)->went_up);
        put_sample(scrape, NAME, node, (const char *const[]){"to", "down"},
                   proxy_of(node)->went_down);
    }
}

static void write_checks(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_checks_total";
    exposition_family(scrape->out, NAME, "counter", "Checks of the node by their result.");
    for (size_t n = 0; n < scrape->count; n++) {
        const struct node_ref *node = &scrape->nodes[n];
        put_sample(scrape, NAME, node, (const char *const[]){"result", "ok"},
                   control_of(node)->checks_ok);
        put_sample(scrape, NAME, node, (const char *const[]){"result", "failed"},
                   control_of(node)->checks_failed);
    }
}

static void write_errors(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_request_errors_total";
    static const struct {
        enum wire_end end;
        const char *word;
    } REASONS[] = {
        {WIRE_END_EOF, "eof"},
        {WIRE_END_REFUSED, "refused"},
        {WIRE_END_RESET, "reset"},
        {WIRE_END_TIMEOUT, "timeout"},
        {WIRE_END_UNREACHABLE, "unreachable"},
        {WIRE_END_PROTOCOL, "protocol"},
        {WIRE_END_IDENTITY, "identity"},
        {WIRE_END_OUT, "out"},
    };
    exposition_family(scrape->out, NAME, "counter",
                      "Connections with commands lost, and items refused, by the reason.");
    for (size_t n = 0; n < scrape->count; n++) {
        const struct node_ref *node = &scrape->nodes[n];
        for (size_t r = 0; r < sizeof(REASONS) / sizeof(REASONS[0]); r++) {
            put_sample(scrape, NAME, node, (const char *const[]){"reason", REASONS[r].word},
                       traffic_of(node)->errors[REASONS[r].end]);
        }
        put_sample(scrape, NAME, node, (const char *const[]){"reason", "item"},
                   traffic_of(node)->item_errors);
    }
}

static void write_latency(const struct scrape *scrape)
{
    static const char NAME[] = "everwarm_node_request_duration_seconds";
    exposition_family(scrape->out, NAME, "histogram", "From sending a command to its answer.");
    for (size_t n = 0; n < scrape->count; n++) {
        const struct node_ref *node = &scrape->nodes[n];
        char labels[LABELS_BYTES_MAX];
        (void)exposition_label(labels, sizeof(labels), "node", proxy_of(node)->name);
        exposition_histogram(scrape->out, NAME, labels, &traffic_of(node)->latency);
    }
}

void metrics_nodes_write(FILE *out, const struct proxy_snapshot *snapshot)
{
    struct scrape scrape = {.out = out, .snapshot = snapshot};
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        for (uint32_t i = 0; i < snapshot->pools[p].node_count; i++) {
            if (facts_is_member(&snapshot->pools[p], i)) {
                scrape.nodes[scrape.count++] =
                    (struct node_ref){.pool = &snapshot->pools[p], .index = i};
            }
        }
    }
    write_info(&scrape);
    write_admin_states(&scrape);
    write_oper_states(&scrape);
    write_data_states(&scrape);
    write_serving(&scrape);
    write_transitions(&scrape);
    write_checks(&scrape);
    write_errors(&scrape);
    write_families(&scrape);
    write_latency(&scrape);
}
