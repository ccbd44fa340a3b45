/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The heartbeat's text. As with views, what was read is written again and must give the same bytes;
 * names of nodes that only the other proxy knows are taken along on that way.
 */
#include "heartbeat.h"

#include "everwarm/base/invariant.h"
#include "text.h"

static void write_head(const struct heartbeat *heartbeat, struct mc_writer *w)
{
    mc_write(w, SLICE("everwarm-heartbeat 1\n"));
    text_write_number(w, SLICE("id"), heartbeat->id);
    text_write_hex(w, SLICE("nonce"), heartbeat->nonce);
    text_write_number(w, SLICE("sequence"), heartbeat->sequence);
    text_write_number(w, SLICE("epoch"), heartbeat->epoch);
    text_write_hex(w, SLICE("view"), heartbeat->view_hash);
    text_write_hex(w, SLICE("effective"), heartbeat->effective_hash);
    text_write_hex(w, SLICE("config"), heartbeat->config_hash);
    text_write_number(w, SLICE("clock"), heartbeat->clock_ceiling);
}

static void write_given_up(struct slice name, struct mc_writer *w)
{
    mc_write(w, SLICE("given-up "));
    text_write_name(w, name);
    mc_write(w, SLICE("\n"));
}

void heartbeat_emit(const struct heartbeat *heartbeat, const struct view_names *names,
                    struct mc_writer *w)
{
    REQUIRE(heartbeat->id < PROXIES_MAX);
    REQUIRE((heartbeat->given_up & ~node_set_all(names->node_count)) == 0);
    write_head(heartbeat, w);
    uint32_t order[NODES_MAX];
    uint32_t count = text_sort_nodes(names, order);
    struct slice last = {0};
    for (uint32_t i = 0; i < count; i++) {
        struct slice name = names->nodes[order[i]];
        /* One that moves stands at two places for a while. */
        if ((heartbeat->given_up & node_set_of(order[i])) != 0 && !slice_is_equal(name, last)) {
            write_given_up(name, w);
            last = name;
        }
    }
    mc_write(w, SLICE("end\n"));
}

static bool read_head(struct slice *text, struct heartbeat *out)
{
    (void)text_next_value(text);
    uint64_t id;
    if (!text_read_number(text, &id) || id >= PROXIES_MAX) {
        return false;
    }
    *out = (struct heartbeat){.id = (uint32_t)id};
    return text_read_hex(text, &out->nonce) && text_read_number(text, &out->sequence) &&
           text_read_number(text, &out->epoch) && text_read_hex(text, &out->view_hash) &&
           text_read_hex(text, &out->effective_hash) && text_read_hex(text, &out->config_hash) &&
           text_read_number(text, &out->clock_ceiling);
}

bool heartbeat_parse(struct slice text, const struct view_names *names, struct heartbeat *out)
{
    struct slice rest = text;
    if (text.len > HEARTBEAT_BYTES_MAX || !read_head(&rest, out)) {
        return false;
    }
    char again[HEARTBEAT_BYTES_MAX];
    struct mc_writer w = mc_writer_of(again, sizeof(again));
    write_head(out, &w);
    char bytes[2][NODE_NAME_BYTES_MAX];
    struct slice last = {0};
    for (uint32_t turn = 0; slice_has_prefix(rest, SLICE("given-up ")); turn ^= 1) {
        struct slice value = text_next_value(&rest);
        struct slice name;
        if (!text_read_name(mc_next_word(&value), bytes[turn], sizeof bytes[turn], &name) ||
            text_compare(last, name) >= 0) {
            return false;
        }
        out->given_up |= text_find_nodes(names, name);
        write_given_up(name, &w);
        last = name;
    }
    mc_write(&w, SLICE("end\n"));
    return !w.is_full && slice_is_equal(text, slice_of(again, w.len));
}
