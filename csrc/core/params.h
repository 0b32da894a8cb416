/* params.h - the parameters of one execution, in memory that is used again and again.
 *
 * Short texts are written one behind the other into one buffer; long strings may be lent
 * (`lph_params_lend`) and must then stay alive until the statement was sent. Offsets become
 * pointers in lph_params_seal, because the buffer may move while it grows.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_PARAMS_H
#define LPH_PARAMS_H

#include "base/buf.h"

#define LPH_PARAMS_MAX 65535 /* the protocol counts parameters in 16 bits */
#define LPH_PARAMS_OLD 7498  /* what every libpq can describe, see lph_params_limit */

typedef struct lph_params {
  int count;
  const char **values; /* NULL = SQL NULL */
  int *lengths, *formats;
  size_t bytes; /* of all values together; more than lengths can tell is refused before it is sent */
  lph_buf text;
  /* private */
  size_t *offsets; /* where a value starts in text; SIZE_MAX = lent or NULL */
  int room;
} lph_params;

/* Makes room for `count` parameters, all NULL. */
lph_err lph_params_begin(lph_params *p, int count);
/* Value `index` (from 0) is what was appended to p->text since `start`. A NUL is added behind it. */
lph_err lph_params_put(lph_params *p, int index, size_t start);
void lph_params_lend(lph_params *p, int index, const char *data, size_t len, bool binary);
void lph_params_seal(lph_params *p);
/* After sending: gives back a buffer that one huge value has blown up. */
void lph_params_shrink(lph_params *p);
void lph_params_free(lph_params *p);

/* How many parameters of a statement a libpq of this version (PQlibVersion) can describe. Old ones take a longer
 * description for a lost synchronisation, and give up the session. */
int lph_params_limit(int libpq);

#endif
