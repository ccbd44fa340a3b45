/* SPDX-License-Identifier: BSD-2-Clause */
/* Health: stories of rounds and what becomes of the node in each. */
#include "core/health.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

struct story {
    uint32_t fall;
    uint32_t rise;
    const char *rounds; /* + good, - bad */
    const char *oper;   /* after each: U up, d down */
};

static const struct story stories[] = {
    {3, 2, "+", "U"},
    {3, 2, "-+", "dU"},
    {3, 2, "+--+---", "UUUUUUd"},
    {3, 2, "+---+-++", "UUUddddU"},
    {3, 2, "+---++---++", "UUUddUUUddU"},
    {1, 1, "+-+-", "UdUd"},
    {1, 3, "-+-++-+++", "dUddddddU"},
    {2, 1, "+-+-+--+", "UUUUUUdU"},
};

START_TEST(tells_stories)
{
    const struct story *s = &stories[_i];
    struct health health;
    health_init(&health, s->fall, s->rise);
    ck_assert_int_eq(health.oper, NODE_OPER_DOWN);
    for (size_t i = 0; s->rounds[i] != '\0'; i++) {
        enum node_oper before = health.oper;
        bool has_changed = health_poke(&health, s->rounds[i] == '+');
        ck_assert_msg(health.oper == (s->oper[i] == 'U' ? NODE_OPER_UP : NODE_OPER_DOWN),
                      "%s, round %zu", s->rounds, i);
        ck_assert_int_eq(has_changed, health.oper != before);
        ck_assert_uint_eq(health.history & 1, s->rounds[i] == '+');
    }
}
END_TEST

/* The configuration allows more than the register remembers. */
START_TEST(thresholds_beyond_the_register)
{
    struct health health;
    health_init(&health, 100, 100);
    ck_assert(health_poke(&health, true));
    for (int i = 0; i < 99; i++) {
        ck_assert(!health_poke(&health, false));
    }
    ck_assert(health_poke(&health, false));
    ck_assert_uint_eq(health.history, 0);
    /* It was up once, so one good round is not enough, though the register has forgotten it. */
    for (int i = 0; i < 99; i++) {
        ck_assert(!health_poke(&health, true));
    }
    ck_assert(health_poke(&health, true));
    ck_assert_uint_eq(health.history, UINT64_MAX);
}
END_TEST

START_TEST(stays_down_without_a_good_round)
{
    struct health health;
    health_init(&health, 1, 1);
    for (int i = 0; i < 200; i++) {
        ck_assert(!health_poke(&health, false));
    }
    ck_assert(health_poke(&health, true));
    ck_assert_uint_eq(health.history, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("core/health");
    TCase *tcase = tcase_create("health");
    tcase_add_loop_test(tcase, tells_stories, 0, (int)(sizeof(stories) / sizeof(stories[0])));
    tcase_add_test(tcase, thresholds_beyond_the_register);
    tcase_add_test(tcase, stays_down_without_a_good_round);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
