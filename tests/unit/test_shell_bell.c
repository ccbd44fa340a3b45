/* SPDX-License-Identifier: BSD-2-Clause */
/* The bell, and questions to workers, whose turn a worker never waits for. */
#include "shell/asks.h"
#include "shell/bell.h"
#include "shell/clock.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>

static struct bell bell;
static struct asks asks;

START_TEST(a_ring_before_the_wait_is_not_lost)
{
    const uint32_t seen = bell_look(&bell);
    bell_ring(&bell);
    ck_assert_uint_ne(bell_look(&bell), seen);
    ck_assert(bell_await(&bell, seen, clock_mono_us() + 60 * (uint64_t)CLOCK_US_PER_S));
}
END_TEST

START_TEST(a_wait_ends_with_its_time)
{
    const uint64_t until_us = clock_mono_us() + 20 * CLOCK_US_PER_MS;
    while (bell_await(&bell, bell_look(&bell), until_us)) {
        ck_assert_uint_lt(clock_mono_us(), until_us + 60 * (uint64_t)CLOCK_US_PER_S);
    }
    ck_assert_uint_ge(clock_mono_us(), until_us);
    ck_assert(!bell_await(&bell, bell_look(&bell), 0));
}
END_TEST

static void *ring_soon(void *until)
{
    while (clock_mono_us() < *(const uint64_t *)until) {
        bell_ring(&bell);
    }
    return NULL;
}

START_TEST(a_ring_wakes)
{
    pthread_t thread;
    uint64_t ring_until_us = clock_mono_us() + 100 * CLOCK_US_PER_MS;
    ck_assert_int_eq(pthread_create(&thread, NULL, ring_soon, &ring_until_us), 0);
    const uint64_t until_us = clock_mono_us() + 60 * (uint64_t)CLOCK_US_PER_S;
    for (int i = 0; i < 100 && clock_mono_us() < ring_until_us; i++) {
        (void)bell_await(&bell, bell_look(&bell), ring_until_us);
    }
    ck_assert_uint_lt(clock_mono_us(), until_us);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

START_TEST(a_worker_never_waits_for_its_turn)
{
    asks_init(&asks);
    struct ask *ask = NULL;
    asks.places[0] = (struct ask){.ticket = 7, .waiting = 2};
    ck_assert_int_eq(pthread_mutex_lock(&asks.mutex), 0);
    ck_assert_int_eq(asks_begin(&asks, 7, &ask), ASKS_BUSY);
    ck_assert_int_eq(pthread_mutex_unlock(&asks.mutex), 0);
    ck_assert_int_eq(asks_begin(&asks, 8, &ask), ASKS_OVER);
    const uint32_t seen = bell_look(&asks.is_answered);
    for (uint32_t worker = 0; worker < 2; worker++) {
        ck_assert_uint_eq(bell_look(&asks.is_answered), seen);
        ck_assert_int_eq(asks_begin(&asks, 7, &ask), ASKS_MINE);
        asks_end(&asks, ask);
    }
    ck_assert_uint_ne(bell_look(&asks.is_answered), seen); /* the last one rings */
    asks_fini(&asks);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell/bell");
    TCase *tcase = tcase_create("bell");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, a_ring_before_the_wait_is_not_lost);
    tcase_add_test(tcase, a_wait_ends_with_its_time);
    tcase_add_test(tcase, a_ring_wakes);
    tcase_add_test(tcase, a_worker_never_waits_for_its_turn);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
