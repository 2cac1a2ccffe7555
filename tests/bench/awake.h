/*
 * awake.h - keeps the suite's cores from falling asleep while a latency is measured: by processes
 * of SCHED_IDLE (sched(7)), which give way to any other at once. A core that sleeps is woken in 20
 * or in 45 us, as the machine under this virtual one likes, and that is what a row would show.
 */
#ifndef BENCH_AWAKE_H
#define BENCH_AWAKE_H

void awake_begin(void);
void awake_end(void);
#endif
