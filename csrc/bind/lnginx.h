/* lnginx.h - what the files of the nginx side share: what nginx offers, the box, its slots, the worker's state.
 *
 * lnginx.c finds what nginx exports and owns the box; lnginxwait.c has events and waits, lnginxguard.c the end of
 * requests.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_LNGINX_H
#define LPH_LNGINX_H

#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"
#include "bind/bind.h"
#include "bind/lbox.h"

/* The first members of ngx_http_cleanup_t and ngx_stream_lua_cleanup_t. */
typedef struct nginx_cleanup {
  void (*handler)(void *data);
  void *data;
} nginx_cleanup;

typedef struct nginx_exports {
  void *(*get_request)(lua_State *L);
  int (*sema_wait)(void *request, void *sem, int milliseconds, unsigned char *message, size_t *length);
  int (*sema_post)(void *sem, int n);
  int (*sema_count)(void *sem);
  nginx_cleanup *(*cleanup_add)(void *request, size_t size);
  int (*get_phase)(void *request, const char **message); /* or NULL */
  /* Without these two descriptors are polled. */
  void **cycle; /* the variable ngx_cycle */
  intptr_t (*add_channel_event)(void *cycle, int fd, intptr_t event, void (*handler)(void *event));
} nginx_exports;

typedef struct lnginx lnginx;

typedef struct slot {
  lnginx *owner;
  void *sem;
  struct slot *next; /* others that wait for the same descriptor; or that are free */
  uint32_t use;      /* counts what it was used for */
  int number, fd;
  short wanted, ready; /* POLLIN, POLLOUT */
  bool busy, waiting, woken;
  bool awake; /* its caller runs, and does not wait in the semaphore */
} slot;

struct lnginx {
  nginx_exports x;
  const char *missing; /* what events lack; NULL: nothing */
  slot **slots, *free;
  int count, room, live; /* live: busy ones when they were counted last */
  void *janitor;         /* semaphore */
  lph_list records, ended;
  int guarded; /* sum of the counts */
  int phases;  /* those of ngx_lua that requests have been guarded in, by its bits */
  bool brief;  /* sleeps are to be short */
  bool ready;  /* events have been tried out */
  bool tended; /* the janitor is there */
  double serial;
  pid_t pid;
  unsigned state; /* which one of its subsystem in this worker */
  int subsystem;
  bool open;
};

typedef struct watch {
  slot *first;
  uint32_t generation;
} watch;

#define LNGINX_BUCKETS 512

struct nginx_record;

/* Something C holds for a request; part of a larger struct. `gone` is called when the request has ended with it: no Lua
 * may run then. */
typedef struct lnginx_hold {
  lph_list link;
  struct nginx_record *record; /* NULL: held for nobody */
  void (*gone)(struct lnginx_hold *hold);
} lnginx_hold;

/* Of this worker, whatever Lua states it has. */
struct lnginx_worker {
  pid_t owner;
  int ep, bell;
  bool started;
  watch *watches; /* by descriptor */
  int room;
  unsigned states[2]; /* http, stream */
  struct nginx_record *buckets[LNGINX_BUCKETS];
};

extern struct lnginx_worker lnginx_worker;

/* The box at index 1, settled in the process it is used in. May raise. */
lnginx *lnginx_check(lua_State *L);

/* lnginxwait.c: nobody waits for the slot's descriptor any more */
void lnginx_unlink_slot(slot *s);
/* The caller takes a slot that is free (`free` is not NULL). */
slot *lnginx_take_slot(lnginx *b);
void lnginx_release_slot(lua_State *L, slot *s);
/* Its caller is gone. */
bool lnginx_is_dead(const slot *s);
/* Lets the one who sleeps in the slot go on. */
void lnginx_rouse(slot *s);
/* From now on the slot's sleeper is woken by the descriptor; false: it cannot be waited for, and the next read tells why.
 * May raise only through `room`: lnginx_make_room(fd) has answered true for the descriptor. */
bool lnginx_make_room(int fd);
bool lnginx_watch(slot *s, int fd, short wanted);

typedef enum lnginx_nap { LNGINX_ASLEEP, LNGINX_AWAKE, LNGINX_LATE, LNGINX_CANNOT } lnginx_nap;
/* ASLEEP: the caller is to yield at once, and to ask again. The deadline is lph_now()'s, negative: none. */
lnginx_nap lnginx_doze(lua_State *L, slot *s, double deadline);

/* lnginxguard.c: counts it for the request that runs. false: nothing was held - the caller goes the way through Lua,
 * which looks at what is unusual (the first request in a phase, a Lua state for each request, no janitor). */
bool lnginx_hold_for_request(lua_State *L, lnginx *b, lnginx_hold *hold);
void lnginx_let_go(lnginx *b, lnginx_hold *hold);
/* records of requests that go on lose their owner, the others are freed */
void lnginx_forget_records(lnginx *b);

/* Methods: lnginxwait.c */
int lnginx_start(lua_State *L);
int lnginx_bell(lua_State *L);
int lnginx_slot(lua_State *L);
int lnginx_sweep(lua_State *L);
int lnginx_brief(lua_State *L);
int lnginx_ready(lua_State *L);
int lnginx_wait(lua_State *L);
int lnginx_park(lua_State *L);
int lnginx_again(lua_State *L);
int lnginx_wake(lua_State *L);
int lnginx_is_over(lua_State *L);
/* lnginxguard.c */
int lnginx_guard(lua_State *L);
int lnginx_unguard(lua_State *L);
int lnginx_ended(lua_State *L);
int lnginx_guarded(lua_State *L);
int lnginx_janitor(lua_State *L);
int lnginx_tended(lua_State *L);

#endif
