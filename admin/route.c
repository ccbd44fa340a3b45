/* SPDX-License-Identifier: BSD-2-Clause */
/* The table, and finding a path in it. A dozen routes: looking at each is quick enough. */
#include "route.h"

#include "clients.h"
#include "command.h"
#include "config.h"
#include "events.h"
#include "health.h"
#include "hotkeys.h"
#include "keyroute.h"
#include "members.h"
#include "metrics.h"
#include "nodes.h"
#include "openapi.h"
#include "page.h"
#include "proxy.h"
#include "slowlog.h"
#include "stats.h"
#include "tasks.h"
#include "uri.h"
#include "verify.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <string.h>

static const struct route ROUTES[ROUTE_COUNT] = {
    {.method = "GET",
     .path = "/",
     .queries = "",
     .summary = "the page for people",
     .role = ROLE_NONE,
     .status = 200,
     .type = "text/html; charset=utf-8",
     .handler = page_show},
    {.method = "GET",
     .path = "/web/{file}",
     .queries = "",
     .summary = "what the page is made of",
     .role = ROLE_NONE,
     .status = 200,
     .type = "text/javascript; charset=utf-8",
     .handler = page_show_file},
    {.method = "GET",
     .path = "/stats",
     .queries = "filter format ",
     .summary = "every figure; ?filter=nodes.* ?format=text",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Stats",
     .handler = stats_show},
    {.method = "GET",
     .path = "/metrics",
     .queries = "",
     .summary = "the same for Prometheus",
     .role = ROLE_VIEWER,
     .status = 200,
     .type = "text/plain; version=0.0.4; charset=utf-8",
     .handler = metrics_show},
    {.method = "GET",
     .path = "/livez",
     .queries = "verbose ",
     .summary = "200 while the process moves; ?verbose",
     .role = ROLE_NONE,
     .status = 200,
     .type = "text/plain; charset=utf-8",
     .answer = "Checks",
     .handler = health_live},
    {.method = "GET",
     .path = "/readyz",
     .queries = "verbose ",
     .summary = "200 while it serves; ?verbose",
     .role = ROLE_NONE,
     .status = 200,
     .type = "text/plain; charset=utf-8",
     .answer = "Checks",
     .handler = health_ready},
    {.method = "GET",
     .path = "/version",
     .queries = "",
     .summary = "name and version",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Version",
     .handler = health_version},
    {.method = "GET",
     .path = "/openapi.json",
     .queries = "",
     .summary = "this list for programs, as OpenAPI 3.1 has it",
     .role = ROLE_NONE,
     .status = 200,
     .answer = "OpenApi",
     .handler = openapi_show},
    {.method = "GET",
     .path = "/v1/nodes",
     .queries = "",
     .summary = "all nodes",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Nodes",
     .handler = nodes_list},
    {.method = "POST",
     .path = "/v1/nodes",
     .queries = "force persist ",
     .summary = "add a node, or move it to another address; it is filled before it serves",
     .role = ROLE_ADMIN,
     .body = "NewNode",
     .status = 200,
     .answer = "Member",
     .handler = members_add,
     .command = CONTROL_COMMAND_ADD},
    {.method = "GET",
     .path = "/v1/nodes/{name}",
     .queries = "",
     .summary = "one node",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Node",
     .handler = nodes_show},
    {.method = "DELETE",
     .path = "/v1/nodes/{name}",
     .queries = "force persist ",
     .summary = "remove a node from the pool",
     .role = ROLE_ADMIN,
     .status = 200,
     .answer = "Member",
     .handler = members_remove,
     .command = CONTROL_COMMAND_REMOVE},
    {.method = "POST",
     .path = "/v1/nodes/{name}/drain",
     .queries = "force ",
     .summary = "no reads from it; it stays up to date",
     .role = ROLE_OPERATOR,
     .body = "Word",
     .status = 200,
     .answer = "Done",
     .handler = command_word,
     .command = CONTROL_COMMAND_DRAIN},
    {.method = "POST",
     .path = "/v1/nodes/{name}/maint",
     .queries = "force ",
     .summary = "nothing goes there; it is refilled when it leaves this",
     .role = ROLE_OPERATOR,
     .body = "Word",
     .status = 200,
     .answer = "Done",
     .handler = command_word,
     .command = CONTROL_COMMAND_MAINT},
    {.method = "POST",
     .path = "/v1/nodes/{name}/ready",
     .queries = "force ",
     .summary = "take it back; forced, a warming node is complete as it is",
     .role = ROLE_OPERATOR,
     .body = "Word",
     .status = 200,
     .answer = "Done",
     .handler = command_word,
     .command = CONTROL_COMMAND_READY},
    {.method = "POST",
     .path = "/v1/nodes/{name}/resync",
     .queries = "force ",
     .summary = "fill it again from the others",
     .role = ROLE_OPERATOR,
     .status = 202,
     .answer = "Task",
     .handler = command_resync,
     .command = CONTROL_COMMAND_RESYNC},
    {.method = "POST",
     .path = "/v1/nodes/{name}/check",
     .queries = "",
     .summary = "one check now",
     .role = ROLE_OPERATOR,
     .status = 202,
     .answer = "Task",
     .handler = command_check},
    {.method = "POST",
     .path = "/v1/nodes/{name}/verify",
     .queries = "repair ",
     .summary = "compare its copies with the others'; ?repair=true mends",
     .role = ROLE_OPERATOR,
     .status = 202,
     .answer = "Task",
     .handler = verify_begin},
    {.method = "POST",
     .path = "/v1/verify",
     .queries = "pool repair ",
     .summary = "compare all copies of a pool; ?repair=true mends",
     .role = ROLE_OPERATOR,
     .status = 202,
     .answer = "Task",
     .handler = verify_begin},
    {.method = "GET",
     .path = "/v1/verify",
     .queries = "pool ",
     .summary = "what the latest verifies found, with examples",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Verifies",
     .handler = verify_show},
    {.method = "GET",
     .path = "/v1/tasks",
     .queries = "",
     .summary = "what is under way, and what lately was",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Tasks",
     .handler = tasks_list},
    {.method = "GET",
     .path = "/v1/tasks/{id}",
     .queries = "",
     .summary = "one task and how far it is",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Task",
     .handler = tasks_show},
    {.method = "DELETE",
     .path = "/v1/tasks/{id}",
     .queries = "",
     .summary = "cancel it",
     .role = ROLE_OPERATOR,
     .status = 200,
     .answer = "Task",
     .handler = tasks_cancel},
    {.method = "GET",
     .path = "/v1/events",
     .queries = "since ",
     .summary = "what happens, as it happens; ?since=ID",
     .role = ROLE_VIEWER,
     .status = 200,
     .type = "text/event-stream",
     .handler = events_watch},
    {.method = "GET",
     .path = "/v1/route",
     .queries = "key pool ",
     .summary = "where a key goes: its leader, its replicas; ?key=",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Route",
     .handler = keyroute_show},
    {.method = "GET",
     .path = "/v1/clients",
     .queries = "limit ",
     .summary = "who is connected",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Clients",
     .handler = clients_list},
    {.method = "DELETE",
     .path = "/v1/clients/{id}",
     .queries = "",
     .summary = "close its connection",
     .role = ROLE_OPERATOR,
     .status = 200,
     .answer = "Killed",
     .handler = clients_kill},
    {.method = "GET",
     .path = "/v1/slowlog",
     .queries = "limit ",
     .summary = "slow requests, with their node and where the time went",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Slowlog",
     .handler = slowlog_show},
    {.method = "GET",
     .path = "/v1/hotkeys",
     .queries = "limit ",
     .summary = "what is asked for most, of a sample",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Hotkeys",
     .handler = hotkeys_show},
    {.method = "POST",
     .path = "/v1/drain",
     .queries = "",
     .summary = "this proxy is not ready, so that balancers leave it; it serves on",
     .role = ROLE_OPERATOR,
     .status = 200,
     .answer = "State",
     .handler = proxy_command},
    {.method = "POST",
     .path = "/v1/undrain",
     .queries = "",
     .summary = "it is ready again",
     .role = ROLE_OPERATOR,
     .status = 200,
     .answer = "State",
     .handler = proxy_command},
    {.method = "GET",
     .path = "/v1/config",
     .queries = "",
     .summary = "what is in effect, and where each value comes from",
     .role = ROLE_VIEWER,
     .status = 200,
     .answer = "Config",
     .handler = config_show},
    {.method = "PATCH",
     .path = "/v1/config",
     .queries = "",
     .summary = "change it while it runs, until the next reload: a merge patch",
     .role = ROLE_ADMIN,
     .body = "ConfigPatch",
     .status = 200,
     .answer = "Reload",
     .handler = config_patch},
    {.method = "POST",
     .path = "/v1/config/reload",
     .queries = "",
     .summary = "read the file and the tokens again",
     .role = ROLE_ADMIN,
     .status = 200,
     .answer = "Reload",
     .handler = config_reload},
};

const char *route_role_word(enum role role)
{
    switch (role) {
    case ROLE_NONE:
        return "none";
    case ROLE_VIEWER:
        return "viewer";
    case ROLE_OPERATOR:
        return "operator";
    case ROLE_ADMIN:
        return "admin";
    }
    UNREACHABLE();
}

const struct route *route_at(size_t index)
{
    REQUIRE(index < ROUTE_COUNT);
    return &ROUTES[index];
}

size_t route_index(const struct route *route)
{
    return (size_t)(route - ROUTES);
}

enum path_outcome { PATH_OTHER, PATH_BAD_NAME, PATH_SAME };

/* Compare segment by segment, so that an encoded slash stays inside of its name. */
static enum path_outcome match_path(const char *pattern, const char *path, char *name)
{
    const char *hole = strchr(pattern, '{');
    if (hole == NULL) {
        return strcmp(pattern, path) == 0 ? PATH_SAME : PATH_OTHER;
    }
    const size_t head = (size_t)(hole - pattern);
    const char *tail = strchr(hole, '}') + 1;
    if (strncmp(pattern, path, head) != 0) {
        return PATH_OTHER;
    }
    const size_t len = strcspn(path + head, "/");
    if (len == 0 || strcmp(tail, path + head + len) != 0) {
        return PATH_OTHER;
    }
    const bool is_good =
        uri_decode(slice_of(path + head, len), URI_GRAPHIC, name, NODE_NAME_BYTES_MAX + 1);
    return is_good ? PATH_SAME : PATH_BAD_NAME;
}

enum route_outcome route_find(const char *method, const char *path, struct route_match *out)
{
    const char *wanted = strcmp(method, "HEAD") == 0 ? "GET" : method;
    bool is_bad_name = false;
    *out = (struct route_match){.route = NULL};
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = &ROUTES[i];
        const enum path_outcome outcome = match_path(route->path, path, out->name);
        is_bad_name = is_bad_name || outcome == PATH_BAD_NAME;
        if (outcome != PATH_SAME) {
            continue;
        }
        if (strcmp(route->method, wanted) == 0) {
            out->route = route;
            return ROUTE_FOUND;
        }
        const size_t used = strlen(out->allow);
        (void)snprintf(out->allow + used, sizeof(out->allow) - used, "%s%s", used > 0 ? ", " : "",
                       strcmp(route->method, "GET") == 0 ? "GET, HEAD" : route->method);
    }
    if (is_bad_name) {
        return ROUTE_BAD_NAME;
    }
    return out->allow[0] == '\0' ? ROUTE_NO_PATH : ROUTE_NO_METHOD;
}

bool route_takes(const struct route *route, const char *query)
{
    const size_t len = strlen(query);
    const char *word = route->queries;
    while (len > 0 && *word != '\0') {
        const size_t word_len = strcspn(word, " ");
        if (word_len == len && memcmp(word, query, len) == 0) {
            return true;
        }
        word += word_len + 1;
    }
    return false;
}

const char *route_query(const struct request *request, const char *name)
{
    for (size_t i = 0; i < request->query_count; i++) {
        if (strcmp(request->queries[i].name, name) == 0) {
            return request->queries[i].value;
        }
    }
    return NULL;
}

bool route_number(const char *text, uint64_t *out)
{
    uint64_t number = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9' && number < UINT64_MAX / 16; c++) {
        number = number * 10 + (uint64_t)(*c - '0');
    }
    *out = number;
    return c != text && *c == '\0';
}
