/* SPDX-License-Identifier: BSD-2-Clause */
/* The fill, against model nodes, in simulated time. */
#include "fill_rig.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KEYS = 200,
    HOT_STEPS = 11, /* more commands than a copy that is disturbed once has */
    SEEDS = 200,
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

static void load(struct rig *rig, uint32_t node, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct rig_item *item = rig_store(rig, node, key_of(i), value_of(i, 0));
        item->flags = i * 3;
        rig_expire(rig, node, key_of(i), i % 3 == 0 ? 0 : i * 7 + 60);
    }
}

static void assert_done(const struct rig *rig)
{
    ck_assert_msg(fill_state(rig->fill) == FILL_DONE, "%s: %s",
                  fill_state_word(fill_state(rig->fill)), fill_failure(rig->fill));
}

static void assert_failed(const struct rig *rig, const char *why)
{
    ck_assert_int_eq(fill_state(rig->fill), FILL_FAILED);
    ck_assert_str_eq(fill_failure(rig->fill), why);
}

static struct rig *loaded(const struct fill_options *options, uint32_t count)
{
    struct rig *rig = rig_create(options);
    load(rig, RIG_DONOR, count);
    return rig;
}

/* --- Whole fills --- */

START_TEST(copies_all)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    (void)rig_store(rig, RIG_TARGET, SLICE("old"), SLICE("from before"));
    (void)rig_store(rig, RIG_DONOR, SLICE("_everwarm:1:p:view"), SLICE("not a client's"));
    rig->now_us += 3000000; /* what the flush kills is older than it */
    rig_start(rig);
    uint64_t begun_us = rig->now_us;
    rig_run(rig);
    assert_done(rig);
    ck_assert_uint_ge(rig->now_us - begun_us, 1000000); /* the flush's two seconds, less a part */
    rig_delete(rig, RIG_DONOR, SLICE("_everwarm:1:p:view"));
    rig_assert_copied(rig);
    struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    ck_assert_uint_eq(p.items_done, KEYS);
    ck_assert_uint_eq(p.items_total, KEYS);
    ck_assert_uint_eq(p.items_copied, KEYS);
    ck_assert_uint_eq(p.eta_us, 0);
    struct identity id = fill_identity(rig->fill);
    ck_assert_uint_eq(id.pid, rig->nodes[RIG_TARGET].pid);
    ck_assert_uint_eq(id.flushes, 1);
    rig_destroy(rig);
}
END_TEST

/* Where all nodes know `E` a copy has the token of what it is a copy of, but not a number that the
 * donor chose by itself: that may lie below the target's own count at its flush, and then the copy
 * is gone at once. And what the target stored in the second in which the fill begins is not taken
 * for newer than the flush. */
START_TEST(copies_tokens)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, 100);
    rig->topology.has_tokens = true;
    for (uint32_t i = 0; i < RIG_BUCKETS; i++) {
        for (struct rig_item *item = rig->nodes[RIG_DONOR].buckets[i]; item != NULL;
             item = item->next) {
            item->cas += item->cas % 2 == 0 ? UINT64_C(1) << 58 : 0;
        }
    }
    rig->nodes[RIG_TARGET].cas_last = 1000000; /* it is no young process */
    int64_t begun_s = rig_time_s(rig, RIG_TARGET);
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    ck_assert_int_gt(rig->nodes[RIG_TARGET].flushed_s, begun_s);
    for (uint32_t i = 0; i < RIG_BUCKETS; i++) {
        for (struct rig_item *item = rig->nodes[RIG_DONOR].buckets[i]; item != NULL;
             item = item->next) {
            uint64_t cas = rig_find(rig, RIG_TARGET, item->key)->cas;
            if (item->cas >> 58 != 0) {
                ck_assert_uint_eq(cas, item->cas);
            } else {
                ck_assert_uint_gt(cas, 1000000);
            }
        }
    }
    rig_destroy(rig);
}
END_TEST

START_TEST(copies_nothing_without_donors)
{
    struct fill_options options = rig_options();
    struct rig *rig = rig_create(&options);
    rig->topology.leaders = 0;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    ck_assert_uint_eq(rig->nodes[RIG_TARGET].flushes, 1);
    rig_destroy(rig);
}
END_TEST

/* Each key comes from its leader: what another donor holds of it does not count. */
START_TEST(copies_from_leaders)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    rig->topology.leaders |= node_set_of(2);
    for (uint32_t i = 0; i < KEYS; i++) {
        (void)rig_store(rig, 2, key_of(i), value_of(i, 2));
    }
    rig_start(rig);
    while (fill_state(rig->fill) != FILL_COPYING) {
        rig_turn(rig);
    }
    /* A mirror's first dump knows how many there are in all. */
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_total, KEYS);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    ck_assert_uint_gt(rig->nodes[1].reads, KEYS / 4);
    ck_assert_uint_gt(rig->nodes[2].reads, KEYS / 4);
    rig_destroy(rig);
}
END_TEST

START_TEST(keeps_keys_of_any_bytes)
{
    enum { WRITABLE_BYTES_MAX = 186 }; /* of a key that takes base64 */
    struct fill_options options = rig_options();
    struct rig *rig = rig_create(&options);
    char key[250];
    for (uint32_t byte = 0; byte < 256; byte++) {
        bool is_word = byte != ' ' && byte != '\n' && byte != '\0';
        memset(key, (int)byte, sizeof key);
        if (byte != '\r') {
            size_t longest = is_word ? sizeof key : WRITABLE_BYTES_MAX;
            (void)rig_store(rig, RIG_DONOR, slice_of(key, 1), SLICE("short"));
            (void)rig_store(rig, RIG_DONOR, slice_of(key, longest), SLICE("long"));
        }
    }
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    /* What neither a word nor base64 can name is passed over. */
    memset(key, ' ', sizeof key);
    (void)rig_store(rig, RIG_DONOR, slice_of(key, WRITABLE_BYTES_MAX + 1), SLICE("1"));
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    ck_assert_uint_eq(rig_count(rig, RIG_TARGET) + 1, rig_count(rig, RIG_DONOR));
    rig_destroy(rig);
}
END_TEST

START_TEST(keeps_expiry_across_clocks)
{
    static const int64_t skews_s[] = {0, 7200, -7200, 86400 * 400};
    static const int64_t ttls_s[] = {0, 1, 5, 100, 2591999, 2592000, 2592001, 2592100, 86400 * 365};
    struct fill_options options = rig_options();
    for (size_t s = 0; s < sizeof skews_s / sizeof skews_s[0]; s++) {
        struct rig *rig = rig_create(&options);
        rig->nodes[RIG_TARGET].clock_s += skews_s[s];
        for (uint32_t i = 0; i < sizeof ttls_s / sizeof ttls_s[0]; i++) {
            (void)rig_store(rig, RIG_DONOR, key_of(i), value_of(i, 0));
            rig_expire(rig, RIG_DONOR, key_of(i), ttls_s[i]);
        }
        rig_start(rig);
        rig_run(rig);
        assert_done(rig);
        rig_assert_copied(rig);
        ck_assert_ptr_null(rig_find(rig, RIG_TARGET, key_of(1))); /* it expired meanwhile */
        ck_assert_ptr_nonnull(rig_find(rig, RIG_TARGET, key_of(4)));
        rig_destroy(rig);
    }
}
END_TEST

START_TEST(copies_values_of_any_size)
{
    static const size_t sizes[] = {0, 1, 2, 100, 4095, 65536, 1 << 19, (1 << 20) - 1, 1 << 20};
    enum { COUNT = sizeof sizes / sizeof sizes[0], LARGEST = (1 << 20) + 1 };
    struct fill_options options = rig_options();
    /* Known in advance, and all a surprise. */
    for (uint64_t dump_size = 0; dump_size < 2; dump_size++) {
        struct rig *rig = rig_create(&options);
        rig->nodes[RIG_DONOR].dump_size_bytes = dump_size;
        char *value = malloc(LARGEST);
        ck_assert_ptr_nonnull(value);
        for (size_t i = 0; i < LARGEST; i++) {
            value[i] = (char)(i * 7 + i / 251);
        }
        for (uint32_t i = 0; i < 3 * COUNT; i++) {
            (void)rig_store(rig, RIG_DONOR, key_of(i), slice_of(value, sizes[i % COUNT]));
        }
        (void)rig_store(rig, RIG_DONOR, SLICE("over"), slice_of(value, LARGEST));
        rig_start(rig);
        rig_run(rig);
        assert_done(rig);
        rig_delete(rig, RIG_DONOR, SLICE("over"));
        rig_assert_copied(rig);
        ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_skipped, 1);
        free(value);
        rig_destroy(rig);
    }
}
END_TEST

/* Sockets that take little at a time, dumps that lie: values share the ring, and none is lost. */
START_TEST(shares_its_memory_among_values)
{
    enum { LARGEST = 100000, COUNT = 300 };
    struct fill_options options = rig_options();
    options.item_bytes_max = LARGEST;
    struct rig *rig = rig_create(&options);
    rig->prng.state = (uint64_t)_i;
    rig->is_shuffled = true;
    rig->chunk = 20000;
    rig->write_max = 5000;
    rig->nodes[RIG_DONOR].dump_size_bytes = _i % 2 == 0 ? 1 : 0;
    char *value = calloc(1, LARGEST);
    ck_assert_ptr_nonnull(value);
    for (uint32_t i = 0; i < COUNT; i++) {
        size_t len = prng_below(&rig->prng, LARGEST + 1);
        (void)rig_store(rig, RIG_DONOR, key_of(i), slice_of(value, len));
    }
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    free(value);
    rig_destroy(rig);
}
END_TEST

START_TEST(skips_what_the_target_refuses)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    char large[100] = {0};
    rig->nodes[RIG_TARGET].store_bytes_max = sizeof large - 1;
    (void)rig_store(rig, RIG_DONOR, SLICE("large"), slice_of(large, sizeof large));
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_skipped, 1);
    rig_delete(rig, RIG_DONOR, SLICE("large"));
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

/* Reading them takes their recache wins. They are given back, and where writers can choose it with
 * the CAS that clients know. */
START_TEST(never_copies_marked_items)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    rig->topology.has_tokens = _i == 1;
    for (uint32_t i = 0; i < KEYS; i += 10) {
        struct rig_item *item = rig_find(rig, RIG_DONOR, key_of(i));
        item->is_stale = true;
        item->cas = (UINT64_C(1) << 58) + i;
    }
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_gone, KEYS / 10);
    for (uint32_t i = 0; i < KEYS; i += 10) {
        struct rig_item *item = rig_find(rig, RIG_DONOR, key_of(i));
        ck_assert(item->is_stale);
        ck_assert(!item->is_won);
        ck_assert((item->cas == (UINT64_C(1) << 58) + i) == rig->topology.has_tokens);
        rig_delete(rig, RIG_DONOR, key_of(i));
    }
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

START_TEST(takes_replies_cut_anywhere)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, 30);
    rig->chunk = (size_t)_i;
    rig->nodes[RIG_DONOR].dump_first = SLICE("OK\r\n");
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

/* --- One key, and clients that write it meanwhile --- */

enum act {
    ACT_NONE,
    ACT_SET,
    ACT_SET_SAME, /* the same value again */
    ACT_DELETE,
    ACT_TOUCH,
    ACT_EXPIRE_NOW,
    ACT_COUNT,
};

/* A client's write: applied to the donor first, to the target later. */
struct write {
    enum act act;
    uint64_t at[2]; /* before which command of the copy: donor, target */
    uint32_t version;
    bool is_applied[2];
};

struct story {
    struct write writes[2];
};

static void apply(struct rig *rig, uint32_t node, const struct write *write)
{
    struct slice key = key_of(0);
    switch (write->act) {
    case ACT_SET:
        rig_store(rig, node, key, value_of(0, write->version))->flags = write->version;
        break;
    case ACT_SET_SAME:
        rig_store(rig, node, key, value_of(0, 0))->flags = 0;
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

static void apply_due(struct rig *rig, void *argument)
{
    struct story *story = argument;
    for (uint32_t w = 0; w < 2; w++) {
        struct write *write = &story->writes[w];
        for (uint32_t side = 0; side < 2; side++) {
            if (!write->is_applied[side] && write->at[side] <= rig->copied) {
                apply(rig, side == 0 ? RIG_DONOR : RIG_TARGET, write);
                write->is_applied[side] = true;
            }
        }
    }
}

static void tell(struct rig *rig, struct story *story)
{
    struct slice key = key_of(0);
    rig->before = apply_due;
    rig->argument = story;
    rig->copied = 0;
    (void)rig_store(rig, RIG_DONOR, key, value_of(0, 0));
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    /* A view that makes the target complete waits for chained writes. */
    rig->copied = UINT64_MAX;
    apply_due(rig, story);
    const char *difference = rig_difference(rig, RIG_DONOR, RIG_TARGET, key);
    ck_assert_msg(
        difference == NULL, "%s: writes %d at %" PRIu64 " %" PRIu64 ", %d at %" PRIu64 " %" PRIu64,
        difference, (int)story->writes[0].act, story->writes[0].at[0], story->writes[0].at[1],
        (int)story->writes[1].act, story->writes[1].at[0], story->writes[1].at[1]);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_skipped, 0);
    rig_delete(rig, RIG_DONOR, key);
    rig_delete(rig, RIG_TARGET, key);
}

/* Tell the story of one or two writes for all points from FROM on at which the second can fall. */
static void tell_all(struct rig *rig, struct story story, uint64_t from)
{
    uint64_t last = story.writes[1].act == ACT_NONE ? from : HOT_STEPS;
    for (uint64_t donor = from; donor <= last; donor++) {
        for (uint64_t target = donor; target <= last; target++) {
            struct story told = story;
            told.writes[1].at[0] = donor;
            told.writes[1].at[1] = target;
            tell(rig, &told);
        }
    }
}

/* Two writes, one after the other, at all points of the copy. */
START_TEST(keeps_chained_writes_in_all_interleavings)
{
    struct fill_options options = rig_options();
    struct rig *rig = rig_create(&options);
    struct story story = {.writes = {
                              {.act = (enum act)(ACT_NONE + 1 + _i / ACT_COUNT), .version = 1},
                              {.act = (enum act)(_i % ACT_COUNT), .version = 2},
                          }};
    for (uint64_t donor = 0; donor <= HOT_STEPS; donor++) {
        for (uint64_t target = donor; target <= HOT_STEPS; target++) {
            story.writes[0].at[0] = donor;
            story.writes[0].at[1] = target;
            tell_all(rig, story, target);
        }
    }
    rig_destroy(rig);
}
END_TEST

/*
 * What becomes of an item that can't be copied (too large for the target, or marked), and of a
 * write that replaces it meanwhile: clearing the target must not cost that write.
 */
START_TEST(clears_without_loss)
{
    struct fill_options options = rig_options();
    static char large[100];
    struct slice key = key_of(0);
    struct rig *rig = rig_create(&options);
    rig->nodes[RIG_TARGET].store_bytes_max = sizeof large - 1;
    for (uint64_t donor = 0; donor <= HOT_STEPS; donor++) {
        for (uint64_t target = donor; target <= HOT_STEPS; target++) {
            struct story story = {
                .writes = {{.act = ACT_SET, .at = {donor, target}, .version = 1}},
            };
            struct rig_item *item = rig_store(rig, RIG_DONOR, key, slice_of(large, sizeof large));
            item->is_stale = _i == 1;
            rig->before = apply_due;
            rig->argument = &story;
            rig->copied = 0;
            rig_start(rig);
            rig_run(rig);
            assert_done(rig);
            rig->copied = UINT64_MAX;
            apply_due(rig, &story);
            ck_assert_ptr_null(rig_difference(rig, RIG_DONOR, RIG_TARGET, key));
            rig_delete(rig, RIG_TARGET, key);
        }
    }
    rig_destroy(rig);
}
END_TEST

/* The donor loses the key (eviction); nothing is chained. */
START_TEST(undoes_what_the_donor_lost)
{
    struct fill_options options = rig_options();
    for (uint64_t at = 0; at <= 2; at++) {
        struct rig *rig = rig_create(&options);
        struct story story = {.writes = {{.act = ACT_DELETE, .at = {at, UINT64_MAX}}}};
        tell(rig, &story);
        rig_destroy(rig);
    }
}
END_TEST

static void always_changing(struct rig *rig, void *argument)
{
    (void)argument;
    (void)rig_store(rig, RIG_DONOR, key_of(0), value_of(0, (uint32_t)rig->copied));
}

/* A key that never holds still, and whose chained writes are late: no copy of ours stays. */
START_TEST(gives_up_on_a_key_that_never_holds_still)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    rig->before = always_changing;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    ck_assert_uint_eq(p.items_skipped, 1);
    ck_assert_uint_eq(p.items_done, KEYS);
    ck_assert_ptr_null(rig_find(rig, RIG_TARGET, key_of(0)));
    rig_destroy(rig);
}
END_TEST

static bool is_line(const struct rig *rig, const char *verb, struct slice key, const char *flags)
{
    char line[64];
    (void)snprintf(line, sizeof line, "%s %.*s%s", verb, (int)key.len, key.ptr, flags);
    return slice_has_prefix(rig->line, slice_of_string(line));
}

/* Two writes in each try, one on each side of our copy; the second reaches the target just before
 * the undo. */
static void always_overtaking(struct rig *rig, void *argument)
{
    uint32_t *version = argument;
    struct slice key = key_of(0);
    if (is_line(rig, "mg", key, " v")) {
        rig_delete(rig, RIG_TARGET, key);
        (void)rig_store(rig, RIG_DONOR, key, value_of(0, ++*version));
    } else if (is_line(rig, "mg", key, " c")) {
        (void)rig_store(rig, RIG_DONOR, key, value_of(0, ++*version));
    } else if (is_line(rig, "md", key, "")) {
        (void)rig_store(rig, RIG_TARGET, key, value_of(0, *version));
    }
}

/* The last undo of all leaves what a chained write has put in our copy's place. */
START_TEST(undoes_only_its_own)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, 1);
    uint32_t version = 0;
    rig->before = always_overtaking;
    rig->argument = &version;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_skipped, 1);
    ck_assert_ptr_null(rig_difference(rig, RIG_DONOR, RIG_TARGET, key_of(0)));
    rig_destroy(rig);
}
END_TEST

static void name_what_is_replaced(struct rig *rig, void *argument)
{
    if (is_line(rig, "ms", key_of(0), "")) {
        struct rig_item *item = rig_find(rig, RIG_TARGET, key_of(0));
        char flag[32];
        int len = snprintf(flag, sizeof flag, " C%" PRIu64 " ", item->cas);
        *(uint32_t *)argument += memmem(rig->line.ptr, rig->line.len, flag, (size_t)len) != NULL;
    }
}

/* The target holds something else, that no chained write will replace: the donor's wins. */
START_TEST(replaces_what_differs)
{
    struct fill_options options = rig_options();
    for (uint32_t what = 0; what < 4; what++) {
        struct rig *rig = loaded(&options, 1);
        rig->chunk = 1;
        rig_start(rig);
        while (fill_state(rig->fill) != FILL_COPYING) {
            rig_turn(rig);
        }
        struct rig_item *item = rig_store(rig, RIG_TARGET, key_of(0), value_of(0, what == 0));
        item->flags = what == 1;
        rig_expire(rig, RIG_TARGET, key_of(0), what == 2 ? 50 : 0);
        uint32_t named = 0;
        rig->before = name_what_is_replaced;
        rig->argument = &named;
        rig_run(rig);
        ck_assert_uint_eq(named, what < 3);
        assert_done(rig);
        rig_assert_copied(rig);
        ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_copied, what < 3);
        rig_destroy(rig);
    }
}
END_TEST

/* --- Many keys, random clients --- */

struct crowd {
    struct prng prng;
    struct write pending[8]; /* chained, on the donor and not yet on the target; version: the key */
    uint32_t count;
};

static void crowd_apply(struct rig *rig, uint32_t node, const struct write *write)
{
    struct slice key = key_of(write->version);
    switch (write->act) {
    case ACT_DELETE:
        rig_delete(rig, node, key);
        break;
    case ACT_TOUCH:
        rig_expire(rig, node, key, 100000);
        break;
    case ACT_SET:
    case ACT_SET_SAME:
    case ACT_EXPIRE_NOW:
    case ACT_NONE:
    case ACT_COUNT:
        (void)rig_store(rig, node, key, value_of(write->version, (uint32_t)write->at[0]));
        break;
    }
}

static void crowd_settle(struct rig *rig, struct crowd *crowd, uint32_t which)
{
    crowd_apply(rig, RIG_TARGET, &crowd->pending[which]);
    crowd->count--;
    crowd->pending[which] = crowd->pending[crowd->count];
}

static void crowd_act(struct rig *rig, void *argument)
{
    struct crowd *crowd = argument;
    if (crowd->count > 0 && prng_below(&crowd->prng, 2) == 0) {
        crowd_settle(rig, crowd, (uint32_t)prng_below(&crowd->prng, crowd->count));
    }
    struct write write = {
        .act = (enum act)prng_below(&crowd->prng, ACT_COUNT),
        .at = {rig->copied, 0},
        .version = (uint32_t)prng_below(&crowd->prng, KEYS),
    };
    if (crowd->count == 8 || prng_below(&crowd->prng, 3) != 0) {
        return;
    }
    for (uint32_t i = 0; i < crowd->count; i++) {
        if (crowd->pending[i].version == write.version) {
            return; /* a later write to a key waits for the one in flight */
        }
    }
    crowd_apply(rig, RIG_DONOR, &write);
    crowd->pending[crowd->count++] = write;
}

START_TEST(ends_equal_among_random_clients)
{
    struct fill_options options = rig_options();
    options.list_bytes = 4096;
    options.window = 1 + (uint32_t)_i % 20;
    struct rig *rig = loaded(&options, KEYS);
    struct crowd crowd = {.prng = {.state = (uint64_t)_i}};
    rig->prng.state = (uint64_t)_i + 1000;
    rig->is_shuffled = true;
    rig->chunk = 0;
    rig->before = crowd_act;
    rig->argument = &crowd;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    while (crowd.count > 0) {
        crowd_settle(rig, &crowd, 0);
    }
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_skipped, 0);
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

/* --- Dumps --- */

START_TEST(dumps_again_what_is_no_dump)
{
    static const struct slice texts[] = {
        SLICE_INIT("BUSY currently processing crawler request\r\n"),
        SLICE_INIT("ERROR locked try again later\r\n"),
        SLICE_INIT("key=key:1 exp=-1 la=1 cas=1\nEND\r\n"),
        SLICE_INIT("key=key:1 exp=-1 la=1 cas=1 fetch=no cls=1 size=9\nBUSY\r\n"),
        SLICE_INIT("key=gone exp=-1 la=1 cas=1 fetch=no cls=1 size=9\nnonsense\n"),
        SLICE_INIT("\n"),
    };
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    rig->nodes[RIG_DONOR].dump_instead = texts[_i];
    rig->nodes[RIG_DONOR].dump_instead_count = 3;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    ck_assert_uint_eq(rig->nodes[RIG_DONOR].dumps, 4);
    ck_assert_uint_eq(fill_progress(rig->fill, rig->now_us).items_done, KEYS);
    rig_destroy(rig);
}
END_TEST

START_TEST(fails_when_dumps_never_come)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    rig->nodes[RIG_DONOR].dump_instead = SLICE("BUSY\r\n");
    rig->nodes[RIG_DONOR].dump_instead_count = UINT32_MAX;
    rig_start(rig);
    rig_run(rig);
    assert_failed(rig, "dump: no complete dump after many tries");
    ck_assert_uint_eq(rig_count(rig, RIG_TARGET), 0);
    rig_destroy(rig);
}
END_TEST

/* Asking again is of no use, and the operator is told why. */
START_TEST(says_that_the_donor_gives_no_dump)
{
    static const struct slice refusals[] = {
        SLICE_INIT("ERROR metadump not allowed\r\n"),
        SLICE_INIT("CLIENT_ERROR lru crawler disabled\r\n"),
    };
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, 10);
    rig->nodes[RIG_DONOR].dump_instead = refusals[_i];
    rig->nodes[RIG_DONOR].dump_instead_count = UINT32_MAX;
    rig_start(rig);
    rig_run(rig);
    ck_assert_int_eq(fill_state(rig->fill), FILL_FAILED);
    ck_assert_str_eq(fill_failure(rig->fill),
                     "dump: refused (memcached's option -X, or no_lru_crawler)");
    ck_assert_uint_eq(rig->nodes[RIG_DONOR].dumps, 1);
    /* The target was emptied, and control knows which run that is. */
    ck_assert(fill_is_refused(rig->fill) && !fill_wants_flush(rig->fill));
    struct identity filled = fill_identity(rig->fill);
    ck_assert(identity_is_known(&filled));
    rig_destroy(rig);
}
END_TEST

START_TEST(refuses_endless_dump_lines)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, KEYS);
    static char line[10000];
    memset(line, 'k', sizeof line);
    rig->chunk = (size_t)_i;
    rig->nodes[RIG_DONOR].dump_instead = slice_of(line, sizeof line);
    rig->nodes[RIG_DONOR].dump_instead_count = 1;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

START_TEST(goes_over_long_dumps_in_passes)
{
    enum { MANY = 3000 };
    struct fill_options options = rig_options();
    options.list_bytes = 4096;
    struct rig *rig = loaded(&options, MANY);
    /* In the middle of a pass a dump fails. */
    rig_start(rig);
    while (rig->nodes[RIG_DONOR].dumps < 3) {
        rig_turn(rig);
    }
    rig->nodes[RIG_DONOR].dump_instead = SLICE("key=");
    rig->nodes[RIG_DONOR].dump_instead_count = 0;
    rig_cut(rig, FILL_WIRE_DUMP);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    ck_assert_uint_eq(p.items_done, MANY); /* each key once */
    ck_assert_uint_eq(p.items_total, MANY);
    ck_assert_uint_ge(rig->nodes[RIG_DONOR].dumps, MANY * 8 / 4096);
    ck_assert_uint_le(rig->nodes[RIG_DONOR].dumps, 32);
    rig_destroy(rig);
}
END_TEST

/* --- What goes wrong --- */

static const struct slice nonsense[] = {
    SLICE_INIT("\r\n"),
    SLICE_INIT("\n"),
    SLICE_INIT("MN\r\n"),
    SLICE_INIT("OK\r\n"),
    SLICE_INIT("END\r\n"),
    SLICE_INIT("STAT pid 1\r\n"),
    SLICE_INIT("ERROR\r\n"),
    SLICE_INIT("CLIENT_ERROR bad command line format\r\n"),
    SLICE_INIT("SERVER_ERROR out of memory\r\n"),
    SLICE_INIT("HD\r\n"),
    SLICE_INIT("HD c0 t-1\r\n"),
    SLICE_INIT("HD c5\r\n"),
    SLICE_INIT("HD c5 t-1 W\r\n"),
    SLICE_INIT("EN\r\n"),
    SLICE_INIT("NS c0\r\n"),
    SLICE_INIT("EX c0\r\n"),
    SLICE_INIT("NF c0\r\n"),
    SLICE_INIT("VA 3 f0 t-1 c1\r\nabcde\r\n"),
    SLICE_INIT("VA 3 f0 t-1 c1\r\nabc\r\r\n"),
    SLICE_INIT("VA 3\r\nabc\r\n"),
    SLICE_INIT("VA 3 f0 t-1 c0\r\nabc\r\n"),
    SLICE_INIT("VA 3 f0 t99999999999 c7\r\nabc\r\n"),
    SLICE_INIT("VA 0 f0 t-1 c7\r\n\r\n"),
    SLICE_INIT("VA 1073741825 f0 t-1 c7\r\n"),
    SLICE_INIT("VA 1073741824 f0 t-1 c7\r\n"),
    SLICE_INIT("VA 99999999999999999999999 f0 t-1 c7\r\n"),
    SLICE_INIT("VA -1 f0 t-1 c7\r\n"),
    SLICE_INIT("VALUE key:0 0 3\r\nabc\r\nEND\r\n"),
    SLICE_INIT("HD c9 t-1\r\nHD c10 t-1\r\nHD c11 t-1\r\n"),
    SLICE_INIT("EN\r\nEN\r\nEN\r\nEN\r\nEN\r\nEN\r\nEN\r\nEN\r\n"),
    SLICE_INIT("\0\0\0\0\r\n"),
    SLICE_INIT(""),
};

/* Whatever a node says instead of any one reply: the fill ends, one way or the other. */
START_TEST(survives_nonsense)
{
    struct fill_options options = rig_options();
    for (uint64_t at = 0;; at++) {
        struct rig *rig = loaded(&options, HOSTILE_KEYS);
        rig->is_tampering = true;
        rig->tamper_at = at;
        rig->tamper_with = nonsense[_i];
        rig->chunk = at % 2 == 0 ? 1 : 1000;
        rig_start(rig);
        rig_run(rig);
        bool was_reached = rig->executed > at;
        if (fill_state(rig->fill) == FILL_FAILED) {
            ck_assert_uint_gt(strlen(fill_failure(rig->fill)), 8);
        }
        rig_destroy(rig);
        if (!was_reached) {
            ck_assert_uint_gt(at, 3 * HOSTILE_KEYS);
            break;
        }
    }
}
END_TEST

START_TEST(fails_on_a_line_without_end)
{
    static char line[5000];
    memset(line, 'x', sizeof line);
    struct fill_options options = rig_options();
    for (uint64_t at = 0; at < 12; at++) {
        struct rig *rig = loaded(&options, HOSTILE_KEYS);
        rig->is_tampering = true;
        rig->tamper_at = at;
        rig->tamper_with = slice_of(line, sizeof line);
        rig->chunk = (size_t)_i;
        rig_start(rig);
        rig_run(rig);
        ck_assert(fill_state(rig->fill) == FILL_FAILED || rig->nodes[RIG_DONOR].dumps > 0);
        rig_destroy(rig);
    }
}
END_TEST

/* A node that answers before it was asked, in each state. */
START_TEST(fails_on_replies_that_nobody_asked_for)
{
    static const struct slice texts[] = {
        SLICE_INIT("HD c5 t-1\r\n"),
        SLICE_INIT("EN\r\nEN\r\nEN\r\nEN\r\n"),
        SLICE_INIT("VA 5 f0 t-1 c3\r\n12345\r\n"),
        SLICE_INIT("NS\r\nNS\r\nNS\r\nNS\r\n"),
    };
    enum { TEXTS = sizeof texts / sizeof texts[0] };
    struct fill_options options = rig_options();
    for (uint32_t turns = 0; turns < 200; turns += 2) {
        struct rig *rig = loaded(&options, HOSTILE_KEYS);
        rig->chunk = 20;
        rig_start(rig);
        for (uint32_t i = 0; i < turns && !rig_is_over(rig); i++) {
            rig_turn(rig);
        }
        rig_say(rig, (enum fill_wire)(_i % 2), texts[_i / 2 % TEXTS]);
        rig_run(rig);
        rig_destroy(rig);
    }
}
END_TEST

START_TEST(fails_when_a_wire_closes)
{
    enum fill_wire wire = (enum fill_wire)_i;
    struct fill_options options = rig_options();
    bool was_over = false;
    for (uint32_t turns = 0; !was_over; turns++) {
        struct rig *rig = loaded(&options, 10);
        rig->chunk = 100;
        rig_start(rig);
        for (uint32_t i = 0; i < turns && !rig_is_over(rig); i++) {
            rig_turn(rig);
        }
        was_over = rig_is_over(rig);
        bool was_used = rig->conns[wire].is_open || rig->conns[wire].is_wanted;
        rig_cut(rig, wire);
        rig_run(rig);
        if (was_used && wire != FILL_WIRE_DUMP) {
            assert_failed(rig, wire == FILL_WIRE_TARGET ? "target: connection reset"
                                                        : "donor: connection reset");
        } else {
            assert_done(rig); /* a dump is asked for again */
            rig_assert_copied(rig);
        }
        rig_destroy(rig);
    }
}
END_TEST

START_TEST(fails_when_nodes_fall_silent)
{
    struct fill_options options = rig_options();
    bool was_over = false;
    for (uint32_t turns = 0; !was_over; turns++) {
        struct rig *rig = loaded(&options, 10);
        rig->chunk = 200;
        rig_start(rig);
        for (uint32_t i = 0; i < turns && !rig_is_over(rig); i++) {
            rig_turn(rig);
        }
        was_over = rig_is_over(rig);
        rig->is_mute = true;
        uint64_t from_us = rig->now_us;
        rig_run(rig);
        if (fill_state(rig->fill) == FILL_FAILED) {
            ck_assert_ptr_nonnull(strstr(fill_failure(rig->fill), "timed out"));
            ck_assert_uint_ge(rig->now_us - from_us, options.timeout_us);
            ck_assert_uint_le(rig->now_us - from_us, options.timeout_us + 200000);
        }
        rig_destroy(rig);
    }
}
END_TEST

START_TEST(starts_again_after_a_stop)
{
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, 20);
    rig->chunk = 50;
    for (uint32_t turns = 0; turns < 400; turns++) {
        rig_start(rig);
        for (uint32_t i = 0; i < turns && !rig_is_over(rig); i++) {
            rig_turn(rig);
        }
        fill_stop(rig->fill, rig->now_us);
        rig_act(rig);
        ck_assert_int_eq(fill_state(rig->fill), FILL_IDLE);
        while (fill_given_up(rig->fill) != 0) {
            rig_turn(rig);
        }
    }
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

/* What a connection that was reset carried may still be done, so the next fill waits. */
START_TEST(waits_where_an_old_connection_was_reset)
{
    enum { PROOF_US = 1500000 };
    struct fill_options options = rig_options();
    struct rig *rig = loaded(&options, 20);
    struct fill_plan plan = {
        .target = RIG_TARGET, .topology = &rig->topology, .proof_us = PROOF_US};
    fill_start(rig->fill, &plan, rig->now_us);
    while (fill_state(rig->fill) != FILL_COPYING) {
        rig_turn(rig);
    }
    uint64_t reset_us = rig->now_us;
    uint64_t flushes = rig->nodes[RIG_TARGET].flushes;
    rig_cut(rig, FILL_WIRE_TARGET);
    rig_act(rig);
    ck_assert_uint_eq(fill_unproven(rig->fill, rig->now_us), node_set_of(RIG_TARGET));
    fill_start(rig->fill, &plan, rig->now_us);
    while (rig->nodes[RIG_TARGET].flushes == flushes) {
        rig_turn(rig);
        ck_assert(!rig_is_over(rig));
    }
    ck_assert_uint_ge(rig->now_us - reset_us, PROOF_US);
    ck_assert_uint_eq(fill_unproven(rig->fill, rig->now_us), 0);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

START_TEST(fails_when_the_target_is_another_run)
{
    struct fill_options options = rig_options();
    for (uint32_t turns = 1; turns < 60; turns++) {
        struct rig *rig = loaded(&options, 10);
        rig_start(rig);
        while (fill_state(rig->fill) != (_i % 2 == 0 ? FILL_COPYING : FILL_FLUSHING)) {
            rig_turn(rig);
        }
        for (uint32_t i = 0; i < turns && fill_state(rig->fill) != FILL_CHECKING; i++) {
            rig_turn(rig);
        }
        rig->nodes[RIG_TARGET].pid += _i < 2;
        rig->nodes[RIG_TARGET].flushes += _i >= 2;
        rig_run(rig);
        if (_i != 3 || fill_state(rig->fill) == FILL_FAILED) { /* a flush before ours is none */
            assert_failed(rig, "target: flushed or restarted during the fill");
        }
        rig_destroy(rig);
    }
}
END_TEST

START_TEST(fails_without_cas)
{
    struct fill_options options = rig_options();
    struct rig *rig = rig_create(&options);
    rig->nodes[RIG_DONOR].has_no_cas = true;
    load(rig, RIG_DONOR, KEYS);
    rig_start(rig);
    rig_run(rig);
    assert_failed(rig, "donor: has no CAS (option -C): changes can't be seen");
    rig_destroy(rig);
}
END_TEST

/* --- Pace --- */

/* Of bytes, of keys, of both. */
START_TEST(keeps_the_rate)
{
    enum { MANY = 4000, VALUE_BYTES = 500, RATE_BYTES = 500000, RATE_KEYS = 1500 };
    struct fill_options options = rig_options();
    options.rate_bytes = _i == 1 ? 0 : RATE_BYTES;
    options.rate_keys = _i == 0 ? 0 : _i == 1 ? RATE_KEYS : 10 * RATE_KEYS;
    struct rig *rig = rig_create(&options);
    rig->tick_us = 10000;
    static char value[VALUE_BYTES];
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < MANY; i++) {
        (void)rig_store(rig, RIG_DONOR, key_of(i), slice_of(value, sizeof value));
        bytes += key_of(i).len + VALUE_BYTES;
    }
    rig_start(rig);
    while (fill_state(rig->fill) != FILL_COPYING) {
        rig_turn(rig);
    }
    uint64_t from_us = rig->now_us;
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    uint64_t took_us = rig->now_us - from_us;
    uint64_t rate = (_i == 1 ? MANY : bytes) * 1000000 / took_us;
    uint64_t wanted = _i == 1 ? RATE_KEYS : RATE_BYTES; /* the narrower of two, where there are */
    ck_assert_uint_le(rate, wanted * 105 / 100);
    ck_assert_uint_ge(rate, wanted * 95 / 100);
    rig_destroy(rig);
}
END_TEST

static void measure(struct rig *rig, void *argument)
{
    const struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    uint32_t sent = 0;
    for (size_t at = 0; at + 3 <= rig->conns[FILL_WIRE_DONOR].in.len; at++) {
        sent += memcmp(rig->conns[FILL_WIRE_DONOR].in.ptr + at, "mg ", 3) == 0;
    }
    if (p.items_done > 3000) {
        rig->in_flight_max = rig->in_flight_max > sent ? rig->in_flight_max : sent;
    } else if (p.items_done == 1500) {
        rig->answer_us = *(const uint64_t *)argument;
    }
}

/* When the donor gets slow, less is asked of it at a time; but never nothing. */
START_TEST(yields_to_a_busy_donor)
{
    enum { MANY = 4000 };
    struct fill_options options = rig_options();
    options.window = 256;
    uint32_t in_flight[2];
    const uint64_t answers_us[2] = {1, 400};
    for (uint32_t i = 0; i < 2; i++) {
        struct rig *rig = loaded(&options, MANY);
        uint64_t answer_us = answers_us[i];
        rig->before = measure;
        rig->argument = &answer_us;
        rig->answer_us = 1;
        rig_start(rig);
        rig_run(rig);
        assert_done(rig);
        rig_assert_copied(rig);
        in_flight[i] = rig->in_flight_max;
        rig_destroy(rig);
    }
    ck_assert_uint_gt(in_flight[0], 100);
    ck_assert_uint_lt(in_flight[1], 20);
}
END_TEST

static void narrow(struct rig *rig, void *argument)
{
    const struct fill_progress p = fill_progress(rig->fill, rig->now_us);
    (void)argument;
    if (p.items_done == 1500) {
        const struct fill_limits limits = {.window = 5, .timeout_us = 3000000};
        fill_set_limits(rig->fill, &limits);
    }
    measure(rig, &rig->answer_us);
}

/* A fill that is under way goes on with another window, up or down. */
START_TEST(its_window_may_change)
{
    struct fill_options options = rig_options();
    options.window = 256;
    struct rig *rig = loaded(&options, 4000);
    rig->before = narrow;
    rig->answer_us = 1;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    ck_assert_uint_le(rig->in_flight_max, 5);
    ck_assert_uint_ge(rig->in_flight_max, 1);
    const struct fill_limits limits = {.window = FILL_WINDOW_MAX, .timeout_us = 3000000};
    fill_set_limits(rig->fill, &limits);
    rig->in_flight_max = 0;
    rig->before = measure;
    rig->argument = &rig->answer_us;
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_destroy(rig);
}
END_TEST

/* --- Options --- */

START_TEST(works_at_its_limits)
{
    struct fill_options options = {
        .item_bytes_max = 100,
        .window = _i == 0 ? 1 : FILL_WINDOW_MAX,
        .list_bytes = 4096,
        .table_bytes = 8192,
        .timeout_us = 3000000,
    };
    struct rig *rig = loaded(&options, 2000);
    rig_start(rig);
    rig_run(rig);
    assert_done(rig);
    rig_assert_copied(rig);
    rig_destroy(rig);
}
END_TEST

static void add_tests(TCase *tcase)
{
    tcase_add_test(tcase, copies_all);
    tcase_add_test(tcase, copies_tokens);
    tcase_add_test(tcase, copies_nothing_without_donors);
    tcase_add_test(tcase, copies_from_leaders);
    tcase_add_test(tcase, keeps_keys_of_any_bytes);
    tcase_add_test(tcase, keeps_expiry_across_clocks);
    tcase_add_test(tcase, copies_values_of_any_size);
    tcase_add_loop_test(tcase, shares_its_memory_among_values, 0, 10);
    tcase_add_test(tcase, skips_what_the_target_refuses);
    tcase_add_loop_test(tcase, never_copies_marked_items, 0, 2);
    tcase_add_loop_test(tcase, takes_replies_cut_anywhere, 1, 40);
    tcase_add_loop_test(tcase, keeps_chained_writes_in_all_interleavings, 0,
                        (ACT_COUNT - 1) * ACT_COUNT);
    tcase_add_loop_test(tcase, clears_without_loss, 0, 2);
    tcase_add_test(tcase, undoes_only_its_own);
    tcase_add_test(tcase, undoes_what_the_donor_lost);
    tcase_add_test(tcase, gives_up_on_a_key_that_never_holds_still);
    tcase_add_test(tcase, replaces_what_differs);
    tcase_add_loop_test(tcase, ends_equal_among_random_clients, 0, SEEDS);
    tcase_add_loop_test(tcase, dumps_again_what_is_no_dump, 0, 6);
    tcase_add_test(tcase, fails_when_dumps_never_come);
    tcase_add_loop_test(tcase, says_that_the_donor_gives_no_dump, 0, 2);
    tcase_add_loop_test(tcase, refuses_endless_dump_lines, 1, 3);
    tcase_add_test(tcase, goes_over_long_dumps_in_passes);
    tcase_add_loop_test(tcase, survives_nonsense, 0, sizeof nonsense / sizeof nonsense[0]);
    tcase_add_loop_test(tcase, fails_on_a_line_without_end, 1, 3);
    tcase_add_loop_test(tcase, fails_on_replies_that_nobody_asked_for, 0, 8);
    tcase_add_loop_test(tcase, fails_when_a_wire_closes, 0, FILL_WIRE_COUNT);
    tcase_add_test(tcase, fails_when_nodes_fall_silent);
    tcase_add_test(tcase, starts_again_after_a_stop);
    tcase_add_test(tcase, waits_where_an_old_connection_was_reset);
    tcase_add_loop_test(tcase, fails_when_the_target_is_another_run, 0, 4);
    tcase_add_test(tcase, fails_without_cas);
    tcase_add_loop_test(tcase, keeps_the_rate, 0, 3);
    tcase_add_test(tcase, yields_to_a_busy_donor);
    tcase_add_test(tcase, its_window_may_change);
    tcase_add_loop_test(tcase, works_at_its_limits, 0, 2);
}

int main(void)
{
    Suite *suite = suite_create("core/fill");
    TCase *tcase = tcase_create("fill");
    tcase_set_timeout(tcase, 60);
    add_tests(tcase);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
