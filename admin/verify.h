/* SPDX-License-Identifier: BSD-2-Clause */
/* POST /v1/verify and POST /v1/nodes/{name}/verify; GET /v1/verify: what was found. */
#ifndef EVERWARM_ADMIN_VERIFY_H
#define EVERWARM_ADMIN_VERIFY_H

#include "route.h"

void verify_begin(const struct request *request, struct reply *reply);
void verify_show(const struct request *request, struct reply *reply);
/* TASK, a verify under way, is to end. */
void verify_stop_asked(const struct request *request, const struct task *task);

#endif
