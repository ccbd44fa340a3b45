/* SPDX-License-Identifier: BSD-2-Clause */
/* Server-sent events out of bytes as they come (the part of the WHATWG's format that is used). */
#ifndef EVERWARM_SRC_CTL_STREAM_H
#define EVERWARM_SRC_CTL_STREAM_H

#include <stddef.h>

enum {
    /* An event of everwarm's is below 4 KiB; what is longer is passed over. */
    STREAM_LINE_BYTES_MAX = 8192,
};

/* DATA is the event's, ended by 0, valid for the call. */
typedef void stream_event(void *closure, const char *data);

struct stream {
    size_t used;                      /* of the line that has not ended */
    size_t data_bytes;                /* of the event that has not ended */
    char line[STREAM_LINE_BYTES_MAX]; /* too long: used stays at its end */
    char data[STREAM_LINE_BYTES_MAX];
};

/* Feed bytes, split anywhere; EVENT is called for each event that is whole now. A zeroed STREAM is
 * at the beginning. */
void stream_feed(struct stream *stream, const char *bytes, size_t len, stream_event *event,
                 void *closure);

#endif
