/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole dataplane between a client that sends what the fuzzer likes and nodes that are stricter
 * than memcached (model_node.h).
 *
 * The first bytes of an input say how it is played. One honest node: the client's bytes are given
 * once as a whole and once cut at random, with the node's bytes cut too. Promised: both times the
 * client reads the same, and the node gets, one for one, the commands that the parser accepts in
 * the client's bytes (reliability.md S10). Two nodes of which one says what the fuzzer likes, while
 * connections end and time passes: nodes get nothing but whole commands, no invariant breaks, and
 * at rest nothing is held.
 */
#include "../../src/core/dataplane_private.h"
#include "fuzz.h"
#include "model_node.h"

#include <sys/mman.h>

enum {
    NODES_OF_MIRROR = 2,
    CLIENTS_OF_RUN = 2,
    MEMORY_BYTES = 64 << 20,
    ITEM_BYTES = 2048,
    PIECES = 8,
    HEAD_BYTES = 4,    /* of an input: how it is played */
    KEYS_MAX = 2048,   /* asked for in one input: their answers must fit in memory */
    REST_TURNS = 4000, /* until nothing may be held any more */
    STEPS_MAX = 20000,
};

static const struct slice node_names[NODES_OF_MIRROR] = {SLICE_INIT("a"), SLICE_INIT("b")};

struct world {
    struct dataplane *dp;
    struct prng prng;
    uint64_t now_us;
    uint32_t node_count;
    struct topology topology;
    struct model_node nodes[NODES_OF_MIRROR];
    bool is_connecting[NODES_OF_MIRROR];
    bool is_open[NODES_OF_MIRROR];
    uint32_t given_up[NODES_OF_MIRROR];
    bool is_mistaken[NODES_OF_MIRROR]; /* what it said of itself was nonsense: it is asked anew */
    struct bytes to_client[CLIENTS_OF_RUN];
    bool is_closed[CLIENTS_OF_RUN];
    bool is_paused[CLIENTS_OF_RUN];
    bool is_whole;         /* nothing is cut */
    struct slice nonsense; /* what node 0 says now and then */
    uint64_t flush_ticket; /* asked for, not yet done; 0: none */
};

static struct world w;

static struct dataplane_options options_of(uint32_t node_count)
{
    return (struct dataplane_options){
        .names = {.pool = SLICE("main"), .node_count = node_count, .nodes = node_names},
        .clients_max = CLIENTS_OF_RUN,
        .memory_bytes = MEMORY_BYTES,
        .item_bytes_max = ITEM_BYTES,
        .pipeline_max = 16,
        .client_output_bytes_max = 16 << 20,
        .request_timeout_us = 1500 * 1000,
        .connect_timeout_us = 200 * 1000,
        .settle_delay_us = 20 * 1000,
        .seed = 1,
        .version = SLICE("1.6.38 everwarm/fuzz"),
    };
}

/* Memory for one dataplane, zeroed: the pages go back after each run and come back empty. */
static void *fresh_memory(size_t bytes)
{
    static char *memory;
    static size_t have;
    if (have < bytes) {
        PROMISE(memory == NULL);
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        PROMISE(memory != MAP_FAILED);
        have = bytes;
    } else {
        PROMISE(madvise(memory, have, MADV_DONTNEED) == 0);
    }
    return memory;
}

static uint64_t below(uint64_t bound)
{
    return prng_below(&w.prng, bound);
}

static void step(const struct dataplane_event *event)
{
    dataplane_turn(w.dp, w.now_us, UINT64_MAX);
    dataplane_step(w.dp, event);
}

static void on_report(const struct control_report *report)
{
    if (report->type == CONTROL_REPORT_FLUSH) {
        w.flush_ticket = report->ticket;
    } else if (report->type == CONTROL_REPORT_IDENTITY || report->type == CONTROL_REPORT_NEWER) {
        w.is_mistaken[report->node] = true;
    }
}

static void write_client(uint32_t client)
{
    struct slice pieces[PIECES];
    size_t count = dataplane_client_gather(w.dp, client, pieces, PIECES);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        bytes_put(&w.to_client[client], pieces[i]);
        total += pieces[i].len;
    }
    dataplane_client_wrote(w.dp, client, total);
}

static void write_node(uint32_t node)
{
    struct slice pieces[PIECES];
    size_t count = dataplane_node_gather(w.dp, node, pieces, PIECES);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        bytes_put(&w.nodes[node].in, pieces[i]);
        total += pieces[i].len;
    }
    dataplane_node_wrote(w.dp, node, total);
}

/* What was sent on a connection that is no more is executed all the same. */
static void forget_connection(uint32_t n)
{
    struct model_node *node = &w.nodes[n];
    while (model_node_execute(node)) {
    }
    bytes_clear(&node->in);
    bytes_clear(&node->out);
    w.is_open[n] = false;
    w.is_connecting[n] = false;
}

static void run(void)
{
    struct dataplane_action action;
    while (dataplane_next_action(w.dp, &action)) {
        switch (action.type) {
        case DATAPLANE_CLIENT_WRITE:
            write_client(action.client);
            break;
        case DATAPLANE_NODE_WRITE:
            write_node(action.link);
            break;
        case DATAPLANE_CLIENT_CLOSE:
            w.is_closed[action.client] = true;
            break;
        case DATAPLANE_CLIENT_PAUSE:
            w.is_paused[action.client] = true;
            break;
        case DATAPLANE_CLIENT_RESUME:
            w.is_paused[action.client] = false;
            break;
        case DATAPLANE_NODE_CONNECT:
            w.is_connecting[action.link] = true;
            break;
        case DATAPLANE_NODE_GIVE_UP:
            forget_connection(action.link);
            w.given_up[action.link]++;
            break;
        case DATAPLANE_REPORT:
            on_report(&action.report);
            break;
        }
    }
}

static void happen(const struct dataplane_event *event)
{
    step(event);
    run();
}

static void close_connection(uint32_t n)
{
    if (w.is_open[n]) {
        forget_connection(n);
        happen(&(struct dataplane_event){
            .type = DATAPLANE_NODE_CLOSED, .link = n, .end = WIRE_END_EOF});
    }
}

static void give_node_bytes(uint32_t n, struct slice bytes)
{
    char *copy = fuzz_copy(bytes);
    happen(&(struct dataplane_event){
        .type = DATAPLANE_NODE_BYTES, .link = n, .bytes = slice_of(copy, bytes.len)});
    free(copy);
}

/* A piece of LEN bytes: all of it, or as the dice fall. */
static size_t cut(size_t len)
{
    if (w.is_whole || len == 0) {
        return len;
    }
    return 1 + (size_t)below(below(2) == 0 ? len : len < 8 ? len : 8);
}

static void turn_node(uint32_t n)
{
    struct model_node *node = &w.nodes[n];
    for (; w.given_up[n] > 0; w.given_up[n]--) {
        happen(&(struct dataplane_event){
            .type = DATAPLANE_NODE_ENDED, .link = n, .end = WIRE_END_EOF});
    }
    if (w.is_mistaken[n]) {
        w.is_mistaken[n] = false;
        close_connection(n);
    }
    if (w.is_connecting[n]) {
        w.is_connecting[n] = false;
        w.is_open[n] = true;
        happen(&(struct dataplane_event){.type = DATAPLANE_NODE_OPEN, .link = n});
    }
    uint64_t most = w.is_whole ? UINT64_MAX : below(4);
    while (most-- > 0 && model_node_execute(node)) {
    }
    if (!w.is_open[n]) {
        return;
    }
    if (n == 0 && w.nonsense.len > 0 && below(4) == 0) {
        size_t len = cut(w.nonsense.len);
        struct slice said = slice_of(w.nonsense.ptr, len);
        w.nonsense = slice_skip(w.nonsense, len);
        give_node_bytes(n, said);
    } else if (node->out.len > 0) {
        size_t len = cut(node->out.len);
        struct bytes said = {0};
        bytes_put(&said, slice_of(node->out.ptr, len));
        bytes_take(&node->out, len);
        give_node_bytes(n, slice_of(said.ptr, said.len));
        bytes_clear(&said);
    }
}

static bool is_quiet(void)
{
    for (uint32_t n = 0; n < w.node_count; n++) {
        if (w.nodes[n].in.len + w.nodes[n].out.len > 0 || w.is_connecting[n] || w.given_up[n] > 0 ||
            !w.is_open[n]) {
            return false;
        }
    }
    return true;
}

static void turn(void)
{
    for (uint32_t n = 0; n < w.node_count; n++) {
        turn_node(n);
    }
    if (w.flush_ticket != 0 && is_quiet()) {
        uint64_t ticket = w.flush_ticket;
        w.flush_ticket = 0;
        for (uint32_t n = 0; n < w.node_count; n++) {
            model_node_flush(&w.nodes[n]);
        }
        happen(&(struct dataplane_event){.type = DATAPLANE_FLUSHED, .ticket = ticket});
    }
}

static void start(uint32_t node_count, uint64_t seed, bool has_tokens)
{
    struct dataplane_options options = options_of(node_count);
    w = (struct world){.node_count = node_count, .now_us = 1000000};
    w.prng.state = seed;
    w.dp = dataplane_init(fresh_memory(dataplane_bytes(&options)), &options);
    node_set all = node_set_all(node_count);
    w.topology = (struct topology){.serial = 1,
                                   .epoch = 1,
                                   .node_count = node_count,
                                   .complete = all,
                                   .leaders = all,
                                   .is_lone = node_count == 1,
                                   .has_tokens = has_tokens,
                                   .token_base_ms = UINT64_C(200000000000)};
    for (uint32_t n = 0; n < node_count; n++) {
        w.nodes[n].pid = 100 + n;
        w.topology.node_seed[n] = topology_hash(node_names[n]);
        w.topology.identity[n] = (struct identity){.pid = 100 + n, .started_s = 1000};
    }
    w.is_whole = true;
    happen(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = &w.topology});
    for (int i = 0; i < 8 && !is_quiet(); i++) {
        turn();
    }
    PROMISE(is_quiet());
    for (uint32_t i = 0; i < CLIENTS_OF_RUN; i++) {
        happen(&(struct dataplane_event){.type = DATAPLANE_CLIENT_OPEN, .client = i});
    }
}

static bool is_idle(void)
{
    return w.dp->txns.free_count == TXNS_MAX && w.dp->legs.free_count == LEGS_MAX;
}

static void finish(void)
{
    for (uint32_t i = 0; i < CLIENTS_OF_RUN; i++) {
        if (!w.is_closed[i]) {
            happen(&(struct dataplane_event){.type = DATAPLANE_CLIENT_LOST, .client = i});
        }
    }
    w.is_whole = true;
    w.nonsense = SLICE("");
    for (int i = 0; i < REST_TURNS && !is_idle(); i++) {
        w.now_us += 1000;
        happen(&(struct dataplane_event){.type = DATAPLANE_TICK});
        turn();
    }
    PROMISE(is_idle());
    PROMISE(w.dp->inflight_count == 0 && w.dp->invalidations == 0);
    const struct dataplane_stats *stats = dataplane_stats(w.dp);
    PROMISE(stats->held == 0 && stats->clients == 0 && stats->memory_bytes <= 2 * CHUNK_BYTES);
    for (uint32_t n = 0; n < w.node_count; n++) {
        PROMISE(w.nodes[n].in.len == 0); /* no command was left half sent */
        model_node_clear(&w.nodes[n]);
    }
}

/* Give client 0 all of INPUT, as it is ready for it, and let all come to rest. */
static void play(struct slice input)
{
    size_t room = w.is_whole ? dataplane_client_room(w.dp) : SIZE_MAX;
    for (int i = 0; i < STEPS_MAX; i++) {
        if (input.len > 0 && !w.is_paused[0] && !w.is_closed[0] && (w.is_whole || below(2) == 0)) {
            size_t len = cut(input.len < room ? input.len : room);
            char *copy = fuzz_copy(slice_of(input.ptr, len));
            happen(&(struct dataplane_event){
                .type = DATAPLANE_CLIENT_BYTES, .client = 0, .bytes = slice_of(copy, len)});
            free(copy);
            input = slice_skip(input, len);
        }
        turn();
        bool is_over = input.len == 0 || w.is_closed[0];
        if (is_over && is_quiet() && w.flush_ticket == 0 &&
            (w.is_closed[0] || w.dp->sessions[0].head == NULL)) {
            return;
        }
    }
    BROKEN("it comes to rest");
}

/* --- What the parsers accept in the client's bytes --- */

struct expected {
    struct bytes log;
    uint64_t keys;
    bool is_comparable; /* the answers don't depend on when they are given */
    bool is_closed;
};

static void log_keys(struct expected *expected, const struct mc_request *request)
{
    bool is_touch = request->command == MC_GAT || request->command == MC_GATS;
    struct slice keys = request->keys;
    for (struct slice key = mc_request_next_key(&keys); key.len > 0;
         key = mc_request_next_key(&keys)) {
        model_log(&expected->log, is_touch ? "gat" : "get", key, SLICE(""));
        expected->keys++;
    }
}

static void log_store(struct expected *expected, const struct mc_request *request,
                      struct slice data)
{
    static const char *const words[MC_COMMAND_COUNT] = {[MC_SET] = "ms S",
                                                        [MC_ADD] = "ms E",
                                                        [MC_REPLACE] = "ms R",
                                                        [MC_APPEND] = "ms A",
                                                        [MC_PREPEND] = "ms P"};
    if (request->has_cas) {
        model_log(&expected->log, "cas", request->key, SLICE(""));
    } else {
        model_log(&expected->log, words[request->command], request->key, data);
    }
}

static void log_single(struct expected *expected, const struct mc_request *request)
{
    static const char *const words[MC_COMMAND_COUNT] = {
        [MC_DELETE] = "delete", [MC_TOUCH] = "touch", [MC_INCR] = "incr",
        [MC_DECR] = "decr",     [MC_META_GET] = "mg", [MC_META_DEBUG] = "me"};
    if (words[request->command] != NULL) {
        model_log(&expected->log, words[request->command], request->key, SLICE(""));
    } else if (request->command == MC_STATS) {
        expected->is_comparable = false; /* it counts the very bytes that are cut */
    }
}

/* One request at the start of INPUT. Returns the bytes of all of it; 0: there is no whole one. */
static uint64_t expect_one(struct expected *expected, struct slice input, bool is_binary)
{
    struct mc_request request;
    struct session session = {.slot = 0};
    enum mc_parse parse = is_binary ? session_parse_binary(&session, input, ITEM_BYTES, &request)
                                    : mc_request_parse(input, 0, ITEM_BYTES, &request);
    if (parse == MC_PARSE_MORE) {
        return 0;
    }
    expected->is_closed = request.must_close || request.command == MC_QUIT;
    if (parse == MC_PARSE_BAD) {
        if (request.key.len > 0) {
            model_log(&expected->log, "delete", request.key, SLICE(""));
        }
        return request.line_bytes + request.swallow_bytes;
    }
    if (request.command < MC_SET) {
        log_keys(expected, &request);
        return request.line_bytes;
    }
    if (request.command > MC_CAS) {
        log_single(expected, &request);
        return request.line_bytes;
    }
    struct slice rest = slice_skip(input, request.line_bytes);
    size_t end_bytes = is_binary ? 0 : 2;
    uint64_t data = request.value_bytes + end_bytes;
    if (rest.len >= data && memcmp(rest.ptr + request.value_bytes, "\r\n", end_bytes) == 0) {
        log_store(expected, &request, slice_of(rest.ptr, (size_t)request.value_bytes));
    }
    return request.line_bytes + data;
}

static struct expected expected_of(struct slice input)
{
    struct expected expected = {.is_comparable = true};
    bool is_binary = input.len > 0 && (unsigned char)input.ptr[0] == MC_BINARY_REQUEST_MAGIC;
    while (input.len > 0 && !expected.is_closed) {
        uint64_t bytes = expect_one(&expected, input, is_binary);
        if (bytes == 0) {
            break;
        }
        input = slice_skip(input, bytes < input.len ? (size_t)bytes : input.len);
    }
    return expected;
}

static void expect_equal(const char *what, const struct bytes *got, const struct bytes *want)
{
    if (got->len == want->len && (got->len == 0 || memcmp(got->ptr, want->ptr, got->len) == 0)) {
        return;
    }
    (void)fprintf(stderr, "%s differs; got %zu bytes:\n%.*s\nwanted %zu bytes:\n%.*s\n", what,
                  got->len, (int)got->len, got->ptr, want->len, (int)want->len, want->ptr);
    abort();
}

static void play_honest(struct slice input, uint64_t seed, bool has_tokens)
{
    struct expected expected = expected_of(input);
    if (expected.keys > KEYS_MAX) {
        bytes_clear(&expected.log);
        return;
    }
    struct bytes answers = {0};
    for (int round = 0; round < 2; round++) {
        start(1, seed, has_tokens);
        w.is_whole = round == 0;
        play(input);
        expect_equal("what the node was sent", &w.nodes[0].log, &expected.log);
        if (round == 0) {
            answers = w.to_client[0];
            w.to_client[0] = (struct bytes){0};
        } else if (expected.is_comparable) {
            expect_equal("what the client read", &w.to_client[0], &answers);
        }
        finish();
        bytes_clear(&w.to_client[0]);
    }
    bytes_clear(&answers);
    bytes_clear(&expected.log);
}

/* --- Nodes that say anything, connections that end --- */

static void disturb(void)
{
    uint32_t n = (uint32_t)below(w.node_count);
    switch (below(12)) {
    case 0:
        close_connection(n);
        break;
    case 1:
        w.now_us += below(700 * 1000);
        happen(&(struct dataplane_event){.type = DATAPLANE_TICK});
        break;
    default:
        w.now_us += below(20 * 1000);
        happen(&(struct dataplane_event){.type = DATAPLANE_TICK});
        break;
    }
}

static void play_hostile(struct slice input, struct slice nonsense, uint64_t seed, bool has_tokens)
{
    start(NODES_OF_MIRROR, seed, has_tokens);
    w.is_whole = false;
    w.nonsense = nonsense;
    for (int i = 0; i < STEPS_MAX && input.len + w.nonsense.len > 0; i++) {
        uint32_t client = (uint32_t)below(CLIENTS_OF_RUN);
        if (input.len > 0 && !w.is_paused[client] && !w.is_closed[client]) {
            size_t len = cut(input.len);
            char *copy = fuzz_copy(slice_of(input.ptr, len));
            happen(&(struct dataplane_event){
                .type = DATAPLANE_CLIENT_BYTES, .client = client, .bytes = slice_of(copy, len)});
            free(copy);
            input = slice_skip(input, len);
        }
        disturb();
        turn();
    }
    finish();
    for (uint32_t i = 0; i < CLIENTS_OF_RUN; i++) {
        bytes_clear(&w.to_client[i]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD_BYTES) {
        return 0;
    }
    struct slice input = slice_of((const char *)data + HEAD_BYTES, size - HEAD_BYTES);
    uint64_t seed = (uint64_t)data[0] << 8 | data[1];
    size_t said_by_nodes = input.len * data[3] / 256;
    bool has_tokens = (data[2] & 2) != 0;
    if ((data[2] & 1) == 0) {
        play_honest(input, seed, has_tokens);
    } else {
        size_t asked = input.len - said_by_nodes;
        play_hostile(slice_of(input.ptr, asked), slice_skip(input, asked), seed, has_tokens);
    }
    return 0;
}
