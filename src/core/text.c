/* SPDX-License-Identifier: BSD-2-Clause */
/* Words, names and lines of the texts that proxies leave for each other on the nodes. */
#include "text.h"

#include "everwarm/base/invariant.h"

enum {
    WORD_BYTES_MAX = 32,   /* of our own words, all shorter */
    FIRST_GRAPHIC = 0x21,  /* after the space */
    BEYOND_GRAPHIC = 0x7f, /* delete */
};

static const char hex_digits[16] = {'0', '1', '2', '3', '4', '5', '6', '7',
                                    '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'};

void text_write_word(struct mc_writer *w, const char *word)
{
    for (; *word != '\0'; word++) {
        mc_write(w, slice_of(word, 1));
    }
}

void text_write_name(struct mc_writer *w, struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned byte = (unsigned char)name.ptr[i];
        if (byte >= FIRST_GRAPHIC && byte < BEYOND_GRAPHIC && byte != '%') {
            mc_write(w, slice_of(name.ptr + i, 1));
        } else {
            const char escape[3] = {'%', hex_digits[byte >> 4], hex_digits[byte & 15]};
            mc_write(w, slice_of(escape, sizeof(escape)));
        }
    }
}

void text_write_id(struct mc_writer *w, uint16_t id)
{
    if (id == VIEW_NO_PROXY) {
        mc_write(w, SLICE("-"));
    } else {
        mc_write_u64(w, id);
    }
}

void text_write_number(struct mc_writer *w, struct slice key, uint64_t value)
{
    mc_write(w, key);
    mc_write(w, SLICE(" "));
    mc_write_u64(w, value);
    mc_write(w, SLICE("\n"));
}

void text_write_hex(struct mc_writer *w, struct slice key, uint64_t value)
{
    mc_write(w, key);
    mc_write(w, SLICE(" "));
    mc_write_hex64(w, value);
    mc_write(w, SLICE("\n"));
}

struct slice text_next_value(struct slice *text)
{
    if (text->len == 0) {
        return *text;
    }
    const char *end = memchr(text->ptr, '\n', text->len);
    struct slice line = *text;
    if (end != NULL) {
        line.len = (size_t)(end - text->ptr);
        *text = slice_skip(*text, line.len + 1);
    } else {
        *text = slice_skip(*text, text->len);
    }
    (void)mc_next_word(&line);
    return line;
}

bool text_read_number(struct slice *text, uint64_t *out)
{
    struct slice value = text_next_value(text);
    return mc_read_u64(mc_next_word(&value), out);
}

bool text_read_hex(struct slice *text, uint64_t *out)
{
    struct slice value = text_next_value(text);
    return mc_read_hex64(mc_next_word(&value), out);
}

bool text_is_word(struct slice s, const char *word)
{
    char bytes[WORD_BYTES_MAX];
    struct mc_writer w = mc_writer_of(bytes, sizeof(bytes));
    text_write_word(&w, word);
    INVARIANT(!w.is_full);
    return slice_is_equal(s, slice_of(bytes, w.len));
}

bool text_read_id(struct slice word, uint16_t *out)
{
    uint64_t id;
    if (slice_is_equal(word, SLICE("-"))) {
        *out = VIEW_NO_PROXY;
        return true;
    }
    if (!mc_read_u64(word, &id) || id >= PROXIES_MAX) {
        return false;
    }
    *out = (uint16_t)id;
    return true;
}

/* The value of one upper-case hexadecimal digit; 16 when it is none. */
static unsigned hex_value(char digit)
{
    unsigned value = 0;
    while (value < 16 && hex_digits[value] != digit) {
        value++;
    }
    return value;
}

bool text_read_name(struct slice word, char *bytes, size_t capacity, struct slice *out)
{
    size_t len = 0;
    for (size_t i = 0; i < word.len; i++) {
        if (len == capacity) {
            return false;
        }
        char byte = word.ptr[i];
        if (byte == '%') {
            unsigned high = word.len - i > 2 ? hex_value(word.ptr[i + 1]) : 16;
            unsigned low = word.len - i > 2 ? hex_value(word.ptr[i + 2]) : 16;
            if (high > 15 || low > 15) {
                return false;
            }
            byte = (char)(unsigned char)(high << 4 | low);
            i += 2;
        }
        bytes[len++] = byte;
    }
    *out = slice_of(bytes, len);
    return len > 0;
}

node_set text_find_nodes(const struct view_names *names, struct slice name)
{
    node_set found = 0;
    for (uint32_t i = 0; i < names->node_count; i++) {
        found |= slice_is_equal(names->nodes[i], name) ? node_set_of(i) : 0;
    }
    return found;
}

int text_compare(struct slice a, struct slice b)
{
    size_t shared = a.len < b.len ? a.len : b.len;
    int order = shared > 0 ? memcmp(a.ptr, b.ptr, shared) : 0;
    if (order != 0) {
        return order;
    }
    return (a.len > b.len) - (a.len < b.len);
}

uint32_t text_sort_nodes(const struct view_names *names, uint32_t order[NODES_MAX])
{
    REQUIRE(names->node_count <= NODES_MAX);
    uint32_t count = 0;
    for (uint32_t i = 0; i < names->node_count; i++) {
        if (names->nodes[i].len == 0) {
            continue;
        }
        uint32_t at = count++;
        for (; at > 0 && text_compare(names->nodes[order[at - 1]], names->nodes[i]) > 0; at--) {
            order[at] = order[at - 1];
        }
        order[at] = i;
    }
    return count;
}
