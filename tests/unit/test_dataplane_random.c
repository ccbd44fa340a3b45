/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * S12, and all else that the dataplane promises, in a storm: random clients with pipelines against
 * model nodes, with bytes cut anywhere, sockets that take little, connections that end in every
 * way, nodes that freeze, restart, leave and come back, views that change and a lease that lapses.
 *
 * Each key has one writer, which numbers its values, so that every value read tells whether it may
 * be seen: it was asked for, and it is not older than what its writer was told before the read was
 * sent, unless it belongs to a write that ended in an error (which may still happen once). At rest
 * all complete nodes hold the same, and the dataplane holds nothing.
 *
 *   test_dataplane_random [first seed] [seeds]
 */
#include "../../src/core/dataplane_private.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    NODES = 3,
    CLIENTS = 5,
    KEYS = 20,   /* single writers: client = key % CLIENTS */
    NUMBERS = 3, /* incr and decr by anyone */
    APPENDS = 3, /* append and prepend by anyone */
    ITEMS = KEYS + NUMBERS + APPENDS,
    ASKED_MAX = 64, /* requests of one client under way */
    ASKED_KEYS_MAX = 400,
    SEQUENCES = 1 << 16,
    GHOSTS = 8,
    STEPS = 6000,
    TIMEOUT_US = 1500 * 1000,
    LATE_US = 300 * 1000, /* ticks, and input whose arrivals were told apart no more */
    WALL_S = 1700000000,
};

static const struct slice node_names[NODES] = {SLICE_INIT("a"), SLICE_INIT("b"), SLICE_INIT("c")};

/* --- Bytes that grow --- */

struct buffer {
    char *ptr;
    size_t len;
    size_t capacity;
};

static void put(struct buffer *to, const char *bytes, size_t len)
{
    if (to->len + len > to->capacity) {
        to->capacity = 2 * (to->len + len) + 256;
        to->ptr = realloc(to->ptr, to->capacity);
        REQUIRE(to->ptr != NULL);
    }
    memcpy(to->ptr + to->len, bytes, len);
    to->len += len;
}

static void put_text(struct buffer *to, const char *text)
{
    put(to, text, strlen(text));
}

static void take(struct buffer *from, size_t len)
{
    from->len -= len;
    memmove(from->ptr, from->ptr + len, from->len);
}

static void clear(struct buffer *buffer)
{
    free(buffer->ptr);
    *buffer = (struct buffer){0};
}

/* --- The world --- */

struct item {
    bool is_there;
    uint32_t flags;
    int64_t ttl_s;
    uint64_t cas;
    char *data;
    size_t len;
};

/* What was sent on a connection that is no more, and is still executed. */
struct ghost {
    struct buffer in;
    uint64_t until_us; /* 0: none */
    bool is_told;      /* NODE_ENDED belongs to it */
    enum wire_end end;
};

struct node {
    struct item items[ITEMS];
    uint64_t pid;
    uint64_t known_pid; /* the view's */
    uint64_t cas;
    struct buffer in;  /* sent, not executed */
    struct buffer out; /* answered, not read */
    bool is_open;
    bool is_connecting;
    bool is_blocked; /* the proxy's socket to it */
    uint64_t frozen_until_us;
    struct ghost ghosts[GHOSTS];
};

struct asked {
    uint64_t sent_us; /* its last byte was given to the dataplane; 0: not yet */
    uint8_t command;
    bool is_noreply;
    uint32_t seq;
    uint32_t key_count;
    uint8_t keys[ASKED_KEYS_MAX];
    uint32_t floors[ITEMS]; /* what had been acknowledged when it was sent, by item */
    size_t end;             /* of it, in bytes the client ever sent */
};

struct client {
    bool is_open;
    bool is_eof;
    bool is_paused;
    bool is_blocked;
    uint64_t blocked_until_us;
    uint64_t free_us;      /* it has taken what it was given since */
    struct buffer pending; /* asked, not given to the dataplane */
    size_t asked_bytes;
    size_t given_bytes;
    struct buffer in; /* replies, not parsed */
    struct asked asked[ASKED_MAX];
    uint32_t asked_first;
    uint32_t asked_count;
};

static struct {
    uint64_t seed;
    struct prng prng;
    struct dataplane *dp;
    void *memory;
    uint64_t now_us;
    uint64_t lease_until_us;
    uint64_t tick_us;
    bool is_calm; /* no more faults */
    bool has_tokens;
    struct node nodes[NODES];
    struct client clients[CLIENTS];
    struct topology topologies[4096];
    uint32_t serial;
    const struct topology *now;
    const struct topology *next;
    bool is_drained;
    uint64_t adopt_us;
    node_set unwanted; /* reported as missed or as another run */
    uint32_t seq;
    uint32_t issued[ITEMS];
    uint32_t acked[ITEMS];
    uint64_t cas_seen[ITEMS];
    uint8_t key_of[SEQUENCES];
    bool is_wild[SEQUENCES]; /* ended in an error or unknown: may be seen at any time */
    uint64_t replies;
    uint64_t hits;
    uint64_t errors;
} w;

static uint64_t below(uint64_t bound)
{
    return prng_below(&w.prng, bound);
}

static bool one_in(uint64_t n)
{
    return below(n) == 0;
}

#define FAIL(...)                                                                                  \
    do {                                                                                           \
        fprintf(stderr, "seed %llu, at %llu us: ", (unsigned long long)w.seed,                     \
                (unsigned long long)w.now_us);                                                     \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, "\n");                                                                     \
        exit(1);                                                                                   \
    } while (0)

/* --- Keys --- */

/* Some are as long as they may be. */
static const char *key_name(uint32_t item)
{
    static char names[ITEMS][MC_KEY_BYTES_MAX + 1];
    if (names[item][0] == 0) {
        size_t len = item % 7 == 3 ? MC_KEY_BYTES_MAX : 4;
        memset(names[item], 'k', len);
        snprintf(names[item], 4, "%c%02u",
                 item < KEYS             ? 'k'
                 : item < KEYS + NUMBERS ? 'n'
                                         : 'a',
                 item);
        names[item][3] = 'k';
    }
    return names[item];
}

static uint32_t item_of(struct slice key)
{
    for (uint32_t i = 0; i < ITEMS; i++) {
        if (slice_is_equal(key, slice_of_string(key_name(i)))) {
            return i;
        }
    }
    FAIL("unknown key %.*s", (int)key.len, key.ptr);
}

/* --- Nodes --- */

static void item_drop(struct item *item)
{
    free(item->data);
    *item = (struct item){0};
}

static void item_set(struct node *node, struct item *item, const char *data, size_t len)
{
    char *copy = malloc(len + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, data, len);
    free(item->data);
    item->data = copy;
    item->len = len;
    item->is_there = true;
    item->cas = ++node->cas;
}

static void node_get(struct node *node, struct slice word, struct slice keys, struct buffer *out)
{
    bool has_cas = word.ptr[word.len - 1] == 's';
    int64_t ttl_s = 0;
    bool is_touch = word.ptr[1] == 'a';
    if (is_touch) {
        REQUIRE(mc_read_i64(mc_next_word(&keys), &ttl_s));
    }
    for (struct slice key = mc_next_word(&keys); key.len > 0; key = mc_next_word(&keys)) {
        struct item *item = &node->items[item_of(key)];
        if (!item->is_there) {
            continue;
        }
        item->ttl_s = is_touch ? ttl_s : item->ttl_s;
        char head[MC_KEY_BYTES_MAX + 100];
        snprintf(head, sizeof(head),
                 has_cas ? "VALUE %.*s %u %zu %llu\r\n" : "VALUE %.*s %u %zu\r\n", (int)key.len,
                 key.ptr, item->flags, item->len, (unsigned long long)item->cas);
        put_text(out, head);
        put(out, item->data, item->len);
        put_text(out, "\r\n");
    }
    put_text(out, "END\r\n");
}

struct meta {
    int64_t ttl_s;
    uint64_t flags;
    uint64_t cas;
    uint64_t token;
    uint64_t delta;
    char mode;
    bool has_ttl;
    bool has_cas;
    bool has_value;
};

static struct meta meta_of(struct slice words)
{
    struct meta meta = {.mode = 'S'};
    for (struct slice word = mc_next_word(&words); word.len > 0; word = mc_next_word(&words)) {
        struct slice value = slice_skip(word, 1);
        bool is_fine = true;
        switch (word.ptr[0]) {
        case 'T':
            meta.has_ttl = true;
            is_fine = mc_read_i64(value, &meta.ttl_s);
            break;
        case 'F':
            is_fine = mc_read_u64(value, &meta.flags);
            break;
        case 'C':
            meta.has_cas = true;
            is_fine = mc_read_u64(value, &meta.cas);
            break;
        case 'E':
            is_fine = w.has_tokens && mc_read_u64(value, &meta.token) && meta.token != 0;
            break;
        case 'D':
            is_fine = mc_read_u64(value, &meta.delta);
            break;
        case 'M':
            meta.mode = value.ptr[0];
            break;
        case 'v':
            meta.has_value = true;
            break;
        default:
            is_fine = memchr("ftcu", word.ptr[0], 4) != NULL;
            break;
        }
        if (!is_fine) {
            FAIL("a node was sent the flag %.*s", (int)word.len, word.ptr);
        }
    }
    return meta;
}

static const char *node_store(struct node *node, struct item *item, const struct meta *meta,
                              struct slice data)
{
    if ((meta->mode == 'E' && item->is_there) ||
        (meta->mode != 'E' && meta->mode != 'S' && !item->is_there)) {
        return "NS\r\n";
    }
    if (meta->has_cas && (!item->is_there || item->cas != meta->cas)) {
        return item->is_there ? "EX\r\n" : "NF\r\n";
    }
    if (meta->mode == 'A' || meta->mode == 'P') {
        struct buffer all = {0};
        struct slice old = slice_of(item->data, item->len);
        struct slice first = meta->mode == 'A' ? old : data;
        struct slice second = meta->mode == 'A' ? data : old;
        put(&all, first.ptr, first.len);
        put(&all, second.ptr, second.len);
        item_set(node, item, all.ptr, all.len);
        item->cas = meta->token != 0 ? meta->token : item->cas;
        clear(&all);
        return "HD\r\n";
    }
    item_set(node, item, data.ptr, data.len);
    item->cas = meta->token != 0 ? meta->token : item->cas;
    item->flags = (uint32_t)meta->flags;
    item->ttl_s = meta->ttl_s;
    return "HD\r\n";
}

static void node_arithmetic(struct node *node, struct item *item, const struct meta *meta,
                            struct buffer *out)
{
    uint64_t value = 0;
    if (!item->is_there) {
        put_text(out, "NF\r\n");
    } else if (!mc_read_u64(slice_of(item->data, item->len), &value)) {
        put_text(out, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    } else {
        char text[32];
        char reply[64];
        value = meta->mode == 'I' ? value + meta->delta
                                  : (value > meta->delta ? value - meta->delta : 0);
        int len = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
        bool is_grown = (size_t)len > item->len; /* then memcached loses the token */
        item_set(node, item, text, (size_t)len);
        item->cas = meta->token != 0 && !is_grown ? meta->token : item->cas;
        snprintf(reply, sizeof(reply), "VA %d\r\n%s\r\n", len, text);
        put_text(out, reply);
    }
}

static void node_meta_get(struct item *item, const struct meta *meta, struct buffer *out)
{
    if (!item->is_there) {
        put_text(out, "EN\r\n");
        return;
    }
    item->ttl_s = meta->has_ttl ? meta->ttl_s : item->ttl_s;
    if (!meta->has_value) {
        put_text(out, "HD\r\n");
        return;
    }
    char head[100];
    snprintf(head, sizeof(head), "VA %zu f%u t%lld c%llu\r\n", item->len, item->flags,
             item->ttl_s == 0 ? -1 : (long long)item->ttl_s, (unsigned long long)item->cas);
    put_text(out, head);
    put(out, item->data, item->len);
    put_text(out, "\r\n");
}

static void node_touch(struct item *item, struct slice words, struct buffer *out)
{
    int64_t ttl_s = 0;
    REQUIRE(mc_read_i64(mc_next_word(&words), &ttl_s));
    item->ttl_s = item->is_there ? ttl_s : item->ttl_s;
    put_text(out, item->is_there ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
}

/* Execute the first whole command of IN. Returns false: there is none. */
static bool node_execute(struct node *node, struct buffer *in, struct buffer *out)
{
    const char *end = in->len == 0 ? NULL : memchr(in->ptr, '\n', in->len);
    if (end == NULL) {
        return false;
    }
    size_t taken = (size_t)(end - in->ptr) + 1;
    struct slice words = slice_of(in->ptr, taken - 2);
    struct slice line = words;
    struct slice word = mc_next_word(&words);
    if (slice_is_equal(line, SLICE("stats"))) {
        char text[200];
        snprintf(text, sizeof(text),
                 "STAT pid %llu\r\nSTAT uptime 10\r\nSTAT time %d\r\nSTAT cmd_flush 0\r\nEND\r\n",
                 (unsigned long long)node->pid, WALL_S + 10);
        put_text(out, text);
    } else if (word.ptr[0] == 'g') {
        node_get(node, word, words, out);
    } else if (slice_is_equal(line, SLICE("mg _everwarm:1:main:view v"))) {
        put_text(out, "EN\r\n");
    } else if (word.ptr[0] == 't') {
        node_touch(&node->items[item_of(mc_next_word(&words))], words, out);
    } else if (word.ptr[0] == 'm') {
        struct item *item = &node->items[item_of(mc_next_word(&words))];
        uint64_t len = 0;
        if (word.ptr[1] == 's') {
            REQUIRE(mc_read_u64(mc_next_word(&words), &len));
            if (in->len - taken < len + 2) {
                return false;
            }
            REQUIRE(memcmp(in->ptr + taken + len, "\r\n", 2) == 0);
        }
        struct meta meta = meta_of(words);
        switch (word.ptr[1]) {
        case 's':
            put_text(out, node_store(node, item, &meta, slice_of(in->ptr + taken, (size_t)len)));
            taken += (size_t)len + 2;
            break;
        case 'd':
            put_text(out, item->is_there ? "HD\r\n" : "NF\r\n");
            item_drop(item);
            break;
        case 'a':
            node_arithmetic(node, item, &meta, out);
            break;
        default:
            node_meta_get(item, &meta, out);
            break;
        }
    } else {
        FAIL("a node was sent %.*s", (int)line.len, line.ptr);
    }
    take(in, taken);
    return true;
}

static void run(void);

static void step(const struct dataplane_event *event)
{
    dataplane_turn(w.dp, w.now_us, w.lease_until_us);
    dataplane_step(w.dp, event);
    if (w.is_calm || !one_in(4)) { /* several events may come before the actions are asked for */
        run();
    }
}

static void node_execute_some(struct node *node, uint64_t most)
{
    struct buffer unread = {0};
    while (most-- > 0 && node_execute(node, &node->in, &unread)) {
    }
    clear(&unread);
}

static struct ghost *free_ghost(struct node *node)
{
    for (uint32_t i = 0; i < GHOSTS; i++) {
        if (node->ghosts[i].until_us == 0) {
            return &node->ghosts[i];
        }
    }
    return NULL;
}

static void make_ghost(struct node *node, struct ghost *ghost, bool is_told, enum wire_end end)
{
    *ghost = (struct ghost){.in = node->in,
                            .until_us = w.now_us + 1 + below(is_told ? 1200000 : 700000),
                            .is_told = is_told,
                            .end = end};
    node->in = (struct buffer){0};
}

static void node_forget(struct node *node)
{
    clear(&node->in);
    clear(&node->out);
    node->is_open = false;
    node->is_connecting = false;
    node->is_blocked = false;
}

static void node_close(uint32_t n, enum wire_end end)
{
    struct node *node = &w.nodes[n];
    if (end == WIRE_END_TIMEOUT && node->is_open) {
        struct ghost *ghost = free_ghost(node);
        if (ghost == NULL) {
            return;
        }
        make_ghost(node, ghost, false, end);
    } else {
        node_execute_some(node, below(20));
    }
    node_forget(node);
    step(&(struct dataplane_event){.type = DATAPLANE_NODE_CLOSED, .link = n, .end = end});
}

static void node_restart(uint32_t n)
{
    struct node *node = &w.nodes[n];
    for (uint32_t i = 0; i < ITEMS; i++) {
        item_drop(&node->items[i]);
    }
    node->pid++;
    for (uint32_t i = 0; i < GHOSTS; i++) {
        node->ghosts[i].in.len = 0;
    }
    clear(&node->in);
    if (node->is_open) {
        node_close(n, one_in(2) ? WIRE_END_EOF : WIRE_END_RESET);
    }
}

static void node_turn(uint32_t n)
{
    struct node *node = &w.nodes[n];
    bool is_frozen = node->frozen_until_us > w.now_us && !w.is_calm;
    for (uint32_t i = 0; i < GHOSTS; i++) {
        struct ghost *ghost = &node->ghosts[i];
        if (ghost->until_us == 0 || ghost->until_us > w.now_us) {
            continue;
        }
        struct buffer unread = {0};
        while (node_execute(node, &ghost->in, &unread)) {
        }
        clear(&unread);
        clear(&ghost->in);
        ghost->until_us = 0;
        if (ghost->is_told) {
            step(&(struct dataplane_event){
                .type = DATAPLANE_NODE_ENDED, .link = n, .end = ghost->end});
        }
    }
    if (is_frozen) {
        return;
    }
    if (node->is_connecting && one_in(2)) {
        node->is_connecting = false;
        if (!w.is_calm && one_in(6)) {
            step(&(struct dataplane_event){
                .type = DATAPLANE_NODE_CLOSED, .link = n, .end = WIRE_END_REFUSED});
            return;
        }
        node->is_open = true;
        step(&(struct dataplane_event){.type = DATAPLANE_NODE_OPEN, .link = n});
        return;
    }
    for (uint64_t i = below(w.is_calm ? 1000 : 12); i > 0 && node->is_open; i--) {
        if (!node_execute(node, &node->in, &node->out)) {
            break;
        }
    }
    if (node->out.len > 0) {
        size_t most = one_in(3) ? 12 : node->out.len;
        size_t len = 1 + (size_t)below(most < node->out.len ? most : node->out.len);
        char *bytes = malloc(len);
        REQUIRE(bytes != NULL);
        memcpy(bytes, node->out.ptr, len);
        take(&node->out, len);
        step(&(struct dataplane_event){
            .type = DATAPLANE_NODE_BYTES, .link = n, .bytes = slice_of(bytes, len)});
        free(bytes);
    }
    if (node->is_blocked && one_in(3)) {
        node->is_blocked = false;
        dataplane_node_writable(w.dp, n);
    }
}

/* --- What clients were answered --- */

static struct asked *asked_at(struct client *client, uint32_t i)
{
    return &client->asked[(client->asked_first + i) % ASKED_MAX];
}

static void check_value(const struct client *client, const struct asked *asked, uint32_t item,
                        struct slice value)
{
    w.hits++;
    if (item >= KEYS) {
        return;
    }
    struct slice rest = value;
    uint64_t seq = 0;
    const char *dot = memchr(rest.ptr, '.', rest.len < 12 ? rest.len : 12);
    if (dot == NULL || !mc_read_u64(slice_of(rest.ptr, (size_t)(dot - rest.ptr)), &seq) ||
        seq >= SEQUENCES || w.key_of[seq] != item) {
        FAIL("client %u read of %s: %.*s", (unsigned)(client - w.clients), key_name(item),
             (int)(rest.len < 40 ? rest.len : 40), rest.ptr);
    }
    if (seq > w.issued[item]) {
        FAIL("%s: %u from the future", key_name(item), (unsigned)seq);
    }
    if (seq < asked->floors[item] && !w.is_wild[seq]) {
        FAIL("%s: stale %u, %u was acknowledged before", key_name(item), (unsigned)seq,
             asked->floors[item]);
    }
    for (size_t i = (size_t)(dot - value.ptr) + 1; i < value.len; i++) {
        if (value.ptr[i] != "\r\nx"[(i + seq) % 3]) {
            FAIL("%s: %u is damaged", key_name(item), (unsigned)seq);
        }
    }
}

/* Returns bytes of a whole reply to a read, 0: more must come. */
static size_t parse_read(struct client *client, const struct asked *asked)
{
    size_t at = 0;
    uint32_t next = 0;
    for (;;) {
        struct slice rest = slice_of(client->in.ptr + at, client->in.len - at);
        const char *end = rest.len == 0 ? NULL : memchr(rest.ptr, '\n', rest.len);
        if (end == NULL) {
            return 0;
        }
        size_t line_bytes = (size_t)(end - rest.ptr) + 1;
        struct slice words = slice_of(rest.ptr, line_bytes - 2);
        if (slice_is_equal(words, SLICE("END"))) {
            return at + line_bytes;
        }
        if (slice_has_prefix(words, SLICE("SERVER_ERROR "))) {
            w.errors++;
            return at + line_bytes;
        }
        struct slice line = words;
        uint64_t flags;
        uint64_t len;
        uint64_t cas = 0;
        bool has_cas = asked->command == MC_GETS || asked->command == MC_GATS;
        bool is_value = slice_is_equal(mc_next_word(&words), SLICE("VALUE"));
        struct slice key = mc_next_word(&words);
        is_value = is_value && mc_read_u64(mc_next_word(&words), &flags) &&
                   mc_read_u64(mc_next_word(&words), &len) &&
                   (!has_cas || mc_read_u64(mc_next_word(&words), &cas)) && words.len == 0;
        if (!is_value) {
            FAIL("a read was answered %.*s", (int)(line.len < 99 ? line.len : 99), line.ptr);
        }
        if (rest.len < line_bytes + len + 2) {
            return 0;
        }
        uint32_t item = item_of(key);
        while (next < asked->key_count && asked->keys[next] != item) {
            next++;
        }
        if (next++ == asked->key_count) {
            FAIL("%s was not asked for, or not in this order", key_name(item));
        }
        check_value(client, asked, item, slice_of(rest.ptr + line_bytes, (size_t)len));
        w.cas_seen[item] = has_cas ? cas : w.cas_seen[item];
        at += line_bytes + (size_t)len + 2;
    }
}

static bool is_one_of(struct slice line, const char *words)
{
    size_t len = strlen(words);
    for (size_t at = 0; at < len;) {
        const char *end = strchr(words + at, '|');
        size_t word = end == NULL ? len - at : (size_t)(end - words) - at;
        if (slice_is_equal(line, slice_of(words + at, word))) {
            return true;
        }
        at += word + 1;
    }
    return false;
}

static const char *answers_to(enum mc_command command)
{
    switch ((int)command) {
    case MC_SET:
        return "STORED";
    case MC_ADD:
    case MC_REPLACE:
    case MC_APPEND:
    case MC_PREPEND:
        return "STORED|NOT_STORED";
    case MC_CAS:
        return "STORED|EXISTS|NOT_FOUND";
    case MC_DELETE:
        return "DELETED|NOT_FOUND";
    case MC_TOUCH:
        return "TOUCHED|NOT_FOUND";
    case MC_INCR:
    case MC_DECR:
        return "NOT_FOUND|CLIENT_ERROR cannot increment or decrement non-numeric value";
    case MC_VERSION:
        return "VERSION test";
    default:
        return "";
    }
}

static void acknowledge(const struct asked *asked, struct slice line)
{
    if (asked->seq == 0) {
        return;
    }
    uint32_t item = asked->keys[0];
    bool is_done = is_one_of(line, "STORED|DELETED|NOT_FOUND") &&
                   !(asked->command == MC_CAS && line.ptr[0] == 'N');
    if (!is_done) {
        w.is_wild[asked->seq] = true;
    } else if (asked->seq > w.acked[item]) {
        w.acked[item] = asked->seq;
    }
}

static size_t parse_line(struct client *client, const struct asked *asked)
{
    const char *end = client->in.len == 0 ? NULL : memchr(client->in.ptr, '\n', client->in.len);
    if (end == NULL) {
        return 0;
    }
    size_t bytes = (size_t)(end - client->in.ptr) + 1;
    struct slice line = slice_of(client->in.ptr, bytes - 2);
    uint64_t number;
    bool is_number =
        (asked->command == MC_INCR || asked->command == MC_DECR) && mc_read_u64(line, &number);
    bool is_error = slice_has_prefix(line, SLICE("SERVER_ERROR "));
    w.errors += is_error;
    if (!is_number && !is_error && !is_one_of(line, answers_to((enum mc_command)asked->command))) {
        FAIL("client %u: %s was answered %.*s", (unsigned)(client - w.clients),
             mc_command_word((enum mc_command)asked->command), (int)line.len, line.ptr);
    }
    acknowledge(asked, line);
    return bytes;
}

static void skip_noreply(struct client *client)
{
    while (client->asked_count > 0 && asked_at(client, 0)->is_noreply) {
        /* Whether it was stored nobody knows, but later answers say that it is over. */
        w.is_wild[asked_at(client, 0)->seq] = true;
        client->asked_first++;
        client->asked_count--;
    }
}

static void parse_replies(struct client *client)
{
    for (;;) {
        if (client->in.len == 0) {
            return;
        }
        skip_noreply(client);
        if (client->asked_count == 0) {
            FAIL("client %u was told more than it asked: %.*s", (unsigned)(client - w.clients),
                 (int)(client->in.len < 99 ? client->in.len : 99), client->in.ptr);
        }
        struct asked *asked = asked_at(client, 0);
        bool is_read = asked->command <= MC_GATS;
        size_t bytes = is_read ? parse_read(client, asked) : parse_line(client, asked);
        if (bytes == 0) {
            return;
        }
        w.replies++;
        take(&client->in, bytes);
        client->asked_first++;
        client->asked_count--;
    }
}

/* --- Clients --- */

static void ask_store(struct client *client, struct asked *asked, uint32_t owner)
{
    static const uint8_t commands[] = {MC_SET, MC_SET, MC_SET, MC_ADD, MC_REPLACE, MC_CAS};
    uint32_t item = owner + CLIENTS * (uint32_t)below(KEYS / CLIENTS);
    asked->command = commands[below(sizeof(commands))];
    asked->is_noreply = one_in(5);
    asked->keys[0] = (uint8_t)item;
    asked->key_count = 1;
    asked->seq = ++w.seq;
    REQUIRE(asked->seq < SEQUENCES);
    w.key_of[asked->seq] = (uint8_t)item;
    w.issued[item] = asked->seq;
    size_t len = one_in(40) ? 15000 + below(3000) : one_in(8) ? 8000 + below(400) : below(300);
    len = one_in(300) ? 100000 + below(100000) : len;
    char digits[16];
    size_t head = (size_t)snprintf(digits, sizeof(digits), "%u.", asked->seq);
    len += head;
    char line[MC_KEY_BYTES_MAX + 100];
    char cas[32] = "";
    if (asked->command == MC_CAS) {
        snprintf(cas, sizeof(cas), " %llu", (unsigned long long)w.cas_seen[item]);
    }
    snprintf(line, sizeof(line), "%s %s %u %d %zu%s%s\r\n",
             mc_command_word((enum mc_command)asked->command), key_name(item), asked->seq % 5,
             one_in(4) ? 1000 : 0, len, cas, asked->is_noreply ? " noreply" : "");
    put_text(&client->pending, line);
    put(&client->pending, digits, head);
    for (size_t i = head; i < len; i++) {
        put(&client->pending, &"\r\nx"[(i + asked->seq) % 3], 1);
    }
    put_text(&client->pending, "\r\n");
}

static void ask_small(struct client *client, struct asked *asked, uint32_t owner)
{
    static const uint8_t commands[] = {MC_DELETE, MC_TOUCH, MC_INCR,    MC_DECR,
                                       MC_APPEND, MC_SET,   MC_PREPEND, MC_VERSION};
    char line[MC_KEY_BYTES_MAX + 100];
    asked->command = commands[below(sizeof(commands))];
    uint32_t item = owner + CLIENTS * (uint32_t)below(KEYS / CLIENTS);
    const char *word = mc_command_word((enum mc_command)asked->command);
    const char *tail = "";
    asked->is_noreply = asked->command != MC_VERSION && one_in(8);
    tail = asked->is_noreply ? " noreply" : "";
    switch ((int)asked->command) {
    case MC_DELETE:
        asked->seq = ++w.seq;
        w.key_of[asked->seq] = (uint8_t)item;
        w.issued[item] = asked->seq;
        snprintf(line, sizeof(line), "delete %s%s\r\n", key_name(item), tail);
        break;
    case MC_TOUCH:
        snprintf(line, sizeof(line), "touch %s 500%s\r\n", key_name((uint32_t)below(ITEMS)), tail);
        break;
    case MC_INCR:
    case MC_DECR:
        item = KEYS + (uint32_t)below(NUMBERS);
        snprintf(line, sizeof(line), "%s %s %u%s\r\n", word, key_name(item), (unsigned)below(50),
                 tail);
        break;
    case MC_SET:
        item = KEYS + (uint32_t)below(NUMBERS + APPENDS);
        snprintf(line, sizeof(line), "set %s 3 0 2%s\r\n10\r\n", key_name(item), tail);
        break;
    case MC_VERSION:
        snprintf(line, sizeof(line), "version\r\n");
        break;
    default:
        item = KEYS + NUMBERS + (uint32_t)below(APPENDS);
        snprintf(line, sizeof(line), "%s %s 0 0 3%s\r\nabc\r\n", word, key_name(item), tail);
        break;
    }
    asked->keys[0] = (uint8_t)item;
    put_text(&client->pending, line);
}

static void ask_read(struct client *client, struct asked *asked)
{
    static const uint8_t commands[] = {MC_GET, MC_GET, MC_GET, MC_GETS, MC_GAT, MC_GATS};
    asked->command = commands[below(sizeof(commands))];
    bool is_gat = asked->command >= MC_GAT;
    asked->key_count = one_in(2) ? 1 : 1 + (uint32_t)below(is_gat ? 6 : 12);
    asked->key_count = one_in(60) && !is_gat ? 200 + (uint32_t)below(200) : asked->key_count;
    put_text(&client->pending, mc_command_word((enum mc_command)asked->command));
    put_text(&client->pending, is_gat ? " 700" : "");
    for (uint32_t i = 0; i < asked->key_count; i++) {
        asked->keys[i] = (uint8_t)below(ITEMS);
        put_text(&client->pending, one_in(10) ? "  " : " ");
        put_text(&client->pending, key_name(asked->keys[i]));
    }
    put_text(&client->pending, "\r\n");
}

static void client_ask(uint32_t slot)
{
    struct client *client = &w.clients[slot];
    if (client->asked_count == ASKED_MAX || w.seq + 2 >= SEQUENCES) {
        return;
    }
    struct asked *asked = asked_at(client, client->asked_count);
    *asked = (struct asked){0};
    size_t before = client->pending.len;
    switch (below(5)) {
    case 0:
    case 1:
        ask_store(client, asked, slot);
        break;
    case 2:
        ask_small(client, asked, slot);
        break;
    default:
        ask_read(client, asked);
        break;
    }
    client->asked_bytes += client->pending.len - before;
    asked->end = client->asked_bytes;
    client->asked_count++;
}

/* What was asked and not answered may happen or not. */
static void client_forget(struct client *client)
{
    for (uint32_t i = 0; i < client->asked_count; i++) {
        w.is_wild[asked_at(client, i)->seq] = true;
    }
    clear(&client->pending);
    clear(&client->in);
    *client = (struct client){0};
}

static void client_open(uint32_t slot)
{
    w.clients[slot].is_open = true;
    step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_OPEN, .client = slot});
}

static void client_give(uint32_t slot)
{
    struct client *client = &w.clients[slot];
    size_t room = dataplane_client_room(w.dp);
    if (client->pending.len == 0 || client->is_paused || client->is_eof || room == 0) {
        return;
    }
    size_t most = one_in(4) ? 10 : client->pending.len;
    most = most < room ? most : room;
    size_t len = 1 + (size_t)below(most < client->pending.len ? most : client->pending.len);
    char *bytes = malloc(len);
    REQUIRE(bytes != NULL);
    memcpy(bytes, client->pending.ptr, len);
    take(&client->pending, len);
    client->given_bytes += len;
    for (uint32_t i = 0; i < client->asked_count; i++) {
        struct asked *asked = asked_at(client, i);
        if (asked->sent_us == 0 && asked->end <= client->given_bytes) {
            asked->sent_us = w.now_us;
        }
        if (asked->end > client->given_bytes - len) {
            memcpy(asked->floors, w.acked, sizeof(asked->floors));
        }
    }
    step(&(struct dataplane_event){
        .type = DATAPLANE_CLIENT_BYTES, .client = slot, .bytes = slice_of(bytes, len)});
    free(bytes);
}

static void client_turn(uint32_t slot)
{
    struct client *client = &w.clients[slot];
    if (!client->is_open) {
        client_open(slot);
        return;
    }
    if (!w.is_calm && !client->is_eof) {
        uint64_t count = one_in(30) ? 40 : one_in(3) ? below(4) : 0;
        for (; count > 0; count--) {
            client_ask(slot);
        }
    }
    client_give(slot);
    if (client->is_blocked && (w.is_calm || client->blocked_until_us <= w.now_us)) {
        client->is_blocked = false;
        client->free_us = w.now_us;
        dataplane_client_writable(w.dp, slot);
    }
    if (!w.is_calm && one_in(900)) {
        client_forget(client);
        step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_LOST, .client = slot});
    } else if (!w.is_calm && one_in(900) && !client->is_eof) {
        client->is_eof = true;
        step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_EOF, .client = slot});
    } else if (client->asked_count > 0 && !client->is_blocked) {
        const struct asked *asked = asked_at(client, 0);
        uint64_t since_us = asked->sent_us > client->free_us ? asked->sent_us : client->free_us;
        if (asked->sent_us > 0 && !asked->is_noreply &&
            w.now_us - since_us > TIMEOUT_US + LATE_US) {
            FAIL("client %u: %s is not answered in time", slot,
                 mc_command_word((enum mc_command)asked->command));
        }
    }
}

/* --- The shell --- */

static void write_client(uint32_t slot)
{
    struct client *client = &w.clients[slot];
    struct slice pieces[8];
    size_t capacity = 1 + (size_t)below(8);
    size_t count = dataplane_client_gather(w.dp, slot, pieces, capacity);
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += pieces[i].len;
    }
    if (total == 0) {
        FAIL("client %u was to be written nothing", slot);
    }
    size_t taken = w.is_calm || !one_in(6) ? total : (size_t)below(total + 1);
    size_t left = taken;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t here = pieces[i].len < left ? pieces[i].len : left;
        put(&client->in, pieces[i].ptr, here);
        left -= here;
    }
    if (taken > 0) {
        dataplane_client_wrote(w.dp, slot, taken);
    }
    if (taken < total) {
        client->is_blocked = true;
        client->blocked_until_us = w.now_us + below(one_in(10) ? 2000000 : 20000);
    }
    parse_replies(client);
}

static void write_node(uint32_t n)
{
    struct node *node = &w.nodes[n];
    struct slice pieces[8];
    size_t count = dataplane_node_gather(w.dp, n, pieces, 1 + (size_t)below(8));
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += pieces[i].len;
    }
    if (total == 0 || !node->is_open) {
        FAIL("node %u was to be written %zu bytes", n, total);
    }
    size_t taken = w.is_calm || !one_in(6) ? total : (size_t)below(total + 1);
    size_t left = taken;
    for (size_t i = 0; i < count && left > 0; i++) {
        size_t here = pieces[i].len < left ? pieces[i].len : left;
        put(&node->in, pieces[i].ptr, here);
        left -= here;
    }
    if (taken > 0) {
        dataplane_node_wrote(w.dp, n, taken);
    }
    node->is_blocked = taken < total;
}

static void give_up(uint32_t n)
{
    struct node *node = &w.nodes[n];
    struct ghost *ghost = free_ghost(node);
    if (!node->is_open || ghost == NULL) {
        node_execute_some(node, UINT64_MAX);
        node_forget(node);
        dataplane_step(w.dp, &(struct dataplane_event){
                                 .type = DATAPLANE_NODE_ENDED, .link = n, .end = WIRE_END_EOF});
        return;
    }
    make_ghost(node, ghost, true, one_in(5) ? WIRE_END_TIMEOUT : WIRE_END_EOF);
    if (ghost->end == WIRE_END_TIMEOUT) {
        /* Its end proves nothing: what was sent may still be executed for a while. */
        struct ghost *later = free_ghost(node);
        if (later == NULL) {
            ghost->end = WIRE_END_EOF;
        } else {
            *later = (struct ghost){.in = ghost->in, .until_us = ghost->until_us + below(500000)};
            ghost->in = (struct buffer){0};
        }
    }
    node_forget(node);
}

static void report(const struct control_report *report)
{
    switch (report->type) {
    case CONTROL_REPORT_DRAINED:
        if (w.next == NULL || report->serial > w.next->serial) {
            FAIL("drained for a view that nobody holds");
        }
        w.is_drained = report->serial == w.next->serial;
        w.adopt_us = w.now_us + below(50000);
        break;
    case CONTROL_REPORT_MISSED:
    case CONTROL_REPORT_IDENTITY:
        w.unwanted |= node_set_of(report->node);
        break;
    case CONTROL_REPORT_ADOPTED:
    case CONTROL_REPORT_NEWER:
    case CONTROL_REPORT_ANSWERED:
    case CONTROL_REPORT_GIVEN_UP:
    case CONTROL_REPORT_PARKED:
    case CONTROL_REPORT_FLUSH:
    case CONTROL_REPORT_WARMED:
        break;
    }
}

static void run(void)
{
    struct dataplane_action action;
    uint32_t count = 0;
    while (dataplane_next_action(w.dp, &action)) {
        if (++count > 100000) {
            FAIL("actions without end");
        }
        switch (action.type) {
        case DATAPLANE_CLIENT_WRITE:
            write_client(action.client);
            break;
        case DATAPLANE_CLIENT_CLOSE:
            client_forget(&w.clients[action.client]);
            break;
        case DATAPLANE_CLIENT_PAUSE:
            w.clients[action.client].is_paused = true;
            break;
        case DATAPLANE_CLIENT_RESUME:
            w.clients[action.client].is_paused = false;
            break;
        case DATAPLANE_NODE_CONNECT:
            w.nodes[action.link].is_connecting = true;
            break;
        case DATAPLANE_NODE_WRITE:
            write_node(action.link);
            break;
        case DATAPLANE_NODE_GIVE_UP:
            give_up(action.link);
            break;
        case DATAPLANE_REPORT:
            report(&action.report);
            break;
        }
    }
}

/* --- Control --- */

/* Nodes that have lost what the view believes them to have. */
static node_set forgetful(void)
{
    node_set set = 0;
    for (uint32_t n = 0; n < NODES; n++) {
        set |= w.nodes[n].pid != w.nodes[n].known_pid ? node_set_of(n) : 0;
    }
    return set;
}

static struct topology *propose(node_set complete, node_set chained)
{
    REQUIRE(w.serial + 1 < sizeof(w.topologies) / sizeof(w.topologies[0]));
    struct topology *t = &w.topologies[++w.serial];
    *t = (struct topology){.serial = w.serial,
                           .epoch = w.serial,
                           .node_count = NODES,
                           .complete = complete,
                           .leaders = complete,
                           .chained = chained,
                           .has_tokens = w.has_tokens,
                           .proxy_id = 3,
                           .token_base_ms = UINT64_C(200000000000)};
    if (node_set_count(complete) > 1 && one_in(4)) {
        t->leaders &= ~node_set_of(node_set_first(complete)); /* drained */
    }
    for (uint32_t n = 0; n < NODES; n++) {
        t->node_seed[n] = topology_hash(node_names[n]);
        t->identity[n] = (struct identity){.pid = w.nodes[n].known_pid, .started_s = WALL_S};
    }
    return t;
}

static void hold(const struct topology *t)
{
    w.next = t;
    w.is_drained = false;
    step(&(struct dataplane_event){.type = DATAPLANE_HOLD, .topology = t});
}

static bool has_ghosts(uint32_t n)
{
    for (uint32_t i = 0; i < GHOSTS; i++) {
        if (w.nodes[n].ghosts[i].until_us != 0) {
            return true;
        }
    }
    return false;
}

/* It is deleted everywhere as soon as the view allows: its write ended in doubt. */
static bool is_in_doubt(uint32_t item)
{
    for (struct list *at = w.dp->held.next; at != &w.dp->held; at = at->next) {
        const struct txn *txn = LIST_OWNER(at, struct txn, held);
        if (txn->is_internal && item_of(txn_key(txn)) == item) {
            return true;
        }
    }
    return false;
}

/* A node that becomes complete is given what its donor has; nothing is in flight. */
static void fill(const struct topology *t)
{
    uint32_t donor = node_set_first(w.now->complete & ~forgetful());
    for (node_set left = t->complete & ~w.now->complete; left != 0; left &= left - 1) {
        struct node *node = &w.nodes[node_set_first(left)];
        for (uint32_t i = 0; i < ITEMS; i++) {
            const struct item *from = &w.nodes[donor].items[i];
            const struct item *had = &node->items[i];
            bool is_equal = from->is_there && from->len == had->len &&
                            memcmp(from->data, had->data, had->len) == 0;
            if (had->is_there && !is_equal && !is_in_doubt(i)) {
                FAIL("%s: a chained write left node %u with another value than node %u's",
                     key_name(i), node_set_first(left), donor);
            }
            item_drop(&node->items[i]);
            if (from->is_there) {
                item_set(node, &node->items[i], from->data, from->len);
                node->items[i].flags = from->flags;
                node->items[i].ttl_s = from->ttl_s;
                node->items[i].cas = w.has_tokens ? from->cas : node->items[i].cas;
            }
        }
    }
}

static void control_turn(void)
{
    const struct topology *t = w.now;
    if (w.next != NULL) {
        if (w.is_drained && w.adopt_us <= w.now_us) {
            fill(w.next);
            w.now = w.next;
            w.next = NULL;
            w.unwanted &= w.now->complete | w.now->chained;
            step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = w.now});
        } else if (one_in(w.is_calm ? 2 : 100)) {
            /* Something more is known by now: what stands in the way leaves. */
            node_set bad = w.unwanted;
            node_set complete = w.next->complete & t->complete & ~bad;
            if ((complete & ~forgetful()) == 0) {
                w.unwanted = 0; /* it will be told again of those that are still away */
            } else if ((bad & (w.next->complete | w.next->chained)) != 0) {
                w.unwanted &= ~bad;
                hold(propose(complete, w.next->chained & t->chained & ~bad));
            }
        }
        return;
    }
    node_set bad = w.unwanted & (t->complete | t->chained);
    node_set random = !w.is_calm && one_in(400) ? node_set_of((uint32_t)below(NODES)) : 0;
    node_set leaves = bad | random;
    if ((t->complete & ~leaves & ~forgetful()) == 0) {
        leaves &= t->chained | forgetful();
    }
    bool is_leaving = ((t->complete | t->chained) & leaves) != 0;
    if (is_leaving && (random != 0 || one_in(10))) {
        w.unwanted = 0;
        hold(propose(t->complete & ~leaves, t->chained & ~leaves));
        return;
    }
    w.unwanted = is_leaving ? w.unwanted : 0;
    for (uint32_t n = 0; n < NODES && !is_leaving; n++) {
        if (((t->complete | t->chained) & node_set_of(n)) == 0 && one_in(20) && !has_ghosts(n)) {
            for (uint32_t i = 0; i < ITEMS; i++) {
                item_drop(&w.nodes[n].items[i]);
            }
            w.nodes[n].known_pid = w.nodes[n].pid;
            hold(propose(t->complete, t->chained | node_set_of(n)));
            return;
        }
        if ((t->chained & node_set_of(n)) != 0 && one_in(60)) {
            hold(propose(t->complete | node_set_of(n), t->chained & ~node_set_of(n)));
            return;
        }
    }
    if (one_in(300)) {
        hold(propose(t->complete, t->chained));
    }
}

/* --- A run --- */

static void faults(void)
{
    uint32_t n = (uint32_t)below(NODES);
    if (one_in(80) && w.nodes[n].is_open) {
        static const enum wire_end ends[] = {WIRE_END_EOF, WIRE_END_EOF, WIRE_END_RESET,
                                             WIRE_END_TIMEOUT};
        node_close(n, ends[below(4)]);
    }
    if (one_in(400)) {
        w.nodes[n].frozen_until_us = w.now_us + below(one_in(3) ? 3000000 : 300000);
    }
    bool is_last = (w.now->complete & ~node_set_of(n)) == 0 ||
                   (w.next != NULL && (w.next->complete & ~node_set_of(n)) == 0);
    if (one_in(1500) && !is_last && forgetful() == 0) {
        node_restart(n);
    }
    if (one_in(1500)) {
        w.lease_until_us = w.now_us;
    } else if (w.lease_until_us != UINT64_MAX && one_in(100)) {
        w.lease_until_us = UINT64_MAX;
    }
}

static void turn(void)
{
    w.now_us += one_in(20) ? below(30000) : below(1500);
    for (uint32_t n = 0; n < NODES; n++) {
        node_turn(n);
    }
    for (uint32_t slot = 0; slot < CLIENTS; slot++) {
        client_turn(slot);
    }
    control_turn();
    if (!w.is_calm) {
        faults();
    }
    if (w.now_us - w.tick_us >= 20000) {
        w.tick_us = w.now_us;
        step(&(struct dataplane_event){.type = DATAPLANE_TICK});
    }
    dataplane_turn(w.dp, w.now_us, w.lease_until_us);
    run();
}

static void begin(uint64_t seed)
{
    memset(&w, 0, sizeof(w));
    w.seed = seed;
    w.prng.state = seed;
    w.now_us = 1000000;
    w.has_tokens = seed % 2 == 0;
    w.lease_until_us = UINT64_MAX;
    struct dataplane_options options = {
        .names = {.pool = SLICE("main"), .node_count = NODES, .nodes = node_names},
        .clients_max = CLIENTS,
        .memory_bytes = (size_t)(one_in(3) ? 2 : 6) << 20,
        .item_bytes_max = 1 << 20,
        .pipeline_max = one_in(2) ? 16 : 256,
        .client_output_bytes_max = 1 << 20,
        .request_timeout_us = TIMEOUT_US,
        .connect_timeout_us = 200 * 1000,
        .settle_delay_us = 20 * 1000,
        .seed = seed,
        .on_no_replica = one_in(2) ? DATAPLANE_ANSWER_MISS : DATAPLANE_ANSWER_ERROR,
        .version = SLICE_INIT("test"),
    };
    size_t bytes = (dataplane_bytes(&options) + 4095) & ~(size_t)4095;
    w.memory = calloc(1, bytes + 4096);
    REQUIRE(w.memory != NULL);
    w.dp = dataplane_init((char *)w.memory + (4096 - (uintptr_t)w.memory % 4096), &options);
    for (uint32_t n = 0; n < NODES; n++) {
        w.nodes[n].pid = w.nodes[n].known_pid = 100 + n;
    }
    w.now = propose(7, 0);
    step(&(struct dataplane_event){.type = DATAPLANE_ADOPT, .topology = w.now});
}

static bool is_at_rest(void)
{
    bool is_busy =
        w.next != NULL || w.dp->txns.free_count != TXNS_MAX || w.dp->legs.free_count != LEGS_MAX;
    for (uint32_t slot = 0; slot < CLIENTS; slot++) {
        skip_noreply(&w.clients[slot]);
        is_busy = is_busy || w.clients[slot].asked_count > 0;
    }
    for (uint32_t n = 0; n < NODES; n++) {
        is_busy = is_busy || has_ghosts(n) || w.nodes[n].in.len > 0;
    }
    return !is_busy;
}

static void check_rest(void)
{
    const struct dataplane_stats *stats = dataplane_stats(w.dp);
    if (stats->memory_bytes > 2 * CHUNK_BYTES || stats->held != 0 || w.dp->inflight_count != 0 ||
        w.dp->invalidations != 0) {
        FAIL("at rest: %llu bytes, %llu held, %u in flight, %u invalidations",
             (unsigned long long)stats->memory_bytes, (unsigned long long)stats->held,
             w.dp->inflight_count, w.dp->invalidations);
    }
    uint32_t first = node_set_first(w.now->complete);
    for (node_set left = w.now->complete; left != 0; left &= left - 1) {
        uint32_t n = node_set_first(left);
        for (uint32_t i = 0; i < ITEMS; i++) {
            const struct item *a = &w.nodes[first].items[i];
            const struct item *b = &w.nodes[n].items[i];
            if (a->is_there != b->is_there || a->len != b->len || a->flags != b->flags ||
                (a->is_there && memcmp(a->data, b->data, a->len) != 0)) {
                FAIL("at rest: %s is %.*s on node %u and %.*s on node %u", key_name(i),
                     a->is_there ? 12 : 1, a->is_there ? a->data : "-", first, b->is_there ? 12 : 1,
                     b->is_there ? b->data : "-", n);
            }
            if (w.has_tokens && a->is_there && (token_is(a->cas) || token_is(b->cas)) &&
                a->cas != b->cas) {
                FAIL("at rest: the copies of %s on nodes %u and %u have tokens of their own",
                     key_name(i), first, n);
            }
        }
        for (uint32_t i = 0; i < KEYS; i++) {
            const struct item *item = &w.nodes[n].items[i];
            uint32_t seq = item->is_there ? (uint32_t)strtoul(item->data, NULL, 10) : UINT32_MAX;
            if (seq != UINT32_MAX && seq < w.acked[i] && !w.is_wild[seq]) {
                FAIL("at rest: %s is %u on node %u, %u was acknowledged", key_name(i), seq, n,
                     w.acked[i]);
            }
        }
    }
}

static void end(void)
{
    for (uint32_t slot = 0; slot < CLIENTS; slot++) {
        client_forget(&w.clients[slot]);
    }
    for (uint32_t n = 0; n < NODES; n++) {
        node_forget(&w.nodes[n]);
        for (uint32_t i = 0; i < ITEMS; i++) {
            item_drop(&w.nodes[n].items[i]);
        }
        for (uint32_t i = 0; i < GHOSTS; i++) {
            clear(&w.nodes[n].ghosts[i].in);
        }
    }
    free(w.memory);
}

static void run_seed(uint64_t seed)
{
    begin(seed);
    for (uint32_t i = 0; i < STEPS; i++) {
        turn();
    }
    w.is_calm = true;
    w.lease_until_us = UINT64_MAX;
    for (uint32_t i = 0; i < 20000 && !is_at_rest(); i++) {
        turn();
    }
    if (!is_at_rest()) {
        for (uint32_t n = 0; n < NODES; n++) {
            const struct link *link = &w.dp->links[n];
            fprintf(stderr, "node %u: link %u, %u ending%s\n", n, link->state, link->ending,
                    link->is_unproven ? ", unproven" : "");
        }
        FAIL("no rest: complete %x chained %x, then %x %x, %zu txns, %zu legs", w.now->complete,
             w.now->chained, w.next == NULL ? 0 : w.next->complete,
             w.next == NULL ? 0 : w.next->chained, TXNS_MAX - w.dp->txns.free_count,
             LEGS_MAX - w.dp->legs.free_count);
    }
    for (uint32_t slot = 0; slot < CLIENTS; slot++) {
        step(&(struct dataplane_event){.type = DATAPLANE_CLIENT_LOST, .client = slot});
    }
    check_rest();
    end();
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    uint64_t count = argc > 2 ? strtoull(argv[2], NULL, 10) : 80;
    uint64_t replies = 0;
    uint64_t hits = 0;
    uint64_t errors = 0;
    for (uint64_t seed = first; seed < first + count; seed++) {
        run_seed(seed);
        replies += w.replies;
        hits += w.hits;
        errors += w.errors;
    }
    printf("100%%: seeds %llu to %llu: %llu replies, %llu hits, %llu errors\n",
           (unsigned long long)first, (unsigned long long)(first + count - 1),
           (unsigned long long)replies, (unsigned long long)hits, (unsigned long long)errors);
    return 0;
}
