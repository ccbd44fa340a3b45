/* SPDX-License-Identifier: BSD-2-Clause */
/* A process leaves root behind after it has bound its ports, and its terminal once it serves. */
#include "everwarm/shell/user.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Written to once the daemon serves; -1: not a daemon. */
static int started_fd = -1;

/* A number, or -1. */
static long number_of(const char *text)
{
    char *end;
    errno = 0;
    long number = strtol(text, &end, 10);
    return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && number < UINT32_MAX
               ? number
               : -1;
}

enum status user_find(const char *name, const char *group, struct user *out, char *error,
                      size_t error_bytes)
{
    *out = (struct user){.uid = geteuid(), .gid = getegid()};
    if (name != NULL) {
        long number = number_of(name);
        /* One thread runs. NOLINTNEXTLINE(concurrency-mt-unsafe) */
        const struct passwd *user = number >= 0 ? getpwuid((uid_t)number) : getpwnam(name);
        if (user == NULL && number < 0) {
            (void)snprintf(error, error_bytes, "-u %s: no such user", name);
            return STATUS_BAD_ARGUMENT;
        }
        out->uid = user != NULL ? user->pw_uid : (uid_t)number;
        out->gid = user != NULL ? user->pw_gid : (gid_t)number;
    }
    if (group != NULL) {
        long number = number_of(group);
        /* NOLINTNEXTLINE(concurrency-mt-unsafe) */
        const struct group *found = number >= 0 ? NULL : getgrnam(group);
        if (found == NULL && number < 0) {
            (void)snprintf(error, error_bytes, "-g %s: no such group", group);
            return STATUS_BAD_ARGUMENT;
        }
        out->gid = found != NULL ? found->gr_gid : (gid_t)number;
    }
    return STATUS_OK;
}

enum status user_switch(const struct user *user, char *error, size_t error_bytes)
{
    if (user->uid == geteuid() && user->gid == getegid()) {
        return STATUS_OK;
    }
    gid_t group = user->gid;
    if ((geteuid() == 0 && setgroups(1, &group) != 0) || setgid(user->gid) != 0 ||
        setuid(user->uid) != 0) {
        (void)snprintf(error, error_bytes, "can't become user %u, group %u: %s",
                       (unsigned)user->uid, (unsigned)user->gid, strerrordesc_np(errno));
        return STATUS_SYSTEM;
    }
    return STATUS_OK;
}

enum status user_daemonize(void)
{
    int started[2];
    if (pipe2(started, O_CLOEXEC) != 0) {
        return STATUS_SYSTEM;
    }
    pid_t pid = fork();
    if (pid < 0) {
        (void)close(started[0]);
        (void)close(started[1]);
        return STATUS_SYSTEM;
    }
    if (pid > 0) {
        char byte;
        (void)close(started[1]);
        _exit(read(started[0], &byte, 1) == 1 ? 0 : 1);
    }
    (void)close(started[0]);
    started_fd = started[1];
    (void)setsid();
    return STATUS_OK;
}

void user_tell_started(void)
{
    if (started_fd < 0) {
        return;
    }
    ssize_t told = write(started_fd, "", 1);
    (void)told; /* the parent was killed: nobody waits */
    (void)close(started_fd);
    started_fd = -1;
    /* Logs go on to stderr; the terminal is held by nothing else. */
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        (void)close(null);
    }
}
