/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Alive and ready are different questions: a proxy whose nodes are all gone is alive (a restart
 * would only make it forget) and not ready. Each answer is made of checks, shown one by one with
 * ?verbose.
 */
#include "health.h"

#include "facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    /* A loop that is late by so much serves nobody; a machine that swaps is late by less. */
    LIVE_LAG_US_MAX = 10000000,
    /* The process's own state or its loops, and the pools. */
    CHECKS_MAX = 1 + POOLS_MAX,
    CHECK_TEXT_BYTES_MAX = FACTS_LIST_BYTES_MAX + 64,
};

struct check {
    char name[POOL_NAME_BYTES_MAX + 8];
    char text[CHECK_TEXT_BYTES_MAX];
    bool is_ok;
};

struct checks {
    size_t count;
    size_t failed;
    struct check items[CHECKS_MAX];
};

static struct check *add_check(struct checks *checks, bool is_ok)
{
    struct check *check = &checks->items[checks->count++];
    check->is_ok = is_ok;
    checks->failed += is_ok ? 0 : 1;
    return check;
}

static void check_process(const struct proxy_snapshot *snapshot, struct checks *checks)
{
    struct check *check = add_check(checks, snapshot->state == PROXY_RUNNING);
    (void)snprintf(check->name, sizeof(check->name), "process");
    (void)snprintf(check->text, sizeof(check->text), "the proxy is %s",
                   proxy_state_word(snapshot->state));
}

static void check_pool(const struct proxy_pool *pool, struct checks *checks)
{
    struct check *check = add_check(checks, pool->is_readable || pool->is_coming);
    const node_set all = pool->control.members;
    (void)snprintf(check->name, sizeof(check->name), "pool %s", pool->name);
    if (pool->is_readable) {
        (void)snprintf(check->text, sizeof(check->text), "%u of %u nodes serve reads",
                       node_set_count(facts_readers(pool)), facts_node_count(pool));
    } else {
        char nodes[FACTS_LIST_BYTES_MAX];
        facts_describe_all(pool, all, nodes);
        (void)snprintf(check->text, sizeof(check->text), "no node serves reads%s (%s): %s",
                       pool->is_coming ? " yet" : "", control_state_word(pool->control.state),
                       nodes);
    }
}

static void check_loops(const struct proxy_snapshot *snapshot, struct checks *checks)
{
    struct check *check = add_check(checks, snapshot->loop_lag_us <= LIVE_LAG_US_MAX);
    (void)snprintf(check->name, sizeof(check->name), "loops");
    (void)snprintf(check->text, sizeof(check->text), "the latest loop is %.3f s late",
                   (double)snapshot->loop_lag_us / 1e6);
}

static json_t *checks_json(const struct checks *checks)
{
    json_t *list = json_array();
    for (size_t i = 0; i < checks->count; i++) {
        const struct check *check = &checks->items[i];
        (void)json_array_append_new(list,
                                    json_pack("{s:o, s:b, s:o}", "name", facts_text(check->name),
                                              "ok", check->is_ok, "text", facts_text(check->text)));
    }
    return json_pack("{s:b, s:o}", "ok", checks->failed == 0, "checks", list);
}

static void reply_failed(const struct checks *checks, enum problem problem, const char *fix,
                         struct reply *reply)
{
    char reasons[FACTS_LIST_BYTES_MAX] = "";
    size_t used = 0;
    for (size_t i = 0; i < checks->count && used < sizeof(reasons); i++) {
        const struct check *check = &checks->items[i];
        if (!check->is_ok) {
            used += (size_t)snprintf(reasons + used, sizeof(reasons) - used, "%s%s: %s",
                                     used > 0 ? "; " : "", check->name, check->text);
        }
    }
    reply_problem_about(reply, problem, fix, "%s.", reasons);
}

static void reply_checks(const struct request *request, const struct checks *checks,
                         enum problem problem, const char *fix, struct reply *reply)
{
    if (route_query(request, "verbose") != NULL) {
        reply_json(reply, checks->failed == 0 ? 200 : 503, checks_json(checks));
    } else if (checks->failed == 0) {
        reply_text(reply, "text/plain; charset=utf-8", strdup("ok\n"), strlen("ok\n"));
    } else {
        reply_failed(checks, problem, fix, reply);
    }
}

enum question { QUESTION_LIVE, QUESTION_READY };

static void answer(const struct request *request, enum question question, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    struct checks *checks = calloc(1, sizeof(*checks));
    if (checks == NULL || control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        free(checks);
        return;
    }
    switch (question) {
    case QUESTION_LIVE:
        check_loops(snapshot, checks);
        reply_checks(request, checks, PROBLEM_STUCK, "restart the proxy, and report what it logged",
                     reply);
        break;
    case QUESTION_READY:
        check_process(snapshot, checks);
        for (uint32_t p = 0; p < snapshot->pool_count; p++) {
            check_pool(&snapshot->pools[p], checks);
        }
        reply_checks(request, checks,
                     snapshot->state == PROXY_STARTING ? PROBLEM_STARTING : PROBLEM_NOT_READY,
                     snapshot->state == PROXY_DRAINED
                         ? "POST /v1/undrain makes it ready again"
                         : "GET /v1/nodes shows each node and its last check",
                     reply);
        break;
    }
    proxy_snapshot_destroy(&snapshot);
    free(checks);
}

void health_live(const struct request *request, struct reply *reply)
{
    answer(request, QUESTION_LIVE, reply);
}

void health_ready(const struct request *request, struct reply *reply)
{
    answer(request, QUESTION_READY, reply);
}

void health_version(const struct request *request, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    reply_json(
        reply, 200,
        json_pack("{s:s, s:o}", "name", "everwarm", "version", facts_text(snapshot->version)));
    proxy_snapshot_destroy(&snapshot);
}
