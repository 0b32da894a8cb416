/* lfacts.c - facts about libpq and the system, and libpq's own reading of connection strings.
 *
 *   core.conninfo_parse(text) -> { keyword = value } | nil, message
 *   core.conninfo_keywords()  -> { { keyword =, envvar =, compiled =, value =, label =, dispchar = }, ... }
 *   core.features()           -> { libpq =, openssl =, require_auth =, sslrootcert_system =, ... }
 *   core.file_mode(path)      -> mode | nil, message; the permission bits
 *   core.is_terminal(fd)      -> boolean
 *   core.is_utf8(text)        -> boolean; without surrogates and overlong forms, as the server wants it
 *   core.type_oid(name)       -> oid | nil; built-in types, also by their SQL names
 *
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <libpq-fe.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "bind/bind.h"
#include "bind/lbox.h"
#include "core/cancel.h"
#include "core/params.h"
#include "crypto/crypto.h"
#include "types/type.h"

/* libpq's lists are foreign memory: a box holds them while Lua tables are made. */
typedef struct lconninfo {
  PQconninfoOption *options;
  char *message;
} lconninfo;

static const lbox_class conninfo_class;

static int lconninfo__gc(lua_State *L) {
  lconninfo *box = lbox_self(L, 1, &conninfo_class);
  PQconninfoFree(box->options);
  box->options = NULL;
  PQfreemem(box->message);
  box->message = NULL;
  return 0;
}

static const luaL_Reg conninfo_meta[] = {{"__gc", lconninfo__gc}, {NULL, NULL}};
static const lbox_class conninfo_class = {"luphant.core.conninfo", NULL, conninfo_meta};

void lfacts_open(lua_State *L) { lbox_open(L, &conninfo_class); }

static int lfacts_conninfo_parse(lua_State *L) {
  const char *text = luaL_checkstring(L, 1);
  lconninfo *box = lbox_new(L, &conninfo_class, sizeof *box);
  box->options = PQconninfoParse(text, &box->message);
  if (box->options == NULL) {
    lua_pushnil(L);
    lua_pushstring(L, box->message == NULL ? "out of memory" : box->message);
    return 2;
  }
  lua_newtable(L);
  for (PQconninfoOption *o = box->options; o->keyword != NULL; o++) {
    if (o->val == NULL) continue;
    lua_pushstring(L, o->val);
    lua_setfield(L, -2, o->keyword);
  }
  return 1;
}

static void set_text(lua_State *L, const char *key, const char *value) {
  if (value == NULL) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, key);
}

static int lfacts_conninfo_keywords(lua_State *L) {
  lconninfo *box = lbox_new(L, &conninfo_class, sizeof *box);
  box->options = PQconndefaults();
  if (box->options == NULL) return luaL_error(L, "not enough memory");
  lua_newtable(L);
  int i = 0;
  for (PQconninfoOption *o = box->options; o->keyword != NULL; o++) {
    lua_createtable(L, 0, 6);
    set_text(L, "keyword", o->keyword);
    set_text(L, "envvar", o->envvar);
    set_text(L, "compiled", o->compiled);
    set_text(L, "value", o->val);
    set_text(L, "label", o->label);
    set_text(L, "dispchar", o->dispchar);
    lua_rawseti(L, -2, ++i);
  }
  return 1;
}

static void set_flag(lua_State *L, const char *key, bool on) {
  lua_pushboolean(L, on);
  lua_setfield(L, -2, key);
}

static int lfacts_features(lua_State *L) {
  int version = PQlibVersion();
  lua_createtable(L, 0, 8);
  lua_pushinteger(L, version);
  lua_setfield(L, -2, "libpq");
  lua_pushinteger(L, lph_params_limit(version));
  lua_setfield(L, -2, "max_parameters");
  set_text(L, "openssl", lph_crypto_version());
  set_flag(L, "require_auth", version >= 160000);
  set_flag(L, "sslrootcert_system", version >= 160000);
  set_flag(L, "encrypted_cancel", lph_cancel_is_encrypted());
#ifdef LIBPQ_HAS_CHUNK_MODE /* a build for an older libpq does not ask for them */
  set_flag(L, "chunked_rows", version >= 170000);
#else
  set_flag(L, "chunked_rows", false);
#endif
#ifdef LPH_FAULT_ALLOC
  set_flag(L, "fault_alloc", true);
#endif
  return 1;
}

static int lfacts_file_mode(lua_State *L) {
  struct stat info;
  if (stat(luaL_checkstring(L, 1), &info) != 0) {
    char room[128];
    const char *why = lph_error_of_errno(errno, room, sizeof room);
    lua_pushnil(L);
    lua_pushstring(L, why);
    return 2;
  }
  lua_pushinteger(L, info.st_mode & 07777);
  return 1;
}

static int lfacts_is_terminal(lua_State *L) {
  lua_pushboolean(L, isatty((int)luaL_checkinteger(L, 1)));
  return 1;
}

static int lfacts_is_utf8(lua_State *L) {
  lph_bytes text;
  text.data = luaL_checklstring(L, 1, &text.len);
  lua_pushboolean(L, lph_utf8_valid(text));
  return 1;
}

static int lfacts_type_oid(lua_State *L) {
  const lph_type *type = lph_builtin_by_name(luaL_checkstring(L, 1));
  if (type == NULL) return 0;
  lua_pushinteger(L, (lua_Integer)type->oid);
  return 1;
}

const luaL_Reg lfacts_functions[] = {{"conninfo_parse", lfacts_conninfo_parse},
                                     {"conninfo_keywords", lfacts_conninfo_keywords},
                                     {"features", lfacts_features},
                                     {"file_mode", lfacts_file_mode},
                                     {"is_terminal", lfacts_is_terminal},
                                     {"is_utf8", lfacts_is_utf8},
                                     {"type_oid", lfacts_type_oid},
                                     {NULL, NULL}};
