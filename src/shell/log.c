/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lines are formatted by who logs, put into a ring of fixed slots under a mutex, and written by one
 * thread. A line that says the same as the one before within REPEAT_WINDOW_US is only counted; the
 * count goes out with the next other line.
 *
 * I1  No thread but the writer waits for stderr.
 * I2  queue.count <= LOG_QUEUE_LINES; a full queue drops the new line and counts it.
 */
#include "everwarm/shell/log.h"

#include "clock.h"
#include "everwarm/base/invariant.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    /* The same line again within a second tells nothing new. */
    REPEAT_WINDOW_US = CLOCK_US_PER_S,
    /* How long the end of the process waits for a stderr that takes nothing. */
    STOP_WAIT_MS = 500,
    STAMP_BYTES_MAX = 64,
};

struct line {
    uint32_t length;
    char text[LOG_LINE_BYTES_MAX + STAMP_BYTES_MAX];
};

static struct {
    pthread_mutex_t mutex;
    pthread_cond_t is_changed;
    pthread_t thread;
    bool is_running;
    bool is_stopping;
    _Atomic enum config_log_format format; /* these three are set while all log */
    _Atomic enum log_level threshold;
    _Atomic bool is_journald; /* stderr is the journal: lines begin with their priority */
    uint64_t dropped;
    size_t head;
    size_t count;
    char last[LOG_LINE_BYTES_MAX];
    size_t last_length;
    uint64_t last_at_us;
    uint64_t last_repeats;
    struct line lines[LOG_QUEUE_LINES];
} queue = {
    .mutex = PTHREAD_MUTEX_INITIALIZER,
    .is_changed = PTHREAD_COND_INITIALIZER,
    .threshold = LOG_LEVEL_INFO,
};

const char *log_level_word(enum log_level level)
{
    switch (level) {
    case LOG_LEVEL_ERROR:
        return "error";
    case LOG_LEVEL_WARNING:
        return "warning";
    case LOG_LEVEL_NOTICE:
        return "notice";
    case LOG_LEVEL_INFO:
        return "info";
    case LOG_LEVEL_DEBUG:
        return "debug";
    }
    UNREACHABLE();
}

/* Text that grows and is cut at its end. */
struct out {
    char *text;
    size_t length;
    size_t capacity;
};

static void put(struct out *out, const char *text, size_t length)
{
    size_t room = out->capacity - out->length;
    size_t taken = length < room ? length : room;
    memcpy(out->text + out->length, text, taken);
    out->length += taken;
}

static void put_string(struct out *out, const char *text)
{
    put(out, text, strlen(text));
}

static void put_number(struct out *out, uint64_t number)
{
    char digits[24];
    int length = snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
    put(out, digits, (size_t)length);
}

/* In quotes, with everything escaped that could end the line, the string or confuse a terminal. */
static void put_quoted(struct out *out, const char *text)
{
    put_string(out, "\"");
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c == '"' || c == '\\') {
            char escaped[2] = {'\\', (char)c};
            put(out, escaped, 2);
        } else if (c < 0x20 || c >= 0x7f) {
            char escaped[8];
            (void)snprintf(escaped, sizeof(escaped), "\\u%04x", (unsigned)c);
            put_string(out, escaped);
        } else {
            put(out, p, 1);
        }
    }
    put_string(out, "\"");
}

static bool is_plain(const char *text)
{
    if (text[0] == '\0') {
        return false;
    }
    for (const char *p = text; *p != '\0'; p++) {
        unsigned char c = (unsigned char)*p;
        if (c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' || c == '=') {
            return false;
        }
    }
    return true;
}

static void put_field(struct out *out, enum config_log_format format, const struct log_field *field)
{
    bool is_json = format == CONFIG_LOG_FORMAT_JSON;
    put_string(out, is_json ? ",\"" : " ");
    put_string(out, field->key);
    put_string(out, is_json ? "\":" : "=");
    if (field->text == NULL) {
        put_number(out, field->number);
    } else if (!is_json && is_plain(field->text)) {
        put_string(out, field->text);
    } else {
        put_quoted(out, field->text);
    }
}

size_t log_format(enum config_log_format format, enum log_level level, const char *event,
                  const struct log_field *fields, size_t count, char text[LOG_LINE_BYTES_MAX])
{
    bool is_json = format == CONFIG_LOG_FORMAT_JSON;
    /* Room is kept for a field's end and the line's, so that a cut line is still one line. */
    struct out out = {.text = text, .capacity = LOG_LINE_BYTES_MAX - 4};
    put_string(&out, is_json ? "\"level\":\"" : "");
    put_string(&out, log_level_word(level));
    put_string(&out, is_json ? "\",\"event\":\"" : " ");
    put_string(&out, event);
    put_string(&out, is_json ? "\"" : "");
    for (size_t i = 0; i < count; i++) {
        size_t before = out.length;
        put_field(&out, format, &fields[i]);
        if (out.length == out.capacity) {
            out.length = before; /* a field that does not fit is left out whole */
        }
    }
    out.capacity = LOG_LINE_BYTES_MAX;
    put_string(&out, is_json ? "}\n" : "\n");
    return out.length;
}

/* "2026-01-02T03:04:05.678Z info ..." or {"time":"...", */
static size_t stamp(char text[STAMP_BYTES_MAX], enum log_level level)
{
    static const int priority[] = {3, 4, 5, 6, 7}; /* syslog's, by enum log_level */
    uint64_t now_us = clock_wall_us();
    time_t seconds = (time_t)(now_us / CLOCK_US_PER_S);
    unsigned ms = (unsigned)(now_us % CLOCK_US_PER_S / CLOCK_US_PER_MS);
    struct tm utc;
    (void)gmtime_r(&seconds, &utc);
    char when[32];
    size_t length = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &utc);
    (void)snprintf(when + length, sizeof(when) - length, ".%03uZ", ms);
    char prefix[8] = "";
    if (queue.is_journald) {
        (void)snprintf(prefix, sizeof(prefix), "<%d>", priority[level]);
    }
    bool is_json = queue.format == CONFIG_LOG_FORMAT_JSON;
    int written =
        snprintf(text, STAMP_BYTES_MAX, is_json ? "%s{\"time\":\"%s\"," : "%s%s ", prefix, when);
    return (size_t)written;
}

static void write_all(const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(STDERR_FILENO, text, length);
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        } else if (errno != EINTR) {
            return; /* closed, full disk: nowhere to say so */
        }
    }
}

/* Under the mutex. */
static void enqueue(enum log_level level, const char *body, size_t length)
{
    if (queue.count == LOG_QUEUE_LINES) {
        queue.dropped++;
        return;
    }
    struct line *line = &queue.lines[(queue.head + queue.count) % LOG_QUEUE_LINES];
    size_t stamped = stamp(line->text, level);
    memcpy(line->text + stamped, body, length);
    line->length = (uint32_t)(stamped + length);
    if (queue.is_running) {
        queue.count++;
        (void)pthread_cond_broadcast(&queue.is_changed);
    } else {
        write_all(line->text, line->length);
    }
}

/* Under the mutex. */
static void enqueue_repeats(void)
{
    if (queue.last_repeats == 0) {
        return;
    }
    struct log_field field = LOG_NUMBER("times", queue.last_repeats);
    char body[LOG_LINE_BYTES_MAX];
    queue.last_repeats = 0;
    size_t length = log_format(queue.format, LOG_LEVEL_INFO, "repeated", &field, 1, body);
    enqueue(LOG_LEVEL_INFO, body, length);
}

void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t count)
{
    if (level > atomic_load_explicit(&queue.threshold, memory_order_relaxed)) {
        return;
    }
    char body[LOG_LINE_BYTES_MAX];
    size_t length = log_format(queue.format, level, event, fields, count, body);
    uint64_t now_us = clock_mono_us();
    (void)pthread_mutex_lock(&queue.mutex);
    if (length == queue.last_length && memcmp(body, queue.last, length) == 0 &&
        now_us - queue.last_at_us < REPEAT_WINDOW_US) {
        queue.last_repeats++;
    } else {
        enqueue_repeats();
        memcpy(queue.last, body, length);
        queue.last_length = length;
        queue.last_at_us = now_us;
        enqueue(level, body, length);
    }
    (void)pthread_mutex_unlock(&queue.mutex);
}

static void *run(void *unused)
{
    (void)unused;
    static struct line line; /* this thread's alone */
    (void)pthread_mutex_lock(&queue.mutex);
    for (;;) {
        while (queue.count == 0 && !queue.is_stopping) {
            (void)pthread_cond_wait(&queue.is_changed, &queue.mutex);
        }
        if (queue.count == 0) {
            break;
        }
        line.length = queue.lines[queue.head].length;
        memcpy(line.text, queue.lines[queue.head].text, line.length);
        queue.head = (queue.head + 1) % LOG_QUEUE_LINES;
        queue.count--;
        (void)pthread_mutex_unlock(&queue.mutex);
        write_all(line.text, line.length);
        (void)pthread_mutex_lock(&queue.mutex);
    }
    queue.is_running = false;
    (void)pthread_cond_broadcast(&queue.is_changed);
    (void)pthread_mutex_unlock(&queue.mutex);
    return NULL;
}

static enum log_level threshold_of(enum config_log_level level)
{
    switch (level) {
    case CONFIG_LOG_LEVEL_ERROR:
        return LOG_LEVEL_ERROR;
    case CONFIG_LOG_LEVEL_WARNING:
        return LOG_LEVEL_WARNING;
    case CONFIG_LOG_LEVEL_INFO:
        return LOG_LEVEL_INFO;
    case CONFIG_LOG_LEVEL_DEBUG:
        return LOG_LEVEL_DEBUG;
    }
    UNREACHABLE();
}

void log_configure(enum config_log_format format, enum config_log_level level)
{
    queue.format = format;
    queue.threshold = threshold_of(level);
    queue.is_journald = getenv("JOURNAL_STREAM") != NULL; /* main alone: nobody changes it */
}

enum status log_start(void)
{
    queue.is_running = true;
    queue.is_stopping = false;
    if (pthread_create(&queue.thread, NULL, run, NULL) != 0) {
        queue.is_running = false;
        return STATUS_SYSTEM;
    }
    return STATUS_OK;
}

void log_stop(void)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += STOP_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000L;
    until.tv_nsec %= 1000000000L;
    int waited = 0;
    (void)pthread_mutex_lock(&queue.mutex);
    bool was_running = queue.is_running;
    enqueue_repeats();
    queue.is_stopping = true;
    (void)pthread_cond_broadcast(&queue.is_changed);
    while (queue.is_running && waited == 0) {
        waited = pthread_cond_timedwait(&queue.is_changed, &queue.mutex, &until);
    }
    bool is_stuck = queue.is_running;
    (void)pthread_mutex_unlock(&queue.mutex);
    if (was_running && !is_stuck) {
        (void)pthread_join(queue.thread, NULL);
    }
}

uint64_t log_dropped(void)
{
    (void)pthread_mutex_lock(&queue.mutex);
    uint64_t dropped = queue.dropped;
    (void)pthread_mutex_unlock(&queue.mutex);
    return dropped;
}
