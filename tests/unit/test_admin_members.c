/* SPDX-License-Identifier: BSD-2-Clause */
/* Nodes added and removed over HTTP: what reaches control, the file and the asker. */
#include "admin_fixture.h"

static struct answer add(const char *query, const char *body)
{
    char path[128];
    (void)snprintf(path, sizeof(path), "/v1/nodes%s", query);
    return ask_with("POST", path, "Content-Type: application/json\r\n", body);
}

static json_t *done(struct answer answer)
{
    ck_assert_int_eq(answer.status, 200);
    json_t *json = json_loads(answer.body, 0, NULL);
    ck_assert_ptr_nonnull(json);
    answer_free(&answer);
    return json;
}

START_TEST(an_address_reaches_control_resolved)
{
    json_t *json =
        done(add("?force=true", "{\"name\":\"n\",\"address\":\"10.0.0.3\",\"zone\":\"z\"}"));
    ck_assert_int_eq(port.last.type, CONTROL_COMMAND_ADD);
    ck_assert_str_eq(port.last.name, "n");
    ck_assert_str_eq(port.last.address, "10.0.0.3:11211");
    ck_assert(port.last.is_forced);
    ck_assert_str_eq(text_of(json, "command"), "add");
    ck_assert_str_eq(text_of(json, "see"), "/v1/nodes/n");
    ck_assert(json_is_true(json_object_get(json, "changed")));
    ck_assert(json_is_false(json_object_get(json, "persisted")));
    ck_assert_str_eq(port.written, "");
    json_decref(json);
    port.result = CONTROL_RESULT_UNCHANGED;
    json = done(add("", "{\"name\":\"n\",\"address\":\"unix:/run/m\"}"));
    ck_assert_str_eq(port.last.address, "unix:/run/m");
    ck_assert(!port.last.is_forced);
    ck_assert(json_is_false(json_object_get(json, "changed")));
    json_decref(json);
}
END_TEST

START_TEST(a_file_is_written_only_if_asked_for)
{
    json_t *json = done(add("?persist=true", "{\"name\":\"n\",\"address\":\"host:1\"}"));
    ck_assert(json_is_true(json_object_get(json, "persisted")));
    ck_assert_str_eq(port.written, "main/n=host:1");
    json_decref(json);
    json = done(ask("DELETE", "/v1/nodes/a?persist=true"));
    ck_assert_int_eq(port.last.type, CONTROL_COMMAND_REMOVE);
    ck_assert_uint_eq(port.last.node, 0);
    ck_assert_str_eq(port.written, "main/a=");
    ck_assert_str_eq(text_of(json, "see"), "/v1/nodes");
    json_decref(json);
    /* The word holds all the same. */
    port.write_status = STATUS_SYSTEM;
    json = done(add("?persist=true", "{\"name\":\"n\",\"address\":\"host:1\"}"));
    ck_assert(json_is_false(json_object_get(json, "persisted")));
    ck_assert_str_eq(text_of(json, "persist_error"), "read-only");
    json_decref(json);
    port.write_status = STATUS_NOT_FOUND;
    json = done(ask("DELETE", "/v1/nodes/a?persist=true"));
    ck_assert_ptr_nonnull(strstr(text_of(json, "persist_error"), "flags alone"));
    json_decref(json);
}
END_TEST

START_TEST(nonsense_reaches_nobody)
{
    static const struct {
        const char *query;
        const char *body;
        int status;
        const char *type;
    } ROWS[] = {
        {"", "", 422, "/problems/bad-member"},
        {"", "{\"name\":\"n\"}", 422, "/problems/bad-member"},
        {"", "{\"address\":\"host\"}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"a b\",\"address\":\"host\"}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"..\",\"address\":\"host\"}", 422, "/problems/bad-member"},
        {"", "{\"name\":7,\"address\":\"host\"}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"n\",\"address\":\"host:0\"}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"n\",\"address\":\"host:99999\"}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"n\",\"address\":\"nowhere\"}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"n\",\"address\":\"host\",\"weight\":2}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"n\",\"address\":\"host\",\"more\":2}", 422, "/problems/bad-member"},
        {"", "{\"name\":\"n\",\"address\":\"host\",\"pool\":\"x\"}", 404, "/problems/no-such-pool"},
        {"?persist=maybe", "{\"name\":\"n\",\"address\":\"h\"}", 400, "/problems/bad-request"},
        {"?force=maybe", "{\"name\":\"n\",\"address\":\"h\"}", 400, "/problems/bad-request"},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        expect_problem(add(ROWS[i].query, ROWS[i].body), ROWS[i].status, ROWS[i].type);
    }
    expect_problem(ask("DELETE", "/v1/nodes/nobody"), 404, "/problems/no-such-node");
    ck_assert_uint_eq(port.commands, 0);
    ck_assert_str_eq(port.written, "");
}
END_TEST

START_TEST(control_refuses_and_nothing_is_written)
{
    static const struct {
        enum control_result result;
        const char *type;
    } ROWS[] = {
        {CONTROL_RESULT_TAKEN, "/problems/node-exists"},
        {CONTROL_RESULT_SILENT, "/problems/node-silent"},
        {CONTROL_RESULT_FOREIGN, "/problems/other-pool"},
        {CONTROL_RESULT_FULL, "/problems/pool-size"},
        {CONTROL_RESULT_LONE, "/problems/pool-size"},
        {CONTROL_RESULT_LAST_TWO, "/problems/pool-size"},
        {CONTROL_RESULT_LAST_COPY, "/problems/last-copy"},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        port.result = ROWS[i].result;
        expect_problem(add("?persist=true", "{\"name\":\"a\",\"address\":\"host\"}"), 409,
                       ROWS[i].type);
        expect_problem(ask("DELETE", "/v1/nodes/a?persist=true"), 409, ROWS[i].type);
    }
    ck_assert_str_eq(port.written, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("admin: who belongs to a pool");
    TCase *tests = tcase_create("all");
    tcase_set_timeout(tests, 60);
    tcase_add_checked_fixture(tests, set_up, tear_down);
    tcase_add_test(tests, an_address_reaches_control_resolved);
    tcase_add_test(tests, a_file_is_written_only_if_asked_for);
    tcase_add_test(tests, nonsense_reaches_nobody);
    tcase_add_test(tests, control_refuses_and_nothing_is_written);
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
