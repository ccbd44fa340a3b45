/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Waiting is asking again. A proxy that does not answer is asked again too: it may be the one that
 * is being restarted. Progress goes to stderr, so that stdout stays what the command prints: on a
 * terminal one line that is drawn anew, otherwise a line whenever a state changes.
 */
#include "wait.h"

#include "show.h"
#include "text.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

enum {
    /* People see it as at once, and a proxy does not see it at all. */
    POLL_MS = 200,
    PROXIES_ALL = OPTIONS_TARGETS_MAX, /* in place of one proxy's index */
};

static bool is_word(const struct answer *answer, const char *path, const char *word)
{
    return strcmp(table_text(answer->body, path), word) == 0;
}

bool wait_is_complete(const struct answer *answer)
{
    return answer_is_good(answer) && is_word(answer, "oper.state", "up") &&
           is_word(answer, "data.state", "complete");
}

bool wait_is_served(const struct answer *answer)
{
    return wait_is_complete(answer) && is_word(answer, "admin.state", "ready");
}

bool wait_is_drained(const struct answer *answer)
{
    return answer_is_good(answer) && is_word(answer, "admin.state", "drain") &&
           !json_is_true(table_at(answer->body, "serving.reads"));
}

bool wait_is_out(const struct answer *answer)
{
    return answer_is_good(answer) && is_word(answer, "admin.state", "maint") &&
           is_word(answer, "data.state", "out") &&
           table_number(answer->body, "traffic.in_flight") == 0;
}

bool wait_is_gone(const struct answer *answer)
{
    return answer->status == 404;
}

bool wait_is_whole(const struct answer *answer)
{
    const char *name = NULL;
    const json_t *pool = NULL;
    json_t *pools = json_object_get(json_object_get(answer->body, "replication"), "pools");
    if (!answer_is_good(answer) || !is_word(answer, "state", "running")) {
        return false;
    }
    json_object_foreach(pools, name, pool)
    {
        if (table_number(pool, "factor") < table_number(pool, "factor_wanted") ||
            !json_is_true(json_object_get(pool, "readable"))) {
            return false;
        }
    }
    return true;
}

bool wait_is_empty(const struct answer *answer)
{
    return answer_is_good(answer) && table_number(answer->body, "clients.open") == 0;
}

bool wait_is_over(const struct answer *answer)
{
    return answer_is_good(answer) && !is_word(answer, "state", "waiting") &&
           !is_word(answer, "state", "running");
}

/* -- progress ------------------------------------------------------------------ */

static void describe_node(const json_t *node, enum show_fill how, char *out)
{
    char fill[TEXT_BYTES_MAX];
    char raw[2 * TEXT_BYTES_MAX];
    show_fill(node, how, fill);
    (void)snprintf(raw, sizeof(raw), "%s: %s, %s, %s%s%s", table_text(node, "name"),
                   table_text(node, "admin.state"), table_text(node, "oper.state"),
                   table_text(node, "data.state"), fill[0] == '\0' ? "" : " ", fill);
    text_clean(raw, out, TEXT_BYTES_MAX);
}

static void describe_task(const json_t *task, char *out)
{
    char raw[2 * TEXT_BYTES_MAX];
    char bar[32] = "";
    const double total = table_number(task, "progress.total");
    if (total > 0) {
        const double share = table_number(task, "progress.done") * 1000 / total;
        text_bar((uint64_t)share, 20, bar, sizeof(bar));
    }
    (void)snprintf(raw, sizeof(raw), "task %.0f, %s: %s %s", table_number(task, "id"),
                   table_text(task, "kind"), table_text(task, "state"), bar);
    text_clean(raw, out, TEXT_BYTES_MAX);
}

/* The node that a pool waits for: the first that is not complete. */
static const json_t *lagging_node(const json_t *stats)
{
    const char *name = NULL;
    const json_t *node = NULL;
    json_object_foreach(json_object_get(stats, "nodes"), name, node)
    {
        if (strcmp(table_text(node, "data.state"), "complete") != 0) {
            return node;
        }
    }
    return NULL;
}

static void describe(const struct answer *answer, enum show_fill how, char *out)
{
    out[0] = '\0';
    if (answer->status == 0) {
        text_clean(answer->error, out, TEXT_BYTES_MAX);
    } else if (table_at(answer->body, "data.state") != NULL) {
        describe_node(answer->body, how, out);
    } else if (table_at(answer->body, "kind") != NULL) {
        describe_task(answer->body, out);
    } else if (lagging_node(answer->body) != NULL) {
        describe_node(lagging_node(answer->body), how, out);
    } else if (table_at(answer->body, "clients.open") != NULL) {
        (void)snprintf(out, TEXT_BYTES_MAX, "%.0f clients",
                       table_number(answer->body, "clients.open"));
    }
}

struct progress {
    bool is_terminal;
    char last[TEXT_BYTES_MAX]; /* what was said last */
};

/* Without a terminal the figures of a fill are no news: only its words are. */
static void show_progress(struct progress *progress, const struct answer *answer)
{
    char line[TEXT_BYTES_MAX];
    describe(answer, progress->is_terminal ? SHOW_FILL_BAR : SHOW_FILL_WORD, line);
    if (progress->is_terminal) {
        (void)fprintf(stderr, "\r\033[K%s", line);
        (void)fflush(stderr);
        return;
    }
    char *figures = strstr(line, "filling ");
    if (figures != NULL) {
        figures[strlen("filling")] = '\0';
    }
    if (line[0] != '\0' && strcmp(line, progress->last) != 0) {
        (void)fprintf(stderr, "%s\n", line);
        memcpy(progress->last, line, sizeof(line));
    }
}

static void end_progress(const struct progress *progress)
{
    if (progress->is_terminal) {
        (void)fputs("\r\033[K", stderr);
    }
}

/* -- waiting ------------------------------------------------------------------- */

/* The first answer of the proxies asked about that does not hold, or NULL. */
static const struct answer *find_lacking(const struct answers *answers, size_t proxy,
                                         wait_condition *condition)
{
    for (size_t i = 0; i < answers->count; i++) {
        if ((proxy == i || proxy == PROXIES_ALL) && !condition(&answers->items[i])) {
            return &answers->items[i];
        }
    }
    return NULL;
}

static enum ctl_exit wait_at(const struct session *session, size_t proxy, const char *path,
                             wait_condition *condition)
{
    const uint64_t end_ms = session_now_ms() + session->options->wait_ms;
    struct progress progress = {.is_terminal = isatty(STDERR_FILENO) == 1};
    for (;;) {
        struct answers answers;
        char line[TEXT_BYTES_MAX];
        client_ask(session->client, "GET", path, NULL, &answers);
        const struct answer *lacking = find_lacking(&answers, proxy, condition);
        const bool is_late = session_now_ms() >= end_ms;
        if (lacking != NULL && !is_late) {
            show_progress(&progress, lacking);
        } else {
            end_progress(&progress);
        }
        if (lacking != NULL && is_late) {
            describe(lacking, SHOW_FILL_WORD, line);
            (void)fprintf(stderr, "everwarmctl: %s: the wait ran out%s%s\n", lacking->proxy,
                          line[0] == '\0' ? "" : "; ", line);
        }
        answers_fini(&answers);
        if (lacking == NULL || is_late) {
            return lacking == NULL ? CTL_EXIT_DONE : CTL_EXIT_TIMEOUT;
        }
        (void)poll(NULL, 0, POLL_MS);
    }
}

enum ctl_exit wait_for(const struct session *session, const char *path, wait_condition *condition)
{
    return wait_at(session, PROXIES_ALL, path, condition);
}

enum ctl_exit wait_for_task(const struct session *session, size_t proxy, const char *path)
{
    return wait_at(session, proxy, path, wait_is_over);
}
