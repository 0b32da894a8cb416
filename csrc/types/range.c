/* range.c - takes ranges and multiranges apart; quotes bounds of range literals.
 *
 * Bounds stay in the format of the whole and are not compared: whether lower is below upper, and
 * whether the subtype is discrete, is the server's business.
 *
 * SPDX-License-Identifier: MIT */
#include "types/quote.h"
#include "types/type.h"

/* Flag byte of the binary form (rangetypes.h of the server; no others are ever sent). */
enum { IS_EMPTY = 1, LOWER_INC = 2, UPPER_INC = 4, LOWER_INF = 8, UPPER_INF = 16, KNOWN_FLAGS = 31 };

static bool take_sized(const char **p, const char *end, lph_bytes *out) {
  if (end - *p < 4) return false;
  int32_t len = (int32_t)lph_get_u32(*p);
  if (len < 0 || len > end - *p - 4) return false;
  *out = (lph_bytes){*p + 4, (size_t)len};
  *p += 4 + len;
  return true;
}

static lph_err read_binary(lph_range *r, const char *p, const char *end) {
  unsigned flags = (unsigned char)*p++;
  if (flags & ~(unsigned)KNOWN_FLAGS) return LPH_EFORMAT;
  r->empty = (flags & IS_EMPTY) != 0;
  if (!r->empty) {
    r->lower_inf = (flags & LOWER_INF) != 0;
    r->upper_inf = (flags & UPPER_INF) != 0;
    r->lower_inc = (flags & LOWER_INC) != 0 && !r->lower_inf;
    r->upper_inc = (flags & UPPER_INC) != 0 && !r->upper_inf;
    if (!r->lower_inf && !take_sized(&p, end, &r->lower)) return LPH_EFORMAT;
    if (!r->upper_inf && !take_sized(&p, end, &r->upper)) return LPH_EFORMAT;
  }
  return p == end ? LPH_OK : LPH_EFORMAT;
}

static lph_err read_bound(lph_range *r, const char **p, const char *end, lph_bytes *bound, bool *infinite) {
  const char *from = *p;
  unsigned stop = LPH_Q_COMMA | LPH_Q_PAREN | LPH_Q_SQUARE;
  lph_err err = lph_quote_read_field(p, end, stop, &r->scratch, bound);
  if (err != LPH_OK) return err;
  *infinite = *p == from;
  if (*infinite) *bound = (lph_bytes){0};
  return LPH_OK;
}

static lph_err read_text(lph_range *r, const char *p, const char *end) {
  if (end - p == 5 && memcmp(p, "empty", 5) == 0) {
    r->empty = true;
    return LPH_OK;
  }
  if (*p != '[' && *p != '(') return LPH_EFORMAT;
  bool lower_inc = *p++ == '[';
  /* Both bounds may go through the scratch buffer. The second does not move the first: unescaping
   * reserves for all that is left of the input, and takes no more than it read. */
  lph_err err = read_bound(r, &p, end, &r->lower, &r->lower_inf);
  if (err != LPH_OK) return err;
  if (*p++ != ',') return LPH_EFORMAT;
  err = read_bound(r, &p, end, &r->upper, &r->upper_inf);
  if (err != LPH_OK) return err;
  if ((*p != ']' && *p != ')') || p + 1 != end) return LPH_EFORMAT;
  r->lower_inc = lower_inc && !r->lower_inf;
  r->upper_inc = *p == ']' && !r->upper_inf;
  return LPH_OK;
}

lph_err lph_range_read(lph_range *r, lph_bytes in, bool binary) {
  *r = (lph_range){0};
  if (in.len == 0) return LPH_EFORMAT;
  lph_err err = binary ? read_binary(r, in.data, in.data + in.len) : read_text(r, in.data, in.data + in.len);
  if (err != LPH_OK) {
    lph_range_close(r);
    *r = (lph_range){0};
  }
  return err;
}

void lph_range_close(lph_range *r) { lph_buf_free(&r->scratch); }

lph_err lph_range_put(lph_buf *out, lph_bytes text) {
  unsigned special = LPH_Q_ESCAPE | LPH_Q_PAREN | LPH_Q_SQUARE | LPH_Q_COMMA | LPH_Q_SPACE;
  if (text.len == 0 || lph_quote_has(text, special)) return lph_quote_put(out, text, 0);
  return lph_buf_add(out, text.data, text.len);
}

/* ---- multiranges: a count and sized ranges, or {range,range} -------------------------------------- */

lph_err lph_multirange_open(lph_multirange_reader *r, lph_bytes in, bool binary) {
  *r = (lph_multirange_reader){.binary = binary};
  if (in.len < (binary ? 4u : 2u)) return LPH_EFORMAT;
  r->p = in.data;
  r->end = in.data + in.len;
  if (!binary) return *r->p++ == '{' && *--r->end == '}' ? LPH_OK : LPH_EFORMAT;
  uint32_t count = lph_get_u32(r->p);
  r->p += 4;
  /* A range has at least its length word and its flags. */
  if (count > (in.len - 4) / 5 || count > INT32_MAX) return LPH_EFORMAT;
  r->left = (int32_t)count;
  return LPH_OK;
}

/* Behind the bracket that closes the range at p; NULL when none does. */
static const char *range_end(const char *p, const char *end) {
  if (*p != '[' && *p != '(') return NULL;
  bool quoted = false;
  for (p++; p < end; p++) {
    if (*p == '\\') {
      if (++p == end) return NULL;
    } else if (*p == '"') {
      quoted = !quoted; /* "" inside quotes closes and opens again */
    } else if (!quoted && (*p == ']' || *p == ')')) {
      return p + 1;
    }
  }
  return NULL;
}

int lph_multirange_next(lph_multirange_reader *r) {
  if (r->binary) {
    if (r->left == 0) return r->p == r->end ? 0 : -1;
    if (!take_sized(&r->p, r->end, &r->item)) return -1;
    r->left--;
    return 1;
  }
  if (r->p == r->end) return 0;
  const char *p = r->p;
  if (r->started && *p++ != ',') return -1;
  const char *after = p < r->end ? range_end(p, r->end) : NULL;
  if (after == NULL) return -1;
  r->item = (lph_bytes){p, (size_t)(after - p)};
  r->p = after;
  r->started = true;
  return 1;
}
