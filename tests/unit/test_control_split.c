/* SPDX-License-Identifier: BSD-2-Clause */
/* Pools whose proxies do not all reach the same nodes, and how they become one again. */
#include "control_world.h"

/* Two proxies, each of which reaches a node that the other does not. */
static void start_split(bool knows_tokens)
{
    world_start(2);
    world.knows_tokens = knows_tokens;
    for (uint32_t node = 0; node < 2; node++) {
        node_kill(node);
        node_start(node);
    }
    for (uint32_t p = 0; p < 2; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
    pass(SECOND);
    cut(0, 1);
    cut(1, 0);
    WAIT(is_data(0, 1, NODE_DATA_OUT) && is_data(1, 0, NODE_DATA_OUT), 5 * SECOND);
    pass(SECOND);
    ck_assert_uint_eq(see(0)->proxies, 1);
}

/*
 * The proxy with the lower view meets the other's, and proposes what both join. No write may pass
 * the node by that is filled: its fill deletes what differs, and so it is filled from the first
 * view on. Where copies have no tokens it is flushed, and need not be.
 */
START_TEST(split_heals)
{
    start_split(_i == 0);
    heal(0, 1);
    heal(1, 0);
    WAIT(is_one_view(2, 3), 10 * SECOND);
    ck_assert_uint_eq(splits_healed(), 1);
    ck_assert_uint_eq(world.split_fills, _i == 0 ? 1 : 0);
    ck_assert_uint_eq(see(0)->fills_done + see(1)->fills_done, 1);
    /* And it is no split when a node comes back that way again. */
    node_kill(0);
    WAIT(is_one_view(2, 2), 3 * SECOND);
    node_start(0);
    WAIT(is_one_view(2, 3), 10 * SECOND);
    ck_assert_uint_eq(world.split_fills, _i == 0 ? 1 : 0);
    world_end();
}
END_TEST

/* Of two nodes that stayed complete one is the donor: the other loses by a verify what was
 * forgotten, and so not before that is over. */
START_TEST(split_heals_and_is_verified)
{
    world_start(3);
    world.knows_tokens = true;
    stand_in.verify_us = 100000;
    for (uint32_t node = 0; node < 3; node++) {
        node_kill(node);
        node_start(node);
    }
    for (uint32_t p = 0; p < 2; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
    pass(2 * SECOND);
    uint32_t alone = (uint32_t)_i;
    for (uint32_t node = 0; node < 3; node++) {
        cut(node == 0 ? 1 - alone : alone, node);
    }
    WAIT(is_data(1 - alone, 0, NODE_DATA_OUT) && is_data(alone, 1, NODE_DATA_OUT), 5 * SECOND);
    for (uint32_t i = 0; i < 6; i++) { /* theirs becomes the higher view */
        (void)command(1 - alone, i % 2 == 0 ? CONTROL_COMMAND_DRAIN : CONTROL_COMMAND_READY, 1,
                      false);
        pass(SECOND);
    }
    world.fill_us = 2 * SECOND;
    for (uint32_t node = 0; node < 3; node++) {
        heal(node == 0 ? 1 - alone : alone, node);
    }
    WAIT(world.split_fills > 0, 5 * SECOND);
    uint32_t begun = stand_in.begun;
    pass(SECOND);
    ck_assert_uint_eq(stand_in.begun, begun);
    WAIT(is_data(0, 0, NODE_DATA_COMPLETE) && is_data(0, 1, NODE_DATA_COMPLETE) &&
             is_data(0, 2, NODE_DATA_COMPLETE),
         10 * SECOND);
    WAIT(stand_in.begun > begun && see(0)->verify_due_by == VIEW_NO_PROXY, 10 * SECOND);
    world_end();
}
END_TEST

/* The node that is to be filled is restarted: that it lacks all keys tells nothing any more. */
START_TEST(split_heals_and_the_node_dies)
{
    start_split(true);
    world.fill_us = 2 * SECOND;
    heal(0, 1);
    heal(1, 0);
    WAIT(world.split_fills == 1, 5 * SECOND);
    uint32_t node = see(0)->nodes[0].data == NODE_DATA_FILLING ? 0 : 1;
    node_kill(node);
    node_start(node);
    WAIT(is_one_view(2, 3), 15 * SECOND);
    ck_assert_uint_eq(world.split_fills, 1);
    ck_assert_uint_eq(see(0)->fills_done + see(1)->fills_done, 1);
    world_end();
}
END_TEST

/* One proxy reaches both nodes again, the other does not: they agree all the same. */
START_TEST(split_heals_for_one)
{
    start_split(true);
    uint32_t first = (uint32_t)_i;
    heal(first, 1 - first);
    WAIT(is_one_view(2, 1) || is_one_view(2, 2), 10 * SECOND);
    heal(1 - first, first);
    WAIT(is_one_view(2, 3), 15 * SECOND);
    world_end();
}
END_TEST

static void give_up(uint32_t p, uint32_t node, uint32_t count)
{
    struct control_report r = {.type = CONTROL_REPORT_GIVEN_UP, .node = node, .count = count};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

/*
 * What was under way to the other side when the split came is not at its end at once when it heals.
 * It is waited for, so that what differs can be forgotten; but not while the other side can't go
 * on.
 */
START_TEST(split_heals_with_writes_given_up)
{
    start_split(true);
    world.healing_us = 4 * SECOND;
    give_up(0, 1, 1);
    give_up(1, 0, 1);
    heal(0, 1);
    heal(1, 0);
    pass(SECOND);
    ck_assert_uint_eq(splits_healed(), 0);
    if (_i == 1) {
        for (uint32_t p = 0; p < 2; p++) {
            struct control_command c = {
                .type = CONTROL_COMMAND_DRAIN, .node = p, .is_forced = true};
            control_command(world.proxy[p].control, &c, world.now_us);
            take_actions(p);
        }
        pass(SECOND);
        ck_assert_uint_eq(splits_healed(), 1);
    }
    give_up(0, 1, 0);
    give_up(1, 0, 0);
    WAIT(is_one_view(2, 3), 10 * SECOND);
    ck_assert_uint_eq(world.split_fills, _i == 0 ? 1 : 0);
    world_end();
}
END_TEST

/*
 * One side acts alone already, the other is still waiting to, and comes to the first one's view
 * before it has found the node again that is complete there: nothing is lost.
 */
START_TEST(split_heals_before_both_act)
{
    start_serving(2, 2);
    pass(SECOND);
    uint32_t late = (uint32_t)_i % 2;
    world.proxy[late].is_draining_slowly = true;
    cut(late, 1 - late);
    cut(1 - late, late);
    WAIT(is_data(1 - late, late, NODE_DATA_OUT), 5 * SECOND);
    ck_assert(!is_data(late, 1 - late, NODE_DATA_OUT));
    uint64_t held = world.proxy[late].held_serial;
    heal(1 - late, late);
    WAIT(world.proxy[late].held_serial > held, 5 * SECOND);
    world.proxy[late].is_draining_slowly = false;
    report(late, CONTROL_REPORT_DRAINED, 0, world.proxy[late].held_serial);
    report(late, CONTROL_REPORT_DRAINED, 1, world.proxy[late].held_serial);
    pass(_i < 2 ? 100000 : SECOND);
    heal(late, 1 - late);
    WAIT(is_one_view(2, 3), 15 * SECOND);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_LAST_COPY_LOST], 0);
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_LAST_COPY_LOST], 0);
    world_end();
}
END_TEST

/* Nobody is left on the other side, whose view is the higher one: a node that comes back with it is
 * just out, and what was acknowledged here since then stays. */
START_TEST(no_side_is_left_of_a_split)
{
    start_split(true);
    ck_assert(!is_data(0, 0, NODE_DATA_OUT));
    proxy_kill(1);
    pass(30 * SECOND); /* its heartbeat is there no more */
    heal(0, 1);
    WAIT(is_data(0, 0, NODE_DATA_FILLING) || is_data(0, 1, NODE_DATA_FILLING), 10 * SECOND);
    ck_assert(is_data(0, 0, NODE_DATA_COMPLETE));
    WAIT(is_one_view(1, 3), 10 * SECOND);
    ck_assert_uint_eq(world.split_fills, 0);
    world_end();
}
END_TEST

/* split: stop. The side without a majority takes no writes, and so its copies give way. */
START_TEST(split_stops_the_smaller_side)
{
    world_start(3);
    for (uint32_t p = 0; p < 2; p++) {
        struct control_options options = options_of(p);
        options.stops_in_split = true;
        proxy_start_with(p, &options);
        WAIT(is_serving(p), 3 * SECOND);
    }
    pass(SECOND);
    node_kill(2); /* two of three are enough */
    WAIT(is_one_view(2, 3), 3 * SECOND);
    node_start(2);
    WAIT(is_one_view(2, 7), 10 * SECOND);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_WRITES_STOPPED], 0);
    uint32_t small = (uint32_t)_i;
    for (uint32_t node = 0; node < 3; node++) {
        cut(node == 0 ? 1 - small : small, node); /* the small side has node 0 */
    }
    WAIT(is_data(small, 1, NODE_DATA_OUT) && is_data(small, 2, NODE_DATA_OUT), 5 * SECOND);
    WAIT(world.proxy[small].adopted.is_stopped, 2 * SECOND);
    WAIT(is_data(1 - small, 0, NODE_DATA_OUT), 5 * SECOND);
    pass(SECOND);
    ck_assert(!world.proxy[1 - small].adopted.is_stopped);
    ck_assert(see(small)->is_stopped);
    ck_assert_uint_eq(world.proxy[1 - small].traced[TRACE_WRITES_STOPPED], 0);
    uint64_t fills = see(0)->fills_done + see(1)->fills_done;
    for (uint32_t node = 0; node < 3; node++) {
        heal(node == 0 ? 1 - small : small, node);
    }
    WAIT(is_one_view(2, 7), 15 * SECOND);
    WAIT(!world.proxy[small].adopted.is_stopped, 2 * SECOND);
    ck_assert_uint_eq(see(0)->fills_done + see(1)->fills_done, fills + 1); /* of node 0 */
    ck_assert_uint_eq(world.split_fills, 0);
    world_end();
}
END_TEST

/* Cut off from all nodes for so long that its lease is over, a proxy finds them again one after the
 * other: none is to leave for that. */
START_TEST(proxy_that_was_cut_off_takes_nobody_out)
{
    start_serving(3, 2);
    pass(SECOND);
    for (uint32_t node = 0; node < 3; node++) {
        cut(0, node);
    }
    WAIT(see(1)->proxies == 1, 5 * SECOND);
    pass(SECOND);
    uint32_t changes = world.proxy[1].traced[TRACE_NODE_DATA];
    for (uint32_t i = 0; i < 3; i++) {
        heal(0, (i + (uint32_t)_i) % 3);
        pass(300000);
    }
    WAIT(is_one_view(2, 7), 5 * SECOND);
    pass(3 * SECOND);
    ck_assert(is_one_view(2, 7));
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_NODE_DATA], changes);
    world_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control_split");
    TCase *splits = tcase_create("splits");
    tcase_set_timeout(splits, 60);
    tcase_add_loop_test(splits, split_heals, 0, 2);
    tcase_add_loop_test(splits, split_heals_and_is_verified, 0, 2);
    tcase_add_test(splits, split_heals_and_the_node_dies);
    tcase_add_loop_test(splits, split_heals_for_one, 0, 2);
    tcase_add_loop_test(splits, split_heals_with_writes_given_up, 0, 2);
    tcase_add_loop_test(splits, split_heals_before_both_act, 0, 4);
    tcase_add_test(splits, no_side_is_left_of_a_split);
    tcase_add_loop_test(splits, split_stops_the_smaller_side, 0, 2);
    tcase_add_loop_test(splits, proxy_that_was_cut_off_takes_nobody_out, 0, 3);
    suite_add_tcase(suite, splits);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
