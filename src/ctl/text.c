/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text for terminals. Names, reasons and errors come from servers, and through them from other
 * people's configurations: none of it may move a cursor or set a title. UTF-8 is read here and not
 * by the locale, so that the columns are the same whatever LANG says.
 */
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The code point at TEXT and its bytes; 0 bytes: no UTF-8. Overlong forms and surrogates are
 * none. */
static uint32_t decode(const char *text, size_t *bytes)
{
    static const uint32_t LEAST[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char first = (unsigned char)text[0];
    *bytes = first < 0x80   ? 1
             : first < 0xc0 ? 0
             : first < 0xe0 ? 2
             : first < 0xf0 ? 3
             : first < 0xf8 ? 4
                            : 0;
    if (*bytes <= 1) {
        return first;
    }
    uint32_t code = first & (0xffU >> (*bytes + 1));
    for (size_t i = 1; i < *bytes; i++) {
        const unsigned char next = (unsigned char)text[i];
        if ((next & 0xc0) != 0x80) {
            *bytes = 0;
            return 0;
        }
        code = code << 6 | (next & 0x3f);
    }
    if (code < LEAST[*bytes] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
        *bytes = 0;
    }
    return code;
}

/* C0, DEL, C1, line separators, and what turns the direction of writing. */
static bool is_control(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x200b && code <= 0x200f) ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2060 && code <= 0x206f) ||
           code == 0xfeff;
}

struct range {
    uint32_t first;
    uint32_t last;
};

static bool is_in(const struct range *ranges, size_t count, uint32_t code)
{
    for (size_t i = 0; i < count; i++) {
        if (code >= ranges[i].first && code <= ranges[i].last) {
            return true;
        }
    }
    return false;
}

/* The blocks that terminals agree on: marks that combine take none, East Asian wide and emoji
 * two. */
static size_t code_width(uint32_t code)
{
    static const struct range MARKS[] = {
        {0x300, 0x36f},   {0x483, 0x489},   {0x591, 0x5bd},   {0x610, 0x61a},   {0x64b, 0x65f},
        {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
    static const struct range WIDE[] = {{0x1100, 0x115f},   {0x2e80, 0x303e},  {0x3041, 0x33ff},
                                        {0x3400, 0x4dbf},   {0x4e00, 0x9fff},  {0xa000, 0xa4cf},
                                        {0xac00, 0xd7a3},   {0xf900, 0xfaff},  {0xfe30, 0xfe6f},
                                        {0xff00, 0xff60},   {0xffe0, 0xffe6},  {0x1f300, 0x1f64f},
                                        {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
    if (code < 0x300) {
        return 1;
    }
    if (is_in(MARKS, sizeof(MARKS) / sizeof(MARKS[0]), code)) {
        return 0;
    }
    return is_in(WIDE, sizeof(WIDE) / sizeof(WIDE[0]), code) ? 2 : 1;
}

void text_clean(const char *text, char *out, size_t out_bytes)
{
    size_t used = 0;
    while (*text != '\0') {
        size_t bytes = 0;
        const uint32_t code = decode(text, &bytes);
        const bool is_good = bytes > 0 && !is_control(code);
        const size_t taken = bytes > 0 ? bytes : 1;
        const size_t given = is_good ? bytes : 1;
        if (used + given >= out_bytes) {
            break;
        }
        memcpy(out + used, is_good ? text : "?", given);
        used += given;
        text += taken;
    }
    out[used] = '\0';
}

size_t text_width(const char *text)
{
    size_t width = 0;
    while (*text != '\0') {
        size_t bytes = 0;
        const uint32_t code = decode(text, &bytes);
        width += bytes > 0 ? code_width(code) : 1;
        text += bytes > 0 ? bytes : 1;
    }
    return width;
}

void text_latency(double seconds, char *out, size_t out_bytes)
{
    if (seconds < 0.9995) {
        const double ms = seconds * 1e3;
        (void)snprintf(out, out_bytes, "%.*fms", ms < 9.995 ? 2 : ms < 99.95 ? 1 : 0, ms);
    } else {
        (void)snprintf(out, out_bytes, "%.1fs", seconds);
    }
}

void text_duration(uint64_t seconds, char *out, size_t out_bytes)
{
    const unsigned long long minutes = seconds / 60;
    const unsigned long long hours = minutes / 60;
    if (minutes == 0) {
        (void)snprintf(out, out_bytes, "%llus", (unsigned long long)seconds);
    } else if (hours == 0) {
        (void)snprintf(out, out_bytes, "%llum%llus", minutes, (unsigned long long)seconds % 60);
    } else if (hours < 24) {
        (void)snprintf(out, out_bytes, "%lluh%llum", hours, minutes % 60);
    } else {
        (void)snprintf(out, out_bytes, "%llud%lluh", hours / 24, hours % 24);
    }
}

void text_bytes(uint64_t bytes, char *out, size_t out_bytes)
{
    static const char *const UNITS[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) {
        (void)snprintf(out, out_bytes, "%uB", (unsigned int)bytes);
        return;
    }
    double scaled = (double)bytes / 1024;
    size_t unit = 0;
    while (scaled >= 1023.95) {
        scaled /= 1024;
        unit++;
    }
    (void)snprintf(out, out_bytes, "%.1f%s", scaled, UNITS[unit]);
}

void text_bar(uint64_t per_mille, size_t width, char *out, size_t out_bytes)
{
    const uint64_t full = (per_mille > 1000 ? 1000 : per_mille) * width / 1000;
    if (out_bytes < width + 3) {
        out[0] = '\0';
        return;
    }
    out[0] = '[';
    memset(out + 1, '#', full);
    memset(out + 1 + full, '-', width - full);
    out[width + 1] = ']';
    out[width + 2] = '\0';
}

bool text_parse_duration(const char *text, uint64_t *out_ms)
{
    static const struct {
        const char *word;
        uint64_t ms;
    } UNITS[] = {{"", 1000}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    static const uint64_t YEAR_MS = 366ULL * 86400000;
    if (*text < '0' || *text > '9') {
        return false;
    }
    char *end = NULL;
    const unsigned long long number = strtoull(text, &end, 10);
    for (size_t i = 0; i < sizeof(UNITS) / sizeof(UNITS[0]); i++) {
        if (strcmp(end, UNITS[i].word) == 0) {
            *out_ms = number * UNITS[i].ms;
            return number <= YEAR_MS / UNITS[i].ms;
        }
    }
    return false;
}

bool text_parse_time(const char *text, int64_t *out_s)
{
    struct tm parts = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    if (end == NULL || *end != '\0') {
        return false;
    }
    *out_s = (int64_t)timegm(&parts);
    return true;
}
