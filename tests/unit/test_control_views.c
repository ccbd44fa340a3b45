/* SPDX-License-Identifier: BSD-2-Clause */
/* Views that another than a well-meaning proxy stored, or that come late, or in numbers. */
#include "control_world.h"

static void hostile(uint32_t node, struct slice key, struct slice text)
{
    uint64_t cas;
    struct store_write write = {.mode = STORE_SET, .key = key, .data = text};
    ck_assert_int_eq(store_put(&world.model[node].store, &write, &cas), STORE_STORED);
}

START_TEST(hostile_views)
{
    static char large[100000];
    memset(large, 'x', sizeof large);
    static const struct slice key = SLICE_INIT("_everwarm:1:pool:view");
    start_serving(2, 1);
    pass(SECOND);
    hostile(0, key, SLICE("nonsense"));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 1);
    hostile(1, key, slice_of(large, sizeof large));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 2);
    hostile(1, key, slice_of("", 0));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 3);

    struct control_options options = options_of(0);
    struct view view = {.epoch = UINT64_C(1) << 40,
                        .proposer = 3,
                        .alone = VIEW_NO_PROXY,
                        .flush_by = VIEW_NO_PROXY,
                        .members = 3};
    view_clear_others(&view);
    for (uint32_t node = 0; node < 2; node++) {
        view.nodes[node].data = NODE_DATA_OUT;
        view.nodes[node].filler = VIEW_NO_PROXY;
        view_name_node(&view.nodes[node], options.names.nodes[node], options.addresses[node]);
    }
    view_seal(&view);
    struct mc_writer w = mc_writer_of(large, sizeof large);
    view_emit(&view, &w);
    hostile(0, key, slice_of(large, w.len));
    pass(SECOND);
    ck_assert_uint_eq(see(0)->views_damaged, 4);
    ck_assert_uint_eq(see(0)->epoch, 1);
    ck_assert(is_one_view(1, 3));
    /* Every node shows our view again. */
    for (uint32_t node = 0; node < 2; node++) {
        struct store_item *item = store_find(&world.model[node].store, key);
        ck_assert_ptr_nonnull(item);
        ck_assert(view_parse(slice_of(item->data, item->len), &view));
        ck_assert_uint_eq(view.epoch, 1);
    }
    /* A well-formed one is believed; all out: nothing is left, the pool begins anew. */
    view.epoch = 9;
    view.nodes[0].data = NODE_DATA_OUT;
    view.nodes[1].data = NODE_DATA_OUT;
    view_seal(&view);
    w = mc_writer_of(large, sizeof large);
    view_emit(&view, &w);
    hostile(0, key, slice_of(large, w.len));
    WAIT(see(0)->epoch >= 9 && is_one_view(1, 3), 10 * SECOND);
    hostile(0, SLICE("_everwarm:1:pool:hb:7"), SLICE("nonsense"));
    hostile(1, SLICE("_everwarm:1:pool:hb:8"), slice_of(large, sizeof large));
    pass(3 * SECOND);
    ck_assert(is_one_view(1, 3));
    ck_assert_uint_eq(see(0)->proxies, 1);
    world_end();
}
END_TEST

static const struct slice view_key = SLICE_INIT("_everwarm:1:pool:view");

static struct view view_on(uint32_t node)
{
    struct store_item *item = store_find(&world.model[node].store, view_key);
    struct view view;
    ck_assert_ptr_nonnull(item);
    ck_assert(view_parse(slice_of(item->data, item->len), &view));
    return view;
}

static void store_view(uint32_t node, struct view *view)
{
    char text[VIEW_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    view_seal(view);
    view_emit(view, &w);
    hostile(node, view_key, slice_of(text, w.len));
}

/* VIEW becomes the next one, which comes of it. */
static void name_parent(struct view *view)
{
    uint32_t kept =
        view->ancestor_count < VIEW_ANCESTORS_MAX ? view->ancestor_count : VIEW_ANCESTORS_MAX - 1;
    memmove(view->ancestors + 1, view->ancestors, kept * sizeof view->ancestors[0]);
    view->ancestors[0] = view->hash;
    view->ancestor_count = kept + 1;
    view->epoch++;
}

static bool comes_of(const struct view *view, uint64_t hash)
{
    for (uint32_t i = 0; i < view->ancestor_count; i++) {
        if (view->ancestors[i] == hash) {
            return true;
        }
    }
    return false;
}

/*
 * Proxy 0 proposes to go on without node 2, and 1 joins that; then a node comes to a store that was
 * late, of another view of the same epoch, which knows nothing of it. 0 might act on the first
 * already, without 1 knowing: only what comes of both may be joined.
 */
START_TEST(what_was_joined_is_not_left_for_another_of_its_epoch)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    world.proxy[0].is_draining_slowly = true;
    struct control_command maint = {.type = CONTROL_COMMAND_MAINT, .ticket = 9, .node = 2};
    control_command(world.proxy[0].control, &maint, world.now_us);
    take_actions(0);
    pass(100000);
    struct view first = view_on(0);
    ck_assert_int_eq(first.nodes[2].data, NODE_DATA_OUT);
    struct view late = first;
    late.proposer = PROXIES_MAX - 1;
    late.nodes[2].data = NODE_DATA_COMPLETE;
    late.nodes[2].admin = NODE_ADMIN_READY;
    late.nodes[0].data = NODE_DATA_OUT;
    store_view(0, &late);
    pass(300000); /* both have read it in a round */
    ck_assert_int_eq(see(0)->state, CONTROL_CHANGING);
    ck_assert_int_eq(see(1)->state, CONTROL_CHANGING);
    struct view next = view_on(1);
    ck_assert(comes_of(&next, first.hash) && comes_of(&next, late.hash));
    world.proxy[0].is_draining_slowly = false;
    report(0, CONTROL_REPORT_DRAINED, 0, world.proxy[0].held_serial);
    report(0, CONTROL_REPORT_DRAINED, 1, world.proxy[0].held_serial);
    WAIT(is_one_view(2, 3), SECOND);
    world_end();
}
END_TEST

/*
 * A node froze with a proposal of ours that says that the other is to go; nobody answered, so that
 * one went on, and what it was told since it alone has. Then the store is executed: it is a view of
 * the same epoch and proposer as the one in effect, and above it only by its hash.
 */
START_TEST(own_view_that_comes_late_undoes_nothing)
{
    start_serving(2, 1);
    pass(2 * SECOND);
    node_freeze(0);
    WAIT(is_one_view(1, 2), 3 * SECOND);
    struct view now = view_on(1);
    struct view late = now;
    late.nodes[0].data = NODE_DATA_COMPLETE;
    late.nodes[1].data = NODE_DATA_OUT;
    for (view_seal(&late); late.hash < now.hash; view_seal(&late)) {
        late.origin++;
    }
    store_view(0, &late);
    node_thaw(0);
    WAIT(view_on(1).epoch > now.epoch, SECOND);
    struct view next = view_on(1);
    ck_assert(comes_of(&next, now.hash));
    ck_assert_int_eq(next.nodes[1].data, NODE_DATA_COMPLETE);
    WAIT(is_one_view(1, 3), 10 * SECOND);
    world_end();
}
END_TEST

/*
 * Proxy 1 joins a view, is stopped for longer than its lease, and the other goes on under another
 * of that epoch. 1 joins that, and while it does a third: what it had joined counts no more, and
 * there is nothing to be agreed on.
 */
START_TEST(what_was_joined_before_a_lapse_counts_no_more)
{
    start_serving(3, 2);
    pass(2 * SECOND);
    struct view other = view_on(0);
    world.proxy[0].is_draining_slowly = true;
    struct control_command maint = {.type = CONTROL_COMMAND_MAINT, .ticket = 9, .node = 2};
    control_command(world.proxy[1].control, &maint, world.now_us);
    take_actions(1);
    WAIT(view_on(0).epoch > other.epoch && world.proxy[0].held_serial > 1, SECOND);
    pass(2000); /* 1 has shown it */
    proxy_pause(1);
    name_parent(&other);
    other.proposer = PROXIES_MAX - 1;
    store_view(0, &other);
    WAIT(view_on(1).hash == other.hash, SECOND);
    world.proxy[0].is_draining_slowly = false;
    report(0, CONTROL_REPORT_DRAINED, 0, world.proxy[0].held_serial);
    report(0, CONTROL_REPORT_DRAINED, 1, world.proxy[0].held_serial);
    WAIT(see(0)->view_hash == other.hash && is_serving(0), 3 * SECOND);
    uint32_t proposed = world.proxy[1].traced[TRACE_VIEW_PROPOSED];
    world.proxy[1].is_draining_slowly = true;
    proxy_resume(1);
    WAIT(world.proxy[1].traced[TRACE_LEASE_REGAINED] > 0, 6 * SECOND);
    struct control_command drain = {.type = CONTROL_COMMAND_DRAIN, .ticket = 9, .node = 1};
    control_command(world.proxy[0].control, &drain, world.now_us);
    take_actions(0);
    pass(400000);
    world.proxy[1].is_draining_slowly = false;
    report(1, CONTROL_REPORT_DRAINED, 0, world.proxy[1].held_serial);
    report(1, CONTROL_REPORT_DRAINED, 1, world.proxy[1].held_serial);
    WAIT(world.proxy[0].adopted.leaders == 5 && is_one_view(2, 7), SECOND);
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_VIEW_PROPOSED], proposed);
    ck_assert_uint_eq(splits_healed(), 0);
    world_end();
}
END_TEST

/* The view on NODE, and one more that comes of it. */
static void raise_epoch(uint32_t node)
{
    struct view view = view_on(node);
    name_parent(&view);
    store_view(node, &view);
}

/* Views that come one after the other and never take effect, since one proxy can't drain: more of
 * them than topologies are kept. */
START_TEST(many_views_are_overtaken)
{
    start_serving(2, 2);
    pass(2 * SECOND);
    world.proxy[1].is_draining_slowly = true;
    for (uint32_t i = 0; i < 20; i++) {
        raise_epoch(0);
        pass(250000);
    }
    ck_assert_uint_eq(see(0)->epoch, 1);
    world.proxy[1].is_draining_slowly = false;
    for (uint32_t w = 0; w < world.workers; w++) {
        report(1, CONTROL_REPORT_DRAINED, w, world.proxy[1].held_serial);
    }
    WAIT(is_one_view(2, 3) && see(0)->epoch > 1, 3 * SECOND);
    world_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control_views");
    TCase *views = tcase_create("views");
    tcase_set_timeout(views, 60);
    tcase_add_test(views, hostile_views);
    tcase_add_test(views, what_was_joined_is_not_left_for_another_of_its_epoch);
    tcase_add_test(views, own_view_that_comes_late_undoes_nothing);
    tcase_add_test(views, what_was_joined_before_a_lapse_counts_no_more);
    tcase_add_test(views, many_views_are_overtaken);
    suite_add_tcase(suite, views);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
