/* lbatch.c - filling a batch, and what it tells; see lbatch.h. SPDX-License-Identifier: MIT */
#include "bind/lbatch.h"

static lbatch *lbatch_check(lua_State *L) { return lbox_self(L, 1, &lbatch_class); }

/* ---- filling it ----------------------------------------------------------------------------------------- */

/* core.batch(normalize) -> batch; `normalize` makes a text and a row style of what is no text, or raises */
int lbatch_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TFUNCTION);
  lbox_new(L, &lbatch_class, sizeof(lbatch));
  lcompat_getstore(L, -1);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, LBATCH_NORMALIZE);
  lua_newtable(L);
  lua_rawseti(L, -2, LBATCH_RESULTS);
  lua_pop(L, 1);
  return 1;
}

static void look_at_text(lua_State *L, lbatch *q, int index) {
  lph_bytes text;
  text.data = lua_tolstring(L, index, &text.len);
  if (LPH_LIKELY(text.data == q->last_text)) return;
  q->last_text = text.data;
  lph_batch_class class = lph_batch_class_of(text);
  if (q->refused == 0 && class > LPH_BATCH_BARRIER) {
    q->refused = q->count + 1;
    q->refusal = class;
  }
}

/* self request ... -> self text ..., with the style it asks for */
static int normalize(lua_State *L) {
  int style = 0;
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, LBATCH_NORMALIZE);
  lua_pushvalue(L, 2);
  lua_call(L, 1, 2); /* ... store text style */
  if (!lua_isnil(L, -1)) style = LBATCH_STYLED | (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  lua_replace(L, 2);
  lua_pop(L, 1);
  return style;
}

static int add(lua_State *L, int code) {
  lbatch *q = lbatch_check(L);
  if (q->sealed) return luaL_error(L, "this batch has been sent: begin another one");
  luaL_checkstack(L, 8, "batch");
  if (LPH_UNLIKELY(lua_gettop(L) < 2)) lua_settop(L, 2);
  if (LPH_UNLIKELY(lua_type(L, 2) != LUA_TSTRING)) code |= normalize(L);
  int last = lua_gettop(L), values = last - 2;
  look_at_text(L, q, 2);
  lcompat_getstore(L, 1);
  lua_pushinteger(L, code + (lua_Integer)values * LBATCH_COUNT);
  lua_rawseti(L, last + 1, q->slots + 1);
  for (int i = 2; i <= last; i++) {
    lua_pushvalue(L, i);
    lua_rawseti(L, last + 1, q->slots + i);
  }
  q->slots += values + 2;
  lua_pushinteger(L, ++q->count);
  return 1;
}

/* batch:query(sql, ...) -> index; which statement of the batch it is */
static int lbatch_query(lua_State *L) { return add(L, LVERB_QUERY); }

/* batch:query_one(sql, ...) -> index */
static int lbatch_query_one(lua_State *L) { return add(L, LVERB_ONE); }

/* batch:query_opt(sql, ...) -> index */
static int lbatch_query_opt(lua_State *L) { return add(L, LVERB_OPT); }

/* batch:query_value(sql, ...) -> index */
static int lbatch_query_value(lua_State *L) { return add(L, LVERB_VALUE); }

/* batch:query_column(sql, ...) -> index */
static int lbatch_query_column(lua_State *L) { return add(L, LVERB_COLUMN); }

/* batch:execute(sql, ...) -> index */
static int lbatch_execute(lua_State *L) { return add(L, LVERB_EXECUTE); }

/* batch:count() -> integer; statements in it */
static int lbatch_count(lua_State *L) {
  lua_pushinteger(L, lbatch_check(L)->count);
  return 1;
}

/* batch:seal(); nothing more can be added */
static int lbatch_seal(lua_State *L) {
  lbatch_check(L)->sealed = true;
  return 0;
}

static int get(lua_State *L, int key) {
  lbatch_check(L);
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, key);
  return 1;
}

/* batch:results() -> table, table | nil; what each gave, and the errors of those that failed */
static int lbatch_results(lua_State *L) {
  get(L, LBATCH_RESULTS);
  get(L, LBATCH_ERRORS);
  lua_remove(L, -2);
  return 2;
}

/* batch:raised() -> boolean, any; what a codec of the user's raised meanwhile */
static int lbatch_raised(lua_State *L) {
  lua_pushboolean(L, lbatch_check(L)->has_raised);
  get(L, LBATCH_RAISED);
  lua_remove(L, -2);
  return 2;
}

/* How far it came: which statement failed, its text, how many were handed over, and answered, whether its end was
 * handed over, and whether the server has done all of it.
 * batch:progress() -> index | nil, text | nil, started, answered, ended, boolean */
static int lbatch_progress(lua_State *L) {
  const lbatch *q = lbatch_check(L);
  if (q->failed > 0) {
    lua_pushinteger(L, q->failed);
    lcompat_getstore(L, 1);
    lua_rawgeti(L, -1, q->failed_at + 1);
    lua_remove(L, -2);
  } else {
    lua_pushnil(L);
    lua_pushnil(L);
  }
  lua_pushinteger(L, q->started);
  lua_pushinteger(L, q->answered);
  lua_pushboolean(L, q->ended);
  lua_pushboolean(L, q->kept);
  return 6;
}

static const luaL_Reg batch_methods[] = {{"query", lbatch_query},
                                         {"query_one", lbatch_query_one},
                                         {"query_opt", lbatch_query_opt},
                                         {"query_value", lbatch_query_value},
                                         {"query_column", lbatch_query_column},
                                         {"execute", lbatch_execute},
                                         {"count", lbatch_count},
                                         {"seal", lbatch_seal},
                                         {"results", lbatch_results},
                                         {"raised", lbatch_raised},
                                         {"progress", lbatch_progress},
                                         {NULL, NULL}};
static const luaL_Reg batch_meta[] = {{NULL, NULL}};
const lbox_class lbatch_class = {"luphant.core.batch", batch_methods, batch_meta};

void lbatch_open(lua_State *L) { lbox_open(L, &lbatch_class); }
