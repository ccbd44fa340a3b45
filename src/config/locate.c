/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jansson says where a syntax error is, and nothing about where a value came from. This walks the
 * same bytes again, only when an error is to be reported, and so needs no tree of its own. It may
 * rely on jansson's verdict that the text is JSON without duplicate keys, but reads no byte past
 * the end even if that were wrong.
 *
 * I1  `at` is at most `len` at all times; reading at the end gives '\0', which no token starts
 * with.
 */
#include "locate.h"

#include "everwarm/base/invariant.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

struct cursor {
    const char *text;
    size_t len;
    size_t at;
};

struct locate_path locate_with_key(struct locate_path path, const char *key)
{
    if (key != NULL) {
        REQUIRE(path.count < LOCATE_STEPS_MAX);
        path.steps[path.count++] = (struct locate_step){.key = key};
    }
    return path;
}

struct locate_path locate_with_index(struct locate_path path, size_t index)
{
    REQUIRE(path.count < LOCATE_STEPS_MAX);
    path.steps[path.count++] = (struct locate_step){.index = index};
    return path;
}

void locate_format(const struct locate_path *path, char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < path->count && used < size; i++) {
        const struct locate_step *step = &path->steps[i];
        const int bytes =
            step->key != NULL
                ? snprintf(out + used, size - used, "%s%.64s", i > 0 ? "." : "", step->key)
                : snprintf(out + used, size - used, "[%zu]", step->index);
        INVARIANT(bytes >= 0);
        used += (size_t)bytes;
    }
}

void locate_blank_comments(char *text, size_t len)
{
    bool is_string = false;
    bool is_comment = false;
    for (size_t i = 0; i < len; i++) {
        const char c = text[i];
        if (c == '\n') {
            /* No JSON string spans lines: a quote left open must not hide the next comment. */
            is_string = false;
            is_comment = false;
        } else if (is_comment) {
            text[i] = ' ';
        } else if (is_string && c == '\\' && i + 1 < len && text[i + 1] != '\n') {
            i++;
        } else if (c == '"') {
            is_string = !is_string;
        } else if (!is_string && (c == '#' || (c == '/' && i + 1 < len && text[i + 1] == '/'))) {
            is_comment = true;
            text[i] = ' ';
        }
    }
}

static char peek(const struct cursor *c)
{
    return c->at < c->len ? c->text[c->at] : '\0';
}

static void skip_space(struct cursor *c)
{
    while (c->at < c->len && strchr(" \t\r\n", c->text[c->at]) != NULL && c->text[c->at] != '\0') {
        c->at++;
    }
}

/* Step over BYTE and the space after it; false when it is not what comes next. */
static bool skip_byte(struct cursor *c, char byte)
{
    skip_space(c);
    if (c->at >= c->len || c->text[c->at] != byte) {
        return false;
    }
    c->at++;
    skip_space(c);
    return true;
}

static void skip_string(struct cursor *c)
{
    c->at++;
    while (c->at < c->len && c->text[c->at] != '"') {
        c->at += c->text[c->at] == '\\' && c->at + 1 < c->len ? 2 : 1;
    }
    if (c->at < c->len) {
        c->at++;
    }
}

/* Step over one value of any depth: brackets are counted, strings skipped. */
static void skip_value(struct cursor *c)
{
    size_t depth = 0;
    do {
        skip_space(c);
        const char byte = peek(c);
        if (byte == '"') {
            skip_string(c);
        } else if (byte == '{' || byte == '[') {
            depth++;
            c->at++;
        } else if (byte == '}' || byte == ']') {
            depth -= depth > 0;
            c->at++;
        } else if (byte == ',' || byte == ':') {
            c->at++;
        } else if (c->at < c->len) {
            c->at++;
            while (c->at < c->len && strchr(",:]}\"[{ \t\r\n", c->text[c->at]) == NULL) {
                c->at++;
            }
        }
    } while (depth > 0 && c->at < c->len);
}

/* Whether the key literal RAW, with its quotes, means KEY; jansson undoes escapes. */
static bool is_key(const char *raw, size_t len, const char *key)
{
    if (memchr(raw, '\\', len) == NULL) {
        return len == strlen(key) + 2 && memcmp(raw + 1, key, len - 2) == 0;
    }
    json_t *decoded = json_loadb(raw, len, JSON_DECODE_ANY, NULL);
    const char *text = json_string_value(decoded);
    const bool is_same = text != NULL && strcmp(text, key) == 0;
    json_decref(decoded);
    return is_same;
}

/* Move into the member called KEY: KEY_AT is where its key stands, the cursor where its value. */
static bool enter_member(struct cursor *c, const char *key, size_t *key_at)
{
    if (!skip_byte(c, '{')) {
        return false;
    }
    while (peek(c) == '"') {
        const size_t start = c->at;
        skip_string(c);
        const bool is_found = is_key(c->text + start, c->at - start, key);
        if (!skip_byte(c, ':')) {
            return false;
        }
        if (is_found) {
            *key_at = start;
            return true;
        }
        skip_value(c);
        if (!skip_byte(c, ',')) {
            return false;
        }
    }
    return false;
}

static bool enter_element(struct cursor *c, size_t index, size_t *key_at)
{
    if (!skip_byte(c, '[')) {
        return false;
    }
    for (size_t i = 0; i < index; i++) {
        skip_value(c);
        if (!skip_byte(c, ',')) {
            return false;
        }
    }
    *key_at = c->at;
    return peek(c) != ']' && c->at < c->len;
}

static struct locate_place place_of(const char *text, size_t offset, size_t depth)
{
    struct locate_place place = {.depth = depth, .line = 1, .column = 1};
    for (size_t i = 0; i < offset; i++) {
        if (text[i] == '\n') {
            place.line++;
            place.column = 1;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            place.column++; /* not a continuation byte of UTF-8 */
        }
    }
    return place;
}

/* Follow PATH as far as it goes. Returns how many steps exist;
 * *found: where PART of the last is. */
static size_t follow(struct cursor *cursor, const struct locate_path *path, enum locate_part part,
                     size_t *found)
{
    skip_space(cursor);
    *found = cursor->at;
    size_t depth = 0;
    for (; depth < path->count; depth++) {
        const struct locate_step *step = &path->steps[depth];
        size_t key_at = 0;
        const bool is_found = step->key != NULL ? enter_member(cursor, step->key, &key_at)
                                                : enter_element(cursor, step->index, &key_at);
        if (!is_found) {
            break;
        }
        *found = part == LOCATE_KEY ? key_at : cursor->at;
    }
    return depth;
}

struct locate_place locate_find(const char *text, size_t len, const struct locate_path *path,
                                enum locate_part part)
{
    struct cursor cursor = {.text = text, .len = len};
    size_t found = 0;
    const size_t depth = follow(&cursor, path, part, &found);
    return place_of(text, found, depth);
}

bool locate_value(const char *text, size_t len, const struct locate_path *path, size_t *begin,
                  size_t *end)
{
    struct cursor cursor = {.text = text, .len = len};
    if (follow(&cursor, path, LOCATE_VALUE, begin) < path->count) {
        return false;
    }
    skip_value(&cursor);
    *end = cursor.at;
    return true;
}
