/* SPDX-License-Identifier: BSD-2-Clause */
/* POST /v1/nodes/{name}/...: words to nodes, and work on them. */
#ifndef EVERWARM_ADMIN_COMMAND_H
#define EVERWARM_ADMIN_COMMAND_H

#include "route.h"

void command_word(const struct request *request, struct reply *reply);
void command_resync(const struct request *request, struct reply *reply);
void command_check(const struct request *request, struct reply *reply);

#endif
