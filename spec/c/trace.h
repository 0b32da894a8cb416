/* trace.h - compound values as event traces, one line of text to compare.
 *
 * [ and ] open and close an array, N is NULL, 'abc' an element, . the end and ! a refusal. A reader that
 * stands still would hang a test, so the number of events is bounded by the input. Include after wire.h.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_SPEC_TRACE_H
#define LPH_SPEC_TRACE_H

#include "types/type.h"

static inline void trace_item(lph_buf *out, lph_bytes item) {
  assert_int_equal(lph_buf_putc(out, '\''), LPH_OK);
  assert_int_equal(lph_buf_add(out, item.data, item.len), LPH_OK); /* also reads every byte of it */
  assert_int_equal(lph_buf_putc(out, '\''), LPH_OK);
}

static inline void trace_flag(lph_buf *out, bool is_null, lph_bytes item) {
  if (is_null) {
    assert_null(item.data);
    assert_int_equal(lph_buf_putc(out, 'N'), LPH_OK);
  } else {
    trace_item(out, item);
  }
}

static inline void trace_array(lph_buf *out, lph_bytes in, bool binary, char delim) {
  lph_array_reader r;
  lph_err rc = lph_array_open(&r, in, binary, delim);
  lph_array_event e = LPH_ARRAY_BAD;
  if (rc == LPH_OK) {
    uint64_t room = 1;
    for (int i = 0; i < r.ndim && r.size[0] >= 0; i++) room *= (uint64_t)r.size[i];
    assert_true(room <= in.len + 1); /* what a caller may preallocate */
    size_t limit = 8 * in.len + 64;
    do {
      assert_true(limit-- > 0);
      e = lph_array_next(&r);
      if (e == LPH_ARRAY_ITEM) trace_item(out, r.item);
      if (e == LPH_ARRAY_OPEN) lph_buf_putc(out, '[');
      if (e == LPH_ARRAY_CLOSE) lph_buf_putc(out, ']');
      if (e == LPH_ARRAY_NULL) lph_buf_putc(out, 'N');
    } while (e != LPH_ARRAY_END && e != LPH_ARRAY_BAD);
    assert_int_equal(lph_array_next(&r), e); /* the end is the end */
    if (e == LPH_ARRAY_BAD) assert_true(r.why == LPH_EFORMAT || r.why == LPH_ENOMEM);
  } else {
    assert_int_equal(rc, LPH_EFORMAT);
  }
  lph_buf_putc(out, e == LPH_ARRAY_END ? '.' : '!');
  lph_array_close(&r);
  lph_array_close(&r);
}

static inline void trace_row(lph_buf *out, lph_bytes in, bool binary) {
  lph_row_reader r;
  lph_err rc = lph_row_open(&r, in, binary);
  int more = -1;
  if (rc == LPH_OK) {
    if (binary) assert_true((size_t)r.count <= in.len);
    int fields = 0;
    for (; (more = lph_row_next(&r)) == 1; fields++) {
      assert_true((size_t)fields <= in.len);
      trace_flag(out, r.is_null, r.item);
    }
    assert_int_equal(lph_row_next(&r), more);
    if (binary && more == 0) assert_int_equal(fields, r.count);
    if (more < 0) assert_true(r.why == LPH_EFORMAT || r.why == LPH_ENOMEM);
  } else {
    assert_int_equal(rc, LPH_EFORMAT);
  }
  lph_buf_putc(out, more == 0 ? '.' : '!');
  lph_row_close(&r);
  lph_row_close(&r);
}

static inline void trace_range(lph_buf *out, lph_bytes in, bool binary) {
  lph_range r;
  lph_err rc = lph_range_read(&r, in, binary);
  if (rc != LPH_OK) {
    lph_buf_putc(out, '!');
  } else if (r.empty) {
    assert_false(r.lower_inc || r.upper_inc || r.lower_inf || r.upper_inf);
    lph_buf_puts(out, "empty");
  } else {
    lph_buf_putc(out, r.lower_inc ? '[' : '(');
    trace_flag(out, r.lower_inf, r.lower);
    trace_flag(out, r.upper_inf, r.upper);
    lph_buf_putc(out, r.upper_inc ? ']' : ')');
  }
  lph_range_close(&r);
  lph_range_close(&r);
}

static inline void trace_multirange(lph_buf *out, lph_bytes in, bool binary) {
  lph_multirange_reader r;
  int more = -1;
  if (lph_multirange_open(&r, in, binary) == LPH_OK) {
    size_t limit = in.len + 1;
    while ((more = lph_multirange_next(&r)) == 1) {
      assert_true(limit-- > 0);
      trace_range(out, r.item, binary);
    }
    assert_int_equal(lph_multirange_next(&r), more);
  }
  lph_buf_putc(out, more == 0 ? '.' : '!');
}

static inline void trace_hstore(lph_buf *out, lph_bytes in, bool binary) {
  lph_hstore_reader r;
  lph_err rc = lph_hstore_open(&r, in, binary);
  int more = -1;
  if (rc == LPH_OK) {
    size_t limit = in.len + 1;
    while ((more = lph_hstore_next(&r)) == 1) {
      assert_true(limit-- > 0);
      trace_item(out, r.key);
      trace_flag(out, r.is_null, r.value);
    }
    assert_int_equal(lph_hstore_next(&r), more);
    if (more < 0) assert_true(r.why == LPH_EFORMAT || r.why == LPH_ENOMEM);
  } else {
    assert_int_equal(rc, LPH_EFORMAT);
  }
  lph_buf_putc(out, more == 0 ? '.' : '!');
  lph_hstore_close(&r);
  lph_hstore_close(&r);
}

#endif
