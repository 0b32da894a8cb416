/* fuzz_decode.c - bytes of a hostile server into everything that reads them, and what we write read back.
 *
 * Input: byte 0 chooses what is fuzzed, byte 1 a type or an option, the rest is the value. Built with
 * -fsanitize=fuzzer it is a libFuzzer target (CC=clang cmake -DLPH_TESTS=ON -DLPH_FUZZ=ON):
 *
 *   fuzzer -max_len=4096 new_corpus spec/c/corpus
 *
 * Otherwise main replays the files it is given, or all of a directory's; CTest does so with corpus/. The
 * value lies at the very end of a block of its own, so a read beyond it is seen by AddressSanitizer.
 *
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "core/guard.h"
#include "core/marks.h"
#include "types/json.h"
#include "types/type.h"

/* A promise of a header that does not hold is a finding like a crash. */
#define PROMISE(condition)                                                            \
  do {                                                                                \
    if (!(condition)) {                                                               \
      fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, #condition); \
      abort();                                                                        \
    }                                                                                 \
  } while (0)

static volatile unsigned sink;

/* Touches each byte: a view that is too long does not go unseen. */
static void touch(lph_bytes view) {
  unsigned sum = 0;
  for (size_t i = 0; i < view.len; i++) sum += (unsigned char)view.data[i];
  sink = sum;
}

static bool same(lph_bytes a, lph_bytes b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

static lph_bytes view_of(const lph_buf *buf) { return (lph_bytes){buf->data, buf->len}; }

/* ---- values: what lcell.c and lcompound.c do, without Lua ----------------------------------------------- */

static lph_typemap *map; /* some user types over the built-in ones */

enum { PAIR = 16384, PAIRS, SPAN, SPANS, STORE, PATH_, DEEP };

static void make_map(void) {
  static const lph_field fields[] = {{"a", 23}, {"b", 25}, {"c", 1007}},
                         inner[] = {{"p", PAIR}, {"l", PAIRS}};
  static const lph_type types[] = {
    {.oid = PAIR, .kind = LPH_COMPOSITE, .fields = fields, .field_count = 3, .name = "pair"},
    {.oid = PAIRS, .kind = LPH_ARRAY, .elem = PAIR, .delim = ',', .name = "pair[]"},
    {.oid = SPAN, .kind = LPH_RANGE, .elem = PAIR, .name = "span"},
    {.oid = SPANS, .kind = LPH_MULTIRANGE, .elem = SPAN, .name = "spans"},
    {.oid = STORE, .kind = LPH_HSTORE, .name = "hstore"},
    {.oid = PATH_, .kind = LPH_VERSIONED, .name = "ltree"},
    {.oid = DEEP, .kind = LPH_COMPOSITE, .fields = inner, .field_count = 2, .name = "deep"},
  };
  map = lph_typemap_new();
  for (size_t i = 0; i < lph_countof(types); i++) PROMISE(lph_typemap_define(map, &types[i]) == LPH_OK);
}

static void read_value(const lph_type *type, lph_bytes in, bool binary, int depth);

static void read_part(lph_oid oid, lph_bytes in, bool binary, int depth) {
  touch(in);
  if (depth < 16) read_value(lph_typemap_find(map, oid), in, binary, depth + 1);
}

static void read_array(const lph_type *type, lph_bytes in, bool binary, int depth) {
  lph_array_reader r;
  if (lph_array_open(&r, in, binary, type->delim) == LPH_OK) {
    PROMISE(r.ndim >= 0 && r.ndim <= LPH_ARRAY_MAX_DIM);
    int open = 0;
    size_t items = 0;
    for (lph_array_event e; (e = lph_array_next(&r)) != LPH_ARRAY_END && e != LPH_ARRAY_BAD;) {
      if (e == LPH_ARRAY_OPEN) {
        PROMISE(open < LPH_ARRAY_MAX_DIM);
        /* Trusted for preallocation: a table of so many elements must not be dearer than the input. */
        if (r.ndim > open && r.size[open] > 0) PROMISE((size_t)r.size[open] <= in.len);
        open++;
      } else if (e == LPH_ARRAY_CLOSE) {
        PROMISE(--open >= 0);
      } else {
        PROMISE(open > 0 && ++items <= in.len);
        if (e == LPH_ARRAY_ITEM) read_part(r.elem != 0 ? r.elem : type->elem, r.item, binary, depth);
      }
    }
  }
  lph_array_close(&r);
  lph_array_close(&r);
}

static void read_row(const lph_type *type, lph_bytes in, bool binary, int depth) {
  lph_row_reader r;
  if (lph_row_open(&r, in, binary) == LPH_OK) {
    for (int i = 0; lph_row_next(&r) > 0; i++) {
      PROMISE((size_t)i <= in.len);
      lph_oid oid = r.field_type != 0 ? r.field_type : i < type->field_count ? type->fields[i].type : 0;
      if (!r.is_null) read_part(oid, r.item, binary, depth);
    }
  }
  lph_row_close(&r);
}

static void read_range(const lph_type *type, lph_bytes in, bool binary, int depth) {
  lph_range r;
  if (lph_range_read(&r, in, binary) == LPH_OK && !r.empty) {
    if (!r.lower_inf) read_part(type->elem, r.lower, binary, depth);
    if (!r.upper_inf) read_part(type->elem, r.upper, binary, depth);
  }
  lph_range_close(&r);
}

static void read_multirange(const lph_type *type, lph_bytes in, bool binary, int depth) {
  lph_multirange_reader r;
  if (lph_multirange_open(&r, in, binary) != LPH_OK) return;
  for (size_t i = 0; lph_multirange_next(&r) > 0; i++) {
    PROMISE(i <= in.len);
    read_part(type->elem, r.item, binary, depth);
  }
}

static void read_hstore(lph_bytes in, bool binary) {
  lph_hstore_reader r;
  if (lph_hstore_open(&r, in, binary) == LPH_OK) {
    for (size_t i = 0; lph_hstore_next(&r) > 0; i++) {
      PROMISE(i <= in.len);
      touch(r.key);
      if (!r.is_null) touch(r.value);
    }
  }
  lph_hstore_close(&r);
}

/* A date or time that was read is written as text that reads as the same. */
static void read_datetime(const lph_type *type, lph_bytes in, bool binary) {
  lph_datetime first, second;
  if (lph_datetime_read(type, in, binary, &first) != LPH_OK) return;
  lph_buf text = {0};
  if (lph_datetime_write(type, &first, &text) == LPH_OK) {
    PROMISE(lph_datetime_read(type, view_of(&text), false, &second) == LPH_OK);
    PROMISE(first.epoch_s == second.epoch_s && first.us == second.us && first.time_us == second.time_us);
  }
  lph_buf_free(&text);
}

static void render(const lph_type *type, lph_bytes in) {
  lph_buf text = {0};
  lph_err rc = lph_render(type, in, &text);
  PROMISE(rc == LPH_OK || rc == LPH_EFORMAT);
  touch(view_of(&text));
  lph_buf_free(&text);
}

static void read_value(const lph_type *type, lph_bytes in, bool binary, int depth) {
  switch (type == NULL ? LPH_OPAQUE : (lph_kind)type->kind) {
    case LPH_ARRAY: read_array(type, in, binary, depth); break;
    case LPH_COMPOSITE:
    case LPH_RECORD: read_row(type, in, binary, depth); break;
    case LPH_RANGE: read_range(type, in, binary, depth); break;
    case LPH_MULTIRANGE: read_multirange(type, in, binary, depth); break;
    case LPH_HSTORE: read_hstore(in, binary); break;
    case LPH_OPAQUE: touch(in); break;
    case LPH_DATE:
    case LPH_TIME:
    case LPH_TIMETZ:
    case LPH_TIMESTAMP:
    case LPH_TIMESTAMPTZ:
    case LPH_INTERVAL: read_datetime(type, in, binary); /* fall through */
    default:
      if (binary) render(type, in);
  }
}

/* ---- texts ------------------------------------------------------------------------------------------------ */

static void fuzz_scalars(lph_bytes in) {
  int64_t integer;
  double number, again;
  char out[32];
  lph_buf raw = {0}, hex = {0};
  if (lph_parse_int8(in, &integer)) {
    lph_bytes text = {out, lph_format_int8(out, integer)};
    int64_t back;
    PROMISE(lph_parse_int8(text, &back) && back == integer);
  }
  if (lph_parse_float8(in, &number) && number == number) {
    lph_bytes text = {out, lph_format_float8(out, number)};
    PROMISE(text.len < sizeof out && lph_parse_float8(text, &again) && again == number);
    text.len = lph_format_float_shortest(out, number, false);
    PROMISE(text.len < sizeof out && lph_parse_float8(text, &again) && again == number);
  }
  lph_utf8_valid(in);
  if (lph_bytea_unescape(in, &raw) == LPH_OK && lph_bytea_hex(view_of(&raw), &hex) == LPH_OK) {
    lph_buf back = {0};
    PROMISE(lph_bytea_unescape(view_of(&hex), &back) == LPH_OK && same(view_of(&raw), view_of(&back)));
    lph_buf_free(&back);
  }
  lph_buf_clear(&raw);
  (void)lph_timestamptz_to_utc(in, &raw);
  lph_buf_free(&raw);
  lph_buf_free(&hex);
}

static void fuzz_json(lph_bytes in) {
  lph_json_reader r;
  char *out = malloc(in.len + 1);
  int depth = 0;
  double number;
  lph_json_open(&r, in);
  lph_json_token t;
  while ((t = lph_json_next(&r)) != LPH_JSON_END && t != LPH_JSON_BAD) {
    PROMISE(lph_json_left(&r) <= in.len);
    if (t == LPH_JSON_OPEN_ARRAY || t == LPH_JSON_OPEN_OBJECT) PROMISE(++depth <= LPH_JSON_MAX_DEPTH);
    if (t == LPH_JSON_CLOSE_ARRAY || t == LPH_JSON_CLOSE_OBJECT) PROMISE(--depth >= 0);
    if (t == LPH_JSON_BIG) lph_json_big_is_float(r.text, &number);
    if (t != LPH_JSON_KEY && t != LPH_JSON_STRING) continue;
    touch(r.text);
    lph_bytes plain = r.text;
    if (r.escaped) plain = (lph_bytes){out, lph_json_unescape(&r, out)};
    PROMISE(plain.len <= r.text.len);
    lph_buf again = {0};
    if (lph_json_put_string(&again, plain) == LPH_OK) touch(view_of(&again));
    lph_buf_free(&again);
  }
  if (t == LPH_JSON_BAD) PROMISE(r.at <= in.len && r.why != NULL);
  free(out);
}

static void fuzz_guard(lph_bytes in, bool allow) {
  lph_error refusal = {0}, said = {0};
  size_t judged = 0;
  lph_verdict verdict = lph_guard_read(in, allow, &refusal, &said, &judged);
  PROMISE(judged <= in.len);
  PROMISE((verdict == LPH_GUARD_REFUSE) == lph_error_is_set(&refusal));
  for (int field = 0; field < LPH_E_FIELDS; field++) {
    const char *text = lph_error_get(&said, (lph_efield)field);
    if (text != NULL) touch((lph_bytes){text, strlen(text)});
  }
  lph_error_free(&refusal);
  lph_error_free(&said);
}

/* A statement before it changes nothing about a text but its own mark. */
static void fuzz_marks(lph_bytes in) {
  static const char before[] = "listen fuzz;";
  size_t len = sizeof before - 1;
  char *longer = malloc(len + in.len);
  memcpy(longer, before, len);
  memcpy(longer + len, in.data, in.len);
  int highest = -1, again = -1;
  unsigned marks = lph_marks_of(in, &highest);
  PROMISE(lph_marks_of((lph_bytes){longer, len + in.len}, &again) == (marks | LPH_MARK_LISTEN));
  PROMISE((marks & ~(LPH_MARKS_DOUBT | (unsigned)LPH_MARK_LASTING | LPH_MARK_NAMES | LPH_MARK_COPY)) == 0);
  PROMISE(highest >= 0 && highest == again);
  free(longer);
}

/* ---- what we write ---------------------------------------------------------------------------------------- */

/* The input, cut in two, goes into literals and comes back the same. */
static void fuzz_writers(lph_bytes in, size_t cut) {
  if (memchr(in.data, '\0', in.len) != NULL) return; /* no text of PostgreSQL holds one */
  lph_bytes parts[2] = {{in.data, cut % (in.len + 1)}, {NULL, 0}};
  parts[1] = (lph_bytes){in.data + parts[0].len, in.len - parts[0].len};
  lph_buf list = {0}, row = {0}, range = {0}, store = {0};
  lph_buf_putc(&list, '{');
  lph_buf_putc(&row, '(');
  lph_buf_putc(&range, '[');
  for (int i = 0; i < 2; i++) {
    if (i > 0) lph_buf_putc(&list, ','), lph_buf_putc(&row, ','), lph_buf_putc(&range, ',');
    PROMISE(lph_array_put(&list, parts[i], ',') == LPH_OK);
    PROMISE(lph_row_put(&row, parts[i]) == LPH_OK);
    PROMISE(lph_range_put(&range, parts[i]) == LPH_OK);
  }
  PROMISE(lph_hstore_put(&store, parts[0], parts[1]) == LPH_OK);
  lph_buf_putc(&list, '}');
  lph_buf_putc(&row, ')');
  lph_buf_putc(&range, ']');
  lph_array_reader a;
  PROMISE(lph_array_open(&a, view_of(&list), false, ',') == LPH_OK && lph_array_next(&a) == LPH_ARRAY_OPEN);
  lph_row_reader r;
  PROMISE(lph_row_open(&r, view_of(&row), false) == LPH_OK);
  for (int i = 0; i < 2; i++) {
    PROMISE(lph_array_next(&a) == LPH_ARRAY_ITEM && same(a.item, parts[i]));
    PROMISE(lph_row_next(&r) > 0 && !r.is_null && same(r.item, parts[i]));
  }
  PROMISE(lph_array_next(&a) == LPH_ARRAY_CLOSE && lph_array_next(&a) == LPH_ARRAY_END);
  PROMISE(lph_row_next(&r) == 0);
  lph_range g;
  PROMISE(lph_range_read(&g, view_of(&range), false) == LPH_OK && same(g.lower, parts[0]) &&
          same(g.upper, parts[1]));
  lph_hstore_reader h;
  PROMISE(lph_hstore_open(&h, view_of(&store), false) == LPH_OK && lph_hstore_next(&h) > 0);
  PROMISE(same(h.key, parts[0]) && same(h.value, parts[1]) && lph_hstore_next(&h) == 0);
  lph_array_close(&a);
  lph_row_close(&r);
  lph_range_close(&g);
  lph_hstore_close(&h);
  lph_buf_free(&list);
  lph_buf_free(&row);
  lph_buf_free(&range);
  lph_buf_free(&store);
}

static void fuzz_encode(const lph_type *type, lph_bytes in) {
  lph_value values[] = {{.tag = LPH_V_STRING, .string = in}, {.tag = LPH_V_FLOAT}, {.tag = LPH_V_INT}};
  memcpy(&values[1].number, in.data, in.len < 8 ? in.len : 8);
  memcpy(&values[2].integer, in.data, in.len < 8 ? in.len : 8);
  for (size_t i = 0; i < lph_countof(values); i++) {
    lph_buf out = {0};
    const char *why = NULL;
    lph_err rc = lph_encode(type, &values[i], &out, &why);
    PROMISE(rc == LPH_OK ? memchr(out.len > 0 ? out.data : "", '\0', out.len) == NULL
                         : why != NULL && out.len == 0);
    lph_buf_free(&out);
  }
}

/* ---- choosing --------------------------------------------------------------------------------------------- */

/* All types there are, in a fixed order: byte 1 of a corpus file keeps its meaning as long as this stays. */
static const lph_oid oids[] = {
  16,   17,   18,   19,   20,   21,    23,   25,    26,    27,    28,   114,  600,  601,  602,
  603,  604,  628,  650,  700,  701,   718,  774,   829,   869,   1000, 1001, 1005, 1007, 1009,
  1016, 1020, 1022, 1042, 1043, 1082,  1083, 1114,  1115,  1184,  1185, 1186, 1187, 1231, 1266,
  1560, 1562, 1700, 2249, 2278, 2287,  2950, 3220,  3802,  3807,  3904, 3905, 3906, 3908, 3912,
  4072, 4451, 4532, 5069, PAIR, PAIRS, SPAN, SPANS, STORE, PATH_, DEEP,
};

static void fuzz(unsigned target, unsigned option, lph_bytes in) {
  const lph_type *type = lph_typemap_find(map, oids[option % lph_countof(oids)]);
  if (target == 'm') { /* came later than the corpus: the rest keeps its numbers */
    fuzz_marks(in);
    return;
  }
  switch (target % 7) {
    case 0: read_value(type, in, true, 0); break;
    case 1: read_value(type, in, false, 0); break;
    case 2: fuzz_scalars(in); break;
    case 3: fuzz_json(in); break;
    case 4: fuzz_guard(in, option & 1); break;
    case 5: fuzz_writers(in, option); break;
    default:
      if (type != NULL) fuzz_encode(type, in);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  if (map == NULL) make_map();
  char *block = malloc(size - 2 > 0 ? size - 2 : 1);
  if (block == NULL) return 0;
  if (size > 2) memcpy(block, data + 2, size - 2);
  long live = lph_mem_live();
  fuzz(data[0], data[1], (lph_bytes){block, size - 2});
  PROMISE(lph_mem_live() == live);
  free(block);
  return 0;
}

#ifndef LPH_LIBFUZZER
#include <dirent.h>

static int replay(const char *path) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return 0;
  static uint8_t data[1 << 16];
  size_t size = fread(data, 1, sizeof data, file);
  fclose(file);
  fprintf(stderr, "%s\n", path); /* the last one named is the one that failed */
  LLVMFuzzerTestOneInput(data, size);
  return 1;
}

int main(int argc, char **argv) {
  int count = 0;
  for (int i = 1; i < argc; i++) {
    DIR *dir = opendir(argv[i]);
    if (dir == NULL) {
      count += replay(argv[i]);
      continue;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
      char path[1024];
      snprintf(path, sizeof path, "%s/%s", argv[i], entry->d_name);
      if (entry->d_name[0] != '.') count += replay(path);
    }
    closedir(dir);
  }
  lph_typemap_release(map);
  printf("1..1\n%s 1 - %d inputs replayed\n", count > 0 ? "ok" : "not ok", count);
  return count > 0 ? 0 : 1;
}
#endif
