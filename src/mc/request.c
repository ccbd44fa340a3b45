/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The classic text protocol, client's side. Stateless: an incomplete line is parsed again from its
 * start when more has come, with the bytes known to hold no LF passed over.
 *
 * How memcached cuts a line up (proto_text.c) is kept, since its errors depend on it: words are
 * divided by spaces only, a NUL ends the line, the number of words is judged before any of them is
 * read, "noreply" is looked for in the last word whatever the others are, and from then on silences
 * errors too.
 *
 * Invariants
 *   I1  What is returned depends on the bytes of the line alone, never on how they were cut.
 *   I2  No byte at or after INPUT's end is read.
 *   I3  An error is a constant: no byte of a client comes back in one.
 */
#include "request_private.h"

#include "c_number.h"
#include "everwarm/base/invariant.h"
#include "everwarm/base/limits.h"

enum {
    /* The most arguments of any command is 6 (cas with noreply); one more tells of too many. */
    WORDS_MAX = 7,
    /* memcached passes over at most so many spaces when it looks whether an endless line is a get.
     */
    LEADING_SPACES_MAX = 100,
    /* memcached's tokenizer stops at 23 words, so its look at the last one sees the 23rd. */
    HTTP_WORDS_MAX = 23,
    TLS_FIRST_BYTE = 0x16,
    BINARY_FIRST_BYTE = 0x80,
};

#define ERROR_DELETE  "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]\r\n"
#define ERROR_DELTA   "CLIENT_ERROR invalid numeric delta argument\r\n"
#define ERROR_EXPTIME "CLIENT_ERROR invalid exptime argument\r\n"

/* memcached's commands that speak of one server. */
static const struct {
    struct slice word;
    struct slice error;
} unsupported[] = {
#define UNSUPPORTED(name)                                                                          \
    {                                                                                              \
        SLICE_INIT(name), SLICE_INIT("CLIENT_ERROR " name " is not supported by everwarm\r\n")     \
    }
    UNSUPPORTED("slabs"),          UNSUPPORTED("lru"),      UNSUPPORTED("lru_crawler"),
    UNSUPPORTED("cache_memlimit"), UNSUPPORTED("shutdown"), UNSUPPORTED("watch"),
    UNSUPPORTED("refresh_certs"),  UNSUPPORTED("extstore"), UNSUPPORTED("misbehave"),
    UNSUPPORTED("debugtime"),
#undef UNSUPPORTED
};

struct words {
    struct slice at[WORDS_MAX];
    uint32_t count;
};

enum mc_parse request_bad(struct mc_request *out, struct slice error)
{
    out->error = out->is_noreply ? SLICE("") : error;
    return MC_PARSE_BAD;
}

static enum mc_parse hang_up(struct mc_request *out)
{
    out->must_close = true;
    out->error = SLICE("");
    return MC_PARSE_BAD;
}

/* The first byte of S at or after AT that is a space or NUL; S.len when there is none. */
static size_t find_word_end(struct slice s, size_t at)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    for (;;) {
        /* Eight at once: the test is zero exactly when no byte is below '!'. */
        while (s.len - at >= sizeof(uint64_t)) {
            uint64_t eight;
            memcpy(&eight, s.ptr + at, sizeof eight);
            if (((eight - ones * '!') & ~eight & (ones << 7)) != 0) {
                break;
            }
            at += sizeof eight;
        }
        while (at < s.len && (unsigned char)s.ptr[at] > ' ') {
            at++;
        }
        if (at == s.len || s.ptr[at] == ' ' || s.ptr[at] == '\0') {
            return at;
        }
        at++; /* another control byte, part of the word */
    }
}

static inline struct slice next_word(struct slice *line)
{
    size_t start = 0;
    while (start < line->len && line->ptr[start] == ' ') {
        start++;
    }
    size_t end = find_word_end(*line, start);
    struct slice word = slice_of(line->ptr + start, end - start);
    bool is_cut = end < line->len && line->ptr[end] == '\0';
    *line = is_cut ? slice_of(line->ptr + end, 0) : slice_skip(*line, end);
    return word;
}

struct slice request_next_word(struct slice *line)
{
    return next_word(line);
}

static void take_words(struct slice line, struct words *out)
{
    out->count = 0;
    while (out->count < WORDS_MAX) {
        struct slice word = next_word(&line);
        if (word.len == 0) {
            return;
        }
        out->at[out->count] = word;
        out->count++;
    }
}

bool request_is_reserved(struct slice key)
{
    return key.ptr[0] == '_' && slice_has_prefix(key, SLICE("_everwarm:"));
}

static void look_for_noreply(const struct words *words, struct mc_request *out)
{
    out->is_noreply =
        words->count > 0 && slice_is_equal(words->at[words->count - 1], SLICE("noreply"));
}

bool request_read_exptime(struct slice word, int64_t *out)
{
    int64_t exptime;
    if (!c_number_read_i64(word, &exptime)) {
        return false;
    }
    *out = (int32_t)exptime;
    return true;
}

static bool read_exptime(struct slice word, struct mc_request *out)
{
    return request_read_exptime(word, &out->exptime_s);
}

static enum mc_parse parse_keys(struct slice line, struct mc_request *out)
{
    struct slice key = next_word(&line);
    out->key = key;
    const char *end = key.ptr;
    enum mc_parse result = MC_PARSE_DONE;
    while (key.len > 0) {
        if (key.len > MC_KEY_BYTES_MAX) {
            return request_bad(out, SLICE(ERROR_FORMAT));
        }
        if (request_is_reserved(key)) {
            result = MC_PARSE_BAD;
        }
        out->key_count++;
        end = key.ptr + key.len;
        key = next_word(&line);
    }
    out->keys = slice_of(out->key.ptr, (size_t)(end - out->key.ptr));
    return result == MC_PARSE_DONE ? result : request_bad(out, SLICE(ERROR_RESERVED));
}

static enum mc_parse parse_get(struct slice line, struct mc_request *out)
{
    enum mc_parse result = parse_keys(line, out);
    return result == MC_PARSE_DONE && out->key_count == 0 ? request_bad(out, SLICE(ERROR_LINE))
                                                          : result;
}

static enum mc_parse parse_gat(struct slice line, struct mc_request *out)
{
    struct slice exptime = next_word(&line);
    if (exptime.len == 0) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    if (!read_exptime(exptime, out)) {
        return request_bad(out, SLICE(ERROR_EXPTIME));
    }
    enum mc_parse result = parse_keys(line, out);
    /* memcached finds nothing among no keys. */
    return result == MC_PARSE_DONE && out->key_count == 0 ? request_bad(out, SLICE("END\r\n"))
                                                          : result;
}

bool request_read_value_bytes(struct slice word, uint64_t *out)
{
    int64_t bytes;
    if (!c_number_read_i64(word, &bytes) || bytes < 0 || bytes > INT32_MAX - 2) {
        return false;
    }
    *out = (uint64_t)bytes;
    return true;
}

static enum mc_parse parse_store(struct slice line, uint64_t item_bytes_max, struct mc_request *out)
{
    struct words words;
    take_words(line, &words);
    uint32_t plain = out->command == MC_CAS ? 5 : 4;
    if (words.count != plain && words.count != plain + 1) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    look_for_noreply(&words, out);
    out->has_cas = out->command == MC_CAS;
    uint64_t flags;
    if (words.at[0].len > MC_KEY_BYTES_MAX || !c_number_read_u64(words.at[1], &flags) ||
        !read_exptime(words.at[2], out) ||
        !request_read_value_bytes(words.at[3], &out->value_bytes) ||
        (out->has_cas && !c_number_read_u64(words.at[4], &out->cas))) {
        return request_bad(out, SLICE(ERROR_FORMAT));
    }
    if (request_is_reserved(words.at[0])) {
        out->swallow_bytes = out->value_bytes + 2;
        return request_bad(out, SLICE(ERROR_RESERVED));
    }
    out->key = words.at[0];
    out->key_count = 1;
    if (out->value_bytes > item_bytes_max) {
        out->swallow_bytes = out->value_bytes + 2;
        return request_bad(out, SLICE(ERROR_TOO_LARGE));
    }
    out->flags = (uint32_t)flags;
    return MC_PARSE_DONE;
}

/* The key of a command that has just one, after its words have been counted. */
static enum mc_parse take_key(struct slice key, struct mc_request *out)
{
    if (key.len > MC_KEY_BYTES_MAX) {
        return request_bad(out, SLICE(ERROR_FORMAT));
    }
    if (request_is_reserved(key)) {
        return request_bad(out, SLICE(ERROR_RESERVED));
    }
    out->key = key;
    out->key_count = 1;
    return MC_PARSE_DONE;
}

static enum mc_parse parse_delete(struct slice line, struct mc_request *out)
{
    struct words words;
    take_words(line, &words);
    if (words.count < 1 || words.count > 3) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    if (words.count > 1) {
        /* Long ago a delete could be given a time; zero is still put up with. */
        bool is_zero = slice_is_equal(words.at[1], SLICE("0"));
        look_for_noreply(&words, out);
        bool is_valid = words.count == 2 ? is_zero || out->is_noreply : is_zero && out->is_noreply;
        if (!is_valid) {
            return request_bad(out, SLICE(ERROR_DELETE));
        }
    }
    return take_key(words.at[0], out);
}

/* incr, decr and touch: a key and a number. */
static enum mc_parse parse_key_and_number(struct slice line, struct mc_request *out)
{
    struct words words;
    take_words(line, &words);
    if (words.count < 2 || words.count > 3) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    look_for_noreply(&words, out);
    enum mc_parse result = take_key(words.at[0], out);
    if (result != MC_PARSE_DONE) {
        return result;
    }
    if (out->command == MC_TOUCH) {
        return read_exptime(words.at[1], out) ? MC_PARSE_DONE
                                              : request_bad(out, SLICE(ERROR_EXPTIME));
    }
    return c_number_read_u64(words.at[1], &out->delta) ? MC_PARSE_DONE
                                                       : request_bad(out, SLICE(ERROR_DELTA));
}

static enum mc_parse parse_flush_all(struct slice line, struct mc_request *out)
{
    struct words words;
    take_words(line, &words);
    if (words.count > 2) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    look_for_noreply(&words, out);
    if (words.count == (out->is_noreply ? 1 : 0)) {
        return MC_PARSE_DONE;
    }
    return read_exptime(words.at[0], out) ? MC_PARSE_DONE : request_bad(out, SLICE(ERROR_EXPTIME));
}

static enum mc_parse parse_verbosity(struct slice line, struct mc_request *out)
{
    struct words words;
    take_words(line, &words);
    if (words.count < 1 || words.count > 2) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    look_for_noreply(&words, out);
    uint64_t level;
    return c_number_read_u64(words.at[0], &level) ? MC_PARSE_DONE
                                                  : request_bad(out, SLICE(ERROR_FORMAT));
}

static void take_argument(struct slice line, struct mc_request *out)
{
    struct slice first = next_word(&line);
    const char *end = first.ptr + first.len;
    for (struct slice word = next_word(&line); word.len > 0; word = next_word(&line)) {
        end = word.ptr + word.len;
    }
    out->argument = slice_of(first.ptr, (size_t)(end - first.ptr));
}

/* memcached hangs up on a line whose last word begins with HTTP/. A browser's verbs are enough
 * here: the header lines and the body behind them must not be taken for commands. */
static bool is_http(struct slice word, struct slice line)
{
    bool has_verb = slice_is_equal(word, SLICE("GET")) || slice_is_equal(word, SLICE("POST")) ||
                    slice_is_equal(word, SLICE("PUT")) || slice_is_equal(word, SLICE("HEAD"));
    struct slice last = word;
    for (uint32_t count = 1; count < HTTP_WORDS_MAX; count++) {
        struct slice next = next_word(&line);
        if (next.len == 0) {
            break;
        }
        if (has_verb) {
            return true;
        }
        last = next;
    }
    return slice_has_prefix(last, SLICE("HTTP/"));
}

static bool is_foreign_protocol(struct slice input)
{
    return input.len > 0 && ((unsigned char)input.ptr[0] == TLS_FIRST_BYTE ||
                             (unsigned char)input.ptr[0] == BINARY_FIRST_BYTE);
}

static enum mc_parse parse_other(struct slice word, struct slice line, struct mc_request *out)
{
    if (word.len < 2) {
        return request_bad(out, SLICE(ERROR_LINE));
    }
    for (size_t i = 0; i < sizeof unsupported / sizeof unsupported[0]; i++) {
        if (slice_is_equal(word, unsupported[i].word)) {
            return request_bad(out, unsupported[i].error);
        }
    }
    out->is_foreign = is_http(word, line);
    return out->is_foreign ? hang_up(out) : request_bad(out, SLICE(ERROR_LINE));
}

/* The command whose word this is; MC_COMMAND_COUNT when there is none. By length, then memcmp. */
static enum mc_command find_command(struct slice word)
{
#define IS(literal) (memcmp(word.ptr, literal, sizeof(literal) - 1) == 0)
    switch (word.len) {
    case 3:
        return IS("get")   ? MC_GET
               : IS("set") ? MC_SET
               : IS("add") ? MC_ADD
               : IS("cas") ? MC_CAS
               : IS("gat") ? MC_GAT
                           : MC_COMMAND_COUNT;
    case 4:
        return IS("gets")   ? MC_GETS
               : IS("incr") ? MC_INCR
               : IS("decr") ? MC_DECR
               : IS("gats") ? MC_GATS
               : IS("quit") ? MC_QUIT
                            : MC_COMMAND_COUNT;
    case 5:
        return IS("touch") ? MC_TOUCH : IS("stats") ? MC_STATS : MC_COMMAND_COUNT;
    case 6:
        return IS("delete") ? MC_DELETE : IS("append") ? MC_APPEND : MC_COMMAND_COUNT;
    case 7:
        return IS("replace")   ? MC_REPLACE
               : IS("prepend") ? MC_PREPEND
               : IS("version") ? MC_VERSION
                               : MC_COMMAND_COUNT;
    case 9:
        return IS("flush_all") ? MC_FLUSH_ALL : IS("verbosity") ? MC_VERBOSITY : MC_COMMAND_COUNT;
    default:
        return MC_COMMAND_COUNT;
    }
#undef IS
}

static enum mc_parse parse_line(struct slice line, uint64_t item_bytes_max, struct mc_request *out)
{
    struct slice word = next_word(&line);
    if (word.len == 2 && word.ptr[0] == 'm') {
        return request_parse_meta(word, line, item_bytes_max, out);
    }
    out->command = find_command(word);
    switch (out->command) {
    case MC_GET:
    case MC_GETS:
        return parse_get(line, out);
    case MC_GAT:
    case MC_GATS:
        return parse_gat(line, out);
    case MC_SET:
    case MC_ADD:
    case MC_REPLACE:
    case MC_APPEND:
    case MC_PREPEND:
    case MC_CAS:
        return parse_store(line, item_bytes_max, out);
    case MC_DELETE:
        return parse_delete(line, out);
    case MC_INCR:
    case MC_DECR:
    case MC_TOUCH:
        return parse_key_and_number(line, out);
    case MC_FLUSH_ALL:
        return parse_flush_all(line, out);
    case MC_VERBOSITY:
        return parse_verbosity(line, out);
    case MC_STATS:
        take_argument(line, out);
        return MC_PARSE_DONE;
    case MC_VERSION:
    case MC_QUIT:
        return MC_PARSE_DONE;
    case MC_COMMAND_COUNT:
        return parse_other(word, line, out);
    case MC_META_GET:
    case MC_META_DEBUG:
    case MC_NOOP:
        break; /* no classic words */
    }
    UNREACHABLE();
}

/* Whether BYTES bytes at INPUT's start, in which no LF is, are more than memcached waits for. */
static bool is_too_long(struct slice input, size_t bytes)
{
    if (bytes <= MC_LINE_BYTES_MAX) {
        return false;
    }
    size_t spaces = 0;
    while (spaces <= LEADING_SPACES_MAX && input.ptr[spaces] == ' ') {
        spaces++;
    }
    struct slice rest = slice_skip(slice_of(input.ptr, bytes), spaces);
    bool is_get =
        spaces <= LEADING_SPACES_MAX &&
        (slice_has_prefix(rest, SLICE("get ")) || slice_has_prefix(rest, SLICE("gets ")) ||
         slice_has_prefix(rest, SLICE("gat ")) || slice_has_prefix(rest, SLICE("gats ")));
    return !is_get || bytes > MC_GET_LINE_BYTES_MAX;
}

enum mc_parse mc_request_parse(struct slice input, size_t scanned, uint64_t item_bytes_max,
                               struct mc_request *out)
{
    REQUIRE(scanned <= input.len);
    const char *lf =
        scanned < input.len ? memchr(input.ptr + scanned, '\n', input.len - scanned) : NULL;
    size_t before = lf != NULL ? (size_t)(lf - input.ptr) : input.len;
    *out = (struct mc_request){.line_bytes = input.len, .command = MC_COMMAND_COUNT};
    out->is_foreign = is_foreign_protocol(input);
    if (out->is_foreign || is_too_long(input, before)) {
        return hang_up(out);
    }
    if (lf == NULL) {
        out->scanned_bytes = input.len;
        return MC_PARSE_MORE;
    }
    out->line_bytes = before + 1;
    bool has_cr = before > 0 && input.ptr[before - 1] == '\r';
    struct slice line = slice_of(input.ptr, has_cr ? before - 1 : before);
    enum mc_parse result = parse_line(line, item_bytes_max, out);
    bool is_unset = out->command == MC_SET || out->dialect == MC_DIALECT_META;
    if (result == MC_PARSE_BAD && !is_unset) {
        out->key = SLICE("");
    }
    return result;
}

struct slice mc_request_next_key(struct slice *keys)
{
    return keys->len > 0 ? next_word(keys) : SLICE("");
}

const char *mc_command_word(enum mc_command command)
{
    static const char *const words[] = {
#define X(name, word) [MC_##name] = (word),
        MC_COMMAND_TABLE(X)
#undef X
    };
    REQUIRE(command < MC_COMMAND_COUNT);
    return words[command];
}
