/* SPDX-License-Identifier: BSD-2-Clause */
/* What of a configuration may change while a pool runs, in the words of the core. */
#ifndef EVERWARM_SHELL_POOL_LIMITS_H
#define EVERWARM_SHELL_POOL_LIMITS_H

#include "everwarm/config/config.h"
#include "everwarm/core/control.h"
#include "everwarm/core/dataplane.h"

struct dataplane_limits pool_limits_dataplane(const struct config *config,
                                              const struct config_pool *pool);
struct control_limits pool_limits_control(const struct config_pool *pool);

#endif
