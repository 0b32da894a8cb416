/* lrun.c - running statements: from SQL text and parameters to what a verb returns.
 *
 * The Lua side (connection.lua, drive.lua) waits; this side never does - except that under the
 * plain waiter, where the whole program has one thing to wait for, `run` polls inside C and spares
 * the way out and back (lrun_wait).
 *
 *   conn:run(code, sql, ...)  -> what the verb returns
 *                             |  PENDING, want      an operation is under way: wait, step, then take
 *                             |  PENDING, "open"    BEGIN cannot go with it: open the transaction first, then rerun
 *                             |  PENDING, "digits"  rows of a stream are text with floats in it: ask for
 *                                                  extra_float_digits (flight.h), then rerun with LVERB_EXACT
 *                             |  PENDING, "ahead"   a stream has asked for rows in advance, or nobody reads it any more:
 *                                                  conn:stream_settle() first, then rerun
 *                             |  PENDING, "types"   user types must be looked up first, then rerun
 *                             |  PENDING, "request" `sql` is no text: a table with options, or misuse
 *                             |  PENDING, "observe" somebody watches: tell, then run with LVERB_SEEN
 *                             |  nil, err [, "stale"]   "stale": nothing ran and the statement was
 *                                                       forgotten; running it again may help
 *                                       "unread": failed in the middle; cancel, then step to the end
 *   conn:step()               -> want | "done" | nil, err [, "stale" | "unread"]
 *   conn:take()               -> as run; PENDING, "again" after a preparation: rerun
 *
 * run, too, answers PENDING, "again": when a value does not fit the description it was given some calls ago.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lrun.h"

#include <poll.h>
#include <time.h>

#include "base/clock.h"
#include "bind/lbatch.h"
#include "bind/lenter.h"
#include "bind/lcopy.h"
#include "bind/lerror.h"
#include "bind/lrows.h"
#include "bind/lstream.h"
#include "core/flight.h"

static const char pending_mark; /* its address is PENDING */

static lconn *inside(lua_State *L) { return lua_touserdata(L, 1); } /* lenter.c has checked it */

void lrun_push_mark(lua_State *L) { lua_pushlightuserdata(L, (void *)&pending_mark); }

/* ---- small helpers ------------------------------------------------------------------------------------------ */

int lrun_push_pending(lua_State *L, const char *what) {
  lrun_push_mark(L);
  lua_pushstring(L, what);
  return 2;
}

const char *lrun_want_name(lph_want want) {
  static const char *const names[] = {"done", "r", "w", "rw"};
  return names[want];
}

static void forget_evicted(lua_State *L, lconn *b, int box) {
  lcompat_getstore(L, box);
  for (size_t at = 0; at < b->evicted.len; at += sizeof(int)) {
    int serial;
    memcpy(&serial, b->evicted.data + at, sizeof serial);
    lua_pushnil(L);
    lua_rawseti(L, -2, serial);
  }
  lph_buf_clear(&b->evicted);
  lua_pop(L, 1);
}

void lconn_cell(lua_State *L, lconn *b, int box, bool binary, lcell *x) {
  *x = (lcell){.options = b->options, .types = b->c.types, .scratch = &b->scratch, .binary = binary};
  lph_buf_clear(&b->scratch);
  x->plain = !b->options.raw && !b->has_codecs;
  bool plain = !b->has_codecs && b->options.json != LJSON_CJSON && b->options.int8 != LINT8_CDATA;
  if (LPH_LIKELY(plain)) return;
  struct {
    int key;
    int *slot;
    bool wanted;
  } fetch[] = {
    {LSTORE_CODECS, &x->codecs, b->has_codecs},
    {LSTORE_JSON_DECODE, &x->json, b->options.json == LJSON_CJSON},
    {LSTORE_INT64, &x->int64, b->options.int8 == LINT8_CDATA},
  };
  lcompat_getstore(L, box);
  int store = lua_gettop(L);
  for (int i = 0; i < 3; i++) {
    lua_rawgeti(L, store, fetch[i].key);
    if (fetch[i].wanted && !lua_isnil(L, -1)) *fetch[i].slot = lua_gettop(L);
  }
}

void lrun_hint_at_lost_statement(lph_error *e) {
  lph_error_put(
    e, LPH_E_HINT,
    "The prepared statement no longer fits the schema, or a pooler moved this session (behind one, connect "
    "with pooler = \"transaction\"). It could not be prepared anew inside the failed transaction: roll back "
    "and run the transaction again.");
}

/* A cached statement the server has no use for any more, in a state where nothing was lost by it? */
static bool went_stale(lconn *b) {
  lph_error *e = &b->c.error;
  lph_stmt *stmt = b->c.op.stmt;
  if (stmt == NULL || b->c.state != LPH_IDLE) return false;
  if (!lph_stmt_is_stale(stmt, b->c.op.kind == LPH_OP_PREPARE, e)) return false;
  lph_stmts_distrust(&b->c.stmts, stmt, e->sqlstate);
  if (PQtransactionStatus(b->c.pg) == PQTRANS_IDLE) return true;
  if (lph_flight_had_begin(&b->c)) return lph_txn_restart(&b->c.txn), true;
  lrun_hint_at_lost_statement(e);
  return false;
}

/* The session has lost the short statements of flights; with BEGIN among them, nothing ran. */
static bool has_forgotten(lconn *b) {
  const char *state = b->c.error.sqlstate;
  if (b->c.state != LPH_IDLE || (strcmp(state, "26000") != 0 && strcmp(state, "42P05") != 0)) return false;
  if (PQtransactionStatus(b->c.pg) == PQTRANS_IDLE) return true;
  lrun_hint_at_lost_statement(&b->c.error);
  return false;
}

/* After LPH_FAILED. */
int lrun_push_failure(lua_State *L, lconn *b, int sql) {
  bool stale = b->c.op.culprit == NULL ? went_stale(b) : has_forgotten(b);
  if (b->c.op.culprit != NULL) {
    lua_pushstring(L, b->c.op.culprit);
    sql = lua_gettop(L);
  }
  bool refused = b->c.state == LPH_IDLE && b->c.op.kind == LPH_OP_PREPARE;
  if (!stale && refused && b->c.op.culprit == NULL && b->c.op.stmt != NULL) {
    lph_stmts_drop(&b->c.stmts, b->c.op.stmt);
    b->c.op.stmt = NULL;
  }
  lerror_push(L, &b->c.error, sql);
  bool unread = b->c.state == LPH_BUSY;
  if (!stale && !unread) return 2;
  lua_pushstring(L, unread ? "unread" : "stale");
  return 3;
}

/* ---- waiting inside C (plain waiter only) ----------------------------------------------------------------------- */

#define GATHER_BEHIND ((size_t)8192)

/* A server that is slower than we are sends 8 kB at a time, and wakes us up for each: on many machines that costs it a
 * third of its time, and we wait the longer. So of a long answer some may come together first. Not where somebody waits
 * for the result as a whole. */
static void let_rows_gather(lconn *b, struct pollfd *p) {
  const struct timespec nap = {0, 60000};
  if (b->c.tap.taken < GATHER_BEHIND || b->c.op.kind == LPH_OP_EXECUTE || poll(p, 1, 0) != 0) return;
  nanosleep(&nap, NULL);
}

lph_want lrun_wait(lconn *b, lph_want want) {
  while (want > LPH_DONE) {
    struct pollfd p = {lph_conn_fd(&b->c), 0, 0};
    p.events = (short)((want & LPH_WANT_READ ? POLLIN : 0) | (want & LPH_WANT_WRITE ? POLLOUT : 0));
    if (LPH_UNLIKELY(lph_tap_is_open(&b->c.tap))) let_rows_gather(b, &p);
    if (poll(&p, 1, lph_poll_ms(b->deadline)) <= 0) return want;
    want = lph_conn_step(&b->c);
    /* A server that never stops sending keeps the socket ready: poll alone would see no deadline. */
    if (want > LPH_DONE && lph_is_past(b->deadline)) return want;
  }
  return want;
}

/* ---- running a statement ------------------------------------------------------------------------------------------- */

/* Types that luphant.typed wrappers among the arguments force on the statement. */
static int read_forced(lua_State *L, int first, int last, lph_oid *forced) {
  int count = 0;
  for (int i = first; i <= last; i++) {
    lph_oid oid = 0;
    if (lua_type(L, i) == LUA_TTABLE && lvalue_typed_oid(L, i, &oid)) count = i - first + 1;
    forced[i - first] = oid;
  }
  return count;
}

/* The description of this statement would be the end of the session. */
static lph_stmt *refuse_params(lconn *b, lph_stmt *stmt) {
  int version = PQlibVersion();
  if (stmt->highest_param <= lph_params_limit(version)) return stmt;
  lph_error_set(&b->c.error, "parameter",
                "%d parameters are more than this libpq (%d.%d) can describe, which are %d (send an array "
                "instead, or use libpq 14.24, 15.19, 16.15, 17.11, 18.6 or newer)",
                stmt->highest_param, version / 10000, version % 10000, LPH_PARAMS_OLD);
  lph_stmts_drop(&b->c.stmts, stmt);
  return NULL;
}

lph_stmt *lrun_find_stmt(lua_State *L, lconn *b, int sql, int last) {
  lph_oid few[64], *forced = few;
  lph_bytes text;
  text.data = lua_tolstring(L, sql, &text.len);
  if (memchr(text.data, '\0', text.len) != NULL) {
    lph_error_set(&b->c.error, "parameter", "the SQL text contains a NUL byte");
    return NULL;
  }
  if (lph_op_check_text(&b->c, text.len) != LPH_OK) return NULL;
  if ((size_t)(last - sql) > lph_countof(few))
    forced = lua_newuserdata(L, sizeof *forced * (size_t)(last - sql));
  int count = read_forced(L, sql + 1, last, forced);
  lph_stmt *stmt = lph_stmts_get(&b->c.stmts, text, forced, count);
  if (stmt == NULL) lph_error_oom(&b->c.error);
  if (stmt != NULL && LPH_UNLIKELY(stmt->highest_param > LPH_PARAMS_OLD)) stmt = refuse_params(b, stmt);
  if (b->evicted.len > 0) forget_evicted(L, b, 1);
  return stmt;
}

bool lrun_encode(lua_State *L, lconn *b, lph_stmt *stmt, int first, int given) {
  lph_error *e = &b->c.error;
  if (given != stmt->param_count) {
    lph_error_set(e, "parameter", "the statement takes %d parameter%s, but %d %s given", stmt->param_count,
                  stmt->param_count == 1 ? "" : "s", given, given == 1 ? "was" : "were");
    return false;
  }
  if (lph_params_begin(&b->c.params, given) != LPH_OK) return lph_error_oom(e), false;
  if (given == 0) return true;
  lvalue x = {.types = b->c.types, .level = b->level, .error = e};
  lph_error_clear(e);
  if (LPH_UNLIKELY(b->has_codecs || b->options.json == LJSON_CJSON)) {
    lcompat_getstore(L, 1);
    int store = lua_gettop(L);
    lua_rawgeti(L, store, LSTORE_CODECS);
    if (b->has_codecs) x.codecs = store + 1;
    lua_rawgeti(L, store, LSTORE_JSON_ENCODE);
    if (b->options.json == LJSON_CJSON && lua_isfunction(L, -1)) x.cjson = store + 2;
  }
  for (int i = 0; i < given; i++)
    if (lvalue_put(L, &x, first + i, stmt->param_types[i], &b->c.params, i + 1) != LPH_OK) return false;
  lph_params_seal(&b->c.params);
  return lph_op_check_params(&b->c, &b->c.params) == LPH_OK;
}

/* What the verb makes of the answer that has come. */
int lrun_take_result(lua_State *L, lconn *b) {
  PGresult *res = b->c.op.result;
  lph_stmt *stmt = b->c.op.stmt;
  if (LPH_UNLIKELY(LVERB_OF(b->verb) >= LVERB_STREAM)) return lstream_push(L, b, stmt);
  if (res == NULL || stmt == NULL) {
    lph_error_set(&b->c.error, "protocol", "the server gave no answer");
    return lerror_push(L, &b->c.error, 0);
  }
  int n = -1;
  /* An unnamed statement is parsed again; a FETCH has the columns of what its cursor is by now. */
  if (LPH_UNLIKELY(!lph_stmts_follow(&b->c.stmts, stmt, b->c.types, res))) {
    stmt->described = false;
    lph_error_set(&b->c.error, "decode",
                  "the columns of this statement changed to types not known yet; run it again");
    b->c.error.sent = LPH_SENT_YES;
  } else {
    n = lrows_push(L, b, 1, stmt, b->verb);
  }
  lph_op_drop_result(&b->c.op);
  if (n < 0) return lerror_push(L, &b->c.error, 0);
  if (LPH_LIKELY(!b->keep_notices || b->c.notice_count == 0)) return n;
  lua_pushnil(L);
  lua_pushliteral(L, "notices");
  return n + 2;
}

/* The description has arrived: statement and Lua side learn it. */
static bool take_description(lconn *b) {
  lph_stmt *stmt = b->c.op.stmt;
  bool ok = b->c.op.result != NULL && lph_stmts_describe(&b->c.stmts, stmt, b->c.op.result) == LPH_OK;
  PQclear(b->c.op.result);
  b->c.op.result = NULL;
  if (!ok) lph_error_oom(&b->c.error);
  return ok;
}

static int fail(lua_State *L, lconn *b, int sql) { return lerror_push(L, &b->c.error, sql); }

static int prepare(lua_State *L, lconn *b, lph_stmt *stmt, lph_want *ended) {
  lph_want want = (lph_want)lph_op_prepare(&b->c, stmt);
  if (want > LPH_DONE && b->blocking) want = lrun_wait(b, want);
  *ended = want;
  if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
  if (want == LPH_FAILED) return lrun_push_failure(L, b, 3);
  return take_description(b) ? 0 : fail(L, b, 3);
}

/* A value was refused for a type that was described some calls ago: it may be another one by now. Not inside a
 * transaction, which a preparation that fails would end. */
static bool may_have_changed(lconn *b, lph_stmt *stmt) {
  const lph_error *e = &b->c.error;
  if (stmt->fresh || e->param < 1 || e->param > stmt->param_count) return false;
  if (b->c.txn.depth > 0 || PQtransactionStatus(b->c.pg) != PQTRANS_IDLE) return false;
  if (stmt->param_oids[e->param - 1] >= LPH_FIRST_USER_OID) lph_typemap_doubt(b->c.types);
  stmt->described = false;
  return true;
}

/* 1: self  2: code  3: sql  4...: parameters. `first`: not a rerun */
static int run_statement(lua_State *L, lconn *b, bool first) {
  int last = lua_gettop(L);
  if (last - 3 > LPH_PARAMS_MAX) {
    lph_error_set(&b->c.error, "parameter",
                  "%d parameters; PostgreSQL takes at most 65535 (send an array instead)", last - 3);
    return fail(L, b, 3);
  }
  luaL_checkstack(L, 24, "statement");
  lph_stmt *stmt = lrun_find_stmt(L, b, 3, last);
  if (stmt == NULL) return fail(L, b, 3);
  if (LPH_LIKELY(first)) stmt->fresh = false;
  if (LVERB_OF(b->verb) == LVERB_DESCRIBE && !stmt->fresh)
    stmt->described = false; /* who asks wants to know */
  if (LPH_UNLIKELY(!lph_stmts_is_ready(&b->c.stmts, stmt))) {
    lph_want ended;
    int n = prepare(L, b, stmt, &ended);
    if (n > 0) return n;
  }
  bool bound = stmt->bound && stmt->types_version == lph_typemap_version(b->c.types);
  if (LPH_UNLIKELY(!bound) && lph_stmts_bind(&b->c.stmts, stmt, b->c.types, NULL, 0) > 0) {
    b->untyped = stmt;
    return lrun_push_pending(L, "types");
  }
  if (LVERB_OF(b->verb) == LVERB_DESCRIBE) return lrows_push_description(L, stmt), 1;
  if (!lrun_encode(L, b, stmt, 4, last - 3))
    return may_have_changed(b, stmt) ? lrun_push_pending(L, "again") : fail(L, b, 3);
  if (LPH_UNLIKELY(stmt->prints_floats && LVERB_OF(b->verb) == LVERB_STREAM && (b->verb & LVERB_EXACT) == 0))
    return lrun_push_pending(L, "digits");
  bool travels_alone = stmt->is_copy || LVERB_OF(b->verb) == LVERB_STREAM;
  if (LPH_UNLIKELY(travels_alone && lph_txn_is_pending(&b->c.txn))) return lrun_push_pending(L, "open");
  b->c.txn.rides = (b->verb & LVERB_RIDES) != 0;
  bool streams = LVERB_OF(b->verb) >= LVERB_STREAM;
  lph_want want = LPH_UNLIKELY(streams) ? lstream_begin(L, b, stmt)
                                        : (lph_want)lph_op_execute(&b->c, stmt, &b->c.params);
  b->c.txn.rides = false; /* also where there was none: COPY */
  lph_params_shrink(&b->c.params);
  if (LPH_LIKELY(want > LPH_DONE && b->blocking)) want = lrun_wait(b, want);
  if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
  return want == LPH_FAILED ? lrun_push_failure(L, b, 3) : lrun_take_result(L, b);
}

/* An operation that has ended is not over while somebody has yet to take its result. */
bool lrun_is_free(lconn *b) {
  if (lph_conn_check_idle(&b->c) != LPH_OK) return false;
  if (LPH_LIKELY(!b->untaken && !b->held && b->owner == NULL && !b->forsaken)) return true;
  lph_error_set(&b->c.error, "busy", "another statement is under way on this connection");
  return false;
}

static void start_clock(lconn *b) {
  double seconds = b->has_next_timeout ? b->next_timeout : b->timeout;
  b->has_next_timeout = false;
  b->seconds = seconds;
  b->deadline = LPH_LIKELY(seconds < 0) ? LPH_NEVER : lph_deadline(seconds);
  if (LPH_UNLIKELY(b->ceiling >= 0)) b->deadline = lph_sooner(b->deadline, b->ceiling);
}

bool lrun_is_ahead(lconn *b) {
  if (LPH_LIKELY(b->reader == NULL && b->owner == NULL && !b->ahead && !b->forsaken)) return false;
  if (b->c.state != LPH_BUSY && b->c.state != LPH_IDLE) return false;
  start_clock(b);
  return true;
}

/* A call that would begin too late, or outside of the transaction it was meant for. */
static bool must_not_begin(lconn *b) {
  if (LPH_UNLIKELY(b->ceiling >= 0 && lph_is_past(b->ceiling))) {
    lph_error_set(&b->c.error, "query_timeout", "the deadline had passed before this statement was sent");
    return true;
  }
  if (LPH_LIKELY(b->c.txn.depth == 0 || !b->c.txn.strayed)) return false;
  lph_error_set(&b->c.error, "tx_state",
                "a statement before this one ended the transaction, and nothing more runs in its name");
  return true;
}

/* The deadline of a call that is under way stays as it is. */
bool lrun_begin_call(lconn *b) {
  if (LPH_UNLIKELY(!lrun_is_free(b) || must_not_begin(b))) {
    b->has_next_timeout = false; /* it was this call's */
    return false;
  }
  start_clock(b);
  return true;
}

static int checked_run(lua_State *L, lconn *b, bool first) {
  int code = (int)luaL_checkinteger(L, 2);
  if (LPH_UNLIKELY(lua_type(L, 3) != LUA_TSTRING)) return lrun_push_pending(L, "request");
  if (LPH_UNLIKELY(b->observed) && first && (code & LVERB_SEEN) == 0) return lrun_push_pending(L, "observe");
  if (LPH_UNLIKELY(first && lrun_is_ahead(b))) return lrun_push_pending(L, "ahead");
  if (!(first ? lrun_begin_call(b) : lrun_is_free(b))) return fail(L, b, 3);
  b->verb = code;
  return run_statement(L, b, first);
}

int lrun_gate(lua_State *L) {
  lconn *b = lbox_self(L, 1, &lconn_class);
  if (LPH_UNLIKELY(b->yields && !lua_isyieldable(L))) return lrun_push_pending(L, "r");
  return lenter_through(L, b);
}

/* conn:run(code, sql, ...) -> result | PENDING, want | nil, err, stale; see the head of lconn.c */
int lconn_run(lua_State *L) { return checked_run(L, inside(L), true); }

/* The same call goes on (after a preparation, a type lookup): its deadline stays.
 * conn:rerun(code, sql, ...) -> result | PENDING, want | nil, err, stale */
int lconn_rerun(lua_State *L) { return checked_run(L, inside(L), false); }

static int push_script(lua_State *L, lconn *b);

/* "floats": there are some among the rows, which are text; see flight.h about extra_float_digits.
 * conn:script(text) -> PENDING, want | list | list, nil, "floats" | nil, err */
int lconn_script(lua_State *L) {
  lconn *b = inside(L);
  size_t len;
  const char *sql = luaL_checklstring(L, 2, &len);
  if (LPH_UNLIKELY(lrun_is_ahead(b))) return lrun_push_pending(L, "ahead");
  if (!lrun_begin_call(b)) return fail(L, b, 2);
  if (strlen(sql) != len) {
    lph_error_set(&b->c.error, "parameter", "the SQL text contains a NUL byte");
    return fail(L, b, 2);
  }
  if (lph_op_check_text(&b->c, len) != LPH_OK) return fail(L, b, 2);
  if (b->c.txn.depth > 0 && b->c.txn.on_server == 0 && b->c.txn.setting_count > 0)
    return lrun_push_pending(L, "open");
  lph_want want = (lph_want)lph_op_script(&b->c, sql);
  if (want > LPH_DONE && b->blocking) want = lrun_wait(b, want);
  if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
  return want == LPH_FAILED ? lrun_push_failure(L, b, 2) : push_script(L, b);
}

static int push_script(lua_State *L, lconn *b) {
  lph_op *op = &b->c.op;
  luaL_checkstack(L, 16, "script");
  b->script_floats = false;
  lua_createtable(L, op->result_count, 0);
  for (int i = 0; i < op->result_count; i++) {
    if (lrows_push_script(L, b, 1, op->results[i]) < 0) return fail(L, b, 0);
    lua_rawseti(L, -2, i + 1);
  }
  lph_op_reset(op);
  if (LPH_LIKELY(!b->script_floats)) return 1;
  lua_pushnil(L);
  lua_pushliteral(L, "floats");
  return 3;
}

/* ---- stepping ------------------------------------------------------------------------------------------------------------ */

/* conn:step() -> "r" | "w" | "rw" | "done" | nil, err, stale */
int lconn_step(lua_State *L) {
  lconn *b = inside(L);
  if (LPH_UNLIKELY(lbatch_is_running(b))) return lbatch_step(L, b);
  bool was_busy = b->c.state == LPH_BUSY;
  lph_want want = lph_conn_step(&b->c);
  if (want == LPH_FAILED) return lrun_push_failure(L, b, 0);
  /* Of a COPY it may only be the caller's turn. */
  if (want == LPH_DONE && was_busy && b->c.state != LPH_BUSY) b->untaken = !b->c.op.discarding;
  lua_pushstring(L, lrun_want_name(want));
  return 1;
}

/* conn:take() -> result | PENDING, want | nil, err */
int lconn_take(lua_State *L) {
  lconn *b = inside(L);
  lua_settop(L, 1);
  b->untaken = false;
  if (b->c.state == LPH_BUSY && b->c.op.kind == LPH_OP_COPY) return lua_pushboolean(L, 1), 1;
  if ((b->c.state == LPH_BUSY && !b->c.op.portion) || b->c.state == LPH_DIALING)
    return luaL_error(L, "the operation has not ended yet");
  switch (b->c.op.kind) {
    case LPH_OP_PREPARE: return take_description(b) ? lrun_push_pending(L, "again") : fail(L, b, 0);
    case LPH_OP_SCRIPT: return push_script(L, b);
    case LPH_OP_CONTROL: return lua_pushboolean(L, 1), 1;
    case LPH_OP_BATCH: return lbatch_take(L, b);
    case LPH_OP_COPY: return lcopy_take(L, b);
    default: return lrun_take_result(L, b);
  }
}
