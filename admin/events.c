/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Events as server-sent events. Each watcher has its own place in the ring of the control port, and
 * its own connection's thread that waits there: what happens never waits for a watcher.
 *
 *   ring ─► next event ─► text ─► as the connection takes it
 *
 * A watcher that falls behind by more than the ring holds is told how many it lost. One that takes
 * nothing is dropped by the library when its connection has stood still for IDLE_TIMEOUT_S; a
 * comment every few seconds finds those that have gone without a word.
 */
#include "events.h"

#include "context.h"
#include "facts.h"

#include "everwarm/base/invariant.h"
#include "everwarm/shell/trace_fields.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WATCHER_MAGIC = 0x57415443,
    /* Below admin.c's IDLE_TIMEOUT_S, or quiet times would end the connection. */
    COMMENT_MS = 4000,
    /* All fields at their longest, every byte of them escaped. */
    TEXT_BYTES_MAX = 4096,
};

struct watcher {
    unsigned int magic;
    struct context *context;
    uint64_t next; /* number of the event that comes next */
    size_t text_bytes;
    size_t text_sent;
    char text[TEXT_BYTES_MAX];
};

static json_t *event_json(const struct port_event *event)
{
    struct log_field fields[TRACE_FIELDS_MAX];
    const enum trace_type type = event->trace.type;
    const char *pool = event->pool == PORT_NO_POOL ? NULL : event->pool_name;
    const size_t count = trace_fields(pool, &event->trace, fields);
    json_t *json = json_pack("{s:o, s:s, s:s, s:o}", "id", facts_count(event->sequence), "type",
                             trace_word(type), "level", log_level_word(trace_level(type)), "time",
                             facts_wall_time_ms(event->wall_us));
    for (size_t i = 0; i < count; i++) {
        (void)json_object_set_new(json, fields[i].key,
                                  fields[i].text == NULL ? facts_count(fields[i].number)
                                                         : facts_text(fields[i].text));
    }
    return json;
}

static void set_text(struct watcher *watcher, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void set_text(struct watcher *watcher, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    const int len = vsnprintf(watcher->text, sizeof(watcher->text), format, arguments);
    va_end(arguments);
    INVARIANT(len > 0 && (size_t)len < sizeof(watcher->text));
    watcher->text_bytes = (size_t)len;
    watcher->text_sent = 0;
}

/* False: out of memory, which ends the stream; the watcher comes back for this event. */
static bool write_event(struct watcher *watcher, const struct port_event *event)
{
    json_t *json = event_json(event);
    char *data = json == NULL ? NULL : json_dumps(json, JSON_COMPACT);
    if (data != NULL) {
        set_text(watcher, "id: %" PRIu64 "\nevent: %s\ndata: %s\n\n", event->sequence,
                 trace_word(event->trace.type), data);
    }
    free(data);
    json_decref(json);
    return data != NULL;
}

/* Its id is that of the last event lost, so that who comes back with it goes on behind the gap. */
static void write_lost(struct watcher *watcher, uint64_t until)
{
    set_text(watcher, "id: %" PRIu64 "\nevent: lost\ndata: {\"count\":%" PRIu64 "}\n\n", until - 1,
             until - watcher->next);
    watcher->next = until;
}

/* False: the stream is over. */
static bool write_next(struct watcher *watcher)
{
    struct control_port *port = watcher->context->port;
    struct port_event event;
    if (control_port_events(port, watcher->next, &event, 1) == 0) {
        switch (control_port_await_event(port, watcher->next, COMMENT_MS)) {
        case PORT_AWAIT_THERE:
            break;
        case PORT_AWAIT_TIMEOUT:
            set_text(watcher, ":\n\n");
            return true;
        case PORT_AWAIT_CLOSED:
            return false;
        }
        const size_t count = control_port_events(port, watcher->next, &event, 1);
        INVARIANT(count == 1);
    }
    if (event.sequence > watcher->next) {
        write_lost(watcher, event.sequence);
        return true;
    }
    if (!write_event(watcher, &event)) {
        return false;
    }
    watcher->next++;
    return true;
}

static ssize_t read_events(void *closure, uint64_t position, char *out, size_t capacity)
{
    (void)position;
    struct watcher *watcher = closure;
    REQUIRE(watcher->magic == WATCHER_MAGIC);
    if (watcher->text_sent == watcher->text_bytes && !write_next(watcher)) {
        return REPLY_SOURCE_END;
    }
    const size_t left = watcher->text_bytes - watcher->text_sent;
    const size_t bytes = left < capacity ? left : capacity;
    memcpy(out, watcher->text + watcher->text_sent, bytes);
    watcher->text_sent += bytes;
    return (ssize_t)bytes;
}

static void close_watcher(void *closure)
{
    struct watcher *watcher = closure;
    REQUIRE(watcher->magic == WATCHER_MAGIC);
    (void)atomic_fetch_sub(&watcher->context->watchers, 1);
    watcher->magic = 0;
    free(watcher);
}

/* Where to begin: behind the last one that the watcher has seen; without that, with the next. */
static bool read_since(const struct request *request, uint64_t *next, struct reply *reply)
{
    const uint64_t newest = control_port_events_next(request->port);
    const char *since =
        request->last_event_id != NULL ? request->last_event_id : route_query(request, "since");
    uint64_t seen = newest - 1;
    if (since != NULL && !route_number(since, &seen)) {
        reply_problem(reply, PROBLEM_BAD_REQUEST, "\"since\" is the id of an event.",
                      "write ?since=0 for all that is remembered, or leave it out");
        return false;
    }
    /* An id from before a restart is above ours: all that is remembered is new then. */
    *next = seen < newest ? seen + 1 : 1;
    return true;
}

void events_watch(const struct request *request, struct reply *reply)
{
    struct context *context = request->context;
    uint64_t next = 0;
    if (!read_since(request, &next, reply)) {
        return;
    }
    if (atomic_fetch_add(&context->watchers, 1) >= EVENTS_WATCHERS_MAX) {
        (void)atomic_fetch_sub(&context->watchers, 1);
        reply_problem_about(reply, PROBLEM_WATCHERS, "close a page that watches, or try again",
                            "%d watch the events already.", (int)EVENTS_WATCHERS_MAX);
        return;
    }
    struct watcher *watcher = calloc(1, sizeof(*watcher));
    if (watcher == NULL) {
        (void)atomic_fetch_sub(&context->watchers, 1);
        reply_json(reply, 200, NULL);
        return;
    }
    watcher->magic = WATCHER_MAGIC;
    watcher->context = context;
    watcher->next = next;
    set_text(watcher, "retry: 1000\n\n");
    reply_stream(reply, "text/event-stream", read_events, watcher, close_watcher);
}
