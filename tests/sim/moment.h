/* SPDX-License-Identifier: BSD-2-Clause */
/* Moments of the protocol at which something goes wrong, in the profiles that name them. */
#ifndef SIM_MOMENT_H
#define SIM_MOMENT_H

enum moment {
    MOMENT_FILLED,  /* a fill asks its target for the last time who it is: it is killed */
    MOMENT_DONOR,   /* a fill is about to copy: its donor is drained, and leads no more */
    MOMENT_START,   /* a proxy that starts reads what the others show: these change the view */
    MOMENT_CONTEND, /* a worker stores a value: a client of another's deletes it at once */
    MOMENT_DELETE,  /* a key has gone from its leader: another worker's client reads it */
    MOMENT_MEND,    /* a worker is about to mend a copy: its own client deletes the key */
    MOMENT_CHAIN, /* a leader has a write, a filling node what was copied before: its proxy dies */
};

#endif
