/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pool comes:   take ─► prepare ─► COME to control and workers, then LISTEN
 * a pool goes:    LEAVE ─► workers are quiet ─► farewell ─► GO ─► all are gone ─► its place is free
 *
 * A socket that another pool is to have is never closed: clients that wait in its queue would be
 * lost. All of it goes by the threads' mailboxes, whose order is the proof that nobody acts on what
 * is not there: what was posted for a pool comes before what is posted for the next at its place.
 */
#include "pools.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* --- Places --- */

static enum status resolve(struct pool *pool, struct socket_error *error)
{
    for (uint32_t i = 0; i < pool->config.node_count; i++) {
        const struct config_node *node = &pool->config.nodes[i];
        struct socket_error why;
        const enum status status = socket_resolve(&node->address, &pool->nodes[i], &why);
        if (status != STATUS_OK) {
            (void)snprintf(error->text, sizeof(error->text), "node %s: %.400s", node->name,
                           why.text);
            return status;
        }
        socket_address_format(&pool->nodes[i], pool->addresses[i]);
        pool->node_names[i] = slice_of_string(node->name);
        pool->node_addresses[i] = slice_of_string(pool->addresses[i]);
    }
    return STATUS_OK;
}

enum status pools_take(struct pools *pools, const struct config_pool *config, uint32_t share,
                       uint32_t *place, struct socket_error *error)
{
    for (*place = 0; *place < POOLS_MAX; (*place)++) {
        if (!atomic_load(&pools->places[*place].is_taken)) {
            break;
        }
    }
    if (*place == POOLS_MAX) {
        (void)snprintf(error->text, sizeof(error->text),
                       "pool %s: no place is free; those that go need a few seconds, try again",
                       config->name);
        return STATUS_FULL;
    }
    struct pool *pool = &pools->places[*place];
    memset(pool, 0, sizeof(*pool));
    pool->place = *place;
    pool->config = *config;
    pool->share = share;
    pool->node_count = NODES_MAX;
    atomic_store(&pool->request_timeout_us, config->request_timeout_us);
    const enum status status = resolve(pool, error);
    if (status != STATUS_OK) {
        return status;
    }
    pool->id = pools->generations[*place] * POOLS_MAX + *place;
    pools->generations[*place]++;
    pool->names = (struct view_names){
        .pool = slice_of_string(pool->config.name),
        .node_count = pool->node_count,
        .nodes = pool->node_names,
    };
    atomic_store(&pool->is_taken, true);
    return STATUS_OK;
}

/* --- What may fail --- */

static enum status take_memory(struct pools *pools, uint32_t place, struct socket_error *error)
{
    enum status status = control_thread_pool_init(pools->control, place);
    for (uint32_t i = 0; i < pools->threads_count && status == STATUS_OK; i++) {
        status = worker_pool_init(pools->workers[i], place);
    }
    if (status != STATUS_OK) {
        (void)snprintf(error->text, sizeof(error->text), "pool %s: out of memory",
                       pools->places[place].config.name);
    }
    return status;
}

static void drop_memory(struct pools *pools, uint32_t place)
{
    control_thread_pool_drop(pools->control, place);
    for (uint32_t i = 0; i < pools->threads_count; i++) {
        worker_pool_drop(pools->workers[i], place);
    }
    atomic_store(&pools->places[place].is_taken, false);
}

/* A socket that is open already; one of the same pool is better than another's. */
static struct listening *find_open(struct pools *pools, uint32_t place,
                                   const struct address *wanted)
{
    struct listening *found = NULL;
    for (size_t i = 0; i < pools->listening_count; i++) {
        struct listening *one = &pools->listening[i];
        if (!one->is_used && address_is_equal(&one->wanted, wanted) &&
            (found == NULL || one->place == place)) {
            found = one;
        }
    }
    return found;
}

/* Take what the service manager holds; where that is less than a socket for each worker those that
 * have one deal out its clients. False: it holds none. */
static bool claim(struct pools *pools, struct listening *out)
{
    struct socket_address address;
    struct socket_error unused;
    if (pools->inherit == NULL || pools->inherit->count == 0 ||
        socket_resolve(&out->wanted, &address, &unused) != STATUS_OK) {
        return false;
    }
    const size_t count = inherit_claim(pools->inherit, (const struct sockaddr *)&address.storage,
                                       out->fds, pools->threads_count);
    if (count > 0) {
        out->is_inherited = true;
        out->fd_count = (uint32_t)count;
        out->accept = count < pools->threads_count ? WORKER_ACCEPT_DEAL : WORKER_ACCEPT_OWN;
    }
    return count > 0;
}

static enum status listen_on(struct pools *pools, struct pools_plan *plan, uint32_t place,
                             const struct address *wanted, struct socket_error *error)
{
    struct listening *out = &plan->listening[plan->listening_count];
    struct listening *open = find_open(pools, place, wanted);
    if (open != NULL) {
        open->is_used = true;
        *out = *open;
        out->is_new = open->place != place;
        out->place = place;
        plan->listening_count++;
        return STATUS_OK;
    }
    struct address address = *wanted;
    *out = (struct listening){
        .place = place,
        .is_new = true,
        .is_opened = true,
        .fd_count = address.kind == ADDRESS_UNIX ? 1 : pools->threads_count,
        .accept = address.kind == ADDRESS_UNIX ? WORKER_ACCEPT_DEAL : WORKER_ACCEPT_OWN,
        .wanted = *wanted,
    };
    enum status status = STATUS_OK;
    if (!claim(pools, out)) {
        status = socket_listen(&address, out->fds, out->fd_count, error);
    }
    if (status == STATUS_OK) {
        address_format(&address, out->text);
        plan->listening_count++;
    }
    return status;
}

enum status pools_prepare(struct pools *pools, struct pools_plan *plan, struct socket_error *error)
{
    enum status status = STATUS_OK;
    const struct config *config = plan->config;
    for (size_t i = 0; i < pools->listening_count; i++) {
        pools->listening[i].is_used = false;
    }
    for (size_t i = 0; i < config->pool_count && status == STATUS_OK; i++) {
        if (plan->is_new[i]) {
            status = take_memory(pools, plan->places[i], error);
        }
    }
    for (size_t i = 0; i < config->pool_count && status == STATUS_OK; i++) {
        const struct address_list *list = &config->pools[i].listen;
        for (size_t j = 0; j < list->count && status == STATUS_OK; j++) {
            status = listen_on(pools, plan, plan->places[i], &list->items[j], error);
        }
    }
    return status;
}

static void close_all(const struct listening *one)
{
    for (uint32_t i = 0; i < one->fd_count; i++) {
        (void)close(one->fds[i]);
    }
}

static void remove_file(const struct listening *one)
{
    if (one->wanted.kind == ADDRESS_UNIX && !one->is_inherited) {
        (void)unlink(one->wanted.host);
    }
}

void pools_undo(struct pools *pools, struct pools_plan *plan)
{
    for (size_t i = 0; i < plan->listening_count; i++) {
        if (plan->listening[i].is_opened) {
            close_all(&plan->listening[i]);
            remove_file(&plan->listening[i]);
        }
    }
    for (size_t i = 0; i < plan->config->pool_count; i++) {
        if (plan->is_new[i]) {
            drop_memory(pools, plan->places[i]);
        }
    }
}

/* --- What does not --- */

static void tell_workers(struct pools *pools, enum worker_message_type type, uint32_t place)
{
    const struct worker_message message = {.type = type, .pool = place};
    for (uint32_t i = 0; i < pools->threads_count; i++) {
        const enum status status = worker_post(pools->workers[i], &message);
        INVARIANT(status == STATUS_OK);
    }
}

/* To the worker that has, or is to have, each of its sockets. */
static void tell_of_sockets(struct pools *pools, enum worker_message_type type,
                            const struct listening *one)
{
    for (uint32_t i = 0; i < one->fd_count; i++) {
        const struct worker_message message = {
            .type = type,
            .pool = one->place,
            .fd = one->fds[i],
            .accept = one->accept,
        };
        const enum status status = worker_post(pools->workers[i], &message);
        INVARIANT(status == STATUS_OK);
    }
}

void pools_commit(struct pools *pools, struct pools_plan *plan, uint32_t leavers)
{
    for (size_t i = 0; i < plan->config->pool_count; i++) {
        if (plan->is_new[i]) {
            const struct inbox_message come = {.type = INBOX_COME, .pool = plan->places[i]};
            tell_workers(pools, WORKER_COME, plan->places[i]);
            const enum status status = mailbox_post(pools->inbox, &come, 0);
            INVARIANT(status == STATUS_OK);
        }
    }
    for (size_t i = 0; i < plan->listening_count; i++) {
        if (plan->listening[i].is_new) {
            tell_of_sockets(pools, WORKER_LISTEN, &plan->listening[i]);
        }
        plan->listening[i].is_new = false;
        plan->listening[i].is_opened = false;
    }
    for (size_t i = 0; i < pools->listening_count; i++) {
        const struct listening *one = &pools->listening[i];
        if (!one->is_used) {
            remove_file(one);
            tell_of_sockets(pools, WORKER_DEAFEN, one);
        }
    }
    for (uint32_t place = 0; place < POOLS_MAX; place++) {
        if ((leavers >> place & 1u) != 0) {
            tell_workers(pools, WORKER_LEAVE, place);
        }
    }
    pools->listening_count = plan->listening_count;
    memcpy(pools->listening, plan->listening, plan->listening_count * sizeof(plan->listening[0]));
}

/* --- Looked at --- */

const char *pools_address(const struct pools *pools, uint32_t place, size_t index)
{
    for (size_t i = 0; i < pools->listening_count; i++) {
        if (pools->listening[i].place == place && index-- == 0) {
            return pools->listening[i].text;
        }
    }
    return NULL;
}

void pools_fini(struct pools *pools)
{
    for (size_t i = 0; i < pools->listening_count; i++) {
        remove_file(&pools->listening[i]);
    }
    pools->listening_count = 0;
}
