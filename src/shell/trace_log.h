/* SPDX-License-Identifier: BSD-2-Clause */
/* Trace events as lines of the log, of a pool (NULL: of none). Thread: any. */
#ifndef EVERWARM_SHELL_TRACE_LOG_H
#define EVERWARM_SHELL_TRACE_LOG_H

#include "everwarm/config/config.h"
#include "everwarm/core/trace.h"

void trace_log_write(const char *pool, const struct trace_event *event);

#endif
