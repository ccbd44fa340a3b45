/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reading a donor's dump. A dump is believed as a whole or not at all: nothing is copied before its
 * END has come, and one that is refused, broken off or not understood is asked for again on a new
 * connection. Its lines only name keys; what a key holds, and whether it is still there, is asked
 * of the donor when it is copied.
 *
 * Lines are taken as fast as they come and never held back: a node whose dump is read slowly
 * suffers (replication.md section 2). What limits the fill acts on the list.
 */
#include "fill_private.h"

#include "everwarm/mc/dump.h"

static const struct slice reserved_prefix = SLICE_INIT("_everwarm:");

static void begin(struct fill *fill)
{
    fill->dump.retry_us = 0;
    memset(fill->dump.led_now, 0, sizeof fill->dump.led_now);
    fill_list_clear(&fill->list);
    fill_wire_connect(fill, FILL_WIRE_DUMP, fill->donor);
    (void)fill_wire_send(fill, FILL_WIRE_DUMP, SLICE("lru_crawler metadump hash\r\n"));
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
    if (fill->dump.tries == FILL_DUMP_TRIES_MAX) {
        fill_fail(fill, FILL_WIRE_DUMP, SLICE("no complete dump after many tries"));
        return;
    }
    fill->dump.retry_us = fill->now_us + FILL_DUMP_PAUSE_US;
}

void fill_dump_tick(struct fill *fill)
{
    if (fill->dump.retry_us != 0 && fill->now_us >= fill->dump.retry_us) {
        begin(fill);
    }
}

/* Keys that can't be written in a text command were stored with base64 or binary commands. */
static bool is_text_key(struct slice key)
{
    return memchr(key.ptr, ' ', key.len) == NULL && memchr(key.ptr, '\n', key.len) == NULL &&
           memchr(key.ptr, '\0', key.len) == NULL;
}

static void take_item(struct fill *fill, struct slice line)
{
    struct mc_dump_item item;
    if (!mc_dump_parse(line, &item) || item.key_bytes == 0) {
        fill_dump_retry(fill);
        return;
    }
    struct slice key = slice_of(item.key, item.key_bytes);
    if (slice_has_prefix(key, reserved_prefix) || !is_text_key(key)) {
        return;
    }
    uint64_t hash = topology_hash(key);
    uint32_t leader = topology_leader(fill->plan.topology, hash);
    fill->dump.led_now[leader]++;
    if (leader != fill->donor) {
        return;
    }
    if (!fill_list_add(&fill->list, key, hash, item.size_bytes)) {
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
    if (slice_has_prefix(line, SLICE("key="))) {
        take_item(fill, line);
    } else if (slice_is_equal(line, SLICE("END"))) {
        count(fill);
        fill_wire_close(fill, FILL_WIRE_DUMP);
        fill_dump_is_done(fill);
    } else if (!slice_is_equal(line, SLICE("OK"))) { /* BUSY, ERROR locked, nonsense */
        fill_dump_retry(fill);
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
