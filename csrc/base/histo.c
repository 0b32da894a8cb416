/* histo.c - see histo.h. SPDX-License-Identifier: MIT */
#include "base/histo.h"

#include <math.h>

void lph_histo_add(lph_histo *h, double seconds) {
  if (!(seconds > 0)) seconds = 0;
  int k = LPH_HISTO_BUCKETS - 1;
  if (seconds < lph_histo_border(k - 1)) {
    (void)frexp(seconds * 1e6, &k); /* 2^(k-1) <= us < 2^k */
    if (k < 0) k = 0;
  }
  h->bucket[k]++;
  h->count++;
  h->sum += seconds;
  if (seconds > h->max) h->max = seconds;
}

double lph_histo_border(int k) { return k >= LPH_HISTO_BUCKETS - 1 ? INFINITY : ldexp(1e-6, k); }
