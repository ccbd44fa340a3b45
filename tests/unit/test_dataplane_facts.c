/* SPDX-License-Identifier: BSD-2-Clause */
/* What the shell is told of a client: whether it is in the middle of a request. */
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

int main(void)
{
    TCase *tcase = tcase_create("facts");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, test_amid_a_line);
    tcase_add_test(tcase, test_amid_a_value);
    tcase_add_test(tcase, test_not_amid_while_held);
    tcase_add_test(tcase, test_a_place_becomes_anothers);
    Suite *suite = suite_create("dataplane facts");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
