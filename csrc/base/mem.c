/* mem.c - see mem.h. SPDX-License-Identifier: MIT */
#include "base/mem.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_long live_blocks;

#ifdef LPH_FAULT_ALLOC
static atomic_long countdown; /* 0 = off; the call that takes it to 0 fails */
static atomic_bool fail_forever;
static atomic_bool has_failed;

static bool must_fail(void) {
  if (atomic_load(&has_failed) && atomic_load(&fail_forever)) return true;
  if (atomic_load(&countdown) <= 0) return false;
  if (atomic_fetch_sub(&countdown, 1) != 1) return false;
  atomic_store(&has_failed, true);
  return true;
}

bool lph_mem_fail_at(long n, bool forever) {
  atomic_store(&has_failed, false);
  atomic_store(&fail_forever, forever);
  atomic_store(&countdown, n);
  return true;
}
bool lph_mem_failed(void) { return atomic_load(&has_failed); }
#else
static bool must_fail(void) { return false; }
bool lph_mem_fail_at(long n, bool forever) {
  (void)n;
  (void)forever;
  return false;
}
bool lph_mem_failed(void) { return false; }
#endif

static void *counted(void *block) {
  if (block != NULL) atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
  return block;
}

long lph_mem_live(void) { return atomic_load(&live_blocks); }

void *lph_alloc(size_t size) { return must_fail() ? NULL : counted(malloc(size ? size : 1)); }

void *lph_zalloc(size_t size) { return must_fail() ? NULL : counted(calloc(1, size ? size : 1)); }

void *lph_array(size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) return NULL;
  return lph_zalloc(count * size);
}

void *lph_regrow(void *block, size_t count, size_t size) {
  if (size != 0 && count > SIZE_MAX / size) return NULL;
  if (must_fail()) return NULL;
  size_t bytes = count * size;
  void *moved = realloc(block, bytes ? bytes : 1);
  return block == NULL ? counted(moved) : moved;
}

char *lph_strndup(const char *data, size_t len) {
  char *copy = len == SIZE_MAX ? NULL : lph_alloc(len + 1);
  if (copy == NULL) return NULL;
  if (len > 0) memcpy(copy, data, len);
  copy[len] = '\0';
  return copy;
}

void lph_free(void *block) {
  if (block == NULL) return;
  atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
  free(block);
}

void lph_wipe(void *block, size_t size) {
  volatile unsigned char *p = block;
  while (size-- > 0) *p++ = 0;
}
