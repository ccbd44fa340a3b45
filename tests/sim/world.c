/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A world is made from its seed, runs until its clients have asked all they want, is mended, comes
 * to rest, and is judged. Nothing in it depends on anything but the options.
 */
#include "sim/world.h"

#include "everwarm/base/invariant.h"

#include <inttypes.h>
#include <stdlib.h>

enum {
    WORLD_WATCH_US = 100 * 1000,
    WORLD_LOOK_US = 10 * 1000,
    WORLD_RUN_MAX_US = 60 * 1000 * 1000,  /* by then all requests were made */
    WORLD_REST_MAX_US = 30 * 1000 * 1000, /* by then all copies are equal */
    WORLD_CALM_US = 2500 * 1000,          /* whole for so long: nothing is under way any more */
    WORLD_USUAL_US = 9 * 1000 * 1000,     /* a run's length, for the pace of requests */
    WORLD_AFTER_US = 4 * 1000 * 1000,     /* requests go on so long after the last fault: a fill */
    WORLD_EVENTS_MAX = 3000000,           /* a loop in the world itself */
};

/* --- Small things --- */

void world_trace(struct world *world, const char *format, ...)
{
    if (!world->options.is_verbose) {
        return;
    }
    printf("%10.6f  ", (double)world->now_us / 1e6);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

void world_broken(struct world *world, const char *rule, const char *format, ...)
{
    if (world->rule != NULL) {
        return;
    }
    world->rule = rule;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(world->broken, sizeof(world->broken), format, arguments);
    va_end(arguments);
    world_trace(world, "BROKEN %s: %s", rule, world->broken);
}

void world_post(struct world *world, uint64_t at_us, enum world_event type, uint32_t a, uint32_t b,
                uint64_t c)
{
    struct queue_event event = {.at_us = at_us, .type = (uint32_t)type, .a = a, .b = b, .c = c};
    queue_put(&world->queue, &event);
}

struct segment *world_segment(enum segment_type type, struct slice bytes)
{
    struct segment *segment = malloc(sizeof(*segment) + bytes.len);
    REQUIRE(segment != NULL);
    *segment = (struct segment){.type = type, .len = bytes.len};
    if (bytes.len > 0) {
        memcpy(segment->bytes, bytes.ptr, bytes.len);
    }
    return segment;
}

uint64_t world_below(struct world *world, uint64_t bound)
{
    return prng_below(&world->prng, bound);
}

bool world_chance(struct world *world, uint32_t percent)
{
    return prng_below(&world->prng, 100) < percent;
}

uint64_t world_delay(struct world *world)
{
    if (!world->is_resting && world_chance(world, world->spike_percent)) {
        return 1 + world_below(world, 30000);
    }
    return 10 + world_below(world, 2 * world->delay_us);
}

void world_note_fault(struct world *world)
{
    world->fault_us[world->fault_count++ % 64] = world->now_us;
}

void world_hurry(struct world *world, uint64_t for_us)
{
    if (world->is_resting || !world->is_started) {
        return;
    }
    bool is_calm = world->busy_us < world->now_us;
    for_us = for_us + world_below(world, for_us);
    world->busy_us =
        world->busy_us < world->now_us + for_us ? world->now_us + for_us : world->busy_us;
    for (uint32_t i = 0; is_calm && i < world->client_count; i++) {
        world_post(world, world->now_us + world_below(world, for_us), WORLD_CLIENT_SEND, i,
                   world->clients[i].generation, 0);
    }
}

const char *world_key(uint32_t key)
{
    static char names[WORLD_KEYS_MAX][8];
    if (names[key][0] == '\0') {
        snprintf(names[key], sizeof(names[key]), "k%02u", key);
    }
    return names[key];
}

/* C8, at the node: who reads there must mean this run of it, and know it complete. */
static void world_on_read(void *owner, struct slice key)
{
    struct world *world = owner;
    const struct conn *conn = world->running;
    if (conn == NULL || !conn->is_link || slice_has_prefix(key, SLICE(VIEW_RESERVED_PREFIX)) ||
        world->options.nodes == 1) {
        return;
    }
    const struct node *node = &world->nodes[conn->node];
    if (!conn->is_complete) {
        world_broken(world, "C8", "p%u.w%u reads %.*s from node %u, which was not complete for it",
                     conn->proxy, conn->worker, (int)key.len, key.ptr, conn->node);
    } else if (conn->identity.pid != node->model.pid) {
        world_broken(world, "C8", "p%u.w%u reads %.*s from node %u, which is another run: %llu",
                     conn->proxy, conn->worker, (int)key.len, key.ptr, conn->node,
                     (unsigned long long)node->model.pid);
    }
}

/* --- Making --- */

static void world_character(struct world *world)
{
    const struct profile *profile = world->options.profile;
    world->profile = profile;
    world->is_wild = world_chance(world, profile->wild_percent);
    world->is_shared = world_chance(world, profile->shared_percent) || world->options.is_shared;
    world->delay_us = 20 + world_below(world, world_chance(world, 30) ? 3000 : 200);
    world->side_bytes = world_chance(world, 50) ? 1 + world_below(world, WORLD_SIDE_BYTES_MAX) : 0;
    world->side_bytes = profile->is_large ? 1 + world_below(world, 4) : world->side_bytes;
    world->delay_us = profile->delay_us == 0 ? world->delay_us : profile->delay_us;
    world->wire_us = world_chance(world, 50) ? 1 + world_below(world, 12000) : 1;
    world->wire_us = profile->wire_us == 0 ? world->wire_us : profile->wire_us;
    world->spike_percent = world_chance(world, 30) ? 3 : 0;
    world->faults_left =
        profile->faults_min +
        (uint32_t)world_below(world, 1 + profile->faults_max - profile->faults_min);
    world->has_tokens = world_chance(world, profile->tokens_percent);
    world->link_cut_node = WORLD_NODES_MAX;
    world->mute_node = WORLD_NODES_MAX;
    world->mute_key = WORLD_KEYS_MAX;
    world->fault_kinds = profile->fault_kinds == 0 ? fault_choose(world) : profile->fault_kinds;
    world->fault_pause_us = profile->fault_pause_us == 0 ? 200000 + world_below(world, 3000000)
                                                         : profile->fault_pause_us;
}

static void world_init(struct world *world, const struct world_options *options)
{
    static const char *const NAMES[WORLD_NODES_MAX] = {"a", "b", "c", "d", "e"};
    REQUIRE(options->proxies >= 1 && options->proxies <= WORLD_PROXIES_MAX);
    REQUIRE(options->workers >= 1 && options->workers <= WORLD_WORKERS_MAX);
    REQUIRE(options->nodes >= 1 && options->nodes <= WORLD_NODES_MAX);
    world->options = *options;
    world->prng.state = prng_mix(options->seed + 0x5eed);
    world->now_us = 1;
    world_character(world);
    for (uint32_t i = 0; i < options->nodes; i++) {
        struct node *node = &world->nodes[i];
        node->model.on_read = world_on_read;
        node->model.owner = world;
        node->model.store.knows_tokens = world->has_tokens;
        node->model.store.refuses_dumps = world->profile->refuses_dumps;
        node->clock_offset_us = (int64_t)world_below(world, 4000000) - 2000000;
        node->next_pid = 1000 * (i + 1);
        world->node_names[i] = slice_of_string(NAMES[i]);
        net_start(world, i);
    }
    world->names = (struct view_names){
        .pool = SLICE_INIT("main"), .node_count = options->nodes, .nodes = world->node_names};
    uint32_t groups = world->is_shared ? 1 : options->proxies * options->workers;
    uint32_t spread = 1 + world->profile->keys_max - world->profile->keys_min;
    uint32_t keys = world->profile->keys_min +
                    (world_chance(world, 50) ? 0 : (uint32_t)world_below(world, spread));
    keys = keys > WORLD_KEYS_MAX / groups ? WORLD_KEYS_MAX / groups : keys;
    world->key_count = keys * groups;
    for (uint32_t i = 0; i < world->key_count; i++) {
        world->keys[i].owner = i / keys;
        /* What a warming node lacks it may lack for ever. */
        world->keys[i].evicted_us = world->profile->refuses_dumps ? 1 : 0;
    }
    world->hot_key = world->profile->is_hot && world_chance(world, 50)
                         ? keys * (uint32_t)world_below(world, groups)
                         : WORLD_KEYS_MAX;
    for (uint32_t i = 0; i < options->proxies; i++) {
        world->proxies[i].id_next = PROXIES_MAX;
        proxy_init(world, i);
    }
    world->client_count = options->proxies * options->workers * 2;
    world->client_count = world->client_count < 4 ? 4 : world->client_count;
    world->client_count =
        world->profile->clients > 0 ? world->profile->clients : world->client_count;
    world->client_count =
        world->client_count > WORLD_CLIENTS_MAX ? WORLD_CLIENTS_MAX : world->client_count;
    world->think_us = (uint64_t)WORLD_USUAL_US * world->client_count / (options->steps + 1);
    for (uint32_t i = 0; i < world->client_count; i++) {
        client_init(world, i);
    }
    world_post(world, WORLD_WATCH_US, WORLD_WATCH, 0, 0, 0);
}

static void world_drop(const struct queue_event *event)
{
    switch ((enum world_event)event->type) {
    case WORLD_TO_NODE:
    case WORLD_TO_PROXY:
    case WORLD_TO_SERVER:
    case WORLD_TO_CLIENT:
    case WORLD_MESSAGE:
        free((void *)(uintptr_t)event->c);
        return;
    case WORLD_NODE_RUN:
    case WORLD_CONN_TIMEOUT:
    case WORLD_NODE_START:
    case WORLD_NODE_THAW:
    case WORLD_DP_TICK:
    case WORLD_CONTROL_TICK:
    case WORLD_CLIENT_SEND:
    case WORLD_CLIENT_OPEN:
    case WORLD_AIM:
    case WORLD_FAULT:
    case WORLD_PROXY_START:
    case WORLD_PROXY_LEAVING:
    case WORLD_WATCH:
        return;
    }
}

static void world_fini(struct world *world)
{
    struct queue_event event;
    while (queue_take(&world->queue, &event)) {
        world_drop(&event);
    }
    queue_free(&world->queue);
    net_fini(world);
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        proxy_fini(world, i);
    }
    for (uint32_t i = 0; i < world->client_count; i++) {
        client_fini(world, i);
    }
    history_free(&world->history);
    lineage_fini(world);
}

/* --- Running --- */

/* As long as a proxy joins a view its clients go on asking. */
static void world_storm(struct world *world)
{
    for (uint32_t i = 0; world->profile->is_storm && i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        if (proxy_snapshot(world, i, &snapshot) && snapshot.state == CONTROL_CHANGING) {
            world_hurry(world, WORLD_WATCH_US);
        }
    }
}

static void world_watch(struct world *world)
{
    client_watch(world);
    copies_check(world);
    split_check(world);
    world_storm(world);
    if (world->is_resting) {
        fault_ready(world);
    }
    if (!world->is_started) {
        struct control_snapshot snapshot;
        world->is_started = true;
        for (uint32_t i = 0; i < world->options.proxies; i++) {
            world->is_started = world->is_started && proxy_snapshot(world, i, &snapshot) &&
                                snapshot.state == CONTROL_SERVING;
        }
        if (world->is_started) {
            world_trace(world, "all proxies serve");
            world->end_us = world->faults_left == 0 ? world->now_us + WORLD_AFTER_US : 0;
            fault_plan(world);
        } else if (world->now_us > WORLD_REST_MAX_US) {
            world_broken(world, "start", "a proxy does not serve after 30 s");
        }
    }
    world_post(world, world->now_us + WORLD_WATCH_US, WORLD_WATCH, 0, 0, 0);
}

static void world_hash_word(struct world *world, uint64_t word)
{
    world->hash = (world->hash ^ word) * UINT64_C(1099511628211);
    world->hash ^= world->hash >> 32;
}

static void world_hash_bytes(struct world *world, struct slice bytes)
{
    uint64_t word;
    for (; bytes.len >= sizeof(word); bytes = slice_skip(bytes, sizeof(word))) {
        memcpy(&word, bytes.ptr, sizeof(word));
        world_hash_word(world, word);
    }
    if (bytes.len > 0) {
        word = 0;
        memcpy(&word, bytes.ptr, bytes.len);
        world_hash_word(world, word);
    }
}

static void world_segment_event(struct world *world, const struct queue_event *event)
{
    struct segment *segment = (struct segment *)(uintptr_t)event->c;
    world->hash = prng_mix(world->hash ^ world->now_us);
    world->hash = prng_mix(world->hash ^ (event->type << 24 | event->a << 8 | segment->type));
    world_hash_bytes(world, slice_of(segment->bytes, segment->len));
    if (world->options.is_verbose && segment->len > 0) {
        const char *way = event->type == WORLD_TO_NODE     ? "> node"
                          : event->type == WORLD_TO_PROXY  ? "< node"
                          : event->type == WORLD_TO_SERVER ? "client >"
                                                           : "client <";
        char text[161];
        size_t len = 0;
        for (size_t i = 0; i < segment->len && len < 160; i++) {
            unsigned char c = (unsigned char)segment->bytes[i];
            text[len++] = (char)(c == '\r' ? '~' : c < ' ' ? '|' : c);
        }
        if (event->type == WORLD_TO_NODE || event->type == WORLD_TO_PROXY) {
            const struct conn *conn = world->conns[event->a];
            world_trace(world, "p%u%s%u %s %u conn %u: %.*s", conn->proxy,
                        conn->is_link ? ".w" : " wire ", conn->is_link ? conn->worker : conn->wire,
                        way, conn->node, conn->number, (int)len, text);
        } else {
            world_trace(world, "%s %u: %.*s", way, event->a, (int)len, text);
        }
    }
    if (event->type == WORLD_TO_NODE) {
        net_to_node(world, world->conns[event->a], segment);
    } else if (event->type == WORLD_TO_PROXY) {
        net_to_proxy(world, world->conns[event->a], segment);
    } else if (event->type == WORLD_TO_SERVER) {
        client_to_server(world, event->a, event->b, segment);
    } else if (world->clients[event->a].generation == event->b) {
        client_to_client(world, event->a, segment);
    }
    free(segment);
}

static void world_step(struct world *world, const struct queue_event *event)
{
    switch ((enum world_event)event->type) {
    case WORLD_TO_NODE:
    case WORLD_TO_PROXY:
    case WORLD_TO_SERVER:
    case WORLD_TO_CLIENT:
        world_segment_event(world, event);
        return;
    case WORLD_NODE_RUN:
        net_run(world, world->conns[event->a]);
        return;
    case WORLD_CONN_TIMEOUT:
        net_timeout(world, world->conns[event->a]);
        return;
    case WORLD_NODE_START:
        if (world->nodes[event->a].generation == event->c && !world->nodes[event->a].is_up) {
            world_trace(world, "node %u starts, empty", event->a);
            net_start(world, event->a);
        }
        return;
    case WORLD_NODE_THAW:
        if (world->nodes[event->a].generation == event->c && world->nodes[event->a].is_frozen) {
            world_trace(world, "node %u goes on", event->a);
            net_thaw(world, event->a);
        }
        return;
    case WORLD_MESSAGE: {
        struct message *message = (struct message *)(uintptr_t)event->c;
        proxy_on_message(world, event->a, event->b, message);
        free(message);
        return;
    }
    case WORLD_DP_TICK: {
        struct dataplane_event tick = {.type = DATAPLANE_TICK};
        if (world->proxies[event->a].is_up && world->proxies[event->a].run == event->c) {
            proxy_dp_event(world, event->a, event->b, &tick);
        }
        return;
    }
    case WORLD_CONTROL_TICK:
        proxy_control_tick(world, event->a);
        return;
    case WORLD_CLIENT_SEND:
        if (world->clients[event->a].generation == event->b) {
            client_send(world, event->a);
        }
        return;
    case WORLD_CLIENT_OPEN:
        client_open(world, event->a);
        return;
    case WORLD_AIM:
        aim_shoot(world, event);
        return;
    case WORLD_FAULT:
        fault_strike(world, event->a, event->b);
        return;
    case WORLD_PROXY_START:
        fault_start_proxy(world, event->a);
        return;
    case WORLD_PROXY_LEAVING:
        if (world->proxies[event->a].is_up && world->proxies[event->a].run == event->c) {
            leave_watch(world, event->a);
        }
        return;
    case WORLD_WATCH:
        world_watch(world);
        return;
    }
    UNREACHABLE();
}

/* Until when nothing of EVENT can happen: its proxy is stopped, or cut off from the node. */
static uint64_t world_delayed_us(struct world *world, const struct queue_event *event)
{
    const struct proxy *proxies = world->proxies;
    switch ((enum world_event)event->type) {
    case WORLD_TO_NODE: {
        const struct conn *conn = world->conns[event->a];
        return proxies[conn->proxy].cut_to_node_us[conn->node];
    }
    case WORLD_TO_PROXY: {
        const struct conn *conn = world->conns[event->a];
        uint64_t cut_us = proxies[conn->proxy].cut_to_proxy_us[conn->node];
        uint64_t paused_us = proxies[conn->proxy].paused_us;
        return cut_us > paused_us ? cut_us : paused_us;
    }
    case WORLD_CONN_TIMEOUT:
        return proxies[world->conns[event->a]->proxy].paused_us;
    case WORLD_MESSAGE:
    case WORLD_DP_TICK:
    case WORLD_CONTROL_TICK:
    case WORLD_PROXY_LEAVING:
        return proxies[event->a].paused_us;
    case WORLD_TO_SERVER:
        return proxies[world->clients[event->a].proxy].paused_us;
    case WORLD_NODE_RUN:
    case WORLD_NODE_START:
    case WORLD_NODE_THAW:
    case WORLD_CLIENT_SEND:
    case WORLD_CLIENT_OPEN:
    case WORLD_TO_CLIENT:
    case WORLD_AIM:
    case WORLD_FAULT:
    case WORLD_PROXY_START:
    case WORLD_WATCH:
        return 0;
    }
    UNREACHABLE();
}

static bool world_put_off(struct world *world, const struct queue_event *event)
{
    uint64_t until_us = world_delayed_us(world, event);
    if (until_us <= world->now_us) {
        return false;
    }
    if (event->type == WORLD_TO_NODE) {
        net_unheard(world, world->conns[event->a]);
    }
    if (event->type == WORLD_CONTROL_TICK || event->type == WORLD_DP_TICK) {
        until_us += world_below(world, 2); /* when it goes on, it may see first what arrived */
    }
    queue_put_off(&world->queue, event, until_us);
    return true;
}

/* Returns when IS_OVER says so, at UNTIL_US, or when a promise is broken. */
static void world_go(struct world *world, uint64_t until_us, bool (*is_over)(struct world *world))
{
    struct queue_event event;
    while (world->rule == NULL && !is_over(world) && queue_take(&world->queue, &event)) {
        INVARIANT(event.at_us >= world->now_us && ++world->events < WORLD_EVENTS_MAX);
        world->now_us = event.at_us;
        if (!world_put_off(world, &event)) {
            world_step(world, &event);
        }
        if (world->now_us > until_us) {
            return;
        }
    }
}

static bool world_has_asked(struct world *world)
{
    return world->end_us != 0 && world->now_us > world->end_us;
}

/* No worker has keys whose copies it has still to compare. */
static bool world_is_settled(const struct world *world)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        for (uint32_t w = 0; w < world->options.workers; w++) {
            struct dataplane *dp = world->proxies[i].dp[w];
            if (dp == NULL || dataplane_stats(dp)->settle_queue > 0) {
                return false;
            }
        }
    }
    return true;
}

/* No proxy compares all copies because another died. */
static bool world_is_verified(const struct world *world)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        bool is_due =
            !proxy_snapshot(world, i, &snapshot) || snapshot.verify_due_by != VIEW_NO_PROXY;
        if (is_due && !world->profile->refuses_dumps) { /* there it never ends */
            return false;
        }
    }
    return true;
}

/* Looked at now and then only: it takes longer than an event. */
static bool world_is_calm(struct world *world)
{
    if (world->now_us < world->calm_look_us) {
        return false;
    }
    world->calm_look_us = world->now_us + WORLD_LOOK_US;
    if (!split_is_over(world) || world->now_us < world->later_us || !world_is_settled(world) ||
        !fault_is_whole(world) || !world_is_verified(world)) {
        world->rest_us = world->now_us;
    }
    return world->now_us > world->rest_us + WORLD_CALM_US;
}

static bool world_has_read(struct world *world)
{
    for (uint32_t i = 0; i < world->client_count; i++) {
        if (world->clients[i].pending_count > 0) {
            return false;
        }
    }
    return true;
}

bool world_run(const struct world_options *options, struct world_result *result)
{
    static struct world world;
    memset(&world, 0, sizeof(world));
    *result = (struct world_result){0};
    world_init(&world, options);
    world_go(&world, WORLD_RUN_MAX_US, world_has_asked);
    world_trace(&world, "rest");
    world.is_resting = true;
    world.rest_us = world.now_us;
    fault_end(&world);
    world_go(&world, world.now_us + WORLD_REST_MAX_US, world_is_calm);
    if (world.rule == NULL && !fault_is_whole(&world)) {
        world_broken(&world, "C9", "not all nodes are complete 30 s after the last fault");
    }
    if (world.rule == NULL && !world_is_verified(&world)) {
        world_broken(&world, "C9", "copies are still to be compared 30 s after the last fault");
    }
    client_read_all(&world);
    world_go(&world, world.now_us + 2 * WORLD_REQUEST_US, world_has_read);
    if (world.rule == NULL) {
        verdict_give(&world, result);
    }
    result->hash = world.hash;
    result->events = world.events;
    result->ops = world.history.count;
    result->end_us = world.now_us;
    bool is_kept = world.rule == NULL;
    if (!is_kept) {
        printf("seed %" PRIu64 " at %.6f s: %s: %s\n", options->seed, (double)world.now_us / 1e6,
               world.rule, world.broken);
    }
    world_fini(&world);
    return is_kept;
}
