/* table.c - OID -> type: the contents page of this room.
 *
 * Built-in types come from builtin.inc, sorted by OID and searched by halving: some eight probes,
 * once per column of a statement that is new to a connection. User types live in a map. Nothing here
 * asks the catalog; it only keeps what someone else found there.
 *
 * SPDX-License-Identifier: MIT */
#include "base/mem.h"
#include "types/type.h"

#include <stddef.h>

/* ---- built-in types -------------------------------------------------------------------------------- */

static const lph_type builtins[] = {
#define LPH_BUILTIN(oid_, elem_, kind_, delim_, name_) \
  {.oid = (oid_), .elem = (elem_), .kind = LPH_##kind_, .delim = (delim_), .name = (name_)},
#include "types/builtin.inc"
#undef LPH_BUILTIN
};

static const struct {
  const char *name;
  lph_oid oid;
} builtin_names[] = {
#define LPH_BUILTIN_NAME(name_, oid_) {(name_), (oid_)},
#include "types/builtin.inc"
#undef LPH_BUILTIN_NAME
};

static const lph_type *builtin_find(lph_oid oid) {
  size_t low = 0, high = lph_countof(builtins);
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (builtins[middle].oid == oid) return &builtins[middle];
    if (builtins[middle].oid < oid) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

static const lph_type *array_of(const lph_type *elem) {
  for (size_t i = 0; elem != NULL && i < lph_countof(builtins); i++)
    if (builtins[i].kind == LPH_ARRAY && builtins[i].elem == elem->oid) return &builtins[i];
  return NULL;
}

const lph_type *lph_builtin_by_name(const char *name) {
  char folded[64]; /* the longest spelling has 30 characters */
  size_t len = strlen(name);
  bool is_array = false;
  if (len > 0 && name[0] == '_') { /* the catalog's own name of an array: _int4 */
    is_array = true;
    name++;
    len--;
  }
  while (len >= 2 && memcmp(name + len - 2, "[]", 2) == 0) { /* int[][] and int[] are one type */
    is_array = true;
    len -= 2;
  }
  if (len >= sizeof folded) return NULL;
  for (size_t i = 0; i < len; i++) {
    bool upper = name[i] >= 'A' && name[i] <= 'Z';
    folded[i] = (char)(upper ? name[i] | 32 : name[i]);
  }
  folded[len] = '\0';
  size_t low = 0, high = lph_countof(builtin_names);
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    int order = strcmp(builtin_names[middle].name, folded);
    if (order == 0) {
      const lph_type *type = builtin_find(builtin_names[middle].oid);
      return is_array ? array_of(type) : type;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return NULL;
}

/* ---- user types ------------------------------------------------------------------------------------ */

/* One block: the type, then its fields, then all names. */
typedef struct definition {
  struct definition *next; /* all that were ever made, findable or not */
  unsigned long epoch;     /* of the map when it was defined, or confirmed */
  lph_type type;
} definition;

struct lph_typemap {
  long references;
  definition *all;
  const lph_type **slots; /* open addressing, at most half full; NULL = free */
  size_t slot_count;      /* a power of two, or 0 */
  size_t used;
  unsigned long epoch;   /* raised by every doubt */
  unsigned long version; /* raised by every definition that replaced another one */
};

static definition *definition_of(const lph_type *type) {
  return (definition *)((char *)type - offsetof(definition, type));
}

lph_typemap *lph_typemap_new(void) {
  lph_typemap *map = lph_zalloc(sizeof *map);
  if (map != NULL) map->references = 1;
  return map;
}

lph_typemap *lph_typemap_retain(lph_typemap *map) {
  map->references++;
  return map;
}

void lph_typemap_release(lph_typemap *map) {
  if (map == NULL || --map->references > 0) return;
  while (map->all != NULL) {
    definition *next = map->all->next;
    lph_free(map->all);
    map->all = next;
  }
  lph_free(map->slots);
  lph_free(map);
}

void lph_typemap_doubt(lph_typemap *map) { map->epoch++; }

unsigned long lph_typemap_version(const lph_typemap *map) { return map->version; }

bool lph_typemap_is_current(const lph_typemap *map, const lph_type *type) {
  return builtin_find(type->oid) != NULL || definition_of(type)->epoch == map->epoch;
}

/* Where the OID is, or would be. OIDs come from one counter, so their low bits spread by themselves;
 * the multiplication (2^32 / golden ratio) helps against strides. */
static size_t slot_of(const lph_typemap *map, lph_oid oid) {
  size_t mask = map->slot_count - 1;
  size_t i = (size_t)((oid * UINT32_C(2654435769)) >> 7) & mask;
  while (map->slots[i] != NULL && map->slots[i]->oid != oid) i = (i + 1) & mask;
  return i;
}

static lph_err make_room(lph_typemap *map) {
  if (map->used < map->slot_count / 2) return LPH_OK;
  lph_typemap bigger = *map;
  bigger.slot_count = map->slot_count ? map->slot_count * 2 : 32;
  bigger.slots = lph_array(bigger.slot_count, sizeof *bigger.slots);
  if (bigger.slots == NULL) return LPH_ENOMEM;
  for (size_t i = 0; i < map->slot_count; i++)
    if (map->slots[i] != NULL) bigger.slots[slot_of(&bigger, map->slots[i]->oid)] = map->slots[i];
  lph_free(map->slots);
  *map = bigger;
  return LPH_OK;
}

static const char *name_or_empty(const char *name) { return name != NULL ? name : ""; }

static bool same_type(const lph_type *a, const lph_type *b) {
  if (a->elem != b->elem || a->kind != b->kind || a->delim != b->delim || a->is_enum != b->is_enum ||
      a->field_count != b->field_count || strcmp(a->name, name_or_empty(b->name)) != 0)
    return false;
  for (size_t i = 0; i < a->field_count; i++)
    if (a->fields[i].type != b->fields[i].type ||
        strcmp(a->fields[i].name, name_or_empty(b->fields[i].name)) != 0)
      return false;
  return true;
}

static const char *copy_name(char **to, const char *name) {
  char *copy = *to;
  size_t size = strlen(name_or_empty(name)) + 1;
  memcpy(copy, name_or_empty(name), size);
  *to += size;
  return copy;
}

static definition *copy_type(const lph_type *type) {
  size_t names = strlen(name_or_empty(type->name)) + 1;
  for (size_t i = 0; i < type->field_count; i++) names += strlen(name_or_empty(type->fields[i].name)) + 1;
  definition *d = lph_alloc(sizeof *d + type->field_count * sizeof(lph_field) + names);
  if (d == NULL) return NULL;
  lph_field *fields = (lph_field *)(d + 1);
  char *text = (char *)(fields + type->field_count);
  d->type = *type;
  d->type.fields = type->field_count > 0 ? fields : NULL;
  d->type.name = copy_name(&text, type->name);
  for (size_t i = 0; i < type->field_count; i++)
    fields[i] = (lph_field){.name = copy_name(&text, type->fields[i].name), .type = type->fields[i].type};
  return d;
}

lph_err lph_typemap_define(lph_typemap *map, const lph_type *type) {
  if (type->oid == 0 || builtin_find(type->oid) != NULL) return LPH_ETYPE;
  if (make_room(map) != LPH_OK) return LPH_ENOMEM;
  size_t i = slot_of(map, type->oid);
  const lph_type *old = map->slots[i];
  /* Said again by every connection of a pool: must not pile up. */
  if (old != NULL && same_type(old, type)) {
    definition_of(old)->epoch = map->epoch;
    return LPH_OK;
  }
  definition *d = copy_type(type);
  if (d == NULL) return LPH_ENOMEM;
  d->epoch = map->epoch;
  d->next = map->all;
  map->all = d;
  map->slots[i] = &d->type;
  map->used += old == NULL;
  map->version += old != NULL;
  return LPH_OK;
}

const lph_type *lph_typemap_find(const lph_typemap *map, lph_oid oid) {
  const lph_type *type = builtin_find(oid);
  if (type != NULL || map == NULL || map->used == 0) return type;
  return map->slots[slot_of(map, oid)];
}

/* ---- which format ---------------------------------------------------------------------------------- */

/* `visits` bounds the work where few types with many fields refer to each other: a catalog whose type
 * graph doubles at each of 32 levels would otherwise keep us for hours. */
static bool has_binary(const lph_typemap *map, const lph_type *type, int depth, int *visits) {
  if (type == NULL || depth > 32 || --*visits < 0) return false;
  switch ((lph_kind)type->kind) {
    case LPH_OPAQUE: return false;
    case LPH_ARRAY:
    case LPH_RANGE:
    case LPH_MULTIRANGE: return has_binary(map, lph_typemap_find(map, type->elem), depth + 1, visits);
    case LPH_COMPOSITE:
      for (size_t i = 0; i < type->field_count; i++)
        if (!has_binary(map, lph_typemap_find(map, type->fields[i].type), depth + 1, visits)) return false;
      return true;
    default: return true;
  }
}

bool lph_type_has_binary(const lph_typemap *map, const lph_type *type) {
  int visits = 100000; /* a row of 1600 columns, each a row of some fifty: more than any real type */
  return has_binary(map, type, 1, &visits);
}

static bool has_float(const lph_typemap *map, const lph_type *type, int depth, int *visits) {
  if (type == NULL) return false;
  if (depth > 32 || --*visits < 0) return true; /* who knows */
  switch ((lph_kind)type->kind) {
    case LPH_FLOAT4:
    case LPH_FLOAT8:
    case LPH_POINT:
    case LPH_LSEG:
    case LPH_PATH:
    case LPH_BOX:
    case LPH_POLYGON:
    case LPH_LINE:
    case LPH_CIRCLE: return true;
    case LPH_ARRAY:
    case LPH_RANGE:
    case LPH_MULTIRANGE: return has_float(map, lph_typemap_find(map, type->elem), depth + 1, visits);
    case LPH_COMPOSITE:
      for (size_t i = 0; i < type->field_count; i++)
        if (has_float(map, lph_typemap_find(map, type->fields[i].type), depth + 1, visits)) return true;
      return false;
    default: return false;
  }
}

bool lph_type_has_float(const lph_typemap *map, const lph_type *type) {
  int visits = 100000; /* as above */
  return has_float(map, type, 1, &visits);
}
