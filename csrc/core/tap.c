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
  *t = (lph_tap){.data = data, .opener = opener, .row = row};
  return data != NULL;
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

void lph_tap_take_rows(lph_tap *t) {
  if (LPH_LIKELY(t->phase != LPH_TAP_OPENED || t->foreign > 0 || t->opening == 0)) return;
  const char *p = t->data + t->at - t->opening + HEAD, *end = t->data + t->at;
  int columns = end - p < 2 ? 0 : lph_get_u16(p);
  bool any = columns > 0;
  for (p += 2; p != NULL && columns > 0; columns--) p = skip_column(p, end);
  if (any && p == end) t->phase = LPH_TAP_TAKING;
}

/* Whole bytes of the message at `p`, of which at least the head has come. A length that cannot be is libpq's to refuse. */
static size_t size_at(const char *p) {
  size_t size = lph_get_u32(p + 1);
  return size < HEAD - 1 ? HEAD : size + 1;
}

static bool is_ours(const lph_tap *t, const char *p) {
  return t->phase == LPH_TAP_TAKING && *p == t->row && size_at(p) <= LPH_TAP_BYTES && lph_get_u32(p + 1) >= 4;
}

/* How many bytes from `at` on are libpq's: up to the next row of ours, behind the opener, or all there are. */
static size_t measure(lph_tap *t) {
  size_t at = t->at;
  for (;;) {
    size_t n = t->foreign < t->end - at ? t->foreign : t->end - at;
    t->foreign -= n;
    at += n;
    if (t->foreign > 0 || t->phase == LPH_TAP_OPENED || t->end - at < HEAD) break;
    const char *p = t->data + at;
    if (is_ours(t, p)) break;
    if (t->phase == LPH_TAP_TAKING && *p == t->row) t->owed++;
    t->foreign = size_at(p);
    if (t->phase == LPH_TAP_PASSING && *p == t->opener) {
      t->phase = LPH_TAP_OPENED;
      t->opening = t->foreign <= t->end - at ? t->foreign : 0;
    }
  }
  return at - t->at;
}

static bool feed(lph_tap *t, lph_sip *s, PGconn *pg, size_t n) {
  const char *from = t->data + t->at;
  t->at += n;
  return lph_sip_feed(s, pg, from, n);
}

bool lph_tap_is_behind(const lph_tap *t) {
  if (t->data == NULL || t->end - t->at < HEAD) return t->data != NULL && t->foreign > 0 && t->end > t->at;
  return t->foreign > 0 || size_at(t->data + t->at) <= t->end - t->at || !is_ours(t, t->data + t->at);
}

static bool at_the_end(lph_tap *t, lph_sip *s, PGconn *pg) {
  /* libpq shall see the end itself. What stands in front of it is half a message. */
  size_t n = t->end - t->at;
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
  n = (ssize_t)measure(t);
  return n == 0 || feed(t, s, pg, (size_t)n);
}

bool lph_tap_consume(lph_tap *t, lph_sip *s, PGconn *pg) {
  if (t->phase == LPH_TAP_OPENED && t->foreign == 0) { /* nobody has agreed */
    t->phase = LPH_TAP_PASSING;
    t->opener = '\0';
  }
  size_t n = measure(t);
  return n > 0 ? feed(t, s, pg, n) : read_more(t, s, pg);
}

bool lph_tap_close(lph_tap *t, lph_sip *s, PGconn *pg) {
  if (t->data == NULL) return true;
  size_t n = t->end - t->at;
  bool ok = n == 0 || feed(t, s, pg, n);
  lph_tap_free(t);
  return ok;
}
