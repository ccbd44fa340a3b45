/* SPDX-License-Identifier: BSD-2-Clause */
/* Tasks as JSON. What a task does not know is null, never a guess. */
#include "tasks.h"

#include "facts.h"
#include "verify.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    /* More than the table behind it holds. */
    LIST_MAX = 256,
};

static json_t *left_json(const struct task *task)
{
    return task->left_us == UINT64_MAX ? json_null()
                                       : facts_count((task->left_us + 999999) / 1000000);
}

static json_t *figures_json(const struct task *task)
{
    json_t *figures = json_object();
    for (size_t i = 0; i < TASK_FIGURES_MAX && task->figures[i].name != NULL; i++) {
        (void)json_object_set_new(figures, task->figures[i].name,
                                  facts_count(task->figures[i].value));
    }
    return figures;
}

static bool is_cancellable(const struct task *task)
{
    return !task_is_over(task) && (task->kind == TASK_CHECK || task->kind == TASK_VERIFY);
}

static json_t *task_json(const struct proxy_snapshot *snapshot, const struct task *task)
{
    const struct proxy_pool *pool = proxy_snapshot_pool(snapshot, task->pool);
    const bool has_node = pool != NULL && facts_is_member(pool, task->node);
    return json_pack(
        "{s:o, s:s, s:o, s:o, s:s, s:o, s:o, s:o, s:{s:o, s:o, s:o, s:o}, s:o, s:o, s:b}", "id",
        facts_count(task->id), "kind", task_kind_word(task->kind), "pool",
        pool == NULL ? json_null() : facts_text(pool->name), "node",
        has_node ? facts_text(pool->nodes[task->node].name) : json_null(), "state",
        task_state_word(task->state), "asked", facts_time(snapshot, task->asked_us), "began",
        facts_time(snapshot, task->began_us), "ended", facts_time(snapshot, task->ended_us),
        "progress", "done", facts_count(task->done), "total",
        task->total == 0 ? json_null() : facts_count(task->total), "bytes",
        facts_count(task->bytes), "eta_s", left_json(task), "figures", figures_json(task), "text",
        task->text[0] == '\0' ? json_null() : facts_text(task->text), "cancellable",
        is_cancellable(task));
}

void tasks_reply(const struct request *request, const struct task *task, unsigned int status,
                 struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, status, NULL);
        return;
    }
    if (status == 202) {
        (void)snprintf(reply->location, sizeof(reply->location), "/v1/tasks/%" PRIu64, task->id);
    }
    reply_json(reply, status, task_json(snapshot, task));
    proxy_snapshot_destroy(&snapshot);
}

bool tasks_find_fill(struct control_port *port, struct task *like)
{
    bool is_found = false;
    struct task *tasks = calloc(LIST_MAX, sizeof(*tasks));
    const size_t count = tasks == NULL ? 0 : control_port_task_list(port, tasks, LIST_MAX);
    for (size_t i = 0; i < count && !is_found; i++) {
        const struct task *task = &tasks[i];
        is_found = !task_is_over(task) && task->pool == like->pool && task->node == like->node &&
                   (task->kind == TASK_FILL || task->kind == TASK_RESYNC);
        if (is_found) {
            *like = *task;
        }
    }
    free(tasks);
    return is_found;
}

void tasks_list(const struct request *request, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    struct task *tasks = calloc(LIST_MAX, sizeof(*tasks));
    if (tasks == NULL || control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        free(tasks);
        reply_json(reply, 200, NULL);
        return;
    }
    json_t *list = json_array();
    const size_t count = control_port_task_list(request->port, tasks, LIST_MAX);
    for (size_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, task_json(snapshot, &tasks[i]));
    }
    reply_json(reply, 200, json_pack("{s:o}", "tasks", list));
    proxy_snapshot_destroy(&snapshot);
    free(tasks);
}

static void refuse_unknown(const struct request *request, struct reply *reply)
{
    reply_problem_about(reply, PROBLEM_NO_TASK, "GET /v1/tasks lists those that are known",
                        "There is no task \"%s\"; ended ones are forgotten when others need "
                        "their place.",
                        request->name);
}

void tasks_show(const struct request *request, struct reply *reply)
{
    uint64_t id = 0;
    struct task task;
    if (route_number(request->name, &id) && control_port_task_find(request->port, id, &task)) {
        tasks_reply(request, &task, 200, reply);
    } else {
        refuse_unknown(request, reply);
    }
}

void tasks_cancel(const struct request *request, struct reply *reply)
{
    uint64_t id = 0;
    struct task task;
    if (!route_number(request->name, &id) || !control_port_task_cancel(request->port, id, &task)) {
        refuse_unknown(request, reply);
        return;
    }
    if (task.kind == TASK_VERIFY && !task_is_over(&task)) {
        verify_stop_asked(request, &task);
    }
    if (task_is_over(&task) || task.is_cancel_asked) {
        tasks_reply(request, &task, 200, reply);
    } else {
        reply_problem(reply, PROBLEM_NOT_CANCELLABLE,
                      "The node's data is gone already, so its fill goes on.",
                      "POST /v1/nodes/{name}/maint keeps the node empty instead");
    }
}
