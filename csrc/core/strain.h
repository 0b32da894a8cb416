/* strain.h - keeps the rows of an answer that is too big away from libpq.
 *
 * libpq keeps a row until the last byte of its statement's answer has come, and a message until its own. On a shared
 * connection nobody can stop reading when that becomes too much: other statements' answers stand behind it. So what
 * comes from the socket is taken apart into messages before libpq sees it, and once the rows of an answer pass the
 * limit the rest of them (DataRow, whole messages) is dropped. libpq then knows of a result with fewer rows, which its
 * owner is not given.
 *
 * The head of a row is not shown to libpq before it is there as a whole (`held`): half a message cannot be taken back.
 *
 * Where one message ends and the next begins must be known beyond doubt. It is known (`anchored`) when everything that was
 * sent has been answered and the last six bytes are a ReadyForQuery: nothing a server sends unasked looks like that at
 * its end or inside. Whenever libpq may have read something itself it is forgotten again (lph_strain_lose), and until the
 * next such moment all bytes pass.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_STRAIN_H
#define LPH_STRAIN_H

#include "base/base.h"

#define LPH_STRAIN_HEAD 5  /* type, length */
#define LPH_STRAIN_READY 6 /* a ReadyForQuery */

/* The rows of the answer number `answer` (0: the first since the anchor) are dropped from now on. `bytes`: how many there
 * are, the first that was dropped among them. */
typedef void lph_strain_refused(void *arg, unsigned answer, size_t bytes);

typedef struct lph_strain {
  bool anchored;
  bool refusing; /* rows of the answer that is arriving are dropped */
  bool dropping; /* the message that is arriving is */
  bool held;     /* libpq has not seen the `have` bytes of `head` */
  unsigned char head[LPH_STRAIN_HEAD];
  unsigned have;
  size_t left;      /* of the message that is arriving */
  size_t rows;      /* bytes of rows in the answer that is arriving */
  unsigned answers; /* that have ended, with their ReadyForQuery, since the anchor */
  char tail[LPH_STRAIN_READY];
  lph_strain_refused *refused;
  void *arg;
} lph_strain;

/* `data` has LPH_STRAIN_HEAD bytes of room in front of it. Leaves the bytes for libpq in one piece, which may begin up to
 * that much earlier: `*data` is set to where, the answer is how many. `limit`: how many bytes of rows may pass. */
size_t lph_strain_pass(lph_strain *s, char **data, size_t len, size_t limit);

/* Everything that was sent has been answered, and nothing was read but what passed here. */
void lph_strain_anchor(lph_strain *s);
/* libpq has read something itself, or may have. Not while lph_strain_is_shut. */
void lph_strain_lose(lph_strain *s);
/* Something has been kept back: libpq must not read by itself, and so nothing may be sent. */
static inline bool lph_strain_is_shut(const lph_strain *s) { return s->refusing || s->held; }

#endif
