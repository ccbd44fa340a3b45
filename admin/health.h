/* SPDX-License-Identifier: BSD-2-Clause */
/* /livez, /readyz and /version: for load balancers, orchestrators and scripts. */
#ifndef EVERWARM_ADMIN_HEALTH_H
#define EVERWARM_ADMIN_HEALTH_H

#include "route.h"

/* 503 when a loop of the proxy has not moved for long: only a restart helps then. */
void health_live(const struct request *request, struct reply *reply);

/* 503 unless it runs and every pool has a readable node: send no clients here. */
void health_ready(const struct request *request, struct reply *reply);

void health_version(const struct request *request, struct reply *reply);

#endif
