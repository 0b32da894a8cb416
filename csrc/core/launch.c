/* launch.c - starting operations: everything that is sent. The other half of op.c.
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <string.h>

#include "core/conn.h"
#include "core/flight.h"
#include "core/goodbye.h"
#include "core/marks.h"
#include "core/op.h"
#include "core/outcome.h"

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

/* A PQsend... function answered 0: nothing of it was sent. Of a flight, other parts may have been. */
static lph_want refuse(lph_conn *c) {
  if (PQstatus(c->pg) == CONNECTION_BAD) return lph_conn_lost(c, c->op.piped ? LPH_SENT_MAYBE : LPH_SENT_NO);
  if (c->op.out_of_memory) {
    lph_error_oom(&c->error);
  } else {
    lph_outcome_refused(c->pg, &c->error);
  }
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

bool lph_op_send_execute(lph_conn *c, const struct lph_stmt *stmt, const struct lph_params *p) {
  if (stmt->name[0] != '\0')
    return PQsendQueryPrepared(c->pg, stmt->name, p->count, p->values, p->lengths, p->formats, stmt->binary);
  return PQsendQueryParams(c->pg, stmt->sql, p->count, stmt->param_oids, p->values, p->lengths, p->formats,
                           stmt->binary);
}

/* libpq (15 to 17) ends single-row mode when the next query begins, but not where that is the first of a pipeline: it
 * would come row by row. A query without a text begins, and is refused then. Not before libpq forgets that by itself can
 * this go. */
bool lph_op_enter_pipeline(lph_conn *c) {
  if (LPH_UNLIKELY(c->row_by_row)) PQsendQueryParams(c->pg, NULL, 0, NULL, NULL, NULL, NULL, 0);
  c->row_by_row = false;
  return PQenterPipelineMode(c->pg);
}

static bool begin_flight(lph_conn *c) {
  c->op.piped = true;
  return lph_op_enter_pipeline(c);
}

/* All of a flight, or of one of its segments, has been handed over. */
static bool end_segment(lph_conn *c) {
  c->op.syncs_left++;
  return PQpipelineSync(c->pg);
}

/* Names that the server may forget, in a segment of their own in front. */
static bool send_goodbyes(lph_conn *c) {
  if (LPH_LIKELY(!lph_goodbye_may_ride(c, true))) return true;
  return lph_goodbye_send(c) && end_segment(c);
}

int lph_op_execute(lph_conn *c, struct lph_stmt *stmt, const struct lph_params *p) {
  if (!may_begin(c)) return LPH_FAILED;
  begin(c, LPH_OP_EXECUTE, stmt);
  c->marks |= stmt->marks;
  c->op.moves_names = stmt->moves_names;
  bool sent;
  bool alone = !lph_flight_has_company(c, stmt) && !lph_goodbye_may_ride(c, true);
  if (LPH_LIKELY(alone || stmt->is_copy)) { /* COPY is not for pipelines */
    sent = lph_op_send_execute(c, stmt, p);
  } else {
    sent = begin_flight(c) && send_goodbyes(c) && lph_flight_before(c) && lph_op_send_execute(c, stmt, p) &&
           lph_flight_add(&c->op, LPH_PART_MAIN) && (!stmt->prints_floats || lph_flight_ask_digits(c)) &&
           lph_flight_after(c) && end_segment(c);
  }
  if (LPH_UNLIKELY(!sent)) return (int)refuse(c);
  int want = lph_op_flush(c);
  /* It has columns, so the first RowDescription of the flight is its own. */
  if (stmt->lengthy && stmt->column_count > 0) lph_op_tap(c, 'T', 'D');
  return want;
}

/* The steps of the transaction stand in front of the text; positions of errors are counted without them. */
static bool put_ahead(lph_conn *c, lph_buf *text) {
  lph_txn_plan plan = lph_txn_make_plan(&c->txn);
  lph_txn_step step;
  while ((step = lph_txn_next(&plan)) != LPH_TXN_NOTHING) {
    char room[LPH_TXN_TEXT];
    if (lph_buf_printf(text, "%s; ", lph_txn_text(&c->txn, &plan, step, room)) != LPH_OK) return false;
    char part = (char)(LPH_PART_STEP + (int)step);
    if (lph_buf_add(&c->op.parts, &part, 1) != LPH_OK) return false;
  }
  c->op.ahead_characters = (int)text->len;
  return true;
}

static bool send_script(lph_conn *c, const char *sql) {
  if (!lph_txn_is_pending(&c->txn)) return PQsendQuery(c->pg, sql);
  lph_buf text = {0};
  bool ok = put_ahead(c, &text) && lph_buf_puts(&text, sql) == LPH_OK && lph_buf_terminate(&text) == LPH_OK;
  c->op.out_of_memory = !ok;
  ok = ok && PQsendQuery(c->pg, text.data);
  lph_buf_free(&text);
  return ok;
}

int lph_op_script(lph_conn *c, const char *sql) {
  if (!may_begin(c)) return LPH_FAILED;
  begin(c, LPH_OP_SCRIPT, NULL);
  unsigned marks = lph_marks_of((lph_bytes){sql, strlen(sql)}, NULL);
  c->op.moves_names = (marks & LPH_MARK_NAMES) != 0;
  c->marks |= lph_marks_left(marks);
  c->op.speaks_of_chain = c->txn.depth > 0 && strcasestr(sql, "chain") != NULL;
  return send_script(c, sql) ? lph_op_flush(c) : (int)refuse(c);
}

int lph_op_copy(lph_conn *c, const char *sql, bool inward) {
  if (!may_begin(c)) return LPH_FAILED;
  begin(c, LPH_OP_COPY, NULL);
  unsigned marks = lph_marks_of((lph_bytes){sql, strlen(sql)}, NULL);
  c->op.moves_names = (marks & LPH_MARK_NAMES) != 0;
  c->marks |= lph_marks_left(marks);
  lph_copy_begin(&c->copy, inward);
  if (!PQsendQuery(c->pg, sql)) return (int)refuse(c);
  int want = lph_op_flush(c);
  if (!inward) lph_op_tap(c, 'H', 'd');
  return want;
}

static bool send_prepare(lph_conn *c, struct lph_stmt *stmt) {
  return PQsendPrepare(c->pg, stmt->name, stmt->sql, stmt->forced_count, stmt->forced) &&
         lph_flight_add(&c->op, LPH_PART_PARSE) && PQsendDescribePrepared(c->pg, stmt->name) &&
         lph_flight_add(&c->op, LPH_PART_DESCRIBE);
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
  /* Behind the description they need no Sync of their own; but they must not be in a transaction. */
  bool inside = c->txn.depth > 0, behind = !inside && lph_goodbye_may_ride(c, false);
  bool sent = begin_flight(c) && (!inside || send_goodbyes(c)) && lph_flight_before(c) &&
              send_prepare(c, stmt) && (!behind || lph_goodbye_send(c)) && end_segment(c);
  return sent ? lph_op_flush(c) : (int)refuse(c);
}

static lph_want send_control(lph_conn *c, lph_control what, const char *text) {
  begin(c, LPH_OP_CONTROL, NULL);
  c->op.control = what;
  bool sent;
  if (what == LPH_CONTROL_OPEN || what == LPH_CONTROL_ID) {
    sent = begin_flight(c) && lph_flight_before(c) && (what == LPH_CONTROL_OPEN || lph_flight_ask(c)) &&
           end_segment(c);
  } else {
    sent = PQsendQuery(c->pg, text);
    if (sent && what == LPH_CONTROL_COMMIT) lph_txn_commit_sent(&c->txn);
  }
  return sent ? (lph_want)lph_op_flush(c) : refuse(c);
}

int lph_op_control(lph_conn *c, lph_control what) {
  lph_txn *t = &c->txn;
  char room[LPH_TXN_TEXT];
  const char *text = "commit";
  if (lph_conn_check_idle(c) != LPH_OK) return LPH_FAILED;
  if (what == LPH_CONTROL_UNDO || what == LPH_CONTROL_ROLLBACK) {
    while (what == LPH_CONTROL_ROLLBACK && t->depth > 1) lph_txn_release(t);
    text = lph_txn_undo_text(t, room);
    if (text != NULL && t->depth == 1 && PQtransactionStatus(c->pg) == PQTRANS_IDLE) text = NULL;
    if (text == NULL) return lph_txn_undone(t), LPH_DONE;
  } else if (what == LPH_CONTROL_COMMIT && t->on_server == 0) {
    t->outcome = LPH_TXN_COMMITTED; /* all nothing of it */
    return LPH_DONE;
  }
  lph_op_reset(&c->op);
  /* Whether COMMIT ever left decides between "rolled back" and "nobody knows": a dead session is not sent one. */
  if (what == LPH_CONTROL_COMMIT && lph_conn_look_hard(c) != LPH_OK) return LPH_FAILED;
  return (int)send_control(c, what, text);
}

/* ---- rows by the portion ------------------------------------------------------------------------------ */

/* With chunks libpq makes one result of so many rows instead of one each; only libpq 17 and newer have them. A chunk is
 * not handed over before it is full. */
#define CHUNK_ROWS 64

static bool ask_for_rows(PGconn *pg, int rows) {
#ifdef LIBPQ_HAS_CHUNK_MODE
  if (rows != 1) return PQsetChunkedRowsMode(pg, rows > 0 ? rows : CHUNK_ROWS);
#else
  (void)rows;
#endif
  return PQsetSingleRowMode(pg);
}

int lph_op_stream(lph_conn *c, struct lph_stmt *stmt, const lph_params *p, int rows) {
  if (!may_begin(c)) return LPH_FAILED;
  begin(c, LPH_OP_STREAM, stmt);
  c->marks |= stmt->marks;
  c->op.moves_names = stmt->moves_names;
  c->row_by_row = true;
  /* An unnamed statement is parsed again, and somebody has to see what its columns are now. A long row that libpq kept
   * for a chunk would come behind those we read. */
  bool taps = stmt->name[0] != '\0' && stmt->column_count > 0 && lph_op_can_tap(c);
  if (!lph_op_send_execute(c, stmt, p) || !ask_for_rows(c->pg, taps ? 1 : rows)) return (int)refuse(c);
  int want = lph_op_flush(c);
  if (taps) lph_op_tap(c, 'T', 'D');
  return want;
}

static bool send_portal(lph_conn *c, const struct lph_stmt *stmt, const lph_params *p, const char *declare,
                        const char *fetch) {
  if (!begin_flight(c) || !lph_flight_before(c)) return false;
  if (!PQsendQueryParams(c->pg, declare, p->count, stmt->param_oids, p->values, p->lengths, p->formats, 0))
    return false;
  if (!lph_flight_add(&c->op, LPH_PART_DECLARE)) return false;
  if (fetch != NULL && !(PQsendQueryParams(c->pg, fetch, 0, NULL, NULL, NULL, NULL, stmt->binary) &&
                         lph_flight_add(&c->op, LPH_PART_MAIN)))
    return false;
  return (!stmt->prints_floats || lph_flight_ask_digits(c)) && lph_flight_ask(c) && end_segment(c);
}

int lph_op_portal(lph_conn *c, struct lph_stmt *stmt, const lph_params *p, const char *head,
                  const char *fetch) {
  if (!may_begin(c)) return LPH_FAILED;
  lph_buf declare = {0};
  bool worded = lph_buf_puts(&declare, head) == LPH_OK && lph_buf_puts(&declare, stmt->sql) == LPH_OK &&
                lph_buf_terminate(&declare) == LPH_OK;
  if (!worded) {
    lph_buf_free(&declare);
    lph_error_oom(&c->error);
    return LPH_FAILED;
  }
  begin(c, LPH_OP_PORTAL, stmt);
  c->marks |= stmt->marks | lph_marks_of((lph_bytes){head, strlen(head)}, NULL); /* with hold */
  c->op.ahead_characters = (int)strlen(head);
  bool sent = send_portal(c, stmt, p, declare.data, fetch);
  lph_buf_free(&declare);
  return sent ? lph_op_flush(c) : (int)refuse(c);
}

int lph_op_fetch(lph_conn *c, const char *text, bool binary) {
  if (!may_begin(c)) return LPH_FAILED;
  begin(c, LPH_OP_FETCH, NULL);
  if (!PQsendQueryParams(c->pg, text, 0, NULL, NULL, NULL, NULL, binary)) return (int)refuse(c);
  int want = lph_op_flush(c);
  lph_op_tap(c, 'T', 'D');
  return want;
}
