/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Puts the shell's parts together, in this order: nodes resolved, control port, workers, control
 * thread, listening sockets; then the threads. All threads end before the first part goes: workers
 * look at topologies that lie in control's memory, and post to each other and to control.
 */
#include "everwarm/shell/proxy.h"

#include "asks.h"
#include "control_thread.h"
#include "everwarm/base/invariant.h"
#include "everwarm/shell/log.h"
#include "mailbox.h"
#include "pool.h"
#include "pools.h"
#include "port.h"
#include "socket.h"
#include "worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum {
    /* Beside clients: listening sockets, links and probes, admin, files. */
    FDS_RESERVED = 64,
    FDS_PER_WORKER = 8,
};

struct proxy {
    const struct config *config;
    struct pools pools;
    /* Where it listened at the start: a reload may change that at any moment. */
    char addresses[POOLS_MAX][LISTENERS_MAX][ADDRESS_TEXT_BYTES_MAX];
    struct client_count clients;
    struct asks asks;
    struct mailbox inbox;
    bool has_inbox;
    struct control_port *port;
    struct control_thread *control;
    struct worker *workers[WORKERS_MAX];
};

static enum status fail(enum status status, const char *what, char *error, size_t error_bytes)
{
    (void)snprintf(error, error_bytes, "%s", what);
    return status;
}

/* A process may have as many descriptors as it is allowed; libraries that need few don't care. */
static void raise_fd_limit(const struct config *config)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return;
    }
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
    size_t nodes = 0;
    for (size_t i = 0; i < config->pool_count; i++) {
        nodes += config->pools[i].node_count;
    }
    uint64_t own = FDS_RESERVED + config->threads_count * (FDS_PER_WORKER + nodes) + 2 * nodes;
    if (limit.rlim_cur < config->max_clients_count + own) {
        uint64_t fits = limit.rlim_cur > own ? limit.rlim_cur - own : 0;
        log_line(LOG_LEVEL_WARNING, "fd-limit", LOG_NUMBER("limit", limit.rlim_cur),
                 LOG_NUMBER("clients", config->max_clients_count),
                 LOG_NUMBER("clients_that_fit", fits), LOG_TEXT("fix", "raise ulimit -n"));
    }
}

static enum status create_workers(struct proxy *proxy)
{
    struct worker_options options = {
        .config = proxy->config,
        .pools = proxy->pools.places,
        .clients = &proxy->clients,
        .asks = &proxy->asks,
        .inbox = &proxy->inbox,
        .peers = proxy->workers,
    };
    for (uint32_t i = 0; i < proxy->config->threads_count; i++) {
        options.index = i;
        enum status status = worker_create(&options, &proxy->workers[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static void keep_addresses(struct proxy *proxy)
{
    for (uint32_t i = 0; i < proxy->config->pool_count; i++) {
        for (size_t j = 0; j < proxy->config->pools[i].listen.count; j++) {
            const char *address = pools_address(&proxy->pools, i, j);
            INVARIANT(address != NULL);
            (void)snprintf(proxy->addresses[i][j], sizeof(proxy->addresses[i][j]), "%s", address);
        }
    }
}

/* What a reload does to come from no pools to those of its configuration. */
static enum status create_pools(struct proxy *proxy, struct socket_error *error)
{
    struct pools_plan *plan = calloc(1, sizeof(*plan));
    if (plan == NULL) {
        return STATUS_NO_MEMORY;
    }
    plan->config = proxy->config;
    for (uint32_t i = 0; i < proxy->config->pool_count; i++) {
        plan->places[i] = i;
        plan->is_new[i] = true;
    }
    const enum status status = pools_prepare(&proxy->pools, plan, error);
    if (status == STATUS_OK) {
        pools_commit(&proxy->pools, plan, 0);
        keep_addresses(proxy);
    } else {
        pools_undo(&proxy->pools, plan);
    }
    free(plan);
    return status;
}

static enum status create_parts(struct proxy *proxy, struct socket_error *error)
{
    enum status status;
    const uint32_t pool_count = (uint32_t)proxy->config->pool_count;
    for (uint32_t i = 0; i < pool_count; i++) {
        uint32_t place = 0;
        status = pools_take(&proxy->pools, &proxy->config->pools[i], pool_count, &place, error);
        if (status != STATUS_OK) {
            return status;
        }
        INVARIANT(place == i);
    }
    (void)snprintf(error->text, sizeof(error->text),
                   "out of memory or file descriptors at the start");
    status = mailbox_init(&proxy->inbox, sizeof(struct inbox_message), INBOX_MESSAGES_MAX);
    if (status != STATUS_OK) {
        return status;
    }
    proxy->has_inbox = true;
    struct control_port_parts parts = {
        .config = proxy->config,
        .pools = &proxy->pools,
        .workers = proxy->workers,
        .clients = &proxy->clients,
        .asks = &proxy->asks,
        .inbox = &proxy->inbox,
    };
    status = control_port_create(&parts, &proxy->port);
    if (status != STATUS_OK) {
        return status;
    }
    status = create_workers(proxy);
    if (status != STATUS_OK) {
        return status;
    }
    struct control_thread_options control = {
        .config = proxy->config,
        .pools = proxy->pools.places,
        .workers = proxy->workers,
        .inbox = &proxy->inbox,
        .port = proxy->port,
    };
    status = control_thread_create(&control, &proxy->control);
    if (status != STATUS_OK) {
        return status;
    }
    proxy->pools.control = proxy->control;
    return create_pools(proxy, error);
}

enum status proxy_create(const struct config *config, struct inherit *inherit, struct proxy **out,
                         char *error, size_t error_bytes)
{
    *out = NULL;
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    if (proxy == NULL) {
        return fail(STATUS_NO_MEMORY, "out of memory", error, error_bytes);
    }
    proxy->config = config;
    proxy->pools.threads_count = config->threads_count;
    proxy->pools.workers = proxy->workers;
    proxy->pools.inbox = &proxy->inbox;
    proxy->pools.inherit = inherit;
    asks_init(&proxy->asks);
    raise_fd_limit(config);
    struct socket_error why = {.text = ""};
    enum status status = create_parts(proxy, &why);
    if (status != STATUS_OK) {
        proxy_destroy(&proxy);
        return fail(status, why.text, error, error_bytes);
    }
    *out = proxy;
    return STATUS_OK;
}

const char *proxy_address(const struct proxy *proxy, size_t pool, size_t index)
{
    const bool is_there = pool < POOLS_MAX && index < LISTENERS_MAX;
    return is_there && proxy->addresses[pool][index][0] != '\0' ? proxy->addresses[pool][index]
                                                                : NULL;
}

enum status proxy_start(struct proxy *proxy)
{
    for (uint32_t i = 0; i < proxy->config->threads_count; i++) {
        enum status status = worker_start(proxy->workers[i]);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return control_thread_start(proxy->control);
}

struct control_port *proxy_port(struct proxy *proxy)
{
    return proxy->port;
}

/* A mailbox that is full has not been looked into for long: that is what is asked. */
void proxy_ping(struct proxy *proxy, uint64_t serial)
{
    const struct worker_message message = {.type = WORKER_PING, .ticket = serial};
    const struct inbox_message to_control = {.type = INBOX_PING, .serial = serial};
    for (uint32_t i = 0; i < proxy->config->threads_count; i++) {
        const enum status unused = worker_post(proxy->workers[i], &message);
        (void)unused;
    }
    const enum status unused = mailbox_post(&proxy->inbox, &to_control, INBOX_KEEP_FREE);
    (void)unused;
}

bool proxy_has_answered(const struct proxy *proxy, uint64_t serial)
{
    bool has_answered = control_thread_answered(proxy->control) >= serial;
    for (uint32_t i = 0; i < proxy->config->threads_count; i++) {
        has_answered = has_answered && worker_answered(proxy->workers[i]) >= serial;
    }
    return has_answered;
}

void proxy_drain(struct proxy *proxy)
{
    control_port_drain(proxy->port);
    struct worker_message message = {.type = WORKER_DRAIN};
    for (uint32_t i = 0; i < proxy->config->threads_count; i++) {
        enum status status = worker_post(proxy->workers[i], &message);
        INVARIANT(status == STATUS_OK);
    }
}

bool proxy_is_gone(const struct proxy *proxy)
{
    return control_thread_is_gone(proxy->control);
}

void proxy_destroy(struct proxy **handle)
{
    struct proxy *proxy = *handle;
    *handle = NULL;
    if (proxy == NULL) {
        return;
    }
    for (uint32_t i = 0; i < proxy->config->threads_count; i++) {
        if (proxy->workers[i] != NULL) {
            worker_stop(proxy->workers[i]);
        }
    }
    if (proxy->control != NULL) {
        control_thread_stop(proxy->control);
    }
    for (uint32_t i = 0; i < proxy->config->threads_count; i++) {
        worker_destroy(&proxy->workers[i]);
    }
    control_thread_destroy(&proxy->control);
    pools_fini(&proxy->pools);
    control_port_destroy(&proxy->port);
    if (proxy->has_inbox) {
        mailbox_fini(&proxy->inbox);
    }
    asks_fini(&proxy->asks);
    free(proxy);
}
