/* marks.h - what an SQL text may leave behind in the session that runs it.
 *
 * A text is read once, when the statement cache meets it (a script: when it runs); each execution then only adds
 * the marks to its connection's. Whoever lends a connection to others asks for them afterwards: none means that
 * there is nothing to clean, and nothing needs to be asked of the server.
 *
 * The reading is careful rather than clever: a mark too many costs one reset, a mark too few shows one user's
 * session to the next. What a function on the server does is not in the text and is not seen; the body of a DO
 * statement is read like the rest.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_MARKS_H
#define LPH_MARKS_H

#include "base/base.h"

enum {
  LPH_MARK_SETTINGS = 1, /* SET, RESET, set_config(); not what ends with the transaction */
  LPH_MARK_ROLE = 2,     /* SET ROLE, SET SESSION AUTHORIZATION */
  LPH_MARK_LISTEN = 4,
  LPH_MARK_LOCKS = 8, /* advisory locks of the session */
  LPH_MARK_TEMP = 16, /* temporary tables, views, anything in pg_temp */
  LPH_MARK_CURSORS = 32,
  LPH_MARK_PREPARED = 64, /* PREPARE in SQL; our own statements are no marks */
  LPH_MARK_LASTING = 128, /* what no statement undoes: LOAD, the random seed, dblink's connections ... */
  LPH_MARK_COPY = 512,    /* no mark: a statement is a COPY */
  LPH_MARK_NAMES = 256,   /* goes with others: names may mean other things than before (search_path) */
};

/* Anything that can be undone: for texts that hide what they do (EXECUTE in a DO body). */
#define LPH_MARKS_DOUBT                                                                                      \
  (LPH_MARK_SETTINGS | LPH_MARK_ROLE | LPH_MARK_LISTEN | LPH_MARK_LOCKS | LPH_MARK_TEMP | LPH_MARK_CURSORS | \
   LPH_MARK_PREPARED)

/* The marks of a text, and the highest number of its parameters ($1 ...; 0 = none, `highest` may be NULL). */
unsigned lph_marks_of(lph_bytes sql, int *highest);

/* Of these, what is left when the transaction has ended: LPH_MARK_NAMES alone is a search_path that ends with it. */
static inline unsigned lph_marks_left(unsigned marks) {
  unsigned left = marks & ~(unsigned)LPH_MARK_COPY;
  return left == LPH_MARK_NAMES ? 0 : left;
}

#endif
