/* process.c - see process.h. SPDX-License-Identifier: MIT */
#include "base/process.h"

#include <pthread.h>
#include <unistd.h>

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pid_t current; /* written before anyone reads it, and in a child while it has one thread */

static void learn(void) { current = getpid(); }

static int handler_missing;

static void begin(void) {
  handler_missing = pthread_atfork(NULL, NULL, learn) != 0; /* no memory: then the kernel is asked */
  learn();
}

pid_t lph_process_id(void) {
  pthread_once(&once, begin);
  return handler_missing ? getpid() : current;
}
