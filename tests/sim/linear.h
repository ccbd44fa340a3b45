/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Is a key's history linearizable: is there one order of its operations, each at a moment between
 * its request and its reply, in which a single memcached would have answered the same (C2, C4, C5,
 * and of C3 that no acknowledged write is lost)?
 */
#ifndef SIM_LINEAR_H
#define SIM_LINEAR_H

#include "sim/history.h"

enum linear_verdict { LINEAR_YES, LINEAR_NO, LINEAR_TOO_HARD };

/*
 * Judge OPS, COUNT (at most HISTORY_OPS_MAX) operations of one key that begins absent, sorted by
 * asked_us. HISTORY lends the values; joined ones may be added to it.
 *
 * Cost  exponential in the number of concurrent writes; gives up after LINEAR_STATES_MAX states.
 */
enum linear_verdict linear_judge(struct history *history, const struct history_op *const *ops,
                                 uint32_t count);

enum { LINEAR_STATES_MAX = 100000 };

#endif
