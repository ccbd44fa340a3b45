/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A split heals (replication.md section 7). Proxies that saw each other through no common node went
 * on, each side with the nodes that it reached. The proxy that meets a view above its own which
 * does not come of what it acts on proposes the next one: the side of the higher view stays
 * complete, and the nodes of its own side are filled anew. What they were told is not thrown away
 * unseen: where copies carry tokens, the fill deletes on both sides what differs (fill_split.c).
 *
 * It joins nothing before, and so the other side, which sees its heartbeat by now, fills none of
 * its nodes before that view is in effect. From then on no write passes the filling nodes by, so
 * that what differs was written before: that is why they are out and not filling where they can't
 * be filled at once, and filled as ever later, from what the other side has.
 *
 * A view that nobody acts on is no side: a node may bring it back long after its proxies died, with
 * what it held then. Ours is proposed above it, and the node is out as it was.
 *
 * The two may name nodes complete in common: a side may have joined a view, an operator's word
 * perhaps, that leaves it nodes which it does not reach any more. What both name stays complete,
 * and no other.
 *
 * Ours is what we have joined, whether it has taken effect here or not: others may act on it, or
 * have done so and be dead. So no view takes effect that does not come of the last that did, also
 * where another of its epoch lies above it that nobody knew: a store may be late, since what a
 * closed connection left in a node is still executed when the node goes on.
 *
 * I1. A view that comes of another names it as an ancestor, unless MERGE_FAR or more have come
 *     between; and then some node is complete in both.
 */
#include "control_private.h"

#include "everwarm/core/rule.h"

/* A merge keeps half of the ancestors of each side. */
enum { MERGE_FAR = VIEW_ANCESTORS_MAX / 2 - 1 };

static node_set common(const struct view *a, const struct view *b)
{
    return control_join_nodes(a, NODE_DATA_COMPLETE) & control_join_nodes(b, NODE_DATA_COMPLETE);
}

static bool is_ancestor(const struct view *view, uint64_t hash)
{
    for (uint32_t i = 0; i < view->ancestor_count; i++) {
        if (view->ancestors[i] == hash) {
            return true;
        }
    }
    return view->hash == hash;
}

bool control_merge_has_majority(const struct view *view)
{
    return 2 * node_set_count(control_join_nodes(view, NODE_DATA_COMPLETE)) >
           node_set_count(view->members);
}

bool control_merge_stops(const struct control *control, const struct view *view)
{
    node_set up = control_probe_up(control) & view->members;
    return control->options.stops_in_split && !control->is_lone &&
           2 * node_set_count(up) <= node_set_count(view->members);
}

/* What we have joined others may act on already, unless it leaves nothing to act on. */
static const struct view *ours_of(const struct control *control)
{
    bool is_joined = control_join_nodes(&control->joined, NODE_DATA_COMPLETE) != 0;
    return is_joined ? &control->joined : &control->effective;
}

bool control_merge_is_due(const struct control *control)
{
    const struct view *ours = ours_of(control);
    const struct view *theirs = &control->top;
    node_set complete = control_join_nodes(ours, NODE_DATA_COMPLETE);
    bool is_acting = control->state == CONTROL_SERVING || control->state == CONTROL_CHANGING;
    /* What we left for another's while our lease was over, the others did not act on with us. */
    bool is_left = !is_ancestor(&control->target, ours->hash);
    bool is_above = RULE(WITHDRAW) ? view_compare(theirs, ours) > 0 : theirs->epoch > ours->epoch;
    return is_acting && !is_left && ours->epoch > 0 && is_above && complete != 0 &&
           !is_ancestor(theirs, ours->hash) &&
           (common(ours, theirs) == 0 || theirs->epoch - ours->epoch < MERGE_FAR) &&
           control_join_nodes(theirs, NODE_DATA_COMPLETE) != 0;
}

/* Both lines of descent, as far as there is room for each. */
static void name_ancestors(struct view *next, const struct view *theirs, const struct view *ours)
{
    const struct view *const sides[] = {theirs, ours};
    next->ancestor_count = 0;
    for (uint32_t side = 0; side < 2; side++) {
        uint32_t most = VIEW_ANCESTORS_MAX / 2 - 1;
        uint32_t kept = sides[side]->ancestor_count < most ? sides[side]->ancestor_count : most;
        next->ancestors[next->ancestor_count++] = sides[side]->hash;
        memcpy(next->ancestors + next->ancestor_count, sides[side]->ancestors,
               kept * sizeof next->ancestors[0]);
        next->ancestor_count += kept;
    }
}

bool control_merge_is_forgetting(const struct view *view)
{
    bool is_any = false;
    for (uint32_t node = 0; node < NODES_MAX; node++) {
        is_any = is_any || view->nodes[node].is_split;
    }
    return is_any;
}

/* Nodes that only one of both sides has as complete are out. */
static void keep_common(struct control *control, struct view *next, const struct view *theirs,
                        const struct view *ours)
{
    node_set both = common(theirs, ours);
    node_set nodes = (control_join_nodes(theirs, NODE_DATA_COMPLETE) |
                      control_join_nodes(ours, NODE_DATA_COMPLETE)) &
                     next->members & ~both;
    for (; nodes != 0; nodes &= nodes - 1) {
        uint32_t node = node_set_first(nodes);
        next->nodes[node].data = NODE_DATA_OUT;
        next->nodes[node].filler = VIEW_NO_PROXY;
        next->nodes[node].is_split = false;
        control_tell(control, TRACE_SPLIT_HEALED, node, "filled anew from what both sides have");
    }
}

/* May NODE be filled at once, so that no write passes it by from when the split has healed? */
static bool may_fill(const struct control *control, uint32_t node)
{
    return control_probe_is_heard(control, node) &&
           (control_peers_given_up(control) & node_set_of(node)) == 0;
}

/*
 * Until when may it be waited? What was given up in the split is at its end a request timeout
 * after the nodes were found again; what both sides do until then is forgotten too. But the other
 * side may have begun a change of its view by now, which stops its writes and waits for us: that
 * may not take long.
 */
static uint64_t wait_until(struct control *control)
{
    const struct control_options *o = &control->options;
    bool is_acted_on = control_peers_is_effective(control, &control->top, 0);
    bool may_forget = control->top.has_tokens && control->effective.has_tokens;
    if (!(is_acted_on && may_forget) && control->merge_stall_us == 0) {
        control->merge_stall_us = control->now_us;
    }
    return control->merge_stall_us != 0 ? control->merge_stall_us + o->lease_us / 2
                                        : control->merge_us + o->request_timeout_us + o->lease_us;
}

/*
 * Nothing is decided before some node of the other side is heard, and ours are fit to be filled:
 * writes that were given up there may not be at their end.
 */
static bool is_to_be_waited_for(struct control *control)
{
    node_set theirs = control_join_nodes(&control->top, NODE_DATA_COMPLETE);
    node_set ours = control_join_nodes(&control->effective, NODE_DATA_COMPLETE);
    bool is_ready = (control_probe_heard(control) & theirs) != 0;
    ours &= ~theirs;
    for (; ours != 0; ours &= ours - 1) {
        uint32_t node = node_set_first(ours);
        is_ready =
            is_ready && (may_fill(control, node) || control->probes[node].state != PROBE_OPEN);
    }
    if (control_join_have_scans(control, control->merge_scan_us, CONTROL_SCAN_ALL)) {
        control->merge_scan_us = control->now_us;
    }
    return !is_ready && control->now_us < wait_until(control);
}

/* The nodes of LOSER, complete there, are to be filled anew. */
static void give_up(struct control *control, struct view *next, const struct view *loser,
                    bool is_forgetting)
{
    node_set nodes = control_join_nodes(loser, NODE_DATA_COMPLETE) & next->members;
    for (; nodes != 0; nodes &= nodes - 1) {
        uint32_t node = node_set_first(nodes);
        struct view_node *wanted = &next->nodes[node];
        bool is_split = is_forgetting && may_fill(control, node);
        wanted->data = is_split ? NODE_DATA_FILLING : NODE_DATA_OUT;
        wanted->filler = is_split ? (uint16_t)control->id : (uint16_t)VIEW_NO_PROXY;
        wanted->identity = loser->nodes[node].identity;
        wanted->is_split = is_split;
        control_tell(control, TRACE_SPLIT_HEALED, node,
                     is_split ? "what differs is forgotten on both sides"
                              : "filled anew from the other side");
    }
}

/* The pause before a node is connected to again may be longer than we wait for it. */
static void hurry(struct control *control, node_set nodes)
{
    for (; nodes != 0; nodes &= nodes - 1) {
        control_probe_hurry(control, &control->probes[node_set_first(nodes)]);
    }
}

enum side {
    SIDE_UNKNOWN,
    SIDE_LIVE,
    SIDE_DEAD,
};

/*
 * Acts anybody on a view of which OURS does not come? A heartbeat tells, for as long as it outlives
 * its proxy, and one that is not there tells where we hear a node that is complete there.
 */
static enum side side_of(struct control *control, const struct view *ours)
{
    node_set theirs = control_join_nodes(&control->top, NODE_DATA_COMPLETE);
    bool is_told = control_join_have_scans(control, control->merge_us, CONTROL_SCAN_ALL);
    for (uint32_t id = 0; id < PROXIES_MAX; id++) {
        uint64_t hash = control->peers[id].effective_hash;
        if (control_peers_is_live(control, id) && hash != 0 && !is_ancestor(ours, hash)) {
            return SIDE_LIVE;
        }
    }
    if (is_told && (control_probe_heard(control) & theirs) != 0) {
        return SIDE_DEAD;
    }
    bool is_over = control->now_us >= control->merge_us + control->options.lease_us / 2;
    return is_over ? SIDE_LIVE : SIDE_UNKNOWN;
}

/* What THEIRS and OURS, two sides that are both alive, are to agree on. */
static void unite(struct control *control, struct view *next, const struct view *theirs,
                  const struct view *ours, bool is_theirs)
{
    /* With split: stop the side without a majority was told nothing. */
    bool is_forgetting = theirs->has_tokens && ours->has_tokens && !control->options.stops_in_split;
    *next = is_theirs ? *theirs : *ours;
    if (common(theirs, ours) != 0) {
        keep_common(control, next, theirs, ours);
    } else {
        give_up(control, next, is_theirs ? ours : theirs, is_forgetting);
    }
    /* What is deleted on both sides is not chained to a warming node. */
    for (node_set warming = control_join_nodes(next, NODE_DATA_WARMING); warming != 0;
         warming &= warming - 1) {
        next->nodes[node_set_first(warming)].data = NODE_DATA_OUT;
    }
    bool is_one = node_set_count(control_join_nodes(next, NODE_DATA_COMPLETE)) == 1;
    if (!is_one || control_merge_is_forgetting(next)) {
        next->due_by = (uint16_t)control->id;
    }
}

void control_merge_propose(struct control *control)
{
    const struct view *ours = ours_of(control);
    const struct view *theirs = &control->top;
    node_set heard = control_probe_heard(control);
    bool is_theirs = (heard & control_join_nodes(theirs, NODE_DATA_COMPLETE)) != 0;
    bool is_by_majority = control->options.stops_in_split &&
                          control_merge_has_majority(theirs) != control_merge_has_majority(ours);
    is_theirs = is_by_majority ? control_merge_has_majority(theirs) : is_theirs;
    if (control->merge_us == 0) {
        control->merge_us = control->now_us;
        control->merge_scan_us = control->now_us;
        control->merge_stall_us = 0;
        hurry(control, control_join_nodes(theirs, NODE_DATA_COMPLETE));
    }
    /* Where a majority decides, it alone was told anything, whether it is still there or not. */
    enum side side = is_by_majority && is_theirs ? SIDE_LIVE : side_of(control, ours);
    if (heard == 0 || side == SIDE_UNKNOWN || (side == SIDE_LIVE && is_to_be_waited_for(control))) {
        return;
    }
    control->merge_us = 0;
    struct view next = *ours;
    if (side == SIDE_LIVE) {
        unite(control, &next, theirs, ours, is_theirs);
    }
    next.epoch = theirs->epoch + 1;
    next.proposer = (uint16_t)control->id;
    next.alone = VIEW_NO_PROXY;
    next.has_tokens = control_plan_has_tokens(control, &next);
    name_ancestors(&next, theirs, ours);
    view_seal(&next);
    (void)control_join_propose(control, &next,
                               side == SIDE_LIVE ? SLICE("a split has healed")
                                                 : SLICE("a view came back that nobody acts on"));
}
