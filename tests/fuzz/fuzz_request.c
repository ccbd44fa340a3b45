/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The classic request parser, on a whole stream: line after line, with data blocks passed over.
 *
 * Promised: it looks at nothing past its input; what it answers depends neither on how the bytes
 * were cut nor on what comes behind the line; all its slices lie in the line; keys are such that no
 * key can become a second word or a second command.
 */
#include "everwarm/base/limits.h"
#include "everwarm/mc/request.h"
#include "fuzz.h"

enum { ITEM_BYTES_MAX = 64 };

static void expect_inside(struct slice inner, struct slice outer)
{
    PROMISE(inner.len == 0 ||
            (inner.ptr >= outer.ptr && inner.ptr + inner.len <= outer.ptr + outer.len));
}

static void expect_key(struct slice key)
{
    PROMISE(key.len > 0 && key.len <= MC_KEY_BYTES_MAX);
    PROMISE(memchr(key.ptr, ' ', key.len) == NULL && memchr(key.ptr, '\n', key.len) == NULL &&
            memchr(key.ptr, 0, key.len) == NULL);
}

static void expect_sound(const struct mc_request *request, enum mc_parse parse, struct slice line)
{
    expect_inside(request->key, line);
    expect_inside(request->keys, line);
    expect_inside(request->argument, line);
    if (parse == MC_PARSE_BAD) {
        PROMISE(request->key.len == 0 || request->command == MC_SET ||
                (request->dialect == MC_DIALECT_META && request->value_bytes > ITEM_BYTES_MAX));
        PROMISE(request->error.len == 0 || request->error.ptr[request->error.len - 1] == '\n');
        return;
    }
    PROMISE(request->command < MC_COMMAND_COUNT && request->value_bytes <= ITEM_BYTES_MAX);
    if (request->key_count > 0) {
        expect_key(request->key);
    }
    if (request->command <= MC_GATS) {
        struct slice keys = request->keys;
        uint32_t count = 0;
        for (struct slice key = mc_request_next_key(&keys); key.len > 0;
             key = mc_request_next_key(&keys)) {
            expect_key(key);
            count++;
        }
        PROMISE(count == request->key_count);
    }
}

static void expect_same(const struct mc_request *a, const struct mc_request *b)
{
    PROMISE(a->command == b->command && a->is_noreply == b->is_noreply &&
            a->must_close == b->must_close && a->flags == b->flags && a->cas == b->cas &&
            a->exptime_s == b->exptime_s && a->delta == b->delta &&
            a->value_bytes == b->value_bytes && a->swallow_bytes == b->swallow_bytes &&
            a->key_count == b->key_count && slice_is_equal(a->key, b->key) &&
            slice_is_equal(a->keys, b->keys) && slice_is_equal(a->error, b->error) &&
            slice_is_equal(a->argument, b->argument));
}

/* The line alone, and as it came in three pieces. */
static void expect_no_matter_how_cut(struct slice input, const struct mc_request *whole,
                                     enum mc_parse parse)
{
    size_t bytes = whole->must_close ? input.len : whole->line_bytes;
    size_t scanned = 0;
    for (size_t piece = 1; piece <= 3; piece++) {
        size_t len = bytes * piece / 3;
        char *copy = fuzz_copy(slice_of(input.ptr, len));
        struct mc_request request;
        enum mc_parse now =
            mc_request_parse(slice_of(copy, len), scanned, ITEM_BYTES_MAX, &request);
        if (now == MC_PARSE_MORE) {
            PROMISE(piece < 3);
            scanned = request.scanned_bytes;
            PROMISE(scanned <= len);
        } else {
            PROMISE(piece == 3 || whole->must_close);
            PROMISE(now == parse);
            expect_same(&request, whole);
        }
        free(copy);
        if (now != MC_PARSE_MORE) {
            return;
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of((const char *)data, size);
    while (input.len > 0) {
        struct mc_request request;
        enum mc_parse parse = mc_request_parse(input, 0, ITEM_BYTES_MAX, &request);
        if (parse == MC_PARSE_MORE) {
            PROMISE(request.scanned_bytes <= input.len);
            break;
        }
        PROMISE(request.line_bytes > 0 && request.line_bytes <= input.len);
        expect_sound(&request, parse, slice_of(input.ptr, request.line_bytes));
        expect_no_matter_how_cut(input, &request, parse);
        if (request.must_close) {
            break;
        }
        bool is_store = request.command >= MC_SET && request.command <= MC_CAS;
        uint64_t behind = parse == MC_PARSE_BAD ? request.swallow_bytes
                          : is_store            ? request.value_bytes + 2
                                                : 0;
        input = slice_skip(input, request.line_bytes);
        input = slice_skip(input, behind < input.len ? (size_t)behind : input.len);
    }
    return 0;
}
