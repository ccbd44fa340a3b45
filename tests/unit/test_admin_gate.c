/* SPDX-License-Identifier: BSD-2-Clause */
/* What the admin API lets through: framing, hosts, other sites, bodies; and where it listens. */
#include "../../admin/route.h"

#include "admin_fixture.h"

#include <sys/un.h>

/* --- the gate --- */

#define DRAIN "POST /v1/nodes/a/drain HTTP/1.1\r\n"

/* S16: where one request ends and the next begins is never a matter of opinion. */
START_TEST(ambiguous_requests_are_refused_and_closed)
{
    /* Each carries a second request, which would show as a command if ours ended elsewhere. */
    static const struct {
        const char *head;
        int status;
    } ROWS[] = {
        {DRAIN
         "Host: localhost\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         400},
        {DRAIN
         "Host: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
         400},
        {DRAIN "Host: localhost\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nContent-Length: 0\r\ncontent-length: 44\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nContent-Length:\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nContent-Length: \r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nContent-Length: +1\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nContent-Length: -1\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nContent-Length: 0x1\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nContent-Length: 0, 0\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 411},
        {DRAIN "Host: localhost\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 411},
        {DRAIN "Host: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n", 411},
        {DRAIN "Host: localhost\r\nTransfer-Encoding: identity\r\n\r\n", 411},
        {DRAIN "Host: localhost\r\nHost: localhost\r\n\r\n", 400},
        {DRAIN "Host: localhost\r\nHost: evil.example\r\n\r\n", 400},
        {DRAIN "\r\n", 400},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        char text[1024];
        (void)snprintf(text, sizeof(text), "%s%s", ROWS[i].head,
                       DRAIN "Host: localhost\r\nConnection: close\r\n\r\n");
        struct answer answer = ask_raw(text);
        ck_assert_msg(answer.status == ROWS[i].status, "%s: %s", ROWS[i].head, answer.text);
        ck_assert_msg(port.commands == 0, "%s", ROWS[i].head);
        answer_free(&answer);
    }
}
END_TEST

/* S16: what is too much costs an answer, no memory. */
START_TEST(huge_heads_and_bodies_are_refused)
{
    enum { HUGE = 1 << 20, HEADERS = 10000 };
    char *text = malloc(HUGE + HEADERS * 32);
    ck_assert_ptr_nonnull(text);
    size_t used = (size_t)snprintf(text, 64, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: ");
    memset(text + used, 'x', HUGE);
    (void)snprintf(text + used + HUGE, 16, "\r\n\r\n");
    struct answer answer = ask_raw(text);
    ck_assert_msg(answer.status == 431 || answer.status == 0, "%s", answer.text);
    answer_free(&answer);
    for (size_t i = 0; i < HEADERS; i++) {
        used += (size_t)snprintf(text + used, 32, "\r\nX-%zu: y", i);
    }
    (void)snprintf(text + used, 32, "\r\n\r\n");
    answer = ask_raw(text);
    ck_assert_msg(answer.status == 431 || answer.status == 0, "%s", answer.text);
    answer_free(&answer);
    free(text);
    char *body = malloc((64 << 10) + 2);
    ck_assert_ptr_nonnull(body);
    memset(body, ' ', (64 << 10) + 1);
    body[(64 << 10) + 1] = '\0';
    expect_problem(
        ask_with("POST", "/v1/nodes/a/drain", "Content-Type: application/json\r\n", body), 413,
        "/problems/body-too-large");
    ck_assert_uint_eq(port.commands, 0);
    (void)memcpy(body, "{}", 2);
    body[64 << 10] = '\0';
    expect_status(ask_with("POST", "/v1/nodes/a/drain", "Content-Type: application/json\r\n", body),
                  200);
    free(body);
    expect_problem(ask_raw(DRAIN "Host: localhost\r\nContent-Length: 99999999999999\r\n\r\n"), 413,
                   "/problems/body-too-large");
    ck_assert_uint_eq(port.commands, 1);
    expect_status(ask("GET", "/livez"), 200);
}
END_TEST

/* S15: foreign hosts, by which a page elsewhere would reach a port on this machine. */
START_TEST(other_hosts_are_refused)
{
    static const struct {
        const char *host;
        bool is_ours;
    } ROWS[] = {
        {"localhost", true},
        {"LOCALHOST:80", true},
        {"127.0.0.1", true},
        {"127.9.9.9:1", true},
        {"[::1]", true},
        {"[::1]:11280", true},
        {"evil.example", false},
        {"127.0.0.1.evil.example", false},
        {"10.0.0.1", false},
        {"localhost.evil", false},
        {"[::2]", false},
        {"[::1", false},
        {"::1", false},
        {"", false},
        {":80", false},
        {"localhost:80x", false},
        {"localhost evil", false},
        {"0.0.0.0", false},
        {"user@localhost", false},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "GET /livez HTTP/1.1\r\nHost: %s\r\nConnection: close"
                       "\r\n\r\n",
                       ROWS[i].host);
        struct answer answer = ask_raw(text);
        ck_assert_msg(answer.status == (ROWS[i].is_ours ? 200 : 421), "%s: %s", ROWS[i].host,
                      answer.text);
        answer_free(&answer);
    }
    expect_status(ask_raw("GET /livez HTTP/1.0\r\n\r\n"), 200);
}
END_TEST

/* S17: JSON that is nothing but depth, or repeats itself. */
START_TEST(json_bombs_are_refused)
{
    static const char *const UNITS[] = {"[", "{\"a\":", "[[],", "{\"a\":[{\"b\":"};
    static const char JSON[] = "Content-Type: application/json\r\n";
    enum { BYTES = 60000 };
    char *body = malloc(BYTES + 32);
    ck_assert_ptr_nonnull(body);
    for (size_t u = 0; u < sizeof(UNITS) / sizeof(UNITS[0]); u++) {
        size_t used = 0;
        while (used < BYTES) {
            used += (size_t)snprintf(body + used, 32, "%s", UNITS[u]);
        }
        expect_problem(ask_with("PATCH", "/v1/config", JSON, body), 400, "/problems/bad-json");
        expect_problem(ask_with("POST", "/v1/nodes/a/drain", JSON, body), 400,
                       "/problems/bad-json");
    }
    expect_problem(
        ask_with("POST", "/v1/nodes/a/drain", JSON, "{\"reason\": \"a\", \"reason\": \"b\"}"), 400,
        "/problems/bad-json");
    free(body);
    ck_assert_uint_eq(port.commands, 0);
}
END_TEST

/* S15: foreign origins, at every route. */
START_TEST(other_sites_are_refused)
{
    static const struct {
        const char *header;
        bool is_own;
    } ROWS[] = {
        {"", true},
        {"Origin: http://localhost:1\r\n", true},
        {"Origin: https://LOCALHOST:1\r\n", true},
        {"Sec-Fetch-Site: same-origin\r\n", true},
        {"Sec-Fetch-Site: none\r\n", true},
        {"Origin: http://localhost:2\r\n", false},
        {"Origin: http://localhost\r\n", false},
        {"Origin: http://evil.example\r\n", false},
        {"Origin: null\r\n", false},
        {"Origin: \r\n", false},
        {"Origin: http://localhost:1\r\nOrigin: http://localhost:1\r\n", false},
        {"Sec-Fetch-Site: cross-site\r\n", false},
        {"Sec-Fetch-Site: same-site\r\n", false},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        for (size_t r = 0; r < ROUTE_COUNT; r++) {
            char path[64];
            fill_path(route_at(r)->path, path);
            const size_t before = port.commands;
            struct answer answer = ask_with(route_at(r)->method, path, ROWS[i].header, NULL);
            ck_assert_msg((answer.status == 403) == !ROWS[i].is_own, "%s %s: %s", path,
                          ROWS[i].header, answer.text);
            ck_assert(ROWS[i].is_own || port.commands == before);
            answer_free(&answer);
        }
    }
}
END_TEST

START_TEST(bodies_must_be_declared_as_json)
{
    static const struct {
        const char *header;
        bool is_json;
    } ROWS[] = {
        {"Content-Type: application/json\r\n", true},
        {"Content-Type: Application/JSON; charset=utf-8\r\n", true},
        {"", false},
        {"Content-Type: text/plain\r\n", false},
        {"Content-Type: application/x-www-form-urlencoded\r\n", false},
        {"Content-Type: application/jsonx\r\n", false},
        {"Content-Type: multipart/form-data; boundary=x\r\n", false},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct answer answer = ask_with("POST", "/v1/nodes/a/drain", ROWS[i].header, "{}");
        ck_assert_msg(answer.status == (ROWS[i].is_json ? 200 : 415), "%s", answer.text);
        answer_free(&answer);
    }
    ck_assert_uint_eq(port.commands, 2);
}
END_TEST

START_TEST(one_connection_asks_twice)
{
    struct answer answer = ask_raw(DRAIN "Host: localhost\r\nContent-Type: application/json\r\n"
                                         "Content-Length: 2\r\n\r\n{}"
                                         "GET /version HTTP/1.1\r\nHost: localhost\r\n"
                                         "Connection: close\r\n\r\n");
    ck_assert_int_eq(answer.status, 200);
    const char *second = strstr(answer.body, "HTTP/1.1 200");
    ck_assert_ptr_nonnull(second);
    ck_assert_ptr_nonnull(strstr(second, "\"version\": \"0.1.0\""));
    ck_assert_uint_eq(port.commands, 1);
    answer_free(&answer);
}
END_TEST

START_TEST(a_crowd_of_idle_clients_passes)
{
    enum { CROWD = 200 };
    int fds[CROWD];
    for (size_t i = 0; i < CROWD; i++) {
        fds[i] = connect_tcp();
        send_all(fds[i], "GET /liv", 8);
    }
    for (size_t i = 0; i < CROWD; i++) {
        ck_assert_int_eq(close(fds[i]), 0);
    }
    /* There are as many places as they took; they are free when each thread has seen its end. */
    int status = 0;
    for (int i = 0; i < 10000 && status != 200; i++) {
        struct answer answer = ask("GET", "/livez");
        status = answer.status;
        answer_free(&answer);
    }
    ck_assert_int_eq(status, 200);
}
END_TEST

/* --- starting --- */

START_TEST(what_cannot_be_opened_is_explained)
{
    char taken[64];
    (void)snprintf(taken, sizeof(taken), "127.0.0.1:%u", admin_port);
    const struct {
        struct admin_options options;
        enum status status;
        const char *text;
    } rows[] = {
        {{.listen = "nonsense"}, STATUS_BAD_CONFIG, "nonsense: not an address"},
        {{.listen = "127.0.0.1:"}, STATUS_BAD_CONFIG, "not an address"},
        {{.listen = "[::1"}, STATUS_BAD_CONFIG, "not an address"},
        {{.listen = ":80"}, STATUS_BAD_CONFIG, "not an address"},
        {{.listen = "0.0.0.0:0"}, STATUS_BAD_CONFIG, "others could reach it"},
        {{.listen = "[::]:0"}, STATUS_BAD_CONFIG, "others could reach it"},
        {{.listen = taken}, STATUS_SYSTEM, "Address already in use"},
        {{.listen = "127.0.0.1:0", .socket = ""}, STATUS_BAD_CONFIG, "107 bytes"},
        {{.socket = "/nowhere/at/all"}, STATUS_SYSTEM, "No such file"},
        {{.socket = "/dev/null"}, STATUS_SYSTEM, "Address already in use"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct admin *other = NULL;
        char error[256] = "";
        const enum status status =
            admin_start(&rows[i].options, &port, &other, error, sizeof(error));
        ck_assert_msg(status == rows[i].status, "%zu: %s", i, error);
        ck_assert_ptr_null(other);
        ck_assert_msg(strstr(error, rows[i].text) != NULL, "%zu: %s", i, error);
    }
}
END_TEST

START_TEST(a_unix_socket_serves_and_is_left_clean)
{
    char folder[] = "/tmp/everwarm-admin-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/admin.sock", folder);
    /* One that a killed process left behind. */
    const int stale = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(stale, (const struct sockaddr *)&address, sizeof(address)), 0);
    ck_assert_int_eq(close(stale), 0);
    admin_stop(&admin);
    start_admin(address.sun_path);
    const int fd = connect_to((const struct sockaddr *)&address, sizeof(address));
    static const char REQUEST[] = "GET /livez HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n";
    send_all(fd, REQUEST, strlen(REQUEST));
    expect_status(read_answer(fd), 200);
    struct admin *second = NULL;
    char error[256] = "";
    const struct admin_options same = {.socket = address.sun_path};
    ck_assert_int_eq(admin_start(&same, &port, &second, error, sizeof(error)), STATUS_SYSTEM);
    ck_assert_int_eq(access(address.sun_path, F_OK), 0);
    admin_stop(&admin);
    ck_assert_int_ne(access(address.sun_path, F_OK), 0);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

static Suite *gate_suite(void)
{
    Suite *suite = suite_create("admin gate");
    TCase *running = tcase_create("running");
    tcase_add_checked_fixture(running, set_up, tear_down);
    tcase_add_test(running, ambiguous_requests_are_refused_and_closed);
    tcase_add_test(running, huge_heads_and_bodies_are_refused);
    tcase_add_test(running, other_hosts_are_refused);
    tcase_add_test(running, json_bombs_are_refused);
    tcase_add_test(running, other_sites_are_refused);
    tcase_add_test(running, bodies_must_be_declared_as_json);
    tcase_add_test(running, one_connection_asks_twice);
    tcase_add_test(running, a_crowd_of_idle_clients_passes);
    tcase_add_test(running, what_cannot_be_opened_is_explained);
    tcase_add_test(running, a_unix_socket_serves_and_is_left_clean);
    suite_add_tcase(suite, running);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(gate_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
