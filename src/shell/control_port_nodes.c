/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The nodes of the configuration while the proxy runs. The view says which nodes a pool has, so a
 * file is never compared with it: what an edit of the file changed, since it was read last, is said
 * to the pool as an operator would say it. What comes of that is taken for read; what was refused
 * is said again by the next reload.
 */
#include "control_port_private.h"
#include "edit_file.h"
#include "everwarm/base/invariant.h"
#include "everwarm/shell/log.h"

#include <stdio.h>
#include <string.h>

enum {
    /* Beyond what control itself waits for: its mailbox, its turn, and ours. */
    COMMAND_GRACE_MS = 1000,
    /* Of a pool that takes longer to agree nothing more is asked. */
    COMMAND_TIMEOUT_MS_MAX = 5000,
};

static const char LATE[] = "not in effect in time";

static const char *result_text(enum control_result result)
{
    switch (result) {
    case CONTROL_RESULT_OK:
    case CONTROL_RESULT_UNCHANGED:
        return "done";
    case CONTROL_RESULT_LAST_COPY:
        return "no readable copy would be left";
    case CONTROL_RESULT_TIMEOUT:
        return LATE;
    case CONTROL_RESULT_STARTING:
        return "the proxy has no view of the pool yet";
    case CONTROL_RESULT_BUSY:
        return "busy";
    case CONTROL_RESULT_FULL:
        return "no place is free";
    case CONTROL_RESULT_TAKEN:
        return "another node has its address";
    case CONTROL_RESULT_FOREIGN:
        return "it serves another pool";
    case CONTROL_RESULT_SILENT:
        return "it does not answer";
    case CONTROL_RESULT_LONE:
        return "a pool of one node stays so until a restart";
    case CONTROL_RESULT_LAST_TWO:
        return "a pool keeps two nodes";
    }
    UNREACHABLE();
}

/* Say it to the pool. NULL: it holds; else why not. */
static const char *command(struct control_port *port, struct control_port_request *asked)
{
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    const struct pool *pool = &port->parts.pools->places[asked->pool % POOLS_MAX];
    const uint64_t timeout_ms = atomic_load(&pool->request_timeout_us) / 1000 + COMMAND_GRACE_MS;
    asked->timeout_ms =
        (uint32_t)(timeout_ms < COMMAND_TIMEOUT_MS_MAX ? timeout_ms : COMMAND_TIMEOUT_MS_MAX);
    if (control_port_command(port, asked, &result) != STATUS_OK) {
        return "too many commands are under way";
    }
    return result == CONTROL_RESULT_OK || result == CONTROL_RESULT_UNCHANGED ? NULL
                                                                             : result_text(result);
}

static const char *come(struct control_port *port, uint32_t pool, const struct config_node *node)
{
    static char wrong[256]; /* under the reload mutex */
    struct control_port_request asked = {
        .pool = port->parts.pools->places[port->places[pool]].id,
        .type = CONTROL_COMMAND_ADD,
    };
    if (control_port_resolve(&node->address, asked.address, wrong, sizeof(wrong)) != STATUS_OK) {
        return wrong;
    }
    (void)snprintf(asked.name, sizeof(asked.name), "%s", node->name);
    return command(port, &asked);
}

static const char *go(struct control_port *port, const struct config_node *node)
{
    struct control_port_request asked = {.type = CONTROL_COMMAND_REMOVE};
    if (!control_port_find_node(port, node->name, &asked.pool, &asked.node)) {
        return NULL; /* somebody else was quicker */
    }
    return command(port, &asked);
}

/* Set or take out a node of the configuration as it was read. */
static void take(struct config_pool *pool, const char *name, const struct config_node *fresh)
{
    size_t at = 0;
    while (at < pool->node_count && strcmp(pool->nodes[at].name, name) != 0) {
        at++;
    }
    if (fresh != NULL && at < NODES_MAX) {
        pool->nodes[at] = *fresh;
        pool->node_count += at == pool->node_count;
    } else if (fresh == NULL && at < pool->node_count) {
        pool->node_count--;
        memmove(&pool->nodes[at], &pool->nodes[at + 1],
                (pool->node_count - at) * sizeof(pool->nodes[0]));
    }
}

static void quote(const struct config_node *node, char out[DIFF_VALUE_BYTES_MAX])
{
    char address[ADDRESS_TEXT_BYTES_MAX];
    (void)snprintf(out, DIFF_VALUE_BYTES_MAX, "null");
    if (node != NULL) {
        address_format(&node->address, address);
        (void)snprintf(out, DIFF_VALUE_BYTES_MAX, "\"%.120s\"", address);
    }
}

/* FROM or TO may be NULL; WHY too: it was done. */
static void note(struct port_reload *out, const struct config_node *from,
                 const struct config_node *to, const char *why)
{
    const char *name = from != NULL ? from->name : to->name;
    if (out->change_count < DIFF_CHANGES_MAX) {
        struct diff_change *change = &out->changes[out->change_count];
        *change = (struct diff_change){.is_live = why == NULL};
        (void)snprintf(change->path, sizeof(change->path), "nodes[%.50s]", name);
        quote(from, change->from);
        quote(to, change->to);
    }
    out->change_count++;
    if (why == NULL) {
        out->applied_count++;
        return;
    }
    if (out->refused_count++ == 0) {
        (void)snprintf(out->note, sizeof(out->note), "node %s was not %s: %.150s", name,
                       to == NULL ? "removed" : "added", why);
    }
    log_line(LOG_LEVEL_ERROR, "reload-node", LOG_TEXT("node", name),
             LOG_TEXT("wish", to == NULL ? "remove" : "add"), LOG_TEXT("why", why));
}

/* False: the pool does not agree in time, and more need not be tried. */
static bool follow_comers(struct control_port *port, uint32_t index,
                          const struct config_pool *fresh, struct port_reload *out)
{
    struct config_pool *read = &port->config->pools[index];
    for (size_t i = 0; i < fresh->node_count; i++) {
        const struct config_node *node = &fresh->nodes[i];
        const struct config_node *before = diff_find_node(read, node->name);
        if (before != NULL && address_is_equal(&before->address, &node->address)) {
            continue;
        }
        const char *why = come(port, index, node);
        note(out, before, node, why);
        if (why == LATE) {
            return false;
        }
        if (why == NULL) {
            take(read, node->name, node);
        }
    }
    return true;
}

static void follow_leavers(struct control_port *port, uint32_t index,
                           const struct config_pool *fresh, struct port_reload *out)
{
    struct config_pool *read = &port->config->pools[index];
    const char *why = NULL;
    for (size_t i = read->node_count; i > 0 && why != LATE; i--) {
        const struct config_node gone = read->nodes[i - 1];
        if (diff_find_node(fresh, gone.name) == NULL) {
            why = go(port, &gone);
            note(out, &gone, NULL, why);
            if (why == NULL) {
                take(read, gone.name, NULL);
            }
        }
    }
}

void control_port_follow_nodes(struct control_port *port, const struct config *fresh,
                               struct port_reload *out)
{
    for (uint32_t i = 0; i < port->pool_count; i++) {
        /* First who comes, so that their like may go. */
        if (follow_comers(port, i, &fresh->pools[i], out)) {
            follow_leavers(port, i, &fresh->pools[i], out);
        }
    }
}

enum status control_port_write_node(struct control_port *port, const struct edit_node *edit,
                                    struct config_error *error)
{
    if (port->load_path == NULL) {
        return STATUS_NOT_FOUND;
    }
    (void)pthread_mutex_lock(&port->reload_mutex);
    enum status status = edit_file(port->load_path, edit, error);
    struct config *fresh = NULL;
    if (status == STATUS_OK) {
        status = port->load(port->load_closure, &fresh, error);
    }
    const uint32_t at = control_port_pool_of(port, edit->pool);
    for (size_t i = 0; fresh != NULL && i < fresh->pool_count && at < port->pool_count; i++) {
        if (strcmp(fresh->pools[i].name, edit->pool) == 0) {
            take(&port->config->pools[at], edit->name,
                 diff_find_node(&fresh->pools[i], edit->name));
        }
    }
    config_destroy(&fresh);
    (void)pthread_mutex_unlock(&port->reload_mutex);
    return status;
}
