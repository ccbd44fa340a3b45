/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a client's command to the nodes' text and back. Reads stay classic, so that a node's reply
 * is the client's; everything that writes is a meta command, because only those tell what they did
 * in a form that can be copied to other replicas (replication.md section 5).
 */
#include "dataplane_private.h"

static void write_mode(struct mc_writer *w, enum mc_command command)
{
    switch (command) {
    case MC_ADD:
        mc_write(w, SLICE(" ME"));
        return;
    case MC_REPLACE:
        mc_write(w, SLICE(" MR"));
        return;
    case MC_APPEND:
        mc_write(w, SLICE(" MA"));
        return;
    case MC_PREPEND:
        mc_write(w, SLICE(" MP"));
        return;
    case MC_SET:
    case MC_CAS:
        return;
    case MC_GET:
    case MC_GETS:
    case MC_GAT:
    case MC_GATS:
    case MC_DELETE:
    case MC_INCR:
    case MC_DECR:
    case MC_TOUCH:
    case MC_FLUSH_ALL:
    case MC_VERSION:
    case MC_VERBOSITY:
    case MC_STATS:
    case MC_QUIT:
    case MC_COMMAND_COUNT:
        break;
    }
    UNREACHABLE();
}

/* Room for a token; txn.c puts one there each time the command is sent, or blanks the room when it
 * turns out that the nodes don't know `E`. */
static void write_token_field(const struct dataplane *dp, struct mc_writer *w,
                              struct command_places *places)
{
    if (dp->topology == NULL || dp->topology->has_tokens) {
        mc_write(w, SLICE(" E"));
        places->token_off = (uint16_t)w->len;
        mc_write(w, SLICE("0000000000000000000"));
    }
}

size_t command_store_head(const struct dataplane *dp, const struct mc_request *request, char *to,
                          struct command_places *places)
{
    struct mc_writer w = mc_writer_of(to, COMMAND_HEAD_BYTES_MAX);
    *places = (struct command_places){0};
    mc_write(&w, SLICE("ms "));
    places->key_off = (uint16_t)w.len;
    mc_write(&w, request->key);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, request->value_bytes);
    write_token_field(dp, &w, places);
    write_mode(&w, request->command);
    if (request->command == MC_CAS) {
        mc_write(&w, SLICE(" C"));
        mc_write_u64(&w, txn_node_cas(dp, request->cas));
    }
    if (request->command != MC_APPEND && request->command != MC_PREPEND) {
        if (request->exptime_s != 0) {
            mc_write(&w, SLICE(" T"));
            mc_write_i64(&w, request->exptime_s);
        }
        if (request->flags != 0) {
            mc_write(&w, SLICE(" F"));
            mc_write_u64(&w, request->flags);
        }
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    return w.len;
}

/* What "mg" is asked so that its answer is the whole item, without moving it in the LRU. */
#define READ_BACK " v f t c u\r\n"

size_t command_store_tail(enum mc_command command, struct slice key, char *to)
{
    if (command != MC_APPEND && command != MC_PREPEND) {
        return 0;
    }
    struct mc_writer w = mc_writer_of(to, COMMAND_TAIL_BYTES_MAX);
    mc_write(&w, SLICE("mg "));
    mc_write(&w, key);
    mc_write(&w, SLICE(READ_BACK));
    INVARIANT(!w.is_full);
    return w.len;
}

size_t command_single(const struct dataplane *dp, const struct mc_request *request,
                      struct slice key, char *to, struct command_places *places)
{
    *places = (struct command_places){0};
    struct mc_writer w = mc_writer_of(to, COMMAND_HEAD_BYTES_MAX + COMMAND_TAIL_BYTES_MAX);
    switch (request->command) {
    case MC_GET:
        mc_write(&w, SLICE("get "));
        break;
    case MC_GETS:
        mc_write(&w, SLICE("gets "));
        break;
    case MC_GAT:
    case MC_GATS:
        mc_write(&w, request->command == MC_GAT ? SLICE("gat ") : SLICE("gats "));
        mc_write_i64(&w, request->exptime_s);
        mc_write(&w, SLICE(" "));
        break;
    case MC_DELETE:
        mc_write(&w, SLICE("md "));
        break;
    case MC_TOUCH:
        mc_write(&w, SLICE("mg "));
        break;
    case MC_INCR:
    case MC_DECR:
        mc_write(&w, SLICE("ma "));
        break;
    case MC_SET:
    case MC_ADD:
    case MC_REPLACE:
    case MC_APPEND:
    case MC_PREPEND:
    case MC_CAS:
    case MC_FLUSH_ALL:
    case MC_VERSION:
    case MC_VERBOSITY:
    case MC_STATS:
    case MC_QUIT:
    case MC_COMMAND_COUNT:
        UNREACHABLE();
    }
    places->key_off = (uint16_t)w.len;
    mc_write(&w, key);
    if (request->command == MC_TOUCH) {
        mc_write(&w, SLICE(" T"));
        mc_write_i64(&w, request->exptime_s);
    }
    if (request->command == MC_INCR || request->command == MC_DECR) {
        mc_write(&w, request->command == MC_INCR ? SLICE(" MI D") : SLICE(" MD D"));
        mc_write_u64(&w, request->delta);
        write_token_field(dp, &w, places);
        mc_write(&w, SLICE(" v\r\nmg "));
        mc_write(&w, key);
        mc_write(&w, SLICE(READ_BACK));
    } else {
        mc_write(&w, SLICE("\r\n"));
    }
    INVARIANT(!w.is_full);
    return w.len;
}

/* What is known of each command; the order is mc_command's. */
static const struct {
    uint8_t form;
    bool is_decided;
    bool is_read;
} commands[MC_COMMAND_COUNT] = {
    [MC_GET] = {.form = FORM_GET, .is_read = true},
    [MC_GETS] = {.form = FORM_GETS, .is_read = true},
    [MC_GAT] = {.form = FORM_GET, .is_decided = true},
    [MC_GATS] = {.form = FORM_GETS, .is_decided = true},
    [MC_SET] = {.form = FORM_LINE},
    [MC_ADD] = {.form = FORM_LINE, .is_decided = true},
    [MC_REPLACE] = {.form = FORM_LINE, .is_decided = true},
    [MC_APPEND] = {.form = FORM_LINE_ITEM, .is_decided = true},
    [MC_PREPEND] = {.form = FORM_LINE_ITEM, .is_decided = true},
    [MC_CAS] = {.form = FORM_LINE, .is_decided = true},
    [MC_DELETE] = {.form = FORM_LINE},
    [MC_INCR] = {.form = FORM_NUMBER_ITEM, .is_decided = true},
    [MC_DECR] = {.form = FORM_NUMBER_ITEM, .is_decided = true},
    [MC_TOUCH] = {.form = FORM_LINE},
};

enum leg_form command_form(enum mc_command command)
{
    return (enum leg_form)commands[command].form;
}

bool command_is_decided(enum mc_command command)
{
    return commands[command].is_decided;
}

bool command_is_read(enum mc_command command)
{
    return commands[command].is_read;
}

static struct slice answer_done(enum mc_command command)
{
    if (command == MC_DELETE) {
        return SLICE("DELETED\r\n");
    }
    return command == MC_TOUCH ? SLICE("TOUCHED\r\n") : SLICE("STORED\r\n");
}

struct slice command_answer(enum mc_command command, enum mc_reply_kind kind,
                            enum dataplane_outcome *outcome)
{
    if (kind == MC_REPLY_HD) {
        *outcome = DATAPLANE_OUTCOME_STORED;
        return answer_done(command);
    }
    if (kind == MC_REPLY_EX) {
        *outcome = DATAPLANE_OUTCOME_REFUSED;
        return SLICE("EXISTS\r\n");
    }
    if (kind == MC_REPLY_NS) {
        *outcome = DATAPLANE_OUTCOME_REFUSED;
        return SLICE("NOT_STORED\r\n");
    }
    if (kind == MC_REPLY_NF || kind == MC_REPLY_EN) {
        *outcome = DATAPLANE_OUTCOME_MISS;
        return SLICE("NOT_FOUND\r\n");
    }
    UNREACHABLE();
}
