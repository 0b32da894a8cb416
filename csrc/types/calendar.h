/* calendar.h - day numbers <-> dates and the pieces of ISO text, shared by datetime.c and
 * datewire.c and private to them.
 *
 * Everything counts in Julian day numbers, as the server does: day 0 is 4714-11-24 BC, its first
 * day, so all arithmetic is unsigned and no time_t, time zone table or libc calendar is involved.
 * The functions are inline because every timestamp of a result passes through them.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_CALENDAR_H
#define LPH_CALENDAR_H

#include <string.h>

#include "types/scalar.h"

#define LPH_JD_UNIX 2440588        /* 1970-01-01 */
#define LPH_JD_PG 2451545          /* 2000-01-01, zero of the wire format */
#define LPH_JD_DATE_END 2147483494 /* 5874898-01-01, one past the last date */
#define LPH_JD_STAMP_END 109203528 /* 294277-01-01, one past the last timestamp */
#define LPH_DAY_S 86400
#define LPH_DAY_US INT64_C(86400000000)
#define LPH_OFFSET_END (16 * 3600) /* the server takes offsets up to +-15:59:59 */
#define LPH_ISO_MAX 48 /* "294276-12-31 23:59:59.999999+15:59:59 BC" is 40; a date has 7 year digits */

typedef struct lph_civil {
  int32_t year, month, day; /* astronomical year */
} lph_civil;

/* Years counted from March make the leap day the last one, so that month and day come from one
 * linear formula; the multiply-and-shift constants are exact over the 36525 days of a century, which
 * test_datetime.c counts through day by day. */
static inline lph_civil lph_civil_from_jd(uint32_t jd) {
  uint64_t a = 4 * ((uint64_t)jd + 32044) + 3; /* from 1 March 4801 BC, quarter days */
  uint32_t century = (uint32_t)(a / 146097);
  uint32_t b = ((uint32_t)(a % 146097) | 3);     /* = 4 * day of century + 3 */
  uint64_t c = (uint64_t)2939745 * b;            /* 2939745 = ceil(2^32 / 1461) */
  uint32_t year_day = (uint32_t)c / 2939745 / 4; /* fraction of the year, back in days */
  uint32_t e = 2141 * year_day + 197913;         /* 2141 / 2^16 = 5 months / 153 days */
  bool next = year_day >= 306;                   /* January and February */
  lph_civil date = {
    .year = (int32_t)(100 * century + (uint32_t)(c >> 32)) - 4800 + next,
    .month = (int32_t)(e >> 16) - (next ? 12 : 0),
    .day = (int32_t)((e & 0xffff) / 2141) + 1,
  };
  return date;
}

static inline int32_t lph_month_days(int32_t year, int32_t month) {
  static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return days[month - 1] + (month == 2 && leap);
}

/* -1: no such date, or one before day 0 or at or after `end`. Any three numbers may be given. */
static inline int64_t lph_jd_from_civil(lph_civil date, int64_t end) {
  if (date.year < -4713 || date.year > 5874897 || date.month < 1 || date.month > 12) return -1;
  if (date.day < 1 || date.day > lph_month_days(date.year, date.month)) return -1;
  bool last = date.month <= 2; /* belongs to the year that began in March */
  int64_t year = (int64_t)date.year + 4800 - last;
  int64_t month = date.month + (last ? 9 : -3);
  int64_t jd = date.day + (153 * month + 2) / 5 + 365 * year + year / 4 - year / 100 + year / 400 - 32045;
  return jd < 0 || jd >= end ? -1 : jd;
}

/* ---- digits: each writes at p and answers the place behind ------------------------------------- */

static inline char *lph_put2(char *p, uint32_t v) {
  memcpy(p, lph_digit_pairs + 2 * v, 2);
  return p + 2;
}

/* "YYYY-MM-DD"; " BC" comes last, behind the time, and is up to the caller. */
static inline char *lph_put_civil(char *p, lph_civil date) {
  uint32_t year = (uint32_t)(date.year > 0 ? date.year : 1 - date.year);
  if (LPH_UNLIKELY(year >= 10000)) { /* up to 5874897 */
    uint32_t high = year / 10000;
    if (high >= 100) *p++ = (char)('0' + high / 100);
    if (high >= 100)
      p = lph_put2(p, high % 100);
    else if (high >= 10)
      p = lph_put2(p, high);
    else
      *p++ = (char)('0' + high);
    year %= 10000;
  }
  p = lph_put2(p, year / 100);
  p = lph_put2(p, year % 100);
  *p++ = '-';
  p = lph_put2(p, (uint32_t)date.month);
  *p++ = '-';
  return lph_put2(p, (uint32_t)date.day);
}

static inline char *lph_put_bc(char *p, lph_civil date) {
  if (LPH_LIKELY(date.year > 0)) return p;
  memcpy(p, " BC", 3);
  return p + 3;
}

/* ":SS[.ffffff]" without trailing zeros. */
static inline char *lph_put_seconds(char *p, uint32_t second, uint32_t us) {
  *p++ = ':';
  p = lph_put2(p, second);
  if (us == 0) return p;
  *p++ = '.';
  p = lph_put2(p, us / 10000);
  p = lph_put2(p, us / 100 % 100);
  p = lph_put2(p, us % 100);
  while (p[-1] == '0') p--;
  return p;
}

static inline char *lph_put_clock(char *p, uint32_t second_of_day, uint32_t us) {
  p = lph_put2(p, second_of_day / 3600);
  *p++ = ':';
  p = lph_put2(p, second_of_day / 60 % 60);
  return lph_put_seconds(p, second_of_day % 60, us);
}

/* "+HH[:MM[:SS]]", seconds east of UTC. */
static inline char *lph_put_offset(char *p, int32_t offset_s) {
  uint32_t abs = (uint32_t)(offset_s < 0 ? -offset_s : offset_s);
  *p++ = offset_s < 0 ? '-' : '+';
  p = lph_put2(p, abs / 3600);
  if (abs % 3600 == 0) return p;
  *p++ = ':';
  p = lph_put2(p, abs / 60 % 60);
  if (abs % 60 == 0) return p;
  *p++ = ':';
  return lph_put2(p, abs % 60);
}

/* ---- datewire.c, for datetime.c ------------------------------------------------------------------ */

lph_err lph_interval_put(int32_t months, int32_t days, int64_t us, lph_buf *out);

/* The binary half of lph_datetime_read. `out` is zeroed by the caller. */
lph_err lph_datetime_from_wire(lph_kind kind, lph_bytes in, lph_datetime *out);

#endif
