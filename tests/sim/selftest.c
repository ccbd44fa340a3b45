/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Histories with one thing wrong each, and their neighbours with nothing wrong. A history is
 * written as a list of steps "ASKED TOLD WHAT"; a checker that lets a bad one pass proves nothing.
 */
#include "sim/selftest.h"

#include "everwarm/base/invariant.h"
#include "sim/linear.h"
#include "sim/world.h"

#include <stdio.h>
#include <stdlib.h>

enum { SELFTEST_STEPS_MAX = 12, NEVER = 1000000 };

struct selftest_step {
    uint64_t asked_us;
    uint64_t told_us;
    enum history_kind kind;
    enum history_result result;
    const char *value; /* written, or read by GET */
    const char *seen;  /* CAS */
    int64_t delta;
    uint64_t number;
    bool is_optional;
};

struct selftest_case {
    const char *name;
    enum linear_verdict verdict;
    struct selftest_step steps[SELFTEST_STEPS_MAX]; /* up to the first with told_us 0 */
};

#define SET(a, t, v)                                                                               \
    {                                                                                              \
        a, t, HISTORY_SET, HISTORY_OK, v, 0, 0, 0, false                                           \
    }
#define LOST_SET(a, t, v)                                                                          \
    {                                                                                              \
        a, t, HISTORY_SET, HISTORY_UNKNOWN, v, 0, 0, 0, true                                       \
    }
#define HIT(a, t, v)                                                                               \
    {                                                                                              \
        a, t, HISTORY_GET, HISTORY_OK, v, 0, 0, 0, false                                           \
    }
#define MISS(a, t)                                                                                 \
    {                                                                                              \
        a, t, HISTORY_GET, HISTORY_NO, 0, 0, 0, 0, false                                           \
    }
#define ADD(a, t, v, r)                                                                            \
    {                                                                                              \
        a, t, HISTORY_ADD, r, v, 0, 0, 0, false                                                    \
    }
#define REPLACE(a, t, v, r)                                                                        \
    {                                                                                              \
        a, t, HISTORY_REPLACE, r, v, 0, 0, 0, false                                                \
    }
#define APPEND(a, t, v)                                                                            \
    {                                                                                              \
        a, t, HISTORY_APPEND, HISTORY_OK, v, 0, 0, 0, false                                        \
    }
#define PREPEND(a, t, v)                                                                           \
    {                                                                                              \
        a, t, HISTORY_PREPEND, HISTORY_OK, v, 0, 0, 0, false                                       \
    }
#define CAS(a, t, v, s, r)                                                                         \
    {                                                                                              \
        a, t, HISTORY_CAS, r, v, s, 0, 0, false                                                    \
    }
#define DELETE(a, t, r)                                                                            \
    {                                                                                              \
        a, t, HISTORY_DELETE, r, 0, 0, 0, 0, false                                                 \
    }
#define LOST_DELETE(a, t)                                                                          \
    {                                                                                              \
        a, t, HISTORY_DELETE, HISTORY_UNKNOWN, 0, 0, 0, 0, true                                    \
    }
#define INCR(a, t, d, n)                                                                           \
    {                                                                                              \
        a, t, HISTORY_DELTA, HISTORY_OK, 0, 0, d, n, false                                         \
    }
#define LOST_INCR(a, t, d)                                                                         \
    {                                                                                              \
        a, t, HISTORY_DELTA, HISTORY_UNKNOWN, 0, 0, d, 0, true                                     \
    }
#define TOUCH(a, t, r)                                                                             \
    {                                                                                              \
        a, t, HISTORY_TOUCH, r, 0, 0, 0, 0, false                                                  \
    }
#define FORGET(a, t)                                                                               \
    {                                                                                              \
        a, t, HISTORY_FORGET, HISTORY_UNKNOWN, 0, 0, 0, 0, true                                    \
    }
#define OK     HISTORY_OK
#define NO     HISTORY_NO
#define EXISTS HISTORY_EXISTS

static const struct selftest_case SELFTEST_CASES[] = {
    {"lost write", LINEAR_NO, {SET(1, 2, "x"), MISS(3, 4)}},
    {"kept write", LINEAR_YES, {SET(1, 2, "x"), HIT(3, 4, "x")}},
    {"stale read", LINEAR_NO, {SET(1, 2, "x"), SET(3, 4, "y"), HIT(5, 6, "x")}},
    {"concurrent read of the old", LINEAR_YES, {SET(1, 2, "x"), SET(3, 9, "y"), HIT(5, 6, "x")}},
    {"read goes back",
     LINEAR_NO,
     {SET(1, 2, "x"), SET(3, 19, "y"), HIT(5, 6, "y"), HIT(7, 8, "x")}},
    {"undone delete", LINEAR_NO, {SET(1, 2, "x"), DELETE(3, 4, OK), HIT(5, 6, "x")}},
    {"undone delete by a filled node, later",
     LINEAR_NO,
     {SET(1, 2, "x"), DELETE(3, 4, OK), MISS(5, 6), HIT(7, 8, "x")}},
    {"delete of nothing says deleted", LINEAR_NO, {DELETE(1, 2, OK)}},
    {"value nobody wrote", LINEAR_NO, {SET(1, 2, "x"), HIT(3, 4, "z")}},
    {"value of the future", LINEAR_NO, {HIT(1, 2, "x"), SET(3, 4, "x")}},
    {"add over a value", LINEAR_NO, {SET(1, 2, "x"), ADD(3, 4, "y", OK)}},
    {"add refused on nothing", LINEAR_NO, {ADD(1, 2, "y", NO)}},
    {"two adds both stored", LINEAR_NO, {ADD(1, 9, "x", OK), ADD(2, 8, "y", OK)}},
    {"two adds, one stored", LINEAR_YES, {ADD(1, 9, "x", NO), ADD(2, 8, "y", OK)}},
    {"replace of nothing", LINEAR_NO, {REPLACE(1, 2, "x", OK)}},
    {"replaced", LINEAR_YES, {SET(1, 2, "x"), REPLACE(3, 4, "y", OK), HIT(5, 6, "y")}},
    {"cas over a newer value",
     LINEAR_NO,
     {SET(1, 2, "x"), HIT(3, 4, "x"), SET(5, 6, "y"), CAS(7, 8, "z", "x", OK)}},
    {"two cas on one",
     LINEAR_NO,
     {SET(1, 2, "x"), CAS(3, 9, "y", "x", OK), CAS(4, 8, "z", "x", OK)}},
    {"cas refused for no reason", LINEAR_NO, {SET(1, 2, "x"), CAS(3, 4, "y", "x", EXISTS)}},
    {"cas and its loser",
     LINEAR_YES,
     {SET(1, 2, "x"), CAS(3, 9, "y", "x", OK), CAS(4, 8, "z", "x", EXISTS)}},
    {"lost increment", LINEAR_NO, {SET(1, 2, "5"), INCR(3, 4, 1, 6), INCR(5, 6, 1, 6)}},
    {"increment twice", LINEAR_NO, {SET(1, 2, "5"), INCR(3, 4, 1, 6), HIT(5, 6, "7")}},
    {"increments", LINEAR_YES, {SET(1, 2, "99"), INCR(3, 9, 1, 101), INCR(4, 8, 1, 100)}},
    {"decrement below nothing", LINEAR_YES, {SET(1, 2, "5"), INCR(3, 4, -9, 0), HIT(5, 6, "0")}},
    {"a decrement that could stand before or after",
     LINEAR_YES,
     {SET(1, 2, "0"), INCR(3, 9, 10, 10), INCR(4, 8, -29, 0), HIT(10, 11, "0")}},
    {"append twice", LINEAR_NO, {SET(1, 2, "x"), APPEND(3, 4, "+a"), HIT(5, 6, "x+a+a")}},
    {"appends in the wrong order",
     LINEAR_NO,
     {SET(1, 2, "x"), APPEND(3, 4, "+a"), APPEND(5, 6, "+b"), HIT(7, 8, "x+b+a")}},
    {"append and prepend",
     LINEAR_YES,
     {SET(1, 2, "x"), APPEND(3, 9, "+a"), PREPEND(4, 8, "b+"), HIT(10, 11, "b+x+a")}},
    {"touch of nothing", LINEAR_NO, {TOUCH(1, 2, OK)}},
    {"touch refused", LINEAR_NO, {SET(1, 2, "x"), TOUCH(3, 4, NO)}},
    {"an unanswered write seen", LINEAR_YES, {LOST_SET(1, NEVER, "x"), HIT(3, 4, "x")}},
    {"an unanswered write never seen", LINEAR_YES, {LOST_SET(1, NEVER, "x"), MISS(3, 4)}},
    {"an unanswered write flickers",
     LINEAR_NO,
     {LOST_SET(1, NEVER, "x"), HIT(3, 4, "x"), MISS(5, 6)}},
    {"an unanswered write too late",
     LINEAR_NO,
     {SET(1, 2, "y"), LOST_SET(3, 20, "x"), HIT(21, 22, "y"), HIT(23, 24, "x")}},
    {"an unanswered delete",
     LINEAR_YES,
     {SET(1, 2, "x"), LOST_DELETE(3, NEVER), HIT(4, 5, "x"), MISS(6, 7)}},
    {"an unanswered increment",
     LINEAR_YES,
     {SET(1, 2, "5"), LOST_INCR(3, NEVER, 1), INCR(5, 6, 1, 7)}},
    {"an unanswered increment twice",
     LINEAR_NO,
     {SET(1, 2, "5"), LOST_INCR(3, NEVER, 1), INCR(5, 6, 1, 8)}},
    {"a miss between two hits",
     LINEAR_NO,
     {SET(1, 2, "x"), HIT(3, 4, "x"), MISS(5, 6), HIT(7, 8, "x")}},
    {"two readers see two writes in two orders",
     LINEAR_NO,
     {SET(1, 20, "x"), SET(2, 19, "y"), HIT(3, 4, "x"), HIT(5, 6, "y"), HIT(7, 8, "x")}},
    {"two readers see two writes in one order",
     LINEAR_YES,
     {SET(1, 20, "x"), SET(2, 19, "y"), HIT(3, 4, "x"), HIT(5, 6, "y"), HIT(7, 8, "y")}},
    {"lock taken twice", LINEAR_NO, {ADD(1, 2, "x", OK), ADD(3, 4, "y", OK), DELETE(5, 6, OK)}},
    {"lock freed by nobody",
     LINEAR_NO,
     {ADD(1, 2, "x", OK), ADD(3, 4, "y", NO), ADD(5, 6, "z", OK)}},
    {"lock handed on",
     LINEAR_YES,
     {ADD(1, 2, "x", OK), DELETE(3, 6, OK), ADD(4, 7, "y", OK), HIT(8, 9, "y")}},
    {"lost append", LINEAR_NO, {SET(1, 2, "x"), APPEND(3, 4, "+a"), HIT(5, 6, "x")}},
    {"lost cas", LINEAR_NO, {SET(1, 2, "x"), CAS(3, 4, "y", "x", OK), HIT(5, 6, "x")}},
    {"a cas undone by an older set",
     LINEAR_NO,
     {SET(1, 2, "w"), SET(3, 4, "x"), CAS(5, 6, "y", "x", OK), HIT(7, 8, "w")}},
    {"counter goes back",
     LINEAR_NO,
     {SET(1, 2, "5"), INCR(3, 4, 1, 6), INCR(5, 6, 1, 7), HIT(7, 8, "6")}},
    {"two increments, one answer", LINEAR_NO, {SET(1, 2, "5"), INCR(3, 9, 1, 6), INCR(4, 8, 1, 6)}},
    {"deleted twice", LINEAR_NO, {SET(1, 2, "x"), DELETE(3, 9, OK), DELETE(4, 8, OK)}},
    {"delete that found nothing, then the value",
     LINEAR_NO,
     {SET(1, 2, "x"), DELETE(3, 4, NO), HIT(5, 6, "x")}},
    {"an excused loss", LINEAR_YES, {SET(1, 2, "x"), FORGET(3, 9), MISS(5, 6)}},
    {"a loss after its excuse",
     LINEAR_NO,
     {SET(1, 2, "x"), FORGET(3, 9), HIT(10, 11, "x"), MISS(12, 13)}},
    {"a loss that comes back",
     LINEAR_NO,
     {SET(1, 2, "x"), FORGET(3, 9), MISS(5, 6), HIT(7, 8, "x")}},
    {"a write and a read at once", LINEAR_YES, {SET(1, 9, "x"), MISS(1, 9)}},
};

/* All of one client, which asked it in this order. */
static const struct selftest_case SELFTEST_PIPELINES[] = {
    {"a read passes a write", LINEAR_NO, {SET(1, 9, "x"), MISS(1, 9)}},
    {"a read behind a write", LINEAR_YES, {SET(1, 9, "x"), HIT(1, 9, "x")}},
    {"writes change places", LINEAR_NO, {SET(1, 9, "x"), SET(1, 9, "y"), HIT(10, 11, "x")}},
    {"a write that was not told comes later",
     LINEAR_YES,
     {LOST_SET(1, 20, "x"), MISS(1, 4), HIT(10, 11, "x")}},
};

/*
 * Of a lone node near a fault, where a write may have been run again, its first answer lost. In the
 * same order without a fault there is nothing to excuse.
 */
static const struct selftest_case SELFTEST_RERUNS[] = {
    {"an add that met its own first run", LINEAR_YES, {ADD(1, 9, "x", NO), HIT(1, 10, "x")}},
    {"a replace whose first run was done",
     LINEAR_YES,
     {SET(1, 2, "x"), REPLACE(3, 9, "y", NO), HIT(4, 5, "y"), DELETE(6, 8, OK)}},
    {"an add that nothing else refused",
     LINEAR_YES,
     {SET(1, 2, "x"), DELETE(3, 4, OK), ADD(5, 9, "y", NO)}},
    {"an add that met what nobody wrote", LINEAR_NO, {ADD(1, 9, "x", NO), HIT(1, 10, "y")}},
    {"an add that was done again after a delete",
     LINEAR_NO,
     {ADD(1, 9, "x", NO), HIT(1, 10, "x"), DELETE(11, 12, OK), HIT(13, 14, "x")}},
    {"a replace that was done before it was asked",
     LINEAR_NO,
     {SET(1, 2, "x"), HIT(3, 4, "y"), REPLACE(5, 9, "y", NO)}},
};

#undef OK
#undef NO
#undef EXISTS

enum selftest_order { SELFTEST_AT_ONCE, SELFTEST_PIPELINE };

/* Of some keys a miss says nothing: their items expire, or somebody else flushes the node. */
enum selftest_key { SELFTEST_LASTING, SELFTEST_EXPIRING, SELFTEST_FLUSHED, SELFTEST_KEYS };

static struct history_op selftest_op(struct history *history, const struct selftest_step *step)
{
    int32_t value = step->value == NULL ? HISTORY_ABSENT
                                        : history_value(history, slice_of_string(step->value), 0);
    int32_t seen = step->seen == NULL ? HISTORY_ABSENT
                                      : history_value(history, slice_of_string(step->seen), 0);
    return (struct history_op){.kind = step->kind,
                               .result = step->result,
                               .value = value,
                               .seen = step->kind == HISTORY_GET ? value : seen,
                               .delta = step->delta,
                               .number = step->number,
                               .asked_us = step->asked_us,
                               .told_us = step->told_us,
                               .is_optional = step->is_optional};
}

static enum linear_verdict selftest_judge(const struct selftest_case *c, enum selftest_order order)
{
    struct history history = {0};
    struct history_op ops[SELFTEST_STEPS_MAX];
    const struct history_op *list[SELFTEST_STEPS_MAX];
    uint32_t count = 0;
    for (; count < SELFTEST_STEPS_MAX && c->steps[count].told_us > 0; count++) {
        ops[count] = selftest_op(&history, &c->steps[count]);
        ops[count].place = order == SELFTEST_PIPELINE ? count + 1 : 0;
        list[count] = &ops[count];
    }
    enum linear_verdict verdict = linear_judge(&history, list, count);
    history_free(&history);
    return verdict;
}

static void selftest_try(const struct selftest_case *c, enum selftest_order order, int *bad,
                         int *wrong)
{
    *bad += c->verdict == LINEAR_NO ? 1 : 0;
    if (selftest_judge(c, order) != c->verdict) {
        printf("judged wrongly: %s\n", c->name);
        (*wrong)++;
    }
}

/* C as what was told of KEY, judged with the excuses. */
static enum linear_verdict selftest_excuse(const struct selftest_case *c, enum selftest_key key,
                                           bool is_near_fault)
{
    struct world *world = calloc(1, sizeof(*world));
    REQUIRE(world != NULL);
    world->options.nodes = 1;
    world->clients[0].key_count = WORLD_KEYS_MAX;
    world->flush_count = key == SELFTEST_FLUSHED ? 1 : 0; /* from the start, and not noticed */
    uint32_t number = key == SELFTEST_EXPIRING ? WORLD_KEYS_MAX - 2 : 0;
    REQUIRE(client_is_expiring_key(&world->clients[0], number) == (key == SELFTEST_EXPIRING));
    for (uint32_t i = 0; i < SELFTEST_STEPS_MAX && c->steps[i].told_us > 0; i++) {
        struct history_op op = selftest_op(&world->history, &c->steps[i]);
        op.key = number;
        op.is_near_fault = is_near_fault;
        history_add(&world->history, &op);
    }
    bool is_excused;
    enum linear_verdict verdict = verdict_of(world, number, SPLIT_MAIN_LINE, &is_excused);
    history_free(&world->history);
    free(world);
    return verdict;
}

static void selftest_try_rerun(const struct selftest_case *c, bool is_near_fault, int *bad,
                               int *wrong)
{
    static const char *const KEYS[] = {"a key", "an expiring key", "a flushed key"};
    enum linear_verdict verdict = is_near_fault ? c->verdict : LINEAR_NO;
    for (int key = 0; key < SELFTEST_KEYS; key++) {
        *bad += verdict == LINEAR_NO ? 1 : 0;
        if (selftest_excuse(c, (enum selftest_key)key, is_near_fault) != verdict) {
            printf("judged wrongly of %s%s: %s\n", KEYS[key], is_near_fault ? " near a fault" : "",
                   c->name);
            (*wrong)++;
        }
    }
}

int selftest_run(void)
{
    int wrong = 0;
    int bad = 0;
    size_t at_once = sizeof(SELFTEST_CASES) / sizeof(SELFTEST_CASES[0]);
    size_t pipelines = sizeof(SELFTEST_PIPELINES) / sizeof(SELFTEST_PIPELINES[0]);
    size_t reruns = sizeof(SELFTEST_RERUNS) / sizeof(SELFTEST_RERUNS[0]);
    for (size_t i = 0; i < at_once; i++) {
        selftest_try(&SELFTEST_CASES[i], SELFTEST_AT_ONCE, &bad, &wrong);
    }
    for (size_t i = 0; i < pipelines; i++) {
        selftest_try(&SELFTEST_PIPELINES[i], SELFTEST_PIPELINE, &bad, &wrong);
    }
    for (size_t i = 0; i < reruns; i++) {
        selftest_try_rerun(&SELFTEST_RERUNS[i], false, &bad, &wrong);
        selftest_try_rerun(&SELFTEST_RERUNS[i], true, &bad, &wrong);
    }
    printf("%zu planted histories, %d of them bad: %d judged wrongly\n",
           at_once + pipelines + 2 * SELFTEST_KEYS * reruns, bad, wrong);
    return wrong;
}
