/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Filling a node that came back: copies every key from its leader, with look-again.
 * Source: replication.md section 7. Pure; driven by control, one fill at a time.
 *
 * Where copies carry tokens it is a diff: what the dumps of target and donor show alike is left
 * alone. Otherwise the target is flushed first, then every key is copied. "Exists" is compared
 * either way. It relies on what control guarantees: the effective view names us as filler, all
 * writes to the target are chained behind all complete replicas, and the lease holds.
 */
#ifndef EVERWARM_CORE_FILL_H
#define EVERWARM_CORE_FILL_H

#include "everwarm/core/topology.h"
#include "everwarm/core/wire.h"

#include <stdbool.h>
#include <stdint.h>

enum fill_wire { FILL_WIRE_TARGET, FILL_WIRE_DONOR, FILL_WIRE_DUMP, FILL_WIRE_COUNT };

struct fill_options {
    uint64_t item_bytes_max;
    uint64_t rate_bytes;  /* a second; 0: no fixed limit */
    uint64_t rate_keys;   /* likewise */
    uint32_t window;      /* keys in flight at most, 1..FILL_WINDOW_MAX */
    uint32_t list_bytes;  /* memory for the list of keys of one pass */
    uint32_t table_bytes; /* and for what the target holds, in a diff */
    uint64_t timeout_us;  /* a wire that owes an answer is silent for so long: the fill fails */
};

enum { FILL_WINDOW_MAX = 1024 };

enum fill_state {
    FILL_IDLE,
    FILL_CONNECTING, /* target, then its identity */
    FILL_FLUSHING,   /* flush_all sent to the target, then two seconds of its clock */
    FILL_DUMPING,    /* metadumps, in a diff the target's first, are read into the list */
    FILL_COPYING,    /* the list is copied */
    FILL_CHECKING,   /* the target's identity at the end */
    FILL_DONE,       /* control may propose the target complete, with fill_identity() */
    FILL_FAILED,     /* fill_failure() says why; all wires are closed */
};

struct fill_plan {
    uint32_t target;
    const struct topology *topology; /* borrowed until fill_stop, DONE or FAILED: leaders of keys */
    bool is_diff;                    /* the topology has tokens and leaders */
    int64_t clock_s[NODES_MAX];      /* is_diff: each node's time less ours */
    /* is_diff: known if the target, as this very run, served the other side of a split. What
     * differs is deleted on both sides first, for nobody knows which is the later. */
    struct identity split_of;
    /* No write is under way for longer, but for what a large value takes; and a node that answers
     * does within this what came over a connection that was reset. */
    uint64_t proof_us;
};

struct fill_progress {
    uint64_t started_us;
    uint64_t items_done;  /* of items_total: looked at, whatever came of them */
    uint64_t items_total; /* known from dumps so far; 0 before the first */
    uint64_t items_copied;
    uint64_t items_equal;     /* found on the target as they should be */
    uint64_t items_undone;    /* look-again found the donor changed */
    uint64_t items_gone;      /* missing, expired or marked at the donor by now */
    uint64_t items_skipped;   /* left deleted after FILL_TRIES_MAX tries */
    uint64_t items_forgotten; /* deleted on both sides of a split */
    uint64_t bytes_done;      /* of values copied */
    uint64_t eta_us;          /* at the present rate; UINT64_MAX unknown */
    uint64_t rate_items;      /* a second, lately */
};

struct fill;

/* Bytes of memory (aligned to 16) that fill_init wants. */
size_t fill_bytes(const struct fill_options *options);
struct fill *fill_init(void *memory, const struct fill_options *options);

/* Begin; the state is IDLE, DONE or FAILED, and nothing is given up. No donors (topology->leaders
 * empty): flush only. */
void fill_start(struct fill *fill, const struct fill_plan *plan, uint64_t now_us);

/* Give up: wires are closed, the state is IDLE. What was written to the target and not answered is
 * read to its end. */
void fill_stop(struct fill *fill, uint64_t now_us);

/* Take in what happened on one of the fill's wires (enum fill_wire). */
void fill_step(struct fill *fill, const struct wire_event *event, uint64_t now_us);

/* Time has passed: timeouts, rate limit, polling the target's clock. Call every 10 ms or sooner. */
void fill_tick(struct fill *fill, uint64_t now_us);

/* Take the next thing the fill wants done on its wires; false: nothing. */
bool fill_next_action(struct fill *fill, struct wire_action *out);

/* What WIRE_WRITE announced. Returns number of slices, at most CAPACITY. */
size_t fill_gather(const struct fill *fill, uint32_t wire, struct slice *out, size_t capacity);

enum fill_state fill_state(const struct fill *fill);
const char *fill_state_word(enum fill_state state);
const char *fill_failure(const struct fill *fill);
/* FAILED: a diff is not to be had from this target; the next fill must flush it. */
bool fill_wants_flush(const struct fill *fill);
/* FAILED: a donor gives no dump, and the target is empty but for what was put there since the fill
 * began: all of that is right, and fill_identity() is known. */
bool fill_is_refused(const struct fill *fill);
/* Whatever the target holds was put there since the fill began: all of it is right. */
bool fill_is_from_empty(const struct fill *fill);
/* It compares, and knows whose data the target's is. */
bool fill_is_diff(const struct fill *fill);
/* The target, while a connection that was given up with writes on it is not at its end. */
node_set fill_given_up(const struct fill *fill);
/* The node, as a set, that may still do what came over a connection that was reset. */
node_set fill_unproven(const struct fill *fill, uint64_t now_us);
struct identity fill_identity(const struct fill *fill);
struct fill_progress fill_progress(const struct fill *fill, uint64_t now_us);

/* What may change while it runs, as in fill_options. */
struct fill_limits {
    uint64_t rate_bytes;
    uint32_t window;
    uint64_t timeout_us;
};
/* Go on by these. */
void fill_set_limits(struct fill *fill, const struct fill_limits *limits);

#endif
