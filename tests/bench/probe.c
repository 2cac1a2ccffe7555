/* probe.c - clocks, cores, figures; see probe.h. */
#include "probe.h"
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLICE_NS 5000000
#define SLICES   21
#define WARMUP   10000
#define STAMP_AT 5 /* behind {"t": */

void probe_pin(int core)
{
    static cpu_set_t allowed; /* as it was before the first pin */
    if (CPU_COUNT(&allowed) == 0)
        sched_getaffinity(0, sizeof allowed, &allowed);
    if (CPU_COUNT(&allowed) < 2)
        return;
    int left = core;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &allowed) || left-- > 0)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
        return;
    }
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int64_t probe_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

int64_t probe_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void probe_sleep_ms(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    while (nanosleep(&t, &t) && errno == EINTR)
        ;
}

void probe_report(const char *figure, double value)
{
    printf("%s %.6f\n", figure, value);
    fflush(stdout);
}

void probe_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fputs("bench: ", stderr);
    vfprintf(stderr, format, list);
    fputc('\n', stderr);
    va_end(list);
    _exit(1);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double probe_quantile(double *values, int count, double part)
{
    if (count == 0)
        return 0;
    qsort(values, (size_t)count, sizeof *values, compare_doubles);
    double at = part * (count - 1);
    int below = (int)at, above = below + 1 < count ? below + 1 : below;
    return values[below] + (values[above] - values[below]) * (at - below);
}

double probe_median(double *values, int count)
{
    return probe_quantile(values, count, 0.5);
}

static int64_t time_burst(void (*burst)(void *context, int n), void *context, int n)
{
    int64_t start = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    burst(context, n);
    return clock_ns(CLOCK_THREAD_CPUTIME_ID) - start;
}

double probe_burst_ns(void (*burst)(void *context, int n), void *context)
{
    int n = 64;
    burst(context, WARMUP); /* first times are slow, and would pass for many */
    while (time_burst(burst, context, n) < SLICE_NS)
        n *= 2;
    double slices[SLICES];
    for (int i = 0; i < SLICES; i++)
        slices[i] = (double)time_burst(burst, context, n) / n;
    return probe_median(slices, SLICES);
}

void probe_data(char *out, int64_t stamp)
{
    int length = snprintf(out, PROBE_DATA + 1, "{\"t\":%20lld,\"pad\":\"", (long long)stamp);
    memset(out + length, 'x', (size_t)(PROBE_DATA - 2 - length));
    strcpy(out + PROBE_DATA - 2, "\"}");
}

int64_t probe_stamp(const char *data)
{
    return strtoll(data + STAMP_AT, NULL, 10);
}

/* The number behind `key` in a file of "key: number" lines; 0 if it is not there. */
static int64_t read_field(const char *path, const char *key)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    char line[256];
    long long value = 0;
    size_t length = strlen(key);
    while (fgets(line, sizeof line, file)) {
        if (!strncmp(line, key, length)) {
            value = strtoll(line + length, NULL, 10);
            break;
        }
    }
    fclose(file);
    return value;
}

int64_t probe_other_switches(void)
{
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        probe_fail("/proc/self/task cannot be read");
    int64_t total = 0;
    for (struct dirent *entry; (entry = readdir(tasks));) {
        int task = atoi(entry->d_name);
        if (task == 0 || task == gettid())
            continue;
        char path[64];
        snprintf(path, sizeof path, "/proc/self/task/%d/status", task);
        total += read_field(path, "voluntary_ctxt_switches:");
    }
    closedir(tasks);
    return total;
}

int64_t probe_private_kib(void)
{
    return read_field("/proc/self/smaps_rollup", "Private_Dirty:");
}

int probe_fork(void)
{
    fflush(stdout);
    int pid = fork();
    if (pid < 0)
        probe_fail("fork: %s", strerror(errno));
    if (pid == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return pid;
}

void probe_join(int pid)
{
    int status;
    if (waitpid(pid, &status, 0) != pid || status != 0)
        probe_fail("the probe's second process failed");
}

void probe_kill(int pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

void probe_gate_init(int gate[2])
{
    if (pipe(gate))
        probe_fail("pipe: %s", strerror(errno));
}

void probe_gate_go(int gate[2])
{
    if (write(gate[1], "g", 1) != 1)
        probe_fail("pipe: %s", strerror(errno));
}

void probe_gate_await(int gate[2])
{
    char byte;
    if (read(gate[0], &byte, 1) != 1)
        probe_fail("the other process did not get ready");
}
