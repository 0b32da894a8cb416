/* lstreamrow.c - the rows of a stream.
 *
 * A row out of the portion at hand is one call of a C function, whose upvalues are all it needs. On Lua 5.4 the loop calls
 * it directly, since it can go on in Lua where a portion ends, and wait there; on LuaJIT a C function cannot be suspended,
 * and a Lua function calls it.
 *
 * Every so many rows of a portal it takes in what has arrived of the next portion. So the server does not wait for room
 * in the socket while rows are made, and a stream that has its connection to itself asks for the portion behind as soon as
 * the next one is complete.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lerror.h"
#include "bind/lstreambox.h"

/* Upvalues: the stream, what its slots are, and the names of the columns where no constructor knows them. */
enum { UP_STREAM = 1, UP_ADVANCE, UP_INFO, UP_CONSTRUCTOR, UP_CODECS, UP_JSON, UP_INT64, UP_NAMES };

#define MOST_UPVALUES 255
#define PEEK_ROWS 64 /* rows between two looks; a look that finds nothing costs as much as half a row */

/* The rows form without a way back to Lua: is there another portion? If not, stream_more tells why. */
static bool advance(lstream *s) {
  lconn *b = s->b;
  if (b == NULL || s->is_portal || b->finalized || b->entered || b->reader != s) return false;
  if (b->c.state != LPH_BUSY || s->want == LPH_FAILED) return false;
  s->want = lstream_step(s, b);
  PGresult *res = b->c.op.result;
  return s->want == LPH_DONE && (res == NULL || PQnfields(res) == s->build.columns) &&
         lph_op_take_portion(&b->c.op, &res, &s->rows_ahead) && lstream_load(s, res);
}

static void ask_again(lstream *s, lconn *b) {
  if (b->owner != s || s->asked == 0 || lstream_count_ahead(s) < s->asked || !lstream_is_free_for(b, s))
    return;
  if (lph_op_fetch(&b->c, s->again, s->binary) == LPH_FAILED) {
    lph_error_copy(&s->failure, &b->c.error);
    return;
  }
  b->reader = s;
  b->ahead = true;
  s->armed = false;
}

/* What is wrong with the next portion is told when its turn comes. */
static void peek(lstream *s) {
  lconn *b = s->b;
  if (b == NULL || b->reader != s || !b->ahead || s->ahead != NULL || b->finalized || b->entered) return;
  lph_want want = lph_conn_step(&b->c);
  if (want > LPH_DONE) return;
  b->reader = NULL;
  b->ahead = false;
  if (want == LPH_FAILED) {
    lph_error_copy(&s->failure, &b->c.error);
    b->ahead = b->c.state == LPH_BUSY; /* too big: to be read away */
    return;
  }
  if (lstream_take_ahead(s, b)) {
    ask_again(s, b);
  } else {
    lph_error_copy(&s->failure, &b->c.error);
  }
}

/* Answers how many values were pushed: 0 at the end of the portion. */
static int push_row(lua_State *L, lstream *s) {
  /* Code that runs during a conversion (a codec, a finalizer) must not move the row or free the result. */
  if (LPH_UNLIKELY(s->entered))
    return luaL_error(L, "this stream is converting a row, or has failed: it cannot be read");
  if (LPH_UNLIKELY(s->row >= s->build.rows) && !advance(s)) return 0;
  if (s->is_portal && s->row % PEEK_ROWS == PEEK_ROWS - 1) peek(s);
  luaL_checkstack(L, s->build.columns + 24, "row");
  s->entered = true;
  lph_buf_clear(&s->scratch);
  int n = lrows_push_one(L, &s->build, s->row, s->style);
  s->row++;
  s->entered = false;
  return n;
}

#if LCOMPAT_HAS_CONTINUATIONS
static int hand_on(lua_State *L, int status, lua_KContext context) {
  (void)status;
  (void)context;
  return lua_gettop(L) - 2;
}

/* What advance(self, err) answers, which may wait. */
static int ask_lua(lua_State *L, bool failed) {
  if (failed) {
    lua_replace(L, 2);
  } else {
    lua_settop(L, 1);
  }
  lua_settop(L, 2); /* self err|nil */
  lua_pushvalue(L, lua_upvalueindex(UP_ADVANCE));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_callk(L, 2, LUA_MULTRET, 0, hand_on);
  return hand_on(L, LUA_OK, 0);
}
#endif

/* ([self]) -> a row | its values | nothing, when the portion is at its end | nil, err; or, with UP_ADVANCE, what that
 * answers in the last two cases */
static int stepper(lua_State *L) {
  lstream *s = lua_touserdata(L, lua_upvalueindex(UP_STREAM));
  lua_settop(L, 1);
  int n = push_row(L, s);
  if (LPH_LIKELY(n > 0)) return n;
  bool failed = n < 0;
  if (failed) n = lerror_push(L, &s->build.b->c.error, 0);
#if LCOMPAT_HAS_CONTINUATIONS
  if (lua_toboolean(L, lua_upvalueindex(UP_ADVANCE))) return ask_lua(L, failed);
#endif
  return n;
}

/* info -> info constructor|false codecs|false json|false int64|false, the slots of the build being those of upvalues */
static void push_tools(lua_State *L, lconn *b, lstream *s) {
  int info = lua_gettop(L);
  lcell x;
  lconn_cell(L, b, 1, false, &x);
  int from[] = {x.codecs, x.json, x.int64};
  int *to[] = {&s->build.cell.codecs, &s->build.cell.json, &s->build.cell.int64};
  s->build.cell = x;
  s->build.cell.types = s->map;
  s->build.cell.scratch = &s->scratch;
  s->build.info = lua_upvalueindex(UP_INFO);
  int fetched = lua_gettop(L);
  lua_rawgeti(L, info, -1);
  if (s->style != LROWS_NAMED) lua_pushboolean(L, 0), lua_replace(L, -2);
  s->build.constructor = lua_toboolean(L, -1) ? lua_upvalueindex(UP_CONSTRUCTOR) : 0;
  for (int i = 0; i < 3; i++) {
    if (from[i] != 0) {
      lua_pushvalue(L, from[i]);
      *to[i] = lua_upvalueindex(UP_CODECS + i);
    } else {
      lua_pushboolean(L, 0);
    }
  }
  for (; fetched > info; fetched--) lua_remove(L, fetched);
}

/* info tools -> info tools names; answers how many */
static int push_names(lua_State *L, lstream *s, int info) {
  int n = s->build.columns;
  if (s->style != LROWS_NAMED || s->build.constructor != 0 || n > MOST_UPVALUES - UP_NAMES) return 0;
  luaL_checkstack(L, n, "names");
  for (int i = 0; i < n; i++) lua_rawgeti(L, info, i + 1);
  s->build.first_name = lua_upvalueindex(UP_NAMES);
  s->build.name_step = -1;
  return n;
}

void lstream_push_stepper(lua_State *L, lconn *b, lstream *s, int stream) {
  int info = stream + 1;
  lua_pushvalue(L, stream);
  lua_pushboolean(L, 0); /* advance: lstream_go_on */
  lua_pushvalue(L, info);
  push_tools(L, b, s);
  int names = push_names(L, s, info);
  lua_pushcclosure(L, stepper, UP_NAMES - 1 + names);
}

bool lstream_go_on(lua_State *L, int stepper_at) {
#if LCOMPAT_HAS_CONTINUATIONS
  lua_setupvalue(L, stepper_at, UP_ADVANCE);
  return true;
#else
  (void)stepper_at;
  lua_pop(L, 1);
  return false;
#endif
}
