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
    struct pool pools[POOLS_MAX];
    char listening[POOLS_MAX][LISTENERS_MAX][ADDRESS_TEXT_BYTES_MAX];
    size_t listening_count[POOLS_MAX];
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

static enum status init_pool(struct pool *pool, const struct config_pool *config, uint32_t index,
                             struct socket_error *error)
{
    pool->config = config;
    pool->index = index;
    pool->node_count = NODES_MAX;
    for (uint32_t i = 0; i < config->node_count; i++) {
        const struct config_node *node = &config->nodes[i];
        struct socket_error why;
        enum status status = socket_resolve(&node->address, &pool->nodes[i], &why);
        if (status != STATUS_OK) {
            (void)snprintf(error->text, sizeof(error->text), "node %s: %.400s", node->name,
                           why.text);
            return status;
        }
        socket_address_format(&pool->nodes[i], pool->addresses[i]);
        pool->node_names[i] = slice_of_string(node->name);
        pool->node_addresses[i] = slice_of_string(pool->addresses[i]);
    }
    pool->names = (struct view_names){
        .pool = slice_of_string(config->name),
        .node_count = pool->node_count,
        .nodes = pool->node_names,
    };
    return STATUS_OK;
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
        .pools = proxy->pools,
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

static enum status listen_on(struct proxy *proxy, uint32_t pool, const struct address *where,
                             struct socket_error *error)
{
    int fds[WORKERS_MAX];
    struct address address = *where;
    uint32_t count = address.kind == ADDRESS_UNIX ? 1 : proxy->config->threads_count;
    enum status status = socket_listen(&address, fds, count, error);
    if (status != STATUS_OK) {
        return status;
    }
    enum worker_accept accept =
        address.kind == ADDRESS_UNIX ? WORKER_ACCEPT_DEAL : WORKER_ACCEPT_OWN;
    for (uint32_t i = 0; i < count; i++) {
        worker_listen(proxy->workers[i], pool, fds[i], accept);
    }
    address_format(&address, proxy->listening[pool][proxy->listening_count[pool]]);
    proxy->listening_count[pool]++;
    return STATUS_OK;
}

static enum status listen_everywhere(struct proxy *proxy, struct socket_error *error)
{
    for (uint32_t i = 0; i < proxy->config->pool_count; i++) {
        const struct address_list *list = &proxy->config->pools[i].listen;
        for (size_t j = 0; j < list->count; j++) {
            enum status status = listen_on(proxy, i, &list->items[j], error);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

static enum status create_parts(struct proxy *proxy, struct socket_error *error)
{
    enum status status;
    for (uint32_t i = 0; i < proxy->config->pool_count; i++) {
        status = init_pool(&proxy->pools[i], &proxy->config->pools[i], i, error);
        if (status != STATUS_OK) {
            return status;
        }
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
        .pools = proxy->pools,
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
        .pools = proxy->pools,
        .workers = proxy->workers,
        .inbox = &proxy->inbox,
        .port = proxy->port,
    };
    status = control_thread_create(&control, &proxy->control);
    if (status != STATUS_OK) {
        return status;
    }
    return listen_everywhere(proxy, error);
}

enum status proxy_create(const struct config *config, struct proxy **out, char *error,
                         size_t error_bytes)
{
    *out = NULL;
    struct proxy *proxy = calloc(1, sizeof(*proxy));
    if (proxy == NULL) {
        return fail(STATUS_NO_MEMORY, "out of memory", error, error_bytes);
    }
    proxy->config = config;
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
    if (pool >= proxy->config->pool_count || index >= proxy->listening_count[pool]) {
        return NULL;
    }
    return proxy->listening[pool][index];
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
    for (size_t i = 0; i < proxy->config->pool_count; i++) {
        for (size_t j = 0; j < proxy->config->pools[i].listen.count; j++) {
            const struct address *address = &proxy->config->pools[i].listen.items[j];
            if (address->kind == ADDRESS_UNIX && j < proxy->listening_count[i]) {
                (void)unlink(address->host);
            }
        }
    }
    control_port_destroy(&proxy->port);
    if (proxy->has_inbox) {
        mailbox_fini(&proxy->inbox);
    }
    asks_fini(&proxy->asks);
    free(proxy);
}
