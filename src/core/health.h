/* SPDX-License-Identifier: BSD-2-Clause */
/* Is a node up? A shift register of the last 64 rounds, and two thresholds. */
#ifndef EVERWARM_CORE_HEALTH_H
#define EVERWARM_CORE_HEALTH_H

#include "everwarm/core/topology.h"

struct health {
    uint64_t history; /* bit 0 is the latest round, 1 = good */
    uint32_t fall;    /* bad ones in a row until down */
    uint32_t rise;    /* good ones in a row until up */
    uint32_t streak;  /* rounds in a row that ended as the latest did */
    bool was_up;      /* ever */
    enum node_oper oper;
};

/* A node begins down, and is up with its first good round. */
void health_init(struct health *health, uint32_t fall, uint32_t rise);

/* A round ended. Returns true when health->oper changed. */
bool health_poke(struct health *health, bool is_good);

#endif
