/* txn.h - one transaction of a session: how deep it is, what the server has heard of it, how it ended.
 *
 * Levels are counted: 1 is the transaction, every level above it a savepoint. The program opens and closes levels
 * at will (`depth`); the server hears of it with the next statement, in the same flight. Between flights:
 *
 *     keep <= depth      levels that are open on both sides
 *     keep <= on_server  what is above `keep` on the server has been closed by the program meanwhile
 *
 *   begin      depth 1, nothing sent           nest      depth + 1
 *   release    depth - 1, keep at most depth   undo      depth - 1; sent at once where the server has the level
 *
 * A flight therefore starts with at most: BEGIN, SETTINGS, one RELEASE (it takes everything above along) and a
 * SAVEPOINT for each new level. This file decides and names; it sends nothing and knows no libpq.
 *
 * The outcome is told here and nowhere else. "Committed" means that the server answered COMMIT with the tag COMMIT;
 * "unknown", that bytes of COMMIT left and the session was lost before an answer came.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_TXN_H
#define LPH_TXN_H

#include "base/buf.h"

typedef enum lph_txn_isolation {
  LPH_TXN_DEFAULT,
  LPH_TXN_READ_UNCOMMITTED,
  LPH_TXN_READ_COMMITTED,
  LPH_TXN_REPEATABLE_READ,
  LPH_TXN_SERIALIZABLE,
} lph_txn_isolation;

typedef enum lph_txn_choice { LPH_TXN_UNSAID, LPH_TXN_NO, LPH_TXN_YES } lph_txn_choice;

typedef struct lph_txn_mode {
  lph_txn_isolation isolation;
  lph_txn_choice read_only, deferrable;
  bool wants_id; /* the transaction id is learnt before COMMIT leaves */
} lph_txn_mode;

typedef enum lph_txn_step {
  LPH_TXN_NOTHING,
  LPH_TXN_RESTART, /* ROLLBACK of a transaction in which nothing ran */
  LPH_TXN_BEGIN,
  LPH_TXN_SETTINGS,
  LPH_TXN_RELEASE,
  LPH_TXN_SAVEPOINT
} lph_txn_step;

typedef enum lph_txn_outcome {
  LPH_TXN_OPEN,
  LPH_TXN_COMMITTED,
  LPH_TXN_ROLLED_BACK,
  LPH_TXN_UNKNOWN
} lph_txn_outcome;

#define LPH_TXN_TEXT 112 /* room for any text made here */
#define LPH_TXN_ID 24    /* 64 bits in decimal */

typedef struct lph_txn {
  int depth;     /* levels the program has open; 0 = no transaction */
  int on_server; /* levels the server has */
  int keep;      /* those of them that stay */
  lph_txn_outcome outcome;
  bool rides;     /* COMMIT goes with the next statement */
  bool sent;      /* COMMIT was handed to libpq and has no answer yet */
  bool strayed;   /* a statement inside ended it, or began another one */
  bool wants_id;  /* and does not know it yet */
  bool unasked;   /* something ran since the id was asked for last */
  bool has_plain; /* BEGIN is the plain one */
  bool restarts;  /* the server has a failed transaction in which nothing ran: it goes before BEGIN */
  char id[LPH_TXN_ID];
  int backend_pid;
  int setting_count;
  lph_buf settings;         /* name, NUL, value, NUL, ... */
  char begin[LPH_TXN_TEXT]; /* its BEGIN */
} lph_txn;

void lph_txn_free(lph_txn *t);

/* Fails (and changes nothing) while one is open. */
lph_err lph_txn_begin(lph_txn *t, const lph_txn_mode *mode);
/* One more setting for the length of the transaction; before the first flight. */
lph_err lph_txn_set(lph_txn *t, const char *name, const char *value);
void lph_txn_nest(lph_txn *t);
void lph_txn_release(lph_txn *t); /* depth > 1 */
void lph_txn_end(lph_txn *t);     /* the program is through with it; the outcome stays */

/* Is there anything to say to the server before the next statement? */
static inline bool lph_txn_is_pending(const lph_txn *t) {
  return t->depth > 0 && (t->on_server != t->depth || t->keep != t->depth);
}

/* The steps of a flight, one after another. A plan starts as what lph_txn_plan gives. */
typedef struct lph_txn_plan {
  int on_server, keep, depth;
  bool settings, restarts;
} lph_txn_plan;
lph_txn_plan lph_txn_make_plan(const lph_txn *t);
lph_txn_step lph_txn_next(lph_txn_plan *plan);
/* The text of the step that lph_txn_next has just answered (not of SETTINGS). */
const char *lph_txn_text(const lph_txn *t, const lph_txn_plan *after, lph_txn_step step,
                         char room[LPH_TXN_TEXT]);
lph_err lph_txn_settings_text(const lph_txn *t, lph_buf *out);
void lph_txn_did(lph_txn *t, lph_txn_step step); /* the server did it */

/* The first statement failed for a reason that is no longer one (a plan that went stale): BEGIN goes again. */
void lph_txn_restart(lph_txn *t);

/* What to send in order to undo the innermost level; NULL: nothing. lph_txn_undone when that is through. */
const char *lph_txn_undo_text(const lph_txn *t, char room[LPH_TXN_TEXT]);
void lph_txn_undone(lph_txn *t);

/* A statement of the program was answered with this tag. `text`: its SQL. */
void lph_txn_observe(lph_txn *t, const char *tag, const char *text);
/* A flight is through; `idle`: the server says that no transaction is open. */
void lph_txn_settle(lph_txn *t, bool idle);

void lph_txn_commit_sent(lph_txn *t);
void lph_txn_commit_answered(lph_txn *t, const char *tag);
void lph_txn_lost(lph_txn *t); /* the session is gone */
void lph_txn_set_id(lph_txn *t, const char *id);

#endif
