/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/config: what is in effect, and changing it. */
#ifndef EVERWARM_ADMIN_CONFIG_H
#define EVERWARM_ADMIN_CONFIG_H

#include "route.h"

void config_show(const struct request *request, struct reply *reply);
void config_patch(const struct request *request, struct reply *reply);
void config_reload(const struct request *request, struct reply *reply);

#endif
