/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading dumps. A donor's lines name keys; what a key holds, and whether it is still there, is
 * asked of the donor when it is copied.
 *
 * A diff reads the target's dump first, and passes over the keys of which the donor's then shows
 * the same token and expiry. Such a copy was right when the donor's line was written: whatever
 * reaches the donor later reaches the target later still. What the target has and the donor's dump
 * had not goes on the list too, to be asked for.
 *
 * Lines are taken as fast as they come and never held back: a node whose dump is read slowly
 * suffers (replication.md section 2). What limits the fill acts on the list.
 */
#include "fill_private.h"

#include "dump_line.h"
#include "token.h"

#include "everwarm/core/rule.h"

static void ask(struct fill *fill, uint32_t node)
{
    fill_wire_connect(fill, FILL_WIRE_DUMP, node);
    (void)fill_wire_send(fill, FILL_WIRE_DUMP, SLICE(DUMP_LINE_COMMAND));
}

static void begin(struct fill *fill)
{
    fill->dump.retry_us = 0;
    memset(fill->dump.led_now, 0, sizeof fill->dump.led_now);
    fill_list_clear(&fill->list);
    fill->dump.is_of_target = fill->plan.is_diff;
    if (fill->plan.is_diff) {
        dump_table_clear(&fill->table);
        fill->table.of = fill->list.of;
        ask(fill, fill->plan.target);
    } else {
        ask(fill, fill->donor);
    }
}

void fill_dump_start(struct fill *fill)
{
    fill_list_restart(&fill->list, fill->is_forgetting);
    fill->dump.tries = 0;
    fill->dump.is_counting = true;
    begin(fill);
}

void fill_dump_next(struct fill *fill)
{
    fill->dump.tries = 0;
    fill->dump.is_counting = false;
    begin(fill);
}

void fill_dump_retry(struct fill *fill)
{
    fill_wire_close(fill, FILL_WIRE_DUMP);
    fill->dump.tries++;
    if (fill->dump.tries == DUMP_LINE_TRIES_MAX) {
        fill->wants_flush = fill->dump.is_of_target;
        fill_fail(fill, FILL_WIRE_DUMP, SLICE("no complete dump after many tries"));
        return;
    }
    fill->dump.retry_us = fill->now_us + DUMP_LINE_PAUSE_US;
}

void fill_dump_tick(struct fill *fill)
{
    if (fill->dump.retry_us != 0 && fill->now_us >= fill->dump.retry_us) {
        begin(fill);
    }
}

static void list(struct fill *fill, struct slice key, uint64_t hash, uint64_t size_bytes,
                 uint64_t cas)
{
    if (!fill_list_add(&fill->list, key, hash, size_bytes, cas)) {
        fill_fail(fill, FILL_WIRE_DUMP, SLICE("too many keys for the list"));
    }
}

static void take_target_item(struct fill *fill, const struct mc_dump_item *dumped)
{
    uint32_t target = fill->plan.target;
    struct slice key = slice_of(dumped->key, dumped->key_bytes);
    struct item item = dump_table_item(dumped, fill->plan.clock_s[target]);
    fill->dump.has_target_items = true;
    if (topology_leader(fill->plan.topology, topology_hash(key)) == fill->donor &&
        !dump_table_add(&fill->table, key, target, &item, dumped->size_bytes)) {
        fill_fail(fill, FILL_WIRE_DUMP, SLICE("too many keys for the table"));
    }
}

static bool is_on(const struct dump_entry *entry, uint32_t node)
{
    return (entry->seen & node_set_of(node)) != 0;
}

/* Both dumps show the same. A CAS that memcached chose by itself says nothing: two nodes may choose
 * the same. */
static bool is_equal(const struct fill *fill, const struct dump_entry *entry)
{
    bool is_same = entry->differs == 0 || !RULE(EXISTS_IS_NOT_DONE);
    return is_on(entry, fill->donor) && is_same && token_is(entry->first.cas);
}

static void take_item(struct fill *fill, const struct mc_dump_item *dumped)
{
    struct slice key = slice_of(dumped->key, dumped->key_bytes);
    uint64_t hash = topology_hash(key);
    uint32_t leader = topology_leader(fill->plan.topology, hash);
    fill->dump.led_now[leader]++;
    if (leader != fill->donor) {
        return;
    }
    if (fill->plan.is_diff) {
        struct item item = dump_table_item(dumped, fill->plan.clock_s[fill->donor]);
        const struct dump_entry *entry = dump_table_note(&fill->table, key, fill->donor, &item);
        if (entry != NULL && is_equal(fill, entry)) {
            return;
        }
    }
    list(fill, key, hash, dumped->size_bytes, dumped->cas);
}

/* What only the target has goes on the list; then, when its class is what it will be, what both
 * have alike counts as done. */
static void compare(struct fill *fill)
{
    struct dump_table *table = &fill->table;
    const struct dump_entry *entry;
    while (fill->state == FILL_DUMPING && (entry = dump_table_next(table)) != NULL) {
        if (!is_on(entry, fill->donor) && RULE(DROP_EXTRA) && !fill->is_forgetting) {
            list(fill, slice_of(entry->key, entry->key_bytes), entry->hash, entry->size_bytes, 0);
        }
    }
    table->next = 0;
    while ((entry = dump_table_next(table)) != NULL) {
        if (!key_class_has(&fill->list.of, entry->hash)) {
            continue;
        }
        if (is_equal(fill, entry)) {
            fill->progress.items_done++;
            fill->progress.items_equal++;
        } else if (!is_on(entry, fill->donor)) {
            fill->dump.extra++;
        }
    }
}

const struct dump_entry *fill_dump_seen(const struct fill *fill, struct slice key)
{
    return fill->plan.is_diff ? dump_table_find(&fill->table, key) : NULL;
}

/* In a mirror every donor holds all keys, so the first dump tells how many each of them leads. */
static void count(struct fill *fill)
{
    if (fill->dump.is_first) {
        memcpy(fill->dump.led, fill->dump.led_now, sizeof fill->dump.led);
        fill->dump.is_first = false;
    } else if (fill->dump.is_counting) {
        fill->dump.led[fill->donor] = fill->dump.led_now[fill->donor];
    }
}

static void end(struct fill *fill)
{
    fill_wire_close(fill, FILL_WIRE_DUMP);
    if (fill->dump.is_of_target) {
        fill->dump.is_of_target = false;
        fill->list.of = fill->table.of;
        ask(fill, fill->donor);
        return;
    }
    count(fill);
    if (fill->plan.is_diff) {
        compare(fill);
    }
    if (fill->state == FILL_DUMPING) {
        fill_dump_is_done(fill);
    }
}

static void flush_instead(struct fill *fill, struct slice why)
{
    fill->wants_flush = true;
    fill_fail(fill, FILL_WIRE_DUMP, why);
}

/* The target can only be warmed by what is read, from empty. */
static void refused(struct fill *fill)
{
    fill->is_refused = fill_is_from_empty(fill);
    fill->wants_flush = !fill->is_refused;
    fill_fail(fill, FILL_WIRE_DUMP, SLICE(DUMP_LINE_REFUSAL));
}

void fill_dump_line(struct fill *fill, struct slice line)
{
    struct mc_dump_item item;
    switch (dump_line_read(line, &item)) {
    case DUMP_LINE_ITEM:
        if (fill->dump.is_of_target) {
            take_target_item(fill, &item);
        } else {
            take_item(fill, &item);
        }
        break;
    case DUMP_LINE_HIDDEN:
        if (fill->dump.is_of_target) {
            flush_instead(fill, SLICE("the target has keys that no text command can carry"));
        }
        break;
    case DUMP_LINE_PASS:
        break;
    case DUMP_LINE_END:
        end(fill);
        break;
    case DUMP_LINE_REFUSED:
        if (fill->dump.is_of_target) {
            flush_instead(fill, SLICE("the target gives none"));
        } else {
            refused(fill);
        }
        break;
    case DUMP_LINE_AGAIN:
        fill_dump_retry(fill);
        break;
    }
}

uint64_t fill_dump_total(const struct fill *fill)
{
    uint64_t total = 0;
    for (uint32_t node = 0; node < NODES_MAX; node++) {
        total += fill->dump.led[node];
    }
    return total + fill->dump.extra;
}
