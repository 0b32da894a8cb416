/* fork.c - fork, waitpid and _exit for specs, for every Lua from one file.
 *
 * Lua has no fork. The few functions of its C API that are needed here look the same in Lua 5.1 and
 * 5.4, so they are declared by hand and one shared object serves both interpreters.
 * SPDX-License-Identifier: MIT */
#include <stddef.h>
#include <stdlib.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct lua_State lua_State;
extern void lua_pushinteger(lua_State *L, ptrdiff_t n);
extern ptrdiff_t luaL_checkinteger(lua_State *L, int arg);

int lfork_fork(lua_State *L) {
  lua_pushinteger(L, (ptrdiff_t)fork());
  return 1;
}

/* -> exit code, or 128 + signal */
int lfork_wait(lua_State *L) {
  int status = 0;
  pid_t pid = (pid_t)luaL_checkinteger(L, 1);
  if (waitpid(pid, &status, 0) != pid) return 0;
  lua_pushinteger(L, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
  return 1;
}

/* What was registered before (a leak check) does not come to its turn. */
static int exit_code;
static void leave_now(void) { _exit(exit_code); }
int lfork_leave_at_exit(lua_State *L) {
  exit_code = (int)luaL_checkinteger(L, 1);
  atexit(leave_now);
  return 0;
}

int lfork_leave(lua_State *L) { _exit((int)luaL_checkinteger(L, 1)); }
