/* goodbye.c - see goodbye.h. SPDX-License-Identifier: MIT */
#include "core/goodbye.h"

#include <stdio.h>
#include <string.h>

#include "core/conn.h"
#include "core/flight.h"

bool lph_goodbye_may_ride(const lph_conn *c, bool due) {
  int waiting = c->stmts.goodbye_count;
  if (LPH_LIKELY(waiting < (due ? LPH_GOODBYES_DUE : 1))) return false;
  return PQtransactionStatus(c->pg) == PQTRANS_IDLE;
}

/* The last name first: answers take them off the end of the list. */
bool lph_goodbye_send(lph_conn *c) {
  const lph_stmts *s = &c->stmts;
  for (int i = s->goodbye_count - 1; i >= 0; i--) {
    char sql[LPH_STMT_NAME + 16];
    snprintf(sql, sizeof sql, "DEALLOCATE \"%s\"", s->goodbyes[i]);
    if (!PQsendQueryParams(c->pg, sql, 0, NULL, NULL, NULL, NULL, 0)) return false;
    if (!lph_flight_add(&c->op, LPH_PART_GOODBYE)) return false;
  }
  return true;
}

/* A failure has the rest of the segment skipped: those names go on waiting. */
void lph_goodbye_answer(lph_conn *c, const PGresult *res) {
  const char *state = PQresultErrorField(res, PG_DIAG_SQLSTATE);
  bool was_there = PQresultStatus(res) == PGRES_COMMAND_OK;
  bool missing = state != NULL && strcmp(state, "26000") == 0;
  if (was_there || missing) lph_stmts_parted(&c->stmts, was_there);
}
