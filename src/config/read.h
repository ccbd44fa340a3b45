/* SPDX-License-Identifier: BSD-2-Clause */
/* From a file's text to the fields of a config. */
#ifndef EVERWARM_SRC_CONFIG_READ_H
#define EVERWARM_SRC_CONFIG_READ_H

#include "everwarm/base/status.h"
#include "source.h"

struct config;

/*
 * Read SOURCE's text, whose comments it blanks, over the defaults in CONFIG. What depends on
 * several keys is not looked at.
 *
 *   source  its is_flat is set; its error filled unless STATUS_OK
 *
 * Errors  STATUS_BAD_CONFIG, STATUS_NO_MEMORY.
 */
MUST_CHECK enum status read_text(struct source *source, struct config *config);

/* Begin a pool, or a node, with its defaults. */
void read_begin_pool(struct config *config, size_t pool);

/*
 * Append a node that is only an address, and named by it, to the first pool; from flags.
 *
 *   flag  what it was given with, for messages
 */
MUST_CHECK enum status read_append_node(const struct source *source, struct config *config,
                                        const char *flag, const char *address);

#endif
