/* flight.c - see flight.h. SPDX-License-Identifier: MIT */
#include "core/flight.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "core/conn.h"

enum { HELPER_BEGIN, HELPER_ID, HELPER_COMMIT, HELPER_DIGITS };

static const char *const helper_texts[] = {"begin", "select pg_catalog.pg_current_xact_id_if_assigned()",
                                           "commit",
                                           "select pg_catalog.current_setting('extra_float_digits')"};
static const char helper_names[][3] = {"_b", "_i", "_c", "_d"};
/* The servers before 13 know it under another name. */
#define OLD_ID "select pg_catalog.txid_current_if_assigned()"

bool lph_flight_add(lph_op *op, int part) {
  char byte = (char)part;
  op->out_of_memory = lph_buf_add(&op->parts, &byte, 1) != LPH_OK;
  return !op->out_of_memory;
}

int lph_flight_next(lph_op *op) {
  return op->part < op->parts.len ? (unsigned char)op->parts.data[op->part++] : LPH_PART_GOODBYE;
}

bool lph_flight_has_company(const lph_conn *c, const lph_stmt *stmt) {
  const lph_txn *t = &c->txn;
  if (LPH_UNLIKELY(stmt->prints_floats)) return true;
  return t->depth > 0 && (lph_txn_is_pending(t) || t->wants_id || t->rides);
}

bool lph_flight_had_begin(const lph_conn *c) {
  const lph_op *op = &c->op;
  return op->parts.len > 0 && memchr(op->parts.data, LPH_PART_STEP + LPH_TXN_BEGIN, op->parts.len) != NULL;
}

/* ---- sending ------------------------------------------------------------------------------------------ */

static bool send_text(lph_conn *c, const char *text, int part) {
  return PQsendQueryParams(c->pg, text, 0, NULL, NULL, NULL, NULL, 0) && lph_flight_add(&c->op, part);
}

static const char *helper_text(const lph_conn *c, int helper) {
  if (helper == HELPER_ID && PQserverVersion(c->pg) < 130000) return OLD_ID;
  return helper_texts[helper];
}

static bool send_helper(lph_conn *c, int helper, int part) {
  lph_stmts *s = &c->stmts;
  if (s->unnamed) return send_text(c, helper_text(c, helper), part);
  char name[sizeof s->prefix + 2]; /* by hand: snprintf would be a twentieth of what the flight costs us */
  size_t n = strlen(s->prefix);
  memcpy(name, s->prefix, n);
  memcpy(name + n, helper_names[helper], 3);
  if (LPH_UNLIKELY((s->helpers & 1u << helper) == 0)) {
    if (!PQsendPrepare(c->pg, name, helper_text(c, helper), 0, NULL)) return false;
    if (!lph_flight_add(&c->op, LPH_PART_HELPER + helper)) return false;
  }
  return PQsendQueryPrepared(c->pg, name, 0, NULL, NULL, NULL, 0) && lph_flight_add(&c->op, part);
}

static bool send_settings(lph_conn *c) {
  const lph_txn *t = &c->txn;
  lph_buf text = {0};
  int n = 2 * t->setting_count;
  const char **values = lph_array((size_t)n, sizeof *values);
  c->op.out_of_memory = values == NULL || lph_txn_settings_text(t, &text) != LPH_OK;
  bool ok = !c->op.out_of_memory;
  if (ok) {
    const char *p = t->settings.data;
    for (int i = 0; i < n; i++, p += strlen(p) + 1) values[i] = p;
    ok = PQsendQueryParams(c->pg, text.data, n, NULL, values, NULL, NULL, 0) &&
         lph_flight_add(&c->op, LPH_PART_STEP + LPH_TXN_SETTINGS);
  }
  lph_free(values);
  lph_buf_free(&text);
  return ok;
}

bool lph_flight_before(lph_conn *c) {
  const lph_txn *t = &c->txn;
  if (LPH_LIKELY(!lph_txn_is_pending(t))) return true;
  lph_txn_plan plan = lph_txn_make_plan(t);
  for (;;) {
    char room[LPH_TXN_TEXT];
    lph_txn_step step = lph_txn_next(&plan);
    bool ok = true;
    if (step == LPH_TXN_NOTHING) return true;
    if (step == LPH_TXN_BEGIN && t->has_plain) {
      ok = send_helper(c, HELPER_BEGIN, LPH_PART_STEP + LPH_TXN_BEGIN);
    } else if (step == LPH_TXN_SETTINGS) {
      ok = send_settings(c);
    } else {
      ok = send_text(c, lph_txn_text(t, &plan, step, room), LPH_PART_STEP + (int)step);
    }
    if (!ok) return false;
  }
}

bool lph_flight_ask(lph_conn *c) { return !c->txn.wants_id || send_helper(c, HELPER_ID, LPH_PART_ID); }

bool lph_flight_ask_digits(lph_conn *c) { return send_helper(c, HELPER_DIGITS, LPH_PART_DIGITS); }

bool lph_flight_after(lph_conn *c) {
  lph_txn *t = &c->txn;
  if (t->depth == 0) return true;
  if (!t->rides) return lph_flight_ask(c);
  if (!send_helper(c, HELPER_COMMIT, LPH_PART_COMMIT)) return false;
  lph_txn_commit_sent(t);
  return true;
}

/* ---- receiving ------------------------------------------------------------------------------------------ */

static const char *part_name(const lph_conn *c, int part) {
  switch (part) {
    case LPH_PART_STEP + LPH_TXN_BEGIN: return c->txn.begin;
    case LPH_PART_STEP + LPH_TXN_SETTINGS: return "set local";
    case LPH_PART_STEP + LPH_TXN_RELEASE: return "release savepoint";
    case LPH_PART_STEP + LPH_TXN_SAVEPOINT: return "savepoint";
    case LPH_PART_COMMIT: return "commit";
    case LPH_PART_DIGITS: return helper_texts[HELPER_DIGITS];
    default: return "select pg_current_xact_id_if_assigned()";
  }
}

static bool is_helper(int part) { return part >= LPH_PART_HELPER && part < LPH_PART_STEP; }

/* A session that has lost the helpers, or still has one we thought was gone, is taken as it is from now on. */
static void learn_from_failure(lph_conn *c, int part, const PGresult *res) {
  const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
  if (state != NULL && strcmp(state, "26000") == 0) c->stmts.helpers = 0;
  if (state != NULL && strcmp(state, "42P05") == 0 && is_helper(part))
    c->stmts.helpers |= 1u << (part - LPH_PART_HELPER);
}

void lph_flight_refuse_digits(const lph_conn *c, const lph_stmt *stmt, const char *setting, lph_error *e) {
  const lph_column *column = stmt->columns;
  while (!lph_type_has_float(c->types, column->type)) column++;
  lph_error_set(
    e, "decode",
    "column \"%s\" (%s) has lost digits: a result with a column that has no binary form comes as text, "
    "where extra_float_digits = %s makes the server leave out digits of floats",
    column->name, column->type->name, setting);
  lph_error_put(e, LPH_E_HINT,
                "Set extra_float_digits to 1 or more in this session, or cast what has no binary form.");
  e->sent = LPH_SENT_YES;
}

static void check_digits(lph_conn *c, const PGresult *res) {
  const lph_stmt *stmt = c->op.stmt;
  bool has = PQntuples(res) == 1 && PQnfields(res) == 1;
  if (!has || stmt == NULL || !stmt->prints_floats || lph_error_is_set(&c->op.failure)) return;
  const char *setting = PQgetvalue(res, 0, 0);
  if (atoi(setting) < 1) lph_flight_refuse_digits(c, stmt, setting, &c->op.failure);
}

void lph_flight_receive(lph_conn *c, int part, const PGresult *res) {
  ExecStatusType status = PQresultStatus(res);
  if (status == PGRES_FATAL_ERROR && c->op.culprit == NULL && !lph_error_is_set(&c->op.failure)) {
    c->op.culprit = part_name(c, part);
    learn_from_failure(c, part, res);
  }
  if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) return;
  if (part == LPH_PART_ID) {
    bool has = PQntuples(res) == 1 && PQnfields(res) == 1 && !PQgetisnull(res, 0, 0);
    lph_txn_set_id(&c->txn, has ? PQgetvalue(res, 0, 0) : NULL);
  } else if (part == LPH_PART_DIGITS) {
    check_digits(c, res);
  } else if (part == LPH_PART_COMMIT) {
    lph_txn_commit_answered(&c->txn, PQcmdStatus((PGresult *)res));
  } else if (is_helper(part)) {
    c->stmts.helpers |= 1u << (part - LPH_PART_HELPER);
  } else {
    lph_txn_did(&c->txn, (lph_txn_step)(part - LPH_PART_STEP));
  }
}
