/* SPDX-License-Identifier: BSD-2-Clause */
/* The JSON object that a request may carry. */
#ifndef EVERWARM_ADMIN_BODY_H
#define EVERWARM_ADMIN_BODY_H

#include "route.h"

#include <jansson.h>

/*
 * Read the body.
 *
 *   members  names that it may have, up to the first NULL; NULL: any
 *   out      receives the object, for json_decref: an empty one when there is no body
 *
 * Returns  false: REPLY says what is wrong and where.
 */
bool body_read(const struct request *request, const char *const members[], json_t **out,
               struct reply *reply);

#endif
