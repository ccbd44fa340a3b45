/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Command lines: what memcached 1.6.18 takes and refuses. Each line also as every prefix (always
 * MORE), with another command behind it, and with its last byte against an unreadable page.
 */
#include "everwarm/mc/request.h"

#include "everwarm/base/limits.h"
#include "everwarm/base/prng.h"
#include "guarded.h"

#include <check.h>
#include <stdlib.h>

enum {
    INPUT_BYTES_MAX = 16384,
    ITEM_BYTES_MAX = 1048576,
    MUTATIONS = 200000,
};

#define K50        "kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk"
#define K250       K50 K50 K50 K50 K50
#define LINE(text) .line = SLICE_INIT(text "\r\n")
#define KEY(text)  .key = SLICE_INIT(text), .key_count = 1
#define KEYS(first, count, all)                                                                    \
    .key = SLICE_INIT(first), .key_count = (count), .keys = SLICE_INIT(all)

struct good_case {
    struct slice line;
    enum mc_command command;
    struct slice key;
    struct slice keys;
    struct slice argument;
    uint32_t key_count;
    uint32_t flags;
    int64_t exptime_s;
    uint64_t cas;
    uint64_t delta;
    uint64_t value_bytes;
    bool is_noreply;
};

static const struct good_case good_cases[] = {
    {LINE("get k"), MC_GET, KEYS("k", 1, "k")},
    {.line = SLICE_INIT("get k\n"), MC_GET, KEYS("k", 1, "k")},
    {LINE("get k\r"), MC_GET, KEYS("k\r", 1, "k\r")},
    {LINE("  get   a  b   a  "), MC_GET, KEYS("a", 3, "a  b   a")},
    {LINE("gets a b"), MC_GETS, KEYS("a", 2, "a b")},
    {LINE("get " K250), MC_GET, KEYS(K250, 1, K250)},
    {LINE("get " K250 " " K250), MC_GET, KEYS(K250, 2, K250 " " K250)},
    {LINE("get a\0b c"), MC_GET, KEYS("a", 1, "a")},
    {LINE("get a \0b c"), MC_GET, KEYS("a", 1, "a")},
    {LINE("get a\tb \x01 \xc3\xa4\xff"), MC_GET, KEYS("a\tb", 3, "a\tb \x01 \xc3\xa4\xff")},
    {LINE("get abcdefg\x01hijklmnop\x1fqrstuvwxyz"), MC_GET,
     KEYS("abcdefg\x01hijklmnop\x1fqrstuvwxyz", 1, "abcdefg\x01hijklmnop\x1fqrstuvwxyz")},
    {LINE("get noreply"), MC_GET, KEYS("noreply", 1, "noreply")},
    {LINE("get / HTTP/1.1"), MC_GET, KEYS("/", 2, "/ HTTP/1.1")},
    {LINE("get _everwarm _everwar: a_everwarm:"), MC_GET,
     KEYS("_everwarm", 3, "_everwarm _everwar: a_everwarm:")},
    {LINE("gat 0 k"), MC_GAT, KEYS("k", 1, "k")},
    {LINE("gat -1 k l"), MC_GAT, KEYS("k", 2, "k l"), .exptime_s = -1},
    {LINE("gats 2592001 k"), MC_GATS, KEYS("k", 1, "k"), .exptime_s = 2592001},
    {LINE("set k 0 0 0"), MC_SET, KEY("k")},
    {LINE("set k 4294967295 2147483647 1048576"), MC_SET, KEY("k"), .flags = UINT32_MAX,
     .exptime_s = INT32_MAX, .value_bytes = ITEM_BYTES_MAX},
    {LINE("set k 1 2 3 noreply"), MC_SET, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3,
     .is_noreply = true},
    {LINE("set k 1 2 3 anything"), MC_SET, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3},
    {LINE("set k 1 2 3 noreply\r"), MC_SET, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3},
    {LINE(" set   k  1   2    3  noreply   "), MC_SET, KEY("k"), .flags = 1, .exptime_s = 2,
     .value_bytes = 3, .is_noreply = true},
    {LINE("set " K250 " 1 2 3"), MC_SET, KEY(K250), .flags = 1, .exptime_s = 2, .value_bytes = 3},
    {LINE("set k +5 \t-6 7\tx"), MC_SET, KEY("k"), .flags = 5, .exptime_s = -6, .value_bytes = 7},
    {LINE("set k 007 -0 0000000000000000000000000000001"), MC_SET, KEY("k"), .flags = 7,
     .value_bytes = 1},
    {LINE("set k 4294967297 0 1"), MC_SET, KEY("k"), .flags = 1, .value_bytes = 1},
    {LINE("set k -18446744073709551615 4294967297 1"), MC_SET, KEY("k"), .flags = 1, .exptime_s = 1,
     .value_bytes = 1},
    {LINE("set k 0 2147483648 1"), MC_SET, KEY("k"), .exptime_s = INT32_MIN, .value_bytes = 1},
    {LINE("set k 0 -2147483648 1"), MC_SET, KEY("k"), .exptime_s = INT32_MIN, .value_bytes = 1},
    {LINE("set k 0 9223372036854775807 1"), MC_SET, KEY("k"), .exptime_s = -1, .value_bytes = 1},
    {LINE("set k 0 0 1\r"), MC_SET, KEY("k"), .value_bytes = 1},
    {LINE("set noreply 0 0 1"), MC_SET, KEY("noreply"), .value_bytes = 1},
    {LINE("add k 1 2 3"), MC_ADD, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3},
    {LINE("replace k 1 2 3"), MC_REPLACE, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3},
    {LINE("append k 1 2 3"), MC_APPEND, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3},
    {LINE("prepend k 1 2 3"), MC_PREPEND, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3},
    {LINE("cas k 1 2 3 18446744073709551615"), MC_CAS, KEY("k"), .flags = 1, .exptime_s = 2,
     .value_bytes = 3, .cas = UINT64_MAX},
    {LINE("cas k 1 2 3 4 noreply"), MC_CAS, KEY("k"), .flags = 1, .exptime_s = 2, .value_bytes = 3,
     .cas = 4, .is_noreply = true},
    {LINE("cas k 1 2 3 -18446744073709551615"), MC_CAS, KEY("k"), .flags = 1, .exptime_s = 2,
     .value_bytes = 3, .cas = 1},
    {LINE("delete k"), MC_DELETE, KEY("k")},
    {LINE("delete noreply"), MC_DELETE, KEY("noreply")},
    {LINE("delete k 0"), MC_DELETE, KEY("k")},
    {LINE("delete k noreply"), MC_DELETE, KEY("k"), .is_noreply = true},
    {LINE("delete k 0 noreply"), MC_DELETE, KEY("k"), .is_noreply = true},
    {LINE("delete k \0noreply"), MC_DELETE, KEY("k")},
    {LINE("delete k noreply\0x"), MC_DELETE, KEY("k"), .is_noreply = true},
    {LINE("incr k 0"), MC_INCR, KEY("k")},
    {LINE("incr k 18446744073709551615 noreply"), MC_INCR, KEY("k"), .delta = UINT64_MAX,
     .is_noreply = true},
    {LINE("incr k 1 2"), MC_INCR, KEY("k"), .delta = 1},
    {LINE("decr k 9223372036854775808"), MC_DECR, KEY("k"), .delta = UINT64_C(9223372036854775808)},
    {LINE("touch k 1"), MC_TOUCH, KEY("k"), .exptime_s = 1},
    {LINE("touch k -1 noreply"), MC_TOUCH, KEY("k"), .exptime_s = -1, .is_noreply = true},
    {LINE("flush_all"), MC_FLUSH_ALL},
    {LINE("flush_all 0"), MC_FLUSH_ALL},
    {LINE("flush_all -1"), MC_FLUSH_ALL, .exptime_s = -1},
    {LINE("flush_all 30"), MC_FLUSH_ALL, .exptime_s = 30},
    {LINE("flush_all noreply"), MC_FLUSH_ALL, .is_noreply = true},
    {LINE("flush_all 30 noreply"), MC_FLUSH_ALL, .exptime_s = 30, .is_noreply = true},
    {LINE("flush_all 0 0"), MC_FLUSH_ALL},
    {LINE("version"), MC_VERSION},
    {LINE("version noreply x"), MC_VERSION},
    {LINE("version\0"), MC_VERSION},
    {LINE("verbosity 0"), MC_VERBOSITY},
    {LINE("verbosity 1 noreply"), MC_VERBOSITY, .is_noreply = true},
    {LINE("verbosity 0 0"), MC_VERBOSITY},
    {LINE("stats"), MC_STATS},
    {LINE("stats   settings "), MC_STATS, .argument = SLICE_INIT("settings")},
    {LINE("stats cachedump  1 0\0x"), MC_STATS, .argument = SLICE_INIT("cachedump  1 0")},
    {LINE("quit"), MC_QUIT},
    {LINE("quit now"), MC_QUIT},
};

struct bad_case {
    struct slice line;
    struct slice error;
    uint64_t swallow_bytes;
    struct slice key;
    bool must_close;
};

#define SAYS(text)    .error = SLICE_INIT(text "\r\n")
#define SILENT        .error = SLICE_INIT("")
#define HANGS_UP      SILENT, .must_close = true
#define PLAIN_ERROR   SAYS("ERROR")
#define FORMAT        SAYS("CLIENT_ERROR bad command line format")
#define EXPTIME       SAYS("CLIENT_ERROR invalid exptime argument")
#define DELTA         SAYS("CLIENT_ERROR invalid numeric delta argument")
#define USAGE         SAYS("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]")
#define TOO_LARGE     SAYS("SERVER_ERROR object too large for cache")
#define RESERVED      SAYS("CLIENT_ERROR keys that begin with _everwarm: are reserved")
#define NOT_HERE(cmd) SAYS("CLIENT_ERROR " cmd " is not supported by everwarm")

static const struct bad_case bad_cases[] = {
    {LINE(""), PLAIN_ERROR},
    {.line = SLICE_INIT("\n"), PLAIN_ERROR},
    {LINE(" "), PLAIN_ERROR},
    {LINE("\r"), PLAIN_ERROR},
    {LINE("\0"), PLAIN_ERROR},
    {LINE("\0get k"), PLAIN_ERROR},
    {LINE("g"), PLAIN_ERROR},
    {LINE("nonsense"), PLAIN_ERROR},
    {LINE("get"), PLAIN_ERROR},
    {LINE("get "), PLAIN_ERROR},
    {LINE("get \0k"), PLAIN_ERROR},
    {LINE("get\0 k"), PLAIN_ERROR},
    {LINE("get\tk"), PLAIN_ERROR},
    {LINE("getx k"), PLAIN_ERROR},
    {LINE("Get k"), PLAIN_ERROR},
    {LINE("GETS k"), PLAIN_ERROR},
    {LINE("gets"), PLAIN_ERROR},
    {LINE("get k" K250), FORMAT},
    {LINE("get a b k" K250), FORMAT},
    {LINE("get k" K250 " a"), FORMAT},
    {LINE("get _everwarm:1:p:view"), RESERVED},
    {LINE("get a _everwarm: b"), RESERVED},
    {LINE("get _everwarm:1 k" K250), FORMAT},
    {LINE("gat"), PLAIN_ERROR},
    {LINE("gat 10"), SAYS("END")},
    {LINE("gats 10 \0k"), SAYS("END")},
    {LINE("gat x k"), EXPTIME},
    {LINE("gat x"), EXPTIME},
    {LINE("gat 9223372036854775808 k"), EXPTIME},
    {LINE("gat 1 k" K250), FORMAT},
    {LINE("gat 1 _everwarm:x"), RESERVED},
    {LINE("set"), PLAIN_ERROR},
    {LINE("set k"), PLAIN_ERROR},
    {LINE("set k 0 0"), PLAIN_ERROR},
    {LINE("set k 0 0 1 2 3"), PLAIN_ERROR},
    {LINE("set k 0 0 1 2 noreply"), PLAIN_ERROR},
    {LINE("set k 0 0 1 2 3 4 5 6 7 8 9 noreply"), PLAIN_ERROR},
    {LINE("set k\0 0 0 1"), PLAIN_ERROR},
    {LINE("set k 0 0 -1"), FORMAT},
    {LINE("set k 0 0 -1 noreply"), SILENT},
    {LINE("set k 0 0 noreply"), SILENT},
    {LINE("set k 0 0 x"), FORMAT},
    {LINE("set k 0 0 1x"), FORMAT},
    {LINE("set k 0 0 0x10"), FORMAT},
    {LINE("set k 0 0 1.5"), FORMAT},
    {LINE("set k 0 0 +"), FORMAT},
    {LINE("set k 0 0 \t"), FORMAT},
    {LINE("set k x 0 1"), FORMAT},
    {LINE("set k -1 0 1"), FORMAT},
    {LINE("set k 18446744073709551616 0 1"), FORMAT},
    {LINE("set k 9223372036854775808\t- 0 1"), FORMAT},
    {LINE("set k 0 x 1"), FORMAT},
    {LINE("set k 0 9223372036854775808 1"), FORMAT},
    {LINE("set k 0 -9223372036854775809 1"), FORMAT},
    {LINE("set k 0 0 1048577"), TOO_LARGE, .swallow_bytes = 1048579, .key = SLICE_INIT("k")},
    {LINE("add k 0 0 1048577"), TOO_LARGE, .swallow_bytes = 1048579},
    {LINE("cas k 0 0 1048577 1"), TOO_LARGE, .swallow_bytes = 1048579},
    {LINE("set k 0 0 1048577 noreply"), SILENT, .swallow_bytes = 1048579, .key = SLICE_INIT("k")},
    {LINE("set k 0 0 2147483645"), TOO_LARGE, .swallow_bytes = 2147483647, .key = SLICE_INIT("k")},
    {LINE("set k 0 0 2147483646"), FORMAT},
    {LINE("set k 0 0 2147483647"), FORMAT},
    {LINE("set k 0 0 2147483648"), FORMAT},
    {LINE("set k 0 0 4294967295"), FORMAT},
    {LINE("set k 0 0 4294967296"), FORMAT},
    {LINE("set k 0 0 4294967297"), FORMAT},
    {LINE("set k 0 0 9223372036854775807"), FORMAT},
    {LINE("set k 0 0 9223372036854775808"), FORMAT},
    {LINE("set k 0 0 -9223372036854775808"), FORMAT},
    {LINE("set k 0 0 18446744073709551615"), FORMAT},
    {LINE("set k 0 0 18446744073709551616"), FORMAT},
    {LINE("set k 0 0 99999999999999999999"), FORMAT},
    {LINE("set k 0 0 100000000000000000000"), FORMAT},
    {LINE("set k" K250 " 0 0 1"), FORMAT},
    {LINE("set k" K250 " 0 0 1 noreply"), SILENT},
    {LINE("set _everwarm:1:p:view 0 0 5"), RESERVED, .swallow_bytes = 7},
    {LINE("set _everwarm:1:p:view 0 0 5 noreply"), SILENT, .swallow_bytes = 7},
    {LINE("set _everwarm:1:p:view 0 0 1048577"), RESERVED, .swallow_bytes = 1048579},
    {LINE("set _everwarm:1:p:view 0 0 -5"), FORMAT},
    {LINE("add k 0 0"), PLAIN_ERROR},
    {LINE("replace k 0 0"), PLAIN_ERROR},
    {LINE("append k 0 0"), PLAIN_ERROR},
    {LINE("prepend k 0 0"), PLAIN_ERROR},
    {LINE("append k x y 1"), FORMAT},
    {LINE("cas k 0 0 1"), PLAIN_ERROR},
    {LINE("cas k 0 0 1 2 noreply x"), PLAIN_ERROR},
    {LINE("cas k 0 0 1 x"), FORMAT},
    {LINE("cas k 0 0 1 -1"), FORMAT},
    {LINE("cas k 0 0 1 noreply"), SILENT},
    {LINE("cas k 0 0 1 18446744073709551616"), FORMAT},
    {LINE("delete"), PLAIN_ERROR},
    {LINE("delete k 0 noreply x"), PLAIN_ERROR},
    {LINE("delete k 1"), USAGE},
    {LINE("delete k 00"), USAGE},
    {LINE("delete k 0 0"), USAGE},
    {LINE("delete k 1 noreply"), SILENT},
    {LINE("delete k noreply noreply"), SILENT},
    {LINE("delete k" K250), FORMAT},
    {LINE("delete k" K250 " 1"), USAGE},
    {LINE("delete k" K250 " noreply"), SILENT},
    {LINE("delete _everwarm:x"), RESERVED},
    {LINE("delete _everwarm:x noreply"), SILENT},
    {LINE("incr"), PLAIN_ERROR},
    {LINE("incr k"), PLAIN_ERROR},
    {LINE("incr k 1 2 3"), PLAIN_ERROR},
    {LINE("incr k abc"), DELTA},
    {LINE("incr k -1"), DELTA},
    {LINE("incr k 18446744073709551616"), DELTA},
    {LINE("incr k noreply"), SILENT},
    {LINE("incr k abc noreply"), SILENT},
    {LINE("incr k" K250 " 1"), FORMAT},
    {LINE("incr _everwarm:x 1"), RESERVED},
    {LINE("decr k"), PLAIN_ERROR},
    {LINE("decr k abc"), DELTA},
    {LINE("touch"), PLAIN_ERROR},
    {LINE("touch k"), PLAIN_ERROR},
    {LINE("touch k 1 2 3"), PLAIN_ERROR},
    {LINE("touch k x"), EXPTIME},
    {LINE("touch k 9223372036854775808"), EXPTIME},
    {LINE("touch k x noreply"), SILENT},
    {LINE("touch k" K250 " 1"), FORMAT},
    {LINE("touch _everwarm:x 1"), RESERVED},
    {LINE("flush_all 0 0 0"), PLAIN_ERROR},
    {LINE("flush_all x"), EXPTIME},
    {LINE("flush_all x noreply"), SILENT},
    {LINE("flush_all noreply 0"), EXPTIME},
    {LINE("verbosity"), PLAIN_ERROR},
    {LINE("verbosity 0 0 0"), PLAIN_ERROR},
    {LINE("verbosity x"), FORMAT},
    {LINE("verbosity -1"), FORMAT},
    {LINE("verbosity noreply"), SILENT},
    {LINE("version\r"), PLAIN_ERROR},
    {LINE("slabs reassign 1 2"), NOT_HERE("slabs")},
    {LINE("lru tune"), NOT_HERE("lru")},
    {LINE("lru_crawler metadump all"), NOT_HERE("lru_crawler")},
    {LINE("cache_memlimit 64"), NOT_HERE("cache_memlimit")},
    {LINE("shutdown graceful"), NOT_HERE("shutdown")},
    {LINE("watch fetchers"), NOT_HERE("watch")},
    {LINE("refresh_certs"), NOT_HERE("refresh_certs")},
    {LINE("extstore free_memchunks 1 1"), NOT_HERE("extstore")},
    {LINE("misbehave"), NOT_HERE("misbehave")},
    {LINE("debugtime p"), NOT_HERE("debugtime")},
    {LINE("mx k"), PLAIN_ERROR},
    {LINE("GET / HTTP/1.1"), HANGS_UP},
    {LINE("GET k"), HANGS_UP},
    {LINE("GET"), PLAIN_ERROR},
    {LINE("POST / HTTP/1.1"), HANGS_UP},
    {LINE("PUT / HTTP/1.0"), HANGS_UP},
    {LINE("HEAD / HTTP/1.0"), HANGS_UP},
    {LINE("DELETE /x HTTP/1.1"), HANGS_UP},
    {LINE("DELETE k"), PLAIN_ERROR},
    {LINE("OPTIONS * HTTP/1.1"), HANGS_UP},
    {LINE("HTTP/1.1"), HANGS_UP},
    {LINE("xx 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 HTTP/1.1"), HANGS_UP},
    {LINE("xx 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 HTTP/1.1"), PLAIN_ERROR},
    {.line = SLICE_INIT("\x16"), HANGS_UP},
    {.line = SLICE_INIT("\x80"), HANGS_UP},
};

static enum mc_parse parse(struct slice input, size_t scanned, struct mc_request *out)
{
    return mc_request_parse(input, scanned, ITEM_BYTES_MAX, out);
}

/* Feed LINE one byte after the other; all but the last must want more. */
static enum mc_parse parse_bytewise(const struct guarded *g, struct slice line,
                                    struct mc_request *r)
{
    size_t scanned = 0;
    for (size_t len = 0; len < line.len; len++) {
        ck_assert_int_eq(parse(guarded_place(g, slice_of(line.ptr, len)), scanned, r),
                         MC_PARSE_MORE);
        ck_assert_uint_eq(r->scanned_bytes, len);
        scanned = len;
    }
    return parse(guarded_place(g, line), scanned, r);
}

static struct slice with_next(struct slice line, char *room)
{
    struct slice next = SLICE("get z\r\n");
    memcpy(room, line.ptr, line.len);
    memcpy(room + line.len, next.ptr, next.len);
    return slice_of(room, line.len + next.len);
}

static void check_good(const struct good_case *c, const struct mc_request *r)
{
    ck_assert_int_eq(r->command, c->command);
    ck_assert(slice_is_equal(r->key, c->key));
    ck_assert(slice_is_equal(r->keys, c->keys));
    ck_assert(slice_is_equal(r->argument, c->argument));
    ck_assert_uint_eq(r->key_count, c->key_count);
    ck_assert_uint_eq(r->flags, c->flags);
    ck_assert_int_eq(r->exptime_s, c->exptime_s);
    ck_assert_uint_eq(r->cas, c->cas);
    ck_assert_uint_eq(r->delta, c->delta);
    ck_assert_uint_eq(r->value_bytes, c->value_bytes);
    ck_assert_int_eq(r->is_noreply, c->is_noreply);
    ck_assert_uint_eq(r->line_bytes, c->line.len);
    struct slice keys = r->keys;
    uint32_t count = 0;
    while (mc_request_next_key(&keys).len > 0) {
        count++;
    }
    ck_assert_uint_eq(count, c->keys.len > 0 ? c->key_count : 0);
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
    ck_assert(slice_is_equal(r->error, c->error));
    ck_assert_uint_eq(r->swallow_bytes, c->swallow_bytes);
    ck_assert(slice_is_equal(r->key, c->key));
    ck_assert_int_eq(r->must_close, c->must_close);
    ck_assert(r->must_close || r->line_bytes == c->line.len);
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

/* A command of exactly BYTES bytes before its LF, filled with FILL. */
static struct slice long_line(char *room, struct slice start, char fill, size_t bytes)
{
    memset(room, fill, bytes);
    memcpy(room, start.ptr, start.len);
    room[bytes] = '\n';
    return slice_of(room, bytes + 1);
}

START_TEST(bounds_lines)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    char room[INPUT_BYTES_MAX];
    struct mc_request r;
    static const struct slice starts[] = {
        SLICE_INIT("stats "), SLICE_INIT("set k 0 0 1"), SLICE_INIT("getx a "),
        SLICE_INIT("get\0"),  SLICE_INIT("  "),
    };
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        struct slice line = long_line(room, starts[i], ' ', MC_LINE_BYTES_MAX);
        ck_assert_int_eq(parse(guarded_place(&g, slice_of(line.ptr, line.len - 1)), 0, &r),
                         MC_PARSE_MORE);
        ck_assert_int_ne(parse(guarded_place(&g, line), MC_LINE_BYTES_MAX, &r), MC_PARSE_MORE);
        ck_assert(!r.must_close);
        line = long_line(room, starts[i], ' ', MC_LINE_BYTES_MAX + 1);
        for (size_t cut = 0; cut < 2; cut++) {
            ck_assert_int_eq(parse(guarded_place(&g, slice_of(line.ptr, line.len - cut)), 0, &r),
                             MC_PARSE_BAD);
            ck_assert(r.must_close);
            ck_assert_uint_eq(r.error.len, 0);
        }
    }
    guarded_destroy(&g);
}
END_TEST

START_TEST(lets_gets_be_long)
{
    struct guarded g = guarded_create(MC_GET_LINE_BYTES_MAX + 2);
    char *room = malloc(MC_GET_LINE_BYTES_MAX + 2);
    ck_assert_ptr_nonnull(room);
    struct mc_request r;
    static const struct slice starts[] = {
        SLICE_INIT("get k"),
        SLICE_INIT("gets k"),
        SLICE_INIT("gat 0 k"),
        SLICE_INIT("   gats 0 k"),
    };
    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        struct slice line = long_line(room, starts[i], ' ', MC_GET_LINE_BYTES_MAX);
        ck_assert_int_eq(parse(slice_of(room, MC_GET_LINE_BYTES_MAX), 0, &r), MC_PARSE_MORE);
        ck_assert_int_eq(parse(guarded_place(&g, line), MC_GET_LINE_BYTES_MAX, &r), MC_PARSE_DONE);
        ck_assert_uint_eq(r.key_count, 1);
        ck_assert_uint_eq(r.line_bytes, line.len);
        line = long_line(room, starts[i], ' ', MC_GET_LINE_BYTES_MAX + 1);
        ck_assert_int_eq(parse(guarded_place(&g, line), 0, &r), MC_PARSE_BAD);
        ck_assert(r.must_close);
    }
    /* Two million keys: counted, and found again. */
    struct slice line = long_line(room, SLICE("get "), 'k', MC_GET_LINE_BYTES_MAX);
    for (size_t i = 5; i < MC_GET_LINE_BYTES_MAX; i += 2) {
        room[i] = ' ';
    }
    ck_assert_int_eq(parse(guarded_place(&g, line), 0, &r), MC_PARSE_DONE);
    ck_assert_uint_eq(r.key_count, (MC_GET_LINE_BYTES_MAX - 4) / 2);
    free(room);
    guarded_destroy(&g);
}
END_TEST

START_TEST(passes_over_hundreds_of_spaces)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    char room[INPUT_BYTES_MAX];
    memset(room, ' ', sizeof room);
    memcpy(room + 300, "set", 3);
    memcpy(room + 600, "k", 1);
    memcpy(room + 900, "1", 1);
    memcpy(room + 1200, "2", 1);
    memcpy(room + 1500, "3", 1);
    memcpy(room + 1800, "noreply", 7);
    memcpy(room + 2040, "\r\n", 2);
    struct mc_request r;
    ck_assert_int_eq(parse(guarded_place(&g, slice_of(room, 2042)), 0, &r), MC_PARSE_DONE);
    ck_assert_int_eq(r.command, MC_SET);
    ck_assert(slice_is_equal(r.key, SLICE("k")));
    ck_assert_uint_eq(r.value_bytes, 3);
    ck_assert(r.is_noreply);
    guarded_destroy(&g);
}
END_TEST

/* --- reliability.md S2: CVE-2023-46852 --- */

/* TEXT with COUNT spaces for each one in it. */
static struct slice spread(char *room, const char *text, size_t count)
{
    size_t len = 0;
    for (const char *at = text; *at != 0; at++) {
        size_t copies = *at == ' ' ? count : 1;
        memset(room + len, *at, copies);
        len += copies;
    }
    return slice_of(room, len);
}

enum { SPACES_MAX = 4096, GAPS_MAX = 7 };

START_TEST(s2_every_number_of_spaces_in_each_gap)
{
    static const struct {
        const char *text;
        enum mc_command command;
        uint32_t key_count; /* 0: it is refused, for want of a key */
        size_t spaces_max;
    } rows[] = {
        {"get k1 k2 \r\n", MC_GET, 2, SPACES_MAX},
        {"gets k1 k2 \r\n", MC_GETS, 2, SPACES_MAX},
        {"gat 0 k1 k2 \r\n", MC_GAT, 2, SPACES_MAX},
        {"gats 0 k1 k2 \r\n", MC_GATS, 2, SPACES_MAX},
        {"get \r\n", MC_GET, 0, SPACES_MAX},
        {"gets \n", MC_GETS, 0, SPACES_MAX},
        {" get k1 k2 \r\n", MC_GET, 2, 100},
        /* A line that is no get may have MC_LINE_BYTES_MAX bytes in all. */
        {"set k1 1 2 3 noreply \r\n", MC_SET, 1, 330},
        {"cas k1 1 2 3 4 \r\n", MC_CAS, 1, 330},
        {"incr k1 1 \r\n", MC_INCR, 1, 600},
        {"touch k1 1 \r\n", MC_TOUCH, 1, 600},
        {"delete k1 \r\n", MC_DELETE, 1, 1000},
    };
    struct guarded g = guarded_create(GAPS_MAX * SPACES_MAX + 64);
    static char room[GAPS_MAX * SPACES_MAX + 64];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t count = 1; count <= rows[i].spaces_max; count++) {
            struct slice line = spread(room, rows[i].text, count);
            struct mc_request r;
            enum mc_parse result = parse(guarded_place(&g, line), 0, &r);
            ck_assert_uint_eq(r.line_bytes, line.len);
            if (rows[i].key_count == 0) {
                ck_assert_int_eq(result, MC_PARSE_BAD);
                ck_assert(slice_is_equal(r.error, SLICE("ERROR\r\n")));
                continue;
            }
            ck_assert_msg(result == MC_PARSE_DONE, "%zu spaces: %s", count, rows[i].text);
            ck_assert_int_eq(r.command, rows[i].command);
            ck_assert_uint_eq(r.key_count, rows[i].key_count);
            struct slice keys = rows[i].key_count == 2 ? r.keys : r.key;
            ck_assert(slice_is_equal(mc_request_next_key(&keys), SLICE("k1")));
            if (rows[i].key_count == 2) {
                ck_assert(slice_is_equal(mc_request_next_key(&keys), SLICE("k2")));
            }
        }
    }
    guarded_destroy(&g);
}
END_TEST

static bool is_inside(struct slice part, struct slice whole)
{
    return part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

/* Good and bad lines with bytes changed at random: whatever comes of it keeps the contract. */
START_TEST(keeps_its_contract_on_noise)
{
    struct guarded g = guarded_create(INPUT_BYTES_MAX);
    static const char spice[] = {' ', '\0', '\r', '\n', '-', '9', '\t', 'k', '_', '\x80'};
    struct prng prng = {.state = 20240229};
    size_t good_count = sizeof good_cases / sizeof good_cases[0];
    size_t count = good_count + sizeof bad_cases / sizeof bad_cases[0];
    for (uint32_t round = 0; round < MUTATIONS; round++) {
        size_t pick = prng_below(&prng, count);
        struct slice line =
            pick < good_count ? good_cases[pick].line : bad_cases[pick - good_count].line;
        char room[INPUT_BYTES_MAX];
        memcpy(room, line.ptr, line.len);
        for (uint64_t changes = prng_below(&prng, 3); changes > 0; changes--) {
            room[prng_below(&prng, line.len)] = spice[prng_below(&prng, sizeof spice)];
        }
        struct slice input = guarded_place(&g, slice_of(room, line.len));
        struct mc_request r;
        enum mc_parse result = parse(input, 0, &r);
        if (result == MC_PARSE_MORE) {
            ck_assert_ptr_null(memchr(input.ptr, '\n', input.len));
            continue;
        }
        ck_assert_uint_le(r.line_bytes, input.len);
        ck_assert(is_inside(r.key, input) && is_inside(r.keys, input));
        ck_assert(is_inside(r.argument, input));
        ck_assert_uint_le(r.key.len, MC_KEY_BYTES_MAX);
        if (result == MC_PARSE_BAD) {
            ck_assert(r.error.len == 0 || r.error.ptr[r.error.len - 1] == '\n');
            continue;
        }
        ck_assert_uint_le(r.value_bytes, ITEM_BYTES_MAX);
        ck_assert_uint_eq(r.swallow_bytes, 0);
        struct slice keys = r.keys;
        for (uint32_t i = 0; keys.len > 0 && i < r.key_count; i++) {
            struct slice key = mc_request_next_key(&keys);
            ck_assert(key.len > 0 && key.len <= MC_KEY_BYTES_MAX);
            ck_assert_ptr_null(memchr(key.ptr, ' ', key.len));
            ck_assert_ptr_null(memchr(key.ptr, '\0', key.len));
        }
        ck_assert_uint_eq(keys.len, 0);
    }
    guarded_destroy(&g);
}
END_TEST

START_TEST(names_its_commands)
{
    static const char *const words[] = {
#define X(name, word) [MC_##name] = (word),
        MC_COMMAND_TABLE(X)
#undef X
    };
    for (uint32_t i = 0; i < MC_COMMAND_COUNT; i++) {
        ck_assert_str_eq(mc_command_word((enum mc_command)i), words[i]);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mc/request");
    TCase *tcase = tcase_create("request");
    tcase_add_loop_test(tcase, takes_good_lines, 0,
                        (int)(sizeof good_cases / sizeof good_cases[0]));
    tcase_add_loop_test(tcase, refuses_bad_lines, 0, (int)(sizeof bad_cases / sizeof bad_cases[0]));
    tcase_add_test(tcase, bounds_lines);
    tcase_add_test(tcase, lets_gets_be_long);
    tcase_add_test(tcase, passes_over_hundreds_of_spaces);
    tcase_add_test(tcase, s2_every_number_of_spaces_in_each_gap);
    tcase_add_test(tcase, keeps_its_contract_on_noise);
    tcase_add_test(tcase, names_its_commands);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
