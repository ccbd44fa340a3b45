/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/slowlog: slow requests of late. */
#ifndef EVERWARM_ADMIN_SLOWLOG_H
#define EVERWARM_ADMIN_SLOWLOG_H

#include "route.h"

void slowlog_show(const struct request *request, struct reply *reply);

#endif
