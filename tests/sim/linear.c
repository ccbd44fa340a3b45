/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Depth-first search for an order (Wing and Gong), with a memory of what was already tried: the set
 * of operations done and the value they left (Lowe). What changes nothing and fits is taken at
 * once: no order is lost by it.
 */
#include "sim/linear.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/prng.h"

#include <stdlib.h>

enum {
    LINEAR_WORDS = HISTORY_OPS_MAX / 64,
    LINEAR_MEMO_MAX = 1 << 18, /* slots: more than twice LINEAR_STATES_MAX, a power of two */
    LINEAR_MEMO_MIN = 1 << 10, /* nearly all searches need no more, and these stay in the cache */
    LINEAR_NONE = HISTORY_OPS_MAX,
};

struct linear_frame {
    int32_t state;  /* before the operation */
    uint32_t op;    /* the one done */
    bool is_forced; /* nothing else need be tried here */
    uint32_t first; /* as these were then */
    uint32_t first_optional;
    uint64_t asked_max;
};

struct linear {
    struct history *history;
    uint32_t mandatory; /* how many */
    uint32_t count;
    uint64_t done[LINEAR_WORDS];
    uint64_t done_hash;      /* of the set */
    uint32_t first;          /* the first mandatory one that is not done */
    uint32_t first_optional; /* all optional ones before it are past */
    uint64_t asked_max;      /* of what is done: the present is not before it */
    int32_t state;
    uint32_t depth;
    struct linear_frame frames[HISTORY_OPS_MAX + 1]; /* from here on not cleared */
    const struct history_op *ops[HISTORY_OPS_MAX];   /* the mandatory ones, then the optional */
    /* Of each, beside one another: the search looks at little else. */
    uint64_t asked_us[HISTORY_OPS_MAX];
    uint64_t told_us[HISTORY_OPS_MAX];
    uint32_t before[HISTORY_OPS_MAX]; /* what its client asked last before it; LINEAR_NONE */
    bool is_pure[HISTORY_OPS_MAX];
};

static uint64_t linear_memo[LINEAR_MEMO_MAX];
static uint32_t linear_memo_size = LINEAR_MEMO_MIN;      /* slots in use now */
static uint64_t linear_memo_list[LINEAR_STATES_MAX + 1]; /* what is in them */
static uint32_t linear_memo_count;

static bool linear_is_done(const struct linear *l, uint32_t op)
{
    return (l->done[op / 64] >> (op % 64) & 1) != 0;
}

/* The slot where HASH is or belongs. */
static uint64_t *linear_slot(uint64_t hash)
{
    uint32_t at = (uint32_t)(hash >> 20) & (linear_memo_size - 1);
    while (linear_memo[at] != 0 && linear_memo[at] != hash) {
        at = (at + 1) & (linear_memo_size - 1);
    }
    return &linear_memo[at];
}

static void linear_clear(uint32_t size)
{
    memset(linear_memo, 0, linear_memo_size * sizeof(linear_memo[0]));
    linear_memo_size = size;
}

/* Returns false: was there before. */
static bool linear_remember(uint64_t hash)
{
    hash |= 1; /* 0 is an empty slot */
    uint64_t *slot = linear_slot(hash);
    if (*slot == hash) {
        return false;
    }
    *slot = hash;
    linear_memo_list[linear_memo_count++] = hash;
    if (2 * linear_memo_count >= linear_memo_size) {
        linear_clear(2 * linear_memo_size);
        for (uint32_t i = 0; i < linear_memo_count; i++) {
            *linear_slot(linear_memo_list[i]) = linear_memo_list[i];
        }
    }
    return true;
}

static void linear_forget(void)
{
    linear_clear(LINEAR_MEMO_MIN);
    linear_memo_count = 0;
}

/* What a client asks happens in the order in which it asked, as on any connection to memcached. */
static bool linear_is_its_turn(const struct linear *l, uint32_t op)
{
    return l->before[op] == LINEAR_NONE || linear_is_done(l, l->before[op]);
}

/* A number's value after incr or decr; ABSENT: the item is no number. */
static int32_t linear_delta(struct history *history, int32_t state, int64_t delta, uint64_t *number)
{
    if (!history_number(history, state, number)) {
        return HISTORY_ABSENT;
    }
    uint64_t by = (uint64_t)(delta < 0 ? -delta : delta);
    *number = delta >= 0 ? *number + by : (by > *number ? 0 : *number - by);
    char text[24];
    size_t at = sizeof(text);
    uint64_t rest = *number;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    return history_value(history, slice_of(text + at, sizeof(text) - at),
                         history->values[state].flags);
}

static bool linear_apply_delta(struct history *history, const struct history_op *op, int32_t state,
                               int32_t *next)
{
    if (state == HISTORY_ABSENT) {
        return op->result == HISTORY_NO || op->result == HISTORY_UNKNOWN;
    }
    uint64_t number;
    int32_t after = linear_delta(history, state, op->delta, &number);
    if (after == HISTORY_ABSENT) {
        return op->result == HISTORY_NON_NUMERIC || op->result == HISTORY_UNKNOWN;
    }
    *next = after;
    return op->result == HISTORY_UNKNOWN || (op->result == HISTORY_OK && op->number == number);
}

static bool linear_apply_cas(const struct history_op *op, int32_t state, int32_t *next)
{
    bool is_match = state != HISTORY_ABSENT && state == op->seen;
    switch (op->result) {
    case HISTORY_OK:
        *next = op->value;
        return is_match;
    case HISTORY_NO:
        return state == HISTORY_ABSENT;
    case HISTORY_EXISTS:
        /* After a change of leader a CAS may be foreign to the new one. */
        return op->is_cas_loose || (state != HISTORY_ABSENT && !is_match);
    case HISTORY_PENDING:
    case HISTORY_UNKNOWN:
        *next = is_match ? op->value : state;
        return true;
    case HISTORY_NON_NUMERIC:
        return false;
    }
    UNREACHABLE();
}

/* Could OP happen on STATE with the result it had? *NEXT is the state then. */
static bool linear_apply(struct history *history, const struct history_op *op, int32_t state,
                         int32_t *next)
{
    *next = state;
    bool is_there = state != HISTORY_ABSENT;
    bool is_unknown = op->result == HISTORY_UNKNOWN;
    switch (op->kind) {
    case HISTORY_GET:
        return is_unknown || state == (op->result == HISTORY_OK ? op->seen : HISTORY_ABSENT);
    case HISTORY_SET:
        *next = op->value;
        return is_unknown || op->result == HISTORY_OK;
    case HISTORY_ADD:
        *next = is_there ? state : op->value;
        return is_unknown || (op->result == HISTORY_OK) == !is_there;
    case HISTORY_REPLACE:
        *next = is_there ? op->value : state;
        return is_unknown || (op->result == HISTORY_OK) == is_there;
    case HISTORY_APPEND:
        *next = is_there ? history_join(history, state, op->value, state) : state;
        return is_unknown || (op->result == HISTORY_OK) == is_there;
    case HISTORY_PREPEND:
        *next = is_there ? history_join(history, op->value, state, state) : state;
        return is_unknown || (op->result == HISTORY_OK) == is_there;
    case HISTORY_CAS:
        return linear_apply_cas(op, state, next);
    case HISTORY_DELETE:
        *next = HISTORY_ABSENT;
        return is_unknown || (op->result == HISTORY_OK) == is_there;
    case HISTORY_DELTA:
        return linear_apply_delta(history, op, state, next);
    case HISTORY_TOUCH:
        return is_unknown || (op->result == HISTORY_OK) == is_there;
    case HISTORY_FORGET:
        *next = HISTORY_ABSENT;
        return true;
    }
    UNREACHABLE();
}

/* An optional one: done, or too late to be. */
static bool linear_is_past(const struct linear *l, uint32_t op)
{
    return linear_is_done(l, op) || l->told_us[op] < l->asked_max;
}

static void linear_do(struct linear *l, uint32_t op, int32_t next, bool is_forced)
{
    l->frames[l->depth++] = (struct linear_frame){.state = l->state,
                                                  .op = op,
                                                  .is_forced = is_forced,
                                                  .first = l->first,
                                                  .first_optional = l->first_optional,
                                                  .asked_max = l->asked_max};
    l->done[op / 64] |= UINT64_C(1) << (op % 64);
    l->done_hash ^= prng_mix(op + 1);
    l->state = next;
    uint64_t asked_us = l->asked_us[op];
    l->asked_max = asked_us > l->asked_max ? asked_us : l->asked_max;
    while (l->first < l->mandatory && linear_is_done(l, l->first)) {
        l->first++;
    }
    while (l->first_optional < l->count && linear_is_past(l, l->first_optional)) {
        l->first_optional++;
    }
}

static struct linear_frame linear_undo(struct linear *l)
{
    struct linear_frame frame = l->frames[--l->depth];
    l->done[frame.op / 64] &= ~(UINT64_C(1) << (frame.op % 64));
    l->done_hash ^= prng_mix(frame.op + 1);
    l->state = frame.state;
    l->first = frame.first;
    l->first_optional = frame.first_optional;
    l->asked_max = frame.asked_max;
    return frame;
}

struct linear_bounds {
    uint64_t told_min;    /* of what is mandatory and not done: the present is not after it */
    uint64_t expires_min; /* the first optional one still open ends then */
};

static struct linear_bounds linear_bounds(const struct linear *l)
{
    struct linear_bounds b = {.told_min = UINT64_MAX, .expires_min = UINT64_MAX};
    for (uint32_t i = l->first; i < l->mandatory && l->asked_us[i] <= b.told_min; i++) {
        if (l->told_us[i] < b.told_min && !linear_is_done(l, i)) {
            b.told_min = l->told_us[i];
        }
    }
    for (uint32_t i = l->first_optional; i < l->count && l->asked_us[i] <= b.told_min; i++) {
        if (l->told_us[i] < b.expires_min && !linear_is_past(l, i)) {
            b.expires_min = l->told_us[i];
        }
    }
    return b;
}

/* It changes nothing wherever it stands; a decr that leaves 0 at 0 is not of these. */
static bool linear_is_pure(const struct history_op *op)
{
    bool is_refused = op->result == HISTORY_NO || op->result == HISTORY_EXISTS ||
                      op->result == HISTORY_NON_NUMERIC;
    return op->kind == HISTORY_GET || op->kind == HISTORY_TOUCH || is_refused;
}

/* Do what changes nothing and fits, if it is not past the end of an optional one: that may have to
 * come first. */
static bool linear_do_pure(struct linear *l, const struct linear_bounds *b)
{
    uint64_t pure_max = b->told_min < b->expires_min ? b->told_min : b->expires_min;
    int32_t next;
    for (uint32_t i = l->first; i < l->mandatory && l->asked_us[i] <= pure_max; i++) {
        if (!linear_is_done(l, i) && l->is_pure[i] && linear_is_its_turn(l, i) &&
            linear_apply(l->history, l->ops[i], l->state, &next)) {
            linear_do(l, i, next, true);
            return true;
        }
    }
    return false;
}

/* Do operation I, if it is not done, fits and leads to what was not tried yet. */
static bool linear_try(struct linear *l, uint32_t i)
{
    const struct history_op *op = l->ops[i];
    int32_t next;
    if (linear_is_done(l, i) || !linear_is_its_turn(l, i) ||
        !linear_apply(l->history, op, l->state, &next) || (op->is_optional && next == l->state)) {
        return false;
    }
    uint64_t hash = l->done_hash ^ prng_mix(i + 1);
    if (linear_memo_count < LINEAR_STATES_MAX &&
        !linear_remember(prng_mix(hash + (uint64_t)(uint32_t)next * 0x9e3779b97f4a7c15))) {
        return false;
    }
    linear_do(l, i, next, false);
    return true;
}

/* Do the next operation, FROM or after it; 0: the first. */
static bool linear_advance(struct linear *l, uint32_t from)
{
    struct linear_bounds b = linear_bounds(l);
    if (from == 0 && linear_do_pure(l, &b)) {
        return true;
    }
    uint32_t i = from > l->first ? from : l->first;
    for (; i < l->mandatory && l->asked_us[i] <= b.told_min; i++) {
        if (linear_try(l, i)) {
            return true;
        }
    }
    i = from > l->first_optional ? from : l->first_optional;
    for (; i < l->count && l->asked_us[i] <= b.told_min; i++) {
        if (!linear_is_past(l, i) && linear_try(l, i)) {
            return true;
        }
    }
    return false;
}

/* What a client was not told of may happen at any time, or never. */
static bool linear_has_place(const struct history_op *op)
{
    return op->place != 0 && !op->is_optional && op->result != HISTORY_UNKNOWN;
}

/* What each one's client asked last before it. */
static void linear_find_before(struct linear *l)
{
    static uint32_t order[HISTORY_OPS_MAX]; /* by their places: they nearly are already */
    uint32_t count = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        l->before[i] = LINEAR_NONE;
        if (!linear_has_place(l->ops[i])) {
            continue;
        }
        uint32_t at = count++;
        for (; at > 0 && l->ops[order[at - 1]]->place > l->ops[i]->place; at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    for (uint32_t i = 1; i < count; i++) {
        uint32_t at = i;
        while (at > 0 && l->ops[order[at - 1]]->client != l->ops[order[i]]->client) {
            at--;
        }
        l->before[order[i]] = at > 0 ? order[at - 1] : LINEAR_NONE;
    }
}

static void linear_take(struct linear *l, const struct history_op *const *ops, uint32_t count)
{
    l->count = 0;
    for (uint32_t i = 0; i < 2 * count; i++) {
        const struct history_op *op = ops[i % count];
        if (op->is_optional == (i >= count)) {
            l->ops[l->count++] = op;
            l->mandatory += op->is_optional ? 0 : 1;
        }
    }
    l->first_optional = l->mandatory;
    for (uint32_t i = 0; i < l->count; i++) {
        l->asked_us[i] = l->ops[i]->asked_us;
        l->told_us[i] = l->ops[i]->told_us;
        l->is_pure[i] = linear_is_pure(l->ops[i]);
    }
    linear_find_before(l);
}

enum linear_verdict linear_judge(struct history *history, const struct history_op *const *ops,
                                 uint32_t count)
{
    REQUIRE(count <= HISTORY_OPS_MAX);
    static struct linear l;
    memset(&l, 0, offsetof(struct linear, frames));
    l.history = history;
    l.state = HISTORY_ABSENT;
    linear_take(&l, ops, count);
    enum linear_verdict verdict = LINEAR_YES;
    uint32_t from = 0;
    while (l.first < l.mandatory) {
        if (linear_memo_count >= LINEAR_STATES_MAX) {
            verdict = LINEAR_TOO_HARD;
            break;
        }
        if (linear_advance(&l, from)) {
            from = 0;
            continue;
        }
        struct linear_frame frame;
        do {
            if (l.depth == 0) {
                linear_forget();
                return LINEAR_NO;
            }
            frame = linear_undo(&l);
        } while (frame.is_forced);
        from = frame.op + 1;
    }
    linear_forget();
    return verdict;
}
