/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pieces of the text that view and heartbeat are made of (docs/wire.md). The readers here may be
 * lax: a record counts only if writing what was read gives the same bytes again.
 */
#ifndef EVERWARM_CORE_TEXT_H
#define EVERWARM_CORE_TEXT_H

#include "everwarm/core/view.h"

/* A string that ends with a zero, such as one of node_data_word. */
void text_write_word(struct mc_writer *w, const char *word);
/* A node's name with %XX for each byte that is '%' or not graphic ASCII. */
void text_write_name(struct mc_writer *w, struct slice name);
/* A proxy id, or "-" for VIEW_NO_PROXY. */
void text_write_id(struct mc_writer *w, uint16_t id);
/* "KEY VALUE\n" */
void text_write_number(struct mc_writer *w, struct slice key, uint64_t value);
void text_write_hex(struct mc_writer *w, struct slice key, uint64_t value);

/* Take a line off the front of TEXT; without its first word, which the caller knows. */
struct slice text_next_value(struct slice *text);
/* The same, read as the number or the sixteen hexadecimal digits that the line holds. */
bool text_read_number(struct slice *text, uint64_t *out);
bool text_read_hex(struct slice *text, uint64_t *out);

bool text_is_word(struct slice s, const char *word);
bool text_read_id(struct slice word, uint16_t *out);
/* Decode a name, or an address; false when it is empty, longer than CAPACITY, or has a bad %XX. */
bool text_read_name(struct slice word, char *bytes, size_t capacity, struct slice *out);

/* All places with that name: none or one, but while a node moves to another address. */
node_set text_find_nodes(const struct view_names *names, struct slice name);

/* Names in the order of their bytes: negative when A comes before B. */
int text_compare(struct slice a, struct slice b);

/*
 * Nodes are written in the order of their names, so that the text stays the same wherever they
 * stand. Returns the number of places used.
 */
uint32_t text_sort_nodes(const struct view_names *names, uint32_t order[NODES_MAX]);

#endif
