/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The view's text, and what a dataplane makes of a view.
 *
 * Reading is lax and then proves itself: what was read is written again, and only the very same
 * bytes count. So the writer alone says what a view looks like, and a field that is added there
 * can't be read too generously.
 *
 * I1. A text is accepted only if view_emit gives it back byte for byte, its hash included.
 * I2. Equal views have equal texts and so equal hashes, in whatever order a pool lists its nodes.
 */
#include "everwarm/core/view.h"

#include "everwarm/base/invariant.h"
#include "text.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

int view_compare(const struct view *a, const struct view *b)
{
    if (a->epoch != b->epoch) {
        return a->epoch > b->epoch ? 1 : -1;
    }
    return (a->proposer > b->proposer) - (a->proposer < b->proposer);
}

static void write_node(struct mc_writer *w, struct slice name, const struct view_node *node)
{
    REQUIRE(node->data == NODE_DATA_FILLING || node->filler == VIEW_NO_PROXY);
    const uint64_t identity[] = {node->identity.pid, node->identity.started_s,
                                 node->identity.flushes};
    mc_write(w, SLICE("node "));
    text_write_name(w, name);
    mc_write(w, SLICE(" "));
    text_write_word(w, node_data_word(node->data));
    mc_write(w, SLICE(" "));
    text_write_word(w, node_admin_word(node->admin));
    for (size_t i = 0; i < sizeof(identity) / sizeof(identity[0]); i++) {
        mc_write(w, SLICE(" "));
        mc_write_u64(w, identity[i]);
    }
    mc_write(w, SLICE(" "));
    text_write_id(w, node->filler);
    mc_write(w, SLICE("\n"));
}

/* All that stands above the hash, and is hashed. */
static void write_body(const struct view *view, const struct view_names *names, struct mc_writer *w)
{
    REQUIRE(view->node_count == names->node_count && view->ancestor_count <= VIEW_ANCESTORS_MAX);
    mc_write(w, SLICE("everwarm-view 1\n"));
    text_write_number(w, SLICE("epoch"), view->epoch);
    mc_write(w, SLICE("proposer "));
    text_write_id(w, view->proposer);
    mc_write(w, view->is_young ? SLICE("\nyoung yes\n") : SLICE("\nyoung no\n"));
    mc_write(w, view->has_tokens ? SLICE("tokens yes\nalone ") : SLICE("tokens no\nalone "));
    text_write_id(w, view->alone);
    mc_write(w, SLICE("\nflush "));
    text_write_id(w, view->flush_by);
    if (view->flush_by != VIEW_NO_PROXY) {
        mc_write(w, SLICE(" "));
        mc_write_u64(w, view->flush_delay_s);
    }
    mc_write(w, SLICE("\ndue "));
    text_write_id(w, view->due_by);
    mc_write(w, SLICE("\n"));
    for (uint32_t i = 0; i < view->ancestor_count; i++) {
        text_write_hex(w, SLICE("ancestor"), view->ancestors[i]);
    }
    uint32_t order[NODES_MAX];
    text_sort_nodes(names, order);
    for (uint32_t i = 0; i < view->node_count; i++) {
        write_node(w, names->nodes[order[i]], &view->nodes[order[i]]);
    }
}

void view_seal(struct view *view, const struct view_names *names)
{
    char text[VIEW_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    write_body(view, names, &w);
    REQUIRE(!w.is_full);
    view->hash = XXH3_64bits(text, w.len);
}

void view_emit(const struct view *view, const struct view_names *names, struct mc_writer *w)
{
    size_t start = w->len;
    write_body(view, names, w);
    if (w->is_full) {
        return;
    }
    /* A view that was changed and not sealed would be refused by everyone who reads it. */
    REQUIRE(view->hash == XXH3_64bits(w->ptr + start, w->len - start));
    text_write_hex(w, SLICE("hash"), view->hash);
    mc_write(w, SLICE("end\n"));
}

static bool read_data(struct slice word, enum node_data *out)
{
    for (enum node_data data = NODE_DATA_COMPLETE; data <= NODE_DATA_OUT; data++) {
        if (text_is_word(word, node_data_word(data))) {
            *out = data;
            return true;
        }
    }
    return false;
}

static bool read_admin(struct slice word, enum node_admin *out)
{
    for (enum node_admin admin = NODE_ADMIN_READY; admin <= NODE_ADMIN_MAINT; admin++) {
        if (text_is_word(word, node_admin_word(admin))) {
            *out = admin;
            return true;
        }
    }
    return false;
}

static bool read_node(struct slice value, const struct view_names *names, struct view *out)
{
    char bytes[NODE_NAME_BYTES_MAX];
    struct slice name;
    if (!text_read_name(mc_next_word(&value), bytes, &name)) {
        return false;
    }
    uint32_t index = text_find_node(names, name);
    if (index == TEXT_NO_NODE) {
        return false;
    }
    struct view_node *node = &out->nodes[index];
    return read_data(mc_next_word(&value), &node->data) &&
           read_admin(mc_next_word(&value), &node->admin) &&
           mc_read_u64(mc_next_word(&value), &node->identity.pid) &&
           mc_read_u64(mc_next_word(&value), &node->identity.started_s) &&
           mc_read_u64(mc_next_word(&value), &node->identity.flushes) &&
           text_read_id(mc_next_word(&value), &node->filler) &&
           (node->data == NODE_DATA_FILLING || node->filler == VIEW_NO_PROXY);
}

static bool read_flush(struct slice value, struct view *out)
{
    uint64_t delay_s = 0;
    if (!text_read_id(mc_next_word(&value), &out->flush_by)) {
        return false;
    }
    if (out->flush_by != VIEW_NO_PROXY &&
        (!mc_read_u64(mc_next_word(&value), &delay_s) || delay_s > UINT32_MAX)) {
        return false;
    }
    out->flush_delay_s = (uint32_t)delay_s;
    return true;
}

/* Read what write_body wrote. Spaces, digits, order and missing lines are left to I1. */
static bool read_body(struct slice *text, const struct view_names *names, struct view *out)
{
    (void)text_next_value(text);
    if (!text_read_number(text, &out->epoch) || out->epoch == 0) {
        return false;
    }
    struct slice value = text_next_value(text);
    if (!text_read_id(mc_next_word(&value), &out->proposer) || out->proposer == VIEW_NO_PROXY) {
        return false;
    }
    value = text_next_value(text);
    out->is_young = text_is_word(mc_next_word(&value), "yes");
    value = text_next_value(text);
    out->has_tokens = text_is_word(mc_next_word(&value), "yes");
    value = text_next_value(text);
    if (!text_read_id(mc_next_word(&value), &out->alone)) {
        return false;
    }
    if (!read_flush(text_next_value(text), out)) {
        return false;
    }
    value = text_next_value(text);
    if (!text_read_id(mc_next_word(&value), &out->due_by)) {
        return false;
    }
    for (; slice_has_prefix(*text, SLICE("ancestor ")); out->ancestor_count++) {
        if (out->ancestor_count == VIEW_ANCESTORS_MAX ||
            !text_read_hex(text, &out->ancestors[out->ancestor_count])) {
            return false;
        }
    }
    while (slice_has_prefix(*text, SLICE("node "))) {
        if (!read_node(text_next_value(text), names, out)) {
            return false;
        }
    }
    return true;
}

bool view_parse(struct slice text, const struct view_names *names, struct view *out)
{
    if (text.len > VIEW_BYTES_MAX) {
        return false;
    }
    *out = (struct view){.node_count = names->node_count};
    for (uint32_t i = 0; i < names->node_count; i++) {
        out->nodes[i].filler = VIEW_NO_PROXY;
    }
    struct slice rest = text;
    uint64_t hash;
    if (!read_body(&rest, names, out) || !text_read_hex(&rest, &hash)) {
        return false;
    }
    view_seal(out, names);
    if (out->hash != hash) {
        return false;
    }
    char again[VIEW_BYTES_MAX];
    struct mc_writer w = mc_writer_of(again, sizeof(again));
    view_emit(out, names, &w);
    return !w.is_full && slice_is_equal(text, slice_of(again, w.len));
}

void view_topology(const struct view *view, struct topology *out)
{
    node_set complete = 0;
    node_set ready = 0;
    node_set chained = 0;
    for (uint32_t i = 0; i < view->node_count; i++) {
        const struct view_node *node = &view->nodes[i];
        switch (node->data) {
        case NODE_DATA_COMPLETE:
            complete |= node_set_of(i);
            break;
        case NODE_DATA_FILLING:
        case NODE_DATA_WARMING:
            chained |= node_set_of(i);
            break;
        case NODE_DATA_OUT:
            break;
        }
        if (node->admin == NODE_ADMIN_READY) {
            ready |= node_set_of(i);
        }
        out->identity[i] = node->identity;
    }
    out->epoch = view->epoch;
    out->view_hash = view->hash;
    out->node_count = view->node_count;
    out->complete = complete;
    out->leaders = (complete & ready) != 0 ? complete & ready : complete;
    out->chained = chained;
    out->is_lone = view->node_count == 1;
    out->is_holding = view->flush_by != VIEW_NO_PROXY;
    out->is_young = view->is_young;
    out->has_tokens = view->has_tokens;
}

static void write_key(const struct view_names *names, struct slice kind, struct mc_writer *w)
{
    mc_write(w, SLICE(VIEW_RESERVED_PREFIX "1:"));
    mc_write(w, names->pool);
    mc_write(w, kind);
}

void view_key_view(const struct view_names *names, struct mc_writer *w)
{
    write_key(names, SLICE(":view"), w);
}

void view_key_heartbeat(const struct view_names *names, uint32_t id, struct mc_writer *w)
{
    REQUIRE(id < PROXIES_MAX);
    write_key(names, SLICE(":hb:"), w);
    mc_write_u64(w, id);
}

void view_key_id(const struct view_names *names, uint32_t id, struct mc_writer *w)
{
    REQUIRE(id < PROXIES_MAX);
    write_key(names, SLICE(":id:"), w);
    mc_write_u64(w, id);
}

void view_id_emit(uint64_t nonce, struct mc_writer *w)
{
    mc_write(w, SLICE("everwarm-id 1\n"));
    text_write_hex(w, SLICE("nonce"), nonce);
    mc_write(w, SLICE("end\n"));
}

bool view_id_parse(struct slice text, uint64_t *nonce)
{
    char again[VIEW_ID_BYTES_MAX];
    struct mc_writer w = mc_writer_of(again, sizeof(again));
    struct slice rest = text;
    uint64_t read;
    (void)text_next_value(&rest);
    if (!text_read_hex(&rest, &read)) {
        return false;
    }
    view_id_emit(read, &w);
    if (w.is_full || !slice_is_equal(text, slice_of(again, w.len))) {
        return false;
    }
    *nonce = read;
    return true;
}
