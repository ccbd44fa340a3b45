/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control's inside, shared by its files only: control.c (public face, moves, actions, snapshot),
 * control_probe.c (wires and replies), control_peers.c (id, heartbeats, lease), control_join.c
 * (start, proposals, joining), control_plan.c (what the next view should be, commands),
 * control_fill.c and control_verify.c (driving fill and verify), control_flush.c (flushes),
 * control_place.c (where nodes stand), control_member.c (who comes and goes), control_merge.c
 * (splits), control_warm.c (nodes that are warmed by reads).
 *
 *   wires ──► probe ──► views, identities, heartbeats ──► join ──► HOLD, ADOPT ──► dataplanes
 *                                    │                     ▲
 *                                    └──────► plan ────────┘ proposals
 *
 * I1. `top` is the highest view seen, `target` the one being joined, `joined` the one shown, which
 *     others may act on, `effective` the one acted on; effective <= joined <= target <= top.
 * I2. A condition "all nodes have told" is kept as times of asking: an answer counts from when it
 *     was asked for, never from when it came.
 * I3. A heartbeat shows the view that has been joined: all workers drained, nothing given up.
 * I4. Every call from outside ends with control_advance, which alone makes decisions; replies and
 *     reports only leave facts behind.
 */
#ifndef EVERWARM_CORE_CONTROL_PRIVATE_H
#define EVERWARM_CORE_CONTROL_PRIVATE_H

#include "everwarm/base/byte_ring.h"
#include "everwarm/base/invariant.h"
#include "everwarm/base/prng.h"
#include "everwarm/core/control.h"
#include "everwarm/mc/encode.h"
#include "everwarm/mc/reply.h"

#include "health.h"
#include "heartbeat.h"
#include "token.h"

enum {
    CONTROL_ALIGN = 16,
    /* A scan of PROXIES_MAX heartbeats with the longest pool name is 25 KB, a view below 24 KB; a
     * few of each. Touched on demand. */
    CONTROL_RING_BYTES = 131072,
    /* Commands of one wire that may wait for answers: a round is three, a join and its polls as
     * many; more means that the node does not answer. */
    CONTROL_WANTS_MAX = 32,
    /* Topologies that dataplanes may still look at: one that they act on, one that comes next, and
     * those that higher views overtook before all had drained. */
    CONTROL_TOPOLOGIES_MAX = 16,
    /* A change of every node's every fact fits twice; what is more is dropped, never waited for. */
    CONTROL_TRACES_MAX = 512,
    /* Operators' wishes under way: one for each node and a new one, as a later word on a node ends
     * the earlier; twice that, so that nobody need count. */
    CONTROL_COMMANDS_MAX = 64,
    /* A ceiling of tokens further ahead than this is no clock's (replication.md section 3). */
    CONTROL_TOKENS_AHEAD_MAX_MS = 3600 * 1000,
    /* Sequence numbers whose sending time is remembered: those of seconds, or of one long change.
     */
    CONTROL_SENT_MAX = 64,
    /* Stores of a view on one node in one round: each failure means that another stored one. */
    CONTROL_PUTS_MAX = 8,
    /* Between two polls of a change; more where many are waited for, as each is read by each. */
    CONTROL_POLL_US = 3000,
    CONTROL_POLL_A_PROXY_US = 100,
    CONTROL_POLL_SHOWING = 4,
    /* The view's CAS is looked at so many times in an interval, on the node where a proposal comes
     * first: who proposes holds its writes until all have noticed. So do who seems alone, to whom
     * somebody may be coming. */
    CONTROL_GLANCES = 8,
    /* So many leases a start waits for nodes without which nothing could be served. */
    CONTROL_START_LEASES = 3,
    CONTROL_FILL_TICK_US = 10000,
    CONTROL_SCAN_IDLE_US = 1000000,
    CONTROL_SCAN_IDLE_A_PROXY_US = 20000,
    CONTROL_RECONNECT_LAST_US = 1000000,
    CONTROL_JITTER_PERCENT = 10,
    /* Dataplanes repeat MISSED every 50 ms as long as it is so. */
    CONTROL_MISSED_VALID_US = 200000,
    CONTROL_ID_TTL_S = 120,
    CONTROL_FAREWELL_TTL_S = 2,
    CONTROL_ID_RENEW_US = 30000000,
    CONTROL_FILL_RETRY_FIRST_US = 500000,
    CONTROL_FILL_RETRY_LAST_US = 8000000,
    CONTROL_VERIFY_RETRY_FIRST_US = 1000000,
    CONTROL_VERIFY_RETRY_LAST_US = 30000000,
    /* Between two verifies in the background: a small pool is not dumped all the time. */
    CONTROL_VERIFY_BACKGROUND_PAUSE_US = 60000000,
    /* In the background a key costs at least so much of the rate: a flood of small items is one of
     * commands. */
    CONTROL_VERIFY_KEY_BYTES = 256,
    /* The hit rate of a warming node is looked at over so many keys: a hundredth of them are more
     * than one. And it is its twins' if it lacks no more than a hundredth. */
    CONTROL_WARM_WINDOW = 500,
    CONTROL_WARM_HIT_PERCENT = 99,
    CONTROL_HOLD_DOWN_FIRST_US = 1000000,
    CONTROL_HOLD_DOWN_FORGET_US = 60000000,
    /* Changes of oper counted for the last hour; more than these are shown as so many. */
    CONTROL_TRANSITIONS_MAX = 64,
};

/* An epoch this far above the highest known is not one that proxies counted up to. */
#define CONTROL_EPOCH_LEAP_MAX (UINT64_C(1) << 32)
#define CONTROL_HOUR_US        UINT64_C(3600000000)

/* --- control_probe.c --- */

enum probe_state {
    PROBE_CLOSED,
    PROBE_WANTED, /* the action CONNECT is to be taken */
    PROBE_CONNECTING,
    PROBE_OPEN,
};

/* What the next answer on a wire answers. */
enum probe_form {
    PROBE_FORM_STATS,
    PROBE_FORM_TOKENS,    /* does the node know `E`? */
    PROBE_FORM_LOOK,      /* CAS of the view */
    PROBE_FORM_VIEW,      /* its text too */
    PROBE_FORM_PUT,       /* store of a view: put_epoch, put_hash */
    PROBE_FORM_HEARTBEAT, /* store of ours, tag: sequence */
    PROBE_FORM_SCAN,      /* heartbeats of scan_ids */
    PROBE_FORM_ID_ADD,    /* tag: the id */
    PROBE_FORM_ID_LOOK,
    PROBE_FORM_ID_PUT,
    PROBE_FORM_FLUSH,
};

/* Does the node know `E`, the CAS that the writer chooses? */
enum probe_tokens { PROBE_TOKENS_UNKNOWN, PROBE_TOKENS_NO, PROBE_TOKENS_YES };

struct probe_want {
    enum probe_form form;
    bool is_round; /* the round is good when the last of these is answered */
    uint64_t sent_us;
    uint64_t tag;
};

struct probe_id_set {
    uint64_t bits[PROXIES_MAX / 64];
};

struct probe {
    uint32_t node;
    enum probe_state state;
    bool wants_close;
    bool wants_write;
    uint64_t greeted_us;
    bool is_greeted; /* identity and view have been read on this connection */
    struct byte_ring out;
    struct probe_want wants[CONTROL_WANTS_MAX]; /* a ring */
    uint32_t wants_head;
    uint32_t wants_count;
    uint32_t round_left; /* answers that the round still wants */
    uint64_t round_us;   /* when it began */
    bool is_round_open;
    uint64_t connect_us; /* CONNECTING: since when */
    uint64_t retry_us;   /* CLOSED: when to connect again */
    uint32_t failures;   /* in a row */

    uint32_t line_bytes;
    char line[MC_REPLY_LINE_BYTES_MAX];
    uint64_t value_left; /* bytes of a value still to come, its CRLF included */
    uint32_t value_bytes;
    bool is_value_dropped;       /* too large to be ours */
    struct mc_reply value_reply; /* the line before it; its slices are dead */
    uint32_t value_id;           /* SCAN: whose; PROXIES_MAX: nobody's */
    char value[VIEW_BYTES_MAX + 2];

    /* What the stats under way have told. */
    struct identity reading;
    uint64_t reading_time_s;
    uint64_t reading_uptime_s;
    uint32_t reading_seen;

    struct health health;
    uint64_t oper_since_us;
    uint64_t transitions_us[CONTROL_TRANSITIONS_MAX];
    uint32_t transitions;
    struct identity identity; /* latest read; unknown before the first */
    uint64_t identity_us;     /* when it was asked for */
    enum probe_tokens tokens;
    uint64_t curr_items;
    uint64_t evictions;
    int64_t clock_s;     /* its time less ours */
    uint64_t emptied_us; /* when it was last seen to have been started or flushed; 0: long ago */

    /* The view on the node, as last seen on this connection. */
    bool is_looked;
    bool has_view_item;
    uint64_t view_cas;
    uint64_t looked_us; /* when that was asked for */
    uint64_t held_epoch;
    uint64_t held_hash;
    bool is_foreign; /* of another pool */
    bool is_put_owed;
    uint64_t put_epoch; /* the view in the store under way */
    uint64_t put_hash;
    uint32_t puts; /* in this round */

    uint64_t acked_sequence; /* of our heartbeats, on this connection */
    bool is_scan_owed;
    bool is_scan_full;
    bool is_own_seen;             /* our heartbeat, in the scan under way */
    struct probe_id_set scan_ids; /* asked for, not yet seen in the answer */
    uint64_t scan_full_us; /* when the last scan of all ids was asked for that tells anything */

    uint64_t check_us;
    uint64_t check_at_us;
    char check_text[80];
    bool is_check_ok;
    uint64_t checks_ok;
    uint64_t checks_failed;
    uint64_t requests;
    uint64_t bytes;
};

void control_probe_init(struct control *control, uint32_t node, char *ring);
void control_probe_event(struct control *control, const struct wire_event *event);
void control_probe_tick(struct control *control);
/* Begin a round on every wire. */
void control_probe_round(struct control *control);
bool control_probe_next_action(struct control *control, struct wire_action *out);
/* Opened, greeted, and no dataplane misses it: what it says counts. */
bool control_probe_is_heard(const struct control *control, uint32_t node);
node_set control_probe_heard(const struct control *control);
node_set control_probe_up(const struct control *control);
/* Queue one command; false: the wire is closed, or was closed for want of room. */
bool control_probe_send(struct control *control, struct probe *probe, enum probe_form form,
                        struct slice text, uint64_t tag);
void control_probe_ask_stats(struct control *control, struct probe *probe);
/* A closed wire is to be opened at once. */
void control_probe_hurry(struct control *control, struct probe *probe);
void control_probe_ask_view(struct control *control, struct probe *probe);
/* Has the view's CAS changed? */
void control_probe_look(struct control *control, struct probe *probe);
void control_probe_fail(struct control *control, struct probe *probe, enum wire_end end);
/* Has FORM been asked for at SINCE_US or later, and not been answered? */
bool control_probe_is_asked(const struct probe *probe, enum probe_form form, uint64_t since_us);
/* When the earliest of its timers is due. */
uint64_t control_probe_deadline_us(const struct control *control);

/* The wire is not wanted any more: close it, and tell nobody of a failure. */
void control_probe_close(struct control *control, struct probe *probe);

/* --- control_place.c --- */

/*
 * FREE ─► CANDIDATE ◄─► IN ─► LEAVING ─► FREE, and back from LEAVING, and at once from FREE to IN
 */
enum place_state {
    PLACE_FREE,
    PLACE_CANDIDATE, /* somebody wants it added here: it is looked at */
    PLACE_IN,        /* some view that matters names it; before the first, the configuration does */
    PLACE_LEAVING,   /* no view names it any more; what was given up there is not at its end */
};

struct place {
    enum place_state state;
    bool is_told_off;   /* LEAVING: it is to hold the view that names it no more */
    bool is_action_due; /* PLACE */
    uint8_t name_bytes;
    uint8_t address_bytes;
    char name[NODE_NAME_BYTES_MAX];
    char address[VIEW_ADDRESS_BYTES_MAX]; /* that is connected to */
    uint64_t since_us;
    uint64_t since_serial;
};

void control_place_init(struct control *control);
/* Those that are IN. */
node_set control_place_in(const struct control *control);
/* May views be stored on it? */
bool control_place_takes_views(const struct control *control, uint32_t node);
/* Put each node of a view that was read at FROM where it stands, or may stand. False, VIEW as it
 * was: there is no room now. */
bool control_place_view(struct control *control, struct view *view, uint32_t from);
/* Where a node stands or may stand that is to be added; NODES_MAX: there is no room now. */
uint32_t control_place_candidate(struct control *control, const struct control_command *command);
/* Who is named, who leaves, what is free. */
void control_place_step(struct control *control);
bool control_place_next_action(struct control *control, struct control_action *out);
/* A node of the first view: as the configuration has it. */
void control_place_name(const struct control *control, struct view *view, uint32_t node);

/* --- control_peers.c --- */

enum peer_state { PEER_UNKNOWN, PEER_LIVE, PEER_GONE };

struct peer {
    enum peer_state state;
    uint64_t nonce;
    /* Of the run that had the id before: left-overs of it count for nothing, but what grows is
     * alive. */
    uint64_t nonce_before;
    uint64_t sequence_before;  /* highest */
    uint64_t growth_before_us; /* when it was last seen to grow; 0: it was gone before this one */
    uint64_t sequence;         /* highest */
    uint64_t epoch;
    uint64_t view_hash;
    uint64_t effective_hash;
    uint64_t config_hash;
    node_set given_up;
    node_set given_up_before; /* of that run, until this one, perhaps a left-over, grows again */
    uint64_t missing_us; /* since when some node did not have it, and none showed growth; 0: not */
    uint64_t missing_asked_us; /* when that was last asked */
    uint64_t growth_us;        /* when the sequence was last seen to grow */
    bool has_left;             /* by a farewell: its last word still tells what had taken effect */
    node_set quiet_on;         /* nodes that showed no growth half a lease after that, or later */
    uint64_t quiet_us;         /* when the latest of these answered */
    node_set stale_on;         /* and none again when asked `lease` after that, or later */
};

enum id_state {
    ID_NONE,     /* waiting for nodes */
    ID_CLAIMING, /* asked of all nodes that were heard */
    ID_OURS,
};

void control_peers_init(struct control *control);
/* Take an id, keep it. */
void control_peers_tick_id(struct control *control);
/* Write our claim on a node anew. */
void control_peers_claim(struct control *control, struct probe *probe);
void control_peers_on_id(struct control *control, struct probe *probe,
                         const struct probe_want *want, const struct mc_reply *reply,
                         struct slice value);
/* Store a new heartbeat on all nodes that are open. */
void control_peers_beat(struct control *control);
/* The mutant of BEAT_FIRST: what we read counts, though nobody can know of us yet. */
bool control_peers_is_blind(const struct control *control);
/* Store the latest one on a node that has just been greeted. */
void control_peers_beat_on(struct control *control, struct probe *probe);
void control_peers_on_ack(struct control *control, struct probe *probe, uint64_t sequence);
/*
 * Ask a node for heartbeats. With 200 proxies each of them a few KiB from each node would be too
 * much to ask often: who is not known to live has none, and who lives has the same on all nodes.
 */
enum control_scan {
    CONTROL_SCAN_ALL,     /* of all ids */
    CONTROL_SCAN_UNKNOWN, /* of those that are not live, as far as we know */
    CONTROL_SCAN_LIVE,    /* of those of LIVE that are asked about */
};
void control_peers_scan(struct control *control, struct probe *probe, enum control_scan scan);
/* Ask the next node for those that have not shown VIEW since SINCE_US, and put off poll_us. */
void control_peers_poll(struct control *control, const struct view *view, uint64_t since_us);
/* Which id a heartbeat's key names; PROXIES_MAX: none. */
uint32_t control_peers_id_of(const struct control *control, struct slice key);
void control_peers_on_heartbeat(struct control *control, struct probe *probe, uint32_t id,
                                struct slice text, uint64_t asked_us);
void control_peers_on_scanned(struct control *control, struct probe *probe, uint64_t asked_us);
/* Declare dead who is dead; read in turn. */
void control_peers_tick(struct control *control);
bool control_peers_is_live(const struct control *control, uint32_t id);
uint32_t control_peers_live(const struct control *control);
/* Has no live proxy a lower id than ours? */
bool control_peers_is_first(const struct control *control);
node_set control_peers_given_up(const struct control *control);
bool control_peers_is_mismatched(const struct control *control);
/* Live or not, another has been seen. */
bool control_peers_is_any_known(const struct control *control);
/* Some live one shows VIEW, or all do; and were seen to grow at SINCE_US or later. */
bool control_peers_is_shown(const struct control *control, const struct view *view,
                            uint64_t since_us);
bool control_peers_all_show(const struct control *control, const struct view *view,
                            uint64_t since_us);
/* Was some live one seen to grow at SINCE_US or later that has not given up connections to all of
 * NODES? Who has was cut off itself, and is not back for good. */
bool control_peers_is_any_acting(const struct control *control, node_set nodes, uint64_t since_us);
/* Does some live one say that VIEW has taken effect, or did one that took its leave? */
bool control_peers_is_effective(const struct control *control, const struct view *view,
                                uint64_t since_us);
node_set control_peers_own_given_up(const struct control *control);
/* IS_DUE: copies may differ by what we did, and others are to compare them. */
void control_peers_farewell(struct control *control, bool is_due);

/* --- control_join.c --- */

enum start_step {
    START_ID,
    START_BEAT,  /* the first heartbeat is stored */
    START_READ,  /* views and heartbeats are read */
    START_PAUSE, /* nothing was there: look again */
    START_DONE,
};

enum join_step {
    JOIN_IDLE,
    JOIN_HOLD,  /* workers drain */
    JOIN_POLL,  /* the heartbeat shows it; waiting for the others' */
    JOIN_ADOPT, /* workers take it */
};

/* Have all nodes that we hear told all heartbeats, asked at SINCE_US or later? Asks those that were
 * not. */
bool control_join_have_scans(struct control *control, uint64_t since_us, enum control_scan scan);
/* A view was read from the node at FROM. False: there is no place for its nodes yet. */
bool control_join_see(struct control *control, struct view *view, uint32_t from);
void control_join_on_put(struct control *control, struct probe *probe,
                         const struct probe_want *want, const struct mc_reply *reply);
/* VIEW is above `top`; REASON is for the trace. False: no node to write it to. */
bool control_join_propose(struct control *control, const struct view *view, struct slice reason);
/* Store what we know on nodes that have less. */
void control_join_offer(struct control *control);
void control_join_step(struct control *control);
bool control_join_is_idle(const struct control *control);
/* Now, as tokens count the time: milliseconds since 2020. */
uint64_t control_peers_token_ms(const struct control *control);
/* A topology for VIEW with the next serial, not before a place is free; NULL: none yet. */
struct topology *control_join_topology(struct control *control, const struct view *view);
/* The view's nodes of one sort. */
node_set control_join_nodes(const struct view *view, enum node_data data);

/* --- control_merge.c --- */

/* Does VIEW leave a majority of its nodes complete? */
bool control_merge_has_majority(const struct view *view);
/* Are writes to be refused now (split: stop)? */
bool control_merge_stops(const struct control *control, const struct view *view);
/* Is `top` the view of another side of a split? It is not to be joined then. */
bool control_merge_is_due(const struct control *control);
/* Does a fill delete what differs since a split, on its target and its donor? The donor's fellows
 * lose it by the verify that is due, and so that and other fills come afterwards. */
bool control_merge_is_forgetting(const struct view *view);
/* Propose what both sides can join; `top` is as above, and nothing is being proposed. */
void control_merge_propose(struct control *control);

/* --- control_plan.c --- */

struct wish {
    bool is_used;
    bool is_over; /* the action DONE is to be taken */
    struct control_command command;
    enum control_result result;
    uint64_t deadline_us;
};

/* Is there no other proxy to be seen, and one worker here? */
bool control_plan_may_be_alone(const struct control *control);
/* May writes under VIEW give all copies the same CAS? */
bool control_plan_has_tokens(const struct control *control, const struct view *view);
void control_plan_step(struct control *control);
void control_plan_command(struct control *control, const struct control_command *command);
/* A command that needs no view is answered so. */
void control_plan_answer(struct control *control, const struct control_command *command,
                         enum control_result result);
/* The view in effect is another: answer wishes, count leavings, trace. */
void control_plan_on_effective(struct control *control, const struct view *before);
void control_plan_tick(struct control *control);
uint64_t control_plan_deadline_us(const struct control *control);
bool control_plan_next_done(struct control *control, struct control_action *out);
bool control_plan_is_missed(const struct control *control, uint32_t node);

/* --- control_member.c --- */

/* The member of VIEW with the name of the node at PLACE, and another address; NODES_MAX: none. */
uint32_t control_member_moving(const struct control *control, const struct view *view,
                               uint32_t place);
void control_member_add(const struct control *control, struct view *view, uint32_t place);
void control_member_remove(struct view *view, uint32_t place);
/* Is there a reason against an ADD or REMOVE, in *result? */
bool control_member_is_refused(const struct control *control, const struct view *view,
                               const struct control_command *command, enum control_result *result);
/* An ADD waits until the node has been looked at. */
bool control_member_is_seen(const struct control *control, const struct control_command *command);
/* The view in effect is another: tell who came and who went. False: NODE is no member now. */
bool control_member_on_effective(struct control *control, uint32_t node, const struct view *before);

/* --- control_fill.c --- */

enum fill_drive {
    FILL_DRIVE_IDLE,
    FILL_DRIVE_RUNNING,
    FILL_DRIVE_CHECKING, /* done; the probe reads the identity once more */
    FILL_DRIVE_READY,    /* to be proposed complete */
    FILL_DRIVE_PAUSED,   /* failed; again after a pause */
};

void control_fill_event(struct control *control, const struct wire_event *event);
void control_fill_step(struct control *control);
/* The target is to be joined: what it does not allow ends. */
void control_fill_on_hold(struct control *control);
void control_fill_stop(struct control *control);
/* Add to COUNTS what the fill under way has done so far. */
void control_fill_add_work(const struct control *control, struct control_snapshot *counts);

/* --- control_verify.c --- */

enum verify_drive {
    VERIFY_DRIVE_IDLE,
    VERIFY_DRIVE_RUNNING,
    VERIFY_DRIVE_LEAVING, /* it comes to rest, to make room for another */
};

void control_verify_event(struct control *control, const struct wire_event *event);
void control_verify_step(struct control *control);
/* A change of view is to be joined: it comes to rest. */
void control_verify_on_hold(struct control *control);
void control_verify_stop(struct control *control);
/* Go on by these, of what runs in the background. */
void control_verify_set_background(struct control *control, const struct control_limits *limits);
/* A proxy died without farewell. */
void control_verify_on_death(struct control *control);
void control_verify_on_effective(struct control *control, const struct view *before);
/* What the view in effect wants of us has been done. */
bool control_verify_is_due_over(const struct control *control);
enum control_result control_verify_command(struct control *control,
                                           const struct control_command *command);
uint64_t control_verify_deadline_us(const struct control *control);

/* --- control_warm.c --- */

struct warm {
    uint64_t began_us;
    uint64_t asked; /* in the window that is open */
    uint64_t hits;
    uint64_t last_asked; /* in the last one that was closed; 0: none was */
    uint64_t last_hits;
    bool is_good;           /* the last one was */
    uint64_t good_since_us; /* all since have been */
    bool is_doubted;        /* it entered, though a proxy had died while it was warming */
};

/* A dataplane has asked a warming node for keys that the leader has. */
void control_warm_report(struct control *control, const struct control_report *report);
/* It is to enter by its hit rate. */
bool control_warm_is_due(const struct control *control, uint32_t node);
/* A proxy died without farewell. */
void control_warm_on_death(struct control *control);
/* It must begin anew: somebody who died may have left on it what nobody has looked at again. */
bool control_warm_is_doubted(const struct control *control, uint32_t node);
void control_warm_on_effective(struct control *control, const struct view *before);

/* --- control_flush.c --- */

enum flush_step {
    FLUSH_IDLE,
    FLUSH_SENDING, /* our flush view is in effect; nodes are being flushed */
    FLUSH_READY,   /* the next view is to be proposed */
};

void control_flush_report(struct control *control, const struct control_report *report);
/* Is one to be proposed? */
bool control_flush_is_asked(const struct control *control);
uint32_t control_flush_delay_s(const struct control *control);
void control_flush_on_hold(struct control *control);
void control_flush_on_effective(struct control *control);
void control_flush_on_ok(struct control *control, struct probe *probe);
void control_flush_step(struct control *control);
bool control_flush_next_action(struct control *control, struct control_action *out);

/* --- control.c --- */

struct node_record {
    bool was_member;    /* of a view in effect */
    uint64_t missed_us; /* 0: never */
    enum wire_end missed_end;
    uint64_t answered_us; /* a dataplane had an answer from it; 0: never */
    uint64_t admin_since_us;
    uint64_t data_since_us;
    uint32_t leavings;
    uint64_t hold_down_us; /* the last one's length */
    uint64_t hold_down_until_us;
    enum control_fill_trigger
        fill_trigger;       /* of the fill that comes next, should we be its filler */
    uint64_t fill_after_us; /* 0: not wanted; others may be quicker until then */
    uint64_t identity_told_us;
    uint64_t evictions_before; /* of the node, when its data came to be what it is */
    struct warm warm;
};

struct control {
    struct control_options options;
    uint32_t node_count; /* places */
    struct place places[NODES_MAX];
    struct slice place_names[NODES_MAX]; /* options.names.nodes: "" where it is free */
    uint32_t configured_count;
    struct view_node configured[NODES_MAX]; /* names and addresses of the configuration */
    uint64_t now_us;
    uint64_t read_again_us; /* all has been read once by then, and is read again; 0: not */
    enum control_state state;
    bool is_lone;
    struct prng prng;
    struct probe *probes; /* node_count */
    struct node_record nodes[NODES_MAX];
    uint64_t round_next_us;

    /* peers */
    enum id_state id_state;
    uint32_t id;
    uint32_t id_tries;
    node_set id_asked;
    node_set id_ours;
    bool is_id_taken; /* by another, as a node says */
    uint64_t id_renew_us;
    struct heartbeat beat;              /* the latest stored */
    uint64_t sent_us[CONTROL_SENT_MAX]; /* by sequence */
    uint64_t token_base_ms; /* with our monotonic time, the time of tokens; it only grows */
    uint64_t lease_from_us;
    uint64_t lapsed_us;
    uint64_t regained_us;  /* LAPSED: the heartbeat that ends it was acknowledged; 0: not yet */
    bool is_silent;        /* LAPSED: no heartbeat is stored, as others would wait for us */
    uint64_t found_us;     /* silent: since when some node is heard again; 0: none is */
    uint64_t heard_us;     /* LAPSED: when one was heard last; STARTING: and none */
    uint64_t listening_us; /* silent: since when some node is heard without a gap; 0: none is */
    uint64_t returned_us;  /* LAPSED: when it was silent no more */
    bool is_behind; /* CHANGING, after a lapse: others act on a view that we have not adopted */
    struct peer peers[PROXIES_MAX];
    struct probe_id_set live;  /* of them */
    struct probe_id_set asked; /* of these, about which a node is to be asked */
    uint32_t poll_node;
    uint32_t poll_peer;
    uint64_t last_peer_us; /* when another proxy was last live */
    uint64_t scan_next_us;
    uint32_t scan_node;
    uint64_t scan_urgent_us;
    uint64_t buried_us; /* when a peer was last found dead by its lease; 0: never */

    /* join */
    enum start_step start;
    uint64_t start_us;    /* of the step */
    bool is_found_before; /* nothing, or a view that nobody shows: look twice */
    struct view top;
    struct view target;
    struct view effective;
    struct view proposal;
    bool is_proposing;
    bool is_withdrawn; /* and the anchor has not told yet whether it was stored */
    uint32_t anchor;
    node_set anchors_tried; /* that would not take it */
    char reason[TRACE_DETAIL_BYTES];
    enum join_step join;
    struct view joined;       /* what heartbeats show: others may act on it */
    uint64_t joined_us;       /* when it was first shown */
    bool is_new;              /* it has shown no view but one that was its first */
    uint64_t unseen_until_us; /* others may not know us: nothing is acted on */
    uint64_t joined_sequence;
    uint64_t hold_us;
    uint64_t poll_us;
    uint64_t glance_us;
    bool is_stopped;   /* the topology in effect stops writes */
    uint64_t merge_us; /* since when the view of another side of a split is known; 0: none is */
    uint64_t merge_scan_us;  /* heartbeats read since then tell whether it may be proposed */
    uint64_t merge_stall_us; /* since when the other side waits for us; 0: it does not */
    uint64_t fresh_us;       /* after a lapse: heartbeats seen earlier show nothing */
    uint64_t back_us;        /* when the last lapse was over; 0: there was none */
    uint64_t told_us;        /* when another proxy's view last told which nodes are complete */
    uint64_t change_us;      /* first HOLD of the change under way */
    uint64_t effective_us;   /* when the view in effect came to be so */
    struct topology topologies[CONTROL_TOPOLOGIES_MAX];
    uint64_t serial; /* latest given out */
    uint64_t effective_serial;
    uint64_t drained[WORKERS_MAX]; /* highest serial that each worker reported */
    uint64_t adopted[WORKERS_MAX];
    uint32_t given_up[WORKERS_MAX][NODES_MAX];
    uint32_t parked[WORKERS_MAX]; /* keys that a worker still has to compare on filling nodes */
    bool wants_hold;
    bool wants_adopt;

    struct wish wishes[CONTROL_COMMANDS_MAX];

    /* fill */
    struct fill *fill;
    enum fill_drive drive;
    uint32_t fill_node;
    node_set fill_by_flush;        /* no diff is to be had from these */
    bool is_fill_refused;          /* no dump is to be had: the emptied target is to be warming */
    struct topology fill_topology; /* what it was started with */
    uint64_t fill_started_us;
    uint64_t fill_checked_us;
    uint64_t fill_retry_us;
    uint64_t fill_pause_us;
    uint64_t fill_tick_us;

    uint64_t warm_doubt_us; /* when a proxy was last found dead, if one may have been; 0: never */

    /* verify */
    struct verify *verify;
    enum verify_drive verify_drive;
    struct topology verify_topology; /* what it was started with */
    struct control_verify_snapshot verify_run;
    struct control_verify_snapshot verify_asked; /* the last one that is over */
    struct control_command verify_command;
    bool is_verify_asked; /* verify_command waits, or runs */
    uint64_t verify_tick_us;
    uint64_t verify_retry_us;
    uint64_t verify_pause_us;
    uint64_t background_us; /* when the next one in the background may begin */
    bool is_due_wanted;     /* a proxy died; not yet in a view */
    bool is_due_owed;       /* a verify of ours left something behind; not yet ours in a view */
    uint32_t due_runs;      /* left, if the view names us */
    uint64_t due_after_us;  /* not to begin before */

    /* flush */
    enum flush_step flush;
    uint64_t flush_later_us;           /* when a delayed one is to be done; 0: none is to come */
    uint64_t flush_asked[WORKERS_MAX]; /* highest ticket; 0: none */
    uint64_t flush_doing[WORKERS_MAX];
    uint64_t flush_done[WORKERS_MAX]; /* the action FLUSHED is to be taken */
    bool is_flush_asked_now;          /* a flush without delay is among those asked */
    bool is_flush_due;                /* it is a delayed one's */
    bool is_flush_asked_later;
    uint32_t flush_asked_delay_s;
    bool is_flush_doing_now;
    bool is_flush_doing_later;
    uint32_t flush_doing_delay_s;
    uint64_t flush_us;
    node_set flush_sent;
    uint64_t flush_sent_us[NODES_MAX];
    node_set flush_ok;

    struct trace_event traces[CONTROL_TRACES_MAX];
    uint32_t traces_head;
    uint32_t traces_count;

    /* leave */
    bool is_farewell_owed; /* it waits for the end of what is under way */
    node_set farewells;    /* nodes that have not acknowledged it yet */

    struct control_snapshot counts; /* what has no other home: changes, fills, damage */
};

void control_move(struct control *control, enum control_state state);
/* Trace with no more than a node and a text. */
void control_tell(struct control *control, enum trace_type type, uint32_t node, const char *detail);
void control_trace(struct control *control, const struct trace_event *event);
struct trace_event control_event(const struct control *control, enum trace_type type);
void control_copy_text(char *out, size_t bytes, struct slice text);

#endif
