/* lcopy.c - see lcopy.h. How a COPY begins and ends; its rows are in lcopyin.c and lcopyout.c.
 *
 * The guard is a box of its own, which the writer or reader of the Lua side holds: when nobody holds it any more, the
 * server is told to forget what it has got, as far as that goes without waiting.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lcopy.h"

#include <stdlib.h>

#include "base/mem.h"
#include "bind/bind.h"
#include "bind/lenter.h"
#include "bind/lerror.h"
#include "bind/lrun.h"

static lconn *box_of(lua_State *L) { return lua_touserdata(L, 1); } /* lenter.c has checked it */

/* ---- what the connection's box offers ------------------------------------------------------------------------ */

static int went(lua_State *L, lconn *b, lph_want want) {
  if (want > LPH_DONE && b->blocking) want = lrun_wait(b, want);
  if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
  if (want == LPH_FAILED) return lrun_push_failure(L, b, 0);
  if (b->c.state == LPH_BUSY) return lua_pushboolean(L, 1), 1;
  return lcopy_take(L, b);
}

/* true: rows can pass; a number: it has ended without any of ours.
 * conn:copy_start(sql, inward) -> PENDING, want | PENDING, "open" | PENDING, "ahead" | true | count | nil, err */
int lcopy_start(lua_State *L) {
  lconn *b = box_of(L);
  size_t len;
  const char *sql = luaL_checklstring(L, 2, &len);
  if (LPH_UNLIKELY(lrun_is_ahead(b))) return lrun_push_pending(L, "ahead");
  if (!lrun_begin_call(b)) return lerror_push(L, &b->c.error, 2);
  if (strlen(sql) != len) {
    lph_error_set(&b->c.error, "parameter", "the SQL text contains a NUL byte");
    return lerror_push(L, &b->c.error, 2);
  }
  if (lph_op_check_text(&b->c, len) != LPH_OK) return lerror_push(L, &b->c.error, 2);
  if (lph_txn_is_pending(&b->c.txn)) return lrun_push_pending(L, "open");
  b->copies++;
  return went(L, b, (lph_want)lph_op_copy(&b->c, sql, lua_toboolean(L, 3)));
}

/* What the server has said; nothing when no COPY is under way.
 * conn:copy_shape() -> columns, is_binary */
int lcopy_shape(lua_State *L) {
  lconn *b = box_of(L);
  if (b->c.op.kind != LPH_OP_COPY || b->c.copy.phase < LPH_COPY_IN) return 0;
  lua_pushinteger(L, b->c.copy.columns);
  lua_pushboolean(L, b->c.copy.binary);
  return 2;
}

/* Sends the rows that have been put. true: there is room again; a number: it has ended.
 * conn:copy_push() -> PENDING, want | true | count | nil, err */
int lcopy_push(lua_State *L) {
  lconn *b = box_of(L);
  return went(L, b, (lph_want)lph_copy_push(&b->c));
}

/* With a reason the server forgets all rows.
 * conn:copy_end([reason]) -> PENDING, want | count | nil, err */
int lcopy_end(lua_State *L) {
  lconn *b = box_of(L);
  return went(L, b, (lph_want)lph_copy_end(&b->c, luaL_optstring(L, 2, NULL)));
}

/* Is a COPY under way, and can its rows still be called off?
 * conn:is_copying() -> boolean, boolean */
int lcopy_is_copying(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  bool is = b->c.state == LPH_BUSY && b->c.op.kind == LPH_OP_COPY;
  lua_pushboolean(L, is);
  lua_pushboolean(L, is && b->c.copy.phase != LPH_COPY_NONE);
  return 2;
}

bool lcopy_is_answered(lconn *b) {
  PGresult *res = b->c.op.result;
  const char *tag = res == NULL ? "" : PQcmdStatus(res);
  if (LPH_LIKELY(strncmp(tag, "COPY", 4) == 0)) return true;
  lph_error_set(&b->c.error, "protocol", "the server ended a COPY with \"%.40s\"", tag);
  b->c.error.sent = LPH_SENT_MAYBE;
  lph_op_reset(&b->c.op);
  return false;
}

int lcopy_take(lua_State *L, lconn *b) {
  b->untaken = false;
  if (!lcopy_is_answered(b)) return lerror_push(L, &b->c.error, 0);
  const char *digits = PQcmdTuples(b->c.op.result);
  lua_pushinteger(L, (lua_Integer)strtoull(digits, NULL, 10));
  lph_op_reset(&b->c.op);
  return 1;
}

/* ---- the guard ----------------------------------------------------------------------------------------------------- */

/* Nobody holds it any more. Nothing here may wait, fail or raise. */
static void let_go(lcopy *w) {
  lconn *b = w->b;
  if (b == NULL || b->entered || !lcopy_is_live(w) || lph_conn_is_foreign(&b->c)) return;
  if (b->c.copy.phase == LPH_COPY_NONE) return; /* its answer is on the way */
  lph_op_discard(&b->c);
  lph_conn_step(&b->c);
}

static void guard_close(lcopy *w) {
  lph_typemap_release(w->map);
  w->map = NULL;
  lph_free(w->types);
  w->types = NULL;
  lph_buf_free(&w->gather);
}

static int lcopy__gc(lua_State *L) {
  lcopy *w = lbox_self(L, 1, &lcopy_class);
  let_go(w);
  guard_close(w);
  return 0;
}

static bool read_types(lua_State *L, lcopy *w, int oids) {
  w->types = lph_array((size_t)w->columns + 1, sizeof *w->types);
  if (w->types == NULL) return false;
  for (int i = 0; i < w->columns; i++) {
    lua_rawgeti(L, oids, i + 1);
    w->types[i] = lph_typemap_find(w->map, (lph_oid)lua_tonumber(L, -1));
    lua_pop(L, 1);
  }
  return true;
}

/* Puts or takes the rows of the COPY under way.
 * conn:copy_guard([names, oids]) -> guard | nil, why */
int lcopy_guard(lua_State *L) {
  lconn *b = box_of(L);
  lua_settop(L, 3);
  lcopy *w = lbox_new(L, &lcopy_class, sizeof *w);
  w->map = lph_typemap_retain(b->c.types);
  w->columns = b->c.copy.columns;
  w->binary = b->c.copy.binary;
  w->number = b->copies;
  w->b = b;
  lcompat_getstore(L, 4);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, 2);
  lua_pop(L, 1);
  if (lua_istable(L, 2) && (int)lua_rawlen(L, 2) != w->columns) {
    lua_pushnil(L);
    lua_pushfstring(L, "the COPY has %d columns, but %d types were named", w->columns, (int)lua_rawlen(L, 2));
    return 2;
  }
  if (lua_istable(L, 3) && !read_types(L, w, 3)) return luaL_error(L, "not enough memory");
  return 1;
}

int lcopy_enter(lua_State *L, lcopy *w, lua_CFunction body) {
  lconn *b = w->b;
  int refused = lenter_refuse(L, b);
  if (refused != 0) return refused;
  lua_pushcfunction(L, body);
  lua_insert(L, 1);
  if (lenter_call(L, b, lua_gettop(L) - 1) == 0) return lua_gettop(L);
  if (w->in_row && lcopy_is_live(w)) b->c.copy.piece.len = w->start;
  w->in_row = false;
  w->doomed = true;
  return lua_error(L);
}

/* guard:counts() -> rows, bytes, is_doomed */
static int lcopy_counts(lua_State *L) {
  lcopy *w = lbox_self(L, 1, &lcopy_class);
  const lph_copy *y = &w->b->c.copy;
  double bytes = 0;
  if (!w->b->finalized && w->b->copies == w->number) {
    bytes = (double)y->bytes;
    if (y->phase == LPH_COPY_IN && !y->sealed && y->piece.len > 0)
      bytes += (double)(y->piece.len - LPH_COPY_HEAD);
  }
  lua_pushinteger(L, (lua_Integer)w->rows);
  lua_pushinteger(L, (lua_Integer)bytes);
  lua_pushboolean(L, w->doomed);
  return 3;
}

/* guard:is_live() -> boolean */
static int lcopy_live(lua_State *L) {
  lua_pushboolean(L, lcopy_is_live(lbox_self(L, 1, &lcopy_class)));
  return 1;
}

/* guard:has_ended() -> boolean; all rows have been taken from the server, if not from us */
static int lcopy_has_ended(lua_State *L) {
  lua_pushboolean(L, ((lcopy *)lbox_self(L, 1, &lcopy_class))->ended);
  return 1;
}

static const luaL_Reg copy_methods[] = {{"put", lcopy_put},
                                        {"putter", lcopy_putter},
                                        {"put_rows", lcopy_put_rows},
                                        {"put_columns", lcopy_put_columns},
                                        {"put_bytes", lcopy_put_bytes},
                                        {"put_end", lcopy_put_end},
                                        {"get_bytes", lcopy_get_bytes},
                                        {"get_rows", lcopy_get_rows},
                                        {"get_columns", lcopy_get_columns},
                                        {"get_values", lcopy_get_values},
                                        {"counts", lcopy_counts},
                                        {"is_live", lcopy_live},
                                        {"has_ended", lcopy_has_ended},
                                        {NULL, NULL}};
static const luaL_Reg copy_meta[] = {{"__gc", lcopy__gc}, {NULL, NULL}};
const lbox_class lcopy_class = {"luphant.core.copy", copy_methods, copy_meta};

void lcopy_open(lua_State *L) { lbox_open(L, &lcopy_class); }
