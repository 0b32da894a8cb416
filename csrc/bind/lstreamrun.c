/* lstreamrun.c - what a stream does on its connection: asking, waiting, giving way to other statements.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/clock.h"
#include "bind/lerror.h"
#include "bind/lrun.h"
#include "bind/lstreambox.h"

static lconn *inside(lua_State *L) { return lua_touserdata(L, 1); } /* lenter.c has checked it */

/* ---- methods of the connection -------------------------------------------------------------------------------------- */

static lstream *stream_arg(lua_State *L) {
  lstream *s = lbox_test(L, 2, &lstream_class);
  luaL_argcheck(L, s != NULL, 2, "a stream expected");
  luaL_argcheck(L, s->b == lua_touserdata(L, 1), 2, "a stream of this connection expected");
  return s;
}

static int push_bool(lua_State *L, bool value) {
  lua_pushboolean(L, value);
  return 1;
}

/* conn:taps_rows() -> boolean; would rows of a stream be read past libpq? (core/tap.h) */
int lstream_taps_rows(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  return push_bool(L, b->c.state != LPH_CLOSED && !b->c.stmts.unnamed && lph_op_can_tap(&b->c));
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

static int taken_away(lua_State *L, lconn *b) {
  lph_error_set(&b->c.error, "closed", "the connection of this stream was taken from under it");
  b->c.error.sent = LPH_SENT_YES;
  return lerror_push(L, &b->c.error, 0);
}

static int more_rows(lua_State *L, lconn *b, lstream *s) {
  if (s->ended) return push_bool(L, false);
  if (b->reader != s) return taken_away(L, b);
  if (s->want != LPH_FAILED) s->want = lstream_step(s, b);
  if (s->want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(s->want));
  bool failed = s->want == LPH_FAILED;
  PGresult *res = NULL;
  bool any = !failed && lph_op_take_portion(&b->c.op, &res, &s->rows_ahead);
  if (any && lstream_load(s, res)) return push_bool(L, true);
  b->reader = NULL;
  b->untaken = false;
  s->ended = true;
  if (any) return lstream_give_up(L, b);
  if (failed) return lrun_push_failure(L, b, 0);
  if (b->c.op.result == NULL)
    return lstream_no_answer(b), lstream_give_up(L, b); /* these were not all the rows */
  PQclear(b->c.op.result);
  b->c.op.result = NULL;
  return push_bool(L, false);
}

static int more_of_portal(lua_State *L, lconn *b, lstream *s) {
  if (s->ahead == NULL) {
    if (lph_error_is_set(&s->failure)) return lerror_push(L, &s->failure, 0);
    if (b->reader != s) return push_bool(L, false);
    b->ahead = false; /* somebody waits for it now */
    lph_want want = lstream_step(s, b);
    if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
    b->reader = NULL;
    if (want == LPH_FAILED) return lrun_push_failure(L, b, 0);
    b->untaken = false;
    lstream_take_ahead(s, b);
  }
  PGresult *res = s->ahead;
  s->ahead = NULL;
  if (res != NULL && lstream_load(s, res)) return push_bool(L, true);
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
    s->want = lstream_step(s, b);
    bool late = n % LOOK_AT_CLOCK == 0 && lph_is_past(b->deadline);
    if (s->want > LPH_DONE || late) return lrun_push_pending(L, late ? "r" : lrun_want_name(s->want));
    PGresult *res;
    bool any = lph_op_take_portion(&b->c.op, &res, &s->rows_ahead);
    b->untaken = false;
    if (!any) break;
    PQclear(res);
    lph_wirerows_clear(&s->rows_ahead);
  }
  s->ended = true;
  if (b->reader == s) b->reader = NULL;
  return s->want == LPH_FAILED ? lrun_push_failure(L, b, 0) : push_bool(L, true);
}

bool lstream_is_free_for(lconn *b, const lstream *s) {
  lstream *owner = b->owner;
  if (owner == s) b->owner = NULL;
  bool is_free = lrun_is_free(b);
  b->owner = owner;
  return is_free;
}

/* Sends a FETCH, MOVE or CLOSE for the stream; with `rows`, so many of which it asks for, before anybody waits for it.
 * conn:stream_ask(stream, text [, rows]) -> true | PENDING, want | nil, err */
int lstream_ask(lua_State *L) {
  lstream *s = stream_arg(L);
  lconn *b = inside(L);
  const char *text = luaL_checkstring(L, 3);
  if (b->c.state != LPH_CLOSED && (b->reader != NULL || b->ahead)) return lrun_push_pending(L, "ahead");
  if (!lstream_is_free_for(b, s)) return lerror_push(L, &b->c.error, 3);
  if (lph_op_fetch(&b->c, text, s->binary) == LPH_FAILED) return lrun_push_failure(L, b, 3);
  b->reader = s;
  int rows = (int)luaL_optinteger(L, 4, 0);
  size_t len = strlen(text);
  b->ahead = rows > 0;
  s->armed = false;
  s->asked = len < sizeof s->again ? rows : 0;
  if (s->asked > 0) memcpy(s->again, text, len + 1);
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
  lstream_take_ahead(s, b);
  return push_bool(L, true);
}
