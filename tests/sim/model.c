/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The model's commands, one at a time, so that the owner may stop the process between any two. A
 * dump goes bucket by bucket in the same way: writes happen in the middle of it, as in a real one.
 */
#include "sim/model.h"

#include "everwarm/base/invariant.h"
#include "everwarm/mc/encode.h"
#include "sim/model_meta.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { MODEL_DUMP_BUCKETS = 32 }; /* of one piece of a dump */

static const char MODEL_BAD_FORMAT[] = "CLIENT_ERROR bad command line format\r\n";

void model_start(struct model *model, uint64_t pid, int64_t wall_s)
{
    store_free(&model->store);
    store_init(&model->store, wall_s);
    model->pid = pid;
    model->dumper = NULL;
    model->is_understanding = true;
}

void model_restart(struct model *model, uint64_t pid)
{
    model->store.flushes = 0;
    model->pid = pid;
    model->dumper = NULL;
    model->is_understanding = true;
}

void model_free(struct model *model)
{
    store_free(&model->store);
}

static void model_puzzled(struct model *model, struct slice line)
{
    if (model->is_understanding) {
        snprintf(model->puzzle, sizeof(model->puzzle), "%.*s", (int)line.len, line.ptr);
    }
    model->is_understanding = false;
}

static void model_get(struct model *model, struct model_conn *conn, struct slice word,
                      struct slice keys)
{
    struct store *store = &model->store;
    bool has_touch = word.ptr[1] == 'a';
    bool has_cas = word.ptr[word.len - 1] == 's';
    int64_t exptime = 0;
    if (has_touch && !mc_read_i64(mc_next_word(&keys), &exptime)) {
        bytes_print(&conn->out, "CLIENT_ERROR invalid exptime argument\r\n");
        return;
    }
    for (struct slice key = mc_next_word(&keys); key.len > 0; key = mc_next_word(&keys)) {
        if (key.len > MC_KEY_BYTES_MAX) {
            bytes_clear(&conn->out);
            bytes_print(&conn->out, "%s", MODEL_BAD_FORMAT);
            return;
        }
        if (model->on_read != NULL) {
            model->on_read(model->owner, key);
        }
        struct store_item *item = store_find(store, key);
        if (item == NULL) {
            continue;
        }
        if (has_touch) {
            item->expires = store_expiry(store, exptime);
        }
        item->is_fetched = true;
        bytes_print(&conn->out, "VALUE %.*s %u %u", (int)key.len, key.ptr, item->flags, item->len);
        if (has_cas) {
            bytes_print(&conn->out, " %llu", (unsigned long long)item->cas);
        }
        bytes_put(&conn->out, SLICE("\r\n"));
        bytes_put(&conn->out, slice_of(item->data, item->len));
        bytes_put(&conn->out, SLICE("\r\n"));
    }
    bytes_put(&conn->out, SLICE("END\r\n"));
}

/* Returns false: not a storage command. */
static bool model_mode(struct slice word, enum store_mode *mode)
{
    static const struct {
        struct slice word;
        enum store_mode mode;
    } TABLE[] = {
        {SLICE_INIT("set"), STORE_SET},         {SLICE_INIT("add"), STORE_ADD},
        {SLICE_INIT("replace"), STORE_REPLACE}, {SLICE_INIT("append"), STORE_APPEND},
        {SLICE_INIT("prepend"), STORE_PREPEND}, {SLICE_INIT("cas"), STORE_CAS},
    };
    for (size_t i = 0; i < sizeof(TABLE) / sizeof(TABLE[0]); i++) {
        if (slice_is_equal(word, TABLE[i].word)) {
            *mode = TABLE[i].mode;
            return true;
        }
    }
    return false;
}

static const char *model_store_word(enum store_result result)
{
    switch (result) {
    case STORE_STORED:
        return "STORED";
    case STORE_NOT_STORED:
        return "NOT_STORED";
    case STORE_EXISTS:
        return "EXISTS";
    case STORE_NOT_FOUND:
        return "NOT_FOUND";
    }
    UNREACHABLE();
}

static bool model_is_noreply(struct slice words)
{
    return slice_is_equal(mc_next_word(&words), SLICE("noreply"));
}

/* Returns bytes of DATA taken, SIZE_MAX: more must come. */
static size_t model_store(struct model *model, struct model_conn *conn, enum store_mode mode,
                          struct slice words, struct slice data)
{
    uint64_t flags;
    int64_t exptime;
    uint64_t len;
    uint64_t cas = 0;
    struct store_write write = {.mode = mode, .key = mc_next_word(&words)};
    bool is_well = mc_read_u64(mc_next_word(&words), &flags) &&
                   mc_read_i64(mc_next_word(&words), &exptime) &&
                   mc_read_u64(mc_next_word(&words), &len) &&
                   (mode != STORE_CAS || mc_read_u64(mc_next_word(&words), &cas)) &&
                   flags <= UINT32_MAX && write.key.len <= MC_KEY_BYTES_MAX;
    if (!is_well || len > 1u << 20) {
        model_puzzled(model, write.key);
        bytes_print(&conn->out, "%s", MODEL_BAD_FORMAT);
        return 0;
    }
    if (data.len < len + 2) {
        return SIZE_MAX;
    }
    if (memcmp(data.ptr + len, "\r\n", 2) != 0) {
        model_puzzled(model, write.key);
        bytes_print(&conn->out, "CLIENT_ERROR bad data chunk\r\n");
        return (size_t)len + 2;
    }
    write.flags = (uint32_t)flags;
    write.expires = store_expiry(&model->store, exptime);
    write.cas = cas;
    write.data = slice_of(data.ptr, (size_t)len);
    uint64_t unused;
    enum store_result result = store_put(&model->store, &write, &unused);
    if (!model_is_noreply(words)) {
        bytes_print(&conn->out, "%s\r\n", model_store_word(result));
    }
    return (size_t)len + 2;
}

static void model_delta(struct model *model, struct bytes *out, int64_t sign, struct slice words)
{
    struct slice key = mc_next_word(&words);
    uint64_t delta;
    if (!mc_read_u64(mc_next_word(&words), &delta)) {
        bytes_print(out, "CLIENT_ERROR invalid numeric delta argument\r\n");
        return;
    }
    uint64_t value;
    struct store_delta change = {.key = key, .sign = sign, .delta = delta};
    enum store_delta_result result = store_add_delta(&model->store, &change, &value);
    if (model_is_noreply(words)) {
        return;
    }
    switch (result) {
    case STORE_DELTA_OK:
        bytes_print(out, "%llu\r\n", (unsigned long long)value);
        return;
    case STORE_DELTA_NOT_FOUND:
        bytes_print(out, "NOT_FOUND\r\n");
        return;
    case STORE_DELTA_NON_NUMERIC:
    case STORE_DELTA_EXISTS:
        bytes_print(out, "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        return;
    }
    UNREACHABLE();
}

static void model_stats(const struct model *model, struct bytes *out)
{
    const struct store *store = &model->store;
    bytes_put(out, SLICE("STAT pid "));
    bytes_put_number(out, model->pid);
    bytes_put(out, SLICE("\r\nSTAT uptime "));
    bytes_put_number(out, store_now(store) - 60);
    bytes_put(out, SLICE("\r\nSTAT time "));
    bytes_put_number(out, (uint64_t)store->wall_s);
    bytes_put(out, SLICE("\r\nSTAT version 1.6.18\r\nSTAT curr_connections 1\r\nSTAT cmd_flush "));
    bytes_put_number(out, store->flushes);
    bytes_put(out, SLICE("\r\nSTAT curr_items "));
    bytes_put_number(out, store->count);
    bytes_put(out, SLICE("\r\nEND\r\n"));
}

static void model_flush(struct model *model, struct bytes *out, struct slice words)
{
    struct slice word = mc_next_word(&words);
    int64_t delay = 0;
    bool is_noreply = slice_is_equal(word, SLICE("noreply"));
    if (word.len > 0 && !is_noreply) {
        if (!mc_read_i64(word, &delay)) {
            bytes_print(out, "%s", MODEL_BAD_FORMAT);
            return;
        }
        is_noreply = model_is_noreply(words);
    }
    store_flush(&model->store, delay);
    if (!is_noreply) {
        bytes_print(out, "OK\r\n");
    }
}

static void model_dump_item(const struct store *store, const struct store_item *item,
                            struct bytes *out)
{
    bytes_put(out, SLICE("key="));
    for (size_t i = 0; i < item->key_len; i++) {
        unsigned char c = (unsigned char)item->key[i];
        bool is_plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                        (c >= '0' && c <= '9') || memchr("-._~", c, 4) != NULL;
        if (is_plain) {
            bytes_put(out, slice_of(&item->key[i], 1));
        } else {
            bytes_print(out, "%%%02X", c);
        }
    }
    long long exp = item->expires == 0 ? -1 : (long long)item->expires + store->epoch_s;
    bytes_print(out, " exp=%lld la=%lld cas=%llu fetch=%s cls=1 size=%u\n", exp,
                (long long)item->used + store->epoch_s, (unsigned long long)item->cas,
                item->is_fetched ? "yes" : "no", item->len + item->key_len + 56u);
}

static void model_dump(struct model *model, struct model_conn *conn)
{
    for (int i = 0; i < MODEL_DUMP_BUCKETS; i++) {
        if (conn->dump_bucket == STORE_BUCKETS) {
            conn->is_dumping = false;
            model->dumper = NULL;
            bytes_print(&conn->out, "END\r\n");
            return;
        }
        const struct store_item *item = model->store.buckets[conn->dump_bucket++];
        for (; item != NULL; item = item->next) {
            if (!store_is_undumped(&model->store, item)) {
                model_dump_item(&model->store, item, &conn->out);
            }
        }
    }
}

static void model_crawl(struct model *model, struct model_conn *conn, struct slice words)
{
    bool is_dump = slice_is_equal(mc_next_word(&words), SLICE("metadump")) &&
                   slice_is_equal(mc_next_word(&words), SLICE("hash"));
    if (!is_dump) {
        model_puzzled(model, words);
        bytes_print(&conn->out, "ERROR\r\n");
    } else if (model->store.refuses_dumps) {
        bytes_print(&conn->out, "ERROR metadump not allowed\r\n");
    } else if (model->dumper != NULL) {
        bytes_print(&conn->out, "BUSY currently processing crawler request\r\n");
    } else {
        model->dumper = conn;
        conn->is_dumping = true;
        conn->dump_bucket = 0;
    }
}

static void model_small(struct model *model, struct model_conn *conn, struct slice word,
                        struct slice words)
{
    struct bytes *out = &conn->out;
    struct slice line = words;
    if (slice_is_equal(word, SLICE("delete"))) {
        struct store_item *item = store_find(&model->store, mc_next_word(&words));
        const char *answer = item == NULL ? "NOT_FOUND\r\n" : "DELETED\r\n";
        if (item != NULL) {
            store_drop(&model->store, item);
        }
        bytes_print(out, "%s", model_is_noreply(words) ? "" : answer);
    } else if (slice_is_equal(word, SLICE("touch"))) {
        struct store_item *item = store_find(&model->store, mc_next_word(&words));
        int64_t exptime;
        if (!mc_read_i64(mc_next_word(&words), &exptime)) {
            bytes_print(out, "CLIENT_ERROR invalid exptime argument\r\n");
            return;
        }
        if (item != NULL) {
            item->expires = store_expiry(&model->store, exptime);
        }
        const char *answer = item == NULL ? "NOT_FOUND\r\n" : "TOUCHED\r\n";
        bytes_print(out, "%s", model_is_noreply(words) ? "" : answer);
    } else if (slice_is_equal(word, SLICE("incr"))) {
        model_delta(model, out, 1, words);
    } else if (slice_is_equal(word, SLICE("decr"))) {
        model_delta(model, out, -1, words);
    } else if (slice_is_equal(word, SLICE("stats")) && words.len == 0) {
        model_stats(model, out);
    } else if (slice_is_equal(word, SLICE("version"))) {
        bytes_print(out, "VERSION 1.6.18\r\n");
    } else if (slice_is_equal(word, SLICE("flush_all"))) {
        model_flush(model, out, words);
    } else if (slice_is_equal(word, SLICE("lru_crawler"))) {
        model_crawl(model, conn, words);
    } else if (slice_is_equal(word, SLICE("quit"))) {
        conn->is_closing = true;
    } else {
        model_puzzled(model, slice_of(word.ptr, (size_t)(line.ptr + line.len - word.ptr)));
        bytes_print(out, "ERROR\r\n");
    }
}

bool model_run(struct model *model, struct model_conn *conn)
{
    if (conn->is_dumping) {
        model_dump(model, conn);
        return true;
    }
    struct slice in = bytes_slice(&conn->in);
    const char *end = in.len == 0 ? NULL : memchr(in.ptr, '\n', in.len);
    if (end == NULL || conn->is_closing) {
        return false;
    }
    size_t taken = (size_t)(end - in.ptr) + 1;
    struct slice line = slice_of(in.ptr, taken - 1);
    if (line.len > 0 && line.ptr[line.len - 1] == '\r') {
        line.len--;
    }
    struct slice data = slice_skip(in, taken);
    struct slice words = line;
    struct slice word = mc_next_word(&words);
    enum store_mode mode;
    size_t block = 0;
    if (word.len == 2 && word.ptr[0] == 'm' && memchr("gsdan", word.ptr[1], 5) != NULL) {
        block = model_meta_run(model, conn, word, words, data);
    } else if (slice_is_equal(word, SLICE("get")) || slice_is_equal(word, SLICE("gets")) ||
               slice_is_equal(word, SLICE("gat")) || slice_is_equal(word, SLICE("gats"))) {
        model_get(model, conn, word, words);
    } else if (model_mode(word, &mode)) {
        block = model_store(model, conn, mode, words, data);
    } else {
        model_small(model, conn, word, words);
    }
    if (block == SIZE_MAX) {
        return false;
    }
    bytes_take(&conn->in, taken + block);
    conn->in_total += taken + block;
    return true;
}

void model_conn_fini(struct model *model, struct model_conn *conn)
{
    if (model->dumper == conn) {
        model->dumper = NULL;
    }
    bytes_free(&conn->in);
    bytes_free(&conn->out);
}

int model_serve(void)
{
    struct model model = {0};
    struct model_conn conn = {0};
    model_start(&model, (uint64_t)getpid(), (int64_t)time(NULL));
    char piece[65536];
    for (;;) {
        ssize_t got = read(STDIN_FILENO, piece, sizeof(piece));
        if (got <= 0) {
            break;
        }
        model.store.wall_s = (int64_t)time(NULL);
        bytes_put(&conn.in, slice_of(piece, (size_t)got));
        while (model_run(&model, &conn)) {
        }
        while (conn.out.len > 0) {
            ssize_t put = write(STDOUT_FILENO, conn.out.ptr, conn.out.len);
            if (put < 0 && errno != EINTR) {
                return EXIT_FAILURE;
            }
            bytes_take(&conn.out, put < 0 ? 0 : (size_t)put);
        }
    }
    model_conn_fini(&model, &conn);
    model_free(&model);
    return EXIT_SUCCESS;
}
