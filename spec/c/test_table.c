/* The table of built-in types and the map of user types: complete, sorted, findable by every name; copies
 * are deep, what was replaced stays alive, and a type's parts decide whether it can be read in binary.
 *
 * SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/mem.h"
#include "types/oid.h"
#include "types/type.h"

static const lph_oid all_oids[] = {
#define LPH_BUILTIN(oid, elem, kind, delim, name) oid,
#include "types/builtin.inc"
#undef LPH_BUILTIN
};

/* ---- built-in types -------------------------------------------------------------------------------- */

static void every_built_in_type_is_found_and_makes_sense(void **state) {
  (void)state;
  assert_true(lph_countof(all_oids) > 180);
  for (size_t i = 0; i < lph_countof(all_oids); i++) {
    const lph_type *type = lph_typemap_find(NULL, all_oids[i]);
    assert_non_null(type);
    assert_int_equal(type->oid, all_oids[i]);
    assert_true(type->name[0] != '\0');
    assert_int_equal(type->field_count, 0);
    bool is_box = type->oid == LPH_OID_BOX || type->oid == LPH_OID_BOX_ARRAY;
    assert_int_equal(type->delim, is_box ? ';' : ',');
    const lph_type *part = lph_typemap_find(NULL, type->elem);
    bool is_array = strlen(type->name) > 2 && strcmp(type->name + strlen(type->name) - 2, "[]") == 0;
    assert_int_equal(type->kind == LPH_ARRAY, is_array);
    bool has_part = type->kind == LPH_ARRAY || type->kind == LPH_RANGE || type->kind == LPH_MULTIRANGE;
    assert_int_equal(part != NULL, has_part);
    if (type->kind == LPH_ARRAY) { /* the array's name is its element's, and leads back to it */
      assert_int_equal(strncmp(type->name, part->name, strlen(part->name)), 0);
      assert_int_equal(type->delim, part->delim);
    }
    if (type->kind == LPH_MULTIRANGE) assert_int_equal(part->kind, LPH_RANGE);
  }
}

static void oids_that_are_not_built_in_are_unknown(void **state) {
  (void)state;
  size_t known = 0;
  for (lph_oid oid = 0; oid < 20000; oid++) known += lph_typemap_find(NULL, oid) != NULL;
  assert_int_equal(known, lph_countof(all_oids));
  assert_null(lph_typemap_find(NULL, 0));
  assert_null(lph_typemap_find(NULL, UINT32_MAX));
}

static void kinds_are_as_the_wire_needs_them(void **state) {
  (void)state;
  static const struct {
    lph_oid oid;
    lph_kind kind;
  } some[] = {
    {LPH_OID_BOOL, LPH_BOOL},
    {LPH_OID_INT2, LPH_INT2},
    {LPH_OID_INT4, LPH_INT4},
    {LPH_OID_INT8, LPH_INT8},
    {LPH_OID_OID, LPH_UINT4},
    {LPH_OID_XID8, LPH_UINT8},
    {LPH_OID_FLOAT4, LPH_FLOAT4},
    {LPH_OID_FLOAT8, LPH_FLOAT8},
    {LPH_OID_TEXT, LPH_TEXT},
    {LPH_OID_BPCHAR, LPH_TEXT},
    {LPH_OID_NAME, LPH_TEXT},
    {LPH_OID_CHAR, LPH_CHAR},
    {LPH_OID_BYTEA, LPH_BYTEA},
    {LPH_OID_JSON, LPH_JSON},
    {LPH_OID_JSONB, LPH_JSONB},
    {LPH_OID_NUMERIC, LPH_NUMERIC},
    {LPH_OID_TIMESTAMPTZ, LPH_TIMESTAMPTZ},
    {LPH_OID_CIDR, LPH_INET},
    {LPH_OID_VARBIT, LPH_BIT},
    {LPH_OID_JSONPATH, LPH_VERSIONED},
    {LPH_OID_RECORD, LPH_RECORD},
    {LPH_OID_VOID, LPH_VOID},
    {LPH_OID_MONEY, LPH_OPAQUE},
    {LPH_OID_REGCLASS, LPH_OPAQUE},
    {LPH_OID_TSVECTOR, LPH_OPAQUE},
    {LPH_OID_INT2VECTOR, LPH_OPAQUE},
    {LPH_OID_REFCURSOR, LPH_TEXT},
    {LPH_OID_INT4RANGE, LPH_RANGE},
    {LPH_OID_INT4_ARRAY, LPH_ARRAY},
    {LPH_OID_INT4MULTIRANGE, LPH_MULTIRANGE},
  };
  for (size_t i = 0; i < lph_countof(some); i++)
    assert_int_equal(lph_typemap_find(NULL, some[i].oid)->kind, some[i].kind);
}

static void check_name(const char *name, lph_oid oid) {
  const lph_type *type = lph_builtin_by_name(name);
  if ((type == NULL ? 0 : type->oid) != oid) fail_msg("%s is not %u", name, (unsigned)oid);
}

static void types_are_found_by_every_name_they_have(void **state) {
  (void)state;
  check_name("int4", LPH_OID_INT4);
  check_name("int", LPH_OID_INT4);
  check_name("integer", LPH_OID_INT4);
  check_name("INTEGER", LPH_OID_INT4);
  check_name("bigint", LPH_OID_INT8);
  check_name("float", LPH_OID_FLOAT8);
  check_name("double precision", LPH_OID_FLOAT8);
  check_name("real", LPH_OID_FLOAT4);
  check_name("decimal", LPH_OID_NUMERIC);
  check_name("timestamptz", LPH_OID_TIMESTAMPTZ);
  check_name("Timestamp With Time Zone", LPH_OID_TIMESTAMPTZ);
  check_name("timestamp", LPH_OID_TIMESTAMP);
  check_name("varchar", LPH_OID_VARCHAR);
  check_name("character varying", LPH_OID_VARCHAR);
  check_name("char", LPH_OID_BPCHAR);
  check_name("\"char\"", LPH_OID_CHAR);
  check_name("bit varying", LPH_OID_VARBIT);
  check_name("int4[]", LPH_OID_INT4_ARRAY);
  check_name("integer[][]", LPH_OID_INT4_ARRAY);
  check_name("_int4", LPH_OID_INT4_ARRAY);
  check_name("\"char\"[]", LPH_OID_CHAR_ARRAY);
  check_name("box[]", LPH_OID_BOX_ARRAY);
  for (size_t i = 0; i < lph_countof(all_oids); i++) { /* what format_type prints, arrays included */
    const lph_type *type = lph_typemap_find(NULL, all_oids[i]);
    const lph_type *elem = type->kind == LPH_ARRAY ? lph_typemap_find(NULL, type->elem) : type;
    const lph_type *found = lph_builtin_by_name(type->name);
    if (lph_builtin_by_name(elem->name) != NULL) assert_ptr_equal(found, type);
  }
}

static void words_that_name_no_type_find_none(void **state) {
  (void)state;
  static const char *const words[] = {
    "",         "_",
    "[]",       "int5",
    "integer ", " int4",
    "int4[",    "int4]",
    "[]int4",   "in",
    "integers", "any",
    "cstring",  "trigger",
    "zzz",      "a",
    "void[]",   "__int4",
    "int4[] ",  "a name that is longer than any type's name and longer than the room for folding it",
  };
  for (size_t i = 0; i < lph_countof(words); i++) check_name(words[i], 0);
}

/* ---- user types ------------------------------------------------------------------------------------ */

static void a_definition_is_a_deep_copy(void **state) {
  (void)state;
  long live = lph_mem_live();
  lph_typemap *map = lph_typemap_new();
  char name[] = "shop.item", first[] = "id", second[] = "price";
  lph_field fields[] = {{first, LPH_OID_INT4}, {second, LPH_OID_NUMERIC}};
  lph_type type = {
    .oid = 20001, .kind = LPH_COMPOSITE, .delim = ',', .field_count = 2, .fields = fields, .name = name};
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  memset(name, 'x', strlen(name));
  memset(first, 'x', strlen(first));
  memset(second, 'x', strlen(second));
  memset(fields, 0, sizeof fields);
  const lph_type *found = lph_typemap_find(map, 20001);
  assert_non_null(found);
  assert_string_equal(found->name, "shop.item");
  assert_int_equal(found->field_count, 2);
  assert_string_equal(found->fields[0].name, "id");
  assert_string_equal(found->fields[1].name, "price");
  assert_int_equal(found->fields[1].type, LPH_OID_NUMERIC);
  assert_int_equal(found->kind, LPH_COMPOSITE);
  lph_typemap_release(map);
  assert_int_equal(lph_mem_live(), live);
}

static lph_type plain(lph_oid oid, lph_kind kind, const char *name) {
  return (lph_type){.oid = oid, .kind = (uint8_t)kind, .delim = ',', .name = name};
}

static void what_was_replaced_or_forgotten_stays_alive(void **state) {
  (void)state;
  long live = lph_mem_live();
  lph_typemap *map = lph_typemap_new();
  lph_type type = plain(20001, LPH_TEXT, "mood");
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  const lph_type *old = lph_typemap_find(map, 20001);
  long after_first = lph_mem_live();
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  assert_ptr_equal(lph_typemap_find(map, 20001), old); /* the same again changes nothing */
  assert_int_equal(lph_mem_live(), after_first);
  type.name = "temper";
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  const lph_type *new = lph_typemap_find(map, 20001);
  assert_string_equal(new->name, "temper");
  assert_string_equal(old->name, "mood");
  type.is_enum = true;
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  assert_true(lph_typemap_find(map, 20001)->is_enum);
  assert_string_equal(new->name, "temper");
  assert_ptr_equal(lph_typemap_retain(map), map);
  lph_typemap_release(map);
  assert_string_equal(old->name, "mood"); /* one reference is left */
  lph_typemap_release(map);
  lph_typemap_release(NULL);
  assert_int_equal(lph_mem_live(), live);
}

static void doubt_lasts_until_a_type_is_said_again(void **state) {
  (void)state;
  lph_typemap *map = lph_typemap_new();
  lph_type type = {.oid = 20001, .kind = LPH_TEXT, .name = "mood"};
  const lph_type *builtin = lph_typemap_find(map, 23);
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  const lph_type *old = lph_typemap_find(map, 20001);
  assert_true(lph_typemap_is_current(map, old));
  unsigned long version = lph_typemap_version(map);
  lph_typemap_doubt(map);
  assert_ptr_equal(lph_typemap_find(map, 20001), old); /* who uses it goes on using it */
  assert_false(lph_typemap_is_current(map, old));
  assert_true(lph_typemap_is_current(map, builtin));
  long live = lph_mem_live();
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  assert_int_equal(lph_mem_live(), live); /* confirmed: nothing piles up */
  assert_true(lph_typemap_is_current(map, old));
  assert_true(lph_typemap_version(map) == version);
  type.name = "temper";
  assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
  assert_false(lph_typemap_version(map) == version);
  lph_typemap_release(map);
}

static void any_difference_is_a_new_definition(void **state) {
  (void)state;
  lph_typemap *map = lph_typemap_new();
  lph_field a[] = {{"id", 23}, {"name", 25}}, b[] = {{"id", 23}, {"title", 25}},
            c[] = {{"id", 20}, {"title", 25}};
  lph_type types[] = {
    {.oid = 20001, .kind = LPH_COMPOSITE, .field_count = 2, .fields = a, .name = "t"},
    {.oid = 20001, .kind = LPH_COMPOSITE, .field_count = 2, .fields = b, .name = "t"},
    {.oid = 20001, .kind = LPH_COMPOSITE, .field_count = 2, .fields = c, .name = "t"},
    {.oid = 20001, .kind = LPH_COMPOSITE, .field_count = 1, .fields = c, .name = "t"},
    {.oid = 20001, .kind = LPH_ARRAY, .elem = 23, .delim = ',', .name = "t"},
    {.oid = 20001, .kind = LPH_ARRAY, .elem = 25, .delim = ',', .name = "t"},
    {.oid = 20001, .kind = LPH_ARRAY, .elem = 25, .delim = ';', .name = "t"},
    {.oid = 20001, .kind = LPH_RANGE, .elem = 25, .delim = ';', .name = "t"},
  };
  const lph_type *last = NULL;
  for (size_t i = 0; i < lph_countof(types); i++) {
    assert_int_equal(lph_typemap_define(map, &types[i]), LPH_OK);
    const lph_type *found = lph_typemap_find(map, 20001);
    assert_ptr_not_equal(found, last);
    assert_int_equal(found->kind, types[i].kind);
    last = found;
  }
  lph_typemap_release(map);
}

static void built_in_types_cannot_be_redefined(void **state) {
  (void)state;
  lph_typemap *map = lph_typemap_new();
  lph_type type = plain(LPH_OID_INT4, LPH_TEXT, "mine");
  assert_int_equal(lph_typemap_define(map, &type), LPH_ETYPE);
  assert_int_equal(lph_typemap_find(map, LPH_OID_INT4)->kind, LPH_INT4);
  type.oid = 0;
  assert_int_equal(lph_typemap_define(map, &type), LPH_ETYPE);
  assert_null(lph_typemap_find(map, 0));
  lph_typemap_release(map);
}

static void thousands_of_types_are_all_found(void **state) {
  (void)state;
  lph_typemap *map = lph_typemap_new();
  char name[32];
  for (int round = 0; round < 2; round++) /* neighbours, and a stride that a bad hash would pile up */
    for (lph_oid i = 0; i < 5000; i++) {
      lph_type type = plain(round ? 1000000 + i * 4096 : 20000 + i, LPH_TEXT, name);
      snprintf(name, sizeof name, "t%u", (unsigned)type.oid);
      assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
    }
  for (int round = 0; round < 2; round++)
    for (lph_oid i = 0; i < 5000; i++) {
      lph_oid oid = round ? 1000000 + i * 4096 : 20000 + i;
      const lph_type *found = lph_typemap_find(map, oid);
      snprintf(name, sizeof name, "t%u", (unsigned)oid);
      assert_non_null(found);
      assert_string_equal(found->name, name);
    }
  assert_null(lph_typemap_find(map, 19999));
  assert_null(lph_typemap_find(map, 25000));
  lph_typemap_release(map);
}

static void without_memory_the_map_stays_as_it_was(void **state) {
  (void)state;
  if (!lph_mem_fail_at(0, false)) skip();
  long live = lph_mem_live();
  lph_mem_fail_at(1, false);
  assert_null(lph_typemap_new());
  bool failed = true;
  for (long n = 1; failed; n++) {
    lph_mem_fail_at(0, false);
    lph_typemap *map = lph_typemap_new();
    assert_non_null(map);
    lph_mem_fail_at(n, false);
    lph_oid done = 0;
    for (lph_oid i = 0; i < 40; i++, done++) { /* past one growth of the table */
      lph_type type = plain(20000 + i, LPH_TEXT, "t");
      lph_err rc = lph_typemap_define(map, &type);
      if (rc == LPH_OK) continue;
      assert_int_equal(rc, LPH_ENOMEM);
      break;
    }
    failed = lph_mem_failed();
    assert_int_equal(failed, done < 40);
    lph_mem_fail_at(0, false);
    for (lph_oid i = 0; i < 40; i++) assert_int_equal(lph_typemap_find(map, 20000 + i) != NULL, i < done);
    lph_type type = plain(20000 + done, LPH_TEXT, "again"); /* and is usable */
    assert_int_equal(lph_typemap_define(map, &type), LPH_OK);
    lph_typemap_release(map);
    assert_int_equal(lph_mem_live(), live);
  }
}

/* ---- which format ---------------------------------------------------------------------------------- */

static bool binary(const lph_typemap *map, lph_oid oid) {
  return lph_type_has_binary(map, lph_typemap_find(map, oid));
}

static bool floats(const lph_typemap *map, lph_oid oid) {
  return lph_type_has_float(map, lph_typemap_find(map, oid));
}

static void parts_decide_whether_a_type_has_a_binary_form(void **state) {
  (void)state;
  assert_true(binary(NULL, LPH_OID_INT4));
  assert_true(binary(NULL, LPH_OID_INT4_ARRAY));
  assert_true(binary(NULL, LPH_OID_TSTZRANGE));
  assert_true(binary(NULL, LPH_OID_DATEMULTIRANGE));
  assert_true(binary(NULL, LPH_OID_DATEMULTIRANGE_ARRAY));
  assert_true(binary(NULL, LPH_OID_RECORD));
  assert_true(binary(NULL, LPH_OID_VOID));
  assert_false(binary(NULL, LPH_OID_MONEY));
  assert_false(binary(NULL, LPH_OID_REGCLASS_ARRAY));
  assert_false(lph_type_has_binary(NULL, NULL));
  assert_true(floats(NULL, LPH_OID_FLOAT4));
  assert_true(floats(NULL, LPH_OID_FLOAT8_ARRAY));
  assert_true(floats(NULL, LPH_OID_POINT));
  assert_false(floats(NULL, LPH_OID_NUMERIC));
  assert_false(floats(NULL, LPH_OID_INT4_ARRAY));
  assert_false(lph_type_has_float(NULL, NULL));
  lph_typemap *map = lph_typemap_new();
  lph_field good[] = {{"a", LPH_OID_INT4}, {"b", LPH_OID_TEXT_ARRAY}};
  lph_field bad[] = {{"a", LPH_OID_INT4}, {"b", LPH_OID_MONEY}};
  lph_field measured[] = {{"a", LPH_OID_INT4}, {"b", LPH_OID_FLOAT8}};
  lph_field unknown[] = {{"a", 29999}};
  lph_type types[] = {
    {.oid = 20001, .kind = LPH_COMPOSITE, .field_count = 2, .fields = good, .name = "good"},
    {.oid = 20002, .kind = LPH_COMPOSITE, .field_count = 2, .fields = bad, .name = "bad"},
    {.oid = 20003, .kind = LPH_COMPOSITE, .field_count = 1, .fields = unknown, .name = "unknown"},
    {.oid = 20004, .kind = LPH_ARRAY, .elem = 20001, .delim = ',', .name = "good[]"},
    {.oid = 20005, .kind = LPH_ARRAY, .elem = 20002, .delim = ',', .name = "bad[]"},
    {.oid = 20006, .kind = LPH_RANGE, .elem = 29999, .name = "range of unknown"},
    {.oid = 20007, .kind = LPH_COMPOSITE, .name = "no fields"},
    {.oid = 20008, .kind = LPH_HSTORE, .name = "hstore"},
    {.oid = 20009, .kind = LPH_COMPOSITE, .field_count = 2, .fields = measured, .name = "measured"},
    {.oid = 20010, .kind = LPH_ARRAY, .elem = 20009, .delim = ',', .name = "measured[]"},
  };
  for (size_t i = 0; i < lph_countof(types); i++)
    assert_int_equal(lph_typemap_define(map, &types[i]), LPH_OK);
  assert_true(binary(map, 20001));
  assert_false(binary(map, 20002));
  assert_false(binary(map, 20003));
  assert_true(binary(map, 20004));
  assert_false(binary(map, 20005));
  assert_false(binary(map, 20006));
  assert_true(binary(map, 20007));
  assert_true(binary(map, 20008));
  assert_true(floats(map, 20010));
  assert_false(floats(map, 20004));
  lph_typemap_release(map);
}

/* Without the bound on visits the last assertion would take hours. */
static void a_type_graph_without_end_is_cut(void **state) {
  (void)state;
  lph_typemap *map = lph_typemap_new();
  lph_type self = {.oid = 20001, .kind = LPH_ARRAY, .elem = 20001, .name = "self"};
  assert_int_equal(lph_typemap_define(map, &self), LPH_OK);
  assert_false(binary(map, 20001));
  for (lph_oid i = 0; i < 40; i++) { /* 21000 is made of 21001 is made of ... 21040 is an integer */
    lph_type link = {
      .oid = 21000 + i, .kind = LPH_ARRAY, .elem = i == 39 ? LPH_OID_INT4 : 21001 + i, .name = "link"};
    assert_int_equal(lph_typemap_define(map, &link), LPH_OK);
  }
  assert_false(binary(map, 21000)); /* 41 deep */
  assert_true(binary(map, 21010));
  for (lph_oid i = 0; i < 30; i++) {
    lph_oid next = i == 29 ? LPH_OID_INT4 : 22001 + i;
    lph_field fields[] = {{"a", next}, {"b", next}, {"c", next}};
    lph_type fork = {
      .oid = 22000 + i, .kind = LPH_COMPOSITE, .field_count = 3, .fields = fields, .name = "fork"};
    assert_int_equal(lph_typemap_define(map, &fork), LPH_OK);
  }
  assert_true(binary(map, 22025));
  assert_false(binary(map, 22000)); /* 3^30 ways down */
  lph_typemap_release(map);
}

int main(void) {
  const struct CMUnitTest tests[] = {
    cmocka_unit_test(every_built_in_type_is_found_and_makes_sense),
    cmocka_unit_test(oids_that_are_not_built_in_are_unknown),
    cmocka_unit_test(kinds_are_as_the_wire_needs_them),
    cmocka_unit_test(types_are_found_by_every_name_they_have),
    cmocka_unit_test(words_that_name_no_type_find_none),
    cmocka_unit_test(a_definition_is_a_deep_copy),
    cmocka_unit_test(what_was_replaced_or_forgotten_stays_alive),
    cmocka_unit_test(doubt_lasts_until_a_type_is_said_again),
    cmocka_unit_test(any_difference_is_a_new_definition),
    cmocka_unit_test(built_in_types_cannot_be_redefined),
    cmocka_unit_test(thousands_of_types_are_all_found),
    cmocka_unit_test(without_memory_the_map_stays_as_it_was),
    cmocka_unit_test(parts_decide_whether_a_type_has_a_binary_form),
    cmocka_unit_test(a_type_graph_without_end_is_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
