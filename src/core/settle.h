/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keys that were written, until their copies have been seen to be equal; and keys that were read,
 * until a warming node has them. Part of the dataplane: settle.c (the queue), settle_check.c (one
 * comparison or repair, or one key for a warming node), warm.c (which keys those are).
 */
#ifndef EVERWARM_CORE_SETTLE_H
#define EVERWARM_CORE_SETTLE_H

#include "dataplane_private.h"

struct settle_entry {
    struct list due;
    struct settle_entry *next;  /* in its slot */
    struct settle_check *check; /* under way; NULL: none */
    uint64_t key_hash;
    uint64_t due_us;
    uint64_t seen;   /* what the copies were when they last differed, in one number; 0: nothing */
    uint32_t writes; /* of this worker to the key, under way */
    uint8_t tries;   /* comparisons that found a difference */
    uint8_t key_bytes;
    bool is_parked;
    bool is_base64; /* the key is written so */
    bool is_marked; /* by the last write */
    char key[MC_KEY_BYTES_MAX];
    uint64_t own_cas[]; /* by node: what our last write made it; 0: we deleted it */
};

/* One node's copy. */
struct settle_copy {
    bool is_there;
    bool is_won;    /* our read took it */
    bool is_marked; /* stale, won or sent */
    uint64_t cas;
    int64_t ttl_s;
    uint32_t flags;
    uint64_t value_bytes;
    uint64_t digest; /* of the value, where it was read */
};

enum settle_step {
    SETTLE_COMPARE, /* CAS and expiry of all */
    SETTLE_DIGEST,  /* without tokens, where one is not what our write left: their values */
    SETTLE_UNMARK,  /* our read took the one win of a stale item: it is given back */
    SETTLE_READ,    /* the leader's item, to be copied */
    SETTLE_ASK,     /* warm: has the warming node the key? SETTLE_READ follows if not */
    SETTLE_COPY,    /* it is on its way to `target`; from here on it is a write */
    SETTLE_DELETE,  /* the leader has none: the other's goes */
    SETTLE_LOOK,    /* is the leader's still what was copied? */
    SETTLE_UNDO,
    SETTLE_CLEAN, /* what became of a copy on a warming node is unknown: it is deleted there */
};

struct settle_check {
    struct settle_entry *entry;
    struct txn *txn;
    enum settle_step step;
    uint32_t target;
    bool is_warm;   /* the key was read, not written: `target` is to have it */
    bool is_large;  /* warm: only one such at a time */
    bool is_failed; /* some node did not answer, or not sensibly; or it was written since */
    uint64_t our_cas;
    struct settle_copy item; /* the leader's, as READ saw it */
    struct settle_copy copies[NODES_MAX];
};

enum settle_when { SETTLE_NOW, SETTLE_FRESH, SETTLE_AGAIN, SETTLE_PARKED };

/* Queue ENTRY, which is under no check; while a write is under way that is left to it. */
void settle_put_back(struct dataplane *dp, struct settle_entry *entry, enum settle_when when);
/* Its copies are equal, or there is nothing to be done. */
void settle_forget(struct dataplane *dp, struct settle_entry *entry);
/* What can't be made right is deleted on all nodes. ENTRY is gone, or under that delete. */
void settle_give_up(struct dataplane *dp, struct settle_entry *entry);
/* False: no memory. */
bool settle_check_begin(struct dataplane *dp, struct settle_check *check);
/* Its target, which is warming, is to have the key. The check may be over when this returns. */
void settle_check_warm(struct dataplane *dp, struct settle_check *check);
/* CHECK is at SETTLE_CLEAN and waits: go on if it can. */
void settle_check_clean(struct dataplane *dp, struct settle_check *check);
/* CHECK waits at SETTLE_CLEAN, to be asked in each tick. */
void settle_await_clean(struct dataplane *dp, struct settle_check *check);
void settle_check_end(struct dataplane *dp, struct settle_check *check);

#endif
