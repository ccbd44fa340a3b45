/* SPDX-License-Identifier: BSD-2-Clause */
/* Its home is base: the operators' program suggests words too. */
#ifndef EVERWARM_SRC_CONFIG_SUGGEST_H
#define EVERWARM_SRC_CONFIG_SUGGEST_H

#include "everwarm/base/suggest.h"

#endif
