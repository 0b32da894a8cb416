/* lfields.h - the fields of rows, wherever these are: in a PGresult, or as they came (core/wirerows.h).
 *
 * Rows are opened one after the other, and fields read from the first one on. What is handed out lives as long as the
 * result and the bytes of the rows do.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LFIELDS_H
#define LPH_LFIELDS_H

#include <libpq-fe.h>

#include "core/wirerows.h"

typedef struct lfields {
  PGresult *res;
  const char *wire;     /* the next row as it came; NULL: all are in `res` */
  const char *at, *end; /* what is left of the row that is open; NULL: it is in `res` */
  int wired;            /* rows up to it that were not in `res` */
} lfields;

/* Why there is no row, or no field. */
#define LFIELDS_NONE "the bytes from the server are not a row of this statement"

/* Not so only when the server lies: rows of one description came behind another one. */
static inline bool lfields_are_sound(const PGresult *res, const lph_wirerows *rows) {
  return rows->count == 0 || (PQnfields(res) > 0 && (unsigned)PQntuples(res) == rows->elsewhere);
}

/* `res` may be NULL where there are rows. */
static inline int lfields_count(const PGresult *res, const lph_wirerows *rows) {
  return rows->count > 0 ? rows->count : PQntuples(res);
}

static inline lfields lfields_of(PGresult *res, const lph_wirerows *rows) {
  return (lfields){.res = res, .wire = rows->count > 0 ? rows->bytes.data : NULL};
}

/* Row number `row`, counted from 0: the one behind that opened last. Whoever collected the rows has made sure that all of
 * it is there. False: it is none of so many columns. */
static LPH_INLINE bool lfields_open_row(lfields *f, int row, int columns) {
  if (LPH_LIKELY(f->wire == NULL)) return true;
  const char *p = f->wire;
  uint32_t size = lph_get_u32(p + 1);
  f->at = NULL;
  f->wire = p + 1 + size;
  if (LPH_UNLIKELY(*p == LPH_WIRE_ELSEWHERE)) return row - f->wired < PQntuples(f->res);
  f->wired++;
  f->at = p + LPH_WIRE_HEAD + 2;
  f->end = f->wire;
  return size >= 4 + 2 && lph_get_u16(f->at - 2) == columns;
}

/* Nothing is left of the row that is open? */
static LPH_INLINE bool lfields_is_read(const lfields *f) { return f->at == NULL || f->at == f->end; }

static LPH_INLINE bool lfields_cut(lfields *f, const char **data, int *len) {
  size_t left = (size_t)(f->end - f->at);
  if (LPH_UNLIKELY(left < 4)) return false;
  *len = (int32_t)lph_get_u32(f->at);
  *data = f->at + 4;
  if (LPH_UNLIKELY(*len < -1 || (*len > 0 && (size_t)*len > left - 4))) return false;
  f->at = *data + (*len > 0 ? *len : 0);
  return true;
}

/* The next field of the row that is open; a `*len` of -1 is NULL. False: the row has no more bytes, or too few. */
static LPH_INLINE bool lfields_next(lfields *f, int row, int column, const char **data, int *len) {
  if (f->at != NULL) return lfields_cut(f, data, len);
  row -= f->wired;
  *len = PQgetlength(f->res, row, column);
  *data = PQgetvalue(f->res, row, column);
  if (LPH_UNLIKELY(*len == 0) && PQgetisnull(f->res, row, column)) *len = -1;
  return true;
}

#endif
