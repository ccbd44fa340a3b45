/* SPDX-License-Identifier: BSD-2-Clause */
/* everwarmctl: read the command line, find the command, run it. */
#include "command.h"

#include "everwarm/base/version.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static enum ctl_exit refuse(const char *what, const char *word, const char *hint)
{
    (void)fprintf(stderr, "everwarmctl: %s: %s\n", word, what);
    if (hint != NULL) {
        (void)fprintf(stderr, "  did you mean: %s\n", hint);
    }
    (void)fputs("  everwarmctl -h lists all commands\n", stderr);
    return CTL_EXIT_USAGE;
}

static enum ctl_exit check_call(const struct command *command, const struct options *options)
{
    const char *misfit = command_misfit(command, options);
    const int words = options->word_count - 1;
    if (misfit != NULL) {
        (void)fprintf(stderr, "everwarmctl: %s takes no %s\n", command->name, misfit);
        return CTL_EXIT_USAGE;
    }
    if (words < command->words_min || words > command->words_max) {
        (void)fprintf(stderr, "usage: everwarmctl %s%s%s\n", command->name,
                      command->words[0] == '\0' ? "" : " ", command->words);
        return CTL_EXIT_USAGE;
    }
    return CTL_EXIT_DONE;
}

static enum ctl_exit complete(const struct options *options)
{
    if (strcmp(options->words[1], "bash") != 0) {
        return refuse("no such shell; bash is known", options->words[1], NULL);
    }
    completion_print_bash(stdout);
    return CTL_EXIT_DONE;
}

static enum ctl_exit run(const struct command *command, const struct options *options)
{
    const char *no_colour = getenv("NO_COLOR"); /* nobody changes the environment */
    const char *terminal = getenv("TERM");
    struct session session = {.options = options, .command = command};
    session.is_terminal = isatty(STDOUT_FILENO) == 1;
    session.has_colour = session.is_terminal && (no_colour == NULL || no_colour[0] == '\0') &&
                         terminal != NULL && strcmp(terminal, "dumb") != 0;
    session.client = client_create(options);
    if (session.client == NULL) {
        return CTL_EXIT_USAGE;
    }
    const enum ctl_exit code = command->run(&session);
    client_destroy(&session.client);
    return code;
}

static enum ctl_exit call(int argc, char **argv)
{
    static struct options options;
    if (!options_parse(argc, argv, &options, stderr)) {
        return CTL_EXIT_USAGE;
    }
    if (options.is_help) {
        command_print_help(stdout);
        return CTL_EXIT_DONE;
    }
    if (options.is_version) {
        (void)puts("everwarmctl " EVERWARM_VERSION);
        return CTL_EXIT_DONE;
    }
    if (options.word_count == 0) {
        command_print_help(stderr);
        return CTL_EXIT_USAGE;
    }
    const struct command *command = command_find(options.words[0]);
    if (command == NULL) {
        return refuse("no such command", options.words[0], command_suggest(options.words[0]));
    }
    const enum ctl_exit code = check_call(command, &options);
    if (code != CTL_EXIT_DONE) {
        return code;
    }
    return command->run == NULL ? complete(&options) : run(command, &options);
}

int main(int argc, char **argv)
{
    const enum ctl_exit code = call(argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        (void)fputs("everwarmctl: could not write all of it\n", stderr);
        return CTL_EXIT_REFUSED;
    }
    return (int)code;
}
