/* SPDX-License-Identifier: BSD-2-Clause */
/* Percent-encoding; the library's own is switched off, so that "%2F" in a name splits no path. */
#include "uri.h"

#include "everwarm/base/invariant.h"

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

static bool is_good(int byte, enum uri_bytes bytes)
{
    return bytes == URI_ANY ? byte != 0 : byte >= 0x20 && byte < 0x7f;
}

bool uri_decode(struct slice text, enum uri_bytes bytes, char *out, size_t capacity)
{
    size_t used = 0;
    for (size_t i = 0; i < text.len; i++) {
        int byte = (unsigned char)text.ptr[i];
        if (byte == '%') {
            int high = i + 2 < text.len ? hex_value(text.ptr[i + 1]) : -1;
            int low = i + 2 < text.len ? hex_value(text.ptr[i + 2]) : -1;
            if (high < 0 || low < 0) {
                return false;
            }
            byte = high * 16 + low;
            i += 2;
        }
        if (!is_good(byte, bytes) || used + 1 >= capacity) {
            return false;
        }
        out[used++] = (char)byte;
    }
    out[used] = '\0';
    return true;
}

static const char HEX[] = "0123456789ABCDEF";

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~:", c) != NULL);
}

void uri_encode(const char *text, char *out, size_t capacity)
{
    REQUIRE(capacity > 0);
    size_t used = 0;
    for (const char *c = text; *c != '\0' && used + 4 <= capacity; c++) {
        if (is_unreserved(*c)) {
            out[used++] = *c;
            continue;
        }
        out[used++] = '%';
        out[used++] = HEX[(unsigned char)*c >> 4];
        out[used++] = HEX[(unsigned char)*c & 15];
    }
    out[used] = '\0';
}

void uri_show(struct slice key, char *out, size_t capacity)
{
    REQUIRE(capacity > 0);
    size_t used = 0;
    for (size_t i = 0; i < key.len && used + 4 <= capacity; i++) {
        const unsigned char byte = (unsigned char)key.ptr[i];
        if (byte > ' ' && byte < 0x7f && byte != '%') {
            out[used++] = (char)byte;
            continue;
        }
        out[used++] = '%';
        out[used++] = HEX[byte >> 4];
        out[used++] = HEX[byte & 15];
    }
    out[used] = '\0';
}
