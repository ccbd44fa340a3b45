/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages quote what people wrote, so control characters in them are replaced before a terminal
 * or a log sees them.
 */
#include "source.h"

#include "everwarm/base/invariant.h"
#include "everwarm/config/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum {
    PATH_TEXT_BYTES_MAX = 200,
};

static void make_printable(char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            *text = '?';
        }
    }
}

static void set_path(struct config_error *error, const char *path)
{
    *error = (struct config_error){.line = 0};
    (void)snprintf(error->path, sizeof(error->path), "%s", path);
    make_printable(error->path);
}

struct locate_path source_pool_path(const struct source *source, size_t index)
{
    const struct locate_path top = {.count = 0};
    if (source->is_flat) {
        return top;
    }
    return locate_with_index(locate_with_key(top, "pools"), index);
}

enum status source_fail(const struct source *source, const struct locate_path *path,
                        enum locate_part part, const char *format, ...)
{
    struct config_error *error = source->error;
    set_path(error, source->path);
    char where[PATH_TEXT_BYTES_MAX];
    locate_format(path, where, sizeof(where));
    int used = 0;
    if (where[0] != '\0') {
        used = snprintf(error->message, sizeof(error->message), "%s: ", where);
    }
    INVARIANT(used >= 0 && (size_t)used < sizeof(error->message));
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message + used, sizeof(error->message) - (size_t)used, format,
                    arguments);
    va_end(arguments);
    make_printable(error->message);
    if (source->text == NULL) {
        return STATUS_BAD_ARGUMENT;
    }
    const struct locate_place place = locate_find(source->text, source->len, path, part);
    error->line = place.line;
    error->column = place.column;
    return STATUS_BAD_CONFIG;
}

void source_warn(struct config *config, const char *format, ...)
{
    INVARIANT(config->warning_count < CONFIG_WARNINGS_MAX);
    char *text = config->warnings[config->warning_count++];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, CONFIG_TEXT_BYTES_MAX, format, arguments);
    va_end(arguments);
    make_printable(text);
}

void source_set_error(struct config_error *error, const char *path, const char *format, ...)
{
    set_path(error, path);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error->message, sizeof(error->message), format, arguments);
    va_end(arguments);
    make_printable(error->message);
}
