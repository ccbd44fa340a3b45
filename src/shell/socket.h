/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets: addresses resolved, listening and connecting sockets with their options, gathered
 * writes. */
#ifndef EVERWARM_SHELL_SOCKET_H
#define EVERWARM_SHELL_SOCKET_H

#include "everwarm/base/slice.h"
#include "everwarm/base/status.h"
#include "everwarm/config/address.h"
#include "everwarm/core/wire.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum {
    /* Connections the kernel keeps for us between two turns; cut down by net.core.somaxconn. */
    SOCKET_BACKLOG = 4096,
    /* Slices of one gathered write: 256 KiB of small replies; the kernel's limit is 1024. */
    SOCKET_SLICES_MAX = 256,
    SOCKET_ERROR_BYTES_MAX = 512,
};

struct socket_address {
    struct sockaddr_storage storage;
    socklen_t length;
};

/* Where an error is told, in words for the operator. */
struct socket_error {
    char text[SOCKET_ERROR_BYTES_MAX];
};

/*
 * Resolve ADDRESS; blocks for as long as the resolver does. Of several the first IPv4 one is taken,
 * since "localhost" is both and memcached listens on 127.0.0.1 alone.
 *
 * Errors  STATUS_NOT_FOUND: no such name; error says which.
 */
MUST_CHECK enum status socket_resolve(const struct address *address, struct socket_address *out,
                                      struct socket_error *error);

/* Write ADDRESS as views name it: "10.0.0.1:11211", "[::1]:11211", "unix:/path". */
void socket_address_format(const struct socket_address *address,
                           char out[VIEW_ADDRESS_BYTES_MAX + 1]);
/* Read what socket_address_format writes, and ask no resolver. False: it is something else. */
bool socket_address_parse(struct slice text, struct socket_address *out);

/*
 * Open COUNT listening sockets on one address; TCP ones share it by SO_REUSEPORT. Port 0 becomes a
 * free one, written back to ADDRESS. A unix socket left behind by a dead process is replaced.
 *
 *   out  receives COUNT descriptors; for a unix socket COUNT is 1
 *
 * Errors  STATUS_SYSTEM: error says what and what to do; nothing stays open.
 */
MUST_CHECK enum status socket_listen(struct address *address, int *out, uint32_t count,
                                     struct socket_error *error);

/*
 * Begin to connect to a node.
 *
 *   lease_us  half of it is how long sent bytes may stay unacknowledged (replication.md section 4)
 *
 * Returns  a descriptor, or -1 with *end filled. EV_WRITE tells when socket_finish may be called.
 */
int socket_connect(const struct socket_address *address, uint64_t lease_us, enum wire_end *end);

/*
 * Look how the connection attempt of FD ended.
 *
 * A socket that has connected to itself, as can happen on loopback while nobody listens on a port
 * that the kernel also hands out, counts as refused.
 *
 * Returns  0, or -1 with *end filled.
 */
int socket_finish(int fd, enum wire_end *end);

/* Where a client comes from, as small as it can be kept. */
struct socket_peer {
    sa_family_t family; /* AF_INET, AF_INET6, or any other: a unix socket */
    uint16_t port;
    uint8_t bytes[16]; /* of the address */
};

/* Take a waiting client of a listening socket; -1 with errno. */
int socket_accept(int fd, struct socket_peer *peer);
/* "127.0.0.1:4711", "[::1]:4711", "unix". */
void socket_peer_format(const struct socket_peer *peer, char *out, size_t bytes);

/* Options of an accepted client. */
void socket_tune_client(int fd);

enum wire_end socket_end_of(int error_number);

/*
 * Write COUNT slices (at most SOCKET_SLICES_MAX) in one call.
 *
 *   total  receives how many bytes they have
 *
 * Returns  bytes taken; 0 when the socket takes none now; -1 when it is broken.
 */
int64_t socket_write(int fd, const struct slice *slices, size_t count, size_t *total);

/* About how many bytes the kernel holds that the peer of FD has not taken; 0: it can't tell. */
uint64_t socket_unsent_bytes(int fd);

/* Let the close of FD be a reset that drops what the peer has not taken; else the kernel would keep
 * it for minutes for one that does not read. */
void socket_drop_unsent(int fd);

#endif
