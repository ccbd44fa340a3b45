/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the clients of a run asked and were told, key by key, and the values that ever were. Values
 * are known by number: equal bytes with equal flags have the same one.
 */
#ifndef SIM_HISTORY_H
#define SIM_HISTORY_H

#include "everwarm/base/slice.h"

#include <stdint.h>

enum {
    HISTORY_ABSENT = -1,   /* the value of a key that is not there */
    HISTORY_OPS_MAX = 1024 /* of one key: the checker's sets are so large */
};

enum history_kind {
    HISTORY_GET, /* gat too */
    HISTORY_SET,
    HISTORY_ADD,
    HISTORY_REPLACE,
    HISTORY_APPEND,
    HISTORY_PREPEND,
    HISTORY_CAS,
    HISTORY_DELETE,
    HISTORY_DELTA,
    HISTORY_TOUCH,
    HISTORY_FORGET, /* gone, whatever was there: flush_all, or a loss that is excused */
};

enum history_result {
    HISTORY_PENDING,
    HISTORY_OK,          /* stored, deleted, touched, hit, a number */
    HISTORY_NO,          /* not stored, not found, miss */
    HISTORY_EXISTS,      /* cas */
    HISTORY_NON_NUMERIC, /* incr, decr */
    HISTORY_UNKNOWN,     /* no reply, or an error */
};

struct history_op {
    enum history_kind kind;
    enum history_result result;
    uint32_t client;
    uint32_t place; /* among what its client asks: one after the other; 0: in no order */
    uint32_t key;
    int32_t value; /* what is stored or appended */
    int32_t seen;  /* GET: what was read; CAS: what its CAS stood for */
    int64_t delta; /* DELTA: negative for decr */
    uint64_t number;
    uint64_t asked_us;
    uint64_t told_us; /* when the reply came, or after which it takes no effect any more */
    uint64_t epoch;   /* of its worker's view when it was asked */
    bool is_optional; /* it may as well never take effect */
    bool is_noreply;
    bool is_touching;     /* GET: it sets the expiry (gat) */
    bool is_near_fault;   /* something failed while it was under way: its reply to the proxy may be
                           lost */
    bool is_young;        /* a miss asked other replicas then */
    bool is_contended;    /* a write of another worker's to its key overlaps it */
    uint32_t contentions; /* of its key, when it was asked */
    uint32_t later_s;     /* FORGET: flush_all with this delay */
    uint64_t cas_epoch;   /* CAS: of the gets that it rests on */
    bool is_cas_loose;    /* CAS: the leader may have changed since its gets */
};

struct history_value {
    char *text;
    uint32_t len;
    uint32_t flags;
};

struct history {
    struct history_op *ops; /* in the order of asking */
    uint32_t count;
    uint32_t capacity;
    struct history_value *values;
    uint32_t value_count;
    uint32_t value_capacity;
    uint32_t *index; /* open hash of values, number + 1 */
    uint32_t index_size;
};

/* Add an operation; returns its number. */
uint32_t history_add(struct history *history, const struct history_op *op);
/* The number of a value; blanks at the end of a number don't count (decr leaves them). */
int32_t history_value(struct history *history, struct slice text, uint32_t flags);
/* The number of the value FIRST followed by SECOND, with FLAGS_OF's flags. */
int32_t history_join(struct history *history, int32_t first, int32_t second, int32_t flags_of);
/* Whether a value is a number as incr takes it. */
bool history_number(const struct history *history, int32_t value, uint64_t *out);
void history_clear(struct history *history);
void history_free(struct history *history);

const char *history_kind_word(enum history_kind kind);
const char *history_result_word(enum history_result result);
/* One line a operation of KEY on stdout. */
void history_print(const struct history *history, uint32_t key);

/* Make OP say no more than it does when it may have missed a key that was there. False: it says
 * nothing then. */
bool history_forgive_miss(struct history_op *op);

#endif
