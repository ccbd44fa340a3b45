/* SPDX-License-Identifier: BSD-2-Clause */
/* What may go wrong. */
#ifndef SIM_FAULT_H
#define SIM_FAULT_H

enum fault_kind {
    FAULT_CRASH,       /* a node dies */
    FAULT_FREEZE,      /* a node is stopped */
    FAULT_CUT,         /* connections of a node end */
    FAULT_STALL,       /* threads of a node stand still */
    FAULT_COMMAND,     /* an operator's word */
    FAULT_FLUSH,       /* somebody else empties a node */
    FAULT_EVICT,       /* a node forgets what proxies keep there */
    FAULT_PARTITION,   /* packets between a proxy and a node are lost */
    FAULT_PAUSE_PROXY, /* a proxy is stopped */
    FAULT_CRASH_PROXY, /* a proxy dies */
    FAULT_CUT_FILL,    /* a connection over which copies are made ends */
    FAULT_EVICT_KEYS,  /* a node forgets clients' items */
    FAULT_CLOCK,       /* a node's or a proxy's wall clock jumps */
    FAULT_FLUSH_ALL,   /* a client empties all nodes */
    FAULT_KIND_COUNT,
    /* Chosen by its profile alone, so that the other seeds stay what they are: */
    FAULT_MEMBER = FAULT_KIND_COUNT, /* a node leaves the pool, or comes back into it */
    FAULT_FLICKER,                   /* all nodes are cut off from a proxy, again and again */
    FAULT_SPLIT,                     /* the world is cut in two */
    FAULT_FLUSH_LATER,               /* a client empties all nodes, with a delay */
    FAULT_MUTE,                      /* answers to a write that a node decides are lost */
    FAULT_CUT_OFF,                   /* no node is reached by a proxy, for longer than its lease */
    FAULT_LEAVE,                     /* a proxy ends, as it should */
    FAULT_ALL_COUNT
};

enum fault_phase {
    FAULT_COMES,
    FAULT_IS_HERE,
    FAULT_DRAIN,    /* an operator\'s: a node is not to lead */
    FAULT_WORD,     /* an operator's */
    FAULT_STOP,     /* a proxy stops, just after its heartbeat was sent */
    FAULT_COPY_CUT, /* a connection is cut while it carries a copy */
    FAULT_WAKE,     /* a proxy that was stopped goes on soon */
    FAULT_AGAIN,    /* all nodes are cut off from a proxy */
    FAULT_HEAL,     /* a split heals */
    FAULT_LATER,    /* nodes are about to forget all */
    FAULT_EMPTY,    /* a node has been filled, and is emptied */
    FAULT_READY,    /* an operator's: a node may lead again */
    FAULT_TOGGLE,   /* an operator's: a node leads no more, or again */
    FAULT_LEAVES,   /* a proxy is told to end */
    FAULT_DIES,     /* a proxy dies */
    FAULT_HAUNT,    /* a node shows what a run of a proxy left that has ended */
};

#endif
