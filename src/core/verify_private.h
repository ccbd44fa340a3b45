/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the parts of the verify share: verify.c (states, dumps, interface), verify_look.c (one key's
 * copies compared), verify_mend.c (one copy mended).
 */
#ifndef EVERWARM_CORE_VERIFY_PRIVATE_H
#define EVERWARM_CORE_VERIFY_PRIVATE_H

#include "everwarm/core/verify.h"

#include "dump_table.h"
#include "pace.h"
#include "stream.h"

enum {
    /* Keys that wait for a second look, beside those in flight. Past it no key is begun: a pool of
     * which so much differs is not hurried. */
    VERIFY_SUSPECTS_MAX = 1024,
    VERIFY_SLOTS_MAX = VERIFY_WINDOW_MAX + VERIFY_SUSPECTS_MAX,
    /* A key that changed between each two of so many looks is written all the time; its writers
     * look after it. Looks under a cloud are not counted. */
    VERIFY_LOOKS_MAX = 16,
    /* Copies of one key that came to nothing; then it is deleted everywhere (section 5). */
    VERIFY_MENDS_MAX = 8,
    /* As FILL_LINE_BYTES. */
    VERIFY_LINE_BYTES = 384,
    VERIFY_FAILURE_BYTES = 128,
};

/* --- verify_look.c: one key --- */

enum verify_slot_state {
    VERIFY_SLOT_FREE,
    VERIFY_SLOT_LOOK,      /* its nodes are asked */
    VERIFY_SLOT_DUE,       /* to be looked at again at due_us */
    VERIFY_SLOT_MEND,      /* in the mender's queue */
    VERIFY_SLOT_GIVE_BACK, /* the leader gets back the recache win that our looks took */
};

struct verify_slot {
    struct dump_entry *entry;
    enum verify_slot_state state;
    uint32_t leader;
    uint32_t looks;
    uint32_t mends;
    node_set asked; /* answers owed */
    uint64_t sent_us;
    uint64_t due_us;
    uint64_t charged;
    bool is_void; /* an answer told nothing: this look does not count */
    node_set present;
    node_set present_before;
    uint64_t before_us; /* when the look before this one was sent; 0: there is none */
    node_set counted;   /* told as different */
    node_set hopeless;  /* can't be mended */
    node_set to_copy;   /* MEND: what is to be done where */
    node_set to_delete;
    node_set to_take_back;
    node_set to_clear;
    node_set ours;      /* nodes where our copy of an absent key is not yet confirmed */
    struct item copied; /* the leader's item, when it was copied */
    struct item *now;   /* by node, as far as present */
    struct item *before;
    uint64_t *our_cas; /* by node, of ours */
    uint64_t won_cas;  /* of the leader's item, whose recache win a look of ours took; 0: none */
};

struct verify_queue {
    uint32_t head;
    uint32_t count;
    uint16_t slots[VERIFY_SLOTS_MAX];
};

/* In a node's queue: the answer is the mender's. */
enum { VERIFY_MENDER = 0xffff };

size_t verify_look_bytes(const struct verify_options *options);
void verify_look_init(struct verify *verify, char *memory);
void verify_look_reset(struct verify *verify);
/* Begin looks as far as window, rate and memory allow. False: this pass is over. */
bool verify_look_pump(struct verify *verify);
/* NODE answers the slot that is first in its queue. */
void verify_look_reply(struct verify *verify, uint32_t node, const struct mc_reply *reply);
void verify_look_value(struct verify *verify, uint32_t node, struct slice piece);
void verify_look_value_end(struct verify *verify, uint32_t node);
/* The leader answered a look at SLOT's key, maybe with its recache win. */
void verify_look_note_win(struct verify_slot *slot, const struct mc_reply *reply);
/* The mender is through with a slot. */
void verify_look_mended(struct verify *verify, struct verify_slot *slot);
void verify_queue_put(struct verify_queue *queue, uint16_t slot);
uint16_t verify_queue_take(struct verify_queue *queue);

/* --- verify_mend.c: one copy --- */

enum verify_mend_step {
    VERIFY_MEND_REST,
    VERIFY_MEND_CONNECT, /* its wire */
    VERIFY_MEND_READ,    /* leader: the value */
    VERIFY_MEND_STORE,   /* node: our copy, if it still has what was seen */
    VERIFY_MEND_LOOK,    /* leader: has it changed since? */
    VERIFY_MEND_UNDO,    /* node: delete our copy, if it is still ours */
    VERIFY_MEND_DELETE,  /* node: delete what was seen */
    VERIFY_MEND_CLEAR,   /* node: delete whatever is there */
};

struct verify_mend {
    enum verify_mend_step step;
    struct verify_queue queue; /* slots; the first one is being mended */
    struct verify_slot *slot;
    uint32_t node;
    uint64_t our_cas; /* of the copy under way; STORE (0: not known yet), LOOK, UNDO */
    bool is_placing;  /* READ: the value is being put into the wire's ring */
};

void verify_mend_reset(struct verify *verify);
void verify_mend_pump(struct verify *verify);
/* Replies of the leader in READ and LOOK, and of the node that is mended. */
void verify_mend_leader_reply(struct verify *verify, const struct mc_reply *reply);
void verify_mend_leader_value(struct verify *verify, struct slice piece);
void verify_mend_leader_value_end(struct verify *verify);
void verify_mend_reply(struct verify *verify, const struct mc_reply *reply);
/* A write on its wire is owed an answer. */
bool verify_mend_is_owed(const struct verify *verify);
/* A write of the job under way has been sent there, or is being sent. */
bool verify_mend_is_under_way(const struct verify *verify);
/* Leave the wire as it must be left when what is under way can't be brought to its end. */
void verify_mend_give_up(struct verify *verify);

/* --- verify.c --- */

struct verify {
    struct verify_options options;
    struct verify_plan plan;
    struct topology topology;
    enum verify_state state;
    bool is_held;
    uint64_t held_us;
    uint64_t cloud_us; /* looks begun by then do not count */
    uint64_t unproven_until_us[NODES_MAX];
    node_set owed; /* where something was left behind */
    uint64_t now_us;
    char failure[VERIFY_FAILURE_BYTES];
    struct stream streams[NODES_MAX + 2];

    node_set nodes; /* that are compared */
    node_set dumps_left;
    uint32_t dump_node;
    uint32_t dump_tries;
    uint64_t dump_retry_us; /* when to dump again; 0: a dump is under way */
    uint64_t dump_keys;     /* in the dump under way */
    struct dump_table table;

    struct pace pace;
    struct verify_slot *slots;
    uint32_t slot_count;
    struct verify_queue free;
    struct verify_queue due;
    struct verify_queue asked[NODES_MAX]; /* slots, in the order of the answers owed */
    void *hashes[NODES_MAX];              /* of the value under way from each node */
    uint32_t looking;                     /* slots in LOOK */
    uint32_t busy;                        /* slots not free */
    struct verify_mend mend;
    struct verify_progress progress;
};

void verify_fail(struct verify *verify, uint32_t wire, struct slice text);
void verify_fail_end(struct verify *verify, uint32_t wire, enum wire_end end);
/* Queue bytes on a wire; it fails when there is no room. */
bool verify_send(struct verify *verify, uint32_t wire, struct slice bytes);
struct slice verify_key(const struct verify_slot *slot);

#endif
