/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The fill: what happens in which order. How one key is copied, and why that
 * is safe, is told in fill_copy.c.
 *
 *   CONNECTING   target: stats           who it is; where an earlier connection to it was reset, no
 *                                        sooner than what that one carried is surely done
 *   FLUSHING     target: flush_all       nothing old is left; then its clock must move on by two
 *                                        seconds, for a flush also kills what is stored right after
 *                                        (and where there are tokens, by one before); not in a diff
 *   DUMPING      DUMP: metadump          the keys of one class that this donor leads,  <--+
 *                                        in a diff first of the target, then the donor    |
 *   COPYING      donor, target           each of them that may differ                     | more
 *                                        further classes, further donors  ----------------+
 *                                        (after a split all of it twice: fill_split.c)    |
 *   CHECKING     target: stats           still the same run, flushed by nobody since
 *   DONE
 *
 * I1. What the target holds was stored by a chained write or by us, or its dump showed it, or it is
 *     to be shown by the dump of a later pass. Without tokens nothing is copied before the target
 *     was flushed by this very fill, so there only the first two are.
 * I2. A doubtful reply, a lost connection or silence on TARGET or DONOR ends the fill: all wires
 *     are closed, nothing is guessed, and control begins another. Only a dump is tried again.
 *     TARGET is read to its end first when writes are under way on it: they may still happen.
 * I3. Replies are matched to commands by their order alone.
 * I4. Bytes of a value under way lie at the end of the target's ring and are not sent before the
 *     last one has come.
 *
 * Memory: fixed by the options. The target's ring is as large as one largest value and a line for
 * each slot, rounded up to a power of two; values in flight share it by reservation.
 *
 * One thread. It knows nothing of views, leases or health: control starts and stops it.
 */
#include "fill_private.h"

#include "everwarm/base/invariant.h"
#include "everwarm/core/rule.h"
#include "everwarm/mc/encode.h"

enum {
    FILL_ALIGN = 16,
    FILL_DUMP_RING_BYTES = 64, /* one command */
};

/* --- Memory --- */

static size_t aligned(size_t bytes)
{
    return (bytes + FILL_ALIGN - 1) & ~(size_t)(FILL_ALIGN - 1);
}

/* The power of two that is at least LEAST. Rings have room for any window, which may change. */
static uint32_t ring_bytes(uint64_t least)
{
    uint32_t bytes = 1;
    while (bytes < least) {
        bytes *= 2;
    }
    return bytes;
}

static uint32_t target_ring_bytes(const struct fill_options *options)
{
    uint64_t least = options->item_bytes_max + (uint64_t)(FILL_WINDOW_MAX + 1) * FILL_LINE_BYTES;
    return ring_bytes(least > FILL_RING_BYTES_MIN ? least : FILL_RING_BYTES_MIN);
}

static uint32_t donor_ring_bytes(void)
{
    return ring_bytes((uint64_t)FILL_WINDOW_MAX * FILL_LINE_BYTES);
}

static void check_options(const struct fill_options *options)
{
    REQUIRE(options->window >= 1 && options->window <= FILL_WINDOW_MAX);
    REQUIRE(options->list_bytes >= FILL_LIST_BYTES_MIN);
    REQUIRE(options->table_bytes >= DUMP_TABLE_BYTES_MIN);
    REQUIRE(options->item_bytes_max <= STREAM_VALUE_BYTES_MAX);
    REQUIRE(options->timeout_us > 0);
}

size_t fill_bytes(const struct fill_options *options)
{
    check_options(options);
    return aligned(sizeof(struct fill)) + aligned(fill_copy_bytes(options)) +
           target_ring_bytes(options) + donor_ring_bytes() + FILL_DUMP_RING_BYTES +
           aligned(options->list_bytes) + aligned(options->table_bytes);
}

struct fill *fill_init(void *memory, const struct fill_options *options)
{
    check_options(options);
    REQUIRE((uintptr_t)memory % FILL_ALIGN == 0);
    struct fill *fill = memory;
    *fill = (struct fill){.options = *options, .state = FILL_IDLE};
    char *rest = (char *)memory + aligned(sizeof *fill);
    fill_copy_init(fill, rest);
    rest += aligned(fill_copy_bytes(options));
    const uint32_t rings[FILL_WIRE_COUNT] = {
        [FILL_WIRE_TARGET] = target_ring_bytes(options),
        [FILL_WIRE_DONOR] = donor_ring_bytes(),
        [FILL_WIRE_DUMP] = FILL_DUMP_RING_BYTES,
    };
    for (uint32_t wire = 0; wire < FILL_WIRE_COUNT; wire++) {
        stream_init(&fill->streams[wire], rest, rings[wire]);
        rest += rings[wire];
    }
    fill_list_init(&fill->list, rest, options->list_bytes);
    rest += aligned(options->list_bytes);
    dump_table_init(&fill->table, rest, options->table_bytes & ~(uint32_t)(FILL_ALIGN - 1));
    return fill;
}

/* --- States --- */

static bool is_running(enum fill_state state)
{
    return state != FILL_IDLE && state != FILL_DONE && state != FILL_FAILED;
}

void fill_move(struct fill *fill, enum fill_state state)
{
#define TO(name) (1u << FILL_##name)
    static const uint32_t moves[] = {
        [FILL_IDLE] = TO(CONNECTING),
        [FILL_CONNECTING] = TO(FLUSHING) | TO(DUMPING) | TO(IDLE) | TO(FAILED),
        [FILL_FLUSHING] = TO(DUMPING) | TO(CHECKING) | TO(IDLE) | TO(FAILED),
        [FILL_DUMPING] = TO(COPYING) | TO(IDLE) | TO(FAILED),
        [FILL_COPYING] = TO(DUMPING) | TO(CHECKING) | TO(IDLE) | TO(FAILED),
        [FILL_CHECKING] = TO(DONE) | TO(IDLE) | TO(FAILED),
        [FILL_DONE] = TO(CONNECTING) | TO(IDLE),
        [FILL_FAILED] = TO(CONNECTING) | TO(IDLE),
    };
#undef TO
    INVARIANT((moves[fill->state] >> state & 1u) != 0);
    fill->state = state;
}

static void close_all(struct fill *fill)
{
    fill_wire_give_up(fill);
    fill_wire_close(fill, FILL_WIRE_DONOR);
    fill_wire_close(fill, FILL_WIRE_DUMP);
}

void fill_fail(struct fill *fill, enum fill_wire wire, struct slice text)
{
    static const struct slice names[FILL_WIRE_COUNT] = {
        [FILL_WIRE_TARGET] = SLICE_INIT("target: "),
        [FILL_WIRE_DONOR] = SLICE_INIT("donor: "),
        [FILL_WIRE_DUMP] = SLICE_INIT("dump: "),
    };
    if (fill->state == FILL_FAILED) {
        return; /* the first reason is the reason */
    }
    struct mc_writer w = mc_writer_of(fill->failure, sizeof fill->failure - 1);
    mc_write(&w, names[wire]);
    mc_write(&w, text);
    INVARIANT(!w.is_full);
    fill->failure[w.len] = '\0';
    fill_move(fill, FILL_FAILED);
    close_all(fill);
}

static void ask_stats(struct fill *fill)
{
    fill->stats = (struct fill_stats){.is_owed = true};
    (void)fill_wire_send(fill, FILL_WIRE_TARGET, SLICE("stats\r\n"));
}

static void next_donor(struct fill *fill)
{
    if (fill->donors_left == 0 && fill->is_forgetting) {
        /* What is left of what differs was written since: it is copied. */
        fill->is_forgetting = false;
        fill->donors_left = fill->plan.topology->leaders;
        fill->dump =
            (struct fill_dump){.is_first = true, .has_target_items = fill->dump.has_target_items};
        fill->progress.items_done = 0;
        fill->meter_items = 0;
    }
    if (fill->donors_left == 0) {
        fill_move(fill, FILL_CHECKING);
        ask_stats(fill);
        return;
    }
    fill->donor = node_set_first(fill->donors_left);
    fill->donors_left &= ~node_set_of(fill->donor);
    fill_move(fill, FILL_DUMPING);
    fill_dump_start(fill);
}

void fill_dump_is_done(struct fill *fill)
{
    fill_move(fill, FILL_COPYING);
    /* A write of a large value may be under way for longer by what its bytes take. */
    uint64_t largest_us = fill->options.item_bytes_max * 1000000 / LINK_BYTES_A_SECOND_MIN;
    fill->forget_us = fill->now_us + fill->plan.proof_us + largest_us;
    fill_wire_connect(fill, FILL_WIRE_DONOR, fill->donor);
}

static void pump(struct fill *fill)
{
    if (fill->state != FILL_COPYING || fill_copy_pump(fill) || fill->state != FILL_COPYING) {
        return;
    }
    fill_wire_close(fill, FILL_WIRE_DONOR);
    if (fill_list_next_class(&fill->list)) {
        fill_move(fill, FILL_DUMPING);
        fill_dump_next(fill);
    } else {
        next_donor(fill);
    }
}

/* --- What the target says about itself --- */

static void take_stat(struct fill *fill, const struct mc_reply *reply)
{
    struct fill_stats *stats = &fill->stats;
    const struct {
        struct slice name;
        uint64_t *value;
    } wanted[] = {
        {SLICE("pid"), &stats->identity.pid},
        {SLICE("time"), &stats->time_s},
        {SLICE("uptime"), &stats->uptime_s},
        {SLICE("cmd_flush"), &stats->identity.flushes},
    };
    for (uint32_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (slice_is_equal(reply->key, wanted[i].name) &&
            mc_read_u64(reply->text, wanted[i].value)) {
            stats->seen |= 1u << i;
        }
    }
}

/*
 * memcached finds what was stored in the second of a flush by its CAS, and a token says nothing of
 * that. So where there are tokens the second must end first in which the target may have had its
 * last write.
 */
static void flush_when_due(struct fill *fill)
{
    struct fill_stats *stats = &fill->stats;
    if (fill->plan.topology->has_tokens && stats->time_s == fill->flushed_s) {
        stats->poll_us = fill->now_us + FILL_POLL_US;
        return;
    }
    fill->is_flush_owed = true;
    fill->is_flushed = true;
    (void)fill_wire_send(fill, FILL_WIRE_TARGET,
                         RULE(FLUSH_TARGET) ? SLICE("flush_all\r\n")
                                            : SLICE("flush_all 2000000\r\n"));
}

static void take_settling(struct fill *fill)
{
    struct fill_stats *stats = &fill->stats;
    if (!fill->is_flushed) {
        flush_when_due(fill);
        return;
    }
    if (!identity_is_known(&fill->identity)) {
        fill->identity = stats->identity;
        fill->flushed_s = stats->time_s;
    }
    if (stats->time_s < fill->flushed_s + FILL_FLUSH_WAIT_S) {
        stats->poll_us = fill->now_us + FILL_POLL_US;
        return;
    }
    next_donor(fill);
}

/* May what an earlier fill sent to this very process still be done? */
static bool is_unproven(const struct fill *fill)
{
    return (fill_unproven(fill, fill->now_us) & node_set_of(fill->plan.target)) != 0 &&
           identity_is_same_process(&fill->stats.identity, &fill->unproven);
}

/* A whole answer to stats is in. */
static void take_stats(struct fill *fill)
{
    struct fill_stats *stats = &fill->stats;
    stats->is_owed = false;
    if (stats->seen != 0xf || stats->identity.pid == 0 || stats->time_s < stats->uptime_s) {
        fill_wire_fail(fill, FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
        return;
    }
    stats->identity.started_s = stats->time_s - stats->uptime_s;
    fill->target_time_s = stats->time_s;
    fill->target_time_us = fill->now_us;
    bool is_flushed = identity_is_known(&fill->identity);
    if (is_flushed ? !identity_is_equal(&stats->identity, &fill->identity)
                   : identity_is_known(&fill->before) &&
                         !identity_is_same_process(&stats->identity, &fill->before)) {
        fill_fail(fill, FILL_WIRE_TARGET, SLICE("flushed or restarted during the fill"));
    } else if (fill->state == FILL_CONNECTING && is_unproven(fill)) {
        stats->poll_us = fill->now_us + FILL_POLL_US;
    } else if (fill->state == FILL_CONNECTING && fill->plan.is_diff) {
        fill->identity = stats->identity;
        fill->is_forgetting = identity_is_known(&fill->plan.split_of) && RULE(FORGET) &&
                              identity_is_equal(&fill->identity, &fill->plan.split_of);
        next_donor(fill);
    } else if (fill->state == FILL_CONNECTING) {
        fill->before = stats->identity;
        fill->flushed_s = stats->time_s;
        fill_move(fill, FILL_FLUSHING);
        flush_when_due(fill);
    } else if (fill->state == FILL_FLUSHING) {
        take_settling(fill);
    } else {
        INVARIANT(fill->state == FILL_CHECKING);
        fill_move(fill, FILL_DONE);
        close_all(fill);
    }
}

void fill_target_reply(struct fill *fill, const struct mc_reply *reply)
{
    if (fill->is_flush_owed && reply->kind == MC_REPLY_OK) {
        fill->is_flush_owed = false;
        ask_stats(fill);
    } else if (fill->stats.is_owed && reply->kind == MC_REPLY_STAT) {
        take_stat(fill, reply);
    } else if (fill->stats.is_owed && reply->kind == MC_REPLY_END) {
        take_stats(fill);
    } else {
        fill_wire_fail(fill, FILL_WIRE_TARGET, WIRE_END_PROTOCOL);
    }
}

/* --- The interface --- */

void fill_start(struct fill *fill, const struct fill_plan *plan, uint64_t now_us)
{
    REQUIRE(!is_running(fill->state));
    REQUIRE(plan->target < plan->topology->node_count);
    REQUIRE((plan->topology->leaders & node_set_of(plan->target)) == 0);
    REQUIRE(!plan->is_diff || (plan->topology->has_tokens && plan->topology->leaders != 0));
    REQUIRE(plan->is_diff || !identity_is_known(&plan->split_of));
    REQUIRE(fill_given_up(fill) == 0);
    fill->plan = *plan;
    fill->now_us = now_us;
    fill->failure[0] = '\0';
    fill->stats = (struct fill_stats){0};
    fill->is_flush_owed = false;
    fill->is_flushed = false;
    fill->wants_flush = false;
    fill->is_refused = false;
    fill->before = (struct identity){0};
    fill->identity = (struct identity){0};
    fill->is_forgetting = false;
    fill->donors_left = plan->topology->leaders;
    fill->dump = (struct fill_dump){.is_first = true};
    fill->progress = (struct fill_progress){.started_us = now_us};
    fill->meter_us = now_us;
    fill->meter_items = 0;
    fill_copy_reset(fill);
    fill_move(fill, FILL_CONNECTING);
    fill_wire_connect(fill, FILL_WIRE_TARGET, plan->target);
    ask_stats(fill);
    fill_wire_watch(fill);
}

void fill_stop(struct fill *fill, uint64_t now_us)
{
    fill->now_us = now_us;
    if (fill->state != FILL_IDLE) {
        fill_move(fill, FILL_IDLE);
    }
    close_all(fill);
}

void fill_step(struct fill *fill, const struct wire_event *event, uint64_t now_us)
{
    REQUIRE(event->wire < FILL_WIRE_COUNT);
    fill->now_us = now_us;
    fill_wire_take(fill, event);
    if (!is_running(fill->state)) {
        return;
    }
    pump(fill);
    fill_wire_watch(fill);
}

/* How fast it goes, lately. */
static void meter(struct fill *fill)
{
    uint64_t passed_us = fill->now_us - fill->meter_us;
    if (passed_us < FILL_METER_US) {
        return;
    }
    uint64_t items = fill->progress.items_done - fill->meter_items;
    uint64_t rate = items * 1000000 / passed_us;
    uint64_t *lately = &fill->progress.rate_items;
    *lately = *lately == 0 ? rate : (*lately + rate) / 2;
    fill->meter_us = fill->now_us;
    fill->meter_items = fill->progress.items_done;
}

void fill_tick(struct fill *fill, uint64_t now_us)
{
    fill->now_us = now_us;
    if (!is_running(fill->state)) {
        return;
    }
    fill_wire_expire(fill);
    if (fill->stats.poll_us != 0 && now_us >= fill->stats.poll_us) {
        ask_stats(fill);
    } else if (fill->state == FILL_DUMPING) {
        fill_dump_tick(fill);
    }
    meter(fill);
    pump(fill);
    fill_wire_watch(fill);
}

bool fill_next_action(struct fill *fill, struct wire_action *out)
{
    return fill_wire_next_action(fill, out);
}

size_t fill_gather(const struct fill *fill, uint32_t wire, struct slice *out, size_t capacity)
{
    REQUIRE(wire < FILL_WIRE_COUNT);
    return fill_wire_gather(fill, wire, out, capacity);
}

enum fill_state fill_state(const struct fill *fill)
{
    return fill->state;
}

const char *fill_state_word(enum fill_state state)
{
    switch (state) {
    case FILL_IDLE:
        return "idle";
    case FILL_CONNECTING:
        return "connecting";
    case FILL_FLUSHING:
        return "flushing";
    case FILL_DUMPING:
        return "dumping";
    case FILL_COPYING:
        return "copying";
    case FILL_CHECKING:
        return "checking";
    case FILL_DONE:
        return "done";
    case FILL_FAILED:
        return "failed";
    }
    UNREACHABLE();
}

const char *fill_failure(const struct fill *fill)
{
    return fill->failure;
}

bool fill_wants_flush(const struct fill *fill)
{
    return fill->wants_flush;
}

bool fill_is_refused(const struct fill *fill)
{
    return fill->state == FILL_FAILED && fill->is_refused;
}

bool fill_is_from_empty(const struct fill *fill)
{
    bool is_begun = fill->state == FILL_DUMPING || fill->state == FILL_COPYING ||
                    fill->state == FILL_CHECKING || fill->state == FILL_DONE;
    return is_begun && !fill->dump.has_target_items &&
           !(fill->dump.is_first && fill->dump.is_of_target);
}

void fill_target_lost(struct fill *fill, enum wire_end end)
{
    const struct identity *known = &fill->identity;
    if (end != WIRE_END_EOF) {
        fill->unproven = identity_is_known(known) ? *known : fill->before;
        fill->unproven_node = fill->streams[FILL_WIRE_TARGET].node;
        fill->unproven_until_us = fill->now_us + fill->plan.proof_us;
    }
}

node_set fill_unproven(const struct fill *fill, uint64_t now_us)
{
    return now_us < fill->unproven_until_us ? node_set_of(fill->unproven_node) : 0;
}

bool fill_is_diff(const struct fill *fill)
{
    return fill->plan.is_diff && identity_is_known(&fill->identity);
}

node_set fill_given_up(const struct fill *fill)
{
    const struct stream *s = &fill->streams[FILL_WIRE_TARGET];
    return s->link == STREAM_ENDING ? node_set_of(s->node) : 0;
}

struct identity fill_identity(const struct fill *fill)
{
    return fill->identity;
}

struct fill_progress fill_progress(const struct fill *fill, uint64_t now_us)
{
    struct fill_progress progress = fill->progress;
    uint64_t total = fill_dump_total(fill);
    progress.items_total = total > progress.items_done ? total : progress.items_done;
    if (progress.rate_items == 0 && now_us > progress.started_us) {
        progress.rate_items = progress.items_done * 1000000 / (now_us - progress.started_us);
    }
    uint64_t left = progress.items_total - progress.items_done;
    progress.eta_us = progress.rate_items > 0 ? left * 1000000 / progress.rate_items : UINT64_MAX;
    if (fill->state == FILL_DONE) {
        progress.eta_us = 0;
    }
    return progress;
}
