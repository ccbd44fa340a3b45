/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The binary request parser, on a whole stream. Promised: nothing is looked at past the input, a
 * request's parts lie in it, and what is said of it does not depend on how much has come.
 */
#include "everwarm/mc/binary.h"

#include "everwarm/base/limits.h"
#include "fuzz.h"

enum { ITEM_BYTES_MAX = 64 };

static void expect_sound(const struct mc_binary_request *request, enum mc_parse parse,
                         struct slice head)
{
    struct slice key = request->key;
    PROMISE(key.len == 0 || (key.ptr >= head.ptr && key.ptr + key.len <= head.ptr + head.len));
    PROMISE(key.len <= MC_KEY_BYTES_MAX && head.len <= MC_BINARY_HEAD_BYTES_MAX);
    PROMISE((request->status == MC_BINARY_OK) == (parse == MC_PARSE_DONE));
    PROMISE(!request->is_silent || request->must_close);
    if (parse == MC_PARSE_DONE) {
        PROMISE(request->value_bytes <= ITEM_BYTES_MAX && request->swallow_bytes == 0);
        bool is_stat = request->plain == MC_BINARY_STAT; /* its key stays here */
        PROMISE(is_stat || key.len == 0 ||
                (memchr(key.ptr, ' ', key.len) == NULL && memchr(key.ptr, '\n', key.len) == NULL &&
                 memchr(key.ptr, 0, key.len) == NULL));
    } else {
        PROMISE(key.len == 0 || request->plain == MC_BINARY_SET);
    }
}

/* Every shorter prefix is MORE, or says the same. */
static void expect_no_matter_how_cut(struct slice head, const struct mc_binary_request *whole,
                                     enum mc_parse parse)
{
    for (size_t len = 0; len <= head.len; len++) {
        char *copy = fuzz_copy(slice_of(head.ptr, len));
        struct mc_binary_request request;
        enum mc_parse now = mc_binary_parse(slice_of(copy, len), ITEM_BYTES_MAX, &request);
        PROMISE(len < head.len ? now == MC_PARSE_MORE : now == parse);
        if (len == head.len) {
            PROMISE(request.status == whole->status && request.must_close == whole->must_close &&
                    request.swallow_bytes == whole->swallow_bytes &&
                    request.value_bytes == whole->value_bytes &&
                    request.head_bytes == whole->head_bytes &&
                    slice_is_equal(request.key, whole->key));
        }
        free(copy);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice input = slice_of((const char *)data, size);
    while (input.len > 0) {
        struct mc_binary_request request;
        enum mc_parse parse = mc_binary_parse(input, ITEM_BYTES_MAX, &request);
        if (parse == MC_PARSE_MORE) {
            break;
        }
        PROMISE(request.head_bytes > 0 && request.head_bytes <= input.len);
        struct slice head = slice_of(input.ptr, request.head_bytes);
        expect_sound(&request, parse, head);
        expect_no_matter_how_cut(head, &request, parse);
        if (request.must_close) {
            break;
        }
        uint64_t behind = parse == MC_PARSE_BAD ? request.swallow_bytes : request.value_bytes;
        input = slice_skip(input, request.head_bytes);
        input = slice_skip(input, behind < input.len ? (size_t)behind : input.len);
    }
    return 0;
}
