/* SPDX-License-Identifier: BSD-2-Clause */
/* GET /: what there is, for a person with curl. */
#ifndef EVERWARM_ADMIN_INDEX_H
#define EVERWARM_ADMIN_INDEX_H

#include "route.h"

void index_show(const struct request *request, struct reply *reply);

#endif
