/* SPDX-License-Identifier: BSD-2-Clause */
/* What routes have in common that ask the workers. */
#ifndef EVERWARM_ADMIN_INSPECT_H
#define EVERWARM_ADMIN_INSPECT_H

#include "route.h"

/* The value of ?limit=, 1 to MAX, which it is when not given; false: REPLY says what is wrong. */
bool inspect_limit(const struct request *request, size_t max, size_t *out, struct reply *reply);

/* The workers did not answer, or too many ask. */
void inspect_refuse(struct reply *reply);

#endif
