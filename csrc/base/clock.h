/* clock.h - monotonic time and deadlines, in seconds.
 *
 * A deadline is a point on the monotonic clock; LPH_NEVER is "no limit". Wall-clock jumps do not
 * move it. SPDX-License-Identifier: MIT */
#ifndef LPH_CLOCK_H
#define LPH_CLOCK_H

#include "base/base.h"

#define LPH_NEVER (-1.0)

double lph_now(void);                  /* seconds since an arbitrary start */
double lph_deadline(double seconds);   /* negative seconds: LPH_NEVER */
double lph_sooner(double a, double b); /* the earlier of two deadlines */
bool lph_is_past(double deadline);
/* For poll(2): milliseconds left, rounded up so that we never wake too early; -1 = for ever. */
int lph_poll_ms(double deadline);

#endif
