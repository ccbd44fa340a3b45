/* SPDX-License-Identifier: BSD-2-Clause */
/* What an event says, field by field: the same words in the log and in the event stream. */
#ifndef EVERWARM_SHELL_TRACE_FIELDS_H
#define EVERWARM_SHELL_TRACE_FIELDS_H

#include "everwarm/config/config.h"
#include "everwarm/core/trace.h"
#include "everwarm/shell/log.h"

#include <stddef.h>

enum { TRACE_FIELDS_MAX = 6 };

/*
 * Give the fields of EVENT their names.
 *
 *   pool  its name; NULL: it belongs to none
 *   out   filled; texts live as long as POOL and EVENT do
 *
 * Returns  number of fields, in the order in which they are to be shown.
 */
size_t trace_fields(const char *pool, const struct trace_event *event,
                    struct log_field out[TRACE_FIELDS_MAX]);

enum log_level trace_level(enum trace_type type);

#endif
