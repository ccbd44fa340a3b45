/* SPDX-License-Identifier: BSD-2-Clause */
/* Where keys go, who is connected, what is slow and what is hot: over real sockets. */
#include "../../admin/uri.h"

#include "admin_fixture.h"

/* --- keys --- */

START_TEST(a_key_has_its_way)
{
    json_t *json = ask_json("GET", "/v1/route?key=k%251%C3%A4", 200);
    ck_assert_str_eq(text_of(json, "key"), "k%251%C3%A4");
    ck_assert_str_eq(text_of(json, "pool"), "main");
    ck_assert_str_eq(text_of(json, "leader"), "a"); /* the one complete node */
    ck_assert_str_eq(text_of(json, "read_from"), "a");
    const json_t *replicas = json_object_get(json, "replicas");
    ck_assert_uint_eq(json_array_size(replicas), NODES);
    size_t index;
    const json_t *replica;
    json_array_foreach(replicas, index, replica)
    {
        const char *name = text_of(replica, "node");
        const bool is_a = strcmp(name, "a") == 0;
        ck_assert_int_eq(json_is_true(json_object_get(replica, "reads")), is_a);
        ck_assert_int_eq(json_is_null(json_object_get(replica, "skipped")), is_a);
        if (name[0] == '<') {
            ck_assert_str_eq(text_of(replica, "skipped"), "<script>\"&\\ is filling (29%)");
        }
    }
    json_decref(json);
}
END_TEST

/* The order is the dataplane's: the first of all nodes that are complete leads. */
START_TEST(the_leader_is_the_dataplanes)
{
    struct topology topology = {.node_count = NODES, .complete = 7, .leaders = 7};
    for (uint32_t i = 0; i < NODES; i++) {
        topology.node_seed[i] = topology_hash(slice_of_string(the_pool()->nodes[i].name));
        the_pool()->control.nodes[i].data = NODE_DATA_COMPLETE;
        the_pool()->control.nodes[i].oper = NODE_OPER_UP;
    }
    for (int i = 0; i < 50; i++) {
        char path[64];
        char key[16];
        (void)snprintf(key, sizeof(key), "key-%d", i);
        (void)snprintf(path, sizeof(path), "/v1/route?key=%s", key);
        const uint32_t leader = topology_leader(&topology, topology_hash(slice_of_string(key)));
        json_t *json = ask_json("GET", path, 200);
        ck_assert_str_eq(text_of(json, "leader"), the_pool()->nodes[leader].name);
        const json_t *first = json_array_get(json_object_get(json, "replicas"), 0);
        ck_assert_str_eq(text_of(first, "node"), the_pool()->nodes[leader].name);
        json_decref(json);
    }
    /* Down, it leads still, by the view; reads go to the next. */
    the_pool()->control.nodes[0].oper = NODE_OPER_DOWN;
    the_pool()->control.nodes[1].data = NODE_DATA_OUT;
    the_pool()->control.nodes[2].admin = NODE_ADMIN_DRAIN;
    json_t *json = ask_json("GET", "/v1/route?key=x&pool=main", 200);
    ck_assert_str_eq(text_of(json, "leader"), "a");
    ck_assert(json_is_null(json_object_get(json, "read_from")));
    json_decref(json);
}
END_TEST

START_TEST(odd_keys_are_refused)
{
    char longest[300] = "/v1/route?key=";
    memset(longest + 14, 'k', MC_KEY_BYTES_MAX);
    expect_status(ask("GET", longest), 200);
    longest[14 + MC_KEY_BYTES_MAX] = 'k';
    expect_problem(ask("GET", longest), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/v1/route?key="), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/v1/route"), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/v1/route?key=a%00b"), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/v1/route?key=a&pool=no"), 404, "/problems/no-such-pool");
}
END_TEST

START_TEST(keys_are_shown_so_that_they_can_be_asked_for)
{
    char key[255];
    char shown[3 * sizeof(key) + 1];
    char again[sizeof(key) + 1];
    for (size_t i = 0; i < sizeof(key); i++) {
        key[i] = (char)(i + 1);
    }
    uri_show(slice_of(key, sizeof(key)), shown, sizeof(shown));
    for (const char *c = shown; *c != '\0'; c++) {
        ck_assert(*c > ' ' && *c < 0x7f);
    }
    ck_assert(uri_decode(slice_of_string(shown), URI_ANY, again, sizeof(again)));
    ck_assert_mem_eq(key, again, sizeof(key));
}
END_TEST

/* --- clients --- */

START_TEST(clients_are_listed_and_closed)
{
    port.clients[0] = (struct proxy_client){.id = 65,
                                            .worker = 1,
                                            .opened_us = 199000000,
                                            .received_bytes = 7,
                                            .facts = {.in_flight = 3},
                                            .address = "127.0.0.1:5"};
    json_t *json = ask_json("GET", "/v1/clients", 200);
    ck_assert_int_eq(json_integer_value(json_object_get(json, "total")), 100);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "clients")), 2);
    const json_t *client = json_array_get(json_object_get(json, "clients"), 0);
    ck_assert_str_eq(text_of(client, "address"), "127.0.0.1:5");
    ck_assert_str_eq(text_of(client, "pool"), "main");
    ck_assert(json_real_value(json_object_get(client, "idle_s")) == 1.0);
    ck_assert_int_eq(json_integer_value(json_object_get(client, "in_flight")), 3);
    json_decref(json);
    json = ask_json("GET", "/v1/clients?limit=1", 200);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "clients")), 1);
    json_decref(json);
    static const char *const BAD[] = {"/v1/clients?limit=0", "/v1/clients?limit=1001",
                                      "/v1/clients?limit=-1", "/v1/clients?limit="};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        expect_problem(ask("GET", BAD[i]), 400, "/problems/bad-request");
    }
    expect_status(ask("DELETE", "/v1/clients/1"), 200);
    ck_assert_uint_eq(port.killed, 1);
    expect_problem(ask("DELETE", "/v1/clients/2"), 404, "/problems/no-such-client");
    expect_problem(ask("DELETE", "/v1/clients/x"), 404, "/problems/no-such-client");
    port.status = STATUS_FULL;
    expect_problem(ask("DELETE", "/v1/clients/1"), 503, "/problems/busy");
    expect_problem(ask("GET", "/v1/clients"), 503, "/problems/busy");
    expect_problem(ask("GET", "/v1/slowlog"), 503, "/problems/busy");
    expect_problem(ask("GET", "/v1/hotkeys"), 503, "/problems/busy");
}
END_TEST

/* --- slow requests, hot keys --- */

START_TEST(slow_requests_come_latest_first)
{
    port.slow[0].request = (struct slow_request){.at_us = 100000000, .node = SLOWLOG_NO_NODE};
    port.slow[1].request = (struct slow_request){.at_us = 150000000,
                                                 .took_us = 30000,
                                                 .waited_us = 10000,
                                                 .command = MC_SET,
                                                 .outcome = DATAPLANE_OUTCOME_STORED,
                                                 .phase = SLOWLOG_PHASE_CHAIN,
                                                 .node = 2,
                                                 .key_count = 1,
                                                 .key_bytes = 3,
                                                 .key = "a\nb"};
    json_t *json = ask_json("GET", "/v1/slowlog", 200);
    const json_t *first = json_array_get(json_object_get(json, "requests"), 0);
    ck_assert_str_eq(text_of(first, "key"), "a%0Ab");
    ck_assert_str_eq(text_of(first, "command"), "set");
    ck_assert_str_eq(text_of(first, "node"), "<script>\"&\\");
    ck_assert_str_eq(text_of(first, "phase"), "chain");
    ck_assert_str_eq(text_of(first, "status"), "stored");
    ck_assert_str_eq(text_of(first, "time"), "2026-01-01T00:00:50.000Z");
    ck_assert(json_real_value(json_object_get(first, "node_s")) == 0.02);
    const json_t *second = json_array_get(json_object_get(json, "requests"), 1);
    ck_assert(json_is_null(json_object_get(second, "node")));
    json_decref(json);
}
END_TEST

static struct proxy_hot hot(const char *key, uint32_t count)
{
    struct proxy_hot made = {.key = {.hash = topology_hash(slice_of_string(key)), .count = count}};
    made.key.key_bytes = (uint8_t)strlen(key);
    memcpy(made.key.key, key, strlen(key));
    return made;
}

START_TEST(hot_keys_of_all_workers_are_added)
{
    port.hot[0] = hot("one", 5);
    port.hot[1] = hot("two", 20);
    port.hot[2] = hot("one", 25);
    port.hot[3] = hot("three", 1);
    json_t *json = ask_json("GET", "/v1/hotkeys?limit=2", 200);
    const json_t *keys = json_object_get(json, "keys");
    ck_assert_uint_eq(json_array_size(keys), 2);
    ck_assert_str_eq(text_of(json_array_get(keys, 0), "key"), "one");
    ck_assert(json_real_value(json_object_get(json_array_get(keys, 0), "share")) == 0.3);
    ck_assert_str_eq(text_of(json_array_get(keys, 1), "key"), "two");
    json_decref(json);
}
END_TEST

/* --- the configuration --- */

static struct answer patch(const char *body)
{
    return ask_with("PATCH", "/v1/config", "Content-Type: application/json\r\n", body);
}

START_TEST(the_configuration_is_shown_patched_and_reloaded)
{
    json_t *json = ask_json("GET", "/v1/config", 200);
    ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(json, "config"), "nodes")),
                      2);
    json_decref(json);
    expect_status(patch("{\"health\": {\"fall\": 4}}"), 200);
    ck_assert_uint_eq(port.applied.pools[0].health_fall_count, 4);
    expect_problem(patch("{\"health\": {\"fal\": 4}}"), 422, "/problems/bad-config");
    expect_problem(patch("{\"health\": {\"fall\": 0}}"), 422, "/problems/bad-config");
    expect_problem(patch("[]"), 400, "/problems/bad-json");
    port.apply_status = STATUS_BAD_CONFIG;
    expect_problem(patch("{\"threads\": 4}"), 422, "/problems/bad-config");
    expect_status(ask("POST", "/v1/config/reload"), 200);
    ck_assert_uint_eq(port.reloads, 1);
    port.status = STATUS_BAD_CONFIG;
    struct answer answer = ask("POST", "/v1/config/reload");
    json = check_problem(&answer, 422, "/problems/bad-config");
    ck_assert_str_eq(text_of(json, "detail"), "f.json:3:7: nonsense");
    json_decref(json);
    answer_free(&answer);
}
END_TEST

START_TEST(the_proxy_can_be_drained)
{
    json_t *json = ask_json("POST", "/v1/drain", 200);
    ck_assert(json_is_true(json_object_get(json, "changed")));
    json_decref(json);
    ck_assert(port.is_drained);
    json = ask_json("POST", "/v1/drain", 200);
    ck_assert(json_is_false(json_object_get(json, "changed")));
    json_decref(json);
    port.snapshot->state = PROXY_DRAINED;
    struct answer answer = ask("GET", "/readyz");
    json = check_problem(&answer, 503, "/problems/not-ready");
    ck_assert_str_eq(text_of(json, "fix"), "POST /v1/undrain makes it ready again");
    json_decref(json);
    answer_free(&answer);
    expect_status(ask("GET", "/livez"), 200);
    expect_status(ask("POST", "/v1/undrain"), 200);
    ck_assert(!port.is_drained);
}
END_TEST

static Suite *inspect_suite(void)
{
    Suite *suite = suite_create("admin inspect");
    TCase *running = tcase_create("running");
    tcase_set_timeout(running, 60);
    tcase_add_checked_fixture(running, set_up, tear_down);
    tcase_add_test(running, a_key_has_its_way);
    tcase_add_test(running, the_leader_is_the_dataplanes);
    tcase_add_test(running, odd_keys_are_refused);
    tcase_add_test(running, keys_are_shown_so_that_they_can_be_asked_for);
    tcase_add_test(running, clients_are_listed_and_closed);
    tcase_add_test(running, slow_requests_come_latest_first);
    tcase_add_test(running, hot_keys_of_all_workers_are_added);
    tcase_add_test(running, the_configuration_is_shown_patched_and_reloaded);
    tcase_add_test(running, the_proxy_can_be_drained);
    suite_add_tcase(suite, running);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(inspect_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
