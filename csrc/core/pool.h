/* pool.h - which connection goes to whom: slots, the queue of waiters, lifetimes, growth.
 *
 * Decides and counts, nothing else: knows no socket, no SQL and no Lua, takes the time from outside, never waits.
 * Who uses it opens and closes connections as it is told and reports back.
 *
 *              grow                born                 take
 *     EMPTY ---------> CONNECTING ------> (give) IDLE ----------> USED
 *       ^                  |                ^  |  ^                | |
 *       |     stillborn    |                |  |  '---- give ------' |
 *       |<-----------------'           give |  | tend           tend |
 *       |                                   |  v                     |
 *       '------------- drop -------------- TENDED <------------------'
 *
 * USED is lent to a borrower. TENDED is in our own hands: being cleaned, pinged, about to be closed. Both count as
 * used. connecting + idle + used = total <= max at all times, except after max was lowered: then what is over goes
 * at the next chore when it is idle, and as it comes back when it is not.
 *
 * Waiters are served strictly in order: what is given back goes to the first, so while one waits nothing is idle for
 * others to take. A waiter holds a ticket until lph_pool_leave; serving one only notes the slot in its ticket. A slot
 * that is taken away before he comes for it (tend, drop, give) is no longer in his ticket: never do two have one slot.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_POOL_H
#define LPH_POOL_H

#include "base/error.h"
#include "base/histo.h"
#include "base/list.h"

#define LPH_POOL_MAX 65535 /* slots, and tickets */

typedef enum lph_slot_state {
  LPH_SLOT_EMPTY,
  LPH_SLOT_CONNECTING,
  LPH_SLOT_IDLE,
  LPH_SLOT_USED,
  LPH_SLOT_TENDED
} lph_slot_state;

typedef struct lph_slot {
  lph_list link; /* in pool->idle or pool->empty */
  int number;    /* 1 ... */
  lph_slot_state state;
  int ticket;     /* USED, but whoever has this ticket is yet to come for it; 0: not so */
  bool leaving;   /* TENDED to be closed */
  unsigned epoch; /* the pool's when the connect began */
  uint64_t uses;  /* borrowings of this connection */
  double since;   /* when the state began */
  double rested;  /* when its last use ended */
  double born, expires;
  double seen; /* when the connection last proved alive: used, pinged */
} lph_slot;

/* All times in seconds; a limit that is 0 is none. */
typedef struct lph_pool_options {
  int max, min, max_waiting;
  double idle_timeout, max_lifetime;
  double jitter;      /* share of max_lifetime a connection may end before it, 0 ... 1 */
  double check_after; /* idle for longer: to be checked by a round trip before it is lent */
  double keepalive;   /* idle for longer: to be pinged */
  uint64_t max_uses;
  bool fifo; /* lend the one that is idle longest instead of the one used last */
} lph_pool_options;

typedef struct lph_pool {
  lph_pool_options options;
  lph_slot **slots; /* [number - 1]; those of the first `max` and what is left of a larger one */
  int slot_room;
  lph_list idle, empty; /* idle: in the order of their last use */
  struct lph_ticket **tickets;
  int ticket_room;
  lph_list queue, free_tickets;
  int connecting, idle_count, used, waiting;
  int leaving; /* of the used */
  bool closing;
  bool proven;      /* there was a connection: who we are and where to is right, or was */
  double proven_at; /* when the last one was made */
  unsigned epoch;
  uint64_t random;
  double pause;     /* the last back-off, 0 after a success */
  double resume_at; /* no new connection before this time */
  struct {
    uint64_t borrowed, waited, refused, connected, connect_failed, closed;
  } count;
  lph_histo wait, connect, use;
} lph_pool;

/* What take, give and due say beyond a number. */
enum { LPH_POOL_NONE = 0, LPH_POOL_RETIRE = -1, LPH_POOL_FULL = -2, LPH_POOL_NO_MEMORY = -3 };
typedef enum lph_pool_due { LPH_DUE_NOTHING, LPH_DUE_RETIRE, LPH_DUE_CHECK } lph_pool_due;

/* `seed` makes jitter and back-off repeatable in tests; 0 is replaced. LPH_ENOMEM leaves it to be cleared. */
lph_err lph_pool_init(lph_pool *p, const lph_pool_options *options, uint64_t seed);
void lph_pool_clear(lph_pool *p); /* of connections it knows nothing: those are the caller's */
/* New limits, at once for what is idle and for growth; who waits already stays in the queue. LPH_ENOMEM: nothing was
 * changed. */
lph_err lph_pool_resize(lph_pool *p, const lph_pool_options *options);

static inline int lph_pool_total(const lph_pool *p) { return p->connecting + p->idle_count + p->used; }
/* NULL when there is no such slot. */
lph_slot *lph_pool_slot(const lph_pool *p, int number);

/* ---- borrowing ---- */

/* The slot that lph_pool_take would answer. */
int lph_pool_next(const lph_pool *p);
/* An idle slot, now USED; LPH_POOL_NONE when there is none. `due`: a CHECK is to be pinged before it is
 * used; a RETIRE is not lent but TENDED, to be closed and dropped. */
int lph_pool_take(lph_pool *p, double now, lph_pool_due *due);
/* USED, TENDED -> IDLE (answers LPH_POOL_NONE), or USED by the waiter whose ticket is answered, or TENDED
 * (LPH_POOL_RETIRE: close and drop it). `now` ends its use. */
int lph_pool_give(lph_pool *p, int slot, double now);
/* Is this connection to go when it comes back? False for a slot that is empty. */
bool lph_pool_is_due(const lph_pool *p, int slot, double now);
void lph_pool_tend(lph_pool *p, int slot, double now); /* IDLE, USED -> TENDED */
void lph_pool_drop(lph_pool *p, int slot);             /* any -> EMPTY: its connection is gone */

/* ---- waiting ---- */

/* A ticket, LPH_POOL_FULL (max_waiting, or LPH_POOL_MAX tickets are held) or LPH_POOL_NO_MEMORY. Only after
 * lph_pool_take has answered LPH_POOL_NONE, with nothing done to the pool in between: so nothing is ever idle while
 * somebody waits. Then as lph_pool_grow says. */
int lph_pool_enqueue(lph_pool *p, double now);
int lph_pool_served(const lph_pool *p, int ticket); /* the slot it was given, LPH_POOL_NONE so far */
/* The ticket of the waiter it was given to who has not left with it yet, or LPH_POOL_NONE. */
int lph_pool_promised(const lph_pool *p, int slot);
/* What a ticket's holder wants to find there; NULL at first. Of a ticket nobody holds: NULL. */
void lph_pool_set_holder(lph_pool *p, int ticket, void *holder);
void *lph_pool_holder(const lph_pool *p, int ticket);
/* That of the first in the queue. */
void *lph_pool_first_holder(const lph_pool *p);
/* Ends the ticket; answers the slot it was given (the caller's to use or give back), or LPH_POOL_NONE. */
int lph_pool_leave(lph_pool *p, int ticket, double now);
/* Takes the first waiter out of the queue without serving it (its ticket stays valid); LPH_POOL_NONE: nobody. */
int lph_pool_dismiss(lph_pool *p);

/* ---- growing ---- */

/* A slot to be connected now (EMPTY -> CONNECTING), or LPH_POOL_NONE: nobody needs one, the pool is full, enough are
 * under way, or the back-off lasts. */
int lph_pool_grow(lph_pool *p, double now);
/* Would another connection find somebody who needs it, and may there be one more attempt, if not yet? */
bool lph_pool_is_lacking(const lph_pool *p, double now);
/* When lph_pool_grow is worth another call although nothing happens: end of the back-off; 0 = it does not last. */
double lph_pool_grow_at(const lph_pool *p, double now);
/* CONNECTING -> as lph_pool_give; LPH_POOL_RETIRE when the pool was closed, refreshed or made smaller meanwhile. */
int lph_pool_born(lph_pool *p, int slot, double now);
/* CONNECTING -> EMPTY, and a pause before the next attempt of anybody: 50 to 150 ms at first, then 50 ms to three times
 * the pause before (decorrelated jitter), at most 5 s. Attempts that were under way together count as one. */
void lph_pool_stillborn(lph_pool *p, int slot, double now);

/* ---- housekeeping ---- */

typedef enum lph_chore { LPH_CHORE_NONE, LPH_CHORE_CLOSE, LPH_CHORE_PING, LPH_CHORE_CONNECT } lph_chore;

/* The next thing to do: CLOSE and PING have made an idle slot TENDED (to be dropped, to be given back), CONNECT an
 * empty one CONNECTING. */
lph_chore lph_pool_chore(lph_pool *p, double now, int *slot);
/* When there is something to do next: `now` or before when there already is; 0 = never as things are. */
double lph_pool_chore_at(const lph_pool *p, double now);
/* All connections of now, and those under way, are replaced: idle ones by chores, the others as they come back. */
static inline void lph_pool_refresh(lph_pool *p) { p->epoch++; }
/* The connection has just answered. */
void lph_pool_touch(lph_pool *p, int slot, double now);

#endif
