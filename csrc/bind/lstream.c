/* lstream.c - see lstream.h.
 *
 * Taking a row out of the portion at hand is one C function without arguments (`stepper`), whose upvalues are all it
 * needs: it is called for every row. What has to wait, to fail or to end goes through methods of the connection.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lstream.h"

#include <stdlib.h>

#include "base/clock.h"
#include "bind/lerror.h"
#include "bind/lrows.h"
#include "bind/lrun.h"

enum { STORE_CONN = 1, STORE_STEPPER };

/* Upvalues of the stepper; those from INFO on are pushed in this order where they are there. */
enum { UP_STREAM = 1, UP_INFO, UP_CONSTRUCTOR, UP_CODECS, UP_JSON, UP_INT64 };

typedef struct lstream {
  lconn *b;        /* NULL: closed */
  PGresult *ahead; /* portal: the next portion, which came while somebody else needed the connection */
  lph_stmt shape;  /* its columns only */
  lph_typemap *map;
  lph_buf scratch;
  lrows_build build; /* build.res: the portion that is handed out; its slots are those the stepper fills */
  int row, style, slots;
  double seconds; /* the time limit of each portion; negative = none */
  lph_want want;  /* rows: what the last step answered */
  bool is_portal, ended;
  bool binary;  /* what FETCH asks for */
  bool armed;   /* the clock of the portion that is waited for has been started */
  bool entered; /* a row is being converted; stays set when a conversion raises */
} lstream;

static const lbox_class stream_class;

static lconn *inside(lua_State *L) { return lua_touserdata(L, 1); } /* lenter.c has checked it */

/* ---- one portion ------------------------------------------------------------------------------------------ */

static void drop_portion(lstream *s) {
  s->build.before += s->build.rows;
  PQclear(s->build.res);
  s->build.res = NULL;
  s->build.rows = s->row = 0;
}

/* A server that lies, or a table that was altered between the description and DECLARE. */
static bool has_the_columns(lstream *s, const PGresult *res) {
  bool same = PQnfields(res) == s->build.columns;
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
static bool load(lstream *s, PGresult *res) {
  drop_portion(s);
  s->build.res = res;
  s->armed = false;
  s->b->untaken = false;
  if (PQresultStatus(res) == PGRES_COMMAND_OK) return true; /* MOVE, CLOSE, a statement without rows */
  if (!has_the_columns(s, res)) return false;
  s->build.rows = PQntuples(res);
  s->build.cell.binary = s->build.columns > 0 && PQfformat(res, 0) == 1;
  return true;
}

static void arm(lstream *s, lconn *b) {
  if (s->armed) return;
  s->armed = true;
  b->deadline = s->seconds < 0 ? LPH_NEVER : lph_deadline(s->seconds);
  if (b->ceiling >= 0) b->deadline = lph_sooner(b->deadline, b->ceiling);
}

static lph_want step(lstream *s, lconn *b) {
  lph_want want = lph_conn_step(&b->c);
  if (want <= LPH_DONE) return want;
  arm(s, b);
  return b->blocking ? lrun_wait(b, want) : want;
}

/* The rows form without a way back to Lua: is there another portion? If not, stream_more tells why. */
static bool advance(lstream *s) {
  lconn *b = s->b;
  if (b == NULL || s->is_portal || b->finalized || b->entered || b->reader != s) return false;
  if (b->c.state != LPH_BUSY || s->want == LPH_FAILED) return false;
  s->want = step(s, b);
  return s->want == LPH_DONE && b->c.op.portion && PQnfields(b->c.op.result) == s->build.columns &&
         load(s, lph_op_take_portion(&b->c.op));
}

/* () -> a row | its values | nothing, when the portion is at its end | nil, err */
static int stepper(lua_State *L) {
  lstream *s = lua_touserdata(L, lua_upvalueindex(UP_STREAM));
  lua_settop(L, 0);
  /* Code that runs during a conversion (a codec, a finalizer) must not move the row or free the result. */
  if (LPH_UNLIKELY(s->entered))
    return luaL_error(L, "this stream is converting a row, or has failed: it cannot be read");
  if (s->row >= s->build.rows && !advance(s)) return 0;
  luaL_checkstack(L, s->build.columns + 24, "row");
  s->entered = true;
  lua_pushvalue(L, lua_upvalueindex(UP_INFO));
  for (int up = UP_CONSTRUCTOR; lua_gettop(L) < s->slots; up++)
    if (lua_toboolean(L, lua_upvalueindex(up))) lua_pushvalue(L, lua_upvalueindex(up));
  lph_buf_clear(&s->scratch);
  int n = lrows_push_one(L, &s->build, s->row, s->style);
  s->row++;
  s->entered = false;
  return LPH_LIKELY(n >= 0) ? n : lerror_push(L, &s->build.b->c.error, 0);
}

/* ---- making one ------------------------------------------------------------------------------------------------ */

/* stream info -> stream info; slots of the stepper are given out as it will push them. */
static void push_stepper(lua_State *L, lconn *b, lstream *s, int stream) {
  int info = stream + 1, n = 1;
  lcell x;
  lconn_cell(L, b, 1, false, &x);
  s->build.cell = x;
  s->build.cell.types = s->map;
  s->build.cell.scratch = &s->scratch;
  s->build.info = n;
  lua_pushvalue(L, stream);
  lua_pushvalue(L, info);
  lua_rawgeti(L, info, -1);
  if (s->style != LROWS_NAMED) lua_pushboolean(L, 0), lua_replace(L, -2);
  if (lua_toboolean(L, -1)) s->build.constructor = ++n;
  int from[] = {x.codecs, x.json, x.int64};
  int *to[] = {&s->build.cell.codecs, &s->build.cell.json, &s->build.cell.int64};
  for (int i = 0; i < 3; i++) {
    if (from[i] != 0) {
      lua_pushvalue(L, from[i]);
      *to[i] = ++n;
    } else {
      lua_pushboolean(L, 0);
    }
  }
  s->slots = n;
  lua_pushcclosure(L, stepper, UP_INT64);
}

/* Nobody gets to read what has come. */
static int give_up(lua_State *L, lconn *b) {
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

/* After the last row libpq gives one more result, with the command tag. What a lying server has sent in its place is
 * lost in libpq, and so are rows. */
static void no_answer(lconn *b) { lph_error_set(&b->c.error, "protocol", "the server gave no answer"); }

/* DECLARE parses the statement once more, and so does an unnamed one: the columns may be others than described. */
static bool is_readable(lconn *b, lph_stmt *stmt) {
  lph_op *op = &b->c.op;
  bool is_rows = LVERB_OF(b->verb) == LVERB_STREAM;
  if (op->result == NULL || (is_rows && stmt->name[0] != '\0')) return true;
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
  if (LVERB_OF(b->verb) == LVERB_STREAM) return (lph_want)lph_op_stream(&b->c, stmt, &b->c.params);
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
  bool answered = stmt != NULL && (op->result != NULL || LVERB_OF(b->verb) == LVERB_CURSOR);
  if (!answered) no_answer(b);
  if (!answered || !is_readable(b, stmt)) return give_up(L, b);
  lstream *s = lbox_new(L, &stream_class, sizeof *s);
  if (lph_stmts_copy_columns(&s->shape, stmt) != LPH_OK) {
    lph_error_oom(&b->c.error);
    return lua_settop(L, top), give_up(L, b);
  }
  fill(b, s, stmt);
  lrows_push_info(L, b, 1, stmt);
  push_stepper(L, b, s, top + 1);
  lcompat_getstore(L, top + 1);
  lua_insert(L, -2);
  lua_rawseti(L, -2, STORE_STEPPER);
  lua_pushvalue(L, 1);
  lua_rawseti(L, -2, STORE_CONN);
  lua_settop(L, top + 1);
  if (b->c.state == LPH_BUSY) b->reader = s;
  s->ended = !s->is_portal && b->c.state != LPH_BUSY;
  PGresult *res = op->portion ? lph_op_take_portion(op) : op->result;
  op->result = NULL;
  if (res == NULL || load(s, res)) return 1;
  b->reader = NULL;
  return lua_settop(L, top), give_up(L, b);
}

/* ---- methods of the stream --------------------------------------------------------------------------------------- */

static lstream *self(lua_State *L) { return lbox_self(L, 1, &stream_class); }

/* What is under way for it, nobody reads any more. */
static void let_go(lstream *s) {
  lconn *b = s->b;
  s->b = NULL;
  if (b == NULL || b->finalized) return;
  if (b->owner == s) b->owner = NULL;
  if (b->reader != s) return;
  b->reader = NULL;
  b->ahead = b->c.state == LPH_BUSY;
}

static void stream_close(lstream *s) {
  let_go(s);
  PQclear(s->ahead);
  s->ahead = NULL;
  if (s->entered) return; /* the row that is being converted; the collector comes for it */
  drop_portion(s);
  lph_stmts_clear_description(&s->shape);
  lph_typemap_release(s->map);
  s->map = NULL;
  lph_buf_free(&s->scratch);
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

/* stream:stepper() -> value; the function that gives the rows of the portion at hand */
static int lstream_stepper(lua_State *L) {
  self(L);
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, STORE_STEPPER);
  return 1;
}

/* stream:portion() -> integer, integer, integer; rows of the portion at hand, bytes they take, and the number in its
 * command tag */
static int lstream_portion(lua_State *L) {
  lstream *s = self(L);
  PGresult *res = s->build.res;
  lua_pushinteger(L, s->build.rows);
  lua_pushinteger(L, res == NULL ? 0 : (lua_Integer)PQresultMemorySize(res));
  lua_pushinteger(L, res == NULL ? 0 : (lua_Integer)strtoll(PQcmdTuples(res), NULL, 10));
  return 3;
}

static const luaL_Reg stream_methods[] = {
  {"close", lstream_close}, {"stepper", lstream_stepper}, {"portion", lstream_portion}, {NULL, NULL}};
static const luaL_Reg stream_meta[] = {{"__gc", lstream__gc}, {NULL, NULL}};
static const lbox_class stream_class = {"luphant.core.stream", stream_methods, stream_meta};

void lstream_open(lua_State *L) { lbox_open(L, &stream_class); }

/* ---- methods of the connection -------------------------------------------------------------------------------------- */

static lstream *stream_arg(lua_State *L) {
  lstream *s = lbox_test(L, 2, &stream_class);
  luaL_argcheck(L, s != NULL, 2, "a stream expected");
  luaL_argcheck(L, s->b == lua_touserdata(L, 1), 2, "a stream of this connection expected");
  return s;
}

/* conn:set_portal(text [, string]); what stands in front of the next portal's statement, and its first FETCH */
int lstream_set_portal(lua_State *L) {
  lbox_self(L, 1, &lconn_class);
  luaL_checkstring(L, 2);
  lua_settop(L, 3);
  lcompat_getstore(L, 1);
  lua_insert(L, 2);
  lua_rawseti(L, 2, LSTORE_FETCH);
  lua_rawseti(L, 2, LSTORE_DECLARE);
  return 0;
}

/* conn:stream_claim(stream); until the stream is closed nothing else runs on the connection */
int lstream_claim(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  b->owner = stream_arg(L);
  return 0;
}

/* conn:stream_detach(); whoever had a stream here has lost it */
int lstream_detach(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  b->reader = b->owner = NULL;
  b->ahead = b->forsaken = false;
  return 0;
}

/* conn:is_streaming() -> boolean; is the operation under way one that stops in the middle? */
int lstream_is_streaming(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  lua_pushboolean(L, b->c.state == LPH_BUSY && b->c.op.kind == LPH_OP_STREAM);
  return 1;
}

static int push_bool(lua_State *L, bool value) {
  lua_pushboolean(L, value);
  return 1;
}

static int taken_away(lua_State *L, lconn *b) {
  lph_error_set(&b->c.error, "closed", "the connection of this stream was taken from under it");
  b->c.error.sent = LPH_SENT_YES;
  return lerror_push(L, &b->c.error, 0);
}

static int more_rows(lua_State *L, lconn *b, lstream *s) {
  if (s->ended) return push_bool(L, false);
  if (b->reader != s) return taken_away(L, b);
  if (s->want != LPH_FAILED) s->want = step(s, b);
  if (s->want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(s->want));
  bool failed = s->want == LPH_FAILED;
  PGresult *res = failed ? NULL : lph_op_take_portion(&b->c.op);
  if (res != NULL && load(s, res)) return push_bool(L, true);
  b->reader = NULL;
  b->untaken = false;
  s->ended = true;
  if (res != NULL) return give_up(L, b);
  if (failed) return lrun_push_failure(L, b, 0);
  if (b->c.op.result == NULL) return no_answer(b), give_up(L, b); /* these were not all the rows */
  PQclear(b->c.op.result);
  b->c.op.result = NULL;
  return push_bool(L, false);
}

static int more_of_portal(lua_State *L, lconn *b, lstream *s) {
  PGresult *res = s->ahead;
  s->ahead = NULL;
  if (res == NULL) {
    if (b->reader != s) return push_bool(L, false);
    b->ahead = false; /* somebody waits for it now */
    lph_want want = step(s, b);
    if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
    b->reader = NULL;
    if (want == LPH_FAILED) return lrun_push_failure(L, b, 0);
    res = b->c.op.result;
    b->c.op.result = NULL;
    b->untaken = false;
    if (res == NULL) no_answer(b);
  }
  if (res != NULL && load(s, res)) return push_bool(L, true);
  return lerror_push(L, &b->c.error, 0);
}

/* false: the rows have ended; of a portal: nothing was asked for.
 * conn:stream_more(stream) -> boolean | PENDING, want | nil, err, stale */
int lstream_more(lua_State *L) {
  lstream *s = stream_arg(L);
  return s->is_portal ? more_of_portal(L, inside(L), s) : more_rows(L, inside(L), s);
}

#define LOOK_AT_CLOCK 256 /* rows between two looks, while a server sends faster than they are thrown away */

/* Reads the rest of the rows form away, without having it cancelled.
 * conn:stream_skip(stream) -> true | PENDING, want | nil, err, stale */
int lstream_skip(lua_State *L) {
  lstream *s = stream_arg(L);
  lconn *b = inside(L);
  s->armed = true; /* the deadline is the caller's */
  for (int n = 1; b->reader == s && s->want != LPH_FAILED; n++) {
    s->want = step(s, b);
    bool late = n % LOOK_AT_CLOCK == 0 && lph_is_past(b->deadline);
    if (s->want > LPH_DONE || late) return lrun_push_pending(L, late ? "r" : lrun_want_name(s->want));
    PGresult *res = lph_op_take_portion(&b->c.op);
    b->untaken = false;
    if (res == NULL) break;
    PQclear(res);
  }
  s->ended = true;
  if (b->reader == s) b->reader = NULL;
  return s->want == LPH_FAILED ? lrun_push_failure(L, b, 0) : push_bool(L, true);
}

static bool is_free_for(lconn *b, const lstream *s) {
  lstream *owner = b->owner;
  if (owner == s) b->owner = NULL;
  bool is_free = lrun_is_free(b);
  b->owner = owner;
  return is_free;
}

/* Sends a FETCH, MOVE or CLOSE for the stream; with `on`, before anybody waits for it.
 * conn:stream_ask(stream, text, on) -> true | PENDING, want | nil, err */
int lstream_ask(lua_State *L) {
  lstream *s = stream_arg(L);
  lconn *b = inside(L);
  const char *text = luaL_checkstring(L, 3);
  if (b->c.state != LPH_CLOSED && (b->reader != NULL || b->ahead)) return lrun_push_pending(L, "ahead");
  if (!is_free_for(b, s)) return lerror_push(L, &b->c.error, 3);
  if (lph_op_fetch(&b->c, text, s->binary) == LPH_FAILED) return lrun_push_failure(L, b, 3);
  b->reader = s;
  b->ahead = lua_toboolean(L, 4);
  s->armed = false;
  return push_bool(L, true);
}

/* ---- making room for other statements ------------------------------------------------------------------------------- */

static int refuse(lua_State *L, lconn *b) {
  lph_error_set(&b->c.error, "busy", "this connection is reading a stream");
  lph_error_put(
    &b->c.error, LPH_E_HINT,
    "Read it to its end or close it with stream:close() first, or use another connection. Inside a "
    "transaction via = \"portal\" lets other statements run between the rows.");
  return lerror_push(L, &b->c.error, 0);
}

/* What a stream that is gone has left: its rows are read away, or are to be cancelled first. */
static int clear_away(lua_State *L, lconn *b, bool *done) {
  *done = true;
  bool is_rows = b->c.op.kind == LPH_OP_STREAM && !b->c.op.discarding;
  if (b->c.state == LPH_BUSY) {
    lph_op_discard(&b->c);
    lph_want want = lph_conn_step(&b->c);
    if (want > LPH_DONE && b->blocking && !is_rows) want = lrun_wait(b, want);
    if (want > LPH_DONE) {
      *done = false;
      return lrun_push_pending(L, is_rows ? "cancel" : lrun_want_name(want));
    }
  }
  b->ahead = b->untaken = false;
  return 0;
}

/* Puts the rows aside that a stream has asked for in advance, so that the connection is free for a statement.
 * "cancel": what is under way has to be stopped; "forsaken": the transaction of a stream that is gone has to end.
 * conn:stream_settle() -> true | PENDING, want | nil, err, stale */
int lstream_settle(lua_State *L) {
  lconn *b = inside(L);
  lstream *s = b->reader;
  if (s == NULL && b->ahead) {
    bool done;
    int n = clear_away(L, b, &done);
    if (!done) return n;
  }
  if (b->forsaken) return lrun_push_pending(L, "forsaken");
  if (b->owner != NULL) return refuse(L, b);
  if (s == NULL) return push_bool(L, true);
  if (!s->is_portal || (b->c.state == LPH_BUSY && !b->ahead)) return refuse(L, b);
  lph_want want = lph_conn_step(&b->c);
  if (want > LPH_DONE && b->blocking) want = lrun_wait(b, want);
  b->ahead = false;
  if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
  b->reader = NULL;
  b->untaken = false;
  if (want == LPH_FAILED) return lrun_push_failure(L, b, 0);
  s->ahead = b->c.op.result;
  b->c.op.result = NULL;
  return push_bool(L, true);
}
