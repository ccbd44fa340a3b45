/* SPDX-License-Identifier: BSD-2-Clause */
/* What the API lists beside nodes, as tables. */
#include "command.h"
#include "show.h"
#include "text.h"
#include "wait.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES_MAX = 1024 };

struct list {
    const char *path;
    const char *member; /* of the answer; "" when it is the answer */
    const char *empty;  /* what to say when there is nothing */
    const struct table_column *columns;
    size_t column_count;
};

#define COLUMNS(table) .columns = (table), .column_count = sizeof(table) / sizeof((table)[0])

static enum ctl_exit show_list(const struct session *session, const struct list *list)
{
    struct answers answers;
    const enum ctl_exit code = session_get(session, list->path, &answers);
    json_t *rows = session_rows(&answers, list->member);
    if (session->options->output == CTL_OUTPUT_TABLE && json_array_size(rows) > 0) {
        table_print(stdout, list->columns, list->column_count, rows);
    } else if (session->options->output == CTL_OUTPUT_TABLE && code == CTL_EXIT_DONE) {
        (void)fprintf(stderr, "%s\n", list->empty);
    }
    json_decref(rows);
    answers_fini(&answers);
    return code;
}

/* -- tasks --------------------------------------------------------------------- */

static void cell_progress(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    const double total = table_number(value, "total");
    const double done = table_number(value, "done");
    if (total > 0) {
        (void)snprintf(out, TEXT_BYTES_MAX, "%.0f%%", done >= total ? 100.0 : done * 100 / total);
    }
}

/* "tasks" alone, "tasks ID", "tasks cancel ID". */
enum ctl_exit show_tasks(const struct session *session)
{
    static const struct table_column columns[] = {
        {"ID", "id", table_cell_text, TABLE_RIGHT},
        {"KIND", "kind", table_cell_text, TABLE_LEFT},
        {"NODE", "node", table_cell_text, TABLE_LEFT},
        {"STATE", "state", table_cell_text, TABLE_LEFT},
        {"DONE", "progress", cell_progress, TABLE_RIGHT},
        {"ITEMS", "progress.done", table_cell_text, TABLE_RIGHT},
        {"LEFT", "progress.eta_s", table_cell_duration, TABLE_RIGHT},
        {"ASKED", "asked", table_cell_text, TABLE_LEFT},
        {"TEXT", "text", table_cell_text, TABLE_LEFT},
    };
    const struct options *options = session->options;
    char path[PATH_BYTES_MAX];
    if (options->word_count == 1) {
        return show_list(session, &(struct list){.path = "/v1/tasks",
                                                 .member = "tasks",
                                                 .empty = "There are no tasks.",
                                                 COLUMNS(columns)});
    }
    const bool is_cancel = strcmp(options->words[1], "cancel") == 0;
    if (is_cancel != (options->word_count == 3)) {
        (void)fputs("everwarmctl: write: tasks, tasks ID, or tasks cancel ID\n", stderr);
        return CTL_EXIT_USAGE;
    }
    session_path("/v1/tasks/", options->words[is_cancel ? 2 : 1], "", path, sizeof(path));
    if (is_cancel) {
        return session_change(session, "DELETE", path, NULL, "cancelled");
    }
    const enum ctl_exit waited =
        options->wait_ms > 0 ? wait_for(session, path, wait_is_over) : CTL_EXIT_DONE;
    const enum ctl_exit shown = show_leaves(session, path);
    return shown == CTL_EXIT_DONE ? waited : shown;
}

/* -- clients, slow and hot ------------------------------------------------------ */

enum ctl_exit show_clients(const struct session *session)
{
    static const struct table_column columns[] = {
        {"ID", "id", table_cell_text, TABLE_RIGHT},
        {"ADDRESS", "address", table_cell_text, TABLE_LEFT},
        {"POOL", "pool", table_cell_text, TABLE_LEFT},
        {"SINCE", "since", table_cell_text, TABLE_LEFT},
        {"IDLE", "idle_s", table_cell_duration, TABLE_RIGHT},
        {"PENDING", "in_flight", table_cell_text, TABLE_RIGHT},
        {"IN", "received_bytes", table_cell_bytes, TABLE_RIGHT},
        {"OUT", "sent_bytes", table_cell_bytes, TABLE_RIGHT},
        {"OWED", "owed_bytes", table_cell_bytes, TABLE_RIGHT},
    };
    const struct options *options = session->options;
    char path[PATH_BYTES_MAX];
    if (options->word_count == 1) {
        return show_list(session, &(struct list){.path = "/v1/clients",
                                                 .member = "clients",
                                                 .empty = "No client is connected.",
                                                 COLUMNS(columns)});
    }
    if (options->word_count != 3 || strcmp(options->words[1], "kill") != 0) {
        (void)fputs("everwarmctl: write: clients, or clients kill ID\n", stderr);
        return CTL_EXIT_USAGE;
    }
    session_path("/v1/clients/", options->words[2], "", path, sizeof(path));
    return session_change(session, "DELETE", path, NULL, "disconnected");
}

enum ctl_exit show_slowlog(const struct session *session)
{
    static const struct table_column columns[] = {
        {"TIME", "time", table_cell_text, TABLE_LEFT},
        {"TOOK", "took_s", table_cell_latency, TABLE_RIGHT},
        {"WAITED", "waited_s", table_cell_latency, TABLE_RIGHT},
        {"COMMAND", "command", table_cell_text, TABLE_LEFT},
        {"KEY", "key", table_cell_text, TABLE_LEFT},
        {"STATUS", "status", table_cell_text, TABLE_LEFT},
        {"NODE", "node", table_cell_text, TABLE_LEFT},
        {"PHASE", "phase", table_cell_text, TABLE_LEFT},
    };
    return show_list(session, &(struct list){.path = "/v1/slowlog",
                                             .member = "requests",
                                             .empty = "No request was slow.",
                                             COLUMNS(columns)});
}

static void cell_share(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    (void)snprintf(out, TEXT_BYTES_MAX, "%.1f%%", json_number_value(value) * 100);
}

enum ctl_exit show_hotkeys(const struct session *session)
{
    static const struct table_column columns[] = {
        {"SHARE", "share", cell_share, TABLE_RIGHT},
        {"ERROR", "share_error", cell_share, TABLE_RIGHT},
        {"POOL", "pool", table_cell_text, TABLE_LEFT},
        {"KEY", "key", table_cell_text, TABLE_LEFT},
    };
    return show_list(session, &(struct list){.path = "/v1/hotkeys",
                                             .member = "keys",
                                             .empty = "No key was seen yet.",
                                             COLUMNS(columns)});
}

/* -- where a key lives ----------------------------------------------------------- */

static void print_ways(const struct answers *answers)
{
    for (size_t i = 0; i < answers->count; i++) {
        const json_t *way = answers->items[i].body;
        char leader[TEXT_BYTES_MAX] = "-";
        char reader[TEXT_BYTES_MAX] = "-";
        char pool[TEXT_BYTES_MAX] = "-";
        if (answer_is_good(&answers->items[i])) {
            table_cell_text(json_object_get(way, "leader"), way, leader);
            table_cell_text(json_object_get(way, "read_from"), way, reader);
            table_cell_text(json_object_get(way, "pool"), way, pool);
            (void)printf("%s: leader %s, read from %s, pool %s\n", answers->items[i].proxy, leader,
                         reader, pool);
        }
    }
}

enum ctl_exit show_route(const struct session *session)
{
    static const struct table_column columns[] = {
        {"NODE", "node", table_cell_text, TABLE_LEFT},
        {"LEADS", "may_lead", table_cell_text, TABLE_LEFT},
        {"READS", "reads", table_cell_text, TABLE_LEFT},
        {"WRITES", "writes", table_cell_text, TABLE_LEFT},
        {"SKIPPED", "skipped", table_cell_text, TABLE_LEFT},
    };
    struct answers answers;
    char head[PATH_BYTES_MAX] = "/v1/route?key=";
    char path[PATH_BYTES_MAX];
    if (session->options->pool != NULL) {
        session_path("/v1/route?pool=", session->options->pool, "&key=", head, sizeof(head));
    }
    session_path(head, session->options->words[1], "", path, sizeof(path));
    const enum ctl_exit code = session_get(session, path, &answers);
    json_t *rows = session_rows(&answers, "replicas");
    if (session->options->output == CTL_OUTPUT_TABLE && json_array_size(rows) > 0) {
        print_ways(&answers);
        table_print(stdout, columns, sizeof(columns) / sizeof(columns[0]), rows);
    }
    json_decref(rows);
    answers_fini(&answers);
    return code;
}

/* -- configuration --------------------------------------------------------------- */

/* Put VALUE at "a.b.c" of BODY: JSON if it is that, text otherwise. */
static bool set_member(json_t *body, const char *assignment)
{
    const char *equals = strchr(assignment, '=');
    if (equals == NULL || equals == assignment) {
        return false;
    }
    json_t *at = body;
    const char *key = assignment;
    for (;;) {
        const size_t len = strcspn(key, ".=");
        if (len == 0) {
            return false;
        }
        if (key[len] == '=') {
            json_t *value = json_loads(equals + 1, JSON_DECODE_ANY, NULL);
            return json_object_setn_new(at, key, len,
                                        value != NULL ? value : json_string(equals + 1)) == 0;
        }
        json_t *inner = json_object_getn(at, key, len);
        if (inner == NULL) {
            inner = json_object();
            (void)json_object_setn_new(at, key, len, inner);
        }
        at = inner;
        key += len + 1;
    }
}

/* A row for each key: {"key", "value", "source", "live"}. */
static json_t *config_rows(const json_t *answer)
{
    json_t *rows = json_array();
    const char *key = NULL;
    const json_t *source = NULL;
    json_object_foreach(json_object_get(answer, "sources"), key, source)
    {
        json_t *row = json_deep_copy(source);
        json_t *value = json_deep_copy(table_at(json_object_get(answer, "config"), key));
        (void)json_object_set_new(row, "key", json_string(key));
        (void)json_object_set_new(row, "value", value != NULL ? value : json_null());
        (void)json_array_append_new(rows, row);
    }
    return rows;
}

static enum ctl_exit show_config_table(const struct session *session)
{
    static const struct table_column columns[] = {
        {"KEY", "key", table_cell_text, TABLE_LEFT},
        {"SOURCE", "source", table_cell_text, TABLE_LEFT},
        {"LIVE", "live", table_cell_text, TABLE_LEFT},
        {"VALUE", "value", table_cell_value, TABLE_LEFT},
    };
    struct answers answers;
    const enum ctl_exit code = session_get(session, "/v1/config", &answers);
    for (size_t i = 0; i < answers.count; i++) {
        struct answer *answer = &answers.items[i];
        json_t *rows = config_rows(answer->body);
        json_decref(answer->body);
        answer->body = json_pack("{s:o}", "keys", rows);
    }
    json_t *rows = session_rows(&answers, "keys");
    if (session->options->output == CTL_OUTPUT_TABLE && json_array_size(rows) > 0) {
        table_print(stdout, columns, sizeof(columns) / sizeof(columns[0]), rows);
    }
    json_decref(rows);
    answers_fini(&answers);
    return code;
}

enum ctl_exit show_config(const struct session *session)
{
    const struct options *options = session->options;
    if (options->word_count == 1) {
        return show_config_table(session);
    }
    json_t *body = json_object();
    for (int i = 2; i < options->word_count; i++) {
        if (!set_member(body, options->words[i])) {
            (void)fprintf(stderr, "everwarmctl: %s: not KEY=VALUE\n", options->words[i]);
            json_decref(body);
            return CTL_EXIT_USAGE;
        }
    }
    if (strcmp(options->words[1], "set") != 0 || options->word_count == 2) {
        (void)fputs("everwarmctl: write: config, or config set KEY=VALUE...\n", stderr);
        json_decref(body);
        return CTL_EXIT_USAGE;
    }
    return session_change(session, "PATCH", "/v1/config", body, "configuration changed");
}
