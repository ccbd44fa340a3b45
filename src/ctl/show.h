/* SPDX-License-Identifier: BSD-2-Clause */
/* Cells and tables that more than one command shows. */
#ifndef EVERWARM_SRC_CTL_SHOW_H
#define EVERWARM_SRC_CTL_SHOW_H

#include "session.h"
#include "table.h"

/* Per mille of a node's fill that is done; false: it is not being filled, or nobody knows. */
bool show_fill_per_mille(const json_t *node, uint64_t *out);

/* "29%", "29%,41s", "[###-----] 29% 41s left" with a bar; "" when it is not being filled. */
enum show_fill { SHOW_FILL_WORD, SHOW_FILL_BAR };
void show_fill(const json_t *node, enum show_fill how, char *out);

/* Print the table of nodes; with BAR, for terminals, the bars of fills under it. */
void show_nodes_table(FILE *out, const json_t *rows, enum show_fill how);

/* GET PATH and print all members of each answer, one a line. */
enum ctl_exit show_leaves(const struct session *session, const char *path);

/* The proxy's own clock, of its /stats, in seconds since 1970. */
int64_t show_time_of(const json_t *stats);

#endif
