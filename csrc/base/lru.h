/* lru.h - a bounded map from byte strings to entries, which forgets what was used longest ago.
 *
 * The user embeds an lph_lru_entry in a struct of his own and keeps owning that struct; the map owns only
 * the copy of the key. It is bounded by the number of entries and by the sum of their weights (bytes, or
 * whatever the user counts in). Whoever falls out is handed to `evict`.
 *
 * An entry can be found in two ways:
 *
 *   lph_lru_find        hashes the whole key: a statement of 2 kB costs as much as 2 kB of hashing.
 *   lph_lru_find_alias  hashes only the key's address. A caller who passes the same Lua string again
 *                       passes the same address, and a string that lives on keeps it.
 *
 * An alias is a hint, never trusted: the bytes at the address are compared with the entry's key, which
 * costs a memcmp and not a hash. So it does not matter whether the string an alias was made of is still
 * the one that lives there, and nobody need keep it alive. An entry has at most one alias, the one that was
 * set last; two entries never share one.
 *
 * All functions are O(1) except lph_lru_clear, lph_lru_free and growing (rare, spread over the inserts
 * that caused it). The map must stay where it was initialised. Not thread-safe.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LRU_H
#define LPH_LRU_H

#include "base/list.h"

typedef struct lph_lru_entry {
  /* readable */
  const char *key; /* the map's copy, NUL behind it; NULL while in no map */
  size_t key_len;
  size_t weight;
  /* private */
  lph_list order;
  struct lph_lru_entry *next_by_key, *next_by_alias;
  const void *alias; /* NULL = none */
  uint32_t hash;
} lph_lru_entry;

/* Called when an entry had to make room, was replaced or cleared; it is out of the map already, its key
 * still readable until this returns. Usually frees the struct around it. Must not touch the map. */
typedef void (*lph_lru_evict)(void *context, lph_lru_entry *entry);

typedef struct lph_lru {
  size_t max_count, max_weight; /* change them only before the first insert */
  /* private */
  lph_lru_evict evict;
  void *context;
  size_t count, weight;
  lph_list order;                     /* most recently used first */
  lph_lru_entry **by_key, **by_alias; /* two tables of `buckets` chains each, in one block */
  size_t buckets;                     /* a power of two, or 0 before the first insert */
} lph_lru;

/* Allocates nothing. max_weight 0 = no bound by weight; max_count 0 = nothing can be inserted. */
void lph_lru_init(lph_lru *lru, size_t max_count, size_t max_weight, lph_lru_evict evict, void *context);
/* Evicts all entries and gives the tables back; the map is empty and usable again. */
void lph_lru_free(lph_lru *lru);
void lph_lru_clear(lph_lru *lru); /* evicts all, oldest first, and keeps the tables */

/* NULL = not there. A find makes the entry the most recently used. */
lph_lru_entry *lph_lru_find(lph_lru *lru, const void *key, size_t len);
lph_lru_entry *lph_lru_find_alias(lph_lru *lru, const void *key, size_t len);
/* From now on find_alias knows the entry by `address` too (NULL: by none). The entry must be in the map. */
void lph_lru_set_alias(lph_lru *lru, lph_lru_entry *entry, const void *address);

/* Puts the entry in under a copy of the key, as most recently used, and evicts what no longer fits, and
 * one with the same key. The entry's content before does not matter. On failure nothing is changed:
 *   LPH_ENOMEM
 *   LPH_ERANGE  could not be kept even alone (heavier than max_weight, or max_count is 0) */
lph_err lph_lru_insert(lph_lru *lru, lph_lru_entry *entry, const void *key, size_t len, size_t weight);
/* Takes the entry out without calling evict. */
void lph_lru_remove(lph_lru *lru, lph_lru_entry *entry);
/* The entry turned out to weigh something else. May evict others, and evicts the entry itself, answering
 * false, when it can no longer be kept even alone. */
bool lph_lru_reweigh(lph_lru *lru, lph_lru_entry *entry, size_t weight);

static inline size_t lph_lru_count(const lph_lru *lru) { return lru->count; }
static inline size_t lph_lru_weight(const lph_lru *lru) { return lru->weight; }
/* Goes from the most to the least recently used: NULL starts, NULL ends. The entry that is passed must
 * still be in the map. */
lph_lru_entry *lph_lru_next(const lph_lru *lru, const lph_lru_entry *entry);

#endif
