/* SPDX-License-Identifier: BSD-2-Clause */
/* Asking proxies over HTTP, one or many, through libcurl. */
#ifndef EVERWARM_SRC_CTL_CLIENT_H
#define EVERWARM_SRC_CTL_CLIENT_H

#include "options.h"

#include <jansson.h>

struct client;

/* What came of one request to one proxy. */
struct answer {
    const char *proxy; /* borrowed from the client: "host:port", or the socket's path */
    long status;       /* of HTTP; 0: no answer */
    json_t *body;      /* owned; NULL: none, or none that is JSON */
    char error[256];   /* why there is no answer, or no good one; "" otherwise */
};

struct answers {
    size_t count;
    struct answer items[OPTIONS_TARGETS_MAX];
};

/* Make a client for the proxies and the token of OPTIONS; NULL: said on stderr why not. */
struct client *client_create(const struct options *options);
void client_destroy(struct client **client);

/*
 * Ask every proxy the same and wait for the answers. A GET goes to all at once; what changes
 * something goes to one after another, so that proxies of one pool don't propose against each
 * other.
 *
 *   path  with its query, percent-encoded
 *   body  borrowed; NULL: none
 *   out   answers_fini() is due
 */
void client_ask(struct client *client, const char *method, const char *path, const json_t *body,
                struct answers *out);

/* Free what client_ask() filled in. */
void answers_fini(struct answers *answers);

/* Whether the proxy did what it was asked for. */
bool answer_is_good(const struct answer *answer);

/* The exit code of one answer, and of all. */
enum ctl_exit answer_exit(const struct answer *answer);
enum ctl_exit answers_exit(const struct answers *answers);

/* Two codes of several proxies, or of steps of one command, in one. */
enum ctl_exit exit_merge(enum ctl_exit a, enum ctl_exit b);

/* Called with bytes as they come; false: end all streams. */
typedef bool client_take(void *closure, size_t proxy, const char *bytes, size_t len);

/*
 * GET what does not end from every proxy, until TAKE says so or all streams have ended.
 *
 *   out  as of client_ask(); a stream that began and broke has its status and an error
 */
void client_stream(struct client *client, const char *path, client_take *take, void *closure,
                   struct answers *out);

/* Append TEXT to OUT, percent-encoded; false: no room, OUT is cut. */
bool client_encode(const char *text, char *out, size_t out_bytes);

#endif
