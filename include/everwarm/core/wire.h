/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Wires: the connections that control and fill ask for. The core names a wire by a small number and
 * says which node it should lead to; the shell (or the simulator) owns the socket behind it.
 *
 * Life: the core's action CONNECT; then exactly one event OPEN or CLOSED; after OPEN any number of
 * BYTES and WROTE, then CLOSED, unless the core's action CLOSE came first, after which no further
 * event of that connection is delivered. To write, the core's action WRITE says that wire_gather
 * will give bytes; the shell writes what the socket takes and reports it with WROTE.
 * A wire to a closed node is connected anew only by another CONNECT.
 */
#ifndef EVERWARM_CORE_WIRE_H
#define EVERWARM_CORE_WIRE_H

#include "everwarm/base/slice.h"

#include <stdint.h>

/* Why a connection ended, everywhere in the program. */
#define WIRE_END_TABLE(X)                                                                          \
    X(EOF, "closed by the node")                                                                   \
    X(REFUSED, "connection refused")                                                               \
    X(RESET, "connection reset")                                                                   \
    X(TIMEOUT, "timed out")                                                                        \
    X(UNREACHABLE, "unreachable")                                                                  \
    X(PROTOCOL, "nonsense from the node")                                                          \
    X(IDENTITY, "the node is another run than the view's")                                         \
    X(OUT, "the node is out of the view")

enum wire_end {
#define X(name, text) WIRE_END_##name,
    WIRE_END_TABLE(X)
#undef X
};

/* "connection refused" */
const char *wire_end_text(enum wire_end end);

enum wire_event_type { WIRE_OPEN, WIRE_BYTES, WIRE_WROTE, WIRE_CLOSED };

struct wire_event {
    enum wire_event_type type;
    uint32_t wire;
    struct slice bytes; /* BYTES: borrowed for the call; consumed whole */
    uint32_t wrote;     /* WROTE: bytes that the socket took */
    enum wire_end end;  /* CLOSED */
};

enum wire_action_type {
    WIRE_CONNECT,
    WIRE_WRITE,
    WIRE_CLOSE,
    WIRE_FINISH, /* half-close it: nothing more is written; what comes is delivered as before */
};

struct wire_action {
    enum wire_action_type type;
    uint32_t wire;
    uint32_t node; /* CONNECT: index of the node */
};

#endif
