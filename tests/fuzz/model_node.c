/* SPDX-License-Identifier: BSD-2-Clause */
#include "model_node.h"

#include "everwarm/mc/encode.h"
#include "fuzz.h"

#include <string.h>

enum {
    /* Values beyond this are forgotten: nothing new would be seen. */
    VALUE_BYTES_MAX = 4096,
};

struct slice model_forbidden_key;

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
    PROMISE(model_forbidden_key.len == 0 || !slice_is_equal(key, model_forbidden_key));
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

/* --- Meta commands --- */

/* What stands behind a meta command's key, each flag at most once. */
struct flags {
    struct slice words; /* as they came */
    uint64_t flags;
    uint64_t cas;
    uint64_t delta;
    uint64_t initial;
    uint64_t token; /* the CAS that the writer chose; 0: none */
    char mode;
    bool has_cas;
    bool has_base64;
    bool has_exptime;
    bool has_vivify;
    bool has_value;
    bool is_emptied;
    bool is_quiet;
};

static void take_number(struct slice value)
{
    int64_t any;
    PROMISE(mc_read_i64(value, &any));
}

static struct flags take_flags(struct slice line, const char *allowed)
{
    struct flags flags = {.words = line, .delta = 1};
    uint64_t seen = 0;
    while (line.len > 0) {
        struct slice word = next(&line);
        struct slice value = slice_skip(word, 1);
        char letter = word.ptr[0];
        PROMISE(letter > '@' && memchr(allowed, letter, strlen(allowed)) != NULL);
        uint64_t bit = UINT64_C(1) << (letter - '@');
        PROMISE((seen & bit) == 0);
        seen |= bit;
        bool has_value = memchr("MCTFDJNRE", letter, 9) != NULL;
        PROMISE(has_value == (value.len > 0));
        flags.has_cas = flags.has_cas || letter == 'C';
        flags.has_base64 = flags.has_base64 || letter == 'b';
        flags.has_exptime = flags.has_exptime || letter == 'T';
        flags.has_vivify = flags.has_vivify || letter == 'N';
        flags.has_value = flags.has_value || letter == 'v';
        flags.is_emptied = flags.is_emptied || letter == 'x';
        flags.is_quiet = flags.is_quiet || letter == 'q';
        if (letter == 'M') {
            PROMISE(value.len == 1);
            flags.mode = value.ptr[0];
        } else if (letter == 'T' || letter == 'N' || letter == 'R') {
            take_number(value);
        } else if (has_value) {
            uint64_t *to = letter == 'C'   ? &flags.cas
                           : letter == 'F' ? &flags.flags
                           : letter == 'D' ? &flags.delta
                           : letter == 'E' ? &flags.token
                                           : &flags.initial;
            *to = number(value);
        }
    }
    return flags;
}

static void give_token(struct model_node *node, struct slice key, const struct flags *flags)
{
    struct model_item *item = find(node, key);
    if (item != NULL && flags->token != 0) {
        item->cas = flags->token;
    }
}

/* What a hit tells of ITEM, in the order of the flags. */
static void say_flags(struct model_node *node, const struct model_item *item, struct slice words)
{
    while (words.len > 0) {
        struct slice word = next(&words);
        char letter = word.ptr[0];
        if (memchr("ftcshlk", letter, 7) == NULL) {
            continue;
        }
        bytes_put_text(&node->out, " ");
        bytes_put(&node->out, slice_of(&letter, 1));
        if (letter == 't') {
            bytes_put_text(&node->out, "-1");
        } else if (letter == 'k') {
            bytes_put(&node->out, slice_of(item->key, item->key_bytes));
        } else {
            bytes_put_number(&node->out, letter == 'f'   ? item->flags
                                         : letter == 'c' ? item->cas
                                         : letter == 's' ? item->value.len
                                                         : 0);
        }
    }
}

static void say_item(struct model_node *node, const struct model_item *item,
                     const struct flags *flags)
{
    bytes_put_text(&node->out, flags->has_value ? "VA " : "HD");
    if (flags->has_value) {
        bytes_put_number(&node->out, item->value.len);
    }
    say_flags(node, item, flags->words);
    bytes_put_text(&node->out, "\r\n");
    if (flags->has_value) {
        bytes_put(&node->out, slice_of(item->value.ptr, item->value.len));
        bytes_put_text(&node->out, "\r\n");
    }
}

/* An item is read back behind the commands whose answer does not hold it; all other reads are
 * clients'. */
static void on_meta_get(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    const struct flags flags = take_flags(line, "bcfhklstuvTNR");
    if (!node->is_read_back_due) {
        model_log(&node->log, "mg", key, SLICE(""));
    }
    node->is_read_back_due = false;
    const struct model_item *item = find(node, key);
    if (item == NULL) {
        bytes_put_text(&node->out, "EN\r\n");
    } else {
        say_item(node, item, &flags);
    }
}

static void on_debug(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    (void)take_flags(line, "b");
    model_log(&node->log, "me", key, SLICE(""));
    const struct model_item *item = find(node, key);
    if (item == NULL) {
        bytes_put_text(&node->out, "EN\r\n");
        return;
    }
    bytes_put_text(&node->out, "ME key exp=-1 la=0 cas=");
    bytes_put_number(&node->out, item->cas);
    bytes_put_text(&node->out, " fetch=no cls=1 size=9\r\n");
}

static void on_touch(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    take_number(line);
    model_log(&node->log, "touch", key, SLICE(""));
    bytes_put_text(&node->out, find(node, key) != NULL ? "TOUCHED\r\n" : "NOT_FOUND\r\n");
}

static void on_delete(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    const struct flags flags = take_flags(line, "bCIxFTE");
    struct model_item *item = find(node, key);
    model_log(&node->log, "delete", key, SLICE(""));
    if (item == NULL) {
        bytes_put_text(&node->out, "NF\r\n");
    } else if (flags.has_cas && flags.cas != item->cas) {
        bytes_put_text(&node->out, "EX\r\n");
    } else {
        bytes_put_text(&node->out, "HD\r\n");
        if (flags.is_emptied) {
            keep(node, key, SLICE(""), flags.flags);
        } else {
            forget(item);
        }
    }
}

static void on_arithmetic(struct model_node *node, struct slice line)
{
    struct slice key = next_key(&line);
    const struct flags flags = take_flags(line, "bMDCJNTtcqvE");
    PROMISE(flags.has_value && (flags.mode == 'I' || flags.mode == 'D'));
    model_log(&node->log, flags.mode == 'I' ? "incr" : "decr", key, SLICE(""));
    node->is_read_back_due = true;
    struct model_item *item = find(node, key);
    uint64_t value = flags.initial;
    bool is_created = item == NULL && flags.has_vivify;
    if (item == NULL && !is_created) {
        bytes_put_text(&node->out, "NF\r\n");
        return;
    }
    if (item != NULL && flags.has_cas && flags.cas != item->cas) {
        bytes_put_text(&node->out, "EX\r\n");
        return;
    }
    if (item != NULL && !mc_read_u64(slice_of(item->value.ptr, item->value.len), &value)) {
        bytes_put_text(&node->out,
                       "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n");
        return;
    }
    if (!is_created) {
        value = flags.mode == 'I'     ? value + flags.delta
                : value > flags.delta ? value - flags.delta
                                      : 0;
    }
    struct bytes text = {0};
    bytes_put_number(&text, value);
    keep(node, key, slice_of(text.ptr, text.len), item == NULL ? 0 : item->flags);
    give_token(node, key, &flags);
    item = find(node, key);
    if (item != NULL && (is_created || !flags.is_quiet)) {
        say_item(node, item, &flags);
    } else if (item == NULL) {
        bytes_put_text(&node->out, "NF\r\n"); /* forgotten at once */
    }
    bytes_clear(&text);
}

static const char *store_now(struct model_node *node, struct slice key, const struct flags *flags,
                             struct slice data)
{
    struct model_item *item = find(node, key);
    bool is_appending = flags->mode == 'A' || flags->mode == 'P';
    bool wants_item = flags->mode == 'R' || (is_appending && !flags->has_vivify);
    if (flags->mode == 'E' ? item != NULL : wants_item && item == NULL) {
        return "NS";
    }
    if (flags->has_cas && (item == NULL || item->cas != flags->cas)) {
        return item == NULL ? "NF" : "EX";
    }
    if (!is_appending || item == NULL) {
        keep(node, key, data, flags->flags);
        return "HD";
    }
    struct slice old = slice_of(item->value.ptr, item->value.len);
    struct bytes all = {0};
    bytes_put(&all, flags->mode == 'A' ? old : data);
    bytes_put(&all, flags->mode == 'A' ? data : old);
    keep(node, key, slice_of(all.ptr, all.len), item->flags);
    bytes_clear(&all);
    return "HD";
}

/* Returns bytes of the data block with its end; 0: not yet whole. */
static size_t on_store(struct model_node *node, struct slice line, struct slice behind)
{
    struct slice key = next_key(&line);
    uint64_t len = number(next(&line));
    const struct flags flags = take_flags(line, "bMCTFNIcE");
    PROMISE(flags.mode == 0 || memchr("ERAP", flags.mode, 4) != NULL);
    if (behind.len < len + 2) {
        return 0;
    }
    PROMISE(memcmp(behind.ptr + len, "\r\n", 2) == 0);
    struct slice data = slice_of(behind.ptr, (size_t)len);
    char what[] = "ms S";
    what[3] = flags.mode == 0 ? 'S' : flags.mode;
    if (flags.has_cas) {
        model_log(&node->log, "cas", key, SLICE(""));
    } else {
        model_log(&node->log, what, key, data);
    }
    node->is_read_back_due = flags.mode == 'A' || flags.mode == 'P';
    const char *word = store_now(node, key, &flags, data);
    bool is_stored = slice_is_equal(slice_of_string(word), SLICE("HD"));
    bytes_put_text(&node->out, word);
    if (is_stored) {
        give_token(node, key, &flags);
    }
    if (is_stored && find(node, key) != NULL) {
        say_flags(node, find(node, key), flags.words);
    }
    bytes_put_text(&node->out, "\r\n");
    return (size_t)len + 2;
}

static void on_stats(struct model_node *node)
{
    bytes_put_text(&node->out, "STAT pid ");
    bytes_put_number(&node->out, node->pid);
    bytes_put_text(&node->out, "\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT version 1.6.38\r\n"
                               "STAT cmd_flush 0\r\nEND\r\n");
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
    } else if (slice_is_equal(word, SLICE("me"))) {
        on_debug(node, rest);
    } else if (slice_is_equal(word, SLICE("ma"))) {
        on_arithmetic(node, rest);
    } else if (slice_is_equal(word, SLICE("md"))) {
        on_delete(node, rest);
    } else if (slice_is_equal(word, SLICE("touch"))) {
        on_touch(node, rest);
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
