/* SPDX-License-Identifier: BSD-2-Clause */
/* No token twice, whatever the clock and the hurry. */
#include "core/token.h"

#include "everwarm/base/limits.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

START_TEST(parts_have_their_places)
{
    struct token_clock clock = {0};
    ck_assert_uint_eq(token_next(&clock, 1, 2, 3), (1u << 22) + (2u << 14) + (3u << 8));
    ck_assert_uint_eq(token_next(&clock, 1, 2, 3), (1u << 22) + (2u << 14) + (3u << 8) + 1);
    uint64_t last_ms = (UINT64_C(1) << 41) - 1;
    uint64_t largest = token_next(&clock, last_ms, PROXIES_MAX - 1, WORKERS_MAX - 1);
    ck_assert_uint_eq(largest, (UINT64_C(1) << 63) - 1 - TOKEN_COUNTER_MAX);
}
END_TEST

START_TEST(grows_always_and_waits_when_too_far_ahead)
{
    struct token_clock clock = {0};
    uint64_t last = 0;
    uint32_t given = 0;
    for (uint64_t token = token_next(&clock, 1000, 0, 0); token != 0;
         token = token_next(&clock, 1000, 0, 0)) {
        ck_assert_uint_gt(token, last);
        last = token;
        given++;
    }
    ck_assert_uint_eq(given, (TOKEN_AHEAD_MS_MAX + 1) * (TOKEN_COUNTER_MAX + 1));
    ck_assert_uint_eq(last >> TOKEN_SHIFT_MS, 1000 + TOKEN_AHEAD_MS_MAX);
    ck_assert_uint_eq(token_next(&clock, 1000, 0, 0), 0);
    ck_assert_uint_gt(token_next(&clock, 1001, 0, 0), last);
}
END_TEST

START_TEST(written_with_zeros_in_front)
{
    char text[TOKEN_DIGITS + 1] = {0};
    token_write(42, text);
    ck_assert_str_eq(text, "0000000000000000042");
    token_write((UINT64_C(1) << 63) - 1, text);
    ck_assert_str_eq(text, "9223372036854775807");
}
END_TEST

int main(void)
{
    TCase *tcase = tcase_create("token");
    tcase_add_test(tcase, parts_have_their_places);
    tcase_add_test(tcase, grows_always_and_waits_when_too_far_ahead);
    tcase_add_test(tcase, written_with_zeros_in_front);
    Suite *suite = suite_create("token");
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
