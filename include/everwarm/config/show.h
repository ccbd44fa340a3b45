/* SPDX-License-Identifier: BSD-2-Clause */
/* A configuration as JSON: to be looked at, and to be patched. */
#ifndef EVERWARM_CONFIG_SHOW_H
#define EVERWARM_CONFIG_SHOW_H

#include "everwarm/base/status.h"
#include "everwarm/config/config.h"

#include <jansson.h>

/* All keys with their values, as a file would have them. A new object; NULL: out of memory. */
json_t *show_config(const struct config *config);

/* {"health.fall": {"source": "file", "live": true}, ..}: of each key where its value comes from
 * ("default", "file", "flag", "patch") and whether a change takes effect at once. */
json_t *show_sources(const struct config *config);

/*
 * Apply PATCH, a merge patch (RFC 7396), to CONFIG, and check what comes of it.
 *
 *   out    receives a new config, for config_destroy; NULL on an error
 *   error  filled on an error; its line and column are none of the caller's
 *
 * Errors  STATUS_BAD_CONFIG; STATUS_NO_MEMORY.
 */
MUST_CHECK enum status show_patch(const struct config *config, json_t *patch, struct config **out,
                                  struct config_error *error);

#endif
