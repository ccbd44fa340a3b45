/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The rules of replication.md that keep copies equal, by name. RULE(NAME) stands where a rule is
 * kept and is the constant true: it costs nothing and says what the condition is for. In the
 * profile `mutant` one of them can be broken at a time, and the simulator must notice
 * (docs/proof.md).
 */
#ifndef EVERWARM_CORE_RULE_H
#define EVERWARM_CORE_RULE_H

/* X(name, what the mutant does instead) */
#define RULE_TABLE(X)                                                                              \
    X(LOOK_AGAIN, "a fill does not look at the donor again after a copy")                          \
    X(UNDO_IF_OURS, "a fill undoes whatever is on the target by then")                             \
    X(EXISTS_IS_NOT_DONE, "a fill takes what is on the target already for the donor's item")       \
    X(COMPARE_EXPIRY, "a fill compares the donor's CAS without its expiry")                        \
    X(FLUSH_TARGET, "a fill begins without emptying its target")                                   \
    X(DROP_EXTRA, "a diff leaves what the target has and its donor has not")                       \
    X(FILL_IDENTITY, "a node enters though it was restarted or flushed since the fill")            \
    X(DONORS_STAY, "a fill goes on when its donor has left the view")                              \
    X(ONE_FILLER, "each proxy fills a node that is to be filled")                                  \
    X(CHAIN, "a filling node gets writes with the others, not behind them")                        \
    X(CHAIN_BEHIND_ALL, "a filling node gets a write when the leader has acknowledged it")         \
    X(READ_COMPLETE, "filling nodes are read too")                                                 \
    X(IDENTITY, "a connection is used whoever answers there")                                      \
    X(GIVE_UP, "a connection goes on after a reply that came too late")                            \
    X(EOF, "a connection given up counts as ended at once")                                        \
    X(RESET_IS_NO_EOF, "a connection that was reset counts as read to its end")                    \
    X(ENTRY_BEHIND_EOF, "a node is filled while connections given up to it are open")              \
    X(DRAIN, "a view is joined before the writes under the last one are over")                     \
    X(SEAL, "answers of a node that leaves are acted on after its view was joined")                \
    X(HOLD, "writes begin while a view is being joined")                                           \
    X(ALL_JOIN, "a view takes effect before all live proxies have joined it")                      \
    X(WITHDRAW, "a proposal is stored on top of another one of its epoch, and joined")             \
    X(BEAT_FIRST, "a proxy that starts joins its first view without a heartbeat")                  \
    X(OTHERS_LEASE, "a proxy counts as dead as soon as its heartbeat stands still")                \
    X(LEASE, "a proxy goes on when its lease is over")                                             \
    X(LEASE_FROM_SENDING, "the lease counts from the answer to a heartbeat")                       \
    X(SILENCE, "a proxy whose lease was over is back while its old connections are open")          \
    X(FAREWELL_LAST, "a farewell is written while connections given up are open")                  \
    X(FAREWELL_RUN, "a farewell of another run with its id makes a proxy count as gone")           \
    X(LEFT_OVER, "what another run left behind hides the one that lives")                          \
    X(IN_ORDER, "a write passes an older one to its key that will be sent again")                  \
    X(SIDE_ALONE, "a write passes one of a large value to its key by another connection")          \
    X(SIDE_NEXT, "what a client asks before and behind a large value passes it")                   \
    X(DOUBT, "a key whose write was answered by an error is left as it is")                        \
    X(FORGET, "after a split what differs is replaced, not forgotten")                             \
    X(SETTLE_TWICE, "copies that differ are mended when that is seen once")                        \
    X(SETTLE_ALONE, "copies are mended while a write to their key is under way")                   \
    X(NEW_TOKEN, "a write that is run again has the token of its first run")                       \
    X(RUN_AGAIN, "a write that its leader missed is mended by the leader's old item")              \
    X(FALLBACK_STORES_NOT, "what a miss finds on another complete node is stored on the leader")   \
    X(MISSED_WRITE, "a filling node stays though it missed a write")                               \
    X(CAS_TAG, "a cas with another node's number is sent to the leader")                           \
    X(DUE_AT_ENTRY, "a node enters uncompared though a proxy died during its fill")                \
    X(DEADLINE, "requests have no deadline")

enum rule {
    RULE_NONE,
#define X(name, mutant) RULE_##name,
    RULE_TABLE(X)
#undef X
        RULE_COUNT
};

#ifdef EVERWARM_MUTANTS
extern enum rule rule_broken; /* the simulator's */
#define RULE(name) (rule_broken != RULE_##name)
#else
#define RULE(name) (RULE_##name != RULE_NONE)
#endif

#endif
