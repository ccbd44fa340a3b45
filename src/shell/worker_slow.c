/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A worker looks through its clients for those that hold memory and do nothing (slow.h): an eighth
 * of them at a time, so that nobody else waits long for it, and each of them SLOW_LOOKS_A_STALL
 * times in limits.client_stall. Nothing is kept or counted on the way of a request for this.
 */
#include "slow.h"
#include "socket.h"
#include "worker_private.h"

#include "everwarm/base/invariant.h"
#include "everwarm/shell/log.h"

enum {
    PARTS = 8,
    /* However short the stall is: a tenth of the processor at the very most. */
    PERIOD_US_MIN = 10 * CLOCK_US_PER_MS,
};

static bool is_slow(struct client_conn *client, uint64_t now_us)
{
    struct worker_pool *pool = client->pool;
    struct dataplane_client own;
    dataplane_client_facts(pool->dataplane, (uint32_t)(client - pool->clients), &own);
    struct slow_facts facts = {
        .now_us = now_us,
        .is_blocked = client->is_blocked,
        .output_bytes = own.output_bytes,
        .is_amid =
            own.is_amid && !client->is_starved && !pool->worker->is_draining && !pool->is_leaving,
        .received_bytes = client->received_bytes,
        .requests = own.requests,
    };
    if (client->is_blocked) {
        /* What the kernel holds is not taken yet: a slow link is no slow reader. */
        facts.taken_bytes = client->sent_bytes - socket_unsent_bytes(client->fd);
    }
    const struct slow_limits limits = {
        .stall_us = pool->worker->stall_us,
        .output_bytes_max = pool->output_bytes_max,
    };
    return slow_look(&client->slow, &facts, &limits);
}

/* One line a minute, of one of them: many of them are one mistake in one application. */
static void tell(struct worker_pool *pool, const struct client_conn *client, uint64_t now_us)
{
    enum { REPEAT_US = 60 * CLOCK_US_PER_S };
    char address[ADDRESS_TEXT_BYTES_MAX];
    pool->slow_seen++;
    if (pool->slow_told > 0 && now_us - pool->slow_told_at_us < REPEAT_US) {
        return;
    }
    socket_peer_format(&client->peer, address, sizeof(address));
    log_line(LOG_LEVEL_WARNING, "client-slow",
             LOG_TEXT("did", client->is_blocked ? "not read" : "not end its request"),
             LOG_TEXT("address", address),
             LOG_NUMBER("clients", pool->slow_seen - pool->slow_told));
    pool->slow_told = pool->slow_seen;
    pool->slow_told_at_us = now_us;
}

static void look_at_pool(struct worker_pool *pool, uint32_t part, uint64_t now_us)
{
    for (uint32_t i = part; i < pool->fresh_client; i += PARTS) {
        struct client_conn *client = &pool->clients[i];
        if (client->fd >= 0 && !client->is_broken && is_slow(client, now_us)) {
            worker_begin(pool);
            tell(pool, client, now_us);
            worker_client_lose(client, WORKER_CLOSE_SLOW);
        }
    }
}

static void arm(struct worker *worker)
{
    uint64_t period_us = worker->stall_us / SLOW_LOOKS_A_STALL / PARTS;
    period_us = period_us > PERIOD_US_MIN ? period_us : PERIOD_US_MIN;
    struct timeval after = clock_timeval(period_us);
    INVARIANT(event_add(&worker->slow_timer, &after) == 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct worker *worker = arg;
    const uint64_t now_us = clock_mono_us();
    for (struct worker_pool *pool = worker_next_pool(worker, NULL); pool != NULL;
         pool = worker_next_pool(worker, pool)) {
        look_at_pool(pool, worker->slow_part, now_us);
    }
    worker->slow_part = (worker->slow_part + 1) % PARTS;
    arm(worker);
}

void worker_slow_init(struct worker *worker)
{
    INVARIANT(event_assign(&worker->slow_timer, worker->base, -1, 0, on_timer, worker) == 0);
    arm(worker);
}

void worker_slow_set(struct worker *worker, uint64_t stall_us)
{
    worker->stall_us = stall_us;
    arm(worker);
}

void worker_slow_fini(struct worker *worker)
{
    (void)event_del(&worker->slow_timer);
}
