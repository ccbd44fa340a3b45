/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Nodes that come into the pool and leave it, by an operator's word. A change of view does it, as
 * all else: a node that comes is named and out, and is filled as any node that is out; one that
 * goes is named no more. All proxies take it over from the view.
 *
 * A node is looked at before it is named: what holds the view of another pool serves that pool, and
 * a fill would empty it.
 */
#include "control_private.h"

enum {
    /* Attempts to connect to a node that is to be added. */
    LOOKS_MAX = 2,
    /* A pool that has a view has two nodes: a single one is served without a view, and those that
     * do so would not see those that don't. */
    MEMBERS_MIN = 2,
};

uint32_t control_member_moving(const struct control *control, const struct view *view,
                               uint32_t place)
{
    for (node_set left = view->members & ~node_set_of(place); left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        if (slice_is_equal(view_name(&view->nodes[node]), control->place_names[place])) {
            return node;
        }
    }
    return NODES_MAX;
}

void control_member_add(const struct control *control, struct view *view, uint32_t place)
{
    uint32_t before = control_member_moving(control, view, place);
    enum node_admin admin = before < NODES_MAX ? view->nodes[before].admin : NODE_ADMIN_READY;
    if (before < NODES_MAX) {
        control_member_remove(view, before);
    }
    view->members |= node_set_of(place);
    view->nodes[place] = (struct view_node){
        .is_told = true, .data = NODE_DATA_OUT, .admin = admin, .filler = VIEW_NO_PROXY};
    control_place_name(control, view, place);
}

void control_member_remove(struct view *view, uint32_t place)
{
    view->members &= ~node_set_of(place);
    view_clear_others(view);
}

/* Two names for one memcached: each would empty it to fill it. */
static bool is_taken(const struct control *control, const struct view *view, uint32_t place)
{
    const struct place *wanted = &control->places[place];
    struct slice address = slice_of(wanted->address, wanted->address_bytes);
    for (node_set left = view->members & ~node_set_of(place); left != 0; left &= left - 1) {
        uint32_t node = node_set_first(left);
        const struct place *other = &control->places[node];
        bool is_same = slice_is_equal(view_address(&view->nodes[node]), address) ||
                       slice_is_equal(slice_of(other->address, other->address_bytes), address);
        if (is_same && !slice_is_equal(control->place_names[node], control->place_names[place])) {
            return true;
        }
    }
    return false;
}

bool control_member_is_refused(const struct control *control, const struct view *view,
                               const struct control_command *command, enum control_result *result)
{
    bool is_member = (view->members & node_set_of(command->node)) != 0;
    if (command->type == CONTROL_COMMAND_REMOVE) {
        *result = CONTROL_RESULT_LAST_TWO;
        return is_member && node_set_count(view->members) <= MEMBERS_MIN;
    }
    if (command->type != CONTROL_COMMAND_ADD || is_member) {
        return false;
    }
    if (is_taken(control, view, command->node)) {
        *result = CONTROL_RESULT_TAKEN;
        return true;
    }
    if (command->is_forced) {
        return false;
    }
    const struct probe *probe = &control->probes[command->node];
    *result = probe->is_foreign ? CONTROL_RESULT_FOREIGN : CONTROL_RESULT_SILENT;
    return probe->is_foreign || (!probe->is_greeted && probe->failures >= LOOKS_MAX);
}

bool control_member_is_seen(const struct control *control, const struct control_command *command)
{
    return command->type != CONTROL_COMMAND_ADD || command->is_forced ||
           control->probes[command->node].is_greeted;
}

static void tell(struct control *control, enum trace_type type, uint32_t node)
{
    const struct place *place = &control->places[node];
    struct trace_event event = control_event(control, type);
    event.node = node;
    control_copy_text(event.detail, sizeof event.detail,
                      slice_of(place->address, place->address_bytes));
    control_trace(control, &event);
}

static bool is_configured(const struct control *control, uint32_t node)
{
    for (uint32_t i = 0; i < control->configured_count; i++) {
        if (slice_is_equal(view_name(&control->configured[i]), control->place_names[node])) {
            return true;
        }
    }
    return false;
}

bool control_member_on_effective(struct control *control, uint32_t node, const struct view *before)
{
    bool is_first = before->epoch == 0;
    bool is_member = (control->effective.members & node_set_of(node)) != 0;
    bool was_member = !is_first && (before->members & node_set_of(node)) != 0;
    struct node_record *record = &control->nodes[node];
    if (is_member && !was_member) {
        record->was_member = true;
        record->data_since_us = control->now_us;
        record->admin_since_us = control->now_us;
        if (!is_first || !is_configured(control, node)) {
            tell(control, TRACE_NODE_ADDED, node);
        }
    } else if (was_member && !is_member) {
        tell(control, TRACE_NODE_REMOVED, node);
    } else if (is_first && control->places[node].state == PLACE_IN) {
        tell(control, TRACE_NODE_UNKNOWN, node);
    }
    return is_member;
}
