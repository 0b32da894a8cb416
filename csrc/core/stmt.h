/* stmt.h - described statements and the cache that keeps them per connection.
 *
 * The cache decides, names and evicts; it does no I/O. Statements that were prepared on the server
 * and are no longer wanted queue up in `goodbyes` (goodbye.h). Names carry a random part: behind a transaction pooler two clients may share a server
 * session, and the worst that may happen is "does not exist", never somebody else's statement.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_STMT_H
#define LPH_STMT_H

#include <libpq-fe.h>

#include "base/error.h"
#include "base/lru.h"
#include "types/type.h"

#define LPH_STMT_NAME 32

#define LPH_GOODBYES_DUE 64  /* so many names are worth a Sync of their own */
#define LPH_GOODBYES_MAX 256 /* while so many cannot be sent, no new ones are given */

typedef struct lph_column {
  char *name;
  lph_oid oid;          /* as RowDescription says: domains already are their base type */
  const lph_type *type; /* NULL: unknown to the type map, asked for as text */
  lph_oid table;        /* 0 = not a plain column of a table */
  int table_column;
} lph_column;

typedef struct lph_stmt {
  lph_lru_entry entry; /* the key is the SQL text, and the types that were forced on it */
  char *sql;           /* NUL-terminated copy of the text */
  int forced_count;    /* parameter types given by luphant.typed; 0 = the server infers all */
  lph_oid *forced;
  char name[LPH_STMT_NAME]; /* "" = unnamed (pooler mode, describe) */
  int serial;     /* > 0, no other statement's: the Lua side keeps names and constructors under it */
  bool described; /* parameter and column lists are valid */
  bool fresh;     /* described in the call under way: describing it again would not help */
  bool bound;     /* every type of them was found in the type map, */
  unsigned long types_version;   /* which was at this version */
  bool on_server;                /* `name` exists in the session, as far as we know */
  unsigned marks;                /* what running it may leave in the session (marks.h) */
  int highest_param;             /* in the text: $1 ... */
  bool is_copy;                  /* must not travel in a pipeline */
  bool moves_names;              /* running it may change what names mean */
  bool is_barrier;               /* in a batch, what follows waits for its answer (batch.h) */
  bool over_temp;                /* described while temporary tables may have been there */
  bool binary;                   /* results are asked for in binary */
  bool lengthy;                  /* the last result was long: the next one is read past libpq (tap.h) */
  bool prints_floats;            /* results are text with floats in it: has company, see flight.h */
  unsigned long generation;      /* of the cache when it was described */
  bool info_stale;               /* the Lua side has to read the description anew */
  bool shareable;                /* may run on a shared session (lph_share_takes) */
  unsigned slow_rides;           /* of the last ones in a row (share.h) */
  bool apart;                    /* for a choosy shared session: it should run on one of its own */
  unsigned pins;                 /* rides of a shared pipeline that still need it (share.h) */
  bool retired;                  /* no longer in the cache; goes with its last pin, */
  struct lph_stmt *next_retired; /* until then in a list */
  int param_count;
  lph_oid *param_oids;
  const lph_type **param_types;
  int column_count;
  lph_column *columns;
} lph_stmt;

/* RAW: as text, and nobody asks what the types are. */
typedef enum lph_format_choice {
  LPH_FORMAT_AUTO,
  LPH_FORMAT_TEXT,
  LPH_FORMAT_BINARY,
  LPH_FORMAT_RAW
} lph_format_choice;

typedef struct lph_stmts {
  lph_lru lru;
  lph_stmt *retired;        /* those still pinned */
  lph_stmt *transient;      /* one that the cache would not take; lives until the next one */
  unsigned long generation; /* raised when descriptions may be out of date */
  int last_serial;
  bool went_around; /* serials have been given out before */
  char prefix[12];
  unsigned next_name;
  bool unnamed;     /* pooler mode */
  unsigned helpers; /* bits: which of the short commands of flight.c are prepared in the session */
  lph_format_choice format;
  char (*goodbyes)[LPH_STMT_NAME]; /* to be deallocated */
  int goodbye_count, goodbye_room;
  bool ddl_in_transaction;
  unsigned long hits, misses, evictions;
  void (*on_evict)(void *arg, int serial); /* the Lua side forgets what it keeps */
  void *on_evict_arg;
} lph_stmts;

lph_err lph_stmts_init(lph_stmts *s, size_t max_count, size_t max_bytes);
void lph_stmts_free(lph_stmts *s);

/* The statement of this text: cached, or made new (not yet described). `forced` gives parameter types that the server
 * shall not infer (0 = infer). Everything is copied. NULL: out of memory. */
lph_stmt *lph_stmts_get(lph_stmts *s, lph_bytes sql, const lph_oid *forced, int forced_count);
/* The same for a text alone, and only when it is cached and known by its address; NULL = ask lph_stmts_get. */
lph_stmt *lph_stmts_peek(lph_stmts *s, lph_bytes sql);
/* Ready to execute without asking the server first? (described, current, still there) */
bool lph_stmts_is_ready(const lph_stmts *s, const lph_stmt *stmt);
/* Before PREPARE: gives the statement a (new) name; an old one is queued for deallocation. */
lph_err lph_stmts_rename(lph_stmts *s, lph_stmt *stmt);
/* After PREPARE: fills parameters and columns from the description. Unknown types stay NULL until
 * lph_stmts_bind. */
lph_err lph_stmts_describe(lph_stmts *s, lph_stmt *stmt, const PGresult *description);
void lph_stmts_clear_description(lph_stmt *stmt);
/* `to`, empty until now, gets columns of its own, with the types they were bound to. For those who read results after
 * the statement may have left the cache. */
lph_err lph_stmts_copy_columns(lph_stmt *to, const lph_stmt *from);
/* Looks the types up (again) and chooses the result format. Returns the number of OIDs the map does not
 * know; the first `room` of them go to `unknown`. */
int lph_stmts_bind(lph_stmts *s, lph_stmt *stmt, const lph_typemap *types, lph_oid *unknown, int room);
/* Does the server's error mean that the cached statement has had its day, and a new one may do better? Either it is
 * not there (26000), or its name is taken (42P05, while preparing), or what it was made for has changed: the columns
 * (0A000 of the plan cache), or what operators, types and names in it mean. */
bool lph_stmt_is_stale(const lph_stmt *stmt, bool preparing, const lph_error *e);
/* The statement is prepared anew before its next use. */
void lph_stmts_distrust(lph_stmts *s, lph_stmt *stmt, const char *sqlstate);
/* Takes a statement out and frees it (its preparation failed, or a new description must not touch results that were
 * asked for under the old one); with its last pin, when it has any. */
void lph_stmts_drop(lph_stmts *s, lph_stmt *stmt);
/* The server has answered to the DEALLOCATE of the last name in `goodbyes`. */
void lph_stmts_parted(lph_stmts *s, bool was_there);
/* While it is pinned a statement outlives its place in the cache. */
static inline void lph_stmts_pin(lph_stmt *stmt) { stmt->pins++; }
void lph_stmts_unpin(lph_stmts *s, lph_stmt *stmt);
/* Everything has to be described anew before its next use. */
void lph_stmts_invalidate(lph_stmts *s);
/* The session's named statements are gone (DISCARD ALL, DEALLOCATE ALL, new session). */
void lph_stmts_forget_names(lph_stmts *s);
/* An unnamed statement is parsed at each execution: where the columns of its result are others than described, takes
 * them over. False: out of memory, or a type that the map does not know. */
bool lph_stmts_follow(lph_stmts *s, lph_stmt *stmt, const lph_typemap *types, const PGresult *res);
/* What a finished statement means for the cache: `tag` as PQcmdStatus gives it, `in_transaction` after it.
 * `moves_names`: its text may have changed what names mean; `moved_names`: some text of the session before it, so
 * that RESET changes it back. True: the fields of row types may have changed. */
bool lph_stmts_observe(lph_stmts *s, bool moves_names, bool moved_names, const char *tag,
                       bool in_transaction);

#endif
