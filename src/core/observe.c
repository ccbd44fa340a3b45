/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is kept of requests beyond counting them: the slow ones, and a sample of the keys. All of it
 * happens when a request is answered, from what is known then anyway; one that is neither slow nor
 * sampled costs two comparisons.
 */
#include "dataplane_private.h"

static enum slowlog_phase phase_of(enum txn_state state)
{
    switch (state) {
    case TXN_READING:
        return SLOWLOG_PHASE_READ;
    case TXN_WRITING:
        return SLOWLOG_PHASE_WRITE;
    case TXN_DECIDING:
        return SLOWLOG_PHASE_DECIDE;
    case TXN_SPREADING:
        return SLOWLOG_PHASE_SPREAD;
    case TXN_CHAINING:
        return SLOWLOG_PHASE_CHAIN;
    case TXN_STRANDED:
        return SLOWLOG_PHASE_STRANDED;
    case TXN_ASKED:
        return SLOWLOG_PHASE_ASKED;
    case TXN_NEW:
    case TXN_HELD:
    case TXN_SETTLING:
    case TXN_OVER:
        return SLOWLOG_PHASE_HELD;
    }
    UNREACHABLE();
}

static bool has_key(const struct txn *txn)
{
    return txn->key_bytes > 0 && txn->command.head != NULL;
}

void observe_slow(struct dataplane *dp, const struct txn *txn, uint64_t took_us)
{
    struct slow_request slow = {
        .at_us = dp->now_us,
        .took_us = took_us,
        .waited_us = took_us,
        .command = txn->command_type,
        .outcome = txn->outcome,
        .phase = (uint8_t)phase_of((enum txn_state)txn->state),
        .node = SLOWLOG_NO_NODE,
        .key_count = txn->key_count,
    };
    if (dp->last_leg.serial == txn->serial && dp->last_leg.at_us == dp->now_us) {
        /* That answer, just in, was what it waited for; or what had to come in its place. */
        const node_set tried = dp->last_leg.tried;
        slow.phase = (uint8_t)phase_of((enum txn_state)dp->last_leg.state);
        slow.node = (uint8_t)(tried != 0 ? node_set_first(tried) : dp->last_leg.node);
        slow.waited_us = dp->last_leg.since_us - txn->started_us;
    } else if (txn->waiting != 0) {
        slow.node = (uint8_t)node_set_first(txn->waiting); /* it is answered without this one's */
    }
    if (txn->late != 0) {
        slow.phase = SLOWLOG_PHASE_STRANDED;
        slow.node = (uint8_t)(txn->late - 1);
    }
    slowlog_add(&dp->slow, &slow, has_key(txn) ? txn_key(txn) : slice_of(NULL, 0));
}

void observe_key(struct dataplane *dp, const struct txn *txn)
{
    dp->hot.left = 1; /* the next one, if this has no key */
    if (!has_key(txn)) {
        return;
    }
    struct slice key = txn_key(txn);
    uint64_t hash = txn->key_hash;
    if (txn->key_count > 1) {
        struct slice keys = multiget_keys(txn);
        for (uint64_t skip = prng_below(&dp->prng, txn->key_count) + 1; skip > 0; skip--) {
            key = mc_next_word(&keys);
        }
        hash = topology_hash(key);
    }
    hotkeys_sample(&dp->hot, key, hash, &dp->prng);
}

/* --- What is seen from outside --- */

bool dataplane_is_read(enum mc_command command)
{
    return command_is_read(command);
}

const struct slowlog *dataplane_slowlog(const struct dataplane *dp)
{
    return &dp->slow;
}

const struct hotkeys *dataplane_hotkeys(const struct dataplane *dp)
{
    return &dp->hot;
}

void dataplane_client_facts(const struct dataplane *dp, uint32_t client,
                            struct dataplane_client *out)
{
    REQUIRE(client < dp->options.clients_max);
    const struct session *session = &dp->sessions[client];
    *out = (struct dataplane_client){
        .in_flight = session->in_flight,
        .output_bytes = session->output_bytes,
        .is_paused = session->is_paused,
        .is_amid = session_is_amid(session),
        .requests = session->requests,
    };
}
