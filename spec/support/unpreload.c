/* unpreload.c - takes LD_PRELOAD out of the environment once everything is loaded.
 *
 * Preloaded behind the sanitizer's library, so that the interpreter runs with it and the programs the specs
 * start (psql, initdb, PostgreSQL itself) run without.
 *
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

__attribute__((constructor)) static void forget_preload(void) { unsetenv("LD_PRELOAD"); }
