/* optap.c - operations whose rows are read past libpq (tap.h): when, and what becomes of them. See op.h.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "core/conn.h"
#include "core/op.h"

bool lph_op_is_plain(const lph_conn *c) {
#if defined(LIBPQ_HAS_PIPELINING) /* with libpq 14 GSS encryption can be asked for as well */
  if (PQgssEncInUse(c->pg)) return false;
#endif
  return c->ssl == NULL && !PQsslInUse(c->pg);
}

bool lph_op_can_tap(const lph_conn *c) { return c->max_result_bytes == 0 && lph_op_is_plain(c); }

/* While something is left to be written libpq may read, too. */
void lph_op_tap(lph_conn *c, char opener, char row) {
  if (c->state != LPH_BUSY || c->op.unflushed || !lph_op_can_tap(c)) return;
  if (!lph_tap_open(&c->tap, &c->sip, c->pg, opener, row)) lph_tap_free(&c->tap);
}

/* If libpq cannot take what has been read, there is no going on: the next step finds the session at its end. */
void lph_op_untap(lph_conn *c) {
  if (LPH_LIKELY(!lph_tap_is_open(&c->tap))) return;
  if (!lph_tap_close(&c->tap, &c->sip, c->pg)) lph_sip_cut(&c->sip, c->pg);
}

/* Those that libpq has been given came before them. */
bool lph_op_take_wired(lph_conn *c) {
  lph_op *op = &c->op;
  if (op->kind != LPH_OP_STREAM || !lph_tap_is_open(&c->tap)) return false;
  bool unwanted = op->discarding || lph_error_is_set(&op->failure);
  op->rows.elsewhere = c->tap.owed;
  lph_wirerows_collect(unwanted ? NULL : &op->rows, &c->tap);
  if (LPH_UNLIKELY(op->rows.lost)) lph_op_fail_for_memory(op);
  return op->portion = op->rows.count > 0;
}

#define COLUMN_FACTS 18 /* behind its name: table, attribute, type, its size, its modifier, format */
#define TYPE_AT 6

/* Of a RowDescription. */
static bool is_as_described(const lph_stmt *stmt, lph_bytes body) {
  if (body.len < 2 || lph_get_u16(body.data) != stmt->column_count) return false;
  const char *p = body.data + 2, *end = body.data + body.len;
  for (int i = 0; i < stmt->column_count; i++) {
    size_t name = strlen(stmt->columns[i].name) + 1;
    if ((size_t)(end - p) < name + COLUMN_FACTS || memcmp(p, stmt->columns[i].name, name) != 0) return false;
    p += name;
    if (lph_get_u32(p + TYPE_AT) != stmt->columns[i].oid) return false;
    p += COLUMN_FACTS;
  }
  return true;
}

/* A stream hands its rows out without a PGresult that would tell what they are. */
static bool may_take(const lph_conn *c, lph_bytes opener) {
  return c->op.kind != LPH_OP_STREAM || is_as_described(c->op.stmt, opener);
}

bool lph_op_consume_tapped(lph_conn *c) {
  if (!lph_tap_consume(&c->tap, &c->sip, c->pg)) return false;
  if (c->op.kind == LPH_OP_COPY) return true;
  lph_bytes opener = lph_tap_opener(&c->tap);
  if (LPH_UNLIKELY(opener.len > 0) && may_take(c, opener)) lph_tap_take_rows(&c->tap);
  if (c->op.kind == LPH_OP_STREAM) return true;
  lph_wirerows_collect(c->op.discarding ? NULL : &c->op.rows, &c->tap);
  return true;
}
