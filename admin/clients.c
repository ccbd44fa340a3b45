/* SPDX-License-Identifier: BSD-2-Clause */
/* Clients as the workers know them when they are asked: a list of moments, not one moment. */
#include "clients.h"

#include "facts.h"
#include "inspect.h"

#include "everwarm/shell/log.h"

#include <stdlib.h>

static json_t *client_json(const struct proxy_snapshot *snapshot, const struct proxy_client *client)
{
    const uint64_t heard_us = client->heard_us == 0 ? client->opened_us : client->heard_us;
    const uint64_t now_us = snapshot->now_mono_us;
    const struct proxy_pool *of = proxy_snapshot_pool(snapshot, client->pool);
    const char *pool = of != NULL ? of->name : "";
    return json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b}", "id",
        facts_count(client->id), "address", facts_text(client->address), "pool", facts_text(pool),
        "worker", facts_count(client->worker), "since", facts_time(snapshot, client->opened_us),
        "idle_s", facts_seconds(now_us > heard_us ? now_us - heard_us : 0), "in_flight",
        facts_count(client->facts.in_flight), "received_bytes", facts_count(client->received_bytes),
        "sent_bytes", facts_count(client->sent_bytes), "owed_bytes",
        facts_count(client->facts.output_bytes), "paused", client->facts.is_paused, "blocked",
        client->is_blocked);
}

void clients_list(const struct request *request, struct reply *reply)
{
    size_t limit = 0;
    size_t count = 0;
    uint64_t total = 0;
    if (!inspect_limit(request, INSPECT_CLIENTS_MAX, &limit, reply)) {
        return;
    }
    struct proxy_snapshot *snapshot = NULL;
    struct proxy_client *clients = calloc(limit, sizeof(*clients));
    json_t *list = json_array();
    if (clients == NULL || control_port_snapshot(request->port, &snapshot) != STATUS_OK) {
        reply_json(reply, 200, NULL);
    } else if (control_port_clients(request->port, clients, limit, &count, &total) != STATUS_OK) {
        inspect_refuse(reply);
    } else {
        for (size_t i = 0; i < count; i++) {
            (void)json_array_append_new(list, client_json(snapshot, &clients[i]));
        }
        reply_json(reply, 200,
                   json_pack("{s:o, s:O}", "total", facts_count(total), "clients", list));
    }
    json_decref(list);
    proxy_snapshot_destroy(&snapshot);
    free(clients);
}

void clients_kill(const struct request *request, struct reply *reply)
{
    uint64_t id = 0;
    enum status status = STATUS_NOT_FOUND;
    if (route_number(request->name, &id)) {
        status = control_port_kill_client(request->port, id);
    }
    if (status == STATUS_OK) {
        log_line(LOG_LEVEL_NOTICE, "client-killed", LOG_NUMBER("id", id),
                 LOG_TEXT("who", request->who));
        reply_json(reply, 200, json_pack("{s:o, s:b}", "id", facts_count(id), "closed", true));
    } else if (status == STATUS_NOT_FOUND) {
        reply_problem(reply, PROBLEM_NO_CLIENT, "It has gone, or never was.",
                      "GET /v1/clients lists those that are connected");
    } else {
        inspect_refuse(reply);
    }
}
