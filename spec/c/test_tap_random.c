/* Whatever an answer is made of and however its bytes are cut: with the tap it is the same as without, which is to say, as
 * libpq takes it. Answers are random, from fixed seeds; a failure tells the one it happened with.
 *
 * To see it fail: let lph_wirerows_collect in csrc/core/wirerows.c forget the rows that are elsewhere, or is_ours in
 * csrc/core/tap.c take any length.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/copy.h"
#include "played.h"

#define ROUNDS 60
#define MOST_PIECES 300 /* of an answer, so that it does not take long */

/* ---- chance ----------------------------------------------------------------------------------------------------- */

static uint32_t seed;

static uint32_t chance(uint32_t below) {
  seed = seed * UINT32_C(1664525) + UINT32_C(1013904223);
  return (seed >> 8) % below;
}

/* Most are short, some are about as long as the tap's buffer, or much longer. */
static size_t some_length(void) {
  uint32_t kind = chance(40);
  if (kind == 0) return 65500 + chance(60);
  if (kind == 1) return 70000 + chance(200000);
  if (kind < 6) return chance(9000);
  return chance(40);
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void say_between(played *p) {
  static const char notice[] = "SNOTICE\0VNOTICE\0C00000\0Mlook here\0";
  switch (chance(12)) {
    case 0: played_say(p, 'N', notice, sizeof notice); break;
    case 1: played_say(p, 'A', "\0\0\0\1channel\0payload\0", 20); break;
    case 2: played_say(p, 'S', "application_name\0another", 25); break;
    default: break;
  }
}

static void say_copied(played *p, const char *filling) {
  played_say(p, 'H', "\0\0\1\0\0", 5);
  for (uint32_t n = chance(60); n > 0; n--) {
    say_between(p);
    played_say(p, 'd', filling + chance(1000), some_length());
  }
  if (chance(4) == 0) {
    played_error(p, "ERROR", "22012");
  } else {
    played_say(p, 'c', NULL, 0);
    played_complete(p, "COPY 7");
  }
  say_between(p);
  played_ready(p, 'I');
}

static void put_int(lph_buf *b, uint32_t value, int bytes) {
  for (int i = bytes - 1; i >= 0; i--) {
    char byte = (char)(value >> (8 * i));
    assert_int_equal(lph_buf_add(b, &byte, 1), LPH_OK);
  }
}

static void say_row(played *p, const char *filling, int columns) {
  lph_buf row = {0};
  put_int(&row, (uint32_t)columns, 2);
  for (int i = 0; i < columns; i++) {
    bool is_null = chance(5) == 0;
    uint32_t len = is_null ? UINT32_MAX : (uint32_t)some_length();
    put_int(&row, len, 4);
    if (!is_null) assert_int_equal(lph_buf_add(&row, filling + chance(1000), len), LPH_OK);
  }
  played_say(p, 'D', row.data, row.len);
  lph_buf_free(&row);
}

static void say_fetched(played *p, const char *filling) {
  int columns = (int)chance(4);
  lph_buf described = {0};
  put_int(&described, (uint32_t)columns, 2);
  for (int i = 0; i < columns; i++) {
    assert_int_equal(lph_buf_add(&described, "name", 5), LPH_OK);
    assert_int_equal(lph_buf_add(&described, "\0\0\0\0\0\0\0\0\0\x19\xff\xff\xff\xff\xff\xff\0", 18), LPH_OK);
  }
  played_say(p, '1', NULL, 0);
  played_say(p, '2', NULL, 0);
  say_between(p);
  played_say(p, 'T', described.data, described.len);
  lph_buf_free(&described);
  for (uint32_t n = chance(60); n > 0; n--) {
    say_between(p);
    say_row(p, filling, columns);
  }
  if (chance(5) == 0) {
    played_error(p, "ERROR", "22012");
  } else {
    played_complete(p, "FETCH 7");
  }
  say_between(p);
  played_ready(p, 'T');
}

/* ---- what is read ----------------------------------------------------------------------------------------------- */

typedef struct outcome {
  uint64_t hash;
  int rows;
  lph_want want;
  lph_state state;
  unsigned notices;
  bool tapped; /* at all */
} outcome;

static void stir(outcome *o, const char *data, size_t len) {
  for (size_t i = 0; i < len; i++) o->hash = (o->hash ^ (unsigned char)data[i]) * UINT64_C(1099511628211);
  o->hash = (o->hash ^ len) * UINT64_C(1099511628211);
}

static void take(played *p, outcome *o) {
  while (p->c.state == LPH_BUSY && (o->want = lph_conn_step(&p->c)) == LPH_DONE && p->c.state == LPH_BUSY) {
    lph_bytes row = lph_copy_row(&p->c.copy);
    if (row.data == NULL) continue;
    o->rows++;
    o->tapped |= p->c.copy.tapped;
    stir(o, row.data, row.len);
    lph_copy_drop_row(&p->c.copy);
  }
}

static void stir_field(outcome *o, const char *data, int len) {
  stir(o, len < 0 ? "null" : data, len < 0 ? 4 : (size_t)len);
}

static void stir_result_row(outcome *o, const PGresult *res, int row) {
  for (int i = 0; i < PQnfields(res); i++)
    stir_field(o, PQgetvalue(res, row, i), PQgetisnull(res, row, i) ? -1 : PQgetlength(res, row, i));
  o->rows++;
}

static void stir_wired_row(outcome *o, const char *p, const char *end) {
  int columns = lph_get_u16(p);
  for (p += 2; columns > 0; columns--) {
    int len = (int32_t)lph_get_u32(p);
    stir_field(o, p + 4, len);
    p += 4 + (len < 0 ? 0 : len);
  }
  assert_ptr_equal(p, end);
  o->rows++;
}

static void take_fetched(played *p, outcome *o) {
  const lph_wirerows *rows = &p->c.op.rows;
  const PGresult *res = p->c.op.result;
  int count = res == NULL ? 0 : PQntuples(res), next = 0;
  const char *wire = rows->bytes.data;
  for (int i = 0; i < rows->count; i++) {
    char type = *wire;
    uint32_t size = lph_get_u32(wire + 1) - 4;
    wire += LPH_WIRE_HEAD;
    if (type == LPH_WIRE_ELSEWHERE) {
      assert_true(next < count);
      stir_result_row(o, res, next++);
      continue;
    }
    stir_wired_row(o, wire, wire + size);
    wire += size;
    o->tapped = true;
  }
  if (rows->count > 0) assert_int_equal(next, count);
  for (; next < count; next++) stir_result_row(o, res, next);
}

/* `most`: bytes that come at once. */
static outcome play(uint32_t round, bool copies, bool tapped, size_t most, const char *filling) {
  played p;
  outcome o = {.want = LPH_WANT_READ};
  played_open(&p);
  lph_want begun = copies ? lph_op_copy(&p.c, "copy t to stdout", false)
                          : lph_op_fetch(&p.c, "fetch 7 from c", false);
  assert_int_equal(begun, LPH_WANT_READ);
  if (!tapped) lph_op_untap(&p.c);
  seed = round;
  (copies ? say_copied : say_fetched)(&p, filling);
  lph_buf all = p.out;
  lph_buf_init(&p.out);
  if (most < all.len / MOST_PIECES) most = all.len / MOST_PIECES;
  for (size_t done = 0; done < all.len;) {
    size_t n = 1 + chance((uint32_t)most);
    if (n > all.len - done) n = all.len - done;
    assert_int_equal(lph_buf_add(&p.out, all.data + done, n), LPH_OK);
    played_flush(&p);
    done += n;
    do take(&p, &o);
    while (played_is_left(&p));
  }
  lph_buf_free(&all);
  if (!copies) take_fetched(&p, &o);
  o.state = p.c.state;
  o.notices = p.c.notice_count;
  played_close(&p);
  return o;
}

static void compare(bool copies) {
  static const size_t sizes[] = {7, 100, 5000, 65536};
  size_t length = 300000;
  char *filling = malloc(length);
  unsigned tapped = 0;
  seed = 1;
  for (size_t i = 0; i < length; i++) filling[i] = (char)chance(256);
  for (uint32_t round = 1; round <= ROUNDS; round++) {
    size_t most = sizes[round % lph_countof(sizes)];
    outcome plain = play(round, copies, false, 65536, filling),
            ours = play(round, copies, true, most, filling);
    tapped += ours.tapped;
    bool same = plain.hash == ours.hash && plain.rows == ours.rows && plain.want == ours.want &&
                plain.state == ours.state && plain.notices == ours.notices;
    if (!same) fail_msg("round %u: %d rows instead of %d", round, ours.rows, plain.rows);
    assert_false(plain.tapped);
    assert_int_equal(ours.state, LPH_IDLE);
  }
  assert_true(tapped > ROUNDS / 3);
  free(filling);
}

static void copies_are_alike(void **state) {
  (void)state;
  compare(true);
}

static void portions_are_alike(void **state) {
  (void)state;
  compare(false);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(copies_are_alike),
                                     cmocka_unit_test(portions_are_alike)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
