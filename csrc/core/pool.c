/* pool.c - see pool.h. SPDX-License-Identifier: MIT */
#include "core/pool.h"

#include "base/mem.h"

#define FIRST_PAUSE 0.05
#define LONGEST_PAUSE 5.0

typedef struct lph_ticket {
  lph_list link; /* in pool->queue while waiting, in pool->free_tickets while nobody's */
  int number;
  int slot;
  bool taken;   /* somebody holds it */
  void *holder; /* his, if he has put anything there */
  double since;
} lph_ticket;

/* xorshift64*: good enough to spread lifetimes and attempts, and repeatable. */
static double random_share(lph_pool *p) {
  uint64_t x = p->random;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  p->random = x;
  return (double)((x * UINT64_C(2685821657736338717)) >> 11) / 9007199254740992.0;
}

/* ---- making and resizing ------------------------------------------------------------------------------ */

static lph_err add_slots(lph_pool *p, int wanted) {
  int before = p->slot_room;
  if (wanted <= before) return LPH_OK;
  lph_slot **grown = lph_regrow(p->slots, (size_t)wanted, sizeof *grown);
  if (grown == NULL) return LPH_ENOMEM;
  p->slots = grown;
  for (int i = before; i < wanted; i++) {
    grown[i] = lph_zalloc(sizeof **grown);
    if (grown[i] == NULL) {
      while (i-- > before) lph_free(grown[i]);
      return LPH_ENOMEM;
    }
  }
  while (p->slot_room < wanted) { /* all of them, or none */
    lph_slot *s = grown[p->slot_room++];
    s->number = p->slot_room;
    lph_list_push_back(&p->empty, &s->link);
  }
  return LPH_OK;
}

lph_err lph_pool_init(lph_pool *p, const lph_pool_options *options, uint64_t seed) {
  *p = (lph_pool){.options = *options, .random = seed != 0 ? seed : UINT64_C(0x9e3779b97f4a7c15)};
  lph_list_init(&p->idle);
  lph_list_init(&p->empty);
  lph_list_init(&p->queue);
  lph_list_init(&p->free_tickets);
  return add_slots(p, options->max);
}

void lph_pool_clear(lph_pool *p) {
  for (int i = 0; i < p->slot_room; i++) lph_free(p->slots[i]);
  for (int i = 0; i < p->ticket_room; i++) lph_free(p->tickets[i]);
  lph_free(p->slots);
  lph_free(p->tickets);
  p->slots = NULL;
  p->tickets = NULL;
  p->slot_room = p->ticket_room = 0;
}

static double end_of_life(lph_pool *p, double born) {
  double life = p->options.max_lifetime;
  return life > 0 ? born + life * (1 - p->options.jitter * random_share(p)) : 0;
}

lph_err lph_pool_resize(lph_pool *p, const lph_pool_options *options) {
  if (add_slots(p, options->max) != LPH_OK) return LPH_ENOMEM;
  bool new_life = options->max_lifetime != p->options.max_lifetime || options->jitter != p->options.jitter;
  p->options = *options;
  for (int i = 0; new_life && i < p->slot_room; i++)
    if (p->slots[i]->state >= LPH_SLOT_IDLE) p->slots[i]->expires = end_of_life(p, p->slots[i]->born);
  return LPH_OK;
}

lph_slot *lph_pool_slot(const lph_pool *p, int number) {
  return number >= 1 && number <= p->slot_room ? p->slots[number - 1] : NULL;
}

/* ---- states ---------------------------------------------------------------------------------------------- */

static int *counter_of(lph_pool *p, lph_slot_state state) {
  switch (state) {
    case LPH_SLOT_CONNECTING: return &p->connecting;
    case LPH_SLOT_IDLE: return &p->idle_count;
    case LPH_SLOT_USED:
    case LPH_SLOT_TENDED: return &p->used;
    case LPH_SLOT_EMPTY: break;
  }
  return NULL;
}

/* A connection that is about to go no longer counts against max and min when the fate of the others is decided: they
 * would all be over as long as the first is being closed. */
static void set_leaving(lph_pool *p, lph_slot *s, bool leaving) {
  p->leaving += leaving - s->leaving;
  s->leaving = leaving;
}

static int staying(const lph_pool *p) { return lph_pool_total(p) - p->leaving; }

static lph_ticket *ticket_of(const lph_pool *p, int number) {
  if (number < 1 || number > p->ticket_room) return NULL;
  lph_ticket *t = p->tickets[number - 1];
  return t->taken ? t : NULL;
}

/* Whoever was to have it finds nothing. */
static void break_promise(lph_pool *p, lph_slot *s) {
  lph_ticket *t = ticket_of(p, s->ticket);
  s->ticket = 0;
  if (t != NULL && t->slot == s->number) t->slot = 0;
}

static void enter(lph_pool *p, lph_slot *s, lph_slot_state state, double now) {
  if (LPH_UNLIKELY(s->ticket != 0)) break_promise(p, s);
  int *before = counter_of(p, s->state), *after = counter_of(p, state);
  if (before != NULL) --*before;
  if (after != NULL) ++*after;
  lph_list_remove(&s->link);
  if (state == LPH_SLOT_IDLE) lph_list_push_back(&p->idle, &s->link);
  if (state == LPH_SLOT_EMPTY) lph_list_push_front(&p->empty, &s->link);
  s->state = state;
  s->since = now;
}

/* To where an idle slot belongs by its last use: for one that was not in use just now, but pinged, say. */
static void sort_in(lph_pool *p, lph_slot *s) {
  lph_list_remove(&s->link);
  lph_list *where = p->idle.prev;
  while (where != &p->idle && lph_list_entry(where, lph_slot, link)->rested > s->rested) where = where->prev;
  lph_list_insert_after(where, &s->link);
}

static void send_off(lph_pool *p, lph_slot *s, double now) {
  enter(p, s, LPH_SLOT_TENDED, now);
  set_leaving(p, s, true);
}

/* Must this connection go instead of being lent again? */
static bool is_over(const lph_pool *p, const lph_slot *s, double now) {
  const lph_pool_options *o = &p->options;
  return p->closing || s->epoch != p->epoch || (s->expires > 0 && now >= s->expires) ||
         (o->max_uses > 0 && s->uses >= o->max_uses) || staying(p) + s->leaving > o->max;
}

bool lph_pool_is_due(const lph_pool *p, int slot, double now) {
  const lph_slot *s = lph_pool_slot(p, slot);
  return s != NULL && s->state >= LPH_SLOT_IDLE && is_over(p, s, now);
}

/* ---- borrowing --------------------------------------------------------------------------------------------- */

static void lend(lph_pool *p, lph_slot *s, double now) {
  enter(p, s, LPH_SLOT_USED, now);
  s->uses++;
  p->count.borrowed++;
}

static lph_list *next_idle(const lph_pool *p) {
  return p->options.fifo ? lph_list_first(&p->idle) : lph_list_last(&p->idle);
}

int lph_pool_next(const lph_pool *p) {
  lph_list *node = next_idle(p);
  return node == NULL ? LPH_POOL_NONE : lph_list_entry(node, lph_slot, link)->number;
}

int lph_pool_take(lph_pool *p, double now, lph_pool_due *due) {
  *due = LPH_DUE_NOTHING; /* and nobody is overtaken: nothing is idle while somebody waits */
  lph_list *node = next_idle(p);
  if (node == NULL) return LPH_POOL_NONE;
  lph_slot *s = lph_list_entry(node, lph_slot, link);
  if (LPH_UNLIKELY(is_over(p, s, now))) {
    *due = LPH_DUE_RETIRE;
    send_off(p, s, now);
    return s->number;
  }
  if (p->options.check_after > 0 && now - s->seen > p->options.check_after) *due = LPH_DUE_CHECK;
  lend(p, s, now);
  lph_histo_add(&p->wait, 0);
  return s->number;
}

/* The first waiter gets it, or it is idle. */
static int serve(lph_pool *p, lph_slot *s, double now) {
  lph_list *node = lph_list_pop_front(&p->queue);
  if (LPH_LIKELY(node == NULL)) {
    bool was_tended = s->state == LPH_SLOT_TENDED;
    enter(p, s, LPH_SLOT_IDLE, now);
    if (was_tended) sort_in(p, s);
    return LPH_POOL_NONE;
  }
  lph_ticket *t = lph_list_entry(node, lph_ticket, link);
  p->waiting--;
  lend(p, s, now);
  t->slot = s->number;
  s->ticket = t->number;
  return t->number;
}

static void end_use(lph_pool *p, lph_slot *s, double now) {
  if (s->state != LPH_SLOT_USED) return;
  lph_histo_add(&p->use, now - s->since);
  s->rested = now;
}

int lph_pool_give(lph_pool *p, int slot, double now) {
  lph_slot *s = lph_pool_slot(p, slot);
  end_use(p, s, now);
  s->seen = now;
  if (LPH_UNLIKELY(is_over(p, s, now))) {
    send_off(p, s, now);
    return LPH_POOL_RETIRE;
  }
  if (LPH_UNLIKELY(s->leaving)) set_leaving(p, s, false); /* it was to go, and may stay after all */
  return serve(p, s, now);
}

void lph_pool_tend(lph_pool *p, int slot, double now) {
  lph_slot *s = lph_pool_slot(p, slot);
  end_use(p, s, now);
  enter(p, s, LPH_SLOT_TENDED, now);
}

void lph_pool_drop(lph_pool *p, int slot) {
  lph_slot *s = lph_pool_slot(p, slot);
  if (s->state == LPH_SLOT_EMPTY) return;
  if (s->state != LPH_SLOT_CONNECTING) p->count.closed++;
  set_leaving(p, s, false);
  enter(p, s, LPH_SLOT_EMPTY, 0);
}

void lph_pool_touch(lph_pool *p, int slot, double now) { lph_pool_slot(p, slot)->seen = now; }

/* ---- waiting ------------------------------------------------------------------------------------------------- */

static lph_ticket *new_ticket(lph_pool *p) {
  lph_list *node = lph_list_pop_front(&p->free_tickets);
  if (node != NULL) return lph_list_entry(node, lph_ticket, link);
  lph_ticket **grown = lph_regrow(p->tickets, (size_t)p->ticket_room + 1, sizeof *grown);
  if (grown == NULL) return NULL;
  p->tickets = grown;
  lph_ticket *t = lph_zalloc(sizeof *t);
  if (t == NULL) return NULL;
  lph_list_init(&t->link);
  grown[p->ticket_room++] = t;
  t->number = p->ticket_room;
  return t;
}

int lph_pool_enqueue(lph_pool *p, double now) {
  bool no_ticket = p->ticket_room == LPH_POOL_MAX && lph_list_is_empty(&p->free_tickets);
  if (no_ticket || (p->options.max_waiting > 0 && p->waiting >= p->options.max_waiting)) {
    p->count.refused++;
    return LPH_POOL_FULL;
  }
  lph_ticket *t = new_ticket(p);
  if (t == NULL) return LPH_POOL_NO_MEMORY;
  t->taken = true;
  t->holder = NULL;
  t->slot = 0;
  t->since = now;
  lph_list_push_back(&p->queue, &t->link);
  p->waiting++;
  p->count.waited++;
  return t->number;
}

int lph_pool_served(const lph_pool *p, int ticket) {
  lph_ticket *t = ticket_of(p, ticket);
  return t == NULL ? LPH_POOL_NONE : t->slot;
}

void lph_pool_set_holder(lph_pool *p, int ticket, void *holder) {
  lph_ticket *t = ticket_of(p, ticket);
  if (t != NULL) t->holder = holder;
}

void *lph_pool_holder(const lph_pool *p, int ticket) {
  const lph_ticket *t = ticket_of(p, ticket);
  return t == NULL ? NULL : t->holder;
}

void *lph_pool_first_holder(const lph_pool *p) {
  lph_list *node = lph_list_first(&p->queue);
  return node == NULL ? NULL : lph_list_entry(node, lph_ticket, link)->holder;
}

int lph_pool_promised(const lph_pool *p, int slot) { return lph_pool_slot(p, slot)->ticket; }

int lph_pool_leave(lph_pool *p, int ticket, double now) {
  lph_ticket *t = ticket_of(p, ticket);
  if (t == NULL) return LPH_POOL_NONE;
  bool queued = t->slot == 0 && !lph_list_is_empty(&t->link);
  if (queued) p->waiting--;
  if (t->slot != 0) lph_histo_add(&p->wait, now - t->since);
  int slot = t->slot;
  if (slot != 0) lph_pool_slot(p, slot)->ticket = 0;
  t->taken = false;
  t->slot = 0;
  lph_list_remove(&t->link);
  lph_list_push_front(&p->free_tickets, &t->link);
  return slot;
}

int lph_pool_dismiss(lph_pool *p) {
  lph_list *node = lph_list_pop_front(&p->queue);
  if (node == NULL) return LPH_POOL_NONE;
  p->waiting--;
  return lph_list_entry(node, lph_ticket, link)->number;
}

/* ---- growing ----------------------------------------------------------------------------------------------------- */

/* What a success proves is taken for granted for so many seconds. */
#define PROVEN_FOR 1.0

/* So many attempts at once: a quarter of the pool. A restarted server is not met by a storm, and one slow connect does
 * not hold up all. After a failure one attempt at a time finds out whether the trouble is over; and when no connection
 * was made of late one attempt finds out whether there can be any: a wrong password, or one that was right yesterday, is
 * tried once, not by everybody. */
static int most_connecting(const lph_pool *p, double now) {
  bool sure = p->proven && now - p->proven_at < PROVEN_FOR && p->pause == 0;
  return sure && p->options.max >= 8 ? p->options.max / 4 : 1;
}

bool lph_pool_is_lacking(const lph_pool *p, double now) {
  if (p->closing || lph_pool_total(p) >= p->options.max) return false;
  if (p->connecting >= most_connecting(p, now)) return false;
  return p->waiting > p->connecting || staying(p) < p->options.min;
}

int lph_pool_grow(lph_pool *p, double now) {
  if (!lph_pool_is_lacking(p, now) || now < p->resume_at) return LPH_POOL_NONE;
  lph_list *node = lph_list_first(&p->empty);
  if (node == NULL) return LPH_POOL_NONE;
  lph_slot *s = lph_list_entry(node, lph_slot, link);
  s->epoch = p->epoch; /* of the attempt: what it connects to is decided now */
  enter(p, s, LPH_SLOT_CONNECTING, now);
  return s->number;
}

double lph_pool_grow_at(const lph_pool *p, double now) {
  return lph_pool_is_lacking(p, now) && now < p->resume_at ? p->resume_at : 0;
}

int lph_pool_born(lph_pool *p, int slot, double now) {
  lph_slot *s = lph_pool_slot(p, slot);
  p->pause = p->resume_at = 0;
  p->proven = true;
  p->proven_at = now;
  p->count.connected++;
  lph_histo_add(&p->connect, now - s->since);
  s->uses = 0;
  s->born = s->seen = s->rested = now;
  s->expires = end_of_life(p, now);
  if (is_over(p, s, now)) {
    send_off(p, s, now);
    return LPH_POOL_RETIRE;
  }
  return serve(p, s, now);
}

void lph_pool_stillborn(lph_pool *p, int slot, double now) {
  lph_slot *s = lph_pool_slot(p, slot);
  p->count.connect_failed++;
  if (p->pause == 0 || s->since >= p->resume_at) {
    double most = 3 * (p->pause > 0 ? p->pause : FIRST_PAUSE);
    if (most > LONGEST_PAUSE) most = LONGEST_PAUSE;
    p->pause = FIRST_PAUSE + random_share(p) * (most - FIRST_PAUSE);
  } /* else it was under way when another failed: the same trouble, no reason to wait longer next time */
  p->resume_at = now + p->pause;
  enter(p, s, LPH_SLOT_EMPTY, 0);
}

/* ---- housekeeping ------------------------------------------------------------------------------------ */

/* When an idle connection has to go; 0 = not by time. */
static double close_at(const lph_pool *p, const lph_slot *s) {
  double at = s->expires, idle = p->options.idle_timeout;
  if (idle > 0 && staying(p) > p->options.min && (at == 0 || s->rested + idle < at)) at = s->rested + idle;
  return at;
}

static double ping_at(const lph_pool *p, const lph_slot *s) {
  return p->options.keepalive > 0 ? s->seen + p->options.keepalive : 0;
}

lph_chore lph_pool_chore(lph_pool *p, double now, int *slot) {
  lph_list_each(&p->idle, node, after) {
    lph_slot *s = lph_list_entry(node, lph_slot, link);
    double at = close_at(p, s);
    bool ping = ping_at(p, s) > 0 && now >= ping_at(p, s);
    bool over = is_over(p, s, now) || (at > 0 && now >= at);
    if (!over && !ping) continue;
    *slot = s->number;
    enter(p, s, LPH_SLOT_TENDED, now);
    set_leaving(p, s, over);
    return over ? LPH_CHORE_CLOSE : LPH_CHORE_PING;
  }
  *slot = lph_pool_grow(p, now);
  return *slot > 0 ? LPH_CHORE_CONNECT : LPH_CHORE_NONE;
}

static double sooner(double a, double b) { return a == 0 || (b > 0 && b < a) ? b : a; }

double lph_pool_chore_at(const lph_pool *p, double now) {
  if (lph_pool_is_lacking(p, now) && now >= p->resume_at) return now;
  double at = lph_pool_grow_at(p, now);
  lph_list_each(&p->idle, node, after) {
    const lph_slot *s = lph_list_entry(node, lph_slot, link);
    if (is_over(p, s, now)) return now;
    at = sooner(sooner(at, close_at(p, s)), ping_at(p, s));
  }
  return at;
}
