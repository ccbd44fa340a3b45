/* SPDX-License-Identifier: BSD-2-Clause */
/* What a single key can't know: defaults that depend on others, and values that must fit together.
 */
#ifndef EVERWARM_SRC_CONFIG_CHECK_H
#define EVERWARM_SRC_CONFIG_CHECK_H

#include "everwarm/base/status.h"

struct config;
struct source;

/*
 * Complete CONFIG with the defaults that depend on other keys, then check it as a whole.
 *
 *   source  for the places of errors; its error is filled unless STATUS_OK
 *
 * Errors  STATUS_BAD_CONFIG, or STATUS_BAD_ARGUMENT where there is no file.
 */
MUST_CHECK enum status check_complete(const struct source *source, struct config *config);

#endif
