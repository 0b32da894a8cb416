/* flight.h - several commands in one flight (libpq's pipeline mode), and whose answer is whose.
 *
 * A statement of a transaction can have company: what the server has not heard yet of BEGIN and savepoints in front
 * of it, the question for the transaction id and COMMIT behind it. All of it stands before one Sync, so that after
 * a failure the rest is skipped: no statement ever runs outside of a transaction whose BEGIN failed, and nothing is
 * committed after a statement that failed.
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
struct lph_op;

typedef enum lph_part {
  LPH_PART_MAIN, /* the statement itself; also everything that is no flight */
  LPH_PART_PARSE,
  LPH_PART_DESCRIBE,
  LPH_PART_GOODBYE,                    /* a DEALLOCATE, whose failure is of no interest */
  LPH_PART_HELPER,                     /* + number of the helper: it is prepared */
  LPH_PART_STEP = LPH_PART_HELPER + 3, /* + lph_txn_step */
  LPH_PART_ID = LPH_PART_STEP + 6,
  LPH_PART_COMMIT,
} lph_part;

/* Each answers false when libpq refused, or memory ran out (PQerrorMessage, or op->out_of_memory). */
bool lph_flight_add(struct lph_op *op, int part); /* notes what has been sent */
bool lph_flight_before(struct lph_conn *c);       /* what the transaction has to say first */
bool lph_flight_after(struct lph_conn *c);        /* COMMIT if it rides along, else the question for the id */
bool lph_flight_ask(struct lph_conn *c);          /* for the id, where it is wanted */
/* Must the next statement have company? */
bool lph_flight_has_company(const struct lph_conn *c);

/* The operation that has ended: was the transaction begun by it? */
bool lph_flight_had_begin(const struct lph_conn *c);

/* Whose answer the next result is. */
int lph_flight_next(struct lph_op *op);
/* One answer to a part other than MAIN, PARSE, DESCRIBE and GOODBYE. */
void lph_flight_receive(struct lph_conn *c, int part, const PGresult *res);

#endif
