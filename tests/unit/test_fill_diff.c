/* SPDX-License-Identifier: BSD-2-Clause */
/* The fill of a node that has old data, where copies carry tokens: a diff. */
#include "fill_rig.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KEYS = 300,
    TURNS_MAX = 40, /* more than the diff of one key takes */
    SPLIT_TURNS_MAX = 75,
    PROOF_TURNS = 12, /* no write takes so long */
    PAIRS = 60000,
};

static struct slice key_of(uint32_t i)
{
    static char text[32];
    int len = snprintf(text, sizeof text, "key:%u", i);
    return slice_of(text, (size_t)len);
}

static struct slice value_of(uint32_t version)
{
    static char text[32];
    int len = snprintf(text, sizeof text, "version %u", version);
    return slice_of(text, (size_t)len);
}

static uint64_t token_of(uint32_t version)
{
    return (UINT64_C(1) << 58) + version;
}

/* VERSION of a key as a proxy stores it: with its token. */
static void put(struct rig *rig, uint32_t node, struct slice key, uint32_t version)
{
    struct rig_item *item = rig_store(rig, node, key, value_of(version));
    item->flags = version;
    item->cas = token_of(version);
}

static struct rig *create_with(const struct fill_options *options)
{
    struct rig *rig = rig_create(options);
    rig->topology.has_tokens = true;
    rig->is_diff = true;
    return rig;
}

static struct rig *create(void)
{
    struct fill_options options = rig_options();
    return create_with(&options);
}

static void run(struct rig *rig)
{
    rig_start(rig);
    rig_run(rig);
    ck_assert_msg(fill_state(rig->fill) == FILL_DONE, "%s: %s",
                  fill_state_word(fill_state(rig->fill)), fill_failure(rig->fill));
}

/* Equal, token and all; NULL, or what differs. */
static const char *difference_of(struct rig *rig, struct slice key)
{
    const char *difference = rig_difference(rig, RIG_DONOR, RIG_TARGET, key);
    const struct rig_item *item = rig_find(rig, RIG_DONOR, key);
    return difference != NULL                                                 ? difference
           : item != NULL && item->cas != rig_find(rig, RIG_TARGET, key)->cas ? "the token"
                                                                              : NULL;
}

/*
 * Of each ten keys six are the same on both, and the target lacks one, has another version of one,
 * another expiry of one, and one that the donor has not.
 */
static void load(struct rig *rig, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct slice key = key_of(i);
        if (i % 10 != 9) {
            put(rig, RIG_DONOR, key, i + 1000);
            rig_expire(rig, RIG_DONOR, key, i % 4 == 0 ? 0 : 1000 + i);
        }
        if (i % 10 != 6) {
            put(rig, RIG_TARGET, key, i % 10 == 7 || i % 10 == 9 ? i : i + 1000);
            rig_expire(rig, RIG_TARGET, key, i % 10 == 8 ? 77 : i % 4 == 0 ? 0 : 1000 + i);
        }
    }
}

static void assert_equal(struct rig *rig, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *difference = difference_of(rig, key_of(i));
        ck_assert_msg(difference == NULL, "key %u: %s", i, difference);
    }
}

START_TEST(moves_only_what_differs)
{
    struct rig *rig = create();
    rig->nodes[RIG_TARGET].clock_s += _i == 0 ? 0 : -5000;
    load(rig, KEYS);
    (void)rig_store(rig, RIG_TARGET, SLICE("_everwarm:1:p:view"), SLICE("not a client's"));
    run(rig);
    assert_equal(rig, KEYS);
    ck_assert_uint_eq(rig->nodes[RIG_TARGET].flushes, 0);
    ck_assert_ptr_nonnull(rig_find(rig, RIG_TARGET, SLICE("_everwarm:1:p:view")));
    struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    ck_assert_uint_eq(p.items_equal, KEYS / 10 * 6);
    ck_assert_uint_eq(p.items_copied, KEYS / 10 * 3);
    ck_assert_uint_eq(p.items_gone, KEYS / 10);
    ck_assert_uint_eq(p.items_done, KEYS);
    ck_assert_uint_eq(p.items_total, KEYS);
    /* What is copied is read once, and what only the target has is asked for once. */
    ck_assert_uint_eq(rig->nodes[RIG_DONOR].reads, KEYS / 10 * 4);
    ck_assert_uint_eq(rig->nodes[RIG_TARGET].reads, 0);
    ck_assert(!fill_is_from_empty(rig->fill));
    rig_destroy(rig);
}
END_TEST

START_TEST(is_quick_with_an_empty_target)
{
    struct rig *rig = create();
    for (uint32_t i = 0; i < KEYS; i++) {
        put(rig, RIG_DONOR, key_of(i), i);
    }
    uint64_t begun_us = rig->now_us;
    rig_start(rig);
    ck_assert(!fill_is_from_empty(rig->fill)); /* that is not known yet */
    rig_run(rig);
    ck_assert_int_eq(fill_state(rig->fill), FILL_DONE);
    ck_assert_uint_lt(rig->now_us - begun_us, 1000000); /* it waits for no clock */
    assert_equal(rig, KEYS);
    ck_assert(fill_is_from_empty(rig->fill));
    rig_destroy(rig);
}
END_TEST

/* Lists too small for all keys: the classes of list and table stay the same. */
START_TEST(goes_by_classes)
{
    struct fill_options options = rig_options();
    if (_i % 2 == 0) {
        options.list_bytes = 4096;
    }
    if (_i / 2 % 2 == 0) {
        options.table_bytes = 8192;
    }
    struct rig *rig = create_with(&options);
    rig->topology.complete |= _i < 4 ? 0 : node_set_of(2);
    rig->topology.leaders = rig->topology.complete;
    enum { MANY = 3000 };
    load(rig, MANY);
    for (uint32_t i = 0; i < RIG_BUCKETS && _i >= 4; i++) {
        for (const struct rig_item *item = rig->nodes[RIG_DONOR].buckets[i]; item != NULL;
             item = item->next) {
            struct rig_item *other = rig_store(rig, 2, item->key, item->value);
            other->flags = item->flags;
            other->cas = item->cas;
            other->expires_s = item->expires_s;
        }
    }
    run(rig);
    assert_equal(rig, MANY);
    struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    ck_assert_uint_eq(p.items_done, MANY);
    ck_assert_uint_eq(p.items_total, MANY);
    ck_assert_uint_eq(p.items_equal, MANY / 10 * 6);
    ck_assert_uint_eq(p.items_gone, MANY / 10);
    ck_assert(_i == 3 || rig->nodes[RIG_TARGET].dumps > 1);
    rig_destroy(rig);
}
END_TEST

/* Numbers that memcached chose by itself say nothing, also when they are the same. */
START_TEST(does_not_believe_small_numbers)
{
    struct rig *rig = create();
    for (uint32_t i = 0; i < KEYS; i++) {
        rig_store(rig, RIG_DONOR, key_of(i), value_of(1))->cas = 1000 + i;
        rig_store(rig, RIG_TARGET, key_of(i), value_of(i % 2))->cas = 1000 + i;
    }
    run(rig);
    for (uint32_t i = 0; i < KEYS; i++) {
        ck_assert_ptr_null(rig_difference(rig, RIG_DONOR, RIG_TARGET, key_of(i)));
    }
    rig_destroy(rig);
}
END_TEST

/* The donor's first answer is an error, so that what the target has is met as what is in the way:
 * the same value, of another write. */
START_TEST(takes_no_other_token_for_a_copy)
{
    enum { FIRST_READ = 3 }; /* after stats and two dumps */
    struct rig *rig = create();
    put(rig, RIG_DONOR, key_of(0), 10);
    put(rig, RIG_TARGET, key_of(0), 10);
    rig_find(rig, RIG_TARGET, key_of(0))->cas = token_of(9);
    rig->is_tampering = true;
    rig->tamper_at = FIRST_READ;
    rig->tamper_with = SLICE("SERVER_ERROR out of memory\r\n");
    run(rig);
    assert_equal(rig, 1);
    ck_assert_uint_eq(rig->nodes[RIG_TARGET].reads, 1);
    rig_destroy(rig);
}
END_TEST

/* --- One key, and clients that write it meanwhile --- */

enum act { ACT_NONE, ACT_SET, ACT_SET_SAME, ACT_DELETE, ACT_TOUCH, ACT_EXPIRE_NOW, ACT_COUNT };

enum before { BEFORE_ABSENT, BEFORE_EQUAL, BEFORE_OLD, BEFORE_OLD_MARKED, BEFORE_COUNT };

/* A client's write: applied to the donor first, to the target later. */
struct write {
    enum act act;
    uint32_t at[2]; /* before which turn: donor, target */
    uint32_t version;
};

struct story {
    enum before before; /* of the target */
    bool is_on_donor;
    struct write writes[2];
};

static void apply(struct rig *rig, uint32_t node, const struct write *write)
{
    struct slice key = key_of(0);
    switch (write->act) {
    case ACT_SET:
        put(rig, node, key, write->version);
        break;
    case ACT_SET_SAME:
        put(rig, node, key, 10);
        rig_find(rig, node, key)->cas = token_of(write->version);
        break;
    case ACT_DELETE:
        rig_delete(rig, node, key);
        break;
    case ACT_TOUCH:
        rig_expire(rig, node, key, 5000 + write->version * 1000);
        break;
    case ACT_EXPIRE_NOW:
        rig_expire(rig, node, key, -1);
        break;
    case ACT_NONE:
    case ACT_COUNT:
        break;
    }
}

static void set_scene(struct rig *rig, const struct story *story)
{
    struct slice key = key_of(0);
    rig_delete(rig, RIG_DONOR, key);
    rig_delete(rig, RIG_TARGET, key);
    if (story->is_on_donor) {
        put(rig, RIG_DONOR, key, 10);
    }
    if (story->before != BEFORE_ABSENT) {
        put(rig, RIG_TARGET, key, story->before == BEFORE_EQUAL ? 10 : 9);
        rig_find(rig, RIG_TARGET, key)->is_stale = story->before == BEFORE_OLD_MARKED;
    }
}

static void tell(struct rig *rig, const struct story *story)
{
    const uint32_t least = rig->is_split ? SPLIT_TURNS_MAX + PROOF_TURNS : TURNS_MAX;
    set_scene(rig, story);
    rig_start(rig);
    for (uint32_t turn = 0; turn <= least || !rig_is_over(rig); turn++) {
        for (uint32_t w = 0; w < 2; w++) {
            for (uint32_t side = 0; side < 2; side++) {
                if (story->writes[w].at[side] == turn) {
                    apply(rig, side == 0 ? RIG_DONOR : RIG_TARGET, &story->writes[w]);
                }
            }
        }
        if (!rig_is_over(rig)) {
            rig_turn(rig);
        }
    }
    ck_assert_int_eq(fill_state(rig->fill), FILL_DONE);
    const char *difference = difference_of(rig, key_of(0));
    ck_assert_msg(difference == NULL, "%s: before %d, on donor %d, writes %d at %u %u, %d at %u %u",
                  difference, (int)story->before, story->is_on_donor, (int)story->writes[0].act,
                  story->writes[0].at[0], story->writes[0].at[1], (int)story->writes[1].act,
                  story->writes[1].at[0], story->writes[1].at[1]);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_skipped, 0);
}

/* One write at all points, the dumps' included. */
START_TEST(keeps_a_chained_write_at_any_point)
{
    struct rig *rig = create();
    struct story story = {.before = _i % BEFORE_COUNT, .is_on_donor = _i / BEFORE_COUNT != 0};
    for (enum act act = ACT_SET; act < ACT_COUNT; act++) {
        for (uint32_t donor = 0; donor <= TURNS_MAX; donor++) {
            for (uint32_t target = donor; target <= TURNS_MAX; target++) {
                story.writes[0] = (struct write){act, {donor, target}, 11};
                tell(rig, &story);
            }
        }
    }
    rig_destroy(rig);
}
END_TEST

/* --- After a split --- */

static struct rig *create_split(void)
{
    struct rig *rig = create();
    rig->is_split = true;
    rig->proof_us = PROOF_TURNS * rig->tick_us;
    return rig;
}

/* What both have alike stays; all else is gone from both, for either may be the later. */
START_TEST(forgets_what_two_sides_did)
{
    struct rig *rig = create_split();
    load(rig, KEYS);
    (void)rig_store(rig, RIG_TARGET, SLICE("_everwarm:1:p:view"), SLICE("not a client's"));
    run(rig);
    for (uint32_t i = 0; i < KEYS; i++) {
        ck_assert_ptr_null(difference_of(rig, key_of(i)));
        ck_assert((rig_find(rig, RIG_DONOR, key_of(i)) != NULL) == (i % 10 < 6));
    }
    struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    ck_assert_uint_eq(p.items_forgotten, KEYS / 10 * 3);
    ck_assert_uint_eq(p.items_copied, 0);
    ck_assert_uint_eq(p.items_total, p.items_done);
    ck_assert_ptr_nonnull(rig_find(rig, RIG_TARGET, SLICE("_everwarm:1:p:view")));
    rig_destroy(rig);
}
END_TEST

/* Another run of the target: nobody was told anything by what it holds. */
START_TEST(forgets_nothing_for_another_run)
{
    struct rig *rig = create_split();
    load(rig, KEYS);
    rig_start(rig);
    rig->nodes[RIG_TARGET].pid++;
    rig_run(rig);
    ck_assert_int_eq(fill_state(rig->fill), FILL_DONE);
    assert_equal(rig, KEYS);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_forgotten, 0);
    ck_assert_uint_eq(rig_count(rig, RIG_DONOR), KEYS / 10 * 9);
    rig_destroy(rig);
}
END_TEST

/* What is written while that goes on is not forgotten, at whatever point it reaches the nodes. */
START_TEST(keeps_what_is_written_after_a_split)
{
    struct rig *rig = create_split();
    struct story story = {.before = _i % BEFORE_COUNT, .is_on_donor = _i / BEFORE_COUNT != 0};
    for (enum act act = ACT_NONE; act < ACT_COUNT; act++) {
        for (uint32_t donor = 0; donor <= SPLIT_TURNS_MAX; donor++) {
            for (uint32_t late = 0; late < PROOF_TURNS; late++) {
                story.writes[0] = (struct write){act, {donor, donor + late}, 11};
                tell(rig, &story);
                const struct rig_item *item = rig_find(rig, RIG_DONOR, key_of(0));
                bool is_set = act == ACT_SET || act == ACT_SET_SAME;
                ck_assert(!is_set || (item != NULL && item->cas == token_of(11)));
                bool was_equal = story.is_on_donor && story.before == BEFORE_EQUAL;
                bool is_kept = was_equal && (act == ACT_NONE || act == ACT_TOUCH);
                ck_assert(is_set || (item != NULL) == is_kept);
            }
        }
    }
    rig_destroy(rig);
}
END_TEST

/* Two writes, in the same order at both nodes. */
START_TEST(keeps_two_chained_writes_at_any_point)
{
    struct rig *rig = create();
    for (uint32_t i = 0; i < PAIRS; i++) {
        struct story story = {
            .before = (enum before)prng_below(&rig->prng, BEFORE_COUNT),
            .is_on_donor = prng_below(&rig->prng, 2) == 0,
        };
        uint32_t least[2] = {0};
        for (uint32_t w = 0; w < 2; w++) {
            struct write *write = &story.writes[w];
            write->act = (enum act)(1 + prng_below(&rig->prng, ACT_COUNT - 1));
            write->version = 11 + w;
            write->at[0] = least[0] + (uint32_t)prng_below(&rig->prng, TURNS_MAX + 1 - least[0]);
            least[1] = least[1] > write->at[0] ? least[1] : write->at[0];
            write->at[1] = least[1] + (uint32_t)prng_below(&rig->prng, TURNS_MAX + 1 - least[1]);
            memcpy(least, write->at, sizeof least);
        }
        tell(rig, &story);
    }
    rig_destroy(rig);
}
END_TEST

/* --- Targets of which no diff is to be had --- */

static void assert_wants_flush(struct rig *rig, const char *why)
{
    rig_start(rig);
    rig_run(rig);
    ck_assert_int_eq(fill_state(rig->fill), FILL_FAILED);
    ck_assert_str_eq(fill_failure(rig->fill), why);
    ck_assert(fill_wants_flush(rig->fill));
    rig->is_diff = false;
    rig->now_us += 3000000; /* what a flush kills is older than it */
    run(rig);
    ck_assert(!fill_wants_flush(rig->fill));
    rig_assert_copied(rig);
}

START_TEST(flushes_what_can_not_be_named)
{
    struct rig *rig = create();
    char key[187]; /* base64 would make it longer than a key can be */
    memset(key, ' ', sizeof key);
    (void)rig_store(rig, RIG_TARGET, slice_of(key, sizeof key), SLICE("old"));
    assert_wants_flush(rig, "dump: the target has keys that no text command can carry");
    rig_destroy(rig);
}
END_TEST

START_TEST(flushes_what_gives_no_dump)
{
    struct rig *rig = create();
    load(rig, 10);
    rig->nodes[RIG_TARGET].dump_instead = _i == 0   ? SLICE("CLIENT_ERROR lru crawler disabled\r\n")
                                          : _i == 1 ? SLICE("ERROR metadump not allowed\r\n")
                                                    : SLICE("BUSY\r\n");
    rig->nodes[RIG_TARGET].dump_instead_count = _i < 2 ? 1 : 1000;
    assert_wants_flush(rig, _i < 2 ? "dump: the target gives none"
                                   : "dump: no complete dump after many tries");
    rig_destroy(rig);
}
END_TEST

/* The donor gives no dump, so the target is to be warmed; what is old on it is to go first. */
START_TEST(donor_gives_no_dump)
{
    bool is_empty = _i == 1;
    struct rig *rig = create();
    put(rig, RIG_DONOR, key_of(1), 1);
    if (!is_empty) {
        put(rig, RIG_TARGET, key_of(2), 2);
    }
    rig->nodes[RIG_DONOR].dump_instead = SLICE("ERROR metadump not allowed\r\n");
    rig->nodes[RIG_DONOR].dump_instead_count = 1000;
    rig_start(rig);
    rig_run(rig);
    ck_assert_int_eq(fill_state(rig->fill), FILL_FAILED);
    ck_assert(fill_is_refused(rig->fill) == is_empty);
    ck_assert(fill_wants_flush(rig->fill) == !is_empty);
    rig->is_diff = false;
    rig->now_us += 3000000;
    rig_start(rig);
    ck_assert(!fill_is_refused(rig->fill));
    rig_run(rig);
    ck_assert(fill_is_refused(rig->fill));
    struct identity filled = fill_identity(rig->fill);
    ck_assert(identity_is_known(&filled));
    rig_destroy(rig);
}
END_TEST

/* A dump that comes to nothing is had again, the target's too: what it showed first is older. */
START_TEST(dumps_again)
{
    struct rig *rig = create();
    load(rig, KEYS);
    rig->nodes[RIG_DONOR].dump_instead = SLICE("BUSY\r\n");
    rig->nodes[RIG_DONOR].dump_instead_count = 3;
    run(rig);
    assert_equal(rig, KEYS);
    ck_assert_uint_eq(rig->nodes[RIG_TARGET].dumps, 4);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_done, KEYS);
    rig_destroy(rig);
}
END_TEST

/* --- The end of a fill that was given up --- */

/* Until the target has executed what was written to it, nothing is to be begun anew. */
START_TEST(reads_a_given_up_target_to_its_end)
{
    for (uint32_t turns = 0; turns < 60; turns++) {
        struct rig *rig = create();
        load(rig, 20);
        rig->chunk = 40;
        rig_start(rig);
        for (uint32_t i = 0; i < turns && !rig_is_over(rig); i++) {
            rig_turn(rig);
        }
        bool is_under_way =
            rig->conns[FILL_WIRE_TARGET].in.len > 0 && fill_state(rig->fill) == FILL_COPYING;
        fill_stop(rig->fill, rig->now_us);
        rig_act(rig);
        ck_assert(!is_under_way || fill_given_up(rig->fill) == node_set_of(RIG_TARGET));
        while (fill_given_up(rig->fill) != 0) {
            ck_assert(rig->conns[FILL_WIRE_TARGET].is_open);
            rig_turn(rig);
        }
        ck_assert(!rig->conns[FILL_WIRE_TARGET].is_open);
        run(rig);
        assert_equal(rig, 20);
        rig_destroy(rig);
    }
}
END_TEST

static Suite *diff_suite(void)
{
    Suite *suite = suite_create("core/fill diff");
    TCase *tcase = tcase_create("diff");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, moves_only_what_differs, 0, 2);
    tcase_add_test(tcase, is_quick_with_an_empty_target);
    tcase_add_loop_test(tcase, goes_by_classes, 0, 8);
    tcase_add_test(tcase, does_not_believe_small_numbers);
    tcase_add_test(tcase, takes_no_other_token_for_a_copy);
    tcase_add_loop_test(tcase, keeps_a_chained_write_at_any_point, 0, 2 * BEFORE_COUNT);
    tcase_add_loop_test(tcase, keeps_what_is_written_after_a_split, 0, 2 * BEFORE_COUNT);
    tcase_add_test(tcase, forgets_what_two_sides_did);
    tcase_add_test(tcase, forgets_nothing_for_another_run);
    tcase_add_test(tcase, keeps_two_chained_writes_at_any_point);
    tcase_add_test(tcase, flushes_what_can_not_be_named);
    tcase_add_loop_test(tcase, flushes_what_gives_no_dump, 0, 3);
    tcase_add_loop_test(tcase, donor_gives_no_dump, 0, 2);
    tcase_add_test(tcase, dumps_again);
    tcase_add_test(tcase, reads_a_given_up_target_to_its_end);
    suite_add_tcase(suite, tcase);
    return suite;
}

int main(void)
{
    SRunner *runner = srunner_create(diff_suite());
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
