/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines of a dump: memcached's own, and hostile ones. */
#include "everwarm/mc/dump.h"

#include "guarded.h"

#include <check.h>
#include <stdlib.h>

enum {
    INPUT_BYTES_MAX = 4096,
};

struct good_case {
    struct slice line;
    struct slice key;
    int64_t exptime_s;
    uint64_t cas;
    uint64_t size_bytes;
};

static const struct good_case good_cases[] = {
    {SLICE_INIT("key=foo exp=-1 la=1795362097 cas=1 fetch=no cls=1 size=65"), SLICE_INIT("foo"), -1,
     1, 65},
    {SLICE_INIT("key=a%25b%7F%FF exp=1795362197 la=1795362097 cas=2 fetch=yes cls=39 size=1048576"),
     SLICE_INIT("a%b\x7f\xff"), 1795362197, 2, 1048576},
    {SLICE_INIT("key=%00%20%0a%0D exp=0 la=0 cas=0 fetch=no cls=0 size=0"), SLICE_INIT("\0 \n\r"),
     0, 0, 0},
    {SLICE_INIT("key=k exp=-1 la=1 cas=18446744073709551615 fetch=no cls=1 "
                "size=18446744073709551615"),
     SLICE_INIT("k"), -1, UINT64_MAX, UINT64_MAX},
    {SLICE_INIT("key=k exp=-9223372036854775808 la=1 cas=1 fetch=no cls=1 size=1"), SLICE_INIT("k"),
     INT64_MIN, 1, 1},
    {SLICE_INIT("key=k exp=9223372036854775807 la=1 cas=1 fetch=no cls=1 size=1"), SLICE_INIT("k"),
     INT64_MAX, 1, 1},
    {SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=1 flags=0 anything at all"),
     SLICE_INIT("k"), -1, 1, 1},
    {SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=1 "), SLICE_INIT("k"), -1, 1, 1},
    {SLICE_INIT("key=exp=1 exp=-1 la=1 cas=1 fetch=no cls=1 size=1"), SLICE_INIT("exp=1"), -1, 1,
     1},
};

START_TEST(takes_good_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    const struct good_case *c = &good_cases[_i];
    struct mc_dump_item item;
    ck_assert(mc_dump_parse(guarded_place(&g, c->line), &item));
    ck_assert(slice_is_equal(slice_of(item.key, item.key_bytes), c->key));
    ck_assert_int_eq(item.exptime_s, c->exptime_s);
    ck_assert_uint_eq(item.cas, c->cas);
    ck_assert_uint_eq(item.size_bytes, c->size_bytes);
    guarded_destroy(&g);
}
END_TEST

/* No cut line is taken, but behind the first digit of the last field, where nothing tells. */
START_TEST(refuses_cut_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    const struct good_case *c = &good_cases[_i];
    size_t size_at = 0;
    while (memcmp(c->line.ptr + size_at, "size=", 5) != 0) {
        size_at++;
    }
    for (size_t len = 0; len <= size_at + 5; len++) {
        struct mc_dump_item item;
        ck_assert(!mc_dump_parse(guarded_place(&g, slice_of(c->line.ptr, len)), &item));
    }
    guarded_destroy(&g);
}
END_TEST

static const struct slice bad_lines[] = {
    SLICE_INIT(""),
    SLICE_INIT("END"),
    SLICE_INIT("key="),
    SLICE_INIT("key= exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("Key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT(" key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k  exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k la=1 exp=-1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp= la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=- la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=+1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=9223372036854775808 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=-1 la=-1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=-1 la=1 cas=-1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=-1 la=1 cas=18446744073709551616 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=-1 la=1 cas=100000000000000000000 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=maybe cls=1 size=1"),
    SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=no cls=x size=1"),
    SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=1x"),
    SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=18446744073709551616"),
    SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=no cls=1"),
    SLICE_INIT("key=k exp=-1 la=1 cas=1 fetch=no cls=1 size=1\r"),
    SLICE_INIT("key=% exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=k%4 exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=%4g exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=%g4 exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=%-1 exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=a\x01 exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=a\xff exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
    SLICE_INIT("key=a\0b exp=-1 la=1 cas=1 fetch=no cls=1 size=1"),
};

START_TEST(refuses_bad_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    struct mc_dump_item item;
    ck_assert(!mc_dump_parse(guarded_place(&g, bad_lines[_i]), &item));
    guarded_destroy(&g);
}
END_TEST

/* A key of COUNT bytes, each written as UNIT. */
static bool parse_key_of(struct slice unit, uint32_t count, struct mc_dump_item *item)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    char line[INPUT_BYTES_MAX];
    size_t len = 0;
    struct slice parts[] = {SLICE("key="), SLICE(" exp=-1 la=1 cas=1 fetch=no cls=1 size=1")};
    memcpy(line, parts[0].ptr, parts[0].len);
    len += parts[0].len;
    for (uint32_t i = 0; i < count; i++) {
        memcpy(line + len, unit.ptr, unit.len);
        len += unit.len;
    }
    memcpy(line + len, parts[1].ptr, parts[1].len);
    len += parts[1].len;
    bool is_good = mc_dump_parse(guarded_place(&g, slice_of(line, len)), item);
    guarded_destroy(&g);
    return is_good;
}

START_TEST(bounds_keys)
{
    struct mc_dump_item item;
    ck_assert(parse_key_of(SLICE("k"), MC_KEY_BYTES_MAX, &item));
    ck_assert_uint_eq(item.key_bytes, MC_KEY_BYTES_MAX);
    ck_assert(!parse_key_of(SLICE("k"), MC_KEY_BYTES_MAX + 1, &item));
    ck_assert(parse_key_of(SLICE("%C3"), MC_KEY_BYTES_MAX, &item));
    ck_assert_uint_eq(item.key_bytes, MC_KEY_BYTES_MAX);
    ck_assert(!parse_key_of(SLICE("%C3"), MC_KEY_BYTES_MAX + 1, &item));
    ck_assert(!parse_key_of(SLICE("k"), 2000, &item));
}
END_TEST

int main(void)
{
    int good_count = (int)(sizeof good_cases / sizeof good_cases[0]);
    Suite *suite = suite_create("mc/dump");
    TCase *tcase = tcase_create("dump");
    tcase_add_loop_test(tcase, takes_good_lines, 0, good_count);
    tcase_add_loop_test(tcase, refuses_cut_lines, 0, good_count);
    tcase_add_loop_test(tcase, refuses_bad_lines, 0, (int)(sizeof bad_lines / sizeof bad_lines[0]));
    tcase_add_test(tcase, bounds_keys);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
