/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What other proxies left on the nodes: views, heartbeats, ids. Promised: a text is taken only if
 * it is byte for byte what we would write, so nothing is read into a damaged one.
 *
 * No fuzzer guesses a hash, so each view is tried a second time with its hash put right.
 */
#include "core/heartbeat.h"
#include "everwarm/core/view.h"
#include "fuzz.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { NODES = 3 };

static const struct slice node_names[NODES] = {SLICE_INIT("10.0.0.1:11211"), SLICE_INIT("b c%"),
                                               SLICE_INIT("c")};
static const struct view_names names = {
    .pool = SLICE_INIT("main"), .node_count = NODES, .nodes = node_names};

static void expect_written(const struct mc_writer *w, struct slice text)
{
    PROMISE(!w->is_full);
    PROMISE(slice_is_equal(slice_of(w->ptr, w->len), text));
}

static void try_view(struct slice text)
{
    static struct view view;
    if (view_parse(text, &view)) {
        char again[VIEW_BYTES_MAX];
        struct mc_writer w = mc_writer_of(again, sizeof(again));
        view_emit(&view, &w);
        expect_written(&w, text);
        static struct topology topology;
        view_topology(&view, &topology);
        PROMISE(topology.complete >> (topology.node_count - 1) <= 1);
    }
}

static void try_view_with_its_hash(struct slice text)
{
    static const char end[] = "hash 0123456789abcdef\nend\n";
    enum { END_BYTES = sizeof(end) - 1, HEX_BYTES = 16, HASH_BYTES = 5 };
    if (text.len < END_BYTES) {
        return;
    }
    size_t body = text.len - END_BYTES;
    char *copy = fuzz_copy(text);
    struct mc_writer w = mc_writer_of(copy + body + HASH_BYTES, HEX_BYTES);
    mc_write_hex64(&w, XXH3_64bits(copy, body));
    try_view(slice_of(copy, text.len));
    free(copy);
}

static void try_heartbeat(struct slice text)
{
    struct heartbeat heartbeat;
    if (heartbeat_parse(text, &names, &heartbeat)) {
        PROMISE(heartbeat.id < PROXIES_MAX && heartbeat.given_up >> NODES == 0);
        char again[HEARTBEAT_BYTES_MAX];
        struct mc_writer w = mc_writer_of(again, sizeof(again));
        heartbeat_emit(&heartbeat, &names, &w);
        PROMISE(!w.is_full && w.len <= text.len); /* names that are not ours are left out */
    }
}

static void try_id(struct slice text)
{
    uint64_t nonce;
    if (view_id_parse(text, &nonce)) {
        char again[VIEW_ID_BYTES_MAX];
        struct mc_writer w = mc_writer_of(again, sizeof(again));
        view_id_emit(nonce, &w);
        expect_written(&w, text);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of((const char *)data, size);
    try_view(text);
    try_view_with_its_hash(text);
    try_heartbeat(text);
    try_id(text);
    return 0;
}
