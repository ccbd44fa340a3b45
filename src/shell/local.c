/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Each child asks the kernel to be killed when the thread that made it ends, which is main's: so
 * even after a kill -9 of ours none is left. The kernel forgets that wish when the child changes
 * its user; therefore the child becomes its user first, and memcached is started as that user
 * instead of being told -u.
 *
 * Ports are looked for below the range that the kernel hands out to outgoing connections, so that
 * nobody takes a node's port while the node is down.
 */
#include "everwarm/shell/local.h"

#include "clock.h"
#include "everwarm/base/invariant.h"
#include "everwarm/base/prng.h"
#include "everwarm/shell/log.h"
#include "everwarm/shell/signals.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    PORT_FIRST = 20000,
    PORT_LAST = 31999, /* Linux hands out ports from 32768 on */
    PORT_TRIES = 200,  /* twelve thousand ports: more than a few taken in a row is no chance */
    START_WAIT_US = 5 * CLOCK_US_PER_S,
    STOP_WAIT_US = 2 * CLOCK_US_PER_S,
    POLL_US = 5 * CLOCK_US_PER_MS,
    RESTART_PAUSE_US = 200 * CLOCK_US_PER_MS,
    /* One that ends soon after its start again and again must not keep us busy. */
    RESTART_PAUSE_US_MAX = 5 * CLOCK_US_PER_S,
    SETTLED_US = 10 * CLOCK_US_PER_S,
    ADDRESS_BYTES_MAX = 32,
};

struct child {
    pid_t pid; /* 0: down */
    uint16_t port;
    char address[ADDRESS_BYTES_MAX];
    uint64_t started_us;
    uint64_t pause_us;    /* before the next start */
    uint64_t start_at_us; /* valid while down */
};

struct local {
    struct user user;
    uint32_t count;
    struct child children[LOCAL_NODES_MAX];
    const char *addresses[LOCAL_NODES_MAX];
};

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return to;
}

static bool is_free(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    int on = 1;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    struct sockaddr_in to = loopback(port);
    bool is_bound = bind(fd, (const struct sockaddr *)&to, sizeof(to)) == 0;
    (void)close(fd);
    return is_bound;
}

static bool is_listening(uint16_t port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return false;
    }
    struct sockaddr_in to = loopback(port);
    bool is_connected = connect(fd, (const struct sockaddr *)&to, sizeof(to)) == 0;
    (void)close(fd);
    return is_connected;
}

static bool is_ours(const struct local *local, uint16_t port)
{
    for (uint32_t i = 0; i < local->count; i++) {
        if (local->children[i].port == port) {
            return true;
        }
    }
    return false;
}

/* A port that nobody uses; 0: none found. Starts anywhere, so that two everwarms rarely meet. */
static uint16_t find_port(const struct local *local, struct prng *prng)
{
    for (int i = 0; i < PORT_TRIES; i++) {
        uint16_t port = (uint16_t)(PORT_FIRST + prng_below(prng, PORT_LAST - PORT_FIRST + 1));
        if (!is_ours(local, port) && is_free(port)) {
            return port;
        }
    }
    return 0;
}

/* In the child, from here to exec: only calls that are safe after a fork. */
static void become(const struct user *user)
{
    if (geteuid() == 0) {
        gid_t group = user->gid;
        if (setgroups(1, &group) != 0 || setgid(user->gid) != 0 || setuid(user->uid) != 0) {
            _exit(126);
        }
    }
}

static void run_memcached(const struct local *local, const char *port, pid_t parent, int told_fd)
{
    become(&local->user);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(126);
    }
    (void)setpgid(0, 0); /* Ctrl-C on the terminal is for us: we end them when all is answered */
    int null = open("/dev/null", O_RDWR);
    if (null >= 0) {
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
    }
    signals_unblock();
    (void)execlp("memcached", "memcached", "-l", "127.0.0.1", "-p", port, "-U", "0", "-m", "64",
                 "-t", "1", (char *)NULL);
    int failure = errno;
    ssize_t told = write(told_fd, &failure, sizeof(failure));
    (void)told;
    _exit(127);
}

/* Returns 0, or the error number of what failed: ENOENT when there is no memcached. */
static int launch(struct local *local, struct child *child)
{
    int told[2]; /* carries errno of a failed exec; closed by one that works */
    if (pipe2(told, O_CLOEXEC) != 0) {
        return errno;
    }
    char port[8];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)child->port);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0) {
        run_memcached(local, port, parent, told[1]);
    }
    int failure = pid < 0 ? errno : 0;
    (void)close(told[1]);
    if (pid > 0 && read(told[0], &failure, sizeof(failure)) == sizeof(failure)) {
        (void)waitpid(pid, NULL, 0);
    } else if (pid > 0) {
        failure = 0;
        child->pid = pid;
        child->started_us = clock_mono_us();
    }
    (void)close(told[0]);
    return failure;
}

static void pause_us(uint64_t us)
{
    struct timespec time = {.tv_nsec = (long)us * 1000};
    (void)nanosleep(&time, NULL);
}

/* True once CHILD answers on its port; false when it ended or START_WAIT_US passed. */
static bool await(struct child *child)
{
    uint64_t until_us = clock_mono_us() + START_WAIT_US;
    while (clock_mono_us() < until_us) {
        if (waitpid(child->pid, NULL, WNOHANG) != 0) {
            child->pid = 0;
            return false;
        }
        if (is_listening(child->port)) {
            return true;
        }
        pause_us(POLL_US);
    }
    return false;
}

static void explain(int failure, char *error, size_t error_bytes)
{
    if (failure == ENOENT) {
        (void)snprintf(error, error_bytes,
                       "--local needs memcached, which is not in $PATH: apt-get install memcached");
    } else if (failure == EACCES) {
        (void)snprintf(error, error_bytes,
                       "--local: the memcached in $PATH may not be run by the user it would run "
                       "as: install it below /usr, or choose a user with -u");
    } else {
        (void)snprintf(error, error_bytes, "--local: can't start memcached: %s",
                       strerrordesc_np(failure));
    }
}

static enum status start_child(struct local *local, struct child *child, struct prng *prng,
                               char *error, size_t error_bytes)
{
    child->port = find_port(local, prng);
    if (child->port == 0) {
        (void)snprintf(error, error_bytes, "--local: no free port from %d to %d on 127.0.0.1",
                       PORT_FIRST, PORT_LAST);
        return STATUS_SYSTEM;
    }
    (void)snprintf(child->address, sizeof(child->address), "127.0.0.1:%u", (unsigned)child->port);
    child->pause_us = RESTART_PAUSE_US;
    int failure = launch(local, child);
    if (failure != 0) {
        explain(failure, error, error_bytes);
        return failure == ENOENT ? STATUS_NOT_FOUND : STATUS_SYSTEM;
    }
    if (!await(child)) {
        (void)snprintf(error, error_bytes,
                       "--local: memcached does not answer on %s; its own message is above",
                       child->address);
        return STATUS_SYSTEM;
    }
    return STATUS_OK;
}

/* memcached will not run as root. */
static enum status choose_user(const struct user *wanted, struct user *out, char *error,
                               size_t error_bytes)
{
    *out = *wanted;
    if (geteuid() != 0 || wanted->uid != 0) {
        return STATUS_OK;
    }
    /* No thread but main runs yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
    const struct passwd *nobody = getpwnam("nobody");
    if (nobody == NULL) {
        (void)snprintf(error, error_bytes,
                       "--local: memcached can't run as root, and there is no user nobody: "
                       "choose one with -u");
        return STATUS_NOT_FOUND;
    }
    *out = (struct user){.uid = nobody->pw_uid, .gid = nobody->pw_gid};
    return STATUS_OK;
}

enum status local_start(const struct local_options *options, struct local **out, char *error,
                        size_t error_bytes)
{
    REQUIRE(options->count >= 1 && options->count <= LOCAL_NODES_MAX);
    *out = NULL;
    struct local *local = calloc(1, sizeof(*local));
    if (local == NULL) {
        (void)snprintf(error, error_bytes, "out of memory");
        return STATUS_NO_MEMORY;
    }
    enum status status = choose_user(&options->user, &local->user, error, error_bytes);
    struct prng prng = {.state = clock_mono_us() ^ ((uint64_t)getpid() << 32)};
    while (status == STATUS_OK && local->count < options->count) {
        struct child *child = &local->children[local->count];
        status = start_child(local, child, &prng, error, error_bytes);
        local->addresses[local->count] = child->address;
        local->count++;
    }
    if (status != STATUS_OK) {
        local_stop(&local);
        return status;
    }
    *out = local;
    return STATUS_OK;
}

const char *const *local_addresses(const struct local *local)
{
    return local->addresses;
}

pid_t local_pid(const struct local *local, uint32_t index)
{
    return local->children[index].pid;
}

static void note_end(struct child *child, uint64_t now_us)
{
    bool was_short = now_us - child->started_us < SETTLED_US;
    log_line(LOG_LEVEL_WARNING, "local-memcached-ended", LOG_TEXT("address", child->address),
             LOG_NUMBER("pid", child->pid),
             LOG_NUMBER("restart_ms", child->pause_us / CLOCK_US_PER_MS));
    child->pid = 0;
    child->start_at_us = now_us + child->pause_us;
    uint64_t doubled_us =
        child->pause_us * 2 < RESTART_PAUSE_US_MAX ? child->pause_us * 2 : RESTART_PAUSE_US_MAX;
    child->pause_us = was_short ? doubled_us : RESTART_PAUSE_US;
}

static void restart(struct local *local, struct child *child, uint64_t now_us)
{
    int failure = launch(local, child);
    if (failure != 0) {
        log_line(LOG_LEVEL_ERROR, "local-memcached-failed", LOG_TEXT("address", child->address),
                 LOG_TEXT("why", strerrordesc_np(failure)));
        child->start_at_us = now_us + RESTART_PAUSE_US_MAX;
        return;
    }
    log_line(LOG_LEVEL_NOTICE, "local-memcached-started", LOG_TEXT("address", child->address),
             LOG_NUMBER("pid", child->pid));
}

uint32_t local_mend(struct local *local)
{
    uint64_t now_us = clock_mono_us();
    uint64_t due_us = UINT64_MAX;
    for (uint32_t i = 0; i < local->count; i++) {
        struct child *child = &local->children[i];
        if (child->pid != 0 && waitpid(child->pid, NULL, WNOHANG) != 0) {
            note_end(child, now_us);
        }
        if (child->pid == 0 && child->start_at_us <= now_us) {
            restart(local, child, now_us);
        }
        if (child->pid == 0 && child->start_at_us < due_us) {
            due_us = child->start_at_us;
        }
    }
    return due_us == UINT64_MAX ? UINT32_MAX : (uint32_t)((due_us - now_us) / CLOCK_US_PER_MS + 1);
}

void local_stop(struct local **handle)
{
    struct local *local = *handle;
    *handle = NULL;
    if (local == NULL) {
        return;
    }
    for (uint32_t i = 0; i < local->count; i++) {
        if (local->children[i].pid > 0) {
            (void)kill(local->children[i].pid, SIGTERM);
            (void)kill(local->children[i].pid, SIGCONT); /* a stopped one would not hear it */
        }
    }
    uint64_t until_us = clock_mono_us() + STOP_WAIT_US;
    for (uint32_t i = 0; i < local->count; i++) {
        struct child *child = &local->children[i];
        while (child->pid > 0 && waitpid(child->pid, NULL, WNOHANG) == 0) {
            if (clock_mono_us() >= until_us) {
                (void)kill(child->pid, SIGKILL);
                (void)waitpid(child->pid, NULL, 0);
                break;
            }
            pause_us(POLL_US);
        }
    }
    free(local);
}
