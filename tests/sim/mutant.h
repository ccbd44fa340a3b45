/* SPDX-License-Identifier: BSD-2-Clause */
/* Does the simulator notice when a rule is broken? In the profile `mutant` (core/rule.h). */
#ifndef SIM_MUTANT_H
#define SIM_MUTANT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Break the rules whose names stand in LIST, comma between them (NULL: each), one at a time, and
 * run seeds until one fails, SEEDS at most, with the seed's run in a process of its own. Prints the
 * table of docs/proof.md.
 *
 * Returns  how many were not noticed, or -1: no such rule, or not this profile.
 */
int mutant_run_all(const char *list, uint64_t seeds, bool (*run_seed)(void *owner, uint64_t seed),
                   void *owner);

/* The profile in which the rule that is broken matters most; NULL: any. */
const char *mutant_home(void);

/* Break the rule of this name from here on; false: there is none, or this is another profile. */
bool mutant_break(const char *name);

#endif
