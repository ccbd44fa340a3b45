/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text is put together of words, each of which is mostly right; a binary request of a header whose
 * lengths mostly agree. Values are full of commands. In the end a stream that need not be sound is
 * cut, doubled and scribbled over here and there.
 */
#include "stream.h"

#include "everwarm/base/limits.h"
#include "everwarm/mc/binary.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum {
    REQUESTS_MAX = 24,
    KEYS_OF_MULTIGET_MAX = 300,
    /* Around the item limit of the dataplane that is tried, and around what it takes at once. */
    ITEM_BYTES = 2048,
    ONE_OF_LENGTHS = 8,
};

static uint64_t below(struct stream_maker *maker, uint64_t bound)
{
    return prng_below(&maker->prng, bound);
}

static bool is_one_in(struct stream_maker *maker, uint64_t count)
{
    return below(maker, count) == 0;
}

/* A mistake: one time in COUNT, and never in a sound stream. */
static bool is_wrong(struct stream_maker *maker, uint64_t count)
{
    return !maker->is_sound && is_one_in(maker, count);
}

static void put(struct stream_maker *maker, struct slice bytes)
{
    if (bytes.len > maker->capacity - maker->len) {
        return;
    }
    if (bytes.len > 0) {
        memcpy(maker->ptr + maker->len, bytes.ptr, bytes.len);
    }
    maker->len += bytes.len;
}

static void put_byte(struct stream_maker *maker, unsigned char byte)
{
    char one = (char)byte;
    put(maker, slice_of(&one, 1));
}

__attribute__((format(printf, 2, 3))) static void put_format(struct stream_maker *maker,
                                                             const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    int len = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    put(maker, slice_of(text, (size_t)len));
}

static void put_times(struct stream_maker *maker, unsigned char byte, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        put_byte(maker, byte);
    }
}

#define PICK(maker, table) ((table)[below((maker), sizeof(table) / sizeof((table)[0]))])

/* --- Words --- */

/* Keys of a few names, so that they meet; now and then one that is at a limit or past it. */
static void put_key(struct stream_maker *maker)
{
    static const char *const odd[] = {
        "a\rb",      "a\x01",     "\xc3\xa4", "noreply", "_everwarm:x", "HTTP/1.1", "a\tb",
        "0",         "_everwarm", "-1",       "get",     "\x80\xff",    "k=v&x",    "%0d%0aset",
        "__proto__", "END",       "VALUE",    "\r",      "\x16\x03",    "'\""};
    if (maker->is_sound || !is_one_in(maker, 6)) {
        put_format(maker, "k%u", (unsigned)below(maker, 6));
    } else if (is_one_in(maker, 2)) {
        put(maker, slice_of_string(PICK(maker, odd)));
    } else {
        static const uint8_t lengths[] = {1, 249, 250, 251, 255};
        put_times(maker, 'x', PICK(maker, lengths));
    }
}

static void put_space(struct stream_maker *maker)
{
    bool is_long = is_one_in(maker, 60);
    put_times(maker, ' ', is_long ? 1 + below(maker, 500) : is_one_in(maker, 12) ? 2 : 1);
}

static void put_end(struct stream_maker *maker)
{
    static const char *const wrong[] = {"\r\r\n", "\r", " \r\n", "\n\r\n", "\r\n\r\n", "", "  \n"};
    if (is_wrong(maker, 20)) {
        put(maker, slice_of_string(PICK(maker, wrong)));
    } else if (is_wrong(maker, 40)) {
        put(maker, slice_of("\0\r\n", 3));
    } else {
        put(maker, is_one_in(maker, 6) ? SLICE("\n") : SLICE("\r\n"));
    }
}

static void put_number(struct stream_maker *maker)
{
    static const char *const odd[] = {"-1",
                                      "2147483645",
                                      "2147483646",
                                      "2147483647",
                                      "2147483648",
                                      "4294967295",
                                      "4294967296",
                                      "+5",
                                      "0x10",
                                      "9223372036854775807",
                                      "1e3",
                                      "007",
                                      "-0",
                                      "noreply",
                                      "9223372036854775808",
                                      "-",
                                      "1.5",
                                      "99999999999999999999",
                                      "18446744073709551615",
                                      "18446744073709551616",
                                      "-2147483649",
                                      "100000000000000000000000"};
    if (is_wrong(maker, 8)) {
        put(maker, slice_of_string(PICK(maker, odd)));
    } else {
        put_format(maker, "%u", (unsigned)below(maker, is_one_in(maker, 3) ? 100000 : 10));
    }
}

static uint64_t value_bytes(struct stream_maker *maker)
{
    static const uint16_t odd[] = {0, 1, 2, 2046, ITEM_BYTES - 1, ITEM_BYTES, ITEM_BYTES + 1, 9000};
    return is_one_in(maker, 6) ? PICK(maker, odd) : below(maker, 60);
}

/* COUNT bytes that would be commands if they were not a value. */
static void put_value(struct stream_maker *maker, uint64_t count)
{
    static const char *const forms[] = {"\r\nset %.*s 0 0 1\r\nx\r\n", "\r\ndelete %.*s\r\n",
                                        "\nget %.*s\n", "\r\nmd %.*s q\r\n"};
    char commands[128];
    const char *form = PICK(maker, forms);
    /* The forms are those above. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    int len =
        snprintf(commands, sizeof(commands), form, (int)maker->smuggled.len, maker->smuggled.ptr);
#pragma GCC diagnostic pop
    uint64_t skip = below(maker, 3);
    for (uint64_t at = 0; at < count; at++) {
        put_byte(maker, (unsigned char)commands[(at + skip) % (uint64_t)len]);
    }
}

static void put_data(struct stream_maker *maker, uint64_t said)
{
    uint64_t count = said;
    if (is_wrong(maker, 12)) {
        count += below(maker, 7);
        count = count < 3 ? 0 : count - 3;
    }
    put_value(maker, count);
    if (is_wrong(maker, 15)) {
        put_end(maker);
    } else {
        put(maker, SLICE("\r\n"));
    }
}

/* --- Text --- */

static void put_noreply(struct stream_maker *maker)
{
    if (is_one_in(maker, 5)) {
        put_space(maker);
        put(maker, is_wrong(maker, 8) ? SLICE("noreplyx") : SLICE("noreply"));
    }
}

static void put_words(struct stream_maker *maker, uint64_t numbers)
{
    put_space(maker);
    put_key(maker);
    for (uint64_t i = 0; i < numbers; i++) {
        put_space(maker);
        put_number(maker);
    }
}

static void put_store(struct stream_maker *maker)
{
    static const char *const words[] = {"set", "set", "add", "replace", "append", "prepend", "cas"};
    const char *word = PICK(maker, words);
    uint64_t said = value_bytes(maker);
    put(maker, slice_of_string(word));
    put_words(maker, 2);
    put_space(maker);
    if (is_wrong(maker, 25)) {
        put_number(maker);
    } else {
        put_format(maker, "%u", (unsigned)said);
    }
    if (word[0] == 'c' ? !is_wrong(maker, 20) : is_wrong(maker, 30)) {
        put_space(maker);
        put_number(maker);
    }
    put_noreply(maker);
    put_end(maker);
    put_data(maker, said);
}

static void put_get(struct stream_maker *maker)
{
    static const char *const words[] = {"get", "gets", "gat", "gats"};
    const char *word = PICK(maker, words);
    put(maker, slice_of_string(word));
    if (word[1] == 'a') {
        put_space(maker);
        put_number(maker);
    }
    uint64_t keys = is_one_in(maker, 12) ? below(maker, KEYS_OF_MULTIGET_MAX) : below(maker, 5);
    for (uint64_t i = 0; i < keys; i++) {
        put_space(maker);
        put_key(maker);
    }
    put_end(maker);
}

static void put_one_key(struct stream_maker *maker)
{
    static const struct {
        const char *word;
        uint64_t numbers;
    } forms[] = {{"delete", 0}, {"delete", 1}, {"incr", 1}, {"decr", 1}, {"touch", 1}};
    uint64_t at = below(maker, sizeof(forms) / sizeof(forms[0]));
    put(maker, slice_of_string(forms[at].word));
    put_words(maker, is_wrong(maker, 12) ? below(maker, 4) : forms[at].numbers);
    put_noreply(maker);
    put_end(maker);
}

static void put_other(struct stream_maker *maker)
{
    static const char *const lines[] = {"version",
                                        "mn",
                                        "stats",
                                        "verbosity 1",
                                        "verbosity",
                                        "flush_all",
                                        "flush_all 5",
                                        "quit",
                                        "GET / HTTP/1.1",
                                        "POST / HTTP/1.0",
                                        "slabs",
                                        "lru tune",
                                        "shutdown",
                                        "watch fetchers",
                                        "cache_memlimit 1",
                                        "",
                                        " ",
                                        "ver",
                                        "flush_all noreply",
                                        "stats items",
                                        "m",
                                        "mx k1",
                                        "mga k1",
                                        "gets",
                                        "\x16\x03\x01\x02",
                                        "\x80",
                                        "set",
                                        "noreply",
                                        "me k1",
                                        "stats reset",
                                        "stats sizes",
                                        "verbosity 1 noreply"};
    put(maker, slice_of_string(PICK(maker, lines)));
    put_end(maker);
}

/* --- Meta --- */

static void put_flags(struct stream_maker *maker)
{
    static const char letters[] = "bcfhklqstuvxICDEFJLMNOPRTSabz0";
    uint64_t count = is_wrong(maker, 30) ? below(maker, 24) : below(maker, 6);
    for (uint64_t i = 0; i < count; i++) {
        char letter = letters[below(maker, sizeof(letters) - 1)];
        put_space(maker);
        put(maker, slice_of(&letter, 1));
        if (letter == 'M') {
            put_byte(maker, (unsigned char)"SEARPDIZ+-e"[below(maker, 11)]);
        } else if (letter == 'O') {
            put_times(maker, 'o', below(maker, is_one_in(maker, 10) ? 40 : 8));
        } else if (strchr("CDEFJNRT", letter) != NULL && !is_wrong(maker, 15)) {
            put_number(maker);
        }
    }
}

/* A key in base64, mostly as an encoder writes it. */
static void put_base64(struct stream_maker *maker)
{
    static const char *const keys[] = {"a2V5", "azE=", "azI=", "YQpi", "YSBi", "AAAA"};
    static const char *const wrong[] = {"a2V", "azE", "X2V2ZXJ3YXJtOng=", "====", "YR==", "a2 V5"};
    bool is_bad = is_wrong(maker, 4);
    put(maker, slice_of_string(is_bad ? PICK(maker, wrong) : PICK(maker, keys)));
    put(maker, SLICE(" "));
}

static void put_meta(struct stream_maker *maker)
{
    static const char kinds[] = "gggsssdddaaaen";
    char kind = kinds[below(maker, sizeof(kinds) - 1)];
    uint64_t said = value_bytes(maker);
    bool is_base64 = is_one_in(maker, 6);
    put_format(maker, "m%c", kind);
    put_space(maker);
    if (is_base64) {
        put_base64(maker);
    } else {
        put_key(maker);
        put_space(maker);
    }
    if (kind == 's') {
        put_format(maker, "%u", (unsigned)said);
    }
    put(maker, is_base64 ? SLICE(" b") : SLICE(""));
    put_flags(maker);
    put_end(maker);
    if (kind == 's') {
        put_data(maker, said);
    }
}

static void put_text_request(struct stream_maker *maker)
{
    switch (below(maker, 12)) {
    case 0:
    case 1:
    case 2:
        put_store(maker);
        break;
    case 3:
    case 4:
        put_get(maker);
        break;
    case 5:
    case 6:
        put_one_key(maker);
        break;
    case 7:
        put_other(maker);
        break;
    default:
        put_meta(maker);
        break;
    }
}

/* --- Binary --- */

static void put_big_endian(struct stream_maker *maker, uint64_t value, uint32_t bytes)
{
    for (uint32_t i = 0; i < bytes; i++) {
        put_byte(maker, (unsigned char)(value >> 8 * (bytes - 1 - i)));
    }
}

static uint32_t extras_of(uint8_t opcode)
{
    switch (opcode) {
    case MC_BINARY_SET:
    case MC_BINARY_ADD:
    case MC_BINARY_REPLACE:
    case MC_BINARY_SETQ:
    case MC_BINARY_ADDQ:
    case MC_BINARY_REPLACEQ:
        return 8;
    case MC_BINARY_INCREMENT:
    case MC_BINARY_DECREMENT:
    case MC_BINARY_INCREMENTQ:
    case MC_BINARY_DECREMENTQ:
        return 20;
    case MC_BINARY_TOUCH:
    case MC_BINARY_GAT:
    case MC_BINARY_GATQ:
    case MC_BINARY_GATK:
    case MC_BINARY_GATKQ:
        return 4;
    default:
        return 0;
    }
}

static bool has_value(uint8_t opcode)
{
    return extras_of(opcode) == 8 || opcode == MC_BINARY_APPEND || opcode == MC_BINARY_PREPEND ||
           opcode == MC_BINARY_APPENDQ || opcode == MC_BINARY_PREPENDQ;
}

static bool has_key(uint8_t opcode)
{
    return opcode != MC_BINARY_QUIT && opcode != MC_BINARY_QUITQ && opcode != MC_BINARY_NOOP &&
           opcode != MC_BINARY_VERSION && opcode != MC_BINARY_FLUSH && opcode != MC_BINARY_FLUSHQ;
}

/* A key may hold any byte there. */
static void put_binary_key(struct stream_maker *maker)
{
    static const char *const odd[] = {"a b", "a\r\nget ", "\n", " ", "a\nmd k1 q\n"};
    if (is_one_in(maker, 8)) {
        put(maker, slice_of_string(PICK(maker, odd)));
        put(maker, is_one_in(maker, 2) ? maker->smuggled : SLICE(""));
    } else {
        put_key(maker);
    }
}

/* A length that is wrong in one of the ways that matter. */
static uint64_t spoil(struct stream_maker *maker, uint64_t length)
{
    const uint64_t lengths[ONE_OF_LENGTHS] = {0,          1,         length + 1, length - 1,
                                              UINT32_MAX, INT32_MAX, 250,        251};
    return lengths[below(maker, ONE_OF_LENGTHS)];
}

static void put_binary_request(struct stream_maker *maker)
{
    uint8_t opcode = (uint8_t)below(maker, is_one_in(maker, 10) ? 256 : 0x25);
    uint32_t extras = extras_of(opcode);
    size_t header_at = maker->len;
    put_times(maker, 0, MC_BINARY_HEADER_BYTES);
    size_t body_at = maker->len;
    for (uint32_t i = 0; i < extras; i++) {
        put_byte(maker, is_one_in(maker, 4) ? (unsigned char)below(maker, 256) : 0);
    }
    size_t key_at = maker->len;
    if (has_key(opcode)) {
        put_binary_key(maker);
    }
    uint64_t key_bytes = maker->len - key_at;
    if (has_value(opcode)) {
        put_value(maker, value_bytes(maker));
    }
    uint64_t body = maker->len - body_at;
    if (maker->len - header_at < MC_BINARY_HEADER_BYTES) {
        maker->len = header_at; /* no room is left */
        return;
    }
    if (is_wrong(maker, 25)) {
        key_bytes = spoil(maker, key_bytes);
    }
    if (is_wrong(maker, 25)) {
        body = spoil(maker, body);
    }
    if (is_wrong(maker, 25)) {
        extras = (uint32_t)below(maker, 256);
    }
    size_t end = maker->len;
    maker->len = header_at;
    put_byte(maker, is_wrong(maker, 40) ? (unsigned char)below(maker, 256) : 0x80);
    put_byte(maker, opcode);
    put_big_endian(maker, key_bytes, 2);
    put_byte(maker, (unsigned char)extras);
    put_byte(maker, is_one_in(maker, 20) ? 1 : 0); /* the data type */
    put_big_endian(maker, 0, 2);
    put_big_endian(maker, body, 4);
    put_big_endian(maker, prng_next(&maker->prng), 4);
    put_big_endian(maker, is_one_in(maker, 3) ? below(maker, 20) : 0, 8);
    maker->len = end;
}

/* --- A stream --- */

/* Change some bytes, drop some, say some twice. */
static void scribble(struct stream_maker *maker)
{
    for (uint64_t count = below(maker, 4); count > 0 && maker->len > 0; count--) {
        size_t at = (size_t)below(maker, maker->len);
        size_t len = (size_t)below(maker, 40);
        len = len < maker->len - at ? len : maker->len - at;
        switch (below(maker, 4)) {
        case 0:
            maker->ptr[at] = (char)below(maker, 256);
            break;
        case 1:
            memmove(maker->ptr + at, maker->ptr + at + len, maker->len - at - len);
            maker->len -= len;
            break;
        case 2:
            if (len < maker->capacity - maker->len) {
                memmove(maker->ptr + at + len, maker->ptr + at, maker->len - at);
                maker->len += len;
            }
            break;
        default:
            maker->ptr[at] = " \r\n\0"[below(maker, 4)];
            break;
        }
    }
}

void stream_make(struct stream_maker *maker, uint64_t seed)
{
    maker->prng.state = seed;
    maker->len = 0;
    maker->is_sound = is_one_in(maker, 3);
    bool is_binary = is_one_in(maker, 3);
    for (uint64_t count = 1 + below(maker, REQUESTS_MAX); count > 0; count--) {
        if (is_binary) {
            put_binary_request(maker);
        } else {
            put_text_request(maker);
        }
    }
    if (!maker->is_sound && is_one_in(maker, 2)) {
        scribble(maker);
    }
}
