/* SPDX-License-Identifier: BSD-2-Clause */
/* The socket behind one of control's wires (core/wire.h). Thread: control's alone. */
#ifndef EVERWARM_SHELL_WIRE_CONN_H
#define EVERWARM_SHELL_WIRE_CONN_H

#include "everwarm/core/wire.h"
#include "socket.h"
#include "watch.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    /* A fill reads hundreds of values at a time. */
    WIRE_CONN_READ_BYTES = 256 * 1024,
};

struct wire_conn_options {
    struct event_base *base;
    char *scratch; /* borrowed: WIRE_CONN_READ_BYTES, shared by all wires of a thread */
    uint32_t wire; /* its number */
    void (*on_event)(void *arg, struct wire_event *event);
    size_t (*gather)(void *arg, uint32_t wire, struct slice *out, size_t capacity);
    void *arg;
};

enum wire_conn_state { WIRE_CONN_CLOSED, WIRE_CONN_CONNECTING, WIRE_CONN_OPEN };

struct wire_conn {
    struct wire_conn_options options;
    struct watch watch;
    int fd;
    enum wire_conn_state state;
    bool is_blocked; /* took less than it was given */
    bool is_broken;  /* a write failed; its read will say why */
    bool has_failed; /* to be told as CLOSED by wire_conn_tell_failed */
    enum wire_end end;
};

void wire_conn_init(struct wire_conn *conn, const struct wire_conn_options *options);

/*
 * Connect a closed wire.
 *
 * Returns  false when it failed at once: wire_conn_tell_failed is to be called, since CLOSED can't
 *          come from inside the action that asked for the connection.
 */
bool wire_conn_connect(struct wire_conn *conn, const struct socket_address *to, uint64_t lease_us);
void wire_conn_tell_failed(struct wire_conn *conn);

/* Write what gather gives, as far as the socket takes it; the rest when it takes bytes again. */
void wire_conn_write(struct wire_conn *conn);

/* Send no more; what comes, and the end, is told as before. */
void wire_conn_finish(struct wire_conn *conn);

/* Close it, whatever state it is in; no event comes. */
void wire_conn_close(struct wire_conn *conn);

#endif
