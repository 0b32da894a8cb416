/* lcompound.c - see lcompound.h.
 *
 *   array       sequence, nested for more dimensions; NULL elements are luphant.NULL; lower bounds other
 *               than 1 are kept in the metatable ({ lower = { 0 } })
 *   composite   table keyed by field name, NULL fields absent
 *   record      sequence (its fields have no names)
 *   range       { lower =, upper =, bounds = "[)" }, an absent bound is infinite; { empty = true }
 *   multirange  sequence of ranges
 *   hstore      table, NULL values are luphant.NULL
 *
 * Readers of text forms own a scratch buffer, so they live in a box; readers of binary forms only
 * point into the result and may live on the C stack.
 *
 * SPDX-License-Identifier: MIT */
#include "bind/lcompound.h"

#include "bind/lbox.h"
#include "bind/ljson.h"

typedef struct reader {
  lph_kind kind;
  union {
    lph_array_reader array;
    lph_row_reader row;
    lph_range range;
    lph_multirange_reader multirange;
    lph_hstore_reader hstore;
  } as;
} reader;

static void reader_close(reader *r) {
  switch (r->kind) {
    case LPH_ARRAY: lph_array_close(&r->as.array); break;
    case LPH_COMPOSITE:
    case LPH_RECORD: lph_row_close(&r->as.row); break;
    case LPH_RANGE: lph_range_close(&r->as.range); break;
    case LPH_HSTORE: lph_hstore_close(&r->as.hstore); break;
    default: break;
  }
}

static const lbox_class reader_class;

static int lreader__gc(lua_State *L) {
  reader_close(lbox_self(L, 1, &reader_class));
  return 0;
}

static const luaL_Reg reader_meta[] = {{"__gc", lreader__gc}, {NULL, NULL}};
static const lbox_class reader_class = {"luphant.core.reader", NULL, reader_meta};

void lcompound_open(lua_State *L) { lbox_open(L, &reader_class); }

static bool fail(lcell *x, const char *why) {
  x->why = why;
  return false;
}

static bool malformed(lcell *x) { return fail(x, "the bytes from the server are not a value of this type"); }

static bool push_item(lua_State *L, lcell *x, lph_oid oid, lph_bytes item) {
  return lcell_push(L, x, lph_typemap_find(x->types, oid), item.data, item.len);
}

/* ---- arrays ------------------------------------------------------------------------------------------ */

/* array -> array, with { lower = {...} } as metatable where a bound is not 1 */
static void keep_bounds(lua_State *L, const lph_array_reader *r) {
  bool usual = true;
  for (int i = 0; i < r->ndim; i++) usual = usual && r->lower[i] == 1;
  if (usual) return;
  lua_createtable(L, 0, 2);
  lua_pushliteral(L, LJSON_ARRAY);
  lua_setfield(L, -2, "__name");
  lua_createtable(L, r->ndim, 0);
  for (int i = 0; i < r->ndim; i++) {
    lua_pushinteger(L, r->lower[i]);
    lua_rawseti(L, -2, i + 1);
  }
  lua_setfield(L, -2, "lower");
  lua_setmetatable(L, -2);
}

/* The usual arrays of numbers without the detour over lcell_push: a loop body of a dozen instructions instead of
 * two hundred. array -> array, filled when all its elements are such numbers; else as it was. */
static void push_numbers(lua_State *L, const lcell *x, const lph_type *elem, lph_array_reader *r) {
  int width = elem->kind == LPH_INT2 ? 2 : elem->kind == LPH_INT4 ? 4 : elem->kind == LPH_FLOAT8 ? 8 : 0;
  int count;
  const char *p = width == 0 || x->codecs != 0 ? NULL : lph_array_run(r, width, &count);
  if (p == NULL) return;
  for (int i = 1; i <= count; i++, p += width + 4) {
    if (width == 8) {
      uint64_t bits = lph_get_u64(p);
      double v;
      memcpy(&v, &bits, sizeof v);
      lua_pushnumber(L, v);
    } else {
      lua_pushinteger(L, width == 4 ? (int32_t)lph_get_u32(p) : (int16_t)lph_get_u16(p));
    }
    lua_rawseti(L, -2, i);
  }
}

static bool push_array(lua_State *L, lcell *x, const lph_type *type, lph_array_reader *r) {
  const lph_type *elem = lph_typemap_find(x->types, r->elem != 0 ? r->elem : type->elem);
  int depth = 0;
  int counts[LPH_ARRAY_MAX_DIM];
  for (;;) {
    switch (lph_array_next(r)) {
      case LPH_ARRAY_OPEN:
        if (depth == LPH_ARRAY_MAX_DIM) return malformed(x);
        lua_createtable(
          L, depth < r->ndim && r->size[depth] > 0 && r->size[depth] < 65536 ? r->size[depth] : 0, 0);
        counts[depth++] = 0;
        if (elem != NULL && x->binary) push_numbers(L, x, elem, r);
        break;
      case LPH_ARRAY_CLOSE:
        if (--depth > 0) lua_rawseti(L, -2, ++counts[depth - 1]);
        break;
      case LPH_ARRAY_ITEM:
        if (!lcell_push(L, x, elem, r->item.data, r->item.len)) return false;
        lua_rawseti(L, -2, ++counts[depth - 1]);
        break;
      case LPH_ARRAY_NULL:
        lcell_push_null(L);
        lua_rawseti(L, -2, ++counts[depth - 1]);
        break;
      case LPH_ARRAY_END: keep_bounds(L, r); return true;
      case LPH_ARRAY_BAD: return malformed(x);
    }
  }
}

/* ---- composites --------------------------------------------------------------------------------------- */

static bool push_record(lua_State *L, lcell *x, lph_row_reader *r) {
  lua_newtable(L);
  int more;
  for (int i = 1; (more = lph_row_next(r)) > 0; i++) {
    if (r->is_null) {
      lcell_push_null(L);
    } else {
      const lph_type *field = lph_typemap_find(x->types, r->field_type);
      /* Nobody could say so beforehand: what a record is made of is in the value alone. */
      if (field == NULL || !lph_type_has_binary(x->types, field))
        return fail(
          x, "a field of this record has a type that is not built in or known as text only; cast the row to "
             "a composite type, or the field to text");
      if (!lcell_push(L, x, field, r->item.data, r->item.len)) return false;
    }
    lua_rawseti(L, -2, i);
  }
  return more < 0 ? malformed(x) : true;
}

/* A value that does not have the fields we know was made after the type was changed: what is in it must not end up
 * under other names. */
static bool changed(lcell *x) {
  x->outdated = true;
  return fail(
    x, "this composite type was changed after it had been looked up; it will be looked up anew: run the "
       "statement again");
}

static bool push_composite(lua_State *L, lcell *x, const lph_type *type, lph_row_reader *r) {
  lua_newtable(L);
  int more, i = 0;
  for (; (more = lph_row_next(r)) > 0; i++) {
    bool no_fields = type->field_count == 0 && !x->binary && i == 0 && r->is_null;
    if (no_fields) return true; /* its "()" reads like one NULL */
    if (i >= type->field_count) return changed(x);
    const lph_field *field = &type->fields[i];
    if (x->binary && r->field_type != field->type) return changed(x);
    if (r->is_null) continue;
    if (!push_item(L, x, field->type, r->item)) return false;
    lua_setfield(L, -2, field->name);
  }
  if (more < 0) return malformed(x);
  return i == type->field_count ? true : changed(x);
}

/* ---- ranges --------------------------------------------------------------------------------------------- */

static bool push_bound(lua_State *L, lcell *x, const lph_type *type, const char *key, bool infinite,
                       lph_bytes item) {
  if (infinite) return true;
  if (!push_item(L, x, type->elem, item)) return false;
  lua_setfield(L, -2, key);
  return true;
}

static bool push_range(lua_State *L, lcell *x, const lph_type *type, const lph_range *r) {
  lua_createtable(L, 0, 3);
  if (r->empty) {
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "empty");
    return true;
  }
  if (!push_bound(L, x, type, "lower", r->lower_inf, r->lower)) return false;
  if (!push_bound(L, x, type, "upper", r->upper_inf, r->upper)) return false;
  char bounds[2] = {r->lower_inc ? '[' : '(', r->upper_inc ? ']' : ')'};
  lua_pushlstring(L, bounds, 2);
  lua_setfield(L, -2, "bounds");
  return true;
}

static bool push_multirange(lua_State *L, lcell *x, const lph_type *type, lph_multirange_reader *r) {
  lua_newtable(L);
  int more;
  for (int i = 1; (more = lph_multirange_next(r)) > 0; i++) {
    if (!push_item(L, x, type->elem, r->item)) return false;
    lua_rawseti(L, -2, i);
  }
  return more < 0 ? malformed(x) : true;
}

/* ---- hstore ----------------------------------------------------------------------------------------------- */

static bool push_hstore(lua_State *L, lcell *x, lph_hstore_reader *r) {
  lua_newtable(L);
  int more;
  while ((more = lph_hstore_next(r)) > 0) {
    lua_pushlstring(L, r->key.data, r->key.len);
    if (r->is_null) {
      lcell_push_null(L);
    } else {
      lua_pushlstring(L, r->value.data, r->value.len);
    }
    lua_rawset(L, -3);
  }
  return more < 0 ? malformed(x) : true;
}

/* ---- all ------------------------------------------------------------------------------------------------------ */

static bool reader_open(reader *r, const lph_type *type, lph_bytes in, bool binary) {
  r->kind = (lph_kind)type->kind;
  switch (r->kind) {
    case LPH_ARRAY: return lph_array_open(&r->as.array, in, binary, type->delim) == LPH_OK;
    case LPH_COMPOSITE:
    case LPH_RECORD: return lph_row_open(&r->as.row, in, binary) == LPH_OK;
    case LPH_RANGE: return lph_range_read(&r->as.range, in, binary) == LPH_OK;
    case LPH_MULTIRANGE: return lph_multirange_open(&r->as.multirange, in, binary) == LPH_OK;
    default: return lph_hstore_open(&r->as.hstore, in, binary) == LPH_OK;
  }
}

static bool push_value(lua_State *L, lcell *x, const lph_type *type, reader *r) {
  switch (r->kind) {
    case LPH_ARRAY: return push_array(L, x, type, &r->as.array);
    case LPH_COMPOSITE: return push_composite(L, x, type, &r->as.row);
    case LPH_RECORD: return push_record(L, x, &r->as.row);
    case LPH_RANGE: return push_range(L, x, type, &r->as.range);
    case LPH_MULTIRANGE: return push_multirange(L, x, type, &r->as.multirange);
    default: return push_hstore(L, x, &r->as.hstore);
  }
}

bool lcompound_push(lua_State *L, lcell *x, const lph_type *type, const char *data, size_t len) {
  if (!x->binary && type->kind == LPH_RECORD) { /* its text does not say what the fields are */
    lua_pushlstring(L, data, len);
    return true;
  }
  if (x->depth == LCOMPOUND_DEPTH) return fail(x, "the value is nested too deeply");
  luaL_checkstack(L, 16, "nested value");
  int top = lua_gettop(L);
  reader on_stack = {0};
  reader *r = x->binary ? &on_stack : lbox_new(L, &reader_class, sizeof *r);
  x->depth++;
  bool ok = reader_open(r, type, (lph_bytes){data, len}, x->binary) ? push_value(L, x, type, r)
                                                                    : malformed(x);
  x->depth--;
  reader_close(r);
  if (!ok) {
    lua_settop(L, top);
  } else if (!x->binary) {
    lua_replace(L, top + 1); /* box value -> value */
  }
  return ok;
}
