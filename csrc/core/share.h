/* share.h - single statements of many tasks on one session at the same time.
 *
 * A shared session stays in libpq's pipeline mode. Each *ride* is one statement with a Sync of its own: it is a
 * transaction of its own, its failure ends with its Sync, and answers come in the order in which rides were sent.
 *
 *   EXECUTE  Bind, Execute, Sync of a statement that is described
 *   PREPARE  [DEALLOCATE old, Sync]* Parse, Describe, Sync; whoever asked sends its EXECUTE afterwards
 *   FOLLOW   sends nothing: waits for somebody else's PREPARE of the same statement
 *
 *            sent                  its Sync has come          told by lph_share_news
 *   FREE ----------> in `flight` --------------------> in `news` -----------------> kept until lph_share_free_ride
 *                        |  nobody wants it (lph_share_leave)
 *                        '-------------------------------------> FREE
 *
 * A ride has not succeeded before its Sync: COMMIT happens there, and a deferred constraint may fail there, behind a
 * result that looked well. Nothing here waits or knows Lua; what stays in a session (BEGIN, SET, LISTEN ...) has no
 * place here, and lph_share_takes keeps it away.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SHARE_H
#define LPH_SHARE_H

#include <libpq-fe.h>

#include "base/error.h"
#include "base/list.h"
#include "core/strain.h"

struct lph_conn;
struct lph_params;
struct lph_stmt;

#define LPH_SHARE_SLOTS 128 /* rides that are under way, or whose answer waits for its owner */
#define LPH_SHARE_FLIGHT 64 /* rides under way at the same time */
#define LPH_SHARE_SLOW \
  0.010 /* seconds; behind a statement that takes longer nobody queues who can go elsewhere */
/* A choosy session turns statements away that took this long twice in a row, or whose result took this much memory. */
#define LPH_SHARE_LONG 0.005
#define LPH_SHARE_LENGTHY ((size_t)16 << 10)
/* Seconds; so long a ride may wait for those before it while another session has none. */
#define LPH_SHARE_WAIT 0.001
/* What a ride, and all under way together, may send. Both are small against socket buffers: the server takes all of
 * it while it works, and nobody waits with half a message for somebody else's statement. */
#define LPH_SHARE_RIDE_BYTES ((size_t)8 << 10)
#define LPH_SHARE_BYTES ((size_t)32 << 10)

typedef enum lph_ride_kind {
  LPH_RIDE_FREE,
  LPH_RIDE_EXECUTE,
  LPH_RIDE_PREPARE,
  LPH_RIDE_FOLLOW
} lph_ride_kind;

typedef struct lph_ride {
  lph_list link;
  lph_ride_kind kind;
  struct lph_stmt *stmt; /* pinned as long as the ride is */
  PGresult *result;      /* EXECUTE: the answer */
  PGresult *failure;     /* the first error of the server */
  int verb;              /* what is to be made of the answer; of no meaning here */
  unsigned syncs;        /* not yet answered */
  size_t bytes;          /* what it sent, roughly */
  size_t too_big;        /* memory that the result took before it was refused; 0 = it fits */
  bool strained;         /* too big, and libpq does not get to see more of it */
  bool stopped;          /* a cancel request was sent while this was the first in flight */
  bool landed;           /* all of its answer is there */
  bool wanted;           /* somebody waits for it */
  bool fresh;            /* the statement was described in the call under way */
  bool suspect;          /* a cancel request meant for another ride may have hit this one */
  bool lost;             /* the session broke before its Sync */
  bool no_memory;        /* for taking its description */
} lph_ride;

typedef struct lph_share {
  /* The session's socket under a number of our own, for whoever waits: libpq closes its own when sending fails, which
   * may be in somebody else's call. -1 after the end. */
  int fd;
  lph_list flight, news, unused;
  unsigned in_flight;
  size_t bytes;      /* of the rides under way */
  lph_strain strain; /* under max_result_bytes, without TLS: what libpq gets to see */
  unsigned synced;   /* Syncs answered since the strain's anchor, as libpq tells them */
  bool choosy;       /* turns away what should have a session of its own (lph_share_takes_now) */
  bool landed;       /* something has, in the look at the socket that is under way */
  bool unflushed;    /* libpq still holds bytes for the server */
  bool doomed;       /* to be closed with the next step */
  bool cancel_open;  /* a cancel request is not through yet */
  double now;        /* of the last lph_share_board */
  double head_since; /* since when the first in flight is the first */
  double pace;       /* seconds from one answer to the next while any is awaited, on average; 0 = not known */
  lph_error loss;    /* what became of the session, for the rides it took along */
  lph_ride rides[LPH_SHARE_SLOTS];
} lph_share;

/* May this text ride? Only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE and WITH: each is rolled back as a
 * whole when it fails, and can leave nothing in the session but through the functions that are looked for as well.
 * Says no rather too often. */
bool lph_share_takes(lph_bytes sql);
/* The first word of a text, behind white space, comments and parentheses; may be empty. */
lph_bytes lph_share_first_word(lph_bytes sql);

lph_err lph_share_begin(struct lph_conn *c, bool choosy); /* IDLE -> SHARED; fails like lph_conn_check_idle */
/* May this statement ride here, as far as its last runs tell? A refusal is said once: it may try again later. */
bool lph_share_takes_now(const lph_share *s, struct lph_stmt *stmt);
/* SHARED -> IDLE. Fails (kind "busy") while rides or a cancel request are under way. Answers nobody took are dropped. */
lph_err lph_share_end(struct lph_conn *c);

/* Sets conn->error unless the connection is SHARED, and ours. */
lph_err lph_share_check(struct lph_conn *c);

typedef enum lph_boarding {
  LPH_BOARD_YES,
  LPH_BOARD_FULL,  /* as much is under way as there may be: read first, then try again */
  LPH_BOARD_SLOW,  /* the running statement has been for LPH_SHARE_SLOW, or its result is being read away */
  LPH_BOARD_FAILED /* conn->error: the session was lost (nothing of a new ride was sent), or is not shared */
} lph_boarding;

/* Is there room for a ride of so many bytes? `patient`: behind a slow one, too. */
lph_boarding lph_share_board(struct lph_conn *c, size_t bytes, bool patient);

/* After LPH_BOARD_YES. Each answers the ride, or NULL: conn->error is set; the session may have been closed. */
lph_ride *lph_share_execute(struct lph_conn *c, struct lph_stmt *stmt, const struct lph_params *params);
/* Joins a PREPARE of the statement that is under way, or starts one. */
lph_ride *lph_share_prepare(struct lph_conn *c, struct lph_stmt *stmt);

bool lph_share_is_preparing(const lph_share *s, const struct lph_stmt *stmt);

/* Reads and writes what can be, and lands rides. Answers LPH_WANT_READ or LPH_WANT_RW while any is under way, else
 * LPH_DONE. LPH_FAILED: the session is closed, conn->error says why, and every ride under way has landed as lost. */
int lph_share_step(struct lph_conn *c);

/* The next ride that has landed and was not told yet; NULL = none. */
lph_ride *lph_share_next_news(lph_share *s);
/* How many may be under way here before another session is the better choice: one behind the other as long as the last
 * waits for less than LPH_SHARE_WAIT. Fewer sessions at work cost both sides less: what comes together is sent, worked off
 * and read together. At least 1. */
unsigned lph_share_depth(const lph_share *s);
/* The first ride under way that somebody waits for; NULL = none. */
lph_ride *lph_share_first_wanted(const lph_share *s);
/* The statement that is running now and that nobody has use for: to be cancelled. */
bool lph_share_is_stuck(const lph_share *s);
/* Its result is too big, and libpq would keep the rest of it: it is to be cancelled at once, and nothing is read before
 * the request is through. */
bool lph_share_is_swollen(const lph_share *s);

/* Nobody waits for this ride any more: under way it is forgotten when it lands, else at once. */
void lph_share_leave(struct lph_conn *c, lph_ride *ride);
/* Its answer has been taken (`result` moved away), or is not wanted. */
void lph_share_free_ride(struct lph_conn *c, lph_ride *ride);
/* What became of a landed ride, as conn->error. False: it went well. */
bool lph_share_failure(struct lph_conn *c, const lph_ride *ride);

/* A cancel request is being sent to the session, and: has been taken by the server. A ride under way meanwhile that
 * fails with 57014 may be another's victim; it was rolled back (lph_share_takes), and may be sent again. */
void lph_share_cancel_begins(lph_share *s);
void lph_share_cancel_ends(lph_share *s);
bool lph_ride_was_hit(const lph_ride *ride);

/* ---- max_result_bytes (sharesize.c); for share.c ---- */

/* PQconsumeInput. Rows beyond the limit do not get as far as libpq where that is possible. */
bool lph_share_consume(struct lph_conn *c);
/* A look at what has come in. False: more than may be read away; the session is to be given up. */
bool lph_share_watch_size(struct lph_conn *c);
/* May this result be kept? */
bool lph_share_fits(struct lph_conn *c, lph_ride *ride, const PGresult *res);
/* So many bytes go to libpq: it may send some at once, and read when that cannot be done. */
void lph_share_before_sending(lph_share *s, size_t bytes);

/* The session is being closed under the rides: all under way land as lost. `why` may be NULL or unset. */
void lph_share_strand(struct lph_conn *c, const lph_error *why);
/* After the session was closed, when nobody waits for the socket. */
void lph_share_close_fd(lph_share *s);
void lph_share_free(struct lph_conn *c);

#endif
