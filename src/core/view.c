/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The view's text, and what a dataplane makes of a view.
 *
 * Reading is lax and then proves itself: what was read is written again, and only the very same
 * bytes count. So the writer alone says what a view looks like, and a field that is added there
 * can't be read too generously.
 *
 * I1. A text is accepted only if view_emit gives it back byte for byte, its hash included.
 * I2. Equal views have equal texts and so equal hashes, at whatever places their nodes stand.
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
    if (a->proposer != b->proposer) {
        return a->proposer > b->proposer ? 1 : -1;
    }
    return (a->hash > b->hash) - (a->hash < b->hash);
}

void view_name_node(struct view_node *node, struct slice name, struct slice address)
{
    size_t name_bytes = name.len < sizeof node->name ? name.len : sizeof node->name;
    size_t address_bytes = address.len < sizeof node->address ? address.len : sizeof node->address;
    memset(node->name, 0, sizeof node->name);
    memset(node->address, 0, sizeof node->address);
    memcpy(node->name, name.ptr, name_bytes);
    memcpy(node->address, address.ptr, address_bytes);
    node->name_bytes = (uint8_t)name_bytes;
    node->address_bytes = (uint8_t)address_bytes;
}

void view_clear_others(struct view *view)
{
    for (node_set left = ~view->members; left != 0; left &= left - 1) {
        view->nodes[node_set_first(left)] =
            (struct view_node){.data = NODE_DATA_OUT, .filler = VIEW_NO_PROXY};
    }
}

/* The members in the order of their names. Returns their number. */
static uint32_t sort_members(const struct view *view, uint32_t order[NODES_MAX])
{
    uint32_t count = 0;
    for (node_set left = view->members; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        uint32_t at = count++;
        for (; at > 0 && text_compare(view_name(&view->nodes[order[at - 1]]),
                                      view_name(&view->nodes[node])) > 0;
             at--) {
            order[at] = order[at - 1];
        }
        order[at] = node;
    }
    return count;
}

bool view_has_same_names(const struct view *a, const struct view *b)
{
    uint32_t order_a[NODES_MAX];
    uint32_t order_b[NODES_MAX];
    uint32_t count = sort_members(a, order_a);
    bool is_same = count == sort_members(b, order_b);
    for (uint32_t i = 0; is_same && i < count; i++) {
        is_same =
            slice_is_equal(view_name(&a->nodes[order_a[i]]), view_name(&b->nodes[order_b[i]]));
    }
    return is_same;
}

static void write_node(struct mc_writer *w, const struct view_node *node)
{
    REQUIRE(node->data == NODE_DATA_FILLING || node->filler == VIEW_NO_PROXY);
    REQUIRE(node->data == NODE_DATA_FILLING || !node->is_split);
    const uint64_t identity[] = {node->identity.pid, node->identity.started_s,
                                 node->identity.flushes};
    mc_write(w, SLICE("node "));
    text_write_name(w, view_name(node));
    mc_write(w, SLICE(" "));
    text_write_name(w, view_address(node));
    mc_write(w, node->is_told ? SLICE(" told ") : SLICE(" own "));
    text_write_word(w, node_data_word(node->data));
    mc_write(w, SLICE(" "));
    text_write_word(w, node_admin_word(node->admin));
    for (size_t i = 0; i < sizeof(identity) / sizeof(identity[0]); i++) {
        mc_write(w, SLICE(" "));
        mc_write_u64(w, identity[i]);
    }
    mc_write(w, SLICE(" "));
    text_write_id(w, node->filler);
    mc_write(w, node->is_split ? SLICE(" split\n") : SLICE("\n"));
}

/* All that stands above the hash, and is hashed. */
static void write_body(const struct view *view, struct mc_writer *w)
{
    REQUIRE(view->members != 0 && view->ancestor_count <= VIEW_ANCESTORS_MAX);
    mc_write(w, SLICE("everwarm-view 1\n"));
    text_write_number(w, SLICE("epoch"), view->epoch);
    mc_write(w, SLICE("proposer "));
    text_write_id(w, view->proposer);
    mc_write(w, SLICE("\n"));
    text_write_hex(w, SLICE("origin"), view->origin);
    mc_write(w, view->is_young ? SLICE("young yes\n") : SLICE("young no\n"));
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
    uint32_t count = sort_members(view, order);
    for (uint32_t i = 0; i < count; i++) {
        write_node(w, &view->nodes[order[i]]);
    }
}

void view_seal(struct view *view)
{
    char text[VIEW_BYTES_MAX];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    write_body(view, &w);
    REQUIRE(!w.is_full);
    view->hash = XXH3_64bits(text, w.len);
}

void view_emit(const struct view *view, struct mc_writer *w)
{
    size_t start = w->len;
    write_body(view, w);
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

/* The next node; names come in order, and so none comes twice. */
static bool read_node(struct slice value, struct view *out)
{
    char name_bytes[NODE_NAME_BYTES_MAX];
    char address_bytes[VIEW_ADDRESS_BYTES_MAX];
    struct slice name;
    struct slice address;
    uint32_t at = node_set_count(out->members);
    if (at == NODES_MAX ||
        !text_read_name(mc_next_word(&value), name_bytes, sizeof name_bytes, &name) ||
        !text_read_name(mc_next_word(&value), address_bytes, sizeof address_bytes, &address) ||
        (at > 0 && text_compare(view_name(&out->nodes[at - 1]), name) >= 0)) {
        return false;
    }
    struct view_node *node = &out->nodes[at];
    view_name_node(node, name, address);
    out->members |= node_set_of(at);
    node->is_told = text_is_word(mc_next_word(&value), "told");
    bool is_read = read_data(mc_next_word(&value), &node->data) &&
                   read_admin(mc_next_word(&value), &node->admin) &&
                   mc_read_u64(mc_next_word(&value), &node->identity.pid) &&
                   mc_read_u64(mc_next_word(&value), &node->identity.started_s) &&
                   mc_read_u64(mc_next_word(&value), &node->identity.flushes) &&
                   text_read_id(mc_next_word(&value), &node->filler);
    node->is_split = text_is_word(mc_next_word(&value), "split");
    return is_read &&
           (node->data == NODE_DATA_FILLING || (node->filler == VIEW_NO_PROXY && !node->is_split));
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
static bool read_body(struct slice *text, struct view *out)
{
    (void)text_next_value(text);
    if (!text_read_number(text, &out->epoch) || out->epoch == 0) {
        return false;
    }
    struct slice value = text_next_value(text);
    if (!text_read_id(mc_next_word(&value), &out->proposer) || out->proposer == VIEW_NO_PROXY) {
        return false;
    }
    if (!text_read_hex(text, &out->origin)) {
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
        if (!read_node(text_next_value(text), out)) {
            return false;
        }
    }
    return out->members != 0;
}

bool view_parse(struct slice text, struct view *out)
{
    if (text.len > VIEW_BYTES_MAX) {
        return false;
    }
    *out = (struct view){.epoch = 0};
    view_clear_others(out);
    struct slice rest = text;
    uint64_t hash;
    if (!read_body(&rest, out) || !text_read_hex(&rest, &hash)) {
        return false;
    }
    view_seal(out);
    if (out->hash != hash) {
        return false;
    }
    char again[VIEW_BYTES_MAX];
    struct mc_writer w = mc_writer_of(again, sizeof(again));
    view_emit(out, &w);
    return !w.is_full && slice_is_equal(text, slice_of(again, w.len));
}

void view_place(struct view *view, const uint32_t place[NODES_MAX])
{
    struct view_node nodes[NODES_MAX];
    node_set left = view->members;
    memcpy(nodes, view->nodes, sizeof nodes);
    view->members = 0;
    for (; left != 0; left &= left - 1) {
        uint32_t from = node_set_first(left);
        REQUIRE(place[from] < NODES_MAX && (view->members & node_set_of(place[from])) == 0);
        view->nodes[place[from]] = nodes[from];
        view->members |= node_set_of(place[from]);
    }
    view_clear_others(view);
}

void view_topology(const struct view *view, struct topology *out)
{
    node_set complete = 0;
    node_set ready = 0;
    node_set chained = 0;
    node_set warming = 0;
    memset(out->name_bytes, 0, sizeof out->name_bytes);
    out->node_count = 0;
    for (node_set left = view->members; left != 0; left &= left - 1) {
        uint32_t i = node_set_first(left);
        const struct view_node *node = &view->nodes[i];
        switch (node->data) {
        case NODE_DATA_COMPLETE:
            complete |= node_set_of(i);
            break;
        case NODE_DATA_FILLING:
            chained |= node_set_of(i);
            break;
        case NODE_DATA_WARMING:
            chained |= node_set_of(i);
            warming |= node_set_of(i);
            break;
        case NODE_DATA_OUT:
            break;
        }
        if (node->admin == NODE_ADMIN_READY) {
            ready |= node_set_of(i);
        }
        out->identity[i] = node->identity;
        out->node_seed[i] = topology_hash(view_name(node));
        memcpy(out->name[i], node->name, sizeof out->name[i]);
        out->name_bytes[i] = node->name_bytes;
        out->node_count = i + 1;
    }
    out->epoch = view->epoch;
    out->view_hash = view->hash;
    out->complete = complete;
    out->leaders = (complete & ready) != 0 ? complete & ready : complete;
    out->chained = chained;
    out->warming = warming;
    out->is_lone = node_set_count(view->members) == 1;
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
