/* conn.h - one server session: dialling, one operation at a time, closing.
 *
 *            lph_conn_dial            step: connected
 *   CLOSED ----------------> DIALING ----------------> IDLE <------------.
 *      ^                        |                       |  lph_conn_...  | step: done, or
 *      |   failed, close        |                       |  (op.h)        | failed and in order
 *      '------------------------+-----------------------+---> BUSY ------'
 *
 * The core never waits: `lph_conn_step` does what can be done now and answers what it needs next.
 * A BUSY connection that its user has given up on is put right by `lph_conn_discard` and more
 * steps, or closed; it is never used again before it is IDLE.
 *
 * IDLE <-> SHARED: single statements of many tasks ride on it at the same time (share.h), nothing else may use it.
 *
 * The owner of all functions here is the process that dialled: in a child after fork every one
 * answers "forked", and closing only closes the child's copy of the descriptor.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_CONN_H
#define LPH_CONN_H

#include <sys/types.h>

#include "core/copy.h"
#include "core/dial.h"
#include "core/op.h"
#include "core/params.h"
#include "core/sip.h"
#include "core/stmt.h"
#include "core/tap.h"
#include "core/txn.h"
#include "types/type.h"

typedef enum lph_state { LPH_CLOSED, LPH_DIALING, LPH_IDLE, LPH_BUSY, LPH_SHARED } lph_state;

/* What a step needs before the next one; LPH_DONE and LPH_FAILED end the operation. After
 * LPH_FAILED `conn->error` is set; the connection is IDLE (a statement failed), CLOSED, or - result
 * too big - still BUSY and to be discarded. */
typedef enum lph_want {
  LPH_FAILED = -1,
  LPH_DONE = 0,
  LPH_WANT_READ = 1,
  LPH_WANT_WRITE = 2,
  LPH_WANT_RW = 3,
} lph_want;

#define LPH_NOTICE_LIMIT 64 /* more notices than this between two looks: the oldest go, and are counted */

typedef struct lph_conn {
  lph_state state;
  PGconn *pg;
  void *ssl; /* OpenSSL session, borrowed from libpq; NULL without TLS */
  pid_t owner;
  lph_dial *dial;
  lph_error error;      /* of the last failed call */
  lph_error last_words; /* a FATAL that arrived while nobody was asking */
  lph_op op;
  lph_copy copy;
  struct lph_share
    *share; /* while SHARED, and for the answers that were there when it was closed; else NULL */
  struct lph_batch *batch; /* while one is under way (batch.h), else NULL */
  lph_stmts stmts;
  lph_txn txn;
  lph_params params;
  lph_typemap *types;
  size_t max_result_bytes; /* 0 = no limit */
  lph_sip sip;             /* how we read when there is one */
  lph_tap tap;             /* open while rows are read past libpq */
  double last_use;         /* when the last operation began */
  bool row_by_row;         /* libpq may still be in single-row mode (lph_op_enter_pipeline) */
  bool let_go;             /* its last cancel request has been sent */
  int encoding;            /* client_encoding of its beginning, libpq's number: UTF-8 */
  unsigned marks;          /* what may have been left in the session (marks.h) */
  bool hears;              /* it is there to listen (notify.h); then `ear` is open */
  bool hears_beside;       /* and runs statements, too */
  int ear;
  PGnotify *notification; /* the one that is being taken */
  /* notices, oldest first, as a ring */
  lph_error notices[LPH_NOTICE_LIMIT];
  unsigned notice_first, notice_count;
  unsigned long notices_lost;
} lph_conn;

void lph_conn_init(lph_conn *c); /* CLOSED; owns nothing yet */
/* Frees everything; closes without waiting. In a child after fork only descriptors are closed. */
void lph_conn_clear(lph_conn *c);

lph_err lph_conn_dial(lph_conn *c, const lph_dial_options *options); /* CLOSED -> DIALING */
int lph_conn_fd(const lph_conn *c); /* may change while dialling; -1 = none */
lph_want lph_conn_step(lph_conn *c);

/* Not waiting, not failing, idempotent. Sends Terminate if the socket takes it at once, and has a statement that is under
 * way cancelled: the server would go on with it to the end. */
void lph_conn_close(lph_conn *c);
/* Ends the stream both ways, so that whoever waits for the socket wakes up; the rest is lph_conn_close's. */
void lph_conn_shut(lph_conn *c);

/* Is this a child of the process that dialled? */
bool lph_conn_is_foreign(const lph_conn *c);

/* Sets conn->error (kind "closed", "forked", "busy") unless the connection can take a new operation. */
lph_err lph_conn_check_idle(lph_conn *c);

/* Looks whether the server has ended the session while nobody was asking: what it said then is read before anything
 * of a new statement leaves. Fails like lph_conn_lost, with sent "no". Cheap, and nothing at all for a connection
 * that was used a moment ago. */
lph_err lph_conn_look(lph_conn *c);
lph_err lph_conn_look_at(lph_conn *c, double now); /* for those who have read the clock already */
/* The same even for one that was used a moment ago. */
lph_err lph_conn_look_hard(lph_conn *c);
/* Was it used so shortly ago (seen from `now`) that it need not be looked at? */
bool lph_conn_is_warm(const lph_conn *c, double now);

/* The session broke: conn->error tells it (with last words), the state becomes CLOSED. */
lph_want lph_conn_lost(lph_conn *c, lph_sent sent);

/* Between two users: gives back what it has been keeping from one operation to the next, when the last one was a while
 * ago. */
void lph_conn_rest(lph_conn *c, double now);

/* client_encoding is still that of the beginning. If a statement has changed it, no text from now on is what it is
 * taken for, in either direction. Servers tell of it when they are ready again (before PostgreSQL 14 at once), so that is
 * when to ask; then the session is closed, with conn->error. */
static inline bool lph_conn_speaks_utf8(const lph_conn *c) {
  int encoding = PQclientEncoding(c->pg); /* -1: the session is lost, which is for others to tell */
  return encoding == c->encoding || encoding < 0;
}
lph_want lph_conn_refuse_encoding(lph_conn *c);

/* libpq keeps every notification until somebody takes it. Nobody listens on a connection that runs
 * statements, so a server (or a LISTEN in a script) must not fill our memory with them. */
void lph_conn_drop_notifications(lph_conn *c);

/* Takes the oldest notice (moves it into `out`); false when there is none. */
bool lph_conn_next_notice(lph_conn *c, lph_error *out);

#endif
