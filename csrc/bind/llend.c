/* llend.c - borrowing a pool's connections and giving them back, at the cost of next to nothing when all is in order.
 *
 *   pool:run(code, sql, ...) runs a whole verb on whatever is idle. It answers
 *     true, result              done, and the connection is idle again
 *     slot, result, err, stale  to be gone on with, as conn:run (lrun.c); the slot is lent
 *     slot, RAISED, err         the verb raised; the slot is lent
 *     slot, DUE, due            as take (nil: as if that had been called); nothing has run
 *     false                     nothing is idle
 *     nil                       the waiter is to be chosen first, then the same with CHOSEN added to the code
 *
 *   lend() and give_back(handle), made once for a pool and once for a connection, do what luphant.pool.lending does in
 *   Lua. While they can, the pool's *lane* is open: nobody wants to see borrowings, nothing watches over them from
 *   outside, the keeper runs. They change nothing when something is unusual: Lua goes on as if they had not been called.
 *   Where C can wait for Lua they are db:acquire() and conn:release() themselves.
 *
 * A handle is an empty table: its metatable says what it is. Each connection has one metatable for the handle that is
 * lent, and others for handles that were given back, so a handle dies by getting another metatable.
 *
 * What a connection must be to be lent again without a look from Lua: open, between two statements, no transaction,
 * nothing left in the session. Everything else is "clean": tended now, and for Lua to put in order or to close.
 *
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/clock.h"
#include "base/process.h"
#include "bind/bind.h"
#include "bind/lenter.h"
#include "bind/lpool.h"
#include "bind/lrun.h"

static const char raised_mark, due_mark; /* their addresses are RAISED and DUE */

#define CHOSEN 4096 /* added to a verb's number for pool:run: the waiter has been chosen */

/* ---- what is in order ------------------------------------------------------------------------------------ */

/* What keeps this connection from being lent as it is; NULL: nothing. */
static const char *obstacle(lconn *conn, lph_pool_due due, double now) {
  if (LPH_UNLIKELY(due == LPH_DUE_RETIRE)) return "retire";
  if (LPH_UNLIKELY(conn == NULL || conn->finalized || conn->entered || conn->c.state != LPH_IDLE))
    return "lost";
  if (LPH_UNLIKELY(lph_conn_look_at(&conn->c, now) != LPH_OK)) return "lost";
  return LPH_UNLIKELY(due == LPH_DUE_CHECK) ? "check" : NULL;
}

static bool is_in_order(const lpool *b, const lconn *conn) {
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
  const char *why = obstacle(lpool_conn(b, slot), due, now);
  lua_pushinteger(L, slot);
  if (LPH_LIKELY(why == NULL)) return 1;
  lua_pushstring(L, why);
  return 2;
}

/* Pushes nothing when the connection is idle again. */
static int give(lua_State *L, lpool *b, int slot) {
  lconn *conn = lpool_conn(b, slot);
  double now = lph_now();
  const char *what;
  if (LPH_UNLIKELY(conn == NULL || conn->finalized || conn->c.state == LPH_CLOSED ||
                   conn->c.owner != lph_process_id())) {
    lph_pool_tend(&b->p, slot, now);
    what = "closed";
  } else if (LPH_UNLIKELY(!is_in_order(b, conn))) {
    lph_pool_tend(&b->p, slot, now);
    what = "clean";
  } else {
    int ticket = lph_pool_give(&b->p, slot, now);
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

/* The verb has run; its answers stand from 1 on. */
static int end_run(lua_State *L, lpool *b, lconn *conn, int slot, int rc) {
  int n = lua_gettop(L);
  double now = lph_now();
  bool done = rc == 0 && n == 1 && is_in_order(b, conn) && b->p.waiting == 0 && !is_glance_due(b, now);
  if (LPH_LIKELY(done) && LPH_LIKELY(lph_pool_give(&b->p, slot, now) == LPH_POOL_NONE)) {
    lua_pushboolean(L, 1);
    lua_insert(L, 1);
    return 2;
  }
  lua_pushinteger(L, slot);
  lua_insert(L, 1);
  if (rc != 0) {
    lua_pushlightuserdata(L, (void *)&raised_mark);
    lua_insert(L, 2);
  }
  return lua_gettop(L);
}

static bool is_chosen(lua_State *L) {
  lua_Integer code = luaL_checkinteger(L, 2);
  if (LPH_LIKELY((code & CHOSEN) == 0)) return false;
  lua_pushinteger(L, code & ~(lua_Integer)CHOSEN);
  lua_replace(L, 2);
  return true;
}

/* Upvalues: class, lconn_run. */
/* pool:run(code, sql, ...) -> true, result | slot, result, err, stale | false | nil; see the head of llend.c */
static int lpool_run(lua_State *L) {
  lpool *b = lpool_check_open(L);
  if (!is_chosen(L) && b->is_undecided) {
    if (must_choose(L, b)) return 0;
    lua_pop(L, 1);
  }
  if (LPH_UNLIKELY(b->owner != lph_process_id())) return lua_pushboolean(L, 0), 1;
  lph_pool_due due;
  double now = lph_now();
  int slot = lph_pool_take(&b->p, now, &due);
  if (slot == LPH_POOL_NONE) return lua_pushboolean(L, 0), 1;
  lconn *conn = lpool_conn(b, slot);
  const char *why = obstacle(conn, due, now);
  if (LPH_UNLIKELY(why != NULL)) {
    lua_pushinteger(L, slot);
    lua_pushlightuserdata(L, (void *)&due_mark);
    lua_pushstring(L, why);
    return 3;
  }
  if (LPH_UNLIKELY(conn->yields && !lua_isyieldable(L))) /* Lua goes on, as far as lrun_gate */
    return lua_pushinteger(L, slot), lua_pushlightuserdata(L, (void *)&due_mark), 2;
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, slot);
  lua_replace(L, 1); /* the box in the pool's place */
  lua_pop(L, 1);
  lua_pushvalue(L, lua_upvalueindex(2));
  lua_insert(L, 1);
  return end_run(L, b, conn, slot, lenter_call(L, conn, lua_gettop(L) - 1));
}

/* ---- where a connection was borrowed ------------------------------------------------------------------------ */

#define MOST_LEVELS 40 /* looked at for lines that are not our own */

/* Notes who borrows: files and lines. Never the functions themselves: one that refers to the task that borrows would
 * keep it from being collected. Raises nothing, allocates nothing. */
static void note_borrower(lua_State *L, lpool *b, int slot, int level) {
  lpool_slot *s = &b->slots[slot];
  lpool_frame *to = b->frames + (size_t)slot * (size_t)b->depth;
  lua_Debug frame;
  s->told = false;
  s->noted = 0;
  for (int end = level + MOST_LEVELS; level < end && lua_getstack(L, level, &frame); level++) {
    lua_getinfo(L, "Sl", &frame);
    if (frame.currentline <= 0) continue; /* C */
    if (b->home != NULL && strncmp(frame.source, b->home, b->home_length) == 0) continue;
    to->line = frame.currentline;
    memcpy(to->source, frame.short_src, strlen(frame.short_src) + 1);
    to++;
    if (++s->noted == b->depth) break;
  }
}

/* pool:remember(slot); who borrows it is found by the lines that led here */
static int lpool_remember(lua_State *L) {
  lpool *b = lpool_check_open(L);
  note_borrower(L, b, lpool_check_slot(L, b), 1);
  return 0;
}

/* pool:forget(slot); whoever borrowed it is of no interest any more */
static int lpool_forget(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lpool_slot *s = &b->slots[lpool_check_slot(L, b)];
  s->noted = 0;
  s->told = false;
  return 0;
}

/* pool:site(slot) -> list; { source, line, ... } */
static int lpool_site(lua_State *L) {
  lpool *b = lpool_check_open(L);
  int slot = lpool_check_slot(L, b), noted = b->slots[slot].noted;
  const lpool_frame *from = b->frames + (size_t)slot * (size_t)b->depth;
  lua_createtable(L, 2 * noted, 0);
  for (int i = 0; i < noted; i++) {
    lua_pushstring(L, from[i].source);
    lua_rawseti(L, -2, 2 * i + 1);
    lua_pushinteger(L, from[i].line);
    lua_rawseti(L, -2, 2 * i + 2);
  }
  return 1;
}

/* pool:told(slot [, on]) -> boolean; has this borrowing been reported as a leak? With true: now it has */
static int lpool_told(lua_State *L) {
  lpool *b = lpool_check_open(L);
  lpool_slot *s = &b->slots[lpool_check_slot(L, b)];
  lua_pushboolean(L, s->told);
  if (lua_toboolean(L, 3)) s->told = true;
  return 1;
}

/* ---- handles -------------------------------------------------------------------------------------------------- */

/* pool:lane(on, undecided); may lend and give_back do without Lua; may a loop have begun to run the caller's coroutine? */
static int lpool_lane(lua_State *L) {
  lpool *b = lpool_check_open(L);
  b->lane = lua_toboolean(L, 2);
  b->is_undecided = lua_toboolean(L, 3);
  return 0;
}

/* Upvalues of lend and acquire, and of give_back and release. */
enum { UP_POOL = 1, UP_HANDLES, UP_METATABLES, UP_OWNER, UP_SELF, UP_ACQUIRE_SLOWLY };
enum { UP_LENT = 3, UP_RETURNED, UP_CONN, UP_SLOT, UP_RELEASE_SLOWLY };

/* Pushes a handle for the slot that is lent next. All that may raise happens here: nothing is lent yet. A handle whose
 * borrower is the main program does not say so: its connection does. */
static int push_handle(lua_State *L, lpool *b, int thread) {
  lua_createtable(L, 0, thread == 0 ? 0 : 2); /* a collection here may change anything */
  if (thread != 0) {
    lua_pushvalue(L, lua_upvalueindex(UP_OWNER)); /* "owner" */
    lua_pushvalue(L, thread);
    lua_rawset(L, -3);
  }
  int slot = lph_pool_next(&b->p);
  if (slot == LPH_POOL_NONE) return slot;
  lua_pushvalue(L, -1);
  lua_rawseti(L, lua_upvalueindex(UP_HANDLES), slot);
  return slot;
}

/* Leaves the handle on the stack, or answers false: nothing was done (*slot is 0), or a slot was taken that is not to be
 * lent as it is. The caller's line is `level` functions away. */
static bool borrow(lua_State *L, lpool *b, bool chosen, int level, int *slot, const char **why) {
  *slot = 0;
  if (LPH_UNLIKELY(!b->lane || b->owner != lph_process_id() || lph_list_is_empty(&b->p.idle))) return false;
  bool is_main = lua_pushthread(L);
  if (LPH_UNLIKELY(!is_main && b->is_undecided && !chosen)) return false;
  *slot = push_handle(L, b, is_main ? 0 : lua_gettop(L));
  if (LPH_UNLIKELY(*slot == LPH_POOL_NONE)) return false;
  lph_pool_due due;
  double now = lph_now();
  lph_pool_take(&b->p, now, &due);
  *why = obstacle(lpool_conn(b, *slot), due, now);
  if (LPH_UNLIKELY(*why != NULL)) {
    lua_pushnil(L);
    lua_rawseti(L, lua_upvalueindex(UP_HANDLES), *slot);
    return false;
  }
  lua_rawgeti(L, lua_upvalueindex(UP_METATABLES), *slot);
  lua_setmetatable(L, -2);
  note_borrower(L, b, *slot, level);
  return true;
}

/* lend([chosen]) -> handle | nil | nil, slot, due; the last: as take, without a handle */
static int lend(lua_State *L) {
  lpool *b = lua_touserdata(L, lua_upvalueindex(UP_POOL));
  int slot;
  const char *why;
  if (LPH_LIKELY(borrow(L, b, lua_toboolean(L, 1), 2, &slot, &why))) return 1;
  if (slot == 0) return 0;
  lua_pushnil(L);
  lua_pushinteger(L, slot);
  lua_pushstring(L, why);
  return 3;
}

/* Gives a handle back. Answers NULL (done), "retire" (done, and the slot is to be closed) or "slowly": nothing was. */
static const char *return_handle(lua_State *L) {
  lpool *b = lua_touserdata(L, lua_upvalueindex(UP_POOL));
  if (LPH_UNLIKELY(!b->lane || !lua_getmetatable(L, 1))) return "slowly";
  bool is_lent = lua_rawequal(L, -1, lua_upvalueindex(UP_LENT));
  const lconn *conn = lua_touserdata(L, lua_upvalueindex(UP_CONN));
  int slot = (int)lua_tointeger(L, lua_upvalueindex(UP_SLOT));
  double now = lph_now();
  if (LPH_UNLIKELY(!is_lent || lpool_conn(b, slot) != conn || conn->finalized || !is_in_order(b, conn) ||
                   lph_pool_slot(&b->p, slot)->state != LPH_SLOT_USED || b->p.waiting > 0 ||
                   is_glance_due(b, now)))
    return "slowly";
  lua_pushvalue(L, lua_upvalueindex(UP_RETURNED));
  lua_setmetatable(L, 1);
  lua_pushnil(L);
  lua_rawseti(L, lua_upvalueindex(UP_HANDLES), slot);
  return LPH_LIKELY(lph_pool_give(&b->p, slot, now) == LPH_POOL_NONE) ? NULL : "retire";
}

/* give_back(handle) -> nil | "retire" | "slowly" */
static int give_back(lua_State *L) {
  const char *what = return_handle(L);
  if (LPH_LIKELY(what == NULL)) return 0;
  lua_pushstring(L, what);
  return 1;
}

#if LCOMPAT_HAS_CONTINUATIONS

/* The same two as methods of their own: without a function of Lua's around them that goes on where they stop. */

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
  int slot = 0;
  const char *why = NULL;
  lua_settop(L, 2);
  bool is_plain = lua_isnil(L, 2) && lua_rawequal(L, 1, lua_upvalueindex(UP_SELF));
  if (LPH_LIKELY(is_plain && borrow(L, b, false, 1, &slot, &why))) return 1;
  lua_pushvalue(L, lua_upvalueindex(UP_ACQUIRE_SLOWLY));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  if (slot == 0) return go_on(L, 2);
  lua_pushinteger(L, slot);
  lua_pushstring(L, why);
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

/* Pushes `fn` over the values from slot `first` on. */
static void push_closure(lua_State *L, lua_CFunction fn, int first, int count) {
  for (int i = first; i < first + count; i++) lua_pushvalue(L, i);
  lua_pushcclosure(L, fn, count);
}

/* pool:lender(handles, metatables, db, slowly) -> lend, acquire; see above. acquire where C can wait for Lua:
 * slowly(self, options [, slot, due]) is what it cannot do */
static int lpool_lender(lua_State *L) {
  lpool_check_open(L);
  lua_settop(L, 5);
  lua_pushliteral(L, "owner");
  lua_insert(L, 4);
  push_closure(L, lend, 1, UP_OWNER);
#if LCOMPAT_HAS_CONTINUATIONS
  push_closure(L, acquire, 1, UP_ACQUIRE_SLOWLY);
  return 2;
#else
  return 1;
#endif
}

/* pool:giver(slot, handles, metatable, dead, connection, slowly) -> give, release; the metatables of a handle
 * that is lent and of one that was given back. release where C can wait for Lua: slowly(handle, what) is what it cannot
 * do */
static int lpool_giver(lua_State *L) {
  int slot = lpool_check_slot(L, lpool_check_open(L));
  lua_settop(L, 7);
  if (lbox_test(L, 6, &lconn_class) == NULL) return luaL_error(L, "connection expected");
  lua_remove(L, 2);
  lua_pushinteger(L, slot);
  lua_insert(L, UP_SLOT);
  push_closure(L, give_back, 1, UP_SLOT);
#if LCOMPAT_HAS_CONTINUATIONS
  push_closure(L, release, 1, UP_RELEASE_SLOWLY);
  return 2;
#else
  return 1;
#endif
}

/* ---- the class -------------------------------------------------------------------------------------------------- */

static const luaL_Reg lend_methods[] = {
  {"take", lpool_take},   {"give", lpool_give}, {"remember", lpool_remember}, {"forget", lpool_forget},
  {"site", lpool_site},   {"told", lpool_told}, {"lane", lpool_lane},         {"lender", lpool_lender},
  {"giver", lpool_giver}, {NULL, NULL}};
/* With a body of a connection's as second upvalue. */
static const luaL_Reg run_methods[] = {{"run", lpool_run}, {NULL, NULL}};

static void add(lua_State *L, const luaL_Reg *list, lua_CFunction body) {
  for (; list->name != NULL; list++) {
    lua_pushvalue(L, -2);
    if (body != NULL) lua_pushcfunction(L, body);
    lua_pushcclosure(L, list->func, body != NULL ? 2 : 1);
    lua_setfield(L, -2, list->name);
  }
}

void llend_open(lua_State *L) { /* module mt methods */
  add(L, lend_methods, NULL);
  add(L, lpoolfacts_methods, NULL);
  add(L, run_methods, lconn_run);
  lua_pushlightuserdata(L, (void *)&raised_mark);
  lua_setfield(L, -4, "RAISED");
  lua_pushlightuserdata(L, (void *)&due_mark);
  lua_setfield(L, -4, "DUE");
  lua_pushinteger(L, CHOSEN);
  lua_setfield(L, -4, "CHOSEN");
}
