/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The operator's side over HTTP: figures, health, metrics, and words to nodes. It only reads
 * snapshots and posts commands through the control port; a stuck or hostile client of it costs one
 * of its own threads and nothing of the data path.
 */
#ifndef EVERWARM_ADMIN_ADMIN_H
#define EVERWARM_ADMIN_ADMIN_H

#include "everwarm/base/status.h"

#include <stddef.h>

struct admin;
struct control_port;
struct inherit;

struct admin_options {
    const char *listen; /* HOST:PORT or [V6]:PORT; port 0: any; NULL: off; beyond this machine's
                           loopback with tokens only */
    const char *socket; /* path of a unix socket, for its owner and group, who need no token; NULL:
                           none */
    const char *state;  /* path of the file that keeps words to nodes; NULL: none */
    const char *tokens; /* path of the file of tokens; NULL: none are needed */
    struct inherit *inherit; /* sockets to be used instead of new ones; NULL: none */
};

/*
 * Open what OPTIONS name and answer there from now on, in threads of its own.
 *
 *   options  borrowed for the call, its paths of files until admin_stop
 *   port     borrowed until admin_stop
 *   out      receives the server, for admin_stop; NULL on an error
 *   error    caller's, ERROR_BYTES of it; on an error one line without an end: what and where
 *
 * Errors  STATUS_BAD_CONFIG: not an address, or one that others can reach without tokens, or the
 *         text of those; STATUS_SYSTEM: something can't be opened; STATUS_NO_MEMORY.
 */
MUST_CHECK enum status admin_start(const struct admin_options *options, struct control_port *port,
                                   struct admin **out, char *error, size_t error_bytes);

/* Where it answers: "http://127.0.0.1:11280"; "" when it listens on no TCP port. Lives as long. */
const char *admin_url(const struct admin *admin);

/*
 * Read the file of tokens again, if there is one.
 *
 * Errors  STATUS_SYSTEM, STATUS_BAD_CONFIG: the tokens stay as they are, and error says why.
 */
MUST_CHECK enum status admin_reload(struct admin *admin, char *error, size_t error_bytes);

/* Stop *ADMIN, which may be NULL, and null it. Waits for requests that are being answered. */
void admin_stop(struct admin **admin);

#endif
