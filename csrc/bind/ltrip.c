/* ltrip.c - a verb of a pool inside of nginx, at the cost of one yield: borrowed, sent, slept for, taken and given back
 * without Lua in between, while nothing is unusual and nobody wants to see it.
 *
 *   pool:run(code, sql, ...) on its way, and pool:arrive(pass) after each yield, answer
 *     nil, pass                 asleep: yield, then arrive
 *     nil, pass, true           the same, but first look whether borrowers have ended without giving back
 *     true, result              done
 *     slot, result, err, more   to be gone on with, as pool:run (llend.c)
 *     0, result, err, more      done, but its connection was taken away meanwhile: there is nothing to be given back
 *     false                     nothing is idle, and what else to do Lua has to find out
 *     false, true               nothing was done: the way through Lua
 *     false, LATE, since        nothing became idle in time
 *
 *   QUEUED --a slot comes free--> UNDER WAY --its answer is complete--> over
 *     |  '--may not be sent by others--> SERVED --wakes, sends it himself--^
 *     '--dismissed: starts anew         STUCK: did not go under way; wakes and goes on in Lua
 *
 * Who gives a connection back sends the statement of the next in the queue at once, in the name of a sleeper: so the
 * server is not idle until everybody before him has had his turn, and he wakes once instead of twice. Nothing of Lua but
 * strings, numbers and the like may be looked at on the way (codecs run in the request they belong to).
 *
 * What a sleeper leaves for that stands on his *shelf*, a coroutine that never runs: himself, the pool, then the verb's number,
 * the text and the parameters; once he has a connection its box in their place, and the answers of a STUCK one.
 *
 * A request that ends under its sleeper (lnginxguard.c) leaves a *lost* trip: the janitor asks pool:lost(), and the
 * connection is cleaned. A light thread that was killed is found by its semaphore, in which nobody waits any more.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/ltrip.h"

#include <poll.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bind/lenter.h"
#include "bind/lrun.h"

#define RESERVE 40 /* of the stack: for a sleeper's arguments and what runs them */

/* ---- trips ------------------------------------------------------------------------------------------------------- */

/* Its request has ended. */
static void on_gone(lnginx_hold *hold) {
  ltrip *t = lph_list_entry(hold, ltrip, hold);
  if (t->ticket != 0) lph_pool_leave(&t->pool->p, t->ticket, lph_now());
  t->ticket = 0;
  if (t->sleep->use == t->sleep_use) {
    lnginx_unlink_slot(t->sleep);
    t->sleep->awake = false;
  }
  lph_list_push_back(&t->pool->lost, &t->link);
}

/* One more, free. May raise. */
static ltrip *add_trip(lua_State *L, lpool *b) {
  if (b->trip_count == b->trip_room) {
    int room = b->trip_room < 16 ? 16 : 2 * b->trip_room;
    ltrip **grown = lph_regrow(b->trips, (size_t)room, sizeof(*grown));
    if (grown == NULL) luaL_error(L, "not enough memory");
    b->trips = grown;
    b->trip_room = room;
  }
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, LPOOL_STORE_SHELVES);
  lua_State *shelf = lua_newthread(L);
  lua_rawseti(L, -2, b->trip_count + 1);
  lua_pop(L, 2);
  ltrip *t = lph_zalloc(sizeof *t);
  if (t == NULL) luaL_error(L, "not enough memory");
  lph_list_init(&t->link);
  lph_list_init(&t->hold.link);
  t->hold.gone = on_gone;
  t->pool = b;
  t->shelf = shelf;
  t->number = b->trip_count;
  b->trips[b->trip_count++] = t;
  b->free_trips = t;
  return t;
}

ltrip *ltrip_begin(lua_State *L, lpool *b) {
  ltrip *t = b->free_trips;
  if (LPH_UNLIKELY(t == NULL)) {
    if (b->trip_count == LPH_POOL_MAX) return NULL;
    t = add_trip(L, b);
  }
  if (LPH_UNLIKELY(b->nginx->free == NULL || !lnginx_hold_for_request(L, b->nginx, &t->hold))) return NULL;
  b->free_trips = t->next;
  t->use++;
  t->sleep = lnginx_take_slot(b->nginx);
  t->sleep->awake = true;
  t->sleep_use = t->sleep->use;
  lua_pushthread(L);
  lua_pushvalue(L, 1);
  lua_xmove(L, t->shelf, 2);
  return t;
}

/* Neither connection nor place in the queue are its own any more. */
static void free_trip(ltrip *t) {
  lnginx_let_go(t->pool->nginx, &t->hold);
  if (t->slot != 0) t->pool->slots[t->slot].trip = NULL;
  if (t->ticket != 0) lph_pool_leave(&t->pool->p, t->ticket, lph_now());
  t->slot = t->ticket = 0;
  lua_settop(t->shelf, 0);
  lph_list_remove(&t->link);
  t->state = TRIP_FREE;
  t->conn = NULL;
  t->sleep = NULL;
  t->next = t->pool->free_trips;
  t->pool->free_trips = t;
}

void ltrip_end(lua_State *L, ltrip *t) {
  t->sleep->awake = false;
  lnginx_release_slot(L, t->sleep);
  free_trip(t);
}

/* What it slept in is swept up later, like that of others who were ended. */
void ltrip_bury(ltrip *t) {
  if (t->sleep->use == t->sleep_use) lnginx_unlink_slot(t->sleep);
  free_trip(t);
}

bool ltrip_is_dead(const ltrip *t) {
  return t->hold.record == NULL || t->sleep->use != t->sleep_use || lnginx_is_dead(t->sleep);
}

/* ---- sleeping ---------------------------------------------------------------------------------------------------- */

lnginx_nap ltrip_doze(lua_State *L, ltrip *t, double deadline) {
  t->until = deadline;
  t->sleep->woken = false;
  lnginx_nap nap = lnginx_doze(L, t->sleep, deadline);
  if (LPH_LIKELY(nap == LNGINX_ASLEEP)) t->sleep->awake = false;
  return nap;
}

void ltrip_await(ltrip *t) {
  short wanted = (short)((t->want & LPH_WANT_READ ? POLLIN : 0) | (t->want & LPH_WANT_WRITE ? POLLOUT : 0));
  int fd = lph_conn_fd(&t->conn->c);
  t->sleep->ready = 0;
  if (LPH_LIKELY(fd >= 0 && lnginx_make_room(fd) && lnginx_watch(t->sleep, fd, wanted))) return;
  t->sleep->ready = wanted; /* a file, or closed: the next step tells */
}

bool ltrip_is_under_way(lua_State *L, int first, ltrip *t) {
  if (t->rc != 0 || lua_gettop(L) != first + 1 || t->conn->c.state != LPH_BUSY) return false;
  if (!lua_islightuserdata(L, first) || lua_type(L, first + 1) != LUA_TSTRING) return false;
  size_t length;
  const char *word = lua_tolstring(L, first + 1, &length);
  if (length > 2) return false; /* "again", "types" ... */
  t->want = length == 2 ? LPH_WANT_RW : *word == 'w' ? LPH_WANT_WRITE : LPH_WANT_READ;
  return true;
}

void ltrip_push_call(lua_State *L, ltrip *t, int function) {
  lua_pushvalue(t->shelf, SHELF_POOL);
  lua_xmove(t->shelf, L, 1);
  lcompat_getstore(L, -1);
  lua_rawgeti(L, -1, function);
  lua_replace(L, -3);
  lua_rawgeti(L, -1, t->slot);
  lua_replace(L, -2);
  lua_pushvalue(L, -1);
  lua_xmove(L, t->shelf, 1);
}

void ltrip_board(ltrip *t, int slot) {
  t->slot = slot;
  t->conn = lpool_conn(t->pool, slot);
  t->pool->slots[slot].trip = t;
}

/* ---- the queue ------------------------------------------------------------------------------------------------------- */

void ltrip_reserve(lua_State *L) { luaL_checkstack(L, RESERVE, "statement"); }

/* May others send it? What looks at values must not be code of the user's. */
static bool is_plain(const lconn *conn) { return !conn->has_codecs && conn->options.json != LJSON_CJSON; }

/* Sends a sleeper's statement in somebody else's coroutine. */
static void send_for(lua_State *L, ltrip *t) {
  int below = lua_gettop(L), args = lua_gettop(t->shelf) - SHELF_POOL;
  lua_xmove(t->shelf, L, args);
  ltrip_push_call(L, t, LPOOL_STORE_RUN);
  lua_insert(L, below + 1);
  lua_insert(L, below + 1);
  t->rc = lenter_call(L, t->conn, args + 1);
  if (LPH_LIKELY(ltrip_is_under_way(L, below + 1, t))) {
    lua_settop(L, below);
    t->state = TRIP_UNDER_WAY;
    ltrip_await(t);
    double deadline = t->conn->deadline;
    bool oversleeps = deadline >= 0 && (t->until < 0 || deadline < t->until);
    if (LPH_UNLIKELY(t->sleep->ready != 0 || oversleeps)) lnginx_rouse(t->sleep);
    return;
  }
  t->state = TRIP_STUCK;
  lua_xmove(L, t->shelf, lua_gettop(L) - below);
  lnginx_rouse(t->sleep);
}

void ltrip_serve_holder(lua_State *L, ltrip *t, int slot, double now) {
  lph_pool_leave(&t->pool->p, t->ticket, now);
  t->ticket = 0;
  ltrip_board(t, slot);
  if (LPH_LIKELY(is_plain(t->conn) && llend_obstacle(t->conn, LPH_DUE_NOTHING, now) == NULL)) {
    send_for(L, t);
  } else {
    t->state = TRIP_SERVED;
    lnginx_rouse(t->sleep);
  }
}

int ltrip_serve(lua_State *L, lpool *b, int slot, int ticket, double now) {
  ltrip *t;
  while (ticket > 0 && (t = lph_pool_holder(&b->p, ticket)) != NULL) {
    if (LPH_LIKELY(!ltrip_is_dead(t))) return ltrip_serve_holder(L, t, slot, now), LPH_POOL_NONE;
    ltrip_bury(t);
    ticket = lph_pool_give(&b->p, slot, now);
  }
  return ticket;
}

bool ltrip_can_serve(lpool *b) {
  while (b->p.waiting > 0) {
    ltrip *t = lph_pool_first_holder(&b->p);
    if (t == NULL) return false;
    if (LPH_LIKELY(!ltrip_is_dead(t))) return true;
    ltrip_bury(t);
  }
  return true;
}

bool ltrip_dismiss(lpool *b) {
  ltrip *t = lph_pool_first_holder(&b->p);
  if (t == NULL) return false;
  lph_pool_leave(&b->p, t->ticket, lph_now());
  t->ticket = 0;
  t->state = TRIP_DISMISSED;
  lnginx_rouse(t->sleep);
  return true;
}

void ltrip_detach(lpool *b, int slot) {
  ltrip *t = b->slots[slot].trip;
  if (LPH_LIKELY(t == NULL)) return;
  if (ltrip_is_dead(t)) {
    ltrip_bury(t);
  } else {
    b->slots[slot].trip = NULL;
    t->slot = 0;
  }
}

/* ---- of a pool ---------------------------------------------------------------------------------------------------------- */

void ltrip_init(lpool *b) { lph_list_init(&b->lost); }

/* Shelves may have been collected before the pool. */
void ltrip_clear(lpool *b) {
  for (int i = 0; i < b->trip_count; i++) {
    if (b->trips[i]->hold.record != NULL) lnginx_let_go(b->nginx, &b->trips[i]->hold);
    lph_free(b->trips[i]);
  }
  lph_free(b->trips);
  b->trips = NULL;
  b->trip_count = b->trip_room = 0;
  lph_list_init(&b->lost);
}
