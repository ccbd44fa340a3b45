/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading and writing addresses. Literals are told from names only where it matters (an IPv6
 * address without brackets would swallow its port, a name that begins with "127." is no loopback).
 */
#include "everwarm/config/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

enum {
    /* sun_path holds 108 bytes with the final zero. */
    UNIX_PATH_BYTES_MAX = 107,
    /* A full domain name in text. */
    HOST_BYTES_MAX = 253,
    PORT_MAX = 65535,
};

static const char UNIX_PREFIX[] = "unix:";

static const char *parse_unix(const char *path, struct address *out)
{
    const size_t len = strlen(path);
    if (path[0] != '/') {
        return "a unix socket needs an absolute path, like unix:/run/everwarm.sock";
    }
    if (len > UNIX_PATH_BYTES_MAX) {
        return "the path of a unix socket has at most 107 bytes";
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)path[i] <= ' ' || path[i] == 0x7f) {
            return "the path of a unix socket has no spaces or control characters here";
        }
    }
    out->kind = ADDRESS_UNIX;
    memcpy(out->host, path, len + 1);
    return NULL;
}

static const char *parse_port(const char *text, uint16_t *out)
{
    uint32_t port = 0;
    size_t digits = 0;
    for (; text[digits] >= '0' && text[digits] <= '9' && port <= PORT_MAX; digits++) {
        port = port * 10 + (uint32_t)(text[digits] - '0');
    }
    if (digits == 0 || text[digits] != '\0' || port > PORT_MAX) {
        return "the port must be a number from 0 to 65535";
    }
    *out = (uint16_t)port;
    return NULL;
}

/* Of ASCII only, whatever the locale says. */
static char to_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_host_byte(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '_';
}

static const char *take_name(const char *text, size_t len, struct address *out)
{
    if (len == 0) {
        return "the host is missing: HOST:PORT, [V6]:PORT or unix:/path";
    }
    if (len > HOST_BYTES_MAX) {
        return "a host name has at most 253 bytes";
    }
    for (size_t i = 0; i < len; i++) {
        out->host[i] = to_lower(text[i]);
        if (!is_host_byte(out->host[i])) {
            return "a host has only letters, digits, '.', '-' and '_'";
        }
    }
    out->host[len] = '\0';
    return NULL;
}

static const char *take_v6(const char *text, size_t len, struct address *out)
{
    struct in6_addr ignored;
    if (len >= INET6_ADDRSTRLEN) {
        return "not an IPv6 address between the brackets";
    }
    memcpy(out->host, text, len);
    out->host[len] = '\0';
    if (inet_pton(AF_INET6, out->host, &ignored) != 1) {
        return "not an IPv6 address between the brackets";
    }
    return NULL;
}

const char *address_parse(const char *text, uint16_t port_default, struct address *out)
{
    *out = (struct address){.kind = ADDRESS_TCP, .port = port_default};
    if (strncmp(text, UNIX_PREFIX, sizeof(UNIX_PREFIX) - 1) == 0) {
        return parse_unix(text + sizeof(UNIX_PREFIX) - 1, out);
    }
    const char *rest = NULL; /* what follows the host: nothing, or a colon and a port */
    const char *why = NULL;
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (end == NULL) {
            return "the ']' of an IPv6 address is missing";
        }
        why = take_v6(text + 1, (size_t)(end - text) - 1, out);
        rest = end + 1;
    } else {
        const size_t len = strcspn(text, ":");
        if (text[len] == ':' && strchr(text + len + 1, ':') != NULL) {
            return "an IPv6 address goes in brackets, like [::1]:11211";
        }
        why = take_name(text, len, out);
        rest = text + len;
    }
    if (why != NULL || rest[0] == '\0') {
        return why;
    }
    if (rest[0] != ':') {
        return "after ']' comes a colon and the port, or nothing";
    }
    return parse_port(rest + 1, &out->port);
}

void address_format(const struct address *address, char out[ADDRESS_TEXT_BYTES_MAX])
{
    switch (address->kind) {
    case ADDRESS_NONE:
        memcpy(out, "none", sizeof("none"));
        break;
    case ADDRESS_UNIX:
        (void)snprintf(out, ADDRESS_TEXT_BYTES_MAX, "unix:%s", address->host);
        break;
    case ADDRESS_TCP: {
        const bool is_v6 = strchr(address->host, ':') != NULL;
        (void)snprintf(out, ADDRESS_TEXT_BYTES_MAX, "%s%s%s:%u", is_v6 ? "[" : "", address->host,
                       is_v6 ? "]" : "", address->port);
        break;
    }
    }
}

bool address_is_equal(const struct address *a, const struct address *b)
{
    return a->kind == b->kind && a->port == b->port && strcmp(a->host, b->host) == 0;
}

bool address_is_clash(const struct address *a, const struct address *b)
{
    const bool is_any_port = a->kind == ADDRESS_TCP && a->port == 0;
    return !is_any_port && a->kind != ADDRESS_NONE && address_is_equal(a, b);
}

static bool is_loopback_host(const char *host)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, host, &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == IN_LOOPBACKNET;
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        return memcmp(&v6, &in6addr_loopback, sizeof(v6)) == 0;
    }
    return strcmp(host, "localhost") == 0;
}

bool address_is_loopback(const struct address *address)
{
    return address->kind != ADDRESS_TCP || is_loopback_host(address->host);
}
