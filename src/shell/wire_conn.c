/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The socket behind a wire: connected, read once a turn, written as far as it takes, closed.
 *
 * I1  Exactly one of OPEN and CLOSED follows a wire_conn_connect, and never from inside it.
 * I2  After wire_conn_close no event comes.
 */
#include "wire_conn.h"

#include "everwarm/base/invariant.h"

#include <errno.h>
#include <unistd.h>

static void on_wire(evutil_socket_t fd, short what, void *arg);

static void watch_wire(struct wire_conn *conn)
{
    short wanted = 0;
    switch (conn->state) {
    case WIRE_CONN_CLOSED:
        break;
    case WIRE_CONN_CONNECTING:
        wanted = EV_WRITE;
        break;
    case WIRE_CONN_OPEN:
        wanted = conn->is_blocked ? EV_READ | EV_WRITE : EV_READ;
        break;
    }
    struct watch_target target = {conn->options.base, conn->fd, on_wire, conn};
    watch_set(&conn->watch, &target, wanted);
}

static void wire_move(struct wire_conn *conn, enum wire_conn_state state)
{
    INVARIANT(state == WIRE_CONN_CLOSED || (int)state == (int)conn->state + 1);
    conn->state = state;
    watch_wire(conn);
}

void wire_conn_init(struct wire_conn *conn, const struct wire_conn_options *options)
{
    *conn = (struct wire_conn){.options = *options, .fd = -1};
}

void wire_conn_close(struct wire_conn *conn)
{
    wire_move(conn, WIRE_CONN_CLOSED);
    if (conn->fd >= 0) {
        (void)close(conn->fd);
    }
    conn->fd = -1;
    conn->is_blocked = false;
    conn->is_broken = false;
    conn->has_failed = false;
}

static void tell_wire(struct wire_conn *conn, struct wire_event event)
{
    event.wire = conn->options.wire;
    conn->options.on_event(conn->options.arg, &event);
}

static void end_wire(struct wire_conn *conn, enum wire_end end)
{
    wire_conn_close(conn);
    tell_wire(conn, (struct wire_event){.type = WIRE_CLOSED, .end = end});
}

bool wire_conn_connect(struct wire_conn *conn, const struct socket_address *to, uint64_t lease_us)
{
    INVARIANT(conn->state == WIRE_CONN_CLOSED);
    conn->fd = socket_connect(to, lease_us, &conn->end);
    if (conn->fd < 0) {
        conn->has_failed = true;
        return false;
    }
    wire_move(conn, WIRE_CONN_CONNECTING);
    return true;
}

void wire_conn_tell_failed(struct wire_conn *conn)
{
    if (conn->has_failed) {
        end_wire(conn, conn->end);
    }
}

void wire_conn_write(struct wire_conn *conn)
{
    struct slice slices[SOCKET_SLICES_MAX];
    while (conn->state == WIRE_CONN_OPEN && !conn->is_blocked && !conn->is_broken) {
        size_t count =
            conn->options.gather(conn->options.arg, conn->options.wire, slices, SOCKET_SLICES_MAX);
        if (count == 0) {
            return;
        }
        size_t total;
        int64_t taken = socket_write(conn->fd, slices, count, &total);
        if (taken < 0) {
            conn->is_broken = true; /* its read says why */
            return;
        }
        if ((size_t)taken < total) {
            conn->is_blocked = true;
            watch_wire(conn);
        }
        if (taken > 0) {
            tell_wire(conn, (struct wire_event){.type = WIRE_WROTE, .wrote = (uint32_t)taken});
        }
    }
}

void wire_conn_finish(struct wire_conn *conn)
{
    INVARIANT(conn->state == WIRE_CONN_OPEN);
    (void)shutdown(conn->fd, SHUT_WR); /* of one that is broken already the read tells */
}

static void read_wire(struct wire_conn *conn)
{
    char *scratch = conn->options.scratch;
    ssize_t got = read(conn->fd, scratch, WIRE_CONN_READ_BYTES);
    if (got > 0) {
        struct slice bytes = slice_of(scratch, (size_t)got);
        tell_wire(conn, (struct wire_event){.type = WIRE_BYTES, .bytes = bytes});
    } else if (got == 0) {
        end_wire(conn, WIRE_END_EOF);
    } else if (errno != EAGAIN && errno != EINTR) {
        end_wire(conn, socket_end_of(errno));
    }
}

static void on_wire(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    struct wire_conn *conn = arg;
    if (conn->state == WIRE_CONN_CONNECTING) {
        enum wire_end end;
        if (socket_finish(conn->fd, &end) != 0) {
            end_wire(conn, end);
            return;
        }
        wire_move(conn, WIRE_CONN_OPEN);
        tell_wire(conn, (struct wire_event){.type = WIRE_OPEN});
        return;
    }
    if (what & EV_WRITE) {
        conn->is_blocked = false;
        wire_conn_write(conn);
        watch_wire(conn);
    }
    if (what & EV_READ) {
        read_wire(conn);
    }
}
