/* SPDX-License-Identifier: BSD-2-Clause */
/* Time runs from a look to a later one, so a client has at least as long as it is promised. */
#include "slow.h"

#include "everwarm/base/limits.h"

static bool is_slow_reader(struct slow_watch *watch, const struct slow_facts *facts,
                           const struct slow_limits *limits)
{
    if (!facts->is_blocked) {
        watch->reader_since_us = 0;
        return false;
    }
    if (watch->reader_since_us == 0 || watch->reader_taken_bytes != facts->taken_bytes) {
        watch->reader_since_us = facts->now_us;
        watch->reader_taken_bytes = facts->taken_bytes;
        return false;
    }
    const bool is_full = facts->output_bytes >= limits->output_bytes_max;
    const uint64_t patience_us = is_full ? limits->stall_us / SLOW_LOOKS_A_STALL : limits->stall_us;
    return facts->now_us - watch->reader_since_us >= patience_us;
}

static bool is_slow_writer(struct slow_watch *watch, const struct slow_facts *facts,
                           const struct slow_limits *limits)
{
    if (!facts->is_amid) {
        watch->writer_since_us = 0;
        return false;
    }
    const bool is_moving =
        watch->writer_requests != facts->requests ||
        facts->received_bytes - watch->writer_received_bytes >= CLIENT_TRICKLE_BYTES;
    if (watch->writer_since_us == 0 || is_moving) {
        watch->writer_since_us = facts->now_us;
        watch->writer_received_bytes = facts->received_bytes;
        watch->writer_requests = facts->requests;
        return false;
    }
    return facts->now_us - watch->writer_since_us >= limits->stall_us;
}

bool slow_look(struct slow_watch *watch, const struct slow_facts *facts,
               const struct slow_limits *limits)
{
    const bool is_reader = is_slow_reader(watch, facts, limits);
    const bool is_writer = is_slow_writer(watch, facts, limits);
    return is_reader || is_writer;
}
