/* ltxn.c - see ltxn.h. Who may call what, and what it means to a user, is in lua/luphant/transaction.lua.
 * SPDX-License-Identifier: MIT */
#include "bind/ltxn.h"

#include "base/clock.h"
#include "bind/lconn.h"
#include "bind/lerror.h"
#include "bind/lrun.h"

static lconn *check(lua_State *L) { return lbox_self(L, 1, &lconn_class); }
static lconn *inside(lua_State *L) { return lua_touserdata(L, 1); } /* lenter.c has checked it */

/* isolation + 8 * read_only + 32 * deferrable + 128 * wants_id */
static lph_txn_mode mode_of(int code) {
  lph_txn_mode mode = {
    .isolation = (lph_txn_isolation)(code & 7),
    .read_only = (lph_txn_choice)(code >> 3 & 3),
    .deferrable = (lph_txn_choice)(code >> 5 & 3),
    .wants_id = (code >> 7 & 1) != 0,
  };
  if (mode.isolation > LPH_TXN_SERIALIZABLE) mode.isolation = LPH_TXN_SERIALIZABLE;
  if (mode.read_only > LPH_TXN_YES) mode.read_only = LPH_TXN_YES;
  if (mode.deferrable > LPH_TXN_YES) mode.deferrable = LPH_TXN_YES;
  return mode;
}

/* BEGIN goes with the first statement. `listened`: there are hooks to be told. Answers false when one is open already,
 * perhaps begun by hand.
 * conn:txn_begin(mode) -> true, at, listened | PENDING, want | false | nil, err */
int ltxn_begin(lua_State *L) {
  lconn *b = inside(L);
  lph_txn_mode mode = mode_of((int)luaL_checkinteger(L, 2));
  if (LPH_UNLIKELY(lrun_is_ahead(b))) return lrun_push_pending(L, "ahead");
  if (!lrun_is_free(b) || lph_conn_look(&b->c) != LPH_OK) return lerror_push(L, &b->c.error, 0);
  bool idle = PQtransactionStatus(b->c.pg) == PQTRANS_IDLE;
  lua_pushboolean(L, idle && lph_txn_begin(&b->c.txn, &mode) == LPH_OK);
  b->c.txn.backend_pid = PQbackendPID(b->c.pg);
  lua_pushnumber(L, b->c.last_use); /* of this moment: lph_conn_look has just set it */
  if (LPH_LIKELY(!b->has_listeners)) return 2;
  lua_pushboolean(L, 1);
  return 3;
}

/* conn:txn_set(name, text); for the length of the transaction, goes with BEGIN */
int ltxn_set(lua_State *L) {
  lconn *b = check(L);
  if (lph_txn_set(&b->c.txn, luaL_checkstring(L, 2), luaL_checkstring(L, 3)) != LPH_OK)
    return luaL_error(L, "not enough memory");
  return 0;
}

/* conn:txn_nest(); one more savepoint */
int ltxn_nest(lua_State *L) {
  lph_txn_nest(&check(L)->c.txn);
  return 0;
}

/* conn:txn_release(); the innermost savepoint has done its work */
int ltxn_release(lua_State *L) {
  lph_txn *t = &check(L)->c.txn;
  if (t->depth > 1) lph_txn_release(t);
  return 0;
}

/* conn:txn_end() -> true | nil; nobody is interested in this transaction any more, but for hooks: true */
int ltxn_end(lua_State *L) {
  lconn *b = check(L);
  lph_txn_end(&b->c.txn);
  if (LPH_LIKELY(!b->has_listeners)) return 0;
  lua_pushboolean(L, 1);
  return 1;
}

/* The short way out of the usual end.
 * conn:txn_committed() -> boolean, listened; true: the server has answered COMMIT, and the transaction has ended here,
 * too. listened: there are hooks to be told */
int ltxn_committed(lua_State *L) {
  lconn *b = check(L);
  lph_txn *t = &b->c.txn;
  bool committed = t->depth > 0 && t->outcome == LPH_TXN_COMMITTED;
  if (committed) lph_txn_end(t);
  lua_pushboolean(L, committed);
  lua_pushboolean(L, b->has_listeners);
  return 2;
}

/* conn:txn_state() -> text, boolean, boolean; how it ended ("open": it has not), does the server have its BEGIN, has
 * a statement inside ended it */
int ltxn_state(lua_State *L) {
  static const char *const outcomes[] = {"open", "committed", "rolled back", "unknown"};
  const lph_txn *t = &check(L)->c.txn;
  lua_pushstring(L, outcomes[t->outcome]);
  lua_pushboolean(L, t->on_server > 0);
  lua_pushboolean(L, t->strayed);
  return 3;
}

/* conn:txn_id() -> text | nil, integer; as far as the server has told it, and its process id */
int ltxn_id(lua_State *L) {
  const lph_txn *t = &check(L)->c.txn;
  if (t->id[0] == '\0') {
    lua_pushnil(L);
  } else {
    lua_pushstring(L, t->id);
  }
  lua_pushinteger(L, t->backend_pid);
  return 2;
}

/* Why COMMIT must not be sent as things are; NULL: it may. */
static const char *obstacle(const lconn *b) {
  const lph_txn *t = &b->c.txn;
  if (t->strayed) return "strayed";
  if (b->c.state != LPH_IDLE || t->on_server == 0) return NULL;
  if (PQtransactionStatus(b->c.pg) != PQTRANS_INTRANS) return "failed";
  return t->wants_id && t->unasked ? "id" : NULL;
}

/* Runs what belongs to the transaction itself: 0 opens it, 1 asks for its id, 2 undoes the innermost level, 3 commits,
 * 4 rolls all of it back. Undoing has a time limit of its own, whatever the deadline is.
 * conn:txn_run(code [, seconds]) -> true | PENDING, want | nil, err | false, text; false: COMMIT was not sent */
int ltxn_run(lua_State *L) {
  lconn *b = inside(L);
  lph_control what = (lph_control)luaL_checkinteger(L, 2);
  if (LPH_UNLIKELY(lrun_is_ahead(b))) return lrun_push_pending(L, "ahead");
  if (what == LPH_CONTROL_COMMIT && obstacle(b) != NULL) {
    lua_pushboolean(L, 0);
    lua_pushstring(L, obstacle(b));
    return 2;
  }
  if (what == LPH_CONTROL_UNDO || what == LPH_CONTROL_ROLLBACK) {
    if (!lrun_is_free(b)) return lerror_push(L, &b->c.error, 0);
    b->deadline = lph_deadline(luaL_optnumber(L, 3, -1));
  } else if (!lrun_begin_call(b)) {
    return lerror_push(L, &b->c.error, 0);
  }
  lph_want want = (lph_want)lph_op_control(&b->c, what);
  if (want > LPH_DONE && b->blocking) want = lrun_wait(b, want);
  if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
  if (want == LPH_FAILED) return lrun_push_failure(L, b, 0);
  lua_pushboolean(L, 1);
  return 1;
}
