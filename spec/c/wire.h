/* wire.h - binary values made by hand, and the checks every renderer must pass.
 *
 * Values handed to the code under test are exact heap blocks, so that a sanitizer build sees any
 * read behind the end. Include after cmocka.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SPEC_WIRE_H
#define LPH_SPEC_WIRE_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "types/type.h"

typedef struct wire {
  char data[256];
  size_t len;
} wire;

static inline wire *wire_int(wire *w, int bytes, uint64_t value) {
  while (bytes-- > 0) w->data[w->len++] = (char)(value >> (8 * bytes));
  return w;
}

static inline wire *wire_float(wire *w, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return wire_int(w, 8, bits);
}

static inline wire wire_of(int bytes, uint64_t value) {
  wire w = {.len = 0};
  wire_int(&w, bytes, value);
  return w;
}

static inline wire wire_raw(const char *data, size_t len) {
  wire w = {.len = len};
  memcpy(w.data, data, len);
  return w;
}

static inline uint64_t next_random(void) { /* the same numbers in every run */
  static uint64_t seed = 88172645463325252u;
  seed ^= seed << 13;
  seed ^= seed >> 7;
  seed ^= seed << 17;
  return seed;
}

/* The caller frees data. */
static inline lph_bytes exact_copy(const char *data, size_t len) {
  char *copy = malloc(len ? len : 1);
  if (len > 0) memcpy(copy, data, len);
  return (lph_bytes){copy, len};
}

static inline lph_err render_bytes(lph_kind kind, const char *data, size_t len, lph_buf *out) {
  lph_type type = {.kind = (uint8_t)kind};
  lph_bytes in = exact_copy(data, len);
  lph_err rc = lph_render(&type, in, out);
  free((char *)in.data);
  return rc;
}

/* Rendering appends exactly `want` to what is there. */
static inline void check_render(lph_kind kind, wire w, const char *want) {
  lph_buf out = {0};
  assert_int_equal(lph_buf_puts(&out, "kept "), LPH_OK);
  lph_err rc = render_bytes(kind, w.data, w.len, &out);
  lph_buf_terminate(&out);
  if (rc != LPH_OK) fail_msg("kind %d, expected %s: error %d", (int)kind, want, rc);
  assert_memory_equal(out.data, "kept ", 5);
  assert_string_equal(out.data + 5, want);
  assert_int_equal(out.len, 5 + strlen(want));
  lph_buf_free(&out);
}

/* Rendering refuses and leaves the buffer as it was. */
static inline void check_refuse(lph_kind kind, wire w) {
  lph_buf out = {0};
  assert_int_equal(lph_buf_puts(&out, "kept"), LPH_OK);
  lph_err rc = render_bytes(kind, w.data, w.len, &out);
  if (rc != LPH_EFORMAT) fail_msg("kind %d, %zu bytes: answered %d", (int)kind, w.len, rc);
  assert_int_equal(out.len, 4);
  assert_memory_equal(out.data, "kept", 4);
  lph_buf_free(&out);
}

/* A good value cut short or with a byte more is refused, at every length. */
static inline void check_strict_length(lph_kind kind, wire w) {
  size_t whole = w.len;
  for (w.len = 0; w.len < whole; w.len++) check_refuse(kind, w);
  w.len = whole + 1;
  check_refuse(kind, w);
}

/* Any bytes at all give a text or LPH_EFORMAT; half of them start as the good value `w`. */
static inline void check_hostile(lph_kind kind, wire good, int rounds) {
  lph_buf out = {0};
  for (int i = 0; i < rounds; i++) {
    wire w = good;
    if (i % 2 == 0) {
      w.len = next_random() % 48;
      for (size_t k = 0; k < w.len; k++) w.data[k] = (char)next_random();
    } else if (w.len > 0) {
      for (int k = 0; k < 3; k++)
        w.data[next_random() % w.len] = (char)(next_random() % 3 ? next_random() : 0xff);
      if (next_random() % 4 == 0) w.len = next_random() % (w.len + 1);
    }
    lph_buf_clear(&out);
    lph_err rc = render_bytes(kind, w.data, w.len, &out);
    if (rc != LPH_OK && rc != LPH_EFORMAT) fail_msg("kind %d answered %d", (int)kind, rc);
    if (rc != LPH_OK) assert_int_equal(out.len, 0);
  }
  lph_buf_free(&out);
}

/* Fails the 1st, 2nd, ... allocation until none is left to fail. */
static inline void check_no_memory(lph_kind kind, wire w, const char *want) {
  long live = lph_mem_live();
  bool failed = true;
  for (long n = 1; failed; n++) {
    lph_buf out = {0};
    if (!lph_mem_fail_at(n, false)) skip();
    lph_err rc = render_bytes(kind, w.data, w.len, &out);
    failed = lph_mem_failed();
    lph_mem_fail_at(0, false);
    assert_int_equal(rc, failed ? LPH_ENOMEM : LPH_OK);
    assert_int_equal(out.len, failed ? 0 : strlen(want));
    if (!failed) assert_memory_equal(out.data, want, out.len);
    if (n == 1) assert_true(failed); /* an empty buffer has to allocate */
    lph_buf_free(&out);
    assert_int_equal(lph_mem_live(), live);
  }
}

#endif
