/* SPDX-License-Identifier: BSD-2-Clause */
/* A configuration shown, compared and patched: what is shown can be read again, and is the same. */
#include "config/key.h"
#include "everwarm/config/diff.h"
#include "everwarm/config/options.h"
#include "everwarm/config/show.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct config *load(const char *text)
{
    struct config *config = NULL;
    struct config_error error;
    ck_assert_msg(config_load_text("t.json", text, strlen(text), &config, &error) == STATUS_OK,
                  "%s: %s", text, error.message);
    return config;
}

static const char FLAT[] =
    "{\"nodes\": [\"a:1\", {\"address\": \"b:2\", \"zone\": \"z\"}],\n"
    "\"listen\": [\"127.0.0.1:5\", \"unix:/s\"], \"health\": {\"fall\": 4},\n"
    "\"admin\": {\"listen\": null, \"socket\": \"/a\"}, \"fill\": {\"rate\": \"3kb\"}}";
static const char POOLS[] =
    "{\"listen\": \"127.0.0.1:5\", \"log\": {\"format\": \"json\"}, \"pools\": [\n"
    "{\"name\": \"p\", \"listen\": \"127.0.0.1:6\", \"nodes\": [\"a:1\"]},\n"
    "{\"name\": \"q\", \"listen\": \"[::1]:7\", \"nodes\": [\"c:1\", \"d:1\"],"
    " \"on_no_replica\": \"error\"}]}";

START_TEST(what_is_shown_can_be_read_again)
{
    static const char *const TEXTS[] = {FLAT, POOLS, "{\"nodes\": [\"x\"]}"};
    struct diff_change changes[4];
    for (size_t i = 0; i < sizeof(TEXTS) / sizeof(TEXTS[0]); i++) {
        struct config *config = load(TEXTS[i]);
        json_t *json = show_config(config);
        char *text = json_dumps(json, 0);
        struct config *again = load(text);
        const size_t count = diff_configs(config, again, changes, 4);
        ck_assert_msg(count == 0, "%s: %s became %s", changes[0].path, changes[0].from,
                      changes[0].to);
        free(text);
        json_decref(json);
        config_destroy(&config);
        config_destroy(&again);
    }
}
END_TEST

static const char *source_of(const json_t *sources, const char *path)
{
    const char *word = json_string_value(json_object_get(json_object_get(sources, path), "source"));
    ck_assert_msg(word != NULL, "%s", path);
    return word;
}

START_TEST(each_value_has_its_source)
{
    struct config *config = load(FLAT);
    json_t *sources = show_sources(config);
    ck_assert_str_eq(source_of(sources, "health.fall"), "file");
    ck_assert_str_eq(source_of(sources, "health.rise"), "default");
    ck_assert_str_eq(source_of(sources, "nodes[0].address"), "file");
    ck_assert_str_eq(source_of(sources, "nodes[0].zone"), "default");
    ck_assert_str_eq(source_of(sources, "nodes[1].zone"), "file");
    json_decref(sources);
    config_destroy(&config);
    config = load(POOLS);
    sources = show_sources(config);
    ck_assert_str_eq(source_of(sources, "pools[1].on_no_replica"), "file");
    ck_assert_str_eq(source_of(sources, "pools[0].on_no_replica"), "default");
    json_decref(sources);
    config_destroy(&config);
}
END_TEST

START_TEST(flags_are_told_as_flags)
{
    char words[][9] = {"everwarm", "-s", "a:1", "-p", "9", "-A", "off"};
    char *argv[] = {words[0], words[1], words[2], words[3], words[4], words[5], words[6]};
    struct options options;
    struct config *config = NULL;
    struct config_error error;
    ck_assert_int_eq(options_parse(7, argv, &options, &error), STATUS_OK);
    ck_assert_int_eq(config_from_options(&options, NULL, &config, &error), STATUS_OK);
    json_t *sources = show_sources(config);
    ck_assert_str_eq(source_of(sources, "listen"), "flag");
    ck_assert_str_eq(source_of(sources, "admin.listen"), "flag");
    ck_assert_str_eq(source_of(sources, "nodes[0].address"), "flag");
    ck_assert_str_eq(source_of(sources, "threads"), "default");
    json_decref(sources);
    config_destroy(&config);
}
END_TEST

START_TEST(changes_are_told_key_by_key)
{
    struct config *from = load(FLAT);
    struct config *to =
        load("{\"nodes\": [\"a:1\", \"b:3\"], \"listen\": [\"127.0.0.1:5\", "
             "\"unix:/s\"], \"health\": {\"fall\": 5}, \"fill\": {\"rate\": \"3kb\"},"
             "\"admin\": {\"listen\": null, \"socket\": \"/a\"}, \"threads\": 63}");
    struct diff_change changes[8];
    ck_assert_uint_eq(diff_configs(from, to, changes, 8), 5);
    ck_assert_str_eq(changes[0].path, "threads");
    ck_assert(!changes[0].is_live);
    ck_assert_str_eq(changes[1].path, "health.fall");
    ck_assert(changes[1].is_live);
    ck_assert_str_eq(changes[1].from, "4");
    ck_assert_str_eq(changes[1].to, "5");
    ck_assert_str_eq(changes[2].path, "nodes[1].name");
    ck_assert_str_eq(changes[3].path, "nodes[1].address");
    ck_assert_str_eq(changes[3].to, "\"b:3\"");
    ck_assert_str_eq(changes[4].path, "nodes[1].zone");
    ck_assert_uint_eq(diff_configs(from, to, changes, 2), 5); /* counted past the room */
    diff_take_live(from, to);
    ck_assert_uint_eq(diff_configs(from, to, changes, 8), 4);
    ck_assert_uint_eq(from->pools[0].health_fall_count, 5);
    ck_assert_uint_ne(from->threads_count, 63);
    config_destroy(&to);
    to = load("{\"nodes\": [\"a:1\"]}");
    ck_assert_uint_eq(diff_configs(from, to, changes, 8), 1);
    ck_assert_str_eq(changes[0].path, "pools[0].nodes");
    ck_assert(!changes[0].is_live);
    config_destroy(&to);
    config_destroy(&from);
}
END_TEST

static struct config *patched(const struct config *config, const char *text)
{
    struct config *out = NULL;
    struct config_error error;
    json_t *patch = json_loads(text, 0, NULL);
    ck_assert_msg(show_patch(config, patch, &out, &error) == STATUS_OK, "%s: %s", text,
                  error.message);
    json_decref(patch);
    return out;
}

START_TEST(a_patch_is_merged_and_checked)
{
    struct config *config = load(FLAT);
    struct config *fresh = patched(
        config, "{\"health\": {\"fall\": null, \"rise\": 9}, \"log\": {\"level\": \"debug\"}}");
    ck_assert_uint_eq(fresh->pools[0].health_fall_count, 3); /* the default */
    ck_assert_uint_eq(fresh->pools[0].health_rise_count, 9);
    ck_assert_int_eq(fresh->log_level, CONFIG_LOG_LEVEL_DEBUG);
    ck_assert_uint_eq(fresh->pools[0].fill_rate_bytes, 3072);
    json_t *sources = show_sources(fresh);
    ck_assert_str_eq(source_of(sources, "health.rise"), "patch");
    ck_assert_str_eq(source_of(sources, "fill.rate"), "file");
    ck_assert_str_eq(source_of(sources, "threads"), "default");
    json_decref(sources);
    /* A second patch leaves the first one's marks. */
    struct config *second = patched(fresh, "{\"fill\": {\"rate\": \"1mb\"}}");
    sources = show_sources(second);
    ck_assert_str_eq(source_of(sources, "health.rise"), "patch");
    ck_assert_str_eq(source_of(sources, "fill.rate"), "patch");
    json_decref(sources);
    static const char *const BAD[] = {"{\"helth\": {}}", "{\"health\": {\"fall\": 0}}",
                                      "{\"health\": 1}", "{\"nodes\": []}", "{\"nodes\": null}"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        struct config *none = NULL;
        struct config_error error;
        json_t *patch = json_loads(BAD[i], 0, NULL);
        ck_assert_int_eq(show_patch(config, patch, &none, &error), STATUS_BAD_CONFIG);
        ck_assert_ptr_null(none);
        json_decref(patch);
    }
    config_destroy(&second);
    config_destroy(&fresh);
    config_destroy(&config);
}
END_TEST

static const char TWO[] = "{\"pools\": [{\"name\": \"one\", \"nodes\": [\"a:1\"]},"
                          "{\"name\": \"two\", \"nodes\": [\"b:1\", \"c:1\"],"
                          " \"listen\": \"127.0.0.1:7\", \"settle\": {\"delay\": \"9ms\"}}]}";
static const char OTHERS[] =
    "{\"pools\": [{\"name\": \"three\", \"nodes\": [\"d:1\"]},"
    "{\"name\": \"two\", \"nodes\": [\"b:1\", \"c:1\"], \"listen\": \"127.0.0.1:8\"}]}";

/* Pools are known by their names, wherever they stand. */
START_TEST(pools_come_and_go)
{
    struct config *from = load(TWO);
    struct config *to = load(OTHERS);
    struct config *aligned = malloc(sizeof(*aligned));
    struct diff_change changes[8];
    ck_assert_ptr_nonnull(aligned);
    ck_assert_uint_eq(diff_pools(from, to, changes, 8), 2);
    ck_assert_str_eq(changes[0].path, "pools[three]");
    ck_assert_str_eq(changes[0].from, "null");
    ck_assert_str_eq(changes[0].to, "\"1 node\"");
    ck_assert_str_eq(changes[1].path, "pools[one]");
    ck_assert_str_eq(changes[1].to, "null");
    ck_assert(changes[0].is_live && changes[1].is_live);
    diff_align_pools(from, to, aligned);
    ck_assert_uint_eq(diff_configs(aligned, to, changes, 8), 2);
    ck_assert_str_eq(changes[0].path, "pools[1].listen");
    ck_assert_str_eq(changes[1].path, "pools[1].settle.delay");
    ck_assert(changes[0].is_live && changes[1].is_live);
    diff_take_live(aligned, to);
    ck_assert_uint_eq(diff_configs(aligned, to, changes, 8), 0);
    ck_assert_uint_eq(aligned->pools[1].listen.items[0].port, 8);
    ck_assert_uint_eq(diff_pools(aligned, to, changes, 8), 0);
    config_destroy(&aligned);
    config_destroy(&to);
    config_destroy(&from);
}
END_TEST

/* What a check holds together changes together, or waits for the restart together. */
START_TEST(tied_keys_wait_for_each_other)
{
    struct config *from = load("{\"nodes\": [\"a:1\"], \"max_clients\": 100}");
    struct config *to = load("{\"nodes\": [\"a:1\"], \"max_clients\": 65536,"
                             "\"timeouts\": {\"request\": \"9s\"}, \"ack\": \"leader\","
                             "\"verify\": {\"background\": false}}");
    struct diff_change changes[8];
    ck_assert_uint_eq(diff_configs(from, to, changes, 8), 4);
    for (size_t i = 0; i < 4; i++) {
        ck_assert_msg(changes[i].is_live, "%s", changes[i].path);
    }
    diff_take_live(from, to);
    ck_assert_uint_eq(diff_configs(from, to, changes, 8), 0);
    config_destroy(&to);
    to = load("{\"nodes\": [\"a:1\"], \"max_clients\": 65537,"
              "\"timeouts\": {\"request\": \"700ms\", \"connect\": \"100ms\"},"
              "\"health\": {\"interval\": \"80ms\"},"
              "\"limits\": {\"item\": \"64kb\", \"client_output\": \"64kb\"}}");
    static const char *const WAITING[] = {
        "max_clients",      "limits.item",     "limits.client_output", "timeouts.connect",
        "timeouts.request", "health.interval", "health.timeout",       "health.lease"};
    struct diff_change all[16];
    const size_t count = diff_configs(from, to, all, 16);
    for (size_t i = 0; i < sizeof(WAITING) / sizeof(WAITING[0]); i++) {
        size_t at = 0;
        while (at < count && strcmp(all[at].path, WAITING[i]) != 0) {
            at++;
        }
        ck_assert_msg(at < count && !all[at].is_live, "%s", WAITING[i]);
    }
    diff_take_live(from, to);
    ck_assert_uint_eq(from->max_clients_count, 65536);
    ck_assert_uint_eq(from->client_output_bytes, 16 << 20);
    ck_assert_uint_eq(from->pools[0].request_timeout_us, 9000000);
    ck_assert_int_eq(from->pools[0].ack, CONFIG_ACK_ALL);
    config_destroy(&to);
    config_destroy(&from);
}
END_TEST

/* diff_take_live copies these whole; texts would need more. */
START_TEST(live_keys_are_of_a_fixed_size)
{
    size_t count = 0;
    size_t live = 0;
    const struct key *keys = key_table(&count);
    for (size_t i = 0; i < count; i++) {
        live += keys[i].is_live;
        ck_assert(!keys[i].is_live ||
                  (keys[i].offset != KEY_NOT_STORED &&
                   (keys[i].type <= KEY_TYPE_FLAG || keys[i].type == KEY_TYPE_CHOICE ||
                    keys[i].type == KEY_TYPE_LISTENERS)));
    }
    ck_assert_uint_ge(live, 10);
}
END_TEST

static Suite *show_suite(void)
{
    Suite *suite = suite_create("config show");
    TCase *all = tcase_create("all");
    tcase_add_test(all, what_is_shown_can_be_read_again);
    tcase_add_test(all, each_value_has_its_source);
    tcase_add_test(all, flags_are_told_as_flags);
    tcase_add_test(all, changes_are_told_key_by_key);
    tcase_add_test(all, a_patch_is_merged_and_checked);
    tcase_add_test(all, pools_come_and_go);
    tcase_add_test(all, tied_keys_wait_for_each_other);
    tcase_add_test(all, live_keys_are_of_a_fixed_size);
    suite_add_tcase(suite, all);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(show_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
