/* linfo.c - what Lua knows about a statement: names, descriptions, and what makes its rows. See lrows.h.
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "bind/lrows.h"

void lrows_push_columns(lua_State *L, const lph_stmt *stmt) {
  lua_createtable(L, stmt->column_count, 0);
  for (int i = 0; i < stmt->column_count; i++) {
    const lph_column *c = &stmt->columns[i];
    lua_createtable(L, 0, 3);
    lua_pushstring(L, c->name);
    lua_setfield(L, -2, "name");
    lua_pushstring(L, c->type == NULL ? "unknown" : c->type->name);
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, c->oid);
    lua_setfield(L, -2, "oid");
    lua_rawseti(L, -2, i + 1);
  }
}

static void push_params(lua_State *L, const lph_stmt *stmt) {
  lua_createtable(L, stmt->param_count, 0);
  for (int i = 0; i < stmt->param_count; i++) {
    lua_createtable(L, 0, 2);
    lua_pushstring(L, stmt->param_types[i] == NULL ? "unknown" : stmt->param_types[i]->name);
    lua_setfield(L, -2, "type");
    lua_pushinteger(L, stmt->param_oids[i]);
    lua_setfield(L, -2, "oid");
    lua_rawseti(L, -2, i + 1);
  }
}

/* rows.columns, rows.command, rows.affected: looked up only when asked for. Upvalue: the info table. */
static int rows__index(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return 0;
  const char *key = lua_tostring(L, 2);
  if (strcmp(key, "affected") == 0) {
    lua_pushinteger(L, (lua_Integer)lua_rawlen(L, 1));
  } else if (strcmp(key, "columns") == 0 || strcmp(key, "command") == 0) {
    lua_getfield(L, lua_upvalueindex(1), key);
  } else {
    return 0;
  }
  return 1;
}

static bool has_duplicates(const lph_stmt *stmt) {
  for (int i = 0; i < stmt->column_count; i++)
    for (int j = i + 1; j < stmt->column_count; j++)
      if (strcmp(stmt->columns[i].name, stmt->columns[j].name) == 0) return true;
  return false;
}

/* info -> info, with the constructor or false at -1 */
static void make_constructor(lua_State *L, int box, const lph_stmt *stmt) {
  int info = lua_gettop(L);
  lcompat_getstore(L, box);
  lua_rawgeti(L, -1, LSTORE_CONSTRUCTOR);
  if (lua_isfunction(L, -1) && stmt->column_count > 0 && stmt->column_count <= LROWS_NAMES_ON_STACK &&
      !has_duplicates(stmt)) {
    lua_pushvalue(L, info);
    lua_call(L, 1, 1);
  } else {
    lua_pushboolean(L, 0);
  }
  lua_rawseti(L, info, -1);
  lua_settop(L, info);
}

static void fill_info(lua_State *L, int box, const lph_stmt *stmt) {
  lua_createtable(L, stmt->column_count, 6);
  for (int i = 0; i < stmt->column_count; i++) {
    lua_pushstring(L, stmt->columns[i].name);
    lua_rawseti(L, -2, i + 1);
  }
  lrows_push_columns(L, stmt);
  lua_setfield(L, -2, "columns");
  lua_createtable(L, 0, 1); /* info mt */
  lua_pushvalue(L, -2);
  lua_pushcclosure(L, rows__index, 1);
  lua_setfield(L, -2, "__index");
  lua_rawseti(L, -2, 0);
  make_constructor(L, box, stmt);
  lua_pushnumber(L, (lua_Number)stmt->generation);
  lua_setfield(L, -2, "generation");
}

void lrows_push_info(lua_State *L, lconn *b, int box, lph_stmt *stmt) {
  (void)b;
  luaL_checkstack(L, 12, "statement");
  lcompat_getstore(L, box);
  lua_rawgeti(L, -1, stmt->serial);
  if (LPH_UNLIKELY(!lua_istable(L, -1) || stmt->info_stale)) {
    lua_pop(L, 1);
    fill_info(L, box, stmt);
    lua_pushvalue(L, -1);
    lua_rawseti(L, -3, stmt->serial);
    stmt->info_stale = false;
  }
  lua_remove(L, -2);
}

void lrows_push_description(lua_State *L, const lph_stmt *stmt) {
  luaL_checkstack(L, 8, "description");
  lua_createtable(L, 0, 2);
  push_params(L, stmt);
  lua_setfield(L, -2, "params");
  lrows_push_columns(L, stmt);
  lua_setfield(L, -2, "columns");
}
