/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a config comes from: what turns the path of a key into the place of an error. */
#ifndef EVERWARM_SRC_CONFIG_SOURCE_H
#define EVERWARM_SRC_CONFIG_SOURCE_H

#include "everwarm/base/status.h"
#include "locate.h"

#include <stdbool.h>
#include <stddef.h>

struct config;
struct config_error;

struct source {
    const char *path; /* borrowed; empty: the command line */
    char *text;       /* owned by whoever made the source; comments blanked; NULL: no file */
    size_t len;
    bool is_flat;               /* the one pool's keys are at the top level */
    struct config_error *error; /* borrowed; where errors go */
};

/* The path of pool INDEX. */
struct locate_path source_pool_path(const struct source *source, size_t index);

/*
 * Fill the error with "PATH: MESSAGE" and the place of PATH (of as much of it as the file has).
 *
 * Returns  STATUS_BAD_CONFIG, for the caller to return; without a file STATUS_BAD_ARGUMENT.
 */
MUST_CHECK __attribute__((format(printf, 4, 5))) enum status
source_fail(const struct source *source, const struct locate_path *path, enum locate_part part,
            const char *format, ...);

/* Add a warning to CONFIG. */
__attribute__((format(printf, 2, 3))) void source_warn(struct config *config, const char *format,
                                                       ...);

/* Copy PATH and the formatted message to ERROR, without a place. */
__attribute__((format(printf, 3, 4))) void
source_set_error(struct config_error *error, const char *path, const char *format, ...);

#endif
