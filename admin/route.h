/* SPDX-License-Identifier: BSD-2-Clause */
/* The route table: the one list of what this API answers. */
#ifndef EVERWARM_ADMIN_ROUTE_H
#define EVERWARM_ADMIN_ROUTE_H

#include "reply.h"

#include "everwarm/base/slice.h"
#include "everwarm/shell/control_port.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct context;
struct request;
typedef void route_handler(const struct request *request, struct reply *reply);

enum {
    /* More than any route takes. */
    ROUTE_QUERIES_MAX = 4,
    /* A key, or a filter that names one figure of one node. */
    ROUTE_QUERY_BYTES_MAX = 256,
    ROUTE_COUNT = 34,
    /* Whose token it is, for the log. */
    ROUTE_WHO_BYTES_MAX = 32,
};

/* Who may; each may what those before it may. What ROLE_NONE may needs no token: a page without
 * figures, and answers to health checks. */
enum role { ROLE_NONE, ROLE_VIEWER, ROLE_OPERATOR, ROLE_ADMIN };
/* "operator" */
const char *route_role_word(enum role role);

struct route {
    const char *method;
    const char *path;    /* "{name}" or "{id}" stands for one segment: a node's name, a number */
    const char *queries; /* names that may stand after '?', with a space after each */
    const char *summary; /* for people */
    enum role role;
    const char *body;    /* schema of the body that may be sent; NULL: none may */
    unsigned int status; /* of success */
    const char *type;    /* of the answer; NULL: JSON */
    const char *answer;  /* schema of a JSON answer */
    route_handler *handler;
    enum control_command_type command; /* of the routes that post one */
};

struct route_query {
    char name[32];
    char value[ROUTE_QUERY_BYTES_MAX]; /* decoded; empty when only the name was given */
};

/* What a handler gets; all borrowed for the call. */
struct request {
    struct control_port *port;
    struct context *context;
    const struct route *route;
    const char *name; /* of the path, decoded; "" when the route has none */
    const char *who;  /* whose token it came with; "" without */
    size_t query_count;
    const struct route_query *queries;
    struct slice body;
    const char *last_event_id; /* of a watcher that comes back; NULL: not said */
    const char *if_none_match; /* what a browser has already; NULL: not said */
};

enum route_outcome { ROUTE_FOUND, ROUTE_NO_PATH, ROUTE_BAD_NAME, ROUTE_NO_METHOD };

struct route_match {
    const struct route *route;          /* FOUND */
    char name[NODE_NAME_BYTES_MAX + 1]; /* FOUND */
    char allow[32];                     /* NO_METHOD: "GET, HEAD" */
    char who[ROUTE_WHO_BYTES_MAX + 1];  /* filled by the gate: whose token it is */
};

/* Find the route of METHOD (HEAD is taken as GET) and PATH, which is still percent-encoded. */
enum route_outcome route_find(const char *method, const char *path, struct route_match *out);

/* The route with number INDEX, 0 .. ROUTE_COUNT-1, and back. */
const struct route *route_at(size_t index);
size_t route_index(const struct route *route);

/* Whether the route takes a query of this name. */
bool route_takes(const struct route *route, const char *query);

/* The value of a query, or NULL when it was not given. */
const char *route_query(const struct request *request, const char *name);

/* TEXT as a number, digits alone; false: it is none that fits. */
bool route_number(const char *text, uint64_t *out);

#endif
