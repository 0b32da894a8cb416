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

static void add(lph_wirerows *r, lph_bytes rows, int count) {
  if (LPH_UNLIKELY(lph_buf_add(&r->bytes, rows.data, rows.len) != LPH_OK)) r->lost = true;
  r->count += r->lost ? 0 : count;
}

void lph_wirerows_collect(lph_wirerows *r, lph_tap *t) {
  static const char elsewhere[] = {LPH_WIRE_ELSEWHERE, 0, 0, 0, 4};
  int count;
  bool wanted = r != NULL && !r->lost;
  for (; wanted && r->elsewhere < t->owed; r->elsewhere++)
    add(r, (lph_bytes){elsewhere, sizeof elsewhere}, 1);
  lph_bytes rows = lph_tap_next_rows(t, &count);
  if (wanted && count > 0) add(r, rows, count);
}
