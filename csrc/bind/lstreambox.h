/* lstreambox.h - what the three files of a stream share: lstream.c (its life), lstreamrow.c (its rows), lstreamrun.c
 * (what it does on the connection).
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LSTREAMBOX_H
#define LPH_LSTREAMBOX_H

#include "bind/lrows.h"
#include "bind/lstream.h"

#define LSTREAM_FETCH 96 /* bytes of a FETCH: a command, a number and a name of ours */

typedef struct lstream {
  lconn *b;       /* NULL: closed */
  lph_stmt shape; /* its columns only */
  lph_typemap *map;
  lph_buf scratch;
  lrows_build build; /* build.in.res: the portion that is handed out; its slots are upvalues of the stepper */
  int row, style;
  double seconds; /* the time limit of each portion; negative = none */
  lph_want want;  /* rows: what the last step answered */
  bool is_portal, ended;
  bool binary;  /* what FETCH asks for */
  bool armed;   /* the clock of the portion that is waited for has been started */
  bool entered; /* a row is being converted; stays set when a conversion raises */
  /* Portal: */
  lph_wirerows rows;         /* those of the portion at hand that are not in build.in.res */
  PGresult *ahead;           /* the next portion, which came before it was needed */
  lph_wirerows rows_ahead;   /* and those of its rows that are not in `ahead` */
  lph_error failure;         /* behind it, or in its place: why there is none */
  int asked;                 /* rows of the FETCH in `again`; 0: nothing is asked for by itself */
  char again[LSTREAM_FETCH]; /* how the portion behind the next one is asked for when that has come */
} lstream;

extern const lbox_class lstream_class;

/* A FETCH has been answered: its rows become the next portion. False: there was no answer, b->c.error */
bool lstream_take_ahead(lstream *s, lconn *b);
static inline int lstream_count_ahead(const lstream *s) { return lfields_count(s->ahead, &s->rows_ahead); }
/* Takes `res` over, and rows_ahead. False: b->c.error */
bool lstream_load(lstream *s, PGresult *res);
void lstream_drop_portion(lstream *s);
/* Goes on with what is under way, waiting where that is C's. */
lph_want lstream_step(lstream *s, lconn *b);
/* Nobody gets to read what has come: pushes the error and what to do. */
int lstream_give_up(lua_State *L, lconn *b);
/* After the last row libpq gives one more result, with the command tag. What a lying server has sent in its place is
 * lost in libpq, and so are rows. */
void lstream_no_answer(lconn *b);
/* Is the connection free for a command of `s`? False: b->c.error */
bool lstream_is_free_for(lconn *b, const lstream *s);

/* stream info -> stream info stepper */
void lstream_push_stepper(lua_State *L, lconn *b, lstream *s, int stream);
/* function -> ; the stepper in that slot calls it where a portion ends. False: C cannot be suspended here, whoever calls
 * the stepper has to. */
bool lstream_go_on(lua_State *L, int stepper_at);

#endif
