/* SPDX-License-Identifier: BSD-2-Clause */
/* Recording. */
#include "sim/history.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/prng.h"
#include "everwarm/mc/encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum { HISTORY_INDEX_FIRST = 1024 }; /* a power of two */

uint32_t history_add(struct history *history, const struct history_op *op)
{
    if (history->count == history->capacity) {
        history->capacity = history->capacity == 0 ? 1024 : 2 * history->capacity;
        history->ops = realloc(history->ops, history->capacity * sizeof(*history->ops));
        REQUIRE(history->ops != NULL);
    }
    history->ops[history->count] = *op;
    return history->count++;
}

static uint64_t history_hash(struct slice text, uint32_t flags)
{
    uint64_t hash = flags;
    for (size_t i = 0; i < text.len; i++) {
        hash = (hash ^ (unsigned char)text.ptr[i]) * UINT64_C(1099511628211);
    }
    return prng_mix(hash);
}

/* The place in the index where TEXT is or belongs. */
static uint32_t *history_place(struct history *history, struct slice text, uint32_t flags)
{
    uint32_t at = (uint32_t)history_hash(text, flags) & (history->index_size - 1);
    for (;; at = (at + 1) & (history->index_size - 1)) {
        uint32_t number = history->index[at];
        if (number == 0) {
            return &history->index[at];
        }
        const struct history_value *value = &history->values[number - 1];
        if (value->flags == flags && slice_is_equal(slice_of(value->text, value->len), text)) {
            return &history->index[at];
        }
    }
}

static void history_grow_index(struct history *history)
{
    history->index_size = history->index_size == 0 ? HISTORY_INDEX_FIRST : 2 * history->index_size;
    free(history->index);
    history->index = calloc(history->index_size, sizeof(*history->index));
    REQUIRE(history->index != NULL);
    for (uint32_t i = 0; i < history->value_count; i++) {
        const struct history_value *value = &history->values[i];
        *history_place(history, slice_of(value->text, value->len), value->flags) = i + 1;
    }
}

int32_t history_value(struct history *history, struct slice text, uint32_t flags)
{
    while (text.len > 1 && text.ptr[text.len - 1] == ' ') {
        text.len--;
    }
    if (2 * history->value_count >= history->index_size) {
        history_grow_index(history);
    }
    uint32_t *place = history_place(history, text, flags);
    if (*place != 0) {
        return (int32_t)*place - 1;
    }
    if (history->value_count == history->value_capacity) {
        history->value_capacity = history->value_capacity == 0 ? 512 : 2 * history->value_capacity;
        history->values =
            realloc(history->values, history->value_capacity * sizeof(*history->values));
        REQUIRE(history->values != NULL);
    }
    struct history_value *value = &history->values[history->value_count];
    *value = (struct history_value){
        .text = malloc(text.len + 1), .len = (uint32_t)text.len, .flags = flags};
    REQUIRE(value->text != NULL);
    memcpy(value->text, text.ptr, text.len);
    value->text[text.len] = '\0';
    *place = ++history->value_count;
    return (int32_t)*place - 1;
}

int32_t history_join(struct history *history, int32_t first, int32_t second, int32_t flags_of)
{
    char text[4096];
    const struct history_value *a = &history->values[first];
    const struct history_value *b = &history->values[second];
    uint32_t flags = history->values[flags_of].flags;
    REQUIRE(a->len + b->len <= sizeof(text));
    memcpy(text, a->text, a->len);
    memcpy(text + a->len, b->text, b->len);
    return history_value(history, slice_of(text, a->len + b->len), flags);
}

bool history_number(const struct history *history, int32_t value, uint64_t *out)
{
    const struct history_value *v = &history->values[value];
    return mc_read_u64(slice_of(v->text, v->len), out);
}

void history_clear(struct history *history)
{
    for (uint32_t i = 0; i < history->value_count; i++) {
        free(history->values[i].text);
    }
    history->value_count = 0;
    history->count = 0;
    if (history->index_size > 0) {
        memset(history->index, 0, history->index_size * sizeof(*history->index));
    }
}

void history_free(struct history *history)
{
    history_clear(history);
    free(history->ops);
    free(history->values);
    free(history->index);
    *history = (struct history){0};
}

const char *history_kind_word(enum history_kind kind)
{
    static const char *const WORDS[] = {"get", "set",    "add",   "replace", "append",  "prepend",
                                        "cas", "delete", "delta", "touch",   "(forget)"};
    return WORDS[kind];
}

const char *history_result_word(enum history_result result)
{
    static const char *const WORDS[] = {"pending", "ok", "no", "exists", "non-numeric", "unknown"};
    return WORDS[result];
}

static const char *history_text(const struct history *history, int32_t value)
{
    return value < 0 ? "-" : history->values[value].text;
}

void history_print(const struct history *history, uint32_t key)
{
    for (uint32_t i = 0; i < history->count; i++) {
        const struct history_op *op = &history->ops[i];
        if (op->key != key) {
            continue;
        }
        bool has_seen = op->kind == HISTORY_GET || op->kind == HISTORY_CAS;
        printf("  %10" PRIu64 " .. %10" PRIu64 "  c%-2u %-8s %-20s %-11s %s%s", op->asked_us,
               op->told_us, op->client, history_kind_word(op->kind),
               has_seen && op->kind == HISTORY_GET ? "" : history_text(history, op->value),
               history_result_word(op->result), has_seen ? "saw " : "",
               has_seen ? history_text(history, op->seen) : "");
        if (op->kind == HISTORY_DELTA) {
            printf("%+" PRId64 " = %" PRIu64, op->delta, op->number);
        }
        printf("%s%s\n", op->is_noreply ? " noreply" : "",
               op->is_near_fault ? " (near fault)" : "");
    }
}

bool history_forgive_miss(struct history_op *op)
{
    if (op->kind == HISTORY_ADD && op->result != HISTORY_NO) {
        op->kind = HISTORY_SET;
    } else if (op->kind == HISTORY_DELETE && op->result == HISTORY_NO) {
        op->result = HISTORY_UNKNOWN;
    } else if (op->result == HISTORY_NO) {
        return op->kind == HISTORY_ADD;
    }
    return true;
}
