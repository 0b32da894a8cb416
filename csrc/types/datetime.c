/* datetime.c - dates and times taken apart and put together, and their ISO text read.
 *
 * Reads exactly what the server writes with DateStyle ISO and IntervalStyle postgres, any offset.
 * It is no parser for what people type: text in another DateStyle or IntervalStyle is LPH_EFORMAT
 * (none of them can be mistaken for ISO: here a year has four digits or more and comes first, and
 * a number in an interval has a unit behind it). The binary form is read in datewire.c.
 *
 * SPDX-License-Identifier: MIT */
#include "types/calendar.h"

/* ---- text, piece by piece ------------------------------------------------------------------------ */

typedef struct cursor {
  const char *p, *end;
} cursor;

static bool skip(cursor *c, char ch) {
  if (c->p == c->end || *c->p != ch) return false;
  c->p++;
  return true;
}

static bool skip_word(cursor *c, const char *word) {
  size_t len = strlen(word);
  if ((size_t)(c->end - c->p) < len || memcmp(c->p, word, len) != 0) return false;
  c->p += len;
  return true;
}

/* `min` to `max` digits, all that are there; max <= 10. */
static bool take_number(cursor *c, int min, int max, int64_t *value) {
  int n = 0;
  int64_t v = 0;
  for (; c->p < c->end && *c->p >= '0' && *c->p <= '9'; c->p++, n++) {
    if (n == max) return false;
    v = v * 10 + (*c->p - '0');
  }
  *value = v;
  return n >= min;
}

static bool take2(cursor *c, int32_t *value) {
  int64_t v;
  if (!take_number(c, 2, 2, &v)) return false;
  *value = (int32_t)v;
  return true;
}

static bool take_civil(cursor *c, lph_civil *date) {
  int64_t year;
  if (!take_number(c, 4, 7, &year) || year == 0) return false;
  date->year = (int32_t)year;
  return skip(c, '-') && take2(c, &date->month) && skip(c, '-') && take2(c, &date->day);
}

/* ":MM:SS[.f to .ffffff]", behind the hour. */
static bool take_below_hour(cursor *c, lph_datetime *out) {
  if (!skip(c, ':') || !take2(c, &out->minute)) return false;
  if (!skip(c, ':') || !take2(c, &out->second)) return false;
  if (out->minute > 59 || out->second > 59) return false;
  out->us = 0;
  if (!skip(c, '.')) return true;
  const char *start = c->p;
  int64_t us;
  if (!take_number(c, 1, 6, &us)) return false;
  for (ptrdiff_t n = c->p - start; n < 6; n++) us *= 10;
  out->us = (int32_t)us;
  return true;
}

static bool take_clock(cursor *c, lph_datetime *out) {
  if (!take2(c, &out->hour) || !take_below_hour(c, out)) return false;
  return out->hour < 24 || (out->hour == 24 && out->minute == 0 && out->second == 0 && out->us == 0);
}

static bool take_offset(cursor *c, int32_t *offset_s) {
  bool west = skip(c, '-');
  if (!west && !skip(c, '+')) return false;
  int32_t hour, minute = 0, second = 0;
  if (!take2(c, &hour)) return false;
  if (skip(c, ':')) {
    if (!take2(c, &minute)) return false;
    if (skip(c, ':') && !take2(c, &second)) return false;
  }
  if (minute > 59 || second > 59) return false;
  int32_t abs = hour * 3600 + minute * 60 + second;
  *offset_s = west ? -abs : abs;
  return abs < LPH_OFFSET_END;
}

static int32_t second_of_day(const lph_datetime *d) { return d->hour * 3600 + d->minute * 60 + d->second; }

/* ---- a whole text -------------------------------------------------------------------------------- */

static bool read_infinity(lph_bytes in, lph_datetime *out) {
  if (in.len == 8 && memcmp(in.data, "infinity", 8) == 0) out->infinity = 1;
  if (in.len == 9 && memcmp(in.data, "-infinity", 9) == 0) out->infinity = -1;
  return out->infinity != 0;
}

/* date, timestamp, timestamptz */
static bool read_dated(lph_kind kind, cursor *c, lph_datetime *out) {
  lph_civil date;
  if (!take_civil(c, &date)) return false;
  if (kind != LPH_DATE && !(skip(c, ' ') && take_clock(c, out) && out->hour < 24)) return false;
  if (kind == LPH_TIMESTAMPTZ && !take_offset(c, &out->offset_s)) return false;
  if (skip_word(c, " BC")) date.year = 1 - date.year;
  if (c->p != c->end) return false;
  /* The range holds for UTC: east of it the local date may lie a day past the end, */
  int64_t end = kind == LPH_DATE ? LPH_JD_DATE_END : LPH_JD_STAMP_END + 1;
  int64_t jd = lph_jd_from_civil(date, end);
  if (jd < 0) {
    /* west of it a day before the start, which is -1 as a day number, too. */
    bool eve = date.year == -4713 && date.month == 11 && date.day == 23;
    if (!eve || kind != LPH_TIMESTAMPTZ) return false;
  }
  int64_t epoch_s = (jd - LPH_JD_UNIX) * LPH_DAY_S + second_of_day(out) - out->offset_s;
  if (lph_datetime_from_epoch(epoch_s, out->us, out) != LPH_OK) return false;
  return kind == LPH_DATE || epoch_s < (LPH_JD_STAMP_END - (int64_t)LPH_JD_UNIX) * LPH_DAY_S;
}

static bool read_clock(lph_kind kind, cursor *c, lph_datetime *out) {
  if (!take_clock(c, out)) return false;
  if (kind == LPH_TIMETZ && !take_offset(c, &out->offset_s)) return false;
  out->time_us = second_of_day(out) * INT64_C(1000000) + out->us;
  return c->p == c->end;
}

/* "[-]HH:MM:SS[.ffffff]" of an interval: two digits of hours or more, up to 2562047788. */
static bool read_span_clock(cursor *c, bool minus, int64_t hour, int64_t *time_us) {
  lph_datetime below = {0};
  if (!take_below_hour(c, &below) || hour > 2562047788) return false;
  uint64_t us = (uint64_t)(hour * 3600 + below.minute * 60 + below.second) * 1000000 + (uint64_t)below.us;
  if (us > (uint64_t)INT64_MAX + minus) return false;
  *time_us = minus ? (int64_t)(0 - us) : (int64_t)us;
  return c->p == c->end;
}

static bool fits_int32(int64_t v) { return v >= INT32_MIN && v <= INT32_MAX; }

static bool read_interval(cursor *c, lph_datetime *out) {
  static const char *const units[] = {"year", "mon", "day"};
  int64_t part[3] = {0};
  size_t next = 0;
  for (bool more = true; more; more = c->p < c->end) {
    bool first = next == 0;
    if (!first && !skip(c, ' ')) return false;
    bool minus = skip(c, '-');
    if (!minus) skip(c, '+');
    const char *start = c->p;
    int64_t value;
    if (!take_number(c, 1, 10, &value)) return false;
    if (c->p < c->end && *c->p == ':') {
      if (c->p - start < 2 || !read_span_clock(c, minus, value, &out->time_us)) return false;
      break;
    }
    if (!skip(c, ' ')) return false;
    while (next < lph_countof(units) && !skip_word(c, units[next])) next++;
    if (next == lph_countof(units)) return false;
    skip(c, 's');
    part[next++] = minus ? -value : value;
  }
  int64_t months = part[0] * 12 + part[1];
  if (!fits_int32(months) || !fits_int32(part[2])) return false;
  out->months = (int32_t)months;
  out->days = (int32_t)part[2];
  return true;
}

static bool read_text(lph_kind kind, lph_bytes in, lph_datetime *out) {
  bool is_clock = kind == LPH_TIME || kind == LPH_TIMETZ;
  if (!is_clock && read_infinity(in, out)) return true;
  cursor c = {in.data, in.data + in.len};
  if (is_clock) return read_clock(kind, &c, out);
  if (kind == LPH_INTERVAL) return read_interval(&c, out);
  return read_dated(kind, &c, out);
}

static bool is_datetime(lph_kind kind) { return kind >= LPH_DATE && kind <= LPH_INTERVAL; }

lph_err lph_datetime_read(const lph_type *type, lph_bytes in, bool binary, lph_datetime *out) {
  lph_kind kind = (lph_kind)type->kind;
  *out = (lph_datetime){0};
  if (!is_datetime(kind) || in.len == 0) return LPH_EFORMAT;
  if (binary) return lph_datetime_from_wire(kind, in, out);
  return read_text(kind, in, out) ? LPH_OK : LPH_EFORMAT;
}

lph_err lph_datetime_from_epoch(int64_t epoch_s, int32_t us, lph_datetime *out) {
  const int64_t shift = LPH_JD_UNIX * (int64_t)LPH_DAY_S;
  const int64_t end = LPH_JD_DATE_END * (int64_t)LPH_DAY_S;
  *out = (lph_datetime){0};
  if (us < 0 || us > 999999 || epoch_s < -shift || epoch_s >= end - shift) return LPH_ERANGE;
  uint64_t seconds = (uint64_t)(epoch_s + shift);
  lph_civil date = lph_civil_from_jd((uint32_t)(seconds / LPH_DAY_S));
  int32_t rest = (int32_t)(seconds % LPH_DAY_S);
  *out = (lph_datetime){.epoch_s = epoch_s, .year = date.year, .month = date.month, .day = date.day};
  out->hour = rest / 3600;
  out->minute = rest / 60 % 60;
  out->second = rest % 60;
  out->us = us;
  return LPH_OK;
}

/* ---- fields -> text ------------------------------------------------------------------------------ */

/* As the server we take 24:00:00 and a second 60, which becomes the next minute. */
static bool is_clock_valid(const lph_datetime *d) {
  if (d->hour < 0 || d->minute < 0 || d->minute > 59 || d->second < 0 || d->us < 0 || d->us > 999999)
    return false;
  if (d->second == 60 ? d->us != 0 : d->second > 60) return false;
  return d->hour < 24 || (d->hour == 24 && d->minute == 0 && d->second == 0 && d->us == 0);
}

static bool is_offset_valid(int32_t offset_s) {
  return offset_s > -LPH_OFFSET_END && offset_s < LPH_OFFSET_END;
}

static lph_err write_fields(lph_kind kind, const lph_datetime *in, lph_buf *out) {
  bool has_date = kind == LPH_DATE || kind == LPH_TIMESTAMP || kind == LPH_TIMESTAMPTZ;
  bool has_zone = kind == LPH_TIMETZ || kind == LPH_TIMESTAMPTZ;
  lph_civil date = {in->year, in->month, in->day};
  if (has_date && lph_jd_from_civil(date, kind == LPH_DATE ? LPH_JD_DATE_END : LPH_JD_STAMP_END) < 0)
    return LPH_ERANGE;
  if (kind != LPH_DATE && !is_clock_valid(in)) return LPH_ERANGE;
  if (has_zone && !is_offset_valid(in->offset_s)) return LPH_ERANGE;
  if (lph_buf_reserve(out, LPH_ISO_MAX) != LPH_OK) return LPH_ENOMEM;
  char *p = out->data + out->len;
  if (has_date) p = lph_put_civil(p, date);
  if (has_date && kind != LPH_DATE) *p++ = ' ';
  if (kind != LPH_DATE) p = lph_put_clock(p, (uint32_t)second_of_day(in), (uint32_t)in->us);
  if (has_zone) p = lph_put_offset(p, in->offset_s);
  if (has_date) p = lph_put_bc(p, date);
  out->len = (size_t)(p - out->data);
  return LPH_OK;
}

lph_err lph_datetime_write(const lph_type *type, const lph_datetime *in, lph_buf *out) {
  lph_kind kind = (lph_kind)type->kind;
  if (!is_datetime(kind)) return LPH_ETYPE;
  if (in->infinity != 0) {
    if (kind == LPH_TIME || kind == LPH_TIMETZ) return LPH_ERANGE;
    return lph_buf_puts(out, in->infinity > 0 ? "infinity" : "-infinity");
  }
  if (kind == LPH_INTERVAL) return lph_interval_put(in->months, in->days, in->time_us, out);
  return write_fields(kind, in, out);
}

/* ---- timestamptz text in UTC --------------------------------------------------------------------- */

/* Servers whose TimeZone is UTC write "+00" themselves; no other offset ends in these three bytes. */
static bool is_utc(lph_bytes text) {
  if (text.len < sizeof "2000-01-01 00:00:00+00" - 1) return false;
  const char *end = text.data + text.len;
  if (memcmp(end - 3, " BC", 3) == 0) end -= 3;
  return memcmp(end - 3, "+00", 3) == 0;
}

lph_err lph_timestamptz_to_utc(lph_bytes text, lph_buf *out) {
  static const lph_type timestamptz = {.kind = LPH_TIMESTAMPTZ};
  if (LPH_LIKELY(is_utc(text))) return lph_buf_add(out, text.data, text.len);
  lph_datetime d;
  lph_err rc = lph_datetime_read(&timestamptz, text, false, &d);
  return rc != LPH_OK ? rc : lph_datetime_write(&timestamptz, &d, out);
}
