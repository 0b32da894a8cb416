/* copy.h - COPY ... FROM STDIN and COPY ... TO STDOUT, the bytes of it.
 *
 *          lph_op_copy          step: the server is willing
 *   IDLE -------------> START ---------------------------> IN ------. lph_copy_end, or the
 *                         |                                |        | server has failed it
 *                         |                                v        v
 *                         |                               REST: what is begun is sent to its end
 *                         '--------> OUT                   |
 *                                     | the last row       | CopyDone or CopyFail has been sent
 *                                     v                    v
 *                                    NONE: its answer is read like that of any operation, then IDLE
 *
 * The connection is BUSY all the time. A step answers LPH_DONE with the connection still BUSY when it is the caller's
 * turn: rows can be put (IN), or one has come (OUT).
 *
 * IN: rows are gathered into a piece, which is one CopyData message. A piece that has not been sent to its end takes no
 * more rows, so memory is bounded by a piece and a row. Without TLS the piece goes to the socket by ourselves: libpq
 * would copy it once more, and what it reads while it cannot write it shows to nobody before the end of the COPY. So
 * an error of the server in the middle is seen when it comes, and not after the last of a million rows.
 *
 * OUT: nothing is read while a row waits to be taken, so the server is slowed down by whoever reads slowly.
 *
 * The statement travels as a simple Query. Under the extended protocol the server takes a Sync both in front of the data
 * and behind it, and one that fails in between leaves a ReadyForQuery over that belongs to nobody.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_COPY_H
#define LPH_COPY_H

#include <libpq-fe.h>

#include "base/buf.h"

struct lph_conn;

typedef enum lph_copy_phase {
  LPH_COPY_NONE,
  LPH_COPY_START,
  LPH_COPY_IN,
  LPH_COPY_REST,
  LPH_COPY_OUT,
} lph_copy_phase;

/* Bytes of a piece: 8 to 64 kB are best, a megabyte would lose the overlap with the server's work. */
#define LPH_COPY_PIECE 65536
#define LPH_COPY_HEAD 5 /* of a CopyData message: type and length */
/* A message of more is taken for a broken client by the server. */
#define LPH_COPY_MOST ((size_t)0x3fffffff - 64)

typedef struct lph_copy {
  lph_copy_phase phase;
  bool inward; /* what the caller wants; the other one is refused */
  bool binary; /* what the server said */
  int columns;
  /* IN */
  bool direct;     /* we write to the socket */
  bool sealed;     /* the piece is being sent */
  bool failing;    /* CopyFail instead of CopyDone */
  bool refused;    /* the server has failed it */
  lph_buf piece;   /* room for a head, then rows */
  size_t sent;     /* bytes of a sealed piece */
  char reason[96]; /* of CopyFail */
  /* where in the server's messages we are */
  char head[LPH_COPY_HEAD];
  size_t have, skip;
  /* OUT */
  char *row; /* in the tap, or PQfreemem */
  int row_len;
  bool tapped;              /* the row is in the tap */
  unsigned long long bytes; /* of rows, in either direction */
} lph_copy;

/* For lph_op_copy: forgets the last one, keeps the memory. */
void lph_copy_begin(lph_copy *y, bool inward);
void lph_copy_free(lph_copy *y);

/* A result that offers to copy. False: not what was asked for (or nobody wants it any more). */
bool lph_copy_accept(struct lph_conn *c, const PGresult *res);

/* For lph_op_step, in the phases IN, REST and OUT; lph_want. */
int lph_copy_step(struct lph_conn *c);
/* The caller has given up. Sends nothing: that is for the steps that follow. */
void lph_copy_leave(struct lph_conn *c);

/* IN: where rows are appended to; NULL: no memory. Only while lph_copy_has_room. */
lph_buf *lph_copy_room(lph_copy *y);
static inline bool lph_copy_has_room(const lph_copy *y) { return y->phase == LPH_COPY_IN && !y->sealed; }
static inline bool lph_copy_is_full(const lph_copy *y) { return y->piece.len >= LPH_COPY_PIECE; }
/* Sends the piece; lph_want. LPH_DONE: there is room again, or the COPY has ended. */
int lph_copy_push(struct lph_conn *c);
/* No more rows; with a reason the server is told to forget them all. */
int lph_copy_end(struct lph_conn *c, const char *reason);

/* OUT: the row that has come; data is NULL when there is none. */
static inline lph_bytes lph_copy_row(const lph_copy *y) { return (lph_bytes){y->row, (size_t)y->row_len}; }
void lph_copy_drop_row(lph_copy *y);
/* A step in short, right after another row was taken: is there one more that has come already? */
bool lph_copy_next(struct lph_conn *c);

/* ---- rows as COPY's text format writes them (copytext.c) --------------------------------------------------- */

/* Appends a field, escaped. */
lph_err lph_copy_put_text(lph_buf *out, lph_bytes text);
/* Takes the next field off a line without its end: `*field` points into the line, or into `scratch` where something
 * had to be unescaped; data is NULL for NULL. False: no field is left. LPH_ENOMEM in *rc otherwise LPH_OK. */
bool lph_copy_next_field(lph_bytes *line, lph_buf *scratch, lph_bytes *field, lph_err *rc);

#endif
