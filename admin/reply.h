/* SPDX-License-Identifier: BSD-2-Clause */
/* An answer in the making, and the errors of the API: problem details as RFC 9457 has them. */
#ifndef EVERWARM_ADMIN_REPLY_H
#define EVERWARM_ADMIN_REPLY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* X(name, slug of the type, HTTP status, title): titles never change, the detail says the case. */
#define PROBLEM_TABLE(X)                                                                           \
    X(BAD_REQUEST, "bad-request", 400, "The request is malformed")                                 \
    X(FRAMING, "ambiguous-framing", 400, "Where this request ends is ambiguous")                   \
    X(BAD_JSON, "bad-json", 400, "The body is not a JSON object")                                  \
    X(UNAUTHORIZED, "unauthorized", 401, "This needs a token")                                     \
    X(ROLE, "role", 403, "This token may not do this")                                             \
    X(CROSS_SITE, "cross-site", 403, "The request comes from another site's page")                 \
    X(NO_ROUTE, "not-found", 404, "There is nothing at this path")                                 \
    X(NO_NODE, "no-such-node", 404, "No node has this name")                                       \
    X(NO_CLIENT, "no-such-client", 404, "No client has this number")                               \
    X(NO_POOL, "no-such-pool", 404, "No pool has this name")                                       \
    X(NO_TASK, "no-such-task", 404, "No task has this number")                                     \
    X(METHOD, "method-not-allowed", 405, "This path does not take this method")                    \
    X(LAST_COPY, "last-copy", 409, "This would leave no readable copy")                            \
    X(NODE_EXISTS, "node-exists", 409, "Another node has this name or address")                    \
    X(NODE_SILENT, "node-silent", 409, "The node does not answer")                                 \
    X(OTHER_POOL, "other-pool", 409, "The node serves another pool")                               \
    X(POOL_SIZE, "pool-size", 409, "The pool can't have so many or so few nodes")                  \
    X(VERIFYING, "verify-under-way", 409, "Another verify is under way")                           \
    X(NOT_CANCELLABLE, "not-cancellable", 409, "This task can't be cancelled")                     \
    X(LENGTH, "length-required", 411, "A body needs a Content-Length")                             \
    X(TOO_LARGE, "body-too-large", 413, "The body is too large")                                   \
    X(MEDIA_TYPE, "media-type", 415, "The body is not declared as JSON")                           \
    X(HOST, "foreign-host", 421, "This is not the host you asked for")                             \
    X(BAD_CONFIG, "bad-config", 422, "This configuration can't be taken")                          \
    X(BAD_MEMBER, "bad-member", 422, "The body says something that can't be")                      \
    X(NO_MEMORY, "out-of-memory", 503, "Out of memory")                                            \
    X(BUSY, "busy", 503, "Too many commands wait for their answer")                                \
    X(WATCHERS, "too-many-watchers", 503, "Too many watch the events already")                     \
    X(STARTING, "starting", 503, "The proxy is still starting")                                    \
    X(NOT_READY, "not-ready", 503, "The proxy does not serve")                                     \
    X(STUCK, "stuck", 503, "The proxy does not move")                                              \
    X(TIMEOUT, "timeout", 504, "The command is not in effect yet")

enum problem {
#define X(name, slug, status, title) PROBLEM_##name,
    PROBLEM_TABLE(X)
#undef X
        PROBLEM_COUNT
};

/*
 * A body without an end: write what is new to OUT, waiting for it if need be.
 *
 * Returns  number of bytes, 1..CAPACITY; REPLY_SOURCE_END: the body ends here.
 */
typedef ssize_t reply_source(void *closure, uint64_t position, char *out, size_t capacity);
enum { REPLY_SOURCE_END = -1 };

struct reply {
    unsigned int status; /* 0: not decided yet */
    const char *type;    /* static; Content-Type */
    char *body;          /* malloc'd and owned; NULL: empty */
    size_t body_bytes;
    reply_source *source;         /* in place of a body; NULL: none */
    void *closure;                /* source's */
    void (*close)(void *closure); /* called once, when nothing more is asked of source */
    char allow[32];               /* 405: the methods; otherwise empty */
    char location[32];            /* 202: where to look; otherwise empty */
    const char *etag;             /* static; may be kept and asked about again; NULL: never kept */
    const char *policy;           /* static; what a browser may do with it; NULL: nothing */
    bool must_close;              /* nothing after this on the connection is to be believed */
};

/* Answer with JSON, taken; NULL (out of memory while it was built) becomes that problem. */
void reply_json(struct reply *reply, unsigned int status, json_t *json);

/* Answer 200 with BODY, malloc'd and taken; NULL: out of memory. TYPE is static. */
void reply_text(struct reply *reply, const char *type, char *body, size_t body_bytes);

/* Answer 200 with what SOURCE gives; CLOSE frees CLOSURE, which is taken. TYPE is static. */
void reply_stream(struct reply *reply, const char *type, reply_source *source, void *closure,
                  void (*close)(void *closure));

/* Answer with a problem; DETAIL is the case at hand, FIX what to type next. Both are borrowed. */
void reply_problem(struct reply *reply, enum problem problem, const char *detail, const char *fix);

/* As reply_problem, with DETAIL formatted. */
void reply_problem_about(struct reply *reply, enum problem problem, const char *fix,
                         const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Free what REPLY holds. */
void reply_fini(struct reply *reply);

#endif
