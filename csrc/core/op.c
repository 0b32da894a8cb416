/* op.c - see op.h. What comes back; what is sent is in launch.c.
 *
 * Reading and writing follow libpq's rules for asynchronous use: while bytes are unsent wait for
 * readable or writable and read before writing again (two full buffers would wait for each other);
 * ask PQisBusy before waiting and after each PQconsumeInput; call PQgetResult until NULL.
 *
 * SPDX-License-Identifier: MIT */
#include "core/op.h"

#include "base/mem.h"
#include "core/batch.h"
#include "core/conn.h"
#include "core/flight.h"
#include "core/goodbye.h"
#include "core/marks.h"
#include "core/outcome.h"
#include "crypto/crypto.h"

/* ---- the record of an operation ------------------------------------------------------------------ */

void lph_op_drop_result(lph_op *op) {
  PQclear(op->result);
  op->result = NULL;
  if (LPH_UNLIKELY(op->rows.count > 0)) lph_wirerows_done(&op->rows);
}

static void drop_results(lph_op *op) {
  lph_op_drop_result(op);
  for (int i = 0; i < op->result_count; i++) PQclear(op->results[i]);
  op->result_count = 0;
  lph_wirerows_clear(&op->rows);
}

void lph_op_reset(lph_op *op) {
  drop_results(op);
  PGresult **results = op->results;
  int room = op->result_room;
  lph_error failure = op->failure;
  lph_buf parts = op->parts;
  parts.len = 0;
  lph_wirerows rows = op->rows;
  *op = (lph_op){.results = results, .result_room = room, .failure = failure, .parts = parts, .rows = rows};
  if (lph_error_is_set(&op->failure)) lph_error_clear(&op->failure);
}

void lph_op_free(lph_op *op) {
  lph_op_reset(op);
  lph_free(op->results);
  lph_buf_free(&op->parts);
  lph_wirerows_free(&op->rows);
  lph_error_free(&op->failure);
  *op = (lph_op){0};
}

void lph_op_discard(lph_conn *c) {
  c->op.discarding = true;
  if (c->op.kind == LPH_OP_COPY) lph_copy_leave(c);
  c->op.portion = false;
  c->op.received = 0;
  drop_results(&c->op);
  lph_wirerows_free(&c->op.rows);
}

/* Under max_result_bytes each portion of a stream counts by itself. */
bool lph_op_take_portion(lph_op *op, PGresult **res, lph_wirerows *rows) {
  if (!op->portion) return false;
  *res = op->result;
  op->result = NULL;
  if (*res == NULL) lph_wirerows_swap(rows, &op->rows);
  lph_wirerows_clear(&op->rows);
  op->portion = false;
  op->received = op->memory = 0;
  return true;
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

bool lph_op_fail_for_memory(lph_op *op) {
  lph_error *slot = failure_slot(op);
  if (slot == NULL) return false;
  lph_error_oom(slot);
  slot->sent = LPH_SENT_YES;
  lph_wirerows_clear(&op->rows);
  return false;
}

int lph_op_flush(lph_conn *c) {
  int rc = PQflush(c->pg);
  if (rc < 0 && PQstatus(c->pg) == CONNECTION_BAD) return lph_conn_lost(c, LPH_SENT_MAYBE);
  c->op.unflushed = rc > 0;
  return rc > 0 ? LPH_WANT_RW : LPH_WANT_READ;
}

/* ---- receiving --------------------------------------------------------------------------------------- */

static void note_failure(lph_conn *c, const PGresult *res) {
  lph_error *slot = failure_slot(&c->op);
  if (slot == NULL) return;
  lph_outcome_result(c->pg, res, slot);
}

static void refuse_copy(lph_conn *c) {
  lph_op_untap(c); /* libpq is about to write */
  lph_error *slot = failure_slot(&c->op);
  if (slot == NULL) return;
  lph_error_set(slot, "usage", "COPY ... FROM STDIN and COPY ... TO STDOUT cannot run through this verb");
  lph_error_put(slot, LPH_E_HINT, "Rows go in with copy_in and come out with copy_out.");
  slot->sent = LPH_SENT_YES;
}

/* What the statement cache and the map of user types learn from a command tag. A type that was altered is looked
 * up anew; which one it was the tag does not tell. */
static void observe_names(lph_conn *c, const char *tag) {
  bool in_transaction = PQtransactionStatus(c->pg) != PQTRANS_IDLE;
  bool moved = (c->marks & LPH_MARK_NAMES) != 0 || (c->marks & LPH_MARKS_DOUBT) == LPH_MARKS_DOUBT;
  if (lph_stmts_observe(&c->stmts, c->op.moves_names, moved, tag, in_transaction))
    lph_typemap_doubt(c->types);
}

void lph_op_observe(lph_conn *c, const char *tag) {
  const char *text = c->op.stmt != NULL ? c->op.stmt->sql : c->op.speaks_of_chain ? "chain" : NULL;
  lph_txn_observe(&c->txn, tag, text);
  observe_names(c, tag);
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

/* What a script or a statement was answered; false: nobody keeps it. */
static bool keep_answer(lph_conn *c, const PGresult *res) {
  lph_op *op = &c->op;
  if (op->discarding) return false;
  if (op->kind != LPH_OP_SCRIPT) return fits(c, res);
  if (!make_place(op)) return lph_op_fail_for_memory(op);
  return fits(c, res);
}

/* So much in a PGresult is worth the tap's own system calls. On the wire it is half of that; a statement is read the other
 * way again when it is a quarter, so as not to change with every result. */
#define LENGTHY ((size_t)32 << 10)

static void note_length(lph_op *op, const PGresult *res) {
  if (op->kind != LPH_OP_EXECUTE) return;
  op->stmt->lengthy = op->rows.count > 0 ? op->rows.bytes.len > LENGTHY / 4
                                         : PQresultMemorySize(res) > LENGTHY;
}

/* A result of the statement itself, or of a script; false: not kept. */
static bool receive_main(lph_conn *c, PGresult *res) {
  switch (PQresultStatus(res)) {
#ifdef LIBPQ_HAS_CHUNK_MODE
    case PGRES_TUPLES_CHUNK:
#endif
    case PGRES_SINGLE_TUPLE: return c->op.portion = !c->op.discarding && fits(c, res);
    case PGRES_TUPLES_OK: note_length(&c->op, res); /* fall through */
    case PGRES_COMMAND_OK: lph_op_observe(c, PQcmdStatus(res)); return keep_answer(c, res);
    case PGRES_EMPTY_QUERY: return keep_answer(c, res);
    case PGRES_PIPELINE_ABORTED: return false;
    default: note_failure(c, res); return false;
  }
}

static void receive_control(lph_conn *c, const PGresult *res) {
  ExecStatusType status = PQresultStatus(res);
  if (status != PGRES_COMMAND_OK) {
    note_failure(c, res);
    return;
  }
  observe_names(c, PQcmdStatus((PGresult *)res));
  if (c->op.control == LPH_CONTROL_COMMIT) lph_txn_commit_answered(&c->txn, PQcmdStatus((PGresult *)res));
}

/* A result of one part of a flight; true: it is the one that is kept. */
static bool receive_part(lph_conn *c, int part, const PGresult *res) {
  ExecStatusType status = PQresultStatus(res);
  bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
  if (part == LPH_PART_DESCRIBE && ok) return !c->op.discarding;
  if (part == LPH_PART_GOODBYE) {
    lph_goodbye_answer(c, res);
    return false;
  }
  if (part == LPH_PART_PARSE || part == LPH_PART_DESCRIBE || part == LPH_PART_DECLARE) {
    if (!ok && status != PGRES_PIPELINE_ABORTED) note_failure(c, res);
    return false;
  }
  lph_flight_receive(c, part, res);
  if (!ok && status != PGRES_PIPELINE_ABORTED) note_failure(c, res);
  return false;
}

/* Which part of a flight the next result is; of a script, whether it is one of the steps ahead of its text. */
static int part_of(lph_op *op, const PGresult *res) {
  if (LPH_LIKELY(op->parts.len == 0)) return LPH_PART_MAIN;
  if (op->piped) return lph_flight_next(op);
  bool step = op->part < op->parts.len && PQresultStatus(res) == PGRES_COMMAND_OK;
  return step ? lph_flight_next(op) : LPH_PART_MAIN;
}

/* Answers false when it was no offer to copy. A server that lies can make one to anything. Only one that was asked for
 * is taken up. */
static bool refused_copy(lph_conn *c, const PGresult *res) {
  ExecStatusType status = PQresultStatus(res);
  if (LPH_LIKELY(status != PGRES_COPY_IN && status != PGRES_COPY_OUT && status != PGRES_COPY_BOTH))
    return false;
  if (lph_copy_accept(c, res)) return true;
  refuse_copy(c);
  if (status == PGRES_COPY_OUT) {
    c->op.copy_out = true;
  } else {
    PQputCopyEnd(c->pg, "this verb does not do COPY");
    c->op.unflushed = true;
  }
  return true;
}

/* One result that PQgetResult gave; takes it over. */
static void receive(lph_conn *c, PGresult *res) {
  lph_op *op = &c->op;
  bool keep = false;
  if (PQresultStatus(res) == PGRES_PIPELINE_SYNC) {
    op->syncs_left--;
  } else if (refused_copy(c, res)) {
    keep = false;
  } else if (op->kind == LPH_OP_CONTROL && !op->piped) {
    receive_control(c, res);
  } else {
    int part = part_of(op, res);
    keep = LPH_LIKELY(part == LPH_PART_MAIN) ? receive_main(c, res) : receive_part(c, part, res);
  }
  if (!keep) {
    PQclear(res);
  } else if (op->kind == LPH_OP_SCRIPT) {
    op->results[op->result_count++] = res;
  } else {
    PQclear(op->result);
    op->result = res;
  }
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
  lph_op_untap(c);
  if (LPH_UNLIKELY(!lph_conn_speaks_utf8(c))) return lph_conn_refuse_encoding(c);
  if (op->piped && !PQexitPipelineMode(c->pg)) {
    lph_outcome_refused(c->pg, &c->error);
    lph_conn_close(c);
    return LPH_FAILED;
  }
  c->state = LPH_IDLE;
  bool outside = PQtransactionStatus(c->pg) == PQTRANS_IDLE;
  if (outside) c->stmts.ddl_in_transaction = false;
  bool undid = op->kind == LPH_OP_CONTROL &&
               (op->control == LPH_CONTROL_UNDO || op->control == LPH_CONTROL_ROLLBACK);
  if (undid && !lph_error_is_set(&op->failure)) lph_txn_undone(&c->txn);
  lph_txn_settle(&c->txn, outside);
  if (c->max_result_bytes != 0 && op->memory > c->max_result_bytes && failure_slot(op) != NULL)
    set_too_big(c, &op->failure);
  if (LPH_UNLIKELY(op->rows.lost)) lph_op_fail_for_memory(op);
  if (LPH_LIKELY(!lph_error_is_set(&op->failure))) return LPH_DONE;
  if (op->failure.position > op->ahead_characters) op->failure.position -= op->ahead_characters;
  lph_error_copy(&c->error, &op->failure);
  drop_results(op);
  return op->discarding ? LPH_DONE : LPH_FAILED;
}

/* All answers were there, COMMIT's among them; only the word that the server is ready is missing. */
static lph_want end_committed(lph_conn *c) {
  lph_op ended = c->op;
  c->op.result = NULL;
  c->op.rows = (lph_wirerows){0};
  lph_conn_close(c);
  lph_wirerows_free(&c->op.rows);
  c->op.kind = ended.kind;
  c->op.stmt = ended.stmt;
  c->op.result = ended.result;
  c->op.rows = ended.rows;
  return LPH_DONE;
}

/* The session broke under the operation. What the server said before it went tells more than what
 * libpq noticed afterwards. */
static lph_want broken(lph_conn *c) {
  c->copy.phase = LPH_COPY_NONE;
  lph_error *said = &c->op.failure;
  bool committed = c->txn.depth > 0 && c->txn.outcome == LPH_TXN_COMMITTED;
  if (committed && said->sqlstate[0] == '\0' && (c->op.kind == LPH_OP_CONTROL || c->op.result != NULL))
    return end_committed(c);
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
    if (op->piped && lph_outcome_is_void(c->pg, res)) {
      PQclear(res);
      continue;
    }
    receive(c, res);
    if (LPH_UNLIKELY(op->kind == LPH_OP_COPY) && c->copy.phase >= LPH_COPY_IN) return LPH_DONE;
    if (op->piped && op->syncs_left == 0) return finish(c);
    if (op->portion) return LPH_DONE;
    if (op->unflushed && lph_op_flush(c) == LPH_FAILED) return LPH_FAILED;
  }
}

bool lph_op_consume(lph_conn *c) {
  if (LPH_UNLIKELY(lph_tap_is_open(&c->tap))) return lph_op_consume_tapped(c);
  if (LPH_LIKELY(c->max_result_bytes == 0)) return PQconsumeInput(c->pg);
  size_t taken;
  bool ok = lph_sip_consume(&c->sip, c->pg, c->ssl, &taken);
  c->op.received += taken;
  return ok;
}

void lph_op_uncount(lph_op *op, size_t bytes) { op->received -= bytes < op->received ? bytes : op->received; }

static lph_want check_size(lph_conn *c, lph_want want) {
  lph_op *op = &c->op;
  if (c->max_result_bytes == 0 || want <= LPH_DONE) return want;
  if (op->discarding) {
    if (op->received <= LPH_DISCARD_MAX) return want;
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

int lph_op_broken(lph_conn *c) { return (int)broken(c); }

int lph_op_check_size(lph_conn *c, int want) { return (int)check_size(c, (lph_want)want); }

/* Rows that libpq has already go first, and how a COPY ended; only then more is read. Reading may find the end of the
 * session, and that counts for more than what libpq has not been asked for. */
static bool is_served(lph_conn *c, lph_want *want) {
  if ((c->op.kind != LPH_OP_STREAM && c->op.kind != LPH_OP_COPY) || c->op.discarding) return false;
  *want = c->op.portion ? LPH_DONE : collect(c);
  if (*want > LPH_DONE && lph_op_take_wired(c)) *want = LPH_DONE;
  return *want <= LPH_DONE;
}

int lph_op_step(lph_conn *c) {
  if (LPH_UNLIKELY(c->op.kind == LPH_OP_BATCH))
    return lph_batch_drain(c); /* bind/lbatch.c runs it otherwise */
  if (LPH_UNLIKELY(c->op.kind == LPH_OP_COPY) && c->copy.phase >= LPH_COPY_IN) return lph_copy_step(c);
  lph_want served;
  if (LPH_UNLIKELY(is_served(c, &served))) return served;
  for (;;) {
    /* Reading first: a server that cannot get rid of its answer does not take our bytes. */
    if (!lph_op_consume(c)) return broken(c);
    if (c->op.unflushed && lph_op_flush(c) == LPH_FAILED) return LPH_FAILED;
    lph_want want = collect(c);
    if (want > LPH_DONE && lph_op_take_wired(c)) want = LPH_DONE;
    lph_conn_drop_notifications(c);
    /* TLS may hold decrypted bytes that no poll will ever report. (Who listens looks himself, and takes notifications
     * in between.) */
    if (want > LPH_DONE && c->ssl != NULL && (!c->hears || c->hears_beside) && lph_tls_pending(c->ssl) > 0)
      continue;
    if (want > LPH_DONE && lph_tap_is_behind(&c->tap)) continue;
    return check_size(c, want);
  }
}
