/* SPDX-License-Identifier: BSD-2-Clause */
/* The table of commands: help, completion, manual and the program itself go by it. */
#ifndef EVERWARM_SRC_CTL_COMMAND_H
#define EVERWARM_SRC_CTL_COMMAND_H

#include "session.h"

#include <stddef.h>

typedef enum ctl_exit command_run(const struct session *session);

/* Options that not every command takes. */
enum command_option {
    COMMAND_WAIT = 1 << 0,
    COMMAND_FORCE = 1 << 1,
    COMMAND_REPAIR = 1 << 2,
    COMMAND_REASON = 1 << 3, /* --reason and --for */
    COMMAND_SINCE = 1 << 4,
    COMMAND_NODE = 1 << 5, /* --weight and --zone */
    COMMAND_PERSIST = 1 << 6,
    COMMAND_POOL = 1 << 7,
};

struct command {
    const char *name;
    const char *words;   /* what follows it, for people; "NODE" first: a node's name */
    const char *summary; /* one line */
    int words_min;       /* that follow the command */
    int words_max;
    unsigned int options; /* of enum command_option */
    command_run *run;     /* NULL: needs no proxy, see main */
};

/* All commands, in the order of the help. */
const struct command *command_table(size_t *count);

/* The command of this name, or NULL. */
const struct command *command_find(const char *name);

/* The name that was probably meant, or NULL. */
const char *command_suggest(const char *name);

/* The first option given that COMMAND does not take, "--force"; NULL: all fit. */
const char *command_misfit(const struct command *command, const struct options *options);

/* Print the help of all. */
void command_print_help(FILE *out);

/* Print the completion script of bash. */
void completion_print_bash(FILE *out);

/* What runs them. */
command_run show_status, show_nodes, show_node, show_tasks, show_route, show_clients, show_slowlog,
    show_hotkeys, show_config, show_doctor;
command_run act_node, act_resync, act_verify, act_check, act_add, act_remove, act_reload,
    act_proxy_drain, act_proxy_undrain;
command_run events_follow, top_run;

#endif
