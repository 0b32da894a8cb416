/* lconn.h - the box around a connection, as the files that share it see it.
 *
 * The box's store (uservalue table) holds, under integer keys: at a statement's serial what Lua knows about it
 * (lrows.h); at the LSTORE_ keys the functions and tables a connection was configured with.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LCONN_H
#define LPH_LCONN_H

#include "bind/lbox.h"
#include "bind/lcell.h"
#include "bind/lvalue.h"
#include "core/conn.h"

enum {
  LSTORE_CODECS = -1,      /* table: OID -> { decode =, encode = } */
  LSTORE_JSON_DECODE = -2, /* function, json = "cjson" */
  LSTORE_JSON_ENCODE = -3,
  LSTORE_INT64 = -4,       /* function (high, low) -> cdata */
  LSTORE_CONSTRUCTOR = -5, /* function (names) -> row constructor, LuaJIT */
  LSTORE_BATCH = -6,       /* the batch that is under way (lbatch.c) */
  LSTORE_DECLARE = -7,     /* string: what stands in front of the next portal's statement, */
  LSTORE_FETCH = -8,       /* and its first FETCH */
};

/* What a verb makes of a result. The row style is added: verb + style * 16. */
enum {
  LVERB_QUERY,
  LVERB_ONE,
  LVERB_OPT,
  LVERB_VALUE,
  LVERB_COLUMN,
  LVERB_EXECUTE,
  LVERB_VALUES,
  LVERB_DESCRIBE,
  LVERB_STREAM, /* the rest are lstream.c's */
  LVERB_PORTAL,
  LVERB_CURSOR
};
enum { LROWS_NAMED, LROWS_ARRAY, LROWS_COLUMNS, LROWS_VALUES };
#define LVERB_OF(code) ((code)&15)
#define LROWS_OF(code) ((code) >> 4 & 15)
#define LVERB_RIDES 256  /* added to a verb: COMMIT goes with it */
#define LVERB_SEEN 512   /* added to a verb: whoever watches statements knows of this one */
#define LVERB_EXACT 1024 /* added to LVERB_STREAM: floats as text have all their digits */

typedef struct lconn {
  lph_conn c;
  lcell_options options;
  bool blocking; /* the plain waiter: a call runs to its end inside C */
  bool yields;   /* nothing is begun where the caller cannot be suspended: it could not be waited for */
  bool has_codecs;
  bool keep_notices;                     /* somebody listens */
  int portion_rows;                      /* of the next stream; 0 = our choice (lph_op_stream) */
  bool observed;                         /* somebody wants to hear of each statement first */
  bool has_listeners;                    /* somebody wants to hear of something */
  bool entered, close_wanted, finalized; /* see lenter.h */
  bool untaken;                          /* an operation has ended and its result waits for take() */
  struct lstream *reader;                /* the stream whose rows, or FETCH, are under way (lstream.h) */
  struct lstream *owner;                 /* the stream that has the connection for itself until it ends */
  bool ahead;      /* what is under way was asked for before anybody waits for it, or nobody ever will */
  bool forsaken;   /* its owner was collected in the middle of a transaction of its own */
  bool held;       /* a cancel request is not through: a new statement could be hit by it */
  double timeout;  /* seconds for each call; negative = none */
  double deadline; /* of the call under way */
  double seconds;  /* what it was given; negative = no limit */
  double ceiling;  /* no call's deadline is later: of a block of statements (a transaction, a hook) */
  int verb;        /* of the call under way */
  unsigned copies; /* how many COPY have been begun; the last one may be under way (lcopy.c) */
  bool has_next_timeout;
  double next_timeout; /* for the next call only, when the flag above is set */
  lph_buf scratch;     /* of lcell */
  lph_buf level[LVALUE_DEPTH];
  lph_buf evicted;         /* serials whose entry in the store is to go */
  lph_stmt *untyped;       /* the statement that waits for unknown types; valid right after run */
  struct lph_ride *taking; /* whose answer is being made into values (lshare.c) */
  lph_stmt script;         /* description of a script's result while it is converted */
  bool script_floats;      /* there were floats among its rows */
} lconn;

extern const lbox_class lconn_class;

/* Fills in an lcell for this connection; pushes what it needs onto the stack (3 slots). */
void lconn_cell(lua_State *L, lconn *b, int box, bool binary, lcell *x);

#endif
