/* SPDX-License-Identifier: BSD-2-Clause */
/* What all requests of the API share. */
#ifndef EVERWARM_ADMIN_CONTEXT_H
#define EVERWARM_ADMIN_CONTEXT_H

#include "counts.h"
#include "patience.h"
#include "tokens.h"
#include "words.h"

#include <stdatomic.h>

struct control_port;

struct context {
    struct control_port *port;
    struct counts counts;
    struct words words;
    struct tokens tokens;
    struct patience patience;
    atomic_uint watchers; /* of the event stream, now */
};

#endif
