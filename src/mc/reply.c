/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replies are matched to requests by their order alone, so one that is misread would give a client
 * another's bytes. Hence the strictness: one form per kind, one space between words, CRLF at the
 * end, and no guess about anything else.
 */
#include "everwarm/mc/reply.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/limits.h"
#include "everwarm/mc/encode.h"

/* A reply that is one word. */
struct fixed_reply {
    struct slice line;
    enum mc_reply_kind kind;
};

/* A reply that is one word and text behind it. */
struct text_reply {
    struct slice prefix;
    enum mc_reply_kind kind;
};

static const struct fixed_reply fixed_replies[] = {
    {SLICE_INIT("STORED"), MC_REPLY_STORED},   {SLICE_INIT("NOT_STORED"), MC_REPLY_NOT_STORED},
    {SLICE_INIT("EXISTS"), MC_REPLY_EXISTS},   {SLICE_INIT("NOT_FOUND"), MC_REPLY_NOT_FOUND},
    {SLICE_INIT("DELETED"), MC_REPLY_DELETED}, {SLICE_INIT("TOUCHED"), MC_REPLY_TOUCHED},
    {SLICE_INIT("OK"), MC_REPLY_OK},           {SLICE_INIT("ERROR"), MC_REPLY_ERROR},
    {SLICE_INIT("BUSY"), MC_REPLY_BUSY},       {SLICE_INIT("MN"), MC_REPLY_MN},
};

static const struct text_reply text_replies[] = {
    {SLICE_INIT("SERVER_ERROR "), MC_REPLY_SERVER_ERROR},
    {SLICE_INIT("CLIENT_ERROR "), MC_REPLY_CLIENT_ERROR},
    {SLICE_INIT("ERROR "), MC_REPLY_ERROR},
    {SLICE_INIT("ERROR:"), MC_REPLY_ERROR},
    {SLICE_INIT("BUSY "), MC_REPLY_BUSY},
};

/* A space and the word behind it off the front of REST. */
static bool take_word(struct slice *rest, struct slice *word)
{
    if (rest->len < 2 || rest->ptr[0] != ' ' || rest->ptr[1] == ' ') {
        return false;
    }
    *word = mc_next_word(rest);
    return true;
}

/* The same of a number. They are short: looking at each digit costs less than finding the end. */
static bool take_u64(struct slice *rest, uint64_t max, uint64_t *out)
{
    size_t end = 1;
    while (end < rest->len && rest->ptr[end] != ' ') {
        end++;
    }
    if (rest->len < 2 || rest->ptr[0] != ' ' ||
        !mc_read_u64(slice_of(rest->ptr + 1, end - 1), out)) {
        return false;
    }
    *rest = slice_skip(*rest, end);
    return *out <= max;
}

static bool take_key(struct slice *rest, struct slice *key)
{
    return take_word(rest, key) && key->len <= MC_KEY_BYTES_MAX;
}

static bool parse_value(struct slice rest, uint64_t item_bytes_max, struct mc_reply *out)
{
    uint64_t flags;
    if (!take_key(&rest, &out->key) || !take_u64(&rest, UINT32_MAX, &flags) ||
        !take_u64(&rest, item_bytes_max, &out->value_bytes)) {
        return false;
    }
    out->kind = MC_REPLY_VALUE;
    out->flags = (uint32_t)flags;
    out->has_cas = rest.len > 0;
    return !out->has_cas || (take_u64(&rest, UINT64_MAX, &out->cas) && rest.len == 0);
}

/* One flag of a meta reply, its value behind its letter. */
static bool parse_meta_flag(struct slice flag, struct mc_reply *out)
{
    char letter = flag.ptr[0];
    struct slice value = slice_skip(flag, 1);
    uint64_t number;
    switch (letter) {
    case 'W':
        out->is_won = true;
        return value.len == 0;
    case 'X':
        out->is_stale = true;
        return value.len == 0;
    case 'Z':
        out->is_sent = true;
        return value.len == 0;
    case 'c':
        out->has_cas = true;
        return mc_read_u64(value, &out->cas);
    case 'f':
        if (!mc_read_u64(value, &number) || number > UINT32_MAX) {
            return false;
        }
        out->flags = (uint32_t)number;
        out->has_flags = true;
        return true;
    case 's':
        return mc_read_u64(value, &out->item_bytes);
    case 'l':
        return mc_read_u64(value, &out->idle_s);
    case 'h':
        out->was_fetched = slice_is_equal(value, SLICE("1"));
        return out->was_fetched || slice_is_equal(value, SLICE("0"));
    case 'b':
        out->is_key_base64 = true;
        return value.len == 0;
    case 't':
        out->has_ttl = true;
        return mc_read_i64(value, &out->ttl_s);
    case 'k':
        out->key = value;
        return value.len > 0 && value.len <= MC_KEY_BYTES_MAX;
    default:
        return (letter >= 'a' && letter <= 'z') || (letter >= 'A' && letter <= 'Z');
    }
}

static bool parse_meta_flags(struct slice rest, struct mc_reply *out)
{
    while (rest.len > 0) {
        struct slice flag;
        if (!take_word(&rest, &flag) || !parse_meta_flag(flag, out)) {
            return false;
        }
    }
    return true;
}

/* The meta replies, told apart by their two letters. MN, which has no flags, is a fixed one. */
static bool parse_meta(struct slice line, uint64_t item_bytes_max, struct mc_reply *out)
{
    struct slice rest = slice_skip(line, 2);
    char second = line.ptr[1];
    switch (line.ptr[0]) {
    case 'H':
        out->kind = MC_REPLY_HD;
        return second == 'D' && parse_meta_flags(rest, out);
    case 'V':
        out->kind = MC_REPLY_VA;
        return second == 'A' && take_u64(&rest, item_bytes_max, &out->value_bytes) &&
               parse_meta_flags(rest, out);
    case 'E':
        out->kind = second == 'N' ? MC_REPLY_EN : MC_REPLY_EX;
        return (second == 'N' || second == 'X') && parse_meta_flags(rest, out);
    case 'M':
        out->kind = MC_REPLY_ME;
        out->text = slice_skip(rest, rest.len > 0 ? 1 : 0);
        return second == 'E' && out->text.len > 0 && out->text.ptr[0] != ' ';
    case 'N':
        out->kind = second == 'S' ? MC_REPLY_NS : MC_REPLY_NF;
        return (second == 'S' || second == 'F') && parse_meta_flags(rest, out);
    default:
        return false;
    }
}

static bool parse_stat(struct slice rest, struct mc_reply *out)
{
    if (!take_word(&rest, &out->key) || rest.len == 0) {
        return false;
    }
    out->kind = MC_REPLY_STAT;
    out->text = slice_skip(rest, 1);
    return true;
}

static bool parse_words(struct slice line, struct mc_reply *out)
{
    for (size_t i = 0; i < sizeof fixed_replies / sizeof fixed_replies[0]; i++) {
        if (slice_is_equal(line, fixed_replies[i].line)) {
            out->kind = fixed_replies[i].kind;
            out->text = line;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof text_replies / sizeof text_replies[0]; i++) {
        if (slice_has_prefix(line, text_replies[i].prefix)) {
            out->kind = text_replies[i].kind;
            out->text = line;
            return true;
        }
    }
    if (slice_has_prefix(line, SLICE("VERSION "))) {
        out->kind = MC_REPLY_VERSION;
        out->text = slice_skip(line, sizeof "VERSION " - 1);
        return true;
    }
    out->kind = MC_REPLY_NUMBER;
    return mc_read_u64(line, &out->number);
}

static bool parse_line(struct slice line, uint64_t item_bytes_max, struct mc_reply *out)
{
    if (line.len == 2 || (line.len > 2 && line.ptr[2] == ' ')) {
        return parse_meta(line, item_bytes_max, out) || parse_words(line, out);
    }
    if (line.len > 5 && memcmp(line.ptr, "VALUE", 5) == 0) {
        return parse_value(slice_skip(line, 5), item_bytes_max, out);
    }
    if (line.len == 3 && memcmp(line.ptr, "END", 3) == 0) {
        out->kind = MC_REPLY_END;
        return true;
    }
    if (line.len > 4 && memcmp(line.ptr, "STAT", 4) == 0) {
        return parse_stat(slice_skip(line, 4), out);
    }
    return parse_words(line, out);
}

/* What is passed on to clients and logs as text must not hold a second line's beginning. */
static bool is_clean(struct slice text)
{
    return text.len == 0 ||
           (memchr(text.ptr, '\r', text.len) == NULL && memchr(text.ptr, '\0', text.len) == NULL);
}

enum mc_parse mc_reply_parse(struct slice input, size_t scanned, uint64_t item_bytes_max,
                             struct mc_reply *out)
{
    REQUIRE(scanned <= input.len);
    *out = (struct mc_reply){.scanned_bytes = input.len};
    const char *lf =
        scanned < input.len ? memchr(input.ptr + scanned, '\n', input.len - scanned) : NULL;
    if (lf == NULL) {
        return input.len < MC_REPLY_LINE_BYTES_MAX ? MC_PARSE_MORE : MC_PARSE_BAD;
    }
    size_t before = (size_t)(lf - input.ptr);
    out->line_bytes = before + 1;
    if (out->line_bytes > MC_REPLY_LINE_BYTES_MAX) {
        return MC_PARSE_BAD;
    }
    bool has_cr = before > 0 && input.ptr[before - 1] == '\r';
    struct slice line = slice_of(input.ptr, has_cr ? before - 1 : before);
    if (slice_has_prefix(line, SLICE("key="))) {
        out->kind = MC_REPLY_DUMP;
        out->text = line;
        return is_clean(line) ? MC_PARSE_DONE : MC_PARSE_BAD;
    }
    bool is_good = has_cr && parse_line(line, item_bytes_max, out) && is_clean(out->text);
    return is_good ? MC_PARSE_DONE : MC_PARSE_BAD;
}
