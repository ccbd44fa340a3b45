/* SPDX-License-Identifier: BSD-2-Clause */
/* Control against model nodes in simulated time. Each test is a story told in waits. */
#include "control_world.h"

#include "core/heartbeat.h"

/* --- Stories --- */

START_TEST(first_start_kill_and_fill)
{
    world_start(2);
    proxy_start(0);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), 0);
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_ge(world.now_us - 5000000, 400000);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 3);
    ck_assert(world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(see(0)->epoch, 1);
    pass(SECOND);
    ck_assert_uint_eq(see(0)->view_changes, 1);

    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 1);
    pass(SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING), 3 * SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.chained, 2);
    WAIT(is_data(0, 1, NODE_DATA_COMPLETE), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 3);
    ck_assert(!world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(see(0)->fills_done, 1);
    pass(5 * SECOND);
    ck_assert_uint_eq(see(0)->epoch, 4);
    ck_assert_uint_eq(see(0)->leases_lapsed, 0);
    world_end();
}
END_TEST

START_TEST(first_start_with_one_node_dead)
{
    world_start(2);
    node_kill(0);
    proxy_start(0);
    pass(2900000); /* it may know a view, and be waited for as long as three leases */
    ck_assert(!is_serving(0));
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 2);
    node_start(0);
    WAIT(is_one_view(1, 3), 5 * SECOND);
    world_end();
}
END_TEST

START_TEST(second_proxy_joins)
{
    start_serving(2, 2);
    ck_assert_uint_eq(see(1)->epoch, 1);
    ck_assert_uint_eq(see(1)->proxies, 2);
    WAIT(see(0)->proxies == 2, 3 * SECOND);
    ck_assert_uint_ne(see(0)->proxy_id, see(1)->proxy_id);
    pass(10 * SECOND);
    ck_assert_uint_eq(see(0)->epoch, 1);
    ck_assert_uint_eq(see(0)->proxies, 2);
    ck_assert_uint_eq(see(1)->proxies, 2);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_PROXY_GONE], 0);
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_PROXY_GONE], 0);
    world_end();
}
END_TEST

/* One worker of one proxy need not compare copies, and the view says so; who comes writes nothing
 * before that has ended, which is soon at whatever moment of the first one's round it comes. */
START_TEST(alone_until_another_comes)
{
    enum { HELD_US = 50000 };
    world_start(2);
    world.workers = 1;
    proxy_start(0);
    WAIT(is_serving(0), 3 * SECOND);
    ck_assert(!world.proxy[0].adopted.is_settling && !world.proxy[0].adopted.is_read_only);
    pass(3 * SECOND + (uint64_t)_i * SECOND / 40);
    uint64_t epoch = see(0)->epoch;
    proxy_start(1);
    WAIT(world.proxy[1].has_adopted, 3 * SECOND);
    ck_assert(world.proxy[1].adopted.is_read_only);
    WAIT(is_one_view(2, 3) && see(0)->epoch == epoch + 1, HELD_US);
    ck_assert_uint_le(see(1)->change_max_us, HELD_US);
    for (uint32_t p = 0; p < 2; p++) {
        ck_assert(world.proxy[p].adopted.is_settling && !world.proxy[p].adopted.is_read_only);
    }
    pass(10 * SECOND);
    ck_assert(world.proxy[0].adopted.is_settling);
    proxy_kill(1);
    WAIT(is_serving(0) && !world.proxy[0].adopted.is_settling, 10 * SECOND);
    ck_assert(!world.proxy[0].adopted.is_read_only);
    world_end();
}
END_TEST

START_TEST(two_proxies_start_at_once)
{
    world_start(2);
    proxy_start(0);
    proxy_start(1);
    WAIT(is_one_view(2, 3), 4 * SECOND);
    pass(3 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_le(see(0)->epoch, 2);
    world_end();
}
END_TEST

START_TEST(same_id_is_taken_by_one)
{
    world_start(2);
    struct control_options options = options_of(0);
    proxy_start(0);
    options.nonce += PROXIES_MAX;
    proxy_start_with(1, &options);
    WAIT(is_one_view(2, 3), 4 * SECOND);
    ck_assert_uint_ne(see(0)->proxy_id, see(1)->proxy_id);
    pass(200 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_eq(see(0)->proxies, 2);
    world_end();
}
END_TEST

START_TEST(node_dies_and_exactly_one_fills)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    pass(SECOND); /* it is down for both */
    node_start(1);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    uint32_t started =
        world.proxy[0].traced[TRACE_FILL_STARTED] + world.proxy[1].traced[TRACE_FILL_STARTED];
    ck_assert_uint_eq(started, 1);
    ck_assert_uint_eq(see(0)->fills_done + see(1)->fills_done, 1);
    world_end();
}
END_TEST

START_TEST(filler_dies_and_the_other_takes_over)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    world.fill_us = 5 * SECOND;
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    node_start(1);
    WAIT(is_data(0, 1, NODE_DATA_FILLING) && is_data(1, 1, NODE_DATA_FILLING), 5 * SECOND);
    uint32_t filler = see(0)->nodes[1].is_filled_by_us ? 0 : 1;
    pass(SECOND);
    proxy_kill(filler);
    uint64_t died_us = world.now_us;
    WAIT(see(1 - filler)->nodes[1].is_filled_by_us, 3 * SECOND);
    ck_assert_uint_ge(world.now_us - died_us, 700000);
    WAIT(is_data(1 - filler, 1, NODE_DATA_COMPLETE), 6 * SECOND);
    ck_assert_uint_eq(see(1 - filler)->proxies, 1);
    world_end();
}
END_TEST

START_TEST(fast_restart_is_noticed)
{
    start_serving(2, 2);
    pass(SECOND);
    node_kill(0);
    node_start(0);
    WAIT(is_one_view(2, 2), SECOND);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    ck_assert_uint_ge(
        world.proxy[0].traced[TRACE_NODE_IDENTITY] + world.proxy[1].traced[TRACE_NODE_IDENTITY], 1);
    world_end();
}
END_TEST

START_TEST(third_party_flush_is_noticed)
{
    start_serving(2, 1);
    pass(SECOND);
    store_flush(&world.model[1].store, 0);
    WAIT(is_one_view(1, 1), SECOND);
    WAIT(is_one_view(1, 3), 6 * SECOND);
    world_end();
}
END_TEST

START_TEST(missed_write_is_not_waited_for)
{
    start_serving(2, 2);
    pass(SECOND);
    node_freeze(1);
    uint64_t frozen_us = world.now_us;
    struct control_report missed = {
        .type = CONTROL_REPORT_MISSED, .node = 1, .end = WIRE_END_TIMEOUT};
    control_report(world.proxy[0].control, &missed, world.now_us);
    take_actions(0);
    WAIT(world.proxy[0].adopted.complete == 1 && is_serving(0), SECOND);
    ck_assert_uint_le(world.now_us - frozen_us, 300000);
    node_thaw(1);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    world_end();
}
END_TEST

START_TEST(operator_commands)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 0, false), CONTROL_RESULT_UNCHANGED);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 0, false), CONTROL_RESULT_OK);
    ck_assert_uint_eq(world.proxy[0].adopted.leaders, 2);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 3);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_DRAIN, 1, false), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 0, false), CONTROL_RESULT_OK);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 0, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(2, 2), SECOND);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_MAINT, 1, false), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_RESYNC, 1, false), CONTROL_RESULT_LAST_COPY);
    pass(3 * SECOND);
    ck_assert(is_one_view(2, 2));
    ck_assert_int_eq(command(1, CONTROL_COMMAND_READY, 0, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(2, 3), 5 * SECOND);
    ck_assert_int_eq(command(1, CONTROL_COMMAND_RESYNC, 0, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(2, 3), 5 * SECOND);
    ck_assert_uint_eq(
        world.proxy[0].traced[TRACE_FILL_DONE] + world.proxy[1].traced[TRACE_FILL_DONE], 2);
    world_end();
}
END_TEST

START_TEST(two_operators_never_take_both_copies)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    for (uint32_t p = 0; p < 2; p++) {
        struct control_command c = {.type = CONTROL_COMMAND_MAINT, .ticket = 1, .node = p};
        control_command(world.proxy[p].control, &c, world.now_us);
    }
    take_actions(0);
    take_actions(1);
    WAIT(world.proxy[0].done == 1 && world.proxy[1].done == 1, 4 * SECOND);
    ck_assert_int_eq((world.proxy[0].result == CONTROL_RESULT_OK) +
                         (world.proxy[1].result == CONTROL_RESULT_OK),
                     1);
    ck_assert_int_eq((world.proxy[0].result == CONTROL_RESULT_LAST_COPY) +
                         (world.proxy[1].result == CONTROL_RESULT_LAST_COPY),
                     1);
    world_end();
}
END_TEST

START_TEST(forced_maintenance_of_the_last_copy)
{
    start_serving(2, 1);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 0, false), CONTROL_RESULT_OK);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 1, true), CONTROL_RESULT_OK);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 0);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 1, false), CONTROL_RESULT_OK);
    WAIT(is_one_view(1, 2), 5 * SECOND);
    world_end();
}
END_TEST

START_TEST(lease_lapses_and_is_regained)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    proxy_pause(0);
    uint64_t until_us = control_lease_until_us(world.proxy[0].control);
    ck_assert_uint_le(until_us - world.now_us, 800000);
    pass(1500000);
    node_kill(1);
    /* The other goes on without it once it is dead. */
    WAIT(is_one_view(1, 1) || world.proxy[1].adopted.complete == 1, 4 * SECOND);
    ck_assert_uint_eq(see(1)->proxies, 1);
    proxy_resume(0);
    ck_assert_uint_le(control_lease_until_us(world.proxy[0].control), world.now_us);
    WAIT(is_one_view(2, 1), SECOND);
    ck_assert_uint_ge(see(0)->leases_lapsed, 1);
    ck_assert_uint_ge(world.proxy[0].traced[TRACE_LEASE_REGAINED], 1);
    WAIT(see(1)->proxies == 2, 3 * SECOND);
    world_end();
}
END_TEST

START_TEST(all_nodes_gone_and_back)
{
    start_serving(2, 1);
    node_freeze(0);
    node_freeze(1);
    WAIT(see(0)->state == CONTROL_LAPSED, 2 * SECOND);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), 0);
    pass(5 * SECOND);
    node_thaw(0);
    node_thaw(1);
    WAIT(is_one_view(1, 3), 5 * SECOND);
    ck_assert_uint_eq(see(0)->fills_done, 0);
    world_end();
}
END_TEST

START_TEST(last_copy_is_lost)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    node_kill(0);
    WAIT(is_one_view(2, 2), 2 * SECOND);
    node_kill(1);
    node_start(1);
    WAIT(is_one_view(2, 2) && see(0)->epoch > 3, 6 * SECOND);
    ck_assert(world.proxy[0].adopted.is_young);
    ck_assert_uint_ge(world.proxy[0].traced[TRACE_LAST_COPY_LOST] +
                          world.proxy[1].traced[TRACE_LAST_COPY_LOST],
                      1);
    node_start(0);
    WAIT(is_one_view(2, 3), 6 * SECOND);
    ck_assert(!world.proxy[0].adopted.is_young);
    world_end();
}
END_TEST

/* last_copy: a node that was out, and has old data, must stand in: it begins anew, or keeps it. */
START_TEST(last_copy_is_replaced_by_old_data)
{
    bool is_kept = _i == 1;
    world_start(2);
    world.workers = 1;
    struct control_options options = options_of(0);
    options.keeps_last_copy = is_kept;
    proxy_start_with(0, &options);
    WAIT(is_one_view(1, 3), 5 * SECOND);
    pass(SECOND);
    node_freeze(0);
    WAIT(is_one_view(1, 2), 3 * SECOND);
    node_kill(1);
    pass(SECOND);
    node_thaw(0);
    WAIT(is_one_view(1, 1), 10 * SECOND);
    ck_assert_uint_ge(world.proxy[0].traced[TRACE_LAST_COPY_LOST], 1);
    ck_assert(world.proxy[0].adopted.is_young);
    ck_assert_uint_eq(world.model[0].store.flushes, is_kept ? 0 : 1);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_FILL_STARTED], is_kept ? 0 : 1);
    world_end();
}
END_TEST

START_TEST(frozen_last_copy_is_waited_for)
{
    start_serving(2, 1);
    pass(SECOND);
    node_kill(0);
    WAIT(is_one_view(1, 2), 2 * SECOND);
    node_freeze(1);
    pass(10 * SECOND);
    node_thaw(1);
    WAIT(is_one_view(1, 2), 5 * SECOND);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_LAST_COPY_LOST], 0);
    world_end();
}
END_TEST

static void put_beat(uint32_t node, const struct heartbeat *beat)
{
    struct control_options options = options_of(0);
    char text[HEARTBEAT_BYTES_MAX];
    char key[MC_KEY_BYTES_MAX];
    struct mc_writer t = mc_writer_of(text, sizeof text);
    struct mc_writer k = mc_writer_of(key, sizeof key);
    heartbeat_emit(beat, &options.names, &t);
    view_key_heartbeat(&options.names, beat->id, &k);
    struct store_write write = {
        .mode = STORE_SET, .key = slice_of(key, k.len), .data = slice_of(text, t.len)};
    uint64_t cas;
    ck_assert_int_eq(store_put(&world.model[node].store, &write, &cas), STORE_STORED);
}

static void flush(uint32_t p, uint64_t ticket, int64_t delay_s)
{
    struct control_report r = {.type = CONTROL_REPORT_FLUSH,
                               .worker = world.workers - 1,
                               .ticket = ticket,
                               .delay_s = delay_s};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

START_TEST(flush_with_two_proxies)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    flush(0, 1, 0);
    WAIT(world.proxy[0].flushed == 1, 3 * SECOND);
    ck_assert_uint_eq(world.model[0].store.flushes, 1);
    ck_assert_uint_eq(world.model[1].store.flushes, 1);
    WAIT(is_one_view(2, 3), SECOND);
    ck_assert(!world.proxy[1].adopted.is_holding);
    pass(5 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_eq(see(0)->epoch, 3);
    ck_assert_uint_eq(see(0)->proxies, 2);
    flush(0, 2, 0);
    flush(1, 1, 0);
    WAIT(world.proxy[0].flushed == 2 && world.proxy[1].flushed == 1, 4 * SECOND);
    WAIT(is_one_view(2, 3), SECOND);
    world_end();
}
END_TEST

/* A flush takes the heartbeats of who came to the view in which it was due. Those who acted on that
 * view already may not know it, and go on without it: it must not act on what they have left. */
START_TEST(newcomer_during_a_flush)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    world.proxy[1].is_draining_slowly = true;
    flush(1, 1, 0);
    WAIT(see(0)->state == CONTROL_CHANGING, SECOND);
    proxy_start(3);
    pass(SECOND);
    world.proxy[1].is_draining_slowly = false;
    for (uint32_t worker = 0; worker < world.workers; worker++) {
        report(1, CONTROL_REPORT_DRAINED, worker, world.proxy[1].held_serial);
    }
    WAIT(world.proxy[3].adopted.is_holding, SECOND);
    WAIT(world.proxy[1].flushed == 1 && is_serving(0) && is_serving(1), SECOND);
    uint64_t serving_us = world.now_us;
    WAIT(!world.proxy[3].adopted.is_holding, 2 * SECOND);
    ck_assert_uint_ge(world.now_us, serving_us + SECOND * 8 / 10);
    WAIT(is_one_view(2, 3) && is_serving(3), SECOND);
    world_end();
}
END_TEST

/*
 * A delayed flush is done by the proxies, at once on all nodes, also on one that was restarted
 * meanwhile; if the first of them is gone, by the next. A later flush takes its place.
 */
START_TEST(flush_later)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    uint32_t asked = (uint32_t)_i % 2;
    flush(asked, 1, 20);
    WAIT(world.proxy[asked].flushed == 1, 3 * SECOND);
    ck_assert_uint_eq(world.model[0].store.flushes, 0);
    WAIT(is_one_view(2, 3), SECOND);
    node_kill(1);
    WAIT(is_one_view(2, 1), 3 * SECOND);
    node_start(1);
    WAIT(is_one_view(2, 3), 10 * SECOND);
    uint64_t flushes = world.model[1].store.flushes; /* by its fill */
    uint64_t others = world.model[0].store.flushes;
    if (_i >= 4) {
        flush(1 - asked, 2, 0);
        WAIT(world.proxy[1 - asked].flushed == 1, 3 * SECOND);
        flushes++;
        others++;
        pass(25 * SECOND);
    } else if (_i >= 2) {
        proxy_kill(asked);
    }
    if (_i < 4) {
        WAIT(world.model[0].store.flushes == others + 1, 25 * SECOND);
        flushes++;
        others++;
        pass(10 * SECOND);
    }
    ck_assert_uint_eq(world.model[0].store.flushes, others);
    ck_assert_uint_eq(world.model[1].store.flushes, flushes);
    world_end();
}
END_TEST

/* A flush that is due does not call off another one, that is asked for in the same moment. */
START_TEST(flush_later_when_one_is_due)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    uint64_t asked_us = world.now_us;
    flush(0, 1, 5);
    WAIT(world.proxy[0].flushed == 1, 3 * SECOND);
    pass(asked_us + 5 * SECOND + (uint64_t)_i * 2000 - world.now_us);
    flush(1, 1, 10);
    pass(9 * SECOND);
    uint64_t flushes = world.model[0].store.flushes;
    WAIT(world.model[0].store.flushes == flushes + 1, 4 * SECOND);
    world_end();
}
END_TEST

/* A donor that was restarted just now said that it has nothing: its fellows have. */
START_TEST(donor_restarts_at_the_end_of_a_fill)
{
    start_serving(3, 1);
    pass(SECOND);
    world.fill_us = SECOND;
    node_kill(2);
    WAIT(is_data(0, 2, NODE_DATA_OUT), 3 * SECOND);
    node_start(2);
    WAIT(world.proxy[0].traced[TRACE_FILL_STARTED] == 1, 5 * SECOND);
    pass(990000);
    node_kill(0);
    node_start(0);
    WAIT(is_data(0, 0, NODE_DATA_OUT) || is_data(0, 2, NODE_DATA_COMPLETE), 3 * SECOND);
    ck_assert(!is_data(0, 2, NODE_DATA_COMPLETE));
    WAIT(is_one_view(1, 7), 15 * SECOND);
    world_end();
}
END_TEST

/* What is asked when all were told otherwise already comes after that, which is done once. */
START_TEST(flush_later_asked_during_a_flush)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    flush(0, 1, _i == 0 ? 0 : 60);
    WAIT(world.proxy[1].held_serial > world.proxy[1].adopted.serial, SECOND);
    flush(0, 2, 20);
    WAIT(world.proxy[0].flushed >= 1, 5 * SECOND);
    pass(5 * SECOND);
    uint64_t flushes = world.model[0].store.flushes;
    ck_assert_uint_eq(flushes, _i == 0 ? 1 : 0);
    WAIT(world.model[0].store.flushes == flushes + 1, 20 * SECOND);
    pass(60 * SECOND);
    ck_assert_uint_eq(world.model[0].store.flushes, flushes + 1);
    world_end();
}
END_TEST

/* The donor dies when all is copied and before it could say who it is: the target has it all. */
START_TEST(donor_dies_at_the_end_of_a_fill)
{
    start_serving(2, 1);
    pass(SECOND);
    world.fill_us = SECOND;
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 3 * SECOND);
    node_start(1);
    WAIT(world.proxy[0].traced[TRACE_FILL_STARTED] == 1, 5 * SECOND);
    uint64_t flushes = world.model[1].store.flushes;
    pass(990000);
    if (_i == 0) {
        node_freeze(0);
    } else {
        node_kill(0);
    }
    if (_i == 2) {
        node_start(0);
    }
    WAIT(is_data(0, 1, NODE_DATA_COMPLETE), 15 * SECOND);
    ck_assert_uint_eq(world.model[1].store.flushes, flushes); /* not begun anew */
    world_end();
}
END_TEST

START_TEST(flusher_dies)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    flush(0, 1, 0);
    WAIT(world.proxy[1].adopted.is_holding, SECOND);
    proxy_kill(0);
    WAIT(!world.proxy[1].adopted.is_holding && is_serving(1), 5 * SECOND);
    ck_assert_uint_ge(world.model[0].store.flushes, 1);
    ck_assert_uint_ge(world.model[1].store.flushes, 1);
    ck_assert_uint_eq(world.proxy[1].adopted.complete, 3);
    world_end();
}
END_TEST

START_TEST(node_that_is_not_flushed_leaves)
{
    start_serving(2, 1);
    pass(SECOND);
    world.proxy[0].is_draining_slowly = true;
    flush(0, 1, 0);
    pass(10000);
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    world.proxy[0].is_draining_slowly = false;
    node_freeze(1);
    report(0, CONTROL_REPORT_DRAINED, 0, world.proxy[0].held_serial);
    report(0, CONTROL_REPORT_DRAINED, 1, world.proxy[0].held_serial);
    WAIT(world.proxy[0].flushed == 1, 3 * SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 1);
    node_thaw(1);
    WAIT(is_one_view(1, 3), 8 * SECOND);
    world_end();
}
END_TEST

START_TEST(proxy_dies_during_a_change)
{
    start_serving(3, 3);
    pass(2 * SECOND);
    world.proxy[2].is_draining_slowly = true;
    node_kill(2);
    WAIT(see(0)->state == CONTROL_CHANGING && see(2)->state == CONTROL_CHANGING, 2 * SECOND);
    pass(300000);
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    proxy_kill(2);
    WAIT(is_one_view(2, 3), 3 * SECOND);
    world_end();
}
END_TEST

/*
 * Proxy 1 dies, and a third comes that can't know it: nodes showed it the dead one's heartbeat.
 * What 0 knows for long enough must do for both, also when a node is emptied meanwhile, which makes
 * the newcomer's own finding worthless.
 */
START_TEST(newcomer_acts_on_what_others_act_on)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 1, false), CONTROL_RESULT_OK);
    proxy_kill(1);
    pass(400000);
    proxy_start(2);
    WAIT(is_serving(2), 2 * SECOND);
    uint64_t begin_us = world.now_us;
    struct control_command ready = {.type = CONTROL_COMMAND_READY, .ticket = 9, .node = 1};
    control_command(world.proxy[0].control, &ready, world.now_us);
    take_actions(0);
    WAIT(is_data(0, 1, NODE_DATA_FILLING), 2 * SECOND);
    WAIT(is_data(2, 1, NODE_DATA_FILLING), 100000);
    ck_assert_uint_lt(world.now_us - begin_us, 1200000);
    world_end();
}
END_TEST

START_TEST(node_dies_during_a_change)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    world.proxy[0].is_draining_slowly = true;
    node_kill(2);
    WAIT(see(0)->state == CONTROL_CHANGING, 2 * SECOND);
    node_kill(1);
    WAIT(see(0)->state == CONTROL_CHANGING && world.proxy[0].held_serial >= 3, 2 * SECOND);
    world.proxy[0].is_draining_slowly = false;
    report(0, CONTROL_REPORT_DRAINED, 0, world.proxy[0].held_serial);
    report(0, CONTROL_REPORT_DRAINED, 1, world.proxy[0].held_serial);
    WAIT(is_one_view(2, 1), SECOND);
    world_end();
}
END_TEST

/* Somebody flushes the last copy while a view is joined. What a worker sends there is refused until
 * a view names that flush, and it says so; this must not keep the view from being acted on. */
START_TEST(last_copy_is_flushed_during_a_change)
{
    start_serving(2, 1);
    pass(SECOND);
    node_kill(0);
    WAIT(is_one_view(1, 2), 2 * SECOND);
    node_start(0);
    world.proxy[0].is_draining_slowly = true;
    uint64_t held = world.proxy[0].held_serial;
    WAIT(world.proxy[0].held_serial > held, 6 * SECOND);
    store_flush(&world.model[1].store, 0);
    pass(SECOND / 2);
    world.proxy[0].is_draining_slowly = false;
    report(0, CONTROL_REPORT_DRAINED, 0, world.proxy[0].held_serial);
    report(0, CONTROL_REPORT_DRAINED, 1, world.proxy[0].held_serial);
    for (int i = 0; i < 100 && !is_one_view(1, 3); i++) {
        struct control_report missed = {.type = CONTROL_REPORT_MISSED, .node = 1};
        if (see(0)->state == CONTROL_CHANGING) {
            control_report(world.proxy[0].control, &missed, world.now_us);
            take_actions(0);
        }
        pass(60000);
    }
    ck_assert(is_one_view(1, 3));
    world_end();
}
END_TEST

/* Who waits for the others of one view finds the next by their heartbeats, not in its next round.
 */
START_TEST(next_view_is_seen_while_one_is_joined)
{
    start_serving(3, 2);
    pass(2 * SECOND + (uint64_t)_i * 23000);
    world.proxy[1].is_draining_slowly = true;
    struct control_command drain = {.type = CONTROL_COMMAND_DRAIN, .ticket = 9, .node = 0};
    control_command(world.proxy[0].control, &drain, world.now_us);
    take_actions(0);
    WAIT(world.proxy[1].held_serial > 0, SECOND);
    uint64_t held = world.proxy[1].held_serial;
    struct control_report missed = {.type = CONTROL_REPORT_MISSED, .node = 2};
    control_report(world.proxy[1].control, &missed, world.now_us);
    take_actions(1);
    WAIT(world.proxy[1].held_serial > held, SECOND);
    world.proxy[1].is_draining_slowly = false;
    report(1, CONTROL_REPORT_DRAINED, 0, world.proxy[1].held_serial);
    report(1, CONTROL_REPORT_DRAINED, 1, world.proxy[1].held_serial);
    WAIT(is_data(0, 2, NODE_DATA_OUT) && is_data(1, 2, NODE_DATA_OUT), 30000);
    world_end();
}
END_TEST

START_TEST(given_up_connection_holds_up_joining)
{
    start_serving(2, 1);
    pass(SECOND);
    struct control_report r = {.type = CONTROL_REPORT_GIVEN_UP, .worker = 1, .node = 0, .count = 1};
    control_report(world.proxy[0].control, &r, world.now_us);
    take_actions(0);
    struct control_command c = {.type = CONTROL_COMMAND_DRAIN, .node = 0};
    control_command(world.proxy[0].control, &c, world.now_us);
    take_actions(0);
    pass(100000);
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    ck_assert_uint_eq(see(0)->epoch, 1);
    r.count = 0;
    control_report(world.proxy[0].control, &r, world.now_us);
    take_actions(0);
    WAIT(is_serving(0), SECOND);
    ck_assert_uint_eq(world.proxy[0].adopted.leaders, 2);
    world_end();
}
END_TEST

START_TEST(failing_fill_is_tried_again)
{
    start_serving(2, 1);
    pass(SECOND);
    world.is_fill_failing = true;
    node_kill(1);
    node_start(1);
    WAIT(see(0)->fills_failed >= 3, 10 * SECOND);
    ck_assert(is_one_view(1, 1));
    world.is_fill_failing = false;
    WAIT(is_one_view(1, 3), 10 * SECOND);
    world_end();
}
END_TEST

/* The last copy is lost in the moment in which another node answers again and does not count as up:
 * it is not taken and thrown out, again and again. */
START_TEST(rescue_waits_until_the_node_is_up)
{
    start_serving(2, 1);
    pass(SECOND);
    node_kill(0);
    WAIT(is_data(0, 0, NODE_DATA_OUT), SECOND);
    pass(3 * SECOND);
    node_start(0);
    WAIT(see(0)->nodes[0].is_check_ok, 3 * SECOND);
    ck_assert_int_eq(see(0)->nodes[0].oper, NODE_OPER_DOWN);
    uint32_t before = world.proxy[0].traced[TRACE_VIEW_PROPOSED];
    node_kill(1);
    node_start(1);
    pass(2 * HOP_US);
    struct control_report found = {.type = CONTROL_REPORT_IDENTITY, .node = 1};
    control_report(world.proxy[0].control, &found, world.now_us);
    take_actions(0);
    WAIT(is_one_view(1, 3), 10 * SECOND);
    ck_assert_uint_le(world.proxy[0].traced[TRACE_VIEW_PROPOSED] - before, 4);
    world_end();
}
END_TEST

START_TEST(third_party_deletes_everything)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    for (uint32_t node = 0; node < 2; node++) {
        struct store *store = &world.model[node].store;
        for (uint32_t i = 0; i < STORE_BUCKETS; i++) {
            while (store->buckets[i] != NULL) {
                store_drop(store, store->buckets[i]);
            }
        }
    }
    pass(5 * SECOND);
    ck_assert(is_one_view(2, 3));
    ck_assert_uint_eq(see(0)->epoch, 1);
    ck_assert_uint_eq(see(0)->proxies, 2);
    world_end();
}
END_TEST

START_TEST(farewell_is_faster_than_the_lease)
{
    start_serving(2, 2);
    pass(3 * SECOND);
    control_leave(world.proxy[1].control, world.now_us);
    take_actions(1);
    WAIT(control_is_gone(world.proxy[1].control), SECOND);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[1].control), 0);
    proxy_kill(1);
    WAIT(see(0)->proxies == 1, 2 * SECOND);
    world_end();
}
END_TEST

static void give_up_at(uint32_t p, uint32_t node, uint32_t count)
{
    struct control_report r = {.type = CONTROL_REPORT_GIVEN_UP, .node = node, .count = count};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

static void park_at(uint32_t p, uint32_t worker, uint32_t count)
{
    struct control_report r = {.type = CONTROL_REPORT_PARKED, .worker = worker, .count = count};
    control_report(world.proxy[p].control, &r, world.now_us);
    take_actions(p);
}

/*
 * It says that nothing of its proxy's is under way: an old write there would be nobody's business,
 * and a node be filled before it is done. Who can't say so leaves as one that died.
 */
START_TEST(farewell_waits_for_what_is_left)
{
    bool is_ended = _i == 1;
    start_serving(3, 2);
    pass(3 * SECOND);
    uint32_t verifies = stand_in.begun;
    give_up_at(1, 2, 1);
    control_leave(world.proxy[1].control, world.now_us);
    take_actions(1);
    pass(SECOND / 2);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[1].control), 0);
    ck_assert(!control_is_gone(world.proxy[1].control));
    proxy_start(2); /* one that did not see it alive */
    pass(SECOND / 4);
    ck_assert_uint_eq(see(2)->proxies, 3);
    if (is_ended) {
        give_up_at(1, 2, 0);
    }
    WAIT(control_is_gone(world.proxy[1].control), SECOND / 2);
    WAIT(see(0)->proxies == 2 && see(2)->proxies == 2, 3 * SECOND);
    proxy_kill(1);
    stand_in.verify_us = 100000;
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun > verifies + 1, !is_ended); /* after the death, and again */
    world_end();
}
END_TEST

/* What differs on a filling node would be compared by nobody. The end of the fill is far, and a
 * change of view would wait for who waits for it: it leaves at once, and says so. */
START_TEST(farewell_tells_of_copies_that_differ)
{
    bool is_parked = _i == 1;
    start_serving(3, 2);
    pass(3 * SECOND);
    uint32_t verifies = stand_in.begun;
    stand_in.verify_us = 100000;
    park_at(1, 1, is_parked ? 3 : 0);
    control_leave(world.proxy[1].control, world.now_us);
    take_actions(1);
    WAIT(control_is_gone(world.proxy[1].control), SECOND / 100);
    proxy_kill(1);
    WAIT(see(0)->proxies == 1, 2 * SECOND);
    ck_assert_uint_eq(stand_in.begun, verifies);
    pass(5 * SECOND);
    ck_assert_uint_eq(stand_in.begun > verifies + 1, is_parked); /* after a lease, and again */
    world_end();
}
END_TEST

/* A node that was not to be reached may still show how another run took its leave. */
START_TEST(farewell_is_of_one_run)
{
    start_serving(3, 2);
    pass(SECOND);
    struct heartbeat beat = {.id = see(1)->proxy_id,
                             .nonce = 4711,
                             .sequence = 1000,
                             .view_hash = HEARTBEAT_FAREWELL,
                             .config_hash = 77};
    for (uint32_t i = 0; i < 20; i++) {
        put_beat(i % 3, &beat);
        pass(SECOND / 3);
    }
    ck_assert_uint_eq(see(0)->proxies, 2);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_PROXY_GONE], 0);
    world_end();
}
END_TEST

/* One node after the other is lost when an id is asked of it, and found again at once. */
START_TEST(claim_of_an_id_is_lost)
{
    world_start(2);
    proxy_start(0);
    WAIT(see(0)->nodes[0].oper == NODE_OPER_UP && see(0)->nodes[1].oper == NODE_OPER_UP, SECOND);
    world.is_node_frozen[1] = true;
    for (uint32_t node = 0; node < 2; node++) {
        node_kill(node);
        node_start(node);
        pass(2000);
        struct control_report r = {.type = CONTROL_REPORT_IDENTITY, .node = node};
        control_report(world.proxy[0].control, &r, world.now_us); /* it is connected to at once */
        take_actions(0);
        pass(2000);
    }
    ck_assert_uint_ne(see(0)->proxy_id, VIEW_NO_PROXY);
    WAIT(is_serving(0), 4 * SECOND);
    world_end();
}
END_TEST

/*
 * Nor does what another run left there hide the one that lives, be it a heartbeat, or a farewell
 * that is seen while the lease of this one is over: who grows is alive.
 */
START_TEST(left_over_hides_nobody)
{
    bool is_farewell = _i == 1;
    start_serving(3, 2);
    pass(SECOND);
    struct heartbeat beat = {.id = see(1)->proxy_id,
                             .nonce = 4711,
                             .sequence = 1000,
                             .epoch = is_farewell ? 0 : 1,
                             .view_hash = is_farewell ? HEARTBEAT_FAREWELL : 17,
                             .config_hash = 77};
    if (is_farewell) {
        proxy_pause(1);
        WAIT(see(0)->proxies == 1, 4 * SECOND);
    } else {
        cut(1, 2); /* so that it lies there for a while */
    }
    for (uint32_t i = 0; i < 10; i++) {
        put_beat(2, &beat);
        pass(SECOND / 3);
    }
    if (is_farewell) {
        proxy_resume(1);
    }
    pass(4 * SECOND);
    ck_assert_uint_eq(see(0)->proxies, 2);
    ck_assert_uint_eq(see(1)->proxies, 2);
    world_end();
}
END_TEST

/* Until the one that lives is seen again, what it has given up counts on: no view that others would
 * wait for is proposed meanwhile. */
START_TEST(left_over_hides_no_old_connections)
{
    start_serving(3, 2);
    pass(SECOND);
    node_kill(2);
    WAIT(is_data(0, 2, NODE_DATA_OUT) && is_data(1, 2, NODE_DATA_OUT), 2 * SECOND);
    give_up_at(1, 2, 1);
    pass(SECOND);
    cut(1, 2);
    node_start(2);
    struct heartbeat beat = {.id = see(1)->proxy_id, .sequence = 1000, .epoch = 1, .view_hash = 17};
    beat.config_hash = 77;
    uint32_t proposed = world.proxy[0].traced[TRACE_VIEW_PROPOSED];
    for (uint32_t i = 0; i < 20; i++) {
        beat.nonce = 4711 + i; /* each hides it once more */
        put_beat(2, &beat);
        pass(SECOND);
    }
    ck_assert_uint_ge(world.proxy[0].traced[TRACE_PROXY_SEEN], 10);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_VIEW_PROPOSED], proposed);
    heal(1, 2);
    give_up_at(1, 2, 0);
    WAIT(is_one_view(2, 7), 10 * SECOND);
    world_end();
}
END_TEST

static void forget_id(uint32_t id)
{
    struct control_options options = options_of(0);
    char key[MC_KEY_BYTES_MAX];
    struct mc_writer k = mc_writer_of(key, sizeof key);
    view_key_id(&options.names, id, &k);
    for (uint32_t node = 0; node < world.nodes; node++) {
        struct store *store = &world.model[node].store;
        struct store_item *item = store_find(store, slice_of(key, k.len));
        if (item != NULL) {
            store_drop(store, item);
        }
    }
}

/* Another run was killed, and nodes have forgotten who had its id: its heartbeat, which the next
 * one overwrites, is waited for no longer than any other. */
START_TEST(id_of_a_dead_run)
{
    start_serving(2, 1);
    pass(2 * SECOND);
    uint32_t id = see(0)->proxy_id;
    proxy_kill(0);
    forget_id(id);
    struct control_options options = options_of(0);
    options.nonce += PROXIES_MAX;
    proxy_start_with(0, &options);
    WAIT(is_serving(0), 4 * SECOND);
    ck_assert_uint_eq(see(0)->proxy_id, id);
    WAIT(see(0)->proxies == 1, 3 * SECOND);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 2 * SECOND);
    world_end();
}
END_TEST

/* Its next run has its id and acts, and all that is seen of either at a change of view is the
 * farewell, in nodes that stood still, or a heartbeat before it: the change waits for that run. */
START_TEST(farewell_hides_no_next_run)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    struct control_options options = options_of(1);
    struct heartbeat beat = {.id = see(1)->proxy_id, .nonce = options.nonce, .sequence = 1000};
    beat.view_hash = HEARTBEAT_FAREWELL;
    proxy_kill(1);
    forget_id(beat.id);
    options.nonce += PROXIES_MAX;
    proxy_start_with(1, &options);
    WAIT(is_serving(1), SECOND);
    ck_assert_uint_eq(see(1)->proxy_id, beat.id);
    for (uint32_t node = 0; node < 3; node++) {
        cut(1, node);
    }
    uint64_t epoch = see(0)->epoch;
    bool grows_first = _i >= 3;
    if (grows_first) {
        beat.epoch = 1;
        put_beat((uint32_t)_i % 3, &beat);
        beat.epoch = 0;
        beat.sequence++;
    } else {
        put_beat((uint32_t)_i, &beat);
        put_beat((uint32_t)(_i + 1) % 3, &beat);
    }
    struct control_command drain = {.type = CONTROL_COMMAND_DRAIN, .node = 0, .ticket = 9};
    control_command(world.proxy[0].control, &drain, world.now_us);
    take_actions(0);
    pass(SECOND / 50);
    put_beat((uint32_t)_i % 3, &beat);
    pass(SECOND / 4);
    ck_assert_uint_gt(control_lease_until_us(world.proxy[1].control), world.now_us);
    ck_assert_uint_eq(see(0)->epoch, epoch);
    world_end();
}
END_TEST

/* A connection that was kept back stores an old heartbeat over the latest ones, now and then. */
START_TEST(late_heartbeat_buries_nobody)
{
    start_serving(2, 2);
    pass(SECOND);
    struct control_options options = options_of(1);
    struct heartbeat beat = {.id = see(1)->proxy_id, .nonce = options.nonce, .sequence = 1};
    for (int i = 0; i < 40; i++) {
        pass(SECOND / 2 + (uint64_t)i * 1000);
        for (int ms = 0; ms < 50; ms++) {
            put_beat(0, &beat);
            put_beat(1, &beat);
            pass(1000);
        }
    }
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_PROXY_GONE], 0);
    world_end();
}
END_TEST

/* A verify has stored what it has not looked at again. */
START_TEST(farewell_waits_for_a_verify)
{
    start_serving(2, 1);
    pass(SECOND);
    ck_assert(see(0)->verify.is_running);
    stand_in.is_unruly = true;
    control_leave(world.proxy[0].control, world.now_us);
    take_actions(0);
    pass(SECOND / 2);
    ck_assert(!control_is_gone(world.proxy[0].control));
    stand_in.is_unruly = false;
    stand_in.given_up = 2; /* its connection */
    pass(SECOND / 4);
    ck_assert(!control_is_gone(world.proxy[0].control));
    stand_in.given_up = 0;
    WAIT(control_is_gone(world.proxy[0].control), SECOND / 2);
    world_end();
}
END_TEST

/* Who starts where somebody has just left waits for nobody, however young what that one left is. */
START_TEST(restart_after_a_farewell_waits_for_nobody)
{
    bool had_joined = _i == 1;
    world_start(2);
    proxy_start(0);
    WAIT(had_joined ? is_serving(0) : see(0)->proxy_id != VIEW_NO_PROXY, SECOND);
    control_leave(world.proxy[0].control, world.now_us);
    take_actions(0);
    WAIT(control_is_gone(world.proxy[0].control), SECOND);
    proxy_kill(0);
    proxy_start(1);
    WAIT(is_serving(1), SECOND * 3 / 4);
    world_end();
}
END_TEST

/*
 * One was killed, its view is no longer the highest, and another has gone on and taken its leave:
 * that all who live have joined this view is known from the farewell, and needs no lease to tell.
 */
START_TEST(restart_after_a_farewell_waits_for_no_dead)
{
    start_serving(2, 2);
    pass(SECOND);
    proxy_kill(1);
    WAIT(see(0)->proxies == 1, 5 * SECOND);
    node_kill(1);
    WAIT(is_data(0, 1, NODE_DATA_OUT), 3 * SECOND);
    pass(_i == 0 ? 0 : SECOND / 2);
    control_leave(world.proxy[0].control, world.now_us);
    take_actions(0);
    WAIT(control_is_gone(world.proxy[0].control), SECOND);
    proxy_kill(0);
    proxy_start(2);
    WAIT(is_serving(2), SECOND / 2);
    ck_assert_uint_eq(see(2)->proxies, 2); /* it is not known to be dead yet */
    world_end();
}
END_TEST

START_TEST(other_configuration_keeps_nodes_out)
{
    world_start(2);
    struct control_options options = options_of(1);
    options.config_hash = 78;
    proxy_start(0);
    WAIT(is_serving(0), SECOND);
    proxy_start_with(1, &options);
    WAIT(is_serving(1), 2 * SECOND);
    WAIT(see(0)->proxies == 2, 2 * SECOND);
    ck_assert_uint_eq(world.proxy[0].traced[TRACE_POOL_MISMATCH], 1);
    node_kill(1);
    WAIT(is_one_view(2, 1), 2 * SECOND);
    node_start(1);
    pass(5 * SECOND);
    ck_assert(is_one_view(2, 1));
    proxy_kill(1);
    WAIT(is_one_view(1, 3), 6 * SECOND);
    world_end();
}
END_TEST

START_TEST(flapping_node_is_held_down)
{
    start_serving(2, 1);
    uint64_t waited_us[4];
    for (uint32_t i = 0; i < 4; i++) {
        pass(SECOND);
        node_kill(1);
        node_start(1);
        WAIT(is_data(0, 1, NODE_DATA_OUT), 2 * SECOND);
        uint64_t out_us = world.now_us;
        WAIT(is_data(0, 1, NODE_DATA_FILLING), 10 * SECOND);
        waited_us[i] = world.now_us - out_us;
        WAIT(is_one_view(1, 3), 2 * SECOND);
    }
    ck_assert_uint_lt(waited_us[0], 500000);
    ck_assert_uint_ge(waited_us[1], 1000000);
    ck_assert_uint_ge(waited_us[2], 1500000);
    ck_assert_uint_ge(waited_us[3], 2250000);
    world_end();
}
END_TEST

START_TEST(lone_node)
{
    world_start(1);
    proxy_start(0);
    ck_assert(world.proxy[0].has_adopted);
    ck_assert(world.proxy[0].adopted.is_lone);
    ck_assert_uint_eq(world.proxy[0].adopted.complete, 1);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), UINT64_MAX);
    WAIT(see(0)->nodes[0].oper == NODE_OPER_UP, SECOND);
    flush(0, 5, 0);
    WAIT(world.proxy[0].flushed == 1, SECOND);
    ck_assert_uint_eq(world.model[0].store.flushes, 1);
    node_kill(0);
    WAIT(see(0)->nodes[0].oper == NODE_OPER_DOWN, 2 * SECOND);
    flush(0, 6, 3);
    node_start(0);
    WAIT(world.proxy[0].flushed == 2, 3 * SECOND);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_MAINT, 0, true), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_READY, 0, true), CONTROL_RESULT_UNCHANGED);
    ck_assert_uint_eq(control_lease_until_us(world.proxy[0].control), UINT64_MAX);
    ck_assert_uint_eq(world.model[0].store.count, 0);
    world_end();
}
END_TEST

/* --- Chaos: anything at any time; then it ends, and all must be well --- */

static void chaos_step(struct prng *prng, uint64_t *nonce)
{
    uint32_t node = (uint32_t)prng_below(prng, world.nodes);
    uint32_t p = (uint32_t)prng_below(prng, 3);
    struct proxy *proxy = &world.proxy[p];
    struct control_command c = {.type = (enum control_command_type)prng_below(prng, 4),
                                .node = node,
                                .is_forced = prng_below(prng, 8) == 0};
    switch (prng_below(prng, 9)) {
    case 0:
        if (world.is_node_alive[node]) {
            world.is_node_frozen[node] = false;
            node_kill(node);
        }
        break;
    case 1:
    case 2:
        if (!world.is_node_alive[node]) {
            node_start(node);
        }
        break;
    case 3:
        if (world.is_node_alive[node]) {
            node_freeze(node);
        }
        break;
    case 4:
        node_thaw(node);
        break;
    case 5:
        if (proxy->is_alive && !proxy->is_paused) {
            proxy_pause(p);
        } else if (proxy->is_alive) {
            proxy_resume(p);
        }
        break;
    case 6:
        if (prng_below(prng, 3) > 0) {
            break;
        } else if (proxy->is_alive) {
            proxy_kill(p);
        } else {
            struct control_options options = options_of(p);
            options.nonce = ++*nonce;
            options.hold_down_max_us = 3 * SECOND;
            proxy_start_with(p, &options);
        }
        break;
    case 7:
        if (proxy->is_alive && !proxy->is_paused) {
            control_command(proxy->control, &c, world.now_us);
            take_actions(p);
        }
        break;
    default:
        if (proxy->is_alive && !proxy->is_paused && prng_below(prng, 4) == 0) {
            flush(p, ++*nonce, (int64_t)prng_below(prng, 2));
        } else if (world.is_node_alive[node] && prng_below(prng, 4) == 0) {
            store_flush(&world.model[node].store, 0);
        }
        break;
    }
}

START_TEST(chaos)
{
    struct prng prng = {.state = (uint64_t)_i};
    uint64_t nonce = 5000;
    world_start(3);
    world.workers = 1 + (uint32_t)_i % 2;
    world.is_dump_refused = _i % 4 == 3;
    for (uint32_t p = 0; p < 3; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
    for (uint32_t i = 0; i < 150; i++) {
        pass(prng_below(&prng, 400000));
        chaos_step(&prng, &nonce);
    }
    for (uint32_t node = 0; node < world.nodes; node++) {
        if (!world.is_node_alive[node]) {
            world.is_node_frozen[node] = false;
            node_start(node);
        }
        node_thaw(node);
    }
    for (uint32_t p = 0; p < 3; p++) {
        if (!world.proxy[p].is_alive) {
            struct control_options options = options_of(p);
            options.nonce = ++nonce;
            proxy_start_with(p, &options);
        } else if (world.proxy[p].is_paused) {
            proxy_resume(p);
        }
    }
    WAIT(is_serving(0) && is_serving(1) && is_serving(2), 20 * SECOND);
    pass(3 * SECOND); /* no command is under way any more */
    for (uint32_t node = 0; node < world.nodes; node++) {
        uint64_t until_us = world.now_us + 60 * SECOND;
        while (see(0)->nodes[node].admin != NODE_ADMIN_READY) {
            ck_assert_uint_lt(world.now_us, until_us);
            (void)command(0, CONTROL_COMMAND_READY, node, false);
        }
    }
    uint64_t until_us = world.now_us + 240 * SECOND;
    while (world.is_dump_refused && !is_one_view(3, 7)) {
        ck_assert_uint_lt(world.now_us, until_us);
        for (uint32_t node = 0; node < world.nodes; node++) {
            if (is_data(0, node, NODE_DATA_WARMING)) {
                (void)command(0, CONTROL_COMMAND_READY, node, true);
            }
        }
        pass(SECOND / 10);
    }
    WAIT(is_one_view(3, 7), 240 * SECOND);
    ck_assert_uint_eq(see(0)->proxies, 3);
    world_end();
}
END_TEST

/*
 * What PROXIES idle ones ask of one of NODES nodes in a second: a round of three commands every
 * `interval`; on the lowest node, where proposals come first, eight looks more; and every second,
 * or more seldom where there are many, all 256 heartbeats of one node in turn, in a command each,
 * with a no-op and the stats behind them.
 */
static double idle_commands(uint32_t proxies, uint32_t nodes, bool is_lowest)
{
    double rounds = 1000000.0 / 200000;
    double pause_s = 0.02 * (proxies - 1) > 1 ? 0.02 * (proxies - 1) : 1;
    double glances = is_lowest ? 8 * rounds : 0;
    return proxies * (3 * rounds + glances + (PROXIES_MAX + 2) / (nodes * pause_s));
}

/* A change of view: each proxy reads, once on each node, the ids of which it knows no live proxy,
 * stores its heartbeat and reads or stores the view a few times; and until all show the view, it
 * asks one node every 3 ms, or more seldom where there are many, about those that do not. */
static double change_commands(uint32_t proxies, uint32_t nodes, double held_us)
{
    double once = PROXIES_MAX - proxies + 1 + 12;
    double pause_us = 100 * proxies > 3000 ? 100 * proxies : 3000;
    return proxies * (once + (held_us / pause_us + 1) * (proxies + 6) / nodes);
}

/* What proxies cost, and how long a change takes; shown, and held to the arithmetic. */
START_TEST(costs)
{
    enum { IDLE_S = 40 }; /* what happens once a second still counts within the tolerance */
    static const uint32_t counts[] = {1, 2, 4, 8};
    uint32_t proxies = counts[_i % 4];
    uint32_t nodes = _i < 4 ? 2 : 4;
    start_serving(nodes, proxies);
    pass(5 * SECOND);
    uint64_t bytes = see(0)->nodes[0].round_bytes;
    uint64_t before[NODES];
    memcpy(before, world.node_commands, sizeof before);
    pass(IDLE_S * SECOND);
    bytes = (see(0)->nodes[0].round_bytes - bytes) / IDLE_S;
    for (uint32_t node = 0; node < 2; node++) {
        double asked = (double)(world.node_commands[node] - before[node]) / IDLE_S;
        double expected = idle_commands(proxies, nodes, node == 0);
        ck_assert_msg(asked > 0.9 * expected && asked < 1.1 * expected,
                      "%u proxies ask %.0f of node %u in a second, not %.0f", proxies, asked, node,
                      expected);
    }
    uint64_t other = world.node_commands[1];
    ck_assert_int_eq(command(0, CONTROL_COMMAND_DRAIN, 0, false), CONTROL_RESULT_OK);
    uint64_t most = 0;
    for (uint32_t p = 0; p < proxies; p++) {
        uint64_t took = see(p)->change_last_us;
        most = took > most ? took : most;
    }
    other = world.node_commands[1] - other;
    (void)printf("proxies %u, nodes %u: idle %.0f commands/s, %llu bytes/s a node and proxy; "
                 "a change: %llu commands a node, held writes %llu us at most (hop %u us)\n",
                 proxies, nodes, idle_commands(proxies, nodes, true) / proxies,
                 (unsigned long long)bytes, (unsigned long long)other, (unsigned long long)most,
                 HOP_US);
    ck_assert_uint_le(bytes, 15000);
    ck_assert_uint_le(most, 40000);
    ck_assert_msg((double)other < change_commands(proxies, nodes, (double)most), "%llu commands",
                  (unsigned long long)other);
    world_end();
}
END_TEST

/* The same arithmetic for the most that there can be: a node answers a million a second. */
START_TEST(costs_of_many)
{
    ck_assert(idle_commands(200, NODES_MAX, false) < 5000);
    ck_assert(idle_commands(200, NODES_MAX, true) < 15000);
    ck_assert(idle_commands(200, 2, true) < 20000);
    ck_assert(change_commands(200, NODES_MAX, 50000) < 20000);
    ck_assert(change_commands(200, 2, 50000) < 100000);
    for (uint32_t nodes = 2; nodes <= NODES_MAX; nodes *= 4) {
        (void)printf("200 proxies, %u nodes: idle %.0f commands/s a node, %.0f on the lowest; a "
                     "change of 50 ms: %.0f\n",
                     nodes, idle_commands(200, nodes, false), idle_commands(200, nodes, true),
                     change_commands(200, nodes, 50000));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control");
    TCase *stories = tcase_create("stories");
    tcase_set_timeout(stories, 60);
    tcase_add_test(stories, first_start_kill_and_fill);
    tcase_add_test(stories, first_start_with_one_node_dead);
    tcase_add_test(stories, second_proxy_joins);
    tcase_add_loop_test(stories, alone_until_another_comes, 0, 8);
    tcase_add_test(stories, two_proxies_start_at_once);
    tcase_add_test(stories, same_id_is_taken_by_one);
    tcase_add_test(stories, node_dies_and_exactly_one_fills);
    tcase_add_test(stories, filler_dies_and_the_other_takes_over);
    tcase_add_test(stories, fast_restart_is_noticed);
    tcase_add_test(stories, third_party_flush_is_noticed);
    tcase_add_test(stories, missed_write_is_not_waited_for);
    tcase_add_test(stories, operator_commands);
    tcase_add_test(stories, two_operators_never_take_both_copies);
    tcase_add_test(stories, forced_maintenance_of_the_last_copy);
    tcase_add_test(stories, lease_lapses_and_is_regained);
    tcase_add_test(stories, all_nodes_gone_and_back);
    tcase_add_test(stories, last_copy_is_lost);
    tcase_add_loop_test(stories, last_copy_is_replaced_by_old_data, 0, 2);
    tcase_add_test(stories, frozen_last_copy_is_waited_for);
    tcase_add_test(stories, flush_with_two_proxies);
    tcase_add_test(stories, newcomer_during_a_flush);
    tcase_add_loop_test(stories, flush_later, 0, 6);
    tcase_add_loop_test(stories, flush_later_when_one_is_due, 0, 10);
    tcase_add_test(stories, donor_restarts_at_the_end_of_a_fill);
    tcase_add_loop_test(stories, flush_later_asked_during_a_flush, 0, 2);
    tcase_add_loop_test(stories, donor_dies_at_the_end_of_a_fill, 0, 3);
    tcase_add_test(stories, flusher_dies);
    tcase_add_test(stories, node_that_is_not_flushed_leaves);
    tcase_add_test(stories, proxy_dies_during_a_change);
    tcase_add_test(stories, newcomer_acts_on_what_others_act_on);
    tcase_add_test(stories, node_dies_during_a_change);
    tcase_add_test(stories, last_copy_is_flushed_during_a_change);
    tcase_add_loop_test(stories, next_view_is_seen_while_one_is_joined, 0, 8);
    tcase_add_test(stories, given_up_connection_holds_up_joining);
    tcase_add_test(stories, failing_fill_is_tried_again);
    tcase_add_test(stories, rescue_waits_until_the_node_is_up);
    tcase_add_test(stories, third_party_deletes_everything);
    tcase_add_test(stories, farewell_is_faster_than_the_lease);
    tcase_add_loop_test(stories, farewell_waits_for_what_is_left, 0, 2);
    tcase_add_loop_test(stories, farewell_tells_of_copies_that_differ, 0, 2);
    tcase_add_test(stories, claim_of_an_id_is_lost);
    tcase_add_test(stories, farewell_waits_for_a_verify);
    tcase_add_test(stories, farewell_is_of_one_run);
    tcase_add_loop_test(stories, left_over_hides_nobody, 0, 2);
    tcase_add_test(stories, left_over_hides_no_old_connections);
    tcase_add_test(stories, id_of_a_dead_run);
    tcase_add_loop_test(stories, farewell_hides_no_next_run, 0, 6);
    tcase_add_test(stories, late_heartbeat_buries_nobody);
    tcase_add_loop_test(stories, restart_after_a_farewell_waits_for_nobody, 0, 2);
    tcase_add_loop_test(stories, restart_after_a_farewell_waits_for_no_dead, 0, 2);
    tcase_add_test(stories, other_configuration_keeps_nodes_out);
    tcase_add_test(stories, flapping_node_is_held_down);
    tcase_add_test(stories, lone_node);
    tcase_add_loop_test(stories, costs, 0, 8);
    tcase_add_test(stories, costs_of_many);
    tcase_add_loop_test(stories, chaos, 1, CHAOS_SEEDS + 1);
    suite_add_tcase(suite, stories);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
