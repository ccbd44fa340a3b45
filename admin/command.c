/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Words to nodes, and work on them. A word (drain, maint, ready) is carried out when the answer
 * comes; a resync has only begun then, a check not even that: both are answered with a task.
 */
#include "command.h"

#include "body.h"
#include "context.h"
#include "facts.h"
#include "nodes.h"
#include "tasks.h"
#include "uri.h"

#include "everwarm/base/invariant.h"
#include "everwarm/config/value.h"
#include "everwarm/shell/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum {
    /* Beyond what control itself waits for: its mailbox, its turn, and ours. */
    COMMAND_GRACE_MS = 1000,
    COMMAND_TIMEOUT_MS_MAX = 60000,
    /* A name whose every byte is encoded. */
    ENCODED_NAME_BYTES_MAX = 3 * NODE_NAME_BYTES_MAX + 1,
};

/* Ends are looked for once a second; a node that is to be away for longer than a month is to be
 * removed. */
#define FOR_US_MIN UINT64_C(1000000)
#define FOR_US_MAX (UINT64_C(31) * 24 * UINT64_C(3600000000))

bool command_read_force(const struct request *request, struct reply *reply, bool *out)
{
    const char *force = route_query(request, "force");
    *out = force != NULL && strcmp(force, "false") != 0;
    if (force == NULL || strcmp(force, "true") == 0 || strcmp(force, "false") == 0) {
        return true;
    }
    reply_problem(reply, PROBLEM_BAD_REQUEST, "\"force\" is true or false.", "write ?force=true");
    return false;
}

static const char *gerund(enum control_command_type command)
{
    switch (command) {
    case CONTROL_COMMAND_READY:
        return "Taking back";
    case CONTROL_COMMAND_DRAIN:
        return "Draining";
    case CONTROL_COMMAND_MAINT:
        return "Shutting out";
    case CONTROL_COMMAND_RESYNC:
        return "Emptying";
    case CONTROL_COMMAND_ADD: /* of a name that is there */
        return "Moving";
    case CONTROL_COMMAND_REMOVE:
        return "Removing";
    case CONTROL_COMMAND_VERIFY:
    case CONTROL_COMMAND_VERIFY_STOP:
        break; /* never refused for want of a copy */
    }
    UNREACHABLE();
}

/* How a second copy could come about, the quickest last. */
enum way { WAY_NONE, WAY_START, WAY_READY, WAY_WARM, WAY_WAIT };

static enum way way_of(const struct control_node_snapshot *node)
{
    if (node->oper == NODE_OPER_DOWN) {
        return WAY_START;
    }
    if (node->data == NODE_DATA_WARMING) {
        return WAY_WARM;
    }
    if (node->data == NODE_DATA_FILLING) {
        return WAY_WAIT;
    }
    if (node->admin != NODE_ADMIN_READY) {
        return WAY_READY;
    }
    return node->data == NODE_DATA_OUT ? WAY_WAIT : WAY_NONE;
}

/* Where to watch the fill of a node. */
static void point_at_fill(const struct request *request, const struct control_port_request *asked,
                          uint32_t node, char *out, size_t bytes)
{
    struct task like = {.kind = TASK_FILL, .pool = asked->pool, .node = node};
    if (tasks_find_fill(request->port, &like)) {
        (void)snprintf(out, bytes, "/v1/tasks/%" PRIu64, like.id);
    } else {
        (void)snprintf(out, bytes, "the fill");
    }
}

static void suggest_copy(const struct request *request, const struct proxy_pool *pool,
                         const struct control_port_request *asked, char *fix, size_t bytes)
{
    const uint32_t node = asked->node;
    enum way best = WAY_NONE;
    uint32_t other = node;
    for (uint32_t i = 0; i < pool->node_count; i++) {
        const enum way way = way_of(&pool->control.nodes[i]);
        if (i != node && facts_is_member(pool, i) && way > best) {
            best = way;
            other = i;
        }
    }
    char path[ENCODED_NAME_BYTES_MAX];
    uri_encode(pool->nodes[other].name, path, sizeof(path));
    switch (best) {
    case WAY_NONE:
        (void)snprintf(fix, bytes, "%s, or repeat with ?force=true",
                       facts_node_count(pool) == 1
                           ? "add a second node"
                           : "wait until GET /v1/nodes shows a second copy");
        break;
    case WAY_START:
        (void)snprintf(fix, bytes, "start %s again and let it fill, or repeat with ?force=true",
                       pool->nodes[other].name);
        break;
    case WAY_READY:
        (void)snprintf(fix, bytes,
                       "POST /v1/nodes/%s/ready and let it fill, or repeat with ?force=true", path);
        break;
    case WAY_WARM:
        (void)snprintf(fix, bytes,
                       "wait until %s is warm, or POST /v1/nodes/%s/ready?force=true to take it as "
                       "it is, or repeat with ?force=true",
                       pool->nodes[other].name, path);
        break;
    case WAY_WAIT:
        point_at_fill(request, asked, other, path, sizeof(path));
        (void)snprintf(fix, bytes, "wait for %s, or repeat with ?force=true", path);
        break;
    }
}

static const char *consequence(enum control_command_type command, const struct proxy_pool *pool,
                               uint32_t node)
{
    if (command == CONTROL_COMMAND_RESYNC) {
        return "loses what no other node holds";
    }
    const node_set others = facts_complete(pool) & ~node_set_of(node);
    return others == 0 ? "makes every read a miss" : "leaves no node for reads";
}

static void refuse_last_copy(const struct request *request, const struct proxy_pool *pool,
                             const struct control_port_request *asked, struct reply *reply)
{
    const uint32_t node = asked->node;
    const enum control_command_type command = request->route->command;
    char others[FACTS_LIST_BYTES_MAX];
    char fix[FACTS_LIST_BYTES_MAX];
    facts_describe_all(pool, pool->control.members & ~node_set_of(node), others);
    suggest_copy(request, pool, asked, fix, sizeof(fix));
    reply_problem_about(reply, PROBLEM_LAST_COPY, fix, "%s. %s %s %s.", others, gerund(command),
                        pool->nodes[node].name, consequence(command, pool, node));
}

static void reply_last_copy(const struct request *request, const struct control_port_request *asked,
                            struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    const struct proxy_pool *pool = proxy_snapshot_pool(snapshot, asked->pool);
    if (pool != NULL) {
        refuse_last_copy(request, pool, asked, reply);
    } else {
        reply_problem(reply, PROBLEM_NO_POOL, "The pool has gone.",
                      "GET /v1/nodes shows what is there");
    }
    proxy_snapshot_destroy(&snapshot);
}

/* Why a node does not come or go. */
static void refuse_member(const struct control_port_request *asked, enum control_result result,
                          struct reply *reply)
{
    switch (result) {
    case CONTROL_RESULT_TAKEN:
        reply_problem_about(reply, PROBLEM_NODE_EXISTS, "GET /v1/nodes shows names and addresses",
                            "Another node of the pool is at %.*s.", (int)sizeof(asked->address),
                            asked->address);
        break;
    case CONTROL_RESULT_SILENT:
        reply_problem_about(reply, PROBLEM_NODE_SILENT,
                            "start memcached there, or repeat with ?force=true",
                            "Nothing that speaks as memcached does answers at %.*s.",
                            (int)sizeof(asked->address), asked->address);
        break;
    case CONTROL_RESULT_FOREIGN:
        reply_problem_about(
            reply, PROBLEM_OTHER_POOL,
            "if that pool is no more: flush_all there, or repeat with ?force=true",
            "The memcached at %.*s holds the view of another pool; it would be emptied.",
            (int)sizeof(asked->address), asked->address);
        break;
    case CONTROL_RESULT_FULL:
        reply_problem_about(
            reply, PROBLEM_POOL_SIZE, "remove a node, and repeat the call some seconds later",
            "A pool has at most %d nodes, those that just left included.", (int)NODES_MAX);
        break;
    case CONTROL_RESULT_LONE:
        reply_problem(reply, PROBLEM_POOL_SIZE,
                      "A pool that began with one node stays so while it runs.",
                      "write two nodes into the configuration, and restart the pool's proxies");
        break;
    case CONTROL_RESULT_LAST_TWO:
        reply_problem(reply, PROBLEM_POOL_SIZE, "A pool keeps two nodes while it runs.",
                      "add another node first");
        break;
    case CONTROL_RESULT_OK:
    case CONTROL_RESULT_UNCHANGED:
    case CONTROL_RESULT_BUSY:
    case CONTROL_RESULT_LAST_COPY:
    case CONTROL_RESULT_TIMEOUT:
    case CONTROL_RESULT_STARTING:
        UNREACHABLE();
    }
}

static void refuse(const struct request *request, const struct control_port_request *asked,
                   enum control_result result, struct reply *reply)
{
    switch (result) {
    case CONTROL_RESULT_OK:
    case CONTROL_RESULT_UNCHANGED:
    case CONTROL_RESULT_BUSY: /* an answer to a verify alone */
        UNREACHABLE();
    case CONTROL_RESULT_LAST_COPY:
        reply_last_copy(request, asked, reply);
        break;
    case CONTROL_RESULT_TIMEOUT:
        reply_problem_about(reply, PROBLEM_TIMEOUT,
                            "look at GET /v1/nodes, and repeat the call: repeating is harmless",
                            "The view that says so is proposed, but not all proxies and nodes have "
                            "taken it within %u ms. It may still come into effect.",
                            asked->timeout_ms);
        break;
    case CONTROL_RESULT_STARTING:
        reply_problem(reply, PROBLEM_STARTING, "It has not joined a view of the pool yet.",
                      "repeat the call when GET /readyz answers 200");
        break;
    case CONTROL_RESULT_FULL:
    case CONTROL_RESULT_TAKEN:
    case CONTROL_RESULT_FOREIGN:
    case CONTROL_RESULT_SILENT:
    case CONTROL_RESULT_LONE:
    case CONTROL_RESULT_LAST_TWO:
        refuse_member(asked, result, reply);
        break;
    }
}

static uint32_t command_timeout_ms(const struct request *request, uint32_t pool)
{
    struct proxy_snapshot *snapshot = NULL;
    uint64_t timeout_ms = COMMAND_TIMEOUT_MS_MAX;
    if (control_port_snapshot(request->port, &snapshot) == STATUS_OK) {
        const struct proxy_pool *own = proxy_snapshot_pool(snapshot, pool);
        const uint64_t timeout_us = own == NULL ? 0 : own->request_timeout_us;
        timeout_ms = timeout_us / 1000 + COMMAND_GRACE_MS;
        proxy_snapshot_destroy(&snapshot);
    }
    return (uint32_t)(timeout_ms < COMMAND_TIMEOUT_MS_MAX ? timeout_ms : COMMAND_TIMEOUT_MS_MAX);
}

bool command_ask(const struct request *request, struct control_port_request *asked,
                 enum control_result *out, struct reply *reply)
{
    asked->type = request->route->command;
    asked->timeout_ms = command_timeout_ms(request, asked->pool);
    if (control_port_command(request->port, asked, out) != STATUS_OK) {
        reply_problem(reply, PROBLEM_BUSY, "The proxy takes no more commands at the moment.",
                      "repeat the call in a second");
        return false;
    }
    const bool is_done = *out == CONTROL_RESULT_OK || *out == CONTROL_RESULT_UNCHANGED;
    if (!is_done) {
        refuse(request, asked, *out, reply);
    }
    return is_done;
}

/* --- drain, maint, ready --- */

static enum node_admin admin_of(enum control_command_type type)
{
    switch (type) {
    case CONTROL_COMMAND_READY:
        return NODE_ADMIN_READY;
    case CONTROL_COMMAND_DRAIN:
        return NODE_ADMIN_DRAIN;
    case CONTROL_COMMAND_MAINT:
        return NODE_ADMIN_MAINT;
    case CONTROL_COMMAND_RESYNC:
    case CONTROL_COMMAND_ADD:
    case CONTROL_COMMAND_REMOVE:
    case CONTROL_COMMAND_VERIFY:
    case CONTROL_COMMAND_VERIFY_STOP:
        break;
    }
    UNREACHABLE();
}

static bool read_for(const json_t *body, const struct proxy_snapshot *snapshot, struct word *word,
                     struct reply *reply)
{
    const json_t *member = json_object_get(body, "for");
    if (member == NULL || json_is_null(member)) {
        return true;
    }
    uint64_t for_us = 0;
    const char *text = json_string_value(member);
    if (text == NULL || !value_parse(text, VALUE_UNIT_DURATION, &for_us) || for_us < FOR_US_MIN ||
        for_us > FOR_US_MAX) {
        reply_problem(reply, PROBLEM_BAD_MEMBER, "\"for\" is a duration of 1s to 744h.",
                      "write \"for\": \"30m\", or leave it out");
        return false;
    }
    if (word->admin == NODE_ADMIN_READY) {
        reply_problem(reply, PROBLEM_BAD_MEMBER, "Ready has no end.", "leave \"for\" out");
        return false;
    }
    word->until_wall_us = snapshot->now_wall_us + for_us;
    return true;
}

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool read_reason(const json_t *body, struct word *word, struct reply *reply)
{
    const json_t *member = json_object_get(body, "reason");
    if (member == NULL || json_is_null(member)) {
        return true;
    }
    const char *text = json_string_value(member);
    if (text == NULL || strlen(text) > WORDS_REASON_BYTES_MAX || !is_printable(text)) {
        reply_problem_about(reply, PROBLEM_BAD_MEMBER, "write a shorter reason, in one line",
                            "\"reason\" is text of at most %d bytes without control characters.",
                            (int)WORDS_REASON_BYTES_MAX);
        return false;
    }
    (void)snprintf(word->reason, sizeof(word->reason), "%s", text);
    return true;
}

/* The body's members, if there is one; false: REPLY says what is wrong with it. */
static bool read_word(const struct request *request, struct word *word, struct reply *reply)
{
    static const char *const MEMBERS[] = {"reason", "for", NULL};
    json_t *body = NULL;
    if (!body_read(request, MEMBERS, &body, reply)) {
        return false;
    }
    struct proxy_snapshot *snapshot = NULL;
    bool is_good = false;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
    } else {
        is_good = read_for(body, snapshot, word, reply) && read_reason(body, word, reply);
    }
    proxy_snapshot_destroy(&snapshot);
    json_decref(body);
    return is_good;
}

static void reply_done(const struct request *request, enum control_result result,
                       struct reply *reply)
{
    char name[ENCODED_NAME_BYTES_MAX];
    char path[ENCODED_NAME_BYTES_MAX + sizeof("/v1/nodes/")];
    uri_encode(request->name, name, sizeof(name));
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s", name);
    reply_json(reply, 200,
               json_pack("{s:s, s:s, s:b, s:s}", "name", request->name, "command",
                         strrchr(request->route->path, '/') + 1, "changed",
                         result == CONTROL_RESULT_OK, "see", path));
}

void command_word(const struct request *request, struct reply *reply)
{
    struct control_port_request asked = {.is_forced = false};
    struct word word = {.admin = admin_of(request->route->command)};
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    if (!nodes_find(request, reply, &asked.pool, &asked.node) ||
        !command_read_force(request, reply, &asked.is_forced) ||
        !read_word(request, &word, reply) || !command_ask(request, &asked, &result, reply)) {
        return;
    }
    (void)snprintf(word.node, sizeof(word.node), "%s", request->name);
    /* A word that is only repeated, without more, does not unsay the reason. */
    if (result == CONTROL_RESULT_OK || request->body.len > 0) {
        words_set(&request->context->words, &word);
    }
    log_line(LOG_LEVEL_NOTICE, "command", LOG_TEXT("node", word.node),
             LOG_TEXT("word", node_admin_word(word.admin)), LOG_TEXT("who", request->who),
             LOG_TEXT("reason", word.reason));
    reply_done(request, result, reply);
}

/* --- resync, check --- */

static void begin_task(const struct request *request, struct task *task, struct reply *reply)
{
    if (control_port_task_add(request->port, task) != STATUS_OK) {
        reply_problem(reply, PROBLEM_BUSY, "Too many tasks are under way.",
                      "wait until GET /v1/tasks shows that some have ended");
        return;
    }
    log_line(LOG_LEVEL_NOTICE, "task", LOG_NUMBER("id", task->id), LOG_TEXT("node", request->name),
             LOG_TEXT("kind", task_kind_word(task->kind)), LOG_TEXT("who", request->who));
    tasks_reply(request, task, 202, reply);
}

/* The monotonic time now, as tasks have it. */
static bool read_clock(const struct request *request, uint64_t *out, struct reply *reply)
{
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return false;
    }
    *out = snapshot->now_mono_us;
    proxy_snapshot_destroy(&snapshot);
    return true;
}

void command_resync(const struct request *request, struct reply *reply)
{
    struct control_port_request asked = {.is_forced = false};
    enum control_result result = CONTROL_RESULT_TIMEOUT;
    if (!nodes_find(request, reply, &asked.pool, &asked.node) ||
        !command_read_force(request, reply, &asked.is_forced)) {
        return;
    }
    struct task task = {.kind = TASK_RESYNC, .pool = asked.pool, .node = asked.node};
    if (tasks_find_fill(request->port, &task) && task.kind == TASK_RESYNC) {
        tasks_reply(request, &task, 202, reply); /* asked for twice, done once */
        return;
    }
    task = (struct task){.kind = TASK_RESYNC, .pool = asked.pool, .node = asked.node};
    if (read_clock(request, &task.asked_us, reply) &&
        command_ask(request, &asked, &result, reply)) {
        begin_task(request, &task, reply);
    }
}

void command_check(const struct request *request, struct reply *reply)
{
    struct task task = {.kind = TASK_CHECK, .total = 1};
    if (nodes_find(request, reply, &task.pool, &task.node) &&
        read_clock(request, &task.asked_us, reply)) {
        begin_task(request, &task, reply);
    }
}
