/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control: the health checks, the view, the heartbeats, the lease, the fills and the verifies of
 * one pool, as a pure object. Source: replication.md sections 4 to 7.
 *
 * One thread owns it. Time comes in with each call; what it wants done comes out through
 * control_next_action. It changes the view by telling every dataplane to hold, hearing that each
 * has drained, joining, waiting for the other proxies, and giving out the new topology.
 */
#ifndef EVERWARM_CORE_CONTROL_H
#define EVERWARM_CORE_CONTROL_H

#include "everwarm/core/fill.h"
#include "everwarm/core/topology.h"
#include "everwarm/core/trace.h"
#include "everwarm/core/verify.h"
#include "everwarm/core/view.h"
#include "everwarm/core/wire.h"

#include <stdbool.h>
#include <stdint.h>

struct control_options {
    /* Places for nodes, and those that the configuration names, which stand there at the start.
     * Once there is a view, its nodes count. Borrowed for the call, but for the pool's name. */
    struct view_names names;
    const struct slice
        *addresses;        /* of these nodes, resolved, for the view; borrowed for the call */
    uint32_t worker_count; /* dataplanes of this proxy, 1..WORKERS_MAX */
    uint64_t nonce;        /* random, not 0: tells this run of this proxy from all others */
    uint64_t config_hash;  /* of the pool's configuration, as all proxies must have it */
    uint64_t wall_ms;      /* since 1970, at control_init's now_us; never asked for again */
    uint64_t interval_us;  /* of rounds */
    uint64_t timeout_us;   /* of one round's answers; at most half the interval */
    uint64_t lease_us;
    uint64_t request_timeout_us;
    uint64_t hold_down_max_us;
    uint32_t fall; /* failed rounds in a row until a node is down */
    uint32_t rise; /* good rounds in a row until it is up */
    struct fill_options fill;
    struct verify_options verify;
    bool stops_in_split;  /* no write begins while no majority of the nodes is up */
    bool keeps_last_copy; /* old data stands in for a lost last copy, and is not flushed */
    bool is_verify_background;
    uint64_t verify_rate_bytes; /* of the one in the background, a second; 0: no fixed limit */
    uint64_t warm_for_us;       /* a warming node enters by its hit rate after so long; 0: never */
};

/* Wires: one probe a node (wire = node index), then the fill's, then the verify's. */
#define CONTROL_WIRE_FILL(node_count, fill_wire) ((node_count) + (fill_wire))
#define CONTROL_WIRE_VERIFY(node_count, verify_wire)                                               \
    (CONTROL_WIRE_FILL(node_count, FILL_WIRE_COUNT) + (verify_wire))
#define CONTROL_WIRE_COUNT(node_count)                                                             \
    CONTROL_WIRE_VERIFY(node_count, VERIFY_WIRE_COUNT(node_count))

/* What a dataplane reports. */
enum control_report_type {
    CONTROL_REPORT_DRAINED,  /* serial: of the topology that HOLD named; all its writes are over */
    CONTROL_REPORT_ADOPTED,  /* serial: it acts on this topology; older ones are not looked at */
    CONTROL_REPORT_MISSED,   /* node: a write can't be brought home there in time; end: why */
    CONTROL_REPORT_IDENTITY, /* node: a new connection found another run than the topology's */
    CONTROL_REPORT_NEWER,    /* node: a new connection found a view above the topology's */
    CONTROL_REPORT_ANSWERED, /* node: it answers requests; told now and then, while it does */
    CONTROL_REPORT_GIVEN_UP, /* node, count: connections given up there and not yet at EOF, now */
    CONTROL_REPORT_PARKED,   /* count: keys that differ on filling nodes only, and wait, now */
    CONTROL_REPORT_FLUSH,    /* delay_s, ticket: a client's flush_all */
    CONTROL_REPORT_WARMED,   /* node, which is warming: it was asked for count keys, had hits */
};

struct control_report {
    enum control_report_type type;
    uint32_t worker;
    uint32_t node;
    uint32_t count;
    uint32_t hits;
    uint64_t serial;
    uint64_t ticket;
    int64_t delay_s;
    enum wire_end end;
};

enum control_command_type {
    CONTROL_COMMAND_READY, /* is_forced: a warming node is complete as it is */
    CONTROL_COMMAND_DRAIN,
    CONTROL_COMMAND_MAINT,
    CONTROL_COMMAND_RESYNC, /* throw the node's data away and fill it again */
    CONTROL_COMMAND_ADD, /* name, address: take a node in, or move it there; it is filled first */
    CONTROL_COMMAND_REMOVE,
    /* Compare copies: node, or VERIFY_ALL_NODES; is_mending. Done when it is taken on; how it goes
     * is in the snapshot, by its tag. */
    CONTROL_COMMAND_VERIFY,
    CONTROL_COMMAND_VERIFY_STOP,
};

struct control_command {
    enum control_command_type type;
    uint64_t ticket; /* of the asker; comes back in the action DONE */
    uint32_t node;   /* not of ADD */
    bool is_forced;  /* even if no readable copy is left; ADD: whatever the node holds, or is not */
    bool is_mending; /* VERIFY */
    uint64_t tag;    /* VERIFY: the asker's, shown with what became of it */
    uint8_t name_bytes; /* ADD; at least 1 */
    uint8_t address_bytes;
    char name[NODE_NAME_BYTES_MAX];
    char address[VIEW_ADDRESS_BYTES_MAX]; /* resolved: all proxies go by it */
};

enum control_result {
    CONTROL_RESULT_OK,        /* it holds now: the view that says so is in effect */
    CONTROL_RESULT_UNCHANGED, /* it was so already */
    CONTROL_RESULT_LAST_COPY, /* refused: no readable copy would be left */
    CONTROL_RESULT_TIMEOUT,   /* proposed, but not in effect within the request timeout */
    CONTROL_RESULT_STARTING,  /* no view yet */
    CONTROL_RESULT_BUSY,      /* another verify that was asked for is under way */
    CONTROL_RESULT_FULL,      /* ADD: no place is free */
    CONTROL_RESULT_TAKEN,     /* ADD: another node has that address */
    CONTROL_RESULT_FOREIGN,   /* ADD: the node holds the view of another pool */
    CONTROL_RESULT_SILENT,    /* ADD: the node does not answer */
    CONTROL_RESULT_LONE,      /* a pool of one node has no view: it takes a restart */
    CONTROL_RESULT_LAST_TWO,  /* REMOVE: a pool that has a view keeps two nodes */
};

enum control_action_type {
    CONTROL_ACTION_WIRE,    /* wire */
    CONTROL_ACTION_PLACE,   /* node, name, address: who stands there from now on; no link is open */
    CONTROL_ACTION_HOLD,    /* topology: the next one; every dataplane is to drain and report */
    CONTROL_ACTION_ADOPT,   /* topology: every dataplane is to act on it and report */
    CONTROL_ACTION_FLUSHED, /* ticket, worker: the flush has happened on all nodes in the view */
    CONTROL_ACTION_DONE,    /* ticket, result: of a command */
    CONTROL_ACTION_TRACE,   /* trace */
};

struct control_action {
    enum control_action_type type;
    struct wire_action wire;
    const struct topology *topology; /* valid until all dataplanes have adopted a later one */
    uint64_t ticket;
    uint32_t worker;
    uint32_t node;
    struct slice name; /* these two are valid until the next call */
    struct slice address;
    enum control_result result;
    struct trace_event trace;
};

struct control;

size_t control_bytes(const struct control_options *options);
/* MEMORY has control_bytes(), aligned to 16, zeroed. OPTIONS is copied, but for the names. */
struct control *control_init(void *memory, const struct control_options *options, uint64_t now_us);

/* Something happened on a wire. */
void control_wire(struct control *control, const struct wire_event *event, uint64_t now_us);
/* A dataplane reports. */
void control_report(struct control *control, const struct control_report *report, uint64_t now_us);
/* An operator asks. Refused at once by a DONE action, or answered later by one. */
void control_command(struct control *control, const struct control_command *command,
                     uint64_t now_us);
/* Limits that may change while it runs; none of them need be alike in all proxies. */
struct control_limits {
    uint32_t fall;
    uint32_t rise;
    uint64_t timeout_us; /* at most half the interval */
    uint64_t hold_down_max_us;
    uint64_t request_timeout_us; /* of the dataplanes, which hear of it too */
    bool stops_in_split;
    bool keeps_last_copy;
    bool is_verify_background;
    uint64_t verify_rate_bytes;
    uint64_t warm_for_us;
    struct fill_limits fill;
    struct verify_limits verify;
};
/* What is under way goes by them from now on, fills and verifies too. */
void control_set_limits(struct control *control, const struct control_limits *limits);
/* Time has passed. Call at control_next_deadline_us() or sooner. */
void control_tick(struct control *control, uint64_t now_us);
uint64_t control_next_deadline_us(const struct control *control);

/*
 * Leave, when no dataplane has anything under way: a farewell is written to all nodes as soon as
 * all connections that were given up are at their end; none, if that takes longer than the lease.
 * Others compare all copies then, and also where a key waits for a filling node.
 * Call control_is_gone until true, or give up waiting. Reports still count.
 */
void control_leave(struct control *control, uint64_t now_us);
bool control_is_gone(const struct control *control);

/* Take the next thing to be done; false: nothing. Call until false after each of the above. */
bool control_next_action(struct control *control, struct control_action *out);
size_t control_gather(const struct control *control, uint32_t wire, struct slice *out,
                      size_t capacity);

/*
 * Until when this proxy may answer and send (replication.md section 4, Lease), monotonic; 0: not
 * before a view was joined and whenever the lease has lapsed. UINT64_MAX for a lone node.
 */
uint64_t control_lease_until_us(const struct control *control);

/* --- What is seen from outside --- */

struct control_node_snapshot {
    bool is_member; /* if not: all else is void */
    bool is_told;   /* its address is the view's, not the configuration's */
    char name[NODE_NAME_BYTES_MAX + 1];
    char address[VIEW_ADDRESS_BYTES_MAX + 1];
    enum node_admin admin;
    enum node_oper oper;
    enum node_data data;
    uint64_t admin_since_us; /* monotonic, like all times here */
    uint64_t oper_since_us;
    uint64_t data_since_us;
    uint32_t transitions_1h;     /* of oper */
    uint64_t hold_down_until_us; /* 0: not held down */
    bool is_filled_by_us;
    enum fill_state fill_state;
    struct fill_progress fill; /* if is_filled_by_us */
    uint16_t filler;           /* proxy id, VIEW_NO_PROXY */
    uint64_t warm_asked;       /* WARMING: of so many keys that were read here lately, and that */
    uint64_t warm_hits;        /* the leader had, it had so many */
    bool is_warm;              /* and that was good enough, since: */
    uint64_t warm_since_us;
    bool is_check_ok;
    uint64_t check_us; /* how long the last round took */
    uint64_t check_at_us;
    char check_text[80]; /* "VERSION 1.6.18", or what went wrong */
    uint64_t checks_ok;
    uint64_t checks_failed;
    uint64_t curr_items;     /* from the last stats */
    uint64_t round_requests; /* commands that rounds and heartbeats sent to this node */
    uint64_t round_bytes;
};

enum control_state {
    CONTROL_STARTING, /* looking for a view and other proxies */
    CONTROL_SERVING,
    CONTROL_CHANGING, /* a change of view is under way: writes hold */
    CONTROL_LAPSED,   /* the lease is over */
    CONTROL_LEAVING,
};
const char *control_state_word(enum control_state state);

/* Who wants a verify; the first goes first. */
enum control_verify_why {
    CONTROL_VERIFY_NONE, /* there has been none */
    CONTROL_VERIFY_ASKED,
    CONTROL_VERIFY_DUE, /* in the view: after a first start, or the death of a proxy */
    CONTROL_VERIFY_BACKGROUND,
};
const char *control_verify_why_word(enum control_verify_why why);

/* One verify. */
struct control_verify_snapshot {
    bool is_running;
    enum control_verify_why why;
    uint64_t tag;  /* ASKED: of the command */
    uint32_t node; /* or VERIFY_ALL_NODES */
    bool is_mending;
    uint64_t started_us;
    uint64_t ended_us;
    enum verify_state phase;
    char failure[80]; /* "" unless it failed or was stopped */
    struct verify_progress progress;
};

/* X(name, word): why a fill begins, for fills_total{trigger}. */
#define CONTROL_FILL_TRIGGER_TABLE(X)                                                              \
    X(RETURNED, "returned")   /* the node is there again, or for the first time */                 \
    X(RESYNC, "resync")       /* an operator asked this proxy for it */                            \
    X(ORPHANED, "orphaned")   /* another proxy filled it, and died */                              \
    X(LAST_COPY, "last_copy") /* there is nothing to copy any more: it begins anew, empty */       \
    X(RETRY, "retry")         /* the fill before it failed */

enum control_fill_trigger {
#define X(name, word) CONTROL_FILL_##name,
    CONTROL_FILL_TRIGGER_TABLE(X)
#undef X
        CONTROL_FILL_TRIGGER_COUNT
};
const char *control_fill_trigger_word(enum control_fill_trigger trigger);

/* What came of the items that fills looked at. */
struct control_fill_items {
    uint64_t copied;
    uint64_t equal;     /* a client's write had brought it already */
    uint64_t gone;      /* missing, expired or marked at the donor by then */
    uint64_t skipped;   /* changed so often that it was left deleted */
    uint64_t forgotten; /* deleted on both sides of a split, which differed */
};

struct control_snapshot {
    enum control_state state;
    uint16_t proxy_id; /* VIEW_NO_PROXY before one is taken */
    uint32_t proxies;  /* live ones, ours included */
    uint64_t epoch;    /* in effect */
    uint64_t view_hash;
    bool is_young;
    bool is_stopped;         /* stops_in_split, and it is so: writes are refused */
    uint64_t view_changes;   /* that took effect */
    uint64_t change_last_us; /* how long the last one held writes here */
    uint64_t change_max_us;
    uint64_t change_sum_us;
    uint64_t fills_done; /* by this proxy */
    uint64_t fills_failed;
    uint64_t fill_last_items; /* the last finished fill's figures */
    uint64_t fill_last_us;
    uint64_t fills_begun[CONTROL_FILL_TRIGGER_COUNT]; /* by this proxy, as all that follows */
    struct control_fill_items fill_items;
    uint64_t fill_bytes_copied;
    uint64_t verifies_done;                  /* by this proxy, without those that were asked for */
    uint64_t divergences[VERIFY_KIND_COUNT]; /* found by all verifies of this proxy */
    uint64_t repairs;
    uint16_t verify_due_by;                      /* proxy id, VIEW_NO_PROXY */
    struct control_verify_snapshot verify;       /* the latest, of any sort */
    struct control_verify_snapshot verify_asked; /* the last one that was asked for and is over */
    uint64_t views_damaged;
    uint64_t views_foreign;  /* of other pools, found on our nodes */
    uint64_t clocks_refused; /* ceilings of tokens that no clock can have promised */
    uint64_t leases_lapsed;
    uint32_t node_count; /* places */
    node_set
        members; /* where nodes stand: of the view in effect, or at first the configuration's */
    struct control_node_snapshot nodes[NODES_MAX];
};

void control_snapshot(const struct control *control, struct control_snapshot *out, uint64_t now_us);

#endif
