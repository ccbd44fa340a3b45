/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that change something. Each is one request to every proxy: repeating a word that another
 * proxy of the pool has said already is harmless, and what each says is reported.
 */
#include "command.h"
#include "table.h"
#include "text.h"
#include "wait.h"

#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES_MAX = 512 };

/* "drain a", cleaned, for messages. */
static void describe(const struct session *session, char *out)
{
    char raw[TEXT_BYTES_MAX];
    (void)snprintf(raw, sizeof(raw), "%s %s", session->options->words[0],
                   session->options->words[1]);
    text_clean(raw, out, TEXT_BYTES_MAX);
}

static void node_path(const struct session *session, const char *tail, char *out)
{
    char whole_tail[64];
    (void)snprintf(whole_tail, sizeof(whole_tail), "%s%s", tail,
                   session->options->is_forced ? "?force=true" : "");
    session_path("/v1/nodes/", session->options->words[1], whole_tail, out, PATH_BYTES_MAX);
}

static enum ctl_exit wait_for_node(const struct session *session, wait_condition *condition)
{
    char path[PATH_BYTES_MAX];
    if (session->options->wait_ms == 0) {
        return CTL_EXIT_DONE;
    }
    session_path("/v1/nodes/", session->options->words[1], "", path, sizeof(path));
    return wait_for(session, path, condition);
}

static json_t *word_body(const struct session *session)
{
    const struct options *options = session->options;
    return options->reason == NULL && options->period == NULL
               ? NULL
               : json_pack("{s:s*, s:s*}", "reason", options->reason, "for", options->period);
}

enum ctl_exit act_node(const struct session *session)
{
    const char *word = session->options->words[0];
    char tail[32];
    char path[PATH_BYTES_MAX];
    char what[TEXT_BYTES_MAX];
    (void)snprintf(tail, sizeof(tail), "/%s", word);
    node_path(session, tail, path);
    describe(session, what);
    const enum ctl_exit code = session_change(session, "POST", path, word_body(session), what);
    if (code != CTL_EXIT_DONE) {
        return code;
    }
    switch (word[0]) {
    case 'd':
        /* Forced on the last copy, it goes on to be read. */
        return session->options->is_forced ? code : wait_for_node(session, wait_is_drained);
    case 'm':
        return wait_for_node(session, wait_is_out);
    default:
        return wait_for_node(session, wait_is_served);
    }
}

enum ctl_exit act_resync(const struct session *session)
{
    char path[PATH_BYTES_MAX];
    char what[TEXT_BYTES_MAX];
    node_path(session, "/resync", path);
    describe(session, what);
    const enum ctl_exit code = session_change(session, "POST", path, NULL, what);
    return code != CTL_EXIT_DONE ? code : wait_for_node(session, wait_is_complete);
}

/* -- tasks --------------------------------------------------------------------- */

/* What came of a task, and the exit code that says so. */
static enum ctl_exit print_task(const struct session *session, size_t proxy, const char *path)
{
    struct answers answers;
    client_ask(session->client, "GET", path, NULL, &answers);
    const struct answer *answer = &answers.items[proxy];
    char text[TEXT_BYTES_MAX];
    text_clean(table_text(answer->body, "text"), text, sizeof(text));
    const char *state = table_text(answer->body, "state");
    (void)printf("%s: task %.0f %s%s%s\n", answer->proxy, table_number(answer->body, "id"), state,
                 text[0] == '\0' ? "" : ": ", text);
    const char *name = NULL;
    const json_t *figure = NULL;
    json_object_foreach(json_object_get(answer->body, "figures"), name, figure)
    {
        (void)printf("  %-12s %.0f\n", name, json_number_value(figure));
    }
    const enum ctl_exit code = strcmp(state, "done") == 0 ? CTL_EXIT_DONE : CTL_EXIT_REFUSED;
    answers_fini(&answers);
    return code;
}

/* Start a task at every proxy, and see each to its end if that is wanted. */
static enum ctl_exit run_task(const struct session *session, const char *path, const char *what)
{
    struct answers answers;
    enum ctl_exit code = CTL_EXIT_DONE;
    client_ask(session->client, "POST", path, NULL, &answers);
    if (session->options->output == CTL_OUTPUT_JSON) {
        session_print_json(&answers);
    } else {
        session_report(session, &answers);
    }
    for (size_t i = 0; i < answers.count; i++) {
        const struct answer *answer = &answers.items[i];
        enum ctl_exit one = answer_exit(answer);
        if (one == CTL_EXIT_DONE && session->options->output == CTL_OUTPUT_TABLE) {
            session_print_done(answer, what);
        }
        if (one == CTL_EXIT_DONE && session->options->wait_ms > 0) {
            char task[64];
            (void)snprintf(task, sizeof(task), "/v1/tasks/%.0f", table_number(answer->body, "id"));
            one = wait_for_task(session, i, task);
            one = one == CTL_EXIT_DONE ? print_task(session, i, task) : one;
        }
        code = i == 0 ? one : exit_merge(code, one);
    }
    answers_fini(&answers);
    return code;
}

enum ctl_exit act_verify(const struct session *session)
{
    const char *repair = session->options->is_repair ? "?repair=true" : "";
    char path[PATH_BYTES_MAX];
    char tail[64];
    if (session->options->word_count == 1) {
        (void)snprintf(path, sizeof(path), "/v1/verify%s", repair);
        if (session->options->pool != NULL) {
            session_path("/v1/verify?pool=", session->options->pool,
                         repair[0] == '\0' ? "" : "&repair=true", path, sizeof(path));
        }
    } else {
        (void)snprintf(tail, sizeof(tail), "/verify%s", repair);
        session_path("/v1/nodes/", session->options->words[1], tail, path, sizeof(path));
    }
    return run_task(session, path, "verify");
}

enum ctl_exit act_check(const struct session *session)
{
    char path[PATH_BYTES_MAX];
    char what[TEXT_BYTES_MAX];
    node_path(session, "/check", path);
    describe(session, what);
    return run_task(session, path, what);
}

/* -- the set of nodes, the proxy itself ----------------------------------------- */

/* "?force=true&persist=true", as far as it was asked for. */
static const char *wishes(const struct options *options)
{
    static const char *const WISHES[2][2] = {{"", "?persist=true"},
                                             {"?force=true", "?force=true&persist=true"}};
    return WISHES[options->is_forced][options->is_persistent];
}

/* What was not written down is said: the word holds, but a restart of all may forget it. */
static enum ctl_exit change_members(const struct session *session, const char *method,
                                    const char *path, json_t *body, const char *what)
{
    const enum ctl_exit code = session_change(session, method, path, body, what);
    if (code == CTL_EXIT_DONE && !session->options->is_persistent &&
        session->options->output == CTL_OUTPUT_TABLE) {
        (void)printf("Not in any configuration file: --persist writes it there.\n");
    }
    return code;
}

enum ctl_exit act_add(const struct session *session)
{
    const struct options *options = session->options;
    char path[PATH_BYTES_MAX];
    char what[TEXT_BYTES_MAX];
    char *end = NULL;
    json_t *body = json_pack("{s:s, s:s, s:s*, s:s*}", "name", options->words[1], "address",
                             options->words[2], "zone", options->zone, "pool", options->pool);
    if (options->weight != NULL) {
        (void)json_object_set_new(body, "weight", json_integer(strtol(options->weight, &end, 10)));
        if (end == options->weight || *end != '\0') {
            json_decref(body);
            (void)fprintf(stderr, "everwarmctl: %s: --weight takes a number\n", options->weight);
            return CTL_EXIT_USAGE;
        }
    }
    describe(session, what);
    (void)snprintf(path, sizeof(path), "/v1/nodes%s", wishes(options));
    const enum ctl_exit code = change_members(session, "POST", path, body, what);
    return code != CTL_EXIT_DONE ? code : wait_for_node(session, wait_is_served);
}

enum ctl_exit act_remove(const struct session *session)
{
    char path[PATH_BYTES_MAX];
    char what[TEXT_BYTES_MAX];
    session_path("/v1/nodes/", session->options->words[1], wishes(session->options), path,
                 sizeof(path));
    describe(session, what);
    const enum ctl_exit code = change_members(session, "DELETE", path, NULL, what);
    return code != CTL_EXIT_DONE ? code : wait_for_node(session, wait_is_gone);
}

enum ctl_exit act_reload(const struct session *session)
{
    return session_change(session, "POST", "/v1/config/reload", NULL, "configuration read again");
}

enum ctl_exit act_proxy_drain(const struct session *session)
{
    const enum ctl_exit code = session_change(session, "POST", "/v1/drain", NULL,
                                              "not ready any more; who is connected is served");
    return code != CTL_EXIT_DONE || session->options->wait_ms == 0
               ? code
               : wait_for(session, "/stats", wait_is_empty);
}

enum ctl_exit act_proxy_undrain(const struct session *session)
{
    const enum ctl_exit code = session_change(session, "POST", "/v1/undrain", NULL, "ready again");
    return code != CTL_EXIT_DONE || session->options->wait_ms == 0
               ? code
               : wait_for(session, "/stats", wait_is_whole);
}
