/* SPDX-License-Identifier: BSD-2-Clause */
/* The calls to the kernel's sockets that more than one thread makes. No state, any thread. */
#include "socket.h"

#include "everwarm/base/invariant.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

/* Options only tune; a kernel without one still works. */
static void set_option(int fd, int level, int name, int value)
{
    (void)setsockopt(fd, level, name, &value, sizeof(value));
}

static enum status resolve_unix(const struct address *address, struct socket_address *out,
                                struct socket_error *error)
{
    struct sockaddr_un *un = (struct sockaddr_un *)&out->storage;
    size_t length = strlen(address->host);
    if (length >= sizeof(un->sun_path)) {
        (void)snprintf(error->text, sizeof(error->text),
                       "unix:%s: the path is longer than %zu bytes", address->host,
                       sizeof(un->sun_path) - 1);
        return STATUS_NOT_FOUND;
    }
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, address->host, length + 1);
    out->length = sizeof(*un);
    return STATUS_OK;
}

static enum status resolve(const struct address *address, int flags, struct socket_address *out,
                           struct socket_error *error)
{
    *out = (struct socket_address){.length = 0};
    if (address->kind == ADDRESS_UNIX) {
        return resolve_unix(address, out, error);
    }
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)address->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | flags};
    struct addrinfo *found = NULL;
    int failure = getaddrinfo(address->host, port, &hints, &found);
    if (failure != 0) {
        (void)snprintf(error->text, sizeof(error->text),
                       "%s: %s; check the name, or write the address as a number", address->host,
                       gai_strerror(failure));
        return STATUS_NOT_FOUND;
    }
    INVARIANT(found != NULL); /* success brings one at least */
    const struct addrinfo *chosen = found;
    for (const struct addrinfo *a = found; a != NULL; a = a->ai_next) {
        if (a->ai_family == AF_INET) {
            chosen = a;
            break;
        }
    }
    memcpy(&out->storage, chosen->ai_addr, chosen->ai_addrlen);
    out->length = chosen->ai_addrlen;
    freeaddrinfo(found);
    return STATUS_OK;
}

enum status socket_resolve(const struct address *address, struct socket_address *out,
                           struct socket_error *error)
{
    return resolve(address, 0, out, error);
}

void socket_address_format(const struct socket_address *address,
                           char out[VIEW_ADDRESS_BYTES_MAX + 1])
{
    const size_t bytes = VIEW_ADDRESS_BYTES_MAX + 1;
    char host[NI_MAXHOST];
    char port[NI_MAXSERV];
    if (address->storage.ss_family == AF_UNIX) {
        const struct sockaddr_un *un = (const struct sockaddr_un *)&address->storage;
        (void)snprintf(out, bytes, "unix:%.*s", (int)sizeof(un->sun_path), un->sun_path);
        return;
    }
    if (getnameinfo((const struct sockaddr *)&address->storage, address->length, host, sizeof(host),
                    port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)snprintf(out, bytes, "none");
        return;
    }
    const bool is_v6 = address->storage.ss_family == AF_INET6;
    (void)snprintf(out, bytes, "%s%.100s%s:%.5s", is_v6 ? "[" : "", host, is_v6 ? "]" : "", port);
}

bool socket_address_parse(struct slice text, struct socket_address *out)
{
    char copy[VIEW_ADDRESS_BYTES_MAX + 1];
    struct address address;
    struct socket_error error;
    *out = (struct socket_address){.length = 0};
    if (text.len >= sizeof(copy)) {
        return false;
    }
    memcpy(copy, text.ptr, text.len);
    copy[text.len] = '\0';
    return address_parse(copy, 0, &address) == NULL &&
           resolve(&address, AI_NUMERICHOST, out, &error) == STATUS_OK;
}

static int open_bound(const struct socket_address *to, int is_shared)
{
    int fd = socket(to->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (to->storage.ss_family != AF_UNIX) {
        set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
        if (is_shared) {
            set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1);
        }
        if (to->storage.ss_family == AF_INET6) {
            set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
        }
    }
    if (bind(fd, (const struct sockaddr *)&to->storage, to->length) != 0) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* Remove the file of a unix socket that nobody listens on any more. */
static void remove_stale(const struct socket_address *to)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    if (connect(fd, (const struct sockaddr *)&to->storage, to->length) != 0 &&
        errno == ECONNREFUSED) {
        (void)unlink(((const struct sockaddr_un *)&to->storage)->sun_path);
    }
    (void)close(fd);
}

/*
 * 0 when nobody listens there, else -1 with errno: sockets that share a port would let a second
 * everwarm of the same user take half of the first one's clients without a word.
 */
static int probe(const struct socket_address *to)
{
    int fd = open_bound(to, 0);
    if (fd < 0) {
        return -1;
    }
    (void)close(fd);
    return 0;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage storage;
    memset(&storage, 0, sizeof(storage));
    socklen_t length = sizeof(storage);
    if (getsockname(fd, (struct sockaddr *)&storage, &length) != 0) {
        return 0;
    }
    return storage.ss_family == AF_INET6 ? ntohs(((const struct sockaddr_in6 *)&storage)->sin6_port)
                                         : ntohs(((const struct sockaddr_in *)&storage)->sin_port);
}

static void set_port(struct socket_address *to, uint16_t port)
{
    if (to->storage.ss_family == AF_INET6) {
        ((struct sockaddr_in6 *)&to->storage)->sin6_port = htons(port);
    } else {
        ((struct sockaddr_in *)&to->storage)->sin_port = htons(port);
    }
}

static void explain_listen(const struct address *address, struct socket_error *error)
{
    char where[ADDRESS_TEXT_BYTES_MAX];
    int saved = errno;
    address_format(address, where);
    const char *advice = "";
    if (saved == EADDRINUSE) {
        advice = address->kind == ADDRESS_UNIX
                     ? "; another process listens there: end it, or choose another path with -f"
                     : "; another process listens there: find it with ss -ltnp, or choose "
                       "another port with -p";
    } else if (saved == EADDRNOTAVAIL) {
        advice = "; no interface has this address: choose one of `ip address`, or 0.0.0.0";
    } else if (saved == EACCES) {
        advice = "; ports below 1024 need root, unix sockets a directory one may write to";
    }
    (void)snprintf(error->text, sizeof(error->text), "can't listen on %s: %s%s", where,
                   strerrordesc_np(saved), advice);
}

enum status socket_listen(struct address *address, int *out, uint32_t count,
                          struct socket_error *error)
{
    REQUIRE(count >= 1 && (address->kind == ADDRESS_TCP || count == 1));
    struct socket_address to;
    enum status status = socket_resolve(address, &to, error);
    if (status != STATUS_OK) {
        return status;
    }
    if (address->kind == ADDRESS_UNIX) {
        remove_stale(&to);
    } else if (address->port != 0 && probe(&to) != 0) {
        explain_listen(address, error);
        return STATUS_SYSTEM;
    }
    uint32_t opened = 0;
    while (opened < count) {
        out[opened] = open_bound(&to, count > 1);
        if (out[opened] < 0) {
            goto close_opened;
        }
        opened++;
        if (listen(out[opened - 1], SOCKET_BACKLOG) != 0) {
            goto close_opened;
        }
        if (address->kind == ADDRESS_TCP && address->port == 0) {
            address->port = port_of(out[0]);
            set_port(&to, address->port);
        }
    }
    return STATUS_OK;

close_opened:
    explain_listen(address, error);
    while (opened > 0) {
        opened--;
        (void)close(out[opened]);
    }
    return STATUS_SYSTEM;
}

int socket_connect(const struct socket_address *address, uint64_t lease_us, enum wire_end *end)
{
    int family = address->storage.ss_family;
    int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        *end = WIRE_END_UNREACHABLE;
        return -1;
    }
    /* Nothing unsent may outlive the socket or this process (replication.md section 6). */
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    if (family != AF_UNIX) {
        int lease_s = (int)(lease_us / 1000000) + 1;
        set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
        set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)(lease_us / 2 / 1000));
        /* A node's machine that vanished is noticed also where nothing is under way. */
        set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
        set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, lease_s);
        set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 1);
    }
    if (connect(fd, (const struct sockaddr *)&address->storage, address->length) != 0 &&
        errno != EINPROGRESS) {
        *end = socket_end_of(errno);
        (void)close(fd);
        return -1;
    }
    return fd;
}

int socket_finish(int fd, enum wire_end *end)
{
    int failure = 0;
    socklen_t length = sizeof(failure);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &length) != 0 || failure != 0) {
        *end = socket_end_of(failure);
        return -1;
    }
    struct sockaddr_storage own = {0};
    struct sockaddr_storage peer = {0};
    socklen_t own_length = sizeof(own);
    socklen_t peer_length = sizeof(peer);
    if (getsockname(fd, (struct sockaddr *)&own, &own_length) != 0 ||
        getpeername(fd, (struct sockaddr *)&peer, &peer_length) != 0) {
        *end = socket_end_of(errno);
        return -1;
    }
    if (own.ss_family != AF_UNIX && own_length == peer_length &&
        memcmp(&own, &peer, own_length) == 0) {
        *end = WIRE_END_REFUSED;
        return -1;
    }
    return 0;
}

void socket_tune_client(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* refused by a unix socket, which needs none */
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
}

enum wire_end socket_end_of(int error_number)
{
    switch (error_number) {
    case ECONNREFUSED:
    case ENOENT: /* of a unix socket: nobody there */
    case EAGAIN: /* of a unix socket: its queue is full */
        return WIRE_END_REFUSED;
    case ECONNRESET:
    case EPIPE:
        return WIRE_END_RESET;
    case ETIMEDOUT:
        return WIRE_END_TIMEOUT;
    default: /* not an enum: every other error number */
        return WIRE_END_UNREACHABLE;
    }
}

int64_t socket_write(int fd, const struct slice *slices, size_t count, size_t *total)
{
    struct iovec vector[SOCKET_SLICES_MAX];
    REQUIRE(count <= SOCKET_SLICES_MAX);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        /* The kernel only reads; iovec has no const. */
        vector[i].iov_base = (void *)(uintptr_t)slices[i].ptr;
        vector[i].iov_len = slices[i].len;
        bytes += slices[i].len;
    }
    *total = bytes;
    for (;;) {
        ssize_t taken = writev(fd, vector, (int)count);
        if (taken >= 0) {
            return taken;
        }
        if (errno == EAGAIN) {
            return 0;
        }
        if (errno != EINTR) {
            return -1;
        }
    }
}

uint64_t socket_unsent_bytes(int fd)
{
    int bytes = 0;
    return ioctl(fd, SIOCOUTQ, &bytes) == 0 && bytes > 0 ? (uint64_t)bytes : 0;
}

void socket_drop_unsent(int fd)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

int socket_accept(int fd, struct socket_peer *peer)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } from;
    memset(&from, 0, sizeof(from));
    socklen_t length = sizeof(from);
    const int client = accept4(fd, &from.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (client < 0) {
        return client;
    }
    const bool has_family = length >= sizeof(from.any.sa_family);
    *peer = (struct socket_peer){.family = has_family ? from.any.sa_family : AF_UNIX};
    if (peer->family == AF_INET) {
        peer->port = ntohs(from.v4.sin_port);
        memcpy(peer->bytes, &from.v4.sin_addr, sizeof(from.v4.sin_addr));
    } else if (peer->family == AF_INET6) {
        peer->port = ntohs(from.v6.sin6_port);
        memcpy(peer->bytes, &from.v6.sin6_addr, sizeof(from.v6.sin6_addr));
    }
    return client;
}

void socket_peer_format(const struct socket_peer *peer, char *out, size_t bytes)
{
    char text[INET6_ADDRSTRLEN];
    const bool is_v6 = peer->family == AF_INET6;
    if ((!is_v6 && peer->family != AF_INET) ||
        inet_ntop(peer->family, peer->bytes, text, sizeof(text)) == NULL) {
        (void)snprintf(out, bytes, "unix");
        return;
    }
    (void)snprintf(out, bytes, is_v6 ? "[%s]:%u" : "%s:%u", text, (unsigned)peer->port);
}
