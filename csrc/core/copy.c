/* copy.c - see copy.h. SPDX-License-Identifier: MIT */
#include "core/copy.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "core/conn.h"
#include "crypto/crypto.h"

#define KEEP_BYTES ((size_t)4 * LPH_COPY_PIECE) /* what stays allocated behind a huge row */

void lph_copy_drop_row(lph_copy *y) {
  if (y->row != NULL && !y->tapped) PQfreemem(y->row);
  y->row = NULL;
  y->row_len = 0;
}

void lph_copy_begin(lph_copy *y, bool inward) {
  lph_copy_drop_row(y);
  lph_buf piece = y->piece;
  lph_buf_clear(&piece);
  *y = (lph_copy){.phase = LPH_COPY_START, .inward = inward, .piece = piece};
}

void lph_copy_free(lph_copy *y) {
  lph_copy_drop_row(y);
  lph_buf_free(&y->piece);
  *y = (lph_copy){0};
}

bool lph_copy_accept(lph_conn *c, const PGresult *res) {
  lph_copy *y = &c->copy;
  ExecStatusType wanted = y->inward ? PGRES_COPY_IN : PGRES_COPY_OUT;
  if (c->op.kind != LPH_OP_COPY || y->phase != LPH_COPY_START || PQresultStatus(res) != wanted) return false;
  if (c->op.discarding) return false;
  y->columns = PQnfields(res);
  y->binary = PQbinaryTuples(res) != 0;
  y->direct = lph_op_is_plain(c);
  y->phase = y->inward ? LPH_COPY_IN : LPH_COPY_OUT;
  lph_tap_take(&c->tap);
  return true;
}

void lph_copy_leave(lph_conn *c) {
  lph_copy *y = &c->copy;
  lph_op_untap(c);
  if (y->phase == LPH_COPY_OUT) {
    lph_copy_drop_row(y);
    y->phase = LPH_COPY_NONE;
    c->op.copy_out = true;
  } else if (y->phase == LPH_COPY_IN || y->phase == LPH_COPY_REST) {
    if (!y->failing) snprintf(y->reason, sizeof y->reason, "it was given up by the client");
    y->failing = true;
    y->phase = LPH_COPY_REST;
  }
}

/* ---- what the server says while it takes rows ------------------------------------------------------------- */

/* Follows the borders of its messages. Notices are libpq's business; an error ends the COPY. */
static void look(void *arg, const char *data, size_t len) {
  lph_copy *y = arg;
  while (len > 0) {
    if (y->skip > 0) {
      size_t n = y->skip < len ? y->skip : len;
      y->skip -= n;
      data += n;
      len -= n;
      continue;
    }
    y->head[y->have++] = *data++;
    len--;
    if (y->have < LPH_COPY_HEAD) continue;
    uint32_t size = lph_get_u32(y->head + 1);
    if (y->head[0] == 'E') y->refused = true;
    y->skip = size > 4 ? size - 4 : 0;
    y->have = 0;
  }
}

/* With TLS: what OpenSSL holds is looked at before libpq takes it. libpq may have taken something while it was
 * writing; then an error is noticed later, at the latest at the end. */
static bool consume_secret(lph_conn *c) {
  lph_copy *y = &c->copy;
  char shown[4096];
  int n = c->ssl == NULL ? 0 : lph_tls_peek(c->ssl, shown, sizeof shown);
  if (n > 0) {
    y->have = y->skip = 0;
    look(y, shown, 1);
    if (shown[0] == 'E') y->refused = true;
  }
  return PQconsumeInput(c->pg);
}

static size_t look_on(void *arg, char **data, size_t len) {
  look(arg, *data, len);
  return len;
}

static bool consume(lph_conn *c) {
  size_t taken;
  if (!c->copy.direct) return consume_secret(c);
  return lph_sip_consume_seen(&c->sip, c->pg, look_on, &c->copy, &taken);
}

/* ---- what goes to the server --------------------------------------------------------------------------------- */

lph_buf *lph_copy_room(lph_copy *y) {
  if (LPH_UNLIKELY(y->piece.len == 0)) {
    if (lph_buf_reserve(&y->piece, LPH_COPY_PIECE + 1024) != LPH_OK) return NULL;
    y->piece.len = LPH_COPY_HEAD;
  }
  return &y->piece;
}

static void empty_piece(lph_copy *y) {
  y->sealed = false;
  y->sent = 0;
  if (y->piece.cap > KEEP_BYTES) lph_buf_free(&y->piece);
  lph_buf_clear(&y->piece);
}

static void seal(lph_copy *y) {
  if (y->sealed || y->piece.len <= LPH_COPY_HEAD) return;
  uint32_t size = (uint32_t)(y->piece.len - 1);
  y->piece.data[0] = 'd';
  for (int i = 0; i < 4; i++) y->piece.data[1 + i] = (char)(size >> (24 - 8 * i));
  y->bytes += y->piece.len - LPH_COPY_HEAD;
  y->sent = y->direct ? 0 : LPH_COPY_HEAD; /* libpq writes a head of its own */
  y->sealed = true;
}

static lph_want write_plain(lph_conn *c) {
  lph_copy *y = &c->copy;
  while (y->sent < y->piece.len) {
    ssize_t n = send(PQsocket(c->pg), y->piece.data + y->sent, y->piece.len - y->sent,
                     MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return LPH_WANT_RW;
    if (n < 0) return LPH_FAILED;
    y->sent += (size_t)n;
  }
  return LPH_DONE;
}

static lph_want write_secret(lph_conn *c) {
  lph_copy *y = &c->copy;
  for (;;) {
    int rc = PQflush(c->pg);
    if (rc != 0) return rc > 0 ? LPH_WANT_RW : LPH_FAILED;
    size_t left = y->piece.len - y->sent, n = left < LPH_COPY_PIECE ? left : LPH_COPY_PIECE;
    if (n == 0) return LPH_DONE;
    if (PQputCopyData(c->pg, y->piece.data + y->sent, (int)n) <= 0) return LPH_FAILED;
    y->sent += n;
  }
}

/* Of a message that was begun the rest must follow, unless it is libpq that cuts them. */
static bool must_go_on(const lph_copy *y) {
  return y->sealed && (!(y->failing || y->refused) || (y->direct && y->sent > 0));
}

static lph_want send_piece(lph_conn *c) {
  lph_copy *y = &c->copy;
  if (!must_go_on(y)) {
    if (y->sealed) empty_piece(y);
    return LPH_DONE;
  }
  lph_want want = y->direct ? write_plain(c) : write_secret(c);
  if (want == LPH_DONE) empty_piece(y);
  return want;
}

/* The socket does not take any more. Why, may stand in what the server said last. */
static lph_want cannot_write(lph_conn *c) {
  lph_copy *y = &c->copy;
  if (!consume(c)) return lph_op_broken(c);
  if (!y->refused) return lph_conn_lost(c, LPH_SENT_MAYBE);
  empty_piece(y);
  return LPH_DONE;
}

static lph_want send_end(lph_conn *c) {
  lph_copy *y = &c->copy;
  const char *reason = y->refused ? "the server has failed it" : y->failing ? y->reason : NULL;
  y->phase = LPH_COPY_NONE;
  empty_piece(y);
  if (PQputCopyEnd(c->pg, reason) < 0) return lph_conn_lost(c, LPH_SENT_MAYBE);
  c->op.unflushed = true;
  return (lph_want)lph_op_step(c);
}

static lph_want step_in(lph_conn *c) {
  lph_copy *y = &c->copy;
  if (!consume(c)) return lph_op_broken(c);
  if (y->refused) y->phase = LPH_COPY_REST;
  lph_want want = send_piece(c);
  if (want == LPH_DONE && y->phase == LPH_COPY_REST && !y->failing && !y->refused && y->piece.len > 0) {
    seal(y);
    want = send_piece(c);
  }
  if (want == LPH_FAILED) want = cannot_write(c);
  if (want != LPH_DONE || y->phase == LPH_COPY_IN) return want;
  return send_end(c);
}

static bool is_ours(lph_conn *c) { return lph_conn_is_foreign(c) ? lph_conn_check_idle(c) == LPH_OK : true; }

int lph_copy_push(lph_conn *c) {
  if (!is_ours(c)) return LPH_FAILED;
  seal(&c->copy);
  return step_in(c);
}

int lph_copy_end(lph_conn *c, const char *reason) {
  lph_copy *y = &c->copy;
  if (!is_ours(c)) return LPH_FAILED;
  if (reason != NULL) {
    snprintf(y->reason, sizeof y->reason, "%s", reason);
    y->failing = true;
  }
  y->phase = LPH_COPY_REST;
  return step_in(c);
}

/* ---- what comes from the server ------------------------------------------------------------------------------- */

/* Empty messages are none; libpq leaves them out, too. */
static bool next_of_tap(lph_conn *c) {
  lph_copy *y = &c->copy;
  lph_bytes row;
  while (lph_tap_next(&c->tap, &row)) {
    if (row.len == 0) continue;
    y->row = (char *)row.data;
    y->row_len = (int)row.len;
    y->bytes += row.len;
    return y->tapped = true;
  }
  return false;
}

bool lph_copy_next(lph_conn *c) {
  lph_copy *y = &c->copy;
  if (LPH_UNLIKELY(y->phase != LPH_COPY_OUT || y->row != NULL)) return y->row != NULL;
  if (LPH_LIKELY(c->tap.owed == 0) && next_of_tap(c)) return true;
  y->tapped = false;
  y->row_len = PQgetCopyData(c->pg, &y->row, 1);
  if (LPH_UNLIKELY(y->row_len <= 0)) {
    bool given = y->row_len == 0 && c->tap.owed > 0 && c->tap.foreign == 0; /* all of the long rows */
    if (given) c->tap.owed = 0;
    return given && next_of_tap(c);
  }
  y->bytes += (size_t)y->row_len;
  c->op.received = 0; /* max_result_bytes is for a single row */
  return true;
}

static lph_want step_out(lph_conn *c) {
  lph_copy *y = &c->copy;
  for (int turn = 0;; turn++) {
    /* libpq tells the end once only; it may have been told to whoever called lph_copy_next. */
    if (y->row_len >= 0 && lph_copy_next(c)) return LPH_DONE;
    if (y->row_len < 0) {
      y->phase = LPH_COPY_NONE;
      lph_op_untap(c);
      return (lph_want)lph_op_step(c);
    }
    bool behind = lph_tap_is_behind(&c->tap) || (c->ssl != NULL && lph_tls_pending(c->ssl) > 0);
    if (turn > 0 && !behind) break;
    if (!lph_op_consume(c)) return lph_op_broken(c);
  }
  return (lph_want)lph_op_check_size(c, LPH_WANT_READ);
}

int lph_copy_step(lph_conn *c) { return c->copy.phase == LPH_COPY_OUT ? step_out(c) : step_in(c); }
