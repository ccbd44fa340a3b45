/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers and words: every border of their ranges, and each input against an unreadable page. */
#include "everwarm/mc/encode.h"

#include "guarded.h"

#include <check.h>
#include <stdlib.h>

enum {
    INPUT_BYTES_MAX = 4096,
};

struct unsigned_case {
    struct slice text;
    bool is_good;
    uint64_t value;
};

static const struct unsigned_case unsigned_cases[] = {
    {SLICE_INIT("0"), true, 0},
    {SLICE_INIT("7"), true, 7},
    {SLICE_INIT("00000000000000000000"), true, 0},
    {SLICE_INIT("00000000000000000042"), true, 42},
    {SLICE_INIT("2147483647"), true, 2147483647},
    {SLICE_INIT("2147483648"), true, 2147483648},
    {SLICE_INIT("4294967295"), true, 4294967295},
    {SLICE_INIT("4294967296"), true, 4294967296},
    {SLICE_INIT("9223372036854775807"), true, INT64_MAX},
    {SLICE_INIT("9223372036854775808"), true, UINT64_C(9223372036854775808)},
    {SLICE_INIT("9999999999999999999"), true, UINT64_C(9999999999999999999)},
    {SLICE_INIT("18446744073709551609"), true, UINT64_MAX - 6},
    {SLICE_INIT("18446744073709551615"), true, UINT64_MAX},
    {SLICE_INIT("18446744073709551616"), false, 0},
    {SLICE_INIT("18446744073709551620"), false, 0},
    {SLICE_INIT("20000000000000000000"), false, 0},
    {SLICE_INIT("99999999999999999999"), false, 0},
    {SLICE_INIT("000000000000000000000"), false, 0},
    {SLICE_INIT("100000000000000000000"), false, 0},
    {SLICE_INIT(""), false, 0},
    {SLICE_INIT("-1"), false, 0},
    {SLICE_INIT("+1"), false, 0},
    {SLICE_INIT(" 1"), false, 0},
    {SLICE_INIT("1 "), false, 0},
    {SLICE_INIT("1\0"), false, 0},
    {SLICE_INIT("0x1"), false, 0},
    {SLICE_INIT("1a"), false, 0},
    {SLICE_INIT("1/"), false, 0},
    {SLICE_INIT("1:"), false, 0},
    {SLICE_INIT("\xb1"), false, 0},
};

START_TEST(reads_unsigned)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    const struct unsigned_case *c = &unsigned_cases[_i];
    uint64_t value = 12345;
    ck_assert_int_eq(mc_read_u64(guarded_place(&g, c->text), &value), c->is_good);
    ck_assert_uint_eq(value, c->is_good ? c->value : 12345);
    guarded_destroy(&g);
}
END_TEST

struct signed_case {
    struct slice text;
    bool is_good;
    int64_t value;
};

static const struct signed_case signed_cases[] = {
    {SLICE_INIT("0"), true, 0},
    {SLICE_INIT("-0"), true, 0},
    {SLICE_INIT("-1"), true, -1},
    {SLICE_INIT("9223372036854775807"), true, INT64_MAX},
    {SLICE_INIT("9223372036854775808"), false, 0},
    {SLICE_INIT("-9223372036854775807"), true, -INT64_MAX},
    {SLICE_INIT("-9223372036854775808"), true, INT64_MIN},
    {SLICE_INIT("-9223372036854775809"), false, 0},
    {SLICE_INIT("-18446744073709551615"), false, 0},
    {SLICE_INIT("-18446744073709551616"), false, 0},
    {SLICE_INIT("-"), false, 0},
    {SLICE_INIT("--1"), false, 0},
    {SLICE_INIT("-+1"), false, 0},
    {SLICE_INIT("+1"), false, 0},
    {SLICE_INIT(""), false, 0},
    {SLICE_INIT("1-"), false, 0},
};

START_TEST(reads_signed)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    const struct signed_case *c = &signed_cases[_i];
    int64_t value = 12345;
    ck_assert_int_eq(mc_read_i64(guarded_place(&g, c->text), &value), c->is_good);
    ck_assert_int_eq(value, c->is_good ? c->value : 12345);
    guarded_destroy(&g);
}
END_TEST

START_TEST(reads_hex)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    uint64_t value = 12345;
    ck_assert(mc_read_hex64(guarded_place(&g, SLICE("0123456789abcdef")), &value));
    ck_assert_uint_eq(value, UINT64_C(0x0123456789abcdef));
    ck_assert(mc_read_hex64(guarded_place(&g, SLICE("FFFFFFFFFFFFFFFF")), &value));
    ck_assert_uint_eq(value, UINT64_MAX);
    static const struct slice wrong[] = {
        SLICE_INIT(""),
        SLICE_INIT("0123456789abcde"),
        SLICE_INIT("0123456789abcdef0"),
        SLICE_INIT("0123456789abcdeg"),
        SLICE_INIT("0x23456789abcdef"),
        SLICE_INIT("0123456789abcde "),
        SLICE_INIT("`123456789abcdef"),
        SLICE_INIT("@123456789abcdef"),
        SLICE_INIT("-123456789abcdef"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert(!mc_read_hex64(guarded_place(&g, wrong[i]), &value));
        ck_assert_uint_eq(value, UINT64_MAX);
    }
    guarded_destroy(&g);
}
END_TEST

START_TEST(writes_what_it_reads)
{
    /* Each power of two and of ten, and their neighbours. */
    uint64_t bases[64 + 20];
    size_t count = 0;
    for (uint32_t bit = 0; bit < 64; bit++, count++) {
        bases[count] = UINT64_C(1) << bit;
    }
    for (uint64_t ten = 1; count < 64 + 20; count++, ten *= 10) {
        bases[count] = ten;
    }
    for (size_t i = 0; i < 3 * count; i++) {
        uint64_t value = bases[i / 3] + i % 3 - 1;
        char text[64];
        uint64_t back;
        int64_t back_signed;
        struct mc_writer w = mc_writer_of(text, sizeof text);
        mc_write_u64(&w, value);
        ck_assert(mc_read_u64(slice_of(text, w.len), &back));
        ck_assert_uint_eq(back, value);
        w = mc_writer_of(text, sizeof text);
        mc_write_i64(&w, (int64_t)value);
        ck_assert(mc_read_i64(slice_of(text, w.len), &back_signed));
        ck_assert_int_eq(back_signed, (int64_t)value);
        w = mc_writer_of(text, sizeof text);
        mc_write_hex64(&w, value);
        ck_assert(mc_read_hex64(slice_of(text, w.len), &back));
        ck_assert_uint_eq(back, value);
    }
}
END_TEST

START_TEST(writes_text)
{
    char text[128];
    struct mc_writer w = mc_writer_of(text, sizeof text);
    mc_write_u64(&w, 0);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, UINT64_MAX);
    mc_write(&w, SLICE(" "));
    mc_write_i64(&w, INT64_MIN);
    mc_write(&w, SLICE(" "));
    mc_write_i64(&w, -1);
    mc_write(&w, SLICE(" "));
    mc_write_hex64(&w, 0xab);
    ck_assert(!w.is_full);
    ck_assert(slice_is_equal(slice_of(text, w.len),
                             SLICE("0 18446744073709551615 -9223372036854775808 -1 "
                                   "00000000000000ab")));
}
END_TEST

/* At each capacity below what is needed the writer says so and leaves the rest alone. */
START_TEST(stops_at_its_end)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    struct slice whole = SLICE("ab123cd");
    for (size_t capacity = 0; capacity <= whole.len; capacity++) {
        char *text = g.end - capacity;
        struct mc_writer w = mc_writer_of(text, capacity);
        mc_write(&w, SLICE("ab"));
        mc_write_u64(&w, 123);
        mc_write(&w, SLICE("cd"));
        ck_assert_int_eq(w.is_full, capacity < whole.len);
        ck_assert(slice_has_prefix(whole, slice_of(text, w.len)));
        mc_write(&w, SLICE(""));
        ck_assert_uint_le(w.len, capacity);
    }
    guarded_destroy(&g);
}
END_TEST

START_TEST(takes_words)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    struct slice line = guarded_place(&g, SLICE("  a  bc d  "));
    ck_assert(slice_is_equal(mc_next_word(&line), SLICE("a")));
    ck_assert(slice_is_equal(mc_next_word(&line), SLICE("bc")));
    ck_assert(slice_is_equal(mc_next_word(&line), SLICE("d")));
    ck_assert_uint_eq(mc_next_word(&line).len, 0);
    ck_assert_uint_eq(mc_next_word(&line).len, 0);
    line = guarded_place(&g, SLICE("x"));
    ck_assert(slice_is_equal(mc_next_word(&line), SLICE("x")));
    ck_assert_uint_eq(line.len, 0);
    guarded_destroy(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mc/encode");
    TCase *tcase = tcase_create("encode");
    tcase_add_loop_test(tcase, reads_unsigned, 0,
                        (int)(sizeof unsigned_cases / sizeof unsigned_cases[0]));
    tcase_add_loop_test(tcase, reads_signed, 0,
                        (int)(sizeof signed_cases / sizeof signed_cases[0]));
    tcase_add_test(tcase, reads_hex);
    tcase_add_test(tcase, writes_what_it_reads);
    tcase_add_test(tcase, writes_text);
    tcase_add_test(tcase, stops_at_its_end);
    tcase_add_test(tcase, takes_words);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
