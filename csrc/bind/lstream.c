/* lstream.c - see lstream.h. Its rows are in lstreamrow.c, what it does on its connection in lstreamrun.c.
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/clock.h"
#include "bind/lerror.h"
#include "bind/lrun.h"
#include "bind/lstreambox.h"

enum { STORE_CONN = 1, STORE_STEPPER };

static lstream *self(lua_State *L) { return lbox_self(L, 1, &lstream_class); }

/* ---- one portion ------------------------------------------------------------------------------------------ */

void lstream_drop_portion(lstream *s) {
  s->build.before += s->build.rows;
  PQclear(s->build.in.res);
  s->build.in = (lfields){0};
  s->build.rows = s->row = 0;
  lph_wirerows_clear(&s->rows);
}

bool lstream_take_ahead(lstream *s, lconn *b) {
  s->ahead = b->c.op.result;
  b->c.op.result = NULL;
  lph_wirerows_swap(&s->rows_ahead, &b->c.op.rows);
  lph_wirerows_clear(&b->c.op.rows);
  if (s->ahead != NULL) return true;
  lstream_no_answer(b);
  return false;
}

/* A server that lies, or a table that was altered between the description and DECLARE. */
static bool has_the_columns(lstream *s, const PGresult *res) {
  bool same = PQnfields(res) == s->build.columns && lfields_are_sound(res, &s->rows_ahead);
  for (int i = 0; same && s->is_portal && i < s->build.columns; i++)
    same = PQftype(res, i) == s->shape.columns[i].oid;
  if (same) return true;
  lph_error_set(&s->b->c.error, "decode",
                "the columns that came are not those the statement was described with; run it again");
  s->b->c.error.sent = LPH_SENT_YES;
  lph_stmts_invalidate(&s->b->c.stmts);
  return false;
}

/* Takes `res` over. False: b->c.error */
bool lstream_load(lstream *s, PGresult *res) {
  lstream_drop_portion(s);
  s->build.in.res = res;
  s->armed = false;
  s->b->untaken = false;
  bool is_rowless = PQresultStatus(res) == PGRES_COMMAND_OK && s->rows_ahead.count == 0;
  if (is_rowless) return true; /* MOVE, CLOSE, a statement without rows */
  if (res != NULL && !has_the_columns(s, res)) return false;
  lph_wirerows_swap(&s->rows, &s->rows_ahead);
  s->build.rows = lfields_count(res, &s->rows);
  s->build.in = lfields_of(res, &s->rows);
  s->build.cell.binary = s->build.columns > 0 && (res == NULL ? s->binary : PQfformat(res, 0) == 1);
  return true;
}

static void arm(lstream *s, lconn *b) {
  if (s->armed) return;
  s->armed = true;
  b->deadline = s->seconds < 0 ? LPH_NEVER : lph_deadline(s->seconds);
  if (b->ceiling >= 0) b->deadline = lph_sooner(b->deadline, b->ceiling);
}

lph_want lstream_step(lstream *s, lconn *b) {
  lph_want want = lph_conn_step(&b->c);
  if (want <= LPH_DONE) return want;
  arm(s, b);
  return b->blocking ? lrun_wait(b, want) : want;
}

/* ---- making one ------------------------------------------------------------------------------------------------ */

int lstream_give_up(lua_State *L, lconn *b) {
  bool busy = b->c.state == LPH_BUSY;
  b->c.error.sent = LPH_SENT_YES;
  if (busy) {
    lph_op_discard(&b->c);
  } else {
    PQclear(b->c.op.result);
    b->c.op.result = NULL;
  }
  lerror_push(L, &b->c.error, 0);
  if (!busy) return 2;
  lua_pushliteral(L, "unread");
  return 3;
}

void lstream_no_answer(lconn *b) { lph_error_set(&b->c.error, "protocol", "the server gave no answer"); }

/* DECLARE parses the statement once more, and so does an unnamed one; a FETCH has the columns of what its cursor is by now. */
static bool is_readable(lconn *b, lph_stmt *stmt) {
  lph_op *op = &b->c.op;
  if (op->result == NULL) return true; /* the rows are as described: lph_op_consume_tapped has looked */
  if (lph_stmts_follow(&b->c.stmts, stmt, b->c.types, op->result)) return true;
  stmt->described = false;
  lph_error_set(&b->c.error, "decode",
                "the columns of this statement changed to types not known yet; run it again");
  return false;
}

static void fill(lconn *b, lstream *s, const lph_stmt *stmt) {
  int style = LROWS_OF(b->verb);
  s->b = s->build.b = b;
  s->map = lph_typemap_retain(b->c.types);
  s->style = style == LROWS_COLUMNS ? LROWS_NAMED : style;
  s->is_portal = LVERB_OF(b->verb) != LVERB_STREAM;
  s->binary = stmt->binary;
  s->seconds = b->seconds;
  s->build.stmt = &s->shape;
  s->build.columns = s->shape.column_count;
}

lph_want lstream_begin(lua_State *L, lconn *b, lph_stmt *stmt) {
  if (LVERB_OF(b->verb) == LVERB_STREAM)
    return (lph_want)lph_op_stream(&b->c, stmt, &b->c.params, b->portion_rows);
  luaL_checkstack(L, 3, "portal");
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, LSTORE_DECLARE);
  lua_rawgeti(L, -2, LSTORE_FETCH);
  const char *head = luaL_checkstring(L, -2);
  const char *fetch = LVERB_OF(b->verb) == LVERB_PORTAL ? luaL_checkstring(L, -1) : NULL;
  lph_want want = (lph_want)lph_op_portal(&b->c, stmt, &b->c.params, head, fetch);
  lua_pop(L, 3);
  return want;
}

int lstream_push(lua_State *L, lconn *b, lph_stmt *stmt) {
  lph_op *op = &b->c.op;
  int top = lua_gettop(L);
  luaL_checkstack(L, 24, "stream");
  bool answered = stmt != NULL && (op->result != NULL || op->portion || LVERB_OF(b->verb) == LVERB_CURSOR);
  if (!answered) lstream_no_answer(b);
  if (!answered || !is_readable(b, stmt)) return lstream_give_up(L, b);
  lstream *s = lbox_new(L, &lstream_class, sizeof *s);
  if (lph_stmts_copy_columns(&s->shape, stmt) != LPH_OK) {
    lph_error_oom(&b->c.error);
    return lua_settop(L, top), lstream_give_up(L, b);
  }
  fill(b, s, stmt);
  lrows_push_info(L, b, 1, stmt);
  lstream_push_stepper(L, b, s, top + 1);
  lcompat_getstore(L, top + 1);
  lua_insert(L, -2);
  lua_rawseti(L, -2, STORE_STEPPER);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, STORE_CONN);
  lua_settop(L, top + 1);
  if (b->c.state == LPH_BUSY) b->reader = s;
  s->ended = !s->is_portal && b->c.state != LPH_BUSY;
  PGresult *res = op->result;
  bool any = lph_op_take_portion(op, &res, &s->rows_ahead) || res != NULL;
  op->result = NULL;
  if (!any || lstream_load(s, res)) return 1;
  b->reader = NULL;
  return lua_settop(L, top), lstream_give_up(L, b);
}

/* ---- methods of the stream --------------------------------------------------------------------------------------- */

/* What is under way for it, nobody reads any more. */
static void let_go(lstream *s) {
  lconn *b = s->b;
  s->b = NULL;
  if (b == NULL || b->finalized) return;
  if (b->owner == s) b->owner = NULL;
  if (b->c.state != LPH_BUSY) lph_wirerows_free(&b->c.op.rows);
  if (b->reader != s) return;
  b->reader = NULL;
  b->ahead = b->c.state == LPH_BUSY;
}

/* conn:stream_disown(); whose stream is here is gone, though the collector has not come for it */
int lstream_disown(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  lstream *s = b->reader != NULL ? b->reader : b->owner;
  if (s == NULL) return 0;
  if (b->owner == s) b->forsaken = true;
  let_go(s);
  return 0;
}

static void stream_close(lstream *s) {
  let_go(s);
  PQclear(s->ahead);
  s->ahead = NULL;
  lph_wirerows_free(&s->rows_ahead);
  if (s->entered) return; /* the row that is being converted; the collector comes for it */
  lstream_drop_portion(s);
  lph_wirerows_free(&s->rows);
  lph_stmts_clear_description(&s->shape);
  lph_typemap_release(s->map);
  s->map = NULL;
  lph_buf_free(&s->scratch);
  lph_error_free(&s->failure);
}

/* stream:close(); what is under way is for stream_settle, or whoever cleans the connection */
static int lstream_close(lua_State *L) {
  stream_close(self(L));
  return 0;
}

static int lstream__gc(lua_State *L) {
  lstream *s = self(L);
  lconn *b = s->b;
  if (b != NULL && !b->finalized && b->owner == s) b->forsaken = true;
  s->entered = false;
  stream_close(s);
  return 0;
}

/* Gives the rows of the portion at hand. With true it is called with the stream's user and goes on by itself, where the
 * portion ends or a row fails, with what `advance` answers for user and error.
 * stream:stepper([advance]) -> value, boolean */
static int lstream_stepper(lua_State *L) {
  self(L);
  lua_settop(L, 2);
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, STORE_STEPPER);
  lua_pushvalue(L, 2);
  bool goes_on = lua_isfunction(L, 2) && lstream_go_on(L, lua_gettop(L) - 1);
  lua_settop(L, 4);
  lua_pushboolean(L, goes_on);
  return 2;
}

/* Rows of the portion at hand, bytes they take (in a PGresult twice as many as on the wire), the number in its command
 * tag; and is what comes behind it on its way?
 * stream:portion() -> integer, integer, integer, boolean */
static int lstream_portion(lua_State *L) {
  lstream *s = self(L);
  PGresult *res = s->build.in.res;
  lua_pushinteger(L, s->build.rows);
  lua_pushinteger(L, res == NULL ? 0 : (lua_Integer)(PQresultMemorySize(res) + 2 * s->rows.bytes.len));
  lua_pushinteger(L, res == NULL ? 0 : (lua_Integer)strtoll(PQcmdTuples(res), NULL, 10));
  lua_pushboolean(L, (s->b != NULL && s->b->reader == s) || lph_error_is_set(&s->failure));
  return 4;
}

static const luaL_Reg stream_methods[] = {
  {"close", lstream_close}, {"stepper", lstream_stepper}, {"portion", lstream_portion}, {NULL, NULL}};
static const luaL_Reg stream_meta[] = {{"__gc", lstream__gc}, {NULL, NULL}};
const lbox_class lstream_class = {"luphant.core.stream", stream_methods, stream_meta};

void lstream_open(lua_State *L) { lbox_open(L, &lstream_class); }
