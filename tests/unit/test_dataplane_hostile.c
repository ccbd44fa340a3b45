/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * S4 of the past defects (memcached e44dd0b01, twemproxy 636): a node that says what no memcached
 * says. Whatever it is, its connection is given up, no byte of it or behind it reaches a client,
 * and a read is answered by another node.
 */
#include "dataplane_bench.h"

#define BIG "99999999999999999999" /* 20 digits, above 2^64 */

/* What is said where "get K" was asked; %s: the key. */
static const char *const nonsense_to_get[] = {
    /* Lengths at the borders of what others compute them in. */
    "VALUE %s 0 -1\r\n\r\nEND\r\n",
    "VALUE %s 0 1073741825\r\n",
    "VALUE %s 0 2147483647\r\n",
    "VALUE %s 0 2147483648\r\n",
    "VALUE %s 0 4294967295\r\n",
    "VALUE %s 0 4294967296\r\n",
    "VALUE %s 0 9223372036854775807\r\n",
    "VALUE %s 0 9223372036854775808\r\n",
    "VALUE %s 0 18446744073709551615\r\n",
    "VALUE %s 0 18446744073709551616\r\n",
    "VALUE %s 0 " BIG "\r\n",
    "VALUE %s 0 \r\n\r\nEND\r\n",
    "VALUE %s 0 1x\r\nx\r\nEND\r\n",
    "VALUE %s 0 +1\r\nx\r\nEND\r\n",
    /* Flags. */
    "VALUE %s 4294967296 1\r\nx\r\nEND\r\n",
    "VALUE %s " BIG BIG BIG " 1\r\nx\r\nEND\r\n",
    "VALUE %s -1 1\r\nx\r\nEND\r\n",
    /* Another key, no key, a key in another place, a CAS that was not asked for. */
    "VALUE another 0 1\r\nx\r\nEND\r\n",
    "VALUE %sx 0 1\r\nx\r\nEND\r\n",
    "VALUE  0 1\r\nx\r\nEND\r\n",
    "VALUE 0 1 %s\r\nx\r\nEND\r\n",
    "VALUE %s 0 1 7\r\nx\r\nEND\r\n",
    "VALUE %s 0 1\r\nx\r\nVALUE another 0 1\r\nx\r\nEND\r\n",
    /* The same block twice, though it was asked for once. */
    "VALUE %s 0 1\r\nx\r\nVALUE %s 0 1\r\nx\r\nEND\r\n",
    /* Values that end elsewhere. */
    "VALUE %s 0 1\r\nxEND\r\n",
    "VALUE %s 0 3\r\nx\r\nEND\r\n",
    "VALUE %s 0 1\r\nx\nEND\r\n",
    "VALUE %s 0 1\r\nxx\r\nEND\r\n",
    /* Other words, other ends of lines. */
    "VALUE %s 0 1\r\nx\r\nSTORED\r\n",
    "VALUE %s 0 1\r\nx\r\nSERVER_ERROR in the middle\r\n",
    "VALUE %s 0 1\r\nx\r\n\r\n",
    "VALUE %s 0 1\nx\nEND\n",
    "END\n",
    "\r\n",
    "END \r\n",
    "END x\r\n",
    "STORED\r\n",
    "HD\r\n",
    "VA 1\r\nx\r\n",
    "EN\r\n",
    "VERSION 1.6.38\r\n",
    "STAT pid 1\r\n",
    "OK\r\n",
    "12\r\n",
    "HTTP/1.1 400 Bad Request\r\n",
    "value %s 0 1\r\nx\r\nEND\r\n",
    "\x81\x01\x02\r\n",
    /* What was asked for, and an end too much. */
    "END\r\nEND\r\n",
    "VALUE %s 0 1\r\nx\r\nEND\r\nEND\r\n",
};

static void is_given_up_and_forgotten(uint32_t n, const char *said)
{
    ck_assert_msg(b.is_given_up[n], "it is believed: %s", said);
    b.to_node_bytes[n] = 0;
    /* What comes on the connection after that is nobody's. */
    node(n, "VALUE k 0 6\r\nsecret\r\nEND\r\nHD\r\n");
}

static void comes_back(uint32_t n)
{
    b.is_given_up[n] = false;
    for (; b.given_up[n] > 0; b.given_up[n]--) {
        step(&(struct dataplane_event){
            .type = DATAPLANE_NODE_ENDED, .link = n, .end = WIRE_END_EOF});
    }
    for (int i = 0; i < 100 && !b.is_connecting[n]; i++) {
        pass(20 * 1000);
    }
    greet(n, 100 + n);
}

static void get_hears(const char *said)
{
    const char *k = key_of(0);
    char all[512];
    client(0, FORMAT("get %s\r\n", k));
    expect_node(0, FORMAT("get %s\r\n", k));
    /* Its parts of the format are the keys. */
    size_t len = 0;
    for (const char *at = said; *at != 0; at++) {
        if (at[0] == '%' && at[1] == 's') {
            len += (size_t)snprintf(all + len, sizeof(all) - len, "%s", k);
            at++;
        } else {
            all[len++] = *at;
        }
    }
    step(&(struct dataplane_event){
        .type = DATAPLANE_NODE_BYTES, .link = 0, .bytes = slice_of(all, len)});
    if (!b.is_given_up[0] && memchr(all, '\n', len) != NULL) {
        /* A value that ends elsewhere shows only when more has come. */
        node(0, "x\r\nEND\r\nEND\r\n");
    }
}

/* Either the answer was right and something came behind it, or another node is asked. */
static void is_answered_by_another(void)
{
    const char *k = key_of(0);
    if (b.to_client_bytes[0] == 0) {
        expect_node(1, FORMAT("get %s\r\n", k));
        node(1, FORMAT("VALUE %s 0 4\r\nfine\r\nEND\r\n", k));
        expect_client(0, FORMAT("VALUE %s 0 4\r\nfine\r\nEND\r\n", k));
        return;
    }
    b.to_client[0][b.to_client_bytes[0]] = 0;
    bool is_miss = strcmp(b.to_client[0], "END\r\n") == 0;
    bool is_hit = strcmp(b.to_client[0], FORMAT("VALUE %s 0 1\r\nx\r\nEND\r\n", k)) == 0;
    ck_assert_msg(is_miss || is_hit, "the client was told: %s", b.to_client[0]);
    b.to_client_bytes[0] = 0;
}

START_TEST(test_s4_nonsense_to_get)
{
    get_hears(nonsense_to_get[_i]);
    is_given_up_and_forgotten(0, nonsense_to_get[_i]);
    is_answered_by_another();
    comes_back(0);
}
END_TEST

/* Lengths that may be are believed: nothing, and as much as memcached may hold. */
START_TEST(test_s4_lengths_that_may_be)
{
    const char *k = key_of(0);
    client(0, FORMAT("get %s\r\n", k));
    expect_node(0, FORMAT("get %s\r\n", k));
    node(0, FORMAT("VALUE %s 0 0\r\n\r\nEND\r\n", k));
    expect_client(0, FORMAT("VALUE %s 0 0\r\n\r\nEND\r\n", k));
    client(0, FORMAT("get %s\r\n", k));
    expect_node(0, FORMAT("get %s\r\n", k));
    node(0, FORMAT("VALUE %s 0 1073741824\r\n", k));
    ck_assert(!b.is_given_up[0]);
    ck_assert_uint_lt(dataplane_stats(b.dp)->memory_bytes, 1 << 20);
    /* It does not come, so it is late, and the other node is asked. */
    pass(800 * 1000);
    ck_assert(b.is_given_up[0]);
    b.to_node_bytes[0] = 0;
    expect_node(1, FORMAT("get %s\r\n", k));
    node(1, "END\r\n");
    expect_client(0, "END\r\n");
    comes_back(0);
}
END_TEST

START_TEST(test_s4_reply_before_its_request)
{
    node(0, "END\r\n");
    is_given_up_and_forgotten(0, "an answer that nothing was asked for");
    expect_client(0, "");
    comes_back(0);
    /* Before the request is out as a whole it can't be answered either. */
    b.is_narrow[0] = true;
    b.room[0] = 3;
    client(0, FORMAT("get %s\r\n", key_of(0)));
    expect_node(0, "get");
    node(0, "END\r\n");
    is_given_up_and_forgotten(0, "an answer to half a request");
    b.is_narrow[0] = false;
    expect_node(1, FORMAT("get %s\r\n", key_of(0)));
    node(1, "END\r\n");
    expect_client(0, "END\r\n");
    comes_back(0);
}
END_TEST

START_TEST(test_s4_endless_line)
{
    static char line[MC_REPLY_LINE_BYTES_MAX];
    memset(line, 'x', sizeof(line));
    const char *k = key_of(0);
    client(0, FORMAT("get %s\r\n", k));
    b.to_node_bytes[0] = 0;
    size_t piece = _i == 0 ? sizeof(line) : 100;
    for (size_t sent = 0; !b.is_given_up[0] && sent < 2 * sizeof(line); sent += piece) {
        step(&(struct dataplane_event){
            .type = DATAPLANE_NODE_BYTES, .link = 0, .bytes = slice_of(line, piece)});
    }
    is_given_up_and_forgotten(0, "a line without an end");
    is_answered_by_another();
    comes_back(0);
}
END_TEST

/* Of many keys: blocks in another order, of keys that were asked for from others, with no end. */
START_TEST(test_s4_nonsense_to_multigets)
{
    /* Which keys, in their order: 0 and 1 were asked for, 2 was from another node. */
    static const struct {
        const char *keys;
        const char *end;
    } rows[] = {
        {"10", "END\r\n"}, {"00", "END\r\n"}, {"2", "END\r\n"}, {"011", "END\r\n"}, {"0", "HD\r\n"},
    };
    char x[64];
    const char *y = key_of(1);
    snprintf(x, sizeof(x), "%s", key_of(0));
    char other[64];
    snprintf(other, sizeof(other), "%s", x);
    /* A second key of node 0. */
    for (int i = 0; i < 1000; i++) {
        snprintf(other, sizeof(other), "o%d", i);
        if (topology_leader(&b.topology[1], topology_hash(slice_of_string(other))) == 0) {
            break;
        }
    }
    client(0, FORMAT("get %s %s %s\r\n", x, y, other));
    expect_node(0, FORMAT("get %s %s\r\n", x, other));
    expect_node(1, FORMAT("get %s\r\n", y));
    node(1, FORMAT("VALUE %s 0 1\r\ny\r\nEND\r\n", y));
    const char *const keys[] = {x, other, y};
    char all[512];
    size_t length = 0;
    for (const char *k = rows[_i].keys; *k != '\0'; k++) {
        length += (size_t)snprintf(all + length, sizeof(all) - length, "VALUE %s 0 1\r\nx\r\n",
                                   keys[*k - '0']);
    }
    snprintf(all + length, sizeof(all) - length, "%s", rows[_i].end);
    node(0, all);
    is_given_up_and_forgotten(0, all);
    expect_node(1, FORMAT("get %s %s\r\n", x, other));
    node(1, FORMAT("VALUE %s 0 1\r\no\r\nEND\r\n", other));
    expect_client(0, FORMAT("VALUE %s 0 1\r\ny\r\nVALUE %s 0 1\r\no\r\nEND\r\n", y, other));
    comes_back(0);
}
END_TEST

/* To a write: words that belong to other commands; numbers that are none. The write is in doubt at
 * that node until it is brought home. */
START_TEST(test_s4_nonsense_to_writes)
{
    static const struct {
        const char *asked;
        const char *said;
    } rows[] = {
        {"set k 0 0 1\r\nx\r\n", "STORED\r\n"},
        {"set k 0 0 1\r\nx\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n"},
        {"set k 0 0 1\r\nx\r\n", "VA 1\r\nx\r\n"},
        {"set k 0 0 1\r\nx\r\n", "EN\r\n"},
        {"set k 0 0 1\r\nx\r\n", "HD\r\nHD\r\n"},
        {"delete k\r\n", "DELETED\r\n"},
        {"delete k\r\n", "NS\r\n"},
        {"touch k 0\r\n", "STORED\r\n"},
        {"touch k 0\r\n", "HD\r\n"},
    };
    client(0, rows[_i].asked);
    b.to_node_bytes[0] = b.to_node_bytes[1] = 0;
    node(0, rows[_i].said);
    is_given_up_and_forgotten(0, rows[_i].said);
    expect_client(0, "");
    comes_back(0);
    bool is_touch = rows[_i].asked[0] == 't';
    for (int i = 0; i < 3; i++) {
        for (uint32_t n = 0; n < NODES; n++) {
            if (b.to_node_bytes[n] > 0 || n == 1) {
                b.to_node_bytes[n] = 0;
                if (b.dp->links[n].head != NULL) {
                    node(n, is_touch ? "TOUCHED\r\n" : "HD\r\n");
                }
            }
        }
    }
    ck_assert_uint_gt(b.to_client_bytes[0], 0);
    b.to_client_bytes[0] = 0;
}
END_TEST

START_TEST(test_s4_numbers_that_are_none)
{
    static const char *const said[] = {
        "VA 21 c1 t-1\r\n123456789012345678901\r\n",
        "VA 0\r\n\r\n",
        "VA 1\r\nx\r\n",
        "VA 3\r\n1 2\r\n",
        "VA 2\r\n-1\r\n",
        "VA 20\r\n99999999999999999999\r\n",
        "12\r\n",
    };
    client(0, FORMAT("incr %s 1\r\n", key_of(0)));
    b.to_node_bytes[0] = 0;
    node(0, said[_i]);
    is_given_up_and_forgotten(0, said[_i]);
    expect_client(0, "");
}
END_TEST

/* What a number is to a binary client is 64 bits. */
START_TEST(test_s4_number_for_a_binary_client)
{
    char request[24 + 20 + 64] = {(char)0x80, 5, 0, 2, 20, 0, 0, 0, 0, 0, 0, 22};
    memset(request + 24 + 16, 0xff, 4); /* nothing is created */
    const char *k = key_of(0);
    memcpy(request + 24 + 20, k, 2);
    step(&(struct dataplane_event){
        .type = DATAPLANE_CLIENT_BYTES, .client = 0, .bytes = slice_of(request, 24 + 22)});
    b.to_node_bytes[0] = 0;
    node(0, "VA 20 c1\r\n18446744073709551616\r\n");
    is_given_up_and_forgotten(0, "a number of 65 bits");
    expect_client(0, "");
}
END_TEST

/* What is put together anew from a node's line has a bound of its own. */
START_TEST(test_s4_debug_of_many_numbers)
{
    char said[600] = "ME k";
    client(0, FORMAT("me %s\r\n", key_of(0)));
    expect_node(0, FORMAT("me %s\r\n", key_of(0)));
    for (int i = 0; i < 80; i++) {
        snprintf(said + strlen(said), sizeof(said) - strlen(said), " cas=1");
    }
    snprintf(said + strlen(said), sizeof(said) - strlen(said), "\r\n");
    node(0, said);
    ck_assert(!b.is_given_up[0]);
    ck_assert_uint_gt(b.to_client_bytes[0], strlen(said));
    b.to_client_bytes[0] = 0;
}
END_TEST

START_TEST(test_s4_another_key_in_a_meta_answer)
{
    static const char *const said[] = {"HD kother\r\n", "EN kother\r\n", "HD kk b\r\n"};
    const char *k = key_of(0);
    client(0, FORMAT("mg %s k\r\n", k));
    expect_node(0, FORMAT("mg %s k\r\n", k));
    node(0, said[_i]);
    is_given_up_and_forgotten(0, said[_i]);
    expect_node(1, FORMAT("mg %s k\r\n", k));
    node(1, FORMAT("HD k%s\r\n", k));
    expect_client(0, FORMAT("HD k%s\r\n", k));
    comes_back(0);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void)
{
    TCase *tcase = tcase_create("hostile nodes");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 20);
    tcase_add_loop_test(tcase, test_s4_nonsense_to_get, 0, COUNT(nonsense_to_get));
    tcase_add_test(tcase, test_s4_lengths_that_may_be);
    tcase_add_test(tcase, test_s4_reply_before_its_request);
    tcase_add_loop_test(tcase, test_s4_endless_line, 0, 2);
    tcase_add_loop_test(tcase, test_s4_nonsense_to_multigets, 0, 5);
    tcase_add_loop_test(tcase, test_s4_nonsense_to_writes, 0, 9);
    tcase_add_loop_test(tcase, test_s4_numbers_that_are_none, 0, 7);
    tcase_add_test(tcase, test_s4_number_for_a_binary_client);
    tcase_add_test(tcase, test_s4_debug_of_many_numbers);
    tcase_add_loop_test(tcase, test_s4_another_key_in_a_meta_answer, 0, 3);
    Suite *suite = suite_create("dataplane, hostile nodes");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
