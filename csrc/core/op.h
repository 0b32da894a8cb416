/* op.h - the operation that is under way on a connection.
 *
 *   PREPARE  Parse, Describe, [DEALLOCATE old]*, Sync in one flight (pipeline mode)
 *   EXECUTE  Bind, Execute, Sync of a described statement; now and then [DEALLOCATE old]*, Sync in front of it
 *   SCRIPT   one simple Query message with any number of statements
 *
 * Each `lph_op_...` start function sends what the socket takes at once and answers what is needed
 * next, like lph_conn_step. On LPH_FAILED see conn.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_OP_H
#define LPH_OP_H

#include <libpq-fe.h>

#include "base/error.h"

struct lph_conn;
struct lph_stmt;
struct lph_params;

typedef enum lph_op_kind { LPH_OP_NONE, LPH_OP_PREPARE, LPH_OP_EXECUTE, LPH_OP_SCRIPT } lph_op_kind;

typedef struct lph_op {
  lph_op_kind kind;
  bool unflushed;        /* libpq still holds bytes for the server */
  bool discarding;       /* nobody wants the answer: read it and throw it away */
  bool copy_out;         /* a refused COPY TO STDOUT whose data has to be read away */
  bool moves_names;      /* the text may change what names mean */
  bool piped;            /* in pipeline mode */
  int syncs_left;        /* Sync points not yet answered */
  int answers;           /* PREPARE: replies seen: Parse, Describe, goodbyes */
  size_t received;       /* bytes taken from the socket; since lph_op_discard, if there was one */
  size_t memory;         /* what the results take; both are only counted under max_result_bytes */
  struct lph_stmt *stmt; /* PREPARE, EXECUTE */
  PGresult *result;      /* EXECUTE: the answer; PREPARE: the description */
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

int lph_op_step(struct lph_conn *c); /* lph_want; for lph_conn_step */

/* The caller has given up: later steps drop what comes in. LPH_DONE then means "in order again". */
void lph_op_discard(struct lph_conn *c);
/* PQconsumeInput; under max_result_bytes what it takes is counted in `received`. */
bool lph_op_consume(struct lph_conn *c);
/* So many of the bytes that came in were no result (a notice). */
void lph_op_uncount(lph_op *op, size_t bytes);
/* Frees results and failure of the last operation; keeps allocated room. */
void lph_op_reset(lph_op *op);
void lph_op_free(lph_op *op);

#endif
