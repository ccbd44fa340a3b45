/* SPDX-License-Identifier: BSD-2-Clause */
/* POST /v1/nodes/{name}/...: words to nodes, and work on them. */
#ifndef EVERWARM_ADMIN_COMMAND_H
#define EVERWARM_ADMIN_COMMAND_H

#include "route.h"

/* ?force; false: REPLY says what is wrong with it. */
bool command_read_force(const struct request *request, struct reply *reply, bool *out);
/* Ask control for the command of the request's route. True: it holds now, and OUT says whether it
 * did before; false: REPLY says why not. */
bool command_ask(const struct request *request, struct control_port_request *asked,
                 enum control_result *out, struct reply *reply);

void command_word(const struct request *request, struct reply *reply);
void command_resync(const struct request *request, struct reply *reply);
void command_check(const struct request *request, struct reply *reply);

#endif
