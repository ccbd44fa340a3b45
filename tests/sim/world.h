/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulated world: proxies (control and dataplanes, the real ones), model nodes, the network
 * between them, clients, and one queue of events with virtual time. The files:
 *
 *   world.c    making, running and ending a world; the trace and its hash
 *   proxy.c    what the shell does: events in, actions out, messages between threads
 *   net.c      connections between proxies and nodes
 *   client.c   clients' connections and how they read replies
 *   ask.c      what clients ask
 *   aim.c      what they ask at delicate moments
 *   fault.c    what goes wrong, and operators' commands
 *   moment.c   what goes wrong at a moment of the protocol
 *   copies.c   the copies of what nobody writes, while it runs
 *   lineage.c  which view comes of which
 *   split.c    two sides that each go on alone
 *   later.c    flush_all with a delay
 *   leave.c    proxies that end as they should
 *   verdict.c  the checks of a run that has come to rest
 */
#ifndef SIM_WORLD_H
#define SIM_WORLD_H

#include "everwarm/base/prng.h"
#include "everwarm/core/control.h"
#include "everwarm/core/dataplane.h"
#include "sim/history.h"
#include "sim/linear.h"
#include "sim/model.h"
#include "sim/profile.h"
#include "sim/queue.h"

#include <stdio.h>

enum {
    WORLD_PROXIES_MAX = 4,
    WORLD_WORKERS_MAX = 3,
    WORLD_NODES_MAX = 5,
    WORLD_LINKS_MAX = 2 * WORLD_NODES_MAX,
    /* Clients' values have about eight bytes, numbers fewer, and what is appended to grows: so some
     * are large, and the same key changes from one to the other. */
    WORLD_SIDE_BYTES_MAX = 12,
    WORLD_CLIENTS_MAX = 16,
    WORLD_KEYS_MAX = 48,
    CLIENT_OPS_MAX = 3000,  /* of a run: what the checker can judge in a moment */
    WORLD_PENDING_MAX = 32, /* requests of one client in flight: its own, and the last reads */
    CLIENT_CAS_COUNT = 48,
    WORLD_SURVIVORS_MAX = 512,
    WORLD_LINEAGES = 64,
    WORLD_SPLITS_MAX = 8,
    WORLD_OWED_MAX = 512,
    WORLD_WIRES_MAX = CONTROL_WIRE_COUNT(WORLD_NODES_MAX),

    WORLD_INTERVAL_US = 200 * 1000,
    WORLD_LEASE_US = 1000 * 1000,
    WORLD_REQUEST_US = 1500 * 1000,
    WORLD_HOLD_DOWN_MAX_US = 2000 * 1000,
    /* A node that answers does what came over a connection that was reset within this. */
    WORLD_LATE_US = 1400 * 1000,
    /* A write that was answered by an error, or whose proxy was in trouble, may delete its key so
     * much later. */
    WORLD_DOUBT_US = 8 * 1000 * 1000,
    /* A reply is late when it comes so long after its deadline: network, a tick, a slow message. */
    WORLD_SLACK_US = 400 * 1000,
};

struct world_options {
    uint64_t seed;
    uint32_t proxies;
    uint32_t workers;
    uint32_t nodes;
    uint32_t steps; /* requests of all clients */
    bool is_shared; /* clients of all workers use the same keys, whatever the seed says */
    const struct profile *profile;
    bool is_verbose;
    bool has_late_packets; /* bytes in flight may arrive after the sender saw a reset */
};

enum world_event {
    WORLD_TO_NODE,       /* a: connection, c: segment */
    WORLD_TO_PROXY,      /* a: connection, c: segment */
    WORLD_NODE_RUN,      /* a: connection: go on with its dump */
    WORLD_CONN_TIMEOUT,  /* a: connection: nothing was acknowledged for too long */
    WORLD_NODE_START,    /* a: node, c: its generation when it was ordered */
    WORLD_NODE_THAW,     /* a: node, c: as above */
    WORLD_MESSAGE,       /* a: proxy, b: worker, c: message */
    WORLD_DP_TICK,       /* a: proxy, b: worker, c: run */
    WORLD_CONTROL_TICK,  /* a: proxy */
    WORLD_CLIENT_SEND,   /* a: client */
    WORLD_CLIENT_OPEN,   /* a: client */
    WORLD_AIM,           /* a: client, b: generation, c: see aim.c */
    WORLD_TO_SERVER,     /* a: client, b: generation, c: segment: client's bytes to its proxy */
    WORLD_TO_CLIENT,     /* a: client, b: generation, c: segment */
    WORLD_FAULT,         /* a: enum fault_phase, b: a proxy or connection */
    WORLD_PROXY_START,   /* a: proxy */
    WORLD_PROXY_LEAVING, /* a: proxy, c: run: has it gone? */
    WORLD_WATCH,         /* deadlines of requests (C6) and what is seen from outside */
};

/* Bytes on their way, or the end of a direction. */
enum segment_type {
    SEGMENT_DATA,
    SEGMENT_SYN,
    SEGMENT_ACCEPT,
    SEGMENT_REFUSE,
    SEGMENT_FIN,
    SEGMENT_RST
};

struct segment {
    enum segment_type type;
    /* Links: whether the node was complete in the sender's topology, and which run it meant (C8).
     */
    bool is_complete;
    struct identity identity;
    size_t len;
    char bytes[];
};

enum conn_side { CONN_CONNECTING, CONN_OPEN, CONN_ENDING, CONN_DEAD };

struct conn {
    uint32_t number;
    uint32_t proxy;
    uint32_t proxy_run;
    bool is_link;    /* else a wire of control */
    uint32_t worker; /* links */
    uint32_t wire;   /* wires; of a link, its place in its proxy's links */
    uint32_t node;
    uint32_t node_run;   /* generation of the process that accepted it */
    enum conn_side side; /* of the proxy */
    bool is_node_open;   /* a process has it accepted */
    bool has_fin;        /* the node has seen the proxy's end */
    bool has_rst;        /* and nobody listens to its answers */
    bool has_timer;
    bool is_timed_out;   /* nothing of it arrives any more */
    uint32_t last_key;   /* the client's key that it carried last; WORLD_KEYS_MAX: none */
    uint32_t flying;     /* segments of data that have not arrived at the node */
    bool has_write;      /* among what flies, or waits at the node, perhaps */
    uint64_t dark_us;    /* when it was reset or timed out: what is done of it is not known */
    bool is_mute;        /* what it asks next is done, and not answered */
    uint64_t stalled_us; /* until then its thread of the node does not get to it */
    bool is_complete;    /* from the last segment that arrived */
    struct identity identity;
    uint64_t to_node_us; /* last arrival there: FIFO */
    uint64_t to_proxy_us;
    struct model_conn mc;
};

struct node {
    struct model model;
    uint32_t generation; /* grows with each crash and freeze */
    uint32_t run;        /* grows with each start */
    bool is_up;          /* the process runs */
    bool is_frozen;
    bool is_host_down; /* packets vanish */
    bool is_warm;      /* it comes back with what it held (memcached -e) */
    int64_t clock_offset_us;
    uint64_t harmed_us; /* when something was last done to it */
    uint64_t next_pid;
    uint64_t view_cas; /* of the view that was last looked at there */
};

struct message {  /* between control and a dataplane */
    uint32_t run; /* of the proxy */
    bool is_report;
    bool is_quiet; /* a report: the worker has nothing under way any more */
    bool is_drain; /* the worker is to take no more clients and requests */
    struct control_report report;
    enum dataplane_event_type type;
    const struct topology *topology;
    uint64_t ticket;
};

struct proxy {
    struct control *control;
    size_t control_bytes;
    struct dataplane *dp[WORLD_WORKERS_MAX];
    size_t dp_bytes;
    const struct topology *topology[WORLD_WORKERS_MAX]; /* as each worker has adopted it */
    /* Of the views that each worker holds for, and has drained for. */
    uint64_t hold_epoch[WORLD_WORKERS_MAX];
    uint64_t drained_epoch[WORLD_WORKERS_MAX];
    uint64_t hold_hash[WORLD_WORKERS_MAX];
    uint64_t drained_hash[WORLD_WORKERS_MAX];
    struct conn *links[WORLD_WORKERS_MAX][WORLD_LINKS_MAX];      /* first links, second links */
    enum wire_end link_ends[WORLD_WORKERS_MAX][WORLD_LINKS_MAX]; /* of those that are gone */
    struct conn *wires[WORLD_WIRES_MAX];
    uint64_t control_tick_us; /* when the next is due; 0: none */
    uint64_t to_worker_us[WORLD_WORKERS_MAX];
    uint64_t to_control_us[WORLD_WORKERS_MAX];
    uint64_t invalidations[WORLD_WORKERS_MAX]; /* keys deleted in doubt, as last seen */
    uint64_t mends[WORLD_WORKERS_MAX];         /* begun, as last seen */
    uint32_t mending[WORLD_WORKERS_MAX];       /* keys, now */
    uint64_t ticket;
    bool is_up;
    /* Told to end, as by SIGTERM: */
    bool is_leaving;
    bool is_draining[WORLD_WORKERS_MAX]; /* it has heard of it */
    bool is_quiet[WORLD_WORKERS_MAX];    /* and said that nothing is under way */
    uint32_t quiet_count;                /* of them, as control has heard */
    bool is_left;                        /* control has been told to leave */
    bool has_said;                       /* and has written a farewell */
    uint32_t looks;                      /* of the main thread, whether it has gone */
    bool is_soon_back;                   /* a node is to show its farewell when it lives again */
    uint32_t id_next;     /* the id that it asks for when it starts; PROXIES_MAX: any */
    uint32_t run;         /* grows with each start */
    uint64_t started_us;  /* this run */
    uint64_t serving_us;  /* when a worker of it had its first topology; 0: not yet */
    uint64_t paused_us;   /* until then it is stopped */
    int64_t clock_ms;     /* its wall clock is so far ahead when it starts */
    uint64_t pause_us;    /* it is to be stopped for so long when its next heartbeat is out */
    uint64_t troubled_us; /* until then its clients may be hung up on: it was stopped or died */
    /* Packets between it and a node don't arrive until then, each way. */
    uint64_t cut_to_node_us[WORLD_NODES_MAX];
    uint64_t cut_to_proxy_us[WORLD_NODES_MAX];
};

struct client_pending {
    uint32_t first_op; /* in the history; KEY_COUNT of them, one after the other */
    uint32_t key_count;
    uint32_t keys_done; /* of a get: told already */
    bool is_noreply;
    bool has_cas;
    uint64_t end;      /* of its bytes, in all that the client has sent on this connection */
    uint64_t since_us; /* its deadline counts from here: see client_read_until */
    bool is_read;      /* the proxy has all of it */
};

struct key {
    uint32_t owner;       /* group of clients that may write it */
    uint32_t writes;      /* asked and not told */
    uint64_t quiet_us;    /* from then on nothing of its owner's happens to it */
    uint64_t open_us;     /* a write that was not told may be under way until then */
    uint32_t writer;      /* group of the last write */
    uint32_t contentions; /* writes that began while another group's were under way */
    bool is_contended;    /* none has been alone since: its copies may differ until they settle */
    uint64_t evicted_us;  /* when a node forgot it first and last; 0: never */
    uint64_t evicted_last_us;
    bool is_evicted;   /* and nobody has written it since */
    uint32_t asked;    /* requests, as the checker's room is bounded */
    uint64_t aimed_us; /* something delicate happened to it then */
    /* By worker: since when it has mended the copies, if it still does. */
    uint64_t mend_us[WORLD_PROXIES_MAX][WORLD_WORKERS_MAX];
    uint64_t missed_us; /* when a look-again may have missed another's write; 0: none since */
    bool is_split; /* its write was under way when its proxy died or a split began; none since */
    bool was_split;
    bool was_muted; /* a node did twice what was asked of it, and told nobody */
};

/* Somebody else has emptied a node. */
struct flush {
    uint32_t node;
    uint64_t at_us;
    uint64_t noticed_us; /* from then on nobody asks it for what it has lost; 0: not yet */
};

/* The views of one side, or of all. */
struct line {
    uint64_t acted_hash;  /* of the view that some proxy has acted on last */
    uint64_t served_hash; /* of the last one of these in which a node was complete */
    uint64_t leaders_epoch;
    node_set leaders;
    uint64_t pids[WORLD_NODES_MAX];  /* of the runs that lead */
    uint64_t seeds[WORLD_NODES_MAX]; /* of their names: one may be removed since */
};

enum { SPLIT_NO_LOSER = 2 };

/* Two sides, 0 and 1, that don't see each other. */
struct split {
    uint64_t from_us;
    uint64_t heal_us;                    /* the first packets get through again */
    uint64_t to_us;                      /* all act on one view again; 0: not yet */
    uint64_t forgot_us;                  /* what differed is gone by then; 0: not known */
    uint32_t sides[WORLD_PROXIES_MAX];   /* at first */
    uint32_t now_at[WORLD_PROXIES_MAX];  /* a proxy may go over to the other one's view */
    uint64_t left_us[WORLD_PROXIES_MAX]; /* when it did, or all met */
    node_set first;                      /* the nodes of side 0 */
    bool has_gone_on[2];                 /* with views of its own */
    uint32_t loser;                      /* the side whose line has ended */
};

/* An item that differed when a split healed. */
struct owed {
    uint32_t node; /* of the side that lost */
    uint32_t key;
    uint64_t token;
};

/* A key that two wrote at once has another leader, whose copy is not the old one's. */
struct survivor {
    uint32_t key;
    uint64_t at_us;
    int32_t value; /* there; HISTORY_ABSENT: none */
};

/* What its last gets of a key saw, for cas: a ring. */
struct client_cas {
    uint64_t cas[CLIENT_CAS_COUNT];
    int32_t value[CLIENT_CAS_COUNT];
    uint64_t epoch[CLIENT_CAS_COUNT];
    uint32_t seen;
};

enum client_state { CLIENT_AWAY, CLIENT_COMING, CLIENT_HERE };

struct client {
    uint32_t number;
    uint32_t proxy;
    uint32_t worker;
    uint32_t slot;
    uint32_t generation; /* of its connection */
    enum client_state state;
    bool is_server_open;        /* the dataplane has the slot */
    uint32_t server_generation; /* of the connection that it knows */
    uint32_t left_generation;   /* of the one that its proxy closed after its farewell */
    bool is_paused;
    uint32_t depth; /* requests in flight at most */
    uint32_t sequence;
    uint32_t key_first;
    uint32_t key_count;
    uint64_t next_send_us;
    uint64_t to_server_us;
    uint64_t to_client_us;
    uint64_t sent_bytes;  /* on this connection */
    uint64_t read_bytes;  /* of them, by the proxy */
    struct bytes waiting; /* arrived at the proxy's socket, not read */
    struct bytes in;      /* arrived at the client */
    struct client_pending pending[WORLD_PENDING_MAX];
    uint32_t pending_count;
    struct client_cas cas[WORLD_KEYS_MAX];
};

struct world {
    struct world_options options;
    struct prng prng;
    struct queue queue;
    uint64_t now_us;
    uint64_t hash;
    uint64_t events;
    struct node nodes[WORLD_NODES_MAX];
    struct proxy proxies[WORLD_PROXIES_MAX];
    struct conn **conns;
    uint32_t conn_count;
    uint32_t conn_capacity;
    struct client clients[WORLD_CLIENTS_MAX];
    uint32_t client_count;
    uint32_t key_count;
    struct key keys[WORLD_KEYS_MAX];
    struct history history;
    struct view_names names;
    struct slice node_names[WORLD_NODES_MAX]; /* and addresses */
    /* The seed's character. */
    const struct profile *profile;
    bool is_shared;        /* clients of all workers use the same keys */
    uint64_t side_bytes;   /* values from this size on go by second links; 0: none do */
    uint32_t hot_key;      /* written whenever it is copied; WORLD_KEYS_MAX: none */
    uint64_t copies_epoch; /* of the view for which the copies were compared last */
    bool is_wild;          /* several things fail at once: errors and losses are excused */
    uint64_t delay_us;     /* typical, of a packet */
    uint64_t think_us;
    uint64_t busy_us;       /* until then clients ask without a pause: something delicate goes on */
    uint64_t end_us;        /* when clients stop asking; set when the last fault has struck */
    uint64_t wire_us;       /* what packets of control and fill take longer, at most */
    uint32_t spike_percent; /* packets that take up to 30 ms */
    uint32_t faults_left;
    bool has_tokens;        /* the nodes know E */
    bool is_copy_cut_due;   /* the next connection that carries a copy is cut */
    uint32_t link_cut_node; /* the next one that carries a write there is cut */
    uint64_t emptied_us;    /* when a node was killed that was about to be complete */
    uint32_t mute_node;     /* the answer to what it decides next is lost; WORLD_NODES_MAX: none */
    uint32_t mute_key;      /* whose answer was lost, and will be once more; WORLD_KEYS_MAX: none */
    uint32_t fault_kinds;   /* bits of those that this seed has */
    uint32_t leaves;        /* of proxies, so far */
    uint64_t fault_pause_us;
    bool is_resting;       /* no more faults or requests */
    bool is_started;       /* every proxy has served */
    uint64_t rest_us;      /* since when */
    uint64_t calm_look_us; /* when to look next whether all is as it should be */
    uint64_t fault_count;
    uint64_t fault_us[64];  /* when; the last 64 */
    uint64_t loss_us;       /* the last complete copy was lost then; 0: never */
    uint64_t forget_us[64]; /* when dataplanes deleted keys in doubt */
    uint32_t forget_count;
    struct survivor survivors[WORLD_SURVIVORS_MAX];
    uint32_t survivor_count;
    uint64_t leaders_us[64]; /* when the leaders became others; the last 64 */
    uint32_t leaders_count;
    uint64_t later_us;    /* all delayed flushes have happened by then */
    struct line lines[2]; /* of the sides of a split; else the first alone */
    struct split splits[WORLD_SPLITS_MAX];
    uint32_t split_count;
    struct owed owed[WORLD_OWED_MAX];
    uint32_t owed_count;
    struct lineage *lineages[WORLD_LINEAGES]; /* of views, by hash: the last ones seen */
    struct flush flushes[8];
    uint32_t flush_count;
    uint64_t calm_us;     /* the last fault no longer shows then */
    struct conn *running; /* whose command a node executes now */
    char broken[512];     /* the first broken promise, empty: none */
    const char *rule;
};

/* What came of a run. */
struct world_result {
    uint64_t hash;
    uint64_t events;
    uint64_t ops;
    uint64_t end_us;
    uint32_t too_hard; /* keys that the checker gave up on */
    uint32_t excused;  /* keys that are right only with an excuse of replication.md section 1 */
    uint64_t view_changes;
    uint64_t fills;
};

/* Run a seed to its end; false: a promise was broken, which was printed. */
bool world_run(const struct world_options *options, struct world_result *result);

/* --- For the other files of the world --- */

__attribute__((format(printf, 2, 3))) void world_trace(struct world *world, const char *format,
                                                       ...);
__attribute__((format(printf, 3, 4))) void world_broken(struct world *world, const char *rule,
                                                        const char *format, ...);
void world_post(struct world *world, uint64_t at_us, enum world_event type, uint32_t a, uint32_t b,
                uint64_t c);
struct segment *world_segment(enum segment_type type, struct slice bytes);
/* A random packet's time on its way. */
uint64_t world_delay(struct world *world);
bool world_chance(struct world *world, uint32_t percent);
uint64_t world_below(struct world *world, uint64_t bound);
void world_note_fault(struct world *world);
/* Something delicate begins: clients ask more. */
void world_hurry(struct world *world, uint64_t for_us);
const char *world_key(uint32_t key);

/* Something delicate happens to KEY: somebody writes it within a while, and others read it. */
void aim_at(struct world *world, uint32_t key, uint64_t within_us);
/* Somebody deletes KEY within a while, whatever the chances. */
void aim_to_delete(struct world *world, uint32_t key, uint64_t within_us);
/* KEY, which is copied from NODE, is deleted, there last: it meets all of the copy's steps
 * elsewhere. */
void aim_past(struct world *world, uint32_t key, uint32_t node, uint64_t within_us);
struct aim {
    enum { AIM_BY_WORKER, AIM_BY_OTHERS } by;
    enum history_kind kind;
    uint32_t key;
};
/* A client of LINK's worker, or one of any other, asks that within a while. */
void aim_by(struct world *world, const struct conn *link, const struct aim *aim,
            uint64_t within_us);
/* KEY, which holds a number, is counted. */
void aim_to_count(struct world *world, uint32_t key, uint64_t within_us);
/* CLIENT tries its CAS of KEY a few times within a while. */
void aim_cas(struct world *world, uint32_t client, uint32_t key, uint64_t within_us);
/* The key that the command in BYTES is about; WORLD_KEYS_MAX: none of the clients'. */
uint32_t aim_key_of(const struct world *world, struct slice bytes);
/* Bytes of a fill or verify are on their way to NODE. */
void aim_at_copy(struct world *world, uint32_t node, uint32_t key, struct slice bytes);
/* A worker sends these to a node: of a key that a warming node is to get? */
void aim_at_warming(struct world *world, struct conn *conn, uint32_t key, struct slice bytes);
/* Another view takes effect: what was aimed at is read. */
void aim_at_view(struct world *world);
/* PROXY begins to join the view of TOPOLOGY. */
void aim_at_hold(struct world *world, uint32_t proxy, const struct topology *topology);
/* WORKER of PROXY acts on its view, and others do not yet. */
void aim_at_join(struct world *world, uint32_t proxy, uint32_t worker);
/* PROXY was stopped and goes on in a moment: others write, and its clients read. */
void aim_at_wake(struct world *world, uint32_t proxy, uint64_t wake_us);
void aim_shoot(struct world *world, const struct queue_event *event);

/* Control has written something to NODE: a view? */
void lineage_look(struct world *world, uint32_t node);
/* PROXY acts on TOPOLOGY from now on: what took effect before is among its ancestors. */
void lineage_check(struct world *world, uint32_t proxy, const struct topology *topology);
/* Does the view with HASH come of the one with ANCESTOR? Also if nothing is known of it. */
bool lineage_comes_of(const struct world *world, uint64_t hash, uint64_t ancestor);
/* The nodes with which that view forgets what differs. */
node_set lineage_forgetting(const struct world *world, uint64_t hash);
/* A node or a proxy died: where that was the last to know a view, the next one comes of none. */
void lineage_lose(struct world *world);
void lineage_fini(struct world *world);

/* Cut the world in two: each proxy's side, and the nodes of side 0. Returns false: not now. */
bool split_begin(struct world *world, const uint32_t *sides, node_set first, uint64_t for_us);
/* Has the last one not come to its end? */
bool split_is_open(const struct world *world);
/* The line of views that PROXY follows. */
uint32_t split_side(const struct world *world, uint32_t proxy);
/* Do the two follow different ones, as they may? */
bool split_is_apart(const struct world *world, uint32_t a, uint32_t b);
/* All act on one view, and nothing is left to be forgotten. */
bool split_is_over(const struct world *world);
/* May clients get errors for it? */
bool split_excuses(const struct world *world);
/* PROXY acts on TOPOLOGY from now on. */
void split_on_view(struct world *world, uint32_t proxy, const struct topology *topology);
/* What differed when a split healed is gone when it has to be. */
void split_check(struct world *world);

/* Of a history there are the line that goes on to the end, and one that ends with each split. */
enum { SPLIT_MAIN_LINE = WORLD_SPLITS_MAX };
enum split_place {
    SPLIT_OUT,
    SPLIT_MAYBE, /* it may have taken effect there, whatever was answered */
    SPLIT_IN
};
enum split_place split_place(const struct world *world, const struct history_op *op, uint32_t line);
/* May KEY have been forgotten when split NUMBER healed? When, in *OUT. */
bool split_forgets(const struct world *world, uint32_t number, uint32_t key,
                   struct history_op *out);
/* Some worker acts on another view: who was emptied has perhaps left it. */
void copies_on_view(struct world *world);
/* Keys have other leaders from now on than those of FORMER. */
void copies_on_leaders(struct world *world, const struct topology *topology,
                       const struct line *former);
/* The copies of what nobody writes are equal on the nodes that count as complete. */
void copies_check(struct world *world);
/* A write was asked, or told. */
void copies_on_ask(struct world *world, struct history_op *op, uint32_t group);
/* WORKER begins to mend a key, or is about it. */
void copies_on_mend(struct world *world, uint32_t proxy, uint32_t worker);
/* PROXY is about to die. */
void copies_on_crash(struct world *world, uint32_t proxy);
void copies_on_told(struct world *world, struct history_op *op);
/* Do two copies say the same, as far as expiry can? */
bool copies_are_equal(const struct node *x, const struct store_item *a, const struct node *y,
                      const struct store_item *b);

void net_node_time(struct world *world, uint32_t node);
struct conn *net_connect(struct world *world, const struct conn *like);
void net_send(struct world *world, struct conn *conn, struct slice bytes);
/* Does it carry what clients ask, or copies? If not, it is for the proxies' own keys alone. */
bool net_is_work(const struct world *world, const struct conn *conn);
/* Can the node still execute a write that CONN, such a one, carries? */
bool net_may_write(const struct world *world, const struct conn *conn);
/* The proxy gives it up: half-closes and reads to the end. */
void net_give_up(struct world *world, struct conn *conn);
/* The proxy closes it at once. */
void net_close(struct world *world, struct conn *conn);
void net_to_node(struct world *world, struct conn *conn, struct segment *segment);
void net_to_proxy(struct world *world, struct conn *conn, struct segment *segment);
void net_run(struct world *world, struct conn *conn);
void net_timeout(struct world *world, struct conn *conn);
/* Nobody acknowledges: the sender's kernel gives up after a while, if it stays so. */
void net_unheard(struct world *world, struct conn *conn);
void net_crash(struct world *world, uint32_t node);
void net_start(struct world *world, uint32_t node);
void net_thaw(struct world *world, uint32_t node);
void net_cut(struct world *world, struct conn *conn);
/* It is reset, and what is in flight arrives at most so much later. */
void net_cut_late(struct world *world, struct conn *conn, uint64_t for_us);
/* The node's thread that has this connection does nothing for a while. */
void net_stall(struct world *world, struct conn *conn, uint64_t for_us);
void net_fini(struct world *world);

void proxy_init(struct world *world, uint32_t proxy);
void proxy_fini(struct world *world, uint32_t proxy);
/* It is killed: its sockets are closed by its kernel. */
void proxy_crash(struct world *world, uint32_t proxy);
/* On its way between the threads of PROXY. */
void proxy_post(struct world *world, uint32_t proxy, uint32_t worker,
                const struct message *message);
uint64_t proxy_now(const struct world *world, uint32_t proxy);
/* Returns false: it is not running. */
bool proxy_snapshot(const struct world *world, uint32_t proxy, struct control_snapshot *out);
/* Something happened on a connection; BYTES for DATA. */
void proxy_on_conn(struct world *world, struct conn *conn, enum wire_event_type type,
                   struct slice bytes, enum wire_end end);
void proxy_on_message(struct world *world, uint32_t proxy, uint32_t worker,
                      struct message *message);
void proxy_dp_event(struct world *world, uint32_t proxy, uint32_t worker,
                    const struct dataplane_event *event);
void proxy_control_tick(struct world *world, uint32_t proxy);
/* It sends a client's word to a node. */
void proxy_check_sending(struct world *world, uint32_t proxy, uint32_t worker);
void proxy_command(struct world *world, uint32_t proxy, const struct control_command *command);

void client_init(struct world *world, uint32_t client);
void client_fini(struct world *world, uint32_t client);
void client_open(struct world *world, uint32_t client);
void client_send(struct world *world, uint32_t client);
/* At the proxy's socket: bytes of the client's connection GENERATION, or its end. */
void client_to_server(struct world *world, uint32_t client, uint32_t generation,
                      const struct segment *segment);
/* At the client: bytes of the proxy, or its end. */
void client_to_client(struct world *world, uint32_t client, const struct segment *segment);
/* The proxy died with all its connections. */
void client_lose_server(struct world *world, uint32_t client);
/* The proxy closes it, having answered what it has read. */
void client_let_go(struct world *world, uint32_t client);
/* The proxy has closed: the client will see it. */
void client_hang_up(struct world *world, struct client *client);
/* The proxy's socket: what waits is read as far as the dataplane has room. */
void client_pump(struct world *world, uint32_t client);
/* One request of KIND for KEY, out of turn. */
void client_aim(struct world *world, uint32_t client, enum history_kind kind, uint32_t key);
/* Do its items expire soon? */
bool client_is_expiring_key(const struct client *c, uint32_t key);
bool client_may_write(struct world *world, const struct client *c, uint32_t key);
/* A client empties all nodes, at once or DELAY_S later. Returns false: not now. */
bool client_flush_all(struct world *world, uint32_t client, uint32_t delay_s);

/* OP, a delayed flush_all, was told. */
void later_on_told(struct world *world, const struct history_op *op);
/* When OP, such a flush, forgets. */
struct history_op later_moment(const struct world *world, const struct history_op *op);

/* C6. */
void client_watch(struct world *world);
struct client *client_at(struct world *world, uint32_t proxy, uint32_t worker, uint32_t slot);
/* Read every key once more, at rest. */
void client_read_all(struct world *world);

/* A proxy is told to end, as by SIGTERM, with or without something else at that moment. */
void leave_strike(struct world *world, uint32_t node);
/* A node goes on that stood still when a proxy ended: see leave_haunt. */
void leave_go_on(struct world *world, uint32_t number);
/* PROXY is told to end. */
void leave_begin(struct world *world, uint32_t proxy);
/* WORKER of PROXY has done something: has it nothing under way any more? */
void leave_look(struct world *world, uint32_t proxy, uint32_t worker);
/* A worker has said so. */
void leave_on_quiet(struct world *world, uint32_t proxy, uint32_t worker);
/* Has it gone, or is its time over? */
void leave_watch(struct world *world, uint32_t proxy);
/* Control of PROXY writes BYTES to a node: its farewell? */
void leave_on_probe(struct world *world, uint32_t proxy, struct slice bytes);
/* A proxy begins to join a view, or copies: perhaps it is told to end now. */
void leave_at_moment(struct world *world, uint32_t proxy);
/* PROXY has died, or ended: which id will its next run ask for? */
void leave_choose_id(struct world *world, uint32_t proxy, uint32_t id);
/* PROXY starts: nodes have forgotten who had its id. */
void leave_forget_id(struct world *world, uint32_t proxy);

/* Some of the kinds of faults, for a seed. */
uint32_t fault_choose(struct world *world);
void fault_plan(struct world *world);
void fault_start_proxy(struct world *world, uint32_t proxy);
/* Clients of PROXY may get errors until UNTIL_US, and for a while. */
void fault_trouble(struct proxy *p, uint64_t until_us);
/* These strike at once. */
void fault_crash(struct world *world, uint32_t node);
void fault_freeze(struct world *world, uint32_t node);
void fault_cut_one(struct world *world, uint32_t proxy, uint32_t node);
void fault_kill_proxy(struct world *world, uint32_t proxy);
void fault_strike(struct world *world, uint32_t phase, uint32_t number);
/* A fill or verify sends BYTES. */
void fault_on_copy(struct world *world, struct conn *conn, struct slice bytes);
/* A proxy sends BYTES, its heartbeat perhaps. */
void fault_on_beat(struct world *world, uint32_t proxy, struct slice bytes);
/* A worker sends BYTES. */
void fault_on_link(struct world *world, struct conn *conn, struct slice bytes);
/* A client knows a CAS of KEY that NODE gave to another value. */
void fault_on_foreign_cas(struct world *world, uint32_t client, uint32_t key, uint32_t node);
/* PROXY begins to join a view. */
void fault_on_hold(struct world *world, uint32_t proxy);
/* Mend everything. */
void fault_end(struct world *world);
/* An operator wishes all nodes ready. */
void fault_ready(struct world *world);
/* All nodes up, complete and of the run that the views name. */
bool fault_is_whole(struct world *world);
bool fault_are_nodes_well(const struct world *world);
bool fault_is_cut_anywhere(const struct world *world);

/* An operator tells some proxy. */
void fault_say(struct world *world, uint32_t node, enum control_command_type type);
/* May NODE be harmed without a client's noticing? */
bool fault_is_tame(const struct world *world, uint32_t node);
/* Would some proxy that is cut off from a node share none with another one without NODE? */
bool fault_is_split_without(const struct world *world, uint32_t node);
/* NODE, which is up, is frozen. */
void fault_stop(struct world *world, uint32_t node, uint64_t for_us);

/* A fill or verify, a probe, a worker sends BYTES. */
void moment_on_copy(struct world *world, const struct conn *conn, struct slice bytes);
void moment_on_probe(struct world *world, const struct conn *conn, struct slice bytes);
void moment_on_link(struct world *world, struct conn *conn, uint32_t key, struct slice bytes);
/* The node has done what CONN, which is mute, asked. Returns whether it closes it. */
bool moment_is_silenced(struct world *world, struct conn *conn);
/* The answer to what NODE decides next is lost. */
void moment_mute(struct world *world, uint32_t node);
void moment_strike(struct world *world, uint32_t phase, uint32_t number);

/* Has the history of KEY an order, on that line, perhaps by an excuse alone? */
enum linear_verdict verdict_of(struct world *world, uint32_t key, uint32_t line, bool *is_excused);
void verdict_give(struct world *world, struct world_result *result);

#endif
