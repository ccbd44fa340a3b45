/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a donor's dump. Its lines only name keys; what a key holds, and whether it is still
 * there, is asked of the donor when it is copied.
 *
 * Lines are taken as fast as they come and never held back: a node whose dump is read slowly
 * suffers (replication.md section 2). What limits the fill acts on the list.
 */
#include "fill_private.h"

#include "dump_line.h"

static void begin(struct fill *fill)
{
    fill->dump.retry_us = 0;
    memset(fill->dump.led_now, 0, sizeof fill->dump.led_now);
    fill_list_clear(&fill->list);
    fill_wire_connect(fill, FILL_WIRE_DUMP, fill->donor);
    (void)fill_wire_send(fill, FILL_WIRE_DUMP, SLICE(DUMP_LINE_COMMAND));
}

void fill_dump_start(struct fill *fill)
{
    fill_list_restart(&fill->list);
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

static void take_item(struct fill *fill, const struct mc_dump_item *item)
{
    struct slice key = slice_of(item->key, item->key_bytes);
    uint64_t hash = topology_hash(key);
    uint32_t leader = topology_leader(fill->plan.topology, hash);
    fill->dump.led_now[leader]++;
    if (leader != fill->donor) {
        return;
    }
    if (!fill_list_add(&fill->list, key, hash, item->size_bytes)) {
        fill_fail(fill, FILL_WIRE_DUMP, SLICE("too many keys for the list"));
    }
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

void fill_dump_line(struct fill *fill, struct slice line)
{
    struct mc_dump_item item;
    switch (dump_line_read(line, &item)) {
    case DUMP_LINE_ITEM:
        take_item(fill, &item);
        break;
    case DUMP_LINE_PASS:
        break;
    case DUMP_LINE_END:
        count(fill);
        fill_wire_close(fill, FILL_WIRE_DUMP);
        fill_dump_is_done(fill);
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
    return total;
}
