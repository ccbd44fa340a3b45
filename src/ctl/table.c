/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A table is described by its columns, and printed in two passes: once to measure, once to write.
 * Cells are made anew in the second one; a table has some tens of rows.
 */
#include "table.h"

#include "text.h"

#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS_MAX = 16,
    SEGMENT_BYTES_MAX = 32, /* of a path */
};

const json_t *table_at(const json_t *json, const char *path)
{
    while (*path != '\0' && json != NULL) {
        char segment[SEGMENT_BYTES_MAX];
        const size_t len = strcspn(path, ".");
        if (len >= sizeof(segment)) {
            return NULL;
        }
        memcpy(segment, path, len);
        segment[len] = '\0';
        char *bracket = strchr(segment, '[');
        const size_t index = bracket == NULL ? 0 : strtoul(bracket + 1, NULL, 10);
        if (bracket != NULL) {
            *bracket = '\0';
        }
        json = json_object_get(json, segment);
        json = bracket == NULL ? json : json_array_get(json, index);
        path += len + (path[len] == '.' ? 1 : 0);
    }
    return json;
}

double table_number(const json_t *json, const char *path)
{
    return json_number_value(table_at(json, path));
}

const char *table_text(const json_t *json, const char *path)
{
    const char *text = json_string_value(table_at(json, path));
    return text == NULL ? "" : text;
}

void table_cell_text(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    if (json_is_string(value)) {
        text_clean(json_string_value(value), out, TEXT_BYTES_MAX);
    } else if (json_is_integer(value)) {
        (void)snprintf(out, TEXT_BYTES_MAX, "%lld", (long long)json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)snprintf(out, TEXT_BYTES_MAX, "%g", json_real_value(value));
    } else if (json_is_boolean(value)) {
        (void)snprintf(out, TEXT_BYTES_MAX, "%s", json_is_true(value) ? "yes" : "no");
    }
}

void table_cell_latency(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    if (json_is_number(value)) {
        text_latency(json_number_value(value), out, TEXT_BYTES_MAX);
    }
}

void table_cell_duration(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    if (json_is_number(value) && json_number_value(value) >= 0) {
        text_duration((uint64_t)json_number_value(value), out, TEXT_BYTES_MAX);
    }
}

void table_cell_bytes(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    if (json_is_number(value) && json_number_value(value) >= 0) {
        text_bytes((uint64_t)json_number_value(value), out, TEXT_BYTES_MAX);
    }
}

void table_cell_value(const json_t *value, const json_t *row, char *out)
{
    if (json_is_boolean(value)) { /* as it is written */
        (void)snprintf(out, TEXT_BYTES_MAX, "%s", json_is_true(value) ? "true" : "false");
        return;
    }
    if (!json_is_array(value) && !json_is_object(value)) {
        table_cell_text(value, row, out);
        return;
    }
    char *text = json_dumps(value, JSON_COMPACT);
    text_clean(text == NULL ? "" : text, out, TEXT_BYTES_MAX);
    free(text);
}

void table_cell_list(const json_t *value, const json_t *row, char *out)
{
    (void)row;
    size_t used = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        char one[TEXT_BYTES_MAX] = "";
        table_cell_text(json_array_get(value, i), row, one);
        const int wanted =
            snprintf(out + used, TEXT_BYTES_MAX - used, "%s%s", i > 0 ? "," : "", one);
        if (wanted < 0 || (size_t)wanted >= TEXT_BYTES_MAX - used) {
            return;
        }
        used += (size_t)wanted;
    }
}

static void make_cell(const struct table_column *column, const json_t *row, char *out)
{
    out[0] = '\0';
    column->cell(table_at(row, column->path), row, out);
    if (out[0] == '\0') {
        memcpy(out, "-", sizeof("-"));
    }
}

static void pad(FILE *out, size_t columns)
{
    (void)fprintf(out, "%*s", (int)columns, "");
}

/* No spaces at the end of a line: the last column is padded on its left only. */
static void put_cell(FILE *out, const struct table_column *column, const char *text, size_t width,
                     size_t gap)
{
    const size_t missing = width - text_width(text);
    if (column->align == TABLE_RIGHT) {
        pad(out, missing);
    }
    (void)fputs(text, out);
    if (gap > 0) {
        pad(out, gap + (column->align == TABLE_RIGHT ? 0 : missing));
    }
}

struct layout {
    size_t count;
    struct table_column columns[COLUMNS_MAX];
    size_t widths[COLUMNS_MAX];
};

static void lay_out(struct layout *layout, const json_t *rows)
{
    for (size_t c = 0; c < layout->count; c++) {
        layout->widths[c] = text_width(layout->columns[c].title);
        for (size_t r = 0; r < json_array_size(rows); r++) {
            char cell[TEXT_BYTES_MAX];
            make_cell(&layout->columns[c], json_array_get(rows, r), cell);
            const size_t width = text_width(cell);
            layout->widths[c] = width > layout->widths[c] ? width : layout->widths[c];
        }
    }
}

void table_print(FILE *out, const struct table_column *columns, size_t column_count,
                 const json_t *rows)
{
    struct layout layout = {.count = 0};
    if (json_object_get(json_array_get(rows, 0), "proxy") != NULL) {
        layout.columns[layout.count++] =
            (struct table_column){"PROXY", "proxy", table_cell_text, TABLE_LEFT};
    }
    for (size_t c = 0; c < column_count && layout.count < COLUMNS_MAX; c++) {
        layout.columns[layout.count++] = columns[c];
    }
    lay_out(&layout, rows);
    for (size_t c = 0; c < layout.count; c++) {
        put_cell(out, &layout.columns[c], layout.columns[c].title, layout.widths[c],
                 c + 1 < layout.count ? 2 : 0);
    }
    (void)fputc('\n', out);
    for (size_t r = 0; r < json_array_size(rows); r++) {
        for (size_t c = 0; c < layout.count; c++) {
            char cell[TEXT_BYTES_MAX];
            make_cell(&layout.columns[c], json_array_get(rows, r), cell);
            put_cell(out, &layout.columns[c], cell, layout.widths[c], c + 1 < layout.count ? 2 : 0);
        }
        (void)fputc('\n', out);
    }
}
