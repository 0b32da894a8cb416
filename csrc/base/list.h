/* list.h - an intrusive doubly linked list.
 *
 * The links live inside the listed structs, so putting in and taking out never allocates. The head is
 * a sentinel: a ring with it has no special cases. Nodes point to it, so it must stay where it was
 * initialised. A node that is in no list points to itself, and removing it again does nothing.
 *
 *     struct waiter { lph_list link; int number; };
 *     lph_list queue;
 *     lph_list_init(&queue);
 *     lph_list_push_back(&queue, &w->link);
 *     struct waiter *first = lph_list_entry(lph_list_pop_front(&queue), struct waiter, link);
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LIST_H
#define LPH_LIST_H

#include "base/base.h"

typedef struct lph_list {
  struct lph_list *next, *prev;
} lph_list;

/* The struct around a node that is not NULL. */
#define lph_list_entry(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))

/* For a head and for a node before its first use. */
static inline void lph_list_init(lph_list *list) { list->next = list->prev = list; }
static inline bool lph_list_is_empty(const lph_list *list) { return list->next == list; }

static inline void lph_list_insert_after(lph_list *where, lph_list *node) {
  node->next = where->next;
  node->prev = where;
  where->next->prev = node;
  where->next = node;
}
static inline void lph_list_push_front(lph_list *list, lph_list *node) { lph_list_insert_after(list, node); }
static inline void lph_list_push_back(lph_list *list, lph_list *node) {
  lph_list_insert_after(list->prev, node);
}

static inline void lph_list_remove(lph_list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  lph_list_init(node);
}

/* NULL when there is none. */
static inline lph_list *lph_list_first(const lph_list *list) {
  return list->next == list ? NULL : list->next;
}
static inline lph_list *lph_list_last(const lph_list *list) { return list->prev == list ? NULL : list->prev; }
static inline lph_list *lph_list_pop_front(lph_list *list) {
  lph_list *node = lph_list_first(list);
  if (node != NULL) lph_list_remove(node);
  return node;
}

/* The body may remove `node`, and nothing else. `after` is a second variable for the macro's use. */
#define lph_list_each(list, node, after) \
  for (lph_list *node = (list)->next, *after = node->next; node != (list); node = after, after = node->next)

#endif
