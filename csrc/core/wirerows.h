/* wirerows.h - rows as they came: messages of the type DataRow, one behind the other.
 *
 * What the tap takes of a result, or of a portion, is put together here, instead of in a PGresult, which would cost three
 * times as much. A row that was too long for the tap is in the PGresult all the same; in its place stands a message of the
 * type LPH_WIRE_ELSEWHERE, which there is none of. (Not in a stream of the form "rows": there it is a portion of its own.)
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_WIREROWS_H
#define LPH_WIREROWS_H

#include "base/buf.h"
#include "core/tap.h"

#define LPH_WIRE_HEAD 5 /* type and length, which counts itself */
#define LPH_WIRE_ELSEWHERE '\0'

typedef struct lph_wirerows {
  lph_buf bytes;
  int count;
  unsigned elsewhere; /* of them in the PGresult */
  bool lost;          /* there was no memory for one: none is of any use */
} lph_wirerows;

static inline void lph_wirerows_clear(lph_wirerows *r) { /* keeps the block */
  *r = (lph_wirerows){.bytes = {.data = r->bytes.data, .cap = r->bytes.cap}};
}
/* The same for who does not know whether there will be rows again: keeps none of more than LPH_WIREROWS_KEPT bytes. */
#define LPH_WIREROWS_KEPT ((size_t)256 << 10)
void lph_wirerows_done(lph_wirerows *r);
static inline void lph_wirerows_swap(lph_wirerows *a, lph_wirerows *b) {
  lph_wirerows kept = *a;
  *a = *b;
  *b = kept;
}
void lph_wirerows_free(lph_wirerows *r);
/* Takes what has come. With `r` NULL it is thrown away. */
void lph_wirerows_collect(lph_wirerows *r, lph_tap *t);

#endif
