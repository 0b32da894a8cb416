/* lbatchrun.c - running a batch: its list goes out, what comes back becomes what each verb returns.
 *
 *   conn:batch(batch, isolated, style [, again])
 *        -> true                     it has ended; batch:results() has what the statements gave
 *        |  PENDING, want            under way: step, then take
 *        |  PENDING, "types"         user types must be looked up first, then again
 *        |  nil, err [, "stale"]     "stale": nothing of it is there, and running it again may help
 *                       "unread"     failed in the middle; cancel, then step to the end
 *
 * Results become values as they arrive: a PGresult takes some kilobytes, and there may be a hundred thousand of them.
 *
 * SPDX-License-Identifier: MIT */
#include <poll.h>
#include <stdlib.h>

#include "base/clock.h"
#include "bind/lbatch.h"
#include "bind/lerror.h"
#include "bind/lrun.h"
#include "core/flight.h"
#include "core/outcome.h"
#include "core/sqlstate.h"
#include "crypto/crypto.h"

/* Statements behind the next one that are looked at for being prepared along with it, and how many different ones. */
#define LOOK_AHEAD 256
#define PREPARE_ALONG 32
#define MOST_TYPE_ROUNDS 8

/* What stands on the stack while a batch is worked on. */
enum { AT_CONN = 1, AT_BATCH, AT_LIST, AT_RESULTS };

/* conn batch -> conn batch list results */
static void spread(lua_State *L) {
  luaL_checkstack(L, 40, "batch");
  lua_settop(L, AT_BATCH);
  lcompat_getstore(L, AT_BATCH);
  lua_rawgeti(L, AT_LIST, LBATCH_RESULTS);
}

static void read_head(lua_State *L, int at, int *code, int *values) {
  lua_rawgeti(L, AT_LIST, at);
  lua_Integer head = lua_tointeger(L, -1);
  lua_pop(L, 1);
  *code = (int)(head % LBATCH_COUNT);
  *values = (int)(head / LBATCH_COUNT);
}

/* ---- failures ------------------------------------------------------------------------------------------- */

/* Notes b->c.error, or `err` on top of the stack, as what became of statement `index`. */
static void put_error(lua_State *L, int index, int at) {
  lua_pushinteger(L, index);
  lua_setfield(L, -2, "index");
  lua_rawgeti(L, AT_LIST, at + 1);
  lua_setfield(L, -2, "query");
  lua_rawgeti(L, AT_LIST, LBATCH_ERRORS);
  if (lua_isnil(L, -1)) {
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_rawseti(L, AT_LIST, LBATCH_ERRORS);
  }
  lua_insert(L, -2);
  lua_rawseti(L, -2, index);
  lua_settop(L, AT_RESULTS);
}

/* Statement `next` cannot be sent; b->c.error says why. Alone it is skipped, else it is the end. */
static void refuse_next(lua_State *L, lconn *b, lbatch *q, int values) {
  lph_conn *c = &b->c;
  if (q->isolated) {
    lerror_object(L, &c->error, 0);
    put_error(L, q->next, q->at);
    q->next++;
    q->at += values + 2;
    return;
  }
  lph_batch_stop(c->batch);
  if (lph_error_is_set(&c->op.failure)) return;
  lph_error_copy(&c->op.failure, &c->error);
  c->batch->failed = q->next;
  c->batch->failed_code = q->at;
}

/* ---- handing over --------------------------------------------------------------------------------------- */

/* In a run of one transaction: sends Parse and Describe of what comes next and is not ready, up to the first statement
 * that may change what names mean. */
static lph_err prepare_ahead(lua_State *L, lconn *b, lbatch *q) {
  lph_conn *c = &b->c;
  int at = q->at, top = lua_gettop(L), prepared = 0;
  for (int i = q->next; i <= q->count && i < q->next + LOOK_AHEAD && prepared < PREPARE_ALONG; i++) {
    int code, values;
    read_head(L, at, &code, &values);
    if (values > LPH_PARAMS_MAX) break;
    luaL_checkstack(L, values + 24, "statement");
    for (int k = 1; k <= values + 1; k++) lua_rawgeti(L, AT_LIST, at + k);
    lph_stmt *stmt = lrun_find_stmt(L, b, top + 1, top + 1 + values);
    lua_settop(L, top);
    if (stmt == NULL || stmt->is_barrier) break;
    if (stmt->pins == 0 && !lph_stmts_is_ready(&c->stmts, stmt)) {
      if (!lph_batch_has_place(c)) break;
      if (lph_batch_prepare(c, stmt, i, at) != LPH_OK) return LPH_EFAIL;
      prepared++;
    }
    at += values + 2;
  }
  return LPH_OK;
}

/* The statement has to be described before its values can be encoded. */
static lph_err prepare_next(lua_State *L, lconn *b, lbatch *q, lph_stmt *stmt) {
  lph_conn *c = &b->c;
  bool under_way = lph_batch_is_preparing(c->batch, stmt);
  lph_batch_wait_for(c->batch, stmt);
  if (under_way) return LPH_OK;
  if (lph_batch_prepare(c, stmt, q->next, q->at) != LPH_OK) return LPH_EFAIL;
  if (q->alone || stmt->is_barrier) return LPH_OK;
  return prepare_ahead(L, b, q);
}

/* A value was refused for a type that was described some calls ago: it may be another one by now. */
static bool may_have_changed(lconn *b, lph_stmt *stmt) {
  const lph_error *e = &b->c.error;
  if (stmt->fresh || e->param < 1 || e->param > stmt->param_count || b->c.batch->inside) return false;
  if (stmt->param_oids[e->param - 1] >= LPH_FIRST_USER_OID) lph_typemap_doubt(b->c.types);
  stmt->described = false;
  return true;
}

/* Results that were asked for under the old description are read under it: a new one gets a statement of its own. */
static lph_stmt *renewed(lua_State *L, lconn *b, lph_stmt *stmt, int first, int last) {
  if (stmt == NULL || stmt->pins == 0 || lph_batch_is_preparing(b->c.batch, stmt)) return stmt;
  lph_stmts_drop(&b->c.stmts, stmt);
  return lrun_find_stmt(L, b, first, last);
}

/* Wrapped values may ask for a statement of their own. */
static bool has_table(lua_State *L, int first, int last) {
  for (int i = first; i <= last; i++)
    if (lua_type(L, i) == LUA_TTABLE) return true;
  return false;
}

/* The statement for `next`, whose text is at stack slot `first`; NULL: b->c.error. */
static lph_stmt *find(lua_State *L, lconn *b, lbatch *q, int first, int last) {
  lph_stmt *stmt = b->c.batch->ready, *current = b->c.batch->current;
  if (stmt != NULL) return stmt;
  if (LPH_LIKELY(current != NULL && lua_tostring(L, first) == q->current_text) &&
      !has_table(L, first + 1, last) && lph_stmts_is_ready(&b->c.stmts, current) &&
      current->forced_count == 0 && !current->retired)
    return current;
  stmt = lrun_find_stmt(L, b, first, last);
  if (stmt != NULL && LPH_UNLIKELY(!lph_stmts_is_ready(&b->c.stmts, stmt)))
    return renewed(L, b, stmt, first, last);
  if (stmt != NULL) stmt->fresh = false;
  return stmt;
}

/* A type that the batch itself creates is gone whenever the batch is interrupted for looking it up. So that is not done
 * without end: what is unknown then travels as text. */
static bool is_bound(lconn *b, lbatch *q, lph_stmt *stmt) {
  if (LPH_LIKELY(stmt->bound && stmt->types_version == lph_typemap_version(b->c.types))) return true;
  if (lph_stmts_bind(&b->c.stmts, stmt, b->c.types, NULL, 0) == 0) return true;
  if (q->type_rounds == MOST_TYPE_ROUNDS) return true;
  q->type_rounds++;
  b->untyped = stmt;
  q->wants_types = true;
  lph_batch_stop(b->c.batch);
  return false;
}

static lph_err send_next(lua_State *L, lconn *b, lbatch *q, int values) {
  lph_conn *c = &b->c;
  int first = AT_RESULTS + 1, last = first + values;
  lph_stmt *stmt = find(L, b, q, first, last);
  if (stmt == NULL) return refuse_next(L, b, q, values), LPH_OK;
  if (LPH_UNLIKELY(stmt != c->batch->ready && !lph_stmts_is_ready(&c->stmts, stmt)))
    return prepare_next(L, b, q, stmt);
  if (LPH_UNLIKELY(!is_bound(b, q, stmt))) return LPH_OK;
  if (LPH_UNLIKELY(!lrun_encode(L, b, stmt, first + 1, values))) {
    bool again = may_have_changed(b, stmt); /* described anew the next time around */
    lph_batch_forget(c);                    /* which may be the end of it */
    return again ? LPH_OK : (refuse_next(L, b, q, values), LPH_OK);
  }
  if (lph_batch_execute(c, stmt, &c->params, q->next, q->at) != LPH_OK) return LPH_EFAIL;
  lph_params_shrink(&c->params);
  q->current_text = lua_tostring(L, first);
  q->at_barrier = stmt->is_barrier;
  if (LPH_UNLIKELY(c->batch->ready != NULL)) lph_batch_forget(c);
  q->started = q->next++;
  q->at += values + 2;
  return LPH_OK;
}

static lph_err hand_over(lua_State *L, lconn *b, lbatch *q) {
  int code, values;
  read_head(L, q->at, &code, &values);
  if (LPH_UNLIKELY(values > LPH_PARAMS_MAX)) {
    lph_error_set(&b->c.error, "parameter",
                  "%d parameters; PostgreSQL takes at most 65535 (send an array instead)", values);
    return refuse_next(L, b, q, values), LPH_OK;
  }
  luaL_checkstack(L, values + 24, "statement");
  for (int k = 1; k <= values + 1; k++) lua_rawgeti(L, AT_LIST, q->at + k);
  lph_err rc = send_next(L, b, q, values);
  lua_settop(L, AT_RESULTS);
  return rc;
}

/* Hands over what there is room for, and the end behind the last. */
static lph_err fill(lua_State *L, lconn *b, lbatch *q) {
  lph_conn *c = &b->c;
  while (q->next <= q->count && lph_batch_has_room(c)) {
    if (q->at_barrier && c->batch->count > 0) break;
    q->at_barrier = false;
    if (hand_over(L, b, q) != LPH_OK) return LPH_EFAIL;
  }
  if (c->batch->ended) return LPH_OK;
  bool all = q->next > q->count;
  if (!all && !c->batch->stopped) return lph_batch_ask(c);
  q->ended = true;
  return lph_batch_end(c, !all || c->batch->stopped);
}

/* ---- taking in ------------------------------------------------------------------------------------------ */

static int convert(lua_State *L) { return lrun_take_result(L, lua_touserdata(L, 1)); }

/* Functions of the user's may raise; what they raised is kept until the flight has ended. Answers the number of
 * values. */
static int convert_protected(lua_State *L, lconn *b) {
  int base = lua_gettop(L);
  lua_pushcfunction(L, convert);
  lua_pushvalue(L, AT_CONN);
  if (lua_pcall(L, 1, LUA_MULTRET, 0) == 0) return lua_gettop(L) - base;
  PQclear(b->c.op.result);
  b->c.op.result = NULL;
  lua_rawseti(L, AT_LIST, LBATCH_RAISED);
  return 0;
}

static void take_result(lua_State *L, lconn *b, lbatch *q, const lph_leg *leg) {
  int code, values;
  read_head(L, leg->code, &code, &values);
  if (LPH_LIKELY(code == LVERB_EXECUTE)) { /* what lrows_push makes of it, without the way there */
    const char *digits = PQcmdTuples(b->c.op.result);
    lua_pushinteger(L, digits[0] == '\0' ? 0 : (lua_Integer)strtoll(digits, NULL, 10));
    lua_rawseti(L, AT_RESULTS, leg->index);
    PQclear(b->c.op.result);
    b->c.op.result = NULL;
    return;
  }
  b->verb = (code & 15) + 16 * ((code & LBATCH_STYLED) != 0 ? (code & ~LBATCH_STYLED) >> 4 : q->style);
  b->c.op.stmt = leg->stmt;
  bool calls = b->has_codecs || b->options.json == LJSON_CJSON;
  int n = LPH_UNLIKELY(calls) ? convert_protected(L, b) : lrun_take_result(L, b);
  if (n == 2) {
    put_error(L, leg->index, leg->code);
  } else if (n > 0) { /* more than one: notices have come, which are told at the end */
    lua_pushvalue(L, -n);
    lua_rawseti(L, AT_RESULTS, leg->index);
  } else {
    q->has_raised = true;
  }
  lua_settop(L, AT_RESULTS);
}

/* In an isolated batch: one statement failed, or failed to be committed. */
static void take_error(lua_State *L, lconn *b, lbatch *q, const lph_leg *leg) {
  lph_conn *c = &b->c;
  lph_error *e = &c->error;
  bool preparing = leg->kind == LPH_LEG_PARSE;
  lph_outcome_result(c->pg, c->op.result, e);
  PQclear(c->op.result);
  c->op.result = NULL;
  bool awaited = preparing && leg->stmt == c->batch->waiting;
  bool stale = leg->stmt != NULL && lph_stmt_is_stale(leg->stmt, preparing, e);
  if (awaited) lph_batch_forget(c);
  if (stale) lph_stmts_distrust(&c->stmts, leg->stmt, e->sqlstate);
  if (preparing && !stale) lph_stmts_drop(&c->stmts, leg->stmt);
  if (preparing && (stale || !awaited || leg->index != q->next))
    return; /* it will be prepared in its place */
  if (stale)
    lph_error_put(
      e, LPH_E_HINT,
      "The prepared statement no longer fits the schema, and statements behind it had been sent: it "
      "could not be run again in its place. Run it again.");
  lua_pushnil(L);
  lua_rawseti(L, AT_RESULTS, leg->index);
  lerror_object(L, e, 0);
  put_error(L, leg->index, leg->code);
  if (!preparing) return;
  int code, values;
  read_head(L, q->at, &code, &values);
  q->next++;
  q->at += values + 2;
}

/* The answer for a statement has come already; it may be one that lacks digits. */
static void take_digits(lua_State *L, lconn *b, const lph_leg *leg) {
  PGresult *res = b->c.op.result;
  const char *setting = PQntuples(res) == 1 && PQnfields(res) == 1 ? PQgetvalue(res, 0, 0) : "1";
  if (atoi(setting) < 1) {
    lph_flight_refuse_digits(&b->c, leg->stmt, setting, &b->c.error);
    lua_pushnil(L);
    lua_rawseti(L, AT_RESULTS, leg->index);
    lerror_object(L, &b->c.error, 0);
    put_error(L, leg->index, leg->code);
  }
  PQclear(b->c.op.result);
  b->c.op.result = NULL;
}

static void take_leg(lua_State *L, lconn *b, lbatch *q, const lph_leg *leg) {
  ExecStatusType status = PQresultStatus(b->c.op.result);
  bool ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
  if (LPH_LIKELY(ok && leg->kind == LPH_LEG_EXECUTE)) {
    q->answered = leg->index;
    take_result(L, b, q, leg);
  } else if (ok && leg->kind == LPH_LEG_DIGITS) {
    take_digits(L, b, leg);
  } else {
    take_error(L, b, q, leg);
  }
  lph_batch_release(&b->c);
}

/* ---- the end -------------------------------------------------------------------------------------------- */

static void detach(lua_State *L) {
  lcompat_getstore(L, AT_CONN);
  lua_pushnil(L);
  lua_rawseti(L, -2, LSTORE_BATCH);
  lua_pop(L, 1);
}

/* Statements and helpers the server has lost, or that no longer fit: may the batch run again? */
static bool can_be_healed(lconn *b, lbatch *q, const lph_batch *batch) {
  lph_conn *c = &b->c;
  lph_error *e = &c->error;
  bool missing = strcmp(e->sqlstate, "26000") == 0 || strcmp(e->sqlstate, "42P05") == 0;
  if (c->op.culprit != NULL) return missing && !batch->inside;
  lph_stmt *stmt = batch->culprit;
  if (stmt == NULL || q->isolated) return false;
  if (lph_stmt_is_stale(stmt, batch->failed_preparing, e)) {
    lph_stmts_distrust(&c->stmts, stmt, e->sqlstate);
    if (!batch->inside) return true;
    if (lph_flight_had_begin(c)) return lph_txn_restart(&c->txn), true;
    lrun_hint_at_lost_statement(e);
    return false;
  }
  if (!batch->failed_preparing) return false;
  lph_stmts_drop(&c->stmts, stmt);
  /* What was prepared ahead may need what a function called before it makes. */
  bool was_ahead = batch->failed != q->next && !q->alone;
  q->alone = true;
  return was_ahead && !batch->inside;
}

/* LPH_FAILED and "stale" or NULL, or LPH_DONE. */
static lph_want finish(lconn *b, lbatch *q, const char **more) {
  lph_conn *c = &b->c;
  lph_want want = (lph_want)lph_batch_finish(c);
  lph_batch *batch = c->batch;
  if (batch == NULL) return LPH_FAILED; /* closed */
  q->kept = c->op.kept;
  if (want == LPH_FAILED) {
    q->failed = batch->failed;
    q->failed_at = batch->failed_code;
    if (can_be_healed(b, q, batch)) *more = "stale";
  } else if (batch->stopped && !q->wants_types && q->next <= q->count) {
    lph_error_set(&c->error, lph_sqlstate_kind("57014"),
                  "the batch was stopped before all of it had been sent");
    lph_error_sqlstate(&c->error, "57014");
    c->error.sent = LPH_SENT_YES;
    want = LPH_FAILED;
  }
  lph_batch_free(c);
  return want;
}

static bool is_too_big(lph_conn *c) {
  if (LPH_LIKELY(c->max_result_bytes == 0) || c->op.received / 2 <= c->max_result_bytes) return false;
  lph_error_set(&c->error, "result_too_big", "the result takes %zu bytes or more; max_result_bytes is %zu",
                c->op.received, c->max_result_bytes);
  c->error.sent = LPH_SENT_YES;
  return true;
}

/* Does what can be done now; the session is IDLE, CLOSED or - too big - to be discarded when it has ended. */
static lph_want go_on(lua_State *L, lconn *b, lbatch *q, const char **more) {
  lph_conn *c = &b->c;
  for (;;) {
    const lph_leg *leg;
    int want;
    lph_batch_pull(c);
    while ((want = lph_batch_next(c, &leg)) == LPH_DONE) take_leg(L, b, q, leg);
    if (want == LPH_FAILED) return LPH_FAILED;
    if (fill(L, b, q) != LPH_OK) return LPH_FAILED;
    if (lph_batch_is_over(c)) return finish(b, q, more);
    if (c->ssl != NULL && lph_tls_pending(c->ssl) > 0) continue;
    if (LPH_UNLIKELY(is_too_big(c))) {
      q->failed = q->answered + 1;
      lph_op_discard(c);
      *more = "unread";
      return LPH_FAILED;
    }
    return (lph_want)lph_batch_want(c);
  }
}

bool lbatch_is_running(const lconn *b) {
  return b->c.op.kind == LPH_OP_BATCH && b->c.state == LPH_BUSY && !lph_conn_is_foreign(&b->c);
}

static int push_failure(lua_State *L, lconn *b, const char *more) {
  if (b->c.state != LPH_BUSY) detach(L);
  if (b->c.op.culprit != NULL) lua_pushstring(L, b->c.op.culprit);
  lerror_push(L, &b->c.error, b->c.op.culprit != NULL ? lua_gettop(L) : 0);
  if (more == NULL) return 2;
  lua_pushstring(L, more);
  return 3;
}

/* What a batch that has ended well tells. */
static int push_end(lua_State *L, lbatch *q) {
  if (q->wants_types) return lrun_push_pending(L, "types");
  detach(L);
  lua_pushboolean(L, 1);
  return 1;
}

static lbatch *fetch(lua_State *L) {
  lua_settop(L, AT_CONN);
  lcompat_getstore(L, AT_CONN);
  lua_rawgeti(L, -1, LSTORE_BATCH);
  lua_replace(L, AT_BATCH);
  return lbox_test(L, AT_BATCH, &lbatch_class);
}

int lbatch_step(lua_State *L, lconn *b) {
  const char *more = NULL;
  lbatch *q = fetch(L);
  if (q == NULL || b->c.op.discarding) { /* nobody wants it any more */
    if (!b->c.op.discarding) lph_op_discard(&b->c);
    lph_want want = (lph_want)lph_batch_drain(&b->c);
    if (want == LPH_FAILED) return push_failure(L, b, NULL);
    if (want == LPH_DONE && q != NULL) q->kept = b->c.op.kept;
    if (want == LPH_DONE) detach(L);
    lua_pushstring(L, lrun_want_name(want));
    return 1;
  }
  spread(L);
  lph_want want = go_on(L, b, q, &more);
  if (want == LPH_FAILED) return push_failure(L, b, more);
  if (want == LPH_DONE) b->untaken = true;
  lua_pushstring(L, lrun_want_name(want));
  return 1;
}

int lbatch_take(lua_State *L, lconn *b) {
  (void)b;
  lbatch *q = fetch(L);
  return q == NULL ? luaL_error(L, "there is no batch to take") : push_end(L, q);
}

/* ---- running -------------------------------------------------------------------------------------------- */

/* From its start, or from where it stopped for the sake of types. */
static void rewind_to(lua_State *L, lbatch *q, bool from_start) {
  q->current_text = NULL;
  q->wants_types = q->at_barrier = q->ended = q->kept = false;
  if (!from_start) return;
  q->next = q->at = 1;
  q->started = q->answered = q->failed = 0;
  q->has_raised = false;
  lua_newtable(L);
  lua_rawseti(L, AT_LIST, LBATCH_RESULTS);
  for (int key = LBATCH_RAISED; key <= LBATCH_ERRORS; key++) {
    if (key == LBATCH_NORMALIZE) continue;
    lua_pushnil(L);
    lua_rawseti(L, AT_LIST, key);
  }
  lua_rawgeti(L, AT_LIST, LBATCH_RESULTS);
  lua_replace(L, AT_RESULTS);
}

static lph_want wait_here(lua_State *L, lconn *b, lbatch *q, lph_want want, const char **more) {
  while (want > LPH_DONE) {
    struct pollfd p = {lph_conn_fd(&b->c), 0, 0};
    p.events = (short)((want & LPH_WANT_READ ? POLLIN : 0) | (want & LPH_WANT_WRITE ? POLLOUT : 0));
    if (poll(&p, 1, lph_poll_ms(b->deadline)) <= 0) return want;
    want = go_on(L, b, q, more);
    if (want > LPH_DONE && lph_is_past(b->deadline)) return want;
  }
  return want;
}

static int refuse_text(lua_State *L, lconn *b, lbatch *q) {
  static const char *const why[] = {
    [LPH_BATCH_COPY] = "COPY cannot run in a batch: its data would stand between the statements; "
                       "run it by itself",
    [LPH_BATCH_LISTEN] = "LISTEN and UNLISTEN have no place in a batch: nobody would be told of what arrives",
    [LPH_BATCH_CONTROL] =
      "a batch begins and ends its own transaction: BEGIN, COMMIT, ROLLBACK, SAVEPOINT and "
      "PREPARE cannot run in it (use transaction, and tx:batch inside)",
  };
  lph_error_set(&b->c.error, "usage", "%s", why[q->refusal]);
  q->failed = q->refused;
  int at = 1;
  for (int i = 1; i < q->refused; i++) {
    int code, values;
    read_head(L, at, &code, &values);
    at += values + 2;
  }
  q->failed_at = at;
  return lerror_push(L, &b->c.error, 0);
}

/* What runs before is not kept where the batch is a transaction of its own: then it goes from the start. */
static bool starts_over(const lconn *b, const lbatch *q, bool is_rerun) {
  if (!is_rerun || !q->wants_types) return true;
  bool inside = b->c.txn.depth > 0 || PQtransactionStatus(b->c.pg) != PQTRANS_IDLE;
  return !q->isolated && !inside;
}

/* conn:batch(batch, isolated, style [, again]) -> true | PENDING, want | nil, err, more; see the head of lbatchrun.c */
int lconn_batch(lua_State *L) {
  lconn *b = lua_touserdata(L, AT_CONN); /* lenter.c has checked it */
  lbatch *q = lbox_test(L, AT_BATCH, &lbatch_class);
  if (q == NULL) return luaL_error(L, "a batch expected");
  bool isolated = lua_toboolean(L, 3), is_rerun = lua_toboolean(L, 5);
  int style = (int)luaL_checkinteger(L, 4) / 16;
  if (LPH_UNLIKELY(!is_rerun && lrun_is_ahead(b))) return lrun_push_pending(L, "ahead");
  if (!(is_rerun ? lrun_is_free(b) : lrun_begin_call(b))) return lerror_push(L, &b->c.error, 0);
  spread(L);
  if (q->refused > 0) return refuse_text(L, b, q);
  q->isolated = isolated;
  q->style = style;
  if (!is_rerun) q->type_rounds = 0;
  rewind_to(L, q, starts_over(b, q, is_rerun));
  lcompat_getstore(L, AT_CONN);
  lua_pushvalue(L, AT_BATCH);
  lua_rawseti(L, -2, LSTORE_BATCH);
  lua_settop(L, AT_RESULTS);
  if (lph_batch_begin(&b->c, isolated) != LPH_OK) return push_failure(L, b, NULL);
  const char *more = NULL;
  lph_want want = go_on(L, b, q, &more);
  if (want > LPH_DONE && b->blocking) want = wait_here(L, b, q, want, &more);
  if (want > LPH_DONE) return lrun_push_pending(L, lrun_want_name(want));
  return want == LPH_FAILED ? push_failure(L, b, more) : push_end(L, q);
}
