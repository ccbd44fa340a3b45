/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What only the workers know, asked of them when somebody wants to know: clients, slow requests,
 * hot keys. Nothing of it is published all the time. See control_port_* of the same names.
 */
#ifndef EVERWARM_SHELL_INSPECT_H
#define EVERWARM_SHELL_INSPECT_H

#include "everwarm/core/dataplane.h"

#include <stdbool.h>
#include <stdint.h>

enum {
    /* "[v6]:port", or "unix". */
    INSPECT_ADDRESS_BYTES_MAX = 56,
    /* Clients that are looked at in one turn of a worker: a tenth of a millisecond. */
    INSPECT_CLIENTS_MAX = 1000,
};

struct proxy_client {
    uint64_t id; /* unique in this run */
    uint32_t pool;
    uint32_t worker;
    uint64_t opened_us; /* monotonic */
    uint64_t heard_us;  /* when bytes last came; 0: never */
    uint64_t received_bytes;
    uint64_t sent_bytes;
    char address[INSPECT_ADDRESS_BYTES_MAX];
    struct dataplane_client facts;
    bool is_blocked; /* it does not take what it is owed */
};

struct proxy_slow {
    uint32_t pool;
    uint32_t worker;
    struct slow_request request;
};

struct proxy_hot {
    uint32_t pool;
    struct hot_key key;
};

#endif
