/* ldate.c - Lua table -> date, time, timestamp or interval: the form that datetime = "table" gives, and what
 * os.date("*t") gives.
 *
 * A date whose fields are not all understood would be another date: nothing is guessed, rounded or
 * passed over.
 *
 * SPDX-License-Identifier: MIT */
#include <math.h>
#include <stdio.h>

#include "bind/ltable.h"

enum { YEAR, MONTH, DAY, HOUR, MIN, SEC, US, OFFSET, MONTHS, DAYS, INFINITE, FIELDS };
static const char *const field_names[FIELDS] = {"year", "month",  "day",    "hour", "min",     "sec",
                                                "us",   "offset", "months", "days", "infinity"};

/* Whole numbers only; on LuaJIT the microseconds of a long interval are a decimal string, as they were read. */
static bool read_whole(lua_State *L, int at, bool digits, int64_t *to) {
  if (digits && lua_type(L, at) == LUA_TSTRING) {
    lph_bytes text;
    text.data = lua_tolstring(L, at, &text.len);
    return lph_parse_int8(text, to);
  }
  if (lua_type(L, at) != LUA_TNUMBER) return false;
  double number = lua_tonumber(L, at);
  bool is_integer = lua_isinteger(L, at);
  if (!is_integer && !(number == floor(number) && fabs(number) < 9.2e18)) return false;
  *to = is_integer ? (int64_t)lua_tointeger(L, at) : (int64_t)number;
  return true;
}

/* Reads the fields that are there; `seen` has a bit for each. Those of os.date("*t") without a meaning to
 * PostgreSQL are passed over, unknown ones refused: they are misspelt. */
static lph_err read_fields(lua_State *L, lvalue *x, int at, int64_t value[FIELDS], unsigned *seen) {
  char why[160];
  *seen = 0;
  lua_pushnil(L);
  for (; lua_next(L, at) != 0; lua_pop(L, 1)) {
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : luaL_typename(L, -2);
    int i = 0;
    while (i < FIELDS && strcmp(field_names[i], name) != 0) i++;
    if (i < FIELDS && read_whole(L, lua_gettop(L), i == US, &value[i])) {
      *seen |= 1u << i;
      continue;
    }
    bool of_os_date = strcmp(name, "wday") == 0 || strcmp(name, "yday") == 0 || strcmp(name, "isdst") == 0;
    if (of_os_date) continue;
    snprintf(why, sizeof why,
             i < FIELDS ? "field \"%.80s\": expected a whole number (fractions of seconds go into us)"
                        : "has no field \"%.80s\"",
             name);
    lua_pop(L, 2);
    return lvalue_refuse(x, why);
  }
  return LPH_OK;
}

static bool in_int32(const int64_t value[FIELDS]) {
  for (int i = 0; i < FIELDS; i++)
    if (i != US && (value[i] < INT32_MIN || value[i] > INT32_MAX)) return false;
  return true;
}

lph_err ldate_put(lua_State *L, lvalue *x, int at, const lph_type *type, lph_buf *out) {
  int64_t v[FIELDS] = {[MONTH] = 1, [DAY] = 1};
  unsigned seen, span = 1u << MONTHS | 1u << DAYS | 1u << US;
  lph_err rc = read_fields(L, x, at, v, &seen);
  if (rc != LPH_OK) return rc;
  bool is_clock = type->kind == LPH_TIME || type->kind == LPH_TIMETZ, is_span = type->kind == LPH_INTERVAL;
  if (v[INFINITE] == 0 && is_span && (seen == 0 || (seen & ~span & ~(1u << INFINITE)) != 0))
    return lvalue_refuse(x, "an interval has the fields months, days and us (microseconds)");
  if (v[INFINITE] == 0 && !is_span && (seen & (is_clock ? 1u << HOUR : 1u << YEAR)) == 0)
    return lvalue_refuse(x, is_clock
                              ? "expected the fields hour, min, sec, us; there is no hour"
                              : "expected the fields year, month, day, hour, min, sec, us; there is no year");
  if (!is_span && (seen & (1u << MONTHS | 1u << DAYS)) != 0)
    return lvalue_refuse(x, "months and days are fields of an interval; those of a date are month and day");
  bool fits = in_int32(v) && (is_span || (v[US] >= 0 && v[US] <= 999999));
  lph_datetime d = {.infinity = (v[INFINITE] > 0) - (v[INFINITE] < 0)};
  if (fits) {
    d.year = (int32_t)v[YEAR], d.month = (int32_t)v[MONTH], d.day = (int32_t)v[DAY];
    d.hour = (int32_t)v[HOUR], d.minute = (int32_t)v[MIN], d.second = (int32_t)v[SEC];
    d.us = is_span ? 0 : (int32_t)v[US], d.offset_s = (int32_t)v[OFFSET];
    d.months = (int32_t)v[MONTHS], d.days = (int32_t)v[DAYS], d.time_us = v[US];
    rc = lph_datetime_write(type, &d, out);
  }
  if (rc == LPH_ENOMEM) return lph_error_oom(x->error);
  return fits && rc == LPH_OK ? LPH_OK
                              : lvalue_refuse(x, "these fields are not a date or time PostgreSQL can hold");
}
