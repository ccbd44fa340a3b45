/* SPDX-License-Identifier: BSD-2-Clause */
/* One call of everwarmctl, and what its commands share. */
#ifndef EVERWARM_SRC_CTL_SESSION_H
#define EVERWARM_SRC_CTL_SESSION_H

#include "client.h"

struct command;

struct session {
    const struct options *options;
    const struct command *command;
    struct client *client;
    bool is_terminal; /* stdout is one */
    bool has_colour;  /* stdout, and NO_COLOR is not set */
};

enum { SESSION_COMMAND_BYTES = 320 };

/* How to call everwarmctl for the proxy of ANSWER: "everwarmctl -H a:11280". */
void session_command(const struct session *session, const struct answer *answer,
                     char out[SESSION_COMMAND_BYTES]);

/* A path of the API made of HEAD, NAME percent-encoded, and TAIL. */
void session_path(const char *head, const char *name, const char *tail, char *out,
                  size_t out_bytes);

/* GET PATH from all proxies and report what failed; -o json: print all. */
enum ctl_exit session_get(const struct session *session, const char *path, struct answers *out);

/*
 * Ask every proxy to change something, and report.
 *
 *   body  taken; NULL: none
 *   what  is said of each proxy that has done it
 */
enum ctl_exit session_change(const struct session *session, const char *method, const char *path,
                             json_t *body, const char *what);

/* Say on stdout that the proxy of ANSWER has done WHAT, or had before, and its task if any. */
void session_print_done(const struct answer *answer, const char *what);

/* Print answers as JSON: the one body, or an array of {"proxy","status","body"}. */
void session_print_json(const struct answers *answers);

/* Say on stderr what each answer that is not good says, with its fix as a command. */
void session_report(const struct session *session, const struct answers *answers);

/*
 * One array of what all good answers have at PATH (an array, or an object whose values are taken;
 * "" is the answer itself, as one row); with several proxies each row gets the member "proxy".
 * Returns an owned array.
 */
json_t *session_rows(const struct answers *answers, const char *path);

/* Colour: 'r'ed, 'y'ellow, 'g'reen, or 0 for none again; nothing without colour. */
const char *session_colour(const struct session *session, char colour);

/* "POST /v1/nodes/a/ready" in FIX becomes "everwarmctl ready a", and so on. */
void session_fix(const char *fix, char *out, size_t out_bytes);

/* Milliseconds that only grow. */
uint64_t session_now_ms(void);

#endif
