/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Meta commands: what memcached 1.6.38 takes and refuses, in its words. Each line also as every
 * prefix (always MORE), with another command behind it, and with its last byte against an
 * unreadable page.
 */
#include "everwarm/mc/request.h"

#include "everwarm/base/limits.h"
#include "everwarm/base/prng.h"
#include "everwarm/mc/encode.h"
#include "guarded.h"

#include <check.h>
#include <stdlib.h>

enum {
    INPUT_BYTES_MAX = 4096,
    ITEM_BYTES_MAX = 1048576,
    MUTATIONS = 30000,
};

#define K50        "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250       K50 K50 K50 K50 K50
#define O31        "O123456789012345678901234567890"
#define LINE(text) .line = SLICE_INIT(text "\r\n")
#define KEY(text)  .want = {.key = SLICE_INIT(text), .key_count = 1, .dialect = MC_DIALECT_META
#define TEXT(text) .flags_text = SLICE_INIT(text)

struct good_case {
    struct slice line;
    struct mc_request want;
};

static const struct good_case good_cases[] = {{LINE("mg k"), KEY("k"), .command = MC_META_GET}},
{
    LINE("  mg   k  "), KEY("k"), .command = MC_META_GET
}
}
,
{
    LINE("mg k\0 z"), KEY("k"), .command = MC_META_GET
}
}
,
{
    LINE("mg " K250), KEY(K250), .command = MC_META_GET
}
}
,
{
    LINE("mg k v  t q"), KEY("k"), .command = MC_META_GET, TEXT("v  t q"), .is_quiet = true,
                                   .wants_value = true
}
}
,
{
    LINE("mg k c N30 T-1 R5"), KEY("k"),
        .command = MC_META_GET, TEXT("c N30 T-1 R5"), .is_vivify = true, .has_exptime = true,
        .has_recache = true, .vivify_exptime_s = 30, .exptime_s = -1, .recache_s = 5,
        .wants_cas = true
}
}
,
{
    LINE("mg k C5 I x M! D3 F7 J1"), KEY("k"), .command = MC_META_GET, TEXT("C5 I x M! D3 F7 J1"),
                                               .cas = 5, .delta = 3, .flags = 7, .initial = 1
}
}
,
{
    LINE("mg k " O31 " L P"), KEY("k"), .command = MC_META_GET, TEXT(O31 " L P")
}
}
,
{
    LINE("mg Zm9v b k"), KEY("Zm9v"), .command = MC_META_GET, TEXT("b k"), .is_base64 = true
}
}
,
{
    LINE("mg Zm8= k b"), KEY("Zm8="), .command = MC_META_GET, TEXT("k b"), .is_base64 = true
}
}
,
{
    LINE("mg k L v f k c s t l h O1 q u C1 D1 J1 P1 MI"), KEY("k"),
        .command = MC_META_GET, TEXT("L v f k c s t l h O1 q u C1 D1 J1 P1 MI"), .is_quiet = true,
        .wants_value = true, .wants_cas = true, .cas = 1, .delta = 1, .initial = 1
}
}
,
{
    LINE("ms k 0"), KEY("k"), .command = MC_SET
}
}
,
{
    LINE("ms k 2 T30 F9 c q"), KEY("k"), .command = MC_SET, TEXT("T30 F9 c q"), .value_bytes = 2,
                                         .has_exptime = true, .exptime_s = 30, .flags = 9,
                                         .wants_cas = true, .is_quiet = true
}
}
,
{
    LINE("ms k 2 MS"), KEY("k"), .command = MC_SET, TEXT("MS"), .value_bytes = 2
}
}
,
{
    LINE("ms k 2 ME C5"), KEY("k"), .command = MC_ADD, TEXT("ME C5"), .value_bytes = 2, .cas = 5
}
}
,
{
    LINE("ms k 2 MR"), KEY("k"), .command = MC_REPLACE, TEXT("MR"), .value_bytes = 2
}
}
,
{
    LINE("ms k 2 MR C5"), KEY("k"), .command = MC_CAS, TEXT("MR C5"), .value_bytes = 2,
                                    .has_cas = true, .cas = 5
}
}
,
{
    LINE("ms k 2 C0"), KEY("k"), .command = MC_CAS, TEXT("C0"), .value_bytes = 2, .has_cas = true
}
}
,
{
    LINE("ms k 2 C5 I"), KEY("k"), .command = MC_CAS, TEXT("C5 I"), .value_bytes = 2,
                                   .has_cas = true, .cas = 5, .is_mark = true
}
}
,
{
    LINE("ms k 2 I x N9"), KEY("k"), .command = MC_SET, TEXT("I x N9"), .value_bytes = 2,
                                     .vivify_exptime_s = 9
}
}
,
{
    LINE("ms k 2 MA N9 C5 I"), KEY("k"), .command = MC_APPEND, TEXT("MA N9 C5 I"), .value_bytes = 2,
                                         .has_cas = true, .cas = 5, .is_vivify = true,
                                         .vivify_exptime_s = 9
}
}
,
{
    LINE("ms k 2 MP C0"), KEY("k"), .command = MC_PREPEND, TEXT("MP C0"), .value_bytes = 2
}
}
,
{
    LINE("ms k 1048576 F4294967297"), KEY("k"), .command = MC_SET, TEXT("F4294967297"),
                                                .value_bytes = 1048576, .flags = 1
}
}
,
{
    LINE("md k"), KEY("k"), .command = MC_DELETE
}
}
,
{
    LINE("md k q I T30 C0 x F5"), KEY("k"),
        .command = MC_DELETE, TEXT("q I T30 C0 x F5"), .is_quiet = true, .is_mark = true,
        .is_emptied = true, .has_exptime = true, .exptime_s = 30, .has_cas = true, .flags = 5
}
}
,
{
    LINE("ma k"), KEY("k"), .command = MC_INCR, .delta = 1
}
}
,
{
    LINE("ma k MI"), KEY("k"), .command = MC_INCR, TEXT("MI"), .delta = 1
}
}
,
{
    LINE("ma k M+ D0"), KEY("k"), .command = MC_INCR, TEXT("M+ D0")
}
}
,
{
    LINE("ma k MD D18446744073709551615"), KEY("k"),
        .command = MC_DECR, TEXT("MD D18446744073709551615"), .delta = UINT64_MAX
}
}
,
{
    LINE("ma k M- N9 J13 C5 q v"), KEY("k"),
        .command = MC_DECR, TEXT("M- N9 J13 C5 q v"), .delta = 1, .is_vivify = true,
        .vivify_exptime_s = 9, .initial = 13, .has_cas = true, .cas = 5, .is_quiet = true,
        .wants_value = true
}
}
,
{
    LINE("ma k C0"), KEY("k"), .command = MC_INCR, TEXT("C0"), .delta = 1
}
}
,
{
    LINE("me k"), KEY("k"), .command = MC_META_DEBUG
}
}
,
{
    LINE("me k x b"), KEY("k"), .command = MC_META_DEBUG
}
}
,
{
    LINE("me Zm9v b x"), KEY("Zm9v"), .command = MC_META_DEBUG, .is_base64 = true
}
}
, {LINE("mn"), .want = {.command = MC_NOOP, .dialect = MC_DIALECT_META}},
    {LINE("mn x y"), .want = {.command = MC_NOOP, .dialect = MC_DIALECT_META}},
}
;

struct bad_case {
    struct slice line;
    struct slice error; /* without CRLF */
    uint64_t swallow_bytes;
    struct slice key;
};

#define FORMAT   SLICE_INIT("CLIENT_ERROR bad command line format")
#define EITHER   SLICE_INIT("CLIENT_ERROR invalid or duplicate flag")
#define TOKEN    SLICE_INIT("CLIENT_ERROR bad token in command line format")
#define UNKNOWN  SLICE_INIT("CLIENT_ERROR invalid flag")
#define TWICE    SLICE_INIT("CLIENT_ERROR duplicate flag")
#define DECODING SLICE_INIT("CLIENT_ERROR error decoding key")
#define OPAQUE   SLICE_INIT("CLIENT_ERROR opaque token too long")
#define OUR_CAS  SLICE_INIT("CLIENT_ERROR the E flag is not supported by everwarm")
#define RESERVED SLICE_INIT("CLIENT_ERROR keys that begin with _everwarm: are reserved")
#define TOO_MANY SLICE_INIT("CLIENT_ERROR options flags too long")
#define M_LENGTH SLICE_INIT("CLIENT_ERROR incorrect length for M token")
#define ONES16   "1 2 3 4 5 6 7 8 9 0 ! $ % & / ("

static const struct bad_case bad_cases[] = {
    {LINE("mg"), SLICE_INIT("ERROR")},
    {LINE("mg  "), SLICE_INIT("ERROR")},
    {LINE("ms"), SLICE_INIT("ERROR")},
    {LINE("md"), SLICE_INIT("ERROR")},
    {LINE("ma"), SLICE_INIT("ERROR")},
    {LINE("me"), FORMAT},
    {LINE("mx k"), SLICE_INIT("ERROR")},
    {LINE("mg " K250 "k"), FORMAT},
    {LINE("ms " K250 "k 1"), FORMAT},
    {LINE("md " K250 "k q"), FORMAT},
    {LINE("ma " K250 "k q"), FORMAT},
    {LINE("me " K250 "k"), FORMAT},
    {LINE("mg k a1"), UNKNOWN},
    {LINE("mg k S100"), UNKNOWN},
    {LINE("mg k v f v"), TWICE},
    {LINE("mg k \x7f"), TWICE},
    {LINE("mg k \xff"), TWICE},
    {LINE("mg k Tx z"), UNKNOWN},
    {LINE("mg k T Fx"), TOKEN},
    {LINE("mg k Fx T"), TOKEN},
    {LINE("mg k Fx"), FORMAT},
    {LINE("mg k F-1"), FORMAT},
    {LINE("mg k N"), TOKEN},
    {LINE("mg k R9x"), TOKEN},
    {LINE("mg k C-1"), TOKEN},
    {LINE("mg k C18446744073709551616"), TOKEN},
    {LINE("mg k E"), TOKEN},
    {LINE("mg k E5"), OUR_CAS},
    {LINE("mg k J"), SLICE_INIT("CLIENT_ERROR invalid numeric initial value")},
    {LINE("mg k D-1"), SLICE_INIT("CLIENT_ERROR invalid numeric delta value")},
    {LINE("mg k M"), M_LENGTH},
    {LINE("mg k MXX"), M_LENGTH},
    {LINE("mg k " O31 "12"), OPAQUE},
    {LINE("mg k " O31 "12 E1"), OPAQUE},
    {LINE("mg k " ONES16 " ) ="), SLICE_INIT("CLIENT_ERROR options flags are too long")},
    {LINE("mg k " ONES16 " )"), UNKNOWN},
    {LINE("mg Zm9vZ b"), DECODING},
    {LINE("mg Zm9v!!!! b"), DECODING},
    {LINE("mg Zm9vZh== b"), DECODING},
    {LINE("mg ==== b"), DECODING},
    {LINE("mg Z=== b"), DECODING},
    {LINE("mg Zm=v b"), DECODING},
    {LINE("mg Zm9v==== b"), DECODING},
    {LINE("mg \tZm9 b"), DECODING},
    {LINE("mg Zm9- b"), DECODING},
    {LINE("mg _everwarm:1:main:view"), RESERVED},
    {LINE("mg X2V2ZXJ3YXJtOg== b"), RESERVED},
    {LINE("ms k"), FORMAT},
    {LINE("ms k x"), FORMAT},
    {LINE("ms k -1"), FORMAT},
    {LINE("ms k 2147483646"), FORMAT},
    {LINE("ms k 4294967297"), FORMAT},
    {LINE("ms k 1 " ONES16 " )"), TOO_MANY},
    {LINE("ms k 1 " ONES16), UNKNOWN, .swallow_bytes = 3},
    {LINE("ms k 1 v v"), TWICE, .swallow_bytes = 3},
    {LINE("ms k 1 S5"), UNKNOWN, .swallow_bytes = 3},
    {LINE("ms k 1 E5"), OUR_CAS, .swallow_bytes = 3},
    {LINE("ms k 1 MX"), SLICE_INIT("CLIENT_ERROR invalid mode for ms M token"), .swallow_bytes = 3},
    {LINE("ms k 1 Me q " O31 "12"), SLICE_INIT("CLIENT_ERROR invalid mode for ms M token"),
     .swallow_bytes = 3},
    {LINE("ms k 1 MEE"), M_LENGTH, .swallow_bytes = 3},
    {LINE("ms k 1 " O31 "12"), OPAQUE, .swallow_bytes = 3},
    {LINE("ms Zm9vX 3 b"), DECODING, .swallow_bytes = 5},
    {LINE("ms _everwarm:x 3 q"), RESERVED, .swallow_bytes = 5},
    {LINE("ms X2V2ZXJ3YXJtOng= 3 b"), RESERVED, .swallow_bytes = 5},
    {LINE("ms k 1048577 MA q"), SLICE_INIT("SERVER_ERROR object too large for cache"),
     .swallow_bytes = 1048579, .key = SLICE_INIT("k")},
    {LINE("md k z"), EITHER},
    {LINE("md k q q"), EITHER},
    {LINE("md k Cx"), EITHER},
    {LINE("md k E5"), OUR_CAS},
    {LINE("md k " O31 "12"), OPAQUE},
    {LINE("md k " ONES16 " ) ="), TOO_MANY},
    {LINE("md X2V2ZXJ3YXJtOg== b"), RESERVED},
    {LINE("ma k Jx"), EITHER},
    {LINE("ma k Zm9vX b"), EITHER},
    {LINE("ma k MX"), SLICE_INIT("CLIENT_ERROR invalid mode for ma M token")},
    {LINE("ma k M"), EITHER},
    {LINE("ma k " O31 "12"), OPAQUE},
    {LINE("ma _everwarm:"), RESERVED},
    {LINE("me Zm9vX b"), FORMAT},
    {LINE("me X2V2ZXJ3YXJtOg== b"), RESERVED},
    {LINE("me YQpi b"), SLICE_INIT("CLIENT_ERROR me of a key that is no text is not supported")},
};

static enum mc_parse parse(struct slice input, size_t scanned, struct mc_request *out)
{
    return mc_request_parse(input, scanned, ITEM_BYTES_MAX, out);
}

/* Byte for byte, as a slow client sends it: MORE until the last one. */
static enum mc_parse parse_bytewise(const struct guarded *g, struct slice line,
                                    struct mc_request *out)
{
    size_t scanned = 0;
    for (size_t len = 0; len < line.len; len++) {
        ck_assert_int_eq(parse(guarded_place(g, slice_of(line.ptr, len)), scanned, out),
                         MC_PARSE_MORE);
        scanned = out->scanned_bytes;
    }
    return parse(guarded_place(g, line), scanned, out);
}

static struct slice with_next(struct slice line, char *room)
{
    memcpy(room, line.ptr, line.len);
    memcpy(room + line.len, "mn\r\n", 4);
    return slice_of(room, line.len + 4);
}

static void check_good(const struct good_case *c, const struct mc_request *r)
{
    const struct mc_request *want = &c->want;
    ck_assert_int_eq(r->command, want->command);
    ck_assert_int_eq(r->dialect, MC_DIALECT_META);
    ck_assert(slice_is_equal(r->key, want->key));
    ck_assert(slice_is_equal(r->flags_text, want->flags_text));
    ck_assert_uint_eq(r->key_count, want->key_count);
    ck_assert_int_eq(r->is_noreply, false);
    ck_assert_int_eq(r->is_quiet, want->is_quiet);
    ck_assert_int_eq(r->is_base64, want->is_base64);
    ck_assert_int_eq(r->has_cas, want->has_cas);
    ck_assert_int_eq(r->has_exptime, want->has_exptime);
    ck_assert_int_eq(r->is_vivify, want->is_vivify);
    ck_assert_int_eq(r->has_recache, want->has_recache);
    ck_assert_int_eq(r->is_mark, want->is_mark);
    ck_assert_int_eq(r->is_emptied, want->is_emptied);
    ck_assert_int_eq(r->wants_value, want->wants_value);
    ck_assert_int_eq(r->wants_cas, want->wants_cas);
    ck_assert_uint_eq(r->flags, want->flags);
    ck_assert_int_eq(r->exptime_s, want->exptime_s);
    ck_assert_int_eq(r->vivify_exptime_s, want->vivify_exptime_s);
    ck_assert_int_eq(r->recache_s, want->recache_s);
    ck_assert_uint_eq(r->cas, want->cas);
    ck_assert_uint_eq(r->delta, want->delta);
    ck_assert_uint_eq(r->initial, want->initial);
    ck_assert_uint_eq(r->value_bytes, want->value_bytes);
    ck_assert_uint_eq(r->swallow_bytes, 0);
    ck_assert_uint_eq(r->line_bytes, c->line.len);
}

START_TEST(takes_good_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    const struct good_case *c = &good_cases[_i];
    struct mc_request r;
    char room[INPUT_BYTES_MAX];
    ck_assert_int_eq(parse_bytewise(&g, c->line, &r), MC_PARSE_DONE);
    check_good(c, &r);
    ck_assert_int_eq(parse(guarded_place(&g, with_next(c->line, room)), 0, &r), MC_PARSE_DONE);
    check_good(c, &r);
    guarded_destroy(&g);
}
END_TEST

static void check_bad(const struct bad_case *c, const struct mc_request *r)
{
    ck_assert_uint_eq(r->error.len, c->error.len + 2);
    ck_assert(slice_has_prefix(r->error, c->error));
    ck_assert_uint_eq(r->swallow_bytes, c->swallow_bytes);
    ck_assert(slice_is_equal(r->key, c->key));
    ck_assert(!r->must_close);
    ck_assert_uint_eq(r->line_bytes, c->line.len);
}

START_TEST(refuses_bad_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    const struct bad_case *c = &bad_cases[_i];
    struct mc_request r;
    char room[INPUT_BYTES_MAX];
    ck_assert_int_eq(parse_bytewise(&g, c->line, &r), MC_PARSE_BAD);
    check_bad(c, &r);
    ck_assert_int_eq(parse(guarded_place(&g, with_next(c->line, room)), 0, &r), MC_PARSE_BAD);
    check_bad(c, &r);
    guarded_destroy(&g);
}
END_TEST

static bool is_inside(struct slice s, struct slice input)
{
    return s.len == 0 || (s.ptr >= input.ptr && s.ptr + s.len <= input.ptr + input.len);
}

/* Good and bad lines with bytes changed at random: whatever comes of it keeps the contract. */
START_TEST(keeps_its_contract_on_noise)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    static const char spice[] = {' ', '\0', '\r', '\n', '-', '9', 'b', 'k', 'M', '=', '\x80'};
    struct prng prng = {.state = 20240301};
    size_t good_count = sizeof good_cases / sizeof good_cases[0];
    size_t count = good_count + sizeof bad_cases / sizeof bad_cases[0];
    for (uint32_t round = 0; round < MUTATIONS; round++) {
        size_t pick = prng_below(&prng, count);
        struct slice line =
            pick < good_count ? good_cases[pick].line : bad_cases[pick - good_count].line;
        char room[INPUT_BYTES_MAX];
        memcpy(room, line.ptr, line.len);
        for (uint64_t changes = prng_below(&prng, 4); changes > 0; changes--) {
            room[prng_below(&prng, line.len)] = spice[prng_below(&prng, sizeof spice)];
        }
        struct slice input = guarded_place(&g, slice_of(room, line.len));
        struct mc_request r;
        enum mc_parse result = parse(input, 0, &r);
        if (result == MC_PARSE_MORE) {
            ck_assert_ptr_null(memchr(input.ptr, '\n', input.len));
            continue;
        }
        ck_assert(is_inside(r.key, input) && is_inside(r.flags_text, input));
        ck_assert_uint_le(r.key.len, MC_KEY_BYTES_MAX);
        ck_assert(result == MC_PARSE_DONE || r.error.len == 0 ||
                  r.error.ptr[r.error.len - 1] == '\n');
        if (result == MC_PARSE_DONE && r.is_base64) {
            char key[MC_KEY_BYTES_MAX];
            ck_assert_uint_gt(mc_key_decode(r.key, key), 0);
        }
    }
    guarded_destroy(&g);
}
END_TEST

START_TEST(decodes_keys)
{
    static const struct {
        struct slice written;
        struct slice bytes;
    } keys[] = {
        {SLICE_INIT("Zg=="), SLICE_INIT("f")},
        {SLICE_INIT("Zm8="), SLICE_INIT("fo")},
        {SLICE_INIT("Zm9v"), SLICE_INIT("foo")},
        {SLICE_INIT("+/+/"), SLICE_INIT("\xfb\xff\xbf")},
        {SLICE_INIT("AA0KIA=="), SLICE_INIT("\0\r\n ")},
    };
    char to[MC_KEY_BYTES_MAX];
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        size_t len = mc_key_decode(keys[i].written, to);
        ck_assert(slice_is_equal(slice_of(to, len), keys[i].bytes));
    }
    char longest[MC_KEY_BYTES_MAX + 2];
    memset(longest, 'A', sizeof longest);
    ck_assert_uint_eq(mc_key_decode(slice_of(longest, 248), to), 186);
    ck_assert_uint_eq(mc_key_decode(slice_of(longest, 252), to), 0);
    ck_assert_uint_eq(mc_key_decode(SLICE(""), to), 0);
}
END_TEST

/* Every key that can be written is one word, and names the same bytes. */
START_TEST(writes_keys_of_any_bytes)
{
    char key[MC_KEY_BYTES_MAX];
    char text[MC_KEY_BYTES_MAX + 2];
    char back[MC_KEY_BYTES_MAX];
    for (uint32_t byte = 0; byte < 256; byte++) {
        for (size_t len = 1; len <= sizeof key; len++) {
            bool is_word = byte != ' ' && byte != '\n' && byte != '\0';
            memset(key, (int)byte, len);
            struct slice bytes = slice_of(key, len);
            ck_assert_int_eq(mc_key_can_be_written(bytes), is_word || len <= 186);
            if (!mc_key_can_be_written(bytes)) {
                continue;
            }
            struct mc_writer w = mc_writer_of(text, sizeof text);
            mc_write_key(&w, bytes);
            struct slice written = slice_of(text, w.len);
            ck_assert_uint_le(w.len, MC_KEY_BYTES_MAX);
            mc_write_key_flag(&w, bytes);
            ck_assert_uint_eq(w.len - written.len, is_word ? 0 : 2);
            if (!is_word) {
                written = slice_of(back, mc_key_decode(written, back));
            }
            ck_assert(slice_is_equal(written, bytes));
        }
    }
}
END_TEST

int main(void)
{
    TCase *tests = tcase_create("request");
    tcase_add_loop_test(tests, takes_good_lines, 0,
                        (int)(sizeof good_cases / sizeof good_cases[0]));
    tcase_add_loop_test(tests, refuses_bad_lines, 0, (int)(sizeof bad_cases / sizeof bad_cases[0]));
    tcase_add_test(tests, keeps_its_contract_on_noise);
    tcase_add_test(tests, decodes_keys);
    tcase_add_test(tests, writes_keys_of_any_bytes);
    Suite *suite = suite_create("mc/request_meta");
    suite_add_tcase(suite, tests);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
