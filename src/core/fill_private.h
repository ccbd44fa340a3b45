/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the fill share: fill.c (states), fill_wire.c (connections), fill_dump.c
 * (reading a dump), fill_list.c (the keys of one pass), fill_copy.c (one key's copy), fill_split.c
 * (a key that two sides of a split may have written).
 */
#ifndef EVERWARM_CORE_FILL_PRIVATE_H
#define EVERWARM_CORE_FILL_PRIVATE_H

#include "everwarm/base/limits.h"
#include "everwarm/core/fill.h"
#include "everwarm/mc/reply.h"

#include "dump_table.h"
#include "item.h"
#include "key_class.h"
#include "pace.h"
#include "stream.h"

enum {
    /* A key that a client changes during each of so many copies is hot: chained writes keep it
     * right on the target, and what else is lost is one miss. */
    FILL_TRIES_MAX = 8,
    FILL_POLL_US = 100000,
    /* flush_all kills what is stored in the same second; the clock ticks up to a second late. */
    FILL_FLUSH_WAIT_S = 2,
    /* Any command line of ours: verb, key, length, mode, three numbers of 20 digits, CRLF; with
     * room to spare, for slots reserve by it. */
    FILL_LINE_BYTES = 384,
    /* The output ring of the target holds this at least: a window of small items several times. */
    FILL_RING_BYTES_MIN = 1 << 20,
    /* A list below this would hold only a few of the longest keys. */
    FILL_LIST_BYTES_MIN = 4096,
    FILL_METER_US = 500000,
    FILL_FAILURE_BYTES = 128,
};

/* --- fill_list.c: the keys of one pass --- */

/*
 * Keys lie one after the other in the caller's memory and stay there until the list is cleared. The
 * list holds the keys of one class.
 */
struct fill_list {
    char *memory;
    uint32_t capacity;
    uint32_t used;
    uint32_t next; /* where fill_list_next goes on */
    bool has_cas;  /* of each key, as its leader's dump had it */
    struct key_class of;
};

struct fill_key {
    struct slice key;    /* in the list */
    uint64_t size_bytes; /* of the value, at least, as the dump had it; rounded up */
    uint64_t cas;        /* has_cas */
};

void fill_list_init(struct fill_list *list, void *memory, uint32_t capacity);
/* Begin with the class of all keys; the list is to have each key's CAS, or not. */
void fill_list_restart(struct fill_list *list, bool has_cas);
/* Forget the keys, keep the class. */
void fill_list_clear(struct fill_list *list);
/* Move to the class that comes next; false when all have been. The list is cleared. */
bool fill_list_next_class(struct fill_list *list);
/* Add a key, if it is of the class; false when KEY_CLASSES_MAX classes are not enough. */
bool fill_list_add(struct fill_list *list, struct slice key, uint64_t hash, uint64_t size_bytes,
                   uint64_t cas);
/* Look at the next key without moving on; false at the end. */
bool fill_list_peek(const struct fill_list *list, struct fill_key *out);
/* Move past the key that peek showed. */
void fill_list_skip(struct fill_list *list);

/* --- fill_copy.c: copying the list's keys --- */

enum fill_slot_state {
    FILL_SLOT_FREE,
    FILL_SLOT_WAIT,    /* to be read (again) as soon as there is room for its value */
    FILL_SLOT_READ,    /* donor: value, to store if absent */
    FILL_SLOT_STORE,   /* target: our value */
    FILL_SLOT_PEEK,    /* target: what is there instead */
    FILL_SLOT_COMPARE, /* donor: value, to compare, and to store over the target's if it differs */
    FILL_SLOT_LOOK,    /* donor: has it changed since we read it? */
    FILL_SLOT_UNDO,    /* target: delete our copy, only if it is still ours */
    FILL_SLOT_CLEAR,   /* target: delete whatever is there */
    FILL_SLOT_DROP,    /* target: delete what its dump showed, if it is still that */
    FILL_SLOT_GIVE_BACK, /* donor: the recache win that our reads took */
    /* fill_split.c */
    FILL_SLOT_SPLIT_LOOK,   /* donor: is it still what its dump showed? */
    FILL_SLOT_SPLIT_PEEK,   /* target: does it still differ? */
    FILL_SLOT_SPLIT_DROP,   /* target: delete what PEEK saw */
    FILL_SLOT_SPLIT_FORGET, /* donor: delete what LOOK saw */
};

enum fill_outcome {
    FILL_OUTCOME_COPIED,
    FILL_OUTCOME_EQUAL,
    FILL_OUTCOME_GONE,
    FILL_OUTCOME_SKIPPED,
    FILL_OUTCOME_FORGOTTEN, /* deleted on both */
    FILL_OUTCOME_PASSED,    /* a split's: to be looked at again */
};

struct fill_slot {
    struct slice key; /* in the list */
    struct item donor;
    struct item target;
    uint64_t our_cas;    /* of our copy on the target; 0: there is none */
    uint64_t seen_cas;   /* of what the target's dump showed; 0: nothing */
    uint64_t dumped_cas; /* SPLIT: of what the donor's dump showed */
    uint64_t won_cas;    /* of the item whose recache win a read of ours took; 0: none */
    uint64_t size_bytes; /* of the value, at most item_bytes_max: room to reserve */
    uint64_t charged;    /* of the rate limit, for the read under way */
    uint64_t sent_us;    /* when the read was sent */
    uint32_t reserved;   /* bytes of the target's ring */
    uint8_t tries;
    enum fill_slot_state state;
    enum fill_slot_state reread; /* WAIT: READ or COMPARE */
    enum fill_outcome
        outcome; /* CLEAR, LOOK, DROP, GIVE_BACK: what it is when nothing has changed */
};

/* Slots in order; each is in one queue at most once. */
struct fill_queue {
    uint32_t head;
    uint32_t count;
    uint16_t slots[FILL_WINDOW_MAX];
};

struct fill_copy {
    struct fill_slot *slots; /* options.window of them */
    struct fill_queue free;
    struct fill_queue waiting; /* WAIT */
    struct fill_queue
        at_donor; /* READ, COMPARE, LOOK, GIVE_BACK: in the order of the answers owed */
    struct fill_queue at_target; /* STORE, PEEK, UNDO, CLEAR, DROP: likewise */
    struct fill_queue held;      /* want to send to the target after the value under way */
    uint64_t reserved;           /* of the target's ring, by all slots */
    uint32_t busy;               /* slots not free */

    /* The value under way from the donor: it lies in the target's ring behind what is sent. */
    enum { FILL_VALUE_NONE, FILL_VALUE_PLACED, FILL_VALUE_DROPPED } value;
    void *peek_hash; /* the hash of the value under way from the target, in the making */

    struct pace pace;
};

size_t fill_copy_bytes(const struct fill_options *options);
void fill_copy_init(struct fill *fill, void *memory);
/* All slots are free, the window is at its start. */
void fill_copy_reset(struct fill *fill);
/* A reply line on TARGET or DONOR. */
void fill_copy_reply(struct fill *fill, enum fill_wire wire, const struct mc_reply *reply);
/* A piece of the value that VA announced; and its end, CRLF included. */
void fill_copy_value(struct fill *fill, enum fill_wire wire, struct slice piece);
void fill_copy_value_end(struct fill *fill, enum fill_wire wire);
/* Send reads as far as window, memory and rate allow. Returns false when the list is all copied. */
bool fill_copy_pump(struct fill *fill);
bool fill_copy_is_owed(const struct fill *fill, enum fill_wire wire);
/* Send the one command LINE over WIRE; its answer finds the slot in STATE. */
void fill_copy_send(struct fill *fill, enum fill_wire wire, struct fill_slot *slot,
                    enum fill_slot_state state, struct slice line);
/* The slot is through. */
void fill_copy_finish(struct fill *fill, struct fill_slot *slot, enum fill_outcome outcome);

/* --- fill_split.c: keys that two sides of a split may have written --- */

/* The slot has its key and what the dumps showed. */
void fill_split_begin(struct fill *fill, struct fill_slot *slot);
/* SLOT, in one of the states of a split, is answered. */
void fill_split_reply(struct fill *fill, struct fill_slot *slot, const struct mc_reply *reply);

/* --- fill_dump.c: reading a dump --- */

struct fill_dump {
    uint32_t tries;
    uint64_t retry_us;           /* when to dump again; 0: a dump is under way */
    bool is_of_target;           /* a diff: what the target holds comes first */
    bool has_target_items;       /* it held something when the fill began */
    bool is_counting;            /* the first dump of this donor */
    bool is_first;               /* the first dump of this fill: counts for all donors */
    uint64_t led[NODES_MAX];     /* keys that each donor leads, from dumps ended */
    uint64_t led_now[NODES_MAX]; /* in the dump under way */
    uint64_t extra;              /* keys that the target has and its leaders have not */
};

/* The first dump of a donor begins. */
void fill_dump_start(struct fill *fill);
/* A further pass over the same donor. */
void fill_dump_next(struct fill *fill);
/* One line, without its end. */
void fill_dump_line(struct fill *fill, struct slice line);
/* What the target's dump of this pass showed of a key; NULL: nothing. */
const struct dump_entry *fill_dump_seen(const struct fill *fill, struct slice key);
/* The dump came to nothing: again later, or the fill fails. */
void fill_dump_retry(struct fill *fill);
void fill_dump_tick(struct fill *fill);
uint64_t fill_dump_total(const struct fill *fill);

/* --- fill.c --- */

/* What was asked of the target's `stats`. */
struct fill_stats {
    struct identity identity;
    uint64_t time_s;
    uint64_t uptime_s;
    uint32_t seen; /* bits of the four */
    bool is_owed;
    uint64_t poll_us; /* CONNECTING, FLUSHING: when to ask again */
};

struct fill {
    struct fill_options options;
    struct fill_plan plan;
    enum fill_state state;
    uint64_t now_us;
    char failure[FILL_FAILURE_BYTES];
    struct stream streams[FILL_WIRE_COUNT];

    struct fill_stats stats;
    bool is_flush_owed;
    bool is_flushed;          /* the flush has been sent */
    bool is_refused;          /* no dump is to be had, and the target was emptied */
    bool wants_flush;         /* the next fill must be one that flushes */
    struct identity before;   /* the flush */
    struct identity identity; /* after it; of a diff, at its beginning */
    uint64_t flushed_s;       /* the target's time before, then after the flush */
    uint64_t target_time_s;   /* the target's time at... */
    uint64_t target_time_us;  /* ...this of ours */

    struct identity unproven; /* a connection to it was reset: what it carried may still be done */
    uint32_t unproven_node;
    uint64_t unproven_until_us;

    bool is_forgetting; /* first of all, what the sides of a split did is forgotten */
    uint64_t forget_us; /* not before: what was under way during the dumps is through */
    node_set donors_left;
    uint32_t donor;
    struct fill_list list;
    struct dump_table table; /* a diff: what the target holds of the list's class */
    struct fill_dump dump;
    struct fill_copy copy;
    struct fill_progress progress;
    uint64_t meter_us;
    uint64_t meter_items;
};

void fill_move(struct fill *fill, enum fill_state state);
/* "donor: TEXT" becomes the failure; all wires are closed. */
void fill_fail(struct fill *fill, enum fill_wire wire, struct slice text);
/* A reply line of the target while nothing is copied. */
void fill_target_reply(struct fill *fill, const struct mc_reply *reply);
/* A connection to the target is over, by END. */
void fill_target_lost(struct fill *fill, enum wire_end end);
/* The dump of this pass is complete. */
void fill_dump_is_done(struct fill *fill);

/* --- fill_wire.c --- */

void fill_wire_connect(struct fill *fill, enum fill_wire wire, uint32_t node);
void fill_wire_close(struct fill *fill, enum fill_wire wire);
/* Close TARGET; behind writes that are under way, when they are through. */
void fill_wire_give_up(struct fill *fill);
/* Queue bytes; the fill fails when there is no room, which only answers before their time cause. */
bool fill_wire_send(struct fill *fill, enum fill_wire wire, struct slice bytes);
/* fill_fail with the words for END. */
void fill_wire_fail(struct fill *fill, enum fill_wire wire, enum wire_end end);
/* Take an event in; one of a connection that was given up is passed over. */
void fill_wire_take(struct fill *fill, const struct wire_event *event);
/* Look who owes an answer now. */
void fill_wire_watch(struct fill *fill);
/* Fail for a wire that has been silent for too long. */
void fill_wire_expire(struct fill *fill);
bool fill_wire_next_action(struct fill *fill, struct wire_action *out);
size_t fill_wire_gather(const struct fill *fill, uint32_t wire, struct slice *out, size_t capacity);

#endif
