/* SPDX-License-Identifier: BSD-2-Clause */
/* Words to the proxy itself. */
#ifndef EVERWARM_ADMIN_PROXY_H
#define EVERWARM_ADMIN_PROXY_H

#include "route.h"

void proxy_command(const struct request *request, struct reply *reply);

#endif
