/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The meta commands, client's side. As in the classic half, the order of memcached's checks is
 * kept, since its errors depend on it: the key's length, the number of words, each flag in turn (a
 * letter that is unknown or comes again ends the search, any other mistake only replaces the word
 * that is said in the end), the mode, the opaque. Versions differ in which flags they know; here it
 * is all that 1.6.38 knows.
 */
#include "request_private.h"

#include "c_number.h"
#include "everwarm/base/limits.h"

enum {
    /* memcached's MFLAG_MAX_OPT_LENGTH counts the command and an empty last word too: 20. */
    WORDS_AFTER_COMMAND_MAX = 18,
    /* MFLAG_MAX_OPAQUE_LENGTH, with its letter. */
    OPAQUE_BYTES_MAX = 32,
    LETTERS = 127,
};

#define ERROR_TOO_MANY_MG "CLIENT_ERROR options flags are too long\r\n"
#define ERROR_TOO_MANY    "CLIENT_ERROR options flags too long\r\n"
#define ERROR_DUPLICATE   "CLIENT_ERROR duplicate flag\r\n"
#define ERROR_UNKNOWN     "CLIENT_ERROR invalid flag\r\n"
#define ERROR_EITHER      "CLIENT_ERROR invalid or duplicate flag\r\n"
#define ERROR_TOKEN       "CLIENT_ERROR bad token in command line format\r\n"
#define ERROR_KEY         "CLIENT_ERROR error decoding key\r\n"
#define ERROR_M_LENGTH    "CLIENT_ERROR incorrect length for M token\r\n"
#define ERROR_MS_MODE     "CLIENT_ERROR invalid mode for ms M token\r\n"
#define ERROR_MA_MODE     "CLIENT_ERROR invalid mode for ma M token\r\n"
#define ERROR_INITIAL     "CLIENT_ERROR invalid numeric initial value\r\n"
#define ERROR_DELTA       "CLIENT_ERROR invalid numeric delta value\r\n"
#define ERROR_OPAQUE      "CLIENT_ERROR opaque token too long\r\n"
#define ERROR_OUR_CAS     "CLIENT_ERROR the E flag is not supported by everwarm\r\n"
#define ERROR_ME_KEY      "CLIENT_ERROR me of a key that is no text is not supported\r\n"

/* What is learned of a line beside the request. */
struct meta {
    struct slice error; /* empty: none */
    char mode;          /* M; 0: none */
    bool is_opaque_long;
    bool is_our_cas; /* E */
    bool seen[LETTERS];
};

static void note(struct meta *meta, bool is_fine, struct slice error)
{
    if (!is_fine) {
        meta->error = error;
    }
}

/* The key, once b has told how it is written. */
static bool is_decodable(struct slice key)
{
    char bytes[MC_KEY_BYTES_MAX];
    return mc_key_decode(key, bytes) > 0;
}

/* A flag with a number, or a mode, behind its letter. */
static void take_argument_flag(struct slice flag, struct mc_request *out, struct meta *meta)
{
    struct slice value = slice_skip(flag, 1);
    uint64_t number;
    switch (flag.ptr[0]) {
    case 'N':
        out->is_vivify = true;
        note(meta, request_read_exptime(value, &out->vivify_exptime_s), SLICE(ERROR_TOKEN));
        return;
    case 'T':
        out->has_exptime = true;
        note(meta, request_read_exptime(value, &out->exptime_s), SLICE(ERROR_TOKEN));
        return;
    case 'R':
        out->has_recache = true;
        note(meta, request_read_exptime(value, &out->recache_s), SLICE(ERROR_TOKEN));
        return;
    case 'F':
        if (c_number_read_u64(value, &number)) {
            out->flags = (uint32_t)number;
        } else {
            /* memcached has no word of its own for it: an earlier mistake's, or this. */
            note(meta, meta->error.len > 0, SLICE(ERROR_FORMAT));
        }
        return;
    case 'C':
        out->has_cas = true;
        note(meta, c_number_read_u64(value, &out->cas), SLICE(ERROR_TOKEN));
        return;
    case 'E':
        meta->is_our_cas = true;
        note(meta, c_number_read_u64(value, &number), SLICE(ERROR_TOKEN));
        return;
    case 'M':
        meta->mode = value.len == 1 ? value.ptr[0] : 0;
        note(meta, value.len == 1, SLICE(ERROR_M_LENGTH));
        return;
    case 'J':
        note(meta, c_number_read_u64(value, &out->initial), SLICE(ERROR_INITIAL));
        return;
    case 'D':
        note(meta, c_number_read_u64(value, &out->delta), SLICE(ERROR_DELTA));
        return;
    default:
        meta->is_opaque_long = flag.len > OPAQUE_BYTES_MAX;
        return;
    }
}

/* Returns  false: the flags behind it are not looked at. */
static bool take_flag(struct slice flag, struct slice key, struct mc_request *out,
                      struct meta *meta)
{
    unsigned char letter = (unsigned char)flag.ptr[0];
    if (letter >= LETTERS || meta->seen[letter]) {
        meta->error = SLICE(ERROR_DUPLICATE);
        return false;
    }
    meta->seen[letter] = true;
    switch (letter) {
    case 'b':
        out->is_base64 = true;
        note(meta, is_decodable(key), SLICE(ERROR_KEY));
        return true;
    case 'v':
        out->wants_value = true;
        return true;
    case 'c':
        out->wants_cas = true;
        return true;
    case 'q':
        out->is_quiet = true;
        return true;
    case 'I':
        out->is_mark = true;
        return true;
    case 'x':
        out->is_emptied = true;
        return true;
    case 'f':
    case 'h':
    case 'k':
    case 'l':
    case 's':
    case 't':
    case 'u':
    case 'L':
    case 'P':
        return true;
    case 'C':
    case 'D':
    case 'E':
    case 'F':
    case 'J':
    case 'M':
    case 'N':
    case 'O':
    case 'R':
    case 'T':
        take_argument_flag(flag, out, meta);
        return true;
    default:
        meta->error = SLICE(ERROR_UNKNOWN);
        return false;
    }
}

static void take_flags(struct slice line, struct slice key, struct mc_request *out,
                       struct meta *meta)
{
    struct slice flag = request_next_word(&line);
    const char *begin = flag.ptr;
    const char *end = flag.ptr;
    while (flag.len > 0 && take_flag(flag, key, out, meta)) {
        end = flag.ptr + flag.len;
        flag = request_next_word(&line);
    }
    out->flags_text = slice_of(begin, (size_t)(end - begin));
}

static bool has_too_many(struct slice line)
{
    uint32_t count = 0;
    while (count <= WORDS_AFTER_COMMAND_MAX && request_next_word(&line).len > 0) {
        count++;
    }
    return count > WORDS_AFTER_COMMAND_MAX;
}

/* What is looked at when all else is right. */
static bool has_late_error(struct meta *meta)
{
    note(meta, !meta->is_our_cas, SLICE(ERROR_OUR_CAS));
    note(meta, !meta->is_opaque_long, SLICE(ERROR_OPAQUE));
    return meta->error.len > 0;
}

/* The key is fine but for what it spells. */
static enum mc_parse take_key(struct slice key, struct mc_request *out)
{
    char bytes[MC_KEY_BYTES_MAX];
    struct slice spelled = out->is_base64 ? slice_of(bytes, mc_key_decode(key, bytes)) : key;
    if (request_is_reserved(spelled)) {
        return request_bad(out, SLICE(ERROR_RESERVED));
    }
    out->key = key;
    out->key_count = 1;
    return MC_PARSE_DONE;
}

static enum mc_parse parse_get(struct slice key, struct slice rest, struct mc_request *out)
{
    struct meta meta = {.mode = 0};
    out->command = MC_META_GET;
    take_flags(rest, key, out, &meta);
    if (meta.error.len > 0) {
        return request_bad(out, meta.error);
    }
    if (has_late_error(&meta)) {
        return request_bad(out, meta.error);
    }
    /* Of other commands, and passed over. */
    out->has_cas = false;
    out->is_mark = false;
    out->is_emptied = false;
    return take_key(key, out);
}

/* The operation of an ms with this mode; MC_COMMAND_COUNT: there is no such mode. */
static enum mc_command store_of(char mode)
{
    switch (mode) {
    case 0:
    case 'S':
        return MC_SET;
    case 'E':
        return MC_ADD;
    case 'A':
        return MC_APPEND;
    case 'P':
        return MC_PREPEND;
    case 'R':
        return MC_REPLACE;
    default:
        return MC_COMMAND_COUNT;
    }
}

static enum mc_parse parse_set(struct slice key, struct slice rest, uint64_t item_bytes_max,
                               struct mc_request *out)
{
    struct meta meta = {.mode = 0};
    struct slice length = request_next_word(&rest);
    if (!request_read_value_bytes(length, &out->value_bytes)) {
        return request_bad(out, SLICE(ERROR_FORMAT));
    }
    take_flags(rest, key, out, &meta);
    out->command = store_of(meta.mode);
    out->swallow_bytes = out->value_bytes + 2;
    if (meta.error.len > 0) {
        return request_bad(out, meta.error);
    }
    if (out->command == MC_COMMAND_COUNT) {
        return request_bad(out, SLICE(ERROR_MS_MODE));
    }
    if (has_late_error(&meta)) {
        return request_bad(out, meta.error);
    }
    bool is_appended = out->command == MC_APPEND || out->command == MC_PREPEND;
    if (out->command == MC_ADD || (is_appended && out->cas == 0)) {
        out->has_cas =
            false; /* there is no item to have one; and memcached takes 0 for none here */
    } else if (out->has_cas && !is_appended) {
        out->command = MC_CAS;
    }
    out->is_vivify = out->is_vivify && is_appended;
    out->is_mark = out->is_mark && out->command == MC_CAS;
    out->is_emptied = false;
    if (take_key(key, out) != MC_PARSE_DONE) {
        return MC_PARSE_BAD;
    }
    if (out->value_bytes > item_bytes_max) {
        return request_bad(out, SLICE(ERROR_TOO_LARGE));
    }
    out->swallow_bytes = 0;
    return MC_PARSE_DONE;
}

static enum mc_parse parse_delete(struct slice key, struct slice rest, struct mc_request *out)
{
    struct meta meta = {.mode = 0};
    out->command = MC_DELETE;
    take_flags(rest, key, out, &meta);
    if (meta.error.len > 0) {
        return request_bad(out, SLICE(ERROR_EITHER));
    }
    if (has_late_error(&meta)) {
        return request_bad(out, meta.error);
    }
    return take_key(key, out);
}

static enum mc_parse parse_arithmetic(struct slice key, struct slice rest, struct mc_request *out)
{
    struct meta meta = {.mode = 0};
    out->command = MC_INCR;
    out->delta = 1;
    take_flags(rest, key, out, &meta);
    if (meta.error.len > 0) {
        return request_bad(out, SLICE(ERROR_EITHER));
    }
    switch (meta.mode) {
    case 0:
    case 'I':
    case '+':
        break;
    case 'D':
    case '-':
        out->command = MC_DECR;
        break;
    default:
        return request_bad(out, SLICE(ERROR_MA_MODE));
    }
    if (has_late_error(&meta)) {
        return request_bad(out, meta.error);
    }
    out->has_cas = out->has_cas && out->cas != 0; /* as above */
    out->is_mark = false;
    out->is_emptied = false;
    return take_key(key, out);
}

/* Could a reply line hold these bytes as one word? A node may send a key back as it is. */
static bool is_text(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)bytes[i] <= ' ') {
            return false;
        }
    }
    return true;
}

static enum mc_parse parse_debug(struct slice line, struct mc_request *out)
{
    out->command = MC_META_DEBUG;
    struct slice key = request_next_word(&line);
    if (key.len == 0 || key.len > MC_KEY_BYTES_MAX) {
        return request_bad(out, SLICE(ERROR_FORMAT));
    }
    out->is_base64 = slice_is_equal(request_next_word(&line), SLICE("b"));
    if (out->is_base64) {
        char bytes[MC_KEY_BYTES_MAX];
        size_t len = mc_key_decode(key, bytes);
        if (len == 0 || !is_text(bytes, len)) {
            return request_bad(out, len == 0 ? SLICE(ERROR_FORMAT) : SLICE(ERROR_ME_KEY));
        }
    }
    return take_key(key, out);
}

enum mc_parse request_parse_meta(struct slice word, struct slice line, uint64_t item_bytes_max,
                                 struct mc_request *out)
{
    char kind = word.ptr[1];
    out->command = MC_COMMAND_COUNT;
    out->dialect = MC_DIALECT_META;
    if (kind == 'n') {
        out->command = MC_NOOP;
        return MC_PARSE_DONE;
    }
    if (kind == 'e') {
        return parse_debug(line, out);
    }
    struct slice rest = line;
    struct slice key = request_next_word(&rest);
    bool is_known = kind == 'g' || kind == 's' || kind == 'd' || kind == 'a';
    if (!is_known || key.len == 0) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    if (key.len > MC_KEY_BYTES_MAX) {
        return request_bad(out, SLICE(ERROR_FORMAT));
    }
    if (has_too_many(line)) {
        return request_bad(out, kind == 'g' ? SLICE(ERROR_TOO_MANY_MG) : SLICE(ERROR_TOO_MANY));
    }
    switch (kind) {
    case 'g':
        return parse_get(key, rest, out);
    case 's':
        return parse_set(key, rest, item_bytes_max, out);
    case 'd':
        return parse_delete(key, rest, out);
    default:
        return parse_arithmetic(key, rest, out);
    }
}
