/* ltrip.c - a verb of a pool inside of nginx, at the cost of one yield: borrowed, sent, slept for, taken and given back
 * without Lua in between, while nothing is unusual and nobody wants to see it.
 *
 *   pool:travel(code, sql, ...), and pool:arrive(pass) after each yield, answer
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
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "bind/bind.h"
#include "bind/lenter.h"
#include "bind/lnginx.h"
#include "bind/lrun.h"

static const char late_mark; /* its address is LATE */

#define MOST_ARGUMENTS \
  16               /* with more a verb does not stand in the queue this way: a shelf has room for these */
#define RESERVE 40 /* of the stack: for a sleeper's arguments and what runs them */

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

/* ---- trips ------------------------------------------------------------------------------------------------------- */

#define NUMBER_BITS 20 /* a pass is use * 2^20 + number, exact in a double */

static void push_pass(lua_State *L, const ltrip *t) {
  lua_pushnumber(L, (double)((uint64_t)t->use << NUMBER_BITS | (uint32_t)t->number));
}

static ltrip *trip_of(lua_State *L, const lpool *b) {
  uint64_t pass = (uint64_t)luaL_checknumber(L, 2);
  int number = (int)(pass & ((1u << NUMBER_BITS) - 1));
  ltrip *t = number < b->trip_count ? b->trips[number] : NULL;
  if (LPH_UNLIKELY(t == NULL || t->state == TRIP_FREE || t->use != (uint32_t)(pass >> NUMBER_BITS)))
    luaL_error(L, "this trip has ended");
  return t;
}

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

/* NULL: the way through Lua. */
static ltrip *begin_trip(lua_State *L, lpool *b) {
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

/* Its coroutine goes on without it. */
static void end_trip(lua_State *L, ltrip *t) {
  t->sleep->awake = false;
  lnginx_release_slot(L, t->sleep);
  free_trip(t);
}

/* Its coroutine is no more. What it slept in is swept up later, like that of others who were ended. */
static void bury(ltrip *t) {
  if (t->sleep->use == t->sleep_use) lnginx_unlink_slot(t->sleep);
  free_trip(t);
}

static bool is_dead(const ltrip *t) {
  return t->hold.record == NULL || t->sleep->use != t->sleep_use || lnginx_is_dead(t->sleep);
}

/* ---- sleeping ---------------------------------------------------------------------------------------------------- */

static lnginx_nap doze(lua_State *L, ltrip *t, double deadline) {
  t->until = deadline;
  t->sleep->woken = false;
  lnginx_nap nap = lnginx_doze(L, t->sleep, deadline);
  if (LPH_LIKELY(nap == LNGINX_ASLEEP)) t->sleep->awake = false;
  return nap;
}

static int push_asleep(lua_State *L, const ltrip *t) {
  lua_settop(L, 0);
  lua_pushnil(L);
  push_pass(L, t);
  return 2;
}

static int push_elsewhere(lua_State *L) {
  lua_pushboolean(L, 0);
  lua_pushboolean(L, 1);
  return 2;
}

/* The statement is under way: from now on its descriptor wakes the sleeper. */
static void await(ltrip *t) {
  short wanted = (short)((t->want & LPH_WANT_READ ? POLLIN : 0) | (t->want & LPH_WANT_WRITE ? POLLOUT : 0));
  int fd = lph_conn_fd(&t->conn->c);
  t->sleep->ready = 0;
  if (LPH_LIKELY(fd >= 0 && lnginx_make_room(fd) && lnginx_watch(t->sleep, fd, wanted))) return;
  t->sleep->ready = wanted; /* a file, or closed: the next step tells */
}

/* Of what lconn_run has left on the stack from `first` on: is the statement under way? */
static bool is_under_way(lua_State *L, int first, ltrip *t) {
  if (t->rc != 0 || lua_gettop(L) != first + 1 || t->conn->c.state != LPH_BUSY) return false;
  if (!lua_islightuserdata(L, first) || lua_type(L, first + 1) != LUA_TSTRING) return false;
  size_t length;
  const char *word = lua_tolstring(L, first + 1, &length);
  if (length > 2) return false; /* "again", "types" ... */
  t->want = length == 2 ? LPH_WANT_RW : *word == 'w' ? LPH_WANT_WRITE : LPH_WANT_READ;
  return true;
}

/* Pushes the function and the box of the trip's connection, and puts the box on the shelf. */
static void push_call(lua_State *L, ltrip *t, int function) {
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

static void board(ltrip *t, int slot) {
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
  push_call(L, t, LPOOL_STORE_RUN);
  lua_insert(L, below + 1);
  lua_insert(L, below + 1);
  t->rc = lenter_call(L, t->conn, args + 1);
  if (LPH_LIKELY(is_under_way(L, below + 1, t))) {
    lua_settop(L, below);
    t->state = TRIP_UNDER_WAY;
    await(t);
    double deadline = t->conn->deadline;
    bool oversleeps = deadline >= 0 && (t->until < 0 || deadline < t->until);
    if (LPH_UNLIKELY(t->sleep->ready != 0 || oversleeps)) lnginx_rouse(t->sleep);
    return;
  }
  t->state = TRIP_STUCK;
  lua_xmove(L, t->shelf, lua_gettop(L) - below);
  lnginx_rouse(t->sleep);
}

/* The ticket's holder is alive. */
static void serve(lua_State *L, ltrip *t, int slot, double now) {
  lph_pool_leave(&t->pool->p, t->ticket, now);
  t->ticket = 0;
  board(t, slot);
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
    if (LPH_LIKELY(!is_dead(t))) return serve(L, t, slot, now), LPH_POOL_NONE;
    bury(t);
    ticket = lph_pool_give(&b->p, slot, now);
  }
  return ticket;
}

/* Is the next in the queue, if there is anybody, one who can be served from here? */
static bool can_serve(lpool *b) {
  while (b->p.waiting > 0) {
    ltrip *t = lph_pool_first_holder(&b->p);
    if (t == NULL) return false;
    if (LPH_LIKELY(!is_dead(t))) return true;
    bury(t);
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
  if (is_dead(t)) {
    bury(t);
  } else {
    b->slots[slot].trip = NULL;
    t->slot = 0;
  }
}

/* ---- on the way ---------------------------------------------------------------------------------------------------- */

/* The verb has run, its answers stand from 1 on. The connection goes to the next when that needs nothing of Lua's. */
static int finish(lua_State *L, lpool *b, ltrip *t) {
  int slot = t->slot, rc = t->rc;
  const lconn *conn = t->conn;
  bool done = rc == 0 && lua_gettop(L) == 1;
  bool passes = done && slot != 0 && b->travels && llend_is_in_order(b, conn);
  end_trip(L, t);
  if (LPH_LIKELY(passes && can_serve(b))) {
    double now = lph_now();
    int ticket = lph_pool_give(&b->p, slot, now);
    if (ticket > 0) serve(L, lph_pool_holder(&b->p, ticket), slot, now);
    done = ticket != LPH_POOL_RETIRE;
  } else {
    done = done && slot == 0;
  }
  if (LPH_UNLIKELY(!done)) return llend_push_verb(L, slot, rc);
  lua_pushboolean(L, 1);
  lua_insert(L, 1);
  return 2;
}

/* It has to be gone on with in Lua, which waits as the core wants it to. */
static int push_under_way(lua_State *L, ltrip *t) {
  int slot = t->slot;
  lua_settop(L, 0);
  lrun_push_pending(L, lrun_want_name(t->want));
  end_trip(L, t);
  return llend_push_verb(L, slot, 0);
}

/* Inside the connection's box: takes a step, and the answer if it is complete. Arguments: box, trip. Nothing: not yet. */
static int land(lua_State *L) {
  lconn *conn = lua_touserdata(L, 1);
  ltrip *t = lua_touserdata(L, 2);
  lph_want want = lph_conn_step(&conn->c);
  if (LPH_UNLIKELY(want == LPH_FAILED)) return lrun_push_failure(L, conn, 0);
  if (LPH_LIKELY(want == LPH_DONE)) return lconn_take(L);
  t->want = want;
  return 0;
}

/* The statement is under way, and its descriptor may be ready. */
static int go_on(lua_State *L, lpool *b, ltrip *t) {
  while (true) {
    if (LPH_LIKELY(t->sleep->ready != 0 || t->slot == 0)) {
      t->sleep->ready = 0;
      lua_settop(L, 0);
      lua_pushvalue(t->shelf, SHELF_POOL);
      lua_pushvalue(t->shelf, SHELF_BOX);
      lua_xmove(t->shelf, L, 2);
      lcompat_getstore(L, 1);
      lua_rawgeti(L, -1, LPOOL_STORE_LAND);
      lua_replace(L, 1);
      lua_pop(L, 1);
      lua_pushlightuserdata(L, t);
      t->rc = lenter_call(L, t->conn, 2);
      if (LPH_LIKELY(t->rc != 0 || lua_gettop(L) > 0)) return finish(L, b, t);
      if (lph_is_past(t->conn->deadline)) return push_under_way(L, t);
      await(t);
    }
    lnginx_nap nap = doze(L, t, t->conn->deadline);
    if (LPH_LIKELY(nap == LNGINX_ASLEEP)) return push_asleep(L, t);
    if (nap != LNGINX_AWAKE) return push_under_way(L, t);
  }
}

/* Something is idle, and the arguments are as they came. */
static int depart(lua_State *L, lpool *b, ltrip *t, double now) {
  lph_pool_due due;
  int slot = lph_pool_take(&b->p, now, &due);
  const char *why = llend_obstacle(lpool_conn(b, slot), due, now);
  if (LPH_UNLIKELY(why != NULL)) {
    end_trip(L, t);
    return llend_push_due(L, slot, why);
  }
  board(t, slot);
  t->state = TRIP_UNDER_WAY;
  push_call(L, t, LPOOL_STORE_RUN);
  lua_replace(L, 1); /* the box in the pool's place */
  lua_insert(L, 1);
  t->rc = lenter_call(L, t->conn, lua_gettop(L) - 1);
  if (LPH_UNLIKELY(!is_under_way(L, 1, t))) return finish(L, b, t);
  await(t);
  return go_on(L, b, t);
}

static double limit_of(const lpool *b, const ltrip *t) {
  return b->patience > 0 ? t->since + b->patience : -1;
}

/* Nobody has served him yet. */
static int wait_on(lua_State *L, lpool *b, ltrip *t) {
  double limit = limit_of(b, t), at = limit;
  if (!t->looked) at = lph_sooner(limit, b->look_at);
  lnginx_nap nap = doze(L, t, at);
  if (LPH_LIKELY(nap == LNGINX_ASLEEP)) return push_asleep(L, t);
  if (nap == LNGINX_CANNOT) return end_trip(L, t), push_elsewhere(L);
  if (!t->looked) {
    t->looked = true;
    push_asleep(L, t);
    lua_pushboolean(L, 1);
    return 3;
  }
  lua_pushboolean(L, 0);
  lua_pushlightuserdata(L, (void *)&late_mark);
  lua_pushnumber(L, t->since);
  end_trip(L, t);
  return 3;
}

/* Nothing is idle: he leaves on his shelf what others need to send it. */
static int stand(lua_State *L, lpool *b, ltrip *t, double now) {
  t->ticket = lph_pool_enqueue(&b->p, now);
  if (LPH_UNLIKELY(t->ticket <= 0)) {
    t->ticket = 0;
    end_trip(L, t);
    return push_elsewhere(L);
  }
  lph_pool_set_holder(&b->p, t->ticket, t);
  lua_xmove(L, t->shelf, lua_gettop(L) - 1);
  t->state = TRIP_QUEUED;
  t->since = now;
  t->looked = false;
  return wait_on(L, b, t);
}

/* ---- for Lua ----------------------------------------------------------------------------------------------------------- */

static bool may_travel(lua_State *L, const lpool *b) {
  const lnginx *nx = b->nginx;
  return b->travels && b->owner == lph_process_id() && nx->open && nx->pid == b->owner && nx->ready &&
         !nx->brief && lua_type(L, 3) == LUA_TSTRING && lua_isyieldable(L);
}

/* Has the caller borrowed a connection by hand? He may wait for himself. */
static bool is_holder(lua_State *L) {
  int below = lua_gettop(L);
  bool found = false;
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, LPOOL_STORE_HANDLES);
  lua_pushthread(L);
  lua_pushnil(L);
  while (!found && lua_next(L, below + 2)) {
    lua_pushliteral(L, "owner");
    if (lua_istable(L, -2)) lua_rawget(L, -2);
    found = lua_rawequal(L, -1, below + 3);
    lua_pop(L, 2);
  }
  lua_settop(L, below);
  return found;
}

/* Can he just stand in line? Else there is something to find out. */
static bool may_queue(lua_State *L, const lpool *b, double now) {
  const lph_pool *p = &b->p;
  int most = p->options.max_waiting;
  return lph_pool_total(p) >= p->options.max && !p->closing && (most == 0 || p->waiting < most) &&
         now < b->look_at && lua_gettop(L) - 3 <= MOST_ARGUMENTS && !is_holder(L);
}

/* pool:travel(code, sql, ...) -> boolean|integer|nil, any, any, any; see the head of ltrip.c */
static int lpool_travel(lua_State *L) {
  lpool *b = lpool_check_open(L);
  if (LPH_UNLIKELY(!may_travel(L, b))) return push_elsewhere(L);
  ltrip_reserve(L);
  double now = lph_now();
  bool is_idle = !lph_list_is_empty(&b->p.idle);
  if (!is_idle && LPH_UNLIKELY(!may_queue(L, b, now))) return lua_pushboolean(L, 0), 1;
  ltrip *t = begin_trip(L, b);
  if (LPH_UNLIKELY(t == NULL)) return push_elsewhere(L);
  return is_idle ? depart(L, b, t, now) : stand(L, b, t, now);
}

/* It has a connection and has to send the statement itself: Lua looks after that connection from now on. */
static int push_served(lua_State *L, const lpool *b, int slot) {
  const char *why = llend_obstacle(lpool_conn(b, slot), LPH_DUE_NOTHING, lph_now());
  return llend_push_due(L, slot, why != NULL ? why : "served");
}

static int go_on_with(lua_State *L, lpool *b, ltrip *t) {
  int slot = t->slot;
  switch (t->state) {
    case TRIP_QUEUED: return wait_on(L, b, t);
    case TRIP_UNDER_WAY: return go_on(L, b, t);
    case TRIP_STUCK:
      lua_settop(L, 0);
      lua_xmove(t->shelf, L, lua_gettop(t->shelf) - SHELF_BOX);
      return finish(L, b, t);
    case TRIP_SERVED:
      if (slot == 0) break;
      end_trip(L, t);
      return push_served(L, b, slot);
    case TRIP_DISMISSED:
    case TRIP_FREE: break;
  }
  end_trip(L, t);
  return push_elsewhere(L);
}

/* pool:arrive(pass) -> boolean|integer|nil, any, any, any; see the head of ltrip.c */
static int lpool_arrive(lua_State *L) {
  lpool *b = lpool_check_open(L);
  ltrip *t = trip_of(L, b);
  t->sleep->awake = true;
  ltrip_reserve(L);
  return go_on_with(L, b, t);
}

/* A connection whose verb was left behind by a request that has ended.
 * pool:lost() -> slot | nil */
static int lpool_lost(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lph_list *node;
  while ((node = lph_list_pop_front(&b->lost)) != NULL) {
    ltrip *t = lph_list_entry(node, ltrip, link);
    int slot = t->slot;
    bury(t);
    if (slot != 0) return lpool_push_slot(L, slot);
  }
  return 0;
}

/* Whose verb runs there this way; false: somebody's who is no more.
 * pool:traveller(slot) -> thread | false | nil */
static int lpool_traveller(lua_State *L) {
  lpool *b = lpool_check_open(L);
  const ltrip *t = b->slots[lpool_check_slot(L, b)].trip;
  if (t == NULL) return 0;
  if (is_dead(t)) return lua_pushboolean(L, 0), 1;
  lua_pushvalue(t->shelf, SHELF_TASK);
  lua_xmove(t->shelf, L, 1);
  return 1;
}

/* From now on verbs travel, woken through this; nil: those that stand in line are served, others come the other way.
 * pool:travels([nginx]) */
static int lpool_travels(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lua_settop(L, 2);
  b->travels = false;
  if (lua_isnil(L, 2)) return 0;
  lnginx *nginx = lnginx_test(L, 2);
  if (nginx == NULL || (b->nginx != NULL && b->nginx != nginx)) return luaL_error(L, "nginx expected");
  lcompat_getstore(L, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, 3, LPOOL_STORE_NGINX);
  lua_pushcfunction(L, lconn_run);
  lua_rawseti(L, 3, LPOOL_STORE_RUN);
  lua_pushcfunction(L, land);
  lua_rawseti(L, 3, LPOOL_STORE_LAND);
  if (b->nginx == NULL) {
    lua_newtable(L);
    lua_rawseti(L, 3, LPOOL_STORE_SHELVES);
  }
  b->nginx = nginx;
  b->travels = true;
  return 0;
}

/* Until when nobody need look for borrowers that have ended, on core.now()'s clock.
 * pool:looked(at) */
static int lpool_looked(lua_State *L) {
  lpool_check_open(L)->look_at = luaL_checknumber(L, 2);
  return 0;
}

const luaL_Reg ltrip_methods[] = {
  {"travel", lpool_travel},   {"arrive", lpool_arrive}, {"lost", lpool_lost}, {"traveller", lpool_traveller},
  {"travels", lpool_travels}, {"looked", lpool_looked}, {NULL, NULL}};

void ltrip_push_mark(lua_State *L) { lua_pushlightuserdata(L, (void *)&late_mark); }

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
