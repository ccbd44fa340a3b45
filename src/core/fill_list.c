/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bounded list of one pass's keys.
 *
 * An entry is a byte of key length, two bytes of size in units of FILL_SIZE_UNIT, the key, and in a
 * list that has_cas eight bytes of CAS.
 */
#include "fill_private.h"

#include "everwarm/base/invariant.h"

enum {
    FILL_ENTRY_HEAD = 3,
    /* Sizes up to 4 MiB are known to 64 bytes; larger ones count as the largest there is. */
    FILL_SIZE_UNIT = 64,
};

void fill_list_init(struct fill_list *list, void *memory, uint32_t capacity)
{
    *list = (struct fill_list){.memory = memory, .capacity = capacity};
    fill_list_restart(list, false);
}

void fill_list_restart(struct fill_list *list, bool has_cas)
{
    fill_list_clear(list);
    list->has_cas = has_cas;
    list->of = key_class_all();
}

void fill_list_clear(struct fill_list *list)
{
    list->used = 0;
    list->next = 0;
}

bool fill_list_next_class(struct fill_list *list)
{
    fill_list_clear(list);
    return key_class_next(&list->of);
}

static uint32_t entry_bytes(const struct fill_list *list, size_t key_bytes)
{
    return FILL_ENTRY_HEAD + (uint32_t)key_bytes + (list->has_cas ? (uint32_t)sizeof(uint64_t) : 0);
}

static struct slice key_of(const char *entry)
{
    return slice_of(entry + FILL_ENTRY_HEAD, (unsigned char)entry[0]);
}

/* Keep the lower half of the class. */
static bool halve(struct fill_list *list)
{
    if (!key_class_halve(&list->of)) {
        return false;
    }
    uint32_t kept = 0;
    for (uint32_t at = 0; at < list->used;) {
        char *entry = list->memory + at;
        uint32_t bytes = entry_bytes(list, (unsigned char)entry[0]);
        if (key_class_has(&list->of, topology_hash(key_of(entry)))) {
            memmove(list->memory + kept, entry, bytes);
            kept += bytes;
        }
        at += bytes;
    }
    list->used = kept;
    return true;
}

bool fill_list_add(struct fill_list *list, struct slice key, uint64_t hash, uint64_t size_bytes,
                   uint64_t cas)
{
    REQUIRE(key.len > 0 && key.len <= MC_KEY_BYTES_MAX && list->next == 0);
    uint32_t bytes = entry_bytes(list, key.len);
    while (key_class_has(&list->of, hash) && bytes > list->capacity - list->used) {
        if (!halve(list)) {
            return false;
        }
    }
    if (!key_class_has(&list->of, hash)) {
        return true;
    }
    uint64_t units = size_bytes / FILL_SIZE_UNIT + 1;
    units = units < UINT16_MAX ? units : UINT16_MAX;
    char *entry = list->memory + list->used;
    entry[0] = (char)(unsigned char)key.len;
    entry[1] = (char)(unsigned char)(units & 0xff);
    entry[2] = (char)(unsigned char)(units >> 8);
    memcpy(entry + FILL_ENTRY_HEAD, key.ptr, key.len);
    if (list->has_cas) {
        memcpy(entry + FILL_ENTRY_HEAD + key.len, &cas, sizeof cas);
    }
    list->used += bytes;
    return true;
}

bool fill_list_peek(const struct fill_list *list, struct fill_key *out)
{
    if (list->next == list->used) {
        return false;
    }
    const char *entry = list->memory + list->next;
    uint32_t units = (uint32_t)(unsigned char)entry[1] | (uint32_t)(unsigned char)entry[2] << 8;
    out->key = key_of(entry);
    out->cas = 0;
    if (list->has_cas) {
        memcpy(&out->cas, entry + FILL_ENTRY_HEAD + out->key.len, sizeof out->cas);
    }
    out->size_bytes = units == UINT16_MAX ? UINT64_MAX : (uint64_t)units * FILL_SIZE_UNIT;
    return true;
}

void fill_list_skip(struct fill_list *list)
{
    INVARIANT(list->next < list->used);
    list->next += entry_bytes(list, (unsigned char)list->memory[list->next]);
}
