/* SPDX-License-Identifier: BSD-2-Clause */
/* The command line of everwarm; magent's is a part of it. Values are checked by config. */
#ifndef EVERWARM_CONFIG_OPTIONS_H
#define EVERWARM_CONFIG_OPTIONS_H

#include "everwarm/base/limits.h"
#include "everwarm/base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct config_error;

enum options_action {
    OPTIONS_RUN,
    OPTIONS_TEST_CONFIG,
    OPTIONS_HELP,
    OPTIONS_HELP_CONFIG,
    OPTIONS_VERSION,
};

/* As they were typed; strings point into argv. NULL, 0 and false: not given. */
struct options {
    enum options_action action;
    const char *config_path;           /* -c */
    const char *nodes[NODES_MAX];      /* -s and -b, in their order */
    bool is_backup[NODES_MAX];         /* nodes[i] came from -b */
    size_t node_count;                 /* of nodes and is_backup */
    uint32_t local_count;              /* --local, 1..LOCAL_NODES_MAX */
    const char *listen[LISTENERS_MAX]; /* -l */
    size_t listen_count;
    const char *port;        /* -p */
    const char *unix_path;   /* -f */
    const char *max_clients; /* -n */
    const char *threads;     /* -t */
    const char *admin;       /* -A, --admin; "off": none */
    const char *user;        /* -u, a name or a number */
    const char *group;       /* -g */
    const char *log_format;  /* --log-format */
    uint32_t verbose_count;  /* -v */
    bool is_ketama;          /* -k */
    bool is_idle_given;      /* -i */
    bool is_foreground;      /* -D */
    bool is_daemon;          /* --daemon */
};

/*
 * Parse the command line.
 *
 * -h, --help-config and -V end it: what follows them is not looked at.
 *
 *   argv   borrowed, reordered; options keep pointing into its strings
 *   out    caller's; meaningless unless STATUS_OK
 *   error  caller's; on an error its message, which ends in what to try
 *
 * Errors  STATUS_BAD_ARGUMENT.
 * Thread  main only: getopt_long keeps global state.
 */
MUST_CHECK enum status options_parse(int argc, char *argv[], struct options *out,
                                     struct config_error *error);

/* Write the text of --help to OUT. */
void options_help(FILE *out);

#endif
