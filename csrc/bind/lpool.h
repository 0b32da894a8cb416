/* lpool.h - the box around a pool's state machine, as the files that share it see it.
 *
 * The box's store (uservalue table) holds the boxes of connections under the numbers of their slots, and what llend.c
 * keeps there.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LPOOL_H
#define LPH_LPOOL_H

#include "bind/lbox.h"
#include "bind/lconn.h"
#include "core/pool.h"

/* A line of the program that borrowed. */
typedef struct lpool_frame {
  char source[LUA_IDSIZE];
  int line;
} lpool_frame;

/* Beside the state machine's slot. */
typedef struct lpool_slot {
  lconn *conn;        /* borrowed: the box is anchored in the store */
  int noted;          /* frames: where it was borrowed */
  bool told;          /* as a leak */
  const void *lent;   /* the metatable of its handle, as offered (llend.c) */
  struct ltrip *trip; /* a verb that runs there (ltrip.c) */
} lpool_slot;

typedef struct lpool {
  lph_pool p;
  bool open;
  bool keep_state;   /* what borrowers leave in their sessions stays */
  bool lane;         /* borrowing and giving back need nothing of Lua's when all is in order */
  bool is_undecided; /* an event loop may have begun to run since the waiter was chosen */
  pid_t owner;
  double glance,
    glance_at;         /* seconds between two looks at what is due, the next one; 0: somebody else looks */
  int room;            /* of the two that follow, which go by slot number */
  lpool_slot *slots;   /* [room] */
  lpool_frame *frames; /* [room * depth] */
  int depth;           /* frames noted of each borrowing */
  char *home;          /* files whose source begins so are our own */
  size_t home_length;
  /* Inside of nginx (ltrip.c). */
  struct lnginx *nginx;
  bool travels;    /* verbs may go that way */
  double patience; /* seconds in the queue; 0: no limit */
  double look_at;  /* when somebody shall look for borrowers that have ended */
  struct ltrip **trips, *free_trips;
  int trip_count, trip_room;
  lph_list lost; /* trips whose request has ended */
} lpool;

extern const lbox_class lpool_class;

/* In the store beside the boxes. */
enum {
  LPOOL_STORE_HANDLES = 0,     /* table by slot: handles that are lent, weak */
  LPOOL_STORE_METATABLES = -1, /* table by slot: of handles that will be */
  LPOOL_STORE_NGINX = -2,
  LPOOL_STORE_SHELVES = -3, /* table: the shelves of trips */
  LPOOL_STORE_RUN = -4,     /* lconn_run, and what lands a trip: LuaJIT makes C functions anew each time */
  LPOOL_STORE_LAND = -5,
};

/* For methods that change something: not after the state's end has finalized the box. */
lpool *lpool_check_open(lua_State *L);
int lpool_check_slot(lua_State *L, lpool *b); /* argument 2 */

/* NULL when nothing is connected there. */
static inline lconn *lpool_conn(const lpool *b, int slot) {
  return slot < b->room ? b->slots[slot].conn : NULL;
}

static inline int lpool_push_slot(lua_State *L, int slot) {
  if (slot <= 0) return 0;
  lua_pushinteger(L, slot);
  return 1;
}

/* llend.c: adds its functions, and those of lpoolfacts.c, to the module, the class and its methods, which are on top of
 * the stack. */
void llend_open(lua_State *L);
/* The connection of the slot cannot be borrowed any more. */
void llend_withdraw(lua_State *L, lpool *b, int slot);

/* What keeps this connection from being lent as it is: "retire", "lost", "check"; NULL: nothing. */
const char *llend_obstacle(lconn *conn, lph_pool_due due, double now);
/* May it be lent to the next as it is? */
bool llend_is_in_order(const lpool *b, const lconn *conn);
/* As pool:run answers: a verb whose answers stand from 1 on, and that is to be gone on with; one that has not run. */
int llend_push_verb(lua_State *L, int slot, int rc);
int llend_push_due(lua_State *L, int slot, const char *why);

/* lpoolfacts.c */
extern const luaL_Reg lpoolfacts_methods[];
/* Notes who borrows, from the line on that is `level` functions away. Raises nothing, allocates nothing. */
void lpool_note_borrower(lua_State *L, lpool *b, int slot, int level);

#endif
