/* lbatch.h - a list of statements with their values, and running it in one flight (core/batch.h).
 *
 * A batch is filled without a connection: what it is given stands in a list in its store, and nothing of it has been
 * sent while its function runs. Per statement the list holds a number (verb and row style + count of values *
 * LBATCH_COUNT), the text, and the values. The run goes through that list once, or again from its start when nothing
 * of it was kept.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LBATCH_H
#define LPH_LBATCH_H

#include "bind/lconn.h"
#include "core/batch.h"

#define LBATCH_COUNT 4096
#define LBATCH_STYLED 1024 /* in the number: its row style was asked for */

/* The store of a batch: the list from 1 on, and */
enum { LBATCH_RESULTS = -1, LBATCH_ERRORS = -2, LBATCH_NORMALIZE = -3, LBATCH_RAISED = -4 };

typedef struct lbatch {
  int count, slots;
  int refused; /* the first statement that has no place in a batch, and why */
  lph_batch_class refusal;
  const char *last_text; /* anchored in the list */
  bool sealed;
  /* the run */
  bool isolated;
  int style;
  int next, at; /* the statement to be handed over, and its place in the list */
  int started, answered;
  int failed, failed_at;
  const char *current_text; /* of the statement handed over last, anchored in the list */
  int type_rounds;          /* how often it was stopped for looking up types */
  bool ended;               /* nothing more is to be handed over */
  bool kept;                /* the server has done all of it */
  bool alone;               /* nothing is prepared ahead */
  bool at_barrier;          /* what was handed over has to be answered first */
  bool wants_types;         /* why it was stopped */
  bool has_raised;          /* a function of the user's, while values were made */
} lbatch;

extern const lbox_class lbatch_class;

void lbatch_open(lua_State *L);
int lbatch_new(lua_State *L); /* core.batch(normalize) -> batch */

/* lbatchrun.c */
int lconn_batch(lua_State *L); /* a method of the connection */
/* Is a batch under way, which conn:step has to go on with? */
bool lbatch_is_running(const lconn *b);
int lbatch_step(lua_State *L, lconn *b); /* as conn:step */
int lbatch_take(lua_State *L, lconn *b); /* as conn:take */

#endif
