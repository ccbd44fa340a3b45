/* SPDX-License-Identifier: BSD-2-Clause */
/* A node that is warming, 1, gets what is read from the complete one, 0, and answers nothing. */
#include "dataplane_bench.h"

#define CAS_5 "900000000000000005"
#define CAS_6 "900000000000000006"

static struct topology *warming(void)
{
    struct topology *t = topology(1, 2);
    t->warming = 2;
    t->has_tokens = true;
    return t;
}

static void adopt(struct topology *t)
{
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
}

static void hold(struct topology *t)
{
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
}

static void close_node(uint32_t n, enum wire_end end)
{
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = n, .end = end});
}

static void start_warming(void)
{
    setup();
    adopt(warming());
}

/* Client 0 reads k, and has its answer. The warming node is asked for it. */
static void read_k(void)
{
    client(0, "get k\r\n");
    expect_node(0, "get k\r\n");
    expect_node(1, "");
    node(0, "VALUE k 7 1\r\nx\r\nEND\r\n");
    expect_client(0, "VALUE k 7 1\r\nx\r\nEND\r\n");
    expect_node(1, "mg k t\r\n");
}

/* It lacks it, and is given it. */
static void copy_k(void)
{
    read_k();
    node(1, "EN\r\n");
    expect_node(0, "mg k v f t c u\r\n");
    node(0, "VA 1 f7 t50 c" CAS_5 "\r\nx\r\n");
    expect_node(1, "ms k 1 ME c F7 E" CAS_5 " T50\r\nx\r\n");
}

static const struct dataplane_node_stats *stats_of(uint32_t n)
{
    return &dataplane_stats(b.dp)->nodes[n];
}

static void assert_at_rest(void)
{
    expect_node(0, "");
    expect_node(1, "");
    ck_assert_uint_eq(b.dp->warms, 0);
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, 0);
    ck_assert(is_idle());
}

START_TEST(test_what_is_read_is_stored)
{
    copy_k();
    node(1, "HD c" CAS_5 "\r\n");
    expect_node(0, "mg k c t u\r\n");
    node(0, "HD c" CAS_5 " t49\r\n");
    assert_at_rest();
    ck_assert_uint_eq(stats_of(1)->warm_stored, 1);
    ck_assert_uint_eq(stats_of(1)->warm_asked, 1);
    ck_assert_uint_eq(stats_of(1)->warm_hits, 0);
    read_k();
    node(1, "HD t49\r\n");
    assert_at_rest();
    ck_assert_uint_eq(stats_of(1)->warm_asked, 2);
    ck_assert_uint_eq(stats_of(1)->warm_hits, 1);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_WARMED));
    pass(100 * 1000);
    const struct control_report *report = last_report(CONTROL_REPORT_WARMED);
    ck_assert_ptr_nonnull(report);
    ck_assert_uint_eq(report->node, 1);
    ck_assert_uint_eq(report->count, 2);
    ck_assert_uint_eq(report->hits, 1);
    b.report_count = 0;
    pass(100 * 1000);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_WARMED));
}
END_TEST

/* Each kind of read, and each of many keys; what was not found is not looked for. */
START_TEST(test_all_reads_warm)
{
    client(0, "gets k\r\n");
    expect_node(0, "gets k\r\n");
    node(0, "VALUE k 0 1 5\r\nx\r\nEND\r\n");
    expect_node(1, "mg k t\r\n");
    node(1, "HD t-1\r\n");
    client(0, "mg k v\r\n");
    b.to_node_bytes[0] = 0;
    node(0, "VA 1\r\nx\r\n");
    expect_node(1, "mg k t\r\n");
    node(1, "HD t-1\r\n");
    client(0, "mg aw== b v\r\n");
    b.to_node_bytes[0] = 0;
    node(0, "VA 1 b\r\nx\r\n");
    expect_node(1, "mg aw== b t\r\n");
    node(1, "HD t-1\r\n");
    client(0, "get k0 k1 k2\r\n");
    expect_node(0, "get k0 k1 k2\r\n");
    node(0, "VALUE k1 0 1\r\nx\r\nEND\r\n");
    expect_node(1, "mg k0 t\r\nmg k1 t\r\nmg k2 t\r\n");
    node(1, "EN\r\nHD t-1\r\nHD t-1\r\n");
    expect_node(0, "mg k0 v f t c u\r\n");
    node(0, "EN\r\n");
    ck_assert_uint_eq(stats_of(1)->warm_asked, 5); /* what the leader lacks counts for nothing */
    ck_assert_uint_eq(stats_of(1)->warm_hits, 5);
    client(0, "get k3\r\n");
    expect_node(0, "get k3\r\n");
    node(0, "END\r\n");
    assert_at_rest();
}
END_TEST

/* A delete that reached both nodes before the copy, by another proxy: the copy is taken back. */
START_TEST(test_look_again_undoes)
{
    copy_k();
    node(1, "HD c" CAS_5 "\r\n");
    expect_node(0, "mg k c t u\r\n");
    node(0, _i == 0 ? "EN\r\n" : "HD c" CAS_6 " t50\r\n");
    expect_node(1, "md k C" CAS_5 "\r\n");
    node(1, _i == 0 ? "HD\r\n" : "EX\r\n");
    assert_at_rest();
    ck_assert_uint_eq(stats_of(1)->warm_stored, 0);
}
END_TEST

/* A node that numbers no items (-C): nothing of it could be looked at again. */
START_TEST(test_without_cas_nothing_is_stored)
{
    read_k();
    node(1, "EN\r\n");
    expect_node(0, "mg k v f t c u\r\n");
    node(0, "VA 1 f7 t50 c0\r\nx\r\n");
    assert_at_rest();
}
END_TEST

/* Nor on one: the copy can't be named, so it is deleted whatever is there by then. */
START_TEST(test_copy_without_cas_is_undone)
{
    copy_k();
    node(1, "HD c0\r\n");
    expect_node(0, "mg k c t u\r\n");
    node(0, "EN\r\n");
    pass(20 * 1000);
    expect_node(1, "md k\r\n");
    node(1, "HD\r\n");
    assert_at_rest();
}
END_TEST

/* Somebody was quicker: what is there came by a chained write, or was looked at by who stored it.
 */
START_TEST(test_there_by_now)
{
    copy_k();
    node(1, "NS\r\n");
    assert_at_rest();
}
END_TEST

START_TEST(test_no_room_there)
{
    copy_k();
    node(1, "SERVER_ERROR out of memory storing object\r\n");
    assert_at_rest();
}
END_TEST

START_TEST(test_marked_item_is_not_stored)
{
    read_k();
    node(1, "EN\r\n");
    expect_node(0, "mg k v f t c u\r\n");
    node(0, "VA 1 f7 t50 c" CAS_5 " W X\r\nx\r\n");
    expect_node(0, "md k I E" CAS_5 " C" CAS_5 "\r\n");
    node(0, "HD\r\n");
    assert_at_rest();
}
END_TEST

/* The client's own write does not wait for the copy; its copies are compared afterwards. */
START_TEST(test_write_meanwhile)
{
    struct topology *t = warming();
    t->is_settling = true;
    adopt(t);
    copy_k();
    client(0, "delete k\r\n");
    expect_node(0, "md k\r\n");
    node(1, "HD c" CAS_5 "\r\n");
    expect_node(0, "mg k c t u\r\n");
    node(0, "HD\r\nEN\r\n");
    expect_node(1, "md k\r\nmd k C" CAS_5 "\r\n");
    node(1, "HD\r\nNF\r\n");
    expect_client(0, "DELETED\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->settle_queue, 1);
    pass(20 * 1000);
    expect_node(0, "mg k c t u\r\n");
    expect_node(1, "mg k c t u\r\n");
    node(0, "EN\r\n");
    node(1, "EN\r\n");
    assert_at_rest();
}
END_TEST

/* Nobody can look at the leader again: the copy goes, on the warming node alone, and before any
 * view is joined. */
START_TEST(test_leader_is_lost_before_the_look)
{
    copy_k();
    node(1, "HD c" CAS_5 "\r\n");
    expect_node(0, "mg k c t u\r\n");
    b.report_count = 0;
    struct topology *next = topology(2, 0);
    hold(next);
    close_node(0, WIRE_END_EOF);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    pass(20 * 1000);
    expect_node(1, "md k\r\n");
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    node(1, "HD\r\n");
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    adopt(next);
    ck_assert_uint_eq(dataplane_stats(b.dp)->keys_invalidated, 0);
}
END_TEST

/* Whether the copy is there nobody knows. The node comes back, and it is deleted. */
START_TEST(test_copy_is_lost)
{
    copy_k();
    hold(warming());
    close_node(1, WIRE_END_EOF);
    b.report_count = 0;
    greet(1, 101);
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    pass(20 * 1000);
    expect_node(1, "md k\r\n");
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    node(1, "NF\r\n");
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    ck_assert_uint_eq(dataplane_stats(b.dp)->keys_invalidated, 0);
}
END_TEST

/* A reset: the node may do it later, so nothing counts before that is over. */
START_TEST(test_copy_is_cut_off)
{
    copy_k();
    close_node(1, WIRE_END_RESET);
    greet(1, 101);
    pass(20 * 1000);
    expect_node(1, "");
    for (int i = 0; i < 16; i++) {
        pass(100 * 1000);
    }
    expect_node(1, "md k\r\n");
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_MISSED)); /* it took too long */
    node(1, "HD\r\n");
    assert_at_rest();
}
END_TEST

/* It does not come back: control hears of it, and takes it out of the view. No key of a client's is
 * deleted on the complete node. */
START_TEST(test_node_is_lost_with_the_copy)
{
    copy_k();
    close_node(1, WIRE_END_EOF);
    b.is_connecting[1] = false;
    close_node(1, WIRE_END_REFUSED);
    pass(20 * 1000);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_MISSED));
    ck_assert_uint_eq(last_report(CONTROL_REPORT_MISSED)->node, 1);
    b.report_count = 0;
    struct topology *next = topology(1, 0);
    hold(next);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    adopt(next);
    pass(20 * 1000);
    assert_at_rest();
    ck_assert_uint_eq(dataplane_stats(b.dp)->keys_invalidated, 0);
}
END_TEST

/* Without the lease it can't be deleted, and after a lapse there is none before the next view. So
 * the node must leave: else the others would wait for this proxy for ever. */
START_TEST(test_copy_in_doubt_holds_up_no_view_after_a_lapse)
{
    copy_k();
    close_node(1, WIRE_END_EOF);
    greet(1, 101);
    b.lease_until_us = 0;
    b.report_count = 0;
    hold(warming());
    for (int i = 0; i < 5; i++) {
        pass(20 * 1000);
    }
    expect_node(1, "");
    ck_assert_ptr_null(last_report(CONTROL_REPORT_DRAINED));
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_MISSED));
    ck_assert_uint_eq(last_report(CONTROL_REPORT_MISSED)->node, 1);
    struct topology *next = topology(1, 0);
    hold(next);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    b.lease_until_us = UINT64_MAX;
    adopt(next);
    pass(20 * 1000);
    assert_at_rest();
}
END_TEST

/* Another run than the view's: it may hold old data. It is asked nothing, and writes wait. */
START_TEST(test_other_run_is_not_used)
{
    close_node(1, WIRE_END_EOF);
    greet(1, 102);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_IDENTITY));
    client(0, "get k\r\n");
    node(0, "VALUE k 7 1\r\nx\r\nEND\r\n");
    b.to_node_bytes[0] = 0;
    expect_node(1, "");
    client(1, "set k 0 0 1\r\nv\r\n");
    b.to_node_bytes[0] = 0;
    node(0, "HD\r\n");
    expect_node(1, "");
    expect_client(1, "");
}
END_TEST

/* While a view is being joined nothing is begun. */
START_TEST(test_nothing_begins_while_holding)
{
    client(0, "get k\r\n");
    hold(topology(3, 0));
    node(0, "VALUE k 7 1\r\nx\r\nEND\r\n");
    expect_node(1, "");
    ck_assert_uint_eq(b.dp->warms, 0);
}
END_TEST

START_TEST(test_bound)
{
    for (uint32_t i = 0; i <= WARMS_MAX; i++) {
        client(0, FORMAT("get key%u\r\n", i));
        node(0, FORMAT("VALUE key%u 0 1\r\nx\r\nEND\r\n", i));
    }
    ck_assert_uint_eq(b.dp->warms, WARMS_MAX);
    b.to_node[1][b.to_node_bytes[1]] = 0;
    ck_assert_ptr_nonnull(strstr(b.to_node[1], FORMAT("mg key%u t\r\n", WARMS_MAX - 1)));
    ck_assert_ptr_null(strstr(b.to_node[1], FORMAT("mg key%u t\r\n", WARMS_MAX)));
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    b.to_client_bytes[0] = 0;
    for (uint32_t i = 0; i < WARMS_MAX; i++) {
        node(1, "HD t-1\r\n");
    }
    assert_at_rest();
}
END_TEST

/* Of large values one at a time. */
START_TEST(test_large_values)
{
    static char reply[2 * MC_VALUE_LARGE_BYTES];
    for (uint32_t i = 0; i < 2; i++) {
        client(0, FORMAT("get large%u\r\n", i));
        int head = snprintf(reply, sizeof(reply), "VALUE large%u 0 %u\r\n", i,
                            (unsigned)MC_VALUE_LARGE_BYTES);
        memset(reply + head, 'x', MC_VALUE_LARGE_BYTES);
        memcpy(reply + head + MC_VALUE_LARGE_BYTES, "\r\nEND\r\n", 8);
        node(0, reply);
    }
    expect_node(1, "mg large0 t\r\n");
    node(1, "HD t-1\r\n");
    b.to_node_bytes[0] = b.to_client_bytes[0] = 0;
    assert_at_rest();
    ck_assert(!b.dp->is_large_warm);
}
END_TEST

static void write_k(void)
{
    client(0, "set k 0 0 1\r\nv\r\n");
    b.to_node_bytes[0] = 0;
    node(0, "HD\r\n");
    b.to_node_bytes[1] = 0;
    node(1, "HD\r\n");
    expect_client(0, "STORED\r\n");
}

static void compare_k(const char *first, const char *second)
{
    expect_node(0, "mg k c t u\r\n");
    expect_node(1, "mg k c t u\r\n");
    node(0, first);
    node(1, second);
}

/* What it lacks is no difference; what it has otherwise is mended, as on a complete node. */
START_TEST(test_settling)
{
    struct topology *t = warming();
    t->is_settling = true;
    adopt(t);
    write_k();
    pass(20 * 1000);
    compare_k("HD c" CAS_5 " t-1\r\n", "EN\r\n");
    assert_at_rest();
    write_k();
    pass(20 * 1000);
    compare_k("HD c" CAS_5 " t-1\r\n", "HD c" CAS_6 " t-1\r\n");
    pass(1500 * 1000);
    compare_k("HD c" CAS_5 " t-1\r\n", "HD c" CAS_6 " t-1\r\n");
    expect_node(0, "mg k v f t c u\r\n");
    node(0, "VA 1 f0 t-1 c" CAS_5 "\r\nv\r\n");
    expect_node(1, "ms k 1 C" CAS_6 " c E" CAS_5 "\r\nv\r\n");
    node(1, "HD c" CAS_5 "\r\n");
    expect_node(0, "mg k c t u\r\n");
    node(0, "HD c" CAS_5 " t-1\r\n");
    ck_assert_uint_eq(dataplane_stats(b.dp)->repairs, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dataplane_warm");
    TCase *warm = tcase_create("warm");
    tcase_add_checked_fixture(warm, start_warming, teardown);
    tcase_add_test(warm, test_what_is_read_is_stored);
    tcase_add_test(warm, test_all_reads_warm);
    tcase_add_loop_test(warm, test_look_again_undoes, 0, 2);
    tcase_add_test(warm, test_without_cas_nothing_is_stored);
    tcase_add_test(warm, test_copy_without_cas_is_undone);
    tcase_add_test(warm, test_there_by_now);
    tcase_add_test(warm, test_no_room_there);
    tcase_add_test(warm, test_marked_item_is_not_stored);
    tcase_add_test(warm, test_write_meanwhile);
    tcase_add_test(warm, test_leader_is_lost_before_the_look);
    tcase_add_test(warm, test_copy_is_lost);
    tcase_add_test(warm, test_copy_is_cut_off);
    tcase_add_test(warm, test_node_is_lost_with_the_copy);
    tcase_add_test(warm, test_copy_in_doubt_holds_up_no_view_after_a_lapse);
    tcase_add_test(warm, test_other_run_is_not_used);
    tcase_add_test(warm, test_nothing_begins_while_holding);
    tcase_add_test(warm, test_bound);
    tcase_add_test(warm, test_large_values);
    tcase_add_test(warm, test_settling);
    suite_add_tcase(suite, warm);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
