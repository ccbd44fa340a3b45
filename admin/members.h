/* SPDX-License-Identifier: BSD-2-Clause */
/* POST /v1/nodes and DELETE /v1/nodes/{name}: the set of nodes of a pool. */
#ifndef EVERWARM_ADMIN_MEMBERS_H
#define EVERWARM_ADMIN_MEMBERS_H

#include "route.h"

void members_add(const struct request *request, struct reply *reply);
void members_remove(const struct request *request, struct reply *reply);

#endif
