/* SPDX-License-Identifier: BSD-2-Clause */
/* GET /openapi.json: the route table for programs. */
#ifndef EVERWARM_ADMIN_OPENAPI_H
#define EVERWARM_ADMIN_OPENAPI_H

#include "route.h"

void openapi_show(const struct request *request, struct reply *reply);

/* The whole document, for json_decref; NULL: out of memory. */
json_t *openapi_json(void);

/* Whether a query has a description, for tests. */
bool openapi_knows_query(const char *name);

#endif
