/* SPDX-License-Identifier: BSD-2-Clause */
/* --wait: until something is so at every proxy. */
#ifndef EVERWARM_SRC_CTL_WAIT_H
#define EVERWARM_SRC_CTL_WAIT_H

#include "session.h"

/* Whether ANSWER, which a proxy gave, says what is waited for. */
typedef bool wait_condition(const struct answer *answer);

wait_condition wait_is_served;   /* node: up, ready, complete */
wait_condition wait_is_complete; /* node: up and complete, whatever the operator wants of it */
wait_condition wait_is_drained;  /* node: drained, and reads go elsewhere */
wait_condition wait_is_out;      /* node: in maint, nothing under way there any more */
wait_condition wait_is_gone;     /* node: there is none of that name */
wait_condition wait_is_whole;    /* stats: every pool has all its copies */
wait_condition wait_is_empty;    /* stats: no clients */
wait_condition wait_is_over;     /* task: ended */

/*
 * Ask all proxies for PATH until CONDITION holds at each, --wait's time at most; show progress on
 * stderr meanwhile.
 *
 * Returns  CTL_EXIT_DONE, or CTL_EXIT_TIMEOUT, said on stderr.
 */
enum ctl_exit wait_for(const struct session *session, const char *path, wait_condition *condition);

/* The same at one proxy alone, where PATH is known: a task's number is its proxy's own. */
enum ctl_exit wait_for_task(const struct session *session, size_t proxy, const char *path);

#endif
