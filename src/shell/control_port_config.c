/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration in effect: as at the start, but for the keys that may change meanwhile (is_live
 * in src/config/key.c). Those that threads go by travel to them by their mailboxes; nobody reads
 * this copy but who shows or changes it, under the reload mutex.
 */
#include "clock.h"
#include "control_port_private.h"
#include "everwarm/base/invariant.h"
#include "everwarm/shell/log.h"
#include "pool_limits.h"
#include "trace_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void control_port_tell(struct control_port *port, enum trace_type type, uint64_t a,
                       const char *detail)
{
    struct trace_event event = {
        .type = type,
        .node = TRACE_NO_NODE,
        .proxy = TRACE_NO_PROXY,
        .at_us = clock_mono_us(),
        .a = a,
    };
    (void)snprintf(event.detail, sizeof(event.detail), "%s", detail);
    trace_log_write(NULL, &event);
    control_port_trace(port, PORT_NO_POOL, &event);
}

void control_port_set_loader(struct control_port *port, port_load *load, void *closure,
                             const char *path)
{
    port->load = load;
    port->load_closure = closure;
    port->load_path = path;
}

void control_port_post_limits(struct control_port *port, uint32_t index)
{
    const struct config_pool *pool = &port->config->pools[index];
    const uint32_t place = port->places[index];
    atomic_store(&port->parts.pools->places[place].request_timeout_us, pool->request_timeout_us);
    struct worker_message message = {
        .type = WORKER_LIMITS,
        .pool = place,
        .client_stall_us = port->config->client_stall_us,
        .limits = pool_limits_dataplane(port->config, pool),
    };
    for (uint32_t i = 0; i < port->parts.config->threads_count; i++) {
        const enum status status = worker_post(port->parts.workers[i], &message);
        INVARIANT(status == STATUS_OK);
    }
    struct inbox_message to_control = {
        .type = INBOX_LIMITS,
        .pool = place,
        .limits = pool_limits_control(pool),
    };
    const enum status status = mailbox_post(port->parts.inbox, &to_control, 0);
    INVARIANT(status == STATUS_OK);
}

static void count_applied(struct port_reload *out)
{
    for (size_t i = 0; i < out->change_count && i < DIFF_CHANGES_MAX; i++) {
        out->applied_count += out->changes[i].is_live;
    }
}

/*
 * Take over FRESH's pools and live keys: what may fail comes first, and then nothing has changed.
 * Under the reload mutex.
 */
static enum status put_in_effect(struct control_port *port, const struct config *fresh,
                                 struct port_reload *out)
{
    const enum status status = control_port_follow_pools(port, fresh, out);
    if (status != STATUS_OK) {
        return status;
    }
    diff_take_live(port->config, fresh);
    count_applied(out);
    if (out->applied_count > 0) {
        log_configure(port->config->log_format, port->config->log_level);
        atomic_store(&port->parts.clients->max, port->config->max_clients_count);
        for (uint32_t i = 0; i < port->pool_count; i++) {
            control_port_post_limits(port, i);
        }
    }
    return STATUS_OK;
}

/* How it went in figures, in the log and in the stream. */
static void tell_reloaded(struct control_port *port, const struct port_reload *reload)
{
    (void)pthread_mutex_lock(&port->mutex);
    port->config_epoch += reload->applied_count > 0;
    (void)pthread_mutex_unlock(&port->mutex);
    control_port_tell(port, TRACE_CONFIG_RELOADED, reload->applied_count,
                      reload->refused_count > 0                      ? reload->note
                      : reload->applied_count < reload->change_count ? "some changes take a restart"
                                                                     : "");
}

static void count_reload(struct control_port *port, enum status status)
{
    (void)pthread_mutex_lock(&port->mutex);
    port->reloads_ok += status == STATUS_OK;
    port->reloads_failed += status != STATUS_OK;
    (void)pthread_mutex_unlock(&port->mutex);
}

/* All but the sets of nodes, which are a matter of their own. */
static enum status add_other_changes(struct control_port *port, const struct config *fresh,
                                     struct port_reload *out)
{
    struct config *same_nodes = malloc(sizeof(*same_nodes));
    if (same_nodes == NULL) {
        (void)snprintf(out->error.message, sizeof(out->error.message), "out of memory");
        return STATUS_NO_MEMORY;
    }
    diff_align_pools(port->config, fresh, same_nodes);
    for (size_t i = 0; i < fresh->pool_count; i++) {
        if (!diff_has_same_nodes(&same_nodes->pools[i], &fresh->pools[i])) {
            same_nodes->pools[i].node_count = fresh->pools[i].node_count;
            memcpy(same_nodes->pools[i].nodes, fresh->pools[i].nodes,
                   sizeof(same_nodes->pools[i].nodes));
        }
    }
    out->change_count = diff_pools(port->config, fresh, out->changes, DIFF_CHANGES_MAX);
    const size_t room =
        out->change_count < DIFF_CHANGES_MAX ? DIFF_CHANGES_MAX - out->change_count : 0;
    out->change_count +=
        diff_configs(same_nodes, fresh, out->changes + (DIFF_CHANGES_MAX - room), room);
    config_destroy(&same_nodes);
    return STATUS_OK;
}

enum status control_port_reload(struct control_port *port, struct port_reload *out)
{
    struct config *fresh = NULL;
    *out = (struct port_reload){.change_count = 0};
    if (port->load == NULL) {
        return STATUS_NOT_FOUND;
    }
    (void)pthread_mutex_lock(&port->reload_mutex);
    enum status status = port->load(port->load_closure, &fresh, &out->error);
    if (status == STATUS_OK) {
        status = add_other_changes(port, fresh, out);
    }
    if (status == STATUS_OK) {
        status = put_in_effect(port, fresh, out);
    }
    if (status == STATUS_OK) {
        control_port_follow_nodes(port, fresh, out);
        tell_reloaded(port, out);
    } else {
        out->change_count = 0;
        control_port_tell(port, TRACE_CONFIG_REFUSED, 0, out->error.message);
    }
    config_destroy(&fresh);
    count_reload(port, status);
    (void)pthread_mutex_unlock(&port->reload_mutex);
    return status;
}

/* Whether nothing in it takes a restart, or has a call of its own. */
static enum status refuse_others(const struct control_port *port, const struct config *fresh,
                                 struct port_reload *out)
{
    for (size_t i = 0; i < out->change_count && i < DIFF_CHANGES_MAX; i++) {
        if (!out->changes[i].is_live) {
            (void)snprintf(out->error.message, sizeof(out->error.message), "%s takes a restart",
                           out->changes[i].path);
            return STATUS_BAD_CONFIG;
        }
    }
    for (size_t i = 0; i < fresh->pool_count; i++) {
        const uint32_t at = control_port_pool_of(port, fresh->pools[i].name);
        if (at < port->pool_count &&
            !diff_has_same_nodes(&port->config->pools[at], &fresh->pools[i])) {
            (void)snprintf(out->error.message, sizeof(out->error.message),
                           "nodes come by POST /v1/nodes, and go by DELETE /v1/nodes/NAME");
            return STATUS_BAD_CONFIG;
        }
    }
    return STATUS_OK;
}

enum status control_port_apply(struct control_port *port, struct config **fresh,
                               struct port_reload *out)
{
    *out = (struct port_reload){.change_count = 0};
    (void)pthread_mutex_lock(&port->reload_mutex);
    enum status status = add_other_changes(port, *fresh, out);
    if (status == STATUS_OK) {
        status = refuse_others(port, *fresh, out);
    }
    if (status == STATUS_OK) {
        status = put_in_effect(port, *fresh, out);
    }
    if (status == STATUS_OK) {
        tell_reloaded(port, out);
    }
    (void)pthread_mutex_unlock(&port->reload_mutex);
    config_destroy(fresh);
    return status;
}

enum status control_port_config(struct control_port *port, struct config **out)
{
    *out = malloc(sizeof(**out));
    if (*out == NULL) {
        return STATUS_NO_MEMORY;
    }
    (void)pthread_mutex_lock(&port->reload_mutex);
    **out = *port->config;
    (void)pthread_mutex_unlock(&port->reload_mutex);
    return STATUS_OK;
}
