/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Paths and queries of the admin port. Promised: what is decoded is printable ASCII that fits, and
 * encoded again it means the same; a path leads to one route or to none.
 */
#include "admin/route.h"
#include "admin/uri.h"
#include "fuzz.h"

enum { DECODED_BYTES = 64 };

static void try_uri(struct slice text)
{
    char decoded[DECODED_BYTES];
    char encoded[3 * DECODED_BYTES + 1];
    char again[DECODED_BYTES];
    if (!uri_decode(text, URI_GRAPHIC, decoded, sizeof(decoded))) {
        return;
    }
    for (const char *c = decoded; *c != 0; c++) {
        PROMISE(*c >= ' ' && *c < 0x7f);
    }
    uri_encode(decoded, encoded, sizeof(encoded));
    PROMISE(uri_decode(slice_of_string(encoded), URI_GRAPHIC, again, sizeof(again)));
    PROMISE(strcmp(decoded, again) == 0);
}

static void try_route(const char *path)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "DELETE", "BREW"};
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        struct route_match match = {.route = NULL};
        enum route_outcome outcome = route_find(methods[i], path, &match);
        PROMISE((outcome == ROUTE_FOUND) == (match.route != NULL));
        PROMISE(outcome != ROUTE_FOUND || memchr(match.name, 0, sizeof(match.name)) != NULL);
        PROMISE(outcome != ROUTE_NO_METHOD || match.allow[0] != 0);
        if (outcome == ROUTE_FOUND) {
            PROMISE(route_at(route_index(match.route)) == match.route);
            (void)route_takes(match.route, path);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_of((const char *)data, size);
    try_uri(text);
    char *path = fuzz_copy(text);
    char *string = realloc(path, size + 1);
    PROMISE(string != NULL);
    string[size] = 0;
    try_route(string);
    free(string);
    return 0;
}
