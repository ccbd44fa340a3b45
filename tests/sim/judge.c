/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and judging, key by key. As in verdict.c, a history that is wrong is judged once more,
 * with the excuses of replication.md section 1.
 */
#include "sim/judge.h"

#include "everwarm/base/invariant.h"
#include "sim/linear.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    JUDGE_MARKS_MAX = 1024,
    JUDGE_KEYS_MAX = 65536,
    JUDGE_WORD_BYTES = 256,
    JUDGE_REQUEST_US = 1500 * 1000,
    JUDGE_FORGET_AFTER_US = 8 * 1000 * 1000,
    /* Of a write at once with another the copies are settled by then: they are compared, and once
     * more a request timeout later. */
    JUDGE_SETTLED_US = JUDGE_REQUEST_US + 500 * 1000,
    /* The leader has changed by then, if it does: a node that comes back enters so soon after the
     * fault. */
    JUDGE_SURVIVES_US = 2 * JUDGE_REQUEST_US,
};

struct judge_marks {
    uint64_t at_us[JUDGE_MARKS_MAX];
    uint32_t count;
};

struct judge {
    struct history history;
    char *keys[JUDGE_KEYS_MAX];
    bool is_split[JUDGE_KEYS_MAX];
    uint32_t key_count;
    struct judge_marks faults;
    struct judge_marks lapses;
    struct judge_marks flushes;
};

struct judge_case {
    struct history_op extra[HISTORY_OPS_MAX];
    uint32_t extra_count;
    struct history_op forgiven[HISTORY_OPS_MAX];
    uint32_t forgiven_count;
    const struct history_op *ops[HISTORY_OPS_MAX];
    uint32_t count;
    bool is_full;
};

static uint32_t judge_key(struct judge *j, const char *name)
{
    /* Recorders write the ops of a key near each other: look from the end. */
    for (uint32_t i = j->key_count; i-- > 0;) {
        if (strcmp(j->keys[i], name) == 0) {
            return i;
        }
    }
    REQUIRE(j->key_count < JUDGE_KEYS_MAX);
    j->keys[j->key_count] = strdup(name);
    return j->key_count++;
}

static int32_t judge_value(struct judge *j, const char *text)
{
    return strcmp(text, "-") == 0 ? HISTORY_ABSENT
                                  : history_value(&j->history, slice_of_string(text), 0);
}

static bool judge_kind(const char *word, enum history_kind *out)
{
    for (int kind = HISTORY_GET; kind <= HISTORY_TOUCH; kind++) {
        if (strcmp(word, history_kind_word((enum history_kind)kind)) == 0) {
            *out = (enum history_kind)kind;
            return true;
        }
    }
    return false;
}

static bool judge_result(const char *word, enum history_result *out)
{
    for (int result = HISTORY_OK; result <= HISTORY_UNKNOWN; result++) {
        if (strcmp(word, history_result_word((enum history_result)result)) == 0) {
            *out = (enum history_result)result;
            return true;
        }
    }
    return false;
}

static bool judge_op(struct judge *j, const char *line)
{
    char key[JUDGE_WORD_BYTES];
    char kind[JUDGE_WORD_BYTES];
    char result[JUDGE_WORD_BYTES];
    char value[JUDGE_WORD_BYTES];
    char seen[JUDGE_WORD_BYTES];
    char number[JUDGE_WORD_BYTES];
    struct history_op op = {0};
    int words =
        sscanf(line, "op %255s %u %" SCNu64 " %" SCNu64 " %255s %255s %255s %255s %255s", key,
               &op.client, &op.asked_us, &op.told_us, kind, result, value, seen, number);
    if (words != 9 || !judge_kind(kind, &op.kind) || !judge_result(result, &op.result)) {
        return false;
    }
    op.key = judge_key(j, key);
    if (op.kind == HISTORY_DELTA) {
        op.delta = strtoll(value, NULL, 10);
        op.number = strcmp(number, "-") == 0 ? 0 : strtoull(number, NULL, 10);
    } else {
        op.value = judge_value(j, value);
    }
    op.seen = judge_value(j, seen);
    if (op.result == HISTORY_UNKNOWN) {
        op.is_optional = true;
        op.told_us += 2 * JUDGE_REQUEST_US;
    }
    history_add(&j->history, &op);
    return true;
}

static bool judge_line(struct judge *j, const char *line)
{
    char word[JUDGE_WORD_BYTES];
    uint64_t at_us;
    if (strncmp(line, "op ", 3) == 0) {
        return judge_op(j, line);
    }
    if (sscanf(line, "split %255s", word) == 1) {
        j->is_split[judge_key(j, word)] = true;
        return true;
    }
    struct judge_marks *marks = NULL;
    marks = sscanf(line, "fault %" SCNu64, &at_us) == 1 ? &j->faults : marks;
    marks = sscanf(line, "lapse %" SCNu64, &at_us) == 1 ? &j->lapses : marks;
    marks = sscanf(line, "flush %" SCNu64, &at_us) == 1 ? &j->flushes : marks;
    if (marks != NULL && marks->count < JUDGE_MARKS_MAX) {
        marks->at_us[marks->count++] = at_us;
        return true;
    }
    return false;
}

static bool judge_is_near(const struct judge_marks *marks, const struct history_op *op)
{
    for (uint32_t i = 0; i < marks->count; i++) {
        if (marks->at_us[i] <= op->told_us &&
            marks->at_us[i] + 2 * JUDGE_REQUEST_US >= op->asked_us) {
            return true;
        }
    }
    return false;
}

/* Did a fault strike before the copies of what OP wrote had been compared? */
static bool judge_is_unsettled(const struct judge *j, const struct history_op *op)
{
    for (uint32_t i = 0; i < j->faults.count; i++) {
        if (j->faults.at_us[i] >= op->asked_us &&
            j->faults.at_us[i] <= op->told_us + JUDGE_SETTLED_US) {
            return true;
        }
    }
    return false;
}

static bool judge_is_write(const struct history_op *op)
{
    return op->kind != HISTORY_GET && op->kind != HISTORY_TOUCH;
}

static void judge_add(struct judge_case *c, const struct history_op *op)
{
    c->is_full = c->is_full || c->count == HISTORY_OPS_MAX;
    if (!c->is_full) {
        c->ops[c->count++] = op;
    }
}

static void judge_excuse(struct judge_case *c, const struct history_op *op)
{
    c->is_full = c->is_full || c->extra_count == HISTORY_OPS_MAX;
    if (!c->is_full) {
        c->extra[c->extra_count] = *op;
        c->extra[c->extra_count].is_optional = true;
        judge_add(c, &c->extra[c->extra_count++]);
    }
}

static int judge_order(const void *a, const void *b)
{
    const struct history_op *x = *(const struct history_op *const *)a;
    const struct history_op *y = *(const struct history_op *const *)b;
    if (x->asked_us != y->asked_us) {
        return x->asked_us < y->asked_us ? -1 : 1;
    }
    return x < y ? -1 : x > y;
}

/* A read that another replica answered may be newer than the next one: it says nothing while such a
 * write was under way. */
static bool judge_is_early_read(const struct judge *j, const struct history_op *read)
{
    if (read->kind != HISTORY_GET || !judge_is_near(&j->faults, read)) {
        return false;
    }
    for (uint32_t i = 0; i < j->history.count; i++) {
        const struct history_op *op = &j->history.ops[i];
        if (op->key == read->key && judge_is_write(op) && op->asked_us < read->told_us &&
            op->told_us > read->told_us && op->result != HISTORY_NO) {
            return true;
        }
    }
    return false;
}

static bool judge_is_contended(const struct judge *j, const struct history_op *write)
{
    for (uint32_t i = 0; i < j->history.count; i++) {
        const struct history_op *op = &j->history.ops[i];
        if (op != write && op->key == write->key && judge_is_write(op) &&
            op->result != HISTORY_NO && op->asked_us < write->told_us &&
            op->told_us > write->asked_us) {
            return true;
        }
    }
    return false;
}

/* The text of a counter's value, as the history has it; -1: nobody saw it. */
static int32_t judge_number(const struct judge *j, uint64_t number)
{
    char text[24];
    int len = snprintf(text, sizeof(text), "%" PRIu64, number);
    for (uint32_t i = 0; i < j->history.value_count; i++) {
        const struct history_value *value = &j->history.values[i];
        if (slice_is_equal(slice_of(value->text, value->len), slice_of(text, (size_t)len))) {
            return (int32_t)i;
        }
    }
    return -1;
}

/* Of two writes at once the earlier may survive if the leader changes before they have settled: its
 * result is there again then. */
static void judge_add_survivor(const struct judge *j, struct judge_case *c,
                               const struct history_op *op)
{
    struct history_op again = *op;
    bool is_done = op->result == HISTORY_OK || op->kind == HISTORY_DELETE;
    if (!is_done || !judge_is_contended(j, op)) {
        return;
    }
    again.result = HISTORY_UNKNOWN;
    again.told_us += JUDGE_SURVIVES_US;
    again.kind = op->kind == HISTORY_DELETE ? HISTORY_FORGET : HISTORY_SET;
    again.value = op->kind == HISTORY_DELTA ? judge_number(j, op->number) : op->value;
    if (again.kind == HISTORY_FORGET || again.value >= 0) {
        judge_excuse(c, &again);
    }
}

static void judge_add_excuses(const struct judge *j, struct judge_case *c,
                              const struct history_op *op)
{
    if (!judge_is_write(op)) {
        return;
    }
    if (judge_is_near(&j->faults, op)) {
        struct history_op again = *op;
        again.result = HISTORY_UNKNOWN;
        judge_excuse(c, &again);
    }
    if (judge_is_near(&j->faults, op) || judge_is_unsettled(j, op)) {
        judge_add_survivor(j, c, op);
    }
    bool is_doubtful = op->result == HISTORY_UNKNOWN || judge_is_near(&j->lapses, op);
    if (is_doubtful) {
        struct history_op forget = {.kind = HISTORY_FORGET,
                                    .key = op->key,
                                    .asked_us = op->asked_us,
                                    .told_us = op->told_us + JUDGE_FORGET_AFTER_US};
        judge_excuse(c, &forget);
    }
}

static enum linear_verdict judge_key_once(struct judge *j, uint32_t key, bool is_excused)
{
    static struct judge_case c;
    c.count = 0;
    c.extra_count = 0;
    c.forgiven_count = 0;
    c.is_full = false;
    for (uint32_t i = 0; i < j->history.count; i++) {
        const struct history_op *op = &j->history.ops[i];
        if (op->key != key || (op->kind == HISTORY_GET && op->result == HISTORY_UNKNOWN) ||
            (is_excused && judge_is_early_read(j, op))) {
            continue;
        }
        if (judge_is_near(&j->flushes, op) && c.forgiven_count < HISTORY_OPS_MAX) {
            c.forgiven[c.forgiven_count] = *op;
            op = &c.forgiven[c.forgiven_count++];
            if (!history_forgive_miss(&c.forgiven[c.forgiven_count - 1])) {
                continue;
            }
        }
        judge_add(&c, op);
        if (is_excused) {
            judge_add_excuses(j, &c, op);
        }
    }
    qsort(c.ops, c.count, sizeof(c.ops[0]), judge_order);
    return c.is_full ? LINEAR_TOO_HARD : linear_judge(&j->history, c.ops, c.count);
}

static bool judge_read(struct judge *j, FILE *in)
{
    char line[2048];
    while (fgets(line, sizeof(line), in) != NULL) {
        if (!judge_line(j, line)) {
            printf("no line of a history: %s", line);
            return false;
        }
    }
    return true;
}

int judge_file(const char *file)
{
    static struct judge j;
    FILE *in = fopen(file, "r");
    if (in == NULL || !judge_read(&j, in)) {
        return 2;
    }
    (void)fclose(in);
    uint32_t wrong = 0;
    uint32_t excused = 0;
    uint32_t too_hard = 0;
    uint32_t split = 0;
    for (uint32_t key = 0; key < j.key_count; key++) {
        if (j.is_split[key]) {
            split++;
            continue;
        }
        enum linear_verdict verdict = judge_key_once(&j, key, false);
        if (verdict == LINEAR_NO) {
            verdict = judge_key_once(&j, key, true);
            excused += verdict == LINEAR_YES ? 1 : 0;
        }
        too_hard += verdict == LINEAR_TOO_HARD ? 1 : 0;
        if (verdict == LINEAR_NO) {
            wrong++;
            printf("the history of %s has no order:\n", j.keys[key]);
            history_print(&j.history, key);
        }
    }
    printf("%u operations, %u keys: %u without an order, %u right by an excuse, %u not judged, %u "
           "split\n",
           j.history.count, j.key_count, wrong, excused, too_hard, split);
    for (uint32_t key = 0; key < j.key_count; key++) {
        free(j.keys[key]);
    }
    history_free(&j.history);
    return wrong == 0 ? 0 : 1;
}
