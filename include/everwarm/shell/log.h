/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The log: one line an event to stderr, as text or JSON. A thread of its own writes, so that a
 * stderr that takes nothing blocks nobody; what does not fit into its queue is dropped and counted.
 */
#ifndef EVERWARM_SHELL_LOG_H
#define EVERWARM_SHELL_LOG_H

#include "everwarm/base/status.h"
#include "everwarm/config/config.h"

#include <stddef.h>
#include <stdint.h>

enum {
    /* Below PIPE_BUF, so that lines of several processes don't mix; longer ones are cut. */
    LOG_LINE_BYTES_MAX = 2048,
    /* A storm of every node of every pool changing its state fits. */
    LOG_QUEUE_LINES = 1024,
};

enum log_level {
    LOG_LEVEL_ERROR,
    LOG_LEVEL_WARNING,
    LOG_LEVEL_NOTICE,
    LOG_LEVEL_INFO,
    LOG_LEVEL_DEBUG,
};
/* "warning" */
const char *log_level_word(enum log_level level);

/* key=value; borrowed for the call. */
struct log_field {
    const char *key;  /* plain word */
    const char *text; /* any bytes, escaped as needed; NULL: the number */
    uint64_t number;
};

#define LOG_TEXT(key, text)                                                                        \
    {                                                                                              \
        (key), (text), 0                                                                           \
    }
#define LOG_NUMBER(key, number)                                                                    \
    {                                                                                              \
        (key), NULL, (uint64_t)(number)                                                            \
    }

/* log_line(LOG_LEVEL_INFO, "listening", LOG_TEXT("address", text), LOG_NUMBER("workers", 2)); */
#define log_line(level, event, ...)                                                                \
    log_write((level), (event), (const struct log_field[]){__VA_ARGS__},                           \
              sizeof((const struct log_field[]){__VA_ARGS__}) / sizeof(struct log_field))

/* Set format and threshold; before this, text from "info" on. Thread: any. */
void log_configure(enum config_log_format format, enum config_log_level level);

/* Start and stop the writing thread. Without it each line is written by who logs it. */
MUST_CHECK enum status log_start(void);
/* Waits for what is queued, but not for longer than a stderr that takes nothing deserves. */
void log_stop(void);

/* Log one event; EVENT is a plain word. Thread: any. */
void log_write(enum log_level level, const char *event, const struct log_field *fields,
               size_t count);

/* Lines dropped so far. */
uint64_t log_dropped(void);

/* Format one line, its newline included, without time. Returns its length. For tests. */
size_t log_format(enum config_log_format format, enum log_level level, const char *event,
                  const struct log_field *fields, size_t count, char out[LOG_LINE_BYTES_MAX]);

#endif
