/* SPDX-License-Identifier: BSD-2-Clause */
/* Large values go by a second link, and nobody waits for them but who asked (src/core/side.c). */
#include "dataplane_bench.h"

enum {
    SIDE_BYTES = 100,
    SIDE = NODES, /* place of node 0's second link; node 1's follows */
};

/* A value of SIDE_BYTES. */
static const char *large(void)
{
    static char value[SIDE_BYTES + 1];
    memset(value, 'v', SIDE_BYTES);
    return value;
}

static void start_with_side(void)
{
    unusual.side_bytes = SIDE_BYTES;
    start(MEMORY_BYTES);
}

/* Client 3 stores a large value of some other key: from then on there are second links. */
static void meet_large(void)
{
    for (uint32_t n = 0; n < NODES; n++) {
        ck_assert(!b.is_connecting[SIDE + n]);
    }
    client(3, FORMAT("set other 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    for (uint32_t n = 0; n < NODES; n++) {
        ck_assert_uint_gt(b.to_node_bytes[n], SIDE_BYTES); /* there was no other yet */
        b.to_node_bytes[n] = 0;
        node(n, "HD\r\n");
        greet(SIDE + n, 100 + n);
    }
    expect_client(3, "STORED\r\n");
}

static const char *stored(const char *key)
{
    return FORMAT("ms %s %d\r\n%s\r\n", key, SIDE_BYTES, large());
}

START_TEST(test_a_large_store_holds_up_nobody)
{
    meet_large();
    client(0, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    client(1, FORMAT("set s 0 0 1\r\nx\r\nget %s\r\n", key_of(0)));
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(SIDE + n, stored("k"));
    }
    expect_node(0, FORMAT("ms s 1\r\nx\r\nget %s\r\n", key_of(0)));
    expect_node(1, "ms s 1\r\nx\r\n");
    node(0, "HD\r\nEND\r\n");
    node(1, "HD\r\n");
    expect_client(1, "STORED\r\nEND\r\n");
    node(SIDE, "HD\r\n");
    node(SIDE + 1, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

START_TEST(test_an_unforeseen_value_has_the_link_for_itself)
{
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("get %s\r\n", key));
    client(2, FORMAT("get %s\r\n", key)); /* on its way when the value shows */
    forget_sent();
    node(0, FORMAT("VALUE %s 0 %d\r\nvvv", key, SIDE_BYTES));
    client(1, FORMAT("get x%s\r\nset s 0 0 1\r\nx\r\n", key));
    ck_assert_uint_eq(b.to_node_bytes[0], 0);
    ck_assert_uint_gt(b.to_node_bytes[SIDE], 0);
    obey(SIDE);
    obey(1);
    expect_client(1, "END\r\nSTORED\r\n");
    node(0, large() + 3);
    node(0, FORMAT("\r\nEND\r\nVALUE %s 0 %d\r\n%s\r\nEND\r\n", key, SIDE_BYTES, large()));
    ck_assert_uint_gt(b.to_client_bytes[0], SIDE_BYTES);
    ck_assert_uint_eq(b.to_client_bytes[0], b.to_client_bytes[2]);
    b.to_client_bytes[0] = 0;
    /* What has been large once is asked for aside, which is the first link by now. */
    client(0, FORMAT("get %s\r\n", key));
    expect_node(0, FORMAT("get %s\r\n", key));
    expect_node(SIDE, "");
    /* And no more once it is small. */
    node(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", key));
    expect_client(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", key));
    client(0, FORMAT("get %s\r\n", key));
    expect_node(SIDE, FORMAT("get %s\r\n", key));
    expect_node(0, "");
}
END_TEST

/* What a read shows to be small is asked for aside no more, however it was read. */
START_TEST(test_any_read_forgets_that_it_was_large)
{
    static const struct {
        const char *verb, *behind, *answer, *end;
    } reads[] = {
        {"get", " another", " 0 1", "END\r\n"},
        {"gets", " another", " 0 1 7", "END\r\n"},
        {"mg", " s v", NULL, ""},
    };
    const char *key = key_of(0);
    meet_large();
    client(0, FORMAT("set %s 0 0 %d\r\n%s\r\n", key, SIDE_BYTES, large()));
    node(SIDE, "HD\r\n");
    node(SIDE + 1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    forget_sent();
    client(0, FORMAT("%s %s%s\r\n", reads[_i].verb, key, reads[_i].behind));
    ck_assert_uint_gt(b.to_node_bytes[SIDE], 0);
    if (reads[_i].answer == NULL) {
        node(SIDE, "VA 1 s1");
    } else {
        node(SIDE, FORMAT("VALUE %s%s", key, reads[_i].answer));
    }
    node(SIDE, FORMAT("\r\nx\r\n%s", reads[_i].end));
    forget_sent();
    client(1, FORMAT("get %s\r\n", key));
    expect_node(0, FORMAT("get %s\r\n", key));
    expect_node(SIDE, "");
}
END_TEST

/* The same key, back and forth between the links. */
START_TEST(test_a_client_sees_its_own_order)
{
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("get %s\r\nset %s 0 0 %d\r\n%s\r\nget %s\r\ndelete %s\r\n", key, key,
                     SIDE_BYTES, large(), key, key));
    expect_node(0, FORMAT("get %s\r\n", key));
    expect_node(SIDE, "");
    node(0, "END\r\n");
    expect_node(SIDE, stored(key));
    expect_node(0, "");
    node(SIDE, "HD\r\n");
    node(SIDE + 1, "HD\r\n");
    expect_node(SIDE, FORMAT("get %s\r\n", key));
    expect_node(0, "");
    node(SIDE, FORMAT("VALUE %s 0 %d\r\n%s\r\nEND\r\n", key, SIDE_BYTES, large()));
    expect_node(0, FORMAT("md %s\r\n", key));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, FORMAT("END\r\nSTORED\r\nVALUE %s 0 %d\r\n%s\r\nEND\r\nDELETED\r\n", key,
                            SIDE_BYTES, large()));
}
END_TEST

START_TEST(test_writes_to_a_key_keep_their_order)
{
    meet_large();
    client(0, "set k 0 0 1\r\nx\r\n");
    forget_sent();
    /* A large one waits for it, and who comes later for the large one. */
    client(1, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    client(2, "delete k\r\n");
    for (uint32_t n = 0; n < LINKS; n++) {
        expect_node(n, "");
    }
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, "");
        expect_node(SIDE + n, stored("k"));
    }
    node(SIDE, "HD\r\n");
    expect_node(0, ""); /* one node has it, and the other not yet */
    node(SIDE + 1, "HD\r\n");
    expect_client(1, "STORED\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, "md k\r\n");
        node(n, "HD\r\n");
    }
    expect_client(2, "DELETED\r\n");
}
END_TEST

/* Also of those that stood behind a large value when the links changed places. */
START_TEST(test_what_stands_behind_keeps_its_order)
{
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("get %s\r\n", key));
    client(1, "set k 0 0 1\r\nx\r\n");
    client(2, FORMAT("get %s\r\n", key));
    forget_sent();
    node(0, FORMAT("VALUE %s 0 %d\r\n", key, SIDE_BYTES));
    node(1, "HD\r\n");
    client(3, "delete k\r\n");
    client(2, FORMAT("set %s 0 0 1\r\nx\r\n", key));
    for (uint32_t n = 0; n < LINKS; n++) {
        expect_node(n, "");
    }
    node(0, FORMAT("%s\r\nEND\r\nHD\r\nEND\r\n", large()));
    expect_client(1, "STORED\r\n");
    expect_client(2, "END\r\n");
    expect_node(SIDE, FORMAT("md k\r\nms %s 1\r\nx\r\n", key));
    expect_node(0, "");
}
END_TEST

START_TEST(test_an_item_that_grows_goes_aside)
{
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("append %s 0 0 1\r\nv\r\n", key));
    forget_sent();
    node(0, FORMAT("HD\r\nVA %d f0 t-1 c7\r\n%s\r\n", SIDE_BYTES, large()));
    expect_node(1, "");
    ck_assert_uint_gt(b.to_node_bytes[SIDE + 1], SIDE_BYTES);
    node(SIDE + 1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    forget_sent();
    /* It is known to be large now; the links of node 0 have changed places, so it goes by the first
     * one. */
    client(0, FORMAT("append %s 0 0 1\r\nv\r\n", key));
    ck_assert_uint_gt(b.to_node_bytes[0], 0);
    ck_assert_uint_eq(b.to_node_bytes[SIDE], 0);
}
END_TEST

/* The second link is lost amid a value: the write comes home by what there is. */
START_TEST(test_a_second_link_that_ends)
{
    meet_large();
    client(0, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    node(SIDE, "HD\r\n");
    forget_sent();
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_CLOSED, .link = link_of(SIDE + 1), .end = WIRE_END_EOF});
    expect_node(1, stored("k"));
    node(1, "HD\r\n");
    node(SIDE, "HD\r\n");
    expect_client(0, "STORED\r\n");
    ck_assert_ptr_null(last_report(CONTROL_REPORT_MISSED));
    /* What is still on its way there counts against the node, as on any other link. */
    greet(SIDE + 1, 101);
    client(0, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    node(SIDE, "HD\r\n");
    pass(800 * 1000);
    ck_assert(b.is_given_up[SIDE + 1]);
    ck_assert(!b.is_given_up[1]);
    ck_assert_uint_eq(dataplane_stats(b.dp)->nodes[1].given_up, 1);
    ck_assert(!link_is_proven(b.dp, 1));
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_ENDED, .link = link_of(SIDE + 1), .end = WIRE_END_EOF});
    b.given_up[SIDE + 1]--;
    ck_assert(link_is_proven(b.dp, 1));
    ck_assert_uint_gt(b.to_node_bytes[1], SIDE_BYTES);
    forget_sent();
    node(1, "HD\r\n");
    node(SIDE, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

START_TEST(test_no_second_link_is_needed)
{
    client(0, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    for (uint32_t n = 0; n < NODES; n++) {
        ck_assert(b.is_connecting[SIDE + n]);
        b.is_connecting[SIDE + n] = false;
        step(&(struct dataplane_event){
            .type = DATAPLANE_NODE_CLOSED, .link = link_of(SIDE + n), .end = WIRE_END_REFUSED});
        expect_node(n, stored("k"));
        node(n, "HD\r\n");
    }
    expect_client(0, "STORED\r\n");
    client(0, "get k\r\n");
    ck_assert_uint_gt(b.to_node_bytes[0] + b.to_node_bytes[1], 0);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_MISSED));
    /* A second link to another process than the first one is none, also where no view says so. */
    forget_sent();
    struct topology *t = topology(1, 0);
    t->is_lone = true;
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    pass(40 * 1000);
    greet(SIDE, 999);
    forget_sent();
    client(1, FORMAT("set l 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    ck_assert_uint_eq(b.to_node_bytes[SIDE], 0);
    ck_assert_uint_gt(b.to_node_bytes[0], SIDE_BYTES);
}
END_TEST

/* What a client was shown as an item's CAS is so still when the links have changed places, though
 * one of them was made after a flush_all. */
START_TEST(test_a_cas_outlives_a_change_of_places)
{
    struct topology *t = topology(1, 0);
    t->is_lone = true;
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    client(0, "gets k\r\n");
    forget_sent();
    node(0, "VALUE k 0 1 7\r\nx\r\nEND\r\n");
    unsigned long long cas = 0;
    b.to_client[0][b.to_client_bytes[0]] = 0;
    ck_assert_int_eq(sscanf(b.to_client[0], "VALUE k 0 1 %llu", &cas), 1);
    b.to_client_bytes[0] = 0;
    client(3, FORMAT("set other 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    node(0, "HD\r\n");
    b.is_connecting[SIDE] = false;
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_OPEN, .link = link_of(SIDE)});
    node(SIDE, "STAT pid 100\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT cmd_flush 1\r\n"
               "END\r\nEN\r\n");
    client(1, "get unforeseen\r\n");
    node(0, FORMAT("VALUE unforeseen 0 %d\r\n", SIDE_BYTES));
    node(0, FORMAT("%s\r\nEND\r\n", large()));
    forget_sent();
    client(0, FORMAT("cas k 0 0 1 %llu\r\ny\r\n", cas));
    expect_node(SIDE, "ms k 1 C00000000000000000007\r\ny\r\n");
    node(SIDE, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

START_TEST(test_a_node_that_leaves_loses_both)
{
    meet_large();
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = topology(1, 0)});
    ck_assert(b.is_given_up[1] && b.is_given_up[SIDE + 1]);
    ck_assert(!b.is_given_up[0] && !b.is_given_up[SIDE]);
}
END_TEST

static void lose_node(uint32_t n)
{
    for (uint32_t at = n; at < LINKS; at += NODES) {
        step(&(struct dataplane_event){
            .type = DATAPLANE_NODE_CLOSED, .link = link_of(at), .end = WIRE_END_EOF});
    }
}

/* Two writes to a key, of which the second was put aside behind a large value: what one view leaves
 * of them is chained by two links to a node that the next one fills. */
START_TEST(test_what_is_chained_keeps_its_order)
{
    meet_large();
    const char *key = key_of(0);
    client(0, "set k 0 0 1\r\na\r\n");
    client(2, FORMAT("get %s\r\n", key));
    client(1, "set k 0 0 1\r\nb\r\n");
    node(0, "HD\r\n");
    node(0, FORMAT("VALUE %s 0 %d\r\nvvv", key, SIDE_BYTES));
    forget_sent();
    lose_node(1);
    struct topology *t = topology(1, 2);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    node(0, FORMAT("%s\r\nEND\r\nHD\r\n", large() + 3));
    greet(1, 201);
    greet(SIDE + 1, 201);
    forget_sent();
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    expect_node(1, "ms k 1\r\na\r\n");
    expect_node(SIDE + 1, "");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    expect_node(SIDE + 1, "ms k 1\r\nb\r\n");
    node(SIDE + 1, "HD\r\n");
    expect_client(1, "STORED\r\n");
}
END_TEST

/* What waited begins before what comes in the turn that ends its waiting. */
static void lose_lease(void)
{
    b.lease_until_us = b.now_us;
    pass(1000);
}

START_TEST(test_no_large_write_passes_one_that_waited)
{
    meet_large();
    lose_lease();
    client(0, "set k 0 0 1\r\nx\r\n");
    b.lease_until_us = UINT64_MAX;
    client(1, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, "ms k 1\r\nx\r\n");
        expect_node(SIDE + n, "");
        node(n, "HD\r\n");
    }
    expect_client(0, "STORED\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(SIDE + n, stored("k"));
        node(SIDE + n, "HD\r\n");
    }
    expect_client(1, "STORED\r\n");
}
END_TEST

START_TEST(test_none_passes_a_large_write_that_waited)
{
    meet_large();
    lose_lease();
    client(0, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    b.lease_until_us = UINT64_MAX;
    client(1, "set k 0 0 1\r\nx\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(SIDE + n, stored("k"));
        expect_node(n, "");
        node(SIDE + n, "HD\r\n");
    }
    expect_client(0, "STORED\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, "ms k 1\r\nx\r\n");
        node(n, "HD\r\n");
    }
    expect_client(1, "STORED\r\n");
}
END_TEST

START_TEST(test_large_writes_leave_one_between_them)
{
    meet_large();
    client(0, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    client(1, "set k 0 0 1\r\nx\r\n");
    node(SIDE, "HD\r\n");
    forget_sent();
    const char *again = FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large());
    dataplane_turn(b.dp, b.now_us, b.lease_until_us);
    dataplane_step(b.dp, &(struct dataplane_event){.type = DATAPLANE_NODE_BYTES,
                                                   .link = link_of(SIDE + 1),
                                                   .bytes = SLICE("HD\r\n")});
    dataplane_step(b.dp, &(struct dataplane_event){.type = DATAPLANE_CLIENT_BYTES,
                                                   .client = 2,
                                                   .bytes = slice_of_string(again)});
    run();
    expect_client(0, "STORED\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, "ms k 1\r\nx\r\n");
        expect_node(SIDE + n, "");
        node(n, "HD\r\n");
    }
    expect_client(1, "STORED\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(SIDE + n, stored("k"));
        node(SIDE + n, "HD\r\n");
    }
    expect_client(2, "STORED\r\n");
}
END_TEST

/* The deletion of a key in doubt is younger than the large write that waits, but begins first. */
START_TEST(test_a_deletion_in_doubt_is_not_passed)
{
    meet_large();
    client(0, "set k 0 0 1\r\nx\r\n");
    client(1, FORMAT("set k 0 0 %d\r\n%s\r\n", SIDE_BYTES, large()));
    lose_lease();
    b.lease_until_us = UINT64_MAX;
    pass(1000);
    forget_sent();
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, "md k\r\n");
        expect_node(SIDE + n, "");
        node(n, "HD\r\n");
    }
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(SIDE + n, stored("k"));
        node(SIDE + n, "HD\r\n");
    }
    expect_client(1, "STORED\r\n");
}
END_TEST

/* What does not show the value tells nothing of its size, and need not go aside. */
START_TEST(test_a_look_without_the_value)
{
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("set %s 0 0 %d\r\n%s\r\n", key, SIDE_BYTES, large()));
    node(SIDE, "HD\r\n");
    node(SIDE + 1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    forget_sent();
    client(0, FORMAT("mg %s t\r\nme %s\r\n", key, key));
    expect_node(SIDE, "");
    node(0, FORMAT("HD t-1\r\nME %s exp=-1\r\n", key));
    expect_client(0, FORMAT("HD t-1\r\nME %s exp=-1\r\n", key));
    forget_sent();
    client(0, FORMAT("get %s\r\n", key));
    expect_node(SIDE, FORMAT("get %s\r\n", key));
    expect_node(0, "");
}
END_TEST

/* Changing places does not make a node look nearer than it is. */
START_TEST(test_the_nearest_stays_the_nearest)
{
    free(b.memory);
    unusual.side_bytes = SIDE_BYTES;
    unusual.read = DATAPLANE_READ_NEAREST;
    start(MEMORY_BYTES);
    meet_large();
    b.dp->links[0].latency_us = 80000;
    b.dp->links[1].latency_us = 800;
    client(0, FORMAT("gets %s\r\n", key_of(0)));
    forget_sent();
    node(0, FORMAT("VALUE %s 0 %d 7\r\n%s\r\nEND\r\n", key_of(0), SIDE_BYTES, large()));
    ck_assert_ptr_eq(link_main(b.dp, 0), &b.dp->links[NODES_MAX]);
    client(1, "get z\r\n");
    expect_node(SIDE, "");
    expect_node(1, "get z\r\n");
}
END_TEST

/* A read whose second link ends asks the same node by the first: others may not have all yet that
 * it has shown. */
START_TEST(test_a_read_stays_with_its_node)
{
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("set %s 0 0 %d\r\n%s\r\n", key, SIDE_BYTES, large()));
    node(SIDE, "HD\r\n");
    node(SIDE + 1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    client(0, FORMAT("get %s\r\n", key));
    forget_sent();
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_CLOSED, .link = link_of(SIDE), .end = WIRE_END_EOF});
    expect_node(1, "");
    expect_node(0, FORMAT("get %s\r\n", key));
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_CLOSED, .link = link_of(0), .end = WIRE_END_EOF});
    expect_node(SIDE + 1, FORMAT("get %s\r\n", key));
    node(SIDE + 1, "END\r\n");
    expect_client(0, "END\r\n");
}
END_TEST

START_TEST(test_a_small_store_forgets_that_it_was_large)
{
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("set %s 0 0 %d\r\n%s\r\n", key, SIDE_BYTES, large()));
    node(SIDE, "HD\r\n");
    node(SIDE + 1, "HD\r\n");
    client(0, FORMAT("set %s 0 0 1\r\nx\r\n", key));
    forget_sent();
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    client(0, FORMAT("get %s other2\r\n", key));
    expect_node(SIDE, "");
    expect_node(SIDE + 1, "");
}
END_TEST

/* A command that the leader decides waits for an older write, and a younger one comes meanwhile. No
 * result may overtake that one on another node, where it would go by the other link: since the item
 * has grown (0), or since links changed places (1). */
START_TEST(test_no_result_passes_what_came_while_it_waited)
{
    bool is_grown = _i == 0;
    meet_large();
    const char *key = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nx\r\n", key));
    client(1, FORMAT("append %s 0 0 1\r\nv\r\n", key));
    client(3, FORMAT("get %s\r\n", key_of(1)));
    client(2, FORMAT("set %s 0 0 1\r\ny\r\n", key));
    expect_node(0, FORMAT("ms %s 1\r\nx\r\n", key));
    expect_node(1, FORMAT("ms %s 1\r\nx\r\nget %s\r\n", key, key_of(1)));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    expect_node(0, FORMAT("ms %s 1 MA\r\nv\r\nmg %s v f t c u\r\n", key, key));
    expect_node(1, "");
    node(1, FORMAT("VALUE %s 0 %d\r\n%s\r\nEND\r\n", key_of(1), is_grown ? 1 : SIDE_BYTES,
                   is_grown ? "x" : large()));
    const char *item = is_grown ? large() : "xv";
    node(0, FORMAT("HD\r\nVA %d f0 t-1 c7\r\n%s\r\n", (int)strlen(item), item));
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, "");
        expect_node(SIDE, "");
    }
    expect_node(SIDE + 1, FORMAT("ms %s %d\r\n%s\r\n", key, (int)strlen(item), item));
    node(SIDE + 1, "HD\r\n");
    expect_client(1, "STORED\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        bool is_moved = is_grown == (n == 0); /* whose links changed places */
        expect_node(n + (is_moved ? SIDE : 0), FORMAT("ms %s 1\r\ny\r\n", key));
        node(n + (is_moved ? SIDE : 0), "HD\r\n");
    }
    expect_client(2, "STORED\r\n");
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("side");
    tcase_add_checked_fixture(tcase, start_with_side, teardown);
    tcase_add_test(tcase, test_a_large_store_holds_up_nobody);
    tcase_add_test(tcase, test_an_unforeseen_value_has_the_link_for_itself);
    tcase_add_loop_test(tcase, test_any_read_forgets_that_it_was_large, 0, 3);
    tcase_add_test(tcase, test_a_client_sees_its_own_order);
    tcase_add_test(tcase, test_writes_to_a_key_keep_their_order);
    tcase_add_test(tcase, test_what_stands_behind_keeps_its_order);
    tcase_add_test(tcase, test_an_item_that_grows_goes_aside);
    tcase_add_loop_test(tcase, test_no_result_passes_what_came_while_it_waited, 0, 2);
    tcase_add_test(tcase, test_a_second_link_that_ends);
    tcase_add_test(tcase, test_no_second_link_is_needed);
    tcase_add_test(tcase, test_a_node_that_leaves_loses_both);
    tcase_add_test(tcase, test_a_cas_outlives_a_change_of_places);
    tcase_add_test(tcase, test_what_is_chained_keeps_its_order);
    tcase_add_test(tcase, test_no_large_write_passes_one_that_waited);
    tcase_add_test(tcase, test_none_passes_a_large_write_that_waited);
    tcase_add_test(tcase, test_large_writes_leave_one_between_them);
    tcase_add_test(tcase, test_a_deletion_in_doubt_is_not_passed);
    tcase_add_test(tcase, test_a_look_without_the_value);
    tcase_add_test(tcase, test_the_nearest_stays_the_nearest);
    tcase_add_test(tcase, test_a_read_stays_with_its_node);
    tcase_add_test(tcase, test_a_small_store_forgets_that_it_was_large);
    Suite *suite = suite_create("dataplane, second links");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
