/* op.h - the operation that is under way on a connection.
 *
 *   PREPARE  Parse, Describe, [DEALLOCATE old]*, Sync in one flight (pipeline mode)
 *   EXECUTE  Bind, Execute, Sync of a described statement; now and then [DEALLOCATE old]*, Sync in front of it
 *   SCRIPT   one simple Query message with any number of statements
 *   COPY     one simple Query message that is a COPY from or to us (copy.h)
 *   CONTROL  one simple Query message that ends a transaction or a savepoint of ours (txn.h)
 *   BATCH    many statements in one flight (batch.h)
 *   STREAM   as EXECUTE, but the answer is taken row by row while it comes
 *   PORTAL   DECLARE of a described statement and its first FETCH, Sync
 *   FETCH    Bind, Execute, Sync of a command for a cursor that was declared: FETCH, MOVE, CLOSE
 *
 * A STREAM is the one that stops in the middle: a step answers LPH_DONE with the state still BUSY when a portion of
 * the rows is there (`portion`). Until it is taken nothing more is read from the socket, so that a reader who is slow
 * slows the server down, and no more than libpq's buffer and a portion is in memory.
 *
 * PREPARE and EXECUTE take along what the transaction has to say (flight.h), SCRIPT in front of its text.
 *
 * Each `lph_op_...` start function sends what the socket takes at once and answers what is needed
 * next, like lph_conn_step. On LPH_FAILED see conn.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_OP_H
#define LPH_OP_H

#include <libpq-fe.h>

#include "base/buf.h"
#include "base/error.h"
#include "core/wirerows.h"

struct lph_conn;
struct lph_stmt;
struct lph_params;

typedef enum lph_op_kind {
  LPH_OP_NONE,
  LPH_OP_PREPARE,
  LPH_OP_EXECUTE,
  LPH_OP_SCRIPT,
  LPH_OP_CONTROL,
  LPH_OP_BATCH,
  LPH_OP_COPY,
  LPH_OP_STREAM,
  LPH_OP_PORTAL,
  LPH_OP_FETCH
} lph_op_kind;

/* What an LPH_OP_CONTROL does. */
typedef enum lph_control {
  LPH_CONTROL_OPEN, /* what the transaction has to say, without a statement */
  LPH_CONTROL_ID,   /* asks for its id */
  LPH_CONTROL_UNDO, /* rolls its innermost level back */
  LPH_CONTROL_COMMIT,
  LPH_CONTROL_ROLLBACK, /* all of its levels */
} lph_control;

typedef struct lph_op {
  lph_op_kind kind;
  bool unflushed;   /* libpq still holds bytes for the server */
  bool discarding;  /* nobody wants the answer: read it and throw it away */
  bool copy_out;    /* a refused COPY TO STDOUT whose data has to be read away */
  bool moves_names; /* the text may change what names mean */
  bool portion;     /* STREAM: `result` or `rows` are some of the middle, to be taken before the next step */
  bool piped;       /* in pipeline mode: the answers belong to `parts` */
  bool kept;        /* BATCH: the server has done all of it */
  bool out_of_memory;    /* of a start function that failed */
  bool speaks_of_chain;  /* SCRIPT: see lph_txn_observe */
  lph_control control;   /* CONTROL */
  int steps_ahead;       /* SCRIPT: statements of the transaction in front of its text */
  int ahead_characters;  /* and how long they are; PORTAL: what stands in front of the statement */
  int syncs_left;        /* Sync points not yet answered */
  size_t part;           /* the next answer belongs to this one of `parts` */
  lph_buf parts;         /* one byte each: lph_part */
  const char *culprit;   /* not the statement failed but this command of its flight */
  size_t received;       /* bytes taken from the socket; since lph_op_discard, if there was one */
  size_t memory;         /* what the results take; both are only counted under max_result_bytes */
  struct lph_stmt *stmt; /* PREPARE, EXECUTE */
  PGresult *result;      /* EXECUTE, PORTAL, FETCH: the answer; PREPARE: the description; STREAM: `portion` */
  lph_wirerows rows;     /* EXECUTE, FETCH, STREAM: those that are not in `result` */
  PGresult **results;    /* SCRIPT: one per statement */
  int result_count, result_room;
  lph_error failure; /* the first thing that went wrong; the rest of the answer is still read */
} lph_op;

/* Fail (kind "parameter") for a statement text, or parameters, that no message can hold: the server takes a
 * longer one for a broken client and ends the session. */
lph_err lph_op_check_text(struct lph_conn *c, size_t len);
lph_err lph_op_check_params(struct lph_conn *c, const struct lph_params *params);

/* IDLE -> BUSY. The statement must stay alive until the operation has ended. */
int lph_op_prepare(struct lph_conn *c, struct lph_stmt *stmt);
int lph_op_execute(struct lph_conn *c, struct lph_stmt *stmt, const struct lph_params *params);
int lph_op_script(struct lph_conn *c, const char *sql);
int lph_op_copy(struct lph_conn *c, const char *sql, bool inward);
/* Rows as they come: one by one, or, with a libpq that has chunks, up to `rows` of them (0: our choice). Not while the transaction has something to say to the server first (lph_txn_is_pending). */
int lph_op_stream(struct lph_conn *c, struct lph_stmt *stmt, const struct lph_params *params, int rows);
/* `head` stands in front of the statement's text ("declare ... cursor for "); `fetch` may be NULL. */
int lph_op_portal(struct lph_conn *c, struct lph_stmt *stmt, const struct lph_params *params,
                  const char *head, const char *fetch);
int lph_op_fetch(struct lph_conn *c, const char *text, bool binary);
/* Of the transaction of this connection. LPH_DONE at once where nothing has to be sent. */
int lph_op_control(struct lph_conn *c, lph_control what);

/* PQenterPipelineMode for whoever may come behind a stream. */
bool lph_op_enter_pipeline(struct lph_conn *c);
/* Bind and Execute alone, without looking at anything. False: libpq refused. */
bool lph_op_send_execute(struct lph_conn *c, const struct lph_stmt *stmt, const struct lph_params *params);

int lph_op_step(struct lph_conn *c);  /* lph_want; for lph_conn_step */
int lph_op_flush(struct lph_conn *c); /* LPH_FAILED or what is needed next */
/* For copy.c: the session broke under the operation (LPH_FAILED); what a step that has read answers. */
int lph_op_broken(struct lph_conn *c);
int lph_op_check_size(struct lph_conn *c, int want);

/* The rows that a stream has stopped at become the caller's: `*res`, or, where that is NULL, `rows`, which are empty before.
 * False: there are none, and nothing is set. */
bool lph_op_take_portion(lph_op *op, PGresult **res, lph_wirerows *rows);

/* The caller has given up: later steps drop what comes in. LPH_DONE then means "in order again". */
void lph_op_discard(struct lph_conn *c);
/* What cache, type map and transaction learn from the tag of op.stmt's answer. */
void lph_op_observe(struct lph_conn *c, const char *tag);
/* PQconsumeInput; under max_result_bytes what it takes is counted in `received`. */
bool lph_op_consume(struct lph_conn *c);
/* A statement that was cancelled still sends the row it is at, and libpq keeps that row in memory to its end. More than
 * this costs the connection rather than the memory. */
#define LPH_DISCARD_MAX ((size_t)16 << 20)
/* So many of the bytes that came in were no result (a notice). */
void lph_op_uncount(lph_op *op, size_t bytes);
/* The failure of an operation for want of memory. Answers false. */
bool lph_op_fail_for_memory(lph_op *op);
/* Frees result and rows of the last operation. */
void lph_op_drop_result(lph_op *op);
/* Frees results and failure of the last operation; keeps allocated room. */
void lph_op_reset(lph_op *op);
void lph_op_free(lph_op *op);

/* ---- optap.c ---- */

/* A channel that is no plain socket is libpq's to read from and write to. */
bool lph_op_is_plain(const struct lph_conn *c);
/* May rows of its statements be read past libpq? Counted bytes are sip.h's to read. */
bool lph_op_can_tap(const struct lph_conn *c);
/* Rows of the statement that was just sent shall not go through libpq, if that can be (tap.h). */
void lph_op_tap(struct lph_conn *c, char opener, char row);
/* libpq reads by itself again. */
void lph_op_untap(struct lph_conn *c);
/* For lph_op_consume, while the tap is open. */
bool lph_op_consume_tapped(struct lph_conn *c);
/* STREAM: have rows come that are not libpq's? They become a portion. Not before what libpq has has been taken, and before
 * more is read. */
bool lph_op_take_wired(struct lph_conn *c);

#endif
