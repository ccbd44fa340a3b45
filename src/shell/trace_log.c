/* SPDX-License-Identifier: BSD-2-Clause */
/* One line an event, with the fields that the event stream shows. */
#include "trace_log.h"

#include "everwarm/shell/log.h"
#include "everwarm/shell/trace_fields.h"

void trace_log_write(const char *pool, const struct trace_event *event)
{
    struct log_field fields[TRACE_FIELDS_MAX];
    const size_t count = trace_fields(pool, event, fields);
    log_write(trace_level(event->type), trace_word(event->type), fields, count);
}
