/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tasks in a bounded table. Nothing here does the work: a task is a name for work that control or
 * a fill does anyway, so that people can ask how far it is.
 *
 *   WAITING ◄─► RUNNING ─► DONE | FAILED | CANCELLED
 *
 * I1  ids grow, and an ended task keeps its place until a new one needs it: the oldest goes first.
 * I2  there is at most one resync or fill under way for a node.
 */
#include "task_table.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <string.h>

static const char *const kind_words[TASK_KIND_COUNT] = {
#define X(name, word) [TASK_##name] = (word),
    TASK_KIND_TABLE(X)
#undef X
};

static const char *const state_words[TASK_STATE_COUNT] = {
#define X(name, word) [TASK_STATE_##name] = (word),
    TASK_STATE_TABLE(X)
#undef X
};

const char *task_kind_word(enum task_kind kind)
{
    REQUIRE(kind < TASK_KIND_COUNT);
    return kind_words[kind];
}

const char *task_state_word(enum task_state state)
{
    REQUIRE(state < TASK_STATE_COUNT);
    return state_words[state];
}

static void task_move(struct task *task, enum task_state to, uint64_t now_us)
{
    INVARIANT(!task_is_over(task) && to < TASK_STATE_COUNT);
    task->state = to;
    if (to == TASK_STATE_RUNNING && task->began_us == 0) {
        task->began_us = now_us;
    }
    if (task_is_over(task)) {
        task->ended_us = now_us;
        task->left_us = 0;
    }
}

void task_table_init(struct task_table *table)
{
    memset(table, 0, sizeof(*table));
    INVARIANT(pthread_mutex_init(&table->mutex, NULL) == 0);
}

void task_table_fini(struct task_table *table)
{
    (void)pthread_mutex_destroy(&table->mutex);
}

/* --- Under the mutex --- */

static struct task *find(struct task_table *table, uint64_t id)
{
    for (size_t i = 0; i < TASKS_MAX; i++) {
        if (id != 0 && table->tasks[i].id == id) {
            return &table->tasks[i];
        }
    }
    return NULL;
}

/* The work that is under way for a node; NULL: none. */
static struct task *find_same(struct task_table *table, const struct task *task)
{
    const bool is_fill = task->kind == TASK_RESYNC || task->kind == TASK_FILL;
    for (size_t i = 0; i < TASKS_MAX; i++) {
        struct task *other = &table->tasks[i];
        const bool is_other_fill = other->kind == TASK_RESYNC || other->kind == TASK_FILL;
        if (other->id != 0 && !task_is_over(other) && other->pool == task->pool &&
            other->node == task->node &&
            (other->kind == task->kind || (is_fill && is_other_fill))) {
            return other;
        }
    }
    return NULL;
}

/* An unused place, or that of the oldest ended task; NULL: all are under way. */
static struct task *find_place(struct task_table *table)
{
    struct task *oldest = NULL;
    for (size_t i = 0; i < TASKS_MAX; i++) {
        struct task *task = &table->tasks[i];
        if (task->id == 0) {
            return task;
        }
        if (task_is_over(task) && (oldest == NULL || task->id < oldest->id)) {
            oldest = task;
        }
    }
    return oldest;
}

static enum status add(struct task_table *table, struct task *task)
{
    struct task *same = find_same(table, task);
    if (same != NULL) {
        /* What was asked for explicitly is called so, whoever began it. */
        same->kind = task->kind == TASK_RESYNC ? TASK_RESYNC : same->kind;
        *task = *same;
        return STATUS_OK;
    }
    struct task *place = find_place(table);
    if (place == NULL) {
        return STATUS_FULL;
    }
    task->id = ++table->last_id;
    task->left_us = UINT64_MAX;
    *place = *task;
    return STATUS_OK;
}

/* --- Asked by admin, told by who does the work --- */

enum status task_table_add(struct task_table *table, struct task *task)
{
    REQUIRE(task->kind < TASK_KIND_COUNT && task->id == 0 && !task_is_over(task));
    (void)pthread_mutex_lock(&table->mutex);
    const enum status status = add(table, task);
    (void)pthread_mutex_unlock(&table->mutex);
    return status;
}

bool task_table_find(struct task_table *table, uint64_t id, struct task *out)
{
    (void)pthread_mutex_lock(&table->mutex);
    const struct task *task = find(table, id);
    if (task != NULL) {
        *out = *task;
    }
    (void)pthread_mutex_unlock(&table->mutex);
    return task != NULL;
}

/* The youngest first. */
size_t task_table_list(struct task_table *table, struct task *out, size_t capacity)
{
    size_t count = 0;
    (void)pthread_mutex_lock(&table->mutex);
    for (uint64_t below = UINT64_MAX; count < capacity; count++) {
        const struct task *next = NULL;
        for (size_t i = 0; i < TASKS_MAX; i++) {
            const struct task *task = &table->tasks[i];
            if (task->id < below && task->id > (next == NULL ? 0 : next->id)) {
                next = task;
            }
        }
        if (next == NULL) {
            break;
        }
        out[count] = *next;
        below = next->id;
    }
    (void)pthread_mutex_unlock(&table->mutex);
    return count;
}

void task_table_update(struct task_table *table, const struct task *task)
{
    (void)pthread_mutex_lock(&table->mutex);
    struct task *kept = find(table, task->id);
    if (kept != NULL && !task_is_over(kept)) {
        const bool is_cancel_asked = kept->is_cancel_asked;
        *kept = *task;
        kept->is_cancel_asked = is_cancel_asked || task->is_cancel_asked;
    }
    (void)pthread_mutex_unlock(&table->mutex);
}

bool task_table_cancel(struct task_table *table, uint64_t id, uint64_t now_us, struct task *out)
{
    (void)pthread_mutex_lock(&table->mutex);
    struct task *task = find(table, id);
    if (task != NULL && !task_is_over(task)) {
        switch (task->kind) {
        case TASK_CHECK:
            task_move(task, TASK_STATE_CANCELLED, now_us);
            break;
        case TASK_VERIFY:
            task->is_cancel_asked = true; /* who does it ends it */
            break;
        case TASK_RESYNC:
        case TASK_FILL:
        case TASK_KIND_COUNT:
            break;
        }
    }
    if (task != NULL) {
        *out = *task;
    }
    (void)pthread_mutex_unlock(&table->mutex);
    return task != NULL;
}

/* --- Followed by the control thread --- */

static void set_text(struct task *task, const char *text)
{
    (void)snprintf(task->text, sizeof(task->text), "%s", text);
}

static void show_progress(struct task *task, const struct control_node_snapshot *node)
{
    if (!node->is_filled_by_us) {
        task->left_us = UINT64_MAX;
        return;
    }
    task->done = node->fill.items_done;
    task->total = node->fill.items_total;
    task->bytes = node->fill.bytes_done;
    task->left_us = node->fill.eta_us;
}

/* What a node that is out waits for. */
static const char *describe_out(const struct control_node_snapshot *node, uint64_t now_us)
{
    if (node->admin == NODE_ADMIN_MAINT) {
        return "the node is in maint: it is filled when it is ready again";
    }
    if (node->oper == NODE_OPER_DOWN) {
        return "the node is down: it is filled when it is back";
    }
    return node->hold_down_until_us > now_us ? "the node left often lately: it is held down"
                                             : "waits to be filled";
}

static void follow_fill(struct task *task, const struct control_node_snapshot *node,
                        uint64_t now_us)
{
    switch (node->data) {
    case NODE_DATA_FILLING:
    case NODE_DATA_WARMING:
        if (task->state == TASK_STATE_WAITING) {
            task_move(task, TASK_STATE_RUNNING, now_us);
            set_text(task, "");
        }
        show_progress(task, node);
        break;
    case NODE_DATA_COMPLETE:
        /* Complete as it was when the resync was asked for is not complete again. */
        if (node->data_since_us >= task->asked_us) {
            task_move(task, TASK_STATE_DONE, now_us);
            set_text(task, "");
        }
        break;
    case NODE_DATA_OUT:
        if (task->kind == TASK_FILL) {
            task_move(task, TASK_STATE_FAILED, now_us);
            set_text(task, "the node left the view");
            break;
        }
        if (task->state == TASK_STATE_RUNNING) {
            task_move(task, TASK_STATE_WAITING, now_us);
        }
        set_text(task, describe_out(node, now_us));
        break;
    }
}

static void follow_check(struct task *task, const struct control_node_snapshot *node,
                         uint64_t now_us)
{
    /* One that had begun before it was asked for says nothing of now. */
    if (node->check_at_us < task->asked_us + node->check_us) {
        return;
    }
    set_text(task, node->check_text);
    task->done = 1;
    task_move(task, node->is_check_ok ? TASK_STATE_DONE : TASK_STATE_FAILED, now_us);
}

static void show_figures(struct task *task, const struct verify_progress *progress)
{
    size_t count = 0;
    for (uint32_t kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        task->figures[count++] =
            (struct task_figure){verify_kind_word((enum verify_kind)kind), progress->found[kind]};
    }
    const struct task_figure more[] = {
        {"mended", progress->mended},
        {"unmended", progress->unmended},
        {"unsettled", progress->unsettled},
        {"forgotten", progress->forgotten},
    };
    _Static_assert(VERIFY_KIND_COUNT + sizeof(more) / sizeof(more[0]) <= TASK_FIGURES_MAX,
                   "each figure has a place");
    memcpy(task->figures + count, more, sizeof(more));
    task->done = progress->keys_done;
    task->total =
        progress->keys_total > progress->keys_done ? progress->keys_total : progress->keys_done;
    task->bytes = progress->bytes_done;
}

static void follow_verify(struct task *task, const struct control_snapshot *control,
                          uint64_t now_us)
{
    const struct control_verify_snapshot *run = &control->verify;
    if (run->why == CONTROL_VERIFY_ASKED && run->tag == task->asked_us && run->is_running) {
        if (task->state == TASK_STATE_WAITING) {
            task_move(task, TASK_STATE_RUNNING, now_us);
        }
        show_figures(task, &run->progress);
        return;
    }
    run = &control->verify_asked;
    if (run->why != CONTROL_VERIFY_ASKED || run->tag != task->asked_us) {
        set_text(task, "waits until the pool is at rest");
        return;
    }
    show_figures(task, &run->progress);
    const bool is_cancelled = task->is_cancel_asked && run->phase != VERIFY_DONE;
    set_text(task, run->failure);
    task_move(task,
              is_cancelled                ? TASK_STATE_CANCELLED
              : run->phase == VERIFY_DONE ? TASK_STATE_DONE
                                          : TASK_STATE_FAILED,
              now_us);
}

static void follow(struct task *task, const struct control_snapshot *control, uint64_t now_us)
{
    if (task->kind == TASK_VERIFY) {
        follow_verify(task, control, now_us);
        return;
    }
    if (task->node >= control->node_count || (control->members & node_set_of(task->node)) == 0) {
        task_move(task, TASK_STATE_FAILED, now_us);
        set_text(task, "the node was removed");
        return;
    }
    const struct control_node_snapshot *node = &control->nodes[task->node];
    if (task->kind == TASK_CHECK) {
        follow_check(task, node, now_us);
    } else {
        follow_fill(task, node, now_us);
    }
}

void task_table_follow(struct task_table *table, uint32_t pool,
                       const struct control_snapshot *control, uint64_t now_us)
{
    (void)pthread_mutex_lock(&table->mutex);
    for (size_t i = 0; i < TASKS_MAX; i++) {
        struct task *task = &table->tasks[i];
        if (task->id != 0 && task->pool == pool && !task_is_over(task)) {
            follow(task, control, now_us);
        }
    }
    for (uint32_t node = 0; node < control->node_count; node++) {
        if ((control->members & node_set_of(node)) != 0 &&
            control->nodes[node].data == NODE_DATA_FILLING) {
            struct task task = {.kind = TASK_FILL,
                                .pool = pool,
                                .node = node,
                                .asked_us = control->nodes[node].data_since_us};
            /* Without room it is only not shown. */
            if (add(table, &task) == STATUS_OK && task.state == TASK_STATE_WAITING) {
                follow(find(table, task.id), control, now_us);
            }
        }
    }
    (void)pthread_mutex_unlock(&table->mutex);
}

void task_table_end_pool(struct task_table *table, uint32_t pool, uint64_t now_us)
{
    (void)pthread_mutex_lock(&table->mutex);
    for (size_t i = 0; i < TASKS_MAX; i++) {
        struct task *task = &table->tasks[i];
        if (task->id != 0 && task->pool == pool && !task_is_over(task)) {
            task_move(task, TASK_STATE_FAILED, now_us);
            set_text(task, "the pool was removed");
        }
    }
    (void)pthread_mutex_unlock(&table->mutex);
}

void task_table_note(struct task_table *table, uint32_t pool, uint32_t node, const char *why)
{
    const struct task like = {.kind = TASK_FILL, .pool = pool, .node = node};
    (void)pthread_mutex_lock(&table->mutex);
    struct task *task = find_same(table, &like);
    if (task != NULL) {
        (void)snprintf(task->text, sizeof(task->text), "tried again: %.100s", why);
    }
    (void)pthread_mutex_unlock(&table->mutex);
}
