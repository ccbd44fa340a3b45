/* SPDX-License-Identifier: BSD-2-Clause */
/* What everwarmctl prints: text, tables, and events out of a stream. */
#include "ctl/session.h"
#include "ctl/stream.h"
#include "ctl/table.h"
#include "ctl/text.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct pair {
    const char *in;
    const char *out;
};

static const struct pair dirty[] = {
    {"plain", "plain"},
    {"", ""},
    {"a\x1b[2Jb", "a?[2Jb"},
    {"a\tb\r\nc\x7f", "a?b??c?"},
    {"k\xc3\xb6ln", "k\xc3\xb6ln"},
    {"\xe8\x8a\x82\xe7\x82\xb9", "\xe8\x8a\x82\xe7\x82\xb9"},
    {"\xc3", "?"},                /* cut in the middle of a character */
    {"\xc0\x80x", "??x"},         /* overlong */
    {"\xed\xa0\x80", "???"},      /* surrogate */
    {"\xc2\x9b[2J", "?[2J"},      /* C1: the terminal's other escape */
    {"\xe2\x80\xae!", "?!"},      /* turns the direction of writing */
    {"\xf4\x90\x80\x80", "????"}, /* above U+10FFFF */
    {"<script>", "<script>"},
};

START_TEST(cleans)
{
    char out[TEXT_BYTES_MAX];
    text_clean(dirty[_i].in, out, sizeof(out));
    ck_assert_str_eq(out, dirty[_i].out);
}
END_TEST

START_TEST(cuts_at_a_character)
{
    char out[4];
    text_clean("ab\xc3\xb6", out, sizeof(out));
    ck_assert_str_eq(out, "ab");
    text_clean("a\xc3\xb6", out, sizeof(out));
    ck_assert_str_eq(out, "a\xc3\xb6");
}
END_TEST

START_TEST(measures)
{
    ck_assert_uint_eq(text_width("abc"), 3);
    ck_assert_uint_eq(text_width("k\xc3\xb6ln"), 4);
    ck_assert_uint_eq(text_width("\xe8\x8a\x82\xe7\x82\xb9"), 4);
    ck_assert_uint_eq(text_width("e\xcc\x81"), 1); /* a letter and its accent */
}
END_TEST

START_TEST(says_times_and_sizes)
{
    static const struct {
        double seconds;
        const char *text;
    } latencies[] = {{0, "0.00ms"},       {0.00028, "0.28ms"}, {0.009994, "9.99ms"},
                     {0.00999, "9.99ms"}, {0.0123, "12.3ms"},  {0.25, "250ms"},
                     {0.9999, "1.0s"},    {12.34, "12.3s"}};
    static const struct {
        uint64_t number;
        const char *duration;
        const char *bytes;
    } numbers[] = {{0, "0s", "0B"},
                   {59, "59s", "59B"},
                   {60, "1m0s", "60B"},
                   {3599, "59m59s", "3.5KiB"},
                   {3600, "1h0m", "3.5KiB"},
                   {86400, "1d0h", "84.4KiB"},
                   {1048575, "12d3h", "1.0MiB"},
                   {UINT64_MAX, NULL, "16.0EiB"}};
    char out[TEXT_BYTES_MAX];
    for (size_t i = 0; i < sizeof(latencies) / sizeof(latencies[0]); i++) {
        text_latency(latencies[i].seconds, out, sizeof(out));
        ck_assert_str_eq(out, latencies[i].text);
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        text_bytes(numbers[i].number, out, sizeof(out));
        ck_assert_str_eq(out, numbers[i].bytes);
        if (numbers[i].duration != NULL) {
            text_duration(numbers[i].number, out, sizeof(out));
            ck_assert_str_eq(out, numbers[i].duration);
        }
    }
}
END_TEST

START_TEST(draws_bars)
{
    char out[16];
    text_bar(0, 10, out, sizeof(out));
    ck_assert_str_eq(out, "[----------]");
    text_bar(290, 10, out, sizeof(out));
    ck_assert_str_eq(out, "[##--------]");
    text_bar(1000, 10, out, sizeof(out));
    ck_assert_str_eq(out, "[##########]");
    text_bar(9999, 10, out, sizeof(out));
    ck_assert_str_eq(out, "[##########]");
    text_bar(500, 14, out, sizeof(out)); /* no room */
    ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(reads_times)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"30s", 30000},    {"250ms", 250}, {"5m", 300000}, {"1h", 3600000},
                {"2d", 172800000}, {"90", 90000},  {"0s", 0},      {"366d", 31622400000}};
    static const char *const bad[] = {
        "", "s", "-1s", "1.5s", "1 s", "3w", "+3s", "367d", "99999999999999999999s"};
    uint64_t ms = 0;
    int64_t s = 0;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        ck_assert(text_parse_duration(good[i].text, &ms));
        ck_assert_uint_eq(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        ck_assert_msg(!text_parse_duration(bad[i], &ms), "%s", bad[i]);
    }
    ck_assert(text_parse_time("2026-01-01T00:00:01Z", &s));
    ck_assert_int_eq(s, 1767225601);
    ck_assert(!text_parse_time("2026-01-01", &s));
    ck_assert(!text_parse_time("2026-01-01T00:00:01Zx", &s));
}
END_TEST

static char *print(const json_t *rows)
{
    static const struct table_column columns[] = {
        {"NODE", "name", table_cell_text, TABLE_LEFT},
        {"N", "traffic.requests", table_cell_text, TABLE_RIGHT},
        {"LAST", "last", table_cell_text, TABLE_LEFT},
    };
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    table_print(out, columns, 3, rows);
    ck_assert_int_eq(fclose(out), 0);
    return text;
}

START_TEST(aligns)
{
    json_t *rows =
        json_loads("[{\"name\":\"k\\u00f6ln\",\"traffic\":{\"requests\":7},\"last\":true},"
                   "{\"name\":\"\\u8282\\u70b9\\u001b\",\"traffic\":{\"requests\":12345},"
                   "\"last\":null}]",
                   0, NULL);
    char *text = print(rows);
    ck_assert_str_eq(text, "NODE       N  LAST\n"
                           "k\xc3\xb6ln       7  yes\n"
                           "\xe8\x8a\x82\xe7\x82\xb9?  12345  -\n");
    free(text);
    json_decref(rows);
}
END_TEST

START_TEST(finds_places)
{
    json_t *json = json_loads("{\"p\":[{\"n\":[{\"a\":1}]},{\"n\":[{\"a\":2},{\"a\":3}]}],"
                              "\"q\":{\"r\":4}}",
                              0, NULL);
    ck_assert_double_eq(table_number(json, "p[0].n[0].a"), 1);
    ck_assert_double_eq(table_number(json, "p[1].n[1].a"), 3);
    ck_assert_double_eq(table_number(json, "q.r"), 4);
    ck_assert_ptr_null(table_at(json, "p[2].n[0].a"));
    ck_assert_ptr_null(table_at(json, "q[0]"));
    ck_assert_ptr_null(table_at(json, "q.s"));
    json_decref(json);
}
END_TEST

START_TEST(names_the_proxy_of_each_row)
{
    json_t *rows = json_loads("[{\"proxy\":\"h:1\",\"name\":\"a\"}]", 0, NULL);
    char *text = print(rows);
    ck_assert_str_eq(text, "PROXY  NODE  N  LAST\n"
                           "h:1    a     -  -\n");
    free(text);
    json_decref(rows);
}
END_TEST

START_TEST(takes_rows_of_several_proxies)
{
    struct answers answers = {.count = 3};
    answers.items[0] =
        (struct answer){.proxy = "x:1",
                        .status = 200,
                        .body = json_loads("{\"nodes\":[{\"name\":\"a\"}]}", 0, NULL)};
    answers.items[1] = (struct answer){.proxy = "y:2"};
    answers.items[2] = (struct answer){
        .proxy = "z:3",
        .status = 200,
        .body = json_loads("{\"nodes\":{\"a\":{\"name\":\"a\"},\"b\":{\"name\":\"b\"}}}", 0, NULL)};
    json_t *rows = session_rows(&answers, "nodes");
    ck_assert_uint_eq(json_array_size(rows), 3);
    ck_assert_str_eq(table_text(json_array_get(rows, 2), "proxy"), "z:3");
    ck_assert_str_eq(table_text(json_array_get(rows, 2), "name"), "b");
    json_decref(rows);
    ck_assert_int_eq(answers_exit(&answers), CTL_EXIT_PARTIAL);
    answers_fini(&answers);
}
END_TEST

static const struct {
    long statuses[2];
    enum ctl_exit code;
} exits[] = {
    {{200, 202}, CTL_EXIT_DONE},    {{409, 404}, CTL_EXIT_REFUSED}, {{0, 0}, CTL_EXIT_UNREACHABLE},
    {{504, 504}, CTL_EXIT_TIMEOUT}, {{200, 0}, CTL_EXIT_PARTIAL},   {{200, 409}, CTL_EXIT_PARTIAL},
    {{503, 504}, CTL_EXIT_PARTIAL},
};

START_TEST(sums_up_answers)
{
    struct answers answers = {.count = 2};
    answers.items[0].status = exits[_i].statuses[0];
    answers.items[1].status = exits[_i].statuses[1];
    ck_assert_int_eq(answers_exit(&answers), exits[_i].code);
}
END_TEST

static const struct pair fixes[] = {
    {"wait until GET /v1/nodes/10.0.0.1%3A11211 says complete, or repeat with ?force=true",
     "wait until everwarmctl node 10.0.0.1:11211 says complete, or repeat with --force"},
    {"POST /v1/nodes/a/ready and let it fill", "everwarmctl ready a and let it fill"},
    {"GET /v1/nodes lists the names", "everwarmctl nodes lists the names"},
    {"POST /v1/nodes/a", "POST /v1/nodes/a"},
    {"50% is plenty", "50% is plenty"},
    {"", ""},
};

START_TEST(says_what_to_type)
{
    char out[TEXT_BYTES_MAX];
    session_fix(fixes[_i].in, out, sizeof(out));
    ck_assert_str_eq(out, fixes[_i].out);
    char small[8];
    session_fix(fixes[_i].in, small, sizeof(small));
    ck_assert_uint_lt(strlen(small), sizeof(small));
}
END_TEST

START_TEST(encodes_names)
{
    char out[32];
    session_path("/v1/nodes/", "a/b:c%", "/drain", out, sizeof(out));
    ck_assert_str_eq(out, "/v1/nodes/a%2Fb%3Ac%25/drain");
    char small[8] = "";
    ck_assert(client_encode("abcdefg", small, sizeof(small)));
    small[0] = '\0';
    ck_assert(!client_encode("abcdefgh", small, sizeof(small)));
    small[0] = '\0';
    ck_assert(!client_encode("abcde/", small, sizeof(small)));
    ck_assert_str_eq(small, "abcde");
}
END_TEST

static void note_event(void *closure, const char *data)
{
    char *all = closure;
    (void)snprintf(all + strlen(all), 256 - strlen(all), "<%s>", data);
}

/* Split at every place, the events are the same. */
START_TEST(takes_events)
{
    static const char TEXT[] = "retry: 1000\n\n: quiet\n\nid: 1\nevent: x\ndata: {\"a\":1}\n\n"
                               "data:two\r\ndata: parts\r\n\r\nid: 3\n\ndata: never ended";
    for (size_t cut = 0; cut < sizeof(TEXT); cut++) {
        static struct stream stream;
        char all[256] = "";
        memset(&stream, 0, sizeof(stream));
        stream_feed(&stream, TEXT, cut, note_event, all);
        stream_feed(&stream, TEXT + cut, sizeof(TEXT) - 1 - cut, note_event, all);
        ck_assert_str_eq(all, "<{\"a\":1}><twoparts>");
    }
}
END_TEST

START_TEST(passes_over_what_is_too_long)
{
    static struct stream stream;
    static char line[STREAM_LINE_BYTES_MAX + 1];
    char all[256] = "";
    memset(line, 'x', sizeof(line));
    memcpy(line, "data: ", 6);
    stream_feed(&stream, line, STREAM_LINE_BYTES_MAX, note_event, all);
    stream_feed(&stream, "\n\ndata: ok\n\n", 12, note_event, all);
    ck_assert_str_eq(all, "<ok>");
    stream_feed(&stream, line, sizeof(line), note_event, all);
    stream_feed(&stream, "\n\ndata: ok\n\n", 12, note_event, all);
    ck_assert_str_eq(all, "<ok><ok>");
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("ctl");
    TCase *text = tcase_create("text");
    tcase_add_loop_test(text, cleans, 0, COUNT(dirty));
    tcase_add_test(text, cuts_at_a_character);
    tcase_add_test(text, measures);
    tcase_add_test(text, says_times_and_sizes);
    tcase_add_test(text, draws_bars);
    tcase_add_test(text, reads_times);
    suite_add_tcase(suite, text);
    TCase *table = tcase_create("table");
    tcase_add_test(table, aligns);
    tcase_add_test(table, finds_places);
    tcase_add_test(table, names_the_proxy_of_each_row);
    tcase_add_test(table, takes_rows_of_several_proxies);
    suite_add_tcase(suite, table);
    TCase *session = tcase_create("session");
    tcase_add_loop_test(session, sums_up_answers, 0, COUNT(exits));
    tcase_add_loop_test(session, says_what_to_type, 0, COUNT(fixes));
    tcase_add_test(session, encodes_names);
    suite_add_tcase(suite, session);
    TCase *stream = tcase_create("stream");
    tcase_add_test(stream, takes_events);
    tcase_add_test(stream, passes_over_what_is_too_long);
    suite_add_tcase(suite, stream);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
