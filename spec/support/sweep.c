/* sweep.c - runs Lua short of memory at every point.
 *
 *   sweep <scenario file> [name ...]
 *
 * Each scenario (sweep.lua says what they are) runs in a Lua state whose allocator fails at the n-th
 * call, for n = 1, 2, 3 ... until it gets through without one. Three ways to fail:
 *
 *   once     the n-th call. Lua 5.4 collects all garbage then and tries again: what we hold without
 *            telling the collector goes.
 *   twice    the n-th and the next: Lua 5.4 raises "not enough memory". (LuaJIT does at the first.)
 *   forever  all from the n-th on, until the scenario has ended.
 *
 * After each run the scenario's own promise is checked in Lua; after each state: no block of Lua left, the
 * core owns as many blocks and the process as many descriptors as before, and the server has no session
 * of ours. LUPHANT_SWEEP_RUNS: at most so many points per scenario and way, evenly spread
 * (default 24); LUPHANT_SWEEP_FULL=1: all of them; LUPHANT_SWEEP_AT=n: only the n-th, to look at one.
 *
 * SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef enum way { ONCE, TWICE, FOREVER, WAYS } way;
static const char *const way_names[] = {"once", "twice", "forever"};

#define RUNS_PER_STATE 25 /* of scenarios that need no fresh state */

/* ---- the allocator ------------------------------------------------------------------------------------ */

typedef struct memory {
  long calls;   /* counted while armed */
  long fail_at; /* 0 = never */
  way how;
  long failures;
  bool armed;
  long blocks; /* not bytes: LuaJIT gives some blocks back under another size than it asked for */
} memory;

static bool must_fail(memory *m) {
  if (!m->armed) return false;
  m->calls++;
  if (m->fail_at == 0 || m->calls < m->fail_at) return false;
  if (m->how != FOREVER && m->calls > m->fail_at + (m->how == TWICE)) return false;
  m->failures++;
  return true;
}

/* Shrinking and freeing cannot fail: Lua relies on it. */
static void *allocate(void *arg, void *block, size_t old, size_t size) {
  memory *m = arg;
  if (block == NULL) old = 0;
  if (size == 0) {
    m->blocks -= block != NULL;
    free(block);
    return NULL;
  }
  if (size > old && must_fail(m)) return NULL;
  void *moved = realloc(block, size);
  m->blocks += block == NULL && moved != NULL;
  return moved;
}

/* ---- the world outside --------------------------------------------------------------------------------- */

static int open_files(void) {
  DIR *dir = opendir("/proc/self/fd");
  if (dir == NULL) return 0;
  int n = 0;
  while (readdir(dir) != NULL) n++;
  closedir(dir);
  return n;
}

static void nap(void) { nanosleep(&(struct timespec){0, 2000000}, NULL); }

static void die(lua_State *L, const char *what) {
  fprintf(stderr, "sweep: %s: %s\n", what, lua_tostring(L, -1));
  exit(2);
}

/* A state of its own, never short of memory: asks the core and the server about all others. */
static const char observer_source[] =
  "local core, luphant = require 'luphant.core', require 'luphant'\n"
  "local conn = assert(luphant.connect(os.getenv 'LUPHANT_TEST_URL', { application_name = "
  "'luphant_sweep_observer' }))\n"
  "local sql = [[select count(*) from pg_stat_activity where application_name = 'luphant_sweep']]\n"
  "assert(conn:query_value(sql))\n"
  "collectgarbage()\n"
  "return core.mem_live, function() return assert(conn:query_value(sql)) end\n";

static lua_State *observer;

static long observe(int what);

/* The thread that dialled for the observer ends in its own time, which must not be in the middle of the first run. */
static void settle_observer(void) {
  long live = -1;
  int files = -1;
  for (int same = 0; same < 50; same++) {
    if (observe(1) != live || open_files() != files) same = 0;
    live = observe(1);
    files = open_files();
    nap();
  }
}

static void open_observer(void) {
  observer = luaL_newstate();
  luaL_openlibs(observer);
  if (luaL_loadstring(observer, observer_source) != 0 || lua_pcall(observer, 0, 2, 0) != 0)
    die(observer, "the observer"); /* 1: mem_live  2: sessions */
  settle_observer();
}

static long observe(int what) {
  lua_pushvalue(observer, what);
  if (lua_pcall(observer, 0, 1, 0) != 0) die(observer, "the observer");
  long n = (long)lua_tonumber(observer, -1);
  lua_pop(observer, 1);
  return n;
}

/* ---- one scenario -------------------------------------------------------------------------------------- */

typedef struct stage {
  const char *file, *name;
  lua_State *L; /* 1: sweep  2: scenario  3: things */
  memory m;
  int runs;
} stage;

static int broken_promises;

static void complain(const stage *s, long n, const char *what) {
  broken_promises++;
  printf("%s, %s, call %ld: %s\n", s->name, way_names[s->m.how], n, what);
}

/* scenario[key](things), where there is one */
static void call_plain(stage *s, const char *key, int results) {
  lua_getfield(s->L, 2, key);
  if (lua_isnil(s->L, -1)) {
    lua_pop(s->L, 1);
    return;
  }
  lua_pushvalue(s->L, 3);
  if (lua_pcall(s->L, 1, results, 0) != 0) die(s->L, key);
}

static void open_stage(stage *s) {
  s->m.blocks = 0;
  s->m.armed = false;
  s->runs = 0;
  lua_State *L = s->L = lua_newstate(allocate, &s->m);
  if (L == NULL) {
    fprintf(stderr, "sweep: this Lua takes no allocator of ours\n");
    exit(77);
  }
  luaL_openlibs(L);
  if (luaL_loadfile(L, s->file) != 0 || lua_pcall(L, 0, 1, 0) != 0) die(L, s->file);
  lua_getfield(L, 1, "find");
  lua_pushstring(L, s->name);
  if (lua_pcall(L, 1, 1, 0) != 0) die(L, s->name);
  lua_pushnil(L);
  call_plain(s, "setup", 1);
  lua_replace(L, 3);
  lua_settop(L, 3);
}

/* Helper threads and server processes end in their own time. */
static void close_stage(stage *s, long n) {
  call_plain(s, "close", 0);
  lua_close(s->L);
  s->L = NULL;
  if (s->m.blocks == 0) return;
  char text[80];
  snprintf(text, sizeof text, "%ld blocks of Lua's memory were not given back", s->m.blocks);
  complain(s, n, text);
}

static void check_outside(stage *s, long n, long live, int files, bool ask_server) {
  for (int i = 0; i < 1000; i++) {
    bool quiet = observe(1) == live && open_files() == files && (!ask_server || observe(2) == 0);
    if (quiet) return;
    nap();
  }
  char text[160];
  snprintf(text, sizeof text, "left behind: %ld blocks of the core, %d descriptors, %ld sessions",
           observe(1) - live, open_files() - files, observe(2));
  complain(s, n, text);
}

static int body(lua_State *L) {
  lua_getfield(L, 2, "run");
  lua_pushvalue(L, 3);
  lua_call(L, 1, 2);
  return 2;
}

/* One run; true when nothing failed in it. */
static bool run(stage *s, long n) {
  lua_State *L = s->L;
  s->runs++;
  call_plain(s, "before", 0);
  lua_gc(L, LUA_GCCOLLECT, 0);
  lua_pushcfunction(L, body);
  for (int i = 1; i <= 3; i++) lua_pushvalue(L, i);
  luaL_checkstack(L, 8, "sweep");
  s->m.calls = s->m.failures = 0;
  s->m.fail_at = n;
  s->m.armed = true;
  int rc = lua_pcall(L, 3, LUA_MULTRET, 0);
  s->m.armed = false;
  lua_settop(L, rc == 0 ? 5 : 4);
  lua_getfield(L, 1, "verify");
  lua_insert(L, 4); /* ... verify result err? */
  lua_pushvalue(L, 2);
  lua_insert(L, 5);
  lua_pushvalue(L, 3);
  lua_insert(L, 6);
  lua_pushboolean(L, rc == 0);
  lua_insert(L, 7);
  if (lua_pcall(L, lua_gettop(L) - 4, 1, 0) != 0) {
    const char *why = lua_tostring(L, -1);
    complain(s, n, why == NULL ? "an error without a text" : why);
    s->runs = RUNS_PER_STATE;
  } else if (!lua_toboolean(L, -1)) {
    s->runs = RUNS_PER_STATE; /* the connection is closed */
  }
  lua_settop(L, 3);
  return s->m.failures == 0;
}

static bool flag_of(stage *s, const char *key) {
  lua_getfield(s->L, 2, key);
  bool on = lua_toboolean(s->L, -1);
  lua_pop(s->L, 1);
  return on;
}

static long setting(const char *name, long otherwise) {
  const char *text = getenv(name);
  return text == NULL ? otherwise : atol(text);
}

static void sweep_way(const char *file, const char *name, way how) {
  stage s = {.file = file, .name = name, .m = {.how = how}};
  int complaints = broken_promises;
  long live = observe(1), most = setting("LUPHANT_SWEEP_RUNS", 24), runs = 0;
  int files = open_files();
  open_stage(&s);
  bool fresh = flag_of(&s, "fresh");
  if (flag_of(&s, "slow")) most = most / 2 + 1;
  run(&s, 0);
  if (!fresh) run(&s, 0); /* once more: what is made only once is there now */
  long total = s.m.calls, step = setting("LUPHANT_SWEEP_FULL", 0) ? 1 : total / most + 1;
  close_stage(&s, 0);
  check_outside(&s, 0, live, files, true);
  long only = setting("LUPHANT_SWEEP_AT", 0);
  bool through = false;
  for (long n = only > 0 ? only : 1; !through && broken_promises < complaints + 5; n += step) {
    if (s.L == NULL) open_stage(&s);
    through = run(&s, n) || only > 0;
    runs++;
    if (!fresh && s.runs < RUNS_PER_STATE) continue;
    close_stage(&s, n);
    check_outside(&s, n, live, files, runs % RUNS_PER_STATE == 0 || !fresh);
  }
  if (s.L != NULL) close_stage(&s, 0);
  check_outside(&s, 0, live, files, true);
  printf("%-40s %-8s %7ld allocations, failing at %ld of them\n", name, way_names[how], total, runs);
  fflush(stdout);
}

static bool is_wanted(const char *name, char **wanted) {
  if (*wanted == NULL) return true;
  for (; *wanted != NULL; wanted++)
    if (strcmp(*wanted, name) == 0) return true;
  return false;
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "sweep <scenario file> [name ...]\n");
    return 2;
  }
  open_observer();
  lua_State *L = luaL_newstate(); /* only for the list of names */
  luaL_openlibs(L);
  if (luaL_loadfile(L, argv[1]) != 0 || lua_pcall(L, 0, 1, 0) != 0) die(L, argv[1]);
  lua_getfield(L, 1, "scenarios");
  for (int i = 1; lua_rawgeti(L, 2, i), !lua_isnil(L, -1); i++) {
    lua_getfield(L, -1, "name");
    const char *name = lua_tostring(L, -1);
    for (int how = 0; is_wanted(name, argv + 2) && how < WAYS; how++) {
#if LUA_VERSION_NUM < 504
      if (how == TWICE) continue;
#endif
      sweep_way(argv[1], name, (way)how);
    }
    lua_settop(L, 2);
  }
  lua_close(L);
  lua_close(observer);
  printf("%d broken promises\n", broken_promises);
  return broken_promises == 0 ? 0 : 1;
}
