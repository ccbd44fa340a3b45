/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --local: memcacheds of our own, on loopback, ended with us (also when we are killed) and started
 * again when they die. Main's thread alone.
 */
#ifndef EVERWARM_SHELL_LOCAL_H
#define EVERWARM_SHELL_LOCAL_H

#include "everwarm/base/limits.h"
#include "everwarm/base/status.h"
#include "everwarm/shell/user.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct local;

struct local_options {
    uint32_t count; /* 1..LOCAL_NODES_MAX */
    /* Run them as this user; as root never (memcached refuses), then as "nobody". */
    struct user user;
};

/*
 * Start memcacheds and wait until they listen.
 *
 *   error  caller's, ERROR_BYTES of it: one line, what and what to do
 *
 * Errors  STATUS_NOT_FOUND: memcached is not installed; STATUS_SYSTEM; STATUS_NO_MEMORY. None is
 *         left running after either.
 */
MUST_CHECK enum status local_start(const struct local_options *options, struct local **out,
                                   char *error, size_t error_bytes);

/* "127.0.0.1:PORT" of each, as config_from_options wants them; lives until local_stop. */
const char *const *local_addresses(const struct local *local);
/* Its process; 0 while it is down. */
pid_t local_pid(const struct local *local, uint32_t index);

/*
 * Look for ended ones and start again those whose pause is over. Call after a SIGCHLD, and when the
 * time that it returned is over.
 *
 * Returns  milliseconds until it wants to be called, UINT32_MAX: not before a child ends.
 */
uint32_t local_mend(struct local *local);

/* End them all, free *LOCAL, which may be NULL, and null it. */
void local_stop(struct local **local);

#endif
