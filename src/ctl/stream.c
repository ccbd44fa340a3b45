/* SPDX-License-Identifier: BSD-2-Clause */
/* Lines "field: value"; an empty line ends an event. Only "data" counts here: the rest of what
 * everwarm says of an event stands in it too. */
#include "stream.h"

#include <string.h>

static void end_line(struct stream *stream, stream_event *event, void *closure)
{
    static const char DATA[] = "data:";
    size_t len = stream->used;
    stream->used = 0;
    if (len > 0 && stream->line[len - 1] == '\r') {
        len--;
    }
    if (len == 0 && stream->data_bytes > 0) {
        stream->data[stream->data_bytes] = '\0';
        stream->data_bytes = 0;
        event(closure, stream->data);
    }
    if (len < sizeof(DATA) - 1 || memcmp(stream->line, DATA, sizeof(DATA) - 1) != 0) {
        return;
    }
    const size_t skip = sizeof(DATA) - 1 + (stream->line[sizeof(DATA) - 1] == ' ' ? 1 : 0);
    if (len > skip && len - skip < sizeof(stream->data) - stream->data_bytes) {
        memcpy(stream->data + stream->data_bytes, stream->line + skip, len - skip);
        stream->data_bytes += len - skip;
    }
}

void stream_feed(struct stream *stream, const char *bytes, size_t len, stream_event *event,
                 void *closure)
{
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] == '\n') {
            if (stream->used == sizeof(stream->line)) {
                stream->used = 0; /* too long: as if it had not come */
            } else {
                end_line(stream, event, closure);
            }
        } else if (stream->used < sizeof(stream->line)) {
            stream->line[stream->used++] = bytes[i];
        }
    }
}
