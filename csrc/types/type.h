/* type.h - the codec contract: bytes on the wire <-> values, without libpq and without Lua.
 *
 * A PostgreSQL type is an `lph_type`. Its `kind` says which C code understands it; types that look
 * alike on the wire share a kind (text, varchar, enum labels ... are all LPH_TEXT). Domains are
 * defined in the map as copies of their base type under the domain's own OID.
 *
 * Reading: the binder asks for plain values where Lua has them (bool, integers, floats), for a
 * rendered text where it has not (`lph_render`), and walks compound values with the readers of
 * array.c, row.c, range.c and hstore.c. Readers are pull style, never recurse, never allocate per element except
 * into their own scratch buffer, and treat their input as hostile: any byte string gives a value
 * or LPH_EFORMAT, never a read beyond its end.
 *
 * Writing: parameters travel in text form (one encoder for top level and for elements of arrays,
 * composites and ranges alike), bytea excepted at top level. Encoders check range, NUL and UTF-8
 * before anything is sent.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_TYPE_H
#define LPH_TYPE_H

#include "base/buf.h"

typedef uint32_t lph_oid;

typedef enum lph_kind {
  LPH_TEXT, /* the bytes are the value, in both formats */
  LPH_BOOL,
  LPH_INT2,
  LPH_INT4,
  LPH_INT8,
  LPH_UINT4, /* oid, xid, cid: unsigned 32 bit */
  LPH_FLOAT4,
  LPH_FLOAT8,
  LPH_BYTEA,
  LPH_JSON,  /* text in both formats */
  LPH_JSONB, /* binary: version byte 1, then text */
  /* From here on: Lua gets the canonical text; binary form goes through lph_render. */
  LPH_NUMERIC,
  LPH_DATE,
  LPH_TIME,
  LPH_TIMETZ,
  LPH_TIMESTAMP,
  LPH_TIMESTAMPTZ, /* always shown in UTC (+00), whatever TimeZone says */
  LPH_INTERVAL,    /* always in style "postgres", whatever IntervalStyle says */
  LPH_UUID,
  LPH_INET, /* cidr too: the wire form says which */
  LPH_MACADDR,
  LPH_MACADDR8,
  LPH_BIT,   /* bit and varbit */
  LPH_CHAR,  /* "char", one byte; 0 is the empty string */
  LPH_UINT8, /* xid8: unsigned 64 bit, as decimal text */
  LPH_LSN,
  LPH_TID,
  LPH_POINT,
  LPH_LSEG,
  LPH_PATH,
  LPH_BOX,
  LPH_POLYGON,
  LPH_LINE,
  LPH_CIRCLE,
  LPH_VERSIONED, /* one version byte, then text: jsonpath, ltree, lquery ... */
  /* Compound: walked by a reader. */
  LPH_ARRAY,
  LPH_COMPOSITE, /* fields known from the catalog */
  LPH_RECORD,    /* anonymous: binary only, the OIDs are in the value */
  LPH_RANGE,
  LPH_MULTIRANGE,
  LPH_HSTORE,
  LPH_VOID,  /* no value at all: NULL */
  LPH_OPAQUE /* only its text form is known to us: the whole result is asked for as text */
} lph_kind;

typedef struct lph_field {
  const char *name;
  lph_oid type;
} lph_field;

typedef struct lph_type {
  lph_oid oid;
  lph_oid elem; /* array: element; range: subtype; multirange: its range; else 0 */
  uint8_t kind; /* lph_kind */
  char delim;   /* array: between elements; ',' for all but box (';') */
  bool is_enum; /* LPH_TEXT with a closed set of labels (only for messages and describe) */
  uint16_t field_count;
  const lph_field *fields; /* LPH_COMPOSITE, in order; dropped columns left out */
  const char *name;        /* as format_type() writes it: "integer", "numeric", "shop.mood" */
} lph_type;

/* ---- table.c: OID -> type -------------------------------------------------------------------- */

/* Built-in types are a sorted static table (oid.h, generated); user types are added to a map that
 * the connections of a pool share. Reference counted; not thread-safe (one Lua state). */
typedef struct lph_typemap lph_typemap;

#define LPH_FIRST_USER_OID 16384 /* below are the objects that come with the server */

lph_typemap *lph_typemap_new(void); /* NULL: out of memory */
lph_typemap *lph_typemap_retain(lph_typemap *map);
void lph_typemap_release(lph_typemap *map); /* NULL is fine */
/* Copies `type` and all it points to; replaces an earlier definition of the same OID, which stays
 * valid (unfindable) until the map dies, because statements may still point to it. Saying the same
 * again changes nothing. LPH_ETYPE: OID 0 or that of a built-in type. */
lph_err lph_typemap_define(lph_typemap *map, const lph_type *type);
/* The catalog may have changed: what is known stays in use, and is_current answers false for a user type until it
 * is defined again. */
void lph_typemap_doubt(lph_typemap *map);
bool lph_typemap_is_current(const lph_typemap *map, const lph_type *type);
/* Changes when a type got another definition: what was found earlier should be looked up again. */
unsigned long lph_typemap_version(const lph_typemap *map);
/* NULL = unknown here: ask the catalog. `map` may be NULL (built-ins only). */
const lph_type *lph_typemap_find(const lph_typemap *map, lph_oid oid);
/* "int8", "integer", "timestamp with time zone", "decimal", "int4[]", "_int4": names of SQL, of the
 * catalog and of format_type, in any case; NULL = none of ours. */
const lph_type *lph_builtin_by_name(const char *name);
/* Can the value, parts included, be read in binary form? (OPAQUE anywhere inside: no. Unknown
 * OIDs: no. A composite is asked field by field; recursion is cut at depth 32: no.) */
bool lph_type_has_binary(const lph_typemap *map, const lph_type *type);
/* Is there a float in it, whose text form may lack digits (extra_float_digits)? A record and an opaque type are their
 * text, whatever that says: no. */
bool lph_type_has_float(const lph_typemap *map, const lph_type *type);

/* ---- num.c ------------------------------------------------------------------------------------ */

/* Text -> number; the whole text must be the number. Locale-independent, exactly rounded. */
bool lph_parse_int8(lph_bytes text, int64_t *value);
bool lph_parse_float8(lph_bytes text, double *value); /* NaN, Infinity, -Infinity included */
/* Number -> text that reads back to the same value; NUL-terminated; answers the length.
 * 32 bytes are always enough. Floats: as short as is cheap, at most 17 digits; "NaN", "Infinity". */
size_t lph_format_int8(char out[32], int64_t value);
size_t lph_format_float8(char out[32], double value);
/* The shortest decimal that reads back to the same float4/float8, as PostgreSQL prints it with
 * extra_float_digits >= 1 (used inside rendered values such as points). */
size_t lph_format_float_shortest(char out[32], double value, bool is_float4);
bool lph_utf8_valid(lph_bytes text); /* also refuses surrogates and overlong forms */

/* ---- render.c: binary form -> canonical text --------------------------------------------------- */

/* Appends what psql prints (ISO dates, UTC, interval style postgres) for any kind between
 * LPH_NUMERIC and LPH_VERSIONED, and for bool/ints/floats/text/bytea (\x...)/json as well, so that it can serve
 * every scalar. LPH_EFORMAT: the bytes are not a value of this type. */
lph_err lph_render(const lph_type *type, lph_bytes binary, lph_buf *out);

/* ---- datetime.c -------------------------------------------------------------------------------- */

typedef struct lph_datetime {
  int infinity;             /* -1, 0, +1: the other fields are 0 unless this is 0 */
  int64_t epoch_s;          /* timestamp(tz), date: whole seconds since 1970-01-01 00:00 (UTC), rounded down;
                      `us` is the rest. One int64 of microseconds ends in year 294247, PostgreSQL
                      thirty years later, and its dates go on to 5874897. */
  int32_t year, month, day; /* astronomical year: 0 = 1 BC */
  int32_t hour, minute, second, us; /* time 24:00:00 keeps hour 24 */
  int32_t offset_s;                 /* timetz: seconds east of UTC; timestamptz: 0 */
  int32_t months, days;             /* interval */
  int64_t time_us;                  /* interval: the part below a day; time, timetz: since midnight */
} lph_datetime;

/* Takes apart a date, time, timetz, timestamp, timestamptz or interval, binary or text (text: ISO
 * DateStyle, IntervalStyle postgres). */
lph_err lph_datetime_read(const lph_type *type, lph_bytes in, bool binary, lph_datetime *out);
/* The text of timestamptz in any ISO offset -> the same instant with +00. */
lph_err lph_timestamptz_to_utc(lph_bytes text, lph_buf *out);
/* Appends the text form of a taken-apart value (the way back: Lua table or epoch -> parameter). */
lph_err lph_datetime_write(const lph_type *type, const lph_datetime *in, lph_buf *out);
/* Seconds since the epoch and microseconds (0 to 999999) on top -> all fields of `out` for a date,
 * timestamp or timestamptz. LPH_ERANGE: before 4714-11-24 BC or after 5874897-12-31 (the bounds of
 * date; the narrower ones of timestamp are checked by lph_datetime_write). */
lph_err lph_datetime_from_epoch(int64_t epoch_s, int32_t us, lph_datetime *out);

/* ---- bytes.c ----------------------------------------------------------------------------------- */

/* Text form of bytea, hex or escape (bytea_output), -> raw bytes. */
lph_err lph_bytea_unescape(lph_bytes text, lph_buf *out);
lph_err lph_bytea_hex(lph_bytes raw, lph_buf *out); /* "\x0a1b" */

/* ---- encode.c: value -> text form of a parameter ------------------------------------------------ */

typedef enum lph_vtag { LPH_V_BOOL, LPH_V_INT, LPH_V_FLOAT, LPH_V_STRING } lph_vtag;
typedef struct lph_value {
  lph_vtag tag;
  bool boolean;
  int64_t integer;
  double number;
  lph_bytes string;
} lph_value;

/* Appends the text form of `v` as a parameter of scalar type `type` (bytea: hex).
 * On failure nothing is appended and *why gets a static half-sentence that finishes
 * "parameter $2 (integer): ", e.g. "out of range (-2147483648 to 2147483647)".
 *   LPH_ETYPE   this Lua type cannot be that type (string for an integer, number for text ...)
 *   LPH_ERANGE  does not fit
 *   LPH_EFORMAT NUL byte or bad UTF-8 in a text
 * Rules: integers take Lua integers, floats with an integral value, and - int8 only - a string of
 * decimal digits (what LuaJIT gets for big values); numeric also takes a decimal string; floats take integers and floats;
 * bool takes booleans only; text takes strings only; every other kind takes strings and leaves
 * judging them to the server. json/jsonb take a string as JSON text, booleans and numbers as JSON. */
lph_err lph_encode(const lph_type *type, const lph_value *v, lph_buf *out, const char **why);

/* ---- wire.c: value -> binary form, with its length in front, as a field of COPY --------------------------- */

/* Can all values of this type be written so? */
bool lph_wire_can(const lph_type *type);
lph_err lph_wire_null(lph_buf *out);
/* The short ways, for values that are what their type wants. Any answer but LPH_OK appends nothing and means: let
 * lph_encode judge it, and take the text it makes to lph_wire_from_text. */
lph_err lph_wire_int(uint8_t kind, int64_t v, lph_buf *out);
lph_err lph_wire_float(uint8_t kind, double v, lph_buf *out);
lph_err lph_wire_bool(uint8_t kind, bool v, lph_buf *out);
lph_err lph_wire_string(uint8_t kind, lph_bytes s, lph_buf *out);
/* From the text of a parameter. LPH_EFORMAT: the text is not one of this type. */
lph_err lph_wire_from_text(const lph_type *type, lph_bytes text, lph_buf *out);

/* ---- array.c ----------------------------------------------------------------------------------- */

#define LPH_ARRAY_MAX_DIM 6 /* PostgreSQL's MAXDIM */

typedef enum lph_array_event {
  LPH_ARRAY_OPEN,  /* a (sub)array begins */
  LPH_ARRAY_CLOSE, /* ... and ends */
  LPH_ARRAY_ITEM,  /* r->item holds the element; valid until the next call */
  LPH_ARRAY_NULL,
  LPH_ARRAY_END, /* all read */
  LPH_ARRAY_BAD  /* not an array, or no memory to unescape an element: see why */
} lph_array_event;

typedef struct lph_array_reader {
  /* Known after open. An empty array has ndim 0 and gives OPEN, CLOSE, END. The input is long enough
   * for as many elements as the sizes say, so they may be trusted for preallocation. */
  int ndim;
  int32_t size[LPH_ARRAY_MAX_DIM]; /* text form without bounds: sizes are -1 until counted */
  int32_t lower[LPH_ARRAY_MAX_DIM];
  lph_oid elem;   /* binary: from the value; text: 0 */
  lph_bytes item; /* see LPH_ARRAY_ITEM */
  lph_err why;    /* after LPH_ARRAY_BAD: LPH_EFORMAT or LPH_ENOMEM */
  /* private */
  const char *p, *end;
  int32_t run; /* binary: elements still to come before the next CLOSE */
  bool binary;
  char delim;
  int depth;
  int state;
  int32_t left[LPH_ARRAY_MAX_DIM];
  lph_buf scratch;
} lph_array_reader;

lph_err lph_array_open(lph_array_reader *r, lph_bytes in, bool binary, char delim);
lph_array_event lph_array_next(lph_array_reader *r);
/* Binary form, right after the OPEN of an innermost level: are its elements all `width` bytes long, none NULL? Then
 * answers where the first one lies, the others follow at distances of width + 4, and next() gives the CLOSE. NULL
 * otherwise: read them one by one. *count is their number (0 only with NULL). */
const char *lph_array_run(lph_array_reader *r, int width, int *count);
void lph_array_close(lph_array_reader *r); /* gives the scratch back; idempotent */

/* Writers: append one element of a text literal, quoted as needed, or NULL (text.data NULL; an empty
 * text needs a pointer). Braces, delimiters and the "[0:2]=" prefix are written by the caller. */
lph_err lph_array_put(lph_buf *out, lph_bytes text, char delim);

/* ---- row.c, range.c, hstore.c ------------------------------------------------------------------ */

typedef struct lph_row_reader { /* composite and record */
  int count;                    /* binary: number of fields; text: -1 */
  /* after each next(): */
  lph_oid field_type; /* binary only, else 0 */
  bool is_null;
  lph_bytes item; /* valid until the next call */
  lph_err why;    /* after -1: LPH_EFORMAT or LPH_ENOMEM */
  /* private */
  const char *p, *end;
  bool binary, started;
  int index;
  lph_buf scratch;
} lph_row_reader;

lph_err lph_row_open(lph_row_reader *r, lph_bytes in, bool binary);
/* 1 = a field was read, 0 = no more, -1 = malformed or out of memory. The text "()" is one NULL
 * field: it looks the same for a row without columns, which the caller knows from the catalog. */
int lph_row_next(lph_row_reader *r);
void lph_row_close(lph_row_reader *r);
/* Appends one field of a "(a,b)" literal, quoted where needed; NULL (text.data NULL) is nothing at all,
 * so an empty text needs a pointer. Parentheses and commas are written by the caller. */
lph_err lph_row_put(lph_buf *out, lph_bytes text);

typedef struct lph_range {
  bool empty, lower_inc, upper_inc, lower_inf, upper_inf;
  lph_bytes lower, upper; /* when not infinite and not empty; point into the input or the scratch */
  lph_buf scratch;
} lph_range;

lph_err lph_range_read(lph_range *r, lph_bytes in, bool binary);
void lph_range_close(lph_range *r);
/* Appends a bound to a "[a,b)" literal, quoted where needed. */
lph_err lph_range_put(lph_buf *out, lph_bytes text);

typedef struct lph_multirange_reader {
  lph_bytes item; /* one range, in the same format as the whole */
  /* private */
  const char *p, *end;
  bool binary, started;
  int32_t left;
} lph_multirange_reader;

lph_err lph_multirange_open(lph_multirange_reader *r, lph_bytes in, bool binary);
int lph_multirange_next(lph_multirange_reader *r); /* 1, 0, -1 as lph_row_next */

typedef struct lph_hstore_reader {
  lph_bytes key, value; /* valid until the next call */
  bool is_null;
  lph_err why; /* after -1: LPH_EFORMAT or LPH_ENOMEM */
  /* private */
  const char *p, *end;
  bool binary, started;
  int32_t left;
  lph_buf key_scratch, value_scratch;
} lph_hstore_reader;

lph_err lph_hstore_open(lph_hstore_reader *r, lph_bytes in, bool binary);
int lph_hstore_next(lph_hstore_reader *r); /* 1, 0, -1 */
void lph_hstore_close(lph_hstore_reader *r);
/* Appends `"key"=>"value"` (or =>NULL); the caller writes the commas. value.data NULL = NULL. */
lph_err lph_hstore_put(lph_buf *out, lph_bytes key, lph_bytes value);

#endif
