/* lcopy.h - COPY as Lua sees it: methods of the connection's box, and a guard, which puts and takes rows.
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LCOPY_H
#define LPH_LCOPY_H

#include "bind/lconn.h"

typedef struct lcopy {
  lconn *b;               /* its box is in the store, at 1; the names of the columns are at 2 */
  unsigned number;        /* b->copies when it began */
  lph_typemap *map;       /* what the types belong to */
  const lph_type **types; /* NULL: texts only */
  int columns;
  bool binary;
  bool has_header; /* of the binary format: written, or read */
  bool ended;      /* the answer has been taken */
  bool doomed;     /* a row was refused: not to be finished well */
  bool checked;    /* the names of the first named row are those of columns */
  bool in_row;     /* a row is being put: it begins at `start` of the piece */
  size_t start;
  unsigned long long rows;
  lph_buf gather;  /* OUT: bytes for one string */
  int constructor; /* OUT: 0 not asked yet, 1 there is one (store, at 3), 2 there is none */
} lcopy;

extern const lbox_class lcopy_class;

/* Is the COPY of this guard under way, and rows can pass? */
static inline bool lcopy_is_live(const lcopy *w) {
  const lconn *b = w->b;
  return b->c.state == LPH_BUSY && b->c.op.kind == LPH_OP_COPY && b->copies == w->number && !b->finalized;
}
/* Runs `body` with the arguments of the method (the guard first) inside the connection's box. May raise. */
int lcopy_enter(lua_State *L, lcopy *w, lua_CFunction body);

/* lcopyrow.c */
int lcopy_put(lua_State *L);
int lcopy_putter(lua_State *L);
/* What needs neither memory of Lua nor code of the user; anything but LPH_OK: the long way. */
lph_err lcopy_put_quickly(lua_State *L, int at, uint8_t kind, lph_buf *out);
/* lcopyin.c */
int lcopy_put_inside(lua_State *L); /* put, inside the connection's box */
int lcopy_put_rows(lua_State *L);
int lcopy_put_columns(lua_State *L);
int lcopy_put_bytes(lua_State *L);
int lcopy_put_end(lua_State *L);
/* lcopyout.c */
int lcopy_get_bytes(lua_State *L);
int lcopy_get_rows(lua_State *L);
int lcopy_get_columns(lua_State *L);
int lcopy_get_values(lua_State *L);

/* Methods of the connection's box. */
int lcopy_start(lua_State *L);
int lcopy_shape(lua_State *L);
int lcopy_guard(lua_State *L);
int lcopy_push(lua_State *L);
int lcopy_end(lua_State *L);
int lcopy_is_copying(lua_State *L);
/* Is the answer one to a COPY? A server may lie; then b->c.error is set. */
bool lcopy_is_answered(lconn *b);
int lcopy_take(lua_State *L, lconn *b); /* pushes how many rows were copied; 1 or 2 values */
void lcopy_open(lua_State *L);

#define LCOPY_METHODS \
  { "is_copying", lcopy_is_copying }
#define LCOPY_ENTERED                                                                      \
  {"copy_start", lcopy_start, false, lrun_gate}, {"copy_shape", lcopy_shape, false, NULL}, \
    {"copy_guard", lcopy_guard, false, NULL}, {"copy_push", lcopy_push, false, NULL}, {    \
    "copy_end", lcopy_end, false, NULL                                                     \
  }

#endif
