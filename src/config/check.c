/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each check says which sentence of the design it keeps, and names the value that is nearest to
 * right. Source: replication.md section 4 ("Lease", "Round"), architecture.md "Memory" 5,
 * interfaces.md section 4 (the gate).
 */
#include "check.h"

#include "everwarm/base/limits.h"
#include "everwarm/config/config.h"
#include "everwarm/config/value.h"
#include "source.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    /* A heartbeat may be lost, and the next one late, without the proxy stopping. */
    LEASE_INTERVALS_MIN = 3,
    LEASE_INTERVALS_DEFAULT = 5,
    /* What a change of view takes once the lease is over: a round that sees it, and one in which
     * all have joined. */
    JOIN_INTERVALS = 2,
    ITEMS_PER_WORKER_MIN = 4,
};

static struct locate_path path_of(struct locate_path path, const char *section, const char *name)
{
    return locate_with_key(locate_with_key(path, section), name);
}

static uint32_t core_count(void)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores < 1) {
        return 1;
    }
    return cores > WORKERS_MAX ? WORKERS_MAX : (uint32_t)cores;
}

static void complete(struct config *config)
{
    if (config->threads_count == 0) {
        config->threads_count = core_count();
    }
    for (size_t i = 0; i < config->pool_count; i++) {
        struct config_pool *pool = &config->pools[i];
        if (pool->lease_us == 0) {
            pool->lease_us = LEASE_INTERVALS_DEFAULT * pool->health_interval_us;
        }
        if (pool->health_timeout_us == 0) {
            pool->health_timeout_us = pool->health_interval_us / 2;
        }
    }
}

static enum status check_times(const struct source *source, const struct config_pool *pool,
                               struct locate_path at)
{
    char limit[VALUE_TEXT_BYTES_MAX];
    const uint64_t interval_us = pool->health_interval_us;
    if (pool->health_timeout_us > interval_us / 2) {
        const struct locate_path path = path_of(at, "health", "timeout");
        value_format(interval_us / 2, VALUE_UNIT_DURATION, limit);
        return source_fail(source, &path, LOCATE_VALUE,
                           "must be at most half of health.interval, %s", limit);
    }
    if (pool->lease_us < LEASE_INTERVALS_MIN * interval_us) {
        const struct locate_path path = path_of(at, "health", "lease");
        value_format(LEASE_INTERVALS_MIN * interval_us, VALUE_UNIT_DURATION, limit);
        return source_fail(source, &path, LOCATE_VALUE, "must be at least %d x health.interval, %s",
                           LEASE_INTERVALS_MIN, limit);
    }
    const uint64_t needed_us = pool->lease_us + JOIN_INTERVALS * interval_us;
    if (pool->request_timeout_us <= needed_us) {
        const struct locate_path path = path_of(at, "timeouts", "request");
        value_format(needed_us, VALUE_UNIT_DURATION, limit);
        return source_fail(source, &path, LOCATE_VALUE,
                           "must be above health.lease + %d x health.interval, %s: a request waits "
                           "for the others to agree when a proxy or node is lost",
                           JOIN_INTERVALS, limit);
    }
    if (pool->connect_timeout_us >= pool->request_timeout_us) {
        const struct locate_path path = path_of(at, "timeouts", "connect");
        return source_fail(source, &path, LOCATE_VALUE, "must be below timeouts.request");
    }
    return STATUS_OK;
}

/* Names stand in text lines, URLs, lists and metric labels: graphic ASCII without quoting. */
static bool is_node_name(const char *name)
{
    for (const char *c = name; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f || strchr("\"\\,", *c) != NULL) {
            return false;
        }
    }
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* The pool's name is part of its reserved keys, where ':' separates. */
static bool is_pool_name(const char *name)
{
    const size_t good = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "0123456789._-");
    return good > 0 && name[good] == '\0';
}

static enum status check_node(const struct source *source, const struct config_node *node,
                              struct locate_path at)
{
    if (!is_node_name(node->name)) {
        const struct locate_path path = locate_with_key(at, "name");
        return source_fail(source, &path, LOCATE_VALUE,
                           "a node's name has no spaces, commas, quotes, backslashes or characters "
                           "beyond ASCII, and is not \".\" or \"..\"");
    }
    if (!is_node_name(node->zone)) {
        const struct locate_path path = locate_with_key(at, "zone");
        return source_fail(source, &path, LOCATE_VALUE,
                           "a zone has no spaces, commas, quotes, backslashes or characters beyond "
                           "ASCII");
    }
    if (node->address.kind == ADDRESS_TCP && node->address.port == 0) {
        const struct locate_path path = locate_with_key(at, "address");
        return source_fail(source, &path, LOCATE_VALUE, "a node's port can't be 0");
    }
    return STATUS_OK;
}

/* Two names for one memcached, or two memcacheds of one name: among all nodes before this one. */
static enum status check_unique_node(const struct source *source, const struct config *config,
                                     size_t pool, size_t index)
{
    const struct config_node *node = &config->pools[pool].nodes[index];
    struct locate_path at = locate_with_key(source_pool_path(source, pool), "nodes");
    at = locate_with_index(at, index);
    for (size_t p = 0; p <= pool; p++) {
        const size_t count = p == pool ? index : config->pools[p].node_count;
        for (size_t n = 0; n < count; n++) {
            const struct config_node *other = &config->pools[p].nodes[n];
            if (address_is_equal(&other->address, &node->address)) {
                const struct locate_path path = locate_with_key(at, "address");
                return source_fail(source, &path, LOCATE_VALUE,
                                   "is the address of node \"%s\" too; a memcached is one node of "
                                   "one pool",
                                   other->name);
            }
            if (strcmp(other->name, node->name) == 0) {
                const struct locate_path path = locate_with_key(at, "name");
                return source_fail(source, &path, LOCATE_VALUE,
                                   "another node is called \"%s\" too; names are unique over all "
                                   "pools",
                                   node->name);
            }
        }
    }
    return check_node(source, node, at);
}

/* An address that an earlier pool listens on, or that admin does. */
static const char *taken_by(const struct config *config, size_t pool, const struct address *address)
{
    if (address_is_clash(address, &config->admin_listen)) {
        return "admin";
    }
    for (size_t p = 0; p < pool; p++) {
        for (size_t i = 0; i < config->pools[p].listen.count; i++) {
            if (address_is_clash(address, &config->pools[p].listen.items[i])) {
                return config->pools[p].name;
            }
        }
    }
    return NULL;
}

/* The top-level listeners come before the first pool's own. */
static enum status merge_listeners(const struct source *source, struct config *config)
{
    struct address_list own = config->pools[0].listen;
    struct address_list *all = &config->pools[0].listen;
    const struct locate_path path = locate_with_key(source_pool_path(source, 0), "listen");
    *all = config->listen;
    for (size_t i = 0; i < own.count; i++) {
        for (size_t j = 0; j < config->listen.count; j++) {
            if (address_is_clash(&own.items[i], &all->items[j])) {
                return source_fail(source, &path, LOCATE_VALUE,
                                   "has an address of the top-level \"listen\", which serves the "
                                   "first pool");
            }
        }
        if (all->count == LISTENERS_MAX) {
            return source_fail(source, &path, LOCATE_VALUE,
                               "more than %d addresses with the top-level \"listen\"",
                               LISTENERS_MAX);
        }
        all->items[all->count++] = own.items[i];
    }
    return STATUS_OK;
}

static enum status check_listeners(const struct source *source, const struct config *config,
                                   size_t index)
{
    const struct config_pool *pool = &config->pools[index];
    const struct locate_path path = locate_with_key(source_pool_path(source, index), "listen");
    if (pool->listen.count == 0) {
        return source_fail(source, &path, LOCATE_VALUE,
                           "pool \"%s\" listens nowhere; give it an address", pool->name);
    }
    for (size_t i = 0; i < pool->listen.count; i++) {
        const char *taken = taken_by(config, index, &pool->listen.items[i]);
        if (taken != NULL) {
            char text[ADDRESS_TEXT_BYTES_MAX];
            address_format(&pool->listen.items[i], text);
            return source_fail(source, &path, LOCATE_VALUE, "%s is what \"%s\" listens on too",
                               text, taken);
        }
    }
    return STATUS_OK;
}

static enum status check_pool(const struct source *source, const struct config *config,
                              size_t index)
{
    const struct config_pool *pool = &config->pools[index];
    const struct locate_path at = source_pool_path(source, index);
    const struct locate_path name_path = locate_with_key(at, "name");
    if (!is_pool_name(pool->name)) {
        return source_fail(source, &name_path, LOCATE_VALUE,
                           "a pool's name has only letters, digits, '.', '-' and '_'");
    }
    for (size_t i = 0; i < index; i++) {
        if (strcmp(config->pools[i].name, pool->name) == 0) {
            return source_fail(source, &name_path, LOCATE_VALUE,
                               "another pool is called \"%s\" too", pool->name);
        }
    }
    for (size_t i = 0; i < pool->node_count; i++) {
        const enum status status = check_unique_node(source, config, index, i);
        if (status != STATUS_OK) {
            return status;
        }
    }
    const enum status status = check_listeners(source, config, index);
    return status == STATUS_OK ? check_times(source, pool, at) : status;
}

static enum status check_memory(const struct source *source, const struct config *config)
{
    const struct locate_path top = {.count = 0};
    const uint64_t needed_bytes = ITEMS_PER_WORKER_MIN * config->item_bytes * config->threads_count;
    char limit[VALUE_TEXT_BYTES_MAX];
    if (config->memory_bytes < needed_bytes) {
        const struct locate_path path = path_of(top, "limits", "memory");
        value_format(needed_bytes, VALUE_UNIT_SIZE, limit);
        return source_fail(source, &path, LOCATE_VALUE,
                           "must hold %d items (limits.item) for each of %" PRIu32
                           " threads: at least %s",
                           ITEMS_PER_WORKER_MIN, config->threads_count, limit);
    }
    if (config->client_output_bytes < config->item_bytes) {
        const struct locate_path path = path_of(top, "limits", "client_output");
        value_format(config->item_bytes, VALUE_UNIT_SIZE, limit);
        return source_fail(source, &path, LOCATE_VALUE,
                           "must hold one item (limits.item): at least %s", limit);
    }
    return STATUS_OK;
}

static enum status check_admin(const struct source *source, const struct config *config)
{
    const struct locate_path top = {.count = 0};
    if (!address_is_loopback(&config->admin_listen) && config->admin_tokens[0] == '\0') {
        const struct locate_path path = path_of(top, "admin", "listen");
        char text[ADDRESS_TEXT_BYTES_MAX];
        address_format(&config->admin_listen, text);
        return source_fail(source, &path, LOCATE_VALUE,
                           "%s can be reached from outside, and without tokens anyone there could "
                           "drain nodes; use 127.0.0.1 or [::1], or set admin.tokens",
                           text);
    }
    if (config->admin_socket[0] != '\0' && config->admin_socket[0] != '/') {
        const struct locate_path path = path_of(top, "admin", "socket");
        return source_fail(source, &path, LOCATE_VALUE, "must be an absolute path");
    }
    if (config->admin_tokens[0] != '\0' && config->admin_tokens[0] != '/') {
        const struct locate_path path = path_of(top, "admin", "tokens");
        return source_fail(source, &path, LOCATE_VALUE, "must be an absolute path");
    }
    if (config->state_file[0] != '\0' && config->state_file[0] != '/') {
        const struct locate_path path = locate_with_key(top, "state_file");
        return source_fail(source, &path, LOCATE_VALUE, "must be an absolute path");
    }
    return STATUS_OK;
}

enum status check_complete(const struct source *source, struct config *config)
{
    complete(config);
    enum status status = merge_listeners(source, config);
    if (status == STATUS_OK) {
        status = check_memory(source, config);
    }
    if (status == STATUS_OK) {
        status = check_admin(source, config);
    }
    for (size_t i = 0; status == STATUS_OK && i < config->pool_count; i++) {
        status = check_pool(source, config, i);
    }
    return status;
}
