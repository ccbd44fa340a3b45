/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The pools of the configuration while the proxy runs. Each is known by its name. One that the
 * configuration has anew comes as at a start; one that it has no more takes no new clients, answers
 * what was asked, says farewell and is forgotten. Its nodes are another pool's only after that: two
 * pools at one memcached would write past each other.
 */
#include "clock.h"
#include "control_port_private.h"
#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t control_port_pool_of(const struct control_port *port, const char *name)
{
    uint32_t index = 0;
    while (index < port->pool_count && strcmp(port->config->pools[index].name, name) != 0) {
        index++;
    }
    return index;
}

/* A pool that stands somewhere and has a node at ADDRESS; NULL: none. */
static const char *owner_of(struct control_port *port, const char *address)
{
    const char *owner = NULL;
    (void)pthread_mutex_lock(&port->mutex);
    for (uint32_t place = 0; place < POOLS_MAX && owner == NULL; place++) {
        const struct pool *pool = &port->parts.pools->places[place];
        const struct control_snapshot *control = &port->pools[place].control;
        if (!atomic_load(&pool->is_taken)) {
            continue;
        }
        for (node_set left = control->members; left != 0; left &= left - 1) {
            if (strcmp(control->nodes[node_set_first(left)].address, address) == 0) {
                owner = pool->config.name;
            }
        }
    }
    (void)pthread_mutex_unlock(&port->mutex);
    return owner;
}

static enum status check_nodes(struct control_port *port, const struct config_pool *config,
                               struct socket_error *error)
{
    for (size_t i = 0; i < config->node_count; i++) {
        char address[VIEW_ADDRESS_BYTES_MAX + 1];
        char wrong[SOCKET_ERROR_BYTES_MAX];
        const struct config_node *node = &config->nodes[i];
        const enum status status =
            control_port_resolve(&node->address, address, wrong, sizeof(wrong));
        if (status != STATUS_OK) {
            (void)snprintf(error->text, sizeof(error->text), "node %s: %.400s", node->name, wrong);
            return status;
        }
        const char *owner = owner_of(port, address);
        if (owner != NULL) {
            (void)snprintf(error->text, sizeof(error->text),
                           "pool %s can't have node %s yet: it is pool %s's; take that out first, "
                           "and reload again when it has gone",
                           config->name, node->name, owner);
            return STATUS_BAD_CONFIG;
        }
    }
    return STATUS_OK;
}

/* Give each pool its place, a new one where it is new. */
static enum status find_places(struct control_port *port, struct pools_plan *plan,
                               struct socket_error *error)
{
    const struct config *config = plan->config;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < config->pool_count && status == STATUS_OK; i++) {
        if (control_port_pool_of(port, config->pools[i].name) == port->pool_count) {
            status = check_nodes(port, &config->pools[i], error);
        }
    }
    for (size_t i = 0; i < config->pool_count && status == STATUS_OK; i++) {
        const uint32_t index = control_port_pool_of(port, config->pools[i].name);
        if (index < port->pool_count) {
            plan->places[i] = port->places[index];
        } else {
            status = pools_take(port->parts.pools, &config->pools[i], (uint32_t)config->pool_count,
                                &plan->places[i], error);
            plan->is_new[i] = status == STATUS_OK;
        }
    }
    return status;
}

/* The places of pools that PLAN has no more. */
static uint32_t find_leavers(const struct control_port *port, const struct pools_plan *plan)
{
    uint32_t leavers = 0;
    for (uint32_t i = 0; i < port->pool_count; i++) {
        leavers |= 1u << port->places[i];
    }
    for (size_t i = 0; i < plan->config->pool_count; i++) {
        leavers &= ~(1u << plan->places[i]);
    }
    return leavers;
}

/* What its verifies found is still told in sums. Under the mutex. */
static void let_go(struct control_port *port, uint32_t place)
{
    const struct control_snapshot *control = &port->pools[place].control;
    for (uint32_t kind = 0; kind < VERIFY_KIND_COUNT; kind++) {
        port->gone_divergences += control->divergences[kind];
    }
    port->gone_repairs += control->repairs;
}

static void tell(struct control_port *port, const struct pools_plan *plan, uint32_t leavers)
{
    for (size_t i = 0; i < plan->config->pool_count; i++) {
        if (plan->is_new[i]) {
            control_port_tell(port, TRACE_POOL_ADDED, 0, plan->config->pools[i].name);
        }
    }
    for (uint32_t place = 0; place < POOLS_MAX; place++) {
        if ((leavers >> place & 1u) != 0) {
            control_port_tell(port, TRACE_POOL_REMOVED, 0,
                              port->parts.pools->places[place].config.name);
        }
    }
}

static void commit(struct control_port *port, struct pools_plan *plan, struct config *aligned)
{
    const uint32_t leavers = find_leavers(port, plan);
    tell(port, plan, leavers);
    (void)pthread_mutex_lock(&port->mutex);
    for (uint32_t place = 0; place < POOLS_MAX; place++) {
        if ((leavers >> place & 1u) != 0) {
            let_go(port, place);
        }
    }
    for (size_t i = 0; i < plan->config->pool_count; i++) {
        if (plan->is_new[i]) {
            control_port_begin_pool(port, plan->places[i]);
        }
    }
    memcpy(port->places, plan->places, sizeof(port->places));
    port->pool_count = (uint32_t)plan->config->pool_count;
    (void)pthread_mutex_unlock(&port->mutex);
    memcpy(port->config, aligned, sizeof(*aligned));
    pools_commit(port->parts.pools, plan, leavers);
    for (uint32_t place = 0; place < POOLS_MAX; place++) {
        if ((leavers >> place & 1u) != 0) {
            task_table_end_pool(&port->tasks, port->parts.pools->places[place].id, clock_mono_us());
        }
    }
}

enum status control_port_follow_pools(struct control_port *port, const struct config *fresh,
                                      struct port_reload *out)
{
    struct socket_error error = {.text = "out of memory"};
    enum status status = STATUS_NO_MEMORY;
    struct config *aligned = malloc(sizeof(*aligned));
    struct pools_plan *plan = calloc(1, sizeof(*plan));
    if (aligned != NULL && plan != NULL) {
        plan->config = fresh;
        diff_align_pools(port->config, fresh, aligned);
        status = find_places(port, plan, &error);
        if (status == STATUS_OK) {
            status = pools_prepare(port->parts.pools, plan, &error);
        }
        if (status == STATUS_OK) {
            commit(port, plan, aligned);
        } else {
            pools_undo(port->parts.pools, plan);
        }
    }
    if (status != STATUS_OK) {
        (void)snprintf(out->error.message, sizeof(out->error.message), "%s", error.text);
        status = status == STATUS_NO_MEMORY ? status : STATUS_BAD_CONFIG;
    }
    free(plan);
    free(aligned);
    return status;
}
