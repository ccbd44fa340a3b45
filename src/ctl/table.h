/* SPDX-License-Identifier: BSD-2-Clause */
/* Tables of text: columns as wide as what is in them, two spaces between. */
#ifndef EVERWARM_SRC_CTL_TABLE_H
#define EVERWARM_SRC_CTL_TABLE_H

#include <jansson.h>
#include <stddef.h>
#include <stdio.h>

/* Write what the column says of ROW into OUT, TEXT_BYTES_MAX bytes of it; VALUE is what stands at
 * the column's path, or NULL. Empty becomes "-". */
typedef void table_cell(const json_t *value, const json_t *row, char *out);

enum table_align { TABLE_LEFT, TABLE_RIGHT };

struct table_column {
    const char *title;
    const char
        *path; /* "traffic.p99_s", "pools[1].name": from the outside in; "": the row itself */
    table_cell *cell;
    enum table_align align;
};

/* A place in a JSON value, or NULL: PATH as in a column. */
const json_t *table_at(const json_t *json, const char *path);

/* The number there, and 0 when there is none. */
double table_number(const json_t *json, const char *path);

/* The text there, and "" when there is none. */
const char *table_text(const json_t *json, const char *path);

/*
 * Print a table of ROWS, an array of objects, with its titles; a row that has the member "proxy"
 * begins with it in a column of its own.
 */
void table_print(FILE *out, const struct table_column *columns, size_t column_count,
                 const json_t *rows);

/* Cells. */
table_cell table_cell_text;     /* text and numbers as they are, null "-", true "yes" */
table_cell table_cell_latency;  /* seconds */
table_cell table_cell_duration; /* seconds */
table_cell table_cell_bytes;
table_cell table_cell_value; /* as table_cell_text, and lists and objects as JSON */
table_cell table_cell_list;  /* an array of text: "a,b" */

#endif
