/* batch.h - many statements in one flight: sent while their answers are read, in libpq's pipeline mode.
 *
 * A batch is an operation of its own (LPH_OP_BATCH). Whoever runs it hands over one statement after the other while
 * there is room, and takes the answers in the same order:
 *
 *                begin            execute, prepare ...         end              the last Sync answered: finish
 *   (IDLE) --------------> OPEN -----------------------> ENDED -----------------------------------------> (IDLE)
 *                            |  a failure, lph_batch_stop       ^
 *                            '------> STOPPED: nothing more -----'
 *
 * Each command that was sent is a *leg*; the legs under way are a ring, so memory is bounded however long the batch
 * is: LPH_BATCH_FLIGHT legs, about LPH_BATCH_UNSENT bytes that the socket does not take, and what libpq has read.
 * While bytes cannot be sent answers are read, so that two full buffers never wait for each other. The server keeps
 * short answers back until it has a buffer full of them; it is asked for them every LPH_BATCH_FLUSH legs, and before
 * anybody waits.
 *
 * What belongs together:
 *
 *   one transaction   all legs before one Sync: what fails takes all of it along, and what is behind it is skipped.
 *                     One that is given up before its end has ROLLBACK sent in front of that Sync.
 *   inside            the same in a transaction that was open before, which then has failed
 *   isolated          a Sync behind each statement: it is a transaction of its own
 *
 * A statement that is not ready is prepared in the same flight: Parse and Describe go out between the others, and the
 * caller waits for the description before it can encode parameters. Nothing here encodes, converts or knows Lua.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_BATCH_H
#define LPH_BATCH_H

#include <libpq-fe.h>

#include "base/error.h"

struct lph_conn;
struct lph_params;
struct lph_stmt;

#define LPH_BATCH_FLIGHT 1024
#define LPH_BATCH_FLUSH 256
#define LPH_BATCH_UNSENT ((size_t)64 << 10)

/* What a text is to a batch, by its first word. */
typedef enum lph_batch_class {
  LPH_BATCH_PLAIN,   /* SELECT, INSERT ...: others may be sent, and prepared, before it is answered */
  LPH_BATCH_BARRIER, /* may change what names mean (CREATE, ALTER, DO ...): what follows waits for its answer */
  LPH_BATCH_COPY,    /* not for pipelines */
  LPH_BATCH_LISTEN,  /* LISTEN, UNLISTEN: nobody would be told */
  LPH_BATCH_CONTROL, /* BEGIN, COMMIT, SAVEPOINT ...: would tear the batch apart */
} lph_batch_class;
lph_batch_class lph_batch_class_of(lph_bytes sql);

typedef enum lph_leg_kind {
  LPH_LEG_EXECUTE,
  LPH_LEG_PARSE,
  LPH_LEG_DESCRIBE,
  LPH_LEG_DIGITS, /* what the server leaves of floats (flight.h), behind a statement that prints some */
  LPH_LEG_UNDO,   /* the ROLLBACK of a batch that was given up */
  LPH_LEG_SYNC
} lph_leg_kind;

typedef struct lph_leg {
  lph_leg_kind kind;
  int index;             /* which statement of the batch it belongs to; 0 = none */
  int code;              /* the caller's, of no meaning here */
  struct lph_stmt *stmt; /* pinned as long as the leg is under way */
} lph_leg;

typedef struct lph_batch {
  lph_leg *legs;         /* ring of LPH_BATCH_FLIGHT */
  unsigned first, count; /* under way */
  unsigned unasked;      /* legs since the server was last asked for what it has */
  size_t bytes;          /* since the socket was last looked at */
  size_t parts_ahead;    /* answers of the flight in front (flight.h) */
  bool isolated, inside;
  bool ended;   /* the last Sync was handed over */
  bool whole;   /* and everything before it */
  bool stopped; /* nothing more may be sent but the end */
  bool undoing; /* a ROLLBACK was sent */
  int started;  /* statements that were handed over */
  int answered; /* the last of them with an answer */
  int failed;   /* the statement of op.failure; 0 = none, or the end of the batch */
  int failed_code;
  bool failed_preparing;
  lph_leg taking; /* what lph_batch_next has told last: its pin is let go whatever becomes of who takes it */
  struct lph_stmt *culprit; /* its statement, pinned */
  struct lph_stmt *waiting; /* the next statement cannot go before this one is described; pinned */
  struct lph_stmt *ready;   /* that has happened; pinned until lph_batch_forget */
  struct lph_stmt *current; /* the last that was handed over, pinned: the next is often the same */
} lph_batch;

/* IDLE -> BUSY; sends what the transaction has to say. LPH_EFAIL: conn->error; IDLE or CLOSED. */
lph_err lph_batch_begin(struct lph_conn *c, bool isolated);

/* May one more statement be handed over now? And, where one may not: may one more be prepared? */
bool lph_batch_has_room(const struct lph_conn *c);
bool lph_batch_has_place(const struct lph_conn *c);
/* After that. LPH_EFAIL: the session is closed, conn->error says why. */
lph_err lph_batch_execute(struct lph_conn *c, struct lph_stmt *stmt, const struct lph_params *params,
                          int index, int code);
lph_err lph_batch_prepare(struct lph_conn *c, struct lph_stmt *stmt, int index, int code);
/* Its description is under way. */
bool lph_batch_is_preparing(const lph_batch *b, const struct lph_stmt *stmt);
/* The next statement needs a description that is under way: no room until it is there, and `ready`. */
void lph_batch_wait_for(lph_batch *b, struct lph_stmt *stmt);
void lph_batch_forget(struct lph_conn *c); /* `waiting` and `ready` */
/* Sends the end, with `undo` so that nothing of it is kept (which only one transaction can be told). */
lph_err lph_batch_end(struct lph_conn *c, bool undo);
/* Nothing more is to be handed over: somebody cancels it. */
static inline void lph_batch_stop(lph_batch *b) {
  if (b != NULL) b->stopped = true;
}

/* Before waiting for answers: the server is to send what it has. LPH_EFAIL as above. */
lph_err lph_batch_ask(struct lph_conn *c);
/* Reads and writes what can be. LPH_FAILED: the session is closed. LPH_DONE otherwise. */
int lph_batch_pull(struct lph_conn *c);
/* LPH_DONE: `leg` has been answered, and stays until lph_batch_release; its result is op.result: that of
 * EXECUTE or DIGITS, or in an isolated batch the error of any leg. LPH_WANT_READ: nothing there. LPH_FAILED:
 * the session is closed. Failures of a batch that is one transaction end in op.failure, and stop it. */
int lph_batch_next(struct lph_conn *c, const lph_leg **leg);
void lph_batch_release(struct lph_conn *c);
/* What libpq waits for: LPH_WANT_READ or LPH_WANT_RW. */
int lph_batch_want(const struct lph_conn *c);

bool lph_batch_is_over(const struct lph_conn *c); /* all that was sent has been answered, the end too */
/* BUSY -> IDLE after that; op.kept says whether one transaction was. LPH_FAILED: conn->error, or CLOSED. */
int lph_batch_finish(struct lph_conn *c);
/* For whoever has no interest in the answers any more: ends it and reads them away, like lph_op_step. */
int lph_batch_drain(struct lph_conn *c);

void lph_batch_free(struct lph_conn *c); /* also under way, when the session is closed */

#endif
