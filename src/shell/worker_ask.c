/* SPDX-License-Identifier: BSD-2-Clause */
/* What a worker answers to those who ask about its clients and requests. */
#include "asks.h"
#include "everwarm/base/invariant.h"
#include "socket.h"
#include "worker_private.h"

static void describe_client(const struct worker_pool *pool, const struct client_conn *client,
                            struct proxy_client *out)
{
    *out = (struct proxy_client){
        .id = client->id,
        .pool = pool->shared->id,
        .worker = pool->worker->options.index,
        .opened_us = client->opened_us,
        .heard_us = client->heard_us,
        .received_bytes = client->received_bytes,
        .sent_bytes = client->sent_bytes,
        .is_blocked = client->is_blocked,
    };
    socket_peer_format(&client->peer, out->address, sizeof(out->address));
    dataplane_client_facts(pool->dataplane, (uint32_t)(client - pool->clients), &out->facts);
}

/* At most INSPECT_CLIENTS_MAX of each worker: those behind them are only counted. */
static void tell_clients(struct worker *worker, struct ask *ask)
{
    struct proxy_client *out = ask->out;
    size_t left = INSPECT_CLIENTS_MAX;
    for (struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        ask->total += pool->open_count;
        uint32_t open = pool->open_count;
        for (uint32_t i = 0; open > 0 && left > 0 && ask->count < ask->capacity; i++) {
            INVARIANT(i < pool->fresh_client);
            if (pool->clients[i].fd >= 0) {
                describe_client(pool, &pool->clients[i], &out[ask->count]);
                ask->count++;
                open--;
                left--;
            }
        }
    }
}

static void kill_client(struct worker *worker, struct ask *ask)
{
    for (struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        for (uint32_t i = 0; i < pool->fresh_client; i++) {
            struct client_conn *client = &pool->clients[i];
            if (client->fd >= 0 && client->id == ask->id) {
                worker_begin(pool);
                worker_client_lose(client, WORKER_CLOSE_KILLED);
                ask->count = 1;
                return;
            }
        }
    }
}

static void tell_slow(struct worker *worker, struct ask *ask)
{
    struct proxy_slow *out = ask->out;
    struct slow_request latest[SLOWLOG_ENTRIES_MAX];
    for (const struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        const struct slowlog *log = dataplane_slowlog(pool->dataplane);
        const size_t count = slowlog_copy(log, latest, SLOWLOG_ENTRIES_MAX);
        ask->total += log->next;
        for (size_t i = 0; i < count && ask->count < ask->capacity; i++) {
            out[ask->count++] = (struct proxy_slow){
                .pool = pool->shared->id, .worker = worker->options.index, .request = latest[i]};
        }
    }
}

static void tell_hot(struct worker *worker, struct ask *ask)
{
    struct proxy_hot *out = ask->out;
    for (const struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        const struct hotkeys *hot = dataplane_hotkeys(pool->dataplane);
        ask->total += hot->samples;
        for (uint32_t i = 0; i < hot->count && ask->count < ask->capacity; i++) {
            out[ask->count++] = (struct proxy_hot){.pool = pool->shared->id, .key = hot->keys[i]};
        }
    }
}

static void answer(struct worker *worker, struct ask *ask)
{
    switch (ask->type) {
    case ASK_CLIENTS:
        tell_clients(worker, ask);
        break;
    case ASK_KILL:
        kill_client(worker, ask);
        break;
    case ASK_SLOW:
        tell_slow(worker, ask);
        break;
    case ASK_HOT:
        tell_hot(worker, ask);
        break;
    }
    asks_end(worker->options.asks, ask);
}

/* False: not now. */
static bool try_to_answer(struct worker *worker, uint64_t ticket)
{
    struct ask *ask = NULL;
    switch (asks_begin(worker->options.asks, ticket, &ask)) {
    case ASKS_MINE:
        answer(worker, ask);
        return true;
    case ASKS_OVER:
        return true;
    case ASKS_BUSY:
        return false;
    }
    UNREACHABLE();
}

void worker_ask(struct worker *worker, uint64_t ticket)
{
    if (!try_to_answer(worker, ticket) && worker->asked_count < ASKS_MAX) {
        worker->asked[worker->asked_count++] = ticket; /* past that, its asker has given up */
    }
}

void worker_ask_again(struct worker *worker)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < worker->asked_count; i++) {
        if (!try_to_answer(worker, worker->asked[i])) {
            worker->asked[kept++] = worker->asked[i];
        }
    }
    worker->asked_count = kept;
}
