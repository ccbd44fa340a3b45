/* SPDX-License-Identifier: BSD-2-Clause */
/* Changes to the text of a configuration file, which stays as it is but for them. */
#ifndef EVERWARM_CONFIG_EDIT_H
#define EVERWARM_CONFIG_EDIT_H

#include "everwarm/config/config.h"

/* What is to become of one node. */
struct edit_node {
    const char *pool;
    const char *name;
    const char *address; /* NULL: it is to go; else it is to come, or to move there */
    const char *zone;    /* of one that comes; "" or NULL: none */
};

/*
 * Make EDIT in TEXT, which is what stands in a valid file called PATH.
 *
 *   out    receives a new text, for free, checked like any configuration; NULL on an error
 *   error  filled on an error
 *
 * Errors  STATUS_BAD_CONFIG: the text is none, or would be none; STATUS_NO_MEMORY.
 */
MUST_CHECK enum status edit_text(const char *path, const char *text, const struct edit_node *edit,
                                 char **out, struct config_error *error);

#endif
