/* histo.h - counts of durations, in buckets that double.
 *
 * Bucket k counts durations of less than 2^k microseconds that no bucket before it took; the last one takes all
 * that is longer. A few instructions and no loop per value: cheap enough for every borrow.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_HISTO_H
#define LPH_HISTO_H

#include "base/base.h"

#define LPH_HISTO_BUCKETS 26 /* 1 us, 2 us ... 2^24 us = 16.8 s, longer */

typedef struct lph_histo {
  uint64_t bucket[LPH_HISTO_BUCKETS];
  uint64_t count;
  double sum, max; /* seconds */
} lph_histo;

/* What is no duration (negative, NaN: neither comes from a monotonic clock) counts as 0. */
void lph_histo_add(lph_histo *h, double seconds);
/* Upper border of bucket k in seconds; infinity for the last. */
double lph_histo_border(int k);

#endif
