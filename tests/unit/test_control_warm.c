/* SPDX-License-Identifier: BSD-2-Clause */
/* Nodes for which no dump is to be had: how they come to be warming, and how that ends. */
#include "control_world.h"

static bool is_warm_view(uint32_t proxies, uint32_t complete, uint32_t warming)
{
    for (uint32_t p = 0; p < proxies; p++) {
        const struct topology *t = &world.proxy[p].adopted;
        if (!is_serving(p) || t->complete != complete || t->warming != warming ||
            t->view_hash != world.proxy[0].adopted.view_hash) {
            return false;
        }
    }
    return true;
}

static uint64_t verify_us = UINT64_MAX / 2;

/* PROXIES serve; node 1 came back to a donor that gives no dump. */
static void start_warming(uint32_t nodes, uint32_t proxies)
{
    world_start(nodes);
    stand_in.verify_us = verify_us;
    world.is_dump_refused = true;
    world.warm_for_us = 10 * SECOND;
    for (uint32_t p = 0; p < proxies; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
    pass(2 * SECOND);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 2 * SECOND);
    node_start(1);
    WAIT(is_warm_view(proxies, world.nodes == 2 ? 1 : 5, 2), 5 * SECOND);
}

static void tell(uint32_t p, uint32_t asked, uint32_t hits)
{
    struct control_report r = {
        .type = CONTROL_REPORT_WARMED, .node = 1, .count = asked, .hits = hits};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

START_TEST(refused_dump_makes_it_warming)
{
    start_warming(2, 2);
    uint32_t filler = see(0)->fills_failed == 1 ? 0 : 1;
    ck_assert_uint_eq(see(filler)->fills_failed, 1);
    ck_assert_uint_eq(see(1 - filler)->fills_failed, 0);
    ck_assert_uint_eq(see(filler)->fills_done, 0);
    ck_assert(!see(filler)->nodes[1].is_filled_by_us);
    ck_assert_uint_eq(world.proxy[0].adopted.chained, 2);
    ck_assert_uint_eq(world.proxy[0].adopted.leaders, 1);
    ck_assert_uint_eq(world.proxy[0].adopted.identity[1].pid, world.model[1].pid);
    ck_assert_uint_eq(world.proxy[0].adopted.identity[1].flushes, world.model[1].store.flushes);
    /* It stays so, and the last copy is protected. */
    pass(20 * SECOND);
    ck_assert(is_warm_view(2, 1, 2));
    ck_assert_uint_eq(world.model[1].store.flushes, 1);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 0, false), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 0, false), CONTROL_RESULT_LAST_COPY);
    world_end();
}
END_TEST

/* Flushed between the fill's end and the view: what was built on is gone, or not what is meant. */
START_TEST(flushed_behind_the_fill_is_filled_again)
{
    start_serving(2, 1);
    world.is_dump_refused = true;
    pass(SECOND);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 2 * SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING), 5 * SECOND);
    WAIT(see(0)->nodes[1].fill_state == FILL_COPYING, SECOND);
    store_flush(&world.model[1].store, 0);
    WAIT(see(0)->fills_failed == 1, 2 * SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.warming, 0);
    WAIT(is_warm_view(1, 1, 2), 5 * SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.identity[1].flushes, world.model[1].store.flushes);
    world_end();
}
END_TEST

START_TEST(operator_says_ready)
{
    start_warming(2, 2);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 1, false), CONTROL_RESULT_UNCHANGED);
    ck_assert(is_warm_view(2, 1, 2));
    ck_assert_int_eq(command(1, CONTROL_COMMAND_READY, 1, true), CONTROL_RESULT_OK);
    WAIT(is_warm_view(2, 3, 0), SECOND);
    ck_assert(world.proxy[0].adopted.is_young); /* a miss there looks further */
    ck_assert_uint_ne(see(0)->verify_due_by, VIEW_NO_PROXY);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_READY, 1, true), CONTROL_RESULT_UNCHANGED);
    world_end();
}
END_TEST

/* Copies had been compared before. With it they are to be compared again, if they can be. */
START_TEST(pool_is_young_when_it_has_entered)
{
    verify_us = 100000;
    start_warming(2, 1);
    WAIT(!world.proxy[0].adopted.is_young, 5 * SECOND);
    WAIT(is_warm_view(1, 1, 2), SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, VIEW_NO_PROXY);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 1, true), CONTROL_RESULT_OK);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 3);
    ck_assert(world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(see(0)->verify_due_by, see(0)->proxy_id);
    uint64_t done = see(0)->verifies_done;
    WAIT(!world.proxy[0].adopted.is_young, 5 * SECOND);
    ck_assert_uint_eq(see(0)->verifies_done, done + 1);
    world_end();
}
END_TEST

START_TEST(drained_while_warming)
{
    start_warming(2, 1);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 1, false), CONTROL_RESULT_OK);
    WAIT(is_warm_view(1, 1, 2), SECOND / 10);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 1, false), CONTROL_RESULT_OK);
    WAIT(is_warm_view(1, 1, 2), SECOND / 10);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 1, false), CONTROL_RESULT_OK);
    WAIT(is_warm_view(1, 1, 0), SECOND / 10);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 1, false), CONTROL_RESULT_OK);
    WAIT(is_warm_view(1, 1, 2), 5 * SECOND);
    world_end();
}
END_TEST

/* Of the keys that are read it has 99 of 100, for ten seconds. */
START_TEST(enters_by_its_hit_rate)
{
    start_warming(2, 2);
    pass(20 * SECOND);
    tell(0, 499, 499); /* not yet enough to tell anything */
    pass(SECOND);
    ck_assert(is_warm_view(2, 1, 2));
    tell(0, 1, 0);
    WAIT(is_warm_view(2, 3, 0), SECOND); /* all this time nothing was seen that it lacked */
    ck_assert(world.proxy[1].adopted.is_young);
    world_end();
}
END_TEST

START_TEST(bad_hit_rate_begins_the_time_anew)
{
    start_warming(2, 1);
    pass(9 * SECOND);
    tell(0, 500, 494);
    ck_assert_uint_eq(see(0)->nodes[1].warm_asked, 500);
    ck_assert_uint_eq(see(0)->nodes[1].warm_hits, 494);
    for (uint32_t i = 0; i < 4; i++) {
        pass(2 * SECOND);
        tell(0, 600, 600);
        pass(SECOND / 2);
        ck_assert(is_warm_view(1, 1, 2));
    }
    tell(0, 1000, 1000);
    WAIT(is_warm_view(1, 3, 0), SECOND);
    world_end();
}
END_TEST

START_TEST(never_by_itself)
{
    start_warming(2, 1);
    struct control_limits limits = {.fall = 3,
                                    .rise = 2,
                                    .timeout_us = 100000,
                                    .hold_down_max_us = 60 * SECOND,
                                    .request_timeout_us = 2500000,
                                    .warm_for_us = 0};
    control_set_limits(world.proxy[0].control, &limits);
    pass(20 * SECOND);
    tell(0, 1000, 1000);
    pass(20 * SECOND);
    ck_assert(is_warm_view(1, 1, 2));
    limits.warm_for_us = 30 * SECOND;
    control_set_limits(world.proxy[0].control, &limits);
    WAIT(is_warm_view(1, 3, 0), SECOND);
    world_end();
}
END_TEST

/* What it loses, or when it is another run: out, and anew from empty. */
START_TEST(leaves_as_a_filling_one)
{
    start_warming(2, 1);
    uint64_t flushes = world.model[1].store.flushes;
    switch (_i) {
    case 0: {
        struct control_report r = {
            .type = CONTROL_REPORT_MISSED, .node = 1, .end = WIRE_END_TIMEOUT};
        control_report(world.proxy[0].control, &r, world.now_us);
        take_actions(0);
        break;
    }
    case 1:
        store_flush(&world.model[1].store, 0);
        flushes++;
        break;
    case 2:
        node_kill(1);
        node_start(1);
        flushes = 0;
        break;
    default:
        node_freeze(1);
        pass(2 * SECOND);
        node_thaw(1);
        break;
    }
    WAIT(is_warm_view(1, 1, 0), 2 * SECOND);
    WAIT(is_warm_view(1, 1, 2), 10 * SECOND);
    ck_assert_uint_eq(world.model[1].store.flushes, flushes + 1);
    world_end();
}
END_TEST

/* While the view is being joined that has it warming: a write that it missed would hold that up. */
START_TEST(misses_a_write_while_that_is_joined)
{
    start_serving(2, 1);
    world.is_dump_refused = true;
    pass(SECOND);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 2 * SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING), 5 * SECOND);
    world.proxy[0].is_draining_slowly = true;
    WAIT(see(0)->state == CONTROL_CHANGING, 2 * SECOND);
    struct control_report r = {.type = CONTROL_REPORT_MISSED, .node = 1, .end = WIRE_END_RESET};
    control_report(world.proxy[0].control, &r, world.now_us);
    take_actions(0);
    world.proxy[0].is_draining_slowly = false;
    WAIT(is_warm_view(1, 1, 0) && is_data(0, 1, NODE_DATA_OUT), SECOND / 2);
    WAIT(is_warm_view(1, 1, 2), 10 * SECOND);
    world_end();
}
END_TEST

/* All that it holds is right: it goes on alone. */
START_TEST(last_copy_is_lost)
{
    start_warming(2, 2);
    uint64_t flushes = world.model[1].store.flushes;
    node_kill(0);
    WAIT(is_warm_view(2, 2, 0), 5 * SECOND);
    ck_assert_uint_eq(world.model[1].store.flushes, flushes);
    ck_assert(world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_LAST_COPY_LOST] +
                          world.proxy[1].traced[TRACE_LAST_COPY_LOST],
                      1);
    world_end();
}
END_TEST

/* A proxy may leave there what nobody has looked at again. With a farewell it leaves nothing. */
START_TEST(proxy_dies)
{
    bool is_farewell = _i == 1;
    start_warming(2, 2);
    uint64_t flushes = world.model[1].store.flushes;
    if (is_farewell) {
        control_leave(world.proxy[1].control, world.now_us);
        take_actions(1);
        WAIT(control_is_gone(world.proxy[1].control), SECOND);
    }
    proxy_kill(1);
    WAIT(see(0)->proxies == 1, 5 * SECOND);
    pass(SECOND);
    WAIT(is_warm_view(1, 1, 2), 10 * SECOND);
    pass(3 * SECOND);
    ck_assert(is_warm_view(1, 1, 2));
    ck_assert_uint_eq(world.model[1].store.flushes, flushes + (is_farewell ? 0 : 1));
    world_end();
}
END_TEST

/* It dies while the view is being joined by which the node enters: that view waits for it. */
START_TEST(proxy_dies_while_it_enters)
{
    start_warming(2, 2);
    proxy_pause(1);
    struct control_command c = {
        .type = CONTROL_COMMAND_READY, .ticket = 1, .node = 1, .is_forced = true};
    control_command(world.proxy[0].control, &c, world.now_us);
    take_actions(0);
    WAIT(world.proxy[0].adopted.complete == 3, 5 * SECOND);
    ck_assert_uint_eq(see(0)->proxies, 1);
    WAIT(world.proxy[0].adopted.complete == 1, SECOND / 100);
    proxy_kill(1);
    WAIT(is_warm_view(1, 1, 2), 10 * SECOND);
    world_end();
}
END_TEST

/* All proxies are gone, and nobody knows how: who starts begins it anew. */
START_TEST(all_proxies_die)
{
    start_warming(2, 1);
    uint64_t flushes = world.model[1].store.flushes;
    proxy_kill(0);
    pass((uint64_t)_i * 30 * SECOND);
    struct control_options options = options_of(0);
    options.nonce = 77;
    proxy_start_with(0, &options);
    WAIT(is_serving(0), 3 * SECOND);
    WAIT(is_warm_view(1, 1, 0), 5 * SECOND);
    WAIT(is_warm_view(1, 1, 2), 10 * SECOND);
    ck_assert_uint_eq(world.model[1].store.flushes, flushes + 1);
    world_end();
}
END_TEST

/* Both are lost at once: it is not known to be right, so it begins anew; unless it is kept. */
START_TEST(last_copy_and_proxy_are_lost)
{
    bool is_kept = _i == 1;
    start_warming(2, 2);
    uint64_t flushes = world.model[1].store.flushes;
    if (is_kept) {
        struct control_limits limits = {.fall = 3,
                                        .rise = 2,
                                        .timeout_us = 100000,
                                        .hold_down_max_us = 60 * SECOND,
                                        .request_timeout_us = 2500000,
                                        .keeps_last_copy = true};
        control_set_limits(world.proxy[0].control, &limits);
    }
    node_kill(0);
    proxy_kill(1);
    WAIT(see(0)->proxies == 1 && is_warm_view(1, 2, 0), 20 * SECOND);
    pass(SECOND);
    WAIT(is_warm_view(1, 2, 0), 20 * SECOND);
    ck_assert_uint_eq(world.model[1].store.flushes, flushes + (is_kept ? 0 : 1));
    world_end();
}
END_TEST

START_TEST(flush_all_reaches_it)
{
    start_warming(2, 2);
    uint64_t flushes = world.model[1].store.flushes;
    struct control_report r = {
        .type = CONTROL_REPORT_FLUSH, .worker = 0, .ticket = 1, .delay_s = _i};
    control_report(world.proxy[0].control, &r, world.now_us);
    take_actions(0);
    WAIT(world.model[1].store.flushes == flushes + 1, 5 * SECOND);
    ck_assert(world.proxy[0].adopted.is_holding);
    WAIT(!world.proxy[0].adopted.is_holding, SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.warming, 2);
    WAIT(is_warm_view(2, 1, 2), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.identity[1].flushes, world.model[1].store.flushes);
    ck_assert_uint_eq(world.model[1].store.flushes, flushes + 1);
    world_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control and warming nodes");
    TCase *stories = tcase_create("stories");
    tcase_set_timeout(stories, 60);
    tcase_add_test(stories, refused_dump_makes_it_warming);
    tcase_add_test(stories, flushed_behind_the_fill_is_filled_again);
    tcase_add_test(stories, operator_says_ready);
    tcase_add_test(stories, pool_is_young_when_it_has_entered);
    tcase_add_test(stories, drained_while_warming);
    tcase_add_test(stories, enters_by_its_hit_rate);
    tcase_add_test(stories, bad_hit_rate_begins_the_time_anew);
    tcase_add_test(stories, never_by_itself);
    tcase_add_loop_test(stories, leaves_as_a_filling_one, 0, 4);
    tcase_add_test(stories, misses_a_write_while_that_is_joined);
    tcase_add_test(stories, last_copy_is_lost);
    tcase_add_loop_test(stories, proxy_dies, 0, 2);
    tcase_add_test(stories, proxy_dies_while_it_enters);
    tcase_add_loop_test(stories, all_proxies_die, 0, 2);
    tcase_add_loop_test(stories, last_copy_and_proxy_are_lost, 0, 2);
    tcase_add_loop_test(stories, flush_all_reaches_it, 0, 2);
    suite_add_tcase(suite, stories);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
