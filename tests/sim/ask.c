/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What clients ask: a mix at random, and words aimed at a key while something delicate happens to
 * it (aim.c).
 *
 * A value is "KEY.CLIENT.SEQUENCE", so it was written once and tells its key; the last key of each
 * group's holds numbers, the one before lets its items expire.
 */
#include "sim/client_private.h"

#include "everwarm/base/invariant.h"

enum {
    CLIENT_FLAGS_PER_CLIENT = 100000,
    CLIENT_LONG_S = 100000, /* an expiry that no run reaches */
};

/* What a proxy shows of a CAS beside the node's own number, where there are no tokens, is above. */
static const uint64_t CLIENT_CAS_MASK = UINT64_MAX >> 16;

static const char *const CLIENT_VERBS[] = {
    [HISTORY_SET] = "set",       [HISTORY_ADD] = "add",         [HISTORY_REPLACE] = "replace",
    [HISTORY_APPEND] = "append", [HISTORY_PREPEND] = "prepend", [HISTORY_CAS] = "cas",
};

bool client_is_number_key(const struct client *c, uint32_t key)
{
    return c->key_count > 1 && key % c->key_count == c->key_count - 1;
}

bool client_is_expiring_key(const struct client *c, uint32_t key)
{
    return c->key_count > 2 && key % c->key_count == c->key_count - 2;
}

static uint32_t client_key(struct world *world, const struct client *c)
{
    return c->key_first + (uint32_t)world_below(world, c->key_count);
}

/* Any key may be read through any proxy. */
static uint32_t client_key_to_read(struct world *world, const struct client *c)
{
    return world_chance(world, 30) ? (uint32_t)world_below(world, world->key_count)
                                   : client_key(world, c);
}

/* Of clients whose writes go through the same worker. */
static uint32_t client_group(const struct world *world, const struct client *c)
{
    return c->proxy * world->options.workers + c->worker;
}

static bool client_is_write(const struct history_op *op)
{
    return op->kind != HISTORY_GET || op->is_touching;
}

/* Nothing that was asked of KEY so far can happen any more. */
static bool client_is_quiet(const struct world *world, uint32_t key)
{
    const struct key *k = &world->keys[key];
    const struct proxy *p = &world->proxies[k->owner / world->options.workers];
    return !world->is_shared && k->writes == 0 && k->quiet_us < world->now_us && p->is_up &&
           (p->troubled_us == 0 || p->troubled_us + WORLD_DOUBT_US < world->now_us);
}

/*
 * Where keys are not shared, a key is written by the clients of one worker of one proxy, and passes
 * to others when it is quiet: its copies are then equal whenever nobody writes it.
 */
bool client_may_write(struct world *world, const struct client *c, uint32_t key)
{
    struct key *k = &world->keys[key];
    if (k->owner != client_group(world, c) && client_is_quiet(world, key)) {
        k->owner = client_group(world, c);
    }
    return k->owner == client_group(world, c) || world->is_shared;
}

/* OP is told, or will never be. */
void client_told(struct world *world, struct history_op *op, enum history_result result,
                 uint64_t until_us)
{
    struct key *k = &world->keys[op->key];
    if (op->result == HISTORY_PENDING && client_is_write(op)) {
        k->writes--;
    }
    if (result == HISTORY_UNKNOWN && client_is_write(op) && until_us > k->open_us) {
        k->open_us = until_us;
    }
    op->result = result;
    op->told_us = until_us;
    if (op->later_s > 0) {
        later_on_told(world, op);
    }
    uint64_t quiet_us = until_us + (result == HISTORY_UNKNOWN ? WORLD_DOUBT_US : 0);
    if (client_is_write(op) && quiet_us > k->quiet_us) {
        k->quiet_us = quiet_us;
    }
    if (client_is_write(op)) {
        copies_on_told(world, op);
    }
}

uint32_t client_record(struct world *world, const struct history_op *op)
{
    struct key *k = &world->keys[op->key];
    struct history_op added = *op;
    if (client_is_write(op)) {
        copies_on_ask(world, &added, client_group(world, &world->clients[op->client]));
        k->writes++;
    }
    k->asked++;
    added.place = op->kind == HISTORY_FORGET ? 0 : world->history.count + 1;
    return history_add(&world->history, &added);
}

static uint32_t client_key_to_write(struct world *world, const struct client *c)
{
    uint32_t key = client_key(world, c);
    if (world_chance(world, 25)) {
        key = (uint32_t)world_below(world, world->key_count);
    }
    for (uint32_t i = 0; i < world->key_count; i++) {
        if (client_may_write(world, c, key)) {
            return key;
        }
        key = (key + 1) % world->key_count;
    }
    return world->key_count; /* none */
}

uint64_t client_epoch(const struct world *world, const struct client *c)
{
    const struct topology *topology = world->proxies[c->proxy].topology[c->worker];
    /* In a young view a miss asks other nodes, whose CAS is foreign to the leader. */
    bool is_young = topology == NULL || topology->is_young || world->profile->falls_back;
    return is_young ? CLIENT_NO_EPOCH : topology->epoch;
}

uint64_t client_cas_epoch(const struct world *world, const struct client *c,
                          const struct history_op *gets)
{
    const struct topology *topology = world->proxies[c->proxy].topology[c->worker];
    bool has_tokens = topology != NULL && topology->has_tokens;
    return gets->is_near_fault && !has_tokens ? CLIENT_NO_EPOCH : gets->epoch;
}

struct history_op client_op(const struct world *world, const struct client *c, uint32_t key,
                            enum history_kind kind)
{
    return (struct history_op){.kind = kind,
                               .client = c->number,
                               .key = key,
                               .value = HISTORY_ABSENT,
                               .seen = HISTORY_ABSENT,
                               .asked_us = world->now_us,
                               .epoch = client_epoch(world, c),
                               .is_young = client_epoch(world, c) == CLIENT_NO_EPOCH,
                               .told_us = UINT64_MAX};
}

struct client_pending *client_push(const struct world *world, struct client *c, uint32_t first_op,
                                   uint32_t count)
{
    struct client_pending *pending = &c->pending[c->pending_count++];
    *pending = (struct client_pending){
        .first_op = first_op, .key_count = count, .since_us = world->now_us};
    return pending;
}

static int32_t client_exptime(struct world *world, const struct client *c, uint32_t key)
{
    if (client_is_expiring_key(c, key)) {
        return 1 + (int32_t)world_below(world, 4);
    }
    return world_chance(world, 20) ? CLIENT_LONG_S : 0;
}

static void client_ask_get(struct world *world, struct client *c, struct bytes *out)
{
    uint32_t count = world_chance(world, 25) ? 1 + (uint32_t)world_below(world, c->key_count) : 1;
    uint32_t first = count > 1 ? client_key(world, c) : client_key_to_read(world, c);
    bool has_cas = world_chance(world, 40);
    bool is_gat = world_chance(world, 10) && client_may_write(world, c, first);
    if (is_gat) {
        bytes_print(out, "%s %d", has_cas ? "gats" : "gat", client_exptime(world, c, first));
        count = 1;
    } else {
        bytes_print(out, has_cas ? "gets" : "get");
    }
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = count > 1 ? c->key_first + (first - c->key_first + i) % c->key_count : first;
        struct history_op op = client_op(world, c, key, HISTORY_GET);
        op.is_touching = is_gat;
        uint32_t number = client_record(world, &op);
        bytes_print(out, " %s", world_key(key));
        if (i == 0) {
            client_push(world, c, number, count)->has_cas = has_cas;
        }
    }
    bytes_print(out, "\r\n");
}

/* Which of the numbers that it has seen C names: the last, any, or one that some node has given to
 * something else since. */
static uint32_t client_cas_choice(struct world *world, const struct client *c, uint32_t key)
{
    const struct client_cas *cas = &c->cas[key];
    uint32_t count = cas->seen < CLIENT_CAS_COUNT ? cas->seen : CLIENT_CAS_COUNT;
    uint32_t last = (cas->seen - 1) % CLIENT_CAS_COUNT;
    for (uint32_t n = 0; world->profile->cas_percent > 0 && n < world->options.nodes; n++) {
        const struct store_item *item =
            store_find(&world->nodes[n].model.store, slice_of_string(world_key(key)));
        for (uint32_t i = 0; item != NULL && i < count; i++) {
            const struct history_value *value = &world->history.values[cas->value[i]];
            if ((cas->cas[i] & CLIENT_CAS_MASK) == item->cas &&
                !slice_is_equal(slice_of(value->text, value->len),
                                slice_of(item->data, item->len))) {
                fault_on_foreign_cas(world, c->number, key, n);
                return i;
            }
        }
    }
    return world_chance(world, 80) ? last : (uint32_t)world_below(world, count);
}

static void client_ask_store(struct world *world, struct client *c, enum history_kind kind,
                             uint32_t key, struct bytes *out)
{
    bool is_number = client_is_number_key(c, key);
    c->sequence++;
    struct bytes text = {0};
    uint32_t flags = c->number * CLIENT_FLAGS_PER_CLIENT + c->sequence;
    bool is_joined = kind == HISTORY_APPEND || kind == HISTORY_PREPEND;
    if (is_number) {
        kind = is_joined ? HISTORY_SET : kind;
        is_joined = false;
        bytes_print(&text, "%u", (unsigned)world_below(world, 120));
    } else if (is_joined) {
        bytes_print(&text, "+%u.%u+", c->number, c->sequence);
    } else {
        bytes_print(&text, "%s.%u.%u", world_key(key), c->number, c->sequence);
    }
    struct history_op op = client_op(world, c, key, kind);
    uint64_t cas = 0;
    if (kind == HISTORY_CAS && c->cas[key].seen == 0) {
        op.kind = kind = HISTORY_ADD;
    }
    if (kind == HISTORY_CAS) {
        uint32_t choice = client_cas_choice(world, c, key);
        cas = c->cas[key].cas[choice];
        op.seen = c->cas[key].value[choice];
        /* The same number may have come back with another CAS. */
        op.is_cas_loose = is_number;
        op.cas_epoch = c->cas[key].epoch[choice];
    }
    op.value = history_value(&world->history, bytes_slice(&text), is_joined ? 0 : flags);
    op.is_noreply = world_chance(world, 10);
    bytes_print(out, "%s %s %u %d %u", CLIENT_VERBS[kind], world_key(key), flags,
                client_exptime(world, c, key), (unsigned)text.len);
    if (kind == HISTORY_CAS) {
        bytes_print(out, " %llu", (unsigned long long)cas);
    }
    bytes_print(out, "%s\r\n", op.is_noreply ? " noreply" : "");
    bytes_put(out, bytes_slice(&text));
    bytes_print(out, "\r\n");
    bytes_free(&text);
    uint32_t number = client_record(world, &op);
    client_push(world, c, number, 1)->is_noreply = op.is_noreply;
}

static void client_ask_small(struct world *world, struct client *c, enum history_kind kind,
                             uint32_t key, struct bytes *out)
{
    uint32_t number_key = key - key % c->key_count + c->key_count - 1;
    if (kind == HISTORY_DELTA && world_chance(world, 90) &&
        client_may_write(world, c, number_key)) {
        key = number_key;
    }
    struct history_op op = client_op(world, c, key, kind);
    op.is_noreply = world_chance(world, 10);
    if (kind == HISTORY_DELETE) {
        bytes_print(out, "delete %s", world_key(key));
    } else if (kind == HISTORY_TOUCH) {
        int32_t exptime = client_exptime(world, c, key);
        exptime = exptime == 0 && world_chance(world, 40) ? CLIENT_LONG_S : exptime;
        bytes_print(out, "touch %s %d", world_key(key), exptime);
    } else {
        op.delta = 1 + (int64_t)world_below(world, 30);
        op.delta = world_chance(world, 30) ? -op.delta : op.delta;
        bytes_print(out, "%s %s %lld", op.delta < 0 ? "decr" : "incr", world_key(key),
                    (long long)(op.delta < 0 ? -op.delta : op.delta));
    }
    bytes_print(out, "%s\r\n", op.is_noreply ? " noreply" : "");
    uint32_t number = client_record(world, &op);
    client_push(world, c, number, 1)->is_noreply = op.is_noreply;
}

static void client_ask_write(struct world *world, struct client *c, enum history_kind kind,
                             uint32_t key, struct bytes *out)
{
    if (kind == HISTORY_DELETE || kind == HISTORY_DELTA || kind == HISTORY_TOUCH) {
        client_ask_small(world, c, kind, key, out);
    } else {
        client_ask_store(world, c, kind, key, out);
    }
}

void client_ask(struct world *world, struct client *c, struct bytes *out)
{
    static const struct {
        enum history_kind kind;
        uint32_t weight;
    } MIX[] = {{HISTORY_GET, 36},   {HISTORY_SET, 18},    {HISTORY_ADD, 6}, {HISTORY_REPLACE, 4},
               {HISTORY_APPEND, 4}, {HISTORY_PREPEND, 2}, {HISTORY_CAS, 6}, {HISTORY_DELETE, 12},
               {HISTORY_DELTA, 10}, {HISTORY_TOUCH, 2}};
    uint32_t dice = (uint32_t)world_below(world, 100);
    size_t i = 0;
    while (dice >= MIX[i].weight) {
        dice -= MIX[i++].weight;
    }
    enum history_kind kind = MIX[i].kind;
    if (world_chance(world, world->profile->cas_percent)) {
        kind = HISTORY_CAS;
    }
    uint32_t key = client_key_to_write(world, c);
    if (kind == HISTORY_GET || key == world->key_count) {
        client_ask_get(world, c, out);
    } else {
        client_ask_write(world, c, kind, key, out);
    }
}

static void client_ask_key(struct world *world, struct client *c, enum history_kind kind,
                           uint32_t key, struct bytes *out)
{
    if (kind != HISTORY_GET) {
        client_ask_write(world, c, kind, key, out);
        return;
    }
    struct history_op op = client_op(world, c, key, HISTORY_GET);
    client_push(world, c, client_record(world, &op), 1);
    bytes_print(out, "get %s\r\n", world_key(key));
}

void client_aim(struct world *world, uint32_t number, enum history_kind kind, uint32_t key)
{
    struct client *c = &world->clients[number];
    bool has_room =
        c->pending_count < WORLD_PENDING_MAX / 2 && world->history.count < CLIENT_OPS_MAX;
    if (c->state != CLIENT_HERE || world->is_resting || !has_room ||
        (kind != HISTORY_GET && !client_may_write(world, c, key))) {
        return;
    }
    struct bytes out = {0};
    client_ask_key(world, c, kind, key, &out);
    struct client_pending *pending = &c->pending[c->pending_count - 1];
    pending->end = c->sent_bytes + out.len;
    client_put(world, c, SEGMENT_DATA, bytes_slice(&out));
    bytes_free(&out);
}

bool client_flush_all(struct world *world, uint32_t number, uint32_t delay_s)
{
    struct client *c = &world->clients[number];
    if (c->state != CLIENT_HERE || c->pending_count >= WORLD_PENDING_MAX / 2 ||
        world->history.count + world->key_count > CLIENT_OPS_MAX) {
        return false;
    }
    for (uint32_t key = 0; key < world->key_count; key++) {
        struct history_op op = client_op(world, c, key, HISTORY_FORGET);
        op.later_s = delay_s;
        uint32_t first = client_record(world, &op);
        if (key == 0) {
            client_push(world, c, first, world->key_count);
        }
    }
    struct bytes out = {0};
    if (delay_s > 0) {
        bytes_print(&out, "flush_all %u\r\n", delay_s);
    } else {
        bytes_print(&out, "flush_all\r\n");
    }
    c->pending[c->pending_count - 1].end = c->sent_bytes + out.len;
    client_put(world, c, SEGMENT_DATA, bytes_slice(&out));
    bytes_free(&out);
    return true;
}
