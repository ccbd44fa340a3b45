/* SPDX-License-Identifier: BSD-2-Clause */
/* One request from its first header to its answer: between libmicrohttpd and the routes. */
#ifndef EVERWARM_ADMIN_HTTP_H
#define EVERWARM_ADMIN_HTTP_H

#include "gate.h"

#include <microhttpd.h>

struct context;

/* What the callbacks of one listener share; unchanged while it listens. */
struct http_site {
    struct gate_site gate;
    struct context *context;
};

/* For MHD_start_daemon: the handler of requests; CLOSURE is a struct http_site. */
enum MHD_Result http_answer(void *closure, struct MHD_Connection *connection, const char *path,
                            const char *method, const char *version, const char *upload,
                            size_t *upload_bytes, void **exchange);

/* MHD_OPTION_NOTIFY_COMPLETED: frees what http_answer keeps for a request; CLOSURE is a struct
 * patience. */
void http_completed(void *closure, struct MHD_Connection *connection, void **exchange,
                    enum MHD_RequestTerminationCode code);

/* MHD_OPTION_UNESCAPE_CALLBACK: leaves paths and queries as they came. */
size_t http_keep_escapes(void *closure, struct MHD_Connection *connection, char *text);

#endif
