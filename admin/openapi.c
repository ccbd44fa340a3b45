/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The document is made from the route table when it is asked for; only the schemas of bodies are
 * written by hand, in admin/openapi/schemas.json, which the assembler puts into the program as it
 * is. tests/e2e/test_admin.py compares the answers of a running proxy with it.
 */
#include "openapi.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/version.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

__asm__(".pushsection .rodata\n"
        ".globl openapi_schemas\n"
        "openapi_schemas:\n"
        ".incbin \"admin/openapi/schemas.json\"\n"
        ".byte 0\n"
        ".popsection\n");
extern const char openapi_schemas[];

static const struct query {
    const char *name;
    const char *type;
    const char *description;
} QUERIES[] = {
    {"filter", "string", "a path of figures, * for any part of it: nodes.*"},
    {"format", "string", "text, or json, which is the default"},
    {"verbose", "string", "each check with its result; needs no value"},
    {"repair", "boolean", "also mend what differs"},
    {"force", "boolean", "also if no readable copy is left then; of an address: whatever is there"},
    {"persist", "boolean", "also write it into this proxy's configuration file"},
    {"since", "integer", "id of the last event seen; 0: all that are remembered; as Last-Event-ID"},
    {"key", "string", "percent-encoded"},
    {"pool", "string", "the first one if left out"},
    {"limit", "integer", "so many at most"},
};

static const struct query *find_query(const char *name)
{
    for (size_t i = 0; i < sizeof(QUERIES) / sizeof(QUERIES[0]); i++) {
        if (strcmp(QUERIES[i].name, name) == 0) {
            return &QUERIES[i];
        }
    }
    return NULL;
}

bool openapi_knows_query(const char *name)
{
    return find_query(name) != NULL;
}

static json_t *schema_ref(const char *name)
{
    return json_pack("{s:s+}", "$ref", "#/components/schemas/", name);
}

static json_t *content_json(const char *type, json_t *schema)
{
    return json_pack("{s:{s:o}}", type, "schema", schema);
}

/* --- parameters --- */

static void add_path_parameter(json_t *parameters, const char *path)
{
    const char *hole = strchr(path, '{');
    if (hole == NULL) {
        return;
    }
    static const struct {
        const char *hole;
        const char *name;
        const char *description;
        const char *type;
    } KINDS[] = {
        {"{id}", "id", "its number", "integer"},
        {"{file}", "file", "a file of the page", "string"},
        {"{name}", "name", "a node's name, percent-encoded", "string"},
    };
    size_t kind = 0;
    while (strncmp(hole, KINDS[kind].hole, strlen(KINDS[kind].hole)) != 0) {
        kind++;
        INVARIANT(kind < sizeof(KINDS) / sizeof(KINDS[0]));
    }
    (void)json_array_append_new(parameters, json_pack("{s:s, s:s, s:b, s:s, s:{s:s}}", "name",
                                                      KINDS[kind].name, "in", "path", "required", 1,
                                                      "description", KINDS[kind].description,
                                                      "schema", "type", KINDS[kind].type));
}

static void add_queries(json_t *parameters, const char *queries)
{
    for (const char *word = queries; *word != '\0';) {
        char name[32];
        const size_t len = strcspn(word, " ");
        (void)snprintf(name, sizeof(name), "%.*s", (int)len, word);
        const struct query *query = find_query(name);
        INVARIANT(query != NULL);
        (void)json_array_append_new(
            parameters,
            json_pack("{s:s, s:s, s:b, s:b, s:s, s:{s:s}}", "name", query->name, "in", "query",
                      "required", 0, "allowEmptyValue", strcmp(name, "verbose") == 0, "description",
                      query->description, "schema", "type", query->type));
        word += len + 1;
    }
}

/* --- answers --- */

static json_t *answer_json(const struct route *route)
{
    json_t *content = json_object();
    if (route->type != NULL) {
        const char *end = strchr(route->type, ';');
        char type[64];
        (void)snprintf(type, sizeof(type), "%.*s",
                       (int)(end == NULL ? strlen(route->type) : (size_t)(end - route->type)),
                       route->type);
        json_t *text = content_json(type, json_pack("{s:s}", "type", "string"));
        if (strcmp(type, "text/event-stream") == 0) {
            (void)json_object_set_new(json_object_get(text, type), "itemSchema",
                                      schema_ref("Event"));
        }
        (void)json_object_update(content, text);
        json_decref(text);
    }
    if (route->answer != NULL) {
        json_t *json = content_json("application/json", schema_ref(route->answer));
        (void)json_object_update(content, json);
        json_decref(json);
    }
    return json_pack("{s:s, s:o}", "description", route->summary, "content", content);
}

static json_t *responses_json(const struct route *route)
{
    char status[8];
    (void)snprintf(status, sizeof(status), "%u", route->status);
    json_t *responses = json_object();
    (void)json_object_set_new(responses, status, answer_json(route));
    (void)json_object_set_new(
        responses, "default",
        json_pack("{s:s, s:o}", "description", "what went wrong, and what to do", "content",
                  content_json("application/problem+json", schema_ref("Problem"))));
    return responses;
}

/* "post_v1_nodes_name_drain" */
static void name_operation(const struct route *route, char *out, size_t bytes)
{
    size_t used = 0;
    for (const char *c = route->method; *c != '\0' && used + 1 < bytes; c++) {
        out[used++] = (char)tolower((unsigned char)*c);
    }
    for (const char *c = route->path; *c != '\0' && used + 1 < bytes; c++) {
        if (isalnum((unsigned char)*c)) {
            out[used++] = *c;
        } else if (used > 0 && out[used - 1] != '_' && c[1] != '\0') {
            out[used++] = '_';
        }
    }
    out[used] = '\0';
}

static json_t *operation_json(const struct route *route)
{
    char name[96];
    name_operation(route, name, sizeof(name));
    json_t *parameters = json_array();
    add_path_parameter(parameters, route->path);
    add_queries(parameters, route->queries);
    json_t *operation = json_pack("{s:s, s:s, s:s, s:o, s:o}", "operationId", name, "summary",
                                  route->summary, "x-role", route_role_word(route->role),
                                  "parameters", parameters, "responses", responses_json(route));
    if (route->body != NULL) {
        (void)json_object_set_new(
            operation, "requestBody",
            json_pack("{s:b, s:o}", "required", 0, "content",
                      content_json("application/json", schema_ref(route->body))));
    }
    if (route->role == ROLE_NONE) {
        (void)json_object_set_new(operation, "security", json_array());
    }
    return operation;
}

static json_t *paths_json(void)
{
    json_t *paths = json_object();
    for (size_t i = 0; i < ROUTE_COUNT; i++) {
        const struct route *route = route_at(i);
        json_t *path = json_object_get(paths, route->path);
        if (path == NULL) {
            path = json_object();
            (void)json_object_set_new(paths, route->path, path);
        }
        char method[8] = "";
        for (size_t c = 0; route->method[c] != '\0' && c + 1 < sizeof(method); c++) {
            method[c] = (char)tolower((unsigned char)route->method[c]);
        }
        (void)json_object_set_new(path, method, operation_json(route));
    }
    return paths;
}

json_t *openapi_json(void)
{
    json_t *schemas = json_loads(openapi_schemas, JSON_REJECT_DUPLICATES, NULL);
    return json_pack(
        "{s:s, s:{s:s, s:s, s:s}, s:o, s:{s:o, s:{s:{s:s, s:s}}}, s:[{s:[]}]}", "openapi", "3.1.0",
        "info", "title", "everwarm", "version", EVERWARM_VERSION, "description",
        "Repeating a command is harmless. Tokens are asked for where admin.tokens is set; x-role "
        "is the least role that may.",
        "paths", paths_json(), "components", "schemas", schemas, "securitySchemes", "bearer",
        "type", "http", "scheme", "bearer", "security", "bearer");
}

void openapi_show(const struct request *request, struct reply *reply)
{
    (void)request;
    reply_json(reply, 200, openapi_json());
}
