/* SPDX-License-Identifier: BSD-2-Clause */
/* Who the process is: -u and -g, and --daemon. Main's thread alone, before others run. */
#ifndef EVERWARM_SHELL_USER_H
#define EVERWARM_SHELL_USER_H

#include "everwarm/base/status.h"

#include <stddef.h>
#include <sys/types.h>

struct user {
    uid_t uid;
    gid_t gid;
};

/*
 * Find who is meant by NAME and GROUP, names or numbers; NULL: who we are, and the user's own
 * group.
 *
 * Errors  STATUS_BAD_ARGUMENT: no such user or group; error says which.
 */
MUST_CHECK enum status user_find(const char *name, const char *group, struct user *out, char *error,
                                 size_t error_bytes);

/*
 * Become USER for good. Only root can; for anyone else, who is that user already, nothing happens.
 *
 * Errors  STATUS_SYSTEM.
 */
MUST_CHECK enum status user_switch(const struct user *user, char *error, size_t error_bytes);

/*
 * Go on in a child of a session of its own. The parent waits for user_tell_started and exits with
 * status 0; when the child ends first, with 1.
 *
 * Errors  STATUS_SYSTEM: still in the parent.
 */
MUST_CHECK enum status user_daemonize(void);
/* Let the waiting parent go; nothing when there is none. */
void user_tell_started(void);

#endif
