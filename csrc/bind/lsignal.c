/* lsignal.c - the wish of somebody outside that the program ends, for commands that have to end in order.
 *
 *   core.catch_signals(); SIGINT, SIGTERM and SIGHUP are noted from now on; each ends the program when it comes twice
 *   core.caught_signal() -> integer | nil; the number of the last one
 *   core.release_signals(); as it was before
 *
 * Lua has no handlers of its own, and lua.c knows SIGINT alone. A handler here writes one number: nothing else may be
 * done while anything whatever was interrupted. Whoever catches asks now and then. Signals belong to the process, so
 * this is for programs, never for libraries.
 *
 * SPDX-License-Identifier: MIT */
#include <signal.h>
#include <string.h>

#include "base/base.h"
#include "bind/bind.h"

static const int SIGNALS[] = {SIGINT, SIGTERM, SIGHUP};

static volatile sig_atomic_t caught;
static struct {
  struct sigaction action;
  bool is_ours;
} before[lph_countof(SIGNALS)];

static void note(int number) { caught = number; }

/* SA_RESETHAND: the second one is not for us. SA_RESTART: programs that we have started and read from are not read
 * short; poll(2) is interrupted all the same. What somebody has set to be ignored (nohup) stays ignored. */
static int lsignal_catch(lua_State *L) {
  (void)L;
  caught = 0;
  for (size_t i = 0; i < lph_countof(SIGNALS); i++) {
    if (before[i].is_ours) continue;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = note;
    action.sa_flags = SA_RESTART | (int)SA_RESETHAND;
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGNALS[i], NULL, &before[i].action) != 0 || before[i].action.sa_handler == SIG_IGN)
      continue;
    before[i].is_ours = sigaction(SIGNALS[i], &action, NULL) == 0;
  }
  return 0;
}

static int lsignal_release(lua_State *L) {
  (void)L;
  for (size_t i = 0; i < lph_countof(SIGNALS); i++) {
    if (before[i].is_ours) sigaction(SIGNALS[i], &before[i].action, NULL);
    before[i].is_ours = false;
  }
  return 0;
}

static int lsignal_caught(lua_State *L) {
  if (caught == 0) return lua_pushnil(L), 1;
  lua_pushinteger(L, caught);
  return 1;
}

const luaL_Reg lsignal_functions[] = {{"catch_signals", lsignal_catch},
                                      {"release_signals", lsignal_release},
                                      {"caught_signal", lsignal_caught},
                                      {NULL, NULL}};
