/* pool_sound.h - what must hold for a pool at any moment, counted again from its slots and lists.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_POOL_SOUND_H
#define LPH_POOL_SOUND_H

#include "core/pool.h"

typedef struct pool_recount {
  int in[LPH_SLOT_TENDED + 1]; /* slots by state */
  int leaving, listed_idle, listed_empty, queued;
} pool_recount;

/* Whether a slot is in a list is seen by walking there from it: a slot in two lists breaks at least one ring. */
static inline const char *recount_lists(const lph_pool *p, pool_recount *r) {
  double rested = 0;
  lph_list_each(&p->idle, node, after) {
    const lph_slot *s = lph_list_entry(node, lph_slot, link);
    if (node->next->prev != node || node->prev->next != node) return "the list of idle slots is no ring";
    if (s->state != LPH_SLOT_IDLE) return "a slot is listed as idle and is not";
    if (s->rested < rested) return "idle slots are not in the order of their last use";
    rested = s->rested;
    if (++r->listed_idle > p->slot_room) return "the list of idle slots has no end";
  }
  lph_list_each(&p->empty, node, after) {
    if (node->next->prev != node || node->prev->next != node) return "the list of empty slots is no ring";
    if (lph_list_entry(node, lph_slot, link)->state != LPH_SLOT_EMPTY)
      return "a slot is listed as empty and is not";
    if (++r->listed_empty > p->slot_room) return "the list of empty slots has no end";
  }
  lph_list_each(&p->queue, node, after) if (++r->queued > p->ticket_room) return "the queue has no end";
  return NULL;
}

/* NULL: all is well; otherwise what is not. `most`: the highest total that is allowed just now; it differs from max
 * after max was lowered. */
static inline const char *pool_unsound(const lph_pool *p, int most) {
  pool_recount r = {{0}, 0, 0, 0, 0};
  for (int i = 0; i < p->slot_room; i++) {
    const lph_slot *s = p->slots[i];
    if (s->number != i + 1) return "a slot has another's number";
    r.in[s->state]++;
    r.leaving += s->leaving;
    if (s->leaving && s->state != LPH_SLOT_TENDED) return "a slot is about to go and in use";
    bool listed = !lph_list_is_empty(&s->link);
    if (listed != (s->state == LPH_SLOT_IDLE || s->state == LPH_SLOT_EMPTY))
      return "a slot is listed that must not be, or not listed";
  }
  const char *wrong = recount_lists(p, &r);
  if (wrong != NULL) return wrong;
  int used = r.in[LPH_SLOT_USED] + r.in[LPH_SLOT_TENDED], idle = r.in[LPH_SLOT_IDLE];
  if (p->connecting != r.in[LPH_SLOT_CONNECTING] || p->idle_count != idle || p->used != used)
    return "the counts of slots are wrong";
  if (r.listed_idle != idle || r.listed_empty != r.in[LPH_SLOT_EMPTY]) return "a list lacks a slot";
  if (p->leaving != r.leaving) return "the count of those that leave is wrong";
  if (p->waiting != r.queued) return "the count of waiters is wrong";
  if (lph_pool_total(p) > most) return "there are more connections than allowed";
  if (p->waiting > 0 && p->idle_count > 0) return "somebody waits although a connection is idle";
  if (p->count.connected - p->count.closed != (uint64_t)(idle + used))
    return "the counts of births are wrong";
  return NULL;
}

#endif
