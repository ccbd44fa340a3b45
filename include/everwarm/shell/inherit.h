/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listening sockets that a service manager holds for us (sd_listen_fds(3)), so that a restart
 * refuses no client: who connects meanwhile waits in their queues. One is used for each address of
 * the configuration that it listens on. Thread: one at a time.
 */
#ifndef EVERWARM_SHELL_INHERIT_H
#define EVERWARM_SHELL_INHERIT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum {
    INHERIT_MAX = 64,        /* more are not looked at */
    INHERIT_NAME_BYTES = 64, /* a longer name is cut: it is only shown */
};

struct inherit {
    size_t count;
    struct {
        int fd;
        bool is_claimed;
        char name[INHERIT_NAME_BYTES]; /* FileDescriptorName=; "" if it has none */
        struct sockaddr_storage address;
        socklen_t address_bytes;
    } items[INHERIT_MAX];
};

/* Take what $LISTEN_FDS says, if it is meant for this process, and clear that from the environment.
 * Before any other descriptor is opened or thread begun. */
void inherit_init(struct inherit *inherit);

/*
 * Descriptors of those that listen on ADDRESS, the caller's to close: the sockets themselves stay
 * open, whoever closes what, until inherit_fini.
 *
 * Returns  their number, at most CAPACITY; 0: there are none.
 */
size_t inherit_claim(struct inherit *inherit, const struct sockaddr *address, int *out,
                     size_t capacity);

/* Say in the log which were claimed by nobody. */
void inherit_tell_unused(const struct inherit *inherit);

void inherit_fini(struct inherit *inherit);

#endif
