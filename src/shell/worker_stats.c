/* SPDX-License-Identifier: BSD-2-Clause */
/* A worker's figures: copied by itself now and then under its mutex, added up by who asks. */
#include "worker_private.h"

#include "everwarm/shell/log.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

/* What "stats" on this worker's connections tells of the whole process: the other workers' figures
 * as they last published them. */
static void tell_others(struct worker_pool *pool)
{
    const struct worker *worker = pool->worker;
    struct dataplane_totals totals = {
        .pid = (uint64_t)getpid(),
        .uptime_s = (clock_mono_us() - worker->started_us) / 1000000,
        .time_s = clock_wall_us() / 1000000,
        .threads = worker->options.config->threads_count,
        .clients_max = atomic_load(&worker->options.clients->max),
    };
    for (uint32_t i = 0; i < worker->options.config->threads_count; i++) {
        struct worker *peer = worker->options.peers[i];
        if (peer != worker) {
            if (pthread_mutex_trylock(&peer->publish) != 0) {
                return; /* what was told before is good enough until the next time */
            }
            dataplane_add_totals(&totals, &peer->pools[pool->shared->place].published);
            (void)pthread_mutex_unlock(&peer->publish);
        }
    }
    dataplane_set_others(pool->dataplane, &totals);
}

/* Somebody speaks HTTP or TLS to the data port: a mistake, or a probe. One line a minute. */
static void tell_foreign(struct worker_pool *pool, const struct dataplane_stats *stats)
{
    enum { REPEAT_US = 60 * 1000 * 1000 };
    uint64_t now_us = pool->worker->now_us;
    bool is_due = pool->foreign_told == 0 || now_us - pool->foreign_told_at_us >= REPEAT_US;
    if (stats->foreign_protocols == pool->foreign_told || !is_due) {
        return;
    }
    log_line(LOG_LEVEL_WARNING, "foreign-protocol", LOG_TEXT("was", "HTTP or TLS"),
             LOG_NUMBER("clients", stats->foreign_protocols - pool->foreign_told));
    pool->foreign_told = stats->foreign_protocols;
    pool->foreign_told_at_us = now_us;
}

void worker_stats_publish(struct worker_pool *pool)
{
    struct worker *worker = pool->worker;
    const struct dataplane_stats *stats = dataplane_stats(pool->dataplane);
    uint32_t nodes = pool->shared->node_count;
    /* Who reads the figures may have been stopped amid that, for as long as others want the
     * processor: no client waits for it. They are published the next time. */
    if (pthread_mutex_trylock(&worker->publish) != 0) {
        return;
    }
    memcpy(&pool->published, stats,
           offsetof(struct dataplane_stats, nodes) + nodes * sizeof(stats->nodes[0]));
    for (uint32_t i = 0; i < nodes; i++) {
        pool->published_zombies[i] =
            pool->links[i].zombie_count + pool->links[i + NODES_MAX].zombie_count;
    }
    worker->published_places |= 1u << pool->shared->place;
    worker->published.loop_lag_us = worker->lag_us;
    memcpy(worker->published.closes, worker->closes, sizeof(worker->closes));
    (void)pthread_mutex_unlock(&worker->publish);
    tell_foreign(pool, stats);
    pool->is_dirty = false;
    pool->published_at_us = worker->now_us;
    tell_others(pool);
}

void worker_stats_figures(struct worker *worker, struct worker_figures *out)
{
    (void)pthread_mutex_lock(&worker->publish);
    *out = worker->published;
    (void)pthread_mutex_unlock(&worker->publish);
}

static void add_node(struct dataplane_node_stats *sum, const struct dataplane_node_stats *one)
{
    sum->requests += one->requests;
    for (size_t i = 0; i < sizeof(sum->errors) / sizeof(sum->errors[0]); i++) {
        sum->errors[i] += one->errors[i];
    }
    sum->connects += one->connects;
    sum->connect_failures += one->connect_failures;
    sum->item_errors += one->item_errors;
    sum->warm_asked += one->warm_asked;
    sum->warm_hits += one->warm_hits;
    sum->warm_stored += one->warm_stored;
    sum->in_flight += one->in_flight;
    sum->given_up += one->given_up;
    sum->is_open = sum->is_open || one->is_open;
    histogram_add(&sum->latency, &one->latency);
}

static void add_stats(struct dataplane_stats *sum, const struct dataplane_stats *one)
{
    for (size_t i = 0; i < MC_COMMAND_COUNT; i++) {
        for (size_t j = 0; j < DATAPLANE_OUTCOME_COUNT; j++) {
            sum->commands[i][j] += one->commands[i][j];
        }
        histogram_add(&sum->latency[i], &one->latency[i]);
    }
    sum->keys_hit += one->keys_hit;
    sum->keys_missed += one->keys_missed;
    sum->touches_hit += one->touches_hit;
    sum->touches_missed += one->touches_missed;
    sum->bytes_in += one->bytes_in;
    sum->bytes_out += one->bytes_out;
    sum->clients += one->clients;
    sum->clients_total += one->clients_total;
    sum->protocol_errors_clients += one->protocol_errors_clients;
    sum->protocol_errors_nodes += one->protocol_errors_nodes;
    sum->foreign_protocols += one->foreign_protocols;
    sum->read_failovers += one->read_failovers;
    sum->writes_brought_home += one->writes_brought_home;
    sum->writes_rerun += one->writes_rerun;
    sum->writes_chained += one->writes_chained;
    sum->writes_failed += one->writes_failed;
    sum->writes_ok += one->writes_ok;
    sum->keys_invalidated += one->keys_invalidated;
    sum->settle_checks += one->settle_checks;
    sum->divergences += one->divergences;
    sum->repairs += one->repairs;
    sum->settle_queue += one->settle_queue;
    sum->held += one->held;
    sum->shed += one->shed;
    sum->memory_bytes += one->memory_bytes;
    sum->memory_limit_bytes += one->memory_limit_bytes;
}

void worker_stats_let_go(struct worker_pool *pool)
{
    struct worker *worker = pool->worker;
    (void)pthread_mutex_lock(&worker->publish);
    add_stats(&worker->gone, dataplane_stats(pool->dataplane));
    worker->published_places &= ~(1u << pool->shared->place);
    worker->gone.clients = 0;
    worker->gone.settle_queue = 0;
    worker->gone.held = 0;
    worker->gone.memory_bytes = 0;
    worker->gone.memory_limit_bytes = 0;
    memset(pool, 0, sizeof(*pool));
    (void)pthread_mutex_unlock(&worker->publish);
}

void worker_stats_add_others(struct worker *worker, uint32_t places, struct dataplane_stats *sum)
{
    (void)pthread_mutex_lock(&worker->publish);
    add_stats(sum, &worker->gone);
    for (uint32_t left = worker->published_places & ~places; left != 0; left &= left - 1) {
        add_stats(sum, &worker->pools[node_set_first(left)].published);
    }
    (void)pthread_mutex_unlock(&worker->publish);
}

void worker_stats_add(struct worker *worker, uint32_t pool, struct dataplane_stats *sum,
                      uint64_t zombies[NODES_MAX])
{
    const struct worker_pool *from = &worker->pools[pool];
    (void)pthread_mutex_lock(&worker->publish);
    add_stats(sum, &from->published);
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        add_node(&sum->nodes[i], &from->published.nodes[i]);
        zombies[i] += from->published_zombies[i];
    }
    (void)pthread_mutex_unlock(&worker->publish);
}
