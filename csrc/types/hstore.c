/* hstore.c - walks the pairs of an hstore; writes one pair of an hstore literal.
 *
 * The text form is what hstore_out prints: keys and values always in quotes, NULL bare, ", " between
 * pairs. The many liberties of hstore_in are refused. Duplicate keys do not occur in a stored
 * hstore and are not looked for.
 *
 * SPDX-License-Identifier: MIT */
#include "types/quote.h"
#include "types/type.h"

static int refuse(lph_hstore_reader *r, lph_err why) {
  r->why = why;
  return -1;
}

lph_err lph_hstore_open(lph_hstore_reader *r, lph_bytes in, bool binary) {
  const char *data = in.len > 0 ? in.data : ""; /* the empty hstore is the empty text */
  *r = (lph_hstore_reader){.p = data, .end = data + in.len, .binary = binary};
  if (!binary) return LPH_OK;
  if (in.len < 4) return LPH_EFORMAT;
  uint32_t count = lph_get_u32(r->p);
  r->p += 4;
  /* A pair has at least two length words. */
  if (count > (in.len - 4) / 8 || count > INT32_MAX) return LPH_EFORMAT;
  r->left = (int32_t)count;
  return LPH_OK;
}

static int next_binary(lph_hstore_reader *r) {
  if (r->left == 0) return r->p == r->end ? 0 : refuse(r, LPH_EFORMAT);
  const char *p = r->p;
  if (r->end - p < 4) return refuse(r, LPH_EFORMAT);
  int32_t len = (int32_t)lph_get_u32(p);
  if (len < 0 || len > r->end - p - 4) return refuse(r, LPH_EFORMAT);
  r->key = (lph_bytes){p + 4, (size_t)len};
  p += 4 + len;
  if (r->end - p < 4) return refuse(r, LPH_EFORMAT);
  len = (int32_t)lph_get_u32(p);
  p += 4;
  r->is_null = len == -1;
  if (r->is_null) len = 0;
  if (len < 0 || len > r->end - p) return refuse(r, LPH_EFORMAT);
  r->value = (lph_bytes){r->is_null ? NULL : p, (size_t)len};
  r->p = p + len;
  r->left--;
  return 1;
}

static bool skip(const char **p, const char *end, const char *word) {
  size_t n = strlen(word);
  if ((size_t)(end - *p) < n || memcmp(*p, word, n) != 0) return false;
  *p += n;
  return true;
}

static lph_err read_string(lph_hstore_reader *r, const char **p, lph_buf *scratch, lph_bytes *out) {
  if (*p == r->end || **p != '"') return LPH_EFORMAT;
  lph_buf_clear(scratch);
  return lph_quote_read_string(p, r->end, scratch, out);
}

static int next_text(lph_hstore_reader *r) {
  if (r->p == r->end) return 0;
  const char *p = r->p;
  if (r->started && !skip(&p, r->end, ", ")) return refuse(r, LPH_EFORMAT);
  lph_err err = read_string(r, &p, &r->key_scratch, &r->key);
  if (err != LPH_OK) return refuse(r, err);
  if (!skip(&p, r->end, "=>")) return refuse(r, LPH_EFORMAT);
  r->is_null = skip(&p, r->end, "NULL");
  if (r->is_null) {
    r->value = (lph_bytes){0};
  } else {
    err = read_string(r, &p, &r->value_scratch, &r->value);
    if (err != LPH_OK) return refuse(r, err);
  }
  r->p = p;
  r->started = true;
  return 1;
}

int lph_hstore_next(lph_hstore_reader *r) { return r->binary ? next_binary(r) : next_text(r); }

void lph_hstore_close(lph_hstore_reader *r) {
  lph_buf_free(&r->key_scratch);
  lph_buf_free(&r->value_scratch);
}

lph_err lph_hstore_put(lph_buf *out, lph_bytes key, lph_bytes value) {
  size_t before = out->len;
  lph_err err = lph_quote_put(out, key, '\\');
  if (err == LPH_OK) err = lph_buf_puts(out, "=>");
  if (err == LPH_OK) err = value.data == NULL ? lph_buf_puts(out, "NULL") : lph_quote_put(out, value, '\\');
  if (err != LPH_OK) out->len = before;
  return err;
}
