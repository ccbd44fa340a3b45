/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/nodes: what a node is like. */
#ifndef EVERWARM_ADMIN_NODES_H
#define EVERWARM_ADMIN_NODES_H

#include "route.h"

void nodes_list(const struct request *request, struct reply *reply);
void nodes_show(const struct request *request, struct reply *reply);

/* One node as the API shows it; NULL: out of memory. */
json_t *nodes_json(struct context *context, const struct proxy_snapshot *snapshot,
                   const struct proxy_pool *pool, uint32_t node);

/* The numbers of the node that the path names; false: there is none, and REPLY says so. */
bool nodes_find(const struct request *request, struct reply *reply, uint32_t *pool, uint32_t *node);

#endif
