/* ltrip.h - verbs of a pool inside of nginx: trips, and what the pool's other files do with them. Their life is told in
 * ltrip.c.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LTRIP_H
#define LPH_LTRIP_H

#include "bind/lnginx.h"
#include "bind/lpool.h"

typedef enum trip_state {
  TRIP_FREE,
  TRIP_QUEUED,
  TRIP_UNDER_WAY,
  TRIP_SERVED,
  TRIP_STUCK,
  TRIP_DISMISSED
} trip_state;

/* What stands on a shelf. */
enum { SHELF_TASK = 1, SHELF_POOL, SHELF_BOX, SHELF_CALL = SHELF_BOX };

typedef struct ltrip {
  lph_list link; /* in the pool's lost ones */
  struct ltrip *next;
  lnginx_hold hold;
  lpool *pool;
  lua_State *shelf;
  slot *sleep;
  uint32_t sleep_use;
  lconn *conn;
  trip_state state;
  uint32_t use; /* counts what it was used for */
  int number, ticket, slot;
  int rc; /* STUCK: what lenter_call answered */
  lph_want want;
  bool looked;  /* QUEUED: for borrowers that have ended */
  double since; /* QUEUED */
  double until; /* when the timer it sleeps with ends; negative: far away */
} ltrip;

/* ---- ltrip.c: for ltripway.c ---- */

/* For the caller, whose arguments begin with the pool's box. NULL: the way through Lua. May raise. */
ltrip *ltrip_begin(lua_State *L, lpool *b);
void ltrip_end(lua_State *L, ltrip *t); /* its coroutine goes on without it */
void ltrip_bury(ltrip *t);              /* its coroutine is no more */
bool ltrip_is_dead(const ltrip *t);

lnginx_nap ltrip_doze(lua_State *L, ltrip *t, double deadline);
/* The slot is its own from now on. */
void ltrip_board(ltrip *t, int slot);
/* Pushes the function in the pool's store and the box of the trip's connection, and puts the box on the shelf. */
void ltrip_push_call(lua_State *L, ltrip *t, int function);
/* Of what lconn_run has left on the stack from `first` on: is the statement under way? */
bool ltrip_is_under_way(lua_State *L, int first, ltrip *t);
/* It is: from now on its descriptor wakes the sleeper. */
void ltrip_await(ltrip *t);
/* Is the next in the queue, if there is anybody, one who can be served from here? */
bool ltrip_can_serve(lpool *b);
/* The slot was given to the ticket of this trip, whose coroutine is alive. */
void ltrip_serve_holder(lua_State *L, ltrip *t, int slot, double now);

/* ---- ltrip.c: for the pool ---- */

void ltrip_init(lpool *b);
void ltrip_clear(lpool *b); /* in __gc */
/* Room on the stack for what may come then. May raise. */
void ltrip_reserve(lua_State *L);
/* A slot was given to the ticket. If a trip holds that it goes on, or is found dead and the slot given to the next.
 * Answers what lph_pool_give does, tickets only of others. ltrip_reserve comes first. */
int ltrip_serve(lua_State *L, lpool *b, int slot, int ticket, double now);
/* The slot is taken away from whoever runs a verb there. */
void ltrip_detach(lpool *b, int slot);
/* Sends the first in the queue away, to start anew, if it is a trip. */
bool ltrip_dismiss(lpool *b);

/* ---- ltripway.c ---- */

extern const luaL_Reg ltrip_methods[]; /* of a pool's box */
/* A whole verb: pool:run while verbs travel. The box stands in slot 1, then the arguments. */
int ltrip_run(lua_State *L, lpool *b);
void ltrip_push_mark(lua_State *L); /* core.LATE */

#endif
