/* lcopyin.c - Lua values -> rows of COPY ... FROM STDIN. Single rows of plain values are lcopyrow.c's.
 *
 *   guard:put_rows(list, from) -> index, is_full | nil, err, row
 *   guard:put_columns(lists, from, last) -> index, is_full | nil, err, row
 *   guard:put_bytes(text, from) -> index, is_full
 *   guard:put_end() -> true
 *
 * The index is where to go on; put_end writes what the binary format has behind the last row.
 * `false`, or is_full: the piece is full and must be sent (conn:copy_push) before more is put. nil alone: no rows can
 * pass any more. A row that is refused leaves nothing behind, and the guard doomed.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lcopy.h"
#include "bind/lerror.h"
#include "bind/ltable.h"

#define BINARY_HEADER "PGCOPY\n\377\r\n\0\0\0\0\0\0\0\0\0"

typedef struct row {
  lcopy *w;
  lvalue x;
  lph_buf *out;
} row;

/* ---- one value ------------------------------------------------------------------------------------------------------ */

static lph_err put_null(row *r) {
  return r->w->binary ? lph_wire_null(r->out) : lph_buf_add(r->out, "\\N", 2);
}

/* By way of its text, which tells what is wrong with it. */
static lph_err put_slowly(lua_State *L, row *r, int at, const lph_type *type) {
  lph_buf *text = &r->w->b->scratch;
  const lph_type *as = type;
  if (r->x.codecs != 0 || lua_type(L, at) == LUA_TTABLE) as = lvalue_resolve(L, &r->x, at, type);
  if (lvalue_is_null(L, at)) return put_null(r);
  lph_buf_clear(text);
  lph_err rc = lvalue_text(L, &r->x, at, as, text, 0);
  if (rc != LPH_OK) return rc;
  lph_bytes s = {text->len == 0 ? "" : text->data, text->len};
  rc = r->w->binary ? lph_wire_from_text(type, s, r->out) : lph_copy_put_text(r->out, s);
  if (rc == LPH_OK || rc == LPH_ENOMEM) return rc;
  return lvalue_refuse(&r->x, "is not a value of this type");
}

static lph_err put_value(lua_State *L, row *r, int column, int at) {
  const lph_type *type = r->w->types == NULL ? NULL : r->w->types[column];
  if (r->w->binary && LPH_LIKELY(r->x.codecs == 0)) {
    lph_err rc = lcopy_put_quickly(L, at, type->kind, r->out);
    if (LPH_LIKELY(rc == LPH_OK)) return LPH_OK;
  }
  return put_slowly(L, r, at, type);
}

/* ---- one row ----------------------------------------------------------------------------------------------------------- */

static lph_err begin_row(row *r) {
  lcopy *w = r->w;
  w->start = r->out->len;
  w->in_row = true;
  if (!w->binary) return LPH_OK;
  if (lph_buf_reserve(r->out, sizeof BINARY_HEADER + 2) != LPH_OK) return LPH_ENOMEM;
  if (!w->has_header) {
    lph_buf_add_unsafe(r->out, BINARY_HEADER, sizeof BINARY_HEADER - 1);
    w->has_header = true;
    w->start = r->out->len;
  }
  lph_buf_putc_unsafe(r->out, (char)(w->columns >> 8));
  lph_buf_putc_unsafe(r->out, (char)w->columns);
  return LPH_OK;
}

static lph_err refuse(row *r, const char *why) {
  lph_error_set(r->x.error, "parameter", "row %llu: %s", r->w->rows + 1, why);
  return LPH_EFAIL;
}

/* The failure so far is a half-sentence; this makes it whole. */
static lph_err name_value(lua_State *L, row *r, int column, lph_err rc) {
  lph_error *e = r->x.error;
  if (rc == LPH_ENOMEM) lph_error_oom(e);
  if (lph_error_is_set(e) && strcmp(e->kind, "out_of_memory") == 0) return LPH_EFAIL;
  char why[512];
  snprintf(why, sizeof why, "%s", lph_error_is_set(e) ? lph_error_get(e, LPH_E_MESSAGE) : "cannot be sent");
  const lph_type *type = r->w->types == NULL ? NULL : r->w->types[column];
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, 2);
  const char *name = NULL;
  if (lua_istable(L, -1)) {
    lua_rawgeti(L, -1, column + 1);
    name = lua_tostring(L, -1); /* stays anchored in its table */
    lua_pop(L, 1);
  }
  lua_pop(L, 2);
  char number[24];
  snprintf(number, sizeof number, "%d", column + 1);
  lph_error_set(e, "parameter", "row %llu, column %s%s%s (%s): %s", r->w->rows + 1, name == NULL ? "" : "\"",
                name == NULL ? number : name, name == NULL ? "" : "\"", type == NULL ? "text" : type->name,
                why);
  lph_error_put(e, LPH_E_COLUMN, name);
  return LPH_EFAIL;
}

/* The values from slot `first` on. */
static lph_err put_row(lua_State *L, row *r, int first) {
  lcopy *w = r->w;
  lph_err rc = begin_row(r);
  int column = 0;
  for (; rc == LPH_OK && column < w->columns; column++) {
    if (!w->binary && column > 0) rc = lph_buf_putc(r->out, '\t');
    if (LPH_LIKELY(rc == LPH_OK)) rc = put_value(L, r, column, first + column);
    if (LPH_UNLIKELY(rc != LPH_OK)) break;
  }
  if (rc == LPH_OK && !w->binary) rc = lph_buf_putc(r->out, '\n');
  if (LPH_UNLIKELY(rc != LPH_OK && column < w->columns)) rc = name_value(L, r, column, rc);
  if (LPH_UNLIKELY(rc == LPH_ENOMEM)) rc = lph_error_oom(r->x.error);
  if (LPH_UNLIKELY(rc == LPH_OK && r->out->len - w->start > LPH_COPY_MOST - LPH_COPY_PIECE))
    rc = refuse(r, "has more bytes than the 1 GB that PostgreSQL takes");
  w->in_row = false;
  if (LPH_UNLIKELY(rc != LPH_OK)) {
    r->out->len = w->start;
    return rc;
  }
  w->rows++;
  return LPH_OK;
}

/* ---- inside the box -------------------------------------------------------------------------------------------------------- */

static bool begin(lua_State *L, row *r) {
  lcopy *w = lua_touserdata(L, 1);
  lconn *b = w->b;
  if (!lcopy_is_live(w) || !lph_copy_has_room(&b->c.copy)) return false;
  *r = (row){.w = w, .x = {.types = b->c.types, .level = b->level, .error = &b->c.error}};
  r->out = lph_copy_room(&b->c.copy);
  if (r->out == NULL) return luaL_error(L, "not enough memory"), false;
  lph_error_clear(&b->c.error);
  return true;
}

/* What code of the user is needed; leaves it on the stack. */
static void find_codecs(lua_State *L, row *r) {
  lconn *b = r->w->b;
  if (!b->has_codecs && b->options.json != LJSON_CJSON) return;
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, 1); /* the connection's box */
  lcompat_getstore(L, lua_gettop(L));
  int store = lua_gettop(L);
  lua_rawgeti(L, store, LSTORE_CODECS);
  if (b->has_codecs) r->x.codecs = store + 1;
  lua_rawgeti(L, store, LSTORE_JSON_ENCODE);
  if (b->options.json == LJSON_CJSON && lua_isfunction(L, -1)) r->x.cjson = store + 2;
}

static int fail(lua_State *L, row *r) {
  r->w->doomed = true;
  int n = lerror_push(L, r->x.error, 0);
  lua_pushinteger(L, (lua_Integer)(r->w->rows + 1));
  return n + 1;
}

static int count_is_wrong(lua_State *L, row *r, int given) {
  char why[96];
  snprintf(why, sizeof why, "%d value%s for %d column%s", given, given == 1 ? "" : "s", r->w->columns,
           r->w->columns == 1 ? "" : "s");
  refuse(r, why);
  return fail(L, r);
}

int lcopy_put_inside(lua_State *L) {
  row r;
  int given = lua_gettop(L) - 1;
  if (!begin(L, &r)) return 0;
  if (given != r.w->columns) return count_is_wrong(L, &r, given);
  luaL_checkstack(L, 24, "row");
  find_codecs(L, &r);
  if (put_row(L, &r, 2) != LPH_OK) return fail(L, &r);
  lua_pushboolean(L, !lph_copy_is_full(&r.w->b->c.copy));
  return 1;
}

/* ---- rows as tables --------------------------------------------------------------------------------------------------------- */

static bool is_named(lua_State *L, int at) {
  if (lua_rawlen(L, at) > 0) return false;
  lua_pushnil(L);
  if (lua_next(L, at) == 0) return false;
  bool named = lua_type(L, -2) == LUA_TSTRING;
  lua_pop(L, 2);
  return named;
}

/* A row whose key is no column would lose a value without a word. All rows are made alike: the first one is looked at. */
static lph_err check_names(lua_State *L, row *r, int at, int names) {
  if (r->w->checked) return LPH_OK;
  r->w->checked = true;
  lua_createtable(L, 0, r->w->columns);
  for (int i = 1; i <= r->w->columns; i++) {
    lua_rawgeti(L, names, i);
    lua_pushboolean(L, 1);
    lua_rawset(L, -3);
  }
  lua_pushnil(L);
  while (lua_next(L, at) != 0) { /* set key value */
    lua_pop(L, 1);
    lua_pushvalue(L, -1);
    lua_rawget(L, -3);
    bool known = lua_toboolean(L, -1);
    lua_pop(L, 1);
    if (known) continue;
    char why[160];
    bool text = lua_type(L, -1) == LUA_TSTRING;
    snprintf(why, sizeof why, "\"%.100s\" is no column of this COPY", text ? lua_tostring(L, -1) : "?");
    return refuse(r, why);
  }
  lua_pop(L, 1);
  return LPH_OK;
}

/* `names`: stack slot. */
static lph_err put_table(lua_State *L, row *r, int names) {
  int at = lua_gettop(L), columns = r->w->columns;
  if (!lua_istable(L, at)) {
    char why[80];
    snprintf(why, sizeof why, "expected a table with its values, got a %s", luaL_typename(L, at));
    return refuse(r, why);
  }
  if ((int)lua_rawlen(L, at) > columns) return refuse(r, "has more values than there are columns");
  bool named = lua_istable(L, names) && is_named(L, at);
  if (named && check_names(L, r, at, names) != LPH_OK) return LPH_EFAIL;
  for (int i = 1; i <= columns; i++) {
    if (named) {
      lua_rawgeti(L, names, i);
      lua_rawget(L, at);
    } else {
      lua_rawgeti(L, at, i);
    }
  }
  lph_err rc = put_row(L, r, at + 1);
  lua_settop(L, at);
  return rc;
}

/* Where to go on, and whether the piece must be sent first. */
static int push_index(lua_State *L, const row *r, lua_Integer i) {
  lua_pushinteger(L, i);
  lua_pushboolean(L, lph_copy_is_full(&r->w->b->c.copy));
  return 2;
}

static int rows_inside(lua_State *L) {
  row r;
  if (!begin(L, &r)) return 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer i = (lua_Integer)luaL_checknumber(L, 3), last = (lua_Integer)lua_rawlen(L, 2);
  luaL_checkstack(L, r.w->columns + 32, "row");
  find_codecs(L, &r);
  lcompat_getstore(L, 1);
  lua_rawgeti(L, -1, 2);
  int names = lua_gettop(L);
  while (i <= last && !lph_copy_is_full(&r.w->b->c.copy)) {
    lua_rawgeti(L, 2, (int)i++);
    if (put_table(L, &r, names) != LPH_OK) return fail(L, &r);
    lua_settop(L, names);
  }
  return push_index(L, &r, i);
}

int lcopy_put_rows(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), rows_inside); }

static int columns_inside(lua_State *L) {
  row r;
  if (!begin(L, &r)) return 0;
  luaL_checktype(L, 2, LUA_TTABLE);
  lua_Integer i = (lua_Integer)luaL_checknumber(L, 3), last = (lua_Integer)luaL_checknumber(L, 4);
  luaL_checkstack(L, 2 * r.w->columns + 32, "row");
  find_codecs(L, &r);
  int lists = lua_gettop(L) + 1;
  for (int column = 0; column < r.w->columns; column++) {
    lua_rawgeti(L, 2, column + 1);
    luaL_checktype(L, -1, LUA_TTABLE);
  }
  int top = lua_gettop(L);
  for (; i <= last && !lph_copy_is_full(&r.w->b->c.copy); i++) {
    for (int column = 0; column < r.w->columns; column++) lua_rawgeti(L, lists + column, (int)i);
    if (put_row(L, &r, top + 1) != LPH_OK) return fail(L, &r);
    lua_settop(L, top);
  }
  return push_index(L, &r, i);
}

int lcopy_put_columns(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), columns_inside); }

/* ---- bytes as they are ---------------------------------------------------------------------------------------------------- */

static int bytes_inside(lua_State *L) {
  row r;
  if (!begin(L, &r)) return 0;
  size_t len, from = (size_t)luaL_checknumber(L, 3) - 1;
  const char *text = luaL_checklstring(L, 2, &len);
  size_t left = from < len ? len - from : 0, full = LPH_COPY_PIECE + LPH_COPY_HEAD;
  size_t room = r.out->len < full ? full - r.out->len : 0, n = left < room ? left : room;
  if (lph_buf_add(r.out, text + from, n) != LPH_OK) return luaL_error(L, "not enough memory");
  return push_index(L, &r, (lua_Integer)(from + n + 1));
}

int lcopy_put_bytes(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), bytes_inside); }

static int end_inside(lua_State *L) {
  row r;
  if (!begin(L, &r)) return 0;
  if (r.w->binary) {
    if (!r.w->has_header && lph_buf_add(r.out, BINARY_HEADER, sizeof BINARY_HEADER - 1) != LPH_OK)
      return luaL_error(L, "not enough memory");
    r.w->has_header = true;
    if (lph_buf_add(r.out, "\377\377", 2) != LPH_OK) return luaL_error(L, "not enough memory");
  }
  lua_pushboolean(L, 1);
  return 1;
}

int lcopy_put_end(lua_State *L) { return lcopy_enter(L, lbox_self(L, 1, &lcopy_class), end_inside); }
