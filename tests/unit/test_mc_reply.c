/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reply lines: each also as every prefix (always MORE), with the next reply behind it, and with its
 * last byte against an unreadable page.
 */
#include "everwarm/mc/reply.h"

#include "everwarm/base/limits.h"
#include "guarded.h"

#include <check.h>
#include <stdlib.h>

enum {
    INPUT_BYTES_MAX = 8192,
    ITEM_BYTES_MAX = 1048576,
};

#define K50           "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250          K50 K50 K50 K50 K50
#define LINE(literal) .line = SLICE_INIT(literal "\r\n")
#define TEXT(literal) .text = SLICE_INIT(literal)
#define KEY(literal)  .key = SLICE_INIT(literal)

struct good_case {
    struct slice line;
    enum mc_reply_kind kind;
    struct slice key;
    struct slice text;
    uint64_t value_bytes;
    uint32_t flags;
    uint64_t cas;
    int64_t ttl_s;
    uint64_t number;
    uint64_t item_bytes;
    uint64_t idle_s;
    bool was_fetched;
    bool is_key_base64;
    bool has_flags;
    bool has_cas;
    bool has_ttl;
    bool is_won;
    bool is_stale;
    bool is_sent;
};

static const struct good_case good_cases[] = {
    {LINE("VALUE k 0 0"), MC_REPLY_VALUE, KEY("k")},
    {LINE("VALUE k 4294967295 1048576"), MC_REPLY_VALUE, KEY("k"), .flags = UINT32_MAX,
     .value_bytes = ITEM_BYTES_MAX},
    {LINE("VALUE k 1 2 18446744073709551615"), MC_REPLY_VALUE, KEY("k"), .flags = 1,
     .value_bytes = 2, .has_cas = true, .cas = UINT64_MAX},
    {LINE("VALUE " K250 " 1 2"), MC_REPLY_VALUE, KEY(K250), .flags = 1, .value_bytes = 2},
    {LINE("VALUE \xc3\xa4\x01 1 2"), MC_REPLY_VALUE, KEY("\xc3\xa4\x01"), .flags = 1,
     .value_bytes = 2},
    {LINE("END"), MC_REPLY_END},
    {LINE("HD"), MC_REPLY_HD},
    {LINE("HD c8 O9"), MC_REPLY_HD, .has_cas = true, .cas = 8},
    {LINE("HD t-1 f7 c25 s2 kkey O1"), MC_REPLY_HD, KEY("key"), .has_ttl = true, .ttl_s = -1,
     .flags = 7, .item_bytes = 2, .has_cas = true, .cas = 25, .has_flags = true},
    {LINE("HD t0 W X Z"), MC_REPLY_HD, .has_ttl = true, .is_won = true, .is_stale = true,
     .is_sent = true},
    {LINE("HD k" K250 " b"), MC_REPLY_HD, KEY(K250), .is_key_base64 = true},
    {LINE("HD s3 h1 l5 Oxyz e"), MC_REPLY_HD, .item_bytes = 3, .idle_s = 5, .was_fetched = true},
    {LINE("VA 0"), MC_REPLY_VA},
    {LINE("VA 3 X W"), MC_REPLY_VA, .value_bytes = 3, .is_won = true, .is_stale = true},
    {LINE("VA 1048576 t30 f4294967295 c18446744073709551615"), MC_REPLY_VA,
     .value_bytes = ITEM_BYTES_MAX, .has_ttl = true, .ttl_s = 30, .flags = UINT32_MAX,
     .has_cas = true, .cas = UINT64_MAX, .has_flags = true},
    {LINE("EN"), MC_REPLY_EN},
    {LINE("NS"), MC_REPLY_NS},
    {LINE("EX"), MC_REPLY_EX},
    {LINE("NF"), MC_REPLY_NF},
    {LINE("NF kk O1"), MC_REPLY_NF, KEY("k")},
    {LINE("EX O1 kk"), MC_REPLY_EX, KEY("k")},
    {LINE("NS O1"), MC_REPLY_NS},
    {LINE("EN O1"), MC_REPLY_EN},
    {LINE("HD h0 s1048576"), MC_REPLY_HD, .item_bytes = 1048576},
    {LINE("ME k exp=-1 la=0 cas=1 fetch=no cls=1 size=61"), MC_REPLY_ME,
     TEXT("k exp=-1 la=0 cas=1 fetch=no cls=1 size=61")},
    {LINE("MN"), MC_REPLY_MN, TEXT("MN")},
    {LINE("STAT pid 8752"), MC_REPLY_STAT, KEY("pid"), TEXT("8752")},
    {LINE("STAT version 1.6.18 x"), MC_REPLY_STAT, KEY("version"), TEXT("1.6.18 x")},
    {LINE("STAT empty "), MC_REPLY_STAT, KEY("empty"), TEXT("")},
    {LINE("OK"), MC_REPLY_OK, TEXT("OK")},
    {LINE("STORED"), MC_REPLY_STORED, TEXT("STORED")},
    {LINE("NOT_STORED"), MC_REPLY_NOT_STORED, TEXT("NOT_STORED")},
    {LINE("EXISTS"), MC_REPLY_EXISTS, TEXT("EXISTS")},
    {LINE("NOT_FOUND"), MC_REPLY_NOT_FOUND, TEXT("NOT_FOUND")},
    {LINE("DELETED"), MC_REPLY_DELETED, TEXT("DELETED")},
    {LINE("TOUCHED"), MC_REPLY_TOUCHED, TEXT("TOUCHED")},
    {LINE("0"), MC_REPLY_NUMBER},
    {LINE("12"), MC_REPLY_NUMBER, .number = 12},
    {LINE("18446744073709551615"), MC_REPLY_NUMBER, .number = UINT64_MAX},
    {LINE("VERSION 1.6.18"), MC_REPLY_VERSION, TEXT("1.6.18")},
    {LINE("ERROR"), MC_REPLY_ERROR, TEXT("ERROR")},
    {LINE("ERROR locked try again later"), MC_REPLY_ERROR, TEXT("ERROR locked try again later")},
    {LINE("ERROR: shutdown not enabled"), MC_REPLY_ERROR, TEXT("ERROR: shutdown not enabled")},
    {LINE("CLIENT_ERROR bad data chunk"), MC_REPLY_CLIENT_ERROR,
     TEXT("CLIENT_ERROR bad data chunk")},
    {LINE("SERVER_ERROR out of memory storing object"), MC_REPLY_SERVER_ERROR,
     TEXT("SERVER_ERROR out of memory storing object")},
    {LINE("BUSY currently processing crawler request"), MC_REPLY_BUSY,
     TEXT("BUSY currently processing crawler request")},
    {LINE("key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=65"), MC_REPLY_DUMP,
     TEXT("key=a exp=-1 la=1 cas=1 fetch=no cls=1 size=65")},
    {.line = SLICE_INIT("key=a exp=-1\n"), MC_REPLY_DUMP, TEXT("key=a exp=-1")},
};

static enum mc_parse parse(struct slice input, size_t scanned, struct mc_reply *out)
{
    return mc_reply_parse(input, scanned, ITEM_BYTES_MAX, out);
}

static void check_good(const struct good_case *c, const struct mc_reply *r)
{
    ck_assert_int_eq(r->kind, c->kind);
    ck_assert(slice_is_equal(r->key, c->key));
    ck_assert(slice_is_equal(r->text, c->text));
    ck_assert_uint_eq(r->value_bytes, c->value_bytes);
    ck_assert_uint_eq(r->flags, c->flags);
    ck_assert_uint_eq(r->cas, c->cas);
    ck_assert_int_eq(r->ttl_s, c->ttl_s);
    ck_assert_uint_eq(r->number, c->number);
    ck_assert_uint_eq(r->item_bytes, c->item_bytes);
    ck_assert_uint_eq(r->idle_s, c->idle_s);
    ck_assert_int_eq(r->was_fetched, c->was_fetched);
    ck_assert_int_eq(r->is_key_base64, c->is_key_base64);
    ck_assert_int_eq(r->has_flags, c->has_flags);
    ck_assert_int_eq(r->has_cas, c->has_cas);
    ck_assert_int_eq(r->has_ttl, c->has_ttl);
    ck_assert_int_eq(r->is_won, c->is_won);
    ck_assert_int_eq(r->is_stale, c->is_stale);
    ck_assert_int_eq(r->is_sent, c->is_sent);
    ck_assert_uint_eq(r->line_bytes, c->line.len);
}

START_TEST(takes_good_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    const struct good_case *c = &good_cases[_i];
    struct mc_reply r;
    size_t scanned = 0;
    for (size_t len = 0; len < c->line.len; len++) {
        ck_assert_int_eq(parse(guarded_place(&g, slice_of(c->line.ptr, len)), scanned, &r),
                         MC_PARSE_MORE);
        scanned = r.scanned_bytes;
        ck_assert_uint_eq(scanned, len);
    }
    ck_assert_int_eq(parse(guarded_place(&g, c->line), scanned, &r), MC_PARSE_DONE);
    check_good(c, &r);
    char two[INPUT_BYTES_MAX];
    memcpy(two, c->line.ptr, c->line.len);
    memcpy(two + c->line.len, "END\r\n", 5);
    ck_assert_int_eq(parse(guarded_place(&g, slice_of(two, c->line.len + 5)), 0, &r),
                     MC_PARSE_DONE);
    check_good(c, &r);
    guarded_destroy(&g);
}
END_TEST

#define BAD(literal) SLICE_INIT(literal "\r\n")

static const struct slice bad_lines[] = {
    BAD(""),
    BAD(" "),
    BAD("\r"),
    BAD("VALUE"),
    BAD("VALUE "),
    BAD("VALUE k"),
    BAD("VALUE k 0"),
    BAD("VALUE k 0 "),
    BAD("VALUE k 0 -1"),
    BAD("VALUE k -1 0"),
    BAD("VALUE k 4294967296 0"),
    BAD("VALUE k 0 1048577"),
    BAD("VALUE k 0 2147483647"),
    BAD("VALUE k 0 2147483648"),
    BAD("VALUE k 0 4294967295"),
    BAD("VALUE k 0 4294967296"),
    BAD("VALUE k 0 9223372036854775808"),
    BAD("VALUE k 0 18446744073709551615"),
    BAD("VALUE k 0 18446744073709551616"),
    BAD("VALUE k 0 99999999999999999999"),
    BAD("VALUE k 0 100000000000000000000"),
    BAD("VALUE k 0 1 18446744073709551616"),
    BAD("VALUE k 0 1 2 3"),
    BAD("VALUE k 0 1 "),
    BAD("VALUE k 0 1 2 "),
    BAD("VALUE  k 0 1"),
    BAD("VALUE k  0 1"),
    BAD("VALUE k 0 1x"),
    BAD("VALUE k 0x0 1"),
    BAD("VALUE k\t0 1"),
    BAD("VALUE k" K250 " 0 1"),
    BAD("VALUEX k 0 1"),
    BAD("value k 0 1"),
    BAD("END "),
    BAD("ME"),
    BAD("ME "),
    BAD("MEk"),
    BAD("HD s"),
    BAD("HD s-1"),
    BAD("HD h"),
    BAD("HD h2"),
    BAD("HD l"),
    BAD("HD bx"),
    BAD("END x"),
    BAD("ENDX"),
    BAD("HD "),
    BAD("HD  c1"),
    BAD("HD c1 "),
    BAD("HD c"),
    BAD("HD cx"),
    BAD("HD c-1"),
    BAD("HD c18446744073709551616"),
    BAD("HD t"),
    BAD("HD t--1"),
    BAD("HD t9223372036854775808"),
    BAD("HD f4294967296"),
    BAD("HD f-1"),
    BAD("HD f"),
    BAD("HD k"),
    BAD("HD kk" K250),
    BAD("HD W1"),
    BAD("HD X1"),
    BAD("HD Z1"),
    BAD("HD 1"),
    BAD("HD -"),
    BAD("HDc1"),
    BAD("hd"),
    BAD("HX"),
    BAD("VA"),
    BAD("VA "),
    BAD("VA x"),
    BAD("VA -1"),
    BAD("VA 1048577"),
    BAD("VA 4294967296"),
    BAD("VA 18446744073709551615"),
    BAD("VA 18446744073709551616"),
    BAD("VA 1 "),
    BAD("VA c1 1"),
    BAD("VB 1"),
    BAD("EN "),
    BAD("EM"),
    BAD("NX"),
    BAD("MN 1"),
    BAD("MN "),
    BAD("STAT"),
    BAD("STAT "),
    BAD("STAT x"),
    BAD("STAT  x"),
    BAD("STATx y"),
    BAD("STAT x a\rb"),
    BAD("OK "),
    BAD("OKAY"),
    BAD("STORED "),
    BAD("STORED x"),
    BAD("stored"),
    BAD("1 "),
    BAD("-1"),
    BAD("+1"),
    BAD("1x"),
    BAD("18446744073709551616"),
    BAD("99999999999999999999"),
    BAD("100000000000000000000"),
    BAD("VERSION"),
    BAD("ERRORX"),
    BAD("CLIENT_ERROR"),
    BAD("SERVER_ERROR"),
    BAD("SERVER_ERROR a\rb"),
    BAD("SERVER_ERROR a\0b"),
    BAD("BUSYX"),
    BAD("key=a\rb"),
    BAD("RESET"),
    BAD("WATCHING"),
    BAD("get k"),
    BAD("\x81\x01"),
    SLICE_INIT("\n"),
    SLICE_INIT("END\n"),
    SLICE_INIT("STORED\n"),
    SLICE_INIT("VALUE k 0 1\n"),
    SLICE_INIT("HD\n"),
    SLICE_INIT("END\r\r\n"),
};

START_TEST(refuses_bad_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    struct slice line = bad_lines[_i];
    struct mc_reply r;
    for (size_t len = 0; len < line.len; len++) {
        ck_assert_int_eq(parse(guarded_place(&g, slice_of(line.ptr, len)), 0, &r), MC_PARSE_MORE);
    }
    ck_assert_int_eq(parse(guarded_place(&g, line), 0, &r), MC_PARSE_BAD);
    guarded_destroy(&g);
}
END_TEST

/* A node that never ends its line is given up at the bound, however the line is cut. */
START_TEST(bounds_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    char line[INPUT_BYTES_MAX];
    memset(line, 'x', sizeof line);
    memcpy(line, "SERVER_ERROR ", 13);
    struct mc_reply r;
    struct slice half = slice_of(line, MC_REPLY_LINE_BYTES_MAX - 1);
    ck_assert_int_eq(parse(guarded_place(&g, half), 0, &r), MC_PARSE_MORE);
    struct slice endless = slice_of(line, MC_REPLY_LINE_BYTES_MAX);
    ck_assert_int_eq(parse(guarded_place(&g, endless), 0, &r), MC_PARSE_BAD);
    memcpy(line + MC_REPLY_LINE_BYTES_MAX - 2, "\r\n", 2);
    ck_assert_int_eq(parse(guarded_place(&g, endless), 0, &r), MC_PARSE_DONE);
    ck_assert_uint_eq(r.line_bytes, MC_REPLY_LINE_BYTES_MAX);
    memcpy(line + MC_REPLY_LINE_BYTES_MAX - 2, "x\r\n", 3);
    struct slice over = slice_of(line, MC_REPLY_LINE_BYTES_MAX + 1);
    ck_assert_int_eq(parse(guarded_place(&g, over), 0, &r), MC_PARSE_BAD);
    guarded_destroy(&g);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mc/reply");
    TCase *tcase = tcase_create("reply");
    tcase_add_loop_test(tcase, takes_good_lines, 0,
                        (int)(sizeof good_cases / sizeof good_cases[0]));
    tcase_add_loop_test(tcase, refuses_bad_lines, 0, (int)(sizeof bad_lines / sizeof bad_lines[0]));
    tcase_add_test(tcase, bounds_lines);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
