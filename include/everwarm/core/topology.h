/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The immutable picture of a pool that a dataplane acts on: the effective view, as far as requests
 * need it, and who is the leader of a key. Source: replication.md section 4.
 */
#ifndef EVERWARM_CORE_TOPOLOGY_H
#define EVERWARM_CORE_TOPOLOGY_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"

#include <stdbool.h>
#include <stdint.h>

enum node_data { NODE_DATA_COMPLETE, NODE_DATA_FILLING, NODE_DATA_WARMING, NODE_DATA_OUT };
enum node_admin { NODE_ADMIN_READY, NODE_ADMIN_DRAIN, NODE_ADMIN_MAINT };
enum node_oper { NODE_OPER_DOWN, NODE_OPER_UP };

/* "complete", "drain", "up": the words of the API, the view's text and the logs. */
const char *node_data_word(enum node_data data);
const char *node_admin_word(enum node_admin admin);
const char *node_oper_word(enum node_oper oper);

/*
 * Which run of which memcached a node is (replication.md section 4). All zero: unknown.
 */
struct identity {
    uint64_t pid;
    uint64_t started_s; /* stats: time - uptime */
    uint64_t flushes;   /* stats: cmd_flush */
};

static inline bool identity_is_known(const struct identity *id)
{
    return id->pid != 0;
}

static inline bool identity_is_equal(const struct identity *a, const struct identity *b)
{
    return a->pid == b->pid && a->started_s == b->started_s && a->flushes == b->flushes;
}

/* The same process, flushed in between or not. */
static inline bool identity_is_same_process(const struct identity *a, const struct identity *b)
{
    return a->pid == b->pid && a->started_s == b->started_s;
}

/* A set of a pool's nodes: bit i is the node at place i, where it stays as long as it is used. */
typedef uint32_t node_set;

static inline node_set node_set_of(uint32_t node)
{
    return (node_set)1 << node;
}

static inline uint32_t node_set_count(node_set set)
{
    return (uint32_t)__builtin_popcount(set);
}

/* The lowest node of a set that is not empty. */
static inline uint32_t node_set_first(node_set set)
{
    return (uint32_t)__builtin_ctz(set);
}

/* All nodes of a pool of COUNT (1..NODES_MAX) nodes. */
static inline node_set node_set_all(uint32_t count)
{
    return count >= 32 ? ~(node_set)0 : ((node_set)1 << count) - 1;
}

struct topology {
    uint64_t serial;     /* of this process: grows with each topology published */
    uint64_t epoch;      /* of the view; 0 before the first */
    uint64_t view_hash;  /* of the view */
    uint32_t node_count; /* places, used or not: above the last node in the view */
    node_set complete;   /* serve reads, if also in leaders; take every write */
    node_set leaders;    /* complete and not drained; if none is, all complete */
    node_set chained;    /* filling or warming: writes after all complete ones acknowledged */
    node_set warming;    /* of them: what is read is stored on these too */
    bool is_lone;        /* a pool of one node: complete with whatever identity it has */
    bool is_holding;     /* a flush is due in this view: nothing begins */
    bool is_read_only;   /* another proxy is alone in this view: no write begins */
    bool is_stopped;     /* no majority of the nodes is up, and so (split: stop) no write begins */
    bool is_young;       /* first-start trust or a lost last copy: a miss asks the next replica */
    bool is_settling;    /* copies are compared after writes; not while one worker writes alone */
    bool has_tokens;     /* writes give all copies the same CAS (core/token.h) */
    uint16_t proxy_id;   /* ours, for tokens */
    uint64_t token_base_ms;        /* with our monotonic time, the time of tokens */
    uint64_t node_seed[NODES_MAX]; /* hash of the node's name: the same in every proxy */
    char name[NODES_MAX][NODE_NAME_BYTES_MAX]; /* of nodes in the view */
    uint8_t name_bytes[NODES_MAX];             /* 0: the view names no node here */
    struct identity identity[NODES_MAX];       /* of complete and warming nodes */
};

/* Hash of a key, the same in all proxies and releases (XXH3, 64 bits, seed 0). */
uint64_t topology_hash(struct slice key);

/*
 * Choose among NODES the one that comes first in the key's order of replicas (rendezvous: the
 * highest mix of key and node). A mirror's replicas are all nodes, so the order only spreads the
 * leaders, and stays as it is when a node goes.
 *
 *   nodes    not empty
 */
uint32_t topology_first(const struct topology *topology, uint64_t key_hash, node_set nodes);

/* The leader of a key; topology->leaders is not empty. */
static inline uint32_t topology_leader(const struct topology *topology, uint64_t key_hash)
{
    return topology_first(topology, key_hash, topology->leaders);
}

#endif
