/* op.c - see op.h.
 *
 * Reading and writing follow libpq's rules for asynchronous use: while bytes are unsent wait for
 * readable or writable and read before writing again (two full buffers would wait for each other);
 * ask PQisBusy before waiting and after each PQconsumeInput; call PQgetResult until NULL.
 *
 * SPDX-License-Identifier: MIT */
#include "core/op.h"

#include <sys/ioctl.h>

#include "base/mem.h"
#include "core/conn.h"
#include "core/goodbye.h"
#include "core/marks.h"
#include "core/outcome.h"
#include "crypto/crypto.h"

/* ---- the record of an operation ------------------------------------------------------------------ */

static void drop_results(lph_op *op) {
  PQclear(op->result);
  op->result = NULL;
  for (int i = 0; i < op->result_count; i++) PQclear(op->results[i]);
  op->result_count = 0;
}

void lph_op_reset(lph_op *op) {
  drop_results(op);
  PGresult **results = op->results;
  int room = op->result_room;
  lph_error failure = op->failure;
  *op = (lph_op){.results = results, .result_room = room, .failure = failure};
  if (lph_error_is_set(&op->failure)) lph_error_clear(&op->failure);
}

void lph_op_free(lph_op *op) {
  lph_op_reset(op);
  lph_free(op->results);
  lph_error_free(&op->failure);
  *op = (lph_op){0};
}

void lph_op_discard(lph_conn *c) {
  c->op.discarding = true;
  c->op.received = 0;
  drop_results(&c->op);
}

static bool make_place(lph_op *op) {
  if (op->result_count == op->result_room) {
    int room = op->result_room == 0 ? 8 : op->result_room * 2;
    PGresult **grown = lph_regrow(op->results, (size_t)room, sizeof *grown);
    if (grown == NULL) return false;
    op->results = grown;
    op->result_room = room;
  }
  return true;
}

/* The first failure counts; what comes later is usually its consequence. */
static lph_error *failure_slot(lph_op *op) { return lph_error_is_set(&op->failure) ? NULL : &op->failure; }

/* ---- starting -------------------------------------------------------------------------------------- */

/* A failure from here on is not the last operation's. */
static bool may_begin(lph_conn *c) {
  if (lph_conn_check_idle(c) != LPH_OK) return false;
  lph_op_reset(&c->op);
  return lph_conn_look(c) == LPH_OK;
}

static lph_want begin(lph_conn *c, lph_op_kind kind, struct lph_stmt *stmt) {
  c->op.kind = kind;
  c->op.stmt = stmt;
  c->op.unflushed = true;
  c->state = LPH_BUSY;
  return LPH_DONE;
}

static lph_want flush(lph_conn *c) {
  int rc = PQflush(c->pg);
  if (rc < 0 && PQstatus(c->pg) == CONNECTION_BAD) return lph_conn_lost(c, LPH_SENT_MAYBE);
  c->op.unflushed = rc > 0;
  return rc > 0 ? LPH_WANT_RW : LPH_WANT_READ;
}

/* A PQsend... function answered 0: nothing of it was sent. */
static lph_want refuse(lph_conn *c) {
  if (PQstatus(c->pg) == CONNECTION_BAD) return lph_conn_lost(c, LPH_SENT_NO);
  lph_outcome_refused(c->pg, &c->error);
  lph_conn_close(c); /* half a flight may wait in libpq's buffer: not provably in order */
  return LPH_FAILED;
}

#define MESSAGE_MAX 0x3fffffff /* PQ_LARGE_MESSAGE_LIMIT of the server: 1 GB - 1 */

static lph_err too_long(lph_conn *c, const char *what, size_t len) {
  return lph_error_set(&c->error, "parameter", "%s %zu bytes; PostgreSQL takes messages of less than 1 GB",
                       what, len);
}

lph_err lph_op_check_text(lph_conn *c, size_t len) {
  /* Beside the text a Parse message has a name, and four bytes for each parameter. */
  if (LPH_LIKELY(len <= MESSAGE_MAX - LPH_STMT_NAME - 4 * (size_t)LPH_PARAMS_MAX - 16)) return LPH_OK;
  return too_long(c, "the SQL text has", len);
}

/* Bind: two names, and for each parameter its format (2 bytes) and length (4). */
lph_err lph_op_check_params(lph_conn *c, const lph_params *p) {
  if (LPH_LIKELY(p->bytes <= MESSAGE_MAX - LPH_STMT_NAME - 6 * (size_t)LPH_PARAMS_MAX - 16)) return LPH_OK;
  return too_long(c, "the parameters have", p->bytes);
}

static int send_execute(lph_conn *c, const lph_stmt *stmt, const lph_params *p) {
  return stmt->name[0] != '\0'
           ? PQsendQueryPrepared(c->pg, stmt->name, p->count, p->values, p->lengths, p->formats, stmt->binary)
           : PQsendQueryParams(c->pg, stmt->sql, p->count, stmt->param_oids, p->values, p->lengths,
                               p->formats, stmt->binary);
}

/* From here to the end of the operation libpq is in pipeline mode. */
static bool begin_flight(lph_conn *c) {
  c->op.piped = PQenterPipelineMode(c->pg);
  return c->op.piped;
}

static bool send_sync(lph_conn *c) {
  c->op.syncs_left++;
  return PQpipelineSync(c->pg);
}

int lph_op_execute(lph_conn *c, struct lph_stmt *stmt, const struct lph_params *p) {
  if (!may_begin(c)) return LPH_FAILED;
  begin(c, LPH_OP_EXECUTE, stmt);
  c->marks |= stmt->marks;
  c->op.moves_names = stmt->moves_names;
  bool sent;
  if (LPH_UNLIKELY(lph_goodbye_may_ride(c, true)) && !stmt->is_copy) { /* COPY is not for pipelines */
    sent = begin_flight(c) && lph_goodbye_send(c) && send_sync(c) && send_execute(c, stmt, p) && send_sync(c);
  } else {
    sent = send_execute(c, stmt, p);
  }
  return LPH_LIKELY(sent) ? (int)flush(c) : (int)refuse(c);
}

int lph_op_script(lph_conn *c, const char *sql) {
  if (!may_begin(c)) return LPH_FAILED;
  begin(c, LPH_OP_SCRIPT, NULL);
  unsigned marks = lph_marks_of((lph_bytes){sql, strlen(sql)}, NULL);
  c->op.moves_names = (marks & LPH_MARK_NAMES) != 0;
  c->marks |= lph_marks_left(marks);
  return PQsendQuery(c->pg, sql) ? (int)flush(c) : (int)refuse(c);
}

int lph_op_prepare(lph_conn *c, struct lph_stmt *stmt) {
  if (!may_begin(c)) return LPH_FAILED;
  if (stmt->name[0] != '\0' || !c->stmts.unnamed) {
    if (lph_stmts_rename(&c->stmts, stmt) != LPH_OK) {
      lph_error_oom(&c->error);
      return LPH_FAILED;
    }
  }
  begin(c, LPH_OP_PREPARE, stmt);
  stmt->over_temp = (c->marks & LPH_MARK_TEMP) != 0;
  bool goodbyes = lph_goodbye_may_ride(c, false);
  bool sent = begin_flight(c) &&
              PQsendPrepare(c->pg, stmt->name, stmt->sql, stmt->forced_count, stmt->forced) &&
              PQsendDescribePrepared(c->pg, stmt->name) && (!goodbyes || lph_goodbye_send(c)) && send_sync(c);
  return sent ? (int)flush(c) : (int)refuse(c);
}

/* ---- receiving --------------------------------------------------------------------------------------- */

static void note_failure(lph_conn *c, const PGresult *res) {
  lph_error *slot = failure_slot(&c->op);
  if (slot == NULL) return;
  lph_outcome_result(c->pg, res, slot);
}

static void refuse_copy(lph_conn *c) {
  lph_error *slot = failure_slot(&c->op);
  if (slot == NULL) return;
  lph_error_set(slot, "usage", "COPY ... FROM STDIN and COPY ... TO STDOUT cannot run through this verb");
  lph_error_put(slot, LPH_E_HINT,
                "Send rows as arrays (insert ... select from unnest($1, $2)), or use psql's \\copy.");
  slot->sent = LPH_SENT_YES;
}

/* What the statement cache and the map of user types learn from a command tag. A type that was altered is looked
 * up anew; which one it was the tag does not tell. */
static void observe(lph_conn *c, const char *tag) {
  bool in_transaction = PQtransactionStatus(c->pg) != PQTRANS_IDLE;
  bool moved = (c->marks & LPH_MARK_NAMES) != 0 || (c->marks & LPH_MARKS_DOUBT) == LPH_MARKS_DOUBT;
  if (lph_stmts_observe(&c->stmts, c->op.moves_names, moved, tag, in_transaction))
    lph_typemap_doubt(c->types);
}

static void set_too_big(lph_conn *c, lph_error *e) {
  lph_error_set(e, "result_too_big", "the result takes %zu bytes or more; max_result_bytes is %zu",
                c->op.memory, c->max_result_bytes);
  e->sent = LPH_SENT_YES;
}

/* May one more result be kept under max_result_bytes? If not, those before it go as well. */
static bool fits(lph_conn *c, const PGresult *res) {
  lph_op *op = &c->op;
  if (LPH_LIKELY(c->max_result_bytes == 0) || op->kind == LPH_OP_PREPARE) return true;
  op->memory += PQresultMemorySize(res);
  if (op->memory <= c->max_result_bytes) return true;
  drop_results(op);
  return false;
}

/* Does the answer belong to a goodbye? In a PREPARE they come behind Parse and Describe, else in a segment in front. */
static bool is_goodbye(lph_op *op, ExecStatusType status) {
  if (!op->piped || status == PGRES_PIPELINE_SYNC) return false;
  return op->kind == LPH_OP_PREPARE ? ++op->answers > 2 : op->syncs_left > 1;
}

/* Is there a place for the result of something that went well? */
static bool wants(lph_op *op) {
  if (op->discarding) return false;
  if (op->kind == LPH_OP_PREPARE) return op->answers == 2; /* Describe's */
  if (op->kind != LPH_OP_SCRIPT || make_place(op)) return true;
  if (failure_slot(op) != NULL) {
    lph_error_oom(&op->failure);
    op->failure.sent = LPH_SENT_YES;
  }
  return false;
}

static void keep(lph_conn *c, PGresult *res) {
  lph_op *op = &c->op;
  if (!wants(op) || !fits(c, res)) {
    PQclear(res);
  } else if (op->kind == LPH_OP_SCRIPT) {
    op->results[op->result_count++] = res;
  } else {
    PQclear(op->result);
    op->result = res;
  }
}

/* One result that PQgetResult gave; takes it over. */
static void receive(lph_conn *c, PGresult *res) {
  lph_op *op = &c->op;
  ExecStatusType status = PQresultStatus(res);
  if (LPH_UNLIKELY(is_goodbye(op, status))) {
    lph_goodbye_answer(c, res);
    PQclear(res);
    return;
  }
  switch (status) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
      if (op->kind != LPH_OP_PREPARE) observe(c, PQcmdStatus(res));
      keep(c, res);
      return;
    case PGRES_EMPTY_QUERY: keep(c, res); return;
    case PGRES_COPY_IN:
    case PGRES_COPY_BOTH:
      refuse_copy(c);
      PQputCopyEnd(c->pg, "this verb does not do COPY");
      op->unflushed = true;
      break;
    case PGRES_COPY_OUT:
      refuse_copy(c);
      op->copy_out = true;
      break;
    case PGRES_PIPELINE_SYNC: op->syncs_left--; break;
    case PGRES_PIPELINE_ABORTED: break;
    default: note_failure(c, res); break;
  }
  PQclear(res);
}

/* Reads away COPY OUT data nobody asked for. False: more has to arrive first. */
static bool drop_copy_data(lph_conn *c) {
  while (c->op.copy_out) {
    char *data = NULL;
    int n = PQgetCopyData(c->pg, &data, 1);
    if (n > 0) PQfreemem(data);
    if (n == 0) return false;
    c->op.copy_out = n > 0;
  }
  return true;
}

static lph_want finish(lph_conn *c) {
  lph_op *op = &c->op;
  if (op->piped && !PQexitPipelineMode(c->pg)) {
    lph_outcome_refused(c->pg, &c->error);
    lph_conn_close(c);
    return LPH_FAILED;
  }
  c->state = LPH_IDLE;
  if (PQtransactionStatus(c->pg) == PQTRANS_IDLE) c->stmts.ddl_in_transaction = false;
  if (c->max_result_bytes != 0 && op->memory > c->max_result_bytes && failure_slot(op) != NULL)
    set_too_big(c, &op->failure);
  if (LPH_LIKELY(!lph_error_is_set(&op->failure))) return LPH_DONE;
  lph_error_copy(&c->error, &op->failure);
  drop_results(op);
  return op->discarding ? LPH_DONE : LPH_FAILED;
}

/* The session broke under the operation. What the server said before it went tells more than what
 * libpq noticed afterwards. */
static lph_want broken(lph_conn *c) {
  lph_error *said = &c->op.failure;
  if (said->sqlstate[0] == '\0') return lph_conn_lost(c, LPH_SENT_MAYBE);
  lph_error_copy(&c->error, said);
  c->error.sent = LPH_SENT_MAYBE; /* it may have been too late for the statement, or too early */
  lph_conn_close(c);
  return LPH_FAILED;
}

/* PQgetResult until the operation has ended or needs more input. */
static lph_want collect(lph_conn *c) {
  lph_op *op = &c->op;
  for (;;) {
    if (!drop_copy_data(c)) return LPH_WANT_READ;
    if (PQisBusy(c->pg)) return op->unflushed ? LPH_WANT_RW : LPH_WANT_READ;
    PGresult *res = PQgetResult(c->pg);
    if (res == NULL) {
      if (PQstatus(c->pg) == CONNECTION_BAD) return broken(c);
      if (op->syncs_left > 0) continue;
      return finish(c);
    }
    receive(c, res);
    if (op->piped && op->syncs_left == 0) return finish(c);
    if (op->unflushed && flush(c) == LPH_FAILED) return LPH_FAILED;
  }
}

static size_t waiting_bytes(lph_conn *c) {
  int n = 0;
  return ioctl(PQsocket(c->pg), FIONREAD, &n) == 0 && n > 0 ? (size_t)n : 0;
}

/* libpq takes at least so much of what waits in the socket: it keeps that much room in its buffer. */
#define LEAST_READ 8192

/* PQconsumeInput, counting under max_result_bytes. libpq gathers the whole answer before it shows any of it; what
 * it took from the socket is the only thing that can be seen meanwhile. Bytes that arrive during
 * the call hide as many that were taken: the count is never too high, and fits() checks exactly. */
bool lph_op_consume(lph_conn *c) {
  if (LPH_LIKELY(c->max_result_bytes == 0)) return PQconsumeInput(c->pg);
  size_t before = waiting_bytes(c);
  bool ok = PQconsumeInput(c->pg);
  size_t after = ok ? waiting_bytes(c) : 0;
  size_t least = before < LEAST_READ ? before : LEAST_READ;
  c->op.received += before > after + least ? before - after : least;
  return ok;
}

/* A statement that was cancelled still sends the row it is at, and libpq keeps that row in memory to its end. One
 * of some hundred megabytes costs the connection rather than the memory. */
#define DISCARD_MAX ((size_t)16 << 20)

void lph_op_uncount(lph_op *op, size_t bytes) { op->received -= bytes < op->received ? bytes : op->received; }

static lph_want check_size(lph_conn *c, lph_want want) {
  lph_op *op = &c->op;
  if (c->max_result_bytes == 0 || want <= LPH_DONE) return want;
  if (op->discarding) {
    if (op->received <= DISCARD_MAX) return want;
    lph_error_set(&c->error, "result_too_big", "what is left of the result is too big to be read away");
    c->error.sent = LPH_SENT_YES;
    lph_conn_close(c);
    return LPH_FAILED;
  }
  /* Twice the limit: what arrives is not the same as what it takes in memory. */
  if (op->received / 2 <= c->max_result_bytes && op->memory <= c->max_result_bytes) return want;
  if (op->memory < op->received) op->memory = op->received;
  set_too_big(c, &c->error);
  lph_op_discard(c);
  return LPH_FAILED; /* still BUSY: the caller cancels and drains */
}

int lph_op_step(lph_conn *c) {
  for (;;) {
    /* Reading first: a server that cannot get rid of its answer does not take our bytes. */
    if (!lph_op_consume(c)) return broken(c);
    if (c->op.unflushed && flush(c) == LPH_FAILED) return LPH_FAILED;
    lph_want want = collect(c);
    lph_conn_drop_notifications(c);
    /* TLS may hold decrypted bytes that no poll will ever report. */
    if (want > LPH_DONE && c->ssl != NULL && lph_tls_pending(c->ssl) > 0) continue;
    return check_size(c, want);
  }
}
