/* tap.h - rows are taken off the stream before libpq sees them.
 *
 * libpq reads 16 kB at a time, copies each row twice and allocates for it: for COPY, streams and long results that is a
 * good part of what a row costs. Where the channel is a plain socket we read ourselves, and hand out the messages of one type (CopyData,
 * DataRow) as they lie in our buffer. All else goes to libpq in the order it came (lph_sip_feed), so that the protocol stays
 * libpq's business: to libpq it is an answer with few rows, or none. So does a row that does not fit the buffer.
 *
 *   PASSING ---------------> OPENED ------------> TAKING ------> closed
 *   all goes to libpq        the message that     rows are       what is left goes to libpq
 *        |                   opens the rows did   handed out
 *        |                        | nobody agrees     | behind the last row
 *        '------> LEFT <----------'-------------------'
 *                 all goes to libpq, and no byte is looked at any more
 *
 * Both readers must mean the same byte by "here a message begins", but libpq may have been left in the middle of one (a
 * notice that came in two pieces). So the tap passes everything on until it has passed the message that opens the rows, and
 * begins to take only when somebody has seen libpq, or the message itself, to agree (lph_tap_take). Otherwise it never does.
 * Until then it keeps nothing back either, not even a head that was cut: that might be no head, but the end of the answer.
 *
 * Nobody else may read from the socket meanwhile: libpq does so in PQconsumeInput, and when it cannot write.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_TAP_H
#define LPH_TAP_H

#include "core/sip.h"

#define LPH_TAP_BYTES 65536

typedef enum lph_tap_phase { LPH_TAP_PASSING, LPH_TAP_OPENED, LPH_TAP_TAKING, LPH_TAP_LEFT } lph_tap_phase;

typedef struct lph_tap {
  char *data; /* LPH_TAP_BYTES; kept while the session lasts */
  bool open;
  size_t at, end;
  size_t foreign; /* of the message at `at`, which is libpq's: how much of it is to come */
  lph_tap_phase phase;
  char opener, row; /* types of messages */
  size_t opening;   /* bytes of the opener, which end at `at`; 0: it did not come in one piece */
  size_t taken;     /* bytes read in all */
  unsigned owed;    /* rows that were too long for us, and went to libpq */
} lph_tap;

/* Before the first answer to a statement that has been sent as a whole. False: no memory, no descriptors; libpq reads. */
bool lph_tap_open(lph_tap *t, lph_sip *s, PGconn *pg, char opener, char row);
static inline bool lph_tap_is_open(const lph_tap *t) { return t->open; }
/* The opener was what it should be: from now on rows are taken. */
void lph_tap_take(lph_tap *t);
/* The body of the opener, while that has just gone by and came in one piece; else empty. */
lph_bytes lph_tap_opener(const lph_tap *t);
/* The same where the opener is a RowDescription, if it is one to the last byte. Right behind lph_tap_consume. */
void lph_tap_take_rows(lph_tap *t);

/* Instead of PQconsumeInput, and like it. Not while a row of the tap is in use. */
bool lph_tap_consume(lph_tap *t, lph_sip *s, PGconn *pg);
/* Is there something for libpq, or a row, that has been read already? Then nobody should wait for the socket. */
bool lph_tap_is_behind(const lph_tap *t);

/* The next row, if all of it has come; valid until the tap reads again. */
static LPH_INLINE bool lph_tap_next(lph_tap *t, lph_bytes *row) {
  size_t there = t->end - t->at;
  if (LPH_UNLIKELY(t->phase != LPH_TAP_TAKING || t->foreign > 0 || there < 5)) return false;
  const char *p = t->data + t->at;
  if (LPH_UNLIKELY(*p != t->row)) return false;
  size_t size = lph_get_u32(p + 1);
  if (LPH_UNLIKELY(size > there - 1 || size < 4)) return false;
  *row = (lph_bytes){p + 5, size - 4};
  t->at += size + 1;
  return true;
}

/* All rows that have come, as messages; the same. */
lph_bytes lph_tap_next_rows(lph_tap *t, int *count);

/* From now on libpq reads itself; it gets what has been read. False: it could not, and the session is broken. */
bool lph_tap_close(lph_tap *t, lph_sip *s, PGconn *pg);
void lph_tap_free(lph_tap *t);

#endif
