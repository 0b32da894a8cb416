/* clock.c - see clock.h. SPDX-License-Identifier: MIT */
#include "base/clock.h"

#include <limits.h>
#include <time.h>

double lph_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

double lph_deadline(double seconds) { return seconds < 0 ? LPH_NEVER : lph_now() + seconds; }

double lph_sooner(double a, double b) {
  if (a < 0) return b;
  if (b < 0) return a;
  return a < b ? a : b;
}

bool lph_is_past(double deadline) { return deadline >= 0 && lph_now() >= deadline; }

int lph_poll_ms(double deadline) {
  if (deadline < 0) return -1;
  double left = (deadline - lph_now()) * 1000.0;
  if (left <= 0) return 0;
  return left >= INT_MAX - 1 ? INT_MAX : (int)left + 1;
}
