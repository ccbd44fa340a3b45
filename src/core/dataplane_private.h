/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The dataplane's inside, shared by its files only: session.c, session_output.c (clients), txn.c
 * and decide.c (one command over the replicas), multiget.c, reader.c (who reads a key), link.c and
 * link_reply.c (nodes), command.c and compose.c (text for the nodes), answer.c (text for clients),
 * deadline.c, inflight.c, settle.c, settle_check.c, warm.c (copies), dataplane.c (the public face).
 *
 * The way of a request, with its two queues:
 *
 *   client bytes ─a─► session: parse ─b─► txn ─c─► leg ─► link's queue ─d─► node
 *                        │ queue of txns                     │
 *   client ◄─h─ gather ◄─┴─g─ txn answered ◄─f─ all legs in ◄┴─e─ replies, matched by order
 *
 * I1. A session's txns stand in the order of its requests; only answered ones at the front are
 *     written, so replies leave in order whatever the nodes' order was.
 * I2. A link's legs stand in the order in which their bytes are written; the first one owns the
 *     next reply. A reply that comes before its leg was sent whole is nonsense.
 * I3. A leg never outlives its place in a link's queue: when a link is given up all its legs fail
 *     at once, and no later byte from that connection is looked at (C1).
 * I4. A txn is freed when its work is over and its answer is written or nobody wants it.
 */
#ifndef EVERWARM_CORE_DATAPLANE_PRIVATE_H
#define EVERWARM_CORE_DATAPLANE_PRIVATE_H

#include "everwarm/base/chunk.h"
#include "everwarm/base/invariant.h"
#include "everwarm/base/list.h"
#include "everwarm/base/prng.h"
#include "everwarm/base/slab.h"
#include "everwarm/core/dataplane.h"
#include "everwarm/mc/binary.h"
#include "everwarm/mc/encode.h"
#include "everwarm/mc/reply.h"
#include "everwarm/mc/request.h"

#include "token.h"

#define XXH_INLINE_ALL
#define XXH_NO_STDLIB
#include <xxhash.h>

enum {
    /* "ms", key, length, mode, CAS, expiries, flags, CRLF, each at its longest; "ma" has less. */
    COMMAND_HEAD_BYTES_MAX = MC_KEY_BYTES_MAX + 160,
    /* "mg", key, its flags, CRLF. */
    COMMAND_TAIL_BYTES_MAX = MC_KEY_BYTES_MAX + 32,
    /* A condition's CAS is written with leading zeros, so that it can be put in when the leader is
     * known. */
    COMMAND_CAS_DIGITS = 20,
    /* A meta answer's line: code, length, key, opaque, eight numbers. */
    ANSWER_LINE_BYTES_MAX = MC_KEY_BYTES_MAX + 320,
    /* A reply of a value that is this long with its head is packed into the journal; longer ones
     * get chunks of their own, so that they don't leave holes in it. */
    JOURNAL_REPLY_BYTES_MAX = 8192,
    /* A client's input that is laid out in one piece: the longest line with its end, and one byte
     * that tells a longer one. Behind it is room for what is made of it meanwhile. */
    SCRATCH_INPUT_BYTES = MC_GET_LINE_BYTES_MAX + 2,
    /* Keys of large values that are remembered; a power of two. Who has more of them waits for some
     * as for values that were never seen. */
    LARGE_KEYS = 1024,
};

enum {
    /* Deadlines are told apart by a two-hundredth of the request timeout; the wheel is a little
     * longer than that, so no two turns of it meet. */
    DEADLINE_SLOTS = 256,
    DEADLINE_SLOTS_A_TIMEOUT = 200,
};

enum txn_state {
    TXN_NEW,
    TXN_HELD,      /* nothing sent: waits for the view, a link or a key */
    TXN_READING,   /* legs to the leaders of its keys, or to others after those failed */
    TXN_WRITING,   /* a plain write on its way to all complete replicas */
    TXN_DECIDING,  /* at the leader */
    TXN_SPREADING, /* the leader's result on its way to the other complete replicas */
    TXN_CHAINING,  /* on its way to filling replicas, after all complete ones */
    TXN_STRANDED,  /* a replica did not answer: waits until it is home or out of the view */
    TXN_SETTLING,  /* no client's: a comparison of copies, or the repair of one */
    TXN_ASKED,     /* control or the shell does it: flush_all, stats */
    TXN_OVER,
};

/* Since which memcached a flag is known, as link->version has it. */
enum {
    LINK_VERSION_APPEND_N = 10620, /* ms MA N creates; before, N was passed over */
    LINK_VERSION_E = 10627,        /* the writer chooses the CAS */
};

/* Which step a stranded write was at. */
enum txn_step { STEP_WRITE, STEP_DECIDE, STEP_SPREAD, STEP_CHAIN };

/* Where things lie in a command's text. */
struct command_places {
    uint16_t key_off;
    uint16_t token_off;   /* of TOKEN_DIGITS digits; 0: it has no token */
    uint16_t cas_off;     /* of COMMAND_CAS_DIGITS digits: its condition; 0: it has none */
    uint16_t initial_off; /* of the number that it may create, to a space; 0: it creates none */
};

struct txn {
    struct session *session; /* NULL: nobody wants the answer (any more) */
    struct txn *next;        /* the session's next request */
    struct list age;         /* in dp->deadlines; unlinked when answered */
    struct list held;        /* in dp->held while HELD or STRANDED */
    struct list writes;      /* in dp->writes from the first byte sent to the end of its work */
    uint64_t started_us;
    uint64_t patience_us; /* by how much its size puts its deadline off */
    uint64_t key_hash;
    struct chain flags_text; /* meta: the client's flags, which its answer follows */
    struct chain command;    /* what the nodes are sent; reads of many keys: "get k1 k2 ..\r\n" */
    struct chain result;     /* decided: what the other replicas are sent */
    struct chain reply;      /* to the client, then reply_text */
    const char *reply_text;  /* static */
    uint32_t reply_text_bytes;
    uint32_t text_sent;  /* bytes of reply_text written; what was of reply is dropped from it */
    struct leg *parts;   /* answered legs of a read of many keys, until all are in */
    node_set waiting;    /* nodes with a leg out */
    node_set replicas;   /* complete or chained when it last began, or since, of the same side */
    node_set acked;      /* complete and chained replicas that have it */
    node_set missed;     /* STRANDED: which did not answer */
    node_set cut;        /* of them: the connection was reset, so what it still does is unknown */
    uint64_t serial;     /* order of creation */
    uint32_t key_count;  /* reads */
    uint8_t tries;       /* times begun */
    node_set was_done;   /* nodes where it took effect, in this run or an earlier one */
    node_set maybe_done; /* leaders that were sent it and did not tell what they decided */
    uint32_t legs;       /* out */
    struct command_places places; /* in command; of many keys: of the first */
    uint8_t key_bytes;
    uint8_t command_type; /* enum mc_command */
    uint8_t dialect;      /* enum mc_dialect */
    uint8_t opcode;       /* binary: the request's */
    uint32_t opaque;      /* binary: the request's */
    uint8_t state;        /* enum txn_state; txn_move alone writes it */
    uint8_t step;         /* enum txn_step */
    uint8_t leader;       /* node that decides or decided */
    uint8_t late;         /* 1 + a node that it was stranded by; 0: none so far */
    uint8_t outcome;      /* enum dataplane_outcome */
    bool is_noreply;
    bool is_answered;    /* its reply may be written */
    bool is_stalling;    /* counted in its session's stalled */
    bool is_part;        /* of a longer multiget: its END is not its own */
    bool is_inflight;    /* it is in the in-flight table */
    bool is_uncounted;   /* the answer to a command that was none */
    bool is_passed_over; /* memcached's own statistics don't count what it did */
    bool is_internal;    /* an invalidation: no client, no deadline */
    bool is_doubtful;  /* answered by an error, or the lease ended: its key is deleted at the end */
    bool is_leader_in; /* the leader has answered; reply and outcome are its */
    bool is_leader_error; /* with an error, to a plain write: the key is deleted everywhere */
    bool is_too_large;    /* a delete in place of a store that was refused for its size */
    bool is_out_of_room;  /* or rather for want of our memory */
    bool is_decided;      /* by the leader alone */
    bool is_quiet;        /* the usual answer is not given */
    bool is_base64;       /* its key is written so */
    bool is_vivify;       /* it may create what is missing */
    bool is_mark;         /* it may leave a marked item on the leader */
    bool is_untouched;    /* a replica had nothing to touch */
    bool is_emptied;      /* its result is an item without a value */
    bool has_exptime;     /* exptime_s is the new expiry of an item that stays */
    bool wants_value;
    bool is_restart; /* reads: begin again when all legs are in */
    bool is_begun;   /* bytes of it may have been sent */
    bool is_aside;   /* it goes by the side links, or stands behind a large value: nothing passes it
                        by another link */
    int64_t exptime_s;
    uint32_t item_flags;
    uint32_t value_bytes;        /* of a store */
    uint64_t cas;                /* the condition, as the client wrote it */
    uint64_t ticket;             /* ASKED; 0: not reported yet */
    struct settle_entry *settle; /* a write's; its copies are compared when it is over */
    struct settle_check *check;  /* SETTLING */
};

/* What a leg expects back. */
enum leg_form {
    FORM_GET,         /* VALUE blocks, END; passed through */
    FORM_GETS,        /* the same, CAS rewritten */
    FORM_LINE,        /* one meta line */
    FORM_LINE_ITEM,   /* one meta line, then the item (append, prepend) */
    FORM_NUMBER_ITEM, /* VA with a number or a refusal, then the item (incr, decr) */
    FORM_META_GET,    /* one meta line, with a value or without */
    FORM_ITEM,        /* the item, as a store for another replica; or a miss */
    FORM_DIGEST,      /* the item, hashed; or a miss */
    FORM_STATS,       /* greeting */
    FORM_VIEW,        /* greeting */
    FORM_BUMP,        /* a key is in use: whatever one meta line says */
};

struct leg {
    struct txn *txn;  /* NULL: the link's own greeting */
    struct leg *next; /* in the link's queue; later in txn->parts */
    uint64_t since_us;
    uint64_t earned_us; /* its link's, when it was queued */
    struct chain request;
    struct chain_builder reply;
    node_set tried;      /* reads: nodes that failed */
    uint32_t key_cursor; /* many keys: offset in request of what is not matched yet */
    uint8_t node;
    uint8_t form;    /* enum leg_form */
    bool has_end;    /* reply ends with END already */
    uint8_t replies; /* lines of a two-reply form already in */
    bool is_cleanup; /* deletes the key on a replica that had no room */
    bool is_out_of_memory;
    /* What the node said. */
    uint8_t kind;  /* enum mc_reply_kind of the (first) line */
    bool has_item; /* the read-back found the item */
    bool is_won;   /* the item is marked, and its reading took the win (W) */
    bool is_stale; /* and it is stale (X) */
    bool is_sent;  /* the win was taken before (Z) */
    uint32_t hits;
    uint64_t cas;        /* of the (first) line */
    int64_t ttl_s;       /* of the (first) line */
    uint64_t item_bytes; /* of the item that was read back */
    uint64_t item_cas;
};

static inline bool reply_is_error(enum mc_reply_kind kind)
{
    return kind == MC_REPLY_ERROR || kind == MC_REPLY_CLIENT_ERROR || kind == MC_REPLY_SERVER_ERROR;
}

/* A condition was not met; nothing was changed. */
static inline bool reply_is_refusal(enum mc_reply_kind kind)
{
    return kind == MC_REPLY_NS || kind == MC_REPLY_EX || kind == MC_REPLY_NF || kind == MC_REPLY_EN;
}

/* What the request does: the second letter of "ms", "md", "mg", "ma", "touch". */
static inline char leg_verb(const struct leg *leg)
{
    return leg->request.head->data[leg->request.off + 1];
}

enum link_state {
    LINK_CLOSED, /* waits until connect_at_us, or is not wanted */
    LINK_CONNECTING,
    LINK_GREETING, /* identity and view are being read */
    LINK_OPEN,
};

struct link {
    uint32_t node;
    uint32_t number; /* in dp->links */
    uint8_t state;   /* enum link_state; link_move alone writes it */
    bool is_wanted;  /* complete or chained in the topology */
    bool wants_connect;
    bool wants_give_up;
    bool is_blocked; /* the socket took less than it was offered */
    bool has_failed; /* the last attempt to connect, since it was last open */
    bool is_touched;
    bool has_answered; /* since control was told last */
    uint64_t told_answered_us;
    enum wire_end last_end;
    struct link *touched_next;
    struct leg *head;
    struct leg *tail;
    struct leg *unsent;       /* first leg not written whole */
    uint32_t unsent_off;      /* bytes of it written */
    struct chain unsent_rest; /* a view of its other bytes */
    uint64_t earned_us;       /* time that large values may have taken on their way so far */
    size_t offered;           /* bytes gathered last */
    uint64_t since_us;        /* CONNECTING: when it began; CLOSED: when it was lost */
    uint64_t connect_at_us;
    uint32_t failures; /* attempts in a row */
    struct identity identity;
    uint32_t version;        /* of its memcached: 10638 is 1.6.38; 0: unknown */
    uint64_t latency_us;     /* of reads, smoothed, in no unit but reader.c's; 0: not known */
    uint64_t clock_offset_s; /* node's time less our monotonic seconds, at the greeting */
    uint64_t seen_epoch;     /* of the view found at the greeting */
    uint32_t ending;         /* connections given up, not yet ended */
    bool is_unproven;        /* one of them timed out or was reset: its end proves nothing */
    uint64_t unproven_until_us;
    struct identity unproven_identity;
    /* The reply that is coming in. */
    uint64_t body_left; /* bytes of a data block, CRLF included */
    bool is_body_large;
    bool is_body_kept;
    XXH64_state_t digest;   /* of the data block, where it is hashed */
    uint32_t partial_bytes; /* of a line */
    char partial[MC_REPLY_LINE_BYTES_MAX];
    struct identity greeting;
    uint64_t name_seed; /* of the node that was there last; 0: none yet */
    uint32_t greeting_bytes;
    uint64_t greeting_time_s;
    uint64_t greeting_uptime_s;
    char greeting_view[VIEW_BYTES_MAX];
};

/* Times of arrival that are told apart in a client's waiting input, an eighth of the request
 * timeout from each other: enough for two timeouts, and nothing waits longer than one. */
enum { SESSION_ARRIVALS = 16, SESSION_ARRIVALS_A_TIMEOUT = 8 };

/* The first byte of a connection tells; it stays so. */
enum session_protocol { SESSION_UNTOLD, SESSION_TEXT, SESSION_BINARY };

enum session_state {
    SESSION_FREE,
    SESSION_LINE,    /* a command line is next */
    SESSION_DATA,    /* the data block of a store */
    SESSION_SWALLOW, /* bytes that belong to a refused command */
    SESSION_KEYS,    /* a long multiget is dealt out in parts */
    SESSION_CLOSING, /* nothing more is read; closed when all is answered */
};

struct session {
    uint32_t slot;
    uint8_t state;    /* enum session_state; session_move alone writes it */
    uint8_t protocol; /* enum session_protocol */
    uint8_t opcode;   /* binary: of the request that was parsed last, and of its data */
    uint32_t opaque;
    bool is_touched;
    bool is_paused;
    bool is_blocked;       /* the socket took less than it was offered */
    bool is_eof;           /* the client sends no more */
    bool is_overdue;       /* it can't be answered in time: it is closed */
    bool is_bad_data;      /* DATA: the block does not end with CRLF */
    bool is_out_of_memory; /* DATA: the block is swallowed */
    struct session *touched_next;
    struct list waiting;
    struct txn *head;
    struct txn *tail;
    uint32_t requests;  /* txns ever made; wraps */
    uint32_t in_flight; /* txns in the queue */
    uint32_t stalled;   /* of them: HELD, STRANDED or ASKED, or about to be: nothing after them may
                           begin */
    uint64_t output_bytes;      /* answered and not yet written */
    size_t offered;             /* bytes gathered last */
    struct chain_builder input; /* unconsumed */
    uint64_t input_bytes;       /* ever received */
    uint64_t used_bytes;        /* of them consumed, and dropped */
    size_t consuming;           /* bytes behind that which are being consumed */
    struct {
        uint64_t end; /* input_bytes when it had come */
        uint64_t since_us;
    } arrivals[SESSION_ARRIVALS]; /* of what is unconsumed, oldest first */
    uint32_t arrival_count;
    size_t scanned;               /* of it, known to hold no line end */
    struct chain_builder store;   /* DATA: the node command so far; KEYS: those not dealt out */
    bool is_aside;                /* the request goes aside (side.c) */
    bool is_behind;               /* the next one will, and waits for those before it */
    uint64_t left;                /* DATA, SWALLOW: bytes to come, CRLF included */
    uint64_t keys_since_us;       /* KEYS: when the request came */
    struct mc_request request;    /* DATA, KEYS: slices in it are dead */
    struct command_places places; /* DATA: in store */
    struct chain flags_text;      /* DATA: the request's */
};

struct dataplane {
    struct dataplane_options options;
    struct chunk_pool chunks;
    struct journal requests;
    struct journal replies;
    struct slab txns;
    struct slab legs;
    struct session *sessions;
    struct link *links; /* DATAPLANE_LINKS_MAX; see link.c */
    uint64_t now_us;
    bool is_lapsed;
    bool is_recheck_due;             /* something changed that held txns wait for */
    const struct topology *topology; /* NULL before the first */
    const struct topology *next;     /* HOLD: what comes; NULL otherwise */
    bool is_drain_due;               /* report once when drained */
    bool is_sealed;                  /* drained: no write goes on before the next topology */
    bool is_adopt_due;
    uint64_t drain_serial;
    node_set left;          /* sealed: nodes that leave, whose connection was well until then */
    uint64_t sealed_serial; /* drain_serial when it was last sealed */
    uint64_t adopt_serial;
    uint64_t opened_us;  /* since when writes may go on: the topology came, or a lapse ended */
    node_set missed_due; /* reports to be made */
    node_set identity_due;
    node_set newer_due;
    node_set given_up_due;
    bool is_parked_due;
    node_set answered_due;
    enum wire_end missed_end[NODES_MAX];
    uint64_t missed_at_us[NODES_MAX];
    uint32_t slots_used; /* no session from this slot on was ever opened */
    struct session *touched_sessions;
    struct link *touched_links;
    struct list deadlines[DEADLINE_SLOTS]; /* txns of clients by their deadline, see txn.c */
    uint64_t deadline_slot_us;             /* width of a slot */
    uint64_t deadline_at;                  /* slots before this one have passed */
    uint64_t pending;                      /* txns in them */
    struct list held;
    struct list writes;
    struct list waiting; /* sessions that wait for memory */
    struct list asked;   /* txns in ASKED */
    uint64_t serial;     /* of the last txn */
    uint64_t ticket;     /* last given out */
    node_set second;     /* nodes whose main link is the second one */
    bool is_side_wanted; /* a large value was seen */
    uint32_t large_keys[LARGE_KEYS];
    uint32_t invalidations;
    uint32_t inflight_count;
    uint64_t starved_us;  /* since when no client is read for want of memory; 0: they are */
    uint32_t reader_last; /* node that was read from last, where it is not the leader */
    uint64_t reader_hits;
    struct prng prng;
    struct token_clock token_clock;
    char view_key[POOL_NAME_BYTES_MAX + 32];
    size_t view_key_bytes;
    struct settle *settle;
    uint32_t warms;        /* keys that warming nodes are being asked for, or given */
    bool is_large_warm;    /* one of them is large */
    uint32_t warm_last;    /* warming node that was asked last */
    uint64_t warm_told_us; /* when control heard last of: */
    struct {
        uint32_t asked; /* keys that the leader has */
        uint32_t hits;  /* of them there, too */
    } warm_untold[NODES_MAX];
    node_set warm_due;
    struct txn **inflight; /* INFLIGHT_SLOTS */
    char *scratch;         /* a session's input laid out in one piece, and room behind it */
    struct dataplane_stats stats;
    struct dataplane_totals others;
    struct {
        uint64_t serial; /* of its txn; 0: its own, or none yet */
        uint64_t since_us;
        uint64_t at_us;
        node_set tried; /* reads: nodes that failed before */
        uint32_t node;
        uint8_t state; /* of the txn before the answer */
    } last_leg;        /* answered last */
    struct slowlog slow;
    struct hotkeys hot;
};

/* --- command.c: protocol text --- */

/* Write what nodes are sent for a store's head, "ms key len .. CRLF"; *places is set. Returns its
 * bytes. */
size_t command_store_head(const struct dataplane *dp, const struct mc_request *request, char *to,
                          struct command_places *places);
/* What follows the data block, CRLF included: a read-back or nothing. Returns its bytes. */
size_t command_store_tail(const struct mc_request *request, struct slice key, char *to);
/* All of any other single-key command. */
size_t command_single(const struct dataplane *dp, const struct mc_request *request,
                      struct slice key, char *to, struct command_places *places);
/* Put CAS into the digits at TO. */
void command_write_cas(char *to, uint64_t cas);
/* What the leader is expected to answer. */
enum leg_form command_form(enum mc_command command);
bool command_is_read(enum mc_command command);
/* The leader alone decides it. */
bool command_is_decided(const struct mc_request *request);

/* --- answer.c: what clients are told, in their own dialect --- */

/* What a node said to a write, as far as an answer shows it. */
struct answer {
    enum mc_reply_kind kind;
    uint32_t node;
    uint64_t cas; /* 0: unknown */
    int64_t ttl_s;
    uint64_t item_bytes;
    bool is_created;
    struct slice number; /* VA of incr and decr: its digits */
};

/* Answer a write by what the leader said. */
void answer_write(struct dataplane *dp, struct txn *txn, const struct answer *answer);
/* The first line, or the only one, of the answer to a mg or me. Returns its bytes; 0: say nothing.
 */
size_t answer_meta_get(const struct dataplane *dp, const struct txn *txn, uint32_t node,
                       const struct mc_reply *reply, char *to);
/* Make TXN's reply that of a read that finds nothing. Returns the static text to answer with. */
struct slice answer_nothing(struct dataplane *dp, struct txn *txn);
/* What is said behind the blocks of a read that found something or nothing. The same. */
struct slice answer_end(struct dataplane *dp, struct txn *txn, bool is_hit);

/* --- answer_binary.c: the same for binary clients --- */

void answer_binary_write(struct dataplane *dp, struct txn *txn, const struct answer *answer,
                         enum dataplane_outcome outcome);
/* All of a hit's answer that stands before its value. Returns its bytes. */
size_t answer_binary_value(const struct dataplane *dp, const struct txn *txn, uint32_t node,
                           const struct mc_reply *item, char *to);
bool answer_binary_has_value(const struct txn *txn);
void answer_binary_nothing(struct dataplane *dp, struct txn *txn);
/* TXN is about to be answered: what is still in words becomes a frame. */
void answer_binary_seal(struct dataplane *dp, struct txn *txn);

/* --- stats_text.c --- */

/* "stats nodes" of NODES_MAX nodes with the longest names; all else is shorter. */
enum { STATS_TEXT_BYTES_MAX = NODES_MAX * 4 * (NODE_NAME_BYTES_MAX + 48) };
/* What "stats WHAT" answers: what is written to W, which has that much room, and the text returned
 * behind it. */
struct slice stats_text(const struct dataplane *dp, struct slice what, struct mc_writer *w);

/* --- txn.c --- */

/* Nothing it does changes anything, on any node. */
static inline bool txn_is_read(const struct txn *txn)
{
    return !txn->is_decided && command_is_read((enum mc_command)txn->command_type);
}

struct txn *txn_create(struct dataplane *dp, struct session *session, enum mc_command command);
/* The command is complete: send it, or hold it. */
void txn_begin(struct dataplane *dp, struct txn *txn);
/* Answer without asking a node. TEXT is static. */
void txn_answer(struct dataplane *dp, struct txn *txn, struct slice text,
                enum dataplane_outcome outcome);
/* A leg's answer is complete; the leg is out of its link's queue, and txn's (or freed) from here.
 */
void txn_on_leg(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply);
/* The leg's link was given up. */
void txn_on_leg_lost(struct dataplane *dp, struct leg *leg, bool was_sent);
/* The client is gone. */
void txn_orphan(struct dataplane *dp, struct txn *txn);
/* The answer was written, or nobody wants it: free what is over. */
void txn_release(struct dataplane *dp, struct txn *txn);
/* Try again what waits. */
void txn_recheck(struct dataplane *dp);
/* Its deadline has passed. */
void txn_expire(struct dataplane *dp, struct txn *txn);
void txn_asked_done(struct dataplane *dp, uint64_t ticket);
void txn_doubt_all(struct dataplane *dp);
void txn_move(struct dataplane *dp, struct txn *txn, enum txn_state to);
/* Nothing of its client begins before it is answered, nor passes it by another link. */
void txn_put_aside(struct dataplane *dp, struct txn *txn);
struct slice txn_key(const struct txn *txn);
/* The tag of replication.md section 3 that a CAS of NODE is shown with; 0 where it is a token. */
uint64_t txn_cas_tag(const struct dataplane *dp, uint32_t node);
/* Delete KEY on all replicas, as soon as all that may still write it has come to its end. False: no
 * memory. */
bool txn_invalidate(struct dataplane *dp, struct slice key, bool is_base64, uint64_t key_hash);
/* Do replies to writes say the CAS of what they left? They do where copies are compared by it. */
bool txn_wants_cas(const struct dataplane *dp);
void txn_set_reply(struct dataplane *dp, struct txn *txn, struct chain reply);
/* `ack: leader`: the answer is known, and goes out before the work is over. */
void txn_answer_early(struct dataplane *dp, struct txn *txn);
/* What is said behind the reply, and how the command is counted. TEXT is static. */
void txn_set_text(struct txn *txn, struct slice text, enum dataplane_outcome outcome);

/* The work is over: nothing more goes to any node. */
void txn_finish(struct dataplane *dp, struct txn *txn);
/* Send TXN's result to TARGETS, then to the filling replicas. */
void txn_spread(struct dataplane *dp, struct txn *txn, node_set targets);
/* The leader refused an item for its size, and dropped the old one: so do all. */
void txn_spread_delete(struct dataplane *dp, struct txn *txn);
/* May a request go to NODE now, beyond what was begun? */
bool txn_may_send(const struct dataplane *dp, uint32_t node);
/* Answer by what the leader's LEG brought. */
void txn_answer_leg(struct dataplane *dp, struct txn *txn, const struct leg *leg);

/* --- decide.c --- */

/* The leader has answered a command that it decides; the leg is decide's from here. */
void decide_on_leg(struct dataplane *dp, struct txn *txn, struct leg *leg,
                   const struct mc_reply *reply);

/* --- txn_drain.c --- */

/* Nodes that are not about to leave the view. */
node_set txn_staying(const struct dataplane *dp);
bool txn_is_drained(const struct dataplane *dp);
/* A view is joined whose nodes are STAY: what others have or have missed of a write is over. */
void txn_forget_leavers(struct dataplane *dp, node_set stay);
void txn_cross_split(const struct dataplane *dp, struct txn *txn);

/* --- reader.c --- */

enum { READER_HOLD = -1, READER_NONE = -2 };

/* TXN may be read from any complete node. */
static inline bool reader_is_free(const struct dataplane *dp, const struct txn *txn)
{
    return dp->options.read != DATAPLANE_READ_LEADER && txn->command_type == MC_GET;
}

/*
 * Who reads a key of TXN now, none of TRIED: a node, or READER_HOLD (a change of view or a
 * connection is under way), or READER_NONE.
 */
int reader_choose(struct dataplane *dp, const struct txn *txn, uint64_t key_hash, node_set tried);
/* LINK has answered a read after so long. */
void reader_learn(struct link *link, uint64_t latency_us);
/* KEY was read from NODE: now and then the others hear of it, so that they don't evict it. */
void reader_bump(struct dataplane *dp, struct slice key, uint32_t node);

/* --- compose.c: all return an empty chain when there is no memory --- */

/* Asks for no more than that KEY be noted as used. */
struct chain compose_bump(struct dataplane *dp, struct slice key);
struct chain compose_delete(struct dataplane *dp, const struct txn *txn);
struct chain compose_delete_key(struct dataplane *dp, struct slice key, bool is_base64);
/* The data of TXN's command (add, replace, cas) under the head of a plain store. */
struct chain compose_plain_store(struct dataplane *dp, const struct txn *txn);
/* TXN's item without its value (md x). */
struct chain compose_empty_store(struct dataplane *dp, const struct txn *txn);
/* TXN is a gat, gats or mg: its expiry alone. */
struct chain compose_touch(struct dataplane *dp, const struct txn *txn);
/* Mark TXN's item, whose CAS is CAS, as stale again: our reading it took a win that is a client's.
 * KEEP: the flag that keeps the CAS, " E"; empty: the node has none, and the CAS changes. */
struct chain compose_give_back(struct dataplane *dp, const struct txn *txn, uint64_t cas,
                               struct slice keep);
/* Bytes of their own, to be kept. */
struct chain compose_copy(struct dataplane *dp, struct slice bytes);

/* --- observe.c --- */

void observe_slow(struct dataplane *dp, const struct txn *txn, uint64_t took_us);
void observe_key(struct dataplane *dp, const struct txn *txn);

/* TXN has been answered after TOOK_US. */
static inline void observe_answer(struct dataplane *dp, const struct txn *txn, uint64_t took_us)
{
    if (took_us >= SLOWLOG_US) {
        observe_slow(dp, txn, took_us);
    }
    if (hotkeys_is_due(&dp->hot, txn->key_count)) {
        observe_key(dp, txn);
    }
}

/* --- deadline.c --- */

/* TXN's deadline counts from SINCE_US, when its request came; another one of it is forgotten. */
void deadline_set(struct dataplane *dp, struct txn *txn, uint64_t since_us);
/* A value of so many bytes goes to a node, or comes from it: large ones put TXN's deadline off. */
void deadline_put_off(struct dataplane *dp, struct txn *txn, uint64_t value_bytes);
/* Half of TXN's time, or all of it, is over. */
bool deadline_is_half_over(const struct dataplane *dp, const struct txn *txn);
bool deadline_is_over(const struct dataplane *dp, const struct txn *txn);
/* How long COUNT bytes may be on their way. */
static inline uint64_t deadline_way_us(uint64_t count)
{
    return count * 1000000 / LINK_BYTES_A_SECOND_MIN;
}
/* Harmless if it has none. */
void deadline_forget(struct dataplane *dp, struct txn *txn);
/* The request timeout is another: lay the wheel out anew, for what is under way too. */
void deadline_rescale(struct dataplane *dp);
/* Expire what is overdue. */
void deadline_pass(struct dataplane *dp);

/* --- settle.c --- */

size_t settle_bytes(const struct dataplane_options *options);
/* MEMORY is zeroed. */
void settle_init(struct dataplane *dp, void *memory);
/* A write begins: its key's copies will be compared. False: no room, it must wait. */
bool settle_enter(struct dataplane *dp, struct txn *txn);
/* It is over. Harmless when it has not entered. */
void settle_leave(struct dataplane *dp, struct txn *txn);
#define SETTLE_CAS_UNKNOWN UINT64_MAX
/* The mutant of RUN_AGAIN: TXN, which a node missed, counts as done, and what the leader has mends
 * the copies. False: it is to be run again. */
bool settle_instead(struct dataplane *dp, struct txn *txn);
/* What a write made of NODE's copy; 0: there is none. */
void settle_note(struct txn *txn, uint32_t node, uint64_t cas);
void settle_tick(struct dataplane *dp);
void settle_on_adopt(struct dataplane *dp);
/* Nothing is due, now or later. */
bool settle_is_idle(const struct dataplane *dp);
/* Keys that differ on filling nodes only, and wait for the end of that. */
uint32_t settle_parked(const struct dataplane *dp);
struct settle_read {
    struct slice key; /* as it was written */
    bool is_base64;
    bool is_large;
    uint64_t key_hash;
    uint32_t target; /* a warming node */
};
/* A key was read: if there is room the warming node is asked for it, and given it if it lacks it.
 */
void settle_warm(struct dataplane *dp, const struct settle_read *read);

/* --- warm.c --- */

enum warm_outcome { WARM_HIT, WARM_MISS };

/* A read of TXN, of one key or many, found values of VALUE_BYTES each; some node is warming. */
void warm_read(struct dataplane *dp, const struct txn *txn, uint64_t value_bytes);
/* NODE, which is warming, has a key that the leader has, or has it not. */
void warm_note(struct dataplane *dp, uint32_t node, enum warm_outcome outcome);
void warm_tick(struct dataplane *dp);
void warm_on_adopt(struct dataplane *dp);
/* Something is to be told, now or later. */
bool warm_is_untold(const struct dataplane *dp);
/* The next report that is due. False: none. */
bool warm_next_report(struct dataplane *dp, struct control_report *out);

/* --- settle_check.c --- */

void settle_on_leg(struct dataplane *dp, struct leg *leg, const struct mc_reply *reply);
void settle_on_leg_lost(struct dataplane *dp, struct leg *leg);
/* For link_reply.c: the head of an item has come; a digest; what its copy is to be stored under. */
struct slice settle_key(const struct txn *txn);
void settle_note_item(struct txn *txn, uint32_t node, const struct mc_reply *reply);
void settle_note_digest(struct txn *txn, uint32_t node, uint64_t digest);
void settle_write_condition(const struct txn *txn, struct mc_writer *w);

/* --- inflight.c --- */

/* The oldest write that has begun to a key with this hash; NULL: none. */
const struct txn *inflight_oldest(const struct dataplane *dp, uint64_t key_hash);
/* Is there an older one to TXN's key? And one that is more than a plain write on its only way? */
bool inflight_has_older(const struct dataplane *dp, const struct txn *txn);
bool inflight_has_slow_older(const struct dataplane *dp, const struct txn *txn);
/* An older one that goes by the other link (side.c): what both send next to a node has no order. */
bool inflight_has_older_elsewhere(const struct dataplane *dp, const struct txn *txn);
/* Has a later write to TXN's key begun that leaves nothing of it? */
bool inflight_is_overwritten(const struct dataplane *dp, const struct txn *txn);
/* No more may be put; later writes wait. There is always room for all deletions in doubt. */
bool inflight_is_full(const struct dataplane *dp);
void inflight_put(struct dataplane *dp, struct txn *txn);
void inflight_take(struct dataplane *dp, struct txn *txn);

/* --- multiget.c --- */

/* The keys of a read, as words. */
struct slice multiget_keys(const struct txn *txn);

/* Send a read of one or many keys to their leaders. False: it can't begin now. */
bool multiget_begin(struct dataplane *dp, struct txn *txn);
/* One of its legs was answered, or lost; the leg is multiget's from here. */
void multiget_on_leg(struct dataplane *dp, struct txn *txn, struct leg *leg,
                     const struct mc_reply *reply);
void multiget_on_leg_lost(struct dataplane *dp, struct txn *txn, struct leg *leg);

/* --- side.c: large values --- */

bool side_is_large(const struct dataplane *dp, uint64_t bytes);
/* Had the key a large value when it was last seen? */
bool side_knows(struct dataplane *dp, uint64_t key_hash);
void side_remember(struct dataplane *dp, uint64_t key_hash);
void side_forget(struct dataplane *dp, uint64_t key_hash);
/* A large value is coming or going: from now on there are side links. */
void side_want(struct dataplane *dp);
/* A large value of KEY_HASH has begun to come on LINK. */
void side_on_value(struct dataplane *dp, const struct link *link, uint64_t key_hash);
/* Of NODE's links the one for what goes aside. */
struct link *side_choose(const struct dataplane *dp, uint32_t node);
struct link *link_side(const struct dataplane *dp, uint32_t node);

/* --- link.c, link_reply.c --- */

static inline struct link *link_main(const struct dataplane *dp, uint32_t node)
{
    return &dp->links[node + (uint32_t)(dp->second >> node & 1) * NODES_MAX];
}

/* All links of all nodes, for I below link_count(). */
static inline uint32_t link_count(const struct dataplane *dp)
{
    return 2 * dp->options.names.node_count;
}

static inline struct link *link_nth(const struct dataplane *dp, uint32_t i)
{
    uint32_t nodes = dp->options.names.node_count;
    return &dp->links[i < nodes ? i : NODES_MAX + i - nodes];
}

/* Room for one more leg of any kind. */
bool link_has_room(const struct dataplane *dp, uint32_t legs);
/* Queue a request; the chain's reference is shared. */
struct leg *link_send(struct dataplane *dp, uint32_t node, struct txn *txn, enum leg_form form,
                      struct chain request);
void link_resend(struct dataplane *dp, uint32_t node, struct leg *leg);
void leg_drop(struct dataplane *dp, struct leg *leg);
/* Its connection is to the run that the topology means, and the view there is not above ours. */
bool link_is_usable(const struct dataplane *dp, uint32_t node);
/* It may become usable shortly without anyone's help. */
bool link_is_coming(const struct dataplane *dp, uint32_t node);
/* Has TXN waited so long that the node is to be blamed? Not for the wait for a topology or the end
 * of a lapse, until a connection that is only being made had its time: connect_timeout_us, or a
 * quarter of a request's if that is less, as the rest is for the node's way out of the view. */
bool link_is_late(const struct dataplane *dp, const struct txn *txn, uint32_t node);
/* All that was given up there has come to its end. */
bool link_is_proven(const struct dataplane *dp, uint32_t node);
void link_give_up(struct dataplane *dp, struct link *link, enum wire_end end);
void link_adopt(struct dataplane *dp);
/* Connect to all nodes where a link is wanted now. */
void link_want_all(struct dataplane *dp);
/* It is open, to the process that the view means. */
bool link_can_carry(const struct dataplane *dp, const struct link *link);
void link_tick(struct dataplane *dp);
/* Identity and view have come in: the link is open. */
void link_greeted(struct dataplane *dp, struct link *link);
/* What the shell is to do for this link next; the link was touched. */
bool link_next_action(struct dataplane *dp, struct link *link, struct dataplane_action *out);
void link_on_open(struct dataplane *dp, struct link *link);
void link_on_bytes(struct dataplane *dp, struct link *link, struct slice bytes);
void link_on_closed(struct dataplane *dp, struct link *link, enum wire_end end);
void link_on_ended(struct dataplane *dp, struct link *link, enum wire_end end);
void link_touch(struct dataplane *dp, struct link *link);
/* COUNT bytes of a large value came or went: the node lives, and what waits has more time. */
void link_moved(struct link *link, uint64_t count);
/* The node's clock now, seconds since 1970. */
uint64_t link_node_time_s(const struct dataplane *dp, uint32_t node);
/* A write waits for a node that does not come: tell control, not too often. */
void link_report_missed(struct dataplane *dp, uint32_t node, enum wire_end end);
/* The same, also without the lease: it would not come back as long as NODE stays. */
void link_report_stuck(struct dataplane *dp, uint32_t node, enum wire_end end);

/* --- session.c --- */

void session_open(struct dataplane *dp, uint32_t slot);
void session_on_bytes(struct dataplane *dp, uint32_t slot, struct slice bytes);
void session_on_eof(struct dataplane *dp, uint32_t slot);
void session_on_lost(struct dataplane *dp, uint32_t slot);
void session_touch(struct dataplane *dp, struct session *session);
/* Go on with input that waited. */
void session_resume(struct dataplane *dp, struct session *session);
void session_resume_waiting(struct dataplane *dp);
/* The first txn that is not answered; NULL: all are. */
const struct txn *session_unanswered(const struct session *session);
/* The txn at the front is answered. */
void session_on_answer(struct dataplane *dp, struct session *session);
/* Is the rest of a request the client's to send, with nothing of ours in its way? */
bool session_is_amid(const struct session *session);
bool session_next_action(struct dataplane *dp, struct session *session,
                         struct dataplane_action *out);

/* --- session_output.c --- */

/* Let go of the txns at the front that have nothing (more) to write. */
void session_pop_written(struct dataplane *dp, struct session *session);

/* --- session_binary.c --- */

/* Parse the binary request at the start of INPUT, as mc_request_parse does others. */
enum mc_parse session_parse_binary(struct session *session, struct slice input,
                                   uint64_t item_bytes_max, struct mc_request *out);

#endif
