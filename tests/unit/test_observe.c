/* SPDX-License-Identifier: BSD-2-Clause */
/* The ring of slow requests and the table of hot keys. */
#include "everwarm/base/slice.h"
#include "everwarm/core/hotkeys.h"
#include "everwarm/core/slowlog.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

static struct slowlog slowlog;
static struct hotkeys hot;
static struct prng prng;

static void set_up(void)
{
    memset(&slowlog, 0, sizeof(slowlog));
    memset(&hot, 0, sizeof(hot));
    prng = (struct prng){7};
}

START_TEST(the_latest_slow_requests_are_kept)
{
    struct slow_request out[SLOWLOG_ENTRIES_MAX];
    ck_assert_uint_eq(slowlog_copy(&slowlog, out, SLOWLOG_ENTRIES_MAX), 0);
    char key[SLOWLOG_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof(key));
    for (uint64_t i = 1; i <= SLOWLOG_ENTRIES_MAX + 5; i++) {
        slowlog_add(&slowlog, &(struct slow_request){.at_us = i},
                    slice_of(key, i % 2 == 0 ? 0 : sizeof(key)));
    }
    ck_assert_uint_eq(slowlog_copy(&slowlog, out, SLOWLOG_ENTRIES_MAX), SLOWLOG_ENTRIES_MAX);
    for (uint64_t i = 0; i < SLOWLOG_ENTRIES_MAX; i++) {
        ck_assert_uint_eq(out[i].at_us, SLOWLOG_ENTRIES_MAX + 5 - i);
        ck_assert_uint_eq(out[i].serial, out[i].at_us);
        ck_assert_uint_eq(out[i].key_bytes, out[i].at_us % 2 == 0 ? 0 : SLOWLOG_KEY_BYTES_MAX);
    }
    ck_assert_uint_eq(slowlog_copy(&slowlog, out, 2), 2);
}
END_TEST

static void sample(const char *name, uint32_t number)
{
    char key[32];
    (void)snprintf(key, sizeof(key), "%s%u", name, (unsigned)number);
    hotkeys_sample(&hot, slice_of_string(key), number, &prng);
}

static uint32_t count_of(const char *key)
{
    for (uint32_t i = 0; i < hot.count; i++) {
        if (strlen(key) == hot.keys[i].key_bytes &&
            memcmp(hot.keys[i].key, key, hot.keys[i].key_bytes) == 0) {
            return hot.keys[i].count;
        }
    }
    return 0;
}

START_TEST(one_request_in_many_is_due)
{
    uint32_t due = 0;
    for (uint32_t i = 0; i < 64 * 10000; i++) {
        if (hotkeys_is_due(&hot, 1)) {
            due++;
            sample("k", 1);
        }
    }
    ck_assert_uint_ge(due, 9500);
    ck_assert_uint_le(due, 10500);
    /* Many keys at once come up as often as they would one by one. */
    due = 0;
    for (uint32_t i = 0; i < 6400; i++) {
        if (hotkeys_is_due(&hot, 100)) {
            due++;
            sample("k", 1);
        }
    }
    ck_assert_uint_ge(due, 4000);
}
END_TEST

/* A key of a tenth of all requests is found among ten thousand others. */
START_TEST(a_hot_key_is_found)
{
    for (uint32_t i = 0; i < 3000; i++) {
        sample("cold", (uint32_t)prng_below(&prng, 10000) + 10);
        if (i % 9 == 0) {
            sample("hot", 1);
        }
        ck_assert_uint_le(hot.count, HOTKEYS_MAX);
        uint64_t sum = 0;
        for (uint32_t j = 0; j < hot.count; j++) {
            sum += hot.keys[j].count;
            ck_assert_uint_le(hot.keys[j].error, hot.keys[j].count);
        }
        ck_assert_uint_le(sum, hot.samples); /* I2 */
    }
    ck_assert_uint_ge(count_of("hot1"), 330);
    for (uint32_t j = 0; j < hot.count; j++) {
        ck_assert_uint_le(hot.keys[j].count, count_of("hot1"));
    }
}
END_TEST

START_TEST(what_was_hot_is_forgotten)
{
    for (uint32_t i = 0; i < 2000; i++) {
        sample("old", 1);
    }
    for (uint32_t i = 0; i < 20 * HOTKEYS_SAMPLES_MAX; i++) {
        sample("new", 2);
        ck_assert_uint_lt(hot.samples, HOTKEYS_SAMPLES_MAX);
    }
    ck_assert_uint_eq(count_of("old1"), 0);
    ck_assert_uint_gt(count_of("new2"), HOTKEYS_SAMPLES_MAX / 3);
}
END_TEST

static Suite *observe_suite(void)
{
    Suite *suite = suite_create("observe");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, set_up, NULL);
    tcase_add_test(all, the_latest_slow_requests_are_kept);
    tcase_add_test(all, one_request_in_many_is_due);
    tcase_add_test(all, a_hot_key_is_found);
    tcase_add_test(all, what_was_hot_is_forgotten);
    suite_add_tcase(suite, all);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(observe_suite());
    srunner_run_all(runner, CK_ENV);
    const int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
