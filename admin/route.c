/* SPDX-License-Identifier: BSD-2-Clause */
/* The table, and finding a path in it. A dozen routes: looking at each is quick enough. */
#include "route.h"

#include "health.h"
#include "index.h"
#include "metrics.h"
#include "nodes.h"
#include "stats.h"
#include "uri.h"

#include "everwarm/base/invariant.h"

#include <stdio.h>
#include <string.h>

static const struct route ROUTES[ROUTE_COUNT] = {
    {.method = "GET", .path = "/", .queries = "", .summary = "this list", .handler = index_show},
    {.method = "GET",
     .path = "/stats",
     .queries = "filter format ",
     .summary = "every figure; ?filter=nodes.* ?format=text",
     .handler = stats_show},
    {.method = "GET",
     .path = "/metrics",
     .queries = "",
     .summary = "the same for Prometheus",
     .handler = metrics_show},
    {.method = "GET",
     .path = "/livez",
     .queries = "verbose ",
     .summary = "200 while the process moves; ?verbose",
     .handler = health_live},
    {.method = "GET",
     .path = "/readyz",
     .queries = "verbose ",
     .summary = "200 while it serves; ?verbose",
     .handler = health_ready},
    {.method = "GET",
     .path = "/version",
     .queries = "",
     .summary = "name and version",
     .handler = health_version},
    {.method = "GET",
     .path = "/v1/nodes",
     .queries = "",
     .summary = "all nodes",
     .handler = nodes_list},
    {.method = "GET",
     .path = "/v1/nodes/{name}",
     .queries = "",
     .summary = "one node",
     .handler = nodes_show},
    {.method = "POST",
     .path = "/v1/nodes/{name}/drain",
     .queries = "force ",
     .summary = "no reads from it; it stays up to date",
     .handler = nodes_command,
     .command = CONTROL_COMMAND_DRAIN},
    {.method = "POST",
     .path = "/v1/nodes/{name}/maint",
     .queries = "force ",
     .summary = "nothing goes there; it is refilled when it leaves this",
     .handler = nodes_command,
     .command = CONTROL_COMMAND_MAINT},
    {.method = "POST",
     .path = "/v1/nodes/{name}/ready",
     .queries = "force ",
     .summary = "take it back",
     .handler = nodes_command,
     .command = CONTROL_COMMAND_READY},
    {.method = "POST",
     .path = "/v1/nodes/{name}/resync",
     .queries = "force ",
     .summary = "throw its data away and fill it again",
     .handler = nodes_command,
     .command = CONTROL_COMMAND_RESYNC},
};

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
    static const char NAME[] = "{name}";
    const char *hole = strstr(pattern, NAME);
    if (hole == NULL) {
        return strcmp(pattern, path) == 0 ? PATH_SAME : PATH_OTHER;
    }
    const size_t head = (size_t)(hole - pattern);
    if (strncmp(pattern, path, head) != 0) {
        return PATH_OTHER;
    }
    const size_t len = strcspn(path + head, "/");
    if (len == 0 || strcmp(hole + sizeof(NAME) - 1, path + head + len) != 0) {
        return PATH_OTHER;
    }
    const bool is_good = uri_decode(slice_of(path + head, len), name, NODE_NAME_BYTES_MAX + 1);
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
