/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How long a client may take for the head of a request. The HTTP library waits so long for each
 * next byte; here the time for all of them is bounded, so that dripping clients hold no connection.
 */
#ifndef EVERWARM_ADMIN_PATIENCE_H
#define EVERWARM_ADMIN_PATIENCE_H

#include <microhttpd.h>
#include <pthread.h>
#include <stddef.h>
#include <time.h>

enum {
    /* Both listeners' connections. */
    PATIENCE_CONNECTIONS_MAX = 2 * 192,
    /* A person types faster, and no program takes longer than a second. Above the library's own
     * timeout, which ends connections that do nothing. */
    PATIENCE_S = 15,
};

struct patience_entry {
    int fd;         /* -1: the place is free */
    time_t since_s; /* it owes a head since then; 0: it owes none */
};

struct patience {
    pthread_mutex_t mutex;
    struct patience_entry entries[PATIENCE_CONNECTIONS_MAX];
};

void patience_init(struct patience *patience);
void patience_fini(struct patience *patience);

/* MHD_OPTION_NOTIFY_CONNECTION; CLOSURE is a struct patience. */
void patience_on_connection(void *closure, struct MHD_Connection *connection, void **entry,
                            enum MHD_ConnectionNotificationCode code);

/* CONNECTION's head is there; its next one is owed when it has been answered. */
void patience_head_came(struct patience *patience, struct MHD_Connection *connection);
void patience_head_owed(struct patience *patience, struct MHD_Connection *connection);

/* End the connections that have owed a head for too long. Call every second or so. */
void patience_look(struct patience *patience);

#endif
