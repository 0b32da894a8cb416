/* error.h - one record that can hold any failure the core knows.
 *
 * The record is filled at the place of failure and read once by bind/lerror, which makes the Lua
 * error object. Texts are copied in (PQerrorMessage and friends are overwritten by the next call).
 * When there is no memory left for the texts the record keeps its kind, and says why there is no message: that
 * text is static. Setting a record replaces what it said before.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_ERROR_H
#define LPH_ERROR_H

#include "base/buf.h"

/* Did the failed statement reach the server? "maybe" = bytes left and no answer came back. */
typedef enum lph_sent { LPH_SENT_NO, LPH_SENT_MAYBE, LPH_SENT_YES } lph_sent;

typedef enum lph_efield {
  LPH_E_MESSAGE,
  LPH_E_DETAIL,
  LPH_E_HINT,
  LPH_E_CONTEXT,
  LPH_E_SEVERITY, /* never localised (field V) */
  LPH_E_SCHEMA,
  LPH_E_TABLE,
  LPH_E_COLUMN,
  LPH_E_DATATYPE,
  LPH_E_CONSTRAINT,
  LPH_E_INTERNAL_QUERY,
  LPH_E_FILE,
  LPH_E_LINE,
  LPH_E_ROUTINE,
  LPH_E_FIELDS /* count */
} lph_efield;

typedef struct lph_error {
  const char *kind; /* static word such as "unique_violation"; NULL while nothing failed */
  char sqlstate[6]; /* "" when the client made the error */
  lph_sent sent;
  int position;              /* 1-based, in characters of the statement; 0 = none */
  int internal_position;     /* the same within LPH_E_INTERNAL_QUERY */
  int param;                 /* 1-based number of the parameter at fault; 0 = none */
  bool unworded;             /* there was a message, and no memory for it */
  uint32_t at[LPH_E_FIELDS]; /* offset + 1 into text; 0 = absent */
  lph_buf text;              /* NUL-terminated strings, one after another */
} lph_error;

static inline void lph_error_init(lph_error *e) { *e = (lph_error){0}; }
void lph_error_free(lph_error *e);
void lph_error_clear(lph_error *e); /* keeps the block */
static inline bool lph_error_is_set(const lph_error *e) { return e->kind != NULL; }

/* Starts a new error. `kind` must be static. Always answers LPH_EFAIL, so callers can
 * `return lph_error_set(...)`. Trailing newlines (libpq's habit) are cut from the message. */
lph_err lph_error_set(lph_error *e, const char *kind, const char *fmt, ...) LPH_PRINTF(3, 4);
lph_err lph_error_oom(lph_error *e);
/* Adds a text to the current error; NULL or empty adds nothing. */
void lph_error_put(lph_error *e, lph_efield field, const char *text);
void lph_error_putf(lph_error *e, lph_efield field, const char *fmt, ...) LPH_PRINTF(3, 4);
void lph_error_sqlstate(lph_error *e, const char *sqlstate);     /* copies five characters; NULL is fine */
const char *lph_error_get(const lph_error *e, lph_efield field); /* NULL when absent */
/* What errno means, in the language of the process; may be in `room`. */
const char *lph_error_of_errno(int code, char *room, size_t size);
/* dst becomes a copy of src (dst's old content is replaced). */
void lph_error_copy(lph_error *dst, const lph_error *src);

#endif
