/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which view comes of which, as the nodes hold them. What took effect is not undone by a view that
 * knows nothing of it (C10): each view that somebody acts on has the last one as an ancestor in
 * which a node was complete. Where none is, nothing is served, and nothing agreed that another such
 * view could undo.
 */
#include "sim/world.h"

#include "everwarm/base/invariant.h"
#include "everwarm/core/view.h"

#include <stdlib.h>

struct lineage {
    uint64_t hash;
    uint64_t epoch;
    uint32_t proposer;
    node_set forgetting;
    uint32_t ancestor_count;
    uint64_t ancestors[VIEW_ANCESTORS_MAX];
};

static struct lineage **lineage_slot(struct world *world, uint64_t hash)
{
    return &world->lineages[hash % WORLD_LINEAGES];
}

static void lineage_note(struct world *world, const struct view *view)
{
    struct lineage **slot = lineage_slot(world, view->hash);
    *slot = *slot == NULL ? malloc(sizeof(**slot)) : *slot;
    REQUIRE(*slot != NULL);
    **slot = (struct lineage){.hash = view->hash,
                              .epoch = view->epoch,
                              .proposer = view->proposer,
                              .ancestor_count = view->ancestor_count};
    memcpy((*slot)->ancestors, view->ancestors, sizeof(view->ancestors));
    for (uint32_t i = 0; i < NODES_MAX; i++) {
        (*slot)->forgetting |= view->nodes[i].is_split ? node_set_of(i) : 0;
    }
}

void lineage_look(struct world *world, uint32_t number)
{
    struct node *node = &world->nodes[number];
    char key[MC_KEY_BYTES_MAX];
    struct mc_writer w = mc_writer_of(key, sizeof(key));
    view_key_view(&world->names, &w);
    const struct store_item *item = store_find(&node->model.store, slice_of(key, w.len));
    if (item == NULL || item->cas == node->view_cas) {
        return;
    }
    node->view_cas = item->cas;
    static struct view view;
    if (view_parse(slice_of(item->data, item->len), &view)) {
        lineage_note(world, &view);
    }
}

static bool lineage_has(const struct lineage *lineage, uint64_t hash)
{
    for (uint32_t i = 0; i < lineage->ancestor_count; i++) {
        if (lineage->ancestors[i] == hash) {
            return true;
        }
    }
    return lineage->ancestor_count == VIEW_ANCESTORS_MAX;
}

static const struct lineage *lineage_find(const struct world *world, uint64_t hash)
{
    const struct lineage *lineage = world->lineages[hash % WORLD_LINEAGES];
    return lineage != NULL && lineage->hash == hash ? lineage : NULL;
}

bool lineage_comes_of(const struct world *world, uint64_t hash, uint64_t ancestor)
{
    const struct lineage *lineage = lineage_find(world, hash);
    return lineage == NULL || lineage_has(lineage, ancestor);
}

node_set lineage_forgetting(const struct world *world, uint64_t hash)
{
    const struct lineage *lineage = lineage_find(world, hash);
    return lineage == NULL ? 0 : lineage->forgetting;
}

void lineage_check(struct world *world, uint32_t proxy, const struct topology *topology)
{
    const struct lineage *lineage = lineage_find(world, topology->view_hash);
    struct line *line = &world->lines[split_side(world, proxy)];
    uint64_t last = line->served_hash;
    if (lineage != NULL && last != 0 && last != topology->view_hash &&
        !lineage_has(lineage, last)) {
        world_broken(
            world, "C10", "p%u acts on epoch %llu of proxy %u, which does not come of %016llx",
            proxy, (unsigned long long)lineage->epoch, lineage->proposer, (unsigned long long)last);
    }
    line->acted_hash = topology->view_hash;
    line->served_hash = topology->complete != 0 ? topology->view_hash : last;
}

/* Does somebody know the view that LINE acted on last, or one that comes of it? */
static bool lineage_is_known(struct world *world, const struct line *line)
{
    for (uint32_t i = 0; i < world->options.proxies; i++) {
        for (uint32_t w = 0; w < world->options.workers; w++) {
            if (world->proxies[i].topology[w] != NULL) {
                return true;
            }
        }
    }
    char key[MC_KEY_BYTES_MAX];
    struct mc_writer w = mc_writer_of(key, sizeof(key));
    view_key_view(&world->names, &w);
    for (uint32_t i = 0; i < world->options.nodes; i++) {
        struct node *node = &world->nodes[i];
        const struct store_item *item =
            node->is_up ? store_find(&node->model.store, slice_of(key, w.len)) : NULL;
        static struct view view;
        if (item != NULL && view_parse(slice_of(item->data, item->len), &view) &&
            (view.hash == line->acted_hash ||
             lineage_comes_of(world, view.hash, line->acted_hash))) {
            return true;
        }
    }
    return false;
}

void lineage_lose(struct world *world)
{
    for (uint32_t i = 0; i < 2; i++) {
        struct line *line = &world->lines[i];
        if (line->acted_hash != 0 && !lineage_is_known(world, line)) {
            world_trace(world, "nobody knows the view of epoch %llu any more",
                        (unsigned long long)line->leaders_epoch);
            line->acted_hash = 0;
            line->served_hash = 0;
            line->leaders_epoch = 0;
        }
    }
}

void lineage_fini(struct world *world)
{
    for (uint32_t i = 0; i < WORLD_LINEAGES; i++) {
        free(world->lineages[i]);
    }
}
