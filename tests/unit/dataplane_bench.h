/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dataplane against scripted nodes: what each node is sent, and what the client gets back, byte
 * by byte. Nodes are played by the test; time is the test's. Definitions, for exactly one file of a
 * program.
 */
#ifndef TESTS_UNIT_DATAPLANE_BENCH_H
#define TESTS_UNIT_DATAPLANE_BENCH_H

#include "../../src/core/dataplane_private.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

/* How many nodes; two, where the program does not say otherwise. */
#ifndef BENCH_NODES
#define BENCH_NODES 2
#endif

/* Links: the main ones, with their node's number, and NODES more for the side links. */
enum {
    NODES = BENCH_NODES,
    LINKS = 2 * NODES,
    CLIENTS = 4,
    TEXT_BYTES = 1 << 22,
    MEMORY_BYTES = 16 << 20,
    PIECES = 8
};

static const struct slice node_names[] = {SLICE_INIT("a"), SLICE_INIT("b"), SLICE_INIT("c")};

struct bench {
    struct dataplane *dp;
    void *memory;
    struct topology topology[16];
    uint64_t serial;
    uint64_t now_us;
    uint64_t lease_until_us;
    char to_node[LINKS][TEXT_BYTES];
    size_t to_node_bytes[LINKS];
    char to_client[CLIENTS][TEXT_BYTES];
    size_t to_client_bytes[CLIENTS];
    bool is_narrow[LINKS]; /* its socket takes no more than `room` */
    size_t room[LINKS];
    bool is_connecting[LINKS];
    bool is_given_up[LINKS];
    uint32_t given_up[LINKS]; /* not yet ended */
    bool is_closed[CLIENTS];
    bool is_cut[CLIENTS];
    bool is_stuck[CLIENTS]; /* its socket takes nothing */
    struct control_report reports[64];
    size_t report_count;
};

static struct bench b;

static inline uint32_t place_of(uint32_t link)
{
    return link < NODES_MAX ? link : link - NODES_MAX + NODES;
}

static inline uint32_t link_of(uint32_t place)
{
    return place < NODES ? place : place - NODES + NODES_MAX;
}

static inline void run(void)
{
    struct dataplane_action action;
    struct slice iov[PIECES];
    while (dataplane_next_action(b.dp, &action)) {
        uint32_t n = place_of(action.link);
        switch (action.type) {
        case DATAPLANE_CLIENT_WRITE: {
            size_t total = 0;
            if (b.is_stuck[action.client]) {
                break;
            }
            size_t count = dataplane_client_gather(b.dp, action.client, iov, PIECES);
            for (size_t i = 0; i < count; i++) {
                memcpy(b.to_client[action.client] + b.to_client_bytes[action.client], iov[i].ptr,
                       iov[i].len);
                b.to_client_bytes[action.client] += iov[i].len;
                total += iov[i].len;
            }
            dataplane_client_wrote(b.dp, action.client, total);
            break;
        }
        case DATAPLANE_NODE_WRITE: {
            size_t total = 0;
            size_t count = dataplane_node_gather(b.dp, action.link, iov, PIECES);
            for (size_t i = 0; i < count; i++) {
                size_t left = b.is_narrow[n] ? b.room[n] - total : iov[i].len;
                size_t take = left < iov[i].len ? left : iov[i].len;
                memcpy(b.to_node[n] + b.to_node_bytes[n], iov[i].ptr, take);
                b.to_node_bytes[n] += take;
                total += take;
            }
            b.room[n] -= b.is_narrow[n] ? total : 0;
            dataplane_node_wrote(b.dp, action.link, total);
            break;
        }
        case DATAPLANE_CLIENT_CLOSE:
            b.is_closed[action.client] = true;
            b.is_cut[action.client] = action.is_cut;
            break;
        case DATAPLANE_NODE_CONNECT:
            b.is_connecting[n] = true;
            break;
        case DATAPLANE_NODE_GIVE_UP:
            if (b.is_connecting[n]) {
                /* It never carried a byte, so it is at its end. */
                b.is_connecting[n] = false;
                dataplane_step(b.dp, &(struct dataplane_event){.type = DATAPLANE_NODE_ENDED,
                                                               .link = action.link,
                                                               .end = WIRE_END_EOF});
            } else {
                b.is_given_up[n] = true;
                b.given_up[n]++;
            }
            break;
        case DATAPLANE_REPORT:
            ck_assert_uint_lt(b.report_count, 64);
            b.reports[b.report_count++] = action.report;
            break;
        case DATAPLANE_CLIENT_PAUSE:
        case DATAPLANE_CLIENT_RESUME:
            break;
        }
    }
}

static inline void step(const struct dataplane_event *event)
{
    dataplane_turn(b.dp, b.now_us, b.lease_until_us);
    dataplane_step(b.dp, event);
    run();
}

static inline void pass(uint64_t us)
{
    b.now_us += us;
    step(&(struct dataplane_event){.type = DATAPLANE_TICK});
}

static inline void client(uint32_t slot, const char *text)
{
    step(&(struct dataplane_event){
        .type = DATAPLANE_CLIENT_BYTES, .client = slot, .bytes = slice_of_string(text)});
}

static inline void node(uint32_t n, const char *text)
{
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_BYTES, .link = link_of(n), .bytes = slice_of_string(text)});
}

/* What node N was sent since the last look. */
static inline void expect_node(uint32_t n, const char *text)
{
    b.to_node[n][b.to_node_bytes[n]] = 0;
    ck_assert_str_eq(b.to_node[n], text);
    b.to_node_bytes[n] = 0;
}

static inline void expect_client(uint32_t slot, const char *text)
{
    b.to_client[slot][b.to_client_bytes[slot]] = 0;
    ck_assert_str_eq(b.to_client[slot], text);
    b.to_client_bytes[slot] = 0;
}

static inline const struct control_report *last_report(enum control_report_type type)
{
    for (size_t i = b.report_count; i > 0; i--) {
        if (b.reports[i - 1].type == type) {
            return &b.reports[i - 1];
        }
    }
    return NULL;
}

static inline struct topology *topology(node_set complete, node_set chained)
{
    struct topology *t = &b.topology[++b.serial];
    *t = (struct topology){
        .serial = b.serial,
        .epoch = b.serial,
        .node_count = NODES,
        .complete = complete,
        .leaders = complete,
        .chained = chained,
    };
    for (uint32_t n = 0; n < NODES; n++) {
        t->node_seed[n] = topology_hash(node_names[n]);
        t->identity[n] = (struct identity){.pid = 100 + n, .started_s = 1000};
    }
    return t;
}

static inline void hold_view(const struct topology *t)
{
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
}

static inline void adopt_view(const struct topology *t)
{
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
}

static inline void greet(uint32_t n, unsigned pid)
{
    ck_assert(b.is_connecting[n]);
    b.is_connecting[n] = false;
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_OPEN, .link = link_of(n)});
    expect_node(n, "stats\r\nmg _everwarm:1:main:view v\r\n");
    char text[200];
    snprintf(text, sizeof(text),
             "STAT pid %u\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT cmd_flush 0\r\nEND\r\nEN\r\n",
             pid);
    node(n, text);
}

/* How the next start reads and answers, where it is not as by default. */
static struct dataplane_options unusual;

static inline void start(size_t memory_bytes)
{
    struct dataplane_options options = {
        .names = {.pool = SLICE("main"), .node_count = NODES, .nodes = node_names},
        .clients_max = CLIENTS,
        .memory_bytes = memory_bytes,
        .item_bytes_max = 1 << 20,
        .side_bytes = unusual.side_bytes,
        .pipeline_max = 256,
        .client_output_bytes_max = 16 << 20,
        .request_timeout_us = 1500 * 1000,
        .connect_timeout_us = 200 * 1000,
        .settle_delay_us = 20 * 1000,
        .seed = 1,
        .read = unusual.read,
        .miss_fallback = unusual.miss_fallback,
        .ack = unusual.ack,
        .bump_every = unusual.bump_every,
        .version = SLICE("1.6.38 everwarm/test"),
    };
    unusual = (struct dataplane_options){0};
    memset(&b, 0, sizeof(b));
    size_t bytes = (dataplane_bytes(&options) + 4095) & ~(size_t)4095;
    b.memory = aligned_alloc(4096, bytes);
    ck_assert_ptr_nonnull(b.memory);
    memset(b.memory, 0, bytes);
    b.dp = dataplane_init(b.memory, &options);
    b.now_us = 1000000;
    b.lease_until_us = UINT64_MAX;
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT,
                                   .topology = topology(node_set_all(NODES), 0)});
    for (uint32_t n = 0; n < NODES; n++) {
        greet(n, 100 + n);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_OPEN, .client = i});
    }
}

static inline void setup(void)
{
    start(MEMORY_BYTES);
}

static inline void forget_sent(void)
{
    for (uint32_t n = 0; n < LINKS; n++) {
        b.to_node_bytes[n] = 0;
    }
}

/* Answer everything that node N was sent as an empty node would. */
static inline void obey(uint32_t n)
{
    static char in[TEXT_BYTES];
    static char out[1 << 20];
    size_t bytes = b.to_node_bytes[n];
    size_t len = 0;
    memcpy(in, b.to_node[n], bytes);
    b.to_node_bytes[n] = 0;
    for (size_t at = 0; at < bytes;) {
        const char *line = in + at;
        const char *end = memchr(line, '\n', bytes - at);
        ck_assert_ptr_nonnull(end);
        at += (size_t)(end - line) + 1;
        const char *answer = "END\r\n";
        if (line[0] == 'm') {
            const char *behind = memchr(line + 3, ' ', (size_t)(end - line - 3));
            bool is_read = line[1] == 'g' && behind != NULL && behind[1] != 'T';
            answer = line[1] == 's' ? "HD\r\n" : line[1] == 'a' ? "NF\r\n" : "NF\r\n";
            answer = line[1] == 'g' ? (is_read ? "EN\r\n" : "HD\r\n") : answer;
            at += line[1] == 's' ? strtoul(behind, NULL, 10) + 2 : 0;
        }
        size_t answer_bytes = strlen(answer);
        memcpy(out + len, answer, answer_bytes);
        len += answer_bytes;
    }
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_BYTES, .link = link_of(n), .bytes = slice_of(out, len)});
}

static inline bool is_idle(void)
{
    return b.dp->txns.free_count == TXNS_MAX && b.dp->legs.free_count == LEGS_MAX;
}

/* All clients gone, node 0 alone left, fresh, and obedient: nothing may be held any more. */
static inline void expect_nothing_left(void)
{
    b.lease_until_us = UINT64_MAX;
    for (uint32_t i = 0; i < CLIENTS; i++) {
        step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_LOST, .client = i});
    }
    struct topology *t = topology(1, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    for (uint32_t n = 0; n < LINKS; n++) {
        if (b.dp->links[link_of(n)].state != LINK_CLOSED) {
            b.is_connecting[n] = false;
            step(&(struct dataplane_event){
                .type = DATAPLANE_NODE_CLOSED, .link = link_of(n), .end = WIRE_END_EOF});
        }
        b.to_node_bytes[n] = 0;
    }
    for (uint32_t n = 0; n < LINKS; n++) {
        for (; b.given_up[n] > 0; b.given_up[n]--) {
            step(&(struct dataplane_event){
                .type = DATAPLANE_NODE_ENDED, .link = link_of(n), .end = WIRE_END_EOF});
        }
    }
    uint32_t main = place_of(link_main(b.dp, 0)->number);
    for (int i = 0; i < 100 && !b.is_connecting[main]; i++) {
        pass(100 * 1000);
    }
    greet(main, 100);
    for (int i = 0; i < 10000 && !is_idle(); i++) {
        pass(1000);
        obey(main);
    }
    ck_assert(is_idle());
    ck_assert_uint_eq(b.dp->inflight_count, 0);
    ck_assert_uint_eq(b.dp->invalidations, 0);
    const struct dataplane_stats *stats = dataplane_stats(b.dp);
    ck_assert_uint_eq(stats->held, 0);
    ck_assert_uint_eq(stats->clients, 0);
    ck_assert_uint_le(stats->memory_bytes, 2 * CHUNK_BYTES);
}

static inline void teardown(void)
{
    expect_nothing_left();
    free(b.memory);
}

static inline void restart(size_t memory_bytes)
{
    free(b.memory);
    start(memory_bytes);
}

/* Keys by their leader, found once. */
static inline const char *key_of(uint32_t leader)
{
    static const char *const keys[] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};
    for (size_t i = 0; i < 8; i++) {
        if (topology_leader(&b.topology[1], topology_hash(slice_of_string(keys[i]))) == leader) {
            return keys[i];
        }
    }
    ck_abort_msg("no key is led by node %u", leader);
}

static char text[1024];

#define FORMAT(...) (snprintf(text, sizeof(text), __VA_ARGS__), text)

#endif
