/* SPDX-License-Identifier: BSD-2-Clause */
/* The admin API over real sockets: what each route answers, and what a command's results become. */
#include "../../admin/openapi.h"
#include "../../admin/page.h"
#include "../../admin/route.h"
#include "../../admin/tree.h"
#include "../../admin/uri.h"

#include "admin_fixture.h"

enum { WAITERS = 10 };

/* --- paths, names, globs --- */

START_TEST(every_route_is_found_by_its_path_only)
{
    struct route_match match;
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at(i);
        ck_assert_int_eq(route_find(route->method, route->path, &match), ROUTE_FOUND);
        ck_assert_ptr_eq(match.route, route);
        ck_assert_int_eq(route_find("BREW", route->path, &match), ROUTE_NO_METHOD);
        ck_assert_ptr_nonnull(strstr(match.allow, route->method));
        char longer[128];
        (void)snprintf(longer, sizeof(longer), "%s/", route->path);
        ck_assert_int_ne(route_find(route->method, longer, &match), ROUTE_FOUND);
    }
    ck_assert_int_eq(route_find("HEAD", "/livez", &match), ROUTE_FOUND);
    ck_assert_int_eq(route_find("GET", "/v1/nodes/unix%3A%2Frun%2Fm", &match), ROUTE_FOUND);
    ck_assert_str_eq(match.name, "unix:/run/m");
    ck_assert_int_eq(route_find("POST", "/v1/nodes/%3Cb%3E/drain", &match), ROUTE_FOUND);
    ck_assert_str_eq(match.name, "<b>");
    static const char *const UNKNOWN[] = {"",
                                          "livez",
                                          "/livez2",
                                          "/v1",
                                          "/v1/nodes/",
                                          "/v1/nodes//drain",
                                          "/v1/nodes/a/b",
                                          "http://x/livez",
                                          "/../livez",
                                          "/%6Civez"};
    for (size_t i = 0; i < sizeof(UNKNOWN) / sizeof(UNKNOWN[0]); i++) {
        ck_assert_int_eq(route_find("GET", UNKNOWN[i], &match), ROUTE_NO_PATH);
    }
    static const char *const BAD[] = {"/v1/nodes/%",   "/v1/nodes/%4",   "/v1/nodes/%zz",
                                      "/v1/nodes/%00", "/v1/nodes/a%0a", "/v1/nodes/%C3%A4"};
    for (size_t i = 0; i < sizeof(BAD) / sizeof(BAD[0]); i++) {
        ck_assert_int_eq(route_find("GET", BAD[i], &match), ROUTE_BAD_NAME);
    }
    char name[128] = "/v1/nodes/";
    memset(name + 10, 'n', NODE_NAME_BYTES_MAX);
    ck_assert_int_eq(route_find("GET", name, &match), ROUTE_FOUND);
    name[10 + NODE_NAME_BYTES_MAX] = 'n';
    ck_assert_int_eq(route_find("GET", name, &match), ROUTE_BAD_NAME);
}
END_TEST

START_TEST(every_name_survives_its_encoding)
{
    char name[0x7f - 0x21 + 1];
    for (size_t i = 0; i + 1 < sizeof(name); i++) {
        name[i] = (char)(0x21 + i);
    }
    name[sizeof(name) - 1] = '\0';
    char encoded[3 * sizeof(name)];
    char decoded[sizeof(name)];
    uri_encode(name, encoded, sizeof(encoded));
    ck_assert_ptr_null(strpbrk(encoded, "/?#<>\"&+ "));
    ck_assert(uri_decode(slice_of_string(encoded), URI_GRAPHIC, decoded, sizeof(decoded)));
    ck_assert_str_eq(decoded, name);
}
END_TEST

START_TEST(globs_match_as_a_person_expects)
{
    static const struct {
        const char *glob;
        const char *text;
        bool is_match;
    } ROWS[] = {
        {"", "", true},         {"", "a", false},         {"*", "", true},
        {"*", "a.b", true},     {"a", "a", true},         {"a", "ab", false},
        {"ab", "a", false},     {"a*", "abc", true},      {"*c", "abc", true},
        {"a*c", "abcbc", true}, {"a*b*c", "axbyc", true}, {"a*b*c", "axcyb", false},
        {"*ab", "aab", true},   {"**a", "bba", true},     {"nodes.*.p99_s", "nodes.a.p99_s", true},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        ck_assert_msg(tree_glob(ROWS[i].glob, ROWS[i].text, strlen(ROWS[i].text)) ==
                          ROWS[i].is_match,
                      "%s on %s", ROWS[i].glob, ROWS[i].text);
    }
}
END_TEST

static void expect_schema(const json_t *schemas, const char *name)
{
    ck_assert_msg(name == NULL || json_is_object(json_object_get(schemas, name)), "%s", name);
}

/* Every schema that is meant stands in the document, and every one that stands there is meant. */
START_TEST(the_document_has_every_route)
{
    json_t *document = openapi_json();
    const json_t *schemas = json_object_get(json_object_get(document, "components"), "schemas");
    const json_t *paths = json_object_get(document, "paths");
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at(i);
        char method[8] = "";
        for (size_t c = 0; route->method[c] != '\0'; c++) {
            method[c] = (char)(route->method[c] + 32);
        }
        const json_t *operation = json_object_get(json_object_get(paths, route->path), method);
        ck_assert_str_eq(text_of(operation, "summary"), route->summary);
        expect_schema(schemas, route->answer);
        expect_schema(schemas, route->body);
        ck_assert(route->answer != NULL || route->type != NULL);
        char queries[128];
        (void)snprintf(queries, sizeof(queries), "%s", route->queries);
        char *rest = NULL;
        for (char *word = strtok_r(queries, " ", &rest); word != NULL;
             word = strtok_r(NULL, " ", &rest)) {
            ck_assert_msg(openapi_knows_query(word), "%s", word);
        }
    }
    char *text = json_dumps(document, 0);
    const char *name;
    json_t *schema;
    json_object_foreach(json_object_get(json_object_get(document, "components"), "schemas"), name,
                        schema)
    {
        char reference[96];
        (void)snprintf(reference, sizeof(reference), "\"#/components/schemas/%s\"", name);
        ck_assert_msg(strstr(text, reference) != NULL, "nothing means %s", name);
    }
    free(text);
    json_decref(document);
}
END_TEST

/* --- what routes answer --- */

START_TEST(every_route_answers)
{
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at(i);
        char path[64];
        fill_path(route->path, path);
        struct answer answer = ask_route(route, path, "");
        ck_assert_msg(answer.status == (int)route->status, "%s", answer.text);
        ck_assert_ptr_nonnull(strstr(answer.text, "X-Content-Type-Options: nosniff\r\n"));
        const bool is_page = strstr(answer.text, "\r\nETag: ") != NULL;
        ck_assert_int_eq(is_page, route->handler == page_show || route->handler == page_show_file);
        ck_assert_ptr_nonnull(strstr(answer.text, is_page ? "Cache-Control: no-cache\r\n"
                                                          : "Cache-Control: no-store\r\n"));
        ck_assert_ptr_nonnull(strstr(answer.text, "Content-Security-Policy: default-src 'none'"));
        ck_assert_uint_gt(strlen(answer.body), 0);
        char type[64];
        (void)snprintf(type, sizeof(type), "Content-Type: %s\r\n",
                       route->type == NULL ? "application/json" : route->type);
        ck_assert_msg(strstr(answer.text, type) != NULL, "%s", answer.text);
        answer_free(&answer);
        answer = ask("PUT", path);
        const char *allow = strstr(answer.text, "\r\nAllow: ");
        ck_assert_ptr_nonnull(allow);
        ck_assert_ptr_nonnull(strstr(allow, route->method));
        expect_problem(answer, 405, "/problems/method-not-allowed");
        answer = ask("HEAD", path);
        ck_assert_str_eq(answer.body, "");
        answer_free(&answer);
    }
    expect_problem(ask("GET", "/nothing"), 404, "/problems/not-found");
    expect_problem(ask("GET", "/v1/nodes/zz"), 404, "/problems/no-such-node");
    expect_problem(ask("GET", "/v1/nodes/%00"), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/stats?format=xml"), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/stats?filtre=a"), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/stats?filter=%0"), 400, "/problems/bad-request");
    expect_problem(ask("GET", "/stats?filter=a&filter=a&filter=a&filter=a&filter=a"), 400,
                   "/problems/bad-request");
}
END_TEST

START_TEST(a_node_has_the_documented_shape)
{
    static const char WANTED[] =
        "{\"name\":\"a\",\"pool\":\"main\",\"address\":\"127.0.0.1:11212\",\"zone\":\"z1\","
        "\"weight\":1,"
        "\"admin\":{\"state\":\"ready\",\"reason\":null,\"since\":\"2026-01-01T00:00:00Z\","
        "\"until\":null},"
        "\"oper\":{\"state\":\"up\",\"since\":\"2026-01-01T00:00:01Z\",\"transitions_1h\":1,"
        "\"hold_down_s\":0},"
        "\"data\":{\"state\":\"complete\",\"since\":null,\"fill\":null,\"warm\":null},"
        "\"serving\":{\"reads\":true,\"writes\":true},"
        "\"check\":{\"result\":\"ok\",\"ms\":0.28,\"at\":\"2026-01-01T00:01:39Z\","
        "\"text\":\"VERSION 1.6.18??\"},"
        "\"traffic\":{\"requests\":91233,\"errors\":{\"timeout\":0,\"connect\":1,\"protocol\":0},"
        "\"in_flight\":3,\"p50_s\":0.0001,\"p99_s\":0.000704},"
        "\"connections\":{\"open\":1,\"connects\":5,\"failures\":1}}";
    static const char FILL[] =
        "{\"state\":\"filling\",\"since\":\"2026-01-01T00:00:50Z\",\"fill\":{\"from\":[\"a\"],"
        "\"items_done\":52310,\"items_total\":180000,\"bytes_done\":77,\"eta_s\":41},"
        "\"warm\":null}";
    static const char WARM[] =
        "{\"state\":\"warming\",\"since\":\"2026-01-01T00:00:50Z\",\"fill\":null,"
        "\"warm\":{\"asked\":500,\"hits\":497,\"good_since\":\"2026-01-01T00:00:50Z\"}}";
    json_t *wanted = json_loads(WANTED, 0, NULL);
    json_t *node = ask_json("GET", "/v1/nodes/a", 200);
    char *shown = json_dumps(node, JSON_REAL_PRECISION(9));
    ck_assert_msg(json_equal(node, wanted), "%s", shown);
    free(shown);
    json_decref(node);
    json_decref(wanted);
    node = ask_json("GET", "/v1/nodes/%3Cscript%3E%22%26%5C", 200);
    ck_assert_str_eq(text_of(node, "name"), "<script>\"&\\");
    wanted = json_loads(FILL, 0, NULL);
    ck_assert(json_equal(json_object_get(node, "data"), wanted));
    json_decref(wanted);
    ck_assert_int_eq(
        json_integer_value(json_object_get(json_object_get(node, "oper"), "hold_down_s")), 4);
    json_decref(node);
    struct control_node_snapshot *state = &the_pool()->control.nodes[2];
    state->data = NODE_DATA_WARMING;
    state->warm_asked = 500;
    state->warm_hits = 497;
    state->is_warm = true;
    state->warm_since_us = 150000000;
    node = ask_json("GET", "/v1/nodes/%3Cscript%3E%22%26%5C", 200);
    wanted = json_loads(WARM, 0, NULL);
    ck_assert(json_equal(json_object_get(node, "data"), wanted));
    json_decref(wanted);
    json_decref(node);
    json_t *all = ask_json("GET", "/v1/nodes", 200);
    ck_assert_int_eq(json_integer_value(json_object_get(all, "epoch")), 17);
    ck_assert_uint_eq(json_array_size(json_object_get(all, "nodes")), NODES);
    json_decref(all);
}
END_TEST

static void check_stats(void)
{
    static const char *const MEMBERS[] = {
        "name",     "version", "pid",   "uptime_s",    "time", "state",  "config_epoch", "clients",
        "commands", "latency", "nodes", "replication", "fill", "memory", "overload",     "process"};
    json_t *stats = ask_json("GET", "/stats", 200);
    void *member = json_object_iter(stats);
    for (size_t i = 0; i < sizeof(MEMBERS) / sizeof(MEMBERS[0]); i++) {
        ck_assert_ptr_nonnull(member);
        ck_assert_str_eq(json_object_iter_key(member), MEMBERS[i]);
        member = json_object_iter_next(stats, member);
    }
    ck_assert_ptr_null(member);
    ck_assert_uint_eq(json_object_size(json_object_get(stats, "nodes")), NODES);
    json_decref(stats);
}

START_TEST(stats_are_whole_from_the_first_second)
{
    check_stats();
    struct answer before = ask("GET", "/stats?format=text");
    make_running();
    check_stats();
    struct answer after = ask("GET", "/stats?format=text");
    size_t lines[2] = {0, 0};
    for (const char *c = before.body; *c != '\0'; c++) {
        lines[0] += *c == '\n';
    }
    for (const char *c = after.body; *c != '\0'; c++) {
        lines[1] += *c == '\n';
    }
    /* A fill that runs is five lines in place of one. */
    ck_assert_uint_eq(lines[1], lines[0] + 4);
    ck_assert_ptr_nonnull(strstr(after.body, "\nnodes.a.check.text: VERSION 1.6.18??\n"));
    ck_assert_ptr_nonnull(strstr(after.body, "\ncommands.get.hit: 5\n"));
    ck_assert_ptr_nonnull(strstr(after.body, "\nreplication.pools.main.factor: 1\n"));
    answer_free(&before);
    answer_free(&after);
}
END_TEST

START_TEST(stats_can_be_filtered)
{
    json_t *found = ask_json("GET", "/stats?filter=nodes.*.in_flight", 200);
    json_t *wanted = json_loads("{\"nodes\":{\"a\":{\"traffic\":{\"in_flight\":3}},"
                                "\"127.0.0.1:11212\":{\"traffic\":{\"in_flight\":0}},"
                                "\"<script>\\\"&\\\\\":{\"traffic\":{\"in_flight\":0}}}}",
                                0, NULL);
    ck_assert(json_equal(found, wanted));
    json_decref(wanted);
    json_decref(found);
    found = ask_json("GET", "/stats?filter=nodes.%2A", 200);
    ck_assert_uint_eq(json_object_size(found), 1);
    ck_assert_uint_eq(json_object_size(json_object_get(found, "nodes")), NODES);
    json_decref(found);
    found = ask_json("GET", "/stats?filter=process", 200);
    ck_assert_uint_eq(json_object_size(json_object_get(found, "process")), 5);
    json_decref(found);
    found = ask_json("GET", "/stats?filter=nothing", 200);
    ck_assert_uint_eq(json_object_size(found), 0);
    json_decref(found);
    struct answer answer = ask("GET", "/stats?filter=state&format=text");
    ck_assert_str_eq(answer.body, "state: running\n");
    answer_free(&answer);
}
END_TEST

START_TEST(alive_and_ready_are_two_questions)
{
    expect_status(ask("GET", "/livez"), 200);
    expect_problem(ask("GET", "/readyz"), 503, "/problems/starting");
    make_running();
    expect_status(ask("GET", "/readyz"), 200);
    the_pool()->is_readable = false;
    struct answer answer = ask("GET", "/readyz");
    json_t *problem = check_problem(&answer, 503, "/problems/not-ready");
    ck_assert_ptr_nonnull(strstr(text_of(problem, "detail"), "pool main: no node serves reads"));
    ck_assert_ptr_nonnull(strstr(answer.text, "Retry-After: 1\r\n"));
    json_decref(problem);
    answer_free(&answer);
    json_decref(ask_json("GET", "/readyz?verbose", 503));
    the_pool()->is_readable = true;
    json_t *checks = ask_json("GET", "/readyz?verbose", 200);
    ck_assert(json_is_true(json_object_get(checks, "ok")));
    ck_assert_uint_eq(json_array_size(json_object_get(checks, "checks")), 2);
    json_decref(checks);
    port.snapshot->state = PROXY_DRAINING;
    expect_problem(ask("GET", "/readyz"), 503, "/problems/not-ready");
    expect_status(ask("GET", "/livez"), 200);
    port.snapshot->loop_lag_us = 60000000;
    expect_problem(ask("GET", "/livez"), 503, "/problems/stuck");
}
END_TEST

/* --- metrics --- */

enum { SERIES_MAX = 4096 };

struct series {
    size_t count;
    char *names[SERIES_MAX]; /* with labels */
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Whether a sample's NAME is one of FAMILY of that TYPE. */
static bool is_of_family(const char *name, const char *family, const char *type)
{
    const size_t len = strlen(family);
    if (strncmp(name, family, len) != 0) {
        return false;
    }
    const char *rest = name + len;
    const size_t rest_len = strcspn(rest, "{ ");
    if (strcmp(type, "histogram") == 0) {
        return (rest_len == 7 && strncmp(rest, "_bucket", 7) == 0) ||
               (rest_len == 4 && strncmp(rest, "_sum", 4) == 0) ||
               (rest_len == 6 && strncmp(rest, "_count", 6) == 0);
    }
    return rest_len == 0;
}

/* The rules of the text format that a scraper trips over; TEXT is cut up. */
static struct series *check_metrics(char *text)
{
    struct series *series = calloc(1, sizeof(*series));
    ck_assert_ptr_nonnull(series);
    char family[128] = "";
    char type[16] = "";
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strncmp(line, "# HELP ", 7) == 0) {
            char next[128];
            ck_assert_int_eq(sscanf(line, "# HELP %127s %*s", next), 1);
            ck_assert_str_ne(next, family);
            (void)snprintf(family, sizeof(family), "%s", next);
            type[0] = '\0';
        } else if (line[0] == '#') {
            char same[128];
            ck_assert_int_eq(sscanf(line, "# TYPE %127s %15s", same, type), 2);
            ck_assert_str_eq(same, family);
            const char *end = strstr(family, "_total");
            const bool is_total = end != NULL && strcmp(end, "_total") == 0;
            ck_assert_msg(is_total == (strcmp(type, "counter") == 0), "%s", family);
        } else {
            ck_assert_msg(is_of_family(line, family, type), "%s in %s", line, family);
            char *value = strrchr(line, ' ');
            ck_assert_ptr_nonnull(value);
            char *end = NULL;
            (void)strtod(value + 1, &end);
            ck_assert_msg(end != value + 1 && *end == '\0', "%s", line);
            *value = '\0';
            ck_assert_uint_lt(series->count, SERIES_MAX);
            series->names[series->count++] = line;
        }
    }
    qsort(series->names, series->count, sizeof(series->names[0]), compare_names);
    for (size_t i = 1; i < series->count; i++) {
        ck_assert_str_ne(series->names[i - 1], series->names[i]);
    }
    return series;
}

START_TEST(metrics_have_every_series_from_the_start)
{
    static const char *const WANTED[] = {
        "everwarm_build_info{version=\"0.1.0\"}",
        "everwarm_up",
        "everwarm_ready",
        "everwarm_start_time_seconds",
        "everwarm_commands_total{command=\"get\",status=\"hit\"}",
        "everwarm_request_duration_seconds_count{command=\"get\"}",
        "everwarm_client_connections",
        "everwarm_client_connections_total",
        "everwarm_client_connections_rejected_total{reason=\"max_clients\"}",
        "everwarm_client_received_bytes_total",
        "everwarm_client_sent_bytes_total",
        "everwarm_protocol_errors_total{side=\"node\"}",
        "everwarm_node_info{node=\"a\",pool=\"main\",zone=\"\"}",
        "everwarm_node_admin_state{node=\"a\",state=\"drain\"}",
        "everwarm_node_oper_state{node=\"a\",state=\"up\"}",
        "everwarm_node_data_state{node=\"a\",state=\"filling\"}",
        "everwarm_node_serving{node=\"a\",kind=\"reads\"}",
        "everwarm_node_transitions_total{node=\"a\",to=\"down\"}",
        "everwarm_node_checks_total{node=\"a\",result=\"ok\"}",
        "everwarm_node_check_duration_seconds{node=\"a\"}",
        "everwarm_node_requests_total{node=\"<script>\\\"&\\\\\"}",
        "everwarm_node_request_duration_seconds_bucket{node=\"a\",le=\"+Inf\"}",
        "everwarm_node_request_errors_total{node=\"a\",reason=\"timeout\"}",
        "everwarm_node_connections{node=\"127.0.0.1:11212\"}",
        "everwarm_node_pending_requests{node=\"a\"}",
        "everwarm_replication_factor{pool=\"main\"}",
        "everwarm_replication_factor_wanted{pool=\"main\"}",
        "everwarm_replicated_writes_total{result=\"ok\"}",
        "everwarm_read_failovers_total",
        "everwarm_repairs_total",
        "everwarm_divergences_total",
        "everwarm_settle_checks_total",
        "everwarm_view_changes_total{pool=\"main\"}",
        "everwarm_view_change_max_seconds{pool=\"main\"}",
        "everwarm_fill_active{pool=\"main\"}",
        "everwarm_fill_items_total{pool=\"main\",outcome=\"copied\"}",
        "everwarm_fill_bytes_total{pool=\"main\"}",
        "everwarm_fill_duration_seconds{pool=\"main\"}",
        "everwarm_fill_items_total{pool=\"main\",outcome=\"skipped\"}",
        "everwarm_fills_total{pool=\"main\",trigger=\"resync\"}",
        "everwarm_client_closes_total{reason=\"slow\"}",
        "everwarm_foreign_protocols_total",
        "everwarm_config_reloads_total{result=\"failed\"}",
        "everwarm_memory_bytes",
        "everwarm_memory_limit_bytes",
        "everwarm_shed_requests_total{reason=\"memory\"}",
        "everwarm_admin_requests_total{route=\"GET /metrics\",code=\"2xx\"}",
        "everwarm_log_messages_dropped_total",
        "everwarm_event_loop_lag_seconds",
        "process_cpu_seconds_total",
        "process_open_fds",
        "process_resident_memory_bytes",
        "process_start_time_seconds",
    };
    struct answer first = ask("GET", "/metrics");
    ck_assert_ptr_nonnull(strstr(first.text, "Content-Type: text/plain; version=0.0.4"));
    struct series *before = check_metrics(strstr(first.text, "\r\n\r\n") + 4);
    for (size_t i = 0; i < sizeof(WANTED) / sizeof(WANTED[0]); i++) {
        const char *wanted = WANTED[i];
        ck_assert_msg(bsearch(&wanted, before->names, before->count, sizeof(before->names[0]),
                              compare_names) != NULL,
                      "%s", wanted);
    }
    make_running();
    the_pool()->nodes[0].zone = ""; /* a label, not a figure */
    struct answer second = ask("GET", "/metrics");
    struct series *after = check_metrics(strstr(second.text, "\r\n\r\n") + 4);
    ck_assert_uint_eq(before->count, after->count);
    for (size_t i = 0; i < after->count; i++) {
        ck_assert_str_eq(before->names[i], after->names[i]);
    }
    free(before);
    free(after);
    answer_free(&first);
    answer_free(&second);
}
END_TEST

START_TEST(metrics_tell_the_figures)
{
    static const char *const WANTED[] = {
        "\neverwarm_ready 1\n",
        "\neverwarm_start_time_seconds 1767225600.000000\n",
        "\neverwarm_commands_total{command=\"get\",status=\"hit\"} 5\n",
        "\neverwarm_request_duration_seconds_bucket{command=\"get\",le=\"0.000032\"} 0\n",
        "\neverwarm_request_duration_seconds_bucket{command=\"get\",le=\"0.000064\"} 1\n",
        "\neverwarm_request_duration_seconds_sum{command=\"get\"} 0.000040\n",
        "\neverwarm_node_request_duration_seconds_bucket{node=\"a\",le=\"0.000128\"} 1\n",
        "\neverwarm_node_request_duration_seconds_bucket{node=\"a\",le=\"0.000512\"} 1\n",
        "\neverwarm_node_request_duration_seconds_bucket{node=\"a\",le=\"0.001024\"} 2\n",
        "\neverwarm_node_request_duration_seconds_bucket{node=\"a\",le=\"+Inf\"} 2\n",
        "\neverwarm_node_request_duration_seconds_sum{node=\"a\"} 0.000804\n",
        "\neverwarm_node_request_duration_seconds_count{node=\"a\"} 2\n",
        "\neverwarm_node_data_state{node=\"a\",state=\"complete\"} 1\n",
        "\neverwarm_node_data_state{node=\"a\",state=\"filling\"} 0\n",
        "\neverwarm_node_serving{node=\"a\",kind=\"reads\"} 1\n",
        "\neverwarm_node_serving{node=\"127.0.0.1:11212\",kind=\"writes\"} 0\n",
        "\neverwarm_node_serving{node=\"<script>\\\"&\\\\\",kind=\"reads\"} 0\n",
        "\neverwarm_node_serving{node=\"<script>\\\"&\\\\\",kind=\"writes\"} 1\n",
        "\neverwarm_node_check_duration_seconds{node=\"a\"} 0.000280\n",
        "\neverwarm_replication_factor{pool=\"main\"} 1\n",
        "\neverwarm_replication_factor_wanted{pool=\"main\"} 3\n",
        "\neverwarm_fill_active{pool=\"main\"} 1\n",
    };
    struct answer answer = ask("GET", "/metrics");
    for (size_t i = 0; i < sizeof(WANTED) / sizeof(WANTED[0]); i++) {
        ck_assert_msg(strstr(answer.body, WANTED[i]) != NULL, "%s", WANTED[i]);
    }
    answer_free(&answer);
}
END_TEST

START_TEST(promtool_has_nothing_to_say)
{
    if (system("command -v promtool >/dev/null 2>&1") != 0) {
        return; /* Debian's package brings a whole server; our own checks stand above */
    }
    struct answer answer = ask("GET", "/metrics");
    char path[] = "/tmp/everwarm-metrics-XXXXXX";
    const int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    FILE *out = fdopen(fd, "w");
    ck_assert_ptr_nonnull(out);
    (void)fputs(answer.body, out);
    ck_assert_int_eq(fclose(out), 0);
    char command[128];
    (void)snprintf(command, sizeof(command), "promtool check metrics <%s 2>&1", path);
    FILE *said = popen(command, "r");
    ck_assert_ptr_nonnull(said);
    char line[512];
    ck_assert_msg(fgets(line, sizeof(line), said) == NULL, "%s", line);
    ck_assert_int_eq(pclose(said), 0);
    ck_assert_int_eq(unlink(path), 0);
    answer_free(&answer);
}
END_TEST

/* --- commands --- */

START_TEST(each_command_reaches_control)
{
    static const struct {
        const char *path;
        enum control_command_type type;
        uint32_t node;
        bool is_forced;
    } ROWS[] = {
        {"/v1/nodes/a/drain", CONTROL_COMMAND_DRAIN, 0, false},
        {"/v1/nodes/a/maint?force=true", CONTROL_COMMAND_MAINT, 0, true},
        {"/v1/nodes/127.0.0.1%3A11212/ready?force=false", CONTROL_COMMAND_READY, 1, false},
        {"/v1/nodes/%3Cscript%3E%22%26%5C/resync", CONTROL_COMMAND_RESYNC, 2, false},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        struct answer answer = ask("POST", ROWS[i].path);
        json_t *json = json_loads(answer.body, 0, NULL);
        ck_assert_msg(answer.status / 100 == 2, "%s", answer.text);
        ck_assert_int_eq(json_is_true(json_object_get(json, "changed")),
                         ROWS[i].type != CONTROL_COMMAND_RESYNC);
        ck_assert_uint_eq(port.commands, i + 1);
        ck_assert_int_eq(port.last.type, ROWS[i].type);
        ck_assert_uint_eq(port.last.node, ROWS[i].node);
        ck_assert_int_eq(port.last.is_forced, ROWS[i].is_forced);
        ck_assert_uint_ge(port.last.timeout_ms, 1500);
        json_decref(json);
        answer_free(&answer);
        struct answer seen = ask("GET", "/v1/nodes/a");
        ck_assert_int_eq(seen.status, 200);
        answer_free(&seen);
    }
    expect_status(ask_with("POST", "/v1/nodes/a/drain", "Content-Type: application/json\r\n", "{}"),
                  200);
    expect_status(ask_with("POST", "/v1/nodes/a/drain", "", ""), 200);
    port.result = CONTROL_RESULT_UNCHANGED;
    json_t *json = ask_json("POST", "/v1/nodes/a/drain", 200);
    ck_assert(json_is_false(json_object_get(json, "changed")));
    ck_assert_str_eq(text_of(json, "see"), "/v1/nodes/a");
    json_decref(json);
}
END_TEST

START_TEST(each_refusal_says_what_to_do)
{
    port.result = CONTROL_RESULT_TIMEOUT;
    expect_problem(ask("POST", "/v1/nodes/a/drain"), 504, "/problems/timeout");
    port.result = CONTROL_RESULT_STARTING;
    expect_problem(ask("POST", "/v1/nodes/a/drain"), 503, "/problems/starting");
    port.status = STATUS_FULL;
    expect_problem(ask("POST", "/v1/nodes/a/drain"), 503, "/problems/busy");
    port.status = STATUS_OK;
    port.result = CONTROL_RESULT_LAST_COPY;
    struct task fill = {.kind = TASK_FILL, .node = 2};
    ck_assert_int_eq(control_port_task_add(&port, &fill), STATUS_OK);
    struct answer answer = ask("POST", "/v1/nodes/a/drain");
    json_t *problem = check_problem(&answer, 409, "/problems/last-copy");
    ck_assert_str_eq(text_of(problem, "title"), "This would leave no readable copy");
    ck_assert_str_eq(text_of(problem, "detail"),
                     "127.0.0.1:11212 is down and <script>\"&\\ is filling (29%). "
                     "Draining a makes every read a miss.");
    ck_assert_str_eq(text_of(problem, "fix"), "wait for /v1/tasks/1, or repeat with ?force=true");
    json_decref(problem);
    answer_free(&answer);
    the_pool()->control.nodes[2].data = NODE_DATA_WARMING;
    the_pool()->control.nodes[2].warm_asked = 3;
    the_pool()->control.nodes[2].warm_hits = 2;
    answer = ask("POST", "/v1/nodes/a/maint");
    problem = check_problem(&answer, 409, "/problems/last-copy");
    ck_assert_ptr_nonnull(strstr(text_of(problem, "detail"), "is warming (66%). "));
    ck_assert_str_eq(text_of(problem, "fix"),
                     "wait until <script>\"&\\ is warm, or POST /v1/nodes/%3Cscript%3E%22%26%5C/"
                     "ready?force=true to take it as it is, or repeat with ?force=true");
    json_decref(problem);
    answer_free(&answer);
    the_pool()->control.nodes[2].data = NODE_DATA_OUT;
    the_pool()->control.nodes[2].admin = NODE_ADMIN_MAINT;
    answer = ask("POST", "/v1/nodes/a/maint");
    problem = check_problem(&answer, 409, "/problems/last-copy");
    ck_assert_str_eq(text_of(problem, "fix"), "POST /v1/nodes/%3Cscript%3E%22%26%5C/ready and let "
                                              "it fill, or repeat with ?force=true");
    json_decref(problem);
    answer_free(&answer);
    the_pool()->control.nodes[2].oper = NODE_OPER_DOWN;
    answer = ask("POST", "/v1/nodes/a/maint");
    problem = check_problem(&answer, 409, "/problems/last-copy");
    ck_assert_str_eq(text_of(problem, "fix"),
                     "start 127.0.0.1:11212 again and let it fill, or repeat with ?force=true");
    json_decref(problem);
    answer_free(&answer);
    the_pool()->control.members = 1;
    answer = ask("POST", "/v1/nodes/a/resync");
    problem = check_problem(&answer, 409, "/problems/last-copy");
    ck_assert_str_eq(text_of(problem, "detail"),
                     "There is no other node. Emptying a loses what no other node holds.");
    json_decref(problem);
    answer_free(&answer);
}
END_TEST

START_TEST(bad_commands_reach_nobody)
{
    static const struct {
        const char *body;
        int status;
        const char *type;
    } ROWS[] = {
        {"{\"reason\":1}", 422, "/problems/bad-member"},
        {"{\"reason\":\"a\\nb\"}", 422, "/problems/bad-member"},
        {"{\"for\":\"30 minutes\"}", 422, "/problems/bad-member"},
        {"{\"for\":30}", 422, "/problems/bad-member"},
        {"{\"for\":\"999ms\"}", 422, "/problems/bad-member"},
        {"{\"for\":\"745h\"}", 422, "/problems/bad-member"},
        {"{\"\\u00e4\\u00e4\":1}", 422, "/problems/bad-member"},
        {"{\"a\":1,\"a\":2}", 400, "/problems/bad-json"},
        {"[]", 400, "/problems/bad-json"},
        {"{", 400, "/problems/bad-json"},
        {"\xff", 400, "/problems/bad-json"},
        {" ", 400, "/problems/bad-json"},
    };
    for (size_t i = 0; i < sizeof(ROWS) / sizeof(ROWS[0]); i++) {
        expect_problem(ask_with("POST", "/v1/nodes/a/drain", "Content-Type: application/json\r\n",
                                ROWS[i].body),
                       ROWS[i].status, ROWS[i].type);
    }
    char *bomb = malloc(60001);
    ck_assert_ptr_nonnull(bomb);
    memset(bomb, '[', 60000);
    bomb[60000] = '\0';
    expect_problem(
        ask_with("POST", "/v1/nodes/a/drain", "Content-Type: application/json\r\n", bomb), 400,
        "/problems/bad-json");
    free(bomb);
    expect_problem(ask("POST", "/v1/nodes/zz/drain"), 404, "/problems/no-such-node");
    expect_problem(ask("POST", "/v1/nodes/a/drain?force=yes"), 400, "/problems/bad-request");
    expect_problem(ask("POST", "/v1/nodes/a/drain?forse=true"), 400, "/problems/bad-request");
    expect_problem(ask("POST", "/v1/nodes/a/explode"), 404, "/problems/not-found");
    ck_assert_uint_eq(port.commands, 0);
}
END_TEST

static void *ask_to_drain(void *unused)
{
    (void)unused;
    expect_status(ask("POST", "/v1/nodes/a/drain"), 200);
    return NULL;
}

START_TEST(waiting_commands_keep_nobody_waiting)
{
    pthread_t threads[WAITERS];
    port.is_holding = true;
    for (size_t i = 0; i < WAITERS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, ask_to_drain, NULL), 0);
    }
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    while (port.commands_held < WAITERS) {
        ck_assert_int_eq(pthread_cond_wait(&port.moved, &port.lock), 0);
    }
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
    expect_status(ask("GET", "/livez"), 200);
    expect_status(ask("GET", "/stats"), 200);
    ck_assert_int_eq(pthread_mutex_lock(&port.lock), 0);
    ck_assert_uint_eq(port.commands_held, WAITERS);
    port.is_holding = false;
    ck_assert_int_eq(pthread_cond_broadcast(&port.moved), 0);
    ck_assert_int_eq(pthread_mutex_unlock(&port.lock), 0);
    for (size_t i = 0; i < WAITERS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
    }
}
END_TEST

static Suite *admin_suite(void)
{
    Suite *suite = suite_create("admin");
    TCase *tables = tcase_create("tables");
    tcase_add_test(tables, every_route_is_found_by_its_path_only);
    tcase_add_test(tables, every_name_survives_its_encoding);
    tcase_add_test(tables, globs_match_as_a_person_expects);
    tcase_add_test(tables, the_document_has_every_route);
    suite_add_tcase(suite, tables);
    TCase *starting = tcase_create("starting");
    tcase_add_checked_fixture(starting, set_up_starting, tear_down);
    tcase_add_test(starting, stats_are_whole_from_the_first_second);
    tcase_add_test(starting, alive_and_ready_are_two_questions);
    tcase_add_test(starting, metrics_have_every_series_from_the_start);
    suite_add_tcase(suite, starting);
    TCase *running = tcase_create("running");
    tcase_add_checked_fixture(running, set_up, tear_down);
    tcase_add_test(running, every_route_answers);
    tcase_add_test(running, a_node_has_the_documented_shape);
    tcase_add_test(running, stats_can_be_filtered);
    tcase_add_test(running, metrics_tell_the_figures);
    tcase_add_test(running, promtool_has_nothing_to_say);
    tcase_add_test(running, each_command_reaches_control);
    tcase_add_test(running, each_refusal_says_what_to_do);
    tcase_add_test(running, bad_commands_reach_nobody);
    tcase_add_test(running, waiting_commands_keep_nobody_waiting);
    suite_add_tcase(suite, running);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(admin_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
