/* SPDX-License-Identifier: BSD-2-Clause */
/* The verify, against model nodes, in simulated time. */
#include "fill_rig.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KEYS = 200,
    STEPS = 20, /* more commands than one key that is mended and disturbed has */
    SEEDS = 60,
    UNDER_WAY_US = 1000000, /* no write takes longer from the first node to the last */
    HOSTILE_KEYS = 3,
};

static struct slice key_of(uint32_t i)
{
    static char text[32];
    int len = snprintf(text, sizeof text, "key:%u", i);
    return slice_of(text, (size_t)len);
}

static struct slice value_of(uint32_t i, uint32_t version)
{
    static char text[64];
    int len = snprintf(text, sizeof text, "value %u version %u", i, version);
    return slice_of(text, (size_t)len);
}

static uint32_t leader_of(const struct rig *rig, uint32_t i)
{
    return topology_leader(&rig->topology, topology_hash(key_of(i)));
}

/* A node other than the leader. */
static uint32_t other_of(const struct rig *rig, uint32_t i)
{
    return (leader_of(rig, i) + 1) % RIG_NODES;
}

static void store_everywhere(struct rig *rig, uint32_t i)
{
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        struct rig_item *item = rig_store(rig, node, key_of(i), value_of(i, 0));
        item->flags = i * 3;
        item->cas = 1000 + i; /* what the leader would have given, with tokens */
        rig_expire(rig, node, key_of(i), i % 3 == 0 ? 0 : i * 7 + 3600);
    }
}

static struct rig *loaded(uint32_t count)
{
    struct verify_options options = rig_verify_options();
    struct rig *rig = rig_create_verify(&options);
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        rig->nodes[node].cas_last = 1000000 * (node + 1);
    }
    for (uint32_t i = 0; i < count; i++) {
        store_everywhere(rig, i);
    }
    return rig;
}

static struct verify_plan plan_of(const struct rig *rig, bool is_mending)
{
    struct verify_plan plan = {
        .topology = &rig->topology,
        .node = VERIFY_ALL_NODES,
        .is_mending = is_mending,
    };
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        plan.clock_s[node] = rig->nodes[node].clock_s;
    }
    return plan;
}

static void start(struct rig *rig, const struct verify_plan *plan)
{
    verify_start(rig->verify, plan, rig->now_us);
    rig_act(rig);
}

static void run(struct rig *rig, const struct verify_plan *plan)
{
    start(rig, plan);
    rig_run(rig);
    ck_assert_msg(verify_state(rig->verify) == VERIFY_DONE, "%s", verify_failure(rig->verify));
}

static uint64_t found(const struct rig *rig)
{
    uint64_t sum = 0;
    for (uint32_t kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        sum += verify_progress(rig->verify)->found[kind];
    }
    return sum;
}

static const char *difference_of(struct rig *rig, uint32_t i)
{
    const char *difference = NULL;
    for (uint32_t node = 1; node < RIG_NODES && difference == NULL; node++) {
        difference = rig_difference(rig, 0, node, key_of(i));
    }
    return difference;
}

static void assert_equal(struct rig *rig, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *difference = difference_of(rig, i);
        ck_assert_msg(difference == NULL, "key %" PRIu32 ": %s", i, difference);
    }
}

/* --- What is found, and mended --- */

START_TEST(finds_nothing_where_all_is_equal)
{
    struct rig *rig = loaded(KEYS);
    (void)rig_store(rig, 0, SLICE("_everwarm:1:p:view"), SLICE("not a client's"));
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    const struct verify_progress *progress = verify_progress(rig->verify);
    ck_assert_uint_eq(found(rig), 0);
    ck_assert_uint_eq(progress->mended, 0);
    ck_assert_uint_eq(progress->keys_done, KEYS);
    ck_assert_uint_eq(progress->keys_total, KEYS);
    ck_assert_uint_gt(progress->bytes_done, KEYS * RIG_NODES * 10);
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        ck_assert_uint_eq(rig->nodes[node].reads, KEYS);
        ck_assert_uint_eq(rig->nodes[node].dumps, 1);
    }
    rig_destroy(rig);
}
END_TEST

/* One difference of each kind, on keys of their own. */
static void plant(struct rig *rig)
{
    rig_delete(rig, other_of(rig, 1), key_of(1));
    (void)rig_store(rig, other_of(rig, 2), key_of(2), value_of(2, 1));
    rig_find(rig, other_of(rig, 3), key_of(3))->flags++;
    rig_expire(rig, other_of(rig, 4), key_of(4), 60);
    rig_delete(rig, leader_of(rig, 5), key_of(5)); /* extra on both others */
    rig_find(rig, leader_of(rig, 6), key_of(6))->is_stale = true;
    rig_expire(rig, other_of(rig, 7), key_of(7), 0);
    rig_find(rig, other_of(rig, 8), key_of(8))->is_stale = true;
}

static void assert_planted_is_found(struct rig *rig)
{
    const struct verify_progress *progress = verify_progress(rig->verify);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_MISSING], 1);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_VERSION], 3);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_EXPIRY], 2);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_EXTRA], 4);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_EVICTED], 0);
    ck_assert_uint_eq(progress->example_count, 10);
    ck_assert_uint_eq(progress->unsettled, 0);
    for (uint32_t e = 0; e < progress->example_count; e++) {
        const struct verify_example *example = &progress->examples[e];
        if (example->kind == VERIFY_KIND_MISSING) {
            ck_assert(slice_is_equal(slice_of(example->key, example->key_bytes), key_of(1)));
            ck_assert_uint_eq(example->node, other_of(rig, 1));
            ck_assert_uint_eq(example->leader, leader_of(rig, 1));
        }
    }
}

START_TEST(finds_each_kind_and_touches_nothing)
{
    struct rig *rig = loaded(KEYS);
    plant(rig);
    rig_find(rig, leader_of(rig, 4), key_of(4))->expires_s += 1; /* within what is exact */
    uint64_t cas_last[RIG_NODES];
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        cas_last[node] = rig->nodes[node].cas_last;
    }
    struct verify_plan plan = plan_of(rig, false);
    run(rig, &plan);
    assert_planted_is_found(rig);
    ck_assert_uint_eq(verify_progress(rig->verify)->mended, 0);
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        /* But that the recache win which a look took is given back. */
        bool has_given = node == leader_of(rig, 6);
        ck_assert_uint_eq(rig->nodes[node].cas_last, cas_last[node] + has_given);
    }
    rig_destroy(rig);
}
END_TEST

START_TEST(mends_each_kind)
{
    struct rig *rig = loaded(KEYS);
    plant(rig);
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    assert_planted_is_found(rig);
    ck_assert_uint_eq(verify_progress(rig->verify)->mended, 10);
    /* A marked item stays on the leader alone. */
    ck_assert_ptr_nonnull(rig_find(rig, leader_of(rig, 6), key_of(6)));
    ck_assert_ptr_null(rig_find(rig, other_of(rig, 6), key_of(6)));
    rig_delete(rig, leader_of(rig, 6), key_of(6));
    assert_equal(rig, KEYS);
    ck_assert_ptr_null(rig_find(rig, 0, key_of(5)));
    plan.is_mending = false;
    run(rig, &plan);
    ck_assert_uint_eq(found(rig), 0);
    rig_destroy(rig);
}
END_TEST

/* What no word can name is named in base64. */
START_TEST(mends_keys_of_any_bytes)
{
    static const struct slice keys[] = {SLICE_INIT("a b"), SLICE_INIT("a\nb"), SLICE_INIT("a\0b"),
                                        SLICE_INIT(" ")};
    struct rig *rig = loaded(KEYS);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        (void)rig_store(rig, 0, keys[i], SLICE("on the first only"));
    }
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    ck_assert_uint_gt(found(rig), 0);
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        bool is_led = topology_leader(&rig->topology, topology_hash(keys[i])) == 0;
        for (uint32_t node = 0; node < RIG_NODES; node++) {
            ck_assert((rig_find(rig, node, keys[i]) != NULL) == is_led);
        }
    }
    rig_destroy(rig);
}
END_TEST

/* A look takes the recache win of what a client has marked; the leader gets it back, and where
 * writers can choose it with the CAS that clients know. */
START_TEST(gives_wins_back)
{
    struct rig *rig = loaded(KEYS);
    uint32_t leader = leader_of(rig, 0);
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        if (node != leader) {
            rig_delete(rig, node, key_of(0));
        }
    }
    struct rig_item *item = rig_find(rig, leader, key_of(0));
    item->is_stale = true;
    item->cas = UINT64_C(1) << 58;
    struct verify_plan plan = plan_of(rig, false);
    plan.has_tokens = _i == 1;
    run(rig, &plan);
    ck_assert_uint_eq(found(rig), 0);
    ck_assert(rig_find(rig, leader, key_of(0)) == item);
    ck_assert(item->is_stale);
    ck_assert(!item->is_won);
    ck_assert((item->cas == UINT64_C(1) << 58) == plan.has_tokens);
    rig_destroy(rig);
}
END_TEST

/* With tokens the dumps tell; only what they don't agree on is looked at, and no value moves. */
START_TEST(compares_tokens_without_values)
{
    struct rig *rig = loaded(KEYS);
    rig->nodes[1].clock_s += 7200; /* clocks differ; what is left to live counts */
    for (uint32_t i = 0; i < KEYS; i++) {
        store_everywhere(rig, i);
    }
    plant(rig);
    rig_find(rig, other_of(rig, 3), key_of(3))->cas++; /* another value has another token */
    rig_find(rig, other_of(rig, 8), key_of(8))->cas++;
    struct verify_plan plan = plan_of(rig, false);
    plan.has_tokens = true;
    run(rig, &plan);
    /* What is marked is not in the dumps, and its copies should have gone when it was. */
    const struct verify_progress *progress = verify_progress(rig->verify);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_MISSING], 1);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_VERSION], 3);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_EXPIRY], 2);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_EXTRA], 2);
    ck_assert_uint_eq(progress->keys_done, KEYS);
    ck_assert_uint_lt(rig->copied, 50);
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        ck_assert_uint_eq(rig->nodes[node].reads, 0);
    }
    plan.is_mending = true;
    run(rig, &plan);
    ck_assert_uint_eq(verify_progress(rig->verify)->mended, 8);
    run(rig, &plan);
    ck_assert_uint_eq(found(rig), 0);
    rig_destroy(rig);
}
END_TEST

START_TEST(looks_only_at_the_pairs_of_a_node)
{
    struct rig *rig = loaded(KEYS);
    struct verify_plan plan = plan_of(rig, true);
    plan.node = 1;
    uint32_t expected = 0;
    for (uint32_t i = 0; i < KEYS; i += 10) {
        rig_delete(rig, other_of(rig, i), key_of(i));
        expected += leader_of(rig, i) == 1 || other_of(rig, i) == 1;
    }
    run(rig, &plan);
    ck_assert_uint_eq(found(rig), expected);
    ck_assert_uint_lt(expected, KEYS / 10);
    plan.node = VERIFY_ALL_NODES;
    run(rig, &plan);
    ck_assert_uint_eq(found(rig), KEYS / 10 - expected);
    assert_equal(rig, KEYS);
    rig_destroy(rig);
}
END_TEST

START_TEST(goes_in_passes_where_memory_is_short)
{
    struct verify_options options = rig_verify_options();
    options.table_bytes = 16384;
    struct rig *rig = rig_create_verify(&options);
    for (uint32_t i = 0; i < 5 * KEYS; i++) {
        store_everywhere(rig, i);
        if (i % 10 == 0) {
            rig_delete(rig, i / 10 % RIG_NODES, key_of(i));
        }
    }
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    ck_assert_uint_ge(rig->nodes[0].dumps, 5);
    ck_assert_uint_eq(verify_progress(rig->verify)->keys_done, 5 * KEYS);
    assert_equal(rig, 5 * KEYS);
    rig_destroy(rig);
}
END_TEST

START_TEST(counts_evictions_apart)
{
    struct rig *rig = loaded(KEYS);
    struct verify_plan plan = plan_of(rig, true);
    plan.evicting = node_set_of(1);
    uint32_t copies = 0;
    uint32_t leads = 0;
    for (uint32_t i = 0; i < KEYS; i += 5) {
        rig_delete(rig, 1, key_of(i));
        leads += leader_of(rig, i) == 1;
        copies += leader_of(rig, i) != 1;
    }
    run(rig, &plan);
    const struct verify_progress *progress = verify_progress(rig->verify);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_EVICTED], copies + 2 * leads);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_EVICTED], found(rig));
    ck_assert_uint_eq(progress->example_count, 0);
    /* What it dropped for want of room is not put back; what the leader has not is nowhere. */
    ck_assert_uint_eq(progress->mended, 2 * leads);
    for (uint32_t i = 0; i < KEYS; i += 5) {
        ck_assert_ptr_null(rig_find(rig, 1, key_of(i)));
        ck_assert(leader_of(rig, i) != 1 || rig_find(rig, 0, key_of(i)) == NULL);
        ck_assert(leader_of(rig, i) == 1 || rig_find(rig, 0, key_of(i)) != NULL);
    }
    rig_destroy(rig);
}
END_TEST

/* Too large for the node, and for us: what is there goes, and that is told. */
START_TEST(tells_what_it_cannot_mend)
{
    static char large[(1 << 20) + 1];
    struct rig *rig = loaded(KEYS);
    uint32_t node = other_of(rig, 0);
    uint32_t leader = leader_of(rig, 0);
    uint32_t third = (node + 1) % RIG_NODES;
    (void)rig_store(rig, leader, key_of(0), slice_of(large, _i == 0 ? 1000 : sizeof large));
    (void)rig_store(rig, third, key_of(0), slice_of(large, _i == 0 ? 1000 : sizeof large));
    rig->nodes[node].store_bytes_max = 999;
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    const struct verify_progress *progress = verify_progress(rig->verify);
    ck_assert_uint_eq(progress->found[VERIFY_KIND_VERSION], 1);
    ck_assert_uint_eq(progress->unmended, 1);
    ck_assert_uint_eq(progress->mended, 0);
    ck_assert_ptr_null(rig_find(rig, node, key_of(0)));
    ck_assert_ptr_nonnull(rig_find(rig, leader, key_of(0)));
    rig_destroy(rig);
}
END_TEST

START_TEST(mends_nothing_without_cas)
{
    struct rig *rig = loaded(KEYS);
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        rig->nodes[node].has_no_cas = true;
        for (uint32_t i = 0; i < KEYS; i++) {
            rig_find(rig, node, key_of(i))->cas = 0;
        }
    }
    rig_delete(rig, other_of(rig, 1), key_of(1));
    (void)rig_store(rig, other_of(rig, 2), key_of(2), value_of(2, 1));
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    ck_assert_uint_eq(found(rig), 2);
    ck_assert_uint_eq(verify_progress(rig->verify)->unmended, 2);
    rig_destroy(rig);
}
END_TEST

START_TEST(takes_replies_cut_anywhere)
{
    struct rig *rig = loaded(30);
    rig->chunk = (size_t)_i;
    rig->nodes[1].dump_first = SLICE("OK\r\n");
    plant(rig);
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    assert_planted_is_found(rig);
    rig_delete(rig, leader_of(rig, 6), key_of(6));
    assert_equal(rig, 30);
    rig_destroy(rig);
}
END_TEST

START_TEST(dumps_again_what_came_to_nothing)
{
    static const struct slice refusals[] = {
        SLICE_INIT("BUSY currently processing crawler request\r\n"),
        SLICE_INIT("ERROR locked try again later\r\n"),
        SLICE_INIT("key=a exp=-1 la=1 cas=x\n"),
    };
    struct rig *rig = loaded(KEYS);
    rig->nodes[2].dump_instead = refusals[_i];
    rig->nodes[2].dump_instead_count = 3;
    plant(rig);
    struct verify_plan plan = plan_of(rig, false);
    run(rig, &plan);
    assert_planted_is_found(rig);
    ck_assert_uint_eq(rig->nodes[2].dumps, 4);
    rig_destroy(rig);
}
END_TEST

/* --- Writes meanwhile --- */

enum act { ACT_NONE, ACT_SET, ACT_SET_SAME, ACT_DELETE, ACT_TOUCH, ACT_COUNT };

/* A client's write: it reaches each node at a time of its own, in any order. */
struct write {
    enum act act;
    uint32_t key;
    uint32_t version;
    uint64_t at[RIG_NODES]; /* before which command of the verify */
    bool is_applied[RIG_NODES];
    uint64_t since_us; /* it reached the first node; 0: none yet */
};

enum { WRITES_MAX = 64 };

struct story {
    struct write writes[WRITES_MAX];
    uint32_t count;
};

static void apply(struct rig *rig, uint32_t node, struct write *write)
{
    struct slice key = key_of(write->key);
    write->is_applied[node] = true;
    write->since_us = write->since_us == 0 ? rig->now_us : write->since_us;
    switch (write->act) {
    case ACT_SET:
        rig_store(rig, node, key, value_of(write->key, write->version))->flags = write->version;
        break;
    case ACT_SET_SAME:
        rig_store(rig, node, key, value_of(write->key, 0))->flags = write->key * 3;
        break;
    case ACT_DELETE:
        rig_delete(rig, node, key);
        break;
    case ACT_TOUCH:
        rig_expire(rig, node, key, 5000 + write->version * 1000);
        break;
    case ACT_NONE:
    case ACT_COUNT:
        break;
    }
}

static void apply_due(struct rig *rig, void *argument)
{
    struct story *story = argument;
    for (uint32_t w = 0; w < story->count; w++) {
        struct write *write = &story->writes[w];
        for (uint32_t node = 0; node < RIG_NODES; node++) {
            bool is_late = write->since_us != 0 && rig->now_us - write->since_us >= UNDER_WAY_US;
            if (!write->is_applied[node] && (write->at[node] <= rig->copied || is_late)) {
                apply(rig, node, write);
            }
        }
    }
}

/* What was wrong before, by story. */
static void spoil(struct rig *rig, uint32_t i, uint32_t how)
{
    uint32_t node = other_of(rig, i);
    switch (how % 4) {
    case 0:
        rig_delete(rig, node, key_of(i));
        break;
    case 1:
        (void)rig_store(rig, node, key_of(i), value_of(i, 77));
        break;
    case 2:
        rig_delete(rig, leader_of(rig, i), key_of(i));
        break;
    default:
        rig_expire(rig, node, key_of(i), 30);
        break;
    }
}

static void end_story(struct rig *rig, struct story *story, const char *name)
{
    rig->copied = UINT64_MAX;
    apply_due(rig, story);
    for (uint32_t i = 0; i < KEYS; i++) {
        const char *difference = difference_of(rig, i);
        const struct write *write = &story->writes[0];
        ck_assert_msg(difference == NULL,
                      "%s: key %" PRIu32 ": %s; write %d at %" PRIu64 " %" PRIu64 " %" PRIu64, name,
                      i, difference, (int)write->act, write->at[0], write->at[1], write->at[2]);
    }
    ck_assert_uint_eq(verify_progress(rig->verify)->forgotten, 0);
}

/* One key that differs in one of four ways, one write of one of four kinds: it reaches the leader
 * and the copies at all points of the mending, in either order. */
START_TEST(undoes_no_write_in_any_interleaving)
{
    enum act act = (enum act)(ACT_SET + _i % 4);
    uint32_t how = (uint32_t)_i / 4;
    struct rig *rig = loaded(1);
    struct verify_plan plan = plan_of(rig, true);
    for (uint64_t first = 0; first <= STEPS; first++) {
        for (uint64_t second = 0; second <= STEPS; second++) {
            store_everywhere(rig, 0);
            spoil(rig, 0, how);
            struct story story = {
                .writes = {{.act = act, .version = 1, .at = {second, second, second}}}, .count = 1};
            story.writes[0].at[leader_of(rig, 0)] = first;
            rig->before = apply_due;
            rig->argument = &story;
            rig->copied = 0;
            run(rig, &plan);
            ck_assert_uint_eq(verify_progress(rig->verify)->unsettled, 0);
            end_story(rig, &story, "interleaving");
            bool is_gone = act == ACT_DELETE || (how == 2 && act == ACT_TOUCH);
            struct rig_item *item = rig_find(rig, leader_of(rig, 0), key_of(0));
            ck_assert_int_eq(item == NULL, is_gone);
            ck_assert(act != ACT_SET || slice_is_equal(item->value, value_of(0, 1)));
        }
    }
    rig_destroy(rig);
}
END_TEST

/* Many keys, many writes, each key's one after the other, commands in random order. */
START_TEST(undoes_no_write_at_random)
{
    enum { FEW = 12 };
    struct rig *rig = loaded(FEW);
    rig->prng.state = prng_mix((uint64_t)_i);
    rig->is_shuffled = true;
    rig->chunk = 0;
    rig->write_max = 1 + prng_below(&rig->prng, 200);
    struct story story = {.count = WRITES_MAX};
    uint64_t from[FEW] = {0};
    for (uint32_t w = 0; w < WRITES_MAX; w++) {
        struct write *write = &story.writes[w];
        uint32_t key = (uint32_t)prng_below(&rig->prng, FEW);
        *write = (struct write){
            .act = (enum act)(ACT_SET + prng_below(&rig->prng, 4)), .key = key, .version = w + 1};
        uint64_t begin = from[key] + prng_below(&rig->prng, 60);
        for (uint32_t node = 0; node < RIG_NODES; node++) {
            write->at[node] = begin + prng_below(&rig->prng, 12);
            from[key] = from[key] > write->at[node] ? from[key] : write->at[node];
        }
    }
    for (uint32_t i = 0; i < FEW; i++) {
        spoil(rig, i, (uint32_t)prng_below(&rig->prng, 5));
    }
    rig->before = apply_due;
    rig->argument = &story;
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    end_story(rig, &story, "at random");
    rig_destroy(rig);
}
END_TEST

/* A write that takes its time is no difference. */
START_TEST(believes_only_what_it_saw_twice)
{
    struct rig *rig = loaded(1);
    struct verify_plan plan = plan_of(rig, true);
    for (uint64_t late = 1; late < 4; late++) {
        struct story story = {.writes = {{.act = ACT_SET, .version = 1, .at = {2, 2, 2}}},
                              .count = 1};
        story.writes[0].at[other_of(rig, 0)] = 2 + late;
        rig->before = apply_due;
        rig->argument = &story;
        rig->copied = 0;
        run(rig, &plan);
        ck_assert_uint_eq(found(rig), 0);
        end_story(rig, &story, "late");
    }
    rig_destroy(rig);
}
END_TEST

static void disturb_store(struct rig *rig, void *argument)
{
    uint32_t *stores = argument;
    if (slice_has_prefix(rig->line, SLICE("ms "))) {
        ++*stores;
        (void)rig_store(rig, other_of(rig, 0), key_of(0), value_of(0, 9));
    }
}

/* Whoever writes past us can't be waited for: what can't be made right is deleted everywhere. */
START_TEST(forgets_what_cannot_be_made_right)
{
    struct rig *rig = loaded(3);
    uint32_t stores = 0;
    (void)rig_store(rig, other_of(rig, 0), key_of(0), value_of(0, 9));
    rig->before = disturb_store;
    rig->argument = &stores;
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    ck_assert_uint_eq(verify_progress(rig->verify)->forgotten, 1);
    ck_assert_uint_eq(stores, 8);
    for (uint32_t node = 0; node < RIG_NODES; node++) {
        ck_assert_uint_eq(rig_count(rig, node), 2);
    }
    rig_destroy(rig);
}
END_TEST

/* --- What is right at once, not only in the end --- */

/* A client's write comes to the leader just before our store, or to both just before our delete; or
 * a delete just after our look, when the copy was put where there was nothing. */
struct moment {
    const char *before; /* this command */
    uint64_t at_us;     /* it came; 0: not yet */
    bool is_delete;
    bool is_on_copy;
    bool is_next; /* with the command after that one */
};

static void strike(struct rig *rig, void *argument)
{
    struct moment *moment = argument;
    bool is_it = slice_has_prefix(rig->line, slice_of_string(moment->before)) &&
                 memchr(rig->line.ptr, 'v', rig->line.len) == NULL;
    if (moment->is_next && is_it) {
        moment->is_next = false;
        return;
    }
    if (moment->at_us != 0 || (!is_it && moment->before[1] != 'g') || moment->is_next) {
        return;
    }
    moment->at_us = rig->now_us;
    if (moment->is_delete) {
        rig_delete(rig, leader_of(rig, 0), key_of(0));
        return;
    }
    (void)rig_store(rig, leader_of(rig, 0), key_of(0), value_of(0, 1));
    if (moment->is_on_copy) {
        (void)rig_store(rig, other_of(rig, 0), key_of(0), value_of(0, 1));
    }
}

/* Until the moment has come, and then for PASS_US. */
static struct rig *strike_one(struct moment *moment, uint32_t how, uint64_t pass_us)
{
    struct rig *rig = loaded(1);
    spoil(rig, 0, how);
    struct verify_plan plan = plan_of(rig, true);
    start(rig, &plan);
    rig->before = strike;
    rig->argument = moment;
    for (uint32_t turns = 0; moment->at_us == 0 || rig->now_us < moment->at_us + pass_us; turns++) {
        ck_assert_uint_lt(turns, 100000);
        rig_turn(rig);
    }
    return rig;
}

START_TEST(takes_an_old_copy_back_at_once)
{
    struct moment moment = {.before = "ms "};
    struct rig *rig = strike_one(&moment, (uint32_t)_i, 200000);
    ck_assert_ptr_null(rig_find(rig, other_of(rig, 0), key_of(0)));
    rig_destroy(rig);
}
END_TEST

START_TEST(deletes_only_what_it_saw)
{
    struct moment moment = {.before = "md ", .is_on_copy = true};
    struct rig *rig = strike_one(&moment, 2, 200000);
    struct rig_item *item = rig_find(rig, other_of(rig, 0), key_of(0));
    ck_assert_ptr_nonnull(item);
    ck_assert(slice_is_equal(item->value, value_of(0, 1)));
    rig_destroy(rig);
}
END_TEST

START_TEST(takes_back_what_a_delete_had_passed)
{
    struct moment moment = {.before = "mg ", .is_delete = true, .is_next = true};
    struct rig *rig = strike_one(&moment, 0, 300000);
    ck_assert_ptr_null(rig_find(rig, other_of(rig, 0), key_of(0)));
    rig_destroy(rig);
}
END_TEST

/* --- Holding, clouds, and ends --- */

static void turn_until(struct rig *rig, uint64_t command)
{
    while (rig->copied < command && !rig_is_over(rig)) {
        rig_turn(rig);
    }
}

/* At each point: what was begun is brought to its end, what is not confirmed is taken back. */
START_TEST(rests_when_it_is_held)
{
    for (uint64_t at = 0; at <= STEPS; at++) {
        struct rig *rig = loaded(1);
        struct slice key = key_of(0);
        spoil(rig, 0, (uint32_t)_i);
        struct verify_plan plan = plan_of(rig, true);
        start(rig, &plan);
        while (verify_state(rig->verify) != VERIFY_COMPARING) {
            rig_turn(rig);
        }
        turn_until(rig, at);
        verify_hold(rig->verify, rig->now_us);
        rig_act(rig);
        uint64_t held_us = rig->now_us;
        while (!verify_is_at_rest(rig->verify)) {
            rig_turn(rig);
        }
        ck_assert_uint_le(rig->now_us - held_us, 300000);
        if (_i == 0 && verify_state(rig->verify) == VERIFY_COMPARING &&
            rig_find(rig, other_of(rig, 0), key) != NULL) {
            /* Confirmed before: it was looked at again, which is some commands later. */
            ck_assert_uint_ge(at, 12);
        }
        uint64_t rested = rig->copied;
        for (uint32_t turn = 0; turn < 100; turn++) {
            rig_turn(rig);
        }
        ck_assert_uint_le(rig->copied - rested, RIG_NODES); /* looks that were under way */
        verify_go_on(rig->verify, rig->now_us);
        rig_act(rig);
        rig_run(rig);
        ck_assert_int_eq(verify_state(rig->verify), VERIFY_DONE);
        assert_equal(rig, 1);
        rig_destroy(rig);
    }
}
END_TEST

/* While a write of ours that was given up may still happen, looks tell nothing. */
START_TEST(concludes_nothing_under_a_cloud)
{
    struct rig *rig = loaded(KEYS);
    plant(rig);
    struct verify_plan plan = plan_of(rig, true);
    start(rig, &plan);
    for (uint32_t turn = 0; turn < 20000; turn++) {
        verify_cloud(rig->verify, rig->now_us);
        rig_turn(rig);
    }
    ck_assert_int_eq(verify_state(rig->verify), VERIFY_COMPARING);
    ck_assert_uint_eq(found(rig), 0);
    ck_assert_uint_eq(verify_progress(rig->verify)->keys_done, 0);
    rig_run(rig);
    assert_planted_is_found(rig);
    rig_destroy(rig);
}
END_TEST

/* Each wire lost before each command: it fails, its last write is known to be over, and whoever
 * comes next mends all. */
START_TEST(fails_with_any_wire_and_leaves_nothing_wrong)
{
    uint32_t wire = (uint32_t)_i % VERIFY_WIRE_COUNT(RIG_NODES);
    uint32_t how = (uint32_t)_i / VERIFY_WIRE_COUNT(RIG_NODES);
    bool has_tokens = how >= 4;
    for (uint64_t at = 0; at <= STEPS; at++) {
        struct rig *rig = loaded(1);
        spoil(rig, 0, how);
        struct verify_plan plan = plan_of(rig, true);
        plan.has_tokens = has_tokens;
        start(rig, &plan);
        while (verify_state(rig->verify) != VERIFY_COMPARING) {
            rig_turn(rig);
        }
        turn_until(rig, at);
        bool was_open = rig->conns[wire].is_open;
        rig_cut(rig, wire);
        rig_act(rig);
        rig_run(rig);
        if (was_open && wire < RIG_NODES) {
            ck_assert_int_eq(verify_state(rig->verify), VERIFY_FAILED);
        }
        ck_assert(verify_is_at_rest(rig->verify));
        run(rig, &plan);
        assert_equal(rig, 1);
        rig_destroy(rig);
    }
}
END_TEST

/* Stopped before each command; what is under way then is read to its end. */
START_TEST(stops_at_any_point)
{
    for (uint64_t at = 0; at <= STEPS; at++) {
        struct rig *rig = loaded(1);
        spoil(rig, 0, (uint32_t)_i);
        struct verify_plan plan = plan_of(rig, true);
        plan.has_tokens = _i >= 4;
        start(rig, &plan);
        while (verify_state(rig->verify) != VERIFY_COMPARING) {
            rig_turn(rig);
        }
        turn_until(rig, at);
        verify_stop(rig->verify, rig->now_us);
        rig_act(rig);
        ck_assert_int_eq(verify_state(rig->verify), VERIFY_IDLE);
        for (uint32_t turns = 0; verify_given_up(rig->verify) != 0; turns++) {
            ck_assert_uint_lt(turns, 1000);
            rig_turn(rig);
        }
        run(rig, &plan);
        assert_equal(rig, 1);
        rig_destroy(rig);
    }
}
END_TEST

enum { MEND_WIRE = VERIFY_WIRE_MEND(RIG_NODES), PROOF_US = 700000 };

/* The mender's first write lies in the node's socket. */
static struct rig *with_a_write_under_way(uint32_t how, bool has_tokens, struct verify_plan *plan)
{
    struct rig *rig = loaded(1);
    spoil(rig, 0, how);
    *plan = plan_of(rig, true);
    plan->has_tokens = has_tokens;
    plan->proof_us = PROOF_US;
    start(rig, plan);
    while (rig->conns[MEND_WIRE].in.len == 0) {
        rig_turn(rig);
    }
    ck_assert_uint_eq(verify_owed(rig->verify), 0);
    return rig;
}

/* What a broken connection had brought is done when all copies are deleted, and shows to who
 * compares when its node is not unproven any more. The same if the verify had given it up. */
START_TEST(takes_no_end_but_eof_for_the_last_word)
{
    static const enum wire_end ends[] = {WIRE_END_RESET, WIRE_END_TIMEOUT, WIRE_END_UNREACHABLE,
                                         WIRE_END_REFUSED, WIRE_END_EOF};
    enum wire_end end = ends[_i % 5];
    for (uint32_t how = 0; how < 4; how++) {
        struct verify_plan plan;
        struct rig *rig = with_a_write_under_way(how, false, &plan);
        node_set node = node_set_of(rig->conns[MEND_WIRE].node);
        if (_i / 5 == 1) {
            verify_stop(rig->verify, rig->now_us);
            rig_act(rig);
            ck_assert_uint_eq(verify_given_up(rig->verify), node);
        }
        rig_end(rig, MEND_WIRE, end);
        /* A deletion that was given up needs no last word, and is read to its end. */
        node_set owed = _i / 5 == 1 && how == 2 && end == WIRE_END_EOF ? 0 : node;
        ck_assert(verify_is_at_rest(rig->verify));
        ck_assert_uint_eq(verify_given_up(rig->verify), 0);
        ck_assert_uint_eq(verify_owed(rig->verify), owed);
        uint64_t until_us = rig->now_us + (end == WIRE_END_EOF ? 0 : PROOF_US);
        ck_assert_uint_eq(verify_unproven(rig->verify, until_us - 1),
                          end == WIRE_END_EOF ? 0 : node);
        ck_assert_uint_eq(verify_unproven(rig->verify, until_us), 0);
        for (uint32_t other = 0; other < RIG_NODES; other++) {
            rig_delete(rig, other, key_of(0));
        }
        rig_do_late(rig, MEND_WIRE);
        ck_assert(how != 0 || difference_of(rig, 0) != NULL);
        rig->now_us = until_us;
        run(rig, &plan);
        assert_equal(rig, 1);
        ck_assert_uint_eq(verify_owed(rig->verify), owed);
        verify_take_owed(rig->verify);
        ck_assert_uint_eq(verify_owed(rig->verify), 0);
        rig_destroy(rig);
    }
}
END_TEST

/* Given up with our last word behind the write, and read to its end: nothing is owed, but for a
 * copy that can't be named since its CAS is not known. */
START_TEST(owes_nothing_behind_its_last_word)
{
    bool has_tokens = _i / 5 == 1;
    uint32_t how = (uint32_t)_i % 5;
    bool is_looking = how == 4;
    struct verify_plan plan;
    struct rig *rig = with_a_write_under_way(how % 4, has_tokens, &plan);
    struct rig_conn *leader = &rig->conns[leader_of(rig, 0)];
    node_set node = node_set_of(rig->conns[MEND_WIRE].node);
    while (is_looking && leader->in.len == 0) {
        rig_turn(rig); /* the copy is made, and about to be looked at */
    }
    verify_stop(rig->verify, rig->now_us);
    rig_act(rig);
    while (verify_given_up(rig->verify) != 0) {
        rig_turn(rig);
    }
    ck_assert(how == 2 || rig_find(rig, other_of(rig, 0), key_of(0)) == NULL);
    ck_assert_uint_eq(verify_owed(rig->verify), has_tokens || how == 2 || is_looking ? 0 : node);
    ck_assert_uint_eq(verify_unproven(rig->verify, 0), 0);
    rig_destroy(rig);
}
END_TEST

/* A client's write comes to the copy just before our store that was given up, or between it and our
 * last word. */
START_TEST(takes_no_later_write_along_with_its_last_word)
{
    static const uint32_t hows[] = {0, 1, 3};
    bool is_before_store = _i / 3 == 0;
    struct verify_plan plan;
    struct rig *rig = with_a_write_under_way(hows[_i % 3], true, &plan);
    uint32_t node = rig->conns[MEND_WIRE].node;
    uint64_t executed = rig->executed;
    verify_stop(rig->verify, rig->now_us);
    rig_act(rig);
    while (!is_before_store && rig->executed == executed) {
        rig_turn(rig);
    }
    ck_assert_uint_eq(verify_given_up(rig->verify), node_set_of(node));
    const struct rig_item *copy = rig_find(rig, node, key_of(0));
    ck_assert(is_before_store || copy->cas == rig_find(rig, leader_of(rig, 0), key_of(0))->cas);
    (void)rig_store(rig, node, key_of(0), value_of(0, 1));
    while (verify_given_up(rig->verify) != 0) {
        rig_turn(rig);
    }
    ck_assert_uint_eq(rig->executed, executed + 2);
    copy = rig_find(rig, node, key_of(0));
    ck_assert_ptr_nonnull(copy);
    ck_assert(slice_is_equal(copy->value, value_of(0, 1)));
    rig_destroy(rig);
}
END_TEST

/* A copy put where there was nothing, and not looked at for the second time. */
START_TEST(owes_a_run_for_a_copy_on_trial)
{
    struct rig *rig = loaded(1);
    spoil(rig, 0, 0);
    struct verify_plan plan = plan_of(rig, true);
    start(rig, &plan);
    while (verify_progress(rig->verify)->mended == 0) {
        rig_turn(rig);
    }
    if (_i == 0) {
        verify_stop(rig->verify, rig->now_us);
        rig_act(rig);
    } else if (_i == 1) {
        rig_cut(rig, leader_of(rig, 0));
    } else {
        rig_run(rig);
    }
    ck_assert_uint_eq(verify_owed(rig->verify), _i == 2 ? 0 : node_set_of(other_of(rig, 0)));
    ck_assert_uint_eq(verify_unproven(rig->verify, rig->now_us), 0);
    rig_destroy(rig);
}
END_TEST

START_TEST(fails_when_a_node_is_silent)
{
    struct rig *rig = loaded(KEYS);
    struct verify_plan plan = plan_of(rig, false);
    start(rig, &plan);
    while (verify_state(rig->verify) != VERIFY_COMPARING) {
        rig_turn(rig);
    }
    rig->is_mute = true;
    rig_run(rig);
    ck_assert_int_eq(verify_state(rig->verify), VERIFY_FAILED);
    ck_assert_str_eq(verify_failure(rig->verify), "node 1: timed out");
    rig_destroy(rig);
}
END_TEST

/* Nonsense in place of each reply: it fails or goes on, and breaks nothing of its own. */
START_TEST(survives_nonsense)
{
    static const struct slice nonsense[] = {
        SLICE_INIT("VA 5 c1 t1 f0\r\nabc\r\n\r\n"),
        SLICE_INIT("HD\r\n"),
        SLICE_INIT("VA 4294967296 c1 t1 f0\r\n"),
        SLICE_INIT("EN\r\nEN\r\n"),
        SLICE_INIT("MN\r\n"),
        SLICE_INIT("SERVER_ERROR out of memory\r\n"),
        SLICE_INIT("NF\r\n"),
        SLICE_INIT("\r\n"),
        SLICE_INIT("HD c5 t-1 f0\r\n"),
        SLICE_INIT("END\r\n"),
    };
    for (uint64_t at = 0; at < 60; at++) {
        struct rig *rig = loaded(HOSTILE_KEYS);
        spoil(rig, 0, 0);
        spoil(rig, 1, 1);
        spoil(rig, 2, 2);
        rig->is_tampering = true;
        rig->tamper_at = at;
        rig->tamper_with = nonsense[_i];
        struct verify_plan plan = plan_of(rig, true);
        start(rig, &plan);
        rig_run(rig);
        rig->is_tampering = false;
        run(rig, &plan);
        assert_equal(rig, HOSTILE_KEYS);
        rig_destroy(rig);
    }
}
END_TEST

/* --- Pace --- */

/* Of bytes, of keys, of both. */
START_TEST(keeps_the_rate)
{
    enum { MANY = 4000, VALUE_BYTES = 500, RATE_BYTES = 1500000, RATE_KEYS = 1500 };
    struct rig *rig = loaded(0);
    rig->tick_us = 10000;
    static char value[VALUE_BYTES];
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        for (uint32_t node = 0; node < RIG_NODES; node++) {
            (void)rig_store(rig, node, key_of(i), slice_of(value, sizeof value));
        }
        bytes += key_of(i).len + RIG_NODES * VALUE_BYTES;
    }
    struct verify_plan plan = plan_of(rig, false);
    plan.rate_bytes = _i == 1 ? 0 : RATE_BYTES;
    plan.rate_keys = _i == 0 ? 0 : _i == 1 ? RATE_KEYS : 10 * RATE_KEYS;
    start(rig, &plan);
    while (verify_state(rig->verify) != VERIFY_COMPARING) {
        rig_turn(rig);
    }
    uint64_t from_us = rig->now_us;
    rig_run(rig);
    uint64_t rate = (_i == 1 ? MANY : bytes) * 1000000 / (rig->now_us - from_us);
    uint64_t wanted = _i == 1 ? RATE_KEYS : RATE_BYTES;
    ck_assert_uint_le(rate, wanted * 105 / 100);
    ck_assert_uint_ge(rate, wanted * 95 / 100);
    rig_destroy(rig);
}
END_TEST

START_TEST(needs_two_complete_nodes)
{
    struct rig *rig = loaded(KEYS);
    rig->topology.complete = node_set_of(1);
    rig->topology.leaders = node_set_of(1);
    struct verify_plan plan = plan_of(rig, true);
    run(rig, &plan);
    ck_assert_uint_eq(rig->nodes[1].dumps, 0);
    rig_destroy(rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("core/verify");
    TCase *tcase = tcase_create("verify");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, finds_nothing_where_all_is_equal);
    tcase_add_test(tcase, finds_each_kind_and_touches_nothing);
    tcase_add_test(tcase, mends_each_kind);
    tcase_add_test(tcase, mends_keys_of_any_bytes);
    tcase_add_loop_test(tcase, gives_wins_back, 0, 2);
    tcase_add_test(tcase, compares_tokens_without_values);
    tcase_add_test(tcase, looks_only_at_the_pairs_of_a_node);
    tcase_add_test(tcase, goes_in_passes_where_memory_is_short);
    tcase_add_test(tcase, counts_evictions_apart);
    tcase_add_loop_test(tcase, tells_what_it_cannot_mend, 0, 2);
    tcase_add_test(tcase, mends_nothing_without_cas);
    tcase_add_loop_test(tcase, takes_replies_cut_anywhere, 1, 40);
    tcase_add_loop_test(tcase, dumps_again_what_came_to_nothing, 0, 3);
    tcase_add_loop_test(tcase, undoes_no_write_in_any_interleaving, 0, 16);
    tcase_add_loop_test(tcase, undoes_no_write_at_random, 0, SEEDS);
    tcase_add_test(tcase, believes_only_what_it_saw_twice);
    tcase_add_test(tcase, forgets_what_cannot_be_made_right);
    tcase_add_loop_test(tcase, takes_an_old_copy_back_at_once, 0, 2);
    tcase_add_test(tcase, deletes_only_what_it_saw);
    tcase_add_test(tcase, takes_back_what_a_delete_had_passed);
    tcase_add_loop_test(tcase, rests_when_it_is_held, 0, 4);
    tcase_add_test(tcase, concludes_nothing_under_a_cloud);
    tcase_add_loop_test(tcase, fails_with_any_wire_and_leaves_nothing_wrong, 0, 40);
    tcase_add_loop_test(tcase, stops_at_any_point, 0, 8);
    tcase_add_loop_test(tcase, takes_no_end_but_eof_for_the_last_word, 0, 10);
    tcase_add_loop_test(tcase, owes_nothing_behind_its_last_word, 0, 10);
    tcase_add_loop_test(tcase, takes_no_later_write_along_with_its_last_word, 0, 6);
    tcase_add_loop_test(tcase, owes_a_run_for_a_copy_on_trial, 0, 3);
    tcase_add_test(tcase, fails_when_a_node_is_silent);
    tcase_add_loop_test(tcase, survives_nonsense, 0, 10);
    tcase_add_loop_test(tcase, keeps_the_rate, 0, 3);
    tcase_add_test(tcase, needs_two_complete_nodes);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
