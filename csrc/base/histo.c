/* histo.c - see histo.h. SPDX-License-Identifier: MIT */
#include "base/histo.h"

#include <math.h>

void lph_histo_add(lph_histo *h, double seconds) {
  if (seconds < 0) seconds = 0;
  int k = 0;
  if (seconds >= 1e-6) {
    int exponent;
    (void)frexp(seconds * 1e6, &exponent); /* 2^(exponent-1) <= us < 2^exponent */
    k = exponent < LPH_HISTO_BUCKETS ? exponent : LPH_HISTO_BUCKETS - 1;
  }
  h->bucket[k]++;
  h->count++;
  h->sum += seconds;
  if (seconds > h->max) h->max = seconds;
}

double lph_histo_border(int k) { return k >= LPH_HISTO_BUCKETS - 1 ? INFINITY : ldexp(1e-6, k); }
