/*
 * latency.h - publish to handler in another process, at a steady rate: the pace on one side, the
 * percentiles on the other.
 */
#ifndef BENCH_LATENCY_H
#define BENCH_LATENCY_H
#include <stdbool.h>
#include <stdint.h>

#define LATENCY_EVENTS 8000
#define LATENCY_WARMUP 1000
#define LATENCY_GAP_NS 100000 /* 10,000 a second */

bool latency_add(int64_t stamp_ns); /* one arrived; true: that was the last */
void latency_report(void);          /* "us": the median; "p99_us" */

int latency_timer(void); /* a timerfd that ticks at the rate, once started */
void latency_timer_start(int fd);
void latency_timer_once(int fd);     /* instead: one tick, so much later */
void latency_timer_read(int fd);     /* several missed ticks count as one */
void latency_pace(int64_t *next_ns); /* sleeps until the next tick; *next_ns is 0 at the start */
#endif
