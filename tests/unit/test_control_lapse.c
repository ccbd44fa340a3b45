/* SPDX-License-Identifier: BSD-2-Clause */
/* A proxy whose lease was over comes back, and nobody else may notice: stories as in
 * test_control.c. */
#include "control_world.h"

static void cut_off(uint32_t p)
{
    for (uint32_t node = 0; node < world.nodes; node++) {
        cut(p, node);
    }
}

static void come_back(uint32_t p)
{
    for (uint32_t node = 0; node < world.nodes; node++) {
        heal(p, node);
    }
}

/* A dataplane of P has COUNT connections to NODE given up and not at their end. */
static void give_up_at(uint32_t p, uint32_t node, uint32_t count)
{
    struct control_report r = {.type = CONTROL_REPORT_GIVEN_UP, .node = node, .count = count};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

static void give_up(uint32_t p, uint32_t count)
{
    for (uint32_t node = 0; node < world.nodes; node++) {
        give_up_at(p, node, count);
    }
}

/* How long a change of view takes that proxy 0 is asked for. */
static uint64_t change_us(enum control_command_type type)
{
    uint64_t from_us = world.now_us;
    ck_assert_int_eq(command(0, type, 2, false), CONTROL_RESULT_OK);
    return world.now_us - from_us;
}

/* Proxy 1 is cut off for longer than its lease, with writes under way to all nodes. */
static void start_with_one_away(void)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    cut_off(1);
    pass(500000);
    give_up(1, 1);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
}

START_TEST(old_connections_hold_up_nobody)
{
    start_with_one_away();
    uint32_t proposed = world.proxy[1].traced[TRACE_VIEW_PROPOSED];
    come_back(1);
    for (uint32_t i = 0; i < 5; i++) {
        pass(250000);
        ck_assert_uint_le(change_us(i % 2 == 0 ? CONTROL_COMMAND_DRAIN : CONTROL_COMMAND_READY),
                          50000);
    }
    ck_assert_int_eq(see(1)->state, CONTROL_LAPSED);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[1].control), 0);
    give_up(1, 0);
    WAIT(is_one_view(2, 7) && see(0)->proxies == 2, SECOND);
    ck_assert_uint_le(change_us(CONTROL_COMMAND_READY), 50000);
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_VIEW_PROPOSED], proposed);
    world_end();
}
END_TEST

/* A connection may never come to its end. */
START_TEST(old_connections_are_not_waited_for_too_long)
{
    start_with_one_away();
    come_back(1);
    pass(4 * SECOND);
    ck_assert_int_eq(see(1)->state, CONTROL_LAPSED);
    WAIT(is_one_view(2, 7) && see(0)->proxies == 2, 2 * SECOND);
    world_end();
}
END_TEST

START_TEST(where_nobody_else_is_nothing_is_waited_for)
{
    start_serving(3, 1);
    pass(2 * SECOND);
    cut_off(0);
    pass(500000);
    give_up(0, 1);
    WAIT(see(0)->state == CONTROL_LAPSED, SECOND);
    come_back(0);
    WAIT(is_serving(0), SECOND + SECOND / 2);
    world_end();
}
END_TEST

/* It finds one node only later than the others: it would have it taken out for writes that wait. */
START_TEST(nodes_are_found_again_first)
{
    start_with_one_away();
    give_up(1, 0);
    heal(1, 0);
    heal(1, 2);
    pass(2 * SECOND);
    ck_assert_int_eq(see(1)->state, CONTROL_LAPSED);
    ck_assert_uint_eq(see(0)->proxies, 1);
    heal(1, 1);
    WAIT(is_one_view(2, 7) && see(0)->proxies == 2, 2 * SECOND);
    world_end();
}
END_TEST

/* Connections to a node that is out don't matter before it is filled, and who proposes that may not
 * know of them yet. */
START_TEST(fill_is_put_off_for_an_old_connection)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 2, false), CONTROL_RESULT_OK);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 2, false), CONTROL_RESULT_OK);
    uint32_t before[2] = {world.proxy[0].traced[TRACE_VIEW_PROPOSED],
                          world.proxy[1].traced[TRACE_VIEW_PROPOSED]};
    WAIT(world.proxy[0].traced[TRACE_VIEW_PROPOSED] > before[0] ||
             world.proxy[1].traced[TRACE_VIEW_PROPOSED] > before[1],
         SECOND);
    uint32_t late = world.proxy[0].traced[TRACE_VIEW_PROPOSED] > before[0] ? 1 : 0;
    give_up_at(late, 2, 1);
    WAIT(is_one_view(2, 3), SECOND); /* a quarter of the requests' time, and a bit */
    ck_assert_uint_eq(
        world.proxy[0].traced[TRACE_FILL_STARTED] + world.proxy[1].traced[TRACE_FILL_STARTED], 0);
    pass(2 * SECOND);
    ck_assert(is_one_view(2, 3));
    give_up_at(late, 2, 0);
    WAIT(is_one_view(2, 7), 3 * SECOND);
    world_end();
}
END_TEST

/* The lease is not over yet when the network is back; what was given up is in doubt for longer. */
START_TEST(who_is_cut_off_does_not_wait_for_its_lease)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    cut_off(1);
    pass(550000);
    ck_assert_int_ne(see(1)->state, CONTROL_LAPSED);
    give_up(1, 1);
    ck_assert_int_eq(see(1)->state, CONTROL_LAPSED);
    come_back(1);
    pass(100000);
    /* As for one that died. */
    ck_assert_uint_le(change_us(CONTROL_COMMAND_DRAIN), SECOND + SECOND / 10);
    ck_assert_uint_eq(see(0)->proxies, 1);
    give_up(1, 0);
    WAIT(is_one_view(2, 7) && see(0)->proxies == 2, SECOND);
    world_end();
}
END_TEST

/* The others have acted on a view that it has not: what they changed it would not know. */
START_TEST(nothing_is_answered_before_it_has_caught_up)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    proxy_pause(1);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
    ck_assert_uint_le(change_us(CONTROL_COMMAND_DRAIN), 50000);
    uint64_t epoch = see(0)->epoch;
    proxy_resume(1);
    WAIT(see(1)->state == CONTROL_CHANGING, SECOND);
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_LEASE_REGAINED], 1);
    while (!is_serving(1)) {
        ck_assert_uint_eq(control_lease_until_us(world.proxy[1].control), 0);
        ck_assert(world_step(world.now_us + SECOND));
    }
    ck_assert_uint_gt(control_lease_until_us(world.proxy[1].control), world.now_us);
    ck_assert_uint_eq(see(1)->epoch, epoch);
    world_end();
}
END_TEST

/* The only node that it reaches answers late once in a while. */
START_TEST(late_answers_do_not_make_it_wait_for_ever)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    cut_off(1);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
    for (uint32_t i = 0; i < 3; i++) {
        heal(1, 0);
        pass(2 * SECOND);
        cut(1, 0);
        pass(20000);
    }
    heal(1, 0);
    WAIT(see(0)->proxies == 2, SECOND);
    world_end();
}
END_TEST

/* It was alone when it was cut off, and is not any more. */
START_TEST(who_came_meanwhile_is_not_held_up)
{
    start_serving(3, 1);
    pass(2 * SECOND);
    cut_off(0);
    pass(550000);
    give_up(0, 1);
    WAIT(see(0)->state == CONTROL_LAPSED, SECOND);
    proxy_start(1);
    WAIT(is_serving(1), 4 * SECOND);
    pass(SECOND);
    come_back(0);
    pass(700000);
    struct control_command c = {.type = CONTROL_COMMAND_DRAIN, .ticket = 9, .node = 2};
    control_command(world.proxy[1].control, &c, world.now_us);
    take_actions(1);
    WAIT(world.proxy[1].done > 0, 50000);
    give_up(0, 0);
    WAIT(is_one_view(2, 7) && see(0)->proxies == 2, 2 * SECOND);
    world_end();
}
END_TEST

/* A switch fails. Each finds the others silent; no node did anything wrong. */
START_TEST(all_are_cut_off)
{
    for (uint64_t for_us = 550000; for_us < 6 * SECOND; for_us += 150000) {
        start_serving(3, 2);
        pass(2 * SECOND);
        cut_off(0);
        cut_off(1);
        pass(510000);
        give_up(0, 1);
        give_up(1, 1);
        pass(for_us - 510000);
        come_back(0);
        come_back(1);
        uint64_t proven_us = world.now_us + 2600000;
        while (world_step(proven_us)) {
            ck_assert_uint_eq(world.proxy[0].adopted.complete, 7);
            ck_assert_uint_eq(world.proxy[1].adopted.complete, 7);
        }
        give_up(0, 0);
        give_up(1, 0);
        uint64_t until_us = world.now_us + 2 * SECOND;
        while (world_step(until_us)) {
            ck_assert_uint_eq(world.proxy[0].adopted.complete, 7);
            ck_assert_uint_eq(world.proxy[1].adopted.complete, 7);
        }
        ck_assert(is_one_view(2, 7));
        world_end();
    }
}
END_TEST

/* A write of P can't be brought home at NODE. */
static void miss(uint32_t p, uint32_t node)
{
    struct control_report r = {.type = CONTROL_REPORT_MISSED, .node = node};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

/* Nobody is held up by who comes back where all have to: they need not wait for what was given up.
 * One of those that are back may have been idle. Nor is a node taken out for older writes. */
START_TEST(all_are_cut_off_and_serve_again_soon)
{
    bool is_one_idle = _i == 1;
    for (uint64_t for_us = 900000; for_us < 20 * SECOND; for_us = for_us * 3 / 2) {
        start_serving(3, 3);
        pass(2 * SECOND);
        for (uint32_t p = 0; p < 3; p++) {
            cut_off(p);
        }
        pass(510000);
        for (uint32_t p = is_one_idle; p < 3; p++) {
            give_up(p, 1);
        }
        pass(for_us - 510000);
        for (uint32_t p = 0; p < 3; p++) {
            come_back(p);
            pass(70000);
        }
        WAIT(is_one_view(3, 7), SECOND + SECOND / 2);
        for (uint32_t i = 0; i < 20; i++) {
            miss(2, i % 3);
            pass(100000);
            ck_assert(is_one_view(3, 7));
        }
        for (uint32_t p = 0; p < 3; p++) {
            give_up(p, 0);
        }
        miss(2, 1);
        WAIT(world.proxy[0].adopted.complete == 5, 3 * SECOND);
        world_end();
    }
}
END_TEST

/* Two are cut off and find each other silent; the third one acts. */
START_TEST(two_come_back_and_hold_up_nobody)
{
    start_serving(3, 3);
    pass(2 * SECOND);
    cut_off(1);
    cut_off(2);
    pass(500000);
    give_up(1, 1);
    give_up(2, 1);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
    come_back(1);
    pass(100000);
    come_back(2);
    for (uint32_t i = 0; i < 10; i++) {
        pass(230000);
        ck_assert_uint_le(change_us(i % 2 == 0 ? CONTROL_COMMAND_DRAIN : CONTROL_COMMAND_READY),
                          50000);
    }
    ck_assert_uint_eq(see(0)->proxies, 1);
    give_up(1, 0);
    give_up(2, 0);
    WAIT(is_one_view(3, 7) && see(0)->proxies == 3, SECOND);
    world_end();
}
END_TEST

/* The network is gone once more when the others see it again, but it has not regained its lease. */
START_TEST(second_cut_is_silent_too)
{
    start_with_one_away();
    give_up(1, 0);
    come_back(1);
    WAIT(see(0)->proxies == 2, 2 * SECOND);
    ck_assert_int_eq(see(1)->state, CONTROL_LAPSED);
    cut_off(1);
    pass(500000);
    give_up(1, 1);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
    come_back(1);
    for (uint32_t i = 0; i < 10; i++) {
        pass(230000);
        ck_assert_uint_le(change_us(i % 2 == 0 ? CONTROL_COMMAND_DRAIN : CONTROL_COMMAND_READY),
                          50000);
    }
    give_up(1, 0);
    WAIT(is_one_view(2, 7) && see(0)->proxies == 2, SECOND);
    world_end();
}
END_TEST

/* What it read before the only node that it reaches answered late tells nothing of who acts. */
START_TEST(late_answers_do_not_make_others_look_idle)
{
    start_with_one_away();
    for (uint32_t i = 0; i < 4; i++) {
        come_back(1);
        pass(450000);
        cut_off(1);
        pass(300000);
    }
    come_back(1);
    pass(900000);
    ck_assert_uint_eq(see(0)->proxies, 1);
    world_end();
}
END_TEST

/* Its id was forgotten, and is another's by now: no two may give out the same tokens. */
START_TEST(another_has_its_id_by_then)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    uint32_t id = see(1)->proxy_id;
    cut_off(1);
    pass(135 * SECOND);
    struct control_options options = options_of(2);
    options.nonce = options_of(1).nonce + 256; /* begins to look for one where the other did */
    proxy_start_with(2, &options);
    WAIT(is_serving(2), 4 * SECOND);
    ck_assert_uint_eq(see(2)->proxy_id, id);
    come_back(1);
    WAIT(is_serving(1), 4 * SECOND);
    pass(SECOND);
    ck_assert(is_serving(1));
    ck_assert_uint_ne(see(1)->proxy_id, id);
    ck_assert_uint_eq(world.proxy[1].adopted.proxy_id, see(1)->proxy_id);
    ck_assert_uint_eq(world.proxy[2].adopted.proxy_id, id);
    world_end();
}
END_TEST

/* A worker takes long to adopt the last view before the lapse. */
START_TEST(what_was_adopted_late_is_history)
{
    start_serving(3, 1);
    pass(2 * SECOND);
    world.proxy[0].is_adopting_slowly = true;
    struct control_command c = {.type = CONTROL_COMMAND_DRAIN, .ticket = 9, .node = 2};
    control_command(world.proxy[0].control, &c, world.now_us);
    take_actions(0);
    pass(50000);
    ck_assert_uint_eq(see(0)->epoch, world.proxy[0].adopted.epoch);
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    proxy_pause(0);
    proxy_start(1);
    WAIT(is_serving(1), 4 * SECOND);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_READY, 2, false), CONTROL_RESULT_OK);
    proxy_resume(0);
    pass(6 * SECOND);
    world.proxy[0].is_adopting_slowly = false;
    for (uint32_t w = 0; w < world.workers; w++) {
        put(EVENT_ADOPTED, 0, w, world.proxy[0].adopted.serial, WORKER_US);
    }
    uint32_t verifies = world.proxy[0].traced[TRACE_VERIFY_STARTED];
    WAIT(is_serving(0), SECOND);
    uint64_t epoch = see(0)->epoch;
    ck_assert_uint_eq(see(1)->epoch, epoch);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_VERIFY_STARTED], verifies);
    world_end();
}
END_TEST

/* What lay in a node that stood still shows a view that somebody acted on once. Who reaches none of
 * the nodes that are complete there does not act on it. */
START_TEST(left_over_is_not_acted_on)
{
    start_serving(2, 2);
    pass(SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 1, true), CONTROL_RESULT_OK);
    pass(SECOND);
    cut(0, 1);
    node_freeze(1);
    proxy_kill(1);
    pass(3 * SECOND); /* the others have gone on */
    cut(1, 0);
    node_thaw(1);
    proxy_start(1);
    pass(SECOND);
    ck_assert_uint_eq(see(1)->nodes[1].oper, NODE_OPER_UP);
    ck_assert_uint_gt(see(1)->proxies, 1);
    ck_assert(!is_serving(1));
    heal(0, 1);
    heal(1, 0);
    WAIT(is_serving(1) && is_serving(0), 4 * SECOND);
    world_end();
}
END_TEST

/* Nor does a view count at once that a node shows which stood still, though it was complete then:
 * the others that were may tell more. However long it was that nothing was heard at all. */
START_TEST(start_waits_for_the_other_nodes)
{
    bool is_deaf_first = _i == 1;
    start_serving(2, 2);
    pass(SECOND);
    node_freeze(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    proxy_kill(1);
    pass(3 * SECOND);
    cut(0, 1);
    cut(1, 0);
    node_thaw(1);
    if (is_deaf_first) {
        cut(1, 1);
    }
    proxy_start(1);
    if (is_deaf_first) {
        pass(4 * SECOND);
        heal(1, 1);
    }
    WAIT(see(1)->nodes[1].oper == NODE_OPER_UP, 2 * SECOND);
    pass(2 * SECOND);
    ck_assert(!world.proxy[1].has_adopted);
    heal(1, 0);
    WAIT(is_serving(1), SECOND);
    ck_assert_uint_eq(see(1)->epoch, see(0)->epoch);
    world_end();
}
END_TEST

/* Two nodes stood still, one after the other. What lies in the second is newer than in the first,
 * but it didn't grow where it lies. */
START_TEST(start_believes_no_left_over_that_it_sees_late)
{
    start_serving(3, 2);
    pass(SECOND);
    node_freeze(1);
    WAIT(is_one_view(2, 5), 2 * SECOND);
    pass(SECOND);
    node_freeze(2);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    proxy_kill(1);
    pass(3 * SECOND);
    for (uint32_t node = 1; node < 3; node++) {
        cut(0, node);
        node_thaw(node);
    }
    cut(1, 0);
    cut(1, 2);
    proxy_start(1);
    WAIT(see(1)->nodes[1].oper == NODE_OPER_UP, SECOND);
    pass(300000);
    heal(1, 2);
    pass(400000);
    ck_assert_uint_eq(see(1)->nodes[2].oper, NODE_OPER_UP);
    ck_assert_uint_gt(see(1)->proxies, 1);
    ck_assert(!world.proxy[1].has_adopted);
    heal(1, 0);
    WAIT(is_serving(1), SECOND);
    ck_assert_uint_eq(see(1)->epoch, see(0)->epoch);
    world_end();
}
END_TEST

/* Where one node has just been emptied to be filled, and the other was restarted, no node shows one
 * who could not write to them since, but still acts. */
START_TEST(start_waits_where_nobody_can_be_seen)
{
    start_serving(2, 2);
    pass(SECOND);
    world.fill_us = 20 * SECOND;
    node_kill(0);
    WAIT(is_one_view(2, 2), 2 * SECOND);
    node_start(0);
    WAIT(see(0)->state == CONTROL_SERVING && is_data(0, 0, NODE_DATA_FILLING) &&
             is_data(1, 0, NODE_DATA_FILLING),
         5 * SECOND);
    pass((uint64_t)_i * 14000);
    cut(1, 0);
    cut(1, 1);
    store_flush(&world.model[0].store, 0);
    node_kill(1);
    node_start(1);
    proxy_start(2);
    while (control_lease_until_us(world.proxy[1].control) > world.now_us + 2000) {
        ck_assert(!world.proxy[2].has_adopted);
        pass(1000);
    }
    heal(1, 0);
    heal(1, 1);
    WAIT(world.proxy[2].has_adopted && see(2)->proxies == 3, 5 * SECOND);
    world_end();
}
END_TEST

/* The last copy stood still and was given up, and what told so on the other node has just been
 * erased: the view that the first still shows is not acted on. */
START_TEST(start_waits_for_what_was_erased)
{
    start_serving(2, 2);
    pass(SECOND);
    world.fill_us = 60 * SECOND;
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING) && is_data(1, 1, NODE_DATA_FILLING), 5 * SECOND);
    pass(SECOND);
    proxy_kill(1);
    node_freeze(0);
    WAIT(is_data(0, 0, NODE_DATA_OUT), 5 * SECOND);
    cut(0, 0);
    pass((uint64_t)_i * 3000); /* it looks at node 1 now and then */
    node_thaw(0);
    store_flush(&world.model[1].store, 0);
    proxy_start(1);
    WAIT(world.proxy[1].has_adopted, 2 * SECOND);
    ck_assert_uint_ge(see(1)->epoch, see(0)->epoch);
    world_end();
}
END_TEST

/* A change of view waits for who starts: one that read the view before it was shown by anybody does
 * not pause any longer when it is. */
START_TEST(start_holds_up_no_change)
{
    bool is_filling = _i >= 8;
    start_serving(3, 1);
    pass(2 * SECOND);
    if (is_filling) { /* a node that is not what the view names is one that may have forgotten */
        world.fill_us = 20 * SECOND;
        node_kill(0);
        WAIT(is_one_view(1, 6), 2 * SECOND);
        node_start(0);
        WAIT(is_data(0, 0, NODE_DATA_FILLING), 5 * SECOND);
        pass(SECOND);
    }
    proxy_start(1);
    pass(is_filling ? (uint64_t)(_i - 8) * 50000 : (uint64_t)_i * 200);
    uint64_t from_us = world.now_us;
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 1, false), CONTROL_RESULT_OK);
    ck_assert_uint_lt(world.now_us - from_us, SECOND / 10);
    world_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control and leases that were over");
    TCase *stories = tcase_create("stories");
    tcase_set_timeout(stories, 60);
    tcase_add_loop_test(stories, start_waits_for_what_was_erased, 0, 9);
    tcase_add_loop_test(stories, start_holds_up_no_change, 0, 24);
    tcase_add_test(stories, left_over_is_not_acted_on);
    tcase_add_loop_test(stories, start_waits_for_the_other_nodes, 0, 2);
    tcase_add_test(stories, start_believes_no_left_over_that_it_sees_late);
    tcase_add_loop_test(stories, start_waits_where_nobody_can_be_seen, 0, 15);
    tcase_add_test(stories, old_connections_hold_up_nobody);
    tcase_add_test(stories, old_connections_are_not_waited_for_too_long);
    tcase_add_test(stories, where_nobody_else_is_nothing_is_waited_for);
    tcase_add_test(stories, nodes_are_found_again_first);
    tcase_add_test(stories, fill_is_put_off_for_an_old_connection);
    tcase_add_test(stories, who_is_cut_off_does_not_wait_for_its_lease);
    tcase_add_test(stories, nothing_is_answered_before_it_has_caught_up);
    tcase_add_test(stories, late_answers_do_not_make_it_wait_for_ever);
    tcase_add_test(stories, who_came_meanwhile_is_not_held_up);
    tcase_add_test(stories, all_are_cut_off);
    tcase_add_loop_test(stories, all_are_cut_off_and_serve_again_soon, 0, 2);
    tcase_add_test(stories, two_come_back_and_hold_up_nobody);
    tcase_add_test(stories, second_cut_is_silent_too);
    tcase_add_test(stories, late_answers_do_not_make_others_look_idle);
    tcase_add_test(stories, another_has_its_id_by_then);
    tcase_add_test(stories, what_was_adopted_late_is_history);
    suite_add_tcase(suite, stories);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
