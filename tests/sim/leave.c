/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Proxies that end as they should: what main.c and the shell's threads do from SIGTERM on, and what
 * else goes wrong at that moment. Workers take no more clients and requests, and say when nothing
 * is under way any more; then control takes its leave; the process ends when control says that it
 * has, or after a while, and is started again as by `systemctl restart`.
 *
 * A farewell says that nothing of its proxy's is under way (docs/decisions.md 9): when it is sent
 * no node may be about to execute a write of it, by whatever connection.
 */
#include "sim/world.h"

#include "everwarm/base/invariant.h"
#include "sim/fault.h"

enum {
    LEAVE_STEP_US = 20 * 1000, /* main.c: DRAIN_STEP_MS */
    LEAVE_LOOKS = 250,         /* of DRAIN_MS_MAX */
    LEAVE_MAX = 12,            /* of one run */
    LEAVE_SOON_US = 60 * 1000,
    LEAVE_RESTART_US = 2000 * 1000,
};

/* --- The shell's part --- */

void leave_begin(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    if (!p->is_up || p->is_leaving || world->is_resting) {
        return;
    }
    world_trace(world, "FAULT p%u is told to end", proxy);
    world->leaves++;
    world_note_fault(world);
    p->is_leaving = true;
    for (uint32_t w = 0; w < world->options.workers; w++) {
        proxy_post(world, proxy, w, &(struct message){.is_drain = true});
    }
    world_post(world, world->now_us + LEAVE_STEP_US, WORLD_PROXY_LEAVING, proxy, 0, p->run);
}

void leave_look(struct world *world, uint32_t proxy, uint32_t worker)
{
    struct proxy *p = &world->proxies[proxy];
    if (p->is_draining[worker] && !p->is_quiet[worker] &&
        dataplane_next_deadline_us(p->dp[worker]) == UINT64_MAX) {
        p->is_quiet[worker] = true;
        proxy_post(world, proxy, worker, &(struct message){.is_report = true, .is_quiet = true});
    }
}

void leave_on_quiet(struct world *world, uint32_t proxy, uint32_t worker)
{
    struct proxy *p = &world->proxies[proxy];
    world_trace(world, "p%u.w%u is quiet", proxy, worker);
    p->quiet_count++;
    if (p->quiet_count == world->options.workers) {
        p->is_left = true;
        control_leave(p->control, proxy_now(world, proxy));
    }
}

static void leave_end(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    bool is_soon = world_chance(world, 50) || p->is_soon_back;
    uint64_t for_us = 1 + world_below(world, is_soon ? LEAVE_SOON_US : LEAVE_RESTART_US);
    p->is_soon_back = false;
    world_trace(world, "p%u ends %s, back in %llu us", proxy,
                p->has_said ? "after its farewell" : "without a farewell",
                (unsigned long long)for_us);
    p->paused_us = 0;
    /* It dies with a node, which a proxy that is killed does not (see fault_may_harm_proxy). */
    for (uint32_t i = 0; !p->has_said && !fault_are_nodes_well(world) && i < world->options.proxies;
         i++) {
        fault_trouble(&world->proxies[i], world->now_us + WORLD_LEASE_US);
    }
    proxy_crash(world, proxy);
    fault_trouble(p, world->now_us + for_us);
    world_note_fault(world);
    world_post(world, world->now_us + for_us, WORLD_PROXY_START, proxy, 0, 0);
}

void leave_watch(struct world *world, uint32_t proxy)
{
    struct proxy *p = &world->proxies[proxy];
    if ((p->is_left && control_is_gone(p->control)) || ++p->looks == LEAVE_LOOKS) {
        leave_end(world, proxy);
        return;
    }
    world_post(world, world->now_us + LEAVE_STEP_US, WORLD_PROXY_LEAVING, proxy, 0, p->run);
}

/* --- The farewell --- */

static void leave_check(struct world *world, uint32_t proxy)
{
    for (uint32_t i = 0; i < world->conn_count; i++) {
        const struct conn *conn = world->conns[i];
        if (conn->proxy == proxy && conn->proxy_run == world->proxies[proxy].run &&
            net_is_work(world, conn) && net_may_write(world, conn)) {
            world_broken(world, "C4",
                         "p%u says farewell, and node %u may still execute a write of it that came "
                         "by connection %u",
                         proxy, conn->node, conn->number);
        }
    }
}

/*
 * A node stands still when PROXY says farewell, and goes on when the next run lives: it shows what
 * the old one left until the new one's heartbeat comes, while views change.
 */
static void leave_haunt(struct world *world, uint32_t proxy)
{
    uint32_t node = (uint32_t)world_below(world, world->options.nodes);
    bool may_stop = world->nodes[node].is_up && !world->nodes[node].is_frozen &&
                    (fault_is_tame(world, node) || world->loss_us > 0);
    if (!may_stop || fault_is_split_without(world, node) || world->is_resting ||
        !world_chance(world, 30)) {
        return;
    }
    uint64_t for_us = 300000 + world_below(world, 1200000);
    world->nodes[node].harmed_us = world->now_us;
    world->proxies[proxy].is_soon_back = true;
    uint32_t other = (node + 1) % world->options.nodes;
    fault_stop(world, node, for_us);
    world_post(world, world->now_us + for_us, WORLD_FAULT, FAULT_HAUNT,
               node * WORLD_PROXIES_MAX + proxy, 0);
    for (uint64_t i = 0; i < 3; i++) {
        world_post(world, world->now_us + for_us - 20000 + world_below(world, 60000), WORLD_FAULT,
                   FAULT_TOGGLE, other, 0);
    }
}

void leave_on_probe(struct world *world, uint32_t proxy, struct slice bytes)
{
    static const struct slice farewells[] = {
        SLICE_INIT("\nepoch 0\nview 0000000000000001\n"),
        SLICE_INIT("\nepoch 0\nview 0000000000000002\n"),
    };
    struct proxy *p = &world->proxies[proxy];
    bool is_farewell = false;
    for (size_t i = 0; i < sizeof farewells / sizeof farewells[0]; i++) {
        is_farewell =
            is_farewell || memmem(bytes.ptr, bytes.len, farewells[i].ptr, farewells[i].len) != NULL;
    }
    if (!p->is_left || !is_farewell) {
        return;
    }
    if (!p->has_said) {
        world_trace(world, "p%u says farewell", proxy);
        p->has_said = true;
        leave_check(world, proxy);
        leave_haunt(world, proxy);
    }
}

/* --- Ids --- */

/* Its next run asks for the id that this one had, or for another's that is not up. */
void leave_choose_id(struct world *world, uint32_t proxy, uint32_t id)
{
    struct proxy *p = &world->proxies[proxy];
    if (!world->profile->shares_ids || id >= PROXIES_MAX) {
        return;
    }
    uint32_t other = (uint32_t)world_below(world, world->options.proxies);
    p->id_next = id;
    if (other != proxy && !world->proxies[other].is_up && world_chance(world, 50)) {
        p->id_next = world->proxies[other].id_next;
        world->proxies[other].id_next = id;
    }
}

void leave_forget_id(struct world *world, uint32_t proxy)
{
    uint32_t id = world->proxies[proxy].id_next;
    if (id >= PROXIES_MAX || !world_chance(world, 70)) {
        return;
    }
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        struct control_snapshot snapshot;
        if (proxy_snapshot(world, i, &snapshot) &&
            (snapshot.proxy_id == id || snapshot.proxy_id == VIEW_NO_PROXY)) {
            return; /* somebody has it, or may be about to */
        }
    }
    char key[MC_KEY_BYTES_MAX];
    struct mc_writer w = mc_writer_of(key, sizeof(key));
    view_key_id(&world->names, id, &w);
    world_trace(world, "nodes have forgotten who had id %u", id);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct node *node = &world->nodes[i];
        net_node_time(world, i);
        struct store_item *item =
            node->is_up ? store_find(&node->model.store, slice_of(key, w.len)) : NULL;
        if (item != NULL) {
            store_drop(&node->model.store, item);
        }
    }
}

/* --- When --- */

static bool leave_may(const struct world *world, uint32_t proxy)
{
    const struct proxy *p = &world->proxies[proxy];
    return (world->fault_kinds >> FAULT_LEAVE & 1) != 0 && p->is_up && !p->is_leaving &&
           p->paused_us <= world->now_us && world->is_started && !world->is_resting &&
           world->leaves < LEAVE_MAX;
}

static void leave_soon(struct world *world, uint32_t proxy, uint64_t within_us)
{
    world_post(world, world->now_us + 1 + world_below(world, within_us), WORLD_FAULT, FAULT_LEAVES,
               proxy, 0);
}

void leave_at_moment(struct world *world, uint32_t proxy)
{
    if (!leave_may(world, proxy) || world->end_us != 0 || !world_chance(world, 2)) {
        return;
    }
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        if (!world->proxies[i].is_up || world->proxies[i].is_leaving) {
            return; /* one after the other */
        }
    }
    leave_soon(world, proxy, 4 * world->delay_us + 2 * world->wire_us);
}

/* Who fills or compares copies, if anybody does. */
static uint32_t leave_choose(struct world *world)
{
    uint32_t number = (uint32_t)world_below(world, world->options.proxies);
    for (uint32_t i = 0; i < world->options.proxies && world_chance(world, 60); i++) {
        struct control_snapshot snapshot;
        bool is_there = proxy_snapshot(world, i, &snapshot);
        bool is_busy = is_there && snapshot.verify.is_running;
        for (uint32_t n = 0; is_there && n < world->options.nodes; n++) {
            is_busy = is_busy || snapshot.nodes[n].is_filled_by_us;
        }
        number = is_busy ? i : number;
    }
    return number;
}

/* What its new run asks of the node is done last. */
void leave_go_on(struct world *world, uint32_t number)
{
    uint32_t proxy = number % WORLD_PROXIES_MAX;
    for (uint32_t i = 0; i < world->conn_count; i++) {
        struct conn *conn = world->conns[i];
        if (conn->proxy == proxy && conn->node == number / WORLD_PROXIES_MAX &&
            !net_is_work(world, conn) && conn->is_node_open &&
            conn->proxy_run == world->proxies[proxy].run) {
            net_stall(world, conn, 20000 + world_below(world, 80000));
        }
    }
}

void leave_strike(struct world *world, uint32_t node)
{
    uint32_t number = leave_choose(world);
    uint32_t dice = (uint32_t)world_below(world, 10);
    uint64_t within_us = world_chance(world, 50) ? 3000 : 300000;
    if (!leave_may(world, number)) {
        return;
    }
    world_hurry(world, 20000);
    leave_soon(world, number, within_us);
    switch (dice) {
    case 0:
        fault_crash(world, node);
        break;
    case 1:
    case 2:
        fault_freeze(world, node);
        break;
    case 3:
        fault_cut_one(world, number, node);
        break;
    case 4: /* an operator who takes out a node beside another does two things at once */
        if (!fault_are_nodes_well(world) || fault_is_cut_anywhere(world)) {
            break;
        }
        fault_say(world, node, (enum control_command_type)world_below(world, 4));
        break;
    case 5:
        fault_kill_proxy(world, (number + 1) % world->options.proxies);
        break;
    case 6:
        world->link_cut_node = node;
        break;
    case 7:
        leave_soon(world, (number + 1) % world->options.proxies, within_us);
        break;
    default:
        break;
    }
}
