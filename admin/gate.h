/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate: what a request must be, whatever it asks for, before a route sees it. In order: size,
 * framing, host, (path and) method, cross-site, body type, token and role.
 */
#ifndef EVERWARM_ADMIN_GATE_H
#define EVERWARM_ADMIN_GATE_H

#include "reply.h"
#include "route.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* A merge patch of a whole configuration; a word to a node is far below. */
    GATE_BODY_BYTES_MAX = 64 << 10,
    /* A body that is refused is read to its end up to here, or the client might see a reset where
     * the answer was. */
    GATE_DISCARD_BYTES_MAX = 1 << 20,
};

struct tokens;

/* Who may be spoken to, and by whom. */
struct gate_site {
    const char *host; /* that the listener is bound to, without brackets; NULL: a unix socket, which
                         no browser reaches: every Host is good */
    bool is_public;   /* others than this machine reach it: any address is good as a Host */
    struct tokens *tokens; /* NULL: who reaches it may do all */
};

/* What the gate looks at of a request's head. Values point into the request. */
struct gate_head {
    const char *method;
    const char *path;    /* raw */
    const char *version; /* "HTTP/1.1" */
    uint32_t length_count;
    uint32_t encoding_count;
    uint32_t host_count;
    const char *length; /* Content-Length */
    const char *host;
    const char *content_type;
    const char *fetch_site; /* Sec-Fetch-Site */
    const char *authorization;
    const char *origin; /* the last one */
    uint32_t origin_count;
    uint64_t body_bytes; /* filled by gate_check */
};

/* Take in one header. */
void gate_take_header(struct gate_head *head, const char *name, const char *value);

enum gate_verdict {
    GATE_PASS,
    GATE_REFUSE,       /* reply is filled; read the body first, head->body_bytes of it */
    GATE_REFUSE_BLIND, /* reply is filled; answer and close, where the body ends is not known */
};

/* Judge a request. On GATE_PASS *MATCH is its route. */
enum gate_verdict gate_check(const struct gate_site *site, struct gate_head *head,
                             struct route_match *match, struct reply *reply);

#endif
