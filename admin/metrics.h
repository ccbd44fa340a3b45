/* SPDX-License-Identifier: BSD-2-Clause */
/* /metrics: Prometheus's text format, every series from the first scrape on. */
#ifndef EVERWARM_ADMIN_METRICS_H
#define EVERWARM_ADMIN_METRICS_H

#include "route.h"

void metrics_show(const struct request *request, struct reply *reply);

#endif
