/* ltable.c - see ltable.h.
 *
 * Elements are written into the scratch buffer of their depth first and quoted into their parent
 * from there; the buffers belong to a box, so Lua errors may pass at any point.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/ltable.h"

#include <math.h>
#include <stdio.h>

#include "bind/ljson.h"

static lph_err check(lvalue *x, lph_err rc) { return rc == LPH_ENOMEM ? lph_error_oom(x->error) : rc; }

/* "element 3: " and the like in front of what an inner value complained about. */
static lph_err at_place(lvalue *x, const char *fmt, const char *name, long number) {
  if (strcmp(x->error->kind, "out_of_memory") == 0) return LPH_EFAIL;
  char why[512], place[96];
  snprintf(why, sizeof why, "%s", lph_error_get(x->error, LPH_E_MESSAGE));
  if (name != NULL) {
    snprintf(place, sizeof place, fmt, name);
  } else {
    snprintf(place, sizeof place, fmt, number);
  }
  return lph_error_set(x->error, "parameter", "%s: %s", place, why);
}

/* The scratch of this depth, empty; never without a block, because the writers read a NULL pointer as SQL NULL. */
static lph_buf *take_scratch(lvalue *x, int depth) {
  lph_buf *scratch = &x->level[depth];
  lph_buf_clear(scratch);
  return lph_buf_reserve(scratch, 1) == LPH_OK ? scratch : NULL;
}

static bool is_empty(lua_State *L, int at) {
  lua_pushnil(L);
  if (lua_next(L, at) == 0) return true;
  lua_pop(L, 2);
  return false;
}

/* Are there keys besides 1 to n? What the raw length says of a table with holes differs between tables that
 * look the same; its other keys would be lost without a word. */
static bool has_other_keys(lua_State *L, int at, lua_Integer n) {
  lua_Integer count = 0;
  lua_pushnil(L);
  while (lua_next(L, at) != 0) {
    lua_pop(L, 1);
    if (++count <= n) continue;
    lua_pop(L, 1);
    return true;
  }
  return false;
}

#define SEQUENCE_EXPECTED \
  "expected a sequence (keys 1, 2, 3 ... without holes; luphant.NULL is NULL), got a table with other keys"

/* ---- arrays ------------------------------------------------------------------------------------------ */

static bool is_marked_array(lua_State *L, int at) {
  if (!lua_getmetatable(L, at)) return false;
  luaL_getmetatable(L, LJSON_ARRAY);
  bool marked = lua_rawequal(L, -1, -2);
  lua_pop(L, 2);
  return marked;
}

/* Lua type of the table's first element. */
static int type_of_first(lua_State *L, int at) {
  lua_rawgeti(L, at, 1);
  int type = lvalue_is_wrapped(L, lua_gettop(L)) ? LUA_TSTRING : lua_type(L, -1);
  lua_pop(L, 1);
  return type;
}

/* Does the table stand for a value of the element type, or for a sub-array? Where both are sequences, it is a
 * sub-array if luphant.array says so. */
static bool is_element(lua_State *L, const lvalue *x, int at, const lph_type *elem) {
  if (elem == NULL) return false;
  if (elem->kind == LPH_JSON || elem->kind == LPH_JSONB || elem->kind == LPH_HSTORE) return true;
  if (is_marked_array(L, at)) return false;
  int first = type_of_first(L, at);
  bool has_metatable;
  switch ((lph_kind)elem->kind) {
    case LPH_COMPOSITE: return first != LUA_TTABLE; /* by position: its first field */
    case LPH_MULTIRANGE:
      if (first != LUA_TTABLE) return first == LUA_TNIL;
      lua_rawgeti(L, at, 1); /* a range, or an array of multiranges? */
      first = type_of_first(L, lua_gettop(L));
      lua_pop(L, 1);
      return first == LUA_TNIL;
    case LPH_RANGE:
    case LPH_DATE:
    case LPH_TIME:
    case LPH_TIMETZ:
    case LPH_TIMESTAMP:
    case LPH_TIMESTAMPTZ:
    case LPH_INTERVAL: return first == LUA_TNIL;
    default:
      if (!lvalue_has_encoder(L, x, elem)) return false;
      has_metatable = lua_getmetatable(L, at);
      if (has_metatable) lua_pop(L, 1);
      return first == LUA_TNIL || has_metatable; /* whatever the user's codec takes */
  }
}

/* An array under construction. Sizes are fixed by the first (sub-)array of a depth, the depth of the elements by
 * the first of them; all others must agree, as in PostgreSQL. */
typedef struct array {
  const lph_type *type, *elem;
  lua_Integer size[LPH_ARRAY_MAX_DIM];
  int leaf; /* dimension the elements are in, -1 = not known yet */
} array;

static lph_err put_item(lua_State *L, lvalue *x, const array *a, lph_buf *out, int depth) {
  const lph_type *type = lvalue_resolve(L, x, lua_gettop(L), a->elem);
  if (lvalue_is_null(L, -1)) return check(x, lph_buf_puts(out, "NULL"));
  lph_buf *scratch = take_scratch(x, depth);
  if (scratch == NULL) return lph_error_oom(x->error);
  lph_err rc = lvalue_text(L, x, lua_gettop(L), type, scratch, depth + 1);
  if (rc != LPH_OK) return rc;
  return check(x, lph_array_put(out, (lph_bytes){scratch->data, scratch->len}, a->type->delim));
}

static lph_err put_dimension(lua_State *L, lvalue *x, int at, array *a, lph_buf *out, int depth, int dim);

/* The element on top of the stack, number `i` of the (sub-)array of dimension `dim`. */
static lph_err put_element(lua_State *L, lvalue *x, array *a, lph_buf *out, int depth, int dim,
                           lua_Integer i) {
  int at = lua_gettop(L);
  if (lua_isnil(L, at)) return lvalue_refuse(x, "the sequence has a hole here; write luphant.NULL for NULL");
  if (i > 1 && lph_buf_putc(out, a->type->delim) != LPH_OK) return lph_error_oom(x->error);
  bool is_array = lua_istable(L, at) && !lvalue_is_wrapped(L, at) && !is_element(L, x, at, a->elem);
  if (is_array && a->leaf != dim) return put_dimension(L, x, at, a, out, depth, dim + 1);
  if (!is_array && a->leaf < 0 && (dim == LPH_ARRAY_MAX_DIM - 1 || a->size[dim + 1] < 0)) a->leaf = dim;
  if (a->leaf != dim)
    return lvalue_refuse(x,
                         "expected a sub-array, as the elements before it are (arrays must be rectangular)");
  return put_item(L, x, a, out, depth);
}

static lph_err put_dimension(lua_State *L, lvalue *x, int at, array *a, lph_buf *out, int depth, int dim) {
  if (dim == LPH_ARRAY_MAX_DIM) return lvalue_refuse(x, "an array has at most 6 dimensions");
  luaL_checkstack(L, 12, "nested array");
  lua_Integer n = (lua_Integer)lua_rawlen(L, at);
  if (has_other_keys(L, at, n)) return lvalue_refuse(x, SEQUENCE_EXPECTED);
  if (n == 0) return lvalue_refuse(x, "a sub-array cannot be empty");
  if (a->size[dim] < 0) a->size[dim] = n;
  if (a->size[dim] != n) return lvalue_refuse(x, "sub-arrays must all have the same length");
  lph_err rc = check(x, lph_buf_putc(out, '{'));
  for (lua_Integer i = 1; rc == LPH_OK && i <= n; i++) {
    lua_rawgeti(L, at, (int)i);
    rc = put_element(L, x, a, out, depth, dim, i);
    if (rc != LPH_OK) at_place(x, "element %ld", NULL, (long)i);
    lua_pop(L, 1);
  }
  return rc == LPH_OK ? check(x, lph_buf_putc(out, '}')) : rc;
}

/* "[0:2][1:3]=" where the metatable says { lower = {0, 1} } (luphant.array, or a decoded array). */
static lph_err put_bounds(lua_State *L, lvalue *x, int at, lph_buf *out, const lua_Integer *size) {
  if (!lua_getmetatable(L, at)) return LPH_OK;
  lua_pushliteral(L, "lower");
  lua_rawget(L, -2);
  lph_err rc = LPH_OK;
  if (lua_istable(L, -1)) {
    for (int dim = 0; rc == LPH_OK && dim < LPH_ARRAY_MAX_DIM && size[dim] >= 0; dim++) {
      lua_rawgeti(L, -1, dim + 1);
      double lower = lua_isnil(L, -1) ? 1 : lua_tonumber(L, -1);
      lua_pop(L, 1);
      if (!(lower >= INT32_MIN && lower + (double)size[dim] - 1 <= INT32_MAX) || lower != floor(lower)) {
        rc = lvalue_refuse(x, "the lower bounds of an array are integers of 32 bits");
      } else {
        rc = check(x, lph_buf_printf(out, "[%.0f:%.0f]", lower, lower + (double)size[dim] - 1));
      }
    }
    if (rc == LPH_OK) rc = check(x, lph_buf_putc(out, '='));
  }
  lua_pop(L, 2);
  return rc;
}

static lph_err put_array(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  array a = {type, lph_typemap_find(x->types, type->elem), {-1, -1, -1, -1, -1, -1}, -1};
  if (lua_rawlen(L, at) == 0 && is_empty(L, at)) return check(x, lph_buf_puts(out, "{}"));
  if (lua_rawlen(L, at) == 0) return lvalue_refuse(x, SEQUENCE_EXPECTED);
  /* The bounds come first but are known last: the body waits in the scratch of this depth. */
  lph_buf *body = &x->level[depth];
  lph_buf_clear(body);
  lph_err rc = put_dimension(L, x, at, &a, body, depth + 1, 0);
  if (rc == LPH_OK) rc = put_bounds(L, x, at, out, a.size);
  return rc == LPH_OK ? check(x, lph_buf_add(out, body->data, body->len)) : rc;
}

/* ---- composites ----------------------------------------------------------------------------------------- */

/* Looks at all keys: they must be names of fields, or positions, not both. */
static lph_err check_fields(lua_State *L, lvalue *x, int at, const lph_type *type, bool *positional) {
  bool named = false;
  *positional = false;
  lua_pushnil(L);
  while (lua_next(L, at) != 0) {
    lua_pop(L, 1);
    bool known = false;
    if (lua_type(L, -1) == LUA_TSTRING) {
      for (int i = 0; i < type->field_count && !known; i++)
        known = strcmp(type->fields[i].name, lua_tostring(L, -1)) == 0;
      named = true;
    } else if (lua_type(L, -1) == LUA_TNUMBER) {
      double n = lua_tonumber(L, -1);
      known = n >= 1 && n <= type->field_count && n == floor(n);
      *positional = true;
    }
    if (known && !(named && *positional)) continue;
    char why[160];
    if (known) {
      snprintf(why, sizeof why, "has fields by name and by position");
    } else if (lua_type(L, -1) == LUA_TNUMBER) {
      snprintf(why, sizeof why, "has no field %.14g; there are %d", lua_tonumber(L, -1), type->field_count);
    } else {
      snprintf(why, sizeof why, "has no field \"%.80s\"",
               lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
    }
    lua_pop(L, 1);
    return lvalue_refuse(x, why);
  }
  return LPH_OK;
}

static lph_err put_field(lua_State *L, lvalue *x, const lph_field *field, lph_buf *out, int depth) {
  const lph_type *type = lvalue_resolve(L, x, lua_gettop(L), lph_typemap_find(x->types, field->type));
  if (lvalue_is_null(L, -1)) return LPH_OK; /* nothing between the commas is NULL */
  lph_buf *scratch = take_scratch(x, depth);
  if (scratch == NULL) return lph_error_oom(x->error);
  lph_err rc = lvalue_text(L, x, lua_gettop(L), type, scratch, depth + 1);
  if (rc != LPH_OK) return at_place(x, "field \"%s\"", field->name, 0);
  return check(x, lph_row_put(out, (lph_bytes){scratch->data, scratch->len}));
}

/* By field name, or by position. */
static lph_err put_composite(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  bool positional;
  lph_err rc = check_fields(L, x, at, type, &positional);
  if (rc == LPH_OK) rc = check(x, lph_buf_putc(out, '('));
  for (int i = 0; rc == LPH_OK && i < type->field_count; i++) {
    if (i > 0 && lph_buf_putc(out, ',') != LPH_OK) return lph_error_oom(x->error);
    if (positional) {
      lua_rawgeti(L, at, i + 1);
    } else {
      lua_getfield(L, at, type->fields[i].name);
    }
    rc = put_field(L, x, &type->fields[i], out, depth);
    lua_pop(L, 1);
  }
  return rc == LPH_OK ? check(x, lph_buf_putc(out, ')')) : rc;
}

/* ---- ranges ------------------------------------------------------------------------------------------------ */

static lph_err put_bound(lua_State *L, lvalue *x, int at, const char *key, const lph_type *type, lph_buf *out,
                         int depth) {
  lua_getfield(L, at, key);
  const lph_type *subtype = lvalue_resolve(L, x, lua_gettop(L), lph_typemap_find(x->types, type->elem));
  lph_err rc = LPH_OK;
  if (!lvalue_is_null(L, -1)) {
    lph_buf *scratch = take_scratch(x, depth);
    rc = scratch == NULL ? lph_error_oom(x->error)
                         : lvalue_text(L, x, lua_gettop(L), subtype, scratch, depth + 1);
    rc = rc == LPH_OK ? check(x, lph_range_put(out, (lph_bytes){scratch->data, scratch->len}))
                      : at_place(x, "bound \"%s\"", key, 0);
  }
  lua_pop(L, 1);
  return rc;
}

static bool read_bounds(lua_State *L, int at, char bounds[2]) {
  lua_getfield(L, at, "bounds");
  size_t n = 2;
  const char *s = lua_isnil(L, -1) ? "[)" : lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &n) : "";
  bool ok = n == 2 && (s[0] == '[' || s[0] == '(') && (s[1] == ']' || s[1] == ')');
  if (ok) memcpy(bounds, s, 2);
  lua_pop(L, 1);
  return ok;
}

static lph_err put_range(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  static const char *const keys[] = {"lower", "upper", "bounds", "empty"};
  char bounds[2];
  lua_pushnil(L);
  while (lua_next(L, at) != 0) {
    lua_pop(L, 1);
    bool known = false;
    for (size_t i = 0; i < lph_countof(keys) && lua_type(L, -1) == LUA_TSTRING; i++)
      known = known || strcmp(keys[i], lua_tostring(L, -1)) == 0;
    if (known) continue;
    lua_pop(L, 1);
    return lvalue_refuse(x, "a range is { lower =, upper =, bounds = \"[)\" } or { empty = true }");
  }
  lua_getfield(L, at, "empty");
  bool empty = lua_toboolean(L, -1);
  lua_pop(L, 1);
  if (empty) return check(x, lph_buf_puts(out, "empty"));
  if (!read_bounds(L, at, bounds)) return lvalue_refuse(x, "bounds must be \"[)\", \"[]\", \"(]\" or \"()\"");
  lph_err rc = check(x, lph_buf_putc(out, bounds[0]));
  if (rc == LPH_OK) rc = put_bound(L, x, at, "lower", type, out, depth);
  if (rc == LPH_OK) rc = check(x, lph_buf_putc(out, ','));
  if (rc == LPH_OK) rc = put_bound(L, x, at, "upper", type, out, depth);
  return rc == LPH_OK ? check(x, lph_buf_putc(out, bounds[1])) : rc;
}

static lph_err put_multirange(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out,
                              int depth) {
  const lph_type *range = lph_typemap_find(x->types, type->elem);
  int n = (int)lua_rawlen(L, at);
  if (range == NULL || has_other_keys(L, at, n)) return lvalue_refuse(x, "expected a sequence of ranges");
  lph_err rc = check(x, lph_buf_putc(out, '{'));
  for (int i = 1; rc == LPH_OK && i <= n; i++) {
    if (i > 1 && lph_buf_putc(out, ',') != LPH_OK) return lph_error_oom(x->error);
    lua_rawgeti(L, at, i);
    const lph_type *each = lvalue_resolve(L, x, lua_gettop(L), range);
    rc = lvalue_is_null(L, -1) ? lvalue_refuse(x, "a multirange cannot hold NULL")
                               : lvalue_text(L, x, lua_gettop(L), each, out, depth + 1);
    if (rc != LPH_OK) at_place(x, "range %ld", NULL, i);
    lua_pop(L, 1);
  }
  return rc == LPH_OK ? check(x, lph_buf_putc(out, '}')) : rc;
}

/* ---- hstore -------------------------------------------------------------------------------------------------- */

static lph_err put_hstore(lua_State *L, lvalue *x, int at, lph_buf *out) {
  bool first = true;
  lua_pushnil(L);
  while (lua_next(L, at) != 0) {
    bool null = lvalue_is_null(L, -1);
    if (lua_type(L, -2) != LUA_TSTRING || (!null && lua_type(L, -1) != LUA_TSTRING)) {
      lua_pop(L, 2);
      return lvalue_refuse(x, "keys of an hstore are strings, values strings or luphant.NULL");
    }
    lph_bytes key, value = {NULL, 0};
    key.data = lua_tolstring(L, -2, &key.len);
    if (!null) value.data = lua_tolstring(L, -1, &value.len);
    bool clean = lph_utf8_valid(key) && memchr(key.data, 0, key.len) == NULL &&
                 (null || (lph_utf8_valid(value) && memchr(value.data, 0, value.len) == NULL));
    lph_err rc = first ? LPH_OK : check(x, lph_buf_putc(out, ','));
    if (rc == LPH_OK)
      rc = clean ? check(x, lph_hstore_put(out, key, value))
                 : lvalue_refuse(x, "contains a NUL byte or bad UTF-8");
    lua_pop(L, 1);
    first = false;
    if (rc != LPH_OK) {
      lua_pop(L, 1);
      return rc;
    }
  }
  return LPH_OK;
}

/* ---- all ------------------------------------------------------------------------------------------------------------ */

lph_err ltable_put(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  switch (type == NULL ? LPH_OPAQUE : (lph_kind)type->kind) {
    case LPH_ARRAY: return put_array(L, x, at, type, out, depth);
    case LPH_COMPOSITE: return put_composite(L, x, at, type, out, depth);
    case LPH_RANGE: return put_range(L, x, at, type, out, depth);
    case LPH_MULTIRANGE: return put_multirange(L, x, at, type, out, depth);
    case LPH_HSTORE: return put_hstore(L, x, at, out);
    case LPH_DATE:
    case LPH_TIME:
    case LPH_TIMETZ:
    case LPH_TIMESTAMP:
    case LPH_TIMESTAMPTZ:
    case LPH_INTERVAL: return ldate_put(L, x, at, type, out);
    default:
      return lvalue_refuse(x, "expected a single value, got a table (luphant.json(t) sends it as JSON text)");
  }
}
