/* lru.c - see lru.h. SPDX-License-Identifier: MIT */
#include "base/lru.h"

#include <string.h>

#include "base/mem.h"

/* Eight bytes a step, each mixed in by a multiplication whose high half comes back to the low bits. Keys
 * are the program's own SQL, not an attacker's: no seed. The constants are odd and have about as many
 * ones as zeros; nothing else is asked of them. */
static uint32_t hash_bytes(const void *data, size_t len) {
  const unsigned char *p = data;
  uint64_t h = len * UINT64_C(0x9e3779b97f4a7c15);
  for (; len >= 8; p += 8, len -= 8) {
    uint64_t word;
    memcpy(&word, p, 8);
    h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
    h ^= h >> 32;
  }
  uint64_t tail = 0;
  if (len > 0) memcpy(&tail, p, len);
  h = (h ^ tail) * UINT64_C(0xc4ceb9fe1a85ec53);
  return (uint32_t)(h ^ (h >> 32));
}

/* Blocks are aligned, so the low bits of an address say little. */
static uint32_t hash_address(const void *address) {
  uint64_t h = (uint64_t)(uintptr_t)address * UINT64_C(0x9e3779b97f4a7c15);
  return (uint32_t)(h >> 32);
}

static lph_lru_entry **key_chain(const lph_lru *lru, uint32_t hash) {
  return &lru->by_key[hash & (lru->buckets - 1)];
}

static lph_lru_entry **alias_chain(const lph_lru *lru, const void *address) {
  return &lru->by_alias[hash_address(address) & (lru->buckets - 1)];
}

static void unlink_key(lph_lru *lru, lph_lru_entry *entry) {
  lph_lru_entry **at = key_chain(lru, entry->hash);
  while (*at != entry) at = &(*at)->next_by_key;
  *at = entry->next_by_key;
}

static void unlink_alias(lph_lru *lru, lph_lru_entry *entry) {
  if (entry->alias == NULL) return;
  lph_lru_entry **at = alias_chain(lru, entry->alias);
  while (*at != entry) at = &(*at)->next_by_alias;
  *at = entry->next_by_alias;
  entry->alias = NULL;
}

static void link_in(lph_lru *lru, lph_lru_entry *entry) {
  lph_lru_entry **chain = key_chain(lru, entry->hash);
  entry->next_by_key = *chain;
  *chain = entry;
  if (entry->alias == NULL) return;
  chain = alias_chain(lru, entry->alias);
  entry->next_by_alias = *chain;
  *chain = entry;
}

static void promote(lph_lru *lru, lph_lru_entry *entry) {
  if (lru->order.next == &entry->order) return;
  lph_list_remove(&entry->order);
  lph_list_push_front(&lru->order, &entry->order);
}

static bool has_key(const lph_lru_entry *entry, const void *key, size_t len) {
  return entry->key_len == len && (len == 0 || memcmp(entry->key, key, len) == 0);
}

static lph_lru_entry *lookup(const lph_lru *lru, const void *key, size_t len, uint32_t hash) {
  if (lru->buckets == 0) return NULL;
  lph_lru_entry *e = *key_chain(lru, hash);
  while (e != NULL && !(e->hash == hash && has_key(e, key, len))) e = e->next_by_key;
  return e;
}

void lph_lru_init(lph_lru *lru, size_t max_count, size_t max_weight, lph_lru_evict evict, void *context) {
  *lru = (lph_lru){.max_count = max_count, .max_weight = max_weight, .evict = evict, .context = context};
  lph_list_init(&lru->order);
}

void lph_lru_free(lph_lru *lru) {
  lph_lru_clear(lru);
  lph_free(lru->by_key);
  lru->by_key = lru->by_alias = NULL;
  lru->buckets = 0;
}

/* Out of all structures. The key goes to the caller, who frees it when nobody reads it any more. */
static char *detach(lph_lru *lru, lph_lru_entry *entry) {
  unlink_key(lru, entry);
  unlink_alias(lru, entry);
  lph_list_remove(&entry->order);
  lru->count--;
  lru->weight -= entry->weight;
  return (char *)(uintptr_t)entry->key;
}

static void evict(lph_lru *lru, lph_lru_entry *entry) {
  char *key = detach(lru, entry);
  if (lru->evict != NULL) lru->evict(lru->context, entry);
  lph_free(key); /* not entry->key: the entry may be gone */
}

static lph_lru_entry *oldest(const lph_lru *lru) {
  return lph_list_entry(lph_list_last(&lru->order), lph_lru_entry, order);
}

void lph_lru_clear(lph_lru *lru) {
  while (lru->count > 0) evict(lru, oldest(lru));
}

void lph_lru_remove(lph_lru *lru, lph_lru_entry *entry) {
  lph_free(detach(lru, entry));
  entry->key = NULL;
}

/* Makes room for `count` and `weight` on top of what is there. Both fit alone, so the loop ends. */
static void shrink(lph_lru *lru, size_t count, size_t weight) {
  while (lru->count > lru->max_count - count ||
         (lru->max_weight > 0 && lru->count > 0 && lru->weight > lru->max_weight - weight))
    evict(lru, oldest(lru));
}

/* At most one entry per chain on average. When there is no memory to grow, chains get longer instead. */
static lph_err grow(lph_lru *lru) {
  if (lru->count < lru->buckets) return LPH_OK;
  size_t buckets = lru->buckets ? lru->buckets * 2 : 16;
  lph_lru_entry **chains = lph_array(buckets * 2, sizeof(lph_lru_entry *));
  if (chains == NULL) return lru->buckets == 0 ? LPH_ENOMEM : LPH_OK;
  lph_free(lru->by_key);
  lru->by_key = chains;
  lru->by_alias = chains + buckets;
  lru->buckets = buckets;
  lph_list_each(&lru->order, node, after) link_in(lru, lph_list_entry(node, lph_lru_entry, order));
  return LPH_OK;
}

lph_lru_entry *lph_lru_find(lph_lru *lru, const void *key, size_t len) {
  lph_lru_entry *entry = lookup(lru, key, len, hash_bytes(key, len));
  if (entry != NULL) promote(lru, entry);
  return entry;
}

lph_lru_entry *lph_lru_find_alias(lph_lru *lru, const void *key, size_t len) {
  if (lru->buckets == 0) return NULL;
  for (lph_lru_entry *e = *alias_chain(lru, key); e != NULL; e = e->next_by_alias) {
    if (e->alias != key) continue;
    if (!has_key(e, key, len)) return NULL; /* another string lives there now */
    promote(lru, e);
    return e;
  }
  return NULL;
}

void lph_lru_set_alias(lph_lru *lru, lph_lru_entry *entry, const void *address) {
  if (entry->alias == address) return;
  unlink_alias(lru, entry);
  if (address == NULL) return;
  lph_lru_entry *holder = *alias_chain(lru, address);
  while (holder != NULL && holder->alias != address) holder = holder->next_by_alias;
  if (holder != NULL) unlink_alias(lru, holder); /* its string is gone: another one is at its address */
  lph_lru_entry **chain = alias_chain(lru, address);
  entry->alias = address;
  entry->next_by_alias = *chain;
  *chain = entry;
}

lph_err lph_lru_insert(lph_lru *lru, lph_lru_entry *entry, const void *key, size_t len, size_t weight) {
  if (lru->max_count == 0 || (lru->max_weight > 0 && weight > lru->max_weight)) return LPH_ERANGE;
  if (grow(lru) != LPH_OK) return LPH_ENOMEM;
  char *copy = lph_strndup(key, len);
  if (copy == NULL) return LPH_ENOMEM;
  *entry = (lph_lru_entry){.key = copy, .key_len = len, .weight = weight, .hash = hash_bytes(key, len)};
  lph_lru_entry *same = lookup(lru, key, len, entry->hash);
  if (same != NULL) evict(lru, same);
  shrink(lru, 1, weight);
  link_in(lru, entry);
  lph_list_push_front(&lru->order, &entry->order);
  lru->count++;
  lru->weight += weight;
  return LPH_OK;
}

bool lph_lru_reweigh(lph_lru *lru, lph_lru_entry *entry, size_t weight) {
  if (lru->max_weight > 0 && weight > lru->max_weight) {
    evict(lru, entry);
    return false;
  }
  /* Out of the count while others go, so that it cannot be among them. */
  lph_list_remove(&entry->order);
  lru->count--;
  lru->weight -= entry->weight;
  shrink(lru, 1, weight);
  entry->weight = weight;
  lph_list_push_front(&lru->order, &entry->order);
  lru->count++;
  lru->weight += weight;
  return true;
}

lph_lru_entry *lph_lru_next(const lph_lru *lru, const lph_lru_entry *entry) {
  const lph_list *node = entry == NULL ? lru->order.next : entry->order.next;
  return node == &lru->order ? NULL : lph_list_entry(node, lph_lru_entry, order);
}
