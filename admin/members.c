/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Who belongs to a pool. A word here is one to all proxies of the pool: it is carried out when the
 * view that says so is in effect. It is written into this proxy's file only if that is asked for;
 * what was not written lasts as long as the view does.
 */
#include "members.h"

#include "body.h"
#include "command.h"
#include "context.h"
#include "facts.h"
#include "nodes.h"
#include "uri.h"

#include "everwarm/shell/log.h"

#include <stdio.h>
#include <string.h>

enum {
    PORT_DEFAULT = 11211,
    /* A name whose every byte is encoded. */
    ENCODED_NAME_BYTES_MAX = 3 * NODE_NAME_BYTES_MAX + 1,
};

/* What was asked for. */
struct member {
    struct control_port_request asked;
    struct address address; /* as it was written */
    char text[ADDRESS_TEXT_BYTES_MAX];
    char zone[CONFIG_ZONE_BYTES_MAX + 1];
    char pool[POOL_NAME_BYTES_MAX + 1];
    bool is_to_be_written;
};

static bool read_persist(const struct request *request, bool *out, struct reply *reply)
{
    const char *persist = route_query(request, "persist");
    *out = persist != NULL && strcmp(persist, "false") != 0;
    if (persist == NULL || strcmp(persist, "true") == 0 || strcmp(persist, "false") == 0) {
        return true;
    }
    reply_problem(reply, PROBLEM_BAD_REQUEST, "\"persist\" is true or false.",
                  "write ?persist=true");
    return false;
}

/* As in a configuration: what stands in lists, URLs and labels without quotes. */
static bool is_plain(const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        if (*c <= ' ' || *c >= 0x7f || strchr("\"\\,", *c) != NULL) {
            return false;
        }
    }
    return strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

/* A member of the body that is text; false: REPLY says that it is none, or too long. */
static bool read_text(const json_t *body, const char *name, char *out, size_t bytes,
                      struct reply *reply)
{
    const json_t *member = json_object_get(body, name);
    const char *text = json_string_value(member);
    out[0] = '\0';
    if (member == NULL || json_is_null(member)) {
        return true;
    }
    if (text == NULL || strlen(text) >= bytes || !is_plain(text)) {
        reply_problem_about(reply, PROBLEM_BAD_MEMBER, "GET /openapi.json tells what it may be",
                            "\"%s\" is text of at most %zu bytes, graphic ASCII without commas, "
                            "quotes and backslashes.",
                            name, bytes - 1);
        return false;
    }
    (void)snprintf(out, bytes, "%s", text);
    return true;
}

static bool read_address(const json_t *body, struct member *out, struct reply *reply)
{
    char text[ADDRESS_TEXT_BYTES_MAX];
    char wrong[512];
    if (!read_text(body, "address", text, sizeof(text), reply)) {
        return false;
    }
    const char *why =
        text[0] == '\0' ? "it is missing" : address_parse(text, PORT_DEFAULT, &out->address);
    if (why == NULL && out->address.kind == ADDRESS_TCP && out->address.port == 0) {
        why = "a node's port can't be 0";
    }
    if (why == NULL && control_port_resolve(&out->address, out->asked.address, wrong,
                                            sizeof(wrong)) != STATUS_OK) {
        why = wrong;
    }
    if (why != NULL) {
        reply_problem_about(reply, PROBLEM_BAD_MEMBER,
                            "write \"address\": \"10.0.0.3:11211\", or \"unix:/path\"",
                            "\"address\": %s.", why);
        return false;
    }
    address_format(&out->address, out->text);
    return true;
}

static bool read_weight(const json_t *body, struct reply *reply)
{
    const json_t *weight = json_object_get(body, "weight");
    if (weight == NULL || json_is_null(weight) || json_integer_value(weight) == 1) {
        return true;
    }
    reply_problem(reply, PROBLEM_BAD_MEMBER, "In this release all nodes weigh 1.",
                  "leave \"weight\" out");
    return false;
}

static bool read_body(const struct request *request, struct member *out, struct reply *reply)
{
    static const char *const MEMBERS[] = {"name", "address", "weight", "zone", "pool", NULL};
    json_t *body = NULL;
    if (!body_read(request, MEMBERS, &body, reply)) {
        return false;
    }
    bool is_good = read_text(body, "name", out->asked.name, sizeof(out->asked.name), reply) &&
                   read_text(body, "zone", out->zone, sizeof(out->zone), reply) &&
                   read_text(body, "pool", out->pool, sizeof(out->pool), reply) &&
                   read_weight(body, reply);
    if (is_good && out->asked.name[0] == '\0') {
        reply_problem(reply, PROBLEM_BAD_MEMBER, "\"name\" is missing.",
                      "write \"name\": \"c\"; it stays, whatever the address becomes");
        is_good = false;
    }
    is_good = is_good && read_address(body, out, reply);
    json_decref(body);
    return is_good;
}

/* The pool that is named, or the first. */
static bool find_pool(const struct proxy_snapshot *snapshot, struct member *member,
                      struct reply *reply)
{
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        if (member->pool[0] == '\0' || strcmp(snapshot->pools[p].name, member->pool) == 0) {
            member->asked.pool = snapshot->pools[p].id;
            (void)snprintf(member->pool, sizeof(member->pool), "%s", snapshot->pools[p].name);
            return true;
        }
    }
    reply_problem_about(reply, PROBLEM_NO_POOL, "GET /stats shows the pools",
                        "There is no pool \"%s\".", member->pool);
    return false;
}

/* Names and addresses are unique over all pools; within its own the view decides. There a node of
 * that name is noted: it would move. */
static bool is_free(const struct proxy_snapshot *snapshot, struct member *member,
                    struct reply *reply)
{
    for (uint32_t p = 0; p < snapshot->pool_count; p++) {
        const struct proxy_pool *pool = &snapshot->pools[p];
        for (uint32_t i = 0; i < pool->node_count; i++) {
            if (pool->id == member->asked.pool) {
                const bool moves = strcmp(pool->nodes[i].name, member->asked.name) == 0;
                member->asked.node = moves ? i : member->asked.node;
            } else if (facts_is_member(pool, i) &&
                       (strcmp(pool->nodes[i].name, member->asked.name) == 0 ||
                        strcmp(pool->control.nodes[i].address, member->asked.address) == 0)) {
                reply_problem_about(reply, PROBLEM_NODE_EXISTS,
                                    "GET /v1/nodes shows names and addresses",
                                    "Pool %s has node %s at %s.", pool->name, pool->nodes[i].name,
                                    pool->nodes[i].address);
                return false;
            }
        }
    }
    return true;
}

static bool look(const struct request *request, struct member *member, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return false;
    }
    const bool is_good = find_pool(snapshot, member, reply) && is_free(snapshot, member, reply);
    proxy_snapshot_destroy(&snapshot);
    return is_good;
}

/* Into the file, if that is asked for. What could not be written is said: the word holds. */
static const char *write_down(const struct request *request, const struct member *member,
                              const char *name, struct config_error *error)
{
    if (!member->is_to_be_written) {
        return NULL;
    }
    const bool is_add = request->route->command == CONTROL_COMMAND_ADD;
    const struct edit_node edit = {.pool = member->pool,
                                   .name = name,
                                   .address = is_add ? member->text : NULL,
                                   .zone = member->zone};
    switch (control_port_write_node(request->port, &edit, error)) {
    case STATUS_OK:
        return NULL;
    case STATUS_NOT_FOUND:
        return "there is no file: it was started with flags alone";
    case STATUS_NO_MEMORY:
    case STATUS_SYSTEM:
    case STATUS_BAD_CONFIG:
    case STATUS_BAD_ARGUMENT:
    case STATUS_FULL:
        break;
    }
    return error->message;
}

static void finish(const struct request *request, const struct member *member, const char *name,
                   enum control_result result, struct reply *reply)
{
    struct config_error error = {.message = ""};
    const char *why = write_down(request, member, name, &error);
    const bool is_written = member->is_to_be_written && why == NULL;
    const bool is_add = request->route->command == CONTROL_COMMAND_ADD;
    char encoded[ENCODED_NAME_BYTES_MAX];
    char see[ENCODED_NAME_BYTES_MAX + sizeof("/v1/nodes/")];
    uri_encode(name, encoded, sizeof(encoded));
    (void)snprintf(see, sizeof(see), is_add ? "/v1/nodes/%s" : "/v1/nodes", encoded);
    log_line(LOG_LEVEL_NOTICE, "command", LOG_TEXT("node", name),
             LOG_TEXT("word", is_add ? "add" : "remove"), LOG_TEXT("address", member->text),
             LOG_TEXT("who", request->who),
             LOG_TEXT("file", is_written ? "written" : "not written: it lasts as the view does"));
    reply_json(reply, 200,
               json_pack("{s:s, s:s, s:b, s:b, s:o, s:s}", "name", name, "command",
                         is_add ? "add" : "remove", "changed", result == CONTROL_RESULT_OK,
                         "persisted", is_written, "persist_error",
                         why == NULL ? json_null() : json_string(why), "see", see));
}

void members_add(const struct request *request, struct reply *reply)
{
    struct member member = {.pool = ""};
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    if (command_read_force(request, reply, &member.asked.is_forced) &&
        read_persist(request, &member.is_to_be_written, reply) &&
        read_body(request, &member, reply) && look(request, &member, reply) &&
        command_ask(request, &member.asked, &result, reply)) {
        finish(request, &member, member.asked.name, result, reply);
    }
}

void members_remove(const struct request *request, struct reply *reply)
{
    struct member member = {.pool = ""};
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    if (!command_read_force(request, reply, &member.asked.is_forced) ||
        !read_persist(request, &member.is_to_be_written, reply) ||
        !nodes_find(request, reply, &member.asked.pool, &member.asked.node)) {
        return;
    }
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    const struct proxy_pool *pool = proxy_snapshot_pool(snapshot, member.asked.pool);
    (void)snprintf(member.pool, sizeof(member.pool), "%s", pool == NULL ? "" : pool->name);
    proxy_snapshot_destroy(&snapshot);
    if (command_ask(request, &member.asked, &result, reply)) {
        const struct word none = {.admin = NODE_ADMIN_READY};
        struct word forgotten = none;
        (void)snprintf(forgotten.node, sizeof(forgotten.node), "%s", request->name);
        words_set(&request->context->words, &forgotten);
        finish(request, &member, request->name, result, reply);
    }
}
