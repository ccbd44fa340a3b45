/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bounded mailbox: many threads post messages of one size by value, one thread takes them and is
 * woken by a file descriptor. It is never on the path of a request, so a mutex is good enough.
 */
#ifndef EVERWARM_SHELL_MAILBOX_H
#define EVERWARM_SHELL_MAILBOX_H

#include "everwarm/base/status.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

struct mailbox {
    pthread_mutex_t mutex;
    int wake_fd; /* eventfd: readable while something may be in the box */
    size_t message_bytes;
    size_t capacity; /* messages */
    size_t head;     /* where the oldest lies */
    size_t count;
    char *messages;
};

/* Errors  STATUS_NO_MEMORY, STATUS_SYSTEM: no file descriptor; nothing to undo after either. */
MUST_CHECK enum status mailbox_init(struct mailbox *box, size_t message_bytes, size_t capacity);
/* No thread may use BOX any more; what is left in it is dropped. */
void mailbox_fini(struct mailbox *box);

/*
 * Post a copy of MESSAGE, unless KEEP_FREE or fewer places are left: that many are kept for others.
 *
 * Errors  STATUS_FULL: nothing was posted; the caller decides what that means.
 * Thread  any.
 */
MUST_CHECK enum status mailbox_post(struct mailbox *box, const void *message, size_t keep_free);

/* Clear the wake-up; call before taking until empty. Thread: the owner. */
void mailbox_quiet(struct mailbox *box);
/* Take the oldest message; false: empty. Thread: the owner. */
bool mailbox_take(struct mailbox *box, void *message);

#endif
