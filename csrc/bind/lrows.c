/* lrows.c - see lrows.h.
 *
 * Building tables is what reading a result costs (our own code and libpq's getters are a sixth of it):
 * names are pushed once per result, tables are made in their final size, and on LuaJIT a
 * constructor generated per statement fills a row in compiled code.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lrows.h"

#include <stdlib.h>

#include "bind/lresult.h"

void lrows_push_command(lua_State *L, const PGresult *res) {
  const char *tag = PQcmdStatus((PGresult *)res);
  size_t n = strcspn(tag, "0123456789");
  while (n > 0 && tag[n - 1] == ' ') n--;
  lua_pushlstring(L, tag, n);
}

/* ---- one result under conversion --------------------------------------------------------------------------- */

typedef lrows_build build;

void lrows_doubt_types(lconn *b) {
  lph_typemap_doubt(b->c.types);
  lph_stmts_invalidate(&b->c.stmts);
}

static bool fail_cell(build *w, int row, int column) {
  const lph_column *c = &w->stmt->columns[column];
  lph_error_set(&w->b->c.error, "decode", "row %.0f, column \"%s\" (%s): %s", w->before + row + 1, c->name,
                c->type == NULL ? "unknown type" : c->type->name, w->cell.why);
  w->b->c.error.sent = LPH_SENT_YES;
  if (w->cell.outdated) lrows_doubt_types(w->b);
  return false;
}

static LPH_NOINLINE bool no_field(build *w, int row, int column) {
  w->cell.why = LFIELDS_NONE;
  w->cell.outdated = false;
  return fail_cell(w, row, column);
}

/* An empty value, and whatever lcell_push_common does not know. */
static LPH_NOINLINE int push_rare(lua_State *L, build *w, int row, int column, const char *data, int len) {
  const lph_type *type = w->stmt->columns[column].type;
  if (len < 0 || (len == 0 && type != NULL && type->kind == LPH_VOID)) return 0;
  if (LPH_LIKELY(lcell_push(L, &w->cell, type, data, (size_t)len))) return 1;
  fail_cell(w, row, column);
  return -1;
}

/* Pushes the cell's value; NULL, and what a function returns that returns nothing: nothing, and answers 0.
 * -1: failed. In line, because a call of it for each cell would cost as much as what it does. */
static LPH_INLINE int push_cell(lua_State *L, build *w, int row, int column) {
  int len;
  const char *data;
  if (LPH_UNLIKELY(!lfields_next(&w->in, row, column, &data, &len))) return no_field(w, row, column), -1;
  const lph_type *type = w->stmt->columns[column].type;
  if (LPH_LIKELY(len > 0 && w->cell.plain && type != NULL) &&
      lcell_push_common(L, &w->cell, type->kind, data, (size_t)len))
    return 1;
  return push_rare(L, w, row, column, data, len);
}

static void push_name(lua_State *L, const build *w, int column) {
  if (LPH_LIKELY(w->first_name != 0)) {
    lua_pushvalue(L, w->first_name + w->name_step * column);
  } else {
    lua_rawgeti(L, w->info, column + 1);
  }
}

static void push_names(lua_State *L, build *w) {
  if (w->columns > LROWS_NAMES_ON_STACK || w->rows < 2) return;
  w->first_name = lua_gettop(L) + 1;
  w->name_step = 1;
  for (int i = 0; i < w->columns; i++) lua_rawgeti(L, w->info, i + 1);
}

/* row name -> row; of two columns with one name the later one counts, also when it is NULL. */
static void leave_out(lua_State *L) {
  lua_pushvalue(L, -1);
  lua_rawget(L, -3);
  bool earlier = !lua_isnil(L, -1);
  lua_pop(L, 1);
  if (LPH_UNLIKELY(earlier)) {
    lua_pushnil(L);
    lua_rawset(L, -3);
  } else {
    lua_pop(L, 1);
  }
}

static bool push_named(lua_State *L, build *w, int row) {
  lua_createtable(L, 0, w->columns);
  for (int i = 0; i < w->columns; i++) {
    push_name(L, w, i);
    int got = push_cell(L, w, row, i);
    if (LPH_LIKELY(got > 0)) {
      lua_rawset(L, -3);
    } else {
      if (got < 0) return false;
      leave_out(L);
    }
  }
  return true;
}

/* `constructor`: stack slot of the function that was generated for this statement. */
static bool push_constructed(lua_State *L, build *w, int row, int constructor) {
  lua_pushvalue(L, constructor);
  for (int i = 0; i < w->columns; i++) {
    int got = push_cell(L, w, row, i);
    if (got < 0) return false;
    if (got == 0) lua_pushnil(L);
  }
  lua_call(L, w->columns, 1);
  return true;
}

static bool push_array_row(lua_State *L, build *w, int row) {
  lua_createtable(L, w->columns, 0);
  for (int i = 0; i < w->columns; i++) {
    int got = push_cell(L, w, row, i);
    if (got < 0) return false;
    if (got == 0) lcell_push_null(L);
    lua_rawseti(L, -2, i + 1);
  }
  return true;
}

static int push_values(lua_State *L, build *w, int row) {
  for (int i = 0; i < w->columns; i++) {
    int got = push_cell(L, w, row, i);
    if (got < 0) return -1;
    if (got == 0) lcell_push_null(L);
  }
  return w->columns;
}

static LPH_INLINE bool open_row(build *w, int row) {
  return LPH_LIKELY(lfields_open_row(&w->in, row, w->columns)) || no_field(w, row, 0);
}

static LPH_INLINE bool close_row(build *w, int row) {
  return LPH_LIKELY(lfields_is_read(&w->in)) || no_field(w, row, w->columns - 1);
}

int lrows_push_one(lua_State *L, lrows_build *w, int row, int style) {
  if (LPH_UNLIKELY(!open_row(w, row))) return -1;
  int n = 1;
  if (style == LROWS_VALUES) {
    n = push_values(L, w, row);
  } else if (style == LROWS_ARRAY) {
    n = push_array_row(L, w, row) ? 1 : -1;
  } else {
    n = (w->constructor != 0 ? push_constructed(L, w, row, w->constructor) : push_named(L, w, row)) ? 1 : -1;
  }
  return n < 0 || !close_row(w, row) ? -1 : n;
}

static bool push_one(lua_State *L, build *w, int row, int style) {
  return lrows_push_one(L, w, row, style) >= 0;
}

/* ---- the verbs -------------------------------------------------------------------------------------------------- */

static void push_constructor(lua_State *L, build *w) {
  lua_rawgeti(L, w->info, -1);
  if (lua_isfunction(L, -1)) {
    w->constructor = lua_gettop(L);
  } else {
    lua_pop(L, 1);
    push_names(L, w);
  }
}

static bool push_rows(lua_State *L, build *w, int style) {
  if (style == LROWS_NAMED) push_constructor(L, w);
  lua_createtable(L, w->rows, 0);
  for (int row = 0; row < w->rows; row++) {
    if (LPH_UNLIKELY(!push_one(L, w, row, style))) return false;
    lua_rawseti(L, -2, row + 1);
  }
  return true;
}

/* The first `columns` of all rows, a list each. */
static bool push_columns_of(lua_State *L, build *w, int columns) {
  int lists = lua_gettop(L) + 1;
  for (int i = 0; i < columns; i++) lua_createtable(L, w->rows, 0);
  for (int row = 0; row < w->rows; row++) {
    if (LPH_UNLIKELY(!open_row(w, row))) return false;
    for (int i = 0; i < columns; i++) {
      int got = push_cell(L, w, row, i);
      if (got < 0) return false;
      if (got == 0) lcell_push_null(L);
      lua_rawseti(L, lists + i, row + 1);
    }
    if (columns == w->columns && LPH_UNLIKELY(!close_row(w, row))) return false;
  }
  return true;
}

static bool push_all_columns(lua_State *L, build *w) {
  lua_createtable(L, 0, w->columns + 1);
  int out = lua_gettop(L);
  luaL_checkstack(L, w->columns + 24, "result");
  if (!push_columns_of(L, w, w->columns)) return false;
  for (int i = 0; i < w->columns; i++) { /* of two with one name the later one counts */
    push_name(L, w, i);
    lua_pushvalue(L, out + 1 + i);
    lua_rawset(L, out);
  }
  lua_settop(L, out);
  return true;
}

static lua_Integer affected_rows(const build *w) {
  const char *digits = PQcmdTuples(w->in.res);
  return digits[0] == '\0' ? 0 : (lua_Integer)strtoll(digits, NULL, 10);
}

/* rows -> rows, with what `rows.columns` and its like need */
static void dress_rows(lua_State *L, build *w) {
  int rows = lua_gettop(L);
  lua_getfield(L, w->info, "command");
  if (lua_isnil(L, -1)) {
    lrows_push_command(L, w->in.res);
    lua_setfield(L, w->info, "command");
  }
  lua_settop(L, rows);
  if (PQresultStatus(w->in.res) != PGRES_TUPLES_OK) { /* no rows to count */
    lua_pushinteger(L, affected_rows(w));
    lua_setfield(L, rows, "affected");
  }
  lua_rawgeti(L, w->info, 0);
  lua_setmetatable(L, rows);
}

static bool wrong_count(build *w, const char *wanted) {
  bool none = w->rows == 0;
  lph_error_set(&w->b->c.error, none ? "no_rows" : "too_many_rows", "%s expected, got %d", wanted, w->rows);
  if (PQresultStatus(w->in.res) != PGRES_TUPLES_OK)
    lph_error_set(&w->b->c.error, "no_rows", "%s expected, but %s returns no rows", wanted,
                  PQcmdStatus(w->in.res));
  w->b->c.error.sent = LPH_SENT_YES;
  return false;
}

static bool no_column(build *w) {
  lph_error_set(&w->b->c.error, "usage",
                "the statement returns rows without a column: there is no value to take");
  w->b->c.error.sent = LPH_SENT_YES;
  return false;
}

static bool push_verb(lua_State *L, build *w, int code) {
  int style = LROWS_OF(code);
  switch (LVERB_OF(code)) {
    case LVERB_QUERY:
      if (style == LROWS_COLUMNS) return push_all_columns(L, w);
      if (!push_rows(L, w, style)) return false;
      dress_rows(L, w);
      return true;
    case LVERB_ONE:
      if (w->rows != 1) return wrong_count(w, "exactly one row");
      return push_one(L, w, 0, style);
    case LVERB_OPT:
      if (w->rows > 1) return wrong_count(w, "at most one row");
      if (w->rows == 0) return lua_pushnil(L), true;
      return push_one(L, w, 0, style);
    case LVERB_VALUE: {
      if (w->rows != 1) return wrong_count(w, "exactly one row");
      if (w->columns == 0) return no_column(w);
      int got = open_row(w, 0) ? push_cell(L, w, 0, 0) : -1;
      if (got == 0) lua_pushnil(L);
      return got >= 0;
    }
    case LVERB_COLUMN:
      if (PQresultStatus(w->in.res) != PGRES_TUPLES_OK) return wrong_count(w, "a column");
      if (w->columns == 0) return no_column(w);
      return push_columns_of(L, w, 1);
    default: lua_pushinteger(L, affected_rows(w)); return true;
  }
}

int lrows_push(lua_State *L, lconn *b, int box, lph_stmt *stmt, int code) {
  PGresult *res = b->c.op.result;
  const lph_wirerows *rows = &b->c.op.rows;
  build w = {.b = b, .stmt = stmt, .in = lfields_of(res, rows), .rows = lfields_count(res, rows)};
  w.columns = PQnfields(res);
  if (LPH_UNLIKELY(!lfields_are_sound(res, rows))) return no_field(&w, 0, 0), -1;
  int top = lua_gettop(L);
  if (LVERB_OF(code) == LVERB_EXECUTE) {
    lua_pushinteger(L, affected_rows(&w));
    return 1;
  }
  luaL_checkstack(L, (w.columns > LROWS_NAMES_ON_STACK ? 0 : 2 * w.columns) + 24, "result");
  if (LVERB_OF(code) == LVERB_VALUES) return lresult_push(L, b, box, stmt);
  lrows_push_info(L, b, box, stmt);
  w.info = lua_gettop(L);
  lconn_cell(L, b, box, w.columns > 0 && PQfformat(res, 0) == 1, &w.cell);
  if (push_verb(L, &w, code)) return 1;
  lua_settop(L, top);
  return -1;
}

/* ---- scripts ---------------------------------------------------------------------------------------------------------- */

int lrows_push_script(lua_State *L, lconn *b, int box, PGresult *res) {
  luaL_checkstack(L, 12, "script");
  lua_createtable(L, 0, 4);
  int out = lua_gettop(L);
  lrows_push_command(L, res);
  lua_setfield(L, out, "command");
  build w = {
    .b = b, .stmt = &b->script, .in = {.res = res}, .rows = PQntuples(res), .columns = PQnfields(res)};
  lua_pushinteger(L, affected_rows(&w));
  lua_setfield(L, out, "affected");
  if (PQresultStatus(res) != PGRES_TUPLES_OK) return 1;
  lph_stmts_clear_description(&b->script);
  if (lph_stmts_describe(&b->c.stmts, &b->script, res) != LPH_OK) {
    lph_error_oom(&b->c.error);
    b->c.error.sent = LPH_SENT_YES;
    return lua_settop(L, out - 1), -1;
  }
  lph_stmts_bind(&b->c.stmts, &b->script, b->c.types, NULL, 0);
  for (int i = 0; i < w.columns; i++)
    b->script_floats = b->script_floats ||
                       (!b->options.raw && lph_type_has_float(b->c.types, b->script.columns[i].type));
  lrows_push_columns(L, &b->script);
  lua_setfield(L, out, "columns");
  luaL_checkstack(L, (w.columns > LROWS_NAMES_ON_STACK ? 0 : 2 * w.columns) + 24, "result");
  lua_createtable(L, w.columns, 0); /* the names, in the place of an info table */
  for (int i = 0; i < w.columns; i++) {
    lua_pushstring(L, b->script.columns[i].name);
    lua_rawseti(L, -2, i + 1);
  }
  w.info = lua_gettop(L);
  lconn_cell(L, b, box, false, &w.cell);
  if (!push_rows(L, &w, LROWS_NAMED)) return lua_settop(L, out - 1), -1;
  lua_setfield(L, out, "rows");
  lua_settop(L, out);
  return 1;
}
