/* SPDX-License-Identifier: BSD-2-Clause */
/* The task table and the event ring: bounds, what moves a task, and waits that end. */
#include "shell/event_ring.h"
#include "shell/task_table.h"

#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>

static struct task_table table;
static struct control_snapshot control;
static struct event_ring ring;

static void set_up(void)
{
    task_table_init(&table);
    event_ring_init(&ring);
    memset(&control, 0, sizeof(control));
    control.node_count = 2;
    control.members = 3;
    for (size_t i = 0; i < 2; i++) {
        control.nodes[i].data = NODE_DATA_COMPLETE;
        control.nodes[i].data_since_us = 5;
        control.nodes[i].oper = NODE_OPER_UP;
    }
}

static void tear_down(void)
{
    task_table_fini(&table);
    event_ring_fini(&ring);
}

static uint64_t add(enum task_kind kind, uint32_t node, uint64_t asked_us)
{
    struct task task = {.kind = kind, .node = node, .asked_us = asked_us};
    ck_assert_int_eq(task_table_add(&table, &task), STATUS_OK);
    return task.id;
}

static struct task look(uint64_t id, uint64_t now_us)
{
    struct task task;
    task_table_follow(&table, 0, &control, now_us);
    ck_assert(task_table_find(&table, id, &task));
    return task;
}

START_TEST(a_resync_is_done_when_the_node_is_complete_again)
{
    const uint64_t id = add(TASK_RESYNC, 0, 100);
    ck_assert_int_eq(look(id, 101).state, TASK_STATE_WAITING); /* complete since before */
    struct control_node_snapshot *node = &control.nodes[0];
    node->data = NODE_DATA_OUT;
    node->data_since_us = 102;
    node->oper = NODE_OPER_DOWN;
    ck_assert_ptr_nonnull(strstr(look(id, 103).text, "down"));
    node->oper = NODE_OPER_UP;
    node->admin = NODE_ADMIN_MAINT;
    ck_assert_ptr_nonnull(strstr(look(id, 103).text, "maint"));
    node->data = NODE_DATA_FILLING;
    node->is_filled_by_us = true;
    node->fill = (struct fill_progress){.items_done = 3, .items_total = 9, .bytes_done = 7};
    struct task task = look(id, 104);
    ck_assert_int_eq(task.state, TASK_STATE_RUNNING);
    ck_assert_uint_eq(task.done, 3);
    ck_assert_uint_eq(task.total, 9);
    ck_assert_str_eq(task.text, "");
    task_table_note(&table, 0, 0, "donor lost");
    ck_assert_str_eq(look(id, 104).text, "tried again: donor lost");
    node->data = NODE_DATA_OUT; /* it died while it was filled: it is still to be filled */
    ck_assert_int_eq(look(id, 105).state, TASK_STATE_WAITING);
    node->data = NODE_DATA_COMPLETE;
    node->data_since_us = 106;
    task = look(id, 107);
    ck_assert_int_eq(task.state, TASK_STATE_DONE);
    ck_assert_uint_eq(task.ended_us, 107);
    node->data = NODE_DATA_OUT; /* an end is an end */
    ck_assert_int_eq(look(id, 108).state, TASK_STATE_DONE);
}
END_TEST

START_TEST(a_fill_that_begins_by_itself_has_a_task)
{
    control.nodes[1].data = NODE_DATA_FILLING;
    control.nodes[1].data_since_us = 50;
    task_table_follow(&table, 0, &control, 60);
    task_table_follow(&table, 0, &control, 61);
    struct task tasks[TASKS_MAX];
    ck_assert_uint_eq(task_table_list(&table, tasks, TASKS_MAX), 1);
    ck_assert_int_eq(tasks[0].kind, TASK_FILL);
    ck_assert_int_eq(tasks[0].state, TASK_STATE_RUNNING);
    ck_assert_uint_eq(tasks[0].asked_us, 50);
    /* Asked for while it runs, it is the same work. */
    ck_assert_uint_eq(add(TASK_RESYNC, 1, 62), tasks[0].id);
    ck_assert_int_eq(look(tasks[0].id, 63).kind, TASK_RESYNC);
    control.nodes[1].data = NODE_DATA_COMPLETE;
    control.nodes[1].data_since_us = 64;
    ck_assert_int_eq(look(tasks[0].id, 65).state, TASK_STATE_DONE);
    control.nodes[1].data = NODE_DATA_FILLING;
    task_table_follow(&table, 0, &control, 70);
    control.nodes[1].data = NODE_DATA_OUT;
    ck_assert_int_eq(look(2, 71).state, TASK_STATE_FAILED);
}
END_TEST

START_TEST(a_check_counts_from_when_it_was_asked_for)
{
    const uint64_t id = add(TASK_CHECK, 0, 100);
    control.nodes[0].check_at_us = 105;
    control.nodes[0].check_us = 10; /* it had begun at 95 */
    ck_assert_int_eq(look(id, 106).state, TASK_STATE_WAITING);
    control.nodes[0].check_at_us = 115;
    memcpy(control.nodes[0].check_text, "timeout", sizeof("timeout"));
    ck_assert_int_eq(look(id, 116).state, TASK_STATE_FAILED);
    ck_assert_str_eq(look(id, 116).text, "timeout");
    const uint64_t good = add(TASK_CHECK, 1, 100);
    control.nodes[1].check_at_us = 115;
    control.nodes[1].is_check_ok = true;
    ck_assert_int_eq(look(good, 116).state, TASK_STATE_DONE);
    const uint64_t gone = add(TASK_CHECK, 1, 200);
    control.members = 1;
    ck_assert_int_eq(look(gone, 201).state, TASK_STATE_FAILED);
}
END_TEST

START_TEST(the_table_is_bounded)
{
    struct task task;
    for (uint32_t i = 0; i < TASKS_MAX; i++) {
        ck_assert_uint_eq(add(TASK_VERIFY, i, 1), i + 1);
    }
    struct task one_more = {.kind = TASK_VERIFY, .node = TASKS_MAX};
    ck_assert_int_eq(task_table_add(&table, &one_more), STATUS_FULL);
    /* The same work again needs no place. */
    ck_assert_uint_eq(add(TASK_VERIFY, 3, 9), 4);
    ck_assert(task_table_find(&table, 7, &task));
    task.state = TASK_STATE_DONE;
    task_table_update(&table, &task);
    ck_assert(task_table_find(&table, 9, &task));
    task.state = TASK_STATE_DONE;
    task_table_update(&table, &task);
    ck_assert_uint_eq(add(TASK_VERIFY, TASKS_MAX, 2), TASKS_MAX + 1);
    ck_assert(!task_table_find(&table, 7, &task)); /* the oldest ended one went */
    ck_assert(task_table_find(&table, 9, &task));
    ck_assert(!task_table_find(&table, 0, &task));
    struct task tasks[TASKS_MAX];
    ck_assert_uint_eq(task_table_list(&table, tasks, TASKS_MAX), TASKS_MAX);
    for (size_t i = 1; i < TASKS_MAX; i++) {
        ck_assert_uint_lt(tasks[i].id, tasks[i - 1].id);
    }
}
END_TEST

START_TEST(what_can_be_cancelled_is)
{
    struct task task;
    const uint64_t check = add(TASK_CHECK, 0, 100);
    ck_assert(task_table_cancel(&table, check, 105, &task));
    ck_assert_int_eq(task.state, TASK_STATE_CANCELLED);
    ck_assert_uint_eq(task.ended_us, 105);
    const uint64_t resync = add(TASK_RESYNC, 0, 100);
    ck_assert(task_table_cancel(&table, resync, 105, &task));
    ck_assert_int_eq(task.state, TASK_STATE_WAITING);
    ck_assert(!task.is_cancel_asked);
    const uint64_t verify = add(TASK_VERIFY, TASK_NO_NODE, 100);
    ck_assert(task_table_find(&table, verify, &task));
    ck_assert(task_table_cancel(&table, verify, 105, &(struct task){0}));
    task.done = 5; /* who works on it has not seen that yet */
    task_table_update(&table, &task);
    ck_assert(task_table_find(&table, verify, &task));
    ck_assert(task.is_cancel_asked);
    ck_assert_uint_eq(task.done, 5);
    ck_assert(!task_table_cancel(&table, 99, 105, &task));
}
END_TEST

/* --- events --- */

static void happen(uint32_t node)
{
    event_ring_put(&ring, &(struct port_event){.trace = {.node = node}});
}

START_TEST(the_ring_keeps_the_latest)
{
    struct port_event events[4];
    ck_assert_uint_eq(event_ring_read(&ring, 0, events, 4), 0);
    for (uint32_t i = 1; i <= PORT_EVENTS_MAX + 10; i++) {
        happen(i);
    }
    ck_assert_uint_eq(event_ring_next(&ring), PORT_EVENTS_MAX + 11);
    ck_assert_uint_eq(event_ring_read(&ring, 1, events, 4), 4);
    ck_assert_uint_eq(events[0].sequence, 11);
    ck_assert_uint_eq(events[0].trace.node, 11);
    ck_assert_uint_eq(event_ring_read(&ring, PORT_EVENTS_MAX + 10, events, 4), 1);
    ck_assert_uint_eq(event_ring_read(&ring, PORT_EVENTS_MAX + 11, events, 4), 0);
}
END_TEST

/* However busy the machine is, the time of these two is never over. */
static void *await_first(void *has_come)
{
    ck_assert_int_eq(event_ring_await(&ring, 1, UINT32_MAX), PORT_AWAIT_THERE);
    ck_assert_int_eq(sem_post(has_come), 0);
    ck_assert_int_eq(event_ring_await(&ring, 2, UINT32_MAX), PORT_AWAIT_CLOSED);
    return NULL;
}

START_TEST(waits_end_with_an_event_the_time_or_the_close)
{
    pthread_t thread;
    sem_t has_come;
    ck_assert_int_eq(sem_init(&has_come, 0, 0), 0);
    ck_assert_int_eq(pthread_create(&thread, NULL, await_first, &has_come), 0);
    happen(1);
    ck_assert_int_eq(sem_wait(&has_come), 0);
    ck_assert_int_eq(event_ring_await(&ring, 1, 0), PORT_AWAIT_THERE);
    ck_assert_int_eq(event_ring_await(&ring, 2, 1), PORT_AWAIT_TIMEOUT);
    event_ring_close(&ring);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

static Suite *tasks_suite(void)
{
    Suite *suite = suite_create("shell tasks");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_checked_fixture(all, set_up, tear_down);
    tcase_add_test(all, a_resync_is_done_when_the_node_is_complete_again);
    tcase_add_test(all, a_fill_that_begins_by_itself_has_a_task);
    tcase_add_test(all, a_check_counts_from_when_it_was_asked_for);
    tcase_add_test(all, the_table_is_bounded);
    tcase_add_test(all, what_can_be_cancelled_is);
    tcase_add_test(all, the_ring_keeps_the_latest);
    tcase_add_test(all, waits_end_with_an_event_the_time_or_the_close);
    suite_add_tcase(suite, all);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(tasks_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
