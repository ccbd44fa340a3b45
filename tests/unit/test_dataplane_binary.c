/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dataplane between binary clients and two scripted nodes: what the nodes are sent, and what
 * the client is told, byte by byte. What all dialects share is tried in test_dataplane.c.
 */
#include "../../src/core/dataplane_private.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>

enum { NODES = 2, TEXT_BYTES = 1 << 16, MEMORY_BYTES = 16 << 20, PIECES = 8 };

static const struct slice node_names[NODES] = {SLICE_INIT("a"), SLICE_INIT("b")};

static struct {
    struct dataplane *dp;
    void *memory;
    struct topology topology;
    uint64_t now_us;
    char to_node[NODES][TEXT_BYTES];
    size_t to_node_bytes[NODES];
    char to_client[TEXT_BYTES];
    size_t to_client_bytes;
} b;

static size_t take(char *to, size_t *bytes, const struct slice *pieces, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(to + *bytes + total, pieces[i].ptr, pieces[i].len);
        total += pieces[i].len;
    }
    *bytes += total;
    return total;
}

static void step(const struct dataplane_event *event)
{
    struct dataplane_action action;
    struct slice pieces[PIECES];
    dataplane_turn(b.dp, b.now_us, UINT64_MAX);
    dataplane_step(b.dp, event);
    while (dataplane_next_action(b.dp, &action)) {
        if (action.type == DATAPLANE_CLIENT_WRITE) {
            size_t count = dataplane_client_gather(b.dp, 0, pieces, PIECES);
            dataplane_client_wrote(b.dp, 0, take(b.to_client, &b.to_client_bytes, pieces, count));
        } else if (action.type == DATAPLANE_NODE_WRITE) {
            uint32_t n = action.link;
            size_t count = dataplane_node_gather(b.dp, n, pieces, PIECES);
            dataplane_node_wrote(b.dp, n, take(b.to_node[n], &b.to_node_bytes[n], pieces, count));
        }
    }
}

static void pass(uint64_t us)
{
    b.now_us += us;
    step(&(struct dataplane_event){.type = DATAPLANE_TICK});
}

static void node(uint32_t n, const char *words)
{
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_BYTES, .link = n, .bytes = slice_of_string(words)});
}

/* What node N was sent since the last look. */
static void expect_node(uint32_t n, const char *words)
{
    b.to_node[n][b.to_node_bytes[n]] = 0;
    ck_assert_str_eq(b.to_node[n], words);
    b.to_node_bytes[n] = 0;
}

static void setup(void)
{
    struct dataplane_options options = {
        .names = {.pool = SLICE("main"), .node_count = NODES, .nodes = node_names},
        .clients_max = 1,
        .memory_bytes = MEMORY_BYTES,
        .item_bytes_max = 1 << 20,
        .pipeline_max = 256,
        .client_output_bytes_max = 16 << 20,
        .request_timeout_us = 1500 * 1000,
        .connect_timeout_us = 200 * 1000,
        .seed = 1,
        .version = SLICE("1.6.38 everwarm/test"),
    };
    memset(&b, 0, sizeof(b));
    size_t bytes = (dataplane_bytes(&options) + 4095) & ~(size_t)4095;
    b.memory = aligned_alloc(4096, bytes);
    ck_assert_ptr_nonnull(b.memory);
    memset(b.memory, 0, bytes);
    b.dp = dataplane_init(b.memory, &options);
    b.now_us = 1000000;
    b.topology = (struct topology){
        .serial = 1,
        .epoch = 1,
        .node_count = NODES,
        .complete = 3,
        .leaders = 3,
        .node_seed = {topology_hash(node_names[0]), topology_hash(node_names[1])},
        .identity = {{.pid = 100, .started_s = 1000}, {.pid = 101, .started_s = 1000}},
    };
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = &b.topology});
    for (uint32_t n = 0; n < NODES; n++) {
        char greeting[200];
        snprintf(greeting, sizeof(greeting),
                 "STAT pid %u\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT version 1.6.38\r\n"
                 "STAT cmd_flush 0\r\nEND\r\nEN\r\n",
                 100 + n);
        step(&(struct dataplane_event){.type = DATAPLANE_NODE_OPEN, .link = n});
        b.to_node_bytes[n] = 0;
        node(n, greeting);
    }
    step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_OPEN});
}

static void teardown(void)
{
    free(b.memory);
}

/* A key of two bytes that node 1 leads. */
static const char *key(void)
{
    static const char *const keys[] = {"k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"};
    for (size_t i = 0; i < 8; i++) {
        if (topology_leader(&b.topology, topology_hash(slice_of_string(keys[i]))) == 1) {
            return keys[i];
        }
    }
    ck_abort_msg("no key is led by node 1");
}

static char text[1024];

#define FORMAT(...) (snprintf(text, sizeof(text), __VA_ARGS__), text)

/* --- Frames --- */

enum { OPAQUE = 0x01020304, FRAME_BYTES = 512 };

static char frame_bytes[FRAME_BYTES];

/* A frame of a request or an answer; STATUS is 0 in a request. */
static struct slice frame(uint8_t magic, const struct mc_binary_reply *head, struct slice body)
{
    struct mc_writer w = mc_writer_of(frame_bytes, sizeof(frame_bytes));
    struct mc_binary_reply h = *head;
    h.opaque = OPAQUE;
    h.value_bytes = body.len - h.extras_bytes - h.key_bytes;
    mc_binary_write_header(&w, &h);
    mc_write(&w, body);
    ck_assert(!w.is_full);
    frame_bytes[0] = (char)magic;
    return slice_of(frame_bytes, w.len);
}

static void client_asks(uint8_t opcode, uint32_t extras_bytes, uint64_t cas, struct slice body)
{
    const struct mc_binary_reply head = {
        .opcode = opcode, .extras_bytes = extras_bytes, .key_bytes = 2, .cas = cas};
    const struct mc_binary_reply bare = {.opcode = opcode};
    step(&(struct dataplane_event){
        .type = DATAPLANE_CLIENT_BYTES,
        .bytes = frame(MC_BINARY_REQUEST_MAGIC, body.len > 0 ? &head : &bare, body)});
}

static void expect_bytes(struct slice bytes)
{
    ck_assert_uint_eq(b.to_client_bytes, bytes.len);
    ck_assert_int_eq(memcmp(b.to_client, bytes.ptr, bytes.len), 0);
    b.to_client_bytes = 0;
}

static void expect_told(struct mc_binary_reply head, struct slice body)
{
    expect_bytes(frame(MC_BINARY_REPLY_MAGIC, &head, body));
}

static void expect_status(uint8_t opcode, enum mc_binary_status status)
{
    expect_told((struct mc_binary_reply){.opcode = opcode, .status = status},
                mc_binary_status_text(status));
}

/* BODY with the key that its letters K stand for, which node 1 leads. */
static struct slice with_key(const char *body, size_t len)
{
    static char filled[FRAME_BYTES];
    memcpy(filled, body, len);
    for (size_t i = 0; i + 1 < len; i++) {
        if (filled[i] == 'K') {
            memcpy(filled + i, key(), 2);
        }
    }
    return slice_of(filled, len);
}

#define BODY(literal) with_key(literal, sizeof(literal) - 1)

START_TEST(test_get)
{
    const char *k = key();
    uint64_t tag = txn_cas_tag(b.dp, 1);
    static const char value[] = "VALUE K_ 7 3 9\r\nabc\r\nEND\r\n";
    for (size_t cut = 0; cut < sizeof(value) - 1; cut++) {
        client_asks(MC_BINARY_GETK, 0, 0, BODY("K_"));
        expect_node(1, FORMAT("gets %s\r\n", k));
        struct slice all = BODY("VALUE K_ 7 3 9\r\nabc\r\nEND\r\n");
        step(&(struct dataplane_event){
            .type = DATAPLANE_NODE_BYTES, .link = 1, .bytes = slice_of(all.ptr, cut)});
        step(&(struct dataplane_event){
            .type = DATAPLANE_NODE_BYTES, .link = 1, .bytes = slice_skip(all, cut)});
        expect_told(
            (struct mc_binary_reply){
                .opcode = MC_BINARY_GETK, .extras_bytes = 4, .key_bytes = 2, .cas = 9 | tag},
            BODY("\0\0\0\x07K_abc"));
    }
    client_asks(MC_BINARY_GETQ, 0, 0, BODY("K_"));
    node(1, "END\r\n");
    expect_bytes(SLICE(""));
    client_asks(MC_BINARY_GET, 0, 0, BODY("K_"));
    node(1, "SERVER_ERROR out of memory writing get response\r\n");
    expect_status(MC_BINARY_GET, MC_BINARY_OUT_OF_MEMORY);
}
END_TEST

START_TEST(test_noop_is_a_barrier)
{
    const char *k = key();
    client_asks(MC_BINARY_SETQ, 8, 0, BODY("\0\0\0\x05\0\0\0\0K_abc"));
    client_asks(MC_BINARY_DELETEQ, 0, 0, BODY("K_"));
    client_asks(MC_BINARY_NOOP, 0, 0, SLICE(""));
    expect_node(0, FORMAT("ms %s 3 F5 c\r\nabc\r\nmd %s\r\n", k, k));
    expect_node(1, FORMAT("ms %s 3 F5 c\r\nabc\r\nmd %s\r\n", k, k));
    node(1, "HD c9\r\nHD\r\n");
    node(0, "HD c4\r\n");
    expect_bytes(SLICE(""));
    node(0, "HD\r\n");
    expect_status(MC_BINARY_NOOP, MC_BINARY_OK);
}
END_TEST

START_TEST(test_set_tells_the_leaders_cas)
{
    client_asks(MC_BINARY_SET, 8, 0, BODY("\0\0\0\0\0\0\0\0K_"));
    node(1, "HD c9\r\n");
    node(0, "HD c4\r\n");
    expect_told((struct mc_binary_reply){.opcode = MC_BINARY_SET, .cas = 9 | txn_cas_tag(b.dp, 1)},
                SLICE(""));
}
END_TEST

START_TEST(test_cas_of_another_node)
{
    const char *k = key();
    client_asks(MC_BINARY_DELETE, 0, 9 | txn_cas_tag(b.dp, 0), BODY("K_"));
    expect_node(0, "");
    expect_node(1, FORMAT("md %s C18446744073709551615\r\n", k));
    node(1, "EX\r\n");
    expect_status(MC_BINARY_DELETE, MC_BINARY_EXISTS);
    client_asks(MC_BINARY_DELETE, 0, 9 | txn_cas_tag(b.dp, 1), BODY("K_"));
    expect_node(1, FORMAT("md %s C00000000000000000009\r\n", k));
    node(1, "HD\r\n");
    expect_node(0, FORMAT("md %s\r\n", k));
    node(0, "HD\r\n");
    expect_status(MC_BINARY_DELETE, MC_BINARY_OK);
}
END_TEST

START_TEST(test_number_is_created_by_the_leader)
{
    const char *k = key();
    client_asks(MC_BINARY_INCREMENT, 20, 0,
                BODY("\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x0a\0\0\0\x3cK_"));
    expect_node(0, "");
    expect_node(1, FORMAT("ma %s MI D1 J10 N60 c v\r\nmg %s v f t c u\r\n", k, k));
    node(1, "VA 2 c9\r\n10\r\nVA 2 f0 t60 c9\r\n10\r\n");
    expect_bytes(SLICE(""));
    expect_node(0, FORMAT("ms %s 2 T60\r\n10\r\n", k));
    node(0, "HD\r\n");
    expect_told(
        (struct mc_binary_reply){.opcode = MC_BINARY_INCREMENT, .cas = 9 | txn_cas_tag(b.dp, 1)},
        SLICE("\0\0\0\0\0\0\0\x0a"));
}
END_TEST

START_TEST(test_touch_shows_no_value)
{
    const char *k = key();
    client_asks(MC_BINARY_TOUCH, 4, 0, BODY("\0\0\0\x3cK_"));
    expect_node(1, FORMAT("gats 60 %s\r\n", k));
    node(1, FORMAT("VALUE %s 7 3 9\r\nabc\r\nEND\r\n", k));
    expect_node(0, FORMAT("touch %s 60\r\n", k));
    node(0, "TOUCHED\r\n");
    expect_told((struct mc_binary_reply){.opcode = MC_BINARY_TOUCH,
                                         .extras_bytes = 4,
                                         .cas = 9 | txn_cas_tag(b.dp, 1)},
                SLICE("\0\0\0\x07"));
}
END_TEST

START_TEST(test_value_in_pieces)
{
    const char *k = key();
    static char value[20000];
    memset(value, 'v', sizeof(value));
    struct mc_writer w = mc_writer_of(frame_bytes, sizeof(frame_bytes));
    mc_binary_write_header(&w, &(struct mc_binary_reply){.opcode = MC_BINARY_APPEND,
                                                         .opaque = OPAQUE,
                                                         .key_bytes = 2,
                                                         .value_bytes = sizeof(value)});
    mc_write(&w, slice_of(k, 2));
    frame_bytes[0] = (char)MC_BINARY_REQUEST_MAGIC;
    for (size_t i = 0; i < w.len; i++) {
        step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_BYTES,
                                       .bytes = slice_of(frame_bytes + i, 1)});
    }
    for (size_t at = 0; at < sizeof(value); at += 1000) {
        expect_node(1, "");
        step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_BYTES,
                                       .bytes = slice_of(value + at, 1000)});
    }
    size_t head = strlen(FORMAT("ms %s 20000 MA c\r\n", k));
    ck_assert_int_eq(memcmp(b.to_node[1], text, head), 0);
    ck_assert_int_eq(memcmp(b.to_node[1] + head, value, sizeof(value)), 0);
    b.to_node[1][b.to_node_bytes[1]] = 0;
    ck_assert_str_eq(b.to_node[1] + head + sizeof(value), FORMAT("\r\nmg %s v f t c u\r\n", k));
    node(1, "NS\r\nEN\r\n");
    expect_status(MC_BINARY_APPEND, MC_BINARY_NOT_STORED);
}
END_TEST

START_TEST(test_deadline)
{
    client_asks(MC_BINARY_SETQ, 8, 0, BODY("\0\0\0\0\0\0\0\0K_abc"));
    client_asks(MC_BINARY_NOOP, 0, 0, SLICE(""));
    for (int i = 0; i < 20; i++) {
        pass(100 * 1000);
    }
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_binary_write_status(&w, (struct mc_binary_reply){.opcode = MC_BINARY_SETQ,
                                                        .opaque = OPAQUE,
                                                        .status = MC_BINARY_TEMPORARY_FAILURE});
    mc_binary_write_status(&w,
                           (struct mc_binary_reply){.opcode = MC_BINARY_NOOP, .opaque = OPAQUE});
    expect_bytes(slice_of(text, w.len));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataplane/binary");
    TCase *tcase = tcase_create("binary");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_get);
    tcase_add_test(tcase, test_noop_is_a_barrier);
    tcase_add_test(tcase, test_set_tells_the_leaders_cas);
    tcase_add_test(tcase, test_cas_of_another_node);
    tcase_add_test(tcase, test_number_is_created_by_the_leader);
    tcase_add_test(tcase, test_touch_shows_no_value);
    tcase_add_test(tcase, test_value_in_pieces);
    tcase_add_test(tcase, test_deadline);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
