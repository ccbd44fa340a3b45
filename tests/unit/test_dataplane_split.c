/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A split heals while a write is under way (replication.md sections 6 and 7). What the leader of
 * the side that lost has decided was decided on what that side had, and is to be forgotten; the
 * nodes of the other side may have a newer item, or none.
 */
#define BENCH_NODES 3

#include "dataplane_bench.h"

/*
 * Nodes 0 and 1 are this side's; node 2 is out, it has gone on with another side.
 *
 * Returns  a key that node 0 leads.
 */
static const char *begin_split(bool is_filling)
{
    const struct topology *t = is_filling ? topology(1, 2) : topology(3, 0);
    hold_view(t);
    adopt_view(t);
    ck_assert_uint_eq(b.given_up[2], 1);
    b.given_up[2]--;
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_ENDED, .link = 2, .end = WIRE_END_EOF});
    forget_sent();
    for (const char *const *k = (const char *const[]){"k0", "k1", "k2", "k3", NULL}; *k != NULL;
         k++) {
        if (topology_leader(t, topology_hash(slice_of_string(*k))) == 0) {
            return *k;
        }
    }
    ck_abort_msg("no key is led by node 0");
}

/* SENT with K in place of each '@'. */
static const char *with(const char *sent, const char *k)
{
    size_t len = 0;
    for (; *sent != 0; sent++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, *sent == '@' ? "%s" : "%.1s",
                                *sent == '@' ? k : sent);
    }
    return text;
}

/* Node 2 is complete, node 0 is filled from it, node 1 is out as it was not heard. */
static void heal(void)
{
    const struct topology *t = topology(4, 1);
    hold_view(t);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    adopt_view(t);
    if (b.is_connecting[2]) {
        greet(2, 102);
    }
}

/* Node 0 has decided, node 1 has not answered when it leaves: node 2 decides for itself. */
START_TEST(test_decided_on_the_side_that_lost)
{
    static const char *const asked[] = {"append @ 0 0 1\r\nx\r\n", "incr @ 1\r\n",
                                        "replace @ 0 0 1\r\n2\r\n"};
    static const char *const sent[] = {"ms @ 1 MA\r\nx\r\nmg @ v f t c u\r\n",
                                       "ma @ MI D1 v\r\nmg @ v f t c u\r\n", "ms @ 1 MR\r\n2\r\n"};
    static const char *const done[] = {"HD\r\nVA 2 f0 t-1 c7\r\n1x\r\n",
                                       "VA 1\r\n2\r\nVA 1 f0 t-1 c7\r\n2\r\n", "HD\r\n"};
    static const char *const refused[] = {"NS\r\nEN\r\n", "NF\r\nEN\r\n", "NS\r\n"};
    static const char *const answer[] = {"NOT_STORED\r\n", "NOT_FOUND\r\n", "NOT_STORED\r\n"};
    int i = _i % 3;
    const char *k = begin_split(_i >= 3);
    client(0, with(asked[i], k));
    expect_node(0, with(sent[i], k));
    node(0, done[i]);
    expect_client(0, "");
    heal();
    expect_node(2, with(sent[i], k));
    node(2, refused[i]); /* the other side has deleted it */
    expect_client(0, answer[i]);
    expect_node(2, "");
}
END_TEST

/* Its client has had the answer: it happens on the side that won too, and nobody hears of it. */
START_TEST(test_answered_before_it_was_lost)
{
    unusual.ack = DATAPLANE_ACK_LEADER;
    restart(MEMORY_BYTES);
    const char *k = begin_split(false);
    client(0, FORMAT("incr %s 1\r\n", k));
    node(0, "VA 1\r\n2\r\nVA 1 f0 t-1 c7\r\n2\r\n");
    expect_client(0, "2\r\n");
    forget_sent();
    heal();
    expect_node(2, FORMAT("ma %s MI D1 v\r\nmg %s v f t c u\r\n", k, k));
    node(2, "VA 1\r\n8\r\nVA 1 f0 t-1 c9\r\n8\r\n");
    expect_node(0, FORMAT("ms %s 1\r\n8\r\n", k));
    node(0, "HD\r\n");
    expect_client(0, "");
}
END_TEST

/* Node 1 was this side's when the write began, and has gone on with the other side since: it may
 * have a newer item. That it was there once makes it none of ours. */
START_TEST(test_left_and_went_on_elsewhere)
{
    const char *k = begin_split(false);
    client(0, FORMAT("incr %s 1\r\n", k));
    node(0, "VA 1\r\n2\r\nVA 1 f0 t-1 c7\r\n2\r\n");
    expect_node(1, FORMAT("ms %s 1\r\n2\r\n", k));
    const struct topology *without = topology(1, 4);
    hold_view(without);
    adopt_view(without); /* node 2 is filled, but its connection is not there yet */
    b.given_up[1]--;
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_ENDED, .link = 1, .end = WIRE_END_EOF});
    expect_client(0, "");
    const struct topology *theirs = topology(2, 0);
    b.report_count = 0;
    hold_view(theirs);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_DRAINED));
    forget_sent();
    adopt_view(theirs);
    greet(1, 101);
    expect_node(1, FORMAT("ma %s MI D1 v\r\nmg %s v f t c u\r\n", k, k));
    node(1, "VA 1\r\n8\r\nVA 1 f0 t-1 c9\r\n8\r\n");
    expect_client(0, "8\r\n");
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("split");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_loop_test(tcase, test_decided_on_the_side_that_lost, 0, 6);
    tcase_add_test(tcase, test_answered_before_it_was_lost);
    tcase_add_test(tcase, test_left_and_went_on_elsewhere);
    Suite *suite = suite_create("dataplane, a split that heals");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
