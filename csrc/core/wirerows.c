/* wirerows.c - see wirerows.h. SPDX-License-Identifier: MIT */
#include "core/wirerows.h"

void lph_wirerows_free(lph_wirerows *r) {
  lph_buf_free(&r->bytes);
  *r = (lph_wirerows){0};
}

void lph_wirerows_done(lph_wirerows *r) {
  if (r->bytes.cap > LPH_WIREROWS_KEPT) lph_buf_free(&r->bytes);
  lph_wirerows_clear(r);
}

static void add(lph_wirerows *r, uint32_t size, const char *data, size_t len) {
  if (r == NULL || r->lost) return;
  if (lph_buf_reserve(&r->bytes, sizeof size + len) != LPH_OK) {
    r->lost = true;
    return;
  }
  char head[] = {(char)(size >> 24), (char)(size >> 16), (char)(size >> 8), (char)size};
  lph_buf_add_unsafe(&r->bytes, head, sizeof head);
  lph_buf_add_unsafe(&r->bytes, data, len);
  r->count++;
}

void lph_wirerows_collect(lph_wirerows *r, lph_tap *t) {
  lph_bytes row;
  for (; r != NULL && r->elsewhere < t->owed; r->elsewhere++) add(r, LPH_WIRE_ELSEWHERE, NULL, 0);
  while (lph_tap_next(t, &row)) add(r, (uint32_t)row.len, row.data, row.len);
}
