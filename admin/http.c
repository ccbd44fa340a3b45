/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One request. libmicrohttpd calls http_answer when the head is there, again for each piece of the
 * body, and once more at its end:
 *
 *   head ─► gate ─► refused, end of the body unknown or far ──► answer now, close
 *                ├► refused ─► body is read and dropped ──► answer
 *                └► passed  ─► body is kept ──► route ──► answer
 *
 * I1  a handler runs once, after the whole body, on this connection's own thread: it may wait
 * I2  what is kept of a request is one struct exchange and at most GATE_BODY_BYTES_MAX bytes
 */
#include "http.h"

#include "context.h"
#include "uri.h"

#include "everwarm/base/invariant.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    EXCHANGE_MAGIC = 0x45584348,
    /* Of a stream, asked for at once: a few events. */
    STREAM_BYTES = 4096,
    /* For all of a body, which is short; the library's own timeout is for its next byte. */
    BODY_TIME_S_MAX = 15,
};

struct exchange {
    unsigned int magic;
    struct route_match match;
    struct reply reply; /* decided by the gate, or by the route at the end */
    char *body;         /* NULL: none, or dropped */
    size_t body_bytes;  /* so far */
    size_t body_bytes_max;
    time_t began_s; /* monotonic; when the head was there */
};

static enum MHD_Result take_header(void *closure, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    (void)kind;
    gate_take_header(closure, name, value);
    return MHD_YES;
}

struct queries {
    const struct route *route;
    size_t count;
    struct route_query items[ROUTE_QUERIES_MAX];
    struct reply *reply;
};

/* A name that no route knows is a slip of the fingers, which must not pass as if it had done
 * something. */
static enum MHD_Result take_query(void *closure, enum MHD_ValueKind kind, const char *name,
                                  const char *value)
{
    (void)kind;
    struct queries *queries = closure;
    struct route_query *query = &queries->items[queries->count];
    const char *text = value == NULL ? "" : value;
    if (queries->count == ROUTE_QUERIES_MAX ||
        !uri_decode(slice_of_string(name), URI_GRAPHIC, query->name, sizeof(query->name)) ||
        !uri_decode(slice_of_string(text), URI_ANY, query->value, sizeof(query->value))) {
        reply_problem(queries->reply, PROBLEM_BAD_REQUEST,
                      "The query is too long or not percent-encoded text.", "leave it out");
        return MHD_NO;
    }
    if (!route_takes(queries->route, query->name)) {
        reply_problem_about(queries->reply, PROBLEM_BAD_REQUEST,
                            "GET /openapi.json lists what there is",
                            "This path knows no query \"%s\".", query->name);
        return MHD_NO;
    }
    queries->count++;
    return MHD_YES;
}

/* Health checks and operators' words wait for nobody; who only looks may have to. */
static void answer_in_turn(const struct request *request, struct reply *reply)
{
    const bool is_look = request->route->role == ROLE_VIEWER;
    while (is_look && sem_wait(&request->context->looks) != 0) {
        INVARIANT(errno == EINTR);
    }
    request->route->handler(request, reply);
    if (is_look) {
        (void)sem_post(&request->context->looks);
    }
}

static void run_route(const struct http_site *site, struct MHD_Connection *connection,
                      const char *method, struct exchange *exchange)
{
    struct queries queries = {.route = exchange->match.route, .reply = &exchange->reply};
    (void)MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, take_query, &queries);
    if (exchange->reply.status != 0) {
        return;
    }
    const struct request request = {
        .port = site->context->port,
        .context = site->context,
        .route = exchange->match.route,
        .name = exchange->match.name,
        .who = exchange->match.who,
        .query_count = queries.count,
        .queries = queries.items,
        .body = slice_of(exchange->body, exchange->body_bytes),
        .last_event_id = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "Last-Event-ID"),
        .if_none_match = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, "If-None-Match"),
    };
    if (request.body.len > 0 && request.route->body == NULL) {
        reply_problem(&exchange->reply, PROBLEM_BAD_REQUEST, "This path takes no body.",
                      "repeat the call without a body");
        return;
    }
    answer_in_turn(&request, &exchange->reply);
    INVARIANT(exchange->reply.status != 0);
    if (exchange->reply.source != NULL && strcmp(method, "HEAD") == 0) {
        reply_fini(&exchange->reply); /* the library would end a stream that is not there */
        exchange->reply.source = NULL;
    }
}

static enum MHD_Result add_headers(struct MHD_Response *response, const struct reply *reply)
{
    const struct {
        const char *name;
        const char *value; /* NULL: left out */
    } headers[] = {
        {MHD_HTTP_HEADER_CONTENT_TYPE, reply->type},
        {MHD_HTTP_HEADER_CACHE_CONTROL, reply->etag == NULL ? "no-store" : "no-cache"},
        {MHD_HTTP_HEADER_ETAG, reply->etag},
        {"X-Content-Type-Options", "nosniff"},
        {"Content-Security-Policy",
         reply->policy == NULL ? "default-src 'none'; frame-ancestors 'none'" : reply->policy},
        {"Referrer-Policy", "no-referrer"},
        {MHD_HTTP_HEADER_WWW_AUTHENTICATE,
         reply->status == MHD_HTTP_UNAUTHORIZED ? "Bearer realm=\"everwarm\"" : NULL},
        {MHD_HTTP_HEADER_ALLOW, reply->allow[0] == '\0' ? NULL : reply->allow},
        {MHD_HTTP_HEADER_LOCATION, reply->location[0] == '\0' ? NULL : reply->location},
        {MHD_HTTP_HEADER_RETRY_AFTER, reply->status == MHD_HTTP_SERVICE_UNAVAILABLE ? "1" : NULL},
        {MHD_HTTP_HEADER_CONNECTION, reply->must_close ? "close" : NULL},
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        if (headers[i].value != NULL &&
            MHD_add_response_header(response, headers[i].name, headers[i].value) != MHD_YES) {
            return MHD_NO;
        }
    }
    return MHD_YES;
}

/* What REPLY held is the response's from then on. */
static struct MHD_Response *create_response(struct reply *reply)
{
    struct MHD_Response *response =
        reply->source != NULL
            ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, STREAM_BYTES, reply->source,
                                                reply->closure, reply->close)
            : MHD_create_response_from_buffer(reply->body_bytes, reply->body,
                                              MHD_RESPMEM_MUST_FREE);
    if (response != NULL) {
        reply->body = NULL;
        reply->close = NULL;
    }
    return response;
}

/* MHD_NO closes the connection: all that is left to do without memory. */
static enum MHD_Result send_reply(const struct http_site *site, struct MHD_Connection *connection,
                                  struct exchange *exchange)
{
    struct reply *reply = &exchange->reply;
    counts_add(&site->context->counts, exchange->match.route, reply->status);
    struct MHD_Response *response = create_response(reply);
    if (response == NULL) {
        return MHD_NO;
    }
    enum MHD_Result result = add_headers(response, reply);
    if (result == MHD_YES) {
        result = MHD_queue_response(connection, reply->status, response);
    }
    MHD_destroy_response(response);
    return result;
}

static time_t now_s(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

static struct exchange *exchange_create(void)
{
    struct exchange *exchange = calloc(1, sizeof(*exchange));
    if (exchange != NULL) {
        exchange->magic = EXCHANGE_MAGIC;
        exchange->began_s = now_s();
    }
    return exchange;
}

static void exchange_destroy(struct exchange **exchange)
{
    reply_fini(&(*exchange)->reply);
    free((*exchange)->body);
    (*exchange)->magic = 0;
    free(*exchange);
    *exchange = NULL;
}

static enum MHD_Result take_head(const struct http_site *site, struct MHD_Connection *connection,
                                 struct gate_head *head, struct exchange *exchange)
{
    (void)MHD_get_connection_values(connection, MHD_HEADER_KIND, take_header, head);
    switch (gate_check(&site->gate, head, &exchange->match, &exchange->reply)) {
    case GATE_REFUSE_BLIND:
        return send_reply(site, connection, exchange);
    case GATE_REFUSE:
        return MHD_YES;
    case GATE_PASS:
        break;
    }
    if (head->body_bytes > 0) {
        INVARIANT(head->body_bytes <= GATE_BODY_BYTES_MAX);
        exchange->body_bytes_max = (size_t)head->body_bytes;
        exchange->body = malloc(exchange->body_bytes_max);
        if (exchange->body == NULL) {
            reply_problem(&exchange->reply, PROBLEM_NO_MEMORY, "There was no memory for the body.",
                          "try again");
        }
    }
    return MHD_YES;
}

static void take_body(struct exchange *exchange, const char *upload, size_t bytes)
{
    if (exchange->reply.status != 0) {
        return;
    }
    INVARIANT(bytes <= exchange->body_bytes_max - exchange->body_bytes);
    memcpy(exchange->body + exchange->body_bytes, upload, bytes);
    exchange->body_bytes += bytes;
}

enum MHD_Result http_answer(void *closure, struct MHD_Connection *connection, const char *path,
                            const char *method, const char *version, const char *upload,
                            size_t *upload_bytes, void **kept)
{
    const struct http_site *site = closure;
    struct exchange *exchange = *kept;
    if (exchange == NULL) {
        exchange = exchange_create();
        if (exchange == NULL) {
            return MHD_NO;
        }
        *kept = exchange;
        patience_head_came(&site->context->patience, connection);
        struct gate_head head = {.method = method, .path = path, .version = version};
        return take_head(site, connection, &head, exchange);
    }
    REQUIRE(exchange->magic == EXCHANGE_MAGIC);
    if (*upload_bytes > 0) {
        if (now_s() - exchange->began_s > BODY_TIME_S_MAX) {
            return MHD_NO; /* it drips: each byte in time, all of them never */
        }
        take_body(exchange, upload, *upload_bytes);
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (exchange->reply.status == 0) {
        run_route(site, connection, method, exchange);
    }
    return send_reply(site, connection, exchange);
}

void http_completed(void *closure, struct MHD_Connection *connection, void **kept,
                    enum MHD_RequestTerminationCode code)
{
    (void)code;
    struct exchange *exchange = *kept;
    patience_head_owed(closure, connection); /* the next one, if it stays open */
    if (exchange != NULL) {
        REQUIRE(exchange->magic == EXCHANGE_MAGIC);
        exchange_destroy(&exchange);
        *kept = NULL;
    }
}

size_t http_keep_escapes(void *closure, struct MHD_Connection *connection, char *text)
{
    (void)closure;
    (void)connection;
    return strlen(text);
}
