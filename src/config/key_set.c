/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From text or JSON to the field of a key, in one way for defaults, flags and files: JSON's type is
 * looked at first, then a string goes where a flag's text goes. On an error WHY says what is wrong
 * and what is right; where it stands is the caller's to know.
 */
#include "everwarm/base/invariant.h"
#include "everwarm/base/suggest.h"
#include "everwarm/config/config.h"
#include "everwarm/config/value.h"
#include "key.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

enum {
    QUOTED_BYTES_MAX = 60, /* of what people wrote, in messages */
};

/* What a key that is not stored is parsed into. */
union scratch {
    uint64_t number;
    struct address_list list;
    char text[CONFIG_PATH_BYTES_MAX];
};

__attribute__((format(printf, 2, 3))) static enum status refuse(char *why, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(why, KEY_WHY_BYTES_MAX, format, arguments);
    va_end(arguments);
    return STATUS_BAD_CONFIG;
}

static enum status set_number(const struct key *key, uint64_t number, void *field, char *why)
{
    if (number < key->min || number > key->max) {
        if (key->unbuilt != NULL) {
            return refuse(why, "%s", key->unbuilt);
        }
        char given[VALUE_TEXT_BYTES_MAX];
        char range[2 * VALUE_TEXT_BYTES_MAX + 8];
        value_format(number, key_unit(key), given);
        key_describe(key, range, sizeof(range));
        return refuse(why, "%s is out of range; it may be %s", given, range);
    }
    if (key->type == KEY_TYPE_COUNT) {
        const uint32_t count = (uint32_t)number;
        memcpy(field, &count, sizeof(count));
    } else {
        memcpy(field, &number, sizeof(number));
    }
    return STATUS_OK;
}

static enum status set_choice(const struct key *key, const char *text, void *field, char *why)
{
    _Static_assert(sizeof(enum config_log_level) == sizeof(unsigned), "choices are unsigned ints");
    char built[KEY_WHY_BYTES_MAX / 2];
    key_list_choices(key, built, sizeof(built));
    struct suggest s = suggest_begin(text);
    for (unsigned i = 0; i < KEY_CHOICES_MAX && key->choices[i] != NULL; i++) {
        if (strcmp(key->choices[i], text) != 0) {
            suggest_offer(&s, i < key->built_count ? key->choices[i] : NULL);
        } else if (i < key->built_count) {
            memcpy(field, &i, sizeof(i));
            return STATUS_OK;
        } else {
            return refuse(why, "\"%s\" is not built yet in this release; use %s", text, built);
        }
    }
    if (s.best != NULL && key->built_count > 1) {
        return refuse(why, "\"%.*s\" must be %s; did you mean \"%s\"?", QUOTED_BYTES_MAX, text,
                      built, s.best);
    }
    return refuse(why, "\"%.*s\" must be %s%s%s", QUOTED_BYTES_MAX, text, built,
                  key->unbuilt != NULL ? "; " : "", key->unbuilt != NULL ? key->unbuilt : "");
}

static enum status set_string(const struct key *key, const char *text, char *field, char *why)
{
    const size_t len = strlen(text);
    if (len < key->min || len > key->max) {
        if (key->min == key->max) {
            return refuse(why, "must have %" PRIu64 " bytes, not %zu", key->min, len);
        }
        return refuse(why, "must have %" PRIu64 " to %" PRIu64 " bytes, not %zu", key->min,
                      key->max, len);
    }
    memcpy(field, text, len + 1);
    return STATUS_OK;
}

static enum status set_address(const struct key *key, const char *text, void *field, char *why)
{
    struct address address;
    const char *wrong = address_parse(text, key->port, &address);
    if (wrong != NULL) {
        return refuse(why, "\"%.*s\": %s", QUOTED_BYTES_MAX, text, wrong);
    }
    memcpy(field, &address, sizeof(address));
    return STATUS_OK;
}

static enum status append_listener(const struct key *key, const char *text,
                                   struct address_list *list, char *why)
{
    if (list->count == LISTENERS_MAX) {
        return refuse(why, "more than %d addresses", LISTENERS_MAX);
    }
    struct address *address = &list->items[list->count];
    const enum status status = set_address(key, text, address, why);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < list->count; i++) {
        if (address_is_clash(&list->items[i], address)) {
            return refuse(why, "\"%.*s\" is listed twice", QUOTED_BYTES_MAX, text);
        }
    }
    list->count++;
    return STATUS_OK;
}

static void *field_of(const struct key *key, void *base, union scratch *scratch)
{
    memset(scratch, 0, sizeof(*scratch));
    return key->offset == KEY_NOT_STORED ? (void *)scratch : (char *)base + key->offset;
}

static enum status set_field_text(const struct key *key, const char *text, void *field, char *why)
{
    char wanted[KEY_WHY_BYTES_MAX / 2];
    uint64_t number = 0;
    switch (key->type) {
    case KEY_TYPE_DURATION:
    case KEY_TYPE_SIZE:
    case KEY_TYPE_COUNT:
        if (value_parse(text, key_unit(key), &number)) {
            return set_number(key, number, field, why);
        }
        break;
    case KEY_TYPE_FLAG:
        if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) {
            *(bool *)field = text[0] == 't';
            return STATUS_OK;
        }
        break;
    case KEY_TYPE_TEXT:
        return set_string(key, text, field, why);
    case KEY_TYPE_CHOICE:
        return set_choice(key, text, field, why);
    case KEY_TYPE_ADDRESS:
        return set_address(key, text, field, why);
    case KEY_TYPE_LISTENERS:
        ((struct address_list *)field)->count = 0;
        return append_listener(key, text, field, why);
    case KEY_TYPE_ARRAY:
        UNREACHABLE();
    }
    key_expect(key, wanted, sizeof(wanted));
    return refuse(why, "\"%.*s\" is not %s", QUOTED_BYTES_MAX, text, wanted);
}

enum status key_set_text(const struct key *key, const char *text, void *base, char *why)
{
    union scratch scratch;
    return set_field_text(key, text, field_of(key, base, &scratch), why);
}

void key_set_defaults(enum key_scope scope, void *base)
{
    size_t count = 0;
    const struct key *keys = key_table(&count);
    for (size_t i = 0; i < count; i++) {
        char why[KEY_WHY_BYTES_MAX];
        if (keys[i].scope == scope && keys[i].fallback != NULL) {
            const enum status status = key_set_text(&keys[i], keys[i].fallback, base, why);
            INVARIANT(status == STATUS_OK);
        }
    }
}

static enum status set_listeners(const struct key *key, const json_t *array,
                                 struct address_list *list, char *why)
{
    list->count = 0;
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *element = json_array_get(array, i);
        if (!json_is_string(element)) {
            return refuse(why, "must be addresses, not %s", key_json_type(element));
        }
        const enum status status = append_listener(key, json_string_value(element), list, why);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status set_integer(const struct key *key, json_int_t number, void *field, char *why)
{
    if (number < 0) {
        char range[2 * VALUE_TEXT_BYTES_MAX + 8];
        key_describe(key, range, sizeof(range));
        return refuse(why, "%" JSON_INTEGER_FORMAT " is out of range; it may be %s", number, range);
    }
    return set_number(key, (uint64_t)number, field, why);
}

/* Whether null means "none" for KEY. */
static bool is_nullable(const struct key *key)
{
    return (key->type == KEY_TYPE_TEXT && key->fallback == NULL) ||
           (key->type == KEY_TYPE_ADDRESS && (key->fallback != NULL || key->unbuilt != NULL));
}

enum status key_set_json(const struct key *key, const json_t *value, void *base, char *why)
{
    union scratch scratch;
    void *field = field_of(key, base, &scratch);
    if (json_is_null(value) && is_nullable(key)) {
        /* An empty string and ADDRESS_NONE are both a zero in front. */
        memset(field, 0, key->type == KEY_TYPE_ADDRESS ? sizeof(struct address) : 1);
        return STATUS_OK;
    }
    if (is_nullable(key) && key->unbuilt != NULL) {
        return refuse(why, "%s", key->unbuilt);
    }
    if (key->type == KEY_TYPE_COUNT && json_is_integer(value)) {
        return set_integer(key, json_integer_value(value), field, why);
    }
    if (key->type == KEY_TYPE_FLAG && json_is_boolean(value)) {
        *(bool *)field = json_is_true(value);
        return STATUS_OK;
    }
    if (key->type == KEY_TYPE_LISTENERS && json_is_array(value)) {
        return set_listeners(key, value, field, why);
    }
    if (json_is_string(value) && key->type != KEY_TYPE_COUNT && key->type != KEY_TYPE_FLAG) {
        return set_field_text(key, json_string_value(value), field, why);
    }
    char wanted[KEY_WHY_BYTES_MAX / 2];
    key_expect(key, wanted, sizeof(wanted));
    return refuse(why, "must be %s, not %s%s%s", wanted, key_json_type(value),
                  key->unbuilt != NULL ? "; " : "", key->unbuilt != NULL ? key->unbuilt : "");
}
