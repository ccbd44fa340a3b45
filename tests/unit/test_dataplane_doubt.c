/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A write that could not be answered in time is in doubt: its key is deleted (replication.md
 * section 1). What is written after it and acknowledged must not go with it, wherever the two met:
 * the deletion is of what was there before.
 */
#include "dataplane_bench.h"

/* Node 0 leaves; it was given up before. */
static void lose_node(void)
{
    const struct topology *t = topology(2, 0);
    hold_view(t);
    adopt_view(t);
}

/* Client 0's set of K is over its deadline and under way yet, for it was held until half a second
 * before it: node 1 has done it, node 0 is frozen. */
static void begin_late(const char *k)
{
    const struct topology *t = topology(3, 0);
    hold_view(t);
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", k));
    pass(1000 * 1000);
    adopt_view(t);
    forget_sent();
    node(1, "HD\r\n");
    pass(510 * 1000);
    expect_client(0, "SERVER_ERROR timed out\r\n");
}

static void lose_frozen_node(void)
{
    pass(260 * 1000);
    ck_assert(b.is_given_up[0]);
    lose_node();
}

/* The client writes again at once, and both are with the frozen node when it is given up. */
START_TEST(test_overwritten_while_under_way)
{
    const char *k = key_of((uint32_t)_i % 2);
    bool is_delete = _i >= 2;
    begin_late(k);
    client(0, is_delete ? FORMAT("delete %s\r\n", k) : FORMAT("set %s 0 0 1\r\n2\r\n", k));
    const char *sent = is_delete ? FORMAT("md %s\r\n", k) : FORMAT("ms %s 1\r\n2\r\n", k);
    expect_node(1, sent);
    node(1, "HD\r\n");
    lose_frozen_node();
    if (_i % 2 == 0) {
        expect_node(1, sent); /* its leader was lost */
        node(1, "HD\r\n");
    }
    expect_client(0, is_delete ? "DELETED\r\n" : "STORED\r\n");
    pass(1000 * 1000);
    expect_node(1, "");
}
END_TEST

/* What decides waits, and then acts on a key that is gone. */
START_TEST(test_decided_behind)
{
    const char *k = key_of((uint32_t)_i);
    begin_late(k);
    client(0, FORMAT("incr %s 1\r\n", k));
    expect_node(1, "");
    lose_frozen_node();
    expect_node(1, FORMAT("md %s\r\n", k));
    node(1, "HD\r\n");
    expect_node(1, FORMAT("ma %s MI D1 v\r\nmg %s v f t c u\r\n", k, k));
    node(1, "NF\r\nEN\r\n");
    expect_client(0, "NOT_FOUND\r\n");
}
END_TEST

/* Another client writes while the first one still waits for the frozen node. */
START_TEST(test_waiting_write_behind)
{
    const char *k = key_of((uint32_t)_i % 2);
    bool is_held = _i >= 2;
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", k));
    forget_sent();
    node(1, "HD\r\n");
    pass(760 * 1000);
    ck_assert(b.is_given_up[0]);
    client(1, FORMAT("set %s 0 0 1\r\n2\r\n", k));
    const struct topology *t = topology(2, 0);
    if (is_held) {
        hold_view(t);
    }
    pass(760 * 1000);
    expect_client(0, "SERVER_ERROR timed out\r\n");
    expect_node(1, "");
    if (!is_held) {
        hold_view(t);
    }
    adopt_view(t);
    expect_node(1, FORMAT("md %s\r\n", k));
    node(1, "HD\r\n");
    expect_node(1, FORMAT("ms %s 1\r\n2\r\n", k));
    node(1, "HD\r\n");
    expect_client(1, "STORED\r\n");
}
END_TEST

/* The deletion waits for the end of the connection that was given up, and new writes for it. */
START_TEST(test_write_behind_a_waiting_deletion)
{
    const char *k = key_of((uint32_t)_i);
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", k));
    node(1, "HD\r\n");
    pass(760 * 1000);
    ck_assert(b.is_given_up[0]);
    forget_sent();
    greet(0, 100);
    pass(750 * 1000);
    expect_client(0, "SERVER_ERROR timed out\r\n");
    expect_node(0, "");
    client(0, FORMAT("set %s 0 0 1\r\n2\r\n", k));
    expect_node(0, "");
    expect_node(1, "");
    b.given_up[0]--;
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_ENDED, .link = 0, .end = WIRE_END_EOF});
    pass(20 * 1000);
    pass(20 * 1000);
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, FORMAT("md %s\r\n", k));
        node(n, "HD\r\n");
    }
    for (uint32_t n = 0; n < NODES; n++) {
        expect_node(n, FORMAT("ms %s 1\r\n2\r\n", k));
        node(n, "HD\r\n");
    }
    expect_client(0, "STORED\r\n");
}
END_TEST

/* A touch leaves the value as it is, so it is no reason to keep what is in doubt; nor do the two
 * and the view wait for each other. */
START_TEST(test_touched_while_under_way)
{
    const char *k = key_of((uint32_t)_i);
    begin_late(k);
    client(0, FORMAT("touch %s 60\r\n", k));
    expect_node(1, FORMAT("touch %s 60\r\n", k));
    node(1, "TOUCHED\r\n");
    pass(260 * 1000);
    ck_assert(b.is_given_up[0]);
    forget_sent();
    const struct topology *t = topology(2, 0);
    hold_view(t);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    adopt_view(t);
    bool is_rerun = _i == 0; /* its leader was lost */
    expect_node(1, is_rerun ? FORMAT("touch %s 60\r\nmd %s\r\n", k, k) : FORMAT("md %s\r\n", k));
    node(1, is_rerun ? "TOUCHED\r\nHD\r\n" : "HD\r\n");
    expect_client(0, "TOUCHED\r\n");
}
END_TEST

/* A key may be written in two ways, and is one: what came later is not taken along under the other
 * spelling either. */
START_TEST(test_overwritten_under_another_spelling)
{
    static const char *const coded[] = {
        "azA=", "azE=", "azI=", "azM=", "azQ=", "azU=", "azY=", "azc="};
    const char *k = key_of(0);
    const char *c = coded[k[1] - '0'];
    bool is_coded_first = _i == 0;
    const struct topology *t = topology(3, 0);
    hold_view(t);
    client(0, is_coded_first ? FORMAT("ms %s 1 b\r\n1\r\n", c) : FORMAT("ms %s 1\r\n1\r\n", k));
    pass(1000 * 1000);
    adopt_view(t);
    forget_sent();
    node(1, "HD\r\n");
    pass(510 * 1000);
    expect_client(0, "SERVER_ERROR timed out\r\n");
    client(1, is_coded_first ? FORMAT("ms %s 1\r\n2\r\n", k) : FORMAT("ms %s 1 b\r\n2\r\n", c));
    expect_node(1, text);
    node(1, "HD\r\n");
    lose_frozen_node();
    expect_node(1, text); /* its leader was lost */
    node(1, "HD\r\n");
    expect_client(1, "HD\r\n");
    pass(1000 * 1000);
    expect_node(1, "");
}
END_TEST

/* What goes behind a store that some node refuses is there to stay: the deletion that the refusal
 * leads to does not come after it. */
START_TEST(test_refused_before_a_later_write)
{
    const char *k = key_of(0);
    uint32_t refuser = (uint32_t)_i % 2;
    bool is_delete = _i >= 2;
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", k));
    client(1, is_delete ? FORMAT("delete %s\r\n", k) : FORMAT("set %s 0 0 1\r\n2\r\n", k));
    forget_sent();
    node(refuser, "SERVER_ERROR out of memory storing object\r\n");
    node(1 - refuser, "HD\r\n");
    expect_client(0, refuser == 0 ? "SERVER_ERROR out of memory storing object\r\n" : "STORED\r\n");
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(1, is_delete ? "DELETED\r\n" : "STORED\r\n");
    expect_node(0, "");
    expect_node(1, "");
}
END_TEST

/* Where nothing stands behind it but a touch, it does come. */
START_TEST(test_refused_before_a_touch)
{
    const char *k = key_of(0);
    uint32_t refuser = (uint32_t)_i;
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", k));
    client(1, FORMAT("touch %s 60\r\n", k));
    forget_sent();
    node(refuser, "SERVER_ERROR out of memory storing object\r\n");
    node(1 - refuser, "HD\r\n");
    expect_node(refuser, FORMAT("md %s\r\n", k));
    expect_node(1 - refuser, refuser == 0 ? FORMAT("md %s\r\n", k) : "");
    node(refuser, "NOT_FOUND\r\nNF\r\n");
    node(1 - refuser, refuser == 0 ? "TOUCHED\r\nHD\r\n" : "TOUCHED\r\n");
    expect_client(0, refuser == 0 ? "SERVER_ERROR out of memory storing object\r\n" : "STORED\r\n");
}
END_TEST

/* Only an EOF says that a node has done all that it ever will of a connection. The deletion, and
 * what waits for it, comes when it has answered a later one for a request timeout. */
START_TEST(test_an_end_that_proves_nothing)
{
    static const enum wire_end ends[] = {WIRE_END_RESET, WIRE_END_TIMEOUT, WIRE_END_UNREACHABLE,
                                         WIRE_END_REFUSED};
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", k));
    node(1, "HD\r\n");
    pass(760 * 1000);
    ck_assert(b.is_given_up[0]);
    forget_sent();
    greet(0, 100);
    pass(750 * 1000);
    expect_client(0, "SERVER_ERROR timed out\r\n");
    b.given_up[0]--;
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_ENDED, .link = 0, .end = ends[_i]});
    for (uint32_t i = 0; i < 14; i++) {
        pass(100 * 1000);
        expect_node(0, "");
        expect_node(1, "");
    }
    pass(100 * 1000);
    pass(20 * 1000);
    expect_node(0, FORMAT("md %s\r\n", k));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
}
END_TEST

/* The same of one that ends while writes are under way on it. */
START_TEST(test_a_broken_link_proves_nothing)
{
    static const enum wire_end ends[] = {WIRE_END_RESET, WIRE_END_TIMEOUT, WIRE_END_UNREACHABLE,
                                         WIRE_END_REFUSED};
    client(0, FORMAT("set %s 0 0 1\r\n1\r\n", key_of(0)));
    node(1, "HD\r\n");
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = 0, .end = ends[_i]});
    forget_sent();
    const struct control_report *report = last_report(CONTROL_REPORT_GIVEN_UP);
    ck_assert_ptr_nonnull(report);
    ck_assert_uint_eq(report->node, 0);
    ck_assert_uint_eq(report->count, 1);
    greet(0, 100);
    pass(1400 * 1000);
    expect_node(0, "");
}
END_TEST

/* What waited for a view for most of its time finds connections that are only being made: no node
 * is called missed for that before it had time to answer. */
START_TEST(test_new_connection_is_given_time)
{
    adopt_view(topology(1, 0));
    struct topology *both = topology(3, 0);
    hold_view(both);
    const char *k = key_of(0);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    pass(900 * 1000);
    forget_sent();
    b.report_count = 0;
    adopt_view(both);
    pass(20 * 1000);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_MISSED));
    bool is_given_time = _i == 0;
    if (is_given_time) {
        greet(1, 101);
        expect_node(0, FORMAT("ms %s 1\r\nv\r\n", k));
        expect_node(1, FORMAT("ms %s 1\r\nv\r\n", k));
        node(0, "HD\r\n");
        node(1, "HD\r\n");
        expect_client(0, "STORED\r\n");
    } else {
        pass(200 * 1000);
        const struct control_report *report = last_report(CONTROL_REPORT_MISSED);
        ck_assert_ptr_nonnull(report);
        ck_assert_uint_eq(report->node, 1);
    }
}
END_TEST

static void end_link(uint32_t n)
{
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_CLOSED, .link = link_of(n), .end = WIRE_END_EOF});
}

/* The same where it waited for the lease. */
START_TEST(test_connection_after_a_lapse_is_given_time)
{
    const char *k = key_of(0);
    b.lease_until_us = b.now_us;
    pass(1000);
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", k));
    pass(900 * 1000);
    end_link(1);
    b.report_count = 0;
    b.lease_until_us = UINT64_MAX;
    pass(1000);
    pass(20 * 1000);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_MISSED));
    greet(1, 101);
    expect_node(1, FORMAT("ms %s 1\r\nv\r\n", k));
    node(0, "HD\r\n");
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
}
END_TEST

/* However long a connection may take: the node has to be out in time for the write. */
START_TEST(test_new_connection_is_not_waited_for_too_long)
{
    b.dp->options.connect_timeout_us = 1400 * 1000;
    adopt_view(topology(3, 0));
    end_link(1);
    b.report_count = 0;
    client(0, FORMAT("set %s 0 0 1\r\nv\r\n", key_of(0)));
    pass(740 * 1000);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_MISSED));
    pass(20 * 1000);
    const struct control_report *report = last_report(CONTROL_REPORT_MISSED);
    ck_assert_ptr_nonnull(report);
    ck_assert_uint_eq(report->node, 1);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("doubt");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_overwritten_while_under_way, 0, 4);
    tcase_add_loop_test(tcase, test_decided_behind, 0, 2);
    tcase_add_loop_test(tcase, test_waiting_write_behind, 0, 4);
    tcase_add_loop_test(tcase, test_write_behind_a_waiting_deletion, 0, 2);
    tcase_add_loop_test(tcase, test_touched_while_under_way, 0, 2);
    tcase_add_loop_test(tcase, test_overwritten_under_another_spelling, 0, 2);
    tcase_add_loop_test(tcase, test_refused_before_a_later_write, 0, 4);
    tcase_add_loop_test(tcase, test_refused_before_a_touch, 0, 2);
    tcase_add_loop_test(tcase, test_an_end_that_proves_nothing, 0, 4);
    tcase_add_loop_test(tcase, test_a_broken_link_proves_nothing, 0, 4);
    tcase_add_loop_test(tcase, test_new_connection_is_given_time, 0, 2);
    tcase_add_test(tcase, test_connection_after_a_lapse_is_given_time);
    tcase_add_test(tcase, test_new_connection_is_not_waited_for_too_long);
    Suite *suite = suite_create("dataplane, writes in doubt");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
