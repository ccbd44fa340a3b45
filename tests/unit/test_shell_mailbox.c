/* SPDX-License-Identifier: BSD-2-Clause */
/* The mailbox: order, its bound, places kept free, and four posting threads against one taker. */
#include "shell/mailbox.h"

#include <check.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdlib.h>

enum {
    POSTERS = 4,
    POSTS = 20000,
    WAIT_MS_MAX = 10000,
};

struct note {
    uint32_t poster;
    uint32_t number;
};

struct poster {
    struct mailbox *box;
    uint32_t index;
    pthread_t thread;
};

static bool is_woken(const struct mailbox *box, int timeout_ms)
{
    struct pollfd wake = {.fd = box->wake_fd, .events = POLLIN};
    return poll(&wake, 1, timeout_ms) == 1;
}

START_TEST(keeps_order_and_bound)
{
    struct mailbox box;
    struct note note = {0};
    ck_assert_int_eq(mailbox_init(&box, sizeof(note), 4), STATUS_OK);
    ck_assert(!is_woken(&box, 0));
    ck_assert(!mailbox_take(&box, &note));
    for (uint32_t round = 0; round < 3; round++) {
        for (note.number = 0; note.number < 4; note.number++) {
            ck_assert_int_eq(mailbox_post(&box, &note, 0), STATUS_OK);
        }
        ck_assert_int_eq(mailbox_post(&box, &note, 0), STATUS_FULL);
        ck_assert(is_woken(&box, 0));
        mailbox_quiet(&box);
        ck_assert(!is_woken(&box, 0));
        for (uint32_t i = 0; i < 4; i++) {
            ck_assert(mailbox_take(&box, &note));
            ck_assert_uint_eq(note.number, i);
        }
        ck_assert(!mailbox_take(&box, &note));
    }
    mailbox_fini(&box);
}
END_TEST

START_TEST(keeps_places_free)
{
    struct mailbox box;
    struct note note = {0};
    ck_assert_int_eq(mailbox_init(&box, sizeof(note), 4), STATUS_OK);
    ck_assert_int_eq(mailbox_post(&box, &note, 2), STATUS_OK);
    ck_assert_int_eq(mailbox_post(&box, &note, 2), STATUS_OK);
    ck_assert_int_eq(mailbox_post(&box, &note, 2), STATUS_FULL);
    ck_assert_int_eq(mailbox_post(&box, &note, 0), STATUS_OK);
    ck_assert_int_eq(mailbox_post(&box, &note, 0), STATUS_OK);
    ck_assert_int_eq(mailbox_post(&box, &note, 0), STATUS_FULL);
    mailbox_fini(&box);
}
END_TEST

static void *post_all(void *arg)
{
    struct poster *poster = arg;
    struct note note = {.poster = poster->index};
    while (note.number < POSTS) {
        if (mailbox_post(poster->box, &note, 0) == STATUS_OK) {
            note.number++;
        } else {
            (void)sched_yield();
        }
    }
    return NULL;
}

START_TEST(loses_nothing_between_threads)
{
    struct mailbox box;
    struct poster posters[POSTERS];
    uint32_t next[POSTERS] = {0};
    uint32_t left = POSTERS * POSTS;
    ck_assert_int_eq(mailbox_init(&box, sizeof(struct note), 64), STATUS_OK);
    for (uint32_t i = 0; i < POSTERS; i++) {
        posters[i] = (struct poster){.box = &box, .index = i};
        ck_assert_int_eq(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    while (left > 0) {
        struct note note;
        ck_assert(is_woken(&box, WAIT_MS_MAX));
        mailbox_quiet(&box);
        while (mailbox_take(&box, &note)) {
            ck_assert_uint_eq(note.number, next[note.poster]);
            next[note.poster]++;
            left--;
        }
    }
    for (uint32_t i = 0; i < POSTERS; i++) {
        (void)pthread_join(posters[i].thread, NULL);
    }
    mailbox_fini(&box);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell/mailbox");
    TCase *tcase = tcase_create("mailbox");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, keeps_order_and_bound);
    tcase_add_test(tcase, keeps_places_free);
    tcase_add_test(tcase, loses_nothing_between_threads);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
