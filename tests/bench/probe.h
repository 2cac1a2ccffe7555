/*
 * probe.h - what every program of the suite does: pin itself, read clocks, print its figures. A
 * probe is one run of one program in a process of its own; it prints lines of "figure value", and
 * the driver makes ratios of them.
 */
#ifndef BENCH_PROBE_H
#define BENCH_PROBE_H
#include <stddef.h>
#include <stdint.h>

#define PROBE_TYPE    "task.created"
#define PROBE_CHANNEL "evbus:events:" PROBE_TYPE
#define PROBE_TEXT    "{\"id\":17,\"state\":\"running\"}" /* data of the local rows */
#define PROBE_DATA    128                                 /* bytes of data of the Redis rows */

/* Cores, counted among those this process may use. */
enum { PROBE_SERVER_CORE = 0, PROBE_CLIENT_CORE = 1 };

void probe_pin(int core); /* this thread, and those it starts later */
int64_t probe_now_ns(void);
int64_t probe_cpu_ns(void); /* of the whole process, user and system */
void probe_sleep_ms(int ms);
void probe_report(const char *figure, double value);
_Noreturn void probe_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
double probe_quantile(double *values, int count, double part); /* part of 0..1; sorts them */
double probe_median(double *values, int count);

/* Median time of one of the n calls that burst(context, n) makes, over slices of a few ms. Time of
 * this thread's CPU: what others do on the core meanwhile does not count. */
double probe_burst_ns(void (*burst)(void *context, int n), void *context);

/* PROBE_DATA bytes of JSON and a NUL, with a stamp in a fixed place; and the stamp of such data. */
void probe_data(char *out, int64_t stamp);
int64_t probe_stamp(const char *data);

int64_t probe_other_switches(void); /* how often all threads but this one have gone to sleep */
int64_t probe_private_kib(void);    /* memory written by this process */

/* A second process of this probe: answers the pid in the parent, 0 in the child, which ends with
 * it. */
int probe_fork(void);
void probe_join(int pid); /* until it ends well */
void probe_kill(int pid);

/* A gate between the two: one process awaits the other's word to go. */
void probe_gate_init(int gate[2]);
void probe_gate_go(int gate[2]);
void probe_gate_await(int gate[2]);
#endif
