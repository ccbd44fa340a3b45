/* SPDX-License-Identifier: BSD-2-Clause */
/* The state file: what it is worth, and what of it counts after a restart. */
#include "../../admin/state.h"

#include "admin_fixture.h"

#include <sys/stat.h>

static char folder[] = "/tmp/everwarm-state-XXXXXX";
static char path[64];
static struct word words[WORDS_MAX];

static void set_up_file(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    (void)snprintf(path, sizeof(path), "%s/state.json", folder);
}

static void tear_down_file(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing is left beside it */
}

static void write_text(const char *text)
{
    (void)unlink(path);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    (void)fputs(text, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_int_eq(chmod(path, 0600), 0);
}

START_TEST(what_is_written_can_be_read)
{
    char error[256];
    ck_assert_uint_eq(state_read(path, words, error, sizeof(error)), 0);
    ck_assert_str_eq(error, ""); /* no file is no fault */
    for (size_t i = 0; i < WORDS_MAX; i++) {
        words[i] = (struct word){.admin = NODE_ADMIN_MAINT, .until_wall_us = i * 1000000};
        (void)snprintf(words[i].node, sizeof(words[i].node), "%0*zu", (int)NODE_NAME_BYTES_MAX, i);
        memset(words[i].reason, i % 2 == 0 ? '"' : 'x', WORDS_REASON_BYTES_MAX);
    }
    ck_assert(state_write(path, words, 1, error, sizeof(error)));
    ck_assert(state_write(path, words, WORDS_MAX, error, sizeof(error))); /* over the old one */
    struct stat found;
    ck_assert_int_eq(stat(path, &found), 0);
    ck_assert_uint_eq(found.st_mode & 0777, 0600);
    ck_assert_int_lt(found.st_size, STATE_BYTES_MAX);
    static struct word again[WORDS_MAX];
    ck_assert_uint_eq(state_read(path, again, error, sizeof(error)), WORDS_MAX);
    ck_assert_mem_eq(words, again, sizeof(words));
}
END_TEST

static void expect_ignored(const char *why)
{
    char error[256];
    ck_assert_uint_eq(state_read(path, words, error, sizeof(error)), 0);
    ck_assert_msg(strstr(error, why) != NULL, "%s", error);
}

START_TEST(what_is_damaged_or_foreign_does_not_count)
{
#define WORD "{\"node\":\"a\",\"admin\":\"drain\",\"until_s\":0,\"reason\":\"\"}"
    static const char *const TEXTS[] = {
        "",
        "x",
        "[]",
        "{}",
        "{\"everwarm_state\":2,\"words\":[]}",
        "{\"everwarm_state\":1,\"words\":{}}",
        "{\"everwarm_state\":1,\"words\":[],\"more\":1}",
        "{\"everwarm_state\":1,\"words\":[" WORD ",1]}",
        "{\"everwarm_state\":1,\"words\":[{\"node\":\"a\"}]}",
        "{\"everwarm_state\":1,\"words\":[{\"node\":\"a\",\"admin\":\"gone\",\"until_s\":0,"
        "\"reason\":\"\"}]}",
        "{\"everwarm_state\":1,\"words\":[{\"node\":\"a\",\"admin\":\"drain\",\"until_s\":-1,"
        "\"reason\":\"\"}]}",
        "{\"everwarm_state\":1,\"words\":[" WORD "]",
    };
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        write_text(TEXTS[i]);
        expect_ignored("damaged");
    }
    char error[256];
    write_text("{\"everwarm_state\":1,\"words\":[" WORD "]}");
    ck_assert_uint_eq(state_read(path, words, error, sizeof(error)), 1);
    ck_assert_int_eq(chmod(path, 0620), 0);
    expect_ignored("written by others");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink("/dev/zero", path), 0);
    expect_ignored("symbolic link");
    /* It is replaced, and what it led to left alone. */
    ck_assert(state_write(path, words, 0, error, sizeof(error)));
    ck_assert_uint_eq(state_read(path, words, error, sizeof(error)), 0);
    ck_assert_str_eq(error, "");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_ignored("no plain file");
    ck_assert(!state_write("/nowhere/state", words, 0, error, sizeof(error)));
    ck_assert_ptr_nonnull(strstr(error, "No such file"));
}
END_TEST

/* --- with a proxy --- */

static void await_commands(size_t count)
{
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    while (port.commands < count) {
        ck_assert_int_eq(pthread_cond_wait(&port.moved, &port.lock), 0);
    }
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
}

/* Until the keeper has looked at all events so far. */
static void await_keeper(void)
{
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    while (port.awaited < port.first_event + port.event_count) {
        ck_assert_int_eq(pthread_cond_wait(&port.moved, &port.lock), 0);
    }
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
}

static void start_with_file(void)
{
    admin_stop(&admin);
    port.is_closed = false;
    start_admin_with(&(struct admin_options){.listen = "127.0.0.1:0", .state = path});
}

static void set_up_proxy(void)
{
    set_up_file();
    set_up();
    char error[256];
    words[0] = (struct word){.node = "a", .admin = NODE_ADMIN_DRAIN, .reason = "disk"};
    words[1] = (struct word){.node = "gone", .admin = NODE_ADMIN_MAINT};
    ck_assert(state_write(path, words, 2, error, sizeof(error)));
    start_with_file();
}

static void tear_down_proxy(void)
{
    tear_down();
    tear_down_file();
}

static void expect_reason(const char *wanted)
{
    json_t *json = ask_json("GET", "/v1/nodes/a", 200);
    const char *reason =
        json_string_value(json_object_get(json_object_get(json, "admin"), "reason"));
    ck_assert_str_eq(reason == NULL ? "none" : reason, wanted);
    json_decref(json);
}

/* The view says so from now on. */
static void show_drain(void)
{
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    the_pool()->control.nodes[0].admin = NODE_ADMIN_DRAIN;
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
}

START_TEST(a_lost_view_gets_its_words_back)
{
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    the_pool()->traces[TRACE_FIRST_START] = 1;
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
    happen(&(struct trace_event){.type = TRACE_SERVING});
    await_commands(1);
    ck_assert_int_eq(port.last.type, CONTROL_COMMAND_DRAIN);
    ck_assert(!port.last.is_forced);
    show_drain();
    await_keeper();
    ck_assert_uint_eq(port.commands, 1); /* the other node is gone */
    expect_reason("disk");
}
END_TEST

START_TEST(a_view_that_is_there_is_right)
{
    happen(&(struct trace_event){.type = TRACE_SERVING});
    await_keeper();
    ck_assert_uint_eq(port.commands, 0); /* it is ready by the view, so it stays */
    show_drain();
    expect_reason("none");
}
END_TEST

START_TEST(a_reason_outlives_a_restart)
{
    show_drain();
    happen(&(struct trace_event){.type = TRACE_SERVING});
    await_keeper();
    ck_assert_uint_eq(port.commands, 0);
    expect_reason("disk");
    expect_status(ask_with("POST", "/v1/nodes/a/drain", "Content-Type: application/json\r\n",
                           "{\"reason\":\"fan\"}"),
                  200);
    happen(&(struct trace_event){.type = TRACE_NODE_ADMIN, .b = NODE_ADMIN_DRAIN});
    await_keeper();
    admin_stop(&admin);
    char error[256];
    ck_assert_uint_eq(state_read(path, words, error, sizeof(error)), 1);
    ck_assert_str_eq(words[0].node, "a");
    ck_assert_str_eq(words[0].reason, "fan");
}
END_TEST

static Suite *state_suite(void)
{
    Suite *suite = suite_create("admin state");
    TCase *file = tcase_create("file");
    tcase_add_checked_fixture(file, set_up_file, tear_down_file);
    tcase_add_test(file, what_is_written_can_be_read);
    tcase_add_test(file, what_is_damaged_or_foreign_does_not_count);
    suite_add_tcase(suite, file);
    TCase *proxy = tcase_create("proxy");
    tcase_set_timeout(proxy, 60);
    tcase_add_checked_fixture(proxy, set_up_proxy, tear_down_proxy);
    tcase_add_test(proxy, a_lost_view_gets_its_words_back);
    tcase_add_test(proxy, a_view_that_is_there_is_right);
    tcase_add_test(proxy, a_reason_outlives_a_restart);
    suite_add_tcase(suite, proxy);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(state_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
