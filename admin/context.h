/* SPDX-License-Identifier: BSD-2-Clause */
/* What all requests of the API share. */
#ifndef EVERWARM_ADMIN_CONTEXT_H
#define EVERWARM_ADMIN_CONTEXT_H

#include "counts.h"
#include "patience.h"
#include "tokens.h"
#include "words.h"

#include <semaphore.h>
#include <stdatomic.h>

struct control_port;

enum {
    /* Requests for figures that are worked on at once; the others wait. With all of a crowd at work
     * a health check would wait for its turn of the processor behind each of them. */
    CONTEXT_LOOKS_MAX = 4,
};

struct context {
    struct control_port *port;
    struct counts counts;
    struct words words;
    struct tokens tokens;
    struct patience patience;
    sem_t looks;          /* how many more requests for figures may be worked on at once */
    atomic_uint watchers; /* of the event stream, now */
};

#endif
