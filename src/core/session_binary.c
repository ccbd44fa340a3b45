/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Binary requests as the requests that all dialects share (mc/request.h). What is refused is
 * refused in the classic protocol's words, which answer_binary.c says again as a status; so there
 * is one way through the session for all.
 *
 * Get, gat and touch become gets and gats of one key, because only those tell flags and CAS of an
 * item without taking a recache win; touch's answer shows no value. A set, add or replace with a
 * CAS is a cas, as in memcached. An increment that may create its number is one command to the
 * leader (ma N J), so what it did is decided in one place.
 */
#include "dataplane_private.h"

static struct slice words_of(enum mc_binary_status status)
{
    switch (status) {
    case MC_BINARY_UNKNOWN_COMMAND:
        return SLICE("ERROR\r\n");
    case MC_BINARY_TOO_LARGE:
        return SLICE("SERVER_ERROR object too large for cache\r\n");
    case MC_BINARY_INVALID:
        return SLICE("CLIENT_ERROR bad command line format\r\n");
    case MC_BINARY_OK:
    case MC_BINARY_NOT_FOUND:
    case MC_BINARY_EXISTS:
    case MC_BINARY_NOT_STORED:
    case MC_BINARY_NON_NUMERIC:
    case MC_BINARY_OUT_OF_MEMORY:
    case MC_BINARY_TEMPORARY_FAILURE:
        break; /* no parser says these */
    }
    UNREACHABLE();
}

static void request_one_key(const struct mc_binary_request *binary, enum mc_command command,
                            struct mc_request *out)
{
    out->command = command;
    out->key = binary->key;
    out->keys = binary->key;
    out->key_count = 1;
    out->exptime_s = binary->exptime_s;
    out->has_exptime = command == MC_GATS;
    out->wants_value = true;
}

static void request_write(const struct mc_binary_request *binary, enum mc_command command,
                          struct mc_request *out)
{
    request_one_key(binary, command, out);
    out->flags = binary->flags;
    out->value_bytes = binary->value_bytes;
    out->cas = binary->cas;
    out->has_cas = binary->cas != 0;
    out->wants_cas = true;
}

static void request_number(const struct mc_binary_request *binary, enum mc_command command,
                           struct mc_request *out)
{
    request_write(binary, command, out);
    out->delta = binary->delta;
    out->initial = binary->initial;
    out->is_vivify = binary->has_initial;
    out->vivify_exptime_s = binary->exptime_s;
    out->exptime_s = 0;
    out->flags_text = binary->has_initial ? SLICE("N c") : SLICE("c");
}

static void request_of(const struct mc_binary_request *binary, struct mc_request *out)
{
    bool has_cas = binary->cas != 0;
    switch (binary->plain) {
    case MC_BINARY_GET:
        request_one_key(binary, MC_GETS, out);
        return;
    case MC_BINARY_GAT:
    case MC_BINARY_TOUCH:
        request_one_key(binary, MC_GATS, out);
        return;
    case MC_BINARY_SET:
        request_write(binary, has_cas ? MC_CAS : MC_SET, out);
        return;
    case MC_BINARY_ADD:
        request_write(binary, has_cas ? MC_CAS : MC_ADD, out);
        return;
    case MC_BINARY_REPLACE:
        request_write(binary, has_cas ? MC_CAS : MC_REPLACE, out);
        return;
    case MC_BINARY_APPEND:
        request_write(binary, MC_APPEND, out);
        return;
    case MC_BINARY_PREPEND:
        request_write(binary, MC_PREPEND, out);
        return;
    case MC_BINARY_DELETE:
        request_write(binary, MC_DELETE, out);
        return;
    case MC_BINARY_INCREMENT:
        request_number(binary, MC_INCR, out);
        return;
    case MC_BINARY_DECREMENT:
        request_number(binary, MC_DECR, out);
        return;
    case MC_BINARY_FLUSH:
        out->command = MC_FLUSH_ALL;
        out->exptime_s = binary->exptime_s;
        return;
    case MC_BINARY_STAT:
        out->command = MC_STATS;
        out->argument = binary->key;
        return;
    case MC_BINARY_NOOP:
        out->command = MC_NOOP;
        return;
    case MC_BINARY_VERSION:
        out->command = MC_VERSION;
        return;
    case MC_BINARY_QUIT:
        out->command = MC_QUIT;
        return;
    default:
        break;
    }
    UNREACHABLE();
}

enum mc_parse session_parse_binary(struct session *session, struct slice input,
                                   uint64_t item_bytes_max, struct mc_request *out)
{
    struct mc_binary_request binary;
    enum mc_parse parse = mc_binary_parse(input, item_bytes_max, &binary);
    *out = (struct mc_request){.command = MC_COMMAND_COUNT, .dialect = MC_DIALECT_BINARY};
    if (parse == MC_PARSE_MORE) {
        out->scanned_bytes = input.len;
        return parse;
    }
    session->opcode = binary.opcode;
    session->opaque = binary.opaque;
    out->line_bytes = binary.head_bytes;
    if (parse == MC_PARSE_BAD) {
        out->key = binary.key;
        out->must_close = binary.must_close;
        out->swallow_bytes = binary.swallow_bytes;
        out->error = binary.is_silent ? SLICE("") : words_of(binary.status);
    } else {
        request_of(&binary, out);
    }
    return parse;
}
