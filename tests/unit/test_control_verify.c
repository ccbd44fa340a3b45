/* SPDX-License-Identifier: BSD-2-Clause */
/* When control has copies compared, against model nodes in simulated time. */
#include "control_world.h"

/* The data that nodes are trusted to have at a first start is compared once, and mended. */
START_TEST(first_start_is_verified)
{
    world_start(2);
    stand_in.verify_us = 400000;
    proxy_start(0);
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, see(0)->proxy_id);
    WAIT(see(0)->verify.is_running, SECOND);
    ck_assert_int_eq(snap.verify.why, CONTROL_VERIFY_DUE);
    ck_assert(stand_in.plan.is_mending && world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(stand_in.plan.node, VERIFY_ALL_NODES);
    ck_assert_int_eq(stand_in.plan.clock_s[1], WALL_S);
    WAIT(!world.proxy[0].adopted.is_young, SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, VIEW_NO_PROXY);
    ck_assert_uint_eq(snap.divergences[VERIFY_KIND_EXTRA], 3);
    ck_assert_uint_eq(snap.repairs, 3);
    pass(10 * SECOND);
    ck_assert_uint_eq(stand_in.begun, 1);
    ck_assert_uint_eq(see(0)->epoch, 2);
    world_end();
}
END_TEST

static void serve_verified(uint32_t proxies)
{
    world_start(2);
    stand_in.verify_us = 100000;
    for (uint32_t p = 0; p < proxies; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY && is_serving(0), 3 * SECOND);
    pass(2 * SECOND); /* all know of each other */
    stand_in.begun = 0;
}

/* Two runs, not before a lease after the death was seen; a farewell is no death. */
START_TEST(death_of_a_proxy_is_followed_by_verifies)
{
    serve_verified(3);
    control_leave(world.proxy[2].control, world.now_us);
    take_actions(2);
    WAIT(see(0)->proxies == 2, 3 * SECOND);
    proxy_start(3); /* it finds that farewell */
    pass(5 * SECOND);
    control_leave(world.proxy[3].control, world.now_us);
    take_actions(3);
    WAIT(see(0)->proxies == 2, 3 * SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, VIEW_NO_PROXY);
    ck_assert_uint_eq(stand_in.begun, 0);
    proxy_kill(1);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
    uint64_t death_us = world.now_us;
    WAIT(stand_in.begun == 1, 3 * SECOND);
    ck_assert_uint_ge(stand_in.begun_us, death_us + SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, see(0)->proxy_id);
    WAIT(stand_in.begun == 2, 2 * SECOND);
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY, SECOND);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun, 2);
    world_end();
}
END_TEST

/* Comparisons that are over when a node enters were without it; what a proxy that died during its
 * fill had under way may have come to the donor alone. */
START_TEST(node_that_was_filled_when_a_proxy_died_is_compared)
{
    const bool is_dead = _i == 0;
    serve_verified(2);
    world.fill_us = 20 * SECOND;
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING) && is_data(1, 1, NODE_DATA_FILLING), 5 * SECOND);
    pass(SECOND);
    uint32_t filler = see(0)->nodes[1].is_filled_by_us ? 0 : 1;
    if (is_dead) {
        proxy_kill(1 - filler);
    }
    pass(10 * SECOND);
    ck_assert_uint_eq(see(filler)->verify_due_by, VIEW_NO_PROXY);
    ck_assert_uint_eq(stand_in.begun, is_dead ? 2 : 0);
    ck_assert_int_eq(snap.nodes[1].data, NODE_DATA_FILLING);
    WAIT(is_data(filler, 1, NODE_DATA_COMPLETE), 15 * SECOND);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun, is_dead ? 3 : 0);
    ck_assert_uint_eq(see(filler)->verify_due_by, VIEW_NO_PROXY);
    world_end();
}
END_TEST

START_TEST(verify_outlives_who_did_it)
{
    serve_verified(3);
    stand_in.verify_us = UINT64_MAX / 2;
    proxy_kill(2);
    WAIT(stand_in.begun == 1, 5 * SECOND);
    uint32_t doer = see(0)->verify_due_by == snap.proxy_id ? 0 : 1;
    stand_in.verify_us = 100000;
    proxy_kill(doer);
    WAIT(see(1 - doer)->verify_due_by == snap.proxy_id, 5 * SECOND);
    WAIT(stand_in.begun == 3, 5 * SECOND);
    WAIT(see(1 - doer)->verify_due_by == VIEW_NO_PROXY, SECOND);
    world_end();
}
END_TEST

static enum control_result ask_verify(uint32_t node, uint64_t tag, bool is_mending)
{
    struct control_command c = {
        .type = CONTROL_COMMAND_VERIFY, .tag = tag, .node = node, .is_mending = is_mending};
    control_command(world.proxy[0].control, &c, world.now_us);
    take_actions(0);
    return world.proxy[0].result;
}

/* A change of view waits until it rests, and one that leaves other nodes begins it anew. */
START_TEST(verify_rests_while_views_change)
{
    serve_verified(1);
    stand_in.verify_us = UINT64_MAX / 2;
    ck_assert_int_eq(ask_verify(VERIFY_ALL_NODES, 1, true), CONTROL_RESULT_OK);
    WAIT(see(0)->verify.is_running, SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 1, true), CONTROL_RESULT_OK);
    WAIT(stand_in.begun == 2, SECOND); /* other leaders */
    ck_assert(see(0)->verify.is_running && !stand_in.last->is_held);
    stand_in.is_unruly = true;
    struct control_command ready = {.type = CONTROL_COMMAND_READY, .node = 1, .ticket = 5};
    control_command(world.proxy[0].control, &ready, world.now_us);
    take_actions(0);
    pass(SECOND);
    ck_assert(stand_in.last->is_held);
    ck_assert_int_eq(see(0)->nodes[1].admin, NODE_ADMIN_DRAIN);
    stand_in.is_unruly = false;
    WAIT(see(0)->nodes[1].admin == NODE_ADMIN_READY, SECOND);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 3 * SECOND);
    WAIT(stand_in.begun == 4, SECOND);
    ck_assert_uint_eq(stand_in.plan.topology->complete, 1);
    world_end();
}
END_TEST

START_TEST(verify_on_command)
{
    serve_verified(1);
    stand_in.verify_us = 300000;
    ck_assert_int_eq(ask_verify(1, 70, true), CONTROL_RESULT_OK);
    WAIT(see(0)->verify.is_running, SECOND);
    ck_assert_uint_eq(stand_in.plan.node, 1);
    ck_assert_int_eq(ask_verify(1, 71, true), CONTROL_RESULT_UNCHANGED);
    ck_assert_int_eq(ask_verify(1, 72, false), CONTROL_RESULT_BUSY);
    WAIT(see(0)->verify_asked.tag == 70, SECOND);
    ck_assert_int_eq(snap.verify_asked.phase, VERIFY_DONE);
    ck_assert_uint_eq(snap.verify_asked.progress.mended, 3);
    stand_in.is_failing = true;
    ck_assert_int_eq(ask_verify(0, 73, false), CONTROL_RESULT_OK);
    WAIT(see(0)->verify_asked.tag == 73, SECOND);
    ck_assert_int_eq(snap.verify_asked.phase, VERIFY_FAILED);
    ck_assert_str_eq(snap.verify_asked.failure, "node 1: made to fail");
    stand_in.is_failing = false;
    ck_assert_int_eq(ask_verify(1, 74, false), CONTROL_RESULT_OK);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_VERIFY_STOP, 0, false), CONTROL_RESULT_OK);
    WAIT(see(0)->verify_asked.tag == 74, SECOND);
    ck_assert_str_eq(snap.verify_asked.failure, "stopped");
    ck_assert_int_eq(command(0, CONTROL_COMMAND_VERIFY_STOP, 0, false), CONTROL_RESULT_UNCHANGED);
    world_end();
}
END_TEST

/* What it has given up counts as what workers have: nothing is concluded until its end. */
START_TEST(verify_gives_up_connections)
{
    serve_verified(2);
    node_set *doubt = _i == 0 ? &stand_in.given_up : &stand_in.unproven;
    *doubt = node_set_of(1);
    stand_in.clouds = 0;
    stand_in.verify_us = UINT64_MAX / 2;
    ck_assert_int_eq(ask_verify(1, 1, false), CONTROL_RESULT_OK);
    pass(SECOND);
    ck_assert_uint_gt(stand_in.clouds, 10);
    *doubt = 0;
    pass(SECOND);
    uint32_t clouds = stand_in.clouds;
    pass(SECOND);
    ck_assert_uint_eq(stand_in.clouds, clouds);
    world_end();
}
END_TEST

/* What it left behind is compared when it is surely done; by then the doubt is told to all. */
START_TEST(what_a_verify_left_is_compared)
{
    serve_verified(2);
    uint64_t epoch = see(0)->epoch;
    stand_in.last->owed = node_set_of(1);
    stand_in.unproven = node_set_of(1);
    pass(5 * SECOND);
    ck_assert_uint_eq(see(0)->epoch, epoch);
    ck_assert_uint_eq(stand_in.begun, 0);
    stand_in.unproven = 0;
    WAIT(see(0)->verify_due_by == snap.proxy_id, SECOND);
    WAIT(stand_in.begun == 1, SECOND);
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY, SECOND);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun, 1);
    ck_assert_uint_eq(see(0)->epoch, epoch + 2);
    world_end();
}
END_TEST

/* One that is under way has dumped too early, whoever does it. */
START_TEST(what_a_verify_left_is_compared_anew)
{
    serve_verified(2 - (uint32_t)_i);
    struct verify *first = stand_in.last;
    stand_in.verify_us = SECOND;
    if (_i == 0) {
        proxy_kill(1);
        WAIT(stand_in.begun == 2, 6 * SECOND); /* the second of the two that this asks for */
    } else {
        first->owed = node_set_of(0);
        WAIT(stand_in.begun == 1, 6 * SECOND);
    }
    uint32_t begun = stand_in.begun;
    first->owed = node_set_of(1);
    WAIT(stand_in.begun == begun + 1, SECOND / 2);
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY, 3 * SECOND);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun, begun + 1);
    world_end();
}
END_TEST

/* A run that is due by another began before, or knows nothing of it. */
START_TEST(what_a_verify_left_is_no_other_run_s)
{
    serve_verified(3);
    struct verify *ours = stand_in.last; /* of proxy 0 */
    stand_in.verify_us = 3 * SECOND;
    proxy_kill(2);
    for (int i = 0; see(1)->proxies == 3; i++) { /* proxy 1 is to notice first */
        ck_assert_int_lt(i, 300);
        pass(i % 30 == 29 ? 50000 : 10000);
        (i % 30 == 28 ? proxy_resume : proxy_pause)(0);
    }
    proxy_resume(0);
    WAIT(stand_in.begun == 1, 5 * SECOND);
    ck_assert_uint_ne(see(0)->verify_due_by, snap.proxy_id);
    ours->owed = node_set_of(1);
    uint32_t begun = 3;
    if (_i == 1) { /* a view between that has nothing to do with it; what runs begins anew */
        pass(SECOND);
        ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 1, true), CONTROL_RESULT_OK);
        begun++;
    }
    WAIT(stand_in.begun == begun, 15 * SECOND);
    ck_assert_uint_eq(see(0)->verify_due_by, snap.proxy_id);
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY, 4 * SECOND);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun, begun);
    world_end();
}
END_TEST

/* A lapse that nobody saw takes a verify with it, and so the second look at its copies. */
START_TEST(a_short_lapse_leaves_a_run_to_do)
{
    serve_verified(2);
    stand_in.verify_us = UINT64_MAX / 2;
    ck_assert_int_eq(ask_verify(VERIFY_ALL_NODES, 1, true), CONTROL_RESULT_OK);
    WAIT(see(0)->verify.is_running, SECOND);
    stand_in.on_trial = _i == 0 ? node_set_of(1) : 0;
    for (uint32_t node = 0; node < 2; node++) {
        cut(0, node);
    }
    WAIT(see(0)->state == CONTROL_LAPSED, 2 * SECOND);
    stand_in.on_trial = 0;
    stand_in.verify_us = 100000;
    for (uint32_t node = 0; node < 2; node++) {
        heal(0, node);
    }
    WAIT(is_serving(0), 3 * SECOND);
    ck_assert_uint_eq(see(1)->proxies, 2);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun, _i == 0 ? 3 : 2); /* what was asked for begins anew */
    ck_assert_uint_eq(see(0)->verify_due_by, VIEW_NO_PROXY);
    world_end();
}
END_TEST

/* A node that has left the view is filled; there is nothing to compare it with. */
START_TEST(what_a_verify_left_on_a_lost_node)
{
    serve_verified(1);
    stand_in.unproven = node_set_of(1);
    stand_in.last->owed = node_set_of(1);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 3 * SECOND);
    pass(SECOND);
    ck_assert_uint_eq(stand_in.last->owed, 0);
    stand_in.unproven = 0;
    pass(3 * SECOND);
    ck_assert_uint_eq(stand_in.begun, 0);
    world_end();
}
END_TEST

/* Who leaves with something left behind leaves as one that died. */
START_TEST(no_farewell_hides_what_a_verify_left)
{
    serve_verified(2);
    stand_in.last->owed = node_set_of(1);
    control_leave(world.proxy[0].control, world.now_us);
    take_actions(0);
    WAIT(see(1)->proxies == 1, 5 * SECOND);
    WAIT(stand_in.begun == 2, 6 * SECOND);
    world_end();
}
END_TEST

/* One proxy alone, at its rate, again and again; whatever else is asked for goes first. */
START_TEST(verifies_in_the_background)
{
    world_start(2);
    stand_in.verify_us = 20 * SECOND;
    for (uint32_t p = 0; p < 2; p++) {
        struct control_options options = options_of(p);
        options.is_verify_background = true;
        options.verify_rate_bytes = 2 << 20;
        proxy_start_with(p, &options);
        WAIT(is_serving(p), 3 * SECOND);
    }
    WAIT(see(0)->verify_due_by == VIEW_NO_PROXY, 30 * SECOND);
    uint32_t begun = stand_in.begun;
    WAIT(stand_in.begun == begun + 1, 90 * SECOND);
    ck_assert_int_eq(see(0)->verify.why, CONTROL_VERIFY_BACKGROUND);
    ck_assert_uint_eq(stand_in.plan.rate_bytes, 2 << 20);
    ck_assert_uint_eq(stand_in.plan.rate_keys, 8192);
    ck_assert_int_eq(see(1)->verify.why, CONTROL_VERIFY_NONE);
    ck_assert_int_eq(ask_verify(1, 1, false), CONTROL_RESULT_OK);
    WAIT(see(0)->verify.why == CONTROL_VERIFY_ASKED && snap.verify.is_running, SECOND);
    ck_assert_uint_eq(stand_in.plan.rate_bytes, 0);
    WAIT(see(0)->verify.why == CONTROL_VERIFY_BACKGROUND, 90 * SECOND);
    WAIT(!see(0)->verify.is_running, 30 * SECOND);
    uint64_t ended_us = world.now_us;
    WAIT(see(0)->verify.is_running, 90 * SECOND);
    ck_assert_uint_ge(world.now_us - ended_us, 50 * SECOND);
    world_end();
}
END_TEST

/* Rate and wish may change while one runs. */
START_TEST(the_background_is_told_otherwise)
{
    world_start(2);
    stand_in.verify_us = 20 * SECOND;
    struct control_options options = options_of(0);
    struct control_limits limits = {
        .fall = 3,
        .rise = 2,
        .timeout_us = options.timeout_us,
        .hold_down_max_us = options.hold_down_max_us,
        .request_timeout_us = 3 * SECOND,
        .is_verify_background = true,
        .verify_rate_bytes = 2 << 20,
        .fill = {.rate_bytes = 7, .window = 8, .timeout_us = 9 * SECOND},
        .verify = {.window = 8, .timeout_us = 9 * SECOND, .settle_us = 3 * SECOND},
    };
    proxy_start_with(0, &options);
    WAIT(is_serving(0) && see(0)->verify_due_by == VIEW_NO_PROXY, 60 * SECOND);
    struct control *control = world.proxy[0].control;
    control_set_limits(control, &limits);
    WAIT(see(0)->verify.why == CONTROL_VERIFY_BACKGROUND && snap.verify.is_running, 90 * SECOND);
    ck_assert_uint_eq(stand_in.limits.settle_us, 3 * SECOND);
    ck_assert_uint_eq(stand_in.plan.rate_bytes, 2 << 20);
    limits.verify_rate_bytes = 1 << 20;
    control_set_limits(control, &limits);
    ck_assert_uint_eq(stand_in.plan.rate_bytes, 1 << 20);
    ck_assert_uint_eq(stand_in.plan.rate_keys, 4096);
    const uint32_t begun = stand_in.begun;
    limits.is_verify_background = false;
    control_set_limits(control, &limits);
    WAIT(!see(0)->verify.is_running, SECOND);
    pass(200 * SECOND);
    ck_assert_uint_eq(stand_in.begun, begun);
    world_end();
}
END_TEST

int main(void)
{
    TCase *stories = tcase_create("stories");
    tcase_set_timeout(stories, 60);
    tcase_add_test(stories, first_start_is_verified);
    tcase_add_test(stories, death_of_a_proxy_is_followed_by_verifies);
    tcase_add_loop_test(stories, node_that_was_filled_when_a_proxy_died_is_compared, 0, 2);
    tcase_add_test(stories, verify_outlives_who_did_it);
    tcase_add_test(stories, verify_rests_while_views_change);
    tcase_add_test(stories, verify_on_command);
    tcase_add_loop_test(stories, verify_gives_up_connections, 0, 2);
    tcase_add_test(stories, what_a_verify_left_is_compared);
    tcase_add_loop_test(stories, what_a_verify_left_is_compared_anew, 0, 2);
    tcase_add_loop_test(stories, what_a_verify_left_is_no_other_run_s, 0, 2);
    tcase_add_loop_test(stories, a_short_lapse_leaves_a_run_to_do, 0, 2);
    tcase_add_test(stories, what_a_verify_left_on_a_lost_node);
    tcase_add_test(stories, no_farewell_hides_what_a_verify_left);
    tcase_add_test(stories, verifies_in_the_background);
    tcase_add_test(stories, the_background_is_told_otherwise);
    Suite *suite = suite_create("control and its verifies");
    suite_add_tcase(suite, stories);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
