/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * From a client's request, of whatever dialect, to the nodes' text. Plain reads stay classic, so
 * that a node's reply is the client's; everything that writes is a meta command, because only those
 * tell what they did in a form that can be copied to other replicas (replication.md section 5).
 */
#include "dataplane_private.h"

/* What is known of each command; the order is mc_command's. */
static const struct {
    struct slice verb; /* what a node is sent begins so */
    struct slice mode; /* of a store or a calculation */
    uint8_t form;      /* what the leader is expected to answer */
    bool is_decided;
    bool is_read;
} commands[MC_COMMAND_COUNT] = {
    [MC_GET] = {.verb = SLICE_INIT("get "), .form = FORM_GET, .is_read = true},
    [MC_GETS] = {.verb = SLICE_INIT("gets "), .form = FORM_GETS, .is_read = true},
    [MC_GAT] = {.verb = SLICE_INIT("gat "), .form = FORM_GET, .is_decided = true},
    [MC_GATS] = {.verb = SLICE_INIT("gats "), .form = FORM_GETS, .is_decided = true},
    [MC_SET] = {.verb = SLICE_INIT("ms "), .form = FORM_LINE},
    [MC_ADD] = {.verb = SLICE_INIT("ms "),
                .mode = SLICE_INIT(" ME"),
                .form = FORM_LINE,
                .is_decided = true},
    [MC_REPLACE] = {.verb = SLICE_INIT("ms "),
                    .mode = SLICE_INIT(" MR"),
                    .form = FORM_LINE,
                    .is_decided = true},
    [MC_APPEND] = {.verb = SLICE_INIT("ms "),
                   .mode = SLICE_INIT(" MA"),
                   .form = FORM_LINE_ITEM,
                   .is_decided = true},
    [MC_PREPEND] = {.verb = SLICE_INIT("ms "),
                    .mode = SLICE_INIT(" MP"),
                    .form = FORM_LINE_ITEM,
                    .is_decided = true},
    [MC_CAS] = {.verb = SLICE_INIT("ms "), .form = FORM_LINE, .is_decided = true},
    [MC_DELETE] = {.verb = SLICE_INIT("md "), .form = FORM_LINE},
    [MC_INCR] = {.verb = SLICE_INIT("ma "),
                 .mode = SLICE_INIT(" MI D"),
                 .form = FORM_NUMBER_ITEM,
                 .is_decided = true},
    [MC_DECR] = {.verb = SLICE_INIT("ma "),
                 .mode = SLICE_INIT(" MD D"),
                 .form = FORM_NUMBER_ITEM,
                 .is_decided = true},
    /* Not mg, which would take the win of a stale item. */
    [MC_TOUCH] = {.verb = SLICE_INIT("touch "), .form = FORM_LINE},
    [MC_META_GET] = {.verb = SLICE_INIT("mg "), .form = FORM_META_GET, .is_read = true},
    [MC_META_DEBUG] = {.verb = SLICE_INIT("me "), .form = FORM_META_GET, .is_read = true},
};

static bool is_appending(enum mc_command command)
{
    return command == MC_APPEND || command == MC_PREPEND;
}

static void write_word(struct mc_writer *w, const char *letter, int64_t number)
{
    mc_write(w, slice_of_string(letter));
    mc_write_i64(w, number);
}

static void write_is_base64(struct mc_writer *w, const struct mc_request *request)
{
    mc_write(w, request->is_base64 ? SLICE(" b") : SLICE(""));
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

/* The condition, with room for any number: which one is known when the leader is. */
static void write_cas(struct mc_writer *w, const struct mc_request *request,
                      struct command_places *places)
{
    if (request->has_cas) {
        mc_write(w, SLICE(" C"));
        places->cas_off = (uint16_t)w->len;
        mc_write(w, SLICE("00000000000000000000"));
    }
}

void command_write_cas(char *to, uint64_t cas)
{
    for (uint32_t i = COMMAND_CAS_DIGITS; i > 0; i--) {
        to[i - 1] = (char)('0' + cas % 10);
        cas /= 10;
    }
}

size_t command_store_head(const struct dataplane *dp, const struct mc_request *request, char *to,
                          struct command_places *places)
{
    struct mc_writer w = mc_writer_of(to, COMMAND_HEAD_BYTES_MAX);
    *places = (struct command_places){0};
    mc_write(&w, commands[request->command].verb);
    places->key_off = (uint16_t)w.len;
    mc_write(&w, request->key);
    mc_write(&w, SLICE(" "));
    mc_write_u64(&w, request->value_bytes);
    write_is_base64(&w, request);
    write_token_field(dp, &w, places);
    mc_write(&w, commands[request->command].mode);
    write_cas(&w, request, places);
    bool has_item =
        !is_appending(request->command); /* the flags and expiry are its, not the old's */
    if (has_item && request->exptime_s != 0) {
        write_word(&w, " T", request->exptime_s);
    }
    if ((has_item || request->is_vivify) && request->flags != 0) {
        write_word(&w, " F", request->flags);
    }
    if (request->is_vivify) {
        write_word(&w, " N", request->vivify_exptime_s);
    }
    if (request->is_mark) {
        mc_write(&w, SLICE(" I"));
    }
    if (request->wants_cas || txn_wants_cas(dp)) {
        mc_write(&w, SLICE(" c"));
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    return w.len;
}

/* What "mg" is asked so that its answer is the whole item, without moving it in the LRU. */
static void write_read_back(struct mc_writer *w, struct slice key, bool is_base64)
{
    mc_write(w, SLICE("mg "));
    mc_write(w, key);
    mc_write(w, is_base64 ? SLICE(" b v f t c u\r\n") : SLICE(" v f t c u\r\n"));
}

size_t command_store_tail(const struct mc_request *request, struct slice key, char *to)
{
    if (!is_appending(request->command)) {
        return 0;
    }
    struct mc_writer w = mc_writer_of(to, COMMAND_TAIL_BYTES_MAX);
    write_read_back(&w, key, request->is_base64);
    INVARIANT(!w.is_full);
    return w.len;
}

/*
 * The client's flags that a node is to know, in the client's order: T, N, R and t act one after
 * the other. Numbers are written anew.
 */
static void write_flags(struct mc_writer *w, const struct mc_request *request, const char *plain)
{
    struct slice flags = request->flags_text;
    for (struct slice flag = mc_next_word(&flags); flag.len > 0; flag = mc_next_word(&flags)) {
        char letter = flag.ptr[0];
        if (letter == 'T') {
            write_word(w, " T", request->exptime_s);
        } else if (letter == 'N') {
            write_word(w, " N", request->vivify_exptime_s);
        } else if (letter == 'R' && request->command == MC_META_GET) {
            write_word(w, " R", request->recache_s);
        } else if (memchr(plain, letter, strlen(plain)) != NULL) {
            mc_write(w, SLICE(" "));
            mc_write(w, slice_of(&letter, 1));
        }
    }
}

static void write_arithmetic(const struct dataplane *dp, struct mc_writer *w,
                             const struct mc_request *request, struct slice key,
                             struct command_places *places)
{
    mc_write(w, commands[request->command].mode);
    mc_write_u64(w, request->delta);
    write_token_field(dp, w, places);
    write_cas(w, request, places);
    if (request->is_vivify) {
        mc_write(w, SLICE(" J"));
        places->initial_off = (uint16_t)w->len;
        mc_write_u64(w, request->initial);
    }
    write_flags(w, request, "tc");
    if (request->is_vivify && request->is_quiet) {
        mc_write(w, SLICE(" q")); /* the node alone knows whether it was created, and so told */
    }
    mc_write(w, SLICE(" v\r\n"));
    write_read_back(w, key, request->is_base64);
}

static void write_delete(const struct dataplane *dp, struct mc_writer *w,
                         const struct mc_request *request, struct command_places *places)
{
    write_cas(w, request, places);
    if (request->is_mark) {
        mc_write(w, SLICE(" I"));
    }
    if (request->is_emptied) {
        mc_write(w, SLICE(" x"));
        write_token_field(dp, w, places);
    }
    if (request->is_mark || request->is_emptied) {
        if (request->flags != 0) {
            write_word(w, " F", request->flags);
        }
        if (request->has_exptime) {
            write_word(w, " T", request->exptime_s);
        }
    }
}

size_t command_single(const struct dataplane *dp, const struct mc_request *request,
                      struct slice key, char *to, struct command_places *places)
{
    struct mc_writer w = mc_writer_of(to, COMMAND_HEAD_BYTES_MAX + COMMAND_TAIL_BYTES_MAX);
    *places = (struct command_places){0};
    mc_write(&w, commands[request->command].verb);
    if (request->command == MC_GAT || request->command == MC_GATS) {
        mc_write_i64(&w, request->exptime_s);
        mc_write(&w, SLICE(" "));
    }
    places->key_off = (uint16_t)w.len;
    mc_write(&w, key);
    write_is_base64(&w, request);
    if (request->command == MC_INCR || request->command == MC_DECR) {
        write_arithmetic(dp, &w, request, key, places);
        INVARIANT(!w.is_full);
        return w.len;
    }
    if (request->command == MC_TOUCH) {
        write_word(&w, " ", request->exptime_s);
    } else if (request->command == MC_DELETE) {
        write_delete(dp, &w, request, places);
    } else if (request->command == MC_META_GET) {
        /* A key written in base64 is not asked back: a node may return its bytes as they are, and a
         * line feed among them would look like the end of its reply. */
        write_flags(&w, request, request->is_base64 ? "fhlstuvc" : "fhklstuvc");
    }
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(!w.is_full);
    return w.len;
}

enum leg_form command_form(enum mc_command command)
{
    return (enum leg_form)commands[command].form;
}

bool command_is_read(enum mc_command command)
{
    return commands[command].is_read;
}

bool command_is_decided(const struct mc_request *request)
{
    bool is_changing_read = request->command == MC_META_GET &&
                            (request->has_exptime || request->is_vivify || request->has_recache);
    bool is_conditional = request->has_cas || request->is_mark || request->is_emptied;
    return commands[request->command].is_decided || is_changing_read || is_conditional;
}
