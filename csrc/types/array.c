/* array.c - walks arrays in both wire formats, event by event; quotes elements of literals.
 *
 * The reader accepts what array_send and array_out produce and refuses everything else, also the
 * forms that only array_in forgives (spaces between elements, ragged nesting): a lenient reading of
 * bytes that no server sends could only be a wrong one. It knows nothing of element types.
 *
 * No size in the input is believed beyond what the rest of the input could hold, so a caller may
 * make a table for size[0] entries without asking what a hostile server wrote there.
 *
 * SPDX-License-Identifier: MIT */
#include "types/quote.h"
#include "types/type.h"

enum { AT_START, AT_VALUE /* one must follow */, AT_AFTER /* one was read */, AT_BAD };

static lph_array_event refuse(lph_array_reader *r, lph_err why) {
  r->state = AT_BAD;
  r->run = 0; /* keeps the fast path out */
  r->why = why;
  return LPH_ARRAY_BAD;
}

/* Bounds are sane and the elements fit into `room`, the most that the rest of the input can hold. */
static bool sizes_fit(const lph_array_reader *r, size_t room) {
  uint64_t items = 1;
  for (int i = 0; i < r->ndim; i++) {
    if (r->size[i] < 0 || r->lower[i] > INT32_MAX - r->size[i]) return false;
    items *= (uint32_t)r->size[i]; /* both factors are below 2^32: no overflow */
    if (items > room || items > INT32_MAX) return false;
  }
  return true;
}

/* ---- binary: int32 ndim, int32 has_nulls, oid elem, then size and lower bound per dimension ---- */

static lph_err open_binary(lph_array_reader *r) {
  size_t left = (size_t)(r->end - r->p);
  if (left < 12) return LPH_EFORMAT;
  uint32_t ndim = lph_get_u32(r->p);
  if (ndim > LPH_ARRAY_MAX_DIM || lph_get_u32(r->p + 4) > 1) return LPH_EFORMAT;
  if ((left - 12) / 8 < ndim) return LPH_EFORMAT;
  r->elem = lph_get_u32(r->p + 8);
  r->p += 12;
  r->ndim = (int)ndim;
  bool empty = ndim == 0;
  for (int i = 0; i < r->ndim; i++, r->p += 8) {
    r->size[i] = (int32_t)lph_get_u32(r->p);
    r->lower[i] = (int32_t)lph_get_u32(r->p + 4);
    empty |= r->size[i] == 0;
  }
  /* Each element has at least its length word. */
  if (!sizes_fit(r, (size_t)(r->end - r->p) / 4)) return LPH_EFORMAT;
  if (empty) { /* a dimension of size 0 is how vectors say it */
    r->ndim = 0;
    r->size[0] = 0;
  }
  return LPH_OK;
}

static inline lph_array_event item_binary(lph_array_reader *r) {
  if (LPH_UNLIKELY(r->end - r->p < 4)) return refuse(r, LPH_EFORMAT);
  int32_t len = (int32_t)lph_get_u32(r->p);
  r->p += 4;
  if (LPH_UNLIKELY(len == -1)) return LPH_ARRAY_NULL;
  if (LPH_UNLIKELY(len < 0 || len > r->end - r->p)) return refuse(r, LPH_EFORMAT);
  r->item = (lph_bytes){r->p, (size_t)len};
  r->p += len;
  return LPH_ARRAY_ITEM;
}

/* Everything but an element: left[] counts down the subarrays each open level still owes. */
static lph_array_event turn_binary(lph_array_reader *r) {
  if (r->state == AT_BAD) return LPH_ARRAY_BAD;
  if (r->depth == 0) {
    if (r->state != AT_START) return r->p == r->end ? LPH_ARRAY_END : refuse(r, LPH_EFORMAT);
    r->state = AT_VALUE;
  } else if (r->left[r->depth - 1] == 0) {
    r->depth--;
    return LPH_ARRAY_CLOSE;
  } else {
    r->left[r->depth - 1]--;
  }
  int level = r->depth++;
  bool innermost = r->depth >= r->ndim; /* the only level where ndim is 0 */
  r->left[level] = innermost ? 0 : r->size[level];
  r->run = innermost ? r->size[level] : 0;
  return LPH_ARRAY_OPEN;
}

const char *lph_array_run(lph_array_reader *r, int width, int *count) {
  *count = 0;
  size_t stride = (size_t)width + 4;
  if (r->run <= 0 || (size_t)(r->end - r->p) / stride < (size_t)r->run) return NULL;
  uint32_t odd = 0;
  for (int i = 0; i < r->run; i++) odd |= lph_get_u32(r->p + (size_t)i * stride) ^ (uint32_t)width;
  if (odd != 0) return NULL; /* NULLs, or another type's elements */
  const char *first = r->p + 4;
  *count = r->run;
  r->p += (size_t)r->run * stride;
  r->run = 0;
  return first;
}

/* ---- text: optional [lower:upper]...= , then nested braces -------------------------------------- */

static bool read_bound(lph_array_reader *r, char stop, int64_t *bound) {
  const char *p = r->p;
  bool negative = p < r->end && *p == '-';
  p += negative;
  int64_t value = 0;
  const char *digits = p;
  for (; p < r->end && *p >= '0' && *p <= '9'; p++) {
    value = value * 10 + (*p - '0');
    if (value > INT64_C(2147483648)) return false;
  }
  if (p == digits || p == r->end || *p != stop) return false;
  *bound = negative ? -value : value;
  r->p = p + 1;
  return true;
}

/* Reads the bounds where they stand; answers how many dimensions they have, -1 for nonsense. */
static int read_bounds(lph_array_reader *r) {
  int n = 0;
  while (r->p < r->end && *r->p == '[') {
    int64_t lower, upper;
    r->p++;
    if (n == LPH_ARRAY_MAX_DIM || !read_bound(r, ':', &lower) || !read_bound(r, ']', &upper)) return -1;
    int64_t size = upper - lower + 1;
    if (lower < INT32_MIN || upper >= INT32_MAX || size < 1 || size > INT32_MAX) return -1;
    r->lower[n] = (int32_t)lower;
    r->size[n++] = (int32_t)size;
  }
  if (n > 0 && (r->p == r->end || *r->p++ != '=')) return -1;
  return n;
}

static lph_err open_text(lph_array_reader *r) {
  int bounds = read_bounds(r);
  size_t left = (size_t)(r->end - r->p);
  if (bounds < 0 || left < 2 || *r->p != '{') return LPH_EFORMAT;
  if (r->p[1] == '}') return bounds == 0 ? LPH_OK : LPH_EFORMAT;
  /* No subarray is ever empty, so the braces in front tell the number of dimensions. */
  size_t braces = 1;
  while (braces < left && r->p[braces] == '{') braces++;
  if (braces > LPH_ARRAY_MAX_DIM || (bounds > 0 && (size_t)bounds != braces)) return LPH_EFORMAT;
  r->ndim = (int)braces;
  if (bounds > 0) return sizes_fit(r, left) ? LPH_OK : LPH_EFORMAT;
  for (int i = 0; i < r->ndim; i++) {
    r->lower[i] = 1;
    r->size[i] = -1;
  }
  return LPH_OK;
}

static bool is_null_word(lph_bytes t) {
  return t.len == 4 && (t.data[0] | 32) == 'n' && (t.data[1] | 32) == 'u' && (t.data[2] | 32) == 'l' &&
         (t.data[3] | 32) == 'l';
}

static lph_array_event item_text(lph_array_reader *r) {
  r->state = AT_AFTER;
  if (*r->p == '"') {
    lph_buf_clear(&r->scratch);
    lph_err err = lph_quote_read_string(&r->p, r->end, &r->scratch, &r->item);
    return err == LPH_OK ? LPH_ARRAY_ITEM : refuse(r, err);
  }
  const char *p = r->p;
  while (p < r->end && *p != r->delim && *p != '}') {
    if (lph_quote_class_of(*p) & (LPH_Q_ESCAPE | LPH_Q_BRACE | LPH_Q_SPACE)) return refuse(r, LPH_EFORMAT);
    p++;
  }
  if (p == r->end || p == r->p) return refuse(r, LPH_EFORMAT);
  r->item = (lph_bytes){r->p, (size_t)(p - r->p)};
  r->p = p;
  return is_null_word(r->item) ? LPH_ARRAY_NULL : LPH_ARRAY_ITEM;
}

/* left[] counts up what each open level has; a size that was not given is that of the first. */
static lph_array_event close_text(lph_array_reader *r) {
  int level = r->depth - 1;
  if (r->size[level] < 0) r->size[level] = r->left[level];
  if (r->left[level] != r->size[level]) return refuse(r, LPH_EFORMAT);
  r->p++;
  r->depth--;
  r->state = AT_AFTER;
  return LPH_ARRAY_CLOSE;
}

static lph_array_event next_text(lph_array_reader *r) {
  if (r->state == AT_BAD) return LPH_ARRAY_BAD;
  if (r->depth == 0 && r->state == AT_AFTER) return r->p == r->end ? LPH_ARRAY_END : refuse(r, LPH_EFORMAT);
  if (r->p == r->end) return refuse(r, LPH_EFORMAT);
  if (r->state == AT_AFTER) {
    if (*r->p == '}') return close_text(r);
    if (*r->p != r->delim || ++r->p == r->end) return refuse(r, LPH_EFORMAT);
  }
  if (r->depth > 0) {
    int32_t *count = &r->left[r->depth - 1], size = r->size[r->depth - 1];
    if (*count == (size < 0 ? INT32_MAX : size)) return refuse(r, LPH_EFORMAT);
    ++*count;
  }
  if (r->depth == r->ndim && r->depth > 0) return item_text(r);
  if (*r->p != '{') return refuse(r, LPH_EFORMAT);
  r->p++;
  r->left[r->depth++] = 0;
  r->state = r->ndim == 0 ? AT_AFTER : AT_VALUE; /* {}: the brace must close at once */
  return LPH_ARRAY_OPEN;
}

/* ---- the reader ---------------------------------------------------------------------------------- */

lph_err lph_array_open(lph_array_reader *r, lph_bytes in, bool binary, char delim) {
  *r = (lph_array_reader){.binary = binary, .delim = delim, .state = AT_START};
  if (in.len == 0) return LPH_EFORMAT; /* also keeps NULL out of pointer arithmetic */
  r->p = in.data;
  r->end = in.data + in.len;
  return binary ? open_binary(r) : open_text(r);
}

lph_array_event lph_array_next(lph_array_reader *r) {
  if (LPH_LIKELY(r->run > 0)) {
    r->run--;
    return item_binary(r);
  }
  return r->binary ? turn_binary(r) : next_text(r);
}

void lph_array_close(lph_array_reader *r) { lph_buf_free(&r->scratch); }

/* ---- the writer ---------------------------------------------------------------------------------- */

lph_err lph_array_put(lph_buf *out, lph_bytes text, char delim) {
  if (text.data == NULL) return lph_buf_add(out, "NULL", 4);
  bool quote = text.len == 0 || is_null_word(text) ||
               lph_quote_has(text, LPH_Q_ESCAPE | LPH_Q_BRACE | LPH_Q_SPACE) ||
               memchr(text.data, delim, text.len) != NULL;
  return quote ? lph_quote_put(out, text, '\\') : lph_buf_add(out, text.data, text.len);
}
