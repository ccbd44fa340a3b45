/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/tasks: what takes longer than an answer. */
#ifndef EVERWARM_ADMIN_TASKS_H
#define EVERWARM_ADMIN_TASKS_H

#include "route.h"

void tasks_list(const struct request *request, struct reply *reply);
void tasks_show(const struct request *request, struct reply *reply);
void tasks_cancel(const struct request *request, struct reply *reply);

/* Answer with TASK; with 202, also where to look for it later. */
void tasks_reply(const struct request *request, const struct task *task, unsigned int status,
                 struct reply *reply);

/* The fill or resync under way for LIKE's pool and node, in its place; false: none. */
bool tasks_find_fill(struct control_port *port, struct task *like);

#endif
