/* SPDX-License-Identifier: BSD-2-Clause */
/* Who is slow, looked at as a worker looks: SLOW_LOOKS_A_STALL times in a stall. */
#include "../../src/shell/slow.h"

#include "everwarm/base/limits.h"

#include <check.h>
#include <stdlib.h>

enum { STALL_US = 8000, LOOK_US = STALL_US / SLOW_LOOKS_A_STALL, OUTPUT_BYTES_MAX = 1000 };

static const struct slow_limits limits = {
    .stall_us = STALL_US,
    .output_bytes_max = OUTPUT_BYTES_MAX,
};
static struct slow_watch watch;
static struct slow_facts facts;

static void set_up(void)
{
    watch = (struct slow_watch){0};
    facts = (struct slow_facts){.now_us = 1000000};
}

/* Looks until it is found to be slow; COUNT at most. */
static int looks_until_slow(int count)
{
    for (int i = 0; i < count; i++) {
        if (slow_look(&watch, &facts, &limits)) {
            return i;
        }
        facts.now_us += LOOK_US;
    }
    return count;
}

START_TEST(idle_clients_are_not_slow)
{
    ck_assert_int_eq(looks_until_slow(100), 100);
}
END_TEST

START_TEST(a_reader_that_takes_nothing_is_slow_after_the_stall)
{
    facts.is_blocked = true;
    facts.output_bytes = OUTPUT_BYTES_MAX - 1;
    ck_assert_int_eq(looks_until_slow(100), SLOW_LOOKS_A_STALL);
}
END_TEST

START_TEST(a_reader_at_its_limit_must_move_at_once)
{
    facts.is_blocked = true;
    facts.output_bytes = OUTPUT_BYTES_MAX;
    ck_assert_int_eq(looks_until_slow(100), 1);
}
END_TEST

START_TEST(a_reader_that_takes_a_byte_now_and_then_is_not_slow)
{
    facts.is_blocked = true;
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(looks_until_slow(SLOW_LOOKS_A_STALL), SLOW_LOOKS_A_STALL);
        facts.taken_bytes++;
    }
    ck_assert_int_eq(looks_until_slow(100), SLOW_LOOKS_A_STALL);
}
END_TEST

START_TEST(a_reader_that_caught_up_begins_anew)
{
    facts.is_blocked = true;
    ck_assert_int_eq(looks_until_slow(SLOW_LOOKS_A_STALL), SLOW_LOOKS_A_STALL);
    facts.is_blocked = false;
    ck_assert_int_eq(looks_until_slow(1), 1);
    facts.is_blocked = true;
    ck_assert_int_eq(looks_until_slow(100), SLOW_LOOKS_A_STALL);
}
END_TEST

START_TEST(a_writer_that_drips_is_slow_after_the_stall)
{
    facts.is_amid = true;
    int looks = 0;
    while (!slow_look(&watch, &facts, &limits)) {
        looks++;
        facts.now_us += LOOK_US;
        facts.received_bytes += CLIENT_TRICKLE_BYTES / SLOW_LOOKS_A_STALL - 1;
    }
    ck_assert_int_eq(looks, SLOW_LOOKS_A_STALL);
}
END_TEST

START_TEST(a_writer_of_a_large_value_over_a_thin_line_is_not_slow)
{
    facts.is_amid = true;
    for (int i = 0; i < 200; i++) {
        ck_assert(!slow_look(&watch, &facts, &limits));
        facts.now_us += LOOK_US;
        facts.received_bytes += CLIENT_TRICKLE_BYTES / SLOW_LOOKS_A_STALL + 1;
    }
}
END_TEST

START_TEST(a_writer_that_completes_requests_is_not_slow)
{
    facts.is_amid = true; /* at each look, but of another one each time */
    for (int i = 0; i < 200; i++) {
        ck_assert(!slow_look(&watch, &facts, &limits));
        facts.now_us += LOOK_US;
        facts.received_bytes += 10;
        facts.requests++;
    }
}
END_TEST

START_TEST(a_writer_that_is_not_read_meanwhile_is_not_slow)
{
    facts.is_amid = true;
    ck_assert_int_eq(looks_until_slow(SLOW_LOOKS_A_STALL), SLOW_LOOKS_A_STALL);
    facts.is_amid = false;
    ck_assert_int_eq(looks_until_slow(1), 1);
    facts.is_amid = true;
    ck_assert_int_eq(looks_until_slow(100), SLOW_LOOKS_A_STALL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("shell/slow");
    TCase *tcase = tcase_create("slow");
    tcase_add_checked_fixture(tcase, set_up, NULL);
    tcase_add_test(tcase, idle_clients_are_not_slow);
    tcase_add_test(tcase, a_reader_that_takes_nothing_is_slow_after_the_stall);
    tcase_add_test(tcase, a_reader_at_its_limit_must_move_at_once);
    tcase_add_test(tcase, a_reader_that_takes_a_byte_now_and_then_is_not_slow);
    tcase_add_test(tcase, a_reader_that_caught_up_begins_anew);
    tcase_add_test(tcase, a_writer_that_drips_is_slow_after_the_stall);
    tcase_add_test(tcase, a_writer_of_a_large_value_over_a_thin_line_is_not_slow);
    tcase_add_test(tcase, a_writer_that_completes_requests_is_not_slow);
    tcase_add_test(tcase, a_writer_that_is_not_read_meanwhile_is_not_slow);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
