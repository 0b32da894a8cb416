/* ltable.c - see ltable.h.
 *
 * Elements are written into the scratch buffer of their depth first and quoted into their parent
 * from there; the buffers belong to a box, so Lua errors may pass at any point.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/ltable.h"

#include <stdio.h>

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

static bool is_empty(lua_State *L, int at) {
  lua_pushnil(L);
  if (lua_next(L, at) == 0) return true;
  lua_pop(L, 2);
  return false;
}

/* ---- arrays ------------------------------------------------------------------------------------------ */

/* Does the table stand for a value of the element type, or for a sub-array? */
static bool is_element(lua_State *L, int at, const lph_type *elem) {
  if (elem == NULL) return false;
  switch ((lph_kind)elem->kind) {
    case LPH_JSON:
    case LPH_JSONB:
    case LPH_HSTORE: return true;
    case LPH_COMPOSITE:
    case LPH_RANGE:
    case LPH_MULTIRANGE:
    case LPH_DATE:
    case LPH_TIME:
    case LPH_TIMETZ:
    case LPH_TIMESTAMP:
    case LPH_TIMESTAMPTZ:
    case LPH_INTERVAL: break;
    default: return false;
  }
  /* {{...}, {...}}: a sequence of tables can only be a sub-array of such values. */
  lua_rawgeti(L, at, 1);
  bool nested = lua_istable(L, -1);
  lua_pop(L, 1);
  if (elem->kind == LPH_MULTIRANGE && nested) { /* a multirange is a sequence of tables itself */
    lua_rawgeti(L, at, 1);
    lua_rawgeti(L, -1, 1);
    nested = lua_istable(L, -1);
    lua_pop(L, 2);
  }
  return !nested;
}

static lph_err put_item(lua_State *L, lvalue *x, const lph_type *elem, lph_buf *out, int depth, char delim) {
  if (lvalue_is_null(L, -1)) return check(x, lph_buf_puts(out, "NULL"));
  lph_buf *scratch = &x->level[depth];
  lph_buf_clear(scratch);
  lph_err rc = lvalue_text(L, x, lua_gettop(L), elem, scratch, depth + 1);
  if (rc != LPH_OK) return rc;
  return check(x, lph_array_put(out, (lph_bytes){scratch->data, scratch->len}, delim));
}

static lph_err put_dimension(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth, int dim,
                             lua_Integer *size);

/* The element on top of the stack, number `i` of the (sub-)array. */
static lph_err put_element(lua_State *L, lvalue *x, const lph_type *type, lph_buf *out, int depth, int dim,
                           lua_Integer *size, lua_Integer i) {
  const lph_type *elem = lph_typemap_find(x->types, type->elem);
  int at = lua_gettop(L);
  if (lua_isnil(L, at)) return lvalue_refuse(x, "the sequence has a hole here; write luphant.NULL for NULL");
  if (i > 1 && lph_buf_putc(out, type->delim) != LPH_OK) return lph_error_oom(x->error);
  if (lua_istable(L, at) && !lvalue_is_wrapped(L, at) && !is_element(L, at, elem))
    return put_dimension(L, x, at, type, out, depth, dim + 1, size);
  return put_item(L, x, elem, out, depth, type->delim);
}

/* `size[dim]` is fixed by the first sub-array; the others must agree, as in PostgreSQL. */
static lph_err put_dimension(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth, int dim,
                             lua_Integer *size) {
  if (dim == LPH_ARRAY_MAX_DIM) return lvalue_refuse(x, "an array has at most 6 dimensions");
  luaL_checkstack(L, 12, "nested array");
  lua_Integer n = (lua_Integer)lua_rawlen(L, at);
  if (n == 0 && !is_empty(L, at))
    return lvalue_refuse(x, "expected a sequence (keys 1, 2, 3 ...), got a table with other keys");
  if (size[dim] < 0) size[dim] = n;
  if (size[dim] != n) return lvalue_refuse(x, "sub-arrays must all have the same length");
  lph_err rc = check(x, lph_buf_putc(out, '{'));
  for (lua_Integer i = 1; rc == LPH_OK && i <= n; i++) {
    lua_rawgeti(L, at, (int)i);
    rc = put_element(L, x, type, out, depth, dim, size, i);
    if (rc != LPH_OK) at_place(x, "element %ld", NULL, (long)i);
    lua_pop(L, 1);
  }
  return rc == LPH_OK ? check(x, lph_buf_putc(out, '}')) : rc;
}

/* "[0:2][1:3]=" where the metatable says { lower = {0, 1} } (luphant.array, or a decoded array). */
static lph_err put_bounds(lua_State *L, lvalue *x, int at, lph_buf *out, const lua_Integer *size) {
  if (!lua_getmetatable(L, at)) return LPH_OK;
  lua_getfield(L, -1, "lower");
  lph_err rc = LPH_OK;
  if (lua_istable(L, -1)) {
    for (int dim = 0; rc == LPH_OK && dim < LPH_ARRAY_MAX_DIM && size[dim] >= 0; dim++) {
      lua_rawgeti(L, -1, dim + 1);
      long long lower = lua_isnil(L, -1) ? 1 : (long long)lua_tonumber(L, -1);
      lua_pop(L, 1);
      rc = check(x, lph_buf_printf(out, "[%lld:%lld]", lower, lower + (long long)size[dim] - 1));
    }
    if (rc == LPH_OK) rc = check(x, lph_buf_putc(out, '='));
  }
  lua_pop(L, 2);
  return rc;
}

static lph_err put_array(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  lua_Integer size[LPH_ARRAY_MAX_DIM] = {-1, -1, -1, -1, -1, -1};
  if (lua_rawlen(L, at) == 0 && is_empty(L, at)) return check(x, lph_buf_puts(out, "{}"));
  /* The bounds come first but are known last: the body waits in the scratch of this depth. */
  lph_buf *body = &x->level[depth];
  lph_buf_clear(body);
  lph_err rc = put_dimension(L, x, at, type, body, depth + 1, 0, size);
  if (rc == LPH_OK) rc = put_bounds(L, x, at, out, size);
  return rc == LPH_OK ? check(x, lph_buf_add(out, body->data, body->len)) : rc;
}

/* ---- composites ----------------------------------------------------------------------------------------- */

static lph_err refuse_unknown_fields(lua_State *L, lvalue *x, int at, const lph_type *type) {
  lua_pushnil(L);
  while (lua_next(L, at) != 0) {
    lua_pop(L, 1);
    bool known = false;
    if (lua_type(L, -1) == LUA_TSTRING) {
      for (int i = 0; i < type->field_count && !known; i++) known = strcmp(type->fields[i].name, lua_tostring(L, -1)) == 0;
    } else if (lua_type(L, -1) == LUA_TNUMBER) {
      double n = lua_tonumber(L, -1);
      known = n >= 1 && n <= type->field_count;
    }
    if (!known) {
      char why[160];
      snprintf(why, sizeof why, "has no field \"%.80s\"",
               lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : luaL_typename(L, -1));
      lua_pop(L, 1);
      return lvalue_refuse(x, why);
    }
  }
  return LPH_OK;
}

static lph_err put_field(lua_State *L, lvalue *x, const lph_field *field, lph_buf *out, int depth) {
  if (lvalue_is_null(L, -1)) return LPH_OK; /* nothing between the commas is NULL */
  lph_buf *scratch = &x->level[depth];
  lph_buf_clear(scratch);
  lph_err rc = lvalue_text(L, x, lua_gettop(L), lph_typemap_find(x->types, field->type), scratch, depth + 1);
  if (rc != LPH_OK) return at_place(x, "field \"%s\"", field->name, 0);
  return check(x, lph_row_put(out, (lph_bytes){scratch->data, scratch->len}));
}

/* By field name, or by position. */
static lph_err put_composite(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  bool positional = lua_rawlen(L, at) > 0;
  lph_err rc = refuse_unknown_fields(L, x, at, type);
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

static lph_err put_bound(lua_State *L, lvalue *x, int at, const char *key, const lph_type *type, lph_buf *out, int depth) {
  lua_getfield(L, at, key);
  lph_err rc = LPH_OK;
  if (!lvalue_is_null(L, -1)) {
    lph_buf *scratch = &x->level[depth];
    lph_buf_clear(scratch);
    rc = lvalue_text(L, x, lua_gettop(L), lph_typemap_find(x->types, type->elem), scratch, depth + 1);
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

static lph_err put_multirange(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out, int depth) {
  const lph_type *range = lph_typemap_find(x->types, type->elem);
  int n = (int)lua_rawlen(L, at);
  if (range == NULL || (n == 0 && !is_empty(L, at))) return lvalue_refuse(x, "expected a sequence of ranges");
  lph_err rc = check(x, lph_buf_putc(out, '{'));
  for (int i = 1; rc == LPH_OK && i <= n; i++) {
    if (i > 1 && lph_buf_putc(out, ',') != LPH_OK) return lph_error_oom(x->error);
    lua_rawgeti(L, at, i);
    rc = lvalue_is_null(L, -1) ? lvalue_refuse(x, "a multirange cannot hold NULL")
                               : lvalue_text(L, x, lua_gettop(L), range, out, depth + 1);
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
    if (rc == LPH_OK) rc = clean ? check(x, lph_hstore_put(out, key, value)) : lvalue_refuse(x, "contains a NUL byte or bad UTF-8");
    lua_pop(L, 1);
    first = false;
    if (rc != LPH_OK) {
      lua_pop(L, 1);
      return rc;
    }
  }
  return LPH_OK;
}

/* ---- dates and times -------------------------------------------------------------------------------------------- */

static bool read_int(lua_State *L, int at, const char *key, double fallback, double *to) {
  lua_getfield(L, at, key);
  bool ok = lua_isnil(L, -1) || lua_type(L, -1) == LUA_TNUMBER;
  *to = lua_isnil(L, -1) ? fallback : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return ok && *to > -1e15 && *to < 1e15;
}

/* The table form that datetime = "table" gives, and os.date("*t") with it. */
static lph_err put_datetime(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out) {
  double year, month, day, hour, min, sec, us, offset, months, days, infinity;
  bool has_date = type->kind == LPH_DATE || type->kind == LPH_TIMESTAMP || type->kind == LPH_TIMESTAMPTZ;
  bool ok = read_int(L, at, "infinity", 0, &infinity);
  if (ok && infinity != 0) return check(x, lph_buf_puts(out, infinity > 0 ? "infinity" : "-infinity"));
  ok = ok && read_int(L, at, "year", has_date ? 1e16 : 0, &year) && read_int(L, at, "month", 1, &month) &&
       read_int(L, at, "day", 1, &day) && read_int(L, at, "hour", 0, &hour) && read_int(L, at, "min", 0, &min) &&
       read_int(L, at, "sec", 0, &sec) && read_int(L, at, "us", 0, &us) && read_int(L, at, "offset", 0, &offset) &&
       read_int(L, at, "months", 0, &months) && read_int(L, at, "days", 0, &days);
  if (!ok)
    return lvalue_refuse(x, "expected the fields year, month, day, hour, min, sec, us (interval: months, days, us) as numbers");
  lph_datetime d = {.year = (int32_t)year, .month = (int32_t)month, .day = (int32_t)day, .hour = (int32_t)hour,
                    .minute = (int32_t)min, .second = (int32_t)sec, .us = (int32_t)us, .offset_s = (int32_t)offset,
                    .months = (int32_t)months, .days = (int32_t)days, .time_us = (int64_t)us};
  if (type->kind == LPH_TIME || type->kind == LPH_TIMETZ)
    d.time_us = (((int64_t)hour * 60 + (int64_t)min) * 60 + (int64_t)sec) * 1000000 + (int64_t)us;
  lph_err rc = lph_datetime_write(type, &d, out);
  if (rc == LPH_ENOMEM) return lph_error_oom(x->error);
  return rc == LPH_OK ? LPH_OK : lvalue_refuse(x, "these fields are not a date or time PostgreSQL can hold");
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
    case LPH_INTERVAL: return put_datetime(L, x, at, type, out);
    default:
      return lvalue_refuse(x, "expected a single value, got a table (luphant.json(t) sends it as JSON text)");
  }
}
