/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that only look. What is a list becomes a table whose columns are always the same, of
 * words without spaces, so that awk reads it too; -o json prints what the proxies said.
 */
#include "show.h"

#include "command.h"
#include "finding.h"
#include "text.h"
#include "wait.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

enum { BAR_WIDTH = 20 };

bool show_fill_per_mille(const json_t *node, uint64_t *out)
{
    const json_t *fill = table_at(node, "data.fill");
    const double total = table_number(fill, "items_total");
    const double done = table_number(fill, "items_done");
    if (strcmp(table_text(node, "data.state"), "filling") != 0 || total <= 0) {
        return false;
    }
    *out = done >= total ? 1000 : (uint64_t)(done * 1000 / total);
    return true;
}

/* What part of what is read a warming node has. */
static bool show_warmth(const json_t *node, char *out)
{
    const double asked = table_number(table_at(node, "data.warm"), "asked");
    const double hits = table_number(table_at(node, "data.warm"), "hits");
    if (strcmp(table_text(node, "data.state"), "warming") != 0 || asked <= 0) {
        return false;
    }
    (void)snprintf(out, TEXT_BYTES_MAX, "%u%%", (unsigned int)(hits * 100 / asked));
    return true;
}

void show_fill(const json_t *node, enum show_fill how, char *out)
{
    uint64_t per_mille = 0;
    char bar[BAR_WIDTH + 3];
    char left[32] = "";
    out[0] = '\0';
    if (how == SHOW_FILL_WORD && show_warmth(node, out)) {
        return;
    }
    if (!show_fill_per_mille(node, &per_mille)) {
        return;
    }
    const json_t *eta = table_at(node, "data.fill.eta_s");
    if (json_is_number(eta)) {
        text_duration((uint64_t)json_number_value(eta), left, sizeof(left));
    }
    const unsigned int percent = (unsigned int)(per_mille / 10);
    if (how == SHOW_FILL_WORD) {
        (void)snprintf(out, TEXT_BYTES_MAX, "%u%%%s%s", percent, left[0] == '\0' ? "" : ",", left);
        return;
    }
    text_bar(per_mille, BAR_WIDTH, bar, sizeof(bar));
    (void)snprintf(out, TEXT_BYTES_MAX, "%s %u%% %s%s", bar, percent, left,
                   left[0] == '\0' ? "" : " left");
}

/* -- nodes --------------------------------------------------------------------- */

static void cell_serves(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    const bool reads = json_is_true(json_object_get(value, "reads"));
    const bool writes = json_is_true(json_object_get(value, "writes"));
    (void)snprintf(out, TEXT_BYTES_MAX, "%s",
                   reads && writes ? "rw"
                   : reads         ? "r"
                   : writes        ? "w"
                                   : "no");
}

static void cell_errors(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    const double sum = table_number(value, "timeout") + table_number(value, "connect") +
                       table_number(value, "protocol");
    (void)snprintf(out, TEXT_BYTES_MAX, "%.0f", sum);
}

static void cell_fill(const json_t *value, const json_t *row, char *out)
{
    (void)value;
    show_fill(row, SHOW_FILL_WORD, out);
}

static void print_bars(FILE *out, const json_t *rows)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *node = json_array_get(rows, i);
        char name[TEXT_BYTES_MAX];
        char bar[TEXT_BYTES_MAX];
        show_fill(node, SHOW_FILL_BAR, bar);
        text_clean(table_text(node, "name"), name, sizeof(name));
        if (bar[0] != '\0') {
            (void)fprintf(out, "%s is being filled  %s\n", name, bar);
        }
    }
}

/* Nodes without a name are called by their addresses: these need not stand there twice. */
static bool have_names(const json_t *rows)
{
    bool has_name = false;
    for (size_t i = 0; i < json_array_size(rows) && !has_name; i++) {
        const json_t *node = json_array_get(rows, i);
        has_name = strcmp(table_text(node, "name"), table_text(node, "address")) != 0;
    }
    return has_name;
}

static bool have_pools(const json_t *rows)
{
    bool has_other = false;
    for (size_t i = 1; i < json_array_size(rows) && !has_other; i++) {
        has_other = strcmp(table_text(json_array_get(rows, i), "pool"),
                           table_text(json_array_get(rows, 0), "pool")) != 0;
    }
    return has_other;
}

void show_nodes_table(FILE *out, const json_t *rows, enum show_fill how)
{
    static const struct table_column columns[] = {
        {"NODE", "name", table_cell_text, TABLE_LEFT},
        {"POOL", "pool", table_cell_text, TABLE_LEFT},
        {"ADDRESS", "address", table_cell_text, TABLE_LEFT},
        {"ADMIN", "admin.state", table_cell_text, TABLE_LEFT},
        {"OPER", "oper.state", table_cell_text, TABLE_LEFT},
        {"DATA", "data.state", table_cell_text, TABLE_LEFT},
        {"FILL", "", cell_fill, TABLE_LEFT},
        {"SERVES", "serving", cell_serves, TABLE_LEFT},
        {"REQUESTS", "traffic.requests", table_cell_text, TABLE_RIGHT},
        {"ERRORS", "traffic.errors", cell_errors, TABLE_RIGHT},
        {"P99", "traffic.p99_s", table_cell_latency, TABLE_RIGHT},
    };
    struct table_column shown[sizeof(columns) / sizeof(columns[0])];
    size_t count = 0;
    for (size_t c = 0; c < sizeof(columns) / sizeof(columns[0]); c++) {
        if ((strcmp(columns[c].path, "address") != 0 || have_names(rows)) &&
            (strcmp(columns[c].path, "pool") != 0 || have_pools(rows))) {
            shown[count++] = columns[c];
        }
    }
    table_print(out, shown, count, rows);
    if (how == SHOW_FILL_BAR) {
        print_bars(out, rows);
    }
}

enum ctl_exit show_nodes(const struct session *session)
{
    struct answers answers;
    const enum ctl_exit code = session_get(session, "/v1/nodes", &answers);
    if (session->options->output == CTL_OUTPUT_TABLE && code != CTL_EXIT_UNREACHABLE &&
        code != CTL_EXIT_REFUSED) {
        json_t *rows = session_rows(&answers, "nodes");
        show_nodes_table(stdout, rows, session->is_terminal ? SHOW_FILL_BAR : SHOW_FILL_WORD);
        json_decref(rows);
    }
    answers_fini(&answers);
    return code;
}

/* -- a value and its members, one a line ---------------------------------------- */

enum {
    DEPTH_MAX = 8, /* of what the API answers: five */
    PATH_BYTES_MAX = 256,
};

struct level {
    json_t *json;
    void *member; /* iterator of an object */
    size_t path_len;
};

static void print_leaf(const char *path, const json_t *value)
{
    char cell[TEXT_BYTES_MAX] = "";
    char clean[PATH_BYTES_MAX];
    if (json_is_array(value)) {
        table_cell_list(value, NULL, cell);
    } else {
        table_cell_text(value, NULL, cell);
    }
    text_clean(path, clean, sizeof(clean));
    (void)printf("  %-26s  %s\n", clean, cell[0] == '\0' ? "-" : cell);
}

/* Every leaf of an object with its path, without recursion: the API is shallow. */
static void print_leaves(json_t *object)
{
    struct level levels[DEPTH_MAX] = {{object, json_object_iter(object), 0}};
    char path[PATH_BYTES_MAX] = "";
    size_t depth = 1;
    while (depth > 0) {
        struct level *level = &levels[depth - 1];
        if (level->member == NULL) {
            depth--;
            continue;
        }
        json_t *value = json_object_iter_value(level->member);
        const int len =
            snprintf(path + level->path_len, sizeof(path) - level->path_len, "%s%s",
                     level->path_len > 0 ? "." : "", json_object_iter_key(level->member));
        level->member = json_object_iter_next(level->json, level->member);
        const size_t path_len = level->path_len + (size_t)len;
        if (json_is_object(value) && depth < DEPTH_MAX && path_len < sizeof(path)) {
            levels[depth++] = (struct level){value, json_object_iter(value), path_len};
        } else {
            print_leaf(path, value);
        }
    }
}

static void print_each(const struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        if (answer_is_good(&answers->items[i])) {
            if (answers->count > 1) {
                (void)printf("%s\n", answers->items[i].proxy);
            }
            print_leaves(answers->items[i].body);
        }
    }
}

enum ctl_exit show_leaves(const struct session *session, const char *path)
{
    struct answers answers;
    const enum ctl_exit code = session_get(session, path, &answers);
    if (session->options->output == CTL_OUTPUT_TABLE) {
        print_each(&answers);
    }
    answers_fini(&answers);
    return code;
}

enum ctl_exit show_node(const struct session *session)
{
    char path[TEXT_BYTES_MAX];
    session_path("/v1/nodes/", session->options->words[1], "", path, sizeof(path));
    enum ctl_exit waited = CTL_EXIT_DONE;
    if (session->options->wait_ms > 0) {
        waited = wait_for(session, path, wait_is_served);
    }
    const enum ctl_exit shown = show_leaves(session, path);
    return shown == CTL_EXIT_DONE ? waited : shown;
}

/* -- status and doctor --------------------------------------------------------- */

int64_t show_time_of(const json_t *stats)
{
    int64_t now_s = 0;
    return text_parse_time(table_text(stats, "time"), &now_s) ? now_s : (int64_t)time(NULL);
}

static char colour_of(enum finding_severity severity)
{
    return severity == FINDING_CRITICAL ? 'r' : severity == FINDING_WARNING ? 'y' : 0;
}

static void print_line(const char *label, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void print_line(const char *label, const char *format, ...)
{
    va_list arguments;
    (void)printf("  %-11s ", label);
    va_start(arguments, format);
    (void)vprintf(format, arguments);
    va_end(arguments);
    (void)putchar('\n');
}

static void print_pools(const json_t *stats)
{
    json_t *pools = json_object_get(json_object_get(stats, "replication"), "pools");
    const char *name = NULL;
    const json_t *pool = NULL;
    json_object_foreach(pools, name, pool)
    {
        char clean[TEXT_BYTES_MAX];
        text_clean(name, clean, sizeof(clean));
        const double proxies = table_number(pool, "proxies");
        print_line("redundancy", "%.0f of %.0f (pool %s, %s, epoch %.0f, %.0f %s)",
                   table_number(pool, "factor"), table_number(pool, "factor_wanted"), clean,
                   table_text(pool, "state"), table_number(pool, "epoch"), proxies,
                   proxies == 1 ? "proxy" : "proxies");
    }
}

static void print_latency(const json_t *stats)
{
    static const char *const PATHS[] = {"latency.reads.p50_s", "latency.reads.p99_s",
                                        "latency.writes.p50_s", "latency.writes.p99_s"};
    char texts[4][TEXT_BYTES_MAX];
    for (size_t i = 0; i < 4; i++) {
        (void)snprintf(texts[i], sizeof(texts[i]), "-");
        table_cell_latency(table_at(stats, PATHS[i]), NULL, texts[i]);
    }
    print_line("latency", "reads p50 %s p99 %s, writes p50 %s p99 %s", texts[0], texts[1], texts[2],
               texts[3]);
}

static void print_status(const struct session *session, const struct answer *answer)
{
    const json_t *stats = answer->body;
    struct findings findings;
    char command[SESSION_COMMAND_BYTES];
    char verdict[FINDING_TEXT_BYTES];
    char uptime[32];
    session_command(session, answer, command);
    finding_collect(stats, command, show_time_of(stats), &findings);
    finding_verdict(stats, &findings, verdict);
    text_duration((uint64_t)table_number(stats, "uptime_s"), uptime, sizeof(uptime));
    const bool is_bad = findings.count > 0 && findings.items[0].severity != FINDING_NOTE;
    const char colour = is_bad ? colour_of(findings.items[0].severity) : 'g';
    (void)printf("%s: everwarm %s, %s, up %s\n", answer->proxy, table_text(stats, "version"),
                 table_text(stats, "state"), uptime);
    (void)printf("  %s%s%s\n", session_colour(session, colour), verdict,
                 session_colour(session, 0));
    if (is_bad) {
        (void)printf("  -> %s\n", findings.items[0].fix);
    }
    print_pools(stats);
    print_line("clients", "%.0f of at most %.0f", table_number(stats, "clients.open"),
               table_number(stats, "clients.max"));
    const double hits = table_number(stats, "commands.keys_hit");
    const double reads = hits + table_number(stats, "commands.keys_missed");
    print_line("requests", "%.0f, %.1f%% of the keys read were there",
               table_number(stats, "commands.total"), reads > 0 ? hits * 100 / reads : 0.0);
    print_latency(stats);
    json_t *rows = json_array();
    const char *name = NULL;
    json_t *node = NULL;
    json_object_foreach(json_object_get(stats, "nodes"), name, node)
    {
        (void)json_array_append(rows, node);
    }
    (void)putchar('\n');
    show_nodes_table(stdout, rows, session->is_terminal ? SHOW_FILL_BAR : SHOW_FILL_WORD);
    json_decref(rows);
}

enum ctl_exit show_status(const struct session *session)
{
    struct answers answers;
    enum ctl_exit waited = CTL_EXIT_DONE;
    if (session->options->wait_ms > 0) {
        waited = wait_for(session, "/stats", wait_is_whole);
    }
    const enum ctl_exit code = session_get(session, "/stats", &answers);
    bool is_first = true;
    for (size_t i = 0; i < answers.count; i++) {
        if (session->options->output == CTL_OUTPUT_TABLE && answer_is_good(&answers.items[i])) {
            (void)fputs(is_first ? "" : "\n", stdout);
            print_status(session, &answers.items[i]);
            is_first = false;
        }
    }
    answers_fini(&answers);
    return code == CTL_EXIT_DONE ? waited : code;
}

/* One proxy's findings as JSON, in an array. */
static json_t *findings_json(const struct findings *findings)
{
    json_t *list = json_array();
    for (size_t i = 0; i < findings->count; i++) {
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "severity",
                                                    finding_word(findings->items[i].severity),
                                                    "text", findings->items[i].text, "fix",
                                                    findings->items[i].fix));
    }
    return list;
}

static void print_findings(const struct session *session, const struct findings *findings)
{
    for (size_t i = 0; i < findings->count; i++) {
        const struct finding *finding = &findings->items[i];
        (void)printf("%s%-8s%s  %s\n          -> %s\n",
                     session_colour(session, colour_of(finding->severity)),
                     finding_word(finding->severity), session_colour(session, 0), finding->text,
                     finding->fix);
    }
}

/* A proxy that does not answer is the first finding of all. */
static void find_unreachable(const struct answer *answer, struct findings *out)
{
    struct finding *finding = &out->items[0];
    char raw[FINDING_TEXT_BYTES];
    out->count = 1;
    (void)snprintf(raw, sizeof(raw), "The proxy at %s does not answer: %s.", answer->proxy,
                   answer->error);
    finding->severity = FINDING_CRITICAL;
    text_clean(raw, finding->text, sizeof(finding->text));
    (void)snprintf(finding->fix, sizeof(finding->fix),
                   "on that machine: systemctl status everwarm; journalctl -u everwarm -n 50");
}

/* Findings, and whether one is worse than a note. */
static bool diagnose(const struct session *session, const struct answer *answer, json_t *list)
{
    struct findings findings = {.count = 0};
    char command[SESSION_COMMAND_BYTES];
    session_command(session, answer, command);
    if (answer_is_good(answer)) {
        finding_collect(answer->body, command, show_time_of(answer->body), &findings);
    } else if (answer->status == 0) {
        find_unreachable(answer, &findings);
    }
    (void)json_array_append_new(list, json_pack("{s:s, s:o}", "proxy", answer->proxy, "findings",
                                                findings_json(&findings)));
    if (session->options->output == CTL_OUTPUT_TABLE) {
        if (session->options->target_count > 1) {
            (void)printf("%s:\n", answer->proxy);
        }
        print_findings(session, &findings);
        if (findings.count == 0 && answer_is_good(answer)) {
            char verdict[FINDING_TEXT_BYTES];
            finding_verdict(answer->body, &findings, verdict);
            (void)printf("%s%s%s Nothing to mend.\n", session_colour(session, 'g'), verdict,
                         session_colour(session, 0));
        }
    }
    return findings.count > 0 && findings.items[0].severity != FINDING_NOTE;
}

enum ctl_exit show_doctor(const struct session *session)
{
    struct answers answers;
    json_t *list = json_array();
    bool is_ill = false;
    client_ask(session->client, "GET", "/stats", NULL, &answers);
    session_report(session, &answers);
    for (size_t i = 0; i < answers.count; i++) {
        is_ill = diagnose(session, &answers.items[i], list) || is_ill;
    }
    if (session->options->output == CTL_OUTPUT_JSON) {
        (void)json_dumpf(list, stdout, JSON_INDENT(1));
        (void)putchar('\n');
    }
    const enum ctl_exit code = answers_exit(&answers);
    json_decref(list);
    answers_fini(&answers);
    return code == CTL_EXIT_DONE && is_ill ? CTL_EXIT_REFUSED : code;
}
