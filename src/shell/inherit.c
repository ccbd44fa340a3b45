/* SPDX-License-Identifier: BSD-2-Clause */
/* sd_listen_fds(3)'s protocol; a library for three variables would be a dependency for nothing. */
#include "everwarm/shell/inherit.h"

#include "everwarm/core/view.h"
#include "everwarm/shell/log.h"
#include "socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

enum { FIRST_FD = 3 };

/* Main's, before there are threads: nobody else looks at the environment. */
static const char *look(const char *name)
{
    return getenv(name); /* NOLINT(concurrency-mt-unsafe) */
}

static unsigned long number_of(const char *text)
{
    return text == NULL ? 0 : strtoul(text, NULL, 10);
}

static bool is_option(int fd, int option, int wanted)
{
    int value = 0;
    socklen_t bytes = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, option, &value, &bytes) == 0 && value == wanted;
}

/* False: it is none that a client could connect to. */
static bool take(struct inherit *inherit, int fd)
{
    struct sockaddr_storage *address = &inherit->items[inherit->count].address;
    socklen_t *bytes = &inherit->items[inherit->count].address_bytes;
    *bytes = sizeof(*address);
    memset(address, 0, sizeof(*address));
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
        return false;
    }
    if (!is_option(fd, SO_TYPE, SOCK_STREAM) || !is_option(fd, SO_ACCEPTCONN, 1) ||
        fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        getsockname(fd, (struct sockaddr *)address, bytes) < 0) {
        log_line(LOG_LEVEL_WARNING, "socket-unused", LOG_NUMBER("fd", (uint64_t)fd),
                 LOG_TEXT("note", "handed over, and not a listening stream socket"));
        return false;
    }
    inherit->items[inherit->count].fd = fd;
    inherit->count++;
    return true;
}

void inherit_init(struct inherit *inherit)
{
    *inherit = (struct inherit){.count = 0};
    const unsigned long count = number_of(look("LISTEN_FDS"));
    const bool is_ours = number_of(look("LISTEN_PID")) == (unsigned long)getpid();
    const char *name = look("LISTEN_FDNAMES");
    for (unsigned long i = 0; is_ours && i < count && i < INHERIT_MAX; i++) {
        const size_t bytes = name == NULL ? 0 : strcspn(name, ":");
        if (take(inherit, FIRST_FD + (int)i) && name != NULL) {
            (void)snprintf(inherit->items[inherit->count - 1].name, INHERIT_NAME_BYTES, "%.*s",
                           (int)bytes, name);
        }
        name = name != NULL && name[bytes] == ':' ? name + bytes + 1 : NULL;
    }
    /* Not our children's. NOLINTBEGIN(concurrency-mt-unsafe) */
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    /* NOLINTEND(concurrency-mt-unsafe) */
}

static bool is_same(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a->sa_family != b->sa_family) {
        return false;
    }
    if (a->sa_family == AF_INET) {
        struct sockaddr_in x;
        struct sockaddr_in y;
        memcpy(&x, a, sizeof(x));
        memcpy(&y, b, sizeof(y));
        return x.sin_port == y.sin_port && x.sin_addr.s_addr == y.sin_addr.s_addr;
    }
    if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 x;
        struct sockaddr_in6 y;
        memcpy(&x, a, sizeof(x));
        memcpy(&y, b, sizeof(y));
        return x.sin6_port == y.sin6_port &&
               memcmp(&x.sin6_addr, &y.sin6_addr, sizeof(x.sin6_addr)) == 0;
    }
    const struct sockaddr_un *x = (const struct sockaddr_un *)(const void *)a;
    const struct sockaddr_un *y = (const struct sockaddr_un *)(const void *)b;
    return a->sa_family == AF_UNIX && strncmp(x->sun_path, y->sun_path, sizeof(x->sun_path)) == 0;
}

size_t inherit_claim(struct inherit *inherit, const struct sockaddr *address, int *out,
                     size_t capacity)
{
    size_t count = 0;
    for (size_t i = 0; i < inherit->count && count < capacity; i++) {
        if (!is_same((const struct sockaddr *)&inherit->items[i].address, address)) {
            continue;
        }
        inherit->items[i].is_claimed = true;
        const int fd = fcntl(inherit->items[i].fd, F_DUPFD_CLOEXEC, 0);
        if (fd >= 0) {
            out[count++] = fd;
        }
    }
    return count;
}

void inherit_tell_unused(const struct inherit *inherit)
{
    for (size_t i = 0; i < inherit->count; i++) {
        if (inherit->items[i].is_claimed) {
            continue;
        }
        char text[VIEW_ADDRESS_BYTES_MAX + 1];
        const struct socket_address address = {.storage = inherit->items[i].address,
                                               .length = inherit->items[i].address_bytes};
        socket_address_format(&address, text);
        log_line(LOG_LEVEL_WARNING, "socket-unused", LOG_TEXT("name", inherit->items[i].name),
                 LOG_TEXT("address", text),
                 LOG_TEXT("note", "the service manager holds it, and the configuration does not "
                                  "listen there: its clients wait for nothing"));
    }
}

void inherit_fini(struct inherit *inherit)
{
    for (size_t i = 0; i < inherit->count; i++) {
        (void)close(inherit->items[i].fd);
    }
    inherit->count = 0;
}
