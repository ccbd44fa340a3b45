/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Connections between proxies and nodes: two directions, each in order, each with delays of its
 * own.
 *
 * N1. What has arrived at a node is executed, whatever becomes of its connection, unless the
 * process dies; a frozen process executes it when it goes on (replication.md section 2). N2. EOF
 * reaches the proxy after all answers, and only when the process closed or died. N3. After a reset
 * by something on the way, bytes in flight may still arrive and be executed.
 */
#include "sim/world.h"

#include "everwarm/base/invariant.h"

#include <stdlib.h>

void net_node_time(struct world *world, uint32_t node)
{
    enum { EPOCH_S = 1700000000 };
    struct node *n = &world->nodes[node];
    int64_t us = (int64_t)world->now_us + n->clock_offset_us;
    n->model.store.wall_s = EPOCH_S + us / 1000000;
}

static void net_put(struct world *world, struct conn *conn, enum world_event way,
                    struct segment *segment)
{
    uint64_t *last_us = way == WORLD_TO_NODE ? &conn->to_node_us : &conn->to_proxy_us;
    uint64_t at_us = world->now_us + world_delay(world);
    if (!conn->is_link) {
        at_us += world_below(world, world->wire_us);
    }
    at_us = at_us < *last_us ? *last_us : at_us;
    *last_us = at_us;
    conn->flying += way == WORLD_TO_NODE && segment->type == SEGMENT_DATA;
    world_post(world, at_us, way, conn->number, 0, (uint64_t)(uintptr_t)segment);
}

/* Bytes travel in pieces of any size. */
static void net_put_bytes(struct world *world, struct conn *conn, enum world_event way,
                          struct slice bytes)
{
    while (bytes.len > 0) {
        size_t piece = bytes.len;
        if (piece > 1 && world_chance(world, 12)) {
            piece = 1 + (size_t)world_below(world, piece - 1);
        }
        struct segment *segment = world_segment(SEGMENT_DATA, slice_of(bytes.ptr, piece));
        if (conn->is_link && way == WORLD_TO_NODE) {
            const struct topology *topology = world->proxies[conn->proxy].topology[conn->worker];
            if (topology != NULL) {
                segment->is_complete = (topology->complete & node_set_of(conn->node)) != 0;
                segment->identity = topology->identity[conn->node];
            }
        }
        net_put(world, conn, way, segment);
        bytes = slice_skip(bytes, piece);
    }
}

struct conn *net_connect(struct world *world, const struct conn *like)
{
    if (world->conn_count == world->conn_capacity) {
        world->conn_capacity = world->conn_capacity == 0 ? 256 : 2 * world->conn_capacity;
        world->conns = realloc(world->conns, world->conn_capacity * sizeof(struct conn *));
        REQUIRE(world->conns != NULL);
    }
    struct conn *conn = malloc(sizeof(*conn));
    REQUIRE(conn != NULL);
    *conn = *like;
    conn->number = world->conn_count;
    conn->proxy_run = world->proxies[conn->proxy].run;
    conn->side = CONN_CONNECTING;
    conn->last_key = WORLD_KEYS_MAX;
    world->conns[world->conn_count++] = conn;
    net_put(world, conn, WORLD_TO_NODE, world_segment(SEGMENT_SYN, SLICE("")));
    return conn;
}

static bool net_is_write(struct slice bytes)
{
    for (; bytes.len > 0; bytes = slice_skip(bytes, 1)) {
        bool is_write = false;
        if (bytes.ptr[0] == 'm') {
            is_write = slice_has_prefix(bytes, SLICE("ms ")) ||
                       slice_has_prefix(bytes, SLICE("md ")) ||
                       slice_has_prefix(bytes, SLICE("ma "));
        } else if (bytes.ptr[0] == 't') {
            is_write = slice_has_prefix(bytes, SLICE("touch "));
        } else if (bytes.ptr[0] == 'f') {
            is_write = slice_has_prefix(bytes, SLICE("flush_all"));
        }
        if (is_write) {
            return true;
        }
    }
    return false;
}

bool net_is_work(const struct world *world, const struct conn *conn)
{
    return conn->is_link || conn->wire >= world->options.nodes;
}

bool net_may_write(const struct world *world, const struct conn *conn)
{
    const struct node *node = &world->nodes[conn->node];
    bool is_there = conn->is_node_open && conn->node_run == node->run && node->is_up;
    bool is_coming = conn->flying > 0 && !conn->is_timed_out && !node->is_host_down;
    /* What comes later than that after a reset nobody waits for: N3. */
    bool is_too_late = conn->dark_us > 0 && world->now_us > conn->dark_us + WORLD_LATE_US;
    return is_there && !is_too_late && conn->has_write && (conn->mc.in.len > 0 || is_coming);
}

void net_send(struct world *world, struct conn *conn, struct slice bytes)
{
    bool is_work = net_is_work(world, conn);
    uint32_t key = is_work ? aim_key_of(world, bytes) : WORLD_KEYS_MAX;
    conn->last_key = key == WORLD_KEYS_MAX ? conn->last_key : key;
    if (is_work && !conn->is_link) {
        if (!world->profile->is_hot) {
            world_hurry(world, 3 * (world->wire_us + world->delay_us)); /* a fill copies */
        }
        aim_at_copy(world, conn->node, key, bytes);
        fault_on_copy(world, conn, bytes);
        moment_on_copy(world, conn, bytes);
    } else if (!conn->is_link) {
        fault_on_beat(world, conn->proxy, bytes);
        moment_on_probe(world, conn, bytes);
    } else {
        fault_on_link(world, conn, bytes);
        moment_on_link(world, conn, key, bytes);
        aim_at_warming(world, conn, key, bytes);
        if (key != WORLD_KEYS_MAX) {
            proxy_check_sending(world, conn->proxy, conn->worker);
        }
    }
    if (conn->side == CONN_OPEN) {
        conn->has_write = conn->has_write || (is_work && net_is_write(bytes));
        net_put_bytes(world, conn, WORLD_TO_NODE, bytes);
    }
}

static void net_lose(struct world *world, struct conn *conn, enum wire_end end)
{
    if (conn->side == CONN_DEAD) {
        return;
    }
    conn->dark_us = end == WIRE_END_RESET || end == WIRE_END_TIMEOUT ? world->now_us : 0;
    proxy_on_conn(world, conn, WIRE_CLOSED, SLICE(""), end);
}

void net_give_up(struct world *world, struct conn *conn)
{
    aim_at(world, conn->last_key, 20000);
    if (conn->side == CONN_CONNECTING) {
        conn->side = CONN_ENDING;
        net_put(world, conn, WORLD_TO_PROXY, world_segment(SEGMENT_REFUSE, SLICE("")));
        return;
    }
    conn->side = CONN_ENDING;
    net_put(world, conn, WORLD_TO_NODE, world_segment(SEGMENT_FIN, SLICE("")));
}

void net_close(struct world *world, struct conn *conn)
{
    /* A socket that is closed sends nothing again (SO_LINGER): so a heartbeat that packets were
     * lost of does not come when they are lost no longer. */
    bool is_probe = !net_is_work(world, conn);
    conn->is_timed_out =
        conn->is_timed_out ||
        (is_probe && world->now_us < world->proxies[conn->proxy].cut_to_node_us[conn->node]);
    conn->side = CONN_DEAD;
    net_put(world, conn, WORLD_TO_NODE, world_segment(SEGMENT_RST, SLICE("")));
}

static bool net_is_executing(const struct world *world, const struct conn *conn)
{
    const struct node *node = &world->nodes[conn->node];
    return conn->is_node_open && conn->node_run == node->run && node->is_up && !node->is_frozen &&
           conn->stalled_us <= world->now_us;
}

static void net_node_close(struct world *world, struct conn *conn, enum segment_type how)
{
    conn->is_node_open = false;
    if (!conn->has_rst) {
        net_put(world, conn, WORLD_TO_PROXY, world_segment(how, SLICE("")));
    }
    model_conn_fini(&world->nodes[conn->node].model, &conn->mc);
}

void net_run(struct world *world, struct conn *conn)
{
    if (!net_is_executing(world, conn)) {
        return;
    }
    struct model *model = &world->nodes[conn->node].model;
    net_node_time(world, conn->node);
    world->running = conn;
    while (model_run(model, &conn->mc) && !conn->mc.is_dumping) {
    }
    world->running = NULL;
    conn->has_write = conn->has_write && (conn->flying > 0 || conn->mc.in.len > 0);
    if (!net_is_work(world, conn)) {
        lineage_look(world, conn->node);
    }
    if (!model->is_understanding) {
        world_broken(world, "S10", "node %u does not understand: %s", conn->node, model->puzzle);
        model->is_understanding = true;
    }
    if (conn->is_mute && conn->mc.out.len > 0) {
        bytes_clear(&conn->mc.out);
        conn->mc.is_closing = moment_is_silenced(world, conn);
    }
    if (conn->mc.out.len > 0 && !conn->has_rst) {
        net_put_bytes(world, conn, WORLD_TO_PROXY, bytes_slice(&conn->mc.out));
    }
    bytes_clear(&conn->mc.out);
    if (conn->mc.is_dumping && !conn->has_rst) {
        world_hurry(world, world->profile->is_hot ? 1 : 200 + 40 * world->delay_us);
        world_post(world, world->now_us + 20 + world_below(world, 400), WORLD_NODE_RUN,
                   conn->number, 0, 0);
    } else if (conn->has_fin || conn->has_rst || conn->mc.is_closing) {
        net_node_close(world, conn, SEGMENT_FIN);
    }
}

static bool net_is_cut(const struct world *world, const struct conn *conn)
{
    const struct proxy *p = &world->proxies[conn->proxy];
    return world->now_us < p->cut_to_node_us[conn->node] ||
           world->now_us < p->cut_to_proxy_us[conn->node];
}

/* TCP_USER_TIMEOUT. */
void net_unheard(struct world *world, struct conn *conn)
{
    if (!conn->has_timer) {
        conn->has_timer = true;
        world_post(world, world->now_us + WORLD_LEASE_US / 2, WORLD_CONN_TIMEOUT, conn->number, 0,
                   0);
    }
}

void net_timeout(struct world *world, struct conn *conn)
{
    conn->has_timer = false;
    bool is_heard = conn->is_node_open && !net_is_cut(world, conn);
    if (conn->side != CONN_DEAD && conn->side != CONN_CONNECTING && !is_heard) {
        conn->is_timed_out = true;
        net_lose(world, conn, WIRE_END_TIMEOUT);
    }
}

static void net_accept(struct world *world, struct conn *conn)
{
    const struct node *node = &world->nodes[conn->node];
    if (!node->is_up) {
        net_put(world, conn, WORLD_TO_PROXY, world_segment(SEGMENT_REFUSE, SLICE("")));
        return;
    }
    conn->is_node_open = true;
    conn->node_run = node->run;
    net_put(world, conn, WORLD_TO_PROXY, world_segment(SEGMENT_ACCEPT, SLICE("")));
}

void net_to_node(struct world *world, struct conn *conn, struct segment *segment)
{
    const struct node *node = &world->nodes[conn->node];
    conn->flying -= segment->type == SEGMENT_DATA;
    if (node->is_host_down) {
        net_unheard(world, conn);
        return;
    }
    if (conn->is_timed_out || (segment->type == SEGMENT_SYN && conn->side != CONN_CONNECTING)) {
        return;
    }
    if (net_is_cut(world, conn)) {
        net_unheard(world, conn); /* it arrives, but what acknowledges it does not */
    }
    if (segment->type == SEGMENT_SYN) {
        net_accept(world, conn);
        return;
    }
    if (!conn->is_node_open || conn->node_run != node->run) {
        if (segment->type != SEGMENT_RST) {
            net_put(world, conn, WORLD_TO_PROXY, world_segment(SEGMENT_RST, SLICE("")));
        }
        return;
    }
    switch (segment->type) {
    case SEGMENT_DATA:
        conn->is_complete = segment->is_complete;
        conn->identity = segment->identity;
        bytes_put(&conn->mc.in, slice_of(segment->bytes, segment->len));
        break;
    case SEGMENT_FIN:
        conn->has_fin = true;
        break;
    case SEGMENT_RST:
        conn->has_rst = true;
        break;
    case SEGMENT_SYN:
    case SEGMENT_ACCEPT:
    case SEGMENT_REFUSE:
        break;
    }
    net_run(world, conn);
}

void net_to_proxy(struct world *world, struct conn *conn, struct segment *segment)
{
    if (conn->side == CONN_DEAD) {
        return;
    }
    switch (segment->type) {
    case SEGMENT_ACCEPT:
        if (conn->side == CONN_CONNECTING) {
            conn->side = CONN_OPEN;
            proxy_on_conn(world, conn, WIRE_OPEN, SLICE(""), WIRE_END_EOF);
        }
        return;
    case SEGMENT_REFUSE:
        net_lose(world, conn, WIRE_END_REFUSED);
        return;
    case SEGMENT_DATA:
        if (conn->side == CONN_OPEN) {
            proxy_on_conn(world, conn, WIRE_BYTES, slice_of(segment->bytes, segment->len),
                          WIRE_END_EOF);
        }
        return;
    case SEGMENT_FIN:
        net_lose(world, conn, WIRE_END_EOF);
        return;
    case SEGMENT_RST:
        net_lose(world, conn, WIRE_END_RESET);
        return;
    case SEGMENT_SYN:
        return;
    }
    UNREACHABLE();
}

void net_crash(struct world *world, uint32_t node)
{
    struct node *n = &world->nodes[node];
    n->is_up = false;
    n->is_frozen = false;
    n->generation++;
    for (uint32_t i = 0; i < world->conn_count; i++) {
        struct conn *conn = world->conns[i];
        if (conn->node != node || !conn->is_node_open) {
            continue;
        }
        if (n->is_host_down && conn->side != CONN_DEAD) {
            net_unheard(world, conn); /* also by keepalive, when nothing is sent */
        }
        conn->has_rst = conn->has_rst || n->is_host_down;
        /* Unread bytes in the socket turn the kernel's FIN into a reset. */
        net_node_close(world, conn, conn->mc.in.len > 0 ? SEGMENT_RST : SEGMENT_FIN);
    }
    if (!n->is_warm) {
        model_free(&n->model);
    }
    lineage_lose(world);
}

void net_start(struct world *world, uint32_t node)
{
    struct node *n = &world->nodes[node];
    n->is_up = true;
    n->is_host_down = false;
    n->run++;
    net_node_time(world, node);
    if (n->is_warm) {
        model_restart(&n->model, n->next_pid++);
    } else {
        model_start(&n->model, n->next_pid++, n->model.store.wall_s);
    }
    n->is_warm = false;
}

void net_thaw(struct world *world, uint32_t node)
{
    struct node *n = &world->nodes[node];
    world_hurry(world, 20000);
    n->is_frozen = false;
    n->generation++;
    for (uint32_t i = 0; i < world->conn_count; i++) {
        struct conn *conn = world->conns[i];
        if (conn->node == node && conn->is_node_open) {
            /* Its threads come to their connections one after the other, or late. */
            net_stall(world, conn, world_below(world, world_chance(world, 20) ? 50000 : 200));
        }
    }
}

void net_stall(struct world *world, struct conn *conn, uint64_t for_us)
{
    conn->stalled_us = world->now_us + for_us;
    world_post(world, conn->stalled_us, WORLD_NODE_RUN, conn->number, 0, 0);
}

void net_cut(struct world *world, struct conn *conn)
{
    const struct node *node = &world->nodes[conn->node];
    world_hurry(world, 50000);
    aim_at(world, conn->last_key, 20000);
    if (world_chance(world, 30)) {
        net_cut_late(world, conn, world_chance(world, 70) ? 100000 : WORLD_LATE_US);
    } else if (conn->is_node_open && node->is_up && !node->is_frozen && !node->is_host_down) {
        net_node_close(world, conn, world_chance(world, 50) ? SEGMENT_FIN : SEGMENT_RST);
    }
}

void net_cut_late(struct world *world, struct conn *conn, uint64_t for_us)
{
    if (world->options.has_late_packets && conn->side == CONN_OPEN &&
        world->now_us >= world->proxies[conn->proxy].paused_us) {
        /* Something on the way resets both ends; what is in flight comes first (N3), and may be
         * sent again a few times before it arrives, or wait there until it is read. */
        net_stall(world, conn, world_below(world, for_us));
        net_put(world, conn, WORLD_TO_NODE, world_segment(SEGMENT_RST, SLICE("")));
        net_lose(world, conn, WIRE_END_RESET);
    }
}

void net_fini(struct world *world)
{
    for (uint32_t i = 0; i < world->conn_count; i++) {
        bytes_free(&world->conns[i]->mc.in);
        bytes_free(&world->conns[i]->mc.out);
        free(world->conns[i]);
    }
    free(world->conns);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        model_free(&world->nodes[i].model);
    }
}
