/* conn.c - see conn.h. SPDX-License-Identifier: MIT */
#include "core/conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/process.h"
#include "core/batch.h"
#include "core/cancel.h"
#include "core/marks.h"
#include "core/notify.h"
#include "core/outcome.h"
#include "core/share.h"
#include "core/sqlstate.h"

void lph_conn_init(lph_conn *c) {
  memset(c, 0, sizeof *c);
  c->state = LPH_CLOSED;
  c->owner = lph_process_id();
}

bool lph_conn_is_foreign(const lph_conn *c) { return c->owner != lph_process_id(); }

/* ---- notices --------------------------------------------------------------------------------- */

static bool is_fatal(const lph_error *e) {
  const char *severity = lph_error_get(e, LPH_E_SEVERITY);
  return severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0);
}

/* Called by libpq, anywhere: only appends. A FATAL that arrives while no query runs is delivered
 * here as well (libpq has no other place for it); it explains the failure that follows. */
static void on_notice(void *arg, const PGresult *res) {
  lph_conn *c = arg;
  if (c->notice_count == LPH_NOTICE_LIMIT) {
    c->notice_first = (c->notice_first + 1) % LPH_NOTICE_LIMIT;
    c->notice_count--;
    c->notices_lost++;
  }
  lph_error *slot = &c->notices[(c->notice_first + c->notice_count) % LPH_NOTICE_LIMIT];
  lph_outcome_result(c->pg, res, slot);
  lph_op_uncount(&c->op, lph_outcome_size(res));
  /* "There is no transaction in progress" is the answer to a ROLLBACK of ours. */
  if (c->batch != NULL && c->batch->undoing && strcmp(slot->sqlstate, "25P01") == 0) return;
  c->notice_count++;
  /* A server that crashes or is stopped at once only has time for a warning of class 57P. */
  if (is_fatal(slot) || strncmp(slot->sqlstate, "57P", 3) == 0) lph_error_copy(&c->last_words, slot);
}

bool lph_conn_next_notice(lph_conn *c, lph_error *out) {
  if (c->notice_count == 0) return false;
  lph_error *slot = &c->notices[c->notice_first];
  lph_error_free(out);
  *out = *slot;
  lph_error_init(slot);
  c->notice_first = (c->notice_first + 1) % LPH_NOTICE_LIMIT;
  c->notice_count--;
  return true;
}

/* ---- closing ----------------------------------------------------------------------------------- */

static void drop_dial(lph_conn *c) {
  if (c->dial == NULL) return;
  lph_dial *dial = c->dial;
  c->dial = NULL;
  if (lph_conn_is_foreign(c)) {
    lph_dial_forget(dial);
  } else {
    lph_dial_release(dial);
  }
}

static void drop_session(lph_conn *c) {
  PGconn *pg = c->pg;
  c->pg = NULL;
  c->ssl = NULL;
  lph_sip_close(&c->sip);
  lph_tap_free(&c->tap);
  if (pg == NULL) return;
  if (!lph_conn_is_foreign(c)) {
    PQfinish(pg);
    if (c->hears) shutdown(c->ear, SHUT_RDWR); /* behind Terminate: whoever waits for it wakes up */
  } else if (PQsocket(pg) >= 0) {
    /* A Terminate from here would end the parent's session: close our copy, leak the rest. */
    close(PQsocket(pg));
  }
}

static void let_go(lph_conn *c) {
  bool busy = c->state == LPH_BUSY || (c->state == LPH_SHARED && c->share->in_flight > 0);
  if (!busy || c->let_go || c->pg == NULL || lph_conn_is_foreign(c)) return;
  c->let_go = true;
  lph_cancel_abandoned(c->pg);
}

void lph_conn_shut(lph_conn *c) {
  if (c->pg == NULL || lph_conn_is_foreign(c)) return;
  let_go(c);
  shutdown(lph_conn_fd(c), SHUT_RDWR);
}

void lph_conn_close(lph_conn *c) {
  let_go(c);
  c->state = LPH_CLOSED;
  lph_share_strand(c, NULL);
  lph_batch_free(c);
  c->marks = 0;
  drop_dial(c);
  lph_txn_lost(&c->txn);
  lph_op_reset(&c->op);
  lph_copy_free(&c->copy);
  drop_session(c);
  lph_stmts_forget_names(&c->stmts);
}

void lph_conn_clear(lph_conn *c) {
  lph_notify_end(c);
  lph_share_free(c);
  lph_op_free(&c->op);
  lph_stmts_free(&c->stmts);
  lph_txn_free(&c->txn);
  lph_params_free(&c->params);
  lph_typemap_release(c->types);
  c->types = NULL;
  lph_error_free(&c->error);
  lph_error_free(&c->last_words);
  for (unsigned i = 0; i < LPH_NOTICE_LIMIT; i++) lph_error_free(&c->notices[i]);
  c->notice_count = 0;
}

lph_want lph_conn_lost(lph_conn *c, lph_sent sent) {
  lph_outcome_lost(c->pg, sent, &c->last_words, &c->error);
  lph_conn_close(c);
  return LPH_FAILED;
}

lph_want lph_conn_refuse_encoding(lph_conn *c) {
  const char *name = PQparameterStatus(c->pg, "client_encoding");
  lph_error_set(
    &c->error, "encoding",
    "client_encoding was changed to %.60s, and luphant takes all texts for UTF-8: the session was closed",
    name == NULL ? "something else" : name);
  lph_error_put(&c->error, LPH_E_HINT,
                "COPY reads and writes other encodings (encoding 'LATIN1' among its options); convert_to and "
                "convert_from do so for single values.");
  c->error.sent = LPH_SENT_YES;
  lph_share_strand(c, &c->error);
  lph_conn_close(c);
  return LPH_FAILED;
}

/* Between two statements of a busy program a session is not looked at: that would be a system call for each. One that
 * ends in such a moment is still noticed, but the statement counts as maybe sent. */
#define IDLE_MOMENT 0.005

bool lph_conn_is_warm(const lph_conn *c, double now) { return now - c->last_use < IDLE_MOMENT; }

lph_err lph_conn_look(lph_conn *c) { return lph_conn_look_at(c, lph_now()); }

lph_err lph_conn_look_at(lph_conn *c, double now) {
  bool warm = lph_conn_is_warm(c, now);
  c->last_use = now;
  return LPH_LIKELY(warm) ? LPH_OK : lph_conn_look_hard(c);
}

#define RESTED 1.0 /* seconds */

void lph_conn_rest(lph_conn *c, double now) {
  if (c->state != LPH_IDLE || now - c->last_use < RESTED || lph_conn_is_foreign(c)) return;
  lph_sip_close(&c->sip);
  lph_tap_free(&c->tap);
  lph_wirerows_free(&c->op.rows);
}

lph_err lph_conn_look_hard(lph_conn *c) {
  char byte;
  ssize_t n = recv(PQsocket(c->pg), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (LPH_LIKELY(n < 0 && errno == EAGAIN)) return LPH_OK;
  /* Twice: the last words come first, the end of the stream behind them. */
  for (int i = 0; i < 2; i++) {
    bool there = PQconsumeInput(c->pg);
    c->sip.passed_by = true;
    lph_conn_drop_notifications(c);
    if (!there || is_fatal(&c->last_words)) {
      lph_conn_lost(c, LPH_SENT_NO);
      return LPH_EFAIL;
    }
  }
  return LPH_OK;
}

void lph_conn_drop_notifications(lph_conn *c) {
  PGnotify *notification;
  while (c->pg != NULL && !c->hears && (notification = PQnotifies(c->pg)) != NULL) {
    c->marks |= LPH_MARK_LISTEN; /* also when a function on the server said LISTEN */
    PQfreemem(notification);
  }
}

/* ---- dialling ----------------------------------------------------------------------------------- */

lph_err lph_conn_dial(lph_conn *c, const lph_dial_options *options) {
  if (c->state != LPH_CLOSED) return lph_error_set(&c->error, "usage", "this connection is open already");
  drop_dial(c); /* one that failed, kept for its attempts */
  c->owner = lph_process_id();
  c->dial = lph_dial_start(options, &c->error);
  if (c->dial == NULL) return LPH_EFAIL;
  c->state = LPH_DIALING;
  return LPH_OK;
}

static lph_want step_dial(lph_conn *c) {
  if (!lph_dial_is_done(c->dial)) return LPH_WANT_READ;
  PGconn *pg = lph_dial_take(c->dial, &c->error);
  if (pg == NULL) {
    c->state = LPH_CLOSED; /* the dial stays until close: its attempts are part of the error */
    return LPH_FAILED;
  }
  drop_dial(c);
  c->pg = pg;
  c->let_go = false;
  c->ssl = PQsslInUse(pg) ? PQsslStruct(pg, "OpenSSL") : NULL;
  lph_error_clear(&c->last_words);
  PQsetNoticeReceiver(pg, on_notice, c);
  c->encoding = PQclientEncoding(pg);
  c->state = LPH_IDLE;
  return LPH_DONE;
}

/* ---- stepping ------------------------------------------------------------------------------------ */

int lph_conn_fd(const lph_conn *c) {
  if (c->dial != NULL) return lph_dial_fd(c->dial);
  if (c->hears) return c->ear; /* also when the session is closed already */
  if (c->state == LPH_SHARED) return c->share->fd;
  return c->pg == NULL ? -1 : PQsocket(c->pg);
}

static lph_err refuse_foreign(lph_conn *c) {
  return lph_error_set(&c->error, "forked",
                       "this connection belongs to process %ld; a forked child must open its own",
                       (long)c->owner);
}

lph_want lph_conn_step(lph_conn *c) {
  if (lph_conn_is_foreign(c)) {
    refuse_foreign(c);
    return LPH_FAILED;
  }
  switch (c->state) {
    case LPH_DIALING: return step_dial(c);
    case LPH_BUSY: return (lph_want)lph_op_step(c);
    case LPH_IDLE:
    case LPH_SHARED: return LPH_DONE;
    case LPH_CLOSED: break;
  }
  lph_error_set(&c->error, "closed", "the connection is closed");
  return LPH_FAILED;
}

lph_err lph_conn_check_idle(lph_conn *c) {
  if (LPH_LIKELY(c->state == LPH_IDLE && !lph_conn_is_foreign(c))) return LPH_OK;
  if (lph_conn_is_foreign(c)) return refuse_foreign(c);
  if (c->state == LPH_CLOSED) {
    if (lph_error_is_set(&c->last_words)) {
      lph_error_set(&c->error, "closed", "the connection is closed (the server had ended the session: %s)",
                    lph_error_get(&c->last_words, LPH_E_MESSAGE));
      return LPH_EFAIL;
    }
    return lph_error_set(&c->error, "closed", "the connection is closed");
  }
  return lph_error_set(
    &c->error, "busy",
    c->state == LPH_DIALING  ? "the connection is still being made"
    : c->state == LPH_SHARED ? "this connection is lent to the shared pipeline"
    : c->op.kind == LPH_OP_COPY
      ? "a COPY is under way on this connection (finish or abort its writer, close its reader)"
      : "another statement is under way on this connection");
}
