/* ljsonout.c - Lua value -> JSON text. Contract: ljson.h.
 *
 * The tables being written lie on the Lua stack with the key they are at, which is all the state
 * there is besides one frame a level; the same stack is what an error message takes its path from.
 *
 *   [array metatable] [table] [key] [value = table] [value]
 *                      object, level 0   array, level 1
 *
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>

#include "bind/ljson.h"
#include "types/json.h"

typedef struct frame {
  int slot; /* of the table; an object's key lies in the slot above */
  bool is_object;
  lua_Integer at; /* array: the element being written */
  lua_Integer n;  /* array: how many there are */
} frame;

typedef struct encoder {
  lua_State *L;
  lph_buf *out;
  int mark; /* stack index of the array metatable */
  int depth;
  frame frames[LPH_JSON_MAX_DEPTH];
} encoder;

/* ---- refusals ---------------------------------------------------------------------------------- */

#define PATH_MAX_LEN 160

/* A key as a reader would write it, cut where it gets long. */
static void put_key(char *path, size_t size, size_t *len, const char *key, size_t key_len, bool first) {
  bool is_name = key_len > 0 && key_len <= 40 && (key[0] < '0' || key[0] > '9');
  for (size_t i = 0; i < key_len && is_name; i++)
    is_name = key[i] == '_' || (key[i] >= '0' && key[i] <= '9') || (key[i] >= 'a' && key[i] <= 'z') ||
              (key[i] >= 'A' && key[i] <= 'Z');
  size_t left = size - *len;
  int n;
  if (is_name) {
    n = snprintf(path + *len, left, first ? "%.*s" : ".%.*s", (int)key_len, key);
  } else {
    char shown[44] = "";
    size_t m = 0;
    for (; m < key_len && m < 40; m++) shown[m] = key[m] >= ' ' && key[m] < 0x7f ? key[m] : '?';
    n = snprintf(path + *len, left, "[\"%.*s%s\"]", (int)m, shown, key_len > m ? "..." : "");
  }
  if (n > 0) *len += (size_t)n < left ? (size_t)n : left - 1;
}

/* Where we are: "items[3].price"; "" at the root. */
static void write_path(const encoder *e, char path[PATH_MAX_LEN]) {
  size_t len = 0;
  path[0] = '\0';
  for (int i = 0; i < e->depth; i++) {
    const frame *f = &e->frames[i];
    if (len > PATH_MAX_LEN - 60) { /* one more key takes up to 51 */
      memcpy(path + len, "...", 4);
      return;
    }
    if (f->is_object) {
      size_t key_len;
      const char *key = lua_tolstring(e->L, f->slot + 1, &key_len);
      put_key(path, PATH_MAX_LEN, &len, key, key_len, i == 0);
    } else if (f->at > 0) {
      len += (size_t)snprintf(path + len, PATH_MAX_LEN - len, "[%lld]", (long long)f->at);
    }
  }
}

/* Pushes "path: why". */
static lph_err refuse(encoder *e, lph_err rc, const char *why) {
  char path[PATH_MAX_LEN];
  write_path(e, path);
  if (path[0] != '\0')
    lua_pushfstring(e->L, "%s: %s", path, why);
  else
    lua_pushstring(e->L, why);
  return rc;
}

/* `key` is the stack index of a key that no JSON object or array can have beside the others. */
static lph_err refuse_key(encoder *e, int key, const char *tail) {
  lua_State *L = e->L;
  char shown[64], why[200];
  size_t len = 0;
  switch (lua_type(L, key)) {
    case LUA_TSTRING: {
      size_t key_len;
      const char *text = lua_tolstring(L, key, &key_len);
      put_key(shown, sizeof shown, &len, text, key_len, true);
      break;
    }
    case LUA_TNUMBER: snprintf(shown, sizeof shown, "[%.14g]", (double)lua_tonumber(L, key)); break;
    default: snprintf(shown, sizeof shown, "(a %s)", luaL_typename(L, key)); break;
  }
  snprintf(why, sizeof why, "the key %s %s", shown, tail);
  return refuse(e, LPH_ETYPE, why);
}

/* ---- scalars ----------------------------------------------------------------------------------- */

static lph_err put_number(encoder *e, int index) {
  lua_State *L = e->L;
  if (lua_isinteger(L, index)) return lph_json_put_int(e->out, lua_tointeger(L, index));
  double value = lua_tonumber(L, index);
  /* Without integers in the language, a whole number is meant to be one (but -0 is not 0). */
  if (!LCOMPAT_HAS_INTEGERS && value >= -LCOMPAT_EXACT && value <= LCOMPAT_EXACT &&
      value == (double)(int64_t)value && !(value == 0 && signbit(value)))
    return lph_json_put_int(e->out, (int64_t)value);
  lph_err rc = lph_json_put_float(e->out, value);
  if (rc == LPH_ERANGE)
    return refuse(e, LPH_ETYPE, isnan(value) ? "NaN has no JSON form" : "infinity has no JSON form");
  return rc;
}

static lph_err put_string(encoder *e, int index, const char *what) {
  lph_bytes text;
  text.data = lua_tolstring(e->L, index, &text.len);
  lph_err rc = lph_json_put_string(e->out, text);
  return LPH_LIKELY(rc != LPH_EFORMAT) ? rc : refuse(e, rc, what);
}

static lph_err put_scalar(encoder *e, int index) {
  lua_State *L = e->L;
  int type = lua_type(L, index);
  switch (type) {
    case LUA_TSTRING: return put_string(e, index, "the string is not valid UTF-8");
    case LUA_TNUMBER: return put_number(e, index);
    case LUA_TBOOLEAN: return lph_buf_puts(e->out, lua_toboolean(L, index) ? "true" : "false");
    case LUA_TLIGHTUSERDATA:
      if (lua_touserdata(L, index) == NULL) return lph_buf_add(e->out, "null", 4);
      break;
    case LUA_TNIL: return refuse(e, LPH_ETYPE, "nil has no JSON form (luphant.NULL is null)");
    default: break;
  }
  char why[80];
  snprintf(why, sizeof why, "a %s has no JSON form", lua_typename(L, type));
  return refuse(e, LPH_ETYPE, why);
}

/* ---- tables ------------------------------------------------------------------------------------ */

/* The whole-number key at `index`, 0 if it is none that a sequence can have. */
static lua_Integer position_of(lua_State *L, int index) {
  if (lua_type(L, index) != LUA_TNUMBER) return 0;
  lua_Number key = lua_tonumber(L, index);
  return key >= 1 && key < 0x1p31 && key == floor(key) ? (lua_Integer)key : 0;
}

/* The table of frame f has a key `last` but not all of 1..last. */
static lph_err refuse_hole(encoder *e, const frame *f, lua_Integer last) {
  lua_State *L = e->L;
  lua_Integer hole = 0;
  bool is_hole;
  do {
    lua_rawgeti(L, f->slot, (int)++hole);
    is_hole = lua_isnil(L, -1);
    lua_pop(L, 1);
  } while (!is_hole);
  char why[160];
  snprintf(why, sizeof why,
           "the key [%lld] stands behind the hole at [%lld] (luphant.NULL fills one; an object needs "
           "strings as keys)",
           (long long)last, (long long)hole);
  return refuse(e, LPH_ETYPE, why);
}

/* Finds out whether the table of frame f holds exactly 1..n: so many different whole numbers from 1
 * on that the largest is their count. (The raw length may be any border of a table with holes.) */
static lph_err check_sequence(encoder *e, frame *f) {
  lua_State *L = e->L;
  lua_Integer found = 0, last = 0;
  lua_pushnil(L);
  while (lua_next(L, f->slot)) {
    lua_pop(L, 1);
    lua_Integer i = position_of(L, -1);
    if (LPH_UNLIKELY(i == 0))
      return refuse_key(e, lua_gettop(L),
                        lua_type(L, -1) == LUA_TSTRING ? "cannot be in an array"
                                                       : "fits no array and no object");
    found++;
    if (i > last) last = i;
  }
  f->n = last;
  return LPH_LIKELY(found == last) ? LPH_OK : refuse_hole(e, f, last);
}

static bool is_marked(const encoder *e, int index) {
  lua_State *L = e->L;
  if (!lua_getmetatable(L, index)) return false;
  bool same = lua_rawequal(L, -1, e->mark);
  lua_pop(L, 1);
  return same;
}

/* The table on top may be one of those it stands in. */
static const char *too_deep(const encoder *e) {
  for (int i = 0; i < e->depth; i++)
    if (lua_rawequal(e->L, e->frames[i].slot, -1)) return "the table contains itself";
  return "more than 512 levels deep";
}

/* The table to write lies on top; it becomes the innermost frame. An object's first key and value
 * are left above it. An empty table is written and done with: *opened is false. */
static lph_err open_table(encoder *e, bool *opened) {
  lua_State *L = e->L;
  *opened = false;
  if (LPH_UNLIKELY(e->depth == LPH_JSON_MAX_DEPTH)) return refuse(e, LPH_ETYPE, too_deep(e));
  luaL_checkstack(L, 8, "JSON nested too deep");
  int slot = lua_gettop(L);
  bool marked = is_marked(e, slot);
  lua_pushnil(L);
  if (!lua_next(L, slot)) return lph_buf_add(e->out, marked ? "[]" : "{}", 2);
  frame *f = &e->frames[e->depth];
  *f = (frame){slot, !marked && lua_type(L, -2) != LUA_TNUMBER, 0, 0};
  if (f->is_object && lua_type(L, -2) != LUA_TSTRING) return refuse_key(e, slot + 1, "is not a string");
  e->depth++;
  *opened = true;
  if (f->is_object) return lph_buf_putc(e->out, '{');
  lua_settop(L, slot);
  lph_err rc = check_sequence(e, f);
  return rc == LPH_OK ? lph_buf_putc(e->out, '[') : rc;
}

/* [table] [key] [value] -> writes the key. */
static lph_err put_member(encoder *e, const frame *f) {
  if (LPH_UNLIKELY(lua_type(e->L, f->slot + 1) != LUA_TSTRING)) {
    e->depth--; /* the path is the table's, not that of a member it cannot have */
    return refuse_key(e, f->slot + 1, "cannot be in an object, whose keys are strings");
  }
  lph_err rc = f->at > 1 ? lph_buf_putc(e->out, ',') : LPH_OK;
  if (rc == LPH_OK) rc = put_string(e, f->slot + 1, "this key is not valid UTF-8");
  return rc == LPH_OK ? lph_buf_putc(e->out, ':') : rc;
}

/* Steps the innermost frame to its next value, which is pushed, and writes what stands before it.
 * *done: there was none; the table is closed and off the stack. */
static lph_err advance(encoder *e, bool *done) {
  lua_State *L = e->L;
  frame *f = &e->frames[e->depth - 1];
  *done = false;
  if (!f->is_object) {
    if (f->at < f->n) {
      lua_rawgeti(L, f->slot, (int)++f->at);
      return f->at > 1 ? lph_buf_putc(e->out, ',') : LPH_OK;
    }
  } else if (f->at++ == 0 || lua_next(L, f->slot)) { /* open_table left the first pair here */
    return put_member(e, f);
  }
  *done = true;
  e->depth--;
  lua_settop(L, f->slot - 1);
  return lph_buf_putc(e->out, f->is_object ? '}' : ']');
}

/* Writes the value on top of the stack and takes it off. */
static lph_err write_value(encoder *e) {
  lph_err rc;
  do {
    bool done = true;
    if (lua_type(e->L, -1) == LUA_TTABLE) {
      bool opened;
      if ((rc = open_table(e, &opened)) != LPH_OK) return rc;
      if (!opened) lua_pop(e->L, 1);
    } else {
      if ((rc = put_scalar(e, lua_gettop(e->L))) != LPH_OK) return rc;
      lua_pop(e->L, 1);
    }
    while (done && e->depth > 0)
      if ((rc = advance(e, &done)) != LPH_OK) return rc;
  } while (e->depth > 0);
  return LPH_OK;
}

lph_err ljson_encode(lua_State *L, int index, lph_buf *out, const char **why) {
  encoder e;
  luaL_checkstack(L, 8, "JSON");
  index = lua_absindex(L, index);
  size_t before = out->len;
  luaL_getmetatable(L, LJSON_ARRAY);
  e.L = L;
  e.out = out;
  e.mark = lua_gettop(L);
  e.depth = 0;
  lua_pushvalue(L, index);
  lph_err rc = write_value(&e);
  if (LPH_LIKELY(rc == LPH_OK)) {
    lua_settop(L, e.mark - 1);
    return LPH_OK;
  }
  out->len = before;
  if (rc == LPH_ENOMEM) lua_pushliteral(L, "out of memory"); /* the one failure refuse() did not see */
  lua_replace(L, e.mark);
  lua_settop(L, e.mark);
  *why = lua_tostring(L, e.mark);
  return rc;
}
