/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rules. Each looks at one thing and adds at most one finding for it; what one cause brings about
 * is said once, where it is worst. Thresholds are those of the shipped alerts, so that this and the
 * pager never disagree.
 */
#include "finding.h"

#include "table.h"
#include "text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FORGOTTEN_S = 3600,       /* in maint or drain: longer than a repair takes */
    FLAPPING_TRANSITIONS = 6, /* in an hour: three deaths */
    NEAR_LIMIT_PERCENT = 80,  /* of anything that has a limit */
    ERRORS_MIN = 10,          /* fewer are chance */
    LAG_MS = 100,             /* a loop so late makes clients wait */
};

struct scene {
    const json_t *stats;
    const char *command;
    int64_t now_s;
    struct findings *out;
};

static struct finding *add(const struct scene *scene, enum finding_severity severity,
                           const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A finding to be given its fix; the last one again when there is no room. */
static struct finding *add(const struct scene *scene, enum finding_severity severity,
                           const char *format, ...)
{
    struct findings *out = scene->out;
    out->count += out->count < FINDINGS_MAX ? 1 : 0;
    struct finding *finding = &out->items[out->count - 1];
    *finding = (struct finding){.severity = severity};
    char raw[FINDING_TEXT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    text_clean(raw, finding->text, sizeof(finding->text));
    return finding;
}

static void fix(struct finding *finding, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void fix(struct finding *finding, const char *format, ...)
{
    char raw[FINDING_FIX_BYTES];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(raw, sizeof(raw), format, arguments);
    va_end(arguments);
    text_clean(raw, finding->fix, sizeof(finding->fix));
}

static bool is_word(const json_t *json, const char *path, const char *word)
{
    return strcmp(table_text(json, path), word) == 0;
}

static void age(const struct scene *scene, const char *since, char *out, size_t out_bytes)
{
    int64_t then = 0;
    if (!text_parse_time(since, &then) || then > scene->now_s) {
        (void)snprintf(out, out_bytes, "some time");
        return;
    }
    text_duration((uint64_t)(scene->now_s - then), out, out_bytes);
}

/* -- the proxy ----------------------------------------------------------------- */

static void judge_state(const struct scene *scene)
{
    if (is_word(scene->stats, "state", "drained")) {
        fix(add(scene, FINDING_WARNING,
                "The proxy is drained: it says that it is not ready, and serves on."),
            "%s proxy-undrain", scene->command);
    } else if (is_word(scene->stats, "state", "draining")) {
        fix(add(scene, FINDING_WARNING, "The proxy is about to end: it takes no new clients."),
            "wait for the one that replaces it, or start it again");
    } else if (is_word(scene->stats, "state", "starting")) {
        fix(add(scene, FINDING_CRITICAL, "The proxy is still starting and serves nobody."),
            "%s --wait 30s status", scene->command);
    }
}

/* Percent of LIMIT that is used, or 0 without a limit. */
static unsigned int percent(double used, double limit)
{
    return limit > 0 && used > 0 ? (unsigned int)(used * 100 / limit) : 0;
}

static void judge_clients(const struct scene *scene)
{
    const double open = table_number(scene->stats, "clients.open");
    const double max = table_number(scene->stats, "clients.max");
    const double rejected = table_number(scene->stats, "clients.rejected.max_clients") +
                            table_number(scene->stats, "clients.rejected.no_fd");
    if (percent(open, max) >= NEAR_LIMIT_PERCENT) {
        fix(add(scene, FINDING_WARNING, "%.0f of at most %.0f clients are connected.", open, max),
            "raise \"max_clients\" in the configuration, or start another everwarm");
    } else if (rejected > 0) {
        fix(add(scene, FINDING_NOTE, "%.0f clients were turned away since the start.", rejected),
            "%s status -o json", scene->command);
    }
}

static void judge_resources(const struct scene *scene)
{
    const unsigned int fds = percent(table_number(scene->stats, "process.fds_open"),
                                     table_number(scene->stats, "process.fds_max"));
    const unsigned int memory = percent(table_number(scene->stats, "memory.used_bytes"),
                                        table_number(scene->stats, "memory.limit_bytes"));
    const double lag_s = table_number(scene->stats, "overload.loop_lag_s");
    if (fds >= NEAR_LIMIT_PERCENT) {
        fix(add(scene, FINDING_WARNING, "%u%% of the file descriptors are open.", fds),
            "raise LimitNOFILE in the unit (systemctl edit everwarm), or ulimit -n");
    }
    if (memory >= NEAR_LIMIT_PERCENT) {
        fix(add(scene, FINDING_WARNING, "%u%% of the buffers are in use.", memory),
            "raise \"limits.memory\" in the configuration; slow readers: %s clients",
            scene->command);
    }
    if (lag_s * 1000 >= LAG_MS) {
        fix(add(scene, FINDING_WARNING, "An event loop is %.0f ms late: the machine is too busy.",
                lag_s * 1000),
            "look at the machine's load (top); give everwarm more threads or cores");
    }
    if (table_number(scene->stats, "overload.log_dropped") > 0) {
        fix(add(scene, FINDING_NOTE, "%.0f log lines were dropped: nobody read stderr in time.",
                table_number(scene->stats, "overload.log_dropped")),
            "look at what everwarm's stderr is connected to");
    }
}

/* -- pools --------------------------------------------------------------------- */

/* How another copy can come about: the node that needs the least. */
static void fix_copies(const struct scene *scene, struct finding *finding)
{
    enum way { NONE, START, READY, WAIT };
    enum way best = NONE;
    const char *key = NULL;
    const json_t *node = NULL;
    const json_t *chosen = NULL;
    json_t *nodes = json_object_get(scene->stats, "nodes");
    json_object_foreach(nodes, key, node)
    {
        const enum way way = is_word(node, "oper.state", "down")       ? START
                             : is_word(node, "data.state", "filling")  ? WAIT
                             : is_word(node, "data.state", "complete") ? NONE
                             : is_word(node, "admin.state", "ready")   ? WAIT
                                                                       : READY;
        if (way > best) {
            best = way;
            chosen = node;
        }
    }
    const char *name = table_text(chosen, "name");
    switch (best) {
    case NONE:
        fix(finding, "%s nodes", scene->command);
        break;
    case START:
        fix(finding, "start memcached at %s, then: %s --wait 10m node %s",
            table_text(chosen, "address"), scene->command, name);
        break;
    case READY:
        fix(finding, "%s ready %s --wait 10m", scene->command, name);
        break;
    case WAIT:
        fix(finding, "%s --wait 10m node %s", scene->command, name);
        break;
    }
}

static void judge_copies(const struct scene *scene, const char *name, const json_t *pool)
{
    const int factor = (int)table_number(pool, "factor");
    const int wanted = (int)table_number(pool, "factor_wanted");
    if (!json_is_true(json_object_get(pool, "readable"))) {
        fix_copies(scene, add(scene, FINDING_CRITICAL,
                              "Pool %s: no node serves reads; every read is a miss.", name));
    } else if (factor == 1 && wanted > 1) {
        fix_copies(scene, add(scene, FINDING_CRITICAL,
                              "Pool %s serves from its last copy: 1 of %d nodes holds everything.",
                              name, wanted));
    } else if (factor < wanted) {
        fix_copies(scene,
                   add(scene, FINDING_WARNING,
                       "Pool %s serves with less redundancy: %d of %d nodes hold everything.", name,
                       factor, wanted));
    }
}

static void judge_pool(const struct scene *scene, const char *name, const json_t *pool)
{
    judge_copies(scene, name, pool);
    if (is_word(pool, "state", "lapsed")) {
        fix(add(scene, FINDING_CRITICAL, "Pool %s: the lease is over, so nothing is answered.",
                name),
            "look whether this machine was stopped or starved (top, dmesg)");
    } else if (table_number(pool, "leases_lapsed") > 0) {
        fix(add(scene, FINDING_NOTE,
                "Pool %s: the lease lapsed %.0f times; the machine stood still for most of a "
                "second each time.",
                name, table_number(pool, "leases_lapsed")),
            "look at the machine's load and at its hypervisor's pauses");
    }
    if (json_is_true(json_object_get(pool, "young"))) {
        fix(add(scene, FINDING_NOTE, "Pool %s: nodes were taken on trust and not compared yet.",
                name),
            "%s verify --pool %s --repair --wait 10m", scene->command, name);
    }
    if (table_number(pool, "views_damaged") > 0) {
        fix(add(scene, FINDING_NOTE, "Pool %s: %.0f damaged views were found and overwritten.",
                name, table_number(pool, "views_damaged")),
            "look for other software that writes to keys beginning with _everwarm:");
    }
}

/* -- nodes --------------------------------------------------------------------- */

static void judge_oper(const struct scene *scene, const char *name, const json_t *node)
{
    char since[32];
    age(scene, table_text(node, "oper.since"), since, sizeof(since));
    if (is_word(node, "oper.state", "down")) {
        const char *why = table_text(node, "check.text");
        fix(add(scene, FINDING_WARNING, "%s at %s is down for %s%s%s.", name,
                table_text(node, "address"), since, why[0] == '\0' ? "" : ": ", why),
            "start memcached at %s; it is filled and taken back by itself",
            table_text(node, "address"));
    }
    if (table_number(node, "oper.transitions_1h") >= FLAPPING_TRANSITIONS) {
        fix(add(scene, FINDING_WARNING, "%s went up and down %.0f times within an hour.", name,
                table_number(node, "oper.transitions_1h")),
            "look at memcached's log at %s; keep it out meanwhile: %s maint %s",
            table_text(node, "address"), scene->command, name);
    }
}

static void judge_admin(const struct scene *scene, const char *name, const json_t *node)
{
    if (is_word(node, "admin.state", "ready") || table_text(node, "admin.state")[0] == '\0') {
        return;
    }
    char since[32];
    int64_t then = scene->now_s;
    (void)text_parse_time(table_text(node, "admin.since"), &then);
    age(scene, table_text(node, "admin.since"), since, sizeof(since));
    const bool is_forgotten = scene->now_s - then >= FORGOTTEN_S;
    const char *reason = table_text(node, "admin.reason");
    int64_t until = 0;
    char left[64] = "";
    if (text_parse_time(table_text(node, "admin.until"), &until) && until > scene->now_s) {
        char time[32];
        text_duration((uint64_t)(until - scene->now_s), time, sizeof(time));
        (void)snprintf(left, sizeof(left), ", and taken back in %s", time);
    }
    fix(add(scene, is_forgotten ? FINDING_WARNING : FINDING_NOTE, "%s is in %s for %s%s%s%s.", name,
            table_text(node, "admin.state"), since, left, reason[0] == '\0' ? "" : ": ", reason),
        "%s ready %s", scene->command, name);
}

static void judge_data(const struct scene *scene, const char *name, const json_t *node)
{
    const bool is_wanted =
        is_word(node, "oper.state", "up") && is_word(node, "admin.state", "ready");
    if (is_word(node, "data.state", "filling")) {
        const json_t *fill = table_at(node, "data.fill");
        char left[32] = "";
        if (json_is_number(json_object_get(fill, "eta_s"))) {
            text_duration((uint64_t)table_number(fill, "eta_s"), left, sizeof(left));
        }
        fix(add(scene, FINDING_NOTE, "%s is being filled%s%s%s.", name,
                left[0] == '\0' ? "" : ", about ", left, left[0] == '\0' ? "" : " left"),
            "%s --wait 10m node %s", scene->command, name);
    } else if (is_word(node, "data.state", "warming")) {
        const json_t *warm = table_at(node, "data.warm");
        fix(add(scene, FINDING_NOTE,
                "%s is warming: it had %.0f of %.0f keys that were read lately.", name,
                table_number(warm, "hits"), table_number(warm, "asked")),
            "start memcached without -X on the others, so that %s can be filled; or take it as it "
            "is: %s ready %s --force",
            name, scene->command, name);
    } else if (is_wanted && is_word(node, "data.state", "out")) {
        fix(add(scene, FINDING_NOTE, "%s is up and waits to be filled.", name),
            "%s --wait 10m node %s", scene->command, name);
    }
}

static void judge_errors(const struct scene *scene, const char *name, const json_t *node)
{
    const double errors = table_number(node, "traffic.errors.timeout") +
                          table_number(node, "traffic.errors.protocol");
    const double requests = table_number(node, "traffic.requests");
    if (errors >= ERRORS_MIN && errors * 100 >= requests) {
        fix(add(scene, FINDING_WARNING, "%s failed %.0f of %.0f requests since the start.", name,
                errors, requests),
            "look at memcached's log and load at %s", table_text(node, "address"));
    }
}

/* -- all ----------------------------------------------------------------------- */

/* Insertion keeps the order of equals: proxy, pools, nodes. */
static void sort(struct findings *findings)
{
    for (size_t i = 1; i < findings->count; i++) {
        const struct finding moved = findings->items[i];
        size_t at = i;
        for (; at > 0 && findings->items[at - 1].severity > moved.severity; at--) {
            findings->items[at] = findings->items[at - 1];
        }
        findings->items[at] = moved;
    }
}

void finding_collect(const json_t *stats, const char *command, int64_t now_s, struct findings *out)
{
    const struct scene scene = {.stats = stats, .command = command, .now_s = now_s, .out = out};
    const char *name = NULL;
    const json_t *part = NULL;
    out->count = 0;
    judge_state(&scene);
    json_t *pools = json_object_get(json_object_get(stats, "replication"), "pools");
    json_object_foreach(pools, name, part)
    {
        judge_pool(&scene, name, part);
    }
    json_t *nodes = json_object_get(stats, "nodes");
    json_object_foreach(nodes, name, part)
    {
        judge_oper(&scene, name, part);
        judge_admin(&scene, name, part);
        judge_data(&scene, name, part);
        judge_errors(&scene, name, part);
    }
    judge_clients(&scene);
    judge_resources(&scene);
    sort(out);
}

const char *finding_word(enum finding_severity severity)
{
    static const char *const WORDS[] = {"critical", "warning", "note"};
    return WORDS[severity];
}

void finding_verdict(const json_t *stats, const struct findings *findings, char *out)
{
    if (findings->count > 0 && findings->items[0].severity != FINDING_NOTE) {
        memcpy(out, findings->items[0].text, FINDING_TEXT_BYTES);
        return;
    }
    const size_t nodes = json_object_size(json_object_get(stats, "nodes"));
    int used = snprintf(out, FINDING_TEXT_BYTES,
                        nodes == 1   ? "Fine: the one node is served."
                        : nodes == 2 ? "Fine: both nodes hold everything."
                                     : "Fine: all %zu nodes hold everything.",
                        nodes);
    if (findings->count > 0) {
        (void)snprintf(out + used, FINDING_TEXT_BYTES - (size_t)used, " Note: %s",
                       findings->items[0].text);
    }
}
