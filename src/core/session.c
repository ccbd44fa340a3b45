/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A session: what one client has sent and is still owed.
 *
 * Input is parsed where it lies when all before it is consumed, which is the usual case; what can't
 * be consumed yet is kept in chunks, so that an idle client holds none. A command is begun only
 * when the one before it has been begun: a held write stops the parse, so the nodes see a client's
 * commands in its order, and the shell stops reading when input is left over (backpressure, no
 * queue of ours).
 *
 * A store's data block is gathered behind the node command's head as it arrives; no byte of it
 * reaches a node before its last has come and its end was right.
 */
#include "dataplane_private.h"

#include "everwarm/core/rule.h"

enum {
    /* Laid out in one piece at a time when input waited in chunks. */
    LAYOUT_BYTES = 64 * 1024,
    /* Chunks that must be free before more is read from clients: one full read of the shell, twice,
     * beside what the replies under way need. */
    ROOM_RESERVE_CHUNKS = 64,
    ROOM_BYTES = 256 * 1024,
};

static const bool session_moves[6][6] = {
    [SESSION_FREE] = {[SESSION_LINE] = true},
    [SESSION_LINE] = {[SESSION_DATA] = true,
                      [SESSION_SWALLOW] = true,
                      [SESSION_KEYS] = true,
                      [SESSION_CLOSING] = true,
                      [SESSION_FREE] = true},
    [SESSION_DATA] = {[SESSION_LINE] = true, [SESSION_CLOSING] = true, [SESSION_FREE] = true},
    [SESSION_SWALLOW] = {[SESSION_LINE] = true, [SESSION_CLOSING] = true, [SESSION_FREE] = true},
    [SESSION_KEYS] = {[SESSION_LINE] = true, [SESSION_CLOSING] = true, [SESSION_FREE] = true},
    [SESSION_CLOSING] = {[SESSION_FREE] = true},
};

static void session_move(struct session *session, enum session_state to)
{
    INVARIANT(session_moves[session->state][to]);
    session->state = (uint8_t)to;
}

void session_touch(struct dataplane *dp, struct session *session)
{
    if (!session->is_touched && session->state != SESSION_FREE) {
        session->is_touched = true;
        session->touched_next = dp->touched_sessions;
        dp->touched_sessions = session;
    }
}

void session_open(struct dataplane *dp, uint32_t slot)
{
    struct session *session = &dp->sessions[slot];
    bool is_touched = session->is_touched; /* still in the list from its last life */
    struct session *touched_next = session->touched_next;
    REQUIRE(session->state == SESSION_FREE);
    *session =
        (struct session){.slot = slot, .is_touched = is_touched, .touched_next = touched_next};
    session_move(session, SESSION_LINE);
    dp->slots_used = slot >= dp->slots_used ? slot + 1 : dp->slots_used;
    dp->stats.clients++;
    dp->stats.clients_total++;
}

static void session_free(struct dataplane *dp, struct session *session)
{
    while (session->head != NULL) {
        struct txn *txn = session->head;
        session->head = txn->next;
        txn_orphan(dp, txn);
    }
    session->tail = NULL;
    list_remove(&session->waiting);
    chain_drop(&dp->chunks, &session->input.chain);
    chain_drop(&dp->chunks, &session->store.chain);
    chain_drop(&dp->chunks, &session->flags_text);
    session_move(session, SESSION_FREE);
    dp->stats.clients--;
}

/* --- Requests --- */

/* When what is being consumed had come. */
static uint64_t came_us(const struct dataplane *dp, const struct session *session)
{
    for (uint32_t i = 0; i < session->arrival_count; i++) {
        if (session->arrivals[i].end > session->used_bytes + session->consuming) {
            return session->arrivals[i].since_us;
        }
    }
    return dp->now_us;
}

/* A txn in the session's order; without a slot the session waits for one. */
static struct txn *new_txn(struct dataplane *dp, struct session *session, enum mc_command command)
{
    struct txn *txn = txn_create(dp, session, command);
    INVARIANT(txn != NULL); /* is_stopped looked */
    session->requests++;
    txn->is_aside = session->is_aside;
    if (session->protocol == SESSION_BINARY) {
        txn->dialect = MC_DIALECT_BINARY;
        txn->opcode = session->opcode;
        txn->opaque = session->opaque;
    }
    uint64_t since_us =
        session->state == SESSION_KEYS ? session->keys_since_us : came_us(dp, session);
    if (since_us != txn->started_us) {
        deadline_set(dp, txn, since_us);
    }
    return txn;
}

/* Answer what was no command, or none that can be carried out. TEXT is static. */
static void answer_error(struct dataplane *dp, struct session *session, struct slice text)
{
    dp->stats.protocol_errors_clients++;
    session->is_aside = false;
    struct txn *txn = new_txn(dp, session, MC_VERSION);
    txn->is_uncounted = true;
    txn_answer(dp, txn, text, DATAPLANE_OUTCOME_CLIENT_ERROR);
}

static uint64_t key_hash(const struct mc_request *request, struct slice key)
{
    char decoded[MC_KEY_BYTES_MAX];
    return topology_hash(request->is_base64 ? slice_of(decoded, mc_key_decode(key, decoded)) : key);
}

/* What TXN needs to know of its request, beside the text for the nodes. */
static void describe(struct dataplane *dp, struct txn *txn, const struct mc_request *request,
                     struct slice key, const struct command_places *places)
{
    txn->places = *places;
    txn->key_bytes = (uint8_t)key.len;
    txn->key_hash = key_hash(request, key);
    if (side_is_large(dp, request->value_bytes)) {
        side_remember(dp, txn->key_hash);
    } else if (request->command == MC_SET) {
        side_forget(dp, txn->key_hash);
    }
    txn->dialect = (uint8_t)request->dialect;
    txn->is_noreply = request->is_noreply;
    txn->is_quiet = request->is_quiet;
    txn->is_decided = command_is_decided(request);
    txn->is_base64 = request->is_base64;
    txn->is_vivify = request->is_vivify;
    txn->is_mark = request->is_mark;
    txn->is_emptied = request->is_emptied;
    txn->has_exptime = request->has_exptime;
    txn->wants_value = request->wants_value;
    txn->exptime_s = request->exptime_s;
    txn->item_flags = request->flags;
    txn->value_bytes = (uint32_t)request->value_bytes;
    txn->cas = request->cas;
    deadline_put_off(dp, txn, request->value_bytes);
}

/* The client's flags are kept until the answer is known. False: no memory. */
static bool keep_flags(struct dataplane *dp, const struct mc_request *request, struct chain *out)
{
    *out = (struct chain){0};
    if (request->flags_text.len > 0) {
        *out = compose_copy(dp, request->flags_text);
    }
    return request->flags_text.len == 0 || out->head != NULL;
}

/* A command of one key whose node form is short. */
static bool begin_single(struct dataplane *dp, struct session *session,
                         const struct mc_request *request, struct slice key, bool is_part)
{
    char *to = journal_reserve(&dp->requests, &dp->chunks,
                               COMMAND_HEAD_BYTES_MAX + COMMAND_TAIL_BYTES_MAX);
    if (to == NULL) {
        return false;
    }
    struct command_places places;
    struct chain command =
        journal_commit(&dp->requests, command_single(dp, request, key, to, &places));
    struct chain flags_text;
    if (!keep_flags(dp, request, &flags_text)) {
        chain_drop(&dp->chunks, &command);
        return false;
    }
    struct txn *txn = new_txn(dp, session, request->command);
    txn->command = command;
    txn->flags_text = flags_text;
    describe(dp, txn, request, key, &places);
    txn->is_part = is_part;
    txn_begin(dp, txn);
    return true;
}

/*
 * memcached drops the old item when it refuses a `set` for its size, or has no memory for it, so
 * all replicas do. Returns false: no memory for that either.
 */
static bool begin_unset(struct dataplane *dp, struct session *session,
                        const struct mc_request *request, struct slice key)
{
    struct mc_request unset = {.command = MC_DELETE,
                               .dialect = request->dialect,
                               .key = key,
                               .is_noreply = request->is_noreply,
                               .is_base64 = request->is_base64};
    if (!begin_single(dp, session, &unset, key, false)) {
        return false;
    }
    session->tail->is_too_large = true;
    return true;
}

/* A line that is not to be forwarded. */
static void after_bad(struct dataplane *dp, struct session *session,
                      const struct mc_request *request)
{
    bool is_unset = request->key.len > 0 && begin_unset(dp, session, request, request->key);
    if (!is_unset && request->error.len > 0) {
        answer_error(dp, session, request->error);
    }
    if (request->must_close) {
        dp->stats.protocol_errors_clients += request->error.len == 0;
        dp->stats.foreign_protocols += request->is_foreign;
        session_move(session, SESSION_CLOSING);
    } else if (request->swallow_bytes > 0) {
        session->left = request->swallow_bytes;
        session_move(session, SESSION_SWALLOW);
    }
}

/* A read of up to MULTIGET_KEYS_MAX keys, taken off KEYS, as far as they fit in one piece. */
static bool begin_keys(struct dataplane *dp, struct session *session,
                       const struct mc_request *request, struct slice *keys)
{
    enum { HEAD_BYTES = 5 }; /* "gets " */
    size_t capacity = CHUNK_DATA_BYTES;
    capacity = capacity < keys->len + HEAD_BYTES + 4 ? capacity : keys->len + HEAD_BYTES + 4;
    char *to = journal_reserve(&dp->requests, &dp->chunks, capacity);
    if (to == NULL) {
        return false;
    }
    struct mc_writer w = mc_writer_of(to, capacity - 2);
    mc_write(&w, request->command == MC_GET ? SLICE("get") : SLICE("gets"));
    size_t key_off = w.len + 1;
    uint32_t count = 0;
    struct slice rest = *keys;
    struct slice first = {0};
    while (count < MULTIGET_KEYS_MAX) {
        struct slice key = mc_next_word(&rest);
        if (key.len == 0 || key.len + 1 > w.capacity - w.len) {
            break;
        }
        first = count == 0 ? key : first;
        mc_write(&w, SLICE(" "));
        mc_write(&w, key);
        *keys = rest;
        count++;
    }
    w.capacity = capacity;
    mc_write(&w, SLICE("\r\n"));
    INVARIANT(count > 0 && !w.is_full);
    struct txn *txn = new_txn(dp, session, request->command);
    txn->command = journal_commit(&dp->requests, w.len);
    txn->places.key_off = (uint16_t)key_off;
    txn->key_bytes = (uint8_t)first.len;
    txn->key_hash = topology_hash(first);
    txn->key_count = count;
    struct slice left = *keys;
    txn->is_part = mc_next_word(&left).len > 0;
    txn_begin(dp, txn);
    return true;
}

/* More keys than go at once: they are put aside, with one space behind each, and dealt out as the
 * client's limits allow. */
static bool put_keys_aside(struct dataplane *dp, struct session *session,
                           const struct mc_request *request)
{
    struct slice keys = request->keys;
    for (struct slice key = mc_next_word(&keys); key.len > 0; key = mc_next_word(&keys)) {
        if (!chain_append(&dp->chunks, &session->store, key) ||
            !chain_append(&dp->chunks, &session->store, SLICE(" "))) {
            chain_drop(&dp->chunks, &session->store.chain);
            session->store.tail = NULL;
            return false;
        }
    }
    session->keys_since_us = came_us(dp, session);
    session->request = *request;
    session_move(session, SESSION_KEYS);
    return true;
}

static bool begin_read(struct dataplane *dp, struct session *session,
                       const struct mc_request *request)
{
    if (request->key_count == 1) {
        return begin_single(dp, session, request, request->key, false);
    }
    bool is_gat = request->command == MC_GAT || request->command == MC_GATS;
    bool is_small = request->key_count <= MULTIGET_KEYS_MAX && request->keys.len < 8192;
    if (is_gat || !is_small) {
        if (!put_keys_aside(dp, session, request)) {
            dp->stats.shed++;
            answer_error(dp, session, SLICE("SERVER_ERROR out of memory reading request\r\n"));
        }
        return true;
    }
    struct slice keys = request->keys;
    return begin_keys(dp, session, request, &keys);
}

/* Deal out the next part of a long multiget. */
static bool deal_keys(struct dataplane *dp, struct session *session)
{
    struct chain all = session->store.chain;
    struct slice pieces[8];
    char *keys_text = dp->scratch + SCRATCH_INPUT_BYTES; /* input may lie before it */
    bool is_gat = session->request.command == MC_GAT || session->request.command == MC_GATS;
    /* Keys of a gat go one by one: that one, and enough to see whether more come. */
    size_t room = (size_t)(is_gat ? 2 : MULTIGET_KEYS_MAX) * (MC_KEY_BYTES_MAX + 1);
    size_t len = 0;
    size_t count = chain_slices(&all, 0, pieces, 8);
    for (size_t i = 0; i < count && len < room; i++) {
        size_t take = pieces[i].len < room - len ? pieces[i].len : room - len;
        memcpy(keys_text + len, pieces[i].ptr, take);
        len += take;
    }
    bool is_all = len == all.len;
    struct slice keys = slice_of(keys_text, len);
    if (!is_all) {
        /* The last key may be cut; it is dealt out next time. */
        while (keys.ptr[keys.len - 1] != ' ') {
            keys.len--;
        }
    }
    size_t before = keys.len;
    struct slice rest = keys;
    if (is_gat) {
        struct slice key = mc_next_word(&rest);
        struct slice after = rest;
        bool is_part = !is_all || mc_next_word(&after).len > 0;
        if (!begin_single(dp, session, &session->request, key, is_part)) {
            return false;
        }
    } else {
        if (!begin_keys(dp, session, &session->request, &rest)) {
            return false;
        }
        if (!is_all) {
            session->tail->is_part = true;
        }
    }
    chain_skip(&dp->chunks, &session->store.chain, (uint32_t)(before - rest.len));
    struct slice after = rest;
    if (is_all && mc_next_word(&after).len == 0) {
        chain_drop(&dp->chunks, &session->store.chain);
        session->store = (struct chain_builder){0};
        session_move(session, SESSION_LINE);
    }
    return true;
}

/* The bytes behind a value that say that it is over: CRLF, but not in the binary protocol. */
static uint32_t end_bytes(const struct session *session)
{
    return session->protocol == SESSION_BINARY ? 0 : 2;
}

/*
 * The whole store lies in the input: copied once, into the journal.
 *
 *   rest  what follows the line
 *
 * Returns  false: not possible, gather it.
 */
static bool store_at_once(struct dataplane *dp, struct session *session,
                          const struct mc_request *request, struct slice rest)
{
    size_t value = (size_t)request->value_bytes;
    size_t data = value + end_bytes(session);
    size_t room = COMMAND_HEAD_BYTES_MAX + value + 2 + COMMAND_TAIL_BYTES_MAX;
    bool is_whole = rest.len >= data && room <= CHUNK_DATA_BYTES / 2;
    if (!is_whole || (data > value && memcmp(rest.ptr + value, "\r\n", 2) != 0)) {
        return false;
    }
    char *to = journal_reserve(&dp->requests, &dp->chunks, room);
    if (to == NULL) {
        return false;
    }
    struct command_places places;
    size_t len = command_store_head(dp, request, to, &places);
    if (value > 0) {
        memcpy(to + len, rest.ptr, value);
    }
    memcpy(to + len + value, "\r\n", 2);
    len += value + 2;
    len += command_store_tail(request, request->key, to + len);
    struct chain command = journal_commit(&dp->requests, len);
    struct chain flags_text;
    if (!keep_flags(dp, request, &flags_text)) {
        chain_drop(&dp->chunks, &command);
        return false;
    }
    struct txn *txn = new_txn(dp, session, request->command);
    txn->command = command;
    txn->flags_text = flags_text;
    describe(dp, txn, request, request->key, &places);
    txn_begin(dp, txn);
    return true;
}

static struct slice key_of(const struct session *session, const struct chain *store)
{
    const char *head = store->head->data + store->off;
    return slice_of(head + session->places.key_off, session->request.key.len);
}

/* No memory for the data block: it is passed over, and its command's head alone is kept, which
 * tells the key. */
static void run_out(struct dataplane *dp, struct session *session)
{
    struct chain_builder *store = &session->store;
    struct chunk *first = store->chain.head;
    session->is_out_of_memory = true;
    if (first != NULL) {
        chunk_drop(&dp->chunks, first->next);
        first->next = NULL;
        store->chain.len = first->used - store->chain.off;
        store->tail = first;
    }
}

/* There was no memory for a store: if it was to replace whatever was there, that goes. */
static void refuse_store(struct dataplane *dp, struct session *session, const struct chain *store)
{
    const struct mc_request *request = &session->request;
    bool takes_old = request->command == MC_SET || request->dialect == MC_DIALECT_META;
    dp->stats.shed++;
    if (takes_old && store->head != NULL &&
        begin_unset(dp, session, request, key_of(session, store))) {
        session->tail->is_out_of_room = true;
        return;
    }
    answer_error(dp, session,
                 request->is_noreply ? SLICE("")
                                     : SLICE("SERVER_ERROR out of memory storing object\r\n"));
}

static void gathered(struct dataplane *dp, struct session *session)
{
    const struct mc_request *request = &session->request;
    struct chain_builder store = session->store;
    struct chain flags_text = session->flags_text;
    session->store = (struct chain_builder){0};
    session->flags_text = (struct chain){0};
    session_move(session, SESSION_LINE);
    if (!session->is_bad_data && !session->is_out_of_memory) {
        struct slice key = key_of(session, &store.chain);
        char tail[2 + COMMAND_TAIL_BYTES_MAX] = "\r\n";
        size_t end = 2 - end_bytes(session); /* what the client did not send itself */
        size_t len = end + command_store_tail(request, key, tail + end);
        session->is_out_of_memory = !chain_append(&dp->chunks, &store, slice_of(tail, len));
    }
    if (session->is_bad_data || session->is_out_of_memory) {
        if (session->is_out_of_memory) {
            refuse_store(dp, session, &store.chain);
        } else {
            dp->stats.bad_blocks++;
            answer_error(dp, session,
                         request->is_noreply ? SLICE("")
                                             : SLICE("CLIENT_ERROR bad data chunk\r\n"));
        }
        chain_drop(&dp->chunks, &store.chain);
        chain_drop(&dp->chunks, &flags_text);
        return;
    }
    struct txn *txn = new_txn(dp, session, request->command);
    txn->command = store.chain;
    txn->flags_text = flags_text;
    describe(dp, txn, request, key_of(session, &store.chain), &session->places);
    txn_begin(dp, txn);
}

/* Put the node command's head down and gather the data block behind it. */
static void gather_store(struct dataplane *dp, struct session *session,
                         const struct mc_request *request)
{
    char head[COMMAND_HEAD_BYTES_MAX];
    size_t len = command_store_head(dp, request, head, &session->places);
    session->store = (struct chain_builder){0};
    session->is_bad_data = false;
    session->is_out_of_memory = !keep_flags(dp, request, &session->flags_text) ||
                                !chain_append(&dp->chunks, &session->store, slice_of(head, len));
    session->request = *request;
    session->left = request->value_bytes + end_bytes(session);
    session_move(session, SESSION_DATA);
    if (session->left == 0) {
        gathered(dp, session); /* nothing more comes that would be its turn */
    }
}

/* Take what there is of a data block. */
static size_t take_data(struct dataplane *dp, struct session *session, struct slice input)
{
    size_t take = input.len < session->left ? input.len : (size_t)session->left;
    for (uint64_t end = 0; end < end_bytes(session) && end < session->left; end++) {
        uint64_t at = session->left - 1 - end;
        if (at < take && input.ptr[at] != "\n\r"[end]) {
            session->is_bad_data = true;
        }
    }
    if (!session->is_out_of_memory &&
        !chain_append(&dp->chunks, &session->store, slice_of(input.ptr, take))) {
        run_out(dp, session);
    }
    session->left -= take;
    if (session->left == 0) {
        gathered(dp, session);
    }
    return take;
}

static void begin_asked(struct dataplane *dp, struct session *session,
                        const struct mc_request *request)
{
    struct txn *txn = new_txn(dp, session, request->command);
    txn->is_noreply = request->is_noreply;
    txn->exptime_s = request->exptime_s;
    list_append(&dp->asked, &txn->writes);
    txn_move(dp, txn, TXN_ASKED);
}

static void answer_stats(struct dataplane *dp, struct session *session, struct slice what)
{
    struct txn *txn = new_txn(dp, session, MC_STATS);
    char *to = journal_reserve(&dp->replies, &dp->chunks, STATS_TEXT_BYTES_MAX);
    if (to == NULL) {
        txn_answer(dp, txn, SLICE("SERVER_ERROR out of memory\r\n"),
                   DATAPLANE_OUTCOME_SERVER_ERROR);
        return;
    }
    struct mc_writer w = mc_writer_of(to, STATS_TEXT_BYTES_MAX);
    struct slice end = stats_text(dp, what, &w);
    if (w.len > 0) {
        txn->reply = journal_commit(&dp->replies, w.len);
    }
    bool is_refused =
        slice_has_prefix(end, SLICE("ERROR")) || slice_has_prefix(end, SLICE("CLIENT_ERROR"));
    txn_answer(dp, txn, end,
               is_refused ? DATAPLANE_OUTCOME_CLIENT_ERROR : DATAPLANE_OUTCOME_STORED);
}

static void answer_version(struct dataplane *dp, struct session *session)
{
    struct txn *txn = new_txn(dp, session, MC_VERSION);
    struct slice version = dp->options.version;
    char *to = journal_reserve(&dp->replies, &dp->chunks, version.len + 10);
    if (to == NULL) {
        txn_answer(dp, txn, SLICE("SERVER_ERROR out of memory\r\n"),
                   DATAPLANE_OUTCOME_SERVER_ERROR);
        return;
    }
    struct mc_writer w = mc_writer_of(to, version.len + 10);
    mc_write(&w, SLICE("VERSION "));
    mc_write(&w, version);
    mc_write(&w, SLICE("\r\n"));
    txn->reply = journal_commit(&dp->replies, w.len);
    txn_answer(dp, txn, SLICE(""), DATAPLANE_OUTCOME_STORED);
}

static bool begin_command(struct dataplane *dp, struct session *session,
                          const struct mc_request *request)
{
    switch (request->command) {
    case MC_GET:
    case MC_GETS:
    case MC_GAT:
    case MC_GATS:
        return begin_read(dp, session, request);
    case MC_DELETE:
    case MC_INCR:
    case MC_DECR:
    case MC_TOUCH:
    case MC_META_GET:
    case MC_META_DEBUG:
        return begin_single(dp, session, request, request->key, false);
    case MC_NOOP:
        txn_answer(dp, new_txn(dp, session, MC_NOOP), SLICE("MN\r\n"), DATAPLANE_OUTCOME_STORED);
        return true;
    case MC_FLUSH_ALL:
        begin_asked(dp, session, request);
        return true;
    case MC_VERSION:
        answer_version(dp, session);
        return true;
    case MC_VERBOSITY: {
        struct txn *txn = new_txn(dp, session, MC_VERBOSITY);
        txn->is_noreply = request->is_noreply;
        txn_answer(dp, txn, SLICE("OK\r\n"), DATAPLANE_OUTCOME_STORED);
        return true;
    }
    case MC_STATS:
        answer_stats(dp, session, request->argument);
        return true;
    case MC_QUIT:
        if (session->protocol == SESSION_BINARY) {
            txn_answer(dp, new_txn(dp, session, MC_QUIT), SLICE("OK\r\n"),
                       DATAPLANE_OUTCOME_STORED);
        }
        session_move(session, SESSION_CLOSING);
        return true;
    case MC_SET:
    case MC_ADD:
    case MC_REPLACE:
    case MC_APPEND:
    case MC_PREPEND:
    case MC_CAS:
    case MC_COMMAND_COUNT:
        break;
    }
    UNREACHABLE();
}

/* --- Consuming input --- */

/* Must the client wait, before its next command begins? */
static bool is_stopped(struct dataplane *dp, struct session *session)
{
    const struct dataplane_options *o = &dp->options;
    session->is_behind = session->is_behind && session_unanswered(session) != NULL;
    if (session->stalled > 0 || session->is_behind || session->in_flight >= o->pipeline_max ||
        session->output_bytes >= o->client_output_bytes_max) {
        return true;
    }
    bool is_poor = dp->txns.free_count < 2 || !link_has_room(dp, 4 * NODES_MAX) ||
                   dp->chunks.free_count < ROOM_RESERVE_CHUNKS / 2;
    if (is_poor && !list_is_linked(&session->waiting)) {
        list_append(&dp->waiting, &session->waiting);
    }
    return is_poor;
}

static enum mc_parse parse_next(const struct dataplane *dp, struct session *session,
                                struct slice input, struct mc_request *out)
{
    uint64_t item_bytes_max = dp->options.item_bytes_max;
    if (session->protocol == SESSION_UNTOLD) {
        bool is_binary = (unsigned char)input.ptr[0] == MC_BINARY_REQUEST_MAGIC;
        session->protocol = is_binary ? SESSION_BINARY : SESSION_TEXT;
    }
    return session->protocol == SESSION_BINARY
               ? session_parse_binary(session, input, item_bytes_max, out)
               : mc_request_parse(input, session->scanned, item_bytes_max, out);
}

/* Is a value of REQUEST's large, as far as is known? */
static bool is_for_side(struct dataplane *dp, const struct mc_request *request)
{
    if (side_is_large(dp, request->value_bytes)) {
        side_want(dp); /* connected before the value is here */
        return true;
    }
    bool is_look = request->command == MC_META_DEBUG ||
                   (request->command == MC_META_GET && !request->wants_value);
    bool shows_item = command_is_read(request->command) && !is_look;
    if (!dp->is_side_wanted || !(shows_item || command_is_decided(request))) {
        return false;
    }
    if (request->key_count == 1) {
        return side_knows(dp, key_hash(request, request->key));
    }
    struct slice keys = request->keys;
    for (struct slice key = mc_next_word(&keys); key.len > 0; key = mc_next_word(&keys)) {
        if (side_knows(dp, topology_hash(key))) {
            return true;
        }
    }
    return false;
}

/*
 * Consume as much of INPUT as can be.
 *
 * Returns  bytes used. session->scanned tells what of the rest holds no line end.
 */
static size_t consume(struct dataplane *dp, struct session *session, struct slice input)
{
    size_t used = 0;
    while (session->state != SESSION_CLOSING) {
        struct slice rest = slice_skip(input, used);
        session->consuming = used;
        if (session->state == SESSION_SWALLOW) {
            size_t take = rest.len < session->left ? rest.len : (size_t)session->left;
            used += take;
            session->left -= take;
            if (session->left > 0) {
                break;
            }
            session_move(session, SESSION_LINE);
            continue;
        }
        if (is_stopped(dp, session)) {
            break;
        }
        if (session->state == SESSION_KEYS) {
            if (!deal_keys(dp, session)) {
                list_remove(&session->waiting);
                list_append(&dp->waiting, &session->waiting);
                break;
            }
            continue;
        }
        if (rest.len == 0) {
            break;
        }
        if (session->state == SESSION_DATA) {
            used += take_data(dp, session, rest);
            continue;
        }
        struct mc_request request;
        enum mc_parse parse = parse_next(dp, session, rest, &request);
        if (parse == MC_PARSE_MORE) {
            session->scanned = request.scanned_bytes;
            break;
        }
        session->scanned = 0;
        if (parse == MC_PARSE_BAD) {
            used += request.line_bytes;
            after_bad(dp, session, &request);
            continue;
        }
        bool is_store = request.command >= MC_SET && request.command <= MC_CAS;
        session->is_aside = is_for_side(dp, &request);
        if (session->is_aside && session_unanswered(session) != NULL && RULE(SIDE_NEXT)) {
            session->is_behind = true;
            break;
        }
        if (is_store) {
            struct slice data = slice_skip(rest, request.line_bytes);
            used += request.line_bytes;
            if (store_at_once(dp, session, &request, data)) {
                used += (size_t)request.value_bytes + end_bytes(session);
            } else {
                gather_store(dp, session, &request);
            }
            continue;
        }
        if (!begin_command(dp, session, &request)) {
            list_remove(&session->waiting);
            list_append(&dp->waiting, &session->waiting);
            break; /* the line is parsed again when there is memory */
        }
        used += request.line_bytes;
    }
    return session->state == SESSION_CLOSING ? input.len : used;
}

/* BYTES are put behind the kept input: when did they come? */
static void note_arrival(const struct dataplane *dp, struct session *session, size_t bytes)
{
    session->input_bytes += bytes;
    uint64_t apart_us = dp->options.request_timeout_us / SESSION_ARRIVALS_A_TIMEOUT;
    uint32_t count = session->arrival_count;
    bool is_new = count == 0 || (count < SESSION_ARRIVALS &&
                                 dp->now_us - session->arrivals[count - 1].since_us >= apart_us);
    if (is_new) {
        session->arrivals[count].since_us = dp->now_us;
        session->arrival_count = ++count;
    }
    session->arrivals[count - 1].end = session->input_bytes;
}

/* Forget the first COUNT bytes of the kept input. */
static void drop_input(struct dataplane *dp, struct session *session, size_t count)
{
    struct chain *chain = &session->input.chain;
    session->used_bytes += count;
    while (session->arrival_count > 0 && session->arrivals[0].end <= session->used_bytes) {
        session->arrival_count--;
        memmove(session->arrivals, session->arrivals + 1,
                session->arrival_count * sizeof(session->arrivals[0]));
    }
    chain_skip(&dp->chunks, chain, (uint32_t)count);
    if (chain->len == 0) {
        session->input.tail = NULL;
    }
}

/* Lay the kept input out in one piece, LIMIT bytes of it at most. */
static struct slice lay_out(struct dataplane *dp, const struct session *session, size_t limit)
{
    struct chain chain = session->input.chain;
    chain.len = chain.len < limit ? chain.len : (uint32_t)limit;
    if (chain.len <= chain.head->used - chain.off) {
        return slice_of(chain.head->data + chain.off, chain.len);
    }
    chain_copy(&chain, dp->scratch);
    return slice_of(dp->scratch, chain.len);
}

void session_resume(struct dataplane *dp, struct session *session)
{
    if (session->state == SESSION_KEYS && session->input.chain.len == 0) {
        (void)consume(dp, session, slice_of("", 0));
    }
    while (session->input.chain.len > 0) {
        /* One very long line is looked at from where the last look ended, so as a whole. */
        size_t limit = session->scanned < LAYOUT_BYTES ? LAYOUT_BYTES : SCRATCH_INPUT_BYTES;
        struct slice input = lay_out(dp, session, limit);
        size_t used = consume(dp, session, input);
        bool is_all = input.len == session->input.chain.len;
        drop_input(dp, session, used);
        bool is_long_line = used == 0 && !is_all && session->scanned == input.len;
        if (!is_long_line && (used == 0 || session->input.chain.len == 0)) {
            break;
        }
    }
    session_touch(dp, session);
}

void session_resume_waiting(struct dataplane *dp)
{
    struct list again;
    list_init(&again);
    while (!list_is_empty(&dp->waiting)) {
        struct list *at = dp->waiting.next;
        list_remove(at);
        list_append(&again, at);
    }
    while (!list_is_empty(&again)) {
        struct list *at = again.next;
        list_remove(at);
        session_resume(dp, LIST_OWNER(at, struct session, waiting));
    }
}

/*
 * A long line goes on, and does not end: all that was kept of it is known to hold no end, and it is
 * a get's, or it would have been refused already. Then it is not laid out for each few bytes that a
 * client doles out.
 */
static bool is_line_going_on(const struct session *session, struct slice bytes)
{
    size_t kept = session->input.chain.len;
    return session->state == SESSION_LINE && session->protocol == SESSION_TEXT &&
           kept > MC_LINE_BYTES_MAX && session->scanned == kept &&
           kept + bytes.len <= MC_GET_LINE_BYTES_MAX && memchr(bytes.ptr, '\n', bytes.len) == NULL;
}

void session_on_bytes(struct dataplane *dp, uint32_t slot, struct slice bytes)
{
    struct session *session = &dp->sessions[slot];
    if (session->state == SESSION_FREE || session->state == SESSION_CLOSING) {
        return;
    }
    dp->stats.bytes_in += bytes.len;
    if (session->input.chain.len == 0) {
        bytes = slice_skip(bytes, consume(dp, session, bytes));
        if (bytes.len == 0) {
            session_touch(dp, session);
            return;
        }
    }
    note_arrival(dp, session, bytes.len);
    bool is_going_on = is_line_going_on(session, bytes);
    if (!chain_append(&dp->chunks, &session->input, bytes)) {
        dp->stats.shed++; /* the room that was promised is gone: this client alone suffers */
        session_move(session, SESSION_CLOSING);
    }
    if (is_going_on && session->state == SESSION_LINE) {
        session->scanned += bytes.len;
    } else {
        session_resume(dp, session);
    }
}

void session_on_eof(struct dataplane *dp, uint32_t slot)
{
    struct session *session = &dp->sessions[slot];
    if (session->state == SESSION_FREE) {
        return;
    }
    session->is_eof = true;
    session_touch(dp, session);
}

void session_on_lost(struct dataplane *dp, uint32_t slot)
{
    struct session *session = &dp->sessions[slot];
    if (session->state != SESSION_FREE) {
        session_free(dp, session);
    }
}

size_t dataplane_client_room(const struct dataplane *dp)
{
    return dp->chunks.free_count < ROOM_RESERVE_CHUNKS ? 0 : ROOM_BYTES;
}

/* --- Output --- */

const struct txn *session_unanswered(const struct session *session)
{
    const struct txn *txn = session->head;
    while (txn != NULL && txn->is_answered) {
        txn = txn->next;
    }
    return txn;
}

void session_on_answer(struct dataplane *dp, struct session *session)
{
    session_touch(dp, session);
}

void dataplane_client_writable(struct dataplane *dp, uint32_t slot)
{
    struct session *session = &dp->sessions[slot];
    if (session->state != SESSION_FREE) {
        session->is_blocked = false;
        session_touch(dp, session);
    }
}

static bool has_output(const struct session *session)
{
    return session->head != NULL && session->head->is_answered;
}

/* Is there input that could be consumed if nothing stopped it? */
static bool has_more(const struct session *session)
{
    return session->state == SESSION_KEYS || session->input.chain.len > session->scanned;
}

bool session_is_amid(const struct session *session)
{
    const bool is_begun = session->state == SESSION_DATA || session->state == SESSION_SWALLOW ||
                          (session->state == SESSION_LINE && session->input.chain.len > 0);
    return is_begun && !session->is_eof && !has_more(session);
}

/* What the shell is to do for this session next; the session was touched. */
bool session_next_action(struct dataplane *dp, struct session *session,
                         struct dataplane_action *out)
{
    if (session->state == SESSION_FREE) {
        return false;
    }
    session_pop_written(dp, session);
    bool is_waiting = list_is_linked(&session->waiting); /* for memory: a tick takes it up again */
    if (has_more(session) && session->state != SESSION_CLOSING && !is_waiting &&
        !is_stopped(dp, session)) {
        session_resume(dp, session);
        session_pop_written(dp, session);
    }
    out->client = session->slot;
    if (session->is_overdue) {
        out->is_cut = session->output_bytes > 0;
        session_free(dp, session);
        out->type = DATAPLANE_CLIENT_CLOSE;
        return true;
    }
    if (has_output(session) && !session->is_blocked && !dp->is_lapsed) {
        session->is_blocked = true; /* until the shell says what was taken */
        out->type = DATAPLANE_CLIENT_WRITE;
        return true;
    }
    bool is_done = session->state == SESSION_CLOSING || (session->is_eof && !has_more(session));
    if (is_done && session->head == NULL) {
        out->is_cut = false;
        session_free(dp, session);
        out->type = DATAPLANE_CLIENT_CLOSE;
        return true;
    }
    bool is_held = has_more(session) || session->state == SESSION_CLOSING;
    if (is_held != session->is_paused && !session->is_eof) {
        session->is_paused = is_held;
        out->type = is_held ? DATAPLANE_CLIENT_PAUSE : DATAPLANE_CLIENT_RESUME;
        return true;
    }
    return false;
}
