/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The workers' samples put together: a key's counts are added, and its share is of all samples of
 * all workers. Keys that were rare on every worker are not in any table, and are not wanted.
 */
#include "hotkeys.h"

#include "facts.h"
#include "inspect.h"
#include "uri.h"

#include <stdlib.h>
#include <string.h>

static bool is_same(const struct proxy_hot *a, const struct proxy_hot *b)
{
    return a->pool == b->pool && a->key.hash == b->key.hash &&
           a->key.key_bytes == b->key.key_bytes &&
           memcmp(a->key.key, b->key.key, a->key.key_bytes) == 0;
}

static int compare_same(const void *left, const void *right)
{
    const struct proxy_hot *a = left;
    const struct proxy_hot *b = right;
    if (a->pool != b->pool) {
        return (a->pool > b->pool) - (a->pool < b->pool);
    }
    return (a->key.hash > b->key.hash) - (a->key.hash < b->key.hash);
}

static int compare_most(const void *left, const void *right)
{
    const struct proxy_hot *a = left;
    const struct proxy_hot *b = right;
    return (a->key.count < b->key.count) - (a->key.count > b->key.count);
}

/* Add up what is of one key, the most asked for first; the number of keys is returned. */
static size_t merge(struct proxy_hot *all, size_t count)
{
    size_t kept = 0;
    qsort(all, count, sizeof(*all), compare_same);
    for (size_t i = 0; i < count; i++) {
        if (kept > 0 && is_same(&all[kept - 1], &all[i])) {
            all[kept - 1].key.count += all[i].key.count;
            all[kept - 1].key.error += all[i].key.error;
        } else {
            all[kept++] = all[i];
        }
    }
    qsort(all, kept, sizeof(*all), compare_most);
    return kept;
}

static json_t *hot_json(const struct proxy_snapshot *snapshot, const struct proxy_hot *hot,
                        uint64_t samples)
{
    const struct proxy_pool *of = proxy_snapshot_pool(snapshot, hot->pool);
    const char *pool = of != NULL ? of->name : "";
    const double all = samples == 0 ? 1 : (double)samples;
    char key[3 * MC_KEY_BYTES_MAX + 1];
    uri_show(slice_of(hot->key.key, hot->key.key_bytes), key, sizeof(key));
    return json_pack("{s:s, s:o, s:f, s:f}", "key", key, "pool", facts_text(pool), "share",
                     (double)hot->key.count / all, "share_error", (double)hot->key.error / all);
}

void hotkeys_show(const struct request *request, struct reply *reply)
{
    size_t limit = 0;
    size_t count = 0;
    uint64_t samples = 0;
    if (!inspect_limit(request, HOTKEYS_MAX, &limit, reply)) {
        return;
    }
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    const size_t most =
        (size_t)snapshot->config->threads_count * snapshot->pool_count * HOTKEYS_MAX;
    struct proxy_hot *all = calloc(most > 0 ? most : 1, sizeof(*all));
    json_t *list = json_array();
    if (all == NULL) {
        reply_json(reply, 200, NULL);
    } else if (control_port_hot(request->port, all, most, &count, &samples) != STATUS_OK) {
        inspect_refuse(reply);
    } else {
        count = merge(all, count);
        for (size_t i = 0; i < count && i < limit; i++) {
            (void)json_array_append_new(list, hot_json(snapshot, &all[i], samples));
        }
        reply_json(reply, 200,
                   json_pack("{s:i, s:o, s:O}", "sampled_one_in", (int)HOTKEYS_INTERVAL, "samples",
                             facts_count(samples), "keys", list));
    }
    json_decref(list);
    free(all);
    proxy_snapshot_destroy(&snapshot);
}
