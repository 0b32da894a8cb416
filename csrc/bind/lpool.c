/* lpool.c - the pool's state machine (core/pool.h) as Lua sees it.
 *
 * The Lua side (luphant.pool) opens, checks, cleans and closes connections and makes borrowers wait. Here a slot is
 * tied to the box of its connection. Borrowing and giving back are in llend.c, figures in lpoolfacts.c.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lpool.h"

#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "bind/bind.h"
#include "bind/ltrip.h"

static lpool *check(lua_State *L) { return lbox_self(L, 1, &lpool_class); }

lpool *lpool_check_open(lua_State *L) {
  lpool *b = check(L);
  if (!b->open) luaL_error(L, "the pool is gone");
  return b;
}

int lpool_check_slot(lua_State *L, lpool *b) {
  int slot = (int)luaL_checkinteger(L, 2);
  if (lph_pool_slot(&b->p, slot) == NULL) luaL_error(L, "no slot %d", slot);
  return slot;
}

/* ---- options ------------------------------------------------------------------------------------------ */

static double number(lua_State *L, int at, const char *key) {
  lua_getfield(L, at, key);
  double n = lua_isnil(L, -1) ? 0 : luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return n;
}

static int count(lua_State *L, int at, const char *key) {
  double n = number(L, at, key);
  return n < 0 ? 0 : n > LPH_POOL_MAX ? LPH_POOL_MAX : (int)n;
}

static bool flag(lua_State *L, int at, const char *key) {
  lua_getfield(L, at, key);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

static lph_pool_options read_options(lua_State *L, int at) {
  luaL_checktype(L, at, LUA_TTABLE);
  lph_pool_options o = {
    .max = count(L, at, "max_connections"),
    .min = count(L, at, "min_connections"),
    .max_waiting = count(L, at, "max_waiting"),
    .idle_timeout = number(L, at, "idle_timeout"),
    .max_lifetime = number(L, at, "max_lifetime"),
    .jitter = number(L, at, "lifetime_jitter"),
    .check_after = number(L, at, "check_after"),
    .keepalive = number(L, at, "keepalive"),
    .max_uses = (uint64_t)number(L, at, "max_uses"),
    .fifo = flag(L, at, "fifo"),
  };
  return o;
}

/* The arrays must reach as far as the slots do. Each is kept as it is when the other cannot grow. */
static bool make_room(lpool *b, int max) {
  int wanted = (max > b->p.slot_room ? max : b->p.slot_room) + 1;
  if (wanted <= b->room) return true;
  lpool_frame *frames = lph_regrow(b->frames, (size_t)wanted * (size_t)b->depth, sizeof *frames);
  if (frames == NULL) return false;
  b->frames = frames;
  lpool_slot *slots = lph_regrow(b->slots, (size_t)wanted, sizeof *slots);
  if (slots == NULL) return false;
  while (b->room < wanted) slots[b->room++] = (lpool_slot){.conn = NULL};
  b->slots = slots;
  return true;
}

/* Where our own files are, as the "source" of debug.getinfo begins. */
static bool read_home(lua_State *L, lpool *b, int at) {
  lua_getfield(L, at, "home");
  const char *home = lua_tolstring(L, -1, &b->home_length);
  if (home != NULL) {
    b->home = lph_alloc(b->home_length + 1);
    if (b->home == NULL) return false;
    memcpy(b->home, home, b->home_length + 1);
  }
  lua_pop(L, 1);
  return true;
}

/* core.pool(options, seed) -> pool */
int lpool_new(lua_State *L) {
  lph_pool_options o = read_options(L, 1);
  double seed = luaL_optnumber(L, 2, 0);
  lpool *b = lbox_new(L, &lpool_class, sizeof *b);
  ltrip_init(b);
  b->open = true;
  b->patience = number(L, 1, "acquire_timeout");
  b->keep_state = flag(L, 1, "keep_state");
  b->owner = lph_process_id();
  b->depth = count(L, 1, "leak_frames");
  if (b->depth < 1) b->depth = 1;
  if (lph_pool_init(&b->p, &o, (uint64_t)(seed < 0 ? -seed : seed)) != LPH_OK || !make_room(b, o.max) ||
      !read_home(L, b, 1))
    return luaL_error(L, "not enough memory");
  return 1;
}

/* pool:resize(options) */
static int lpool_resize(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lph_pool_options o = read_options(L, 2);
  /* Room first: slots must never reach beyond it. */
  if (!make_room(b, o.max) || lph_pool_resize(&b->p, &o) != LPH_OK) return luaL_error(L, "not enough memory");
  b->patience = number(L, 2, "acquire_timeout");
  return 0;
}

static int lpool__gc(lua_State *L) {
  lpool *b = check(L);
  if (b->open) {
    ltrip_clear(b);
    lph_pool_clear(&b->p);
    lph_free(b->slots);
    lph_free(b->frames);
    lph_free(b->home);
    b->slots = NULL;
    b->frames = NULL;
    b->home = NULL;
    b->room = 0;
  }
  b->open = b->lane = false;
  return 0;
}

/* pool:attach(slot [, connection]); the box behind a slot, nil takes it away */
static int lpool_attach(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b);
  lua_settop(L, 3);
  lconn *conn = lua_isnil(L, 3) ? NULL : lbox_test(L, 3, &lconn_class);
  if (conn == NULL && !lua_isnil(L, 3)) return luaL_error(L, "connection expected");
  lcompat_getstore(L, 1);
  lua_pushvalue(L, 3);
  lua_rawseti(L, -2, slot);
  b->slots[slot].conn = conn;
  return 0;
}

/* pool:glance([seconds]); from now on give says "glance" so often, nil = never: there is nobody else who looks at chores
 */
static int lpool_glance(lua_State *L) {
  lpool *b = lpool_check_open(L);
  b->glance = luaL_optnumber(L, 2, 0);
  b->glance_at = lph_now() + b->glance;
  return 0;
}

/* pool:tend(slot); it is in our own hands now */
static int lpool_tend(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b);
  ltrip_detach(b, slot);
  lph_pool_tend(&b->p, slot, lph_now());
  return 0;
}

/* pool:drop(slot); its connection is gone: the slot is empty and holds on to no box */
static int lpool_drop(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b);
  ltrip_detach(b, slot);
  lph_pool_drop(&b->p, slot);
  b->slots[slot].conn = NULL;
  llend_withdraw(L, b, slot);
  lcompat_getstore(L, 1);
  lua_pushnil(L);
  lua_rawseti(L, -2, slot);
  return 0;
}

/* pool:touch(slot); its connection has just answered */
static int lpool_touch(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lph_pool_touch(&b->p, lpool_check_slot(L, b), lph_now());
  return 0;
}

/* The boolean: is grow() worth a call? Nothing: something is idle by now (a finalizer may have given it back).
 * pool:enqueue() -> ticket, boolean | nil, "full" | nil */
static int lpool_enqueue(lua_State *L) {
  lpool *b = lpool_check_open(L);
  if (LPH_UNLIKELY(b->p.idle_count > 0)) return 0;
  double now = lph_now();
  int ticket = lph_pool_enqueue(&b->p, now);
  if (ticket > 0) {
    lua_pushinteger(L, ticket);
    lua_pushboolean(L, lph_pool_is_lacking(&b->p, now));
    return 2;
  }
  if (ticket == LPH_POOL_NO_MEMORY) return luaL_error(L, "not enough memory");
  lua_pushnil(L);
  lua_pushliteral(L, "full");
  return 2;
}

/* pool:served(ticket) -> slot | nil */
static int lpool_served(lua_State *L) {
  lpool *b = lpool_check_open(L);
  return lpool_push_slot(L, lph_pool_served(&b->p, (int)luaL_checkinteger(L, 2)));
}

/* served and, if so, leave: the ticket is void, the slot is the caller's.
 * pool:collect(ticket) -> slot | nil */
static int lpool_collect(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int ticket = (int)luaL_checkinteger(L, 2);
  if (lph_pool_served(&b->p, ticket) <= 0) return 0;
  return lpool_push_slot(L, lph_pool_leave(&b->p, ticket, lph_now()));
}

/* pool:promised(slot) -> ticket | nil; of the one it was given to and who has yet to leave with it */
static int lpool_promised(lua_State *L) {
  lpool *b = lpool_check_open(L);
  return lpool_push_slot(L, lph_pool_promised(&b->p, lpool_check_slot(L, b)));
}

/* pool:leave(ticket) -> slot | nil; the ticket is void, the slot it was given is the caller's */
static int lpool_leave(lua_State *L) {
  lpool *b = lpool_check_open(L);
  return lpool_push_slot(L, lph_pool_leave(&b->p, (int)luaL_checkinteger(L, 2), lph_now()));
}

/* pool:dismiss() -> ticket | nil; the first waiter leaves the queue unserved */
static int lpool_dismiss(lua_State *L) {
  while (ltrip_dismiss(lpool_check_open(L))) {
  }
  return lpool_push_slot(L, lph_pool_dismiss(&lpool_check_open(L)->p));
}

static int push_time(lua_State *L, double at) {
  if (at <= 0) return 0;
  lua_pushnumber(L, at);
  return 1;
}

/* A slot to be connected now; or when this is worth another call, by the same look at the clock.
 * pool:grow() -> slot | nil, at | nil */
static int lpool_grow(lua_State *L) {
  lpool *b = lpool_check_open(L);
  double now = lph_now();
  int slot = lph_pool_grow(&b->p, now);
  if (slot > 0) return lpool_push_slot(L, slot);
  lua_pushnil(L);
  return 1 + push_time(L, lph_pool_grow_at(&b->p, now));
}

/* pool:grow_at() -> number | nil; when grow is worth another call */
static int lpool_grow_at(lua_State *L) {
  return push_time(L, lph_pool_grow_at(&lpool_check_open(L)->p, lph_now()));
}

/* pool:chore_at() -> number | nil; when there may be a chore */
static int lpool_chore_at(lua_State *L) {
  return push_time(L, lph_pool_chore_at(&lpool_check_open(L)->p, lph_now()));
}

/* pool:born(slot) -> nil | ticket | "retire" */
static int lpool_born(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b);
  double now = lph_now();
  ltrip_reserve(L);
  int ticket = ltrip_serve(L, b, slot, lph_pool_born(&b->p, slot, now), now);
  if (ticket >= 0) return lpool_push_slot(L, ticket);
  lua_pushliteral(L, "retire");
  return 1;
}

/* pool:stillborn(slot); connecting has failed */
static int lpool_stillborn(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lph_pool_stillborn(&b->p, lpool_check_slot(L, b), lph_now());
  return 0;
}

static void let_rest(const lpool *b, double now) {
  for (int slot = 1; slot <= b->p.slot_room; slot++) {
    lconn *conn = lpool_conn(b, slot);
    bool idle = conn != NULL && lph_pool_slot(&b->p, slot)->state == LPH_SLOT_IDLE;
    if (idle && !conn->finalized) lph_conn_rest(&conn->c, now);
  }
}

/* pool:chore() -> chore, slot | nil */
static int lpool_chore(lua_State *L) {
  static const char *const names[] = {NULL, "close", "ping", "connect"};
  lpool *b = lpool_check_open(L);
  int slot = 0;
  double now = lph_now();
  lph_chore chore = lph_pool_chore(&b->p, now, &slot);
  if (chore == LPH_CHORE_NONE) return let_rest(b, now), 0;
  lua_pushstring(L, names[chore]);
  lua_pushinteger(L, slot);
  return 2;
}

/* pool:refresh(); all connections of now are over */
static int lpool_refresh(lua_State *L) {
  lph_pool_refresh(&lpool_check_open(L)->p);
  return 0;
}

/* pool:close(); nothing is lent from now on, and what comes back is to be closed */
static int lpool_close(lua_State *L) {
  lpool_check_open(L)->p.closing = true;
  return 0;
}

/* pool:restart(); after a fork: the slots are empty, the tickets void, this process is the owner */
static int lpool_restart(lua_State *L) {
  lpool *b = lpool_check_open(L);
  for (int slot = 1; slot <= b->p.slot_room; slot++) {
    ltrip_detach(b, slot);
    lph_pool_drop(&b->p, slot);
    b->slots[slot].conn = NULL;
    llend_withdraw(L, b, slot);
  }
  for (int ticket = 1; ticket <= b->p.ticket_room; ticket++) lph_pool_leave(&b->p, ticket, 0);
  b->owner = lph_process_id();
  lcompat_getstore(L, 1);
  for (int slot = 1; slot <= b->p.slot_room; slot++) {
    lua_pushnil(L);
    lua_rawseti(L, -2, slot);
  }
  return 0;
}

/* pool:size() -> integer; the highest number of a slot */
static int lpool_size(lua_State *L) { return lua_pushinteger(L, lpool_check_open(L)->p.slot_room), 1; }
/* pool:waiting() -> integer */
static int lpool_waiting(lua_State *L) { return lua_pushinteger(L, lpool_check_open(L)->p.waiting), 1; }

/* pool:is_due(slot) -> boolean; too old, say: it will go when it comes back */
static int lpool_is_due(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lua_pushboolean(L, lph_pool_is_due(&b->p, lpool_check_slot(L, b), lph_now()));
  return 1;
}

/* pool:is_spent() -> boolean; nothing is idle, and no more may be opened */
static int lpool_is_spent(lua_State *L) {
  const lph_pool *p = &lpool_check_open(L)->p;
  lua_pushboolean(L, lph_list_is_empty(&p->idle) && lph_pool_total(p) >= p->options.max);
  return 1;
}

static const luaL_Reg pool_methods[] = {{"attach", lpool_attach},   {"tend", lpool_tend},
                                        {"drop", lpool_drop},       {"touch", lpool_touch},
                                        {"enqueue", lpool_enqueue}, {"served", lpool_served},
                                        {"collect", lpool_collect}, {"promised", lpool_promised},
                                        {"leave", lpool_leave},     {"dismiss", lpool_dismiss},
                                        {"grow", lpool_grow},       {"grow_at", lpool_grow_at},
                                        {"born", lpool_born},       {"stillborn", lpool_stillborn},
                                        {"chore", lpool_chore},     {"chore_at", lpool_chore_at},
                                        {"refresh", lpool_refresh}, {"close", lpool_close},
                                        {"restart", lpool_restart}, {"resize", lpool_resize},
                                        {"size", lpool_size},       {"glance", lpool_glance},
                                        {"waiting", lpool_waiting}, {"is_spent", lpool_is_spent},
                                        {"is_due", lpool_is_due},   {NULL, NULL}};
static const luaL_Reg pool_meta[] = {{"__gc", lpool__gc}, {NULL, NULL}};
const lbox_class lpool_class = {"luphant.core.pool", pool_methods, pool_meta};

void lpool_open(lua_State *L) {
  lbox_open(L, &lpool_class);
  luaL_getmetatable(L, lpool_class.name); /* mt */
  lua_getfield(L, -1, "__index");         /* mt methods */
  llend_open(L);
  lua_pop(L, 2);
}
