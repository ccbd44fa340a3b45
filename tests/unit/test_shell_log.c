/* SPDX-License-Identifier: BSD-2-Clause */
/* The log: nothing that comes from outside can end a line or a string, and a full pipe blocks
 * nobody. */
#include "everwarm/shell/log.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct format_case {
    enum config_log_format format;
    const char *text;
    const char *line;
};

static const struct format_case cases[] = {
    {CONFIG_LOG_FORMAT_TEXT, "plain", "notice event key=plain n=7\n"},
    {CONFIG_LOG_FORMAT_TEXT, "two words", "notice event key=\"two words\" n=7\n"},
    {CONFIG_LOG_FORMAT_TEXT, "", "notice event key=\"\" n=7\n"},
    {CONFIG_LOG_FORMAT_TEXT, "a=b", "notice event key=\"a=b\" n=7\n"},
    {CONFIG_LOG_FORMAT_TEXT, "a\r\nerror b", "notice event key=\"a\\u000d\\u000aerror b\" n=7\n"},
    {CONFIG_LOG_FORMAT_TEXT, "\x1b[2J\x7f\xc3",
     "notice event key=\"\\u001b[2J\\u007f\\u00c3\" n=7\n"},
    {CONFIG_LOG_FORMAT_JSON, "plain",
     "\"level\":\"notice\",\"event\":\"event\",\"key\":\"plain\",\"n\":7}\n"},
    {CONFIG_LOG_FORMAT_JSON, "\"\\\n",
     "\"level\":\"notice\",\"event\":\"event\",\"key\":\"\\\"\\\\\\u000a\",\"n\":7}\n"},
};

START_TEST(escapes)
{
    const struct format_case *c = &cases[_i];
    struct log_field fields[] = {LOG_TEXT("key", c->text), LOG_NUMBER("n", 7)};
    char line[LOG_LINE_BYTES_MAX];
    size_t length = log_format(c->format, LOG_LEVEL_NOTICE, "event", fields, 2, line);
    ck_assert_uint_eq(length, strlen(c->line));
    ck_assert_mem_eq(line, c->line, length);
}
END_TEST

START_TEST(leaves_out_what_does_not_fit)
{
    static char huge[3 * LOG_LINE_BYTES_MAX];
    memset(huge, '\n', sizeof(huge) - 1);
    struct log_field fields[] = {LOG_TEXT("key", huge), LOG_NUMBER("n", 7)};
    char line[LOG_LINE_BYTES_MAX];
    size_t length = log_format(CONFIG_LOG_FORMAT_JSON, LOG_LEVEL_INFO, "event", fields, 2, line);
    const char *expected = "\"level\":\"info\",\"event\":\"event\",\"n\":7}\n";
    ck_assert_uint_eq(length, strlen(expected));
    ck_assert_mem_eq(line, expected, length);
}
END_TEST

/* A stderr that nobody reads (in a process of its own, by Check's fork): lines are dropped and
 * counted, and log_stop comes back. */
START_TEST(is_never_blocked)
{
    int pipe_fds[2];
    ck_assert_int_eq(pipe(pipe_fds), 0);
    ck_assert_int_ge(dup2(pipe_fds[1], STDERR_FILENO), 0);
    ck_assert_int_eq(log_start(), STATUS_OK);
    static char padding[1500];
    memset(padding, 'x', sizeof(padding) - 1);
    /* More than the pipe (64 KiB) and the queue hold. */
    uint32_t count = LOG_QUEUE_LINES + 200;
    for (uint32_t i = 0; i < count; i++) {
        log_line(LOG_LEVEL_INFO, "flood", LOG_NUMBER("i", i), LOG_TEXT("padding", padding));
    }
    uint64_t dropped = log_dropped();
    log_stop();
    /* The writer still hangs in the pipe: this process ends with stderr as it is. */
    ck_assert_uint_gt(dropped, 0);
    ck_assert_uint_lt(dropped, 250);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell/log");
    TCase *tcase = tcase_create("log");
    tcase_add_loop_test(tcase, escapes, 0, (int)(sizeof(cases) / sizeof(cases[0])));
    tcase_add_test(tcase, leaves_out_what_does_not_fit);
    tcase_add_test(tcase, is_never_blocked);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
