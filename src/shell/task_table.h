/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of tasks behind control_port_task_*, and what moves them by themselves. */
#ifndef EVERWARM_SRC_SHELL_TASK_TABLE_H
#define EVERWARM_SRC_SHELL_TASK_TABLE_H

#include "everwarm/base/status.h"
#include "everwarm/core/control.h"
#include "everwarm/shell/task.h"

#include <pthread.h>
#include <stddef.h>

enum {
    /* A resync of every node of a pool, and as many ended ones to look back at; when more are under
     * way than fit, new ones are refused. */
    TASKS_MAX = 64,
};

struct task_table {
    pthread_mutex_t mutex;
    uint64_t last_id;
    struct task tasks[TASKS_MAX]; /* id 0: unused */
};

void task_table_init(struct task_table *table);
void task_table_fini(struct task_table *table);

/* As control_port_task_add, _find, _list, _update and _cancel. Thread: any. */
MUST_CHECK enum status task_table_add(struct task_table *table, struct task *task);
bool task_table_find(struct task_table *table, uint64_t id, struct task *out);
size_t task_table_list(struct task_table *table, struct task *out, size_t capacity);
void task_table_update(struct task_table *table, const struct task *task);
bool task_table_cancel(struct task_table *table, uint64_t id, uint64_t now_us, struct task *out);

/* Move the tasks of POOL that its nodes' states say all about: resyncs, fills and checks. A node
 * that is found filling without a task gets one. Thread: the control thread. */
void task_table_follow(struct task_table *table, uint32_t pool,
                       const struct control_snapshot *control, uint64_t now_us);
/* A fill of NODE failed, and is tried again: say why in its task. */
/* What is under way for the pool with this id has failed: it goes. */
void task_table_end_pool(struct task_table *table, uint32_t pool, uint64_t now_us);
void task_table_note(struct task_table *table, uint32_t pool, uint32_t node, const char *why);

#endif
