/* SPDX-License-Identifier: BSD-2-Clause */
/* Questions to all workers, through their mailboxes, and the answers they put together. */
#ifndef EVERWARM_SRC_SHELL_ASKS_H
#define EVERWARM_SRC_SHELL_ASKS_H

#include "everwarm/base/status.h"
#include "everwarm/shell/inspect.h"

#include "bell.h"

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

struct worker;

enum {
    /* People asking at the same moment; more are told to try again. */
    ASKS_MAX = 8,
    /* A worker that does not turn for so long is asked in vain. */
    ASKS_TIMEOUT_MS = 1000,
};

enum ask_type {
    ASK_CLIENTS, /* out: struct proxy_client */
    ASK_KILL,    /* id: of a client; count: 1 when it was there */
    ASK_SLOW,    /* out: struct proxy_slow */
    ASK_HOT,     /* out: struct proxy_hot; total: samples behind them */
};

struct ask {
    uint64_t ticket;  /* 0: the place is free */
    uint32_t waiting; /* workers that have not answered */
    enum ask_type type;
    uint64_t id;
    void *out; /* the asker's, while it waits */
    size_t capacity;
    size_t count;
    uint64_t total; /* also of what did not fit */
};

struct asks {
    pthread_mutex_t mutex;
    struct bell is_answered;
    uint64_t last_ticket;
    struct ask places[ASKS_MAX];
};

void asks_init(struct asks *asks);
void asks_fini(struct asks *asks);

/*
 * Ask all COUNT workers, and wait for what they say.
 *
 *   ask  type, id, out and capacity are set; count and total are filled
 *
 * Errors  STATUS_FULL: ASKS_MAX others ask, or a worker did not answer in time; ASK has what the
 *         others said.
 */
MUST_CHECK enum status asks_put(struct asks *asks, struct worker *const *workers, uint32_t count,
                                struct ask *ask);

enum asks_turn {
    ASKS_MINE, /* answer, then asks_end */
    ASKS_BUSY, /* another has the turn, and may keep it for long: come again */
    ASKS_OVER, /* nobody waits for it any more */
};

/* A worker begins its part of the answer to what was asked with TICKET, *OUT, to append to. It
 * never waits: it has clients. */
MUST_CHECK enum asks_turn asks_begin(struct asks *asks, uint64_t ticket, struct ask **out);
/* It has answered; until then it holds all others up. */
void asks_end(struct asks *asks, struct ask *ask);

#endif
