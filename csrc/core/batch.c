/* batch.c - see batch.h. SPDX-License-Identifier: MIT */
#include "core/batch.h"

#include <string.h>

#include "base/mem.h"
#include "core/conn.h"
#include "core/flight.h"
#include "core/goodbye.h"
#include "core/marks.h"
#include "core/outcome.h"
#include "crypto/crypto.h"

/* ---- legs --------------------------------------------------------------------------------------------- */

static lph_leg *head_of(const lph_batch *b) { return b->count == 0 ? NULL : &b->legs[b->first]; }

static void depart(lph_batch *b, lph_leg leg) {
  if (leg.stmt != NULL) lph_stmts_pin(leg.stmt);
  b->legs[(b->first + b->count++) % LPH_BATCH_FLIGHT] = leg;
  b->unasked++;
}

/* The first leg is no longer under way; its pin is the caller's. */
static lph_leg land(lph_batch *b) {
  lph_leg leg = b->legs[b->first];
  b->first = (b->first + 1) % LPH_BATCH_FLIGHT;
  b->count--;
  return leg;
}

static void let_go(lph_conn *c, lph_leg *leg) {
  lph_stmt *stmt = leg->stmt;
  leg->stmt = NULL;
  if (c->op.stmt == stmt) c->op.stmt = NULL;
  if (stmt != NULL) lph_stmts_unpin(&c->stmts, stmt);
}

void lph_batch_release(lph_conn *c) { let_go(c, &c->batch->taking); }

void lph_batch_wait_for(lph_batch *b, lph_stmt *stmt) {
  lph_stmts_pin(stmt);
  b->waiting = stmt;
}

void lph_batch_forget(lph_conn *c) {
  lph_batch *b = c->batch;
  lph_stmt *stmt = b->waiting != NULL ? b->waiting : b->ready;
  b->waiting = b->ready = NULL;
  if (stmt != NULL) lph_stmts_unpin(&c->stmts, stmt);
}

bool lph_batch_is_preparing(const lph_batch *b, const lph_stmt *stmt) {
  for (unsigned i = 0; i < b->count; i++) {
    const lph_leg *leg = &b->legs[(b->first + i) % LPH_BATCH_FLIGHT];
    if (leg->kind == LPH_LEG_DESCRIBE && leg->stmt == stmt) return true;
  }
  return false;
}

void lph_batch_free(lph_conn *c) {
  lph_batch *b = c->batch;
  if (b == NULL) return;
  lph_batch_forget(c);
  if (b->current != NULL) lph_stmts_unpin(&c->stmts, b->current);
  c->batch = NULL;
  if (b->culprit != NULL) lph_stmts_unpin(&c->stmts, b->culprit);
  let_go(c, &b->taking);
  while (b->count > 0) {
    lph_leg leg = land(b);
    let_go(c, &leg);
  }
  lph_free(b->legs);
  lph_free(b);
}

/* ---- sending ------------------------------------------------------------------------------------------ */

static bool is_server_error(const lph_error *e) { return e->sqlstate[0] != '\0'; }

static bool is_fatal(const lph_error *e) {
  const char *severity = lph_error_get(e, LPH_E_SEVERITY);
  return severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* Nothing of it can be there: its last Sync never left, or it had failed in front of it. */
static bool is_undone(const lph_conn *c) {
  const lph_batch *b = c->batch;
  return !b->isolated && !b->inside && (!b->ended || b->failed > 0);
}

/* What the server said before it went tells more than what libpq noticed afterwards. */
static int broken(lph_conn *c) {
  lph_error *said = &c->op.failure;
  lph_sent sent = is_undone(c) ? LPH_SENT_NO : LPH_SENT_MAYBE;
  if (!is_server_error(said)) return lph_conn_lost(c, sent);
  lph_error_copy(&c->error, said);
  if (is_fatal(said)) c->error.sent = sent;
  lph_conn_close(c);
  return LPH_FAILED;
}

/* A PQsend... function answered 0. Half a command may wait in libpq's buffer: not provably in order. */
static lph_err refuse(lph_conn *c) {
  if (PQstatus(c->pg) == CONNECTION_BAD) {
    broken(c);
    return LPH_EFAIL;
  }
  if (c->op.out_of_memory) {
    lph_error_oom(&c->error);
  } else {
    lph_outcome_refused(c->pg, &c->error);
  }
  lph_conn_close(c);
  return LPH_EFAIL;
}

static bool send_sync(lph_conn *c) {
  c->op.syncs_left++;
  return PQpipelineSync(c->pg);
}

/* Behind each statement of an isolated batch. An older libpq goes to the socket for each of them. */
static bool send_sync_along(lph_conn *c) {
#ifdef LIBPQ_HAS_SEND_PIPELINE_SYNC
  c->op.syncs_left++;
  return PQsendPipelineSync(c->pg);
#else
  return send_sync(c);
#endif
}

static bool send_goodbyes(lph_conn *c) {
  return !lph_goodbye_may_ride(c, true) || (lph_goodbye_send(c) && send_sync(c));
}

static lph_batch *new_batch(void) {
  lph_batch *b = lph_zalloc(sizeof *b);
  if (b == NULL) return NULL;
  b->legs = lph_array(LPH_BATCH_FLIGHT, sizeof *b->legs);
  if (b->legs != NULL) return b;
  lph_free(b);
  return NULL;
}

lph_err lph_batch_begin(lph_conn *c, bool isolated) {
  if (lph_conn_check_idle(c) != LPH_OK) return LPH_EFAIL;
  lph_op_reset(&c->op);
  if (lph_conn_look(c) != LPH_OK) return LPH_EFAIL;
  lph_batch *b = c->batch = new_batch();
  if (b == NULL) return lph_error_oom(&c->error);
  b->isolated = isolated;
  b->inside = c->txn.depth > 0 || PQtransactionStatus(c->pg) != PQTRANS_IDLE;
  c->op.kind = LPH_OP_BATCH;
  c->op.piped = true;
  c->state = LPH_BUSY;
  bool ok = lph_op_enter_pipeline(c) && send_goodbyes(c) && lph_flight_before(c);
  b->parts_ahead = c->op.parts.len;
  return ok ? LPH_OK : refuse(c);
}

/* Room for Parse, Describe and a Sync, and for the end: UNDO and its Sync. */
bool lph_batch_has_place(const lph_conn *c) {
  return !c->op.unflushed && c->batch->count + 5 <= LPH_BATCH_FLIGHT;
}

bool lph_batch_has_room(const lph_conn *c) {
  const lph_batch *b = c->batch;
  return !b->stopped && !b->ended && b->waiting == NULL && lph_batch_has_place(c);
}

/* libpq sends by itself for every 8 kB; what the socket does not take it would keep, without a limit. */
static lph_err look_at_socket(lph_conn *c) {
  c->batch->bytes = 0;
  int rc = PQflush(c->pg);
  c->op.unflushed = rc > 0;
  return LPH_LIKELY(rc >= 0) ? LPH_OK : refuse(c);
}

lph_err lph_batch_ask(lph_conn *c) {
  lph_batch *b = c->batch;
  if (b->unasked > 0) {
    b->unasked = 0;
    if (!PQsendFlushRequest(c->pg)) return refuse(c);
  }
  return look_at_socket(c);
}

/* One statement, or what prepares one, has been handed over. */
static lph_err sent(lph_conn *c, int index, int code, size_t bytes) {
  lph_batch *b = c->batch;
  if (b->isolated) {
    if (!send_sync_along(c)) return refuse(c);
    depart(b, (lph_leg){LPH_LEG_SYNC, index, code, NULL});
    b->unasked = 0;
  }
  b->bytes += bytes + 64;
  if (b->unasked >= LPH_BATCH_FLUSH) {
    b->unasked = 0;
    if (!PQsendFlushRequest(c->pg)) return refuse(c);
  }
  return b->bytes >= LPH_BATCH_UNSENT ? look_at_socket(c) : LPH_OK;
}

#define DIGITS "select pg_catalog.current_setting('extra_float_digits')"

lph_err lph_batch_execute(lph_conn *c, lph_stmt *stmt, const lph_params *p, int index, int code) {
  lph_batch *b = c->batch;
  c->marks |= stmt->marks;
  if (LPH_UNLIKELY(!lph_op_send_execute(c, stmt, p))) return refuse(c);
  depart(b, (lph_leg){LPH_LEG_EXECUTE, index, code, stmt});
  if (LPH_UNLIKELY(b->current != stmt)) {
    if (b->current != NULL) lph_stmts_unpin(&c->stmts, b->current);
    lph_stmts_pin(stmt);
    b->current = stmt;
  }
  b->started = index;
  if (LPH_UNLIKELY(stmt->prints_floats)) {
    if (!PQsendQueryParams(c->pg, DIGITS, 0, NULL, NULL, NULL, NULL, 0)) return refuse(c);
    depart(b, (lph_leg){LPH_LEG_DIGITS, index, code, stmt});
  }
  return sent(c, index, code, p->bytes + (stmt->name[0] == '\0' ? strlen(stmt->sql) : 0));
}

lph_err lph_batch_prepare(lph_conn *c, lph_stmt *stmt, int index, int code) {
  lph_batch *b = c->batch;
  if (stmt->name[0] != '\0' || !c->stmts.unnamed) lph_stmts_rename(&c->stmts, stmt);
  stmt->over_temp = (c->marks & LPH_MARK_TEMP) != 0;
  if (!PQsendPrepare(c->pg, stmt->name, stmt->sql, stmt->forced_count, stmt->forced)) return refuse(c);
  depart(b, (lph_leg){LPH_LEG_PARSE, index, code, stmt});
  if (!PQsendDescribePrepared(c->pg, stmt->name)) return refuse(c);
  depart(b, (lph_leg){LPH_LEG_DESCRIBE, index, code, stmt});
  return sent(c, index, code, strlen(stmt->sql));
}

lph_err lph_batch_end(lph_conn *c, bool undo) {
  lph_batch *b = c->batch;
  b->ended = true;
  b->whole = !undo;
  if (b->isolated) return look_at_socket(c);
  if (undo && !b->inside && b->started > 0 && !is_server_error(&c->op.failure)) {
    if (!PQsendQueryParams(c->pg, "rollback", 0, NULL, NULL, NULL, NULL, 0)) return refuse(c);
    depart(b, (lph_leg){LPH_LEG_UNDO, 0, 0, NULL});
    b->undoing = true;
  }
  if (!lph_flight_after(c) || !send_sync(c)) return refuse(c);
  depart(b, (lph_leg){LPH_LEG_SYNC, 0, 0, NULL});
  b->unasked = 0;
  return look_at_socket(c);
}

/* ---- receiving ---------------------------------------------------------------------------------------- */

/* The first failure counts; what comes later is its consequence. */
static void take_failure(lph_conn *c, const PGresult *res, lph_leg *leg) {
  lph_batch *b = c->batch;
  b->stopped = true;
  if (lph_error_is_set(&c->op.failure)) return;
  lph_outcome_result(c->pg, res, &c->op.failure);
  if (leg == NULL || leg->kind == LPH_LEG_UNDO) return;
  b->failed = leg->index;
  b->failed_code = leg->code;
  b->failed_preparing = leg->kind == LPH_LEG_PARSE || leg->kind == LPH_LEG_DESCRIBE;
  b->culprit = leg->stmt; /* with its pin */
  leg->stmt = NULL;
}

/* An answer to what stood in front of the batch, or behind it (flight.h). */
static void receive_part(lph_conn *c, PGresult *res) {
  int part = lph_flight_next(&c->op);
  ExecStatusType status = PQresultStatus(res);
  if (part == LPH_PART_GOODBYE) {
    lph_goodbye_answer(c, res);
  } else {
    lph_flight_receive(c, part, res);
    bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK || status == PGRES_PIPELINE_ABORTED;
    if (!ok) take_failure(c, res, NULL);
  }
  PQclear(res);
}

static bool is_too_big(lph_conn *c, const PGresult *res, const lph_leg *leg) {
  if (LPH_LIKELY(c->max_result_bytes == 0)) return false;
  size_t size = PQresultMemorySize(res);
  if (size <= c->max_result_bytes) return false;
  c->batch->stopped = true;
  if (lph_error_is_set(&c->op.failure)) return true;
  c->batch->failed = leg->index;
  c->batch->failed_code = leg->code;
  lph_error_set(&c->op.failure, "result_too_big",
                "the result takes %zu bytes or more; max_result_bytes is %zu", size, c->max_result_bytes);
  c->op.failure.sent = LPH_SENT_YES;
  return true;
}

/* The description belongs to everybody from here on. */
static void take_description(lph_conn *c, const lph_leg *leg, const PGresult *res) {
  if (lph_stmts_describe(&c->stmts, leg->stmt, res) == LPH_OK) {
    if (leg->stmt != c->batch->waiting) return;
    c->batch->ready = leg->stmt; /* the pin goes along */
    c->batch->waiting = NULL;
    return;
  }
  c->batch->stopped = true;
  if (!lph_error_is_set(&c->op.failure)) lph_error_oom(&c->op.failure);
}

/* An answer to the first leg that is no error. True: it is for the caller. */
static bool receive_good(lph_conn *c, lph_leg *leg, PGresult *res) {
  bool told = false;
  c->op.stmt = leg->stmt;
  if (leg->kind == LPH_LEG_EXECUTE) {
    c->batch->answered = leg->index;
    c->op.moves_names = leg->stmt->moves_names;
    lph_op_observe(c, PQcmdStatus(res));
    told = !c->op.discarding && !is_too_big(c, res, leg);
  } else if (leg->kind == LPH_LEG_DESCRIBE) {
    take_description(c, leg, res);
  } else if (leg->kind == LPH_LEG_DIGITS) {
    told = !c->op.discarding;
  }
  if (told) {
    PQclear(c->op.result);
    c->op.result = res;
  } else {
    PQclear(res);
  }
  return told;
}

/* One answer to the first leg; true: it is for the caller, and in `leg`. */
static bool receive_leg(lph_conn *c, lph_leg *leg, PGresult *res) {
  lph_batch *b = c->batch;
  ExecStatusType status = PQresultStatus(res);
  bool ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
  c->op.received = 0;
  if (head_of(b)->kind == LPH_LEG_SYNC) { /* what fails here failed to be committed; its Sync follows */
    *leg = *head_of(b);
  } else {
    *leg = land(b);
  }
  bool told = false;
  if (ok && leg->kind == LPH_LEG_SYNC) {
    PQclear(res); /* an answer that nobody asked for */
  } else if (ok) {
    told = receive_good(c, leg, res);
  } else if (status != PGRES_PIPELINE_ABORTED && b->isolated && !c->op.discarding) {
    PQclear(c->op.result);
    c->op.result = res;
    told = true;
  } else {
    if (status != PGRES_PIPELINE_ABORTED) take_failure(c, res, leg);
    PQclear(res);
  }
  if (!told) let_go(c, leg);
  return told;
}

static void receive_sync(lph_conn *c, PGresult *res) {
  lph_batch *b = c->batch;
  PQclear(res);
  c->op.syncs_left--;
  if (c->op.part >= b->parts_ahead && head_of(b) != NULL && head_of(b)->kind == LPH_LEG_SYNC) land(b);
}

/* Before the legs, or between the last of them and its Sync. */
static bool is_for_part(const lph_conn *c) {
  const lph_batch *b = c->batch;
  if (c->op.part < b->parts_ahead) return true;
  return c->op.part < c->op.parts.len && head_of(b)->kind == LPH_LEG_SYNC;
}

static bool is_waiting(const lph_conn *c) {
  return c->batch->count > 0 || c->op.part < c->op.parts.len || c->op.syncs_left > 0;
}

static int refuse_copy(lph_conn *c) {
  lph_error_set(&c->error, "protocol", "the server began to copy where nobody had asked for it");
  c->error.sent = LPH_SENT_MAYBE;
  lph_conn_close(c);
  return LPH_FAILED;
}

/* Between two results there is one NULL; more say that libpq and we do not agree about what is under way. */
#define MOST_NULLS 3

int lph_batch_next(lph_conn *c, const lph_leg **leg) {
  lph_batch *b = c->batch;
  *leg = &b->taking;
  int nulls = 0;
  while (is_waiting(c)) {
    if (PQisBusy(c->pg)) return PQstatus(c->pg) == CONNECTION_BAD ? broken(c) : LPH_WANT_READ;
    PGresult *res = PQgetResult(c->pg);
    if (res == NULL) {
      if (PQstatus(c->pg) == CONNECTION_BAD || ++nulls > MOST_NULLS) return broken(c);
      continue;
    }
    nulls = 0;
    ExecStatusType status = PQresultStatus(res);
    if (LPH_UNLIKELY(PQstatus(c->pg) == CONNECTION_BAD)) {
      if (!lph_outcome_is_void(c->pg, res)) take_failure(c, res, NULL); /* the last words of the server */
      PQclear(res);
    } else if (status == PGRES_PIPELINE_SYNC) {
      receive_sync(c, res);
      if (LPH_UNLIKELY(!lph_conn_speaks_utf8(c))) return lph_conn_refuse_encoding(c);
    } else if (status == PGRES_COPY_IN || status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH) {
      PQclear(res);
      return refuse_copy(c);
    } else if (b->count == 0 && c->op.part >= c->op.parts.len) {
      PQclear(res);
    } else if (b->count == 0 || is_for_part(c)) {
      receive_part(c, res);
    } else if (receive_leg(c, &b->taking, res)) {
      return LPH_DONE;
    }
  }
  return LPH_WANT_READ;
}

/* The loss is told by lph_batch_next, and why. */
int lph_batch_pull(lph_conn *c) {
  bool there = lph_op_consume(c);
  if (there && c->op.unflushed) {
    int rc = PQflush(c->pg);
    c->op.unflushed = rc > 0;
  }
  lph_conn_drop_notifications(c);
  return LPH_DONE;
}

int lph_batch_want(const lph_conn *c) { return c->op.unflushed ? LPH_WANT_RW : LPH_WANT_READ; }

/* ---- the end ------------------------------------------------------------------------------------------ */

bool lph_batch_is_over(const lph_conn *c) { return c->batch->ended && !is_waiting(c); }

int lph_batch_finish(lph_conn *c) {
  lph_op *op = &c->op;
  if (!PQexitPipelineMode(c->pg)) {
    lph_outcome_refused(c->pg, &c->error);
    lph_conn_close(c);
    return LPH_FAILED;
  }
  c->state = LPH_IDLE;
  bool outside = PQtransactionStatus(c->pg) == PQTRANS_IDLE, failed = lph_error_is_set(&op->failure);
  if (outside && c->stmts.ddl_in_transaction) {
    if (failed || c->batch->undoing) { /* what was created or altered is not */
      lph_stmts_invalidate(&c->stmts);
      lph_typemap_doubt(c->types);
    }
    c->stmts.ddl_in_transaction = false;
  }
  lph_txn_settle(&c->txn, outside);
  op->kept = c->batch->whole && !is_server_error(&op->failure);
  if (!failed) return LPH_DONE;
  lph_error_copy(&c->error, &op->failure);
  return LPH_FAILED;
}

int lph_batch_drain(lph_conn *c) {
  c->batch->stopped = true;
  for (;;) {
    const lph_leg *leg;
    int want;
    lph_batch_pull(c);
    while ((want = lph_batch_next(c, &leg)) == LPH_DONE) lph_batch_release(c);
    if (want == LPH_FAILED) return want;
    if (!c->batch->ended && lph_batch_end(c, true) != LPH_OK) return LPH_FAILED;
    if (lph_batch_is_over(c)) {
      want = lph_batch_finish(c);
      lph_batch_free(c);
      return c->state == LPH_IDLE ? LPH_DONE : want;
    }
    if (c->ssl != NULL && lph_tls_pending(c->ssl) > 0) continue;
    if (c->op.received <= LPH_DISCARD_MAX) return lph_batch_want(c);
    lph_error_set(&c->error, "result_too_big", "what is left of the result is too big to be read away");
    c->error.sent = LPH_SENT_YES;
    lph_conn_close(c);
    return LPH_FAILED;
  }
}
