/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dataplane: bytes from clients and nodes in, bytes and wishes out. One for each worker and
 * pool; pure, owned by one thread. Source: replication.md sections 5, 6 and 8; architecture.md "The
 * step", "Memory", "The hot path".
 *
 * A turn of the shell: dataplane_turn with the time, then events, then dataplane_next_action until
 * it says false; each action *_WRITE is served by gather, one gathered write, and dataplane_wrote.
 *
 * Clients are named by a slot that the shell chooses (0 .. clients_max-1); it may use the slot
 * again as soon as CLIENT_CLOSE has come out. A node has up to two links, the second one for large
 * values; the first one has the node's number, the second one NODES_MAX more. A link that is given
 * up is taken over by the shell, half-closed and read to its end, which it reports with ENDED.
 */
#ifndef EVERWARM_CORE_DATAPLANE_H
#define EVERWARM_CORE_DATAPLANE_H

#include "everwarm/base/histogram.h"
#include "everwarm/base/slice.h"
#include "everwarm/core/control.h"
#include "everwarm/core/hotkeys.h"
#include "everwarm/core/slowlog.h"
#include "everwarm/core/topology.h"
#include "everwarm/core/view.h"
#include "everwarm/core/wire.h"
#include "everwarm/mc/request.h"

#include <stdbool.h>
#include <stdint.h>

enum { DATAPLANE_LINKS_MAX = 2 * NODES_MAX };

enum dataplane_on_no_replica { DATAPLANE_ANSWER_MISS, DATAPLANE_ANSWER_ERROR };
enum dataplane_read { DATAPLANE_READ_LEADER, DATAPLANE_READ_NEAREST, DATAPLANE_READ_SPREAD };
enum dataplane_fallback {
    DATAPLANE_FALLBACK_AUTO,
    DATAPLANE_FALLBACK_ALWAYS,
    DATAPLANE_FALLBACK_NEVER,
};
/* Whose answers a write waits for before it is answered; it reaches all in any case. */
enum dataplane_ack { DATAPLANE_ACK_ALL, DATAPLANE_ACK_LEADER };

struct dataplane_options {
    struct view_names names; /* borrowed for the dataplane's life */
    uint32_t worker;         /* number of this dataplane among the proxy's */
    uint32_t clients_max;
    size_t memory_bytes; /* for buffers; a multiple of CHUNK_BYTES */
    uint64_t item_bytes_max;
    uint64_t side_bytes;   /* values from this size on go by a second link; 0: there is none */
    uint32_t pipeline_max; /* requests of one client in flight */
    uint64_t client_output_bytes_max; /* unsent to one client; at least one item */
    uint64_t request_timeout_us;
    uint64_t connect_timeout_us;
    uint64_t settle_delay_us; /* between the last write to a key and the comparison of its copies */
    uint64_t seed;            /* for jitter */
    enum dataplane_on_no_replica on_no_replica;
    enum dataplane_read read;
    enum dataplane_fallback miss_fallback;
    enum dataplane_ack ack;
    uint32_t bump_every;  /* one read hit in so many is told the other replicas' LRU; 0: none */
    struct slice version; /* what "version" answers after "VERSION ", borrowed */
};

enum dataplane_event_type {
    DATAPLANE_CLIENT_OPEN,  /* client */
    DATAPLANE_CLIENT_BYTES, /* client, bytes: at most dataplane_client_room() */
    DATAPLANE_CLIENT_EOF,   /* client: it sends no more; what it asked is still answered */
    DATAPLANE_CLIENT_LOST,  /* client: reset; its slot is free after this */
    DATAPLANE_NODE_OPEN,    /* link: connected */
    DATAPLANE_NODE_BYTES,   /* link, bytes */
    DATAPLANE_NODE_CLOSED,  /* link, end: refused, timed out, EOF or reset */
    DATAPLANE_NODE_ENDED,   /* link, end: a connection given up there came to its end */
    DATAPLANE_HOLD,         /* topology: the one that comes next; drain and report */
    DATAPLANE_ADOPT,        /* topology: act on it from now on */
    DATAPLANE_FLUSHED,      /* ticket: a client's flush_all has been done */
    DATAPLANE_TICK,         /* every 20 ms or so: deadlines */
};

struct dataplane_event {
    enum dataplane_event_type type;
    uint32_t client;
    uint32_t link;
    enum wire_end end;
    uint64_t ticket;
    struct slice bytes; /* borrowed for the call; consumed whole */
    const struct topology *topology;
};

enum dataplane_action_type {
    DATAPLANE_CLIENT_WRITE,  /* client: gather, write, tell with dataplane_client_wrote */
    DATAPLANE_CLIENT_CLOSE,  /* client: close it; the slot is free */
    DATAPLANE_CLIENT_PAUSE,  /* client: read no more for now */
    DATAPLANE_CLIENT_RESUME, /* client: read again */
    DATAPLANE_NODE_CONNECT,  /* link */
    DATAPLANE_NODE_WRITE,    /* link */
    DATAPLANE_NODE_GIVE_UP,  /* link: half-close, read to the end, tell with NODE_ENDED */
    DATAPLANE_REPORT,        /* report: to control */
};

struct dataplane_action {
    enum dataplane_action_type type;
    uint32_t client;
    uint32_t link;
    bool is_cut; /* CLIENT_CLOSE: not all that it was answered has been taken */
    struct control_report report;
};

struct dataplane;

size_t dataplane_bytes(const struct dataplane_options *options);
/* MEMORY has dataplane_bytes(), aligned to 4096, zeroed (fresh from mmap: touched on demand). */
struct dataplane *dataplane_init(void *memory, const struct dataplane_options *options);

/*
 * Begin a turn: what comes now happens at NOW_US. LEASE_UNTIL_US is control_lease_until_us(); when
 * it is over nothing is sent to nodes or clients, until it is renewed.
 */
void dataplane_turn(struct dataplane *dp, uint64_t now_us, uint64_t lease_until_us);

void dataplane_step(struct dataplane *dp, const struct dataplane_event *event);
bool dataplane_next_action(struct dataplane *dp, struct dataplane_action *out);

/* Bytes to write, in order. Returns number of slices, at most CAPACITY. */
size_t dataplane_client_gather(struct dataplane *dp, uint32_t client, struct slice *out,
                               size_t capacity);
/* COUNT bytes of what was gathered last were taken. If that is not all of it (or this is not called
 * at all after a WRITE), nothing is asked to be written before dataplane_client_writable. */
void dataplane_client_wrote(struct dataplane *dp, uint32_t client, size_t count);
size_t dataplane_node_gather(struct dataplane *dp, uint32_t link, struct slice *out,
                             size_t capacity);
void dataplane_node_wrote(struct dataplane *dp, uint32_t link, size_t count);

/* The socket takes bytes again after a write that was not taken whole. */
void dataplane_client_writable(struct dataplane *dp, uint32_t client);
void dataplane_node_writable(struct dataplane *dp, uint32_t link);

/* How many bytes may be read from any client in one go, now; 0: none. */
size_t dataplane_client_room(const struct dataplane *dp);

/* Limits that may change while it runs. */
struct dataplane_limits {
    uint32_t pipeline_max;
    uint64_t client_output_bytes_max;
    uint64_t connect_timeout_us;
    uint64_t request_timeout_us;
    uint64_t settle_delay_us;
    enum dataplane_on_no_replica on_no_replica;
    enum dataplane_read read;
    enum dataplane_fallback miss_fallback;
    enum dataplane_ack ack;
};
/* What is under way goes by them from now on; after dataplane_turn. */
void dataplane_set_limits(struct dataplane *dp, const struct dataplane_limits *limits);

/* When the next deadline of anything in flight is; UINT64_MAX: none. */
uint64_t dataplane_next_deadline_us(const struct dataplane *dp);

/* --- What is seen from outside: counters of this dataplane, owned by its thread --- */

/* How a command ended, for commands_total{status}. */
#define DATAPLANE_OUTCOME_TABLE(X)                                                                 \
    X(HIT, "hit")                                                                                  \
    X(MISS, "miss")                                                                                \
    X(STORED, "stored")   /* stored, deleted, touched, done */                                     \
    X(REFUSED, "refused") /* not stored, exists: the answer to a condition */                      \
    X(CLIENT_ERROR, "client_error")                                                                \
    X(SERVER_ERROR, "server_error")

enum dataplane_outcome {
#define X(name, word) DATAPLANE_OUTCOME_##name,
    DATAPLANE_OUTCOME_TABLE(X)
#undef X
        DATAPLANE_OUTCOME_COUNT
};

struct dataplane_node_stats {
    uint64_t requests;  /* sent */
    uint64_t errors[8]; /* by enum wire_end: connections lost */
    uint64_t connects;
    uint64_t connect_failures;
    uint64_t item_errors; /* SERVER_ERROR about one item */
    uint64_t warm_asked;  /* while it was warming: keys read that the leader had */
    uint64_t warm_hits;   /* of them found there, too */
    uint64_t warm_stored; /* given to it */
    uint32_t in_flight;
    uint32_t given_up; /* connections not yet at EOF */
    bool is_open;
    struct histogram latency;
};

struct dataplane_stats {
    uint64_t commands[MC_COMMAND_COUNT][DATAPLANE_OUTCOME_COUNT];
    /* Those of them that memcached's "stats" does not tell: numbers created, items marked stale,
     * binary deletes with another CAS. */
    uint64_t passed_over[MC_COMMAND_COUNT][DATAPLANE_OUTCOME_COUNT];
    uint64_t bad_blocks; /* stores whose data did not end with CRLF: no command, but a cmd_set */
    uint64_t keys_hit;   /* of get, gets and mg, each key */
    uint64_t keys_missed;
    uint64_t touches_hit; /* of gat, gats and mg T, which memcached counts as touches */
    uint64_t touches_missed;
    uint64_t bytes_in; /* from clients */
    uint64_t bytes_out;
    uint64_t clients;
    uint64_t clients_total;
    uint64_t protocol_errors_clients;
    uint64_t protocol_errors_nodes;
    uint64_t foreign_protocols; /* clients that spoke HTTP or TLS, and were hung up on */
    uint64_t read_failovers;    /* reads moved to another replica */
    uint64_t writes_brought_home;
    uint64_t writes_rerun; /* after their leader left the view */
    uint64_t writes_chained;
    uint64_t writes_failed; /* answered SERVER_ERROR */
    uint64_t writes_ok;
    uint64_t keys_invalidated; /* deleted everywhere, in doubt */
    uint64_t settle_checks;
    uint64_t divergences; /* settle saw the same difference twice */
    uint64_t repairs;
    uint64_t settle_queue; /* now */
    uint64_t held;         /* requests waiting now, for a view, a link or a key */
    uint64_t shed;         /* for want of memory */
    uint64_t memory_bytes; /* buffers in use */
    uint64_t memory_limit_bytes;
    struct histogram latency[MC_COMMAND_COUNT];
    struct dataplane_node_stats nodes[NODES_MAX];
};

/* What "stats" on the data port tells of the whole process beyond this dataplane's own counters. */
struct dataplane_totals {
    uint64_t pid;
    uint64_t uptime_s;
    uint64_t time_s;
    uint64_t threads;
    uint64_t clients_max; /* of the process */
    uint64_t clients;
    uint64_t clients_total;
    uint64_t writes; /* stores */
    uint64_t flushes;
    uint64_t debugs; /* me */
    uint64_t hits;   /* keys of reads */
    uint64_t misses;
    uint64_t deletes_hit;
    uint64_t deletes_missed;
    uint64_t incrs_hit;
    uint64_t incrs_missed;
    uint64_t decrs_hit;
    uint64_t decrs_missed;
    uint64_t cas_hits;
    uint64_t cas_misses;
    uint64_t cas_differed;
    uint64_t touches_hit;
    uint64_t touches_missed;
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t read_failovers;
    uint64_t writes_brought_home;
    uint64_t writes_rerun;
    uint64_t writes_chained;
    uint64_t writes_failed;
    uint64_t keys_invalidated;
    uint64_t held;
    uint64_t shed;
    uint64_t memory_bytes;
    uint64_t memory_limit_bytes;
    uint64_t errors_clients;
    uint64_t errors_nodes;
    uint64_t foreign_protocols;
    uint64_t node_requests[NODES_MAX];
    uint64_t node_connects[NODES_MAX];
    uint64_t node_connections[NODES_MAX]; /* open now */
};

/* Does a command only look? */
bool dataplane_is_read(enum mc_command command);
/* Add STATS' counters to TOTALS. */
void dataplane_add_totals(struct dataplane_totals *totals, const struct dataplane_stats *stats);
/* What all OTHER dataplanes of the process have counted, as of lately, and the process' own facts.
 */
void dataplane_set_others(struct dataplane *dp, const struct dataplane_totals *others);

/* Valid as long as the dataplane; only its own thread may look, as at all that follows. */
const struct dataplane_stats *dataplane_stats(struct dataplane *dp);
const struct slowlog *dataplane_slowlog(const struct dataplane *dp);
const struct hotkeys *dataplane_hotkeys(const struct dataplane *dp);

/* How a client stands; its slot is in use. */
struct dataplane_client {
    uint32_t in_flight;    /* requests */
    uint64_t output_bytes; /* answered and not yet taken */
    bool is_paused;        /* not read for now */
    bool is_amid;          /* in the middle of a request whose rest it has to send */
    uint32_t requests;     /* begun so far; wraps */
};
void dataplane_client_facts(const struct dataplane *dp, uint32_t client,
                            struct dataplane_client *out);

/* What settling does now about KEY's copies, that were seen to differ twice. */
enum dataplane_mend {
    DATAPLANE_MEND_NONE,
    DATAPLANE_MEND_COPY, /* the leader's item is read, and copied */
    DATAPLANE_MEND_LOOK, /* the leader is looked at again */
    DATAPLANE_MEND_UNDO,
};
enum dataplane_mend dataplane_mend_of(const struct dataplane *dp, struct slice key);

#endif
