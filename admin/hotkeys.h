/* SPDX-License-Identifier: BSD-2-Clause */
/* /v1/hotkeys: what is asked for most. */
#ifndef EVERWARM_ADMIN_HOTKEYS_H
#define EVERWARM_ADMIN_HOTKEYS_H

#include "route.h"

void hotkeys_show(const struct request *request, struct reply *reply);

#endif
