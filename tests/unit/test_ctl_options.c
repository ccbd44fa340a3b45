/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of everwarmctl, and its table of commands. */
#include "ctl/command.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 16 };

static struct options options;
static char said[1024];

/* LINE split at spaces; what is said on an error is in `said`. */
static bool parse(const char *line)
{
    static char copy[4096];
    static char *argv[WORDS_MAX + 1] = {NULL};
    static char name[] = "everwarmctl";
    int argc = 0;
    argv[argc++] = name;
    (void)snprintf(copy, sizeof(copy), "%s", line);
    char *rest = copy;
    for (char *word = strsep(&rest, " "); word != NULL; word = strsep(&rest, " ")) {
        ck_assert_int_lt(argc, WORDS_MAX);
        argv[argc++] = word;
    }
    memset(said, 0, sizeof(said));
    FILE *error = fmemopen(said, sizeof(said) - 1, "w");
    const bool is_good = options_parse(argc, argv, &options, error);
    ck_assert_int_eq(fclose(error), 0);
    return is_good;
}

START_TEST(takes_hosts)
{
    ck_assert(parse("status"));
    ck_assert_uint_eq(options.target_count, 1);
    ck_assert_str_eq(options.targets[0], "127.0.0.1:11280");
    ck_assert(parse("-H a,b:1,[::1],[::1]:2 -H c status"));
    ck_assert_uint_eq(options.target_count, 5);
    ck_assert_str_eq(options.targets[0], "a:11280");
    ck_assert_str_eq(options.targets[1], "b:1");
    ck_assert_str_eq(options.targets[2], "[::1]:11280");
    ck_assert_str_eq(options.targets[3], "[::1]:2");
    ck_assert_str_eq(options.targets[4], "c:11280");
}
END_TEST

START_TEST(takes_as_many_hosts_as_it_says)
{
    char line[1024] = "status -H h";
    for (int i = 1; i < OPTIONS_TARGETS_MAX; i++) {
        strncat(line, ",h", sizeof(line) - strlen(line) - 1);
    }
    ck_assert(parse(line));
    ck_assert_uint_eq(options.target_count, OPTIONS_TARGETS_MAX);
    strncat(line, ",h", sizeof(line) - strlen(line) - 1);
    ck_assert(!parse(line));
}
END_TEST

START_TEST(takes_options_before_and_after)
{
    ck_assert(parse("drain a --wait 30s -o json --force --reason disk --for 30m"));
    ck_assert_int_eq(options.word_count, 2);
    ck_assert_str_eq(options.words[0], "drain");
    ck_assert_str_eq(options.words[1], "a");
    ck_assert_uint_eq(options.wait_ms, 30000);
    ck_assert_int_eq(options.output, CTL_OUTPUT_JSON);
    ck_assert(options.is_forced);
    ck_assert_str_eq(options.reason, "disk");
    ck_assert(parse("node -- -strange"));
    ck_assert_str_eq(options.words[1], "-strange");
    ck_assert(parse("--socket /run/x status"));
    ck_assert_str_eq(options.socket, "/run/x");
}
END_TEST

static const char *const wrong[] = {
    "-H",
    "-H :1 status",
    "-H a: status",
    "-H a:70000 status",
    "-H a:b status",
    "-H ::1 status",
    "-H a/b status",
    "-H http://a status",
    "-H a,,b status",
    "-H [::1 status",
    "-H u@h status",
    "-o xml status",
    "--wait soon status",
    "--wait 0s status",
    "--for never drain a",
    "--nonsense status",
    "-H a --socket /x status",
};

START_TEST(refuses)
{
    ck_assert_msg(!parse(wrong[_i]), "%s", wrong[_i]);
}
END_TEST

START_TEST(knows_its_commands)
{
    static const char *const names[] = {
        "status", "nodes",       "node",          "drain",   "maint",  "ready",
        "resync", "verify",      "check",         "add",     "remove", "tasks",
        "route",  "clients",     "slowlog",       "hotkeys", "events", "config",
        "reload", "proxy-drain", "proxy-undrain", "top",     "doctor", "completion"};
    size_t count = 0;
    (void)command_table(&count);
    ck_assert_uint_eq(count, sizeof(names) / sizeof(names[0]));
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(command_find(names[i]) != NULL, "%s", names[i]);
    }
    ck_assert_ptr_null(command_find("stat"));
    ck_assert_str_eq(command_suggest("stat"), "status");
    ck_assert_str_eq(command_suggest("drian"), "drain");
    ck_assert_str_eq(command_suggest("proxy-undran"), "proxy-undrain");
    ck_assert_ptr_null(command_suggest("xyzzy"));
}
END_TEST

START_TEST(knows_what_does_not_fit)
{
    ck_assert(parse("status --force"));
    ck_assert_str_eq(command_misfit(command_find("status"), &options), "--force");
    ck_assert(parse("status --wait 1s"));
    ck_assert_ptr_null(command_misfit(command_find("status"), &options));
    ck_assert(parse("ready a --reason x"));
    ck_assert_str_eq(command_misfit(command_find("ready"), &options), "--reason");
    ck_assert(parse("verify --pool sessions"));
    ck_assert_str_eq(options.pool, "sessions");
    ck_assert_ptr_null(command_misfit(command_find("verify"), &options));
    ck_assert_ptr_null(command_misfit(command_find("add"), &options));
    ck_assert_ptr_null(command_misfit(command_find("route"), &options));
    ck_assert_str_eq(command_misfit(command_find("drain"), &options), "--pool");
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("ctl_options");
    TCase *all = tcase_create("options");
    tcase_add_test(all, takes_hosts);
    tcase_add_test(all, takes_as_many_hosts_as_it_says);
    tcase_add_test(all, takes_options_before_and_after);
    tcase_add_loop_test(all, refuses, 0, COUNT(wrong));
    tcase_add_test(all, knows_its_commands);
    tcase_add_test(all, knows_what_does_not_fit);
    suite_add_tcase(suite, all);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
