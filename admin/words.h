/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an operator said beside the word itself: why, and until when. The word (drain, maint) is in
 * the view and so with every proxy; the reason and the end stay with the proxy that was asked,
 * which takes the node back when the time has come.
 */
#ifndef EVERWARM_ADMIN_WORDS_H
#define EVERWARM_ADMIN_WORDS_H

#include "everwarm/base/status.h"
#include "everwarm/shell/control_port.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    /* A sentence, and a link to the ticket behind it. */
    WORDS_REASON_BYTES_MAX = 200,
    WORDS_MAX = POOLS_MAX * NODES_MAX,
};

struct word {
    char node[NODE_NAME_BYTES_MAX + 1];
    enum node_admin admin;
    uint64_t until_wall_us;                  /* 0: no end */
    char reason[WORDS_REASON_BYTES_MAX + 1]; /* empty: none */
};

struct words_options {
    struct control_port *port;
    const char *state_path;         /* borrowed until words_stop; NULL: nothing is written */
    void (*on_tick)(void *closure); /* called every second or so, by the thread that keeps words */
    void *closure;
};

struct words {
    struct words_options options;
    struct control_port *port;
    uint64_t first_event; /* the keeper's alone, as what follows */
    size_t restored_count;
    struct word restored[WORDS_MAX];
    pthread_mutex_t mutex; /* of the entries */
    bool is_dirty;         /* something is not in the state file yet */
    size_t count;
    struct word entries[WORDS_MAX];
    pthread_t keeper; /* takes nodes back, and forgets what the view no longer says */
    bool is_running;
};

/*
 * Begin with no words, and start the thread that keeps them.
 *
 * Errors  STATUS_SYSTEM: no thread; nothing is to be ended then.
 */
MUST_CHECK enum status words_start(struct words *words, const struct words_options *options);
/* End it; the port's events are closed already, or this waits for a second. */
void words_stop(struct words *words);

/* Keep WORD in place of an earlier one of its node; without reason and end there is nothing to
 * keep. */
void words_set(struct words *words, const struct word *word);

/* What was said of NODE when its state became ADMIN; false: nothing. */
bool words_find(struct words *words, const char *node, enum node_admin admin, struct word *out);

#endif
