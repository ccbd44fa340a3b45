/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * jansson makes the values; the key table says where each goes. Objects nest in a known way (top,
 * pools, nodes, each with sections one deep), so there is a function for each and no recursion.
 *
 * A file with one pool may leave out "pools" and write the pool's keys at the top: then the top
 * object is read in two scopes, its own first ("listen" is the top's).
 */
#include "read.h"

#include "everwarm/base/invariant.h"
#include "everwarm/config/config.h"
#include "key.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum {
    QUOTED_BYTES_MAX = 60,
    SUGGESTION_BYTES_MAX = 64,
};

/* One JSON object and where its keys go. */
struct object {
    struct source *source;
    struct config *config;        /* for warnings */
    json_t *json;                 /* borrowed */
    struct locate_path path;      /* of the object */
    void *bases[KEY_SCOPE_COUNT]; /* NULL: keys of that scope don't belong here */
};

static enum status fail_unknown(const struct object *object, const char *section, const char *name)
{
    char suggestion[SUGGESTION_BYTES_MAX] = "";
    for (unsigned scope = 0; scope < KEY_SCOPE_COUNT && suggestion[0] == '\0'; scope++) {
        if (object->bases[scope] != NULL) {
            key_suggest((enum key_scope)scope, section, name, suggestion, sizeof(suggestion));
        }
    }
    struct locate_path path = locate_with_key(object->path, section);
    path = locate_with_key(path, name);
    if (suggestion[0] != '\0') {
        return source_fail(object->source, &path, LOCATE_KEY, "unknown key; did you mean \"%s\"?",
                           suggestion);
    }
    const bool is_top = object->bases[KEY_SCOPE_ROOT] != NULL;
    if (is_top && section == NULL && key_find(KEY_SCOPE_POOL, NULL, name) != NULL) {
        return source_fail(object->source, &path, LOCATE_KEY,
                           "belongs into an entry of \"pools\", since there is one");
    }
    return source_fail(object->source, &path, LOCATE_KEY,
                       "unknown key; everwarm --help-config lists them");
}

static void warn_once(struct config *config, const struct locate_path *path, const char *note)
{
    char text[CONFIG_TEXT_BYTES_MAX];
    char where[CONFIG_TEXT_BYTES_MAX / 2];
    locate_format(path, where, sizeof(where));
    (void)snprintf(text, sizeof(text), "%s: %s", where, note);
    source_warn(config, "%s", text);
}

static enum status read_member(struct object *object, const char *section, const char *name,
                               const json_t *value)
{
    for (unsigned scope = 0; scope < KEY_SCOPE_COUNT; scope++) {
        const struct key *key = key_find((enum key_scope)scope, section, name);
        if (object->bases[scope] == NULL || key == NULL) {
            continue;
        }
        struct locate_path path = locate_with_key(object->path, section);
        path = locate_with_key(path, name);
        if (key->type == KEY_TYPE_ARRAY) {
            return STATUS_OK; /* its own function reads it */
        }
        char why[KEY_WHY_BYTES_MAX];
        if (key_set_json(key, value, object->bases[scope], why) != STATUS_OK) {
            return source_fail(object->source, &path, LOCATE_VALUE, "%s", why);
        }
        key_given((enum key_scope)scope, object->bases[scope])->file |= key_bit(key);
        if (key->note != NULL && !json_is_null(value)) {
            warn_once(object->config, &path, key->note);
        }
        return STATUS_OK;
    }
    return fail_unknown(object, section, name);
}

static bool is_section(const struct object *object, const char *name)
{
    for (unsigned scope = 0; scope < KEY_SCOPE_COUNT; scope++) {
        if (object->bases[scope] != NULL && key_is_section((enum key_scope)scope, name)) {
            return true;
        }
    }
    return false;
}

static enum status read_section(struct object *object, const char *section, json_t *members)
{
    if (!json_is_object(members)) {
        const struct locate_path path = locate_with_key(object->path, section);
        return source_fail(object->source, &path, LOCATE_VALUE, "must be an object, not %s",
                           key_json_type(members));
    }
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(members, name, value)
    {
        const enum status status = read_member(object, section, name, value);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status read_object(struct object *object)
{
    const char *name = NULL;
    json_t *value = NULL;
    json_object_foreach(object->json, name, value)
    {
        const enum status status = is_section(object, name)
                                       ? read_section(object, name, value)
                                       : read_member(object, NULL, name, value);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

/* The length of OBJECT's array NAME into COUNT, when it is one and not too long. */
static enum status count_array(const struct object *object, const char *name, size_t max,
                               size_t *count)
{
    const json_t *array = json_object_get(object->json, name);
    const struct locate_path path = locate_with_key(object->path, name);
    *count = json_array_size(array);
    if (array == NULL) {
        return source_fail(object->source, &path, LOCATE_VALUE, "is missing");
    }
    if (!json_is_array(array)) {
        return source_fail(object->source, &path, LOCATE_VALUE, "must be an array, not %s",
                           key_json_type(array));
    }
    if (*count == 0 || *count > max) {
        return source_fail(object->source, &path, LOCATE_VALUE,
                           "must have 1 to %zu entries, not %zu", max, *count);
    }
    return STATUS_OK;
}

/* Name a node that has no name by its address as written. */
static enum status name_by_address(const struct source *source, const struct locate_path *path,
                                   const char *address, struct config_node *node)
{
    const size_t len = strlen(address);
    if (len > NODE_NAME_BYTES_MAX) {
        return source_fail(source, path, LOCATE_VALUE,
                           "needs a \"name\": its address is longer than %d bytes",
                           NODE_NAME_BYTES_MAX);
    }
    memcpy(node->name, address, len + 1);
    return STATUS_OK;
}

static enum status set_address_only(const struct source *source, const struct locate_path *path,
                                    const char *flag, const char *address, struct config_node *node)
{
    const struct key *key = key_find(KEY_SCOPE_NODE, NULL, "address");
    char why[KEY_WHY_BYTES_MAX];
    if (key_set_text(key, address, node, why) != STATUS_OK) {
        return source_fail(source, path, LOCATE_VALUE, "%s%s", flag, why);
    }
    if (flag[0] == '\0') {
        node->given.file |= key_bit(key);
    } else {
        node->given.flag |= key_bit(key);
    }
    return name_by_address(source, path, address, node);
}

static enum status read_node(const struct object *pool, const struct locate_path *path,
                             json_t *json, struct config_node *node)
{
    key_set_defaults(KEY_SCOPE_NODE, node);
    if (json_is_string(json)) {
        return set_address_only(pool->source, path, "", json_string_value(json), node);
    }
    if (!json_is_object(json)) {
        return source_fail(pool->source, path, LOCATE_VALUE,
                           "must be an object or an address, not %s", key_json_type(json));
    }
    struct object object = {
        .source = pool->source, .config = pool->config, .json = json, .path = *path};
    object.bases[KEY_SCOPE_NODE] = node;
    const enum status status = read_object(&object);
    if (status != STATUS_OK) {
        return status;
    }
    if (node->address.kind == ADDRESS_NONE) {
        return source_fail(pool->source, path, LOCATE_VALUE, "has no \"address\"");
    }
    if (node->name[0] != '\0') {
        return STATUS_OK;
    }
    return name_by_address(pool->source, path, json_string_value(json_object_get(json, "address")),
                           node);
}

static enum status read_nodes(const struct object *object, struct config_pool *pool)
{
    enum status status = count_array(object, "nodes", NODES_MAX, &pool->node_count);
    const json_t *nodes = json_object_get(object->json, "nodes");
    const struct locate_path path = locate_with_key(object->path, "nodes");
    for (size_t i = 0; status == STATUS_OK && i < pool->node_count; i++) {
        const struct locate_path node_path = locate_with_index(path, i);
        status = read_node(object, &node_path, json_array_get(nodes, i), &pool->nodes[i]);
    }
    return status;
}

static enum status read_pool(const struct object *root, size_t index, json_t *json)
{
    struct config_pool *pool = &root->config->pools[index];
    struct object object = {.source = root->source,
                            .config = root->config,
                            .json = json,
                            .path = source_pool_path(root->source, index)};
    object.bases[KEY_SCOPE_POOL] = pool;
    if (!json_is_object(json)) {
        return source_fail(root->source, &object.path, LOCATE_VALUE, "must be an object, not %s",
                           key_json_type(json));
    }
    const enum status status = read_object(&object);
    return status == STATUS_OK ? read_nodes(&object, pool) : status;
}

static enum status read_pools(struct object *root)
{
    struct config *config = root->config;
    enum status status = count_array(root, "pools", POOLS_MAX, &config->pool_count);
    const json_t *pools = json_object_get(root->json, "pools");
    for (size_t i = 0; status == STATUS_OK && i < config->pool_count; i++) {
        read_begin_pool(config, i);
        status = read_pool(root, i, json_array_get(pools, i));
    }
    return status;
}

static enum status read_root(struct source *source, struct config *config, json_t *json)
{
    struct object root = {.source = source, .config = config, .json = json};
    root.bases[KEY_SCOPE_ROOT] = config;
    source->is_flat = json_object_get(json, "pools") == NULL;
    if (!json_is_object(json)) {
        return source_fail(source, &root.path, LOCATE_VALUE,
                           "a configuration is an object, { ... }, not %s", key_json_type(json));
    }
    if (source->is_flat) {
        config->pool_count = 1;
        read_begin_pool(config, 0);
        root.bases[KEY_SCOPE_POOL] = &config->pools[0];
    }
    const enum status status = read_object(&root);
    if (status != STATUS_OK) {
        return status;
    }
    return source->is_flat ? read_nodes(&root, &config->pools[0]) : read_pools(&root);
}

static enum status fail_syntax(const struct source *source, const json_error_t *wrong)
{
    const bool is_memory = json_error_code(wrong) == json_error_out_of_memory;
    source_set_error(source->error, source->path, "%s", is_memory ? "out of memory" : wrong->text);
    if (is_memory) {
        return STATUS_NO_MEMORY;
    }
    source->error->line = wrong->line > 0 ? (size_t)wrong->line : 1;
    source->error->column = wrong->column > 0 ? (size_t)wrong->column : 1;
    return STATUS_BAD_CONFIG;
}

enum status read_text(struct source *source, struct config *config)
{
    locate_blank_comments(source->text, source->len);
    json_error_t wrong;
    json_t *json =
        json_loadb(source->text, source->len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &wrong);
    if (json == NULL) {
        return fail_syntax(source, &wrong);
    }
    const enum status status = read_root(source, config, json);
    json_decref(json);
    return status;
}

void read_begin_pool(struct config *config, size_t pool)
{
    key_set_defaults(KEY_SCOPE_POOL, &config->pools[pool]);
}

enum status read_append_node(const struct source *source, struct config *config, const char *flag,
                             const char *address)
{
    struct config_pool *pool = &config->pools[0];
    INVARIANT(pool->node_count < NODES_MAX);
    struct config_node *node = &pool->nodes[pool->node_count++];
    key_set_defaults(KEY_SCOPE_NODE, node);
    char prefix[16];
    (void)snprintf(prefix, sizeof(prefix), "%s ", flag);
    const struct locate_path top = {.count = 0};
    return set_address_only(source, &top, prefix, address, node);
}
