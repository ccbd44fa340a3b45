/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile streams by the thousand (reliability.md S10): what nodes see is what was accepted, one
 * for one. Streams are made from seeds (stream.h) and played as the fuzz target fuzz_dataplane
 * plays its inputs, against one node that records, or against two of which one is hostile too. What
 * stands in a value of a stream with right lengths must never reach a node as a command.
 *
 * The work is shared by processes. One that ends too early was at a seed that broke a promise: its
 * number is told, and `hostile --seed N` plays it again.
 */
#include "everwarm/base/invariant.h"
#include "fuzz/fuzz.h"
#include "fuzz/model_node.h"
#include "hostile/stream.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    JOBS_MAX = 16,
    HEAD_BYTES = 4, /* of an input of fuzz_dataplane: how it is played */
    /* One stream in so many is played against nodes of which one is hostile too. */
    HOSTILE_NODE_EVERY = 4,
};

#define SMUGGLED "smuggled"

struct job { /* shared with the child */
    uint64_t seed;
    uint64_t played;
    uint64_t bytes;
    bool is_over;
};

struct options {
    uint64_t first;
    uint64_t streams;
    uint32_t jobs;
};

static void play(uint64_t seed, struct job *job)
{
    static char input[HEAD_BYTES + STREAM_BYTES_MAX];
    struct stream_maker maker = {
        .smuggled = SLICE(SMUGGLED),
        .ptr = input + HEAD_BYTES,
        .capacity = STREAM_BYTES_MAX,
    };
    stream_make(&maker, seed);
    bool has_hostile_node = prng_below(&maker.prng, HOSTILE_NODE_EVERY) == 0;
    input[0] = (char)prng_next(&maker.prng);
    input[1] = (char)prng_next(&maker.prng);
    input[2] = (char)((prng_next(&maker.prng) & 2) | (has_hostile_node ? 1 : 0));
    input[3] = (char)prng_below(&maker.prng, 128); /* a share of the stream is said by the node */
    model_forbidden_key = maker.is_sound && !has_hostile_node ? maker.smuggled : SLICE("");
    (void)LLVMFuzzerTestOneInput((const uint8_t *)input, HEAD_BYTES + maker.len);
    job->bytes += maker.len;
}

static void run(struct job *job, const struct options *options, uint32_t index)
{
    for (uint64_t i = index; i < options->streams; i += options->jobs) {
        job->seed = options->first + i;
        play(job->seed, job);
        job->played++;
    }
    job->is_over = true;
}

static int run_all(const struct options *options)
{
    struct job *jobs = mmap(NULL, sizeof(*jobs) * options->jobs, PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    PROMISE(jobs != MAP_FAILED);
    pid_t pids[JOBS_MAX];
    for (uint32_t i = 0; i < options->jobs; i++) {
        pids[i] = fork();
        PROMISE(pids[i] >= 0);
        if (pids[i] == 0) {
            run(&jobs[i], options, i);
            _exit(0);
        }
    }
    uint64_t played = 0;
    uint64_t bytes = 0;
    int result = 0;
    for (uint32_t i = 0; i < options->jobs; i++) {
        int status;
        PROMISE(waitpid(pids[i], &status, 0) == pids[i]);
        if (!jobs[i].is_over) {
            (void)fprintf(stderr, "hostile: seed %" PRIu64 " broke a promise\n", jobs[i].seed);
            result = 1;
        }
        played += jobs[i].played;
        bytes += jobs[i].bytes;
    }
    (void)printf("%" PRIu64 " streams, %" PRIu64 " bytes, from seed %" PRIu64 "\n", played, bytes,
                 options->first);
    return result;
}

static int usage(FILE *out)
{
    (void)fprintf(out, "hostile [--streams N] [--first SEED] [--jobs J]\n"
                       "hostile --seed N                 play one again\n"
                       "hostile --show N                 write what it sends\n");
    return out == stderr ? 2 : 0;
}

static int show(uint64_t seed)
{
    static char memory[STREAM_BYTES_MAX];
    struct stream_maker maker = {
        .smuggled = SLICE(SMUGGLED), .ptr = memory, .capacity = sizeof(memory)};
    stream_make(&maker, seed);
    return fwrite(maker.ptr, 1, maker.len, stdout) == maker.len ? 0 : 1;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"streams", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'},
        {"jobs", required_argument, NULL, 'j'},
        {"seed", required_argument, NULL, 's'},
        {"show", required_argument, NULL, 'w'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.first = 1, .streams = 10000, .jobs = 2};
    struct job one = {.seed = 0};
    int option;
    while ((option = getopt_long(argc, argv, "", names, NULL)) >= 0) {
        uint64_t value = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;
        switch (option) {
        case 'n':
            options.streams = value;
            break;
        case 'f':
            options.first = value;
            break;
        case 'j':
            options.jobs = value > 0 && value < JOBS_MAX ? (uint32_t)value : 1;
            break;
        case 's':
            play(value, &one);
            return 0;
        case 'w':
            return show(value);
        case 'h':
            return usage(stdout);
        default:
            return usage(stderr);
        }
    }
    return run_all(&options);
}
