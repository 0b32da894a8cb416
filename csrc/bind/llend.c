/* llend.c - borrowing a pool's connections and giving them back, at the cost of next to nothing when all is in order.
 *
 *   pool:run(code, sql, ...) runs a whole verb on whatever is idle. It answers
 *     true, result              done, and the connection is idle again
 *     slot, result, err, stale  to be gone on with, as conn:run (lrun.c); the slot is lent
 *     slot, RAISED, err         the verb raised; the slot is lent
 *     slot, DUE, due            as take (nil: as if that had been called); nothing has run
 *     false                     nothing is idle
 *     false, true               a child of the process that opened the pool
 *     nil                       the waiter is to be chosen first, then the same with CHOSEN added to the code
 *   (and inside of nginx as ltrip.c says).
 *   pool:lend() and core.give_back(handle) do what luphant.pool.lending does in Lua. While they can, the pool's *lane* is
 *   open: nobody wants to see borrowings, nothing watches over them from outside, the keeper runs. When something is
 *   unusual they change nothing: Lua goes on as if they had not been called. Where C can wait for Lua the same code is
 *   db:acquire() and conn:release() themselves. (On LuaJIT a function of each pool would be kept by the traces that call
 *   it, and the pool with it.)
 *
 * A handle is an empty table: its metatable says what it is. Each connection has one metatable for the handle that is
 * lent, and others for handles that were given back, so a handle dies by getting another metatable.
 *
 * What a connection must be to be lent again without a look from Lua: open, between two statements, no transaction,
 * nothing left in the session. Everything else is "clean": tended now, and for Lua to put in order or to close.
 *
 * SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "base/process.h"
#include "bind/bind.h"
#include "bind/lenter.h"
#include "bind/lpool.h"
#include "bind/lrun.h"
#include "bind/ltrip.h"

static const char raised_mark, due_mark; /* their addresses are RAISED and DUE */

#define CHOSEN 4096 /* added to a verb's number for pool:run: the waiter has been chosen */

/* ---- what is in order ------------------------------------------------------------------------------------ */

const char *llend_obstacle(lconn *conn, lph_pool_due due, double now) {
  if (LPH_UNLIKELY(due == LPH_DUE_RETIRE)) return "retire";
  if (LPH_UNLIKELY(conn == NULL || conn->finalized || conn->entered || conn->c.state != LPH_IDLE))
    return "lost";
  if (LPH_UNLIKELY(lph_conn_look_at(&conn->c, now) != LPH_OK)) return "lost";
  return LPH_UNLIKELY(due == LPH_DUE_CHECK) ? "check" : NULL;
}

bool llend_is_in_order(const lpool *b, const lconn *conn) {
  return conn->c.state == LPH_IDLE && (conn->c.marks == 0 || b->keep_state) && !conn->untaken &&
         !conn->held && !conn->entered && conn->reader == NULL && !conn->ahead && !conn->forsaken &&
         conn->owner == NULL && conn->c.txn.depth == 0 && PQtransactionStatus(conn->c.pg) == PQTRANS_IDLE;
}

static bool is_glance_due(const lpool *b, double now) { return b->glance > 0 && now >= b->glance_at; }

/* Coroutines may be run by an event loop; the main program is not. Pushes the running one. */
static bool must_choose(lua_State *L, const lpool *b) { return !lua_pushthread(L) && b->is_undecided; }

/* ---- step by step, for Lua --------------------------------------------------------------------------------- */

/* pool:take() -> slot, nil | slot, due | nil, "forked" | nil, nil */
static int lpool_take(lua_State *L) {
  lpool *b = lpool_check_open(L);
  if (LPH_UNLIKELY(b->owner != lph_process_id())) {
    lua_pushnil(L);
    lua_pushliteral(L, "forked");
    return 2;
  }
  lph_pool_due due;
  double now = lph_now();
  int slot = lph_pool_take(&b->p, now, &due);
  if (slot == LPH_POOL_NONE) return 0;
  const char *why = llend_obstacle(lpool_conn(b, slot), due, now);
  lua_pushinteger(L, slot);
  if (LPH_LIKELY(why == NULL)) return 1;
  lua_pushstring(L, why);
  return 2;
}

/* Pushes nothing when the connection is idle again. */
static int give(lua_State *L, lpool *b, int slot) {
  if (LPH_UNLIKELY(b->p.waiting > 0)) ltrip_reserve(L);
  lconn *conn = lpool_conn(b, slot);
  double now = lph_now();
  const char *what;
  if (LPH_UNLIKELY(conn == NULL || conn->finalized || conn->c.state == LPH_CLOSED ||
                   conn->c.owner != lph_process_id())) {
    lph_pool_tend(&b->p, slot, now);
    what = "closed";
  } else if (LPH_UNLIKELY(!llend_is_in_order(b, conn))) {
    lph_pool_tend(&b->p, slot, now);
    what = "clean";
  } else {
    int ticket = ltrip_serve(L, b, slot, lph_pool_give(&b->p, slot, now), now);
    if (LPH_LIKELY(ticket == LPH_POOL_NONE && !is_glance_due(b, now))) return 0;
    if (ticket > 0) return lpool_push_slot(L, ticket);
    what = ticket == LPH_POOL_NONE ? "glance" : "retire";
  }
  lua_pushstring(L, what);
  return 1;
}

/* pool:give(slot) -> nil | ticket | "retire" | "closed" | "clean" | "glance"; nil: it is idle, a ticket: lent to that waiter */
static int lpool_give(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b);
  lph_slot_state state = lph_pool_slot(&b->p, slot)->state;
  if (state != LPH_SLOT_USED && state != LPH_SLOT_TENDED) return luaL_error(L, "slot %d is not lent", slot);
  return give(L, b, slot);
}

/* ---- a whole verb ------------------------------------------------------------------------------------------- */

int llend_push_verb(lua_State *L, int slot, int rc) {
  lua_pushinteger(L, slot);
  lua_insert(L, 1);
  if (rc != 0) {
    lua_pushlightuserdata(L, (void *)&raised_mark);
    lua_insert(L, 2);
  }
  return lua_gettop(L);
}

int llend_push_due(lua_State *L, int slot, const char *why) {
  lua_pushinteger(L, slot);
  lua_pushlightuserdata(L, (void *)&due_mark);
  if (why == NULL) return 2;
  lua_pushstring(L, why);
  return 3;
}

/* The verb has run; its answers stand from 1 on. */
static int end_run(lua_State *L, lpool *b, lconn *conn, int slot, int rc) {
  int n = lua_gettop(L);
  double now = lph_now();
  bool done = rc == 0 && n == 1 && llend_is_in_order(b, conn) && b->p.waiting == 0 && !is_glance_due(b, now);
  if (LPH_LIKELY(done) && LPH_LIKELY(lph_pool_give(&b->p, slot, now) == LPH_POOL_NONE)) {
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    return 2;
  }
  return llend_push_verb(L, slot, rc);
}

static bool is_chosen(lua_State *L) {
  lua_Integer code = luaL_checkinteger(L, 2);
  if (LPH_LIKELY((code & CHOSEN) == 0)) return false;
  lua_pushinteger(L, code & ~(lua_Integer)CHOSEN);
  lua_replace(L, 2);
  return true;
}

/* Upvalues: class, lconn_run. */
/* pool:run(code, sql, ...) -> true, result | slot, result, err, stale | false | false, true | nil, any, boolean; see the
 * head of llend.c */
static int lpool_run(lua_State *L) {
  lpool *b = lpool_check_open(L);
  if (b->travels) return ltrip_run(L, b);
  if (!is_chosen(L) && b->is_undecided) {
    if (must_choose(L, b)) return 0;
    lua_pop(L, 1);
  }
  if (LPH_UNLIKELY(b->owner != lph_process_id())) return lua_pushboolean(L, 0), lua_pushboolean(L, 1), 2;
  lph_pool_due due;
  double now = lph_now();
  int slot = lph_pool_take(&b->p, now, &due);
  if (slot == LPH_POOL_NONE) return lua_pushboolean(L, 0), 1;
  lconn *conn = lpool_conn(b, slot);
  const char *why = llend_obstacle(conn, due, now);
  if (LPH_UNLIKELY(why != NULL)) return llend_push_due(L, slot, why);
  if (LPH_UNLIKELY(conn->yields && !lua_isyieldable(L))) /* Lua goes on, as far as lrun_gate */
    return llend_push_due(L, slot, NULL);
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, slot);
  lua_replace(L, 1); /* the box in the pool's place */
  lua_pop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  return end_run(L, b, conn, slot, lenter_call(L, conn, lua_gettop(L) - 1));
}

/* ---- handles -------------------------------------------------------------------------------------------------- */

/* pool:lane(on, undecided); may lend and give_back do without Lua; may a loop have begun to run the caller's coroutine? */
static int lpool_lane(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, LPOOL_STORE_HANDLES);
  if (!lua_istable(L, -1)) return luaL_error(L, "the pool has no table for handles yet");
  b->lane = lua_toboolean(L, 2);
  b->is_undecided = lua_toboolean(L, 3);
  return 0;
}

/* What stands in a metatable for handles that are lent, beside the fields of a metatable. */
enum { LENT_POOL = 1, LENT_RETURNED, LENT_SLOT, LENT_HANDLES };

/* Upvalues of acquire and release, behind the class. */
enum { UP_HANDLES = 2, UP_METATABLES, UP_POOL, UP_SELF, UP_ACQUIRE_SLOWLY };
enum { UP_RELEASE_SLOWLY = 2 };

/* A handle, and where all handles and metatables stand on the stack. */
typedef struct loan {
  int handles, metatables;
  int level; /* the caller's line is so many functions away */
  bool chosen;
  int slot; /* answers; 0: nothing was done */
  const char *why;
} loan;

/* Pushes a handle for the slot that is lent next. All that may raise happens here: nothing is lent yet. A handle whose
 * borrower is the main program does not say so: its connection does. */
static int push_handle(lua_State *L, lpool *b, int handles, int thread) {
  lua_createtable(L, 0, thread == 0 ? 0 : 2); /* a collection here may change anything */
  if (thread != 0) {
    lua_pushliteral(L, "owner");
    lua_pushvalue(L, thread);
    lua_rawset(L, -3);
  }
  int slot = lph_pool_next(&b->p);
  if (slot == LPH_POOL_NONE) return slot;
  lua_pushvalue(L, -1);
  lua_rawseti(L, handles, slot);
  return slot;
}

/* Leaves the handle on the stack, or answers false: nothing was done, or a slot was taken that is not to be lent as it
 * is. */
static bool borrow(lua_State *L, lpool *b, loan *l) {
  l->slot = 0;
  if (LPH_UNLIKELY(!b->lane || b->owner != lph_process_id() || lph_list_is_empty(&b->p.idle))) return false;
  bool is_main = lua_pushthread(L);
  if (LPH_UNLIKELY(!is_main && b->is_undecided && !l->chosen)) return false;
  l->slot = push_handle(L, b, l->handles, is_main ? 0 : lua_gettop(L));
  if (LPH_UNLIKELY(l->slot == LPH_POOL_NONE)) return false;
  lph_pool_due due;
  double now = lph_now();
  lph_pool_take(&b->p, now, &due);
  l->why = llend_obstacle(lpool_conn(b, l->slot), due, now);
  if (LPH_UNLIKELY(l->why != NULL)) {
    lua_pushnil(L);
    lua_rawseti(L, l->handles, l->slot);
    return false;
  }
  lua_rawgeti(L, l->metatables, l->slot);
  lua_setmetatable(L, -2);
  lpool_note_borrower(L, b, l->slot, l->level);
  return true;
}

/* pool:lend([chosen]) -> handle | nil | nil, slot, due; the last: as take, without a handle */
static int lpool_lend(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lua_settop(L, 2);
  loan l = {.handles = 4, .metatables = 5, .level = 2, .chosen = lua_toboolean(L, 2)};
  lcompat_getstore(L, 1);
  lua_rawgeti(L, 3, LPOOL_STORE_HANDLES);
  lua_rawgeti(L, 3, LPOOL_STORE_METATABLES);
  if (LPH_LIKELY(borrow(L, b, &l))) return 1;
  if (l.slot == 0) return 0;
  lua_pushnil(L);
  lua_pushinteger(L, l.slot);
  lua_pushstring(L, l.why);
  return 3;
}

/* Gives the handle in slot 1 back. Answers NULL (done), "retire" (done, and the slot is to be closed) or "slowly":
 * nothing was. */
static const char *return_handle(lua_State *L) {
  lua_settop(L, 1);
  if (LPH_UNLIKELY(!lua_getmetatable(L, 1) || !lua_istable(L, 1))) return "slowly";
  lua_rawgeti(L, 2, LENT_POOL);
  lpool *b = lua_touserdata(L, 3);
  if (LPH_UNLIKELY(b == NULL || !lua_getmetatable(L, 3) || !lua_rawequal(L, 4, lua_upvalueindex(1)) ||
                   !b->lane))
    return "slowly";
  lua_rawgeti(L, 2, LENT_SLOT);
  int slot = (int)lua_tointeger(L, 5);
  const lconn *conn = lpool_conn(b, slot);
  if (LPH_UNLIKELY(conn == NULL || conn->finalized || b->slots[slot].lent != lua_topointer(L, 2)))
    return "slowly";
  double now = lph_now();
  if (LPH_UNLIKELY(lph_pool_slot(&b->p, slot)->state != LPH_SLOT_USED || !llend_is_in_order(b, conn) ||
                   b->p.waiting > 0 || is_glance_due(b, now)))
    return "slowly";
  lua_rawgeti(L, 2, LENT_RETURNED);
  lua_setmetatable(L, 1);
  lua_rawgeti(L, 2, LENT_HANDLES);
  lua_pushnil(L);
  lua_rawseti(L, -2, slot);
  return LPH_LIKELY(lph_pool_give(&b->p, slot, now) == LPH_POOL_NONE) ? NULL : "retire";
}

/* core.give_back(handle) -> nil | "retire" | "slowly"; done | done, and the slot is to be closed | nothing was */
static int lcore_give_back(lua_State *L) {
  const char *what = return_handle(L);
  if (LPH_LIKELY(what == NULL)) return 0;
  lua_pushstring(L, what);
  return 1;
}

/* pool:handles(handles, metatables); the tables by slot: of handles, weak, and of metatables for handles that are lent */
static int lpool_handles(lua_State *L) {
  lpool_check_open(L);
  lua_settop(L, 3);
  lcompat_getstore(L, 1);
  lua_insert(L, 2);
  lua_rawseti(L, 2, LPOOL_STORE_METATABLES);
  lua_rawseti(L, 2, LPOOL_STORE_HANDLES);
  return 0;
}

static void offer(lua_State *L, lpool *b, int slot, int metatable) {
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, LPOOL_STORE_METATABLES);
  b->slots[slot].lent = NULL;
  if (lua_istable(L, -1)) {
    lua_pushvalue(L, metatable);
    lua_rawseti(L, -2, slot);
    b->slots[slot].lent = lua_topointer(L, metatable);
  }
  lua_pop(L, 2);
}

void llend_withdraw(lua_State *L, lpool *b, int slot) {
  lua_pushnil(L);
  offer(L, b, slot, lua_gettop(L));
  lua_pop(L, 1);
}

/* The connection that is attached can be borrowed. In the metatable of its handles: [1] = the pool's box, [2] = the
 * metatable of handles that were given back, [3] = slot, [4] = handles.
 * pool:offer(slot, metatable) */
static int lpool_offer(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b);
  luaL_checktype(L, 3, LUA_TTABLE);
  offer(L, b, slot, 3);
  return 0;
}

/* ---- the same as methods: without a function of Lua's around them that goes on where they stop ------------------ */

#if LCOMPAT_HAS_CONTINUATIONS

static int finish(lua_State *L, int status, lua_KContext below) {
  (void)status;
  return lua_gettop(L) - (int)below;
}

static int go_on(lua_State *L, int args) {
  int below = lua_gettop(L) - args - 1;
  lua_callk(L, args, LUA_MULTRET, below, finish);
  return finish(L, LUA_OK, below);
}

static int acquire(lua_State *L) {
  lpool *b = lua_touserdata(L, lua_upvalueindex(UP_POOL));
  loan l = {
    .handles = lua_upvalueindex(UP_HANDLES), .metatables = lua_upvalueindex(UP_METATABLES), .level = 1};
  lua_settop(L, 2);
  bool is_plain = lua_isnil(L, 2) && lua_rawequal(L, 1, lua_upvalueindex(UP_SELF));
  if (LPH_LIKELY(is_plain && borrow(L, b, &l))) return 1;
  lua_pushvalue(L, lua_upvalueindex(UP_ACQUIRE_SLOWLY));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  if (l.slot == 0) return go_on(L, 2);
  lua_pushinteger(L, l.slot);
  lua_pushstring(L, l.why);
  return go_on(L, 4);
}

static int release(lua_State *L) {
  const char *what = return_handle(L);
  if (LPH_LIKELY(what == NULL)) return 0;
  lua_pushvalue(L, lua_upvalueindex(UP_RELEASE_SLOWLY));
  lua_pushvalue(L, 1);
  lua_pushstring(L, what);
  return go_on(L, 2);
}

#endif

/* pool:acquirer(db, slowly) -> any; where C can wait for Lua db.acquire, else nil; slowly(self, options [, slot, due]) is
 * what it cannot do */
static int lpool_acquirer(lua_State *L) {
  lpool_check_open(L);
#if LCOMPAT_HAS_CONTINUATIONS
  lua_settop(L, 3);
  lcompat_getstore(L, 1); /* pool db slowly store */
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_rawgeti(L, 4, LPOOL_STORE_HANDLES);
  lua_rawgeti(L, 4, LPOOL_STORE_METATABLES);
  for (int i = 1; i <= 3; i++) lua_pushvalue(L, i);
  lua_pushcclosure(L, acquire, UP_ACQUIRE_SLOWLY);
  return 1;
#else
  return 0;
#endif
}

/* core.releaser(slowly) -> any; where C can wait for Lua conn.release, else nil; slowly(handle, what) is what it cannot
 * do, with what give_back said */
static int lcore_releaser(lua_State *L) {
#if LCOMPAT_HAS_CONTINUATIONS
  lua_settop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(1));
  lua_insert(L, 1);
  lua_pushcclosure(L, release, UP_RELEASE_SLOWLY);
  return 1;
#else
  (void)L;
  return 0;
#endif
}

/* ---- the class -------------------------------------------------------------------------------------------------- */

static const luaL_Reg lend_methods[] = {
  {"take", lpool_take},       {"give", lpool_give},   {"lane", lpool_lane},         {"lend", lpool_lend},
  {"handles", lpool_handles}, {"offer", lpool_offer}, {"acquirer", lpool_acquirer}, {NULL, NULL}};
/* With a body of a connection's as second upvalue. */
static const luaL_Reg run_methods[] = {{"run", lpool_run}, {NULL, NULL}};
static const luaL_Reg lend_functions[] = {
  {"give_back", lcore_give_back}, {"releaser", lcore_releaser}, {NULL, NULL}};

/* All of them have the class as first upvalue. */
static void add(lua_State *L, int class, const luaL_Reg *list, lua_CFunction body, int into) {
  for (; list->name != NULL; list++) {
    lua_pushvalue(L, class);
    if (body != NULL) lua_pushcfunction(L, body);
    lua_pushcclosure(L, list->func, body != NULL ? 2 : 1);
    lua_setfield(L, into, list->name);
  }
}

void llend_open(lua_State *L) { /* module mt methods */
  int methods = lua_gettop(L), class = methods - 1, module = methods - 2;
  add(L, class, lend_methods, NULL, methods);
  add(L, class, lpoolfacts_methods, NULL, methods);
  add(L, class, ltrip_methods, NULL, methods);
  add(L, class, run_methods, lconn_run, methods);
  add(L, class, lend_functions, NULL, module);
  lua_pushlightuserdata(L, (void *)&raised_mark);
  lua_setfield(L, module, "RAISED");
  lua_pushlightuserdata(L, (void *)&due_mark);
  lua_setfield(L, module, "DUE");
  ltrip_push_mark(L);
  lua_setfield(L, module, "LATE");
  lua_pushinteger(L, CHOSEN);
  lua_setfield(L, module, "CHOSEN");
}
