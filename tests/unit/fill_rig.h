/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A rig for the fill and the verify: model memcacheds, as far as these can tell them from real
 * ones, their wires, and a clock of its own. Each turn does one thing, so that a test can put
 * itself between any two: a connection opens, a node executes one command, or bytes reach the fill.
 */
#ifndef TESTS_UNIT_FILL_RIG_H
#define TESTS_UNIT_FILL_RIG_H

#include "everwarm/base/prng.h"
#include "everwarm/core/fill.h"
#include "everwarm/core/verify.h"

enum {
    RIG_NODES = 3,
    RIG_TARGET = 0,
    RIG_DONOR = 1,
    RIG_BUCKETS = 1024,
    RIG_TURNS_MAX = 5000000,
    RIG_TICK_US = 50000,
    RIG_WIRES_MAX = RIG_NODES + 2, /* the verify's; a fill has three */
};

struct rig_bytes {
    char *ptr;   /* of the bytes that are left */
    char *start; /* of the memory */
    size_t len;
    size_t capacity;
};

struct rig_item {
    struct rig_item *next;
    struct slice key; /* owned, like the value */
    struct slice value;
    uint32_t flags;
    int64_t expires_s; /* by the node's clock; 0 never */
    int64_t stored_s;
    uint64_t cas;
    bool is_stale;
    bool is_won;
};

struct rig_node {
    struct rig_item *buckets[RIG_BUCKETS];
    uint64_t pid;
    int64_t clock_s;   /* its time at our time 0 */
    int64_t flushed_s; /* what was stored up to then is dead; INT64_MIN: nothing */
    uint64_t flushes;
    uint64_t cas_last;
    bool has_no_cas;           /* -C */
    uint64_t dump_size_bytes;  /* what dumps say of each size; 0: the truth */
    struct slice dump_first;   /* written before the first line */
    struct slice dump_instead; /* of the next dump_instead_count dumps */
    uint32_t dump_instead_count;
    uint64_t store_bytes_max; /* larger values: SERVER_ERROR object too large */
    uint32_t dumps;
    uint32_t reads; /* mg with v */
};

struct rig_conn {
    bool is_wanted;
    bool is_open;
    bool is_finishing; /* half-closed: it ends when all that came has been executed */
    bool is_writing;   /* the fill has bytes for it */
    uint32_t node;
    struct rig_bytes in;  /* commands */
    struct rig_bytes out; /* replies */
};

struct rig;

/* What is in the rig. */
struct rig_engine {
    uint32_t wires;
    uint32_t dump_wire;
    void (*step)(struct rig *rig, const struct wire_event *event);
    void (*tick)(struct rig *rig);
    bool (*next_action)(struct rig *rig, struct wire_action *out);
    size_t (*gather)(struct rig *rig, uint32_t wire, struct slice *out, size_t capacity);
    bool (*is_copying)(const struct rig *rig);
    bool (*is_over)(const struct rig *rig);
};

struct rig {
    const struct rig_engine *engine;
    struct fill *fill;
    struct verify *verify;
    void *memory;
    struct fill_options options;
    struct topology topology;
    struct rig_node nodes[RIG_NODES];
    struct rig_conn conns[RIG_WIRES_MAX];
    struct prng prng;
    uint64_t now_us;
    size_t chunk;           /* bytes that reach the fill at once; 0: random */
    size_t write_max;       /* bytes that a socket takes at once */
    bool is_shuffled;       /* turns in random order */
    uint64_t executed;      /* commands, on all wires */
    uint64_t copied;        /* commands, on TARGET and DONOR while copying */
    bool is_diff;           /* the fill is to be one; topology.has_tokens */
    bool is_split;          /* of a target that served the other side of a split */
    uint64_t proof_us;      /* of the fill's plan */
    uint64_t tick_us;       /* so much time passes when there is nothing to do */
    uint64_t answer_us;     /* each command takes so long */
    uint32_t in_flight_max; /* reads at the donor not answered, lately */

    /* Called before each command but dumps while copying; copied counts them. */
    void (*before)(struct rig *rig, void *argument);
    void *argument;
    struct slice line; /* that command's, without its end */
    /* The reply to command number tamper_at (of executed) becomes this. */
    uint64_t tamper_at;
    struct slice tamper_with;
    bool is_tampering;
    bool is_mute; /* nodes execute nothing more */
};

struct rig *rig_create(const struct fill_options *options);
/* With a verify in it: all nodes are complete, and lead. */
struct rig *rig_create_verify(const struct verify_options *options);
struct verify_options rig_verify_options(void);
void rig_destroy(struct rig *rig);
struct fill_options rig_options(void);

void rig_start(struct rig *rig);
/* One turn; when there is nothing to do, time passes. */
void rig_turn(struct rig *rig);
bool rig_is_over(const struct rig *rig);
/* Turns until DONE or FAILED. */
void rig_run(struct rig *rig);
/* Take the fill's actions as they are now. */
void rig_act(struct rig *rig);
/* The connection ends. */
void rig_cut(struct rig *rig, uint32_t wire); /* by a reset */
void rig_end(struct rig *rig, uint32_t wire, enum wire_end end);
/* What an ended connection had brought and the node had not done yet. */
void rig_do_late(struct rig *rig, uint32_t wire);
/* Bytes from nowhere. */
void rig_say(struct rig *rig, uint32_t wire, struct slice bytes);

int64_t rig_time_s(const struct rig *rig, uint32_t node);
struct rig_item *rig_find(struct rig *rig, uint32_t node, struct slice key);
struct rig_item *rig_store(struct rig *rig, uint32_t node, struct slice key, struct slice value);
void rig_delete(struct rig *rig, uint32_t node, struct slice key);
/* The same seconds from now on every node; 0 never. */
void rig_expire(struct rig *rig, uint32_t node, struct slice key, int64_t ttl_s);
uint64_t rig_count(struct rig *rig, uint32_t node);
/* NULL when A's and B's item of KEY are equal as copies go, or what differs. */
const char *rig_difference(struct rig *rig, uint32_t a, uint32_t b, struct slice key);
/* Each item of donor, if it leads it, is on the target and nothing else is. */
void rig_assert_copied(struct rig *rig);

#endif
