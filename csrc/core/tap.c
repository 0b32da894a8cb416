/* tap.c - see tap.h. SPDX-License-Identifier: MIT */
#include "core/tap.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buf.h"
#include "base/mem.h"

#define HEAD 5 /* of a message: type and length, which counts itself */

bool lph_tap_open(lph_tap *t, lph_sip *s, PGconn *pg, char opener, char row) {
  if (!lph_sip_open(s, pg)) return false;
  char *data = t->data != NULL ? t->data : lph_alloc(LPH_TAP_BYTES);
  *t = (lph_tap){.data = data, .open = data != NULL, .opener = opener, .row = row};
  return t->open;
}

void lph_tap_free(lph_tap *t) {
  lph_free(t->data);
  *t = (lph_tap){0};
}

void lph_tap_take(lph_tap *t) {
  if (t->phase == LPH_TAP_OPENED && t->foreign == 0) t->phase = LPH_TAP_TAKING;
}

/* name, table, attribute, type, its size, its modifier, format */
static const char *skip_column(const char *p, const char *end) {
  const char *nul = memchr(p, '\0', (size_t)(end - p));
  return nul == NULL || end - nul < 1 + 18 ? NULL : nul + 1 + 18;
}

lph_bytes lph_tap_opener(const lph_tap *t) {
  if (LPH_LIKELY(t->phase != LPH_TAP_OPENED || t->foreign > 0 || t->opening < HEAD))
    return (lph_bytes){"", 0};
  return (lph_bytes){t->data + t->at - t->opening + HEAD, t->opening - HEAD};
}

void lph_tap_take_rows(lph_tap *t) {
  lph_bytes opener = lph_tap_opener(t);
  if (LPH_LIKELY(opener.len < 2)) return;
  const char *p = opener.data, *end = p + opener.len;
  int columns = lph_get_u16(p);
  bool any = columns > 0;
  for (p += 2; p != NULL && columns > 0; columns--) p = skip_column(p, end);
  if (any && p == end) t->phase = LPH_TAP_TAKING;
}

/* Whole bytes of the message at `p`, of which at least the head has come. A length that cannot be is libpq's to refuse. */
static size_t size_at(const char *p) {
  uint32_t size = lph_get_u32(p + 1);
  return size < HEAD - 1 || size > INT32_MAX ? HEAD : (size_t)size + 1;
}

static bool is_ours(const lph_tap *t, const char *p) {
  uint32_t size = lph_get_u32(p + 1);
  return t->phase == LPH_TAP_TAKING && *p == t->row && size >= HEAD - 1 && size < LPH_TAP_BYTES;
}

/* Behind these there is no row of this answer, and whatever begins next is another one's. */
static bool ends_rows(const lph_tap *t, char type) {
  return t->phase == LPH_TAP_TAKING && (type == 'C' || type == 'E' || type == 's' || type == 'c');
}

/* How many bytes from `at` on are libpq's: up to the next row of ours, behind the opener, or all there are. */
static size_t measure(lph_tap *t) {
  size_t at = t->at;
  while (t->phase != LPH_TAP_LEFT) {
    size_t n = t->foreign < t->end - at ? t->foreign : t->end - at;
    t->foreign -= n;
    at += n;
    if (at == t->end || t->phase == LPH_TAP_OPENED) return at - t->at;
    const char *p = t->data + at;
    if (t->end - at < HEAD) {
      if (t->phase == LPH_TAP_TAKING) return at - t->at;
      t->phase = LPH_TAP_LEFT;
    } else {
      if (is_ours(t, p)) return at - t->at;
      if (t->phase == LPH_TAP_TAKING && *p == t->row) t->owed++;
      if (ends_rows(t, *p)) t->phase = LPH_TAP_LEFT;
      t->foreign = size_at(p);
      if (t->phase == LPH_TAP_PASSING && *p == t->opener) {
        t->phase = LPH_TAP_OPENED;
        t->opening = t->foreign <= t->end - at ? t->foreign : 0;
      }
    }
  }
  return t->end - t->at;
}

static bool feed(lph_tap *t, lph_sip *s, PGconn *pg, size_t n) {
  const char *from = t->data + t->at;
  t->at += n;
  return lph_sip_feed(s, pg, from, n);
}

bool lph_tap_is_behind(const lph_tap *t) {
  size_t there = t->end - t->at;
  if (LPH_LIKELY(there == 0) || t->phase != LPH_TAP_TAKING || t->foreign > 0) return there > 0;
  if (there < HEAD) return false;
  const char *p = t->data + t->at;
  return size_at(p) <= there || !is_ours(t, p);
}

/* libpq shall see the end itself. What stands in front of it is half a message. If it was no end, libpq may have read on. */
static bool at_the_end(lph_tap *t, lph_sip *s, PGconn *pg) {
  size_t n = t->end - t->at;
  t->phase = LPH_TAP_LEFT;
  return (n == 0 || feed(t, s, pg, n)) && PQconsumeInput(pg);
}

static bool read_more(lph_tap *t, lph_sip *s, PGconn *pg) {
  memmove(t->data, t->data + t->at, t->end - t->at);
  t->end -= t->at;
  t->at = 0;
  ssize_t n = recv(PQsocket(pg), t->data + t->end, LPH_TAP_BYTES - t->end, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return at_the_end(t, s, pg);
  t->end += (size_t)n;
  t->taken += (size_t)n;
  n = (ssize_t)measure(t);
  return n == 0 || feed(t, s, pg, (size_t)n);
}

bool lph_tap_consume(lph_tap *t, lph_sip *s, PGconn *pg) {
  if (t->phase == LPH_TAP_OPENED && t->foreign == 0) t->phase = LPH_TAP_LEFT; /* nobody has agreed */
  size_t n = measure(t);
  return n > 0 ? feed(t, s, pg, n) : read_more(t, s, pg);
}

lph_bytes lph_tap_next_rows(lph_tap *t, int *count) {
  lph_bytes row, rows = {t->data + t->at, 0};
  for (*count = 0; lph_tap_next(t, &row); ++*count) rows.len += row.len + HEAD;
  return rows;
}

bool lph_tap_close(lph_tap *t, lph_sip *s, PGconn *pg) {
  if (!t->open) return true;
  size_t n = t->end - t->at;
  bool ok = n == 0 || feed(t, s, pg, n);
  *t = (lph_tap){.data = t->data};
  return ok;
}
