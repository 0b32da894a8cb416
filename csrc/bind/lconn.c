/* lconn.c - the connection as Lua sees it: dialling, running statements, stepping.
 *
 * The Lua side (connection.lua, drive.lua) waits; this side never does - except that under the
 * plain waiter, where the whole program has one thing to wait for, `run` polls inside C and spares
 * the way out and back (wait_blocking).
 *
 *   conn:run(code, sql, ...)  -> what the verb returns
 *                             |  PENDING, want      an operation is under way: wait, step, then take
 *                             |  PENDING, "types"   user types must be looked up first, then rerun
 *                             |  PENDING, "request" `sql` is no text: a table with options, or misuse
 *                             |  nil, err [, "stale"]   "stale": nothing ran and the statement was
 *                                                       forgotten; running it again may help
 *                                       "unread": failed in the middle; cancel, then step to the end
 *   conn:step()               -> want | "done" | nil, err [, "stale" | "unread"]
 *   conn:take()               -> as run; PENDING, "again" after a preparation: rerun
 *
 * run, too, answers PENDING, "again": when a value does not fit the description it was given some calls ago.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lconn.h"

#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "bind/bind.h"
#include "bind/lenter.h"
#include "bind/lerror.h"
#include "bind/lrows.h"
#include "bind/lsession.h"

static const char pending_mark; /* its address is PENDING */

static lconn *lconn_check(lua_State *L) { return lbox_self(L, 1, &lconn_class); }
static lconn *inside(lua_State *L) { return lua_touserdata(L, 1); } /* lenter.c has checked it */

/* ---- configuration -------------------------------------------------------------------------------------- */

static int choice(lua_State *L, int at, const char *key, const char *const names[]) {
  lua_getfield(L, at, key);
  int found = 0;
  if (!lua_isnil(L, -1)) {
    const char *name = luaL_checkstring(L, -1);
    while (names[found] != NULL && strcmp(names[found], name) != 0) found++;
    if (names[found] == NULL) luaL_error(L, "%s cannot be \"%s\"", key, name);
  }
  lua_pop(L, 1);
  return found;
}

static double number(lua_State *L, int at, const char *key, double otherwise) {
  lua_getfield(L, at, key);
  double n = lua_isnil(L, -1) ? otherwise : luaL_checknumber(L, -1);
  lua_pop(L, 1);
  return n;
}

static bool flag(lua_State *L, int at, const char *key) {
  lua_getfield(L, at, key);
  bool on = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return on;
}

/* A function of the options becomes an entry of the store. */
static void store_function(lua_State *L, int options, int box, const char *key, int slot) {
  lua_getfield(L, options, key);
  if (lua_isfunction(L, -1)) {
    lcompat_getstore(L, box);
    lua_insert(L, -2);
    lua_rawseti(L, -2, slot);
  }
  lua_pop(L, 1);
}

static void note_evicted(void *arg, unsigned long serial) {
  lconn *b = arg;
  lph_buf_add(&b->evicted, &serial, sizeof serial); /* without memory one table stays a little longer */
  if (b->untyped != NULL && b->untyped->serial == serial) b->untyped = NULL;
  if (b->c.op.stmt != NULL && b->c.op.stmt->serial == serial) b->c.op.stmt = NULL;
}

static void configure(lua_State *L, lconn *b, int options) {
  static const char *const int8[] = {"auto", "string", "number", "cdata", NULL};
  static const char *const numeric[] = {"string", "number", NULL};
  static const char *const json[] = {"table", "text", "cjson", NULL};
  static const char *const datetime[] = {"text", "table", "epoch", NULL};
  static const char *const format[] = {"auto", "text", "binary", NULL};
  b->options.int8 = (unsigned char)choice(L, options, "int8", int8);
  b->options.numeric = (unsigned char)choice(L, options, "numeric", numeric);
  b->options.json = (unsigned char)choice(L, options, "json", json);
  b->options.datetime = (unsigned char)choice(L, options, "datetime", datetime);
  b->c.stmts.format = (lph_format_choice)choice(L, options, "result_format", format);
  b->c.stmts.unnamed = flag(L, options, "unnamed");
  b->blocking = flag(L, options, "blocking");
  b->keep_notices = flag(L, options, "keep_notices");
  b->timeout = number(L, options, "timeout", -1);
  b->c.max_result_bytes = (size_t)number(L, options, "max_result_bytes", 0);
}

int lconn_new(lua_State *L) {
  luaL_checktype(L, 1, LUA_TTABLE);
  lua_settop(L, 1);
  lconn *b = lbox_new(L, &lconn_class, sizeof *b);
  lph_conn_init(&b->c);
  b->deadline = LPH_NEVER;
  lph_stmts_init(&b->c.stmts, (size_t)number(L, 1, "statement_cache_size", 256),
                 (size_t)number(L, 1, "statement_cache_bytes", 8388608));
  b->c.stmts.on_evict = note_evicted;
  b->c.stmts.on_evict_arg = b;
  lua_getfield(L, 1, "types");
  struct lph_typemap *map = ltypemap_test(L, -1);
  lua_pop(L, 1);
  b->c.types = map != NULL ? lph_typemap_retain(map) : lph_typemap_new();
  if (b->c.types == NULL) return luaL_error(L, "not enough memory");
  configure(L, b, 1);
  store_function(L, 1, 2, "json_decode", LSTORE_JSON_DECODE);
  store_function(L, 1, 2, "json_encode", LSTORE_JSON_ENCODE);
  store_function(L, 1, 2, "make_int64", LSTORE_INT64);
  store_function(L, 1, 2, "make_constructor", LSTORE_CONSTRUCTOR);
  return 1;
}

static int lconn__gc(lua_State *L) {
  lconn *b = lconn_check(L);
  if (b->entered) return lenter_close(b), 0; /* called by hand; the collector comes again */
  b->finalized = true;
  lph_conn_clear(&b->c);
  lph_buf_free(&b->scratch);
  lph_buf_free(&b->evicted);
  for (int i = 0; i < LVALUE_DEPTH; i++) lph_buf_free(&b->level[i]);
  lph_stmts_clear_description(&b->script);
  return 0;
}

/* ---- small helpers ------------------------------------------------------------------------------------------ */

static int push_pending(lua_State *L, const char *what) {
  lua_pushlightuserdata(L, (void *)&pending_mark);
  lua_pushstring(L, what);
  return 2;
}

static const char *want_name(lph_want want) {
  static const char *const names[] = {"done", "r", "w", "rw"};
  return names[want];
}

static void forget_evicted(lua_State *L, lconn *b, int box) {
  lcompat_getstore(L, box);
  for (size_t at = 0; at < b->evicted.len; at += sizeof(unsigned long)) {
    unsigned long serial;
    memcpy(&serial, b->evicted.data + at, sizeof serial);
    lua_pushnil(L);
    lua_rawseti(L, -2, (int)serial);
  }
  lph_buf_clear(&b->evicted);
  lua_pop(L, 1);
}

void lconn_cell(lua_State *L, lconn *b, int box, bool binary, lcell *x) {
  *x = (lcell){.options = b->options, .types = b->c.types, .scratch = &b->scratch, .binary = binary};
  lph_buf_clear(&b->scratch);
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

/* A cached statement the server has no use for any more, in a state where nothing was lost by it? */
static bool went_stale(lconn *b) {
  lph_error *e = &b->c.error;
  lph_stmt *stmt = b->c.op.stmt;
  if (stmt == NULL || b->c.state != LPH_IDLE) return false;
  if (!lph_stmt_is_stale(stmt, b->c.op.kind == LPH_OP_PREPARE, e)) return false;
  lph_stmts_distrust(&b->c.stmts, stmt, e->sqlstate);
  if (PQtransactionStatus(b->c.pg) == PQTRANS_IDLE) return true;
  lph_error_put(
    e, LPH_E_HINT,
    "The prepared statement no longer fits the schema, or a pooler moved this session (behind one, connect "
    "with pooler = \"transaction\"). It could not be prepared anew inside the failed transaction: roll back "
    "and run the transaction again.");
  return false;
}

/* After LPH_FAILED. `sql`: stack slot of the text, or 0. */
static int push_failure(lua_State *L, lconn *b, int sql) {
  bool stale = went_stale(b);
  if (!stale && b->c.state == LPH_IDLE && b->c.op.kind == LPH_OP_PREPARE && b->c.op.stmt != NULL) {
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

/* Steps until the operation ends. > 0: interrupted by the deadline or a signal, still under way. */
static lph_want wait_blocking(lconn *b, lph_want want) {
  while (want > LPH_DONE) {
    struct pollfd p = {lph_conn_fd(&b->c), 0, 0};
    p.events = (short)((want & LPH_WANT_READ ? POLLIN : 0) | (want & LPH_WANT_WRITE ? POLLOUT : 0));
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

static lph_stmt *find_stmt(lua_State *L, lconn *b, int sql, int last) {
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
  if (b->evicted.len > 0) forget_evicted(L, b, 1);
  return stmt;
}

static bool encode(lua_State *L, lconn *b, lph_stmt *stmt, int first, int given) {
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
static int take_result(lua_State *L, lconn *b) {
  PGresult *res = b->c.op.result;
  lph_stmt *stmt = b->c.op.stmt;
  if (res == NULL || stmt == NULL) {
    lph_error_set(&b->c.error, "protocol", "the server gave no answer");
    return lerror_push(L, &b->c.error, 0);
  }
  int n = -1;
  if (LPH_UNLIKELY(stmt->name[0] == '\0' && !lph_stmts_follow(&b->c.stmts, stmt, b->c.types, res))) {
    stmt->described = false;
    lph_error_set(&b->c.error, "decode",
                  "the columns of this statement changed to types not known yet; run it again");
    b->c.error.sent = LPH_SENT_YES;
  } else {
    n = lrows_push(L, b, 1, stmt, res, b->verb);
  }
  PQclear(b->c.op.result);
  b->c.op.result = NULL;
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
  if (want > LPH_DONE && b->blocking) want = wait_blocking(b, want);
  *ended = want;
  if (want > LPH_DONE) return push_pending(L, want_name(want));
  if (want == LPH_FAILED) return push_failure(L, b, 3);
  return take_description(b) ? 0 : fail(L, b, 3);
}

/* A value was refused for a type that was described some calls ago: it may be another one by now. Not inside a
 * transaction, which a preparation that fails would end. */
static bool may_have_changed(lconn *b, lph_stmt *stmt) {
  const lph_error *e = &b->c.error;
  if (stmt->fresh || e->param < 1 || e->param > stmt->param_count) return false;
  if (PQtransactionStatus(b->c.pg) != PQTRANS_IDLE) return false;
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
  lph_stmt *stmt = find_stmt(L, b, 3, last);
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
    return push_pending(L, "types");
  }
  if (LVERB_OF(b->verb) == LVERB_DESCRIBE) return lrows_push_description(L, stmt), 1;
  if (!encode(L, b, stmt, 4, last - 3))
    return may_have_changed(b, stmt) ? push_pending(L, "again") : fail(L, b, 3);
  lph_want want = (lph_want)lph_op_execute(&b->c, stmt, &b->c.params);
  lph_params_shrink(&b->c.params);
  if (LPH_LIKELY(want > LPH_DONE && b->blocking)) want = wait_blocking(b, want);
  if (want > LPH_DONE) return push_pending(L, want_name(want));
  return want == LPH_FAILED ? push_failure(L, b, 3) : take_result(L, b);
}

/* An operation that has ended is not over while somebody has yet to take its result. */
static bool is_free(lconn *b) {
  if (lph_conn_check_idle(&b->c) != LPH_OK) return false;
  if (LPH_LIKELY(!b->untaken && !b->held)) return true;
  lph_error_set(&b->c.error, "busy", "another statement is under way on this connection");
  return false;
}

static int checked_run(lua_State *L, lconn *b, bool first) {
  int code = (int)luaL_checkinteger(L, 2);
  if (LPH_UNLIKELY(lua_type(L, 3) != LUA_TSTRING)) return push_pending(L, "request");
  if (!is_free(b)) return fail(L, b, 3);
  b->verb = code;
  return run_statement(L, b, first);
}

static void start_clock(lconn *b) {
  double seconds = b->has_next_timeout ? b->next_timeout : b->timeout;
  b->has_next_timeout = false;
  b->deadline = LPH_LIKELY(seconds < 0) ? LPH_NEVER : lph_deadline(seconds);
}

/* conn:run(code, sql, ...) -> result | PENDING, want | nil, err, stale; see the head of lconn.c */
static int lconn_run(lua_State *L) {
  lconn *b = inside(L);
  start_clock(b);
  return checked_run(L, b, true);
}

/* The same call goes on (after a preparation, a type lookup): its deadline stays.
 * conn:rerun(code, sql, ...) -> result | PENDING, want | nil, err, stale */
static int lconn_rerun(lua_State *L) { return checked_run(L, inside(L), false); }

static int push_script(lua_State *L, lconn *b);

/* conn:script(text) -> PENDING, want | list | nil, err */
static int lconn_script(lua_State *L) {
  lconn *b = inside(L);
  size_t len;
  const char *sql = luaL_checklstring(L, 2, &len);
  start_clock(b);
  if (!is_free(b)) return fail(L, b, 2);
  if (strlen(sql) != len) {
    lph_error_set(&b->c.error, "parameter", "the SQL text contains a NUL byte");
    return fail(L, b, 2);
  }
  if (lph_op_check_text(&b->c, len) != LPH_OK) return fail(L, b, 2);
  lph_want want = (lph_want)lph_op_script(&b->c, sql);
  if (want > LPH_DONE && b->blocking) want = wait_blocking(b, want);
  if (want > LPH_DONE) return push_pending(L, want_name(want));
  return want == LPH_FAILED ? push_failure(L, b, 2) : push_script(L, b);
}

static int push_script(lua_State *L, lconn *b) {
  lph_op *op = &b->c.op;
  luaL_checkstack(L, 16, "script");
  lua_createtable(L, op->result_count, 0);
  for (int i = 0; i < op->result_count; i++) {
    if (lrows_push_script(L, b, 1, op->results[i]) < 0) return fail(L, b, 0);
    lua_rawseti(L, -2, i + 1);
  }
  lph_op_reset(op);
  return 1;
}

/* ---- stepping ------------------------------------------------------------------------------------------------------------ */

/* conn:step() -> "r" | "w" | "rw" | "done" | nil, err, stale */
static int lconn_step(lua_State *L) {
  lconn *b = inside(L);
  bool was_busy = b->c.state == LPH_BUSY;
  lph_want want = lph_conn_step(&b->c);
  if (want == LPH_FAILED) return push_failure(L, b, 0);
  if (want == LPH_DONE && was_busy) b->untaken = !b->c.op.discarding;
  lua_pushstring(L, want_name(want));
  return 1;
}

/* conn:take() -> result | PENDING, want | nil, err */
static int lconn_take(lua_State *L) {
  lconn *b = inside(L);
  lua_settop(L, 1);
  b->untaken = false;
  if (b->c.state == LPH_BUSY || b->c.state == LPH_DIALING)
    return luaL_error(L, "the operation has not ended yet");
  switch (b->c.op.kind) {
    case LPH_OP_PREPARE: return take_description(b) ? push_pending(L, "again") : fail(L, b, 0);
    case LPH_OP_SCRIPT: return push_script(L, b);
    default: return take_result(L, b);
  }
}

/* conn:fd() -> fd; may change from step to step, -1 = none */
static int lconn_fd(lua_State *L) {
  lua_pushinteger(L, lph_conn_fd(&lconn_check(L)->c));
  return 1;
}

/* conn:set_timeout([seconds]); the next call's time limit, nil = none, in spite of the default */
static int lconn_set_timeout(lua_State *L) {
  lconn *b = lconn_check(L);
  b->next_timeout = lua_isnoneornil(L, 2) ? -1 : luaL_checknumber(L, 2);
  b->has_next_timeout = true;
  return 0;
}

/* conn:deadline() -> number | nil; of the call under way, on core.now()'s clock */
static int lconn_deadline(lua_State *L) {
  lconn *b = lconn_check(L);
  if (b->deadline < 0) return 0;
  lua_pushnumber(L, b->deadline);
  return 1;
}

/* conn:set_deadline([at]) */
static int lconn_set_deadline(lua_State *L) {
  lconn_check(L)->deadline = lua_isnoneornil(L, 2) ? LPH_NEVER : luaL_checknumber(L, 2);
  return 0;
}

/* conn:discard(); the answer under way is of no interest any more */
static int lconn_discard(lua_State *L) {
  lph_op_discard(&lconn_check(L)->c);
  return 0;
}

/* conn:close(); idempotent, never waits */
static int lconn_close(lua_State *L) {
  lenter_close(lconn_check(L));
  return 0;
}

/* conn:hold(on); refuses new statements while a cancel request is on its way */
static int lconn_hold(lua_State *L) {
  lconn_check(L)->held = lua_toboolean(L, 2);
  return 0;
}

/* ---- dialling ---------------------------------------------------------------------------------------------------------------- */

/* { keyword1, value1, keyword2, value2, ... }; a negative time limit is none:
 * conn:dial(parameters [, connect_timeout, attempt_timeout, allow_plaintext]) -> true | nil, err */
static int lconn_dial(lua_State *L) {
  lconn *b = lconn_check(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  int n = (int)lua_rawlen(L, 2) / 2;
  lph_dial_options o = {.connect_timeout = luaL_optnumber(L, 3, -1),
                        .attempt_timeout = luaL_optnumber(L, 4, -1),
                        .allow_plaintext_password = lua_toboolean(L, 5)};
  luaL_checkstack(L, 2 * n + 8, "connection parameters");
  /* The two arrays live in a userdata; the strings stay anchored in the table. */
  const char **lists = lua_newuserdata(L, sizeof *lists * 2 * (size_t)(n + 1));
  for (int i = 0; i < n; i++) {
    lua_rawgeti(L, 2, 2 * i + 1);
    lua_rawgeti(L, 2, 2 * i + 2);
    lists[i] = luaL_checkstring(L, -2);
    lists[n + 1 + i] = luaL_checkstring(L, -1);
  }
  lists[n] = lists[2 * n + 1] = NULL;
  o.keywords = lists;
  o.values = lists + n + 1;
  lph_stmts_forget_names(&b->c.stmts);
  if (lph_conn_dial(&b->c, &o) != LPH_OK) return fail(L, b, 0);
  lua_pushboolean(L, 1);
  return 1;
}

/* ---- codecs of the user ------------------------------------------------------------------------------------------------------- */

/* conn:set_codecs([codecs]); OID -> { decode =, encode = } */
static int lconn_set_codecs(lua_State *L) {
  lconn *b = lconn_check(L);
  lua_settop(L, 2);
  b->has_codecs = lua_istable(L, 2);
  lcompat_getstore(L, 1);
  lua_pushvalue(L, 2);
  lua_rawseti(L, -2, LSTORE_CODECS);
  return 0;
}

/* conn:unknown_types() -> { oid, ... }; of the statement that waits for types, right after run said so */
static int lconn_unknown_types(lua_State *L) {
  lconn *b = lconn_check(L);
  lph_oid unknown[64];
  lua_newtable(L);
  lph_stmt *stmt = b->untyped;
  b->untyped = NULL;
  if (stmt == NULL) return 1;
  int n = lph_stmts_bind(&b->c.stmts, stmt, b->c.types, unknown, (int)lph_countof(unknown));
  for (int i = 0; i < n && i < (int)lph_countof(unknown); i++) {
    lua_pushnumber(L, unknown[i]);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static const luaL_Reg conn_methods[] = {{"fd", lconn_fd},
                                        {"set_timeout", lconn_set_timeout},
                                        {"deadline", lconn_deadline},
                                        {"set_deadline", lconn_set_deadline},
                                        {"close", lconn_close},
                                        {"hold", lconn_hold},
                                        {"set_codecs", lconn_set_codecs},
                                        LSESSION_METHODS,
                                        {NULL, NULL}};
/* Those that read memory Lua does not own while Lua may allocate, or change what is read so. */
static const lenter_method entered_methods[] = {{"run", lconn_run, false},
                                                {"rerun", lconn_rerun, false},
                                                {"script", lconn_script, false},
                                                {"step", lconn_step, false},
                                                {"take", lconn_take, false},
                                                {"discard", lconn_discard, false},
                                                {"dial", lconn_dial, false},
                                                {"unknown_types", lconn_unknown_types, false},
                                                {"next_notice", lsession_next_notice, false},
                                                {"attempts", lsession_attempts, true},
                                                {"start_cancel", lcancel_start, true},
                                                {"parameter_status", lsession_parameter_status, true},
                                                {"tls", lsession_tls, true},
                                                {"target", lsession_target, true},
                                                {NULL, NULL, false}};
static const luaL_Reg conn_meta[] = {{"__gc", lconn__gc}, {"__close", lconn_close}, {NULL, NULL}};
const lbox_class lconn_class = {"luphant.core.conn", conn_methods, conn_meta};

void lconn_open(lua_State *L) {
  lbox_open(L, &lconn_class);
  lenter_open(L, entered_methods);
  lua_pushlightuserdata(L, (void *)&pending_mark);
  lua_setfield(L, -2, "PENDING"); /* of the module table on top */
}
