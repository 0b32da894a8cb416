/* datewire.c - dates and times in binary form -> ISO text, or taken apart.
 *
 * The text is what the server prints with DateStyle ISO, TimeZone UTC and IntervalStyle postgres.
 * The wire is not trusted: lengths are exact and every number is brought into the server's own
 * range before anything is computed with it, so no sum can overflow. Reading text and writing
 * taken-apart values is datetime.c's.
 *
 * SPDX-License-Identifier: MIT */
#include "types/calendar.h"

/* Timestamps count from 2000; counted from Julian day 0 the valid ones are 0 to STAMP_SPAN - 1. */
#define STAMP_SHIFT (LPH_JD_PG * (uint64_t)LPH_DAY_US)
#define STAMP_SPAN (LPH_JD_STAMP_END * (uint64_t)LPH_DAY_US)

typedef struct instant {
  int infinity;
  uint32_t jd, second_of_day, us;
} instant;

static bool read_date(lph_bytes in, instant *at) {
  if (in.len != 4) return false;
  int32_t days = (int32_t)lph_get_u32(in.data);
  *at = (instant){0};
  if (days == INT32_MAX || days == INT32_MIN) {
    at->infinity = days > 0 ? 1 : -1;
    return true;
  }
  int64_t jd = (int64_t)days + LPH_JD_PG;
  at->jd = (uint32_t)jd;
  return jd >= 0 && jd < LPH_JD_DATE_END;
}

static bool read_stamp(lph_bytes in, instant *at) {
  if (in.len != 8) return false;
  uint64_t wire = lph_get_u64(in.data);
  *at = (instant){0};
  if (LPH_UNLIKELY(wire == INT64_MAX || wire == (uint64_t)INT64_MIN)) {
    at->infinity = wire == INT64_MAX ? 1 : -1;
    return true;
  }
  /* Unsigned wrap-around puts everything before day 0 far above the span: one comparison. */
  uint64_t us = wire + STAMP_SHIFT;
  if (us >= STAMP_SPAN) return false;
  at->jd = (uint32_t)(us / (uint64_t)LPH_DAY_US);
  us %= (uint64_t)LPH_DAY_US;
  at->second_of_day = (uint32_t)(us / 1000000);
  at->us = (uint32_t)(us % 1000000);
  return true;
}

/* time and timetz; 24:00:00 is a value of both. */
static bool read_clock(lph_bytes in, bool with_zone, uint64_t *us, int32_t *offset_s) {
  if (in.len != (with_zone ? 12 : 8)) return false;
  *us = lph_get_u64(in.data);
  /* The wire counts west, ISO counts east. Subtraction from zero as unsigned: INT32_MIN is no trap. */
  *offset_s = with_zone ? (int32_t)(0 - lph_get_u32(in.data + 8)) : 0;
  return *us <= (uint64_t)LPH_DAY_US && *offset_s > -LPH_OFFSET_END && *offset_s < LPH_OFFSET_END;
}

typedef struct span {
  int infinity;
  int64_t us;
  int32_t days, months;
} span;

static bool read_span(lph_bytes in, span *s) {
  if (in.len != 16) return false;
  s->us = (int64_t)lph_get_u64(in.data);
  s->days = (int32_t)lph_get_u32(in.data + 8);
  s->months = (int32_t)lph_get_u32(in.data + 12);
  /* From PostgreSQL 17 on all three at their end mean infinity. Before it such an interval can
   * exist, but nobody computes one of 178 million years and 2 billion days to the microsecond. */
  bool top = s->us == INT64_MAX && s->days == INT32_MAX && s->months == INT32_MAX;
  bool bottom = s->us == INT64_MIN && s->days == INT32_MIN && s->months == INT32_MIN;
  s->infinity = top - bottom;
  return true;
}

/* ---- text ---------------------------------------------------------------------------------------- */

static lph_err put_infinity(int sign, lph_buf *out) {
  return lph_buf_puts(out, sign > 0 ? "infinity" : "-infinity");
}

static void close_at(lph_buf *out, const char *p) { out->len = (size_t)(p - out->data); }

lph_err lph_date_text(lph_bytes in, lph_buf *out) {
  instant at;
  if (!read_date(in, &at)) return LPH_EFORMAT;
  if (at.infinity != 0) return put_infinity(at.infinity, out);
  if (lph_buf_reserve(out, LPH_ISO_MAX) != LPH_OK) return LPH_ENOMEM;
  lph_civil date = lph_civil_from_jd(at.jd);
  close_at(out, lph_put_bc(lph_put_civil(out->data + out->len, date), date));
  return LPH_OK;
}

lph_err lph_time_text(lph_bytes in, lph_buf *out) {
  uint64_t us;
  int32_t offset_s;
  if (!read_clock(in, false, &us, &offset_s)) return LPH_EFORMAT;
  if (lph_buf_reserve(out, LPH_ISO_MAX) != LPH_OK) return LPH_ENOMEM;
  close_at(out, lph_put_clock(out->data + out->len, (uint32_t)(us / 1000000), (uint32_t)(us % 1000000)));
  return LPH_OK;
}

lph_err lph_timetz_text(lph_bytes in, lph_buf *out) {
  uint64_t us;
  int32_t offset_s;
  if (!read_clock(in, true, &us, &offset_s)) return LPH_EFORMAT;
  if (lph_buf_reserve(out, LPH_ISO_MAX) != LPH_OK) return LPH_ENOMEM;
  char *p = out->data + out->len;
  p = lph_put_clock(p, (uint32_t)(us / 1000000), (uint32_t)(us % 1000000));
  close_at(out, lph_put_offset(p, offset_s));
  return LPH_OK;
}

static inline lph_err stamp_text(lph_bytes in, bool utc, lph_buf *out) {
  instant at;
  if (!read_stamp(in, &at)) return LPH_EFORMAT;
  if (LPH_UNLIKELY(at.infinity != 0)) return put_infinity(at.infinity, out);
  if (lph_buf_reserve(out, LPH_ISO_MAX) != LPH_OK) return LPH_ENOMEM;
  lph_civil date = lph_civil_from_jd(at.jd);
  char *p = lph_put_civil(out->data + out->len, date);
  *p++ = ' ';
  p = lph_put_clock(p, at.second_of_day, at.us);
  if (utc) {
    memcpy(p, "+00", 3);
    p += 3;
  }
  close_at(out, lph_put_bc(p, date));
  return LPH_OK;
}

lph_err lph_timestamp_text(lph_bytes in, lph_buf *out) { return stamp_text(in, false, out); }

lph_err lph_timestamptz_text(lph_bytes in, lph_buf *out) { return stamp_text(in, true, out); }

/* The server's habit, kept to the letter: "year", "mon", "day" with s for all but 1 (-1 has it), and
 * a plus sign on whatever follows a negative part. */
typedef struct parts {
  char *p;
  bool any, after_minus;
} parts;

static void put_part(parts *w, int32_t value, const char *unit) {
  if (value == 0) return;
  char *p = w->p;
  if (w->any) *p++ = ' ';
  if (value < 0)
    *p++ = '-';
  else if (w->after_minus)
    *p++ = '+';
  p += lph_put_digits(p, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
  *p++ = ' ';
  size_t len = strlen(unit);
  memcpy(p, unit, len);
  p += len;
  if (value != 1) *p++ = 's';
  *w = (parts){.p = p, .any = true, .after_minus = value < 0};
}

lph_err lph_interval_put(int32_t months, int32_t days, int64_t us, lph_buf *out) {
  /* "-178956970 years -8 mons -2147483648 days -2562047788:00:54.775808" is 67 */
  if (lph_buf_reserve(out, 80) != LPH_OK) return LPH_ENOMEM;
  parts w = {.p = out->data + out->len};
  put_part(&w, months / 12, "year");
  put_part(&w, months % 12, "mon");
  put_part(&w, days, "day");
  char *p = w.p;
  if (us != 0 || !w.any) {
    if (w.any) *p++ = ' ';
    if (us < 0)
      *p++ = '-';
    else if (w.after_minus)
      *p++ = '+';
    uint64_t abs = us < 0 ? 0 - (uint64_t)us : (uint64_t)us;
    uint64_t seconds = abs / 1000000;
    if (seconds < 36000) *p++ = '0';
    p += lph_put_digits(p, seconds / 3600);
    *p++ = ':';
    p = lph_put2(p, (uint32_t)(seconds / 60 % 60));
    p = lph_put_seconds(p, (uint32_t)(seconds % 60), (uint32_t)(abs % 1000000));
  }
  close_at(out, p);
  return LPH_OK;
}

lph_err lph_interval_text(lph_bytes in, lph_buf *out) {
  span s;
  if (!read_span(in, &s)) return LPH_EFORMAT;
  if (s.infinity != 0) return put_infinity(s.infinity, out);
  return lph_interval_put(s.months, s.days, s.us, out);
}

/* ---- taken apart --------------------------------------------------------------------------------- */

static void split_clock(uint64_t us, lph_datetime *out) {
  uint32_t second_of_day = (uint32_t)(us / 1000000);
  out->hour = (int32_t)(second_of_day / 3600);
  out->minute = (int32_t)(second_of_day / 60 % 60);
  out->second = (int32_t)(second_of_day % 60);
  out->us = (int32_t)(us % 1000000);
}

static bool split_instant(bool ok, const instant *at, lph_datetime *out) {
  if (!ok) return false;
  out->infinity = at->infinity;
  if (at->infinity != 0) return true;
  int64_t days = (int64_t)at->jd - LPH_JD_UNIX;
  return lph_datetime_from_epoch(days * LPH_DAY_S + at->second_of_day, (int32_t)at->us, out) == LPH_OK;
}

static bool split_span(lph_bytes in, lph_datetime *out) {
  span s;
  if (!read_span(in, &s)) return false;
  out->infinity = s.infinity;
  if (s.infinity != 0) return true;
  out->months = s.months;
  out->days = s.days;
  out->time_us = s.us;
  return true;
}

lph_err lph_datetime_from_wire(lph_kind kind, lph_bytes in, lph_datetime *out) {
  instant at;
  uint64_t us;
  bool ok = false;
  switch (kind) {
    case LPH_DATE: ok = split_instant(read_date(in, &at), &at, out); break;
    case LPH_TIMESTAMP:
    case LPH_TIMESTAMPTZ: ok = split_instant(read_stamp(in, &at), &at, out); break;
    case LPH_TIME:
    case LPH_TIMETZ:
      ok = read_clock(in, kind == LPH_TIMETZ, &us, &out->offset_s);
      if (!ok) break;
      split_clock(us, out);
      out->time_us = (int64_t)us;
      break;
    case LPH_INTERVAL: ok = split_span(in, out); break;
    default: break;
  }
  return ok ? LPH_OK : LPH_EFORMAT;
}
