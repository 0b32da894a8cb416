/* json.h - JSON text <-> tokens, exactly and without Lua.
 *
 * Reading is pull style: one token per call, no recursion, and not one allocation. The grammar is
 * RFC 8259 and nothing more (no comments, no trailing commas, no NaN), with what the RFC leaves
 * open decided so: at most LPH_JSON_MAX_DEPTH containers inside each other, strings are UTF-8 and
 * hold no half of a surrogate pair, and \u0000 is fine (json allows it; jsonb never sends it).
 * Any byte string gives tokens that end in LPH_JSON_END, or LPH_JSON_BAD.
 *
 * Numbers keep their digits: what fits int64 comes as an integer, everything else as its text, and
 * the caller decides what becomes of it.
 *
 * Writers append to a caller's buffer; on failure the buffer is as it was.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_JSON_H
#define LPH_JSON_H

#include "base/buf.h"

#define LPH_JSON_MAX_DEPTH 512

typedef enum lph_json_token {
  LPH_JSON_END, /* the whole text was read */
  LPH_JSON_OPEN_ARRAY,
  LPH_JSON_CLOSE_ARRAY,
  LPH_JSON_OPEN_OBJECT,
  LPH_JSON_CLOSE_OBJECT,
  LPH_JSON_KEY,    /* as STRING; the colon is consumed, the next token is the member's value */
  LPH_JSON_STRING, /* r->text: the bytes between the quotes, see r->escaped */
  LPH_JSON_INT,    /* r->integer; r->text is the number as written (the next two likewise) */
  LPH_JSON_BIG,    /* an integer beyond int64 */
  LPH_JSON_FLOAT,  /* has a fraction or an exponent, or is -0 */
  LPH_JSON_TRUE,
  LPH_JSON_FALSE,
  LPH_JSON_NULL,
  LPH_JSON_BAD /* not JSON: r->why, r->at; every later call answers the same */
} lph_json_token;

typedef struct lph_json_reader {
  /* Results of the last call; they borrow from the text given to open. */
  lph_bytes text;
  int64_t integer;
  bool escaped;    /* KEY, STRING: text needs lph_json_unescape; false: text is the value */
  const char *why; /* BAD: static half-sentence for "malformed JSON at byte 17: " */
  size_t at;       /* BAD: offset, from 0, of the offending byte */
  /* private */
  const char *start, *p, *end;
  int depth;
  uint8_t state;
  bool in_object;
  uint64_t outer_is_object[LPH_JSON_MAX_DEPTH / 64]; /* what a close returns to, one bit a level */
} lph_json_reader;

void lph_json_open(lph_json_reader *r, lph_bytes text);
lph_json_token lph_json_next(lph_json_reader *r);

/* Bytes not yet read. Each member still to come takes two of them at least. */
static inline size_t lph_json_left(const lph_json_reader *r) { return (size_t)(r->end - r->p); }
/* Right after an OPEN: is it seen at a glance that nothing is inside? */
static inline bool lph_json_is_empty(const lph_json_reader *r) {
  return r->p < r->end && (*r->p == ']' || *r->p == '}');
}

/* Decodes the KEY or STRING at hand. `out` has room for r->text.len bytes (an escape is never
 * shorter than what it stands for); answers how many were written. */
size_t lph_json_unescape(const lph_json_reader *r, char *out);

/* For BIG: true, and the double, when that double printed with as many digits as the text has says
 * the same number. jsonb prints 1e300 as an integer of 301 digits, so this tells what once was
 * a float from an integer that a float cannot hold. */
bool lph_json_big_is_float(lph_bytes text, double *value);

/* With quotes. LPH_EFORMAT: not UTF-8. */
lph_err lph_json_put_string(lph_buf *out, lph_bytes text);
lph_err lph_json_put_int(lph_buf *out, int64_t value);
/* Shows that it is a float (3.0, not 3) wherever PostgreSQL keeps that, so that it is read back as
 * one. LPH_ERANGE: NaN and infinities, which JSON does not have. */
lph_err lph_json_put_float(lph_buf *out, double value);

#endif
