/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the dumps of several nodes say of the keys of one class, in bounded memory: a fill and a
 * verify compare by it.
 */
#ifndef EVERWARM_CORE_DUMP_TABLE_H
#define EVERWARM_CORE_DUMP_TABLE_H

#include "everwarm/base/limits.h"
#include "everwarm/base/slice.h"
#include "everwarm/core/topology.h"
#include "everwarm/mc/dump.h"

#include "item.h"
#include "key_class.h"

enum {
    /* A table below this would hold only a few of the longest keys. */
    DUMP_TABLE_BYTES_MIN = 8192,
};

/* What the nodes' dumps say of a key. */
struct dump_entry {
    uint64_t hash;
    struct item first;   /* CAS and expiry, of the first dump that had it */
    node_set seen;       /* nodes that have it */
    node_set differs;    /* of them: with another CAS or expiry than the first */
    uint32_t size_bytes; /* the largest, as memcached counts; cut to 32 bits */
    uint32_t key_bytes;
    char key[];
};

/*
 * Entries lie one after the other in the caller's memory, those of one class of keys, and stay
 * there until the table is cleared; an index of their places, by hash, lies behind them.
 */
struct dump_table {
    char *memory;
    uint32_t capacity;
    uint32_t used;
    uint32_t next; /* where the walk goes on */
    uint32_t count;
    uint32_t *index; /* 0: free; otherwise one more than the place in units of 8 bytes */
    uint32_t index_slots;
    struct key_class of;
};

void dump_table_init(struct dump_table *table, void *memory, uint32_t bytes);
/* Forget the keys, keep the class. */
void dump_table_clear(struct dump_table *table);
/* NODE's dump has the key; false: KEY_CLASSES_MAX classes are not enough. */
bool dump_table_add(struct dump_table *table, struct slice key, uint32_t node,
                    const struct item *item, uint64_t size_bytes);
/* NODE's dump has the key, which is noted if another's had it; NULL otherwise. */
struct dump_entry *dump_table_note(struct dump_table *table, struct slice key, uint32_t node,
                                   const struct item *item);
/* What is known of a key; NULL: nothing. */
const struct dump_entry *dump_table_find(const struct dump_table *table, struct slice key);
/* The next entry, once all are in; NULL at the end. */
struct dump_entry *dump_table_next(struct dump_table *table);

/* What a node's dump says of an item, on our clock, as items that are read have it. CLOCK_S is that
 * node's time less ours. */
struct item dump_table_item(const struct mc_dump_item *dumped, int64_t clock_s);

#endif
