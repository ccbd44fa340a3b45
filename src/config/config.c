/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The order in which a config comes about: defaults, file, flags, defaults that depend on others,
 * checks. A flag beside -c replaces what the file says about the same thing:
 *
 *   -l (and -p)   its TCP addresses          -p alone   their ports (0: no TCP)
 *   -f            its unix sockets           -n -t -A --log-format -v   that key
 */
#include "everwarm/config/config.h"

#include "check.h"
#include "everwarm/base/invariant.h"
#include "everwarm/config/options.h"
#include "key.h"
#include "read.h"
#include "source.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum {
    READ_BYTES = 65536,
    PORT_MAX = 65535,
    PORT_DATA = 11210,
};

/* Refuse a flag's value. */
__attribute__((format(printf, 2, 3))) static enum status fail_flag(const struct source *source,
                                                                   const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    char text[CONFIG_TEXT_BYTES_MAX];
    (void)vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    source_set_error(source->error, "", "%s", text);
    return STATUS_BAD_ARGUMENT;
}

/* Set the top-level key SECTION.NAME to a flag's VALUE, when it was given. */
static enum status set_by_flag(const struct source *source, struct config *config, const char *flag,
                               const char *path, const char *value)
{
    char section[16];
    const char *dot = strchr(path, '.');
    (void)snprintf(section, sizeof(section), "%.*s", dot != NULL ? (int)(dot - path) : 0, path);
    const struct key *key =
        key_find(KEY_SCOPE_ROOT, dot != NULL ? section : NULL, dot != NULL ? dot + 1 : path);
    REQUIRE(key != NULL);
    char why[KEY_WHY_BYTES_MAX];
    if (value == NULL) {
        return STATUS_OK;
    }
    config->given.flag |= key_bit(key);
    if (key_set_text(key, value, config, why) == STATUS_OK) {
        return STATUS_OK;
    }
    return fail_flag(source, "%s %s", flag, why);
}

/* Remove the addresses of KIND. */
static void drop_kind(struct address_list *list, enum address_kind kind)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].kind != kind) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

static enum status append_listener(const struct source *source, struct address_list *list,
                                   const char *flag, const char *text, uint16_t port)
{
    if (list->count == LISTENERS_MAX) {
        return fail_flag(source, "%s %s: more than %d addresses to listen on", flag, text,
                         LISTENERS_MAX);
    }
    const char *wrong = address_parse(text, port, &list->items[list->count]);
    if (wrong != NULL) {
        return fail_flag(source, "%s \"%.60s\": %s", flag, text, wrong);
    }
    for (size_t i = 0; i < list->count; i++) {
        if (address_is_clash(&list->items[i], &list->items[list->count])) {
            return fail_flag(source, "%s %s: is listened on already", flag, text);
        }
    }
    list->count++;
    return STATUS_OK;
}

static enum status parse_port(const struct source *source, const char *text, uint16_t *out)
{
    char *end = NULL;
    errno = 0;
    const long port = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || port < 0 || port > PORT_MAX) {
        return fail_flag(source, "-p \"%.60s\" must be a port, 1 to 65535, or 0: no TCP", text);
    }
    *out = (uint16_t)port;
    return STATUS_OK;
}

static enum status apply_listen(const struct source *source, const struct options *options,
                                struct config *config)
{
    struct address_list *list = &config->listen;
    uint16_t port = PORT_DATA;
    if (options->port != NULL || options->unix_path != NULL || options->listen_count > 0) {
        config->given.flag |= key_bit(key_find(KEY_SCOPE_ROOT, NULL, "listen"));
    }
    enum status status = STATUS_OK;
    if (options->port != NULL) {
        status = parse_port(source, options->port, &port);
    }
    /* As in magent, port 0 is no TCP at all; a free port is asked for by -l HOST:0. */
    if (options->listen_count > 0 || (options->port != NULL && port == 0)) {
        drop_kind(list, ADDRESS_TCP);
    } else if (options->port != NULL) {
        for (size_t i = 0; i < list->count; i++) {
            list->items[i].port = list->items[i].kind == ADDRESS_TCP ? port : 0;
        }
    }
    for (size_t i = 0; status == STATUS_OK && i < options->listen_count; i++) {
        if (options->port == NULL || port != 0) {
            status = append_listener(source, list, "-l", options->listen[i], port);
        }
    }
    if (status == STATUS_OK && options->unix_path != NULL) {
        char text[ADDRESS_TEXT_BYTES_MAX];
        drop_kind(list, ADDRESS_UNIX);
        (void)snprintf(text, sizeof(text), "unix:%s", options->unix_path);
        status = append_listener(source, list, "-f", text, 0);
    }
    if (status == STATUS_OK && list->count == 0) {
        return fail_flag(source, "-p 0: nothing is left to listen on; add -f PATH");
    }
    return status;
}

static enum status apply_flags(const struct source *source, const struct options *options,
                               struct config *config)
{
    const struct {
        const char *flag;
        const char *path;
        const char *value;
    } flags[] = {
        {"-n", "max_clients", options->max_clients},
        {"-t", "threads", options->threads},
        {"--log-format", "log.format", options->log_format},
        {"-v", "log.level", options->verbose_count > 0 ? "debug" : NULL},
    };
    enum status status = apply_listen(source, options, config);
    for (size_t i = 0; status == STATUS_OK && i < sizeof(flags) / sizeof(flags[0]); i++) {
        status = set_by_flag(source, config, flags[i].flag, flags[i].path, flags[i].value);
    }
    if (status == STATUS_OK && options->admin != NULL && strcmp(options->admin, "off") == 0) {
        config->admin_listen = (struct address){.kind = ADDRESS_NONE};
        config->given.flag |= key_bit(key_find(KEY_SCOPE_ROOT, "admin", "listen"));
        return STATUS_OK;
    }
    return status == STATUS_OK
               ? set_by_flag(source, config, "--admin", "admin.listen", options->admin)
               : status;
}

/* Masters first, as magent counts them; then the backups; then those of --local. */
static enum status append_nodes(const struct source *source, const struct options *options,
                                const char *const *local_addresses, struct config *config)
{
    enum status status = STATUS_OK;
    config->pool_count = 1;
    read_begin_pool(config, 0);
    for (unsigned is_backup = 0; is_backup <= 1; is_backup++) {
        for (size_t i = 0; status == STATUS_OK && i < options->node_count; i++) {
            if (options->is_backup[i] == (is_backup == 1)) {
                status = read_append_node(source, config, is_backup == 1 ? "-b" : "-s",
                                          options->nodes[i]);
            }
        }
    }
    for (size_t i = 0; status == STATUS_OK && i < options->local_count; i++) {
        status = read_append_node(source, config, "--local", local_addresses[i]);
    }
    return status;
}

/* What someone who knows magent, or reads the flags alone, would not expect. */
static void note_differences(const struct options *options, struct config *config)
{
    const bool is_quiet = options->config_path != NULL || options->local_count > 0;
    if (!is_quiet && config->pools[0].node_count > 1) {
        source_warn(config,
                    "every key is on every node: the capacity is that of the smallest node");
    }
    if (!is_quiet && options->listen_count == 0 && options->unix_path == NULL) {
        source_warn(config, "listening on 127.0.0.1 only; -l changes that");
    }
    if (!is_quiet && options->port == NULL) {
        source_warn(config, "the port is 11210 unless -p or -l says otherwise");
    }
    if (!is_quiet && !options->is_foreground && !options->is_daemon) {
        source_warn(config, "staying in the foreground; --daemon goes into the background");
    }
    for (size_t i = 0; i < options->node_count; i++) {
        if (options->is_backup[i]) {
            source_warn(config, "-b: backup nodes are like the others, they hold every key");
            break;
        }
    }
    if (options->is_ketama) {
        source_warn(config, "-k: not built yet in this release; replicas are ordered by rendezvous "
                            "(every node holds everything either way)");
    }
    if (options->is_idle_given) {
        source_warn(config, "-i: unused; each worker keeps its connections to the nodes");
    }
}

/* The whole way; SOURCE has a text, or OPTIONS nodes. */
static enum status build(struct source *source, const struct options *options,
                         const char *const *local_addresses, struct config **out)
{
    struct config *config = calloc(1, sizeof(*config));
    *out = NULL;
    if (config == NULL) {
        source_set_error(source->error, source->path, "out of memory");
        return STATUS_NO_MEMORY;
    }
    key_set_defaults(KEY_SCOPE_ROOT, config);
    source->is_flat = true;
    enum status status = source->text != NULL
                             ? read_text(source, config)
                             : append_nodes(source, options, local_addresses, config);
    if (status == STATUS_OK && options != NULL) {
        status = apply_flags(source, options, config);
        note_differences(options, config);
    }
    if (status == STATUS_OK) {
        status = check_complete(source, config);
    }
    if (status != STATUS_OK) {
        free(config);
        return status;
    }
    *out = config;
    return STATUS_OK;
}

static enum status fail_read(const struct source *source, int error_number)
{
    char buffer[128];
    source_set_error(source->error, source->path, "%s",
                     strerror_r(error_number, buffer, sizeof(buffer)));
    return STATUS_SYSTEM;
}

/* Read all of FILE into SOURCE's text; at most CONFIG_BYTES_MAX, so that /dev/zero ends too. */
static enum status read_all(FILE *file, struct source *source)
{
    size_t room = 0;
    for (;;) {
        if (source->len == room) {
            room += READ_BYTES;
            char *text = realloc(source->text, room);
            if (text == NULL) {
                source_set_error(source->error, source->path, "out of memory");
                return STATUS_NO_MEMORY;
            }
            source->text = text;
        }
        const size_t count = fread(source->text + source->len, 1, room - source->len, file);
        source->len += count;
        if (source->len > CONFIG_BYTES_MAX) {
            source_set_error(source->error, source->path,
                             "is larger than 4 MiB: not a configuration");
            return STATUS_SYSTEM;
        }
        if (count == 0) {
            return ferror(file) != 0 ? fail_read(source, errno) : STATUS_OK;
        }
    }
}

static enum status read_file(struct source *source)
{
    FILE *file = fopen(source->path, "rbe");
    if (file == NULL) {
        return fail_read(source, errno);
    }
    const enum status status = read_all(file, source);
    (void)fclose(file); /* read only: nothing can be lost */
    return status;
}

static enum status load_file(const char *path, const struct options *options, struct config **out,
                             struct config_error *error)
{
    struct source source = {.path = path, .error = error};
    enum status status = read_file(&source);
    *out = NULL;
    if (status == STATUS_OK) {
        status = build(&source, options, NULL, out);
    }
    free(source.text);
    return status;
}

enum status config_load_file(const char *path, struct config **out, struct config_error *error)
{
    return load_file(path, NULL, out, error);
}

enum status config_load_text(const char *path, const char *text, size_t len, struct config **out,
                             struct config_error *error)
{
    struct source source = {.path = path, .len = len, .error = error, .text = malloc(len + 1)};
    *out = NULL;
    if (source.text == NULL) {
        source_set_error(error, path, "out of memory");
        return STATUS_NO_MEMORY;
    }
    if (len > 0) {
        memcpy(source.text, text, len);
    }
    const enum status status = build(&source, NULL, NULL, out);
    free(source.text);
    return status;
}

enum status config_from_options(const struct options *options, const char *const *local_addresses,
                                struct config **out, struct config_error *error)
{
    if (options->config_path != NULL) {
        return load_file(options->config_path, options, out, error);
    }
    REQUIRE(options->node_count + options->local_count > 0);
    struct source source = {.path = "", .error = error};
    return build(&source, options, local_addresses, out);
}

void config_destroy(struct config **config)
{
    free(*config);
    *config = NULL;
}

void config_error_format(const struct config_error *error, char *out, size_t size)
{
    if (error->path[0] == '\0') {
        (void)snprintf(out, size, "%s", error->message);
    } else if (error->line == 0) {
        (void)snprintf(out, size, "%s: %s", error->path, error->message);
    } else {
        (void)snprintf(out, size, "%s:%zu:%zu: %s", error->path, error->line, error->column,
                       error->message);
    }
}

void config_error_print(const struct config_error *error, FILE *out)
{
    char text[CONFIG_PATH_BYTES_MAX + CONFIG_TEXT_BYTES_MAX];
    config_error_format(error, text, sizeof(text));
    (void)fprintf(out, "%s\n", text);
}

static void print_key(const struct key *key, FILE *out)
{
    static const char *const scopes[KEY_SCOPE_COUNT] = {[KEY_SCOPE_ROOT] = "",
                                                        [KEY_SCOPE_POOL] = "pools[].",
                                                        [KEY_SCOPE_NODE] = "pools[].nodes[]."};
    char range[KEY_WHY_BYTES_MAX];
    key_describe(key, range, sizeof(range));
    const char *fallback = key->fallback != NULL ? key->fallback : key->fallback_help;
    (void)fprintf(out, "%s%s\n    %s\n    %s; default: %s\n", scopes[key->scope], key->path,
                  key->help, range, fallback != NULL ? fallback : "none");
    if (key->unbuilt != NULL || key->note != NULL) {
        (void)fprintf(out, "    (%s)\n", key->unbuilt != NULL ? key->unbuilt : key->note);
    }
}

void config_help(FILE *out)
{
    size_t count = 0;
    const struct key *keys = key_table(&count);
    (void)fputs("Keys of the configuration file: JSON, with comments from // or # to the end of\n"
                "the line. One pool may be written at the top level, without \"pools[]\".\n\n",
                out);
    for (size_t i = 0; i < count; i++) {
        print_key(&keys[i], out);
    }
}
