/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Settling: keys that this worker wrote wait here until their copies have been seen to be equal
 * (replication.md section 5, Settling). Two writers, of two workers or proxies, may reach two nodes
 * in opposite orders; each of them compares after its own write, so whoever was last finds it.
 *
 *   a write begins ─► WRITTEN ─ the last is over ─► FRESH ─ delay ─► compared ─► equal: gone
 *                        ▲                                              │
 *                        │      AGAIN ◄─ differ: a write under way? ────┤
 *                        │        └─ a request timeout later the same: mended
 *                        └─ another write begins, in any state          └─► PARKED: only a
 *                                                                           filling node differs
 *
 * Whose turn it is stands here; one comparison or repair is settle_check.c's.
 *
 * I1. An entry is in one list, or under a write or a comparison and in none.
 * I2. FRESH and AGAIN are in the order in which they are due, as each has one delay; if that was
 *     made shorter meanwhile, some wait for those before them, and none is early.
 * I3. A write begins only with an entry for its key: nothing is dropped for want of room.
 */
#include "settle.h"

#include "everwarm/core/rule.h"

enum {
    /* One comparison is a request to each node; so many are a few percent of what a node does. */
    SETTLE_CHECKS_A_TICK = 512,
    SETTLE_SLOTS = 16384, /* a power of two, about as many as entries */
};

struct settle {
    struct slab entries;
    struct slab checks;
    struct list fresh;
    struct list again;
    struct list parked;
    uint32_t parked_count;
    struct list cleaning; /* txns of checks that wait at SETTLE_CLEAN, by txn->held */
    node_set nodes;       /* complete or filling in the topology adopted last */
    struct settle_entry *slots[SETTLE_SLOTS];
};

static size_t rounded(size_t bytes)
{
    return (bytes + 15) & ~(size_t)15;
}

static size_t entry_bytes(const struct dataplane_options *options)
{
    return rounded(sizeof(struct settle_entry) + options->names.node_count * sizeof(uint64_t));
}

size_t settle_bytes(const struct dataplane_options *options)
{
    return rounded(sizeof(struct settle)) + SETTLE_ENTRIES_MAX * entry_bytes(options) +
           SETTLE_CHECKS_MAX * rounded(sizeof(struct settle_check));
}

void settle_init(struct dataplane *dp, void *memory)
{
    struct settle *settle = memory;
    char *rest = (char *)memory + rounded(sizeof(*settle));
    dp->settle = settle;
    slab_init(&settle->entries, rest, entry_bytes(&dp->options), SETTLE_ENTRIES_MAX);
    rest += SETTLE_ENTRIES_MAX * entry_bytes(&dp->options);
    slab_init(&settle->checks, rest, rounded(sizeof(struct settle_check)), SETTLE_CHECKS_MAX);
    list_init(&settle->fresh);
    list_init(&settle->again);
    list_init(&settle->parked);
    list_init(&settle->cleaning);
}

/* --- Entries --- */

static struct settle_entry **slot_of(struct settle *settle, uint64_t key_hash)
{
    return &settle->slots[key_hash & (SETTLE_SLOTS - 1)];
}

/* A key may be written in two ways, and is one: what a client does to it under one spelling counts
 * for the other, such as a mark. */
static bool is_of_key(const struct settle_entry *entry, struct slice key, bool is_base64)
{
    struct slice own = slice_of(entry->key, entry->key_bytes);
    if (entry->is_base64 == is_base64) {
        return slice_is_equal(own, key);
    }
    char bytes[MC_KEY_BYTES_MAX];
    struct slice written = entry->is_base64 ? own : key;
    struct slice plain = entry->is_base64 ? key : own;
    return slice_is_equal(slice_of(bytes, mc_key_decode(written, bytes)), plain);
}

static struct settle_entry *find(struct settle *settle, uint64_t key_hash, struct slice key,
                                 bool is_base64)
{
    struct settle_entry *entry = *slot_of(settle, key_hash);
    while (entry != NULL && (entry->key_hash != key_hash || !is_of_key(entry, key, is_base64))) {
        entry = entry->next;
    }
    return entry;
}

/* NULL: no room. */
static struct settle_entry *add(struct dataplane *dp, uint64_t key_hash, struct slice key,
                                bool is_base64)
{
    struct settle *settle = dp->settle;
    struct settle_entry *entry = slab_take(&settle->entries);
    if (entry == NULL) {
        return NULL;
    }
    struct settle_entry **slot = slot_of(settle, key_hash);
    entry->next = *slot;
    *slot = entry;
    entry->key_hash = key_hash;
    entry->key_bytes = (uint8_t)key.len;
    entry->is_base64 = is_base64;
    memcpy(entry->key, key.ptr, key.len);
    for (uint32_t n = 0; n < dp->options.names.node_count; n++) {
        entry->own_cas[n] = SETTLE_CAS_UNKNOWN;
    }
    dp->stats.settle_queue++;
    return entry;
}

static void unlist(struct dataplane *dp, struct settle_entry *entry)
{
    if (entry->is_parked) {
        entry->is_parked = false;
        dp->settle->parked_count--;
        dp->is_parked_due = dp->is_parked_due || dp->settle->parked_count == 0;
    }
    list_remove(&entry->due);
}

void settle_forget(struct dataplane *dp, struct settle_entry *entry)
{
    struct settle *settle = dp->settle;
    struct settle_entry **at = slot_of(settle, entry->key_hash);
    while (*at != entry) {
        at = &(*at)->next;
    }
    *at = entry->next;
    unlist(dp, entry);
    slab_drop(&settle->entries, entry);
    dp->stats.settle_queue--;
    dp->is_recheck_due = true;
}

bool settle_enter(struct dataplane *dp, struct txn *txn)
{
    struct settle *settle = dp->settle;
    struct slice key = txn_key(txn);
    struct settle_entry *entry = find(settle, txn->key_hash, key, txn->is_base64);
    if (entry == NULL) {
        entry = add(dp, txn->key_hash, key, txn->is_base64);
        if (entry == NULL) {
            return false;
        }
    }
    unlist(dp, entry);
    entry->writes++;
    entry->seen = 0;
    entry->tries = 0;
    if (entry->check != NULL) {
        entry->check->is_failed = true; /* what it has seen may be older than this write */
    }
    txn->settle = entry;
    return true;
}

bool settle_instead(struct dataplane *dp, struct txn *txn)
{
    bool is_plain = !txn->is_internal && !txn->is_decided;
    if (RULE(RUN_AGAIN) || !is_plain || (txn->settle == NULL && !settle_enter(dp, txn))) {
        return false;
    }
    if (!txn->is_leader_in) {
        answer_write(dp, txn, &(struct answer){.kind = MC_REPLY_HD, .node = txn->leader});
    }
    txn_finish(dp, txn);
    return true;
}

/* Is the item, if there is one, another than before, so without the mark that the old one may have
 * had? Counting, a touch and what was refused leave marks as they are. */
static bool takes_marks_off(const struct txn *txn)
{
    bool is_stored = txn->outcome == DATAPLANE_OUTCOME_STORED;
    if (txn->command_type == MC_DELETE) {
        return is_stored || txn->outcome == DATAPLANE_OUTCOME_MISS;
    }
    return is_stored && txn->command_type >= MC_SET && txn->command_type <= MC_CAS;
}

void settle_leave(struct dataplane *dp, struct txn *txn)
{
    struct settle_entry *entry = txn->settle;
    if (entry == NULL) {
        return;
    }
    txn->settle = NULL;
    entry->writes--;
    entry->is_marked = txn->is_mark || (entry->is_marked && !takes_marks_off(txn));
    if (entry->writes == 0 && entry->check == NULL) {
        settle_put_back(dp, entry, SETTLE_FRESH);
    }
}

void settle_note(struct txn *txn, uint32_t node, uint64_t cas)
{
    if (txn->settle != NULL) {
        txn->settle->own_cas[node] = cas;
    }
}

enum dataplane_mend dataplane_mend_of(const struct dataplane *dp, struct slice key)
{
    const struct settle_entry *entry = find(dp->settle, topology_hash(key), key, false);
    const struct settle_check *check = entry == NULL ? NULL : entry->check;
    if (check == NULL || check->is_warm || check->step < SETTLE_READ) {
        return DATAPLANE_MEND_NONE;
    }
    if (check->step < SETTLE_LOOK) {
        return DATAPLANE_MEND_COPY;
    }
    return check->step == SETTLE_LOOK ? DATAPLANE_MEND_LOOK : DATAPLANE_MEND_UNDO;
}

static void look_again(struct dataplane *dp, struct settle_entry *entry)
{
    entry->due_us = dp->now_us + dp->options.request_timeout_us;
    list_append(&dp->settle->again, &entry->due);
}

void settle_give_up(struct dataplane *dp, struct settle_entry *entry)
{
    entry->seen = 0;
    entry->tries = 0;
    if (!txn_invalidate(dp, slice_of(entry->key, entry->key_bytes), entry->is_base64,
                        entry->key_hash)) {
        if (entry->writes == 0) {
            look_again(dp, entry); /* otherwise the last of them puts it back */
        }
    } else if (entry->writes == 0) {
        settle_forget(dp, entry); /* the delete waits, and will bring its own */
    }
}

void settle_put_back(struct dataplane *dp, struct settle_entry *entry, enum settle_when when)
{
    struct settle *settle = dp->settle;
    INVARIANT(entry->check == NULL && !list_is_linked(&entry->due));
    if (entry->writes > 0) {
        return; /* the last of them puts it back */
    }
    switch (when) {
    case SETTLE_NOW:
        entry->due_us = dp->now_us;
        list_append(settle->fresh.next, &entry->due); /* before the first */
        return;
    case SETTLE_FRESH:
        entry->due_us = dp->now_us + dp->options.settle_delay_us;
        list_append(&settle->fresh, &entry->due);
        return;
    case SETTLE_AGAIN:
        look_again(dp, entry);
        return;
    case SETTLE_PARKED:
        if (settle->parked_count == SETTLE_PARKED_MAX) {
            settle_give_up(dp, entry);
            return;
        }
        entry->is_parked = true;
        settle->parked_count++;
        dp->is_parked_due = dp->is_parked_due || settle->parked_count == 1;
        list_append(&settle->parked, &entry->due);
        return;
    }
    UNREACHABLE();
}

/* --- Whose turn it is --- */

bool settle_is_idle(const struct dataplane *dp)
{
    const struct settle *settle = dp->settle;
    return list_is_empty(&settle->fresh) && list_is_empty(&settle->again) &&
           list_is_empty(&settle->cleaning);
}

uint32_t settle_parked(const struct dataplane *dp)
{
    return dp->settle->parked_count;
}

static bool may_compare(const struct dataplane *dp)
{
    const struct topology *t = dp->topology;
    if (t == NULL || dp->next != NULL || t->is_holding || dp->is_lapsed || t->complete == 0) {
        return false;
    }
    for (node_set left = t->complete | t->chained; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        /* What was given up may still be executed: what is seen before its end proves nothing. */
        if (!link_is_usable(dp, node) || !link_is_proven(dp, node)) {
            return false;
        }
    }
    return true;
}

/* Returns false: no more can be begun now. */
static bool begin_first(struct dataplane *dp, struct list *list)
{
    struct settle *settle = dp->settle;
    if (list_is_empty(list) || !link_has_room(dp, 4 * NODES_MAX)) {
        return false;
    }
    struct settle_entry *entry = LIST_OWNER(list->next, struct settle_entry, due);
    if (entry->due_us > dp->now_us) {
        return false;
    }
    if (entry->is_marked) {
        settle_forget(dp,
                      entry); /* a mark lives on the leader alone, and a look may take its win */
        return true;
    }
    struct settle_check *check = slab_take(&settle->checks);
    if (check == NULL) {
        return false;
    }
    unlist(dp, entry);
    check->entry = entry;
    entry->check = check;
    if (!settle_check_begin(dp, check)) {
        settle_check_end(dp, check);
        settle_put_back(dp, entry, SETTLE_AGAIN);
        return false;
    }
    return true;
}

void settle_check_end(struct dataplane *dp, struct settle_check *check)
{
    dp->warms -= check->is_warm;
    dp->is_large_warm = dp->is_large_warm && !check->is_large;
    check->entry->check = NULL;
    slab_drop(&dp->settle->checks, check);
}

void settle_await_clean(struct dataplane *dp, struct settle_check *check)
{
    list_append(&dp->settle->cleaning, &check->txn->held);
}

static void clean(struct dataplane *dp)
{
    struct list *next;
    struct list *cleaning = &dp->settle->cleaning;
    for (struct list *at = cleaning->next; at != cleaning; at = next) {
        next = at->next;
        settle_check_clean(dp, LIST_OWNER(at, struct txn, held)->check);
    }
}

/* Neither a key that waits already nor the last free places are for what was only read. */
void settle_warm(struct dataplane *dp, const struct settle_read *read)
{
    struct settle *settle = dp->settle;
    if (find(settle, read->key_hash, read->key, read->is_base64) != NULL ||
        settle->entries.free_count < SETTLE_ENTRIES_MAX / 2 ||
        settle->checks.free_count < SETTLE_CHECKS_MAX / 2) {
        return;
    }
    struct settle_check *check = slab_take(&settle->checks);
    check->entry = add(dp, read->key_hash, read->key, read->is_base64);
    check->entry->check = check;
    check->target = read->target;
    check->is_warm = true;
    check->is_large = read->is_large;
    dp->warms++;
    dp->is_large_warm = dp->is_large_warm || read->is_large;
    settle_check_warm(dp, check);
}

void settle_tick(struct dataplane *dp)
{
    clean(dp);
    if (!may_compare(dp)) {
        return;
    }
    uint32_t left = SETTLE_CHECKS_A_TICK;
    while (left > 0 && begin_first(dp, &dp->settle->fresh)) {
        left--;
    }
    while (left > 0 && begin_first(dp, &dp->settle->again)) {
        left--;
    }
}

/* What our writes left on nodes that have gone means nothing when they come back: another run may
 * give the same CAS to something else. */
static void forget_nodes(struct settle *settle, node_set gone)
{
    for (uint32_t slot = 0; gone != 0 && slot < SETTLE_SLOTS; slot++) {
        for (struct settle_entry *at = settle->slots[slot]; at != NULL; at = at->next) {
            for (node_set left = gone; left != 0; left &= left - 1) {
                at->own_cas[node_set_first(left)] = SETTLE_CAS_UNKNOWN;
            }
        }
    }
}

void settle_on_adopt(struct dataplane *dp)
{
    struct settle *settle = dp->settle;
    node_set nodes = dp->topology->complete | dp->topology->chained;
    forget_nodes(settle, settle->nodes & ~nodes);
    settle->nodes = nodes;
    while (dp->topology->chained == 0 && !list_is_empty(&settle->parked)) {
        struct settle_entry *entry = LIST_OWNER(settle->parked.next, struct settle_entry, due);
        unlist(dp, entry);
        entry->seen = 0;
        settle_put_back(dp, entry, SETTLE_NOW);
    }
}
