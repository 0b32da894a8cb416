/* params.c - see params.h. SPDX-License-Identifier: MIT */
#include "core/params.h"

#include "base/mem.h"

#define KEEP_BYTES ((size_t)1 << 20) /* what stays allocated between executions */

static lph_err make_room(lph_params *p, int count) {
  size_t n = (size_t)count + 8;
  const char **values = lph_array(n, sizeof *values);
  int *lengths = lph_array(n, sizeof *lengths), *formats = lph_array(n, sizeof *formats);
  size_t *offsets = lph_array(n, sizeof *offsets);
  if (values == NULL || lengths == NULL || formats == NULL || offsets == NULL) {
    lph_free(values);
    lph_free(lengths);
    lph_free(formats);
    lph_free(offsets);
    return LPH_ENOMEM;
  }
  lph_buf text = p->text;
  lph_buf_init(&p->text);
  lph_params_free(p);
  *p = (lph_params){.values = values,
                    .lengths = lengths,
                    .formats = formats,
                    .offsets = offsets,
                    .room = (int)n,
                    .text = text};
  return LPH_OK;
}

lph_err lph_params_begin(lph_params *p, int count) {
  if (count > p->room && make_room(p, count) != LPH_OK) return LPH_ENOMEM;
  p->count = count;
  p->bytes = 0;
  lph_buf_clear(&p->text);
  for (int i = 0; i < count; i++) {
    p->values[i] = NULL;
    p->lengths[i] = 0;
    p->formats[i] = 0;
    p->offsets[i] = SIZE_MAX;
  }
  return LPH_OK;
}

lph_err lph_params_put(lph_params *p, int index, size_t start) {
  p->offsets[index] = start;
  p->lengths[index] = (int)(p->text.len - start);
  p->bytes += p->text.len - start;
  return lph_buf_putc(&p->text, '\0'); /* libpq reads text parameters as C strings */
}

void lph_params_lend(lph_params *p, int index, const char *data, size_t len, bool binary) {
  p->values[index] = data;
  p->lengths[index] = (int)len;
  p->bytes += len;
  p->formats[index] = binary;
}

void lph_params_seal(lph_params *p) {
  for (int i = 0; i < p->count; i++)
    if (p->offsets[i] != SIZE_MAX) p->values[i] = p->text.data + p->offsets[i];
}

void lph_params_shrink(lph_params *p) {
  if (p->text.cap > KEEP_BYTES) lph_buf_free(&p->text);
}

void lph_params_free(lph_params *p) {
  lph_free(p->values);
  lph_free(p->lengths);
  lph_free(p->formats);
  lph_free(p->offsets);
  lph_buf_free(&p->text);
  *p = (lph_params){0};
}

/* ParameterDescription: length (4), count (2) and 4 bytes each; more than 30000 in all were too many before these. */
int lph_params_limit(int libpq) {
  static const int mended[] = {140024, 150019, 160015, 170011, 180006};
  for (size_t i = 0; i < lph_countof(mended); i++)
    if (libpq / 10000 == mended[i] / 10000) return libpq >= mended[i] ? LPH_PARAMS_MAX : LPH_PARAMS_OLD;
  return libpq < mended[0] ? LPH_PARAMS_OLD : LPH_PARAMS_MAX;
}
