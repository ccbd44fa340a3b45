/* SPDX-License-Identifier: BSD-2-Clause */
/* Dumps of several nodes side by side. Halving a class moves entries: no pointer outlives it. */
#include "dump_table.h"

#include "everwarm/base/invariant.h"

enum {
    DUMP_ENTRY_ALIGN = 8,
    /* The index gets a slot for so many bytes of entries: the shortest are 96. */
    DUMP_BYTES_PER_SLOT = 64,
};

static uint32_t entry_bytes(size_t key_bytes)
{
    size_t bytes = sizeof(struct dump_entry) + key_bytes;
    return (uint32_t)(bytes + DUMP_ENTRY_ALIGN - 1) & ~(uint32_t)(DUMP_ENTRY_ALIGN - 1);
}

void dump_table_init(struct dump_table *table, void *memory, uint32_t bytes)
{
    uint32_t slots = 1;
    while ((uint64_t)slots * 2 * DUMP_BYTES_PER_SLOT <= bytes) {
        slots *= 2;
    }
    uint32_t capacity =
        (bytes - slots * (uint32_t)sizeof(uint32_t)) & ~(uint32_t)(DUMP_ENTRY_ALIGN - 1);
    *table = (struct dump_table){
        .memory = memory,
        .capacity = capacity,
        .index = (uint32_t *)(void *)((char *)memory + capacity),
        .index_slots = slots,
        .of = key_class_all(),
    };
    dump_table_clear(table);
}

void dump_table_clear(struct dump_table *table)
{
    table->used = 0;
    table->next = 0;
    table->count = 0;
    memset(table->index, 0, table->index_slots * sizeof table->index[0]);
}

static struct dump_entry *entry_at(const struct dump_table *table, uint32_t place)
{
    return (struct dump_entry *)(void *)(table->memory + place);
}

/* Where KEY stands in the index, or would. */
static uint32_t *find(const struct dump_table *table, struct slice key, uint64_t hash)
{
    /* The lower bits are the class's. */
    for (uint64_t at = hash >> 32;; at++) {
        uint32_t *slot = &table->index[at & (table->index_slots - 1)];
        if (*slot == 0) {
            return slot;
        }
        const struct dump_entry *entry = entry_at(table, (*slot - 1) * DUMP_ENTRY_ALIGN);
        if (entry->hash == hash && slice_is_equal(slice_of(entry->key, entry->key_bytes), key)) {
            return slot;
        }
    }
}

/* Keep the lower half of the class. */
static bool halve(struct dump_table *table)
{
    if (!key_class_halve(&table->of)) {
        return false;
    }
    uint32_t used = table->used;
    dump_table_clear(table);
    for (uint32_t at = 0; at < used;) {
        struct dump_entry *entry = entry_at(table, at);
        uint32_t bytes = entry_bytes(entry->key_bytes);
        if (key_class_has(&table->of, entry->hash)) {
            struct dump_entry *to = entry_at(table, table->used);
            memmove(to, entry, bytes);
            *find(table, slice_of(to->key, to->key_bytes), to->hash) =
                table->used / DUMP_ENTRY_ALIGN + 1;
            table->used += bytes;
            table->count++;
        }
        at += bytes;
    }
    return true;
}

static bool has_room(const struct dump_table *table, uint32_t bytes)
{
    return bytes <= table->capacity - table->used && table->count < table->index_slots / 4 * 3;
}

static void note(struct dump_entry *entry, uint32_t node, const struct item *item)
{
    if (entry->first.cas != item->cas || !item_is_expiry_equal(&entry->first, item)) {
        entry->differs |= node_set_of(node);
    }
    entry->seen |= node_set_of(node);
}

bool dump_table_add(struct dump_table *table, struct slice key, uint32_t node,
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
        struct dump_entry *entry = entry_at(table, (*slot - 1) * DUMP_ENTRY_ALIGN);
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
    struct dump_entry *entry = entry_at(table, table->used);
    *entry = (struct dump_entry){
        .hash = hash,
        .first = *item,
        .size_bytes = size,
        .key_bytes = (uint32_t)key.len,
    };
    memcpy(entry->key, key.ptr, key.len);
    note(entry, node, item);
    *find(table, key, hash) = table->used / DUMP_ENTRY_ALIGN + 1;
    table->used += bytes;
    table->count++;
    return true;
}

struct dump_entry *dump_table_note(struct dump_table *table, struct slice key, uint32_t node,
                                   const struct item *item)
{
    const uint32_t *slot = find(table, key, topology_hash(key));
    if (*slot == 0) {
        return NULL;
    }
    struct dump_entry *entry = entry_at(table, (*slot - 1) * DUMP_ENTRY_ALIGN);
    note(entry, node, item);
    return entry;
}

const struct dump_entry *dump_table_find(const struct dump_table *table, struct slice key)
{
    const uint32_t *slot = find(table, key, topology_hash(key));
    return *slot != 0 ? entry_at(table, (*slot - 1) * DUMP_ENTRY_ALIGN) : NULL;
}

struct item dump_table_item(const struct mc_dump_item *dumped, int64_t clock_s)
{
    return (struct item){
        .cas = dumped->cas,
        .expiry_ms = dumped->exptime_s == -1 ? INT64_MAX : (dumped->exptime_s - clock_s) * 1000,
    };
}

struct dump_entry *dump_table_next(struct dump_table *table)
{
    if (table->next == table->used) {
        return NULL;
    }
    struct dump_entry *entry = entry_at(table, table->next);
    table->next += entry_bytes(entry->key_bytes);
    return entry;
}
