/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line. */
#ifndef EVERWARM_SRC_CTL_OPTIONS_H
#define EVERWARM_SRC_CTL_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum {
    /* Proxies of one call: a fleet's side of a pool. */
    OPTIONS_TARGETS_MAX = 64,
    /* A host's name has 253 bytes at most, and a port 5. */
    OPTIONS_TARGET_BYTES_MAX = 272,
};

/* X(name, code, what it means): the exit codes. */
#define EXIT_TABLE(X)                                                                              \
    X(DONE, 0, "done, or nothing to complain of")                                                  \
    X(REFUSED, 1, "a proxy refused; of doctor: something is wrong")                                \
    X(USAGE, 2, "the command line is wrong")                                                       \
    X(UNREACHABLE, 3, "no answer from the proxy")                                                  \
    X(TIMEOUT, 4, "not in effect before the wait ran out")                                         \
    X(PARTIAL, 5, "several proxies, and they did not all answer alike")

enum ctl_exit {
#define X(name, code, text) CTL_EXIT_##name = (code),
    EXIT_TABLE(X)
#undef X
};

enum ctl_output { CTL_OUTPUT_TABLE, CTL_OUTPUT_JSON };

struct options {
    size_t target_count;
    char targets[OPTIONS_TARGETS_MAX][OPTIONS_TARGET_BYTES_MAX]; /* "host:port" or "[v6]:port" */
    const char *socket;                                          /* NULL: the targets */
    enum ctl_output output;
    const char *token_file; /* NULL: none */
    uint64_t wait_ms;       /* 0: don't wait */
    bool is_forced;
    bool is_persistent; /* add, remove: into the proxies' files too */
    bool is_repair;
    const char *reason; /* NULL: none */
    const char *period; /* of --for; NULL: none */
    const char *since;  /* NULL: none */
    const char *weight; /* NULL: none */
    const char *pool;   /* NULL: the one that there is, or the first */
    const char *zone;   /* NULL: none */
    bool is_help;
    bool is_version;
    int word_count; /* the command and what belongs to it */
    char **words;
};

/*
 * Read a command line. Options may stand before and after the command; "--" ends them.
 *
 *   argv   must outlive OUT, and is put into another order
 *   error  where to say what is wrong
 *
 * Returns  false: it is wrong, and said so.      Thread  main, before there are others.
 */
bool options_parse(int argc, char **argv, struct options *out, FILE *error);

#endif
