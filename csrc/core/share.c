/* share.c - see share.h. SPDX-License-Identifier: MIT */
#include "core/share.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "core/conn.h"
#include "core/marks.h"
#include "core/outcome.h"
#include "crypto/crypto.h"

static lph_ride *ride_of(lph_list *node) {
  return node == NULL ? NULL : lph_list_entry(node, lph_ride, link);
}

static lph_ride *head_of(const lph_share *s) { return ride_of(lph_list_first(&s->flight)); }

/* ---- beginning and end ------------------------------------------------------------------------------------ */

static lph_share *new_share(int socket) {
  lph_share *s = lph_zalloc(sizeof *s);
  if (s == NULL) return NULL;
  s->fd = fcntl(socket, F_DUPFD_CLOEXEC, 0);
  s->strain.arg = s;
  lph_list_init(&s->flight);
  lph_list_init(&s->news);
  lph_list_init(&s->unused);
  for (int i = 0; i < LPH_SHARE_SLOTS; i++) lph_list_push_back(&s->unused, &s->rides[i].link);
  return s;
}

lph_err lph_share_begin(lph_conn *c, bool choosy) {
  if (lph_conn_check_idle(c) != LPH_OK || lph_conn_look(c) != LPH_OK) return LPH_EFAIL;
  if (PQtransactionStatus(c->pg) != PQTRANS_IDLE)
    return lph_error_set(&c->error, "busy", "a transaction is open on this connection: it cannot be shared");
  lph_share_free(c); /* of an earlier time */
  lph_share *s = c->share = new_share(PQsocket(c->pg));
  if (s == NULL) return lph_error_oom(&c->error);
  s->choosy = choosy;
  if (s->fd < 0 || !lph_op_enter_pipeline(c)) {
    if (s->fd < 0) {
      lph_error_set(&c->error, "usage", "no file descriptor is left for sharing this connection");
    } else {
      lph_outcome_refused(c->pg, &c->error);
    }
    lph_share_free(c);
    return LPH_EFAIL;
  }
  lph_op_reset(&c->op);
  c->state = LPH_SHARED;
  return LPH_OK;
}

lph_err lph_share_check(lph_conn *c) {
  if (LPH_LIKELY(c->state == LPH_SHARED && !lph_conn_is_foreign(c))) return LPH_OK;
  if (lph_conn_check_idle(c) == LPH_OK)
    lph_error_set(&c->error, "usage", "this connection is not a shared one");
  return LPH_EFAIL;
}

lph_err lph_share_end(lph_conn *c) {
  if (lph_share_check(c) != LPH_OK) return LPH_EFAIL;
  if (c->share->in_flight > 0 || c->share->cancel_open)
    return lph_error_set(&c->error, "busy", "statements are under way on this shared connection");
  if (!PQexitPipelineMode(c->pg)) {
    lph_outcome_refused(c->pg, &c->error);
    lph_conn_close(c);
    return LPH_EFAIL;
  }
  lph_share_free(c);
  c->state = LPH_IDLE;
  return LPH_OK;
}

void lph_share_close_fd(lph_share *s) {
  if (s->fd >= 0) close(s->fd);
  s->fd = -1;
}

void lph_share_free(lph_conn *c) {
  lph_share *s = c->share;
  if (s == NULL) return;
  for (int i = 0; i < LPH_SHARE_SLOTS; i++) lph_share_free_ride(c, &s->rides[i]);
  lph_error_free(&s->loss);
  lph_share_close_fd(s);
  c->share = NULL;
  lph_free(s);
}

/* ---- rides ------------------------------------------------------------------------------------------------ */

static lph_ride *new_ride(lph_conn *c, lph_ride_kind kind, lph_stmt *stmt) {
  lph_share *s = c->share;
  lph_ride *ride = ride_of(lph_list_pop_front(&s->unused)); /* lph_share_board has seen one */
  lph_list link = ride->link;
  *ride = (lph_ride){.link = link, .kind = kind, .stmt = stmt, .wanted = true, .suspect = s->cancel_open};
  lph_list_init(&ride->link);
  lph_stmts_pin(stmt);
  return ride;
}

static void depart(lph_share *s, lph_ride *ride) {
  if (s->in_flight++ == 0) s->head_since = s->now;
  s->bytes += ride->bytes;
  lph_list_push_back(&s->flight, &ride->link);
}

void lph_share_free_ride(lph_conn *c, lph_ride *ride) {
  if (ride->kind == LPH_RIDE_FREE) return;
  ride->kind = LPH_RIDE_FREE;
  PQclear(ride->result);
  PQclear(ride->failure);
  ride->result = ride->failure = NULL;
  lph_stmts_unpin(&c->stmts, ride->stmt);
  ride->stmt = NULL;
  lph_list_remove(&ride->link); /* from the news, if it stood there */
  lph_list_push_front(&c->share->unused, &ride->link);
}

void lph_share_leave(lph_conn *c, lph_ride *ride) {
  ride->wanted = false;
  if (ride->landed) lph_share_free_ride(c, ride);
}

lph_ride *lph_share_next_news(lph_share *s) { return ride_of(lph_list_pop_front(&s->news)); }

lph_ride *lph_share_first_wanted(const lph_share *s) {
  lph_list_each(&s->flight, node, after) {
    if (ride_of(node)->wanted) return ride_of(node);
  }
  return NULL;
}

/* ---- sending ---------------------------------------------------------------------------------------------- */

/* In pipeline mode libpq leaves messages nobody asked for unread. Out of it a FATAL that came meanwhile is delivered
 * as a notice, and is there to explain why the session is gone. */
static lph_err look(lph_conn *c) {
  if (LPH_LIKELY(lph_conn_is_warm(c, c->share->now))) return LPH_OK;
  if (!PQexitPipelineMode(c->pg)) {
    lph_conn_lost(c, LPH_SENT_NO);
    return LPH_EFAIL;
  }
  if (lph_conn_look(c) != LPH_OK) return LPH_EFAIL;
  lph_op_enter_pipeline(c);
  return LPH_OK;
}

static void set_doomed(lph_conn *c) {
  lph_error_set(&c->error, "closed", "this shared connection is being closed after a failure");
}

lph_boarding lph_share_board(lph_conn *c, size_t bytes, bool patient) {
  if (lph_share_check(c) != LPH_OK) return LPH_BOARD_FAILED;
  lph_share *s = c->share;
  s->now = lph_now();
  if (s->in_flight == 0 && look(c) != LPH_OK) return LPH_BOARD_FAILED;
  if (LPH_UNLIKELY(s->doomed)) return set_doomed(c), LPH_BOARD_FAILED;
  bool no_room = s->unflushed || lph_list_is_empty(&s->unused);
  if (s->in_flight == 0) return no_room ? LPH_BOARD_FULL : LPH_BOARD_YES;
  bool shut = head_of(s)->too_big > 0 || lph_strain_is_shut(&s->strain);
  if (!patient && (shut || s->now - s->head_since > LPH_SHARE_SLOW)) return LPH_BOARD_SLOW;
  no_room |= shut || s->in_flight >= LPH_SHARE_FLIGHT || s->bytes + bytes > LPH_SHARE_BYTES;
  return no_room ? LPH_BOARD_FULL : LPH_BOARD_YES;
}

/* A PQsend... function answered 0. Half a flight may wait in libpq's buffer: not provably in order. Without its Sync
 * nothing of it is ever committed. While others are under way somebody waits for the socket, which must not be closed
 * under him: the stream is ended, and his next step does the rest. */
static lph_ride *refuse(lph_conn *c, lph_ride *ride) {
  lph_share_free_ride(c, ride);
  if (c->share->in_flight > 0) {
    c->share->doomed = true;
    shutdown(c->share->fd, SHUT_RDWR);
    set_doomed(c);
  } else if (PQstatus(c->pg) == CONNECTION_BAD) {
    lph_conn_lost(c, LPH_SENT_NO);
  } else {
    lph_outcome_refused(c->pg, &c->error);
    lph_conn_close(c);
  }
  return NULL;
}

/* What was sent is under way, also when the flush fails: the next step tells the failure. */
static lph_ride *sent(lph_conn *c, lph_ride *ride) {
  lph_share *s = c->share;
  c->last_use = s->now;
  depart(s, ride);
  s->unflushed = PQflush(c->pg) != 0;
  if (LPH_UNLIKELY(s->unflushed)) c->sip.passed_by = true;
  return ride;
}

lph_ride *lph_share_execute(lph_conn *c, lph_stmt *stmt, const lph_params *p) {
  lph_ride *ride = new_ride(c, LPH_RIDE_EXECUTE, stmt);
  ride->syncs = 1;
  ride->bytes = p->bytes;
  lph_share_before_sending(c->share, p->bytes + (size_t)p->count * 6 + strlen(stmt->sql));
  int ok = stmt->name[0] != '\0' ? PQsendQueryPrepared(c->pg, stmt->name, p->count, p->values, p->lengths,
                                                       p->formats, stmt->binary)
                                 : PQsendQueryParams(c->pg, stmt->sql, p->count, stmt->param_oids, p->values,
                                                     p->lengths, p->formats, stmt->binary);
  if (LPH_UNLIKELY(!ok || !PQpipelineSync(c->pg))) return refuse(c, ride);
  return sent(c, ride);
}

static bool send_goodbyes(lph_conn *c, lph_ride *ride) {
  lph_stmts *s = &c->stmts;
  for (int i = 0; i < s->goodbye_count; i++) {
    char sql[LPH_STMT_NAME + 16];
    snprintf(sql, sizeof sql, "DEALLOCATE \"%s\"", s->goodbyes[i]);
    if (!PQsendQueryParams(c->pg, sql, 0, NULL, NULL, NULL, NULL, 0) || !PQpipelineSync(c->pg)) return false;
    ride->syncs++;
  }
  s->goodbye_count = 0;
  return true;
}

bool lph_share_is_preparing(const lph_share *s, const lph_stmt *stmt) {
  lph_list_each(&s->flight, node, after) {
    if (ride_of(node)->kind == LPH_RIDE_PREPARE && ride_of(node)->stmt == stmt) return true;
  }
  return false;
}

lph_ride *lph_share_prepare(lph_conn *c, lph_stmt *stmt) {
  if (lph_share_is_preparing(c->share, stmt)) {
    lph_ride *follower = new_ride(c, LPH_RIDE_FOLLOW, stmt);
    depart(c->share, follower);
    return follower;
  }
  if (stmt->name[0] != '\0' || !c->stmts.unnamed) lph_stmts_rename(&c->stmts, stmt);
  lph_ride *ride = new_ride(c, LPH_RIDE_PREPARE, stmt);
  ride->bytes = strlen(stmt->sql);
  ride->syncs = 1;
  lph_share_before_sending(c->share, ride->bytes + (size_t)stmt->forced_count * 4 +
                                       (size_t)c->stmts.goodbye_count * (LPH_STMT_NAME + 64));
  bool ok = send_goodbyes(c, ride) &&
            PQsendPrepare(c->pg, stmt->name, stmt->sql, stmt->forced_count, stmt->forced) &&
            PQsendDescribePrepared(c->pg, stmt->name) && PQpipelineSync(c->pg);
  return ok ? sent(c, ride) : refuse(c, ride);
}

/* ---- receiving -------------------------------------------------------------------------------------------- */

static void drop_result(lph_ride *ride) {
  PQclear(ride->result);
  ride->result = NULL;
}

/* The description belongs to everybody from here on. */
static void take_description(lph_conn *c, lph_ride *ride) {
  if (ride->failure != NULL) return;
  ride->no_memory = ride->result == NULL || lph_stmts_describe(&c->stmts, ride->stmt, ride->result) != LPH_OK;
  drop_result(ride);
}

static void learn_from_tag(lph_conn *c, lph_ride *ride) {
  if (ride->result == NULL) return;
  bool moved = (c->marks & LPH_MARK_NAMES) != 0;
  if (lph_stmts_observe(&c->stmts, ride->stmt->moves_names, moved, PQcmdStatus(ride->result), false))
    lph_typemap_doubt(c->types);
}

/* What it took the server is known, unless this program was late, of the first that is read at a time. */
static void learn_from_run(lph_share *s, const lph_ride *ride) {
  lph_stmt *stmt = ride->stmt;
  bool slow = !s->landed && lph_now() - s->head_since > LPH_SHARE_LONG;
  stmt->slow_rides = slow ? stmt->slow_rides + 1 : 0;
  if (stmt->slow_rides > 1 || PQresultMemorySize(ride->result) > LPH_SHARE_LENGTHY) stmt->apart = true;
}

bool lph_share_takes_now(const lph_share *s, lph_stmt *stmt) {
  if (LPH_LIKELY(!stmt->apart || !s->choosy)) return true;
  stmt->apart = false;
  stmt->slow_rides = 0;
  return false;
}

/* The first under way is no longer. */
static void land(lph_conn *c, lph_ride *ride) {
  lph_share *s = c->share;
  s->in_flight--;
  s->bytes -= ride->bytes;
  c->op.received = 0;
  ride->landed = true;
  lph_list_remove(&ride->link);
  if (ride->failure != NULL || ride->lost) drop_result(ride);
  if (ride->kind == LPH_RIDE_PREPARE && !ride->lost) take_description(c, ride);
  if (ride->kind == LPH_RIDE_EXECUTE) learn_from_tag(c, ride);
  if (s->choosy && ride->kind == LPH_RIDE_EXECUTE && !ride->lost) learn_from_run(s, ride);
  s->landed = true;
  if (ride->wanted) {
    lph_list_push_back(&s->news, &ride->link);
  } else {
    lph_share_free_ride(c, ride);
  }
}

/* One result for the first ride under way; takes it over. */
static void receive(lph_conn *c, lph_ride *ride, PGresult *res) {
  bool keep = false;
  switch (PQresultStatus(res)) {
    case PGRES_TUPLES_OK:
    case PGRES_COMMAND_OK:
    case PGRES_EMPTY_QUERY:
      keep = ride->wanted && ride->syncs == 1;
      break; /* PREPARE: the last is Describe's */
    case PGRES_PIPELINE_SYNC:
      PQclear(res);
      c->share->synced++;
      if (--ride->syncs == 0 && lph_conn_speaks_utf8(c)) land(c, ride);
      return;
    case PGRES_FATAL_ERROR:
      /* A DEALLOCATE that fails is of no interest: what was to go is gone. */
      if (ride->syncs == 1 && ride->failure == NULL) {
        ride->failure = res;
        return;
      }
      break;
    default: break;
  }
  if (keep && lph_share_fits(c, ride, res)) {
    drop_result(ride);
    ride->result = res;
  } else {
    PQclear(res);
  }
}

/* So many have landed since the first in flight became the first. An answer that took long counts for little at once, and
 * is forgotten after some dozens. */
static void keep_pace(lph_share *s, unsigned landed) {
  double now = lph_now(), each = (now - s->head_since) / landed;
  s->pace = s->pace == 0 ? each : s->pace + (each - s->pace) / 8;
  s->head_since = now;
}

unsigned lph_share_depth(const lph_share *s) {
  if (s->pace <= 0) return 1;
  double depth = LPH_SHARE_WAIT / s->pace;
  return depth >= LPH_SHARE_FLIGHT ? LPH_SHARE_FLIGHT : depth > 1 ? (unsigned)depth : 1;
}

/* Between two results there is one NULL; more say that libpq and we do not agree about what is under way. */
#define MOST_NULLS 3

/* False: no more can be read from this session. */
static bool collect(lph_conn *c) {
  lph_share *s = c->share;
  lph_ride *head;
  unsigned before = s->in_flight;
  int nulls = 0;
  s->landed = false;
  while ((head = head_of(s)) != NULL && nulls < MOST_NULLS) {
    if (head->kind == LPH_RIDE_FOLLOW) {
      land(c, head);
      continue;
    }
    if (PQisBusy(c->pg)) break;
    PGresult *res = PQgetResult(c->pg);
    if (res == NULL) {
      if (PQstatus(c->pg) == CONNECTION_BAD) return false;
      nulls++;
    } else if (lph_outcome_is_void(c->pg, res)) {
      PQclear(res);
    } else {
      nulls = 0;
      receive(c, head, res);
      if (LPH_UNLIKELY(!lph_conn_speaks_utf8(c))) return false; /* nothing behind it either */
    }
  }
  if (s->in_flight < before) keep_pace(s, before - s->in_flight);
  return nulls < MOST_NULLS;
}

/* What the server said before it went tells more than what libpq noticed afterwards. */
static lph_want broken(lph_conn *c) {
  if (LPH_UNLIKELY(!lph_conn_speaks_utf8(c))) return lph_conn_refuse_encoding(c);
  collect(c); /* for the server's last words */
  lph_ride *head = head_of(c->share);
  const char *severity = head == NULL ? NULL
                                      : PQresultErrorField(head->failure, PG_DIAG_SEVERITY_NONLOCALIZED);
  if (severity != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)) {
    lph_outcome_result(c->pg, head->failure, &c->error);
    c->error.sent = LPH_SENT_MAYBE;
    lph_share_strand(c, &c->error);
    lph_conn_close(c);
    return LPH_FAILED;
  }
  lph_outcome_lost(c->pg, LPH_SENT_MAYBE, &c->last_words, &c->error);
  lph_share_strand(c, &c->error);
  lph_conn_close(c);
  return LPH_FAILED;
}

static lph_want give_up(lph_conn *c) {
  lph_error_set(&c->error, "closed",
                "the shared connection was closed: another statement's result went beyond "
                "max_result_bytes, and what was left of it was too big to be read away");
  lph_share_strand(c, &c->error);
  lph_conn_close(c);
  return LPH_FAILED;
}

int lph_share_step(lph_conn *c) {
  if (lph_share_check(c) != LPH_OK) return LPH_FAILED;
  lph_share *s = c->share;
  if (lph_share_is_swollen(s)) return s->unflushed ? LPH_WANT_RW : LPH_WANT_READ;
  do {
    /* Reading first: a server that cannot get rid of its answers does not take our bytes. */
    if (!lph_share_consume(c)) return broken(c);
    if (s->unflushed) {
      int rc = PQflush(c->pg);
      if (rc < 0) return broken(c);
      s->unflushed = rc > 0;
      c->sip.passed_by = true;
    }
    if (!collect(c)) return broken(c);
    lph_conn_drop_notifications(c);
    if (!lph_share_watch_size(c)) return give_up(c);
  } while (s->in_flight > 0 && c->ssl != NULL && lph_tls_pending(c->ssl) > 0 && !lph_share_is_swollen(s));
  if (s->in_flight == 0) return LPH_DONE;
  return s->unflushed ? LPH_WANT_RW : LPH_WANT_READ;
}

/* ---- how a ride ended ------------------------------------------------------------------------------------- */

void lph_share_strand(lph_conn *c, const lph_error *why) {
  lph_share *s = c->share;
  if (s == NULL || s->in_flight == 0) return;
  if (why != NULL && lph_error_is_set(why)) {
    lph_error_copy(&s->loss, why);
  } else {
    lph_error_set(&s->loss, "closed", "the shared connection was closed while this statement was under way");
  }
  lph_ride *ride;
  while ((ride = head_of(s)) != NULL) {
    /* An error proves that the transaction was rolled back; a result without its Sync proves nothing. */
    const char *severity = PQresultErrorField(ride->failure, PG_DIAG_SEVERITY_NONLOCALIZED);
    ride->lost = severity == NULL || strcmp(severity, "ERROR") != 0;
    land(c, ride);
  }
}

bool lph_share_failure(lph_conn *c, const lph_ride *ride) {
  lph_error *e = &c->error;
  if (LPH_LIKELY(!ride->lost && ride->failure == NULL && ride->too_big == 0 && !ride->no_memory))
    return false;
  if (ride->too_big > 0) {
    lph_error_set(e, "result_too_big", "the result takes %zu bytes or more; max_result_bytes is %zu",
                  ride->too_big, c->max_result_bytes);
    e->sent = LPH_SENT_YES;
  } else if (ride->lost) {
    lph_error_copy(e, &c->share->loss);
    /* What was only being prepared has not run. */
    e->sent = ride->kind == LPH_RIDE_EXECUTE ? LPH_SENT_MAYBE : LPH_SENT_NO;
  } else if (ride->no_memory) {
    lph_error_oom(e);
  } else {
    lph_outcome_result(c->pg, ride->failure, e);
  }
  return true;
}

void lph_share_cancel_begins(lph_share *s) {
  s->cancel_open = true;
  if (s->in_flight > 0) head_of(s)->stopped = true;
  lph_list_each(&s->flight, node, after) ride_of(node)->suspect = true;
}

void lph_share_cancel_ends(lph_share *s) { s->cancel_open = false; }

bool lph_ride_was_hit(const lph_ride *ride) {
  if (!ride->suspect || ride->failure == NULL || ride->lost || ride->too_big > 0) return false;
  const char *state = PQresultErrorField(ride->failure, PG_DIAG_SQLSTATE);
  return state != NULL && strcmp(state, "57014") == 0;
}
