/* mem.h - the one allocator of the core.
 *
 * Every block the core owns comes from here, so a test can make the n-th allocation fail
 * (build with LPH_FAULT_ALLOC) and a leak has one place to be counted. libpq and OpenSSL keep
 * their own malloc.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_MEM_H
#define LPH_MEM_H

#include "base/base.h"

/* All return NULL when memory is out; size 0 gives a valid block of one byte. Thread-safe. */
void *lph_alloc(size_t size);
void *lph_zalloc(size_t size);
void *lph_array(size_t count, size_t size);               /* zeroed; NULL on overflow too */
void *lph_regrow(void *block, size_t count, size_t size); /* realloc; old block stays valid on NULL */
char *lph_strndup(const char *data, size_t len);          /* NUL-terminated copy */
void lph_free(void *block);                               /* NULL is fine */

/* Overwrites before freeing, in a way the compiler may not remove. For passwords. */
void lph_wipe(void *block, size_t size);

/* How many blocks are alive (always counted: one atomic add) - specs compare before and after. */
long lph_mem_live(void);

/* Makes the n-th allocation from now (1 = the next) fail; `forever` makes all later ones fail as
 * well. n = 0 switches it off. Returns false where the build has no LPH_FAULT_ALLOC. */
bool lph_mem_fail_at(long n, bool forever);
/* True when an allocation was refused since the last lph_mem_fail_at. */
bool lph_mem_failed(void);

#endif
