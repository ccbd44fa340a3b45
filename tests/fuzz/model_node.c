/* SPDX-License-Identifier: BSD-2-Clause */
#include "model_node.h"

#include "everwarm/mc/encode.h"
#include "fuzz.h"

#include <string.h>

enum {
    /* Values beyond this are forgotten: nothing new would be seen. */
    VALUE_BYTES_MAX = 4096,
    WORDS_MAX = 8,
};

void bytes_put(struct bytes *to, struct slice s)
{
    if (to->len + s.len > to->capacity) {
        to->capacity = 2 * (to->len + s.len) + 256;
        to->ptr = realloc(to->ptr, to->capacity);
        PROMISE(to->ptr != NULL);
    }
    if (s.len > 0) {
        memcpy(to->ptr + to->len, s.ptr, s.len);
    }
    to->len += s.len;
}

void bytes_put_text(struct bytes *to, const char *text)
{
    bytes_put(to, slice_of_string(text));
}

void bytes_put_number(struct bytes *to, uint64_t number)
{
    char text[24];
    struct mc_writer w = mc_writer_of(text, sizeof(text));
    mc_write_u64(&w, number);
    bytes_put(to, slice_of(text, w.len));
}

void bytes_take(struct bytes *from, size_t len)
{
    PROMISE(len <= from->len);
    from->len -= len;
    if (from->len > 0) {
        memmove(from->ptr, from->ptr + len, from->len);
    }
}

void bytes_clear(struct bytes *bytes)
{
    free(bytes->ptr);
    *bytes = (struct bytes){0};
}

void model_log(struct bytes *log, const char *what, struct slice key, struct slice data)
{
    bytes_put_text(log, what);
    bytes_put_text(log, " ");
    bytes_put(log, key);
    bytes_put_text(log, " ");
    bytes_put_number(log, data.len);
    bytes_put_text(log, " ");
    bytes_put(log, data);
    bytes_put_text(log, "\n");
}

/* --- Items --- */

static struct model_item *find(struct model_node *node, struct slice key)
{
    for (size_t i = 0; i < MODEL_ITEMS; i++) {
        struct model_item *item = &node->items[i];
        if (item->key_bytes > 0 && slice_is_equal(slice_of(item->key, item->key_bytes), key)) {
            return item;
        }
    }
    return NULL;
}

static void forget(struct model_item *item)
{
    if (item != NULL) {
        bytes_clear(&item->value);
        item->key_bytes = 0;
    }
}

static void keep(struct model_node *node, struct slice key, struct slice value, uint64_t flags)
{
    struct model_item *item = find(node, key);
    for (size_t i = 0; item == NULL && i < MODEL_ITEMS; i++) {
        item = node->items[i].key_bytes == 0 ? &node->items[i] : NULL;
    }
    if (item == NULL || value.len > VALUE_BYTES_MAX) {
        forget(find(node, key));
        return;
    }
    struct bytes copy = {0};
    bytes_put(&copy, value);
    bytes_clear(&item->value);
    item->value = copy;
    memcpy(item->key, key.ptr, key.len);
    item->key_bytes = key.len;
    item->flags = flags;
    item->cas = ++node->cas;
}

void model_node_flush(struct model_node *node)
{
    for (size_t i = 0; i < MODEL_ITEMS; i++) {
        forget(&node->items[i]);
    }
}

void model_node_clear(struct model_node *node)
{
    model_node_flush(node);
    bytes_clear(&node->in);
    bytes_clear(&node->out);
    bytes_clear(&node->log);
}

/* --- Commands --- */

/* A word as strict as can be: words are parted by one space each. */
static struct slice next(struct slice *line)
{
    size_t len = 0;
    while (len < line->len && line->ptr[len] != ' ') {
        len++;
    }
    struct slice word = slice_of(line->ptr, len);
    PROMISE(len > 0);
    *line = slice_skip(*line, len);
    if (line->len > 0) {
        *line = slice_skip(*line, 1);
        PROMISE(line->len > 0);
    }
    return word;
}

static struct slice next_key(struct slice *line)
{
    struct slice key = next(line);
    PROMISE(key.len <= MC_KEY_BYTES_MAX && memchr(key.ptr, 0, key.len) == NULL);
    PROMISE(!slice_has_prefix(key, SLICE("_everwarm:")));
    return key;
}

static uint64_t number(struct slice word)
{
    uint64_t value = 0;
    PROMISE(mc_read_u64(word, &value));
    return value;
}

static void say_value(struct model_node *node, const struct model_item *item, bool has_cas)
{
    bytes_put_text(&node->out, "VALUE ");
    bytes_put(&node->out, slice_of(item->key, item->key_bytes));
    bytes_put_text(&node->out, " ");
    bytes_put_number(&node->out, item->flags);
    bytes_put_text(&node->out, " ");
    bytes_put_number(&node->out, item->value.len);
    if (has_cas) {
        bytes_put_text(&node->out, " ");
        bytes_put_number(&node->out, item->cas);
    }
    bytes_put_text(&node->out, "\r\n");
    bytes_put(&node->out, slice_of(item->value.ptr, item->value.len));
    bytes_put_text(&node->out, "\r\n");
}

static void on_get(struct model_node *node, struct slice word, struct slice line)
{
    bool has_cas = word.ptr[word.len - 1] == 's';
    bool is_touch = word.ptr[1] == 'a';
    if (is_touch) {
        int64_t exptime_s;
        PROMISE(mc_read_i64(next(&line), &exptime_s));
    }
    PROMISE(line.len > 0);
    while (line.len > 0) {
        struct slice key = next_key(&line);
        model_log(&node->log, is_touch ? "gat" : "get", key, SLICE(""));
        const struct model_item *item = find(node, key);
        if (item != NULL) {
            say_value(node, item, has_cas);
        }
        PROMISE(!is_touch || line.len == 0);
    }
    bytes_put_text(&node->out, "END\r\n");
}

/* "mg": an item read back, an expiry set, or whether the key is there. */
static void on_meta_get(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    const struct model_item *item = find(node, key);
    bool is_read_back = slice_is_equal(line, SLICE("v f t c u"));
    bool is_touch = line.len > 0 && line.ptr[0] == 'T';
    if (is_touch) {
        int64_t exptime_s;
        PROMISE(mc_read_i64(slice_skip(line, 1), &exptime_s));
    } else {
        PROMISE(is_read_back || slice_is_equal(line, SLICE("u")));
    }
    if (!is_read_back) {
        model_log(&node->log, is_touch ? "touch" : "cas", key, SLICE(""));
    }
    if (item == NULL) {
        bytes_put_text(&node->out, "EN\r\n");
    } else if (!is_read_back) {
        bytes_put_text(&node->out, "HD\r\n");
    } else {
        bytes_put_text(&node->out, "VA ");
        bytes_put_number(&node->out, item->value.len);
        bytes_put_text(&node->out, " f");
        bytes_put_number(&node->out, item->flags);
        bytes_put_text(&node->out, " t-1 c");
        bytes_put_number(&node->out, item->cas);
        bytes_put_text(&node->out, "\r\n");
        bytes_put(&node->out, slice_of(item->value.ptr, item->value.len));
        bytes_put_text(&node->out, "\r\n");
    }
}

static void on_arithmetic(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    struct slice mode = next(&line);
    bool is_incr = slice_is_equal(mode, SLICE("MI"));
    PROMISE(is_incr || slice_is_equal(mode, SLICE("MD")));
    struct slice delta_word = next(&line);
    PROMISE(delta_word.ptr[0] == 'D' && slice_is_equal(line, SLICE("v")));
    uint64_t delta = number(slice_skip(delta_word, 1));
    model_log(&node->log, is_incr ? "incr" : "decr", key, SLICE(""));
    struct model_item *item = find(node, key);
    uint64_t value = 0;
    if (item == NULL) {
        bytes_put_text(&node->out, "NF\r\n");
        return;
    }
    if (!mc_read_u64(slice_of(item->value.ptr, item->value.len), &value)) {
        bytes_put_text(&node->out,
                       "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        return;
    }
    value = is_incr ? value + delta : value > delta ? value - delta : 0;
    struct bytes text = {0};
    bytes_put_number(&text, value);
    keep(node, key, slice_of(text.ptr, text.len), item->flags);
    bytes_put_text(&node->out, "VA ");
    bytes_put_number(&node->out, text.len);
    bytes_put_text(&node->out, "\r\n");
    bytes_put(&node->out, slice_of(text.ptr, text.len));
    bytes_put_text(&node->out, "\r\n");
    bytes_clear(&text);
}

struct store {
    struct slice key;
    struct slice data;
    uint64_t flags;
    uint64_t cas;
    char mode;
    bool has_cas;
};

static struct store parse_store(struct slice key, struct slice flags_words)
{
    struct store store = {.key = key, .mode = 'S'};
    while (flags_words.len > 0) {
        struct slice word = next(&flags_words);
        struct slice value = slice_skip(word, 1);
        int64_t exptime_s;
        switch (word.ptr[0]) {
        case 'M':
            PROMISE(value.len == 1 && memchr("ERAP", value.ptr[0], 4) != NULL);
            store.mode = value.ptr[0];
            break;
        case 'C':
            store.has_cas = true;
            store.cas = number(value);
            break;
        case 'T':
            PROMISE(mc_read_i64(value, &exptime_s));
            break;
        case 'F':
            store.flags = number(value);
            break;
        default:
            BROKEN("a flag that ms is given");
        }
    }
    return store;
}

static const char *store_now(struct model_node *node, const struct store *store)
{
    struct model_item *item = find(node, store->key);
    bool wants_item = store->mode == 'R' || store->mode == 'A' || store->mode == 'P';
    if (store->mode == 'E' ? item != NULL : wants_item && item == NULL) {
        return "NS\r\n";
    }
    if (store->has_cas && (item == NULL || item->cas != store->cas)) {
        return item == NULL ? "NF\r\n" : "EX\r\n";
    }
    if (store->mode != 'A' && store->mode != 'P') {
        keep(node, store->key, store->data, store->flags);
        return "HD\r\n";
    }
    struct slice old = slice_of(item->value.ptr, item->value.len);
    struct bytes all = {0};
    bytes_put(&all, store->mode == 'A' ? old : store->data);
    bytes_put(&all, store->mode == 'A' ? store->data : old);
    keep(node, store->key, slice_of(all.ptr, all.len), item->flags);
    bytes_clear(&all);
    return "HD\r\n";
}

/* Returns bytes of the data block with its end; 0: not yet whole. */
static size_t on_store(struct model_node *node, struct slice line, struct slice behind)
{
    struct slice key = next_key(&line);
    uint64_t len = number(next(&line));
    struct store store = parse_store(key, line);
    if (behind.len < len + 2) {
        return 0;
    }
    PROMISE(memcmp(behind.ptr + len, "\r\n", 2) == 0);
    store.data = slice_of(behind.ptr, (size_t)len);
    char what[] = "ms M";
    what[3] = store.has_cas ? 'C' : store.mode;
    if (store.has_cas) {
        model_log(&node->log, "cas", key, SLICE(""));
    } else {
        model_log(&node->log, what, key, store.data);
    }
    bytes_put_text(&node->out, store_now(node, &store));
    return (size_t)len + 2;
}

static void on_stats(struct model_node *node)
{
    bytes_put_text(&node->out, "STAT pid ");
    bytes_put_number(&node->out, node->pid);
    bytes_put_text(&node->out,
                   "\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT cmd_flush 0\r\nEND\r\n");
}

bool model_node_execute(struct model_node *node)
{
    const char *lf = node->in.len == 0 ? NULL : memchr(node->in.ptr, '\n', node->in.len);
    if (lf == NULL) {
        PROMISE(node->in.len <= MC_GET_LINE_BYTES_MAX);
        return false;
    }
    size_t taken = (size_t)(lf - node->in.ptr) + 1;
    PROMISE(taken > 2 && lf[-1] == '\r');
    struct slice line = slice_of(node->in.ptr, taken - 2);
    PROMISE(memchr(line.ptr, 0, line.len) == NULL);
    struct slice rest = line;
    struct slice word = next(&rest);
    if (slice_is_equal(line, SLICE("stats"))) {
        on_stats(node);
    } else if (slice_is_equal(line, SLICE("mg _everwarm:1:main:view v"))) {
        bytes_put_text(&node->out, "EN\r\n");
    } else if (slice_is_equal(word, SLICE("get")) || slice_is_equal(word, SLICE("gets")) ||
               slice_is_equal(word, SLICE("gat")) || slice_is_equal(word, SLICE("gats"))) {
        on_get(node, word, rest);
    } else if (slice_is_equal(word, SLICE("mg"))) {
        on_meta_get(node, rest);
    } else if (slice_is_equal(word, SLICE("ma"))) {
        on_arithmetic(node, rest);
    } else if (slice_is_equal(word, SLICE("md"))) {
        struct slice key = next_key(&rest);
        PROMISE(rest.len == 0);
        model_log(&node->log, "delete", key, SLICE(""));
        bytes_put_text(&node->out, find(node, key) != NULL ? "HD\r\n" : "NF\r\n");
        forget(find(node, key));
    } else {
        PROMISE(slice_is_equal(word, SLICE("ms")));
        size_t data = on_store(node, rest, slice_of(node->in.ptr + taken, node->in.len - taken));
        if (data == 0) {
            return false;
        }
        taken += data;
    }
    bytes_take(&node->in, taken);
    return true;
}
