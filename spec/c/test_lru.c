/* The list and the LRU map: order, bounds, aliases by address, and a long random run compared with a
 * naive model. Entries are heap blocks that the evict callback frees, so that a sanitizer build sees any
 * use after that.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/lru.h"
#include "base/mem.h"

/* ---- list ---------------------------------------------------------------------------------------- */

typedef struct thing {
  int number;
  lph_list link;
} thing;

static thing *thing_of(lph_list *node) { return node == NULL ? NULL : lph_list_entry(node, thing, link); }

static void a_list_keeps_order_and_lets_go(void **state) {
  (void)state;
  lph_list list;
  lph_list_init(&list);
  assert_true(lph_list_is_empty(&list));
  assert_null(lph_list_first(&list));
  assert_null(lph_list_last(&list));
  assert_null(lph_list_pop_front(&list));
  thing things[5];
  for (int i = 0; i < 5; i++) things[i].number = i;
  lph_list_push_back(&list, &things[1].link);
  lph_list_push_back(&list, &things[2].link);
  lph_list_push_front(&list, &things[0].link);
  lph_list_push_back(&list, &things[4].link);
  lph_list_insert_after(&things[2].link, &things[3].link);
  int expected = 0;
  lph_list_each(&list, node, after) {
    assert_int_equal(thing_of(node)->number, expected++);
    if (thing_of(node)->number == 2) lph_list_remove(node);
  }
  assert_int_equal(expected, 5);
  assert_true(lph_list_is_empty(&things[2].link)); /* in no list */
  lph_list_remove(&things[2].link);                /* again: nothing happens */
  assert_int_equal(thing_of(lph_list_first(&list))->number, 0);
  assert_int_equal(thing_of(lph_list_last(&list))->number, 4);
  static const int left[] = {0, 1, 3, 4};
  for (int i = 0; i < 4; i++) assert_int_equal(thing_of(lph_list_pop_front(&list))->number, left[i]);
  assert_true(lph_list_is_empty(&list));
}

/* ---- map ----------------------------------------------------------------------------------------- */

typedef struct record {
  int number;
  lph_lru_entry entry;
} record;

static char evicted[4096]; /* keys in the order they went, each with a space */

static void on_evict(void *context, lph_lru_entry *entry) {
  assert_ptr_equal(context, evicted);
  assert_null(lph_list_is_empty(&entry->order) ? NULL : entry); /* out of the map already */
  if (strlen(evicted) + entry->key_len + 2 < sizeof evicted) {
    strncat(evicted, entry->key, entry->key_len);
    strcat(evicted, " ");
  }
  free(lph_list_entry(entry, record, entry));
}

static void make(lph_lru *lru, size_t max_count, size_t max_weight) {
  evicted[0] = '\0';
  lph_lru_init(lru, max_count, max_weight, on_evict, evicted);
}

static record *put_bytes(lph_lru *lru, const char *key, size_t len, size_t weight) {
  record *r = malloc(sizeof *r);
  memset(r, 0xee, sizeof *r); /* its content before must not matter */
  assert_int_equal(lph_lru_insert(lru, &r->entry, key, len, weight), LPH_OK);
  return r;
}
static record *put(lph_lru *lru, const char *key, size_t weight) {
  return put_bytes(lru, key, strlen(key), weight);
}

static record *get(lph_lru *lru, const char *key) {
  lph_lru_entry *e = lph_lru_find(lru, key, strlen(key));
  return e == NULL ? NULL : lph_list_entry(e, record, entry);
}

static void check_order(lph_lru *lru, const char *keys) {
  char found[256] = "";
  for (lph_lru_entry *e = lph_lru_next(lru, NULL); e != NULL; e = lph_lru_next(lru, e)) strcat(found, e->key);
  assert_string_equal(found, keys);
  assert_int_equal(lph_lru_count(lru), strlen(keys));
}

static void the_least_recently_used_goes_first(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 3, 0);
  assert_null(get(&lru, "a"));
  assert_null(lph_lru_next(&lru, NULL));
  record *a = put(&lru, "a", 0);
  put(&lru, "b", 0);
  put(&lru, "c", 0);
  check_order(&lru, "cba");
  assert_ptr_equal(get(&lru, "a"), a); /* a find promotes */
  check_order(&lru, "acb");
  put(&lru, "d", 0);
  assert_string_equal(evicted, "b ");
  check_order(&lru, "dac");
  assert_null(get(&lru, "b"));
  put(&lru, "e", 0);
  assert_string_equal(evicted, "b c ");
  lph_lru_free(&lru);
  assert_string_equal(evicted, "b c a d e ");
  put(&lru, "f", 0); /* usable after free */
  lph_lru_free(&lru);
  lph_lru_free(&lru);
}

static void weight_is_bounded_too(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 100, 10);
  put(&lru, "a", 4);
  put(&lru, "b", 4);
  assert_int_equal(lph_lru_weight(&lru), 8);
  put(&lru, "c", 2);
  assert_string_equal(evicted, "");
  put(&lru, "d", 1);
  assert_string_equal(evicted, "a ");
  assert_int_equal(lph_lru_weight(&lru), 7);
  put(&lru, "e", 10); /* fits alone: all others go */
  assert_string_equal(evicted, "a b c d ");
  record too_heavy;
  assert_int_equal(lph_lru_insert(&lru, &too_heavy.entry, "f", 1, 11), LPH_ERANGE);
  check_order(&lru, "e");
  lph_lru_free(&lru);
  make(&lru, 0, 0);
  assert_int_equal(lph_lru_insert(&lru, &too_heavy.entry, "f", 1, 0), LPH_ERANGE);
  lph_lru_free(&lru);
}

static void a_weight_that_changes_evicts_others_before_itself(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 100, 10);
  put(&lru, "a", 3);
  record *b = put(&lru, "b", 3);
  put(&lru, "c", 3);
  assert_true(lph_lru_reweigh(&lru, &b->entry, 4));
  assert_string_equal(evicted, "");
  check_order(&lru, "bca");
  assert_int_equal(lph_lru_weight(&lru), 10);
  assert_true(lph_lru_reweigh(&lru, &b->entry, 7));
  assert_string_equal(evicted, "a ");
  assert_true(lph_lru_reweigh(&lru, &b->entry, 10));
  assert_string_equal(evicted, "a c ");
  assert_true(lph_lru_reweigh(&lru, &b->entry, 1));
  assert_int_equal(lph_lru_weight(&lru), 1);
  assert_ptr_equal(get(&lru, "b"), b);
  assert_false(lph_lru_reweigh(&lru, &b->entry, 11));
  assert_string_equal(evicted, "a c b ");
  assert_int_equal(lph_lru_weight(&lru), 0);
  assert_int_equal(lph_lru_count(&lru), 0);
  lph_lru_free(&lru);
}

static void keys_are_bytes_and_are_copied(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 100, 0);
  char key[] = "a\0b";
  record *first = put_bytes(&lru, key, 3, 0), *second = put_bytes(&lru, "a\0c", 3, 0);
  record *empty = put_bytes(&lru, NULL, 0, 0), *shorter = put_bytes(&lru, "a", 1, 0);
  memset(key, 'x', sizeof key);
  assert_ptr_equal(lph_lru_find(&lru, "a\0b", 3), &first->entry);
  assert_ptr_equal(lph_lru_find(&lru, "a\0c", 3), &second->entry);
  assert_ptr_equal(lph_lru_find(&lru, "", 0), &empty->entry);
  assert_ptr_equal(lph_lru_find(&lru, "a", 1), &shorter->entry);
  assert_null(lph_lru_find(&lru, "a\0", 2));
  assert_int_equal(first->entry.key[3], '\0');
  lph_lru_free(&lru);
}

static void the_same_key_again_replaces(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 2, 0);
  put(&lru, "a", 5);
  put(&lru, "b", 1);
  record *again = put(&lru, "a", 7);
  assert_string_equal(evicted, "a "); /* and b did not have to go */
  assert_ptr_equal(get(&lru, "a"), again);
  assert_int_equal(lph_lru_weight(&lru), 8);
  check_order(&lru, "ab");
  lph_lru_free(&lru);
}

static void what_is_removed_is_not_evicted(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 3, 0);
  record *a = put(&lru, "a", 2);
  put(&lru, "b", 3);
  static const char where[] = "a";
  lph_lru_set_alias(&lru, &a->entry, where);
  lph_lru_remove(&lru, &a->entry);
  assert_string_equal(evicted, "");
  assert_null(a->entry.key);
  assert_null(get(&lru, "a"));
  assert_null(lph_lru_find_alias(&lru, where, 1));
  assert_int_equal(lph_lru_weight(&lru), 3);
  assert_int_equal(lph_lru_insert(&lru, &a->entry, "c", 1, 1), LPH_OK); /* the same struct, another key */
  check_order(&lru, "cb");
  lph_lru_free(&lru);
}

/* ---- aliases --------------------------------------------------------------------------------------- */

static void an_alias_finds_by_address(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 3, 0);
  char mine[] = "select 1", same[] = "select 1";
  assert_null(lph_lru_find_alias(&lru, mine, 8));
  record *r = put(&lru, "select 1", 0);
  put(&lru, "x", 0);
  assert_null(lph_lru_find_alias(&lru, mine, 8));
  lph_lru_set_alias(&lru, &r->entry, mine);
  assert_ptr_equal(lph_lru_find_alias(&lru, mine, 8), &r->entry);
  assert_ptr_equal(lph_lru_next(&lru, NULL), &r->entry); /* promoted */
  assert_null(lph_lru_find_alias(&lru, same, 8));        /* the address counts */
  assert_null(lph_lru_find_alias(&lru, mine, 7));        /* and the length */
  lph_lru_set_alias(&lru, &r->entry, same);              /* the last alias is the only one */
  assert_null(lph_lru_find_alias(&lru, mine, 8));
  assert_ptr_equal(lph_lru_find_alias(&lru, same, 8), &r->entry);
  lph_lru_set_alias(&lru, &r->entry, same);
  lph_lru_set_alias(&lru, &r->entry, NULL);
  assert_null(lph_lru_find_alias(&lru, same, 8));
  assert_non_null(get(&lru, "select 1"));
  lph_lru_free(&lru);
}

/* To see it fail: leave out the comparison of bytes in lph_lru_find_alias. The wrong statement would run. */
static void an_address_with_other_bytes_finds_nothing(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 3, 0);
  char place[] = "delete 1";
  record *one = put(&lru, place, 0);
  lph_lru_set_alias(&lru, &one->entry, place);
  place[7] = '2'; /* the string died, another of the same length lives there */
  assert_null(lph_lru_find_alias(&lru, place, 8));
  record *two = put(&lru, place, 0);
  lph_lru_set_alias(&lru, &two->entry, place);
  assert_ptr_equal(lph_lru_find_alias(&lru, place, 8), &two->entry);
  place[7] = '1'; /* the first comes back: two entries never share an alias */
  assert_null(lph_lru_find_alias(&lru, place, 8));
  lph_lru_remove(&lru, &two->entry);
  free(two);
  assert_null(lph_lru_find_alias(&lru, place, 8));
  assert_ptr_equal(get(&lru, "delete 1"), one);
  lph_lru_free(&lru);
}

/* ---- a long random run against a model -------------------------------------------------------------- */

enum { KEYS = 48, MAX_COUNT = 17, MAX_WEIGHT = 60 };

typedef struct model { /* entries from most to least recently used */
  int key[KEYS];
  size_t weight[KEYS];
  int count;
} model;

static int model_find(const model *m, int key) {
  for (int i = 0; i < m->count; i++)
    if (m->key[i] == key) return i;
  return -1;
}
static void model_remove(model *m, int at) {
  memmove(m->key + at, m->key + at + 1, (size_t)(m->count - at - 1) * sizeof m->key[0]);
  memmove(m->weight + at, m->weight + at + 1, (size_t)(m->count - at - 1) * sizeof m->weight[0]);
  m->count--;
}
static void model_front(model *m, int key, size_t weight) {
  memmove(m->key + 1, m->key, (size_t)m->count * sizeof m->key[0]);
  memmove(m->weight + 1, m->weight, (size_t)m->count * sizeof m->weight[0]);
  m->key[0] = key;
  m->weight[0] = weight;
  m->count++;
}
static size_t model_weight(const model *m) {
  size_t sum = 0;
  for (int i = 0; i < m->count; i++) sum += m->weight[i];
  return sum;
}
static void model_bound(model *m) {
  while (m->count > MAX_COUNT || model_weight(m) > MAX_WEIGHT) m->count--;
}

static void check_model(lph_lru *lru, const model *m) {
  assert_int_equal(lph_lru_count(lru), m->count);
  assert_int_equal(lph_lru_weight(lru), model_weight(m));
  lph_lru_entry *e = lph_lru_next(lru, NULL);
  for (int i = 0; i < m->count; i++, e = lph_lru_next(lru, e)) {
    assert_non_null(e);
    assert_int_equal(lph_list_entry(e, record, entry)->number, m->key[i]);
  }
  assert_null(e);
}

static void a_long_run_agrees_with_a_model(void **state) {
  (void)state;
  long live = lph_mem_live();
  char names[KEYS][24], other[KEYS][24];
  for (int i = 0; i < KEYS; i++) {
    snprintf(names[i], sizeof names[i], "select %d from t", i * 7919);
    strcpy(other[i], names[i]);
  }
  lph_lru lru;
  make(&lru, MAX_COUNT, MAX_WEIGHT);
  model m = {.count = 0};
  srand(7);
  for (int round = 0; round < 200000; round++) {
    int key = rand() % KEYS, at = model_find(&m, key);
    size_t len = strlen(names[key]), weight = (size_t)(rand() % 9);
    char *address = rand() % 2 ? names[key] : other[key];
    lph_lru_entry *e = NULL;
    switch (rand() % 8) {
      case 0:
      case 1: /* insert, or replace */
        if (at >= 0) model_remove(&m, at);
        model_front(&m, key, weight);
        model_bound(&m);
        put_bytes(&lru, names[key], len, weight)->number = key;
        break;
      case 2: /* remove */
        e = lph_lru_find(&lru, other[key], len);
        assert_int_equal(e != NULL, at >= 0);
        if (e == NULL) break;
        model_remove(&m, at);
        lph_lru_remove(&lru, e);
        free(lph_list_entry(e, record, entry));
        break;
      case 3: /* reweigh */
        e = lph_lru_find(&lru, names[key], len);
        if (e == NULL) break;
        model_remove(&m, at);
        model_front(&m, key, weight);
        model_bound(&m);
        assert_true(lph_lru_reweigh(&lru, e, weight));
        break;
      default: /* find, as a statement cache does */
        e = lph_lru_find_alias(&lru, address, len);
        if (e == NULL) {
          e = lph_lru_find(&lru, address, len);
          if (e != NULL) lph_lru_set_alias(&lru, e, rand() % 8 ? address : names[(key + 1) % KEYS]);
        }
        assert_int_equal(e != NULL, at >= 0);
        if (e == NULL) break;
        assert_int_equal(lph_list_entry(e, record, entry)->number, key);
        weight = m.weight[at];
        model_remove(&m, at);
        model_front(&m, key, weight);
    }
    if (round % 16 == 0) check_model(&lru, &m);
  }
  check_model(&lru, &m);
  lph_lru_clear(&lru);
  assert_int_equal(lph_lru_count(&lru), 0);
  lph_lru_free(&lru);
  assert_int_equal(lph_mem_live(), live);
}

static void a_large_map_finds_all(void **state) {
  (void)state;
  lph_lru lru;
  make(&lru, 100000, 0);
  char key[24];
  for (int i = 0; i < 20000; i++) {
    snprintf(key, sizeof key, "k%d", i);
    record *r = put(&lru, key, 1);
    r->number = i;
    lph_lru_set_alias(&lru, &r->entry, r); /* any address will do; these bytes are never equal to the key */
  }
  for (int i = 0; i < 20000; i++) {
    snprintf(key, sizeof key, "k%d", i);
    assert_int_equal(get(&lru, key)->number, i);
  }
  lph_lru_free(&lru);
}

static void without_memory_nothing_changes(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live();
  bool failed = true;
  int harmless = 0;
  for (long n = 1; failed; n++) {
    lph_lru lru;
    make(&lru, 64, 0);
    char key[24];
    size_t done = 0;
    lph_mem_fail_at(n, false);
    for (int i = 0; i < 40; i++) { /* past two growths of the tables */
      snprintf(key, sizeof key, "k%d", i);
      record *r = malloc(sizeof *r);
      lph_err rc = lph_lru_insert(&lru, &r->entry, key, strlen(key), 1);
      if (rc == LPH_OK) {
        done++;
        continue;
      }
      free(r);
      assert_int_equal(rc, LPH_ENOMEM);
      assert_null(get(&lru, key));
      assert_int_equal(lph_lru_count(&lru), done);
    }
    failed = lph_mem_failed();
    lph_mem_fail_at(0, false);
    assert_true(done >= 39);
    harmless += failed && done == 40;
    size_t found = 0;
    for (int i = 0; i < 40; i++) {
      snprintf(key, sizeof key, "k%d", i);
      found += get(&lru, key) != NULL;
    }
    assert_int_equal(found, done);
    assert_string_equal(evicted, "");
    lph_lru_free(&lru);
    assert_int_equal(lph_mem_live(), live);
  }
  assert_int_equal(harmless, 2); /* the two growths: failing to grow tables that exist is no failure */
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(a_list_keeps_order_and_lets_go),
    cmocka_unit_test(the_least_recently_used_goes_first),
    cmocka_unit_test(weight_is_bounded_too),
    cmocka_unit_test(a_weight_that_changes_evicts_others_before_itself),
    cmocka_unit_test(keys_are_bytes_and_are_copied),
    cmocka_unit_test(the_same_key_again_replaces),
    cmocka_unit_test(what_is_removed_is_not_evicted),
    cmocka_unit_test(an_alias_finds_by_address),
    cmocka_unit_test(an_address_with_other_bytes_finds_nothing),
    cmocka_unit_test(a_long_run_agrees_with_a_model),
    cmocka_unit_test(a_large_map_finds_all),
    cmocka_unit_test(without_memory_nothing_changes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
