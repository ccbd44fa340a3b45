/* SPDX-License-Identifier: BSD-2-Clause */
/* Reads that need not be the leader's, and answers that don't wait for all. */
#include "dataplane_bench.h"

START_TEST(test_spread_reads_in_turn)
{
    unusual.read = DATAPLANE_READ_SPREAD;
    restart(MEMORY_BYTES);
    for (uint32_t turn = 0; turn < 4; turn++) {
        uint32_t n = (turn + 1) % NODES;
        client(0, "get k\r\n");
        expect_node(n, "get k\r\n");
        expect_node(1 - n, "");
        node(n, "END\r\n");
        expect_client(0, "END\r\n");
    }
    /* All keys of one request from one node; a CAS is the leader's to show. */
    client(0, FORMAT("get %s %s\r\n", key_of(0), key_of(1)));
    expect_node(1, FORMAT("get %s %s\r\n", key_of(0), key_of(1)));
    node(1, "END\r\n");
    expect_client(0, "END\r\n");
    for (uint32_t n = 0; n < NODES; n++) {
        client(0, FORMAT("gets %s\r\n", key_of(n)));
        expect_node(n, FORMAT("gets %s\r\n", key_of(n)));
        node(n, "END\r\n");
        expect_client(0, "END\r\n");
    }
    /* A node that is drained, or lost, is not asked. */
    struct topology *t = topology(3, 0);
    t->leaders = 2;
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    for (uint32_t turn = 0; turn < 3; turn++) {
        client(0, "get k\r\n");
        expect_node(1, "get k\r\n");
        node(1, "END\r\n");
        expect_client(0, "END\r\n");
    }
    step(
        &(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 1, .end = WIRE_END_RESET});
    client(0, "get k\r\n");
    expect_node(0, "get k\r\n");
    node(0, "END\r\n");
    expect_client(0, "END\r\n");
}
END_TEST

/* New connections find a view there that this thread has not been told of yet. */
START_TEST(test_read_waits_for_a_newer_view)
{
    restart(MEMORY_BYTES);
    struct topology *t = topology(3, 0);
    for (uint32_t n = 0; n < NODES; n++) {
        b.dp->links[n].seen_epoch = t->epoch;
    }
    client(0, "get k\r\n");
    client(1, "get k j\r\n");
    pass(1000);
    expect_client(0, "");
    expect_client(1, "");
    hold_view(t);
    adopt_view(t);
    for (uint32_t n = 0; n < NODES; n++) {
        obey(n);
    }
    expect_client(0, "END\r\n");
    expect_client(1, "END\r\n");
}
END_TEST

/* The view of a larger pool, which a node was in once, is nothing to wait for. */
START_TEST(test_lone_node_with_a_left_over_view)
{
    restart(MEMORY_BYTES);
    struct topology *t = topology(1, 0);
    t->epoch = 0;
    t->is_lone = true;
    adopt_view(t);
    b.dp->links[0].seen_epoch = 2;
    client(0, "get k\r\nset k 0 0 1\r\nx\r\n");
    expect_node(0, "get k\r\nms k 1\r\nx\r\n");
    node(0, "END\r\nHD\r\n");
    expect_client(0, "END\r\nSTORED\r\n");
}
END_TEST

START_TEST(test_nearest_is_the_quickest)
{
    unusual.read = DATAPLANE_READ_NEAREST;
    restart(MEMORY_BYTES);
    uint64_t delays_us[NODES] = {8000, 1000};
    uint32_t reads[NODES] = {0};
    for (uint32_t turn = 0; turn < 60; turn++) {
        if (turn == 30) {
            delays_us[0] = 500;
            delays_us[1] = 9000;
        }
        client(0, "set k 0 0 1\r\nx\r\nget k\r\n");
        uint32_t n = strstr(b.to_node[0], "get") != NULL && b.to_node_bytes[0] > 12 ? 0 : 1;
        reads[n] += turn >= 15 && turn < 30 && n == 1;
        reads[n] += turn >= 45 && n == 0;
        uint32_t quick = delays_us[0] < delays_us[1] ? 0 : 1;
        pass(delays_us[quick]);
        node(quick, quick == n ? "HD\r\nEND\r\n" : "HD\r\n");
        pass(delays_us[1 - quick] - delays_us[quick]);
        node(1 - quick, quick == n ? "HD\r\n" : "HD\r\nEND\r\n");
        b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
        expect_client(0, "STORED\r\nEND\r\n");
    }
    ck_assert_uint_eq(reads[1], 15);
    ck_assert_uint_eq(reads[0], 15);
}
END_TEST

/* The new leader may lack what somebody has read from the old one, of a write under way. */
START_TEST(test_leader_that_is_left_is_waited_for)
{
    struct topology *t = topology(2, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    ck_assert(b.is_given_up[0]);
    client(0, FORMAT("get %s\r\n", key_of(0)));
    expect_node(1, "");
    client(1, FORMAT("get %s\r\n", key_of(1)));
    expect_node(1, FORMAT("get %s\r\n", key_of(1)));
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    expect_node(1, FORMAT("get %s\r\n", key_of(0)));
}
END_TEST

START_TEST(test_leader_that_is_lost_is_not_waited_for)
{
    step(
        &(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 0, .end = WIRE_END_RESET});
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = topology(2, 0)});
    client(0, FORMAT("get %s\r\n", key_of(0)));
    expect_node(1, FORMAT("get %s\r\n", key_of(0)));
}
END_TEST

START_TEST(test_fallback_asks_the_next)
{
    unusual.miss_fallback = DATAPLANE_FALLBACK_ALWAYS;
    restart(MEMORY_BYTES);
    const char *k = key_of(0);
    client(0, FORMAT("get %s\r\n", k));
    expect_node(0, FORMAT("get %s\r\n", k));
    node(0, "END\r\n");
    expect_node(1, FORMAT("get %s\r\n", k));
    node(1, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k));
    expect_node(0, ""); /* what is found is stored nowhere */
    expect_client(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k));
    client(0, FORMAT("get %s\r\n", k));
    node(0, "END\r\n");
    node(1, "END\r\n");
    expect_client(0, "END\r\n");
}
END_TEST

/* Of many keys those that are missing are asked for again, and all come in their order. */
START_TEST(test_fallback_of_many_keys)
{
    unusual.miss_fallback = DATAPLANE_FALLBACK_ALWAYS;
    restart(MEMORY_BYTES);
    const char *x = key_of(0);
    const char *y = key_of(1);
    client(0, FORMAT("get %s %s %s %s\r\n", x, y, x, y));
    expect_node(0, FORMAT("get %s %s\r\n", x, x));
    expect_node(1, FORMAT("get %s %s\r\n", y, y));
    node(1, FORMAT("VALUE %s 0 2\r\nyy\r\nVALUE %s 0 2\r\nyy\r\nEND\r\n", y, y));
    expect_node(0, "");
    node(0, "END\r\n");
    expect_node(1, FORMAT("get %s %s\r\n", x, x));
    node(1, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", x));
    expect_node(0, "");
    expect_client(0, FORMAT("VALUE %s 0 1\r\nx\r\nVALUE %s 0 2\r\nyy\r\n"
                            "VALUE %s 0 2\r\nyy\r\nEND\r\n",
                            x, y, y));
    /* Both keys at one node, one of them there; a value that looks like a reply. */
    client(0, FORMAT("get %s n1 %s\r\n", x, x));
    obey(1);
    obey(0);
    obey(1);
    obey(0);
    expect_client(0, "END\r\n");
}
END_TEST

START_TEST(test_no_fallback)
{
    unusual.miss_fallback = DATAPLANE_FALLBACK_NEVER;
    restart(MEMORY_BYTES);
    struct topology *t = topology(3, 0);
    t->is_young = true;
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
    const char *k = key_of(0);
    client(0, FORMAT("get %s\r\n", k));
    node(0, "END\r\n");
    expect_node(1, "");
    expect_client(0, "END\r\n");
}
END_TEST

START_TEST(test_ack_of_the_leader)
{
    unusual.ack = DATAPLANE_ACK_LEADER;
    restart(MEMORY_BYTES);
    const char *k = key_of(1);
    client(0, FORMAT("set %s 0 0 1\r\nx\r\n", k));
    node(0, "HD\r\n");
    expect_client(0, "");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    client(0, FORMAT("set %s 0 0 1\r\nx\r\n", k));
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
    /* The rest goes on: what decides waits for it, and a node that misses it leaves. */
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    client(0, FORMAT("incr %s 1\r\n", k));
    expect_node(1, "");
    node(0, "HD\r\n");
    expect_node(1, FORMAT("ma %s MI D1 v\r\nmg %s v f t c u\r\n", k, k));
    node(1, "VA 1\r\n6\r\nVA 1 f0 t-1 c9\r\n6\r\n");
    expect_client(0, "6\r\n");
    expect_node(0, FORMAT("ms %s 1\r\n6\r\n", k));
    step(
        &(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 0, .end = WIRE_END_RESET});
    pass(1000 * 1000);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_MISSED));
    pass(2000 * 1000);
    expect_client(0, ""); /* its deadline is over, and the key in doubt */
    ck_assert_uint_eq(dataplane_stats(b.dp)->keys_invalidated, 1);
}
END_TEST

START_TEST(test_hits_are_told_to_the_others)
{
    unusual.bump_every = 3;
    restart(MEMORY_BYTES);
    const char *k = key_of(0);
    for (uint32_t hit = 1; hit <= 6; hit++) {
        client(0, FORMAT("get %s\r\n", k));
        expect_node(0, FORMAT("get %s\r\n", k));
        node(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k));
        expect_client(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k));
        expect_node(1, hit % 3 == 0 ? FORMAT("mg %s\r\n", k) : "");
    }
    node(1, "HD\r\nEN\r\n"); /* whatever it says to that */
    client(0, FORMAT("get %s\r\n", key_of(1)));
    node(1, "END\r\n");
    expect_client(0, "END\r\n");
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("reads");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, test_spread_reads_in_turn);
    tcase_add_test(tcase, test_nearest_is_the_quickest);
    tcase_add_test(tcase, test_read_waits_for_a_newer_view);
    tcase_add_test(tcase, test_lone_node_with_a_left_over_view);
    tcase_add_test(tcase, test_leader_that_is_left_is_waited_for);
    tcase_add_test(tcase, test_leader_that_is_lost_is_not_waited_for);
    tcase_add_test(tcase, test_fallback_asks_the_next);
    tcase_add_test(tcase, test_fallback_of_many_keys);
    tcase_add_test(tcase, test_no_fallback);
    tcase_add_test(tcase, test_ack_of_the_leader);
    tcase_add_test(tcase, test_hits_are_told_to_the_others);
    Suite *suite = suite_create("dataplane reads and acks");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
