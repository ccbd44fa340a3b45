/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Comparing all copies of a pool, and mending what differs, while traffic runs.
 * Source: replication.md section 5 "Settling", section 7 "Copy of one key". Pure; driven by
 * control, one verify at a time.
 *
 * It relies on what control guarantees: all nodes that it compares are complete in the view in
 * effect, the lease holds, and a change of view is joined only when it rests.
 */
#ifndef EVERWARM_CORE_VERIFY_H
#define EVERWARM_CORE_VERIFY_H

#include "everwarm/base/limits.h"
#include "everwarm/core/topology.h"
#include "everwarm/core/wire.h"

#include <stdbool.h>
#include <stdint.h>

/* Wires: one to each node (wire = node index), to read; one for dumps; one for all that it writes.
 */
#define VERIFY_WIRE_DUMP(node_count)  (node_count)
#define VERIFY_WIRE_MEND(node_count)  ((node_count) + 1)
#define VERIFY_WIRE_COUNT(node_count) ((node_count) + 2)

enum {
    VERIFY_WINDOW_MAX = 1024,
    VERIFY_ALL_NODES = 0xffffffff,
    /* Differences that are named; all are counted. */
    VERIFY_EXAMPLES_MAX = 16,
};

struct verify_options {
    uint32_t node_count;
    uint64_t item_bytes_max; /* larger ones are compared and not mended */
    uint32_t window;         /* keys in flight at most, 1..VERIFY_WINDOW_MAX */
    uint32_t table_bytes;    /* memory for the keys of one pass */
    uint64_t timeout_us;     /* a wire that owes an answer is silent for so long: it fails */
    uint64_t settle_us;      /* between two looks at what differs; at least the request timeout */
};

enum verify_state {
    VERIFY_IDLE,
    VERIFY_DUMPING,   /* the nodes' dumps are read, one after the other */
    VERIFY_COMPARING, /* the keys of this pass are compared */
    VERIFY_DONE,
    VERIFY_FAILED, /* verify_failure() says why; nothing is concluded */
};

struct verify_plan {
    const struct topology *topology; /* copied */
    uint32_t node;       /* only pairs that this node is one of; VERIFY_ALL_NODES: all pairs */
    bool is_mending;     /* otherwise it only looks */
    bool has_tokens;     /* a copy's CAS is its version: no value is moved to compare */
    uint64_t rate_bytes; /* a second; 0: no fixed limit */
    uint64_t rate_keys;  /* likewise */
    uint64_t proof_us;   /* when that long has passed, what a broken connection carried is done */
    node_set evicting;   /* nodes that have evicted: what they lack was perhaps dropped by them */
    int64_t clock_s[NODES_MAX]; /* each node's time less ours */
};

/* How a copy differs from its leader's, and how that is called. */
#define VERIFY_KIND_TABLE(X)                                                                       \
    X(MISSING, "missing")                                                                          \
    X(VERSION, "version") /* other value, flags or marks; with tokens: other CAS */                \
    X(EXPIRY, "expiry")                                                                            \
    X(EXTRA, "extra")     /* the leader has it not, or not in a state that is copied */            \
    X(EVICTED, "evicted") /* missing where, or extra because, a node evicts */

enum verify_kind {
#define X(name, word) VERIFY_KIND_##name,
    VERIFY_KIND_TABLE(X)
#undef X
        VERIFY_KIND_COUNT
};

/* "missing" */
const char *verify_kind_word(enum verify_kind kind);

struct verify_example {
    enum verify_kind kind;
    uint32_t node;
    uint32_t leader;
    uint32_t key_bytes;
    char key[MC_KEY_BYTES_MAX];
};

struct verify_progress {
    uint64_t started_us;
    uint64_t keys_done;
    uint64_t keys_total;               /* known from dumps so far; 0 before the first */
    uint64_t bytes_done;               /* of values read */
    uint64_t found[VERIFY_KIND_COUNT]; /* copies that differ, each once */
    uint64_t mended;
    uint64_t unmended;  /* could not be: too large for the node, or no CAS */
    uint64_t unsettled; /* keys that changed at each of many looks */
    uint64_t forgotten; /* keys deleted everywhere, for they could not be made right */
    uint32_t example_count;
    struct verify_example examples[VERIFY_EXAMPLES_MAX];
};

struct verify;

/* Bytes of memory (aligned to 16) that verify_init wants. */
size_t verify_bytes(const struct verify_options *options);
struct verify *verify_init(void *memory, const struct verify_options *options);

/* Begin; it is at rest, and IDLE, DONE or FAILED. */
void verify_start(struct verify *verify, const struct verify_plan *plan, uint64_t now_us);

/* Give up; the state is IDLE. What was written and not answered is read to its end. */
void verify_stop(struct verify *verify, uint64_t now_us);

/*
 * Hold: nothing new begins, a copy under way is looked after, and one that has not been confirmed
 * is taken back. Until verify_go_on, which forgets what was seen once.
 */
void verify_hold(struct verify *verify, uint64_t now_us);
void verify_go_on(struct verify *verify, uint64_t now_us);
/* It holds or has ended, and no write of its is under way but on the nodes of verify_given_up and
 * verify_unproven. */
bool verify_is_at_rest(const struct verify *verify);
/* Nodes to which its connection was given up with a write on it, and is not yet at its end. */
node_set verify_given_up(const struct verify *verify);
/* A connection to it with a write on it ended without EOF: what it carried may still be done. */
node_set verify_unproven(const struct verify *verify, uint64_t now_us);
/* Nodes where something was left behind that nobody looks after: a copy that was not looked at
 * again, what a broken connection carried, or what was deleted unseen. Dumps that are taken when
 * they are no longer among those above show it: a run is owed. Who sees to that calls
 * verify_take_owed. */
node_set verify_owed(const struct verify *verify);
void verify_take_owed(struct verify *verify);
/* A write of this proxy has been given up somewhere: no comparison counts that is not begun after
 * this. Called as long as it is so. */
void verify_cloud(struct verify *verify, uint64_t now_us);

/* What may change while it runs, as in verify_options and verify_plan. */
struct verify_limits {
    uint32_t window;
    uint64_t timeout_us;
    uint64_t settle_us;
};
/* Go on by these. */
void verify_set_limits(struct verify *verify, const struct verify_limits *limits);
void verify_set_rate(struct verify *verify, uint64_t rate_bytes, uint64_t rate_keys);

void verify_step(struct verify *verify, const struct wire_event *event, uint64_t now_us);
/* Call every 10 ms or sooner while it runs or is not at rest. */
void verify_tick(struct verify *verify, uint64_t now_us);
bool verify_next_action(struct verify *verify, struct wire_action *out);
size_t verify_gather(const struct verify *verify, uint32_t wire, struct slice *out,
                     size_t capacity);

enum verify_state verify_state(const struct verify *verify);
const char *verify_state_word(enum verify_state state);
const char *verify_failure(const struct verify *verify);
const struct verify_progress *verify_progress(const struct verify *verify);

#endif
