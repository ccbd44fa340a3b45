/* SPDX-License-Identifier: BSD-2-Clause */
/* Trace events of a pool as lines of the log. Thread: any. */
#ifndef EVERWARM_SHELL_TRACE_LOG_H
#define EVERWARM_SHELL_TRACE_LOG_H

#include "everwarm/config/config.h"
#include "everwarm/core/trace.h"

void trace_log_write(const struct config_pool *config, const struct trace_event *event);

#endif
