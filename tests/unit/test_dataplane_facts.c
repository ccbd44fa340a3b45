/* SPDX-License-Identifier: BSD-2-Clause */
/* What the shell is told: whether a client is in the middle of a request, and when to flush; and
 * what it tells the dataplane while that runs: other nodes at a place, other limits. */
#include "dataplane_bench.h"

static struct dataplane_client facts(uint32_t slot)
{
    struct dataplane_client out;
    dataplane_client_facts(b.dp, slot, &out);
    return out;
}

static bool is_amid_after(const char *sent)
{
    client(0, sent);
    return facts(0).is_amid;
}

START_TEST(test_amid_a_line)
{
    ck_assert(!facts(0).is_amid);
    ck_assert(is_amid_after("g"));
    ck_assert(is_amid_after("et k"));
    ck_assert(!is_amid_after("\r\n"));
    ck_assert(is_amid_after("get k\r\nget k"));
    ck_assert(!is_amid_after("\r\n"));
    ck_assert_uint_eq(facts(0).requests, 3);
    ck_assert(!facts(1).is_amid);
}
END_TEST

START_TEST(test_amid_a_value)
{
    ck_assert(is_amid_after("set k 0 0 10\r\n"));
    ck_assert(is_amid_after("0123456789"));
    ck_assert(is_amid_after("\r"));
    ck_assert_uint_eq(facts(0).requests, 0);
    ck_assert(!is_amid_after("\n"));
    ck_assert_uint_eq(facts(0).requests, 1);
    ck_assert(is_amid_after("set k 0 0 2000000\r\n01234"));
}
END_TEST

/* What waits for us is not the client's to end. */
START_TEST(test_not_amid_while_held)
{
    b.lease_until_us = UINT64_MAX;
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = topology(3, 0)});
    client(0, FORMAT("set %s 0 0 1\r\nx\r\nset k 0 0 9\r\nx", key_of(0)));
    ck_assert(!facts(0).is_amid);
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = &b.topology[b.serial]});
    ck_assert(facts(0).is_amid);
    step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_EOF, .client = 0});
    ck_assert(!facts(0).is_amid);
}
END_TEST

/* Act on a view with these nodes at places 0 and 1; "": nobody is there. */
static void name_nodes(const char *first, const char *second)
{
    const char *names[] = {first, second};
    struct topology *t = topology(second[0] == '\0' ? 1 : 3, 0);
    for (uint32_t n = 0; n < NODES; n++) {
        t->name_bytes[n] = (uint8_t)strlen(names[n]);
        memcpy(t->name[n], names[n], t->name_bytes[n]);
        t->node_seed[n] = topology_hash(slice_of_string(names[n]));
    }
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = t});
}

static bool are_shown(const char *what)
{
    b.to_client_bytes[0] = 0;
    memset(b.to_client[0], 0, sizeof(b.to_client[0]));
    client(0, "stats nodes\r\n");
    return strstr(b.to_client[0], what) != NULL;
}

/* Figures belong to nodes, not to places: who comes to where another was begins with none. */
START_TEST(test_a_place_becomes_anothers)
{
    name_nodes("ann", "bob");
    ck_assert(are_shown("STAT ann:state complete\r\n"));
    ck_assert(are_shown("STAT bob:state complete\r\n"));
    ck_assert_uint_gt(dataplane_stats(b.dp)->nodes[1].requests, 0);
    name_nodes("ann", "");
    ck_assert(are_shown("STAT ann:"));
    ck_assert(!are_shown("STAT bob:") && !are_shown("STAT :"));
    ck_assert_uint_gt(dataplane_stats(b.dp)->nodes[1].requests, 0);
    name_nodes("ann", "cid");
    ck_assert(are_shown("STAT cid:state complete\r\nSTAT cid:connections 0\r\n"));
    ck_assert_uint_eq(dataplane_stats(b.dp)->nodes[1].requests, 0);
    ck_assert_uint_gt(dataplane_stats(b.dp)->nodes[0].requests, 0);
}
END_TEST

static struct dataplane_limits limits_now(void)
{
    const struct dataplane_options *options = &b.dp->options;
    return (struct dataplane_limits){
        .pipeline_max = options->pipeline_max,
        .client_output_bytes_max = options->client_output_bytes_max,
        .connect_timeout_us = options->connect_timeout_us,
        .request_timeout_us = options->request_timeout_us,
        .settle_delay_us = options->settle_delay_us,
    };
}

/* What is under way goes by another timeout from when it is set, shorter or longer, and as exactly
 * as if it had always been that. */
START_TEST(test_deadline_is_moved)
{
    const uint64_t ms = 1000;
    struct dataplane_limits limits = limits_now();
    struct topology *t = topology(3, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
    client(0, "set k 0 0 1\r\nv\r\n");
    pass(200 * ms);
    limits.request_timeout_us = 400 * ms;
    dataplane_set_limits(b.dp, &limits);
    pass(190 * ms);
    expect_client(0, "");
    pass(15 * ms);
    expect_client(0, "SERVER_ERROR timed out\r\n");
    client(0, "set k 0 0 1\r\nv\r\n");
    client(1, "set l 0 0 1\r\nv\r\n");
    pass(100 * ms);
    limits.request_timeout_us = 60000 * ms;
    dataplane_set_limits(b.dp, &limits);
    for (uint32_t i = 0; i < 590; i++) {
        pass(100 * ms);
    }
    expect_client(0, "");
    pass(1300 * ms); /* 1/200 of the timeout at the most beyond it */
    expect_client(0, "SERVER_ERROR timed out\r\n");
    expect_client(1, "SERVER_ERROR timed out\r\n");
    ck_assert_uint_eq(b.dp->pending, 0);
}
END_TEST

/* A write that began while all had to answer is answered by the leader's word, and the other way
 * round nothing is taken back. */
START_TEST(test_ack_and_read_may_change)
{
    struct dataplane_limits limits = limits_now();
    const uint32_t leader = topology_leader(&b.topology[1], topology_hash(SLICE("k")));
    limits.ack = DATAPLANE_ACK_LEADER;
    client(0, "set k 0 0 1\r\nv\r\n");
    dataplane_set_limits(b.dp, &limits);
    node(leader, "HD\r\n");
    expect_client(0, "STORED\r\n");
    node(1 - leader, "HD\r\n");
    limits.ack = DATAPLANE_ACK_ALL;
    dataplane_set_limits(b.dp, &limits);
    client(0, "set k 0 0 1\r\nv\r\n");
    node(leader, "HD\r\n");
    expect_client(0, "");
    node(1 - leader, "HD\r\n");
    expect_client(0, "STORED\r\n");
    limits.read = DATAPLANE_READ_SPREAD;
    dataplane_set_limits(b.dp, &limits);
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    client(0, "get k\r\nget k\r\n");
    expect_node(0, "get k\r\n");
    expect_node(1, "get k\r\n");
}
END_TEST

/* A flush reaches the nodes by other connections than the writes before it and behind it. */
START_TEST(test_flush_keeps_its_place)
{
    const char *k = key_of(0);
    b.report_count = 0;
    client(0, FORMAT("set %s 0 0 1\r\nx\r\nget %s\r\nflush_all\r\nset %s 0 0 1\r\ny\r\n", k, k, k));
    client(1, "flush_all noreply\r\n");
    const struct control_report *other = last_report(CONTROL_REPORT_FLUSH);
    ck_assert_ptr_nonnull(other); /* nobody's flush waits for another client's */
    uint64_t others_ticket = other->ticket;
    ck_assert_uint_eq(b.report_count, 1);
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    node(0, "HD c1\r\n");
    node(1, "HD\r\n");
    ck_assert_uint_eq(b.report_count, 1); /* the get is not answered */
    node(0, FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k));
    const struct control_report *flush = last_report(CONTROL_REPORT_FLUSH);
    ck_assert_uint_gt(flush->ticket, others_ticket);
    expect_client(0, FORMAT("STORED\r\nVALUE %s 0 1\r\nx\r\nEND\r\n", k));
    step(&(struct dataplane_event){.type = DATAPLANE_FLUSHED, .ticket = others_ticket});
    expect_client(0, "");
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    step(&(struct dataplane_event){.type = DATAPLANE_FLUSHED, .ticket = flush->ticket});
    expect_client(0, "OK\r\n");
    ck_assert_uint_gt(b.to_node_bytes[0], 0);
    obey(0);
    obey(1);
    expect_client(0, "STORED\r\n");
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
}
END_TEST

/* Only a client that has not taken its answers may lose them with its connection. */
START_TEST(test_close_says_whether_it_cuts)
{
    client(0, "version\r\nquit\r\n");
    ck_assert(b.is_closed[0] && !b.is_cut[0]);
    b.is_stuck[1] = true;
    client(1, "version\r\nquit\r\n");
    ck_assert(!b.is_closed[1]);
    b.lease_until_us = b.now_us;
    for (int i = 0; i < 80; i++) {
        pass(20 * 1000);
    }
    ck_assert(b.is_closed[1] && b.is_cut[1]);
}
END_TEST

static bool are_counted(const char *what)
{
    b.to_client_bytes[0] = 0;
    client(0, "stats\r\n");
    b.to_client[0][b.to_client_bytes[0]] = '\0';
    return strstr(b.to_client[0], what) != NULL;
}

/* ASKED, of a key led by node 0, to which that says ANSWER; the other one obeys. */
static void decided(const char *asked, const char *answer)
{
    client(0, asked);
    node(0, answer);
    b.to_node_bytes[0] = 0;
    obey(1);
    ck_assert_uint_eq(b.dp->pending, 0);
}

/* "stats" counts what memcached counts, and passes over what that passes over. */
START_TEST(test_numbers_created_are_not_counted)
{
    const char *k = key_of(0);
    decided(FORMAT("ma %s N60 J5 D2\r\n", k), "VA 1\r\n5\r\nVA 1 f0 t60 c1\r\n5\r\n");
    ck_assert(are_counted("STAT incr_misses 0\r\nSTAT incr_hits 0\r\n"));
    decided(FORMAT("ma %s N60 J5 D2\r\n", k), "VA 1\r\n7\r\nVA 1 f0 t60 c2\r\n7\r\n");
    ck_assert(are_counted("STAT incr_misses 0\r\nSTAT incr_hits 1\r\n"));
    decided(FORMAT("ma %s N60 J5 MD D2\r\n", k), "VA 1\r\n5\r\nVA 1 f0 t60 c3\r\n5\r\n");
    ck_assert(are_counted("STAT decr_misses 0\r\nSTAT decr_hits 0\r\n"));
    /* Without N the same number is one that grew; with q the node says whether it was created. */
    decided(FORMAT("ma %s D2\r\n", k), "VA 1\r\n0\r\nVA 1 f0 t60 c4\r\n0\r\n");
    decided(FORMAT("ma %s N60 J5 q\r\n", k), "VA 1 f0 t60 c5\r\n5\r\n");
    ck_assert(are_counted("STAT incr_misses 0\r\nSTAT incr_hits 3\r\n"));
    decided(FORMAT("ma %s N60 J5 q\r\n", k), "VA 1\r\n5\r\nVA 1 f0 t60 c6\r\n5\r\n");
    decided(FORMAT("ma %s\r\n", k), "NF\r\nEN\r\n");
    ck_assert(are_counted("STAT incr_misses 1\r\nSTAT incr_hits 3\r\n"));
}
END_TEST

START_TEST(test_marks_are_no_deletes)
{
    const char *k = key_of(0);
    decided(FORMAT("md %s I\r\n", k), "HD\r\n");
    ck_assert(are_counted("STAT delete_misses 0\r\nSTAT delete_hits 0\r\n"));
    decided(FORMAT("md %s I\r\n", k), "NF\r\n");
    decided(FORMAT("md %s C1\r\n", k), "EX\r\n");
    decided(FORMAT("md %s\r\n", k), "HD\r\n");
    ck_assert(are_counted("STAT delete_misses 2\r\nSTAT delete_hits 1\r\n"));
}
END_TEST

START_TEST(test_bad_blocks_are_sets)
{
    client(0, "set k 0 0 1\r\nxyz\r\nms k 1\r\nxyz\r\n");
    ck_assert(are_counted("STAT cmd_set 2\r\n"));
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("facts");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_amid_a_line);
    tcase_add_test(tcase, test_amid_a_value);
    tcase_add_test(tcase, test_not_amid_while_held);
    tcase_add_test(tcase, test_a_place_becomes_anothers);
    tcase_add_test(tcase, test_deadline_is_moved);
    tcase_add_test(tcase, test_ack_and_read_may_change);
    tcase_add_test(tcase, test_flush_keeps_its_place);
    tcase_add_test(tcase, test_close_says_whether_it_cuts);
    tcase_add_test(tcase, test_numbers_created_are_not_counted);
    tcase_add_test(tcase, test_marks_are_no_deletes);
    tcase_add_test(tcase, test_bad_blocks_are_sets);
    Suite *suite = suite_create("dataplane facts");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
