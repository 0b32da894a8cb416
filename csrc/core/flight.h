/* flight.h - several commands in one flight (libpq's pipeline mode), and whose answer is whose.
 *
 * A statement of a transaction can have company: what the server has not heard yet of BEGIN and savepoints in front
 * of it, the question for the transaction id and COMMIT behind it. All of it stands before one Sync, so that after
 * a failure the rest is skipped: no statement ever runs outside of a transaction whose BEGIN failed, and nothing is
 * committed after a statement that failed.
 *
 * A statement whose result is text with floats in it is followed by the question for extra_float_digits: below 1 the
 * server leaves digits out, nothing in the text shows it, and the result is refused.
 *
 * Each command that was sent has a part in `op->parts`, in order; its answer is one result.
 *
 * The short commands that come again and again are statements prepared once in a session (helpers).
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_FLIGHT_H
#define LPH_FLIGHT_H

#include <libpq-fe.h>

#include "base/base.h"

struct lph_conn;
struct lph_error;
struct lph_op;
struct lph_stmt;

typedef enum lph_part {
  LPH_PART_MAIN, /* the statement itself; also everything that is no flight */
  LPH_PART_PARSE,
  LPH_PART_DESCRIBE,
  LPH_PART_DECLARE,                    /* of a cursor; the rows are the part MAIN */
  LPH_PART_GOODBYE,                    /* a DEALLOCATE, whose failure is of no interest */
  LPH_PART_HELPER,                     /* + number of the helper: it is prepared */
  LPH_PART_STEP = LPH_PART_HELPER + 4, /* + lph_txn_step */
  LPH_PART_ID = LPH_PART_STEP + 6,
  LPH_PART_DIGITS,
  LPH_PART_COMMIT,
} lph_part;

/* Each answers false when libpq refused, or memory ran out (PQerrorMessage, or op->out_of_memory). */
bool lph_flight_add(struct lph_op *op, int part); /* notes what has been sent */
bool lph_flight_before(struct lph_conn *c);       /* what the transaction has to say first */
bool lph_flight_after(struct lph_conn *c);        /* COMMIT if it rides along, else the question for the id */
bool lph_flight_ask(struct lph_conn *c);          /* for the id, where it is wanted */
/* What the server leaves of floats. */
bool lph_flight_ask_digits(struct lph_conn *c);
/* Must the next statement have company? */
bool lph_flight_has_company(const struct lph_conn *c, const struct lph_stmt *stmt);
/* Kind "decode": the result of `stmt` lacks digits. */
void lph_flight_refuse_digits(const struct lph_conn *c, const struct lph_stmt *stmt, const char *setting,
                              struct lph_error *e);

/* The operation that has ended: was the transaction begun by it? */
bool lph_flight_had_begin(const struct lph_conn *c);

/* Whose answer the next result is. */
int lph_flight_next(struct lph_op *op);
/* One answer to a part other than MAIN, PARSE, DESCRIBE and GOODBYE. */
void lph_flight_receive(struct lph_conn *c, int part, const PGresult *res);

#endif
