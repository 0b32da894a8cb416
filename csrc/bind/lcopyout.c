/* lcopyout.c - rows of COPY ... TO STDOUT -> Lua values.
 *
 *   guard:get_bytes() -> text | PENDING, want | nothing | nil, err, unread
 *   guard:get_rows(most, style) -> list | PENDING, want | nothing | nil, err, unread
 *   guard:get_columns(most, lists) -> count | PENDING, want | nothing | nil, err, unread
 *   guard:get_values() -> anything | PENDING, want | nothing | nil, err, unread
 *
 * The style is that of a verb: 0 named, 16 array. NULL is luphant.NULL where there is no name to leave out. Nothing: the
 * COPY has ended, and all was taken. Lists have what has arrived, at least one row. Bytes are gathered to some 64 kB,
 * because a Lua string for each line would cost more than all the rest.
 *
 * SPDX-License-Identifier: MIT */
#include "base/clock.h"
#include "bind/lcopy.h"
#include "bind/lerror.h"
#include "bind/lrows.h"
#include "bind/lrun.h"

#define SIGNATURE "PGCOPY\n\377\r\n"
#define SIGNATURE_SIZE 11
#define VALUES (-1)        /* a style: on the stack */
#define MOST_PRESIZED 1024 /* of a list, however many rows are asked for; some 1400 short rows come at once */

typedef struct rows {
  lcopy *w;
  lcell x;
  int style;
  int names;       /* stack slot of the list of names */
  int constructor; /* stack slot, or 0 */
  int lists;       /* stack slot of the first of the lists, or 0 */
  int index;       /* where in the lists */
} rows;

/* ---- the next row ------------------------------------------------------------------------------------------------- */

typedef enum { ROW, END, WAIT, FAIL } turn;

static turn note_end(lcopy *w) {
  lconn *b = w->b;
  w->ended = true;
  b->untaken = false;
  if (!lcopy_is_answered(b)) return FAIL;
  lph_op_reset(&b->c.op);
  return END;
}

/* `first`: of this call. */
static turn next_row(lcopy *w, bool first, bool may_wait, lph_want *want) {
  lconn *b = w->b;
  if (w->ended) return END;
  if (LPH_LIKELY(!first) && lph_copy_next(&b->c)) return ROW;
  if (lph_is_past(b->deadline)) { /* there may always be something to read: who waits decides */
    *want = LPH_WANT_READ;
    return WAIT;
  }
  *want = lph_conn_step(&b->c);
  if (*want > LPH_DONE && b->blocking && may_wait) *want = lrun_wait(b, *want);
  if (*want > LPH_DONE) return WAIT;
  if (*want == LPH_FAILED) return FAIL;
  if (b->c.state == LPH_BUSY) return ROW;
  return note_end(w);
}

/* What a method answers that cannot go on. */
static int push_turn(lua_State *L, lcopy *w, turn t, lph_want want) {
  if (t == WAIT) return lrun_push_pending(L, lrun_want_name(want));
  if (t == FAIL) return lrun_push_failure(L, w->b, 0);
  return 0;
}

static bool is_over(const lcopy *w) {
  const lconn *b = w->b;
  return w->ended || b->finalized || b->copies != w->number || b->c.op.kind != LPH_OP_COPY;
}

/* ---- bytes ------------------------------------------------------------------------------------------------------------- */

static int bytes_inside(lua_State *L) {
  lcopy *w = lua_touserdata(L, 1);
  lph_want want = LPH_DONE;
  turn t = END;
  if (is_over(w) && w->gather.len == 0) return 0;
  for (bool first = true; w->gather.len < LPH_COPY_PIECE && !w->ended; first = false) {
    t = next_row(w, first, true, &want);
    if (t != ROW) break;
    lph_bytes row = lph_copy_row(&w->b->c.copy);
    if (lph_buf_add(&w->gather, row.data, row.len) != LPH_OK) return luaL_error(L, "not enough memory");
    lph_copy_drop_row(&w->b->c.copy);
    w->rows++;
  }
  if (t == WAIT || t == FAIL || w->gather.len == 0) return push_turn(L, w, t, want);
  lua_pushlstring(L, w->gather.data, w->gather.len);
  if (w->gather.cap > 4 * LPH_COPY_PIECE) lph_buf_free(&w->gather);
  lph_buf_clear(&w->gather);
  return 1;
}

int lcopy_get_bytes(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), bytes_inside); }

/* ---- one value ------------------------------------------------------------------------------------------------------------ */

/* A field of the row under conversion; data is NULL for NULL. */
typedef struct reader {
  lph_bytes left;
  bool binary;
  lph_buf *scratch;
} reader;

static bool next_field(reader *r, lph_bytes *field, lph_err *rc) {
  *rc = LPH_OK;
  if (!r->binary) {
    bool there = lph_copy_next_field(&r->left, r->scratch, field, rc);
    if (there && field->data != NULL && field->len == 0) field->data = "";
    return there;
  }
  if (r->left.len < 4) return false;
  int32_t len = (int32_t)lph_get_u32(r->left.data);
  r->left = (lph_bytes){r->left.data + 4, r->left.len - 4};
  if (len < -1 || (len > 0 && (size_t)len > r->left.len)) return false;
  *field = (lph_bytes){len < 0 ? NULL : r->left.data, len < 0 ? 0 : (size_t)len};
  r->left = (lph_bytes){r->left.data + field->len, r->left.len - field->len};
  return true;
}

static void push_name(lua_State *L, const rows *r, int column) { lua_rawgeti(L, r->names, column + 1); }

static bool malformed(lua_State *L, rows *r, int column, const char *why) {
  lcopy *w = r->w;
  if (r->x.outdated) lrows_doubt_types(w->b);
  const char *name = NULL;
  if (r->names != 0 && column >= 0) {
    push_name(L, r, column);
    name = lua_tostring(L, -1);
  }
  lph_error *e = &w->b->c.error;
  if (name != NULL) {
    lph_error_set(e, "decode", "row %llu, column \"%s\": %s", w->rows + 1, name, why);
  } else {
    lph_error_set(e, "decode", "row %llu: %s", w->rows + 1, why);
  }
  e->sent = LPH_SENT_YES;
  return false;
}

/* What a value becomes part of. The row's table is below it, except for lists and values. */
static void place(lua_State *L, const rows *r, int column, bool is_null) {
  if (is_null && r->style == LROWS_NAMED && r->constructor != 0) {
    lua_pushnil(L);
  } else if (is_null && r->style != LROWS_NAMED) {
    lcell_push_null(L);
  }
  if (r->style == LROWS_COLUMNS) {
    lua_rawseti(L, r->lists + column, r->index);
  } else if (r->style == LROWS_ARRAY) {
    lua_rawseti(L, -2, column + 1);
  } else if (r->style == LROWS_NAMED && r->constructor == 0 && !is_null) {
    lua_rawset(L, -3);
  }
}

static bool push_field(lua_State *L, rows *r, int column, lph_bytes field) {
  lcopy *w = r->w;
  if (field.data == NULL) return place(L, r, column, true), true;
  if (r->style == LROWS_NAMED && r->constructor == 0) push_name(L, r, column);
  const lph_type *type = w->types == NULL ? NULL : w->types[column];
  bool common = LPH_LIKELY(type != NULL && r->x.plain) &&
                lcell_push_common(L, &r->x, type->kind, field.data, field.len);
  if (!common && LPH_UNLIKELY(!lcell_push(L, &r->x, type, field.data, field.len)))
    return malformed(L, r, column, r->x.why);
  place(L, r, column, false);
  return true;
}

/* ---- one row ----------------------------------------------------------------------------------------------------------------- */

/* In front of the first row of the binary format. */
static bool skip_header(lcopy *w, lph_bytes *in) {
  if (w->has_header || !w->binary) return true;
  if (in->len < SIGNATURE_SIZE + 8 || memcmp(in->data, SIGNATURE, SIGNATURE_SIZE) != 0) return false;
  size_t more = lph_get_u32(in->data + SIGNATURE_SIZE + 4);
  if (more > in->len - SIGNATURE_SIZE - 8) return false;
  size_t skip = SIGNATURE_SIZE + 8 + more;
  *in = (lph_bytes){in->data + skip, in->len - skip};
  w->has_header = true;
  return true;
}

/* 1: there is a row in `in`; 0: none (the end of the binary format); -1: that is no row */
static int open_row(lcopy *w, reader *in) {
  in->left = lph_copy_row(&w->b->c.copy);
  in->binary = w->binary;
  in->scratch = &w->b->level[0];
  lph_buf_clear(in->scratch);
  if (!w->binary) {
    bool ends = in->left.len > 0 && in->left.data[in->left.len - 1] == '\n';
    in->left.len -= ends;
    return ends ? 1 : -1;
  }
  if (!skip_header(w, &in->left)) return -1;
  if (in->left.len == 0) return 0; /* the header of a server that sends it alone */
  if (in->left.len < 2) return -1;
  int count = (int16_t)lph_get_u16(in->left.data);
  in->left = (lph_bytes){in->left.data + 2, in->left.len - 2};
  return count == -1 ? 0 : count == w->columns ? 1 : -1;
}

static bool push_fields(lua_State *L, rows *r, reader *in) {
  lcopy *w = r->w;
  for (int column = 0; column < w->columns; column++) {
    lph_bytes field;
    lph_err rc;
    if (LPH_UNLIKELY(!next_field(in, &field, &rc)))
      return malformed(L, r, column, "the bytes from the server are not a row of this COPY");
    if (rc == LPH_ENOMEM) return luaL_error(L, "not enough memory"), false;
    if (LPH_UNLIKELY(!push_field(L, r, column, field))) return false;
  }
  return true;
}

/* Takes the row that has come; 1: pushed (for lists: stored), 0: it was none, -1: an error is in the box */
static int take_row(lua_State *L, rows *r) {
  lcopy *w = r->w;
  reader in;
  int is_row = open_row(w, &in);
  bool ok = is_row >= 0;
  if (is_row > 0) {
    if (r->constructor != 0) {
      lua_pushvalue(L, r->constructor);
    } else if (r->style == LROWS_NAMED) {
      lua_createtable(L, 0, w->columns);
    } else if (r->style == LROWS_ARRAY) {
      lua_createtable(L, w->columns, 0);
    }
    ok = push_fields(L, r, &in);
    if (ok && r->constructor != 0) lua_call(L, w->columns, 1);
  } else if (!ok) {
    malformed(L, r, -1, "the bytes from the server are not a row of this COPY");
  }
  lph_copy_drop_row(&w->b->c.copy);
  if (!ok) return -1;
  w->rows += (unsigned)is_row;
  return is_row;
}

/* ---- what the methods share --------------------------------------------------------------------------------------------------- */

/* On LuaJIT a generated function makes the tables of named rows. */
static void find_constructor(lua_State *L, rows *r, int box) {
  lcopy *w = r->w;
  if (r->style != LROWS_NAMED || w->constructor == 2) return;
  lcompat_getstore(L, 1);
  int store = lua_gettop(L);
  if (w->constructor == 0) {
    w->constructor = 2;
    lcompat_getstore(L, box);
    lua_rawgeti(L, -1, LSTORE_CONSTRUCTOR);
    if (!lua_isfunction(L, -1) || w->columns == 0 || w->columns > 200) return;
    lua_pushvalue(L, r->names);
    lua_call(L, 1, 1);
    lua_rawseti(L, store, 3);
    w->constructor = 1;
  }
  lua_rawgeti(L, store, 3);
  r->constructor = lua_gettop(L);
}

static void prepare(lua_State *L, rows *r, lcopy *w, int style) {
  *r = (rows){.w = w, .style = style};
  luaL_checkstack(L, 2 * w->columns + 32, "row");
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, 1);
  int box = lua_gettop(L);
  lua_rawgeti(L, -2, 2);
  if (lua_istable(L, -1)) r->names = lua_gettop(L);
  lconn_cell(L, w->b, box, w->binary, &r->x);
  find_constructor(L, r, box);
}

static int rows_inside(lua_State *L) {
  lcopy *w = lua_touserdata(L, 1);
  rows r;
  lph_want want = LPH_DONE;
  if (is_over(w)) return 0;
  int most = (int)luaL_checkinteger(L, 2), count = 0;
  turn t = next_row(w, true, true, &want);
  if (t != ROW) return push_turn(L, w, t, want);
  prepare(L, &r, w, LROWS_OF((int)luaL_checkinteger(L, 3)));
  lua_createtable(L, most, 0);
  int list = lua_gettop(L);
  while (t == ROW && count < most) {
    int got = take_row(L, &r);
    if (got < 0) return lerror_push(L, &w->b->c.error, 0);
    if (got > 0) lua_rawseti(L, list, ++count);
    lua_settop(L, list);
    if (count < most) t = next_row(w, false, count == 0, &want);
  }
  if (count == 0) return push_turn(L, w, t, want);
  return t == FAIL ? push_turn(L, w, t, want) : 1;
}

int lcopy_get_rows(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), rows_inside); }

static int columns_inside(lua_State *L) {
  lcopy *w = lua_touserdata(L, 1);
  rows r;
  lph_want want = LPH_DONE;
  if (is_over(w)) return 0;
  int most = (int)luaL_checkinteger(L, 2), count = 0;
  luaL_checktype(L, 3, LUA_TTABLE);
  turn t = next_row(w, true, true, &want);
  if (t != ROW) return push_turn(L, w, t, want);
  prepare(L, &r, w, LROWS_COLUMNS);
  r.lists = lua_gettop(L) + 1;
  for (int column = 0; column < w->columns; column++) {
    lua_createtable(L, most < MOST_PRESIZED ? most : MOST_PRESIZED, 0);
    lua_pushvalue(L, -1);
    lua_rawseti(L, 3, column + 1);
  }
  int top = lua_gettop(L);
  while (t == ROW && count < most) {
    r.index = count + 1;
    int got = take_row(L, &r);
    if (got < 0) return lerror_push(L, &w->b->c.error, 0);
    count += got;
    lua_settop(L, top);
    if (count < most) t = next_row(w, false, count == 0, &want);
  }
  if (t == FAIL || count == 0) return push_turn(L, w, t, want);
  lua_pushinteger(L, count);
  return 1;
}

int lcopy_get_columns(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), columns_inside); }

static int values_inside(lua_State *L) {
  lcopy *w = lua_touserdata(L, 1);
  rows r;
  lph_want want = LPH_DONE;
  if (is_over(w)) return 0;
  turn t = next_row(w, true, true, &want);
  if (t != ROW) return push_turn(L, w, t, want);
  prepare(L, &r, w, VALUES);
  int top = lua_gettop(L), got = take_row(L, &r);
  while (got == 0 && (t = next_row(w, false, true, &want)) == ROW) got = take_row(L, &r);
  if (got < 0) return lerror_push(L, &w->b->c.error, 0);
  return got == 0 ? push_turn(L, w, t, want) : lua_gettop(L) - top;
}

int lcopy_get_values(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), values_inside); }
