/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The binary protocol's lengths are where others were broken (CVE-2016-8704, -8705, -8706): a body
 * shorter than the key and extras it is said to hold, or extras of a length that the command does
 * not have. So one table says which lengths a command may have, and they are compared before any
 * byte behind the header is looked at.
 *
 * I1. key + extras <= body holds before anything is subtracted from the body.
 * I2. A head is at most MC_BINARY_HEAD_BYTES_MAX long, whatever the header says.
 */
#include "everwarm/mc/binary.h"

#include "everwarm/base/invariant.h"
#include "everwarm/base/limits.h"

enum {
    OFFSET_OPCODE = 1,
    OFFSET_KEY_BYTES = 2,
    OFFSET_EXTRAS_BYTES = 4,
    OFFSET_BODY_BYTES = 8,
    OFFSET_OPAQUE = 12,
    OFFSET_CAS = 16,
    OPCODES = 0x25,
};

/* An expiry of increment that says: store nothing on a miss. */
#define NO_INITIAL UINT32_C(0xffffffff)

enum key_rule { KEY_NONE, KEY_ONE, KEY_MAYBE };

/* What a command's request looks like. */
struct form {
    bool is_known;
    bool is_quiet;
    bool wants_key;
    bool has_value;
    bool may_lack_extras;
    uint8_t plain; /* enum mc_binary_opcode */
    uint8_t extras_bytes;
    uint8_t key; /* enum key_rule */
};

#define FORM(name, ...)                                                                            \
    {                                                                                              \
        .is_known = true, .plain = MC_BINARY_##name, __VA_ARGS__                                   \
    }

static const struct form forms[OPCODES] = {
    [MC_BINARY_GET] = FORM(GET, .key = KEY_ONE),
    [MC_BINARY_GETQ] = FORM(GET, .key = KEY_ONE, .is_quiet = true),
    [MC_BINARY_GETK] = FORM(GET, .key = KEY_ONE, .wants_key = true),
    [MC_BINARY_GETKQ] = FORM(GET, .key = KEY_ONE, .wants_key = true, .is_quiet = true),
    [MC_BINARY_SET] = FORM(SET, .key = KEY_ONE, .extras_bytes = 8, .has_value = true),
    [MC_BINARY_SETQ] =
        FORM(SET, .key = KEY_ONE, .extras_bytes = 8, .has_value = true, .is_quiet = true),
    [MC_BINARY_ADD] = FORM(ADD, .key = KEY_ONE, .extras_bytes = 8, .has_value = true),
    [MC_BINARY_ADDQ] =
        FORM(ADD, .key = KEY_ONE, .extras_bytes = 8, .has_value = true, .is_quiet = true),
    [MC_BINARY_REPLACE] = FORM(REPLACE, .key = KEY_ONE, .extras_bytes = 8, .has_value = true),
    [MC_BINARY_REPLACEQ] =
        FORM(REPLACE, .key = KEY_ONE, .extras_bytes = 8, .has_value = true, .is_quiet = true),
    [MC_BINARY_APPEND] = FORM(APPEND, .key = KEY_ONE, .has_value = true),
    [MC_BINARY_APPENDQ] = FORM(APPEND, .key = KEY_ONE, .has_value = true, .is_quiet = true),
    [MC_BINARY_PREPEND] = FORM(PREPEND, .key = KEY_ONE, .has_value = true),
    [MC_BINARY_PREPENDQ] = FORM(PREPEND, .key = KEY_ONE, .has_value = true, .is_quiet = true),
    [MC_BINARY_DELETE] = FORM(DELETE, .key = KEY_ONE),
    [MC_BINARY_DELETEQ] = FORM(DELETE, .key = KEY_ONE, .is_quiet = true),
    [MC_BINARY_INCREMENT] = FORM(INCREMENT, .key = KEY_ONE, .extras_bytes = 20),
    [MC_BINARY_INCREMENTQ] = FORM(INCREMENT, .key = KEY_ONE, .extras_bytes = 20, .is_quiet = true),
    [MC_BINARY_DECREMENT] = FORM(DECREMENT, .key = KEY_ONE, .extras_bytes = 20),
    [MC_BINARY_DECREMENTQ] = FORM(DECREMENT, .key = KEY_ONE, .extras_bytes = 20, .is_quiet = true),
    [MC_BINARY_QUIT] = FORM(QUIT, .key = KEY_NONE),
    [MC_BINARY_QUITQ] = FORM(QUIT, .key = KEY_NONE, .is_quiet = true),
    [MC_BINARY_FLUSH] = FORM(FLUSH, .key = KEY_NONE, .extras_bytes = 4, .may_lack_extras = true),
    [MC_BINARY_FLUSHQ] =
        FORM(FLUSH, .key = KEY_NONE, .extras_bytes = 4, .may_lack_extras = true, .is_quiet = true),
    [MC_BINARY_NOOP] = FORM(NOOP, .key = KEY_NONE),
    [MC_BINARY_VERSION] = FORM(VERSION, .key = KEY_NONE),
    [MC_BINARY_STAT] = FORM(STAT, .key = KEY_MAYBE),
    [MC_BINARY_TOUCH] = FORM(TOUCH, .key = KEY_ONE, .extras_bytes = 4),
    [MC_BINARY_GAT] = FORM(GAT, .key = KEY_ONE, .extras_bytes = 4),
    [MC_BINARY_GATQ] = FORM(GAT, .key = KEY_ONE, .extras_bytes = 4, .is_quiet = true),
    [MC_BINARY_GATK] = FORM(GAT, .key = KEY_ONE, .extras_bytes = 4, .wants_key = true),
    [MC_BINARY_GATKQ] =
        FORM(GAT, .key = KEY_ONE, .extras_bytes = 4, .wants_key = true, .is_quiet = true),
};

static uint32_t read_u16(const char *at)
{
    return (uint32_t)((unsigned char)at[0] << 8 | (unsigned char)at[1]);
}

static uint32_t read_u32(const char *at)
{
    return read_u16(at) << 16 | read_u16(at + 2);
}

static uint64_t read_u64(const char *at)
{
    return (uint64_t)read_u32(at) << 32 | read_u32(at + 4);
}

/* What can be said of the request by its header alone. */
struct header {
    uint32_t key_bytes;
    uint32_t extras_bytes;
    uint32_t body_bytes;
};

static enum mc_parse bad(struct mc_binary_request *out, enum mc_binary_status status)
{
    out->status = status;
    return MC_PARSE_BAD;
}

static enum mc_parse hang_up(struct mc_binary_request *out, enum mc_binary_status status)
{
    out->must_close = true;
    return bad(out, status);
}

static bool has_form(const struct header *header, const struct form *form)
{
    bool has_extras = header->extras_bytes == form->extras_bytes ||
                      (form->may_lack_extras && header->extras_bytes == 0);
    bool has_key = form->key == KEY_MAYBE || (header->key_bytes > 0) == (form->key == KEY_ONE);
    bool has_rest = header->body_bytes > header->key_bytes + header->extras_bytes;
    return has_extras && has_key && (form->has_value || !has_rest);
}

/* memcached takes an expiry of any 32 bits as a time from now or since 1970; the nodes' text can
 * say no more than 31. */
static int64_t exptime(const char *at)
{
    uint32_t seconds = read_u32(at);
    return seconds > INT32_MAX ? INT32_MAX : (int64_t)seconds;
}

static void read_extras(const char *at, const struct header *header, struct mc_binary_request *out)
{
    switch (out->plain) {
    case MC_BINARY_SET:
    case MC_BINARY_ADD:
    case MC_BINARY_REPLACE:
        out->flags = read_u32(at);
        out->exptime_s = exptime(at + 4);
        break;
    case MC_BINARY_INCREMENT:
    case MC_BINARY_DECREMENT:
        out->delta = read_u64(at);
        out->initial = read_u64(at + 8);
        out->has_initial = read_u32(at + 16) != NO_INITIAL;
        out->exptime_s = exptime(at + 16);
        break;
    default:
        out->exptime_s = header->extras_bytes == 4 ? exptime(at) : 0;
        break;
    }
}

/* The nodes get it as a word of text, and never a key of everwarm's own. */
static bool can_be_sent(struct slice key)
{
    return memchr(key.ptr, ' ', key.len) == NULL && memchr(key.ptr, '\n', key.len) == NULL &&
           memchr(key.ptr, 0, key.len) == NULL && !slice_has_prefix(key, SLICE("_everwarm:"));
}

/* The head is there and its lengths are right. */
static enum mc_parse parse_head(const char *at, const struct header *header,
                                const struct form *form, uint64_t item_bytes_max,
                                struct mc_binary_request *out)
{
    read_extras(at + MC_BINARY_HEADER_BYTES, header, out);
    struct slice key =
        slice_of(at + MC_BINARY_HEADER_BYTES + header->extras_bytes, header->key_bytes);
    out->value_bytes = header->body_bytes - header->key_bytes - header->extras_bytes;
    if (form->key == KEY_ONE && !can_be_sent(key)) {
        out->swallow_bytes = out->value_bytes;
        return bad(out, MC_BINARY_INVALID);
    }
    if (out->value_bytes > item_bytes_max) {
        out->swallow_bytes = out->value_bytes;
        out->key = out->plain == MC_BINARY_SET ? key : SLICE("");
        return bad(out, MC_BINARY_TOO_LARGE);
    }
    out->key = key;
    return MC_PARSE_DONE;
}

enum mc_parse mc_binary_parse(struct slice input, uint64_t item_bytes_max,
                              struct mc_binary_request *out)
{
    *out = (struct mc_binary_request){.status = MC_BINARY_OK};
    if (input.len > 0 && (unsigned char)input.ptr[0] != MC_BINARY_REQUEST_MAGIC) {
        out->is_silent = true;
        out->head_bytes = 1;
        return hang_up(out, MC_BINARY_INVALID);
    }
    if (input.len < MC_BINARY_HEADER_BYTES) {
        return MC_PARSE_MORE;
    }
    const char *at = input.ptr;
    struct header header = {.key_bytes = read_u16(at + OFFSET_KEY_BYTES),
                            .extras_bytes = (unsigned char)at[OFFSET_EXTRAS_BYTES],
                            .body_bytes = read_u32(at + OFFSET_BODY_BYTES)};
    out->opcode = (uint8_t)at[OFFSET_OPCODE];
    out->opaque = read_u32(at + OFFSET_OPAQUE);
    out->cas = read_u64(at + OFFSET_CAS);
    out->head_bytes = MC_BINARY_HEADER_BYTES;
    if (header.key_bytes + header.extras_bytes > header.body_bytes) {
        return hang_up(out, MC_BINARY_UNKNOWN_COMMAND);
    }
    if (header.key_bytes > MC_KEY_BYTES_MAX) {
        return hang_up(out, MC_BINARY_INVALID);
    }
    static const struct form unknown = {.is_known = false};
    const struct form *form = out->opcode < OPCODES ? &forms[out->opcode] : &unknown;
    if (!form->is_known) {
        out->swallow_bytes = header.body_bytes;
        return bad(out, MC_BINARY_UNKNOWN_COMMAND);
    }
    out->plain = form->plain;
    out->is_quiet = form->is_quiet;
    out->wants_key = form->wants_key;
    if (!has_form(&header, form)) {
        return hang_up(out, MC_BINARY_INVALID);
    }
    size_t head_bytes = MC_BINARY_HEADER_BYTES + header.extras_bytes + header.key_bytes;
    INVARIANT(head_bytes <= MC_BINARY_HEAD_BYTES_MAX);
    if (input.len < head_bytes) {
        return MC_PARSE_MORE;
    }
    out->head_bytes = head_bytes;
    return parse_head(at, &header, form, item_bytes_max, out);
}

bool mc_binary_is_quiet(uint8_t opcode)
{
    return opcode < OPCODES && forms[opcode].is_quiet;
}

bool mc_binary_wants_key(uint8_t opcode)
{
    return opcode < OPCODES && forms[opcode].wants_key;
}

/* --- Answers --- */

static void write_bytes(struct mc_writer *w, uint64_t value, uint32_t count)
{
    char bytes[8];
    for (uint32_t i = 0; i < count; i++) {
        bytes[i] = (char)(value >> 8 * (count - 1 - i));
    }
    mc_write(w, slice_of(bytes, count));
}

void mc_binary_write_u32(struct mc_writer *w, uint32_t value)
{
    write_bytes(w, value, 4);
}

void mc_binary_write_u64(struct mc_writer *w, uint64_t value)
{
    write_bytes(w, value, 8);
}

void mc_binary_write_header(struct mc_writer *w, const struct mc_binary_reply *reply)
{
    uint64_t body = reply->extras_bytes + reply->key_bytes + reply->value_bytes;
    REQUIRE(body <= UINT32_MAX && reply->key_bytes <= MC_KEY_BYTES_MAX);
    write_bytes(w, MC_BINARY_REPLY_MAGIC, 1);
    write_bytes(w, reply->opcode, 1);
    write_bytes(w, reply->key_bytes, 2);
    write_bytes(w, reply->extras_bytes, 1);
    write_bytes(w, 0, 1); /* the data type: raw bytes */
    write_bytes(w, (uint64_t)reply->status, 2);
    write_bytes(w, body, 4);
    write_bytes(w, reply->opaque, 4);
    write_bytes(w, reply->cas, 8);
}

void mc_binary_write_status(struct mc_writer *w, struct mc_binary_reply reply)
{
    struct slice text = mc_binary_status_text(reply.status);
    reply.extras_bytes = 0;
    reply.key_bytes = 0;
    reply.value_bytes = text.len;
    mc_binary_write_header(w, &reply);
    mc_write(w, text);
}

struct slice mc_binary_status_text(enum mc_binary_status status)
{
    switch (status) {
#define X(name, code, text)                                                                        \
    case MC_BINARY_##name:                                                                         \
        return SLICE(text);
        MC_BINARY_STATUS_TABLE(X)
#undef X
    }
    UNREACHABLE();
}
