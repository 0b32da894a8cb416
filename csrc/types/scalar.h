/* scalar.h - renderers of single scalar kinds, shared by render.c and the other files of this room.
 *
 * Each takes the binary form the server sends and appends what psql prints. All answer LPH_OK,
 * LPH_ENOMEM or LPH_EFORMAT and append nothing on failure. Public contracts live in type.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SCALAR_H
#define LPH_SCALAR_H

#include "types/type.h"

/* num.c: "00" "01" ... "99" without separators. */
extern const char lph_digit_pairs[200];

/* numeric.c */
lph_err lph_numeric_text(lph_bytes binary, lph_buf *out);

/* bytes.c */
lph_err lph_uuid_text(lph_bytes binary, lph_buf *out);
lph_err lph_bit_text(lph_bytes binary, lph_buf *out);  /* bit and varbit */
lph_err lph_char_text(lph_bytes binary, lph_buf *out); /* "char": 0 is empty, >= 0x80 is \ooo */

#endif
