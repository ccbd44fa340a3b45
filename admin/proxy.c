/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Drained, the proxy says that it is not ready and serves on: whoever balances clients over several
 * proxies takes its time to notice, and nobody is to be refused meanwhile.
 */
#include "proxy.h"

#include "everwarm/shell/log.h"

#include <string.h>

void proxy_command(const struct request *request, struct reply *reply)
{
    const bool is_drain = strcmp(request->route->path, "/v1/drain") == 0;
    const bool is_changed = control_port_set_drained(request->port, is_drain);
    log_line(LOG_LEVEL_NOTICE, "command", LOG_TEXT("word", is_drain ? "drain" : "undrain"),
             LOG_TEXT("who", request->who));
    reply_json(reply, 200, json_pack("{s:b, s:b}", "drained", is_drain, "changed", is_changed));
}
