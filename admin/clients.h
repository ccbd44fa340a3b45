/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/clients: who is connected. */
#ifndef EVERWARM_ADMIN_CLIENTS_H
#define EVERWARM_ADMIN_CLIENTS_H

#include "route.h"

void clients_list(const struct request *request, struct reply *reply);
void clients_kill(const struct request *request, struct reply *reply);

#endif
