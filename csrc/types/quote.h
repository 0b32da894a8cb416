/* quote.h - the quoting rules that arrays, rows, ranges and hstore share. Private to types/.
 *
 * There are two dialects. Arrays and hstore put a backslash before `"` and `\` and quote a value as
 * a whole. Rows and ranges double both characters, and on reading quotes may open and close
 * anywhere in a field. What forces quotes differs between the four and is given as a mask, which
 * follows array_out, record_out and range_bound_escape of the server.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_QUOTE_H
#define LPH_QUOTE_H

#include "base/buf.h"

enum {
  LPH_Q_SPACE = 1,   /* space, \t \n \v \f \r */
  LPH_Q_ESCAPE = 2,  /* " and \ */
  LPH_Q_BRACE = 4,   /* { } */
  LPH_Q_PAREN = 8,   /* ( ) */
  LPH_Q_SQUARE = 16, /* [ ] */
  LPH_Q_COMMA = 32
};

extern const uint8_t lph_quote_class[256];

static inline unsigned lph_quote_class_of(char c) { return lph_quote_class[(unsigned char)c]; }

/* Does `text` hold a character of the classes in `mask`? */
bool lph_quote_has(lph_bytes text, unsigned mask);
/* Appends `text` between quotes. `escape` is put before `"` and `\`; 0 doubles them instead.
 * Nothing is appended on LPH_ENOMEM. */
lph_err lph_quote_put(lph_buf *out, lph_bytes text, char escape);

/* The readers below move *p behind what they took and set *out, which points into the input, or
 * behind what `scratch` held before when the text had to be unescaped. LPH_EFORMAT or LPH_ENOMEM. */

/* "..." with backslash escapes; *p is at the opening quote. */
lph_err lph_quote_read_string(const char **p, const char *end, lph_buf *scratch, lph_bytes *out);
/* One field of a row or range, up to (not including) an unquoted character of class `stop`, which
 * must follow. When it reserves, then for all that is left of the input at once: fields of one input
 * that share a scratch buffer stay where they are. */
lph_err lph_quote_read_field(const char **p, const char *end, unsigned stop, lph_buf *scratch,
                             lph_bytes *out);

#endif
