/* SPDX-License-Identifier: BSD-2-Clause */
/* Used at a pool's start too, so that a start and a reload can't differ. */
#include "pool_limits.h"

enum {
    /* A wire of a fill or a verify may be silent for as many request timeouts: no client waits. */
    WIRE_TIMEOUT_FACTOR = 4,
};

static const enum dataplane_read reads[] = {
    [CONFIG_READ_LEADER] = DATAPLANE_READ_LEADER,
    [CONFIG_READ_NEAREST] = DATAPLANE_READ_NEAREST,
    [CONFIG_READ_SPREAD] = DATAPLANE_READ_SPREAD,
};
static const enum dataplane_fallback fallbacks[] = {
    [CONFIG_FALLBACK_AUTO] = DATAPLANE_FALLBACK_AUTO,
    [CONFIG_FALLBACK_ALWAYS] = DATAPLANE_FALLBACK_ALWAYS,
    [CONFIG_FALLBACK_NEVER] = DATAPLANE_FALLBACK_NEVER,
};

struct dataplane_limits pool_limits_dataplane(const struct config *config,
                                              const struct config_pool *pool)
{
    return (struct dataplane_limits){
        .pipeline_max = config->client_pipeline_count,
        .client_output_bytes_max = config->client_output_bytes,
        .connect_timeout_us = pool->connect_timeout_us,
        .request_timeout_us = pool->request_timeout_us,
        .settle_delay_us = pool->settle_delay_us,
        .on_no_replica = pool->on_no_replica == CONFIG_NO_REPLICA_MISS ? DATAPLANE_ANSWER_MISS
                                                                       : DATAPLANE_ANSWER_ERROR,
        .read = reads[pool->read],
        .miss_fallback = fallbacks[pool->miss_fallback],
        .ack = pool->ack == CONFIG_ACK_ALL ? DATAPLANE_ACK_ALL : DATAPLANE_ACK_LEADER,
    };
}

struct control_limits pool_limits_control(const struct config_pool *pool)
{
    return (struct control_limits){
        .fall = pool->health_fall_count,
        .rise = pool->health_rise_count,
        .timeout_us = pool->health_timeout_us,
        .hold_down_max_us = pool->hold_down_max_us,
        .request_timeout_us = pool->request_timeout_us,
        .stops_in_split = pool->split == CONFIG_SPLIT_STOP,
        .keeps_last_copy = pool->last_copy == CONFIG_LAST_COPY_KEEP,
        .is_verify_background = pool->is_verify_background,
        .verify_rate_bytes = pool->verify_rate_bytes,
        .warm_for_us = pool->warm_for_us,
        .fill =
            {
                .rate_bytes = pool->fill_rate_bytes,
                .window = pool->fill_window_count,
                .timeout_us = WIRE_TIMEOUT_FACTOR * pool->request_timeout_us,
            },
        .verify =
            {
                .window = pool->fill_window_count,
                .timeout_us = WIRE_TIMEOUT_FACTOR * pool->request_timeout_us,
                .settle_us = pool->request_timeout_us,
            },
    };
}
