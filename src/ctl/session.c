/* SPDX-License-Identifier: BSD-2-Clause */
/* Between answers and people: JSON as it came, problems with what to type next, rows of tables. */
#include "session.h"

#include "command.h"
#include "table.h"
#include "text.h"

#include "everwarm/base/suggest.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t session_now_ms(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void session_command(const struct session *session, const struct answer *answer,
                     char out[SESSION_COMMAND_BYTES])
{
    const bool is_default =
        session->options->target_count == 1 && strcmp(answer->proxy, "127.0.0.1:11280") == 0;
    const char *flag = session->options->socket != NULL ? " --socket " : is_default ? "" : " -H ";
    (void)snprintf(out, SESSION_COMMAND_BYTES, "everwarmctl%s%s", flag,
                   is_default ? "" : answer->proxy);
}

void session_path(const char *head, const char *name, const char *tail, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%s", head);
    (void)client_encode(name, out, out_bytes);
    const size_t used = strlen(out);
    (void)snprintf(out + used, out_bytes - used, "%s", tail);
}

const char *session_colour(const struct session *session, char colour)
{
    if (!session->has_colour) {
        return "";
    }
    switch (colour) {
    case 'r':
        return "\033[1;31m";
    case 'y':
        return "\033[33m";
    case 'g':
        return "\033[32m";
    default:
        return "\033[0m";
    }
}

static json_t *answer_json(const struct answer *answer)
{
    if (answer->status != 0) {
        return json_incref(answer->body);
    }
    return json_pack("{s:s, s:s, s:s}", "type", "/problems/unreachable", "title",
                     "The proxy does not answer", "detail", answer->error);
}

void session_print_json(const struct answers *answers)
{
    json_t *all = json_array();
    for (size_t i = 0; i < answers->count; i++) {
        const struct answer *answer = &answers->items[i];
        (void)json_array_append_new(all, json_pack("{s:s, s:I, s:o*}", "proxy", answer->proxy,
                                                   "status", (json_int_t)answer->status, "body",
                                                   answer_json(answer)));
    }
    const json_t *shown =
        answers->count == 1 ? json_object_get(json_array_get(all, 0), "body") : all;
    (void)json_dumpf(shown, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(9) | JSON_ENCODE_ANY);
    (void)fputc('\n', stdout);
    json_decref(all);
}

/* -- problems ------------------------------------------------------------------ */

static size_t append(char *out, size_t used, size_t out_bytes, const char *text, size_t len)
{
    const size_t room = out_bytes - 1 - used;
    const size_t taken = len < room ? len : room;
    memcpy(out + used, text, taken);
    out[used + taken] = '\0';
    return used + taken;
}

static int hex(char digit)
{
    static const char DIGITS[] = "0123456789ABCDEFabcdef";
    const char *found = digit == '\0' ? NULL : strchr(DIGITS, digit);
    const int value = found == NULL ? -1 : (int)(found - DIGITS);
    return value > 15 ? value - 6 : value;
}

/* "POST /v1/nodes/NAME/VERB" and "GET /v1/nodes[/NAME]" at TEXT; its length, or 0. */
static size_t take_call(const char *text, char verb[16], char name[TEXT_BYTES_MAX])
{
    static const char GET[] = "GET /v1/nodes";
    static const char POST[] = "POST /v1/nodes/";
    const bool is_post = strncmp(text, POST, sizeof(POST) - 1) == 0;
    if (!is_post && strncmp(text, GET, sizeof(GET) - 1) != 0) {
        return 0;
    }
    const char *at = text + (is_post ? sizeof(POST) : sizeof(GET)) - 1;
    size_t used = 0;
    name[0] = '\0';
    (void)snprintf(verb, 16, "nodes");
    if (is_post || *at == '/') {
        at += is_post ? 0 : 1;
        for (; *at != '\0' && strchr("/ ,;\n", *at) == NULL && used + 1 < TEXT_BYTES_MAX; at++) {
            const bool is_escape = *at == '%' && hex(at[1]) >= 0 && hex(at[2]) >= 0;
            name[used++] = (char)(is_escape ? hex(at[1]) << 4 | hex(at[2]) : *at);
            at += is_escape ? 2 : 0;
        }
        name[used] = '\0';
        (void)snprintf(verb, 16, "node");
    }
    if (is_post) {
        const size_t len = *at == '/' ? strspn(at + 1, "abcdefghijklmnopqrstuvwxyz") : 0;
        if (len == 0 || len >= 16) {
            return 0;
        }
        (void)snprintf(verb, 16, "%.*s", (int)len, at + 1);
        at += 1 + len;
    }
    return (size_t)(at - text);
}

void session_fix(const char *fix, char *out, size_t out_bytes)
{
    static const char FORCE[] = "?force=true";
    size_t used = 0;
    out[0] = '\0';
    while (*fix != '\0') {
        char verb[16];
        char name[TEXT_BYTES_MAX];
        char call[TEXT_BYTES_MAX + 64];
        const size_t len = take_call(fix, verb, name);
        if (len > 0) {
            const int call_len = snprintf(call, sizeof(call), "everwarmctl %s%s%s", verb,
                                          name[0] == '\0' ? "" : " ", name);
            used = append(out, used, out_bytes, call, (size_t)call_len);
            fix += len;
        } else if (strncmp(fix, FORCE, sizeof(FORCE) - 1) == 0) {
            used = append(out, used, out_bytes, "--force", sizeof("--force") - 1);
            fix += sizeof(FORCE) - 1;
        } else {
            used = append(out, used, out_bytes, fix, 1);
            fix++;
        }
    }
}

/* The node that was meant by one that is not there, or "". */
static void suggest_node(const struct session *session, const struct answer *answer, char *out)
{
    struct answers found;
    out[0] = '\0';
    if (session->options->word_count < 2 ||
        strcmp(table_text(answer->body, "type"), "/problems/no-such-node") != 0) {
        return;
    }
    client_ask(session->client, "GET", "/v1/nodes", NULL, &found);
    json_t *rows = session_rows(&found, "nodes");
    struct suggest suggest = suggest_begin(session->options->words[1]);
    for (size_t i = 0; i < json_array_size(rows); i++) {
        suggest_offer(&suggest, table_text(json_array_get(rows, i), "name"));
    }
    if (suggest.best != NULL) {
        text_clean(suggest.best, out, TEXT_BYTES_MAX);
    }
    json_decref(rows);
    answers_fini(&found);
}

static void report_problem(const struct session *session, const struct answer *answer)
{
    char title[TEXT_BYTES_MAX];
    char detail[2 * TEXT_BYTES_MAX];
    char fix[2 * TEXT_BYTES_MAX];
    char clean_fix[2 * TEXT_BYTES_MAX];
    char meant[TEXT_BYTES_MAX];
    text_clean(table_text(answer->body, "title"), title, sizeof(title));
    text_clean(table_text(answer->body, "detail"), detail, sizeof(detail));
    session_fix(table_text(answer->body, "fix"), fix, sizeof(fix));
    text_clean(fix, clean_fix, sizeof(clean_fix));
    (void)fprintf(stderr, "everwarmctl: %s: %s (%ld)\n", answer->proxy,
                  title[0] == '\0' ? "refused" : title, answer->status);
    if (detail[0] != '\0') {
        (void)fprintf(stderr, "  %s\n", detail);
    }
    suggest_node(session, answer, meant);
    if (meant[0] != '\0') {
        (void)fprintf(stderr, "  did you mean: %s\n", meant);
    }
    if (clean_fix[0] != '\0') {
        (void)fprintf(stderr, "  fix: %s\n", clean_fix);
    }
}

void session_report(const struct session *session, const struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        const struct answer *answer = &answers->items[i];
        if (answer->status == 0) {
            (void)fprintf(stderr, "everwarmctl: %s: %s\n", answer->proxy, answer->error);
        } else if (!answer_is_good(answer)) {
            report_problem(session, answer);
        }
    }
}

enum ctl_exit session_get(const struct session *session, const char *path, struct answers *out)
{
    client_ask(session->client, "GET", path, NULL, out);
    if (session->options->output == CTL_OUTPUT_JSON) {
        session_print_json(out);
    } else {
        session_report(session, out);
    }
    return answers_exit(out);
}

/* What a change of the configuration changed: "health.fall: 3 -> 5". */
static void print_changes(const json_t *changes)
{
    for (size_t i = 0; i < json_array_size(changes); i++) {
        const json_t *change = json_array_get(changes, i);
        char key[TEXT_BYTES_MAX] = "";
        char from[TEXT_BYTES_MAX] = "-";
        char to[TEXT_BYTES_MAX] = "-";
        table_cell_text(json_object_get(change, "key"), change, key);
        table_cell_value(json_object_get(change, "from"), change, from);
        table_cell_value(json_object_get(change, "to"), change, to);
        (void)printf("  %s: %s -> %s%s\n", key, from, to,
                     json_is_true(json_object_get(change, "applied")) ? "" : " (after a restart)");
    }
}

void session_print_done(const struct answer *answer, const char *what)
{
    const json_t *changed = table_at(answer->body, "changed");
    (void)printf("%s: %s%s", answer->proxy, what,
                 changed == NULL || json_is_true(changed) ? "" : " (it was so already)");
    if (table_at(answer->body, "kind") != NULL) {
        (void)printf(", task %.0f", table_number(answer->body, "id"));
    }
    (void)putchar('\n');
    print_changes(json_object_get(answer->body, "changes"));
}

/* It was done, and could not be written down: true, and it is said. */
static bool is_unwritten(const struct answer *answer)
{
    char why[TEXT_BYTES_MAX];
    text_clean(table_text(answer->body, "persist_error"), why, sizeof(why));
    if (why[0] != '\0') {
        (void)fprintf(stderr, "everwarmctl: %s: not written to its file: %s\n", answer->proxy, why);
    }
    return why[0] != '\0';
}

enum ctl_exit session_change(const struct session *session, const char *method, const char *path,
                             json_t *body, const char *what)
{
    struct answers answers;
    client_ask(session->client, method, path, body, &answers);
    json_decref(body);
    if (session->options->output == CTL_OUTPUT_JSON) {
        session_print_json(&answers);
    } else {
        session_report(session, &answers);
    }
    bool is_whole = true;
    for (size_t i = 0; i < answers.count; i++) {
        if (session->options->output == CTL_OUTPUT_TABLE && answer_is_good(&answers.items[i])) {
            session_print_done(&answers.items[i], what);
        }
        is_whole = !is_unwritten(&answers.items[i]) && is_whole;
    }
    const enum ctl_exit all = answers_exit(&answers);
    const enum ctl_exit code = all == CTL_EXIT_DONE && !is_whole ? CTL_EXIT_PARTIAL : all;
    answers_fini(&answers);
    return code;
}

/* -- rows ---------------------------------------------------------------------- */

static void add_row(json_t *rows, json_t *row, const struct answers *answers, size_t index)
{
    if (answers->count > 1 && json_is_object(row)) {
        (void)json_object_set_new(row, "proxy", json_string(answers->items[index].proxy));
    }
    (void)json_array_append(rows, row);
}

json_t *session_rows(const struct answers *answers, const char *path)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < answers->count; i++) {
        json_t *found = json_incref(answers->items[i].body);
        if (path[0] != '\0') {
            json_decref(found);
            found = json_incref(json_object_get(answers->items[i].body, path));
        }
        if (!answer_is_good(&answers->items[i])) {
            json_decref(found);
            continue;
        }
        if (json_is_array(found)) {
            for (size_t r = 0; r < json_array_size(found); r++) {
                add_row(rows, json_array_get(found, r), answers, i);
            }
        } else if (path[0] == '\0') {
            add_row(rows, found, answers, i);
        } else {
            const char *key = NULL;
            json_t *row = NULL;
            json_object_foreach(found, key, row)
            {
                add_row(rows, row, answers, i);
            }
        }
        json_decref(found);
    }
    return rows;
}
