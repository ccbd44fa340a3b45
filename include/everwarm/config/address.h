/* SPDX-License-Identifier: BSD-2-Clause */
/* Addresses as people write them: HOST[:PORT], [V6]:PORT, unix:/path. Names are not resolved here.
 */
#ifndef EVERWARM_CONFIG_ADDRESS_H
#define EVERWARM_CONFIG_ADDRESS_H

#include "everwarm/base/limits.h"
#include "everwarm/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum address_kind {
    ADDRESS_NONE, /* not given, or switched off */
    ADDRESS_TCP,
    ADDRESS_UNIX,
};

enum {
    /* Room for what address_format writes, its final zero included. */
    ADDRESS_TEXT_BYTES_MAX = NODE_ADDRESS_BYTES_MAX + 16,
};

struct address {
    enum address_kind kind;
    uint16_t port;                         /* TCP; 0: any free one */
    char host[NODE_ADDRESS_BYTES_MAX + 1]; /* TCP: name or literal, no brackets; UNIX: the path */
};

struct address_list {
    size_t count;
    struct address items[LISTENERS_MAX];
};

/*
 * Parse TEXT into OUT.
 *
 * Host names are lower-cased, so that equal ones compare equal.
 *
 *   text          borrowed
 *   port_default  the port where TEXT names none
 *   out           caller's; meaningless unless NULL is returned
 *
 * Returns  NULL, or what is wrong with TEXT (static, reads well after "...: ").
 */
MUST_CHECK const char *address_parse(const char *text, uint16_t port_default, struct address *out);

/* Write ADDRESS as address_parse reads it, the port always there; "none" for ADDRESS_NONE. */
void address_format(const struct address *address, char out[ADDRESS_TEXT_BYTES_MAX]);

/* Whether A and B are the same by their spelling; names are not resolved. */
bool address_is_equal(const struct address *a, const struct address *b);

/* Whether two listeners can't have A and B: they are equal, and not "any free port". */
bool address_is_clash(const struct address *a, const struct address *b);

/*
 * Whether only this machine can reach ADDRESS: a unix socket, 127.0.0.0/8, ::1, "localhost". Who
 * binds "localhost" must still look at what it resolved to.
 */
bool address_is_loopback(const struct address *address);

#endif
