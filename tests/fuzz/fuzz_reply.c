/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The parser of nodes' replies, on a whole stream. Promised: nothing is looked at past the input,
 * no length is believed that is above the limit, and how the bytes were cut makes no difference.
 */
#include "everwarm/base/limits.h"
#include "everwarm/mc/reply.h"
#include "fuzz.h"

enum { ITEM_BYTES_MAX = 64 };

static void expect_inside(struct slice inner, struct slice outer)
{
    PROMISE(inner.len == 0 ||
            (inner.ptr >= outer.ptr && inner.ptr + inner.len <= outer.ptr + outer.len));
}

static void expect_same(const struct mc_reply *a, const struct mc_reply *b)
{
    PROMISE(a->kind == b->kind && a->value_bytes == b->value_bytes && a->flags == b->flags &&
            a->cas == b->cas && a->ttl_s == b->ttl_s && a->number == b->number &&
            a->has_cas == b->has_cas && a->has_ttl == b->has_ttl && a->is_won == b->is_won &&
            a->is_stale == b->is_stale && a->is_sent == b->is_sent &&
            slice_is_equal(a->key, b->key) && slice_is_equal(a->text, b->text));
}

/* The line alone, in pieces. */
static void expect_no_matter_how_cut(struct slice line, const struct mc_reply *whole)
{
    size_t scanned = 0;
    for (size_t piece = 1; piece <= 3; piece++) {
        size_t len = line.len * piece / 3;
        char *copy = fuzz_copy(slice_of(line.ptr, len));
        struct mc_reply reply;
        enum mc_parse parse = mc_reply_parse(slice_of(copy, len), scanned, ITEM_BYTES_MAX, &reply);
        PROMISE(parse == (piece == 3 ? MC_PARSE_DONE : MC_PARSE_MORE));
        if (parse == MC_PARSE_DONE) {
            expect_same(&reply, whole);
        } else {
            scanned = reply.scanned_bytes;
            PROMISE(scanned <= len);
        }
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of((const char *)data, size);
    while (input.len > 0) {
        struct mc_reply reply;
        if (mc_reply_parse(input, 0, ITEM_BYTES_MAX, &reply) != MC_PARSE_DONE) {
            break;
        }
        PROMISE(reply.line_bytes > 0 && reply.line_bytes <= input.len &&
                reply.line_bytes <= MC_REPLY_LINE_BYTES_MAX && reply.value_bytes <= ITEM_BYTES_MAX);
        struct slice line = slice_of(input.ptr, reply.line_bytes);
        expect_inside(reply.key, line);
        expect_inside(reply.text, line);
        PROMISE(reply.kind != MC_REPLY_VALUE || reply.key.len <= MC_KEY_BYTES_MAX);
        expect_no_matter_how_cut(line, &reply);
        input = slice_skip(input, reply.line_bytes);
        if (reply.kind == MC_REPLY_VALUE || reply.kind == MC_REPLY_VA) {
            uint64_t behind = reply.value_bytes + 2;
            input = slice_skip(input, behind < input.len ? (size_t)behind : input.len);
        }
    }
    return 0;
}
