/* SPDX-License-Identifier: BSD-2-Clause */
/* Nodes that come into a pool and leave it while it runs: stories as in test_control.c. */
#include "control_world.h"

static const struct slice view_key = SLICE_INIT("_everwarm:1:pool:view");

/* NODES of the configuration, and as many places as there are nodes in the world, and more. */
static void start_with_spare(uint32_t nodes, uint32_t proxies)
{
    world_start(nodes);
    world.spare = NODES - nodes;
    for (uint32_t p = 0; p < proxies; p++) {
        proxy_start(p);
        WAIT(is_serving(p), 3 * SECOND);
    }
}

static struct control_command add_of(struct slice name, uint32_t node)
{
    struct control_command c = {.type = CONTROL_COMMAND_ADD, .ticket = 9};
    c.name_bytes = (uint8_t)name.len;
    memcpy(c.name, name.ptr, name.len);
    c.address_bytes = 1;
    c.address[0] = (char)('0' + node);
    return c;
}

static enum control_result ask(uint32_t p, const struct control_command *c)
{
    uint32_t before = world.proxy[p].done;
    control_command(world.proxy[p].control, c, world.now_us);
    take_actions(p);
    WAIT(world.proxy[p].done > before, 4 * SECOND);
    return world.proxy[p].result;
}

static enum control_result add(uint32_t p, struct slice name, uint32_t node)
{
    struct control_command c = add_of(name, node);
    return ask(p, &c);
}

/* Where a proxy has the node of that name in its view; NODES_MAX: nowhere. */
static uint32_t place_of(uint32_t p, const char *name)
{
    const struct control_snapshot *s = see(p);
    for (uint32_t node = 0; node < s->node_count; node++) {
        if (s->nodes[node].is_member && strcmp(s->nodes[node].name, name) == 0) {
            return node;
        }
    }
    return NODES_MAX;
}

static bool has(uint32_t p, const char *name, enum node_data data)
{
    uint32_t place = place_of(p, name);
    return is_serving(p) && place < NODES_MAX && see(p)->nodes[place].data == data;
}

static enum control_result drop(uint32_t p, const char *name, bool is_forced)
{
    uint32_t place = place_of(p, name);
    ck_assert_uint_lt(place, NODES_MAX);
    return command(p, CONTROL_COMMAND_REMOVE, place, is_forced);
}

static struct view view_on(uint32_t node)
{
    struct store_item *item = store_find(&world.model[node].store, view_key);
    struct view view;
    ck_assert_ptr_nonnull(item);
    ck_assert(view_parse(slice_of(item->data, item->len), &view));
    return view;
}

static bool is_named_on(uint32_t node, struct slice name)
{
    struct view view = view_on(node);
    for (node_set left = view.members; left != 0; left &= left - 1) {
        if (slice_is_equal(view_name(&view.nodes[node_set_first(left)]), name)) {
            return true;
        }
    }
    return false;
}

static bool is_same_view(uint32_t proxies)
{
    for (uint32_t p = 0; p < proxies; p++) {
        if (!is_serving(p) ||
            world.proxy[p].adopted.view_hash != world.proxy[0].adopted.view_hash) {
            return false;
        }
    }
    return true;
}

/* --- Stories --- */

START_TEST(one_word_adds_a_node_to_all_proxies)
{
    start_with_spare(2, 2);
    node_start(2);
    ck_assert_int_eq(add(0, SLICE("c"), 2), CONTROL_RESULT_OK);
    WAIT(has(0, "c", NODE_DATA_COMPLETE) && has(1, "c", NODE_DATA_COMPLETE), 5 * SECOND);
    for (uint32_t p = 0; p < 2; p++) {
        uint32_t place = place_of(p, "c");
        ck_assert_uint_eq(world.proxy[p].adopted.complete, 7);
        ck_assert_uint_eq(world.proxy[p].adopted.node_seed[place], topology_hash(SLICE("c")));
        ck_assert_str_eq(see(p)->nodes[place].address, "2");
        ck_assert(see(p)->nodes[place].is_told);
        ck_assert(!see(p)->nodes[0].is_told);
        ck_assert_uint_eq(world.proxy[p].traced[TRACE_NODE_ADDED], 1);
    }
    ck_assert(is_same_view(2));
    ck_assert_uint_eq(see(0)->fills_done + see(1)->fills_done, 1);
    ck_assert_int_eq(add(1, SLICE("c"), 2), CONTROL_RESULT_UNCHANGED);
    ck_assert_int_eq(add(1, SLICE("e"), 0), CONTROL_RESULT_TAKEN);
    ck_assert(is_named_on(2, SLICE("c")) && is_named_on(0, SLICE("c")));
    pass(5 * SECOND);
    ck_assert_uint_eq(see(0)->views_damaged + see(0)->views_foreign, 0);
    world_end();
}
END_TEST

START_TEST(removed_node_is_told_and_forgotten)
{
    start_with_spare(3, 2);
    ck_assert_int_eq(drop(1, "b", false), CONTROL_RESULT_OK);
    WAIT(is_same_view(2), SECOND);
    for (uint32_t p = 0; p < 2; p++) {
        ck_assert_uint_eq(place_of(p, "b"), NODES_MAX);
        ck_assert_uint_eq(world.proxy[p].adopted.complete, 5);
        ck_assert_uint_eq(world.proxy[p].traced[TRACE_NODE_REMOVED], 1);
        ck_assert_uint_eq(world.proxy[p].traced[TRACE_NODE_DOWN], 0);
    }
    WAIT(!is_named_on(1, SLICE("b")), SECOND);
    pass(3 * SECOND);
    uint64_t commands = world.node_commands[1];
    pass(5 * SECOND);
    ck_assert_uint_eq(world.node_commands[1], commands);
    /* Its place is free for others; and it may come back, and is filled again. */
    node_start(3);
    ck_assert_int_eq(add(0, SLICE("d"), 3), CONTROL_RESULT_OK);
    ck_assert_uint_eq(place_of(0, "d"), 1);
    ck_assert_int_eq(add(1, SLICE("b"), 1), CONTROL_RESULT_OK);
    WAIT(has(0, "b", NODE_DATA_COMPLETE) && has(1, "d", NODE_DATA_COMPLETE), 9 * SECOND);
    WAIT(is_same_view(2), SECOND);
    ck_assert_uint_eq(see(0)->fills_done + see(1)->fills_done, 2);
    world_end();
}
END_TEST

/* All of the configuration's nodes are replaced one after the other; who starts with the old
 * configuration finds the others in the view. */
START_TEST(view_counts_more_than_an_old_configuration)
{
    start_with_spare(2, 1);
    node_start(2);
    ck_assert_int_eq(add(0, SLICE("c"), 2), CONTROL_RESULT_OK);
    WAIT(has(0, "c", NODE_DATA_COMPLETE), 5 * SECOND);
    ck_assert_int_eq(drop(0, "a", false), CONTROL_RESULT_OK);
    proxy_start(1);
    WAIT(is_serving(1) && is_same_view(2), 5 * SECOND);
    ck_assert_uint_eq(place_of(1, "a"), NODES_MAX);
    ck_assert(has(1, "c", NODE_DATA_COMPLETE) && has(1, "b", NODE_DATA_COMPLETE));
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_NODE_UNKNOWN], 1);
    ck_assert_uint_eq(world.proxy[1].traced[TRACE_NODE_ADDED], 1);
    node_start(3);
    ck_assert_int_eq(add(1, SLICE("d"), 3), CONTROL_RESULT_OK);
    WAIT(has(0, "d", NODE_DATA_COMPLETE), 5 * SECOND);
    ck_assert_int_eq(drop(0, "b", false), CONTROL_RESULT_OK);
    pass(3 * SECOND);
    proxy_kill(0);
    proxy_kill(1);
    pass(2 * SECOND);
    proxy_start(0);
    WAIT(has(0, "d", NODE_DATA_COMPLETE) && has(0, "c", NODE_DATA_COMPLETE), 5 * SECOND);
    ck_assert_uint_eq(place_of(0, "a"), NODES_MAX);
    ck_assert_uint_eq(place_of(0, "b"), NODES_MAX);
    world_end();
}
END_TEST

START_TEST(silent_node_is_refused_unless_forced)
{
    start_with_spare(2, 2);
    uint64_t epoch = see(0)->epoch;
    ck_assert_int_eq(add(0, SLICE("c"), 2), CONTROL_RESULT_SILENT);
    pass(2 * SECOND);
    ck_assert_uint_eq(see(0)->epoch, epoch);
    struct control_command c = add_of(SLICE("c"), 2);
    c.is_forced = true;
    ck_assert_int_eq(ask(0, &c), CONTROL_RESULT_OK);
    WAIT(has(1, "c", NODE_DATA_OUT), SECOND);
    node_start(2);
    WAIT(has(1, "c", NODE_DATA_COMPLETE), 5 * SECOND);
    world_end();
}
END_TEST

/* A node that serves another pool of the same name is not emptied by mistake, and neither pool
 * joins the other's view. */
START_TEST(node_of_another_pool_is_refused)
{
    start_with_spare(2, 1);
    node_start(2);
    struct view other = {.epoch = 77, .proposer = 9, .origin = 4711, .members = 3};
    other.alone = other.flush_by = other.due_by = VIEW_NO_PROXY;
    view_name_node(&other.nodes[0], SLICE("x"), SLICE("3"));
    view_name_node(&other.nodes[1], SLICE("c"), SLICE("2"));
    other.nodes[0].filler = other.nodes[1].filler = VIEW_NO_PROXY;
    view_clear_others(&other);
    view_seal(&other);
    char text[VIEW_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    view_emit(&other, &w);
    struct store_write write = {.mode = STORE_SET, .key = view_key, .data = slice_of(text, w.len)};
    uint64_t cas;
    ck_assert_int_eq(store_put(&world.model[2].store, &write, &cas), STORE_STORED);
    ck_assert_int_eq(add(0, SLICE("c"), 2), CONTROL_RESULT_FOREIGN);
    pass(2 * SECOND);
    ck_assert_uint_eq(view_on(2).epoch, 77);
    ck_assert_uint_lt(see(0)->epoch, 77);
    /* Put on one of our nodes it is overwritten. */
    ck_assert_int_eq(store_put(&world.model[1].store, &write, &cas), STORE_STORED);
    WAIT(view_on(1).epoch == see(0)->epoch, SECOND);
    ck_assert_uint_eq(see(0)->views_foreign, 1);
    struct control_command c = add_of(SLICE("c"), 2);
    c.is_forced = true;
    ck_assert_int_eq(ask(0, &c), CONTROL_RESULT_OK);
    WAIT(has(0, "c", NODE_DATA_COMPLETE), 5 * SECOND);
    ck_assert_uint_lt(view_on(2).epoch, 77);
    world_end();
}
END_TEST

START_TEST(node_moves_to_another_address)
{
    start_with_spare(2, 2);
    node_start(2);
    ck_assert_int_eq(add(1, SLICE("a"), 2), CONTROL_RESULT_OK);
    WAIT(has(0, "a", NODE_DATA_COMPLETE) && has(1, "a", NODE_DATA_COMPLETE), 5 * SECOND);
    for (uint32_t p = 0; p < 2; p++) {
        ck_assert_str_eq(see(p)->nodes[place_of(p, "a")].address, "2");
        ck_assert_uint_eq(world.proxy[p].adopted.node_seed[place_of(p, "a")],
                          topology_hash(SLICE("a")));
    }
    /* The word counts for who starts with the old address too. */
    proxy_kill(0);
    pass(2 * SECOND);
    proxy_start(0);
    WAIT(is_serving(0) && is_same_view(2), 5 * SECOND);
    ck_assert_str_eq(see(0)->nodes[place_of(0, "a")].address, "2");
    world_end();
}
END_TEST

START_TEST(last_copies_stay)
{
    start_with_spare(3, 1);
    node_kill(1);
    node_kill(2);
    WAIT(has(0, "b", NODE_DATA_OUT) && has(0, "c", NODE_DATA_OUT), 3 * SECOND);
    ck_assert_int_eq(drop(0, "a", false), CONTROL_RESULT_LAST_COPY);
    ck_assert_int_eq(drop(0, "b", false), CONTROL_RESULT_OK);
    ck_assert_int_eq(drop(0, "a", true), CONTROL_RESULT_LAST_TWO);
    ck_assert_int_eq(drop(0, "c", false), CONTROL_RESULT_LAST_TWO);
    /* The dead one gives way to another under its name. */
    node_start(3);
    ck_assert_int_eq(add(0, SLICE("c"), 3), CONTROL_RESULT_OK);
    pass(100000);
    ck_assert_int_eq(add(0, SLICE("a"), 1), CONTROL_RESULT_LAST_COPY);
    world_end();
}
END_TEST

START_TEST(lone_pools_stay_alone)
{
    start_with_spare(1, 1);
    node_start(2);
    ck_assert_int_eq(add(0, SLICE("c"), 2), CONTROL_RESULT_LONE);
    ck_assert_int_eq(command(0, CONTROL_COMMAND_REMOVE, 0, true), CONTROL_RESULT_LONE);
    world_end();
}
END_TEST

/* There are six places: four nodes of the world, and two that nobody answers at. */
START_TEST(no_place_is_left)
{
    start_with_spare(2, 1);
    struct control_command c = add_of(SLICE("1"), 2);
    c.is_forced = true;
    for (uint32_t i = 0; i < 4; i++) {
        c.name[0] = (char)('1' + i);
        c.address[0] = i == 3 ? '3' : '2';
        c.address_bytes = (uint8_t)(1 + i % 3); /* "2", "20", "200": nobody is there */
        c.address[1] = c.address[2] = '0';
        ck_assert_int_eq(ask(0, &c), CONTROL_RESULT_OK);
    }
    c.name[0] = '5';
    c.address[0] = '4';
    ck_assert_int_eq(ask(0, &c), CONTROL_RESULT_FULL);
    ck_assert_int_eq(drop(0, "1", false), CONTROL_RESULT_OK);
    pass(3 * SECOND);
    ck_assert_int_eq(ask(0, &c), CONTROL_RESULT_OK);
    world_end();
}
END_TEST

START_TEST(two_proxies_add_at_once)
{
    start_with_spare(2, 2);
    node_start(2);
    node_start(3);
    struct control_command c = add_of(SLICE("c"), 2);
    struct control_command d = add_of(SLICE("d"), 3);
    control_command(world.proxy[0].control, &c, world.now_us);
    control_command(world.proxy[1].control, &d, world.now_us);
    take_actions(0);
    take_actions(1);
    WAIT(world.proxy[0].done == 1 && world.proxy[1].done == 1, 4 * SECOND);
    ck_assert_int_eq(world.proxy[0].result, CONTROL_RESULT_OK);
    ck_assert_int_eq(world.proxy[1].result, CONTROL_RESULT_OK);
    WAIT(has(0, "c", NODE_DATA_COMPLETE) && has(0, "d", NODE_DATA_COMPLETE), 9 * SECOND);
    WAIT(is_same_view(2), SECOND);
    world_end();
}
END_TEST

/* --- Chaos --- */

/* Does some node hold a view? Else a proxy that starts makes a pool of the nodes that its
 * configuration names; the other's may be none of these by now, and two pools stay two. */
static bool is_remembered(void)
{
    for (uint32_t node = 0; node < NODES; node++) {
        if (world.is_node_alive[node] && store_find(&world.model[node].store, view_key) != NULL) {
            return true;
        }
    }
    return false;
}

static void chaos_step(struct prng *prng, uint64_t *nonce)
{
    static const char names[] = "abcde";
    uint32_t p = (uint32_t)prng_below(prng, 2);
    uint32_t node = (uint32_t)prng_below(prng, NODES);
    struct proxy *proxy = &world.proxy[p];
    struct control_command c = add_of(slice_of(names + prng_below(prng, 5), 1), node);
    switch (prng_below(prng, 8)) {
    case 0:
        if (world.is_node_alive[node] && prng_below(prng, 2) == 0) {
            world.is_node_frozen[node] = false;
            node_kill(node);
        }
        break;
    case 1:
        if (!world.is_node_alive[node]) {
            node_start(node);
        }
        break;
    case 2:
        if (proxy->is_alive && prng_below(prng, 3) == 0) {
            proxy_kill(p);
        }
        break;
    case 3:
        if (!proxy->is_alive && is_remembered()) {
            struct control_options options = options_of(p);
            options.nonce = ++*nonce;
            proxy_start_with(p, &options);
        }
        break;
    default:
        c.is_forced = prng_below(prng, 4) == 0;
        c.type = prng_below(prng, 3) == 0 ? CONTROL_COMMAND_REMOVE : CONTROL_COMMAND_ADD;
        c.node = (uint32_t)prng_below(prng, PLACES);
        if (proxy->is_alive) {
            control_command(proxy->control, &c, world.now_us);
            take_actions(p);
        }
        break;
    }
}

/* Whatever is added, moved, removed and killed: the proxies act on one view at every moment, and in
 * the end agree on a pool all of whose nodes serve. */
START_TEST(chaos)
{
    struct prng prng = {.state = (uint64_t)_i};
    uint64_t nonce = 5000;
    start_with_spare(3, 2);
    node_start(3);
    for (uint32_t i = 0; i < 80; i++) {
        pass(prng_below(&prng, 600000));
        chaos_step(&prng, &nonce);
    }
    for (uint32_t node = 0; node < NODES; node++) {
        if (!world.is_node_alive[node]) {
            node_start(node);
        }
    }
    for (uint32_t p = 0; p < 2; p++) {
        if (!world.proxy[p].is_alive) {
            struct control_options options = options_of(p);
            options.nonce = ++nonce;
            proxy_start_with(p, &options);
        }
    }
    WAIT(is_same_view(2) && world.proxy[0].adopted.chained == 0 &&
             node_set_count(world.proxy[0].adopted.complete) == node_set_count(see(0)->members),
         120 * SECOND);
    world_end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("control/nodes");
    TCase *stories = tcase_create("stories");
    tcase_set_timeout(stories, 20);
    tcase_add_test(stories, one_word_adds_a_node_to_all_proxies);
    tcase_add_test(stories, removed_node_is_told_and_forgotten);
    tcase_add_test(stories, view_counts_more_than_an_old_configuration);
    tcase_add_test(stories, silent_node_is_refused_unless_forced);
    tcase_add_test(stories, node_of_another_pool_is_refused);
    tcase_add_test(stories, node_moves_to_another_address);
    tcase_add_test(stories, last_copies_stay);
    tcase_add_test(stories, lone_pools_stay_alone);
    tcase_add_test(stories, no_place_is_left);
    tcase_add_test(stories, two_proxies_add_at_once);
    suite_add_tcase(suite, stories);
    TCase *random = tcase_create("chaos");
    tcase_set_timeout(random, 60);
    tcase_add_loop_test(random, chaos, 1, CHAOS_SEEDS + 1);
    suite_add_tcase(suite, random);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
