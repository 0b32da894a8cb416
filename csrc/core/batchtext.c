/* batchtext.c - what a text is to a batch; see lph_batch_class in batch.h.
 * SPDX-License-Identifier: MIT */
#include <string.h>
#include <strings.h>

#include "core/batch.h"
#include "core/share.h"

static bool is_one_of(lph_bytes word, const char *const *list) {
  for (; *list != NULL; list++)
    if (strlen(*list) == word.len && strncasecmp(word.data, *list, word.len) == 0) return true;
  return false;
}

lph_batch_class lph_batch_class_of(lph_bytes sql) {
  static const char *const plain[] = {"select", "insert", "update", "delete",  "with",  "values", "table",
                                      "merge",  "notify", "set",    "explain", "fetch", "show",   NULL};
  static const char *const copy[] = {"copy", NULL};
  static const char *const listen[] = {"listen", "unlisten", NULL};
  static const char *const control[] = {"begin", "start",     "commit",  "end",     "rollback",
                                        "abort", "savepoint", "release", "prepare", NULL};
  lph_bytes word = lph_share_first_word(sql);
  if (is_one_of(word, plain)) return LPH_BATCH_PLAIN;
  if (is_one_of(word, copy)) return LPH_BATCH_COPY;
  if (is_one_of(word, listen)) return LPH_BATCH_LISTEN;
  return is_one_of(word, control) ? LPH_BATCH_CONTROL : LPH_BATCH_BARRIER;
}
