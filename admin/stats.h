/* SPDX-License-Identifier: BSD-2-Clause */
/* /stats: every figure at once. */
#ifndef EVERWARM_ADMIN_STATS_H
#define EVERWARM_ADMIN_STATS_H

#include "route.h"

void stats_show(const struct request *request, struct reply *reply);

#endif
