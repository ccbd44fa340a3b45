/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The view: what all proxies of a pool agree on, and its text on the nodes (docs/wire.md).
 * Source: replication.md section 4. Pure data; who proposes and joins is control's.
 */
#ifndef EVERWARM_CORE_VIEW_H
#define EVERWARM_CORE_VIEW_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"
#include "everwarm/core/topology.h"
#include "everwarm/mc/encode.h"

#include <stdbool.h>
#include <stdint.h>

enum { VIEW_NO_PROXY = 0xffff };

/* At the place of a node that the view does not name: data is OUT, filler VIEW_NO_PROXY. */
struct view_node {
    struct identity identity; /* complete: of the data; otherwise as last known, may be unknown */
    enum node_data data;
    enum node_admin admin;
    uint16_t filler; /* filling: proxy id; otherwise VIEW_NO_PROXY */
    char name[NODE_NAME_BYTES_MAX];
    char address[VIEW_ADDRESS_BYTES_MAX];
    uint8_t name_bytes;
    uint8_t address_bytes;
    /* Filling: with this identity it was complete on the other side of a split, and no write has
     * passed it by since that healed. What differs is forgotten on both sides. */
    bool is_split;
    /* The address was given by an operator while the pool ran, and counts for all proxies. If not,
     * a proxy whose configuration names the node goes by the address there. */
    bool is_told;
};

struct view {
    uint64_t epoch;    /* 0: no view */
    uint16_t proposer; /* proxy id */
    uint64_t origin;   /* random, of the pool's first view: tells this pool from all others */
    uint64_t hash;     /* of the lines that stand above it in the text */
    bool is_young;     /* first-start trust, or the last copy was lost, in this view */
    bool has_tokens;   /* the CAS of every copy is a token: all nodes that are not out know `E` */
    uint16_t alone;    /* this proxy need not settle, and no other writes; else VIEW_NO_PROXY */
    uint16_t flush_by; /* a flush of all nodes is due, and this proxy does it; else VIEW_NO_PROXY */
    uint32_t flush_delay_s; /* of that flush */
    uint16_t due_by; /* a verify of the pool is due, and this proxy does it; else VIEW_NO_PROXY */
    uint32_t ancestor_count;
    uint64_t ancestors[VIEW_ANCESTORS_MAX]; /* hashes; latest first */
    node_set members;                       /* the nodes that it names, at least one */
    struct view_node nodes[NODES_MAX];
};

/* What a pool's reserved keys and heartbeats are written with. Borrowed, valid for ever. */
struct view_names {
    struct slice pool;
    uint32_t node_count;       /* places for nodes, used or not: 1..NODES_MAX */
    const struct slice *nodes; /* a name at each place; "": unused */
};

static inline struct slice view_name(const struct view_node *node)
{
    return slice_of(node->name, node->name_bytes);
}

static inline struct slice view_address(const struct view_node *node)
{
    return slice_of(node->address, node->address_bytes);
}

/* Name and address are cut at their bounds. */
void view_name_node(struct view_node *node, struct slice name, struct slice address);
/* Make each node that is no member look so. */
void view_clear_others(struct view *view);

/* Positive when A is above B: by epoch, then by proposer (replication.md section 4), then by hash.
 * Both are sealed. */
int view_compare(const struct view *a, const struct view *b);

/* Do both name the same nodes, wherever they stand? */
bool view_has_same_names(const struct view *a, const struct view *b);

/* Compute view->hash anew, after a change. */
void view_seal(struct view *view);

/* Write the text of a view that is sealed. w->is_full afterwards: no room. */
void view_emit(const struct view *view, struct mc_writer *w);

/*
 * Read a view's text. Nodes stand in the order of the text then, the first at 0. All that view_emit
 * would not have written is an error: nothing is guessed from a damaged view.
 *
 * Returns  false, *out undefined.
 */
bool view_parse(struct slice text, struct view *out);

/* Move each node of VIEW from where it stands to PLACE[where it stands]: all different. */
void view_place(struct view *view, const uint32_t place[NODES_MAX]);

/* Fill in what a dataplane needs; serial stays as it is. */
void view_topology(const struct view *view, struct topology *out);

/* Write the reserved key "_everwarm:1:{pool}:view", ":hb:ID" or ":id:ID". */
void view_key_view(const struct view_names *names, struct mc_writer *w);
void view_key_heartbeat(const struct view_names *names, uint32_t id, struct mc_writer *w);
void view_key_id(const struct view_names *names, uint32_t id, struct mc_writer *w);

/* What stands under ":id:ID": the nonce of the run of a proxy that has taken the id. */
enum { VIEW_ID_BYTES_MAX = 64 };
void view_id_emit(uint64_t nonce, struct mc_writer *w);
/* False, *nonce unchanged, when it is not exactly what view_id_emit writes. */
bool view_id_parse(struct slice text, uint64_t *nonce);

/* All reserved keys begin with this. */
#define VIEW_RESERVED_PREFIX "_everwarm:"

#endif
