/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where nodes stand. Each proxy gives every node that a view names a place of its own choice, and
 * all sets of nodes, wires and links go by places. A node keeps its place as long as anything of it
 * is left; at another address it is another node, at another place.
 *
 * I1. No two places that are not FREE have both name and address in common.
 * I2. A place becomes FREE only when no view that matters names it, every dataplane has adopted one
 *     without it, and no connection given up there is left: so it is never mistaken for the next.
 */
#include "control_private.h"

/* --- Names --- */

static struct slice address_of(const struct place *place)
{
    return slice_of(place->address, place->address_bytes);
}

static void take(struct control *control, uint32_t node, struct slice name, struct slice address)
{
    struct place *place = &control->places[node];
    INVARIANT(place->state == PLACE_FREE && name.len <= sizeof place->name &&
              address.len <= sizeof place->address);
    *place = (struct place){.name_bytes = (uint8_t)name.len,
                            .address_bytes = (uint8_t)address.len,
                            .since_us = control->now_us};
    memcpy(place->name, name.ptr, name.len);
    memcpy(place->address, address.ptr, address.len);
    control->place_names[node] = slice_of(place->name, place->name_bytes);
}

void control_place_init(struct control *control)
{
    const struct control_options *options = &control->options;
    const struct slice *names = options->names.nodes;
    for (uint32_t node = 0; node < control->node_count; node++) {
        control->place_names[node] = slice_of("", 0);
        if (names[node].len == 0) {
            continue;
        }
        take(control, node, names[node], options->addresses[node]);
        control->places[node].state = PLACE_IN;
        view_name_node(&control->configured[control->configured_count++], names[node],
                       options->addresses[node]);
    }
    control->options.names.nodes = control->place_names;
    control->options.addresses = NULL;
}

void control_place_name(const struct control *control, struct view *view, uint32_t node)
{
    view_name_node(&view->nodes[node], control->place_names[node],
                   address_of(&control->places[node]));
}

/* Where this proxy connects to: its own configuration knows better, unless an operator has spoken.
 */
static struct slice address_for(const struct control *control, const struct view_node *node)
{
    for (uint32_t i = 0; i < control->configured_count && !node->is_told; i++) {
        if (slice_is_equal(view_name(&control->configured[i]), view_name(node))) {
            return view_address(&control->configured[i]);
        }
    }
    return view_address(node);
}

/* --- Finding --- */

static uint32_t find(const struct control *control, struct slice name, struct slice address)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        if (control->places[node].state != PLACE_FREE &&
            slice_is_equal(control->place_names[node], name) &&
            slice_is_equal(address_of(&control->places[node]), address)) {
            return node;
        }
    }
    return NODES_MAX;
}

static uint32_t find_free(const struct control *control, node_set taken)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        if (control->places[node].state == PLACE_FREE && (taken & node_set_of(node)) == 0) {
            return node;
        }
    }
    return NODES_MAX;
}

node_set control_place_in(const struct control *control)
{
    node_set set = 0;
    for (uint32_t node = 0; node < control->node_count; node++) {
        set |= control->places[node].state == PLACE_IN ? node_set_of(node) : 0;
    }
    return set;
}

bool control_place_takes_views(const struct control *control, uint32_t node)
{
    const struct place *place = &control->places[node];
    return place->state == PLACE_IN || (place->state == PLACE_LEAVING && place->is_told_off);
}

/* --- Coming --- */

static void place_move(struct control *control, uint32_t node, enum place_state to)
{
    static const bool moves[4][4] = {
        [PLACE_FREE] = {[PLACE_CANDIDATE] = true, [PLACE_IN] = true},
        [PLACE_CANDIDATE] = {[PLACE_IN] = true, [PLACE_LEAVING] = true},
        [PLACE_IN] = {[PLACE_CANDIDATE] = true, [PLACE_LEAVING] = true},
        [PLACE_LEAVING] = {[PLACE_CANDIDATE] = true, [PLACE_IN] = true, [PLACE_FREE] = true},
    };
    struct place *place = &control->places[node];
    INVARIANT(moves[place->state][to]);
    place->is_action_due = place->is_action_due || place->state == PLACE_FREE;
    place->state = to;
    place->since_us = control->now_us;
    place->since_serial = control->effective_serial;
}

/* A view names it. What it was told as something else, and what it was not, is made good. */
static void enter(struct control *control, uint32_t node)
{
    struct probe *probe = &control->probes[node];
    if (control->places[node].state == PLACE_IN) {
        return;
    }
    place_move(control, node, PLACE_IN);
    probe->is_foreign = false;
    if (probe->is_greeted) {
        probe->greeted_us = control->now_us;
        probe->is_looked = false;
        control_peers_claim(control, probe);
        control_peers_beat_on(control, probe);
        control_probe_ask_view(control, probe);
    }
    control_probe_hurry(control, probe);
}

static void release(struct control *control, uint32_t node)
{
    struct probe *probe = &control->probes[node];
    node_set others = ~node_set_of(node);
    control_probe_close(control, probe);
    place_move(control, node, PLACE_FREE);
    control->place_names[node] = slice_of("", 0);
    control->nodes[node] = (struct node_record){0};
    char *ring = probe->out.memory;
    bool wants_close = probe->wants_close;
    memset(probe, 0, sizeof *probe);
    probe->wants_close = wants_close;
    control_probe_init(control, node, ring);
    for (uint32_t id = 0; id < PROXIES_MAX; id++) {
        control->peers[id].quiet_on &= others;
        control->peers[id].stale_on &= others;
        control->peers[id].given_up &= others;
        control->peers[id].given_up_before &= others;
    }
    control->id_asked &= others;
    control->id_ours &= others;
    control->anchors_tried &= others;
    control->farewells &= others;
    control->flush_sent &= others;
    control->flush_ok &= others;
}

/* Before anything is in effect nothing hangs on places: who is not in VIEW makes room. */
static void make_room(struct control *control, const struct view *view, uint32_t from)
{
    if (control->effective.epoch > 0 || control->join != JOIN_IDLE) {
        return;
    }
    node_set kept = node_set_of(from); /* its wire is being read */
    for (node_set left = view->members; left != 0; left &= left - 1) {
        const struct view_node *node = &view->nodes[node_set_first(left)];
        uint32_t place = find(control, view_name(node), address_for(control, node));
        kept |= place < NODES_MAX ? node_set_of(place) : 0;
    }
    for (node_set left = control_place_in(control) & ~kept; left != 0; left &= left - 1) {
        place_move(control, node_set_first(left), PLACE_LEAVING);
        release(control, node_set_first(left));
    }
}

/* Where each node stands, or may stand; those that are new. False: there is no room. */
static bool find_all(const struct control *control, const struct view *view,
                     uint32_t place[NODES_MAX], node_set *out)
{
    node_set fresh = 0;
    for (node_set left = view->members; left != 0; left &= left - 1) {
        uint32_t from = node_set_first(left);
        const struct view_node *node = &view->nodes[from];
        place[from] = find(control, view_name(node), address_for(control, node));
        if (place[from] == NODES_MAX) {
            place[from] = find_free(control, fresh);
            if (place[from] == NODES_MAX) {
                return false;
            }
            fresh |= node_set_of(place[from]);
        }
    }
    *out = fresh;
    return true;
}

bool control_place_view(struct control *control, struct view *view, uint32_t from)
{
    uint32_t place[NODES_MAX] = {0};
    node_set fresh = 0;
    if (!find_all(control, view, place, &fresh)) {
        make_room(control, view, from);
        if (!find_all(control, view, place, &fresh)) {
            return false;
        }
    }
    view_place(view, place);
    for (node_set left = view->members; left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if ((fresh & node_set_of(node)) != 0) {
            take(control, node, view_name(&view->nodes[node]),
                 address_for(control, &view->nodes[node]));
        }
        enter(control, node);
    }
    return true;
}

uint32_t control_place_candidate(struct control *control, const struct control_command *command)
{
    struct slice name = slice_of(command->name, command->name_bytes);
    struct slice address = slice_of(command->address, command->address_bytes);
    uint32_t node = find(control, name, address);
    if (node == NODES_MAX) {
        node = find_free(control, 0);
        if (node == NODES_MAX) {
            return NODES_MAX;
        }
        take(control, node, name, address);
    }
    if (control->places[node].state != PLACE_IN && control->places[node].state != PLACE_CANDIDATE) {
        place_move(control, node, PLACE_CANDIDATE);
        control_probe_close(control, &control->probes[node]); /* it is looked at anew */
        control->probes[node].failures = 0;
        control->probes[node].is_foreign = false;
        control_probe_hurry(control, &control->probes[node]);
    }
    return node;
}

/* --- Leaving --- */

static node_set named(const struct control *control)
{
    node_set set = control->effective.members | control->joined.members | control->target.members |
                   control->top.members;
    return set | (control->is_proposing ? control->proposal.members : 0);
}

static bool is_wished_for(const struct control *control, uint32_t node)
{
    for (uint32_t i = 0; i < CONTROL_COMMANDS_MAX; i++) {
        const struct wish *wish = &control->wishes[i];
        if (wish->is_used && !wish->is_over && wish->command.type == CONTROL_COMMAND_ADD &&
            wish->command.node == node) {
            return true;
        }
    }
    return false;
}

/* It was told that it is no member any more, or can't be. */
static bool is_informed(const struct control *control, uint32_t node)
{
    const struct place *place = &control->places[node];
    const struct probe *probe = &control->probes[node];
    return !place->is_told_off || !probe->is_greeted ||
           (probe->held_epoch == control->top.epoch && probe->held_hash == control->top.hash) ||
           control->now_us - place->since_us >= control->options.lease_us;
}

static bool is_left_by_all(const struct control *control, uint32_t node)
{
    const struct place *place = &control->places[node];
    node_set bit = node_set_of(node);
    for (uint32_t worker = 0; worker < control->options.worker_count; worker++) {
        if (control->adopted[worker] < place->since_serial) {
            return false;
        }
    }
    /* A dataplane tells of what it gave up when it adopts, and soon after. */
    return control->now_us - place->since_us >= control->options.lease_us &&
           (control_peers_own_given_up(control) & bit) == 0 &&
           (control->drive == FILL_DRIVE_IDLE || control->fill_node != node);
}

void control_place_step(struct control *control)
{
    node_set kept = named(control);
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct place *place = &control->places[node];
        struct probe *probe = &control->probes[node];
        bool is_in = place->state == PLACE_IN && control->effective.epoch > 0;
        bool is_kept = (kept & node_set_of(node)) != 0;
        if (is_kept) {
            enter(control, node); /* our own proposal names it */
        } else if (is_in && is_wished_for(control, node)) {
            place_move(control, node, PLACE_CANDIDATE); /* another proposal came before */
        } else if (is_in) {
            place_move(control, node, PLACE_LEAVING);
            place->is_told_off = control->nodes[node].was_member;
        } else if (place->state == PLACE_CANDIDATE && !is_wished_for(control, node)) {
            place_move(control, node, PLACE_LEAVING);
            place->is_told_off = false;
        }
        if (place->state != PLACE_LEAVING || !is_informed(control, node)) {
            continue;
        }
        control_probe_close(control, probe);
        if (probe->state == PROBE_CLOSED && !probe->wants_close && is_left_by_all(control, node)) {
            release(control, node);
        }
    }
}

bool control_place_next_action(struct control *control, struct control_action *out)
{
    for (uint32_t node = 0; node < control->node_count; node++) {
        struct place *place = &control->places[node];
        if (place->is_action_due) {
            place->is_action_due = false;
            out->type = CONTROL_ACTION_PLACE;
            out->node = node;
            out->name = control->place_names[node];
            out->address = address_of(place);
            return true;
        }
    }
    return false;
}
