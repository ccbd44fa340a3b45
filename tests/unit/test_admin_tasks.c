/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks, events, and what is said beside a word to a node: over real sockets. */
#include "../../admin/events.h"
#include "../../admin/words.h"

#include "admin_fixture.h"

#define JSON_BODY "Content-Type: application/json\r\n"

/* --- tasks --- */

START_TEST(work_is_answered_with_a_task)
{
    struct answer answer = ask("POST", "/v1/nodes/a/resync");
    ck_assert_int_eq(answer.status, 202);
    ck_assert_ptr_nonnull(strstr(answer.text, "Location: /v1/tasks/1\r\n"));
    answer_free(&answer);
    ck_assert_int_eq(port.last.type, CONTROL_COMMAND_RESYNC);
    json_t *task = ask_json("GET", "/v1/tasks/1", 200);
    ck_assert_str_eq(text_of(task, "kind"), "resync");
    ck_assert_str_eq(text_of(task, "node"), "a");
    ck_assert_str_eq(text_of(task, "state"), "waiting");
    ck_assert(json_is_false(json_object_get(task, "cancellable")));
    json_decref(task);
    /* Asked for again while it is under way, it is the same, and control hears nothing. */
    json_decref(ask_json("POST", "/v1/nodes/a/resync", 202));
    ck_assert_uint_eq(port.commands, 1);
    ck_assert_uint_eq(port.task_count, 1);
    json_decref(ask_json("POST", "/v1/nodes/a/check", 202));
    ck_assert_uint_eq(port.commands, 1);
    ck_assert_int_eq(port.tasks[1].kind, TASK_CHECK);
    json_t *list = ask_json("GET", "/v1/tasks", 200);
    ck_assert_uint_eq(json_array_size(json_object_get(list, "tasks")), 2);
    json_decref(list);
}
END_TEST

START_TEST(tasks_that_are_refused_say_why)
{
    expect_problem(ask("GET", "/v1/tasks/7"), 404, "/problems/no-such-task");
    expect_problem(ask("GET", "/v1/tasks/x"), 404, "/problems/no-such-task");
    expect_problem(ask("GET", "/v1/tasks/99999999999999999999999"), 404, "/problems/no-such-task");
    expect_problem(ask("DELETE", "/v1/tasks/7"), 404, "/problems/no-such-task");
    expect_problem(ask_with("POST", "/v1/nodes/a/check", JSON_BODY, "{}"), 400,
                   "/problems/bad-request");
    port.result = CONTROL_RESULT_LAST_COPY;
    expect_problem(ask("POST", "/v1/nodes/a/resync"), 409, "/problems/last-copy");
    ck_assert_uint_eq(port.task_count, 0);
    port.result = CONTROL_RESULT_OK;
    json_decref(ask_json("POST", "/v1/nodes/a/resync", 202));
    expect_problem(ask("DELETE", "/v1/tasks/1"), 409, "/problems/not-cancellable");
    for (size_t i = 0; i < 3; i++) {
        json_decref(ask_json("POST", "/v1/nodes/a/check", 202));
    }
    expect_problem(ask("POST", "/v1/nodes/a/check"), 503, "/problems/busy");
}
END_TEST

START_TEST(a_verify_can_be_cancelled)
{
    struct task task = {
        .kind = TASK_VERIFY, .node = TASK_NO_NODE, .figures = {{"compared", 10}, {"differing", 1}}};
    ck_assert_int_eq(control_port_task_add(&port, &task), STATUS_OK);
    json_t *json = ask_json("DELETE", "/v1/tasks/1", 200);
    ck_assert(json_is_null(json_object_get(json, "node")));
    const json_t *figures = json_object_get(json, "figures");
    ck_assert_int_eq(json_integer_value(json_object_get(figures, "compared")), 10);
    ck_assert_uint_eq(json_object_size(figures), 2);
    json_decref(json);
}
END_TEST

/* --- reasons and ends --- */

static void say(const char *path, const char *body)
{
    expect_status(ask_with("POST", path, JSON_BODY, body), 200);
}

static void expect_word(const char *reason, bool has_end)
{
    json_t *json = ask_json("GET", "/v1/nodes/a", 200);
    const json_t *word = json_object_get(json, "admin");
    const char *shown = json_string_value(json_object_get(word, "reason"));
    ck_assert_str_eq(shown == NULL ? "none" : shown, reason);
    ck_assert_int_eq(json_is_string(json_object_get(word, "until")), has_end);
    json_decref(json);
}

START_TEST(a_reason_is_shown_with_its_word)
{
    struct control_node_snapshot *a = &the_pool()->control.nodes[0];
    a->admin = NODE_ADMIN_DRAIN;
    say("/v1/nodes/a/drain", "{\"reason\":\"disk <b>\",\"for\":\"30m\"}");
    expect_word("disk <b>", true);
    /* Repeated without more it stays. */
    port.result = CONTROL_RESULT_UNCHANGED;
    expect_status(ask("POST", "/v1/nodes/a/drain"), 200);
    expect_word("disk <b>", true);
    say("/v1/nodes/a/drain", "{\"reason\":\"other\"}");
    expect_word("other", false);
    say("/v1/nodes/a/drain", "{}");
    expect_word("none", false);
    port.result = CONTROL_RESULT_OK;
    say("/v1/nodes/a/drain", "{\"reason\":\"x\",\"for\":null}");
    a->admin = NODE_ADMIN_READY; /* another proxy took it back */
    expect_word("none", false);
    expect_problem(ask_with("POST", "/v1/nodes/a/ready", JSON_BODY, "{\"for\":\"1m\"}"), 422,
                   "/problems/bad-member");
    char longest[WORDS_REASON_BYTES_MAX + 32];
    (void)snprintf(longest, sizeof(longest), "{\"reason\":\"%0*d\"}", (int)WORDS_REASON_BYTES_MAX,
                   0);
    say("/v1/nodes/a/drain", longest);
    (void)snprintf(longest, sizeof(longest), "{\"reason\":\"%0*d\"}",
                   (int)WORDS_REASON_BYTES_MAX + 1, 0);
    expect_problem(ask_with("POST", "/v1/nodes/a/drain", JSON_BODY, longest), 422,
                   "/problems/bad-member");
}
END_TEST

/* Wait until control has been asked COUNT times. */
static void await_commands(size_t count)
{
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    while (port.commands < count) {
        ck_assert_int_eq(pthread_cond_wait(&port.moved, &port.lock), 0);
    }
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
}

START_TEST(an_end_is_carried_out)
{
    /* The snapshot's clock is long past, so the end is too. */
    say("/v1/nodes/a/maint", "{\"for\":\"1s\"}");
    await_commands(2);
    ck_assert_int_eq(port.last.type, CONTROL_COMMAND_READY);
    ck_assert_uint_eq(port.last.node, 0);
    ck_assert(!port.last.is_forced);
}
END_TEST

START_TEST(an_end_that_fails_is_tried_again)
{
    say("/v1/nodes/a/maint", "{\"for\":\"1s\"}");
    port.result = CONTROL_RESULT_STARTING;
    await_commands(3);
    port.result = CONTROL_RESULT_OK;
    await_commands(4);
}
END_TEST

START_TEST(a_word_from_elsewhere_takes_the_end_away)
{
    port.snapshot->now_wall_us = (uint64_t)time(NULL) * 1000000; /* the end is to come */
    the_pool()->control.nodes[0].admin = NODE_ADMIN_DRAIN;
    say("/v1/nodes/a/drain", "{\"reason\":\"x\",\"for\":\"1h\"}");
    expect_word("x", true);
    the_pool()->control.nodes[0].admin = NODE_ADMIN_READY;
    happen(&(struct trace_event){
        .type = TRACE_NODE_ADMIN, .a = NODE_ADMIN_DRAIN, .b = NODE_ADMIN_READY});
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    while (port.awaited < 2) { /* the first has been looked at */
        ck_assert_int_eq(pthread_cond_wait(&port.moved, &port.lock), 0);
    }
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
    /* Forgotten, not only hidden: the same word again does not bring it back. */
    the_pool()->control.nodes[0].admin = NODE_ADMIN_DRAIN;
    expect_word("none", false);
}
END_TEST

/* --- events --- */

static int watch(const char *query, const char *header)
{
    char text[256];
    const int fd = connect_tcp();
    const int len =
        snprintf(text, sizeof(text), "GET /v1/events%s HTTP/1.0\r\nHost: localhost\r\n%s\r\n",
                 query, header);
    send_all(fd, text, (size_t)len);
    return fd;
}

/* Read on until WORD has come; the text so far, for free. */
static char *read_until(int fd, const char *word)
{
    char *text = calloc(1, ANSWER_BYTES_MAX);
    size_t used = 0;
    while (strstr(text, word) == NULL) {
        const ssize_t got = recv(fd, text + used, ANSWER_BYTES_MAX - 1 - used, 0);
        ck_assert_msg(got > 0, "no %s in %s", word, text);
        used += (size_t)got;
    }
    return text;
}

static void node_down(const char *why)
{
    struct trace_event trace = {.type = TRACE_NODE_DOWN, .node = 1, .proxy = TRACE_NO_PROXY};
    (void)snprintf(trace.detail, sizeof(trace.detail), "%s", why);
    happen(&trace);
}

START_TEST(events_come_as_they_happen)
{
    node_down("before");
    const int fd = watch("", "");
    char *text = read_until(fd, "retry: 1000\n\n");
    ck_assert_ptr_nonnull(strstr(text, "Content-Type: text/event-stream\r\n"));
    free(text);
    node_down("a\nb: <script>");
    text = read_until(fd, "}\n\n");
    ck_assert_str_eq(text, "id: 2\nevent: node-down\ndata: {\"id\":2,\"type\":\"node-down\","
                           "\"level\":\"warning\",\"time\":\"2026-01-01T00:00:00.000Z\","
                           "\"pool\":\"main\",\"why\":\"a?b: <script>\"}\n\n");
    free(text);
    ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(a_watcher_goes_on_where_it_was)
{
    static const struct {
        const char *query;
        const char *header;
        const char *first;
    } ROWS[] = {
        {"?since=0", "", "id: 1\n"},
        {"?since=1", "", "id: 2\n"},
        {"?since=0", "Last-Event-ID: 2\r\n", "id: 3\n"},
        {"?since=77", "", "id: 1\n"}, /* of an earlier run */
    };
    node_down("one");
    node_down("two");
    node_down("three");
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        const int fd = watch(ROWS[i].query, ROWS[i].header);
        char *text = read_until(fd, "three");
        const char *first = strstr(text, "id: ");
        ck_assert_msg(strncmp(first, ROWS[i].first, strlen(ROWS[i].first)) == 0, "%s", text);
        free(text);
        ck_assert_int_eq(close(fd), 0);
    }
    expect_problem(ask("GET", "/v1/events?since=x"), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/v1/events?since=-1"), 400, "/problems/bad-request");
}
END_TEST

START_TEST(a_gap_is_told)
{
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    port.first_event = 101; /* what was before is forgotten */
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
    node_down("late");
    const int fd = watch("?since=41", "");
    char *text = read_until(fd, "late");
    ck_assert_ptr_nonnull(
        strstr(text, "id: 100\nevent: lost\ndata: {\"count\":59}\n\nid: 101\nevent: node-down\n"));
    free(text);
    ck_assert_int_eq(close(fd), 0);
}
END_TEST

START_TEST(watchers_are_limited_and_end_with_the_server)
{
    int fds[EVENTS_WATCHERS_MAX];
    for (size_t i = 0; i < EVENTS_WATCHERS_MAX; i++) {
        fds[i] = watch("", "");
        free(read_until(fds[i], "retry"));
    }
    expect_problem(ask("GET", "/v1/events"), 503, "/problems/too-many-watchers");
    expect_status(ask("GET", "/livez"), 200);
    ck_assert_int_eq(close(fds[0]), 0);
    /* One that left is noticed when something is to be told. */
    int late = -1;
    for (int i = 0; i < 7 && late < 0; i++) {
        node_down("x");
        late = watch("", "");
        char *text = read_until(late, "\r\n\r\n");
        if (strstr(text, " 200 ") == NULL) {
            ck_assert_int_eq(close(late), 0);
            late = -1;
        }
        free(text);
    }
    admin_stop(&admin);
    for (size_t i = 1; i < EVENTS_WATCHERS_MAX; i++) {
        struct answer rest = read_answer(fds[i]); /* to its end */
        answer_free(&rest);
    }
    if (late >= 0) {
        ck_assert_int_eq(close(late), 0);
    }
}
END_TEST

static Suite *tasks_suite(void)
{
    Suite *suite = suite_create("admin tasks");
    TCase *running = tcase_create("running");
    tcase_set_timeout(running, 60);
    tcase_add_checked_fixture(running, set_up, tear_down);
    tcase_add_test(running, work_is_answered_with_a_task);
    tcase_add_test(running, tasks_that_are_refused_say_why);
    tcase_add_test(running, a_verify_can_be_cancelled);
    tcase_add_test(running, a_reason_is_shown_with_its_word);
    tcase_add_test(running, an_end_is_carried_out);
    tcase_add_test(running, an_end_that_fails_is_tried_again);
    tcase_add_test(running, a_word_from_elsewhere_takes_the_end_away);
    tcase_add_test(running, events_come_as_they_happen);
    tcase_add_test(running, a_watcher_goes_on_where_it_was);
    tcase_add_test(running, a_gap_is_told);
    tcase_add_test(running, watchers_are_limited_and_end_with_the_server);
    suite_add_tcase(suite, running);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(tasks_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
