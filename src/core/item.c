/* SPDX-License-Identifier: BSD-2-Clause */
/* What makes two items the same (replication.md sections 2 and 3, without `E`). */
#include "item.h"

#include "everwarm/core/rule.h"

enum {
    ITEM_EXPTIME_RELATIVE_MAX_S = 2592000, /* memcached: more is an absolute time */
};

static bool is_past(int64_t ttl_s)
{
    return ttl_s != -1 && (ttl_s <= 0 || ttl_s > INT32_MAX);
}

struct item item_of(const struct mc_reply *reply, uint64_t now_us)
{
    int64_t expiry_ms =
        reply->ttl_s == -1 ? INT64_MAX : (int64_t)(now_us / 1000) + reply->ttl_s * 1000;
    return (struct item){
        .cas = reply->cas,
        .value_bytes = reply->value_bytes,
        .expiry_ms = is_past(reply->ttl_s) ? INT64_MIN : expiry_ms,
        .flags = reply->flags,
        .is_marked = reply->is_won || reply->is_stale || reply->is_sent,
    };
}

bool item_is_expired(const struct item *item)
{
    return item->expiry_ms == INT64_MIN;
}

static bool is_time(int64_t expiry_ms)
{
    return expiry_ms != INT64_MAX && expiry_ms != INT64_MIN;
}

bool item_is_expiry_equal(const struct item *a, const struct item *b)
{
    if (!is_time(a->expiry_ms) || !is_time(b->expiry_ms)) {
        return a->expiry_ms == b->expiry_ms;
    }
    int64_t apart = a->expiry_ms - b->expiry_ms;
    return apart <= ITEM_EXPIRY_SLACK_MS && apart >= -ITEM_EXPIRY_SLACK_MS;
}

bool item_is_unchanged(const struct item *then, const struct item *now)
{
    return then->cas == now->cas && then->is_marked == now->is_marked &&
           (item_is_expiry_equal(then, now) || !RULE(COMPARE_EXPIRY));
}

bool item_is_copy_equal(const struct item *leader, const struct item *copy)
{
    return leader->hash == copy->hash && leader->value_bytes == copy->value_bytes &&
           leader->flags == copy->flags && !copy->is_marked && item_is_expiry_equal(leader, copy);
}

int64_t item_exptime(int64_t ttl_s, int64_t node_time_s)
{
    if (ttl_s == -1) {
        return 0;
    }
    if (ttl_s <= ITEM_EXPTIME_RELATIVE_MAX_S) {
        return ttl_s;
    }
    int64_t absolute = node_time_s + ttl_s;
    return absolute < INT32_MAX ? absolute : INT32_MAX;
}

void item_write_give_back(struct mc_writer *w, struct slice key, uint64_t cas, bool keeps_cas)
{
    mc_write(w, SLICE("md "));
    mc_write_key(w, key);
    mc_write_key_flag(w, key);
    mc_write(w, SLICE(" I C"));
    mc_write_u64(w, cas);
    if (keeps_cas) {
        mc_write(w, SLICE(" E"));
        mc_write_u64(w, cas);
    }
    mc_write(w, SLICE("\r\n"));
}
