/* SPDX-License-Identifier: BSD-2-Clause */
/* The metrics that have a label "node". */
#ifndef EVERWARM_ADMIN_METRICS_NODES_H
#define EVERWARM_ADMIN_METRICS_NODES_H

#include "everwarm/shell/control_port.h"

#include <stdio.h>

/* Write all node families of SNAPSHOT to OUT. */
void metrics_nodes_write(FILE *out, const struct proxy_snapshot *snapshot);

#endif
