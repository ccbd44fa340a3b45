/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table of open connections. A socket is only ever shut down under the mutex while its entry is
 * there; the library takes the entry away before it closes the socket, so no other one can have got
 * its number.
 */
#include "patience.h"

#include "everwarm/base/invariant.h"

#include <sys/socket.h>

static time_t now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

void patience_init(struct patience *patience)
{
    INVARIANT(pthread_mutex_init(&patience->mutex, NULL) == 0);
    for (size_t i = 0; i < PATIENCE_CONNECTIONS_MAX; i++) {
        patience->entries[i] = (struct patience_entry){.fd = -1};
    }
}

void patience_fini(struct patience *patience)
{
    (void)pthread_mutex_destroy(&patience->mutex);
}

static struct patience_entry *find_free(struct patience *patience)
{
    for (size_t i = 0; i < PATIENCE_CONNECTIONS_MAX; i++) {
        if (patience->entries[i].fd < 0) {
            return &patience->entries[i];
        }
    }
    return NULL;
}

void patience_on_connection(void *closure, struct MHD_Connection *connection, void **entry,
                            enum MHD_ConnectionNotificationCode code)
{
    struct patience *patience = closure;
    (void)pthread_mutex_lock(&patience->mutex);
    switch (code) {
    case MHD_CONNECTION_NOTIFY_STARTED: {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
        struct patience_entry *fresh = info == NULL ? NULL : find_free(patience);
        if (fresh != NULL) {
            *fresh = (struct patience_entry){.fd = info->connect_fd, .since_s = now_s()};
        }
        *entry = fresh;
        break;
    }
    case MHD_CONNECTION_NOTIFY_CLOSED:
        if (*entry != NULL) {
            *(struct patience_entry *)*entry = (struct patience_entry){.fd = -1};
            *entry = NULL;
        }
        break;
    }
    (void)pthread_mutex_unlock(&patience->mutex);
}

static void set_since(struct patience *patience, struct MHD_Connection *connection, time_t since_s)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct patience_entry *entry = info == NULL ? NULL : info->socket_context;
    if (entry != NULL) {
        (void)pthread_mutex_lock(&patience->mutex);
        entry->since_s = since_s;
        (void)pthread_mutex_unlock(&patience->mutex);
    }
}

void patience_head_came(struct patience *patience, struct MHD_Connection *connection)
{
    set_since(patience, connection, 0);
}

void patience_head_owed(struct patience *patience, struct MHD_Connection *connection)
{
    set_since(patience, connection, now_s());
}

void patience_look(struct patience *patience)
{
    const time_t now = now_s();
    (void)pthread_mutex_lock(&patience->mutex);
    for (size_t i = 0; i < PATIENCE_CONNECTIONS_MAX; i++) {
        struct patience_entry *entry = &patience->entries[i];
        if (entry->fd >= 0 && entry->since_s != 0 && now - entry->since_s > PATIENCE_S) {
            (void)shutdown(entry->fd, SHUT_RDWR); /* its thread wakes, and closes it */
            entry->since_s = 0;
        }
    }
    (void)pthread_mutex_unlock(&patience->mutex);
}
