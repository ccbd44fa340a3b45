/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Binary requests: every command as every prefix (MORE until its head is there), with its last byte
 * against an unreadable page; all lengths that a header can claim, for every command; noise. And
 * answers, byte by byte.
 */
#include "everwarm/mc/binary.h"

#include "everwarm/base/limits.h"
#include "everwarm/base/prng.h"
#include "guarded.h"

#include <check.h>
#include <stdlib.h>

enum {
    ITEM_BYTES_MAX = 1000,
    FRAME_BYTES_MAX = 2048,
    MUTATIONS = 300000,
    OPAQUE = 0xdeadbeef,
};

#define CAS UINT64_C(0x1122334455667788)

/* What a request is made of; lengths may lie. */
struct frame {
    uint8_t opcode;
    uint32_t extras_bytes;
    uint32_t key_bytes;
    uint64_t body_bytes;
    struct slice body;
};

static void put(char *at, uint64_t value, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        at[i] = (char)(value >> 8 * (count - 1 - i));
    }
}

static size_t put_frame(char *at, const struct frame *frame)
{
    memset(at, 0, MC_BINARY_HEADER_BYTES);
    put(at, MC_BINARY_REQUEST_MAGIC, 1);
    put(at + 1, frame->opcode, 1);
    put(at + 2, frame->key_bytes, 2);
    put(at + 4, frame->extras_bytes, 1);
    put(at + 8, frame->body_bytes, 4);
    put(at + 12, OPAQUE, 4);
    put(at + 16, CAS, 8);
    if (frame->body.len > 0) {
        memcpy(at + MC_BINARY_HEADER_BYTES, frame->body.ptr, frame->body.len);
    }
    return MC_BINARY_HEADER_BYTES + frame->body.len;
}

static enum mc_parse parse(struct slice input, struct mc_binary_request *out)
{
    memset(out, 0x5a, sizeof *out);
    return mc_binary_parse(input, ITEM_BYTES_MAX, out);
}

/* --- Every command in its right form --- */

#define E8  "\0\0\0\x07\0\0\0\x09"
#define E4  "\0\0\0\x09"
#define E20 "\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0\x0a\0\0\0\x09"

struct good_case {
    uint8_t opcode;
    uint8_t plain;
    bool is_quiet;
    bool wants_key;
    struct slice extras;
    struct slice key;
    uint32_t value_bytes;
};

#define GOOD(name, plain_name, quiet, with_key, extras_text, key_text, value)                      \
    {                                                                                              \
        MC_BINARY_##name, MC_BINARY_##plain_name, quiet, with_key, SLICE_INIT(extras_text),        \
            SLICE_INIT(key_text), value                                                            \
    }

static const struct good_case good_cases[] = {
    GOOD(GET, GET, false, false, "", "key", 0),
    GOOD(GETQ, GET, true, false, "", "key", 0),
    GOOD(GETK, GET, false, true, "", "key", 0),
    GOOD(GETKQ, GET, true, true, "", "key", 0),
    GOOD(SET, SET, false, false, E8, "key", 5),
    GOOD(SET, SET, false, false, E8, "k", 0),
    GOOD(SET, SET, false, false, E8, "k", ITEM_BYTES_MAX),
    GOOD(SETQ, SET, true, false, E8, "key", 5),
    GOOD(ADD, ADD, false, false, E8, "key", 5),
    GOOD(ADDQ, ADD, true, false, E8, "key", 5),
    GOOD(REPLACE, REPLACE, false, false, E8, "key", 5),
    GOOD(REPLACEQ, REPLACE, true, false, E8, "key", 5),
    GOOD(APPEND, APPEND, false, false, "", "key", 5),
    GOOD(APPENDQ, APPEND, true, false, "", "key", 0),
    GOOD(PREPEND, PREPEND, false, false, "", "key", 5),
    GOOD(PREPENDQ, PREPEND, true, false, "", "key", 5),
    GOOD(DELETE, DELETE, false, false, "", "key", 0),
    GOOD(DELETEQ, DELETE, true, false, "", "key", 0),
    GOOD(INCREMENT, INCREMENT, false, false, E20, "key", 0),
    GOOD(INCREMENTQ, INCREMENT, true, false, E20, "key", 0),
    GOOD(DECREMENT, DECREMENT, false, false, E20, "key", 0),
    GOOD(DECREMENTQ, DECREMENT, true, false, E20, "key", 0),
    GOOD(QUIT, QUIT, false, false, "", "", 0),
    GOOD(QUITQ, QUIT, true, false, "", "", 0),
    GOOD(FLUSH, FLUSH, false, false, "", "", 0),
    GOOD(FLUSH, FLUSH, false, false, E4, "", 0),
    GOOD(FLUSHQ, FLUSH, true, false, "", "", 0),
    GOOD(NOOP, NOOP, false, false, "", "", 0),
    GOOD(VERSION, VERSION, false, false, "", "", 0),
    GOOD(STAT, STAT, false, false, "", "", 0),
    GOOD(STAT, STAT, false, false, "", "settings", 0),
    GOOD(TOUCH, TOUCH, false, false, E4, "key", 0),
    GOOD(GAT, GAT, false, false, E4, "key", 0),
    GOOD(GATQ, GAT, true, false, E4, "key", 0),
    GOOD(GATK, GAT, false, true, E4, "key", 0),
    GOOD(GATKQ, GAT, true, true, E4, "key", 0),
};

enum { GOOD_CASES = sizeof good_cases / sizeof good_cases[0] };

static size_t put_good(char *at, const struct good_case *c)
{
    char body[64];
    size_t len = c->extras.len + c->key.len;
    memcpy(body, c->extras.ptr, c->extras.len);
    memcpy(body + c->extras.len, c->key.ptr, c->key.len);
    return put_frame(at, &(struct frame){.opcode = c->opcode,
                                         .extras_bytes = (uint32_t)c->extras.len,
                                         .key_bytes = (uint32_t)c->key.len,
                                         .body_bytes = len + c->value_bytes,
                                         .body = slice_of(body, len)});
}

static void check_good(const struct good_case *c, const struct mc_binary_request *r, size_t head)
{
    ck_assert_uint_eq(r->head_bytes, head);
    ck_assert_uint_eq(r->opcode, c->opcode);
    ck_assert_uint_eq(r->plain, c->plain);
    ck_assert_uint_eq(r->opaque, OPAQUE);
    ck_assert(r->cas == CAS);
    ck_assert(slice_is_equal(r->key, c->key));
    ck_assert_uint_eq(r->value_bytes, c->value_bytes);
    ck_assert_uint_eq(r->swallow_bytes, 0);
    ck_assert_int_eq(r->is_quiet, c->is_quiet);
    ck_assert_int_eq(r->wants_key, c->wants_key);
    ck_assert_int_eq(r->status, MC_BINARY_OK);
    ck_assert_uint_eq(r->flags, c->extras.len == 8 ? 7 : 0);
    ck_assert_int_eq(r->exptime_s, c->extras.len > 0 ? 9 : 0);
    ck_assert_uint_eq(r->delta, c->extras.len == 20 ? 5 : 0);
    ck_assert_uint_eq(r->initial, c->extras.len == 20 ? 10 : 0);
    ck_assert_int_eq(r->has_initial, c->extras.len == 20);
}

START_TEST(takes_every_command)
{
    struct guarded g = guarded_create(FRAME_BYTES_MAX);
    char room[FRAME_BYTES_MAX];
    struct mc_binary_request r;
    const struct good_case *c = &good_cases[_i];
    size_t head = put_good(room, c);
    for (size_t len = 0; len < head; len++) {
        ck_assert_int_eq(parse(guarded_place(&g, slice_of(room, len)), &r), MC_PARSE_MORE);
    }
    ck_assert_int_eq(parse(guarded_place(&g, slice_of(room, head)), &r), MC_PARSE_DONE);
    check_good(c, &r, head);
    memcpy(room + head, "\x80\x01rest", 6);
    ck_assert_int_eq(parse(guarded_place(&g, slice_of(room, head + 6)), &r), MC_PARSE_DONE);
    check_good(c, &r, head);
    guarded_destroy(&g);
}
END_TEST

/* --- reliability.md S5: CVE-2016-8704, -8705, -8706 --- */

/* What a command may look like, written down again: extras, key (0 none, 1 one, 2 maybe), value. */
struct shape {
    uint8_t extras;
    uint8_t key;
    bool has_value;
};

static bool shape_of(uint32_t opcode, struct shape *out)
{
    switch (opcode) {
    case 0x00:
    case 0x09:
    case 0x0c:
    case 0x0d:
    case 0x04:
    case 0x14:
        *out = (struct shape){0, 1, false};
        return true;
    case 0x01:
    case 0x02:
    case 0x03:
    case 0x11:
    case 0x12:
    case 0x13:
        *out = (struct shape){8, 1, true};
        return true;
    case 0x05:
    case 0x06:
    case 0x15:
    case 0x16:
        *out = (struct shape){20, 1, false};
        return true;
    case 0x07:
    case 0x17:
    case 0x0a:
    case 0x0b:
    case 0x08:
    case 0x18:
        *out = (struct shape){0, 0, false};
        return true;
    case 0x0e:
    case 0x0f:
    case 0x19:
    case 0x1a:
        *out = (struct shape){0, 1, true};
        return true;
    case 0x10:
        *out = (struct shape){0, 2, false};
        return true;
    case 0x1c:
    case 0x1d:
    case 0x1e:
    case 0x23:
    case 0x24:
        *out = (struct shape){4, 1, false};
        return true;
    default:
        return false;
    }
}

static bool fits(uint32_t opcode, const struct shape *shape, const struct frame *f)
{
    bool is_flush = opcode == MC_BINARY_FLUSH || opcode == MC_BINARY_FLUSHQ;
    bool has_extras = f->extras_bytes == shape->extras || (is_flush && f->extras_bytes == 4);
    bool has_key = shape->key == 2 || (f->key_bytes != 0) == (shape->key == 1);
    return has_extras && has_key &&
           (shape->has_value || f->body_bytes == f->extras_bytes + f->key_bytes);
}

/* Does the parser say of F what it must? A ck_assert for each of millions would take minutes. */
static bool is_right(const struct frame *f, enum mc_parse result, const struct mc_binary_request *r)
{
    uint64_t head = f->extras_bytes + f->key_bytes;
    struct shape shape = {0, 0, false};
    bool is_bad = result == MC_PARSE_BAD;
    if (head > f->body_bytes) {
        return is_bad && r->must_close && r->status == MC_BINARY_UNKNOWN_COMMAND;
    }
    if (f->key_bytes > MC_KEY_BYTES_MAX) {
        return is_bad && r->must_close && r->status == MC_BINARY_INVALID;
    }
    if (!shape_of(f->opcode, &shape)) {
        return is_bad && !r->must_close && r->status == MC_BINARY_UNKNOWN_COMMAND &&
               r->head_bytes + r->swallow_bytes == MC_BINARY_HEADER_BYTES + f->body_bytes;
    }
    if (!fits(f->opcode, &shape, f)) {
        return is_bad && r->must_close && r->status == MC_BINARY_INVALID;
    }
    return result == (head > 0 ? MC_PARSE_MORE : MC_PARSE_DONE);
}

/* The header alone, against the end of what can be read: no length in it is followed. */
START_TEST(s5_believes_no_length)
{
    static const uint32_t far_keys[] = {256, 257, 32767, 32768, 65535};
    struct guarded g = guarded_create(MC_BINARY_HEADER_BYTES);
    char *at = g.end - MC_BINARY_HEADER_BYTES;
    uint32_t opcode = _i < 0x28 ? (uint32_t)_i : 0xff;
    for (uint32_t key = 0; key < 256 + sizeof far_keys / sizeof far_keys[0]; key++) {
        for (uint32_t extras = 0; extras < 256; extras++) {
            uint32_t key_bytes = key < 256 ? key : far_keys[key - 256];
            uint64_t head = key_bytes + extras;
            const uint64_t bodies[] = {0,          head - 1,   head,      head + 1,
                                       0x7fffffff, 0x80000000, 0xffffffff};
            for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
                struct frame f = {.opcode = (uint8_t)opcode,
                                  .extras_bytes = extras,
                                  .key_bytes = key_bytes,
                                  .body_bytes = bodies[i] & 0xffffffff};
                put_frame(at, &f);
                struct mc_binary_request r;
                enum mc_parse result = parse(slice_of(at, MC_BINARY_HEADER_BYTES), &r);
                if (!is_right(&f, result, &r)) {
                    ck_abort_msg("opcode %x, extras %u, key %u, body %u", opcode, extras, key_bytes,
                                 (unsigned)f.body_bytes);
                }
            }
        }
    }
    guarded_destroy(&g);
}
END_TEST

/* --- Values and keys --- */

static enum mc_parse parse_store(uint8_t opcode, struct slice key, uint64_t value_bytes,
                                 struct mc_binary_request *out)
{
    static char room[FRAME_BYTES_MAX];
    char body[600] = {0};
    memcpy(body + 8, key.ptr, key.len);
    size_t len = put_frame(room, &(struct frame){.opcode = opcode,
                                                 .extras_bytes = 8,
                                                 .key_bytes = (uint32_t)key.len,
                                                 .body_bytes = 8 + key.len + value_bytes,
                                                 .body = slice_of(body, 8 + key.len)});
    return parse(slice_of(room, len), out);
}

START_TEST(bounds_values)
{
    struct mc_binary_request r;
    ck_assert_int_eq(parse_store(MC_BINARY_SET, SLICE("k"), ITEM_BYTES_MAX, &r), MC_PARSE_DONE);
    static const uint64_t too_many[] = {ITEM_BYTES_MAX + 1, 0x7fffffff, 0xfffffff0};
    for (size_t i = 0; i < 3; i++) {
        ck_assert_int_eq(parse_store(MC_BINARY_SET, SLICE("k"), too_many[i], &r), MC_PARSE_BAD);
        ck_assert_int_eq(r.status, MC_BINARY_TOO_LARGE);
        ck_assert_uint_eq(r.swallow_bytes, too_many[i]);
        ck_assert(!r.must_close && slice_is_equal(r.key, SLICE("k")));
    }
    ck_assert_int_eq(parse_store(MC_BINARY_ADD, SLICE("k"), ITEM_BYTES_MAX + 1, &r), MC_PARSE_BAD);
    ck_assert_uint_eq(r.key.len, 0); /* memcached keeps the old item */
}
END_TEST

START_TEST(refuses_keys_that_nodes_cannot_be_sent)
{
    static const struct slice keys[] = {SLICE_INIT("a b"),  SLICE_INIT(" "),
                                        SLICE_INIT("a\n"),  SLICE_INIT("a\r\nflush_all\r\n"),
                                        SLICE_INIT("a\0b"), SLICE_INIT("_everwarm:1:p:view")};
    struct mc_binary_request r;
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        ck_assert_int_eq(parse_store(MC_BINARY_SET, keys[i], 3, &r), MC_PARSE_BAD);
        ck_assert_int_eq(r.status, MC_BINARY_INVALID);
        ck_assert(!r.must_close && r.key.len == 0 && r.swallow_bytes == 3);
    }
    static const struct slice fine[] = {SLICE_INIT("a\tb"), SLICE_INIT("\xc3\xa4\xff\x01\r"),
                                        SLICE_INIT("_everwarm"), SLICE_INIT("a_everwarm:")};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        ck_assert_int_eq(parse_store(MC_BINARY_SET, fine[i], 3, &r), MC_PARSE_DONE);
    }
    char key[MC_KEY_BYTES_MAX + 1];
    memset(key, 'k', sizeof key);
    ck_assert_int_eq(parse_store(MC_BINARY_SET, slice_of(key, MC_KEY_BYTES_MAX), 3, &r),
                     MC_PARSE_DONE);
    ck_assert_int_eq(parse_store(MC_BINARY_SET, slice_of(key, sizeof key), 3, &r), MC_PARSE_BAD);
    ck_assert(r.must_close && r.status == MC_BINARY_INVALID);
}
END_TEST

START_TEST(reads_expiries_and_initial_values)
{
    static const struct {
        uint32_t sent;
        int64_t exptime_s;
        bool has_initial;
    } cases[] = {{0, 0, true},
                 {2592000, 2592000, true},
                 {0x7fffffff, 0x7fffffff, true},
                 {0x80000000, 0x7fffffff, true},
                 {0xfffffffe, 0x7fffffff, true},
                 {0xffffffff, 0x7fffffff, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char room[FRAME_BYTES_MAX];
        char body[21];
        memset(body, 0xff, 16);
        put(body + 16, cases[i].sent, 4);
        body[20] = 'k';
        struct mc_binary_request r;
        size_t len = put_frame(room, &(struct frame){.opcode = MC_BINARY_DECREMENT,
                                                     .extras_bytes = 20,
                                                     .key_bytes = 1,
                                                     .body_bytes = 21,
                                                     .body = slice_of(body, 21)});
        ck_assert_int_eq(parse(slice_of(room, len), &r), MC_PARSE_DONE);
        ck_assert(r.delta == UINT64_MAX && r.initial == UINT64_MAX);
        ck_assert_int_eq(r.exptime_s, cases[i].exptime_s);
        ck_assert_int_eq(r.has_initial, cases[i].has_initial);
    }
}
END_TEST

START_TEST(hangs_up_on_another_protocol)
{
    static const char firsts[] = {'g', '\x81', '\x16', 0, '\x7f', '\xff'};
    struct mc_binary_request r;
    for (size_t i = 0; i < sizeof firsts; i++) {
        ck_assert_int_eq(parse(slice_of(&firsts[i], 1), &r), MC_PARSE_BAD);
        ck_assert(r.must_close && r.is_silent);
    }
}
END_TEST

static bool keeps_contract(const struct mc_binary_request *r, enum mc_parse result,
                           struct slice input)
{
    struct slice key = r->key;
    bool is_inside = key.len == 0 || (key.ptr >= input.ptr && key.len <= MC_KEY_BYTES_MAX &&
                                      key.ptr + key.len <= input.ptr + input.len);
    bool is_done = result == MC_PARSE_DONE;
    return is_inside && r->head_bytes <= input.len && (r->status == MC_BINARY_OK) == is_done &&
           (!is_done || r->value_bytes <= ITEM_BYTES_MAX) && (!r->is_silent || r->must_close);
}

/* Good requests with bytes changed at random: whatever comes of it keeps the contract. */
START_TEST(keeps_its_contract_on_noise)
{
    struct guarded g = guarded_create(FRAME_BYTES_MAX);
    struct prng prng = {.state = 20160907};
    for (uint32_t round = 0; round < MUTATIONS; round++) {
        char room[FRAME_BYTES_MAX];
        size_t len = put_good(room, &good_cases[prng_below(&prng, GOOD_CASES)]);
        for (uint64_t changes = prng_below(&prng, 4); changes > 0; changes--) {
            room[prng_below(&prng, len)] = (char)prng_below(&prng, 256);
        }
        len = 1 + (size_t)prng_below(&prng, len);
        struct slice input = slice_of(memcpy(g.end - len, room, len), len);
        struct mc_binary_request r;
        enum mc_parse result = parse(input, &r);
        if (result != MC_PARSE_MORE && !keeps_contract(&r, result, input)) {
            ck_abort_msg("round %u", round);
        }
    }
    guarded_destroy(&g);
}
END_TEST

/* --- Answers --- */

START_TEST(writes_answers)
{
    char room[128];
    struct mc_writer w = mc_writer_of(room, sizeof room);
    mc_binary_write_header(&w, &(struct mc_binary_reply){.opcode = MC_BINARY_GETK,
                                                         .opaque = OPAQUE,
                                                         .cas = CAS,
                                                         .extras_bytes = 4,
                                                         .key_bytes = 3,
                                                         .value_bytes = 0x010203});
    mc_binary_write_u32(&w, 7);
    static const char expected[] = "\x81\x0c\0\x03\x04\0\0\0\0\x01\x02\x0a\xde\xad\xbe\xef"
                                   "\x11\x22\x33\x44\x55\x66\x77\x88\0\0\0\x07";
    ck_assert(slice_is_equal(slice_of(room, w.len), slice_of(expected, sizeof expected - 1)));
    w = mc_writer_of(room, sizeof room);
    mc_binary_write_status(&w, (struct mc_binary_reply){.opcode = MC_BINARY_GET,
                                                        .status = MC_BINARY_NOT_FOUND,
                                                        .opaque = 1});
    static const char missed[] =
        "\x81\0\0\0\0\0\0\x01\0\0\0\x09\0\0\0\x01\0\0\0\0\0\0\0\0Not found";
    ck_assert(slice_is_equal(slice_of(room, w.len), slice_of(missed, sizeof missed - 1)));
    w = mc_writer_of(room, sizeof room);
    mc_binary_write_u64(&w, CAS);
    ck_assert(slice_is_equal(slice_of(room, w.len), SLICE("\x11\x22\x33\x44\x55\x66\x77\x88")));
}
END_TEST

START_TEST(has_room_for_every_status)
{
    static const enum mc_binary_status all[] = {
#define X(name, code, text) MC_BINARY_##name,
        MC_BINARY_STATUS_TABLE(X)
#undef X
    };
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        char room[MC_BINARY_STATUS_BYTES_MAX];
        struct mc_writer w = mc_writer_of(room, sizeof room);
        mc_binary_write_status(&w, (struct mc_binary_reply){.status = all[i]});
        ck_assert(!w.is_full);
        ck_assert_uint_eq(w.len, MC_BINARY_HEADER_BYTES + mc_binary_status_text(all[i]).len);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("mc/binary");
    TCase *tcase = tcase_create("binary");
    tcase_add_loop_test(tcase, takes_every_command, 0, GOOD_CASES);
    tcase_add_loop_test(tcase, s5_believes_no_length, 0, 0x29);
    tcase_add_test(tcase, bounds_values);
    tcase_add_test(tcase, refuses_keys_that_nodes_cannot_be_sent);
    tcase_add_test(tcase, reads_expiries_and_initial_values);
    tcase_add_test(tcase, hangs_up_on_another_protocol);
    tcase_add_test(tcase, keeps_its_contract_on_noise);
    tcase_add_test(tcase, writes_answers);
    tcase_add_test(tcase, has_room_for_every_status);
    suite_add_tcase(suite, tcase);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
