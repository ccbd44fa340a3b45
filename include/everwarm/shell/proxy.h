/* SPDX-License-Identifier: BSD-2-Clause */
/* The proxy: its listening sockets, its workers, its control thread. Used by main alone. */
#ifndef EVERWARM_SHELL_PROXY_H
#define EVERWARM_SHELL_PROXY_H

#include "everwarm/base/status.h"
#include "everwarm/config/config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control_port;
struct inherit;
struct proxy;

/*
 * Resolve the nodes, listen, and take the memory; no thread runs yet, so that the user may still be
 * changed and the process forked.
 *
 *   config  borrowed until proxy_destroy; ports that were 0 in it are known by proxy_address
 *   inherit  likewise; sockets that it has are used instead of new ones
 *   error   caller's, ERROR_BYTES of it: one line, what and what to do
 *
 * Errors  STATUS_NOT_FOUND, STATUS_SYSTEM, STATUS_NO_MEMORY: nothing is left behind.
 */
MUST_CHECK enum status proxy_create(const struct config *config, struct inherit *inherit,
                                    struct proxy **out, char *error, size_t error_bytes);

/* Where clients of a pool are awaited: "127.0.0.1:11210"; NULL when INDEX is past the last. As it
 * was at the start. */
const char *proxy_address(const struct proxy *proxy, size_t pool, size_t index);

/* Start the threads. Errors  STATUS_SYSTEM: proxy_destroy is still to be called. */
MUST_CHECK enum status proxy_start(struct proxy *proxy);

/* What admin talks to; lives until proxy_destroy. */
struct control_port *proxy_port(struct proxy *proxy);

/* Ask every loop to answer with SERIAL, which only grows; and whether all have. */
void proxy_ping(struct proxy *proxy, uint64_t serial);
bool proxy_has_answered(const struct proxy *proxy, uint64_t serial);

/* Take no new clients and requests, answer what was asked, then say farewell to the nodes. */
void proxy_drain(struct proxy *proxy);
/* Whether all that is done. */
bool proxy_is_gone(const struct proxy *proxy);

/* Stop all threads, close everything, free *PROXY, which may be NULL, and null it. */
void proxy_destroy(struct proxy **proxy);

#endif
