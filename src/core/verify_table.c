/* SPDX-License-Identifier: BSD-2-Clause */
/* The union of the nodes' dumps, of one class of keys, in bounded memory. */
#include "verify_private.h"

#include "everwarm/base/invariant.h"

enum {
    VERIFY_ENTRY_ALIGN = 8,
    /* The index gets a slot for so many bytes of entries: the shortest are 96. */
    VERIFY_BYTES_PER_SLOT = 64,
};

static uint32_t entry_bytes(size_t key_bytes)
{
    size_t bytes = sizeof(struct verify_entry) + key_bytes;
    return (uint32_t)(bytes + VERIFY_ENTRY_ALIGN - 1) & ~(uint32_t)(VERIFY_ENTRY_ALIGN - 1);
}

void verify_table_init(struct verify_table *table, void *memory, uint32_t bytes)
{
    uint32_t slots = 1;
    while ((uint64_t)slots * 2 * VERIFY_BYTES_PER_SLOT <= bytes) {
        slots *= 2;
    }
    uint32_t capacity =
        (bytes - slots * (uint32_t)sizeof(uint32_t)) & ~(uint32_t)(VERIFY_ENTRY_ALIGN - 1);
    *table = (struct verify_table){
        .memory = memory,
        .capacity = capacity,
        .index = (uint32_t *)(void *)((char *)memory + capacity),
        .index_slots = slots,
        .of = key_class_all(),
    };
    verify_table_clear(table);
}

void verify_table_clear(struct verify_table *table)
{
    table->used = 0;
    table->next = 0;
    table->count = 0;
    memset(table->index, 0, table->index_slots * sizeof table->index[0]);
}

static struct verify_entry *entry_at(const struct verify_table *table, uint32_t place)
{
    return (struct verify_entry *)(void *)(table->memory + place);
}

/* Where KEY stands in the index, or would. */
static uint32_t *find(const struct verify_table *table, struct slice key, uint64_t hash)
{
    /* The lower bits are the class's. */
    for (uint64_t at = hash >> 32;; at++) {
        uint32_t *slot = &table->index[at & (table->index_slots - 1)];
        if (*slot == 0) {
            return slot;
        }
        const struct verify_entry *entry = entry_at(table, (*slot - 1) * VERIFY_ENTRY_ALIGN);
        if (entry->hash == hash && slice_is_equal(slice_of(entry->key, entry->key_bytes), key)) {
            return slot;
        }
    }
}

/* Keep the lower half of the class. */
static bool halve(struct verify_table *table)
{
    if (!key_class_halve(&table->of)) {
        return false;
    }
    uint32_t used = table->used;
    verify_table_clear(table);
    for (uint32_t at = 0; at < used;) {
        struct verify_entry *entry = entry_at(table, at);
        uint32_t bytes = entry_bytes(entry->key_bytes);
        if (key_class_has(&table->of, entry->hash)) {
            struct verify_entry *to = entry_at(table, table->used);
            memmove(to, entry, bytes);
            *find(table, slice_of(to->key, to->key_bytes), to->hash) =
                table->used / VERIFY_ENTRY_ALIGN + 1;
            table->used += bytes;
            table->count++;
        }
        at += bytes;
    }
    return true;
}

static bool has_room(const struct verify_table *table, uint32_t bytes)
{
    return bytes <= table->capacity - table->used && table->count < table->index_slots / 4 * 3;
}

static void note(struct verify_entry *entry, uint32_t node, const struct item *item)
{
    if (entry->first.cas != item->cas || !item_is_expiry_equal(&entry->first, item)) {
        entry->differs |= node_set_of(node);
    }
    entry->seen |= node_set_of(node);
}

bool verify_table_add(struct verify_table *table, struct slice key, uint32_t node,
                      const struct item *item, uint64_t size_bytes)
{
    REQUIRE(key.len > 0 && key.len <= MC_KEY_BYTES_MAX && table->next == 0);
    uint64_t hash = topology_hash(key);
    if (!key_class_has(&table->of, hash)) {
        return true;
    }
    uint32_t *slot = find(table, key, hash);
    uint32_t size = size_bytes < UINT32_MAX ? (uint32_t)size_bytes : UINT32_MAX;
    if (*slot != 0) {
        struct verify_entry *entry = entry_at(table, (*slot - 1) * VERIFY_ENTRY_ALIGN);
        entry->size_bytes = entry->size_bytes > size ? entry->size_bytes : size;
        note(entry, node, item);
        return true;
    }
    uint32_t bytes = entry_bytes(key.len);
    while (!has_room(table, bytes)) {
        if (!halve(table)) {
            return false;
        }
        if (!key_class_has(&table->of, hash)) {
            return true;
        }
    }
    struct verify_entry *entry = entry_at(table, table->used);
    *entry = (struct verify_entry){
        .hash = hash,
        .first = *item,
        .size_bytes = size,
        .key_bytes = (uint32_t)key.len,
    };
    memcpy(entry->key, key.ptr, key.len);
    note(entry, node, item);
    *find(table, key, hash) = table->used / VERIFY_ENTRY_ALIGN + 1;
    table->used += bytes;
    table->count++;
    return true;
}

struct verify_entry *verify_table_next(struct verify_table *table)
{
    if (table->next == table->used) {
        return NULL;
    }
    struct verify_entry *entry = entry_at(table, table->next);
    table->next += entry_bytes(entry->key_bytes);
    return entry;
}
