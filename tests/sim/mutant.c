/* SPDX-License-Identifier: BSD-2-Clause */
/* One rule is broken at a time; two processes share the seeds, and the lowest that fails counts. */
#include "sim/mutant.h"

#include "everwarm/core/rule.h"

#include <stdio.h>

#ifdef EVERWARM_MUTANTS

#include "everwarm/base/invariant.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    MUTANT_JOBS = 2,
    /* Seeds of one process: a mutant may loop or crash, and then only these are run again. */
    MUTANT_BATCH = 8,
    MUTANT_BATCH_S_MAX = 60, /* of its processor */
};

enum rule rule_broken = RULE_NONE;

static const struct {
    const char *name;
    const char *text;
} MUTANT_RULES[] = {{"none", "all rules are kept"},
#define X(name, text) {#name, text},
                    RULE_TABLE(X)
#undef X
};

/* The sort of world (profile.c) in which the rule matters; others: any. */
static const char *const MUTANT_HOMES[RULE_COUNT] = {
    [RULE_LOOK_AGAIN] = "fill",
    [RULE_UNDO_IF_OURS] = "fill",
    [RULE_EXISTS_IS_NOT_DONE] = "fill",
    [RULE_COMPARE_EXPIRY] = "fill",
    [RULE_FLUSH_TARGET] = "fill",
    [RULE_FILL_IDENTITY] = "filled",
    [RULE_DONORS_STAY] = "fill",
    [RULE_ONE_FILLER] = "race",
    [RULE_CHAIN] = "fill",
    [RULE_CHAIN_BEHIND_ALL] = "donor",
    [RULE_GIVE_UP] = "late",
    [RULE_EOF] = "late",
    [RULE_RESET_IS_NO_EOF] = "late",
    [RULE_ENTRY_BEHIND_EOF] = "late",
    [RULE_DRAIN] = "race",
    [RULE_SEAL] = "leave",
    [RULE_HOLD] = "storm",
    [RULE_ALL_JOIN] = "race",
    [RULE_WITHDRAW] = "race",
    [RULE_BEAT_FIRST] = "start",
    [RULE_LEASE] = "lease",
    [RULE_LEASE_FROM_SENDING] = "lease",
    [RULE_SILENCE] = "away",
    [RULE_FAREWELL_LAST] = "farewell",
    [RULE_FAREWELL_RUN] = "farewell",
    [RULE_LEFT_OVER] = "farewell",
    [RULE_DOUBT] = "doubt",
    [RULE_FORGET] = "split",
    [RULE_MISSED_WRITE] = "fill",
    [RULE_DUE_AT_ENTRY] = "long",
    [RULE_CAS_TAG] = "cas",
    [RULE_SETTLE_ALONE] = "mend",
    [RULE_NEW_TOKEN] = "mute",
    [RULE_FALLBACK_STORES_NOT] = "miss",
};

const char *mutant_home(void)
{
    return MUTANT_HOMES[rule_broken];
}

struct mutant_job {
    pid_t pid;
    int fd;
    uint64_t first;
};

static void mutant_child(int fd, uint64_t first, bool (*run_seed)(void *owner, uint64_t seed),
                         void *owner)
{
    int null = open("/dev/null", O_WRONLY);
    (void)dup2(null, STDOUT_FILENO);
    (void)dup2(null, STDERR_FILENO);
    const struct rlimit limit = {.rlim_cur = MUTANT_BATCH_S_MAX, .rlim_max = MUTANT_BATCH_S_MAX};
    (void)setrlimit(RLIMIT_CPU, &limit);
    for (uint64_t seed = first; seed < first + MUTANT_BATCH; seed++) {
        (void)!write(fd, &seed, sizeof(seed)); /* the last one told is the one that fails */
        if (!run_seed(owner, seed)) {
            _exit(1);
        }
    }
    _exit(0);
}

static void mutant_start(struct mutant_job *job, uint64_t first,
                         bool (*run_seed)(void *owner, uint64_t seed), void *owner)
{
    int ends[2];
    REQUIRE(pipe(ends) == 0);
    (void)fflush(stdout);
    *job = (struct mutant_job){.first = first, .fd = ends[0]};
    job->pid = fork();
    REQUIRE(job->pid >= 0);
    if (job->pid == 0) {
        mutant_child(ends[1], first, run_seed, owner);
    }
    (void)close(ends[1]);
}

/* Returns the seed that failed in the batch; 0: none. */
static uint64_t mutant_wait(struct mutant_job *job, bool *has_died)
{
    uint64_t seed = 0;
    while (read(job->fd, &seed, sizeof(seed)) == (ssize_t)sizeof(seed)) {
    }
    (void)close(job->fd);
    int status;
    REQUIRE(waitpid(job->pid, &status, 0) == job->pid);
    *has_died = WIFSIGNALED(status);
    return status == 0 ? 0 : seed;
}

/* Returns the first seed that notices; 0: none does. */
static uint64_t mutant_hunt(uint64_t seeds, bool (*run_seed)(void *owner, uint64_t seed),
                            void *owner, bool *has_died)
{
    uint64_t found = 0;
    for (uint64_t first = 1; first <= seeds && found == 0; first += MUTANT_JOBS * MUTANT_BATCH) {
        struct mutant_job jobs[MUTANT_JOBS];
        for (uint64_t i = 0; i < MUTANT_JOBS; i++) {
            mutant_start(&jobs[i], first + i * MUTANT_BATCH, run_seed, owner);
        }
        for (uint64_t i = 0; i < MUTANT_JOBS; i++) {
            bool died;
            uint64_t seed = mutant_wait(&jobs[i], &died);
            if (seed != 0 && found == 0) {
                found = seed;
                *has_died = died;
            }
        }
    }
    return found;
}

static bool mutant_is_listed(const char *list, const char *name)
{
    size_t len = strlen(name);
    for (const char *at = list; at != NULL; at = strchr(at, ',')) {
        at += *at == ',' ? 1 : 0;
        if (strncmp(at, name, len) == 0 && (at[len] == ',' || at[len] == '\0')) {
            return true;
        }
    }
    return list == NULL;
}

bool mutant_break(const char *name)
{
    for (uint32_t rule = RULE_NONE + 1; rule < RULE_COUNT; rule++) {
        if (strcmp(MUTANT_RULES[rule].name, name) == 0) {
            rule_broken = (enum rule)rule;
        }
    }
    return rule_broken != RULE_NONE;
}

int mutant_run_all(const char *list, uint64_t seeds, bool (*run_seed)(void *owner, uint64_t seed),
                   void *owner)
{
    int missed = 0;
    int count = 0;
    printf("| rule | the mutant | noticed after |\n|---|---|---|\n");
    for (uint32_t rule = RULE_NONE + 1; rule < RULE_COUNT; rule++) {
        if (!mutant_is_listed(list, MUTANT_RULES[rule].name)) {
            continue;
        }
        bool has_died = false;
        rule_broken = (enum rule)rule;
        uint64_t seed = mutant_hunt(seeds, run_seed, owner, &has_died);
        rule_broken = RULE_NONE;
        printf("| `%s` | %s | ", MUTANT_RULES[rule].name, MUTANT_RULES[rule].text);
        if (seed == 0) {
            printf("**not in %" PRIu64 "** |\n", seeds);
            missed++;
        } else {
            printf("%" PRIu64 " seed%s%s |\n", seed, seed == 1 ? "" : "s",
                   has_died ? ", by an invariant" : "");
        }
        count++;
    }
    printf("\n%d mutants, %d not noticed\n", count, missed);
    return count == 0 ? -1 : missed;
}

#else

const char *mutant_home(void)
{
    return NULL;
}

bool mutant_break(const char *name)
{
    (void)name;
    return false;
}

int mutant_run_all(const char *list, uint64_t seeds, bool (*run_seed)(void *owner, uint64_t seed),
                   void *owner)
{
    (void)list;
    (void)seeds;
    (void)run_seed;
    (void)owner;
    fprintf(stderr, "sim: rules can be broken in build/mutant/sim only\n");
    return -1;
}

#endif
