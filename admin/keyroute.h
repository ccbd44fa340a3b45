/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/route: where a key goes. */
#ifndef EVERWARM_ADMIN_KEYROUTE_H
#define EVERWARM_ADMIN_KEYROUTE_H

#include "route.h"

void keyroute_show(const struct request *request, struct reply *reply);

#endif
