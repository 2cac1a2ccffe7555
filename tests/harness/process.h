/* process.h - what this process holds, and figures about times. */
#ifndef HARNESS_PROCESS_H
#define HARNESS_PROCESS_H
#include <stdbool.h>
#include <stddef.h>

long process_rss_kib(void);
long process_peak_kib(void); /* highest since process_peak_reset() */
void process_peak_reset(void);
int process_fds(void);
int process_threads(void);
/* Every other thread sleeps (an until() condition): sanitizers' allocators do not survive a fork()
 * in which another thread holds their locks. */
bool process_others_sleep(void *unused);

/* Prints "figure: <what>: n=.. p50=.. p95=.. max=.. <unit>"; sorts the values. The p95. */
double figures_print(const char *what, const char *unit, double *values, size_t count);

#endif
