/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An edit replaces one span of bytes by another; comments and form of all else stay. Where the span
 * is, is found in a copy without comments, which has the same places; what the text becomes is read
 * and checked like any configuration before it is believed.
 */
#include "everwarm/config/edit.h"

#include "locate.h"
#include "source.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ELEMENT_BYTES_MAX = 1024 };

/* Bytes BEGIN to END become TEXT. */
struct splice {
    size_t begin;
    size_t end;
    char text[ELEMENT_BYTES_MAX + 256];
};

struct editor {
    const char *path;
    const char *text;  /* as it is */
    const char *blank; /* without comments */
    size_t len;
    json_t *json;
    struct config_error *error;
    struct locate_path nodes; /* the way to the pool's nodes */
    const json_t *list;
};

static enum status fail(const struct editor *editor, const char *what)
{
    source_set_error(editor->error, editor->path, "%s", what);
    return STATUS_BAD_CONFIG;
}

/* A pool without a name is called "main". */
static bool is_called(const json_t *pool, const char *wanted)
{
    const char *name = json_string_value(json_object_get(pool, "name"));
    return strcmp(name == NULL ? "main" : name, wanted) == 0;
}

/* Where POOL's nodes stand. */
static bool find_pool(struct editor *editor, const char *pool)
{
    const json_t *pools = json_object_get(editor->json, "pools");
    const json_t *found = pools == NULL && is_called(editor->json, pool) ? editor->json : NULL;
    size_t index = 0;
    json_t *each = NULL;
    struct locate_path path = {.count = 0};
    json_array_foreach(pools, index, each)
    {
        if (is_called(each, pool)) {
            found = each;
            path = locate_with_index(locate_with_key(path, "pools"), index);
        }
    }
    editor->nodes = locate_with_key(path, "nodes");
    editor->list = json_object_get(found, "nodes");
    return json_is_array(editor->list) && json_array_size(editor->list) > 0;
}

/* A node without a name is called by its address as written. */
static const char *name_of(const json_t *node)
{
    const char *name = json_string_value(json_object_get(node, "name"));
    const char *address = json_string_value(json_object_get(node, "address"));
    return json_is_string(node) ? json_string_value(node) : name != NULL ? name : address;
}

static bool find_node(const struct editor *editor, const char *name, size_t *out)
{
    for (size_t i = 0; i < json_array_size(editor->list); i++) {
        const char *other = name_of(json_array_get(editor->list, i));
        if (other != NULL && strcmp(other, name) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static bool span_of(const struct editor *editor, size_t index, size_t *begin, size_t *end)
{
    const struct locate_path path = locate_with_index(editor->nodes, index);
    return locate_value(editor->blank, editor->len, &path, begin, end);
}

static bool write_element(const struct edit_node *edit, char *out)
{
    json_t *json = json_pack("{s:s, s:s}", "name", edit->name, "address", edit->address);
    if (edit->zone != NULL && edit->zone[0] != '\0') {
        (void)json_object_set_new(json, "zone", json_string(edit->zone));
    }
    char *text = json_dumps(json, 0);
    const bool fits = text != NULL && strlen(text) < ELEMENT_BYTES_MAX;
    if (fits) {
        (void)snprintf(out, ELEMENT_BYTES_MAX, "%s", text);
    }
    free(text);
    json_decref(json);
    return fits;
}

/* Behind the last one; on a line of its own if that stands on one. */
static bool splice_in(const struct editor *editor, const struct edit_node *edit, struct splice *out)
{
    char element[ELEMENT_BYTES_MAX];
    size_t begin = 0;
    if (!write_element(edit, element) ||
        !span_of(editor, json_array_size(editor->list) - 1, &begin, &out->end)) {
        return false;
    }
    size_t line = begin;
    while (line > 0 && (editor->blank[line - 1] == ' ' || editor->blank[line - 1] == '\t')) {
        line--;
    }
    const bool has_line = line > 0 && editor->blank[line - 1] == '\n' && begin - line < 200;
    out->begin = out->end;
    (void)snprintf(out->text, sizeof(out->text), ",%s%.*s%s", has_line ? "\n" : " ",
                   has_line ? (int)(begin - line) : 0, editor->blank + line, element);
    return true;
}

/* With the comma before it, or behind it if it is the first. */
static bool splice_out(const struct editor *editor, size_t index, struct splice *out)
{
    size_t other = 0;
    if (!span_of(editor, index, &out->begin, &out->end)) {
        return false;
    }
    out->text[0] = '\0';
    return index > 0 ? span_of(editor, index - 1, &other, &out->begin)
                     : span_of(editor, index + 1, &out->end, &other);
}

static bool splice_address(const struct editor *editor, const struct edit_node *edit, size_t index,
                           struct splice *out)
{
    const json_t *node = json_array_get(editor->list, index);
    if (json_is_string(node)) {
        return write_element(edit, out->text) && span_of(editor, index, &out->begin, &out->end);
    }
    const bool has_name = json_object_get(node, "name") != NULL;
    json_t *address = json_string(edit->address);
    json_t *name = json_string(edit->name);
    char *quoted = json_dumps(address, JSON_ENCODE_ANY);
    char *quoted_name = json_dumps(name, JSON_ENCODE_ANY);
    const struct locate_path path =
        locate_with_key(locate_with_index(editor->nodes, index), "address");
    bool is_good = quoted != NULL && quoted_name != NULL &&
                   strlen(quoted) + strlen(quoted_name) < ELEMENT_BYTES_MAX &&
                   locate_value(editor->blank, editor->len, &path, &out->begin, &out->end);
    if (is_good) { /* the address was its name, and stays it */
        (void)snprintf(out->text, sizeof(out->text), "%s%s%s", quoted,
                       has_name ? "" : ", \"name\": ", has_name ? "" : quoted_name);
    }
    free(quoted);
    free(quoted_name);
    json_decref(address);
    json_decref(name);
    return is_good;
}

static enum status find_splice(struct editor *editor, const struct edit_node *edit,
                               struct splice *out)
{
    size_t index = 0;
    if (!find_pool(editor, edit->pool)) {
        return fail(editor, "has no nodes of that pool: they come from flags");
    }
    const bool is_there = find_node(editor, edit->name, &index);
    bool is_good = true;
    if (edit->address != NULL) {
        is_good =
            is_there ? splice_address(editor, edit, index, out) : splice_in(editor, edit, out);
    } else if (is_there) {
        is_good = splice_out(editor, index, out);
    }
    return is_good ? STATUS_OK : fail(editor, "can't be changed at that place");
}

static enum status join(const struct editor *editor, const struct splice *splice, char **out)
{
    const size_t added = strlen(splice->text);
    const size_t tail = editor->len - splice->end;
    char *text = malloc(splice->begin + added + tail + 1);
    if (text == NULL) {
        return STATUS_NO_MEMORY;
    }
    memcpy(text, editor->text, splice->begin);
    memcpy(text + splice->begin, splice->text, added);
    memcpy(text + splice->begin + added, editor->text + splice->end, tail);
    text[splice->begin + added + tail] = '\0';
    struct config *config = NULL;
    const enum status status =
        config_load_text(editor->path, text, strlen(text), &config, editor->error);
    config_destroy(&config);
    if (status != STATUS_OK) {
        free(text);
        return status;
    }
    *out = text;
    return STATUS_OK;
}

enum status edit_text(const char *path, const char *text, const struct edit_node *edit, char **out,
                      struct config_error *error)
{
    struct splice splice = {.begin = 0};
    struct editor editor = {.path = path, .text = text, .len = strlen(text), .error = error};
    char *blank = strdup(text);
    *out = NULL;
    if (blank == NULL) {
        return STATUS_NO_MEMORY;
    }
    locate_blank_comments(blank, editor.len);
    editor.blank = blank;
    editor.json = json_loadb(blank, editor.len, JSON_REJECT_DUPLICATES, NULL);
    enum status status = json_is_object(editor.json)
                             ? find_splice(&editor, edit, &splice)
                             : fail(&editor, "is no configuration any more");
    if (status == STATUS_OK) {
        status = join(&editor, &splice, out);
    }
    json_decref(editor.json);
    free(blank);
    return status;
}
