/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Completion of bash, printed from the table of commands. Nodes are asked for at the moment, with
 * the options typed so far. bash takes ':' for the end of a word, and names and addresses are full
 * of it: so words are taken from the line itself, and what bash has already is cut off again.
 */
#include "command.h"

#include <string.h>

static const char HEAD[] =
    "# bash completion of everwarmctl: source <(everwarmctl completion bash)\n"
    "_everwarmctl()\n"
    "{\n"
    "    local line=${COMP_LINE:0:COMP_POINT} command= word last i\n"
    "    local -a words options=()\n"
    "    read -ra words <<<\"$line\"\n"
    "    [[ $line == *' ' ]] && words+=('')\n"
    "    word=${words[-1]} last=${words[-2]}\n"
    "    for ((i = 1; i < ${#words[@]} - 1; i++)); do\n"
    "        case ${words[i]} in\n"
    "        -H | --host | --socket | --token-file)\n"
    "            options+=(\"${words[i]}\" \"${words[i + 1]}\")\n"
    "            ((i++)) ;;\n"
    "        -o | --output | --wait | --reason | --for | --since | --weight | --zone | --pool) "
    "((i++)) ;;\n"
    "        -*) ;;\n"
    "        *) command=${command:-${words[i]}} ;;\n"
    "        esac\n"
    "    done\n"
    "    local list=\n"
    "    case $last in\n"
    "    -o | --output) list='table json' ;;\n"
    "    --socket | --token-file) list=$(compgen -f -- \"$word\") ;;\n"
    "    -H | --host | --wait | --reason | --for | --since | --weight | --zone | --pool) ;;\n"
    "    *)\n"
    "        case $word:$command in\n"
    "        -*) list='-H --socket -o --token-file --wait --force --persist --repair --reason "
    "--for --since\n"
    "            --weight --zone --pool --help --version' ;;\n"
    "        *:completion) list=bash ;;\n"
    "        *:) list='";

static const char MIDDLE[] = "' ;;\n"
                             "        *:";

static const char TAIL[] =
    ")\n"
    "            list=$(\"${words[0]}\" \"${options[@]}\" nodes 2>/dev/null |\n"
    "                awk 'NR == 1 { for (n = 1; n < NF && $n != \"NODE\"; n++); next }\n"
    "                    { print $n }') ;;\n"
    "        esac ;;\n"
    "    esac\n"
    "    COMPREPLY=($(compgen -W \"$list\" -- \"$word\"))\n"
    "    local have=${word%\"${word##*:}\"}\n"
    "    [[ $COMP_WORDBREAKS == *:* ]] && COMPREPLY=(\"${COMPREPLY[@]#\"$have\"}\")\n"
    "}\n"
    "complete -F _everwarmctl everwarmctl\n";

/* The names of all commands whose words begin with FIRST, with GLUE between them. */
static void print_names(FILE *out, const char *first, const char *glue)
{
    size_t count = 0;
    const struct command *commands = command_table(&count);
    const char *between = "";
    for (size_t i = 0; i < count; i++) {
        const char *words = commands[i].words + (commands[i].words[0] == '[' ? 1 : 0);
        if (strncmp(words, first, strlen(first)) == 0) {
            (void)fprintf(out, "%s%s", between, commands[i].name);
            between = glue;
        }
    }
}

void completion_print_bash(FILE *out)
{
    (void)fputs(HEAD, out);
    print_names(out, "", " ");
    (void)fputs(MIDDLE, out);
    print_names(out, "NODE", " | *:");
    (void)fputs(TAIL, out);
}
