/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The sorts of worlds. A seed belongs to one of them, which says what its world looks like, what
 * goes wrong there and where clients aim: what shows a missing rule is seldom met by chance, and
 * chances for one thing are bad for another.
 */
#ifndef SIM_PROFILE_H
#define SIM_PROFILE_H

#include <stdbool.h>
#include <stdint.h>

enum { PROFILE_CHOICES = 4 };

struct profile {
    const char *name;
    uint32_t share; /* of PROFILE_SHARES seeds */
    /* One of these each. */
    uint8_t proxies[PROFILE_CHOICES];
    uint8_t workers[PROFILE_CHOICES];
    uint8_t nodes[PROFILE_CHOICES];
    uint32_t keys_min; /* of a group of clients that write the same */
    uint32_t keys_max;
    uint32_t shared_percent; /* worlds in which all clients write the same keys */
    uint32_t wild_percent;
    uint32_t tokens_percent;
    uint32_t faults_min;
    uint32_t faults_max;
    uint64_t fault_pause_us;        /* at most so much twice between two faults; 0: by the seed */
    uint32_t fault_kinds;           /* bits, see fault.c; 0: by the seed */
    uint64_t wire_us;               /* 0: by the seed */
    uint32_t aim_percent;           /* of the delicate moments that are aimed at */
    uint32_t cas_percent;           /* of what clients ask */
    uint64_t fill_rate_bytes;       /* a second; 0: no limit */
    bool refuses_dumps;             /* nodes are warmed by what is read */
    bool is_hot;                    /* one key is written whenever it is copied */
    bool is_patient;                /* each fault waits until nothing is left of the last */
    bool is_storm;                  /* clients don't pause while a view changes */
    uint32_t clients;               /* 0: by the proxies and workers */
    uint64_t delay_us;              /* typical, of a packet; 0: by the seed */
    uint32_t slow_percent;          /* of the messages between a proxy's threads */
    uint32_t command_pairs_percent; /* of operators' words, which another follows at once */
    uint32_t moments; /* bits, see moment.h: what strikes at a moment of the protocol */
    bool is_large;    /* most values go by second links */
    bool falls_back;  /* what one node has not is asked of the others */
    bool shares_ids;  /* a run of a proxy takes the id of one that has ended */
};

/* Of the seed with these random bits. */
const struct profile *profile_of(uint64_t bits);
/* NULL: there is none of that name. */
const struct profile *profile_find(const char *name);
uint32_t profile_choose(const uint8_t *choices, uint64_t bits);

#endif
