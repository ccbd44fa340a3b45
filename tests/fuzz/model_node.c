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

/* Flags of a meta command, each at most once, of those that a dataplane has reason to send. */
struct flags {
    uint64_t cas;
    uint64_t delta;
    uint64_t initial;
    uint64_t item_flags;
    struct slice words;
    char mode;
    bool has_cas;
    bool has_value;
    bool is_quiet;
    bool is_vivify;
    bool is_mark;
    bool is_emptied;
};

static void take_flag(struct slice word, struct flags *out)
{
    struct slice value = slice_skip(word, 1);
    int64_t exptime_s;
    switch (word.ptr[0]) {
    case 'M':
        PROMISE(value.len == 1);
        out->mode = value.ptr[0];
        return;
    case 'C':
        out->has_cas = true;
        out->cas = number(value);
        return;
    case 'D':
        out->delta = number(value);
        return;
    case 'J':
        out->initial = number(value);
        return;
    case 'F':
        out->item_flags = number(value);
        return;
    case 'N':
        out->is_vivify = true;
        PROMISE(mc_read_i64(value, &exptime_s));
        return;
    case 'T':
    case 'R':
        PROMISE(mc_read_i64(value, &exptime_s));
        return;
    default:
        PROMISE(value.len == 0);
        out->has_value = out->has_value || word.ptr[0] == 'v';
        out->is_quiet = out->is_quiet || word.ptr[0] == 'q';
        out->is_mark = out->is_mark || word.ptr[0] == 'I';
        out->is_emptied = out->is_emptied || word.ptr[0] == 'x';
        return;
    }
}

static struct flags parse_flags(struct slice words, const char *allowed)
{
    struct flags flags = {.words = words, .mode = 'S'};
    bool seen[256] = {false};
    while (words.len > 0) {
        struct slice word = next(&words);
        unsigned char letter = (unsigned char)word.ptr[0];
        PROMISE(!seen[letter] && strchr(allowed, word.ptr[0]) != NULL);
        seen[letter] = true;
        take_flag(word, &flags);
    }
    return flags;
}

/* What the flags ask for, in their order. */
static void say_flags(struct model_node *node, const struct flags *flags,
                      const struct model_item *item)
{
    struct slice words = flags->words;
    while (words.len > 0) {
        char letter = next(&words).ptr[0];
        if (memchr("cfhlst", letter, 6) == NULL) {
            continue;
        }
        bytes_put_text(&node->out, letter == 't' ? " t-1" : " ");
        if (letter != 't') {
            bytes_put(&node->out, slice_of(&letter, 1));
            bytes_put_number(&node->out, letter == 'c'   ? item->cas
                                         : letter == 'f' ? item->flags
                                         : letter == 's' ? item->value.len
                                                         : 0);
        }
    }
}

static void on_meta_get(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    struct flags flags = parse_flags(line, "bvfhklstucTNR");
    if (!node->is_read_back_due) {
        model_log(&node->log, "mg", key, SLICE(""));
    }
    node->is_read_back_due = false;
    const struct model_item *item = find(node, key);
    bool is_created = item == NULL && flags.is_vivify;
    if (is_created) {
        keep(node, key, SLICE(""), 0);
        item = find(node, key);
    }
    if (item == NULL) {
        bytes_put_text(&node->out, "EN\r\n");
        return;
    }
    bytes_put_text(&node->out, flags.has_value ? "VA " : "HD");
    if (flags.has_value) {
        bytes_put_number(&node->out, item->value.len);
    }
    say_flags(node, &flags, item);
    bytes_put_text(&node->out, is_created ? " W\r\n" : "\r\n");
    if (flags.has_value) {
        bytes_put(&node->out, slice_of(item->value.ptr, item->value.len));
        bytes_put_text(&node->out, "\r\n");
    }
}

static void on_meta_debug(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    (void)parse_flags(line, "b");
    model_log(&node->log, "me", key, SLICE(""));
    const struct model_item *item = find(node, key);
    if (item == NULL) {
        bytes_put_text(&node->out, "EN\r\n");
        return;
    }
    bytes_put_text(&node->out, "ME ");
    bytes_put(&node->out, key);
    bytes_put_text(&node->out, " exp=-1 la=0 cas=");
    bytes_put_number(&node->out, item->cas);
    bytes_put_text(&node->out, " fetch=no cls=1 size=64\r\n");
}

static void on_touch(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    int64_t exptime_s;
    PROMISE(mc_read_i64(next(&line), &exptime_s) && line.len == 0);
    model_log(&node->log, "touch", key, SLICE(""));
    bytes_put_text(&node->out, find(node, key) != NULL ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
}

static void on_delete(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    struct flags flags = parse_flags(line, "bCIxFT");
    model_log(&node->log, "delete", key, SLICE(""));
    struct model_item *item = find(node, key);
    if (item == NULL) {
        bytes_put_text(&node->out, "NF\r\n");
        return;
    }
    if (flags.has_cas && flags.cas != item->cas) {
        bytes_put_text(&node->out, "EX\r\n");
        return;
    }
    if (flags.is_emptied) {
        keep(node, key, SLICE(""), flags.item_flags);
    } else if (!flags.is_mark) {
        forget(item);
    }
    bytes_put_text(&node->out, "HD\r\n");
}

/* Say the number that KEY holds now. */
static void say_number(struct model_node *node, struct slice key, uint64_t value,
                       const struct flags *flags)
{
    struct bytes text = {0};
    bytes_put_number(&text, value);
    const struct model_item *old = find(node, key);
    bool is_silent = old != NULL && flags->is_quiet;
    keep(node, key, slice_of(text.ptr, text.len), old == NULL ? 0 : old->flags);
    const struct model_item *item = find(node, key);
    struct model_item none = {.cas = 0};
    if (!is_silent) {
        bytes_put_text(&node->out, "VA ");
        bytes_put_number(&node->out, text.len);
        say_flags(node, flags, item == NULL ? &none : item);
        bytes_put_text(&node->out, "\r\n");
        bytes_put(&node->out, slice_of(text.ptr, text.len));
        bytes_put_text(&node->out, "\r\n");
    }
    bytes_clear(&text);
}

static void on_arithmetic(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    struct flags flags = parse_flags(line, "bMDCJNTtcqv");
    PROMISE((flags.mode == 'I' || flags.mode == 'D') && flags.has_value);
    model_log(&node->log, flags.mode == 'I' ? "incr" : "decr", key, SLICE(""));
    node->is_read_back_due = true;
    struct model_item *item = find(node, key);
    uint64_t value = 0;
    if (item == NULL && flags.is_vivify) {
        say_number(node, key, flags.initial, &flags);
    } else if (item == NULL) {
        bytes_put_text(&node->out, "NF\r\n");
    } else if (flags.has_cas && flags.cas != item->cas) {
        bytes_put_text(&node->out, "EX\r\n");
    } else if (!mc_read_u64(slice_of(item->value.ptr, item->value.len), &value)) {
        bytes_put_text(&node->out,
                       "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
    } else {
        value = flags.mode == 'I' ? value + flags.delta
                                  : (value > flags.delta ? value - flags.delta : 0);
        say_number(node, key, value, &flags);
    }
}

struct store {
    struct slice key;
    struct slice data;
    struct flags flags;
};

static const char *store_now(struct model_node *node, const struct store *store)
{
    struct model_item *item = find(node, store->key);
    const struct flags *flags = &store->flags;
    bool is_appended = flags->mode == 'A' || flags->mode == 'P';
    bool wants_item = flags->mode == 'R' || (is_appended && !flags->is_vivify);
    if (flags->mode == 'E' ? item != NULL : wants_item && item == NULL) {
        return "NS";
    }
    bool is_bound = flags->has_cas && flags->mode != 'E' && !(is_appended && item == NULL);
    if (is_bound && (item == NULL || item->cas != flags->cas)) {
        return item == NULL ? "NF" : "EX";
    }
    if (!is_appended || item == NULL) {
        keep(node, store->key, store->data, flags->item_flags);
        return "HD";
    }
    struct slice old = slice_of(item->value.ptr, item->value.len);
    struct bytes all = {0};
    bytes_put(&all, flags->mode == 'A' ? old : store->data);
    bytes_put(&all, flags->mode == 'A' ? store->data : old);
    keep(node, store->key, slice_of(all.ptr, all.len), item->flags);
    bytes_clear(&all);
    return "HD";
}

/* Returns bytes of the data block with its end; 0: not yet whole. */
static size_t on_store(struct model_node *node, struct slice line, struct slice behind)
{
    struct slice key = next_key(&line);
    uint64_t len = number(next(&line));
    struct store store = {.key = key, .flags = parse_flags(line, "bMCTFNIc")};
    PROMISE(memchr("SERAP", store.flags.mode, 5) != NULL);
    if (behind.len < len + 2) {
        return 0;
    }
    PROMISE(memcmp(behind.ptr + len, "\r\n", 2) == 0);
    store.data = slice_of(behind.ptr, (size_t)len);
    char what[] = "ms M";
    what[3] = store.flags.mode;
    model_log(&node->log, store.flags.has_cas ? "cas" : what, key,
              store.flags.has_cas ? SLICE("") : store.data);
    node->is_read_back_due = store.flags.mode == 'A' || store.flags.mode == 'P';
    const char *said = store_now(node, &store);
    bytes_put_text(&node->out, said);
    const struct model_item *item = find(node, key);
    struct model_item none = {.cas = 0};
    say_flags(node, &store.flags, strcmp(said, "HD") == 0 && item != NULL ? item : &none);
    bytes_put_text(&node->out, "\r\n");
    return (size_t)len + 2;
}

static void on_stats(struct model_node *node)
{
    bytes_put_text(&node->out, "STAT pid ");
    bytes_put_number(&node->out, node->pid);
    bytes_put_text(
        &node->out,
        "\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT cmd_flush 0\r\nSTAT version 1.6.38\r\n"
        "END\r\n");
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
    } else if (slice_is_equal(word, SLICE("me"))) {
        on_meta_debug(node, rest);
    } else if (slice_is_equal(word, SLICE("touch"))) {
        on_touch(node, rest);
    } else if (slice_is_equal(word, SLICE("md"))) {
        on_delete(node, rest);
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
