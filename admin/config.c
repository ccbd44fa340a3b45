/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The configuration over HTTP. A patch is for now: it is written to no file, so the next reload or
 * restart goes back to what stands there. A reload takes what may change while the proxy runs, and
 * tells what takes a restart.
 */
#include "config.h"

#include "body.h"
#include "context.h"
#include "facts.h"

#include "everwarm/config/show.h"
#include "everwarm/shell/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void config_show(const struct request *request, struct reply *reply)
{
    struct config *config = NULL;
    struct proxy_snapshot *snapshot = NULL;
    if (control_port_snapshot(request->port, &snapshot) != STATUS_OK ||
        control_port_config(request->port, &config) != STATUS_OK) {
        reply_json(reply, 200, NULL);
    } else {
        reply_json(reply, 200,
                   json_pack("{s:o, s:o, s:o}", "epoch", facts_count(snapshot->config_epoch),
                             "config", show_config(config), "sources", show_sources(config)));
    }
    proxy_snapshot_destroy(&snapshot);
    config_destroy(&config);
}

/* A value of a change: JSON, or the beginning of some. */
static json_t *value_json(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    return value != NULL ? value : json_string(text);
}

static json_t *changes_json(const struct port_reload *done)
{
    json_t *list = json_array();
    for (size_t i = 0; i < done->change_count && i < DIFF_CHANGES_MAX; i++) {
        const struct diff_change *change = &done->changes[i];
        (void)json_array_append_new(list,
                                    json_pack("{s:s, s:o, s:o, s:b}", "key", change->path, "from",
                                              value_json(change->from), "to",
                                              value_json(change->to), "applied", change->is_live));
    }
    return list;
}

static void reply_changes(const struct port_reload *done, struct reply *reply)
{
    reply_json(reply, 200,
               json_pack("{s:b, s:o, s:o}", "restart_needed",
                         done->applied_count + done->refused_count < done->change_count, "refused",
                         done->refused_count == 0 ? json_null() : json_string(done->note),
                         "changes", changes_json(done)));
}

/* "FILE:LINE:COLUMN: what", as at the start. */
static void refuse(const struct config_error *error, const char *fix, struct reply *reply)
{
    char text[CONFIG_PATH_BYTES_MAX + CONFIG_TEXT_BYTES_MAX];
    config_error_format(error, text, sizeof(text));
    reply_problem(reply, PROBLEM_BAD_CONFIG, text, fix);
}

static void log_change(const struct request *request, const char *how,
                       const struct port_reload *done)
{
    log_line(LOG_LEVEL_NOTICE, "config", LOG_TEXT("how", how),
             LOG_NUMBER("changes", done->applied_count), LOG_TEXT("who", request->who));
}

static void patch(const struct request *request, json_t *body, struct port_reload *done,
                  struct reply *reply)
{
    static const char FIX[] = "GET /v1/config shows which keys are live; change the others in the "
                              "file, and restart";
    struct config *current = NULL;
    struct config *fresh = NULL;
    if (control_port_config(request->port, &current) != STATUS_OK) {
        reply_json(reply, 200, NULL);
        return;
    }
    if (show_patch(current, body, &fresh, &done->error) != STATUS_OK) {
        done->error.line = 0; /* of a text that the client has not seen */
        done->error.path[0] = '\0';
        refuse(&done->error, "GET /v1/config shows all keys with their values", reply);
    } else if (control_port_apply(request->port, &fresh, done) != STATUS_OK) {
        refuse(&done->error, FIX, reply);
    } else {
        log_change(request, "patch", done);
        reply_changes(done, reply);
    }
    config_destroy(&current);
}

void config_patch(const struct request *request, struct reply *reply)
{
    json_t *body = NULL;
    if (!body_read(request, NULL, &body, reply)) {
        return;
    }
    struct port_reload *done = calloc(1, sizeof(*done));
    if (done == NULL) {
        reply_json(reply, 200, NULL);
    } else {
        patch(request, body, done, reply);
    }
    free(done);
    json_decref(body);
}

static void reload(const struct request *request, struct port_reload *done, struct reply *reply)
{
    static const char FIX[] = "correct it, try everwarm --test-config, and reload again: the old "
                              "configuration stays meanwhile";
    char error[512];
    if (tokens_reload(&request->context->tokens, error, sizeof(error)) != STATUS_OK) {
        reply_problem(reply, PROBLEM_BAD_CONFIG, error, FIX);
        return;
    }
    switch (control_port_reload(request->port, done)) {
    case STATUS_OK:
        log_change(request, "reload", done);
        reply_changes(done, reply);
        break;
    case STATUS_NO_MEMORY:
        reply_json(reply, 200, NULL);
        break;
    case STATUS_SYSTEM:
    case STATUS_BAD_CONFIG:
    case STATUS_BAD_ARGUMENT:
    case STATUS_NOT_FOUND:
    case STATUS_FULL:
        refuse(&done->error, FIX, reply);
        break;
    }
}

void config_reload(const struct request *request, struct reply *reply)
{
    struct port_reload *done = calloc(1, sizeof(*done));
    if (done == NULL) {
        reply_json(reply, 200, NULL);
    } else {
        reload(request, done, reply);
    }
    free(done);
}
