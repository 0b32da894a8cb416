/* ltripway.c - the way of a verb inside of nginx, step by step, and what Lua calls; see ltrip.c.
 *
 * SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/process.h"
#include "bind/lenter.h"
#include "bind/lrun.h"
#include "bind/ltrip.h"

static const char late_mark; /* its address is LATE */

#define MOST_ARGUMENTS \
  16 /* with more a verb does not stand in the queue this way: a shelf has room for these */

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

/* ---- on the way ---------------------------------------------------------------------------------------------------- */

/* The verb has run, its answers stand from 1 on. The connection goes to the next when that needs nothing of Lua's. */
static int finish(lua_State *L, lpool *b, ltrip *t) {
  int slot = t->slot, rc = t->rc;
  const lconn *conn = t->conn;
  bool done = rc == 0 && lua_gettop(L) == 1;
  bool passes = done && slot != 0 && b->travels && llend_is_in_order(b, conn);
  ltrip_end(L, t);
  if (LPH_LIKELY(passes && ltrip_can_serve(b))) {
    double now = lph_now();
    int ticket = lph_pool_give(&b->p, slot, now);
    if (ticket > 0) ltrip_serve_holder(L, lph_pool_holder(&b->p, ticket), slot, now);
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
  ltrip_end(L, t);
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
      ltrip_await(t);
    }
    lnginx_nap nap = ltrip_doze(L, t, t->conn->deadline);
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
    ltrip_end(L, t);
    return llend_push_due(L, slot, why);
  }
  ltrip_board(t, slot);
  t->state = TRIP_UNDER_WAY;
  ltrip_push_call(L, t, LPOOL_STORE_RUN);
  lua_replace(L, 1); /* the box in the pool's place */
  lua_insert(L, 1);
  t->rc = lenter_call(L, t->conn, lua_gettop(L) - 1);
  if (LPH_UNLIKELY(!ltrip_is_under_way(L, 1, t))) return finish(L, b, t);
  ltrip_await(t);
  return go_on(L, b, t);
}

static double limit_of(const lpool *b, const ltrip *t) {
  return b->patience > 0 ? t->since + b->patience : -1;
}

/* Nobody has served him yet. */
static int wait_on(lua_State *L, lpool *b, ltrip *t) {
  double limit = limit_of(b, t), at = limit;
  if (!t->looked) at = lph_sooner(limit, b->look_at);
  lnginx_nap nap = ltrip_doze(L, t, at);
  if (LPH_LIKELY(nap == LNGINX_ASLEEP)) return push_asleep(L, t);
  if (nap == LNGINX_CANNOT) return ltrip_end(L, t), push_elsewhere(L);
  if (!t->looked) {
    t->looked = true;
    push_asleep(L, t);
    lua_pushboolean(L, 1);
    return 3;
  }
  lua_pushboolean(L, 0);
  lua_pushlightuserdata(L, (void *)&late_mark);
  lua_pushnumber(L, t->since);
  ltrip_end(L, t);
  return 3;
}

/* Nothing is idle: he leaves on his shelf what others need to send it. */
static int stand(lua_State *L, lpool *b, ltrip *t, double now) {
  t->ticket = lph_pool_enqueue(&b->p, now);
  if (LPH_UNLIKELY(t->ticket <= 0)) {
    t->ticket = 0;
    ltrip_end(L, t);
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

int ltrip_run(lua_State *L, lpool *b) {
  if (LPH_UNLIKELY(!may_travel(L, b))) return push_elsewhere(L);
  ltrip_reserve(L);
  double now = lph_now();
  bool is_idle = !lph_list_is_empty(&b->p.idle);
  if (!is_idle && LPH_UNLIKELY(!may_queue(L, b, now))) return lua_pushboolean(L, 0), 1;
  ltrip *t = ltrip_begin(L, b);
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
      ltrip_end(L, t);
      return push_served(L, b, slot);
    case TRIP_DISMISSED:
    case TRIP_FREE: break;
  }
  ltrip_end(L, t);
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
    ltrip_bury(t);
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
  if (ltrip_is_dead(t)) return lua_pushboolean(L, 0), 1;
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

const luaL_Reg ltrip_methods[] = {{"arrive", lpool_arrive},       {"lost", lpool_lost},
                                  {"traveller", lpool_traveller}, {"travels", lpool_travels},
                                  {"looked", lpool_looked},       {NULL, NULL}};

void ltrip_push_mark(lua_State *L) { lua_pushlightuserdata(L, (void *)&late_mark); }
