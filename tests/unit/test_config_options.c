/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line: each flag, magent's command line, what can't go together, flags beside a file.
 */
#include "everwarm/config/config.h"
#include "everwarm/config/options.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    ARGS_MAX = 128,
};

/* A command line, split at spaces; its strings live as long as it. */
struct line {
    char text[2048];
    char *argv[ARGS_MAX];
    int argc;
};

static struct line *split(const char *text)
{
    struct line *line = calloc(1, sizeof(*line));
    ck_assert_ptr_nonnull(line);
    (void)snprintf(line->text, sizeof(line->text), "everwarm %s", text);
    char *rest = NULL;
    for (char *word = strtok_r(line->text, " ", &rest); word != NULL;
         word = strtok_r(NULL, " ", &rest)) {
        ck_assert_int_lt(line->argc, ARGS_MAX - 1);
        line->argv[line->argc++] = word;
    }
    return line;
}

static struct config *configure(const char *text, const char *const *local_addresses)
{
    struct line *line = split(text);
    struct options options;
    struct config_error error = {.line = 0};
    struct config *config = NULL;
    ck_assert_msg(options_parse(line->argc, line->argv, &options, &error) == STATUS_OK, "%s: %s",
                  text, error.message);
    ck_assert_msg(config_from_options(&options, local_addresses, &config, &error) == STATUS_OK,
                  "%s: %s", text, error.message);
    free(line);
    return config;
}

/* TEXT is refused, by options or by config, with WORDS. */
static void assert_bad(const char *text, const char *words)
{
    struct line *line = split(text);
    struct options options;
    struct config_error error = {.line = 7};
    struct config *config = NULL;
    enum status status = options_parse(line->argc, line->argv, &options, &error);
    if (status == STATUS_OK) {
        status = config_from_options(&options, NULL, &config, &error);
    }
    ck_assert_msg(status == STATUS_BAD_ARGUMENT, "accepted: %s", text);
    ck_assert_ptr_null(config);
    ck_assert_uint_eq(error.line, 0);
    ck_assert_str_eq(error.path, "");
    ck_assert_msg(strstr(error.message, words) != NULL, "%s\nsays: %s\nnot:  %s", text,
                  error.message, words);
    free(line);
}

static bool has_warning(const struct config *config, const char *words)
{
    for (size_t i = 0; i < config->warning_count; i++) {
        if (strstr(config->warnings[i], words) != NULL) {
            return true;
        }
    }
    return false;
}

static void assert_address(const struct address *address, const char *wanted)
{
    char text[ADDRESS_TEXT_BYTES_MAX];
    address_format(address, text);
    ck_assert_str_eq(text, wanted);
}

START_TEST(magents_command_line_works)
{
    struct config *config = configure("-u root -n 51200 -l 10.0.0.1 -p 12000 -s a:11211 "
                                      "-b c:11211 -s b:11211 -i 20 -k",
                                      NULL);
    const struct config_pool *pool = &config->pools[0];
    ck_assert_str_eq(pool->name, "main");
    ck_assert_uint_eq(pool->node_count, 3);
    ck_assert_str_eq(pool->nodes[0].name, "a:11211");
    ck_assert_str_eq(pool->nodes[1].name, "b:11211");
    ck_assert_str_eq(pool->nodes[2].name, "c:11211");
    ck_assert_uint_eq(pool->listen.count, 1);
    assert_address(&pool->listen.items[0], "10.0.0.1:12000");
    ck_assert_uint_eq(config->max_clients_count, 51200);
    ck_assert(has_warning(config, "every key is on every node"));
    ck_assert(has_warning(config, "foreground"));
    ck_assert(has_warning(config, "-b: "));
    ck_assert(has_warning(config, "-k: "));
    ck_assert(has_warning(config, "-i: "));
    ck_assert(!has_warning(config, "11210"));
    ck_assert(!has_warning(config, "127.0.0.1"));
    config_destroy(&config);
}
END_TEST

START_TEST(flags_alone_get_the_defaults)
{
    struct config *config = configure("-s a -s unix:/b", NULL);
    const struct config_pool *pool = &config->pools[0];
    ck_assert_uint_eq(pool->listen.count, 1);
    assert_address(&pool->listen.items[0], "127.0.0.1:11210");
    assert_address(&config->admin_listen, "127.0.0.1:11280");
    assert_address(&pool->nodes[0].address, "a:11211");
    assert_address(&pool->nodes[1].address, "unix:/b");
    ck_assert_uint_eq(pool->lease_us, 1000000);
    ck_assert_int_eq(config->log_level, CONFIG_LOG_LEVEL_INFO);
    ck_assert(has_warning(config, "127.0.0.1"));
    ck_assert(has_warning(config, "11210"));
    config_destroy(&config);
}
END_TEST

START_TEST(each_flag_has_its_effect)
{
    struct config *config = configure("-s a -l [::1] -l h:7 -l h -p 9 -f /s -n 5 -t 3 -A off -v "
                                      "--log-format json -D",
                                      NULL);
    const struct address_list *listen = &config->pools[0].listen;
    ck_assert_uint_eq(listen->count, 4);
    assert_address(&listen->items[0], "[::1]:9");
    assert_address(&listen->items[1], "h:7");
    assert_address(&listen->items[2], "h:9");
    assert_address(&listen->items[3], "unix:/s");
    ck_assert_uint_eq(config->max_clients_count, 5);
    ck_assert_uint_eq(config->threads_count, 3);
    ck_assert_int_eq(config->admin_listen.kind, ADDRESS_NONE);
    ck_assert_int_eq(config->log_level, CONFIG_LOG_LEVEL_DEBUG);
    ck_assert_int_eq(config->log_format, CONFIG_LOG_FORMAT_JSON);
    ck_assert_uint_eq(config->warning_count, 0);
    config_destroy(&config);

    config = configure("-s a -p 0 -f /s --admin [::1]:1", NULL);
    ck_assert_uint_eq(config->pools[0].listen.count, 1);
    assert_address(&config->pools[0].listen.items[0], "unix:/s");
    assert_address(&config->admin_listen, "[::1]:1");
    config_destroy(&config);
}
END_TEST

START_TEST(options_are_told_as_typed)
{
    struct line *line = split("-u www -g 33 --daemon -vv --test-config -c f");
    struct options options;
    struct config_error error;
    ck_assert_int_eq(options_parse(line->argc, line->argv, &options, &error), STATUS_OK);
    ck_assert_str_eq(options.user, "www");
    ck_assert_str_eq(options.group, "33");
    ck_assert(options.is_daemon);
    ck_assert_uint_eq(options.verbose_count, 2);
    ck_assert_int_eq(options.action, OPTIONS_TEST_CONFIG);
    ck_assert_str_eq(options.config_path, "f");
    free(line);
}
END_TEST

START_TEST(help_and_version_need_nothing_else)
{
    static const struct {
        const char *text;
        enum options_action action;
    } cases[] = {
        {"-h", OPTIONS_HELP},
        {"--help -x", OPTIONS_HELP},
        {"-V", OPTIONS_VERSION},
        {"--version", OPTIONS_VERSION},
        {"--help-config", OPTIONS_HELP_CONFIG},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct line *line = split(cases[i].text);
        struct options options;
        struct config_error error;
        ck_assert_int_eq(options_parse(line->argc, line->argv, &options, &error), STATUS_OK);
        ck_assert_int_eq(options.action, cases[i].action);
        free(line);
    }
}
END_TEST

START_TEST(local_nodes_get_the_addresses_passed_in)
{
    static const char *const addresses[] = {"127.0.0.1:40001", "127.0.0.1:40002"};
    struct config *config = configure("--local 2 -p 0 -f /s", addresses);
    ck_assert_uint_eq(config->pools[0].node_count, 2);
    assert_address(&config->pools[0].nodes[1].address, "127.0.0.1:40002");
    ck_assert_uint_eq(config->warning_count, 0);
    config_destroy(&config);
}
END_TEST

START_TEST(bad_flags_are_explained)
{
    assert_bad("-s a -x", "-x is no flag of everwarm; try everwarm --help");
    assert_bad("-s a --tst-config", "did you mean --test-config?");
    assert_bad("-s a --zzzzzzzzzz=1", "--zzzzzzzzzz is no flag of everwarm; try");
    assert_bad("--he", "--he is no flag");
    assert_bad("-s a --daemon=1", "--daemon");
    assert_bad("-s a -p", "-p needs a value");
    assert_bad("--local", "--local needs a value");
    assert_bad("-s a b", "\"b\" belongs to no flag");
    assert_bad("", "no nodes: give -s");
    assert_bad("-b a", "-b needs a -s");
    assert_bad("-s a -c f", "not from both");
    assert_bad("--local 2 -c f", "not from both");
    assert_bad("--local 2 -s a", "not from both");
    assert_bad("--local 0", "must be 1 to 16");
    assert_bad("--local 17", "must be 1 to 16");
    assert_bad("--local two", "must be 1 to 16");
    assert_bad("--local 2 --test-config", "--test-config");
    assert_bad("-s a -D --daemon", "contradict");
    assert_bad("-s a -l 1 -l 2 -l 3 -l 4 -l 5 -l 6 -l 7 -l 8 -l 9", "more than 8");
    assert_bad("-s a -l 1 -l 2 -l 3 -l 4 -l 5 -l 6 -l 7 -l 8 -f /s", "more than 8");
}
END_TEST

START_TEST(bad_values_are_explained)
{
    assert_bad("-s a:0", "can't be 0");
    assert_bad("-s a:99999", "-s \"a:99999\": the port must be a number from 0 to 65535");
    assert_bad("-s ::1", "-s \"::1\": an IPv6 address goes in brackets");
    assert_bad("-s a -s b -b a", "is the address of node \"a\" too");
    assert_bad("-s a -p http", "-p \"http\" must be a port");
    assert_bad("-s a -p 65536", "-p \"65536\" must be a port");
    assert_bad("-s a -p 0", "-p 0: nothing is left to listen on");
    assert_bad("-s a -p 0 -l h", "-p 0: nothing is left to listen on");
    assert_bad("-s a -n 0", "-n 0 is out of range; it may be 1 to 1000000");
    assert_bad("-s a -n many", "-n \"many\" is not a whole number");
    assert_bad("-s a -t 65", "-t 65 is out of range");
    assert_bad("-s a -f s", "absolute path");
    assert_bad("-s a -A 0.0.0.0", "without tokens");
    assert_bad("-s a --log-format xml", "--log-format \"xml\" must be \"text\" or \"json\"");
    assert_bad("-s a -l h -l h", "-l h: is listened on already");
}
END_TEST

START_TEST(nodes_have_a_limit)
{
    char text[1024] = "";
    size_t used = 0;
    for (unsigned i = 0; i < NODES_MAX; i++) {
        used += (size_t)snprintf(text + used, sizeof(text) - used, "-s h%u ", i);
    }
    struct config *config = configure(text, NULL);
    ck_assert_uint_eq(config->pools[0].node_count, NODES_MAX);
    config_destroy(&config);
    (void)snprintf(text + used, sizeof(text) - used, "-b h");
    assert_bad(text, "more than 32 nodes");
}
END_TEST

START_TEST(flags_go_before_the_file)
{
    static const char file[] = "{\"nodes\": [\"a\"], \"listen\": [\"h:1\", \"g:1\", \"unix:/s\"],"
                               "\"threads\": 2, \"log\": {\"level\": \"error\"}}";
    char path[] = "/tmp/everwarm-options-XXXXXX";
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, file, sizeof(file) - 1), sizeof(file) - 1);
    ck_assert_int_eq(close(fd), 0);
    char text[256];

    (void)snprintf(text, sizeof(text), "-c %s", path);
    struct config *plain = configure(text, NULL);
    (void)snprintf(text, sizeof(text), "-c %s -p 5 -t 1 -n 9 -A off -f /t", path);
    struct config *ports = configure(text, NULL);
    (void)snprintf(text, sizeof(text), "-c %s -l k -v", path);
    struct config *hosts = configure(text, NULL);
    (void)snprintf(text, sizeof(text), "-c %s -p 0", path);
    struct config *none = configure(text, NULL);
    ck_assert_int_eq(unlink(path), 0);

    ck_assert_uint_eq(plain->pools[0].listen.count, 3);
    ck_assert_uint_eq(plain->threads_count, 2);
    ck_assert_int_eq(plain->log_level, CONFIG_LOG_LEVEL_ERROR);
    ck_assert_uint_eq(plain->warning_count, 0);
    ck_assert_uint_eq(ports->pools[0].listen.count, 3);
    assert_address(&ports->pools[0].listen.items[0], "h:5");
    assert_address(&ports->pools[0].listen.items[1], "g:5");
    assert_address(&ports->pools[0].listen.items[2], "unix:/t");
    ck_assert_uint_eq(ports->threads_count, 1);
    ck_assert_uint_eq(ports->max_clients_count, 9);
    ck_assert_int_eq(ports->admin_listen.kind, ADDRESS_NONE);
    ck_assert_uint_eq(hosts->pools[0].listen.count, 2);
    assert_address(&hosts->pools[0].listen.items[0], "unix:/s");
    assert_address(&hosts->pools[0].listen.items[1], "k:11210");
    ck_assert_int_eq(hosts->log_level, CONFIG_LOG_LEVEL_DEBUG);
    ck_assert_uint_eq(none->pools[0].listen.count, 1);
    config_destroy(&plain);
    config_destroy(&ports);
    config_destroy(&hosts);
    config_destroy(&none);
}
END_TEST

START_TEST(help_names_every_flag)
{
    static const char *const flags[] = {
        "-s ",           "-b ",         "-l ",          "-p ",          "-f ",           "-n ",
        "-t ",           "-A, --admin", "-c ",          "--local ",     "--test-config", "-u ",
        "-g ",           "-k ",         "-D ",          "--daemon",     "-i ",           "-v ",
        "-V, --version", "-h, --help",  "--log-format", "--help-config"};
    static char text[16384];
    FILE *out = fmemopen(text, sizeof(text), "w");
    ck_assert_ptr_nonnull(out);
    options_help(out);
    ck_assert_int_eq(fclose(out), 0);
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        char wanted[32];
        (void)snprintf(wanted, sizeof(wanted), "\n  %s", flags[i]);
        ck_assert_msg(strstr(text, wanted) != NULL, "%s", flags[i]);
    }
    for (const char *line = text; *line != '\0'; line = strchr(line, '\n') + 1) {
        ck_assert_uint_le(strcspn(line, "\n"), 80);
    }
}
END_TEST

static Suite *options_suite(void)
{
    Suite *suite = suite_create("config options");
    TCase *flags = tcase_create("flags");
    tcase_add_test(flags, magents_command_line_works);
    tcase_add_test(flags, flags_alone_get_the_defaults);
    tcase_add_test(flags, each_flag_has_its_effect);
    tcase_add_test(flags, options_are_told_as_typed);
    tcase_add_test(flags, help_and_version_need_nothing_else);
    tcase_add_test(flags, local_nodes_get_the_addresses_passed_in);
    tcase_add_test(flags, bad_flags_are_explained);
    tcase_add_test(flags, bad_values_are_explained);
    tcase_add_test(flags, nodes_have_a_limit);
    tcase_add_test(flags, flags_go_before_the_file);
    tcase_add_test(flags, help_names_every_flag);
    suite_add_tcase(suite, flags);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(options_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
