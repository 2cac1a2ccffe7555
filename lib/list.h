/* list.h - an intrusive doubly linked list; a node stands in one list at a time. No lock. */
#ifndef EVB_LIST_H
#define EVB_LIST_H
#include <stdbool.h>
#include <stddef.h>

struct evb_node {
    struct evb_node *prev, *next;
};

#define evb_container(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
#define EVB_COUNT(array)                  (sizeof(array) / sizeof((array)[0]))
#define EVB_LIST_EACH(list, node)                                                                  \
    for (struct evb_node *node = (list)->next, *node##_next = node->next; node != (list);          \
         node = node##_next, node##_next = node->next)

static inline void evb_list_init(struct evb_node *list)
{
    list->prev = list->next = list;
}

static inline bool evb_list_empty(const struct evb_node *list)
{
    return list->next == list;
}

static inline void evb_list_insert(struct evb_node *before, struct evb_node *node)
{
    node->prev = before->prev;
    node->next = before;
    before->prev->next = node;
    before->prev = node;
}

static inline void evb_list_push(struct evb_node *list, struct evb_node *node)
{
    evb_list_insert(list, node);
}

static inline void evb_list_remove(struct evb_node *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    node->prev = node->next = node;
}

/* Moves all nodes of `from` in front of those of `list`; `from` is empty after. */
static inline void evb_list_prepend(struct evb_node *list, struct evb_node *from)
{
    if (evb_list_empty(from))
        return;
    from->prev->next = list->next;
    list->next->prev = from->prev;
    list->next = from->next;
    from->next->prev = list;
    evb_list_init(from);
}

#endif
