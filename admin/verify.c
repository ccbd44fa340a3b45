/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Comparing copies on request. Control takes one at a time; the task follows it by a tag, which is
 * the time at which it was asked for.
 */
#include "verify.h"

#include "facts.h"
#include "nodes.h"
#include "tasks.h"
#include "uri.h"

#include "everwarm/shell/log.h"

#include <string.h>

enum {
    /* Control only notes it down; it answers at once unless its thread is stuck. */
    VERIFY_TIMEOUT_MS = 5000,
};

static bool read_repair(const struct request *request, struct reply *reply, bool *out)
{
    const char *repair = route_query(request, "repair");
    *out = repair != NULL && strcmp(repair, "false") != 0;
    if (repair == NULL || strcmp(repair, "true") == 0 || strcmp(repair, "false") == 0) {
        return true;
    }
    reply_problem(reply, PROBLEM_BAD_REQUEST, "\"repair\" is true or false.", "write ?repair=true");
    return false;
}

/* ?pool=; it may be left out where there is one. */
static bool find_pool(const struct request *request, const struct proxy_snapshot *snapshot,
                      struct reply *reply, uint32_t *out)
{
    const char *name = route_query(request, "pool");
    *out = snapshot->pools[0].id;
    if (name == NULL && snapshot->pool_count > 1) {
        reply_problem(reply, PROBLEM_BAD_REQUEST, "There are several pools.", "write ?pool=NAME");
        return false;
    }
    for (uint32_t p = 0; name != NULL && p < snapshot->pool_count; p++) {
        if (strcmp(snapshot->pools[p].name, name) == 0) {
            *out = snapshot->pools[p].id;
            return true;
        }
    }
    if (name != NULL) {
        reply_problem(reply, PROBLEM_NO_POOL, "No pool of this proxy is called so.",
                      "GET /stats shows the pools under \"replication\"");
    }
    return name == NULL;
}

/* What is to be verified, and when that was asked. */
static bool read_target(const struct request *request, struct reply *reply, struct task *task)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return false;
    }
    task->asked_us = snapshot->now_mono_us;
    task->node = TASK_NO_NODE;
    const bool has_name = strchr(request->route->path, '{') != NULL;
    const bool is_found = has_name ? nodes_find(request, reply, &task->pool, &task->node)
                                   : find_pool(request, snapshot, reply, &task->pool);
    proxy_snapshot_destroy(&snapshot);
    return is_found;
}

static void refuse(enum control_result result, struct reply *reply)
{
    if (result == CONTROL_RESULT_STARTING) {
        reply_problem(reply, PROBLEM_STARTING, "It has not joined a view of the pool yet.",
                      "repeat the call when GET /readyz answers 200");
    } else if (result == CONTROL_RESULT_TIMEOUT) {
        reply_problem(reply, PROBLEM_TIMEOUT, "The proxy did not answer.",
                      "look at GET /v1/verify, and repeat the call");
    } else {
        reply_problem(reply, PROBLEM_VERIFYING, "One verify of a pool runs at a time.",
                      "GET /v1/tasks shows it; wait for its end, or DELETE it");
    }
}

void verify_begin(const struct request *request, struct reply *reply)
{
    struct task task = {.kind = TASK_VERIFY};
    struct control_port_request asked = {.type = CONTROL_COMMAND_VERIFY,
                                         .timeout_ms = VERIFY_TIMEOUT_MS};
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    if (!read_repair(request, reply, &asked.is_mending) || !read_target(request, reply, &task)) {
        return;
    }
    asked.pool = task.pool;
    asked.node = task.node == TASK_NO_NODE ? VERIFY_ALL_NODES : task.node;
    asked.tag = task.asked_us;
    if (control_port_command(request->port, &asked, &result) != STATUS_OK) {
        reply_problem(reply, PROBLEM_BUSY, "The proxy takes no more commands at the moment.",
                      "repeat the call in a second");
        return;
    }
    if (result != CONTROL_RESULT_OK && result != CONTROL_RESULT_UNCHANGED) {
        refuse(result, reply);
        return;
    }
    /* Asked for twice, done once: the table gives the task that is there. */
    const uint64_t asked_us = task.asked_us;
    if (control_port_task_add(request->port, &task) != STATUS_OK) {
        reply_problem(reply, PROBLEM_BUSY, "Too many tasks are under way.",
                      "GET /v1/verify shows how it goes all the same");
        return;
    }
    if (task.asked_us == asked_us) {
        log_line(LOG_LEVEL_NOTICE, "task", LOG_NUMBER("id", task.id),
                 LOG_TEXT("node", request->name), LOG_TEXT("kind", "verify"),
                 LOG_TEXT("who", request->who));
    }
    tasks_reply(request, &task, 202, reply);
}

void verify_stop_asked(const struct request *request, const struct task *task)
{
    const struct control_port_request asked = {.type = CONTROL_COMMAND_VERIFY_STOP,
                                               .pool = task->pool,
                                               .node = VERIFY_ALL_NODES,
                                               .timeout_ms = VERIFY_TIMEOUT_MS};
    enum control_result result;
    /* Whether it is over the task itself will show. */
    const enum status status = control_port_command(request->port, &asked, &result);
    (void)status;
}

/* --- What was found --- */

static json_t *example_json(const struct proxy_pool *pool, const struct verify_example *example)
{
    char key[3 * MC_KEY_BYTES_MAX + 1];
    uri_show(slice_of(example->key, example->key_bytes), key, sizeof(key));
    return json_pack("{s:s, s:s, s:o, s:o}", "key", key, "kind", verify_kind_word(example->kind),
                     "node", facts_text(pool->nodes[example->node].name), "leader",
                     facts_text(pool->nodes[example->leader].name));
}

static json_t *found_json(const struct verify_progress *progress)
{
    json_t *found = json_object();
    for (uint32_t kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        (void)json_object_set_new(found, verify_kind_word((enum verify_kind)kind),
                                  facts_count(progress->found[kind]));
    }
    return found;
}

static json_t *run_json(const struct proxy_snapshot *snapshot, const struct proxy_pool *pool,
                        const struct control_verify_snapshot *run)
{
    if (run->why == CONTROL_VERIFY_NONE) {
        return json_null();
    }
    const struct verify_progress *progress = &run->progress;
    json_t *examples = json_array();
    for (uint32_t i = 0; i < progress->example_count; i++) {
        (void)json_array_append_new(examples, example_json(pool, &progress->examples[i]));
    }
    const bool has_node = facts_is_member(pool, run->node);
    return json_pack(
        "{s:s, s:s, s:o, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "why",
        control_verify_why_word(run->why), "state", verify_state_word(run->phase), "node",
        has_node ? facts_text(pool->nodes[run->node].name) : json_null(), "repair", run->is_mending,
        "began", facts_time(snapshot, run->started_us), "ended",
        run->is_running ? json_null() : facts_time(snapshot, run->ended_us), "failure",
        run->failure[0] == '\0' ? json_null() : facts_text(run->failure), "keys_done",
        facts_count(progress->keys_done), "keys_total",
        progress->keys_total == 0 ? json_null() : facts_count(progress->keys_total), "bytes_done",
        facts_count(progress->bytes_done), "found", found_json(progress), "mended",
        facts_count(progress->mended), "unmended", facts_count(progress->unmended), "unsettled",
        facts_count(progress->unsettled), "forgotten", facts_count(progress->forgotten), "examples",
        examples);
}

void verify_show(const struct request *request, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    uint32_t only = 0;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    const bool is_one = route_query(request, "pool") != NULL;
    if (is_one && !find_pool(request, snapshot, reply, &only)) {
        proxy_snapshot_destroy(&snapshot);
        return;
    }
    json_t *pools = json_object();
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        const struct proxy_pool *pool = &snapshot->pools[p];
        if (!is_one || pool->id == only) {
            (void)json_object_set_new(
                pools, pool->name,
                json_pack("{s:o, s:o}", "latest", run_json(snapshot, pool, &pool->control.verify),
                          "asked", run_json(snapshot, pool, &pool->control.verify_asked)));
        }
    }
    reply_json(reply, 200, json_pack("{s:o}", "pools", pools));
    proxy_snapshot_destroy(&snapshot);
}
