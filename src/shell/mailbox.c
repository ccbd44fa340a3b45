/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A ring of messages under a mutex, and an eventfd that is written when the ring stops being empty.
 *
 * I1  The eventfd is readable whenever a message lies in the ring that the owner has not seen: it
 * is written inside the mutex on the step from empty, and the owner clears it before it takes.
 */
#include "mailbox.h"

#include "everwarm/base/invariant.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum status mailbox_init(struct mailbox *box, size_t message_bytes, size_t capacity)
{
    *box = (struct mailbox){.message_bytes = message_bytes, .capacity = capacity};
    box->messages = calloc(capacity, message_bytes);
    if (box->messages == NULL) {
        return STATUS_NO_MEMORY;
    }
    box->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (box->wake_fd < 0) {
        free(box->messages);
        return STATUS_SYSTEM;
    }
    INVARIANT(pthread_mutex_init(&box->mutex, NULL) == 0);
    return STATUS_OK;
}

void mailbox_fini(struct mailbox *box)
{
    (void)pthread_mutex_destroy(&box->mutex);
    (void)close(box->wake_fd);
    free(box->messages);
    *box = (struct mailbox){.wake_fd = -1};
}

enum status mailbox_post(struct mailbox *box, const void *message, size_t keep_free)
{
    enum status status = STATUS_FULL;
    (void)pthread_mutex_lock(&box->mutex);
    if (box->count + keep_free < box->capacity) {
        size_t at = (box->head + box->count) % box->capacity;
        memcpy(box->messages + at * box->message_bytes, message, box->message_bytes);
        box->count++;
        status = STATUS_OK;
    }
    (void)pthread_mutex_unlock(&box->mutex);
    if (status == STATUS_OK) {
        /* Not under the mutex: the owner wakes at once, and would wait for a poster that it took
         * the processor from. And not only for the first message: who posted that may not have come
         * so far yet. Only a counter near 2^64 could refuse; the owner clears it. */
        uint64_t one = 1;
        ssize_t written = write(box->wake_fd, &one, sizeof(one));
        INVARIANT(written == sizeof(one));
    }
    return status;
}

void mailbox_quiet(struct mailbox *box)
{
    uint64_t count;
    ssize_t got = read(box->wake_fd, &count, sizeof(count));
    (void)got; /* EAGAIN: nothing to clear */
}

bool mailbox_take(struct mailbox *box, void *message)
{
    bool is_taken = false;
    (void)pthread_mutex_lock(&box->mutex);
    if (box->count > 0) {
        memcpy(message, box->messages + box->head * box->message_bytes, box->message_bytes);
        box->head = (box->head + 1) % box->capacity;
        box->count--;
        is_taken = true;
    }
    (void)pthread_mutex_unlock(&box->mutex);
    return is_taken;
}
