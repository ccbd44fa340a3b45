/* SPDX-License-Identifier: BSD-2-Clause */
/* What two configurations differ in, and taking over what may change while it runs. */
#ifndef EVERWARM_CONFIG_DIFF_H
#define EVERWARM_CONFIG_DIFF_H

#include "everwarm/config/config.h"

#include <stdbool.h>
#include <stddef.h>

enum {
    /* "pools[15].nodes[31].address" and more. */
    DIFF_PATH_BYTES_MAX = 64,
    /* A longer value is cut: it is shown, not read. */
    DIFF_VALUE_BYTES_MAX = 128,
    /* More than one edit of a file changes. */
    DIFF_CHANGES_MAX = 128,
};

struct diff_change {
    char path[DIFF_PATH_BYTES_MAX];  /* "health.fall", "pools[0].nodes[2].address" */
    char from[DIFF_VALUE_BYTES_MAX]; /* as JSON */
    char to[DIFF_VALUE_BYTES_MAX];
    bool is_live; /* it can take effect while the proxy runs */
};

/*
 * Compare two configurations key by key.
 *
 * A pool or node that is in one of them alone is one change, of its whole array, and not live.
 *
 * Returns  the number of changes; the first CAPACITY of them are in OUT.
 */
size_t diff_configs(const struct config *from, const struct config *to, struct diff_change *out,
                    size_t capacity);

/*
 * Write CONFIG to OUT with TO's pools in TO's order: its own of that name, and where it has none
 * TO's.
 */
void diff_align_pools(const struct config *config, const struct config *to, struct config *out);

/* As diff_configs, of the pools that are in one of them alone; "pools[NAME]", live. */
size_t diff_pools(const struct config *from, const struct config *to, struct diff_change *out,
                  size_t capacity);

/* Do both name the same nodes at the same addresses, in the same order or another? */
bool diff_has_same_nodes(const struct config_pool *a, const struct config_pool *b);

/* A node of that name; NULL: there is none. */
const struct config_node *diff_find_node(const struct config_pool *pool, const char *name);

/* Set the live keys of INTO, and where they come from, to FROM's, pool by pool of the same name. */
void diff_take_live(struct config *into, const struct config *from);

#endif
