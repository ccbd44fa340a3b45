/* SPDX-License-Identifier: BSD-2-Clause */
/* Who may do what: the file of tokens, and every route against every kind of stranger. */
#include "../../admin/gate.h"
#include "../../admin/route.h"
#include "../../admin/tokens.h"

#include "admin_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

/* SHA-256 of "viewer-token", "operator-token" and "admin-token". */
#define VIEWER_HASH   "d036bd6d01a1cae081d39a2f8dab751dc042de814fd60df31fcb553170950f29"
#define OPERATOR_HASH "0850123315d21ab90f4f7236408a52ef6dbd6a02a6550e5c10dc73f4d993680e"
#define ADMIN_HASH    "10a4c7c9fc5206d6f36dc6944a81bb6f4a3cb0e25014ae3b12e6c3e52712292a"

static char folder[] = "/tmp/everwarm-tokens-XXXXXX";
static char path[64];
static char socket_path[64];

static void write_tokens(const char *text)
{
    (void)unlink(path);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

static const char GOOD[] = "# who may\n\nviewer " VIEWER_HASH " page\r\n"
                           "operator\t" OPERATOR_HASH "\n  admin " ADMIN_HASH "  root";

static void set_up_tokens(void)
{
    set_up();
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/tokens", folder);
    (void)snprintf(socket_path, sizeof(socket_path), "%s/admin.sock", folder);
    write_tokens(GOOD);
    admin_stop(&admin);
    start_admin_with(
        &(struct admin_options){.listen = "127.0.0.1:0", .socket = socket_path, .tokens = path});
}

static void tear_down_tokens(void)
{
    tear_down();
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

/* --- the file --- */

START_TEST(tokens_are_read_line_by_line)
{
    struct token tokens[TOKENS_MAX];
    char error[128];
    size_t count = 0;
    ck_assert_msg(tokens_parse(GOOD, tokens, &count, error, sizeof(error)), "%s", error);
    ck_assert_uint_eq(count, 3);
    ck_assert_int_eq(tokens[0].role, ROLE_VIEWER);
    ck_assert_str_eq(tokens[0].name, "page");
    ck_assert_str_eq(tokens[1].name, "");
    ck_assert_int_eq(tokens[2].role, ROLE_ADMIN);
    static const struct {
        const char *text;
        const char *error;
    } ROWS[] = {
        {"", "no token"},
        {"# nothing\n", "no token"},
        {"\nroot " VIEWER_HASH, "line 2 begins with no role"},
        {"none " VIEWER_HASH, "begins with no role"},
        {"admin", "line 1 has no SHA-256"},
        {"admin secret", "line 1 has no SHA-256"},
        {"admin " VIEWER_HASH "0", "has no SHA-256"},
        {"admin g" VIEWER_HASH, "has no SHA-256"},
        {"admin " VIEWER_HASH " a b", "more than a name"},
        {"admin " VIEWER_HASH " 123456789012345678901234567890123", "more than a name"},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        ck_assert(!tokens_parse(ROWS[i].text, tokens, &count, error, sizeof(error)));
        ck_assert_msg(strstr(error, ROWS[i].error) != NULL, "%s: %s", ROWS[i].text, error);
        ck_assert_ptr_null(strstr(error, "secret")); /* a token put there by mistake */
    }
    char many[(TOKENS_MAX + 1) * (sizeof("admin " VIEWER_HASH "\n") - 1) + 1];
    for (size_t i = 0; i <= TOKENS_MAX; i++) {
        memcpy(many + i * (sizeof(many) / (TOKENS_MAX + 1)), "admin " VIEWER_HASH "\n",
               sizeof("admin " VIEWER_HASH "\n"));
    }
    ck_assert(!tokens_parse(many, tokens, &count, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "more than 64"));
    many[TOKENS_MAX * (sizeof(many) / (TOKENS_MAX + 1))] = '\0';
    ck_assert(tokens_parse(many, tokens, &count, error, sizeof(error)));
}
END_TEST

static void expect_unread(enum status status, const char *text)
{
    struct tokens tokens;
    char error[256];
    ck_assert_int_eq(tokens_init(&tokens, path, error, sizeof(error)), status);
    ck_assert_msg(strstr(error, text) != NULL, "%s", error);
}

START_TEST(a_file_that_others_reach_is_refused)
{
    static const mode_t MODES[] = {0640, 0604, 0660, 0602, 0610, 0777};
    for (size_t i = 0; i < sizeof(MODES) / sizeof(MODES[0]); i++) {
        ck_assert_int_eq(chmod(path, MODES[i]), 0);
        expect_unread(STATUS_SYSTEM, "chmod 600");
    }
    ck_assert_int_eq(unlink(path), 0);
    expect_unread(STATUS_SYSTEM, "No such file");
    ck_assert_int_eq(symlink("/dev/null", path), 0);
    expect_unread(STATUS_SYSTEM, "symbolic link");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_unread(STATUS_SYSTEM, "no plain file");
    write_tokens("admin x");
    expect_unread(STATUS_BAD_CONFIG, "line 1");
    char *large = malloc((64 << 10) + 2);
    memset(large, '#', (64 << 10) + 1);
    large[(64 << 10) + 1] = '\0';
    write_tokens(large);
    free(large);
    expect_unread(STATUS_SYSTEM, "larger than 64 KiB");
}
END_TEST

START_TEST(a_reload_that_fails_changes_nothing)
{
    struct tokens tokens;
    struct token found;
    char error[256];
    ck_assert_int_eq(tokens_init(&tokens, path, error, sizeof(error)), STATUS_OK);
    write_tokens("nonsense");
    ck_assert_int_eq(tokens_reload(&tokens, error, sizeof(error)), STATUS_BAD_CONFIG);
    ck_assert(tokens_find(&tokens, "bearer viewer-token", &found));
    ck_assert_str_eq(found.name, "page");
    write_tokens("admin " ADMIN_HASH);
    ck_assert_int_eq(tokens_reload(&tokens, error, sizeof(error)), STATUS_OK);
    ck_assert(!tokens_find(&tokens, "Bearer viewer-token", &found));
    ck_assert(tokens_find(&tokens, "Bearer admin-token", &found));
    static const char *const STRANGERS[] = {NULL,
                                            "",
                                            "Bearer",
                                            "Bearer ",
                                            "Basic YTpi",
                                            "admin-token",
                                            "Bearer admin",
                                            "Bearer  admin-token",
                                            "Bearer admin-token "};
    for (size_t i = 0; i < sizeof(STRANGERS) / sizeof(STRANGERS[0]); i++) {
        ck_assert(!tokens_find(&tokens, STRANGERS[i], &found));
    }
    tokens_fini(&tokens);
}
END_TEST

/* --- every route against every stranger --- */

static const char *const HEADERS[] = {
    [ROLE_NONE] = "",
    [ROLE_VIEWER] = "Authorization: Bearer viewer-token\r\n",
    [ROLE_OPERATOR] = "Authorization: Bearer operator-token\r\n",
    [ROLE_ADMIN] = "Authorization: Bearer admin-token\r\n",
};

/* S15: no token, and each role, at every route. */
START_TEST(each_role_may_what_it_may)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at(i);
        char url[64];
        fill_path(route->path, url);
        for (enum role role = ROLE_NONE; role <= ROLE_ADMIN; role++) {
            port.task_count = 1;
            const size_t before = port.commands;
            struct answer answer = ask_route(route, url, HEADERS[role]);
            const int wanted = role >= route->role ? (int)route->status
                               : role == ROLE_NONE ? 401
                                                   : 403;
            ck_assert_msg(answer.status == wanted, "%s %s as %s: %s", route->method, url,
                          route_role_word(role), answer.text);
            ck_assert(wanted / 100 == 2 || port.commands == before);
            if (wanted == 401) {
                ck_assert_ptr_nonnull(strstr(answer.text, "WWW-Authenticate: Bearer"));
                expect_problem(answer, 401, "/problems/unauthorized");
            } else if (wanted == 403) {
                expect_problem(answer, 403, "/problems/role");
            } else {
                answer_free(&answer);
            }
        }
        expect_status(ask_with(route->method, url, "Authorization: Bearer guess\r\n", NULL),
                      route->role == ROLE_NONE ? (int)route->status : 401);
    }
}
END_TEST

static bool has_get(const char *pattern)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        if (strcmp(route_at(i)->path, pattern) == 0 && strcmp(route_at(i)->method, "GET") == 0) {
            return true;
        }
    }
    return false;
}

/* S15: what does something is never done by a GET, which any page can make a browser send. */
START_TEST(a_get_does_nothing)
{
    size_t tried = 0;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        char url[64];
        fill_path(route_at(i)->path, url);
        if (has_get(route_at(i)->path)) {
            continue;
        }
        struct answer answer = ask_with("GET", url, HEADERS[ROLE_ADMIN], NULL);
        ck_assert_msg(answer.status == 405, "%s: %s", url, answer.text);
        ck_assert_ptr_nonnull(strstr(answer.text, "\r\nAllow: "));
        answer_free(&answer);
        tried++;
    }
    ck_assert_uint_gt(tried, 8);
    ck_assert_uint_eq(port.commands, 0);
}
END_TEST

/* --- S8: what a guess costs --- */

enum { GUESSES = 20000, GUESS_PATIENCE = 50 };
#ifdef __SANITIZE_THREAD__ /* makes each write cost, and a right guess writes its name */
enum { ARE_TIMES_TRUE = 0 };
#else
enum { ARE_TIMES_TRUE = 1 };
#endif

static int compare_times(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a;
    const uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static uint64_t now_ns(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Medians of what tokens_find takes for each of two guesses, asked for in turn. */
static void time_guesses(struct tokens *tokens, const char *const guesses[2], uint64_t median[2])
{
    static uint64_t took[2][GUESSES / 2];
    for (size_t i = 0; i < GUESSES; i++) {
        struct token found;
        const uint64_t begin = now_ns();
        (void)tokens_find(tokens, guesses[i % 2], &found);
        took[i % 2][i / 2] = now_ns() - begin;
    }
    for (size_t i = 0; i < 2; i++) {
        qsort(took[i], GUESSES / 2, sizeof(took[i][0]), compare_times);
        median[i] = took[i][GUESSES / 4];
    }
}

/* A guess that is right, almost right, or not at all: the time it takes says nothing. */
START_TEST(a_guess_takes_the_same_time)
{
    static const char *const PAIRS[][2] = {
        {"Bearer admin-token", "Bearer zzzzz-zzzzz"},
        {"Bearer admin-tokem", "Bearer zzzzz-zzzzz"},
    };
    struct tokens tokens;
    char error[256];
    ck_assert_int_eq(tokens_init(&tokens, path, error, sizeof(error)), STATUS_OK);
    for (size_t p = 0; p < sizeof(PAIRS) / sizeof(PAIRS[0]); p++) {
        bool is_equal = false;
        /* The machine may do something else meanwhile; a leak would be there every time. */
        for (int i = 0; i < GUESS_PATIENCE && !is_equal; i++) {
            uint64_t median[2];
            time_guesses(&tokens, PAIRS[p], median);
            const uint64_t apart =
                median[0] > median[1] ? median[0] - median[1] : median[1] - median[0];
            is_equal = apart * 20 <= median[0];
        }
        ck_assert_msg(is_equal, "%s and %s", PAIRS[p][0], PAIRS[p][1]);
    }
    tokens_fini(&tokens);
}
END_TEST

/* S15, S16: a token does not open what is closed to everybody, and is not even looked at there. */
START_TEST(no_token_opens_the_gate)
{
    static const struct {
        const char *method; /* NULL: the route's */
        const char *head;
        const char *body;
        int status;
    } ROWS[] = {
        {NULL, "Host: localhost\r\nOrigin: http://evil.example\r\n", "", 403},
        {NULL, "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n", "", 403},
        {NULL, "Host: evil.example\r\n", "", 421},
        {NULL, "Host: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n", "{}", 415},
        {NULL, "Host: localhost\r\nContent-Length: 2\r\n", "{}", 415},
        {"PATCH", "Host: localhost\r\n", "", 405},
        {NULL, "Host: localhost\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n", "", 400},
        {NULL, "Host: localhost\r\nContent-Length: 0\r\nContent-Length: 2\r\n", "", 400},
        {NULL, "Host: localhost\r\nHost: localhost\r\n", "", 400},
        {NULL, "Host: localhost\r\nContent-Length: 2000000\r\n", "", 413},
    };
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        char url[64];
        fill_path(route_at(i)->path, url);
        for (size_t r = 0; r < sizeof(ROWS) / sizeof(ROWS[0]); r++) {
            char text[512];
            const char *method = ROWS[r].method == NULL ? route_at(i)->method : ROWS[r].method;
            if (ROWS[r].method != NULL && strcmp(route_at(i)->path, "/v1/config") == 0) {
                continue; /* the one path that takes it */
            }
            (void)snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\n%s%sConnection: close\r\n\r\n%s",
                           method, url, ROWS[r].head, HEADERS[ROLE_ADMIN], ROWS[r].body);
            struct answer answer = ask_raw(text);
            ck_assert_msg(answer.status == ROWS[r].status, "%s: %s", text, answer.text);
            answer_free(&answer);
        }
    }
    ck_assert_uint_eq(port.commands, 0);
}
END_TEST

/* --- where it listens --- */

START_TEST(the_unix_socket_needs_no_token)
{
    struct stat found;
    ck_assert_int_eq(stat(socket_path, &found), 0);
    ck_assert_uint_eq(found.st_mode & 0777, 0660);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, socket_path, strlen(socket_path));
    const int fd = connect_to((const struct sockaddr *)&address, sizeof(address));
    static const char REQUEST[] = "POST /v1/nodes/a/drain HTTP/1.1\r\nHost: x\r\n"
                                  "Connection: close\r\n\r\n";
    send_all(fd, REQUEST, strlen(REQUEST));
    expect_status(read_answer(fd), 200);
    ck_assert_uint_eq(port.commands, 1);
}
END_TEST

START_TEST(a_public_address_takes_addresses_as_hosts)
{
    admin_stop(&admin);
    start_admin_with(&(struct admin_options){.listen = "0.0.0.0:0", .tokens = path});
    static const struct {
        const char *host;
        int status;
    } ROWS[] = {
        {"10.1.2.3:80", 200},  {"[2001:db8::1]:80", 200}, {"localhost", 200}, {"0.0.0.0", 200},
        {"evil.example", 421}, {"10.1.2.3.example", 421}, {"10.1.2", 421},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        char text[256];
        (void)snprintf(text, sizeof(text),
                       "GET /version HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n",
                       ROWS[i].host, HEADERS[ROLE_VIEWER]);
        expect_status(ask_raw(text), ROWS[i].status);
    }
}
END_TEST

START_TEST(a_start_without_its_tokens_is_refused)
{
    char error[256];
    struct admin *other = NULL;
    const struct admin_options options = {.listen = "127.0.0.1:0", .tokens = path};
    ck_assert_int_eq(chmod(path, 0644), 0);
    ck_assert_int_eq(admin_start(&options, &port, &other, error, sizeof(error)), STATUS_SYSTEM);
    ck_assert_ptr_null(other);
    ck_assert_ptr_nonnull(strstr(error, "chmod 600"));
}
END_TEST

static Suite *tokens_suite(void)
{
    Suite *suite = suite_create("admin tokens");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, set_up_tokens, tear_down_tokens);
    tcase_add_test(all, tokens_are_read_line_by_line);
    tcase_add_test(all, a_file_that_others_reach_is_refused);
    tcase_add_test(all, a_reload_that_fails_changes_nothing);
    tcase_add_test(all, each_role_may_what_it_may);
    tcase_add_test(all, a_get_does_nothing);
    if (ARE_TIMES_TRUE) {
        tcase_add_test(all, a_guess_takes_the_same_time);
    }
    tcase_add_test(all, no_token_opens_the_gate);
    tcase_add_test(all, the_unix_socket_needs_no_token);
    tcase_add_test(all, a_public_address_takes_addresses_as_hosts);
    tcase_add_test(all, a_start_without_its_tokens_is_refused);
    suite_add_tcase(suite, all);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(tokens_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
