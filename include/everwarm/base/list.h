/* SPDX-License-Identifier: BSD-2-Clause */
/* A doubly linked list through its members; the list itself is a node. Unlinked: both NULL. */
#ifndef EVERWARM_BASE_LIST_H
#define EVERWARM_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *prev;
    struct list *next;
};

/* The struct that holds MEMBER at NODE. */
#define LIST_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

static inline void list_init(struct list *list)
{
    list->prev = list;
    list->next = list;
}

static inline bool list_is_empty(const struct list *list)
{
    return list->next == list;
}

static inline bool list_is_linked(const struct list *node)
{
    return node->next != NULL;
}

static inline void list_append(struct list *list, struct list *node)
{
    node->prev = list->prev;
    node->next = list;
    list->prev->next = node;
    list->prev = node;
}

/* Harmless on a node that is not linked. */
static inline void list_remove(struct list *node)
{
    if (node->next != NULL) {
        node->prev->next = node->next;
        node->next->prev = node->prev;
        node->prev = NULL;
        node->next = NULL;
    }
}

#endif
