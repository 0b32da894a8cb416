/* process.h - which process is this? Without asking the kernel each time.
 *
 * A connection must not be touched by a forked child, so every call compares. getpid() is a system call (glibc
 * caches nothing): three of them were a tenth of what a short query costs the client.
 *
 * SPDX-License-Identifier: MIT */
#ifndef LPH_PROCESS_H
#define LPH_PROCESS_H

#include <sys/types.h>

/* The process id, also right in a child that fork() made. (A bare clone() without libc's knowledge is not seen; such
 * a child has no working libc either.) Safe in every thread. */
pid_t lph_process_id(void);

#endif
