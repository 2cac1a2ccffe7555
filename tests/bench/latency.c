/* latency.c - see latency.h. */
#include "latency.h"
#include "probe.h"
#include <errno.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

static double samples[LATENCY_EVENTS];
static int sample_count;

bool latency_add(int64_t stamp_ns)
{
    double us = (double)(probe_now_ns() - stamp_ns) / 1000;
    if (sample_count < LATENCY_EVENTS)
        samples[sample_count++] = us;
    return sample_count == LATENCY_EVENTS;
}

void latency_report(void)
{
    double *measured = samples + LATENCY_WARMUP;
    int count = LATENCY_EVENTS - LATENCY_WARMUP;
    probe_report("us", probe_median(measured, count));
    probe_report("p99_us", probe_quantile(measured, count, 0.99));
}

int latency_timer(void)
{
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (fd < 0)
        probe_fail("timerfd_create: %s", strerror(errno));
    return fd;
}

void latency_timer_start(int fd)
{
    struct timespec gap = {0, LATENCY_GAP_NS};
    timerfd_settime(fd, 0, &(struct itimerspec){gap, gap}, NULL);
}

void latency_timer_once(int fd)
{
    struct timespec gap = {0, LATENCY_GAP_NS};
    timerfd_settime(fd, 0, &(struct itimerspec){.it_value = gap}, NULL);
}

void latency_timer_read(int fd)
{
    uint64_t ticks;
    if (read(fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
        probe_fail("timerfd: %s", strerror(errno));
}

void latency_pace(int64_t *next_ns)
{
    if (*next_ns == 0) {
        prctl(PR_SET_TIMERSLACK, 1UL);
        *next_ns = probe_now_ns();
    }
    *next_ns += LATENCY_GAP_NS;
    struct timespec until = {*next_ns / 1000000000, *next_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
    if (probe_now_ns() - *next_ns > LATENCY_GAP_NS)
        *next_ns = probe_now_ns(); /* late: no burst to catch up */
}
