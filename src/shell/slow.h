/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients that hold memory and do nothing: slow readers, which don't take their answers, and slow
 * writers, which begin a request and don't end it. Judged from what a look now and then shows; no
 * socket, no clock.
 */
#ifndef EVERWARM_SHELL_SLOW_H
#define EVERWARM_SHELL_SLOW_H

#include <stdbool.h>
#include <stdint.h>

enum {
    /* A client is looked at so many times in limits.client_stall. */
    SLOW_LOOKS_A_STALL = 8,
};

struct slow_limits {
    uint64_t stall_us;         /* limits.client_stall */
    uint64_t output_bytes_max; /* limits.client_output */
};

/* How a client stands. */
struct slow_facts {
    uint64_t now_us;
    bool is_blocked;       /* its socket took less than it was offered */
    uint64_t taken_bytes;  /* any number that changes when its peer takes bytes */
    uint64_t output_bytes; /* answered, and not yet given to the socket */
    bool is_amid;          /* the rest of a request is its to send, and would be read */
    uint64_t received_bytes;
    uint32_t requests; /* any number that changes when it has completed a request */
};

/* What is kept of earlier looks; all zero at first. */
struct slow_watch {
    uint64_t reader_since_us; /* no byte was taken since; 0: nothing waits for it */
    uint64_t reader_taken_bytes;
    uint64_t writer_since_us; /* it is in the middle of this request since; 0: of none */
    uint64_t writer_received_bytes;
    uint32_t writer_requests;
};

/*
 * Look at a client.
 *
 * A reader is slow when its peer took nothing for stall_us, or, where output_bytes_max is reached,
 * for an eighth of that: it costs so much memory that it must at least move. A writer is slow when
 * it brought less than CLIENT_TRICKLE_BYTES of one request in stall_us.
 *
 *   watch  that of this client; updated
 *
 * Returns  whether it is to be closed.
 */
bool slow_look(struct slow_watch *watch, const struct slow_facts *facts,
               const struct slow_limits *limits);

#endif
