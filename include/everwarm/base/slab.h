/* SPDX-License-Identifier: BSD-2-Clause */
/* Objects of one size from memory reserved at start; those never used are never touched. */
#ifndef EVERWARM_BASE_SLAB_H
#define EVERWARM_BASE_SLAB_H

#include <stddef.h>
#include <string.h>

struct slab {
    char *memory;
    size_t size;       /* bytes of one object, a multiple of 16 */
    size_t count;      /* objects in all */
    size_t fresh;      /* never used yet */
    size_t free_count; /* to be had now */
    void *free;        /* used before; each begins with the pointer to the next */
};

static inline void slab_init(struct slab *slab, void *memory, size_t size, size_t count)
{
    *slab = (struct slab){
        .memory = memory, .size = size, .count = count, .fresh = count, .free_count = count};
}

/* Take an object, all zero; NULL when none is left. */
static inline void *slab_take(struct slab *slab)
{
    void *object = slab->free;
    if (object != NULL) {
        memcpy(&slab->free, object, sizeof(slab->free));
    } else if (slab->fresh > 0) {
        object = slab->memory + (slab->count - slab->fresh) * slab->size;
        slab->fresh--;
    } else {
        return NULL;
    }
    slab->free_count--;
    memset(object, 0, slab->size);
    return object;
}

static inline void slab_drop(struct slab *slab, void *object)
{
    memcpy(object, &slab->free, sizeof(slab->free));
    slab->free = object;
    slab->free_count++;
}

#endif
