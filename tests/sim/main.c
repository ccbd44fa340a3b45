/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The simulator: runs seeds, says which broke a promise, and replays one. Two processes share the
 * seeds; one that dies of an invariant or a sanitizer is a failed seed, and the rest goes on.
 */
#include "everwarm/base/invariant.h"
#include "sim/judge.h"
#include "sim/model.h"
#include "sim/mutant.h"
#include "sim/selftest.h"
#include "sim/world.h"

#include <getopt.h>
#include <inttypes.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MAIN_JOBS_MAX = 64, MAIN_KEPT_BYTES = 256 << 20, MAIN_MAPPED_BYTES = 32 << 20 };

struct main_job {  /* shared with the child */
    uint64_t next; /* seed */
    uint64_t passed;
    uint64_t failed;
    uint64_t first_failed;
    uint64_t ops;
    uint64_t virtual_us;
    uint64_t hard_keys;
    uint64_t excused_keys;
    uint64_t view_changes;
    uint64_t fills;
    pid_t pid;
};

struct main_options {
    struct world_options world;
    uint64_t start;
    uint64_t seeds;
    uint32_t jobs;
    bool is_single;
    bool is_repeated; /* each seed twice: the same trace */
    bool has_mutants;
    const char *rules; /* NULL: all */
};

static void main_usage(FILE *out)
{
    (void)fprintf(out,
                  "sim [--seeds N] [--start S] [--jobs J]   run seeds S .. S+N-1\n"
                  "sim --seed S [-v]                        run one, with its trace\n"
                  "sim --self-test                          test the checker itself\n"
                  "sim --mutants [--rules A,B] [--seeds N]  break rules; in the mutants' profile\n"
                  "  --rules NAME                           without --mutants: break this one\n"
                  "sim --judge FILE                         judge a recorded history\n"
                  "sim --model                              be a memcached on stdin, stdout\n"
                  "  --proxies P --workers W --nodes N      at most 4, 3, 5; 0: by the seed\n"
                  "  --steps K                              requests of a run\n"
                  "  --profile NAME                         a sort of world, see profile.c\n"
                  "  --shared                               all clients use the same keys\n"
                  "  --no-late                              no packet outlives a reset\n");
}

static void main_count(struct main_job *job, uint64_t seed, bool is_passed,
                       const struct world_result *result)
{
    job->passed += is_passed ? 1 : 0;
    if (!is_passed && job->failed++ == 0) {
        job->first_failed = seed;
    }
    job->ops += result->ops;
    job->virtual_us += result->end_us;
    job->hard_keys += result->too_hard;
    job->excused_keys += result->excused;
    job->view_changes += result->view_changes;
    job->fills += result->fills;
}

static bool main_seed(const struct main_options *options, uint64_t seed,
                      struct world_result *result)
{
    struct world_options world = options->world;
    world.seed = seed;
    uint64_t shape = prng_mix(seed);
    if (world.profile == NULL) {
        world.profile = profile_of(shape >> 32);
    }
    if (world.workers == 0) {
        world.workers = profile_choose(world.profile->workers, shape);
    }
    if (world.proxies == 0) {
        world.proxies = profile_choose(world.profile->proxies, shape >> 8);
    }
    if (world.nodes == 0) {
        world.nodes = profile_choose(world.profile->nodes, shape >> 16);
    }
    return world_run(&world, result);
}

static bool main_mutant(void *owner, uint64_t seed)
{
    struct world_result result;
    struct main_options options = *(const struct main_options *)owner;
    if (options.world.profile == NULL && mutant_home() != NULL) {
        options.world.profile = profile_find(mutant_home());
    }
    return main_seed(&options, seed, &result);
}

/* The same seed gives the same trace. */
static bool main_repeat(const struct main_options *options, uint64_t seed,
                        const struct world_result *first)
{
    struct world_result again;
    bool is_passed = main_seed(options, seed, &again);
    if (is_passed && again.hash == first->hash && again.events == first->events) {
        return true;
    }
    printf("seed %" PRIu64 ": another trace in the second run\n", seed);
    return false;
}

static void main_child(const struct main_options *options, struct main_job *job)
{
    while (job->next < options->start + options->seeds) {
        struct world_result result;
        bool is_passed = main_seed(options, job->next, &result);
        if (is_passed && options->is_repeated) {
            is_passed = main_repeat(options, job->next, &result);
        }
        main_count(job, job->next, is_passed, &result);
        (void)fflush(stdout);
        job->next += options->jobs;
    }
}

static void main_fork(const struct main_options *options, struct main_job *job)
{
    (void)fflush(stdout);
    pid_t parent = getpid();
    pid_t pid = fork();
    REQUIRE(pid >= 0);
    if (pid == 0) {
        /* Who ends the simulator ends all of it. */
        if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
            _exit(EXIT_FAILURE);
        }
        main_child(options, job);
        exit(EXIT_SUCCESS);
    }
    job->pid = pid; /* by the parent alone: the child has the same memory */
}

static int main_many(const struct main_options *options)
{
    struct main_job *jobs = mmap(NULL, MAIN_JOBS_MAX * sizeof(*jobs), PROT_READ | PROT_WRITE,
                                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    REQUIRE(jobs != MAP_FAILED);
    for (uint32_t i = 0; i < options->jobs; i++) {
        jobs[i].next = options->start + i;
        main_fork(options, &jobs[i]);
    }
    struct main_job sum = {.first_failed = UINT64_MAX};
    for (uint32_t i = 0; i < options->jobs; i++) {
        struct main_job *job = &jobs[i];
        int status;
        while (waitpid(job->pid, &status, 0) == job->pid && status != 0) {
            struct world_result none = {0};
            printf("seed %" PRIu64 ": the simulator died, see above\n", job->next);
            main_count(job, job->next, false, &none);
            job->next += options->jobs;
            main_fork(options, job);
        }
        if (job->failed > 0 && job->first_failed < sum.first_failed) {
            sum.first_failed = job->first_failed;
        }
        sum.passed += job->passed;
        sum.failed += job->failed;
        sum.ops += job->ops;
        sum.virtual_us += job->virtual_us;
        sum.hard_keys += job->hard_keys;
        sum.excused_keys += job->excused_keys;
        sum.view_changes += job->view_changes;
        sum.fills += job->fills;
    }
    printf("%" PRIu64 " requests, %.1f virtual hours, %" PRIu64 " changes of view, %" PRIu64
           " fills; keys right by an excuse: %" PRIu64 ", not judged: %" PRIu64 "\n",
           sum.ops, (double)sum.virtual_us / 3.6e9, sum.view_changes, sum.fills, sum.excused_keys,
           sum.hard_keys);
    if (sum.failed > 0) {
        printf("replay: make sim SEED=%" PRIu64 ", or sim --seed %" PRIu64 " -v\n",
               sum.first_failed, sum.first_failed);
    }
    printf("%" PRIu64 " passed, %" PRIu64 " failed\n", sum.passed, sum.failed);
    REQUIRE(sum.passed + sum.failed == options->seeds);
    return sum.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static int main_one(const struct main_options *options)
{
    struct world_result result;
    bool is_passed = main_seed(options, options->start, &result);
    printf("seed %" PRIu64 ": hash %016" PRIx64 ", %" PRIu64 " events, %" PRIu64
           " requests, %.1f virtual s, %" PRIu64 " changes of view, %" PRIu64 " fills\n",
           options->start, result.hash, result.events, result.ops, (double)result.end_us / 1e6,
           result.view_changes, result.fills);
    printf("%d passed, %d failed\n", is_passed ? 1 : 0, is_passed ? 0 : 1);
    return is_passed ? EXIT_SUCCESS : EXIT_FAILURE;
}

static uint64_t main_number(const char *text, uint64_t max)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (*text == '\0' || *end != '\0' || number > max) {
        (void)fprintf(stderr, "sim: not a number up to %" PRIu64 ": %s\n", max, text);
        exit(2);
    }
    return number;
}

int main(int argc, char **argv)
{
    static const struct option LONG[] = {
        {"seeds", required_argument, NULL, 'n'},   {"start", required_argument, NULL, 's'},
        {"seed", required_argument, NULL, 'S'},    {"jobs", required_argument, NULL, 'j'},
        {"proxies", required_argument, NULL, 'p'}, {"workers", required_argument, NULL, 'w'},
        {"nodes", required_argument, NULL, 'N'},   {"steps", required_argument, NULL, 'k'},
        {"profile", required_argument, NULL, 'P'}, {"shared", no_argument, NULL, 'h'},
        {"no-late", no_argument, NULL, 'l'},       {"self-test", no_argument, NULL, 't'},
        {"repeat", no_argument, NULL, 'r'},        {"mutants", no_argument, NULL, 'M'},
        {"rules", required_argument, NULL, 'R'},   {"judge", required_argument, NULL, 'J'},
        {"model", no_argument, NULL, 'm'},         {NULL, 0, NULL, 0}};
    struct main_options options = {
        .world = {.steps = 300, .has_late_packets = true}, .start = 1, .seeds = 200, .jobs = 2};
    for (int c = getopt_long(argc, argv, "v", LONG, NULL); c != -1;
         c = getopt_long(argc, argv, "v", LONG, NULL)) {
        switch (c) {
        case 'n':
            options.seeds = main_number(optarg, UINT32_MAX);
            break;
        case 'S':
            options.is_single = true;
            options.start = main_number(optarg, UINT64_MAX);
            break;
        case 's':
            options.start = main_number(optarg, UINT64_MAX);
            break;
        case 'j':
            options.jobs = (uint32_t)main_number(optarg, MAIN_JOBS_MAX);
            options.jobs = options.jobs == 0 ? 1 : options.jobs;
            break;
        case 'p':
            options.world.proxies = (uint32_t)main_number(optarg, WORLD_PROXIES_MAX);
            break;
        case 'w':
            options.world.workers = (uint32_t)main_number(optarg, WORLD_WORKERS_MAX);
            break;
        case 'N':
            options.world.nodes = (uint32_t)main_number(optarg, WORLD_NODES_MAX);
            break;
        case 'k':
            options.world.steps = (uint32_t)main_number(optarg, 100000);
            break;
        case 'P':
            options.world.profile = profile_find(optarg);
            if (options.world.profile == NULL) {
                (void)fprintf(stderr, "sim: no such profile: %s\n", optarg);
                return 2;
            }
            break;
        case 'h':
            options.world.is_shared = true;
            break;
        case 'l':
            options.world.has_late_packets = false;
            break;
        case 'r':
            options.is_repeated = true;
            break;
        case 'M':
            options.has_mutants = true;
            break;
        case 'R':
            options.rules = optarg;
            break;
        case 't':
            return selftest_run() == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
        case 'J':
            return judge_file(optarg);
        case 'm':
            return model_serve();
        case 'v':
            options.world.is_verbose = true;
            break;
        default:
            main_usage(stderr);
            return 2;
        }
    }
    if (optind < argc) {
        main_usage(stderr);
        return 2;
    }
    /* What a world gives back the next one needs. */
    (void)mallopt(M_TRIM_THRESHOLD, MAIN_KEPT_BYTES);
    (void)mallopt(M_MMAP_THRESHOLD, MAIN_MAPPED_BYTES);
    if (options.has_mutants) {
        int missed = mutant_run_all(options.rules, options.seeds, main_mutant, &options);
        return missed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
    }
    if (options.rules != NULL && !mutant_break(options.rules)) {
        (void)fprintf(stderr, "sim: can't break %s\n", options.rules);
        return 2;
    }
    return options.is_single ? main_one(&options) : main_many(&options);
}
