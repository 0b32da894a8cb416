/* strain.c - see strain.h. SPDX-License-Identifier: MIT */
#include "core/strain.h"

#include <string.h>

/* The last bytes that came, whatever becomes of them. */
static void note_tail(lph_strain *s, const char *data, size_t len) {
  if (len >= sizeof s->tail) {
    memcpy(s->tail, data + len - sizeof s->tail, sizeof s->tail);
    return;
  }
  memmove(s->tail, s->tail + len, sizeof s->tail - len);
  memcpy(s->tail + sizeof s->tail - len, data, len);
}

static void begin_row(lph_strain *s, size_t limit) {
  s->rows += s->left + LPH_STRAIN_HEAD;
  if (!s->refusing && s->rows > limit) {
    s->refusing = true;
    s->refused(s->arg, s->answers, s->rows);
  }
  s->dropping = s->refusing;
}

static void end_answer(lph_strain *s) {
  s->answers++;
  s->rows = 0;
  s->refusing = false;
}

/* `head` is complete. */
static void begin_message(lph_strain *s, size_t limit) {
  uint32_t len = lph_get_u32((const char *)s->head + 1);
  s->left = len > 4 ? len - 4 : 0;
  s->dropping = false;
  if (s->head[0] == 'D') begin_row(s, limit);
  if (s->head[0] == 'Z') end_answer(s);
}

typedef struct piece {
  const char *in;
  size_t left;
  char *out;
} piece;

static void let_pass(piece *p, size_t n, bool dropped) {
  if (!dropped) {
    memmove(p->out, p->in, n);
    p->out += n;
  }
  p->in += n;
  p->left -= n;
}

/* False: the bytes end in the middle of a head. */
static bool read_head(lph_strain *s, piece *p, size_t limit) {
  size_t n = LPH_STRAIN_HEAD - s->have;
  bool whole = n <= p->left;
  if (!whole) n = p->left;
  memcpy(s->head + s->have, p->in, n);
  s->have += (unsigned)n;
  if (!whole) {
    s->held = s->head[0] == 'D';
    let_pass(p, n, s->held);
    return false;
  }
  s->have = 0;
  begin_message(s, limit);
  let_pass(p, n, s->dropping);
  return true;
}

size_t lph_strain_pass(lph_strain *s, char **data, size_t len, size_t limit) {
  note_tail(s, *data, len);
  if (!s->anchored) return len;
  if (s->held) { /* once more from its beginning */
    *data -= s->have;
    memcpy(*data, s->head, s->have);
    len += s->have;
    s->have = 0;
    s->held = false;
  }
  piece p = {*data, len, *data};
  while (p.left > 0) {
    if (s->left > 0) {
      size_t n = s->left < p.left ? s->left : p.left;
      s->left -= n;
      let_pass(&p, n, s->dropping);
    } else if (!read_head(s, &p, limit)) {
      break;
    }
  }
  return (size_t)(p.out - *data);
}

void lph_strain_anchor(lph_strain *s) {
  static const char ready[] = {'Z', 0, 0, 0, 5};
  if (memcmp(s->tail, ready, sizeof ready) != 0 || strchr("ITE", s->tail[5]) == NULL || s->tail[5] == '\0')
    return;
  s->anchored = true;
  s->refusing = s->dropping = s->held = false;
  s->have = s->answers = 0;
  s->left = s->rows = 0;
}

void lph_strain_lose(lph_strain *s) {
  s->anchored = false;
  memset(s->tail, 0, sizeof s->tail);
}
