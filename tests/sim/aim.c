/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Clients aim. Most rules matter for one key at one moment: while it is copied, while a connection
 * that carries it is cut, while a view changes. By chance nobody writes that key then. So who sees
 * such a moment lets clients that may write the key do so within it, and others read it soon after
 * and when the next view is there.
 */
#include "sim/client_private.h"

enum {
    AIM_READ_US = 3000,
    AIM_STALL_US = 60000,
    AIM_CAS = 6,                     /* tries of one number */
    AIM_ASKED_MAX = 300,             /* requests of a key, beyond which there is no aiming */
    AIM_RECENT_US = 4 * 1000 * 1000, /* what was aimed at since is read when the view changes */
};

static void aim_post(struct world *world, uint32_t client, enum history_kind kind, uint32_t key,
                     uint64_t at_us)
{
    world_post(world, at_us, WORLD_AIM, client, world->clients[client].generation,
               (uint64_t)kind << 32 | key);
}

static enum history_kind aim_kind(struct world *world)
{
    static const enum history_kind KINDS[] = {HISTORY_DELETE, HISTORY_DELETE, HISTORY_DELETE,
                                              HISTORY_SET,    HISTORY_SET,    HISTORY_TOUCH,
                                              HISTORY_TOUCH,  HISTORY_DELTA,  HISTORY_ADD};
    return KINDS[world_below(world, sizeof(KINDS) / sizeof(KINDS[0]))];
}

/* Returns the client that will; the count of clients: none may. */
static uint32_t aim_write(struct world *world, uint32_t key, enum history_kind kind,
                          uint64_t within_us)
{
    uint32_t first = (uint32_t)world_below(world, world->client_count);
    for (uint32_t i = 0; i < world->client_count; i++) {
        uint32_t number = (first + i) % world->client_count;
        if (client_may_write(world, &world->clients[number], key)) {
            aim_post(world, number, kind, key, world->now_us + 1 + world_below(world, within_us));
            return number;
        }
    }
    return world->client_count;
}

/* NODE is slow to do what the client's worker wants of it. */
static void aim_delay(struct world *world, uint32_t client, uint32_t node, uint64_t for_us)
{
    const struct client *c = &world->clients[client];
    struct conn *conn = world->proxies[c->proxy].links[c->worker][node];
    if (conn != NULL) {
        net_stall(world, conn, for_us + world_below(world, 2 * for_us));
    }
}

static void aim_read(struct world *world, uint32_t key, uint64_t within_us)
{
    uint32_t number = (uint32_t)world_below(world, world->client_count);
    aim_post(world, number, HISTORY_GET, key, world->now_us + 1 + world_below(world, within_us));
}

static bool aim_may(struct world *world, uint32_t key)
{
    return !world->is_resting && world->is_started && key < world->key_count &&
           world->keys[key].asked <= AIM_ASKED_MAX;
}

void aim_at(struct world *world, uint32_t key, uint64_t within_us)
{
    if (!aim_may(world, key) || !world_chance(world, world->profile->aim_percent)) {
        return;
    }
    world->keys[key].aimed_us = world->now_us;
    uint32_t client = aim_write(world, key, aim_kind(world), within_us);
    if (client < world->client_count && world_chance(world, 20)) {
        uint32_t node = (uint32_t)world_below(world, world->options.nodes);
        aim_delay(world, client, node, 5000 + within_us);
    }
    if (world_chance(world, 30)) {
        (void)aim_write(world, key, aim_kind(world), within_us);
    }
    if (world_chance(world, 30)) {
        aim_read(world, key, within_us + AIM_READ_US);
    }
}

void aim_cas(struct world *world, uint32_t client, uint32_t key, uint64_t within_us)
{
    for (uint32_t i = 0; i < AIM_CAS && aim_may(world, key); i++) {
        aim_post(world, client, HISTORY_CAS, key, world->now_us + world_below(world, within_us));
    }
}

void aim_to_delete(struct world *world, uint32_t key, uint64_t within_us)
{
    if (aim_may(world, key)) {
        (void)aim_write(world, key, HISTORY_DELETE, within_us);
    }
}

void aim_by(struct world *world, const struct conn *link, const struct aim *aim, uint64_t within_us)
{
    uint32_t key = aim->key;
    uint32_t first = (uint32_t)world_below(world, world->client_count);
    for (uint32_t i = 0; i < world->client_count && aim_may(world, key); i++) {
        uint32_t number = (first + i) % world->client_count;
        const struct client *c = &world->clients[number];
        bool is_workers = c->proxy == link->proxy && c->worker == link->worker;
        bool may_ask = aim->kind == HISTORY_GET || client_may_write(world, c, key);
        if (is_workers == (aim->by == AIM_BY_WORKER) && may_ask) {
            aim_post(world, number, aim->kind, key,
                     world->now_us + 1 + world_below(world, within_us));
            return;
        }
    }
}

void aim_to_count(struct world *world, uint32_t key, uint64_t within_us)
{
    if (aim_may(world, key)) {
        (void)aim_write(world, key, HISTORY_DELTA, within_us);
    }
}

uint32_t aim_key_of(const struct world *world, struct slice bytes)
{
    uint32_t found = WORLD_KEYS_MAX;
    for (size_t i = 0; i + 5 <= bytes.len; i++) {
        const char *at = bytes.ptr + i;
        bool is_key = at[0] == ' ' && at[1] == 'k' && at[2] >= '0' && at[2] <= '9' &&
                      at[3] >= '0' && at[3] <= '9' && (at[4] == ' ' || at[4] == '\r');
        uint32_t key = is_key ? (uint32_t)(at[2] - '0') * 10 + (uint32_t)(at[3] - '0') : 0;
        found = is_key && key < world->key_count ? key : found;
    }
    return found;
}

static bool aim_is_store(uint32_t key, struct slice bytes)
{
    char head[16];
    int len = snprintf(head, sizeof(head), "ms %s ", world_key(key));
    for (size_t i = 0; i + (size_t)len <= bytes.len; i++) {
        if (memcmp(bytes.ptr + i, head, (size_t)len) == 0) {
            return true;
        }
    }
    return false;
}

void aim_past(struct world *world, uint32_t key, uint32_t node, uint64_t within_us)
{
    uint32_t client = world->client_count;
    if (aim_may(world, key)) {
        client = aim_write(world, key, HISTORY_DELETE, within_us);
    }
    if (client < world->client_count) {
        aim_delay(world, client, node, 2 * (world->wire_us + world->delay_us));
    }
}

void aim_at_copy(struct world *world, uint32_t node, uint32_t key, struct slice bytes)
{
    uint64_t within_us = 1 + world->delay_us + world_below(world, 2 * world->wire_us);
    if (!aim_may(world, key)) {
        return;
    }
    if (key != world->hot_key) {
        aim_at(world, key, within_us);
        if (slice_has_prefix(bytes, SLICE("mg ")) && world_chance(world, 20)) {
            aim_past(world, key, node, within_us);
        }
    } else if (aim_is_store(key, bytes)) {
        (void)aim_write(world, key, HISTORY_SET, 1);
    }
}

/* A worker reads what a warming node is to get, or stores it there: it is deleted meanwhile, and
 * the store comes last. */
void aim_at_warming(struct world *world, struct conn *conn, uint32_t key, struct slice bytes)
{
    static const char READ[] = " v f t c u\r\n";
    static const char STORE[] = " ME c";
    if (!world->profile->refuses_dumps || !aim_may(world, key)) {
        return;
    }
    if (memmem(bytes.ptr, bytes.len, STORE, sizeof(STORE) - 1) != NULL) {
        uint64_t for_us = 2 * (world->wire_us + world->delay_us);
        net_stall(world, conn, for_us + world_below(world, 4 * for_us));
        aim_read(world, key, 200000);
        aim_read(world, key, 2000000);
    } else if (memmem(bytes.ptr, bytes.len, READ, sizeof(READ) - 1) != NULL) {
        aim_to_delete(world, key, 1 + 2 * world->delay_us);
    }
}

void aim_at_view(struct world *world)
{
    for (uint32_t key = 0; key < world->key_count; key++) {
        const struct key *k = &world->keys[key];
        if (world->profile->refuses_dumps && aim_may(world, key)) {
            aim_read(world, key, 300000);
        }
        bool is_recent = k->aimed_us > 0 && k->aimed_us + AIM_RECENT_US > world->now_us;
        if (is_recent && aim_may(world, key)) {
            aim_read(world, key, 1 + 2 * world->delay_us);
            aim_read(world, key, 1 + 20 * world->delay_us);
        }
    }
}

/* What no two leaders may decide at once: both would give the same number, or the same lock. */
static enum history_kind aim_decided(const struct client *client, uint32_t key)
{
    return client_is_number_key(client, key) ? HISTORY_DELTA : HISTORY_ADD;
}

/* A client of the worker lets the leader of some key decide, which is NODE, and NODE is slow. */
static void aim_decide(struct world *world, uint32_t proxy, uint32_t worker, uint32_t node)
{
    const struct topology *t = world->proxies[proxy].topology[worker];
    struct conn *conn = world->proxies[proxy].links[worker][node];
    uint32_t first = (uint32_t)world_below(world, world->key_count);
    for (uint32_t i = 0; i < world->key_count && conn != NULL; i++) {
        uint32_t key = (first + i) % world->key_count;
        uint32_t leader = topology_leader(t, topology_hash(slice_of_string(world_key(key))));
        for (uint32_t c = 0; c < world->client_count && leader == node; c++) {
            const struct client *client = &world->clients[c];
            if (client->proxy == proxy && client->worker == worker && aim_may(world, key) &&
                client_may_write(world, client, key)) {
                aim_post(world, c, aim_decided(client, key), key, world->now_us + 1);
                net_stall(world, conn, AIM_STALL_US);
                return;
            }
        }
    }
}

/*
 * PROXY joins a view that takes nodes out. Others don't know of it yet: what they have in flight to
 * these nodes then stays there until somebody acts on that view (SEAL).
 */
void aim_at_hold(struct world *world, uint32_t proxy, const struct topology *topology)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        for (uint32_t w = 0; w < world->options.workers && i != proxy; w++) {
            const struct proxy *p = &world->proxies[i];
            if (p->topology[w] == NULL || p->hold_epoch[w] >= topology->epoch ||
                !world_chance(world, world->profile->aim_percent)) {
                continue;
            }
            node_set left = p->topology[w]->leaders & ~(topology->complete | topology->chained);
            for (; left != 0; left &= left - 1) {
                aim_decide(world, i, w, node_set_first(left));
            }
        }
    }
}

/* Another worker has joined the view that WORKER of PROXY acts on now, and does not act on it yet.
 * The answers that it still waited for come now, and what they are about is written at once. */
static void aim_at_late(struct world *world, uint32_t proxy, uint32_t worker, struct conn *conn)
{
    if (conn == NULL || !aim_may(world, conn->last_key) || !world_chance(world, 70)) {
        return;
    }
    net_stall(world, conn, world_below(world, 4 * world->delay_us));
    for (uint32_t c = 0; c < world->client_count; c++) {
        const struct client *client = &world->clients[c];
        if (client->proxy == proxy && client->worker == worker &&
            client_may_write(world, client, conn->last_key)) {
            aim_post(world, c, aim_decided(client, conn->last_key), conn->last_key,
                     world->now_us + 1);
            break;
        }
    }
    aim_read(world, conn->last_key, 10 * world->delay_us);
    aim_read(world, conn->last_key, 40 * world->delay_us);
}

void aim_at_join(struct world *world, uint32_t proxy, uint32_t worker)
{
    const struct topology *topology = world->proxies[proxy].topology[worker];
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        for (uint32_t w = 0; w < world->options.workers; w++) {
            const struct topology *old = world->proxies[i].topology[w];
            node_set left = 0;
            if (old != NULL && old->epoch < topology->epoch) {
                left = old->complete & ~(topology->complete | topology->chained);
            }
            for (; left != 0; left &= left - 1) {
                aim_at_late(world, proxy, worker, world->proxies[i].links[w][node_set_first(left)]);
            }
        }
    }
}

void aim_at_wake(struct world *world, uint32_t proxy, uint64_t wake_us)
{
    uint64_t left_us = wake_us - world->now_us;
    world_hurry(world, left_us);
    for (uint32_t i = 0; i < world->client_count; i++) {
        uint32_t key = (uint32_t)world_below(world, world->key_count);
        if (world->clients[i].proxy != proxy && client_may_write(world, &world->clients[i], key)) {
            aim_post(world, i, HISTORY_SET, key, world->now_us + world_below(world, left_us / 3));
        }
        for (uint32_t k = 0; k < world->client_count; k++) {
            if (world->clients[k].proxy == proxy) {
                aim_post(world, k, HISTORY_GET, key, wake_us - world_below(world, left_us / 3 + 1));
            }
        }
    }
}

void aim_shoot(struct world *world, const struct queue_event *event)
{
    if (world->clients[event->a].generation == event->b) {
        client_aim(world, event->a, (enum history_kind)(event->c >> 32),
                   (uint32_t)(event->c & UINT32_MAX));
    }
}
