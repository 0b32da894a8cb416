/* histo.c - see histo.h. SPDX-License-Identifier: MIT */
#include "base/histo.h"

#include <math.h>
#include <string.h>

/* The smallest k with us < 2^k, for us >= 1: read from the exponent of an IEEE 754 double, which frexp would take a
 * call for. Infinity has the largest. */
static int bits_of(double us) {
  uint64_t image;
  memcpy(&image, &us, sizeof image);
  return (int)(image >> 52) - 1022;
}

void lph_histo_add(lph_histo *h, double seconds) {
  if (!(seconds > 0)) seconds = 0;
  double us = seconds * 1e6;
  int k = us >= 1 ? bits_of(us) : 0;
  h->bucket[k < LPH_HISTO_BUCKETS ? k : LPH_HISTO_BUCKETS - 1]++;
  h->count++;
  h->sum += seconds;
  if (seconds > h->max) h->max = seconds;
}

double lph_histo_border(int k) { return k >= LPH_HISTO_BUCKETS - 1 ? INFINITY : ldexp(1e-6, k); }
