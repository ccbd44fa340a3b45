/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * When a client's request must be answered at the latest: one timeout after its bytes came, and as
 * much later as a large value in it may be on its way.
 * Deadlines lie on a wheel of slots, so putting one in and taking it out costs nothing to speak of;
 * all but those of large values lie within one turn. A slot is looked at when it has passed as a
 * whole, and what has more time lies there for a later turn.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

void deadline_forget(struct dataplane *dp, struct txn *txn)
{
    if (list_is_linked(&txn->age)) {
        list_remove(&txn->age);
        dp->pending--;
    }
}

static uint64_t timeout_us(const struct dataplane *dp, const struct txn *txn)
{
    return dp->options.request_timeout_us + txn->patience_us;
}

static uint64_t age_us(const struct dataplane *dp, const struct txn *txn)
{
    return dp->now_us - txn->started_us;
}

bool deadline_is_half_over(const struct dataplane *dp, const struct txn *txn)
{
    return age_us(dp, txn) >= dp->options.request_timeout_us / 2 + txn->patience_us;
}

bool deadline_is_over(const struct dataplane *dp, const struct txn *txn)
{
    return age_us(dp, txn) >= timeout_us(dp, txn);
}

void deadline_put_off(struct dataplane *dp, struct txn *txn, uint64_t value_bytes)
{
    if (value_bytes < MC_VALUE_LARGE_BYTES) {
        return;
    }
    txn->patience_us += deadline_way_us(value_bytes);
    if (list_is_linked(&txn->age)) {
        deadline_set(dp, txn, txn->started_us);
    }
}

void deadline_set(struct dataplane *dp, struct txn *txn, uint64_t since_us)
{
    deadline_forget(dp, txn);
    txn->started_us = since_us;
    uint64_t slot = (since_us + timeout_us(dp, txn)) / dp->deadline_slot_us;
    slot =
        slot < dp->deadline_at ? dp->deadline_at : slot; /* overdue: the next one to be looked at */
    list_append(&dp->deadlines[slot % DEADLINE_SLOTS], &txn->age);
    dp->pending++;
}

void deadline_rescale(struct dataplane *dp)
{
    struct list all;
    list_init(&all);
    for (uint32_t i = 0; i < DEADLINE_SLOTS; i++) {
        struct list *slot = &dp->deadlines[i];
        while (!list_is_empty(slot)) {
            struct list *first = slot->next;
            list_remove(first);
            list_append(&all, first);
        }
    }
    dp->deadline_slot_us = dp->options.request_timeout_us / DEADLINE_SLOTS_A_TIMEOUT + 1;
    dp->deadline_at = dp->now_us / dp->deadline_slot_us;
    while (!list_is_empty(&all)) {
        struct txn *txn = LIST_OWNER(all.next, struct txn, age);
        deadline_set(dp, txn, txn->started_us);
    }
}

/* End what is overdue in a slot. Others may lie there too: put in while the wheel stood still, for
 * a later turn of it. */
static void expire_slot(struct dataplane *dp, struct list *slot)
{
    struct list *at = slot->next;
    while (at != slot) {
        struct txn *txn = LIST_OWNER(at, struct txn, age);
        if (!deadline_is_over(dp, txn) || !RULE(DEADLINE)) {
            at = at->next;
            continue;
        }
        if (dp->is_lapsed && txn->session != NULL) {
            /* Without the lease nothing may be answered: the client learns by the close. */
            txn->session->is_overdue = true;
            session_touch(dp, txn->session);
            deadline_forget(dp, txn);
        } else {
            txn_expire(dp, txn);
        }
        at = slot->next;
    }
}

void deadline_pass(struct dataplane *dp)
{
    uint64_t now = dp->now_us / dp->deadline_slot_us;
    if (now > dp->deadline_at + DEADLINE_SLOTS) {
        dp->deadline_at = now - DEADLINE_SLOTS;
    }
    for (; dp->deadline_at < now; dp->deadline_at++) {
        expire_slot(dp, &dp->deadlines[dp->deadline_at % DEADLINE_SLOTS]);
    }
}
