/* SPDX-License-Identifier: BSD-2-Clause */
/* Figures as a tree of JSON objects: its leaves by their dotted paths. */
#ifndef EVERWARM_ADMIN_TREE_H
#define EVERWARM_ADMIN_TREE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * What of TREE has a path that GLOB matches, in the same shape: "nodes.*", "*.p99_s", "commands".
 * '*' stands for any bytes, dots too; a glob that matches an inner object takes all below it.
 *
 * Returns  a new object, possibly empty; NULL: out of memory.
 */
json_t *tree_filter(json_t *tree, const char *glob);

/*
 * One line a leaf, "path: value".
 *
 * Returns  malloc'd, *BYTES long; NULL: out of memory.
 */
char *tree_text(json_t *tree, size_t *bytes);

/* Whether GLOB matches the first LEN bytes of TEXT. */
bool tree_glob(const char *glob, const char *text, size_t len);

#endif
