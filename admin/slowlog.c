/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The workers' rings put together, the latest first. What is shown of a key is its beginning,
 * percent-encoded.
 */
#include "slowlog.h"

#include "facts.h"
#include "inspect.h"
#include "uri.h"

#include <stdlib.h>

enum { LIST_MAX = 1024 };

static int compare_latest(const void *left, const void *right)
{
    const struct proxy_slow *a = left;
    const struct proxy_slow *b = right;
    return (a->request.at_us < b->request.at_us) - (a->request.at_us > b->request.at_us);
}

static json_t *slow_json(const struct proxy_snapshot *snapshot, const struct proxy_slow *slow)
{
    const struct slow_request *request = &slow->request;
    const struct proxy_pool *pool = proxy_snapshot_pool(snapshot, slow->pool);
    const bool has_node = pool != NULL && facts_is_member(pool, request->node);
    char key[3 * SLOWLOG_KEY_BYTES_MAX + 1];
    uri_show(slice_of(request->key, request->key_bytes), key, sizeof(key));
    return json_pack(
        "{s:o, s:o, s:s, s:s, s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:o}", "time",
        facts_time_ms(snapshot, request->at_us), "pool",
        pool == NULL ? json_null() : facts_text(pool->name), "command",
        mc_command_word((enum mc_command)request->command), "key", key, "keys",
        facts_count(request->key_count), "status", facts_outcome_word(request->outcome), "node",
        has_node ? facts_text(pool->nodes[request->node].name) : json_null(), "phase",
        slowlog_phase_word((enum slowlog_phase)request->phase), "took_s",
        facts_seconds(request->took_us), "waited_s", facts_seconds(request->waited_us), "node_s",
        facts_seconds(request->took_us - request->waited_us), "worker", facts_count(slow->worker));
}

void slowlog_show(const struct request *request, struct reply *reply)
{
    size_t limit = 0;
    size_t count = 0;
    uint64_t total = 0;
    if (!inspect_limit(request, LIST_MAX, &limit, reply)) {
        return;
    }
    struct proxy_snapshot *snapshot = NULL;
    struct proxy_slow *all = calloc(LIST_MAX, sizeof(*all));
    json_t *list = json_array();
    if (all == NULL || control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
    } else if (control_port_slow(request->port, all, LIST_MAX, &count, &total) != STATUS_OK) {
        inspect_refuse(reply);
    } else {
        qsort(all, count, sizeof(*all), compare_latest);
        for (size_t i = 0; i < count && i < limit; i++) {
            (void)json_array_append_new(list, slow_json(snapshot, &all[i]));
        }
        reply_json(reply, 200,
                   json_pack("{s:o, s:o, s:O}", "slower_than_s", facts_seconds(SLOWLOG_US), "total",
                             facts_count(total), "requests", list));
    }
    json_decref(list);
    proxy_snapshot_destroy(&snapshot);
    free(all);
}
