/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Configuration files: every key of the table good and bad, places of errors, checks that look at
 * several keys, hostile texts, and the samples in etc/ (the test runs in the top folder).
 */
#include "config/key.h"
#include "everwarm/config/config.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A top-level object around TEXT, with the one thing that has no default. */
#define WITH_NODES(text) "{\"nodes\": [\"a:1\", \"b:1\"]" text "}"

static enum status load(const char *text, struct config **out, struct config_error *error)
{
    return config_load_text("test.json", text, strlen(text), out, error);
}

static struct config *load_good(const char *text)
{
    struct config *config = NULL;
    struct config_error error = {.line = 0};
    const enum status status = load(text, &config, &error);
    ck_assert_msg(status == STATUS_OK, "%s\n%zu:%zu: %s", text, error.line, error.column,
                  error.message);
    ck_assert_ptr_nonnull(config);
    return config;
}

static void assert_good(const char *text)
{
    struct config *config = load_good(text);
    config_destroy(&config);
    ck_assert_ptr_null(config);
}

static struct config_error load_bad(const char *text)
{
    struct config *config = NULL;
    struct config_error error = {.line = 0};
    ck_assert_msg(load(text, &config, &error) == STATUS_BAD_CONFIG, "accepted: %s", text);
    ck_assert_ptr_null(config);
    ck_assert_str_eq(error.path, "test.json");
    return error;
}

/* TEXT is refused at LINE:COLUMN with WORDS in the message. */
static void assert_bad(const char *text, size_t line, size_t column, const char *words)
{
    const struct config_error error = load_bad(text);
    ck_assert_msg(strstr(error.message, words) != NULL, "%s\nsays: %s\nnot:  %s", text,
                  error.message, words);
    ck_assert_msg(error.line == line && error.column == column, "%s\nat %zu:%zu, not %zu:%zu: %s",
                  text, error.line, error.column, line, column, error.message);
}

/* --- Every key of the table --- */

struct sample {
    enum key_scope scope;
    const char *path;
    const char *good;
    const char *wrong_type;
    const char *out_of_range; /* NULL: it has no range */
};

static const struct sample SAMPLES[] = {
    {KEY_SCOPE_ROOT, "listen", "[\"127.0.0.1:5\", \"unix:/s\"]", "5", "\"h:65536\""},
    {KEY_SCOPE_ROOT, "threads", "2", "\"2\"", "65"},
    {KEY_SCOPE_ROOT, "max_clients", "1", "1.5", "0"},
    {KEY_SCOPE_ROOT, "admin.listen", "\"[::1]:80\"", "80", "\"\""},
    {KEY_SCOPE_ROOT, "admin.socket", "\"/run/s\"", "[]", "\"\""},
    {KEY_SCOPE_ROOT, "admin.tokens", "\"/tokens\"", "1", "\"\""},
    {KEY_SCOPE_ROOT, "pools", "[{\"nodes\": [\"x:1\"]}]", "{}", "[]"},
    {KEY_SCOPE_ROOT, "limits.item", "\"2mb\"", "2", "\"2gb\""},
    {KEY_SCOPE_ROOT, "limits.memory", "\"1gb\"", "true", "\"1kb\""},
    {KEY_SCOPE_ROOT, "limits.client_output", "\"1mb\"", "{}", "\"1b\""},
    {KEY_SCOPE_ROOT, "limits.client_pipeline", "16", "null", "-1"},
    {KEY_SCOPE_ROOT, "limits.client_stall", "\"10s\"", "10", "\"1ms\""},
    {KEY_SCOPE_ROOT, "state_file", "\"/state\"", "7", "\"\""},
    {KEY_SCOPE_ROOT, "log.format", "\"json\"", "1", "\"xml\""},
    {KEY_SCOPE_ROOT, "log.level", "\"debug\"", "[]", "\"loud\""},
    {KEY_SCOPE_ROOT, "resp.listen", "null", "6379", "\"127.0.0.1:6379\""},
    {KEY_SCOPE_POOL, "name", "\"p-1\"", "1", "\"\""},
    {KEY_SCOPE_POOL, "listen", "\"127.0.0.1:6\"", "{}", "\"h:-1\""},
    {KEY_SCOPE_POOL, "nodes", "[\"x:1\"]", "\"x:1\"", "[]"},
    {KEY_SCOPE_POOL, "replicas", "\"all\"", "2", "\"some\""},
    {KEY_SCOPE_POOL, "distribution", "\"rendezvous\"", "1", "\"ketama\""},
    {KEY_SCOPE_POOL, "hash", "\"xxh3\"", "1", "\"md5\""},
    {KEY_SCOPE_POOL, "hash_tag", "null", "1", "\"{}\""},
    {KEY_SCOPE_POOL, "read", "\"spread\"", "1", "\"any\""},
    {KEY_SCOPE_POOL, "ack", "\"leader\"", "1", "\"none\""},
    {KEY_SCOPE_POOL, "miss_fallback", "\"always\"", "true", "\"sometimes\""},
    {KEY_SCOPE_POOL, "on_no_replica", "\"error\"", "1", "\"hit\""},
    {KEY_SCOPE_POOL, "timeouts.connect", "\"100ms\"", "100", "\"0\""},
    {KEY_SCOPE_POOL, "timeouts.request", "\"2s\"", "2", "\"1h\""},
    {KEY_SCOPE_POOL, "health.interval", "\"100ms\"", "0.1", "\"1us\""},
    {KEY_SCOPE_POOL, "health.timeout", "\"50ms\"", "[]", "\"1us\""},
    {KEY_SCOPE_POOL, "health.lease", "\"900ms\"", "1", "\"1ms\""},
    {KEY_SCOPE_POOL, "health.fall", "5", "\"5\"", "0"},
    {KEY_SCOPE_POOL, "health.rise", "1", "{}", "101"},
    {KEY_SCOPE_POOL, "health.hold_down_max", "\"2m\"", "2", "\"25h\""},
    {KEY_SCOPE_POOL, "split", "\"stop\"", "1", "\"go\""},
    {KEY_SCOPE_POOL, "last_copy", "\"keep\"", "1", "\"lose\""},
    {KEY_SCOPE_POOL, "fill.rate", "\"10mb\"", "0", "\"1025tb\""},
    {KEY_SCOPE_POOL, "fill.window", "64", "\"64\"", "1025"},
    {KEY_SCOPE_POOL, "fill.warm_for", "\"0\"", "0", "\"721h\""},
    {KEY_SCOPE_POOL, "settle.delay", "\"0\"", "0", "\"61s\""},
    {KEY_SCOPE_POOL, "verify.background", "false", "\"no\"", NULL},
    {KEY_SCOPE_POOL, "verify.rate", "\"1mb\"", "1", "\"1025tb\""},
    {KEY_SCOPE_NODE, "name", "\"n\"", "1", "\"\""},
    {KEY_SCOPE_NODE, "address", "\"unix:/n\"", "11211", "\"h:0\""},
    {KEY_SCOPE_NODE, "weight", "1", "\"1\"", "2"},
    {KEY_SCOPE_NODE, "zone", "\"z\"", "1", "\"\""},
};

static const size_t SAMPLE_COUNT = sizeof(SAMPLES) / sizeof(SAMPLES[0]);

/*
 * Write a configuration with one key of SAMPLE, spelt NAME, as VALUE on line 3, from column 2; what
 * is needed beside it stands on other lines.
 */
static void write_config(const struct sample *sample, const char *value, char suffix, char *out,
                         size_t size)
{
    const char *dot = strchr(sample->path, '.');
    const char *name = dot != NULL ? dot + 1 : sample->path;
    const int section = dot != NULL ? (int)(dot - sample->path) : 0;
    char member[256];
    (void)snprintf(member, sizeof(member), "\"%s%.1s\": %s", name, suffix == '\0' ? "" : &suffix,
                   value);
    char line[512];
    if (section > 0) {
        (void)snprintf(line, sizeof(line), "\"%.*s\": {\n %s}", section, sample->path, member);
    } else {
        (void)snprintf(line, sizeof(line), "\n %s", member);
    }
    const bool is_pools = strcmp(sample->path, "pools") == 0 && suffix == '\0';
    const bool is_nodes = strcmp(sample->path, "nodes") == 0 && suffix == '\0';
    const bool is_address = strcmp(sample->path, "address") == 0 && suffix == '\0';
    switch (sample->scope) {
    case KEY_SCOPE_ROOT:
        (void)snprintf(out, size, "{\n%s%s}", line,
                       is_pools ? "" : ", \"pools\": [{\"nodes\": [\"a:1\"]}]");
        break;
    case KEY_SCOPE_POOL:
        (void)snprintf(out, size, "{\"pools\": [{\n%s%s}]}", line,
                       is_nodes ? "" : ", \"nodes\": [\"a:1\"]");
        break;
    case KEY_SCOPE_NODE:
        (void)snprintf(out, size, "{\"nodes\": [{\n%s%s}]}", line,
                       is_address ? "" : ", \"address\": \"a:1\"");
        break;
    case KEY_SCOPE_COUNT:
        ck_abort();
    }
}

static const struct sample *find_sample(const struct key *key)
{
    for (size_t i = 0; i < SAMPLE_COUNT; i++) {
        if (SAMPLES[i].scope == key->scope && strcmp(SAMPLES[i].path, key->path) == 0) {
            return &SAMPLES[i];
        }
    }
    return NULL;
}

START_TEST(each_key_has_samples)
{
    size_t count = 0;
    const struct key *keys = key_table(&count);
    ck_assert_uint_eq(count, SAMPLE_COUNT);
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(find_sample(&keys[i]) != NULL, "no sample: %s", keys[i].path);
        ck_assert_ptr_nonnull(keys[i].help);
    }
}
END_TEST

/* Column of the value on line 3. */
static size_t value_column(const struct sample *sample)
{
    const char *dot = strchr(sample->path, '.');
    return strlen(dot != NULL ? dot + 1 : sample->path) + 6;
}

START_TEST(each_key_takes_its_good_value)
{
    char text[1024];
    write_config(&SAMPLES[_i], SAMPLES[_i].good, '\0', text, sizeof(text));
    assert_good(text);
}
END_TEST

START_TEST(each_key_refuses_a_bad_type)
{
    char text[1024];
    const struct sample *sample = &SAMPLES[_i];
    write_config(sample, sample->wrong_type, '\0', text, sizeof(text));
    assert_bad(text, 3, value_column(sample), sample->path);
}
END_TEST

START_TEST(each_key_refuses_what_is_out_of_range)
{
    char text[1024];
    const struct sample *sample = &SAMPLES[_i];
    if (sample->out_of_range != NULL) {
        write_config(sample, sample->out_of_range, '\0', text, sizeof(text));
        assert_bad(text, 3, value_column(sample), sample->path);
    }
}
END_TEST

START_TEST(each_key_misspelt_is_named)
{
    char text[1024];
    char words[128];
    const struct sample *sample = &SAMPLES[_i];
    const char *dot = strchr(sample->path, '.');
    write_config(sample, sample->good, 'x', text, sizeof(text));
    (void)snprintf(words, sizeof(words), "unknown key; did you mean \"%s\"?",
                   dot != NULL ? dot + 1 : sample->path);
    assert_bad(text, 3, 2, words);
}
END_TEST

/* --- Defaults and values --- */

START_TEST(defaults_are_those_of_the_design)
{
    struct config *config = load_good(WITH_NODES(""));
    const struct config_pool *pool = &config->pools[0];
    char text[ADDRESS_TEXT_BYTES_MAX];
    address_format(&pool->listen.items[0], text);
    ck_assert_str_eq(text, "127.0.0.1:11210");
    ck_assert_uint_eq(pool->listen.count, 1);
    address_format(&config->admin_listen, text);
    ck_assert_str_eq(text, "127.0.0.1:11280");
    ck_assert_uint_ge(config->threads_count, 1);
    ck_assert_uint_eq(config->max_clients_count, 10000);
    ck_assert_uint_eq(config->item_bytes, 1 << 20);
    ck_assert_uint_eq(config->memory_bytes, 256 << 20);
    ck_assert_uint_eq(config->client_output_bytes, 16 << 20);
    ck_assert_uint_eq(config->client_pipeline_count, 256);
    ck_assert_uint_eq(config->client_stall_us, 30000000);
    ck_assert_str_eq(config->state_file, "");
    ck_assert_int_eq(config->log_format, CONFIG_LOG_FORMAT_TEXT);
    ck_assert_int_eq(config->log_level, CONFIG_LOG_LEVEL_INFO);
    ck_assert_uint_eq(config->pool_count, 1);
    ck_assert_str_eq(pool->name, "main");
    ck_assert_int_eq(pool->on_no_replica, CONFIG_NO_REPLICA_MISS);
    ck_assert_int_eq(pool->last_copy, CONFIG_LAST_COPY_FLUSH);
    ck_assert_uint_eq(pool->connect_timeout_us, 200000);
    ck_assert_uint_eq(pool->request_timeout_us, 1500000);
    ck_assert_uint_eq(pool->health_interval_us, 200000);
    ck_assert_uint_eq(pool->health_timeout_us, 100000);
    ck_assert_uint_eq(pool->lease_us, 1000000);
    ck_assert_uint_eq(pool->health_fall_count, 3);
    ck_assert_uint_eq(pool->health_rise_count, 2);
    ck_assert_uint_eq(pool->hold_down_max_us, 60000000);
    ck_assert_uint_eq(pool->fill_rate_bytes, 0);
    ck_assert_uint_eq(pool->fill_window_count, 256);
    ck_assert_uint_eq(pool->warm_for_us, UINT64_C(600000000));
    ck_assert_uint_eq(pool->settle_delay_us, 20000);
    ck_assert(pool->is_verify_background);
    ck_assert_int_eq(pool->read, CONFIG_READ_LEADER);
    ck_assert_int_eq(pool->ack, CONFIG_ACK_ALL);
    ck_assert_int_eq(pool->miss_fallback, CONFIG_FALLBACK_AUTO);
    ck_assert_uint_eq(pool->verify_rate_bytes, 2 << 20);
    ck_assert_uint_eq(pool->node_count, 2);
    ck_assert_str_eq(pool->nodes[1].name, "b:1");
    ck_assert_uint_eq(pool->nodes[1].weight, 1);
    ck_assert_uint_eq(config->warning_count, 0);
    config_destroy(&config);
}
END_TEST

START_TEST(several_pools_are_read)
{
    struct config *config = load_good(
        "{\"listen\": \"h:1\", \"log\": {\"level\": \"error\"}, \"pools\": ["
        "{\"listen\": [\"h:2\"], \"nodes\": [{\"name\": \"n\", \"address\": \"[::1]\"}]},"
        "{\"name\": \"two\", \"listen\": \"h:3\", \"nodes\": [\"UNIX.example\", \"unix:/Sock\"],"
        " \"health\": {\"interval\": \"100ms\", \"rise\": 7}, \"on_no_replica\": \"error\"}]}");
    ck_assert_uint_eq(config->pool_count, 2);
    ck_assert_int_eq(config->log_level, CONFIG_LOG_LEVEL_ERROR);
    ck_assert_uint_eq(config->pools[0].listen.count, 2);
    ck_assert_uint_eq(config->pools[0].listen.items[0].port, 1);
    ck_assert_uint_eq(config->pools[0].listen.items[1].port, 2);
    ck_assert_str_eq(config->pools[0].nodes[0].address.host, "::1");
    ck_assert_uint_eq(config->pools[0].nodes[0].address.port, 11211);
    const struct config_pool *two = &config->pools[1];
    ck_assert_str_eq(two->nodes[0].name, "UNIX.example");
    ck_assert_str_eq(two->nodes[0].address.host, "unix.example");
    ck_assert_int_eq(two->nodes[1].address.kind, ADDRESS_UNIX);
    ck_assert_str_eq(two->nodes[1].address.host, "/Sock");
    ck_assert_uint_eq(two->lease_us, 500000);
    ck_assert_uint_eq(two->health_timeout_us, 50000);
    ck_assert_uint_eq(two->health_rise_count, 7);
    ck_assert_int_eq(two->on_no_replica, CONFIG_NO_REPLICA_ERROR);
    config_destroy(&config);
}
END_TEST

START_TEST(null_switches_off)
{
    struct config *config = load_good(WITH_NODES(", \"admin\": {\"listen\": null, \"socket\": "
                                                 "null, \"tokens\": null}, \"state_file\": null"));
    ck_assert_int_eq(config->admin_listen.kind, ADDRESS_NONE);
    ck_assert_str_eq(config->admin_socket, "");
    ck_assert_uint_eq(config->warning_count, 0);
    config_destroy(&config);
}
END_TEST

START_TEST(what_is_not_built_is_said)
{
    assert_bad(WITH_NODES(",\n\"distribution\": \"ketama\""), 2, 17,
               "distribution: \"ketama\" is not built yet in this release; use \"rendezvous\"");
    assert_bad(WITH_NODES(",\n\"replicas\": 2"), 2, 13, "shards are not built yet");
    assert_bad(WITH_NODES(",\n\"hash_tag\": \"{}\""), 2, 13, "hash tags are not built yet");
    assert_bad("{\"nodes\": [{\"address\": \"a\",\n \"weight\": 3}]}", 2, 12,
               "nodes[0].weight: weights are not built yet");
}
END_TEST

/* --- Places and words of errors --- */

START_TEST(places_count_characters_and_skip_comments)
{
    assert_bad("// first\n{ # \"nodes\": {\n\t\"nodes\": [\"a:1\"], // \"helth\"\n  \"helth\": 1}",
               4, 3, "helth: unknown key; did you mean \"health\"?");
    assert_bad("{\"nodes\": [{\"zone\": \"\\u00fcber\", \"adress\": \"a\"}]}", 1, 34,
               "nodes[0].adress: unknown key");
    assert_bad("{\"nodes\": [{\"name\": \"äöü\", \"adress\": \"a\"}]}", 1, 28,
               "nodes[0].adress: unknown key; did you mean \"address\"?");
    assert_bad("{\"nodes\": [\"a:1\", \"b:1\",\n [3]]}", 2, 2, "nodes[2]: must be an object or an");
    assert_bad("{\"pools\": [{\"nodes\": [\"a:1\"]}, {\"nodes\": [\"b:1\",\n {\"port\": 1}]}]}", 2,
               3, "pools[1].nodes[1].port: unknown key");
    /* The key is written with an escape; its brackets and quotes inside strings don't count. */
    assert_bad("{\"nodes\": [\"]\\\"}:1\", \"b\"], \"thr\\u0065ads\":\n99}", 2, 1, "threads: 99");
    assert_bad("{\"nodes\": [{\"address\": \"b\", \"zone\": \"}]\"}], \"thr\\u0065ads\":\n99}", 2,
               1, "threads: 99 is out of range; it may be 1 to 64");
}
END_TEST

START_TEST(comments_are_not_looked_for_in_strings)
{
    struct config *config = load_good("{\"nodes\": [\"unix:/a//b#c\", {\"name\": \"n\", "
                                      "\"address\": \"unix:/\\\"//\"}] // \"\n} # }");
    ck_assert_str_eq(config->pools[0].nodes[0].address.host, "/a//b#c");
    config_destroy(&config);
}
END_TEST

START_TEST(suggestions_know_other_sections)
{
    assert_bad(WITH_NODES(",\n\"interval\": \"1s\""), 2, 1, "did you mean \"health.interval\"?");
    assert_bad(WITH_NODES(",\n\"limits\": {\"itme\": \"1mb\"}"), 2, 12, "did you mean \"item\"?");
    assert_bad(WITH_NODES(",\n\"wholly_unlike\": 1"), 2, 1, "--help-config");
    assert_bad(WITH_NODES(",\n\"log\": {\"level\": \"warn\"}"), 2, 18, "did you mean \"warning\"?");
    assert_bad(WITH_NODES(",\n\"log\": \"info\""), 2, 8, "log: must be an object, not a string");
    assert_bad("{\"pools\": [{\"nodes\": [\"a\"]}],\n\"nodes\": [\"b\"]}", 2, 1, "\"pools\"");
}
END_TEST

START_TEST(values_say_what_is_right)
{
    assert_bad(WITH_NODES(",\n\"settle\": {\"delay\": \"20 ms\"}"), 2, 21,
               "settle.delay: \"20 ms\" is not a duration like \"250ms\"");
    assert_bad(WITH_NODES(",\n\"settle\": {\"delay\": 20}"), 2, 21,
               "must be a duration like \"250ms\" (us, ms, s, m, h), not a number");
    assert_bad(WITH_NODES(",\n\"settle\": {\"delay\": \"99999999999999999999h\"}"), 2, 21,
               "is not a duration");
    assert_bad(WITH_NODES(",\n\"settle\": {\"delay\": \"2h\"}"), 2, 21,
               "2h is out of range; it may be 0 to 1m");
    assert_bad(WITH_NODES(",\n\"threads\": -3"), 2, 12, "-3 is out of range; it may be 1 to 64");
    assert_bad(WITH_NODES(",\n\"threads\": 4294967298"), 2, 12, "out of range");
    assert_bad(WITH_NODES(",\n\"limits\": {\"item\": \"1MB\"}"), 2, 20, "is not a size like");
    assert_bad(WITH_NODES(",\n\"listen\": [\"h:1\", \"h:1\"]"), 2, 11, "\"h:1\" is listed twice");
    assert_bad(WITH_NODES(",\n\"listen\": [\"h:1\", 1]"), 2, 11, "must be addresses, not a number");
    assert_bad(WITH_NODES(",\n\"listen\": \"::1\""), 2, 11, "in brackets");
    assert_bad(WITH_NODES(",\n\"listen\": [1,2,3,4,5,6,7,8,9,10]"), 2, 11, "listen: ");
    assert_bad(WITH_NODES(",\n\"listen\": \"a\\u001b[31m\""), 2, 11, "\"a?[31m\"");
}
END_TEST

START_TEST(syntax_errors_have_a_place)
{
    ck_assert_uint_eq(load_bad("{\n\"nodes\": [\"a\",]\n}").line, 2);
    ck_assert_uint_eq(load_bad("").line, 1);
    ck_assert_uint_eq(load_bad("{\"nodes\": [\"a\"]}\n{}").line, 2);
    ck_assert_uint_eq(load_bad("{\"nodes\":\n\"a // no end\n}").line, 2);
    ck_assert_uint_eq(load_bad("{\"nodes\": [\"\xff\"]}").line, 1);
    const struct config_error twice =
        load_bad("{\"threads\": 1,\n\"nodes\": [\"a\"],\n\"threads\": 2}");
    ck_assert_uint_eq(twice.line, 3);
    ck_assert_ptr_nonnull(strstr(twice.message, "duplicate"));
    assert_bad("[1]", 1, 1, "a configuration is an object, { ... }, not an array");
    assert_bad("\n 7", 2, 2, "not a number");
    assert_bad("{}", 1, 1, "nodes: is missing");
    assert_bad("{\"pools\": [{}]}", 1, 12, "pools[0].nodes: is missing");
    assert_bad("{\"pools\":\n null}", 2, 2, "pools: must be an array, not null");
    assert_bad("{\"nodes\": [{}]}", 1, 12, "nodes[0]: has no \"address\"");
}
END_TEST

/* --- Checks that look at several keys --- */

START_TEST(times_must_fit)
{
    assert_bad(WITH_NODES(", \"health\": {\n\"timeout\": \"101ms\"}"), 2, 12,
               "health.timeout: must be at most half of health.interval, 100ms");
    assert_bad(WITH_NODES(", \"health\": {\n\"lease\": \"599ms\"}"), 2, 10,
               "must be at least 3 x health.interval, 600ms");
    assert_good(WITH_NODES(", \"health\": {\"lease\": \"600ms\"}"));
    assert_bad(WITH_NODES(", \"timeouts\": {\n\"request\": \"1400ms\"}"), 2, 12,
               "must be above health.lease + 2 x health.interval, 1400ms");
    assert_good(WITH_NODES(", \"timeouts\": {\"request\": \"1401ms\"}"));
    /* What is wrong is a default then: the place is the nearest thing that was written. */
    assert_bad(
        WITH_NODES(",\n\"timeouts\": {\"connect\": \"1s\"}, \"health\": {\"lease\": \"9s\"}"), 2,
        13, "timeouts.request: must be above");
    assert_bad(WITH_NODES(", \"timeouts\": {\n\"connect\": \"1500ms\"}"), 2, 12,
               "must be below timeouts.request");
}
END_TEST

START_TEST(memory_must_hold_items)
{
    assert_good(WITH_NODES(", \"threads\": 4, \"limits\": {\"memory\": \"16mb\"}"));
    assert_bad(WITH_NODES(", \"threads\": 4, \"limits\": {\"memory\":\n\"16383kb\"}"), 2, 1,
               "must hold 4 items (limits.item) for each of 4 threads: at least 16mb");
    assert_bad(WITH_NODES(", \"threads\": 1, \"limits\": {\"item\": \"32mb\"}"), 1, 51,
               "limits.client_output: must hold one item (limits.item): at least 32mb");
}
END_TEST

START_TEST(admin_stays_on_loopback)
{
    static const char *const good[] = {"127.0.0.1",   "127.9.9.9:80", "[::1]:1",
                                       "localhost:0", "unix:/a",      "[0:0:0:0:0:0:0:1]"};
    static const char *const bad[] = {
        "0.0.0.0:1", "10.0.0.1", "[::]:1", "127.0.0.1.example.com", "[::ffff:10.0.0.1]", "127.1"};
    char text[256];
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        (void)snprintf(text, sizeof(text), WITH_NODES(",\n\"admin\": {\"listen\": \"%s\"}"),
                       good[i]);
        assert_good(text);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(text, sizeof(text), WITH_NODES(",\n\"admin\": {\"listen\": \"%s\"}"),
                       bad[i]);
        assert_bad(text, 2, 21, "without tokens");
        (void)snprintf(text, sizeof(text),
                       WITH_NODES(",\n\"admin\": {\"listen\": \"%s\", \"tokens\": \"/t\"}"),
                       bad[i]);
        assert_good(text);
    }
    assert_bad(WITH_NODES(",\n\"admin\": {\"tokens\": \"t\"}"), 2, 21, "must be an absolute path");
}
END_TEST

START_TEST(names_and_addresses_are_unique)
{
    assert_bad("{\"nodes\": [\"a\", \"A:11211\"]}", 1, 17,
               "nodes[1].address: is the address of node \"a\" too");
    assert_bad("{\"nodes\": [{\"name\": \"n\", \"address\": \"a\"},\n"
               "{\"name\": \"n\", \"address\": \"b\"}]}",
               2, 10, "another node is called \"n\" too");
    assert_bad("{\"pools\": [{\"nodes\": [\"a\"]},\n"
               "{\"name\": \"q\", \"listen\": \"h:1\", \"nodes\": [\"b\", \"a\"]}]}",
               2, 47, "pools[1].nodes[1].address: is the address of node \"a\" too");
    assert_bad("{\"pools\": [{\"nodes\": [\"a\"]},\n{\"listen\": \"h:1\", \"nodes\": [\"b\"]}]}", 2,
               1, "another pool is called \"main\" too");
    assert_bad("{\"pools\": [{\"nodes\": [\"a\"]},\n{\"name\": \"q\", \"nodes\": [\"b\"]}]}", 2, 1,
               "pool \"q\" listens nowhere");
    assert_bad("{\"pools\": [{\"nodes\": [\"a\"]},\n"
               "{\"name\": \"q\", \"listen\": \"127.0.0.1\", \"nodes\": [\"b\"]}]}",
               2, 25, "127.0.0.1:11210 is what \"main\" listens on too");
    assert_bad(WITH_NODES(",\n\"listen\": \"127.0.0.1:11280\""), 2, 11, "\"admin\" listens on too");
    assert_bad("{\"pools\": [{\"listen\":\n\"127.0.0.1\", \"nodes\": [\"a\"]}]}", 2, 1,
               "top-level");
    assert_good("{\"listen\": [\"h:0\", \"h:0\"], \"nodes\": [\"a\"]}");
}
END_TEST

START_TEST(names_have_plain_characters)
{
    static const char *const bad[] = {"a b", "a\\\"b", "a,b", "a\\\\b", "\\u00e4", "\\n", ".."};
    char text[256];
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        (void)snprintf(text, sizeof(text), "{\"nodes\": [{\"address\": \"a\",\n\"name\": \"%s\"}]}",
                       bad[i]);
        assert_bad(text, 2, 9, "a node's name has no spaces");
    }
    assert_bad("{\"nodes\": [\"a\"],\n\"name\": \"a:b\"}", 2, 9, "a pool's name has only letters");
}
END_TEST

START_TEST(lists_have_limits)
{
    static char text[65536];
    for (unsigned count = NODES_MAX; count <= NODES_MAX + 1; count++) {
        size_t used = (size_t)snprintf(text, sizeof(text), "{\"nodes\":\n[");
        for (unsigned i = 0; i < count; i++) {
            used += (size_t)snprintf(text + used, sizeof(text) - used, "%s\"h%u\"",
                                     i == 0 ? "" : ",", i);
        }
        (void)snprintf(text + used, sizeof(text) - used, "]}");
        if (count == NODES_MAX) {
            assert_good(text);
        } else {
            assert_bad(text, 2, 1, "nodes: must have 1 to 32 entries, not 33");
        }
    }
    for (unsigned count = POOLS_MAX; count <= POOLS_MAX + 1; count++) {
        size_t used = (size_t)snprintf(text, sizeof(text), "{\"pools\":\n[");
        for (unsigned i = 0; i < count; i++) {
            /* As many warnings as pools can give. */
            used += (size_t)snprintf(text + used, sizeof(text) - used,
                                     "%s{\"name\": \"p%u\", \"listen\": \"h:%u\", \"nodes\": "
                                     "[\"h%u\"]}",
                                     i == 0 ? "" : ",", i, i + 1, i);
        }
        (void)snprintf(text + used, sizeof(text) - used, "]}");
        if (count == POOLS_MAX) {
            assert_good(text);
        } else {
            assert_bad(text, 2, 1, "pools: must have 1 to 16 entries, not 17");
        }
    }
    memset(text, 'h', 100);
    (void)snprintf(text + 100, sizeof(text) - 100, "\"]}");
    memcpy(text, "{\"nodes\": [\"", 12);
    assert_bad(text, 1, 12, "needs a \"name\"");
}
END_TEST

/* --- Hostile texts --- */

START_TEST(deep_texts_are_refused)
{
    enum { DEPTH = 100000, SHALLOW = 1000 };
    static const char head[] = "{\"nodes\": ";
    static char text[sizeof(head) + 5 * DEPTH];
    memcpy(text, head, sizeof(head) - 1);
    memset(text + sizeof(head) - 1, '[', DEPTH);
    (void)load_bad(text);
    for (size_t i = 0; i < DEPTH; i++) {
        memcpy(text + sizeof(head) - 1 + 5 * i, "{\"a\":", 5);
    }
    (void)load_bad(text);

    static const char unknown[] = "{\"nodes\": [\"a\"], \"zone\": ";
    memset(text, 0, sizeof(text));
    memcpy(text, unknown, sizeof(unknown) - 1);
    memset(text + sizeof(unknown) - 1, '[', SHALLOW);
    memset(text + sizeof(unknown) - 1 + SHALLOW, ']', SHALLOW);
    text[sizeof(unknown) - 1 + 2 * SHALLOW] = '}';
    assert_bad(text, 1, 18, "zone: unknown key");
}
END_TEST

START_TEST(every_prefix_and_every_changed_byte_ends)
{
    static const char text[] =
        "{ // c\n\"nodes\": [{\"name\": \"a\\u0062\", \"address\": \"h:1\"}, \"b\"],\n"
        "\"threads\": 2, # x\n\"limits\": {\"item\": \"1mb\"}, \"health\": {\"fall\": 3}}";
    static const char bytes[] = "\"\\{}[],:/#\n0-\x80 ";
    char changed[sizeof(text)];
    struct config_error error;
    for (size_t i = 0; i < sizeof(text) - 1; i++) {
        struct config *config = NULL;
        ck_assert_int_eq(config_load_text("t", text, i, &config, &error), STATUS_BAD_CONFIG);
        ck_assert_ptr_null(config);
        for (size_t b = 0; b < sizeof(bytes); b++) {
            memcpy(changed, text, sizeof(text));
            changed[i] = bytes[b];
            const enum status status =
                config_load_text("t", changed, sizeof(text) - 1, &config, &error);
            ck_assert(status == STATUS_OK || status == STATUS_BAD_CONFIG);
            ck_assert((status == STATUS_OK) == (config != NULL));
            config_destroy(&config);
        }
    }
}
END_TEST

/* --- Files --- */

START_TEST(samples_load)
{
    static const char *const samples[] = {"etc/minimal.json", "etc/production.json",
                                          "etc/magent.json"};
    struct config *config = NULL;
    struct config_error error = {.line = 0};
    const enum status status = config_load_file(samples[_i], &config, &error);
    if (status != STATUS_OK) {
        config_error_print(&error, stderr);
    }
    ck_assert_int_eq(status, STATUS_OK);
    config_destroy(&config);
}
END_TEST

/* production.json promises every key, with its default. */
START_TEST(production_has_every_key)
{
    FILE *file = fopen("etc/production.json", "r");
    ck_assert_ptr_nonnull(file);
    static char text[65536];
    const size_t len = fread(text, 1, sizeof(text) - 1, file);
    ck_assert_int_eq(fclose(file), 0);
    text[len] = '\0';
    size_t count = 0;
    const struct key *keys = key_table(&count);
    for (size_t i = 0; i < count; i++) {
        char name[64];
        const char *dot = strchr(keys[i].path, '.');
        (void)snprintf(name, sizeof(name), "\"%s\": ", dot != NULL ? dot + 1 : keys[i].path);
        ck_assert_msg(strstr(text, name) != NULL, "%s", keys[i].path);
    }
}
END_TEST

static enum status load_path(const char *path, struct config_error *error)
{
    struct config *config = NULL;
    const enum status status = config_load_file(path, &config, error);
    ck_assert_ptr_null(config);
    return status;
}

START_TEST(files_that_are_none_are_refused)
{
    struct config_error error;
    char printed[512] = "";
    ck_assert_int_eq(load_path("/nonexistent/x.json", &error), STATUS_SYSTEM);
    FILE *out = fmemopen(printed, sizeof(printed), "w");
    ck_assert_ptr_nonnull(out);
    config_error_print(&error, out);
    ck_assert_int_eq(fclose(out), 0);
    ck_assert_str_eq(printed, "/nonexistent/x.json: No such file or directory\n");
    ck_assert_int_eq(load_path("/", &error), STATUS_SYSTEM);
    ck_assert_int_eq(load_path("/dev/null", &error), STATUS_BAD_CONFIG);
    ck_assert_int_eq(load_path("/dev/zero", &error), STATUS_SYSTEM);
    ck_assert_ptr_nonnull(strstr(error.message, "larger than 4 MiB"));
}
END_TEST

START_TEST(a_huge_file_is_refused)
{
    char path[] = "/tmp/everwarm-config-XXXXXX";
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(ftruncate(fd, 64 << 20), 0);
    ck_assert_int_eq(close(fd), 0);
    struct config_error error;
    const enum status status = load_path(path, &error);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(status, STATUS_SYSTEM);
    ck_assert_str_eq(error.path, path);
}
END_TEST

START_TEST(help_names_every_key)
{
    static char text[65536];
    FILE *out = fmemopen(text, sizeof(text), "w");
    ck_assert_ptr_nonnull(out);
    config_help(out);
    ck_assert_int_eq(fclose(out), 0);
    size_t count = 0;
    const struct key *keys = key_table(&count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_ptr_nonnull(strstr(text, keys[i].path));
        ck_assert_ptr_nonnull(strstr(text, keys[i].help));
    }
}
END_TEST

static Suite *config_suite(void)
{
    Suite *suite = suite_create("config");
    TCase *keys = tcase_create("keys");
    tcase_add_test(keys, each_key_has_samples);
    tcase_add_loop_test(keys, each_key_takes_its_good_value, 0, (int)SAMPLE_COUNT);
    tcase_add_loop_test(keys, each_key_refuses_a_bad_type, 0, (int)SAMPLE_COUNT);
    tcase_add_loop_test(keys, each_key_refuses_what_is_out_of_range, 0, (int)SAMPLE_COUNT);
    tcase_add_loop_test(keys, each_key_misspelt_is_named, 0, (int)SAMPLE_COUNT);
    tcase_add_test(keys, defaults_are_those_of_the_design);
    tcase_add_test(keys, several_pools_are_read);
    tcase_add_test(keys, null_switches_off);
    tcase_add_test(keys, what_is_not_built_is_said);
    suite_add_tcase(suite, keys);
    TCase *errors = tcase_create("errors");
    tcase_add_test(errors, places_count_characters_and_skip_comments);
    tcase_add_test(errors, comments_are_not_looked_for_in_strings);
    tcase_add_test(errors, suggestions_know_other_sections);
    tcase_add_test(errors, values_say_what_is_right);
    tcase_add_test(errors, syntax_errors_have_a_place);
    suite_add_tcase(suite, errors);
    TCase *checks = tcase_create("checks");
    tcase_add_test(checks, times_must_fit);
    tcase_add_test(checks, memory_must_hold_items);
    tcase_add_test(checks, admin_stays_on_loopback);
    tcase_add_test(checks, names_and_addresses_are_unique);
    tcase_add_test(checks, names_have_plain_characters);
    tcase_add_test(checks, lists_have_limits);
    suite_add_tcase(suite, checks);
    TCase *texts = tcase_create("texts");
    tcase_set_timeout(texts, 60);
    tcase_add_test(texts, deep_texts_are_refused);
    tcase_add_test(texts, every_prefix_and_every_changed_byte_ends);
    tcase_add_loop_test(texts, samples_load, 0, 3);
    tcase_add_test(texts, production_has_every_key);
    tcase_add_test(texts, files_that_are_none_are_refused);
    tcase_add_test(texts, a_huge_file_is_refused);
    tcase_add_test(texts, help_names_every_key);
    suite_add_tcase(suite, texts);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(config_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
