/* SPDX-License-Identifier: BSD-2-Clause */
/* Large values: their way has time of its own, and no more than it needs. */
#include "dataplane_bench.h"

enum {
    MIB = 1 << 20,
    LARGE_BYTES = 30 * MIB,
    LARGE_MEMORY_BYTES = 128 * MIB,
    MS = 1000,
    HALF_MS = 750, /* of the request's timeout: a node that says nothing for so long is given up */
};

/* COUNT bytes of a value. */
static void node_bytes(uint32_t n, size_t count)
{
    char *bytes = malloc(count);
    ck_assert_ptr_nonnull(bytes);
    memset(bytes, 'v', count);
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_BYTES, .link = n, .bytes = slice_of(bytes, count)});
    free(bytes);
}

/* A large value of node 0 is announced HALF_MS less 50 after it was asked for. */
static void begin_to_read(void)
{
    restart(LARGE_MEMORY_BYTES);
    b.is_stuck[0] = true; /* its answers are counted, not read */
    client(0, FORMAT("get %s\r\n", key_of(0)));
    client(1, FORMAT("get %s\r\n", key_of(0)));
    b.to_node_bytes[0] = 0;
    pass((HALF_MS - 50) * MS);
    node(0, FORMAT("VALUE %s 0 %d\r\n", key_of(0), LARGE_BYTES));
}

START_TEST(test_a_value_on_its_way_is_waited_for)
{
    begin_to_read();
    for (int i = 0; i < LARGE_BYTES / MIB; i++) {
        node_bytes(0, MIB);
        pass(60 * MS); /* a MiB may take 62 */
    }
    ck_assert(!b.is_given_up[0]);
    /* 2.5 s after it was asked for, and within its time. */
    node(0, "\r\nEND\r\n");
    ck_assert(b.dp->sessions[0].head->is_answered);
    ck_assert_uint_gt(b.dp->sessions[0].head->reply.len, LARGE_BYTES);
    /* Who asked for something small has not waited that long. */
    expect_client(1, "END\r\n");
    /* Nor is what stood behind it late at once. */
    pass(10 * MS);
    ck_assert(!b.is_given_up[0]);
    ck_assert_ptr_nonnull(last_report(CONTROL_REPORT_ANSWERED));
}
END_TEST

START_TEST(test_a_value_that_stops_coming_is_given_up)
{
    begin_to_read();
    for (int i = 0; i < 10; i++) {
        node_bytes(0, MIB);
        pass(60 * MS);
    }
    ck_assert(!b.is_given_up[0]);
    pass(100 * MS);
    ck_assert(b.is_given_up[0]);
}
END_TEST

START_TEST(test_a_value_that_drips_is_given_up)
{
    begin_to_read();
    for (int i = 0; i < 6; i++) {
        node_bytes(0, 10);
        pass(10 * MS);
    }
    ck_assert(b.is_given_up[0]);
}
END_TEST

/* A store of a MiB, half of which the node's socket takes at once. */
START_TEST(test_a_store_on_its_way_is_waited_for)
{
    char *value = malloc(MIB);
    ck_assert_ptr_nonnull(value);
    memset(value, 'v', MIB);
    b.is_narrow[0] = true;
    b.room[0] = MIB / 2;
    client(0, FORMAT("set k 0 0 %d\r\n", MIB));
    step(&(struct dataplane_event){
        .type = DATAPLANE_CLIENT_BYTES, .client = 0, .bytes = slice_of(value, MIB)});
    client(0, "\r\n");
    ck_assert_uint_eq(b.to_node_bytes[0], MIB / 2);
    node(1, "HD\r\n");
    pass(HALF_MS * MS + 10 * MS);
    ck_assert(!b.is_given_up[0]);
    b.room[0] = SIZE_MAX;
    dataplane_node_writable(b.dp, 0);
    run();
    ck_assert_uint_gt(b.to_node_bytes[0], MIB);
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    pass(30 * MS);
    ck_assert(!b.is_given_up[0]);
    node(0, "HD\r\n");
    expect_client(0, "STORED\r\n");
    free(value);
}
END_TEST

/* Others may have stored what is larger than half of our memory: it is passed over, and nothing of
 * it kept. */
START_TEST(test_a_value_that_is_too_large_takes_no_memory)
{
    client(0, FORMAT("get %s\r\n", key_of(0)));
    b.to_node_bytes[0] = 0;
    node(0, FORMAT("VALUE %s 0 %d\r\n", key_of(0), LARGE_BYTES));
    for (int i = 0; i < LARGE_BYTES / MIB; i++) {
        node_bytes(0, MIB);
        ck_assert_uint_lt(dataplane_stats(b.dp)->memory_bytes, MIB);
    }
    node(0, "\r\nEND\r\n");
    expect_client(0, "SERVER_ERROR out of memory reading the value\r\n");
    client(0, FORMAT("get %s\r\n", key_of(0)));
    expect_node(0, FORMAT("get %s\r\n", key_of(0)));
    node(0, "END\r\n");
    expect_client(0, "END\r\n");
}
END_TEST

/* An answer gives its memory back as its client takes it. */
START_TEST(test_what_was_written_is_forgotten)
{
    b.is_stuck[0] = true;
    client(0, FORMAT("get %s\r\n", key_of(0)));
    b.to_node_bytes[0] = 0;
    node(0, FORMAT("VALUE %s 0 %d\r\n", key_of(0), MIB));
    node_bytes(0, MIB);
    node(0, "\r\nEND\r\n");
    uint64_t before = dataplane_stats(b.dp)->memory_bytes;
    struct slice pieces[PIECES];
    size_t total = 0;
    for (int i = 0; i < 4; i++) {
        total = 0;
        size_t count = dataplane_client_gather(b.dp, 0, pieces, PIECES);
        ck_assert_uint_gt(count, 0);
        for (size_t j = 0; j < count; j++) {
            total += pieces[j].len;
        }
        dataplane_client_wrote(b.dp, 0, total - 1); /* it is never offered a byte twice */
    }
    ck_assert_uint_lt(dataplane_stats(b.dp)->memory_bytes, before - 3 * total);
}
END_TEST

/* No memory for what a client stores: as in memcached the old item goes, on all nodes. */
START_TEST(test_a_store_without_memory_drops_the_old)
{
    restart(MIB);
    char *value = malloc(MIB);
    ck_assert_ptr_nonnull(value);
    memset(value, 'v', MIB);
    for (int round = 0; round < 3; round++) {
        client(0, FORMAT("%s k 0 0 %d%s\r\n", round == 2 ? "add" : "set", MIB,
                         round == 1 ? " noreply" : ""));
        step(&(struct dataplane_event){
            .type = DATAPLANE_CLIENT_BYTES, .client = 0, .bytes = slice_of(value, MIB)});
        client(0, "\r\n");
        for (uint32_t n = 0; n < NODES; n++) {
            expect_node(n, round < 2 ? "md k\r\n" : "");
            if (round < 2) {
                node(n, "HD\r\n");
            }
        }
        expect_client(0, round != 1 ? "SERVER_ERROR out of memory storing object\r\n" : "");
    }
    free(value);
}
END_TEST

START_TEST(test_a_chain_is_no_longer_than_it_can_tell)
{
    struct chain_builder builder = {.chain = {.len = UINT32_MAX - 3}};
    ck_assert(!chain_append(&b.dp->chunks, &builder, SLICE("four")));
    ck_assert_uint_eq(builder.chain.len, UINT32_MAX - 3);
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("large");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 20);
    tcase_add_test(tcase, test_a_value_on_its_way_is_waited_for);
    tcase_add_test(tcase, test_a_value_that_stops_coming_is_given_up);
    tcase_add_test(tcase, test_a_value_that_drips_is_given_up);
    tcase_add_test(tcase, test_a_store_on_its_way_is_waited_for);
    tcase_add_test(tcase, test_a_value_that_is_too_large_takes_no_memory);
    tcase_add_test(tcase, test_what_was_written_is_forgotten);
    tcase_add_test(tcase, test_a_store_without_memory_drops_the_old);
    tcase_add_test(tcase, test_a_chain_is_no_longer_than_it_can_tell);
    Suite *suite = suite_create("dataplane, large values");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
