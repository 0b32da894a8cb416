/* fork.c - fork, waitpid and _exit for specs, for every Lua from one file.
 *
 * Lua has no fork. The few functions of its C API that are needed here look the same in Lua 5.1 and
 * 5.4, so they are declared by hand and one shared object serves both interpreters.
 *
 * A child never outlives a hang: an alarm ends it, and so does its parent's death, or it would hold the
 * run's output open for ever. SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include <dirent.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct lua_State lua_State;
extern void lua_pushinteger(lua_State *L, ptrdiff_t n);
extern ptrdiff_t luaL_checkinteger(lua_State *L, int arg);

/* 0 where the system does not tell. */
static int count_threads(void) {
  DIR *tasks = opendir("/proc/self/task");
  if (tasks == NULL) return 0;
  int n = 0;
  for (struct dirent *entry; (entry = readdir(tasks)) != NULL;) n += entry->d_name[0] != '.';
  closedir(tasks);
  return n;
}

/* The thread that dialled may still be on its last steps. glibc's fork copes with that; the runtime of gcc's
 * AddressSanitizer before 13 does not: its locks are copied as they are, and a child that needs one of them
 * waits for ever. */
static void wait_for_threads_to_end(void) {
  for (int i = 0; i < 1000 && count_threads() > 1; i++) {
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  }
}

enum { CHILD_SECONDS = 120 };

int lfork_fork(lua_State *L) {
  wait_for_threads_to_end();
  pid_t parent = getpid(), pid = fork();
  if (pid == 0) {
    signal(SIGALRM, SIG_DFL);
    alarm(CHILD_SECONDS);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
    if (getppid() != parent) _exit(1);
  }
  lua_pushinteger(L, (ptrdiff_t)pid);
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
