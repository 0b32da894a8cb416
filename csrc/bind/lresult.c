/* lresult.c - see lresult.h. SPDX-License-Identifier: MIT */
#include "bind/lresult.h"

#include "base/mem.h"
#include "bind/lerror.h"
#include "bind/lfields.h"
#include "bind/lrows.h"

typedef struct lresult {
  PGresult *res;
  lph_wirerows wired; /* rows that are not in `res` */
  lfields in;
  lph_typemap *map;
  const lph_type **types;
  lph_buf scratch;
  lcell_options options;
  int row, rows, columns;
  bool binary;
  bool entered; /* a row is being converted; stays set when a conversion raises: the loop has ended then */
} lresult;

static void result_close(lresult *r) {
  PQclear(r->res);
  r->res = NULL;
  lph_wirerows_free(&r->wired);
  lph_typemap_release(r->map);
  r->map = NULL;
  lph_free(r->types);
  r->types = NULL;
  lph_buf_free(&r->scratch);
}

static const lbox_class result_class;

static int lresult__gc(lua_State *L) {
  result_close(lbox_self(L, 1, &result_class));
  return 0;
}

static const luaL_Reg result_meta[] = {{"__gc", lresult__gc}, {NULL, NULL}};
static const lbox_class result_class = {"luphant.core.result", NULL, result_meta};

void lresult_open(lua_State *L) { lbox_open(L, &result_class); }

static int raise_decode(lua_State *L, lresult *r, int column, const char *why) {
  char text[512];
  snprintf(text, sizeof text, "row %d, column \"%s\": %s", r->row + 1, PQfname(r->res, column), why);
  result_close(r);
  lua_newtable(L);
  lua_pushliteral(L, "decode");
  lua_setfield(L, -2, "kind");
  lua_pushstring(L, text);
  lua_setfield(L, -2, "message");
  lua_pushliteral(L, "yes");
  lua_setfield(L, -2, "sent");
  luaL_getmetatable(L, LERROR_METATABLE);
  lua_setmetatable(L, -2);
  return lua_error(L);
}

/* Upvalues: the result's box, what lcell needs (codecs, json, int64; nil where there is none), and the connection's
 * box. */
static int lresult_next(lua_State *L) {
  lresult *r = lua_touserdata(L, lua_upvalueindex(1));
  lua_settop(L, 0);
  /* Code that runs during a conversion (a codec, a finalizer) must not move the row or free the result. */
  if (r->entered)
    return luaL_error(L, "this iterator is converting a row, or has failed: it cannot be called");
  if (r->res == NULL) return 0; /* also after the state's end has finalized it */
  if (r->row >= r->rows) {
    lconn *b = lua_touserdata(L, lua_upvalueindex(5));
    bool wanted = !b->finalized && b->c.state == LPH_IDLE && b->c.op.rows.bytes.data == NULL;
    if (wanted && r->wired.bytes.cap <= LPH_WIREROWS_KEPT) {
      lph_wirerows_clear(&r->wired); /* the next result may want the block */
      lph_wirerows_swap(&r->wired, &b->c.op.rows);
    }
    result_close(r); /* kind to memory: a loop that ran to its end needs the result no more */
    return 0;
  }
  luaL_checkstack(L, r->columns + 16, "row");
  r->entered = true;
  lcell x = {.options = r->options, .types = r->map, .scratch = &r->scratch, .binary = r->binary};
  int *slots[] = {&x.codecs, &x.json, &x.int64};
  int base = 0;
  for (int i = 0; i < 3; i++) {
    if (lua_isnil(L, lua_upvalueindex(2 + i))) continue;
    lua_pushvalue(L, lua_upvalueindex(2 + i));
    *slots[i] = ++base;
  }
  x.plain = x.codecs == 0 && !r->options.raw;
  bool there = lfields_open_row(&r->in, r->row, r->columns);
  for (int i = 0; i < r->columns; i++) {
    int len;
    const char *data;
    if (LPH_UNLIKELY(!there || !lfields_next(&r->in, r->row, i, &data, &len)))
      return raise_decode(L, r, i, LFIELDS_NONE);
    if (len < 0) {
      lcell_push_null(L);
    } else if (LPH_LIKELY(len > 0 && x.plain && r->types[i] != NULL) &&
               lcell_push_common(L, &x, r->types[i]->kind, data, (size_t)len)) {
      continue;
    } else if (!lcell_push(L, &x, r->types[i], data, (size_t)len)) {
      lconn *b = lua_touserdata(L, lua_upvalueindex(5));
      if (x.outdated && !b->finalized) lrows_doubt_types(b);
      return raise_decode(L, r, i, x.why);
    }
  }
  r->row++;
  r->entered = false;
  return r->columns;
}

int lresult_push(lua_State *L, lconn *b, int box, const lph_stmt *stmt) {
  int top = lua_gettop(L);
  lcell x;
  lresult *r = lbox_new(L, &result_class, sizeof *r);
  r->types = lph_array((size_t)stmt->column_count + 1, sizeof *r->types);
  if (r->types == NULL) {
    lph_error_oom(&b->c.error);
    b->c.error.sent = LPH_SENT_YES;
    return lua_settop(L, top), -1;
  }
  for (int i = 0; i < stmt->column_count; i++) r->types[i] = stmt->columns[i].type;
  r->res = b->c.op.result;
  b->c.op.result = NULL;
  lph_wirerows_swap(&r->wired, &b->c.op.rows);
  r->in = lfields_of(r->res, &r->wired);
  r->map = lph_typemap_retain(b->c.types);
  r->options = b->options;
  r->rows = lfields_count(r->res, &r->wired);
  r->columns = PQnfields(r->res);
  r->binary = r->columns > 0 && PQfformat(r->res, 0) == 1;
  lconn_cell(L, b, box, r->binary, &x);
  lua_pushvalue(L, top + 1);
  int slots[] = {x.codecs, x.json, x.int64};
  for (int i = 0; i < 3; i++) {
    if (slots[i] != 0) {
      lua_pushvalue(L, slots[i]);
    } else {
      lua_pushnil(L);
    }
  }
  lua_pushvalue(L, box);
  lua_pushcclosure(L, lresult_next, 5);
  lua_replace(L, top + 1);
  lua_settop(L, top + 1);
  return 1;
}
