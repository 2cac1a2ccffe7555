/*
 * failing.h - an allocator for the library that counts what it gave out and fails where it is told.
 * Any thread; one a process.
 */
#ifndef HARNESS_FAILING_H
#define HARNESS_FAILING_H
#include <stdbool.h>

void failing_install(void); /* evbus_set_allocator(); before anything else is called */
/* The n-th allocation from now on fails (0: the next); `for_good`: and all after it. */
void failing_at(long n, bool for_good);
bool failing_off(void);  /* none fails from now on; true: one had failed */
long failing_live(void); /* blocks given out and not given back */

#endif
