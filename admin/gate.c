/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The gate, against what a web page, a rebound name or a confused proxy in front may send here.
 *
 * The HTTP library takes the first of two Content-Lengths, a length beside chunks, and the first of
 * two Hosts. Two parsers that differ there can be played against each other, so such a request is
 * refused and its connection closed. Chunked bodies are not taken at all: no client of this API
 * needs them, and a length known beforehand is one parser less.
 *
 * A page of another site can send requests here from the operator's browser. It can't set Host,
 * Origin or Sec-Fetch-Site, and can't send application/json without asking first; each of these is
 * looked at, so that one of them failing is not enough.
 */
#include "gate.h"

#include "tokens.h"

#include "everwarm/base/limits.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

enum {
    /* A name, a port and brackets. */
    HOST_TEXT_BYTES_MAX = NODE_ADDRESS_BYTES_MAX + 16,
};

void gate_take_header(struct gate_head *head, const char *name, const char *value)
{
    const char *text = value == NULL ? "" : value;
    if (strcasecmp(name, "Content-Length") == 0) {
        head->length = text;
        head->length_count++;
    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {
        head->encoding_count++;
    } else if (strcasecmp(name, "Host") == 0) {
        head->host = text;
        head->host_count++;
    } else if (strcasecmp(name, "Content-Type") == 0) {
        head->content_type = text;
    } else if (strcasecmp(name, "Origin") == 0) {
        head->origin = text;
        head->origin_count++;
    } else if (strcasecmp(name, "Authorization") == 0) {
        head->authorization = text;
    } else if (strcasecmp(name, "Sec-Fetch-Site") == 0) {
        head->fetch_site = text;
    }
}

/* Digits and nothing else, as RFC 9112 has it; false: not a length. */
static bool parse_length(const char *text, uint64_t *out)
{
    uint64_t bytes = 0;
    const char *c = text;
    for (; *c >= '0' && *c <= '9' && bytes < UINT64_MAX / 16; c++) {
        bytes = bytes * 10 + (uint64_t)(*c - '0');
    }
    *out = bytes;
    return c != text && *c == '\0';
}

static enum gate_verdict refuse_blind(struct reply *reply, enum problem problem, const char *detail)
{
    reply_problem(reply, problem, detail, "send one Content-Length, one Host and no chunks");
    reply->must_close = true;
    return GATE_REFUSE_BLIND;
}

static enum gate_verdict check_framing(struct gate_head *head, struct reply *reply)
{
    if (head->length_count > 1) {
        return refuse_blind(reply, PROBLEM_FRAMING, "There are several Content-Length headers.");
    }
    if (head->length_count > 0 && head->encoding_count > 0) {
        return refuse_blind(reply, PROBLEM_FRAMING,
                            "There is a Content-Length beside a Transfer-Encoding.");
    }
    if (head->encoding_count > 0) {
        return refuse_blind(reply, PROBLEM_LENGTH, "Chunked bodies are not taken here.");
    }
    if (head->length_count > 0 && !parse_length(head->length, &head->body_bytes)) {
        return refuse_blind(reply, PROBLEM_FRAMING, "The Content-Length is not a number.");
    }
    if (head->host_count > 1) {
        return refuse_blind(reply, PROBLEM_FRAMING, "There are several Host headers.");
    }
    if (head->host_count == 0 && strcmp(head->version, "HTTP/1.0") != 0) {
        return refuse_blind(reply, PROBLEM_BAD_REQUEST, "The Host header is missing.");
    }
    return GATE_PASS;
}

/* The host of "name:port", "[v6]:port" or either alone, without brackets; false: neither. */
static bool take_host(const char *text, char out[HOST_TEXT_BYTES_MAX])
{
    const bool is_bracketed = text[0] == '[';
    const char *start = is_bracketed ? text + 1 : text;
    const size_t len = strcspn(start, is_bracketed ? "]" : ":");
    const char *rest = start + len;
    if (is_bracketed) {
        if (*rest != ']') {
            return false;
        }
        rest++;
    }
    if (len == 0 || len >= HOST_TEXT_BYTES_MAX) {
        return false;
    }
    memcpy(out, start, len);
    out[len] = '\0';
    return *rest == '\0' || (*rest == ':' && strspn(rest + 1, "0123456789") == strlen(rest + 1));
}

static bool is_loopback(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        return memcmp(&v6, &in6addr_loopback, sizeof(v6)) == 0;
    }
    return strcasecmp(host, "localhost") == 0;
}

/* A name can be rebound by whoever owns it, an address can't. */
static bool is_address(const char *host)
{
    struct in6_addr address;
    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* The port is not compared: a tunnel to here has another one at its near end. */
static bool is_our_host(const struct gate_site *site, const struct gate_head *head)
{
    char host[HOST_TEXT_BYTES_MAX];
    if (site->host == NULL || head->host_count == 0) {
        return true;
    }
    return take_host(head->host, host) && (is_loopback(host) || strcasecmp(host, site->host) == 0 ||
                                           (site->is_public && is_address(host)));
}

static bool is_own_origin(const struct gate_head *head)
{
    static const char *const SCHEMES[] = {"http://", "https://"};
    for (size_t i = 0; i < sizeof(SCHEMES) / sizeof(SCHEMES[0]); i++) {
        const size_t len = strlen(SCHEMES[i]);
        if (strncasecmp(head->origin, SCHEMES[i], len) == 0) {
            return head->host != NULL && strcasecmp(head->origin + len, head->host) == 0;
        }
    }
    return false;
}

static bool is_cross_site(const struct gate_head *head)
{
    if (head->origin_count > 1 || (head->origin_count == 1 && !is_own_origin(head))) {
        return true;
    }
    return head->fetch_site != NULL && strcasecmp(head->fetch_site, "same-origin") != 0 &&
           strcasecmp(head->fetch_site, "none") != 0;
}

static bool is_json(const char *content_type)
{
    static const char JSON[] = "application/json";
    const size_t len = sizeof(JSON) - 1;
    if (content_type == NULL || strncasecmp(content_type, JSON, len) != 0) {
        return false;
    }
    const char *rest = content_type + len + strspn(content_type + len, " \t");
    return *rest == '\0' || *rest == ';';
}

static enum gate_verdict check_route(const struct gate_head *head, struct route_match *match,
                                     struct reply *reply)
{
    switch (route_find(head->method, head->path, match)) {
    case ROUTE_FOUND:
        return GATE_PASS;
    case ROUTE_NO_PATH:
        reply_problem(reply, PROBLEM_NO_ROUTE, "No route has this path.",
                      "GET /openapi.json lists what there is");
        break;
    case ROUTE_BAD_NAME:
        reply_problem(reply, PROBLEM_BAD_REQUEST, "The name in the path is not a node's name.",
                      "percent-encode the name as GET /v1/nodes shows it");
        break;
    case ROUTE_NO_METHOD:
        reply_problem_about(reply, PROBLEM_METHOD, "GET /openapi.json lists what there is",
                            "This path takes %s.", match->allow);
        memcpy(reply->allow, match->allow, sizeof(reply->allow));
        break;
    }
    return GATE_REFUSE;
}

static enum gate_verdict check_role(const struct gate_site *site, const struct gate_head *head,
                                    struct route_match *match, struct reply *reply)
{
    const enum role needed = match->route->role;
    struct token token = {.role = ROLE_NONE};
    if (site->tokens == NULL || needed == ROLE_NONE) {
        return GATE_PASS;
    }
    if (!tokens_find(site->tokens, head->authorization, &token)) {
        reply_problem(reply, PROBLEM_UNAUTHORIZED,
                      head->authorization == NULL ? "There is no Authorization header."
                                                  : "Nobody has the token of its Authorization.",
                      "add -H 'Authorization: Bearer TOKEN', or ask through the unix socket");
        return GATE_REFUSE;
    }
    memcpy(match->who, token.name, sizeof(match->who));
    if (token.role < needed) {
        reply_problem_about(reply, PROBLEM_ROLE, "use a token with that role",
                            "The token's role is %s, and this needs %s.",
                            route_role_word(token.role), route_role_word(needed));
        return GATE_REFUSE;
    }
    return GATE_PASS;
}

enum gate_verdict gate_check(const struct gate_site *site, struct gate_head *head,
                             struct route_match *match, struct reply *reply)
{
    enum gate_verdict verdict = check_framing(head, reply);
    if (verdict != GATE_PASS) {
        return verdict;
    }
    if (head->body_bytes > GATE_BODY_BYTES_MAX) {
        reply_problem_about(reply, PROBLEM_TOO_LARGE, "send a smaller body, or none",
                            "A body has at most %d bytes here.", (int)GATE_BODY_BYTES_MAX);
        reply->must_close = true;
        return head->body_bytes > GATE_DISCARD_BYTES_MAX ? GATE_REFUSE_BLIND : GATE_REFUSE;
    }
    if (!is_our_host(site, head)) {
        reply_problem(reply, PROBLEM_HOST,
                      "The Host header names neither this listener nor this machine.",
                      "ask for http://127.0.0.1 or http://localhost with the port, or through the "
                      "unix socket");
        reply->must_close = true;
        return GATE_REFUSE;
    }
    verdict = check_route(head, match, reply);
    if (verdict != GATE_PASS) {
        return verdict;
    }
    if (is_cross_site(head)) {
        reply_problem(reply, PROBLEM_CROSS_SITE, "Its Origin or Sec-Fetch-Site is not this server.",
                      "open the address itself, or use curl");
        return GATE_REFUSE;
    }
    if (head->body_bytes > 0 && !is_json(head->content_type)) {
        reply_problem(reply, PROBLEM_MEDIA_TYPE, "A body is taken as application/json only.",
                      "add -H 'Content-Type: application/json', or send no body");
        return GATE_REFUSE;
    }
    return check_role(site, head, match, reply);
}
