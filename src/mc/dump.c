/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A fill believes what a dump says about which keys exist, so a line is taken only when every field
 * is where memcached writes it; anything else means that the dump is not what we think it is.
 */
#include "everwarm/mc/dump.h"

#include "everwarm/mc/encode.h"

/* The value of the field NAME ("key=") at the front of LINE, up to a space or the end. */
static bool take_field(struct slice *line, struct slice name, struct slice *value)
{
    if (!slice_has_prefix(*line, name)) {
        return false;
    }
    *line = slice_skip(*line, name.len);
    if (line->len == 0 || line->ptr[0] == ' ') {
        return false;
    }
    *value = mc_next_word(line);
    if (line->len > 0) {
        *line = slice_skip(*line, 1);
    }
    return true;
}

static int32_t hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

static bool decode_key(struct slice encoded, struct mc_dump_item *out)
{
    uint32_t count = 0;
    for (size_t i = 0; i < encoded.len; i++) {
        char c = encoded.ptr[i];
        if (count == MC_KEY_BYTES_MAX) {
            return false;
        }
        if (c == '%') {
            if (encoded.len - i < 3) {
                return false;
            }
            int32_t high = hex_digit(encoded.ptr[i + 1]);
            int32_t low = hex_digit(encoded.ptr[i + 2]);
            if (high < 0 || low < 0) {
                return false;
            }
            c = (char)(high << 4 | low);
            i += 2;
        } else if ((unsigned char)c <= ' ' || (unsigned char)c >= 0x7f) {
            /* memcached encodes these. */
            return false;
        }
        out->key[count] = c;
        count++;
    }
    out->key_bytes = count;
    return true;
}

bool mc_dump_parse(struct slice line, struct mc_dump_item *out)
{
    struct slice key, exp, la, cas, fetch, cls, size;
    if (!take_field(&line, SLICE("key="), &key) || !take_field(&line, SLICE("exp="), &exp) ||
        !take_field(&line, SLICE("la="), &la) || !take_field(&line, SLICE("cas="), &cas) ||
        !take_field(&line, SLICE("fetch="), &fetch) || !take_field(&line, SLICE("cls="), &cls) ||
        !take_field(&line, SLICE("size="), &size)) {
        return false;
    }
    uint64_t ignored;
    return decode_key(key, out) && mc_read_i64(exp, &out->exptime_s) && mc_read_u64(la, &ignored) &&
           mc_read_u64(cas, &out->cas) &&
           (slice_is_equal(fetch, SLICE("yes")) || slice_is_equal(fetch, SLICE("no"))) &&
           mc_read_u64(cls, &ignored) && mc_read_u64(size, &out->size_bytes);
}
