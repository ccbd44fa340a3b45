/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tasks: what was asked for and takes longer than its answer (a resync, a check, a verify), and
 * fills that began by themselves. Kept in a table of the control port; see control_port_task_*.
 */
#ifndef EVERWARM_SHELL_TASK_H
#define EVERWARM_SHELL_TASK_H

#include <stdbool.h>
#include <stdint.h>

/* X(name, word) */
#define TASK_KIND_TABLE(X)                                                                         \
    X(RESYNC, "resync") /* node: throw its data away and fill it again */                          \
    X(FILL, "fill")     /* node: filled, by whichever proxy, without being asked to */             \
    X(CHECK, "check")   /* node: one check */                                                      \
    X(VERIFY, "verify") /* node or all of the pool: compare copies */

enum task_kind {
#define X(name, word) TASK_##name,
    TASK_KIND_TABLE(X)
#undef X
        TASK_KIND_COUNT
};

/* X(name, word): the last three are ends, which nothing leaves. */
#define TASK_STATE_TABLE(X)                                                                        \
    X(WAITING, "waiting")                                                                          \
    X(RUNNING, "running")                                                                          \
    X(DONE, "done")                                                                                \
    X(FAILED, "failed")                                                                            \
    X(CANCELLED, "cancelled")

enum task_state {
#define X(name, word) TASK_STATE_##name,
    TASK_STATE_TABLE(X)
#undef X
        TASK_STATE_COUNT
};

enum {
    TASK_NO_NODE = 0xffffffff, /* the whole pool */
    TASK_TEXT_BYTES = 120,
    /* What a verify counts: each kind of difference, and what became of them. */
    TASK_FIGURES_MAX = 10,
};

/* A number that only this kind of task has; shown under its name. */
struct task_figure {
    const char *name; /* static; NULL: unused, and so are those after it */
    uint64_t value;
};

struct task {
    uint64_t id; /* from 1 */
    enum task_kind kind;
    enum task_state state;
    uint32_t pool;
    uint32_t node; /* or TASK_NO_NODE */
    bool is_cancel_asked;
    uint64_t asked_us; /* monotonic, as all times here; 0: not yet */
    uint64_t began_us;
    uint64_t ended_us;
    uint64_t done;  /* items */
    uint64_t total; /* 0: not known */
    uint64_t bytes;
    uint64_t left_us; /* UINT64_MAX: not known */
    struct task_figure figures[TASK_FIGURES_MAX];
    char text[TASK_TEXT_BYTES]; /* what it waits for, why it failed, what came out; ends with 0 */
};

const char *task_kind_word(enum task_kind kind);
const char *task_state_word(enum task_state state);

static inline bool task_is_over(const struct task *task)
{
    return task->state >= TASK_STATE_DONE;
}

#endif
